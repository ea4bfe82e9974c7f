"""Run of a trained network: train it, simulate many samples briefly and a few at length, predict, compare, report.

Each step is done as far as it is missing, failed, or depends on what has changed. A simulation may also go to a C++
project that needs no Python, and its output come back as a result file.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import xarray as xr

from mnnbio.neurons import LIFParameters
from mnnbio.workflow.fingerprint import fingerprint, of_arrays, of_code
from mnnbio.workflow.pipeline import (
    Journal,
    ReportFailed,
    Theory,
    labelled,
    remarked,
    remarks_of,
    report_on,
    require_affordable,
    with_theory,
)
from mnnbio.workflow.run_config import Config, require_steps
from mnnbio.workflow.run_folder import (
    DECISIONS,
    KEY,
    STATISTICS,
    TRAINING,
    RunFolder,
    Store,
    key_of,
    read_json,
    write_json,
)

if TYPE_CHECKING:
    from mnnbio.circuit import Circuit
    from mnnbio.nn import MomentNetwork
    from mnnbio.training import Task


@dataclass
class Session:
    """State that the steps of a run share: folder, configuration, data, result file and journal.

    Parameters
    ----------
    folder : RunFolder
        Opened by this process.
    config : Config
    progress : bool
        Whether to show progress bars.

    Attributes
    ----------
    journal : Journal
        What is said and logged, and what was remarked.
    """

    folder: RunFolder
    config: Config
    progress: bool = True
    journal: Journal = field(init=False)

    def __post_init__(self) -> None:
        self.journal = Journal(lambda text: print(text, flush=True), self.folder.note)

    @cached_property
    def task(self) -> Task:
        """The data, loaded at first use."""
        from mnnbio.training import load_table, load_task

        data = self.config.data
        if data.name == "table":
            assert data.file is not None
            assert data.target is not None
            return load_table(data.file, data.target, data.kind, data.test_fraction, data.split_seed)
        return load_task(data.name, data.data_dir)

    def require_affordable(self) -> None:
        """Raise if the simulations do not fit into the memory that is free, or have more steps than come to an end."""
        task, config = self.task, self.config
        layers = [2 * task.x_train.shape[1], *config.model.hidden]  # features may be pairs of trains
        few, many = config.statistics, config.decisions
        for part, time, stimuli in ((few, few.duration, few.stimuli), (many, many.window, many.stimuli)):
            shown = min(stimuli or len(task.x_test), len(task.x_test))
            require_steps(part.SECTION, part.warmup + time, shown * part.trials, config.simulation.dt)
            require_affordable(
                neurons=sum(config.model.hidden),
                synapses=float(sum(a * b for a, b in pairwise(layers))),
                presentations=shown * part.trials,
                remedy="Choose smaller layers: --hidden.",
            )

    @cached_property
    def store(self) -> Store:
        """The result file."""
        return Store(self.folder.result)

    @cached_property
    def data_key(self) -> str:
        """Fingerprint of the data."""
        task = self.task
        return of_arrays(task.x_train, task.y_train, task.x_test, task.y_test)

    def say(self, text: str) -> None:
        """Print a line and put it into the log."""
        self.journal.tell(text)

    def reuse(self, name: str, what: str) -> None:
        """Say that a step is not needed."""
        self.say(f"{name:<10} reused: {what}")


TRAINING_RECORD = "run.json"


class NotTrainedError(ValueError):
    """A step needs a trained network and there is none."""


def train(session: Session) -> None:
    """Train the network, or continue, or reuse the one that is there."""
    from mnnbio.training import MODEL_FILE, TRAINING_FILE, load_model, save_model

    folder, task = session.folder.checkpoint, session.task
    record = read_json(folder / TRAINING_RECORD)
    key = _key(session)
    if record.get(KEY) == key and record.get("done") and (folder / MODEL_FILE).is_file():
        session.reuse("train", _summary(record))
    else:
        if record.get(KEY) != key:
            for name in (MODEL_FILE, TRAINING_FILE):
                (folder / name).unlink(missing_ok=True)
            write_json(folder / TRAINING_RECORD, {KEY: key, "done": False})
        continued = " (continued)" if (folder / TRAINING_FILE).is_file() else ""
        what = f"{task.name}: {len(task.x_train)} training samples, {len(task.x_test)} test samples{continued}"
        with session.journal.stage("train", what):
            estimator = _estimator(session)
            estimator.fit(task.x_train, task.y_train)
            record = {
                KEY: key,
                "done": True,
                "history": estimator.history_,
                "best_epoch": estimator.best_epoch_,
                "test_score": float(estimator.score(task.x_test, task.y_test)),
                "score": "accuracy" if task.kind == "classification" else "r2",
                "sizes": list(estimator.model_.sizes),
            }
            save_model(estimator.model_, folder)
            write_json(folder / TRAINING_RECORD, record)
            session.say(f"{'':<10} {_summary(record)}")
    if key_of(session.store.parts.get(TRAINING)) != key:
        curves = training_curves(record)
        if session.config.data.name == "table":
            from mnnbio.workflow.table_run import models_beside

            estimator = _estimator(session).set_params(checkpoint_dir=None, progress=False)
            table = models_beside(session, "moment network", load_model(folder), estimator)
            curves = curves.assign({"models": xr.DataTree(table)})
        session.store.put(TRAINING, curves)


def trained_network(session: Session) -> MomentNetwork:
    """Return the network of the run.

    Raises
    ------
    NotTrainedError
        If there is none, or its training was not finished.
    ValueError
        If it does not fit the data.
    """
    from mnnbio.training import MODEL_FILE, load_model

    folder = session.folder.checkpoint
    if not (folder / MODEL_FILE).is_file():
        raise NotTrainedError(
            f"{session.folder} holds no trained network; train one first: mnnbio train {session.folder}"
        )
    if read_json(folder / TRAINING_RECORD).get(KEY) != _key(session):
        session.say(f"{'':<10} note: the network was trained with other settings or code; mnnbio run trains it anew")
    network = load_model(folder)
    task = session.task
    expected = (task.x_train.shape[1], *session.config.model.hidden, max(1, len(task.class_names)))
    found = (network.encoder.in_features, *network.sizes[1:])
    if found != expected:
        raise ValueError(
            f"{folder / MODEL_FILE} is of another architecture: this run has features, neurons and outputs "
            f"{'-'.join(map(str, expected))}, the file {'-'.join(map(str, found))}; remove it and train again"
        )
    return network


def _key(session: Session) -> str:
    options = session.config.to_dict()
    return fingerprint(session.data_key, options["model"], options["training"], of_code("mnnbio.training"))


def _estimator(session: Session) -> Any:
    """Return the scikit-learn estimator that the configuration describes."""
    from mnnbio.training import MomentClassifier, MomentRegressor

    model, training = session.config.model, session.config.training
    kind = MomentClassifier if session.task.kind == "classification" else MomentRegressor
    return kind(
        model.hidden,
        lif=LIFParameters(tau_m=model.tau_m, v_th=model.v_th, v_reset=model.v_reset, t_ref=model.t_ref),
        encoding=model.encoding,
        scaling=model.scaling,
        max_rate=model.max_rate,
        noise=model.noise,
        closure=model.closure,
        loss=training.loss,
        epochs=training.epochs,
        batch_size=training.batch_size,
        learning_rate=training.learning_rate,
        schedule=training.schedule,
        weight_decay=training.weight_decay,
        label_smoothing=training.label_smoothing,
        window=training.window,
        validation_fraction=training.validation_fraction,
        patience=training.patience,
        dtype=training.dtype,
        device=training.device,
        progress=session.progress,
        checkpoint_dir=session.folder.checkpoint,
        random_state=training.seed,
    )


def _summary(record: dict[str, Any]) -> str:
    name = "accuracy" if record["score"] == "accuracy" else "R²"
    epochs = len(record["history"]["train_loss"])
    return (
        f"{'-'.join(map(str, record['sizes']))} network, test {name} {record['test_score']:.4f} "
        f"(epoch {record['best_epoch']} of {epochs})"
    )


def training_curves(record: dict[str, Any]) -> xr.DataTree:
    """Return the course of the training as a part of the result."""
    epochs = np.arange(1, len(record["history"]["train_loss"]) + 1)
    curves = xr.Dataset(
        {
            name.replace("score", record["score"]): (
                "epoch",
                values,
                {"units": "1", "long_name": name.replace("_", " ")},
            )
            for name, values in record["history"].items()
        },
        coords={"epoch": ("epoch", epochs, {"long_name": "epoch"})},
        attrs={name: record[name] for name in (KEY, "best_epoch", "test_score", "score")},
    )
    return xr.DataTree(curves)


class RunPlan(NamedTuple):
    """Plan of one of the two simulations; times in ms."""

    samples: npt.NDArray[np.int64]
    """Indices into the test data."""
    duration: float
    trials: int
    warmup: float
    window: float
    seed: int
    covariance: bool


def planned_simulation(session: Session, part: str) -> RunPlan:
    """Return what the simulation of decisions or statistics runs."""
    config, y = session.config, session.task.y_test
    if part == DECISIONS:
        own = config.decisions
        samples = spread_samples(y, own.stimuli)
        return RunPlan(samples, own.window, own.trials, own.warmup, own.window, config.simulation.seed, False)
    few = config.statistics
    samples = spread_samples(y, few.stimuli)
    # Another seed: the two simulations show some of the same samples and shall not share their noise.
    return RunPlan(samples, few.duration, few.trials, few.warmup, few.window, config.simulation.seed + 1, True)


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
    from mnnbio.spikes import simulate as run_spikes

    network, shared = trained_network(session), session.config.simulation
    for part in (DECISIONS, STATISTICS):
        planned = planned_simulation(session, part)
        what = _describe(part, planned)
        circuit = circuit_of(session, network, planned)
        coords = stimulus_coords(session, planned)
        key = fingerprint(
            circuit.hash(),
            of_code("mnnbio.spikes"),
            of_arrays(planned.samples, coords["target"].to_numpy()),
            [*planned[1:]],
            shared.dt,
            shared.codegen,
        )
        if key_of(session.store.parts.get(part)) == key:
            session.reuse("simulate", what)
            continue
        with session.journal.stage("simulate", what):
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
            session.store.put(part, with_inputs(labelled(tree, coords), session, planned))


def circuit_of(session: Session, network: MomentNetwork, planned: RunPlan) -> Circuit:
    """Return the circuit of a network, shown the planned samples."""
    from mnnbio.exporting import export

    task = session.task
    return export(network, task.x_test[planned.samples], labels=task.class_names or None)


def stimulus_coords(session: Session, planned: RunPlan) -> xr.Dataset:
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


def with_inputs(tree: xr.DataTree, session: Session, planned: RunPlan) -> xr.DataTree:
    """Return a simulation with the first samples that it was shown, which the report draws."""
    from mnnbio.results import example_inputs

    task, samples = session.task, planned.samples[:8]
    targets = task.y_test[samples]
    shown = example_inputs(
        task.x_test[samples],
        targets=np.array(task.class_names)[targets] if task.class_names else targets,
        image_shape=task.image_shape,
        feature_names=task.feature_names,
    )
    return tree.assign({"inputs": xr.DataTree(shown)})


def _describe(part: str, planned: RunPlan) -> str:
    return (
        f"{part}: {len(planned.samples)} samples × {planned.trials} trials × {planned.duration:g} ms "
        f"after {planned.warmup:g} ms"
    )


Closure = Literal["auto", "moments", "poisson", "renewal"]
TrainedClosure = Literal["moments", "poisson"]
Theories = Literal["diffusion", "first_passage"]


class NotSimulatedError(ValueError):
    """A step needs a simulation and there is none."""


def compare(session: Session) -> list[str]:
    """Compare theory and spikes of both simulations, as far as that is not done, and return what failed, as remarks."""
    config, parts = session.config, session.store.parts
    remarks: list[str] = []
    for name in (DECISIONS, STATISTICS):
        if name not in parts:
            raise NotSimulatedError(
                f"{session.folder} holds no simulation of the {name}; simulate first: mnnbio simulate {session.folder}"
            )
        part, options = parts[name], _theory_options(config, name)
        key = fingerprint(key_of(part), of_code("mnnbio.theory", "mnnbio.analyses"), *options.values())
        if "comparison" in part.children and key_of(part.children["comparison"]) == key:
            session.reuse("compare", name)
            continue
        journal = session.journal
        before = len(journal.remarks)
        with journal.stage("compare", f"{name}: theory and spikes"):
            result = predicted(part, journal, **options)
            mine = journal.remarks[before:]
            if not mine:
                result.children["comparison"].attrs[KEY] = key
            session.store.put(name, remarked(result, mine))
        remarks += mine
    return remarks


def _theory_options(config: Config, part: str) -> dict[str, Any]:
    """Return how a simulation is predicted: decisions as the network was trained, in continuous time."""
    if part == DECISIONS:
        return {"trained": config.model.closure}
    return {"closure": config.simulation.closure, "theory": config.simulation.theory}


def predicted(
    tree: xr.DataTree,
    journal: Journal,
    *,
    trained: TrainedClosure | None = None,
    closure: Closure = "auto",
    theory: Theories = "diffusion",
) -> xr.DataTree:
    """Return a simulation with its prediction and comparison; what fails is remarked in the journal.

    Parameters
    ----------
    tree : DataTree
        A simulation. That of decisions is of a circuit with a readout, and its stimuli have a coordinate `target`.
    journal : Journal
    trained : {"moments", "poisson"}, optional
        Of decisions: the closure that the network was trained with. It is predicted in continuous time, and
        ``/comparison`` holds the scores of both networks: of classes, what `mnnbio.analyses.classification` gives; of
        values, `moment_r2` and `spiking_r2`.
    closure, theory : str
        Of statistics, as `predict` takes them; ``/comparison`` is that of rates, variances and covariances.
    """
    from mnnbio.analyses import compare as compare_results
    from mnnbio.theory import predict

    dt, window = (1e3 * tree.attrs[name] for name in ("dt", "window"))  # s → ms
    chosen = None if closure == "auto" else closure

    def of_decisions() -> xr.Dataset:
        return predict(_circuit(tree), window=window, closure=trained, covariance=False)

    def of_statistics() -> xr.Dataset:
        return predict(_circuit(tree), dt=dt, window=window, closure=chosen, theory=theory)

    if trained is None:
        return with_theory(tree, [Theory("prediction", of_statistics)], compare_results, journal)
    return with_theory(tree, [Theory("prediction of decisions", of_decisions)], _scores, journal)


def _scores(prediction: xr.Dataset, tree: xr.DataTree) -> xr.Dataset:
    """Return the scores of both networks on the targets of the stimuli."""
    from mnnbio.analyses import classification, stored_readout

    simulation = tree.children["simulation"].to_dataset()
    target, readout = simulation["target"], stored_readout(tree)
    if readout is not None and readout.labels is not None:
        return classification(prediction, tree, labels=target)
    return _determination(prediction["readout"], simulation["readout"], target)


def _circuit(tree: xr.DataTree) -> Circuit:
    """Return the circuit that was simulated."""
    from mnnbio.circuit import Circuit

    return Circuit.from_json(str(tree["circuit"].item()))


def _determination(moment: xr.DataArray, spiking: xr.DataArray, target: xr.DataArray) -> xr.Dataset:
    """Return R² of both networks; that of the spiking one is the mean over trials of the R² of each."""
    truth = target.to_numpy()[:, None]
    total = np.square(truth - truth.mean()).sum()

    def r2(outputs: xr.DataArray) -> float:
        return float(1 - np.square(outputs.transpose("stimulus", "output").to_numpy() - truth).sum() / total)

    trials = [r2(spiking.isel(trial=k)) for k in range(spiking.sizes["trial"])]
    found = {
        "moment_r2": (r2(moment), "R² of the moment network"),
        "spiking_r2": (float(np.mean(trials)), "R² of the spiking network, mean over trials"),
    }
    return xr.Dataset({name: ((), value, {"units": "1", "long_name": text}) for name, (value, text) in found.items()})


REPORT_RECORD = ".report.json"


def report(session: Session) -> None:
    """Write the report, unless the one that is there is of the same results.

    Raises
    ------
    NotSimulatedError
        If there is nothing to report on.
    ReportFailed
        If it cannot be written.
    """
    folder, parts = session.folder, session.store.parts
    for name in (DECISIONS, STATISTICS):
        if name not in parts or not ("comparison" in parts[name].children or remarks_of(parts[name])):
            raise NotSimulatedError(
                f"{folder} holds no comparison of the {name}; compare first: mnnbio compare {folder}"
            )
    remarks = list(dict.fromkeys(r for name in (DECISIONS, STATISTICS) for r in remarks_of(parts[name])))
    made_of = [key_of(parts[name].children.get("comparison")) for name in (DECISIONS, STATISTICS)]
    key = fingerprint(
        made_of, remarks, sorted(map(str, map(key_of, parts.values()))), of_code("mnnbio.analyses.html_report")
    )
    if folder.report.is_file() and folder.figures.is_dir() and read_json(folder.path / REPORT_RECORD).get(KEY) == key:
        session.reuse("report", str(folder.report))
        return
    with session.journal.stage("report", "figures and text"):
        title = f"Moments and spikes: {session.config.data.name}"
        tree = remarked(session.store.tree, remarks)
        if not report_on(tree, folder.report, session.journal, title=title):
            raise ReportFailed(
                f"{session.journal.remarks[-1]} {folder.result} is whole; try again: mnnbio report {folder}"
            )
        write_json(folder.path / REPORT_RECORD, {KEY: key})
