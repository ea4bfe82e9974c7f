"""Neurons other than leaky integrate-and-fire ones: threshold integration against simulation in C.

    python benchmarks/threshold_integration.py [--seconds 20000] [--only white,steps,filtered,conductance,adaptation]

Each line is one neuron simulated for some thousands of seconds by a small program of its own (Euler's method, or
exactly between steps for leaky neurons with conductances), with the deviation of the prediction from it and the
standard errors of the simulation, for rate and Fano factor. Needs a C compiler. About 15 minutes.
"""

from __future__ import annotations

import argparse
import ctypes
import subprocess
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from mnnbio import Circuit, PoissonDrive, Population, predict
from mnnbio.moments import DriftNeuron, leaky_drift, moment_activation, threshold_integration
from mnnbio.neurons import EIF, QIF, AdEx, ConductanceLIF, LIFParameters
from mnnbio.synapses import Conductance
from mnnbio.theory import NeuronInput, answer_to

SOURCE = r"""
#include <math.h>
#include <stdint.h>
static uint64_t s[4];
static uint64_t turn(uint64_t x, int k) { return (x << k) | (x >> (64 - k)); }
static uint64_t next(void) {
  uint64_t r = turn(s[1] * 5, 7) * 9, t = s[1] << 17;
  s[2] ^= s[0]; s[3] ^= s[1]; s[1] ^= s[2]; s[0] ^= s[3]; s[2] ^= t; s[3] = turn(s[3], 45);
  return r;
}
static double uniform(void) { return (next() >> 11) * 0x1p-53; }
static double spare; static int has = 0;
static double normal(void) {
  if (has) { has = 0; return spare; }
  double a, b, r;
  do { a = 2 * uniform() - 1; b = 2 * uniform() - 1; r = a * a + b * b; } while (r >= 1 || r == 0);
  r = sqrt(-2 * log(r) / r); spare = b * r; has = 1;
  return a * r;
}
/* p: kind, C, g_L, E_L, v_t, delta_t, v_th, v_reset, t_ref, a, tau_w, b, mean, std, tau_syn, then rate, weight, tau and
   reversal potential of two conductances. out: intervals and the sums of their first four powers, windows and the sums
   of counts and of their squares. Kind 0: EIF, 1: QIF, 2: leaky with conductances. */
void simulate(const double *p, double dt, double duration, double window, uint64_t seed, double *out) {
  for (int i = 0; i < 4; i++) {
    seed += 0x9e3779b97f4a7c15ULL; uint64_t z = seed;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL; z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL; s[i] = z ^ (z >> 31);
  }
  int kind = (int)p[0];
  double C = p[1], gL = p[2], EL = p[3], vt = p[4], dT = p[5], vth = p[6], vr = p[7], a = p[9], tw = p[10], b = p[11];
  double mean = p[12], noise_size = p[13] * sqrt(dt), ts = p[14], v = EL, w = 0, y = 0, g[2] = {0, 0}, wait[2], fade[2];
  long hold = lround(p[8] / dt), n = (long)(duration / dt), wake = 0, last = -1, per = (long)(window / dt);
  double counts = 0;
  for (int k = 0; k < 2; k++) {
    fade[k] = exp(-dt / p[17 + 4 * k]);
    wait[k] = p[15 + 4 * k] > 0 ? -log(1 - uniform()) / p[15 + 4 * k] : 1e300;
  }
  for (int k = 0; k < 9; k++) out[k] = 0;
  for (long k = 0; k < n; k++) {
    double noise = p[13] > 0 ? normal() * noise_size : 0, in = noise, gs = g[0] + g[1];
    double gE = g[0] * p[18] + g[1] * p[22], w0 = w;
    if (ts > 0) { in = y * dt; y += -y * dt / ts + noise / ts; }
    w += dt * (a * (v - EL) - w) / tw;
    if (k >= wake) {
      if (kind == 2) {
        double total = gL + gs, aim = (gL * EL + gE + C * mean) / total, e = exp(-dt * total / C);
        v = aim + (v - aim) * e;
      } else {
        double f = kind == 0 ? gL * (EL - v + dT * exp((v - vt) / dT)) / C : gL / C * (v - EL) * (v - vt) / (vt - EL);
        v += dt * (f + mean + (gE - gs * v - w0) / C) + in;
      }
    }
    for (int j = 0; j < 2; j++) {
      g[j] *= fade[j]; wait[j] -= dt;
      while (wait[j] < 0) { g[j] += p[16 + 4 * j]; wait[j] += -log(1 - uniform()) / p[15 + 4 * j]; }
    }
    if (k >= wake && v > vth) {
      v = vr; w += b; wake = k + (hold > 1 ? hold : 1); counts++;
      if (last >= 0) { double x = 1, T = (k - last) * dt; out[0]++; for (int j = 1; j < 5; j++) out[j] += x *= T; }
      last = k;
    }
    if ((k + 1) % per == 0) {
      if ((k + 1) / per > 1) { out[5]++; out[6] += counts; out[7] += counts * counts; }
      counts = 0;
    }
  }
}
"""

