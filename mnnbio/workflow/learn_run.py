"""Run that learns from spikes: make a reference, let a learner fire its spikes, judge it, report.

Each step is done as far as it is missing or depends on what has changed; an interrupted learning continues.

=============  =============================================================================================
`/history`     scores of every pass
`/target`      spikes of the reference
`/spikes`      of the learner after the last pass; `/best_spikes` in its best, `/naive_spikes` before the first
`/scores`      F, precision, recall, van Rossum distance and rate of the learner, the naive one, without recurrence, and
               of the true weights; F by chance, and of true weights with a little noise
`/held_out`    F of the networks under currents that were not learned
`/weights`     true, naive, last and best weights, and how they agree
`/moments`     rates and covariances that theory predicts for these weights
=============  =============================================================================================
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from mnnbio.workflow.fingerprint import fingerprint, of_code
from mnnbio.workflow.learn_config import LearnConfig
from mnnbio.workflow.pipeline import Journal, keep_report, remarked, remarks_of
from mnnbio.workflow.run_folder import KEY, RunFolder, key_of, read_json, write_json
from mnnbio.workflow.run_output import table

if TYPE_CHECKING:
    from mnnbio.learning import FrozenNetwork, Learned, SpikeTargets, SpikeTask

RECORD = "run.json"
CHECKPOINT = "learning.npz"
# Networks that are judged, by name, beside the "true" one.
LAST, BEST, NAIVE, ZERO = "last", "best", "naive", "without recurrence"


@dataclass
class LearnSession:
    """State that the steps of a run share: folder, configuration, task, result and journal.

    Parameters
    ----------
    folder : RunFolder
        Opened by this process.
    config : LearnConfig
    progress : bool
        Whether to show progress bars.

    Attributes
    ----------
    journal : Journal
        What is said and logged.
    """

    folder: RunFolder
    config: LearnConfig
    progress: bool = True
    journal: Journal = field(init=False)

    def __post_init__(self) -> None:
        self.journal = Journal(lambda text: print(text, flush=True), self.folder.note)

    @cached_property
    def task(self) -> SpikeTask:
        """The reference, its spikes and the naive learner, made at first use."""
        from mnnbio.learning import spike_task

        own, judging = self.config.reference, self.config.judging
        return spike_task(
            own.seed,
            n=own.neurons,
            rho=own.rho,
            rate=own.rate,
            duration=own.duration,
            dt=own.dt,
            held_out=judging.held_out,
            codegen=judging.codegen,
        )

    @property
    def key(self) -> str:
        """Fingerprint of what the learning depends on."""
        options = self.config.to_dict()
        held_out = self.config.judging.held_out  # its currents come from the same generator
        return fingerprint(options["reference"], options["learning"], held_out, of_code("mnnbio.learning"))


def do_everything(session: LearnSession) -> None:
    """Learn, judge and report, as far as that is not done yet, and say the figures."""
    from mnnbio.analyses import learning_report

    tree = _kept(session)
    if tree is None:
        own = session.config.reference
        what = f"{own.neurons} neurons, {own.duration:g} ms, {own.rate:g} Hz, ρ = {own.rho:g}"
        with session.journal.stage("reference", what):
            _ = session.task
        with session.task.network(codegen=session.config.judging.codegen) as network:
            learned = learn(session, network)
            tree = judge(session, network, learned)
    keep_report(
        tree,
        session.folder,
        session.journal,
        "mnnbio.analyses.learning_page",
        lambda tree, path: learning_report(tree, path, remarks=remarks_of(tree)),
    )
    paths = f"{session.folder.result}\n{session.folder.report}"
    session.journal.tell(f"\n{table(figures(tree))}\n\n{paths}")


def _kept(session: LearnSession) -> xr.DataTree | None:
    """Return the stored result, if it is of the present options."""
    from mnnbio.results import load

    if not session.folder.result.is_file():
        return None
    stored = load(session.folder.result)
    if key_of(stored) != _own_key(session):
        return None
    session.journal.tell(
        f"{'learn':<10} reused: {stored.attrs['status']} after {stored['history'].sizes['pass']} passes"
    )
    return stored


def _own_key(session: LearnSession) -> str:
    return fingerprint(session.key, session.config.to_dict()["judging"], of_code("mnnbio.workflow.learn_run"))


def learn(session: LearnSession, network: FrozenNetwork) -> Learned:
    """Return what the rule makes of the naive learner; an interrupted fit goes on."""
    from tqdm import tqdm

    from mnnbio.learning import PSPM

    folder, journal = session.folder.checkpoint, session.journal
    folder.mkdir(exist_ok=True)
    checkpoint = folder / CHECKPOINT
    if read_json(folder / RECORD).get(KEY) != session.key:
        checkpoint.unlink(missing_ok=True)
        write_json(folder / RECORD, {KEY: session.key})
    own = session.config.to_dict()["learning"]
    continued = " (continued)" if checkpoint.is_file() else ""
    with (
        journal.stage("learn", f"{own['passes']} passes{continued}"),
        tqdm(total=own["passes"], disable=not session.progress, unit="pass") as bar,
    ):

        def shown(passes: int, f: float) -> None:
            bar.update(passes - bar.n)
            bar.set_postfix({"F": f"{f:.3f}"})

        found = PSPM(**own).fit(session.task.target, network, checkpoint=checkpoint, progress=shown)
    journal.tell(f"{'':<10} {found.status} after {found.passes} passes: F {found.best_f:.3f} at best")
    return found


def judge(session: LearnSession, network: FrozenNetwork, learned: Learned) -> xr.DataTree:
    """Put the learner beside naive, true and missing weights, keep everything, and return it.

    Parameters
    ----------
    session : LearnSession
    network : FrozenNetwork
        Within its ``with`` block.
    learned : Learned
    """
    from mnnbio.learning import membrane_ratio
    from mnnbio.results import save, versions

    task, config, journal = session.task, session.config, session.journal
    with journal.stage("judge", f"{config.judging.held_out} other currents, weights and moments"):
        weights = _weights(session, network, learned)
        passed = {name: network.run(w) for name, w in weights.items()}
        spikes = {name: network.spikes(found) for name, found in passed.items()}
        rho = {name: membrane_ratio(network, weights[name], found) for name, found in passed.items()}
        groups: dict[str, xr.Dataset] = {
            "history": learned.history,
            "target": task.target.to_dataset(),
            "spikes": spikes[LAST].to_dataset(),
            "best_spikes": spikes[BEST].to_dataset(),
            "naive_spikes": spikes[NAIVE].to_dataset(),
            "scores": _scores(session, network, weights["true"], spikes, rho),
            "weights": _recovery(network, weights),
        }
        if config.judging.held_out:
            groups["held_out"] = _held_out(session, network, weights)
        moments = journal.attempt("moments", lambda: _moments(network, weights))
        if moments is not None:
            groups["moments"] = moments
        groups["/"] = xr.Dataset(
            attrs={
                KEY: _own_key(session),
                "status": learned.status,
                "message": learned.message,
                "rule": learned.rule,
                "rho": float(learned.rho),
                "reference_rho": float(task.rho),
                "options": json.dumps(config.to_dict()),
                "circuit": learned.best.to_json(),
                "reference_circuit": task.reference.to_json(),
                "dt": 1e-3 * network.dt,
                "window": 1e-3 * config.learning.window,
                "seed": config.learning.seed,
                **versions(),
            }
        )
        tree = remarked(xr.DataTree.from_dict(groups), journal.remarks)
        save(tree, session.folder.result)
    return tree


def _weights(session: LearnSession, network: FrozenNetwork, learned: Learned) -> dict[str, npt.NDArray[np.float64]]:
    """Return weights by name of the network."""
    true = _matrix(session, session.task.reference)
    return {
        LAST: _matrix(session, learned.circuit),
        BEST: _matrix(session, learned.best),
        NAIVE: network.weights,
        ZERO: np.zeros_like(true),
        "true": true,
    }


def _nearly_true(session: LearnSession, true: npt.NDArray[np.float64]) -> list[npt.NDArray[np.float64]]:
    """Return draws of the true weights with a little noise, relative to each weight."""
    judging = session.config.judging
    rng = np.random.default_rng([session.config.learning.seed, 1])
    return [true * (1 + judging.noise * rng.standard_normal(true.shape)) for _ in range(judging.draws)]


def _matrix(session: LearnSession, circuit: Any) -> npt.NDArray[np.float64]:
    """Return the recurrent weights of a circuit of the task's structure, mV, (n, n)."""
    return session.task.network(circuit).weights


