"""Error budgets: what the gap between a prediction and a simulation is made of, and what to change.

Each term is a property of the simulation that the prediction lacks. Some are switched on in the prediction itself (its
time step, its window, its closure, the synapses that were drawn); others by what the neurons do without them, measured
on surrogates of the simulation (`mnnbio.validation.replay`) and put into the theory as an error of known size, so that
what it does around the loops of the circuit counts, too. A term is worth what it changes, on average over the orders in
which all of them may be switched on: its Shapley value [1]_. All terms together give the gap but for chance, and for
what is printed as unexplained.

References
----------
.. [1] L. S. Shapley (1953), A value for n-person games, Annals of Mathematics Studies 28, 307.
"""

from __future__ import annotations

import html
import math
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import numpy.typing as npt
import xarray as xr

from mnnbio.circuit import Circuit, check_time_step, require_circuit, time_step
from mnnbio.machine import check_choice, require_integer
from mnnbio.results import QUANTITIES, neuron_coords, versions
from mnnbio.spikes import simulate
from mnnbio.theory import predict
from mnnbio.units import in_unit
from mnnbio.validation.local_theory import LocalTheory
from mnnbio.validation.replay import Codegen, Replay, require_plain

Array = npt.NDArray[np.float64]
Quantity = Literal["rate", "fano", "count_variance"]
Subset = frozenset[str]

TERMS = (
    "time step",
    "drawn connectivity",
    "finite window",
    "closure",
    "finite weights",
    "slow synapses",
    "correlations",
)
SWITCHES = ("time step", "drawn connectivity", "finite window", "closure")  # of the prediction
BLOCKS = 10  # of trials that are left out, one after the other, for standard errors
FEWEST_TRIALS = 4
MOST_EXACT = 7  # terms up to which all subsets are computed
OPTIONS = ("dt", "window", "closure", "theory", "resolution", "start")
NAMES = {"rate": "rate", "fano": "count_fano", "count_variance": "count_variance"}  # in predictions


class ErrorBudget(xr.Dataset):
    """A dataset that prints as the table of an error budget; `to_dataset` gives the plain one."""

    __slots__ = ()

    def to_dataset(self) -> xr.Dataset:
        """Return the same variables as a plain dataset."""
        return xr.Dataset(self.data_vars, coords=self.coords, attrs=self.attrs)

    def __repr__(self) -> str:
        return budget_table(self) if {"share", "mean", "advice"} <= set(self.variables) else super().__repr__()

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(repr(self))}</pre>"


