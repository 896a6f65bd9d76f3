"""The numbered atoms of a molecule: picture, table, and dihedrals to paste."""

from __future__ import annotations

from flexcalc.display import html, molecule
from flexcalc.geometry import Structure

HEAD = ("index", "element", "bonded to")
"""Columns of the table of atoms."""


def rows(structure: Structure) -> list[tuple[str, str, str]]:
    """Index, element and neighbours of each atom."""
    listed = zip(structure.symbols, structure.bonded_to, strict=True)
    return [
        (str(atom), symbol, " ".join(map(str, near))) for atom, (symbol, near) in enumerate(listed)
    ]


def picture(structure: Structure, name: str) -> str:
    """The molecule as SVG, with the index of each atom; see `molecule.picture` for the name."""
    view = molecule.look(structure.numbers, structure.positions[None])
    return molecule.picture(view, 0, name, "The molecule with its atoms numbered", numbered=True)


def section(structure: Structure, name: str) -> str:
    """The numbered picture with the table of atoms and the rotatable dihedrals."""
    table = html.table(HEAD, rows(structure), "Atoms are counted from 0, as coordinates name them.")
    drawn = html.figures(html.figure(picture(structure, name), "Indices of the atoms.", table))
    dihedrals = structure.rotatable_dihedrals
    if not dihedrals:
        return drawn
    lines = [f'--by "{one.label}"  # {structure.chain(one)}' for one in dihedrals]
    return drawn + html.paragraph("Dihedrals that turn:") + html.preformatted("\n".join(lines))
