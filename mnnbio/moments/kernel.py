"""The compiled moment activation: built once with the system's C++ compiler, kept in a cache, loaded when first used.

Nothing needs it: without a compiler the same numbers come from PyTorch, more slowly; `activation_backend` says which
way is taken and why. Building takes two or three seconds, once for each version of the package, compiler and
processor. The library is kept in `mnnbio.machine.cache_folder`; where that cannot be written it is built anew by every
process. ``MNNBIO_KERNEL=torch`` in the environment turns it off.

The moment activation by the compiled kernel, as one differentiable operation.

The forward pass keeps the derivatives of rate and variance with respect to mean and std, so that the usual backward
pass is two sums of products. Where more is asked for (the gain's derivatives, or those with respect to the neurons'
parameters) the backward pass computes everything anew; where derivatives are to be differentiated in turn, it leaves
the work to PyTorch.
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable, Sequence
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from mnnbio.machine import LibrarySource, load_library
from mnnbio.moments.drive import SILENT, Neuron, NeuronTensors, from_rest
from mnnbio.moments.integrals import Tables, load_tables

SOURCE = Path(__file__).with_name("kernel.cpp")
# Comparisons need not trap nor functions set errno, which would keep loops from being vectorised; sums stay in order.
FLAGS = ("-std=c++17", "-O3", "-shared", "-fPIC", "-fno-math-errno", "-fno-trapping-math")
TIME_LIMIT = 120.0  # s, for one run of the compiler


class ActivationBackend(NamedTuple):
    """Backend of the moment activation on the CPU, its library, or why there is none."""

    name: Literal["compiled", "torch"]
    detail: str


class Kernel(NamedTuple):
    """A loaded library and the tables that it reads."""

    library: ctypes.CDLL
    path: Path
    tables: ctypes.Array[ctypes.c_void_p]
    kept: tuple[Tensor, ...]  # what `tables` points to


_lock = threading.Lock()


def activation_backend() -> ActivationBackend:
    """Return whether the moment activation runs compiled; builds it if this has not been done yet.

    Returns
    -------
    ActivationBackend
        ``("compiled", path of the library)`` or ``("torch", reason)``. Tensors on other devices or of other dtypes than
        float32 and float64, function transforms and derivatives of derivatives take PyTorch in any case.

    Raises
    ------
    ValueError
        If the environment variable ``MNNBIO_KERNEL`` is neither "compiled" nor "torch".
    """
    kernel, reason = load_kernel()
    return ActivationBackend("torch", reason) if kernel is None else ActivationBackend("compiled", str(kernel.path))


def load_kernel() -> tuple[Kernel | None, str]:
    """Return the kernel, built and loaded once for each process, or None and the reason."""
    with _lock:
        return _load()


@cache
def _load() -> tuple[Kernel | None, str]:
    tables = load_tables(torch.float64, torch.device("cpu"))
    source = LibrarySource(
        "moments",
        "the compiled moment activation",
        SOURCE,
        (*FLAGS, *_definitions(tables)),
        (tables.pieces.shape, tables.tonic.shape),
        TIME_LIMIT,
    )
    library, detail = load_library(source)
    return (None, detail) if library is None else (_opened(library, Path(detail), tables), "")


def _definitions(tables: Tables) -> list[str]:
    """Return the constants of the kernel, as options of the compiler."""
    values = {
        "PIECES": tables.pieces.shape[2],
        "DEGREE": tables.pieces.shape[1] - 1,
        "TONIC_DEGREE": tables.tonic.shape[1] - 1,
        "KNEE": tables.knee,
        "EDGE": tables.edge,
        "SILENT": SILENT,
    }
    return [f"-D{name}={value}" for name, value in values.items()]


def _opened(library: ctypes.CDLL, path: Path, tables: Tables) -> Kernel:
    pointer, number, size = ctypes.c_void_p, ctypes.c_int, ctypes.c_int64
    for dtype in ("float32", "float64"):
        for name, pointers in (("forward", 4), ("backward", 7), ("combine", 4)):
            function = getattr(library, f"{name}_{dtype}")
            function.argtypes = [size, number, *[pointer] * pointers]
            function.restype = number if name != "combine" else None
    pieces = tables.pieces[:4].permute(2, 1, 0).contiguous()
    # Slopes with respect to w = (s/a)² of the polynomials in 2 EDGE² w - 1.
    powers = torch.arange(tables.tonic.shape[1], dtype=torch.float64, device="cpu")
    slopes = (tables.tonic[:2] * powers * 2 * tables.edge**2).roll(-1, dims=1)
    tonic = torch.cat([tables.tonic[:4], slopes]).T.contiguous()
    return Kernel(library, path, (pointer * 2)(pieces.data_ptr(), tonic.data_ptr()), (pieces, tonic))


NAMES = {torch.float64: "float64", torch.float32: "float32"}
GRAIN = 4096  # elements a thread: with fewer, another one costs more than it saves

Triple = tuple[Tensor, Tensor, Tensor]
# Rate, variance and gain of (mean, std, neurons) by PyTorch.
Differentiable = Callable[[Tensor, Tensor, Neuron], Triple]


class _OutOfRangeError(Exception):
    """Some input is not valid: the route that looks at every element will say which."""


def fused_activation(mean: Tensor, std: Tensor, lif: Neuron, differentiable: Differentiable) -> Triple | None:
    """Return rate, variance and gain, or None where the kernel cannot be used or an input is not valid.

    Parameters
    ----------
    mean, std, lif
        As for `moment_activation`.
    differentiable : callable
        The same function by PyTorch, for derivatives of derivatives.
    """
    if torch.compiler.is_compiling() or not _plain(mean) or not _plain(std) or mean.dtype != std.dtype:
        return None
    own = from_rest(lif)
    parameters = [getattr(own, name) for name in NeuronTensors._fields]
    if any(isinstance(value, Tensor) and not _plain(value) for value in parameters):
        return None
    if torch.jit.is_tracing() or _transformed():
        return None
    kernel, _ = load_kernel()
    if kernel is None:
        return None
    inputs = (mean, std, *(_as_float64(value) for value in parameters))
    shape = _common_shape(inputs)
    if shape is None:
        return None
    try:
        if torch.is_grad_enabled() and any(x.requires_grad for x in inputs):
            return _Fused.apply(kernel, differentiable, shape, *inputs)
        rate, variance, gain = _forward(kernel, shape, inputs, slopes=False)
        return rate, variance, gain
    except _OutOfRangeError:
        return None


class _Fused(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, kernel: Kernel, differentiable: Differentiable, shape: torch.Size, *inputs: Tensor) -> Triple:
        of_current, of_lif = any(ctx.needs_input_grad[3:5]), any(ctx.needs_input_grad[5:])
        rate, variance, gain, *slopes = _forward(kernel, shape, inputs, slopes=of_current and not of_lif)
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(*inputs, gain, *slopes)
        ctx.kernel, ctx.differentiable, ctx.shape = kernel, differentiable, shape
        return rate, variance, gain

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Any, ...]:
        inputs, slopes = ctx.saved_tensors[:6], ctx.saved_tensors[6:]
        needed = ctx.needs_input_grad[3:]
        if torch.is_grad_enabled() or _transformed() or any(map(_batched, grads)):
            return None, None, None, *_differentiable_backward(ctx.differentiable, inputs, grads, needed)
        if len(slopes) > 1 and grads[2] is None:
            found = _combine(ctx.kernel, slopes, grads, needed)
        else:
            found = _backward(ctx.kernel, ctx.shape, inputs, grads, needed)
        # Inputs that were broadcast collect the derivatives of all their copies.
        summed = (None if g is None else g.sum_to_size(x.shape) for g, x in zip(found, inputs, strict=True))
        return None, None, None, *summed


def _forward(kernel: Kernel, shape: torch.Size, inputs: Sequence[Tensor], *, slopes: bool) -> list[Tensor]:
    """Return rate, variance, gain and, if wanted, ∂rate/∂std, ∂variance/∂mean and ∂variance/∂std."""
    mean = inputs[0]
    out = [mean.new_empty(shape) for _ in range(6 if slopes else 3)]
    kept, columns, periods = _columns(inputs, shape)
    good = _function(kernel, "forward", mean.dtype)(
        *_size(out[0]), kernel.tables, columns, periods, _pointers([*out, *[None] * (6 - len(out))])
    )
    del kept
    if not good:
        raise _OutOfRangeError
    return out


def _combine(
    kernel: Kernel, slopes: Sequence[Tensor], grads: Sequence[Tensor | None], needed: Sequence[bool]
) -> list[Tensor | None]:
    """Return the gradients from the slopes that the forward pass kept."""
    gain = slopes[0]
    out = [torch.empty_like(gain) if need else None for need in needed[:2]]
    kept, of_outputs, periods = _gradients(grads)
    _function(kernel, "combine", gain.dtype)(*_size(gain), _pointers(slopes), of_outputs, periods, _pointers(out))
    del kept
    return [*out, None, None, None, None]


def _backward(
    kernel: Kernel,
    shape: torch.Size,
    inputs: Sequence[Tensor],
    grads: Sequence[Tensor | None],
    needed: Sequence[bool],
) -> list[Tensor | None]:
    """Return the gradients of everything, elementwise."""
    out = [x.new_empty(shape) if need else None for x, need in zip(inputs, needed, strict=True)]
    kept, columns, periods = _columns(inputs, shape)
    kept_too, of_outputs, grad_periods = _gradients(grads)
    like = inputs[0].new_empty(shape) if out[0] is None else out[0]
    _function(kernel, "backward", like.dtype)(
        *_size(like), kernel.tables, columns, periods, of_outputs, grad_periods, _pointers(out[:2]), _pointers(out[2:])
    )
    del kept, kept_too
    return out


def _differentiable_backward(
    differentiable: Differentiable,
    inputs: Sequence[Tensor],
    grads: Sequence[Tensor | None],
    needed: Sequence[bool],
) -> list[Tensor | None]:
    create_graph = torch.is_grad_enabled()
    with torch.enable_grad():
        mean, std, *lif = (x.view_as(x) for x in inputs)  # told apart, should two of them be one tensor
        outputs = differentiable(mean, std, NeuronTensors(*lif))
        pairs = [(output, grad) for output, grad in zip(outputs, grads, strict=True) if grad is not None]
        wanted = [x for x, need in zip((mean, std, *lif), needed, strict=True) if need]
        if not pairs:
            return [None] * len(inputs)
        found = iter(
            torch.autograd.grad(
                [output for output, _ in pairs], wanted, [grad for _, grad in pairs],
                create_graph=create_graph, allow_unused=True,
            )
        )  # fmt: skip
    return [next(found) if need else None for need in needed]


def _plain(tensor: Any) -> bool:
    """Return whether this is an ordinary float tensor in memory."""
    return (
        type(tensor) in (Tensor, torch.nn.Parameter)
        and tensor.is_cpu
        and tensor.layout is torch.strided
        and tensor.dtype in NAMES
    )


def _transformed() -> bool:
    """Return whether a function transform (vmap, grad, ...) is at work, whose tensors have no memory of their own."""
    return torch._C._are_functorch_transforms_active()


def _batched(grad: Tensor | None) -> bool:
    """Return whether this stands for a batch of gradients (``is_grads_batched``), outside function transforms."""
    return grad is not None and torch._C._functorch.is_legacy_batchedtensor(grad)


def _as_float64(value: Any) -> Tensor:
    if isinstance(value, Tensor):
        return value.to(torch.float64)
    if isinstance(value, float):
        return _number(value)
    return torch.tensor(value, dtype=torch.float64, device="cpu")  # a copy: arrays may be read-only


@lru_cache(maxsize=256)
def _number(value: float) -> Tensor:
    with torch.inference_mode(False):  # what is kept must serve training too
        return torch.tensor(value, dtype=torch.float64, device="cpu")


def _common_shape(inputs: Sequence[Tensor]) -> torch.Size | None:
    shape = inputs[0].shape
    if all(x.ndim == 0 or x.shape == shape for x in inputs):
        return shape
    try:
        return torch.broadcast_shapes(*(x.shape for x in inputs))
    except RuntimeError:
        return None


def _columns(inputs: Sequence[Tensor], shape: torch.Size) -> tuple[list[Tensor], ctypes.Array[Any], ctypes.Array[Any]]:
    """Return tensors to be kept alive, their addresses, and after how many elements each repeats."""
    tensors = [_repeating(x, shape) for x in inputs]
    return tensors, _pointers(tensors), (ctypes.c_int64 * len(tensors))(*[x.numel() for x in tensors])


def _repeating(x: Tensor, shape: torch.Size) -> Tensor:
    """Return a contiguous tensor of which the broadcast one is a repetition."""
    if x.numel() != 1 and x.shape != shape:
        own = list(x.shape)
        while own and own[0] == 1:
            del own[0]
        if own != list(shape[len(shape) - len(own) :]):
            x = x.expand(shape)
    return x.contiguous()


def _gradients(grads: Sequence[Tensor | None]) -> tuple[list[Tensor | None], ctypes.Array[Any], ctypes.Array[Any]]:
    """Return gradients of the outputs as `_columns` does; sums send one number to all elements."""
    single = [g is not None and not any(g.stride()) for g in grads]
    kept = [g if g is None or alike else g.contiguous() for g, alike in zip(grads, single, strict=True)]
    periods = [1 if g is None or alike else g.numel() for g, alike in zip(kept, single, strict=True)]
    return kept, _pointers(kept), (ctypes.c_int64 * len(kept))(*periods)


def _pointers(tensors: Sequence[Tensor | None]) -> ctypes.Array[Any]:
    return (ctypes.c_void_p * len(tensors))(*[None if x is None else x.data_ptr() for x in tensors])


def _size(like: Tensor) -> tuple[int, int]:
    """Return the number of elements and of threads."""
    count = like.numel()
    return count, max(1, min(torch.get_num_threads(), count // GRAIN))


def _function(kernel: Kernel, name: str, dtype: torch.dtype) -> Any:
    return getattr(kernel.library, f"{name}_{NAMES[dtype]}")
