"""Writing extended XYZ: frames with all digits, and append-only logs of frames."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from flexcalc.dataset import Dataset
from flexcalc.errors import FileFormatError, InputError
from flexcalc.storage import AppendLog

TAG_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")
RESERVED = {"Properties", "energy", "pbc", "Lattice", "forces"}
"""Keys of the comment line that are no tags."""


def to_bytes(dataset: Dataset) -> bytes:
    """A dataset as extxyz in eV and angstrom, with all digits.

    Raises:
        InputError: a tag does not fit on a comment line.
    """
    fixed = dataset.provenance.columns()
    return b"".join(
        _frame(
            dataset.numbers,
            dataset.positions[index],
            None if dataset.energies is None else dataset.energies[index],
            None if dataset.forces is None else dataset.forces[index],
            {name: column[index] for name, column in dataset.tags.items()} | fixed,
            None if dataset.masses is None else dataset.masses[index],
        )
        for index in range(len(dataset))
    )


def frame_bytes(
    numbers: ArrayLike,
    positions: ArrayLike,
    energy: float | None = None,
    forces: ArrayLike | None = None,
    *,
    masses: ArrayLike | None = None,
    **tags: Any,
) -> bytes:
    """One frame, ending in a newline; reading it returns the same numbers.

    Args:
        numbers: (atoms,) atomic numbers.
        positions: (atoms, 3) in angstrom.
        energy: in eV.
        forces: (atoms, 3) in eV/angstrom.
        masses: (atoms,) in amu; None or empty for standard masses.
        **tags: numbers, truth values or text for the comment line.

    Raises:
        InputError: a tag's name or value does not fit on a comment line.
    """
    return _frame(numbers, positions, energy, forces, tags, masses)


def _frame(
    numbers: ArrayLike,
    positions: ArrayLike,
    energy: float | None,
    forces: ArrayLike | None,
    tags: Mapping[str, Any],
    masses: ArrayLike | None,
) -> bytes:
    from ase.data import chemical_symbols

    rows = np.asarray(positions, dtype=np.float64)
    properties = "species:S:1:pos:R:3"
    if forces is not None:
        rows = np.hstack([rows, np.asarray(forces, dtype=np.float64)])
        properties += ":forces:R:3"
    if masses is not None and len(np.asarray(masses)):
        rows = np.hstack([rows, np.asarray(masses, dtype=np.float64)[:, None]])
        properties += ":masses:R:1"
    words = [f"Properties={properties}"]
    if energy is not None:
        words.append(f"energy={float(energy)!r}")
    words += [_word(name, value) for name, value in tags.items()]
    words.append('pbc="F F F"')
    lines = [str(len(rows)), " ".join(words)]
    for number, row in zip(np.asarray(numbers).tolist(), rows.tolist(), strict=True):
        lines.append(f"{chemical_symbols[number]} {' '.join(map(repr, row))}")
    return ("\n".join(lines) + "\n").encode()


def _word(name: str, value: Any) -> str:
    if not is_tag(name):
        raise InputError(f"tag {shorten(name)}: not a name for a comment line")
    if isinstance(value, bool | np.bool_):
        return f"{name}={'T' if value else 'F'}"
    if isinstance(value, int | np.integer):
        return f"{name}={int(value)}"
    if isinstance(value, float | np.floating):
        return f"{name}={float(value)!r}"
    text = str(value)
    if not text.isprintable():
        raise InputError(f"tag {name}: {shorten(text)} does not fit on a comment line")
    return f'{name}="{_escaped(text)}"'


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')


def is_tag(name: str) -> bool:
    """Whether a key of the comment line can be a tag."""
    return bool(TAG_NAME.fullmatch(name)) and name not in RESERVED


def shorten(text: str) -> str:
    """Text as it is quoted in messages."""
    return repr(text if len(text) <= 40 else text[:37] + "...")


def whole_frames(content: bytes) -> int:
    """Length of the complete frames at the start of a log; the `whole` of a log of frames.

    A frame is complete only if its last line ends in a newline. Zeros at the end, which a power
    cut can leave, count as cut.

    Raises:
        FileFormatError: a complete frame is not followed by the beginning of another, so the
            log was damaged by something else than a kill.
    """
    start = 0
    while start < len(content):
        newline = content.find(b"\n", start)
        if newline < 0:
            break
        if not re.fullmatch(rb"[1-9]\d{0,5}", content[start:newline]):
            raise FileFormatError(
                f"byte {start}: expected the number of atoms of the next frame, found "
                f"{shorten(content[start:newline].decode(errors='replace'))}"
            )
        end = newline
        for _ in range(int(content[start:newline]) + 1):
            end = content.find(b"\n", end + 1)
            if end < 0:
                return start
        start = end + 1
    return start


class FrameLog(AppendLog):
    """A log of frames; a frame that a kill has cut is removed on opening.

    Raises:
        FileFormatError: the log is damaged.
    """

    def __init__(self, path: Path | str):
        try:
            super().__init__(Path(path), whole_frames)
        except FileFormatError as error:
            raise FileFormatError(f"{path}: {error}") from None

    def extend(self, records: Sequence[Any]) -> None:
        """Append the frames of datasets."""
        self.append(b"".join(map(to_bytes, records)))