SIMULATOR: list[Any] = []  # compiled when first used
CELL = {EIF: 0, AdEx: 0, QIF: 1, ConductanceLIF: 2}


class Simulated(NamedTuple):
    """Statistics of one simulated neuron, with standard errors relative to them."""

    rate: float  # Hz
    rate_error: float
    fano: float
    fano_error: float


def simulated(
    neuron: Any, mean: float, std: float, dt: float, duration: float, tau_syn: float = 0.0, drives: Any = ()
) -> Simulated:
    """Return the statistics of a neuron; counts in windows of 20 s give the Fano factor of adaptive ones."""
    if not SIMULATOR:
        folder = Path(tempfile.mkdtemp())
        (folder / "simulate.c").write_text(SOURCE)
        command = [
            "cc",
            "-O3",
            "-march=native",
            "-ffast-math",
            "-shared",
            "-fPIC",
            "-o",
            "simulate.so",
            "simulate.c",
            "-lm",
        ]
        subprocess.run(command, cwd=folder, check=True)
        SIMULATOR.append(ctypes.CDLL(str(folder / "simulate.so")).simulate)
    tau_m = getattr(neuron, "tau_m", None)
    values = {name: getattr(neuron, name, 0.0) for name in ("C", "E_L", "v_t", "delta_t", "v_th", "v_reset", "t_ref")}
    g_L = neuron.g_L if tau_m is None else neuron.C / tau_m
    adaptation = [getattr(neuron, name, default) for name, default in (("a", 0.0), ("tau_w", 100.0), ("b", 0.0))]
    opened = [(float(d.rate), d.weight, d.synapse.tau_syn, d.synapse.reversal) for d in drives]
    opened += [(0.0, 0.0, 1.0, 0.0)] * (2 - len(opened))
    numbers = [CELL[type(neuron)], values.pop("C"), g_L, *values.values(), *adaptation, mean, std, tau_syn]
    given, out = np.array([*numbers, *np.ravel(opened)], dtype=np.float64), np.zeros(9)
    pointer = ctypes.POINTER(ctypes.c_double)
    real = ctypes.c_double
    SIMULATOR[0](
        given.ctypes.data_as(pointer),
        real(dt),
        real(duration),
        real(2e4),
        ctypes.c_uint64(1),
        out.ctypes.data_as(pointer),
    )
    n, first, second, third, fourth = out[:5]
    T, m2, m3, m4 = first / n, second / n, third / n, fourth / n
    V = m2 - T**2
    central = m4 - 4 * T * m3 + 6 * T**2 * m2 - 3 * T**4
    rate_error = float(np.sqrt(V / n) / T)
    if isinstance(neuron, AdEx) and (neuron.b or neuron.a):
        windows, counts = out[5], out[6] / out[5]
        return Simulated(
            1e3 / T, rate_error, float((out[7] / windows - counts**2) / counts), float(np.sqrt(2 / windows))
        )
    return Simulated(1e3 / T, rate_error, float(V / T**2), float(np.sqrt((central / V**2 - 1) / n)))


