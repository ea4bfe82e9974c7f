"""A feed-forward moment network: blocks of linear → batch norm → activation, and a linear readout."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Literal

import numpy as np
import torch
from torch import nn

from mnnbio.lif import LIFParameters
from mnnbio.nn.activation import Correlations, MomentActivation, NeuronParameter, checked_learn
from mnnbio.nn.background import Background, background_from_config
from mnnbio.nn.dropout import MomentDropout
from mnnbio.nn.encoders import Encoder, PoissonEncoder, encoder_from_config
from mnnbio.nn.linear import MomentLinear
from mnnbio.nn.norm import MomentBatchNorm1d
from mnnbio.nn.sparse import SparseLinear
from mnnbio.nn.state import Moments

DTYPES = {"float32": torch.float32, "float64": torch.float64}

# Hidden rates spread over some 0.05 spikes/ms: readout weights of this size give outputs of order one.
READOUT_SCALE = 20.0


class MomentBlock(nn.Module):
    """One hidden layer of neurons: `linear`, `norm`, `background` if there is one, `activation`, `dropout` if any."""

    def __init__(
        self,
        linear: MomentLinear | SparseLinear,
        norm: MomentBatchNorm1d,
        activation: MomentActivation,
        background: Background | None = None,
        dropout: MomentDropout | None = None,
    ) -> None:
        super().__init__()
        self.linear, self.norm, self.activation = linear, norm, activation
        self.background, self.dropout = background, dropout

    def forward(self, moments: Moments) -> Moments:
        """Return the moments of the layer's spike trains."""
        moments = self.norm(self.linear(moments))
        if self.background is not None:
            moments = self.background(moments)
        moments = self.activation(moments)
        return moments if self.dropout is None else self.dropout(moments)


