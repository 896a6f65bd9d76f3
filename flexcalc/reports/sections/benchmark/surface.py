"""Chapters on the molecule's surface: its minima, the paths between them, the data along them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from flexcalc.display import comparison, html, molecule, plots, styles
from flexcalc.display.numbers import NONE, counted, fixed, number
from flexcalc.display.viewer import viewer
from flexcalc.reports.rows import Row, finite, grouped, numbers, word
from flexcalc.reports.sections.benchmark.record import Record

BARE = "barrier_without_dispersion_kcal_mol"
UNIT = "energy / kcal mol⁻¹"


def minima(record: Record) -> str:
    """The minima, drawn from one side, with their coordinates."""
    if not record.minima:
        return ""
    names = list(dict.fromkeys(key for row in record.minima for key in _coordinates(row)))
    rows = [
        (
            word(row, "name"),
            _decimals(finite(row, "energy_kcal_mol")),
            *(_decimals(finite(_coordinates(row), key), 1) for key in names),
        )
        for row in record.minima
    ]
    caption = "Energies in kcal/mol above the lowest minimum, angles in degrees, distances in Å."
    table = html.table(("minimum", "energy", *names), rows)
    frames = record.run.frames("minima.xyz")
    if frames is None or len(frames) != len(record.minima):
        return html.figure(table, caption)
    view = molecule.look(frames.numbers, frames.positions)
    tiles = [
        (
            molecule.picture(view, k, f"benchmark-minimum-{k}", f"The minimum {rows[k][0]}"),
            rows[k][0],
            f"{rows[k][1]} kcal/mol",
        )
        for k in range(len(rows))
    ]
    lowest = "The minima, seen from one side."
    return html.figures(
        html.figure(f'<div class="few">{html.film(tiles)}</div>', lowest),
        html.figure(table, caption),
    )


def paths(record: Record) -> str:
    """Energies along the paths, what dispersion adds to their heights, and the paths to turn."""
    if not record.paths:
        return ""
    shown = styles.groups(word(row, "mechanism") for row in record.paths)
    along = [
        (shown[word(row, "mechanism")], comparison.Curve(_share(energies), energies))
        for row in record.paths
        if len(energies := numbers(row.get("profile_kcal_mol"))) > 1
    ]
    drawn = ""
    if along:
        frame = comparison.Frame(("share of the way", UNIT))
        svg = comparison.lines(along, frame, smoothed=True).svg(
            "benchmark-paths", "Energy along each path"
        )
        drawn = html.figure(
            svg, "Reference energies along each path in kcal/mol; the ends are at 0 and 1."
        )
    turning = [_turning(record, row) for row in record.paths]
    return (
        (styles.key(shown) if drawn else "")
        + _beside(drawn, record.paths)
        + _naive(record.naive)
        + (html.details("The paths, to be turned", "".join(turning)) if any(turning) else "")
    )


def _heights(rows: Sequence[Row]) -> str:
    """What dispersion does to each barrier."""
    both = [
        (
            word(row, "mechanism"),
            finite(row, "barrier_kcal_mol"),
            finite(row, BARE),
        )
        for row in rows
    ]
    both = [row for row in both if np.isfinite(row[1:]).all()]
    if not both:
        return ""
    marks = [
        (name, styles.LineStyle("model"), height - bare, 0.0, height - bare)
        for name, height, bare in both
    ]
    svg = comparison.ranges(marks, "what dispersion adds / kcal mol⁻¹", log=False, band=1.0).svg(
        "benchmark-dispersion", "What dispersion adds to each barrier"
    )
    caption = (
        "Barrier with dispersion less the barrier without, in kcal/mol; within the band it is less "
        "than 1 kcal/mol."
    )
    return html.figure(svg, caption)


def _beside(drawn: str, rows: Sequence[Row]) -> str:
    """The paths' picture with what dispersion adds, if that is known, and a table of the paths."""
    picture = _heights(rows)
    body = []
    for row in rows:
        found = row.get("converged")
        converged = ("yes" if found else "no") if isinstance(found, bool) else NONE
        height, bare = finite(row, "barrier_kcal_mol"), finite(row, BARE)
        without = (_decimals(bare), _decimals(height - bare, sign=True)) if picture else ()
        images = number(row.get("images"))
        body.append((word(row, "mechanism"), images, _decimals(height), *without, converged))
    extra = ("without dispersion", "difference") if picture else ()
    head = ("path", "images", "barrier", *extra, "converged")
    caption = "Barriers in kcal/mol, the highest image above the first."
    if picture:
        return html.figures(drawn, picture) + html.table(head, body, caption)
    return html.figures(drawn, html.figure(html.table(head, body), caption))


