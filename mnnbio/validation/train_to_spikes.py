"""Recurrent networks trained until their spikes have given rates and mean covariances.

A layer that is trained by its moments has its targets in the theory; its spikes have them up to the theory's error.
That error belongs to the network, and hardly changes while the network does. So the network is moved as little as
possible (`mnnbio.nn.reach_targets`) to targets that are shifted by it; it is simulated again, and so on: every
repetition leaves what the last move changed in the error of the theory. That of later stages is the same up to
sampling, and is averaged.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
import xarray as xr
from scipy import sparse

from mnnbio.circuit import Circuit, GaussianDrive, Population, Projection
from mnnbio.machine import require_integer
from mnnbio.moments import Diagonal, NotConverged
from mnnbio.nn import MomentRecurrent, Moments, PairTarget, checked_rates, reach_targets
from mnnbio.spikes import Counts, simulate
from mnnbio.units import in_unit

Array = npt.NDArray[np.float64]

POPULATION = "neurons"
LARGEST_SHIFT = 2.0  # factor by which one correction changes what is aimed at


class UnmetTargetsWarning(UserWarning):
    """The spikes of a trained network do not have its targets, or too few were simulated to tell."""


class Measured(NamedTuple):
    """What spikes have, with standard errors; 1/ms."""

    rates: Array
    rate_errors: Array
    covariances: Array
    covariance_errors: Array


@dataclass(frozen=True, eq=False)
class SpikeTraining:
    """A recurrent network whose spikes have the rates and covariances that were asked for, and how it got there.

    Attributes
    ----------
    layer : MomentRecurrent
        The layer that was given, with the parameters of the best stage.
    circuit : Circuit
        The circuit with these parameters.
    met : bool
        Whether the best stage met its targets within the tolerances.
    best : int
        That stage.
    stages : Dataset
        Of every stage, the first of which is by theory alone: over ``stage`` and ``neuron`` `rate` and `rate_se` of
        spikes, `predicted_rate` and `target_rate` (Hz, NaN where there is no target); over ``stage`` and ``pairs``
        `covariance`, `covariance_se`, `predicted_covariance` and `target_covariance` (Hz). Over ``stage`` the relative
        errors of rates: `rms`, the root mean square beyond what sampling gives; `sampling`, that of the standard
        errors; and `mean`.
    """

    layer: MomentRecurrent
    circuit: Circuit
    met: bool
    best: int
    stages: xr.Dataset

    def __repr__(self) -> str:
        verdict = "met" if self.met else "not met"
        lines = [f"Spikes of {self.layer.features} neurons, targets {verdict} in stage {self.best}"]
        lines += [
            f"  {number}: {_described(self.stages.isel(stage=number))}" for number in range(len(self.stages.stage))
        ]
        return "\n".join(lines)


def train_to_spikes(
    layer: MomentRecurrent,
    currents: Moments,
    rates: Any,
    covariances: Sequence[PairTarget] = (),
    *,
    circuit: Circuit | None = None,
    population: str | None = None,
    corrections: int = 5,
    tolerance: float = 0.02,
    covariance_tolerance: float = 0.15,
    duration: Any = None,
    trials: int = 4,
    warmup: Any = 500.0,
    window: Any = 500.0,
    seed: int = 0,
) -> SpikeTraining:
    """Change a recurrent layer as little as possible until its spikes have given rates and mean covariances.

    Parameters
    ----------
    layer : MomentRecurrent
        Changed in place: what it trains, within its connections and Dale's law.
    currents : Moments
        That it receives from outside, shape (features,).
    rates : array_like or Quantity, shape (features,)
        Target rates, 1/ms; NaN for neurons without one.
    covariances : sequence of PairTarget
        Mean covariances of pairs, of counts in `window` and per time, 1/ms.
    circuit : Circuit, optional
        Circuit that is simulated, with one stimulus: made by `mnnbio.export` or by hand, with the layer as a population
        that receives these currents and a projection of explicit weights onto itself, which are replaced by those of
        the layer. By default neurons with Gaussian input that is independent between them.
    population : str, optional
        Its name in the circuit; needed where there are several.
    corrections : int
        At most, after the training by theory.
    tolerance : float
        Relative error of rates that is met: root mean square over neurons beyond sampling, and the mean.
    covariance_tolerance : float
        Relative error of mean covariances that is met.
    duration : float or Quantity, optional
        Simulated for every stage in all trials together, ms. By default long enough for standard errors of half the
        tolerance at the target rates: 1,000 s for 10 Hz and 2 %.
    trials : int
        Into which it is divided, one process each.
    warmup, window : float or Quantity
        ms. The window should be long beside the correlations: the theory is of long windows.
    seed : int
        Of the first stage; every stage has its own.

    Returns
    -------
    SpikeTraining

    Raises
    ------
    ValueError
        If targets or the circuit do not fit the layer.
    NotConverged
        If the layer cannot have the targets in theory.

    Warns
    -----
    UnmetTargetsWarning
        If no stage met the targets, or sampling does not tell, with the numbers.

    Examples
    --------
    ::

        trained = train_to_spikes(layer, currents, rates, [PairTarget(range(160), range(160), 3e-5)])
        print(trained)
        trained.stages.rate.isel(stage=trained.best)
    """
    require_integer("corrections", corrections, 0)
    require_integer("trials", trials, 1)
    for name, value in (("tolerance", tolerance), ("covariance_tolerance", covariance_tolerance)):
        if not value > 0:
            raise ValueError(f"`{name}` must be > 0, got {value}")
    wanted = checked_rates(rates, layer.features)
    pairs = [float(in_unit(target.covariance, "1/ms", "covariance")) for target in covariances]
    if any(value == 0 for value in pairs):
        raise ValueError("a target covariance must not be 0: it is met up to a relative error")
    simulated = _circuit(layer, currents) if circuit is None else circuit
    name = _population(simulated, population, layer)
    length = _trial_duration(wanted, tolerance, duration, trials, window)
    options = {"duration": length, "trials": trials, "warmup": warmup, "dt": layer.dt or 0.1}
    options["record"] = {name: Counts(bin=window)}
    aimed, aimed_pairs = wanted.copy(), np.array(pairs)
    stages, kept, errors = [], [], []
    for number in range(corrections + 1):
        try:
            reach_targets(layer, currents, aimed, _aimed_at(covariances, aimed_pairs))
        except NotConverged:
            if number == 0:
                raise
            break  # the shifted targets are out of reach: the best stage so far stays
        simulated = _with_layer(simulated, name, layer)
        found = _measured(simulate(simulated, seed=seed + number, **options), name, covariances)
        kept.append([parameter.detach().clone() for parameter in layer.trained()])
        predicted = _predicted(layer, currents, covariances)
        stages.append(_stage(found, predicted, wanted, np.array(pairs)))
        if _off(stages[-1], tolerance, covariance_tolerance) <= 1:
            break
        errors.append(_theory_error(found, predicted))
        shift, shift_pairs = (np.mean(own, 0) for own in zip(*errors[len(errors) // 2 :], strict=True))
        aimed, aimed_pairs = wanted * np.exp(-shift), np.array(pairs) - shift_pairs
    off = [_off(stage, tolerance, covariance_tolerance) for stage in stages]
    best = int(np.argmin(off))
    with torch.no_grad():
        for parameter, own in zip(layer.trained(), kept[best], strict=True):
            parameter.copy_(own)
    described = xr.concat(stages, dim="stage")
    training = SpikeTraining(layer, _with_layer(simulated, name, layer), off[best] <= 1, best, described)
    _warn(training, tolerance, covariance_tolerance, length * trials)
    return training


def _circuit(layer: MomentRecurrent, currents: Moments) -> Circuit:
    """Return the layer as a circuit of its own."""
    if not isinstance(currents.covariance, Diagonal):
        raise ValueError("currents that neurons share need a `circuit` that says where they come from")
    mean, std = currents.mean.detach().cpu().numpy(), currents.variance.detach().sqrt().cpu().numpy()
    return Circuit(
        [Population(POPULATION, layer.features, layer.activation.lif())],
        [Projection(POPULATION, POPULATION, weights=_weights(layer))],
        [GaussianDrive(POPULATION, mean=mean, std=std)],
    )


def _weights(layer: MomentRecurrent) -> Array:
    return np.asarray(layer.weight.detach().cpu().numpy(), dtype=np.float64)


def _population(circuit: Circuit, name: str | None, layer: MomentRecurrent) -> str:
    """Return the name of the population that the layer is, checked."""
    names = [population.name for population in circuit.neurons]
    if name is None:
        if len(names) != 1:
            raise ValueError(f"`population` must say which of {names} the layer is")
        (name,) = names
    if name not in names:
        raise ValueError(f"`population` must be one of {names}, got {name!r}")
    size = next(population.size for population in circuit.neurons if population.name == name)
    if size != layer.features:
        raise ValueError(f"{name!r} has {size} neurons, and the layer {layer.features}")
    own = [p for p in circuit.projections if (p.source, p.target) == (name, name)]
    if len(own) != 1 or own[0].weights is None:
        raise ValueError(f"{name!r} must have one projection of explicit weights onto itself, got {len(own)}")
    if circuit.n_stimuli is not None:
        raise ValueError("training is for one stimulus: choose it with `circuit.select(...)`")
    return name


def _with_layer(circuit: Circuit, name: str, layer: MomentRecurrent) -> Circuit:
    """Return the circuit with the weights of the layer, and its neurons where they learn."""

    def projection(part: Projection) -> Projection:
        if (part.source, part.target) != (name, name):
            return part
        dense = _weights(layer)
        return replace(part, weights=sparse.csr_array(dense) if sparse.issparse(part.weights) else dense)

    def neurons(part: Any) -> Any:
        return replace(part, neuron=layer.activation.lif()) if part.name == name and layer.activation.learn else part

    return circuit.with_parts(
        populations=[neurons(part) for part in circuit.populations],
        projections=[projection(part) for part in circuit.projections],
    )


def _trial_duration(wanted: Array, tolerance: float, duration: Any, trials: int, window: Any) -> float:
    """Return the time of a trial, ms, a whole number of windows."""
    length = float(in_unit(window, "ms", "window"))
    if duration is None:  # counts that vary as much as Poisson trains do
        known = wanted[np.isfinite(wanted)]
        total = float((1 / known).mean()) / (tolerance / 2) ** 2 if len(known) else 2000 * length
    else:
        total = float(in_unit(duration, "ms", "duration"))
    if not (length > 0 and total / trials >= 2 * length):
        raise ValueError(
            f"`duration` must hold two windows of {length:g} ms in each of {trials} trials, got {total:g} ms"
        )
    return length * float(np.ceil(total / trials / length - 1e-9))


def _measured(result: xr.DataTree, name: str, covariances: Sequence[PairTarget]) -> Measured:
    """Return rates and mean covariances of pairs in windows, with standard errors by the spread of the windows."""
    recorded = result["counts"].to_dataset()
    counts = recorded["count"]
    own = counts.values[..., recorded["population"].values == name].astype(np.float64)
    length = 1e3 * float(np.diff(recorded["time"].values[:2])[0])
    windows = own.reshape(-1, own.shape[-1])  # (window, neuron), of all trials
    number, root = len(windows), np.sqrt(len(windows))
    deviations = windows - windows.mean(0)
    products = []
    for first, second, _ in covariances:
        sides = [np.isin(np.arange(windows.shape[1]), np.asarray(list(side))) for side in (first, second)]
        both = sides[0] & sides[1]
        shared = deviations[:, sides[0]].sum(1) * deviations[:, sides[1]].sum(1) - (deviations[:, both] ** 2).sum(1)
        products.append(shared / (sides[0].sum() * sides[1].sum() - both.sum()) / length)
    found = np.array(products).reshape(len(covariances), number)
    return Measured(
        windows.mean(0) / length,
        windows.std(0, ddof=1) / root / length,
        found.sum(1) / (number - 1),
        found.std(1, ddof=1) / root,
    )


def _predicted(layer: MomentRecurrent, currents: Moments, covariances: Sequence[PairTarget]) -> Measured:
    """Return what the theory has for the same."""
    with torch.no_grad():
        if not covariances:
            rates = layer.rates(currents)
            return Measured(rates.cpu().numpy(), np.zeros(len(rates)), np.zeros(0), np.zeros(0))
        state = layer(currents)
        matrix = state.covariance.to_dense().cpu().numpy()
    means = []
    for first, second, _ in covariances:
        rows, columns = np.asarray(list(first)), np.asarray(list(second))
        means.append(matrix[np.ix_(rows, columns)][rows[:, None] != columns].mean())
    rates = state.mean.cpu().numpy()
    return Measured(rates, np.zeros(len(rates)), np.array(means), np.zeros(len(means)))


def _theory_error(found: Measured, predicted: Measured) -> tuple[Array, Array]:
    """Return by how much spikes exceed the theory: rates by a bounded logarithm, covariances by a difference."""
    ratio = np.maximum(found.rates, 1e-300) / np.maximum(predicted.rates, 1e-300)
    bound = np.log(LARGEST_SHIFT)
    return np.clip(np.log(ratio), -bound, bound), found.covariances - predicted.covariances


def _aimed_at(covariances: Sequence[PairTarget], values: Array) -> list[PairTarget]:
    return [target._replace(covariance=float(v)) for target, v in zip(covariances, values, strict=True)]


def _stage(found: Measured, predicted: Measured, wanted: Array, pairs: Array) -> xr.Dataset:
    """Return a stage beside its targets, and the relative errors of its rates."""
    known = np.isfinite(wanted)
    relative, error = found.rates[known] / wanted[known] - 1, found.rate_errors[known] / wanted[known]
    number = max(1, int(known.sum()))
    sampling = float((error**2).sum() / number)
    over, of = ("neuron",), ("pairs",)
    return xr.Dataset(
        {
            "rate": (over, 1e3 * found.rates),
            "rate_se": (over, 1e3 * found.rate_errors),
            "predicted_rate": (over, 1e3 * predicted.rates),
            "target_rate": (over, 1e3 * wanted),
            "covariance": (of, 1e3 * found.covariances),
            "covariance_se": (of, 1e3 * found.covariance_errors),
            "predicted_covariance": (of, 1e3 * predicted.covariances),
            "target_covariance": (of, 1e3 * pairs),
            "rms": float(np.sqrt(max(0.0, (relative**2).sum() / number - sampling))),
            "sampling": float(np.sqrt(sampling)),
            "mean": float(relative.sum() / number),
        }
    )


def _off(stage: xr.Dataset, tolerance: float, covariance_tolerance: float) -> float:
    """Return the largest error of a stage in units of its tolerance."""
    pairs = np.abs(stage.covariance.values / stage.target_covariance.values - 1) / covariance_tolerance
    return float(max(stage.rms / tolerance, abs(stage["mean"]) / tolerance, *pairs))


def _described(stage: xr.Dataset) -> str:
    text = (
        f"rates off by {100 * float(stage.rms):.2f} % beyond sampling of {100 * float(stage.sampling):.2f} %, mean "
        f"{100 * float(stage['mean']):+.2f} %"
    )
    for value, error, target in zip(
        stage.covariance.values, stage.covariance_se.values, stage.target_covariance.values, strict=True
    ):
        text += f"; covariance {value:.4g} ± {error:.2g} Hz, {100 * (value / target - 1):+.1f} %"
    return text


def _warn(training: SpikeTraining, tolerance: float, covariance_tolerance: float, duration: float) -> None:
    """Warn of targets that are not met, or not known to be."""
    stage = training.stages.isel(stage=training.best)
    if not training.met:
        warnings.warn(
            f"targets are not met in spikes after {len(training.stages.stage)} stages, the best of which has "
            f"{_described(stage)}. Allow more `corrections`, or ask for less",
            UnmetTargetsWarning,
            stacklevel=3,
        )
    noise = float(stage.sampling) / tolerance
    error = np.abs(stage.covariance_se.values / stage.target_covariance.values) / covariance_tolerance
    worst = max([noise, *(2 * error)])
    if worst > 1:
        warnings.warn(
            f"{duration / 1e3:.4g} s of spikes do not tell whether targets are met: standard errors are "
            f"{100 * float(stage.sampling):.2g} % of rates"
            + (f" and {100 * float((error * covariance_tolerance).max()):.2g} % of covariances" if len(error) else "")
            + f". Simulate {duration * worst**2 / 1e3:,.0f} s",
            UnmetTargetsWarning,
            stacklevel=3,
        )
