"""Dale's law is checked on the realised synapses."""

import numpy as np
import pytest
from scipy import sparse

from mnnbio import Circuit, LIFParameters, ModeMatrix, PoissonSource, Population, Projection
from mnnbio.circuit.connectivity import AllToAll, Bernoulli
from mnnbio.values import LogNormal, Normal

LIF = LIFParameters()


def circuit(*projections):
    return Circuit([PoissonSource("in", 3, 0.1), Population("E", 30, LIF), Population("I", 10, LIF)], projections)


def test_excitatory_and_inhibitory_populations_pass():
    good = circuit(
        Projection("E", "E", weight=Normal(0.1, 0.1, low=0), connectivity=Bernoulli(0.5)),
        Projection("E", "I", weight=0.1, connectivity=AllToAll()),
        Projection("I", "E", weight=LogNormal(-0.5, 0.2), connectivity=Bernoulli(0.5)),
        Projection("in", "I", weights=np.tile([1.0, -1.0, 0.0], (10, 1))),  # each train has one sign
    )
    good.check_dale()
    good.check_dale({"E": "excitatory", "I": "inhibitory"})
    Circuit([Population("E", 2, LIF)]).check_dale({"E": "inhibitory"})


def bad_weight(row, column, value):
    weights = np.full((30, 30), 0.2)
    weights[row, column] = value
    return weights


@pytest.mark.parametrize("form", [np.asarray, sparse.csr_array])
def test_a_neuron_of_both_signs_is_named(form):
    with pytest.raises(
        ValueError,
        match=r"neuron 7 of 'E' must be all excitatory or all inhibitory, got weights from -0.5 to 0.2 mV \(1 such",
    ):
        circuit(Projection("E", "E", weights=form(bad_weight(3, 7, -0.5)))).check_dale()


def test_signs_are_compared_over_all_projections():
    both = circuit(
        Projection("E", "E", weight=0.1, connectivity=AllToAll()),
        Projection("E", "I", weight=-0.1, connectivity=AllToAll()),
    )
    with pytest.raises(ValueError, match=r"neuron 0 of 'E' .* from -0.1 to 0.1 mV \(30 such neurons\)"):
        both.check_dale()


def test_a_sign_may_be_asked_for():
    negative = circuit(Projection("E", "E", weight=-0.1, connectivity=AllToAll()))
    negative.check_dale()
    with pytest.raises(ValueError, match=r"'E' must be all excitatory, got weights from -0.1 to 0 mV"):
        negative.check_dale({"E": "excitatory"})
    with pytest.raises(ValueError, match=r"'I' must be all inhibitory, got weights from 0 to 0.1 mV"):
        circuit(Projection("I", "E", weight=0.1, connectivity=AllToAll())).check_dale({"I": "inhibitory"})


def test_modes_and_normal_weights_are_found_out():
    modes = ModeMatrix(np.linspace(-1, 1, 30)[:, None], [0.3], np.ones((10, 1)))
    with pytest.raises(ValueError, match="neuron 0 of 'I'"):
        circuit(Projection("I", "E", weights=modes)).check_dale()
    with pytest.raises(ValueError, match="of 'E' must be all excitatory"):
        circuit(Projection("E", "E", weight=Normal(0.1, 0.1), connectivity=AllToAll())).check_dale({"E": "excitatory"})


def test_unknown_names_and_signs_raise():
    with pytest.raises(ValueError, match="no population 'X'"):
        circuit().check_dale({"X": "excitatory"})
    with pytest.raises(ValueError, match="Invalid value 'positive' for `signs\\['E'\\]`"):
        circuit().check_dale({"E": "positive"})
