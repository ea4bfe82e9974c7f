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
import itertools
import math
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from mnnbio.machine import LibrarySource, load_library
from mnnbio.training.spiking.steps import Constants, Course, SequenceOptions, State

SOURCE = Path(__file__).with_name("fused.cpp")
# Products and sums stay apart, as in PyTorch: spikes are then the same. Comparisons need not trap.
FLAGS = ("-std=c++17", "-O3", "-shared", "-fPIC", "-fno-math-errno", "-fno-trapping-math", "-ffp-contract=off")
NAMES = {torch.float64: "float64", torch.float32: "float32"}

# Elements of a buffer. Segments of a trial are to fit into the processor's cache, several buffers of them; but not more
# of them than some, as the state is kept at their beginnings. Trials are run together as far as it costs little memory.
OF_TRIAL, OF_TRIALS = 2**16, 2**19
MOST_SEGMENTS = 16
STEPWISE = 2**23  # where all trials are run together
FEW = 16  # modes, inputs or outputs that are multiplied in the loop; more of them are by PyTorch
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
    library, detail = _load()
    return SpikingBackend("torch" if library is None else "compiled", detail)


@cache
def _load() -> tuple[ctypes.CDLL | None, str]:
    return load_library(
        LibrarySource("spiking", "the compiled step of spiking networks", SOURCE, (*FLAGS, f"-DFEW={FEW}"))
    )


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
    library, _ = _load()
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


class _Job(ctypes.Structure):
    """What the library is told; see `Job` there."""

    _fields_ = (
        *((name, ctypes.c_int64) for name in ("steps", "trials", "size", "modes", "inputs", "readouts", "first")),
        *((name, ctypes.c_int64) for name in ("rows", "plain", "late", "clock", "learn", "threads")),
        *((name, ctypes.c_double) for name in ("slope", "dt", "t_ref")),
        ("constants", ctypes.c_void_p * 9),
        *((name, ctypes.c_void_p) for name in ("modes_in", "scores", "modes_out", "weight_in", "weight_out", "given")),
        *((name, ctypes.c_void_p) for name in ("current", "voltage", "filtered", "onset", "flags")),
        *((name, ctypes.c_void_p) for name in ("state_onset", "state_spikes", "state_silent")),
        *((name, ctypes.c_void_p) for name in ("projected", "outputs", "best", "last")),
        *((name, ctypes.c_void_p) for name in ("of_filtered", "of_voltages", "of_spikes", "of_outputs", "of_best")),
        ("adjoint", ctypes.c_void_p * 5),
        *((name, ctypes.c_void_p) for name in ("of_projected", "sums", "learned")),
    )


class _Segment(NamedTuple):
    """Rows of a segment for some trials, row 0 before its first step, row t + 1 after step t, and what belongs to it.

    Attributes
    ----------
    current, voltage, filtered, flags : Tensor, shape (rows, trials, N)
        Flags are 1 for a spike, and 2 where a neuron was free to fire. Two rows are used in turn where there are only
        two.
    onset : Tensor or None
        Likewise, where constants are learned.
    given : Tensor, shape (steps, trials, n_in)
    projected, of_projected : Tensor, shape (steps, trials, P)
        ``ξ_outᵀ r``, and the derivatives with respect to what modes drive.
    outputs : Tensor, shape (steps, trials, n_out)
    """

    current: Tensor
    voltage: Tensor
    filtered: Tensor
    flags: Tensor
    onset: Tensor | None
    given: Tensor
    projected: Tensor
    of_projected: Tensor
    outputs: Tensor


