"""Planning of simulations: how many trials, and what time, tell a prediction from its spikes.

All standard errors follow from the prediction, in closed form: those of means from count variances and covariances,
those of variances and covariances from the moments of fourth order that nearly Gaussian counts have.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import numpy.typing as npt
import xarray as xr
from scipy import stats

from mnnbio.circuit import Circuit
from mnnbio.machine import require_integer
from mnnbio.spikes import build
from mnnbio.units import in_unit

Array = npt.NDArray[np.float64]

Planned = Literal["rate", "rate_deviation", "count_variance", "count_fano", "count_covariance", "summed_variance"]
Goal = Literal["difference", "equivalence"]

# Other names of what is counted in windows.
_ALIASES = {"variance": "count_variance", "fano": "count_fano", "covariance": "count_covariance"}
_OF_POPULATIONS = ("rate_deviation", "summed_variance")
# Samples that `compare` cuts the record into, of populations and of single neurons, if trials are fewer.
_BLOCKS = {"population": 20, "neuron": 16}
_MOST_TRIALS = 10**9
_LEAST_RATE = 1.0  # Hz: neurons below are not planned for one by one


class SimulationPlan(NamedTuple):
    """Trials that reach a precision."""

    trials: int
    """Number of trials of every stimulus."""
    standard_error: float
    """What the standard error of the quantity will then be, relative to it (see `trials_needed`)."""
    power: float
    """Probability of the result that was asked for: the next smaller number of trials has less."""
    duration: float
    """Length of a trial, s."""
    limited_by: str
    """Population or neuron that needs the most."""

    @property
    def simulated_time(self) -> float:
        """Time recorded in all trials of one stimulus, s."""
        return self.trials * self.duration


class Runtime(NamedTuple):
    """Time that a planned simulation takes."""

    simulated: float
    """Simulated time of all trials and stimuli, warm-up included, s."""
    wall: float
    """Time on the clock, s; NaN where no speed is known."""
    speed: float
    """Simulated seconds in a second on the clock."""


def trials_needed(
    prediction: xr.Dataset,
    quantity: str = "rate",
    precision: float = 0.01,
    *,
    duration: Any,
    window: Any = None,
    population: str | None = None,
    of: Literal["population", "neuron"] = "population",
    goal: Goal = "difference",
    confidence: float = 0.95,
    power: float = 0.9,
    comparisons: int = 1,
) -> SimulationPlan:
    r"""Return the number of trials that tells a relative error of a prediction from none.

    Parameters
    ----------
    prediction : Dataset
        What `predict` returns, of neurons or of populations.
    quantity : str
        ``rate``; ``rate_deviation``, the root mean square difference of a population's single rates;
        ``count_variance``, ``count_fano``; ``count_covariance``, of pairs, or its mean over the pairs of a population;
        ``summed_variance``, the variance of a population's summed count. ``variance``, ``fano`` and ``covariance`` are
        other names of those of counts.
    precision : float
        The error to be seen, or to be excluded, relative to the prediction; of covariances relative to the (geometric)
        mean variance of the pair, as a correlation coefficient is.
    duration : float or Quantity
        Length of a trial, ms.
    window : float or Quantity, optional
        Counting window, ms; default: that of the prediction.
    population : str, optional
        Whose means or neurons are planned for; default: the population that needs most.
    of : {"population", "neuron"}
        Mean over the population, or every neuron that is predicted to fire at more than 1 Hz (every pair of them).
    goal : {"difference", "equivalence"}
        To find a true error of `precision` different from zero, or an exact prediction to hold within `precision`.
    confidence : float
        Of the tests that `compare` makes.
    power : float
        Probability of success. With ``goal="difference"``, 0.5 makes `precision` the half-width of the interval.
    comparisons : int
        Number of tests made together; the level of each is divided by it.

    Returns
    -------
    SimulationPlan
        Trials of each stimulus, and the relative standard error they give.

    Raises
    ------
    ValueError
        If an option is invalid, the prediction has not what the quantity needs, is NaN or silent, or no number of
        trials below 10⁹ suffices.

    Notes
    -----
    With n trials of duration D and n·D/T windows of length T:

    - mean count: :math:`\mathrm{Var} = v_D/(n D^2)`, :math:`v_D = V D + v_T - V T`, with V the long-window variance per
      time and :math:`v_T` the count variance in T (exact for stationary trains with a memory shorter than T); means of
      populations with :math:`1^T C 1 / N^2` in place of v;
    - mean square q of differences of rates: :math:`[2\,\mathrm{tr}(C^2)/(n D)^2 + 4 q\,\mathrm{tr}(C)/(n D)]/N^2`,
      with the square of `precision` as q;
    - variance: :math:`\mathrm{Var}(s^2)/\sigma^4 = (2/(m-1)) (1 + 2\rho_1^2) + \kappa/m` of m windows whose neighbours
      have a correlation :math:`\rho_1 = -(v_T - V T)/(2 v_T)`, with the excess kurtosis of gamma renewal trains,
      :math:`\kappa = F/\langle n \rangle` (1/mean for Poisson counts; 0 for inverse-Gaussian intervals); means of
      populations with :math:`\sum_{ij} C_{ij}^2` in place of :math:`\sigma^4`;
    - Fano factor: :math:`\mathrm{Var}(F)/F^2 = 2/(m-1)` (the terms of higher order cancel for gamma trains);
    - covariance: :math:`\mathrm{Var}(c_{ij}) = (\sigma_i^2 \sigma_j^2 + c_{ij}^2)/(m-1)`; mean over pairs:
      :math:`2 [(1^T C 1)^2 - 2\, 1^T C^2 1 + \sum_{ij} C_{ij}^2]/(m-1)` of its sum; summed variance: relative 2/(m−1).

    Power is that of Student's t with one degree of freedom less than `compare` has blocks.

    References
    ----------
    Cox, D. R. (1962). *Renewal Theory*, Sec. 4.5 (counts). Anderson, T. W. (2003). *An Introduction to Multivariate
    Statistical Analysis*, Sec. 3.4 (covariances).
    """
    _require_options(precision, confidence, power, of, goal)
    require_integer("comparisons", comparisons, 1)
    name = _ALIASES.get(quantity, quantity)
    if name not in get_args(Planned):
        raise ValueError(f"Invalid value {quantity!r} for `quantity`. Must be one of {[*get_args(Planned), *_ALIASES]}")
    if name in _OF_POPULATIONS and of == "neuron":
        raise ValueError(f'`quantity` {quantity!r} is of populations: leave `of` at "population"')
    length = _time(duration, "duration")
    moments = _Moments.of(prediction, name, length, window, population)
    errors, names, square = moments.of_populations(name, precision) if of == "population" else moments.of_neurons(name)
    if not len(names):
        what = "the prediction is silent" if of == "population" else "no neuron is predicted to fire at 1 Hz or more"
        raise ValueError(f"there is nothing to plan for: {what}; choose another population or quantity")
    level = 1 - (1 - confidence) / comparisons
    windows = max(int(length / moments.window + 1e-6), 1) if moments.window else 1

    def reached(trials: int) -> Array:
        blocks = _blocks(trials, windows, _BLOCKS[of])
        return _power(errors(trials), max(blocks * moments.stimuli - 1, 1), precision, level, goal, square)

    trials = _least(lambda n: bool((reached(n) >= power).all()))
    if trials is None:
        raise ValueError(
            f"no number of trials below {_MOST_TRIALS:.0e} tells {precision:g} of {quantity}: choose a coarser "
            "`precision` or a longer `duration`"
        )
    found, se = reached(trials), errors(trials)
    worst = int(found.argmin()) if np.ptp(found) > 0 else int(se.argmax())
    error = float(np.sqrt(se[worst])) if square else float(se[worst])
    return SimulationPlan(trials, error, float(found[worst]), 1e-3 * length, names[worst])


def runtime_needed(
    plan: SimulationPlan,
    *,
    warmup: Any = 0.0,
    stimuli: int = 1,
    speed: float | None = None,
    circuit: Circuit | None = None,
    dt: Any = 0.1,
) -> Runtime:
    """Return the time that a planned simulation takes, simulated and on the clock.

    Parameters
    ----------
    plan : SimulationPlan
        As `trials_needed` returns it.
    warmup : float or Quantity
        Time before the recording of every trial, ms.
    stimuli : int
        Number of stimuli.
    speed : float, optional
        Simulated seconds in a second on the clock, as of an earlier run.
    circuit : Circuit, optional
        Whose speed is measured, if none is given: a program is built and run for a second or so.
    dt : float or Quantity
        Time step of that run, ms.

    Returns
    -------
    Runtime
        With a `wall` of NaN if there is neither speed nor circuit.
    """
    require_integer("stimuli", stimuli, 1)
    if speed is not None and not (np.isfinite(speed) and speed > 0):
        raise ValueError(f"`speed` must be simulated seconds per second, above 0, got {speed!r}")
    lead = _time(warmup, "warmup", zero=True)
    simulated = plan.trials * stimuli * (plan.duration + 1e-3 * lead)
    if speed is None and circuit is not None:
        speed = measured_speed(circuit, dt)
    known = float("nan") if speed is None else float(speed)
    return Runtime(simulated, simulated / known, known)


def measured_speed(circuit: Circuit, dt: Any = 0.1, *, wall: float = 1.0) -> float:
    """Return how many seconds of a circuit are simulated in a second on the clock, all stimuli one after the other.

    Parameters
    ----------
    circuit : Circuit
    dt : float or Quantity
        Time step, ms.
    wall : float
        Time that the measurement may take besides building, s.
    """
    step = _time(dt, "dt")
    shown = circuit.n_stimuli or 1
    with build(circuit, dt=step) as program:
        duration = 1000 * step  # ms
        while True:
            start = time.perf_counter()
            program.run(duration, seed=0)
            spent = time.perf_counter() - start
            if spent >= wall / 4 or duration >= 1e8 * step:
                return 1e-3 * duration * shown / spent
            duration = step * round(duration / step * min(max(wall / (2 * spent), 1.5), 100))


class _Moments(NamedTuple):
    """Moments that errors follow from, of the neurons of each population."""

    duration: float
    """ms."""
    window: float | None
    """ms."""
    names: list[str]
    rate: Array
    """(stimulus, neuron), 1/ms."""
    variance: Array
    """(stimulus, neuron): long-window variance per time."""
    count: Array | None
    """(stimulus, neuron): variance in the window."""
    member: list[npt.NDArray[np.int64]]
    matrix: Array | None
    """(stimulus, neuron, neuron): long-window covariances per time."""
    counted: Array | None
    """(stimulus, neuron, neuron): covariances in the window, where they are predicted."""
    summed: list[Array] | None
    """Long-window variance per time of the summed spikes of each population, (stimulus,), where only that is known."""
    labels: list[str]
    """Of neurons."""

    @classmethod
    def of(
        cls, prediction: xr.Dataset, quantity: str, duration: float, window: Any, population: str | None
    ) -> _Moments:
        """Read a prediction."""
        if not isinstance(prediction, xr.Dataset) or "rate" not in prediction:
            shown = list(prediction.data_vars) if isinstance(prediction, xr.Dataset) else type(prediction).__name__
            raise ValueError(f"`prediction` must be what `predict` returns, with `rate`, got {shown}")
        expanded = _expanded(prediction)
        own = expanded.attrs.get("window")
        length = None if own is None or "count_variance" not in expanded else 1e3 * float(own)
        if window is not None:
            asked = _time(window, "window")
            if length is not None and not np.isclose(asked, length, rtol=1e-6):
                raise ValueError(
                    f"the prediction is for windows of {length:g} ms, `window` is {asked:g} ms: predict with the same"
                )
        if quantity not in ("rate", "rate_deviation") and length is None:
            raise ValueError(f"{quantity} is of counts in windows, which the prediction has not: predict with `window`")
        if length is not None and length > duration * (1 + 1e-9):
            raise ValueError(f"`duration` must hold a window of {length:g} ms, got {duration:g} ms")
        rate, variance = _plain(expanded, "rate"), _plain(expanded, "variance")
        if not (np.isfinite(rate).all() and np.isfinite(variance).all()):
            raise ValueError("the prediction has rates or variances that are NaN: nothing can be planned from them")
        names_of = (
            expanded["population"].to_numpy() if "population" in expanded.coords else np.full(rate.shape[1], "all")
        )
        names = [str(name) for name in dict.fromkeys(names_of.tolist())]
        if population is not None:
            if population not in names:
                raise ValueError(f"Invalid value {population!r} for `population`. Must be one of {names}")
            names = [population]
        index = expanded["index"].to_numpy() if "index" in expanded.coords else np.arange(len(names_of))
        return cls(
            duration=duration,
            window=length,
            names=names,
            rate=rate * 1e-3,
            variance=variance * 1e-3,
            count=None if length is None else _plain(expanded, "count_variance"),
            member=[np.flatnonzero(names_of == name) for name in names],
            matrix=_matrix(expanded, "covariance", 1e-3),
            counted=None if length is None else _matrix(expanded, "count_covariance", 1.0),
            summed=_summed(expanded, names),
            labels=[f"{name} {k}" for name, k in zip(names_of.tolist(), index.tolist(), strict=True)],
        )

    @property
    def stimuli(self) -> int:
        return len(self.rate)

    def of_populations(self, quantity: str, precision: float) -> tuple[Callable[[int], Array], list[str], bool]:
        """Return relative errors against trials, names of populations, and whether they are errors of a square."""
        kept = [k for k, mine in enumerate(self.member) if len(mine) and self.rate[:, mine].mean() > 0]
        if quantity in ("summed_variance", "count_covariance"):
            kept = [k for k in kept if len(self.member[k]) > 1]
        scale = np.array([self._scale(quantity, k) for k in kept])
        names = [self.names[k] for k in kept]
        if quantity == "rate":
            one = np.array([self._mean(k) for k in kept]) / scale
            return (lambda trials: one / np.sqrt(trials)), names, False
        if quantity == "rate_deviation":
            noise, linear = (np.array([of(k) for k in kept]) for of in (self._noise, self._trace))
            base, slope = noise**2 / scale**2, precision**2 * linear / scale
            return (lambda trials: np.sqrt(base / trials**2 + slope / trials)), names, True
        gaussian, fourth = (np.array([pair[part] for pair in map(self._second(quantity), kept)]) for part in (0, 1))

        def errors(trials: int) -> Array:
            m = self._windows(trials)
            return np.asarray(np.sqrt(gaussian / max(m - 1, 1) + fourth / m) / scale)

        return errors, names, False

    def of_neurons(self, quantity: str) -> tuple[Callable[[int], Array], list[str], bool]:
        """Return the relative errors of the worst stimulus of neurons against trials, their labels, and False."""
        mine = np.concatenate(self.member) if self.member else np.zeros(0, dtype=np.int64)
        mine = mine[self.rate[:, mine].min(axis=0) > 1e-3 * _LEAST_RATE]
        labels = [self.labels[k] for k in mine]
        if quantity == "rate":
            one = (np.sqrt(self._long(self.variance, self.count)) / self.duration / self.rate)[:, mine].max(axis=0)
            return (lambda trials: one / np.sqrt(trials)), labels, False
        if quantity == "count_covariance":
            if self.matrix is None and self.counted is None:
                raise ValueError("covariances of pairs need predicted covariances: predict with covariance=True")
            count = self._counted()
            scale = np.sqrt(np.einsum("sii->si", count))[:, mine]
            r = count[:, mine][:, :, mine] / (scale[:, :, None] * scale[:, None, :])
            r[:, np.arange(len(mine)), np.arange(len(mine))] = 0.0
            one = np.sqrt(1 + (r**2).max(axis=(0, 1)))
            return (lambda trials: one / np.sqrt(max(self._windows(trials) - 1, 1))), labels, False
        gaussian, fourth = (part[:, mine].max(axis=0) for part in self._fourth())
        if quantity == "count_fano":
            gaussian, fourth = np.full(len(mine), 2.0), np.zeros(len(mine))
        return (
            (lambda trials: np.sqrt(gaussian / max(self._windows(trials) - 1, 1) + fourth / self._windows(trials))),
            labels,
            False,
        )

    def _windows(self, trials: int) -> int:
        """Return the number of windows of one stimulus."""
        return trials * max(int(self.duration / self._window + 1e-6), 1)

    def _long(self, variance: Array, count: Array | None) -> Array:
        """Return count variances of a whole trial."""
        if count is None or self.window is None:
            return variance * self.duration
        whole = variance * self.duration + count - variance * self.window
        return np.asarray(np.maximum(whole, np.minimum(count, variance * self.duration)))

    def _counted(self) -> Array:
        """Return covariances of counts in windows: the diagonal is that of single neurons in the window."""
        if self.counted is not None:
            return self.counted
        assert self.matrix is not None
        count = self.matrix * self._window
        n = np.arange(count.shape[-1])
        count[:, n, n] = self._count
        return count

    @property
    def _window(self) -> float:
        """Counting window of a quantity that has one, ms."""
        assert self.window is not None  # asked for where there is one
        return self.window

    @property
    def _count(self) -> Array:
        """Variances in that window."""
        assert self.count is not None
        return self.count

    def _total(self, k: int, power: int = 1) -> Array:
        """Return sums over a population's neurons of long-window covariances per time, or of squares, (stimulus,)."""
        mine = self.member[k]
        if self.matrix is not None:
            return np.asarray((self.matrix[:, mine][:, :, mine] ** power).sum(axis=(1, 2)))
        own = (self.variance[:, mine] ** power).sum(axis=1)
        if self.summed is None:
            return np.asarray(own)
        pairs = len(mine) * (len(mine) - 1)
        mean = (self.summed[k] - self.variance[:, mine].sum(axis=1)) / pairs if pairs else np.zeros(self.stimuli)
        return np.asarray(own + pairs * mean**power)

    def _excess(self, k: int) -> Array:
        """Return (stimulus,) what the summed count has in variance besides that in proportion to time."""
        if self.count is None or self.window is None:
            return np.zeros(self.stimuli)
        mine = self.member[k]
        if self.counted is not None and self.matrix is not None:
            difference = self.counted - self.matrix * self.window
            return np.asarray(difference[:, mine][:, :, mine].sum(axis=(1, 2)))
        return np.asarray((self.count - self.variance * self.window)[:, mine].sum(axis=1))

    def _mean(self, k: int) -> float:
        """Return the error of the mean rate of a population in one trial, averaged over stimuli, 1/ms."""
        total = self._total(k)
        whole = np.maximum(total * self.duration + self._excess(k), 0.1 * total * self.duration)
        return float(np.sqrt(whole.sum()) / (self.duration * len(self.member[k]) * self.stimuli))

    def _noise(self, k: int) -> float:
        """Return the error of the mean square difference of single rates in one trial, 1/ms²."""
        return float(np.sqrt(2 * self._total(k, 2).sum()) / (self.duration * len(self.member[k]) * self.stimuli))

    def _trace(self, k: int) -> float:
        """Return what the variance of a mean square of one trial has more for each unit of the square, 1/ms²."""
        mine = self.member[k]
        return float(4 * self.variance[:, mine].sum() / (self.duration * (len(mine) * self.stimuli) ** 2))

    def _second(self, quantity: str) -> Callable[[int], tuple[float, float]]:
        """Return a function of a population: the parts ∝ 1/(m − 1) and ∝ 1/m of an error's square, (counts)⁴."""
        window, count = self._window, self._count

        def sums(k: int) -> tuple[Array, Array, Array]:
            """Return 1ᵀC1, the sum of C², and 1ᵀC²1 of counts in the window, (stimulus,)."""
            mine = self.member[k]
            if self.matrix is not None or self.counted is not None:
                own = self._counted()[:, mine][:, :, mine]
                rows = own.sum(axis=2)
                return rows.sum(axis=1), (own**2).sum(axis=(1, 2)), (rows**2).sum(axis=1)
            excess = self._excess(k)
            total = self._total(k) * window + excess
            squares = self._total(k, 2) * window**2
            squares += (count[:, mine] ** 2 - (self.variance[:, mine] * window) ** 2).sum(axis=1)
            return total, squares, total**2 / max(len(mine), 1)

        def of(k: int) -> tuple[float, float]:
            total, squares, rows = sums(k)
            mine, share = self.member[k], self.stimuli**2
            if quantity == "summed_variance":
                return float(2 * (total**2).sum() / share), 0.0
            if quantity == "count_covariance":
                pairs = len(mine) * (len(mine) - 1)
                return float(2 * np.maximum(total**2 - 2 * rows + squares, 0.0).sum() / (share * pairs**2)), 0.0
            if quantity == "count_fano":
                squares = squares / np.maximum(self.rate[:, mine].mean(axis=1) * window, 1e-300) ** 2
                return float(2 * squares.sum() / (share * len(mine) ** 2)), 0.0
            gaussian, fourth = self._fourth()
            own = count[:, mine] ** 2
            extra = ((gaussian[:, mine] - 2) * own).sum(axis=1)
            area = share * len(mine) ** 2
            return float((2 * squares + extra).sum() / area), float((fourth[:, mine] * own).sum() / area)

        return of

    def _fourth(self) -> tuple[Array, Array]:
        """Return the parts of the relative squared error of single variances, ∝ 1/(m − 1) and ∝ 1/m."""
        safe = np.where(self._count > 0, self._count, 1.0)
        neighbours = -(self._count - self.variance * self._window) / (2 * safe)
        mean = np.where(self.rate > 0, self.rate * self._window, 1.0)
        kurtosis = safe / mean**2  # Fano factor over mean
        return 2 * (1 + 2 * neighbours**2), kurtosis

    def _scale(self, quantity: str, k: int) -> float:
        """Return what an error is relative to."""
        mine = self.member[k]
        rate = float(self.rate[:, mine].mean())
        if quantity in ("rate", "rate_deviation"):
            return rate if quantity == "rate" else rate**2
        if quantity == "summed_variance":
            return float((self._total(k) * self._window + self._excess(k)).mean())
        mean = float(self._count[:, mine].mean())
        return mean / (rate * self._window) if quantity == "count_fano" else mean


