"""A feed-forward moment network: blocks of linear → batch norm → activation, and a linear readout."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any, Literal, get_args

import torch
from torch import nn

from mnnbio.machine import check_choice, require_integer
from mnnbio.neurons import LIFParameters
from mnnbio.nn.covariance_readout import CovarianceReadout, Statistics
from mnnbio.nn.encoders import Encoder
from mnnbio.nn.interoperability import Checkpoint, read_checkpoint
from mnnbio.nn.linear import MomentLinear, SparseLinear
from mnnbio.nn.moment_network import (
    READOUT_SCALE,
    Closure,
    MomentNetwork,
    arguments_from_config,
    checked_dtype,
    generator_from,
)
from mnnbio.nn.spiking_layers import Background, Correlations, NeuronParameter
from mnnbio.units import checked_counts, flag

# What the outputs weigh: rates, or what `CovarianceReadout` reads.
Reads = Literal["mean"] | Statistics


class MomentMLP(MomentNetwork):
    """Feed-forward network of leaky integrate-and-fire neurons, described by mean and covariance.

    Parameters
    ----------
    sizes : sequence of int
        Numbers of inputs (spike trains), of neurons in each hidden layer, and of outputs: at least three numbers.
    lif : LIFParameters, optional
        The hidden neurons; values per neuron need hidden layers of that one size.
    encoder : PoissonEncoder, GaussianEncoder or another encoder of `mnnbio.nn`, optional
        How features become inputs. By default the features are Poisson rates in spikes/ms.
    noise : bool
        Whether the neurons learn independent input noise.
    learn : iterable of {"tau_m", "v_th", "v_reset", "t_ref"}
        Parameters that every hidden neuron learns for itself, from `lif` as the start.
    correlations : {"full", "variance", "none"}
        What the neurons take into account and pass on, see `MomentActivation`. "none" needs ``noise=False``.
    fixed_std : float
        Standard deviation of the currents under ``correlations="none"``, mV/√ms.
    in_degree : int, optional
        Every hidden neuron receives from so many random neurons of the layer before; from all if not given.
    dropout : float
        Share of hidden neurons silenced in training, in [0, 1).
    background : PoissonBackground or GaussianBackground, optional
        Input of its own for every hidden neuron.
    closure : {"moments", "poisson"}
        Variance with which a hidden neuron's train drives the next hidden layer: its long-window count variance, or its
        rate, which is closer to what the membranes of spiking neurons see. The circuit of a network trained with
        "poisson" predicts what the network computes with ``predict(circuit, closure="poisson")``.
    readout_noise : bool
        Whether the outputs learn independent noise of their own, which spikes do not have.
    reads : {"mean", "covariance", "mean_and_covariance", "second_moments"}
        What the outputs weigh: the spike trains, or statistics of them, as in `CovarianceReadout`.
    momentum, eps, total_variance : optional
        Of the batch normalisation, as in `MomentBatchNorm1d`.
    seed : int or torch.Generator, optional
        Of the initial weights; the global generator by default.
    dtype : torch.dtype, optional
        torch.float32 or torch.float64; torch's default if not given.
    device : torch.device or str, optional
        Where parameters live.

    Attributes
    ----------
    encoder : Module
    blocks : ModuleList of MomentBlock
        Hidden layers, each with `linear`, `norm`, `activation`.
    readout : MomentLinear or CovarianceReadout
        Weighted sum of the last layer's spike trains, with bias: ``output = W · rate + b``; or of their statistics.
    lif : LIFParameters

    Raises
    ------
    ValueError
        If the sizes do not fit together.

    Examples
    --------
    >>> model = MomentMLP((2, 3, 1), seed=0).eval()
    >>> output = model(torch.tensor([[0.5, 2.0]]))
    >>> output.mean.shape, output.covariance.to_dense().shape
    (torch.Size([1, 1]), torch.Size([1, 1, 1]))
    """

    def __init__(
        self,
        sizes: Sequence[int],
        lif: LIFParameters | None = None,
        encoder: Encoder | None = None,
        noise: bool = True,
        *,
        learn: Iterable[NeuronParameter] = (),
        correlations: Correlations = "full",
        fixed_std: float = 0.0,
        in_degree: int | None = None,
        dropout: float = 0.0,
        background: Background | None = None,
        closure: Closure = "moments",
        readout_noise: bool = False,
        reads: Reads = "mean",
        momentum: float = 0.1,
        eps: float = 1e-5,
        total_variance: bool = False,
        seed: int | torch.Generator | None = None,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> None:
        dtype, checked = checked_dtype(dtype), _checked_sizes(sizes)
        super().__init__(
            checked[0],
            checked[-1],
            lif,
            encoder,
            noise,
            learn,
            correlations,
            fixed_std,
            dropout,
            background,
            closure,
            momentum,
            eps,
        )
        if in_degree is not None:
            require_integer("in_degree", in_degree, 1)
        self.in_degree, self.total_variance = in_degree, flag(total_variance, "total_variance")
        self.readout_noise = flag(readout_noise, "readout_noise")
        check_choice("reads", reads, sorted(get_args(Literal["mean"]) + get_args(Statistics)))
        if readout_noise and reads != "mean":
            raise ValueError(
                f"outputs that are statistics have no noise: give readout_noise=False with reads={reads!r}"
            )
        self.reads = reads
        if self.lif.size is not None and any(n != self.lif.size for n in checked[1:-1]):
            raise ValueError(
                f"`lif` describes {self.lif.size} neurons, but the hidden layers have {list(checked[1:-1])}"
            )
        if self.encoder.out_features != self.inputs:
            raise ValueError(
                f"`sizes[0]` must be the number of inputs that the encoder gives, {self.encoder.out_features}, "
                f"got {self.inputs}"
            )
        generator = generator_from(seed)
        # A ModuleList, typed by what its users do with it: torch's does not know the type of its items.
        self.blocks = nn.ModuleList(  # type: ignore[assignment]
            self._block(
                MomentLinear(fan_in, fan_out, generator=generator)
                if in_degree is None
                else SparseLinear(fan_in, fan_out, in_degree, generator=generator),
                generator,
            )
            for fan_in, fan_out in pairwise(checked[:-1])
        )
        if reads == "mean":
            self.readout = MomentLinear(
                checked[-2],
                self.outputs,
                bias=True,
                bias_std=1.0 if readout_noise else None,
                weight_scale=READOUT_SCALE,
                generator=generator,
            )
        else:
            self.readout = CovarianceReadout(
                checked[-2], self.outputs, reads, weight_scale=READOUT_SCALE, generator=generator
            )
        # Drawn in the default precision on the CPU, then moved: the seed means the same weights everywhere.
        self.to(dtype=dtype, device=device)

    def config(self) -> dict[str, Any]:
        """Return what builds this network again (as JSON can hold it), apart from its state dict."""
        return {
            "sizes": list(self.sizes),
            "in_degree": self.in_degree,
            "readout_noise": self.readout_noise,
            "reads": self.reads,
            "total_variance": self.total_variance,
            **super().config(),
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> MomentMLP:
        """Build the network that `config` describes; load its state dict afterwards.

        Raises
        ------
        ValueError
            If a key is missing or unknown, or it is of another kind of network.
        """
        own = {"sizes", "in_degree", "readout_noise", "reads", "total_variance"}
        # What models are that were saved before there was a choice.
        earlier = {"reads": "mean", "total_variance": False}
        return cls(**arguments_from_config("MomentMLP", config, own, earlier), seed=0)

    @classmethod
    def from_moment_neural_network(
        cls, state_dict: Mapping[str, Any], config: Mapping[str, Any], *, correlations: Correlations | None = None
    ) -> MomentMLP:
        """Return the network that a checkpoint of the project moment-neural-network describes, in evaluation mode.

        Parameters
        ----------
        state_dict : mapping of str to Tensor
            The network's state dict, or a checkpoint of its training that holds it under ``state_dict``.
        config : mapping
            Its configuration as read from YAML: the whole file, its part ``MODEL``, or the arguments of the network
            (``structure`` and so on). Only the whole file tells how inputs are scaled and what the neurons are;
            without, features are Poisson rates in spikes/ms and the neurons are its default ones, which are ours.
        correlations : {"full", "variance", "none"}, optional
            What the neurons pass on: "full" of its ``MnnMlp``, "variance" of ``MnnMlpNoRho``, "none" of
            ``MnnMlpMeanOnly``. To be given where the configuration holds the arguments of a network alone, for its
            state dict looks the same.

        Returns
        -------
        MomentMLP
            In the precision of the checkpoint.

        Raises
        ------
        TypeError
            If an argument is no mapping.
        ValueError
            If the configuration is of another architecture, asks for what has no equal here or does not tell which
            network it is, or the state dict has missing or unexpected keys or tensors of another shape; of a network
            whose outputs are spike trains, which `mnnbio.nn.mlp_from_moment_neural_network` reads.

        Examples
        --------
        >>> checkpoint = torch.load("mnn_net.pth")  # doctest: +SKIP
        >>> config = yaml.safe_load(open("mnn_net_config.yaml"))  # doctest: +SKIP
        >>> model = MomentMLP.from_moment_neural_network(checkpoint, config)  # doctest: +SKIP
        """
        checkpoint = read_checkpoint(state_dict, config, correlations)
        if checkpoint.options.num_class is None:
            raise ValueError(
                "the checkpoint has no readout, its outputs are the trains of its last neurons (`snn_mlp`, or "
                "`num_class` of none): `mnnbio.nn.mlp_from_moment_neural_network` returns it as a Sequential of layers"
            )
        return cls._filled(checkpoint)

    @classmethod
    def _filled(cls, checkpoint: Checkpoint) -> MomentMLP:
        model = cls(**checkpoint.arguments())
        checkpoint.fill(model)
        return model.eval()


def mlp_from_moment_neural_network(
    state_dict: Mapping[str, Any], config: Mapping[str, Any], *, correlations: Correlations | None = None
) -> MomentMLP | nn.Sequential:
    """Return the network of a checkpoint of moment-neural-network, also of one whose outputs are spike trains.

    Parameters and errors are those of `MomentMLP.from_moment_neural_network`.

    Returns
    -------
    MomentMLP or Sequential
        A Sequential of an encoder and layers of neurons where there is no readout: of its ``SnnMlp``, whose last
        neurons are the outputs, and of networks with ``num_class`` of none.
    """
    checkpoint = read_checkpoint(state_dict, config, correlations)
    model = MomentMLP._filled(checkpoint)
    if checkpoint.options.num_class is not None:
        return model
    return nn.Sequential(model.encoder, *model.blocks).eval()


def _checked_sizes(sizes: Sequence[int]) -> tuple[int, ...]:
    """Return the sizes as a tuple of positive integers."""
    rule = "`sizes` must be at least three positive whole numbers (inputs, hidden layers, outputs), got"
    try:
        checked = checked_counts(sizes, "sizes")
    except ValueError:
        raise ValueError(f"{rule} {tuple(sizes)}") from None
    if len(checked) < 3:
        raise ValueError(f"{rule} {checked}")
    return checked
