"""Errors of single frames as points, and next to them the geometry behind the one pointed at.

The script is `explorer.js`; the molecule is drawn by a viewer in the same box, whose slider it
moves. It fetches nothing: the data stand in the page as JSON.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from flexcalc.display import html
from flexcalc.display.numbers import number
from flexcalc.display.styles import groups, key
from flexcalc.display.viewer import viewer
from flexcalc.reports.folder import RunFolder
from flexcalc.reports.rows import floats
from flexcalc.results.benchmark_rows import ErrorsByFrame, FrameErrors

MAX_FRAMES = 400
ENERGY = "energy"
ERRORS = {
    "force": "force RMSE / kcal mol⁻¹ Å⁻¹",
    "energy": "energy error / kcal mol⁻¹",
}


def explorer(run: RunFolder, errors: ErrorsByFrame) -> str:
    """HTML of the plot and its viewer; nothing where there are no frames.

    Args:
        run: whose folder has errors.xyz.
        errors: the models, and a row for each frame of errors.xyz.
    """
    rows, models = errors.frames, errors.models
    if not rows or not models:
        return ""
    frames = run.frames("errors.xyz")
    if frames is None or len(frames) != len(rows):
        run.problems.append(f"errors.xyz does not hold the {len(rows)} frames of errors.json")
        return ""
    chosen = np.unique(np.linspace(0, len(rows) - 1, min(len(rows), MAX_FRAMES)).astype(int))
    rows = tuple(rows[index] for index in chosen)
    shown = groups(row.mechanism for row in rows)
    axes = _axes(rows)
    data = {
        "kinds": [f"--{look.colour}" for look in shown.values()],
        "kind": [list(shown).index(row.mechanism) for row in rows],
        "x": axes,
        "y": {
            name: {"label": label, "models": [_values(rows, name, model) for model in models]}
            for name, label in ERRORS.items()
        },
    }
    # A label may come from a file, and must not end the element that it stands in.
    text = json.dumps(data, separators=(",", ":")).replace("<", "\\u003c")
    labels = [_label(row, index) for row, index in zip(rows, chosen, strict=True)]
    title = "The geometry of the frame pointed at"
    turning = viewer(frames.numbers, frames.positions[chosen], labels, title, most=MAX_FRAMES)
    return (
        f'<figure class="explorer">{_choices(models, axes)}{key(shown, filled=True)}'
        '<div class="sides"><div class="scatter"><canvas tabindex="0" role="application" '
        'aria-label="Errors of single frames; the arrow keys go from frame to frame"></canvas>'
        f'<p class="told" aria-live="polite"></p></div>{turning}</div>{_table(models)}'
        f'<script type="application/json">{text}</script></figure>'
    )


def _axes(rows: Sequence[FrameErrors]) -> list[dict[str, Any]]:
    """The axes to draw errors against: every coordinate, then the energy."""
    names = dict.fromkeys(name for row in rows for name in row.coordinates)
    found = [
        {
            "label": name,
            "unit": _unit(name),
            "values": _list(row.coordinates.get(name) for row in rows),
        }
        for name in names
    ]
    energies = [row.energy_kcal_mol for row in rows]
    return [*found, {"label": ENERGY, "unit": "kcal mol⁻¹", "values": _list(energies)}]


def _unit(name: str) -> str:
    return {"dihedral": "°", "angle": "°", "distance": "Å"}.get(name.split(" ")[0], "")


def _values(rows: Sequence[FrameErrors], name: str, model: str) -> list[float | None]:
    errors = [
        row.force_rmse_kcal_mol_A if name == "force" else row.energy_error_kcal_mol for row in rows
    ]
    return _list(one.get(model) for one in errors)


def _list(values: Iterable[float | None]) -> list[float | None]:
    """Numbers with few digits; None for not-a-number, which JSON does not have."""
    return [float(f"{one:.4g}") if np.isfinite(one) else None for one in floats(values)]


def _table(models: Sequence[str]) -> str:
    """Every model on the frame that is shown; the script fills it in."""
    rows = [
        ("force RMSE, kcal/mol/Å", *("–" for _ in models)),
        ("energy error, kcal/mol", *("–" for _ in models)),
    ]
    return html.table(("this frame", *models), rows)


def _label(row: FrameErrors, index: int) -> str:
    return f"frame {index}, {row.mechanism}, {number(row.energy_kcal_mol)} kcal/mol"


def _choices(models: Sequence[str], axes: Sequence[Mapping[str, Any]]) -> str:
    choices = (
        ("Model", "model", [(str(n), model) for n, model in enumerate(models)]),
        ("Error", "error", [(name, name) for name in ERRORS]),
        ("Against", "axis", [(str(n), str(axis["label"])) for n, axis in enumerate(axes)]),
    )
    body = "".join(
        f'<label>{title}<select name="{name}">'
        + "".join(f'<option value="{at}">{html.text(shown)}</option>' for at, shown in options)
        + "</select></label>"
        for title, name, options in choices
    )
    return f'<div class="choices">{body}</div>'