def error_budget(
    circuit: Circuit,
    *,
    duration: Any = None,
    trials: int | None = None,
    dt: Any = 0.1,
    warmup: Any = 500.0,
    window: Any = 100.0,
    seed: int = 0,
    quantity: Quantity = "rate",
    predicted: Mapping[str, Any] | None = None,
    simulation: xr.DataTree | None = None,
    orders: int | None = None,
    codegen: Codegen = "cpp_standalone",
) -> ErrorBudget:
    """Return what the gap between the prediction of a circuit and its simulation is made of.

    The gap of every neuron, simulated − predicted, is the sum of the contributions of all terms and of what stays
    unexplained:

    - ``time step``: the prediction is for another step than the simulation.
    - ``drawn connectivity``: it is of the rules, not of the synapses that were drawn.
    - ``finite window``: of windows of another length (`fano`, `count_variance`).
    - ``closure``: it takes trains for white noise, of their rate or of their count variance; those of neurons are
      neither.
    - ``finite weights``: it takes jumps for noise.
    - ``slow synapses``: its correction for the filters of synapses is an expansion.
    - ``correlations``: it takes the trains for independent, or to follow linear response.
    - ``finite data``: chance, whose size is known from the trials, not its sign.
    - ``unexplained``: what is left.

    Parameters
    ----------
    circuit : Circuit
        Of leaky integrate-and-fire neurons with delta or exponential synapses, inputs constant in time.
    duration, warmup : float or Quantity
        Time of a trial and time before it, ms.
    trials : int
        Trials of every stimulus, four or more.
    dt : float or Quantity
        Time step of the simulation, ms.
    window : float or Quantity
        Window in which spikes are counted, ms.
    seed : int
        Of the simulation and its surrogates.
    quantity : {"rate", "fano", "count_variance"}
        Of single neurons; the latter two of counts in the window.
    predicted : mapping, optional
        Options of `predict` that is judged: ``dt``, ``window``, ``closure``, ``theory``, ``resolution``, ``start``. By
        default the time step and the window of the simulation, and what `predict` does by default. ``{"dt": None}`` is
        the prediction of continuous time.
    simulation : DataTree, optional
        A simulation of the circuit, with spikes, instead of a new one: then `duration`, `trials`, `dt` and `warmup`
        are its own.
    orders : int, optional
        Number of random orders in which terms are switched on; by default all orders.
    codegen : {"cpp_standalone", "runtime"}
        As of `simulate`.

    Returns
    -------
    ErrorBudget
        A dataset that prints as a table. Over (term, population) ``mean``, the mean contribution over neurons and
        stimuli, and ``rms``; over ``term`` the ``share`` of the mean square gap that goes with a term (the projection
        of its contributions on the gap; all shares add up to one) and ``advice``; each with its standard error
        ``<name>_se`` from trials. Over ([stimulus,] neuron) ``predicted``, ``simulated``, ``simulated_se``, and over
        (term, [stimulus,] neuron) ``contribution``; those of chance are unknown, NaN. ``gap``, ``gap_se`` over
        population. ``plot_error_budget`` of `mnnbio.analyses` draws it. Attributes: ``unexplained``, the share of what
        is left, ``trials_needed``, how many trials leave a ninth of the systematic gap's square to chance.

    Raises
    ------
    ValueError
        If an option is invalid, there are fewer than four trials, nothing fires, or the simulation is of another
        circuit.
    TypeError
        If the circuit has neurons or synapses without surrogates.

    Examples
    --------
    ::

        print(error_budget(circuit, duration=2 * second, trials=20, dt=0.1 * ms, seed=1))
        error_budget(circuit, duration=2 * second, trials=20, predicted={"dt": None, "closure": "moments"})
    """
    require_circuit(circuit)
    require_plain(circuit)
    check_choice("quantity", quantity, list(get_args(Quantity)))
    if circuit.changes_in_time:
        raise ValueError(
            "an error budget is of a stationary state, got an input that changes in time. Try `circuit.at_time(...)`"
        )
    if orders is not None:
        require_integer("orders", orders, 1)
    if simulation is None:
        if duration is None or trials is None:
            raise ValueError("give `duration` (ms) and `trials` of the simulation, or a `simulation` with spikes")
        require_integer("trials", trials, FEWEST_TRIALS)
        step = time_step(dt)
        check_time_step(circuit, step)
        simulation = simulate(
            circuit,
            duration,
            trials,
            warmup=warmup,
            dt=step,
            seed=seed,
            window=window,
            covariance=False,
            codegen=codegen,
        )
    elif int(simulation.attrs.get("trials", 0)) < FEWEST_TRIALS:
        raise ValueError(
            f"an error budget needs {FEWEST_TRIALS} trials or more, from which its standard errors come, the "
            f"simulation has {simulation.attrs.get('trials', 'no')}"
        )
    replay = Replay(circuit, simulation, float(in_unit(window, "ms", "window")), seed + 1, codegen)
    options = _options(predicted, replay)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of limits of the theory, which the budget measures
        game = _Game(circuit, replay, quantity, options)
        return _labelled(game, _orders(game.terms, orders, seed))


def _options(predicted: Mapping[str, Any] | None, replay: Replay) -> dict[str, Any]:
    """Return the options of the prediction that is judged, with what the simulation suggests."""
    given = dict(predicted or {})
    unknown = sorted(set(given) - set(OPTIONS))
    if unknown:
        raise ValueError(f"`predicted` has options of `predict`, {', '.join(OPTIONS)}; got {unknown[0]!r}")
    found: dict[str, Any] = {"dt": replay.dt, "window": replay.window} | given
    for name in ("dt", "window"):
        if found[name] is not None:
            found[name] = float(in_unit(found[name], "ms", name))
    if found.get("closure") is None:
        found["closure"] = "moments" if found["dt"] is None else "poisson"
    return found


