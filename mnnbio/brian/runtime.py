"""Run a network inside Python with Brian2's NumPy target: slower, without a compiler."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from mnnbio.brian.network import Realisation
from mnnbio.brian.session import brian_session
from mnnbio.brian.streams import bernoulli_gap, streams_of
from mnnbio.brian.trains import RawSpikes


def run_in_python(
    made: Realisation, n_steps: int, batches: npt.NDArray[np.int64], report: Callable[[int], None]
) -> Iterator[RawSpikes]:
    """Run all presentations and yield their spikes.

    Parameters
    ----------
    made : Realisation
        Made with the runtime device.
    n_steps : int
        Steps of a presentation.
    batches : ndarray of int64, shape (batch, replica, 2)
        As `Presentations.batches` gives them.
    report : callable
        Told the number of steps taken since it was last told; what it raises ends the run.
    """
    from brian2 import ms, second

    done, dt = 0, made.plan.dt

    def tell(elapsed: Any, completed: float, start: Any, duration: Any) -> None:
        nonlocal done
        now = number * n_steps + round(completed * n_steps)
        report(now - done)
        done = now

    with brian_session("runtime"):
        made.network.store("rest")
        try:
            for number, batch in enumerate(batches):
                made.network.restore("rest")
                start_presentations(made, batch[:, 0], batch[:, 1])
                made.network.run(n_steps * dt * ms, report=tell, report_period=0.2 * second, namespace={})
                for name, monitor in made.monitors.items():
                    step = np.rint(monitor.t_[:] / (dt * 1e-3)).astype(np.int32)
                    yield RawSpikes(number, name, np.array(monitor.i[:], dtype=np.int32), step)
        finally:
            made.network.restore("rest")


def start_presentations(made: Realisation, stimulus: npt.NDArray[np.int64], key: npt.NDArray[np.int64]) -> None:
    """Put every replica at rest, with the parameters of its stimulus and its own random numbers."""
    for variable, table, shared in made.parameters():
        rows = stimulus if len(table) > 1 else np.zeros_like(stimulus)
        variable.get_value()[:] = table[rows[:1] if shared else rows].ravel()
    for variable, start in made.states():
        variable.get_value()[:] = start
    for variable, width, salt in made.streams():
        variable.get_value()[:] = np.concatenate([streams_of(int(k), salt, width) for k in key])
    for group in made.sources():
        values = {name: group.variables[name].get_value() for name in ("next_spike", "stream", "gap_scale")}
        values["next_spike"][:] = bernoulli_gap(values["stream"], 0, values["gap_scale"]) - 1
