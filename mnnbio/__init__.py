"""Train moment neural networks, run them as spiking networks in generated C++, and compare the two."""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mnnbio.brian import build
    from mnnbio.brian.recording import Counts, Moments
    from mnnbio.circuit import (
        AllToAll,
        Bernoulli,
        Circuit,
        DistanceDependent,
        FixedIndegree,
        FixedOutdegree,
        FixedTotalNumber,
        GaussianDrive,
        LogNormal,
        ModeMatrix,
        Normal,
        OneToOne,
        Oscillation,
        PoissonDrive,
        PoissonSource,
        Population,
        Projection,
        Ramp,
        Readout,
        Samples,
        Steps,
        Uniform,
    )
    from mnnbio.export import export
    from mnnbio.lif import LIFParameters
    from mnnbio.predict import predict
    from mnnbio.results import load, save
    from mnnbio.simulate import simulate
    from mnnbio.sweep import open_sweep, run_sweep
    from mnnbio.theory.dynamics import predict_oscillations, predict_spectra
    from mnnbio.theory.fixed_points import fixed_points
    from mnnbio.theory.time_course import predict_time_course

# Where each public name lives. Modules are imported at first use: torch and Brian2 take seconds to load.
_HOME = {
    "LIFParameters": "mnnbio.lif",
    "Circuit": "mnnbio.circuit",
    "GaussianDrive": "mnnbio.circuit",
    "ModeMatrix": "mnnbio.circuit",
    "PoissonDrive": "mnnbio.circuit",
    "PoissonSource": "mnnbio.circuit",
    "Population": "mnnbio.circuit",
    "Projection": "mnnbio.circuit",
    "Readout": "mnnbio.circuit",
    "AllToAll": "mnnbio.circuit",
    "Bernoulli": "mnnbio.circuit",
    "FixedIndegree": "mnnbio.circuit",
    "FixedOutdegree": "mnnbio.circuit",
    "FixedTotalNumber": "mnnbio.circuit",
    "OneToOne": "mnnbio.circuit",
    "LogNormal": "mnnbio.circuit",
    "Normal": "mnnbio.circuit",
    "Uniform": "mnnbio.circuit",
    "DistanceDependent": "mnnbio.circuit",
    "Oscillation": "mnnbio.circuit",
    "Ramp": "mnnbio.circuit",
    "Samples": "mnnbio.circuit",
    "Steps": "mnnbio.circuit",
    "Counts": "mnnbio.brian.recording",
    "Moments": "mnnbio.brian.recording",
    "build": "mnnbio.brian",
    "export": "mnnbio.export",
    "fixed_points": "mnnbio.theory.fixed_points",
    "predict": "mnnbio.predict",
    "predict_oscillations": "mnnbio.theory.dynamics",
    "predict_spectra": "mnnbio.theory.dynamics",
    "predict_time_course": "mnnbio.theory.time_course",
    "simulate": "mnnbio.simulate",
    "load": "mnnbio.results",
    "save": "mnnbio.results",
    "open_sweep": "mnnbio.sweep",
    "run_sweep": "mnnbio.sweep",
}

__all__ = [
    "AllToAll",
    "Bernoulli",
    "Circuit",
    "Counts",
    "DistanceDependent",
    "FixedIndegree",
    "FixedOutdegree",
    "FixedTotalNumber",
    "GaussianDrive",
    "LIFParameters",
    "LogNormal",
    "ModeMatrix",
    "Moments",
    "Normal",
    "OneToOne",
    "Oscillation",
    "PoissonDrive",
    "PoissonSource",
    "Population",
    "Projection",
    "Ramp",
    "Readout",
    "Samples",
    "Steps",
    "Uniform",
    "build",
    "export",
    "fixed_points",
    "load",
    "open_sweep",
    "predict",
    "predict_oscillations",
    "predict_spectra",
    "predict_time_course",
    "run_sweep",
    "save",
    "simulate",
]


class _Package(ModuleType):
    """The package; `mnnbio.simulate` is the function also after its module of the same name was imported."""

    def __setattr__(self, name: str, value: Any) -> None:
        if isinstance(value, ModuleType) and name in _HOME:
            value = getattr(value, name)
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'mnnbio' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
