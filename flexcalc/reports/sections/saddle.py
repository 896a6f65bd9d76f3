"""A saddle point: imaginary mode, intrinsic reaction coordinate and rates."""

from __future__ import annotations

import numpy as np

from flexcalc.dataset import Dataset
from flexcalc.display import figures, html, molecule
from flexcalc.display.numbers import NONE, fixed, number
from flexcalc.reports import facts
from flexcalc.reports.folder import RunFolder
from flexcalc.results.rates import Rates
from flexcalc.results.saddle import DESCENT, MODE, RATES, VIBRATIONS, Saddle
from flexcalc.store import Store
from flexcalc.units import KCAL_MOL

TITLE = "Saddle and rates"
LOWEST = 8
"""Frequencies that are listed; all are in vibrations.json."""
TILES = 7
"""Pictures along the intrinsic reaction coordinate."""


def body(folder: RunFolder) -> str:
    """The section as HTML."""
    intro = (
        "The guess was refined to a saddle point: a maximum along one mode and a minimum along "
        "all others. The intrinsic reaction coordinate (steepest descent in mass-weighted "
        "coordinates) leads from it to the minima that it connects."
    )
    result = facts.typed(Saddle, folder)
    parts = [html.paragraph(intro, "lead"), html.cards(result.cards())]
    parts.append(facts.cost(result.evaluations))
    parts.append(html.notes(result.warnings))
    if result.first_order is False:
        parts.append(html.notes([_complaint(result)]))
    parts.append(facts.coverage_note(result.coverage))
    split = {"start": result.irc_start_split, "end": result.irc_end_split}
    parts += [_connected(result), _split([side for side, yes in split.items() if yes])]
    parts += [_mode(folder), _descent(folder), _frequencies(folder)]
    parts.append(_rates(folder, result))
    return "".join(parts)


def _complaint(result: Saddle) -> str:
    if not result.converged:
        return "This is no saddle point: the refinement stopped before the forces converged."
    return (
        f"This is no first-order saddle point: {number(result.imaginary_modes)} frequencies are "
        "imaginary, so no rates are given."
    )


def _fixed(value: float | None) -> str:
    return NONE if value is None else fixed(value, 2)


def _connected(result: Saddle) -> str:
    """The minima that the saddle point connects."""
    sides = (
        (
            "start",
            result.irc_start_is,
            result.irc_start_mirrored,
            result.irc_start_rmsd_A,
            result.barrier_kcal_mol,
        ),
        (
            "end",
            result.irc_end_is,
            result.irc_end_mirrored,
            result.irc_end_rmsd_A,
            result.barrier_back_kcal_mol,
        ),
    )
    if result.irc_start_is is None and result.irc_end_is is None:
        return ""
    rows = [
        (
            f"side of the {side}",
            f"{minimum or NONE}{', mirrored' if mirrored else ''}",
            number(rmsd),
            _fixed(height),
        )
        for side, minimum, mirrored, rmsd, height in sides
    ]
    head = ("descent", "leads to", "RMSD, Å", "barrier from there, kcal/mol")
    caption = "Relaxed ends of the descent, compared with the given geometries."
    return html.table(head, rows, caption)


def _split(on: list[str]) -> str:
    """On which sides the way down has come by another saddle."""
    if not on:
        return ""
    return html.notes(
        [
            f"On the side of the {' and of the '.join(on)} the path downhill comes by another "
            "saddle and splits there into two ways, which are equivalent in a symmetric molecule. "
            "One of them is shown."
        ]
    )


