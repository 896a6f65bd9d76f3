"""Chapters on the molecule's surface: its minima, the paths between them, the data along them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from flexcalc.display import comparison, html, molecule, plots, styles
from flexcalc.display.numbers import NONE, counted, fixed, number
from flexcalc.display.viewer import viewer
from flexcalc.reports.rows import floats, grouped
from flexcalc.reports.sections.benchmark.record import Record
from flexcalc.results.benchmark_rows import DataRow, NaiveRow, PathRow

UNIT = "energy / kcal mol⁻¹"


def minima(record: Record) -> str:
    """The minima, drawn from one side, with their coordinates."""
    if not record.minima:
        return ""
    names = list(dict.fromkeys(key for row in record.minima for key in row.coordinates))
    rows = [
        (
            row.name,
            _decimals(row.energy_kcal_mol),
            *(_decimals(row.coordinates.get(key, np.nan), 1) for key in names),
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
    """Energies along the paths, what dispersion adds to their barriers, and the paths in 3D."""
    if not record.paths:
        return ""
    shown = styles.groups(row.mechanism for row in record.paths)
    along = [
        (shown[row.mechanism], comparison.Curve(_share(energies), energies))
        for row in record.paths
        if len(energies := floats(row.profile_kcal_mol)) > 1
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
        + _with_barriers(drawn, record.paths)
        + _naive(record.naive)
        + (html.details("The paths, to be turned", "".join(turning)) if any(turning) else "")
    )


def _heights(rows: Sequence[PathRow]) -> str:
    """What dispersion adds to each barrier."""
    marks = [
        (row.mechanism, styles.LineStyle("model"), added, 0.0, added)
        for row in rows
        if np.isfinite(added := row.barrier_kcal_mol - _without_dispersion(row))
    ]
    if not marks:
        return ""
    svg = comparison.ranges(marks, "what dispersion adds / kcal mol⁻¹", log=False, band=1.0).svg(
        "benchmark-dispersion", "What dispersion adds to each barrier"
    )
    caption = (
        "Barrier with dispersion less the barrier without, in kcal/mol; within the band it is less "
        "than 1 kcal/mol."
    )
    return html.figure(svg, caption)


def _without_dispersion(row: PathRow) -> float:
    bare = row.barrier_without_dispersion_kcal_mol
    return np.nan if bare is None else bare


def _with_barriers(drawn: str, rows: Sequence[PathRow]) -> str:
    """The paths' picture with what dispersion adds, if that is known, and a table of the paths."""
    picture = _heights(rows)
    body = []
    for row in rows:
        converged = {True: "yes", False: "no"}.get(row.converged, NONE)
        height, bare = row.barrier_kcal_mol, _without_dispersion(row)
        without = (_decimals(bare), _decimals(height - bare, sign=True)) if picture else ()
        body.append((row.mechanism, number(row.images), _decimals(height), *without, converged))
    extra = ("without dispersion", "difference") if picture else ()
    head = ("path", "images", "barrier", *extra, "converged")
    caption = "Barriers in kcal/mol, the highest image above the first."
    if picture:
        return html.figures(drawn, picture) + html.table(head, body, caption)
    return html.figures(drawn, html.figure(html.table(head, body), caption))


def _naive(rows: Sequence[NaiveRow]) -> str:
    """Results of searches that began with an interpolation between the endpoints."""
    body = []
    for row in rows:
        ended = "converged" if row.converged else "did not converge"
        words = (row.method, row.interpolation, f"{row.start} to {row.end}", ended)
        (barrier,) = floats([row.barrier_kcal_mol])
        body.append((*words, number(row.steps), _decimals(float(barrier))))
    caption = (
        "Searches that began with an interpolation between the endpoints; barriers in kcal/mol."
    )
    head = ("method", "begun with", "between", "outcome", "steps", "barrier")
    return html.table(head, body, caption, words=4) if body else ""


def _turning(record: Record, row: PathRow) -> str:
    name = row.mechanism
    frames = record.path(name)
    if frames is None:
        return ""
    energies = floats(row.profile_kcal_mol)
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
    shown = styles.groups(row.kind for row in record.data)
    by_mechanism = grouped(record.data, lambda row: row.mechanism)
    pictures = []
    for place, (mechanism, rows) in enumerate(by_mechanism.items()):
        energies = [(row.kind, row.energy_kcal_mol) for row in rows]
        distances = [(row.kind, row.nearest_other_A) for row in rows]
        for values, label, what in (
            (energies, "energy above the lowest minimum / kcal mol⁻¹", "energies"),
            (distances, "distance to the nearest other frame / Å", "distances"),
        ):
            groups = {kind: _values_of(kind, values) for kind in shown}
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


def _values_of(kind: str, values: Sequence[tuple[str, tuple[float, ...]]]) -> np.ndarray:
    """The finite values of one kind of sampling."""
    own = floats(one for name, several in values if name == kind for one in several)
    return own[np.isfinite(own)]


def _distribution(groups: dict[str, np.ndarray], what: str) -> str:
    every = np.concatenate(list(groups.values()))
    unit = "kcal/mol" if what == "energies" else "Å"
    low, high = np.percentile(every, [5, 95])
    return (
        f"{what.capitalize()} of {counted(len(every), 'frame')}: nine in ten lie from "
        f"{number(float(low))} to {number(float(high))} {unit}."
    )


def _data_row(row: DataRow) -> tuple[str, ...]:
    energies = floats(row.energy_kcal_mol)
    energies = energies[np.isfinite(energies)]
    mean, high = (
        (float(energies.mean()), float(energies.max())) if len(energies) else (np.nan, np.nan)
    )
    return (
        row.mechanism, row.kind, number(row.frames), _decimals(mean), _decimals(high),
    )  # fmt: skip


def _decimals(value: float, decimals: int = 2, sign: bool = False) -> str:
    return fixed(value, decimals, sign) if np.isfinite(value) else NONE


def _share(values: np.ndarray) -> np.ndarray:
    return np.linspace(0.0, 1.0, len(values))
