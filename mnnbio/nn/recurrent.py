"""A recurrent layer of neurons, whose output is the state that reproduces itself, with implicit gradients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import torch
from torch import Tensor, nn

from mnnbio.machine import check_choice, require_integer
from mnnbio.moments import (
    Neuron,
    NotConverged,
    dense_response,
    discrete_lif,
    fixed_point,
    jump_factors,
    moment_activation,
)
from mnnbio.neurons import LIFParameters
from mnnbio.nn.linear import inverse_softplus
from mnnbio.nn.spiking_layers import MomentActivation, standard_deviation
from mnnbio.nn.state import Moments
from mnnbio.units import in_unit, shown

RecurrentClosure = Literal["moments", "poisson"]

NEAR, TOLERANCE = 1e-3, 1e-12  # residuals at which the iteration gives way to Newton's steps, and at which these end
NEWTON = 12  # steps
FLAT = 50  # neurons up to which all eigenvalues are computed to see whether a state is stable


class RateSlopes(NamedTuple):
    """Slopes of self-consistent rates: of the rate of i by parameter p of j, ``Σ_k loops[i, k, j] own[k, j, p]``."""

    rates: Tensor
    """Shape (n,), 1/ms."""
    loops: Tensor
    """Shape (n, k, n), what a neuron's answer changes at all: its rate, or rate and variance (k = 1 or 2)."""
    own: Tensor
    """Shape (k, n, p), what a neuron's parameters (as `trained` lists them) change in its answer to a given input."""


