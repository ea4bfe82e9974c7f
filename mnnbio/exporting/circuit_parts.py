"""The parts of a circuit that the layers of a moment network become, collected one layer after the other."""

from __future__ import annotations

import inspect
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy import sparse
from torch import Tensor, nn

from mnnbio.circuit import (
    Circuit,
    Drive,
    GaussianDrive,
    ModeMatrix,
    PoissonDrive,
    PoissonSource,
    Population,
    Projection,
    Readout,
)
from mnnbio.exporting.signals import (
    Array,
    Mean,
    Signal,
    Weights,
    added,
    array,
    columns,
    is_trains,
    joined,
    matrix_of,
    side_by_side,
    trains_of,
)
from mnnbio.nn import (
    CorrelatedEncoder,
    CovarianceReadout,
    GaussianBackground,
    GaussianEncoder,
    MeanDecoder,
    ModeLinear,
    MomentActivation,
    MomentAvgPool2d,
    MomentBatchNorm1d,
    MomentBatchNorm2d,
    MomentBlock,
    MomentConv2d,
    MomentDropout,
    MomentLinear,
    MomentNetwork,
    MomentRecurrent,
    MomentSumPool2d,
    PoissonBackground,
    PoissonEncoder,
    SparseLinear,
    WindowDecoder,
)

INPUT, HIDDEN = "input", "hidden"
PACKAGES = (str(Path(__file__).resolve().parents[1]), str(Path(torch.__file__).resolve().parent))


class ReadoutNoiseWarning(UserWarning):
    """A network's readout has noise of its own, which a readout of spike counts has not."""


def level_of_user() -> int:
    """Return the `stacklevel` of a warning, given by the caller, that names the code which called this package."""
    frame, level = inspect.currentframe(), 0
    while frame is not None and str(Path(frame.f_code.co_filename).resolve()).startswith(PACKAGES):
        frame, level = frame.f_back, level + 1
    return max(1, level)


@dataclass
class Parts:
    """Populations, projections and drives of a circuit as far as its layers are known."""

    populations: list[PoissonSource | Population] = field(default_factory=list)
    projections: list[Projection] = field(default_factory=list)
    drives: list[Drive] = field(default_factory=list)
    noise: dict[int, str] = field(default_factory=dict)  # population that each common noise reaches
    origins: int = 0  # of noise

    def new_origin(self) -> int:
        """Return the number of a new origin of noise."""
        self.origins += 1
        return self.origins

    def free_name(self, wanted: str) -> str:
        """Return a name that no population has yet."""
        taken, name, number = {p.name for p in self.populations}, wanted, 1
        while name in taken:
            number += 1
            name = f"{wanted}_{number}"
        return name

    def source(self, rates: Array) -> Signal:
        """Return the trains of a new source of Poisson spikes of given rates, ([stimulus,] n), 1/ms."""
        name, size = self.free_name(INPUT), rates.shape[-1]
        number = sum(isinstance(p, PoissonSource) for p in self.populations)
        self.populations.insert(number, PoissonSource(name, size, rates=rates))
        return trains_of(name, size)

    def neurons(self, wanted: str, activation: MomentActivation, currents: Signal) -> Signal:
        """Return the trains of a new population of neurons that receives currents."""
        name = self.free_name(wanted)
        population = Population(name, currents.size, activation.lif())
        for source, weights in currents.terms.items():
            self.projections.append(Projection(source, name, weights=weights))
        for rate, weight in currents.jumps:
            self.drives.append(PoissonDrive(name, rate, weight))
        used = {number: values for number, values in currents.loadings.items() if values.any()}
        for number in used:
            if number in self.noise:
                raise ValueError(
                    f"the noise of one encoder reaches {self.noise[number]!r} and {name!r}: drives of two populations "
                    "have no noise in common. Encode by PoissonEncoder, or by GaussianEncoder with std=0"
                )
            self.noise[number] = name
        factor = side_by_side(list(used.values())) if used else None
        std = np.hypot(currents.std, activation.fixed_std)
        self.populations.append(population)
        self.drives.append(GaussianDrive(name, mean=currents.constant, std=std, factor=factor))
        found = trains_of(name, population.size)
        return found._replace(above=found.above | currents.above)

    def readout(self, signal: Signal, name: str | None, labels: Sequence[Any] | None) -> Readout | None:
        """Return how an output reads spike counts; None where it is the trains of a population themselves."""
        if is_trains(signal):
            return None
        what = "an output" if name is None else f"the output {name!r}"
        sources = {p.name for p in self.populations if isinstance(p, PoissonSource)}
        if direct := sorted(set(signal.terms) & sources):
            raise ValueError(
                f"{what} reads the input {direct[0]!r} itself, which is no population of neurons and not recorded: let "
                "a layer of neurons (MomentActivation) read it first"
            )
        if not signal.terms or signal.constant.ndim > 1 or any(values.any() for values in signal.loadings.values()):
            raise ValueError(f"{what} reads currents, not spikes: let a layer of neurons (MomentActivation) come first")
        if signal.jumps:
            raise ValueError(f"{what} has a background of its own, which readouts of spike counts have not")
        if signal.std.any():
            warnings.warn(
                "the noise of the network's readout is left out: a readout of spike counts has that of the spikes only",
                ReadoutNoiseWarning,
                stacklevel=level_of_user(),
            )
        order = [p.name for p in self.populations if p.name in signal.terms]
        return Readout(
            order[0] if len(order) == 1 else tuple(order),
            columns(signal.terms, order),
            signal.constant,
            None if labels is None else tuple(str(label) for label in labels),
            name,
        )

    def circuit(self, readouts: Sequence[Readout]) -> Circuit:
        """Return the circuit of all parts."""
        return Circuit(self.populations, self.projections, self.drives, tuple(readouts) or None)


