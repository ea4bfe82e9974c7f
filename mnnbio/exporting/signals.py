"""What flows between the modules of a moment network, as the parts of a circuit see it: weighted spike trains."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from scipy import sparse

from mnnbio.circuit import ModeMatrix

Array: TypeAlias = npt.NDArray[np.float64]
# Weights as they are kept: an array, a csr_array or a ModeMatrix.
Weights: TypeAlias = Any


class Signal(NamedTuple):
    """Sum of weighted spike trains, constants and noise.

    Attributes
    ----------
    terms : dict of str to Weights
        Weights (n, size) of the trains of populations.
    constant : ndarray, shape (n,) or (stimulus, n)
    std : ndarray, shape (n,)
        Standard deviation per √ms of the noise that each variable has of its own.
    loadings : dict of int to ndarray, shape (n, k) or (stimulus, n, k)
        Noise that variables have in common, by its origin.
    jumps : tuple of (float, float)
        Rate (1/ms) and weight (mV) of Poisson trains that each variable has of its own.
    above : frozenset of str
        Populations, and origins of noise, on which all this depends.
    """

    terms: dict[str, Weights]
    constant: Array
    std: Array
    loadings: dict[int, Array]
    jumps: tuple[tuple[float, float], ...] = ()
    above: frozenset[str] = frozenset()

    @property
    def size(self) -> int:
        """Number of variables."""
        return int(self.constant.shape[-1])

    @property
    def noisy(self) -> bool:
        """Whether there is noise that is not carried by spikes."""
        return bool(self.std.any() or self.jumps or any(values.any() for values in self.loadings.values()))

    def mapped(self, weight: Weights, origin: int) -> Signal:
        """Return the signal through weights, where noise of single variables becomes common noise of that origin."""
        constant = np.asarray(product(weight, self.constant.T)).T
        loadings = {number: mapped_loadings(weight, values) for number, values in self.loadings.items()}
        if self.std.any():
            loadings[origin] = product(weight, np.diag(self.std))
        terms = {name: composed(weight, own) for name, own in self.terms.items()}
        above = self.above | ({f"noise {origin}"} if self.std.any() else frozenset())
        return Signal(terms, constant, np.zeros(constant.shape[-1]), loadings, (), above)

    def scaled(self, scale: Array) -> Signal:
        """Return the signal times a factor of each variable."""
        return Signal(
            {name: scaled_rows(scale, own) for name, own in self.terms.items()},
            self.constant * scale,
            self.std * np.abs(scale),
            {number: scale[:, None] * values for number, values in self.loadings.items()},
            self.jumps,
            self.above,
        )


class Mean(NamedTuple):
    """What is read of a state and is no state itself: its mean, or a statistic."""

    signal: Signal


def trains_of(name: str, size: int) -> Signal:
    """Return the spike trains of a population themselves."""
    eye = sparse.eye_array(size, format="csr")
    return Signal({name: eye}, np.zeros(size), np.zeros(size), {}, (), frozenset([name]))


def is_trains(signal: Signal) -> bool:
    """Return whether a signal is the trains of one population and nothing else."""
    if len(signal.terms) != 1 or signal.noisy or signal.constant.any():
        return False
    (own,) = signal.terms.values()
    if not sparse.issparse(own) or own.shape[0] != own.shape[1]:
        return False
    return bool((own != sparse.eye_array(own.shape[0], format="csr")).nnz == 0)


def added(signals: Sequence[Signal]) -> Signal:
    """Return the sum of signals."""
    terms: dict[str, Weights] = {}
    loadings: dict[int, Array] = {}
    for signal in signals:
        for name, own in signal.terms.items():
            terms[name] = _sum(terms[name], own) if name in terms else own
        for number, values in signal.loadings.items():
            loadings[number] = loadings[number] + values if number in loadings else values
    return Signal(
        terms,
        np.asarray(sum(signal.constant for signal in signals)),
        np.sqrt(sum(signal.std**2 for signal in signals)),
        loadings,
        tuple(jump for signal in signals for jump in signal.jumps),
        frozenset().union(*(signal.above for signal in signals)),
    )


def joined(signals: Sequence[Signal]) -> Signal:
    """Return signals one after the other."""
    size, padded, start = sum(signal.size for signal in signals), [], 0
    for signal in signals:
        place = sparse.csr_array(
            (np.ones(signal.size), (np.arange(start, start + signal.size), np.arange(signal.size))),
            (size, signal.size),
        )
        constant = np.zeros((*signal.constant.shape[:-1], size))
        constant[..., start : start + signal.size] = signal.constant
        std = np.zeros(size)
        std[start : start + signal.size] = signal.std
        padded.append(
            Signal(
                {name: composed(place, own) for name, own in signal.terms.items()},
                constant,
                std,
                {number: mapped_loadings(place, values) for number, values in signal.loadings.items()},
                signal.jumps,
                signal.above,
            )
        )
        start += signal.size
    return added(padded)


def composed(weight: Weights, inner: Weights) -> Weights:
    """Return ``weight @ inner``, in modes where one of them is, sparse where both are."""
    if isinstance(weight, ModeMatrix):
        return ModeMatrix(weight.input_modes, weight.scores, _transposed(inner, weight.output_modes))
    if isinstance(inner, ModeMatrix):
        return ModeMatrix(weight @ inner.input_modes, inner.scores, inner.output_modes)
    return weight @ inner


def product(weight: Weights, values: Array) -> Array:
    """Return ``weight @ values`` for values of shape (n_source, …)."""
    if isinstance(weight, ModeMatrix):
        modes = weight.output_modes.T @ values
        return np.asarray(weight.input_modes @ (weight.scores.reshape(-1, *[1] * (values.ndim - 1)) * modes))
    return np.asarray(weight @ values)


def mapped_loadings(weight: Weights, loadings: Array) -> Array:
    """Return ``weight @ loadings``, of every stimulus if they differ."""
    if loadings.ndim == 3:
        return np.stack([product(weight, values) for values in loadings])
    return product(weight, loadings)


def side_by_side(loadings: Sequence[Array]) -> Array:
    """Return the loadings of several origins as one array, of every stimulus if any differ."""
    lead = next((values.shape[:-2] for values in loadings if values.ndim == 3), ())
    return np.concatenate([np.broadcast_to(values, (*lead, *values.shape[-2:])) for values in loadings], axis=-1)


def scaled_rows(scale: Array, weight: Weights) -> Weights:
    """Return ``diag(scale) @ weight``."""
    if isinstance(weight, ModeMatrix):
        return ModeMatrix(scale[:, None] * weight.input_modes, weight.scores, weight.output_modes)
    if sparse.issparse(weight):
        return sparse.csr_array(sparse.diags_array(scale) @ weight)
    return np.asarray(scale[:, None] * weight)


def columns(weights: Mapping[str, Weights], names: Sequence[str]) -> Array:
    """Return the full weights of several populations side by side."""
    return np.concatenate([_dense(weights[name]) for name in names], axis=1)


def array(tensor: torch.Tensor) -> Array:
    """Return a tensor's values."""
    found: Array = tensor.detach().to("cpu", torch.float64).numpy()
    return found


def matrix_of(linear_map: Any) -> sparse.csr_array:
    """Return the matrix of a `mnnbio.moments.LinearMap`."""
    row, column, value = (part.detach().cpu().numpy() for part in linear_map.entries())
    matrix = sparse.coo_array((value.astype(np.float64), (row, column)), (linear_map.rows, linear_map.columns))
    return matrix.tocsr()


def _sum(first: Weights, second: Weights) -> Weights:
    if sparse.issparse(first) and sparse.issparse(second):
        return sparse.csr_array(first + second)
    return _dense(first) + _dense(second)


def _transposed(inner: Weights, values: Array) -> Array:
    """Return ``innerᵀ @ values``."""
    if isinstance(inner, ModeMatrix):
        return np.asarray(inner.output_modes @ (inner.scores[:, None] * (inner.input_modes.T @ values)))
    return np.asarray(inner.T @ values)


def _dense(weight: Weights) -> Array:
    if isinstance(weight, ModeMatrix):
        return weight.to_dense()
    return weight.toarray() if sparse.issparse(weight) else np.asarray(weight)
