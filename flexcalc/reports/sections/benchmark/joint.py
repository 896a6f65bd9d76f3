"""Chapters on one model for all mechanisms at equal budgets, and on what is withheld."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from flexcalc.display import comparison, html, styles
from flexcalc.display.numbers import NONE, fixed, number
from flexcalc.reports.rows import Row, column, dicts, finite, grouped, word
from flexcalc.reports.sections.benchmark import regions
from flexcalc.reports.sections.benchmark.record import ENERGY, FORCE, FORCE_LABEL, Record

WORST, BEST = "worst_region_kcal_mol_A", "best_region_kcal_mol_A"


def body(record: Record) -> str:
    """Force errors of all models at each budget, by region at the largest, and a table."""
    if not record.joint:
        return ""
    pictures = []
    for place, (budget, rows) in enumerate(budgets(record.joint)):
        marks = [
            (word(row, "model"), record.looks[word(row, "model")], *_marks(row)) for row in rows
        ]
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


def budgets(rows: Sequence[Row]) -> list[tuple[int, list[Row]]]:
    """Rows by budget, the smallest first, and in each the lowest force error first."""
    found: dict[int, list[Row]] = {}
    for row in rows:
        found.setdefault(int(row["budget"]), []).append(row)
    return [
        (
            budget,
            sorted(found[budget], key=lambda row: np.nan_to_num(finite(row, FORCE), nan=np.inf)),
        )
        for budget in sorted(found)
    ]


def _marks(row: Row) -> tuple[float, float, float]:
    return finite(row, FORCE), finite(row, BEST), finite(row, WORST)


def _by_region(record: Record) -> str:
    budget, rows = budgets(record.joint)[-1]
    blocks = [(word(row, "model"), *_block(row)) for row in rows]
    named = [block for _, block, _ in blocks if word(block, "coordinate")] + record.regions
    coordinate = word(named[0], "coordinate") if named else "bin"
    # The unit may stand only with the errors by mechanism.
    alike = (word(row, "unit") for row in named if word(row, "coordinate") == coordinate)
    unit = next((one for one in alike if one), "")
    title = f"One model, {number(budget)} points"
    bins = [(model, found) for model, _, found in blocks]
    drawn = regions.figures(record, title, bins, (coordinate, unit), "benchmark-joint-region")
    return styles.key(record.shown(rows)) + html.figures(*drawn) if drawn else ""


def _block(row: Row) -> tuple[Row, list[Row]]:
    """What names the coordinate, and the bins; of several coordinates, the first."""
    found = dicts(row.get("regions"))
    return (found[0], dicts(found[0].get("bins"))) if found and "bins" in found[0] else (row, found)


HEAD = (
    *("model", "points", "force RMSE", "energy RMSE", "worst region", "best region", "ratio"),
    *("largest barrier error", "training, s", "prediction, ms"),
)


def summary(rows: Sequence[Row]) -> list[tuple[str, ...]]:
    """Rows under HEAD."""
    found = []
    for _, group in budgets(rows):
        for row in group:
            keys = (FORCE, ENERGY, WORST, BEST)
            errors = column(dicts(row.get("barriers")), "error_kcal_mol")
            errors = errors[np.isfinite(errors)]
            barrier = fixed(float(np.abs(errors).max()), 2) if len(errors) else NONE
            ratio = number(finite(row, "ratio"), 2)
            times = (number(row.get(key)) for key in ("train_seconds", "predict_ms"))
            cells = (*(number(finite(row, key)) for key in keys), ratio, barrier, *times)
            found.append((word(row, "model"), number(int(row["budget"])), *cells))
    return found


def _table(rows: Sequence[Row]) -> str:
    caption = (
        "Force errors in kcal/mol/Å, energies and barriers in kcal/mol; the time to predict is of "
        "one geometry in a batch of 32."
    )
    return html.table(HEAD, summary(rows), caption, dense=True)


def withheld(record: Record) -> str:
    """Errors on what a model has seen, and on what was kept from it."""
    pictures = []
    for place, ((name,), rows) in enumerate(grouped(record.withheld, "withheld").items()):
        marks = []
        for row in rows:
            seen, unseen = (_side(row, "force", side) for side in ("seen", "withheld"))
            if np.isfinite([seen, unseen]).all():
                label = word(row, "model")
                marks.append((label, record.looks[label], unseen, seen, unseen))
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


def _side(row: Row, what: str, side: str) -> float:
    """A force or energy RMSE; its unit may be left off the key."""
    per = "_A" if what == "force" else ""
    full = f"{what}_rmse_{side}_kcal_mol{per}"
    return finite(row, full if full in row else f"{what}_rmse_{side}")


def _withheld_table(rows: Sequence[Row]) -> str:
    body = []
    for row in rows:
        cells = [
            number(_side(row, what, side))
            for what in ("force", "energy")
            for side in ("seen", "withheld")
        ]
        errors = [
            f"{word(one, 'mechanism')} {fixed(finite(one, 'error_kcal_mol'), 2, sign=True)}"
            for one in dicts(row.get("barriers"))
            if np.isfinite(finite(one, "error_kcal_mol"))
        ]
        start = (word(row, "model"), word(row, "withheld"), number(row.get("points")))
        body.append((*start, *cells, ", ".join(errors) or NONE))
    head = (
        *("model", "withheld", "points", "force, seen", "force, withheld"),
        *("energy, seen", "energy, withheld", "barrier errors"),
    )
    caption = "Forces in kcal/mol/Å, energies and barriers in kcal/mol."
    return html.table(head, body, caption, words=2, dense=True)
