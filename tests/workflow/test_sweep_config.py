"""What a sweep's configuration may say, and what is said where it cannot be used."""

import dataclasses
import pickle

import numpy as np
import pytest

from mnnbio import (
    Circuit,
    CountMoments,
    Counts,
    GaussianDrive,
    LIFParameters,
    ModeMatrix,
    PoissonDrive,
    PoissonSource,
    Population,
    Projection,
)
from mnnbio.circuit.connectivity import FixedIndegree
from mnnbio.values import Normal
from mnnbio.workflow.options import ConfigError
from mnnbio.workflow.sweep_config import make_sweep, point_of, points_of, read_config, record_of
from mnnbio.workflow.sweep_subjects import edited, paths_of, subject_of

BUILDER = """
from mnnbio import Circuit, GaussianDrive, LIFParameters, Population

def pair(mean, std=1.0, duration=3):
    return Circuit([Population("E", 2, LIFParameters())], drives=[GaussianDrive("E", mean=mean, std=std)])

def nothing():
    return None
"""


def circuit() -> Circuit:
    return Circuit(
        populations=[
            PoissonSource("input", 3, rates=[0.1, 0.2, 0.3]),
            Population("E", 4, LIFParameters()),
            Population("I", 2, LIFParameters()),
        ],
        projections=[
            Projection("input", "E", weights=np.ones((4, 3))),
            Projection("E", "I", weight=0.5, connectivity=FixedIndegree(2), delay=1.0),
            Projection("I", "E", weights=ModeMatrix(np.ones((4, 1)), [-2.0], np.ones((2, 1)))),
        ],
        drives=[
            GaussianDrive("E", mean=0.5, std=1.0),
            PoissonDrive("E", rate=0.2, weight=0.1),
            GaussianDrive("I", 0.3),
        ],
    )


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "build.py").write_text(BUILDER)
    (tmp_path / "circuit.json").write_text(circuit().to_json())
    return tmp_path


def sweep(**options):
    return make_sweep({"circuit": "build.py:pair", "grid": {"mean": [1, 2]}} | options)


# Values.


def test_a_grid_is_the_product_of_its_values_and_a_list_goes_with_all_of_it():
    config = sweep(grid={"a": [1, 2], "b": ["x", "y"]}, list=[{"c": 1, "d": True}, {"d": False, "c": 2}])
    points = [point.parameters for point in points_of(config)]
    assert len(points) == 8
    assert points[0] == {"c": 1, "d": True, "a": 1, "b": "x"}
    assert points[-1] == {"c": 2, "d": False, "a": 2, "b": "y"}


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"start": 0, "stop": 1, "number": 6}, np.linspace(0, 1, 6)),
        ({"start": 0.1, "stop": 100, "number": 4, "scale": "log"}, [0.1, 1, 10, 100]),
        ({"start": 3, "stop": 1, "number": 3}, [3, 2, 1]),
        (["1e-3", 2], [1e-3, 2]),
    ],
)
def test_values_may_be_spaced(values, expected):
    np.testing.assert_allclose(sweep(grid={"a": values}).grid["a"], expected, rtol=1e-12)


def test_points_are_told_by_their_values_however_they_are_written():
    config = sweep()
    assert point_of(config, {"mean": 1}).key == point_of(config, {"mean": 1.0}).key
    assert point_of(config, {"mean": 1}).key != point_of(config, {"mean": 1.5}).key


def test_seeds_follow_from_the_parameters_so_that_adding_points_changes_none():
    few, more = sweep(), sweep(grid={"mean": [0.5, 1, 2]})
    seeds = {point.parameters["mean"]: point.seed for point in points_of(more)}
    assert all(seeds[point.parameters["mean"]] == point.seed for point in points_of(few))
    assert len(set(seeds.values())) == 3
    assert {point.seed for point in points_of(sweep(seed=1))}.isdisjoint(seeds.values())
    assert all(0 <= seed < 2**48 for seed in seeds.values())