def _expanded(prediction: xr.Dataset) -> xr.Dataset:
    """Return a prediction of neurons; of a prediction of populations, neurons that are all alike."""
    if "neuron" in prediction.dims:
        return prediction
    if not {"population"} <= set(prediction.dims) or not {"pair_covariance", "population_covariance"} <= set(
        prediction
    ):
        raise ValueError(
            "`prediction` must be of neurons, or of populations with covariances, got dimensions "
            f"{list(prediction.dims)}"
        )
    first = {dim: 0 for dim in ("stimulus",) if dim in prediction.dims}
    one = prediction.isel(first)
    pair, total, own = (
        np.diagonal(one["pair_covariance"].to_numpy()),
        np.diagonal(one["population_covariance"].to_numpy()),
        one["variance"].to_numpy(),
    )
    sizes = np.array([_size(*of) for of in zip(own, pair, total, strict=True)], dtype=np.int64)
    names = prediction["population"].to_numpy()
    chosen = xr.DataArray(np.repeat(names, sizes), dims="neuron")
    kept = [name for name in ("rate", "variance", "count_variance") if name in prediction]
    expanded = prediction[kept].sel(population=chosen).drop_vars("population")
    index = np.concatenate([np.arange(size) for size in sizes]) if len(sizes) else np.zeros(0, dtype=np.int64)
    summed = prediction["population_covariance"].rename(population="group", population_j="group_j")
    coords = {"population": ("neuron", np.repeat(names, sizes)), "index": ("neuron", index)}
    return expanded.assign(population_covariance=summed).assign_coords(coords).assign_attrs(prediction.attrs)