class _Rung(NamedTuple):
    """Values of a quantity, of all trials and with each block of them left out; (1 + block, stimulus, neuron)."""

    rate: Array  # 1/ms
    value: Array


@dataclass(eq=False)
class _Game:
    """What predictions say with some of the terms switched on.

    Attributes
    ----------
    replay : Replay
    quantity : str
    options : dict
        Of the prediction that is judged.
    """

    circuit: Circuit
    replay: Replay
    quantity: Quantity
    options: dict[str, Any]

    def __post_init__(self) -> None:
        self._known: dict[tuple[Subset, int], Array] = {}
        self._predicted: dict[tuple[Any, ...], Array] = {}
        self._solved: dict[tuple[Any, ...], Array] = {}
        self._theories: dict[tuple[float | None, int], LocalTheory] = {}
        if not self.replay.trains.row_size.any():
            raise ValueError("no neuron fired in the simulation: there is nothing to explain. Raise the input")

    @cached_property
    def counts(self) -> dict[str, Array]:
        """Counts on every rung of the ladder that the circuit has, (stimulus, trial, window, neuron)."""
        found = {"simulated": self.replay.simulated()}
        wanted: tuple[Any, ...] = ()
        if self.replay.sending:
            wanted += ("replayed", "independent", "smooth", "poisson")
        if self.replay.jumping:
            wanted += ("noise",) if self.replay.sending else ("replayed", "noise")
        if self.replay.filtered:
            wanted += ("white",)
        return found | {rung: self.replay.counts(rung) for rung in wanted}

    @cached_property
    def rungs(self) -> dict[str, _Rung]:
        """Statistics on every rung, with each block of trials left out."""
        return {name: _Rung(*self._statistics(table)) for name, table in self.counts.items()}

    def _statistics(self, table: Array) -> tuple[Array, Array]:
        trials = table.shape[1]
        blocks = np.array_split(np.arange(trials), min(trials, BLOCKS))
        chosen = [np.arange(trials), *(np.setdiff1d(np.arange(trials), block) for block in blocks)]
        rates, values = [], []
        for keep in chosen:
            part = table[:, keep].reshape(len(table), -1, table.shape[-1])
            rate = part.mean(1) / self.replay.window
            rates.append(rate)
            values.append(self._value(rate, part))
        return np.array(rates), np.array(values)

    def _value(self, rate: Array, samples: Array) -> Array:
        if self.quantity == "rate":
            return rate
        if samples.shape[1] < 2:
            raise ValueError("count variances need two windows or more: a longer `duration`, or a shorter `window`")
        variance = samples.var(1, ddof=1)
        if self.quantity == "count_variance":
            return np.asarray(variance)
        mean = samples.mean(1)
        return np.where(mean > 0, variance / np.where(mean > 0, mean, 1.0), 1.0)

    @cached_property
    def replicates(self) -> int:
        """Blocks of trials."""
        return len(self.rungs["simulated"].rate) - 1

    @cached_property
    def joint(self) -> bool:
        """Whether the prediction that is judged has closure and jumps in one."""
        return self.options["closure"] == "renewal"

    @cached_property
    def terms(self) -> tuple[str, ...]:
        """Terms that the circuit and its prediction may have."""
        present = set()
        if self.options["dt"] is None or not math.isclose(self.options["dt"], self.replay.dt):
            present.add("time step")
        if self.options.get("resolution") == "population":
            present.add("drawn connectivity")
        own = self.options["window"]
        if self.quantity != "rate" and (own is None or not math.isclose(own, self.replay.window)):
            present.add("finite window")
        if self.replay.sending:
            present |= {"closure", "correlations"}
        if self.options["closure"] != "poisson" and self.replay.sending:
            present.add("closure")
        if self.replay.jumping and not self.joint:
            present.add("finite weights")
        if self.replay.filtered:
            present.add("slow synapses")
        return tuple(term for term in TERMS if term in present)

    @cached_property
    def steps(self) -> dict[str, tuple[Array, Array]]:
        """What surrogates change in rates and in the quantity, by term; (1 + block, stimulus, neuron)."""
        rungs, none = self.rungs, np.zeros_like(self.rungs["simulated"].rate)
        found: dict[str, tuple[Array, Array]] = {}

        def change(*signed: tuple[float, str]) -> tuple[Array, Array]:
            rates = sum((weight * rungs[name].rate for weight, name in signed), none)
            return rates, sum((weight * rungs[name].value for weight, name in signed), none)

        if self.replay.sending:
            found["correlations"] = change((1, "replayed"), (-1, "independent"))
            # Spectrum and jumps in both orders.
            spectrum = change((0.5, "smooth"), (-0.5, "noise"), (0.5, "independent"), (-0.5, "poisson"))
            jumps = change((0.5, "poisson"), (-0.5, "noise"), (0.5, "independent"), (-0.5, "smooth"))
            if self.joint:
                spectrum = spectrum[0] + jumps[0], spectrum[1] + jumps[1]
            found["closure"], found["finite weights"] = spectrum, jumps
        elif self.replay.jumping:
            found["finite weights"] = change((1, "replayed"), (-1, "noise"))
        if self.replay.filtered:
            filtered, white = self.given(self.replay.dt), self.given(self.replay.dt, white=True)
            rates, values = change((1, "noise"), (-1, "white"))
            found["slow synapses"] = rates - filtered[0] + white[0], values - filtered[1] + white[1]
        return found

    def local(self, dt: float | None, stimulus: int) -> LocalTheory:
        """Return the theory of single neurons."""
        key = (dt, stimulus)
        if key not in self._theories:
            self._theories[key] = LocalTheory(self.replay.single[stimulus], dt, self.replay.window)
        return self._theories[key]

    def given(self, dt: float | None, *, white: bool = False) -> tuple[Array, Array]:
        """Return rates and the quantity at the simulated rates, (stimulus, neuron)."""
        found = [self.local(dt, k).given(rate, white=white) for k, rate in enumerate(self.replay.rate)]
        return np.array([g.rate for g in found]), np.array([getattr(g, self.quantity) for g in found])

    def value(self, on: Subset, replicate: int = 0) -> Array:
        """Return what the prediction with some terms switched on says of the quantity, (stimulus, neuron).

        Parameters
        ----------
        on : frozenset of str
        replicate : int
            0 for all trials, k for all but the k-th block.
        """
        key = (on, replicate)
        if key not in self._known:
            self._known[key] = self._compute(on, replicate)
        return self._known[key]

    def _compute(self, on: Subset, replicate: int) -> Array:
        dt = self.replay.dt if "time step" in on or "time step" not in self.terms else self.options["dt"]
        plain = self._corrected(dt, frozenset(), 0)
        corrected = self._corrected(dt, on & set(self.steps), replicate)
        own = self.prediction(on)
        if "correlations" in on:  # linear response of feed-forward circuits, which measured correlations replace
            own = own - self._call(dt, "poisson", {}) + plain
        found: Array = own - plain + corrected
        return found

    def _corrected(self, dt: float | None, on: Subset, replicate: int) -> Array:
        """Return the quantity at the self-consistent rates of a theory with measured errors added."""
        key = (dt, on, replicate)
        if key not in self._solved:
            rows = []
            for k in range(self.replay.stimuli):
                added = sum((self.steps[t][0][replicate, k] for t in on), np.zeros(self.circuit.n_neurons))
                local = self.local(dt, k)
                rate = local.rates(added, self.replay.rate[k])
                if self.quantity == "rate":
                    rows.append(rate)
                    continue
                more = sum((self.steps[t][1][replicate, k] for t in on), np.zeros(self.circuit.n_neurons))
                rows.append(getattr(local.given(rate), self.quantity) + more)
            self._solved[key] = np.array(rows)
        return self._solved[key]

    def prediction(self, on: Subset) -> Array:
        """Return what `predict` says with some of its switches on."""
        options = dict(self.options)
        if "time step" in on:
            options["dt"] = self.replay.dt
        if "finite window" in on:
            options["window"] = self.replay.window
        if "drawn connectivity" in on:
            options["resolution"] = "neuron"
        if "closure" in on:
            options["closure"] = "poisson"
        if "finite weights" in on:
            options["theory"] = "diffusion"
        closure = options.pop("closure")
        return self._call(options.pop("dt"), closure, options)

    def _call(self, dt: float | None, closure: Any, options: Mapping[str, Any]) -> Array:
        window = options.get("window", self.replay.window)
        resolution, theory = options.get("resolution", "neuron"), options.get("theory", "diffusion")
        key = (dt, closure, window, resolution, theory)
        if key not in self._predicted:
            found = predict(
                self.circuit,
                dt=dt,
                window=None if self.quantity == "rate" else window,
                closure=closure,
                theory=theory,
                covariance=False,
                resolution=resolution,
                start=options.get("start"),
            )
            name = self.quantity if window is None and self.quantity == "fano" else NAMES[self.quantity]
            if window is None and self.quantity == "count_variance":
                values = found["variance"] * (1e-3 * self.replay.window)  # of long windows, in one of this length
            else:
                values = found[name]
            table = values.values * (1e-3 if self.quantity == "rate" else 1.0)
            if resolution == "population":
                table = np.repeat(table, [p.size for p in self.circuit.neurons], axis=-1)
            self._predicted[key] = np.atleast_2d(table)
        return self._predicted[key]


