"""Compare predicted covariances of recurrent circuits with spikes, from weak to strong coupling.

    python benchmarks/recurrent_covariances.py [--trials 60] [--state "320/80"]

For each circuit of 320 excitatory and 80 inhibitory neurons it prints simulated rates, mean covariances of pairs and
covariances of summed activity with their standard errors, then what both closures predict, and what the feed-forward
rule gives if it is iterated around the loops.
"""

from __future__ import annotations

import argparse

import numpy as np
from brian2 import ms, second

from mnnbio import Bernoulli, Circuit, Counts, GaussianDrive, LIFParameters, Population, Projection, predict, simulate

SIZES = {"E": 320, "I": 80}
# weight (mV), connection probability, mean (mV/ms) and standard deviation (mV/√ms) of the drive
STATES = {
    "320/80": (0.4, 0.1, 0.9, 1.6),
    "low": (0.1, 0.2, 0.95, 1.0),
    "middle": (0.2, 0.4, 1.05, 1.0),
    "high": (0.3, 0.45, 1.2, 1.0),
    "highest": (0.35, 0.5, 1.25, 1.0),
}
PAIRS = (("E", "E"), ("E", "I"), ("I", "I"))
WINDOW = 1.0  # s; in shorter windows counts vary more than per long time


def circuit(weight: float, p: float, mean: float, std: float, g: float = 5.0) -> Circuit:
    lif = LIFParameters(v_reset=0.0, t_ref=5.0)
    return Circuit(
        [Population(name, size, lif) for name, size in SIZES.items()],
        [
            Projection(a, b, weight=weight if a == "E" else -g * weight, connectivity=Bernoulli(p), delay=1.5)
            for a in SIZES
            for b in SIZES
        ],
        [GaussianDrive(name, mean=mean, std=std) for name in SIZES],
        seed=3,
    )


def blocks(covariance: np.ndarray) -> dict[tuple[str, str], tuple[float, float]]:
    """Return the mean over different neurons and the sum of every block."""
    place = {"E": slice(0, SIZES["E"]), "I": slice(SIZES["E"], None)}
    found = {}
    for a, b in PAIRS:
        block = covariance[place[a], place[b]]
        same = np.trace(block) if a == b else 0.0
        found[a, b] = ((block.sum() - same) / (block.size - len(block) * (a == b)), block.sum())
    return found


def iterated(circuit: Circuit, steps: int = 200) -> np.ndarray:
    """Return the fixed point of the feed-forward rule ``C → A W C Wᵀ A`` off the diagonal, the variance on it."""
    from mnnbio.theory.inputs import external_input, wire
    from mnnbio.theory.stationary import stationary_state

    wired = wire(circuit, 0.1)
    external = external_input(circuit, wired, 0.1)
    state = stationary_state(
        wired.recurrent, external.mean, external.received, wired.neurons, closure="poisson", dt=0.1
    )
    effective = state.gain[:, None] * wired.recurrent.to_dense()
    covariance = np.diag(state.variance)
    for _ in range(steps):
        covariance = effective @ covariance @ effective.T
        np.fill_diagonal(covariance, state.variance)
    return covariance


def main() -> None:
    parser = argparse.ArgumentParser(description="Compare covariances of recurrent circuits with spikes.")
    parser.add_argument("--trials", type=int, default=60, help="trials of 40 s")
    parser.add_argument("--state", choices=STATES, help="one state only")
    options = parser.parse_args()
    for name, parameters in STATES.items():
        if options.state not in (None, name):
            continue
        net = circuit(*parameters)
        result = simulate(
            net, 40 * second, options.trials, 0.5 * second, 0.1 * ms, seed=7, record=Counts(bin=WINDOW * second)
        )
        counts = result["counts/count"].transpose("trial", "time", "neuron").values.astype(float)
        trials = [blocks(np.cov(table.T) / WINDOW) for table in counts]
        rates = counts.mean((0, 1)) / WINDOW
        print(f"\n{name}: rates {rates[:320].mean():.2f} and {rates[320:].mean():.2f} Hz")
        rows = {"simulated": None, "iterated": blocks(iterated(net) * 1e3)}
        for closure in ("poisson", "moments"):
            prediction = predict(net, dt=0.1, closure=closure)
            own = prediction["rate"].values
            print(
                f"  {closure}: rates {own[:320].mean():.2f} and {own[320:].mean():.2f} Hz, r "
                f"{np.corrcoef(own, rates)[0, 1]:.4f}, largest real eigenvalue {prediction.attrs['largest_real']:.2f}"
            )
            rows[closure] = blocks(prediction["covariance"].values)
        print(f"{'':12}" + "".join(f"{a}-{b} pairs (mHz)".rjust(24) for a, b in PAIRS) + "sum E-E (Hz)".rjust(24))
        for label, row in rows.items():
            cells = []
            for pair, column in [*((pair, 0) for pair in PAIRS), (("E", "E"), 1)]:
                unit = 1e3 if column == 0 else 1.0
                if row is None:
                    sample = np.array([trial[pair][column] for trial in trials]) * unit
                    cells.append(f"{sample.mean():.2f} ± {sample.std(ddof=1) / len(sample) ** 0.5:.2f}")
                else:
                    cells.append(f"{row[pair][column] * unit:.2f}")
            print(f"{label:12}" + "".join(cell.rjust(24) for cell in cells))


if __name__ == "__main__":
    main()
