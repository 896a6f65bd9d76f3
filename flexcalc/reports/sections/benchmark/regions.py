"""Chapters on errors by region of a coordinate, along the paths, and of the barriers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from flexcalc.display import comparison, html, styles
from flexcalc.display.numbers import NONE, fixed, number
from flexcalc.reports.rows import floats, grouped, largest
from flexcalc.reports.sections import features as kept_features
from flexcalc.reports.sections.benchmark.record import QUANTITIES, Record, unit_sign
from flexcalc.results.benchmark_rows import (
    BarrierRow,
    FeatureRow,
    PathRow,
    Quantity,
    RegionBin,
    RegionRow,
)

FEWEST = 20
"""Minimum number of frames of a bin that counts as the worst or the best."""

DECIMALS = 6
"""Of a bin's edges: the end of one bin is the start of the next."""

Blocks = Sequence[tuple[str, Sequence[RegionBin]]]
"""Models with their bins."""


@dataclass(frozen=True)
class RegionErrors:
    """Errors of models by bins of one coordinate.

    Args:
        title: which frames.
        coordinate: its text.
        unit: of the coordinate.
        blocks: (model, bins) each.
    """

    title: str
    coordinate: str
    unit: str
    blocks: Blocks


def by_region(record: Record) -> str:
    """Errors by bins of a coordinate for every mechanism, models at their largest training set."""
    rows = largest(record.regions)
    first: dict[str, str] = {}
    pictures: list[str] = []
    others: list[str] = []
    for place, ((mechanism, coordinate), group) in enumerate(
        grouped(rows, lambda row: (row.mechanism, row.coordinate)).items()
    ):
        blocks = [(row.model, row.bins) for row in group]
        errors = RegionErrors(mechanism, coordinate, group[0].unit, blocks)
        drawn = figures(record, errors, f"benchmark-region-{place}")
        # The first coordinate is the mechanism's own.
        main = first.setdefault(mechanism, coordinate) == coordinate
        (pictures if main else others).extend(drawn)
    if not pictures:
        return ""
    folded = html.details("By other coordinates", html.figures(*others)) if others else ""
    return styles.key(record.shown(rows)) + html.figures(*pictures) + folded + _ratios(rows)


def figures(record: Record, regions: RegionErrors, name: str) -> list[str]:
    """Two pictures, force and energy, of the errors of models by bins of one coordinate.

    Args:
        record: for the styles of the models.
        regions: the errors.
        name: prefix of ids, unique in the page.
    """
    whole = [(model, _whole(bins)) for model, bins in regions.blocks]
    whole = [(model, bins) for model, bins in whole if bins]
    if not whole:
        return []
    # Where nothing was met there may be no bin: a gap is a bin of its own, and empty.
    sides = floats(side for _, bins in whole for one in bins for side in (one.low, one.high))
    edges = np.unique(np.round(sides, DECIMALS))
    starts = edges[:-1]
    population = np.zeros(len(starts))
    for _, bins in whole:
        frames = floats(one.population for one in bins)
        np.maximum.at(population, _places(starts, bins), frames)
    unit = unit_sign(regions.unit)
    along = f"{regions.coordinate} / {unit}" if unit else regions.coordinate
    pictures = []
    for what, label, per in QUANTITIES:
        drawn = []
        for model, bins in whole:
            errors = np.full(len(starts), np.nan)
            errors[_places(starts, bins)] = floats(one.rmse(what) for one in bins)
            if np.isfinite(errors).any():
                drawn.append((record.styles[model], errors))
        if not drawn:
            continue
        svg = comparison.by_region(edges, population, drawn, (along, label)).svg(
            f"{name}-{what}", f"{regions.title}: {what} error by {regions.coordinate}"
        )
        caption = (
            f"{what.capitalize()} RMSE in {per} by {regions.coordinate}. Bars: frames in each bin."
        )
        pictures.append(html.figure(svg, caption, _numbers(whole, what), title=regions.title))
    return pictures


def _whole(bins: Sequence[RegionBin]) -> list[RegionBin]:
    """The undamaged bins in their order."""
    known = [one for one in bins if np.isfinite([one.low, one.high, one.population]).all()]
    return sorted(
        (one for one in known if one.high - one.low > 10**-DECIMALS), key=lambda one: one.low
    )


def _places(starts: np.ndarray, bins: Sequence[RegionBin]) -> np.ndarray:
    return np.searchsorted(starts, np.round(floats(one.low for one in bins), DECIMALS))


def _numbers(blocks: Blocks, what: Quantity) -> str:
    spans: dict[tuple[float, float], dict[str, str]] = {}
    for model, bins in blocks:
        for one in bins:
            cells = spans.setdefault((one.low, one.high), {"frames": number(one.population)})
            cells[model] = number(one.rmse(what))
    head = ("bin", "frames", *(model for model, _ in blocks))
    rows = [
        (f"{fixed(low, 0)} to {fixed(high, 0)}", *(cells.get(one, NONE) for one in head[1:]))
        for (low, high), cells in sorted(spans.items())
    ]
    return html.table(head, rows)


