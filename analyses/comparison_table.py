"""Comparisons of a prediction with a simulation, which print the verdict and what it rests on in a dozen lines."""

from __future__ import annotations

import html
import textwrap

import numpy as np
import xarray as xr

from mnnbio.analyses import captions

_NAMES, _WIDTH = 12, 118  # columns of the names of rows, and of all


class Comparison(xr.Dataset):
    """A dataset of everything that `compare` found, printed as a verdict and some ten lines.

    `to_dataset` gives the plain dataset, which prints all its variables. A file holds the plain dataset.
    """

    __slots__ = ()

    def to_dataset(self) -> xr.Dataset:
        """Return the same variables as a plain dataset."""
        return xr.Dataset(self.data_vars, coords=self.coords, attrs=self.attrs)

    def __repr__(self) -> str:
        return summary(self) if _is_whole(self) else super().__repr__()

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(summary(self))}</pre>" if _is_whole(self) else super()._repr_html_()


def _is_whole(comparison: xr.Dataset) -> bool:
    """Return whether the rates and their summaries are all there: a selection of variables prints as a dataset."""
    needed = {"rate_r", "rate_z_rms", "rate_p", "rate_median_relative_error", "rate_predicted", "rate_simulated"}
    return needed <= set(comparison.data_vars) and "neuron" in comparison["rate_predicted"].dims


def summary(comparison: xr.Dataset) -> str:
    """Return what a comparison amounts to, as a dozen lines of text: the verdict first.

    Parameters
    ----------
    comparison : Dataset
        A comparison, as `compare` returns it.
    """
    rate = captions.prefix(comparison, "rate")
    rows = [
        ("verdict", str(comparison.attrs.get("verdict", ""))),
        ("prediction", _prediction(comparison)),
        ("simulation", _simulation(comparison)),
        ("neurons", _neurons(comparison)),
        ("rates", _rates(comparison, rate)),
        ("error", _error(comparison, rate)),
        ("z", _z(comparison, rate)),
        ("variances", _variances(comparison)),
        ("covariances", _covariances(comparison)),
        ("decisions", _decisions(comparison)),
        ("chance", _chance(comparison, rate)),
    ]
    return "\n".join(_row(name, text) for name, text in rows if text)


def _row(name: str, text: str) -> str:
    """Return a named row, its text wrapped beside the name."""
    beside = " " * _NAMES
    return textwrap.fill(
        text,
        _WIDTH,
        initial_indent=f"{name:<{_NAMES}}",
        subsequent_indent=beside,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _prediction(comparison: xr.Dataset) -> str:
    attrs = comparison.attrs
    known = [f"{attrs[name]}" for name in ("theory",) if name in attrs]
    known += [f"closure {attrs['closure']}"] if "closure" in attrs else []
    step = attrs.get("predicted_dt")
    if step is not None:
        known.append("continuous time" if isinstance(step, str) else f"dt {1e3 * step:g} ms")
    window = attrs.get("predicted_window")
    known.append("long windows" if window is None or isinstance(window, str) else f"window {1e3 * window:g} ms")
    return ", ".join(known)


def _simulation(comparison: xr.Dataset) -> str:
    attrs = comparison.attrs
    known = [f"{attrs['trials']} × {1e3 * attrs['duration']:g} ms"] if {"trials", "duration"} <= set(attrs) else []
    known += [f"{1e3 * attrs['warmup']:g} ms warm-up"] if "warmup" in attrs else []
    known += [f"dt {1e3 * attrs['dt']:g} ms"] if "dt" in attrs else []
    known += [f"window {1e3 * attrs['window']:g} ms"] if "window" in attrs else []
    known += [f"seed {attrs['seed']}"] if "seed" in attrs else []
    return ", ".join(known)


def _neurons(comparison: xr.Dataset) -> str:
    text = f"{comparison.sizes['neuron']}"
    if "layer" in comparison.coords:
        names = comparison["population"].to_numpy()
        layers = comparison["layer"].to_numpy().tolist()
        shown = ", ".join(f"{name} {int((names == name).sum())}" for name in layers[:6])
        text += f" ({shown}{', …' if len(layers) > 6 else ''})"
    if "stimulus" in comparison.sizes:
        text += f", {comparison.sizes['stimulus']} stimuli"
    return text


def _rates(comparison: xr.Dataset, key: str) -> str:
    means = (captions.number(comparison[f"{key}_{side}"].mean()) for side in ("predicted", "simulated"))
    text = "{} Hz predicted, {} Hz simulated".format(*means)
    return f"{text}; r = {captions.correlation(comparison[f'{key}_r'])}"


def _error(comparison: xr.Dataset, key: str) -> str:
    error, alone = (comparison[f"{key}_{name}"] for name in ("median_relative_error", "sampling_relative_error"))
    if not np.isfinite(error):
        return ""
    text = f"median {captions.percent(error)}"
    if np.isfinite(alone):
        text += f", where sampling alone would leave {captions.percent(alone)}"
    worst = captions.worst_layer(comparison, key)
    return text if worst is None else f"{text}; worst {worst}"


def _z(comparison: xr.Dataset, key: str) -> str:
    if not int(comparison[f"{key}_z_count"]):
        return ""
    rms, exact, mean = (captions.number(comparison[f"{key}_{name}"]) for name in ("z_rms", "z_rms_expected", "z_mean"))
    return f"r.m.s. {rms}, of an exact prediction {exact}; mean {mean}"


def _variances(comparison: xr.Dataset) -> str:
    if "count_variance_median_ratio" not in comparison:
        return ""
    key = captions.prefix(comparison, "count_variance")
    return f"simulated over predicted, median {captions.number(comparison[f'{key}_median_ratio'])}"


def _covariances(comparison: xr.Dataset) -> str:
    name = next((name for name in ("count_covariance", "covariance") if f"{name}_r" in comparison), None)
    if name is None or not np.isfinite(comparison[f"{name}_r"]):
        return ""
    text = f"of pairs, r = {captions.correlation(comparison[f'{name}_r'])}"
    ceiling = float(comparison[f"{name}_r_ceiling"])
    return f"{text}, of an exact prediction {ceiling:.2f}" if np.isfinite(ceiling) else text


def _decisions(comparison: xr.Dataset) -> str:
    if "agreement" not in comparison:
        return ""
    known = [f"agreement {captions.percent(comparison['agreement'], 3)}"]
    for side in ("moment", "spiking"):
        if f"{side}_accuracy" in comparison:
            known.append(f"{side} accuracy {captions.percent(comparison[f'{side}_accuracy'], 3)}")
    return ", ".join(known)


def _chance(comparison: xr.Dataset, key: str) -> str:
    p = float(comparison[f"{key}_p"])
    if not np.isfinite(p):
        return "too few samples or spikes to say whether the differences of rates are real"
    real = "are real" if p < captions.SIGNIFICANT else "are no larger than chance allows"
    return f"the differences of rates {real} ({captions.probability(p)})"
