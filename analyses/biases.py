"""Biases of a prediction, of populations and of the network: with intervals, and tests that they are small enough.

Four aspects of a population are judged, each relative to the prediction and each against a margin:

- ``rate``: mean rate of its neurons;
- ``rate_deviation``: root mean square difference of the rates of its single neurons, beyond what sampling adds;
- ``count_variance``: mean variance of its neurons' counts;
- ``summed_variance``: variance of its summed count, which covariances make.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import xarray as xr
from scipy import stats

from mnnbio.analyses.alignment import Aligned
from mnnbio.analyses.record_blocks import Blocks, Excess, Members, excess_square, mean_error, record_blocks
from mnnbio.analyses.significance import degrees_of_freedom

Array = npt.NDArray[np.float64]
Variables = dict[str, tuple[Any, Any, dict[str, str]]]

# Largest errors that are taken for agreement, relative to the prediction (docs/verdicts.md says why).
MARGINS = {"rate": 0.02, "rate_deviation": 0.05, "count_variance": 0.10, "summed_variance": 0.20}

_TEXTS = {
    "rate": "mean firing rate of the neurons",
    "rate_deviation": "root mean square difference of the rates of single neurons beyond sampling",
    "count_variance": "mean spike count variance of the neurons",
    "summed_variance": "variance of the summed spike count",
}
_POWER = 0.9  # of the trials that a verdict asks for


class Bias(NamedTuple):
    """A relative error of a population, and what the data say of it."""

    predicted: float
    """What it is relative to, in the quantity's unit."""
    value: float
    """(simulated − predicted) / predicted."""
    se: float
    """Its standard error."""
    dof: float
    """Degrees of freedom of that."""
    squared: bool = False
    """Whether the value is a root mean square. Its *square* was then estimated, and `se` is that of the square."""
    base: float = 0.0
    """Variance of the square, were it zero."""
    slope: float = 0.0
    """Variance that is added for each unit of the square."""

    def interval(self, confidence: float) -> tuple[float, float]:
        """Return the interval that covers the true value with a probability."""
        reach = self._quantile((1 + confidence) / 2) * self.se
        return self._shown(self._center - reach), self._shown(self._center + reach)

    def p(self) -> float:
        """Return the probability of a value as far from zero, were the prediction exact; of a square, as large."""
        if not self.known:
            return float("nan")
        tail = float(stats.t.sf(self._center / self.se if self.squared else abs(self._center) / self.se, self.dof))
        return tail if self.squared else min(2 * tail, 1.0)

    def equivalence_p(self, margin: float) -> float:
        """Return the larger p of two one-sided tests that the value lies outside ± a margin."""
        if not self.known:
            return float("nan")
        if self.squared:
            return float(stats.t.cdf((self._center - margin**2) / self._error_at(margin**2), self.dof))
        return float(stats.t.cdf((abs(self._center) - margin) / self.se, self.dof))

    def shown_within(self, confidence: float) -> float:
        """Return the smallest margin within which the value is shown to lie, with a confidence."""
        if not self.known:
            return float("nan")
        quantile = self._quantile(confidence)
        if not self.squared:
            return abs(self._center) + quantile * self.se
        bound = max(self._center + quantile * self.se, 0.0)
        for _ in range(100):  # its error grows with the bound, as its root: the sequence ascends to a limit
            bound = max(self._center + quantile * self._error_at(bound), 0.0)
        return float(np.sqrt(bound))

    def more_data(self, margin: float, confidence: float) -> float:
        """Return how many times the data would show an exact prediction to be within a margin, nine times in ten.

        NaN where no error is known.
        """
        if not self.known:
            return float("nan")
        # Two one-sided tests of a true zero reach a power 1 − b where both have 1 − b/2.
        power = _POWER if self.squared else (1 + _POWER) / 2
        reach = float(stats.norm.ppf(confidence) + stats.norm.ppf(power)) ** 2
        if not self.squared:
            return reach * self.se**2 / margin**2
        # Of the variance of a square one part falls as 1/T², the other as 1/T.
        linear, quartic = reach * self.slope * margin**2, margin**4
        return float((linear + np.sqrt(linear**2 + 4 * quartic * reach * self.base)) / (2 * quartic))

    def _error_at(self, square: float) -> float:
        """Return the error that the square would have, were this its true value; no smaller than the one found."""
        return float(np.sqrt(max(self.se**2, self.base + self.slope * square)))

    @property
    def known(self) -> bool:
        """Whether there is an error to judge by."""
        return bool(np.isfinite(self.value) and np.isfinite(self.se) and self.se > 0)

    @property
    def _center(self) -> float:
        return float(np.sign(self.value) * self.value**2) if self.squared else self.value

    def _quantile(self, probability: float) -> float:
        return float(stats.t.ppf(probability, self.dof)) if self.known else float("nan")

    def _shown(self, bound: float) -> float:
        if not self.squared:
            return bound
        return float(np.sqrt(max(bound, 0.0))) if np.isfinite(bound) else float("nan")


