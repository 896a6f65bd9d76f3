"""Several paths that were searched in one batch: a row and a profile for each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from flexcalc.display import figures, html
from flexcalc.display.numbers import NONE, fixed, number
from flexcalc.reports import facts
from flexcalc.reports.folder import RunFolder
from flexcalc.reports.rows import dicts
from flexcalc.results.path import PATH, Path
from flexcalc.results.paths import END, ERROR, PATHS, START, Paths, path_name
from flexcalc.store import Store

INTRO = (
    "Paths between several pairs of geometries, searched in one batch: each converged on its own "
    "and left the batch then. The folder of each path has its images and its saddle."
)


def is_there(folder: RunFolder) -> bool:
    """Whether a run of `flexcalc path` is one of several paths."""
    return folder.json(PATHS) is not None


def body(folder: RunFolder) -> str:
    """The section as HTML."""
    result = facts.typed(Paths, folder)
    rows = dicts(folder.json(PATHS))
    failed = [
        f"Path {count}, {row.get(START)} to {row.get(END)}, failed: {row[ERROR]}"
        for count, row in enumerate(rows)
        if ERROR in row
    ]
    parts = [html.paragraph(INTRO, "lead"), facts.cards(result, folder)]
    return "".join([*parts, html.notes(failed), _profiles(folder, rows), _table(rows)])


def _profiles(folder: RunFolder, rows: list[Mapping[str, Any]]) -> str:
    profiles: dict[str, np.ndarray] = {}
    for count, row in enumerate(rows):
        images = folder.frames(f"{path_name(count)}/{PATH}")
        if images is not None and images.energies is not None and ERROR not in row:
            profiles[f"{count}: {row.get(START)} to {row.get(END)}"] = images.energies
    if not profiles:
        return ""
    svg = figures.energy_profiles(profiles).svg("path-profiles", "Energies along all paths")
    caption = "Energies along the paths above their first images, in kcal/mol."
    return html.figures(html.figure(svg, caption))


def _table(rows: list[Mapping[str, Any]]) -> str:
    if not rows:
        return ""
    cells = [_row(count, row) for count, row in enumerate(rows)]
    head = ("path", "from", "to", "barrier", "back", "reaction energy", "converged",
            "saddle, cm⁻¹", "joins", "evaluations")  # fmt: skip
    caption = (
        "Energies in kcal/mol on the model. The saddle is given by its imaginary frequency, as "
        "negative, and by the geometries to which the descent from it leads."
    )
    return html.heading("The paths") + html.table(head, cells, caption)


def _row(count: int, row: Mapping[str, Any]) -> tuple[str, ...]:
    if ERROR in row:
        ends = number(row.get(START)), number(row.get(END))
        return (str(count), *ends, NONE, NONE, NONE, "failed", NONE, NONE, NONE)
    path = Path.from_damaged(row, Store())
    saddle, spent = path.saddle, path.all_evaluations
    joins = NONE
    if saddle is not None and saddle.irc_start_is is not None:
        joins = f"{saddle.irc_start_is} and {saddle.irc_end_is}"
    heights = (path.barrier_kcal_mol, path.barrier_back_kcal_mol, path.reaction_energy_kcal_mol)
    return (
        str(count),
        number(row.get(START)),
        number(row.get(END)),
        *(NONE if height is None else fixed(height, 3) for height in heights),
        "yes" if path.converged else "no",
        NONE if saddle is None else number(saddle.imaginary_frequency_cm),
        joins,
        number(None if spent is None else spent.total),
    )
