"""Packages of formats that are absent are named with the command that installs them, and none is imported before."""

import subprocess
import sys

import numpy as np
import pytest
from recorded_results import one_stimulus

from mnnbio import Circuit, LIFParameters, PackageMissing, Population, Projection, formats

CIRCUIT = Circuit([Population("E", 2, LIFParameters())], [Projection("E", "E", weights=np.eye(2))])
USES = {
    "neo": [lambda: formats.to_neo(one_stimulus()), lambda: formats.from_neo([])],
    "pynwb": [lambda: formats.to_nwb(one_stimulus(), "x.nwb"), lambda: formats.from_nwb("x.nwb")],
    "pynapple": [lambda: formats.to_pynapple(one_stimulus()), lambda: formats.from_pynapple([])],
    "h5py": [
        lambda: formats.to_sonata(CIRCUIT, "x"),
        lambda: formats.from_sonata("x.json"),
        lambda: formats.from_sonata_spikes("x.h5", duration=1),
    ],
    "nir": [lambda: formats.to_nir(CIRCUIT), lambda: formats.from_nir("x.nir", 0.1)],
    "pandas": [lambda: formats.to_dataframe(one_stimulus()), lambda: formats.from_csv("x.csv")],
}


@pytest.mark.parametrize("name", USES)
def test_an_absent_package_is_named(name, monkeypatch):
    one_stimulus()  # simulated while all is there
    monkeypatch.setitem(sys.modules, name, None)
    for use in USES[name]:
        with pytest.raises(
            PackageMissing, match=f"needs the package '{name}', which cannot be imported: pip install {name}"
        ):
            use()


def test_nothing_is_imported_before_it_is_used():
    heavy = ["neo", "pynwb", "pynapple", "h5py", "nir", "nest", "pyNN", "torch", "brian2"]
    code = f"import mnnbio.formats, sys; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
