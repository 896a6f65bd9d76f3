"""Chapters on how errors fall with the training set, by mechanism and model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from flexcalc.display import comparison, html, styles
from flexcalc.display.numbers import number
from flexcalc.reports.rows import Row, column, finite, grouped, largest, numbers, word
from flexcalc.reports.sections.benchmark.record import (
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
            frame = comparison.Frame((POINTS, label), log="xy", level=ACCURATE)
            svg = comparison.lines(drawn, frame).svg(
                f"benchmark-curve-{place}-{what}",
                f"{mechanism}: {what} error against training points",
            )
            caption = f"{what.capitalize()} RMSE in {unit}. {_first_below(group, key)}"
            pictures.append(html.figure(svg, caption, _numbers(group, key), title=mechanism))
    return styles.key(record.shown(rows)) + html.figures(*pictures)


def _curve(rows: Sequence[Row], key: str) -> comparison.Curve:
    """The best fold of a model as a line, the folds' spread as its band."""
    rows = sorted(rows, key=lambda row: finite(row, "points"))
    folds = [_folds(row, key) for row in rows]
    best = column(rows, f"best_{key}")
    low, high = (
        np.array([edge(one) if len(one) else np.nan for one in folds]) for edge in (np.min, np.max)
    )
    return comparison.Curve(
        column(rows, "points"), np.where(np.isfinite(best), best, low), low, high
    )


def _folds(row: Row, key: str) -> np.ndarray:
    found = numbers(row.get(f"fold_{key}"))
    return found[np.isfinite(found)]


def _first_below(rows: Sequence[Row], key: str) -> str:
    """Who gets below chemical accuracy with the fewest points."""
    below = [row for row in rows if finite(row, f"best_{key}") < ACCURATE]
    if not below:
        return "No model gets below 1."
    first = min(below, key=lambda row: (finite(row, "points"), finite(row, f"best_{key}")))
    return f"First below 1: {word(first, 'model')}, with {number(first['points'])} points."


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
    """Energy errors of the same models, chosen by the force error alone or by both errors."""
    both = {
        key: group
        for key, group in grouped(record.curves, "mechanism", "model").items()
        if _differ(group)
    }
    pictures = []
    for place, mechanism in enumerate(dict.fromkeys(mechanism for mechanism, _ in both)):
        models = {model: group for (one, model), group in both.items() if one == mechanism}
        span = np.concatenate([column(group, f"best_{ENERGY}") for group in models.values()])
        for by, said in CRITERIA.items():
            drawn = []
            for model, group in models.items():
                chosen = [row for row in group if word(row, "by") == by]
                chosen.sort(key=lambda row: finite(row, "points"))
                points, errors = column(chosen, "points"), column(chosen, f"best_{ENERGY}")
                drawn.append((record.looks[model], comparison.Curve(points, errors)))
            labels = (POINTS, QUANTITIES[1][1])
            frame = comparison.Frame(labels, log="xy", level=ACCURATE, span=span)
            svg = comparison.lines(drawn, frame).svg(
                f"benchmark-criterion-{place}-{by}",
                f"{mechanism}: energy error of models chosen {said}",
            )
            rises = sum(int((np.diff(curve.y) > 0).sum()) for _, curve in drawn)
            caption = f"Energy RMSE in kcal/mol, chosen {said}. {_rises(rises)}"
            numbers_of = _chosen(models, by)
            pictures.append(html.figure(svg, caption, numbers_of, title=mechanism))
    shown = record.shown([row for group in both.values() for row in group])
    return styles.key(shown) + html.figures(*pictures) if pictures else ""


def _differ(rows: Sequence[Row]) -> bool:
    """Whether the two criteria chose differently anywhere."""
    by_force, jointly = (
        {row["points"]: finite(row, f"best_{ENERGY}") for row in rows if word(row, "by") == by}
        for by in CRITERIA
    )
    return any(by_force[points] != jointly[points] for points in by_force.keys() & jointly.keys())


CRITERIA = {"force": "by the force error alone", "joint": "by both errors"}


def _rises(count: int) -> str:
    if not count:
        return "It never rises with more points."
    times = {1: "once", 2: "twice"}.get(count, f"{count} times")
    return f"It rises {times} as points are added."


def _chosen(models: Mapping[str, Sequence[Row]], by: str) -> str:
    head = ("model", POINTS, "force RMSE", "energy RMSE")
    rows = [
        (model, *(number(row.get(key)) for key in ("points", f"best_{FORCE}", f"best_{ENERGY}")))
        for model, group in models.items()
        for row in group
        if word(row, "by") == by
    ]
    return html.table(head, rows)


def cutoffs(record: Record) -> str:
    """Errors against the cutoff of models that have one."""
    pictures = []
    for key, label, what, unit in QUANTITIES:
        shown = styles.groups(word(row, "mechanism") for row in record.cutoffs)
        drawn = []
        for (mechanism, _), group in grouped(record.cutoffs, "mechanism", "model").items():
            group = sorted(group, key=lambda row: finite(row, "cutoff_A"))
            errors = column(group, key)
            if np.isfinite(errors).any():
                drawn.append(
                    (shown[mechanism], comparison.Curve(column(group, "cutoff_A"), errors))
                )
        if not drawn:
            continue
        svg = comparison.lines(drawn, comparison.Frame(("cutoff / Å", label))).svg(
            f"benchmark-cutoff-{what}", f"{what} error against the cutoff"
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
    return styles.key(shown) + html.figures(*pictures) if pictures else ""


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
        values = [
            row.get(f"{which}_{key}") for key in (FORCE, ENERGY) for which in ("best", "mean")
        ]
        figures = [
            *values,
            errors.get((mechanism, model)),
            row.get("train_seconds"),
            row.get("predict_ms"),
        ]
        rows.append((mechanism, model, number(row["points"]), *(number(one) for one in figures)))
    return rows
