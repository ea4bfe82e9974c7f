"""Results: the labelled schema that predictions and simulations share, and the files that hold it."""

from mnnbio.results.estimates import (
    Estimate,
    covariance_of_sums,
    estimate_covariance,
    estimate_fano,
    estimate_mean,
    estimate_variance,
    fano_of_sums,
    variance_of_sums,
)
from mnnbio.results.files import ResultFileError, load, read_attributes, read_variable, save, written_aside
from mnnbio.results.ragged import counts, ragged, spike_trains
from mnnbio.results.schema import QUANTITIES, array, neuron_coords, versions

__all__ = [
    "QUANTITIES",
    "Estimate",
    "ResultFileError",
    "array",
    "counts",
    "covariance_of_sums",
    "estimate_covariance",
    "estimate_fano",
    "estimate_mean",
    "estimate_variance",
    "fano_of_sums",
    "load",
    "neuron_coords",
    "ragged",
    "read_attributes",
    "read_variable",
    "save",
    "spike_trains",
    "variance_of_sums",
    "versions",
    "written_aside",
]