def test_results_of_other_options_are_other_points():
    keys = [points_of(config)[0].key for config in (sweep(), sweep(trials=2), sweep(simulation={"dt": 0.2}))]
    assert len(set(keys)) == 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"gird": {}}, r"unknown option of a sweep 'gird'; did you mean 'grid'\?"),
        ({"run": "runs/digits"}, "name what to run: .* got both"),
        ({"circuit": None}, "got neither"),
        ({"circuit": 5}, "circuit must be text, got 5"),
        ({"grid": None}, "name what to vary"),
        ({"grid": [1]}, r"grid must hold names and values, got \[1\]"),
        ({"grid": {"a": 3}}, r"grid.a must be a list of values, or {start, stop, number}, got 3"),
        ({"grid": {"a": []}}, "grid.a must be a list of values"),
        ({"grid": {"a": [1, 1.0]}}, "grid.a must hold each value once"),
        ({"grid": {"a": [1, "x"]}}, "grid.a must hold numbers or text, not both"),
        ({"grid": {"a": [[1]]}}, r"grid.a must be a finite number, text, true or false, got \[1\]"),
        ({"grid": {"a": [float("nan")]}}, "grid.a must be a finite number"),
        ({"grid": {"a": {"start": 1, "stop": 2}}}, "grid.a must name start, stop and number; 'number' is missing"),
        (
            {"grid": {"a": {"start": 1, "stop": 2, "num": 3}}},
            "unknown option in 'grid.a': 'num'; did you mean 'number'",
        ),
        ({"grid": {"a": {"start": 1, "stop": 2, "number": 1}}}, "grid.a.number must be a whole number ≥ 2, got 1"),
        ({"grid": {"a": {"start": 1, "stop": 1, "number": 2}}}, "two different numbers as start and stop"),
        ({"grid": {"a": {"start": 0, "stop": 1, "number": 2, "scale": "log"}}}, "start and stop > 0 on a log scale"),
        (
            {"grid": {"a": {"start": 0, "stop": 1, "number": 2, "scale": "cube"}}},
            "must be 'linear' or 'log', got 'cube'",
        ),
        ({"list": 3}, "list must be a list of parameter sets, got 3"),
        ({"list": [{"a": 1}, {"b": 1}]}, r"list\[1\] must name the same parameters as list\[0\], \['a'\], got \['b'\]"),
        ({"list": [{}]}, r"list\[0\] must name at least one parameter"),
        ({"list": [{"a": 1}, {"a": 1.0}]}, "list must hold each set of parameters once"),
        ({"parameters": {"mean": 2}}, "'mean' stands in 'parameters' and in 'grid'; name each parameter once"),
        ({"parameters": {"a": {1, 2}}}, "parameters must hold numbers, text, lists"),
        ({"trials": 0}, "trials must be a whole number ≥ 1, got 0"),
        ({"seed": -1}, "seed must be a whole number ≥ 0, got -1"),
        ({"simulation": {"durtion": 5}}, r"unknown option in 'simulation': 'durtion'; did you mean 'duration'\?"),
        ({"simulation": {"duration": 0}}, r"simulation.duration must be a number > 0 \(ms\), got 0"),
        ({"predict": "yes"}, "predict must be true, false or options of the prediction, got 'yes'"),
        ({"predict": {"closure": "x"}}, "predict.closure must be one of .*, got 'x'"),
        ({"record": 5}, "record must name populations, or kinds of recording, got 5"),
        ({"record": []}, "record must name populations"),
        (
            {"record": {"E": "spike"}},
            "record.E must be spikes, {counts: {bin: ...}} or {moments: {window: ...}}, got 'spike'",
        ),
        (
            {"record": {"E": {"count": {}}}},
            r"unknown kind of recording in 'record.E': 'count'; did you mean 'counts'\?",
        ),
        ({"record": {"counts": {"bins": 1}}}, r"unknown option in 'record.counts': 'bins'; did you mean 'bin'\?"),
        ({"record": {"counts": {"bin": -1}}}, "record.counts: `bin` must be a time > 0 ms, got -1"),
        ({"record": {"moments": {}}}, "record.moments: .*missing 1 required keyword-only argument: 'window'"),
    ],
)
def test_errors_say_what_was_expected_what_came_and_where(options, message):
    with pytest.raises(ConfigError, match=message):
        sweep(**options)


