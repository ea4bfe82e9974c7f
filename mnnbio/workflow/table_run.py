"""Run of a network that learns a table directly as spikes, and the models beside networks of tables.

Train, run the exported network in Brian2 on all test samples, put its decisions beside those of the non-spiking twin
and of gradient boosting, and report.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from mnnbio.workflow.fingerprint import fingerprint, of_code
from mnnbio.workflow.pipeline import ReportFailed, report_on
from mnnbio.workflow.run_folder import KEY, TRAINING, key_of
from mnnbio.workflow.run_output import table as aligned
from mnnbio.workflow.trained_run import Session, training_curves

SPIKES = "spiking network in Brian2"
# Test samples whose units are drawn through time.
SHOWN = 3


def models_beside(session: Session, name: str, network: Any, estimator: Any) -> xr.Dataset:
    """Return the answers of a trained network to the test data, beside those of its twin and of gradient boosting.

    Parameters
    ----------
    session : Session
    name : str
        What the network is called.
    network : Module
        As estimators hold it.
    estimator : MomentClassifier, MomentRegressor, SpikingClassifier or SpikingRegressor
        Whose twin is trained; not fitted.

    Returns
    -------
    Dataset
        As `mnnbio.analyses.model_table` returns it.
    """
    from mnnbio.training import answers, baseline_answers

    task, seed = session.task, session.config.training.seed
    with session.journal.stage("baselines", "non-spiking twin and gradient boosting"):
        found = {name: answers(network, task.x_test, task.kind)} | baseline_answers(estimator, task, seed)
    return side_by_side(session, found)


def side_by_side(session: Session, found: dict[str, Any]) -> xr.Dataset:
    """Return the answers of models to the test data, and their scores."""
    from mnnbio.analyses import model_table

    task = session.task
    return model_table(task.y_test, found, task.class_names or None, kind=task.kind)


def run_spiking(session: Session) -> None:
    """Do everything of a run of a network trained directly as spikes that is not done yet.

    Raises
    ------
    ReportFailed
        If the report cannot be written.
    """
    options = session.config.to_dict()
    code = of_code("mnnbio.training", "mnnbio.exporting", "mnnbio.spikes", "mnnbio.analyses")
    parts = [options[name] for name in ("model", "spiking", "training")]
    key = fingerprint(session.data_key, *parts, options["simulation"]["codegen"], code)
    if key_of(session.store.parts.get(TRAINING)) == key and session.folder.report.is_file():
        session.reuse("run", str(session.folder.report))
    else:
        tree = _made(session)
        tree.attrs[KEY] = key
        session.store.put(TRAINING, tree)
        with session.journal.stage("report", "figures and text"):
            title = f"Spikes that learned a table: {session.task.name}"
            if not report_on(session.store.tree, session.folder.report, session.journal, title=title):
                raise ReportFailed(session.journal.remarks[-1])
    session.say("\n" + _summary(session))


def _made(session: Session) -> xr.DataTree:
    """Train, simulate and compare; return training curves, models side by side, and states of units."""
    from mnnbio.analyses import unit_states
    from mnnbio.training import answers, save_model

    task, folder = session.task, session.folder.checkpoint
    estimator = _estimator(session)
    what = f"{task.name}: {len(task.x_train)} training samples, {len(task.x_test)} test samples"
    with session.journal.stage("train", what):
        estimator.fit(task.x_train, task.y_train)
        save_model(estimator.model_, folder)
    score = "accuracy" if task.kind == "classification" else "r2"
    record = {
        KEY: "",
        "history": estimator.history_,
        "best_epoch": estimator.best_epoch_,
        "test_score": float(estimator.score(task.x_test, task.y_test)),
        "score": score,
    }
    found = {"spiking network": answers(estimator.model_, task.x_test, task.kind)}
    attrs: dict[str, float] = {}
    if session.config.spiking.unit == "lif":
        spikes, attrs = _simulated(session, estimator)
        found[SPIKES] = spikes
    from mnnbio.training import baseline_answers

    with session.journal.stage("baselines", "non-spiking twin and gradient boosting"):
        found |= baseline_answers(
            _estimator(session).set_params(checkpoint_dir=None), task, session.config.training.seed
        )
    models = side_by_side(session, found).assign_attrs(attrs)
    drawn = np.unique(np.linspace(0, len(task.x_test) - 1, SHOWN).astype(int))
    drawn = drawn[np.argsort(task.y_test[drawn], kind="stable")]
    course = estimator.unit_states(task.x_test[drawn])
    targets = task.y_test[drawn]
    names = np.array(task.class_names)[targets] if task.class_names else targets
    states = unit_states(course.voltages, course.spikes, course.dt, course.populations, names.tolist())
    curves = training_curves(record)
    return curves.assign({"models": xr.DataTree(models), "states": xr.DataTree(states)})


def _simulated(session: Session, estimator: Any) -> tuple[Any, dict[str, float]]:
    """Return the answers of the network in Brian2, and the share of its spikes and decisions that are the same."""
    from mnnbio.exporting import export, read_spikes
    from mnnbio.spikes import simulate

    task, network = session.task, estimator.model_
    duration = network.timing.steps * network.timing.dt
    with session.journal.stage("simulate", f"{len(task.x_test)} test samples × {duration:g} ms in Brian2"):
        result = simulate(
            export(estimator, task.x_test),
            duration=duration,
            dt=network.timing.dt,
            seed=session.config.simulation.seed,
            codegen=session.config.simulation.codegen,
            progress=session.progress,
        )
        spikes = read_spikes(network, result).numpy()
    own = estimator.unit_states(task.x_test).spikes[..., -network.size :]
    outputs = estimator.outputs_of_spikes(spikes)
    same = {"same_spikes": float((spikes == own).all(axis=(0, 2)).mean())}
    session.say(f"{'':<10} {same['same_spikes']:.1%} of the samples with the same spikes in PyTorch and Brian2")
    if task.kind == "regression":
        return outputs[:, 0], same
    odds = np.exp(outputs - outputs.max(axis=1, keepdims=True))
    return odds / odds.sum(axis=1, keepdims=True), same


def _estimator(session: Session) -> Any:
    """Return the scikit-learn estimator that the configuration describes."""
    from mnnbio.training import SpikingClassifier, SpikingRegressor

    config = session.config
    model, spiking, training = config.model, config.spiking, config.training
    kind = SpikingClassifier if session.task.kind == "classification" else SpikingRegressor
    loss = training.loss
    return kind(
        model.hidden,
        unit=spiking.unit,
        encoding=spiking.inputs,
        scaling=model.scaling,
        max_rate=spiking.max_rate,
        duration=spiking.shown,
        dt=spiking.dt,
        readout=spiking.readout,
        loss=loss,
        epochs=training.epochs,
        batch_size=training.batch_size,
        learning_rate=training.learning_rate,
        schedule=training.schedule,
        weight_decay=training.weight_decay,
        label_smoothing=training.label_smoothing,
        validation_fraction=training.validation_fraction,
        patience=training.patience,
        dtype=training.dtype,
        device=training.device,
        progress=session.progress,
        checkpoint_dir=session.folder.checkpoint,
        random_state=training.seed,
    )


def _summary(session: Session) -> str:
    """Return the scores of all models as lines of text."""
    models = session.store.parts[TRAINING]["models"].to_dataset()
    score = "accuracy" if "accuracy" in models else "r2"
    label = "accuracy" if score == "accuracy" else "R²"
    rows = [
        (
            f"{name}: {label}",
            f"{float(models[score].sel(model=name)):.4f} ± {float(models[f'{score}_se'].sel(model=name)):.4f}",
        )
        for name in models["model"].to_numpy().tolist()
    ]
    if "same_spikes" in models.attrs:
        rows.append(("samples with the same spikes in Brian2", f"{models.attrs['same_spikes']:.1%}"))
    return f"{aligned(rows)}\n\n{session.folder.report}"
