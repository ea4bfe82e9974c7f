"""Random numbers as pure functions of a stream and a counter, in NumPy and in C++ (`streams.h`).

A presentation (stimulus, trial) has a key, every neuron in it a stream, every draw of a neuron a counter made from the
time step. So the noise does not depend on what runs beside it: replicas, windows and processes can be laid out for
speed, and one stimulus run alone gives the spikes that it gives among thousands.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from scipy import special

if TYPE_CHECKING:
    from brian2 import Function

Int64 = npt.NDArray[np.int64]
Uint64 = npt.NDArray[np.uint64]
Float64 = npt.NDArray[np.float64]

_LONGEST_GAP = 1e9  # steps; a run is shorter, so a source of rate 0 never fires


def presentation_key(seed: int, stimulus: int, trial: int) -> int:
    """Return the key of a presentation's random numbers, a signed 64-bit integer."""
    return int(np.random.SeedSequence([seed, stimulus, trial]).generate_state(1, np.uint64).view(np.int64)[0])


def mix64(z: npt.ArrayLike) -> Uint64:
    """Scramble 64-bit integers (the finaliser of SplitMix64; Steele, Lea & Flood 2014)."""
    mixed = np.atleast_1d(np.asarray(z)).astype(np.uint64, copy=False)
    mixed = mixed + np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))


def streams_of(key: int, salt: int, size: int) -> Int64:
    """Return the streams of the elements 0 … size-1 of group `salt` in the presentation of that key."""
    index = np.arange(size, dtype=np.uint64) + np.uint64(salt << 40)
    return mix64(np.int64(key).view(np.uint64) ^ mix64(index)).view(np.int64)


def uniform(stream: npt.ArrayLike, counter: npt.ArrayLike) -> Float64:
    """Return uniform numbers in (0, 1), neither end included."""
    mixed = mix64(np.asarray(stream, dtype=np.int64).view(np.uint64) ^ mix64(np.asarray(counter, dtype=np.int64)))
    return (mixed >> np.uint64(12) | np.uint64(1)).astype(np.float64) * 2.0**-52


def normal_draw(stream: npt.ArrayLike, counter: npt.ArrayLike) -> Float64:
    """Return standard normal numbers."""
    return np.asarray(special.ndtri(uniform(stream, counter)))


def poisson_draw(stream: npt.ArrayLike, counter: npt.ArrayLike, quiet: npt.ArrayLike) -> Float64:
    """Return Poisson counts; `quiet` is the probability of none, exp(-mean)."""
    u = uniform(stream, counter)
    p = np.broadcast_to(np.asarray(quiet, dtype=np.float64), u.shape).copy()
    mean, cumulative, count = -np.log(p), p.copy(), np.zeros_like(u)
    while (open_ := (u >= cumulative) & (p > 1e-300)).any():
        count[open_] += 1.0
        p[open_] *= mean[open_] / count[open_]
        cumulative[open_] += p[open_]
    return count


def bernoulli_gap(stream: npt.ArrayLike, counter: npt.ArrayLike, scale: npt.ArrayLike) -> npt.NDArray[np.int32]:
    """Return the steps to the next success of a Bernoulli trial a step, at least 1; see `gap_scale`."""
    gap = np.floor(np.log(uniform(stream, counter)) * np.asarray(scale))
    return 1 + np.minimum(gap, _LONGEST_GAP).astype(np.int32)


def later_spike(
    next_spike: npt.ArrayLike, step: npt.ArrayLike, stream: npt.ArrayLike, scale: npt.ArrayLike
) -> npt.NDArray[np.int32]:
    """Return the step of the next success: another one where `next_spike` is the present step, else that."""
    later = np.asarray(step) + bernoulli_gap(stream, np.asarray(step) + 1, scale)
    return np.where(np.asarray(next_spike) == step, later, next_spike).astype(np.int32)


def uniform_draw(stream: npt.ArrayLike, counter: npt.ArrayLike) -> Float64:
    """Return uniform numbers in (0, 1)."""
    return uniform(stream, counter)


def gap_scale(probability: npt.ArrayLike) -> Float64:
    """Return 1 / log(1 - probability), finite also at probability 0 and 1, so that gaps follow by inversion."""
    p = np.asarray(probability, dtype=np.float64)
    with np.errstate(divide="ignore"):
        return np.where(p > 0, 1.0 / np.log1p(-np.where(p > 0, p, 0.5)), -1e300)


def brian_functions() -> dict[str, Function]:
    """Return the functions for Brian2 equations, in NumPy and in C++."""
    from brian2 import Function

    functions = {}
    for function, arguments, result in (
        (normal_draw, ["integer", "integer"], "float"),
        (poisson_draw, ["integer", "integer", "float"], "float"),
        (uniform_draw, ["integer", "integer"], "float"),
        (bernoulli_gap, ["integer", "integer", "float"], "integer"),
        (later_spike, ["integer", "integer", "integer", "float"], "integer"),
    ):
        name = function.__name__
        options: dict[str, Any] = {"arg_types": arguments, "return_type": result, "return_unit": 1}
        functions[name] = Function(function, arg_units=[1] * len(arguments), **options)
        # With units Brian2 writes out all numbers at every call, for a message that it may need.
        functions[name].implementations.add_numpy_implementation(function, discard_units=True)
        functions[name].implementations.add_implementation("cpp", f"using mnnbio::{name};", name=name)
    return functions
