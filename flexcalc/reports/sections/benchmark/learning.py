"""Chapters on how errors fall with the training set, by mechanism and model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from flexcalc.display import comparison, html, styles
from flexcalc.display.numbers import number
from flexcalc.reports.rows import floats, grouped, largest
from flexcalc.reports.sections.benchmark.record import (
    ACCURATE,
    ENERGY_LABEL,
    QUANTITIES,
    Record,
    preferred,
)
from flexcalc.results.benchmark_rows import CurveRow, Quantity

POINTS = "training points"


def curves(record: Record) -> str:
    """Force and energy errors against training points, with the spread over the folds."""
    rows = preferred(record.curves)
    if not rows:
        return ""
    pictures = []
    for place, (mechanism, group) in enumerate(grouped(rows, lambda row: row.mechanism).items()):
        for what, label, unit in QUANTITIES:
            drawn = [
                (record.styles[model], _curve(one, what))
                for model, one in grouped(group, lambda row: row.model).items()
            ]
            frame = comparison.Frame((POINTS, label), log="xy", level=ACCURATE)
            svg = comparison.lines(drawn, frame).svg(
                f"benchmark-curve-{place}-{what}",
                f"{mechanism}: {what} error against training points",
            )
            caption = f"{what.capitalize()} RMSE in {unit}. {_first_below(group, what)}"
            pictures.append(html.figure(svg, caption, _numbers(group, what), title=mechanism))
    return styles.key(record.shown(rows)) + html.figures(*pictures)


def _curve(rows: Sequence[CurveRow], what: Quantity) -> comparison.Curve:
    """The best fold of a model as a line, the folds' spread as its band."""
    rows = sorted(rows, key=lambda row: row.points)
    folds = [_folds(row, what) for row in rows]
    best = floats(row.best(what) for row in rows)
    low, high = (
        np.array([edge(one) if len(one) else np.nan for one in folds]) for edge in (np.min, np.max)
    )
    return comparison.Curve(
        floats(row.points for row in rows), np.where(np.isfinite(best), best, low), low, high
    )


def _folds(row: CurveRow, what: Quantity) -> np.ndarray:
    errors = floats(row.folds(what))
    return errors[np.isfinite(errors)]


def _first_below(rows: Sequence[CurveRow], what: Quantity) -> str:
    """The model below chemical accuracy with the fewest points."""
    below = [row for row in rows if row.best(what) < ACCURATE]
    if not below:
        return "No model gets below 1."
    first = min(below, key=lambda row: (row.points, row.best(what)))
    return f"First below 1: {first.model}, with {number(first.points)} points."


def _numbers(rows: Sequence[CurveRow], what: Quantity) -> str:
    head = ("model", POINTS, "best", "mean", "spread of the folds")
    body = []
    for row in rows:
        folds = _folds(row, what)
        spread = float(folds.std(ddof=1)) if len(folds) > 1 else None
        errors = number(row.best(what)), number(row.mean(what))
        body.append((row.model, number(row.points), *errors, number(spread)))
    return html.table(head, body)


def criteria(record: Record) -> str:
    """Energy errors of the same models, chosen by the force error alone or by both errors."""
    both = {
        key: group
        for key, group in grouped(record.curves, lambda row: (row.mechanism, row.model)).items()
        if _differ(group)
    }
    pictures = []
    for place, mechanism in enumerate(dict.fromkeys(mechanism for mechanism, _ in both)):
        models = {model: group for (one, model), group in both.items() if one == mechanism}
        span = floats(row.best_energy_rmse_kcal_mol for group in models.values() for row in group)
        for by, said in CRITERIA.items():
            drawn = []
            for model, group in models.items():
                chosen = sorted((row for row in group if row.by == by), key=lambda row: row.points)
                points = floats(row.points for row in chosen)
                errors = floats(row.best_energy_rmse_kcal_mol for row in chosen)
                drawn.append((record.styles[model], comparison.Curve(points, errors)))
            frame = comparison.Frame((POINTS, ENERGY_LABEL), log="xy", level=ACCURATE, span=span)
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


def _differ(rows: Sequence[CurveRow]) -> bool:
    """Whether the two criteria chose differently anywhere."""
    by_force, jointly = (
        {row.points: row.best_energy_rmse_kcal_mol for row in rows if row.by == by}
        for by in CRITERIA
    )
    return any(by_force[points] != jointly[points] for points in by_force.keys() & jointly.keys())


CRITERIA = {"force": "by the force error alone", "joint": "by both errors"}


def _rises(count: int) -> str:
    if not count:
        return "It never rises with more points."
    times = {1: "once", 2: "twice"}.get(count, f"{count} times")
    return f"It rises {times} as points are added."


def _chosen(models: Mapping[str, Sequence[CurveRow]], by: str) -> str:
    head = ("model", POINTS, "force RMSE", "energy RMSE")
    rows = [
        (model, number(row.points), number(row.best("force")), number(row.best("energy")))
        for model, group in models.items()
        for row in group
        if row.by == by
    ]
    return html.table(head, rows)


def cutoffs(record: Record) -> str:
    """Errors against the cutoff of models that have one."""
    pictures = []
    shown = styles.groups(row.mechanism for row in record.cutoffs)
    series = grouped(record.cutoffs, lambda row: (row.mechanism, row.model))
    for what, label, unit in QUANTITIES:
        drawn = []
        for (mechanism, _), group in series.items():
            group = sorted(group, key=lambda row: row.cutoff_A)
            errors = floats(row.rmse(what) for row in group)
            if np.isfinite(errors).any():
                cutoff = floats(row.cutoff_A for row in group)
                drawn.append((shown[mechanism], comparison.Curve(cutoff, errors)))
        if not drawn:
            continue
        svg = comparison.lines(drawn, comparison.Frame(("cutoff / Å", label))).svg(
            f"benchmark-cutoff-{what}", f"{what} error against the cutoff"
        )
        best = min(
            (row for row in record.cutoffs if np.isfinite(row.rmse(what))),
            key=lambda row: row.rmse(what),
        )
        caption = (
            f"{what.capitalize()} RMSE in {unit}. The lowest, {number(best.rmse(what))}, is at "
            f"{number(float(best.cutoff_A))} Å ({best.mechanism})."
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
        (row.mechanism, row.model): row.barrier_error_kcal_mol for row in largest(record.barriers)
    }
    rows = []
    for row in largest(preferred(record.curves)):
        figures = (
            row.points,
            *(row.best("force"), row.mean("force"), row.best("energy"), row.mean("energy")),
            errors.get((row.mechanism, row.model)),
            row.train_seconds,
            row.predict_ms,
        )
        rows.append((row.mechanism, row.model, *(number(one) for one in figures)))
    return rows
