"""Causes of a wrong prediction that can be told by the pattern of differences that each of them makes.

A cause has one size. Its pattern is how the prediction of the circuit changes with that size, found by predicting the
changed circuit: rates, count variances and covariances of all neurons together. A cause of a user's own is a `Cause`
with a function that changes the circuit.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import xarray as xr
from scipy.interpolate import CubicSpline

from mnnbio.circuit import Circuit, GaussianDrive, ModeMatrix, PoissonDrive, PoissonSource, Population, check_time_step
from mnnbio.moments import NotConverged
from mnnbio.theory import predict

Array = npt.NDArray[np.float64]

FEATURES = {"rate": "rate", "count_variance": "count_variance", "covariance": "count_covariance"}
RELATIVE = (-0.3, -0.2, -0.1, -0.05, -0.02, 0.0, 0.02, 0.05, 0.1, 0.2, 0.3)
STEP_RATIOS = (0.1, 0.2, 0.25, 0.5, 1.0, 2.0, 2.5, 4.0, 5.0, 10.0)
WINDOW_RATIOS = (0.25, 0.35, 0.5, 0.7, 0.85, 1.0, 1.2, 1.4, 2.0, 2.8, 4.0)
REFRACTORY_RATIOS = (-1.0, -0.8, -0.6, -0.4, -0.2, 0.0, 0.2, 0.4, 0.7, 1.0)
SAME_VALUES = 0.02  # root mean square difference of sorted values, over their spread, up to which they are the same


class Features(NamedTuple):
    """What is compared of all neurons; each of shape (stimulus, …), those that are left out None."""

    rate: Array  # (stimulus, neuron), Hz
    count_variance: Array | None  # (stimulus, neuron)
    covariance: Array | None  # of pairs of different neurons, (stimulus, pair)

    def flat(self) -> Array:
        """Return all of them as rows, (stimulus, feature)."""
        return np.concatenate([v for v in self if v is not None], axis=1)


def features_of(result: xr.Dataset, names: Sequence[str], suffix: str = "") -> Features:
    """Return the features of a prediction or a simulation, or with the suffix ``_se`` their standard errors.

    Parameters
    ----------
    result : Dataset
    names : sequence of str
        Among `FEATURES`.
    suffix : str
    """

    def rows(name: str) -> Array:
        last = [d for d in ("neuron", "neuron_j") if d in result[name].dims]
        values = result[name].transpose(..., *last).values.astype(np.float64)
        return values if "stimulus" in result[name].dims else values[None]

    pairs = None
    if "covariance" in names:
        matrix = rows(FEATURES["covariance"] + suffix)
        one, other = np.triu_indices(matrix.shape[-1], 1)
        pairs = matrix[:, one, other]
    return Features(
        rows("rate" + suffix), rows("count_variance" + suffix) if "count_variance" in names else None, pairs
    )


@dataclass(frozen=True, kw_only=True)
class Cause:
    """A cause of a wrong prediction: what was changed in the circuit that was predicted, by one number.

    Parameters
    ----------
    name : str
    change : callable
        Returns a circuit with a change of some size: ``change(circuit, size)``; size 0 changes nothing.
    sizes : sequence of float
        Increasing, 0 among them, for which it is predicted; in between the patterns are interpolated.
    says : str
        Sentence with ``{size}`` and ``{error}``, such as ``"weights too large by {size:+.1%} ± {error:.1%}"``.
    applies : callable, optional
        Whether the circuit has what is changed.
    """

    name: str
    change: Callable[[Circuit, float], Circuit]
    sizes: Sequence[float] = RELATIVE
    says: str = "{name}: off by {size:+.3g} ± {error:.2g}"
    applies: Callable[[Circuit], bool] = lambda circuit: True

    def __post_init__(self) -> None:
        if 0.0 not in list(self.sizes) or list(self.sizes) != sorted(set(self.sizes)) or len(self.sizes) < 3:
            raise ValueError(
                f"`sizes` of the cause {self.name!r} must be three or more increasing numbers, 0 among them, got "
                f"{list(self.sizes)}"
            )


def scaled_weights(circuit: Circuit, size: float) -> Circuit:
    """Return a circuit with all weights changed by a part of theirs, those of Poisson drives, too."""
    factor, projections = 1 + size, []
    for p in circuit.projections:
        matrix = circuit.matrix(p)
        scaled = replace(matrix, scores=matrix.scores * factor) if isinstance(matrix, ModeMatrix) else matrix * factor
        realised: dict[str, Any] = {"weights": scaled, "weight": None, "connectivity": None, "delay": circuit.delays(p)}
        projections.append(replace(p, **realised))
    drives = [replace(d, weight=d.weight * factor) if isinstance(d, PoissonDrive) else d for d in circuit.drives]
    return circuit.with_parts(projections=projections, drives=drives)


def scaled_input_rates(circuit: Circuit, size: float) -> Circuit:
    """Return a circuit whose Poisson sources and drives fire more by a part of their rates."""
    populations = [
        replace(p, rates=p.rates * (1 + size)) if isinstance(p, PoissonSource) else p for p in circuit.populations
    ]
    drives = [replace(d, rate=d.rate * (1 + size)) if isinstance(d, PoissonDrive) else d for d in circuit.drives]
    return circuit.with_parts(populations=populations, drives=drives)


def scaled_drive(circuit: Circuit, size: float) -> Circuit:
    """Return a circuit whose Gaussian drives have means larger by a part of them."""
    drives = [replace(d, mean=d.mean * (1 + size)) if isinstance(d, GaussianDrive) else d for d in circuit.drives]
    return circuit.with_parts(drives=drives)


def scaled_noise(circuit: Circuit, size: float) -> Circuit:
    """Return a circuit whose Gaussian drives have standard deviations larger by a part of them."""
    drives = [
        replace(d, std=d.std * (1 + size), factor=None if d.factor is None else d.factor * (1 + size))
        if isinstance(d, GaussianDrive)
        else d
        for d in circuit.drives
    ]
    return circuit.with_parts(drives=drives)


def longer_refractory(circuit: Circuit, size: float) -> Circuit:
    """Return a circuit whose neurons rest longer after a spike, by a time in ms."""
    populations = [
        replace(p, neuron=replace(p.neuron, t_ref=np.maximum(p.neuron.t_ref + size, 0.0)))  # type: ignore[type-var, attr-defined]
        if isinstance(p, Population)
        else p
        for p in circuit.populations
    ]
    return circuit.with_parts(populations=populations)


def _has(kind: type, name: str) -> Callable[[Circuit], bool]:
    return lambda circuit: any(isinstance(d, kind) and np.any(getattr(d, name)) for d in circuit.drives)


def _has_input_rates(circuit: Circuit) -> bool:
    return any(isinstance(p, PoissonSource) for p in circuit.populations) or _has(PoissonDrive, "rate")(circuit)


CHANGES = (
    Cause(
        name="weights",
        change=scaled_weights,
        says="the weights of the prediction are off by {size:+.1%} ± {error:.1%}",
        applies=lambda circuit: bool(circuit.projections),
    ),
    Cause(
        name="input rates",
        change=scaled_input_rates,
        says="the input rates of the prediction are off by {size:+.1%} ± {error:.1%}",
        applies=_has_input_rates,
    ),
    Cause(
        name="drive",
        change=scaled_drive,
        says="the mean drive of the prediction is off by {size:+.1%} ± {error:.1%}",
        applies=_has(GaussianDrive, "mean"),
    ),
    Cause(
        name="noise",
        change=scaled_noise,
        says="the noise of the prediction's drive is off by {size:+.1%} ± {error:.1%}",
        applies=_has(GaussianDrive, "std"),
    ),
)
# Causes that are not a change of the circuit by a part of something; all of them by name.
NAMES = (
    "rates",
    *(cause.name for cause in CHANGES),
    "refractory period",
    "time step",
    "window",
    "shuffled covariance",
    "shuffled neurons",
)
SAYS = {
    "rates": "the predicted rates are off by the factor of {size:+.1%} ± {error:.1%}, other quantities are not",
    "refractory period": "the refractory period of the prediction is off by {size:+.2g} ± {error:.1g} ms",
    "time step": "the prediction is for steps of {size:.2g} ms{margin}, the simulation ran in steps of {right:g} ms",
    "window": "the prediction is for windows of {size:.3g} ± {error:.2g} ms, the simulation counted in {right:g} ms",
    "shuffled covariance": "the predicted covariances stand at other pairs than they belong to ({size:.0%} ± "
    "{error:.0%} of the difference is made good by putting them back)",
    "shuffled neurons": "the predicted values stand at other neurons than they belong to ({size:.0%} ± {error:.0%} of "
    "the difference is made good by putting them back)",
}


class Pattern(NamedTuple):
    """How the features of a prediction depend on the size of a cause."""

    name: str
    at: Array  # (node,), coordinate in which they are smooth
    values: Array  # (node, stimulus, feature)
    zero: float  # coordinate of no error
    size: Callable[[float], float]  # of a coordinate
    says: str
    right: float = 0.0  # size of no error

    def spline(self) -> CubicSpline:
        """Return the weights of the nodes as functions of the coordinate."""
        return CubicSpline(self.at, np.eye(len(self.at)))


class Sensitivities(NamedTuple):
    """Patterns of all causes for a circuit, made once for many data.

    Parameters
    ----------
    reference : Features
        What is predicted of the circuit as the simulation ran it.
    correlation : ndarray, shape (stimulus, neuron, neuron)
        Predicted correlation of spike counts.
    variance : ndarray, shape (stimulus, neuron)
        Predicted long-window count variance per time, Hz.
    patterns : tuple of Pattern
    names : tuple of str
        Features that are compared.
    options : mapping
        Of the predictions.
    """

    reference: Features
    correlation: Array
    variance: Array
    patterns: tuple[Pattern, ...]
    names: tuple[str, ...]
    options: Mapping[str, Any]


def sensitivities(
    circuit: Circuit,
    *,
    dt: float,
    window: float | None,
    closure: Any = "poisson",
    theory: str = "diffusion",
    features: Iterable[str] = tuple(FEATURES),
    causes: Sequence[str | Cause] = NAMES,
) -> Sensitivities:
    """Return how the prediction of a circuit changes with the size of each cause.

    Parameters
    ----------
    circuit : Circuit
    dt, window : float
        Of the simulation, ms.
    closure, theory
        Of `predict`.
    features : iterable of str
        What is compared: ``rate``, ``count_variance``, ``covariance``.
    causes : sequence of str or Cause
        Names in `mnnbio.validation.CAUSES`, or causes of a user's own.

    Raises
    ------
    ValueError
        If a cause or a feature is unknown.
    """
    names = tuple(name for name in FEATURES if name in set(features))
    unknown = [c for c in causes if not isinstance(c, Cause) and c not in NAMES] + sorted(set(features) - set(FEATURES))
    if unknown or "rate" not in names:
        raise ValueError(
            f"`causes` are among {', '.join(NAMES)} or a Cause, `features` among {', '.join(FEATURES)} with 'rate'; "
            f"got {unknown or list(features)}"
        )
    options = {"closure": closure, "theory": theory, "dt": dt, "window": window}

    def found(changed: Circuit, **other: Any) -> xr.Dataset:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            return predict(changed, **{**options, **other})

    whole = found(circuit)
    reference = features_of(whole, names)
    matrix = whole["covariance"].transpose(..., "neuron", "neuron_j").values
    matrix = matrix if matrix.ndim == 3 else matrix[None]
    spread = np.sqrt(np.maximum(np.diagonal(matrix, axis1=1, axis2=2), 1e-300))
    correlation = matrix / spread[:, :, None] / spread[:, None, :]
    cov = "covariance" in names

    def row(changed: Circuit, **other: Any) -> Array:
        return features_of(found(changed, covariance=cov, **other), names).flat()

    origin = reference.flat()
    patterns: list[Pattern] = []
    for cause in causes:
        if isinstance(cause, str):
            known = next((c for c in CHANGES if c.name == cause), None)
            if known is None:
                patterns += _special(cause, circuit, row, origin, dt, window, names, theory)
                continue
            cause = known
        if cause.applies(circuit):
            says = cause.says.replace("{name}", cause.name)
            patterns += _tabulated(
                cause.name, cause.sizes, 0.0, partial(_changed, row, circuit, cause), origin, lambda x: x, says
            )
    return Sensitivities(reference, correlation, spread**2, tuple(patterns), names, options)


def _changed(row: Callable[..., Array], circuit: Circuit, cause: Cause, size: float) -> Array:
    return row(cause.change(circuit, size))


def _tabulated(
    name: str,
    places: Sequence[float],
    zero: float,
    row: Callable[[float], Array],
    origin: Array,
    size: Callable[[float], float],
    says: str,
    right: float = 0.0,
) -> list[Pattern]:
    """Return a pattern over those places next to zero at which there is a prediction."""
    found: dict[float, Array] = {zero: origin}
    for side in (sorted(p for p in places if p > zero), sorted((p for p in places if p < zero), reverse=True)):
        for place in side:
            try:
                found[place] = row(place)
            except (ValueError, NotConverged):  # unstable, or no state: further on there is none, either
                break
    at = np.array(sorted(found))
    if len(at) < 3:
        return []
    return [Pattern(name, at, np.array([found[p] for p in at]), zero, size, says, right)]


def _special(
    name: str,
    circuit: Circuit,
    row: Callable[..., Array],
    origin: Array,
    dt: float,
    window: float | None,
    names: Sequence[str],
    theory: str,
) -> list[Pattern]:
    """Return the pattern of a cause that is more than a change by a part of something."""
    if name == "time step":
        steps = [ratio * dt for ratio in STEP_RATIOS if _accepted(circuit, ratio * dt)]
        places = [np.sqrt(s) for s in steps] + ([] if theory == "first_passage" else [0.0])

        def in_steps(place: float) -> Array:
            return row(circuit, dt=round(place**2, 9) or None)

        return _tabulated(
            name, places, float(np.sqrt(dt)), in_steps, origin, lambda x: max(x, 0.0) ** 2, SAYS[name], dt
        )
    if name == "window":
        if window is None or "count_variance" not in names:
            return []
        places = [float(np.log(ratio * window)) for ratio in WINDOW_RATIOS if ratio != 1]
        return _tabulated(
            name,
            places,
            float(np.log(window)),
            lambda x: row(circuit, window=float(np.exp(x))),
            origin,
            lambda x: float(np.exp(x)),
            SAYS[name],
            window,
        )
    if name == "refractory period":
        longest = max((float(np.max(getattr(p.neuron, "t_ref", 0.0))) for p in circuit.neurons), default=0.0)
        scale = longest or 1.0
        places = sorted(
            {round(ratio * scale / dt) * dt for ratio in REFRACTORY_RATIOS if longest or ratio >= 0} - {0.0}
        )
        return _tabulated(
            name, places, 0.0, lambda s: row(longer_refractory(circuit, s)), origin, lambda x: x, SAYS[name]
        )
    return []  # rates and shuffles depend on the prediction that is given


def _accepted(circuit: Circuit, dt: float) -> bool:
    try:
        check_time_step(circuit, dt)
    except ValueError:
        return False
    return True


def given_patterns(found: Sensitivities, prediction: Features, causes: Sequence[str | Cause]) -> list[Pattern]:
    """Return the patterns of those causes that change what was predicted, not the circuit.

    Parameters
    ----------
    found : Sensitivities
    prediction : Features
        As it was given.
    causes : sequence of str or Cause
    """
    origin, patterns = found.reference.flat(), []
    if "rates" in causes:
        # A prediction that is (1 + x) times the truth is off by x/(1 + x) of itself.
        sizes = np.array(RELATIVE)
        off = prediction.rate * (sizes / (1 + sizes))[:, None, None]
        values = np.repeat(origin[None], len(sizes), axis=0)
        values[:, :, : off.shape[-1]] += off
        patterns.append(Pattern("rates", sizes, values, 0.0, lambda x: x, SAYS["rates"]))
    shares = np.array([-0.5, 0.0, 0.5, 1.0, 1.5])[:, None, None]
    if "shuffled covariance" in causes and prediction.covariance is not None:
        own, right = prediction.covariance, found.reference.covariance
        assert right is not None
        if _permuted(own, right):
            change = np.zeros_like(origin)
            change[:, -own.shape[1] :] = own - right
            patterns.append(_share("shuffled covariance", shares, origin, change))
    if "shuffled neurons" in causes and _permuted(prediction.rate, found.reference.rate):
        patterns.append(_share("shuffled neurons", shares, origin, prediction.flat() - origin))
    return patterns


def _share(name: str, shares: Array, origin: Array, change: Array) -> Pattern:
    return Pattern(name, shares[:, 0, 0], origin + shares * change, 0.0, lambda x: x, SAYS[name])


def _permuted(own: Array, right: Array) -> bool:
    """Return whether rows hold the same values as others, but not at the same places."""
    spread = right.std()
    if own.shape[1] < 3 or not spread > 0:
        return False

    def distance(one: Array, other: Array) -> float:
        return float(np.sqrt(((one - other) ** 2).mean()) / spread)

    return distance(np.sort(own, 1), np.sort(right, 1)) < SAME_VALUES and distance(own, right) > 5 * SAME_VALUES
