"""Second order of a circuit, neuron by neuron: every neuron's own input, its answer by interpolation, and covariances.

The populations' self-consistent spectra come first (`mnnbio.theory.self_consistent`). Neurons of a population then
differ in the mean and the strength of their input, and in their parameters; the form of its spectrum is that of the
population. Surrogates on a grid of mean and strength, all on the same noise, give rates and spectra between which is
interpolated. A linear membrane makes thresholds and resets a matter of mean and strength alone; for time constants and
refractory periods that differ, the closed form in white noise tells by how much the answers do.

Covariances are ``C(f) = K (D + B S_ext B†) K†`` with the realised weights in ``K = (I - B W - B_v W∘W)⁻¹``, and D such
that the diagonal is the neurons' spectra (Trousdale et al. 2012).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
import xarray as xr
from scipy.interpolate import RectBivariateSpline, RegularGridInterpolator

from mnnbio.circuit import Circuit, ModeMatrix
from mnnbio.moments import NeuronTensors, discrete_lif, lif_spikes, moment_activation, synaptic_filter
from mnnbio.results import array
from mnnbio.theory.collective import form, interpolated
from mnnbio.theory.inputs import External, Wired, external_input, mean_phase, wire
from mnnbio.theory.labelled import Counted, Output, label_neurons
from mnnbio.theory.population_surrogates import Surrogates, transformed
from mnnbio.theory.recurrence import DENSE, mode_readers, warn_of_shared_input
from mnnbio.theory.second_order import (
    Solution,
    checked_surrogates,
    checked_window,
    pair_spectra,
    solution_attributes,
    solved,
    window_weights,
)
from mnnbio.theory.stationary import array_fixed_point
from mnnbio.theory.wired_response import projected_response
from mnnbio.theory.wiring import Connection, Wiring

Array = npt.NDArray[np.float64]
Complex = npt.NDArray[np.complex128]

WINDOWED = 2000  # neurons up to which covariances in windows are computed at several frequencies
QUADRATURE = 8  # frequencies of these
RECORDS, SPECTRAL_RECORDS = 48, 16  # that are used for rates and for spectra at a point of the grid
MEANS, STRENGTHS = 25, 9  # points of the grid at most
STEP = 0.5  # between these, of the logarithm of the strength
SPACING, WIDEST = 0.4, 0.25  # of the points: deviations of the potential, and logarithms of strength beyond neurons
SILENT = 6.0  # standard deviations of the potential below threshold from which neurons are silent
REBUILDS, MARGIN = 4, 0.2  # of the grid where neurons leave it
QUIETEST = 1e-3  # strength of the input of a neuron, over that of its population
LOWEST = 0.004  # 1/ms, up to which spectra count as those of long windows


class Kind(NamedTuple):
    """Neurons of one population, and the neuron that stands for them all."""

    place: slice
    lif: NeuronTensors  # of each
    standard: NeuronTensors  # one
    alike: bool  # in time constants and refractory periods

    def reduced(self, mean: Array, strength: Array) -> tuple[Array, Array]:
        """Return mean and strength of the input that make the standard neuron fire as these do."""
        tau, v_th, v_reset, _ = (v.numpy() for v in self.lif)
        tau_0, v_th_0, v_reset_0, _ = (float(v) for v in self.standard)
        scale = (v_th_0 - v_reset_0) / (v_th - v_reset)
        return ((mean * tau - v_reset) * scale + v_reset_0) / tau_0, strength * scale**2 * tau / tau_0

    @property
    def slopes(self) -> tuple[Array, Array]:
        """Return the derivatives of both by mean and strength."""
        zero, one = self.reduced(np.zeros(1), np.zeros(1))[0], self.reduced(np.ones(1), np.ones(1))
        return one[0] - zero, one[1]


class Grid(NamedTuple):
    """Answers of the standard neuron of a population over mean and strength of its input."""

    mean: Array
    strength: Array  # logarithm
    logarithm: RectBivariateSpline  # of the rate and `least`
    least: float  # rate of one spike in all records, 1/ms
    error: RegularGridInterpolator  # standard error of it
    ratio: RegularGridInterpolator  # spectra over rates, in bands

    def rate(self, mean: Array, strength: Array) -> tuple[Array, Array, Array]:
        """Return rates (1/ms) and their derivatives by mean and logarithm of the strength, at most at the edges."""
        at = np.clip(mean, self.mean[0], self.mean[-1]), np.clip(strength, self.strength[0], self.strength[-1])
        whole = np.exp(self.logarithm.ev(*at))
        found = np.maximum(whole - self.least, 0.0)  # a spline may undershoot where neurons are silent
        return found, whole * self.logarithm.ev(*at, dx=1), whole * self.logarithm.ev(*at, dy=1)

    def covers(self, mean: Array, strength: Array, floor: float) -> bool:
        """Return whether all inputs that matter are between points of the grid."""
        logarithm, counted = np.log(strength), mean > floor
        inside = (mean <= self.mean[-1] + 1e-12) & (mean >= self.mean[0] - 1e-12)
        inside &= (logarithm >= self.strength[0] - 1e-9) & (logarithm <= self.strength[-1] + 1e-9)
        return bool((inside | ~counted).all())


class Neurons(NamedTuple):
    """Self-consistent state of single neurons, each of shape (neuron,)."""

    rate: Array  # 1/ms
    error: Array
    mean: Array  # of the input, mV/ms
    variance: Array  # of white noise that the membrane sees like the input, mV²/ms
    gain: Array  # derivatives of the rate
    slope: Array
    ratio: Array  # spectrum over rate, (neuron, band)
    residual: float


def neuron_prediction(
    circuit: Circuit,
    *,
    dt: float,
    window: float | None,
    surrogates: Surrogates | None,
    covariance: bool,
    start: Any,
    unconverged: str,
) -> xr.Dataset:
    """Return the labelled statistics of the neurons of a circuit with one stimulus; see `mnnbio.predict`."""
    options = checked_surrogates(surrogates)
    checked_window(window, options.longest_window(dt))
    drawn = realised(circuit)
    solution = solved(drawn, dt, surrogates=options, start=start, unconverged=unconverged, covariance=covariance)
    wired = wire(drawn, dt)
    external = external_input(drawn, wired, dt)
    found = neuron_state(solution, wired, external)
    if covariance and circuit.n_neurons <= DENSE and external.loadings.connections:
        warn_of_shared_input(circuit, external.loadings, np.sqrt(found.variance), found.rate)
    return _labelled(circuit, solution, wired, external, found, window, covariance)


def realised(circuit: Circuit) -> Circuit:
    """Return a circuit with the very synapses that were drawn."""
    drawn = [
        p if p.connectivity is None else replace(p, weight=None, connectivity=None, weights=circuit.matrix(p))
        for p in circuit.projections
    ]
    return circuit.with_parts(projections=drawn)


def neuron_state(solution: Solution, wired: Wired, external: External) -> Neurons:
    """Return the self-consistent rates of single neurons around the spectra of their populations."""
    circuit, state, circle = solution.circuit, solution.state, solution.run.circle
    kinds, owner = _kinds(circuit, wired), _owner(circuit)
    seen = _seen(solution)
    outside = seen.outside[owner] * _relative(external.received.variance, owner)
    tau = {c.tau_s for c in wired.recurrent.connections}

    def received(rate: Array) -> tuple[Array, Array]:
        variance = outside.copy()
        for kind in tau:
            sent = rate * seen.sent[kind][owner]
            for c in wired.recurrent.connections:
                if c.tau_s == kind:
                    variance[c.rows] += c.squared_dot(sent[c.columns])
        # Of neurons without noise the logarithm would have no end: they count as such with a thousandth of others'.
        return wired.recurrent.dot(rate) + external.mean, np.maximum(variance, QUIETEST * seen.total[owner])

    rate = state.rate[owner]
    grids: list[Grid | None] = [None] * len(kinds)

    def answered(rate: Array) -> Array:
        mean, variance = received(rate)
        out = np.empty_like(rate)
        for k, kind in enumerate(kinds):
            grid = grids[k]
            assert grid is not None
            out[kind.place] = _rate(
                grid, kind, mean[kind.place], variance[kind.place] / seen.total[k], circle.dt, seen.total[k]
            )
        return out

    for _ in range(REBUILDS):
        mean, variance = received(rate)
        outdated = False
        for k, kind in enumerate(kinds):
            inputs = kind.reduced(mean[kind.place], variance[kind.place] / seen.total[k])
            floor = _floor(kind, seen.total[k] * float(inputs[1].max()))
            grid = grids[k]
            if grid is None or not grid.covers(*inputs, floor):
                grids[k], outdated = _grid(solution, k, kind, inputs, floor), True
        if not outdated:
            break
        found = array_fixed_point(answered, rate, tolerance=1e-7, max_iterations=200)
        rate = found.value
    mean, variance = received(rate)
    columns: dict[str, list[Array]] = {name: [] for name in ("error", "gain", "slope", "ratio")}
    for k, kind in enumerate(kinds):
        grid = grids[k]
        assert grid is not None
        own_mean, own_variance = mean[kind.place], variance[kind.place]
        m, s = kind.reduced(own_mean, own_variance / seen.total[k])
        at = np.clip(m, grid.mean[0], grid.mean[-1]), np.clip(np.log(s), grid.strength[0], grid.strength[-1])
        to_mean, to_strength = kind.slopes
        correction = _correction(kind, own_mean, own_variance, m, s * seen.total[k], circle.dt)
        _, by_mean, by_strength = grid.rate(m, np.log(s))
        columns["gain"].append(by_mean * to_mean * correction)
        columns["slope"].append(by_strength / s * to_strength / seen.total[k] * correction)
        columns["error"].append(grid.error(np.stack(at, 1)))
        ratio = grid.ratio(np.stack(at, 1))
        own = rate[kind.place]
        # Records for single neurons are fewer than for populations: these say what neurons have on average.
        average = (own @ ratio) / max(own.sum(), 1e-300)
        known = state.spectrum[k] / max(state.rate[k], 1e-300)
        columns["ratio"].append(ratio * np.where(average > 0, known / np.where(average > 0, average, 1.0), 1.0))
    joined = {name: np.concatenate(values) for name, values in columns.items()}
    return Neurons(
        rate, joined["error"], mean, variance, joined["gain"], joined["slope"], joined["ratio"], found.residual
    )


class Seen(NamedTuple):
    """What a membrane sees of the input of each population: variances of white noise, mV²/ms, that it sees alike."""

    sent: dict[float, Array]  # by synaptic time constant: of a train over its rate, (population,)
    outside: Array  # of the input from outside, (population,)
    total: Array


def _seen(solution: Solution) -> Seen:
    circle, state, system = solution.run.circle, solution.state, solution.system
    tau = np.array([float(np.mean(np.asarray(k))) for k in _times(solution)])
    f = circle.frequency
    passed = 1 / (1 / tau[:, None] ** 2 + (2 * np.pi * f) ** 2)
    passed = passed / passed.sum(1, keepdims=True)
    shared = circle.full(state.shared)
    full = circle.full(state.spectrum)
    ratio = full / np.where(state.rate > 0, state.rate, 1.0)[:, None]
    sent = {
        kind: (ratio * circle.filters.get(kind, np.ones_like(f)) * passed).sum(1) for kind in (*circle.filters, 0.0)
    }
    outside = (circle.given.outside * shared * passed).sum(1)
    total = outside + sum((squares * sent[kind]) @ state.rate for kind, squares in circle.given.squares.items())
    assert len(system.sizes) == len(total)
    return Seen(sent, outside, np.maximum(total, 1e-12))


def _times(solution: Solution) -> list[Array]:
    return [np.asarray(solution.circuit.population(name).neuron.tau_m) for name in solution.system.names]  # type: ignore[union-attr]


def _owner(circuit: Circuit) -> npt.NDArray[np.int64]:
    return np.concatenate([np.full(p.size, k) for k, p in enumerate(circuit.neurons)])


def _relative(values: Array, owner: npt.NDArray[np.int64]) -> Array:
    """Return values over their mean in each population."""
    mean = np.bincount(owner, values) / np.bincount(owner)
    return values / np.where(mean > 0, mean, 1.0)[owner]


def _kinds(circuit: Circuit, wired: Wired) -> list[Kind]:
    lif = wired.neurons.lif
    assert lif is not None  # other neurons were refused
    every = [
        np.broadcast_to(np.asarray(v, float), circuit.n_neurons) for v in (lif.tau_m, lif.v_th, lif.v_reset, lif.t_ref)
    ]
    found = []
    for place in circuit.slices().values():
        if place.start >= circuit.n_neurons:
            continue
        own = [v[place] for v in every]
        one = NeuronTensors(*(torch.tensor(float(v.mean()), dtype=torch.float64) for v in own))
        alike = all((v == v[0]).all() for v in (own[0], own[3]))
        found.append(Kind(place, NeuronTensors(*(torch.from_numpy(np.array(v)) for v in own)), one, alike))
    return found


def _floor(kind: Kind, variance: float) -> float:
    """Return the mean input below which neurons are silent, mV/ms."""
    tau = float(kind.standard.tau_m)
    return float(kind.standard.v_th) / tau - SILENT * np.sqrt(variance / (2 * tau))


def _grid(solution: Solution, row: int, kind: Kind, inputs: tuple[Array, Array], floor: float) -> Grid:
    """Return the answers of the standard neuron of a population around given inputs."""
    circle, dt = solution.run.circle, solution.dt
    mean, logarithm = inputs[0], np.log(inputs[1])
    tau, variance = float(kind.standard.tau_m), float(inputs[1].min()) * _seen(solution).total[row]
    # Points closer than the potential's deviations would tell the noise of the records from one to the next.
    least = max(SPACING * float(np.sqrt(variance / (2 * tau))), 1e-3)
    low = max(floor, float(mean.min()))
    high = max(float(mean.max()), low)
    reach = (1 + 2 * MARGIN) * (high - low)
    count = int(np.clip(np.ceil(reach / least) + 1, 5, MEANS))
    half = max(reach, least * (count - 1)) / 2
    means = (low + high) / 2 + np.linspace(-half, half, count)
    span = float(logarithm.max() - logarithm.min())
    margin = WIDEST + MARGIN * span
    count = int(np.clip(np.ceil((span + 2 * margin) / STEP) + 1, 4, STRENGTHS))
    strengths = np.linspace(logarithm.min() - margin, logarithm.max() + margin, count)
    stand = circle.stand
    currents = np.concatenate([solution.run.currents[k] for k in np.flatnonzero(stand.owner == stand.kind[row])])
    currents = _chosen(currents, RECORDS)
    lif = NeuronTensors(*(value.expand(len(currents)) for value in kind.standard))
    rates, errors = np.empty((2, len(means), len(strengths)))
    ratio = np.empty((len(means), len(strengths), len(circle.bands.frequency)))
    for i, m in enumerate(means):
        for j, strength in enumerate(np.exp(strengths)):
            spikes = lif_spikes(m + np.sqrt(strength) * currents, lif, dt)
            each = spikes.mean(1) / dt
            rates[i, j] = each.mean()
            pairs = each.reshape(2, -1).mean(0)
            errors[i, j] = pairs.std(ddof=1) / np.sqrt(len(pairs))
            power = [np.abs(transformed(train)) ** 2 for train in _chosen(spikes, SPECTRAL_RECORDS)]
            banded = circle.bands.average(np.mean(power, axis=0)) / (circle.steps * dt)
            ratio[i, j] = banded / rates[i, j] if rates[i, j] > 0 else 1.0
    grid, least = (means, strengths), 1 / (currents.size * dt)
    return Grid(
        *grid,
        # Where few neurons fire, the logarithm of the rate bends less than the rate.
        RectBivariateSpline(*grid, np.log(rates + least), kx=3, ky=min(3, len(strengths) - 1)),
        least,
        RegularGridInterpolator(grid, errors),
        RegularGridInterpolator(grid, ratio),
    )


def _chosen(records: npt.NDArray[Any], most: int) -> npt.NDArray[Any]:
    """Return some of the records, each with its opposite."""
    half = len(records) // 2
    count = min(half, most // 2)
    return np.concatenate([records[:count], records[half : half + count]])


def _rate(grid: Grid, kind: Kind, mean: Array, strength: Array, dt: float, unit: float) -> Array:
    m, s = kind.reduced(mean, strength)
    found = grid.rate(m, np.log(s))[0]
    return np.asarray(found * _correction(kind, mean, strength * unit, m, s * unit, dt))


def _correction(kind: Kind, mean: Array, variance: Array, m: Array, v: Array, dt: float) -> Array:
    """Return the rate of neurons over that of the standard neuron in the same reduced input, in white noise."""
    if kind.alike:
        return np.ones_like(mean)
    both = []
    for lif, at, power in ((kind.lif, mean, variance), (kind.standard, m, v)):
        inputs = torch.from_numpy(np.array(at)), torch.from_numpy(np.sqrt(power))
        both.append(moment_activation(*inputs, discrete_lif(*inputs, lif, dt)).rate.numpy())
    own, standard = both
    return np.where(standard > 1e-9, own / np.where(standard > 1e-9, standard, 1.0), 1.0)


class Fluctuating(NamedTuple):
    """What covariances of single neurons are computed from."""

    weights: list[tuple[Connection, Array, Any]]  # block, full weights (mV), projection
    loadings: Array  # of noise from outside, (neuron, source), mV/√ms
    solution: Solution
    found: Neurons
    owner: npt.NDArray[np.int64]

    def covariance(self, frequency: float) -> npt.NDArray[Any]:
        """Return the cross-spectra of all neurons at a frequency (1/ms), real at zero."""
        state, f, own = self.solution.state, np.array([frequency]), self.solution.state.answers
        still = frequency == 0
        at = state.frequency[:1] if still else f
        gain, slopes = (interpolated(at, state.frequency, values)[..., 0] for values in (own.gain, own.to_variance))
        shape = interpolated(at, state.frequency, form(own.gain))[:, 0]
        response = self._scaled(self.found.gain, gain)
        bent = self.found.slope - _population_mean(self.found.slope, self.owner)
        ratio = interpolated(at, state.frequency, self.found.ratio)[:, 0]
        kind = np.float64 if still else np.complex128
        effective: npt.NDArray[Any] = np.zeros((len(response),) * 2, kind)
        for block, weights, projection in self.weights:
            tau, dt = float(projection.tau_syn), self.solution.dt
            phase = mean_phase(projection, (2j * np.pi * f).astype(complex))[0]
            row, column = self.owner[block.rows.start], self.owner[block.columns.start]
            slope = slopes[row, state.tau_syn.index(tau), column] + bent[block.rows] * shape[row]
            filtered = response[block.rows] * synaptic_filter(f, tau, dt)[0]
            values = phase * (filtered[:, None] * weights + slope[:, None] * weights**2)
            effective[block.rows, block.columns] += values.real if still else values
        K = np.linalg.inv(np.eye(len(response)) - effective)
        common = K @ ((response.real if still else response)[:, None] * self.loadings)
        target = ratio * self.found.rate - (np.abs(common) ** 2).sum(1)
        noise = _own_noise(np.abs(K) ** 2, target)
        return np.asarray((K * noise) @ K.conj().T + common @ common.conj().T)

    def _scaled(self, values: Array, known: Complex) -> Complex:
        """Return the responses of neurons, whose means are those of the populations."""
        mean = _population_mean(values, self.owner)
        return np.where(mean != 0, values / np.where(mean != 0, mean, 1.0), 0.0) * known[self.owner]


def _population_mean(values: Array, owner: npt.NDArray[np.int64]) -> Array:
    return np.asarray((np.bincount(owner, values) / np.bincount(owner))[owner])


def _own_noise(squared: Array, target: Array, passes: int = 200) -> Array:
    """Return D with ``(K∘K*) D = target``, by repetition, or where that grows by elimination."""
    noise, last = target.copy(), np.inf
    for _ in range(passes):
        left = target - squared @ noise
        size = float(np.abs(left).max())
        if size <= 1e-9 * float(np.abs(target).max()):
            return noise
        if size > last:
            break
        noise, last = noise + left / np.diag(squared), size
    return np.asarray(np.linalg.solve(squared, target))


def _labelled(
    circuit: Circuit,
    solution: Solution,
    wired: Wired,
    external: External,
    found: Neurons,
    window: float | None,
    covariance: bool,
) -> xr.Dataset:
    state, n, owner = solution.state, circuit.n_neurons, _owner(circuit)
    low = state.frequency < max(LOWEST, state.frequency[1])
    long = found.ratio[:, low].mean(1) * found.rate
    fields = (found.mean, np.sqrt(found.variance), found.rate, long, np.zeros(n))
    output = Output(*(torch.from_numpy(np.array(value))[None] for value in fields))
    counts = None
    if window is not None:
        single = interpolated(state.records, state.frequency, found.ratio[:1])  # one by one: records are long
        weight = window_weights(state.records, window)
        single = (
            np.array([np.interp(state.records, state.frequency, ratio) @ weight for ratio in found.ratio]) * found.rate
        )
        counts = Counted(torch.from_numpy(single)[None])
    matrix, extra = None, []
    if covariance:
        matrix, summed, counted = _covariances(circuit, solution, wired, external, found, long, window, owner)
        extra.append(array("population_covariance", ("group", "group_j"), summed * 1e3))
        readers = mode_readers(circuit)
        if readers is not None and matrix is not None:
            extra.append(array("mode_mean", ("mode",), readers.T @ found.rate * 1e3))
            extra.append(array("mode_covariance", ("mode", "mode_j"), readers.T @ matrix @ readers * 1e3))
        if counts is not None and counted is not None:
            counts = counts._replace(covariance=torch.from_numpy(counted)[None])
    tensor = None if matrix is None else torch.from_numpy(matrix)[None]
    labelled = label_neurons(circuit, output, tensor, window, counts=counts).isel(stimulus=0)
    extra.append(array("rate_se", ("neuron",), found.error * 1e3))
    labelled = labelled.assign({variable.name: variable for variable in extra})
    if covariance:
        names = [p.name for p in circuit.neurons]
        labelled = labelled.assign_coords(group=names, group_j=names)
    attributes = solution_attributes(solution)
    attributes["residual"] = max(attributes["residual"], found.residual)
    return labelled.assign_attrs(attributes)


def _covariances(
    circuit: Circuit,
    solution: Solution,
    wired: Wired,
    external: External,
    found: Neurons,
    long: Array,
    window: float | None,
    owner: npt.NDArray[np.int64],
) -> tuple[Array | None, Array, Array | None]:
    """Return the covariances per time of neurons and of sums over populations, and those of counts in a window."""
    n, members = len(owner), (owner[:, None] == np.arange(len(circuit.neurons))).astype(float)
    inner = [p for p in solution.circuit.projections if p.source in solution.system.names]
    if n > DENSE:
        wiring, gain = _with_squares(solution, wired, found, inner, owner)
        shared = external.loadings if external.loadings.connections else None
        return None, projected_response(wiring, gain, long, members, shared), None
    blocks = []
    for c, projection in zip(wired.recurrent.connections, inner, strict=True):
        full = c.powers(1)
        dense = full if isinstance(full, np.ndarray) else full.toarray()
        blocks.append((c, np.reshape(c.scale, (-1, 1)) * dense, projection))
    loadings = external.loadings.to_dense() if external.loadings.connections else np.zeros((n, 0))
    fluctuating = Fluctuating(blocks, loadings, solution, found, owner)
    matrix = fluctuating.covariance(0.0)
    np.fill_diagonal(matrix, long)
    summed = members.T @ matrix @ members
    if window is None:
        return matrix, summed, None
    if n <= WINDOWED:
        f, share = _quadrature(window, solution.state.records[-1])
        counted = np.zeros((n, n))
        for frequency, weight in zip(f, share, strict=True):
            counted += window * weight * fluctuating.covariance(frequency).real
        return matrix, summed, counted
    # What the window changes is taken from the populations.
    change = pair_spectra(solution, window)
    return matrix, summed, window * matrix + change[owner[:, None], owner]


def _with_squares(
    solution: Solution, wired: Wired, found: Neurons, inner: list[Any], owner: npt.NDArray[np.int64]
) -> tuple[Wiring, Array]:
    """Return weights whose products with the gains are the responses to mean and variance at zero frequency."""
    state = solution.state
    mean = _population_mean(found.gain, owner)
    gain = found.gain / np.where(mean != 0, mean, 1.0) * state.answers.gain[owner, 0].real
    made = []
    for c, projection in zip(wired.recurrent.connections, inner, strict=True):
        if isinstance(projection.weights, ModeMatrix):
            made.append(c)
            continue
        row, column = owner[c.rows.start], owner[c.columns.start]
        slope = state.answers.to_variance[row, state.tau_syn.index(float(projection.tau_syn)), column, 0].real
        own = gain[c.rows]
        part = slope / np.where(own > 0, own, np.inf) * np.broadcast_to(c.scale, own.shape) ** 2
        linear, squares = c.powers(1), c.powers(2)
        scale = np.broadcast_to(c.scale, own.shape)
        if isinstance(linear, np.ndarray):
            weights: Any = scale[:, None] * linear + part[:, None] * squares
        else:
            assert not isinstance(squares, np.ndarray)
            weights = linear.copy()
            counts = np.diff(linear.indptr)
            weights.data = np.repeat(scale, counts) * linear.data + np.repeat(part, counts) * squares.data
        made.append(Connection(c.rows, c.columns, weights))
    return Wiring(wired.recurrent.shape, made), gain


def _quadrature(window: float, highest: float) -> tuple[Array, Array]:
    """Return frequencies (1/ms) and weights for averages over ``sinc²(fT)``."""
    f = np.linspace(0, min(highest, 20 / window), 20_001)
    density = np.sinc(f * window) ** 2
    whole = np.concatenate([[0.0], np.cumsum((density[1:] + density[:-1]) / 2)])
    nodes, weights = np.polynomial.legendre.leggauss(QUADRATURE)
    return np.interp((nodes + 1) / 2, whole / whole[-1], f), weights / 2
