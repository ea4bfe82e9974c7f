"""The page on neurons and synapses of Brian2: its examples run, and its tables name what there is."""

import inspect
import re
from pathlib import Path

import pytest

import mnnbio.neurons
import mnnbio.synapses
from mnnbio.neurons import NeuronModel
from mnnbio.synapses import PlasticityRule, SynapseModel

PAGE = (Path(__file__).parents[2] / "docs" / "biophysics.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)


@pytest.mark.slow
@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_the_examples_run(number):
    exec(compile(BLOCKS[number], f"docs/biophysics.md, block {number + 1}", "exec"), {})


def test_every_model_has_its_row():
    rows = "\n".join(line for line in PAGE.splitlines() if line.startswith("| "))
    for room, base in ((mnnbio.neurons, NeuronModel), (mnnbio.synapses, SynapseModel | PlasticityRule)):
        models = [getattr(room, name) for name in room.__all__]
        kinds = [kind for kind in models if inspect.isclass(kind) and issubclass(kind, base)]
        ready = {kind.__name__ for kind in kinds if not inspect.isabstract(kind)} - {"BiophysicalNeuron"}
        assert not [name for name in sorted(ready) if f"`{name}" not in rows]
