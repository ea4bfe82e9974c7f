"""Sparsely connected excitatory and inhibitory neurons: Brunel (2000)."""

from __future__ import annotations

from typing import Any, Literal

from mnnbio.circuit import Circuit, FixedIndegree, PoissonDrive, Population, Projection
from mnnbio.circuits.downscaling import downscaled
from mnnbio.machine import check_choice
from mnnbio.neurons import LIFParameters
from mnnbio.units import in_unit

# Sec. 2 and the caption of Fig. 8.
N_E, N_I = 10_000, 2_500
C_E, C_I = 1_000, 250
TAU_E, V_TH, V_RESET, T_REF = 20.0, 20.0, 10.0, 2.0
# Model B, sec. 2: inhibitory neurons have a shorter membrane time constant.
TAU_I = 10.0


def brunel(
    g: float = 5.0,
    nu_ext_ratio: float = 2.0,
    model: Literal["A", "B"] = "A",
    scale: float = 1.0,
    seed: int = 0,
    *,
    weight: Any = 0.1,
    delay: Any = 1.5,
    g_inhibitory: float | None = None,
    weight_inhibitory: Any = None,
    nu_ext_ratio_inhibitory: float | None = None,
    indegree_scale: float | None = None,
) -> Circuit:
    r"""Return the sparsely connected network of Brunel (2000).

    10,000 excitatory (E) and 2,500 inhibitory neurons (I); each receives from 1,000 of E with weight J, from 250 of I
    with weight −gJ, and from 1,000 external Poisson neurons of rate :math:`\nu_{ext}` with weight J, where
    :math:`\nu_{thr} = \theta/(J C_E \tau)` is the external rate that alone brings the mean potential to threshold.

    In model A both kinds of neurons are alike. It is to reproduce Fig. 8:

    ===== === ============ ================================================= ====================
    panel g   nu_ext_ratio state                                             rate, theory (Hz)
    ===== === ============ ================================================= ====================
    A     3   2            synchronous regular                               327
    B     6   4            synchronous irregular, fast oscillation (180 Hz)  55.8
    C     5   2            asynchronous irregular                            37.95
    D     4.5 0.9          synchronous irregular, slow oscillation (22 Hz)   6.5
    ===== === ============ ================================================= ====================

    In model B (sec. 2) they differ: the membrane time constant of I is 10 ms, and weights, ratio g and external rate
    of I may be given on their own. Where they are not, they are those of E.

    Parameters
    ----------
    g : float
        Ratio of inhibitory to excitatory weights, onto E in model B.
    nu_ext_ratio : float
        External rate over the rate at threshold of E.
    model : {"A", "B"}
    scale : float
        Factor of the numbers of neurons; see `downscaled`.
    seed : int
        Seed of the connectivity.
    weight : float or Quantity
        J, mV.
    delay : float or Quantity
        Of all synapses, ms.
    g_inhibitory, weight_inhibitory, nu_ext_ratio_inhibitory : optional
        The same onto I, model B only. The external rate is over that at threshold of I.
    indegree_scale : float, optional
        Factor of the in-degrees; by default `scale`.

    References
    ----------
    N. Brunel (2000), Dynamics of sparsely connected networks of excitatory and inhibitory spiking neurons, J. Comput.
    Neurosci. 8, 183-208.
    """
    check_choice("model", model, ["A", "B"])
    own = {"g": g_inhibitory, "weight": weight_inhibitory, "nu_ext_ratio": nu_ext_ratio_inhibitory}
    if model == "A" and any(value is not None for value in own.values()):
        named = ", ".join(f"`{name}_inhibitory`" for name, value in own.items() if value is not None)
        raise ValueError(f"in model A both kinds of neurons are alike, got {named}; choose model 'B'")
    j = float(in_unit(weight, "mV", "weight"))
    onto = {
        "E": (TAU_E, j, g, nu_ext_ratio),
        "I": (
            TAU_I if model == "B" else TAU_E,
            j if own["weight"] is None else float(in_unit(weight_inhibitory, "mV", "weight_inhibitory")),
            g if g_inhibitory is None else g_inhibitory,
            nu_ext_ratio if nu_ext_ratio_inhibitory is None else nu_ext_ratio_inhibitory,
        ),
    }
    sizes = {"E": N_E, "I": N_I}
    populations, projections, drives = [], [], []
    for name, (tau_m, to_own, ratio, external) in onto.items():
        if to_own <= 0:
            raise ValueError(f"weights from E must be > 0 mV, got {to_own:g} onto {name}")
        if ratio < 0 or external < 0:
            raise ValueError(f"`g` and `nu_ext_ratio` must be ≥ 0, got {ratio:g} and {external:g} for {name}")
        lif = LIFParameters(tau_m=tau_m, v_th=V_TH, v_reset=V_RESET, t_ref=T_REF)
        populations.append(Population(name, sizes[name], lif))
        projections += [
            Projection("E", name, weight=to_own, connectivity=FixedIndegree(C_E), delay=delay),
            Projection("I", name, weight=-ratio * to_own, connectivity=FixedIndegree(C_I), delay=delay),
        ]
        # C_E trains of rate ν_ext = ratio · θ/(J C_E τ) each: together ratio · θ/(J τ).
        drives.append(PoissonDrive(name, rate=external * V_TH / (to_own * tau_m), weight=to_own))
    return downscaled(Circuit(populations, projections, drives, seed=seed), scale, indegree_scale)
