"""Named causes: which listed error of a prediction explains how a simulation differs from it.

Differences of all neurons together are held against the pattern that each cause makes, by generalised least squares
with the errors and correlations of the data. A prediction is right where neither all differences together nor any of
the patterns stand out; else the causes are named whose one size leaves nothing that chance would not; where none does,
the differences are called unexplained.
"""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import xarray as xr
from scipy import linalg, stats

from mnnbio.circuit import Circuit, require_circuit
from mnnbio.validation.causes import (
    FEATURES,
    NAMES,
    Cause,
    Features,
    Pattern,
    Sensitivities,
    features_of,
    given_patterns,
    sensitivities,
)

Array = npt.NDArray[np.float64]

# Relative errors of the theory that do not count: what it is known to miss where none of its warnings is given. Each
# value may be off by as much on its own, and all of a kind together.
TOLERANCES = {"rate": 0.003, "count_variance": 0.02, "covariance": 0.1}
# How much better, in χ², a cause must fit than another to rule it out: three standard errors.
TOLD_APART = 9.0
GRID = 2001  # sizes at which a pattern is tried
FEWEST_SAMPLES = 20


class Explanation(xr.Dataset):
    """A dataset that prints as a verdict and a table of causes; `to_dataset` gives the plain one."""

    __slots__ = ()

    def to_dataset(self) -> xr.Dataset:
        """Return the same variables as a plain dataset."""
        return xr.Dataset(self.data_vars, coords=self.coords, attrs=self.attrs)

    def __repr__(self) -> str:
        return explanation_table(self) if {"chi_square", "named"} <= set(self.variables) else super().__repr__()

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(repr(self))}</pre>"


class _Fit(NamedTuple):
    """Size of a cause that fits best."""

    size: float
    error: float
    at_edge: bool
    left: Array  # differences that stay, (feature,)
    here: Array  # change of the differences with the size, at this size
    first: Array  # the same at the size of no error

    @property
    def chi_square(self) -> float:
        """Sum of the squares of what stays."""
        return float(self.left @ self.left)


