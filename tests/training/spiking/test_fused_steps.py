"""Compiled sequences against automatic differentiation of the plain steps."""

import os
import subprocess
import sys

import pytest
import torch

from mnnbio import machine
from mnnbio.training.spiking import SpikeFilter, SpikingNetwork, SpikingNeuron, fused, spiking_backend
from mnnbio.training.spiking.fused import fused_sequence
from mnnbio.training.spiking.steps import SequenceOptions, sequence

pytestmark = pytest.mark.skipif(spiking_backend().name != "compiled", reason="needs a C++ compiler")

ALL = ("tau_m", "tau_syn", "tau_decay", "tau_rise", "v_th")
KINDS = {
    "published": (SpikingNeuron(), SpikeFilter()),
    "single clock": (SpikingNeuron(clock="single"), SpikeFilter(scale="rates")),
    "at once": (SpikingNeuron(reset="at once", v_reset=-0.3, t_ref=0), SpikeFilter()),
    "late alone": (SpikingNeuron(t_ref=0, tau_m=[9.0] * 20 + [30.0] * 17), SpikeFilter(scale="rates")),
    "single filter": (SpikingNeuron(t_ref=4), SpikeFilter(kind="single")),
}


def network(kind, *, modes=3, learn=(), inputs=4, outputs=2, dtype=torch.float64, size=37):
    neuron, filter = KINDS[kind]
    made = SpikingNetwork.random(inputs, size, outputs, modes=modes, seed=1, neuron=neuron, filter=filter, learn=learn)
    with torch.no_grad():  # as large as needed for spikes that matter
        made.weight_in *= 4
        (made.recurrent.raw_weight if modes is None else made.recurrent.raw_scores).mul_(8)
    return made.to(dtype)


def both(made, *, steps=40, batch=5, record=True, only=None, **options):
    """Outputs, records and all gradients, by both ways, of a random linear loss."""
    neuron = made.neuron
    clock = (made.dt / 1000, neuron.t_ref / 1000) if neuron.clock == "single" else None
    options = SequenceOptions(reset=neuron.reset, clock=clock, record=record, **options)
    generator = torch.Generator().manual_seed(5)
    dtype = made.weight_in.dtype
    inputs = torch.randn(steps, batch, made.weight_in.shape[1], generator=generator, dtype=dtype)
    found = []
    for way in (sequence, fused_sequence):
        x = inputs.clone().requires_grad_()
        made.zero_grad()
        course = way(x, made.weight_in, made.recurrent.factors(), made.weight_out, made.constants(), options)
        draw = torch.Generator().manual_seed(6)
        parts = [part for part in course if part is not None]
        parts = parts if only is None else [parts[only]]
        sum((p * torch.randn(p.shape, generator=draw, dtype=dtype)).sum() for p in parts).backward()
        leaves = [x, *made.parameters()]
        found.append((parts, [torch.zeros_like(leaf) if leaf.grad is None else leaf.grad for leaf in leaves]))
    return found


def assert_alike(found, tolerance):
    (plain, plain_grads), (compiled, compiled_grads) = found
    pairs = list(zip([*plain, *plain_grads], [*compiled, *compiled_grads], strict=True))
    assert sum(bool(a.abs().max() > 0) for a, _ in pairs) >= len(pairs) - 1
    for a, b in pairs:
        assert (a - b).abs().max() <= tolerance * a.abs().max()


@pytest.mark.parametrize("options", [{}, {"readout": "maximum"}, {"truncate": 7, "checkpoint_every": 9}])
@pytest.mark.parametrize("learn", [(), ALL])
@pytest.mark.parametrize("modes", [3, None])
@pytest.mark.parametrize("kind", KINDS)
def test_values_and_gradients_are_those_of_the_plain_steps(kind, modes, learn, options):
    learn = [name for name in learn if kind != "single filter" or name != "tau_rise"]
    found = both(network(kind, modes=modes, learn=learn), **options)
    spikes = found[0][0][1]
    assert 0.01 < spikes.mean() < 0.6
    assert torch.equal(spikes, found[1][0][1])
    assert_alike(found, 1e-10)


@pytest.mark.parametrize("readout", ["trace", "maximum"])
@pytest.mark.parametrize(
    "sizes", [{"modes": 20}, {"inputs": 30}, {"outputs": 21}, {"modes": 6, "inputs": 17, "outputs": 1}, {"size": 37}]
)
def test_products_inside_and_outside_of_the_loop_agree(sizes, readout):
    assert_alike(both(network("published", **sizes), record=False, readout=readout), 1e-10)


