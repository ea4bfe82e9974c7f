import numpy as np
import pytest
import torch

from mnnbio.moments.counts import count_variance, long_window_count_variance


def f64(value):
    return torch.tensor(value, dtype=torch.float64)


def simulated(intervals, window, windows, rng):
    """Return the count variance of an equilibrium renewal train and its standard error, from independent windows."""
    mean = intervals.mean()
    steps = int(window / mean * 2 + 60)
    times = np.cumsum(rng.choice(intervals, (windows, steps)), axis=1)
    start = mean * (20 + 10 * rng.random((windows, 1)))  # 20 intervals on average forget how the train began
    counts = ((times > start) & (times <= start + window)).sum(1)
    squares = (counts - counts.mean()) ** 2
    return squares.mean(), squares.std() / np.sqrt(windows)


def shape(intervals):
    mean = intervals.mean()
    third = ((intervals - mean) ** 3).mean()
    return f64(1 / mean), f64(intervals.var() / mean**2), f64(third / mean**3)


@pytest.mark.parametrize("window", [0.1, 1.0, 7.3, 40.0, 1e3])
def test_poisson_process(window):
    rate = f64(0.3)
    found = count_variance(rate, f64(1.0), f64(2.0), window)
    assert found.item() == pytest.approx(0.3 * window, rel=1e-12)
    assert long_window_count_variance(rate, f64(1.0), f64(2.0), window).item() == pytest.approx(0.3 * window)


@pytest.mark.parametrize("x", [0.25, 1.0, 3.5, 12.9])
def test_clockwork(x):
    fraction = x % 1
    for fano in (0.0, 1e-10):
        found = count_variance(f64(0.1), f64(fano), f64(fano**2), 10 * x)
        assert found.item() == pytest.approx(fraction * (1 - fraction), abs=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("x", [0.4, 1.0, 2.2, 6.0, 15.0])
@pytest.mark.parametrize(
    ("name", "tolerance"), [("gamma", 0.0), ("refractory Poisson", 0.0), ("inverse Gaussian", 0.02)]
)
def test_simulated_renewal_trains(name, tolerance, x):
    """Exact where the interval is a constant plus a gamma variable; within 2 % for an inverse Gaussian one."""
    rng = np.random.default_rng(7)
    n = 1_000_000
    intervals = {
        "gamma": lambda: rng.gamma(8.0, 1.0, n),
        "refractory Poisson": lambda: 3 + rng.exponential(5.0, n),
        "inverse Gaussian": lambda: rng.wald(10.0, 40.0, n),
    }[name]()
    window = x * intervals.mean()
    variance, error = simulated(intervals, window, 40_000, rng)
    found = count_variance(*shape(intervals), window).item()
    assert abs(found - variance) < 4 * error + tolerance * variance


def test_bursts_keep_the_refractory_period():
    """In a window shorter than the refractory period there is at most one spike: a Bernoulli variable."""
    rate, fano, skewness = f64(0.074), f64(2.3), f64(15.7)
    for window in (1.0, 4.9):
        x = 0.074 * window
        assert count_variance(rate, fano, skewness, window, 5.0).item() == pytest.approx(x * (1 - x), rel=1e-12)


def test_long_windows_join():
    rate, fano, skewness = f64(0.05), f64([0.05, 0.3, 0.9]), f64([0.006, 0.27, 1.7])
    for window in (500.0, 5e3):
        found = count_variance(rate, fano, skewness, window)
        torch.testing.assert_close(found, long_window_count_variance(rate, fano, skewness, window), rtol=0.01, atol=0)
    switch = 4 * (1 + fano) / fano / rate
    below, above = (count_variance(rate, fano, skewness, switch * factor) for factor in (1 - 1e-9, 1 + 1e-9))
    torch.testing.assert_close(below, above, rtol=1e-3, atol=0)


def test_silent_neurons_and_shapes():
    found = count_variance(f64([0.0, 0.1]), f64([1.0, 0.2]), f64([2.0, 0.1]), f64([[10.0], [20.0], [1.0]]))
    assert found.shape == (3, 2)
    assert (found[:, 0] == 0).all()
    assert count_variance(torch.tensor(0.1), torch.tensor(1.0), torch.tensor(2.0), 10.0).dtype == torch.float32


def test_bad_window():
    with pytest.raises(ValueError, match=r"`window` must be > 0 ms, got -1.0"):
        count_variance(f64(0.1), f64(1.0), f64(2.0), -1.0)
