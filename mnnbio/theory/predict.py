"""Statistics of a circuit's spike trains, as the moment theory predicts them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import torch
import xarray as xr

from mnnbio.circuit import Circuit, Projection, require_circuit
from mnnbio.machine import check_choice, require_memory
from mnnbio.results import versions
from mnnbio.theory.fed_state import is_fed
from mnnbio.theory.inputs import is_white
from mnnbio.theory.labelled import Output, label_neurons, step_attributes
from mnnbio.theory.neuron_surrogates import neuron_prediction
from mnnbio.theory.population_surrogates import Surrogates
from mnnbio.theory.population_theory import population_prediction
from mnnbio.theory.propagation import CircuitMoments, Theory, propagate
from mnnbio.theory.recurrence import DENSE, recurrent_prediction
from mnnbio.theory.second_order import checked_surrogates, second_order_prediction
from mnnbio.theory.stationary import Closure, closure_name
from mnnbio.theory.validity import check_predictable, checked_step
from mnnbio.units import flag, in_unit

# Covariance blocks of this many numbers are held at a time: 0.2 GB in float64.
CHUNK = 25_000_000

Resolution = Literal["neuron", "population"]


def predict(
    circuit: Circuit,
    *,
    dt: Any = None,
    window: Any = None,
    closure: Closure | None = None,
    theory: Theory = "diffusion",
    covariance: bool = True,
    resolution: Resolution = "neuron",
    start: Any = None,
    unconverged: Literal["raise", "report"] = "raise",
    surrogates: Surrogates | None = None,
) -> xr.Dataset:
    """Return the statistics of a circuit's spike trains that the moment theory predicts.

    In a feed-forward circuit moments pass from layer to layer. In a recurrent one, or with synapses that filter,
    conduct or change, rates and variances are made self-consistent, with trains that count as independent; covariances
    follow by linear response (`mnnbio.theory.wired_response`).

    Leaky integrate-and-fire neurons answer by closed forms, `EIF`, `QIF`, `AdEx` and `ConductanceLIF` by those of
    `mnnbio.theory.answers`; synapses may be `Delta`, `Exponential`, `DoubleExponential`, `Conductance`, and change by
    `ShortTermPlasticity`. Other types register a theory of their own (``docs/extending.md``), or are refused; with
    ``closure="self_consistent", resolution="population"`` all neurons are simulated instead, with all synapses that add
    what arrives to a variable and do not change, once `mnnbio.validation` is imported.

    Parameters
    ----------
    circuit : Circuit
    dt : float or Quantity, optional
        Time step of the simulation to be predicted, ms. A threshold that is tested every `dt` is overshot, inputs come
        at most once per step, and jumps arrive at the end of a step: the prediction accounts for all three. By default,
        continuous time.
    window : float or Quantity, optional
        Counting window, ms. Adds the statistics of spike counts in the window, and makes the readout's covariance that
        of a decision over one window. By default, long-window statistics only.
    closure : {"moments", "poisson", "renewal", "self_consistent"} or callable, optional
        What drives the next neuron: the long-window count variance of the presynaptic trains, as moment networks are
        trained; their rate, as the membrane sees a train that is regular over longer times than its own; or, the most
        accurate for simulations, renewal trains with the spectrum between these two limits, whose spikes are jumps of
        their true size (delta synapses, resolution of neurons; some 10 ms per neuron in recurrent circuits). By default
        "moments" in continuous time, which is what a network computes, and "poisson" with a time step
        (``docs/closures.md``). With "self_consistent", neurons that are simulated in input of the spectrum that trains
        have in the circuit: the most accurate for variances and covariances of recurrent circuits and for slow
        synapses, at some ten seconds for a population (``docs/second_order.md``); it needs `dt`. A function of rate
        and long-window variance (1/ms) that returns the variance with which a train drives others is one, too.
    theory : {"diffusion", "first_passage"}
        Inputs as Gaussian white noise; or Poisson jumps of their true size in steps of `dt`, exact for neurons that
        receive Poisson and Gaussian input, at the cost of some 50 ms per neuron and stimulus, in feed-forward circuits
        with delta synapses. Spikes of other neurons count as such jumps under the closure "poisson", as noise under
        "moments".
    covariance : bool
        Whether to give covariances.
    resolution : {"neuron", "population"}
        Every neuron with its realised synapses; or averages over populations, from the rules of connectivity and
        without drawing any synapse, in a time that does not depend on the size of the circuit.
    start : float, array_like, Quantity or dict, optional
        Rates from which a recurrent circuit looks for its state, 1/ms: of all neurons, or by population. It decides
        which state is found where there are several (see `fixed_points`). By default silence.
    unconverged : {"raise", "report"}
        What to do where no self-consistent state is found: raise `NotConverged`, or return the best point found and
        say so in the attribute ``status``.
    surrogates : Surrogates, optional
        Options of the simulated neurons of closure="self_consistent".

    Returns
    -------
    Dataset
        `rate`, `variance`, `fano`, `mean_input`, `std_input` over ``([stimulus,] neuron)``; `covariance` over
        ``([stimulus,] neuron, neuron_j)``; with a window `count_variance`, `count_fano`, `count_covariance`; with a
        readout `readout` over ``([stimulus,] output)`` and `readout_covariance`. In Hz and seconds.

        Of recurrent circuits moreover `population_covariance` over ``(group, group_j)``, the covariance per time of the
        summed activity of populations, and the attributes `status`, `residual`, `iterations`, `spectral_radius` and
        `largest_real` (leading eigenvalues of gains times weights) and `stability` ("unstable" where the latter is
        ≥ 1), the worst of all stimuli. Above 5,000 neurons there is no `covariance`; if all weights are factored into
        modes, it is ``diag(covariance_diagonal) + F M Fᵀ`` with ``F = covariance_factor`` and ``M = covariance_core``.
        `mode_mean` and `mode_covariance` are those of ``output_modesᵀ · activity``, per time.

        With ``resolution="population"``: all but `covariance` and the readout over `population`, averages over its
        neurons; `population_covariance` and `pair_covariance`, the mean covariance of two different neurons, over
        ``([stimulus,] population, population_j)``.

        With ``closure="self_consistent"`` moreover `rate_se`, by population the standard errors of all statistics from
        the simulated neurons, and in a window `count_covariance` over ``([stimulus,] population, population_j)``, the
        mean of two different neurons; the attributes `input` (what the neurons received), `damping`, and
        `common_input_share`, `common_input_skewness` and `common_input_kurtosis`, the largest of all populations.
        Without `mean_input` and `std_input` for neurons that the engine simulates (`input` is then "synapses").

        In all, the attributes `dt` (s, or "continuous") and `dt_note` say which simulation is predicted; stimuli have
        the coordinate `stimulus`. `stability` is static: it covers the response of the rates to the mean input, without
        delays (`stability_covers`); `predict_oscillations` has these.

    Raises
    ------
    ValueError
        If an option is invalid, `dt` is one that `simulate` refuses, a weight or an input is too large for arithmetic,
        or covariances are wanted around an unstable state.
    NotConverged
        If no self-consistent state is found.
    NotEnoughMemory
        If synapses or covariances would not fit into memory.
    TypeError
        If there is no theory for a part of the circuit.

    Warns
    -----
    FiniteWeightWarning
        If single jumps of the membrane potential are too large for a diffusion.
    CorrelationWarning
        If currents are too correlated for the covariance of spike trains to follow linearly.
    LinearResponseWarning
        If a recurrent circuit is close to an instability.
    SlowSynapseWarning
        If synapses are slow against the membrane of neurons with a soft threshold, ``tau_syn/tau_m ≥ 0.1``: rates are
        off by up to 6 % at a ratio of 0.1 and 13 % at 0.5. Mean conductances shorten the membrane's time constant.
        Rates of leaky neurons are within 2 % at all ratios (``docs/theory.md``).
    AdaptationWarning
        If the adaptation that one spike brings is too large for its mean to stand for it.
    GridWarning
        If noise is too small for threshold integration.
    CollectiveActivityWarning
        With closure="self_consistent", if neurons share volleys that are too large for linear response.
    DisorderWarning
        With ``closure="self_consistent"``, if variances of input differ much among the neurons of a population.
    SamplingWarning
        With closure="self_consistent", if too few surrogate neurons were simulated for the accuracy asked for.

    References
    ----------
    Y. Qi et al. (2025), Learning and inference with correlated neural variability, PNAS Nexus 4(10), pgaf284, for the
    moments. D. R. Cox (1962), Renewal Theory, sec. 4.5, for counts in a window. N. Brunel (2000), J. Comput. Neurosci.
    8, 183, for self-consistent states.
    """
    require_circuit(circuit)
    covariance = flag(covariance, "covariance")
    if circuit.changes_in_time:
        raise ValueError(
            "the prediction is of a stationary state, got an input that changes in time. Try `circuit.at_time(...)` or "
            "`circuit.averaged()`"
        )
    closure = default_closure(closure, dt, ("moments", "poisson", "renewal", "self_consistent"))
    check_choice("theory", theory, ["diffusion", "first_passage"])
    check_choice("resolution", resolution, ["neuron", "population"])
    check_choice("unconverged", unconverged, ["raise", "report"])
    if surrogates is not None and closure != "self_consistent":
        raise ValueError(f"`surrogates` are for closure='self_consistent', got closure={closure_name(closure)!r}")
    fed = closure == "self_consistent" and is_fed(circuit, checked_surrogates(surrogates))
    if fed and resolution == "neuron":
        raise TypeError(
            "closure='self_consistent' is for LIFParameters with Delta and Exponential synapses at the resolution of "
            "neurons, and for all others at that of populations: give resolution='population'"
        )
    if not fed:
        any_neuron = theory == "diffusion" and closure not in ("renewal", "self_consistent")
        check_predictable(circuit, any_neuron=any_neuron)
    white = not fed and is_white(circuit)
    by_layers = resolution == "neuron" and not circuit.is_recurrent and white and closure != "self_consistent"
    if closure == "renewal" and (theory == "first_passage" or resolution == "population" or not white):
        raise ValueError(
            "closure='renewal' is for theory='diffusion' and for circuits with delta synapses at the resolution of "
            "neurons; use closure='poisson'"
        )
    if closure == "self_consistent" and theory == "first_passage":
        raise ValueError("closure='self_consistent' is for theory='diffusion': its neurons receive jumps of their size")
    if theory == "first_passage" and dt is None:
        raise ValueError("theory='first_passage' describes discrete time and needs `dt`")
    if theory == "first_passage" and not by_layers:
        raise ValueError(
            "theory='first_passage' is for feed-forward circuits with delta synapses at the resolution of neurons; "
            "use theory='diffusion'"
        )
    if resolution == "neuron":
        _check_memory(circuit, by_layers=by_layers, covariance=covariance)
    step = checked_step(circuit, dt, drawn=resolution == "neuron")
    span = None if window is None else _positive(window, "window")
    single = circuit.n_stimuli is None
    number = 1 if single else int(circuit.n_stimuli or 0)
    if by_layers:
        size = sum(p.size for p in circuit.populations)
        at_once = max(1, CHUNK // size**2)
        parts = []
        for first in range(0, number, at_once):
            chunk = circuit if single else circuit.select(slice(first, first + at_once))
            with torch.no_grad():
                moments = propagate(chunk, dt=step, closure=closure, theory=theory, covariance=covariance)
                parts.append(_by_layers(circuit, moments, span, covariance))
        result = parts[0] if len(parts) == 1 else xr.concat(parts, "stimulus")
        result = result.isel(stimulus=0) if single else result
    else:
        given = {"dt": step, "window": span, "covariance": covariance, "start": start, "unconverged": unconverged}
        solve: Callable[..., xr.Dataset]
        if closure == "self_consistent":
            solve = neuron_prediction if resolution == "neuron" else second_order_prediction
            given |= {"surrogates": surrogates}
        else:
            solve = recurrent_prediction if resolution == "neuron" else population_prediction
            given |= {"closure": closure}
        with torch.no_grad():
            parts = [solve(circuit if single else circuit.select(k), **given) for k in range(number)]
        result = parts[0] if single else _worst(xr.concat(parts, "stimulus", combine_attrs="drop"), parts)
    result = result if single else result.assign_coords(stimulus=np.arange(number))
    return result.assign_attrs(
        group="prediction",
        theory=theory,
        closure=closure_name(closure),
        **step_attributes(step),
        window="long" if span is None else span * 1e-3,
        circuit_hash=circuit.hash(),
        **versions(),
    )


def default_closure(
    closure: Closure | None, dt: Any, offered: tuple[str, ...] = ("moments", "poisson", "renewal")
) -> Closure:
    """Return the closure, by default that of networks in continuous time and that of simulations in steps."""
    if closure is None:
        return "moments" if dt is None else "poisson"
    if not callable(closure):
        check_choice("closure", closure, offered)
    return closure


def _check_memory(circuit: Circuit, *, by_layers: bool, covariance: bool) -> None:
    """Raise `NotEnoughMemory` before synapses are drawn or covariances computed that would not fit."""
    synapses = 12.0 * sum(_synapses(circuit, p) for p in circuit.projections if p.connectivity is not None)
    n, stimuli = circuit.n_neurons, circuit.n_stimuli or 1
    dense, what = 0.0, f"the synapses of {n} neurons"
    if by_layers:  # matrices are multiplied in full
        sizes = {p.name: p.size for p in circuit.populations}
        dense = 8.0 * sum(sizes[p.source] * sizes[p.target] for p in circuit.projections)
        what = f"the weights of {n} neurons as full matrices"
    if covariance and (by_layers or n <= DENSE):
        dense += 8.0 * n * n * (stimuli + 3)
        what += f" and covariances of {n} x {n} pairs" + (f" for {stimuli} stimuli" if stimuli > 1 else "")
    require_memory(
        synapses + dense,
        what,
        "Try covariance=False, fewer stimuli at once, or resolution='population', which draws none",
    )


def _synapses(circuit: Circuit, projection: Projection) -> float:
    """Return the expected number of synapses of a projection with a rule."""
    target, source = circuit.population(projection.target), circuit.population(projection.source)
    rule, autapses = projection.connectivity, projection.autapses or source is not target
    assert rule is not None
    return target.size * rule.mean_indegree(target.size, source.size, autapses=autapses)


def _positive(value: Any, name: str) -> float:
    number = in_unit(value, "ms", name)
    if not isinstance(number, float) or number <= 0:
        raise ValueError(f"`{name}` must be a single time > 0 ms, got {value}")
    return number


def _by_layers(circuit: Circuit, moments: CircuitMoments, window: float | None, covariance: bool) -> xr.Dataset:
    """Return the labelled results of one chunk of stimuli."""
    names = [p.name for p in circuit.neurons]
    stimuli = max(len(value) for output in moments.outputs.values() for value in output)
    joined = Output(
        *(
            torch.cat([getattr(moments.outputs[name], field).expand(stimuli, -1) for name in names], dim=-1)
            for field in Output._fields
        )
    )
    matrix = None
    if covariance:
        matrix = torch.zeros(stimuli, circuit.n_neurons, circuit.n_neurons, dtype=torch.float64)
        places = circuit.slices()
        for (row, column), block in moments.covariance.items():
            matrix[:, places[row], places[column]] = block
    return label_neurons(circuit, joined, matrix, window)


def _worst(result: xr.Dataset, parts: list[xr.Dataset]) -> xr.Dataset:
    """Return the result of many stimuli with the attributes of the least certain one."""
    worst = {name: max(part.attrs[name] for part in parts) for name in parts[0].attrs if name != "status"}
    found = all(part.attrs["status"] == "converged" for part in parts)
    return result.assign_attrs(status="converged" if found else "not converged", **worst)
