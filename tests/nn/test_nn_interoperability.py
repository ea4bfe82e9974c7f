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
        ({"mlp.0.linear.weight": torch.ones(4, 5)}, r"missing: mlp.0.weight, .*; unexpected: mlp.0.linear.weight$"),
        (None, "`state_dict` must be a mapping, got None"),
    ],
)
def test_state_dicts_that_do_not_fit(state, message):
    with pytest.raises((ValueError, TypeError), match=message):
        MomentMLP.from_moment_neural_network(state, CONFIG)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"MODEL": {"meta": {"arch": "mnn_cnn", "mlp_type": "mlp"}}}, "says `arch: mnn_cnn`, `mlp_type: mlp`"),
        ({"lr": 0.1}, "must be of the architecture `arch: mnn_mlp`, .* says `arch: None`"),
        ({"MODEL": {"meta": {"arch": "mnn_mlp", "mlp_type": "mnn_mlp"}}}, "must have the key `structure`"),
        (with_options(depth=3), "unknown options in the configuration of `mnn_mlp`: depth"),
        (with_options(num_class=None, use_cov=True), "`use_cov` without a readout gives the statistics of the last"),
        (with_options(use_mean=False), "`use_mean` and `use_cov` are false: nothing is read"),
        (with_options(use_cov=True), r"`predict.weight` must have the shape \(2, 9\) .* got \(2, 3\)"),
        (
            CONFIG | {"input_prepare": "images"},
            r"`input_prepare` must be one of \[None, 'flatten_poisson', 'poisson_no_rho', 'cov_embed'\] .* 'images'",
        ),
        (CONFIG | {"background_noise": -0.1}, r"`background_noise` is a variance and must be ≥ 0, got -0.1"),
        (
            CONFIG | {"MnnActivationConfig": {"L": 0.1, "leak": 5}},
            "may set L, t_ref, vol_rest, vol_th .* got leak",
        ),
        (CONFIG | {"MnnActivationConfig": {"cut_off": 2}}, "`cut_off` must be ≥ 5 .* got 2: it would silence neurons"),
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


STATISTICS = {
    "covariance": {"use_mean": False, "use_cov": True},
    "mean_and_covariance": {"use_cov": True},
    "second_moments": {"use_cov": True, "signal_correlation": True},
}


@pytest.mark.parametrize("reads", STATISTICS)
@pytest.mark.parametrize("newer", [False, True], ids=["0.1", "0.2"])
def test_readouts_of_covariances(reads, newer):
    options = {**STATISTICS[reads], "predict_bias_var": True}  # which it leaves out there
    state, rng = checkpoint(), np.random.default_rng(3)
    hidden = MomentMLP.from_moment_neural_network(state, CONFIG).hidden(torch.from_numpy(FEATURES))[-1]
    mean, matrix = hidden.mean.detach().numpy(), hidden.covariance.to_dense().detach().numpy()
    if reads == "second_moments":
        matrix = matrix + mean[:, :, None] * mean[:, None, :]
    statistics = np.array([[C[i, j] for i in range(3) for j in range(i, 3)] for C in matrix])
    if reads == "mean_and_covariance":
        statistics = np.concatenate([mean, statistics], axis=1)
    weight = rng.normal(0, 10, (2, statistics.shape[1]))
    state["predict.weight"] = torch.from_numpy(weight)
    if newer:  # where the readout has two names
        state |= {f"decoder.{name}": state[f"predict.{name}"] for name in ("weight", "bias")}
        options["use_covariance"] = options.pop("use_cov")
    model = MomentMLP.from_moment_neural_network(state, with_options(**options))
    assert model.reads == reads
    expected = statistics @ weight.T + state["predict.bias"].numpy()
    np.testing.assert_allclose(model(torch.from_numpy(FEATURES)).mean.detach(), expected, rtol=1e-12)


def blocks_of(state, version, norm):
    """The tensors of the checkpoint by the names that blocks have, the readout made the last block."""
    rng, named = np.random.default_rng(9), {}
    layers = {"0.1": "mlp", "0.2": "layers"}[version]
    state = dict(state)
    for name in ("weight", "bias", "running_mean", "running_var", "bias_var"):
        state[f"mlp.7.{name}"] = torch.from_numpy(rng.uniform(0.5, 1.5, 2))
    state["mlp.6.weight"] = state.pop("predict.weight")
    for name, value in state.items():
        if name == "predict.bias":
            continue
        _, number, part = name.split(".")
        block, inner = divmod(int(number), 3)
        path = f"{layers}.{block}" if block < 2 else "predict"
        path += ".linear" if inner == 0 else {"0.1": ".bn", "0.2": ".norm"}[version]
        if inner and norm == "torch" and part != "bias_var":
            path += {"0.1": ".bn_mean", "0.2": ".batch_norm_mean"}[version]
        if version == "0.2":
            part = part.replace("bias_var", "bias_variance")
            part = part.replace("running_var", "running_variance") if norm == "custom" else part
        named[f"{path}.{part}"] = value
        if norm == "torch" and inner:
            named[f"{path.removesuffix('.bn')}.num_batches_tracked"] = torch.tensor(3)
    return named, state


