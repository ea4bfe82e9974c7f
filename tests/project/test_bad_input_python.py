"""What is wrong in Python calls, JSON and netCDF files is said in a documented exception, in four lines at most."""

import json

import numpy as np
import pytest
import xarray as xr
from brian2 import Hz, ms, mV, second, volt
from scipy import sparse

import mnnbio
from mnnbio import (
    AllToAll,
    Bernoulli,
    Circuit,
    CountMoments,
    Counts,
    DistanceDependent,
    FixedIndegree,
    FixedTotalNumber,
    GaussianDrive,
    LIFParameters,
    LogNormal,
    ModeMatrix,
    Normal,
    OneToOne,
    Oscillation,
    PoissonDrive,
    PoissonSource,
    Population,
    Projection,
    Ramp,
    Readout,
    Samples,
    Steps,
    Uniform,
    build,
    fixed_points,
    load,
    predict,
    predict_oscillations,
    predict_spectra,
    predict_time_course,
    save,
    simulate,
)
from mnnbio.circuit import GaussianProfile, Ring
from mnnbio.synapses import Exponential

LIF = LIFParameters()
CIRCUIT = Circuit([Population("E", 3, LIF)], [], [GaussianDrive("E", mean=1.1, std=0.5)])
STIMULI = Circuit([Population("E", 3, LIF)], [], [GaussianDrive("E", mean=[[1.0] * 3, [1.2] * 3], std=0.5)])
CHANGING = Circuit([Population("E", 3, LIF)], [], [GaussianDrive("E", mean=Ramp(0.0, 10.0, 0.5, 1.0))])


def with_projection(**options):
    return Circuit([Population("E", 3, LIF), Population("I", 2, LIF)], [Projection("E", "I", **options)])