def predicted(neuron: Any, mean: float, std: float, dt: float | None, tau_syn: float = 0.0) -> tuple[float, float]:
    """Return rate, Hz, and Fano factor."""
    values = (torch.tensor([[value]], dtype=torch.float64) for value in (mean, std, tau_syn))
    given = NeuronInput(*values)
    found = answer_to(neuron, given if tau_syn else given._replace(tau_syn=None), dt)
    return 1e3 * found.rate.item(), (found.variance / found.rate).item()


def line(what: str, found: tuple[float, float], of: Simulated) -> None:
    """Print the deviations of a prediction."""
    rate, fano = (100 * (value / truth - 1) for value, truth in zip(found, (of.rate, of.fano), strict=True))
    print(
        f"{what:44}{of.rate:8.2f} Hz  {rate:+6.2f} % ({100 * of.rate_error:4.2f})   F {of.fano:6.3f}  {fano:+6.2f} % "
        f"({100 * of.fano_error:4.2f})",
        flush=True,
    )


WHITE = [
    (EIF(), 0.3, 1.0), (EIF(), 0.4, 1.5), (EIF(), 0.6, 1.0), (EIF(), 0.9, 1.0), (EIF(), 2.0, 1.0), (EIF(), 2.0, 3.0),
    (QIF(), 0.1, 1.0), (QIF(), 0.15, 1.5), (QIF(), 0.3, 1.0), (QIF(), 0.5, 1.0), (QIF(), 1.5, 1.0), (QIF(), 1.0, 3.0),
]  # fmt: skip


def white(seconds: float) -> None:
    """As dt → 0: the simulation in fine steps against the theory of continuous time."""
    print("White noise, continuous time against simulations in steps of 0.02 and 0.01 ms")
    for neuron, mean, std in WHITE:
        found = predicted(neuron, mean, std, None)
        longer = seconds * min(5.0, max(1.0, 20 / found[0]))
        for dt in (0.02, 0.01):
            plain = type(neuron)(**{**dict(neuron.items()), "t_ref": neuron.t_ref + dt * (neuron.t_ref > 0)})
            # One step more: Brian2's refractory period includes the step of the spike.
            line(f"{type(neuron).__name__} {mean} {std}, dt {dt}", found, simulated(plain, mean, std, dt, longer * 1e3))


def steps(seconds: float) -> None:
    """In steps as they are used: the theory of continuous time, and that of the steps."""
    print("Euler's steps: without and with their theory")
    for neuron, mean, std in WHITE:
        for dt in (0.1, 0.5):
            of = simulated(neuron, mean, std, dt, 5e3 * seconds * dt / 0.1)
            name = f"{type(neuron).__name__} {mean} {std}, dt {dt}"
            line(f"{name}, continuous", predicted(neuron, mean, std, None), of)
            line(f"{name}, steps", predicted(neuron, mean, std, dt), of)


def filtered(seconds: float) -> None:
    """Exponential synapses."""
    print("Noise through exponential synapses")
    for neuron, mean, std in [(EIF(), 0.4, 1.2), (EIF(), 0.9, 1.0), (QIF(), 0.15, 1.2), (QIF(), 0.5, 1.0)]:
        for tau in (1.0, 2.0, 5.0, 10.0):
            of = simulated(neuron, mean, std, 0.05, 2e3 * seconds, tau)
            line(f"{type(neuron).__name__} {mean} {std}, tau_syn {tau}", predicted(neuron, mean, std, 0.05, tau), of)


