"""The comment line of a frame: key=value pairs of extended XYZ, and i-PI's braces.

Formats: https://github.com/libAtoms/extxyz;
https://docs.ipi-code.org (comment lines of i-PI's xyz files)
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from flexcalc.errors import FileFormatError
from flexcalc.files.frames import shorten
from flexcalc.files.units import kind_of_key

Pairs = dict[str, tuple[str, bool]]
"""Key -> (text, whether it was quoted)."""

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

ELECTRONS = ("charge", "multiplicity")
"""Keys that a reference method follows (`tasks/molecule.py`)."""
PERIODIC = ("Lattice", "pbc")

CELL = re.compile(r"\bCELL\s*[(\[{]\w+[)\]}]\s*:")
BRACES = re.compile(r"(?<![\w=])(\w+)\{([^{}]*)\}")
POSITIONS = ("positions", "x_centroid")
"""Of what i-PI writes as xyz, these are positions."""


def pairs(comment: str, where: str) -> Pairs:
    """The pairs of a comment line; of plain XYZ, a free text, those alone that change its meaning.

    Raises:
        FileFormatError: a key is there twice, or a quote is not closed.
    """
    found: Pairs = {}
    end = 0
    comment = comment.strip()
    while end < len(comment):
        match = PAIR.match(comment, end)
        if match is None:
            break
        key = _unescaped(match["key"].strip('"'))
        if key in found:
            break
        found[key] = _text(match)
        end = match.end()
    if "Properties" not in found and "Properties=" not in comment:
        return {key: value for key, value in found.items() if _counts(key, value)}
    if end < len(comment):
        raise FileFormatError(
            f"{where}: cannot read the comment line from {shorten(comment[end:])} on "
            "(a key given twice, or a quote that is not closed)"
        )
    return found


def _counts(key: str, value: tuple[str, bool]) -> bool:
    """Whether a key-value pair in the comment of a plain XYZ changes the meaning of the frame."""
    if key in PERIODIC:
        return True
    return value != ("T", False) and (key in ELECTRONS or kind_of_key(key) is not None)


def of_ipi(comment: str) -> tuple[bool, str | None]:
    """Whether i-PI wrote a comment line, and the unit of length that it declares.

    Such a line is `# CELL(abcABC): 60 60 60 90 90 90  Step: 0  Bead: 0 positions{angstrom}
    cell{atomic_unit}`.

    Raises:
        FileFormatError: the frame holds velocities or forces; without the frame.
    """
    ours = CELL.search(comment) is not None
    for name, unit in BRACES.findall(comment):
        if name in POSITIONS:
            return True, _length(unit.strip())
        if ours and name != "cell":
            raise FileFormatError(f"these are {shorten(name)} of i-PI; expected positions")
    return ours, None


def _length(unit: str) -> str:
    """A unit as i-PI spells it: `ase` is angstrom, and none the atomic one."""
    return {"ase": "angstrom", "": "atomic_unit", "automatic": "atomic_unit"}.get(unit, unit)


def is_periodic(found: Mapping[str, tuple[str, bool]]) -> bool:
    """Whether the pairs of a comment line make the frame periodic in any direction."""
    text = found["pbc"][0] if "pbc" in found else ("T" if "Lattice" in found else "F")
    return any(TRUTH.get(word, True) for word in text.split())


def typed(text: str, quoted: bool) -> str | int | float | bool:
    """The value of a pair, converted to the type it looks like; quoted values are text."""
    if quoted:
        return text
    if text in TRUTH:
        return TRUTH[text]
    if INTEGER.fullmatch(text):
        return int(text)
    return float(text) if NUMBER.fullmatch(text) else text


def _text(match: re.Match[str]) -> tuple[str, bool]:
    """The value of a pair, and whether it was quoted; a key alone means true."""
    if match["double"] is not None:
        return _unescaped(match["double"]), True
    for kind in ("single", "brace", "bracket"):
        if match[kind] is not None:
            return match[kind], True
    return match["bare"] or "T", False


def _unescaped(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text) if "\\" in text else text
