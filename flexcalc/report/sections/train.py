"""Training: what was learned from, which hyperparameters won, and how errors fall."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from flexcalc.report import facts, html, plots
from flexcalc.report.folder import RunFolder
from flexcalc.report.numbers import number

TITLE = "Training"
KEYS = (
    *("family", "training_points", "validation_points", "sigma", "permutations"),
    *("force_rmse_kcal_mol_A", "energy_rmse_kcal_mol", "seconds"),
)
ERRORS = {
    "force_rmse_kcal_mol_A": "force RMSE / kcal mol⁻¹ Å⁻¹",
    "energy_rmse_kcal_mol": "energy RMSE / kcal mol⁻¹",
}
HEADS = {
    "sigma": "sigma",
    "points": "training points",
    "force_rmse_kcal_mol_A": "force RMSE, kcal/mol/Å",
    "energy_rmse_kcal_mol": "energy RMSE, kcal/mol",
}


def body(folder: RunFolder) -> str:
    """The section as HTML."""
    intro = (
        "The model is fitted to forces and energies of the training points. Its hyperparameters "
        "are chosen by the errors on validation points that it has not seen."
    )
    parts = [html.paragraph(intro, "lead"), html.cards(facts.chosen(folder.results, KEYS))]
    trained = [row for row in folder.results.get("models") or () if isinstance(row, dict)]
    if trained:
        parts.append(_comparison(trained))
    # The first family's tables have no name of their own: table.json, then table-gap.json.
    suffixes = ["", *sorted(path.stem[5:] for path in folder.path.glob("table-*.json"))]
    drawn = [_pictures(folder, suffix, folder.value("sigma")) for suffix in suffixes]
    parts += drawn
    if not (folder.results or any(drawn)):
        parts.append(html.paragraph("The model is not trained yet."))
    return "".join(parts)


def _comparison(trained: Sequence[Mapping[str, Any]]) -> str:
    keys = ("training_points", *ERRORS)
    rows = [
        (str(row.get("model", row.get("family"))), *(number(row.get(key)) for key in keys))
        for row in trained
    ]
    head = ("model", "training points", "force RMSE", "energy RMSE")
    return html.table(head, rows, "Errors on the same validation points, kcal/mol/Å and kcal/mol.")


def _pictures(folder: RunFolder, suffix: str, sigma: float | None) -> str:
    """The tables of one family, whose files end in the suffix."""
    tuning = _rows(folder, f"table{suffix}.json")
    learning = _rows(folder, f"learning{suffix}.json")
    name = html.heading(suffix.lstrip("-")) if suffix and (tuning or learning) else ""
    return name + html.figures(
        _tuning(tuning, None if suffix else sigma, suffix) if tuning else "",
        _learning(learning, suffix) if learning else "",
    )


def _rows(folder: RunFolder, name: str) -> list[Mapping[str, Any]]:
    content = folder.json(name)
    return [row for row in content if isinstance(row, dict)] if isinstance(content, list) else []


def _column(rows: Sequence[Mapping[str, Any]], key: str) -> np.ndarray:
    """A column of numbers, not-a-number where a row has none."""
    values = [row.get(key) for row in rows]
    return np.array([v if isinstance(v, int | float) else np.nan for v in values], dtype=float)


def _drawn(rows: Sequence[Mapping[str, Any]]) -> dict[str, np.ndarray]:
    columns = {label: _column(rows, key) for key, label in ERRORS.items()}
    return {label: values for label, values in columns.items() if np.isfinite(values).any()}


def _table(rows: Sequence[Mapping[str, Any]]) -> str:
    keys = [key for key, value in rows[0].items() if not isinstance(value, dict | list)]
    head = [HEADS.get(key, key) for key in keys]
    return html.table(head, [[number(row.get(key)) for key in keys] for row in rows])


def _tuning(rows: Sequence[Mapping[str, Any]], best: float | None, suffix: str) -> str:
    sigma, columns = _column(rows, "sigma"), _drawn(rows)
    if not np.isfinite(sigma).any() or not columns:
        caption = "Candidates and their errors on the validation points."
        return html.figure(_table(rows), caption)
    order = np.argsort(sigma)
    svg = plots.curves(
        sigma[order],
        {label: values[order] for label, values in columns.items()},
        ("kernel length sigma", "error on validation points"),
        f"train-sigma{_plain(suffix)}",
        "Validation errors against the kernel length sigma",
        log="y",
    )
    chosen = f" The model uses sigma = {number(best)}." if best is not None else ""
    caption = f"Errors on the validation points for each candidate sigma.{chosen}"
    return html.figure(svg, caption, _table(rows))


def _learning(rows: Sequence[Mapping[str, Any]], suffix: str) -> str:
    points, columns = _column(rows, "points"), _drawn(rows)
    if not np.isfinite(points).any() or not columns:
        return html.figure(_table(rows), "Errors against the number of training points.")
    order = np.argsort(points)
    svg = plots.curves(
        points[order],
        {label: values[order] for label, values in columns.items()},
        ("training points", "error on validation points"),
        f"train-learning{_plain(suffix)}",
        "Learning curve: validation errors against the number of training points",
        log="xy",
    )
    caption = (
        "Learning curve: errors on the validation points as the training set grows, on "
        "logarithmic axes. A straight falling line says that more points still help."
    )
    return html.figure(svg, caption, _table(rows))


def _plain(suffix: str) -> str:
    """A part of a file's name that can be part of an id."""
    return re.sub(r"[^\w-]", "_", suffix)
