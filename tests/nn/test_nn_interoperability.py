"""Checkpoints of moment-neural-network: the network read must compute what its formulas, written out here, compute."""

from itertools import pairwise

import numpy as np
import pytest
import torch
import yaml
from scipy.integrate import quad
from scipy.special import erfcx, log1p

from mnnbio import LIFParameters, export, predict
from mnnbio.nn.mlp import MomentMLP, mlp_from_moment_neural_network
from mnnbio.training.checkpoint import load_model, save_model

ITS_EPS = 1e-5  # what its activation adds to every standard deviation

CONFIG = yaml.safe_load("""
MODEL:
  meta:
    arch: mnn_mlp
    cnn_type: ~
    mlp_type: mnn_mlp
  mnn_mlp:
    structure: [5, 4, 3]
    num_class: 2
    bn_bias_var: True
    predict_bias: True
    predict_bias_var: False
    special_init: True
    dropout: ~
    momentum: 0.9
    eps: 1.e-3
input_prepare: flatten_poisson
scale_factor: 0.4
background_noise: ~
epochs: 30
""")


def with_options(**options):
    return CONFIG | {"MODEL": CONFIG["MODEL"] | {"mnn_mlp": CONFIG["MODEL"]["mnn_mlp"] | options}}


def checkpoint(seed=0, **options):
    """A state dict with the names and shapes that its networks have, and trained-looking numbers."""
    rng = np.random.default_rng(seed)
    state = {}
    sizes = (5, 4, 3)
    for k, (n, m) in enumerate(pairwise(sizes)):
        linear, norm = f"mlp.{3 * k}", f"mlp.{3 * k + 1}"
        state[f"{linear}.weight"] = rng.normal(0, 1, (m, n))
        if options.get("ln_bias"):
            state[f"{linear}.bias"] = rng.normal(0, 0.3, m)
        if options.get("ln_bias_var"):
            state[f"{linear}.bias_var"] = rng.normal(-1, 1, m)
        if options.get("sparse_degree"):
            mask = np.zeros((m, n))
            for row, degree in zip(mask, np.broadcast_to(options["sparse_degree"], (2,))[[k] * m], strict=True):
                row[rng.choice(n, degree, replace=False)] = 1
            state[f"{linear}.sparse_mask"] = mask
        state[f"{norm}.weight"] = rng.uniform(0.5, 1.5, m)
        state[f"{norm}.bias"] = rng.uniform(0.7, 1.3, m)
        state[f"{norm}.running_mean"] = rng.normal(0, 0.3, m)
        state[f"{norm}.running_var"] = rng.uniform(0.5, 2, m) * (1 if k == 0 else 0.01)
        if options.get("bn_bias_var", True):
            state[f"{norm}.bias_var"] = rng.normal(0, 1, m)
        if options.get("record_bn_mean_var"):
            state[f"{norm}.mean_variance"] = rng.uniform(0.5, 1, m)
    state["predict.weight"] = rng.normal(0, 10, (2, 3))
    if options.get("predict_bias", True):
        state["predict.bias"] = rng.normal(0, 1, 2)
    if options.get("predict_bias_var"):
        state["predict.bias_var"] = rng.normal(-2, 1, 2)
    return {name: torch.from_numpy(value) for name, value in state.items()}


def g(x):
    return np.sqrt(np.pi) / 2 * erfcx(-x)


def h(x):
    return quad(lambda u: np.exp(x * x - u * u) * g(u) ** 2, -np.inf, x, epsabs=0, epsrel=1e-11)[0]


def activation(mean, std, L=0.05, v_th=20.0, v_reset=0.0, t_ref=5.0):
    """Rate, variance and ∂rate/∂mean by quadrature."""
    upper, lower = ((v * L - mean) / (np.sqrt(L) * std) for v in (v_th, v_reset))
    rate = 1 / (t_ref + 2 / L * quad(g, lower, upper, epsabs=0, epsrel=1e-12)[0])
    variance = 8 / L**2 * rate**3 * quad(h, lower, upper, epsabs=0, epsrel=1e-10)[0]
    return rate, variance, 2 / (L * np.sqrt(L) * std) * rate**2 * (g(upper) - g(lower))


def softplus(x):
    return log1p(np.exp(x))