def _size(own: float, pair: float, total: float) -> int:
    """Return the number N of neurons whose covariances are stated: total = own N + pair N (N - 1)."""
    if not np.isfinite(pair):
        return 1
    if pair == 0:
        return int(np.rint(total / own)) if own > 0 else 1
    roots = np.roots([pair, own - pair, -total])
    real = [float(root.real) for root in roots if abs(root.imag) < 1e-3 * abs(root) and root.real > 0.5]
    # Where pairs are anti-correlated both roots are positive, but only one is a whole number.
    return int(np.rint(min(real, key=lambda root: abs(root - np.rint(root))))) if real else 1


def _plain(prediction: xr.Dataset, name: str) -> Array:
    if name not in prediction:
        raise ValueError(f"the prediction has no `{name}`: give what `predict` returns")
    return (
        prediction[name].transpose(..., "neuron").to_numpy().astype(np.float64).reshape(-1, prediction.sizes["neuron"])
    )


def _matrix(prediction: xr.Dataset, name: str, unit: float) -> Array | None:
    """Return predicted covariances (stimulus, neuron, neuron) times a unit, None where there are none."""
    if name not in prediction:
        return None
    matrix = prediction[name].transpose(..., "neuron", "neuron_j").to_numpy().astype(np.float64) * unit
    return np.asarray(matrix.reshape(-1, *matrix.shape[-2:]))