def _ratios(rows: Sequence[RegionRow]) -> str:
    """Worst and best bin of each model."""
    body = []
    for row in rows:
        bins = [one for one in _whole(row.bins) if one.population >= FEWEST]
        errors = floats(one.rmse("force") for one in bins)
        if not np.isfinite(errors).any():
            continue
        worst, best = np.nanargmax(errors), np.nanargmin(errors)
        values = (float(errors[worst]), float(errors[best]))
        ratio = values[0] / values[1] if values[1] > 0 else np.nan
        low, high = bins[worst].low, bins[worst].high
        where = f"{fixed(low, 0)} to {fixed(high, 0)} of {row.coordinate}"
        cells = (number(values[0]), where, number(values[1]), number(ratio, 2))
        body.append((row.mechanism, row.model, *cells))
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
    paths = {row.mechanism: row for row in record.paths}
    pictures = []
    for place, (mechanism, group) in enumerate(grouped(rows, lambda row: row.mechanism).items()):
        pictures += _profile(record, group, paths.get(mechanism), place)
    drawn = html.figures(*pictures)
    if drawn:
        drawn = styles.key(record.shown(rows), reference="reference") + drawn
    return drawn + _heights(record, rows)


def _profile(
    record: Record, rows: Sequence[BarrierRow], path: PathRow | None, place: int
) -> list[str]:
    """The energy along a path, and the error of each model."""
    mechanism = rows[0].mechanism
    profiles = (floats(row.profile_reference_kcal_mol) for row in rows)
    reference = next((one for one in profiles if len(one) > 1), None)
    if reference is None:
        return []
    x, label = _along(path, len(reference))
    models = [
        (record.styles[row.model], floats(row.profile_kcal_mol))
        for row in rows
        if len(row.profile_kcal_mol) == len(reference)
    ]
    energy = comparison.lines(
        [(style, comparison.Curve(x, energies)) for style, energies in models],
        comparison.Frame((label, "energy / kcal mol⁻¹")),
        reference=comparison.Reference(x, reference),
        smoothed=True,
    ).svg(f"benchmark-profile-{place}", f"{mechanism}: energy along the path, models and reference")
    off = comparison.lines(
        [(style, comparison.Curve(x, energies - reference)) for style, energies in models],
        comparison.Frame((label, "model less reference / kcal mol⁻¹"), band=1.0),
    ).svg(f"benchmark-off-{place}", f"{mechanism}: error of each model along the path")
    closest = min(rows, key=lambda row: np.nan_to_num(row.profile_rmse_kcal_mol, nan=np.inf))
    text = (
        f"Error of each model in kcal/mol; the band is 1 wide on each side. The closest is "
        f"{closest.model}: {number(closest.profile_rmse_kcal_mol)} RMSE."
    )
    return [
        html.figure(energy, "Energy along the reference's path in kcal/mol.", title=mechanism),
        html.figure(off, text, title=mechanism),
    ]


def _along(path: PathRow | None, images: int) -> tuple[np.ndarray, str]:
    """Positions of the images of a path on an axis, and the axis's label."""
    progress = floats(() if path is None else path.progress)
    if path is not None and len(progress) == images and np.isfinite(progress).all():
        return progress, path.coordinate or "progress along the path"
    return np.arange(images, dtype=float), "image"


def _heights(record: Record, rows: Sequence[BarrierRow]) -> str:
    """Errors of the barriers as a picture and as numbers, side by side."""
    return html.figures(_barrier_errors(record, rows), _barrier_table(rows)) if rows else ""


def _barrier_errors(record: Record, rows: Sequence[BarrierRow]) -> str:
    """Errors of all barriers of each model: the largest one as a mark, their range as a line."""
    marks = []
    for model, group in grouped(rows, lambda row: row.model).items():
        errors = floats(row.barrier_error_kcal_mol for row in group)
        errors = errors[np.isfinite(errors)]
        if len(errors):
            style = record.styles[model]
            worst = float(errors[np.abs(errors).argmax()])
            marks.append((model, style, worst, float(errors.min()), float(errors.max())))
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


def _barrier_table(rows: Sequence[BarrierRow]) -> str:
    mechanisms = list(dict.fromkeys(row.mechanism for row in rows))
    body = []
    for model, group in grouped(rows, lambda row: row.model).items():
        errors = {row.mechanism: row.barrier_error_kcal_mol for row in group}
        cells = []
        for mechanism in mechanisms:
            error = errors.get(mechanism, np.nan)
            cells.append(fixed(error, 2, sign=True) if np.isfinite(error) else NONE)
        body.append((model, *cells))
    caption = "Error of each barrier in kcal/mol: the model's height less the reference's."
    return html.figure(html.table(("model", *mechanisms), body), caption)


def kept(record: Record) -> str:
    """Which features reduced models kept."""
    drawn = [
        kept_features.figures(
            {"features": _features(row)},
            f"benchmark-features-{place}",
            "",
        )
        for place, row in enumerate(record.features)
    ]
    titles = [
        f"{row.model}, {row.mechanism}: {number(row.kept)} of {number(row.all)} features kept."
        for row in record.features
    ]
    return "".join(
        html.paragraph(title) + figure
        for title, figure in zip(titles, drawn, strict=True)
        if figure
    )


def _features(row: FeatureRow) -> list[object]:
    """The features under the names that reduction.json has."""
    key = kept_features.IMPORTANCE
    return [{**one, key: one.get(key, one.get("importance"))} for one in row.features]
