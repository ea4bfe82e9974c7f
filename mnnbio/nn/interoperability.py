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

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, get_args

import torch
from torch.nn.functional import softplus

from mnnbio.machine import check_choice
from mnnbio.neurons import LIFParameters
from mnnbio.nn.encoders import PoissonEncoder
from mnnbio.nn.linear import MomentLinear, SparseLinear, inverse_softplus
from mnnbio.nn.moment_network import MomentNetwork
from mnnbio.nn.spiking_layers import Correlations
from mnnbio.units import shown

# Names of version 0.2 and what they were before: of options, and of the parts of a parameter's name.
OLDER_OPTIONS = {
    "num_classes": "num_class",
    "norm_bias_variance": "bn_bias_var",
    "predict_bias_variance": "predict_bias_var",
    "use_covariance": "use_cov",
    "record_mean_variance": "record_bn_mean_var",
    "linear_bias": "ln_bias",
    "linear_bias_variance": "ln_bias_var",
}
OLDER_PARTS = {"layers": "mlp", "running_variance": "running_var", "bias_variance": "bias_var"}

# Its activation's attributes; `vol_rest` is the reset potential, `L` the inverse of the membrane time constant.
NEURON_ATTRIBUTES = {"L", "t_ref", "vol_th", "vol_rest"}


@dataclass(frozen=True, kw_only=True)
class _Options:
    """Arguments of its `MnnMlp`, with its defaults."""

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

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the shape of every tensor in a state dict, by name."""
        shapes: dict[str, tuple[int, ...]] = {}
        assert self.num_class is not None
        for k, (fan_in, fan_out) in enumerate(zip(self.structure[:-1], self.structure[1:], strict=True)):
            linear, norm = f"mlp.{3 * k}", f"mlp.{3 * k + 1}"
            shapes[f"{linear}.weight"] = (fan_out, fan_in)
            if self.sparse_degree is not None:
                shapes[f"{linear}.sparse_mask"] = (fan_out, fan_in)
            vectors = [f"{norm}.{name}" for name in ("weight", "bias", "running_mean", "running_var")]
            vectors += [f"{linear}.bias"] * self.ln_bias + [f"{linear}.bias_var"] * self.ln_bias_var
            vectors += [f"{norm}.bias_var"] * self.bn_bias_var + [f"{norm}.mean_variance"] * self.record_bn_mean_var
            shapes |= dict.fromkeys(vectors, (fan_out,))
        shapes["predict.weight"] = (self.num_class, self.structure[-1])
        if self.predict_bias:
            shapes["predict.bias"] = (self.num_class,)
        if self.predict_bias_var:
            shapes["predict.bias_var"] = (self.num_class,)
        if self.params_for_criterion:
            shapes["criterion_params"] = (self.num_class - 1,)
        return shapes

    def in_degree(self) -> int | None:
        """Return the in-degree that all layers share, None if they do not or are not sparse."""
        degrees = self.sparse_degree
        if degrees is None or isinstance(degrees, int):
            return degrees
        return degrees[0] if len(set(degrees)) == 1 else None


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """Checkpoint of moment-neural-network, checked: what it is and the tensors that it holds."""

    options: _Options
    correlations: Correlations
    max_rate: float
    lif: LIFParameters
    state: dict[str, torch.Tensor]

    def arguments(self) -> dict[str, Any]:
        """Return the arguments of the `MomentMLP` that the checkpoint describes, in its precision."""
        options, structure = self.options, list(self.options.structure)
        return {
            "sizes": (*structure, options.num_class),
            "lif": self.lif,
            "encoder": PoissonEncoder(structure[0], self.max_rate),
            "noise": options.bn_bias_var or options.ln_bias_var,
            "correlations": self.correlations,
            "in_degree": options.in_degree(),
            "readout_noise": options.predict_bias_var,
            "momentum": 1 - options.momentum,
            "eps": options.eps,
            "seed": 0,
            "dtype": torch.float64 if self.state["predict.weight"].dtype == torch.float64 else torch.float32,
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
            block.norm.weight.copy_(state[f"{norm}.weight"])
            block.norm.bias.copy_(state[f"{norm}.bias"])
            block.norm.running_var.copy_(state[f"{norm}.running_var"])
            # A constant added before the normalisation is a displacement of the running mean.
            block.norm.running_mean.copy_(state[f"{norm}.running_mean"] - state.get(f"{linear}.bias", 0.0))
            if block.norm.raw_noise is not None:
                scale = state[f"{norm}.weight"] ** 2 / (state[f"{norm}.running_var"] + options.eps)
                variance = torch.zeros_like(scale)
                if options.bn_bias_var:
                    variance += softplus(state[f"{norm}.bias_var"])
                if options.ln_bias_var:
                    variance += scale * softplus(state[f"{linear}.bias_var"])
                block.norm.raw_noise.copy_(inverse_softplus(variance.sqrt()))
        readout = model.readout
        assert readout.bias is not None
        readout.weight.copy_(state["predict.weight"])
        readout.bias.copy_(state.get("predict.bias", torch.zeros(model.outputs)))
        if readout.raw_bias_std is not None:
            readout.raw_bias_std.copy_(inverse_softplus(softplus(state["predict.bias_var"]).sqrt()))


def read_checkpoint(
    state_dict: Mapping[str, Any], config: Mapping[str, Any], correlations: Correlations | None = None
) -> Checkpoint:
    """Return a checkpoint, checked. Parameters and errors are those of `MomentMLP.from_moment_neural_network`."""
    for name, value in (("state_dict", state_dict), ("config", config)):
        if not isinstance(value, Mapping):
            raise TypeError(f"`{name}` must be a mapping, got {shown(value)}")
    if correlations is None:
        if "structure" in config.get("MODEL", config):  # the arguments of some network, of which it does not say
            raise ValueError(
                "the configuration does not say what the network passes on: give correlations='full' (of its MnnMlp), "
                "'variance' (of its MnnMlpNoRho) or 'none' (of its MnnMlpMeanOnly)"
            )
        correlations = "full"
    check_choice("correlations", correlations, sorted(get_args(Correlations)))
    options, max_rate, lif = _read_config(config)
    state = _read_state(state_dict, options.shapes())
    if correlations == "none" and (options.bn_bias_var or options.ln_bias_var):
        raise ValueError(
            "a network with correlations='none' has no noise: `bn_bias_var` and `ln_bias_var` must be false"
        )
    return Checkpoint(options=options, correlations=correlations, max_rate=max_rate, lif=lif, state=state)


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


def _read_config(config: Mapping[str, Any]) -> tuple[_Options, float, LIFParameters]:
    """Return the network's options, the rate of an input of value 1 (spikes/ms), and the neurons."""
    model = config.get("MODEL", config)
    arguments = model
    if "structure" not in model:
        meta = model.get("meta") or {}
        kind = (meta.get("arch"), meta.get("mlp_type"))
        if kind != ("mnn_mlp", "mnn_mlp"):
            raise ValueError(
                f"the checkpoint must be of the architecture `arch: mnn_mlp` with `mlp_type: mnn_mlp`, the "
                f"configuration says `arch: {kind[0]}`, `mlp_type: {kind[1]}`. Of a network without correlations give "
                "its arguments (`structure` and so on) alone, and `correlations`"
            )
        arguments = model.get("mnn_mlp") or {}
    given = {OLDER_OPTIONS.get(name, name): value for name, value in arguments.items()}
    if unknown := sorted(set(given) - {field.name for field in fields(_Options)}):
        raise ValueError(f"unknown options in the configuration of `mnn_mlp`: {', '.join(unknown)}")
    if "structure" not in given:
        raise ValueError("the configuration of `mnn_mlp` must have the key `structure`: inputs and hidden layers")
    options = _Options(**given)
    if options.num_class is None or options.use_cov or not options.use_mean:
        raise ValueError(
            "only networks that decode the mean by a linear readout can be read: `num_class` must be a number, "
            f"`use_mean` true and `use_cov` false, got {options.num_class}, {options.use_mean} and {options.use_cov}"
        )
    for name, accepted in (("input_prepare", (None, "flatten_poisson")), ("background_noise", (None, 0))):
        if config.get(name) not in accepted:
            raise ValueError(
                f"`{name}` must be one of {list(accepted)} for a network to be read, got {config[name]!r}: other "
                "inputs have no equal among the encoders"
            )
    neuron = dict(config.get("MnnActivationConfig") or {})
    if unknown := sorted(set(neuron) - NEURON_ATTRIBUTES):
        raise ValueError(
            f"`MnnActivationConfig` may set {', '.join(sorted(NEURON_ATTRIBUTES))} for a network to be read, got "
            f"{', '.join(unknown)}"
        )
    lif = LIFParameters(
        tau_m=1 / neuron.get("L", 0.05),
        v_th=neuron.get("vol_th", 20.0),
        v_reset=neuron.get("vol_rest", 0.0),
        t_ref=neuron.get("t_ref", 5.0),
    )
    return options, float(config.get("scale_factor", 1.0)), lif


