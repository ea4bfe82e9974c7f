"""Weights of layers as they are kept give what their full matrices give, and whole predictions do."""

import numpy as np
import pytest
import torch
from scipy import sparse

from mnnbio import (
    Circuit,
    GaussianDrive,
    LIFParameters,
    ModeMatrix,
    PoissonSource,
    Population,
    Projection,
    Readout,
    predict,
)
from mnnbio.theory.layer_weights import LayerWeights

RNG = np.random.default_rng(5)
SPARSE = sparse.random_array((7, 9), density=0.4, rng=RNG, format="csr")
MODES = ModeMatrix(RNG.normal(size=(7, 3)), RNG.normal(size=3), RNG.normal(size=(9, 3)))
KINDS = {"sparse": (SPARSE, SPARSE.toarray()), "modes": (MODES, MODES.to_dense())}


@pytest.mark.parametrize("kind", KINDS)
def test_products_are_those_of_the_full_matrix(kind):
    kept, full = KINDS[kind]
    weights, matrix = LayerWeights(kept), torch.from_numpy(full)
    block, vector = torch.rand(4, 9, 5, dtype=torch.float64), torch.rand(4, 9, dtype=torch.float64)
    torch.testing.assert_close(weights.times(block), matrix @ block)
    torch.testing.assert_close(weights.after(block.mT), block.mT @ matrix.T)
    for power in (1, 2, 3):
        torch.testing.assert_close(weights.powers(vector, power), vector @ matrix.pow(power).T)
    torch.testing.assert_close(weights.driven_by(vector), matrix * vector[:, None, :])
    torch.testing.assert_close(weights.plus(LayerWeights(kept)).full(), 2 * matrix)


def test_third_powers_of_modes_do_not_need_the_whole_matrix(monkeypatch):
    monkeypatch.setattr("mnnbio.theory.layer_weights._ROWS", 20)  # two rows at a time
    vector = torch.rand(2, 9, dtype=torch.float64)
    torch.testing.assert_close(
        LayerWeights(MODES).powers(vector, 3), vector @ torch.from_numpy(MODES.to_dense()).pow(3).T
    )


@pytest.mark.filterwarnings("ignore::mnnbio.theory.validity.FiniteWeightWarning")
@pytest.mark.filterwarnings("ignore::mnnbio.theory.validity.CorrelationWarning")
@pytest.mark.parametrize("options", [{}, {"dt": 0.1, "window": 50.0}, {"closure": "renewal", "dt": 0.1}], ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_predictions_do_not_depend_on_how_weights_are_kept(kind, options):
    kept, full = KINDS[kind]
    scale = 2 / np.abs(full).max()

    def circuit(first, second):
        lif = LIFParameters(tau_m=np.linspace(10, 20, 7))
        return Circuit(
            [PoissonSource("input", 9, rates=RATES), Population("a", 7, lif), Population("b", 7, LIFParameters())],
            [Projection("input", "a", weights=first), Projection("a", "b", weights=second)],
            [GaussianDrive("a", mean=0.9, std=0.5), GaussianDrive("b", mean=0.9, std=0.5)],
            Readout("b", np.ones((1, 7)), np.zeros(1)),
        )

    if kind == "modes":
        first = ModeMatrix(kept.input_modes * scale, kept.scores, kept.output_modes)
        second = ModeMatrix(kept.input_modes * scale, kept.scores, kept.output_modes[:7])
    else:
        first, second = kept * scale, (kept * scale)[:, :7]
    one = predict(circuit(first, second), **options)
    other = predict(circuit(full * scale, full[:, :7] * scale), **options)
    for name in other:
        np.testing.assert_allclose(one[name], other[name], rtol=1e-9, atol=1e-12, err_msg=name)


RATES = RNG.uniform(0.01, 0.3, (2, 9))
