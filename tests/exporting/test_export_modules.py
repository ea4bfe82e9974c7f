"""Export of any module of moment layers: what the circuit predicts is what the module computes."""

import warnings

import numpy as np
import pytest
import torch
from scipy import sparse
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn

from mnnbio import Circuit, LIFParameters, ModeMatrix, Readout, export, predict, simulate
from mnnbio.exporting import ReadoutNoiseWarning
from mnnbio.nn import (
    GaussianBackground,
    GaussianEncoder,
    MeanDecoder,
    ModeLinear,
    MomentActivation,
    MomentAvgPool2d,
    MomentBatchNorm1d,
    MomentBatchNorm2d,
    MomentBlock,
    MomentConv2d,
    MomentDropout,
    MomentEnsemble,
    MomentLinear,
    MomentMLP,
    Moments,
    PoissonBackground,
    PoissonEncoder,
    SkipConnection,
    SparseLinear,
    WindowDecoder,
    add,
    add_independent,
    join,
    tracked,
)
from mnnbio.training import MomentClassifier

D = torch.float64
LIF = LIFParameters(tau_m=15.0, v_reset=5.0, t_ref=2.0)
X = np.random.default_rng(0).uniform(0.1, 1, (5, 6))

pytestmark = [
    pytest.mark.filterwarnings("ignore::mnnbio.theory.validity.FiniteWeightWarning"),
    pytest.mark.filterwarnings("ignore::mnnbio.theory.validity.CorrelationWarning"),
]


def block(n_in, n_out, linear=None):
    return MomentBlock(
        MomentLinear(n_in, n_out, dtype=D) if linear is None else linear,
        MomentBatchNorm1d(n_out, dtype=D),
        MomentActivation(LIF),
    )


class Custom(nn.Module):
    """Layers called one after the other, currents with a background, a decoder at the end."""

    def __init__(self):
        super().__init__()
        self.encoder = PoissonEncoder(6, dtype=D)
        self.first, self.norm, self.fire = (
            MomentLinear(6, 8, dtype=D),
            MomentBatchNorm1d(8, dtype=D),
            MomentActivation(LIF),
        )
        self.background, self.drop = PoissonBackground(0.2, 0.5), MomentDropout(0.3)
        self.second, self.out = block(8, 7), MomentLinear(7, 3, bias=True, dtype=D)

    def forward(self, features):
        trains = self.drop(self.fire(self.background(self.norm(self.first(self.encoder(features))))))
        return self.out(self.second(trains))


class Residual(nn.Module):
    """Trains of one layer added to those of the next, and read together with a third."""

    def __init__(self):
        super().__init__()
        self.encoder, self.a, self.b, self.c = PoissonEncoder(6, dtype=D), block(6, 8), block(8, 8), block(8, 5)
        self.out = MomentLinear(13, 3, bias=True, dtype=D)

    def forward(self, features):
        first = tracked(self.a(self.encoder(features)))
        total = first + self.b(first)
        return self.out(join(total, self.c(total)))


class TwoInputs(nn.Module):
    """Two encoders, features of either first handled as plain tensors."""

    def __init__(self):
        super().__init__()
        self.seen, self.heard = PoissonEncoder(4, dtype=D), GaussianEncoder(2, std=0.4, dtype=D)
        self.a, self.b, self.c = block(4, 6), block(2, 5), block(6, 4)
        self.mix, self.out = MomentLinear(5, 4, dtype=D), MomentLinear(4, 2, dtype=D)

    def forward(self, sight, sound):
        a, b = self.a(self.seen(sight.abs())), self.b(self.heard(sound * 0.5 + 0.1))
        return self.out(add_independent(self.c(a), self.mix(b)))


class Branches(nn.Module):
    """Two branches of one layer, through which the same noise comes back together."""

    def __init__(self):
        super().__init__()
        self.encoder, self.trunk = PoissonEncoder(6, on_off=True, shift=0.5, dtype=D), block(12, 8)
        self.left, self.right, self.top = block(8, 5), block(8, 4), block(9, 6)
        self.out = MomentLinear(6, 3, dtype=D)

    def forward(self, features):
        trunk = tracked(self.trunk(self.encoder(features)))
        return self.out(self.top(join(self.left(trunk), self.right(trunk))))


