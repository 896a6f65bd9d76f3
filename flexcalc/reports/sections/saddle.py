"""A saddle: its mode, the way down from it, and the rates over it."""

from __future__ import annotations

from typing import Any

import numpy as np

from flexcalc.dataset import Dataset
from flexcalc.display import figures, html, molecule
from flexcalc.display.numbers import fixed, number
from flexcalc.reports import facts
from flexcalc.reports.folder import RunFolder
from flexcalc.units import KCAL_MOL

TITLE = "Saddle and rates"
KEYS = (
    *(
        "isotopes",
        "barrier_saddle_kcal_mol",
        "barrier_saddle_back_kcal_mol",
        "imaginary_frequency_cm",
    ),
    *("barrier_saddle_error_kcal_mol", "gibbs_activation_kcal_mol", "half_life_s", "saddle_steps"),
)
LOWEST = 8
"""Frequencies that are listed; all are in vibrations.json."""
TILES = 7
"""Pictures along the way."""


def body(folder: RunFolder) -> str:
    """The section as HTML."""
    intro = (
        "The guess was refined to a stationary point that is a maximum along one mode and a "
        "minimum along all others; the steepest descent from it, in mass-weighted coordinates, "
        "tells the minima that it joins."
    )
    parts = [html.paragraph(intro, "lead"), html.cards(facts.chosen(folder.results, KEYS))]
    if folder.results.get("saddle_first_order") is False:
        parts.append(html.notes([_complaint(folder.results)]))
    parts += [_joined(folder.results), _mode(folder), _way(folder), _frequencies(folder)]
    parts.append(_rates(folder))
    return "".join(parts)


def _complaint(results: Any) -> str:
    if not results.get("saddle_converged"):
        return "This is no saddle: the refinement ended before the forces vanished."
    return (
        f"This is no saddle of first order: {number(results.get('imaginary_modes'))} "
        "frequencies are imaginary, so no rates are given."
    )


def _joined(results: Any) -> str:
    if "irc_start_is" not in results:
        return ""
    rows = []
    for side, back in (("start", ""), ("end", "_back")):
        mirrored = ", mirrored" if results.get(f"irc_{side}_mirrored") else ""
        name = f"{results[f'irc_{side}_is']}{mirrored}"
        rmsd = number(results.get(f"irc_{side}_rmsd_A"))
        height = fixed(float(results[f"barrier_saddle{back}_kcal_mol"]), 2)
        rows.append((f"side of the {side}", name, rmsd, height))
    head = ("way down", "leads to", "distance, Å", "saddle above it, kcal/mol")
    caption = "The ends of the way down, relaxed, against the given geometries."
    return html.table(head, rows, caption)


def _mode(folder: RunFolder) -> str:
    frames = folder.frames("mode.xyz")
    if frames is None or len(frames) < 4:
        return ""
    # The film swings out, back, and out to the other side: three pictures tell it all.
    turns = [len(frames) // 4, 0, 3 * len(frames) // 4]
    view = molecule.look(frames.numbers, frames.positions[turns])
    names = ("half an ångström to one side", "the saddle", "to the other side")
    tiles = [
        (molecule.picture(view, k, f"mode-{k}", f"The imaginary mode: {name}"), name, "")
        for k, name in enumerate(names)
    ]
    caption = "The imaginary mode; mode.xyz is a film of it."
    return html.heading("The way across") + html.figure(html.film(tiles, 1), caption)


def _way(folder: RunFolder) -> str:
    frames = folder.frames("irc.xyz")
    if frames is None or frames.energies is None or "arc" not in frames.tags or len(frames) < 3:
        return ""
    arcs = frames.tags["arc"].astype(float)
    above = (frames.energies - frames.energies[0]) / KCAL_MOL
    drawn = figures.reaction_coordinate(arcs, frames.energies).svg(
        "irc-profile", "Energy along the way down"
    )
    caption = "Energy along the intrinsic reaction coordinate, above its first point."
    shown = np.unique(np.linspace(0, len(frames) - 1, TILES).round().astype(int))
    strip = _strip(frames, shown, arcs, above)
    return html.heading("The way down") + html.figures(html.figure(drawn, caption)) + strip


def _strip(frames: Dataset, shown: np.ndarray, arcs: np.ndarray, above: np.ndarray) -> str:
    view = molecule.look(frames.numbers, frames.positions[shown])
    tiles = [
        (
            molecule.picture(view, k, f"irc-{k}", f"The molecule at {arcs[index]:.1f} along it"),
            f"{fixed(arcs[index], 1)} Å √amu",
            f"{fixed(above[index], 2)} kcal/mol",
        )
        for k, index in enumerate(shown)
    ]
    return html.figure(html.film(tiles), "Points along it, from the start to the end.")


def _frequencies(folder: RunFolder) -> str:
    found = folder.json("vibrations.json")
    if not isinstance(found, dict) or not found:
        return ""
    columns = [list(values)[:LOWEST] for values in found.values()]
    rows = [
        (str(k + 1), *(fixed(float(column[k]), 1) if k < len(column) else "" for column in columns))
        for k in range(LOWEST)
    ]
    caption = "The lowest frequencies in cm⁻¹; imaginary ones are negative."
    return html.heading("Vibrations") + html.table(("mode", *found), rows, caption)


def _rates(folder: RunFolder) -> str:
    columns = ("temperature_K", "gibbs_activation_kcal_mol", "rate_per_s", "half_life_s")
    more = ("wigner_factor", "rate_back_per_s")
    table = folder.table("rates.csv", *columns, *more)
    if table is None:
        return ""
    rows = [
        (
            fixed(row[0], 2),
            fixed(row[1], 2),
            *(number(float(value)) for value in row[2:]),
        )
        for row in zip(*(table[name] for name in (*columns, *more)), strict=True)
    ]
    head = ("temperature, K", "ΔG‡, kcal/mol", "rate, 1/s", "half-life, s", "Wigner's factor",
            "rate back, 1/s")  # fmt: skip
    caption = (
        "Eyring rates of the start with rigid rotor, "
        f"{folder.results.get('low_modes', 'harmonic')} low modes and Wigner's factor."
    )
    drawn = ""
    if len(rows) > 2:
        drawn = html.figures(
            html.figure(
                figures.half_lives(table["temperature_K"], table["half_life_s"]).svg(
                    "half-life", "Half-life against temperature"
                ),
                "Half-life of the start against temperature.",
            )
        )
    return html.heading("Rates") + html.table(head, rows, caption) + drawn
