"""From a trained spiking network to the circuit that gives its spikes, and from simulated spikes to its outputs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from mnnbio.circuit import (
    ChannelDrive,
    Circuit,
    Drive,
    GaussianDrive,
    ModeMatrix,
    PoissonSource,
    Population,
    Projection,
    Readout,
    Source,
    SpikeSource,
)
from mnnbio.exporting.signals import array
from mnnbio.exporting.statistics_read import read_covariances
from mnnbio.exporting.table_networks import layer_names
from mnnbio.machine import check_choice
from mnnbio.neurons import DiscreteLIF, LIFParameters
from mnnbio.nn import CovarianceReadout, MomentNetwork
from mnnbio.synapses import FilteredSpikes, Into
from mnnbio.training import ModeWeights, SpikingNetwork, SpikingTableNetwork, read_out
from mnnbio.units import in_unit
from mnnbio.values import Samples

INPUT, HIDDEN = "input", "hidden"
Encoding = Literal["spikes", "currents"]
Weights = Literal["modes", "matrix"]

Array = npt.NDArray[np.float64]


class _Given(NamedTuple):
    """What a network is shown, and how it receives it."""

    values: Array  # ([step, stimulus, | stimulus,] n_in)
    as_spikes: bool

    @property
    def in_steps(self) -> bool:
        """Whether every step brings something of its own."""
        return self.values.ndim == 3


def export_spiking(
    network: SpikingNetwork,
    stimulus: Any,
    *,
    lif: bool = False,
    weights: Weights = "modes",
    encoding: Encoding | None = None,
    labels: Sequence[Any] | None = None,
) -> Circuit:
    """Return the circuit of a spiking network; see `mnnbio.export`.

    Parameters
    ----------
    network : SpikingNetwork
    stimulus : array_like or Tensor, shape (step, stimulus, n_in), (stimulus, n_in) or (n_in,)
    lif : bool
        Whether to leaky integrate-and-fire neurons of the theory.
    weights : {"modes", "matrix"}
    encoding : {"spikes", "currents"}, optional
    labels : sequence, optional
    """
    check_choice("weights", weights, ["modes", "matrix"])
    given = _given(stimulus, network.weight_in.shape[1], encoding)
    synapse = _synapse(network)
    readout = _readout(network, synapse, labels)
    parts = _lif_parts(network, given, synapse, weights) if lif else _discrete_parts(network, given, synapse, weights)
    return Circuit(parts.populations, parts.projections, parts.drives, readout)


class _Parts(NamedTuple):
    populations: list[Source | Population]
    projections: list[Projection]
    drives: list[Drive]


def _discrete_parts(network: SpikingNetwork, given: _Given, synapse: FilteredSpikes, weights: Weights) -> _Parts:
    """Return the parts that give the spikes of the network one for one."""
    own = network.neuron
    if own.clock == "single":
        raise ValueError(
            "neurons with clock='single' compare times in single precision, which circuits do not: export networks "
            "with clock='steps'; load_smnn(…, clock='steps') reads published files so"
        )
    neuron = DiscreteLIF(
        tau_m=own.tau_m, tau_syn=own.tau_syn, v_th=own.v_th, v_reset=own.v_reset, t_ref=own.t_ref, reset=own.reset
    )
    recurrent = Projection(HIDDEN, HIDDEN, weights=_recurrent(network, weights), synapse=synapse)
    hidden = Population(HIDDEN, network.size, neuron)
    weight_in = array(network.weight_in)
    if given.as_spikes:
        source = _source(given, network.dt)
        return _Parts(
            [source, hidden], [Projection(INPUT, HIDDEN, weights=weight_in, synapse=Into("I", "mV")), recurrent], []
        )
    inputs = Samples(given.values, network.dt) if given.in_steps else given.values
    return _Parts([hidden], [recurrent], [ChannelDrive(HIDDEN, weight_in, inputs)])


def _lif_parts(network: SpikingNetwork, given: _Given, synapse: FilteredSpikes, weights: Weights) -> _Parts:
    """Return the parts with the theory's neurons and synapses."""
    own, dt = network.neuron, network.dt
    tau_syn = _single(own.tau_syn, "tau_syn", "exponential synapses onto LIF neurons have one")
    tau_m = np.asarray(own.tau_m)
    rest = -np.expm1(-dt / tau_syn)  # 1 - l
    charge = np.broadcast_to(dt / (tau_m * rest), network.size)  # of a jump of I by 1 mV, mV
    neuron = LIFParameters(tau_m=own.tau_m, v_th=own.v_th, v_reset=own.v_reset, t_ref=own.t_ref)
    filtered = synapse.tau_decay + (synapse.tau_rise if synapse.kind == "double" else 0.0)
    recurrent = Projection(
        HIDDEN,
        HIDDEN,
        weights=_recurrent(network, weights, charge * synapse.area(dt)),
        tau_syn=tau_syn + filtered,
        delay=dt,
    )
    hidden = Population(HIDDEN, network.size, neuron)
    weight_in = array(network.weight_in)
    if given.as_spikes:
        enter = Projection(INPUT, HIDDEN, weights=charge[:, None] * weight_in, tau_syn=tau_syn)
        return _Parts([_source(given, dt), hidden], [enter, recurrent], [])
    arriving = given.values @ weight_in.T
    if not given.in_steps:
        return _Parts([hidden], [recurrent], [GaussianDrive(HIDDEN, mean=arriving / (rest * tau_m))])
    current = np.empty_like(arriving)
    held = np.zeros(arriving.shape[1:])
    for step, value in enumerate(arriving):
        current[step] = held = np.exp(-dt / tau_syn) * held + value
    return _Parts([hidden], [recurrent], [GaussianDrive(HIDDEN, mean=Samples(current / tau_m, dt))])


