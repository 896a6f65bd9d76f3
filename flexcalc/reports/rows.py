"""Rows of the JSON files of a run folder, read so that a damaged one costs no more than itself."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np

from flexcalc.display.rows import Row, column, dicts, finite, listed, numbers
from flexcalc.reports.folder import RunFolder

__all__ = [
    "Row",
    "column",
    "dicts",
    "finite",
    "grouped",
    "largest",
    "listed",
    "numbers",
    "read",
    "word",
]


def word(row: Row, key: str) -> str:
    """A text of a row; nothing where it has none."""
    value = row.get(key)
    return "" if value is None or isinstance(value, dict | list) else str(value)


def read(
    run: RunFolder, name: str, words: Sequence[str] = (), figures: Sequence[str] = ()
) -> list[Row]:
    """The rows of a JSON file that have what is asked for; the others are complained about.

    Args:
        run: whose folder holds the file.
        name: of the file; a missing one has no rows.
        words: keys whose values must be texts.
        figures: keys whose values must be finite numbers.
    """
    content = run.json(name)
    rows = dicts(content)
    whole = [
        row
        for row in rows
        if all(word(row, key) for key in words)
        and all(math.isfinite(finite(row, key)) for key in figures)
    ]
    found = len(listed(content))
    lost = found - len(whole)
    if content is not None and not isinstance(content, list):
        run.problems.append(f"{name} is not a list of rows")
    elif lost:
        run.problems.append(
            f"{name}: {lost} of {found} rows lack {', '.join((*words, *figures))} and are left out"
        )
    return whole


def grouped(rows: Iterable[Row], *keys: str) -> dict[tuple[str, ...], list[Row]]:
    """Rows by the texts of some keys, in the order in which they come."""
    found: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        found.setdefault(tuple(word(row, key) for key in keys), []).append(row)
    return found


def largest(rows: Sequence[Row], key: str = "points") -> list[Row]:
    """Of each mechanism and model the rows with the largest value of a key."""
    found = []
    for group in grouped(rows, "mechanism", "model").values():
        values = column(group, key)
        top = np.nanmax(values) if np.isfinite(values).any() else math.nan
        found += [
            row
            for row, value in zip(group, values, strict=True)
            if not math.isfinite(top) or value == top
        ]
    return found
