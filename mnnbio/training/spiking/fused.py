"""Whole sequences of spiking networks compiled, as one differentiable operation.

The C++ source beside this file does the steps of `steps`, forwards and backwards, without Python between them. Only
inputs are kept for the backward pass, which runs the steps again, a few trials at a time: the memory of a training step
does not grow with its length beyond inputs and outputs. Long sequences are cut into segments at whose beginnings the
state is kept. Weights of modes are applied in the compiled loop; a full matrix is multiplied by PyTorch in every step.

The library is built once with the system's C++ compiler and kept in `mnnbio.machine.cache_folder`. Nothing needs it:
without a compiler the same numbers come from PyTorch, more slowly and with more memory. ``MNNBIO_KERNEL=torch`` in the
environment turns it off; `spiking_backend` says which way is taken and why.
"""

from __future__ import annotations

import ctypes
import hashlib
import itertools
import math
import os
import platform
import shutil
import subprocess
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from mnnbio.machine import (
    CacheWarning,
    UnsafeFolder,
    cache_folder,
    check_choice,
    compiler_command,
    private_folder,
    processor,
    require_private,
    run_tool,
    written_aside,
)
from mnnbio.training.spiking.steps import Constants, Course, SequenceOptions, State

VARIABLE = "MNNBIO_KERNEL"
SOURCE = Path(__file__).with_name("fused.cpp")
# Products and sums stay apart, as in PyTorch: spikes are then the same. Comparisons need not trap.
FLAGS = ("-std=c++17", "-O3", "-shared", "-fPIC", "-fno-math-errno", "-fno-trapping-math", "-ffp-contract=off")
# Tried in turn, for compilers that lack one or both.
OPTIONAL_FLAGS = (("-march=native", "-fopenmp"), ("-march=native",), ("-fopenmp",), ())
TIME_LIMIT = 120.0  # s, for one run of the compiler
NAMES = {torch.float64: "float64", torch.float32: "float32"}

CHUNK = 2**19  # elements of a buffer: with more, several do not fit into the processor's cache
LONGEST = 2**23  # elements of a buffer; sequences for which this is too little are cut
LEARNED = 7  # constants that can be learned, the first of `Constants`


class SpikingBackend(NamedTuple):
    """Backend of spiking networks on the CPU, its library, or why there is none."""

    name: Literal["compiled", "torch"]
    detail: str


def spiking_backend() -> SpikingBackend:
    """Return whether spiking networks run compiled; builds the library if this has not been done yet.

    Returns
    -------
    SpikingBackend
        ``("compiled", path of the library)`` or ``("torch", reason)``. Tensors on other devices or of other dtypes than
        float32 and float64 take PyTorch in any case.

    Raises
    ------
    ValueError
        If the environment variable ``MNNBIO_KERNEL`` is neither "compiled" nor "torch".
    """
    library, detail = load_library()
    return SpikingBackend("torch" if library is None else "compiled", detail)


@cache
def load_library() -> tuple[ctypes.CDLL | None, str]:
    """Return the library and its path, built and loaded once for each process, or None and the reason."""
    wanted = os.environ.get(VARIABLE, "compiled")
    check_choice(VARIABLE, wanted, ["compiled", "torch"])
    if wanted == "torch":
        return None, f"turned off by {VARIABLE}=torch"
    command = compiler_command()
    compiler = shutil.which(command[0])
    if compiler is None:
        return None, f"there is no C++ compiler {command[0]!r}: install one, or name yours in the variable CXX"
    command = [compiler, *command[1:], *FLAGS]
    status = Path(compiler).resolve().stat()
    parts = [*command, OPTIONAL_FLAGS, status.st_size, status.st_mtime_ns, platform.machine(), processor()]
    name = f"spiking-{hashlib.sha256(SOURCE.read_bytes() + repr(parts).encode()).hexdigest()[:24]}"
    reasons = []
    try:
        return _kept(name) or _built(command, private_folder(cache_folder()), name)
    except (OSError, subprocess.SubprocessError) as error:
        reasons.append(_reason(error))
        if isinstance(error, UnsafeFolder):
            text = f"the compiled spiking networks cannot be kept, and are built anew by every process: {error}"
            warnings.warn(text, CacheWarning, stacklevel=2)
    try:
        with tempfile.TemporaryDirectory(prefix="mnnbio-") as folder:  # once loaded, the file is not needed any more
            return _built(command, Path(folder), name)
    except (OSError, subprocess.SubprocessError) as error:
        reasons.append(_reason(error))
    return None, "the library could not be built: " + "; then ".join(reasons)


