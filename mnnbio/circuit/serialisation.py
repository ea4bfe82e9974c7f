"""Circuits as JSON text, without loss.

Every part is an object whose ``kind`` is the name of its class; arrays are compressed bytes, so that no digit is lost.
"""

from __future__ import annotations

import base64
import json
import zlib
from dataclasses import fields
from typing import Any

import numpy as np
from scipy import sparse

from mnnbio import values as distributions
from mnnbio import values as timecourses
from mnnbio.circuit import connectivity, spatial
from mnnbio.circuit.circuit import Circuit
from mnnbio.circuit.parts import GaussianDrive, ModeMatrix, PoissonDrive, PoissonSource, Population, Projection, Readout
from mnnbio.neurons import LIFParameters

FORMAT = 2
_DTYPES = ("<f8", "<i4", "<i8")

_KINDS: dict[str, type] = {
    kind.__name__: kind
    for kind in (
        *(PoissonSource, Population, LIFParameters, Projection, GaussianDrive, PoissonDrive, Readout, ModeMatrix),
        *(connectivity.AllToAll, connectivity.OneToOne, connectivity.Bernoulli, connectivity.FixedIndegree),
        *(connectivity.FixedOutdegree, connectivity.FixedTotalNumber, spatial.DistanceDependent),
        *(spatial.GaussianProfile, spatial.ExponentialProfile, spatial.BoxProfile),
        *(spatial.Ring, spatial.Torus, spatial.Sheet),
        *(distributions.Normal, distributions.LogNormal, distributions.Uniform),
        *(timecourses.Steps, timecourses.Ramp, timecourses.Oscillation, timecourses.Samples),
    )
}


def dumps(circuit: Circuit) -> str:
    """Return a circuit as JSON text.

    Raises
    ------
    TypeError
        If it holds something of the user's own making, such as a connectivity rule.
    """
    parts = {field.name: _encode(getattr(circuit, field.name)) for field in fields(circuit)}
    return json.dumps({"format": FORMAT, **parts}, allow_nan=False)


def loads(text: str) -> Circuit:
    """Return the circuit that `dumps` wrote.

    Raises
    ------
    TypeError
        If `text` is not a string.
    ValueError
        If it is not JSON, or not a circuit of a known format; the message says what is wrong.
    """
    if not isinstance(text, str):
        raise TypeError(f"the JSON of a circuit must be a string, got {type(text).__name__}")
    try:
        data = json.loads(text, parse_constant=_refuse_constant, object_pairs_hook=_unique)
    except json.JSONDecodeError as error:
        raise ValueError(f"not a circuit: the text is not JSON ({error})") from error
    except RecursionError as error:
        raise ValueError("not a circuit: the JSON is nested too deeply") from error
    if not isinstance(data, dict) or data.get("format") != FORMAT:
        found = data.get("format") if isinstance(data, dict) else type(data).__name__
        raise ValueError(f"not a circuit of format {FORMAT}: found {found!r}")
    missing = [field.name for field in fields(Circuit) if field.name not in data]
    if missing:
        raise ValueError(f"malformed circuit: the entry '{missing[0]}' is missing")
    unknown = sorted(set(data) - {field.name for field in fields(Circuit)} - {"format"})
    if unknown:
        raise ValueError(f"malformed circuit: unknown entry {unknown[0]!r}")
    decoded = {field.name: _decode(data[field.name], field.name) for field in fields(Circuit)}
    try:
        return Circuit(**decoded)
    except TypeError as error:
        raise ValueError(f"malformed circuit: {error}") from error


def _encode(value: Any) -> Any:
    if value is None or isinstance(value, str | bool):
        return value
    if isinstance(value, np.bool_):
        return bool(value)
    kind = type(value)
    if _KINDS.get(kind.__name__) is kind:
        return {"kind": kind.__name__, **{field.name: _encode(getattr(value, field.name)) for field in fields(kind)}}
    if isinstance(value, tuple | list):
        return [_encode(item) for item in value]
    if sparse.issparse(value):
        parts = {name: _encode(getattr(value, name)) for name in ("data", "indices", "indptr")}
        return {"sparse": parts, "shape": list(value.shape)}
    if not isinstance(value, int | float | np.number | np.ndarray):
        raise TypeError(f"a circuit is stored with parts of mnnbio only ({', '.join(_KINDS)}), got {value!r}")
    array = np.asarray(value)
    if array.ndim == 0:
        return array.item()
    dtype = array.dtype.newbyteorder("<")
    packed = base64.b64encode(zlib.compress(np.ascontiguousarray(array, dtype).tobytes(), 6)).decode()
    return {"array": packed, "dtype": dtype.str, "shape": list(array.shape)}


def _decode(value: Any, where: str) -> Any:
    """Return what an entry stands for; `where` is its path, for error messages."""
    if isinstance(value, list):
        return [_decode(item, f"{where}[{number}]") for number, item in enumerate(value)]
    if not isinstance(value, dict):
        return value
    if "array" in value:
        return _decode_array(value, where)
    if "sparse" in value:
        return _decode_sparse(value, where)
    if "kind" not in value:
        raise ValueError(f"malformed circuit: {where} has no `kind`")
    kind = value["kind"]
    if not isinstance(kind, str) or kind not in _KINDS:
        raise ValueError(f"malformed circuit: {where} is of unknown kind {kind!r}")
    entries = {name: _decode(entry, f"{where}.{name}") for name, entry in value.items() if name != "kind"}
    try:
        return _KINDS[kind](**entries)
    except (TypeError, AttributeError, ValueError) as error:
        raise ValueError(f"malformed circuit: {where}: {error}") from error


def _decode_array(value: dict[str, Any], where: str) -> Any:
    try:
        if value["dtype"] not in _DTYPES:
            raise ValueError(f"dtype {value['dtype']!r} is not one of {', '.join(_DTYPES)}")
        flat = np.frombuffer(zlib.decompress(base64.b64decode(value["array"])), dtype=value["dtype"])
        return flat.reshape(value["shape"])
    except (KeyError, TypeError, ValueError, zlib.error) as error:
        raise ValueError(f"malformed circuit: {where}: an array does not decode ({error})") from error


def _decode_sparse(value: dict[str, Any], where: str) -> Any:
    try:
        parts = tuple(_decode(value["sparse"][name], where) for name in ("data", "indices", "indptr"))
        matrix = sparse.csr_array(parts, shape=tuple(value["shape"]))
        matrix.check_format(full_check=True)
        return matrix
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"malformed circuit: {where}: a sparse array does not decode ({error})") from error


def _refuse_constant(name: str) -> None:
    raise ValueError(f"malformed circuit: numbers must be finite, got {name}")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        repeated = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"malformed circuit: the entry {repeated!r} stands twice")
    return found
