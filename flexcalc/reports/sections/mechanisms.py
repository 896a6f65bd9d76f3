"""Several paths between the same end geometries, such as the mechanisms of a reaction."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path as FilePath
from typing import TYPE_CHECKING

import numpy as np

from flexcalc.dataset import Dataset
from flexcalc.display import html, plots
from flexcalc.display.numbers import NONE, fixed, number
from flexcalc.display.viewer import viewer
from flexcalc.errors import InputError
from flexcalc.reports import facts
from flexcalc.reports.exports import Columns, columns_of
from flexcalc.reports.folder import RunFolder
from flexcalc.units import KCAL_MOL

if TYPE_CHECKING:
    from flexcalc.results.path import Path

TITLE = "Mechanisms"


def path_runs(folder: FilePath) -> dict[str, RunFolder]:
    """The runs of `flexcalc path` in a folder's folders, by name, lowest barrier first."""
    found = {}
    for place in sorted(folder.iterdir()) if folder.is_dir() else ():
        try:
            run = RunFolder(place)
        except InputError:
            continue
        if run.command == "path" and run.frames("path.xyz") is not None:
            found[place.name] = run
    heights = {name: _result(run).barrier_kcal_mol for name, run in found.items()}
    order = sorted(found, key=lambda name: (heights[name] is None, heights[name] or 0.0, name))
    return {name: found[name] for name in order}


def _result(run: RunFolder) -> Path:
    from flexcalc.results.path import Path

    return facts.typed(Path, run)


def body(runs: Mapping[str, RunFolder]) -> str:
    """The section as HTML."""
    paths = {name: run.frames("path.xyz") for name, run in runs.items()}
    whole = {name: path for name, path in paths.items() if path is not None}
    intro = (
        "Paths between the same two end geometries. Energies are relative to the first image of "
        "each. A constructed path is no minimum-energy path: its barrier is an upper bound."
    )
    svg = plots.profiles({name: _above(path) for name, path in whole.items()}).svg(
        "mechanisms", "Energy along each path"
    )
    caption = (
        "Energy along each path in kcal/mol; the ends are at 0 and 1. The lines are guides to the "
        "eye."
    )
    parts = [html.paragraph(intro, "lead"), html.figure(svg, caption, wide=True), _table(runs)]
    for name, path in whole.items():
        above = _above(path)
        labels = [f"image {k}. {fixed(float(e), 2)} kcal/mol" for k, e in enumerate(above)]
        shown = viewer(
            path.numbers, path.positions, labels, f"The molecule along {name}", int(above.argmax())
        )
        parts.append(html.heading(name) + html.figure(shown, "Drag to rotate."))
    return "".join(parts)


def tables(runs: Mapping[str, RunFolder]) -> dict[str, Columns]:
    """What is exported: a row for each path."""
    found = {name: _result(run) for name, run in runs.items()}
    rows = [
        {
            "path": name,
            "method": one.method,
            "converged": one.converged,
            "images": one.image_count,
            "barrier_kcal_mol": one.barrier_kcal_mol,
            "barrier_back_kcal_mol": one.barrier_back_kcal_mol,
            "barrier_reference_kcal_mol": one.barrier_reference_kcal_mol,
        }
        for name, one in found.items()
    ]
    return {"paths": columns_of(rows)}


def _above(path: Dataset) -> np.ndarray:
    if path.energies is None:
        return np.zeros(len(path))
    return (path.energies - path.energies[0]) / KCAL_MOL


def _table(runs: Mapping[str, RunFolder]) -> str:
    head = ["path", "method", "images", "barrier", "backward barrier", "reference barrier"]
    rows = []
    for name, run in runs.items():
        one = _result(run)
        values = (one.barrier_kcal_mol, one.barrier_back_kcal_mol, one.barrier_reference_kcal_mol)
        shown = [NONE if value is None else fixed(value, 2) for value in values]
        open_end = ", not converged" if one.converged is False else ""
        rows.append((name, f"{one.method or NONE}{open_end}", number(one.image_count), *shown))
    return html.table(head, rows, "Energies in kcal/mol, of the highest image of each path.")
