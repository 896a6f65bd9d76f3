"""Masses of atoms: the standard ones, and those of hydrogen's isotopes."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

ISOTOPES = {"D": 2.014101778, "T": 3.016049281}
"""Symbols of hydrogen's isotopes and their masses in amu.

Source: Wang et al., Chinese Phys. C 45, 030003 (2021), the atomic mass evaluation AME2020."""

ISOTOPE_AMU = 0.1
"""A mass in amu that is this far from the standard one is told as an isotope's."""


def standard_masses(numbers: ArrayLike) -> np.ndarray:
    """Standard atomic masses (atoms,) in amu, as in `ase.data`."""
    from ase.data import atomic_masses

    return np.array(atomic_masses[np.asarray(numbers, dtype=int)], dtype=float)


def atomic_masses(numbers: ArrayLike, own: ArrayLike | None = None) -> np.ndarray:
    """Masses (atoms,) in amu: a molecule's own where it has any, or else standard ones.

    Args:
        numbers: (atoms,) atomic numbers.
        own: (atoms,) in amu; None or empty for standard ones.
    """
    found = np.array(() if own is None else own, dtype=float)
    return found if found.size else standard_masses(numbers)


def of_frames(own: ArrayLike | None, frames: int) -> np.ndarray | None:
    """A molecule's own masses (atoms,) for each of some frames (frames, atoms); None for none."""
    found = np.array(() if own is None else own, dtype=float)
    return np.tile(found, (frames, 1)) if found.size else None


def isotopes(numbers: ArrayLike, masses: ArrayLike) -> str:
    """Which atoms are isotopes, in words: `H 1, 2 and 3 of 2.014 amu`; empty for none.

    Args:
        numbers: (atoms,) atomic numbers.
        masses: (atoms,) in amu.
    """
    from ase.data import chemical_symbols

    numbers, masses = np.asarray(numbers, dtype=int), np.asarray(masses, dtype=float)
    unusual = np.abs(masses - standard_masses(numbers)) > ISOTOPE_AMU
    groups: dict[tuple[int, float], list[str]] = {}
    for atom in np.flatnonzero(unusual):
        key = (int(numbers[atom]), round(float(masses[atom]), 3))
        groups.setdefault(key, []).append(str(atom))
    return "; ".join(
        f"{chemical_symbols[number]} {', '.join(atoms)}: {mass:g} amu"
        for (number, mass), atoms in groups.items()
    )
