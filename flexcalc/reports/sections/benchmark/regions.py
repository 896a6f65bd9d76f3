"""Chapters on where models err: by region of a coordinate, along the paths, in the barriers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from flexcalc.display import comparison, html, styles
from flexcalc.display.numbers import NONE, fixed, number
from flexcalc.reports.rows import Row, column, dicts, finite, grouped, largest, numbers, word
from flexcalc.reports.sections import features as kept_features
from flexcalc.reports.sections.benchmark.record import QUANTITIES, Record, unit_sign

FEWEST = 20
"""Frames of a bin that counts as the worst or the best."""

DECIMALS = 6
"""Of a bin's edges: the end of one bin is the start of the next."""


def by_region(record: Record) -> str:
    """Errors by bins of a coordinate for every mechanism, models at their largest training set."""
    rows = largest(record.regions)
    first: dict[str, str] = {}
    pictures: list[str] = []
    others: list[str] = []
    for place, ((mechanism, coordinate), group) in enumerate(
        grouped(rows, "mechanism", "coordinate").items()
    ):
        blocks = [(word(row, "model"), dicts(row.get("bins"))) for row in group]
        unit = word(group[0], "unit")
        name = f"benchmark-region-{place}"
        drawn = figures(record, mechanism, blocks, (coordinate, unit), name)
        # The first coordinate is the mechanism's own.
        main = first.setdefault(mechanism, coordinate) == coordinate
        (pictures if main else others).extend(drawn)
    if not pictures:
        return ""
    folded = html.details("By other coordinates", html.figures(*others)) if others else ""
    return styles.key(record.shown(rows)) + html.figures(*pictures) + folded + _ratios(rows)


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
    # Where nothing was met there may be no bin: a gap is a bin of its own, and empty.
    sides = [column(bins, side) for _, bins in whole for side in ("from", "to")]
    edges = np.unique(np.round(np.concatenate(sides), DECIMALS))
    starts = edges[:-1]
    population = np.zeros(len(starts))
    for _, bins in whole:
        np.maximum.at(population, _places(starts, bins), np.nan_to_num(column(bins, "population")))
    unit = unit_sign(coordinate[1])
    along = f"{coordinate[0]} / {unit}" if unit else coordinate[0]
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
        svg = comparison.by_region(edges, population, drawn, (along, label)).svg(
            f"{name}-{what}", f"{title}: {what} error by {coordinate[0]}"
        )
        caption = f"{what.capitalize()} RMSE in {per} by {coordinate[0]}. Bars: frames in each bin."
        found.append(html.figure(svg, caption, _numbers(whole, key), title=title))
    return found


def _whole(bins: Sequence[Row]) -> list[Row]:
    edges = ("from", "to", "population")
    found = [row for row in bins if all(np.isfinite(finite(row, key)) for key in edges)]
    return sorted(
        (row for row in found if row["to"] - row["from"] > 10**-DECIMALS),
        key=lambda row: row["from"],
    )


def _places(starts: np.ndarray, bins: Sequence[Row]) -> np.ndarray:
    return np.searchsorted(starts, np.round(column(bins, "from"), DECIMALS))


def _numbers(blocks: Sequence[tuple[str, Sequence[Row]]], key: str) -> str:
    spans: dict[tuple[float, float], dict[str, str]] = {}
    for model, bins in blocks:
        for row in bins:
            place = spans.setdefault(
                (row["from"], row["to"]), {"frames": number(row["population"])}
            )
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
        where = f"{where} of {word(row, 'coordinate')}"
        cells = (number(values[0]), where, number(values[1]), number(ratio, 2))
        body.append((word(row, "mechanism"), word(row, "model"), *cells))
    caption = (
        f"Force RMSE in kcal/mol/Å of the worst and the best bin with at least {FEWEST} frames, "
        "and how many times worse the worst is."
    )
    head = ("mechanism", "model", "worst bin", "where", "best bin", "ratio")
    table = html.table(head, body, caption, words=2)
    return html.details("Worst and best bins", table) if body else ""


def profiles(record: Record) -> str:
    """Models along the reference's own paths, and the error of each barrier."""
    rows = largest(record.barriers)
    paths = {word(row, "mechanism"): row for row in record.paths}
    pictures = []
    for place, ((mechanism,), group) in enumerate(grouped(rows, "mechanism").items()):
        pictures += _profile(record, mechanism, group, paths.get(mechanism, {}), place)
    drawn = html.figures(*pictures)
    if drawn:
        drawn = styles.key(record.shown(rows), reference="reference") + drawn
    return drawn + _heights(record, rows)


def _profile(
    record: Record, mechanism: str, rows: Sequence[Row], path: Row, place: int
) -> list[str]:
    """The energy along a path, and beside it how far each model is off."""
    profiles = (numbers(row.get("profile_reference_kcal_mol")) for row in rows)
    reference = next((one for one in profiles if len(one) > 1), None)
    if reference is None:
        return []
    x, label = _along(path, len(reference))
    models = [
        (record.looks[word(row, "model")], energies)
        for row in rows
        if len(energies := numbers(row.get("profile_kcal_mol"))) == len(reference)
    ]
    energy = comparison.lines(
        [(look, comparison.Curve(x, energies)) for look, energies in models],
        comparison.Frame((label, "energy / kcal mol⁻¹")),
        reference=comparison.Reference(x, reference),
        smoothed=True,
    ).svg(f"benchmark-profile-{place}", f"{mechanism}: energy along the path, models and reference")
    off = comparison.lines(
        [(look, comparison.Curve(x, energies - reference)) for look, energies in models],
        comparison.Frame((label, "model less reference / kcal mol⁻¹"), band=1.0),
    ).svg(f"benchmark-off-{place}", f"{mechanism}: error of each model along the path")
    closest = min(
        rows, key=lambda row: np.nan_to_num(finite(row, "profile_rmse_kcal_mol"), nan=np.inf)
    )
    said = (
        f"How far each model is off, in kcal/mol; the band is 1 wide on each side. The closest is "
        f"{word(closest, 'model')}: {number(finite(closest, 'profile_rmse_kcal_mol'))} RMSE."
    )
    return [
        html.figure(energy, "Energy along the reference's path in kcal/mol.", title=mechanism),
        html.figure(off, said, title=mechanism),
    ]


def _along(path: Row, images: int) -> tuple[np.ndarray, str]:
    """Where the images of a path stand on an axis, and the axis's label."""
    progress = numbers(path.get("progress"))
    if len(progress) == images and np.isfinite(progress).all():
        return progress, word(path, "coordinate") or "progress along the path"
    return np.arange(images, dtype=float), "image"


def _heights(record: Record, rows: Sequence[Row]) -> str:
    """Errors of the barriers as a picture and as numbers, side by side."""
    return html.figures(_barrier_errors(record, rows), _barrier_table(rows)) if rows else ""


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
    svg = comparison.ranges(marks, "error of the barrier / kcal mol⁻¹", log=False, band=1.0).svg(
        "benchmark-barriers", "Errors of the barriers by model"
    )
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
    return html.figure(html.table(("model", *mechanisms), body), caption)


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
        html.paragraph(title) + figure
        for title, figure in zip(titles, drawn, strict=True)
        if figure
    )


def _feature(row: Row) -> dict[str, Any]:
    """A feature under the names that reduction.json has."""
    importance = row.get(kept_features.IMPORTANCE, row.get("importance"))
    return {**row, kept_features.IMPORTANCE: importance}
