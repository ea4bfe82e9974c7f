"""Results: the labelled schema that predictions and simulations share, and the files that hold it."""

from mnnbio.results.estimates import Estimate, estimate_covariance, estimate_fano, estimate_mean, estimate_variance
from mnnbio.results.files import ResultFileError, load, save
from mnnbio.results.power_sums import covariance_of_sums, fano_of_sums, variance_of_sums
from mnnbio.results.schema import array, neuron_coords, versions
from mnnbio.results.spikes import counts, ragged, spike_trains

__all__ = [
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
    "save",
    "spike_trains",
    "variance_of_sums",
    "versions",
]