def _scores(
    session: LearnSession,
    network: FrozenNetwork,
    true: npt.NDArray[np.float64],
    spikes: Mapping[str, SpikeTargets],
    rho: Mapping[str, float],
) -> xr.Dataset:
    from mnnbio.analyses import chance_match, spike_distance, spike_match

    config, target = session.config, session.task.target
    window, length = config.learning.window, config.reference.duration
    rows: dict[str, list[float]] = {name: [] for name in ("f_score", "precision", "recall", "van_rossum", "rate")}
    for found in spikes.values():
        match = spike_match(found.times, target.times, window)
        for part in ("f_score", "precision", "recall"):
            rows[part].append(float(match[f"total_{part}"]))
        distance = spike_distance(found.times, target.times)
        rows["van_rossum"].append(float(distance["total_van_rossum"]))
        rows["rate"].append(found.rate)
    nearly = [
        float(spike_match(network.spikes(network.run(w)).times, target.times, window)["total_f_score"])
        for w in _nearly_true(session, true)
    ]
    units = {"rate": "Hz"}
    chance = chance_match(
        target.times,
        target.times,
        window,
        config.judging.shifts,
        config.learning.seed,
        duration=length,
        least_shift=min(50.0, length / 4),
    )
    rows["rho"] = [rho[name] for name in spikes]
    data = {name: ("network", values, {"units": units.get(name, "1")}) for name, values in rows.items()}
    return xr.Dataset(
        data,
        coords={"network": list(spikes)},
        attrs={
            "chance": float(chance["f_score"]),
            "chance_low": float(chance["f_score_low"]),
            "chance_high": float(chance["f_score_high"]),
            "target_rate": target.rate,
            "nearly_true": float(np.mean(nearly)),
            "nearly_true_sd": float(np.std(nearly)),
            "noise": config.judging.noise,
        },
    )


