"""Leaky integrate-and-fire neurons."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from mnnbio.units import FloatOrArray, in_unit, require


@dataclass(frozen=True, kw_only=True, eq=False)
class LIFParameters:
    """Parameters of leaky integrate-and-fire neurons.

    ``dV/dt = -V/tau_m + I(t)``; a spike when V reaches `v_th`, then V is held at `v_reset` for `t_ref`. V is
    measured from the resting potential.

    Parameters
    ----------
    tau_m : float, array_like or Quantity
        Membrane time constant, ms; > 0.
    v_th : float, array_like or Quantity
        Firing threshold, mV.
    v_reset : float, array_like or Quantity
        Reset potential, mV; below `v_th`.
    t_ref : float, array_like or Quantity
        Absolute refractory period, ms; ≥ 0.

    Each is a number, or an array with one value per neuron.

    Raises
    ------
    ValueError
        If a value is outside its range, or arrays differ in length.

    Examples
    --------
    >>> LIFParameters(tau_m=10.0, v_reset=10.0, t_ref=2.0)
    LIFParameters(tau_m=10.0, v_th=20.0, v_reset=10.0, t_ref=2.0)
    """

    tau_m: Any = 20.0
    v_th: Any = 20.0
    v_reset: Any = 0.0
    t_ref: Any = 5.0

    def __post_init__(self) -> None:
        for name, unit in (("tau_m", "ms"), ("v_th", "mV"), ("v_reset", "mV"), ("t_ref", "ms")):
            value = in_unit(getattr(self, name), unit, name)  # type: ignore[arg-type]
            if isinstance(value, np.ndarray):
                if value.ndim != 1:
                    raise ValueError(
                        f"`{name}` must be a number or one value per neuron, got an array of shape {value.shape}"
                    )
                value.setflags(write=False)
            object.__setattr__(self, name, value)
        lengths = {name: len(value) for name, value in self.items() if isinstance(value, np.ndarray)}
        if len(set(lengths.values())) > 1:
            raise ValueError(f"per-neuron parameters must have one length, got {lengths}")
        require(np.asarray(self.tau_m) > 0, "tau_m", "> 0 ms", self.tau_m)
        require(np.asarray(self.t_ref) >= 0, "t_ref", "≥ 0 ms", self.t_ref)
        require(np.less(self.v_reset, self.v_th), "v_reset", "below `v_th`", self.v_reset)

    def items(self) -> list[tuple[str, FloatOrArray]]:
        """Return the parameters as (name, value) pairs."""
        return [(field.name, getattr(self, field.name)) for field in fields(self)]

    @property
    def size(self) -> int | None:
        """Number of neurons described, None if every parameter is a single number."""
        return next((len(value) for _, value in self.items() if isinstance(value, np.ndarray)), None)

    def to_dict(self) -> dict[str, float | list[float]]:
        """Return the parameters as plain numbers and lists, in ms and mV."""
        return {name: value.tolist() if isinstance(value, np.ndarray) else value for name, value in self.items()}

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, LIFParameters):
            return NotImplemented
        return self.to_dict() == other.to_dict()

    def __hash__(self) -> int:
        return hash(repr(self.to_dict()))
