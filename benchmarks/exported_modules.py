"""Modules of ten structures, trained on handwritten digits, against the spikes of their exported circuits.

Each is trained by a loop of its own, as a user would write it, exported without any tuning and simulated. Printed are
the largest difference between the module's outputs and ``predict(export(module, x))`` in continuous time (relative to
the largest output), the correlation of rates predicted for the simulation's time step with simulated ones in the first
hidden layer, and the accuracies of moments and spikes on test images::

    python benchmarks/exported_modules.py [--structures custom,skip] [--epochs 10] [--stimuli 200] [--trials 8]

Bars: 1e-10 in double precision, r ≥ 0.999, accuracies within 0.015.
"""

from __future__ import annotations

import argparse
import time
import warnings

import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler
from torch import nn

from mnnbio import LIFParameters, export, predict, simulate
from mnnbio.nn import (
    MomentActivation,
    MomentAvgPool2d,
    MomentBatchNorm1d,
    MomentBatchNorm2d,
    MomentBlock,
    MomentConv2d,
    MomentEnsemble,
    MomentLinear,
    PoissonEncoder,
    SkipConnection,
    SparseLinear,
    add,
    cross_entropy,
    join,
    tracked,
)
from mnnbio.training import MomentClassifier

D, LIF, WIDTH, CLASSES = torch.float64, LIFParameters(), 60, 10
DT, DURATION, WARM_UP = 0.1, 1000.0, 100.0


def block(n_in: int, n_out: int = WIDTH, linear: nn.Module | None = None) -> MomentBlock:
    """Return a layer of neurons."""
    layer = MomentLinear(n_in, n_out, dtype=D) if linear is None else linear
    return MomentBlock(layer, MomentBatchNorm1d(n_out, dtype=D), MomentActivation(LIF))


def head(n_in: int, n_out: int = CLASSES) -> MomentLinear:
    """Return a readout."""
    return MomentLinear(n_in, n_out, bias=True, weight_scale=20.0, dtype=D)


def image(channels: int, out: int) -> MomentBlock:
    """Return a convolution of neurons on 8 x 8 images."""
    convolution = MomentConv2d((channels, 8, 8), out, 3, dtype=D)
    return MomentBlock(convolution, MomentBatchNorm2d(convolution.out_image, dtype=D), MomentActivation(LIF))


class Custom(nn.Module):
    """Two layers, called one by one."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.first, self.second, self.out = (
            PoissonEncoder(64, dtype=D),
            block(64),
            block(WIDTH),
            head(WIDTH),
        )

    def forward(self, features):
        return self.out(self.second(self.first(self.encoder(features))))


class Skip(nn.Module):
    """A residual layer, and a readout of both its sum and a third layer."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.a, self.b, self.c = PoissonEncoder(64, dtype=D), block(64), block(WIDTH), block(WIDTH)
        self.out = head(2 * WIDTH)

    def forward(self, features):
        first = tracked(self.a(self.encoder(features)))
        total = add(first, self.b(first))
        return self.out(join(total, self.c(total)))


class TwoInputs(nn.Module):
    """Upper and lower half of the image."""

    def __init__(self) -> None:
        super().__init__()
        self.upper, self.lower = PoissonEncoder(32, dtype=D), PoissonEncoder(32, dtype=D)
        self.a, self.b, self.c, self.out = block(32), block(32), block(2 * WIDTH), head(WIDTH)

    def forward(self, upper, lower):
        halves = join(tracked(self.a(self.upper(upper))), tracked(self.b(self.lower(lower))))
        return self.out(self.c(halves))


class Branches(nn.Module):
    """A trunk, two branches, and a layer that joins them."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.trunk = PoissonEncoder(64, dtype=D), block(64)
        self.left, self.right, self.top, self.out = block(WIDTH, 30), block(WIDTH, 30), block(60), head(WIDTH)

    def forward(self, features):
        trunk = tracked(self.trunk(self.encoder(features)))
        return self.out(self.top(join(self.left(trunk), self.right(trunk))))


class Shared(nn.Module):
    """One layer used twice."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.inner, self.again, self.out = (
            PoissonEncoder(64, dtype=D),
            block(64),
            block(WIDTH),
            head(WIDTH),
        )

    def forward(self, features):
        return self.out(self.again(self.again(self.inner(self.encoder(features)))))