Handler = Callable[[Parts, Any, str, Any], Any]


def _encode(parts: Parts, encoder: PoissonEncoder | GaussianEncoder, name: str, features: Any) -> Signal:
    _require_features(encoder, name, features)
    given = encoder(encoder.clipped(features.to(encoder.scale), stacklevel=level_of_user() + 1))
    mean = array(given.mean)
    if isinstance(encoder, PoissonEncoder):
        return _with_noise(parts, parts.source(mean), encoder.noise_std * np.eye(mean.shape[-1]))
    return _with_noise(parts, _constants(mean), encoder.std * np.eye(mean.shape[-1]))


def _encode_correlated(parts: Parts, encoder: CorrelatedEncoder, name: str, features: Any) -> Signal:
    _require_features(encoder, name, features)
    with torch.no_grad():
        given = encoder(features)
        given.covariance.check()
    values, vectors = np.linalg.eigh(array(given.covariance.to_dense()))
    # Of those that are 0, rounding makes −1e-16.
    root = vectors * np.sqrt(np.maximum(values, 0.0))[..., None, :]
    return _with_noise(parts, _constants(array(given.mean)), root)


def _constants(mean: Array) -> Signal:
    return Signal({}, mean, np.zeros(mean.shape[-1]), {})


def _with_noise(parts: Parts, signal: Signal, loadings: Array) -> Signal:
    """Return a signal with noise of a new origin added to it."""
    if not loadings.any():
        return signal
    number = parts.new_origin()
    return signal._replace(loadings={number: loadings}, above=signal.above | {f"noise {number}"})


def _require_features(encoder: nn.Module, name: str, features: Any) -> None:
    if not isinstance(features, Tensor):
        raise TypeError(f"{name or 'the encoder'} encodes features, got moments")
    n: Any = encoder.in_features
    if features.ndim not in (1, 2) or features.shape[-1] != n:
        raise ValueError(f"`stimulus` must have shape ({n},) or (stimulus, {n}), got {tuple(features.shape)}")