def _orders(terms: tuple[str, ...], orders: int | None, seed: int) -> list[tuple[str, ...]] | None:
    """Return random orders of terms; None where all are meant."""
    if orders is None and len(terms) <= MOST_EXACT:
        return None
    rng = np.random.default_rng(seed)
    return [tuple(rng.permutation(terms).tolist()) for _ in range(orders or 100)]


def shapley(
    terms: tuple[str, ...], value: Callable[[Subset], Array], orders: list[tuple[str, ...]] | None = None
) -> dict[str, Array]:
    """Return what each term changes, on average over the orders in which terms are switched on.

    Parameters
    ----------
    terms : tuple of str
    value : callable
        Of a subset of the terms.
    orders : list of tuple of str, optional
        Some orders; by default all, by the 2^k subsets.
    """
    if orders is not None:
        found: dict[str, list[Array]] = {term: [] for term in terms}
        for order in orders:
            for place, term in enumerate(order):
                before = frozenset(order[:place])
                found[term].append(value(before | {term}) - value(before))
        return {term: np.mean(changes, axis=0) for term, changes in found.items()}
    k, result = len(terms), {}
    for term in terms:
        others = [t for t in terms if t != term]
        total: Any = 0.0
        for size in range(k):
            weight = 1 / (k * math.comb(k - 1, size))
            for chosen in combinations(others, size):
                before = frozenset(chosen)
                total = total + weight * (value(before | {term}) - value(before))
        result[term] = total
    return result


