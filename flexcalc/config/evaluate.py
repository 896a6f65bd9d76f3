"""Options of `flexcalc evaluate`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from flexcalc.config.shared import LabelledFrames, MapsAtoms, OpensPotentials
from flexcalc.fields import Bins, Count, GeometryLike, Natural, PotentialLike


@dataclass(frozen=True, kw_only=True)
class Evaluate(LabelledFrames, MapsAtoms, OpensPotentials):
    """Measure the errors of potentials on a dataset, overall and by region."""

    positional: ClassVar[tuple[str, ...]] = ("*models", "dataset")
    usual: ClassVar[tuple[str, ...]] = ("by", "bins")
    changeable: ClassVar[tuple[str, ...]] = ()

    models: tuple[PotentialLike, ...]
    """Potentials to evaluate."""
    dataset: GeometryLike
    """Labelled test frames."""
    by: tuple[str, ...] = ()
    """Coordinates whose bins define the regions, such as "dihedral 4 6 7 12" (counted from 0), or
    tags of the frames, such as config_type, whose values do."""
    bins: Bins = 18
    """Number of bins per coordinate."""
    frames: Count | None = None
    """Maximum number of frames, drawn at random; all by default."""
    worst: Count = 10
    """Number of frames to write out, those with the largest errors."""
    seed: Natural = 0
    """Seed of the bootstrap and of the random choice of frames."""
