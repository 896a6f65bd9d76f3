"""Extended XYZ, read strictly.

A frame is the number of atoms, a comment line of key=value pairs, and a line for each atom.
`Properties=` names the columns; without it a frame is plain XYZ, whose comment is not looked
at (an energy there has no known unit). Format: https://github.com/libAtoms/extxyz
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from flexcalc.dataset import Dataset, Provenance
from flexcalc.errors import FileFormatError, MoleculeError
from flexcalc.files import units
from flexcalc.files.frames import is_tag, shorten, whole_frames
from flexcalc.potential import formula
from flexcalc.storage import open_regular, read_file, sha256_file

PAIR = re.compile(
    r"""\s*(?P<key>[^\s="'{}\[\]]+|"(?:\\.|[^"\\])*")
        (?:\s*=\s*(?:"(?P<double>(?:\\.|[^"\\])*)"|'(?P<single>[^']*)'|\{(?P<brace>[^{}]*)\}
        |\[(?P<bracket>[^\n]*?)\](?=\s|$)|(?P<bare>[^\s"'{}\[\]=][^\s"']*)))?(?=\s|$)""",
    re.VERBOSE,
)
INTEGER = re.compile(r"[+-]?[0-9]{1,18}")
NUMBER = re.compile(
    r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)(e[+-]?[0-9]{1,4})?|[+-]?(nan|inf)", re.IGNORECASE
)
TRUTH = {"T": True, "True": True, "true": True, "F": False, "False": False, "false": False}

WIDTHS = {"pos": 3, "forces": 3, "species": 1, "Z": 1}
IGNORED = {
    "charges", "dipoles", "energies", "initial_charges", "initial_magmoms", "magmoms", "masses",
    "momenta", "move_mask", "stresses", "tags", "velo",
}  # fmt: skip
"""Columns that ASE writes and a potential energy surface has no use for."""

MOST_ATOMS = 100_000
MOST_LINE = 1 << 20
"""Bytes of a line that are read where a file is read line by line."""


@dataclass(frozen=True, eq=False)
class Frame:
    """One frame as it stands in the file."""

    numbers: np.ndarray
    positions: np.ndarray
    energy: float | None
    forces: np.ndarray | None
    tags: Mapping[str, Any]


def read(
    path: Path, energy: str | None = None, length: str | None = None, force: str | None = None
) -> Dataset:
    """Read a whole file; `flexcalc.files.read` says how and what it raises."""
    content = read_file(path)
    if not content.endswith(b"\n"):
        raise FileFormatError(
            f"{path}: the last line does not end in a newline, so the file may be cut; "
            "check its last number and end the line"
        )
    return _dataset(path, content, energy or "eV", length or "angstrom", force)


def read_frames(path: Path | str) -> Dataset:
    """Read a log of frames; a last frame that a kill has cut is left out.

    Raises:
        FileFormatError: no whole frame, or damage before the end.
    """
    path = Path(path)
    try:
        content = read_file(path)
    except OSError as error:
        raise FileFormatError(f"{path}: cannot be read: {error.strerror}") from None
    return _dataset(path, content[: whole_frames(content)], "eV", "angstrom", None)


def read_first(path: Path) -> Dataset:
    """The first frame of a log of frames, of which no more is read.

    Raises:
        FileFormatError: no whole frame there, or damage in it.
    """
    try:
        with open_regular(path, None) as stream:
            content = stream.readline(MOST_LINE)
            atoms = _count(content.decode(errors="replace"), f"{path}: frame 0 (line 1)")
            content += b"".join(stream.readline(MOST_LINE) for _ in range(atoms + 1))
    except OSError as error:
        raise FileFormatError(f"{path}: cannot be read: {error.strerror}") from None
    return _dataset(path, content[: whole_frames(content)], "eV", "angstrom", None)


def _dataset(path: Path, content: bytes, energy: str, length: str, force: str | None) -> Dataset:
    energy_name, in_eV = units.energy_unit(energy)
    length_name, in_angstrom = units.length_unit(length)
    force_name, in_eV_angstrom = units.force_unit(force or f"{energy}/{length}")
    frames = list(_frames(path, content))
    if not frames:
        raise FileFormatError(f"{path}: holds no frame")
    first = frames[0]
    for index, frame in enumerate(frames[1:], 1):
        _check_alike(path, index, first, frame)
    tags = _columns([frame.tags for frame in frames])
    level = "unknown"
    if "level" in tags:
        level = _one_level(path, tags.pop("level"))
    named = f"{energy_name}, {length_name}"
    if force_name != f"{energy_name}/{length_name}":
        named += f", {force_name}"
    energies = [frame.energy for frame in frames if frame.energy is not None]
    forces = [frame.forces for frame in frames if frame.forces is not None]
    return Dataset(
        numbers=first.numbers,
        positions=np.stack([frame.positions for frame in frames]) * in_angstrom,
        energies=np.array(energies) * in_eV if energies else None,
        forces=np.stack(forces) * in_eV_angstrom if forces else None,
        tags=tags,
        provenance=Provenance(level, path.name, named, sha256_file(path)),
    )


def _frames(path: Path, content: bytes) -> Iterator[Frame]:
    try:
        lines = content.decode().split("\n")
    except UnicodeDecodeError as error:
        raise FileFormatError(f"{path}: byte {error.start} is not UTF-8 text") from None
    end = len(lines)
    while end and not lines[end - 1].strip():
        end -= 1
    line = frame = 0
    while line < end:
        where = f"{path}: frame {frame} (line {line + 1})"
        atoms = _count(lines[line], where)
        if line + 2 + atoms > end:
            raise FileFormatError(
                f"{where}: expected {atoms} atoms, found {max(0, end - line - 2)} lines before "
                "the end of the file"
            )
        yield _frame(lines[line + 1], lines[line + 2 : line + 2 + atoms], where)
        line += 2 + atoms
        frame += 1


def _count(text: str, where: str) -> int:
    text = text.strip()
    if not INTEGER.fullmatch(text) or not 1 <= int(text) <= MOST_ATOMS:
        raise FileFormatError(f"{where}: expected the number of atoms, found {shorten(text)}")
    return int(text)


def _frame(comment: str, block: Sequence[str], where: str) -> Frame:
    pairs = _pairs(comment, where)
    try:
        columns, width = _layout(pairs.get("Properties", ("species:S:1:pos:R:3", False))[0])
    except FileFormatError as error:
        raise FileFormatError(f"{where}: {error}") from None
    _check_vacuum(pairs, where)
    rows = [text.split() for text in block]
    for atom, row in enumerate(rows):
        if len(row) != width:
            raise FileFormatError(
                f"{where}: atom {atom}: expected {width} columns, found {len(row)}"
            )
    forces = None
    if "forces" in columns:
        forces = _numeric(rows, columns["forces"], f"{where}: forces")
    species = columns["species"] if "species" in columns else columns["Z"]
    energy = pairs.pop("energy", None)
    return Frame(
        numbers=np.array([_atomic_number(row[species], where) for row in rows]),
        positions=_numeric(rows, columns["pos"], f"{where}: positions"),
        energy=None if energy is None else _number(energy[0], f"{where}: energy"),
        forces=forces,
        tags={name: _value(*value) for name, value in pairs.items() if is_tag(name)},
    )


def _pairs(comment: str, where: str) -> dict[str, tuple[str, bool]]:
    """Key -> (text, was it quoted) of a comment line; of plain XYZ only what makes it periodic."""
    pairs: dict[str, tuple[str, bool]] = {}
    end = 0
    comment = comment.strip()
    while end < len(comment):
        match = PAIR.match(comment, end)
        if match is None:
            break
        key = _unescaped(match["key"].strip('"'))
        if key in pairs:
            break
        pairs[key] = _text(match)
        end = match.end()
    if "Properties" not in pairs and "Properties=" not in comment:
        return {key: pairs[key] for key in ("Lattice", "pbc") if key in pairs}
    if end < len(comment):
        raise FileFormatError(
            f"{where}: cannot read the comment line from {shorten(comment[end:])} on "
            "(a key given twice, or a quote that is not closed)"
        )
    return pairs


def _text(match: re.Match[str]) -> tuple[str, bool]:
    """The value of a pair, and whether it was quoted; a key alone means true."""
    if match["double"] is not None:
        return _unescaped(match["double"]), True
    for kind in ("single", "brace", "bracket"):
        if match[kind] is not None:
            return match[kind], True
    return match["bare"] or "T", False


@lru_cache(maxsize=64)
def _layout(properties: str) -> tuple[Mapping[str, Any], int]:
    """Column name -> index or slice, and the number of columns.

    Raises:
        FileFormatError: without the frame, which the caller knows.
    """
    fields = properties.split(":")
    columns: dict[str, Any] = {}
    start = 0
    if len(fields) % 3:
        raise FileFormatError(f"Properties={shorten(properties)} is not name:type:count")
    for name, kind, count in zip(fields[::3], fields[1::3], fields[2::3], strict=True):
        name = "forces" if name == "force" else name
        if not re.fullmatch(r"[1-9][0-9]?", count) or kind not in ("S", "R", "I", "L"):
            raise FileFormatError(f"column {shorten(name)}: bad type or count in Properties")
        if name not in WIDTHS and name not in IGNORED:
            raise FileFormatError(
                f"unknown column {shorten(name)}; expected species, pos and forces "
                "(rename the column of the forces to `forces`)"
            )
        if name in columns or int(count) != WIDTHS.get(name, int(count)):
            raise FileFormatError(f"column {shorten(name)}: given twice or of wrong width")
        columns[name] = start if int(count) == 1 else slice(start, start + int(count))
        start += int(count)
    if "pos" not in columns or not columns.keys() & {"species", "Z"}:
        raise FileFormatError("Properties lacks pos or species")
    return columns, start


def _check_vacuum(pairs: Mapping[str, tuple[str, bool]], where: str) -> None:
    text = pairs["pbc"][0] if "pbc" in pairs else ("T" if "Lattice" in pairs else "F")
    if any(TRUTH.get(word, True) for word in text.split()):
        raise MoleculeError(
            f"{where}: the frame is periodic; flexcalc is for molecules in vacuum "
            '(remove the Lattice, or write pbc="F F F")'
        )


def _numeric(rows: Sequence[Sequence[str]], columns: slice, where: str) -> np.ndarray:
    words = [row[columns] for row in rows]
    try:
        array = np.array([list(map(float, row)) for row in words])
    except ValueError:
        array = np.array(np.nan)
    # float() takes digits with underscores and those of other alphabets, this format does not
    text = "".join(chain.from_iterable(words))
    if not np.isfinite(array).all() or "_" in text or not text.isascii():
        for atom, row in enumerate(words):
            for word in row:
                _number(word, f"{where} of atom {atom}")
    return array


def _number(text: str, where: str) -> float:
    if not NUMBER.fullmatch(text) or not np.isfinite(float(text)):
        raise FileFormatError(f"{where}: expected a finite number, found {shorten(text)}")
    return float(text)


@cache
def _atomic_numbers() -> dict[str, int]:
    from ase.data import chemical_symbols

    return {symbol: number for number, symbol in enumerate(chemical_symbols) if number}


def _atomic_number(text: str, where: str) -> int:
    known = _atomic_numbers()
    if text in known:
        return known[text]
    if text.capitalize() in known:
        return known[text.capitalize()]
    if re.fullmatch(r"[1-9]\d{0,2}", text) and int(text) <= len(known):
        return int(text)
    raise FileFormatError(f"{where}: expected a chemical element, found {shorten(text)}")


def _value(text: str, quoted: bool) -> str | int | float | bool:
    if quoted:
        return text
    if text in TRUTH:
        return TRUTH[text]
    if INTEGER.fullmatch(text):
        return int(text)
    return float(text) if NUMBER.fullmatch(text) else text


def _check_alike(path: Path, index: int, first: Frame, frame: Frame) -> None:
    if not np.array_equal(first.numbers, frame.numbers):
        want, got = formula(first.numbers), formula(frame.numbers)
        got = "the same atoms in another order" if want == got else got
        raise MoleculeError(
            f"{path}: frame {index}: expected the molecule {want} of frame 0, found {got}"
        )
    for name in ("energy", "forces"):
        if (getattr(first, name) is None) != (getattr(frame, name) is None):
            has = index if getattr(first, name) is None else 0
            raise FileFormatError(
                f"{path}: frame {index}: frames 0 and {index} differ: only frame {has} has {name}"
            )


def _columns(tags: Sequence[Mapping[str, Any]]) -> dict[str, np.ndarray]:
    """Tags that every frame has, as columns of one type each; mixed ones as text."""
    columns = {}
    for name in tags[0]:
        if all(name in frame for frame in tags):
            values = [frame[name] for frame in tags]
            kinds = {type(value) for value in values}
            mixed = len(kinds) > 1 and kinds != {int, float}
            columns[name] = np.array([str(v) for v in values] if mixed else values)
    return columns


def _one_level(path: Path, levels: np.ndarray) -> str:
    distinct = list(dict.fromkeys(str(level) for level in levels))
    if len(distinct) > 1:
        raise FileFormatError(
            f"{path}: labels of {shorten(distinct[0])} and {shorten(distinct[1])} in one file: "
            "their zeros of energy differ; relabel one of them"
        )
    return distinct[0]


def _unescaped(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text)
