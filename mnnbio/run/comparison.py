"""The third step of a run: predict both simulations and compare."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
import xarray as xr

from mnnbio.run.fingerprint import fingerprint, of_code
from mnnbio.run.session import Session
from mnnbio.run.store import DECISIONS, KEY, STATISTICS, key_of

if TYPE_CHECKING:
    from mnnbio.circuit import Circuit

Closure = Literal["auto", "moments", "poisson", "renewal"]
TrainedClosure = Literal["moments", "poisson"]
Theory = Literal["diffusion", "first_passage"]


class NotSimulatedError(ValueError):
    """A step needs a simulation and there is none."""


def compare(session: Session) -> None:
    """Compare theory and spikes of both simulations, as far as that is not done."""
    closure, theory = session.config.simulation.closure, session.config.simulation.theory
    parts = session.store.parts
    for name in (DECISIONS, STATISTICS):
        if name not in parts:
            raise NotSimulatedError(
                f"{session.folder} holds no simulation of the {name}; simulate first: mnnbio simulate {session.folder}"
            )
        part = parts[name]
        trained = session.config.model.closure
        options = (trained,) if name == DECISIONS else (closure, theory)
        key = fingerprint(key_of(part), of_code("mnnbio.predict", "mnnbio.analyses"), *options)
        if "comparison" in part.children and key_of(part.children["comparison"]) == key:
            session.reuse("compare", name)
            continue
        with session.step("compare", f"{name}: theory and spikes"):
            result = with_decisions(part, trained) if name == DECISIONS else with_statistics(part, closure, theory)
            result.children["comparison"].attrs[KEY] = key
            session.store.put(name, result)


def with_statistics(tree: xr.DataTree, closure: Closure, theory: Theory) -> xr.DataTree:
    """Return a simulation with its prediction, and the comparison of rates, variances and covariances."""
    from mnnbio.analyses import compare as compare_results
    from mnnbio.predict import predict

    dt, window = (1e3 * tree.attrs[name] for name in ("dt", "window"))  # s → ms
    chosen = None if closure == "auto" else closure
    prediction = predict(_circuit(tree), dt=dt, window=window, closure=chosen, theory=theory)
    return _with(tree, prediction, compare_results(prediction, tree))


def with_decisions(tree: xr.DataTree, closure: TrainedClosure) -> xr.DataTree:
    """Return a simulation with its prediction, and the scores of both networks on the targets of its stimuli.

    Parameters
    ----------
    tree : DataTree
        A simulation of a circuit with a readout, whose stimuli have a coordinate `target`.
    closure : {"moments", "poisson"}
        The one that the network was trained with.

    Returns
    -------
    DataTree
        With the groups ``/prediction`` and ``/comparison``: of classes, what `mnnbio.analyses.classification` gives; of
        values, `moment_r2` and `spiking_r2`.
    """
    from mnnbio.analyses import classification, stored_readout
    from mnnbio.predict import predict

    # The network as it was trained, in continuous time.
    prediction = predict(_circuit(tree), window=1e3 * tree.attrs["window"], closure=closure, covariance=False)
    simulation = tree.children["simulation"].to_dataset()
    target, readout = simulation["target"], stored_readout(tree)
    if readout is not None and readout.labels is not None:
        return _with(tree, prediction, classification(prediction, tree, labels=target))
    return _with(tree, prediction, _determination(prediction["readout"], simulation["readout"], target))


def _circuit(tree: xr.DataTree) -> Circuit:
    """Return the circuit that was simulated."""
    from mnnbio.circuit import Circuit

    return Circuit.from_json(str(tree["circuit"].item()))


def _with(tree: xr.DataTree, prediction: xr.Dataset, comparison: xr.Dataset) -> xr.DataTree:
    """Return a simulation with two groups added, their stimuli labelled as those of the simulation."""
    simulation = tree.children["simulation"].to_dataset()
    coords = {name: simulation[name] for name in ("sample", "target") if name in simulation.coords}
    result = tree.copy()
    result["prediction"] = xr.DataTree(prediction.assign_coords(coords))
    result["comparison"] = xr.DataTree(comparison.assign_coords(coords))
    return result


def _determination(moment: xr.DataArray, spiking: xr.DataArray, target: xr.DataArray) -> xr.Dataset:
    """Return R² of both networks; that of the spiking one is the mean over trials of the R² of each."""
    truth = target.to_numpy()[:, None]
    total = np.square(truth - truth.mean()).sum()

    def r2(outputs: xr.DataArray) -> float:
        return float(1 - np.square(outputs.transpose("stimulus", "output").to_numpy() - truth).sum() / total)

    trials = [r2(spiking.isel(trial=k)) for k in range(spiking.sizes["trial"])]
    found = {
        "moment_r2": (r2(moment), "R² of the moment network"),
        "spiking_r2": (float(np.mean(trials)), "R² of the spiking network, mean over trials"),
    }
    return xr.Dataset({name: ((), value, {"units": "1", "long_name": text}) for name, (value, text) in found.items()})
