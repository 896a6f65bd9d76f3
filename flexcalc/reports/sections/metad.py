"""Metadynamics: the free-energy surface, how it converged, and the verdict."""

from __future__ import annotations

import numpy as np

from flexcalc.display import free_energy, html
from flexcalc.display.free_energy import Surface
from flexcalc.display.numbers import fixed, number
from flexcalc.errors import FileFormatError
from flexcalc.files import plumed
from flexcalc.reports import facts
from flexcalc.reports.exports import Columns
from flexcalc.reports.folder import RunFolder
from flexcalc.results.free_energy import MOST_ROWS, FreeEnergySurface, ways_of
from flexcalc.units import KCAL_MOL, KJ_MOL

TITLE = "Metadynamics"


def body(folder: RunFolder) -> str:
    """The section as HTML."""
    intro = (
        "The walkers share one bias potential, to which hills are added at visited values of the "
        "coordinates. The free energy is obtained from the bias, its standard errors from block "
        "averages of the reweighted samples. The verdict rests on the number of round trips and "
        "on the change of the surface in the second half of the run."
    )
    result = facts.typed(FreeEnergySurface, folder)
    parts = [html.paragraph(intro, "lead"), facts.cards(result, folder)]
    parts.append(html.notes(result.warnings))
    parts.append(facts.coverage_note(result.coverage))
    line = result.verdict_line
    if line is not None:
        driven = result.verdict == "driven"
        parts.append(html.paragraph(f"Verdict: {line}.") if driven else html.notes([line]))
    drawn = _drawn(folder)
    samples = _table(folder, "COLVAR", "walker")
    if drawn is not None:
        folder.tables |= {"free-energy": _nodes(drawn), "basins": _basins_table(drawn)}
        parts.append(_surface(result, drawn, samples))
        parts.append(_basins(drawn))
    else:
        parts.append(html.paragraph("There is no surface yet."))
    parts.append(html.figures(*_pictures(folder, drawn)))
    parts.append(_walkers(result, samples))
    return "".join(parts)


def _drawn(folder: RunFolder) -> Surface | None:
    found = folder.arrays("surface.npz")
    if found is None:
        return None
    try:
        return Surface.of(found)
    except FileFormatError as error:
        folder.problems.append(f"surface.npz {error}")
        return None


def _table(folder: RunFolder, name: str, *columns: str) -> dict[str, np.ndarray] | None:
    """A file in PLUMED's format; None where it is missing, empty or damaged."""
    path = folder.path / name
    if not path.is_file() or not path.stat().st_size:
        return None
    try:
        table = plumed.read_table(path, MOST_ROWS)
    except FileFormatError as error:
        folder.problems.append(str(error))
        return None
    whole = all(column in table for column in ("time", *columns))
    return table if whole and len(table["time"]) else None


def _surface(
    result: FreeEnergySurface, drawn: Surface, samples: dict[str, np.ndarray] | None
) -> str:
    kelvin = result.temperature_K or 300.0
    if len(drawn.nodes) == 1:
        svg = drawn.drawing(kelvin).svg("metad-surface", "Free energy along the coordinate")
        caption = (
            "Free energy in kcal/mol from the bias; the band is one standard error from the "
            "reweighted samples, where there are enough of them. Numbers from 1 mark the basins."
        )
        return html.figure(svg, caption, wide=True)
    ways = [] if samples is None else ways_of(drawn, samples)
    svg = drawn.drawing(kelvin, ways).svg(
        "metad-surface", "Free-energy surface with the trajectories of the walkers"
    )
    top = float(np.nanmax(drawn.over_two(kelvin), initial=0.0))
    caption = (
        "Free energy in kcal/mol from the bias, with contour lines at integer values up to "
        f"{number(top)}, and the trajectories of the walkers. "
        "Numbers mark the basins; empty regions were not visited."
    )
    if len(drawn.nodes) == 3:
        caption += f" {drawn.labels[2].partition(' /')[0]} is integrated out."
    return html.figure(svg, caption, wide=True)


def _nodes(drawn: Surface) -> Columns:
    """What is exported of the surface: a row for each node."""
    return free_energy.table_of(drawn.nodes, drawn.labels, drawn.surface, drawn.errors)


def _basins_table(drawn: Surface) -> Columns:
    """What is exported of the basins: a row for each."""
    last = drawn.differences[-1] if len(drawn.differences) else np.zeros(len(drawn.minima))
    return {
        "basin": np.arange(1, len(drawn.minima) + 1),
        **dict(zip(drawn.labels, drawn.minima.T, strict=True)),
        "free_energy_kcal_mol": last,
    }


def _basins(drawn: Surface) -> str:
    if not len(drawn.minima):
        return ""
    rows = []
    last = drawn.differences[-1] if len(drawn.differences) else np.zeros(len(drawn.minima))
    for index, place in enumerate(drawn.minima):
        at = [number(float(value), 4) for value in place]
        rows.append((str(index + 1), *at, fixed(float(last[index]), 2, sign=index > 0)))
    head = ("basin", *drawn.labels, "free energy")
    caption = (
        "Minima of the basins, which barriers above 2 kT separate, and the free energy of each "
        "basin relative to the first, in kcal/mol."
    )
    return html.heading("Basins") + html.table(head, rows, caption)


def _pictures(folder: RunFolder, drawn: Surface | None) -> list[str]:
    """The difference of basins and the height of hills over time."""
    found = []
    if drawn is not None and len(drawn.minima) > 1 and len(drawn.time_ps) > 1:
        svg = drawn.convergence().svg(
            "metad-difference", "Convergence of the free energies of the basins"
        )
        found.append(
            html.figure(
                svg,
                "Free energy of each basin relative to the first over time; at the end that of "
                f"basin 2 is {number(float(drawn.differences[-1, 1]))} kcal/mol.",
            )
        )
    hills = _table(folder, "HILLS", "height", "biasf")
    if hills is not None:
        found.append(_heights(hills))
    return found


def _heights(hills: dict[str, np.ndarray]) -> str:
    gamma = np.where(hills["biasf"] > 1, hills["biasf"], np.inf)
    added = hills["height"] * (1 - 1 / gamma) * KJ_MOL / KCAL_MOL
    times, which = np.unique(hills["time"], return_inverse=True)
    means = np.bincount(which, added) / np.bincount(which)
    svg = free_energy.hill_heights(times, means).svg(
        "metad-heights", "Heights of the hills over time"
    )
    caption = (
        f"Mean height of the walkers' hills over time, {number(float(means[-1]))} kcal/mol at the "
        "end."
    )
    return html.figure(svg, caption)


def _walkers(result: FreeEnergySurface, samples: dict[str, np.ndarray] | None) -> str:
    counts, trips = result.transitions, result.round_trips
    if counts is None or trips is None or len(counts) != len(trips):
        return ""
    rows = []
    for walker, (count, trip) in enumerate(zip(counts, trips, strict=True)):
        mean = None
        if samples is not None and "temperature" in samples:
            mine = samples["temperature"][samples["walker"] == walker]
            mean = float(mine.mean()) if len(mine) else None
        rows.append((str(walker), number(count), number(trip), number(mean, 4)))
    head = ("walker", "transitions", "round trips", "mean T, K")
    caption = "Transitions from the core of one basin to that of another; returns to a basin."
    return html.heading("By walker") + html.table(head, rows, caption)
