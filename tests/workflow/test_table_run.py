"""Runs of networks that learn a table directly as spikes, from the command."""

import pytest
import xarray as xr
from sklearn.datasets import load_iris

from mnnbio.workflow.cli import main


@pytest.fixture
def iris(tmp_path):
    data = load_iris(as_frame=True)
    data.data.assign(species=data.target_names[data.target]).to_csv(tmp_path / "iris.csv", index=False)
    return tmp_path / "iris.csv"


@pytest.mark.slow
def test_a_table_is_learned_as_spikes_and_reported(iris, tmp_path, capsys):
    out = tmp_path / "run"
    line = ["run", "table", str(iris), "--target", "species", "--model", "spiking", "--hidden", "10", "--epochs", "4"]
    line += ["--shown", "20", "--codegen", "runtime", "--no-progress", "--out", str(out)]
    assert main(line) == 0
    assert "samples with the same spikes in Brian2  100.0%" in capsys.readouterr().out
    models = xr.open_datatree(out / "result.nc")["training/models"]
    assert models["model"].values.tolist()[2:] == ["non-spiking twin", "gradient boosting"]
    assert float(models["accuracy"][0]) == float(models["accuracy"][1])
    for name in ("roc", "precision_recall", "calibration", "confusions", "models", "unit_states"):
        assert (out / "figures" / f"{name}.png").is_file()
    assert main(["run", "--no-progress", "--out", str(out)]) == 0
    assert "reused" in capsys.readouterr().out
    assert main(["train", str(out)]) == 2
    assert "is done as a whole" in capsys.readouterr().err
