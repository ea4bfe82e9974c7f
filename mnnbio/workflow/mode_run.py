"""Run of a spiking network of few modes: train it, show it test trials, keep what it did, report.

Each step is done as far as it is missing or depends on what has changed; an interrupted training continues.

===============  ===========================================================================================
`/training`      loss of every step, measures of the evaluations
`/test`          scores, decisions and conditions of the test trials, firing rates, error or accuracy in time
`/conditions`    outputs, activity of the modes and population rates in time, mean and spread by condition
`/examples`      a few trials: inputs, outputs, voltages and activity of the modes
`/spikes`        their spikes
`/switch`        of contextual integration, as `/test`: trials in which the context changes after the stimulus
===============  ===========================================================================================
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from mnnbio.workflow.fingerprint import fingerprint, of_arrays, of_code
from mnnbio.workflow.mode_config import CONTEXT, DIGITS, ModeConfig
from mnnbio.workflow.pipeline import Journal, keep_report
from mnnbio.workflow.run_folder import KEY, RunFolder, key_of, read_json, write_json
from mnnbio.workflow.run_output import table

if TYPE_CHECKING:
    from mnnbio.training import ContextualBatches, Course, ImageBatches, SpikingNetwork, Task, Trials

RECORD = "run.json"
# Test trials that the evaluations during the training show.
WATCHED = 200
# What the evaluations during the training measure.
MEASURES = ("accuracy", "mse", "right", "right_switch")
# Neurons whose potentials are drawn and kept.
TRACED = 3


@dataclass
class ModeSession:
    """State that the steps of a run share: folder, configuration, data, result and journal.

    Parameters
    ----------
    folder : RunFolder
        Opened by this process.
    config : ModeConfig
    progress : bool
        Whether to show progress bars.

    Attributes
    ----------
    journal : Journal
        What is said and logged.
    """

    folder: RunFolder
    config: ModeConfig
    progress: bool = True
    journal: Journal = field(init=False)

    def __post_init__(self) -> None:
        self.journal = Journal(lambda text: print(text, flush=True), self.folder.note)

    @cached_property
    def images(self) -> Task:
        """The images, loaded at first use."""
        from mnnbio.training import load_task

        folder = self.config.task.data_dir
        return load_task("digits") if folder is None else load_task("mnist", folder)

    def trials(self, number: int, seed: int, *, switch: bool = False) -> Trials:
        """Return test trials of contextual integration."""
        from mnnbio.training import context_switch, contextual_integration

        task, dt = self.config.task, self.config.network.dt
        own = {name: getattr(task, name) for name in ("onset", "stimulus", "offset", "noise")}
        if switch:
            return context_switch(number, task.steps, dt, last=task.last, seed=seed, **own)
        return contextual_integration(number, task.steps, dt, seed=seed, **own)

    def require_task(self) -> None:
        """Raise if the data are not there, or the parts of a trial do not fit together."""
        if self.config.task.name == DIGITS:
            _ = self.images
        else:
            self.trials(1, 0, switch=True)

    @property
    def data_key(self) -> str:
        """Fingerprint of the images, empty for generated trials."""
        if self.config.task.name == CONTEXT:
            return ""
        task = self.images
        return of_arrays(task.x_train, task.y_train, task.x_test, task.y_test)


def do_everything(session: ModeSession) -> None:
    """Train, test and report, as far as that is not done yet, and say the figures."""
    from mnnbio.analyses import task_report

    key = train(session)
    tree = test(session, key)
    keep_report(tree, session.folder, session.journal, "mnnbio.analyses.task_page", task_report)
    paths = f"{session.folder.result}\n{session.folder.report}"
    session.journal.tell(f"\n{table(figures(tree))}\n\n{paths}")


def train(session: ModeSession) -> str:
    """Train the network, continue, or keep the one that is there, and return the fingerprint of what it depends on."""
    from mnnbio.training import FITTING_FILE, NETWORK_FILE, FittingOptions, fit, save_network

    folder, config, journal = session.folder.checkpoint, session.config, session.journal
    options = config.to_dict()
    key = fingerprint(
        session.data_key,
        *(options[part] for part in ("task", "network", "training")),
        of_code("mnnbio.training.spiking"),
    )
    record = read_json(folder / RECORD)
    if record.get(KEY) == key and record.get("done") and (folder / NETWORK_FILE).is_file():
        journal.tell(f"{'train':<10} reused: {_trained(record)}")
        return key
    folder.mkdir(exist_ok=True)
    if record.get(KEY) != key:
        for name in (NETWORK_FILE, FITTING_FILE):
            (folder / name).unlink(missing_ok=True)
        write_json(folder / RECORD, {KEY: key, "done": False})
    continued = " (continued)" if (folder / FITTING_FILE).is_file() else ""
    own = options["training"]
    with journal.stage("train", f"{config.task.name}: {own['steps']} steps of {own['batch_size']} trials{continued}"):
        network = _network(session)
        every = own.pop("evaluate_every")
        fitting = fit(
            network,
            _batches(session),
            FittingOptions(**own),
            evaluate=lambda network: _watch(session, network),
            evaluate_every=every,
            checkpoint_dir=folder,
            progress=session.progress,
        )
        record = {KEY: key, "done": True, "history": fitting.history, "seconds": fitting.seconds}
        save_network(network, folder / NETWORK_FILE)
        write_json(folder / RECORD, record)
        journal.tell(f"{'':<10} {_trained(record)}")
    return key


def test(session: ModeSession, key: str) -> xr.DataTree:
    """Show the trained network its test trials, unless that is done, and return the result.

    Parameters
    ----------
    session : ModeSession
    key : str
        Fingerprint of the training.
    """
    from mnnbio.results import load, save
    from mnnbio.training import NETWORK_FILE, load_network

    folder, config, journal = session.folder, session.config, session.journal
    own = fingerprint(key, config.test.to_dict(), of_code("mnnbio.workflow.mode_run"))
    if folder.result.is_file():
        stored = load(folder.result)
        if key_of(stored) == own:
            journal.tell(f"{'test':<10} reused: {stored['test'].sizes['trial']} trials")
            return stored
    network = load_network(folder.checkpoint / NETWORK_FILE)
    context = config.task.name == CONTEXT
    number = config.test.trials
    number = len(session.images.x_test) if not context and number is None else number
    assert number is not None
    with journal.stage("test", f"{number} trials"):
        groups = _contextual(session, network, number) if context else _digits(session, network, number)
        groups["training"] = _curves(read_json(folder.checkpoint / RECORD))
        groups["/"] = xr.Dataset(attrs=_attributes(session, network, own))
        tree = xr.DataTree.from_dict(groups)
        save(tree, folder.result)
    return tree


def figures(tree: xr.DataTree) -> list[tuple[str, str]]:
    """Return what a run amounts to: what, and the figure as text."""
    rows: list[tuple[str, str]] = []
    for name, what in (("test", ""), ("switch", ", context changing")):
        if name not in tree.children:
            continue
        attrs = tree[name].attrs
        if "accuracy" in attrs:
            rows.append((f"accuracy, {tree[name].sizes['trial']} test images", f"{attrs['accuracy']:.4f}"))
            rows.append(("logistic regression on pixels", f"{attrs['baseline']:.4f}"))
        else:
            rows.append((f"mean squared error{what}", f"{attrs['mse']:.4f}"))
            rows.append((f"decisions right{what}", f"{attrs['right']:.3f}"))
            rows.append((f"an observer that sums the stimulus{what}", f"{attrs['baseline']:.3f}"))
        rows.append((f"mean firing rate{what}", f"{attrs['rate']:.1f} Hz"))
    attrs = tree.attrs
    rows.append(("trained", f"{attrs['training_steps']} steps in {attrs['training_seconds']:.0f} s"))
    return rows


def _network(session: ModeSession) -> SpikingNetwork:
    """Return the network before it is trained."""
    from mnnbio.training import SpikeFilter, SpikingNetwork, SpikingNeuron

    own, context = session.config.network, session.config.task.name == CONTEXT
    n_inputs, n_outputs = (4, 1) if context else (session.images.x_train.shape[1], len(session.images.class_names))
    return SpikingNetwork.random(
        n_inputs,
        own.neurons,
        n_outputs,
        modes=own.modes,
        seed=session.config.training.seed,
        neuron=SpikingNeuron(tau_m=own.tau_m, tau_syn=own.tau_syn, v_th=own.v_th, t_ref=own.t_ref, reset=own.reset),
        filter=SpikeFilter(kind=own.filter, tau_decay=own.tau_decay, tau_rise=own.tau_rise, scale=own.filter_scale),
        dt=own.dt,
        readout="trace" if context else "maximum",
        slope=own.slope,
    )


def _batches(session: ModeSession) -> ContextualBatches | ImageBatches:
    """Return the source of training trials."""
    from mnnbio.training import ContextualBatches, ImageBatches

    task = session.config.task
    if task.name == DIGITS:
        images = session.images
        x = images.x_train.astype(np.float32)
        return ImageBatches(images=x, labels=images.y_train, steps=task.steps)
    names = ("steps", "onset", "stimulus", "offset", "noise", "last", "switching")
    return ContextualBatches(dt=session.config.network.dt, **{name: getattr(task, name) for name in names})


def _watch(session: ModeSession, network: Any) -> dict[str, float]:
    """Return measures of a network during the training: of training images, or of trials of a seed of their own."""
    from mnnbio.training import contextual_scores, image_scores

    task, seed = session.config.task, session.config.test.seed + 2
    if task.name == DIGITS:
        x, y = session.images.x_train[:WATCHED].astype(np.float32), session.images.y_train[:WATCHED]
        return {"accuracy": image_scores(network, x, y, task.steps, seed=seed)["accuracy"]}
    found = {name: contextual_scores(network, session.trials(WATCHED, seed))[name] for name in ("mse", "right")}
    if task.switching:
        found["right_switch"] = contextual_scores(network, session.trials(WATCHED, seed, switch=True))["right"]
    return found


def _contextual(session: ModeSession, network: Any, number: int) -> dict[str, xr.Dataset]:
    """Return the groups of a network of contextual integration."""
    from mnnbio.training import contextual_course, integrated_stimuli

    own = session.config.test
    groups: dict[str, xr.Dataset] = {}
    for switch in (False, True):
        trials = session.trials(number, own.seed + switch, switch=switch)
        course = contextual_course(network, trials, examples=own.examples)
        scores = {
            "mse": float(course.score.mean()),
            "right": float((course.decisions == course.targets).mean()),
            "baseline": float((integrated_stimuli(trials) == trials.decisions).double().mean()),
        }
        made = _groups(course, network.dt, scores, ("squared error", "mean squared error"))
        shown = np.asarray(trials.targets)[:, course.examples.trials, 0]
        made["examples"] = made["examples"].assign(target=(("time", "trial"), shown, {"units": "1"}))
        groups |= made if not switch else {"switch": made["test"], "switch_examples": made["examples"]}
    return groups


def _digits(session: ModeSession, network: Any, number: int) -> dict[str, xr.Dataset]:
    """Return the groups of a network of digits."""
    from mnnbio.training import image_course, pixel_baseline
    from mnnbio.workflow.trained_run import spread_samples

    task, own = session.images, session.config.test
    rows = spread_samples(task.y_test, number)
    x, y = task.x_test[rows].astype(np.float32), task.y_test[rows]
    course = image_course(network, x, y, session.config.task.steps, seed=own.seed, examples=own.examples)
    scores = {
        "accuracy": float((course.decisions == y).mean()),
        "baseline": pixel_baseline(task.x_train, task.y_train, x, y),
    }
    groups = _groups(
        course, network.dt, scores, ("accuracy", "share of right decisions, if a presentation ended there")
    )
    shape = task.image_shape or (1, x.shape[1])
    pictures = x[course.examples.trials].reshape(-1, *shape)
    groups["examples"] = groups["examples"].assign(image=(("trial", "row", "column"), pictures, {"units": "1"}))
    return groups


def _groups(course: Course, dt: float, scores: dict[str, float], measure: tuple[str, str]) -> dict[str, xr.Dataset]:
    """Return a course as groups of a result."""
    steps, shown = len(course.score), course.examples
    time = ("time", 1e-3 * dt * np.arange(1, steps + 1), {"units": "s", "long_name": "end of the time step"})
    name, text = measure
    test = xr.Dataset(
        {
            "score": ("time", course.score, {"units": "1", "long_name": text}),
            "score_se": ("time", course.score_se, {"units": "1", "long_name": f"standard error of the {text}"}),
            "condition": ("trial", np.array(course.conditions)[course.condition]),
            "decision": ("trial", course.decisions),
            "target": ("trial", course.targets),
            "rate": ("neuron", course.rates, {"units": "Hz", "long_name": "firing rate"}),
        },
        coords={"time": time},
        attrs={**scores, "rate": float(course.rates.mean()), "measure": name},
    )
    unit = {"output": "1", "mode_activity": "1", "population_rate": "Hz"}
    conditions = xr.Dataset(
        {
            "output": (("condition", "time", "output_index"), course.outputs),
            "output_std": (("condition", "time", "output_index"), course.outputs_std),
            "mode_activity": (("condition", "time", "mode"), course.modes),
            "mode_activity_std": (("condition", "time", "mode"), course.modes_std),
            "population_rate": (("condition", "time"), course.population_rate),
        },
        coords={"condition": list(course.conditions), "time": time},
    )
    for variable in conditions.data_vars:
        conditions[variable].attrs["units"] = unit[str(variable).removesuffix("_std")]
    traced = np.argsort(-shown.spikes.sum((0, 1)), kind="stable")[:TRACED]
    examples = xr.Dataset(
        {
            "output": (("time", "trial", "output_index"), shown.outputs, {"units": "1"}),
            "voltage": (("time", "trial", "traced"), shown.voltages[..., traced], {"units": "mV"}),
            "mode_activity": (("time", "trial", "mode"), shown.modes, {"units": "1"}),
        },
        coords={
            "time": time,
            "number": ("trial", shown.trials),
            "condition": ("trial", np.array(course.conditions)[course.condition[shown.trials]]),
            "neuron": ("traced", traced),
        },
    )
    if shown.inputs.shape[2] <= 4:
        examples["input"] = (("time", "trial", "input_index"), shown.inputs, {"units": "1"})
    return {"test": test, "conditions": conditions, "examples": examples, "spikes": _spikes(shown.spikes, dt)}


def _spikes(fired: npt.NDArray[np.bool_], dt: float) -> xr.Dataset:
    """Return the spikes of example trials, shape (time, trial, neuron), each in the middle of its step."""
    from mnnbio.results import neuron_coords, ragged

    steps, trials, neurons = fired.shape
    _, _, step = np.nonzero(fired.transpose(1, 2, 0))  # train after train
    coords = {"trial": np.arange(trials), **neuron_coords({"recurrent": neurons})}
    length = {"duration": 1e-3 * dt * steps, "warmup": 0.0, "dt": 1e-3 * dt}
    return ragged(1e-3 * dt * (step + 0.5), fired.sum(0), ("trial", "neuron"), coords, **length)


def _curves(record: dict[str, Any]) -> xr.Dataset:
    """Return the course of the training."""
    history = dict(record["history"])
    evaluated = np.array(history.pop("evaluated", []))
    every = {name: history.pop(name) for name in ("loss", "learning_rate", "gradient_norm")}
    return xr.Dataset(
        {name: ("step", values, {"units": "1"}) for name, values in every.items()}
        | {name: ("evaluated", values, {"units": "1"}) for name, values in history.items()},
        coords={"step": np.arange(1, len(every["loss"]) + 1), "evaluated": evaluated},
    )


def _attributes(session: ModeSession, network: Any, key: str) -> dict[str, Any]:
    """Return what a result says of its making."""
    from mnnbio.results import versions

    config, record = session.config, read_json(session.folder.checkpoint / RECORD)
    parameters = sum(parameter.numel() for parameter in network.parameters())
    return {
        KEY: key,
        "task": config.task.name,
        "data": "generated" if config.task.name == CONTEXT else session.images.name,
        "options": json.dumps(config.to_dict()),
        "neurons": config.network.neurons,
        "modes": config.network.modes or 0,
        "parameters": parameters,
        "dt": 1e-3 * config.network.dt,
        "training_steps": config.training.steps,
        "batch_size": config.training.batch_size,
        "training_seconds": float(record["seconds"]),
        "seed": config.training.seed,
        **versions(),
    }


def _trained(record: dict[str, Any]) -> str:
    history = record["history"]
    last = [f"{name} {values[-1]:.4f}" for name, values in history.items() if name in MEASURES]
    return f"{len(history['loss'])} steps in {record['seconds']:.0f} s: {', '.join(last)}"