@pytest.mark.filterwarnings("ignore::mnnbio.theory.validity.FiniteWeightWarning")
@pytest.mark.filterwarnings("ignore::mnnbio.theory.validity.CorrelationWarning")
@pytest.mark.parametrize(
    ("version", "norm"), [("0.1", "custom"), ("0.2", "custom"), ("0.1", "torch"), ("0.2", "torch")]
)
def test_networks_whose_outputs_are_trains(version, norm):
    state, layers = blocks_of(checkpoint(), version, norm)
    options = {"structure": [5, 4, 3], "num_class": 2, "bn_bias_var": True}
    options["norm_type"] = {"custom": {"0.1": "bn_custom", "0.2": "custom"}[version], "torch": "bn"}[norm]
    eps = 1e-5 if norm == "torch" else 1e-3
    options |= {} if norm == "torch" else {"eps": 1e-3}
    config = {"MODEL": {"meta": {"arch": "mnn_mlp", "mlp_type": "snn_mlp"}, "snn_mlp": options}, "scale_factor": 0.4}
    model = mlp_from_moment_neural_network(state, config)
    assert isinstance(model, torch.nn.Sequential)
    found = model(torch.from_numpy(FEATURES))
    for k, mean in enumerate(0.4 * FEATURES):
        C = np.diag(mean)
        for layer in range(3):
            mean, C = one_layer(layers, layer, mean, C, eps)
        np.testing.assert_allclose(found.mean[k].detach(), mean, rtol=1e-8)
        np.testing.assert_allclose(found.covariance.to_dense()[k].detach(), C, rtol=1e-8, atol=1e-12)
    prediction = predict(export(model, FEATURES))
    last = prediction["population"].to_numpy() == prediction["population"].to_numpy()[-1]
    np.testing.assert_allclose(1e-3 * prediction["rate"][:, last], found.mean.detach(), rtol=1e-10)
    with pytest.raises(
        ValueError, match=r"its outputs are the trains of its last neurons .* returns it as a Sequential"
    ):
        MomentMLP.from_moment_neural_network(state, config)
    alone = mlp_from_moment_neural_network(state, options, correlations="full")
    torch.testing.assert_close(alone(0.4 * torch.from_numpy(FEATURES)).mean, found.mean)


def one_layer(state, k, mean, C, eps):
    """Mean and covariance of the trains of a layer, by the formulas."""
    linear, norm = f"mlp.{3 * k}", f"mlp.{3 * k + 1}"
    W = state[f"{linear}.weight"].numpy()
    scale = state[f"{norm}.weight"].numpy() / np.sqrt(state[f"{norm}.running_var"].numpy() + eps)
    mean = (W @ mean - state[f"{norm}.running_mean"].numpy()) * scale + state[f"{norm}.bias"].numpy()
    C = np.outer(scale, scale) * (W @ C @ W.T) + np.diag(softplus(state[f"{norm}.bias_var"].numpy()))
    rate, variance, gain = np.array([activation(m, s) for m, s in zip(mean, np.sqrt(np.diag(C)), strict=True)]).T
    C = C * np.outer(gain, gain)
    np.fill_diagonal(C, variance)
    return rate, C


def test_sparse_blocks_without_parameters_of_the_normalisation():
    state, layers = blocks_of(checkpoint(sparse_degree=2, bn_bias_var=False), "0.1", "custom")
    state = {name: v for name, v in state.items() if not name.endswith(("bn.weight", "bn.bias", "bias_var"))}
    options = {"structure": [5, 4, 3], "num_class": 2, "sparse_degree": 2, "affine": False}
    model = mlp_from_moment_neural_network(state, options, correlations="full")
    first = model[1]
    expected = (layers["mlp.0.weight"] * layers["mlp.0.sparse_mask"]).numpy()
    np.testing.assert_array_equal(first.linear.weight.detach(), expected)
    np.testing.assert_array_equal(first.norm.weight.detach(), 1)
    with pytest.raises(ValueError, match="`use_cov` without a readout"):
        mlp_from_moment_neural_network(state, options | {"use_cov": True}, correlations="full")


