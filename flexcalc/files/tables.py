"""Long tables of numbers, read in blocks, so that memory does not grow with the file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import BinaryIO

import numpy as np

from flexcalc.errors import FileFormatError
from flexcalc.storage import open_regular

BLOCK = 4 << 20
"""Bytes of text that are read at a time."""


Source = Path | str | BinaryIO
"""A file, or one that is open for reading."""


def blocks_of_lines(source: Source, size: int = BLOCK) -> Iterator[bytes]:
    """The complete lines of a file in blocks of some megabytes; an incomplete last line is
    skipped."""
    rest = b""
    opened = open_regular(source, None) if isinstance(source, Path | str) else nullcontext(source)
    with opened as stream:
        while piece := stream.read(size):
            piece = rest + piece
            end = piece.rfind(b"\n") + 1
            rest = piece[end:]
            if end:
                yield piece[:end]


def numbers_of(lines: list[str], columns: int, delimiter: str | None) -> np.ndarray:
    """Numbers (lines, columns) of lines of text; an empty cell is not-a-number.

    Args:
        lines: none of them empty.
        columns: that each line must have.
        delimiter: between the cells; None for white space.

    Raises:
        ValueError: a line has another number of columns.
    """
    try:
        found = np.loadtxt(lines, delimiter=delimiter, comments=None, ndmin=2)
    except ValueError:  # the slow parser accepts empty cells
        rows = [[float(cell or "nan") for cell in line.split(delimiter)] for line in lines]
        found = np.array(rows)
    if found.shape != (len(lines), columns):
        raise ValueError(f"expected {columns} numbers in each line")
    return found


def csv_bytes(columns: Mapping[str, np.ndarray]) -> bytes:
    """Columns (rows,) of numbers as CSV with a header; every digit is kept."""
    rows = zip(*(np.asarray(column).tolist() for column in columns.values()), strict=True)
    lines = [",".join(columns), *(",".join(map(repr, row)) for row in rows)]
    return ("\n".join(lines) + "\n").encode()


def csv_blocks(path: Source, size: int = BLOCK) -> Iterator[dict[str, np.ndarray]]:
    """Columns (rows,) of a CSV file with a header, some thousand rows at a time.

    Raises:
        FileFormatError: the file cannot be read, or has a row with another number of columns.
    """
    names: list[str] = []
    try:
        for block in blocks_of_lines(path, size):
            lines = block.decode(errors="replace").splitlines()
            if not names:
                names = [part.strip() for part in lines.pop(0).split(",")]
            lines = [line for line in lines if line]
            if lines:
                table = numbers_of(lines, len(names), ",")
                yield dict(zip(names, table.T, strict=True))
    except OSError as error:
        raise FileFormatError(f"{path}: cannot be read: {error.strerror}") from None
    except ValueError:
        raise FileFormatError(f"{path}: has a row that is not {len(names)} numbers") from None
