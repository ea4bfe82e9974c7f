"""The program's random numbers, drawn for many neurons at once, are those of Python, tails included."""

import subprocess

import numpy as np
import pytest
from scipy import special

from mnnbio.spikes import streams
from mnnbio.spikes.standalone import own_sources

MASK = 2**64 - 1
MAIN = r"""
#include <cstdio>
#include "draws.h"
#include "files.h"
#include "sources.h"

int main()
{
    using namespace mnnbio;
    const auto stream = read_file<int64_t>("stream");
    const auto quiet = read_file<double>("quiet");
    const auto positive = read_file<double>("positive");
    const int64_t n = stream.size();
    std::vector<double> one(n);
    auto write = [&]() { fwrite(one.data(), sizeof(double), n, stdout); };
    uniform_draws(one.data(), stream.data(), n, 7);
    write();
    normal_draws(one.data(), stream.data(), n, 7);
    write();
    poisson_draws(one.data(), stream.data(), quiet.data(), n, 7);
    write();
    for (int64_t k = 0; k < n; k++)
        one[k] = log_of(positive[k]);
    write();
    for (int64_t k = 0; k < n; k++)
        one[k] = bernoulli_gap(stream[k], 7, -1 / positive[k]);
    write();
}
"""


def unmix(z: int) -> int:
    """Invert `mix64`: the number that it scrambles to z."""
    for shift, factor in ((31, 0x94D049BB133111EB), (27, 0xBF58476D1CE4E5B9), (30, None)):
        undone = z
        for _ in range(64 // shift + 1):
            undone = z ^ (undone >> shift)
        z = undone if factor is None else undone * pow(factor, -1, 2**64) & MASK
    return (z - 0x9E3779B97F4A7C15) & MASK


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """Draws of the program, in its own options of compiling, and what it drew from."""
    folder = tmp_path_factory.mktemp("draws")
    for name, text in own_sources().items():
        (folder / name).write_bytes(text)
    (folder / "main.cpp").write_text(MAIN)
    rng = np.random.default_rng(1)
    given = {
        "stream": rng.integers(-(2**63), 2**63 - 1, 10_001),
        "quiet": np.exp(-rng.choice([0.0, 1e-3, 0.5, 3.0, 40.0, 100.0], 10_001)),
        "positive": np.exp(rng.uniform(-36, 8, 10_001)),
    }
    # Streams that give the smallest and largest uniform numbers at counter 7, and others far out in both tails.
    mixed = int(streams.mix64(np.int64(7))[0])
    bits = [0, 1, 100, 10**4, 10**6, 2**51, 2**52 - 1, 2**52 - 10**5]
    given["stream"][: len(bits)] = np.array([unmix(b << 12) ^ mixed for b in bits], np.uint64).view(np.int64)
    for name, values in given.items():
        values.tofile(folder / name)
    options = ["-w", "-O3", "-ffast-math", "-fno-finite-math-only", "-march=native", "-std=c++11"]
    subprocess.run(["g++", *options, "main.cpp", "-o", "main"], cwd=folder, check=True)
    out = subprocess.run([folder / "main"], cwd=folder, check=True, capture_output=True).stdout
    return given, dict(
        zip(("uniform", "normal", "poisson", "log", "gap"), np.frombuffer(out).reshape(5, -1), strict=True)
    )


@pytest.mark.standalone
def test_uniform_numbers_are_equal_to_the_last_bit(drawn):
    given, found = drawn
    np.testing.assert_array_equal(found["uniform"], streams.uniform(given["stream"], 7))
    assert found["uniform"].min() == 2.0**-52


@pytest.mark.standalone
def test_normal_numbers_are_quantiles_far_into_the_tails(drawn):
    given, found = drawn
    np.testing.assert_allclose(
        found["normal"], special.ndtri(streams.uniform(given["stream"], 7)), rtol=2e-14, atol=1e-15
    )
    assert found["normal"].min() < -8
    assert found["normal"].max() > 6


@pytest.mark.standalone
def test_poisson_counts_are_equal(drawn):
    given, found = drawn
    np.testing.assert_array_equal(found["poisson"], streams.poisson_draw(given["stream"], 7, given["quiet"]))


@pytest.mark.standalone
def test_logarithms_are_right_and_intervals_equal(drawn):
    given, found = drawn
    np.testing.assert_allclose(found["log"], np.log(given["positive"]), rtol=1e-15, atol=1e-16)
    expected = streams.bernoulli_gap(given["stream"], 7, -1 / given["positive"])
    np.testing.assert_array_equal(found["gap"], expected)