PARTS = {
    "a circuit of nothing": lambda: Circuit([]),
    "a circuit of a number": lambda: Circuit(3),
    "sources alone": lambda: Circuit([PoissonSource("s", 2, 0.1)]),
    "two populations of a name": lambda: Circuit([Population("E", 2, LIF)] * 2),
    "a target that is not there": lambda: Circuit(
        [Population("E", 2, LIF)], [Projection("E", "X", weights=np.ones((2, 2)))]
    ),
    "a source as a target": lambda: Circuit(
        [PoissonSource("s", 2, 0.1), Population("E", 2, LIF)], [Projection("E", "s", weights=np.ones((2, 2)))]
    ),
    "weights of another shape": lambda: with_projection(weights=np.ones((3, 2))),
    "weights with NaN": lambda: with_projection(weights=np.full((2, 3), np.nan)),
    "complex weights": lambda: with_projection(weights=np.ones((2, 3)) * 1j),
    "weights of text": lambda: with_projection(weights="strong"),
    "weights in seconds": lambda: with_projection(weights=np.ones((2, 3)) * second),
    "weights and a rule": lambda: with_projection(weights=np.ones((2, 3)), connectivity=AllToAll()),
    "a weight without a rule": lambda: with_projection(weight=1.0),
    "neither weights nor a weight": lambda: with_projection(),
    "a rule that is none": lambda: with_projection(weight=1.0, connectivity="all"),
    "an in-degree above the sources": lambda: with_projection(weight=1.0, connectivity=FixedIndegree(4)),
    "one to one of two sizes": lambda: with_projection(weight=1.0, connectivity=OneToOne()),
    "a probability of 2": lambda: Bernoulli(2),
    "a negative number of synapses": lambda: FixedTotalNumber(-1),
    "a negative delay": lambda: with_projection(weight=1.0, connectivity=AllToAll(), delay=-1.0),
    "a delay below zero at random": lambda: with_projection(
        weight=1.0, connectivity=AllToAll(), delay=Normal(1.0, 1.0)
    ),
    "a delay in volts": lambda: with_projection(weight=1.0, connectivity=AllToAll(), delay=1 * volt),
    "delays of another shape": lambda: with_projection(weights=np.ones((2, 3)), delay=np.ones((3, 2))),
    "a negative time constant": lambda: with_projection(weights=np.ones((2, 3)), tau_syn=-1.0),
    "a synapse of text": lambda: with_projection(weights=np.ones((2, 3)), synapse="alpha"),
    "two synapse models": lambda: with_projection(weights=np.ones((2, 3)), synapse=Exponential(1.0), tau_syn=2.0),
    "a synapse without time": lambda: Exponential(0.0),
    "modes that do not fit": lambda: ModeMatrix(np.ones((2, 3)), np.ones(2), np.ones((3, 3))),
    "a size of zero": lambda: Population("E", 0, LIF),
    "a size of True": lambda: Population("E", True, LIF),
    "half a neuron": lambda: Population("E", 1.5, LIF),
    "a name of nothing": lambda: Population("", 1, LIF),
    "neurons of text": lambda: Population("E", 1, "LIF"),
    "neurons of another number": lambda: Population("E", 3, LIFParameters(tau_m=[10.0, 20.0])),
    "a membrane without time": lambda: LIFParameters(tau_m=0.0),
    "a reset above threshold": lambda: LIFParameters(v_reset=30.0),
    "a threshold in ms": lambda: LIFParameters(v_th=20 * ms),
    "negative rates": lambda: PoissonSource("s", 2, [-0.1, 0.1]),
    "rates in volts": lambda: PoissonSource("s", 2, 1 * volt),
    "rates of another number": lambda: PoissonSource("s", 2, [0.1, 0.1, 0.1]),
    "a negative standard deviation": lambda: GaussianDrive("E", std=-1.0),
    "a drive of another size": lambda: Circuit([Population("E", 3, LIF)], [], [GaussianDrive("E", mean=[1.0, 2.0])]),
    "a drive of nobody": lambda: Circuit([Population("E", 3, LIF)], [], [GaussianDrive("X", mean=1.0)]),
    "a drive of text": lambda: Circuit([Population("E", 3, LIF)], [], ["noise"]),
    "no stimuli": lambda: Circuit([Population("E", 3, LIF)], [], [GaussianDrive("E", mean=np.zeros((0, 3)))]),
    "two numbers of stimuli": lambda: Circuit(
        [Population("E", 3, LIF)],
        [],
        [GaussianDrive("E", mean=np.ones((2, 3))), PoissonDrive("E", np.ones((3, 3)), 1.0)],
    ),
    "a readout of another size": lambda: Circuit(
        [Population("E", 3, LIF)], readout=Readout("E", np.ones((2, 2)), np.zeros(2))
    ),
    "a readout of a number": lambda: Circuit([Population("E", 3, LIF)], readout=3),
    "two readouts of one name": lambda: Circuit(
        [Population("E", 3, LIF)], readout=[Readout("E", np.ones((2, 3)), np.zeros(2))] * 2
    ),
    "a seed below zero": lambda: Circuit([Population("E", 3, LIF)], seed=-1),
    "a seed of text": lambda: Circuit([Population("E", 3, LIF)], seed="one"),
    "steps that go back": lambda: Steps([0.0, 2.0, 1.0], [1.0, 2.0, 3.0]),
    "steps without values": lambda: Steps([0.0, 2.0], [1.0]),
    "a ramp that goes back": lambda: Ramp(10.0, 5.0, 0.0, 1.0),
    "samples of no time": lambda: Samples([1.0, 2.0], 0.0),
    "a negative frequency": lambda: Oscillation(1.0, 1.0, -0.1),
    "a uniform distribution upside down": lambda: Uniform(2.0, 1.0),
    "a lognormal distribution of negative width": lambda: LogNormal(0.0, -1.0),
    "a profile of text": lambda: DistanceDependent("near", p=0.5),
    "a profile without width": lambda: GaussianProfile(0.0),
    "a ring without length": lambda: Ring(0.0),
}

