"""Figures of the accessor ``mnnbio``: the few drawn every day, of whatever result they are asked of."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import xarray as xr

from mnnbio.analyses.alignment import ComparisonWarning
from mnnbio.analyses.comparison import compare
from mnnbio.analyses.comparison_table import summary
from mnnbio.results import Extension, extend_accessor

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from mnnbio.analyses.figure_style import Panels


class Plots:
    """Figures of one result; every method takes the options of the function that it names, `ax` among them.

    Parameters
    ----------
    data : Dataset or DataTree
    """

    def __init__(self, data: xr.Dataset | xr.DataTree) -> None:
        self._data = data

    def raster(self, **options: Any) -> Panels:
        """Draw spikes and population rates: `mnnbio.analyses.plot_raster`."""
        from mnnbio.analyses.spike_plots import plot_raster

        return plot_raster(self._data, **options)

    def rates(self, **options: Any) -> Axes:
        """Draw the distribution of rates by population: `mnnbio.analyses.plot_rate_distribution`."""
        from mnnbio.analyses.result_plots import plot_rate_distribution

        return plot_rate_distribution(self._data, **options)

    def covariance(self, **options: Any) -> Panels:
        """Draw covariances ordered by population: `mnnbio.analyses.plot_covariance_matrices`."""
        from mnnbio.analyses.result_plots import plot_covariance_matrices

        return plot_covariance_matrices(self._data, **options)

    def comparison(self, **options: Any) -> Panels:
        """Draw simulated against predicted rates: `mnnbio.analyses.plot_rates`; a whole result is compared first."""
        from mnnbio.analyses.plots import plot_rates

        return plot_rates(self._compared(), **options)

    def tuning(self, **options: Any) -> Axes:
        """Draw rates against the stimulus: `mnnbio.analyses.plot_tuning_curves`."""
        from mnnbio.analyses.decoding_plots import plot_tuning_curves

        data = self._data
        if isinstance(data, xr.DataTree):
            names = ("prediction", "simulation")
            predicted, simulated = (data[n].to_dataset() if n in data.children else None for n in names)
            return plot_tuning_curves(predicted, simulated, **options)
        return plot_tuning_curves(data, **options)

    def _compared(self) -> xr.Dataset:
        data = self._data
        if isinstance(data, xr.Dataset):
            return data
        if "comparison" in data.children:
            return data["comparison"].to_dataset()
        if not {"prediction", "simulation"} <= set(data.children):
            raise ValueError(
                f"a comparison needs /prediction and /simulation, the result has {', '.join(data.groups)}: add the "
                "prediction, as result['prediction'] = predict(circuit, ...)"
            )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ComparisonWarning)
            return compare(data, data)

    def __repr__(self) -> str:
        return f"figures: {', '.join(name for name in dir(self) if not name.startswith('_'))}"


extend_accessor(Extension(Plots, summary))