def _given(stimulus: Any, n_in: int, encoding: Encoding | None) -> _Given:
    """Return a stimulus that has been checked."""
    values = np.array(in_unit(stimulus, "1", "stimulus"), dtype=np.float64)
    if values.ndim not in (1, 2, 3) or values.shape[-1] != n_in or 0 in values.shape:
        raise ValueError(
            f"`stimulus` must have shape (step, stimulus, {n_in}), or ({n_in},) or (stimulus, {n_in}) where all steps "
            f"have it in common, got {values.shape}"
        )
    if encoding is not None:
        check_choice("encoding", encoding, ["spikes", "currents"])
    binary = bool(np.isin(values, (0.0, 1.0)).all())
    as_spikes = encoding == "spikes" or (encoding is None and (binary or values.ndim < 3))
    if as_spikes and values.ndim == 3 and not binary:
        place = tuple(int(k) for k in np.argwhere(~np.isin(values, (0.0, 1.0)))[0])
        raise ValueError(
            f"`stimulus` must be 0 or 1 in every step where it is spikes, got {values[place]:g} at {place}: give "
            "encoding='currents'"
        )
    if as_spikes and (values.min() < 0 or values.max() > 1):
        wrong = values.min() if values.min() < 0 else values.max()
        raise ValueError(
            "`stimulus` that all steps have in common must be probabilities of a spike in a step, from 0 to 1, got "
            f"{wrong:g}: give encoding='currents', or what every step brings, (step, stimulus, {n_in})"
        )
    return _Given(values, as_spikes)


def _source(given: _Given, dt: float) -> Source:
    """Return the source of input spikes: as they are given, or drawn with their probabilities."""
    if not given.in_steps:
        return PoissonSource(INPUT, given.values.shape[-1], rates=given.values / dt)
    pairs = [np.nonzero(given.values[:, k]) for k in range(given.values.shape[1])]
    times = [steps * dt for steps, _ in pairs]
    return SpikeSource(INPUT, times, [channels for _, channels in pairs], given.values.shape[-1])


def _recurrent(network: SpikingNetwork, weights: Weights, factor: Any = 1.0) -> Any:
    """Return the recurrent weights, those onto each neuron times a factor."""
    scale = np.broadcast_to(factor, network.size)[:, None]
    recurrent = network.recurrent
    if not isinstance(recurrent, ModeWeights):
        return array(recurrent.matrix()) * scale
    modes = ModeMatrix(array(recurrent.modes_in) * scale, array(recurrent.scores), array(recurrent.modes_out))
    return modes if weights == "modes" else modes.to_dense()


def _synapse(network: SpikingNetwork) -> FilteredSpikes:
    own = network.filter
    reason = "filters of modes have one for all neurons"
    times = {name: _single(getattr(own, name), name, reason) for name in ("tau_decay", "tau_rise")}
    return FilteredSpikes(own.kind, times["tau_decay"], times["tau_rise"], own.scale)


def _single(value: Any, name: str, reason: str) -> float:
    """Return a time constant that all neurons share."""
    given = np.asarray(value, dtype=np.float64)
    if (given != given.flat[0]).any():
        raise ValueError(
            f"`{name}` of the network must be one number to be exported, because {reason}, got values from "
            f"{given.min():g} to {given.max():g} ms"
        )
    return float(given.flat[0])


