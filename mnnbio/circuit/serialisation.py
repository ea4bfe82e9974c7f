"""Circuits as JSON text, without loss.

Every part is an object whose ``kind`` is the name of its class; arrays are compressed bytes, so that no digit is lost.
A part of a user's own is stored with the module of its class and a fingerprint of its source; reading finds the class
among those that are imported already, and never imports code.
"""

from __future__ import annotations

import base64
import hashlib
import inspect
import json
import math
import zlib
from collections.abc import Callable, Iterator
from dataclasses import Field, fields, is_dataclass
from types import CodeType
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse

from mnnbio.circuit.connectivity import Connectivity
from mnnbio.circuit.drives import Drive
from mnnbio.circuit.parts import ModeMatrix, Population, Projection, Readout
from mnnbio.circuit.sources import PoissonSource, SpikeSource
from mnnbio.circuit.spatial import Profile, Space
from mnnbio.neurons import NeuronModel
from mnnbio.synapses import PlasticityRule, SynapseModel
from mnnbio.values import Distribution, TimeCourse

if TYPE_CHECKING:
    from mnnbio.circuit.circuit import Circuit

FORMAT = 3
_READABLE = (2, 3)
_DTYPES = ("<f8", "<i4", "<i8")
_DIGITS = 16  # of a fingerprint
_OWN_KIND = "own kind"  # a field of that name
_MOST_COMPRESSED = 1100  # bytes that a compressed one can stand for

# Parts that have no subclasses, and bases of those that users may add to.
_CLOSED: tuple[type, ...] = (PoissonSource, SpikeSource, Population, Projection, Readout, ModeMatrix)
_OPEN: tuple[type, ...] = (
    Connectivity,
    Distribution,
    TimeCourse,
    Profile,
    Space,
    Drive,
    NeuronModel,
    SynapseModel,
    PlasticityRule,
)

Leaf = Callable[[np.ndarray[Any, Any]], Any]


def dumps(circuit: Circuit) -> str:
    """Return a circuit as JSON text.

    Raises
    ------
    TypeError
        If it holds something that cannot be stored, such as a part of the user's own that is no dataclass.
    """
    return json.dumps(_content(circuit, _packed), allow_nan=False)


def fingerprint(circuit: Circuit) -> str:
    """Return a fingerprint of the whole description, sixteen hexadecimal digits.

    Raises
    ------
    TypeError
        As `dumps` does.
    """
    text = json.dumps(_content(circuit, lambda array: hashlib.sha256(array.tobytes()).hexdigest()), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:_DIGITS]


def loads(text: str, kind: type[Circuit]) -> Circuit:
    """Return the circuit that `dumps` wrote.

    Raises
    ------
    TypeError
        If `text` is not a string.
    ValueError
        If it is not JSON, or not a circuit of a known format, or a part is of a class that is not imported or has
        changed; the message says what is wrong.
    """
    if not isinstance(text, str):
        raise TypeError(f"the JSON of a circuit must be a string, got {type(text).__name__}")
    try:
        data = json.loads(text, parse_constant=_refuse_constant, object_pairs_hook=_unique)
    except json.JSONDecodeError as error:
        raise ValueError(f"not a circuit: the text is not JSON ({error})") from error
    except RecursionError as error:
        raise ValueError("not a circuit: the JSON is nested too deeply") from error
    if not isinstance(data, dict) or data.get("format") not in _READABLE:
        found = data.get("format") if isinstance(data, dict) else type(data).__name__
        raise ValueError(f"not a circuit of format {FORMAT}: found {found!r}")
    names = [field.name for field in fields(kind)]
    if missing := [name for name in names if name not in data]:
        raise ValueError(f"malformed circuit: the entry '{missing[0]}' is missing")
    if unknown := sorted(set(data) - set(names) - {"format"}):
        raise ValueError(f"malformed circuit: unknown entry {unknown[0]!r}")
    decoded = {name: _decode(data[name], name) for name in names}
    try:
        return kind(**decoded)
    except TypeError as error:
        raise ValueError(f"malformed circuit: {error}") from error


def _content(circuit: Circuit, leaf: Leaf) -> dict[str, Any]:
    parts = {field.name: _encode(getattr(circuit, field.name), leaf) for field in fields(circuit)}
    return {"format": FORMAT, **parts}


def _encode(value: Any, leaf: Leaf) -> Any:
    """Return what JSON can hold; `leaf` writes the bytes of an array."""
    if value is None or isinstance(value, str | bool):
        return value
    if isinstance(value, np.bool_):
        return bool(value)
    if isinstance(value, (*_CLOSED, *_OPEN)):
        entries = {_entry(name): _encode(getattr(value, name), leaf) for name in _stored_names(value)}
        return {**_kind_of(type(value)), **entries}
    if isinstance(value, tuple | list):
        return [_encode(item, leaf) for item in value]
    if isinstance(value, dict) and all(isinstance(name, str) for name in value):
        return {"mapping": {name: _encode(item, leaf) for name, item in value.items()}}
    if sparse.issparse(value):
        parts = {name: _encode(getattr(value, name), leaf) for name in ("data", "indices", "indptr")}
        return {"sparse": parts, "shape": list(value.shape)}
    if not isinstance(value, int | float | np.number | np.ndarray):
        raise TypeError(
            f"a circuit holds numbers, text, arrays and parts of circuits, got {type(value).__name__}: {value!r}"
        )
    array = np.asarray(value)
    if array.ndim == 0:
        return array.item()
    dtype = array.dtype.newbyteorder("<")
    if dtype.str not in _DTYPES:
        raise TypeError(f"arrays of a circuit are stored as one of {', '.join(_DTYPES)}, got {array.dtype}")
    return {"array": leaf(np.ascontiguousarray(array, dtype)), "dtype": dtype.str, "shape": list(array.shape)}


