"""What a search has cost: geometries evaluated by the potential and by the reference."""

from __future__ import annotations

from collections.abc import Iterable
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
        counts = {word: getattr(self, phase) for phase, word in WORDS.items()}
        phases = ", ".join(f"{word} {count}" for word, count in counts.items() if count)
        line = f"{self.total} evaluations" + (f" ({phases})" if phases else "")
        return line + (f", {self.reference} of the reference" if self.reference else "")


WORDS = {
    "ends": "ends",
    "band": "path",
    "search": "saddle",
    "hessians": "Hessians",
    "descent": "descent",
    "labels": "single points",
}
"""The phases that add up to the total, and what they are called in one line."""

PHASES = tuple(WORDS)


def added(parts: Iterable[Evaluations | None]) -> Evaluations | None:
    """The sum of what several searches have cost; None where none is known."""
    known = [part for part in parts if part is not None]
    if not known:
        return None
    sums = {
        name: sum(getattr(part, name) or 0 for part in known) for name in (*PHASES, "reference")
    }
    total = sum(part.total or 0 for part in known)
    return Evaluations(total=total, **{name: count or None for name, count in sums.items()})
