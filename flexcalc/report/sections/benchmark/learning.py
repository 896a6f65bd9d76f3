"""Chapters on how errors fall with the training set, by mechanism and model."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from flexcalc.report import comparison, html, looks
from flexcalc.report.numbers import number
from flexcalc.report.rows import Row, column, finite, grouped, largest, numbers, word
from flexcalc.report.sections.benchmark.record import (
    ACCURATE,
    ENERGY,
    FORCE,
    QUANTITIES,
    Record,
    preferred,
)

POINTS = "training points"


def curves(record: Record) -> str:
    """Force and energy errors against training points, with the spread over the folds."""
    rows = preferred(record.curves)
    if not rows:
        return ""
    pictures = []
    for place, ((mechanism,), group) in enumerate(grouped(rows, "mechanism").items()):
        for key, label, what, unit in QUANTITIES:
            drawn = [
                (record.looks[model], _curve(one, key))
                for (model,), one in grouped(group, "model").items()
            ]
            svg = comparison.lines(
                drawn, (POINTS, label), f"benchmark-curve-{place}-{what}",
                f"{mechanism}: {what} error against training points", log="xy", level=ACCURATE,
            )  # fmt: skip
            caption = f"{mechanism}, {what} RMSE in {unit}. {_first_below(group, key, what)}"
            pictures.append(html.figure(svg, caption, _numbers(group, key)))
    return looks.key(record.shown(rows)) + html.figures(*pictures)


def _curve(rows: Sequence[Row], key: str) -> comparison.Curve:
    """The best fold of a model as a line, the folds' spread as its band."""
    rows = sorted(rows, key=lambda row: finite(row, "points"))
    folds = [_folds(row, key) for row in rows]
    best = column(rows, f"best_{key}")
    low, high = (
        np.array([edge(one) if len(one) else np.nan for one in folds]) for edge in (np.min, np.max)
    )
    return comparison.Curve(column(rows, "points"), np.where(np.isfinite(best), best, low), low, high)


def _folds(row: Row, key: str) -> np.ndarray:
    found = numbers(row.get(f"fold_{key}"))
    return found[np.isfinite(found)]


def _first_below(rows: Sequence[Row], key: str, what: str) -> str:
    """Who gets below chemical accuracy with the fewest points."""
    below = [row for row in rows if finite(row, f"best_{key}") < ACCURATE]
    if not below:
        return "No model gets below 1."
    first = min(below, key=lambda row: (finite(row, "points"), finite(row, f"best_{key}")))
    return f"{word(first, 'model')} is the first below 1, with {number(first['points'])} points."


def _numbers(rows: Sequence[Row], key: str) -> str:
    head = ("model", POINTS, "best", "mean", "spread of the folds")
    body = []
    for row in rows:
        folds = _folds(row, key)
        spread = float(folds.std(ddof=1)) if len(folds) > 1 else None
        values = (number(row.get(f"{which}_{key}")) for which in ("best", "mean"))
        body.append((word(row, "model"), number(row["points"]), *values, number(spread)))
    return html.table(head, body)


def criteria(record: Record) -> str:
    """The same models chosen by the force error alone, and with an eye on the energies."""
    both = {
        key: group
        for key, group in grouped(record.curves, "mechanism", "model").items()
        if {"force", "joint"} <= {word(row, "by") for row in group}
    }
    pictures = []
    for place, mechanism in enumerate(dict.fromkeys(mechanism for mechanism, _ in both)):
        models = {model: group for (one, model), group in both.items() if one == mechanism}
        for key, label, what, unit in QUANTITIES:
            drawn = []
            for model, group in models.items():
                for by in ("force", "joint"):
                    chosen = sorted(
                        (row for row in group if word(row, "by") == by),
                        key=lambda row: finite(row, "points"),
                    )
                    curve = comparison.Curve(
                        column(chosen, "points"), column(chosen, f"best_{key}"), hollow=by == "force"
                    )
                    drawn.append((record.looks[model], curve))
            svg = comparison.lines(
                drawn, (POINTS, label), f"benchmark-criterion-{place}-{what}",
                f"{mechanism}: {what} error by two criteria of choice", log="xy", level=ACCURATE,
            )  # fmt: skip
            caption = f"{mechanism}, {what} RMSE in {unit}. Rings: chosen by the force error alone."
            pictures.append(html.figure(svg, caption))
    shown = record.shown([row for group in both.values() for row in group])
    return looks.key(shown) + html.figures(*pictures) if pictures else ""


def cutoffs(record: Record) -> str:
    """Errors against the cutoff of models that have one."""
    pictures = []
    for key, label, what, unit in QUANTITIES:
        shown = looks.groups(word(row, "mechanism") for row in record.cutoffs)
        drawn = []
        for (mechanism, _), group in grouped(record.cutoffs, "mechanism", "model").items():
            group = sorted(group, key=lambda row: finite(row, "cutoff_A"))
            errors = column(group, key)
            if np.isfinite(errors).any():
                drawn.append((shown[mechanism], comparison.Curve(column(group, "cutoff_A"), errors)))
        if not drawn:
            continue
        svg = comparison.lines(
            drawn, ("cutoff / Å", label), f"benchmark-cutoff-{what}", f"{what} error against the cutoff"
        )
        best = min(
            (row for row in record.cutoffs if np.isfinite(finite(row, key))),
            key=lambda row: finite(row, key),
        )
        caption = (
            f"{what.capitalize()} RMSE in {unit}. The lowest, {number(finite(best, key))}, is at "
            f"{number(finite(best, 'cutoff_A'))} Å ({word(best, 'mechanism')})."
        )
        pictures.append(html.figure(svg, caption))
    return looks.key(shown) + html.figures(*pictures) if pictures else ""


HEAD = (
    *("mechanism", "model", "points", "force RMSE", "mean", "energy RMSE", "mean"),
    *("barrier error", "training, s", "prediction, ms"),
)


def summary(record: Record) -> list[tuple[str, ...]]:
    """Rows under HEAD: every model of every mechanism at its largest training set."""
    errors = {
        (word(row, "mechanism"), word(row, "model")): finite(row, "barrier_error_kcal_mol")
        for row in largest(record.barriers)
    }
    rows = []
    for row in largest(preferred(record.curves)):
        mechanism, model = word(row, "mechanism"), word(row, "model")
        values = [row.get(f"{which}_{key}") for key in (FORCE, ENERGY) for which in ("best", "mean")]
        figures = [*values, errors.get((mechanism, model)), row.get("train_seconds"), row.get("predict_ms")]
        rows.append((mechanism, model, number(row["points"]), *(number(one) for one in figures)))
    return rows