class Shared(nn.Module):
    """One layer used twice."""

    def __init__(self):
        super().__init__()
        self.encoder, self.inner, self.again = PoissonEncoder(6, dtype=D), block(6, 8), block(8, 8)
        self.out = MomentLinear(8, 3, dtype=D)

    def forward(self, features):
        trains = self.inner(self.encoder(features))
        for _ in range(2):
            trains = self.again(trains)
        return self.out(trains)


def deep_sparse():
    layers = [block(n, 12, SparseLinear(n, 12, 4, dtype=D)) for n in (6, 12, 12, 12)]
    return nn.Sequential(PoissonEncoder(6, dtype=D), *layers, nn.Identity(), MomentLinear(12, 3, dtype=D))


class Convolution(nn.Module):
    """A convolution whose image is added to that of the next one, and pooled."""

    def __init__(self):
        super().__init__()
        self.encoder = PoissonEncoder(6, dtype=D)
        first, second = MomentConv2d((1, 2, 3), 2, 3, dtype=D), MomentConv2d((2, 2, 3), 2, 3, dtype=D)
        self.a = MomentBlock(first, MomentBatchNorm2d((2, 2, 3), dtype=D), MomentActivation(LIF))
        self.b = SkipConnection(
            MomentBlock(second, MomentBatchNorm2d((2, 2, 3), dtype=D), MomentActivation(LIF)), "add"
        )
        self.pool, self.dense = MomentAvgPool2d((2, 2, 3), 2), block(2, 5)
        self.out = MomentLinear(5, 3, dtype=D)

    def forward(self, features):
        return self.out(self.dense(self.pool(self.b(self.a(self.encoder(features))))))


class Modes(nn.Module):
    """Weights of modes, and neurons that learn."""

    def __init__(self):
        super().__init__()
        self.encoder, self.linear, self.norm = (
            PoissonEncoder(6, dtype=D),
            ModeLinear(6, 9, 2, dtype=D),
            MomentBatchNorm1d(9, dtype=D),
        )
        self.fire = MomentActivation(LIF, 9, learn=("tau_m", "v_th"), dtype=D)
        self.again = block(9, 7, ModeLinear(9, 7, 2, dtype=D))
        self.background, self.out = GaussianBackground(0.4, 0.2), MomentLinear(7, 3, dtype=D)

    def forward(self, features):
        trains = self.fire(self.background(self.norm(self.linear(self.encoder(features)))))
        return self.out(self.again(trains))


class TwoReadouts(nn.Module):
    """Two outputs, of two layers and of both together."""

    def __init__(self):
        super().__init__()
        self.encoder, self.a, self.b = PoissonEncoder(6, dtype=D), block(6, 8), block(8, 7)
        self.what, self.where = MomentLinear(15, 3, bias=True, dtype=D), MomentLinear(8, 2, dtype=D)

    def forward(self, features):
        first = tracked(self.a(self.encoder(features)))
        return {"what": self.what(join(first, self.b(first))), "where": self.where(first)}


def ensemble():
    return MomentEnsemble(
        [MomentMLP((6, 8, 3), LIF, dtype=D, seed=1), Custom(), MomentMLP((6, 5, 4, 3), LIF, dtype=D, seed=2)]
    )


STRUCTURES = {
    "custom": Custom,
    "residual": Residual,
    "two inputs": TwoInputs,
    "branches": Branches,
    "shared layer": Shared,
    "deep sparse": deep_sparse,
    "convolution with skip": Convolution,
    "modes": Modes,
    "two readouts": TwoReadouts,
    "ensemble": ensemble,
}


