"""Rates of external Poisson input that give the populations of a circuit rates of one's choice.

With the rates r of all populations given, what they send to each other is known, and what is missing for each to fire
at its rate must come from outside: rates ν of Poisson drives or sources with

    r = Φ(μ(r) + J ν, σ²(r) + J² ν),

Φ being the answer of the neurons. If, besides the rate, the standard deviation of the input is given, the mean follows
from both, and two drives of different weights can provide them [1]_.

References
----------
.. [1] M. Helias, T. Tetzlaff, M. Diesmann (2013), Echoes in correlated neural systems, New J. Phys. 15, 023002,
   appendix E; J. Senk et al. (2020), Phys. Rev. Research 2, 023174, appendix F.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import xarray as xr
from scipy.optimize import least_squares

from mnnbio.circuit import Circuit, PoissonDrive, PoissonSource, require_circuit
from mnnbio.moments import NotConverged
from mnnbio.results import array, versions
from mnnbio.theory.labelled import step_attributes
from mnnbio.theory.population_theory import (
    PopulationState,
    System,
    average,
    fluctuations,
    node_answers,
    population_stability,
    population_system,
    state_of,
    with_inputs,
)
from mnnbio.theory.recurrence import stability_attributes
from mnnbio.theory.stationary import Closure, Found, closure_name, driving_variance
from mnnbio.theory.validity import check_predictable, check_validity, checked_step
from mnnbio.units import Unit, in_unit

Array = npt.NDArray[np.float64]

# Factors of the given rates among which the answers of single populations are looked for.
FACTORS = np.concatenate([[0.0], np.logspace(-6, 6, 121)])
HALVINGS = 40
ROUNDS = 200  # of what differs among neurons, and of the variances of the trains
NEWTON_STEPS, DIFFERENCE, TOLERANCE = 30, 1e-6, 1e-12
LEAST_RATE = 1e-30  # 1/ms, below which rates are alike
SOLVED = 1e-9  # relative error of the rates up to which they count as reached


class ExternalRates(NamedTuple):
    """External rates, and the circuit that has them."""

    rates: xr.Dataset
    circuit: Circuit


class Group(NamedTuple):
    """External input that changes by one factor."""

    name: str
    drives: tuple[int, ...]  # places among the drives of the circuit
    source: str | None  # or the name of a source
    base: float  # mean rate of a factor of 1, 1/ms


def external_rates(
    circuit: Circuit,
    rates: Any,
    *,
    std_input: Any = None,
    inputs: Iterable[str] | None = None,
    dt: Any = None,
    closure: Closure = "poisson",
) -> ExternalRates:
    """Return the rates of external Poisson input with which the populations of a circuit fire at given rates.

    Parameters
    ----------
    circuit : Circuit
        With one stimulus, not changing in time. Rates that differ among neurons or trains keep their proportions.
    rates : float, array_like, Quantity or mapping of str to float or Quantity
        Mean rates of all populations, 1/ms; > 0.
    std_input : float, array_like, Quantity or mapping, optional
        Standard deviations of the input to be kept besides the rates, mV/√ms. Every population then needs two
        `PoissonDrive` of different weights, whose rates are changed each.
    inputs : iterable of str, optional
        What may change: for the name of a population its Poisson drives, by one factor; for that of a `PoissonSource`
        its rates. As many as populations; by default the drives of all populations if each has one, else the sources.
    dt : float or Quantity, optional
        Time step of the simulation to be predicted, ms.
    closure : {"poisson", "moments"} or callable
        As for `predict`, which has to be asked with the same one.

    Returns
    -------
    ExternalRates
        `rates`, a Dataset with `external_rate` (Hz; the mean rate of a drive into each neuron, or of the trains of a
        source) and `external_factor`, relative to that of the given circuit, over `input`; and `rate`, `mean_input` and
        `std_input` over `population`. `circuit` is the circuit that has these rates. The attributes `stability`,
        `largest_real` and `spectral_radius` are those of `predict`, which finds an unstable state only with the
        rates as its `start`.

    Raises
    ------
    ValueError
        If no rates ≥ 0 of the inputs give the wanted ones; the message names the population and the nearest rate. If
        inputs are too few, too many or unknown, or the circuit has several stimuli or changes in time.
    NotConverged
        If what differs among the neurons of a population, or the variances of the trains, did not settle.

    Warns
    -----
    SlowSynapseWarning, FiniteWeightWarning
        As by `predict`.

    References
    ----------
    M. Helias, T. Tetzlaff, M. Diesmann (2013), New J. Phys. 15, 023002, appendix E. J. Senk et al. (2020), Phys. Rev.
    Research 2, 023174, appendix F.
    """
    require_circuit(circuit)
    if circuit.n_stimuli is not None or circuit.changes_in_time:
        raise ValueError(
            "external rates are of one stationary state, got several stimuli or an input that changes in time. Choose "
            "one with `circuit.select(...)`, `circuit.at_time(...)` or `circuit.averaged()`"
        )
    check_predictable(circuit)
    names = [p.name for p in circuit.neurons]
    wanted = _by_population(rates, "rates", "1/ms", "a rate", names)
    std = None if std_input is None else _by_population(std_input, "std_input", "mV/sqrt(ms)", "a number", names)
    groups = _groups(circuit, names, None if inputs is None else list(inputs), each=std is not None)
    step = checked_step(circuit, dt, drawn=False)
    search = _Search(circuit, groups, wanted, std, closure, step)
    factors = search.run()
    found = _with_factors(circuit, groups, factors)
    checked_step(found, dt, drawn=False)
    system, state = search.state(factors)
    eigenvalues = population_stability(system, state)
    check_validity(found, fluctuations(found, system, state))
    base = np.array([group.base for group in groups])
    over = ("population",)
    labelled = [
        array("external_rate", ("input",), factors * base * 1e3),
        array("external_factor", ("input",), factors),
        array("rate", over, search.rate * 1e3),
        array("mean_input", over, search.mean * 1e3),
        array("std_input", over, search.std * 1e3**0.5),
    ]
    coords = {"input": [group.name for group in groups], "population": names}
    dataset = xr.Dataset({v.name: v for v in labelled}, coords=coords).assign_attrs(
        group="prediction",
        theory="diffusion",
        closure=closure_name(closure),
        **step_attributes(step),
        **stability_attributes(eigenvalues),
        circuit_hash=found.hash(),
        **versions(),
    )
    return ExternalRates(dataset, found)


class _Search:
    """Search for the factors of the inputs, with the rates of the populations held."""

    def __init__(
        self,
        circuit: Circuit,
        groups: list[Group],
        wanted: Array,
        std: Array | None,
        closure: Closure,
        dt: float | None,
    ) -> None:
        self._circuit, self._groups, self._closure, self._dt = circuit, groups, closure, dt
        self._system = population_system(circuit, dt, keep=True)
        self._wanted, self._std = wanted, std
        self._spread, self._drive = np.zeros_like(wanted), wanted.copy()
        self.rate = self.mean = self.std = wanted

    def run(self) -> Array:
        """Return the factors."""
        if self._std is not None:
            system, _, least, _ = self._answer(np.zeros(len(self._groups)))
            self.std = average(system, least)
            if (self.std > self._std).any():
                self._refuse_std(int((self.std / self._std).argmax()))
        factors: Array | None = None
        for _ in range(ROUNDS):
            factors = self._factors(factors)
            before = np.concatenate([self._spread, self._drive])
            self._settle(factors)
            change = np.abs(np.concatenate([self._spread, self._drive]) - before).max() / self._wanted.max()
            if change < TOLERANCE * 10:
                self._require_reached(factors)
                return factors
        raise NotConverged(
            f"the differences among the neurons of a population still change by {change:.2g} of the highest rate after "
            f"{ROUNDS} rounds. Ask for lower rates, or weaken the recurrent weights"
        )

    def _answer(self, factors: Array) -> tuple[System, Array, Array, Any]:
        changed = _with_factors(self._circuit, self._groups, factors)
        system = with_inputs(self._system, changed, self._dt)
        x = np.stack([self._wanted, self._spread, self._drive])
        return (system, *node_answers(system, x, self._dt))

    def state(self, factors: Array) -> tuple[System, PopulationState]:
        """Return the state that the rates hold, stable or not."""
        system, mean, std, response = self._answer(factors)
        found = Found(average(system, response.rate), "converged", 0.0, 0)
        return system, state_of(system, found, mean, std, response)

    def _rates(self, factors: Array) -> Array:
        system, _, _, response = self._answer(factors)
        return average(system, response.rate)

    def _mismatch(self, factors: Array) -> Array:
        """Return the relative errors of the rates, and, if they are given, of the standard deviations."""
        system, _, std, response = self._answer(factors)
        rate = np.log(np.maximum(average(system, response.rate), LEAST_RATE) / self._wanted)
        return rate if self._std is None else np.concatenate([rate, np.log(average(system, std) / self._std)])

    def _settle(self, factors: Array) -> None:
        """Note what the neurons with these inputs are like."""
        system, mean, std, response = self._answer(factors)
        self.rate = average(system, response.rate)
        self.mean, self.std = average(system, mean), average(system, std)
        self._spread = np.sqrt(average(system, (response.rate - self.rate[system.nodes.owner]) ** 2))
        self._drive = average(system, driving_variance(self._closure, response.rate, response.variance))

    def _factors(self, start: Array | None) -> Array:
        """Return the factors for the present differences among neurons."""
        if start is None:
            own = [g.name for g in self._groups] == self._system.names and all(g.source is None for g in self._groups)
            start = self._scanned() if own and self._std is None else np.ones(len(self._groups))
            if not own or self._std is not None:
                start = np.asarray(least_squares(self._mismatch, start, bounds=(0, np.inf), xtol=1e-12, ftol=1e-12).x)
        return _newton(self._mismatch, start)

    def _scanned(self) -> Array:
        """Return the factors of drives that act on one population each, from answers to many."""
        found = np.array([self._rates(np.full(len(self._groups), f)) for f in FACTORS])
        above = found > self._wanted
        low, high = np.zeros((2, len(self._groups)))
        for k, name in enumerate(self._system.names):
            turns = np.flatnonzero(above[:-1, k] != above[1:, k])
            if not len(turns):
                nearest = int(np.abs(np.log(np.maximum(found[:, k], LEAST_RATE) / self._wanted[k])).argmin())
                rate, external = found[nearest, k] * 1e3, FACTORS[nearest] * self._groups[k].base * 1e3
                raise ValueError(self._unreachable(name, k, rate, external, without=found[0, k] * 1e3))
            turn = turns[np.abs(np.log(np.maximum(FACTORS[turns + 1], LEAST_RATE))).argmin()]  # the nearest to 1
            low[k], high[k] = FACTORS[turn], FACTORS[turn + 1]
        rising = self._rates(high) > self._rates(low)
        for _ in range(HALVINGS):
            middle = (low + high) / 2
            up = (self._rates(middle) < self._wanted) == rising
            low, high = np.where(up, middle, low), np.where(up, high, middle)
        return (low + high) / 2

    def _require_reached(self, factors: Array) -> None:
        """Raise a `ValueError` where the rates are not those that are wanted."""
        off = np.abs(self.rate / self._wanted - 1)
        if off.max() > SOLVED:
            k = int(off.argmax())
            external = ", ".join(
                f"{group.name} {f * group.base * 1e3:.4g} Hz" for group, f in zip(self._groups, factors, strict=True)
            )
            raise ValueError(
                f"no rates ≥ 0 of the inputs give all populations their rates: that of {self._system.names[k]!r} comes "
                f"as near as {self.rate[k] * 1e3:.4g} Hz to the {self._wanted[k] * 1e3:.4g} Hz that are asked for, "
                f"with {external}. Ask for other rates, or change weights"
            )
        if self._std is not None and np.abs(self.std / self._std - 1).max() > SOLVED:
            self._refuse_std(int(np.abs(self.std / self._std - 1).argmax()))

    def _refuse_std(self, k: int) -> None:
        """Raise the `ValueError` of a standard deviation that the inputs do not give."""
        assert self._std is not None
        raise ValueError(
            f"no rates ≥ 0 of the inputs give {self._system.names[k]!r} an input of the standard deviation "
            f"{self._std[k]:.4g} mV/√ms at its rate; the nearest is {self.std[k]:.4g}. What other populations send it "
            "may exceed it already"
        )

    def _unreachable(self, name: str, k: int, rate: float, external: float, without: float) -> str:
        wanted = self._wanted[k] * 1e3
        start = (
            f"population {name!r} cannot fire at {wanted:.4g} Hz by any rate ≥ 0 of its external input, the others "
            f"given: the nearest is {rate:.4g} Hz, with {external:.4g} Hz from outside"
        )
        return start + (
            ". Without any it fires already more. Ask for more, or weaken what excites it"
            if external == 0 and rate > wanted
            else f" ({without:.4g} Hz without any). Ask for other rates, or change the weight of its drive"
        )


def _newton(mismatch: Callable[[Array], Array], start: Array) -> Array:
    """Return the root of a mismatch near a point, by Newton's method with differences; the best point if it fails."""
    x, error = start, mismatch(start)
    for _ in range(NEWTON_STEPS):
        if np.abs(error).max() < TOLERANCE:
            break
        step = DIFFERENCE * np.maximum(x, DIFFERENCE)
        slope = np.stack([(mismatch(x + np.eye(len(x))[k] * h) - error) / h for k, h in enumerate(step)], axis=1)
        move = np.linalg.lstsq(slope, -error, rcond=None)[0]
        new = np.maximum(x + move, 0.0)
        after = mismatch(new)
        if not np.abs(after).max() < np.abs(error).max():
            break
        x, error = new, after
    return x


