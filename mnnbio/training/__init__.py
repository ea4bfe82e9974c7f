"""Training: learning tasks, scikit-learn estimators, the training loop and its checkpoints."""

from mnnbio.training.checkpoint import load_model, save_model
from mnnbio.training.data import Task, load_task
from mnnbio.training.encoding import make_encoder
from mnnbio.training.estimators import MomentClassifier, MomentRegressor
from mnnbio.training.idx import read_idx
from mnnbio.training.loop import Training, train
from mnnbio.training.options import TrainingOptions
from mnnbio.training.tables import load_table

__all__ = [
    "MomentClassifier",
    "MomentRegressor",
    "Task",
    "Training",
    "TrainingOptions",
    "load_model",
    "load_table",
    "load_task",
    "make_encoder",
    "read_idx",
    "save_model",
    "train",
]
