"""Voltages measured from rest, or absolute with `v_rest`: the same neurons, in theory and in spikes."""

import warnings

import numpy as np
import pytest
import torch
import xarray as xr
from brian2 import mV

from mnnbio import Circuit, GaussianDrive, LIFParameters, Population, predict, simulate
from mnnbio.moments import colored_lif, discrete_lif, moment_activation
from mnnbio.neurons import AbsoluteVoltageWarning

REST = LIFParameters(tau_m=10.0, v_th=15.0, v_reset=5.0, t_ref=2.0)
ABSOLUTE = LIFParameters(tau_m=10.0, v_rest=-65 * mV, v_th=-50 * mV, v_reset=-60 * mV, t_ref=2.0)


def circuit(lif: LIFParameters) -> Circuit:
    return Circuit([Population("E", 3, lif)], [], [GaussianDrive("E", mean=1.2, std=1.0)])


def test_absolute_voltages_are_those_from_rest():
    assert ABSOLUTE.from_rest() == REST
    assert REST.from_rest() is REST
    assert ABSOLUTE.v_th == -50.0
    assert "v_rest=-65.0" in repr(ABSOLUTE)
    per_neuron = LIFParameters(v_rest=[-70.0, -65.0], v_th=-50.0, v_reset=-70.0).from_rest()
    np.testing.assert_array_equal(per_neuron.v_th, [20.0, 15.0])
    np.testing.assert_array_equal(per_neuron.v_reset, [0.0, -5.0])


def test_defaults_are_above_rest():
    lif = LIFParameters(v_rest=-65.0)
    assert (lif.v_th, lif.v_reset) == (-45.0, -65.0)
    assert lif.from_rest() == LIFParameters()


@pytest.mark.slow
def test_theory_and_spikes_are_the_same():
    one, other = circuit(REST), circuit(ABSOLUTE)
    for resolution in ("neuron", "population"):
        xr.testing.assert_equal(
            predict(one, dt=0.1, resolution=resolution)["rate"], predict(other, dt=0.1, resolution=resolution)["rate"]
        )
    spikes = [simulate(c, 200.0, seed=1, codegen="runtime")["spikes/spike_time"] for c in (one, other)]
    np.testing.assert_array_equal(*(s.to_numpy() for s in spikes))
    again = Circuit.from_json(other.to_json())
    assert again.population("E").neuron == ABSOLUTE


@pytest.mark.parametrize("function", [moment_activation, lambda m, s, lif: discrete_lif(m, s, lif, 0.1)])
def test_functions_of_the_theory_take_both(function):
    mean, std = torch.tensor([0.5, 1.5], dtype=torch.float64), torch.tensor([1.0, 0.3], dtype=torch.float64)
    for one, other in zip(function(mean, std, REST), function(mean, std, ABSOLUTE), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)


def test_filtered_noise_takes_both():
    std = torch.tensor(1.0, dtype=torch.float64)
    for one, other in zip(colored_lif(std, REST, 1.0), colored_lif(std, ABSOLUTE, 1.0), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)


@pytest.mark.parametrize(
    "options", [{"v_th": -50 * mV, "v_reset": -60 * mV}, {"v_rest": -50.0, "v_th": -50.0, "v_reset": -60.0}]
)
def test_a_neuron_that_fires_by_itself_is_warned_of(options):
    with pytest.warns(AbsoluteVoltageWarning, match="`v_th` = -50 mV is not above rest.*Give `v_rest`"):
        LIFParameters(**options)


def test_the_warning_points_at_the_call():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        LIFParameters(v_th=-50.0, v_reset=-60.0)
    assert [entry.filename for entry in caught] == [__file__]
