"""The result of a search of several paths."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from flexcalc.dataset import Dataset
from flexcalc.display import figures
from flexcalc.display.drawing import Drawing
from flexcalc.errors import InputError
from flexcalc.results.base import MoleculeResult, figure, frame_of_rows, part
from flexcalc.results.evaluations import Evaluations
from flexcalc.results.path import PATH, Path

PATHS = "paths.json"
START, END, ERROR = "start", "end", "error"
"""Keys of a row of paths.json besides those of a path."""


def path_name(number: int) -> str:
    """The part of a store that holds one of the paths, which count from 0."""
    return f"path-{number}"


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class Paths(MoleculeResult):
    """Several paths that were searched in one batch.

    `paths` has each as if it had been searched on its own; where a search has failed, it has None,
    and `errors` says why.
    """

    command: ClassVar[str] = "path"
    asked_by: ClassVar[str] = "starts"
    """The option with which `flexcalc.path` returns it."""
    headline: ClassVar[tuple[str, ...]] = (
        *("path_count", "converged_count", "failed_count", "total"),
    )

    path_count: int = figure("paths", key="paths")
    """Number of paths that were asked for."""
    converged_count: int = figure("converged paths", key="paths_converged")
    """Number of paths that converged, or were left for the saddle that joins their ends."""
    failed_count: int = figure("failed searches", key="paths_failed")
    """Number of searches that ended with an error."""
    evaluations: Evaluations | None = part(Evaluations)
    """Geometries that were evaluated for all paths and their saddles."""

    def summary(self) -> str:
        """The paths in one line."""
        line = f"{self.path_count} paths, {self.converged_count} converged"
        if self.failed_count:
            line += f", {self.failed_count} FAILED"
        heights = [one.barrier_kcal_mol for one in self.paths if one is not None]
        if heights:
            line += f": barriers {min(heights):.3f} to {max(heights):.3f} kcal/mol"
        return line if self.evaluations is None else f"{line}; {self.evaluations.summary()}"

    @property
    def rows(self) -> tuple[Mapping[str, Any], ...]:
        """A row for each path: its figures, or its `error`, and as `start` and `end` the numbers
        of its geometries among those that were given, counted from 0."""
        return tuple(self.store.get(PATHS) or ())

    @property
    def pairs(self) -> tuple[tuple[int, int], ...]:
        """Numbers of the first and the last geometry of each path, among the starts and the ends
        that were given, or among the starts where no ends were."""
        return tuple((row[START], row[END]) for row in self.rows)

    @property
    def paths(self) -> tuple[Path | None, ...]:
        """The paths, None for those whose search has failed."""
        return tuple(
            None if ERROR in row else Path.from_dict(row, self.store.within(path_name(number)))
            for number, row in enumerate(self.rows)
        )

    @property
    def errors(self) -> dict[int, str]:
        """The errors of the searches that have failed, by number of the path."""
        rows = enumerate(self.rows)
        return {number: row[ERROR] for number, row in rows if ERROR in row}

    def first_geometry(self) -> Dataset | None:
        """The first image of the first path that was found."""
        for number in range(self.path_count or 0):
            found = self.store.within(path_name(number)).first(PATH)
            if found is not None:
                return found
        return None

    def profiles(self) -> dict[str, np.ndarray]:
        """Energies (images,) in eV of the paths that were found, by name."""
        return {
            f"{number}: {start} to {end}": path.energies
            for number, ((start, end), path) in enumerate(zip(self.pairs, self.paths, strict=True))
            if path is not None
        }

    def drawing(self) -> Drawing | None:
        """The energy profiles of all paths; None where none was found."""
        profiles = self.profiles()
        return figures.energy_profiles(profiles) if profiles else None

    def to_frame(self) -> Any:
        """A pandas table with a row for each path."""
        return frame_of_rows(
            [{k: v for k, v in row.items() if not isinstance(v, list)} for row in self.rows]
        )

    def __getitem__(self, number: int) -> Path:
        """One of the paths.

        Raises:
            InputError: its search has failed.
        """
        found = self.paths[number]
        if found is None:
            raise InputError(f"path {number}: {self.errors[number]}")
        return found

    def __len__(self) -> int:
        return self.path_count