class TwoReadouts(nn.Module):
    """The digit, and whether it is odd."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.a, self.b = PoissonEncoder(64, dtype=D), block(64), block(WIDTH)
        self.digit, self.odd = head(2 * WIDTH), head(WIDTH, 2)

    def forward(self, features):
        first = tracked(self.a(self.encoder(features)))
        return {"readout": self.digit(join(first, self.b(first))), "odd": self.odd(first)}


def deep_sparse() -> nn.Module:
    """Three layers with 20 synapses a neuron."""
    layers = [block(n, WIDTH, SparseLinear(n, WIDTH, 20, dtype=D)) for n in (64, WIDTH, WIDTH)]
    return nn.Sequential(PoissonEncoder(64, dtype=D), *layers, head(WIDTH))


def convolution() -> nn.Module:
    """A convolution, another with a skip, pooling, a readout."""
    layers = (image(1, 4), SkipConnection(image(4, 4), "add"), MomentAvgPool2d((4, 8, 8), 2), head(64))
    return nn.Sequential(PoissonEncoder(64, dtype=D), *layers)


def ensemble() -> nn.Module:
    """Three networks that decide together."""
    return MomentEnsemble([Custom() for _ in range(3)])


STRUCTURES = {
    "custom": Custom,
    "skip": Skip,
    "two inputs": TwoInputs,
    "branch and join": Branches,
    "shared layer": Shared,
    "deep sparse": deep_sparse,
    "convolution with skip": convolution,
    "ensemble": ensemble,
    "pipeline": None,
    "two readouts": TwoReadouts,
}


def given(name: str, features: np.ndarray):
    """Return the inputs of a structure."""
    return (features[:, :32], features[:, 32:]) if name == "two inputs" else features


def outputs_of(name: str, module: nn.Module, features: np.ndarray):
    """Return the outputs of a module."""
    inputs = given(name, features)
    return module(*(torch.as_tensor(own) for own in (inputs if isinstance(inputs, tuple) else [inputs])))


def digits(outputs):
    """Return the output that names the digit."""
    return outputs["readout"] if isinstance(outputs, dict) else outputs


def train(name: str, module: nn.Module, x: np.ndarray, y: np.ndarray, epochs: int, batch: int = 64) -> nn.Module:
    """Train a module by a plain loop."""
    heads = [layer for layer in module.modules() if isinstance(layer, MomentLinear) and layer.bias is not None]
    of_heads = {id(layer.weight) for layer in heads}
    others = [own for own in module.parameters() if id(own) not in of_heads]
    groups = [{"params": [layer.weight for layer in heads], "lr": 0.2}, {"params": others, "lr": 0.01}]
    optimiser = torch.optim.AdamW(groups, weight_decay=0.0)
    steps = epochs * (len(x) // batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, [0.2, 0.01], total_steps=steps)
    order = torch.Generator().manual_seed(0)
    targets = torch.as_tensor(y)
    for _ in range(epochs):
        for rows in torch.randperm(len(x), generator=order)[: len(x) // batch * batch].reshape(-1, batch):
            outputs = outputs_of(name, module, x[rows.numpy()])
            loss = cross_entropy(digits(outputs), targets[rows], 0.1)
            if isinstance(outputs, dict):
                loss = loss + cross_entropy(outputs["odd"], targets[rows] % 2, 0.1)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
    return module.eval()


def main() -> None:
    """Train, export, simulate and print each structure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--structures", default=",".join(STRUCTURES))
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--stimuli", type=int, default=200)
    parser.add_argument("--trials", type=int, default=8)
    options = parser.parse_args()
    x, y = load_digits(return_X_y=True)
    x_train, x_test, y_train, y_test = train_test_split(x / 16, y, test_size=360, random_state=0, stratify=y)
    x_test, y_test = x_test[: options.stimuli], y_test[: options.stimuli]
    warnings.simplefilter("ignore")
    print("structure               difference  r (first layer)  moments   spikes   seconds")
    for name in options.structures.split(","):
        start = time.time()
        torch.manual_seed(0)
        if name == "pipeline":
            model = make_pipeline(
                MinMaxScaler(), MomentClassifier((WIDTH,), dtype="float64", random_state=0, epochs=20)
            )
            model.fit(x_train, y_train)
            with torch.no_grad():
                expected = model[-1].model_.eval()(torch.as_tensor(model[:-1].transform(x_test))).mean
            inputs = x_test
        else:
            model = train(name, STRUCTURES[name](), x_train, y_train, options.epochs)
            with torch.no_grad():
                expected = digits(outputs_of(name, model, x_test)).mean
            inputs = given(name, x_test)
        exact = predict(export(model, inputs), covariance=False)["readout"].to_numpy()
        difference = np.abs(exact - expected.numpy()).max() / np.abs(exact).max()
        circuit = export(model, inputs)
        predicted = predict(circuit, dt=DT, covariance=False)
        result = simulate(circuit, DURATION, trials=options.trials, warmup=WARM_UP, dt=DT, seed=1, covariance=False)[
            "simulation"
        ].to_dataset()
        first = (predicted["population"] == circuit.neurons[0].name).to_numpy()
        r = np.corrcoef(predicted["rate"].to_numpy()[:, first].ravel(), result["rate"].to_numpy()[:, first].ravel())[
            0, 1
        ]
        moments = (expected.numpy().argmax(1) == y_test).mean()
        spikes = (
            result["readout"].transpose("stimulus", "trial", "output").to_numpy().argmax(2) == y_test[:, None]
        ).mean()
        seconds = time.time() - start
        print(f"{name:22s}  {difference:10.1e}  {r:15.5f}  {moments:7.4f}  {spikes:7.4f}  {seconds:8.0f}", flush=True)


if __name__ == "__main__":
    main()
