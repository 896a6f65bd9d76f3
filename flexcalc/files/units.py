"""Units of files: spelling -> factor to eV, angstrom and eV/angstrom."""

from __future__ import annotations

import re
from collections.abc import Mapping
from difflib import get_close_matches
from functools import cache

import numpy as np

from flexcalc.errors import UnitError

ATOMIC = ("atomic_unit", "atomic_units", "au", "a.u.")
ENERGY_SPELLINGS = {
    "eV": ("ev", "electronvolt", "electronvolts"),
    "meV": ("mev",),
    "kcal/mol": ("kcal/mol", "kcal/mole", "kcalmol", "kcal*mol^-1", "kcalmol^-1", "kcalmol-1"),
    "kJ/mol": ("kj/mol", "kj/mole", "kjmol", "kj*mol^-1", "kjmol^-1", "kjmol-1"),
    "hartree": (
        "hartree",
        "hartrees",
        "ha",
        "eh",
        "e_h",
        "atomic_unit",
        "atomic_units",
        "au",
        "a.u.",
    ),
    "mhartree": ("mhartree", "mha", "millihartree"),
    "rydberg": ("rydberg", "ry"),
}
LENGTH_SPELLINGS = {
    "angstrom": ("angstrom", "angstroms", "ang", "a", "å", "ångström", "ångstrom"),
    "bohr": ("bohr", "bohrs", "a0", "a_0", *ATOMIC),
    "nm": ("nm", "nanometer", "nanometre"),
    "pm": ("pm", "picometer", "picometre"),
}

NAMES = {
    "energy": ("e_unit", "e_units", "energy_unit", "energy_units", "energies_unit", "unit_energy"),
    "length": (
        *("r_unit", "r_units", "length_unit", "length_units", "position_unit", "positions_unit"),
        *("positions_units", "pos_unit", "coords_unit", "coord_unit", "coordinates_unit"),
        *("distance_unit", "unit_length"),
    ),
    "force": ("f_unit", "f_units", "force_unit", "force_units", "forces_unit", "forces_units"),
    "": ("unit", "units"),
}
"""Keys under which files declare units, in small letters; the last ones declare several."""


def energy_unit(text: str) -> tuple[str, float]:
    """Standard name of an energy unit and its size in eV.

    Raises:
        UnitError: unknown spelling.
    """
    return _look_up(text, "energy", ENERGY_SPELLINGS)


def length_unit(text: str) -> tuple[str, float]:
    """Standard name of a length unit and its size in angstrom.

    Raises:
        UnitError: unknown spelling.
    """
    return _look_up(text, "length", LENGTH_SPELLINGS)


def force_unit(text: str) -> tuple[str, float]:
    """Standard name of a force unit such as "kcal/mol/A" and its size in eV/angstrom.

    Raises:
        UnitError: not an energy unit, a slash and a length unit.
    """
    energy, slash, length = str(text).rpartition("/")
    if not slash:
        raise UnitError(
            f"unknown force unit {_shown(text)}; write ENERGY/LENGTH, as in kcal/mol/angstrom"
        )
    try:
        energy_name, in_eV = energy_unit(energy)
        length_name, in_angstrom = length_unit(length)
    except UnitError as error:
        raise UnitError(f"force unit {_shown(text)}: {error}") from None
    return f"{energy_name}/{length_name}", in_eV / in_angstrom


@cache
def kind_of_key(key: str) -> str | None:
    """What a key declares the unit of: energy, length, force, or "" for several; or None."""
    return next((kind for kind, keys in NAMES.items() if key.lower() in keys), None)


