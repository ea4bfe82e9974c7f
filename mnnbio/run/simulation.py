"""The second step of a run: its two simulations, of many samples in short and of a few at length."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import xarray as xr

from mnnbio.run.fingerprint import fingerprint, of_code, of_file
from mnnbio.run.session import Session
from mnnbio.run.store import DECISIONS, KEY, STATISTICS, key_of, store, stored_parts
from mnnbio.run.training import trained_network

CODE = (
    "mnnbio.brian",
    "mnnbio.circuit",
    "mnnbio.connectivity",
    "mnnbio.export",
    "mnnbio.results",
    "mnnbio.simulate",
)


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
    from mnnbio.export import export
    from mnnbio.simulate import simulate as run_spikes
    from mnnbio.training.checkpoint import MODEL_FILE

    network, task, shared = trained_network(session), session.task, session.config.simulation
    model_key = of_file(session.folder.checkpoint / MODEL_FILE)
    for part in (DECISIONS, STATISTICS):
        planned = plan(session, part)
        key = fingerprint(
            model_key,
            of_code(*CODE),
            session.data_key,
            [*planned._replace(samples=planned.samples.tolist())],
            shared.dt,
            shared.codegen,
        )
        what = _describe(part, planned)
        if key_of(stored_parts(session.folder).get(part)) == key:
            session.reuse("simulate", what)
            continue
        with session.step("simulate", what):
            circuit = export(network, task.x_test[planned.samples], labels=task.class_names or None)
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
            tree["simulation"] = xr.DataTree(
                _with_samples(tree.children["simulation"].to_dataset(), session, planned.samples)
            )
            store(session.folder, part, tree)


def _with_samples(simulation: xr.Dataset, session: Session, samples: npt.NDArray[np.int64]) -> xr.Dataset:
    """Add which test samples the stimuli are, and their targets."""
    task = session.task
    targets = task.y_test[samples]
    values = np.array(task.class_names)[targets] if task.class_names else targets
    return simulation.assign_coords(
        sample=("stimulus", samples, {"long_name": "index into the test data"}),
        target=("stimulus", values, {"long_name": "true class" if task.class_names else "true value"}),
    )


def _describe(part: str, planned: Plan) -> str:
    return (
        f"{part}: {len(planned.samples)} samples × {planned.trials} trials × {planned.duration:g} ms "
        f"after {planned.warmup:g} ms"
    )
