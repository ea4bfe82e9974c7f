"""Moments that flow between modules: mean and covariance of a layer's activity."""

from __future__ import annotations

from typing import Any, NamedTuple, NoReturn

import torch

from mnnbio.moments import Covariance, Diagonal, Sum

NO_SUM = (
    "two states of moments have no sum without their joint covariance: `mnnbio.nn.add_independent(a, b)` adds those "
    "known to be independent. A layer that is read twice, as by a skip connection, is not independent of itself"
)
NO_PRODUCT = (
    "a state of moments is not multiplied by an operator: `MomentLinear` applies weights to its mean and covariance"
)


class Moments(NamedTuple):
    """Mean and covariance of spike trains or of input currents.

    Attributes
    ----------
    mean : Tensor, shape (..., n)
        Spikes/ms for spike trains, mV/ms for currents.
    covariance : Covariance
        One of the kinds of `mnnbio.moments`, batch dimensions leading: long-window count covariance per time
        (spikes²/ms) for spike trains, mV²/ms for currents.
    """

    mean: torch.Tensor
    covariance: Covariance

    @property
    def variance(self) -> torch.Tensor:
        """Diagonal of the covariance, shape (..., n)."""
        return self.covariance.diagonal()

    @classmethod
    def without_variance(cls, mean: torch.Tensor) -> Moments:
        """Return the moments of variables that do not fluctuate, of mean (..., n) and covariance 0."""
        return cls(mean, Diagonal(torch.zeros_like(mean)))

    def __add__(self, other: Any) -> NoReturn:  # type: ignore[override]
        """Refuse what would join two tuples."""
        raise TypeError(NO_SUM)

    def __radd__(self, other: Any) -> NoReturn:
        """Refuse, as `+` the other way round."""
        raise TypeError(NO_SUM)

    def __mul__(self, factor: Any) -> NoReturn:  # type: ignore[override]
        """Refuse what would repeat a tuple."""
        raise TypeError(NO_PRODUCT)

    def __rmul__(self, factor: Any) -> NoReturn:  # type: ignore[override]
        """Refuse, as `*` the other way round."""
        raise TypeError(NO_PRODUCT)


def add_independent(first: Moments, *others: Moments) -> Moments:
    """Return the moments of the sum of independent variables: the sum of means and of covariances.

    Parameters
    ----------
    first, others : Moments, shape (..., n)
        Of spike trains, or of currents, that share no source: neither neurons nor inputs nor noise. Nothing can check
        that here. Batch dimensions broadcast.

    Returns
    -------
    Moments

    Raises
    ------
    TypeError
        If something else is to be added.
    ValueError
        If the numbers of variables differ.

    Examples
    --------
    >>> a = Moments(torch.tensor([1.0, 2.0]), Diagonal(torch.tensor([0.5, 0.5])))
    >>> add_independent(a, a).variance
    tensor([1., 1.])
    """
    states = [first, *others]
    for state in states:
        if not isinstance(state, Moments):
            raise TypeError(f"`add_independent` adds `Moments`, got {type(state).__name__}")
    sizes = [state.mean.shape[-1] for state in states]
    if len(set(sizes)) > 1:
        raise ValueError(f"`add_independent` adds states of one number of variables, got {sizes}")
    mean = sum((state.mean for state in others), first.mean)
    covariances = [state.covariance for state in states]
    if all(isinstance(covariance, Diagonal) for covariance in covariances):
        return Moments(mean, Diagonal(sum((state.variance for state in others), first.variance)))
    return Moments(mean, Sum(covariances))


def looked_at(condition: torch.Tensor) -> bool | None:
    """Return whether a condition holds; None where values cannot be looked at.

    That is while a graph is compiled, or inside `torch.func.vmap`: there, inputs are not checked.
    """
    if torch.compiler.is_compiling():
        return None
    try:
        return bool(condition)
    except RuntimeError:
        return None