class MomentRecurrent(nn.Module):
    """Recurrently connected neurons that receive currents: rates, variances and covariances that are self-consistent.

    Rates r and the variances v with which trains drive their targets solve ``(r, v) = φ(μ + W r, σ² + (W∘W) v)``, μ
    and σ² the currents from outside; covariances follow by linear response, ``C = K (D + A Σ A) Kᵀ`` with
    ``K = (I - A W)^-1``, as `mnnbio.predict` has them. Gradients are those of the solution (implicit function theorem),
    at the cost of one more linear solve; they can be taken once.

    Parameters
    ----------
    features : int
        Number of neurons.
    lif : LIFParameters, optional
    weights : array_like, shape (features, features), optional
        Weights at the start, mV; rows receive. By default random, of mean 0, weak (or by `signs`).
    mask : array_like of bool, shape (features, features), optional
        Connections that exist; others stay 0. By default all but those of neurons onto themselves.
    signs : array_like, shape (features,), optional
        +1 for excitatory and −1 for inhibitory neurons: all weights of a neuron onto others keep its sign (Dale's law).
    closure : {"poisson", "moments"}
        Variance with which a train drives its targets, as in `mnnbio.predict`: its rate, closer to simulations, or its
        long-window count variance.
    dt : float or Quantity, optional
        Time step of the simulation that the layer describes, ms; by default, continuous time.
    learn : iterable of {"tau_m", "v_th", "v_reset", "t_ref"}
        Parameters that every neuron learns for itself.
    train_weights : bool
        Whether weights are learned; without, the neurons alone (gain adaptation).
    generator, dtype, device
        Of the parameters; float64 by default.

    Attributes
    ----------
    activation : MomentActivation
        The neurons.

    Raises
    ------
    ValueError
        If shapes or signs do not fit.
    """

    mask: Tensor
    signs: Tensor | None

    def __init__(
        self,
        features: int,
        lif: LIFParameters | None = None,
        *,
        weights: Any = None,
        mask: Any = None,
        signs: Any = None,
        closure: RecurrentClosure = "poisson",
        dt: Any = None,
        learn: Any = (),
        train_weights: bool = True,
        generator: torch.Generator | None = None,
        dtype: torch.dtype = torch.float64,
        device: torch.device | str | None = None,
    ) -> None:
        super().__init__()
        require_integer("features", features, 1)
        check_choice("closure", closure, get_args(RecurrentClosure))
        self.features, self.closure = features, closure
        self.dt = None if dt is None else float(in_unit(dt, "ms", "dt"))
        if self.dt is not None and not self.dt > 0:
            raise ValueError(f"`dt` must be > 0 ms, got {self.dt:g}")
        self.activation = MomentActivation(lif or LIFParameters(), features, learn=learn, dtype=dtype, device=device)
        shape = (features, features)
        connected = ~np.eye(features, dtype=bool) if mask is None else np.asarray(mask, dtype=bool)
        if connected.shape != shape:
            raise ValueError(f"`mask` must have shape {shape}, got {connected.shape}")
        start = _start(weights, connected, signs, shape, generator)
        if weights is not None and (outside := np.argwhere((start != 0) & ~connected)).size:
            place = tuple(int(k) for k in outside[0])
            raise ValueError(f"`weights` must be 0 where `mask` has no connection, got {start[place]:g} at {place}")
        self.register_buffer("mask", torch.as_tensor(connected, device=device))
        self.register_buffer("signs", None)
        values = torch.as_tensor(start, dtype=dtype, device=device)
        if signs is not None:
            sign = _checked_signs(signs, features)
            if (wrong := np.argwhere(start * sign < 0)).size:
                place = tuple(int(k) for k in wrong[0])
                raise ValueError(f"`weights` must have the sign of their source, got {start[place]:g} at {place}")
            self.signs = torch.as_tensor(sign, dtype=dtype, device=device)
            values = inverse_softplus(values.abs().clamp(min=1e-6))
        self.raw = nn.Parameter(values, requires_grad=bool(train_weights))

    @property
    def weight(self) -> Tensor:
        """Weights (features, features), mV, 0 where there is no connection."""
        if self.signs is None:
            return self.raw * self.mask
        return nn.functional.softplus(self.raw) * self.signs * self.mask

    def forward(self, currents: Moments) -> Moments:
        """Return the moments of the trains for currents from outside, shape (..., features).

        Raises
        ------
        ValueError
            If shapes do not fit, or the state is unstable: its covariances mean nothing.
        NotConverged
            If no self-consistent state is found.
        """
        if currents.mean.ndim == 0 or currents.mean.shape[-1] != self.features:
            raise ValueError(
                f"expected currents of {self.features} neurons, got the shape {tuple(currents.mean.shape)}"
            )
        mean, std = self._inputs(currents)
        neurons = self._neurons(mean, std)
        rate, variance, gain = moment_activation(mean, std, neurons)
        weight = self._arriving()
        self._require_stable(weight.detach(), gain.detach())
        return Moments(rate, dense_response(weight, gain, variance, external=currents.covariance))

    def rates(self, currents: Moments) -> Tensor:
        """Return the rates alone, shape (..., features), 1/ms: without covariances, several times faster."""
        mean, std = self._inputs(currents)
        return moment_activation(mean, std, self._neurons(mean, std)).rate

    def trained(self) -> list[Tensor]:
        """Return the parameters that are trained: weights, a row per neuron, and what neurons learn, a value each."""
        found = [self.raw, *self.activation.raw.values()] if self.activation.learn else [self.raw]
        return [parameter for parameter in found if parameter.requires_grad]

    def slopes(self, currents: Moments) -> RateSlopes:
        """Return how the rates follow the trained parameters, for one input: all derivatives for one linear solve.

        Raises
        ------
        ValueError
            If the currents are of several inputs, or nothing is trained.
        """
        if currents.mean.shape != (self.features,):
            raise ValueError(
                f"expected currents of one input, shape ({self.features},), got {tuple(currents.mean.shape)}"
            )
        parameters = self.trained()
        if not parameters:
            raise ValueError("nothing is trained in this layer: leave `train_weights` True, or name what to `learn`")
        weight, n = self._arriving(), self.features
        outside, noise = currents.mean.detach(), currents.variance.detach()
        with torch.no_grad():
            state, jacobian = self._settled(outside, noise, weight, weight**2)
        answers = self._answer(state, outside, noise, weight, weight**2).reshape(-1, n)
        own = [
            torch.cat(
                [slope.reshape(n, -1) for slope in torch.autograd.grad(a.sum(), parameters, retain_graph=True)], 1
            )
            for a in answers
        ]
        loops = torch.linalg.inv(_identity(jacobian) - jacobian)[:n].reshape(n, -1, n)
        return RateSlopes(state[:n], loops, torch.stack(own))

    def _arriving(self) -> Tensor:
        """Return what a spike counts for in the targets: in steps, jumps arrive after the decay."""
        if self.dt is None:
            return self.weight
        return self.weight * jump_factors(self.activation.neurons(), self.dt).mean.to(self.raw).reshape(-1, 1)

    def _neurons(self, mean: Tensor, std: Tensor) -> Neuron:
        neurons = self.activation.neurons()
        return neurons if self.dt is None else discrete_lif(mean, std, neurons, self.dt)

    def _inputs(self, currents: Moments) -> tuple[Tensor, Tensor]:
        """Return mean and standard deviation of the whole input at the self-consistent state, with gradients."""
        outside, noise = torch.broadcast_tensors(currents.mean, currents.variance)
        weight = self._arriving()
        squares = weight**2
        n = self.features

        flat = outside.reshape(-1, n), noise.reshape(-1, n)
        with torch.no_grad():
            settled = [self._settled(mean, variance, weight, squares) for mean, variance in zip(*flat, strict=True)]
            state, jacobian = (torch.stack(parts) for parts in zip(*settled, strict=True))
        solved = self._answer(state, *flat, weight, squares)
        if solved.requires_grad:
            matrix = (_identity(jacobian) - jacobian).mT
            solved.register_hook(lambda gradient: torch.linalg.solve(matrix, gradient[..., None])[..., 0])
        solved = solved.reshape(*outside.shape[:-1], -1)
        rate, drive = solved[..., :n], solved[..., -n:]
        return outside + rate @ weight.mT, standard_deviation(noise + drive @ squares.mT)

    def _answer(self, x: Tensor, mean: Tensor, variance: Tensor, weight: Tensor, squares: Tensor) -> Tensor:
        """Return the right side of the equations at a state: rates, or rates and variances in a row."""
        rate, drive = x[..., : self.features], x[..., -self.features :]
        inputs = mean + rate @ weight.mT, standard_deviation(variance + drive @ squares.mT)
        found = moment_activation(*inputs, self._neurons(*inputs))
        return found.rate if self.closure == "poisson" else torch.cat([found.rate, found.variance], dim=-1)

    def _settled(self, mean: Tensor, variance: Tensor, weight: Tensor, squares: Tensor) -> tuple[Tensor, Tensor]:
        """Return the self-consistent state for one input, and the derivatives of the equations there."""

        def step(x: Tensor) -> Tensor:
            return self._answer(x, mean, variance, weight, squares)

        def slopes(x: Tensor) -> Tensor:
            return self._jacobian(x, mean, variance, weight, squares)

        silence = mean.new_zeros(self.features if self.closure == "poisson" else 2 * self.features)
        state = _solution(step, slopes, silence)
        return state, slopes(state)

    def _jacobian(self, x: Tensor, mean: Tensor, variance: Tensor, weight: Tensor, squares: Tensor) -> Tensor:
        """Return the derivatives of the equations at a state, (n, n), or (2n, 2n) for rates and variances."""
        n = self.features
        with torch.enable_grad():
            current = (mean + weight @ x[:n]).detach().requires_grad_()
            power = (variance + squares @ x[-n:]).detach().requires_grad_()
            std = standard_deviation(power)
            found = moment_activation(current, std, self._neurons(current, std))
            outputs = [found.rate] if self.closure == "poisson" else [found.rate, found.variance]
            slopes = [torch.autograd.grad(out.sum(), (current, power), retain_graph=True) for out in outputs]
        rows = []
        for to_mean, to_variance in slopes:
            by_rate, by_drive = to_mean[:, None] * weight, to_variance[:, None] * squares
            rows.append(by_rate + by_drive if self.closure == "poisson" else torch.cat([by_rate, by_drive], dim=1))
        return torch.cat(rows, dim=0).detach()

    def _require_stable(self, weight: Tensor, gain: Tensor) -> None:
        for own in gain.reshape(-1, self.features):
            leading = _leading(own[:, None] * weight)
            if leading >= 1:
                raise ValueError(
                    f"the state is unstable, gains times weights have an eigenvalue of real part {leading:.3g} ≥ 1, "
                    "and covariances around it mean nothing: start from weaker weights, or train rates first (`rates`)"
                )

    def extra_repr(self) -> str:
        """Describe the settings."""
        dale = self.signs is not None
        return (
            f"{self.features}, connections={int(self.mask.sum())}, dale={dale}, closure={self.closure!r}, dt={self.dt}"
        )


