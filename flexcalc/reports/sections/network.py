"""Minima, the saddles between them, and the rates over these."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from flexcalc.analysis.network import mean_first_passage_s, rate_matrix
from flexcalc.display import html
from flexcalc.display.numbers import NONE, fixed, number
from flexcalc.reports import facts, rows
from flexcalc.reports.exports import columns_of
from flexcalc.reports.folder import RunFolder
from flexcalc.reports.sections import stationary
from flexcalc.results.network import (
    POINTS,
    Network,
    NetworkBarrier,
    NetworkMinimum,
    drawing_of,
    ends_of,
)
from flexcalc.results.stationary import STATIONARY

TITLE = "Minima and the ways between them"
MOST_PASSAGES = 8


def body(folder: RunFolder) -> str:
    """The section as HTML."""
    result = facts.typed(Network, folder)
    minima, barriers = rows.read(folder, NetworkMinimum), rows.read(folder, NetworkBarrier)
    intro = (
        "Minima of the molecule were relaxed from the starts, bands between near ones searched in "
        "one batch, and their tops refined to saddles of first order; both sides of each saddle "
        "were relaxed, and minima that were new among them added. Mirror images are one minimum."
    )
    parts = [html.paragraph(intro, "lead"), facts.cards(result, folder)]
    parts.append(html.notes(result.warnings))
    parts.append(facts.coverage_note(result.coverage))
    if not minima:
        return "".join([*parts, html.paragraph("There are no minima yet.")])
    if result.parts is not None and result.parts > 1:
        parts.append(html.notes([f"The minima are in {result.parts} parts that no saddle joins."]))
    drawing = drawing_of(minima, barriers)
    if drawing is not None:
        svg = drawing.svg("network-tree", "Disconnectivity graph of the minima")
        caption = (
            "Disconnectivity graph: each line ends at the energy of a minimum, above the lowest, "
            "and lines join at the lowest energy at which a way leads from one to the other."
        )
        parts.append(html.figure(svg, caption, wide=True))
    if (folder.path / STATIONARY).exists():
        parts.append(stationary.body(folder, _checked(minima)))
    else:
        parts.append(stationary.pictures(folder, POINTS, f"Minima and saddles, from {POINTS}."))
    parts += [_minima(minima, folder), _barriers(barriers, folder, result.temperature_K)]
    parts.append(_passages(minima, barriers))
    return "".join(parts)


def _checked(minima: Sequence[NetworkMinimum]) -> str:
    """What the comparison with the reference is."""
    return (
        f"The reference was calculated at the {len(minima)} minima and at the saddles of the "
        "model, as they are."
    )


def _minima(minima: Sequence[NetworkMinimum], folder: RunFolder) -> str:
    folder.tables["minima"] = columns_of([row.to_dict() for row in minima])
    cells = [
        (
            row.name,
            fixed(row.energy_kcal_mol, 2),
            stationary.optional(row.gibbs_kcal_mol),
            fixed(100 * row.population, 2),
            str(row.symmetry_number),
            "yes" if row.chiral else "no",
            fixed(row.lowest_frequency_cm, 0),
        )
        for row in minima
    ]
    head = (
        *("minimum", "energy", "Gibbs energy", "population, %", "symmetry number", "chiral"),
        "lowest frequency",
    )
    caption = (
        "Energies and Gibbs energies above the lowest in kcal/mol, frequencies in cm⁻¹. A chiral "
        "minimum has its mirror image in its population."
    )
    return html.heading("Minima") + html.table(head, cells, caption)


def _barriers(
    barriers: Sequence[NetworkBarrier], folder: RunFolder, temperature_K: float | None
) -> str:
    if not barriers:
        return html.paragraph("No saddle was found.")
    folder.tables["barriers"] = columns_of([row.to_dict() for row in barriers])
    cells = [
        (
            row.name,
            row.start,
            row.end,
            fixed(row.energy_kcal_mol, 2),
            stationary.optional(row.activation_kcal_mol),
            stationary.optional(row.activation_back_kcal_mol),
            number(row.rate_per_s, 3),
            number(row.rate_back_per_s, 3),
            fixed(row.imaginary_frequency_cm, 0),
        )
        for row in barriers
    ]
    head = (
        *("saddle", "from", "to", "barrier", "ΔG‡", "ΔG‡ back", "rate", "rate back"),
        "imaginary frequency",
    )
    kelvin = "" if temperature_K is None else f" at {number(temperature_K)} K"
    caption = (
        "Barriers above the lower one of the two minima, and Gibbs energies of activation, in "
        f"kcal/mol; rates{kelvin} in 1/s by Eyring, without tunnelling; imaginary frequencies in "
        "cm⁻¹. A barrier from a minimum to itself leads to its mirror image, or exchanges "
        "identical atoms."
    )
    return html.heading("Saddles") + html.table(head, cells, caption, words=3)


def _passages(minima: Sequence[NetworkMinimum], barriers: Sequence[NetworkBarrier]) -> str:
    """The mean first-passage times between the minima that are populated most."""
    ends = ends_of(minima, barriers)
    if len(minima) < 2 or len(ends) < len(barriers) or not len(barriers):
        return ""
    rates = np.array([(row.rate_per_s, row.rate_back_per_s) for row in barriers])
    times = mean_first_passage_s(rate_matrix(len(minima), ends, rates))
    shown = np.argsort([-row.population for row in minima], kind="stable")[:MOST_PASSAGES]
    names = [minima[index].name for index in shown]
    cells = [
        [minima[start].name] + [_time(times[start, end]) if start != end else NONE for end in shown]
        for start in shown
    ]
    caption = (
        "Mean time in seconds until a molecule in the minimum of the row first reaches that of "
        "the column, over any saddles, for the minima that are populated most."
    )
    return html.heading("Mean first-passage times") + html.table(("from", *names), cells, caption)


def _time(seconds: float) -> str:
    return number(float(seconds), 3) if np.isfinite(seconds) else "never"
