"""Generate ``mnnbio/moments/tables.npz``: the Dawson-type integrals as piecewise and asymptotic polynomials.

The six functions solve ``g' = 1 + 2xg``, ``G' = g``, ``h' = 2xh + g²``, ``H' = h``, ``k' = 2xk + 2gh``, ``K' = k``.
They start from their asymptotic series at x = -START and are continued by Taylor steps of the differential equations
in 60 digits, which is stable in this direction: for x < 0 errors decay like e^{x²}, for x > 0 they grow like the
functions themselves. The polynomials interpolate those values at Chebyshev points. Run from the root of the repository:

    python benchmarks/make_moment_tables.py
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

import numpy as np
from mpmath import mp, mpf

mp.dps = 60
START = 13  # e^{-START²} < 1e-73: beyond it the asymptotic series are exact to the working precision
STEP = mpf(1) / 8
TAYLOR = 70  # terms of a Taylor step
SERIES = 80  # terms of an asymptotic series in 1/x²

NAMES = ("g", "G", "h", "H", "k", "K")
PIECES, DEGREE, KNEE = 512, 6, 3.0  # pieces uniform in t = x / (KNEE + |x|)
EDGE, TONIC_DEGREE = 5.0, 20  # the tonic polynomials hold for x ≤ -EDGE

Values = dict[str, mpf]


def product(a: Sequence[mpf], b: Sequence[mpf], n: int) -> mpf:
    """Return the n-th coefficient of the product of two power series."""
    return mp.fsum(a[i] * b[n - i] for i in range(n + 1))


@cache
def tail() -> dict[str, list[mpf]]:
    """Return the series in w = 1/x² at x → -∞ of 2|x|g, G + ln|x|/2, 8|x|³h, 16x²H, 16|x|⁵k, 64x⁴K."""
    g, h, k = [mpf(1)], [mpf(1)], [mpf(1)]
    for n in range(1, SERIES):  # from g' = 1 + 2xg etc., order by order in w
        g.append(-g[-1] * (2 * n - 1) / 2)
    for n in range(1, SERIES):
        h.append(product(g, g, n) - h[-1] * (2 * n + 1) / 2)
    for n in range(1, SERIES):
        k.append(product(g, h, n) - k[-1] * (2 * n + 3) / 2)
    constant = -(mp.euler + 2 * mp.log(2)) / 4
    G = [constant] + [g[n] / (4 * n) for n in range(1, SERIES)]
    H = [h[n] / (n + 1) for n in range(SERIES)]
    K = [k[n] * 2 / (n + 2) for n in range(SERIES)]
    return {"g": g, "G": G, "h": h, "H": H, "k": k, "K": K}


def summed(series: Sequence[mpf], w: mpf) -> mpf:
    """Return an asymptotic series summed up to its smallest term."""
    total, power, last = mpf(0), mpf(1), mp.inf
    for coefficient in series:
        term = coefficient * power
        if abs(term) > last and abs(term) != 0:
            break
        total, power, last = total + term, power * w, abs(term) or last
    return total


def far_left(x: mpf) -> Values:
    """Return the six functions at x ≤ -START."""
    r, w, s = -x, 1 / x**2, tail()
    return {
        "g": summed(s["g"], w) / (2 * r),
        "G": summed(s["G"], w) - mp.log(r) / 2,
        "h": summed(s["h"], w) / (8 * r**3),
        "H": summed(s["H"], w) / (16 * r**2),
        "k": summed(s["k"], w) / (16 * r**5),
        "K": summed(s["K"], w) / (64 * r**4),
    }


def taylor(x: mpf, at: Values) -> dict[str, list[mpf]]:
    """Return the Taylor coefficients of the six functions at x from their values there."""
    c = {name: [at[name]] for name in NAMES}
    g, h, k = c["g"], c["h"], c["k"]
    for n in range(TAYLOR):
        before = {name: 2 * c[name][n - 1] if n else mpf(0) for name in "ghk"}
        g.append((2 * x * g[n] + before["g"] + (1 if n == 0 else 0)) / (n + 1))
        h.append((2 * x * h[n] + before["h"] + product(g, g, n)) / (n + 1))
        k.append((2 * x * k[n] + before["k"] + 2 * product(g, h, n)) / (n + 1))
        for upper, lower in (("G", g), ("H", h), ("K", k)):
            c[upper].append(lower[n] / (n + 1))
    return c


@cache
def nodes() -> list[dict[str, list[mpf]]]:
    """Return the Taylor coefficients at -START, -START + STEP, ..., START."""
    values, series = far_left(mpf(-START)), []
    count = int(2 * START / STEP) + 1
    for j in range(count):
        series.append(taylor(-START + j * STEP, values))
        values = {name: mp.polyval(series[-1][name][::-1], STEP) for name in NAMES}
    return series


def far_right(x: mpf) -> Values:
    """Return e^{-mx²} times the six functions (m = 1, 1, 2, 2, 3, 3) at x ≥ START, where e^{-x²}g = √π."""
    u = 1 / (2 * x**2)
    odd = [mpf(1)]  # Dawson's integral F = (1/2x) Σ (2n-1)!! u^n
    for n in range(1, SERIES):
        odd.append(odd[-1] * (2 * n - 1))

    def integrated(series: list[mpf], power: int, m: int) -> list[mpf]:
        """Solve y' = f - 2mxy for y, with f = x^-power Σ series u^n, as x^-(power+1) times a series."""
        out: list[mpf] = []
        for n in range(
            SERIES
        ):  # 2m y_n = f_n + (2(n-1) + power + 1) y_{n-1} · 2, as d/dx x^-p u^n = -(2n+p) x^-(p+1) u^n
            carry = 2 * (2 * (n - 1) + power + 1) * out[-1] if n else mpf(0)
            out.append((series[n] + carry) / (2 * m))
        return out

    root = mp.sqrt(mp.pi)
    h = [mp.pi / 2 * a for a in odd]  # ĥ = πF
    k = integrated([2 * root * a for a in h], 1, 2)
    return {
        "g": root - summed(tail()["g"], 1 / x**2) / (2 * x) * mp.exp(-(x**2)),
        "G": root / (2 * x) * summed(odd, u),
        "h": summed(h, u) / x,
        "H": summed(integrated(h, 1, 2), u) / x**2,
        "k": summed(k, u) / x**2,
        "K": summed(integrated(k, 2, 3), u) / x**3,
    }


