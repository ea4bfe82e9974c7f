"""The first step of a run: train the moment network and keep it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from mnnbio.lif import LIFParameters
from mnnbio.run.fingerprint import fingerprint, of_code
from mnnbio.run.folder import read_json, write_json
from mnnbio.run.session import Session
from mnnbio.run.store import KEY, TRAINING, key_of

if TYPE_CHECKING:
    from mnnbio.nn import MomentNetwork

RECORD = "run.json"


class NotTrainedError(ValueError):
    """A step needs a trained network and there is none."""


def train(session: Session) -> None:
    """Train the network, or continue, or reuse the one that is there."""
    from mnnbio.training import save_model
    from mnnbio.training.checkpoint import MODEL_FILE
    from mnnbio.training.loop import TRAINING_FILE

    folder, task = session.folder.checkpoint, session.task
    record = read_json(folder / RECORD)
    key = _key(session)
    if record.get(KEY) == key and record.get("done") and (folder / MODEL_FILE).is_file():
        session.reuse("train", _summary(record))
    else:
        if record.get(KEY) != key:
            for name in (MODEL_FILE, TRAINING_FILE):
                (folder / name).unlink(missing_ok=True)
            write_json(folder / RECORD, {KEY: key, "done": False})
        continued = " (continued)" if (folder / TRAINING_FILE).is_file() else ""
        what = f"{task.name}: {len(task.x_train)} training samples, {len(task.x_test)} test samples{continued}"
        with session.step("train", what):
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
            write_json(folder / RECORD, record)
            session.say(f"{'':<10} {_summary(record)}")
    if key_of(session.store.parts.get(TRAINING)) != key:
        session.store.put(TRAINING, _curves(record))


def trained_network(session: Session) -> MomentNetwork:
    """Return the network of the run.

    Raises
    ------
    NotTrainedError
        If there is none, or its training was not finished.
    ValueError
        If it does not fit the data.
    """
    from mnnbio.training import load_model
    from mnnbio.training.checkpoint import MODEL_FILE

    folder = session.folder.checkpoint
    if not (folder / MODEL_FILE).is_file():
        raise NotTrainedError(
            f"{session.folder} holds no trained network; train one first: mnnbio train {session.folder}"
        )
    if read_json(folder / RECORD).get(KEY) != _key(session):
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


def _curves(record: dict[str, Any]) -> xr.DataTree:
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