def trained(module):
    """A module whose weights, normalisation and noise are no longer at their initial values."""
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter += 0.3 * torch.rand(parameter.shape, generator=generator, dtype=D)
        for name, buffer in module.named_buffers():
            if name.endswith(("running_mean", "running_var")):
                buffer += torch.rand(buffer.shape, generator=generator, dtype=D)
    return module.eval()


@pytest.mark.parametrize("structure", STRUCTURES)
def test_the_circuit_predicts_what_the_module_computes(structure):
    torch.manual_seed(1)
    module = trained(STRUCTURES[structure]())
    given = {"sight": X[:, :4], "sound": X[:, 4:]} if structure == "two inputs" else X
    before = {name: value.clone() for name, value in module.state_dict().items()}
    prediction = predict(export(module, given))
    with torch.no_grad():
        tensors = (
            [torch.from_numpy(v) for v in given.values()] if isinstance(given, dict) else [torch.from_numpy(given)]
        )
        outputs = module(*tensors)
    for name, output in outputs.items() if isinstance(outputs, dict) else [("readout", outputs)]:
        np.testing.assert_allclose(prediction[name], output.mean, rtol=1e-10, atol=1e-10)
        noise = prediction[f"{name}_covariance"] * 1e3  # s → ms
        expected = output.covariance.to_dense().detach().numpy()
        np.testing.assert_allclose(noise, expected, rtol=1e-10, atol=1e-10 * np.abs(expected).max())
    for name, value in module.state_dict().items():
        assert torch.equal(value, before[name]), f"export changed {name}"


def test_one_stimulus_and_single_precision():
    torch.manual_seed(1)
    module = Residual().float().eval()
    circuit = export(module, X[0])
    assert circuit.n_stimuli is None
    with torch.no_grad():
        output = module(torch.from_numpy(X[0]).float())
    np.testing.assert_allclose(predict(circuit)["readout"], output.mean, rtol=1e-4, atol=1e-5)


def test_names_and_kinds_of_weights():
    circuit = export(Modes().eval(), X)
    assert [p.name for p in circuit.populations] == ["input", "fire", "again"]
    assert all(isinstance(p.weights, ModeMatrix) for p in circuit.projections)
    circuit = export(deep_sparse().eval(), X)
    assert [p.name for p in circuit.neurons] == ["layer_1", "layer_2", "layer_3", "layer_4"]
    assert all(sparse.issparse(p.weights) and p.weights.nnz == 48 for p in circuit.projections)
    circuit = export(Shared().eval(), X)
    assert [p.name for p in circuit.neurons] == ["inner", "again", "again_2"]
    circuit = export(TwoInputs().eval(), (X[:, :4], X[:, 4:]))
    assert [p.name for p in circuit.populations] == ["input", "a", "b", "c"]
    circuit = export(MomentEnsemble([MomentMLP((6, 5, 3), seed=1), MomentMLP((6, 4, 4, 3), seed=2)]).eval(), X)
    assert [p.name for p in circuit.neurons] == ["member_1_hidden", "member_2_hidden_1", "member_2_hidden_2"]
    assert circuit.readouts["readout"].source == ("member_1_hidden", "member_2_hidden_2")


def test_a_readout_of_several_populations_reads_their_spikes_and_is_stored():
    torch.manual_seed(1)
    circuit = export(trained(TwoReadouts()), X, labels={"what": "xyz"})
    assert circuit.readouts["what"].sources == ("a", "b")
    assert circuit.readouts["what"].labels == ("x", "y", "z")
    assert circuit.readouts["where"].labels is None
    again = Circuit.from_json(circuit.to_json())
    assert again.hash() == circuit.hash()
    assert again.readouts["what"].source == ("a", "b")
    result = simulate(again, 200.0, trials=2, codegen="runtime", seed=1)["simulation"]
    rate = result["rate"].values  # Hz, mean over trials
    readout = again.readouts["what"]
    expected = rate[:, :15] * 1e-3 @ readout.weights.T + readout.bias
    np.testing.assert_allclose(result["what"].mean("trial"), expected, rtol=1e-10)


