"""Circuits as JSON text, without loss."""

from __future__ import annotations

import base64
import json
import zlib
from dataclasses import asdict
from typing import Any

import numpy as np
from scipy import sparse

from mnnbio.circuit import (
    Circuit,
    Drive,
    GaussianDrive,
    ModeMatrix,
    PoissonDrive,
    PoissonSource,
    Population,
    Projection,
    Readout,
)
from mnnbio.connectivity import RULES
from mnnbio.lif import LIFParameters

FORMAT = 1


def dumps(circuit: Circuit) -> str:
    """Return a circuit as JSON text."""
    readout = circuit.readout
    return json.dumps(
        {
            "format": FORMAT,
            "seed": circuit.seed,
            "populations": [_encode_population(p) for p in circuit.populations],
            "projections": [_encode_projection(p) for p in circuit.projections],
            "drives": [_encode_drive(d) for d in circuit.drives],
            "readout": None
            if readout is None
            else {
                "source": readout.source,
                "weights": _encode(readout.weights),
                "bias": _encode(readout.bias),
                "labels": readout.labels,
            },
        }
    )


def loads(text: str) -> Circuit:
    """Return the circuit that `dumps` wrote.

    Raises
    ------
    ValueError
        If the text is not JSON, or not a circuit of a known format.
    """
    try:
        data = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"not a circuit: the text is not JSON ({error})") from error
    if not isinstance(data, dict) or data.get("format") != FORMAT:
        found = data.get("format") if isinstance(data, dict) else type(data).__name__
        raise ValueError(f"not a circuit of format {FORMAT}: found {found!r}")
    try:
        readout = data["readout"]
        return Circuit(
            populations=[_decode_population(p) for p in data["populations"]],  # type: ignore[arg-type]
            projections=[_decode_projection(p) for p in data["projections"]],  # type: ignore[arg-type]
            drives=[_decode_drive(d) for d in data["drives"]],  # type: ignore[arg-type]
            readout=readout
            and Readout(readout["source"], _decode(readout["weights"]), _decode(readout["bias"]), readout["labels"]),
            seed=data["seed"],
        )
    except KeyError as error:
        raise ValueError(f"malformed circuit: the entry {error} is missing") from error


def _encode(value: Any) -> Any:
    """Return a value as JSON: arrays as compressed bytes, so that no digit is lost."""
    if value is None:
        return None
    if isinstance(value, ModeMatrix):
        return {"modes": {name: _encode(array) for name, array in vars(value).items()}}
    if sparse.issparse(value):
        parts = {name: _encode(getattr(value, name)) for name in ("data", "indices", "indptr")}
        return {"sparse": parts, "shape": list(value.shape)}
    array = np.asarray(value)
    if array.ndim == 0:
        return array.item()
    packed = base64.b64encode(zlib.compress(np.ascontiguousarray(array).tobytes(), 6)).decode()
    return {"array": packed, "dtype": array.dtype.str, "shape": list(array.shape)}


def _decode(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    if "modes" in value:
        return ModeMatrix(**{name: _decode(array) for name, array in value["modes"].items()})
    if "sparse" in value:
        parts = tuple(_decode(value["sparse"][name]) for name in ("data", "indices", "indptr"))
        return sparse.csr_array(parts, shape=tuple(value["shape"]))
    try:
        flat = np.frombuffer(zlib.decompress(base64.b64decode(value["array"])), dtype=value["dtype"])
        return flat.reshape(value["shape"])
    except (ValueError, zlib.error) as error:
        raise ValueError(f"malformed circuit: an array does not decode ({error})") from error


def _encode_population(population: PoissonSource | Population) -> dict[str, Any]:
    entry: dict[str, Any] = {"name": population.name, "size": int(population.size)}
    if isinstance(population, PoissonSource):
        return {"kind": "PoissonSource", **entry, "rates": _encode(population.rates)}
    return {"kind": "Population", **entry, "lif": {name: _encode(value) for name, value in population.lif.items()}}


def _decode_population(entry: dict[str, Any]) -> PoissonSource | Population:
    if entry["kind"] == "PoissonSource":
        return PoissonSource(entry["name"], entry["size"], _decode(entry["rates"]))
    if entry["kind"] == "Population":
        lif = LIFParameters(**{name: _decode(value) for name, value in entry["lif"].items()})
        return Population(entry["name"], entry["size"], lif)
    raise ValueError(f"malformed circuit: unknown kind of population {entry['kind']!r}")


def _encode_projection(projection: Projection) -> dict[str, Any]:
    entry = {
        "source": projection.source,
        "target": projection.target,
        "delay": projection.delay,
        "autapses": projection.autapses,
        "tau_syn": projection.tau_syn,
    }
    rule = projection.connectivity
    if rule is None:
        return {**entry, "weights": _encode(projection.weights)}
    if type(rule).__name__ not in RULES:
        raise TypeError(f"{projection}: a circuit is stored with the rules {', '.join(RULES)}, got {rule!r}")
    return {**entry, "weight": projection.weight, "connectivity": {"rule": type(rule).__name__, **asdict(rule)}}  # type: ignore[call-overload]


def _decode_projection(entry: dict[str, Any]) -> Projection:
    fields = dict(entry)
    if "weights" in fields:
        fields["weights"] = _decode(fields["weights"])
    else:
        rule = dict(fields["connectivity"])
        name = rule.pop("rule")
        if name not in RULES:
            raise ValueError(f"malformed circuit: unknown connectivity rule {name!r}")
        fields["connectivity"] = RULES[name](**rule)
    return Projection(**fields)


def _encode_drive(drive: Drive) -> dict[str, Any]:
    return {"kind": type(drive).__name__, **{name: _encode(value) for name, value in vars(drive).items()}}


def _decode_drive(entry: dict[str, Any]) -> Drive:
    fields = {name: _decode(value) for name, value in entry.items() if name != "kind"}
    kinds: dict[str, type[Drive]] = {"GaussianDrive": GaussianDrive, "PoissonDrive": PoissonDrive}
    if entry["kind"] not in kinds:
        raise ValueError(f"malformed circuit: unknown kind of drive {entry['kind']!r}")
    return kinds[entry["kind"]](**fields)