def test_networks_without_readout():
    state = {name: value for name, value in checkpoint().items() if not name.startswith("predict")}
    found = mlp_from_moment_neural_network(state, with_options(num_class=None))(torch.from_numpy(FEATURES))
    hidden = MomentMLP.from_moment_neural_network(checkpoint(), CONFIG).hidden(torch.from_numpy(FEATURES))[-1]
    torch.testing.assert_close(found.mean, hidden.mean)


def test_networks_of_means_alone():
    """Neurons under constant currents, normalised by torch's own layer."""
    state = {name: v for name, v in checkpoint(bn_bias_var=False).items()}
    state |= {f"mlp.{k}.num_batches_tracked": torch.tensor(4) for k in (1, 4)}
    neuron = {"V_th": 15.0, "L": 0.1, "T_ref": 2.0}
    arguments = {"structure": [5, 4, 3], "num_class": 2, "eps": 1e-3, "momentum": 0.2, **neuron}
    model = MomentMLP.from_moment_neural_network(state, arguments, correlations="none")
    assert model.lif == LIFParameters(tau_m=10.0, v_th=15.0, t_ref=2.0)
    assert model.blocks[0].norm.momentum == pytest.approx(0.2)  # torch's, the weight of the newest batch
    for features, output in zip(FEATURES, model(torch.from_numpy(FEATURES)).mean.detach(), strict=True):
        mean = features
        for k in range(2):
            own = {name: state[f"mlp.{3 * k + 1}.{name}"].numpy() for name in ("weight", "bias", "running_mean")}
            scale = own["weight"] / np.sqrt(state[f"mlp.{3 * k + 1}.running_var"].numpy() + 1e-3)
            current = (state[f"mlp.{3 * k}.weight"].numpy() @ mean - own["running_mean"]) * scale + own["bias"]
            above = np.maximum(current, 1.5 + 1e-9)
            mean = np.where(current > 1.5, 1 / (2.0 - 10.0 * np.log(1 - 1.5 / above)), 0.0)
        expected = state["predict.weight"].numpy() @ mean + state["predict.bias"].numpy()
        np.testing.assert_allclose(output, expected, rtol=1e-10)
    newer = {"structure": [5, 4, 3], "num_classes": 2, "eps": 1e-3, "momentum": 0.2, "threshold_voltage": 15.0,
             "membrane_conductance": 0.1, "refractory_time": 2.0, "batch_norm_init": True}  # fmt: skip
    again = MomentMLP.from_moment_neural_network(state, newer, correlations="none")
    assert again.lif == model.lif


def test_a_kind_of_another_name_passes_on_variances():
    """As there, where every other name is that of `MnnMlpNoRho`."""
    meta = {"arch": "mnn_mlp", "mlp_type": "mnn_mlp_no_rho"}
    config = {"MODEL": {"meta": meta, "mnn_mlp_no_rho": ARGUMENTS}}
    assert MomentMLP.from_moment_neural_network(checkpoint(), config).correlations == "variance"


@pytest.mark.parametrize(
    ("how", "kind"),
    [("flatten_poisson", "poisson"), ("poisson_no_rho", "poisson"), ("cov_embed", "common_noise"), (None, "poisson")],
)
def test_inputs(how, kind):
    config = CONFIG | {"input_prepare": how, "background_noise": 0.09}
    encoder = MomentMLP.from_moment_neural_network(checkpoint(), config).encoder
    assert encoder.config()["kind"] == kind
    assert encoder.max_rate == 0.4
    # Without a covariance there is nothing to add noise to.
    assert encoder.noise_std == pytest.approx(0.3 if how else 0.0)


def test_attributes_of_the_activation_that_it_does_not_use():
    idle = {"eps": 1.0, "ratio": 0.3, "degree": 7, "special_factor": 2.0, "ignore_t_ref": False, "cut_off": 10.0}
    model = MomentMLP.from_moment_neural_network(checkpoint(), CONFIG | {"MnnActivationConfig": idle})
    assert model.lif == LIFParameters()


def test_training_goes_on_with_the_normalisation_that_it_had():
    model = MomentMLP.from_moment_neural_network(checkpoint(), CONFIG).train()
    norm, features = model.blocks[0].norm, torch.from_numpy(FEATURES)
    before = norm.running_var.clone()
    moments = model.blocks[0].linear(model.encoder(features))
    model(features)
    own = moments.mean.var(0) + moments.variance.mean(0)
    torch.testing.assert_close(norm.running_var, 0.9 * before + 0.1 * own.detach())


def test_masks_must_have_the_in_degree():
    state = checkpoint(sparse_degree=2)
    state["mlp.0.sparse_mask"][1] = 1.0
    with pytest.raises(ValueError, match=r"`mlp.0.sparse_mask` must have 2 ones in every row, .* got 5 in row 1"):
        MomentMLP.from_moment_neural_network(state, with_options(sparse_degree=2))
