"""Steps of spiking neurons against loops over single neurons, and closed forms."""

import math

import numpy as np
import pytest
import torch
from brian2 import ms, mV

from mnnbio.training.spiking import SpikeFilter, SpikingNeuron
from mnnbio.training.spiking.steps import SequenceOptions, sequence, spike, step_constants

DT = 2.0
FILTERS = [SpikeFilter(), SpikeFilter(scale="rates"), SpikeFilter(kind="single"), SpikeFilter(tau_decay=12, tau_rise=7)]
NEURONS = [
    SpikingNeuron(),
    SpikingNeuron(t_ref=0),
    SpikingNeuron(reset="at once", v_reset=-0.5, t_ref=0),
    SpikingNeuron(reset="at once", v_reset=-0.5, t_ref=4),
    SpikingNeuron(tau_m=8, tau_syn=4, v_th=0.6, t_ref=2),
]


def drawn(neurons=5, modes=2, steps=60, batch=3, seed=0):
    generator = np.random.default_rng(seed)
    shapes = {"x": (steps, batch, 2), "w_in": (neurons, 2), "a": (neurons, modes), "b": (neurons, modes), "l": modes}
    values = {name: generator.normal(size=shape) for name, shape in shapes.items()}
    return {**values, "w_in": 2 * values["w_in"], "w_out": generator.normal(size=(1, neurons))}


def by_loops(given, neuron, filter):
    """The published order, one neuron after the other; ms throughout."""
    weights = (given["a"] * given["l"]) @ given["b"].T
    keep, fade, fall, rise = (
        math.exp(-DT / tau) for tau in (neuron.tau_m, neuron.tau_syn, filter.tau_decay, filter.tau_rise)
    )
    steps, batch, _ = given["x"].shape
    size = len(weights)
    spikes, voltages, filtered = (np.zeros((steps, batch, size)) for _ in range(3))
    for b in range(batch):
        current, u, h, r, fired, last = ([0.0] * size for _ in range(6))
        last = [-math.inf] * size
        for t in range(steps):
            before = list(r)
            for n in range(size):
                current[n] = fade * current[n] + given["w_in"][n] @ given["x"][t, b] + weights[n] @ before
                if neuron.reset == "at once" and fired[n]:
                    u[n] = neuron.v_reset
                u[n] = keep * u[n] + (1 - keep) * current[n]
                if neuron.reset == "late" and fired[n]:
                    u[n] = 0.0
                if t <= last[n] + neuron.t_ref / DT:
                    u[n] = 0.0
                if filter.kind == "single":
                    r[n] = fall * r[n] + DT / filter.tau_decay * fired[n]
                elif filter.scale == "steps":
                    h[n] = rise * h[n] + fired[n]
                    r[n] = fall * r[n] + (1 - fall) * h[n]
                else:
                    h[n] = rise * h[n] + DT / (filter.tau_decay * filter.tau_rise) * fired[n]
                    r[n] = fall * r[n] + DT * h[n]
                fired[n] = float(u[n] > neuron.v_th)
                last[n] = t if fired[n] else last[n]
            spikes[t, b], voltages[t, b], filtered[t, b] = fired, u, r
    return spikes, voltages, filtered


def run(given, neuron, filter, **options):
    tensors = {name: torch.as_tensor(value) for name, value in given.items()}
    return sequence(
        tensors["x"],
        tensors["w_in"],
        (tensors["a"], tensors["l"], tensors["b"]),
        tensors["w_out"],
        step_constants(neuron, filter, DT, dtype=torch.float64),
        SequenceOptions(reset=neuron.reset, record=True, **options),
    )


@pytest.mark.parametrize("filter", FILTERS)
@pytest.mark.parametrize("neuron", NEURONS)
def test_steps_are_those_of_single_neurons(neuron, filter):
    given = drawn()
    spikes, voltages, filtered = by_loops(given, neuron, filter)
    found = run(given, neuron, filter)
    assert 0.01 < spikes.mean() < 0.6
    np.testing.assert_array_equal(found.spikes, spikes)
    np.testing.assert_allclose(found.voltages, voltages, atol=1e-12)
    np.testing.assert_allclose(found.filtered, filtered, atol=1e-12)
    np.testing.assert_allclose(found.outputs, filtered @ given["w_out"].T, atol=1e-12)
    most = run(given, neuron, filter, readout="maximum")
    np.testing.assert_allclose(most.outputs, filtered.max(0) @ given["w_out"].T, atol=1e-12)


def test_segments_change_nothing():
    given = drawn()
    whole, cut = (run(given, SpikingNeuron(), SpikeFilter(), checkpoint_every=n, readout="maximum") for n in (None, 7))
    for a, b in zip(whole, cut, strict=True):
        assert torch.equal(a, b)