class _Work:
    """One pass over a sequence: its tensors, what they come to, and the states that are kept."""

    def __init__(self, library: ctypes.CDLL, options: SequenceOptions, count: int, tensors: Sequence[Tensor]) -> None:
        self.library, self.options = library, options
        self.inputs, self.weight_in, self.weight_out = (tensor.detach() for tensor in tensors[:3])
        self.recurrent = [tensor.detach() for tensor in tensors[3 : 3 + count]]
        self.constants = [tensor.detach() for tensor in tensors[3 + count :]]
        self.steps, self.batch, inputs = self.inputs.shape
        self.size = len(self.weight_in)
        self.modes = 0 if count == 1 else len(self.recurrent[1])
        # The loop over steps is compiled, unless there is something large to multiply by in every one of them.
        self.stepwise = count == 1 or self.modes > FEW
        self.few_inputs = inputs if inputs <= FEW else 0
        self.few_outputs = len(self.weight_out) if len(self.weight_out) <= FEW and options.readout == "trace" else 0
        # The library reads neurons along rows.
        self.weights = {"weight_in": self.weight_in.T.contiguous(), "weight_out": self.weight_out.contiguous()}
        if not self.stepwise:
            modes_in, scores, modes_out = self.recurrent
            self.weights |= {"modes_in": modes_in.T.contiguous(), "modes_out": modes_out.T.contiguous()}
            self.weights["scores"] = scores.contiguous()
        self.threads = torch.get_num_threads()
        # Large products are done with all trials at once.
        least = self.batch if self.stepwise else min(self.batch, self.threads)
        if self.stepwise:
            fitting = max(math.isqrt(self.steps), STEPWISE // (self.batch * self.size))
        else:
            fitting = max(-(-self.steps // MOST_SEGMENTS), OF_TRIAL // self.size)
        self.length = min(self.steps, options.checkpoint_every or fitting)
        self.trials = min(self.batch, max(least, OF_TRIALS // (self.length * self.size)))
        self.states: list[Tensor] = []
        self.outputs = self.best = self.last = self.inputs.new_empty(0)
        self._held: dict[tuple[int, int, int], _Segment] = {}

    def cuts(self) -> list[tuple[int, int]]:
        """Return first step and end of all segments."""
        ends = {*range(0, self.steps, self.length), self.steps}
        if self.options.truncate:
            ends |= set(range(0, self.steps, self.options.truncate))
        return list(itertools.pairwise(sorted(ends)))

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
        shape = (self.steps, self.batch, self.size)
        made = [self.inputs.new_empty(shape) for _ in range(3)] if options.record else []
        self.records: tuple[Tensor | None, ...] = tuple(made) or (None,) * 3
        if keep:
            self.states = [self.inputs.new_empty(len(State._fields), self.batch, self.size) for _ in cuts[1:]]
        if options.readout == "trace":
            self.outputs = self.inputs.new_empty(self.steps, self.batch, len(self.weight_out))
        else:
            self.best = self.inputs.new_full((self.batch, self.size), -math.inf)
            self.last = self.inputs.new_zeros(self.batch, self.size)
        self._prepare(learn=False)
        # Rows that nothing reads afterwards are not kept.
        reads = options.record or self.stepwise or not self.few_inputs
        reads = reads or (options.readout == "trace" and not self.few_outputs)
        for trials in self.chunks():
            state = self._rest(trials)
            for number, (first, end) in enumerate(cuts):
                if keep and number:
                    self.states[number - 1][:, trials] = torch.stack(state)
                rows = end - first + 1 if reads else 2
                state, segment = self._advance(state, trials, first, end, rows, read=True)
                if options.readout == "trace":
                    outputs = segment.outputs if self.few_outputs else segment.filtered[1:] @ self.weight_out.T
                    self.outputs[first:end, trials] = outputs
                if options.record:
                    parts = (segment.flags[1:] & 1, segment.voltage[1:], segment.filtered[1:])
                    for record, part in zip(made, parts, strict=True):
                        record[first:end, trials] = part.to(record)
        if options.readout == "maximum":
            self.outputs = self.best @ self.weight_out.T

    def _prepare(self, *, learn: bool) -> None:
        """Bring the constants into the form that the library reads."""
        self.learn = learn
        self.plain = not learn and self.options.clock is None and all(value.ndim == 0 for value in self.constants)
        size = 1 if self.plain else self.size
        self.columns = [value.expand(size).contiguous() for value in self.constants]

    def _rest(self, trials: slice) -> State:
        count = trials.stop - trials.start
        return State.rest(count, self.size, self.inputs, clock=self.options.clock is not None)

    def _segment(self, steps: int, trials: int, rows: int) -> _Segment:
        """Return memory for a segment, the same again for the same size: fresh memory costs as much as a step."""
        if (steps, trials, rows) not in self._held:
            empty, shape = self.inputs.new_empty, (rows, trials, self.size)
            self._held[steps, trials, rows] = _Segment(
                current=empty(shape),
                voltage=empty(shape),
                filtered=empty(shape),
                flags=torch.empty(shape, dtype=torch.uint8),
                onset=empty(shape) if self.learn else None,
                given=empty(steps, trials, self.inputs.shape[2]),
                projected=empty(steps, trials, self.modes),
                of_projected=empty(steps, trials, self.modes),
                outputs=empty(steps, trials, self.few_outputs),
            )
        return self._held[steps, trials, rows]

    def _advance(
        self, state: State, trials: slice, first: int, end: int, rows: int, *, read: bool
    ) -> tuple[State, _Segment]:
        """Run a segment; return the state at its end and its rows. Where it is run again, nothing is read out."""
        steps, count = end - first, trials.stop - trials.start
        segment = self._segment(steps, count, rows)
        segment.current[0], segment.voltage[0], segment.filtered[0] = state.current, state.voltage, state.filtered
        segment.flags[0] = state.spikes
        if segment.onset is not None:
            segment.onset[0] = state.onset
        segment.given.copy_(self.inputs[first:end, trials])
        if self.stepwise or not self.few_inputs:
            arriving = segment.current[1:].view(steps * count, self.size)
            torch.mm(segment.given.view(steps * count, -1), self.weight_in.T, out=arriving)
        own = {name: getattr(state, name).clone() for name in ("onset", "spikes", "silent")}
        pointers = {f"state_{name}": tensor for name, tensor in own.items()}
        if read and self.options.readout == "maximum":
            pointers |= {"best": self.best[trials], "last": self.last[trials]}
        if read and self.few_outputs:
            pointers |= {"outputs": segment.outputs}
        if self.stepwise:
            for step in range(steps):
                self._drive(segment, step)
                self._call("forward", segment, first, pointers, step=step)
        else:
            self._call("forward", segment, first, pointers)
        row = steps % rows
        parts = (segment.current[row], segment.voltage[row], own["onset"], segment.filtered[row])
        return State(*parts, own["spikes"], own["silent"]), segment

    def _drive(self, segment: _Segment, step: int) -> None:
        """Add the recurrent input of a step, of all trials."""
        arriving, filtered = segment.current[step + 1], segment.filtered[step]
        if not self.modes:
            arriving.addmm_(filtered, self.recurrent[0].T)
            return
        modes_in, scores, modes_out = self.recurrent
        torch.mm(filtered, modes_out, out=segment.projected[step])
        arriving.addmm_(segment.projected[step] * scores, modes_in.T)

    def _call(
        self,
        name: str,
        segment: _Segment,
        first: int,
        pointers: dict[str, Tensor | None],
        *,
        adjoint: Sequence[Tensor] = (),
        step: int | None = None,
    ) -> None:
        """Call a function of the library for a segment, or for one step of it."""
        steps, trials = segment.given.shape[:2]
        job = _Job(steps=steps if step is None else 1, trials=trials, size=self.size, first=first + (step or 0))
        job.rows = len(segment.current) if step is None else 2
        job.modes = 0 if self.stepwise else self.modes
        job.inputs = 0 if self.stepwise else self.few_inputs
        job.readouts = self.few_outputs if "outputs" in pointers or name == "backward" else 0
        job.plain, job.learn, job.late = self.plain, self.learn, self.options.reset == "late"
        job.slope, job.threads = self.options.slope, self.threads
        if self.options.clock is not None:
            job.clock, (job.dt, job.t_ref) = True, self.options.clock
        rows = {name: getattr(segment, name) for name in ("current", "voltage", "filtered", "onset", "flags")}
        whole = {name: getattr(segment, name) for name in ("given", "projected", "of_projected")}
        for key, tensor in {**self.weights, **whole, **rows, **pointers}.items():
            if tensor is not None:
                in_steps = key in rows or key in _IN_STEPS
                setattr(job, key, (tensor[step] if step is not None and in_steps else tensor).data_ptr())
        job.constants[:] = [tensor.data_ptr() for tensor in self.columns]
        if adjoint:
            job.adjoint[:] = [tensor.data_ptr() for tensor in adjoint]
        function = getattr(self.library, f"{name}_{NAMES[self.inputs.dtype]}")
        function.restype = None
        function(ctypes.byref(job))

    # Backwards

    @torch.no_grad()
    def backward(self, grads: Sequence[Tensor | None], needed: Sequence[bool]) -> list[Tensor | None]:
        """Return the derivatives with respect to all tensors, None where not needed."""
        count = len(self.recurrent)
        of_inputs = torch.empty_like(self.inputs) if needed[0] else None
        of_weights = [torch.zeros_like(tensor) for tensor in (self.weight_in, self.weight_out, *self.recurrent)]
        self._prepare(learn=any(needed[3 + count :]))
        learned = self.inputs.new_zeros(LEARNED, self.size)
        of_outputs, *of_records = (*grads, None, None, None)[:4]
        if of_outputs is not None and self.options.readout == "maximum":
            of_weights[1] += of_outputs.T @ self.best
        for trials in self.chunks():
            width = trials.stop - trials.start
            adjoint = self.inputs.new_zeros(5, width, self.size)
            sums = self.inputs.new_zeros(width, self._summed(), self.size)
            of_constants = self.inputs.new_zeros(width, LEARNED, self.size) if self.learn else None
            for number, (first, end) in reversed(list(enumerate(self.cuts()))):
                state = State(*self.states[number - 1][:, trials]) if number else self._rest(trials)
                _, segment = self._advance(state, trials, first, end, end - first + 1, read=False)
                upstream = {"sums": sums, "learned": of_constants}
                upstream |= self._upstream(of_outputs, of_records, trials, first, end)
                self._retreat(segment, first, upstream, adjoint)
                self._add_products(segment, of_outputs, trials, first, end, of_weights)
                if of_inputs is not None:
                    of_inputs[first:end, trials] = segment.current[1:] @ self.weight_in
                if self.options.truncate and first % self.options.truncate == 0:
                    adjoint.zero_()
            self._add_sums(sums.sum(0), of_weights)
            if of_constants is not None:
                learned += of_constants.sum(0)
        found: list[Tensor | None] = [of_inputs, *of_weights]
        for value, total in zip(self.constants, learned, strict=False):
            found.append(total.sum_to_size(value.shape) if self.learn else None)
        found += [None] * (len(self.constants) - LEARNED)
        return [grad if need else None for grad, need in zip(found, needed, strict=True)]

    def _upstream(
        self, of_outputs: Tensor | None, of_records: Sequence[Tensor | None], trials: slice, first: int, end: int
    ) -> dict[str, Tensor | None]:
        """Return the derivatives with respect to what a segment gives, by the names that they have in the library."""
        names = ("of_spikes", "of_voltages", "of_filtered")
        found = {
            name: None if grad is None else grad[first:end, trials].contiguous()
            for name, grad in zip(names, of_records, strict=True)
        }
        if of_outputs is None:
            return found
        if self.options.readout == "maximum":
            found |= {"of_best": (of_outputs[trials] @ self.weight_out).contiguous(), "last": self.last[trials]}
        elif self.few_outputs:
            found["of_outputs"] = of_outputs[first:end, trials].contiguous()
        else:
            own = of_outputs[first:end, trials] @ self.weight_out
            recorded = found["of_filtered"]
            found["of_filtered"] = own if recorded is None else own + recorded
        return found

    def _retreat(self, segment: _Segment, first: int, pointers: dict[str, Tensor | None], adjoint: Tensor) -> None:
        """Go back through a segment; its currents become the derivatives with respect to what arrived."""
        parts = list(adjoint)
        if not self.stepwise:
            self._call("backward", segment, first, pointers, adjoint=parts)
            return
        for step in reversed(range(len(segment.given))):
            self._call("backward", segment, first, pointers, adjoint=parts, step=step)
            arrived = segment.current[step + 1]
            if self.modes:
                modes_in, scores, modes_out = self.recurrent
                torch.mm(arrived, modes_in, out=segment.of_projected[step])
                adjoint[3].addmm_(segment.of_projected[step] * scores, modes_out.T)
            else:
                adjoint[3].addmm_(arrived, self.recurrent[0])

    def _summed(self) -> int:
        """Return how many rows the library adds up for each trial."""
        return self.few_outputs + (0 if self.stepwise else self.few_inputs + 2 * self.modes)

    def _add_sums(self, sums: Tensor, of_weights: list[Tensor]) -> None:
        """Add the derivatives with respect to weights that the library has added up, shape (rows, N)."""
        if not self.stepwise:
            if self.few_inputs:
                of_weights[0] += sums[: self.few_inputs].T
            of_modes = sums[self.few_inputs : self.few_inputs + 2 * self.modes]
            of_weights[2] += of_modes[: self.modes].T
            of_weights[4] += of_modes[self.modes :].T
        if self.few_outputs:
            of_weights[1] += sums[-self.few_outputs :]

    def _add_products(
        self,
        segment: _Segment,
        of_outputs: Tensor | None,
        trials: slice,
        first: int,
        end: int,
        of_weights: list[Tensor],
    ) -> None:
        """Add a segment's derivatives with respect to weights that are large."""
        arrived = segment.current[1:].flatten(0, 1)
        before, after = segment.filtered[:-1].flatten(0, 1), segment.filtered[1:].flatten(0, 1)
        if self.stepwise or not self.few_inputs:
            of_weights[0].addmm_(arrived.T, segment.given.flatten(0, 1))
        if of_outputs is not None and self.options.readout == "trace" and not self.few_outputs:
            of_weights[1].addmm_(of_outputs[first:end, trials].reshape(len(after), -1).T, after)
        if not self.modes:
            of_weights[2].addmm_(arrived.T, before)
            return
        scores = self.recurrent[1]
        read, drive = segment.projected.flatten(0, 1), segment.of_projected.flatten(0, 1)
        of_weights[3] += (read * drive).sum(0)
        if self.stepwise:
            of_weights[2].addmm_(arrived.T, read * scores)
            of_weights[4].addmm_(before.T, drive * scores)


# What has a row for every step of a segment, apart from its own rows.
_IN_STEPS = frozenset({"given", "projected", "of_projected", "outputs", "of_outputs"}) | {
    f"of_{name}" for name in ("filtered", "voltages", "spikes")
}
