"""Measure the moments against mpmath and write ``docs/accuracy.md``: every quantity's largest error, and where it is.

    python benchmarks/moment_accuracy.py

The reference continues the differential equations of the integrals in 60 digits (`make_moment_tables.hatted`, which the
tests meet by quadrature of the definitions) and takes differences without rounding. Takes some minutes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from make_moment_tables import NAMES, hatted
from mpmath import mp, mpf
from torch import Tensor

from mnnbio import LIFParameters
from mnnbio.moments import integrals
from mnnbio.moments.activation import fano_factor, interval_skewness, moment_activation
from mnnbio.moments.drive import NeuronTensors
from mnnbio.moments.kernel import activation_backend

NEURONS: list[tuple[float, ...]] = [  # tau_m (ms), v_th, v_reset (mV), t_ref (ms)
    (20.0, 20.0, 0.0, 5.0), (20.0, 20.0, 10.0, 2.0), (10.0, 15.0, -10.0, 0.0),
    (35.0, 12.0, 3.0, 1.0), (5.0, 20.0, -3.0, 2.5), (20.0, 20.0, 19.0, 0.0),
]  # fmt: skip
POINTS_PER_NEURON = 300
SLOPES_PER_NEURON = 40
STEP = mpf(10) ** -18  # of central differences in 60 digits
LOWEST_RATE = 1e-12  # 1/ms, at which these still resolve how the refractory period matters
SMALLEST = {torch.float64: 1e-250, torch.float32: 1e-36}
LARGEST = {torch.float64: 1e300, torch.float32: 1e37}
SCALE = dict(zip(NAMES, (1, 1, 2, 2, 3, 3), strict=True))
PARAMETERS = ("mean", "std", "tau_m", "v_th", "v_reset", "t_ref")
OUTPUTS = ("rate", "variance", "gain", "Fano factor", "κ₃")


class Worst(NamedTuple):
    """The largest relative error of a quantity, and where it is."""

    error: float
    place: str


def exact_integrals(x: float) -> dict[str, mpf]:
    """Return the six integrals at x."""
    value = mpf(x)
    factor = mp.exp(value * value) if value > 0 else mpf(1)
    return {name: f * factor ** SCALE[name] for name, f in hatted(value).items()}


def exact_moments(mean: float, std: float, values: tuple[float, ...]) -> list[mpf]:
    """Return rate, variance, gain, Fano factor and κ₃."""
    tau, v_th, v_reset, t_ref = map(mpf, values)
    if std == 0:
        above = mean - v_th / tau
        if above <= 0:
            return [mpf(0), mpf(0), mpf(0), mpf(1), mpf(2)]
        below = mean - v_reset / tau
        rate = 1 / (t_ref - tau * mp.log(above / below))
        return [rate, mpf(0), tau * rate**2 * (1 / above - 1 / below), mpf(0), mpf(0)]
    s = mpf(std) / mp.sqrt(tau)
    at_th, at_reset = (exact_integrals((v / tau - mean) / s) for v in (v_th, v_reset))
    between = {name: at_th[name] - at_reset[name] for name in NAMES}
    rate = 1 / (t_ref + 2 * tau * between["G"])
    fano = 8 * tau**2 * rate**2 * between["H"]
    return [rate, fano * rate, 2 * tau * rate**2 * between["g"] / s, fano, 48 * tau**3 * rate**3 * between["K"]]


def inputs(values: tuple[float, ...], seed: int) -> Iterator[tuple[float, float]]:
    """Yield means and stds: all over the range, near threshold, at the ends, without noise; as float32 holds them."""
    rng = np.random.default_rng(seed)
    threshold = values[1] / values[0]
    for k in range(POINTS_PER_NEURON):
        mean = rng.uniform(-10, 20) if k % 2 else threshold + rng.normal() * 10 ** rng.uniform(-3, 0)
        std = 100.0 if k % 10 == 0 else 0.0 if k % 10 == 1 else 10 ** rng.uniform(-3, 2)
        yield float(np.float32(mean)), float(np.float32(std))


def note(
    worst: dict[str, Worst], name: str, found: float, exact: mpf, dtype: torch.dtype, place: str, floor: float = 0.0
) -> None:
    """Keep the error relative to the exact value, or to `floor` if this is larger."""
    if not SMALLEST[dtype] < abs(exact) < LARGEST[dtype]:
        if exact == 0 and found != 0:
            raise AssertionError(f"{name} must be 0 at {place}, got {found}")
        return
    error = float(abs(found - exact) / max(abs(exact), floor))
    if name not in worst or error > worst[name].error:
        worst[name] = Worst(error, place)


def measure_integrals(dtype: torch.dtype) -> dict[str, Worst]:
    worst: dict[str, Worst] = {}
    near = np.linspace(-14, 27, 1500)
    far = -np.logspace(1, 6, 200)
    for x in np.concatenate([near, far]).astype(np.float32).astype(np.float64).tolist():
        exact = exact_integrals(x)
        for name, found in integrals(torch.tensor([x], dtype=dtype))._asdict().items():
            floor = 1.0 if name == "G" else 0.0  # G passes through zero
            note(worst, name, float(found), exact[name], dtype, f"x = {x:.6g}", floor)
    return worst


Route = Callable[[Tensor, Tensor, LIFParameters], tuple[Tensor, ...]]


def direct(mean: Tensor, std: Tensor, lif: LIFParameters) -> tuple[Tensor, ...]:
    return (*moment_activation(mean, std, lif), fano_factor(mean, std, lif), interval_skewness(mean, std, lif))


def by_torch(mean: Tensor, std: Tensor, lif: LIFParameters) -> tuple[Tensor, ...]:
    """Return the same by PyTorch alone, as function transforms do."""
    return torch.vmap(lambda m, s: direct(m, s, lif))(mean, std)


def measure_moments(
    route: Route, dtype: torch.dtype, exact: dict[tuple[float, ...], list[list[mpf]]]
) -> dict[str, Worst]:
    worst: dict[str, Worst] = {}
    for seed, values in enumerate(NEURONS):
        lif = LIFParameters(**dict(zip(("tau_m", "v_th", "v_reset", "t_ref"), values, strict=True)))
        points = list(inputs(values, seed))
        mean, std = torch.tensor(points, dtype=dtype).T.contiguous()
        columns = [column.tolist() for column in route(mean, std, lif)]
        for i, (m, s) in enumerate(points):
            place = f"mean {m:.4g}, std {s:.4g}, neuron {values}"
            for name, column, wanted in zip(OUTPUTS, columns, exact[values][i], strict=True):
                if name in ("Fano factor", "κ₃") and exact[values][i][0] < SMALLEST[torch.float64]:
                    continue  # silent neurons get the limits 1 and 2
                note(worst, name, column[i], wanted, dtype, place)
    return worst


def measure_slopes() -> dict[str, Worst]:
    """Return the errors of all first derivatives in float64, compiled."""
    worst: dict[str, Worst] = {}
    for seed, values in enumerate(NEURONS):
        for mean, std in list(inputs(values, seed))[:SLOPES_PER_NEURON]:
            arguments = [torch.tensor(v, dtype=torch.float64, requires_grad=True) for v in (mean, std, *values)]
            found = moment_activation(arguments[0], arguments[1], NeuronTensors(*arguments[2:]))
            if std == 0 or found.rate < LOWEST_RATE:
                continue
            slopes = [torch.autograd.grad(output, arguments, retain_graph=True) for output in found]
            for k, name in enumerate(PARAMETERS):
                ends = [[mpf(v) for v in (mean, std, *values)] for _ in range(2)]
                ends[0][k] += STEP
                ends[1][k] -= STEP
                above, below = (exact_moments(end[0], end[1], tuple(end[2:])) for end in ends)
                for output, slope, up, down in zip(OUTPUTS, slopes, above, below, strict=False):
                    exact = (up - down) / (2 * STEP)
                    floor = float(1e-3 * abs(up) / max(1.0, abs(arguments[k].item())))
                    place = f"mean {mean:.4g}, std {std:.4g}, neuron {values}"
                    note(worst, f"∂{output}/∂{name}", float(slope[k]), exact, torch.float64, place, floor)
    return worst


def rows(names: Iterable[str], *columns: dict[str, Worst]) -> Iterator[str]:
    for name in names:
        cells = [f"{column[name].error:.1e} | {column[name].place}" for column in columns]
        yield f"| {name} | {' | '.join(cells)} |"


def main() -> None:
    backend = activation_backend()
    if backend.name != "compiled":
        raise SystemExit(f"the table compares both routes, and there is no compiled one: {backend.detail}")
    exact = {
        values: [exact_moments(*point, values) for point in inputs(values, seed)]
        for seed, values in enumerate(NEURONS)
    }  # fmt: skip
    double, single = torch.float64, torch.float32
    slopes = measure_slopes()
    text = [
        "# Accuracy of the moments",
        "",
        "Largest relative error against mpmath (60 digits), and where it occurs. Written by",
        "`python benchmarks/moment_accuracy.py`.",
        "",
        "## Integrals",
        "",
        "1,700 points from x = −10⁶ to 27, wherever the value is a float of its kind. G passes through zero: where it",
        "is below 1, its error is absolute. In float32 the error is that of rounding x² in an exponent.",
        "",
        "| integral | float64 | worst point | float32 | worst point |",
        "|---|---|---|---|---|",
        *rows(NAMES, measure_integrals(double), measure_integrals(single)),
        "",
        "## Activation",
        "",
        f"{len(NEURONS)} neurons (tau_m in ms, v_th and v_reset in mV, t_ref in ms), {POINTS_PER_NEURON} inputs each:",
        "mean −10 to 20 mV/ms, half of them near threshold, std 0 to 100 mV/√ms, rates down to 10⁻²⁵⁰. The compiled",
        "kernel and PyTorch take the same tables. float32 input is computed in float64 and rounded. κ₃ is the third",
        "central moment of the interval over its mean cubed.",
        "",
        "| quantity | float64, compiled | worst point | float64, PyTorch | worst point | float32 | worst point |",
        "|---|---|---|---|---|---|---|",
        *rows(
            OUTPUTS,
            measure_moments(direct, double, exact),
            measure_moments(by_torch, double, exact),
            measure_moments(direct, single, exact),
        ),
        "",
        "## First derivatives",
        "",
        f"float64, compiled, against central differences in 60 digits, at {SLOPES_PER_NEURON} inputs a neuron,",
        "rates from 10⁻¹²/ms. Derivatives pass through zero: errors are relative to the derivative or, where it is",
        "smaller than that, to a thousandth of output/argument (of an argument of at least 1).",
        "",
        "| derivative | error | worst point |",
        "|---|---|---|",
        *rows(slopes, slopes),
        "",
    ]  # fmt: skip
    path = Path(__file__).parents[1] / "docs" / "accuracy.md"
    path.write_text("\n".join(text), encoding="utf-8")
    print("\n".join(text))


if __name__ == "__main__":
    main()
