"""What a sweep records, as a configuration says it and as `simulate` takes it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mnnbio.brian.recording import Counts, Kind, Moments, Record
from mnnbio.run.options import ConfigError, require_known
from mnnbio.sweep.values import mapping

_KINDS: dict[str, type[Counts | Moments]] = {"counts": Counts, "moments": Moments}
_OPTIONS = {"counts": ("bin", "per"), "moments": ("window", "covariance")}


def record_of(value: Any) -> Record:
    """Return what to record.

    Parameters
    ----------
    value : str, list of str, dict or None
        Names of populations; ``spikes``, ``{counts: {bin: 10}}`` or ``{moments: {window: 100}}`` by population; or one
        such kind for all.

    Raises
    ------
    ConfigError
        If it is neither, or an option does not fit.
    """
    if value is None:
        return None
    if isinstance(value, Mapping):
        if set(value) & set(_KINDS):
            kind = _kind(value, "record")
            return None if isinstance(kind, str) else kind
        return {name: _kind(entry, f"record.{name}") for name, entry in mapping(value, "record").items()}
    names = [value] if isinstance(value, str) else value
    if not isinstance(names, Sequence) or not names or not all(isinstance(name, str) for name in names):
        raise ConfigError(f"record must name populations, or kinds of recording, got {value!r}")
    return list(names)


def _kind(value: Any, where: str) -> Kind:
    if value == "spikes":
        return "spikes"
    if not isinstance(value, Mapping) or len(value) != 1:
        raise ConfigError(
            f"{where} must be spikes, {{counts: {{bin: ...}}}} or {{moments: {{window: ...}}}}, got {value!r}"
        )
    require_known(value, _KINDS, f"kind of recording in {where!r}:")
    ((name, options),) = value.items()
    options = mapping(options, f"{where}.{name}")
    require_known(options, _OPTIONS[name], f"option in '{where}.{name}':")
    try:
        return _KINDS[name](**options)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{where}.{name}: {error}") from error
