"""The configurations in docs/sweeps.md can be used, and the example runs."""

import re
from pathlib import Path

import pytest
import yaml

from mnnbio import open_sweep, run_sweep
from mnnbio.workflow.sweep_config import make_sweep, points_of, read_config
from mnnbio.workflow.sweep_subjects import subject_of

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "sweeps.md").read_text(encoding="utf-8")
EXAMPLE = DOCS / "brunel_sweep.yaml"
BLOCKS = re.findall(r"```yaml\n(.*?)```", PAGE, flags=re.DOTALL)


def test_the_configurations_are_valid():
    assert len(BLOCKS) == 2
    for block in BLOCKS:
        assert points_of(make_sweep(yaml.safe_load(block)))


def test_the_page_shows_the_example():
    assert make_sweep(yaml.safe_load(BLOCKS[0]), EXAMPLE.parent) == read_config(EXAMPLE)
    subject_of(read_config(EXAMPLE))


def test_the_page_names_every_option():
    from mnnbio.workflow.options import fields_of
    from mnnbio.workflow.sweep_config import PointPrediction, PointSimulation

    for kind in (PointSimulation, PointPrediction):
        for field in fields_of(kind):
            assert field.name in PAGE, field.where


@pytest.mark.slow
def test_the_example_runs(tmp_path):
    content = yaml.safe_load(EXAMPLE.read_text(encoding="utf-8"))
    content["parameters"]["scale"] = 0.01
    content["grid"]["nu_ext_ratio"] = [2]
    content["simulation"] |= {"codegen": "runtime", "duration": 100, "warmup": 50}
    summary = run_sweep(content, tmp_path / "out", workers=0)
    assert (summary.done, summary.failed) == (3, 0)
    sweep = open_sweep(tmp_path / "out", resolution="population")
    rates = sweep["simulation/rate"].sel(population="E", nu_ext_ratio=2)
    assert (rates.diff("g") < 0).all()  # more inhibition, lower rates
    assert (sweep["prediction/rate"] - sweep["simulation/rate"]).sizes == {"g": 3, "nu_ext_ratio": 1, "population": 2}
