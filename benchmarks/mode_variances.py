"""Compare mean and variance of activity in mode space with spikes, from strong negative to strong positive feedback.

    python benchmarks/mode_variances.py [--seconds 800] [--figure docs/modes.png]

Networks of 500 leaky integrate-and-fire neurons with three modes, ``W = ξ_in diag(λ) ξ_outᵀ``, whose scores give wanted
loop gains (eigenvalues of ``diag(λ) ξ_outᵀ diag(gain) ξ_in``) at the predicted state: the gains -0.7, 0.3 and 0.6 with
three seeds, then others from -0.9 to 0.9. Simulated variances are the power of the modes' activity at low frequencies,
extrapolated to 0; their standard errors come with them. Printed beside: the prediction, independent neurons of the same
variances, and what the feed-forward rule gives if it is iterated around the loops.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.optimize import minimize

from mnnbio import Circuit, Counts, GaussianDrive, LIFParameters, ModeMatrix, Population, Projection, predict, simulate
from mnnbio.theory import mode_dynamics, predict_modes

SIZE = 500
MEAN, SPREAD, STD = 0.95, 0.05, 1.3  # of the drives: mV/ms, among neurons; mV/√ms
DT, BIN, TRIAL = 0.2, 25.0, 50_000.0  # ms
HIGHEST = 4e-3  # 1/ms: frequencies from which the power at 0 is extrapolated
STATED = (-0.7, 0.3, 0.6)
SWEEP = ((-0.9, 0.1, 0.9), (-0.5, 0.4, 0.8), (-0.3, -0.1, 0.7), (-0.8, 0.2, 0.5))


class Row(NamedTuple):
    """One mode; means in Hz, variances per time in Hz."""

    seed: int
    gain: float
    mean: float
    mean_simulated: float
    mean_se: float
    norm: float  # of the projected rates of all modes
    variance: float
    variance_simulated: float
    variance_se: float  # relative
    independent: float
    iterated: float


def network(gains: Sequence[float], seed: int, size: int = SIZE, *, balanced: bool = False) -> Circuit:
    """Return a circuit whose loop gains are the wanted ones: orthogonal modes, scores found by iteration.

    Modes that are `balanced` read nothing of the rates that neurons have without recurrence, so that their mean stays
    near 0: else that of modes with gains near 1 grows until the state is lost.
    """
    rng = np.random.default_rng(seed)
    modes, _ = np.linalg.qr(rng.normal(size=(size, len(gains))))
    mean = MEAN + SPREAD * rng.normal(size=size)
    drive = GaussianDrive("E", mean=mean, std=STD)
    if balanced:
        alone = Circuit([Population("E", size, LIFParameters())], drives=[drive])
        rate = predict(alone, dt=DT, covariance=False)["rate"].to_numpy()
        modes = np.linalg.qr(np.column_stack([rate, modes]))[0][:, 1:]

    def circuit(scores: np.ndarray) -> Circuit:
        weights = ModeMatrix(modes * size**0.5, scores, modes / size**0.5)
        return Circuit(
            [Population("E", size, LIFParameters())],
            [Projection("E", "E", weights=weights)],
            [drive],
        )

    scores = 1e-3 * np.array(gains)
    for part in (0.3, 0.6, 0.8, 0.9, 1.0):  # towards the instability in small steps: rates and gains change on the way
        for _ in range(12):
            loop = np.diag(predict_modes(circuit(scores), dt=DT)["loop_gain"].to_numpy())
            change = part * np.array(gains) / loop
            if np.abs(change - 1).max() < 1e-4:
                break
            scores = scores * (change if part == 0.3 else np.sqrt(change))
    return circuit(scores)


def iterated(variance: np.ndarray, gain: np.ndarray, weights: ModeMatrix, steps: int = 400) -> np.ndarray:
    """Return the mode variances of the feed-forward rule ``C → A W C Wᵀ A`` off the diagonal, the variance on it."""
    effective = gain[:, None] * weights.to_dense()
    covariance = np.diag(variance)
    for _ in range(steps):
        covariance = effective @ covariance @ effective.T
        np.fill_diagonal(covariance, variance)
    return np.einsum("np,nm,mp->p", weights.output_modes, covariance, weights.output_modes)


def power_at_zero(activity: np.ndarray, bin: float) -> tuple[float, float]:
    """Return the power of a series at frequency 0 and its relative standard error, by Whittle's likelihood.

    The inverse power is quadratic in the frequency, ``1/S = a + b f²``, as of a filter of first order.

    Parameters
    ----------
    activity : ndarray, shape (trial, time)
        1/ms, in bins of `bin` ms.
    """
    length = activity.shape[1]
    taper = np.hanning(length)
    tapered = (activity - activity.mean()) * taper
    power = (np.abs(np.fft.rfft(tapered, axis=1)) ** 2 * bin / (taper**2).sum()).mean(0)
    frequency = np.fft.rfftfreq(length, bin)
    # The taper joins neighbouring frequencies, and the mean is taken out of the lowest two.
    chosen = (frequency > 2.5 / (length * bin)) & (frequency < HIGHEST)
    x, y = (frequency[chosen] / HIGHEST) ** 2, power[chosen]
    scale = y.mean()

    def unlikely(parameters: np.ndarray) -> float:
        inverse = np.exp(parameters[0]) * (1 + np.expm1(parameters[1]) * x)
        return float((inverse * y / scale - np.log(inverse)).sum())

    fit = minimize(unlikely, [0.0, 0.0], method="Nelder-Mead", options={"xatol": 1e-6, "fatol": 1e-9, "maxiter": 2000})
    slope = np.exp(fit.x[1]) * x / (1 + np.expm1(fit.x[1]) * x)
    # A Hann taper leaves 1/1.94 of the frequencies independent.
    information = np.array([[len(x), slope.sum()], [slope.sum(), (slope**2).sum()]]) * len(activity) / 1.94
    return float(scale * np.exp(-fit.x[0])), float(np.linalg.inv(information)[0, 0] ** 0.5)


def measured(
    gains: Sequence[float], seed: int, seconds: float, size: int = SIZE, *, balanced: bool = False
) -> list[Row]:
    """Return the modes of one network, predicted and simulated."""
    circuit = network(gains, seed, size, balanced=balanced)
    weights = circuit.projections[0].weights
    modes = predict_modes(circuit, dt=DT)
    neurons = predict(circuit, dt=DT, covariance=False)
    duration = min(TRIAL, 1e3 * seconds)
    trials = max(1, round(1e3 * seconds / duration))
    began = time.perf_counter()
    result = simulate(
        circuit, duration, trials=trials, warmup=500, dt=DT, seed=seed, record=Counts(bin=BIN), covariance=False
    )
    counts = result["counts/count"].transpose("trial", "time", "neuron").to_numpy()
    activity = counts @ weights.output_modes / BIN  # 1/ms
    mean = activity.mean((0, 1)) * 1e3
    variance = neurons["variance"].to_numpy()
    gain = mode_gain(circuit)
    fed = iterated(variance, gain, weights)
    found = modes["loop_gain"].to_numpy()
    rows = []
    for k in range(len(gains)):
        power, se = power_at_zero(activity[..., k], BIN)
        rows.append(
            Row(
                seed,
                found[k, k],
                float(modes["mode_mean"][k]),
                mean[k],
                float(np.sqrt(power * 1e3 / (1e-3 * duration * trials))),
                float(np.linalg.norm(mean)),
                float(modes["mode_covariance"][k, k]),
                power * 1e3,
                se,
                float(modes["mode_covariance_independent"][k, k]),
                fed[k],
            )
        )
    spent = time.perf_counter() - began
    rate = 1e3 * counts.mean() / BIN
    print(f"seed {seed}, gains {gains}: {rate:.2f} Hz, {trials} x {duration / 1e3:g} s, {spent:.0f} s", flush=True)
    return rows


def mode_gain(circuit: Circuit) -> np.ndarray:
    """Return ∂rate/∂mean of every neuron at the predicted state, 1/mV."""
    dynamics = mode_dynamics(circuit, dt=DT)
    kappa = predict_modes(circuit, dt=DT)["mode_mean"].to_numpy() * 1e-3
    return dynamics.answers(kappa).gain


def table(rows: list[Row]) -> str:
    lines = [
        f"{'seed':>4}{'gain':>7}{'mean (Hz)':>22}{'error':>8}{'variance (Hz)':>24}{'error':>8}"
        f"{'independent':>13}{'iterated':>10}"
    ]
    for r in rows:
        size = max(abs(r.mean_simulated), r.norm)
        lines.append(
            f"{r.seed:4}{r.gain:7.2f}{r.mean:9.3f}{r.mean_simulated:9.3f}±{r.mean_se:.3f}"
            f"{100 * (r.mean - r.mean_simulated) / size:7.1f}%{1e3 * r.variance:9.2f}"
            f"{1e3 * r.variance_simulated:9.2f}±{1e3 * r.variance_simulated * r.variance_se:.2f}e-3"
            f"{100 * (r.variance / r.variance_simulated - 1):7.1f}%{1e3 * r.independent:10.2f}{1e3 * r.iterated:10.2f}"
        )
    return "\n".join(lines)


def draw(rows: list[Row], path: Path) -> None:
    """Draw variances relative to those of independent neurons, against the loop gain."""
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    plt.rcParams.update({"font.size": 8, "axes.spines.top": False, "axes.spines.right": False, "legend.frameon": False})
    figure, axes = plt.subplots(figsize=(4.2, 2.9), layout="constrained")
    rows = sorted(rows, key=lambda r: r.gain)
    gain = np.array([r.gain for r in rows])
    base = np.array([r.independent for r in rows])
    simulated = np.array([r.variance_simulated for r in rows])
    axes.axhline(1, color="#767676", lw=0.8, ls=":", label="independent neurons")
    axes.plot(
        gain,
        [r.iterated / b for r, b in zip(rows, base, strict=True)],
        color="#D55E00",
        ls="--",
        lw=1,
        label="iterated rule",
    )
    axes.plot(
        gain, [r.variance / b for r, b in zip(rows, base, strict=True)], color="#222222", lw=1, label="linear response"
    )
    error = 2 * simulated * np.array([r.variance_se for r in rows]) / base
    axes.errorbar(gain, simulated / base, error, fmt="o", ms=3, lw=0.8, color="#0072B2", label="simulated (± 2 s.e.)")
    axes.set(yscale="log", xlabel="Loop gain", ylabel="Variance of the mode,\nrelative to independent neurons")
    axes.set_yticks([0.3, 1, 3, 10, 30, 100], ["0.3", "1", "3", "10", "30", "100"])
    axes.legend(loc="upper left")
    figure.savefig(path, dpi=150)


def main() -> None:
    parser = argparse.ArgumentParser(description="Compare activity in mode space with spikes.")
    parser.add_argument("--seconds", type=float, default=800.0, help="simulated time of each of the three seeds")
    parser.add_argument("--sweep-seconds", type=float, default=400.0, help="simulated time of each other network")
    parser.add_argument("--figure", type=Path, help="where to draw variance against loop gain")
    options = parser.parse_args()
    rows = [row for seed in (1, 2, 3) for row in measured(STATED, seed, options.seconds)]
    print(table(rows))
    more = [
        row for k, gains in enumerate(SWEEP) for row in measured(gains, 11 + k, options.sweep_seconds, balanced=True)
    ]
    print(table(more))
    if options.figure is not None:
        draw(rows + more, options.figure)


if __name__ == "__main__":
    main()
