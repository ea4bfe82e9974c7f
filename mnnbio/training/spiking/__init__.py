"""Spiking networks that are trained by surrogate gradients, those of few modes among them."""

from mnnbio.training.spiking.courses import Course, Examples, contextual_course, image_course, pixel_baseline
from mnnbio.training.spiking.encodings import InputEncoding
from mnnbio.training.spiking.feedforward import SpikingTableNetwork
from mnnbio.training.spiking.fitting import (
    FITTING_FILE,
    Batch,
    Batches,
    ContextualBatches,
    Fitting,
    FittingOptions,
    ImageBatches,
    contextual_scores,
    fit,
    image_scores,
)
from mnnbio.training.spiking.fused import SpikingBackend, spiking_backend
from mnnbio.training.spiking.graded import GradedTableNetwork, GradedUnit
from mnnbio.training.spiking.mode_classifier import SpikingModeClassifier
from mnnbio.training.spiking.networks import Activity, RateActivity, RateNetwork, SpikingNetwork, read_out
from mnnbio.training.spiking.recurrent_weights import FullWeights, ManyModesWarning, ModeWeights
from mnnbio.training.spiking.smnn_files import (
    CollapsedTaskWarning,
    TaskCheck,
    UntoldFilterWarning,
    check_smnn,
    load_smnn,
)
from mnnbio.training.spiking.steps import SpikeFilter, SpikingNeuron, spike
from mnnbio.training.spiking.stored_networks import NETWORK_FILE, load_network, save_network
from mnnbio.training.spiking.table_estimators import SpikingClassifier, SpikingRegressor, UnitStates
from mnnbio.training.spiking.tasks import (
    Trials,
    bernoulli_pixels,
    context_switch,
    contextual_integration,
    decisions,
    integrated_stimuli,
    repeated_stimulus,
)

__all__ = [
    "FITTING_FILE",
    "NETWORK_FILE",
    "Activity",
    "Batch",
    "Batches",
    "CollapsedTaskWarning",
    "ContextualBatches",
    "Course",
    "Examples",
    "Fitting",
    "FittingOptions",
    "FullWeights",
    "GradedTableNetwork",
    "GradedUnit",
    "ImageBatches",
    "InputEncoding",
    "ManyModesWarning",
    "ModeWeights",
    "RateActivity",
    "RateNetwork",
    "SpikeFilter",
    "SpikingBackend",
    "SpikingClassifier",
    "SpikingModeClassifier",
    "SpikingNetwork",
    "SpikingNeuron",
    "SpikingRegressor",
    "SpikingTableNetwork",
    "TaskCheck",
    "Trials",
    "UnitStates",
    "UntoldFilterWarning",
    "bernoulli_pixels",
    "check_smnn",
    "context_switch",
    "contextual_course",
    "contextual_integration",
    "contextual_scores",
    "decisions",
    "fit",
    "image_course",
    "image_scores",
    "integrated_stimuli",
    "load_network",
    "load_smnn",
    "pixel_baseline",
    "read_out",
    "repeated_stimulus",
    "save_network",
    "spike",
    "spiking_backend",
]