def _packed(array: np.ndarray[Any, Any]) -> str:
    return base64.b64encode(zlib.compress(array.tobytes(), 6)).decode()


def _stored_names(part: Any) -> list[str]:
    """Return the names of the fields of a part."""
    if is_dataclass(part):
        given = [own for own in fields(part) if own.init and not (_may_lack(own) and getattr(part, own.name) is None)]
        return [own.name for own in given]
    if not vars(part):
        return []
    raise TypeError(
        f"{type(part).__qualname__} has values ({', '.join(vars(part))}) and must be a dataclass, so that it can be "
        "stored with a circuit. Write @dataclass(frozen=True) above the class"
    )


def _entry(name: str) -> str:
    """Return the name of a field in JSON, where ``kind`` is that of the class."""
    return _OWN_KIND if name == "kind" else name


def _may_lack(own: Field[Any]) -> bool:
    return own.metadata.get("stored") == "if given"


def _kind_of(kind: type) -> dict[str, str]:
    """Return how a class is named: by its name, or, if it is a user's, by module, name and fingerprint."""
    if _is_ours(kind):
        return {"kind": kind.__name__}
    return {"kind": f"{kind.__module__}:{kind.__qualname__}", "class": source_fingerprint(kind)}


def _is_ours(kind: type) -> bool:
    return kind.__module__.partition(".")[0] == "mnnbio"


def source_fingerprint(kind: type) -> str:
    """Return a fingerprint of the source of a class, of its compiled code where the source is not to be had."""
    try:
        content = inspect.getsource(kind).encode()
    except (OSError, TypeError):
        content = b"".join(_code_of(vars(kind)))
    return hashlib.sha256(content).hexdigest()[:_DIGITS]


def _code_of(namespace: Any) -> Iterator[bytes]:
    for name, value in sorted(namespace.items()):
        code = getattr(value, "__code__", None)
        if isinstance(code, CodeType):
            yield from (name.encode(), code.co_code, repr(code.co_names).encode())
            yield repr([constant for constant in code.co_consts if not isinstance(constant, CodeType)]).encode()


def _subclasses(kind: type) -> Iterator[type]:
    classes: list[type] = kind.__subclasses__()
    for own in classes:
        yield own
        yield from _subclasses(own)


def _class_named(kind: str, source: Any, where: str) -> type:
    """Return the class of a part.

    Raises
    ------
    ValueError
        If there is none, or it has changed.
    """
    known = [*_CLOSED, *(own for base in _OPEN for own in _subclasses(base))]
    module, colon, name = kind.rpartition(":")
    if not colon:
        found = [own for own in known if _is_ours(own) and own.__name__ == kind and not inspect.isabstract(own)]
        if not found:
            raise ValueError(f"malformed circuit: {where} is of unknown kind {kind!r}")
        return found[0]
    found = [own for own in known if (own.__module__, own.__qualname__) == (module, name)]
    if not found:
        raise ValueError(
            f"{where} is of the class {name} of the module {module!r}, which is not imported, and reading a circuit "
            f"never imports code. Import {module} first, or run the cell that defines the class"
        )
    for own in reversed(found):
        if source_fingerprint(own) == source:
            return own
    raise ValueError(
        f"{where} is of the class {name} of the module {module!r}, whose source has changed since the circuit was "
        "stored. Take the version of then, or make the circuit anew"
    )


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
    if isinstance(value.get("mapping"), dict):
        return {name: _decode(item, f"{where}.{name}") for name, item in value["mapping"].items()}
    if not isinstance(value.get("kind"), str):
        raise ValueError(f"malformed circuit: {where} has no `kind`")
    kind = _class_named(value["kind"], value.get("class"), where)
    entries = {name: _decode(item, f"{where}.{name}") for name, item in value.items() if name not in ("kind", "class")}
    if _OWN_KIND in entries:
        entries["kind"] = entries.pop(_OWN_KIND)
    if kind is Population and "lif" in entries:  # as format 2 calls it
        entries["neuron"] = entries.pop("lif")
    try:
        return kind(**entries)
    except (TypeError, AttributeError, ValueError) as error:
        raise ValueError(f"malformed circuit: {where}: {error}") from error


def _decode_array(value: dict[str, Any], where: str) -> Any:
    try:
        if value["dtype"] not in _DTYPES:
            raise ValueError(f"dtype {value['dtype']!r} is not one of {', '.join(_DTYPES)}")
        shape = tuple(value["shape"])
        if not all(isinstance(size, int) and not isinstance(size, bool) and size >= 0 for size in shape):
            raise ValueError(f"shape {value['shape']!r} is none")
        packed = base64.b64decode(value["array"])
        size = math.prod(shape) * np.dtype(value["dtype"]).itemsize
        if size > _MOST_COMPRESSED * max(len(packed), 1):
            raise ValueError(
                f"shape {list(shape)} needs {size} bytes, more than {len(packed)} compressed ones can hold"
            )
        unpacking = zlib.decompressobj()
        content = unpacking.decompress(packed, size + 1)
        if len(content) != size:
            raise ValueError(
                f"{'more' if len(content) > size else 'fewer'} bytes than the {size} of shape {list(shape)}"
            )
        return np.frombuffer(content, dtype=value["dtype"]).reshape(shape)
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
