"""Errors of single frames as points, and beside them the geometry behind the one pointed at.

The script is `explorer.js`; the molecule is drawn by a viewer in the same box, whose slider it
moves. It fetches nothing: the data stand in the page as JSON.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from flexcalc.display import html
from flexcalc.display.numbers import number
from flexcalc.display.styles import groups, key
from flexcalc.display.viewer import viewer
from flexcalc.reports.folder import RunFolder
from flexcalc.reports.rows import Row, dicts, finite, listed, word

MOST_FRAMES = 400
ENERGY = "energy"
ERRORS = {
    "force": ("force_rmse_kcal_mol_A", "force RMSE / kcal mol⁻¹ Å⁻¹"),
    "energy": ("energy_error_kcal_mol", "energy error / kcal mol⁻¹"),
}


def explorer(run: RunFolder, errors: Row) -> str:
    """HTML of the plot and its viewer; nothing where there are no frames.

    Args:
        run: whose folder has errors.xyz.
        errors: the content of errors.json: its models, and a row for each frame of errors.xyz.
    """
    rows, models = dicts(errors.get("frames")), [str(one) for one in listed(errors.get("models"))]
    if not rows or not models:
        return ""
    frames = run.frames("errors.xyz")
    if frames is None or len(frames) != len(rows):
        run.problems.append(f"errors.xyz does not hold the {len(rows)} frames of errors.json")
        return ""
    chosen = np.unique(np.linspace(0, len(rows) - 1, min(len(rows), MOST_FRAMES)).astype(int))
    rows = [rows[index] for index in chosen]
    shown = groups(word(row, "mechanism") for row in rows)
    axes = _axes(rows)
    data = {
        "kinds": [f"--{look.colour}" for look in shown.values()],
        "kind": [list(shown).index(word(row, "mechanism")) for row in rows],
        "x": axes,
        "y": {
            name: {"label": label, "models": [_values(rows, key, model) for model in models]}
            for name, (key, label) in ERRORS.items()
        },
    }
    # A label may come from a file, and must not end the element that it stands in.
    text = json.dumps(data, separators=(",", ":")).replace("<", "\\u003c")
    labels = [_label(row, index) for row, index in zip(rows, chosen, strict=True)]
    title = "The geometry of the frame pointed at"
    turning = viewer(frames.numbers, frames.positions[chosen], labels, title, most=MOST_FRAMES)
    return (
        f'<figure class="explorer">{_choices(models, axes)}{key(shown, filled=True)}'
        '<div class="sides"><div class="scatter"><canvas tabindex="0" role="application" '
        'aria-label="Errors of single frames; the arrow keys go from frame to frame"></canvas>'
        f'<p class="told" aria-live="polite"></p></div>{turning}</div>{_table(models)}'
        f'<script type="application/json">{text}</script></figure>'
    )


def _axes(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """What errors can be drawn against: every coordinate, then the energy."""
    names = dict.fromkeys(name for row in rows for name in _coordinates(row))
    found = [
        {
            "label": name,
            "unit": _unit(name),
            "values": _list(_coordinates(row).get(name) for row in rows),
        }
        for name in names
    ]
    energies = [row.get("energy_kcal_mol") for row in rows]
    return [*found, {"label": ENERGY, "unit": "kcal mol⁻¹", "values": _list(energies)}]


def _unit(name: str) -> str:
    return {"dihedral": "°", "angle": "°", "distance": "Å"}.get(name.split(" ")[0], "")


def _values(rows: Sequence[Row], name: str, model: str) -> list[float | None]:
    errors = [row.get(name) for row in rows]
    return _list(one.get(model) if isinstance(one, dict) else None for one in errors)


def _list(values: Any) -> list[float | None]:
    """Numbers with few digits, None for what is none, as JSON has no not-a-number."""
    found = [finite({"value": value}, "value") for value in values]
    return [float(f"{one:.4g}") if np.isfinite(one) else None for one in found]


def _coordinates(row: Row) -> Mapping[str, Any]:
    found = row.get("coordinates")
    return found if isinstance(found, dict) else {}


def _table(models: Sequence[str]) -> str:
    """Every model on the frame that is shown; the script fills it in."""
    rows = [
        ("force RMSE, kcal/mol/Å", *("–" for _ in models)),
        ("energy error, kcal/mol", *("–" for _ in models)),
    ]
    return html.table(("this frame", *models), rows)


def _label(row: Row, index: int) -> str:
    energy = number(finite(row, "energy_kcal_mol"))
    return f"frame {index}, {word(row, 'mechanism')}, {energy} kcal/mol"


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