def hatted(x: mpf) -> Values:
    """Return the six functions at x, times e^{-mx²} where x > 0."""
    if x <= -START:
        return far_left(x)
    if x >= START:
        return far_right(x)
    j = int(mp.nint((x + START) / STEP))
    z = x - (-START + j * STEP)
    scale = dict(zip(NAMES, (1, 1, 2, 2, 3, 3), strict=True))
    x_plus = max(x, mpf(0))
    return {name: mp.polyval(nodes()[j][name][::-1], z) * mp.exp(-scale[name] * x_plus**2) for name in NAMES}


def bounded(x: mpf) -> Values:
    """Return what is tabulated: smooth, bounded and bounded away from zero in t = x / (KNEE + |x|)."""
    f, r = hatted(x), abs(x)
    if x > 0:
        powers = {"g": 0, "G": 2, "h": 1, "H": 2, "k": 2, "K": 3}
        f["G"] /= x
    else:
        powers = {"g": 1, "G": 1, "h": 3, "H": 2, "k": 5, "K": 4}
        f["G"] = (f["G"] + mp.log1p(r) / 2) / x
    return {name: f[name] * (1 + r) ** powers[name] for name in NAMES}


def interpolate(function: Callable[[mpf], list[mpf]], low: mpf, high: mpf, degree: int) -> list[list[mpf]]:
    """Return monomial coefficients in z ∈ [-1, 1] of the polynomials through Chebyshev points of [low, high]."""
    z = [mp.cos(mp.pi * (2 * i + 1) / (2 * degree + 2)) for i in range(degree + 1)]
    columns = [function((low + high) / 2 + (high - low) / 2 * zi) for zi in z]
    inverse = mp.matrix([[zi**n for n in range(degree + 1)] for zi in z]) ** -1
    return [
        [mp.fsum(inverse[n, i] * columns[i][f] for i in range(degree + 1)) for n in range(degree + 1)]
        for f in range(len(columns[0]))
    ]


def pieces() -> np.ndarray:
    """Return coefficients (function, power, piece)."""

    def of_t(t: mpf) -> list[mpf]:
        values = bounded(KNEE * t / (1 - abs(t)))
        return [values[name] for name in NAMES]

    edges = [mpf(2 * j) / PIECES - 1 for j in range(PIECES + 1)]
    table = np.zeros((len(NAMES), DEGREE + 1, PIECES))
    for j in range(PIECES):
        table[:, :, j] = np.array(interpolate(of_t, edges[j], edges[j + 1], DEGREE), dtype=np.float64)
    return table


def tonic() -> np.ndarray:
    """Return coefficients (function, power) in z = 2 w EDGE² - 1 of the series of `tail`, G's without its constant."""

    def of_w(w: mpf) -> list[mpf]:
        x = -1 / mp.sqrt(w)
        f, r = hatted(x), -x
        factor = {"g": 2 * r, "h": 8 * r**3, "H": 16 * r**2, "k": 16 * r**5, "K": 64 * r**4}
        f["G"] += mp.log(r) / 2 - tail()["G"][0]
        return [f[name] * factor.get(name, mpf(1)) for name in NAMES]

    return np.array(interpolate(of_w, mpf(0), 1 / mpf(EDGE) ** 2, TONIC_DEGREE), dtype=np.float64)


def main() -> None:
    path = Path(__file__).parents[1] / "mnnbio" / "moments" / "tables.npz"
    np.savez_compressed(path, pieces=pieces(), tonic=tonic(), knee=KNEE, edge=EDGE)
    print(f"{path}: {path.stat().st_size / 1024:.0f} kB")


if __name__ == "__main__":
    main()