def _held_out(
    session: LearnSession, network: FrozenNetwork, weights: Mapping[str, npt.NDArray[np.float64]]
) -> xr.Dataset:
    from mnnbio.analyses import spike_match

    task, window = session.task, session.config.learning.window
    names = [name for name in weights if name != LAST]
    found = np.empty((len(names), len(task.held_out)))
    for k, (current, target) in enumerate(zip(task.held_out, task.held_out_targets, strict=True)):
        for row, name in enumerate(names):
            own = network.spikes(network.run(weights[name], currents=current))
            found[row, k] = float(spike_match(own.times, target.times, window)["total_f_score"])
    text = {"units": "1", "long_name": "F under a current that was not learned"}
    return xr.Dataset({"f_score": (("network", "current"), found, text)}, coords={"network": names})


def _recovery(network: FrozenNetwork, weights: Mapping[str, npt.NDArray[np.float64]]) -> xr.Dataset:
    from mnnbio.analyses import weight_recovery

    names = [name for name in weights if name != ZERO]
    kept = xr.Dataset(
        {
            "weight": (
                ("network", "neuron", "source"),
                np.stack([weights[name] for name in names]),
                {"units": "mV", "long_name": "recurrent weight, from source to neuron"},
            ),
            "source_sign": ("source", network.signs),
        },
        coords={"network": names},
    )
    parts = [weight_recovery(weights[name], weights["true"], autapses=False) for name in names if name != "true"]
    table = xr.concat(parts, xr.Variable("learner", [name for name in names if name != "true"]), combine_attrs="drop")
    return xr.merge([kept, table])


def _moments(network: FrozenNetwork, weights: Mapping[str, npt.NDArray[np.float64]]) -> xr.Dataset:
    from mnnbio.learning import TAU_CURRENT, compare_moments

    chosen = {name: weights[name] for name in ("true", BEST, NAIVE)}
    return compare_moments(network, chosen, reference="true", correlation_time=TAU_CURRENT)


def figures(tree: xr.DataTree) -> list[tuple[str, str]]:
    """Return what a run amounts to: what, and the figure as text."""
    scores = tree["scores"].to_dataset().set_coords("network")
    f = {str(name): float(scores["f_score"].sel(network=name)) for name in scores["network"].values}
    rows = [
        ("status", f"{tree.attrs['status']} after {tree['history'].sizes['pass']} passes"),
        ("ρ, recurrent over external input", f"{tree.attrs['reference_rho']:.2f}"),
        ("F of the best pass", f"{f[BEST]:.3f}"),
        ("F after the last pass", f"{f[LAST]:.3f}"),
        ("F of the naive learner, and without recurrence", f"{f[NAIVE]:.3f}, {f[ZERO]:.3f}"),
        ("F by chance", f"{scores.attrs['chance']:.3f}"),
        (
            f"F of true weights with {scores.attrs['noise']:.0%} noise",
            f"{scores.attrs['nearly_true']:.3f} ± {scores.attrs['nearly_true_sd']:.3f}",
        ),
    ]
    if "held_out" in tree.children:
        held = tree["held_out"]["f_score"].mean("current")
        own, naive = (float(held.sel(network=name)) for name in (BEST, NAIVE))
        rows.append(("F under other currents, learned and naive", f"{own:.3f}, {naive:.3f}"))
    return rows