def _read_state(state_dict: Mapping[str, Any], shapes: dict[str, tuple[int, ...]]) -> dict[str, torch.Tensor]:
    """Return the tensors by their names of version 0.1, after a check that they are those expected."""
    given: Mapping[str, Any] = state_dict.get("state_dict", state_dict)
    state, shown = {}, {}
    for name, tensor in given.items():
        parts = name.removeprefix("module.").split(".")  # the prefix that distributed training leaves
        older = ".".join(OLDER_PARTS.get(part, part) for part in parts)
        state[older], shown[older] = tensor, name
    if any(re.fullmatch(r"(mlp\.\d+|predict)\.(linear|bn|norm)\..*", name) for name in state):
        raise ValueError(
            "the state dict is of another architecture: its layers are blocks (`snn_mlp`, a spiking readout), those of "
            "`mnn_mlp` are not"
        )
    problems = []
    if missing := [name for name in shapes if name not in state]:
        problems.append(f"missing: {', '.join(missing)}")
    if unexpected := [shown[name] for name in state if name not in shapes]:
        problems.append(f"unexpected: {', '.join(unexpected)}")
    if problems:
        raise ValueError(f"the keys of the state dict do not fit the configuration; {'; '.join(problems)}")
    for name, shape in shapes.items():
        if tuple(state[name].shape) != shape:
            raise ValueError(
                f"`{shown[name]}` must have the shape {shape} by the configuration, got {tuple(state[name].shape)}"
            )
    return state
