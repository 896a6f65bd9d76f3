"""Rows of the JSON files of a run folder, read so that a damaged one costs no more than itself."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Protocol

import numpy as np

from flexcalc.display.rows import column, dicts, finite, listed, numbers
from flexcalc.reports.folder import RunFolder
from flexcalc.results.rows import Row

__all__ = ["column", "dicts", "finite", "floats", "grouped", "largest", "listed", "numbers", "read"]


def floats(values: Iterable[float | None]) -> np.ndarray:
    """Numbers as an array (count,), not-a-number for None."""
    return np.array([math.nan if value is None else value for value in values], dtype=float)


def read[R: Row](run: RunFolder, kind: type[R]) -> list[R]:
    """The rows of a stage's JSON file that have what is needed; a missing file has no rows.

    A line of `run.problems` says how many rows are left out.
    """
    name = f"{kind.stage}.json"
    content = run.json(name)
    rows = [kind.from_damaged(row) for row in dicts(content)]
    usable = [row for row in rows if row.is_usable]
    total = len(listed(content))
    lost = total - len(usable)
    if content is not None and not isinstance(content, list):
        run.problems.append(f"{name} is not a list of rows")
    elif lost:
        needed = ", ".join(kind.needed)
        run.problems.append(f"{name}: {lost} of {total} rows lack {needed} and are left out")
    return usable


def grouped[R, K](rows: Iterable[R], key: Callable[[R], K]) -> dict[K, list[R]]:
    """Rows by a key, in the order in which they come."""
    groups: dict[K, list[R]] = {}
    for row in rows:
        groups.setdefault(key(row), []).append(row)
    return groups


class OfModel(Protocol):
    """A row about a model that was trained on some points of a mechanism."""

    @property
    def mechanism(self) -> str: ...
    @property
    def model(self) -> str: ...
    @property
    def points(self) -> int: ...


def largest[R: OfModel](rows: Iterable[R]) -> list[R]:
    """Of each mechanism and model the rows with the most points; all where none has a number."""
    kept: list[R] = []
    for group in grouped(rows, lambda row: (row.mechanism, row.model)).values():
        points = floats(row.points for row in group)
        most = np.nanmax(points) if np.isfinite(points).any() else math.nan
        kept += [row for row in group if not math.isfinite(most) or row.points == most]
    return kept