def _kept(name: str) -> tuple[ctypes.CDLL, str] | None:
    """Return the library of that name in the cache; what is damaged is removed, as it could end the process."""
    folder = cache_folder()
    with suppress(FileNotFoundError):
        require_private(folder)
        for path in folder.glob(f"{name}-*.so"):
            if path.stem.endswith(f"-{_checksum(path)}"):
                with suppress(OSError):
                    return ctypes.CDLL(str(path)), str(path)
            path.unlink(missing_ok=True)
    return None


def _built(command: list[str], folder: Path, name: str) -> tuple[ctypes.CDLL, str]:
    """Compile aside and rename, so that several processes may build at once."""
    with tempfile.TemporaryDirectory(dir=folder, prefix="building-") as own:
        made = Path(own) / f"{name}.so"
        for flags in OPTIONAL_FLAGS:
            done = run_tool([*command, *flags, str(SOURCE), "-o", str(made)], Path(own), time_limit=TIME_LIMIT)
            if done.returncode == 0:
                break
        done.check_returncode()
        path = folder / f"{name}-{_checksum(made)}.so"
        with written_aside(path) as aside:
            aside.write_bytes(made.read_bytes())
    return ctypes.CDLL(str(path)), str(path)


def _checksum(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]


def _reason(error: Exception) -> str:
    text = getattr(error, "stderr", None) or str(error)
    lines = text.strip().splitlines()
    return next((line for line in lines if "error" in line.lower()), lines[0] if lines else type(error).__name__)


def fused_sequence(
    inputs: Tensor,
    weight_in: Tensor,
    recurrent: Sequence[Tensor],
    weight_out: Tensor,
    constants: Constants,
    options: SequenceOptions,
) -> Course | None:
    """Return what a spiking network does, or None where this cannot be computed compiled.

    Parameters
    ----------
    inputs : Tensor, shape (T, B, n_in)
    weight_in : Tensor, shape (N, n_in)
    recurrent : sequence of Tensor
        ξ_in (N, P), λ (P,) and ξ_out (N, P), or the one matrix (N, N).
    weight_out : Tensor, shape (n_out, N)
    constants : Constants
    options : SequenceOptions
    """
    tensors = (inputs, weight_in, weight_out, *recurrent, *constants)
    kinds = {(tensor.dtype, tensor.device.type, tensor.layout) for tensor in tensors}
    if torch.compiler.is_compiling() or torch.jit.is_tracing() or len(kinds) > 1:
        return None
    if inputs.dtype not in NAMES or inputs.device.type != "cpu" or inputs.layout != torch.strided:
        return None
    library, _ = load_library()
    if library is None:
        return None
    if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors):
        found = _Fused.apply(library, options, len(recurrent), *tensors)
        return Course(*found) if options.record else Course(found, None, None, None)
    work = _Work(library, options, len(recurrent), tensors)
    work.forward(keep=False)
    return Course(work.outputs, *work.records)


class _Fused(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, library: ctypes.CDLL, options: SequenceOptions, count: int, *tensors: Tensor) -> Any:
        work = _Work(library, options, count, tensors)
        work.forward(keep=True)
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(*tensors, *work.kept())
        ctx.work = (library, options, count, len(tensors))
        return (work.outputs, *work.records) if options.record else work.outputs

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Any, ...]:
        library, options, count, known = ctx.work
        saved = ctx.saved_tensors
        work = _Work(library, options, count, saved[:known])
        work.restore(saved[known:])
        return None, None, None, *work.backward(grads, ctx.needs_input_grad[3:])


class _Options(ctypes.Structure):
    _fields_ = (
        *((name, ctypes.c_int64) for name in ("steps", "trials", "size", "modes", "first")),
        *((name, ctypes.c_int64) for name in ("plain", "late", "clock", "learn", "threads")),
        *((name, ctypes.c_double) for name in ("slope", "dt", "t_ref")),
    )