class MomentMLP(nn.Module):
    """Feed-forward network of leaky integrate-and-fire neurons, described by mean and covariance.

    Parameters
    ----------
    sizes : sequence of int
        Numbers of inputs (spike trains), of neurons in each hidden layer, and of outputs: at least three numbers.
    lif : LIFParameters, optional
        The hidden neurons; values per neuron need hidden layers of that one size.
    encoder : PoissonEncoder or GaussianEncoder, optional
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
    seed : int or torch.Generator, optional
        Of the initial weights; the global generator by default.
    dtype : torch.dtype, optional
        torch.float32 or torch.float64; torch's default if not given.
    device : torch.device or str, optional
        Where parameters live.

    Attributes
    ----------
    encoder : PoissonEncoder or GaussianEncoder
    blocks : ModuleList of MomentBlock
        Hidden layers, each with `linear`, `norm`, `activation`.
    readout : MomentLinear
        Weighted sum of the last layer's spike trains, with bias: ``output = W · rate + b``.
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
        seed: int | torch.Generator | None = None,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> None:
        super().__init__()
        dtype = dtype or torch.get_default_dtype()
        if dtype not in DTYPES.values():
            raise ValueError(f"`dtype` must be torch.float32 or torch.float64, got {dtype}")
        self.sizes = _checked_sizes(sizes)
        self.lif = LIFParameters() if lif is None else lif
        self.noise = noise
        if noise and correlations == "none":
            raise ValueError("neurons with correlations='none' cannot learn noise: give noise=False")
        self.learn = checked_learn(learn, self.lif)
        self.correlations, self.fixed_std = correlations, float(fixed_std)
        self.in_degree, self.dropout, self.background = in_degree, float(dropout), background
        if self.lif.size is not None and any(n != self.lif.size for n in self.sizes[1:-1]):
            raise ValueError(
                f"`lif` describes {self.lif.size} neurons, but the hidden layers have {list(self.sizes[1:-1])}"
            )
        self.encoder: Encoder = encoder if encoder is not None else PoissonEncoder(self.sizes[0])
        if self.encoder.out_features != self.sizes[0]:
            raise ValueError(
                f"`sizes[0]` must be the number of inputs that the encoder gives, {self.encoder.out_features}, "
                f"got {self.sizes[0]}"
            )
        generator = torch.Generator().manual_seed(seed) if isinstance(seed, int) else seed
        # A ModuleList, typed by what its users do with it: torch's does not know the type of its items.
        self.blocks: Sequence[MomentBlock] = nn.ModuleList(  # type: ignore[assignment]
            self._block(fan_in, fan_out, generator)
            for fan_in, fan_out in zip(self.sizes[:-2], self.sizes[1:-1], strict=True)
        )
        self.readout = MomentLinear(
            self.sizes[-2], self.sizes[-1], bias=True, weight_scale=READOUT_SCALE, generator=generator
        )
        # Drawn in the default precision on the CPU, then moved: the seed means the same weights everywhere.
        self.to(dtype=dtype, device=device)

    def _block(self, fan_in: int, fan_out: int, generator: torch.Generator | None) -> MomentBlock:
        centre, spread, noise_std = _sensitive_currents(self.lif)
        if self.background is not None:
            centre -= self.background.mean
        return MomentBlock(
            MomentLinear(fan_in, fan_out, generator=generator)
            if self.in_degree is None
            else SparseLinear(fan_in, fan_out, self.in_degree, generator=generator),
            MomentBatchNorm1d(
                fan_out, noise=self.noise, initial_bias=centre, initial_weight=spread, initial_noise=noise_std
            ),
            MomentActivation(
                self.lif, fan_out, learn=self.learn, correlations=self.correlations, fixed_std=self.fixed_std
            ),
            self.background,
            MomentDropout(self.dropout, int(torch.randint(2**31, (), generator=generator))) if self.dropout else None,
        )

    def forward(self, features: torch.Tensor) -> Moments:
        """Return the moments of the readout.

        Parameters
        ----------
        features : Tensor, shape (..., in_features)
            As the encoder takes them.

        Returns
        -------
        Moments
            Mean ``W · rate + b``, shape (..., outputs), and long-window covariance per ms: an average over a window
            of T ms has the covariance divided by T.
        """
        return self.readout(self.hidden(features)[-1])

    def hidden(self, features: torch.Tensor) -> list[Moments]:
        """Return the moments of the spike trains of every hidden layer, first to last."""
        moments = self.encoder(features)
        layers = []
        for block in self.blocks:
            moments = block(moments)
            layers.append(moments)
        return layers

    @property
    def dtype(self) -> torch.dtype:
        """Precision of the parameters."""
        return self.readout.weight.dtype

    def parameter_groups(self, learning_rate: float, weight_decay: float = 0.0) -> list[dict[str, Any]]:
        """Return optimiser groups with a learning rate that suits each parameter's size.

        Readout weights are some `READOUT_SCALE` times larger than the others, and optimisers of the Adam family
        move every parameter by about the learning rate whatever its size. Weight decay is for weights only, and
        divided likewise, so that it pulls all weights at one pace.
        """
        readout = [self.readout.weight]
        weights = [parameter for block in self.blocks for parameter in block.linear.parameters()]
        named = {id(parameter) for parameter in [*readout, *weights]}
        others = [parameter for parameter in self.parameters() if id(parameter) not in named]
        return [
            {"params": weights, "lr": learning_rate, "weight_decay": weight_decay},
            {
                "params": readout,
                "lr": learning_rate * READOUT_SCALE,
                "weight_decay": weight_decay / READOUT_SCALE,
            },
            {"params": others, "lr": learning_rate, "weight_decay": 0.0},
        ]

    def config(self) -> dict[str, Any]:
        """Return what builds this network again (as JSON can hold it), apart from its state dict."""
        names: dict[torch.dtype, Literal["float32", "float64"]] = {
            torch.float32: "float32",
            torch.float64: "float64",
        }
        return {
            "sizes": list(self.sizes),
            "lif": self.lif.to_dict(),
            "encoder": self.encoder.config(),
            "noise": self.noise,
            "learn": list(self.learn),
            "correlations": self.correlations,
            "fixed_std": self.fixed_std,
            "in_degree": self.in_degree,
            "dropout": self.dropout,
            "background": None if self.background is None else self.background.config(),
            "dtype": names[self.dtype],
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> MomentMLP:
        """Build the network that `config` describes; load its state dict afterwards.

        Raises
        ------
        ValueError
            If a key is missing or unknown.
        """
        options = {"noise", "learn", "correlations", "fixed_std", "in_degree", "dropout"}
        expected = {"sizes", "lif", "encoder", "background", "dtype", *options}
        if set(config) != expected:
            raise ValueError(f"a network's configuration has the keys {sorted(expected)}, got {sorted(config)}")
        if config["dtype"] not in DTYPES:
            raise ValueError(f"Invalid value {config['dtype']!r} for `dtype`. Must be one of {sorted(DTYPES)}")
        return cls(
            config["sizes"],
            LIFParameters(**config["lif"]),
            encoder_from_config(config["encoder"]),
            background=None if config["background"] is None else background_from_config(config["background"]),
            seed=0,
            dtype=DTYPES[config["dtype"]],
            **{name: config[name] for name in options},
        )


def _sensitive_currents(lif: LIFParameters) -> tuple[float, float, float]:
    """Return centre (at threshold) and spread (its distance from reset) of currents at the start, and their noise.

    The noise moves the membrane by ``σ √(tau_m/2)``, about a sixth of the way from reset to threshold.
    """
    distance = np.subtract(lif.v_th, lif.v_reset)
    return (
        float(np.mean(np.divide(lif.v_th, lif.tau_m))),
        float(np.mean(distance / lif.tau_m)),
        float(np.mean(0.25 * distance / np.sqrt(lif.tau_m))),
    )


def _checked_sizes(sizes: Sequence[int]) -> tuple[int, ...]:
    """Return the sizes as a tuple of positive integers."""
    checked = tuple(int(n) for n in sizes)
    if len(checked) < 3 or any(n < 1 for n in checked) or list(checked) != list(sizes):
        raise ValueError(
            "`sizes` must be at least three positive whole numbers (inputs, hidden layers, outputs), "
            f"got {tuple(sizes)}"
        )
    return checked
