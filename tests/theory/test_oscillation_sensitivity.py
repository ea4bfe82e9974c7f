"""Sensitivity of oscillations to connections: against oscillations of circuits in which a weight is changed, and sums."""

from dataclasses import replace

import numpy as np
import pytest

from mnnbio import (
    Circuit,
    FixedIndegree,
    FixedTotalNumber,
    GaussianDrive,
    LIFParameters,
    Normal,
    Population,
    Projection,
    predict,
    predict_oscillations,
)
from mnnbio.circuits import microcircuit
from mnnbio.theory import oscillation_sensitivity

pytestmark = pytest.mark.filterwarnings(
    "ignore::mnnbio.theory.validity.FiniteWeightWarning", "ignore::mnnbio.theory.validity.LinearResponseWarning"
)

LIF = LIFParameters(tau_m=20.0, v_th=20.0, v_reset=10.0, t_ref=2.0)
WEIGHTS = {("E", "E"): 0.1, ("E", "I"): 0.12, ("I", "E"): -0.5, ("I", "I"): -0.45}  # source, target
INDEGREES = {"E": 400, "I": 100}
DRIVES = {"E": (1.3, 1.0), "I": (1.2, 0.9)}
SMALL = 1e-4


def coupled(weights=None, drives=None):
    weights, drives = weights or WEIGHTS, drives or DRIVES
    return Circuit(
        [Population("E", 4000, LIF), Population("I", 1000, LIF)],
        [
            Projection(source, target, weight=weight, connectivity=FixedIndegree(INDEGREES[source]), delay=1.5)
            for (source, target), weight in weights.items()
        ],
        [GaussianDrive(name, mean=mean, std=std) for name, (mean, std) in drives.items()],
    )


def changed(source, target, factor, *, kept):
    """A weight times a factor; if the working point is kept, the drive takes back what that changes of the input."""
    weights, drives = dict(WEIGHTS), dict(DRIVES)
    weights[source, target] *= factor
    if kept:
        rate = predict(coupled(), resolution="population", closure="poisson", covariance=False)["rate"]
        arriving = INDEGREES[source] * float(rate.sel(population=source)) * 1e-3
        old, new = WEIGHTS[source, target], weights[source, target]
        mean, std = drives[target]
        drives[target] = (mean - arriving * (new - old), np.sqrt(std**2 - arriving * (new**2 - old**2)))
    return coupled(weights, drives)


def difference(source, target, response, *, kept):
    ends = []
    for sign in (1, -1):
        modes = predict_oscillations(changed(source, target, 1 + sign * SMALL, kept=kept), response=response)
        ends.append(np.array([float(modes["frequency"][0]), float(modes["growth"][0])]))
    return (ends[0] - ends[1]) / (2 * SMALL)


@pytest.mark.parametrize("response", [pytest.param("mean", marks=pytest.mark.slow), "mean+variance"])
@pytest.mark.parametrize("kept", [True, False])
def test_a_changed_weight_changes_the_oscillation_as_predicted(response, kept):
    point = "kept" if kept else "follows"
    found = oscillation_sensitivity(coupled(), change="weight", response=response, working_point=point)
    for source, target in (("E", "E"), ("I", "E"), ("E", "I")):
        expected = difference(source, target, response, kept=kept)
        place = {"population": target, "population_j": source}
        got = [float(found[name].sel(place)) for name in ("frequency_change", "growth_change")]
        scale = np.abs(found["growth_change"]).max().item()
        np.testing.assert_allclose(got, expected, rtol=2e-4, atol=2e-6 * scale)


def test_the_elements_sum_to_the_eigenvalue():
    """A common factor of all connections is one of the eigenvalue."""
    found = oscillation_sensitivity(coupled())
    total = complex(found["sensitivity_real"].sum(), found["sensitivity_imag"].sum())
    assert total == pytest.approx(complex(*found.attrs["eigenvalue"]), rel=1e-10)
    towards = 1 - total
    amplitude = float(found["sensitivity_amplitude"].sum())
    assert amplitude == pytest.approx((total * towards.conjugate()).real / abs(towards), rel=1e-10)


def test_components_are_those_of_the_sensitivity():
    found = oscillation_sensitivity(coupled())
    Z = found["sensitivity_real"].values + 1j * found["sensitivity_imag"].values
    length = np.hypot(found["sensitivity_amplitude"], found["sensitivity_frequency"]).values
    np.testing.assert_allclose(length, np.abs(Z), rtol=1e-12)