def _weigh(parts: Parts, layer: Any, name: str, signal: Any) -> Signal:
    _require_signal(layer, name, signal)
    if isinstance(layer, ModeLinear):
        factors = (array(layer.input_modes), array(layer.scores), array(layer.output_modes))
        weights: Weights = ModeMatrix(*factors)
    elif isinstance(layer, MomentConv2d | MomentAvgPool2d | MomentSumPool2d):
        like = torch.empty(0, dtype=torch.float64)
        weights = matrix_of(layer.map() if isinstance(layer, MomentConv2d) else layer.map(like))
    else:
        weights = array(layer.weight)
        if isinstance(layer, SparseLinear):
            weights = sparse.csr_array(weights)
    if weights.shape[1] != signal.size:
        raise ValueError(f"{_at(layer, name)} takes {weights.shape[1]} variables, got {signal.size}")
    _require_no_jumps(layer, name, signal)
    found = signal.mapped(weights, parts.new_origin())
    bias = getattr(layer, "bias", None)
    if bias is not None:
        found = found._replace(constant=found.constant + array(bias))
    noise = getattr(layer, "bias_std", None)
    return found if noise is None else found._replace(std=np.hypot(found.std, array(noise)))


def _normalise(parts: Parts, norm: MomentBatchNorm1d | MomentBatchNorm2d, name: str, signal: Any) -> Signal:
    _require_signal(norm, name, signal)
    _require_no_jumps(norm, name, signal)
    scale, shift, noise = (array(values) for values in norm.affine())
    found = signal.scaled(scale)
    return found._replace(constant=found.constant + shift, std=np.hypot(found.std, noise))


def _excite(parts: Parts, background: PoissonBackground | GaussianBackground, name: str, signal: Any) -> Signal:
    _require_signal(background, name, signal)
    if isinstance(background, PoissonBackground):
        found: Signal = signal._replace(jumps=(*signal.jumps, (background.rate, background.weight)))
        return found
    constant, std = signal.constant + background.mean, np.hypot(signal.std, background.std)
    return signal._replace(constant=constant, std=std)  # type: ignore[no-any-return]


def _fire(parts: Parts, activation: MomentActivation, name: str, signal: Any) -> Signal:
    _require_signal(activation, name, signal)
    return parts.neurons(population_name(name), activation, signal)


def _recur(parts: Parts, layer: MomentRecurrent, name: str, signal: Any) -> Signal:
    _require_signal(layer, name, signal)
    found = parts.neurons(population_name(name), layer.activation, signal)
    (population,) = found.terms
    weights = sparse.csr_array(array(layer.weight))
    parts.projections.append(Projection(population, population, weights=weights))
    return found


def _pass_on(parts: Parts, module: nn.Module, name: str, signal: Any) -> Any:
    return signal


def _read_window(parts: Parts, decoder: WindowDecoder, name: str, signal: Any) -> Signal:
    _require_signal(decoder, name, signal)
    return signal  # type: ignore[no-any-return]


def _read_covariances(parts: Parts, readout: CovarianceReadout, name: str, signal: Any) -> Mean:
    _require_signal(readout, name, signal)
    if not is_trains(signal) or signal.size != readout.in_features:
        raise ValueError(
            f"{_at(readout, name)} must read the trains of {readout.in_features} neurons as they are to be exported: "
            "let it follow their MomentActivation, without weights or pooling between"
        )
    return Mean(signal)


def _network(parts: Parts, network: MomentNetwork, name: str, features: Any) -> Signal | Mean:
    """Return the output of a whole network: its blocks by their place."""
    encode = _encode_correlated if isinstance(network.encoder, CorrelatedEncoder) else _encode
    signal = encode(parts, network.encoder, f"{name}.encoder".lstrip("."), features)  # type: ignore[arg-type]
    number = len(network.blocks)
    for k, block in enumerate(network.blocks):
        own = HIDDEN if number == 1 else f"{HIDDEN}_{k + 1}"
        signal = _block(parts, block, own if not name else f"{population_name(name)}_{own}", signal)
        if block.pool is not None:
            signal = _weigh(parts, block.pool, name, signal)
    read = _read_covariances if isinstance(network.readout, CovarianceReadout) else _weigh
    return read(parts, network.readout, f"{name}.readout".lstrip("."), signal)  # type: ignore[arg-type]


