"""Replacement of the starting file of an i-PI input, and its cell.

The start is what flexcalc reads: angstrom unless its comment says otherwise. ASE, by which i-PI
reads it, does not know i-PI's comments, which may hold the cell and the units:

    # CELL(abcABC): 30 30 30 90 90 90  Step: 0  positions{angstrom} cell{angstrom}

Source: i-PI 3.3.1, ipi/utils/io/backends/io_xyz.py and ipi/utils/io/io_units.py.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from xml.etree.ElementTree import Element

import numpy as np

from flexcalc.adapters.ipi import inputs
from flexcalc.errors import ConfigError, FileFormatError
from flexcalc.storage import open_regular

LONGEST_COMMENT = 1 << 20
CELL = re.compile(r"CELL[(\[{](abcABC|H|GENH)[)\]}]: ([-+0-9.Ee ]*)")
LATTICE = re.compile(r'\bLattice="([^"]*)"', re.IGNORECASE)
POSITIONS, CELL_UNIT = re.compile(r"positions\{(\w*)\}"), re.compile(r"cell\{(\w*)\}")
ANGSTROM = {"angstrom", "ase"}
"""i-PI's names of the default unit of a starting file."""


def put(root: Element, start: Path, folder: Path, log: Callable[[str], None]) -> None:
    """Let an input start from another file, with the same cell.

    The file stands for every `<file>` in `<initialize>`, or becomes the first element there.

    i-PI takes the cell from the last that has one: a `<file>` by its comment, or a `<cell>`. The
    start's own comes before that of the file it stands for.

    Args:
        root: the `<simulation>`, changed in place.
        start: an extended XYZ file, or one with i-PI's comments.
        folder: where the input lies.
        log: takes a line about units that the input does not say.

    Raises:
        ConfigError: no cell anywhere, units that contradict, or no place for the file.
        FileFormatError: a file cannot be read.
    """
    comment = comment_of(start)
    told = POSITIONS.search(comment)
    for system in root.iter("system"):
        place = system.find("initialize")
        if place is not None and place.find("positions") is not None:
            raise ConfigError(
                "the i-PI input starts from <positions>; remove it to start from START"
            )
        if place is not None and place.find("file") is None:
            place.insert(0, inputs.file_element(start))
            _add_cell(system, place, start, folder)
        elif place is not None:
            if told is None:
                _check_units(place.findall("file"), start, folder, log)
            _add_cell(system, place, start, folder)
    # i-PI's own reader heeds units; all else about a file ASE knows better.
    inputs.set_start(root, start, "xyz" if told and told[1] not in ANGSTROM else "ase")


def declares_units(path: Path) -> bool:
    """Whether a file states the unit of its positions in i-PI's way, which i-PI then heeds."""
    return POSITIONS.search(comment_of(path)) is not None


def _check_units(
    files: list[Element], start: Path, folder: Path, log: Callable[[str], None]
) -> None:
    """Compare the units in which the input would read the start with those of the start.

    Raises:
        ConfigError: the input says another unit.
    """
    for file in files:
        unit = file.get("units", "automatic").strip()
        if inputs.reading_mode(file) != "xyz" or not _same(start, folder, file):
            continue
        if unit == "automatic":
            log(f"{start}: read as angstrom; i-PI alone would take it for bohr, as it says no unit")
        elif unit not in ANGSTROM:
            raise ConfigError(
                f"{start}: read as angstrom, but the input says units={unit[:40]!r}; write "
                f"positions{{{unit[:40]}}} into its comment"
            )