def test_a_sweep_must_hold_options():
    with pytest.raises(ConfigError, match=r"a sweep must hold options \(circuit, run, .*\), got \[1\]"):
        make_sweep([1])


def test_errors_in_a_file_name_the_file(tmp_path):
    path = tmp_path / "sweep.yaml"
    path.write_text("circuit: [")
    with pytest.raises(ConfigError, match=r"sweep\.yaml is not YAML"):
        read_config(path)
    path.write_text("circit: x")
    with pytest.raises(ConfigError, match=r"sweep\.yaml: unknown option of a sweep 'circit'; did you mean 'circuit'\?"):
        read_config(path)
    with pytest.raises(FileNotFoundError, match="no configuration file"):
        read_config(tmp_path / "none.yaml")


@pytest.mark.parametrize(
    ("said", "record"),
    [
        (None, None),
        ("E", ["E"]),
        (["E", "I"], ["E", "I"]),
        ({"counts": {"bin": 5, "per": "population"}}, Counts(bin=5, per="population")),
        ({"E": "spikes", "I": {"moments": {"window": 50}}}, {"E": "spikes", "I": CountMoments(window=50)}),
    ],
)
def test_what_is_recorded_may_be_said_in_words(said, record):
    assert record_of(sweep(record=said).record) == record


# What is run.


def subject(folder, allow_code=True, **options):
    return subject_of(sweep(**options).beside(folder), allow_code=allow_code)


def test_a_function_in_a_file_makes_the_circuits_and_its_text_travels(folder):
    made = subject(folder)
    (folder / "build.py").unlink()
    copy = pickle.loads(pickle.dumps(made))
    assert copy.circuit({"mean": 0.3}).drives[0].mean == 0.3
    assert copy.code == made.code


def test_a_function_of_the_ready_circuits_is_found_by_name(folder):
    import mnnbio.circuits

    name = mnnbio.circuits.__all__[0]
    assert subject(folder, circuit=name, grid={"scale": [0.1]}).has("scale")


def test_a_function_of_a_package_is_found(folder):
    made = subject(folder, circuit="json:loads", grid={"s": ["x"]})
    assert made.has("s")
    with pytest.raises(TypeError, match="'json:loads' must return a Circuit, got dict"):
        made.circuit({"s": "{}"})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"circuit": "build.py:pears"}, r"unknown function of build.py: 'pears'; did you mean 'pair'\?"),
        ({"circuit": "no_such_module:f"}, "no module 'no_such_module' .* write no_such_module.py:function"),
        ({"circuit": "brunnel"}, "unknown function of mnnbio.circuits: 'brunnel'"),
        (
            {"grid": {"men": [1]}},
            r"unknown parameter of 'build.py:pair' or of the simulation 'men'; did you mean 'mean'\?",
        ),
        ({"grid": {"std": [1]}}, "'build.py:pair' needs the parameter 'mean'; name it in parameters, grid or list"),
        ({"circuit": "circuit.json", "grid": {"drives.E.men": [1]}}, "did you mean 'drives.E.mean'"),
        ({"circuit": "broken.json", "grid": {"seed": [1]}}, r"broken.json is not a circuit: the text is not JSON"),
        ({"circuit": "broken.py:f"}, "broken.py does not run: SyntaxError"),
        ({"circuit": None, "run": "."}, "holds no run; start one: mnnbio run digits"),
    ],
)
def test_what_cannot_be_run_is_named(folder, options, message):
    (folder / "broken.json").write_text("{")
    (folder / "broken.py").write_text("def")
    with pytest.raises(ConfigError, match=message):
        subject(folder, **options)