def _labelled(game: _Game, orders: list[tuple[str, ...]] | None) -> ErrorBudget:
    """Return the budget of a game with its standard errors."""
    terms, everything, nothing = game.terms, frozenset(game.terms), frozenset[str]()
    unit = 1e3 if game.quantity == "rate" else 1.0
    simulated = unit * game.rungs["simulated"].value
    predicted = unit * game.value(nothing)
    parts = {term: unit * v for term, v in shapley(terms, game.value, orders).items()}
    gap = simulated[0] - predicted
    left = gap - sum(parts.values(), np.zeros_like(gap))
    # Errors: the change that leaving a block out makes of the last step of each term, whose part of it is largest.
    n = game.replicates
    whole = [unit * game.value(everything, k) for k in range(n + 1)]
    moved: dict[str, Array] = {}
    for term in terms:
        last = [w - unit * game.value(everything - {term}, k) for k, w in enumerate(whole)]
        moved[term] = np.array(last[1:]) - last[0]
    drift = simulated[1:] - simulated[0]
    moved["unexplained"] = drift - (np.array(whole[1:]) - whole[0])
    chance = _jackknife(drift)  # (stimulus, neuron)
    square = float((gap**2).sum())

    names = [*terms, "finite data", "unexplained"]
    parts |= {"finite data": np.full_like(gap, np.nan), "unexplained": left}
    projections = {t: float((parts[t] * gap).sum()) / square for t in (*terms, "unexplained")}
    projections["finite data"] = float((chance**2).sum()) / square
    projections["unexplained"] -= projections["finite data"]
    slopes = {
        t: ((moved[t] * gap).sum((1, 2)) + (parts[t] * drift).sum((1, 2))) / square
        - projections[t] * 2 * (drift * gap).sum((1, 2)) / square
        for t in (*terms, "unexplained")
    }
    share_se = {t: float(_jackknife(v)) for t, v in slopes.items()}
    # The square of the error of a mean of normal numbers has a relative error of √(2/n).
    share_se["finite data"] = projections["finite data"] * math.sqrt(2 / max(n - 1, 1) / gap.size)

    populations = [p.name for p in game.circuit.neurons]
    places = list(game.circuit.slices().values())
    mean, mean_se, rms = (np.zeros((len(names), len(places))) for _ in range(3))
    for row, name in enumerate(names):
        for column, place in enumerate(places):
            if name == "finite data":
                mean_se[row, column] = _jackknife(drift[:, :, place].mean((1, 2)))
                rms[row, column] = math.sqrt((chance[:, place] ** 2).mean())
                continue
            mean[row, column] = parts[name][:, place].mean()
            mean_se[row, column] = _jackknife(moved[name][:, :, place].mean((1, 2)))
            rms[row, column] = math.sqrt((parts[name][:, place] ** 2).mean())
    units, long_name = QUANTITIES[NAMES[game.quantity]]
    lead = ("stimulus",) if game.circuit.n_stimuli is not None else ()
    over = (*lead, "neuron")

    def neurons(values: Array) -> Array:
        return values if lead else values[0]

    contribution = np.stack([neurons(parts[name]) for name in names])
    systematic = max(square - float((chance**2).sum()), 0.0)
    trials = game.replay.trials
    needed = math.ceil(9 * trials * float((chance**2).sum()) / systematic) if systematic > 0 else 0
    by_population, unit_attrs = ("term", "population_name"), {"units": units}
    data: dict[str, Any] = {
        "share": ("term", np.array([projections[t] for t in names]), {"units": "1", "long_name": "share of the gap"}),
        "share_se": ("term", np.array([share_se[t] for t in names]), {"units": "1"}),
        "mean": (by_population, mean, unit_attrs | {"long_name": f"mean contribution to the {long_name}"}),
        "mean_se": (by_population, mean_se, unit_attrs),
        "rms": (by_population, rms, unit_attrs | {"long_name": "root mean square contribution"}),
        "gap": ("population_name", np.array([gap[:, p].mean() for p in places]), unit_attrs),
        "gap_se": ("population_name", mean_se[names.index("finite data")], unit_attrs),
        "gap_rms": ("population_name", np.array([math.sqrt((gap[:, p] ** 2).mean()) for p in places]), unit_attrs),
        "contribution": (("term", *over), contribution, unit_attrs),
        "predicted": (over, neurons(predicted), unit_attrs | {"long_name": f"predicted {long_name}"}),
        "simulated": (over, neurons(simulated[0]), unit_attrs | {"long_name": f"simulated {long_name}"}),
        "simulated_se": (over, neurons(chance), unit_attrs),
        "advice": ("term", np.array([_advice(game, t, trials, needed) for t in names])),
    }
    coords: dict[str, Any] = {
        "term": names,
        "population_name": populations,
        **neuron_coords({p.name: p.size for p in game.circuit.neurons}),
    }
    if lead:
        coords["stimulus"] = np.arange(len(gap))
    attrs = {
        "quantity": game.quantity,
        "units": units,
        "unexplained": projections["unexplained"],
        "trials": trials,
        "trials_needed": needed,
        "duration": 1e-3 * game.replay.duration,
        "dt": 1e-3 * game.replay.dt,
        "window": 1e-3 * game.replay.window,
        "predicted_dt": "continuous" if game.options["dt"] is None else 1e-3 * game.options["dt"],
        "closure": str(game.options["closure"]),
        "theory": str(game.options.get("theory", "diffusion")),
        "seed": game.replay.seed - 1,
        "circuit_hash": game.circuit.hash(),
        "predictions": len(game._predicted),
        **versions(),
    }
    return ErrorBudget(data, coords=coords, attrs=attrs)


