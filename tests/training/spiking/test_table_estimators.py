"""Estimators of spiking networks for tables, their twins, and baselines."""

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.datasets import load_iris
from sklearn.linear_model import LinearRegression

from mnnbio.analyses import unit_states
from mnnbio.training import (
    GradedUnit,
    MomentClassifier,
    SpikingClassifier,
    SpikingRegressor,
    TwinClassifier,
    gradient_boosting,
    twin_of,
)
from mnnbio.training.spiking import SpikingNeuron

X, Y = load_iris(return_X_y=True)
QUICK = {"epochs": 12, "batch_size": 16, "duration": 60, "random_state": 0}


@pytest.mark.parametrize("encoding", ["current", "flicker", "poisson", "latency"])
def test_iris_is_learned_with_every_encoding(encoding):
    model = SpikingClassifier((20,), encoding=encoding, **(QUICK | {"epochs": 30})).fit(X, Y)
    assert model.score(X, Y) > 0.85
    assert model.encode(X).shape == (30, 150, 4)
    assert set(np.unique(model.unit_states(X).spikes)) == {0.0, 1.0}


@pytest.mark.parametrize("readout", ["count", "membrane", "first_spike"])
def test_iris_is_learned_with_every_readout_and_two_layers(readout):
    model = SpikingClassifier((20, 20), readout=readout, **QUICK).fit(X, Y)
    assert model.score(X, Y) > 0.85
    states = model.unit_states(X[:3])
    assert states.populations == ("hidden_1",) * 20 + ("hidden_2",) * 20
    outputs = model.outputs_of_spikes(states.spikes[..., 20:])
    assert (model.classes_[outputs.argmax(1)] == model.predict(X[:3])).all()


def test_graded_units_learn_too():
    model = SpikingClassifier((20,), unit=GradedUnit(), encoding="flicker", **QUICK).fit(X, Y)
    assert model.score(X, Y) > 0.85
    assert model.unit_states(X[:2]).populations == ("hidden",) * 20 + ("output",) * 3
    values = SpikingRegressor((20,), unit="graded", head=(32, 16), **QUICK).fit(X[:, :3], X[:, 3])
    assert values.score(X[:, :3], X[:, 3]) > 0.8


def test_values_are_learned_in_their_units():
    target = 100 + 20 * X[:, 3]
    model = SpikingRegressor((30,), **(QUICK | {"epochs": 30})).fit(X[:, :3], target)
    linear = LinearRegression().fit(X[:, :3], target)
    assert model.score(X[:, :3], target) > linear.score(X[:, :3], target) - 0.05
    pair = SpikingRegressor((10,), **(QUICK | {"epochs": 2})).fit(X[:, :2], X[:, 2:])
    assert pair.predict(X[:, :2]).shape == (150, 2)


def test_answers_do_not_depend_on_what_stands_beside():
    model = SpikingClassifier((10,), encoding="poisson", **(QUICK | {"epochs": 1})).fit(X, Y)
    whole = model.predict_proba(X)
    np.testing.assert_allclose(model.predict_proba(X[::-1])[::-1], whole, rtol=1e-12)
    np.testing.assert_allclose(model.predict_proba(X[7:8])[0], whole[7], rtol=1e-12)
    again = clone(model).fit(X, Y)
    np.testing.assert_array_equal(again.predict_proba(X), whole)


def test_an_interrupted_training_goes_on_as_if_it_had_not_been(tmp_path):
    options = QUICK | {"encoding": "flicker", "epochs": 4, "schedule": "constant"}
    whole = SpikingClassifier((8,), checkpoint_dir=tmp_path / "whole", **options).fit(X, Y)

    class StopError(Exception):
        pass

    import mnnbio.training.loop as loop

    original, done = loop._Run.epoch, []

    def epoch(self, bar):
        if len(done) == 2:
            raise StopError
        done.append(1)
        original(self, bar)

    loop._Run.epoch = epoch
    try:
        with pytest.raises(StopError):
            SpikingClassifier((8,), checkpoint_dir=tmp_path / "cut", **options).fit(X, Y)
    finally:
        loop._Run.epoch = original
    resumed = SpikingClassifier((8,), checkpoint_dir=tmp_path / "cut", **options).fit(X, Y)
    for mine, theirs in zip(resumed.model_.parameters(), whole.model_.parameters(), strict=True):
        assert torch.equal(mine, theirs)


@pytest.mark.parametrize(
    "estimator",
    [SpikingClassifier((12, 9), **QUICK), MomentClassifier((12, 9), epochs=20, batch_size=16, random_state=0)],
)
def test_twins_have_the_same_layers_and_no_spikes(estimator):
    twin = twin_of(estimator).fit(X, Y)
    assert isinstance(twin, TwinClassifier)
    shapes = [tuple(p.shape) for p in twin.model_.parameters() if p.ndim == 2]
    assert shapes == [(12, 4), (9, 12), (3, 9)]
    assert twin.score(X, Y) > 0.85
    assert not hasattr(estimator, "model_")


def test_boosting_is_scikit_learns():
    assert gradient_boosting("classification", 1).fit(X, Y).score(X, Y) > 0.95
    assert gradient_boosting("regression", 1).fit(X[:, :3], X[:, 3]).score(X[:, :3], X[:, 3]) > 0.9


def test_states_are_labelled_for_the_figures():
    model = SpikingClassifier((10,), **(QUICK | {"epochs": 1})).fit(X, Y)
    labelled = unit_states(*model.unit_states(X[:3])[:2], dt=2.0, targets=Y[:3])
    assert dict(labelled.sizes) == {"stimulus": 3, "time": 30, "neuron": 10}


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"unit": "izhikevich"}, ValueError, "unit"),
        ({"unit": 3}, TypeError, "`unit` must be 'lif', 'graded', a SpikingNeuron or a GradedUnit"),
        ({"unit": "graded", "readout": "count"}, ValueError, "readout='membrane', got 'count'"),
        ({"head": (3,)}, ValueError, "`head` is for graded units"),
        ({"encoding": "on_off"}, ValueError, "encoding"),
        ({"max_rate": 1.0}, ValueError, "at most 1/dt = 0.5 spikes/ms"),
        ({"loss": "gaussian_likelihood"}, ValueError, "loss"),
        ({"unit": SpikingNeuron(t_ref=3)}, ValueError, "`dt` must divide `t_ref`"),
    ],
)
def test_options_that_have_no_meaning_are_refused(options, error, message):
    with pytest.raises(error, match=message):
        SpikingClassifier((4,), **options).fit(X, Y)


def test_missing_values_and_single_classes_are_refused():
    with pytest.raises(ValueError, match="NaN"):
        SpikingClassifier((4,)).fit(np.where(X > 7, np.nan, X), Y)
    with pytest.raises(ValueError, match="at least two classes"):
        SpikingClassifier((4,)).fit(X, np.zeros(150))
    with pytest.raises(TypeError, match="`estimator` must be a moment or spiking estimator"):
        TwinClassifier(3).fit(X, Y)