def require_margins(margin: float | Mapping[str, float] | None) -> dict[str, float]:
    """Return the margin of every aspect.

    Parameters
    ----------
    margin : float or mapping, optional
        One for all, or by the names of the aspects; others have the usual one.

    Raises
    ------
    ValueError
        If a name is not one of the aspects, or a margin not a share above zero.
    """
    if margin is None:
        return dict(MARGINS)
    given = dict(margin) if isinstance(margin, Mapping) else dict.fromkeys(MARGINS, margin)
    if unknown := sorted(set(given) - set(MARGINS)):
        raise ValueError(f"Invalid name {unknown[0]!r} in `margin`. Must be one of {sorted(MARGINS)}")
    for name, value in given.items():
        number = isinstance(value, int | float | np.number) and not isinstance(value, bool)
        if not number or not (np.isfinite(value) and value > 0):
            raise ValueError(f"`margin` of {name} must be a share above 0, such as 0.02 for 2 %, got {value!r}")
    return {**MARGINS, **{name: float(value) for name, value in given.items()}}


class Biases(NamedTuple):
    """Biases of all populations by aspect and population (None: all neurons), and how their errors were found."""

    values: dict[str, dict[str | None, Bias]]
    basis: str
    """What the errors rest on, in words."""
    blocks: int
    """Number of blocks, 0 where the errors rest on matrices."""
    blocks_length: float
    """Their length, s."""


def find_biases(
    simulation: xr.Dataset | xr.DataTree,
    aligned: Aligned,
    members: Members,
    *,
    min_spikes: float = 0.0,
    blocks: int | None = None,
) -> Biases:
    """Return the biases of a prediction.

    Parameters
    ----------
    simulation : Dataset or DataTree
        The simulation, with its spikes or counts where there are any.
    aligned : Aligned
        Prediction and simulation.
    members : dict
        Indices of the neurons of each population, and of all neurons under None.
    min_spikes : float
        Populations of which fewer spikes are both expected and found have no standard error: it would mean little.
    blocks : int, optional
        Number of blocks of the record, at the least.
    """
    predicted, simulated, attrs = aligned
    windowed = {"count_variance"} <= set(predicted) and {"count_variance", "count_variance_se"} <= set(simulated)
    window = float(attrs["window"]) if windowed and "window" in attrs else None
    samples = record_blocks(simulation, simulated, members, window=window, blocks=blocks)
    if samples is not None and (samples.number > 1 or samples.rate.shape[0] > 1):
        values, basis = _of_blocks(aligned, members, samples), "blocks of the record"
    else:
        samples = None
        values, basis = _of_matrices(aligned, members, windowed)
    _forget_few(values, aligned, members, min_spikes)
    total = 0 if samples is None else samples.number * samples.rate.shape[0]
    return Biases(values, basis, total, 0.0 if samples is None else samples.length)


def _of_blocks(aligned: Aligned, members: Members, samples: Blocks) -> dict[str, dict[str | None, Bias]]:
    """Return biases whose errors are what varies between blocks."""
    predicted, _, attrs = aligned
    rate, own = _strata(predicted["rate"]), samples.rate.mean(axis=1)
    one = _one_spike(attrs, own.shape[0])
    found: dict[str, dict[str | None, Bias]] = {name: {} for name in ("rate", "rate_deviation")}
    for name, mine in members.items():
        known = mine[np.isfinite(rate[:, mine]).all(axis=0)]
        difference = samples.rate[..., known] - rate[:, None, known]
        se, dof = mean_error(difference.mean(axis=-1) if len(known) else np.full(samples.rate.shape[:2], np.nan))
        found["rate"][name] = _relative(rate[:, known], own[:, known], se if se != 0 else one, dof)
        excess = excess_square(difference)
        if excess.variance == 0:  # as of silent neurons: the rates are still known to one spike only
            excess = excess._replace(variance=(2 * np.sqrt(abs(excess.value)) * one + one**2) ** 2)
        found["rate_deviation"][name] = _deviation(rate[:, known], excess)
    if samples.variance is None or samples.summed is None:
        return found
    variance, measured = _strata(predicted["count_variance"]), samples.variance.mean(axis=1)
    found["count_variance"] = {}
    for name, mine in members.items():
        known = mine[np.isfinite(variance[:, mine]).all(axis=0)]
        se, dof = mean_error(samples.variance[..., known].mean(axis=-1)) if len(known) else (np.nan, np.nan)
        found["count_variance"][name] = _relative(variance[:, known], measured[:, known], se or np.nan, dof)
    if "count_covariance" not in predicted:
        return found
    found["summed_variance"] = {}
    matrix = _matrices(predicted["count_covariance"])
    for name, mine in members.items():
        if len(mine) < 2:
            continue
        total = matrix[:, mine][:, :, mine].sum(axis=(1, 2))
        values = samples.summed[name]
        se, dof = mean_error(values)
        found["summed_variance"][name] = _relative(total[:, None], values.mean(axis=1)[:, None], se or np.nan, dof)
    return found