def test_pipelines_and_searches_of_scikit_learn():
    rng = np.random.default_rng(3)
    x, y = 5 + 2 * rng.standard_normal((60, 4)), np.array(["no", "yes"] * 30)
    x[y == "yes", 0] += 4
    pipeline = make_pipeline(
        StandardScaler(), MomentClassifier(hidden=(8,), epochs=2, encoding="on_off", random_state=0)
    )
    search = GridSearchCV(pipeline, {"momentclassifier__learning_rate": [0.01, 0.02]}, cv=2).fit(x, y)
    circuit = export(search, x[:3])
    best = search.best_estimator_
    scaled = best[:-1].transform(x[:3])
    with torch.no_grad():
        output = best[-1].model_.eval()(torch.as_tensor(scaled, dtype=best[-1].model_.dtype))
    np.testing.assert_allclose(predict(circuit)["readout"], output.mean, rtol=2e-4, atol=1e-4)
    assert circuit.readout.labels == ("no", "yes")
    with pytest.raises(TypeError, match="holds a MomentClassifier without a network: fit it"):
        export(MomentClassifier(), x)
    with pytest.raises(TypeError, match="StandardScaler without a network"):
        export(make_pipeline(StandardScaler()).fit(x), x)


def outputs_of(function, **layers):
    """A module with a forward of its own."""

    class Own(nn.Module):
        def __init__(self):
            super().__init__()
            self.encoder, self.a = PoissonEncoder(6, dtype=D), block(6, 8)
            self.b, self.c, self.out = block(8, 8), block(8, 8), MomentLinear(8, 3, dtype=D)
            for name, layer in layers.items():
                setattr(self, name, layer)

        forward = function

    return Own().eval()


def test_a_decoder_and_trains_as_outputs():
    torch.manual_seed(0)
    circuit = export(outputs_of(lambda self, x: self.read(self.out(self.a(self.encoder(x)))), read=MeanDecoder()), X)
    assert isinstance(circuit.readout, Readout)
    windowed = outputs_of(lambda self, x: self.read(self.out(self.a(self.encoder(x)))), read=WindowDecoder(50.0))
    assert export(windowed, X).readout.source == "a"
    assert export(outputs_of(lambda self, x: self.out(self.a(self.encoder(x))).mean), X).readout.source == "a"
    assert export(outputs_of(lambda self, x: self.a(self.encoder(x))), X).readout is None
    both = export(outputs_of(lambda self, x: (self.out(self.a(self.encoder(x))), self.a(self.encoder(x)))), X)
    assert list(both.readouts) == ["readout_1"]
    # Each call of an encoder gives trains of its own, as in the module.
    assert [p.name for p in both.populations] == ["input", "input_2", "a", "a_2"]


def test_noise_of_a_readout_is_said():
    model = MomentMLP((6, 5, 3), readout_noise=True, seed=0).eval()
    with pytest.warns(ReadoutNoiseWarning, match="the noise of the network's readout is left out") as caught:
        export(model, X)
    assert caught[0].filename == __file__


def branching(self, x):
    trains = self.a(self.encoder(x))
    if trains.mean.sum() > 0:
        trains = self.b(trains)
    return self.out(trains)


def relu(self, x):
    trains = self.a(self.encoder(x))
    return self.out(Moments(torch.relu(trains.mean), trains.covariance))


def gated(self, x):
    trains = self.a(self.encoder(x))
    return self.out(torch.mul(trains, x))


def dependent(self, x):
    trains = self.a(self.encoder(x))
    return self.out(add_independent(self.b(trains), self.c(trains)))


def softmax(self, x):
    return torch.softmax(self.out(self.a(self.encoder(x))).mean, -1)


def raw(self, x):
    return self.out(self.a(x))


def straight(self, x):
    trains = tracked(self.encoder(x))
    return self.head(join(trains, self.a(trains)))


def twice_noisy(self, x):
    current = self.noisy(x)
    return self.out(add_independent(self.a(current), self.a(current)))


def apart(self, x):
    current = tracked(self.noisy(x))
    return self.out(add(self.a(current), self.a(current)))


