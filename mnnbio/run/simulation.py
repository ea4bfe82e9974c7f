"""The second step of a run: its two simulations, of many samples in short and of a few at length."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt
import xarray as xr

from mnnbio.run.fingerprint import fingerprint, of_arrays, of_code
from mnnbio.run.session import Session
from mnnbio.run.store import DECISIONS, KEY, STATISTICS, key_of
from mnnbio.run.training import trained_network

if TYPE_CHECKING:
    from mnnbio.circuit import Circuit
    from mnnbio.nn import MomentNetwork


class Plan(NamedTuple):
    """What one of the two simulations runs; times in ms."""

    samples: npt.NDArray[np.int64]
    """Indices into the test data."""
    duration: float
    trials: int
    warmup: float
    window: float
    seed: int
    covariance: bool


def plan(session: Session, part: str) -> Plan:
    """Return what the simulation of decisions or statistics runs."""
    config, y = session.config, session.task.y_test
    if part == DECISIONS:
        own = config.decisions
        samples = spread_samples(y, own.stimuli)
        return Plan(samples, own.window, own.trials, own.warmup, own.window, config.simulation.seed, False)
    few = config.statistics
    samples = spread_samples(y, few.stimuli)
    # Another seed: the two simulations show some of the same samples and shall not share their noise.
    return Plan(samples, few.duration, few.trials, few.warmup, few.window, config.simulation.seed + 1, True)


def spread_samples(targets: npt.NDArray[np.generic], number: int | None) -> npt.NDArray[np.int64]:
    """Return the indices of samples evenly spread over the sorted targets: over the classes, or over the values.

    Parameters
    ----------
    targets : ndarray, shape (n,)
    number : int, optional
        How many; all if not given or if there are fewer.

    Returns
    -------
    ndarray of int
        In ascending order.
    """
    n = len(targets)
    if number is None or number >= n:
        return np.arange(n)
    order = np.argsort(targets, kind="stable")
    return np.sort(order[((np.arange(number) + 0.5) * n / number).astype(np.int64)])


def simulate(session: Session) -> None:
    """Run the simulations that are not there yet."""
    from mnnbio.simulate import simulate as run_spikes

    network, shared = trained_network(session), session.config.simulation
    for part in (DECISIONS, STATISTICS):
        planned = plan(session, part)
        what = _describe(part, planned)
        circuit = circuit_of(session, network, planned)
        coords = stimulus_coords(session, planned)
        key = fingerprint(
            circuit.hash(),
            of_code("mnnbio.simulate"),
            of_arrays(planned.samples, coords["target"].to_numpy()),
            [*planned[1:]],
            shared.dt,
            shared.codegen,
        )
        if key_of(session.store.parts.get(part)) == key:
            session.reuse("simulate", what)
            continue
        with session.step("simulate", what):
            tree = run_spikes(
                circuit,
                duration=planned.duration,
                trials=planned.trials,
                warmup=planned.warmup,
                window=planned.window,
                dt=shared.dt,
                seed=planned.seed,
                codegen=shared.codegen,
                covariance=planned.covariance,
                progress=session.progress,
            )
            tree.attrs[KEY] = key
            session.store.put(part, labelled(tree, coords))


def circuit_of(session: Session, network: MomentNetwork, planned: Plan) -> Circuit:
    """Return the circuit of a network, shown the planned samples."""
    from mnnbio.export import export

    task = session.task
    return export(network, task.x_test[planned.samples], labels=task.class_names or None)


def stimulus_coords(session: Session, planned: Plan) -> xr.Dataset:
    """Return which test samples the stimuli are, and their targets, as coordinates `sample` and `target`."""
    task = session.task
    targets = task.y_test[planned.samples]
    values = np.array(task.class_names)[targets] if task.class_names else targets
    return xr.Dataset(
        coords={
            "sample": ("stimulus", planned.samples, {"long_name": "index into the test data"}),
            "target": ("stimulus", values, {"long_name": "true class" if task.class_names else "true value"}),
        }
    )


def labelled(tree: xr.DataTree, coords: xr.Dataset) -> xr.DataTree:
    """Return a simulation with coordinates of its stimuli."""
    result = tree.copy()
    result["simulation"] = xr.DataTree(tree.children["simulation"].to_dataset().assign_coords(coords.coords))
    return result


def _describe(part: str, planned: Plan) -> str:
    return (
        f"{part}: {len(planned.samples)} samples × {planned.trials} trials × {planned.duration:g} ms "
        f"after {planned.warmup:g} ms"
    )