def _jackknife(moved: Array) -> Any:
    """Return the standard error that leaving out one of n blocks after the other shows, along the first axis."""
    n = len(moved)
    return np.sqrt((n - 1) / n * ((moved - moved.mean(0)) ** 2).sum(0))


def _advice(game: _Game, term: str, trials: int, needed: int) -> str:
    """Return what to change about a term."""
    delta, layered = not game.replay.filtered, not game.circuit.is_recurrent
    spectra = "predict_second_order, for populations" if not layered else "simulate: no closure here is closer"
    renewal = "predict with closure='renewal'" if delta and not game.joint else spectra
    jumps = renewal
    if layered and delta and not game.replay.sending:
        jumps = "predict with theory='first_passage'"
    elif not delta:
        jumps = "smaller weights, more of them; or simulate"
    return {
        "time step": f"predict with dt={game.replay.dt:g} ms",
        "drawn connectivity": "predict with resolution='neuron'",
        "finite window": f"predict with window={game.replay.window:g} ms",
        "closure": renewal,
        "finite weights": jumps,
        "slow synapses": "synapses below 0.2 of the membrane's time; or simulate",
        "correlations": "a larger or sparser circuit; or simulate",
        "finite data": f"run {needed - trials} more trials" if needed > trials else "",
        "unexplained": "",
    }[term]