def explain(
    circuit: Circuit,
    prediction: xr.Dataset | xr.DataTree,
    simulation: xr.Dataset | xr.DataTree,
    *,
    causes: Sequence[str | Cause] = NAMES,
    features: Sequence[str] | None = None,
    level: float = 0.01,
    tolerances: dict[str, float] | None = None,
    known: Sensitivities | None = None,
) -> Explanation:
    """Return what makes a prediction differ from a simulation: right, a named cause with its size, or unexplained.

    Parameters
    ----------
    circuit : Circuit
        That was simulated.
    prediction : Dataset or DataTree
        As `predict` returns it, with ``rate``, and ``count_variance`` and ``count_covariance`` if these are to be
        compared.
    simulation : Dataset or DataTree
        As `simulate` returns it, with standard errors: from trials or windows, 20 or more together.
    causes : sequence of str or Cause
        What is tried: names in `CAUSES`, or causes of a user's own. All are errors of the *prediction*; a circuit that
        was simulated with weights 10 % larger is told as weights of the prediction that are 9 % too small.
    features : sequence of str, optional
        What is compared, among ``rate``, ``count_variance``, ``covariance``; by default what both sides have.
    level : float
        Probability that a right prediction is not called right. Half of it is for the sums of squared differences, of
        single neurons and of pairs, half for the patterns of the causes, each of which has an equal part. A cause
        explains the differences where what it leaves stands up to the same tests.
    tolerances : dict, optional
        Errors of the theory that do not count, added in square to the standard errors; see `TOLERANCES`. 0 for none.
    known : Sensitivities, optional
        From `sensitivities`, where many data are judged with one circuit.

    Returns
    -------
    Explanation
        A dataset that prints as a verdict and a table. Over ``cause``: ``chi_square`` of the best size, its
        probability ``p``, ``size`` and ``size_se`` (of the step and the window the time that the prediction is for,
        s), ``improved`` (how much less χ² than without), ``named`` and ``says``. Attributes: ``verdict`` ("right",
        "explained" or "unexplained"), ``sentence``, ``chi_square`` and ``p`` of no cause, ``features`` (their number),
        ``level``.

    Raises
    ------
    ValueError
        If labels do not match, values are NaN or infinite, standard errors are missing, or an option is invalid.

    Notes
    -----
    Standard errors of single neurons are themselves uncertain. Their shape over the neurons is therefore taken from the
    prediction of the circuit, their scale from the data. Errors of rates are correlated as spike counts are; those of
    variances by the squares of that; those of rate and variance of a neuron by the third cumulant of its counts, taken
    to be that of a train with its Fano factor.

    Examples
    --------
    ::

        print(explain(circuit, prediction, simulation))
    """
    require_circuit(circuit)
    if not (isinstance(level, float) and 0 < level < 1):
        raise ValueError(f"`level` must be a probability between 0 and 1, got {level!r}")
    predicted, simulated, attrs = _sides(prediction, simulation)
    names = _names(predicted, simulated, features)
    if known is None:
        known = sensitivities(
            circuit,
            dt=round(1e3 * float(attrs["dt"]), 9),
            window=round(1e3 * float(attrs["window"]), 9) if "count_variance" in names else None,
            closure=predicted.attrs.get("closure", "poisson"),
            theory=predicted.attrs.get("theory", "diffusion"),
            features=names,
            causes=causes,
        )
    names = tuple(n for n in names if n in known.names)
    if names != known.names:
        raise ValueError(f"`known` is of {', '.join(known.names)}, the data have {', '.join(names)}: make it for these")
    own, data = features_of(predicted, names), features_of(simulated, names)
    errors = features_of(simulated, names, "_se")
    _require_finite(own, data, errors)
    _require_alike(own, data, known)
    samples = int(simulated["rate_se"].attrs.get("n_samples", attrs.get("trials", FEWEST_SAMPLES)))
    if samples < FEWEST_SAMPLES and not _pooled(data):
        raise ValueError(
            f"the standard errors rest on {samples} samples, and {FEWEST_SAMPLES} or more are needed to judge: "
            "simulate more trials"
        )
    time = float(attrs["duration"]) * float(attrs.get("trials", 1))
    whiten = _whitening(known, errors, time, float(attrs["window"]), TOLERANCES | dict(tolerances or {}))
    difference = whiten(data.flat() - own.flat())
    of_pairs = 0 if own.covariance is None else own.covariance.shape[1]
    pairs = np.tile(np.repeat([False, True], [own.flat().shape[1] - of_pairs, of_pairs]), len(own.rate))
    patterns = [*known.patterns, *given_patterns(known, own, causes)]
    fits = [_fit(pattern, known.reference, difference, whiten) for pattern in patterns]
    spread = sum(squared_pair_correlations(matrix) for matrix in known.correlation)
    return _judged(patterns, fits, difference, _Kinds(pairs, spread), level, causes)


def _sides(
    prediction: xr.Dataset | xr.DataTree, simulation: xr.Dataset | xr.DataTree
) -> tuple[xr.Dataset, xr.Dataset, dict[str, Any]]:
    """Return both sides as datasets, and the attributes of the simulation."""
    found = []
    for name, given in (("prediction", prediction), ("simulation", simulation)):
        if isinstance(given, xr.DataTree):
            if name not in given.children:
                raise ValueError(f"the result has no group /{name}; it has {', '.join(given.groups)}")
            found.append(given[name].to_dataset())
        elif isinstance(given, xr.Dataset):
            found.append(given)
        else:
            raise TypeError(f"the {name} must be an xarray Dataset or DataTree, got {type(given).__name__}")
    attrs = dict(found[1].attrs)
    if isinstance(simulation, xr.DataTree):
        attrs = dict(simulation.attrs) | attrs
    missing = [name for name in ("dt", "duration", "window") if name not in attrs]
    if missing:
        raise ValueError(f"the simulation must say its {', '.join(missing)} in its attributes: give the whole result")
    return found[0], found[1], attrs


def _names(predicted: xr.Dataset, simulated: xr.Dataset, features: Sequence[str] | None) -> tuple[str, ...]:
    """Return what is compared."""
    both = [n for n, v in FEATURES.items() if v in predicted and v in simulated and f"{v}_se" in simulated]
    if "rate" not in both:
        raise ValueError("prediction and simulation must both have `rate`, and the simulation `rate_se`")
    if features is None:
        return tuple(both)
    missing = [name for name in features if name not in both]
    if missing or "rate" not in features:
        raise ValueError(
            f"`features` must be among what both sides have with standard errors, {', '.join(both)}, and 'rate' among "
            f"them; got {', '.join(map(str, features))}"
        )
    return tuple(name for name in FEATURES if name in features)


