"""Networks of spiking units as scikit-learn estimators of tables, trained as spikes by surrogate gradients."""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from sklearn.utils.validation import check_is_fitted, validate_data

from mnnbio.machine import check_choice
from mnnbio.training.encoding import Scaling
from mnnbio.training.estimators import INPUT_DTYPES, TableClassifier, TableEstimator, TableRegressor
from mnnbio.training.loop import Loss, Schedule
from mnnbio.training.spiking.encodings import InputEncoding, channel_encoder
from mnnbio.training.spiking.feedforward import SPIKE_READOUTS, SpikeReadout, SpikingTableNetwork
from mnnbio.training.spiking.graded import GradedTableNetwork, GradedUnit
from mnnbio.training.spiking.steps import SpikingNeuron
from mnnbio.training.spiking.table_network import TableNetwork, timing
from mnnbio.units import checked_counts, real_number, require, shown

Array = npt.NDArray[np.float64]
# Rows from which initial weights are scaled.
START_ROWS = 1000


class UnitStates(NamedTuple):
    """States of all units through time; T time steps of n stimuli.

    Attributes
    ----------
    voltages : ndarray, shape (T, n, N)
        Membrane potentials, mV; of graded units, their inner states.
    spikes : ndarray, shape (T, n, N)
        0 or 1; of graded units, the sizes of their outputs.
    populations : tuple of str
        The layer of each unit.
    dt : float
        Time step, ms.
    """

    voltages: Array
    spikes: Array
    populations: tuple[str, ...]
    dt: float