def _by_population(value: Any, name: str, unit: Unit, kind: str, populations: list[str]) -> Array:
    """Return one positive number per population."""
    if isinstance(value, Mapping):
        if set(value) != set(populations):
            raise ValueError(f"`{name}` must name the populations {', '.join(populations)}, got {', '.join(value)}")
        found = np.array([in_unit(value[p], unit, name) for p in populations], dtype=np.float64)
    else:
        given = np.asarray(in_unit(value, unit, name), dtype=np.float64)
        if given.ndim > 1 or (given.ndim and given.shape != (len(populations),)):
            raise ValueError(f"`{name}` must be {kind} or one per population, {len(populations)}, got {value!r}")
        found = np.broadcast_to(given, len(populations)).copy()
    if found.shape != (len(populations),) or not ((found > 0) & (found < np.inf)).all():
        place = int(np.argmin((found > 0) & (found < np.inf))) if found.ndim == 1 else 0
        raise ValueError(f"`{name}` must be > 0, got {found[place]:g} for {populations[place]!r}")
    return found


def _groups(circuit: Circuit, names: list[str], inputs: list[str] | None, *, each: bool) -> list[Group]:
    """Return what may change."""
    sources = {s.name: s for s in circuit.sources if isinstance(s, PoissonSource)}
    drives = {name: [k for k, d in enumerate(circuit.drives) if _is_poisson(d, name)] for name in names}
    if inputs is None:
        inputs = names if each or all(drives.values()) else list(sources)
    found: list[Group] = []
    for name in inputs:
        own = drives.get(name, [])
        if name in sources:
            mean = float(np.mean(sources[name].rates))
            found.append(Group(name, (), name, mean if mean > 0 else 1.0))
        elif not own:
            known = ", ".join([*(n for n, places in drives.items() if places), *sources]) or "none"
            raise ValueError(
                f"`inputs` must be populations with a PoissonDrive, or PoissonSources, got {name!r}; there are: {known}"
            )
        elif each:
            found += [Group(f"{name} {number}", (k,), None, _mean_rate(circuit, (k,))) for number, k in enumerate(own)]
        else:
            found.append(Group(name, tuple(own), None, _mean_rate(circuit, tuple(own))))
    needed = len(names) * (2 if each else 1)
    if len(found) != needed or len({group.name for group in found}) != len(found):
        what = "rates and standard deviations" if each else "rates"
        raise ValueError(
            f"{needed} {what} need as many inputs, got {len(found)}: {', '.join(g.name for g in found) or 'none'}. "
            + ("Give every population two PoissonDrive of different weights" if each else "Choose them with `inputs`")
        )
    return found


