"""The graph of a module of moment layers, traced without values, and followed with those of a stimulus.

`torch.fx` writes down which layers and functions a module calls, in which order and with what. A module can therefore
be any `torch.nn.Module` whose ``forward`` does not depend on values: custom classes, branches, shared layers.
"""

from __future__ import annotations

import inspect
import operator
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import fx, nn

from mnnbio.exporting.circuit_parts import PACKAGES, Parts, handler_of, independent_sum, joined_signals
from mnnbio.exporting.signals import Mean, Signal, added
from mnnbio.nn import MomentEnsemble, add, add_independent, join, tracked

_INSTEAD = (
    "spiking neurons take weighted sums of spike trains: use MomentLinear and the other layers of mnnbio.nn, `join` "
    "and `add` of `tracked` states; apply what comes after the outputs to the readout"
)


class _Tracer(fx.Tracer):
    record_stack_traces = True

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        """Return whether a module is one step of the graph."""
        known = handler_of(m) is not None or isinstance(m, MomentEnsemble)
        return known or super().is_leaf_module(m, module_qualified_name)

    def _filter_traceback_frames(self, user_stack_summary: traceback.StackSummary) -> traceback.StackSummary:
        """Return the frames of a step that are a user's, which torch otherwise knows by the name ``forward``."""
        return traceback.StackSummary.from_list(
            [frame for frame in user_stack_summary if not frame.filename.startswith(PACKAGES)]
        )


def run_module(parts: Parts, module: nn.Module, inputs: Mapping[str, Any] | Sequence[Any], path: str = "") -> Any:
    """Return the outputs of a module as signals, its layers of neurons added to the parts.

    Parameters
    ----------
    parts : Parts
    module : Module
    inputs : mapping of str to Tensor, or sequence of Tensor
        What its ``forward`` is given, by name or in order.
    path : str
        Of the module in the model.

    Raises
    ------
    TypeError
        If it cannot be traced, or does what has no spiking counterpart; with the place.
    """
    handler = handler_of(module)
    if handler is not None:
        values = list(inputs.values()) if isinstance(inputs, Mapping) else list(inputs)
        return handler(parts, module, path, *values)
    if isinstance(module, MomentEnsemble):
        return _ensemble(parts, module, path, inputs)
    given = _bound(module, inputs)
    return _follow(parts, module, _traced(module, given, path), given, path)


def _bound(module: nn.Module, inputs: Mapping[str, Any] | Sequence[Any]) -> dict[str, Any]:
    """Return the inputs by the names of the parameters of ``forward``."""
    signature = inspect.signature(module.forward)
    try:
        bound = signature.bind(**inputs) if isinstance(inputs, Mapping) else signature.bind(*inputs)
    except TypeError as error:
        names = ", ".join(signature.parameters)
        raise ValueError(
            f"`stimulus` must fit {type(module).__name__}.forward({names}), {error}: give one array, or several in a "
            "dict by name"
        ) from None
    bound.apply_defaults()
    return dict(bound.arguments)


def _traced(module: nn.Module, given: Mapping[str, Any], path: str) -> fx.Graph:
    """Return the graph of a module for arguments of that kind; what is no tensor counts as a constant."""
    constants = {name: value for name, value in given.items() if not isinstance(value, torch.Tensor | Signal)}
    tracer = _Tracer()
    try:
        return tracer.trace(module, concrete_args=constants or None)
    except Exception as error:
        where = _user_line(traceback.extract_tb(error.__traceback__)) or f"in {type(module).__name__}.forward"
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise TypeError(
            f"{type(module).__name__}{f' ({path})' if path else ''} cannot be traced, {where}: {reason}. What a module "
            "calls must not depend on values: no `if`, `len` or loop over what flows through it"
        ) from error


def _follow(parts: Parts, module: nn.Module, graph: fx.Graph, given: Mapping[str, Any], path: str) -> Any:
    """Return the outputs of a graph."""
    values: dict[fx.Node, Any] = {}
    layers = dict(module.named_modules(remove_duplicate=False))

    def value_of(argument: Any) -> Any:
        return fx.node.map_arg(argument, lambda node: values[node])

    for node in graph.nodes:
        args, kwargs = value_of(node.args), value_of(node.kwargs)
        if node.op == "placeholder":
            values[node] = given[_parameter(node, given)]
        elif node.op == "get_attr":
            values[node] = operator.attrgetter(node.target)(module)
        elif node.op == "call_module":
            own = ".".join(filter(None, [path, node.target]))
            values[node] = _call_layer(parts, layers[node.target], own, args, kwargs, node)
        elif node.op == "output":
            return args[0]
        else:
            values[node] = _call(node, args, kwargs)
    raise AssertionError("a graph without output")