def _require_finite(own: Features, data: Features, errors: Features) -> None:
    for side, given in (("prediction", own), ("simulation", data), ("standard errors of the simulation", errors)):
        for name, values in zip(FEATURES, given, strict=True):
            if values is not None and not np.isfinite(values).all():
                where = tuple(int(k) for k in np.argwhere(~np.isfinite(values))[0])
                raise ValueError(
                    f"the {side} must be finite, got {values[where]} for {name} at (stimulus, place) {where}"
                    + (": simulate four trials or windows or more" if side.startswith("standard") else "")
                )


def _require_alike(own: Features, data: Features, known: Sensitivities) -> None:
    sizes = {"prediction": own.rate.shape, "simulation": data.rate.shape, "circuit": known.reference.rate.shape}
    if len(set(sizes.values())) > 1:
        said = ", ".join(f"{name} {shape}" for name, shape in sizes.items())
        raise ValueError(f"all must have the same (stimulus, neuron), got {said}: select the same ones")


def _pooled(data: Features) -> bool:
    """Return whether there are enough neurons to make up for few samples."""
    return data.rate.size >= 5 * FEWEST_SAMPLES


def _scale(shape: Array, squares: Array) -> Array:
    """Return squared errors that have a predicted shape and the scale of the data."""
    return shape * (squares.sum() / shape.sum()) if shape.sum() > 0 else squares


def _whitening(known: Sensitivities, errors: Features, time: float, window: float, tolerances: dict[str, float]) -> Any:
    """Return a function of rows (…, stimulus, feature) that makes them independent, of unit variance, and flat.

    Parameters
    ----------
    known : Sensitivities
    errors : Features
        Standard errors of the simulation.
    time : float
        Time simulated of each stimulus, s.
    window : float
        s.
    tolerances : dict
    """
    right, parts = known.reference, []
    rate, count, pairs = right
    samples = max(time / window, 2.0)
    square = _scale(np.maximum(known.variance, 1e-9) / time, errors.rate**2)
    count_square = cross = pair_square = loose = None
    if count is not None:
        mean = rate * window
        fano = np.where(mean > 0, count / np.where(mean > 0, mean, 1.0), 1.0)
        shape = (2 * count**2 + count * fano**2) / samples
        assert errors.count_variance is not None
        count_square = _scale(shape, errors.count_variance**2)
        third = mean * fano**2 * np.minimum(fano, 1.0)
        # Of mean and variance of counts; what is scaled are the errors, so that the correlation is that of samples.
        plain = np.sqrt(count / samples * shape)
        cross = np.clip(np.where(plain > 0, third / samples / np.where(plain > 0, plain, 1.0), 0.0), -0.9, 0.9)
    if pairs is not None:
        assert errors.covariance is not None
        assert count is not None
        one, other = np.triu_indices(rate.shape[1], 1)
        product = count[:, one] * count[:, other]
        loose = tolerances["covariance"] * pairs
        pair_square = _scale((product + pairs**2) / samples, errors.covariance**2) + loose**2
    for k in range(len(rate)):
        r, common = known.correlation[k], tolerances["rate"] * rate[k]
        blocks = _scaled_block(r, square[k]) + np.diag(common**2) + np.outer(common, common)
        if count is not None and count_square is not None and cross is not None:
            off, common = (
                np.diag(cross[k] * np.sqrt(square[k] * count_square[k])),
                tolerances["count_variance"] * count[k],
            )
            own = _scaled_block(r**2, count_square[k]) + np.diag(common**2) + np.outer(common, common)
            blocks = np.block([[blocks, off], [off, own]])
        parts.append(_factor(blocks, len(rate[k])))

    def whiten(rows: Array) -> Array:
        found = []
        for k, factor in enumerate(parts):
            values = rows[..., k, :]
            size = len(factor)
            inner = linalg.solve_triangular(
                factor, np.moveaxis(values[..., :size], -1, 0).reshape(size, -1), lower=True
            )
            found.append(np.moveaxis(inner.reshape(size, *values.shape[:-1]), 0, -1))
            if pair_square is not None and loose is not None:
                error = np.sqrt(pair_square[k])
                found.append(_without_common(values[..., size:] / error, loose[k] / error))
        return np.concatenate(found, axis=-1)

    return whiten


