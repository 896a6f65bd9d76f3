"""Extended XYZ, read strictly.

A frame is the number of atoms, a comment line of key=value pairs, and a line for each atom.
`Properties=` names the columns; without it a frame is plain XYZ, of whose comment only units,
charge and periodicity are looked at (an energy there has no known unit). What is not used is said
once a file. Format: https://github.com/libAtoms/extxyz
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
from flexcalc.errors import FileFormatError, MoleculeError, UnitError
from flexcalc.files import comment as comments
from flexcalc.files import keys, units
from flexcalc.files.columns import Layout, layout
from flexcalc.files.comment import INTEGER, NUMBER
from flexcalc.files.frames import is_tag, shorten, whole_frames
from flexcalc.files.keys import USUAL, Wanted
from flexcalc.files.text import UTF16, decoded, without_mark
from flexcalc.masses import ISOTOPES, standard_masses
from flexcalc.potential import formula
from flexcalc.storage import open_regular, read_file, sha256_file

MOST_ATOMS = 100_000
PLAIN = "species:S:1:pos:R:3"
"""The columns of plain XYZ."""
SAME_MASS = 0.01
"""A mass in amu may differ by so much from that of the isotope that the symbol names."""

PLAIN_ENERGY, PLAIN_FORCES = ("energy",), ("forces", "force")
"""Keys that labels are taken from without a word."""
UNUSED = ("spin", "stress", "virial", "virials")
"""Keys of the comment line that mean something to others, and nothing here."""

MOST_LINE = 1 << 20
"""Bytes of a line that are read where a file is read line by line."""


@dataclass(frozen=True, eq=False)
class Frame:
    """One frame as in the file."""

    numbers: np.ndarray
    positions: np.ndarray
    energy: float | None
    forces: np.ndarray | None
    masses: np.ndarray | None
    tags: Mapping[str, Any]
    units: Mapping[str, str]
    """Keys that declare units, and their values."""
    keys: Mapping[str, str | None]
    """`energy` and `forces` -> the key that they are read from."""
    ignored: tuple[str, ...]
    """Columns that are not used."""
    others: tuple[str, ...]
    """All keys and columns, to find those that were not read."""
    from_ipi: bool


def read(
    path: Path,
    energy: str | None = None,
    length: str | None = None,
    force: str | None = None,
    wanted: Wanted = USUAL,
) -> Dataset:
    """Read a complete file; see `flexcalc.files.read` for conversions and errors."""
    content = read_file(path)
    if not content.endswith(b"\n") and not content.startswith(UTF16):
        raise FileFormatError(
            f"{path}: the last line does not end in a newline, so the file may be cut; "
            "check its last number and end the line"
        )
    return _dataset(path, content, (energy, length, force), wanted)


def read_frames(path: Path | str) -> Dataset:
    """Read a log of frames; a last frame that a kill has cut is left out.

    Raises:
        FileFormatError: no complete frame, or damage before the end.
    """
    path = Path(path)
    try:
        content = without_mark(read_file(path))
    except OSError as error:
        raise FileFormatError(f"{path}: cannot be read: {error.strerror}") from None
    return _dataset(path, content[: whole_frames(content)])


def read_first(path: Path) -> Dataset:
    """The first frame of a log of frames, of which no more is read.

    Raises:
        FileFormatError: no complete frame there, or it is damaged.
    """
    try:
        with open_regular(path, None) as stream:
            content = without_mark(stream.readline(MOST_LINE))
            atoms = _count(content.decode(errors="replace"), f"{path}: frame 0 (line 1)")
            content += b"".join(stream.readline(MOST_LINE) for _ in range(atoms + 1))
    except OSError as error:
        raise FileFormatError(f"{path}: cannot be read: {error.strerror}") from None
    return _dataset(path, content[: whole_frames(content)])


def read_last(path: Path, most: int) -> Dataset:
    """The frames in the last `most` bytes of a log of frames, of which no more is read.

    Raises:
        FileFormatError: no complete frame there, or one is damaged.
    """
    atoms = len(read_first(path).numbers)
    try:
        with open_regular(path, None) as stream:
            start = max(0, stream.seek(0, 2) - most)
            stream.seek(start)
            content = stream.read()
    except OSError as error:
        raise FileFormatError(f"{path}: cannot be read: {error.strerror}") from None
    if start:
        # A comment line may hold anything but the end of a line, so that this is where one begins.
        begin = content.find(b"\n%d\n" % atoms) + 1
        content = content[begin:] if begin else b""
    return _dataset(path, content[: whole_frames(content)])


Said = tuple[str | None, str | None, str | None]
"""Units of energy, length and force that the call says."""


def _dataset(
    path: Path, content: bytes, said: Said = (None, None, None), wanted: Wanted = USUAL
) -> Dataset:
    frames = list(_frames(path, content, wanted))
    if not frames:
        raise FileFormatError(f"{path}: holds no frame")
    first = frames[0]
    for index, frame in enumerate(frames[1:], 1):
        _check_alike(path, index, first, frame)
    in_eV, in_angstrom, in_eV_angstrom, named = _units(path, first, said)
    tags = _columns([frame.tags for frame in frames])
    level = "unknown"
    if "level" in tags:
        level = _one_level(path, tags.pop("level"))
    model = _one_level(path, tags.pop("model_sha256")) if "model_sha256" in tags else ""
    energies = [frame.energy for frame in frames if frame.energy is not None]
    forces = [frame.forces for frame in frames if frame.forces is not None]
    return Dataset(
        numbers=first.numbers,
        positions=np.stack([frame.positions for frame in frames]) * in_angstrom,
        energies=np.array(energies) * in_eV if energies else None,
        forces=np.stack(forces) * in_eV_angstrom if forces else None,
        tags=tags,
        provenance=Provenance(
            level, path.name, named, sha256_file(path), _notes(frames, wanted), model
        ),
        masses=_masses(frames),
    )


def _units(path: Path, first: Frame, said: Said) -> tuple[float, float, float, str]:
    """Sizes in eV, angstrom and eV/angstrom of the units that the file or the call states.

    Raises:
        UnitError: they contradict each other, or are unknown; or i-PI declared none and the bonds
            are not those of a molecule in angstrom.
    """
    try:
        stated = units.declared(first.units)
        energy, length, force = (
            units.agreed(kind, stated.get(kind), given)
            for kind, given in zip(("energy", "length", "force"), said, strict=True)
        )
        if length is None and first.from_ipi:
            units.check_angstrom(first.numbers, first.positions)
    except UnitError as error:
        raise UnitError(f"{path}: {error}") from None
    energy, length = energy or ("eV", 1.0), length or ("angstrom", 1.0)
    named = f"{energy[0]}, {length[0]}"
    usual = f"{energy[0]}/{length[0]}"
    force = force or (usual, energy[1] / length[1])
    if force[0] != usual:
        named += f", {force[0]}"
    return energy[1], length[1], force[1], named


def _masses(frames: Sequence[Frame]) -> np.ndarray | None:
    """Masses (frames, atoms) in amu, where a frame states any; the others have standard ones."""
    if all(frame.masses is None for frame in frames):
        return None
    return np.stack(
        [
            standard_masses(frame.numbers) if frame.masses is None else frame.masses
            for frame in frames
        ]
    )


def _notes(frames: Sequence[Frame], wanted: Wanted) -> tuple[str, ...]:
    """Notices about the file: keys that labels were read from, and unused columns."""
    first, notes = frames[0], []
    others = dict.fromkeys(name for frame in frames for name in frame.others)
    notes += keys.note("energy", first.keys["energy"], (*PLAIN_ENERGY, wanted.energy), others)
    notes += keys.note("forces", first.keys["forces"], (*PLAIN_FORCES, wanted.forces), others)
    ignored = list(dict.fromkeys(name for frame in frames for name in frame.ignored))
    if ignored:
        shown = ", ".join(ignored[:8]) + ", ..." * (len(ignored) > 8)
        notes.append(f"column{'s' * (len(ignored) > 1)} {shown} not used")
    unused = [name for name in UNUSED if name in others]
    if unused:
        notes.append(f"{', '.join(unused)} not used")
    return tuple(notes)


def _frames(path: Path, content: bytes, wanted: Wanted) -> Iterator[Frame]:
    try:
        lines = decoded(content).split("\n")
    except FileFormatError as error:
        raise FileFormatError(f"{path}: {error}") from None
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
        yield _frame(lines[line + 1], lines[line + 2 : line + 2 + atoms], where, wanted)
        line += 2 + atoms
        frame += 1


def _count(text: str, where: str) -> int:
    text = text.strip()
    if not INTEGER.fullmatch(text) or not 1 <= int(text) <= MOST_ATOMS:
        raise FileFormatError(f"{where}: expected the number of atoms, found {shorten(text)}")
    return int(text)


def _frame(comment: str, block: Sequence[str], where: str, wanted: Wanted) -> Frame:
    pairs = comments.pairs(comment, where)
    plain = "Properties" not in pairs
    if comments.is_periodic(pairs):
        raise MoleculeError(
            f"{where}: the frame is periodic; flexcalc is for molecules in vacuum "
            '(remove the Lattice, or write pbc="F F F")'
        )
    others = tuple(name for name in pairs if name != "Properties")
    stated = {name: pairs.pop(name)[0] for name in others if units.kind_of_key(name) is not None}
    from_ipi = False
    try:
        columns = layout(
            PLAIN if plain else pairs["Properties"][0], None if plain else wanted.forces
        )
        if plain:
            from_ipi, unit = comments.of_ipi(comment)
            stated |= {} if unit is None else {"length_unit": unit}
            energy_key, energy = None, None
        else:
            energy_key, energy = _energy(pairs, wanted.energy, where)
    except FileFormatError as error:
        raise FileFormatError(f"{where}: {error}") from None
    rows = [text.split() for text in block]
    for atom, row in enumerate(rows):
        if len(row) != columns.width:
            raise FileFormatError(
                f"{where}: atom {atom}: expected {columns.width} columns, found {len(row)}"
            )
    forces_key, forces = _forces(rows, columns, where)
    numbers, masses = _atoms(rows, columns, where)
    return Frame(
        numbers=numbers,
        positions=_numeric(rows, columns.positions, f"{where}: positions"),
        energy=energy,
        forces=forces,
        masses=masses,
        tags={name: comments.typed(*value) for name, value in pairs.items() if is_tag(name)},
        units=stated,
        keys={"energy": energy_key, "forces": forces_key},
        ignored=columns.ignored,
        others=others + columns.ignored,
        from_ipi=from_ipi,
    )


def _energy(pairs: comments.Pairs, key: str | None, where: str) -> tuple[str | None, float | None]:
    """The energy and its key; every pair that holds one is taken out, so that none stays a tag.

    Raises:
        FileFormatError: several, and they differ; or the one that was asked for is not there.
    """
    single = [name for name in pairs if not name.lower().endswith("energies")]
    usual = keys.energy_keys(single)
    if key is not None:
        keys.check_there(key, single, "energy")
        found = [key]
    else:
        found = usual
    values = [_number(pairs[name][0], name) for name in found]
    keys.check_one(found, values, "energy")
    for name in {*found, *usual, *(name for name in pairs if name.lower() == keys.FREE_ENERGY)}:
        del pairs[name]
    return (found[0], values[0]) if found else (None, None)


def _forces(
    rows: Sequence[Sequence[str]], columns: Layout, where: str
) -> tuple[str | None, np.ndarray | None]:
    """The forces and the name of their column.

    Raises:
        FileFormatError: several columns have forces, and they differ.
    """
    if not columns.forces:
        return None, None
    names = list(columns.forces)
    found = [_numeric(rows, columns.forces[name], f"{where}: {name}") for name in names]
    try:
        keys.check_one(names, found, "forces")
    except FileFormatError as error:
        raise FileFormatError(f"{where}: columns {error}") from None
    return names[0], found[0]


def _atoms(
    rows: Sequence[Sequence[str]], columns: Layout, where: str
) -> tuple[np.ndarray, np.ndarray | None]:
    """Atomic numbers (atoms,), and masses (atoms,) in amu where a column or a symbol states them.

    Raises:
        FileFormatError: no element, a mass that is not positive, or D or T with another mass.
    """
    symbols = tuple([row[columns.species] for row in rows])
    try:
        numbers, isotopes = _elements(symbols)
    except FileFormatError as error:
        raise FileFormatError(f"{where}: {error}") from None
    if columns.masses is None:
        if not isotopes:
            return numbers, None
        masses = standard_masses(numbers)
        masses[list(isotopes)] = list(isotopes.values())
        return numbers, masses
    place = slice(columns.masses, columns.masses + 1)
    masses = _numeric(rows, place, f"{where}: masses")[:, 0]
    for atom, mass in enumerate(masses):
        if not mass > 0:
            raise FileFormatError(f"{where}: atom {atom}: expected a positive mass, found {mass:g}")
        if abs(isotopes.get(atom, mass) - mass) > SAME_MASS:
            raise FileFormatError(
                f"{where}: atom {atom} is {symbols[atom]}, but its mass is {mass:g} amu"
            )
    return numbers, masses


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

    known = {symbol: number for number, symbol in enumerate(chemical_symbols) if number}
    return known | dict.fromkeys(ISOTOPES, 1)


@lru_cache(maxsize=8)
def _elements(symbols: tuple[str, ...]) -> tuple[np.ndarray, dict[int, float]]:
    """Atomic numbers (atoms,), and the masses in amu of the atoms that are D or T.

    Raises:
        FileFormatError: no element; without the frame, which the caller knows.
    """
    numbers = np.array([_atomic_number(symbol) for symbol in symbols])
    numbers.flags.writeable = False
    named = [(atom, ISOTOPES.get(symbol.upper())) for atom, symbol in enumerate(symbols)]
    return numbers, {atom: mass for atom, mass in named if mass is not None}


def _atomic_number(text: str) -> int:
    known = _atomic_numbers()
    if text in known:
        return known[text]
    if text.capitalize() in known:
        return known[text.capitalize()]
    if re.fullmatch(r"[1-9]\d{0,2}", text) and int(text) <= 118:
        return int(text)
    raise FileFormatError(f"expected a chemical element, found {shorten(text)}")


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
        if first.keys[name] != frame.keys[name]:
            raise FileFormatError(
                f"{path}: frame {index}: {name} is under {frame.keys[name]}, in frame 0 under "
                f"{first.keys[name]}; rename one of them"
            )
    if first.units != frame.units:
        raise UnitError(f"{path}: frame {index}: declares other units than frame 0")


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
