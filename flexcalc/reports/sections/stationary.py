"""Minima and barriers of a learned model, compared with its reference."""

from __future__ import annotations

import math
from collections.abc import Sequence

from flexcalc.display import html, molecule
from flexcalc.display.numbers import NONE, fixed
from flexcalc.reports import rows
from flexcalc.reports.exports import columns_of
from flexcalc.reports.folder import RunFolder
from flexcalc.results.stationary import (
    ARTEFACT_KCAL_MOL_A,
    HOLDS_KCAL_MOL,
    STATIONARY,
    Compared,
    LearnedBarrier,
    LearnedMinimum,
)

MOST_PICTURES = 24
ENERGIES = ("model", "reference", "difference", "holds", "reference force")


LEARNED = (
    "The reference was calculated at these geometries, which the model had not been trained on; "
    "the final model has been since, so that its errors there are smaller."
)


def body(folder: RunFolder, checked: str = LEARNED) -> str:
    """The part of the section as HTML; nothing where no points were checked.

    Args:
        folder: of the run.
        checked: what the reference was calculated at.
    """
    minima, barriers = rows.read(folder, LearnedMinimum), rows.read(folder, LearnedBarrier)
    if not minima:
        return ""
    for name, found in (("minima", minima), ("barriers", barriers)):
        if found:
            folder.tables[name] = columns_of([row.to_dict() for row in found])
    intro = (
        f"Minima of the model, and saddles between them, from searches on the model. {checked} "
        f"A relative energy holds where it differs by at most {HOLDS_KCAL_MOL:g} kcal/mol. A force "
        "of the reference is zero where it has its own stationary point. Mirror images, which "
        "have the same energy, are listed once."
    )
    parts = [html.heading("Minima and barriers"), html.paragraph(intro)]
    caption = (
        "Energies above the lowest minimum of the model that is no artefact, at which the force of "
        f"the reference is below {ARTEFACT_KCAL_MOL_A:g} kcal/mol/Å; in kcal/mol, forces in "
        "kcal/mol/Å."
    )
    cells = [[row.name, *_cells(row)] for row in minima]
    table = html.table(("minimum", *ENERGIES), cells, caption)
    parts.append(pictures(folder, STATIONARY, CAPTION) + table)
    if barriers:
        caption = (
            "Energies of the saddles above the lower one of the two minima in kcal/mol, forces in "
            "kcal/mol/Å, imaginary frequencies in cm⁻¹. A barrier from a minimum to itself leads "
            "to its mirror image, or exchanges identical atoms."
        )
        cells = [
            [row.name, row.start, row.end, *_cells(row), fixed(row.imaginary_frequency_cm, 0)]
            for row in barriers
        ]
        head = ("saddle", "from", "to", *ENERGIES, "imaginary frequency")
        parts.append(html.table(head, cells, caption, words=3))
    return "".join(parts)


def _cells(row: Compared) -> Sequence[str]:
    """Energies, whether they agree, and the force."""
    holds = {True: "yes", False: "NO", None: "not checked"}[row.holds]
    difference = row.difference_kcal_mol
    return (
        fixed(row.energy_kcal_mol, 2),
        optional(row.reference_kcal_mol),
        NONE if difference is None else fixed(difference, 2, sign=True),
        holds,
        optional(row.reference_force_kcal_mol_A),
    )


def optional(value: float | None) -> str:
    """A number with two digits, or a dash."""
    return NONE if value is None or math.isnan(value) else fixed(value, 2)


CAPTION = f"Minima and saddles of the model with labels of the reference, from {STATIONARY}."


def pictures(folder: RunFolder, file: str, caption: str) -> str:
    """Pictures of the minima and saddles in a file; nothing where there are none with names."""
    frames = folder.frames(file)
    if frames is None or "name" not in frames.tags:
        return ""
    shown = frames[:MOST_PICTURES]
    view = molecule.look(shown.numbers, shown.positions)
    names = shown.tags["name"].astype(str)
    tiles = [
        (molecule.picture(view, index, f"point-{index}", f"The molecule at {name}"), name, "")
        for index, name in enumerate(names)
    ]
    return html.figure(html.film(tiles), caption)
