"""Report of a network that was trained on a task: one HTML file that needs nothing else, and the figures beside it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import xarray as xr

from mnnbio.analyses import captions, task_plots
from mnnbio.analyses.figure_style import Illustration, figure_of
from mnnbio.analyses.report_page import Page, write_page

_NEEDED = ("training", "test", "conditions", "examples")


def task_report(tree: xr.DataTree, path: str | os.PathLike[str], *, title: str | None = None) -> Path:
    """Write a self-contained HTML report of a network that was trained on a task.

    Parameters
    ----------
    tree : DataTree
        The result of ``mnnbio run modes-digits`` or ``modes-context``: ``/training``, ``/test``, ``/conditions``,
        ``/examples``, ``/spikes``, and of contextual integration ``/switch`` and ``/switch_examples``.
    path : path-like
        The HTML file, replaced as a whole once it is complete.
    title : str, optional
        Heading; by default of the task.

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
    return write_page(Path(path), task_page(tree, title=title))


def is_task(tree: xr.DataTree) -> bool:
    """Return whether a result is of a network that was trained on a task."""
    return all(name in tree.children for name in _NEEDED)


def task_page(tree: xr.DataTree, *, title: str | None = None, remarks: Sequence[str] = ()) -> Page:
    """Return the page of a network that was trained on a task; parameters and errors are those of `task_report`."""
    missing = [name for name in _NEEDED if name not in tree.children]
    if missing:
        raise ValueError(
            f"the result has no group {missing[0]!r}, which that of a trained network has: it must be one of "
            "mnnbio run modes-digits or modes-context"
        )
    attrs = tree.attrs
    heading = title or f"Spiking network of {attrs['modes'] or 'all'} modes: {attrs['task'].removeprefix('modes-')}"
    return Page(
        title=heading,
        findings=_findings(tree),
        notes=list(remarks),
        illustrations=list(_illustrations(tree)),
        provenance=_provenance(tree),
        key_figures=_key_figures(tree),
    )


def _key_figures(tree: xr.DataTree) -> dict[str, str]:
    test, attrs = tree["test"].attrs, tree.attrs
    known = {"accuracy": "Accuracy, test", "mse": "Squared error, test", "right": "Right decisions, test"}
    found = {label: f"{test[name]:.4f}" for name, label in known.items() if name in test}
    return {
        "Neurons": f"{attrs['neurons']}",
        "Modes": f"{attrs['modes'] or 'all'}",
        "Parameters": f"{attrs['parameters']}",
        **found,
        "Rate, simulated": f"{captions.number(test['rate'])} Hz",
    }


def _findings(tree: xr.DataTree) -> list[tuple[str, str]]:
    test = tree["test"].attrs
    number = tree["test"].sizes["trial"]
    if "accuracy" in test:
        text = f"{test['accuracy']:.4f} of {number} test images are decided right; a logistic regression on their "
        text += f"pixels decides {test['baseline']:.4f}."
        found = [("Accuracy", text)]
    else:
        text = f"Over whole trials {test['mse']:.4f}, in {number} trials; an output that is always 0 has "
        text += f"{float(_power(tree)):.2f}."
        found = [("Squared error", text), ("Decisions", f"{test['right']:.3f} are right.")]
        if "switch" in tree.children:
            other = tree["switch"].attrs
            text = f"{other['right']:.3f} of the decisions are right where the context changes after the stimulus, so "
            text += "that both stimuli must have been stored; chance is 0.5."
            found.append(("Change of context", text))
    rates = tree["test"]["rate"]
    active = float((rates > 0.1).mean())
    text = f"{test['rate']:.1f} Hz on average; {active:.0%} of the neurons fire above 0.1 Hz."
    return [*found, ("Firing rates", text)]


def _power(tree: xr.DataTree) -> float:
    """Return the mean square of the targets, the error of a silent network."""
    target = tree["examples"]["target"]
    return float((target**2).mean())


def _illustrations(tree: xr.DataTree) -> Iterator[Illustration]:
    """Yield every figure, with its caption."""
    test, conditions = tree["test"].to_dataset(), tree["conditions"].to_dataset()
    examples = tree["examples"].to_dataset()
    images = "accuracy" in test.attrs
    text = "Loss of every step of the training, and what evaluations on the way measured."
    yield Illustration("training", "Training", task_plots.plot_fitting(tree["training"].to_dataset()).figure, text)
    switch = tree["switch"].to_dataset() if "switch" in tree.children else None
    if images:
        text = "Share of right decisions if a presentation ended there; band: one standard error over images. "
        text += f"At the end it is {captions.number(test['score'][-1])}."
        name = "Accuracy in time"
    else:
        text = "Squared error, mean over trials; bands: one standard error. It is largest where the response begins"
        text += ", and where the context changes." if switch is not None else "."
        name = "Error in time"
    yield Illustration("score", name, figure_of(task_plots.plot_score_in_time(test, switch)), text)
    if images:
        text = "Images of each class (rows) by the class they are decided to be (columns), percent of the row."
        yield Illustration("confusion", "Decisions by class", figure_of(task_plots.plot_class_confusion(test)), text)
    spikes = tree["spikes"].to_dataset() if "spikes" in tree.children else None
    text = (
        "Trials, a column each. From the top: what was shown; spikes of all neurons; potentials of the three neurons "
    )
    text += "that fire most; activity of the modes, ξ_outᵀ r, of filtered spikes r; outputs"
    text += " as they would be read at that time, by class." if images else ", and target (dashed)."
    yield Illustration("examples", "Example trials", task_plots.plot_examples(examples, spikes).figure, text)
    if "switch_examples" in tree.children:
        text = "As above: trials in which the context changes after the stimulus."
        figure = task_plots.plot_examples(tree["switch_examples"].to_dataset()).figure
        yield Illustration("switch_examples", "Trials with a change of context", figure, text)
    if not images:
        text = "Output in time by context and right decision: mean and standard deviation over trials."
        yield Illustration("outputs", "Outputs", task_plots.plot_conditions(conditions).figure, text)
    if conditions.sizes["mode"]:
        what = "class" if images else "context and right decision"
        text = f"Activity of the modes in time by {what}: mean and standard deviation over trials."
        figure = task_plots.plot_conditions(conditions, "mode_activity").figure
        yield Illustration("modes", "Activity of the modes", figure, text)
        if conditions.sizes["mode"] > 1:
            text = f"Mean trajectories in the space of the modes by {what}; dots: where trials end."
            figure = task_plots.plot_trajectories(conditions).figure
            yield Illustration("trajectories", "Trajectories in mode space", figure, text)


def _provenance(tree: xr.DataTree) -> list[tuple[str, str]]:
    """Return how the numbers were made."""
    attrs = tree.attrs
    entries = [
        ("Data", str(attrs["data"])),
        ("Network", f"{attrs['neurons']} neurons, {attrs['modes'] or 'no'} modes, {attrs['parameters']} parameters"),
        ("Time step", f"{1e3 * attrs['dt']:g} ms"),
        ("Training", f"{attrs['training_steps']} steps of {attrs['batch_size']} trials in "
                     f"{attrs['training_seconds']:.0f} s, seed {attrs['seed']}"),
    ]  # fmt: skip
    versions = [f"{str(k).removesuffix('_version')} {v}" for k, v in attrs.items() if str(k).endswith("_version")]
    return [*entries, ("Versions", ", ".join(versions)), ("Options", str(attrs["options"]))]