def formulas(state, features, bn_eps, std_eps, **neuron):
    """Mean and covariance of the readout: linear, batch norm, activation, layer by layer."""
    state = {name: value.numpy() for name, value in state.items()}
    means, covariances = [], []
    for mean in features:
        C = np.diag(np.abs(mean))
        for k in range(2):
            linear, norm = f"mlp.{3 * k}", f"mlp.{3 * k + 1}"
            W = state[f"{linear}.weight"] * state.get(f"{linear}.sparse_mask", 1)
            mean, C = W @ mean + state.get(f"{linear}.bias", 0), W @ C @ W.T
            if f"{linear}.bias_var" in state:
                C = C + np.diag(softplus(state[f"{linear}.bias_var"]))
            scale = state[f"{norm}.weight"] / np.sqrt(state[f"{norm}.running_var"] + bn_eps)
            mean = (mean - state[f"{norm}.running_mean"]) * scale + state[f"{norm}.bias"]
            C = C * np.outer(scale, scale)
            if f"{norm}.bias_var" in state:
                C = C + np.diag(softplus(state[f"{norm}.bias_var"]))
            found = [activation(m, s, **neuron) for m, s in zip(mean, np.sqrt(np.diag(C)) + std_eps, strict=True)]
            mean, variance, gain = np.array(found).T
            C = C * np.outer(gain, gain)
            np.fill_diagonal(C, variance)
        W = state["predict.weight"]
        covariance = W @ C @ W.T
        if "predict.bias_var" in state:
            covariance = covariance + np.diag(softplus(state["predict.bias_var"]))
        means.append(W @ mean + state.get("predict.bias", 0))
        covariances.append(covariance)
    return np.array(means), np.array(covariances)


FEATURES = np.random.default_rng(5).uniform(0, 1, (2, 5))