def _parameter(node: fx.Node, given: Mapping[str, Any]) -> str:
    name = str(node.target).lstrip("*")
    return name if name in given else next(own for own in given if name.startswith(own))


def _call_layer(parts: Parts, layer: nn.Module, path: str, args: Any, kwargs: Any, node: fx.Node) -> Any:
    if handler_of(layer) is None and not isinstance(layer, MomentEnsemble):
        if _signals((args, kwargs)):
            raise TypeError(f"{_place(node)}: the layer {type(layer).__name__} has no spiking counterpart; {_INSTEAD}")
        with torch.no_grad():
            return layer(*args, **kwargs)
    values = [*args, *kwargs.values()]
    try:
        return run_module(parts, layer, values, path)
    except (TypeError, ValueError) as error:
        where = _place(node)
        if str(error).startswith(("in line", "`stimulus`")):
            raise
        raise type(error)(f"{where}: {error}") from None


def _call(node: fx.Node, args: Any, kwargs: Any) -> Any:
    """Return what a function makes of signals, or of plain tensors."""
    found = _signals((args, kwargs))
    if not found:
        with torch.no_grad():
            if node.op == "call_method":
                return getattr(args[0], str(node.target))(*args[1:], **kwargs)
            return node.target(*args, **kwargs)  # type: ignore[operator]
    states = [*args, *kwargs.values()]
    whole = all(isinstance(value, Signal) for value in states)
    function = node.target
    if function is getattr and args[1] == "mean":
        return args[0] if isinstance(args[0], Mean) else Mean(args[0])
    if function is tracked and whole:
        return states[0]
    if function is join and whole:
        return joined_signals(states, _place(node))
    if function in (add, operator.add) and whole and len({state.size for state in states}) == 1:
        return added(states)
    if function is add_independent and whole and len({state.size for state in states}) == 1:
        return independent_sum(states, _place(node))
    name = getattr(function, "__name__", str(function))
    if function is getattr:
        name = f".{args[1]} of a state of moments"
    plain = [value for value in states if not isinstance(value, Signal | Mean)]
    mixed = ", of moments and plain tensors," if plain and function is not getattr else ""
    raise TypeError(f"{_place(node)}: `{name}`{mixed} has no spiking counterpart; {_INSTEAD}")


def _ensemble(parts: Parts, ensemble: MomentEnsemble, path: str, inputs: Mapping[str, Any] | Sequence[Any]) -> Signal:
    """Return the average of members, each of which has input trains of its own."""
    values = list(inputs.values()) if isinstance(inputs, Mapping) else list(inputs)
    outputs = []
    for number, member in enumerate(ensemble.members):
        own = ".".join(filter(None, [path, f"member_{number + 1}"]))
        outputs.append(run_module(parts, member, values, own))
    for output in outputs:
        if not isinstance(output, Signal):
            raise TypeError(f"members of an ensemble must return moments, got {type(output).__name__}")
    share = 1 / len(outputs)
    return added([output.scaled(torch.full((output.size,), share, dtype=torch.float64).numpy()) for output in outputs])


def _signals(value: Any) -> list[Any]:
    """Return the signals, and means of signals, in arguments however nested."""
    if isinstance(value, Signal | Mean):
        return [value]
    if isinstance(value, Mapping):
        return [found for own in value.values() for found in _signals(own)]
    if isinstance(value, list | tuple):
        return [found for own in value for found in _signals(own)]
    return []


def _place(node: fx.Node) -> str:
    """Return where a step of the graph stands in the user's code."""
    lines = (node.stack_trace or "").strip().splitlines()
    for number in range(len(lines) - 1, -1, -1):
        text = lines[number].strip()
        if text.startswith("File ") and not any(package in text for package in PACKAGES):
            file, line = text.split('"')[1], text.split("line ")[1].split(",")[0]
            code = lines[number + 1].strip() if number + 1 < len(lines) else ""
            return f"in line {line} of {Path(file).name}, `{code}`"
    return f"at {node.name}"


def _user_line(frames: Sequence[traceback.FrameSummary]) -> str | None:
    for frame in reversed(frames):
        if not frame.filename.startswith(PACKAGES):
            return f"in line {frame.lineno} of {Path(frame.filename).name}, `{frame.line}`"
    return None