def conductance(seconds: float) -> None:
    """Shot noise of conductances, from fast synapses in a leaky membrane to slow ones in an open one."""
    print("Conductances: excitation and inhibition (1/ms, nS, ms), reversal potentials 0 and -80 mV")
    dt = 0.02
    for excitation, inhibition in [
        ((40.0, 0.1, 0.5), None),
        ((50.0, 0.1, 0.5), (10.0, 0.2, 0.5)),
        ((20.0, 0.1, 1.0), None),
        ((30.0, 0.1, 1.0), (5.0, 0.2, 2.0)),
        ((60.0, 0.1, 1.0), (10.0, 0.2, 1.0)),
        ((6.0, 0.4, 2.0), (3.0, 0.6, 2.0)),
        ((10.0, 0.1, 5.0), (4.0, 0.1, 10.0)),
        ((10.0, 0.5, 5.0), (4.0, 1.0, 10.0)),
    ]:
        given = [(excitation, 0.0)] + ([] if inhibition is None else [(inhibition, -80.0)])
        drives = [PoissonDrive("E", r, w, synapse=Conductance(tau, reversal)) for (r, w, tau), reversal in given]
        neuron = ConductanceLIF(t_ref=2.0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = predict(Circuit([Population("E", 1, neuron)], drives=drives), dt=dt)
        of = simulated(neuron, 0.0, 0.0, dt, 1e3 * seconds, drives=drives)
        line(f"{excitation} {inhibition or ''}", (found["rate"].item(), found["fano"].item()), of)


def adaptation(seconds: float) -> None:
    """Adaptive exponential neurons."""
    print("Adaptation: a (nS), b (pA), tau_w (ms); Fano factors of counts in 20 s")
    plain = {"C": 200.0, "g_L": 10.0, "E_L": -65.0, "v_t": -53.0, "v_th": -30.0, "v_reset": -60.0, "t_ref": 2.0}
    for a, b, tau_w in [
        (0.0, 10.0, 500.0),
        (2.0, 10.0, 500.0),
        (0.0, 20.0, 200.0),
        (4.0, 20.0, 1000.0),
        (4.0, 80.5, 144.0),
    ]:
        for mean, std in [(0.5, 1.5), (1.0, 1.5), (2.0, 2.0)]:
            neuron = AdEx(**plain, a=a, b=b, tau_w=tau_w)
            of = simulated(neuron, mean, std, 0.1, 1e3 * seconds)
            line(f"a {a} b {b} tau_w {tau_w}, {mean} {std}", predicted(neuron, mean, std, 0.1), of)


def speed(seconds: float) -> None:
    """Time and error of the integration for leaky neurons, beside their closed form."""
    lif = LIFParameters()
    own = DriftNeuron(drift=leaky_drift, parameters=(20.0, 0.0), v_th=20.0, v_reset=0.0, t_ref=5.0)
    mean, std = (v.ravel() for v in np.meshgrid(np.linspace(0.3, 3, 40), np.linspace(0.3, 4, 25)))
    exact = moment_activation(torch.from_numpy(mean), torch.from_numpy(std), lif)
    firing = exact.rate.numpy() > 1e-9
    for cells in (256, 1024):
        start = time.perf_counter()
        found = threshold_integration(mean, std, own, cells=cells)
        took = time.perf_counter() - start
        worst = [np.abs(f[firing] / e.numpy()[firing] - 1).max() for f, e in zip(found[:3], exact, strict=True)]
        print(
            f"{cells} cells: {1e3 * took / len(mean):.2f} ms a neuron; LIF rate within {worst[0]:.0e}, variance "
            f"{worst[1]:.0e}, gain {worst[2]:.0e} of the closed form"
        )


PARTS = {f.__name__: f for f in (speed, white, steps, filtered, conductance, adaptation)}


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description="Compare threshold integration with simulations.")
    parser.add_argument("--seconds", type=float, default=2000.0, help="simulated time of a neuron, s")
    parser.add_argument("--only", default=",".join(PARTS))
    options = parser.parse_args()
    for name in options.only.split(","):
        PARTS[name](options.seconds)


if __name__ == "__main__":
    main()
