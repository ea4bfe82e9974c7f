"""Sweeps: one circuit at many points of its parameters, on every core or by the workers of a Dask scheduler."""

from mnnbio.sweep.driver import Summary, run_sweep

__all__ = ["Summary", "run_sweep"]
