"""Parameters of a circuit from what is known of its activity: fits of predictions to rates and covariances.

The theory is fast enough to be fitted: predictions of populations take some ten milliseconds, whatever the size of the
circuit. Least squares run from several starts; the curvature at the best point gives standard errors; and spikes of the
fitted circuit tell whether the theory was right there (`CircuitFit.check`).
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
from mnnbio.spikes import simulate
from mnnbio.theory import predict

Array = npt.NDArray[np.float64]
Build = Callable[..., Circuit]

TOLERANCE = 0.01  # relative, of a target without a standard error
FACTOR = 5.0  # within which a parameter of a circuit is looked for, where no bounds are given
AT_BOUND = 1e-4  # distance from a bound, relative to both bounds' distance
UNTOLD = 1e-4  # of the strongest direction: weaker ones are differences of fixed points, which have errors
FAILED = 1e3  # residual of a circuit that has no state, or none that covariances belong to
SEARCH: dict[str, Any] = {"diff_step": 1e-3, "ftol": 1e-8, "xtol": 1e-8, "max_nfev": 60}


class Target(NamedTuple):
    """What a prediction should be, by the place in its dataset."""

    name: str
    place: dict[str, str]
    value: float
    error: float

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
        What the circuit's prediction has for them.
    cost : float
        Half of the sum of squared residuals, in units of the targets' errors.
    costs : ndarray
        Of the search from every start, lowest first: several equal ones speak for the lowest of all.
    at_bounds : tuple of str
        Parameters that ended at a bound: the targets pull them further.
    prediction : Dataset
    options : dict
        Time step, window and closure.
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
        dt = self.options.get("dt") or 0.1
        result = simulate(
            self.circuit, duration, trials=trials, warmup=warmup, dt=dt, seed=seed, window=self.options.get("window")
        )
        found = [_simulated(target, result["simulation"].to_dataset()) for target in self.targets]
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
        ``<name>_se``.
    free : sequence of str, or mapping of str to (low, high)
        Parameters, with bounds. Of a circuit: ``"weight E->I"``, ``"delay E->I"``, ``"tau_syn E->I"`` of its
        projections; ``"rate E"``, ``"weight E"``, ``"mean E"``, ``"std E"`` of the drive of a population, or the rates
        of a source; ``"tau_m E"``, ``"v_th E"``, ``"v_reset E"``, ``"t_ref E"`` of its neurons. Without bounds, within
        a factor of 5 of the value that it has. Of a function: the names of its arguments, with bounds.
    starts : int
        Searches: the first from the circuit as it is (or the middle of the bounds), others spread over the bounds.
    dt, window, closure
        As for `mnnbio.predict`.
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
    options = {"dt": dt, "window": window, "closure": closure}
    names, low = list(bounds), np.array([b[0] for b in bounds.values()])
    span = np.array([b[1] for b in bounds.values()]) - low
    _evaluate(build(**dict(zip(names, initial, strict=True))), wanted, options, strict=True)

    def residuals(position: Array) -> Array:
        values = low + span * position
        try:
            found = _evaluate(build(**dict(zip(names, values.tolist(), strict=True))), wanted, options)[1]
        except (NotConverged, ValueError, ArithmeticError):
            return np.full(len(wanted), FAILED)
        return np.array([(f - t.value) / t.error for f, t in zip(found, wanted, strict=True)])

    points = [np.clip((initial - low) / span, 0.02, 0.98)]
    if starts > 1:
        points += list(qmc.LatinHypercube(len(names), rng=np.random.default_rng(seed)).random(starts - 1))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of points on the way; those of the result are given below
        searches = [least_squares(residuals, point, bounds=(0, 1), **SEARCH) for point in points]
    searches.sort(key=lambda search: float(search.cost))
    best = searches[0]
    if not np.isfinite(best.cost) or (np.abs(best.fun) >= FAILED).all():
        raise NotConverged("no start leads to a circuit with a stable state: narrow the bounds, or give more starts")
    values = dict(zip(names, (low + span * best.x).tolist(), strict=True))
    found = build(**values)
    prediction, predicted = _evaluate(found, wanted, options)
    covariance = _covariance(best.jac) * np.outer(span, span)
    errors = dict(zip(names, np.sqrt(np.diag(covariance)).tolist(), strict=True))
    costs = np.array([search.cost for search in searches])
    at_bounds = tuple(name for name, x in zip(names, best.x, strict=True) if min(x, 1 - x) < AT_BOUND)
    return CircuitFit(
        found, values, errors, covariance, wanted, predicted, float(best.cost), costs, at_bounds, prediction, options
    )


def _covariance(jacobian: Array) -> Array:
    """Return the covariance of parameters by the curvature; NaN in directions that change nothing."""
    _, strengths, directions = np.linalg.svd(jacobian, full_matrices=False)
    told = strengths > UNTOLD * max(float(strengths.max()), 1e-300)
    covariance = (directions[told].T / strengths[told] ** 2) @ directions[told]
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
            if str(name).endswith("_se"):
                continue
            errors = given.get(f"{name}_se")
            for place in np.ndindex(*variable.shape):
                labels = {str(dim): str(given[dim].values[k]) for dim, k in zip(variable.dims, place, strict=True)}
                value = float(variable.values[place])
                error = None if errors is None else float(errors.transpose(*variable.dims).values[place])
                if np.isfinite(value):
                    found.append(_target(str(name), labels, (value, error)))
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


def _simulated(target: Target, simulation: xr.Dataset) -> tuple[float, float]:
    """Return what spikes have for a target, with a standard error where one is known."""
    owner = simulation["population"].values
    own = owner == target.place["population"]
    if "population_j" not in target.place:
        if target.name not in simulation:
            return np.nan, np.nan
        values = simulation[target.name].values[own]
        errors = simulation.get(f"{target.name}_se")
        error = np.nan if errors is None else float(np.sqrt((errors.values[own] ** 2).sum()) / own.sum())
        return float(values.mean()), error
    name = {"pair_covariance": "covariance", "pair_count_covariance": "count_covariance"}.get(target.name, target.name)
    if name not in simulation:
        name = "count_covariance" if "count_covariance" in simulation else name
    if name not in simulation:
        return np.nan, np.nan
    block = simulation[name].values[np.ix_(own, owner == target.place["population_j"])]
    if target.place["population"] == target.place["population_j"]:
        block = block[~np.eye(len(block), dtype=bool)]
    scale = 1.0
    if name == "count_covariance" and target.name == "pair_covariance":
        scale = 1 / float(simulation[name].attrs.get("window", np.nan))
    return float(block.mean() * scale), np.nan
