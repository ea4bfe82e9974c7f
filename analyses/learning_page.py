"""Report of a network that has learned from spikes: one HTML file that needs nothing else, and its figures."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import xarray as xr

from mnnbio.analyses import learner_scores, learning_plots
from mnnbio.analyses.captions import number
from mnnbio.analyses.figure_style import Illustration, figure_of
from mnnbio.analyses.report_page import Page, write_page

_NEEDED = ("history", "target", "best_spikes", "naive_spikes", "scores", "weights")
_SHOWN = 1000.0  # ms of a raster


def learning_report(
    tree: xr.DataTree, path: str | os.PathLike[str], *, title: str | None = None, remarks: Sequence[str] = ()
) -> Path:
    """Write a self-contained HTML report of a network that has learned from spikes.

    Parameters
    ----------
    tree : DataTree
        The result of ``mnnbio run pspm``: ``/history``, ``/target``, ``/best_spikes``, ``/naive_spikes``, ``/scores``,
        ``/weights``, and where they are there ``/held_out`` and ``/moments``.
    path : path-like
        The HTML file, replaced as a whole once it is complete.
    title : str, optional
        Heading.
    remarks : sequence of str
        Sentences on what there is not, and why; shown at the head.

    Returns
    -------
    Path
        `path`.

    Raises
    ------
    ValueError
        If the result is of something else.
    FileError
        If the files cannot be written.
    """
    return write_page(Path(path), learning_page(tree, title=title, remarks=remarks))


def is_learning(tree: xr.DataTree) -> bool:
    """Return whether a result is of a network that has learned from spikes."""
    return all(name in tree.children for name in _NEEDED)


def learning_page(tree: xr.DataTree, *, title: str | None = None, remarks: Sequence[str] = ()) -> Page:
    """Return the page of a network that has learned from spikes; parameters and errors are as of `learning_report`."""
    missing = [name for name in _NEEDED if name not in tree.children]
    if missing:
        raise ValueError(
            f"the result has no group {missing[0]!r}, which that of a network that learned from spikes has: it must be "
            "one of mnnbio run pspm"
        )
    return Page(
        title=title or "Learning from spikes: do they determine the weights?",
        findings=_findings(tree),
        notes=[*remarks, *_notes(tree)],
        illustrations=list(_illustrations(tree)),
        provenance=_provenance(tree),
        key_figures=_key_figures(tree),
    )


def _key_figures(tree: xr.DataTree) -> dict[str, str]:
    target, weights = tree["target"].to_dataset(), tree["weights"].to_dataset()
    found = {
        "Neurons": f"{target.sizes['neuron']}",
        "Passes": f"{tree['history'].sizes['pass']}",
        "F, best pass": f"{_f(tree, 'best'):.3f}",
        "F, last pass": f"{_f(tree, 'last'):.3f}",
        "F, naive learner": f"{_f(tree, 'naive'):.3f}",
        "F by chance": f"{tree['scores'].attrs['chance']:.3f}",
        "ρ, recurrent over external input": f"{tree.attrs['reference_rho']:.2f}",
    }
    for sign in ("excitatory", "inhibitory"):
        found[f"r of weights, {sign}"] = number(weights["correlation"].sel(learner="best", sign=sign), 2)
    return found


def _f(tree: xr.DataTree, name: str, group: str = "scores") -> float:
    found = tree[group].to_dataset()["f_score"].sel(network=name)
    return float(found.mean())


def _findings(tree: xr.DataTree) -> list[tuple[str, str]]:
    scores = tree["scores"].to_dataset()
    window = 1e3 * tree.attrs["window"]
    passes = tree["history"].sizes["pass"]
    found = [
        (
            "Spikes",
            f"F = {_f(tree, 'best'):.3f} within ± {window:g} ms in the best of {passes} passes, {_f(tree, 'last'):.3f} "
            f"after the last. The naive learner has {_f(tree, 'naive'):.3f}, a network without recurrence "
            f"{_f(tree, 'without recurrence'):.3f}, shifted trains {scores.attrs['chance']:.3f}. True weights with "
            f"{scores.attrs['noise']:.0%} noise have {scores.attrs['nearly_true']:.3f} ± "
            f"{scores.attrs['nearly_true_sd']:.3f}: small differences grow in time.",
        ),
        (
            "Strength of recurrence",
            f"ρ = {tree.attrs['reference_rho']:.2f}: so much does the recurrent input move the membrane of the "
            "reference, relative to the external one. At small ρ any weights give most of the spikes.",
        ),
    ]
    weights = tree["weights"].to_dataset()
    r = {sign: float(weights["correlation"].sel(learner="best", sign=sign)) for sign in ("excitatory", "inhibitory")}
    text = f"Learned and true weights correlate by {number(r['excitatory'], 2)} (excitatory) and "
    text += f"{number(r['inhibitory'], 2)} (inhibitory). "
    text += _word(r)
    found.append(("Weights", text))
    if "held_out" in tree.children:
        n = tree["held_out"].sizes["current"]
        text = f"Under {n} other currents F = {_f(tree, 'best', 'held_out'):.3f}; the naive learner has "
        text += f"{_f(tree, 'naive', 'held_out'):.3f}."
        found.append(("Other currents", text))
    if "moments" in tree.children:
        moments = tree["moments"].to_dataset()
        learned, naive = (moments.sel(network=name) for name in ("best", "naive"))
        text = f"Predicted rates correlate with those of the reference by {number(learned['rate_r'], 2)} (naive "
        text += f"{number(naive['rate_r'], 2)}), covariances of pairs by {number(learned['covariance_r'], 2)} "
        text += f"({number(naive['covariance_r'], 2)})."
        found.append(("Moments", text))
    return found


def _word(r: dict[str, float]) -> str:
    """Return what correlations within the classes of weights say."""
    least = np.nanmin(list(r.values())) if np.isfinite(list(r.values())).any() else np.nan
    if not np.isfinite(least):
        return "Weights of one size have no correlation."
    if least >= 0.9:
        return "These spikes determine them."
    return "These spikes do not determine them." if least < 0.5 else "These spikes determine them in part."


def _notes(tree: xr.DataTree) -> list[str]:
    notes = []
    if tree.attrs["status"] in ("ran away", "infeasible", "stopped"):
        notes.append(f"{tree.attrs['status'].capitalize()}: {tree.attrs['message']}.")
    if _f(tree, "naive") > 0.5:
        notes.append(
            f"The naive learner already has F = {_f(tree, 'naive'):.2f}: recurrence is weak here (ρ = "
            f"{tree.attrs['reference_rho']:.2f}), and a high score says little."
        )
    return notes


def _illustrations(tree: xr.DataTree) -> Iterator[Illustration]:
    """Yield every figure, with its caption."""
    scores, weights = tree["scores"].to_dataset(), tree["weights"].to_dataset()
    window = 1e3 * tree.attrs["window"]
    target = tree["target"].to_dataset()
    length = 1e3 * float(target.attrs["duration"])
    levels = {"f_score": "chance", "f_score_low": "chance_low", "f_score_high": "chance_high"}
    shifted = xr.Dataset({name: scores.attrs[level] for name, level in levels.items()})
    history = tree["history"].to_dataset()
    if np.isfinite(history["F"]).any():  # a network that runs away at once has no scored pass
        text = (
            "F, precision and recall of every pass. Lines: level of chance, naive learner, and as ceiling true weights "
        )
        text += f"with {scores.attrs['noise']:.0%} noise. A learner that was fitted to these spikes may do better."
        drawn = learning_plots.plot_learning_history(
            history, chance=shifted, naive=_f(tree, "naive"), ceiling=scores.attrs["nearly_true"]
        )
        yield Illustration("history", "Learning", figure_of(drawn), text)
    text = "F of networks under the current that was learned, and under others; the band is of shifted trains."
    held = tree["held_out"].to_dataset() if "held_out" in tree.children else None
    yield Illustration("scores", "Scores", figure_of(learner_scores.plot_learner_scores(scores, held)), text)
    for group, name in (("best_spikes", "learned network"), ("naive_spikes", "naive learner")):
        own = tree[group].to_dataset()
        drawn = learning_plots.plot_spike_match(own, target, window, duration=min(length, _SHOWN))
        text = f"Spikes of the {name} beside those of the target: matched, missing and extra."
        yield Illustration(group, f"Spikes of the {name}", figure_of(drawn), text)
    true = weights["weight"].sel(network="true").values
    drawn = learning_plots.plot_weight_recovery(weights["weight"].sel(network="best").values, true, autapses=False)
    text = "Learned against true weights by the sign of the true ones; r is the correlation within a class."
    yield Illustration("weights", "Weights", figure_of(drawn), text)
    if "moments" in tree.children:
        drawn_panels = learner_scores.plot_shared_moments(tree["moments"].to_dataset())
        text = "Rates and covariances of spike counts that theory predicts for the learned and the naive network under "
        text += "white noise of the power of the currents, against those of the reference."
        yield Illustration("moments", "Moments", figure_of(drawn_panels), text)


def _provenance(tree: xr.DataTree) -> list[tuple[str, str]]:
    """Return how the numbers were made."""
    attrs = tree.attrs
    scores = tree["scores"].to_dataset()
    target = tree["target"].to_dataset()
    entries = [
        ("Rule", f"{attrs['rule']}, {tree['history'].sizes['pass']} passes, {attrs['status']}"),
        (
            "Target",
            f"{target.sizes['neuron']} neurons, {float(target.attrs['duration']):g} s, "
            f"{scores.attrs['target_rate']:.1f} Hz",
        ),
        ("Time step", f"{1e3 * attrs['dt']:g} ms"),
        ("Seed", str(attrs["seed"])),
    ]
    versions = [f"{str(k).removesuffix('_version')} {v}" for k, v in attrs.items() if str(k).endswith("_version")]
    return [*entries, ("Versions", ", ".join(versions)), ("Options", str(attrs["options"]))]
