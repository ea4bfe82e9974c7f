"""Comparison of a prediction with a simulation: every neuron, every covariance, and summaries of both."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr
from scipy import stats

from mnnbio.analyses.alignment import WARMUP_IN_TIME_CONSTANTS, Aligned, align
from mnnbio.analyses.biases import bias_variables, find_biases, require_margins
from mnnbio.analyses.chi_square_mixtures import mixture_quantile
from mnnbio.analyses.circuit_text import slowest_membrane
from mnnbio.analyses.comparison_table import Comparison
from mnnbio.analyses.covariances import compare_matrices
from mnnbio.analyses.decisions import classification
from mnnbio.analyses.record_blocks import Members, require_blocks
from mnnbio.analyses.significance import (
    JointTest,
    benjamini_hochberg,
    degrees_of_freedom,
    holm,
    joint_test,
    p_values,
    pooled_error,
    z_scores,
)
from mnnbio.analyses.verdicts import Effort, Verdict, judge, verdict_attributes
from mnnbio.machine import require_integer
from mnnbio.results import QUANTITIES
from mnnbio.units import in_unit

Array = npt.NDArray[np.float64]
# name: (dimensions, values, attributes), as xarray takes them
Variables = dict[str, tuple[Any, Any, dict[str, str]]]

# The quantities of single neurons, and whether a mean over stimuli is meaningful: a mean of ratios is not.
_POOLABLE = {"rate": True, "count_variance": True, "count_fano": False, "variance": True, "fano": False}

_SUMMARIES = {
    "r": "Pearson correlation of predicted and simulated {0}",
    "median_relative_error": "median absolute relative error of the {0}",
    "sampling_relative_error": "median relative error of the {0} that sampling alone would leave",
    "median_ratio": "median of simulated over predicted {0}",
    "relative_count": "number of values in the relative errors of the {0}",
    "z_mean": "mean z of the {0}",
    "z_rms": "root mean square z of the {0}",
    "z_rms_expected": "root mean square z of the {0} if the prediction were exact",
    "z_rms_low": "root mean square z of the {0} that an exact prediction stays above in 97.5 % of simulations",
    "z_rms_high": "root mean square z of the {0} that an exact prediction stays below in 97.5 % of simulations",
    "z_within_2": "share of |z| < 2 of the {0}",
    "z_within_2_expected": "share of |z| < 2 of the {0} if the prediction were exact",
    "z_count": "number of z values of the {0} that count",
    "p": "probability of z values of the {0} at least as large if the prediction were exact",
}
# Cubed numbers of values whose eigenvalues are computed: a few seconds.
_EIGEN_BUDGET = 5e9
_COUNTS = ("relative_count", "z_count")


def compare(
    prediction: xr.Dataset | xr.DataTree,
    simulation: xr.Dataset | xr.DataTree,
    *,
    labels: npt.ArrayLike | xr.DataArray | None = None,
    min_rate: Any = 1e-3,
    min_spikes: float = 10.0,
    permutations: int = 999,
    seed: int = 0,
    margin: float | Mapping[str, float] | None = None,
    confidence: float = 0.95,
    blocks: int | None = None,
) -> Comparison:
    """Compare a prediction with a simulation of the same circuit.

    Differences are simulated − predicted. Relative errors are relative to the prediction, which carries no sampling
    error; neurons are selected by their *predicted* values for the same reason.

    Parameters
    ----------
    prediction : Dataset or DataTree
        A prediction, as `predict` returns it, or a result with the group ``/prediction``.
    simulation : Dataset or DataTree
        A simulation, as `simulate` returns it, or its group ``/simulation``.
    labels : array_like or DataArray (stimulus,), optional
        True class of each stimulus, adds the accuracies of `classification`.
    min_rate : float or Quantity
        Relative errors are taken over neurons predicted to fire at more than this rate, spikes/ms.
    min_spikes : float
        The summaries of z (not z itself) leave out estimates that are expected to rest on fewer spikes than this:
        estimated standard errors of a handful of spikes mean little.
    permutations : int
        Number of relabellings in the test of the covariances' correlation.
    seed : int
        Seed of the relabellings.
    margin : float or mapping, optional
        Largest relative error that is taken for agreement: one for all, or by aspect, ``rate`` (default 0.02),
        ``rate_deviation`` (of single neurons, root mean square; 0.05), ``count_variance`` (0.10), ``summed_variance``
        (of a population's summed count, which its covariances make; 0.20). ``docs/verdicts.md`` says why.
    confidence : float
        Of intervals, tests and the verdict.
    blocks : int, optional
        Number of blocks of the record whose differences give the errors of populations, at the least; default: 20, or
        the trials if there are more.

    Returns
    -------
    Comparison
        A dataset that prints as ten lines; `to_dataset` gives the plain one, which prints everything. With q one of
        ``rate``, ``count_variance``, ``count_fano``, ``variance``, ``fano`` (those that both sides have):

        - ``q_predicted, q_simulated, q_se, q_error, q_relative_error, q_z`` over ([stimulus,] neuron). z is NaN where
          the standard error is zero or unknown.
        - ``q_r, q_median_relative_error, q_sampling_relative_error, q_median_ratio, q_relative_count, q_z_mean,
          q_z_rms, q_z_within_2, q_z_count, q_p``, and what the z summaries would be for an exact prediction:
          ``q_z_rms_expected, q_z_within_2_expected``. ``layer_q_r`` etc. are the same for each population, over
          ``layer``.
        - With stimuli also ``q_pooled_predicted`` etc. over (neuron) and ``q_pooled_r`` etc.: means over stimuli, which
          show a bias that the sampling error of single stimuli hides. With 20 stimuli or more the standard error comes
          from the scatter of the stimuli's differences.
        - c one of ``count_covariance``, ``covariance`` (means over stimuli): ``c_predicted, c_simulated, c_se, c_z``
          and correlation coefficients ``count_correlation_predicted`` etc. over (neuron, neuron_j); of the pairs off
          the diagonal ``c_r``, ``c_r_p`` (relabelling test), ``c_r_ceiling`` (r that an exact prediction would reach at
          this sampling error), ``c_slope``, ``c_z_rms``, ``c_p``, ``c_z_count``.
        - With a readout and stimuli: the decisions of `classification`, with `labels` also the accuracies.

    Raises
    ------
    ValueError
        If labels, circuits or windows do not match (see `alignment.align`).

    Warns
    -----
    ComparisonWarning
        If the comparison says less than it seems to (see the subclasses in `alignment`).

    Notes
    -----
    ``q_p`` asks whether the differences of all neurons *together* are larger than their standard errors allow: it
    needs no correction for the number of neurons. Standard errors estimated from few samples enter through Student's
    t (degrees of freedom: `significance.SAMPLES_PER_DOF`); successive windows count as independent samples. For rates
    the correlations between neurons are taken from the predicted covariance; the differences of other quantities and
    of different stimuli are taken as independent. ``q_p`` is NaN where the samples are too few to say (below 21 for
    variances and Fano factors): then the pooled values speak.
    """
    least = 1e3 * _least_rate(min_rate)
    require_integer("permutations", permutations, 1)
    margins, level = require_margins(margin), _level(confidence)
    require_blocks(blocks)
    aligned = align(prediction, simulation)
    predicted, simulated, _ = aligned
    names = [name for name in _POOLABLE if name in predicted and name in simulated and f"{name}_se" in simulated]
    if "rate" not in names:
        raise ValueError("prediction and simulation must both have `rate`, and the simulation `rate_se`")
    coords = {name: c for name, c in predicted.coords.items() if set(c.dims) <= {"stimulus", "neuron"} and c.dims}
    populations = list(dict.fromkeys(predicted["population"].to_numpy().tolist())) if "population" in predicted else []
    if populations:
        coords["layer"] = xr.DataArray(populations, dims="layer", attrs={"long_name": "population"})
    variables: Variables = {}
    for name in names:
        _add_quantity(variables, name, aligned, min_rate=least, min_spikes=min_spikes, populations=populations)
    if "count_fano" in names and "count_variance_pooled_predicted" in variables and "window" in aligned.attrs:
        _add_pooled_fano(variables, float(aligned.attrs["window"]))
    out = xr.Dataset(variables, coords=coords)
    for name in ("count_covariance", "covariance"):
        if {name} <= set(predicted) and {name, f"{name}_se"} <= set(simulated):
            rng = np.random.default_rng(seed)
            out.update(compare_matrices(aligned, name, min_spikes=min_spikes, permutations=permutations, rng=rng))
    if "readout" in predicted and "readout" in simulated:
        out.update(classification(prediction, simulation, labels))
    elif labels is not None:
        raise ValueError("`labels` were given, but prediction or simulation has no `readout`")
    kept = ("duration", "warmup", "dt", "window", "trials", "seed", "n_samples", "circuit_hash")
    out.attrs = {key: aligned.attrs[key] for key in kept if key in aligned.attrs}
    out.attrs |= {key: predicted.attrs[key] for key in ("closure", "theory") if key in predicted.attrs}
    out.attrs |= {
        f"predicted_{key}": predicted.attrs[key] for key in ("dt", "window") if predicted.attrs.get(key) is not None
    }
    out.attrs |= {"min_rate": least, "min_spikes": min_spikes}
    names_of = predicted["population"].to_numpy() if populations else None
    members: Members = {None: np.arange(predicted.sizes["neuron"])}
    members |= {name: np.flatnonzero(names_of == name) for name in populations}
    biases = find_biases(simulation, aligned, members, min_spikes=min_spikes, blocks=blocks)
    out = out.assign(bias_variables(biases, margins, level, populations))
    effort = Effort(*(out.attrs.get(key) for key in ("trials", "duration")))
    verdict = judge(biases, margins, level, populations, effort, reasons=_reasons(simulation, aligned))
    out = out.assign(_verdicts(verdict, populations))
    out.attrs |= verdict_attributes(verdict, level, margins, biases.basis)
    if biases.blocks:
        out.attrs |= {"blocks": biases.blocks, "block_length": biases.blocks_length}
    return Comparison(out.data_vars, coords=out.coords, attrs=out.attrs)


def _least_rate(rate: Any) -> float:
    """Return the rate above which relative errors are taken, spikes/ms."""
    value = in_unit(rate, "1/ms", "min_rate")
    if not isinstance(value, float) or not 0 <= value < 1:
        raise ValueError(f"`min_rate` must be a rate from 0 to 1 spikes/ms (1000 Hz), or a quantity, got {rate!r}")
    return value


def _level(confidence: Any) -> float:
    """Return the confidence of intervals and tests."""
    number = isinstance(confidence, int | float | np.number) and not isinstance(confidence, bool)
    if not number or not 0.5 < confidence < 1:
        raise ValueError(f"`confidence` must be a probability between 0.5 and 1, such as 0.95, got {confidence!r}")
    return float(confidence)


def _reasons(simulation: xr.Dataset | xr.DataTree, aligned: Aligned) -> list[str]:
    """Return what is known to make a difference, each the end of a sentence that begins with "because"."""
    predicted, _, attrs = aligned
    reasons = []
    step, own = predicted.attrs.get("dt"), attrs.get("dt")
    if isinstance(step, str) and own is not None:
        reasons.append(f"it is of continuous time and the simulation of steps of {1e3 * own:g} ms")
    elif step is not None and own is not None and not np.isclose(step, own, rtol=1e-6, atol=0.0):
        reasons.append(f"it is for steps of {1e3 * step:g} ms and the simulation has {1e3 * own:g} ms")
    warmup, tau_m = attrs.get("warmup"), slowest_membrane(simulation)
    if warmup is not None and tau_m is not None and warmup < WARMUP_IN_TIME_CONSTANTS * tau_m:
        reasons.append(f"the warm-up of {1e3 * warmup:g} ms is short")
    return reasons


def _verdicts(verdict: Verdict, populations: list[str]) -> Variables:
    """Return the verdicts on populations as variables of a comparison."""
    if not populations:
        return {}
    status, text = zip(*(verdict.populations[name] for name in populations), strict=True)
    return {
        "layer_status": ("layer", np.array(status), {"long_name": "whether the prediction holds", "units": "1"}),
        "layer_verdict": ("layer", np.array(text), {"long_name": "verdict on the prediction", "units": "1"}),
    }


def expected_spikes(aligned: Aligned) -> Array | None:
    """Return the number of spikes ([stimulus,] neuron) that the prediction expects in the data, None if unknown."""
    attrs = aligned.attrs
    if "duration" in attrs:
        time = float(attrs["duration"]) * float(attrs.get("trials", 1))
    elif "n_samples" in attrs and "window" in attrs:
        time = float(attrs["n_samples"]) * float(attrs["window"])
    else:
        return None
    return _values(aligned.prediction["rate"]) * time


def _values(array: xr.DataArray) -> Array:
    """Return the values with the neuron last."""
    last = [dim for dim in ("neuron", "neuron_j") if dim in array.dims]
    return array.transpose(..., *last).to_numpy().astype(np.float64)


def _add_quantity(
    out: Variables, name: str, aligned: Aligned, *, min_rate: float, min_spikes: float, populations: list[str]
) -> None:
    """Add one quantity's values and summaries."""
    predicted, simulated, attrs = aligned
    unit, long_name = QUANTITIES[name]
    dims = tuple(dim for dim in ("stimulus", "neuron") if dim in predicted[name].dims)
    x, y, se = _values(predicted[name]), _values(simulated[name]), _values(simulated[f"{name}_se"])
    samples = simulated[f"{name}_se"].attrs.get("n_samples", attrs.get("n_samples"))
    dof = degrees_of_freedom(samples, "mean" if name == "rate" else "variance")
    spikes = expected_spikes(aligned)
    rate = _values(predicted["rate"])
    enough = np.ones(rate.shape, dtype=bool) if spikes is None else spikes >= min_spikes
    correlations = _correlations(predicted) if name == "rate" else None
    _add_values(out, name, long_name, unit, dims, x, y, se)
    _add_p(out, name, long_name, dims, z_scores(y - x, se), dof, enough)

    for prefix, member in _subsets(predicted, populations):
        own = None if correlations is None else correlations[..., member, :][..., member]
        values = summarise(
            x[..., member],
            y[..., member],
            se[..., member],
            audible=rate[..., member] > min_rate,
            trusted=enough[..., member],
            dof=dof,
            correlations=own,
        )
        _add_summaries(out, name, long_name, values, prefix, populations)

    if "stimulus" not in dims or not _POOLABLE[name]:
        return
    error = pooled_error(y - x, se, dof)
    pooled = f"{name}_pooled"
    _add_values(out, pooled, f"{long_name}, mean over stimuli", unit, ("neuron",), x.mean(0), y.mean(0), error.se)
    enough = np.ones(rate.shape[1:], dtype=bool) if spikes is None else spikes.sum(0) >= min_spikes
    z = z_scores(y.mean(0) - x.mean(0), error.se)
    _add_p(out, pooled, f"{long_name}, mean over stimuli", ("neuron",), z, error.dof, enough)
    pooled_correlations = _correlations(predicted.mean("stimulus")) if name == "rate" else None
    for prefix, member in _subsets(predicted, populations):
        own = None if pooled_correlations is None else pooled_correlations[member][:, member]
        values = summarise(
            x.mean(0)[member],
            y.mean(0)[member],
            error.se[member],
            audible=rate.mean(0)[member] > min_rate,
            trusted=enough[member],
            dof=error.dof[member],
            correlations=own,
        )
        _add_summaries(out, pooled, f"{long_name}, mean over stimuli", values, prefix, populations)


def summarise(
    x: Array,
    y: Array,
    se: Array,
    *,
    audible: npt.NDArray[np.bool_],
    trusted: npt.NDArray[np.bool_],
    dof: Array | float,
    correlations: Array | None = None,
) -> dict[str, float]:
    """Return what predicted values `x` and simulated values `y` amount to.

    Parameters
    ----------
    x, y, se : ndarray ([stimulus,] neuron)
        Predicted, simulated, standard error of the simulated.
    audible : ndarray of bool
        Which values enter relative errors and ratios.
    trusted : ndarray of bool
        Which z values count.
    dof : float or ndarray
        Degrees of freedom of `se`.
    correlations : ndarray ([stimulus,] neuron, neuron), optional
        Correlation coefficients of the differences within a stimulus.

    Returns
    -------
    dict
        One number for each key of the comparison's summaries (see `compare`).
    """
    both = np.isfinite(x) & np.isfinite(y)
    varies = both.sum() > 2 and np.ptp(x[both]) > 0 and np.ptp(y[both]) > 0
    relative = audible & both & (x > 0)
    known = relative & np.isfinite(se)
    z = np.where(trusted, z_scores(y - x, se), np.nan)
    counted = np.isfinite(z)
    spread, eigenvalues = None, None
    if correlations is not None and counted.any():
        mask = counted.astype(np.float64)
        spread = float(np.einsum("...i,...ij,...j->...", mask, correlations**2, mask).sum())
        eigenvalues = _eigenvalues(correlations, counted)
    test = joint_test(z, dof, sum_squared_correlations=spread, eigenvalues=eigenvalues)
    low, high = _chance_range(test, eigenvalues)
    freedom = np.broadcast_to(dof, z.shape)[counted]
    heavy = np.divide(freedom, freedom - 2, out=np.full(freedom.shape, np.nan), where=freedom > 2)
    variance = np.where(np.isinf(freedom), 1.0, heavy)

    def over(values: Array, statistic: Any) -> float:
        return float(statistic(values)) if values.size else float("nan")

    return {
        "r": float(np.corrcoef(x[both], y[both])[0, 1]) if varies else float("nan"),
        "median_relative_error": over(np.abs(y[relative] / x[relative] - 1), np.median),
        # The median of a half-normal variable is 0.6745 of its scale.
        "sampling_relative_error": over(stats.norm.ppf(0.75) * se[known] / x[known], np.median),
        "median_ratio": over(y[relative] / x[relative], np.median),
        "relative_count": int(relative.sum()),
        "z_mean": over(z[counted], np.mean),
        "z_rms": over(z[counted] ** 2, lambda s: np.sqrt(np.mean(s))),
        "z_rms_expected": over(variance, lambda v: np.sqrt(np.mean(v))),
        "z_rms_low": low * over(variance, lambda v: np.sqrt(np.mean(v))),
        "z_rms_high": high * over(variance, lambda v: np.sqrt(np.mean(v))),
        "z_within_2": over(np.abs(z[counted]) < 2, np.mean),
        "z_within_2_expected": over(1 - 2 * stats.t.sf(2.0, freedom), np.mean) if (freedom > 2).all() else float("nan"),
        "z_count": int(counted.sum()),
        "p": test.p,
    }


def _eigenvalues(correlations: Array, counted: npt.NDArray[np.bool_]) -> Array | None:
    """Return the eigenvalues of the correlations of the values that count; None where that would take too long."""
    matrices = correlations[None] if correlations.ndim == 2 else correlations
    masks = counted[None] if counted.ndim == 1 else counted
    if float((masks.sum(axis=-1).astype(np.float64) ** 3).sum()) > _EIGEN_BUDGET:
        return None
    parts = [np.linalg.eigvalsh(own[mask][:, mask]) for own, mask in zip(matrices, masks, strict=True)]
    return np.concatenate(parts)


def _chance_range(test: JointTest, eigenvalues: Array | None) -> tuple[float, float]:
    """Return between what root mean squares of normal variables so correlated lie with a probability of 0.95."""
    if not test.size:
        return float("nan"), float("nan")
    if eigenvalues is None:
        bounds = stats.chi2.ppf([0.025, 0.975], test.effective_dof) / test.effective_dof
    else:
        own = np.maximum(eigenvalues, 0.0)
        bounds = np.array([mixture_quantile(p, own / own.sum()) for p in (0.025, 0.975)])
    low, high = np.sqrt(bounds).tolist()
    return low, high


def _add_values(
    out: Variables, name: str, long_name: str, unit: str, dims: tuple[str, ...], x: Array, y: Array, se: Array
) -> None:
    relative = np.divide(y - x, x, out=np.full(x.shape, np.nan), where=x > 0)
    ratio = np.divide(y, x, out=np.full(x.shape, np.nan), where=x > 0)
    for suffix, values, text, units in (
        ("predicted", x, f"predicted {long_name}", unit),
        ("simulated", y, f"simulated {long_name}", unit),
        ("se", se, f"standard error of the simulated {long_name}", unit),
        ("error", y - x, f"{long_name}, simulated − predicted", unit),
        ("relative_error", relative, f"{long_name}, (simulated − predicted) / predicted", "1"),
        ("ratio", ratio, f"{long_name}, simulated / predicted", "1"),
        ("z", z_scores(y - x, se), f"{long_name}, (simulated − predicted) / standard error", "1"),
    ):
        out[f"{name}_{suffix}"] = (dims, values, {"long_name": text, "units": units})


def _add_p(
    out: Variables,
    name: str,
    long_name: str,
    dims: tuple[str, ...],
    z: Array,
    dof: Array | float,
    trusted: npt.NDArray[np.bool_],
) -> None:
    """Add the p-values of single neurons, NaN where too few spikes are expected, and corrected for their number."""
    p = p_values(np.where(trusted, z, np.nan), dof)
    found = {
        "p_value": (p, "probability of z of the {0} as far from zero if the prediction were exact"),
        "p_holm": (holm(p), "p of the {0} after Holm: one below α by chance has a probability of α"),
        "p_fdr": (benjamini_hochberg(p), "p of the {0} after Benjamini and Hochberg: a share of α below α is chance"),
    }
    for key, (values, text) in found.items():
        out[f"{name}_{key}"] = (dims, values, {"long_name": text.format(long_name), "units": "1"})


def _add_summaries(
    out: Variables, name: str, long_name: str, values: dict[str, float], prefix: str | None, populations: list[str]
) -> None:
    """Add summaries of the whole circuit (prefix None) or of one layer (its name)."""
    for key, value in values.items():
        attrs = {"long_name": _SUMMARIES[key].format(long_name), "units": "1"}
        if prefix is None:
            out[f"{name}_{key}"] = ((), value, attrs)
            continue
        variable = f"layer_{name}_{key}"
        if variable not in out:
            empty = np.zeros(len(populations), dtype=int) if key in _COUNTS else np.full(len(populations), np.nan)
            out[variable] = ("layer", empty, {**attrs, "long_name": f"{attrs['long_name']}, per population"})
        out[variable][1][populations.index(prefix)] = value


def _subsets(predicted: xr.Dataset, populations: list[str]) -> Iterator[tuple[str | None, npt.NDArray[np.bool_]]]:
    """Yield all neurons (as None), then those of each population."""
    yield None, np.ones(predicted.sizes["neuron"], dtype=bool)
    for name in populations:
        yield name, predicted["population"].to_numpy() == name


def _correlations(predicted: xr.Dataset) -> Array | None:
    """Return the predicted correlations of counts ([stimulus,] neuron, neuron), None without covariances."""
    name = "count_covariance" if "count_covariance" in predicted else "covariance"
    if name not in predicted:
        return None
    covariance = _values(predicted[name])
    scale = np.diagonal(covariance, axis1=-2, axis2=-1)
    scale = np.sqrt(np.maximum(scale[..., :, None] * scale[..., None, :], 0.0))
    correlations = np.divide(covariance, scale, out=np.zeros(covariance.shape), where=scale > 0)
    n = correlations.shape[-1]
    correlations[..., np.arange(n), np.arange(n)] = 1.0
    return correlations


def _add_pooled_fano(out: Variables, window: float) -> None:
    """Add the ratio of mean count variance and mean count; of few samples a mean of ratios would be biased."""
    for side in ("predicted", "simulated"):
        mean = out[f"rate_pooled_{side}"][1] * window
        variance = out[f"count_variance_pooled_{side}"][1]
        ratio = np.divide(variance, mean, out=np.full(mean.shape, np.nan), where=mean > 0)
        text = f"{side} Fano factor, mean over stimuli of the count variance / of the count"
        out[f"count_fano_pooled_{side}"] = (("neuron",), ratio, {"long_name": text, "units": "1"})
