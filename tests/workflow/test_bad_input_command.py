"""Wrong command lines and files: each is refused at once, in at most four lines, and leaves nothing half-written."""

import time
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
import yaml
from command_line import run

from mnnbio import Circuit, GaussianDrive, LIFParameters, Population

SWEEP = {"circuit": "brunel", "parameters": {"scale": 0.01}, "grid": {"g": [5]}, "simulation": {"codegen": "runtime"}}
RUNTIME = ["--codegen", "runtime", "--no-progress"]
LONG = "x" * 300


@pytest.fixture(scope="module")
def given(tmp_path_factory) -> Path:
    """Return a folder of files that commands are given; no command may change it."""
    import mnnbio.spikes
    import mnnbio.training  # noqa: F401 - what loads once in a process is not timed

    folder = tmp_path_factory.mktemp("given")
    circuit = Circuit([Population("E", 2, LIFParameters())], drives=[GaussianDrive("E", mean=1.2, std=1.0)])
    texts = {
        "empty": "",
        "list.yaml": "- 1\n- 2\n",
        "open.yaml": "training: [",
        "twice.yaml": "training: {epochs: 3}\ntraining: {epochs: 4}\n",
        "tab.yaml": "training:\n\tepochs: 3\n",
        "section.yaml": "trainin: {epochs: 3}\n",
        "key.yaml": "training: {epoch: 3}\n",
        "type.yaml": "training: {epochs: many}\n",
        "flat.yaml": "training: 5\n",
        "null.yaml": "training: {epochs: null}\n",
        "python.yaml": "training: !!python/object/apply:os.system ['touch PWNED']\n",
        "text.csv": "a,y\n1,x\ntwo,y\n",
        "one.csv": "a,y\n1,x\n2,x\n",
        "gap.csv": "a,y\n1,x\n2,x\n,y\n3,y\n",
        "rows.csv": "a,y\n",
        "circuit.json": circuit.to_json(),
        "list.json": "[1, 2]",
        "open.json": "{",
        "build.py": "open('PWNED', 'w')\ndef make(g=1.0):\n    raise RuntimeError\n",
        "bad.py": "def make(:",
    }
    for name, text in texts.items():
        (folder / name).write_text(text)
    (folder / "binary.yaml").write_bytes(bytes(range(256)))
    (folder / "empty.npz").write_bytes(b"")
    np.savez(folder / "other.npz", z=np.ones(3))
    (folder / "folder").mkdir()
    (folder / "foreign").mkdir()
    (folder / "foreign/thesis.tex").write_text("x")
    for name, manifest in (("damaged", "{"), ("old", '{"format": 1}'), ("no_object", "[]")):
        (folder / name).mkdir()
        (folder / name / "manifest.json").write_text(manifest)
    (folder / "project").mkdir()
    (folder / "project/run.json").write_text("{}")
    run = folder / "no_result"
    run.mkdir()
    (run / "config.yaml").write_text("data: {name: digits}\n")
    run = folder / "foreign_result"
    run.mkdir()
    (run / "config.yaml").write_text("data: {name: digits}\n")
    xr.Dataset({"x": 1}).to_netcdf(run / "result.nc")
    run = folder / "bad_config"
    run.mkdir()
    (run / "config.yaml").write_text("data: {name: digits}\ntraining: {epochs: -3}\n")
    return folder


def sweep(folder: Path, options: dict[str, object]) -> Path:
    path = folder / "sweep.yaml"
    path.write_text(yaml.safe_dump(SWEEP | options))
    return path