def _readout(network: SpikingNetwork, synapse: FilteredSpikes, labels: Sequence[Any] | None) -> Readout | None:
    """Return the mean of a trace over time, of counts: each spike adds the area of the filter."""
    if network.readout != "trace":
        if labels is not None:
            raise ValueError(
                "`labels` name outputs that are means over time, and this network reads the maximum: leave them out, "
                "and take `read_outputs`"
            )
        return None
    weights = array(network.weight_out) * synapse.area(network.dt) * network.dt
    names = None if labels is None else tuple(str(label) for label in labels)
    return Readout(HIDDEN, weights, np.zeros(len(weights)), names)


def read_spikes(network: SpikingNetwork | SpikingTableNetwork, result: Any) -> Tensor:
    """Return the simulated spikes of an exported network, as `SpikingNetwork.run` gives them.

    Parameters
    ----------
    network : SpikingNetwork or SpikingTableNetwork
        The network that was exported. Of several layers, the spikes of the last are returned.
    result : DataTree
        As `simulate` returned it for the exported circuit, the spikes of which are recorded.

    Returns
    -------
    Tensor, shape (T, B, N)
        0 or 1, in the precision of the network. B trials: of several stimuli and trials the trials of each stimulus one
        after the other. Spikes of the warm-up are left out.

    Raises
    ------
    ValueError
        If the result holds no such spikes, or was simulated in another time step.
    """
    if "spikes" not in result.children:
        raise ValueError("`result` holds no spikes: simulate the exported circuit with its spikes recorded")
    spikes = result["spikes"]
    if not np.isclose(spikes.attrs["dt"], network.dt * 1e-3, rtol=1e-9):
        raise ValueError(
            f"`result` must be simulated in the time step of the network, {network.dt:g} ms, got "
            f"{spikes.attrs['dt'] * 1e3:g} ms: give simulate(…, dt=network.dt)"
        )
    n_trials, dataset = spikes.sizes["trial"], spikes.to_dataset()
    population = layer_names(network)[-1] if isinstance(network, SpikingTableNetwork) else HIDDEN
    sources = [SpikeSource.from_result(INPUT, dataset, population, trial=trial) for trial in range(n_trials)]
    n_stimuli = spikes.sizes.get("stimulus", 1)
    if sources[0].size != network.size:
        raise ValueError(f"`result` has {sources[0].size} neurons, the network {network.size}")
    n_steps = round(spikes.attrs["duration"] / spikes.attrs["dt"])
    found = np.zeros((n_steps, n_stimuli, n_trials, network.size))
    for trial, source in enumerate(sources):
        for number, (steps, neurons) in enumerate(source.steps(network.dt)):
            kept = steps >= 0
            found[steps[kept], number, trial, neurons[kept]] = 1.0
    table = torch.from_numpy(found.reshape(n_steps, n_stimuli * n_trials, network.size))
    return table.to(network.weight_in)


def read_outputs(
    network: SpikingNetwork | SpikingTableNetwork | MomentNetwork | CovarianceReadout,
    result: Any,
    population: str | None = None,
) -> Tensor:
    """Return the outputs of a network of simulated spikes, read as the network reads its own.

    Parameters
    ----------
    network : SpikingNetwork, SpikingTableNetwork, MomentMLP or CovarianceReadout
        The network that was exported. Of moment networks one that reads covariances (`reads`), or the readout of a
        module of a user's own; the outputs of others are `readout` of the result.
    result : DataTree or Dataset
        As `simulate` returned it for the exported circuit, in the time step of a spiking network, for a moment network
        with covariances, ``simulate(…, window=…, covariance=True)``. Also the result of `predict`.
    population : str, optional
        The neurons that a `CovarianceReadout` reads; of a `MomentMLP` those of the last layer.

    Returns
    -------
    Tensor, shape (T, B, n_out), (B, n_out) or ([stimulus,] n_out)
        As ``network(inputs)`` gives them, or as means of the outputs of a network for tables; B as in `read_spikes`.
        Of a moment network one for each stimulus, from the counts of all its windows: `count_covariance` over the
        length of the window where there is one, else the long-window `covariance`.

    Raises
    ------
    ValueError
        As `read_spikes` does; if there are no covariances, or not of as many neurons as are read, or the network reads
        means.
    """
    if isinstance(network, MomentNetwork | CovarianceReadout):
        return read_covariances(network, result, population)
    if isinstance(network, SpikingTableNetwork):
        with torch.no_grad():
            return network.outputs_of(read_spikes(network, result))
    with torch.no_grad():
        spikes, constants = read_spikes(network, result), network.constants()
        onset = filtered = torch.zeros_like(spikes[0])
        before = torch.zeros_like(spikes[0])
        course = torch.empty_like(spikes)
        for step, now in enumerate(spikes):
            onset = constants.rise * onset + constants.jump * before
            course[step] = filtered = constants.fall * filtered + constants.gain * onset
            before = now
        return read_out(course, network.weight_out, network.readout)