def test_filtered_spikes_add_up_to_the_published_sizes():
    """Sums of the response to one spike, as geometric series."""
    given = drawn(neurons=1, steps=800, batch=1)
    given["x"][:], given["l"][:], given["w_in"][:] = 0, 0, 1
    given["x"][3, 0] = 20
    neuron = SpikingNeuron(t_ref=1600)
    fall, rise = math.exp(-DT / 30), math.exp(-DT / 2)
    sums = [1 / (1 - rise), DT**2 / (30 * 2) / ((1 - rise) * (1 - fall)), DT / 30 / (1 - fall)]
    for filter, total in zip(FILTERS, sums, strict=False):
        found = run(given, neuron, filter)
        assert found.spikes.sum() == 1
        assert found.filtered.sum().item() == pytest.approx(total, rel=1e-9)
    assert sums == pytest.approx([1.58, 1.63, 1.03], abs=0.01)


@pytest.mark.parametrize(("t_ref", "gap"), [(0, 2), (2, 2), (10, 6), (20, 11)])
def test_refractory_period_is_counted_in_whole_steps(t_ref, gap):
    """Driven hard, a neuron is silent for so many steps, at least for the one of the late reset."""
    given = drawn(neurons=1, batch=1, steps=100)
    given["x"][:], given["w_in"][:], given["l"][:] = 50, 1, 0
    times = run(given, SpikingNeuron(t_ref=t_ref), SpikeFilter()).spikes[:, 0, 0].nonzero()[:, 0].diff()
    assert (times == gap).all()


def test_clock_in_single_precision_is_that_of_a_script():
    """Times compared as `numpy.float32` has them: five silent steps, sometimes four."""
    given = drawn(neurons=3, batch=1, steps=600)
    given["x"][:], given["w_in"][:], given["l"][:] = 50, 1, 0
    constants = step_constants(SpikingNeuron(), SpikeFilter(), DT, dtype=torch.float64)
    options = SequenceOptions(record=True, clock=(0.002, 0.01))
    tensors = [torch.as_tensor(given[name]) for name in ("x", "w_in", "a", "l", "b", "w_out")]
    found = sequence(tensors[0], tensors[1], tensors[2:5], tensors[5], constants, options).spikes[:, 0, 0]
    last, times = np.float32(-1), []
    for step in range(600):
        now = np.float32(0.002 * step)
        if now > last + np.float32(0.01):
            last = last + (now - last)
            times.append(step)
    np.testing.assert_array_equal(found.nonzero()[:, 0], times)
    assert set(np.diff(times)) == {5, 6}


def test_surrogate_is_the_derivative_of_a_fast_sigmoid():
    distance = torch.linspace(-0.3, 0.3, 13, dtype=torch.float64, requires_grad=True)
    spikes = spike(distance, 25.0)
    assert torch.equal(spikes, (distance > 0).double())
    spikes.sum().backward()
    sigmoid = distance.detach().clone().requires_grad_()
    (sigmoid / (1 + 25 * sigmoid.abs())).sum().backward()
    torch.testing.assert_close(distance.grad, sigmoid.grad)


def test_no_gradient_flows_through_multiples_of_the_truncation():
    given = {name: torch.as_tensor(value) for name, value in drawn().items()}
    inputs = given["x"].requires_grad_()
    constants = step_constants(SpikingNeuron(), SpikeFilter(), DT, dtype=torch.float64)
    recurrent = (given["a"], given["l"], given["b"])
    options = SequenceOptions(record=True, truncate=20)
    found = sequence(inputs, given["w_in"], recurrent, given["w_out"], constants, options)
    found.outputs[45].sum().backward()
    assert (inputs.grad[:40] == 0).all()
    assert (inputs.grad[40:44] != 0).any()


def test_quantities_are_taken():
    neuron = SpikingNeuron(tau_m=20 * ms, v_th=2 * mV, t_ref=0.01 * 1000 * ms)
    assert (neuron.tau_m, neuron.v_th, neuron.t_ref) == pytest.approx((20, 2, 10))
    assert SpikeFilter(tau_decay=[10 * ms, 20 * ms]).tau_decay.tolist() == pytest.approx([10, 20])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tau_m": 0}, "`tau_m` must be > 0 ms, got 0"),
        ({"v_th": [1, -1]}, "`v_th` must be > 0 mV, got -1.0 at neuron 1"),
        ({"t_ref": -2}, "`t_ref` must be ≥ 0 ms"),
        ({"v_reset": 0.2}, "`v_reset` must be 0 mV where the reset is late"),
        ({"v_reset": 2, "reset": "at once"}, "`v_reset` must be below `v_th`"),
        ({"reset": "never"}, "Invalid value 'never' for `reset`"),
        ({"clock": "single", "t_ref": [2, 4]}, "`t_ref` must be one number"),
        ({"tau_m": [[1.0]]}, "one value per neuron"),
    ],
)
def test_bad_neurons_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        SpikingNeuron(**options)


def test_bad_filters_are_refused():
    with pytest.raises(ValueError, match="`tau_decay` must be > 0 ms"):
        SpikeFilter(tau_decay=-1)
    with pytest.raises(ValueError, match="Invalid value 'triple' for `kind`"):
        SpikeFilter(kind="triple")
    with pytest.raises(ValueError, match="Invalid value 'hertz' for `scale`"):
        SpikeFilter(scale="hertz")


def test_refractory_periods_are_whole_steps():
    with pytest.raises(ValueError, match="`dt` must divide `t_ref`"):
        step_constants(SpikingNeuron(t_ref=3), SpikeFilter(), DT)
