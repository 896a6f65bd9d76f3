"""Whether energies and forces of a dataset belong together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from flexcalc.files.label_check import USUAL_SLOPE

FEWEST_TO_DIAGNOSE = 10
LEAST_CORRELATION = 0.95
"""Correlation of training energies that is still taken to be right; that of the sgdml package. Its
slope, right within 0.1, is not: models of few points reach 0.89 on sound labels, and no unit is
nearer to another one than `USUAL_SLOPE`."""

LEAST_SPREAD_EV = 1e-5
"""Standard deviation of energies below which they are one energy, with the rounding of a file."""

DEVIATIONS = 3.29
"""Standard errors that a slope must be off by: by chance it is in 1 of 1000 datasets."""

OUTLYING = 5.0
"""Robust standard deviations from the line beyond which a frame is an outlier."""

MOST_COMPARED = 500
"""Frames whose pairs are compared."""


@dataclass(frozen=True)
class Line:
    """Slope of energies on those that the forces give, with the ends of its interval.

    Args:
        slope: the median over all pairs of frames, which a fourth of the frames may be wrong about.
        low, high: 99.9 % confidence interval of the slope.
    """

    slope: float
    low: float
    high: float


def diagnosis(
    reference: np.ndarray,
    predicted: np.ndarray,
    coherent: Callable[[], bool] = lambda: False,
) -> str | None:
    """What is suspicious about the energies of training frames, as one line, or None.

    The forces alone determine the predicted energies up to a constant: where the two disagree,
    energies and forces do not belong together. Nothing is said of fewer than ten different frames,
    and of a slope only what its interval bears out.

    Args:
        reference: (frames,) energies of the labels, in eV.
        predicted: (frames,) energies of the model, with any offset.
        coherent: asks the labels themselves whether energies and forces belong together; then it
            is the model that is poor.
    """
    given = reference - np.median(reference), predicted - np.median(predicted)
    # Copies of one frame are one piece of evidence.
    rounded = np.round(np.stack(given, axis=1) / LEAST_SPREAD_EV)
    rows = np.sort(np.unique(rounded, axis=0, return_index=True)[1])
    reference, predicted = given[0][rows], given[1][rows]
    if len(rows) < FEWEST_TO_DIAGNOSE or min(reference.std(), predicted.std()) < LEAST_SPREAD_EV:
        return None
    line = median_line(reference, predicted)
    away = np.abs(_centred(reference - line.slope * predicted))
    fits = away <= OUTLYING * max(1.4826 * float(np.median(away)), LEAST_SPREAD_EV)
    correlation, among = _correlation(reference, predicted), 0.0
    if 2 * fits.sum() > len(fits):
        among = _correlation(reference[fits], predicted[fits])
    if line.high < 0 and not coherent():
        return (
            "the training energies fall where the forces say they rise "
            f"(slope {line.slope:.2f}): gradients seem to have been given as forces"
        )
    if max(correlation, among) < LEAST_CORRELATION:
        return (
            f"the training energies correlate by only {correlation:.2f} with those that the "
            "model of the forces gives: too few training points"
            + ("" if coherent() else ", or labels that do not belong together")
        )
    off = line.low > USUAL_SLOPE or line.high < 1 / USUAL_SLOPE
    if off and not coherent():
        return (
            f"the training energies vary {line.slope:.3g} times as much as the forces say: "
            "check that energies and forces are in eV and eV/angstrom"
        )
    if correlation < LEAST_CORRELATION:
        return (
            f"the energies of {(~fits).sum()} training points, such as number "
            f"{rows[np.argmax(away)]}, do not fit the forces (those of the others vary "
            f"{line.slope:.2g} times as much as the forces say): unphysical geometries, labels "
            "of other ones, or too few training points like them"
        )
    return None


def median_line(reference: np.ndarray, predicted: np.ndarray) -> Line:
    """The median slope over all pairs of frames, and its interval.

    Args:
        reference, predicted: (frames,) energies, in eV; not all predicted ones alike.

    Source: Sen, J. Am. Stat. Assoc. 63, 1379 (1968), doi:10.1080/01621459.1968.10480934: the
    interval is that of Kendall's rank correlation.
    """
    if len(reference) > MOST_COMPARED:
        some = np.linspace(0, len(reference) - 1, MOST_COMPARED).astype(int)
        reference, predicted = reference[some], predicted[some]
    i, j = np.triu_indices(len(reference), 1)
    rise, run = reference[j] - reference[i], predicted[j] - predicted[i]
    slopes = np.sort(rise[run != 0] / run[run != 0])
    count = len(reference)
    half = DEVIATIONS * np.sqrt(count * (count - 1) * (2 * count + 5) / 18)
    first = int(np.floor((len(slopes) - half) / 2))
    if first < 1:
        return Line(float(np.median(slopes)), -np.inf, np.inf)
    return Line(float(np.median(slopes)), float(slopes[first - 1]), float(slopes[-first]))


def _centred(values: np.ndarray) -> np.ndarray:
    return values - np.median(values)


def _correlation(one: np.ndarray, other: np.ndarray) -> float:
    if min(one.std(), other.std()) == 0:
        return 0.0
    return float(np.corrcoef(one, other)[0, 1])
