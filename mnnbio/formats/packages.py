"""Packages of other formats, imported when they are used."""

from __future__ import annotations

import importlib
import warnings
from typing import Any

# Extra of the installation, and what the package is called there, by the name under which it is imported.
_PACKAGES = {
    "neo": ("neo", "neo"),
    "pynwb": ("nwb", "pynwb"),
    "h5py": ("sonata", "h5py"),
    "pynapple": ("pynapple", "pynapple"),
    "nir": ("nir", "nir"),
    "pandas": ("", "pandas"),
}


class PackageMissing(ImportError):  # noqa: N818 - says what is missing
    """A package of another format is not installed."""


class LeftOutWarning(UserWarning):
    """A format has no place for a part of what is written into it."""


def package(name: str, what: str) -> Any:
    """Return a package of another format.

    Parameters
    ----------
    name : str
        As it is imported.
    what : str
        What needs it, for the message.

    Raises
    ------
    PackageMissing
        If it is not installed; the message names the command that installs it.
    """
    extra, wheel = _PACKAGES[name]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of their own imports: nothing that a user here could change
            return importlib.import_module(name)
    except ImportError as error:
        command = f"pip install {wheel}" + (f", or install mnnbio with the extra `{extra}`" if extra else "")
        reason = "" if isinstance(error, ModuleNotFoundError) and error.name == name else f" ({error})"
        raise PackageMissing(
            f"{what} needs the package {name!r}, which cannot be imported{reason}: {command}", name=name
        ) from error
