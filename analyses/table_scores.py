"""Scores of models of tables: confusion, ROC, precision and recall, calibration, residuals, and models side by side.

Classes are positions along the outputs of a model; scores and probabilities have the shape (stimulus, output). Several
models that were shown the same stimuli stand side by side in one Dataset, see `model_table`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr
from scipy import stats

from mnnbio.machine import require_integer

Array = npt.NDArray[np.float64]

_NORMAL_95 = 1.959963984540054


def confusion_matrix(
    truth: npt.ArrayLike, decision: npt.ArrayLike, labels: Sequence[Any] | None = None
) -> xr.DataArray:
    """Count the stimuli of each class that are decided to be of each.

    Parameters
    ----------
    truth, decision : array_like of int, shape (stimulus,)
        Positions of the true and of the decided class.
    labels : sequence, optional
        Names of the classes; by default there are as many as occur, numbered from 0.

    Returns
    -------
    DataArray
        Counts over (``true_class``, ``decision``), with the names as coordinates.

    Raises
    ------
    ValueError
        If the shapes differ, or a position is of no class.
    """
    true, decided = _classes(truth, "truth"), _classes(decision, "decision")
    _require_alike(true, decided, "decision")
    names = _names(labels, int(max(true.max(), decided.max())) + 1)
    counts = np.zeros((len(names), len(names)), dtype=np.int64)
    np.add.at(counts, (true, decided), 1)
    return xr.DataArray(
        counts,
        dims=("true_class", "decision"),
        coords={"true_class": names, "decision": names},
        name="stimuli",
        attrs={"units": "1", "long_name": "number of stimuli"},
    )


def class_scores(confusion: xr.DataArray) -> xr.Dataset:
    """Return what a confusion matrix says of each class, and of all together.

    Parameters
    ----------
    confusion : DataArray
        As `confusion_matrix` returns it.

    Returns
    -------
    Dataset
        Over ``output``: ``precision`` (share of the decisions for a class that are right), ``recall`` (share of the
        class that is found), ``f1`` (their harmonic mean) and ``stimuli``; NaN where there is nothing to divide by.
        Scalars: ``accuracy`` with its standard error ``accuracy_se`` (binomial), ``balanced_accuracy`` (mean recall of
        the classes that occur) and ``chance`` (share of the most frequent class).
    """
    counts = confusion.transpose("true_class", "decision").to_numpy().astype(np.float64)
    right, of_class, of_decision = np.diag(counts), counts.sum(axis=1), counts.sum(axis=0)
    n = counts.sum()
    precision, recall = _ratio(right, of_decision), _ratio(right, of_class)
    accuracy = float(right.sum() / n)
    values: dict[str, tuple[Any, Any, str]] = {
        "precision": ("output", precision, "share of the decisions for a class that are right"),
        "recall": ("output", recall, "share of a class that is found"),
        "f1": ("output", _ratio(2 * right, of_class + of_decision), "harmonic mean of precision and recall"),
        "stimuli": ("output", of_class.astype(np.int64), "number of stimuli of a class"),
        "accuracy": ((), accuracy, "share of right decisions"),
        "accuracy_se": ((), _share_error(accuracy, n), "standard error of the accuracy"),
        "balanced_accuracy": ((), float(recall[of_class > 0].mean()), "mean recall of the classes"),
        "chance": ((), float(of_class.max() / n), "share of the most frequent class"),
    }
    return _dataset(values, {"output": confusion["true_class"].to_numpy()})


def roc_curve(truth: npt.ArrayLike, scores: npt.ArrayLike, labels: Sequence[Any] | None = None) -> xr.Dataset:
    """Return receiver operating characteristics, each class against all others.

    Parameters
    ----------
    truth : array_like of int, shape (stimulus,)
        Positions of the true classes.
    scores : array_like, shape (stimulus, output) or (stimulus,)
        The larger, the more a stimulus looks like the class; of one dimension, like class 1 and not like class 0.
    labels : sequence, optional
        Names of the classes.

    Returns
    -------
    Dataset
        Over (``output``, ``point``): ``false_positive_rate``, ``true_positive_rate`` and ``threshold``, of which the
        first is infinite; a threshold that several stimuli share stands several times. Over ``output``: ``area`` under
        the curve, the probability that a stimulus of the class has a higher score than another (ties count half), and
        its standard error ``area_se``. NaN where a class, or the others, do not occur.

    References
    ----------
    E. R. DeLong, D. M. DeLong, D. L. Clarke-Pearson (1988), Biometrics 44, 837, eq. 2 to 5 (area and its error).
    """
    true, score, names = _scored(truth, scores, labels)
    shape = (len(names), len(true) + 1)
    false_rate, true_rate, thresholds = np.empty(shape), np.empty(shape), np.empty(shape)
    area, error = np.full(len(names), np.nan), np.full(len(names), np.nan)
    for k, (positive, values) in enumerate(_one_against_rest(true, score)):
        thresholds[k], hits, alarms = _cumulated(positive, values)
        false_rate[k] = _ratio(alarms, np.array(float((~positive).sum())))
        true_rate[k] = _ratio(hits, np.array(float(positive.sum())))
        area[k], error[k] = _area(values[positive], values[~positive])
    return _dataset(
        {
            "false_positive_rate": (("output", "point"), false_rate, "share of the other classes above the threshold"),
            "true_positive_rate": (("output", "point"), true_rate, "share of the class above the threshold"),
            "threshold": (("output", "point"), thresholds, "least score of a decision for the class"),
            "area": ("output", area, "area under the receiver operating characteristic"),
            "area_se": ("output", error, "standard error of the area"),
        },
        {"output": names},
    )


def precision_recall_curve(
    truth: npt.ArrayLike, scores: npt.ArrayLike, labels: Sequence[Any] | None = None
) -> xr.Dataset:
    """Return precision against recall, each class against all others.

    Parameters
    ----------
    truth, scores, labels
        As for `roc_curve`.

    Returns
    -------
    Dataset
        Over (``output``, ``point``): ``recall``, ``precision`` (1 where nothing is decided for the class) and
        ``threshold``. Over ``output``: ``average_precision``, the sum over thresholds of precision times the step of
        recall, and ``prevalence``, the share of the class, which chance would reach.
    """
    true, score, names = _scored(truth, scores, labels)
    shape = (len(names), len(true) + 1)
    precision, recall, thresholds = np.empty(shape), np.empty(shape), np.empty(shape)
    average, prevalence = np.full(len(names), np.nan), np.empty(len(names))
    for k, (positive, values) in enumerate(_one_against_rest(true, score)):
        thresholds[k], hits, alarms = _cumulated(positive, values)
        precision[k] = np.where(hits + alarms > 0, _ratio(hits, hits + alarms), 1.0)
        recall[k] = _ratio(hits, np.array(float(positive.sum())))
        prevalence[k] = positive.mean()
        if positive.any():
            average[k] = float(np.sum(np.diff(recall[k]) * precision[k, 1:]))
    return _dataset(
        {
            "recall": (("output", "point"), recall, "share of the class above the threshold"),
            "precision": (("output", "point"), precision, "share of the class among the stimuli above the threshold"),
            "threshold": (("output", "point"), thresholds, "least score of a decision for the class"),
            "average_precision": ("output", average, "precision, averaged over recall"),
            "prevalence": ("output", prevalence, "share of the class"),
        },
        {"output": names},
    )


def calibration_curve(
    truth: npt.ArrayLike, probabilities: npt.ArrayLike, labels: Sequence[Any] | None = None, *, bins: int = 10
) -> xr.Dataset:
    """Return how often stimuli are of a class among those to which a model gives it a certain probability.

    Parameters
    ----------
    truth : array_like of int, shape (stimulus,)
        Positions of the true classes.
    probabilities : array_like, shape (stimulus, output) or (stimulus,)
        Of each class, in [0, 1]; of one dimension, of class 1.
    labels : sequence, optional
        Names of the classes.
    bins : int
        Number of intervals of equal width into which [0, 1] is divided.

    Returns
    -------
    Dataset
        Over (``output``, ``bin``): ``predicted`` (mean probability), ``observed`` (share of the class) with the 95 %
        interval ``observed_low`` to ``observed_high`` (Wilson), and ``stimuli``. Over ``output``:
        ``calibration_error``, the mean of |observed − predicted| over stimuli. The same of the probability of the
        decision, which every stimulus enters once: ``decision_predicted``, ``decision_observed``, … over ``bin``, and
        the scalar ``decision_calibration_error``. Scalar ``brier``: mean squared distance of the probabilities from
        the true class.

    Raises
    ------
    ValueError
        If a probability is outside [0, 1], or those of a stimulus do not add up to 1.

    References
    ----------
    E. B. Wilson (1927), J. Am. Stat. Assoc. 22, 209 (interval).
    """
    require_integer("bins", bins, 1)
    true, probability, names = _scored(truth, probabilities, labels, probabilities=True)
    edges = np.linspace(0, 1, bins + 1)
    single = [_calibration(probability[:, k], true == k, bins) for k in range(len(names))]
    chosen = probability.argmax(axis=1)
    decision = _calibration(probability.max(axis=1), chosen == true, bins)
    texts = {
        "predicted": "mean predicted probability",
        "observed": "share that is of the class",
        "observed_low": "lower end of the 95 % interval of the share",
        "observed_high": "upper end of the 95 % interval of the share",
        "stimuli": "number of stimuli",
    }
    values: dict[str, tuple[Any, Any, str]] = {
        name: (("output", "bin"), np.stack([one[name] for one in single]), text) for name, text in texts.items()
    }
    values |= {f"decision_{name}": ("bin", decision[name], f"{text}, of decisions") for name, text in texts.items()}
    values["calibration_error"] = ("output", [one["error"] for one in single], "mean of |observed − predicted|")
    values["decision_calibration_error"] = ((), decision["error"], "mean of |observed − predicted|, of decisions")
    truth_given = np.eye(len(names))[true]
    values["brier"] = ((), float(np.square(probability - truth_given).sum(axis=1).mean()), "Brier score")
    return _dataset(values, {"output": names, "bin": (edges[1:] + edges[:-1]) / 2})


def regression_scores(truth: npt.ArrayLike, predicted: npt.ArrayLike) -> xr.Dataset:
    """Return residuals and scores of predicted values.

    Parameters
    ----------
    truth, predicted : array_like, shape (stimulus,)
        True and predicted values, in one unit.

    Returns
    -------
    Dataset
        Over ``stimulus``: ``true_value``, ``predicted``, ``residual`` (predicted − true). Scalars: ``r2`` with its
        standard error ``r2_se`` (linear propagation of both sums of squares), ``pearson_r``, ``mean_absolute_error``,
        ``rmse``, ``relative_rmse`` (over the mean size of the true values) and ``mean_absolute_percentage_error`` (a
        share, of the true values that are not 0). NaN where they are not defined.

    Raises
    ------
    ValueError
        If the shapes differ, or a value is not finite.
    """
    true, guess = _values(truth, "truth"), _values(predicted, "predicted")
    _require_alike(true, guess, "predicted")
    residual = guess - true
    varied = len(true) > 2 and np.ptp(true) > 0
    rmse, size = float(np.sqrt(np.square(residual).mean())), float(np.abs(true).mean())
    other_than_zero = true != 0
    shares = np.abs(residual[other_than_zero]) / np.abs(true[other_than_zero])
    both_vary = varied and np.ptp(guess) > 0
    scores = {
        "r2": (_r2(true, residual), "coefficient of determination"),
        "r2_se": (_r2_error(true, residual) if varied else np.nan, "standard error of R²"),
        "pearson_r": (float(np.corrcoef(true, guess)[0, 1]) if both_vary else np.nan, "Pearson correlation"),
        "mean_absolute_error": (float(np.abs(residual).mean()), "mean absolute error"),
        "rmse": (rmse, "root mean square error"),
        "relative_rmse": (rmse / size if size else np.nan, "root mean square error over the mean size of the values"),
        "mean_absolute_percentage_error": (float(shares.mean()) if len(shares) else np.nan, "mean relative error"),
    }
    values: dict[str, tuple[Any, Any, str]] = {name: ((), value, text) for name, (value, text) in scores.items()}
    values["true_value"] = ("stimulus", true, "true value")
    values["predicted"] = ("stimulus", guess, "predicted value")
    values["residual"] = ("stimulus", residual, "predicted − true value")
    return _dataset(values, {})


def model_table(
    truth: npt.ArrayLike,
    models: Mapping[str, npt.ArrayLike],
    labels: Sequence[Any] | None = None,
    *,
    kind: str = "classification",
) -> xr.Dataset:
    """Put the answers of several models to the same stimuli side by side, with their scores.

    Parameters
    ----------
    truth : array_like, shape (stimulus,)
        Positions of the true classes, or true values.
    models : mapping of str to array_like
        Of each model, probabilities (stimulus, output) or values (stimulus,). The first is the one that the others
        are compared with.
    labels : sequence, optional
        Names of the classes.
    kind : {"classification", "regression"}

    Returns
    -------
    Dataset
        ``true_class`` or ``true_value`` over ``stimulus``; ``probability`` (model, stimulus, output) and ``decision``
        (model, stimulus), or ``predicted`` (model, stimulus). Scores over ``model``: of classes ``accuracy``,
        ``log_loss`` (natural logarithm; infinite where a true class was held impossible), ``brier``, ``area`` (mean
        over classes) and ``decision_calibration_error``; of values ``r2``, ``rmse``, ``mean_absolute_error`` and
        ``pearson_r``. ``accuracy_se`` or ``r2_se``, and ``difference`` of accuracy or R² from the first model with
        ``difference_se``, paired by stimulus.

    Raises
    ------
    ValueError
        If there is no model, or the shapes differ.
    """
    if kind not in ("classification", "regression"):
        raise ValueError(f"`kind` must be 'classification' or 'regression', got {kind!r}")
    if not models:
        raise ValueError("`models` must hold at least one model, got none")
    if kind == "regression":
        return _side_by_side_values(truth, models)
    parts = {name: _scored(truth, answer, labels, probabilities=True) for name, answer in models.items()}
    true, _, names = next(iter(parts.values()))
    if len({part[1].shape for part in parts.values()}) > 1:
        shapes = {name: part[1].shape for name, part in parts.items()}
        raise ValueError(f"all models must answer with one number of outputs, got {shapes}")
    probability = np.stack([part[1] for part in parts.values()])
    decision = probability.argmax(axis=2)
    right = (decision == true).astype(np.float64)
    curves = [calibration_curve(true, one, names) for one in probability]
    with np.errstate(divide="ignore"):
        losses = -np.log(probability[:, np.arange(len(true)), true]).mean(axis=1)
    areas = [np.nanmean(_areas(true, one)) if len(np.unique(true)) > 1 else np.nan for one in probability]
    values: dict[str, tuple[Any, Any, str]] = {
        "true_class": ("stimulus", true, "true class, position along `output`"),
        "probability": (("model", "stimulus", "output"), probability, "probability of each class"),
        "decision": (("model", "stimulus"), decision, "decided class, position along `output`"),
        "accuracy": ("model", right.mean(axis=1), "share of right decisions"),
        "accuracy_se": ("model", _mean_error(right), "standard error of the accuracy"),
        "log_loss": ("model", losses, "mean negative log-probability of the true class"),
        "brier": ("model", [float(curve["brier"]) for curve in curves], "Brier score"),
        "area": ("model", areas, "area under the ROC curve, mean over classes"),
        "decision_calibration_error": (
            "model",
            [float(curve["decision_calibration_error"]) for curve in curves],
            "mean of |observed − predicted| of decisions",
        ),
        "difference": ("model", (right - right[0]).mean(axis=1), "accuracy less that of the first model"),
        "difference_se": ("model", _mean_error(right - right[0]), "standard error of the difference"),
    }
    return _dataset(values, {"model": list(models), "output": names})


def unit_states(
    voltages: npt.ArrayLike,
    spikes: npt.ArrayLike,
    dt: float,
    populations: Sequence[str] | None = None,
    targets: Sequence[Any] | None = None,
) -> xr.Dataset:
    """Put the states of all units through time into a labelled form.

    Parameters
    ----------
    voltages : array_like, shape (time, stimulus, neuron)
        Membrane potentials, or inner states of graded units, at the end of each step.
    spikes : array_like, shape (time, stimulus, neuron)
        Spikes (0 or 1), or the sizes of graded outputs.
    dt : float
        Time step, ms.
    populations : sequence of str, optional
        The population of each neuron; by default all are of one, "hidden".
    targets : sequence, optional
        True class or value of each stimulus.

    Returns
    -------
    Dataset
        ``v`` and ``output`` over (stimulus, time, neuron), time in s.

    Raises
    ------
    ValueError
        If the shapes do not fit together.
    """
    v, out = np.asarray(voltages, dtype=np.float64), np.asarray(spikes, dtype=np.float64)
    if v.ndim != 3 or v.shape != out.shape:
        raise ValueError(
            f"`voltages` and `spikes` must have one shape (time, stimulus, neuron), got {v.shape} and {out.shape}"
        )
    owner = ["hidden"] * v.shape[2] if populations is None else list(populations)
    if len(owner) != v.shape[2]:
        raise ValueError(f"`populations` must name that of each of {v.shape[2]} neurons, got {len(owner)}")
    coords: dict[str, Any] = {
        "time": ("time", 1e-3 * dt * np.arange(1, len(v) + 1), {"units": "s", "long_name": "end of the step"}),
        "population": ("neuron", owner),
    }
    if targets is not None:
        coords["target"] = ("stimulus", list(targets))
    dims = ("stimulus", "time", "neuron")
    return xr.Dataset(
        {
            "v": (dims, v.transpose(1, 0, 2), {"long_name": "state of the unit", "units": "mV"}),
            "output": (dims, out.transpose(1, 0, 2), {"long_name": "spikes or graded outputs", "units": "1"}),
        },
        coords=coords,
        attrs={"dt": 1e-3 * dt},
    )


def _side_by_side_values(truth: npt.ArrayLike, models: Mapping[str, npt.ArrayLike]) -> xr.Dataset:
    """Return the values that several models predict, and their scores."""
    scored = [regression_scores(truth, answer) for answer in models.values()]
    true = scored[0]["true_value"].to_numpy()
    squares = np.stack([np.square(one["residual"].to_numpy()) for one in scored])
    total = np.square(true - true.mean()).mean()
    gain = (squares[0] - squares) / total if total > 0 else np.full(squares.shape, np.nan)
    values: dict[str, tuple[Any, Any, str]] = {
        "true_value": ("stimulus", true, "true value"),
        "predicted": (("model", "stimulus"), [one["predicted"].to_numpy() for one in scored], "predicted value"),
    }
    for name in ("r2", "r2_se", "rmse", "mean_absolute_error", "pearson_r"):
        values[name] = ("model", [float(one[name]) for one in scored], str(scored[0][name].attrs["long_name"]))
    values["difference"] = ("model", gain.mean(axis=1), "R² less that of the first model")
    values["difference_se"] = ("model", _mean_error(gain), "standard error of the difference")
    return _dataset(values, {"model": list(models)})


def _calibration(probability: Array, happened: npt.NDArray[np.bool_], bins: int) -> dict[str, Any]:
    """Return means and shares by interval of probability."""
    place = np.minimum((probability * bins).astype(np.int64), bins - 1)
    n = np.bincount(place, minlength=bins).astype(np.float64)
    predicted = _ratio(np.bincount(place, probability, bins), n)
    observed = _ratio(np.bincount(place, happened.astype(np.float64), bins), n)
    low, high = _wilson(observed, n)
    gaps = np.where(n > 0, np.abs(observed - predicted), 0.0)
    return {
        "predicted": predicted,
        "observed": observed,
        "observed_low": low,
        "observed_high": high,
        "stimuli": n.astype(np.int64),
        "error": float((n * gaps).sum() / n.sum()),
    }


def _wilson(share: Array, n: Array) -> tuple[Array, Array]:
    """Return the 95 % interval of shares of n; NaN where there is none."""
    z2 = _NORMAL_95**2
    safe = np.where(n > 0, n, 1.0)
    centre = (share + z2 / (2 * safe)) / (1 + z2 / safe)
    half = np.sqrt(z2 * (share * (1 - share) / safe + z2 / (4 * safe**2))) / (1 + z2 / safe)
    return centre - half, centre + half


def _cumulated(positive: npt.NDArray[np.bool_], values: Array) -> tuple[Array, Array, Array]:
    """Return thresholds, hits and false alarms from the highest score down; within a tie, those of its end."""
    order = np.argsort(-values, kind="stable")
    ordered = values[order]
    last = np.searchsorted(-ordered, -ordered, side="right") - 1  # end of each tie
    hits, alarms = np.cumsum(positive[order]), np.cumsum(~positive[order])
    start = np.zeros(1)
    return (
        np.concatenate([[np.inf], ordered]),
        np.concatenate([start, hits[last].astype(np.float64)]),
        np.concatenate([start, alarms[last].astype(np.float64)]),
    )


def _areas(true: npt.NDArray[np.int64], scores: Array) -> Array:
    """Return the area under the curve of each class."""
    return np.array(
        [_area(values[positive], values[~positive])[0] for positive, values in _one_against_rest(true, scores)]
    )


def _area(positive: Array, negative: Array) -> tuple[float, float]:
    """Return the probability that a positive score exceeds a negative one, and its standard error."""
    m, n = len(positive), len(negative)
    if not m or not n:
        return float("nan"), float("nan")
    ranks = stats.rankdata(np.concatenate([positive, negative]))
    above = (ranks[:m] - stats.rankdata(positive)) / n  # share of the negative ones below each positive one
    below = 1 - (ranks[m:] - stats.rankdata(negative)) / m
    if m < 2 or n < 2:
        return float(above.mean()), float("nan")
    return float(above.mean()), float(np.sqrt(above.var(ddof=1) / m + below.var(ddof=1) / n))


def _one_against_rest(true: npt.NDArray[np.int64], scores: Array) -> list[tuple[npt.NDArray[np.bool_], Array]]:
    return [(true == k, scores[:, k]) for k in range(scores.shape[1])]


def _scored(
    truth: npt.ArrayLike, scores: npt.ArrayLike, labels: Sequence[Any] | None, *, probabilities: bool = False
) -> tuple[npt.NDArray[np.int64], Array, list[Any]]:
    """Return true classes, scores of shape (stimulus, output), and the names of the outputs."""
    what = "probabilities" if probabilities else "scores"
    true, values = _classes(truth, "truth"), np.asarray(scores, dtype=np.float64)
    if values.ndim == 1:
        values = np.stack([1 - values if probabilities else -values, values], axis=1)
    if values.ndim != 2 or len(values) != len(true) or values.shape[1] < 2:
        raise ValueError(
            f"`{what}` must have shape ({len(true)}, outputs) or ({len(true)},), as many as `truth`, got {values.shape}"
        )
    if not np.isfinite(values).all():
        raise ValueError(f"`{what}` must be finite, got {values[~np.isfinite(values)][0]}")
    if true.max() >= values.shape[1]:
        raise ValueError(f"`truth` has the class {true.max()}, `{what}` have {values.shape[1]} outputs only")
    if probabilities:
        if values.min() < 0 or values.max() > 1:
            wrong = values[(values < 0) | (values > 1)][0]
            raise ValueError(f"`probabilities` must be in [0, 1], got {wrong:g}")
        sums = values.sum(axis=1)
        if np.abs(sums - 1).max() > 1e-6:
            raise ValueError(f"`probabilities` of a stimulus must add up to 1, got {sums[np.abs(sums - 1).argmax()]:g}")
    return true, values, _names(labels, values.shape[1])


def _names(labels: Sequence[Any] | None, n: int) -> list[Any]:
    """Return the names of the classes, of which there must be n at the least."""
    names: list[Any] = list(range(n)) if labels is None else list(labels)
    if len(names) < n:
        raise ValueError(f"`labels` must name all {n} classes, got {len(names)}")
    return names


def _classes(values: npt.ArrayLike, name: str) -> npt.NDArray[np.int64]:
    array = np.asarray(values)
    if array.ndim != 1 or not len(array) or not np.issubdtype(array.dtype, np.integer) or array.min() < 0:
        raise ValueError(f"`{name}` must be positions of classes, whole numbers ≥ 0, shape (stimulus,), got {values!r}")
    return array.astype(np.int64)


def _values(values: npt.ArrayLike, name: str) -> Array:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or not len(array):
        raise ValueError(f"`{name}` must have shape (stimulus,), got {array.shape}")
    if not np.isfinite(array).all():
        raise ValueError(f"`{name}` must be finite, got {array[~np.isfinite(array)][0]}")
    return array


def _require_alike(truth: npt.NDArray[Any], other: npt.NDArray[Any], name: str) -> None:
    if len(truth) != len(other):
        raise ValueError(f"`{name}` must be as many as `truth`, {len(truth)}, got {len(other)}")


def _r2(true: Array, residual: Array) -> float:
    total = np.square(true - true.mean()).sum()
    return float(1 - np.square(residual).sum() / total) if total > 0 else float("nan")


def _r2_error(true: Array, residual: Array) -> float:
    """Return the standard error of R², from what each stimulus adds to it."""
    unexplained, total = np.square(residual), np.square(true - true.mean())
    influence = unexplained / total.mean() - unexplained.mean() * total / total.mean() ** 2
    return float(influence.std(ddof=1) / np.sqrt(len(true)))


def _ratio(above: npt.NDArray[Any], below: Array) -> Array:
    below = np.broadcast_to(below, np.shape(above))
    return np.divide(above, below, out=np.full(np.shape(above), np.nan), where=below > 0)


def _share_error(share: float, n: float) -> float:
    return float(np.sqrt(share * (1 - share) / (n - 1))) if n > 1 else float("nan")


def _mean_error(samples: Array) -> Array:
    """Return the standard error of means along the last axis."""
    n = samples.shape[-1]
    if n < 2:
        return np.full(samples.shape[:-1], np.nan)
    return samples.std(axis=-1, ddof=1) / np.sqrt(n)


def _dataset(values: Mapping[str, tuple[Any, Any, str]], coords: Mapping[str, Any]) -> xr.Dataset:
    """Return a Dataset of dimensionless variables, each with its meaning, and the coordinates that they need."""
    data = xr.Dataset(
        {name: (dims, value, {"units": "1", "long_name": text}) for name, (dims, value, text) in values.items()}
    )
    return data.assign_coords({name: value for name, value in coords.items() if name in data.dims})
