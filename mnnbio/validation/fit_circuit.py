"""Parameters of a circuit from what is known of its activity: fits of predictions to rates and covariances.

The theory is fast enough to be fitted: predictions of populations take some ten milliseconds, whatever the size of the
circuit. Least squares run from several starts; the curvature at the best point gives standard errors; and spikes of the
fitted circuit tell whether the theory was right there (`CircuitFit.check`).

Targets that were measured in spikes are met with the error that the theory has. `CircuitFit.corrected` takes it out by
indirect inference [1]_: it simulates the fitted circuit, fits again with the predictions corrected by what spikes were
found to differ from them, and so on, until the parameters stay.

References
----------
.. [1] C. Gouriéroux, A. Monfort, E. Renault (1993), Indirect inference, J. Appl. Econometrics 8, S85-S118.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import xarray as xr
from scipy.optimize import least_squares
from scipy.stats import qmc

from mnnbio.circuit import Circuit, Population
from mnnbio.machine import require_integer
from mnnbio.moments import NotConverged
from mnnbio.theory import predict
from mnnbio.validation.fit_corrections import Bias, Estimate, bias_of, in_spikes, own_seed, rounds_of

Array = npt.NDArray[np.float64]
Build = Callable[..., Circuit]

TOLERANCE = 0.01  # relative, of a target without a standard error
FACTOR = 5.0  # within which a parameter of a circuit is looked for, where no bounds are given
AT_BOUND = 1e-4  # distance from a bound, relative to both bounds' distance
UNTOLD = 1e-4  # of the strongest direction: weaker ones are differences of fixed points, which have errors
FAILED = 1e3  # residual of a circuit that has no state, or none that covariances belong to
TRIES = 100  # times the number of samples that are drawn for those within the bounds
SEARCH: dict[str, Any] = {"diff_step": 1e-3, "ftol": 1e-8, "xtol": 1e-8, "max_nfev": 60}


class UnsettledFitWarning(UserWarning):
    """Corrections of a fit ended before its parameters settled."""


class Target(NamedTuple):
    """What a prediction should be, by the place in its dataset."""

    name: str
    place: dict[str, str]
    value: float
    error: float
    blocks: tuple[float, ...] = ()  # what blocks of a record move it by; see `spike_targets`

    def __str__(self) -> str:
        where = ", ".join(self.place.values())
        return f"{self.name}[{where}]" if where else self.name


@dataclass(frozen=True, eq=False)
class CircuitFit:
    """A circuit whose predictions are those that were asked for, as closely as they can be.

    Attributes
    ----------
    circuit : Circuit
    values, errors : dict of str to float
        The parameters, and their standard errors: by the curvature of the sum of squares, for targets with errors of
        their own; NaN where the targets do not tell a parameter.
    covariance : ndarray
        Of the parameters.
    targets : list of Target
    predicted : ndarray
        What the circuit's prediction has for them; corrected, in a corrected fit.
    cost : float
        Half of the sum of squared residuals, in units of the targets' errors.
    costs : ndarray
        Of the search from every start, lowest first: several equal ones speak for the lowest of all.
    at_bounds : tuple of str
        Parameters that ended at a bound: the targets pull them further.
    prediction : Dataset
    options : dict
        Time step, window and closure.
    problem : Problem
        What was searched.
    rounds : Dataset, optional
        Of a corrected fit: over ``round`` and ``parameter`` `value`, over ``round`` and ``target_name`` `predicted` and
        `simulated` with `simulated_se`; the first round is the fit by theory.
    """

    circuit: Circuit
    values: dict[str, float]
    errors: dict[str, float]
    covariance: Array
    targets: list[Target]
    predicted: Array
    cost: float
    costs: Array
    at_bounds: tuple[str, ...]
    prediction: xr.Dataset
    options: dict[str, Any]
    problem: Problem
    rounds: xr.Dataset | None = None

    def samples(self, number: int, *, seed: int = 0) -> dict[str, Array]:
        """Return parameters drawn from their Gaussian approximation, within the bounds (a Laplace approximation).

        It is the posterior for a flat prior within the bounds, as far as the prediction is linear over its width.

        Parameters
        ----------
        number : int
        seed : int

        Returns
        -------
        dict of str to ndarray
            `number` values of each parameter.

        Raises
        ------
        ValueError
            If the targets do not tell a parameter, or nearly no draw lies within the bounds.
        """
        require_integer("number", number, 1)
        untold = [name for name, error in self.errors.items() if not np.isfinite(error)]
        if untold:
            raise ValueError(f"the targets do not tell {', '.join(untold)}: fix them, or give more targets")
        rng, found = np.random.default_rng(seed), np.empty((0, len(self.values)))
        center, low, high = np.array(list(self.values.values())), self.problem.low, self.problem.low + self.problem.span
        for _ in range(TRIES):
            drawn = rng.multivariate_normal(center, self.covariance, size=number, method="eigh")
            found = np.concatenate([found, drawn[((drawn >= low) & (drawn <= high)).all(1)]])
            if len(found) >= number:
                return dict(zip(self.values, found[:number].T, strict=True))
        raise ValueError(f"{len(found)} of {TRIES * number} draws lie within the bounds: give wider ones")

    def corrected(
        self, duration: Any, *, rounds: int = 6, trials: int = 4, warmup: Any = 500.0, seed: int = 0
    ) -> CircuitFit:
        """Return the fit without the theory's own error: targets of spikes are met by spikes.

        Every round simulates the circuit as it is then, and fits again with predictions times the ratio of spikes and
        theory (plus their difference, where signs differ or the ratio is beyond 10). What is learned of that ratio in
        all rounds is a linear function of the parameters, by Bayesian regression in which a relative change of a
        parameter is expected to bring one of about its size. It ends when no parameter moves by more than its error.

        Parameters
        ----------
        duration, warmup : float or Quantity
            Of each trial, ms.
        rounds : int
            At most.
        trials : int
        seed : int
            Of the first round's noise; every round has its own noise, and draws connectivity anew.

        Returns
        -------
        CircuitFit
            Its errors have those of the simulations in them, `rounds` the way to it.

        Raises
        ------
        ValueError
            If a target cannot be taken from spikes.

        Warns
        -----
        UnsettledFitWarning
            If parameters still moved by more than their errors.
        """
        require_integer("rounds", rounds, 1)
        found = self
        steps: list[tuple[CircuitFit, list[Estimate]]] = []
        for number in range(rounds):
            circuit = replace(found.circuit, seed=own_seed(found.circuit, seed + number))
            spikes = in_spikes(circuit, self.targets, self.options, duration, trials, warmup, seed + number)
            steps.append((found, spikes))
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of what the theory lacks, which is what is corrected
                moved = self.problem.refit(self.targets, found.values, bias_of(steps, self.problem.span))
            change = np.array([abs(moved.values[name] - found.values[name]) for name in self.values])
            found = moved
            if not (change > np.array(list(found.errors.values()))).any():
                break
        else:
            warnings.warn(
                f"parameters still moved by more than their errors after {rounds} rounds: allow more, or longer ones",
                UnsettledFitWarning,
                stacklevel=2,
            )
        return replace(found, rounds=rounds_of([*steps, (found, None)]))

    def check(self, duration: Any, *, trials: int = 4, warmup: Any = 500.0, seed: int | None = 0) -> xr.Dataset:
        """Return targets beside the prediction and the spikes of the fitted circuit.

        Parameters
        ----------
        duration, warmup : float or Quantity
            ms.
        trials : int
        seed : int, optional

        Returns
        -------
        Dataset
            `target`, `target_error`, `predicted`, `simulated` and `simulated_se` over ``target_name``; simulated values
            are of mean rates, and of mean covariances of pairs of populations in the window.
        """
        found = in_spikes(self.circuit, self.targets, self.options, duration, trials, warmup, seed, strict=False)
        return xr.Dataset(
            {
                "target": ("target_name", [target.value for target in self.targets]),
                "target_error": ("target_name", [target.error for target in self.targets]),
                "predicted": ("target_name", self.predicted),
                "simulated": ("target_name", [value for value, _ in found]),
                "simulated_se": ("target_name", [error for _, error in found]),
            },
            coords={"target_name": [str(target) for target in self.targets]},
        )

    def __repr__(self) -> str:
        lines = [f"Fit of {len(self.values)} parameters to {len(self.targets)} targets, cost {self.cost:.3g}"]
        for name, value in self.values.items():
            bound = ", at its bound: give it wider ones" if name in self.at_bounds else ""
            lines.append(f"  {name} = {value:.5g} ± {self.errors[name]:.2g}{bound}")
        lines += [
            f"  {target}: {value:.4g}, asked for {target.value:.4g} ± {target.error:.2g}"
            for target, value in zip(self.targets, self.predicted, strict=True)
        ]
        return "\n".join(lines)


def fit_circuit(
    circuit: Circuit | Build,
    targets: xr.Dataset | Mapping[str, Any],
    free: Sequence[str] | Mapping[str, tuple[float, float]],
    *,
    starts: int = 6,
    dt: Any = None,
    window: Any = None,
    closure: Any = None,
    surrogates: Any = None,
    seed: int = 0,
) -> CircuitFit:
    """Return the circuit whose predictions come closest to given rates, variances and covariances of its populations.

    Parameters
    ----------
    circuit : Circuit or callable
        The circuit, of which named parameters are changed; or a function of the free parameters that returns one, where
        they are tied to each other, such as ``lambda J, g, rate: ...``.
    targets : Dataset, or mapping of str to mapping
        Values by the variable of ``predict(circuit, resolution="population")`` and population: ``{"rate": {"E": 5.0},
        "pair_covariance": {("E", "E"): 0.1}}``, in Hz as predictions are. A value is a number, or a pair of value and
        standard error; without one, 1 % of it counts as its error. A dataset has them over ``population``, errors in
        ``<name>_se``, and what their errors have in common in ``<name>_blocks`` (`spike_targets`); values that are not
        a number are no targets.
    free : sequence of str, or mapping of str to (low, high)
        Parameters, with bounds. Of a circuit: ``"weight E->I"``, ``"delay E->I"``, ``"tau_syn E->I"`` of its
        projections; ``"rate E"``, ``"weight E"``, ``"mean E"``, ``"std E"`` of the drive of a population, or the rates
        of a source; ``"tau_m E"``, ``"v_th E"``, ``"v_reset E"``, ``"t_ref E"`` of its neurons. Without bounds, within
        a factor of 5 of the value that it has. Of a function: the names of its arguments, with bounds.
    starts : int
        Searches: the first from the circuit as it is (or the middle of the bounds), others spread over the bounds.
    dt, window, closure, surrogates
        As for `mnnbio.predict`. ``closure="self_consistent"`` takes seconds for each of some hundred predictions; its
        surrogates are always on the same noise, so that predictions are smooth functions of the parameters.
    seed : int
        Of the starts.

    Returns
    -------
    CircuitFit

    Raises
    ------
    ValueError
        If a parameter or a target is unknown, or there are fewer targets than parameters.
    NotConverged
        If no start leads to a circuit with a state.

    Examples
    --------
    ::

        found = fit_circuit(circuit, {"rate": {"E": 5.0, "I": 8.0}}, ["weight I->E", "rate E"], dt=0.1)
        found.check(10_000)
    """
    require_integer("starts", starts, 1)
    build, initial, bounds = _parameters(circuit, free)
    wanted = _targets(targets)
    if len(wanted) < len(bounds):
        raise ValueError(
            f"{len(bounds)} parameters cannot be told from {len(wanted)} targets: give more, or free fewer"
        )
    if (
        dt is not None
        and isinstance(circuit, Circuit)
        and (late := [name for name in free if name.startswith("delay")])
    ):
        raise ValueError(f"{late[0]!r} is a whole number of time steps and cannot be fitted: leave `dt` out")
    low = np.array([b[0] for b in bounds.values()])
    span = np.array([b[1] for b in bounds.values()]) - low
    options = {"dt": dt, "window": window, "closure": closure}
    if surrogates is not None:
        options["surrogates"] = surrogates
    problem = Problem(build, tuple(bounds), low, span, options)
    _evaluate(problem.circuit(initial), wanted, options, strict=True)
    points = [np.clip((initial - low) / span, 0.02, 0.98)]
    if starts > 1:
        points += list(qmc.LatinHypercube(len(bounds), rng=np.random.default_rng(seed)).random(starts - 1))
    return problem.fit(wanted, points)


@dataclass(frozen=True, eq=False)
class Problem:
    """Parameters that are looked for, and the circuits that have them."""

    build: Build
    names: tuple[str, ...]
    low: Array
    span: Array
    options: dict[str, Any]

    def circuit(self, values: Array) -> Circuit:
        """Return the circuit with these parameters."""
        return self.build(**dict(zip(self.names, values.tolist(), strict=True)))

    def refit(self, targets: list[Target], values: Mapping[str, float], bias: Bias) -> CircuitFit:
        """Return the fit of corrected predictions that is found from given parameters."""
        start = (np.array([values[name] for name in self.names]) - self.low) / self.span
        return self.fit(targets, [np.clip(start, AT_BOUND, 1 - AT_BOUND)], bias)

    def fit(self, targets: list[Target], points: Sequence[Array], bias: Bias | None = None) -> CircuitFit:
        """Return the best fit that is found from several points, parameters in units of the bounds.

        Raises
        ------
        NotConverged
            If none leads to a circuit with a state.
        """
        wanted, error = (np.array([getattr(target, name) for target in targets]) for name in ("value", "error"))
        if bias is not None:
            error = np.hypot(error, bias.error * np.where(bias.by_factor, np.abs(wanted), bias.unit))

        def corrected(predicted: Array, values: Array) -> Array:
            return predicted if bias is None else bias.corrected(predicted, values)

        def residuals(position: Array) -> Array:
            values = self.low + self.span * position
            try:
                found = _evaluate(self.circuit(values), targets, self.options)[1]
            except (NotConverged, ValueError, ArithmeticError):
                return np.full(len(targets), FAILED)
            return np.asarray((corrected(found, values) - wanted) / error)

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of points on the way; those of the result are given below
            searches = [least_squares(residuals, point, bounds=(0, 1), **SEARCH) for point in points]
        searches.sort(key=lambda search: float(search.cost))
        best = searches[0]
        if not np.isfinite(best.cost) or (np.abs(best.fun) >= FAILED).all():
            raise NotConverged(
                "no start leads to a circuit with a stable state: narrow the bounds, or give more starts"
            )
        values = self.low + self.span * best.x
        circuit = self.circuit(values)
        prediction, predicted = _evaluate(circuit, targets, self.options)
        covariance = _covariance(best.jac, _correlations(targets)) * np.outer(self.span, self.span)
        errors = dict(zip(self.names, np.sqrt(np.diag(covariance)).tolist(), strict=True))
        return CircuitFit(
            circuit=circuit,
            values=dict(zip(self.names, values.tolist(), strict=True)),
            errors=errors,
            covariance=covariance,
            targets=targets,
            predicted=corrected(predicted, values),
            cost=float(best.cost),
            costs=np.array([search.cost for search in searches]),
            at_bounds=tuple(n for n, x in zip(self.names, best.x, strict=True) if min(x, 1 - x) < AT_BOUND),
            prediction=prediction,
            options=self.options,
            problem=self,
        )


def _correlations(targets: Sequence[Target]) -> Array:
    """Return the correlations of the errors of targets, (target, target)."""
    if len({len(target.blocks) for target in targets}) > 1 or not targets[0].blocks:
        return np.eye(len(targets))
    moved = np.array([target.blocks for target in targets])
    norm = np.sqrt((moved**2).sum(1))
    return np.asarray(moved @ moved.T / np.outer(norm, norm))


def _covariance(jacobian: Array, correlations: Array) -> Array:
    """Return the covariance of parameters by the curvature; NaN in directions that change nothing."""
    left, strengths, directions = np.linalg.svd(jacobian, full_matrices=False)
    told = strengths > UNTOLD * max(float(strengths.max()), 1e-300)
    inverse = (directions[told].T / strengths[told]) @ left[:, told].T
    covariance = inverse @ correlations @ inverse.T
    untold = np.abs(directions[~told]).sum(0) > 1e-3
    covariance[untold] = np.nan
    covariance[:, untold] = np.nan
    return np.asarray(covariance)


def _evaluate(
    circuit: Circuit, targets: Sequence[Target], options: Mapping[str, Any], *, strict: bool = False
) -> tuple[xr.Dataset, Array]:
    """Return the prediction of a circuit and its values for the targets."""
    prediction = predict(circuit, resolution="population", covariance=any("cov" in t.name for t in targets), **options)
    values = []
    for target in targets:
        if target.name not in prediction:
            raise ValueError(
                f"`targets` has {target.name!r}, predictions of populations have {sorted(map(str, prediction))}"
            )
        variable = prediction[target.name]
        known = [str(name) for name in prediction["population"].values]
        if strict and (unknown := [name for name in target.place.values() if name not in known]):
            raise ValueError(f"`targets` has {target.name!r} of {unknown[0]!r}, the populations are {known}")
        if set(target.place) != set(variable.dims):
            raise ValueError(f"`targets` has {target.name!r} of {target.place}, it is over {variable.dims}")
        values.append(float(variable.sel(target.place)))
    return prediction, np.array(values)


def _targets(given: xr.Dataset | Mapping[str, Any]) -> list[Target]:
    """Return the targets one by one."""
    found = []
    if isinstance(given, xr.Dataset):
        for name, variable in given.data_vars.items():
            if str(name).endswith(("_se", "_blocks")):
                continue
            errors, blocks = given.get(f"{name}_se"), given.get(f"{name}_blocks")
            for place in np.ndindex(*variable.shape):
                labels = {str(dim): str(given[dim].values[k]) for dim, k in zip(variable.dims, place, strict=True)}
                value = float(variable.values[place])
                error = None if errors is None else float(errors.transpose(*variable.dims).values[place])
                own = () if blocks is None else blocks.transpose("block", *variable.dims).values[:, *place].tolist()
                if np.isfinite(value):
                    found.append(_target(str(name), labels, (value, error))._replace(blocks=tuple(own)))
    else:
        for name, values in given.items():
            for key, value in values.items():
                names = (key,) if isinstance(key, str) else tuple(key)
                found.append(_target(name, dict(zip(("population", "population_j"), names, strict=False)), value))
    if not found:
        raise ValueError("`targets` must have a number at least, got none")
    return found


def _target(name: str, place: dict[str, str], value: Any) -> Target:
    number, error = value if isinstance(value, tuple) else (value, None)
    number = float(number)
    if error is None:
        error = TOLERANCE * abs(number) if number else TOLERANCE
    if not (np.isfinite(number) and error > 0):
        raise ValueError(f"the target {name!r} of {place} must be finite with an error > 0, got {number:g} ± {error:g}")
    return Target(name, place, number, float(error))


def _parameters(
    circuit: Circuit | Build, free: Sequence[str] | Mapping[str, tuple[float, float]]
) -> tuple[Build, Array, dict[str, tuple[float, float]]]:
    """Return a function of the free parameters, where to start, and bounds."""
    names = list(free)
    if not names:
        raise ValueError("`free` must name a parameter at least, got none")
    bounds = dict(free) if isinstance(free, Mapping) else {}
    if isinstance(circuit, Circuit):
        build: Build = lambda **values: _changed(circuit, values)  # noqa: E731
        now = np.array([_value(circuit, name) for name in names])
        for name, value in zip(names, now, strict=True):
            if name not in bounds:
                if value == 0:
                    raise ValueError(f"{name!r} is 0 and has no bounds: give them, {{{name!r}: (low, high)}}")
                low, high = sorted((value / FACTOR, value * FACTOR))
                bounds[name] = low, high
    else:
        if not bounds:
            raise ValueError("`free` needs bounds for the arguments of a function: {'J': (0.05, 0.5), ...}")
        build = circuit
        now = np.array([0.5 * (low + high) for low, high in bounds.values()])
    for name, (low, high) in bounds.items():
        if not (np.isfinite(low) and np.isfinite(high) and low < high):
            raise ValueError(f"the bounds of {name!r} must be two numbers, the lower first, got {low} and {high}")
    return build, now, {name: bounds[name] for name in names}


_OF_DRIVES = ("rate", "weight", "mean", "std")


def _value(circuit: Circuit, name: str) -> float:
    """Return the value of a named parameter of a circuit."""
    part, field = _part(circuit, name)
    value = getattr(part, field)
    if not isinstance(value, int | float | np.number | np.ndarray) or np.size(value) != 1:
        raise ValueError(f"{name!r} is not one number in this circuit, got {type(value).__name__}: write a function")
    return float(np.reshape(value, ()))


def _part(circuit: Circuit, name: str) -> tuple[Any, str]:
    """Return the part of a circuit that has a named parameter, and its field."""
    field, _, where = name.partition(" ")
    found: list[Any]
    if "->" in where:
        source, _, target = where.partition("->")
        found = [p for p in circuit.projections if (p.source, p.target) == (source.strip(), target.strip())]
    elif field in _OF_DRIVES:
        found = [d for d in circuit.drives if d.target == where and hasattr(d, field)]
    else:
        found = [p.neuron for p in circuit.neurons if p.name == where and hasattr(p.neuron, field)]
    if len(found) != 1 or not hasattr(found[0], field):
        ways = [f"weight {p.source}->{p.target}" for p in circuit.projections if p.weight is not None]
        ways += [f"{own} {d.target}" for d in circuit.drives for own in _OF_DRIVES if hasattr(d, own)]
        ways += [f"tau_m {p.name}" for p in circuit.neurons]
        raise ValueError(f"`free` has {name!r}, which names {len(found)} parts. There are, among others, {ways[:8]}")
    return found[0], field


def _changed(circuit: Circuit, values: Mapping[str, float]) -> Circuit:
    """Return a circuit with other values of named parameters."""
    changes: dict[int, dict[str, float]] = {}
    for name, value in values.items():
        part, field = _part(circuit, name)
        changes.setdefault(id(part), {})[field] = value

    def new(part: Any) -> Any:
        return replace(part, **changes[id(part)]) if id(part) in changes else part

    populations = [replace(p, neuron=new(p.neuron)) if isinstance(p, Population) else p for p in circuit.populations]
    return circuit.with_parts(
        populations=populations,
        projections=[new(p) for p in circuit.projections],
        drives=[new(d) for d in circuit.drives],
    )
