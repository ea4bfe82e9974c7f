"""Moments that flow between modules: mean and covariance of a layer's activity."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any, Literal, NamedTuple, NoReturn, ParamSpec, TypeVar, get_args

import torch
from torch import fx, nn

from mnnbio.machine import check_choice
from mnnbio.moments import Covariance, Diagonal, Joint, Sum, added, joined

NO_SUM = (
    "two states of moments have no sum without their joint covariance: call `mnnbio.nn.tracked(state)` on what both "
    "are made of, and what they have in common is known; `mnnbio.nn.add_independent(a, b)` adds states known to have "
    "nothing in common"
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

    def __add__(self, other: Any) -> Moments:  # type: ignore[override]
        """Return the moments of the sum of two `tracked` states; others are refused."""
        if isinstance(other, Moments) and all(isinstance(state.covariance, Joint) for state in (self, other)):
            return add(self, other)
        raise TypeError(NO_SUM)

    def __radd__(self, other: Any) -> NoReturn:
        """Refuse what is no state of moments."""
        raise TypeError(NO_SUM)

    def __mul__(self, factor: Any) -> NoReturn:  # type: ignore[override]
        """Refuse what would repeat a tuple."""
        raise TypeError(NO_PRODUCT)

    def __rmul__(self, factor: Any) -> NoReturn:  # type: ignore[override]
        """Refuse, as `*` the other way round."""
        raise TypeError(NO_PRODUCT)


Parameters = ParamSpec("Parameters")
Returned = TypeVar("Returned")


def traceable(function: Callable[Parameters, Returned]) -> Callable[Parameters, Returned]:
    """Return a function that `torch.fx` records as one step instead of looking into it."""

    @wraps(function)
    def call(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Returned:
        for argument in (*args, *kwargs.values()):
            if isinstance(argument, fx.Proxy):
                recorded: Any = argument.tracer.create_proxy("call_function", call, args, kwargs)
                return recorded  # type: ignore[no-any-return]
        return function(*args, **kwargs)

    return call


@traceable
def tracked(state: Moments) -> Moments:
    """Return moments that keep track of what they have in common with others made of them.

    Whatever layers make of the result is tracked too. Tracked states can be joined (`join`) and added (`add`, or ``+``)
    with the covariance that they have with each other: `mnnbio.moments.Joint`, which costs memory for the covariances
    of all tracked layers with each other.

    Parameters
    ----------
    state : Moments, shape (..., n)
        What branches or skips start from.

    Examples
    --------
    >>> from mnnbio.nn import MomentLinear, PoissonEncoder
    >>> trains = tracked(PoissonEncoder(3)(torch.rand(3)))
    >>> twice = add(trains, trains)  # four times the variance: a train is not independent of itself
    >>> bool(torch.allclose(twice.variance, 4 * trains.variance))
    True
    """
    _require_moments("tracked", [state])
    return Moments(state.mean, Joint.of(state.covariance))


@traceable
def join(*states: Moments) -> Moments:
    """Return the moments of the variables of several tracked states, one after the other.

    Parameters
    ----------
    *states : Moments, shape (..., n_k)
        Made of one `tracked` state, or each of its own.

    Returns
    -------
    Moments, shape (..., sum of n_k)
        With the covariances between the states.

    Raises
    ------
    TypeError
        If something is no `Moments`, or not tracked.
    """
    covariances = _tracked_covariances("join", states)
    means = torch.broadcast_tensors(*(state.mean[..., :1] for state in states))
    shape = means[0].shape[:-1]
    mean = torch.cat([state.mean.expand(*shape, state.mean.shape[-1]) for state in states], dim=-1)
    return Moments(mean, joined(covariances))


@traceable
def add(*states: Moments) -> Moments:
    """Return the moments of the sum of tracked states, with what they have in common.

    Parameters
    ----------
    *states : Moments, shape (..., n)
        Made of one `tracked` state, or each of its own.

    Raises
    ------
    TypeError
        If something is no `Moments`, or not tracked.
    ValueError
        If the numbers of variables differ.
    """
    covariances = _tracked_covariances("add", states)
    _require_one_size("add", states)
    return Moments(sum((state.mean for state in states[1:]), states[0].mean), added(covariances))


Skip = Literal["join", "add"]


class SkipConnection(nn.Module):
    """Pass on a state together with what a module makes of it: joined, as in dense nets, or added, as in residual nets.

    The covariance of the two is taken into account. ``SkipConnection(block)`` stands in a `torch.nn.Sequential` like
    any layer.

    Parameters
    ----------
    module : Module
        From `Moments` to `Moments`; of as many variables, if they are added.
    how : {"join", "add"}
        In joined states those that skip come first.
    """

    def __init__(self, module: nn.Module, how: Skip = "join") -> None:
        super().__init__()
        check_choice("how", how, get_args(Skip))
        self.module, self.how = module, how

    def forward(self, state: Moments) -> Moments:
        """Return the moments of both."""
        start = tracked(state)
        return (join if self.how == "join" else add)(start, self.module(start))

    def extra_repr(self) -> str:
        """Describe the settings."""
        return f"how={self.how!r}"


@traceable
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
    _require_moments("add_independent", states)
    _require_one_size("add_independent", states)
    mean = sum((state.mean for state in others), first.mean)
    covariances = [state.covariance for state in states]
    if all(isinstance(covariance, Diagonal) for covariance in covariances):
        return Moments(mean, Diagonal(sum((state.variance for state in others), first.variance)))
    return Moments(mean, Sum(covariances))


def _require_moments(name: str, states: Sequence[Any]) -> None:
    for state in states:
        if not isinstance(state, Moments):
            raise TypeError(f"`{name}` takes `Moments`, got {type(state).__name__}")


def _require_one_size(name: str, states: Sequence[Moments]) -> None:
    sizes = [state.mean.shape[-1] for state in states]
    if len(set(sizes)) > 1:
        raise ValueError(f"`{name}` adds states of one number of variables, got {sizes}")


def _tracked_covariances(name: str, states: Sequence[Any]) -> list[Joint]:
    """Return the covariances of tracked states."""
    if not states:
        raise TypeError(f"`{name}` takes one state of moments or more, got none")
    _require_moments(name, states)
    found = []
    for number, state in enumerate(states):
        if not isinstance(state.covariance, Joint):
            raise TypeError(
                f"`{name}` needs to know what states have in common, and number {number} is not tracked: call "
                "`mnnbio.nn.tracked(state)` on what both are made of. Neurons with correlations='variance' or 'none' "
                "pass nothing of it on"
            )
        found.append(state.covariance)
    return found


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
