"""What readouts of covariances answer to the moments of an exported network, predicted or simulated."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from mnnbio.exporting.circuit_parts import HIDDEN
from mnnbio.nn import CovarianceReadout, MomentNetwork


def read_covariances(
    network: MomentNetwork | CovarianceReadout, result: Any, population: str | None = None
) -> torch.Tensor:
    """Return the outputs of a network that reads covariances, for those of an exported circuit.

    Parameters
    ----------
    network : MomentMLP or CovarianceReadout
        The network that was exported, or the readout of a module of a user's own.
    result : DataTree or Dataset
        As `simulate` or `predict` returned it for the exported circuit, with covariances: `count_covariance` over the
        length of its window where there is one, else the long-window `covariance`.
    population : str, optional
        The neurons that are read; by default those of the network's last layer.

    Returns
    -------
    Tensor, shape ([stimulus,] outputs)
        In the precision of the network.

    Raises
    ------
    ValueError
        If the result holds no covariances, or not of so many neurons of this name, or the network reads means.
    """
    readout = network.readout if isinstance(network, MomentNetwork) else network
    if not isinstance(readout, CovarianceReadout):
        raise ValueError(
            "`network` reads the means of its neurons, whose outputs are `readout` of the result; networks with "
            "reads='covariance' and the like are read here"
        )
    if population is None:
        if not isinstance(network, MomentNetwork):
            raise ValueError("give `population`, the name of the neurons that the readout reads")
        number = len(network.blocks)
        population = HIDDEN if number == 1 else f"{HIDDEN}_{number}"
    data = result["simulation"] if "simulation" in getattr(result, "children", ()) else result
    if "covariance" not in data and "count_covariance" not in data:
        raise ValueError("`result` holds no covariances: give covariance=True to `simulate` or `predict`")
    chosen = np.asarray(data["rate"]["population"]) == population
    if chosen.sum() != readout.in_features:
        raise ValueError(
            f"the readout reads {readout.in_features} neurons, `result` has {int(chosen.sum())} of {population!r}"
        )
    rate, matrix = np.asarray(data["rate"])[..., chosen], _covariances(data)[..., chosen, :][..., chosen]
    with torch.no_grad():
        per_ms = (torch.from_numpy(1e-3 * values).to(readout.weight) for values in (rate, matrix))
        return readout.outputs_of(*per_ms)


def _covariances(data: Any) -> np.ndarray[Any, Any]:
    """Return covariances per time, Hz."""
    if "count_covariance" in data:
        counts = data["count_covariance"]
        return np.asarray(counts) / counts.attrs["window"]
    return np.asarray(data["covariance"])