CALLS = {
    "simulate nothing": lambda: simulate(None, 100.0),
    "simulate text": lambda: simulate("circuit", 100.0),
    "no duration": lambda: simulate(CIRCUIT, 0.0),
    "a duration before it begins": lambda: simulate(CIRCUIT, -5.0),
    "a duration in hertz": lambda: simulate(CIRCUIT, 5 * Hz),
    "a duration of text": lambda: simulate(CIRCUIT, "long"),
    "a duration beyond all steps": lambda: simulate(CIRCUIT, 1e15),
    "a duration of half a step": lambda: simulate(CIRCUIT, 10.05),
    "no time step": lambda: simulate(CIRCUIT, 10.0, dt=0.0),
    "a time step of nothing": lambda: simulate(CIRCUIT, 10.0, dt=1e-300),
    "a time step that does not divide the refractory period": lambda: simulate(CIRCUIT, 12.0, dt=3.0),
    "a time step in volts": lambda: simulate(CIRCUIT, 10.0, dt=0.1 * mV),
    "no trials": lambda: simulate(CIRCUIT, 10.0, trials=0),
    "half a trial": lambda: simulate(CIRCUIT, 10.0, trials=1.5),
    "trials beyond memory": lambda: simulate(CIRCUIT, 10.0, trials=10**12),
    "a seed below zero": lambda: simulate(CIRCUIT, 10.0, seed=-1),
    "a seed too large for a file": lambda: simulate(CIRCUIT, 10.0, seed=2**64),
    "a window longer than the duration": lambda: simulate(CIRCUIT, 10.0, window=20.0),
    "a window of nothing": lambda: simulate(CIRCUIT, 10.0, window=0.0),
    "a warm-up before the start": lambda: simulate(CIRCUIT, 10.0, warmup=-1.0),
    "code for another machine": lambda: simulate(CIRCUIT, 10.0, codegen="fortran"),
    "a device of another maker": lambda: simulate(CIRCUIT, 10.0, device="tpu"),
    "a recording of nobody": lambda: simulate(CIRCUIT, 10.0, record="X"),
    "a recording of a number": lambda: simulate(CIRCUIT, 10.0, record={"E": 3}),
    "bins that do not divide": lambda: simulate(CIRCUIT, 10.0, record=Counts(bin=3.0)),
    "bins of nothing": lambda: Counts(bin=0.0),
    "counts per nothing": lambda: Counts(bin=1.0, per="brain"),
    "a window of moments that is too long": lambda: simulate(CIRCUIT, 10.0, record=CountMoments(window=20.0)),
    "no time": lambda: simulate(CIRCUIT, 10.0, timeout=0.0),
    "no processes": lambda: simulate(CIRCUIT, 10.0, processes=0),
    "a client that is none": lambda: simulate(CIRCUIT, 10.0, client="scheduler"),
    "no replicas": lambda: build(CIRCUIT, replicas=0).__enter__(),
    "build nothing": lambda: build(None).__enter__(),
    "rates that are too high for the step": lambda: simulate(
        Circuit([PoissonSource("s", 1, 20.0), Population("E", 1, LIF)]), 10.0
    ),
    "jumps that are too many for a step": lambda: simulate(
        Circuit([Population("E", 1, LIF)], [], [PoissonDrive("E", 1e5, 0.1)]), 10.0
    ),
    "more synapses than fit": lambda: simulate(
        Circuit(
            [Population("E", 10**6, LIF)],
            [Projection("E", "E", weight=0.1, connectivity=FixedIndegree(10**5), delay=1.0)],
        ),
        10.0,
    ),
    "predict nothing": lambda: predict(None),
    "predict with no step": lambda: predict(CIRCUIT, dt=0.0),
    "predict with a step that simulate refuses": lambda: predict(CIRCUIT, dt=3.0),
    "predict with a step in volts": lambda: predict(CIRCUIT, dt=1 * mV),
    "predict by magic": lambda: predict(CIRCUIT, closure="magic"),
    "predict by another theory": lambda: predict(CIRCUIT, theory="everything"),
    "predict at another resolution": lambda: predict(CIRCUIT, resolution="molecule"),
    "predict a window of nothing": lambda: predict(CIRCUIT, window=0.0),
    "predict what changes": lambda: predict(CHANGING),
    "first passage without a step": lambda: predict(CIRCUIT, theory="first_passage"),
    "start from negative rates": lambda: predict(CIRCUIT, resolution="population", start=-1.0),
    "start from an unknown population": lambda: predict(CIRCUIT, resolution="population", start={"X": 0.1}),
    "weights that overflow": lambda: predict(with_projection(weights=np.full((2, 3), 1e155))),
    "fixed points of several stimuli": lambda: fixed_points(STIMULI),
    "fixed points from nowhere": lambda: fixed_points(CIRCUIT, starts=[]),
    "spectra of negative frequencies": lambda: predict_spectra(CIRCUIT, [-0.1]),
    "spectra of several stimuli": lambda: predict_spectra(STIMULI, [0.1]),
    "spectra in volts": lambda: predict_spectra(CIRCUIT, [0.1] * mV),
    "oscillations below zero": lambda: predict_oscillations(CIRCUIT, highest=-1.0),
    "a time course backwards": lambda: predict_time_course(CIRCUIT, [10.0, 5.0]),
    "a time course of one time": lambda: predict_time_course(CIRCUIT, [10.0]),
    "a time course from elsewhere": lambda: predict_time_course(CIRCUIT, [0.0, 10.0], initial="sleep"),
    "select without stimuli": lambda: CIRCUIT.select(0),
    "a projection of another circuit": lambda: CIRCUIT.matrix(
        Projection("E", "E", weight=1.0, connectivity=AllToAll())
    ),
    "an unknown population": lambda: CIRCUIT.population("X"),
    "a time that is none": lambda: CHANGING.at_time([1.0, 2.0]),
    "an unknown public name": lambda: mnnbio.teleport,
}

