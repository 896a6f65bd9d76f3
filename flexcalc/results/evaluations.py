"""What a search has cost: geometries evaluated by the potential and by the reference."""

from __future__ import annotations

from dataclasses import dataclass

from flexcalc.results.base import Figures, figure


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class Evaluations(Figures):
    """Geometries whose energy and forces were evaluated, in total and by phase."""

    total: int = figure("evaluations of the potential", key="evaluations")
    """Geometries evaluated by the potential."""
    ends: int | None = figure("to relax the ends", key="evaluations_ends", default=None)
    """Those to relax the ends of a path."""
    band: int | None = figure("for the path", key="evaluations_path", default=None)
    """Those of the search of the path, and of its images as they are kept."""
    search: int | None = figure("to the saddle", key="evaluations_search", default=None)
    """Those from the guess to the saddle."""
    hessians: int | None = figure("for Hessians", key="evaluations_hessians", default=None)
    """Those for Hessians of saddle and minima by finite differences."""
    descent: int | None = figure("for the descent", key="evaluations_descent", default=None)
    """Those of the descent from the saddle, and to relax its ends."""
    labels: int | None = figure("other single points", key="evaluations_labels", default=None)
    """Single points besides, such as those of the geometries that are kept."""
    reference: int | None = figure(
        "evaluations of the reference", key="evaluations_reference", default=None
    )
    """Geometries evaluated by the reference."""

    def summary(self) -> str:
        """The evaluations in a few words."""
        return told(self)


PHASES = ("ends", "band", "search", "hessians", "descent", "labels")
"""The fields of `Evaluations` that add up to its total."""

WORDS = ("ends", "path", "saddle", "Hessians", "descent", "single points")
"""What the phases are called in one line."""


def told(*parts: Evaluations | None) -> str:
    """The sum of the evaluations of the parts of a run in a few words; empty without any."""
    known = [part for part in parts if part is not None]
    if not known:
        return ""
    sums = [sum(getattr(part, phase) or 0 for part in known) for phase in PHASES]
    phases = [f"{word} {count}" for word, count in zip(WORDS, sums, strict=True) if count]
    line = f"{sum(part.total for part in known)} evaluations ({', '.join(phases)})"
    reference = sum(part.reference or 0 for part in known)
    return line + (f", {reference} of the reference" if reference else "")