def _naive(rows: Sequence[Row]) -> str:
    """What searches came to that began with an interpolation between the ends."""
    body = []
    for row in rows:
        ended = "converged" if row.get("converged") is True else "did not converge"
        barrier = _decimals(finite(row, "barrier_kcal_mol"))
        between = f"{word(row, 'start')} to {word(row, 'end')}"
        first = word(row, "interpolation")
        words = (word(row, "method"), first, between, ended)
        body.append((*words, number(row.get("steps")), barrier))
    caption = "Searches that began with an interpolation between the ends; barriers in kcal/mol."
    head = ("method", "begun with", "between", "outcome", "steps", "barrier")
    return html.table(head, body, caption, words=4) if body else ""


def _turning(record: Record, row: Row) -> str:
    name = word(row, "mechanism")
    frames = record.path(name)
    if frames is None:
        return ""
    energies = numbers(row.get("profile_kcal_mol"))
    whole = len(energies) == len(frames) and np.isfinite(energies).all()
    labels = [
        f"image {k}" + (f", {fixed(float(energies[k]), 2)} kcal/mol" if whole else "")
        for k in range(len(frames))
    ]
    top = int(energies.argmax()) if whole else 0
    title = f"The molecule along {name}"
    return html.figure(
        viewer(frames.numbers, frames.positions, labels, title, top), "Drag to turn it.", title=name
    )


def data(record: Record) -> str:
    """Distributions of energies and distances of each mechanism's frames by kind of sampling."""
    if not record.data:
        return ""
    shown = styles.groups(word(row, "kind") for row in record.data)
    pictures = []
    for place, ((mechanism,), rows) in enumerate(grouped(record.data, "mechanism").items()):
        for key, label, what in (
            ("energy_kcal_mol", "energy above the lowest minimum / kcal mol⁻¹", "energies"),
            ("nearest_other_A", "distance to the nearest other frame / Å", "distances"),
        ):
            groups = {kind: _seen(rows, kind, key) for kind in shown}
            if not sum(map(len, groups.values())):
                continue
            name, title = f"benchmark-data-{place}-{what}", f"{mechanism}: {what} of the frames"
            svg = plots.histogram(groups, label, keyed=False).svg(name, title)
            pictures.append(html.figure(svg, _distribution(groups, what), title=mechanism))
    caption = "Frames by mechanism and kind of sampling, with the mean energy in kcal/mol."
    head = ("mechanism", "sampling", "frames", "mean energy", "highest")
    table = html.table(head, [_data_row(row) for row in record.data], caption, words=2)
    return (
        styles.key(shown, filled=True)
        + html.figures(*pictures)
        + html.details("The numbers", table)
    )


def _seen(rows: Sequence[Row], kind: str, key: str) -> np.ndarray:
    parts = [numbers(row.get(key)) for row in rows if word(row, "kind") == kind]
    values = np.concatenate(parts) if parts else np.empty(0)
    return values[np.isfinite(values)]


def _distribution(groups: dict[str, np.ndarray], what: str) -> str:
    every = np.concatenate(list(groups.values()))
    unit = "kcal/mol" if what == "energies" else "Å"
    low, high = np.percentile(every, [5, 95])
    return (
        f"{what.capitalize()} of {counted(len(every), 'frame')}: nine in ten lie from "
        f"{number(float(low))} to {number(float(high))} {unit}."
    )


def _data_row(row: Row) -> tuple[str, ...]:
    energies = numbers(row.get("energy_kcal_mol"))
    energies = energies[np.isfinite(energies)]
    mean, high = (
        (float(energies.mean()), float(energies.max())) if len(energies) else (np.nan, np.nan)
    )
    return (
        word(row, "mechanism"), word(row, "kind"), number(row.get("frames")), _decimals(mean),
        _decimals(high),
    )  # fmt: skip


def _coordinates(row: Row) -> dict[str, Any]:
    found = row.get("coordinates")
    return found if isinstance(found, dict) else {}


def _decimals(value: float, decimals: int = 2, sign: bool = False) -> str:
    return fixed(value, decimals, sign) if np.isfinite(value) else NONE


def _share(values: np.ndarray) -> np.ndarray:
    return np.linspace(0.0, 1.0, len(values))
