"""Runs, circuits and sweeps from beginning to report, their options and the command."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "options": ["ConfigError"],
        "sweep_data": ["SweepWarning", "open_sweep"],
        "sweep_driver": ["Summary", "run_sweep"],
        "sweep_folder": ["SweepFolderError"],
    },
)
