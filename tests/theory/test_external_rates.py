"""External rates that fix the rates of populations: `predict` of the circuit returns them, and linear algebra by hand."""

import numpy as np
import pytest
import torch
from brian2 import Hz

from mnnbio import (
    Bernoulli,
    Circuit,
    FixedIndegree,
    GaussianDrive,
    LIFParameters,
    PoissonDrive,
    PoissonSource,
    Population,
    Projection,
    predict,
)
from mnnbio.circuits import microcircuit
from mnnbio.circuits.cortical_microcircuit import EXTERNAL_INDEGREES, EXTERNAL_RATE, FULL_RATES, POPULATIONS
from mnnbio.moments import moment_activation
from mnnbio.theory import external_rates

pytestmark = pytest.mark.filterwarnings("ignore::mnnbio.theory.validity.FiniteWeightWarning")

LIF = LIFParameters(tau_m=20.0, v_th=20.0, v_reset=10.0, t_ref=2.0)
WEIGHTS = {"E": 0.1, "I": -0.5}
INDEGREES = {"E": 400, "I": 100}


def coupled(drives, rule=FixedIndegree, sources=()):
    populations = [Population("E", 4000, LIF), Population("I", 1000, LIF)]
    degree = {
        name: n if rule is FixedIndegree else n / (4000 if name == "E" else 1000) for name, n in INDEGREES.items()
    }
    inner = [
        Projection(a, b, weight=WEIGHTS[a], connectivity=rule(degree[a]), autapses=True, delay=1.5)
        for a in "EI"
        for b in "EI"
    ]
    outer = [Projection(s.name, b, weight=0.2, connectivity=FixedIndegree(n)) for s, b, n in sources]
    return Circuit([*populations, *{s.name: s for s, *_ in sources}.values()], [*inner, *outer], drives)


def one_drive_each():
    return [PoissonDrive(name, rate=8.0, weight=0.15) for name in "EI"]


def rates_of(circuit, **options):
    options = {"resolution": "population", "closure": "poisson", "covariance": False, **options}
    return predict(circuit, **options)["rate"].values * 1e-3


@pytest.mark.parametrize(
    ("rule", "dt", "closure"),
    [(FixedIndegree, None, "poisson"), (Bernoulli, 0.1, "poisson"), (Bernoulli, None, "moments")],
)
def test_the_circuit_has_the_rates(rule, dt, closure):
    wanted = np.array([0.005, 0.012])
    found = external_rates(coupled(one_drive_each(), rule), wanted, dt=dt, closure=closure)
    np.testing.assert_allclose(
        rates_of(found.circuit, dt=dt, closure=closure, start=dict(zip("EI", wanted, strict=True))), wanted, rtol=1e-8
    )
    np.testing.assert_allclose(found.rates["rate"], wanted * 1e3, rtol=1e-8)
    given = [float(drive.rate) for drive in found.circuit.drives]
    np.testing.assert_allclose(found.rates["external_rate"], np.array(given) * 1e3, rtol=1e-12)
    np.testing.assert_allclose(found.rates["external_factor"], np.array(given) / 8.0, rtol=1e-12)


def test_the_microcircuit_fires_at_its_published_rates():
    """Potjans & Diesmann (2014): 8 Hz from each external neuron; what the theory needs for their rates is close to that."""
    wanted = dict(zip(POPULATIONS, 1e-3 * np.array(FULL_RATES), strict=True))
    found = external_rates(microcircuit(), wanted, dt=0.1)
    np.testing.assert_allclose(rates_of(found.circuit, dt=0.1) * 1e3, FULL_RATES, rtol=1e-8)
    each = found.rates["external_rate"].values / np.array(EXTERNAL_INDEGREES)
    np.testing.assert_allclose(each, EXTERNAL_RATE * 1e3, rtol=0.16)
    assert found.rates.attrs["stability"] == "stable"