def test_the_components_tell_the_signs_of_the_changes():
    """Near the onset what moves the eigenvalue towards 1 or beyond it changes the growth, what moves it across the frequency."""
    circuit = microcircuit()
    found = oscillation_sensitivity(circuit, frequency=0.081, response="mean")
    large = np.abs(found["sensitivity_amplitude"]) > 0.2  # the state is stable: towards 1 is less damping
    assert large.sum() >= 4
    assert (np.sign(found["growth_change"]) == np.sign(found["sensitivity_amplitude"])).values[large].all()
    large = np.abs(found["sensitivity_frequency"]) > 0.2
    assert (np.sign(found["frequency_change"]) == np.sign(found["sensitivity_frequency"])).values[large].all()
    assert found.attrs["mode_frequency"] == pytest.approx(80.99, abs=0.01)
    assert found.attrs["frequency"] == pytest.approx(81.0)


def as_bos_et_al():
    """The microcircuit with their changes: fewer synapses from 4I to 4E and inputs to 4E, delays as wide as their mean."""
    projections = []
    for p in microcircuit().projections:
        delay = 1.5 if p.source.endswith("E") else 0.75
        changes = {"delay": Normal(delay, delay, low=0.0)}
        if (p.source, p.target) == ("L4I", "L4E"):
            changes["connectivity"] = FixedTotalNumber(675 * 21_915)
        projections.append(replace(p, **changes))
    drives = [replace(d, rate=1780 * 8e-3) if d.target == "L4E" else d for d in microcircuit().drives]
    return microcircuit().with_parts(projections=projections, drives=drives)


@pytest.mark.slow
def test_the_low_gamma_oscillation_of_the_microcircuit_is_that_of_bos_et_al():
    """Fig. 5 and 9: at 64 Hz the five largest elements for the amplitude and the eight for the frequency are eleven
    connections, between and within layers 2/3 and 4."""
    found = oscillation_sensitivity(as_bos_et_al(), frequency=0.064, response="mean")
    number = [float(f) for f in predict_oscillations(as_bos_et_al(), response="mean")["frequency"]]
    mode = int(np.argmin(np.abs(np.array(number) - found.attrs["mode_frequency"])))
    assert oscillation_sensitivity(as_bos_et_al(), mode=mode, response="mean").attrs["frequency"] == pytest.approx(
        64, abs=0.5
    )
    names = found["population"].values
    largest = set()
    for name, count in (("sensitivity_amplitude", 5), ("sensitivity_frequency", 8)):
        order = np.argsort(-np.abs(found[name].values).ravel())[:count]
        largest |= {(str(names[k // 8]), str(names[k % 8])) for k in order}
    upper, middle = ("L23E", "L23I"), ("L4E", "L4I")
    published = {(a, b) for pair in (upper, middle) for a in pair for b in pair}
    published |= {("L23E", "L4E"), ("L23E", "L4I"), ("L4I", "L23E")}
    assert largest == published


@pytest.mark.slow
@pytest.mark.reproduce
def test_each_high_gamma_oscillation_is_made_by_inhibition_within_one_layer():
    """Bos et al. (2016), Fig. 6: four modes above 200 Hz, one for the inhibitory neurons of every layer."""
    circuit, found = as_bos_et_al(), set()
    for mode, frequency in enumerate(predict_oscillations(circuit, response="mean")["frequency"]):
        if frequency > 200:
            Z = oscillation_sensitivity(circuit, mode=mode, response="mean")["sensitivity_amplitude"]
            target, source = _largest(Z)
            assert target == source
            found.add(target)
    assert found == {"L23I", "L4I", "L5I", "L6I"}


def _largest(table):
    """Labels of the element of the largest modulus."""
    row, column = np.unravel_index(np.abs(table.values).argmax(), table.shape)
    return str(table["population"].values[row]), str(table["population_j"].values[column])


@pytest.mark.slow
def test_a_changed_indegree_counts_once_in_the_variance():
    """Weights count twice there: the difference is the part that the variance transmits."""
    by_degree, by_weight = (oscillation_sensitivity(coupled(), change=kind) for kind in ("indegree", "weight"))
    assert not np.allclose(by_degree["growth_change"], by_weight["growth_change"], rtol=1e-3)
    means = [oscillation_sensitivity(coupled(), change=kind, response="mean") for kind in ("indegree", "weight")]
    np.testing.assert_allclose(means[0]["growth_change"], means[1]["growth_change"], rtol=1e-12)


def test_what_is_wrong_is_said():
    with pytest.raises(ValueError, match=r"`mode` must be below \d+, the number of oscillations .*, got 40"):
        oscillation_sensitivity(coupled(), mode=40)
    with pytest.raises(ValueError, match="`frequency` must be a frequency > 0 in 1/ms, got -1"):
        oscillation_sensitivity(coupled(), frequency=-1.0)
    with pytest.raises(ValueError, match="Invalid value 'delay' for `change`"):
        oscillation_sensitivity(coupled(), change="delay")
    alone = Circuit([Population("A", 10, LIF)], [], [GaussianDrive("A", mean=0.9, std=1.0)])
    with pytest.raises(ValueError, match="no oscillation up to 500 Hz"):
        oscillation_sensitivity(alone)