VARIANTS = {
    "as in its example": {},
    "without noise or bias": {"bn_bias_var": False, "predict_bias": False},
    "biases and their variances": {"ln_bias": True, "ln_bias_var": True, "predict_bias_var": True},
    "one in-degree": {"sparse_degree": 2, "record_bn_mean_var": True},
    "several in-degrees": {"sparse_degree": [3, 2]},
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_computes_what_its_formulas_compute(variant):
    options = VARIANTS[variant]
    state = checkpoint(**options)
    model = MomentMLP.from_moment_neural_network(state, with_options(**options))
    with torch.no_grad():
        found = model(torch.from_numpy(FEATURES))
        covariance = found.covariance.to_dense()
    # Exactly, but for the 1e-5 mV/√ms that it adds to each standard deviation.
    for std_eps, tolerance in ((0.0, 1e-8), (ITS_EPS, 1e-4)):
        mean_expected, covariance_expected = formulas(state, 0.4 * FEATURES, 1e-3, std_eps)
        np.testing.assert_allclose(found.mean, mean_expected, rtol=tolerance, atol=tolerance)
        np.testing.assert_allclose(covariance, covariance_expected, rtol=tolerance, atol=tolerance)


def test_neurons_follow_the_configuration():
    neuron = {"L": 0.1, "vol_th": 15.0, "vol_rest": 5.0, "t_ref": 2.0}
    model = MomentMLP.from_moment_neural_network(checkpoint(), CONFIG | {"MnnActivationConfig": neuron})
    assert model.lif == LIFParameters(tau_m=10.0, v_th=15.0, v_reset=5.0, t_ref=2.0)
    expected = formulas(checkpoint(), 0.4 * FEATURES, 1e-3, 0.0, L=0.1, v_th=15.0, v_reset=5.0, t_ref=2.0)[0]
    np.testing.assert_allclose(model(torch.from_numpy(FEATURES)).mean.detach(), expected, rtol=1e-8)


@pytest.mark.parametrize("part", [lambda c: c, lambda c: c["MODEL"], lambda c: c["MODEL"]["mnn_mlp"]])
def test_every_part_of_the_configuration_will_do(part):
    alone = {"correlations": "full"} if "structure" in part(CONFIG) else {}
    model = MomentMLP.from_moment_neural_network(checkpoint(), part(CONFIG), **alone)
    expected = 0.4 if "MODEL" in part(CONFIG) else 1.0
    assert model.encoder.max_rate == expected
    assert model.lif == LIFParameters()


def test_momentum_is_turned_round():
    model = MomentMLP.from_moment_neural_network(checkpoint(), with_options(momentum=0.7))
    norm = model.blocks[0].norm
    assert norm.momentum == pytest.approx(0.3)
    assert norm.eps == 1e-3
    # One step of training moves the running mean by 1 − 0.7 of the way, as it does there.
    before = norm.running_mean.clone()
    features = torch.from_numpy(FEATURES)
    currents = 0.4 * features @ model.blocks[0].linear.weight.T
    model.train()(features)
    torch.testing.assert_close(norm.running_mean, 0.7 * before + 0.3 * currents.mean(0))


def test_names_of_version_0_2_and_of_distributed_training():
    options = {"ln_bias": True, "ln_bias_var": True, "record_bn_mean_var": True}
    state = checkpoint(**options)
    newer = {
        name.replace("mlp.", "layers.")
        .replace("running_var", "running_variance")
        .replace("bias_var", "bias_variance"): v
        for name, v in state.items()
    }
    arguments = {
        "structure": [5, 4, 3], "num_classes": 2, "norm_bias_variance": True, "predict_bias": True,
        "linear_bias": True, "linear_bias_variance": True, "record_mean_variance": True, "eps": 1e-3,
    }  # fmt: skip
    x = torch.from_numpy(FEATURES)
    expected = MomentMLP.from_moment_neural_network(state, with_options(**options)["MODEL"])(x).mean
    read = MomentMLP.from_moment_neural_network
    assert torch.equal(read(newer, arguments, correlations="full")(x).mean, expected)
    wrapped = {"epoch": 3, "state_dict": {f"module.{name}": value for name, value in newer.items()}}
    assert torch.equal(read(wrapped, arguments, correlations="full")(x).mean, expected)


@pytest.mark.filterwarnings("ignore::mnnbio.theory.validity.FiniteWeightWarning")
@pytest.mark.filterwarnings("ignore::mnnbio.theory.validity.CorrelationWarning")
@pytest.mark.parametrize("variant", ["as in its example", "one in-degree"])
def test_what_was_read_can_be_saved_and_exported(variant, tmp_path):
    options = VARIANTS[variant]
    model = MomentMLP.from_moment_neural_network(checkpoint(**options), with_options(**options))
    save_model(model, tmp_path)
    x = torch.from_numpy(FEATURES)
    assert torch.equal(load_model(tmp_path)(x).mean, model(x).mean)
    prediction = predict(export(model, FEATURES))
    np.testing.assert_allclose(prediction["readout"], model(x).mean.detach(), rtol=1e-10)


def test_single_precision_stays_single():
    state = {name: value.float() for name, value in checkpoint().items()}
    assert MomentMLP.from_moment_neural_network(state, CONFIG).dtype == torch.float32


def changed(**changes):
    """The checkpoint with tensors replaced, added or (None) left out; dots written as two underscores."""
    state = checkpoint() | {name.replace("__", "."): value for name, value in changes.items()}
    return {name: value for name, value in state.items() if value is not None}


@pytest.mark.parametrize(
    ("state", "message"),
    [
        (changed(mlp__1__running_var=None), "do not fit the configuration; missing: mlp.1.running_var$"),
        (changed(mlp__1__num_batches_tracked=torch.tensor(3)), "unexpected: mlp.1.num_batches_tracked$"),
        (changed(predict__bias=None, extra=torch.ones(1)), "missing: predict.bias; unexpected: extra$"),
        (changed(mlp__3__weight=torch.ones(3, 5)), r"`mlp.3.weight` must have the shape \(3, 4\) .*, got \(3, 5\)"),
        ({"mlp.0.linear.weight": torch.ones(4, 5)}, r"another architecture: its layers are blocks \(`snn_mlp`"),
    ],
)
def test_state_dicts_that_do_not_fit(state, message):
    with pytest.raises(ValueError, match=message):
        MomentMLP.from_moment_neural_network(state, CONFIG)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"MODEL": {"meta": {"arch": "mnn_mlp", "mlp_type": "snn_mlp"}}}, "says `arch: mnn_mlp`, `mlp_type: snn_mlp`"),
        ({"lr": 0.1}, "must be of the architecture `arch: mnn_mlp` .* says `arch: None`"),
        ({"MODEL": {"meta": {"arch": "mnn_mlp", "mlp_type": "mnn_mlp"}}}, "must have the key `structure`"),
        (with_options(depth=3), "unknown options in the configuration of `mnn_mlp`: depth"),
        (with_options(num_class=None), "`num_class` must be a number, .* got None, True and False"),
        (with_options(use_cov=True), "`use_cov` false, got 2, True and True"),
        (
            CONFIG | {"input_prepare": "cov_embed"},
            r"`input_prepare` must be one of \[None, 'flatten_poisson'\] .* 'cov_",
        ),
        (CONFIG | {"background_noise": 0.1}, r"`background_noise` must be one of \[None, 0\] .* got 0.1"),
        (
            CONFIG | {"MnnActivationConfig": {"L": 0.1, "cut_off": 5}},
            "may set L, t_ref, vol_rest, vol_th .* got cut_off",
        ),
        (CONFIG | {"scale_factor": 0}, "`max_rate` must be > 0"),
    ],
)
def test_configurations_that_have_no_equal(config, message):
    with pytest.raises(ValueError, match=message):
        MomentMLP.from_moment_neural_network(checkpoint(), config)


