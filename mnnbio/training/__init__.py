"""Training: learning tasks, scikit-learn estimators, the training loop and its checkpoints."""

from mnnbio.training.baselines import TwinClassifier, TwinRegressor, gradient_boosting, twin_of
from mnnbio.training.checkpoint import MODEL_FILE, load_model, save_model
from mnnbio.training.data import Task, load_task, read_idx
from mnnbio.training.encoding import make_encoder
from mnnbio.training.estimators import MomentClassifier, MomentRegressor
from mnnbio.training.loop import TRAINING_FILE, Training, TrainingOptions, train
from mnnbio.training.spiking import (
    FullWeights,
    GradedTableNetwork,
    GradedUnit,
    ModeWeights,
    RateNetwork,
    SpikingClassifier,
    SpikingNetwork,
    SpikingRegressor,
    SpikingTableNetwork,
    read_out,
)
from mnnbio.training.table_files import TableWarning
from mnnbio.training.tables import load_table

__all__ = [
    "MODEL_FILE",
    "TRAINING_FILE",
    "FullWeights",
    "GradedTableNetwork",
    "GradedUnit",
    "ModeWeights",
    "MomentClassifier",
    "MomentRegressor",
    "RateNetwork",
    "SpikingClassifier",
    "SpikingNetwork",
    "SpikingRegressor",
    "SpikingTableNetwork",
    "TableWarning",
    "Task",
    "Training",
    "TrainingOptions",
    "TwinClassifier",
    "TwinRegressor",
    "gradient_boosting",
    "load_model",
    "load_table",
    "load_task",
    "make_encoder",
    "read_idx",
    "read_out",
    "save_model",
    "train",
    "twin_of",
]
