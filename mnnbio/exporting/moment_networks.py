"""From a trained moment network, or any module made of its layers, to the spiking circuit that it describes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import nn

from mnnbio.circuit import Circuit
from mnnbio.exporting.circuit_parts import Parts, handler_of
from mnnbio.exporting.module_graph import run_module
from mnnbio.exporting.signals import Mean, Signal
from mnnbio.units import in_unit


def export_module(module: nn.Module, stimulus: Any, labels: Any) -> Circuit:
    """Return the circuit of leaky integrate-and-fire neurons that a module of moment layers describes; see `export`.

    Parameters
    ----------
    module : Module
        From features to `Moments`, or several.
    stimulus : array_like, or dict or tuple of array_like
        One array for each input.
    labels : sequence, or dict of sequences by output, optional
    """
    if not any(handler_of(layer) is not None and not isinstance(layer, nn.Identity) for layer in module.modules()):
        raise TypeError(
            "`model` must be a module of layers of mnnbio.nn such as a MomentMLP, a SpikingNetwork, or a fitted "
            f"estimator of one, got {type(module).__name__} without any"
        )
    parts = Parts()
    outputs = run_module(parts, module, _inputs(stimulus, _dtype(module)))
    named = _named(outputs)
    if isinstance(labels, Mapping) and (unknown := sorted(set(labels) - {str(name) for name in named})):
        raise ValueError(f"`labels` names the outputs {unknown}, the module has {[str(name) for name in named]}")
    readouts = []
    for name, signal in named.items():
        own = labels.get(name) if isinstance(labels, Mapping) else labels
        found = parts.readout(signal, name, own)
        if found is not None:
            readouts.append(found)
    return parts.circuit(readouts)


def _dtype(module: nn.Module) -> torch.dtype:
    """Return the precision in which a module computes."""
    values = (*module.parameters(), *module.buffers())
    return next((value.dtype for value in values if value.is_floating_point()), torch.float64)


def _inputs(stimulus: Any, dtype: torch.dtype) -> dict[str, torch.Tensor] | list[torch.Tensor]:
    """Return the features of every input as tensors."""
    if isinstance(stimulus, Mapping):
        return {str(name): _features(value, f"stimulus[{name!r}]", dtype) for name, value in stimulus.items()}
    if isinstance(stimulus, tuple) and any(np.ndim(value) for value in stimulus):
        return [_features(value, f"stimulus[{number}]", dtype) for number, value in enumerate(stimulus)]
    return [_features(stimulus, "stimulus", dtype)]


def _features(value: Any, name: str, dtype: torch.dtype) -> torch.Tensor:
    return torch.as_tensor(in_unit(value, "1", name), dtype=torch.float64).to(dtype)


def _named(outputs: Any) -> dict[str | None, Signal]:
    """Return the outputs of a module by name."""
    if isinstance(outputs, Signal | Mean):
        return {None: _signal(outputs, None)}
    if isinstance(outputs, Mapping):
        return {str(name): _signal(value, str(name)) for name, value in outputs.items()}
    if isinstance(outputs, list | tuple) and len(outputs):
        names = [f"readout_{number + 1}" for number in range(len(outputs))]
        return {name: _signal(value, name) for name, value in zip(names, outputs, strict=True)}
    raise TypeError(
        f"a module that is exported must return moments, or several in a tuple or dict, got {type(outputs).__name__}"
    )


def _signal(value: Any, name: str | None) -> Signal:
    if isinstance(value, Mean):
        return value.signal
    if not isinstance(value, Signal):
        which = "the output" if name is None else f"the output {name!r}"
        raise TypeError(f"{which} of a module that is exported must be moments, got {type(value).__name__}")
    return value