BAD = {
    "control flow": (branching, {}, TypeError, r"Own cannot be traced, in line \d+ of test_export_modules.py, "
                     r"`if trains.mean.sum\(\) > 0:`: .*control flow.*must not depend on values"),
    "another function": (relu, {}, TypeError, r"in line \d+ of test_export_modules.py, `return self.out\(Moments\(torch.relu.*"
                         r"`relu`.*has no spiking counterpart; spiking neurons take weighted sums"),
    "moments and tensors": (gated, {}, TypeError, r"`mul`, of moments and plain tensors, has no spiking counterpart"),
    "not independent": (dependent, {}, ValueError, r"adds states as independent that both depend on 'a'.*mnnbio.nn.tracked"),
    "after the outputs": (softmax, {}, TypeError, r"`softmax`.*apply what comes after the outputs to the readout"),
    "no encoder": (raw, {}, TypeError, r"the MomentLinear 'a.linear' takes moments, got Tensor: features become moments by an encoder"),
    "input read out": (straight, {"head": MomentLinear(14, 3, dtype=D)}, ValueError,
                       r"reads the input 'input' itself.*let a layer of neurons"),
    "noise in common": (apart, {"noisy": GaussianEncoder(6, std=0.5, dtype=D)}, ValueError,
                        r"the noise of one encoder reaches 'a' and 'a_2'.*PoissonEncoder, or by GaussianEncoder with std=0"),
    "noise not independent": (twice_noisy, {"noisy": GaussianEncoder(6, std=0.5, dtype=D)}, ValueError, r"noise of one encoder"),
    "a layer of torch": (lambda self, x: self.out(self.drop(self.a(self.encoder(x)))), {"drop": nn.LayerNorm(8)}, TypeError,
                         r"the layer LayerNorm has no spiking counterpart"),
    "no moments": (lambda self, x: x * 2, {}, TypeError, r"a module that is exported must return moments.*got Tensor"),
    "currents as output": (lambda self, x: self.out(self.mean(x)), {"mean": GaussianEncoder(8, dtype=D)}, ValueError,
                           r"`stimulus` must have shape \(8,\) or \(stimulus, 8\), got \(5, 6\)"),
    "background in front": (lambda self, x: self.out(self.b(self.norm(self.back(self.a(self.encoder(x)))))),
                            {"back": PoissonBackground(0.1, 0.2), "norm": MomentBatchNorm1d(8, dtype=D)}, ValueError,
                            r"the MomentBatchNorm1d 'norm' comes after a PoissonBackground"),
    "wrong size": (lambda self, x: self.out(self.wrong(self.a(self.encoder(x)))), {"wrong": MomentLinear(9, 8, dtype=D)},
                   ValueError, r"the MomentLinear 'wrong' takes 9 variables, got 8"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_what_has_no_spiking_counterpart_is_refused_by_name_and_place(case):
    function, layers, kind, message = BAD[case]
    with pytest.raises(kind, match=message) as caught:
        export(outputs_of(function, **layers), X)
    assert len(str(caught.value).splitlines()) <= 4


def test_inputs_must_fit_the_module():
    module = TwoInputs().eval()
    with pytest.raises(
        ValueError, match=r"`stimulus` must fit TwoInputs.forward\(sight, sound\), missing a required argument"
    ):
        export(module, X)
    with pytest.raises(ValueError, match=r"`stimulus` must have shape \(2,\) or \(stimulus, 2\), got \(5, 6\)"):
        export(module, {"sight": X[:, :4], "sound": X})
    with pytest.raises(ValueError, match=r"`labels` names the outputs \['which'\], the module has \['what', 'where'\]"):
        export(TwoReadouts().eval(), X, labels={"which": "ab"})


def test_optional_inputs_take_their_defaults():
    def forward(self, x, extra=None, scale=1.0):
        trains = self.a(self.encoder(x * scale))
        return self.out(trains if extra is None else self.b(trains))

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert [p.name for p in export(outputs_of(forward), X).neurons] == ["a"]
