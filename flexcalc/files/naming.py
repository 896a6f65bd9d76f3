"""How geometries are named: a file, some frames of it, or a SMILES in place of one.

`FILE@INDEX` names frames of a file in ASE's syntax: `path.xyz@-1` the last, `@3` the fourth, `@:`
all, `@::10` every tenth.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from flexcalc.errors import FileFormatError

SMILES = "smiles:"
"""Prefix of a molecule that is given as SMILES."""

FRAMES = re.compile(r"(.+)@(-?\d{1,12}|-?\d{0,12}:-?\d{0,12}(?::-?\d{0,12})?)", re.DOTALL)
"""A file's name, and an index or a slice."""

ORGANIC = re.compile(r"(\[[^\[\]]+\]|Cl|Br|[BCNOPSFIbcnops]|[-=#$:/\\.()~%\d])+")
"""A SMILES: atoms in brackets or of the organic subset, bonds, branches and rings."""


def split_frames(path: Path | str) -> tuple[Path, int | slice | None]:
    """A file, and the frames of it that are named; None for all of a file that is named alone.

    A file whose own name ends like that is meant itself.
    """
    text = str(path)
    found = FRAMES.fullmatch(text)
    if found is None or os.path.lexists(text):
        return Path(path), None
    parts = [int(part) if part else None for part in found[2].split(":")]
    index = slice(*parts) if len(parts) > 1 else parts[0]
    return Path(found[1]), index


def frame_indices(index: int | slice, count: int, path: Path) -> list[int]:
    """The frames of an index or a slice, of `count` in a file.

    Raises:
        FileFormatError: there are none.
    """
    try:
        found = range(count)[index]
    except (IndexError, ValueError):
        found = range(0)
    chosen = [found] if isinstance(found, int) else list(found)
    if not chosen:
        raise FileFormatError(
            f"{path}: no such frame; the file has {count}, @0 to @{count - 1}, and @-1 is the last"
        )
    return chosen


def hint_of(path: Path | str) -> str:
    """What may have been meant by a name under which there is no file of geometries; or nothing."""
    text = str(path)
    if text.startswith(SMILES):
        return "; only label and info take a SMILES, and label writes its geometries to starts.xyz"
    labels = os.path.join(text, "labels.xyz")
    if os.path.isfile(labels):
        return f"; did you mean {labels}?"
    for name in (text, Path(text).name):
        if ORGANIC.fullmatch(name) and not os.path.lexists(text):
            return f"; a SMILES is written {SMILES}{name}"
    return ""