def _block(parts: Parts, block: MomentBlock, population: str, signal: Signal) -> Signal:
    currents = _normalise(parts, block.norm, population, _weigh(parts, block.linear, population, signal))
    if block.background is not None:
        currents = _excite(parts, block.background, population, currents)
    return parts.neurons(population, block.activation, currents)


HANDLERS: dict[type[nn.Module], Handler] = {
    PoissonEncoder: _encode,
    GaussianEncoder: _encode,
    MomentLinear: _weigh,
    ModeLinear: _weigh,
    SparseLinear: _weigh,
    MomentConv2d: _weigh,
    MomentAvgPool2d: _weigh,
    MomentSumPool2d: _weigh,
    MomentBatchNorm1d: _normalise,
    MomentBatchNorm2d: _normalise,
    PoissonBackground: _excite,
    GaussianBackground: _excite,
    MomentActivation: _fire,
    MomentRecurrent: _recur,
    MomentDropout: _pass_on,
    nn.Identity: _pass_on,
    MeanDecoder: _pass_on,
    WindowDecoder: _read_window,
    CovarianceReadout: _read_covariances,
    MomentNetwork: _network,
}


def handler_of(module: nn.Module) -> Handler | None:
    """Return what a layer of this package becomes; None of others, and of a subclass that computes something else.

    Encoders of correlated currents are known by what they return, those of a user's own too.
    """
    if isinstance(module, CorrelatedEncoder):
        return _encode_correlated
    for kind in type(module).__mro__:
        if kind in HANDLERS:
            return HANDLERS[kind] if type(module).forward is kind.forward else None
    return None


def population_name(path: str) -> str:
    """Return the name of the neurons of an activation by its path within the model."""
    parts = [part for part in path.split(".") if part and part != "activation"]
    if not parts:
        return HIDDEN
    name = re.sub(r"\W", "_", "_".join(parts))
    return f"layer_{name}" if name[0].isdigit() else name


def independent_sum(signals: Sequence[Signal], where: str) -> Signal:
    """Return the sum of signals that a model takes for independent, after a check that they are."""
    seen: Mapping[str, int] = {}
    for number, signal in enumerate(signals):
        shared = sorted(set(seen) & signal.above)
        if shared:
            raise ValueError(
                f"{where} adds states as independent that both depend on {shared[0]!r}: the circuit has the covariance "
                "that the model leaves out. Use `mnnbio.nn.tracked` on what both are made of, and `mnnbio.nn.add`"
            )
        seen = {**seen, **dict.fromkeys(signal.above, number)}
    return added(signals)


def joined_signals(signals: Sequence[Signal], where: str) -> Signal:
    """Return states one after the other."""
    if any(signal.jumps for signal in signals):
        raise ValueError(f"{where} joins currents with a Poisson background: let the background come after it")
    return joined(signals)


def _at(module: nn.Module, name: str) -> str:
    return f"the {type(module).__name__} {name!r}" if name else f"the {type(module).__name__}"


def _require_signal(module: nn.Module, name: str, signal: Any) -> None:
    if not isinstance(signal, Signal):
        raise TypeError(
            f"{_at(module, name)} takes moments, got {type(signal).__name__}: features become moments by an encoder, "
            "PoissonEncoder or GaussianEncoder"
        )


def _require_no_jumps(module: nn.Module, name: str, signal: Signal) -> None:
    if signal.jumps:
        raise ValueError(
            f"{_at(module, name)} comes after a PoissonBackground, whose jumps arrive at neurons as they are: put the "
            "background right before the activation"
        )