def _solution(step: Callable[[Tensor], Tensor], slopes: Callable[[Tensor], Tensor], start: Tensor) -> Tensor:
    """Return the fixed point that an iteration from a start leads to, by Newton's steps once it is near.

    Raises
    ------
    NotConverged
        If there is none.
    """
    for near in (NEAR, 1e-3 * NEAR, 1e-6 * NEAR):
        found = fixed_point(step, start, tolerance=near)
        if found.status != "converged":
            raise NotConverged(
                f"no self-consistent state of the recurrent neurons: the residual is {found.residual:.2g} after "
                f"{found.iterations} steps. Try weaker weights or more inhibition"
            )
        x = found.value
        scale = float(x.abs().max().clamp(min=1e-12))
        for _ in range(NEWTON):
            residual = step(x) - x
            if float(residual.abs().max()) <= TOLERANCE * scale:
                return x
            jacobian = slopes(x)
            x = (x + torch.linalg.solve(_identity(jacobian) - jacobian, residual)).clamp(min=0.0)
        start = found.value  # Newton's steps led elsewhere: closer before they are tried again
    raise NotConverged(
        f"no self-consistent state of the recurrent neurons to rounding: the residual is {found.residual:.2g}. Try "
        "weaker weights or more inhibition"
    )


def _identity(matrix: Tensor) -> Tensor:
    return torch.eye(matrix.shape[-1], dtype=matrix.dtype, device=matrix.device)


