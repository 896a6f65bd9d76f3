"""The columns of a frame of extended XYZ, as `Properties` names them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from flexcalc.errors import FileFormatError
from flexcalc.files import keys
from flexcalc.files.frames import shorten

WIDTHS = {"pos": 3, "species": 1, "Z": 1, "masses": 1}
"""Columns that are read in addition to the forces, and their widths."""
ALIASES = {"mass": "masses"}
KINDS = ("S", "R", "I", "L")


@dataclass(frozen=True)
class Layout:
    """Positions of the columns in a line.

    Args:
        species: column of the element.
        positions: of the positions.
        masses: column of the mass, or None.
        forces: name -> columns of everything that may be the forces, the plain one first.
        ignored: names of the columns that are not used.
        width: number of columns.
    """

    species: int
    positions: slice
    masses: int | None
    forces: Mapping[str, slice]
    ignored: tuple[str, ...]
    width: int


@lru_cache(maxsize=64)
def layout(properties: str, forces_key: str | None = None) -> Layout:
    """The layout that a `Properties` describes.

    Args:
        properties: such as species:S:1:pos:R:3:forces:R:3.
        forces_key: column to take the forces from, instead of any of the usual names.

    Raises:
        FileFormatError: without the frame, which the caller knows.
    """
    places = _places(properties)
    for name, width in WIDTHS.items():
        if name in places and places[name].stop - places[name].start != width:
            raise FileFormatError(f"column {shorten(name)}: of wrong width; expected {width}")
    if "pos" not in places or not places.keys() & {"species", "Z"}:
        raise FileFormatError("Properties lacks pos or species")
    threes = [name for name, place in places.items() if place.stop - place.start == 3]
    if forces_key is None:
        chosen = keys.forces_keys(threes)
        if "forces" in places and "forces" not in threes:
            raise FileFormatError("column 'forces': of wrong width; expected 3")
    else:
        keys.check_there(forces_key, threes, "forces")
        chosen = [forces_key]
    used = {*WIDTHS, *chosen[:1]}
    return Layout(
        species=places["species" if "species" in places else "Z"].start,
        positions=places["pos"],
        masses=places["masses"].start if "masses" in places else None,
        forces={name: places[name] for name in chosen},
        ignored=tuple(name for name in places if name not in used),
        width=max(place.stop for place in places.values()),
    )


def _places(properties: str) -> dict[str, slice]:
    """Column name -> its slice of a line."""
    fields = properties.split(":")
    places: dict[str, slice] = {}
    start = 0
    if len(fields) % 3:
        raise FileFormatError(f"Properties={shorten(properties)} is not name:type:count")
    for name, kind, count in zip(fields[::3], fields[1::3], fields[2::3], strict=True):
        name = ALIASES.get(name, name)
        if not re.fullmatch(r"[1-9][0-9]{0,3}", count) or kind not in KINDS:
            raise FileFormatError(f"column {shorten(name)}: bad type or count in Properties")
        if name in places:
            raise FileFormatError(f"column {shorten(name)}: given twice in Properties")
        places[name] = slice(start, start + int(count))
        start += int(count)
    return places