def everything(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def refused(given: Path, *arguments: object, message: str) -> None:
    """Run a command, which must fail as it should."""
    before, start = everything(given), time.monotonic()
    code, out, said = run(*arguments)
    assert code in (1, 2), (code, out)
    assert message in said, said
    assert len(said.splitlines()) <= 4, said
    assert all(len(line) < 1500 for line in said.splitlines()), said
    assert "Traceback" not in said + out
    assert "unexpected" not in said, said
    assert time.monotonic() - start < 10
    assert everything(given) == before


COMMANDS = {
    "no command": ([], "required: COMMAND"),
    "unknown command": (["runn"], "invalid choice: 'runn'"),
    "data set": (["run", "digit", "--out", "X"], "did you mean 'digits'?"),
    "no data": (["run", "--out", "X"], "which data?"),
    "no folder": (["run", "digits"], "required: --out"),
    "empty folder name": (["run", "digits", "--out", ""], "must be a path"),
    "name too long": (["run", "digits", "--out", LONG, *RUNTIME], "File name too long"),
    "name too long, simulate": (["simulate", LONG], "File name too long"),
    "name too long, sweep": (["sweep", "a.yaml", "--out", LONG], "File name too long"),
    "name too long, circuit": (["circuit", "brunel", "--out", LONG], "File name too long"),
    "name too long, config": (["config", "--config", LONG], "File name too long"),
    "zero in a name": (["run", "digits", "--out", "a\0b"], "cannot be a path"),
    "folder is a file": (["run", "digits", "--out", "{empty}", *RUNTIME], "cannot"),
    "below a file": (["run", "digits", "--out", "{empty}/run", *RUNTIME], "cannot write to the run folder"),
    "unknown option": (["run", "digits", "--out", "X", "--epoch", "5"], "did you mean '--epochs'?"),
    "no number": (["run", "digits", "--out", "X", "--epochs", "five"], "must be a whole number ≥ 1, got 'five'"),
    "negative": (["run", "digits", "--out", "X", "--epochs", "-5"], "must be a whole number ≥ 1, got -5"),
    "huge text": (["run", "digits", "--out", "X", "--epochs", "9" * 4000 + "x"], "must be a whole number ≥ 1"),
    "not a number": (["run", "digits", "--out", "X", "--dt", "nan"], "simulation.dt must be a number > 0 (ms), got"),
    "infinite": (["run", "digits", "--out", "X", "--duration", "inf"], "statistics.duration must be a number > 0"),
    "no step": (["run", "digits", "--out", "X", "--dt", "0"], "simulation.dt must be a number > 0 (ms), got '0'"),
    "tiny step": (["run", "digits", "--out", "X", "--dt", "1e-300"], "more than 1e+12 steps"),
    "denormal step": (["run", "digits", "--out", "X", "--dt", "1e-320"], "more than 1e+12 steps"),
    "endless": (["run", "digits", "--out", "X", "--duration", "1e15"], "more than 1e+12 steps"),
    "trials": (["run", "digits", "--out", "X", "--trials", "1000000000"], "more than 1e+12 steps"),
    "decisions": (["run", "digits", "--out", "X", "--decision-trials", "1" + "0" * 30], "more than 1e+12 steps"),
    "neurons": (["run", "digits", "--out", "X", "--hidden", "100000,100000", *RUNTIME], "1e+10 synapses take"),
    "seed": (["run", "digits", "--out", "X", "--simulation-seed", str(2**64)], "simulation.seed must be a whole number"),
    "seed of the training": (["run", "digits", "--out", "X", "--seed", str(2**32)], "training.seed must be a whole"),
    "layers": (["run", "digits", "--out", "X", "--hidden", "10,a"], "model.hidden must be a list of whole numbers ≥ 1"),
    "no layer": (["run", "digits", "--out", "X", "--hidden", ""], "model.hidden must be a list of whole numbers ≥ 1"),
    "choice": (["run", "digits", "--out", "X", "--loss", "cross"], "training.loss must be one of"),
    "reset": (["run", "digits", "--out", "X", "--v-reset", "30"], "model.v_reset must be below model.v_th"),
    "step and delay": (["run", "digits", "--out", "X", "--dt", "0.3"], "simulation.dt must divide model.t_ref"),
    "window": (["run", "digits", "--out", "X", "--window", "70"], "statistics.window must divide"),
    "share": (["run", "digits", "--out", "X", "--test-fraction", "1"], "must be a number > 0 and < 1"),
    "device": (["run", "digits", "--out", "X", "--device", "toaster", "--epochs", "1", *RUNTIME], "toaster"),
    "file of digits": (["run", "digits", "f.csv", "--out", "X"], "only a table is read from a file"),
    "no table": (["run", "table", "--out", "X"], "a table needs a file and a column"),
    "no column": (["run", "table", "{text.csv}", "--out", "X"], "a table needs a file and a column"),
    "missing table": (["run", "table", "none.csv", "--target", "y", "--out", "X", *RUNTIME], "none.csv"),
    "unknown column": (["run", "table", "{one.csv}", "--target", "z", "--out", "X", *RUNTIME], "no column 'z'"),
    "one class": (["run", "table", "{one.csv}", "--target", "y", "--out", "X", *RUNTIME], "at least two classes"),
    "missing value": (["run", "table", "{gap.csv}", "--target", "y", "--out", "X", *RUNTIME], "missing value"),
    "no rows": (["run", "table", "{rows.csv}", "--target", "y", "--out", "X", *RUNTIME], "no rows"),
    "empty table": (["run", "table", "{empty}", "--target", "y", "--out", "X", *RUNTIME], ""),
    "empty archive": (["run", "table", "{empty.npz}", "--target", "y", "--out", "X", *RUNTIME], "empty.npz"),
    "other archive": (["run", "table", "{other.npz}", "--target", "y", "--out", "X", *RUNTIME], "other.npz"),
    "no images": (["run", "mnist", "--out", "X"], "mnist needs the folder"),
    "empty images": (["run", "mnist", "--data-dir", "{folder}", "--out", "X", *RUNTIME], "train-images"),
    "no config": (["run", "digits", "--out", "X", "--config", "none.yaml"], "no configuration file none.yaml"),
    "config is a folder": (["config", "--config", "{folder}"], "no configuration file"),
    **{
        f"config {name}": (["run", "digits", "--out", "X", "--config", f"{{{name}}}"], message)
        for name, message in {
            "list.yaml": "must hold sections",
            "open.yaml": "is not YAML",
            "twice.yaml": "'training' stands twice",
            "tab.yaml": "is not YAML",
            "section.yaml": "did you mean 'training'?",
            "key.yaml": "did you mean 'epochs'?",
            "type.yaml": "training.epochs must be a whole number ≥ 1, got 'many'",
            "flat.yaml": "section 'training' must hold options, got 5",
            "null.yaml": "training.epochs must be a whole number ≥ 1, got None",
            "python.yaml": "is not YAML",
            "binary.yaml": "is not YAML",
        }.items()
    },
    "bad options of a run": (["simulate", "{bad_config}"], "training.epochs must be a whole number ≥ 1, got -3"),
    "train nothing": (["train", "X"], "such as --data digits"),
    "simulate nothing": (["simulate", "X"], "X holds no run"),
    "simulate untrained": (["compare", "X"], "X holds no run"),
    "report nothing": (["report", "X"], "X holds no run"),
    "cpp nothing": (["cpp", "X", "--out", "Y"], "X holds no run"),
    "cpp part": (["cpp", "X", "--out", "Y", "--part", "half"], "invalid choice: 'half'"),
    "read nothing": (["read", "X"], "X does not hold a C++ project"),
    "read a file": (["read", "{empty}"], "does not hold a C++ project"),
    "read another project": (["read", "{project}"], "does not hold a C++ project"),
    "cache action": (["cache", "wash"], "invalid choice: 'wash'"),
    "cache days": (["cache", "clear", "--older-than", "-1"], "must be a number of days ≥ 0"),
    "cache days of show": (["cache", "show", "--older-than", "3"], "--older-than says what to clear"),
    "shell": (["completion", "csh"], "invalid choice: 'csh'"),
    "circuit": (["circuit", "brunl", "--out", "X"], "invalid choice: 'brunl'"),
    "circuit number": (["circuit", "brunel", "--out", "X", "--g", "five"], "must be a number, got 'five'"),
    "circuit scale": (["circuit", "brunel", "--out", "X", "--scale", "-1", *RUNTIME], "`scale` must be"),
    "circuit nan": (["circuit", "brunel", "--out", "X", "--g", "nan", *RUNTIME], "must be finite"),
    "circuit time": (["circuit", "brunel", "--out", "X", "--duration", "1e15"], "more than 1e+12 steps"),
    "circuit trials": (["circuit", "brunel", "--out", "X", "--trials", "1000000000"], "more than 1e+12 steps"),
    "circuit step": (["circuit", "brunel", "--out", "X", "--dt", "1e-300"], "more than 1e+12 steps"),
    "circuit seed": (["circuit", "brunel", "--out", "X", "--seed", "-1", *RUNTIME], "seed"),
    "circuit memory": (["circuit", "brunel", "--out", "X", "--scale", "30", *RUNTIME], "synapses take"),
    "sweep nothing": (["sweep", "none.yaml", "--out", "X"], "no configuration file none.yaml"),
    "sweep workers": (["sweep", "none.yaml", "--out", "X", "--workers", "0"], "must be a whole number ≥ 1"),
    "sweep workers of the east": (["sweep", "none.yaml", "--out", "X", "--workers", "²"], "must be a whole number ≥ 1"),
    "sweep both": (["sweep", "a", "--out", "X", "--workers", "1", "--scheduler", "tcp://h:1"], "not allowed with"),
    "sweep scheduler": (["sweep", "a", "--out", "X", "--scheduler", "none.json"], "no scheduler file none.json"),
    "sweep list": (["sweep", "{list.yaml}", "--out", "X"], "a sweep must hold options"),
    "sweep python": (["sweep", "{python.yaml}", "--out", "X"], "is not YAML"),
}  # fmt: skip


@pytest.mark.parametrize(("arguments", "message"), COMMANDS.values(), ids=COMMANDS)
def test_a_wrong_command_is_refused(given, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    places = {path.name: str(path) for path in given.iterdir()}
    for name, path in places.items():
        arguments = [word.replace(f"{{{name}}}", path) for word in arguments]
    refused(given, *arguments, message=message)
    # The log of a device that torch does not know is all that may stay: the run had begun.
    assert [path.name for path in tmp_path.iterdir()] == (["X"] if "toaster" in arguments else [])


SWEEPS = {
    "no circuit": ({"circuit": None}, "got neither"),
    "circuit and run": ({"run": "runs/a"}, "got both"),
    "unknown circuit": ({"circuit": "brunell"}, "did you mean 'brunel'?"),
    "shell": ({"circuit": "subprocess:getoutput", "parameters": {"cmd": "touch PWNED"}}, "--allow-code"),
    "file": ({"circuit": "build.py:make"}, "--allow-code"),
    "missing json": ({"circuit": "none.json"}, "circuit: no file"),
    "json list": ({"circuit": "list.json", "grid": {"seed": [1]}}, "list.json is"),
    "damaged json": ({"circuit": "open.json", "grid": {"seed": [1]}}, "is not a circuit"),
    "path": (
        {"circuit": "circuit.json", "grid": {"drives.E.men": [1]}, "parameters": {}},
        "did you mean 'drives.E.mean'",
    ),
    "no run": ({"circuit": None, "run": "folder"}, "holds no run"),
    "no grid": ({"grid": None}, "name what to vary"),
    "parameter": ({"grid": {"gg": [1]}}, "did you mean 'g'?"),
    "many points": ({"grid": {"g": {"start": 1, "stop": 2, "number": 1_000_000_000}}}, "1e+09 points, a sweep at most"),
    "many axes": (
        {"grid": {name: {"start": 1, "stop": 2, "number": 1000} for name in ("g", "nu_ext_ratio", "delay")}},
        "1e+09 points, a sweep at most 1,000,000",
    ),
    "absurd number": ({"grid": {"g": {"start": 1, "stop": 2, "number": 10**400}}}, "points, a sweep at most"),
    "trials": ({"trials": 1_000_000_000}, "more than 1e+12 steps"),
    "swept trials": ({"grid": {"trials": [1, 10**400]}}, "more than 1e+12 steps"),
    "duration": ({"simulation": {"duration": 1e15}}, "more than 1e+12 steps"),
    "step": ({"simulation": {"dt": 1e-300}}, "more than 1e+12 steps"),
    "swept step": ({"grid": {"dt": [1e-300, 0.1]}}, "more than 1e+12 steps"),
    "values twice": ({"grid": {"g": [5, 5.0]}}, "must hold each value once"),
    "mapping": ({"grid": {"g": {"a": 1}}}, "unknown option in 'grid.g': 'a'"),
    "names": ({"grid": {1: [5]}}, "grid must hold names and values"),
    "not finite": ({"grid": {"g": [float("inf")]}}, "must be a finite number"),
    "option": ({"simulation": {"durtion": 5}}, "did you mean 'duration'?"),
    "type": ({"simulation": {"duration": "long"}}, "simulation.duration must be a number > 0 (ms), got 'long'"),
    "section": ({"simulation": 5}, "simulation must hold names and values, got 5"),
    "theory": ({"predict": {"theory": "string"}}, "predict.theory must be one of"),
    "record": ({"record": {"E": "spike"}}, "record.E must be spikes"),
    "record without options": ({"record": "counts"}, "record: counts needs its options"),
    "key": ({"gird": {}}, "did you mean 'grid'?"),
    "seed": ({"seed": 1.5}, "seed must be a whole number ≥ 0, got 1.5"),
    "long text": ({"trials": "x" * 10_000}, "trials must be a whole number"),
}


@pytest.mark.parametrize(("options", "message"), SWEEPS.values(), ids=SWEEPS)
def test_a_wrong_sweep_is_refused(given, tmp_path, options, message):
    config = sweep(given, options)
    refused(given, "sweep", config, "--out", tmp_path / "out", message=message)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("foreign", "holds no sweep but thesis.tex"),
        ("damaged", "cannot read"),
        ("old", "must be the manifest of a sweep, format 2, found 1"),
        ("no_object", "must be the manifest of a sweep, format 2, found 'list'"),
        ("empty", "cannot write to the sweep folder"),
    ],
)
def test_a_sweep_leaves_other_folders_alone(given, place, message):
    refused(given, "sweep", sweep(given, {}), "--out", given / place, message=message)


@pytest.mark.parametrize(
    ("command", "place", "message"),
    [
        ("simulate", "no_result", "holds no trained network; train one first: mnnbio train"),
        ("compare", "no_result", "holds no simulation of the decisions; simulate first"),
        ("report", "no_result", "holds no comparison of the decisions; compare first"),
        ("compare", "foreign_result", "is a netCDF file of something else"),
        ("report", "foreign_result", "is a netCDF file of something else"),
    ],
)
def test_a_folder_that_lacks_a_step_says_which(given, tmp_path, command, place, message):
    folder = tmp_path / "run"
    folder.mkdir()
    for path in (given / place).iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    options = RUNTIME if command == "simulate" else []
    refused(given, command, folder, *options, message=message)
    assert "Traceback" in (folder / "log.txt").read_text()
    assert not (folder / "report.html").exists()
