"""Other devices of Brian2: graphics cards, through brian2cuda and brian2genn.

What carries spikes and draws random numbers in our C++ program does not run there. So the plan becomes a plain Brian2
network, with the device's own synapses and random numbers, in which all presentations stand side by side; the device
builds and runs it. Physics is the same, spikes are other ones.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator, Mapping
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Literal, get_args

import numpy as np

from mnnbio.machine import check_choice
from mnnbio.spikes.compiling import work_folder
from mnnbio.spikes.network import MadeNetwork, make_network
from mnnbio.spikes.plain import load_plain, plain_plan
from mnnbio.spikes.plan import Plan
from mnnbio.spikes.planner import Planned
from mnnbio.spikes.processes import Deadline
from mnnbio.spikes.program import Program
from mnnbio.spikes.program_files import Job
from mnnbio.spikes.recording import Block, Kind
from mnnbio.spikes.session import brian_session

Device = Literal["cuda_standalone", "genn"]

_PACKAGES = {"cuda_standalone": "brian2cuda", "genn": "brian2genn"}
_NEEDS = {
    "cuda_standalone": "an NVIDIA graphics card, its CUDA toolkit, and the Brian2 that brian2cuda asks for",
    "genn": "GeNN, and the Brian2 that brian2genn asks for",
}


class DeviceUnavailable(ImportError):  # noqa: N818 - says what is the matter
    """The package of a device is not installed, or does not work here."""


def require_device(device: str) -> None:
    """Raise unless a device can be set.

    Raises
    ------
    ValueError
        If it is unknown.
    DeviceUnavailable
        If its package is not installed, or cannot be imported.
    """
    check_choice("device", device, get_args(Device))
    package = _PACKAGES[device]
    if find_spec(package) is None:
        raise DeviceUnavailable(
            f"device={device!r} needs the package {package}, which is not installed: pip install {package}. It needs "
            f"{_NEEDS[device]}. Without `device` the simulation runs as C++ on the processor"
        )
    try:
        import_module(package)
    except Exception as error:
        raise DeviceUnavailable(
            f"device={device!r} needs the package {package}, which is installed but cannot be imported "
            f"({type(error).__name__}: {error}). It needs {_NEEDS[device]}"
        ) from error


class DeviceProgram(Program):
    """A circuit that a device of Brian2 builds anew for every run.

    Parameters
    ----------
    planned : Planned
    kinds : mapping
        What is recorded of each recorded population.
    device : {"cuda_standalone", "genn"}
    build_dir : path-like or None
        Folder of the device's project, which is kept; None: a temporary one.
    most : int or None
        Presentations side by side, and so in one build; None: all.
    """

    def __init__(
        self,
        planned: Planned,
        kinds: Mapping[str, Kind],
        device: Device,
        build_dir: str | os.PathLike[str] | None,
        most: int | None,
    ) -> None:
        super().__init__(planned, kinds)
        self.device, self.build_dir, self.most = device, build_dir, most
        self._plain(planned.plan)  # what the device cannot do is said now

    def _replicas(self, plan: Plan, presentations: int) -> int:
        return min(self.most or presentations, presentations)

    def _blocks(self, plan: Plan, job: Job, processes: int, progress: Any, deadline: Deadline) -> Iterator[Block]:
        if deadline.timeout is not None:
            raise ValueError(f"`timeout` is not available with device={self.device!r}")
        plain = self._plain(plan)
        for number, batch in enumerate(job.batches):
            with brian_session(self.device), work_folder(self.build_dir) as folder:
                made = make_network(
                    dataclasses.replace(plain, replicas=len(batch)),
                    connected=True,
                    record=self.kinds,
                    stimulus=batch[:, 0],
                )
                load_plain(made)
                _run(made, job.n_steps, seed=int(batch[0, 1]) % 2**32, folder=str(folder))
                for channel in job.channels:
                    if (monitor := made.monitors.get(channel.population)) is not None:  # one without spikes is false
                        step = np.rint(np.asarray(monitor.t_[:]) / (plan.dt * 1e-3)).astype(np.int32)
                        yield job.block(number, channel, np.asarray(monitor.i[:], dtype=np.int32), step)
            progress(job.n_steps)

    def _plain(self, plan: Plan) -> Plan:
        """Return a plan without our own random numbers."""
        if plan.changes_in_time:
            raise ValueError(f"device={self.device!r} takes no inputs that change in time; leave out `device`")
        return plain_plan(plan)


def _run(made: MadeNetwork, n_steps: int, *, seed: int, folder: str) -> None:
    """Have the device build and run the network."""
    from brian2 import get_device, ms
    from brian2 import seed as set_seed

    set_seed(seed)
    made.network.run(n_steps * made.plan.dt * ms, namespace={})
    get_device().build(directory=folder, compile=True, run=True, with_output=False)