def _is_poisson(drive: Any, target: str) -> bool:
    return isinstance(drive, PoissonDrive) and drive.target == target


def _mean_rate(circuit: Circuit, places: tuple[int, ...]) -> float:
    found = [float(np.mean(circuit.drives[k].rate)) for k in places]  # type: ignore[attr-defined]
    mean = sum(found)
    return mean if mean > 0 else 1.0


def _with_factors(circuit: Circuit, groups: list[Group], factors: Array) -> Circuit:
    """Return the circuit with the rates of inputs times factors."""
    drives, populations = list(circuit.drives), list(circuit.populations)
    for group, factor in zip(groups, factors, strict=True):
        silent = not any(np.any(np.asarray(drives[k].rate) > 0) for k in group.drives)  # type: ignore[attr-defined]
        for k in group.drives:
            drive = drives[k]
            assert isinstance(drive, PoissonDrive)
            rate = np.asarray(drive.rate) + (group.base / len(group.drives) if silent else 0.0)
            drives[k] = replace(drive, rate=rate * factor)
        if group.source is not None:
            place = [p.name for p in populations].index(group.source)
            source = populations[place]
            assert isinstance(source, PoissonSource)
            own = np.asarray(source.rates)
            populations[place] = replace(source, rates=(own if own.any() else own + group.base) * factor)
    return circuit.with_parts(populations=populations, drives=drives)