def _without_common(values: Array, common: Array) -> Array:
    """Return rows of independent errors that have a common one besides, of that size, made independent.

    The inverse root of ``1 + c cᵀ`` is ``1 - f c cᵀ`` with ``f = (1 - 1/√(1 + |c|²))/|c|²``.
    """
    size = float(common @ common)
    if not size > 0:
        return values
    return np.asarray(values - (1 - 1 / np.sqrt(1 + size)) / size * (values @ common)[..., None] * common)


def squared_pair_correlations(correlation: Array) -> float:
    """Return the sum of the squared correlations among the estimated covariances of pairs of neurons.

    Those of nearly Gaussian counts are ``ρ_ik ρ_jl + ρ_il ρ_jk`` for the pairs ij and kl.
    """
    square, product = correlation**2, correlation @ correlation.T
    first = square.sum() ** 2 - 2 * (square.sum(1) ** 2).sum() + (square**2).sum()
    second = product**2 - square @ square.T
    return float(first + second.sum() - np.trace(second)) / 2


def _scaled_block(correlation: Array, square: Array) -> Array:
    error = np.sqrt(square)
    found: Array = correlation * error[:, None] * error
    return found


def _factor(blocks: Array, n: int) -> Array:
    """Return the Cholesky factor of the errors, without correlations between kinds where these are inconsistent."""
    try:
        return np.asarray(np.linalg.cholesky(blocks))
    except np.linalg.LinAlgError:
        apart = blocks.copy()
        apart[:n, n:], apart[n:, :n] = 0.0, 0.0
        apart += 1e-9 * np.diag(np.diag(apart))
        return np.asarray(np.linalg.cholesky(apart))


def _fit(pattern: Pattern, reference: Features, difference: Array, whiten: Any) -> _Fit:
    """Return the size of a cause that leaves the smallest χ².

    What the prediction with an error of that size lacks is the pattern taken back, ``reference − pattern(size)``.
    """
    change = whiten(pattern.values - reference.flat())  # (node, feature)
    gram, along = change @ change.T, change @ difference
    spline = pattern.spline()
    places = np.unique(np.append(np.linspace(pattern.at[0], pattern.at[-1], GRID), pattern.zero))
    weights = spline(places)
    squares = 2 * weights @ along + np.einsum("ki,ij,kj->k", weights, gram, weights)
    best = int(squares.argmin())
    place = float(places[best])
    here = np.asarray(spline(place, 1)) @ change
    information = float(here @ here)
    error = 1 / np.sqrt(information) if information > 0 else np.inf
    spread = abs(pattern.size(place + error) - pattern.size(place - error)) / 2 if np.isfinite(error) else np.inf
    return _Fit(
        pattern.size(place),
        spread,
        best in (0, len(places) - 1),
        difference + weights[best] @ change,
        here,
        np.asarray(spline(pattern.zero, 1)) @ change,
    )


class _Kinds(NamedTuple):
    """Which differences are of pairs, and the sum of their squared correlations."""

    pairs: npt.NDArray[np.bool_]
    spread: float

    def scale(self) -> float:
        """Return by how much the squares of pairs vary more than those of independent ones."""
        number = int(self.pairs.sum())
        return max(self.spread / number, 1.0) if number else 1.0


def _chance(left: Array, kinds: _Kinds, spent: int) -> float:
    """Return the probability of squares at least as large: of single neurons, and of pairs, whichever is the smaller.

    Pairs are many, and would hide what single neurons tell. The squares of correlated ones follow a scaled χ².
    """
    found = []
    for kind, scale in ((~kinds.pairs, 1.0), (kinds.pairs, kinds.scale())):
        if kind.any():
            freedom = max(int(kind.sum()) - spent, 1)
            found.append(float(stats.chi2.sf(left[kind] @ left[kind] / scale, freedom / scale)))
    return min(1.0, len(found) * min(found))


def _second(fit: _Fit, others: list[_Fit]) -> float:
    """Return the most that another cause beside this one would take from χ², to first order."""
    most, norm = 0.0, float(fit.here @ fit.here)
    for other in others:
        along = other.first - (other.first @ fit.here / norm) * fit.here if norm > 0 else other.first
        size = float(along @ along)
        if other is not fit and size > 1e-9 * float(other.first @ other.first):
            most = max(most, float(along @ fit.left) ** 2 / size)
    return most