def test_rates_and_standard_deviations_fix_two_drives_each():
    """With mean and variance of the input given, the external rates solve two linear equations (Senk et al. 2020, F)."""
    mean, std = np.array([0.9, 1.0]), np.array([1.5, 1.4])
    wanted = moment_activation(torch.tensor(mean), torch.tensor(std), LIF).rate.numpy()
    weights = np.array([0.15, -0.75])
    drives = [PoissonDrive(name, rate=1.0, weight=w) for name in "EI" for w in weights]
    found = external_rates(coupled(drives), wanted, std_input=std)
    J, K = (np.array([table[name] for name in "EI"]) for table in (WEIGHTS, INDEGREES))
    for k, name in enumerate("EI"):
        missing = [mean[k] - (K * J * wanted).sum(), std[k] ** 2 - (K * J**2 * wanted).sum()]
        expected = np.linalg.solve([weights, weights**2], missing)
        assert (expected > 0).all()
        np.testing.assert_allclose(
            found.rates["external_rate"].sel(input=[f"{name} 0", f"{name} 1"]), expected * 1e3, rtol=1e-7
        )
    np.testing.assert_allclose(found.rates["mean_input"], mean * 1e3, rtol=1e-8)
    np.testing.assert_allclose(rates_of(found.circuit, start=dict(zip("EI", wanted, strict=True))), wanted, rtol=1e-8)
    with pytest.raises(ValueError, match=r"an input of the standard deviation 0.1 mV/√ms at its rate; the nearest is"):
        external_rates(coupled(drives), wanted, std_input=0.1)


def test_sources_that_several_populations_share():
    one, other = PoissonSource("X", 500, rates=0.01), PoissonSource("Y", 500, rates=0.01)
    circuit = coupled([], sources=[(one, "E", 400), (one, "I", 300), (other, "I", 100)])
    wanted = 0.004
    found = external_rates(circuit, wanted)
    np.testing.assert_allclose(rates_of(found.circuit, start=wanted), wanted, rtol=1e-8)
    assert found.rates["input"].values.tolist() == ["X", "Y"]
    with pytest.raises(
        ValueError, match=r"no rates ≥ 0 of the inputs give all populations their rates: that of '[EI]'"
    ):
        external_rates(circuit, {"E": 0.012, "I": 0.0005})


def test_inputs_keep_their_proportions():
    profile = np.linspace(0.5, 1.5, 4000)
    drives = [PoissonDrive("E", rate=8.0 * profile, weight=0.15), PoissonDrive("I", rate=0.0, weight=0.15)]
    found = external_rates(coupled(drives), 5 * Hz)
    np.testing.assert_allclose(rates_of(found.circuit, start=0.005), 0.005, rtol=1e-8)
    given = found.circuit.drives[0].rate
    np.testing.assert_allclose(given / given.mean(), profile, rtol=1e-12)
    assert (found.circuit.drives[1].rate > 0).all()


def test_what_cannot_be_reached_names_the_population_and_the_nearest():
    circuit = coupled(one_drive_each())
    with pytest.raises(
        ValueError, match=r"population 'E' cannot fire at 600 Hz by any rate ≥ 0.* the nearest is 500 Hz"
    ):
        external_rates(circuit, {"E": 0.6, "I": 0.01})
    with pytest.raises(ValueError, match=r"population 'I' cannot fire at 1 Hz.*Without any it fires already more"):
        external_rates(circuit, {"E": 0.023, "I": 1e-3})


def test_what_is_wrong_is_said():
    circuit = coupled(one_drive_each())
    with pytest.raises(ValueError, match="`rates` must be > 0, got 0 for 'I'"):
        external_rates(circuit, [0.01, 0.0])
    with pytest.raises(ValueError, match="`rates` must name the populations E, I, got E"):
        external_rates(circuit, {"E": 0.01})
    with pytest.raises(ValueError, match="`rates` must be a rate or one per population, 2, got"):
        external_rates(circuit, [0.01, 0.01, 0.01])
    with pytest.raises(ValueError, match=r"2 rates need as many inputs, got 1: E. Choose them with `inputs`"):
        external_rates(circuit, 0.01, inputs=["E"])
    with pytest.raises(ValueError, match=r"`inputs` must be populations with a PoissonDrive.*got 'X'; there are: E, I"):
        external_rates(circuit, 0.01, inputs=["E", "X"])
    with pytest.raises(ValueError, match="4 rates and standard deviations need as many inputs, got 2"):
        external_rates(circuit, 0.01, std_input=1.0)
    with pytest.raises(ValueError, match="2 rates need as many inputs, got 0: none"):
        external_rates(coupled([GaussianDrive(name, mean=1.0, std=1.0) for name in "EI"]), 0.01)
    several = coupled(
        [PoissonDrive(name, rate=[[1.0] * n, [2.0] * n], weight=0.1) for name, n in (("E", 4000), ("I", 1000))]
    )
    with pytest.raises(ValueError, match="one stationary state, got several stimuli"):
        external_rates(several, 0.01)
