"""Other devices of Brian2.

No machine of the tests has a graphics card. What is tested is that the device is set, built and run as Brian2 asks for,
by a stand-in that compiles for the processor, and that the plain network that it is given has the physics of ours.
"""

import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from plain_programs import build_and_run

from mnnbio import Circuit, GaussianDrive, LIFParameters, PoissonDrive, PoissonSource, Population, Projection, simulate
from mnnbio.spikes.devices import DeviceUnavailable
from mnnbio.spikes.plain import plain_group
from mnnbio.spikes.planner import plan_circuit
from mnnbio.spikes.streams import presentation_key
from mnnbio.values import Steps

N = 60


def circuit(rate=((0.2,), (0.6,))) -> Circuit:
    """Return a circuit with all that neurons can receive; the neurons of a population are alike."""
    rng = np.random.default_rng(0)
    return Circuit(
        populations=[
            PoissonSource("input", 20, rates=np.broadcast_to(rate, (2, 20))),
            Population("E", N, LIFParameters()),
            Population("I", N, LIFParameters(tau_m=10.0, t_ref=2.0)),
        ],
        projections=[
            Projection("input", "E", weights=np.full((N, 20), 0.15)),
            Projection("E", "I", weights=0.4 * (rng.random((N, N)) < 0.2), delay=1.5, tau_syn=5.0),
        ],
        drives=[
            GaussianDrive("E", mean=0.5, std=0.8, factor=np.full((N, 1), 0.3)),
            PoissonDrive("I", rate=3.0, weight=0.6),
        ],
    )


@pytest.fixture
def stand_in(monkeypatch):
    """Return what happened to a device that compiles for the processor and is installed as `cuda_standalone`."""
    from brian2.devices.cpp_standalone.device import CPPStandaloneDevice
    from brian2.devices.device import all_devices

    happened = []

    class StandIn(CPPStandaloneDevice):
        def activate(self, build_on_run=True, **options):
            happened.append(("set", build_on_run))
            super().activate(build_on_run=build_on_run, **options)

        def seed(self, seed=None):
            happened.append(("seed", seed))
            super().seed(seed)

        def build(self, **options):
            happened.append(("build", {name: options[name] for name in ("compile", "run", "with_output")}))
            build_and_run(super(), Path(options["directory"]))

    monkeypatch.setitem(sys.modules, "brian2cuda", ModuleType("brian2cuda"))
    sys.modules["brian2cuda"].__spec__ = object()
    monkeypatch.setitem(all_devices, "cuda_standalone", StandIn())
    return happened


@pytest.mark.slow
@pytest.mark.standalone
def test_a_device_gives_the_statistics_of_ours(stand_in, tmp_path):
    times = {"duration": 1000.0, "warmup": 100.0, "trials": 4, "seed": 1}
    ours = simulate(circuit(), dt=0.5, codegen="runtime", covariance=False, **times)
    theirs = simulate(circuit(), dt=0.5, device="cuda_standalone", build_dir=tmp_path, covariance=False, **times)
    assert theirs.attrs["codegen"] == "cuda_standalone"
    assert (tmp_path / "main.cpp").is_file()
    assert [name for name, _ in stand_in] == ["set", "seed", "build"]
    assert stand_in[:2] == [("set", False), ("seed", presentation_key(1, 0, 0) % 2**32)]
    assert stand_in[2] == ("build", {"compile": True, "run": True, "with_output": False})
    for stimulus in range(2):
        for population in ("E", "I"):
            counts = []
            for result in (ours, theirs):
                spikes = result["spikes"].to_dataset()
                chosen = spikes["row_size"].isel(stimulus=stimulus, neuron=spikes["population"].values == population)
                counts.append(chosen.mean("neuron").values)  # by trial: neurons share noise, trials do not
            error = np.sqrt(sum(np.var(count, ddof=1) / len(count) for count in counts))
            assert np.mean(counts[0]) > 5
            # Four trials each determine the error with six degrees of freedom: Student's t, two-sided 1e-3.
            assert abs(np.mean(counts[0]) - np.mean(counts[1])) < 5.96 * error


def test_our_random_numbers_are_exchanged_and_nothing_else():
    plan = plan_circuit(circuit(), dt=0.5, replicas=1)
    plain = {name: plain_group(group) for name, group in plan.groups.items()}
    np.testing.assert_allclose(plain["input"].tables["chance"], [[0.1] * 20, [0.3] * 20], rtol=1e-12)
    assert plain["input"].threshold == "rand() < chance"
    codes = {name: [step.code for step in group.steps] for name, group in plain.items()}
    assert codes == {
        "input": [],
        "E": ["noise = randn()"],
        "I": ["arrivals0 = poisson(-log(quiet0))"],
        "E_noise": ["z = randn()"],
    }
    assert all("stream" not in f"{group.equations}{group.update}" and not group.draws for group in plain.values())
    assert plain["E"].update == plan.groups["E"].update
    assert plain["E"].tables is plan.groups["E"].tables


@pytest.mark.parametrize(("rate", "chance"), [(0.0, 0.0), (2.0, 1.0)])
def test_sources_that_never_or_always_fire(rate, chance):
    plan = plan_circuit(circuit(((rate,), (rate,))), dt=0.5, replicas=1)
    np.testing.assert_allclose(plain_group(plan.groups["input"]).tables["chance"], chance, atol=1e-300)


@pytest.mark.parametrize(("device", "package"), [("cuda_standalone", "brian2cuda"), ("genn", "brian2genn")])
def test_a_package_that_is_not_installed_is_named(device, package, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(
        DeviceUnavailable, match=rf"device='{device}' needs the package {package}.*pip install {package}"
    ):
        simulate(circuit(), 10.0, device=device)


def test_a_package_that_does_not_import_is_named(tmp_path, monkeypatch):
    (tmp_path / "brian2genn.py").write_text("raise ImportError('no EventClock')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(DeviceUnavailable, match=r"installed but cannot be imported \(ImportError: no EventClock\)"):
        simulate(circuit(), 10.0, device="genn")


def test_what_a_device_cannot_do_is_said(stand_in):
    with pytest.raises(
        ValueError, match=r"Invalid value 'gpu' for `device`. Must be one of \['cuda_standalone', 'genn'\]"
    ):
        simulate(circuit(), 10.0, device="gpu")
    changing = Circuit(
        [Population("E", 1, LIFParameters())],
        drives=[GaussianDrive("E", mean=Steps(times=[0.0, 5.0], values=[0.1, 0.2]))],
    )
    with pytest.raises(ValueError, match="device='cuda_standalone' takes no inputs that change in time"):
        simulate(changing, 10.0, device="cuda_standalone")
    with pytest.raises(ValueError, match="`timeout` is not available with device='cuda_standalone'"):
        simulate(circuit(), 10.0, device="cuda_standalone", timeout=5.0)
    assert stand_in == []