def _forget_few(
    values: dict[str, dict[str | None, Bias]], aligned: Aligned, members: Members, min_spikes: float
) -> None:
    """Take away the errors of populations of which hardly a spike is expected or found."""
    predicted, simulated, attrs = aligned
    time = float(attrs.get("duration", np.nan)) * float(attrs.get("trials", 1))
    spikes = np.fmax(_strata(predicted["rate"]).sum(axis=0), _strata(simulated["rate"]).sum(axis=0)) * time
    for of in values.values():
        for name in of:
            if spikes[members[name]].sum() < min_spikes:
                of[name] = of[name]._replace(se=np.nan)


def _of_matrices(aligned: Aligned, members: Members, windowed: bool) -> tuple[dict[str, dict[str | None, Bias]], str]:
    """Return biases whose errors come from those of single neurons and the correlations of their counts."""
    predicted, simulated, attrs = aligned
    matrix, basis = _correlations(predicted, simulated)
    rate, own, error = (_strata(array) for array in (predicted["rate"], simulated["rate"], simulated["rate_se"]))
    samples = simulated["rate_se"].attrs.get("n_samples", attrs.get("n_samples"))
    freedom = degrees_of_freedom(samples, "mean") * len(rate)
    found: dict[str, dict[str | None, Bias]] = {name: {} for name in ("rate", "rate_deviation")}
    for name, mine in members.items():
        known = mine[np.isfinite(rate[:, mine]).all(axis=0)]
        noise = _covariance(error[:, known], matrix, known)
        se = np.sqrt(max(noise.sum(), 0.0)) / max(noise.shape[0] * len(known), 1) if len(known) else np.nan
        found["rate"][name] = _relative(rate[:, known], own[:, known], float(se) or np.nan, freedom)
        difference = own[:, known] - rate[:, known]
        size, trace = max(difference.size, 1), float(np.einsum("sii->", noise))
        linear = max(float(np.einsum("si,sij,sj->", difference, noise, difference) - (noise**2).sum()), 0.0)
        base, value = 2 * float((noise**2).sum()) / size**2, float((difference**2).sum() - trace) / size
        excess = Excess(value, base + 4 * linear / size**2, base, 4 * trace / size**2, freedom)
        found["rate_deviation"][name] = _deviation(rate[:, known], excess)
    if windowed:
        variance, measured, error = (
            _strata(array)
            for array in (predicted["count_variance"], simulated["count_variance"], simulated["count_variance_se"])
        )
        number = simulated["count_variance_se"].attrs.get("n_samples", attrs.get("n_samples"))
        freedom = degrees_of_freedom(number, "mean") * len(variance)
        found["count_variance"] = {}
        for name, mine in members.items():
            known = mine[np.isfinite(variance[:, mine]).all(axis=0)]
            # Of Gaussian counts the squares have the squares of the correlations.
            noise = _covariance(error[:, known], None if matrix is None else matrix**2, known)
            se = np.sqrt(max(noise.sum(), 0.0)) / max(noise.shape[0] * len(known), 1) if len(known) else np.nan
            found["count_variance"][name] = _relative(
                variance[:, known], measured[:, known], float(se) or np.nan, freedom
            )
    return found, basis


def _correlations(predicted: xr.Dataset, simulated: xr.Dataset) -> tuple[Array | None, str]:
    """Return the correlations of counts (stimulus, neuron, neuron), and what they are."""
    for side, data in (("simulated", simulated), ("predicted", predicted)):
        for name in ("count_covariance", "covariance"):
            if name not in data or not np.isfinite(data[name]).all():
                continue
            values = _matrices(data[name])
            scale = np.sqrt(np.einsum("sii->si", values))
            scale = scale[:, :, None] * scale[:, None, :]
            correlations = np.divide(values, scale, out=np.zeros(values.shape), where=scale > 0)
            return correlations, f"errors of single neurons and {side} correlations of their counts"
    return None, "errors of single neurons, taken as independent of each other"


