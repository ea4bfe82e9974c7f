"""Activity in mode space: projections, coefficients, trajectories by condition, attractors, and dimensions.

Modes are columns of matrices over neurons: weights ``W = ξ_in diag(λ) ξ_outᵀ`` drive neurons along ξ_in, and read
activity along ξ_out. Functions take such weights (what has `input_modes`, `scores` and `output_modes`, as
`mnnbio.ModeMatrix`), or one matrix (neuron, mode). Activity is a result with spikes or counts, labelled data with the
dimensions time, trial and neuron, or an array (time, trial, neuron).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt
import xarray as xr
from scipy import stats
from scipy.linalg import subspace_angles
from scipy.signal import lfilter

from mnnbio.analyses.binned_counts import binned_counts
from mnnbio.machine import check_choice, require_integer, require_memory
from mnnbio.results import single_time

Array = npt.NDArray[np.float64]

RANDOM_SPACES = 200  # drawn for the angles that chance gives
DEPENDENT = 1e-10  # relative size of a column that the others span


@runtime_checkable
class FactoredWeights(Protocol):
    """Weights ``input_modes · diag(scores) · output_modesᵀ``, such as `mnnbio.ModeMatrix`."""

    input_modes: Any
    scores: Any
    output_modes: Any


Modes = FactoredWeights | npt.ArrayLike
Side = Literal["output", "input"]


def mode_vectors(modes: Modes, side: Side = "output") -> Array:
    """Return the modes of one side as a matrix (neuron, mode).

    Raises
    ------
    ValueError
        If they are no finite matrix.
    """
    check_choice("side", side, ["output", "input"])
    chosen: Any = modes
    if isinstance(modes, FactoredWeights):
        chosen = modes.output_modes if side == "output" else modes.input_modes
    matrix = np.asarray(chosen, dtype=np.float64)
    if matrix.ndim != 2 or not matrix.size or not np.isfinite(matrix).all():
        raise ValueError(f"modes must be a finite matrix (neuron, mode), got the shape {matrix.shape}")
    return matrix


def mode_activity(
    activity: Any,
    modes: Modes,
    *,
    side: Side = "output",
    population: str | None = None,
    bin: Any = None,
    tau: Any = None,
    start: Any = 0.0,
    stop: Any = None,
) -> xr.DataArray:
    """Return the projections of activity on modes, ``ξᵀ · activity``.

    Parameters
    ----------
    activity : DataTree, Dataset, DataArray or array_like
        A result with spikes or counts, of which rates in bins are projected; or what is projected as it is: data over
        ``(…, time, …, neuron)``, or an array (time, trial, neuron) or (time, neuron).
    modes : FactoredWeights or array_like, shape (neuron, mode)
    side : {"output", "input"}
        Which modes of factored weights.
    population : str, optional
        Population of a result that the modes are of; by default all neurons.
    bin : float or Quantity, optional
        Length of a bin of a result, ms; see `binned_counts`. By default near 1 ms.
    tau : float or Quantity, optional
        Time constant of an exponential filter, ms, as of a synapse that keeps the charge of a spike; a result then
        gives what `mnnbio.theory.predict_mode_course` predicts. The filter is at rest before the first bin.
    start, stop : float or Quantity
        Time of a result, ms from the end of the warm-up.

    Returns
    -------
    DataArray
        Over ``([stimulus,] trial, time, mode)``, in Hz of results, else in the unit of the data.

    Raises
    ------
    ValueError
        If the neurons are others than those of the modes, or a time is not > 0.
    """
    matrix = mode_vectors(modes, side)
    data = _neural(activity, population, bin, start, stop)
    _require_same_neurons(data, matrix)
    if tau is not None:
        data = _filtered(data, single_time(tau, "tau"))
    found = xr.DataArray(data.to_numpy() @ matrix, dims=(*data.dims[:-1], "mode"), attrs=data.attrs)
    kept = {name: value for name, value in data.coords.items() if "neuron" not in value.dims}
    return found.assign_coords(kept).rename("mode_activity").assign_attrs(long_name=f"activity of the {side} modes")


def _neural(activity: Any, population: str | None, bin: Any, start: Any, stop: Any) -> xr.DataArray:
    """Return activity as labelled data whose last dimensions are time and neuron."""
    if isinstance(activity, xr.DataTree | xr.Dataset):
        table = binned_counts(activity, 1.0 if bin is None else bin, start=start, stop=stop)
        if "neuron" not in table.dims:
            raise ValueError("modes need counts of neurons, and the result holds those of populations: record spikes")
        data = (table / table.attrs["bin"]).assign_attrs(units="Hz", bin=table.attrs["bin"])
    elif isinstance(activity, xr.DataArray):
        if not {"time", "neuron"} <= set(activity.dims):
            raise ValueError(f"activity must have the dimensions `time` and `neuron`, got {tuple(activity.dims)}")
        data = activity
    else:
        values = np.asarray(activity, dtype=np.float64)
        if values.ndim not in (2, 3):
            raise ValueError(
                f"an array of activity must be (time, trial, neuron) or (time, neuron), got {values.shape}"
            )
        data = xr.DataArray(values, dims=("time", "trial", "neuron") if values.ndim == 3 else ("time", "neuron"))
    if population is not None:
        if "population" not in data.coords or not (data["population"] == population).any():
            raise ValueError(f"the activity has no neurons labelled by the population {population!r}")
        data = data.isel(neuron=np.flatnonzero(data["population"].to_numpy() == population))
    data = data.transpose(..., "time", "neuron").astype(np.float64)
    if not np.isfinite(data.to_numpy()).all():
        raise ValueError("activity must be finite, got NaN or infinite values")
    return data


def _require_same_neurons(data: xr.DataArray, matrix: Array, what: str = "modes") -> None:
    if data.sizes["neuron"] != len(matrix):
        remedy = "choose the `population` that they are of" if "population" in data.coords else "they are of others"
        raise ValueError(
            f"the {what} are of {len(matrix)} neurons, the activity is of {data.sizes['neuron']}: {remedy}"
        )


def _filtered(data: xr.DataArray, tau: float) -> xr.DataArray:
    if not tau > 0:
        raise ValueError(f"`tau` must be a time > 0 ms, got {tau:g} ms")
    fade = np.exp(-_interval(data) / tau)
    axis = data.get_axis_num("time")
    return data.copy(data=lfilter([1 - fade], [1, -fade], data.to_numpy(), axis=axis))


def _interval(data: xr.DataArray) -> float:
    """Return the time between samples, ms."""
    if "bin" in data.attrs:
        return 1e3 * float(data.attrs["bin"])
    if "time" not in data.coords or data.sizes["time"] < 2:
        raise ValueError("the activity needs a coordinate `time`, s, with two times or more")
    steps = np.diff(data["time"].to_numpy())
    if not np.allclose(steps, steps[0], rtol=1e-6):
        raise ValueError("the times of the activity must be equally far apart")
    return 1e3 * float(steps[0])


def orthogonal_coefficients(activity: Any, modes: Modes, weights_in: npt.ArrayLike, **options: Any) -> xr.Dataset:
    """Return the coefficients of activity along input modes from which the directions of the input are taken out.

    A QR decomposition of ``[W_in, ξ_in]`` gives orthonormal directions: first those of the input, then of each mode
    what the input and the modes before it do not span. The coefficients of the latter tell what recurrence adds. They
    equal those of Gram and Schmidt, signs included: a mode is positive along its own direction.

    Parameters
    ----------
    activity : DataTree, Dataset, DataArray or array_like
        As for `mode_activity`.
    modes : FactoredWeights or array_like, shape (neuron, mode)
        Of factored weights, the input modes.
    weights_in : array_like, shape (neuron, channel)
    **options
        `population`, `bin`, `tau`, `start`, `stop` of `mode_activity`.

    Returns
    -------
    Dataset
        `coefficient` over ``(…, time, mode)``, `input_coefficient` over ``(…, time, channel)``, and `explained`, the
        part of the sum of squares of the activity that both have.

    Raises
    ------
    ValueError
        If neurons are others, or a direction is spanned by those before it.

    References
    ----------
    Z. Lin, H. Huang (2024), Spiking mode-based neural networks, Phys. Rev. E 110, 024306, figure 4.
    """
    inner = mode_vectors(modes, "input")
    outer = np.asarray(weights_in, dtype=np.float64)
    if outer.ndim != 2 or len(outer) != len(inner):
        raise ValueError(f"`weights_in` must have the shape ({len(inner)}, channel) of the modes, got {outer.shape}")
    joined = np.concatenate([outer, inner], axis=1)
    directions, upper = np.linalg.qr(joined)
    own, sizes = np.abs(np.diag(upper)), np.linalg.norm(joined, axis=0)
    if joined.shape[1] > len(joined) or (own <= DEPENDENT * sizes).any():
        place = len(joined) if joined.shape[1] > len(joined) else int(np.flatnonzero(own <= DEPENDENT * sizes)[0])
        name = f"channel {place}" if place < outer.shape[1] else f"mode {place - outer.shape[1]}"
        raise ValueError(f"the directions before {name} span it: nothing is left of it to project on. Leave it out")
    directions = directions * np.sign(np.diag(upper))
    channels = outer.shape[1]
    data = _prepared(activity, options)
    own_part = mode_activity(data, directions[:, channels:])
    input_part = mode_activity(data, directions[:, :channels]).rename(mode="channel")
    total = float((data.to_numpy() ** 2).sum())
    inside = float((own_part.to_numpy() ** 2).sum() + (input_part.to_numpy() ** 2).sum())
    return xr.Dataset(
        {
            "coefficient": own_part.assign_attrs(long_name="coefficient along the mode, without the input"),
            "input_coefficient": input_part.assign_attrs(long_name="coefficient along the input"),
            "explained": xr.DataArray(inside / total if total else np.nan, attrs={"units": "1"}),
        }
    )


def condition_trajectories(activity: xr.DataArray, condition: Sequence[Any] | npt.ArrayLike) -> xr.Dataset:
    """Return mean and covariance over the trials of every condition, at every time.

    Parameters
    ----------
    activity : DataArray
        Over trial, time and mode, as of `mode_activity` or `orthogonal_coefficients`.
    condition : sequence, shape (trial,)
        Label of each trial.

    Returns
    -------
    Dataset
        `mean` over ``(condition, time, mode)``, `covariance` over ``(condition, time, mode, mode_j)`` (NaN of a single
        trial) and `trials` over ``condition``.

    Raises
    ------
    ValueError
        If labels are not one a trial.
    """
    data = _by_trial(activity)
    labels, places = _conditions(condition, data.sizes["trial"])
    means, spreads = [], []
    values = data.to_numpy()
    for own in places:
        chosen = values[own]
        deviation = chosen - chosen.mean(0)
        means.append(chosen.mean(0))
        scale = 1 / (len(own) - 1) if len(own) > 1 else np.nan
        spreads.append(scale * np.einsum("btp,btq->tpq", deviation, deviation))
    unit = activity.attrs.get("units", "1")
    found = {
        "mean": (("condition", "time", "mode"), np.stack(means), {"units": unit}),
        "covariance": (("condition", "time", "mode", "mode_j"), np.stack(spreads), {"units": f"{unit}²"}),
        "trials": (("condition",), np.array([len(own) for own in places])),
    }
    coords: dict[str, Any] = {"condition": _label_array(labels)}
    if "time" in activity.coords:
        coords["time"] = activity["time"]
    return xr.Dataset(found, coords=coords)


def attractor_separation(
    activity: xr.DataArray,
    condition: Sequence[Any] | npt.ArrayLike,
    *,
    last: Any = None,
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> xr.Dataset:
    """Return how far the ends of trials of one condition are apart, against those of different conditions.

    The end of a trial is the mean of its activity over the `last` of its time; distances are Euclidean, between all
    pairs of trials. A ratio of between to within far above 1 tells of attractors, or of directions, of their own; near
    1 conditions are mixed.

    Parameters
    ----------
    activity : DataArray
        Over trial, time and mode (or neuron).
    condition : sequence, shape (trial,)
        Label of each trial, two or more different, two trials or more of one.
    last : float or Quantity, optional
        Time before the end, ms; by default a tenth of all.
    level : float
        Of the percentile intervals.
    resamples : int
        Draws of trials, with replacement, within conditions; pairs of one trial with itself count nowhere.
    seed : int

    Returns
    -------
    Dataset
        `within`, `between` and `ratio`, each with `…_low` and `…_high`; `distance` over ``(condition, condition_j)``.
    """
    data = _by_trial(activity)
    _require_level(level)
    require_integer("resamples", resamples, 1)
    labels, places = _conditions(condition, data.sizes["trial"])
    if len(labels) < 2 or max(map(len, places)) < 2:
        raise ValueError("separation needs two conditions or more, of which one has two trials or more")
    ends = data.isel(time=_last(data, last, 0.1)).mean("time").to_numpy()
    apart = np.linalg.norm(ends[:, None] - ends[None], axis=-1)
    owner = np.zeros(len(ends), dtype=int)
    for k, own in enumerate(places):
        owner[own] = k
    member = np.eye(len(labels))[owner]
    same = member @ member.T
    np.fill_diagonal(same, 0.0)
    other = 1 - member @ member.T

    def means(times: Array) -> Array:
        """Return mean distances within and between, of trials taken so many times each, (…, trial)."""
        pairs = [
            ((times @ (apart * kind)) * times).sum(-1) / ((times @ kind) * times).sum(-1) for kind in (same, other)
        ]
        return np.stack([*pairs, pairs[1] / pairs[0]], -1)

    rng = np.random.default_rng(seed)
    drawn = np.zeros((resamples, len(ends)))
    for own in places:
        drawn[:, own] = rng.multinomial(len(own), np.full(len(own), 1 / len(own)), resamples)
    with np.errstate(divide="ignore", invalid="ignore"):  # a resample may hold one trial of each condition alone
        value, spread = means(np.ones(len(ends))), means(drawn)
        low, high = np.nanquantile(spread, [(1 - level) / 2, (1 + level) / 2], axis=0)
        number = member.T @ (1 - np.eye(len(ends))) @ member
        table = np.where(number > 0, (member.T @ apart @ member) / number, np.nan)
    found: dict[str, Any] = {}
    for k, name in enumerate(("within", "between", "ratio")):
        found |= {name: value[k], f"{name}_low": low[k], f"{name}_high": high[k]}
    found["distance"] = (("condition", "condition_j"), table)
    names = _label_array(labels)
    coords = {"condition": names, "condition_j": names}
    return xr.Dataset(found, coords=coords, attrs={"level": level, "resamples": resamples, "seed": seed})


def switch_success(
    outputs: xr.DataArray | npt.ArrayLike,
    targets: npt.ArrayLike,
    condition: Sequence[Any] | npt.ArrayLike | None = None,
    *,
    dt: Any = None,
    last: Any = None,
    level: float = 0.95,
) -> xr.Dataset:
    """Return the share of trials that end on the right side, with its exact binomial interval.

    A trial decides by the sign of its output, averaged over the `last` of its time; an output of 0 is wrong. With
    trials whose context changes after the stimulus and targets of the new context, it is the success of the switch;
    chance is a half.

    Parameters
    ----------
    outputs : DataArray over time and trial, or array_like of shape (time, trial)
    targets : array_like, shape (trial,) or (time, trial)
        Whose signs, at the last time, are right.
    condition : sequence, shape (trial,), optional
        Labels, to have the success of each as well.
    dt : float or Quantity, optional
        Time between outputs, ms, for an array with `last`.
    last : float or Quantity, optional
        Time before the end, ms; by default a quarter of all.
    level : float
        Of the interval of Clopper and Pearson.

    Returns
    -------
    Dataset
        `success`, `success_low`, `success_high`, `right` and `trials`, over ``condition`` with the first being all
        trials ("all").
    """
    data = (
        outputs
        if isinstance(outputs, xr.DataArray)
        else xr.DataArray(np.asarray(outputs, float), dims=("time", "trial"))
    )
    if set(data.dims) != {"time", "trial"}:
        raise ValueError(f"outputs must be over time and trial, got {tuple(data.dims)}")
    _require_level(level)
    data = data.transpose("trial", "time")
    if dt is not None:
        data = data.assign_attrs(bin=1e-3 * single_time(dt, "dt"))
    wanted = np.asarray(targets, dtype=np.float64)
    wanted = wanted[-1] if wanted.ndim == 2 else wanted
    if wanted.shape != (data.sizes["trial"],) or not np.isfinite(wanted).all() or (wanted == 0).any():
        raise ValueError(f"`targets` must be a number other than 0 for each of {data.sizes['trial']} trials")
    decided = data.isel(time=_last(data, last, 0.25)).mean("time").to_numpy()
    right = np.sign(decided) == np.sign(wanted)
    groups: list[tuple[Any, npt.NDArray[Any]]] = [("all", np.arange(len(right)))]
    if condition is not None:
        groups += list(zip(*_conditions(condition, len(right)), strict=True))
    rows = []
    for _, own in groups:
        test = stats.binomtest(int(right[own].sum()), len(own))
        interval = test.proportion_ci(level, method="exact")
        rows.append((test.statistic, interval.low, interval.high, test.k, len(own)))
    names = ("success", "success_low", "success_high", "right", "trials")
    found = {
        name: (("condition",), np.array(column)) for name, column in zip(names, zip(*rows, strict=True), strict=True)
    }
    labels = [str(label) for label, _ in groups]
    return xr.Dataset(found, coords={"condition": labels}, attrs={"level": level, "interval": "Clopper-Pearson"})


def participation_ratio(
    activity: Any, *, level: float = 0.95, resamples: int = 500, seed: int = 0, **options: Any
) -> xr.Dataset:
    """Return the participation ratio of activity, ``(Σ e)²/Σ e²`` of the eigenvalues e of its covariance.

    It is the number of dimensions that the activity has, 1 of a line and n of a ball in n dimensions. Estimated from
    few samples it comes out too small: at most as large as there are samples.

    Parameters
    ----------
    activity : DataTree, Dataset, DataArray or array_like
        As for `mode_activity`, or over ``(…, time, mode)``. Samples are all times of all trials.
    level, resamples, seed
        Of the percentile interval over trials drawn with replacement; NaN where there is one trial.
    **options
        `population`, `bin`, `tau`, `start`, `stop` of `mode_activity`.

    Returns
    -------
    Dataset
        `participation_ratio` with `…_low` and `…_high`, and `eigenvalue` over ``component``, descending.
    """
    _require_level(level)
    require_integer("resamples", resamples, 1)
    samples = _samples(activity, options)
    require_memory(
        8.0 * len(samples) * samples.shape[-1] ** 2, "a covariance matrix of every trial", "Take fewer trials"
    )
    second = np.einsum("btn,btm->bnm", samples, samples) / samples.shape[1]
    first = samples.mean(1)

    def ratio(weights: Array) -> tuple[float, Array]:
        mean = weights @ first
        covariance = np.tensordot(weights, second, 1) - np.outer(mean, mean)
        total = float(np.trace(covariance))
        return (total**2 / float((covariance**2).sum()) if total > 0 else np.nan), covariance

    trials = len(samples)
    value, covariance = ratio(np.full(trials, 1 / trials))
    low = high = np.nan
    if trials > 1:
        rng = np.random.default_rng(seed)
        drawn = rng.multinomial(trials, np.full(trials, 1 / trials), resamples) / trials
        low, high = np.nanquantile([ratio(w)[0] for w in drawn], [(1 - level) / 2, (1 + level) / 2])
    found: dict[str, Any] = {
        "participation_ratio": value,
        "participation_ratio_low": low,
        "participation_ratio_high": high,
        "eigenvalue": ("component", np.linalg.eigvalsh(covariance)[::-1]),
    }
    return xr.Dataset(found, attrs={"samples": samples.shape[0] * samples.shape[1], "level": level})


def principal_angles(
    activity: Any, modes: Modes, *, side: Side = "input", components: int | None = None, seed: int = 0, **options: Any
) -> xr.Dataset:
    """Return the principal angles between the space of the modes and that of the principal components of activity.

    Parameters
    ----------
    activity : DataTree, Dataset, DataArray or array_like
        As for `mode_activity`; samples are all times of all trials.
    modes : FactoredWeights or array_like, shape (neuron, mode)
    side : {"input", "output"}
        Recurrent input moves activity along the input modes.
    components : int, optional
        Principal components that are taken; by default as many as modes.
    seed : int
        Of the random spaces of the same dimensions with which the angles are compared.
    **options
        `population`, `bin`, `tau`, `start`, `stop` of `mode_activity`.

    Returns
    -------
    Dataset
        Over ``angle``, ascending: `angle`, and `angle_chance_low` and `angle_chance_median`, the 5 % quantile and the
        median of random spaces, degrees; `captured`, the part of the variance within the space of the modes,
        `captured_chance` that in a random space (modes over neurons), `captured_most` that of the components.

    Raises
    ------
    ValueError
        If neurons are others, modes depend on each other, or there are not so many components.
    """
    matrix = mode_vectors(modes, side)
    samples = _samples(activity, options)
    neurons = samples.shape[-1]
    if neurons != len(matrix):
        raise ValueError(f"the modes are of {len(matrix)} neurons, the activity is of {neurons}: they are of others")
    number = matrix.shape[1] if components is None else components
    require_integer("components", number, 1)
    flat = samples.reshape(-1, neurons)
    flat = flat - flat.mean(0)
    if number > min(flat.shape):
        raise ValueError(
            f"`components` must be at most {min(flat.shape)}, as there are neurons and samples, got {number}"
        )
    basis, upper = np.linalg.qr(matrix)
    if matrix.shape[1] > neurons or (np.abs(np.diag(upper)) <= DEPENDENT * np.linalg.norm(matrix, axis=0)).any():
        raise ValueError("the modes depend on each other: they span fewer dimensions than they are. Leave some out")
    _, sizes, rows = np.linalg.svd(flat, full_matrices=False)
    total = float((sizes**2).sum())
    found = np.degrees(np.sort(subspace_angles(basis, rows[:number].T)))
    rng = np.random.default_rng(seed)
    chance = np.sort(
        [
            np.degrees(subspace_angles(basis, np.linalg.qr(rng.normal(size=(neurons, number)))[0]))
            for _ in range(RANDOM_SPACES)
        ]
    )
    unit = {"units": "degrees"}
    data: dict[str, Any] = {
        "angle": ("angle", found, unit),
        "angle_chance_low": ("angle", np.quantile(chance, 0.05, axis=0), unit),
        "angle_chance_median": ("angle", np.median(chance, axis=0), unit),
        "captured": float(((flat @ basis) ** 2).sum()) / total if total else np.nan,
        "captured_chance": matrix.shape[1] / neurons,
        "captured_most": float((sizes[:number] ** 2).sum()) / total if total else np.nan,
    }
    angles = data.pop("angle")
    return xr.Dataset({"principal_angle": angles, **data}, attrs={"side": side, "components": number})


def _samples(activity: Any, options: dict[str, Any]) -> Array:
    """Return activity as an array (trial, time, neuron); other dimensions count as trials."""
    if isinstance(activity, xr.DataArray) and "mode" in activity.dims and "neuron" not in activity.dims:
        activity = activity.rename(mode="neuron")
    values = _prepared(activity, options).to_numpy()
    return values.reshape(-1, *values.shape[-2:])


def _prepared(activity: Any, options: dict[str, Any]) -> xr.DataArray:
    """Return activity over (…, time, neuron) with the options of `mode_activity` applied."""
    known = {"population", "bin", "tau", "start", "stop"}
    if set(options) - known:
        raise TypeError(f"unknown option {min(set(options) - known)!r}; there are {', '.join(sorted(known))}")
    population, bin, start, stop = (options.get(name) for name in ("population", "bin", "start", "stop"))
    data = _neural(activity, population, bin, 0.0 if start is None else start, stop)
    return data if options.get("tau") is None else _filtered(data, single_time(options["tau"], "tau"))


def _by_trial(activity: xr.DataArray) -> xr.DataArray:
    if not isinstance(activity, xr.DataArray) or not {"trial", "time"} <= set(activity.dims) or activity.ndim != 3:
        given = tuple(activity.dims) if isinstance(activity, xr.DataArray) else type(activity).__name__
        raise ValueError(f"activity must be labelled data over trial, time and mode, got {given}")
    return activity.transpose("trial", "time", ...)


def _conditions(condition: Sequence[Any] | npt.ArrayLike, trials: int) -> tuple[list[Any], list[npt.NDArray[np.int64]]]:
    """Return the different labels in the order of their first trial, and the trials of each."""
    labels = list(np.asarray(condition).tolist()) if isinstance(condition, np.ndarray) else list(condition)  # type: ignore[arg-type]
    labels = [tuple(label) if isinstance(label, list) else label for label in labels]
    if len(labels) != trials:
        raise ValueError(f"`condition` must have a label for each of {trials} trials, got {len(labels)}")
    different = list(dict.fromkeys(labels))
    return different, [np.array([k for k, own in enumerate(labels) if own == one], dtype=int) for one in different]


def _label_array(labels: list[Any]) -> npt.NDArray[Any]:
    """Return labels as an array, tuples as single objects."""
    if not any(isinstance(label, tuple) for label in labels):
        return np.array(labels)
    found = np.empty(len(labels), dtype=object)
    found[:] = labels
    return found


def _last(data: xr.DataArray, last: Any, part: float) -> slice:
    """Return the places of the last times."""
    times = data.sizes["time"]
    if last is None:
        return slice(times - max(1, round(part * times)), None)
    length = single_time(last, "last")
    number = round(length / _interval(data))
    if not 1 <= number <= times:
        raise ValueError(
            f"`last` must be between {_interval(data):g} ms and {times * _interval(data):g} ms, got {length:g}"
        )
    return slice(times - number, None)


def _require_level(level: float) -> None:
    if not 0 < level < 1:
        raise ValueError(f"`level` must be between 0 and 1, got {level!r}")
