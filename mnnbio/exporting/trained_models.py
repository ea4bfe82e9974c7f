"""Export of a trained model of any kind."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from mnnbio.circuit import Circuit
from mnnbio.exporting.moment_networks import export_moment
from mnnbio.exporting.spiking_networks import Encoding, Weights, export_spiking
from mnnbio.exporting.table_networks import export_table
from mnnbio.machine import check_choice
from mnnbio.nn import MomentNetwork
from mnnbio.training import GradedTableNetwork, RateNetwork, SpikingModeClassifier, SpikingNetwork, SpikingTableNetwork

Neurons = Literal["discrete", "lif"]


def export(
    model: Any,
    stimulus: Any,
    *,
    labels: Sequence[Any] | None = None,
    neurons: Neurons | None = None,
    weights: Weights | None = None,
    encoding: Encoding | None = None,
) -> Circuit:
    """Return the spiking circuit that a trained network describes. The model is not changed, and nothing is tuned.

    *A moment network* becomes leaky integrate-and-fire neurons. Batch normalisation is folded into weights and constant
    currents, learned noise becomes a Gaussian drive, and the readout stays a linear readout of spike counts.
    ``predict(export(model, x))`` without a time step equals ``model(x)`` in evaluation mode (of a network with full
    correlations: spiking neurons have them, whether or not the network took them into account). Learned neurons are
    exported as they are now; fixed in-degree weights and convolutions as sparse matrices, of which pooling becomes a
    part.

    *A spiking network* becomes `DiscreteLIF` neurons with `FilteredSpikes` synapses, weights of modes staying factored.
    Simulated in its time step, ``simulate(circuit, duration=len(x) * network.dt, dt=network.dt)``, it gives the spikes
    of ``network.run(x)`` one for one (of a network in double precision), and `read_outputs` its outputs. With
    ``neurons="lif"`` it becomes the leaky integrate-and-fire neurons of the theory with exponential synapses:

    - A membrane of gain 1 takes currents I as I/tau_m, mV/ms.
    - A spike of recurrent weight w adds ``w A`` to I in all steps together, A the area of the filter, and each part of
      it fades with ``l = exp(-dt/tau_syn)``: its charge is ``w A dt / (tau_m (1 - l))`` mV. It comes through one
      exponential synapse whose time constant is the sum of those of filter and synapse, after a delay of dt.
    - An input spike of weight w has the charge ``w dt / (tau_m (1 - l))`` and the time constant tau_syn.
    - Input currents are filtered by tau_syn beforehand, and enter as a mean that is held over each step.

    *A network that learned a table as spikes* (`SpikingClassifier`, `SpikingRegressor`) becomes `DiscreteLIF` neurons
    too, shown the features as its encoding has them, and gives its own spikes one for one when it is simulated for its
    duration in its time step. Graded units have no spikes, and are refused.

    Parameters
    ----------
    model : MomentMLP, MomentCNN, SpikingNetwork or SpikingTableNetwork
        A network, or a fitted estimator.
    stimulus : array_like or Tensor
        What the network is shown. For a moment network as it takes it, shape (features,) or (stimulus, features). For a
        spiking one what every step brings, (step, stimulus, n_in), or what all steps have in common, (n_in,) or
        (stimulus, n_in); a fitted `SpikingModeClassifier` also takes features and encodes them, as its first
        presentation does. With an axis of stimuli, the circuit has several stimuli.
    labels : sequence, optional
        Names of the outputs; by default the classes of a fitted classifier.
    neurons : {"discrete", "lif"}, optional
        What a spiking network becomes; default: "discrete".
    weights : {"modes", "matrix"}, optional
        Whether weights of modes stay factored, which is the default, or become a matrix of neurons by neurons.
    encoding : {"spikes", "currents"}, optional
        How a spiking network receives the stimulus: spikes, 1 in a step with a spike and 0 else, or where all steps
        have the stimulus in common the probability of a spike in each step (which `PoissonSource` draws); or numbers
        that add to the currents through the weights. Default: spikes, unless a step brings something else than 0 and 1.

    Returns
    -------
    Circuit
        Populations ``input`` (for spikes and Poisson encoding) and ``hidden``, or ``hidden_1``, ``hidden_2``, … of a
        deep network. The readout of a spiking network that reads a trace is the mean of its outputs over time, the ends
        of the trial aside; one that reads the maximum has none.

    Raises
    ------
    TypeError
        If `model` is none of these networks, or has neurons that do not become spikes.
    ValueError
        If the stimulus does not fit, or is not finite, or an option has no meaning for the model.

    Warns
    -----
    ReadoutNoiseWarning
        If the readout has noise of its own: the circuit leaves it out.
    FeatureRangeWarning
        If features are lower than Poisson rates can carry: they count as the lowest possible.
    """
    network = getattr(model, "model_", model)
    if neurons is not None:
        check_choice("neurons", neurons, ["discrete", "lif"])
    if isinstance(model, SpikingModeClassifier) and np.ndim(stimulus) < 3:
        stimulus = model.encode(np.atleast_2d(stimulus))
    if isinstance(network, SpikingNetwork):
        lif = neurons == "lif"
        return export_spiking(network, stimulus, lif=lif, weights=weights or "modes", encoding=encoding, labels=labels)
    if isinstance(network, SpikingTableNetwork):
        if neurons == "lif" or weights is not None or encoding is not None:
            raise ValueError(
                "`neurons`, `weights` and `encoding` are for recurrent spiking networks; one that learned a table "
                "becomes DiscreteLIF neurons with its own encoding: leave them out"
            )
        return export_table(network, stimulus, getattr(model, "classes_", None) if labels is None else labels)
    if isinstance(network, GradedTableNetwork):
        raise TypeError(
            "`model` is a GradedTableNetwork: graded units send sizes, which spikes have not. Train unit='lif' to "
            "export spikes"
        )
    if isinstance(network, RateNetwork):
        raise TypeError("`model` is a RateNetwork, whose neurons have no spikes: export a SpikingNetwork")
    if not isinstance(network, MomentNetwork):
        raise TypeError(
            "`model` must be a MomentMLP, a MomentCNN, a SpikingNetwork or a fitted estimator of one, got "
            f"{type(network).__name__}"
        )
    if neurons == "discrete" or weights is not None or encoding is not None:
        raise ValueError(
            "`neurons`, `weights` and `encoding` are for spiking networks; a moment network becomes LIF neurons as it "
            "stands: leave them out"
        )
    return export_moment(model, network, stimulus, labels)
