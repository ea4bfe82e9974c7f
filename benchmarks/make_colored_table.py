"""Generate ``mnnbio/moments/colored.npz``: how noise with a memory displaces the threshold of a neuron.

At every node the Fokker-Planck equation (`mnnbio.moments.fokker_planck`) gives rate and count variance, and at the
nodes of infinitely slow synapses the average of the answers to a constant current does. The displacement is the one
with which white noise gives the rate; what the slow current does not explain of the variance, over that in white noise,
is the second table (`mnnbio.moments.colored_noise`). Some six minutes; run from the root of the repository:

    python benchmarks/make_colored_table.py
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from mnnbio.moments import NeuronTensors, moment_activation
from mnnbio.moments.colored_noise import AXES, BEND, NONLINEAR, SPAN_SCALE, spline_coefficients
from mnnbio.moments.fokker_planck import ColoredPassage

FILE = Path("mnnbio/moments/colored.npz")
BISECTIONS, BRACKET = 60, (-6.0, 14.0)  # of the displacement, in σ
AVERAGED = 801  # places of the average over a slow current

THRESHOLD, SPAN, RATIO, WHITE, REFRACTORY = (np.arange(len(nodes)) for nodes in AXES)


def parameters() -> tuple[np.ndarray, ...]:
    """Return threshold, span, ratio, white share and refractory period at all nodes; broadcast, infinite at bounds."""
    with np.errstate(divide="ignore", invalid="ignore"):
        far, span, slow, white, held = np.meshgrid(*AXES, indexing="ij", sparse=True)
        ratio = (slow / (1 - slow)) ** 2
        scale = np.where(np.isinf(ratio), 2.0, ratio / (1 + ratio / 2))
        return (
            far - BEND / 4 / far,
            SPAN_SCALE * span / (1 - span),
            ratio,
            white**2,
            scale * held / (1 - held),
        )


def white_noise(threshold: np.ndarray, span: np.ndarray, refractory: np.ndarray, noise: float = 1.0) -> np.ndarray:
    """Return rate, Fano factor and gain in white noise that gives the potential the standard deviation `noise`."""
    columns = [torch.from_numpy(np.array(v)) for v in np.broadcast_arrays(threshold, threshold - span, refractory)]
    lif = NeuronTensors(torch.ones((), dtype=torch.float64), *columns)
    still = torch.zeros_like(columns[0])
    rate, variance, gain = moment_activation(still, still + 2**0.5 * noise, lif)
    safe = torch.where(rate > 0, rate, 1.0)
    return np.stack([rate.numpy(), (variance / safe).numpy(), gain.numpy()])


def solved(white: int) -> np.ndarray:
    """Return rate and Fano factor at the nodes of one white share, (2, threshold, span, ratio, refractory)."""
    threshold, span, ratio, share, held = parameters()
    found = np.full((2, *(len(nodes) for nodes in (AXES[0], AXES[1], AXES[2], AXES[4]))), np.nan)
    for i in THRESHOLD[1:]:
        for j in RATIO[1:-1]:
            th = threshold[i].item()
            passage = ColoredPassage(th, ratio[0, 0, j].item(), share[0, 0, 0, white].item(), th - span.max())
            for d in SPAN:
                for h in REFRACTORY:
                    answer = passage.statistics(th - span[0, d].item(), held[0, 0, j, 0, h].item())
                    found[:, i, d, j, h] = answer.rate, answer.variance / answer.rate
    return found


def averaged(white: int) -> np.ndarray:
    """Return the rate with infinitely slow synapses, (threshold, span, refractory)."""
    threshold, span, _, share, held = parameters()
    th, d, h = threshold.reshape(-1, 1, 1)[1:], span.reshape(1, -1, 1), held[0, 0, -1, 0].reshape(1, 1, -1)
    b = share[0, 0, 0, white].item()
    rate = np.zeros(np.broadcast_shapes(th.shape, d.shape, h.shape))
    if b == 0:  # y = threshold + t²: the rate rises with infinite slope
        t, w = np.polynomial.legendre.leggauss(400)
        t, w = (t + 1) / 2, w / 2
        for node, weight in zip(t, w, strict=True):
            low = np.maximum(th, -9.0)
            reach = np.sqrt(np.maximum(9.0 - low, 0.5))
            y = low + (reach * node) ** 2
            density = np.exp(-(y**2) / 2) / np.sqrt(2 * np.pi) * 2 * reach**2 * node * weight
            rate += density / (h + np.log1p(d / (y - th)))
        return rate
    places, step = np.linspace(-8.0, 8.0, AVERAGED, retstep=True)
    for y in places:
        density = np.exp(-(y**2) / 2) / np.sqrt(2 * np.pi) * step
        rate += density * white_noise(th - np.sqrt(1 - b) * y, d + 0 * h, h, np.sqrt(b))[0]
    return rate


def assembled(tables: list[np.ndarray]) -> dict[str, np.ndarray]:
    """Return the two tables from the solutions for all white shares but the last, which is white noise."""
    threshold, span, ratio, share, held = parameters()
    shape = tuple(len(nodes) for nodes in AXES)
    rate, fano = np.full((2, *shape), np.nan)
    for white, table in enumerate(tables):
        rate[:, :, :, white], fano[:, :, :, white] = table
        rate[1:, :, -1, white] = averaged(white)
    displacement = np.zeros(shape)
    inner = np.isfinite(rate)
    th, d, k, b, h = (np.broadcast_to(v, shape)[inner] for v in (threshold, span, ratio, share, held))
    low, high = (np.full(th.shape, bound) for bound in BRACKET)
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        fires = white_noise(th + middle, d, h)[0] > rate[inner]
        low, high = np.where(fires, middle, low), np.where(fires, high, middle)
    displacement[inner] = (low + high) / 2
    # A is left of the variance by the gain that the splines have.
    slope = _slope_at_nodes(displacement)
    own = np.ones(shape)
    known = inner & np.isfinite(fano)
    th, d, k, b, h = (np.broadcast_to(v, shape)[known] for v in (threshold, span, ratio, share, held))
    _, fano_white, gain = white_noise(th + displacement[known], d, h)
    gain = gain * (1 + slope[known] * (1 + th / np.sqrt(th**2 + BEND)) / 2)
    own[known] = (fano[known] - 2 * gain**2 / rate[known] * (1 - b) * k) / fano_white / (1 + NONLINEAR * (1 - b) * k)
    own[:, :, -1, :-1] = 2 * own[:, :, -2, :-1] - own[:, :, -3, :-1]  # k → ∞
    return {"displacement": displacement.astype(np.float32), "own": own.astype(np.float32)}


def _slope_at_nodes(values: np.ndarray) -> np.ndarray:
    """Return the derivative of the splines along the first axis, at the nodes."""
    found = spline_coefficients(values)
    for axis in range(1, found.ndim):
        found = np.moveaxis(found, axis, 0)
        found = np.moveaxis((found[:-2] + 4 * found[1:-1] + found[2:]) / 6, 0, axis)
    return (found[2:] - found[:-2]) / (2 * (AXES[0][1] - AXES[0][0]))


if __name__ == "__main__":
    np.savez_compressed(FILE, **assembled([solved(white) for white in WHITE[:-1]]))
    print(f"{FILE}: {FILE.stat().st_size / 1e3:.0f} kB")