@pytest.mark.parametrize("name", ["none.json", "none.py:f"])
def test_files_that_are_not_there_are_named(folder, name):
    with pytest.raises(FileNotFoundError, match=r"circuit: no file .*none\."):
        subject(folder, circuit=name)


def test_parameters_of_the_circuit_come_before_those_of_the_simulation(folder):
    from mnnbio.workflow.sweep_work import Work, prepared

    config = sweep(grid={"mean": [1]}, list=[{"duration": 5, "dt": 0.2}], simulation={"duration": 50}).beside(folder)
    work = Work(config, subject_of(config, allow_code=True), "", "", "", 1)
    _, options = prepared(work, points_of(config)[0].parameters)
    assert options == {"duration": 50, "warmup": 200, "dt": 0.2, "window": None, "trials": 1}


# Parameters of a stored circuit.


def matrix(changed, source, target):
    return changed.dense(next(p for p in changed.projections if (p.source, p.target) == (source, target)))


def test_every_path_changes_its_part_and_no_other(folder):
    base = circuit()
    changes = {path: 2.5 for path in paths_of(base)} | {"seed": 7, "populations.I.t_ref": 1.0}
    for path, value in changes.items():
        if path.endswith((".v_reset", ".v_th")):
            continue
        changed = edited(base, {path: value})
        assert changed.hash() != base.hash(), path
    assert edited(base, {}).hash() == base.hash()


def test_paths_mean_what_they_say():
    base = circuit()
    changed = edited(
        base,
        {
            "sources.input.scale": 2.0,
            "populations.E.tau_m": 10.0,
            "drives.E.mean": 0.7,
            "drives.E.weight": 0.4,
            "projections.input.E.scale": 3.0,
            "projections.I.E.scale": 0.5,
            "projections.E.I.weight": 0.9,
            "projections.E.I.delay": 2.0,
        },
    )
    np.testing.assert_allclose(changed.sources[0].rates, [0.2, 0.4, 0.6])
    assert (changed.population("E").lif.tau_m, changed.population("I").lif.tau_m) == (10.0, 20.0)
    gaussian, poisson, other = changed.drives
    assert (gaussian.mean, gaussian.std, poisson.rate, poisson.weight, other.mean) == (0.7, 1.0, 0.2, 0.4, 0.3)
    np.testing.assert_allclose(matrix(changed, "input", "E"), 3.0)
    np.testing.assert_allclose(matrix(changed, "I", "E"), -1.0)
    np.testing.assert_allclose(matrix(changed, "E", "I"), matrix(base, "E", "I") * 0.9 / 0.5)
    assert changed.projections[1].delay == 2.0
    np.testing.assert_allclose(edited(base, {"sources.input.rates": 0.4}).sources[0].rates, 0.4)
    np.testing.assert_allclose(matrix(edited(base, {"projections.E.I.scale": 4}), "E", "I").max(), 2.0)


def test_only_numbers_are_scaled():
    rule = Projection("E", "I", weight=Normal(0.5, 0.1), connectivity=FixedIndegree(2))
    base = dataclasses.replace(circuit(), projections=[rule])
    with pytest.raises(ValueError, match="only numbers can be scaled, weight of projection 'E' → 'I' is Normal"):
        edited(base, {"projections.E.I.scale": 2.0})


def test_a_path_that_means_two_parts_is_an_error():
    base = dataclasses.replace(circuit(), drives=[GaussianDrive("E", 0.5), GaussianDrive("E", 0.1)])
    with pytest.raises(ConfigError, match=r"'drives.E.mean' is not unique: the circuit has 2 such parts"):
        edited(base, {"drives.E.mean": 1.0})
