"""By what spikes of circuits differ from their predictions: measured for the targets of a fit, and taken out of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt
import xarray as xr

from mnnbio.circuit import Circuit
from mnnbio.spikes import Counts, simulate
from mnnbio.units import in_unit
from mnnbio.validation.spike_targets import spike_targets

if TYPE_CHECKING:
    from mnnbio.validation.fit_circuit import CircuitFit, Target

Array = npt.NDArray[np.float64]

WINDOW = 100.0  # ms, of counts where none is given
ALIKE = 10.0  # ratio up to which spikes and theory are compared by it, rather than by their difference
ELASTICITY = 1.0  # expected relative change of the ratio by that of a parameter
CURVATURE = 1.0  # and what is expected in second order
DRAWN = 0.005  # relative, by which another draw of the connections changes what spikes have


class Estimate(NamedTuple):
    """A statistic of spikes, with its standard error."""

    value: float
    error: float


# Long-window statistics are measured in windows, of which they are the limit.
_IN_WINDOWS = {"variance": "count_variance", "fano": "count_fano", "pair_count_covariance": "count_covariance"}


def in_spikes(
    circuit: Circuit,
    targets: Sequence[Target],
    options: Mapping[str, Any],
    duration: Any,
    trials: int,
    warmup: Any,
    seed: int | None,
    *,
    strict: bool = True,
) -> list[Estimate]:
    """Return what spikes of a circuit have for targets; NaN for others than those of `spike_targets`, or an error."""
    window = float(in_unit(options.get("window") or WINDOW, "ms", "window"))
    known = {"rate", "count_variance", "count_fano", "count_covariance", "pair_covariance", *_IN_WINDOWS}
    if strict and (unknown := [target.name for target in targets if target.name not in known]):
        raise ValueError(f"the target {unknown[0]!r} is not taken from spikes; those are: {', '.join(sorted(known))}")
    result = simulate(
        circuit,
        duration,
        trials=trials,
        warmup=warmup,
        dt=options.get("dt") or 0.1,
        seed=seed,
        record=Counts(bin=window),
    )
    measured, found = spike_targets(result, window), []
    for target in targets:
        name = _IN_WINDOWS.get(target.name, target.name)
        if name not in measured:
            found.append(Estimate(np.nan, np.nan))
            continue
        scale = 1e3 / window if target.name == "variance" else 1.0
        value, error = (float(measured[own].sel(target.place)) for own in (name, f"{name}_se"))
        found.append(Estimate(value * scale, error * scale))
    return found


def own_seed(circuit: Circuit, number: int) -> int:
    """Return the seed of the connectivity in a round."""
    return int(np.random.SeedSequence([circuit.seed or 0, number]).generate_state(1)[0])


class Bias(NamedTuple):
    """By what spikes differ from the theory, a linear function of parameters; arrays over targets."""

    by_factor: npt.NDArray[np.bool_]  # the logarithm of the ratio, else the difference in units
    unit: Array
    origin: Array  # (parameter,)
    scale: Array  # (parameter,)
    value: Array  # at the origin
    slope: Array  # (target, parameter), by parameters in units of the scale
    error: Array

    def corrected(self, predicted: Array, values: Array) -> Array:
        """Return predictions with what spikes differ from them."""
        bias = self.value + self.slope @ ((values - self.origin) / self.scale)
        return np.where(
            self.by_factor, predicted * np.exp(np.where(self.by_factor, bias, 0)), predicted + self.unit * bias
        )


def bias_of(steps: Sequence[tuple[CircuitFit, list[Estimate]]], span: Array) -> Bias:
    """Return what simulations of some circuits tell of the theory's error, at the last of them and around it."""
    values = np.array([list(fit.values.values()) for fit, _ in steps])
    # What the theory itself has: predictions of later fits are corrected ones.
    predicted = np.array([predicted_by(fit) for fit, _ in steps])
    spikes, errors = np.moveaxis(np.array([own for _, own in steps]), 2, 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        ratio = spikes / predicted
    by_factor = ((ratio > 1 / ALIKE) & (ratio < ALIKE)).all(0)
    unit = np.maximum(np.abs(spikes[-1]), errors[-1])
    found = np.where(by_factor, np.log(np.where(by_factor, ratio, 1.0)), (spikes - predicted) / unit)
    noise = np.hypot(errors / np.where(by_factor, np.abs(spikes), unit), DRAWN)
    scale = np.maximum(np.abs(values[-1]), 0.1 * span)
    away = (values - values[-1]) / scale
    noise = np.hypot(noise, CURVATURE * (away**2).sum(1)[:, None])  # far circuits tell little of a line here
    design = np.column_stack([np.ones(len(steps)), away])
    prior = np.diag([0.0] + [1 / ELASTICITY**2] * values.shape[1])
    solved = [
        (precision := (design.T / own**2) @ design + prior, np.linalg.solve(precision, design.T @ (y / own**2)))
        for y, own in zip(found.T, noise.T, strict=True)
    ]
    error = np.array([np.sqrt(np.linalg.inv(precision)[0, 0]) for precision, _ in solved])
    line = np.array([own for _, own in solved])
    return Bias(by_factor, unit, values[-1], scale, line[:, 0], line[:, 1:], error)


def predicted_by(fit: CircuitFit) -> Array:
    """Return what the theory has for the targets of a fit, without corrections."""
    return np.array([float(fit.prediction[target.name].sel(target.place)) for target in fit.targets])


def rounds_of(steps: Sequence[tuple[CircuitFit, list[Estimate] | None]]) -> xr.Dataset:
    """Return the way of a corrected fit; the last one has not been simulated."""
    first = steps[0][0]
    unknown = [Estimate(np.nan, np.nan)] * len(first.targets)
    spikes = np.array([unknown if own is None else own for _, own in steps])
    over = ("round", "target_name")
    return xr.Dataset(
        {
            "value": (("round", "parameter"), [list(fit.values.values()) for fit, _ in steps]),
            "error": (("round", "parameter"), [list(fit.errors.values()) for fit, _ in steps]),
            "predicted": (over, [predicted_by(fit) for fit, _ in steps]),
            "simulated": (over, spikes[..., 0]),
            "simulated_se": (over, spikes[..., 1]),
        },
        coords={"parameter": list(first.values), "target_name": [str(target) for target in first.targets]},
    )