def _mode(folder: RunFolder) -> str:
    frames = folder.frames(MODE)
    if frames is None or len(frames) < 4:
        return ""
    # The film is one period: its turning points and its middle show all of it.
    turns = [len(frames) // 4, 0, 3 * len(frames) // 4]
    view = molecule.look(frames.numbers, frames.positions[turns])
    names = ("displaced by 0.5 Å", "the saddle point", "displaced the other way")
    tiles = [
        (molecule.picture(view, k, f"mode-{k}", f"The imaginary mode: {name}"), name, "")
        for k, name in enumerate(names)
    ]
    caption = "The imaginary mode; mode.xyz is an animation of it."
    return html.heading("Imaginary mode") + html.figure(html.film(tiles, 1), caption)


def _descent(folder: RunFolder) -> str:
    frames = folder.frames(DESCENT)
    if frames is None or frames.energies is None or "arc" not in frames.tags or len(frames) < 3:
        return ""
    arcs = frames.tags["arc"].astype(float)
    above = (frames.energies - frames.energies[0]) / KCAL_MOL
    drawn = figures.reaction_coordinate(arcs, frames.energies).svg(
        "irc-profile", "Energy along the intrinsic reaction coordinate"
    )
    caption = (
        "Energy along the intrinsic reaction coordinate relative to its first point: highest "
        f"{number(float(above.max()))} kcal/mol."
    )
    shown = np.unique(np.linspace(0, len(frames) - 1, TILES).round().astype(int))
    strip = _strip(frames, shown, arcs, above)
    return (
        html.heading("Intrinsic reaction coordinate")
        + html.figures(html.figure(drawn, caption))
        + strip
    )


def _strip(frames: Dataset, shown: np.ndarray, arcs: np.ndarray, above: np.ndarray) -> str:
    view = molecule.look(frames.numbers, frames.positions[shown])
    tiles = [
        (
            molecule.picture(view, k, f"irc-{k}", f"The molecule at arc length {arcs[index]:.1f}"),
            f"{fixed(arcs[index], 1)} Å √amu",
            f"{fixed(above[index], 2)} kcal/mol",
        )
        for k, index in enumerate(shown)
    ]
    return html.figure(html.film(tiles), "Geometries along it, from start to end.")


def _frequencies(folder: RunFolder) -> str:
    found = folder.json(VIBRATIONS)
    if not isinstance(found, dict) or not found:
        return ""
    columns = [list(values)[:LOWEST] for values in found.values()]
    rows = [
        (str(k + 1), *(fixed(float(column[k]), 1) if k < len(column) else "" for column in columns))
        for k in range(LOWEST)
    ]
    caption = "Lowest frequencies in cm⁻¹; imaginary ones are given as negative."
    return html.heading("Vibrations") + html.table(("mode", *found), rows, caption)


def _rates(folder: RunFolder, result: Saddle) -> str:
    table = folder.table(RATES)
    if table is None:
        return ""
    columns = [column.tolist() for column in table.values()]
    found = [
        Rates.from_damaged(dict(zip(table, row, strict=True)), Store())
        for row in zip(*columns, strict=True)
    ]
    rows = [
        (
            _fixed(one.temperature_K),
            _fixed(one.gibbs_activation_kcal_mol),
            number(one.rate_per_s),
            number(one.half_life_s),
            number(one.wigner_factor),
            number(one.rate_back_per_s),
        )
        for one in found
    ]
    head = ("temperature, K", "ΔG‡, kcal/mol", "rate, 1/s", "half-life, s",
            "Wigner correction", "backward rate, 1/s")  # fmt: skip
    caption = (
        "Forward rates by Eyring's equation: rigid rotor, harmonic oscillators (low modes: "
        f"{result.low_modes or 'harmonic'}), Wigner tunnelling correction."
    )
    drawn = ""
    known = [one for one in found if one.temperature_K and one.half_life_s]
    if len(known) > 2:
        kelvin, half_lives = np.array([(one.temperature_K, one.half_life_s) for one in known]).T
        drawn = html.figures(
            html.figure(
                figures.half_lives(kelvin, half_lives).svg(
                    "half-life", "Half-life against temperature"
                ),
                "Half-life of the start against temperature, on a logarithmic axis.",
            )
        )
    return html.heading("Rates") + html.table(head, rows, caption) + drawn