def _leading(matrix: Tensor) -> float:
    """Return the largest real part of the eigenvalues."""
    if len(matrix) <= FLAT:
        return float(torch.linalg.eigvals(matrix).real.max())
    from scipy.sparse.linalg import ArpackNoConvergence, eigs

    try:
        found = eigs(matrix.cpu().numpy(), k=1, which="LR", return_eigenvectors=False, tol=1e-3)
    except ArpackNoConvergence:
        return float(torch.linalg.eigvals(matrix).real.max())
    return float(found.real.max())


def _start(weights: Any, mask: Any, signs: Any, shape: tuple[int, int], generator: torch.Generator | None) -> Any:
    """Return weights at the start, mV."""
    if weights is not None:
        given = np.array(in_unit(weights, "mV", "weights"), dtype=np.float64)
        if given.shape != shape:
            raise ValueError(f"`weights` must have shape {shape}, got {given.shape}")
        return given
    spread = 1 / np.sqrt(max(1.0, float(mask.sum(1).mean())))
    drawn = spread * torch.rand(shape, generator=generator, dtype=torch.float64).numpy()
    if signs is None:
        return (2 * drawn - spread) * mask
    return drawn * _checked_signs(signs, shape[0]) * mask


def _checked_signs(signs: Any, features: int) -> Any:
    values = np.asarray(signs, dtype=np.float64)
    if values.shape != (features,) or not np.isin(values, (-1.0, 1.0)).all():
        raise ValueError(f"`signs` must be +1 or -1 for each of {features} neurons, got {shown(signs)}")
    return values
