"""Checkpoints of the public project moment-neural-network, read as networks of ours.

Where the two differ in evaluation mode: its activation takes ``√variance + 10⁻⁵`` mV/√ms as the standard deviation, and
approximates the integrals to 4·10⁻⁶. Everything else is taken over exactly; `docs/from_moment_neural_network.md` has
the names side by side.

References
----------
Y. Qi, Z. Zhu, Y. Wei, L. Cao, Z. Wang, J. Zhang, W. Lu, J. Feng (2023), Toward stochastic neural computing,
arXiv:2305.13982; https://github.com/BrainsoupFactory/moment-neural-network, versions 0.1 and 0.2.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, get_args

import torch
from torch.nn.functional import softplus

from mnnbio.machine import check_choice
from mnnbio.neurons import LIFParameters
from mnnbio.nn.correlated_inputs import CommonNoiseEncoder
from mnnbio.nn.encoders import Encoder, PoissonEncoder
from mnnbio.nn.linear import MomentLinear, SparseLinear, inverse_softplus
from mnnbio.nn.moment_network import MomentNetwork
from mnnbio.nn.spiking_layers import Correlations
from mnnbio.units import real_number, shown

# Names of version 0.2 and what they were before: of options, and of the parts of a parameter's name. Those of blocks
# (`snn_mlp`) are brought to those of layers, which they are made of.
OLDER_OPTIONS = {
    "num_classes": "num_class",
    "norm_bias_variance": "bn_bias_var",
    "bias_variance": "bn_bias_var",
    "predict_bias_variance": "predict_bias_var",
    "use_covariance": "use_cov",
    "record_mean_variance": "record_bn_mean_var",
    "record_mean_var": "record_bn_mean_var",
    "linear_bias": "ln_bias",
    "ln_bias_mean": "ln_bias",
    "linear_bias_variance": "ln_bias_var",
    "threshold_voltage": "V_th",
    "membrane_conductance": "L",
    "refractory_time": "T_ref",
    "batch_norm_init": "bn_init",
}
OLDER_PARTS = {"layers": "mlp", "running_variance": "running_var", "bias_variance": "bias_var"}

# Its activation's attributes; `vol_rest` is the reset potential, `L` the inverse of the membrane time constant.
NEURON_ATTRIBUTES = {"L", "t_ref", "vol_th", "vol_rest"}
# Attributes that it has and never uses for what the activation returns.
IDLE_ATTRIBUTES = {"correction_factor", "degree", "eps", "ignore_t_ref", "ratio", "special_factor"}
# Rates are 0 there where the threshold is so many deviations away; below e^−25/ms from this on, none is missed.
LEAST_CUT_OFF = 5.0

BLOCKS = re.compile(r"(mlp\.\d+|predict)\.(linear|bn|norm)\..*")
INPUTS = ("flatten_poisson", "poisson_no_rho", "cov_embed")


@dataclass(frozen=True, kw_only=True)
class _Options:
    """Arguments of its networks, with the defaults of its `MnnMlp`."""

    structure: Sequence[int]
    num_class: int | None = 10
    bn_bias_var: bool = False
    predict_bias: bool = False
    predict_bias_var: bool = False
    use_mean: bool = True
    use_cov: bool = False
    special_init: bool = True
    dropout: float | None = None
    momentum: float = 0.9
    eps: float = 1e-5
    record_bn_mean_var: bool = False
    signal_correlation: bool = False
    ln_bias: bool = False
    ln_bias_var: bool = False
    sparse_degree: int | Sequence[int] | None = None
    params_for_criterion: bool = False
    # Of blocks: the kind of normalisation, and whether it has parameters.
    norm_type: str = "bn_custom"
    affine: bool = True
    activation: str = "raw"
    # Of networks of means alone: the neurons.
    V_th: float | None = None
    L: float | None = None
    T_ref: float | None = None
    bn_init: bool = True

    @property
    def reads(self) -> str:
        """What the readout weighs, by its name here."""
        if not self.use_cov:
            return "mean"
        if not self.use_mean:
            return "covariance"
        return "second_moments" if self.signal_correlation else "mean_and_covariance"

    @property
    def torch_norm(self) -> bool:
        """Whether means are normalised by torch's own layer, which counts batches."""
        return self.norm_type not in ("bn_custom", "custom")

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the shape of every tensor in a state dict, by name."""
        shapes: dict[str, tuple[int, ...]] = {}
        degrees = self.degrees()
        for k, (fan_in, fan_out) in enumerate(zip(self.structure[:-1], self.structure[1:], strict=True)):
            linear, norm = f"mlp.{3 * k}", f"mlp.{3 * k + 1}"
            shapes[f"{linear}.weight"] = (fan_out, fan_in)
            if degrees[k] is not None:
                shapes[f"{linear}.sparse_mask"] = (fan_out, fan_in)
            own = ("weight", "bias", "running_mean", "running_var") if self.affine else ("running_mean", "running_var")
            vectors = [f"{norm}.{name}" for name in own]
            vectors += [f"{linear}.bias"] * self.ln_bias + [f"{linear}.bias_var"] * self.ln_bias_var
            vectors += [f"{norm}.bias_var"] * self.bn_bias_var + [f"{norm}.mean_variance"] * self.record_bn_mean_var
            shapes |= dict.fromkeys(vectors, (fan_out,))
        if self.num_class is None:
            return shapes
        shapes["predict.weight"] = (self.num_class, self.statistics())
        if self.predict_bias:
            shapes["predict.bias"] = (self.num_class,)
        if self.predict_bias_var and not self.use_cov:
            shapes["predict.bias_var"] = (self.num_class,)
        if self.params_for_criterion:
            shapes["criterion_params"] = (self.num_class - 1,)
        return shapes

    def statistics(self) -> int:
        """Return how many numbers the readout weighs."""
        neurons = self.structure[-1]
        pairs = neurons * (neurons + 1) // 2
        return {"mean": neurons, "mean_and_covariance": neurons + pairs}.get(self.reads, pairs)

    def degrees(self) -> list[int | None]:
        """Return the in-degree of every layer, None of layers that are not sparse."""
        layers = len(self.structure) - 1
        if self.sparse_degree is None or isinstance(self.sparse_degree, int):
            return [self.sparse_degree] * layers
        return list(self.sparse_degree)

    def in_degree(self) -> int | None:
        """Return the in-degree that all layers share, None if they do not or are not sparse."""
        degrees = set(self.degrees())
        return degrees.pop() if len(degrees) == 1 else None


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """Checkpoint of moment-neural-network, checked: what it is and the tensors that it holds."""

    options: _Options
    correlations: Correlations
    encoder: Encoder
    lif: LIFParameters
    state: dict[str, torch.Tensor]

    def arguments(self) -> dict[str, Any]:
        """Return the arguments of the `MomentMLP` that the checkpoint describes, in its precision.

        One without a readout gets a single output, which means nothing.
        """
        options = self.options
        means_alone = self.correlations == "none"
        return {
            "sizes": (*options.structure, 1 if options.num_class is None else options.num_class),
            "lif": self.lif,
            "encoder": self.encoder,
            "noise": options.bn_bias_var or options.ln_bias_var,
            "correlations": self.correlations,
            "in_degree": options.in_degree(),
            "readout_noise": options.predict_bias_var and not options.use_cov,
            "reads": "mean" if options.num_class is None else options.reads,
            # Networks of means have torch's normalisation, whose momentum is that of ours.
            "momentum": options.momentum if means_alone else 1 - options.momentum,
            "eps": options.eps,
            "total_variance": not (means_alone or options.torch_norm),
            "seed": 0,
            "dtype": torch.float64 if self.state["mlp.0.weight"].dtype == torch.float64 else torch.float32,
        }

    @torch.no_grad()
    def fill(self, model: MomentNetwork) -> None:
        """Set the parameters of the network of these arguments."""
        options = self.options
        state = {name: tensor.to(torch.float64) for name, tensor in self.state.items()}
        for k, block in enumerate(model.blocks):
            linear, norm = f"mlp.{3 * k}", f"mlp.{3 * k + 1}"
            assert isinstance(block.linear, MomentLinear | SparseLinear)
            _set_weight(block.linear, state[f"{linear}.weight"], state.get(f"{linear}.sparse_mask"), linear)
            running_var = state[f"{norm}.running_var"]
            weight = state.get(f"{norm}.weight", torch.ones_like(running_var))
            block.norm.weight.copy_(weight)
            block.norm.bias.copy_(state.get(f"{norm}.bias", torch.zeros_like(running_var)))
            block.norm.running_var.copy_(running_var)
            # A constant added before the normalisation is a displacement of the running mean.
            block.norm.running_mean.copy_(state[f"{norm}.running_mean"] - state.get(f"{linear}.bias", 0.0))
            if block.norm.raw_noise is not None:
                scale = weight**2 / (running_var + options.eps)
                variance = torch.zeros_like(scale)
                if options.bn_bias_var:
                    variance += softplus(state[f"{norm}.bias_var"])
                if options.ln_bias_var:
                    variance += scale * softplus(state[f"{linear}.bias_var"])
                block.norm.raw_noise.copy_(inverse_softplus(variance.sqrt()))
        if options.num_class is None:
            return
        readout = model.readout
        assert readout.bias is not None
        readout.weight.copy_(state["predict.weight"])
        readout.bias.copy_(state.get("predict.bias", torch.zeros(model.outputs)))
        if isinstance(readout, MomentLinear) and readout.raw_bias_std is not None:
            readout.raw_bias_std.copy_(inverse_softplus(softplus(state["predict.bias_var"]).sqrt()))


def read_checkpoint(
    state_dict: Mapping[str, Any], config: Mapping[str, Any], correlations: Correlations | None = None
) -> Checkpoint:
    """Return a checkpoint, checked. Parameters and errors are those of `MomentMLP.from_moment_neural_network`."""
    for name, value in (("state_dict", state_dict), ("config", config)):
        if not isinstance(value, Mapping):
            raise TypeError(f"`{name}` must be a mapping, got {shown(value)}")
    given = _names_of_version_0_1(state_dict)
    arguments, kind = _arguments(config, given)
    if correlations is None:
        if kind is None:  # the arguments of some network, of which it does not say
            raise ValueError(
                "the configuration does not say what the network passes on: give correlations='full' (of its MnnMlp), "
                "'variance' (of its MnnMlpNoRho) or 'none' (of its MnnMlpMeanOnly)"
            )
        correlations = "full" if kind in ("mnn_mlp", "snn_mlp") else "variance"
    check_choice("correlations", correlations, sorted(get_args(Correlations)))
    options = _options(arguments, correlations, kind)
    if kind == "snn_mlp":
        options, given = _without_blocks(options, given)
    ignored = ["decoder"] if options.use_cov else []  # there the readout has two names
    ignored += ["num_batches_tracked"] if correlations == "none" or options.torch_norm else []
    state = _checked_state(given, options.shapes(), ignored)
    if correlations == "none" and (options.bn_bias_var or options.ln_bias_var):
        raise ValueError(
            "a network with correlations='none' has no noise: `bn_bias_var` and `ln_bias_var` must be false"
        )
    return Checkpoint(
        options=options,
        correlations=correlations,
        encoder=_encoder(config, options.structure[0]),
        lif=_neuron(config, options),
        state=state,
    )


def _set_weight(layer: MomentLinear | SparseLinear, weight: torch.Tensor, mask: torch.Tensor | None, name: str) -> None:
    if isinstance(layer, MomentLinear):
        layer.weight.copy_(weight if mask is None else weight * mask)
        return
    assert mask is not None
    degrees = (mask != 0).sum(1)
    if bool((degrees != layer.in_degree).any()):
        raise ValueError(
            f"`{name}.sparse_mask` must have {layer.in_degree} ones in every row, as `sparse_degree` says, got "
            f"{int(degrees[degrees != layer.in_degree][0])} in row {int((degrees != layer.in_degree).nonzero()[0])}"
        )
    layer.sources.copy_(mask.nonzero()[:, 1].reshape_as(layer.sources))
    layer.values.copy_((weight * mask).gather(1, layer.sources))


def _arguments(config: Mapping[str, Any], state: Mapping[str, Any]) -> tuple[Mapping[str, Any], str | None]:
    """Return the arguments of the network and its kind, None where the configuration does not tell."""
    model = config.get("MODEL", config)
    if "structure" in model:
        return model, "snn_mlp" if any(BLOCKS.fullmatch(name) for name in state) else None
    meta = model.get("meta") or {}
    arch, kind = meta.get("arch"), meta.get("mlp_type")
    if arch != "mnn_mlp" or kind is None:
        raise ValueError(
            "the checkpoint must be of the architecture `arch: mnn_mlp`, with the name of its arguments as `mlp_type`; "
            f"the configuration says `arch: {arch}`, `mlp_type: {kind}`. Else give the arguments of the network "
            "(`structure` and so on) alone, and `correlations`"
        )
    return model.get(kind) or {}, kind


def _options(arguments: Mapping[str, Any], correlations: Correlations, kind: str | None) -> _Options:
    name = kind or "the network"
    given = {OLDER_OPTIONS.get(name, name): value for name, value in arguments.items()}
    if unknown := sorted(set(given) - {field.name for field in fields(_Options)}):
        raise ValueError(f"unknown options in the configuration of `{name}`: {', '.join(unknown)}")
    if "structure" not in given:
        raise ValueError(f"the configuration of `{name}` must have the key `structure`: inputs and hidden layers")
    if correlations == "none":
        given = {"predict_bias": True} | given  # its default
    options = _Options(**given)
    if not (options.use_mean or options.use_cov):
        raise ValueError("`use_mean` and `use_cov` are false: nothing is read")
    if options.use_cov and (kind == "snn_mlp" or options.num_class is None):
        raise ValueError(
            "`use_cov` without a readout gives the statistics of the last neurons as they are: give `use_cov: false`, "
            "and take mean and covariance of what the network returns"
        )
    return options


def _without_blocks(options: _Options, state: Mapping[str, torch.Tensor]) -> tuple[_Options, dict[str, torch.Tensor]]:
    """Return options and tensors of a network of blocks as those of the layers that they are made of.

    Its output is a block too: one layer more, and no readout.
    """
    structure, degrees = list(options.structure), options.degrees()
    if options.num_class is not None:
        structure, degrees = [*structure, options.num_class], [*degrees, None]
    named = {}
    for name, tensor in state.items():
        if not BLOCKS.fullmatch(name):
            named[name] = tensor
            continue
        path = name.replace("predict.", f"mlp.{len(options.structure) - 1}.", 1).split(".")
        number, part = int(path[1]), path[2]
        rest = [own for own in path[3:] if own not in ("bn_mean", "batch_norm_mean")]
        named[".".join(["mlp", str(3 * number + (part != "linear")), *rest])] = tensor
    sparse = degrees if options.sparse_degree is not None else None
    standard = {"momentum": 0.9, "eps": 1e-5} if options.torch_norm else {}
    return replace(options, structure=structure, num_class=None, sparse_degree=sparse, **standard), named  # type: ignore[arg-type]


def _encoder(config: Mapping[str, Any], inputs: int) -> Encoder:
    """Return how features become inputs."""
    how, noise = config.get("input_prepare"), config.get("background_noise") or 0.0
    if how not in (None, *INPUTS):
        raise ValueError(f"`input_prepare` must be one of {[None, *INPUTS]} for a network to be read, got {how!r}")
    noise = real_number(noise, "background_noise")
    if noise < 0:
        raise ValueError(f"`background_noise` is a variance and must be ≥ 0, got {noise}")
    scale, noise_std = float(config.get("scale_factor", 1.0)), math.sqrt(noise) if how else 0.0
    if how == "cov_embed":
        return CommonNoiseEncoder(inputs, scale, noise_std)
    return PoissonEncoder(inputs, scale, noise_std=noise_std)


def _neuron(config: Mapping[str, Any], options: _Options) -> LIFParameters:
    """Return the neurons, whose parameters are global there, or of the network itself."""
    neuron = dict(config.get("MnnActivationConfig") or {})
    if unknown := sorted(set(neuron) - NEURON_ATTRIBUTES - IDLE_ATTRIBUTES - {"cut_off"}):
        raise ValueError(
            f"`MnnActivationConfig` may set {', '.join(sorted(NEURON_ATTRIBUTES))} for a network to be read, got "
            f"{', '.join(unknown)}"
        )
    if neuron.get("cut_off", LEAST_CUT_OFF) < LEAST_CUT_OFF:
        raise ValueError(
            f"`cut_off` must be ≥ {LEAST_CUT_OFF:g} for a network to be read, got {neuron['cut_off']}: it would "
            "silence neurons that fire"
        )
    own = {"L": options.L, "vol_th": options.V_th, "t_ref": options.T_ref}
    neuron |= {name: value for name, value in own.items() if value is not None}
    return LIFParameters(
        tau_m=1 / neuron.get("L", 0.05),
        v_th=neuron.get("vol_th", 20.0),
        v_reset=neuron.get("vol_rest", 0.0),
        t_ref=neuron.get("t_ref", 5.0),
    )


def _names_of_version_0_1(state_dict: Mapping[str, Any]) -> dict[str, Any]:
    """Return tensors by their older names, without the prefix that distributed training leaves."""
    given: Mapping[str, Any] = state_dict.get("state_dict", state_dict)
    state = {}
    for name, tensor in given.items():
        parts = str(name).removeprefix("module.").split(".")
        state[".".join(OLDER_PARTS.get(part, part) for part in parts)] = tensor
    return state


def _checked_state(
    state: Mapping[str, Any], shapes: dict[str, tuple[int, ...]], ignored: Sequence[str]
) -> dict[str, torch.Tensor]:
    """Return the tensors after a check that they are those expected, apart from names with an ignored part."""
    kept = {name: tensor for name, tensor in state.items() if not set(name.split(".")) & set(ignored)}
    problems = []
    if missing := [name for name in shapes if name not in kept]:
        problems.append(f"missing: {', '.join(missing)}")
    if unexpected := [name for name in kept if name not in shapes]:
        problems.append(f"unexpected: {', '.join(unexpected)}")
    if problems:
        raise ValueError(f"the keys of the state dict do not fit the configuration; {'; '.join(problems)}")
    for name, shape in shapes.items():
        if tuple(kept[name].shape) != shape:
            raise ValueError(
                f"`{name}` must have the shape {shape} by the configuration, got {tuple(kept[name].shape)}"
            )
    return kept
