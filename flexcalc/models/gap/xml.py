"""A GAP as written by gap_fit: an XML file, and files of its sparse points next to it.

The main file says which elements it knows and names the files of the sparse points. Everything
is checked here, as QUIP itself ends the process or reads on where a file is not what it expects.

Source: QUIP 0.10.3, src/GAP/gp_predict.F90 (gpCoordinates_printXML).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from flexcalc.errors import FileFormatError, MoleculeError
from flexcalc.files.xml import parse_xml
from flexcalc.storage import read_file

MAIN = "GAP.xml"
"""Name of the main file in a model folder, and in a fit."""
LABEL = "GAP_flexcalc"
"""Label of every model fitted here; gap_fit's own holds the time, so no two fits are alike."""
LARGEST = 1 << 30
"""Bytes of the main file; with sparse points inside it may hold a few hundred megabytes."""


@dataclass(frozen=True)
class Layout:
    """What a main file tells about its model.

    Args:
        elements: atomic numbers that the descriptors are made for.
        sparse: name of each file of sparse points -> its MD5 sum, or None where not told.
        points: sparse points of all descriptors.
        descriptors: one line each.
    """

    elements: frozenset[int]
    sparse: Mapping[str, str | None]
    points: int
    descriptors: tuple[str, ...]


def layout(content: bytes, where: object) -> Layout:
    """What a main file tells.

    Args:
        content: the file.
        where: its path, for messages.

    Raises:
        FileFormatError: no GAP, or damaged.
    """
    if len(content) > LARGEST:
        raise FileFormatError(f"{where}: a GAP has at most {LARGEST} bytes")
    root = parse_xml(content, where)
    coordinates = list(root.iter("gpCoordinates"))
    if root.find("Potential") is None or not coordinates:
        raise FileFormatError(f"{where}: expected a GAP of gap_fit, found XML of another kind")
    elements: set[int] = set()
    sparse: dict[str, str | None] = {}
    points, lines = 0, []
    for entry in coordinates:
        line = " ".join((entry.findtext("descriptor") or "").split())
        lines.append(line)
        try:
            elements |= _elements(line)
        except ValueError:
            raise FileFormatError(f"{where}: a descriptor of an element beyond 118") from None
        try:
            points += int(entry.get("n_sparseX", ""))
        except ValueError:
            raise FileFormatError(f"{where}: a descriptor without n_sparseX") from None
        name = entry.get("sparseX_filename")
        if name is not None:
            if Path(name).name != name or name in ("", ".", ".."):
                raise FileFormatError(f"{where}: sparse points in {name!r}, outside its folder")
            sparse[name] = entry.get("sparseX_md5sum")
    return Layout(frozenset(elements), sparse, points, tuple(lines))


def check_elements(found: Layout, numbers: np.ndarray, where: object) -> None:
    """Refuse a molecule with elements that the model does not know.

    QUIP gives such atoms no energy of their own, and says nothing.

    Args:
        found: the model's layout.
        numbers: (atoms,) of the molecule.
        where: the file, for the message.

    Raises:
        MoleculeError: names the elements.
    """
    missing = sorted({int(number) for number in numbers} - found.elements)
    if missing:
        known = _symbols(sorted(found.elements)) or "none"
        raise MoleculeError(
            f"{where}: the model knows {known}, and not {_symbols(missing)}, of the molecule"
        )


def check_files(files: Mapping[str, bytes], where: object) -> Layout:
    """The layout of a whole model, all files of which are there and undamaged.

    Args:
        files: content by name; MAIN and its sparse points.
        where: the folder, for messages.

    Raises:
        FileFormatError: names the file that is missing or damaged.
    """
    if MAIN not in files:
        raise FileFormatError(f"{where}: {MAIN} is missing")
    found = layout(files[MAIN], where)
    for name, digest in found.sparse.items():
        if name not in files:
            raise FileFormatError(f"{where}: the file of sparse points {name} is missing")
        if digest and hashlib.md5(files[name], usedforsecurity=False).hexdigest() != digest:
            raise FileFormatError(f"{where}: {name} is damaged: its MD5 sum is not the one told")
    return found


def read_files(path: Path) -> dict[str, bytes]:
    """A model by its main file, as MAIN and the files that it names.

    Raises:
        FileFormatError: a file is missing, too large or damaged.
    """
    try:
        files = {MAIN: read_file(path, LARGEST)}
        for name in layout(files[MAIN], path).sparse:
            if not (path.parent / name).is_file():
                raise FileFormatError(
                    f"{path}: the file of sparse points {name} is missing next to it"
                )
            files[name] = read_file(path.parent / name, LARGEST)
    except OSError as error:
        raise FileFormatError(f"{path}: cannot be read: {error.strerror}") from None
    check_files(files, path)
    return files


def relabel(files: Mapping[str, bytes]) -> dict[str, bytes]:
    """Set the label of a model of gap_fit to LABEL, so that the same fit gives the same bytes."""
    match = re.match(rb"\s*<(GAP_[0-9_]+)>", files[MAIN])
    if match is None:
        return dict(files)
    old, new = match[1], LABEL.encode()
    renamed = {name.replace(old.decode(), LABEL): content for name, content in files.items()}
    return renamed | {MAIN: files[MAIN].replace(old, new)}


def _elements(line: str) -> set[int]:
    """Atomic numbers whose atoms a descriptor gives an energy.

    Raises:
        ValueError: one of them is none.
    """
    found = _listed(line)
    if found and max(found) > 118:
        raise ValueError(f"element {max(found)}")
    return found


def _listed(line: str) -> set[int]:
    if line.startswith("soap"):
        # `Z` is the central atom, `species_Z` its neighbours; Z = 0 or none is any of them.
        central = re.search(r"\bZ=\{*\s*(\d+)", re.sub(r"species_Z=", "", line))
        if central is not None and int(central[1]):
            return {int(central[1])}
        listed = re.search(r"species_Z=\{*([\d\s]+)", line)
        return {int(word) for word in listed[1].split()} if listed else set()
    return {int(number) for number in re.findall(r"\bZ[123]?=\{*\s*(\d+)", line)} - {0}


def _symbols(numbers: list[int]) -> str:
    from ase.data import chemical_symbols

    return ", ".join(chemical_symbols[number] for number in numbers)