class _Buffers:
    """Rows of a segment, for some trials: row 0 before its first step, row t + 1 after step t."""

    def __init__(self, steps: int, trials: int, size: int, modes: int, learn: bool, like: Tensor) -> None:
        shape = (steps + 1, trials, size)
        self.current, self.voltage, self.filtered = (like.new_empty(shape) for _ in range(3))
        self.onset = like.new_empty(shape) if learn else None
        self.flags = torch.empty(shape, dtype=torch.uint8)
        self.projected, self.of_projected = (like.new_empty(steps, trials, modes) for _ in range(2))

    def rows(self, first: int) -> list[Tensor | None]:
        """Return what the library works on, from a row on."""
        rows = (self.current, self.voltage, self.filtered, self.onset, self.flags)
        return [None if tensor is None else tensor[first:] for tensor in rows]


class _Work:
    """One pass over a sequence: its tensors, what they come to, and the states that are kept."""

    def __init__(self, library: ctypes.CDLL, options: SequenceOptions, count: int, tensors: Sequence[Tensor]) -> None:
        self.library, self.options = library, options
        self.inputs, self.weight_in, self.weight_out = (tensor.detach() for tensor in tensors[:3])
        self.recurrent = [tensor.detach() for tensor in tensors[3 : 3 + count]]
        self.constants = [tensor.detach() for tensor in tensors[3 + count :]]
        self.steps, self.batch, _ = self.inputs.shape
        self.size = len(self.weight_in)
        self.full = count == 1
        self.modes = 0 if self.full else len(self.recurrent[1])
        # The library reads modes as rows.
        rows = (tensor.mT if tensor.ndim == 2 else tensor for tensor in self.recurrent)
        self.factors = [] if self.full else [tensor.contiguous() for tensor in rows]
        self.threads = torch.get_num_threads()
        # A matrix is multiplied with all trials at once.
        least = self.batch if self.full else min(self.batch, self.threads)
        fitting = max(math.isqrt(self.steps), LONGEST // (least * self.size))
        self.length = min(self.steps, options.checkpoint_every or fitting)
        self.trials = min(self.batch, max(least, CHUNK // (self.length * self.size)))
        self.states: list[Tensor] = []
        self.outputs = self.best = self.last = self.inputs.new_empty(0)

    def cuts(self) -> list[tuple[int, int]]:
        """Return first step and end of all segments."""
        ends = {*range(0, self.steps, self.length), self.steps}
        if self.options.truncate:
            ends |= set(range(0, self.steps, self.options.truncate))
        places = sorted(ends)
        return list(itertools.pairwise(places))

    def chunks(self) -> Iterator[slice]:
        """Yield the trials that are run together."""
        for first in range(0, self.batch, self.trials):
            yield slice(first, min(first + self.trials, self.batch))

    def kept(self) -> list[Tensor]:
        """Return what the backward pass needs besides the tensors."""
        return [*self.states, *([self.best, self.last] if self.options.readout == "maximum" else [])]

    def restore(self, kept: Sequence[Tensor]) -> None:
        """Take what `kept` has returned."""
        states = list(kept)
        if self.options.readout == "maximum":
            self.last, self.best = states.pop(), states.pop()
        self.states = states

    # Forwards

    @torch.no_grad()
    def forward(self, *, keep: bool) -> None:
        """Compute outputs and records; states at the beginnings of segments are kept for the backward pass."""
        options, cuts = self.options, self.cuts()
        readouts = len(self.weight_out)
        shape = (self.steps, self.batch, self.size)
        self.records = tuple(self.inputs.new_empty(shape) if options.record else None for _ in range(3))
        if keep:
            self.states = [self.inputs.new_empty(len(State._fields), self.batch, self.size) for _ in cuts[1:]]
        if options.readout == "trace":
            self.outputs = self.inputs.new_empty(self.steps, self.batch, readouts)
        else:
            self.best = self.inputs.new_full((self.batch, self.size), -math.inf)
            self.last = torch.zeros(self.batch, self.size, dtype=torch.int64)
        self._prepare(learn=False)
        for trials in self.chunks():
            state = self._rest(trials)
            for number, (first, end) in enumerate(cuts):
                if keep and number:
                    self.states[number - 1][:, trials] = torch.stack(state)
                state, buffers = self._advance(state, trials, first, end)
                self._collect(buffers, trials, first, end)
        if options.readout == "maximum":
            self.outputs = self.best @ self.weight_out.T

    def _collect(self, buffers: _Buffers, trials: slice, first: int, end: int) -> None:
        """Take outputs and records of a segment from its rows."""
        filtered = buffers.filtered[1:]
        if self.options.readout == "trace":
            self.outputs[first:end, trials] = filtered @ self.weight_out.T
        else:
            best, where = filtered.max(dim=0)
            better = best > self.best[trials]
            self.best[trials] = torch.where(better, best, self.best[trials])
            self.last[trials] = torch.where(better, where + first, self.last[trials])
        if self.options.record:
            for record, rows in zip(self.records, (buffers.flags[1:] & 1, buffers.voltage[1:], filtered), strict=True):
                assert record is not None
                record[first:end, trials] = rows.to(record)

    def _prepare(self, *, learn: bool) -> None:
        """Bring the constants into the form that the library reads."""
        self.learn = learn
        self.plain = not learn and self.options.clock is None and all(value.ndim == 0 for value in self.constants)
        size = 1 if self.plain else self.size
        self.columns = [value.expand(size).contiguous() for value in self.constants]

    def _rest(self, trials: slice) -> State:
        count = trials.stop - trials.start
        return State.rest(count, self.size, self.inputs, clock=self.options.clock is not None)

    def _advance(self, state: State, trials: slice, first: int, end: int) -> tuple[State, _Buffers]:
        """Run a segment; return the state at its end and its rows."""
        steps, count = end - first, trials.stop - trials.start
        buffers = _Buffers(steps, count, self.size, self.modes, self.learn, self.inputs)
        buffers.current[0], buffers.voltage[0], buffers.filtered[0] = state.current, state.voltage, state.filtered
        buffers.flags[0] = state.spikes.to(torch.uint8)
        if buffers.onset is not None:
            buffers.onset[0] = state.onset
        given = self.inputs[first:end, trials].reshape(steps * count, -1)
        torch.mm(given, self.weight_in.T, out=buffers.current[1:].view(steps * count, self.size))
        own = [state.onset.clone(), state.spikes.clone(), state.silent.clone()]
        if self.full:
            for step in range(steps):
                buffers.current[step + 1].addmm_(buffers.filtered[step], self.recurrent[0].T)
                self._call("forward", step, 1, first, buffers, own, buffers.projected)
        else:
            self._call("forward", 0, steps, first, buffers, own, buffers.projected)
        onset, spikes, silent = own
        return State(buffers.current[-1], buffers.voltage[-1], onset, buffers.filtered[-1], spikes, silent), buffers

    def _call(self, name: str, step: int, steps: int, first: int, buffers: _Buffers, *rest: Any) -> None:
        """Call a function of the library for some steps of a segment."""
        trials = buffers.current.shape[1]
        dt, t_ref = self.options.clock or (0.0, 0.0)
        options = _Options(
            *(steps, trials, self.size, self.modes, first + step),
            *(self.plain, self.options.reset == "late", self.options.clock is not None, self.learn, self.threads),
            *(self.options.slope, dt, t_ref),
        )
        function = getattr(self.library, f"{name}_{NAMES[self.inputs.dtype]}")
        function.restype = None
        rows = buffers.rows(step)
        pointers = [_pointers(part) if isinstance(part, list) else _pointer(part) for part in rest]
        function(
            ctypes.byref(options),
            _pointers(self.columns),
            _pointers(self.factors or [None]),
            _pointers(rows),
            *pointers,
        )

    # Backwards

    @torch.no_grad()
    def backward(self, grads: Sequence[Tensor | None], needed: Sequence[bool]) -> list[Tensor | None]:
        """Return the derivatives with respect to all tensors, None where not needed."""
        count = len(self.recurrent)
        of_inputs = torch.empty_like(self.inputs) if needed[0] else None
        of_weights = [torch.zeros_like(tensor) for tensor in (self.weight_in, self.weight_out, *self.recurrent)]
        self._prepare(learn=any(needed[3 + count :]))
        learned = self.inputs.new_zeros(LEARNED, self.size)
        if grads[0] is not None and self.options.readout == "maximum":
            of_weights[1] += grads[0].T @ self.best
        for trials in self.chunks():
            width = trials.stop - trials.start
            adjoint = self.inputs.new_zeros(5, width, self.size)
            of_constants = self.inputs.new_zeros(width, LEARNED, self.size) if self.learn else None
            for number, (first, end) in reversed(list(enumerate(self.cuts()))):
                state = State(*self.states[number - 1][:, trials]) if number else self._rest(trials)
                _, buffers = self._advance(state, trials, first, end)
                upstream = self._upstream(grads, trials, first, end)
                self._retreat(buffers, first, upstream, adjoint, of_constants)
                self._add_up(buffers, trials, first, end, grads[0], of_weights, of_inputs)
                if self.options.truncate and first % self.options.truncate == 0:
                    adjoint.zero_()
            if of_constants is not None:
                learned += of_constants.sum(0)
        found: list[Tensor | None] = [of_inputs, *of_weights]
        for value, sums in zip(self.constants, learned, strict=False):
            found.append(sums.sum_to_size(value.shape) if self.learn else None)
        found += [None] * (len(self.constants) - LEARNED)
        return [grad if need else None for grad, need in zip(found, needed, strict=True)]

    def _upstream(self, grads: Sequence[Tensor | None], trials: slice, first: int, end: int) -> list[Tensor | None]:
        """Return the derivatives with respect to filtered spikes, voltages and spikes in every step of a segment."""
        spikes, voltages, filtered = (
            None if grad is None else grad[first:end, trials].contiguous() for grad in (*grads[1:], *[None] * 3)[:3]
        )
        of_outputs = grads[0]
        if of_outputs is None:
            return [filtered, voltages, spikes]
        if self.options.readout == "trace":
            own = of_outputs[first:end, trials] @ self.weight_out
        else:
            place = self.last[trials] - first
            inside = (place >= 0) & (place < end - first)
            own = self.inputs.new_zeros(end - first, *place.shape)
            values = torch.where(inside, of_outputs[trials] @ self.weight_out, 0.0)
            own.scatter_(0, place.clamp(0, end - first - 1)[None], values[None])
        return [own if filtered is None else own + filtered, voltages, spikes]

    def _retreat(
        self,
        buffers: _Buffers,
        first: int,
        upstream: list[Tensor | None],
        adjoint: Tensor,
        of_constants: Tensor | None,
    ) -> None:
        """Go back through a segment; its currents become the derivatives with respect to what arrived."""
        parts = list(adjoint)
        if not self.full:
            steps = len(buffers.projected)
            self._call("backward", 0, steps, first, buffers, upstream, parts, buffers.of_projected, of_constants)
            return
        for step in reversed(range(len(buffers.projected))):
            here = [None if tensor is None else tensor[step:] for tensor in upstream]
            self._call("backward", step, 1, first, buffers, here, parts, buffers.of_projected, of_constants)
            adjoint[3].addmm_(buffers.current[step + 1], self.recurrent[0])

    def _add_up(
        self,
        buffers: _Buffers,
        trials: slice,
        first: int,
        end: int,
        of_outputs: Tensor | None,
        of_weights: list[Tensor],
        of_inputs: Tensor | None,
    ) -> None:
        """Add a segment's derivatives with respect to weights, and write those with respect to inputs."""
        arrived = buffers.current[1:].flatten(0, 1)
        before, after = buffers.filtered[:-1].flatten(0, 1), buffers.filtered[1:].flatten(0, 1)
        of_weights[0].addmm_(arrived.T, self.inputs[first:end, trials].reshape(len(arrived), -1))
        if of_outputs is not None and self.options.readout == "trace":
            of_weights[1].addmm_(of_outputs[first:end, trials].reshape(len(after), -1).T, after)
        if self.full:
            of_weights[2].addmm_(arrived.T, before)
        else:
            scores = self.recurrent[1]
            read, drive = buffers.projected.flatten(0, 1), buffers.of_projected.flatten(0, 1)
            of_weights[2].addmm_(arrived.T, read * scores)
            of_weights[3] += (read * drive).sum(0)
            of_weights[4].addmm_(before.T, drive * scores)
        if of_inputs is not None:
            of_inputs[first:end, trials] = (arrived @ self.weight_in).view(end - first, -1, self.weight_in.shape[1])


def _pointer(tensor: Tensor | None) -> ctypes.c_void_p:
    return ctypes.c_void_p(None if tensor is None else tensor.data_ptr())


def _pointers(tensors: Sequence[Tensor | None]) -> ctypes.Array[ctypes.c_void_p]:
    return (ctypes.c_void_p * len(tensors))(*(None if tensor is None else tensor.data_ptr() for tensor in tensors))
