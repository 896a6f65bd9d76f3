"""Features of a reduced model: by the distance of their atoms, and by pair of atoms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from flexcalc.display import html, plots
from flexcalc.display.numbers import number
from flexcalc.reports.rows import listed

IMPORTANCE = "importance_kcal_mol_A"
MOST_ATOMS = 1000
"""Atoms of the largest molecule whose pairs are drawn."""


def figures(record: Mapping[str, Any], name: str, table: str) -> str:
    """Two pictures of a reduction and what was tried; nothing where there are no features.

    Args:
        record: what reduction.json holds: the rows of `features`.
        name: prefix of the pictures' ids, unique in the page.
        table: HTML of what was tried.
    """
    rows = [row for row in listed(record.get("features")) if _is_feature(row)]
    if not rows:
        return html.figures(html.figure(table, "Numbers of features tried.") if table else "")
    kept = np.array([bool(row.get("kept")) for row in rows])
    pairs = _pairs(rows, name)
    if not all("distance_A" in row for row in rows):
        return html.figures(pairs)
    distance = np.array([float(row["distance_A"]) for row in rows])
    longest = number(float(distance[kept].max())) if kept.any() else "none"
    by_distance = html.figure(
        plots.histogram(
            {"kept": distance[kept], "dropped": distance[~kept]},
            "mean distance of the outermost atoms / Å",
            counted="features",
        ).svg(f"{name}-distance", "Features kept and dropped by the distance of their atoms"),
        f"{int(kept.sum())} of {len(rows)} features are kept; the longest kept spans {longest} Å. "
        "The table lists the validation errors for other numbers of features.",
        table,
    )
    return html.figures(by_distance, pairs)


def _pairs(rows: Sequence[Mapping[str, Any]], name: str) -> str:
    """Importance of every pair of atoms, the kept ones marked on the other side."""
    pairs = [row for row in rows if len(row["atoms"]) == 2]
    if not pairs:
        return ""
    atoms = 1 + max(max(row["atoms"]) for row in pairs)
    importance = np.full((atoms, atoms), np.nan)
    kept = np.zeros((atoms, atoms), dtype=bool)
    for row in pairs:
        low, high = sorted(row["atoms"])
        importance[high, low] = float(row[IMPORTANCE])
        kept[low, high] = bool(row.get("kept"))
    svg = plots.pairs(importance, kept, "importance / kcal mol⁻¹ Å⁻¹").svg(
        f"{name}-pairs", "Importance of the pairs of atoms, and which were kept"
    )
    caption = (
        "Pairs of atoms. Below the diagonal: root-mean-square change of the model's forces when "
        "the distance is masked; above it: the distances kept."
    )
    return html.figure(svg, caption)


def _is_feature(row: Any) -> bool:
    """Whether a row is as training writes it; the file may be damaged."""
    if not isinstance(row, dict):
        return False
    atoms = row.get("atoms")
    numbers: list[Any] = [row.get("distance_A", 0), row.get(IMPORTANCE)]
    return (
        isinstance(atoms, list)
        and len(atoms) >= 2
        and all(type(atom) is int and 0 <= atom < MOST_ATOMS for atom in atoms)
        and all(type(value) in (int, float) and 0 <= value < np.inf for value in numbers)
    )