def declared(texts: Mapping[str, str]) -> dict[str, str]:
    """The units that a file declares, by quantity.

    Args:
        texts: key -> text for every key of the file that declares units (`kind_of_key`); that of
            several is a list such as "kcal/mol, angstrom".

    Returns:
        `energy`, `length` and `force` -> text, if declared.

    Raises:
        UnitError: a unit is unknown, or declared twice and not alike.
    """
    found: dict[str, str] = {}
    for key, text in texts.items():
        kind = kind_of_key(key)
        words = [text] if kind else [word for word in re.split(r"[,;\s]+", text) if word]
        for word in words:
            of = kind or _kind_of_unit(word, key)
            look_up = LOOK_UP[of]
            if look_up(found.get(of, word)) != look_up(word):
                raise UnitError(f"{of} unit declared as {_shown(found[of])} and {_shown(word)}")
            found[of] = word
    return found


def agreed(kind: str, stated: str | None, said: str | None) -> tuple[str, float] | None:
    """Name and size of a unit from the file and the call, which must not contradict each other.

    Raises:
        UnitError: they do, or one is unknown.
    """
    look_up = LOOK_UP[kind]
    declared = look_up(stated) if stated else None
    given = look_up(said) if said else None
    if declared and given and declared != given:
        raise UnitError(f"the file says {kind} unit {declared[0]}, the call says {given[0]}")
    return given or declared


def check_angstrom(numbers: np.ndarray, positions: np.ndarray) -> None:
    """Refuse bond lengths that cannot be in the angstrom that an unnamed unit is taken for.

    The distance of an atom to its nearest neighbour is near the sum of covalent radii; in bohr
    it looks 1.9 times as long, in nm ten times as short.

    Args:
        numbers: (atoms,) atomic numbers.
        positions: (atoms, 3) of one geometry.

    Raises:
        UnitError: they cannot.
    """
    if len(numbers) < 2 or not 1 <= numbers.min() <= numbers.max() <= 118:
        return
    from ase.data import covalent_radii

    apart = np.linalg.norm(positions[:, None] - positions[None], axis=-1)
    ratio = apart / (covalent_radii[numbers][:, None] + covalent_radii[numbers][None])
    np.fill_diagonal(ratio, np.inf)
    typical = float(np.median(ratio.min(axis=1)))
    if not 0.6 < typical < 1.5:
        raise UnitError(
            f"bonds are {typical:.2f} times as long as they should be in angstrom; "
            "say the unit of the positions, as in --length-unit bohr"
        )


def _kind_of_unit(word: str, key: str) -> str:
    """Whether a unit is one of energy, length or force."""
    wanted = word.strip().lower()
    for kind, spellings in (("energy", ENERGY_SPELLINGS), ("length", LENGTH_SPELLINGS)):
        named = any(wanted in words for words in spellings.values())
        if named and wanted not in ATOMIC:
            return kind
    try:
        force_unit(word)
    except UnitError:
        raise UnitError(
            f"{key}={_shown(word)} is not understood: expected units of energy, length or force, "
            "as in eV, angstrom"
        ) from None
    return "force"


@cache
def _sizes() -> dict[str, float]:
    from flexcalc.units import BOHR, HARTREE, KCAL_MOL, KJ_MOL, MEV

    return {
        "eV": 1.0,
        "meV": MEV,
        "kcal/mol": KCAL_MOL,
        "kJ/mol": KJ_MOL,
        "hartree": HARTREE,
        "mhartree": 1e-3 * HARTREE,
        "rydberg": 0.5 * HARTREE,
        "angstrom": 1.0,
        "bohr": BOHR,
        "nm": 10.0,
        "pm": 0.01,
    }


LOOK_UP = {"energy": energy_unit, "length": length_unit, "force": force_unit}


def _look_up(text: str, kind: str, spellings: dict[str, tuple[str, ...]]) -> tuple[str, float]:
    wanted = str(text).strip().lower().replace(" ", "")
    names = {word: name for name, words in spellings.items() for word in words}
    if wanted in names:
        return names[wanted], _sizes()[names[wanted]]
    near = get_close_matches(wanted, names, n=1)
    hint = f"did you mean {names[near[0]]}?" if near else f"use one of {', '.join(spellings)}"
    raise UnitError(f"unknown {kind} unit {_shown(text)}; {hint}")


def _shown(text: str) -> str:
    return repr(str(text)[:40])
