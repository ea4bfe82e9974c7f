"""Names, dimensions and units of what predictions and simulations answer."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterable
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import xarray as xr

# name: (unit, long name). `<name>_se` is the standard error of the same quantity.
QUANTITIES: dict[str, tuple[str, str]] = {
    "rate": ("Hz", "firing rate"),
    "variance": ("Hz", "long-window spike count variance per time"),
    "fano": ("1", "long-window Fano factor"),
    "covariance": ("Hz", "long-window spike count covariance per time"),
    "covariance_diagonal": ("Hz", "diagonal part of the long-window covariance per time"),
    "covariance_factor": ("Hz^0.5", "low-rank factor of the long-window covariance per time"),
    "covariance_core": ("1", "core of the low-rank part of the long-window covariance per time"),
    "population_covariance": ("Hz", "long-window covariance per time of the summed spike counts of populations"),
    "pair_covariance": ("Hz", "mean long-window spike count covariance per time of two neurons"),
    "mode_mean": ("Hz", "mean activity of the modes"),
    "mode_covariance": ("Hz", "long-window covariance per time of the activity of the modes"),
    "power": ("Hz", "power spectral density of the population rate"),
    "cross_real": ("Hz", "cross-spectral density, real part"),
    "cross_imag": ("Hz", "cross-spectral density, imaginary part"),
    "coherence": ("1", "coherence of the population rates"),
    "frequency": ("Hz", "frequency of the oscillation"),
    "growth": ("1/s", "growth rate of the oscillation"),
    "onset_frequency": ("Hz", "frequency at which the loop is in phase"),
    "loop_gain": ("1", "gain of the loop in phase"),
    "spectral_radius": ("1", "largest modulus of an eigenvalue of gains times weights"),
    "largest_real": ("1", "largest real part of an eigenvalue of gains times weights"),
    "stable": ("1", "whether small deviations of the rates fade, without delays"),
    "stable_with_delays": ("1", "whether small deviations of the rates fade, with delays"),
    "count": ("1", "spike count in the bin"),
    "count_variance": ("1", "spike count variance in the window"),
    "count_fano": ("1", "Fano factor of the spike count in the window"),
    "count_covariance": ("1", "spike count covariance in the window"),
    "readout": ("1", "decision variable"),
    "readout_covariance": ("1", "covariance of the decision variable"),
    "mean_input": ("mV/s", "mean of the input current"),
    "std_input": ("mV/s^0.5", "standard deviation of the input current"),
    "sensitivity_real": ("1", "change of the eigenvalue per relative change of the connection, real part"),
    "sensitivity_imag": ("1", "change of the eigenvalue per relative change of the connection, imaginary part"),
    "sensitivity_amplitude": ("1", "component of the sensitivity towards the point 1"),
    "sensitivity_frequency": ("1", "component of the sensitivity that shifts the frequency"),
    "frequency_change": ("Hz", "change of the frequency per relative change of the connection"),
    "growth_change": ("1/s", "change of the growth rate per relative change of the connection"),
    "external_rate": ("Hz", "mean rate of the external input"),
    "external_factor": ("1", "rate of the external input relative to that of the given circuit"),
    "gain": ("1", "response of the rate to another at zero frequency"),
    "time_constant": ("s", "time constant of the response"),
    "delay": ("s", "delay of the response"),
    "fit_error": ("1", "root-mean-square error of the fitted response, relative to the response"),
    "spatial_transform": ("1", "Fourier transform of the spatial profile, relative to that at wave number zero"),
    "eigenvalue_real": ("1/s", "growth rate of the wave"),
    "eigenvalue_imag": ("1/s", "angular frequency of the wave"),
    "pair_covariance_std": ("Hz", "standard deviation, over pairs, of the covariance per time of two neurons"),
    "pair_covariance_skewness": ("1", "skewness, over pairs, of the covariance of two neurons"),
    "pair_covariance_kurtosis": ("1", "excess kurtosis, over pairs, of the covariance of two neurons"),
}


def array(name: str, dims: Iterable[str], values: Any, **attrs: Any) -> xr.DataArray:
    """Return a quantity of the schema with its unit and long name.

    Parameters
    ----------
    name : str
        A name in `QUANTITIES`, or one followed by ``_se`` for its standard error.
    dims : iterable of str
        Dimensions of `values`.
    values : array_like
        In the quantity's unit.
    **attrs
        How the number was made.
    """
    base = name.removesuffix("_se")
    unit, long_name = QUANTITIES[base]
    if base != name:
        long_name = f"standard error of the {long_name}"
    return xr.DataArray(
        np.asarray(values), dims=tuple(dims), name=name, attrs={"units": unit, "long_name": long_name, **attrs}
    )


def neuron_coords(sizes: dict[str, int], *, second: bool = False) -> dict[str, tuple[str, np.ndarray]]:
    """Return the coordinates of the `neuron` dimension.

    Parameters
    ----------
    sizes : dict
        Number of neurons of each population, in the order of the circuit; no populations give no neurons.
    second : bool
        Whether to add those of `neuron_j`, the second dimension of a covariance.
    """
    labels = {
        "neuron": np.arange(sum(sizes.values())),
        "population": np.repeat(np.array(list(sizes), dtype=str), np.array(list(sizes.values()), dtype=np.int64)),
        "index": np.concatenate([np.zeros(0, dtype=np.int64), *(np.arange(size) for size in sizes.values())]),
    }
    coords = {name: ("neuron", values) for name, values in labels.items()}
    if second:
        coords |= {f"{name}_j": ("neuron_j", values) for name, values in labels.items()}
    return coords


def group_name(dataset: xr.Dataset) -> str:
    """Return the group of a result that a single dataset is: what it says itself, else by its variables."""
    if "rate_predicted" in dataset or "moment_decision" in dataset:
        return "comparison"
    if "row_size" in dataset:
        return "spikes"
    if "group" in dataset.attrs:
        return str(dataset.attrs["group"])
    if "count" in dataset:
        return "counts"
    return "simulation" if "rate_se" in dataset or "n_samples" in dataset.attrs else "prediction"


def with_stimuli(dataset: xr.Dataset) -> xr.Dataset:
    """Return a dataset whose stimuli have the coordinate `stimulus`: their numbers, unless they are labelled."""
    if "stimulus" not in dataset.dims or "stimulus" in dataset.coords:
        return dataset
    return dataset.assign_coords(stimulus=np.arange(dataset.sizes["stimulus"]))


Result = TypeVar("Result", xr.Dataset, xr.DataTree)


def label_stimuli(result: Result, labels: npt.ArrayLike) -> Result:
    """Return a prediction or a simulation whose stimuli have names of their own.

    Parameters
    ----------
    result : Dataset or DataTree
        With the dimension `stimulus`; in a tree every group that has it is labelled.
    labels : array_like (stimulus,)
        Numbers or text, each once. `compare` asks for the same labels, in the same order, on both sides.

    Returns
    -------
    Dataset or DataTree
        A copy.

    Raises
    ------
    ValueError
        If there are no stimuli, or the labels do not suit their number or repeat themselves.
    """
    values = np.asarray(labels)
    nodes = [result] if isinstance(result, xr.Dataset) else list(result.subtree)
    sizes = {node.sizes["stimulus"] for node in nodes if "stimulus" in node.sizes}
    if not sizes:
        raise ValueError("there are no stimuli to label: the result has no dimension `stimulus`")
    if values.ndim != 1 or sizes != {len(values)}:
        raise ValueError(f"`labels` must be one for each of {sorted(sizes)} stimuli, got shape {values.shape}")
    if len(np.unique(values)) < len(values):
        raise ValueError(f"`labels` must differ from each other, got {values.tolist()}")
    if isinstance(result, xr.Dataset):
        return result.assign_coords(stimulus=values)
    return result.map_over_datasets(
        lambda dataset: dataset.assign_coords(stimulus=values) if "stimulus" in dataset.dims else dataset
    )


def example_inputs(
    inputs: npt.ArrayLike,
    *,
    targets: npt.ArrayLike | None = None,
    image_shape: tuple[int, int] | None = None,
    feature_names: Iterable[str] = (),
    number: int = 8,
) -> xr.Dataset:
    """Return the first inputs of a classifier, to be kept in a result as its group ``inputs`` and shown in a report.

    Parameters
    ----------
    inputs : array_like (stimulus, feature)
    targets : array_like (stimulus,), optional
        True classes or values.
    image_shape : tuple of int, optional
        Rows and columns, if the features are the pixels of an image.
    feature_names : iterable of str
    number : int
        Largest number of examples.

    Returns
    -------
    Dataset
        ``input`` over (example, row, column) or (example, feature), and the coordinate ``target``.
    """
    values = np.asarray(inputs)[:number]
    names = [str(name) for name in feature_names]
    coords: dict[str, Any] = {} if targets is None else {"target": ("example", np.asarray(targets)[:number])}
    dims: tuple[str, ...] = ("example", "feature")
    if image_shape is not None:
        values, dims = values.reshape(-1, *image_shape), ("example", "row", "column")
    else:
        coords |= {"feature": names} if len(names) == values.shape[1] else {}
    return xr.Dataset({"input": (dims, values, {"long_name": "input of the network"})}, coords=coords)


def versions() -> dict[str, str]:
    """Return the versions of the packages that a number may depend on, as attributes `<package>_version`."""
    found = {}
    for package in ("mnnbio", "brian2", "numpy", "scipy", "torch", "xarray"):
        try:
            found[f"{package}_version"] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
