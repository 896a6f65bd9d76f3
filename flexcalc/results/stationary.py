"""Minima and barriers of a learned model, compared with its reference."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from flexcalc.results.base import Figures, figure
from flexcalc.results.rows import Row

STATIONARY = "stationary.xyz"
"""The labelled minima and saddles, with the tags `kind` and `name`."""

HOLDS_KCAL_MOL = 0.3
"""Difference of a relative energy from the reference's, in kcal/mol, up to which it holds; at
300 K it changes a rate or a population by a factor of 1.65."""

ARTEFACT_KCAL_MOL_A = 10.0
"""Largest force of the reference on an atom, in kcal/mol/angstrom, beyond which a minimum of the
model is an artefact: other minima are not compared with it."""


@dataclass(frozen=True, kw_only=True)
class Compared(Row):
    """A stationary point of the model, compared with the reference there."""

    name: str
    """As in stationary.xyz."""
    energy_kcal_mol: float
    """Of the model; of a minimum above the lowest one that is no artefact, of a saddle above the
    lower one of its minima."""
    reference_kcal_mol: float | None
    """Of the reference, likewise, at the same geometries; None where it gave no label."""
    reference_force_kcal_mol_A: float | None
    """Largest force of the reference on an atom, which is zero where it has the same point."""

    @property
    def difference_kcal_mol(self) -> float | None:
        """Energy of the model minus the reference's; None without a label."""
        if self.reference_kcal_mol is None or math.isnan(self.reference_kcal_mol):
            return None
        return self.energy_kcal_mol - self.reference_kcal_mol

    @property
    def holds(self) -> bool | None:
        """Whether the difference is small; None without a label."""
        difference = self.difference_kcal_mol
        return None if difference is None else abs(difference) <= HOLDS_KCAL_MOL


@dataclass(frozen=True, kw_only=True)
class LearnedMinimum(Compared):
    """A minimum of the model."""

    stage: ClassVar[str] = "minima"
    needed: ClassVar[tuple[str, ...]] = ("name", "energy_kcal_mol")


@dataclass(frozen=True, kw_only=True)
class LearnedBarrier(Compared):
    """A saddle of the model, and the barrier that it is."""

    stage: ClassVar[str] = "barriers"
    needed: ClassVar[tuple[str, ...]] = (
        *("name", "start", "end", "energy_kcal_mol", "imaginary_frequency_cm"),
    )

    start: str
    """The lower one of the minima that it joins, or the mirror image of that."""
    end: str
    """The higher one; the same for a rearrangement into a mirror image or of identical atoms."""
    imaginary_frequency_cm: float
    """Absolute value of the imaginary frequency, in cm^-1."""


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class PointsChecked(Figures):
    """How many minima and barriers a model has, and how many the reference confirms."""

    minimum_count: int = figure("minima of the model")
    """Mirror images are counted once."""
    saddle_count: int = figure("saddles of the model")
    """Of first order, between these minima."""
    checks: int = figure("reference calculations for checks", default=0)
    """Of minima and saddles; part of the budget."""
    relaxations: int = figure("relaxations", default=0)
    """Labelled geometries that were relaxed on the model to find its minima."""
    broken_relaxations: int = figure("relaxations that failed", default=0)
    """Those that ended with other bonds than a start, or on whose way the model failed."""
    minima_compared: int = figure("minima compared")
    """With an energy of the reference, except the one to which the others are relative."""
    minima_that_hold: int = figure("minima that hold")
    """Those whose relative energy is within 0.3 kcal/mol of the reference."""
    largest_minimum_error_kcal_mol: float | None = figure(
        "largest error of a minimum", "kcal/mol", default=None
    )
    """In its relative energy."""
    barriers_compared: int = figure("barriers compared")
    """With a height of the reference."""
    barriers_that_hold: int = figure("barriers that hold")
    """Those whose height is within 0.3 kcal/mol of the reference."""
    largest_barrier_error_kcal_mol: float | None = figure(
        "largest error of a barrier", "kcal/mol", default=None
    )
    points_note: str | None = figure("minima and barriers", default=None)
    """Why there are none, or none that were compared."""

    def verdict(self) -> str:
        """What the reference says of minima and barriers."""
        words = [
            _verdict("barriers", self.barriers_compared, self.barriers_that_hold,
                     self.largest_barrier_error_kcal_mol),
            _verdict("minima", self.minima_compared, self.minima_that_hold,
                     self.largest_minimum_error_kcal_mol),
        ]  # fmt: skip
        if self.broken_relaxations:
            share = f"{self.broken_relaxations} of {self.relaxations} relaxations"
            words.append(f"{share} of labelled geometries ended with other bonds")
        return "; ".join(word for word in (*words, self.points_note or "") if word)


def points_checked(
    minima: Sequence[LearnedMinimum], barriers: Sequence[LearnedBarrier]
) -> PointsChecked:
    """The figures of minima, lowest first, and of the barriers between them."""
    above = [row for row in minima if row.energy_kcal_mol and row.holds is not None]
    heights = [row for row in barriers if row.holds is not None]
    return PointsChecked(
        minimum_count=len(minima),
        saddle_count=len(barriers),
        minima_compared=len(above),
        minima_that_hold=sum(bool(row.holds) for row in above),
        largest_minimum_error_kcal_mol=_largest(above),
        barriers_compared=len(heights),
        barriers_that_hold=sum(bool(row.holds) for row in heights),
        largest_barrier_error_kcal_mol=_largest(heights),
    )


def _largest(rows: Sequence[Compared]) -> float | None:
    return max((abs(row.difference_kcal_mol or 0.0) for row in rows), default=None)


def _verdict(what: str, compared: int, hold: int, largest: float | None) -> str:
    if largest is None:
        return ""
    if hold == compared:
        return f"{what} within {largest:.2f} kcal/mol of the reference ({compared} checked)"
    return (
        f"DO NOT TRUST ITS {what.upper()}: {compared - hold} of {compared} differ from the "
        f"reference by more than {HOLDS_KCAL_MOL:g} kcal/mol, up to {largest:.2f}"
    )
