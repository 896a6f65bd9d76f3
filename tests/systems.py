"""Molecules that several test files use."""

from pathlib import Path

from ase import Atoms
from ase.io import read

INPUTS = Path(__file__).parents[1] / "inputs"


def molecule(name: str) -> Atoms:
    """The geometry inputs/NAME.xyz."""
    atoms = read(INPUTS / f"{name}.xyz", index=-1)
    assert isinstance(atoms, Atoms)
    return atoms
