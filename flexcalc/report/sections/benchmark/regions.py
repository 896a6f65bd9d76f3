"""Chapters on where models err: by region of a coordinate, along the paths, in the barriers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from flexcalc.report import comparison, html, looks
from flexcalc.report.numbers import NONE, fixed, number
from flexcalc.report.rows import Row, column, dicts, finite, grouped, largest, numbers, word
from flexcalc.report.sections import features as kept_features
from flexcalc.report.sections.benchmark.record import QUANTITIES, Record, unit_sign

FEWEST = 20
"""Frames of a bin that counts as the worst or the best."""


def by_region(record: Record) -> str:
    """Errors by bins of a coordinate for every mechanism, models at their largest training set."""
    rows = largest(record.regions)
    pictures = []
    for place, ((mechanism, coordinate), group) in enumerate(
        grouped(rows, "mechanism", "coordinate").items()
    ):
        blocks = [(word(row, "model"), dicts(row.get("bins"))) for row in group]
        unit = word(group[0], "unit")
        pictures += figures(record, mechanism, blocks, (coordinate, unit), f"benchmark-region-{place}")
    if not pictures:
        return ""
    table = _ratios(rows)
    return looks.key(record.shown(rows)) + html.figures(*pictures) + table


def figures(
    record: Record,
    title: str,
    blocks: Sequence[tuple[str, Sequence[Row]]],
    coordinate: tuple[str, str],
    name: str,
) -> list[str]:
    """Two pictures, force and energy, of the errors of models by bins of one coordinate.

    Args:
        record: for the models' looks.
        title: what the frames are of.
        blocks: (model, bins) each.
        coordinate: its text and unit.
        name: prefix of ids, unique in the page.
    """
    whole = [(model, _whole(bins)) for model, bins in blocks]
    whole = [(model, bins) for model, bins in whole if bins]
    if not whole:
        return []
    starts = np.unique(np.concatenate([column(bins, "from") for _, bins in whole]))
    ends = np.unique(np.concatenate([column(bins, "to") for _, bins in whole]))
    edges = np.append(starts, ends[-1])
    population = np.zeros(len(starts))
    for _, bins in whole:
        np.maximum.at(population, _places(starts, bins), np.nan_to_num(column(bins, "population")))
    unit = unit_sign(coordinate[1]) or ("°" if coordinate[0].split()[0] in ("dihedral", "angle") else "Å")
    found = []
    for key, label, what, per in QUANTITIES:
        drawn = []
        for model, bins in whole:
            errors = np.full(len(starts), np.nan)
            errors[_places(starts, bins)] = column(bins, key)
            if np.isfinite(errors).any():
                drawn.append((record.looks[model], errors))
        if not drawn:
            continue
        svg = comparison.by_region(
            edges, population, drawn, (f"{coordinate[0]} / {unit}", label), f"{name}-{what}",
            f"{title}: {what} error by {coordinate[0]}",
        )  # fmt: skip
        caption = f"{title}, {what} RMSE in {per} by {coordinate[0]}; bars: frames in each bin."
        found.append(html.figure(svg, caption, _numbers(whole, key)))
    return found


def _whole(bins: Sequence[Row]) -> list[Row]:
    edges = ("from", "to", "population")
    found = [row for row in bins if all(np.isfinite(finite(row, key)) for key in edges)]
    return sorted((row for row in found if row["from"] < row["to"]), key=lambda row: row["from"])


def _places(starts: np.ndarray, bins: Sequence[Row]) -> np.ndarray:
    return np.searchsorted(starts, column(bins, "from"))


def _numbers(blocks: Sequence[tuple[str, Sequence[Row]]], key: str) -> str:
    spans: dict[tuple[float, float], dict[str, str]] = {}
    for model, bins in blocks:
        for row in bins:
            place = spans.setdefault((row["from"], row["to"]), {"frames": number(row["population"])})
            place[model] = number(finite(row, key))
    head = ("bin", "frames", *(model for model, _ in blocks))
    rows = [
        (f"{fixed(low, 0)} to {fixed(high, 0)}", *(cells.get(one, NONE) for one in head[1:]))
        for (low, high), cells in sorted(spans.items())
    ]
    return html.table(head, rows)


def _ratios(rows: Sequence[Row]) -> str:
    """Worst and best bin of each model."""
    body = []
    for row in rows:
        bins = [one for one in _whole(dicts(row.get("bins"))) if one["population"] >= FEWEST]
        errors = column(bins, QUANTITIES[0][0])
        if not np.isfinite(errors).any():
            continue
        worst, best = np.nanargmax(errors), np.nanargmin(errors)
        values = (float(errors[worst]), float(errors[best]))
        ratio = values[0] / values[1] if values[1] > 0 else np.nan
        where = f"{fixed(bins[worst]['from'], 0)} to {fixed(bins[worst]['to'], 0)}"
        cells = (number(values[0]), where, number(values[1]), number(ratio, 2))
        body.append((word(row, "mechanism"), word(row, "model"), *cells))
    caption = (
        f"Force RMSE in kcal/mol/Å of the worst and the best bin with at least {FEWEST} frames, and "
        "how many times worse the worst is."
    )
    head = ("mechanism", "model", "worst bin", "where", "best bin", "ratio")
    return html.table(head, body, caption) if body else ""


def profiles(record: Record) -> str:
    """Models along the reference's own paths, and the error of each barrier."""
    rows = largest(record.barriers)
    progress = {word(row, "mechanism"): numbers(row.get("progress")) for row in record.paths}
    pictures = []
    for place, ((mechanism,), group) in enumerate(grouped(rows, "mechanism").items()):
        pictures.append(_profile(record, mechanism, group, progress.get(mechanism), place))
    pictures.append(_barrier_errors(record, rows))
    if not any(pictures):
        return ""
    shown = looks.key(record.shown(rows), reference="reference")
    return shown + html.figures(*pictures) + _barrier_table(rows)


