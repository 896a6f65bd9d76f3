"""HILLS and COLVAR in PLUMED's format and its units: nm, radians, kJ/mol and ps.

A hill's height is stored as PLUMED does for well-tempered runs, times gamma/(gamma - 1), so that
the sum of the hills in the file is minus the free energy; the column `biasf` holds gamma, or -1
for plain metadynamics. With several walkers, the column `clock`, where PLUMED puts the time of
day and which it does not read, holds the walker.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from flexcalc.errors import FileFormatError
from flexcalc.files.tables import Source, blocks_of_lines, numbers_of
from flexcalc.geometry import Coordinate
from flexcalc.units import KJ_MOL

UNITS = {"A": 0.1, "degrees": math.pi / 180, "": 1.0}
"""PLUMED's unit in terms of a coordinate's own."""
PS = 1e-3
"""1 fs in ps."""
PLAIN = -1.0


@dataclass(frozen=True, eq=False)
class HillList:
    """Hills in the order in which they were added.

    Args:
        time_fs: (hills,).
        centres, sigmas: (hills, d) in the coordinates' units.
        heights: (hills,) in eV, as they were added to the bias.
        walker: (hills,) which walker left each.
        bias_factor: of well-tempered metadynamics; None for plain.
    """

    time_fs: np.ndarray
    centres: np.ndarray
    sigmas: np.ndarray
    heights: np.ndarray
    walker: np.ndarray
    bias_factor: float | None

    def __len__(self) -> int:
        return len(self.time_fs)


def hills_head(coordinates: Sequence[Coordinate], walkers: int) -> bytes:
    """The first lines of HILLS."""
    names = [one.name for one in coordinates]
    words = ["time", *names, *(f"sigma_{name}" for name in names), "height", "biasf"]
    words += ["clock"] if walkers > 1 else []
    settings = ["multivariate false", "kerneltype gaussian"]
    return _head(words, coordinates, settings)


def hills_lines(
    coordinates: Sequence[Coordinate],
    time_fs: float,
    centres: np.ndarray,
    sigmas: Sequence[float],
    heights: np.ndarray,
    bias_factor: float | None,
) -> bytes:
    """Lines of HILLS for one hill of each walker.

    Args:
        centres: (walkers, d) and sigmas (d,) in the coordinates' units.
        heights: (walkers,) in eV, as they are added to the bias.
    """
    factors = np.array([UNITS[one.unit] for one in coordinates])
    gamma = PLAIN if bias_factor is None else bias_factor
    scale = 1.0 if bias_factor is None else bias_factor / (bias_factor - 1)
    lines = []
    for walker, centre in enumerate(centres):
        row = [time_fs * PS, *(centre * factors), *(np.asarray(sigmas) * factors)]
        row += [heights[walker] / KJ_MOL * scale, gamma]
        clock = [str(walker)] if len(centres) > 1 else []
        lines.append(" ".join([*_words(row), *clock]) + "\n")
    return "".join(lines).encode()


def read_hills(path: Source, coordinates: Sequence[Coordinate]) -> HillList:
    """Read HILLS of these coordinates, from here or from PLUMED.

    Raises:
        FileFormatError: missing, damaged, or of other coordinates.
    """
    table = read_table(path)
    names = [one.name for one in coordinates]
    needed = [*names, *(f"sigma_{name}" for name in names), "time", "height", "biasf"]
    _check_columns(path, table, needed)
    factors = np.array([UNITS[one.unit] for one in coordinates])
    factor = float(table["biasf"][0]) if len(table["biasf"]) else PLAIN
    gamma = factor if factor > 1 else None
    scale = 1.0 if gamma is None else (gamma - 1) / gamma
    return HillList(
        time_fs=table["time"] / PS,
        centres=np.stack([table[name] for name in names], axis=1) / factors,
        sigmas=np.stack([table[f"sigma_{name}"] for name in names], axis=1) / factors,
        heights=table["height"] * KJ_MOL * scale,
        walker=table.get("clock", np.zeros(len(table["time"]))).astype(int),
        bias_factor=gamma,
    )


@dataclass(frozen=True, eq=False)
class Colvar:
    """Coordinates over time, walkers in turn.

    Args:
        time_fs: (samples,).
        values: (samples, d) in the coordinates' units.
        bias: (samples,) in eV, before the hills of that time.
        walls: (samples,) energies of the walls in eV.
        energies: (samples,) of the model alone, in eV.
        temperature_K: (samples,) kinetic temperature.
        walker: (samples,).
    """

    time_fs: np.ndarray
    values: np.ndarray
    bias: np.ndarray
    walls: np.ndarray
    energies: np.ndarray
    temperature_K: np.ndarray
    walker: np.ndarray


COLVAR_COLUMNS = ("metad.bias", "walls.bias", "energy", "temperature", "walker")
"""Columns of metadynamics, in addition to time and coordinates."""
WINDOW_COLUMNS = ("restraint.bias", "energy", "temperature", "window")
"""Of umbrella sampling."""


def colvar_head(
    coordinates: Sequence[Coordinate], columns: Sequence[str] = COLVAR_COLUMNS
) -> bytes:
    """The first lines of COLVAR."""
    words = ["time", *(one.name for one in coordinates), *columns]
    return _head(words, coordinates, [])


def colvar_lines(
    coordinates: Sequence[Coordinate],
    time_fs: float,
    values: np.ndarray,
    energies: Sequence[np.ndarray],
    temperature_K: np.ndarray,
) -> bytes:
    """Lines of COLVAR for one time, a line for each row of the batch.

    Args:
        values: (batch, d) in the coordinates' units.
        energies: of each column of energies, (batch,) in eV.
        temperature_K: (batch,) kinetic temperature.
    """
    factors = np.array([UNITS[one.unit] for one in coordinates])
    lines = []
    for number, value in enumerate(values):
        row = [time_fs * PS, *(value * factors), *(part[number] / KJ_MOL for part in energies)]
        row.append(temperature_K[number])
        lines.append(" ".join([*_words(row), str(number)]) + "\n")
    return "".join(lines).encode()


MOST_SAMPLES = 4_000_000
"""Rows of a COLVAR that are analysed; of a longer one every n-th time is."""


def read_colvar(path: Source, coordinates: Sequence[Coordinate]) -> Colvar:
    """Read a COLVAR of flexcalc, at most about `MOST_SAMPLES` rows of it.

    Raises:
        FileFormatError: missing, damaged, or of other coordinates.
    """
    table = read_table(path, MOST_SAMPLES)
    names = [one.name for one in coordinates]
    _check_columns(path, table, ["time", *names, *COLVAR_COLUMNS])
    factors = np.array([UNITS[one.unit] for one in coordinates])
    return Colvar(
        time_fs=table["time"] / PS,
        values=np.stack([table[name] for name in names], axis=1) / factors,
        bias=table["metad.bias"] * KJ_MOL,
        walls=table["walls.bias"] * KJ_MOL,
        energies=table["energy"] * KJ_MOL,
        temperature_K=table["temperature"],
        walker=table["walker"].astype(int),
    )


@dataclass(frozen=True, eq=False)
class WindowSamples:
    """Coordinates over time, windows in turn.

    Args:
        time_fs: (samples,).
        values: (samples, d) in the coordinates' units.
        energies: (samples,) of the model alone, in eV.
        temperature_K: (samples,) kinetic temperature.
        window: (samples,).
    """

    time_fs: np.ndarray
    values: np.ndarray
    energies: np.ndarray
    temperature_K: np.ndarray
    window: np.ndarray


def read_windows(
    path: Source, coordinates: Sequence[Coordinate], most: int = MOST_SAMPLES
) -> WindowSamples:
    """Read a COLVAR of umbrella windows of flexcalc, at most about `most` rows of it.

    Raises:
        FileFormatError: missing, damaged, or of other coordinates.
    """
    table = read_table(path, most)
    names = [one.name for one in coordinates]
    _check_columns(path, table, ["time", *names, *WINDOW_COLUMNS])
    factors = np.array([UNITS[one.unit] for one in coordinates])
    return WindowSamples(
        time_fs=table["time"] / PS,
        values=np.stack([table[name] for name in names], axis=1) / factors,
        energies=table["energy"] * KJ_MOL,
        temperature_K=table["temperature"],
        window=table["window"].astype(int),
    )


def read_table(path: Source, most: int | None = None) -> dict[str, np.ndarray]:
    """The columns (rows,) of a file that begins with `#! FIELDS`, unconverted.

    A last line without its end was cut by a kill and is left out. PLUMED repeats the head after
    a restart; such lines are passed over.

    Args:
        path: the file; it is read in blocks, and only the numbers are kept.
        most: rows that are kept about at most, or all: of a longer file every n-th time, all the
            rows of it. The first column has the times.

    Raises:
        FileFormatError: missing, or a line does not fit; names it.
    """
    names: list[str] = []
    parts: list[np.ndarray] = []
    try:
        stride = 1 if most is None else -(-_count_lines(path) // most)
        times, last, number = 0, np.nan, 0
        for block in blocks_of_lines(path):
            lines = block.decode().splitlines()
            rows = _rows(path, lines, number, names)
            number += len(lines)
            if stride > 1 and len(rows):
                turns = np.diff(rows[:, 0], prepend=last) != 0
                which = times + np.cumsum(turns)
                times, last = int(which[-1]), rows[-1, 0]
                rows = rows[(which - 1) % stride == 0]
            parts.append(rows)
    except (OSError, UnicodeDecodeError) as error:
        raise FileFormatError(f"{path}: cannot be read: {error}") from None
    if not names:
        raise FileFormatError(f"{path}: expected a first line '#! FIELDS ...' as PLUMED writes")
    table = np.concatenate([np.zeros((0, len(names))), *(part for part in parts if len(part))])
    return dict(zip(names, table.T, strict=True))


def _count_lines(path: Source) -> int:
    count = sum(block.count(b"\n") for block in blocks_of_lines(path))
    if not isinstance(path, Path | str):
        path.seek(0)
    return count


def _rows(path: Source, lines: list[str], before: int, names: list[str]) -> np.ndarray:
    """The numbers (rows, fields) of some lines; the names of the fields are added where they stand.

    Args:
        lines: of the file, after `before` others.
        names: of the fields so far; empty in the beginning.
    """
    begin, parts = 0, []
    for index, line in enumerate(lines):
        if line.startswith("#"):
            parts.append(_numbers(path, lines[begin:index], before + begin, names))
            begin = index + 1
            words = line.split()
            if words[1:2] == ["FIELDS"]:
                if names and words[2:] != names:
                    raise FileFormatError(
                        f"{path}: line {before + begin}: other fields than before"
                    )
                names[:] = words[2:]
    parts.append(_numbers(path, lines[begin:], before + begin, names))
    return np.concatenate([part for part in parts if len(part)] or [np.zeros((0, len(names)))])


def _numbers(path: Source, lines: list[str], before: int, names: list[str]) -> np.ndarray:
    """Finite numbers (lines, fields) of lines without a head among them."""
    if not lines:
        return np.zeros((0, len(names)))
    try:
        found = numbers_of(lines, len(names), None)
    except ValueError:
        found = np.full(1, np.nan)
    if not np.isfinite(found).all():  # the slow way says where
        return np.array(
            [_row(path, number, line, names) for number, line in enumerate(lines, before + 1)]
        )
    return found


def _row(path: Source, number: int, line: str, names: Sequence[str]) -> list[float]:
    try:
        row = [float(word) for word in line.split()]
    except ValueError:
        row = []
    if len(row) != len(names) or not names or not all(map(math.isfinite, row)):
        raise FileFormatError(
            f"{path}: line {number}: expected {len(names)} finite numbers, found {line[:60]!r}"
        )
    return row


def _check_columns(path: Source, table: dict[str, np.ndarray], names: Sequence[str]) -> None:
    lacking = [name for name in names if name not in table]
    if lacking:
        raise FileFormatError(
            f"{path}: expected a column {lacking[0]}, found {' '.join(table)}; "
            "is it of the same coordinates?"
        )


def _head(
    words: Sequence[str], coordinates: Sequence[Coordinate], settings: Sequence[str]
) -> bytes:
    lines = [f"#! FIELDS {' '.join(words)}", *(f"#! SET {one}" for one in settings)]
    for one in coordinates:
        if one.periodic:
            lines += [f"#! SET min_{one.name} -pi", f"#! SET max_{one.name} pi"]
    return ("\n".join(lines) + "\n").encode()


def _words(row: Sequence[float]) -> list[str]:
    return [repr(float(value)) for value in row]
