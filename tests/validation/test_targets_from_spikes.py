"""Statistics of populations from spikes: against NumPy's covariances, and errors against the spread of repetitions."""

import numpy as np
import pytest
import xarray as xr

from mnnbio.validation import spike_targets

WINDOW = 100.0
OWNERS = np.array(["E"] * 4 + ["I"] * 3 + ["single"])


def counted(windows):
    """A result of counts, (trial, time, neuron)."""
    times = np.arange(windows.shape[1]) * WINDOW * 1e-3
    data = xr.DataArray(
        windows,
        dims=("trial", "time", "neuron"),
        coords={"time": times, "neuron": np.arange(windows.shape[2]), "population": ("neuron", OWNERS)},
        attrs={"bin": WINDOW * 1e-3},
    )
    return xr.Dataset({"count": data})


def drawn(seed, number=200):
    """Counts with a common part, so that pairs covary."""
    rng = np.random.default_rng(seed)
    common = rng.poisson(2.0, (2, number, 1))
    return common + rng.poisson(3.0, (2, number, len(OWNERS)))


def test_values_are_means_over_neurons_and_pairs():
    windows = drawn(0)
    found = spike_targets(counted(windows), WINDOW)
    flat = windows.reshape(-1, len(OWNERS))
    covariance = np.cov(flat, rowvar=False)
    for name in ("E", "I", "single"):
        own = name == OWNERS
        assert float(found["rate"].sel(population=name)) == pytest.approx(flat[:, own].mean() * 10)
        variance = flat[:, own].var(0, ddof=1).mean()
        assert float(found["count_variance"].sel(population=name)) == pytest.approx(variance)
        assert float(found["count_fano"].sel(population=name)) == pytest.approx(variance / flat[:, own].mean())
        for other in ("E", "I", "single"):
            block = covariance[np.ix_(own, other == OWNERS)]
            pairs = block[~np.eye(len(block), dtype=bool)] if name == other else block.ravel()
            value = float(found["count_covariance"].sel(population=name, population_j=other))
            assert np.isnan(value) if not len(pairs) else value == pytest.approx(pairs.mean())
    np.testing.assert_allclose(found["pair_covariance"], found["count_covariance"] / 0.1)
    assert found["pair_covariance"].attrs["units"] == "Hz"


def test_errors_are_the_spread_of_repetitions():
    """100 repetitions; the mean of the estimated variances is known to some 3 %, the spread to 7 %."""
    found = [spike_targets(counted(drawn(seed)), WINDOW) for seed in range(100)]
    for name in ("rate", "count_fano", "count_covariance"):
        values = np.array([own[name].values.ravel() for own in found])
        errors = np.array([own[f"{name}_se"].values.ravel() for own in found])
        told = np.isfinite(values[0])
        ratio = np.sqrt((errors[:, told] ** 2).mean(0)) / values[:, told].std(0, ddof=1)
        assert (abs(ratio - 1) < 0.3).all()  # four standard errors


def test_what_gives_no_targets():
    windows = drawn(0)
    with pytest.raises(ValueError, match="targets need 4 windows at least, got 2 of 100 ms"):
        spike_targets(counted(windows[:, :1]), WINDOW)
    several = xr.concat([counted(windows)] * 2, dim="stimulus")
    with pytest.raises(ValueError, match="targets are of one stimulus"):
        spike_targets(several, WINDOW)


def test_blocks_tell_what_errors_share():
    """Covariances of all pairs come from one common part: their errors go together, over 100 repetitions and in each."""
    found = [spike_targets(counted(drawn(seed)), WINDOW) for seed in range(100)]
    places = [{"population": "E", "population_j": name} for name in ("E", "I")]
    values = np.array([[float(own["count_covariance"].sel(place)) for place in places] for own in found])
    blocks = np.array([[own["count_covariance_blocks"].sel(place).values for place in places] for own in found])
    products = np.einsum("rab,rcb->rac", blocks, blocks)
    np.testing.assert_allclose(products[0, 0, 0], float(found[0]["count_covariance_se"].sel(places[0])) ** 2)
    told = (products[:, 0, 1] / np.sqrt(products[:, 0, 0] * products[:, 1, 1])).mean()
    spread = np.corrcoef(values.T)[0, 1]
    assert spread > 0.5
    assert abs(told - spread) < 4 * (1 - spread**2) / np.sqrt(100)