ARGUMENTS = CONFIG["MODEL"]["mnn_mlp"]


def test_arguments_alone_do_not_tell_what_is_passed_on():
    with pytest.raises(
        ValueError, match=r"give correlations='full' \(of its MnnMlp\), 'variance' \(of its MnnMlpNoRho"
    ):
        MomentMLP.from_moment_neural_network(checkpoint(), ARGUMENTS)
    with pytest.raises(ValueError, match="give correlations='full'"):
        mlp_from_moment_neural_network(checkpoint(), {"MODEL": ARGUMENTS})
    with pytest.raises(ValueError, match=r"Invalid value 'no' for `correlations`. Must be one of \['full', 'none', "):
        MomentMLP.from_moment_neural_network(checkpoint(), ARGUMENTS, correlations="no")
    with pytest.raises(ValueError, match="correlations='none' has no noise"):
        MomentMLP.from_moment_neural_network(checkpoint(), ARGUMENTS, correlations="none")
    with pytest.raises(TypeError, match="`config` must be a mapping, got None"):
        MomentMLP.from_moment_neural_network(checkpoint(), None)
    with pytest.raises(TypeError, match=r"`state_dict` must be a mapping, got \[1\]"):
        MomentMLP.from_moment_neural_network([1], CONFIG)


@pytest.mark.parametrize("correlations", ["full", "variance"])
def test_variances_alone_are_passed_on_where_that_is_said(correlations):
    """Two layers by the formulas; without correlations a covariance is its diagonal after every layer."""
    state = checkpoint()
    model = mlp_from_moment_neural_network(state, ARGUMENTS, correlations=correlations)
    assert model.correlations == correlations
    found = model(torch.from_numpy(FEATURES)).mean.detach()
    if correlations == "full":
        expected, _ = formulas(state, FEATURES, 1e-3, 0.0)
    else:
        expected = np.array([without_correlations(state, mean) for mean in FEATURES])
    np.testing.assert_allclose(found, expected, rtol=1e-8, atol=1e-8)


def without_correlations(state, mean):
    """The mean output of a network that passes on means and variances."""
    state = {name: value.numpy() for name, value in state.items()}
    variance = np.abs(mean)
    for k in range(2):
        W, norm = state[f"mlp.{3 * k}.weight"], f"mlp.{3 * k + 1}"
        scale = state[f"{norm}.weight"] / np.sqrt(state[f"{norm}.running_var"] + 1e-3)
        current = (W @ mean - state[f"{norm}.running_mean"]) * scale + state[f"{norm}.bias"]
        noise = W**2 @ variance * scale**2 + softplus(state[f"{norm}.bias_var"])
        found = [activation(m, s) for m, s in zip(current, np.sqrt(noise), strict=True)]
        mean, variance, _ = np.array(found).T
    return state["predict.weight"] @ mean + state["predict.bias"]


def test_masks_must_have_the_in_degree():
    state = checkpoint(sparse_degree=2)
    state["mlp.0.sparse_mask"][1] = 1.0
    with pytest.raises(ValueError, match=r"`mlp.0.sparse_mask` must have 2 ones in every row, .* got 5 in row 1"):
        MomentMLP.from_moment_neural_network(state, with_options(sparse_degree=2))
