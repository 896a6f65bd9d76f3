"""Units of files: spelling -> factor to eV, angstrom and eV/angstrom."""

from __future__ import annotations

from difflib import get_close_matches
from functools import cache

from flexcalc.errors import UnitError

ENERGY_SPELLINGS = {
    "eV": ("ev", "electronvolt", "electronvolts"),
    "meV": ("mev",),
    "kcal/mol": ("kcal/mol", "kcal/mole", "kcalmol", "kcal*mol^-1", "kcalmol^-1", "kcalmol-1"),
    "kJ/mol": ("kj/mol", "kj/mole", "kjmol", "kj*mol^-1", "kjmol^-1", "kjmol-1"),
    "hartree": ("hartree", "hartrees", "ha", "eh", "e_h"),
    "mhartree": ("mhartree", "mha", "millihartree"),
    "rydberg": ("rydberg", "ry"),
}
LENGTH_SPELLINGS = {
    "angstrom": ("angstrom", "angstroms", "ang", "a", "å", "ångström", "ångstrom"),
    "bohr": ("bohr", "bohrs", "a0", "a_0"),
    "nm": ("nm", "nanometer", "nanometre"),
    "pm": ("pm", "picometer", "picometre"),
}


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
