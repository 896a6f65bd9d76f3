"""Unit and sign slips, recognised by the slope of predicted on reference values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Self

import numpy as np

from flexcalc.units import BOHR, HARTREE, KCAL_MOL, KJ_MOL, MEV

TOLERANCE = 0.03
"""How far a slope may lie from a slip's factor, as a fraction of it; the nearest factor wins."""

MEANINGFUL = 0.9
"""Correlation from which on a slope is a matter of scale rather than of a poor model."""

RIGHT = 1.5
"""Factor up to which a slope is a matter of the model; 1/1.89, of bohr, is the nearest slip."""

# The slope seen when reference values in the first unit are taken for the second: the size of
# the first in the second. The same slip in the training labels gives one over it.
_ENERGY_SLIPS = {
    KCAL_MOL: "kcal/mol taken for eV",
    KJ_MOL: "kJ/mol taken for eV",
    HARTREE: "hartree taken for eV",
    KJ_MOL / KCAL_MOL: "kJ/mol taken for kcal/mol",
    HARTREE / KCAL_MOL: "hartree taken for kcal/mol",
    MEV: "meV taken for eV",
    0.5: "rydberg taken for hartree",
}
_FORCE_SLIPS = _ENERGY_SLIPS | {
    1 / BOHR: "forces per bohr taken for forces per angstrom",
    HARTREE / BOHR: "hartree/bohr taken for eV/angstrom",
    KCAL_MOL / BOHR: "kcal/mol/bohr taken for eV/angstrom",
    0.1: "forces per nanometre taken for forces per angstrom",
    0.1 * KJ_MOL: "kJ/mol/nm taken for eV/angstrom",
}


@dataclass(frozen=True)
class Regression:
    """Least-squares line of predicted on reference values.

    Args:
        slope: without unit; 1 is right.
        correlation: Pearson's, in [-1, 1].
    """

    slope: float
    correlation: float

    def to_dict(self, name: str) -> dict[str, float]:
        """Flat keys such as `energy_slope`."""
        return {f"{name}_{word}": value for word, value in vars(self).items()}

    @classmethod
    def from_dict(cls, keys: Mapping[str, Any], name: str) -> Self | None:
        """The line that `to_dict` gave such keys; None where there is none."""
        found = {item.name: keys.get(f"{name}_{item.name}") for item in fields(cls)}
        return None if None in found.values() else cls(**found)  # type: ignore[arg-type]


def regression(reference: np.ndarray, predicted: np.ndarray) -> Regression | None:
    """The line through pairs of values of any shape; None where either does not vary."""
    reference = reference.ravel() - reference.mean()
    predicted = predicted.ravel() - predicted.mean()
    norms = float(np.linalg.norm(reference)), float(np.linalg.norm(predicted))
    if min(norms) == 0:
        return None
    product = float(reference @ predicted)
    return Regression(product / norms[0] ** 2, product / (norms[0] * norms[1]))


def warning(line: Regression | None, quantity: str) -> str | None:
    """What is suspicious about a slope, as one line, or None.

    Args:
        line: regression of predicted on reference values.
        quantity: "energy" or "force".
    """
    if line is None:
        return None
    start = f"the slope of predicted on reference {quantity} is {line.slope:.4g}"
    if abs(line.correlation) < MEANINGFUL:
        if line.correlation < 0:
            return f"{start} with correlation {line.correlation:.2f}: {_sign(quantity)}"
        return None
    sign = f"{_sign(quantity)}, and " if line.slope < 0 else ""
    size = abs(line.slope)
    if 1 / RIGHT < size < RIGHT:
        return f"{start}: {_sign(quantity)}" if sign else None
    name = _name(size, _ENERGY_SLIPS if quantity == "energy" else _FORCE_SLIPS)
    if name is None:
        return f"{start} although the two correlate: {sign}one of them has another scale"
    return f"{start}: {sign}this smells of a unit slip: {name}"


def _sign(quantity: str) -> str:
    return "gradients taken for forces" if quantity == "force" else "the sign is reversed"


def _name(size: float, slips: dict[float, str]) -> str | None:
    """The slip whose factor, or one over it, is nearest to the size."""
    near = {abs(np.log(size / factor)): (name, "reference") for factor, name in slips.items()}
    near |= {abs(np.log(size * factor)): (name, "training") for factor, name in slips.items()}
    closest = min(near)
    if closest > TOLERANCE:
        return None
    name, where = near[closest]
    other = "training" if where == "reference" else "reference"
    return f"{name} in the {where} labels (or the reverse in the {other} labels)"