WORTH_SAYING = 0.05  # share of the gap from which on a term is advised about


def budget_table(budget: xr.Dataset) -> str:
    """Return an error budget as a table of text: terms by their share, then what to change."""
    attrs, populations = budget.attrs, [str(n) for n in budget["population_name"].values]
    unit = "" if attrs["units"] == "1" else f" ({attrs['units']})"
    step = attrs["predicted_dt"]
    made = "continuous time" if step == "continuous" else f"dt = {1e3 * step:g} ms"
    columns = [f"{name}: mean{unit}" for name in populations]
    width = max(22, *(len(c) + 2 for c in columns))
    lines = [
        f"error budget of the {attrs['quantity']}: simulated − predicted ({made}, closure {attrs['closure']}, theory "
        f"{attrs['theory']}), {attrs['trials']} trials of {attrs['duration']:g} s",
        f"{'term':20}{'share of the gap':>20}" + "".join(c.rjust(width) for c in columns) + "  what to change",
        f"{'gap':20}{'':20}"
        + "".join(
            f"{budget['gap'].values[k]:+.3g} ± {budget['gap_se'].values[k]:.2g}".rjust(width)
            for k in range(len(populations))
        ),
    ]
    share = budget["share"].values
    names = [str(t) for t in budget["term"].values]
    inner = sorted(
        (k for k, name in enumerate(names) if name not in ("finite data", "unexplained")), key=lambda k: -abs(share[k])
    )
    for k in [*inner, names.index("finite data"), names.index("unexplained")]:
        said = str(budget["advice"].values[k]) if abs(share[k]) >= WORTH_SAYING else ""
        means = "".join(
            f"{budget['mean'].values[k, j]:+.3g} ± {budget['mean_se'].values[k, j]:.2g}".rjust(width)
            for j in range(len(populations))
        )
        lines.append(f"{names[k]:20}{f'{share[k]:.1%} ± {budget.share_se.values[k]:.1%}':>20}{means}  {said}".rstrip())
    return "\n".join(lines)
