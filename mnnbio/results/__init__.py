"""Results: the labelled schema that predictions and simulations share, and the files that hold it."""

from mnnbio.results.accessor import Extension, ResultAccessor, extend_accessor
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
from mnnbio.results.files import ResultFileError, load, read_attributes, read_variable, save
from mnnbio.results.ragged import (
    counts,
    ragged,
    rounded_to_steps,
    single_time,
    spike_trains,
    whole_steps,
    window_numbers,
)
from mnnbio.results.schema import (
    QUANTITIES,
    array,
    example_inputs,
    group_name,
    label_stimuli,
    neuron_coords,
    versions,
    with_stimuli,
)

__all__ = [
    "QUANTITIES",
    "Estimate",
    "Extension",
    "ResultAccessor",
    "ResultFileError",
    "array",
    "counts",
    "covariance_of_sums",
    "estimate_covariance",
    "estimate_fano",
    "estimate_mean",
    "estimate_variance",
    "example_inputs",
    "extend_accessor",
    "fano_of_sums",
    "group_name",
    "label_stimuli",
    "load",
    "neuron_coords",
    "ragged",
    "read_attributes",
    "read_variable",
    "rounded_to_steps",
    "save",
    "single_time",
    "spike_trains",
    "variance_of_sums",
    "versions",
    "whole_steps",
    "window_numbers",
    "with_stimuli",
]
