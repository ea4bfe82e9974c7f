"""Run a network inside Python with Brian2's NumPy target: slower, without a compiler."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from mnnbio.brian.channels import Block
from mnnbio.brian.network import Realisation
from mnnbio.brian.plan_file import Job
from mnnbio.brian.session import brian_session
from mnnbio.brian.streams import bernoulli_gap, streams_of


def run_in_python(made: Realisation, job: Job, report: Callable[[int], None]) -> Iterator[Block]:
    """Run all presentations and yield what is recorded.

    Parameters
    ----------
    made : Realisation
        Made with the runtime device; it records the spikes of every population that a channel is about.
    job : Job
    report : callable
        Told the number of steps taken since it was last told; what it raises ends the run.
    """
    from brian2 import ms, second

    done, dt = 0, made.plan.dt

    def tell(elapsed: Any, completed: float, start: Any, duration: Any) -> None:
        nonlocal done
        now = number * job.n_steps + round(completed * job.n_steps)
        report(now - done)
        done = now

    made.sample_courses(job.n_steps, job.warmup_steps)
    with brian_session("runtime"):
        made.network.store("rest")
        try:
            for number, batch in enumerate(job.batches):
                made.network.restore("rest")
                start_presentations(made, batch[:, 0], batch[:, 1])
                made.network.run(job.n_steps * dt * ms, report=tell, report_period=0.2 * second, namespace={})
                for channel in job.channels:
                    if monitor := made.monitors.get(channel.population):
                        step = np.rint(monitor.t_[:] / (dt * 1e-3)).astype(np.int32)
                        yield job.block(number, channel, np.array(monitor.i[:], dtype=np.int32), step)
        finally:
            made.network.restore("rest")


def start_presentations(made: Realisation, stimulus: npt.NDArray[np.int64], key: npt.NDArray[np.int64]) -> None:
    """Put every replica at rest, with the parameters of its stimulus and its own random numbers."""
    made.stimulus = stimulus
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
