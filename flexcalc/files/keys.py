"""Which key of a file names the energies, and which the forces.

Packages have their own: `energy` and `forces` (ASE), `REF_energy` and `REF_forces` (MACE),
`dft_energy` and `dft_force` (GAP), `total_energy` (NequIP), `E` and `F` (sGDML).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from flexcalc.errors import FileFormatError

PREFIXES = r"((ref|reference|dft|qm|total|potential)_?)?"
ENERGY = re.compile(rf"{PREFIXES}energ(y|ies)", re.IGNORECASE)
FORCES = re.compile(rf"{PREFIXES}forces?", re.IGNORECASE)
FREE_ENERGY = "free_energy"
"""The free energy, which ASE writes next to `energy`. It includes the entropy of the electrons, and
is read only if there is no other energy."""

SAME_ENERGY, SAME_FORCE = 1e-6, 1e-5
"""Labels under two keys that differ by less than this, in the file's unit, are rounded alike."""


class Wanted(NamedTuple):
    """Which keys to take energies and forces from; by default the usual ones."""

    energy: str | None = None
    forces: str | None = None


USUAL = Wanted()


def energy_keys(names: Iterable[str]) -> list[str]:
    """Names of energies among keys, the plain one first."""
    names = list(names)
    found = [name for name in names if ENERGY.fullmatch(name)]
    return sorted(found, key="energy".__ne__) or [n for n in names if n.lower() == FREE_ENERGY]


def forces_keys(names: Iterable[str]) -> list[str]:
    """Names of forces among keys, the plain one first."""
    return sorted(filter(FORCES.fullmatch, names), key="forces".__ne__)


def others_alike(names: Iterable[str], what: str) -> list[str]:
    """Names that could be labels but are none of the usual: `xtb_energy`, `forces_pbe`.

    Args:
        what: `energy` or `forces`.
    """
    part = re.compile(rf"(^|_){what.removesuffix('s')}s?($|_)", re.IGNORECASE)
    usual = ENERGY if what == "energy" else FORCES
    return [n for n in names if part.search(n) and not usual.fullmatch(n) and n != FREE_ENERGY]


def check_one(keys: Sequence[str], values: Sequence[np.ndarray | float], what: str) -> None:
    """Refuse labels under several keys that are not the same.

    Args:
        keys: of the file.
        values: under them, of one shape each.
        what: `energy` or `forces`, as in the option that says which to take.

    Raises:
        FileFormatError: they differ; without the file, which the caller knows.
    """
    bound = SAME_ENERGY if what == "energy" else SAME_FORCE
    for key, value in zip(keys[1:], values[1:], strict=True):
        if not np.allclose(values[0], value, rtol=1e-9, atol=bound):
            raise FileFormatError(
                f"{keys[0]} and {key} differ; say which to take, as in --{what}-key {key}"
            )


def check_there(key: str, names: Iterable[str], what: str) -> None:
    """Refuse a key that was asked for and is not there.

    Raises:
        FileFormatError: it is not; without the file, which the caller knows.
    """
    names = list(names)
    if key not in names:
        found = ", ".join(names)[:120] or "none"
        raise FileFormatError(f"--{what}-key: no {key!r} there; found {found}")


def note(
    what: str, taken: str | None, plain: Sequence[str | None], names: Iterable[str]
) -> list[str]:
    """Notice about the key that labels were read from.

    Args:
        what: `energy` or `forces`.
        taken: the key, or None if there are no such labels.
        plain: keys that need no word.
        names: all keys of the file.
    """
    label = "energies" if what == "energy" else "forces"
    if taken is not None:
        return [] if taken in plain else [f"{label} are taken from {taken}"]
    others = others_alike(names, what)
    return [f"no {label} are taken (--{what}-key {others[0]} takes those)"] if others else []