class SpikingEstimator(TableEstimator):
    """Base of `SpikingClassifier` and `SpikingRegressor`: their parameters and the training.

    Parameters
    ----------
    hidden : int or tuple of int
        Units in each hidden layer, one number for one layer.
    unit : "lif", "graded", SpikingNeuron or GradedUnit
        Leaky integrate-and-fire neurons, trained with surrogate gradients; or units whose outputs have sizes, as
        published by pynmsnn, which cannot be run as spikes.
    encoding : {"current", "flicker", "poisson", "latency"}
        How features become inputs in every time step: "current", constant, in standard deviations from the mean;
        "flicker", the same times uniform random numbers, new ones in every step (published); "poisson", spike trains
        of rates proportional to the features; "latency", one spike a feature, the earlier the larger it is. Spikes
        carry features that are never negative in the training data as they are, others by pairs of trains for values
        above and below the mean.
    scaling : {"feature", "global", "none"}
        Whether features are scaled one by one, all by one factor (pixels), or not.
    max_rate : float
        Poisson rate at full intensity, spikes/ms; at most one spike in a time step.
    duration, dt, settle : float or Quantity
        How long a stimulus is shown, the time step, and how long after the onset the readout begins, ms. With graded
        units only the number of steps has a meaning.
    readout : {"auto", "count", "membrane", "first_spike"}
        What the linear readout takes of each neuron: its spike count, the mean potential of a leaky integrator of its
        spikes, or how early its first spike comes. "auto": "count", of graded units "membrane", the summed inner
        states, the only one they have.
    head : int or tuple of int
        Graded units only: units of dense layers between the summed states and the outputs; published regressions have
        two.
    loss : {"auto", "cross_entropy", "mean_squared_error"}
        "auto": "cross_entropy" of classes, "mean_squared_error" of values.
    epochs, batch_size, learning_rate, schedule, weight_decay, label_smoothing : optional
        As in `TrainingOptions`.
    validation_fraction, patience : optional
        As in `TrainingOptions`.
    dtype : {"float32", "float64"}
        Precision of the training; the fitted network is float64 in any case.
    device : str
        Where to train, as torch names it; the fitted network is on the CPU.
    progress : bool
        Whether to show a progress bar.
    checkpoint_dir : path, optional
        Save the state there after every epoch, and continue from there if it holds a state of the same run; for
        that, `random_state` must be a number.
    random_state : int, RandomState or None
        Of initial weights, random numbers of the encoding, validation split and order.

    Attributes
    ----------
    model_ : SpikingTableNetwork or GradedTableNetwork
        The trained network, float64, in evaluation mode. It takes features as `fit` did.
    history_ : dict of str to list of float
        See `mnnbio.training.Training`.
    best_epoch_, n_iter_ : int
        The epoch whose weights were kept, and the number of epochs trained.
    n_features_in_ : int

    Notes
    -----
    Encodings that draw random numbers show all stimuli one draw when the network answers: the answer to a stimulus is
    the same whenever it is asked for, and whatever stands beside it. Training draws new numbers all the time.
    """

    model_: TableNetwork

    def __init__(
        self,
        hidden: int | tuple[int, ...] = (100,),
        *,
        unit: Literal["lif", "graded"] | SpikingNeuron | GradedUnit = "lif",
        encoding: InputEncoding = "current",
        scaling: Scaling = "feature",
        max_rate: float = 0.5,
        duration: Any = 100.0,
        dt: Any = 2.0,
        settle: Any = 0.0,
        readout: SpikeReadout | Literal["auto"] = "auto",
        head: int | tuple[int, ...] = (),
        loss: Loss | Literal["auto"] = "auto",
        epochs: int = 60,
        batch_size: int = 64,
        learning_rate: float = 0.01,
        schedule: Schedule = "one_cycle",
        weight_decay: float = 0.01,
        label_smoothing: float = 0.1,
        validation_fraction: float = 0.1,
        patience: int | None = 20,
        dtype: Literal["float32", "float64"] = "float32",
        device: str = "cpu",
        progress: bool = False,
        checkpoint_dir: str | PathLike[str] | None = None,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.hidden = hidden
        self.unit = unit
        self.encoding = encoding
        self.scaling = scaling
        self.max_rate = max_rate
        self.duration = duration
        self.dt = dt
        self.settle = settle
        self.readout = readout
        self.head = head
        self.loss = loss
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.schedule = schedule
        self.weight_decay = weight_decay
        self.label_smoothing = label_smoothing
        self.validation_fraction = validation_fraction
        self.patience = patience
        self.dtype = dtype
        self.device = device
        self.progress = progress
        self.checkpoint_dir = checkpoint_dir
        self.random_state = random_state

    def _start(
        self, x: npt.NDArray[np.floating], outputs: int, seed: int, dtype: torch.dtype, device: Any
    ) -> TableNetwork:
        """Return the network before training."""
        unit = self._unit()
        check_choice("readout", self.readout, sorted(["auto", *SPIKE_READOUTS]))
        rate = real_number(self.max_rate, "max_rate")
        step = timing(self.duration, self.dt, self.settle).dt
        require(0 < rate * step <= 1, "max_rate", f"> 0 and at most 1/dt = {1 / step:g} spikes/ms", rate)
        encoder = channel_encoder(x, self.encoding, self.scaling, rate)
        sizes = (encoder.out_features, *checked_counts(self.hidden, "hidden"), outputs)
        shown_for = {"encoding": self.encoding, "duration": self.duration, "dt": self.dt, "settle": self.settle}
        options: dict[str, Any] = {**shown_for, "seed": seed, "dtype": dtype}
        model: TableNetwork
        if isinstance(unit, GradedUnit):
            if self.readout not in ("auto", "membrane"):
                raise ValueError(f"graded units are read by their states, readout='membrane', got {self.readout!r}")
            model = GradedTableNetwork(sizes, encoder, unit=unit, head=self.head, **options)
        else:
            if checked_counts(self.head, "head"):
                raise ValueError(f"`head` is for graded units, spikes are read linearly: leave it out, got {self.head}")
            reads = "count" if self.readout == "auto" else self.readout
            model = SpikingTableNetwork(sizes, encoder, neuron=unit, readout=reads, **options)
        model = model.to(device=device, dtype=dtype)
        model.start_from(torch.tensor(x[:START_ROWS], dtype=dtype, device=device))
        return model

    def _unit(self) -> SpikingNeuron | GradedUnit:
        if isinstance(self.unit, SpikingNeuron | GradedUnit):
            return self.unit
        if not isinstance(self.unit, str):
            raise TypeError(f"`unit` must be 'lif', 'graded', a SpikingNeuron or a GradedUnit, got {shown(self.unit)}")
        check_choice("unit", self.unit, ["graded", "lif"])
        return SpikingNeuron() if self.unit == "lif" else GradedUnit()

    def encode(self, X: npt.ArrayLike) -> Array:
        """Return what the network receives in every time step, shape (T, n, channels), for features (n, features).

        Currents, or spikes (0 or 1).
        """
        return self.model_.inputs(self._features(X)).numpy()

    @torch.no_grad()
    def unit_states(self, X: npt.ArrayLike) -> UnitStates:
        """Return the states of all units through time for features (n, features).

        `mnnbio.analyses.unit_states` labels them, and `mnnbio.analyses.plot_unit_states` draws them.
        """
        layers = self.model_.run(self.model_.inputs(self._features(X)))
        names = ["hidden"] if len(layers) == 1 else [f"hidden_{k + 1}" for k in range(len(layers))]
        if isinstance(self.model_, GradedTableNetwork) and not self.model_.head:
            names[-1] = "output"
            names[:-1] = ["hidden"] if len(layers) == 2 else names[:-1]
        return UnitStates(
            torch.cat([layer.voltages for layer in layers], dim=-1).numpy(),
            torch.cat([layer.spikes for layer in layers], dim=-1).numpy(),
            tuple(name for name, layer in zip(names, layers, strict=True) for _ in range(layer.spikes.shape[-1])),
            self.model_.timing.dt,
        )

    @torch.no_grad()
    def outputs_of_spikes(self, spikes: npt.ArrayLike) -> Array:
        """Return the outputs of the trained readout for spikes of the last layer, such as simulated ones.

        Parameters
        ----------
        spikes : array_like, shape (T, n, N)
            0 or 1.

        Returns
        -------
        ndarray, shape (n, outputs)
            What `decision_function` and `predict` are made of.

        Raises
        ------
        ValueError
            If they have another shape, or the units are graded.
        """
        check_is_fitted(self)
        if not isinstance(self.model_, SpikingTableNetwork):
            raise ValueError("graded units have no spikes: their outputs come from their inner states")
        given = torch.as_tensor(np.asarray(spikes, dtype=np.float64))
        expected = (self.model_.timing.steps, self.model_.sizes[-2])
        if given.ndim != 3 or (given.shape[0], given.shape[2]) != expected:
            raise ValueError(
                f"`spikes` must have shape ({expected[0]}, stimuli, {expected[1]}), steps and neurons of the last "
                f"layer, got {tuple(given.shape)}"
            )
        return self.model_.outputs_of(given).numpy()

    def _features(self, X: npt.ArrayLike) -> torch.Tensor:
        check_is_fitted(self)
        x = torch.tensor(validate_data(self, X, reset=False, dtype=INPUT_DTYPES, order="C"), dtype=torch.float64)
        return self.model_.encoder.clipped(x, stacklevel=4)


class SpikingClassifier(TableClassifier, SpikingEstimator):
    """Classifier that trains a network of spiking units, directly as spikes.

    Parameters, and the attributes not listed here, are those of `SpikingEstimator`.

    Attributes
    ----------
    classes_ : ndarray, shape (classes,)
        Labels, in the order of the network's outputs.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> x, y = load_iris(return_X_y=True)
    >>> classifier = SpikingClassifier((20,), batch_size=16, random_state=0).fit(x, y)
    >>> bool(classifier.score(x, y) > 0.9)
    True
    """

    losses: ClassVar[Mapping[str, Loss]] = {
        "auto": "cross_entropy",
        "cross_entropy": "cross_entropy",
        "mean_squared_error": "mean_squared_error",
    }


class SpikingRegressor(TableRegressor, SpikingEstimator):
    """Regressor that trains a network of spiking units, directly as spikes.

    Targets are standardised for the training; the fitted network's outputs are in the units of the targets.
    Parameters and attributes are those of `SpikingEstimator`.

    Examples
    --------
    >>> x = np.linspace(0, 1, 200)[:, None]
    >>> regressor = SpikingRegressor((20,), epochs=30, random_state=0).fit(x, 3 * x[:, 0] + 1)
    >>> bool(regressor.score(x, 3 * x[:, 0] + 1) > 0.9)
    True
    """

    losses: ClassVar[Mapping[str, Loss]] = {
        "auto": "mean_squared_error",
        "mean_squared_error": "mean_squared_error",
    }
