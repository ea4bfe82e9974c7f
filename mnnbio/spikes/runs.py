"""Runs: what is presented and recorded, and the work that follows."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mnnbio.circuit import Circuit
from mnnbio.machine import require_integer
from mnnbio.spikes.layout import require_room_for_run
from mnnbio.spikes.program_files import Job
from mnnbio.spikes.recording import Channel, Kind, StateChannel, choose_channels
from mnnbio.spikes.streams import presentation_key
from mnnbio.spikes.timing import Times

Int64 = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, eq=False)
class Run:
    """Presentations of a run, their times, and what is recorded.

    Attributes
    ----------
    kinds : mapping
        What is recorded of the recorded populations.
    channels : sequence of Channel
        Of all populations of neurons, in the order of the circuit.
    times : Times
    dt : float
        ms.
    seed, n_stimuli, trials : int
        Of the whole run, of which this may be a share.
    pairs : ndarray of int64, shape (presentation, 2)
        The (stimulus, trial) pairs to present, in order.
    is_share : bool
        Whether these may not be all.
    states : sequence of StateChannel
        State variables that are recorded.
    carries : bool
        Whether weights that change are carried on from one presentation to the next, trial after trial.
    """

    kinds: Mapping[str, Kind]
    channels: Sequence[Channel]
    times: Times
    dt: float
    seed: int
    n_stimuli: int
    trials: int
    pairs: Int64
    is_share: bool
    states: Sequence[StateChannel] = ()
    carries: bool = False

    @classmethod
    def of(
        cls,
        circuit: Circuit,
        kinds: Mapping[str, Kind],
        times: Times,
        dt: float,
        seed: int,
        trials: int,
        presentations: npt.ArrayLike | None = None,
    ) -> Run:
        """Return a run of a circuit: all trials of all stimuli, or some (stimulus, trial) pairs.

        Raises
        ------
        ValueError
            If `trials` or `presentations` is out of range, or what is to be recorded does not suit the times.
        """
        require_integer("trials", trials, 1)
        n_stimuli = circuit.n_stimuli or 1
        if presentations is None:
            require_room_for_run(circuit, n_stimuli * trials)
        every = np.stack(np.meshgrid(np.arange(n_stimuli), np.arange(trials), indexing="ij"), axis=-1).reshape(-1, 2)
        sizes = {population.name: population.size for population in circuit.neurons}
        return cls(
            kinds=kinds,
            channels=choose_channels(kinds, sizes, times, dt),
            times=times,
            dt=dt,
            seed=seed,
            n_stimuli=n_stimuli,
            trials=int(trials),
            pairs=every if presentations is None else choose_presentations(circuit, presentations),
            is_share=presentations is not None,
        )

    @property
    def shape(self) -> tuple[int, ...]:
        """Numbers of stimuli and of trials, or of presentations of a share."""
        return (len(self.pairs),) if self.is_share else (self.n_stimuli, self.trials)

    def job(self, replicas: int) -> Job:
        """Return the work of a program that runs `replicas` presentations side by side."""
        n_batches = -(-len(self.pairs) // replicas)
        rows = np.zeros((n_batches * replicas, 2), dtype=np.int64)  # what fills up the last batch is run in vain
        rows[: len(self.pairs), 0] = self.pairs[:, 0]
        rows[: len(self.pairs), 1] = [presentation_key(self.seed, *pair) for pair in self.pairs.tolist()]
        return Job(
            states=self.states,
            carries=self.carries,
            n_steps=self.times.warmup_steps + self.times.duration_steps,
            warmup_steps=self.times.warmup_steps,
            channels=self.channels,
            batches=rows.reshape(n_batches, replicas, 2),
        )


def choose_presentations(circuit: Circuit, presentations: npt.ArrayLike) -> npt.NDArray[np.int64]:
    """Return (stimulus, trial) pairs, (presentation, 2).

    Raises
    ------
    ValueError
        If they are not pairs of integers, a stimulus is not one of the circuit's, or a pair comes twice.
    """
    pairs = np.asarray(presentations)
    if pairs.ndim != 2 or pairs.shape[1] != 2 or not len(pairs) or pairs.dtype.kind not in "iu":
        raise ValueError(
            "`presentations` must hold (stimulus, trial) pairs, an integer array of shape (n, 2) with n ≥ 1, got shape "
            f"{pairs.shape} of {pairs.dtype}"
        )
    n_stimuli = circuit.n_stimuli or 1
    wrong = (pairs < 0).any(axis=1) | (pairs[:, 0] >= n_stimuli)
    if wrong.any():
        place = int(np.argmax(wrong))
        raise ValueError(
            f"`presentations` must hold stimuli 0 … {n_stimuli - 1} and trials ≥ 0, got {tuple(pairs[place].tolist())} "
            f"at {place}"
        )
    if len(np.unique(pairs, axis=0)) < len(pairs):
        raise ValueError("`presentations` must hold every (stimulus, trial) pair once, got one twice")
    return pairs.astype(np.int64)


def choose_seed(seed: int | None) -> int:
    """Return the seed, or a fresh one."""
    if seed is None:
        return int.from_bytes(os.urandom(6), "little")
    require_integer("seed", seed, 0, 2**64 - 1)  # result files hold no larger numbers
    return int(seed)