STORED = json.loads(CIRCUIT.to_json())


def changed(**entries) -> str:
    return json.dumps(STORED | entries)


JSON = {
    "nothing": "",
    "half a text": CIRCUIT.to_json()[:100],
    "a list": "[]",
    "a number": "3",
    "another format": changed(format=99),
    "no format": json.dumps({k: v for k, v in STORED.items() if k != "format"}),
    "an entry too many": changed(colour="red"),
    "NaN": CIRCUIT.to_json().replace("0.5", "NaN"),
    "infinity": CIRCUIT.to_json().replace("0.5", "Infinity"),
    "an entry twice": CIRCUIT.to_json().replace('"seed"', '"seed": 1, "seed"'),
    "deep nesting": "[" * 10**5,
    "an unknown kind": CIRCUIT.to_json().replace('"Population"', '"Popularity"'),
    "a kind of a module": CIRCUIT.to_json().replace('"Population"', '"os:system"'),
    "populations of a number": changed(populations=3),
    "populations of null": changed(populations=[None]),
    "a seed of text": changed(seed="one"),
}


@pytest.mark.parametrize("name", PARTS)
def test_parts(name):
    said(PARTS[name], (ValueError, TypeError))


@pytest.mark.parametrize("name", CALLS)
def test_calls(name):
    said(CALLS[name], (ValueError, TypeError, MemoryError, AttributeError, OverflowError))


@pytest.mark.parametrize("name", JSON)
def test_json(name):
    said(lambda: Circuit.from_json(JSON[name]), ValueError)


@pytest.mark.parametrize("content", [b"", b"text", b"\x89HDF\r\n\x1a\n" + bytes(100), b"CDF\x01"])
def test_files_that_are_none(content, tmp_path):
    path = tmp_path / "result.nc"
    path.write_bytes(content)
    said(lambda: load(path), OSError)
    assert path.read_bytes() == content


def test_files_of_others(tmp_path):
    said(lambda: load(tmp_path / "absent.nc"), OSError)
    said(lambda: load(tmp_path), OSError)
    xr.Dataset({"temperature": ("time", [1.0, 2.0])}).to_netcdf(tmp_path / "weather.nc", engine="netcdf4")
    said(lambda: load(tmp_path / "weather.nc"), OSError)


@pytest.mark.parametrize("what", [None, 3, "text", xr.DataArray([1.0])])
def test_what_cannot_be_saved(what, tmp_path):
    said(lambda: save(what, tmp_path / "result.nc"), (TypeError, ValueError))
    assert list(tmp_path.iterdir()) == []


def test_matrices_of_others():
    said(lambda: with_projection(weights=sparse.csr_array(np.ones((2, 2)))), ValueError)


def said(call, kinds) -> None:
    with pytest.raises(kinds) as caught:
        call()
    message = str(caught.value)
    assert message, "an error without a message"
    assert len(message.splitlines()) <= 4, message
    assert len(message) <= 4 * 160, message
