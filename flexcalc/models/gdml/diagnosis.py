"""Whether energies and forces of a dataset belong together."""

from __future__ import annotations

import numpy as np

FEWEST_TO_DIAGNOSE = 10
LEAST_CORRELATION = 0.95
MOST_OFF_SCALE = 0.1
"""Correlation and slope of training energies that are still taken to be right; the figures are
those of the sgdml package."""


def diagnosis(reference: np.ndarray, predicted: np.ndarray) -> str | None:
    """What is suspicious about the energies of training frames, as one line, or None.

    The forces alone determine the predicted energies up to a constant: where the two disagree,
    energies and forces do not belong together.

    Args:
        reference: (frames,) energies of the labels, in eV.
        predicted: (frames,) energies of the model, with any offset.
    """
    reference, predicted = reference - reference.mean(), predicted - predicted.mean()
    norms = float(np.linalg.norm(reference)), float(np.linalg.norm(predicted))
    if len(reference) < FEWEST_TO_DIAGNOSE or min(norms) == 0.0:
        return None
    product = float(reference @ predicted)
    correlation, slope = product / (norms[0] * norms[1]), product / norms[1] ** 2
    if slope < 0:
        return (
            "the training energies fall where the forces say they rise "
            f"(correlation {correlation:.2f}): gradients seem to have been given as forces"
        )
    if correlation < LEAST_CORRELATION:
        return (
            f"the training energies correlate by only {correlation:.2f} with those that the "
            "forces give: too few training points, or labels that do not belong together"
        )
    if abs(slope - 1) > MOST_OFF_SCALE:
        return (
            f"the training energies vary {slope:.3g} times as much as the forces say: "
            "check that energies and forces are in eV and eV/angstrom"
        )
    return None
