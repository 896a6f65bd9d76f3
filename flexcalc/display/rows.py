"""Rows of JSON tables, read so that a damaged one costs no more than itself."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

Row = Mapping[str, Any]


def listed(value: Any) -> list[Any]:
    """A list as it is; nothing of anything else."""
    return value if isinstance(value, list) else []


def dicts(value: Any) -> list[Row]:
    """The rows of a list; nothing of anything else."""
    return [one for one in listed(value) if isinstance(one, dict)]


def finite(row: Row, key: str) -> float:
    """A number of a row; not-a-number where it has none."""
    value = row.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return math.nan
    # An integer of JSON may be too long for a float.
    return float(value) if abs(value) < 1e300 else math.nan


def column(rows: Sequence[Row], key: str) -> np.ndarray:
    """A column (rows,) of numbers, not-a-number where a row has none."""
    return np.array([finite(row, key) for row in rows], dtype=float)


def numbers(value: Any) -> np.ndarray:
    """The numbers of a list (count,), not-a-number for what is none; (0,) of anything else."""
    return column([{"value": one} for one in listed(value)], "value")


def columns(rows: Sequence[Row], labels: Mapping[str, str]) -> dict[str, np.ndarray]:
    """Columns (rows,) that have numbers, by their labels.

    Args:
        rows: of the table.
        labels: key -> label.
    """
    found = {label: column(rows, key) for key, label in labels.items()}
    return {label: values for label, values in found.items() if np.isfinite(values).any()}
