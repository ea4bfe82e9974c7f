"""Verdicts in words: whether a prediction holds, where and by how much it differs, or how much data would tell.

The rule (docs/verdicts.md) for each aspect of each population (see `biases`), with a confidence of 95 %:

1. *holds* if two one-sided tests show that the relative error is smaller than the margin;
2. else *differs* if the error is not zero, with the p-values of all that was judged corrected after Holm;
3. else *cannot be told from these data*, and the data are stated that would show an exact prediction to hold.

The whole differs if any part does, holds if all parts do, and cannot be told otherwise.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

from mnnbio.analyses.biases import Bias, Biases
from mnnbio.analyses.captions import SPACE, number
from mnnbio.analyses.significance import holm

Status = Literal["holds", "differs", "undecided"]

_SUBJECTS = {
    "rate": "mean rates",
    "rate_deviation": "rates of single neurons",
    "count_variance": "count variances",
    "summed_variance": "variances of summed counts",
}
_SHOWN = 3  # populations that a sentence names
_MOST = 1e6


class Judgement(NamedTuple):
    """What is said of one aspect of one population."""

    aspect: str
    population: str | None
    bias: Bias
    margin: float
    status: Status
    p: float
    """Of an exact prediction, corrected for the number of judgements."""


class Verdict(NamedTuple):
    """What a comparison amounts to, in words, as a whole and for each population."""

    status: Status
    text: str
    judgements: list[Judgement]
    populations: dict[str, tuple[Status, str]]


class Effort(NamedTuple):
    """How much was simulated, for sentences on how much would do."""

    trials: int | None
    duration: float | None
    """Of a trial, s."""

    def times(self, factor: float) -> str:
        """Return how much data is so many times the data there are."""
        if not np.isfinite(factor) or factor > _MOST:
            return "more data than can be simulated"
        if self.trials is None or self.duration is None:
            return f"{_rounded(factor)} times the data"
        wanted = max(int(np.ceil(self.trials * factor)), self.trials + 1)
        own = "1 trial" if self.trials == 1 else f"{self.trials} trials"
        return f"{_rounded(wanted)} trials of {self.duration:g} s (here {own})"


def judge(
    biases: Biases,
    margins: Mapping[str, float],
    confidence: float,
    populations: Sequence[str],
    effort: Effort,
    *,
    reasons: Sequence[str] = (),
    notes: Sequence[str] = (),
) -> Verdict:
    """Return the verdict on a prediction.

    Parameters
    ----------
    biases : Biases
        Of all populations.
    margins : mapping
        Largest error of each aspect that is taken for agreement.
    confidence : float
        Of the tests and intervals.
    populations : sequence of str
        Names; where there are none, all neurons are judged together.
    effort : Effort
        How much was simulated.
    reasons : sequence of str
        Known causes of differences, each the end of a sentence that begins with "because".
    notes : sequence of str
        Sentences on what could not be judged.
    """
    made = judgements(biases, margins, confidence, populations)
    spoken = _text(made, confidence, effort, reasons, notes)
    of_populations: dict[str, tuple[Status, str]] = {}
    for name in populations:
        own = [one for one in made if one.population == name]
        of_populations[name] = (_status(own), _text(own, confidence, effort, reasons, (), subject=name))
    return Verdict(_status(made), spoken, made, of_populations)


def judgements(
    biases: Biases, margins: Mapping[str, float], confidence: float, populations: Sequence[str]
) -> list[Judgement]:
    """Return the judgement on every aspect of every population; silent ones predicted as silent are left out."""
    parts = [
        (aspect, name, of[name])
        for aspect, of in biases.values.items()
        for name in (populations or [None])
        if name in of
        and not np.isnan(of[name].predicted)
        and not (of[name].predicted == 0 and np.isnan(of[name].value))
    ]
    # A bias where nothing is predicted is infinite, and as real as spikes are.
    p = holm(np.array([0.0 if np.isinf(bias.value) else bias.p() for _, _, bias in parts]))
    return [
        Judgement(aspect, name, bias, margins[aspect], _judged(bias, margins[aspect], confidence, corrected), corrected)
        for (aspect, name, bias), corrected in zip(parts, p.tolist(), strict=True)
    ]


def _silent(bias: Bias) -> bool:
    """Return whether nothing was predicted, and nothing found."""
    return bias.predicted == 0 and bool(np.isnan(bias.value))


def _judged(bias: Bias, margin: float, confidence: float, p: float) -> Status:
    if bias.equivalence_p(margin) < 1 - confidence:
        return "holds"
    return "differs" if p < 1 - confidence else "undecided"


def _status(made: Sequence[Judgement]) -> Status:
    found = {one.status for one in made}
    if "differs" in found:
        return "differs"
    return "holds" if found == {"holds"} else "undecided"


def _text(
    made: Sequence[Judgement],
    confidence: float,
    effort: Effort,
    reasons: Sequence[str],
    notes: Sequence[str],
    subject: str | None = None,
) -> str:
    """Return the sentences, what differs first."""
    who = "The prediction" if subject is None else f"The prediction of {subject}"
    if not made:
        return " ".join([f"{who} cannot be judged: neither prediction nor simulation has spikes.", *notes])
    sentences = []
    differing = [one for one in made if one.status == "differs"]
    holding = [one for one in made if one.status == "holds"]
    open_ = [one for one in made if one.status == "undecided"]
    named = subject is None and any(one.population is not None for one in made)
    several = named and len({one.population for one in made}) > 1
    if differing:
        because = f", in part because {' and '.join(reasons)}" if reasons else ""
        parts = "; ".join(_differs(aspect, own, confidence, several) for aspect, own in _by_aspect(differing))
        sentences.append(f"{who} differs from the simulation{because}: {parts}.")
    if holding:
        parts = "; ".join(_holds(aspect, own, confidence, several, made) for aspect, own in _by_aspect(holding))
        start = "It holds in part" if differing else f"{who} holds{' as far as these data tell' if open_ else ''}"
        sentences.append(f"{start}: {parts}.")
    if open_:
        parts = "; ".join(_open(aspect, own, confidence, several, effort) for aspect, own in _by_aspect(open_))
        start = "It cannot be told from these data whether" if sentences else f"Whether {who[0].lower()}{who[1:]} holds"
        sentences.append(f"{start} {parts}." if sentences else f"{start} cannot be told from these data: {parts}.")
    return " ".join([*sentences, *notes])


def _by_aspect(made: Sequence[Judgement]) -> Iterator[tuple[str, list[Judgement]]]:
    for aspect in _SUBJECTS:
        own = [one for one in made if one.aspect == aspect]
        if own:
            yield aspect, sorted(own, key=lambda one: -abs(one.bias.value))


def _differs(aspect: str, own: list[Judgement], confidence: float, several: bool) -> str:
    """Return by how much an aspect differs, and where."""
    parts = [f"{error(one.bias, confidence)}{f' in {one.population}' if several else ''}" for one in own[:_SHOWN]]
    more = f" and in {len(own) - _SHOWN} more" if len(own) > _SHOWN else ""
    return f"{_SUBJECTS[aspect]} by {_listed(parts)}{more} (margin {_percent(own[0].margin)})"


def _holds(aspect: str, own: list[Judgement], confidence: float, several: bool, made: Sequence[Judgement]) -> str:
    """Return within what margin an aspect holds, and the largest error."""
    all_ = len(own) == sum(one.aspect == aspect for one in made)
    where = ""
    if several and not all_:
        where = f" of {_listed([str(one.population) for one in own[:_SHOWN]])}"
        where += f" and {len(own) - _SHOWN} more" if len(own) > _SHOWN else ""
    largest = f"{'at the most ' if several and len(own) > 1 else ''}{error(own[0].bias, confidence)}"
    return f"{_SUBJECTS[aspect]}{where} within {_percent(own[0].margin)} ({largest})"


def _open(aspect: str, own: list[Judgement], confidence: float, several: bool, effort: Effort) -> str:
    """Return what cannot be told of an aspect, and what data would do."""
    margin, level = own[0].margin, confidence
    where = f" of {_listed([str(one.population) for one in own[:_SHOWN]])}" if several else ""
    where += f" and {len(own) - _SHOWN} more" if len(own) > _SHOWN else ""
    text = f"{_SUBJECTS[aspect]}{where} are within {_percent(margin)}"
    known = [one for one in own if one.bias.known]
    if not known:
        return f"{text} (too few samples or spikes for a standard error; simulate more trials)"
    factor = max(one.bias.more_data(margin, level) for one in known)
    if factor <= 1:  # the data would do for an exact prediction: the error found is too near to the margin
        return f"{text} ({error(known[0].bias, confidence)}, too near to the margin)"
    return f"{text} ({error(known[0].bias, confidence)}): that would need {effort.times(factor)}"


def error(bias: Bias, confidence: float) -> str:
    """Return a relative error with the half-width of its interval, or with the interval of a root mean square."""
    if np.isinf(bias.value):
        return "spikes where none are predicted"
    low, high = bias.interval(confidence)
    if bias.squared:
        if not bias.known:
            return "of unknown error"
        if low == 0:
            return f"below {_percent(high)}"
        return f"{_percent(max(bias.value, 0.0))}, {_percent(low)} to {_percent(high)}"
    if not bias.known:
        return f"{_signed(100 * bias.value, 1)}{SPACE}% of unknown error"
    half = 100 * (high - low) / 2
    decimals = int(np.clip(-np.floor(np.log10(half)) + (half / 10 ** np.floor(np.log10(half)) < 2), 0, 6))
    return f"{_signed(100 * bias.value, decimals)} ± {half:.{decimals}f}{SPACE}%"


def _signed(value: float, decimals: int) -> str:
    return f"{value:+.{decimals}f}".replace("-", "−")


def _percent(share: float) -> str:
    text = number(100 * share, 2)
    return f"{text.rstrip('0').rstrip('.') if '.' in text else text}{SPACE}%"


def _rounded(value: float) -> str:
    """Return a number with two digits, without an exponent."""
    digits = 10 ** max(int(np.floor(np.log10(max(value, 1)))) - 1, 0)
    return f"{np.ceil(value / digits) * digits:,.0f}" if value >= 10 else f"{value:.2g}"


def _listed(parts: Sequence[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def verdict_attributes(verdict: Verdict, confidence: float, margins: Mapping[str, float], basis: str) -> dict[str, Any]:
    """Return the attributes of a comparison that its verdict stands in."""
    return {
        "verdict": verdict.text,
        "verdict_status": verdict.status,
        "confidence": confidence,
        "errors_from": basis,
        **{f"margin_{name}": value for name, value in margins.items()},
    }
