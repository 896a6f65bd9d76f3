"""Chapters on one model for all mechanisms at equal budgets, and on what is withheld."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from flexcalc.display import comparison, html, styles
from flexcalc.display.numbers import NONE, fixed, number
from flexcalc.reports.rows import floats, grouped
from flexcalc.reports.sections.benchmark import regions
from flexcalc.reports.sections.benchmark.record import FORCE_LABEL, Record
from flexcalc.results.benchmark_rows import JointRow, RegionTable, WithheldRow


def body(record: Record) -> str:
    """Force errors of all models at each budget, by region at the largest, and a table."""
    if not record.joint:
        return ""
    pictures = []
    for place, (budget, rows) in enumerate(budgets(record.joint)):
        marks = [(row.model, record.styles[row.model], *_marks(row)) for row in rows]
        marks = [mark for mark in marks if np.isfinite(mark[2])]
        if not marks:
            continue
        svg = comparison.ranges(marks, FORCE_LABEL).svg(
            f"benchmark-joint-{place}",
            f"Force error of one model for everything, {number(budget)} points",
        )
        caption = (
            "Marks: force RMSE in kcal/mol/Å on held-out frames of every mechanism. Lines: from "
            "the best region to the worst."
        )
        pictures.append(html.figure(svg, caption, title=f"{number(budget)} points in all"))
    return html.figures(*pictures) + _by_region(record) + _table(record.joint)


def budgets(rows: Sequence[JointRow]) -> list[tuple[int, list[JointRow]]]:
    """Rows by budget, the smallest first, and in each the lowest force error first."""
    groups = grouped(rows, lambda row: int(row.budget))
    return [
        (
            budget,
            sorted(
                groups[budget],
                key=lambda row: np.nan_to_num(row.force_rmse_kcal_mol_A, nan=np.inf),
            ),
        )
        for budget in sorted(groups)
    ]


def _marks(row: JointRow) -> tuple[float, float, float]:
    force = row.force_rmse_kcal_mol_A
    return force, *floats((row.best_region_kcal_mol_A, row.worst_region_kcal_mol_A))


def _by_region(record: Record) -> str:
    budget, rows = budgets(record.joint)[-1]
    tables = [(row.model, row.regions[0]) for row in rows if row.regions]
    named: list[RegionTable] = [table for _, table in tables if table.coordinate]
    first = named[0] if named else RegionTable(coordinate="bin", unit="", bins=())
    title = f"One model, {number(budget)} points"
    errors = regions.RegionErrors(
        title, first.coordinate, first.unit, [(model, table.bins) for model, table in tables]
    )
    drawn = regions.figures(record, errors, "benchmark-joint-region")
    return styles.key(record.shown(rows)) + html.figures(*drawn) if drawn else ""


HEAD = (
    *("model", "points", "force RMSE", "energy RMSE", "worst region", "best region", "ratio"),
    *("largest barrier error", "training, s", "prediction, ms"),
)


def summary(rows: Sequence[JointRow]) -> list[tuple[str, ...]]:
    """Rows under HEAD."""
    return [_cells(row) for _, group in budgets(rows) for row in group]


def _cells(row: JointRow) -> tuple[str, ...]:
    barriers = floats(one.error_kcal_mol for one in row.barriers)
    barriers = barriers[np.isfinite(barriers)]
    return (
        row.model,
        number(int(row.budget)),
        number(row.force_rmse_kcal_mol_A),
        number(row.energy_rmse_kcal_mol),
        number(row.worst_region_kcal_mol_A),
        number(row.best_region_kcal_mol_A),
        number(row.ratio, 2),
        fixed(float(np.abs(barriers).max()), 2) if len(barriers) else NONE,
        number(row.train_seconds),
        number(row.predict_ms),
    )


def _table(rows: Sequence[JointRow]) -> str:
    caption = (
        "Force errors in kcal/mol/Å, energies and barriers in kcal/mol; the time to predict is of "
        "one geometry in a batch of 32."
    )
    return html.table(HEAD, summary(rows), caption, dense=True)


def withheld(record: Record) -> str:
    """Errors on frames like those of the training set, and on withheld ones."""
    pictures = []
    parts = grouped(record.withheld, lambda row: row.withheld)
    for place, (name, rows) in enumerate(parts.items()):
        marks = []
        for row in rows:
            seen, unseen = row.force_rmse_seen_kcal_mol_A, row.force_rmse_withheld_kcal_mol_A
            if np.isfinite([seen, unseen]).all():
                marks.append((row.model, record.styles[row.model], unseen, seen, unseen))
        if not marks:
            continue
        svg = comparison.ranges(marks, FORCE_LABEL).svg(
            f"benchmark-withheld-{place}", f"Force errors with {name} withheld"
        )
        caption = (
            "Marks: force RMSE in kcal/mol/Å on the withheld frames; each line begins at the error "
            "on frames like the training set's."
        )
        pictures.append(html.figure(svg, caption, title=f"Without {name or 'a part'}"))
    return html.figures(*pictures) + _withheld_table(record.withheld) if record.withheld else ""


def _withheld_table(rows: Sequence[WithheldRow]) -> str:
    body = []
    for row in rows:
        errors = [
            f"{one.mechanism} {fixed(one.error_kcal_mol, 2, sign=True)}"
            for one in row.barriers
            if np.isfinite(one.error_kcal_mol)
        ]
        body.append(
            (
                row.model,
                row.withheld,
                number(row.points),
                number(row.force_rmse_seen_kcal_mol_A),
                number(row.force_rmse_withheld_kcal_mol_A),
                number(row.energy_rmse_seen_kcal_mol),
                number(row.energy_rmse_withheld_kcal_mol),
                ", ".join(errors) or NONE,
            )
        )
    head = (
        *("model", "withheld", "points", "force, seen", "force, withheld"),
        *("energy, seen", "energy, withheld", "barrier errors"),
    )
    caption = "Forces in kcal/mol/Å, energies and barriers in kcal/mol."
    return html.table(head, body, caption, words=2, dense=True)
