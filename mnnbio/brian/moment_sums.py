"""Power sums of counts in windows, accumulated window after window."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from mnnbio.brian.recorded import WindowMoments

Int32 = npt.NDArray[np.int32]
Uint64 = npt.NDArray[np.uint64]

_FEWEST_STRETCHES = 16  # samples below which the standard error of a rate is itself too uncertain
_EXACT = 2.0**53  # integers below are exact in float64


def stretch_windows(n_windows: int, trials: int) -> int:
    """Return how many windows to join for the error of a rate (batch means).

    Counts of neighbouring windows are correlated, so the stretches are as long as leaves 16 of them in all trials.
    """
    wanted = min(max(-(-_FEWEST_STRETCHES // trials), 1), n_windows)
    return n_windows // wanted


class MomentSums:
    """Sums over windows of powers and products of counts, and counts of longer stretches of every presentation.

    Parameters
    ----------
    populations : mapping
        Sizes.
    n_stimuli, n_presentations : int
    shape : tuple of int
        Numbers of stimuli and of trials, or of presentations.
    window_steps, duration_steps : int
    trials : int
        Trials of every stimulus in the whole run.
    covariance : bool
        Whether to sum products of pairs.
    """

    def __init__(
        self,
        populations: Mapping[str, int],
        *,
        n_stimuli: int,
        n_presentations: int,
        shape: tuple[int, ...],
        window_steps: int,
        duration_steps: int,
        trials: int,
        covariance: bool,
    ) -> None:
        n = sum(populations.values())
        self.populations, self.shape, self.window_steps = dict(populations), shape, window_steps
        self.n_windows = duration_steps // window_steps
        self.stretch_windows = stretch_windows(self.n_windows, trials)
        whole = self.stretch_windows == self.n_windows  # the total is then all that is needed
        n_stretches = 0 if whole else self.n_windows // self.stretch_windows
        self.number = np.zeros(n_stimuli, np.int64)
        self.powers = np.zeros((n_stimuli, 4, n), np.uint64)
        self.products = np.zeros((n_stimuli, 3, n, n), np.uint64) if covariance else None
        self.total = np.zeros((n_presentations, n), np.int32)
        self.stretch = np.zeros((n_presentations, n_stretches, n), np.int32)

    def add(self, presentation: int, stimulus: int, first: int, counts: Int32) -> None:
        """Add the counts of windows `first`, `first` + 1, … of a presentation, (window, neuron).

        A window after the last complete one counts for the total only.
        """
        self.total[presentation] += counts.sum(axis=0, dtype=np.int32)
        counts = counts[: self.n_windows - first]
        stretch = (first + np.arange(len(counts))) // self.stretch_windows
        for number in np.unique(stretch):
            if number < self.stretch.shape[1]:
                self.stretch[presentation, number] += counts[stretch == number].sum(axis=0, dtype=np.int32)
        self.number[stimulus] += len(counts)
        power = c = counts.astype(np.uint64)
        for sums in self.powers[stimulus]:
            sums += power.sum(axis=0)
            power = power * c
        if self.products is not None and len(counts):
            _add_products(self.products[stimulus], counts)

    def result(self, dt: float) -> WindowMoments:
        """Return the sums; `dt` in ms."""
        return WindowMoments(
            populations=self.populations,
            window=self.window_steps * dt,
            number=self.number,
            powers=self.powers,
            products=self.products,
            total=self.total.reshape(*self.shape, -1),
            stretch=self.stretch.reshape(*self.shape, *self.stretch.shape[1:]),
            stretch_windows=self.stretch_windows,
        )


def _add_products(products: Uint64, counts: Int32) -> None:
    """Add sums of c_i c_j, c_i² c_j and c_i² c_j²: in float64, which is fast, as many windows at once as stay exact."""
    largest = float(max(counts.max(), 1)) ** 4
    if largest >= _EXACT:
        c = counts.astype(np.uint64)
        for sums, one, other in zip(products, (c, c * c, c * c), (c, c, c * c), strict=True):
            sums += one.T @ other
        return
    at_once = int(_EXACT / largest)
    for start in range(0, len(counts), at_once):
        x = counts[start : start + at_once].astype(np.float64)
        for sums, left, right in zip(products, (x, x**2, x**2), (x, x, x**2), strict=True):
            sums += (left.T @ right).astype(np.uint64)