def _add_cell(system: Element, place: Element, start: Path, folder: Path) -> None:
    """Put a `<cell>` after the last `<file>` where none follows and the start has none for ASE.

    Raises:
        ConfigError: there is no cell anywhere.
    """
    tags = [element.tag for element in place]
    last = len(tags) - 1 - tags[::-1].index("file")
    if "cell" in tags[last:] or LATTICE.search(comment_of(start)):
        return
    before = place[: last + 1]
    same = [file for file in before if file.tag == "file" and _same(start, folder, file)]
    found = _cell_of(start, "xyz", same[-1].get("cell_units") if same else None)
    for element in reversed(before):
        if found is None and element.tag == "cell":
            found = deepcopy(element)
        elif found is None and element.tag == "file":
            path = folder / (element.text or "").strip()
            found = _cell_of(path, inputs.reading_mode(element), element.get("cell_units"))
    if found is None:
        found = _cell_of_system(system)
    if found is None:
        raise ConfigError(
            "i-PI needs a cell, though a molecule does not feel it: put <cell mode='abc' "
            "units='angstrom'> [ 100, 100, 100 ] </cell> after <file> into the input"
        )
    place.insert(last + 1, found)


def _cell_of(path: Path, mode: str | None, unit: str | None) -> Element | None:
    """A `<cell>` from the cell of a file, if it has one.

    Args:
        path: the file.
        mode: i-PI's name of its format.
        unit: of the cell, where the input says it; by default as the file says.

    Raises:
        FileFormatError: it cannot be read.
    """
    if mode in ("pdb", "chk"):
        return _element(mode, unit if mode == "pdb" else None, str(path.resolve()))
    comment = comment_of(path)
    lattice, cell, told = (pattern.search(comment) for pattern in (LATTICE, CELL, CELL_UNIT))
    if mode == "ase":
        return _sides(_numbers(lattice[1], 9, path), "ase") if lattice else None
    if cell is None:
        return None
    unit = unit or (told[1] if told else "atomic_unit")
    numbers = _numbers(cell[2], 6 if cell[1] == "abcABC" else 9, path)
    if cell[1] == "GENH":
        return _sides(numbers, unit)
    return _element("abcABC" if cell[1] == "abcABC" else "manual", unit, _list(numbers))


def _cell_of_system(system: Element) -> Element | None:
    """A `<cell>` from that of a system outside its `<initialize>`, if it has one."""
    cell = system.find("cell")
    if cell is None or inputs.reading_mode(cell) == "file":
        return None
    return _element("manual", cell.get("units"), cell.text or "")


def _sides(vectors: np.ndarray, unit: str) -> Element:
    """A `<cell>` by the lengths of its three vectors (9,), one after the other, and angles."""
    rows = vectors.reshape(3, 3)
    lengths = np.linalg.norm(rows, axis=1)
    cosines = [rows[i] @ rows[j] / (lengths[i] * lengths[j]) for i, j in ((1, 2), (0, 2), (0, 1))]
    angles = np.degrees(np.arccos(np.clip(cosines, -1, 1)))
    return _element("abcABC", unit, _list(np.concatenate([lengths, angles])))


def _element(mode: str, unit: str | None, text: str) -> Element:
    cell = Element("cell", {"mode": mode} | ({"units": unit} if unit else {}))
    cell.text = f" {text} "
    return cell


def _list(numbers: np.ndarray) -> str:
    return f"[ {', '.join(repr(float(number)) for number in numbers)} ]"


def _numbers(text: str, count: int, path: Path) -> np.ndarray:
    """The first numbers (count,) of a cell; what follows them is not i-PI's concern either.

    Raises:
        FileFormatError: fewer, or no finite volume could come of them.
    """
    try:
        numbers = np.array(text.split()[:count], dtype=float)
    except ValueError:
        numbers = np.array([])
    if len(numbers) < count or not np.isfinite(numbers).all() or not numbers[:1].all():
        raise FileFormatError(f"{path}: line 2: expected a cell of {count} numbers, found {text!r}")
    return numbers


def comment_of(path: Path) -> str:
    """The second line of a file; empty if it has none."""
    try:
        with open_regular(path, None) as stream:
            stream.readline(LONGEST_COMMENT)
            return stream.readline(LONGEST_COMMENT).decode(errors="replace")
    except OSError as error:
        raise FileFormatError(f"{path}: cannot be read: {error.strerror}") from None


def _same(start: Path, folder: Path, file: Element) -> bool:
    """Whether the start is the very file that an element names."""
    return Path(start).resolve() == (folder / (file.text or "").strip()).resolve()