def _profile(
    record: Record, mechanism: str, rows: Sequence[Row], progress: np.ndarray | None, place: int
) -> str:
    reference = next(
        (one for row in rows if len(one := numbers(row.get("profile_reference_kcal_mol"))) > 1), None
    )
    if reference is None:
        return ""
    x = np.arange(len(reference), dtype=float)
    label = "image"
    if progress is not None and len(progress) == len(reference) and np.isfinite(progress).all():
        x, label = progress, "progress along the path"
    drawn = [
        (record.looks[word(row, "model")], comparison.Curve(x, energies))
        for row in rows
        if len(energies := numbers(row.get("profile_kcal_mol"))) == len(reference)
    ]
    svg = comparison.lines(
        drawn, (label, "energy / kcal mol⁻¹"), f"benchmark-profile-{place}",
        f"{mechanism}: energy along the path, models and reference",
        reference=comparison.Reference(x, reference), smoothed=True,
    )  # fmt: skip
    best = min(rows, key=lambda row: np.nan_to_num(finite(row, "profile_rmse_kcal_mol"), nan=np.inf))
    caption = (
        f"{mechanism}, energy along the reference's path in kcal/mol. {word(best, 'model')} is the "
        f"closest: {number(finite(best, 'profile_rmse_kcal_mol'))} kcal/mol RMSE."
    )
    return html.figure(svg, caption)


def _barrier_errors(record: Record, rows: Sequence[Row]) -> str:
    """Of each model the errors of all barriers: their mean size, from the least to the largest."""
    marks = []
    for (model,), group in grouped(rows, "model").items():
        errors = column(group, "barrier_error_kcal_mol")
        errors = errors[np.isfinite(errors)]
        if len(errors):
            look = record.looks[model]
            worst = float(errors[np.abs(errors).argmax()])
            marks.append((model, look, worst, float(errors.min()), float(errors.max())))
    if not marks:
        return ""
    svg = comparison.ranges(
        marks, "error of the barrier / kcal mol⁻¹", "benchmark-barriers",
        "Errors of the barriers by model", log=False, band=1.0,
    )  # fmt: skip
    caption = (
        "Errors of the barriers in kcal/mol: the mark is the largest of a model's errors, the line "
        "spans all mechanisms. Within the band they are below 1 kcal/mol."
    )
    return html.figure(svg, caption)


def _barrier_table(rows: Sequence[Row]) -> str:
    mechanisms = list(dict.fromkeys(word(row, "mechanism") for row in rows))
    body = []
    for (model,), group in grouped(rows, "model").items():
        by_mechanism: dict[str, Any] = {word(row, "mechanism"): row for row in group}
        cells = []
        for mechanism in mechanisms:
            row = by_mechanism.get(mechanism, {})
            error = finite(row, "barrier_error_kcal_mol")
            cells.append(fixed(error, 2, sign=True) if np.isfinite(error) else NONE)
        body.append((model, *cells))
    caption = "Error of each barrier in kcal/mol: the model's height less the reference's."
    return html.table(("model", *mechanisms), body, caption)


def kept(record: Record) -> str:
    """Which features reduced models kept."""
    drawn = [
        kept_features.figures(
            {"features": [_feature(one) for one in dicts(row.get("features"))]},
            f"benchmark-features-{place}",
            "",
        )
        for place, row in enumerate(record.features)
    ]
    titles = [
        f"{word(row, 'model')}, {word(row, 'mechanism')}: {number(row.get('kept'))} of "
        f"{number(row.get('all'))} features kept."
        for row in record.features
    ]
    return "".join(
        html.paragraph(title) + figure for title, figure in zip(titles, drawn, strict=True) if figure
    )


def _feature(row: Row) -> dict[str, Any]:
    """A feature under the names that reduction.json has."""
    importance = row.get(kept_features.IMPORTANCE, row.get("importance"))
    return {**row, kept_features.IMPORTANCE: importance}
