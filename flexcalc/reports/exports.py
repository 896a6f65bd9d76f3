"""What is taken away from a report: its plots as files for a paper, its tables as CSV."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from flexcalc.errors import InputError
from flexcalc.storage import atomic_write

FIGURES, TABLES = "figures", "tables"
"""Folders in a run folder."""

MOST_ROWS = 200_000
"""Rows of a table that is exported; of a longer one the run folder has the arrays."""

FORMATS = {"i": "%d", "u": "%d", "f": "%.12g"}
"""Formats of numbers by kind of array. Tables of numbers alone, which may be long, are written with
them in a quarter of the time that `csv` takes."""

Columns = Mapping[str, Sequence[Any] | np.ndarray]
"""Columns (rows,) of numbers and texts by their heads; None and not-a-number are empty cells."""


Figures = Mapping[str, Mapping[str, bytes]]
"""Figures by name, each as content by suffix (`Drawing.files`)."""


def write_figures(folder: Path, figures: Figures) -> None:
    """Write figures/NAME.svg and figures/NAME.pdf, in the size of a journal's column.

    Args:
        folder: of the run.
        figures: to be written.

    Raises:
        InputError: they cannot be written.
    """
    for name, files in figures.items():
        for suffix, content in files.items():
            _write(folder, FIGURES, f"{name}.{suffix}", content)


def write_tables(folder: Path, tables: Mapping[str, Columns]) -> None:
    """Write tables/NAME.csv.

    Args:
        folder: of the run.
        tables: by name; those with more than `MOST_ROWS` rows are left out.

    Raises:
        InputError: they cannot be written.
    """
    for name, columns in tables.items():
        if len(next(iter(columns.values()), ())) <= MOST_ROWS:
            _write(folder, TABLES, f"{name}.csv", csv_text(columns).encode())


def csv_text(columns: Columns) -> str:
    """Columns as CSV with a header; numbers have at least 12 digits."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    arrays = [np.asarray(column) for column in columns.values()]
    if all(array.dtype.kind in FORMATS and _complete(array) for array in arrays):
        line = ",".join(FORMATS[array.dtype.kind] for array in arrays) + "\n"
        rows = zip(*(array.tolist() for array in arrays), strict=True)
        text.writelines(map(line.__mod__, rows))
    else:
        writer.writerows(zip(*map(_cells, arrays), strict=True))
    return text.getvalue()


def columns_of(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """Columns of rows, which need not all have the same keys."""
    keys = dict.fromkeys(key for row in rows for key in row)
    return {key: [row.get(key) for row in rows] for key in keys}


def _complete(array: np.ndarray) -> bool:
    return array.dtype.kind != "O" and not (array.dtype.kind == "f" and np.isnan(array).any())


def _cells(array: np.ndarray) -> list[Any]:
    if _complete(array):
        return array.tolist()
    return [_cell(value) for value in array.tolist()]


def _cell(value: Any) -> Any:
    return "" if value is None or (isinstance(value, float) and math.isnan(value)) else value


def _write(folder: Path, part: str, name: str, content: bytes) -> None:
    place = folder / part
    if not place.resolve().is_relative_to(folder.resolve()):
        raise InputError(f"{place}: is a link that leads out of the folder; remove it")
    try:
        place.mkdir(exist_ok=True)
        atomic_write(place / name, content)
    except OSError as error:
        raise InputError(f"{place / name}: cannot be written: {error.strerror}") from None