def _summed(prediction: xr.Dataset, names: list[str]) -> list[Array] | None:
    """Return the variances per time of summed activities, 1/ms."""
    if "population_covariance" not in prediction or "group" not in prediction["population_covariance"].dims:
        return None
    values = prediction["population_covariance"]
    return [np.atleast_1d(values.sel(group=name, group_j=name).to_numpy()) * 1e-3 for name in names]


def _blocks(trials: int, windows: int, least: int) -> int:
    """Return the number of independent samples that `compare` makes of trials."""
    return trials * max(min(-(-least // trials), windows), 1)


def _power(error: Array, dof: float, precision: float, level: float, goal: Goal, square: bool) -> Array:
    """Return the probability of the result that was asked for."""
    with np.errstate(over="ignore", divide="ignore"):
        effect = (precision**2 if square else precision) / error
    if goal == "difference" and not square:
        critical = stats.t.ppf((1 + level) / 2, dof)
        found = stats.nct.sf(critical, dof, np.minimum(effect, 1e3))
    elif goal == "difference":
        found = stats.nct.sf(stats.t.ppf(level, dof), dof, np.minimum(effect, 1e3))
    else:
        # Each of the two tests succeeds with this probability if the prediction is exact; a square has one test.
        one = stats.nct.cdf(-stats.t.ppf(level, dof), dof, -np.minimum(effect, 1e3))
        found = one if square else 2 * one - 1
    return np.where(effect >= 1e3, 1.0, np.nan_to_num(found, nan=0.0))


def _least(enough: Callable[[int], bool]) -> int | None:
    """Return the smallest number of trials that is enough, None if there is none."""
    upper = 1
    while not enough(upper):
        upper *= 2
        if upper > _MOST_TRIALS:
            return None
    lower = upper // 2
    while upper - lower > 1:
        middle = (lower + upper) // 2
        lower, upper = (lower, middle) if enough(middle) else (middle, upper)
    return upper


def _require_options(precision: Any, confidence: Any, power: Any, of: Any, goal: Any) -> None:
    for name, value, low, high in (
        ("precision", precision, 0.0, np.inf),
        ("confidence", confidence, 0.5, 1.0),
        ("power", power, 0.0, 1.0),
    ):
        number = isinstance(value, int | float | np.number) and not isinstance(value, bool)
        if not number or not low < value < high:
            upper = "" if high == np.inf else f" and below {high:g}"
            raise ValueError(f"`{name}` must be a number above {low:g}{upper}, got {value!r}")
    for name, value, known in (("of", of, ("population", "neuron")), ("goal", goal, get_args(Goal))):
        if value not in known:
            raise ValueError(f"Invalid value {value!r} for `{name}`. Must be one of {list(known)}")


def _time(value: Any, name: str, *, zero: bool = False) -> float:
    """Return a time, ms."""
    number = in_unit(value, "ms", name)
    if not isinstance(number, float) or not np.isfinite(number) or number < 0 or (number == 0 and not zero):
        raise ValueError(f"`{name}` must be a time {'≥' if zero else '>'} 0 ms, got {value!r}")
    return number