def _covariance(error: Array, matrix: Array | None, mine: npt.NDArray[np.int64]) -> Array:
    """Return the covariance of the estimates of some neurons, (stimulus, neuron, neuron)."""
    n = len(mine)
    correlations = np.eye(n)[None] if matrix is None else matrix[:, mine][:, :, mine].copy()
    correlations[:, np.arange(n), np.arange(n)] = 1.0
    return np.asarray(error[:, :, None] * correlations * error[:, None, :])


def _relative(predicted: Array, simulated: Array, se: float, dof: float) -> Bias:
    """Return the bias of a mean over stimuli and neurons, given its error."""
    if predicted.size == 0:
        return Bias(np.nan, np.nan, np.nan, np.nan)
    x, y = float(predicted.mean()), float(simulated.mean())
    if not x > 0:
        return Bias(x, np.nan if y == x else np.inf, np.nan, dof)
    return Bias(x, (y - x) / x, se / x, dof)


def _deviation(predicted: Array, excess: Excess) -> Bias:
    """Return the root mean square difference relative to the mean prediction; below zero where chance makes it so."""
    x = float(predicted.mean()) if predicted.size else np.nan
    if not x > 0:
        return Bias(x, np.nan, np.nan, np.nan, squared=True)
    value = float(np.sign(excess.value) * np.sqrt(abs(excess.value)) / x)
    se = float(np.sqrt(excess.variance)) or np.nan
    return Bias(x, value, se / x**2, excess.dof, True, excess.base / x**4, excess.slope / x**2)


def _one_spike(attrs: Mapping[str, Any], strata: int) -> float:
    """Return the rate of one spike in all data, Hz: what is known of a rate that does not vary between blocks."""
    time = float(attrs.get("duration", np.nan)) * float(attrs.get("trials", 1)) * strata
    return 1 / time if time > 0 else float("nan")


def _strata(array: xr.DataArray) -> Array:
    return array.transpose(..., "neuron").to_numpy().astype(np.float64).reshape(-1, array.sizes["neuron"])


def _matrices(array: xr.DataArray) -> Array:
    n = array.sizes["neuron"]
    return array.transpose(..., "neuron", "neuron_j").to_numpy().astype(np.float64).reshape(-1, n, n)


def bias_variables(
    biases: Biases, margins: Mapping[str, float], confidence: float, populations: list[str]
) -> Variables:
    """Return the biases as variables of a comparison: of all neurons, and of each population as ``layer_…``."""
    out: Variables = {}
    for aspect, of in biases.values.items():
        unit = "1"
        for prefix, names in (("", [None]), ("layer_", populations)):
            columns: dict[str, list[float]] = {}
            for name in names:
                one = of.get(name, Bias(np.nan, np.nan, np.nan, np.nan))
                low, high = one.interval(confidence)
                row = {
                    "bias": one.value,
                    "bias_se": one.se,
                    "bias_dof": one.dof,
                    "bias_low": low,
                    "bias_high": high,
                    "bias_p": one.p(),
                    "equivalence_p": one.equivalence_p(margins[aspect]),
                    "shown_within": one.shown_within(confidence),
                }
                for key, value in row.items():
                    columns.setdefault(key, []).append(value)
            for key, values in columns.items():
                text = _COLUMNS[key].format(_TEXTS[aspect], f"{100 * confidence:g} %", f"{100 * margins[aspect]:g} %")
                content: Any = np.array(values) if prefix else values[0]
                dims = ("layer",) if prefix else ()
                text += ", per population" if prefix else ""
                out[f"{prefix}{aspect}_{key}"] = (dims, content, {"long_name": text, "units": unit})
    return out


_COLUMNS = {
    "bias": "relative error of the prediction: {0}",
    "bias_se": "standard error of the relative error (of its square, if it is a root mean square): {0}",
    "bias_dof": "degrees of freedom of that standard error: {0}",
    "bias_low": "lower end of the {1} interval of the relative error: {0}",
    "bias_high": "upper end of the {1} interval of the relative error: {0}",
    "bias_p": "probability of a relative error as large if the prediction were exact: {0}",
    "equivalence_p": "p of the test that the relative error is {2} or more: {0}",
    "shown_within": "smallest margin that the relative error is shown to be within, at {1}: {0}",
}