def test_trials_in_several_portions(monkeypatch):
    monkeypatch.setattr(fused, "OF_TRIAL", 37 * 6)
    monkeypatch.setattr(fused, "OF_TRIALS", 37 * 12)
    for readout in ("trace", "maximum"):
        for modes in (3, None):
            assert_alike(both(network("published", modes=modes), readout=readout, record=False), 1e-10)


@pytest.mark.slow
def test_trials_on_several_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        assert_alike(both(network("published", learn=ALL)), 1e-10)
    finally:
        torch.set_num_threads(before)


def test_single_precision():
    found = both(network("published", dtype=torch.float32))
    assert torch.equal(found[0][0][1], found[1][0][1])
    assert_alike(found, 1e-4)


@pytest.mark.parametrize("part", range(4))
@pytest.mark.parametrize("modes", [3, None])
def test_losses_of_one_part_alone(modes, part):
    """Outputs, spikes, voltages and filtered spikes, each without derivatives of the others."""
    assert_alike(both(network("published", modes=modes), only=part), 1e-10)


def test_voltages_below_threshold_pass_gradcheck():
    """Without spikes, everything is smooth: derivatives are those of finite differences."""
    made = SpikingNetwork.random(3, 5, 1, modes=2, neuron=SpikingNeuron(v_th=1000.0), learn=["tau_m", "tau_syn"])
    made = made.double()
    x = torch.randn(6, 2, 3, dtype=torch.float64, requires_grad=True)
    logs = [made.logarithms[name].detach().clone().requires_grad_() for name in ("tau_m", "tau_syn")]

    def voltages(x, weight_in, tau_m, tau_syn):
        made.logarithms["tau_m"], made.logarithms["tau_syn"] = torch.nn.Parameter(tau_m), torch.nn.Parameter(tau_syn)
        constants = made.constants()._replace(keep=torch.exp(-2 / tau_m.exp()), fade=torch.exp(-2 / tau_syn.exp()))
        options = SequenceOptions(record=True)
        return fused_sequence(x, weight_in, made.recurrent.factors(), made.weight_out, constants, options).voltages

    weight_in = made.weight_in.detach().clone().requires_grad_()
    assert torch.autograd.gradcheck(voltages, (x, weight_in, *logs))


def test_without_gradients_it_is_the_same():
    made = network("published")
    x = torch.randn(40, 5, 4, dtype=torch.float64)
    with torch.no_grad():
        plain = made(x)
        recorded = made.run(x)
    torch.testing.assert_close(made(x).detach(), plain, rtol=0, atol=1e-13)
    torch.testing.assert_close(recorded.outputs, plain, rtol=0, atol=1e-13)


def test_trials_do_not_depend_on_their_company():
    made = network("published")
    x = torch.randn(30, 6, 4, dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(made(x)[:, 2:4], made(x[:, 2:4]), rtol=0, atol=1e-13)


def test_networks_of_other_precisions_take_the_plain_steps():
    made = network("published").to(torch.bfloat16)
    assert made(torch.randn(4, 2, 4)).dtype == torch.bfloat16


@pytest.mark.slow
@pytest.mark.parametrize(("setting", "name"), [("torch", "torch"), ("compiled", "compiled")])
def test_environment_turns_it_off(setting, name):
    code = (
        "import torch; from mnnbio.training.spiking import SpikingNetwork, spiking_backend; b = spiking_backend();"
        "print(b.name, 'turned off' in b.detail, SpikingNetwork.random(4, 9, 1, modes=2)(torch.ones(20, 2, 4)).shape)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "MNNBIO_KERNEL": setting},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == f"{name} {name == 'torch'} torch.Size([20, 2, 1])"


def test_a_compiler_that_fails_is_told(monkeypatch, tmp_path):
    monkeypatch.setenv("MNNBIO_CACHE_DIR", str(tmp_path / "cache"))  # without a compiler, what is kept is loaded
    monkeypatch.setenv("CXX", "no-such-compiler")
    library, reason = fused._load.__wrapped__()
    assert library is None
    assert "no C++ compiler 'no-such-compiler'" in reason


def test_damaged_libraries_are_built_anew(monkeypatch, tmp_path):
    monkeypatch.setenv("MNNBIO_CACHE_DIR", str(tmp_path / "cache"))
    folder = tmp_path / "cache"
    folder.mkdir(mode=0o700)
    monkeypatch.setattr(machine, "_built_library", lambda source, command, where, name: (name, str(where)))
    name, _ = fused._load.__wrapped__()
    broken = folder / f"{name}-0123456789abcdef.so"
    broken.write_bytes(b"broken")
    assert fused._load.__wrapped__()[0] == name
    assert not broken.exists()
