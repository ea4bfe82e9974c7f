"""Export of a trained model of any kind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from torch import nn

from mnnbio.circuit import Circuit
from mnnbio.exporting.moment_networks import export_module
from mnnbio.exporting.spiking_networks import Encoding, Weights, export_spiking
from mnnbio.exporting.table_networks import export_table
from mnnbio.machine import check_choice
from mnnbio.training import GradedTableNetwork, RateNetwork, SpikingModeClassifier, SpikingNetwork, SpikingTableNetwork

Neurons = Literal["discrete", "lif"]


def export(
    model: Any,
    stimulus: Any,
    *,
    labels: Sequence[Any] | Mapping[str, Sequence[Any]] | None = None,
    neurons: Neurons | None = None,
    weights: Weights | None = None,
    encoding: Encoding | None = None,
) -> Circuit:
    """Return the spiking circuit that a trained network describes. The model is not changed, and nothing is tuned.

    *A moment network*, `MomentMLP`, `MomentCNN` or any `torch.nn.Module` made of the layers of `mnnbio.nn`, becomes
    leaky integrate-and-fire neurons. Its graph is traced (`torch.fx`), so that several inputs and outputs, branches,
    skip connections, shared layers and ensembles are welcome, as are fitted pipelines and searches of scikit-learn that
    end in one. Batch normalisation is folded into weights and constant currents, learned noise becomes a Gaussian
    drive, outputs become linear readouts of spike counts. ``predict(export(model, x))`` without a time step equals
    ``model(x)`` in evaluation mode (of a network with full correlations: spiking neurons have them, whether or not the
    network took them into account; states that are joined must be `mnnbio.nn.tracked`). Learned neurons are exported as
    they are now; fixed in-degree weights and convolutions as sparse matrices, of which pooling becomes a part; weights
    of modes stay factored where they read one population. A layer that is used twice becomes two populations.

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
    model : Module, SpikingNetwork or SpikingTableNetwork
        A network, or a fitted estimator, pipeline or search.
    stimulus : array_like or Tensor, or dict or tuple of them
        What the network is shown. For a moment network as it takes it, shape (features,) or (stimulus, features), of
        each input if it has several. For a spiking one what every step brings, (step, stimulus, n_in), or what all
        steps have in common, (n_in,) or (stimulus, n_in); a fitted `SpikingModeClassifier` also takes features and
        encodes them, as its first presentation does. With an axis of stimuli, the circuit has several stimuli.
    labels : sequence, or dict of sequences, optional
        Names of the outputs, by readout if there are several; by default the classes of a fitted classifier.
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
        deep network; of a module of a user's own by the paths of its activations, and readouts by the keys of a dict
        that it returns, or ``readout_1``, ``readout_2``, … of a tuple. The readout of a spiking network that reads a
        trace is the mean of its outputs over time, the ends of the trial aside; one that reads the maximum has none.

    Raises
    ------
    TypeError
        If `model` is none of these networks, has neurons that do not become spikes, cannot be traced, or does what has
        no spiking counterpart; with the line.
    ValueError
        If states are added as independent that are not, or noise of an encoder reaches two populations.
        If the stimulus does not fit, or is not finite, or an option has no meaning for the model.

    Warns
    -----
    ReadoutNoiseWarning
        If the readout has noise of its own: the circuit leaves it out.
    FeatureRangeWarning
        If features are lower than Poisson rates can carry: they count as the lowest possible.
    """
    model, stimulus = _unwrapped(model, stimulus)
    network = getattr(model, "model_", model)
    named = labels if labels is not None else getattr(model, "classes_", None)
    if neurons is not None:
        check_choice("neurons", neurons, ["discrete", "lif"])
    if isinstance(model, SpikingModeClassifier) and np.ndim(stimulus) < 3:
        stimulus = model.encode(np.atleast_2d(stimulus))
    if isinstance(network, SpikingNetwork):
        lif = neurons == "lif"
        return export_spiking(
            network, stimulus, lif=lif, weights=weights or "modes", encoding=encoding, labels=_sequence(labels)
        )
    if isinstance(network, SpikingTableNetwork):
        if neurons == "lif" or weights is not None or encoding is not None:
            raise ValueError(
                "`neurons`, `weights` and `encoding` are for recurrent spiking networks; one that learned a table "
                "becomes DiscreteLIF neurons with its own encoding: leave them out"
            )
        return export_table(network, stimulus, _sequence(named))
    if isinstance(network, GradedTableNetwork):
        raise TypeError(
            "`model` is a GradedTableNetwork: graded units send sizes, which spikes have not. Train unit='lif' to "
            "export spikes"
        )
    if isinstance(network, RateNetwork):
        raise TypeError("`model` is a RateNetwork, whose neurons have no spikes: export a SpikingNetwork")
    if not isinstance(network, nn.Module):
        raise TypeError(
            "`model` must be a module of layers of mnnbio.nn such as a MomentMLP, a SpikingNetwork, or a fitted "
            f"estimator of one, got {type(network).__name__}"
        )
    if neurons == "discrete" or weights is not None or encoding is not None:
        raise ValueError(
            "`neurons`, `weights` and `encoding` are for spiking networks; a moment network becomes LIF neurons as it "
            "stands: leave them out"
        )
    return export_module(network, stimulus, named)


def _unwrapped(model: Any, stimulus: Any) -> tuple[Any, Any]:
    """Return the estimator in a fitted search or pipeline, and features as the pipeline's steps before give them."""
    while True:
        if hasattr(model, "best_estimator_"):
            model = model.best_estimator_
        elif hasattr(model, "steps") and hasattr(model, "named_steps"):
            if len(model) > 1:
                stimulus = model[:-1].transform(np.atleast_2d(stimulus))
            model = model[-1]
        else:
            break
    if hasattr(model, "fit") and not hasattr(model, "model_") and hasattr(model, "get_params"):
        raise TypeError(
            f"`model` holds a {type(model).__name__} without a network: fit it, or end the pipeline with an estimator "
            "of mnnbio.training"
        )
    return model, stimulus


def _sequence(labels: Any) -> Sequence[Any] | None:
    if isinstance(labels, Mapping):
        raise ValueError("`labels` by output are for modules with several outputs; give a sequence")
    return labels  # type: ignore[no-any-return]