def _judged(
    patterns: list[Pattern],
    fits: list[_Fit],
    difference: Array,
    kinds: _Kinds,
    level: float,
    causes: Sequence[str | Cause],
) -> Explanation:
    """Return the verdict on all fits."""
    none, number, tried = float(difference @ difference), len(difference), max(len(causes), 1)
    p_none = _chance(difference, kinds, 0)
    chi = np.array([f.chi_square for f in fits])
    improved = none - chi
    p = np.array([_chance(f.left, kinds, 1) for f in fits])
    striking = stats.chi2.isf(level / 2 / tried, 1)
    right = p_none >= level / 2 and not bool((improved > striking).any())
    named = np.zeros(len(fits), dtype=bool)
    if not right and len(fits):
        enough = np.array([_second(f, fits) <= striking for f in fits])
        acceptable = (p >= level / 2) & enough
        if acceptable.any():
            named = acceptable & (chi - chi[acceptable].min() <= TOLD_APART)
    verdict = "right" if right else "explained" if named.any() else "unexplained"
    says = [_says(pattern, fit) for pattern, fit in zip(patterns, fits, strict=True)]
    order = np.argsort(chi, kind="stable")
    chosen = [k for k in order if named[k]]
    if right:
        sentence = (
            f"right: {number} differences are as large as chance makes them (χ² = {none:.0f}, p = {p_none:.2g}), and "
            f"none of {tried} causes stands out, at a level of {level:.2g}"
        )
    elif len(chosen) == 1:
        sentence = f"{patterns[chosen[0]].name}: {says[chosen[0]]}"
    elif chosen:
        several = ", or ".join(f"{patterns[k].name} ({says[k]})" for k in chosen)
        sentence = f"one of {len(chosen)} causes that these data cannot tell apart: {several}"
    else:
        closest = (
            f"; the closest is {patterns[order[0]].name}, which leaves χ² = {chi[order[0]]:.0f}" if len(fits) else ""
        )
        sentence = (
            f"unexplained: the prediction is wrong (χ² = {none:.0f} of {number} differences, p = {p_none:.2g}), and no "
            f"cause alone explains how{closest}"
        )
    second = np.array([1e-3 if pattern.name in ("time step", "window") else 1.0 for pattern in patterns])
    data = {
        "chi_square": ("cause", chi, {"units": "1", "long_name": "χ² of the best size of the cause"}),
        "p": ("cause", p, {"units": "1", "long_name": "probability of a χ² at least as large"}),
        "improved": ("cause", improved, {"units": "1", "long_name": "χ² without the cause minus χ² with it"}),
        "size": ("cause", second * [f.size for f in fits], {"long_name": "size that fits best"}),
        "size_se": ("cause", second * [f.error for f in fits], {"long_name": "standard error of the size"}),
        "at_edge": ("cause", np.array([f.at_edge for f in fits], dtype=bool)),
        "named": ("cause", named),
        "says": ("cause", np.array(says, dtype=str)),
    }
    return Explanation(
        data,
        coords={"cause": np.array([pattern.name for pattern in patterns], dtype=str)},
        attrs={
            "verdict": verdict,
            "sentence": sentence,
            "chi_square": none,
            "p": p_none,
            "features": number,
            "level": level,
        },
    )


def _says(pattern: Pattern, fit: _Fit) -> str:
    margin = f" ± {fit.error:.1g} ms" if np.isfinite(fit.error) and fit.size > 0 else ""
    text = pattern.says.replace("{margin}", margin)
    return text.format(name=pattern.name, size=fit.size, error=fit.error, right=pattern.right)


def explanation_table(found: xr.Dataset) -> str:
    """Return the verdict and the causes that were tried, best first, as text."""
    lines = [found.attrs["sentence"], f"{'cause':22}{'χ²':>10}{'p':>10}  best size"]
    lines.append(f"{'none':22}{found.attrs['chi_square']:10.1f}{found.attrs['p']:10.2g}")
    for k in np.argsort(found["chi_square"].values, kind="stable"):
        one = found.isel(cause=int(k))
        mark = " *" if bool(one["named"]) else ""
        edge = ", at the edge of what was tried" if bool(one["at_edge"]) else ""
        lines.append(
            f"{str(one['cause'].item()) + mark:22}{float(one['chi_square']):10.1f}{float(one['p']):10.2g}  "
            f"{one['says'].item()}{edge}"
        )
    return "\n".join(lines)
