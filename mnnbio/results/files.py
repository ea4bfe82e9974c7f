"""Result files: one netCDF file holds a DataTree with prediction, simulation, spikes and comparison."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from mnnbio.machine import FileError, written_aside
from mnnbio.results.attributes import from_stored, restored, storable
from mnnbio.results.schema import group_name

SCHEMA = 1
CONVENTIONS = f"CF-1.11 mnnbio-{SCHEMA}"
_PIECE = 2**18  # numbers: 2 MB, some milliseconds to read


class ResultFileError(FileError):
    """A result file cannot be read."""


def save(tree: xr.DataTree | xr.Dataset, path: str | os.PathLike[str]) -> None:
    """Write a result to a netCDF file.

    Parameters
    ----------
    tree : DataTree or Dataset
        The result; a single dataset becomes the group that it is (`group_name`).
    path : path-like
        File to write, replaced as a whole once everything is on disk.

    Raises
    ------
    TypeError
        If `tree` is neither, or has an attribute that a file cannot hold.
    FileError
        If the folder cannot be written to, or the disk is full.
    """
    if not isinstance(tree, xr.DataTree | xr.Dataset):
        raise TypeError(f"a result is an xarray.DataTree or Dataset, got {type(tree).__name__}")
    if isinstance(tree, xr.Dataset):
        plain = xr.Dataset(tree.data_vars, coords=tree.coords, attrs=tree.attrs)
        tree = xr.DataTree.from_dict({f"/{group_name(plain)}": plain})
    tree = storable(tree)
    tree.attrs = {**tree.attrs, "Conventions": CONVENTIONS}
    with written_aside(path) as aside:
        try:
            tree.to_netcdf(aside, engine="netcdf4", encoding=_encoding(tree))
        except RuntimeError as error:  # the netCDF library reports a full disk so
            raise OSError(f"{error}") from error


def load(path: str | os.PathLike[str], *, chunks: Any = None) -> xr.DataTree:
    """Read a result file into memory, or open it and leave arrays on the disk.

    Parameters
    ----------
    path : path-like
    chunks : "auto", int or dict, optional
        Parts in which arrays are read when they are used (dask arrays, as `xarray.open_dataset` makes them);
        ``"auto"`` suits most files. By default everything is read now. Statistics of spike trains then take some
        neurons at a time, so that a file may be larger than memory.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ResultFileError
        If the file is truncated, not netCDF, not a result of this package, or one of a later schema.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"no result file {path}")
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder, not a result file: a run folder's result is {path / 'result.nc'}")
    if not path.stat().st_size:
        raise ResultFileError(f"{path} is empty: it was never written, or its disk was full; make it again")
    try:
        if chunks is None:
            with xr.open_datatree(path, engine="netcdf4") as opened:
                tree = opened.load()
        else:
            tree = xr.open_datatree(path, engine="netcdf4", chunks=chunks)
    except (OSError, RuntimeError, ValueError, KeyError) as error:
        raise ResultFileError(
            f"cannot read {path}: not a complete netCDF-4 file ({error}). It may be truncated or of another kind; "
            "make it again."
        ) from error
    if "mnnbio" not in str(tree.attrs.get("Conventions", "")):
        tree.close()
        raise ResultFileError(
            f"{path} is a netCDF file of something else: its attribute Conventions is "
            f"{tree.attrs.get('Conventions')!r}, a result has {CONVENTIONS!r}"
        )
    if chunks is None:
        tree.close()
    _require_schema(tree, path)
    found = restored(tree)
    if chunks is not None:
        found.set_close(tree.close)
    return found


def _require_schema(tree: xr.DataTree, path: Path) -> None:
    """Raise if a file is of a later schema, whose numbers may mean something else."""
    found = re.search(r"\bmnnbio-(\d+)", str(tree.attrs["Conventions"]))
    if found is not None and int(found[1]) > SCHEMA:
        raise ResultFileError(
            f"{path} is of a later version: its schema is mnnbio-{found[1]}, this version reads up to mnnbio-{SCHEMA}; "
            f"update mnnbio (the file was written by {tree.attrs.get('mnnbio_version', 'an unknown version')})"
        )


def read_attributes(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Return the attributes at the root of a netCDF file, and read nothing else.

    Raises
    ------
    ResultFileError
        If the file is truncated or not netCDF.
    """
    import netCDF4

    try:
        with netCDF4.Dataset(path) as file:
            return {name: from_stored(file.getncattr(name)) for name in file.ncattrs()}
    except OSError as error:
        raise ResultFileError(f"cannot read {path}: not a complete netCDF-4 file ({error})") from error


def read_variable(path: str | os.PathLike[str], group: str, name: str) -> npt.NDArray[Any]:
    """Return the values of one variable of a netCDF file, and read nothing else.

    Raises
    ------
    ResultFileError
        If the file is truncated or not netCDF, or has no such variable.
    """
    import netCDF4
    from xarray.backends.netCDF4_ import NETCDF4_PYTHON_LOCK  # the library is not made for several threads

    try:
        with NETCDF4_PYTHON_LOCK, netCDF4.Dataset(path) as file:
            file.set_auto_mask(False)
            return np.asarray(file[group][name][...])
    except (OSError, IndexError) as error:
        raise ResultFileError(f"cannot read {group}/{name} of {path}: {error}") from error


def _encoding(tree: xr.DataTree) -> dict[str, dict[str, dict[str, Any]]]:
    """Compress every numeric array; deflate at level 4 is where more effort stops paying for spike times."""
    return {
        node.path: {
            str(name): {"zlib": True, "complevel": 4, "shuffle": True} | _pieces(variable.shape)
            for name, variable in node.data_vars.items()
            if variable.dtype.kind in "fiub" and variable.ndim
        }
        for node in tree.subtree
    }


def _pieces(shape: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
    """Return the pieces in which a long flat array is stored, so that a part of it can be read alone."""
    return {"chunksizes": (_PIECE,)} if len(shape) == 1 and shape[0] > _PIECE else {}
