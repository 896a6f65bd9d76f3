"""Metadynamics: the free-energy surface, how it converged, and the verdict."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from flexcalc.display import html, plots
from flexcalc.display.numbers import fixed, number
from flexcalc.errors import FileFormatError
from flexcalc.files import plumed
from flexcalc.reports import facts
from flexcalc.reports.folder import RunFolder
from flexcalc.units import KB, KCAL_MOL, KJ_MOL

TITLE = "Metadynamics"
KEYS = (
    *("isotopes", "verdict", "basins", "basin_difference_kcal_mol"),
    *("basin_difference_reweighted_kcal_mol", "basin_difference_error_kcal_mol"),
    *("drift_kcal_mol", "walkers", "hills", "time_ps", "temperature_mean_K", "ns_per_day"),
    "seconds",
)
ENERGY = "free energy / kcal mol⁻¹"
MOST_WALKERS = 8
MOST_SAMPLES = 400
"""Points of a walker's way that are drawn."""
MOST_ROWS = 200_000
"""Rows of a table that are read; of a longer one every n-th time is."""
NEEDED = ("nodes_0", "surface", "errors", "basins", "minima", "units", "coordinates", "periodic")


@dataclass(frozen=True, eq=False)
class Drawn:
    """What surface.npz holds, in kcal/mol.

    Args:
        nodes: of each axis.
        surface, errors: at the nodes.
        basins: which basin each node belongs to.
        minima: (basins, d) their coordinates.
        labels, units: of the coordinates.
        time_ps: (times,).
        differences: (times, basins).
    """

    nodes: list[np.ndarray]
    surface: np.ndarray
    errors: np.ndarray
    basins: np.ndarray
    minima: np.ndarray
    labels: list[str]
    units: list[str]
    time_ps: np.ndarray
    differences: np.ndarray

    def axis_label(self, n: int) -> str:
        """A coordinate with its unit."""
        unit = {"A": " / Å", "degrees": " / degrees"}.get(self.units[n], "")
        return self.labels[n] + unit


def body(folder: RunFolder) -> str:
    """The section as HTML."""
    intro = (
        "Walkers share one bias, which grows where they have been and so drives them over "
        "barriers; the free energy is read off it, and the standard errors come from the "
        "samples, reweighted in blocks. Whether the coordinates drove the transition is judged by "
        "how often the walkers came back and by what the second half of the run still changed."
    )
    parts = [html.paragraph(intro, "lead"), html.cards(facts.chosen(folder.results, KEYS))]
    line = folder.results.get("verdict_line")
    if isinstance(line, str):
        driven = folder.results.get("verdict") == "driven"
        parts.append(html.paragraph(f"Verdict: {line}.") if driven else html.notes([line]))
    drawn = _drawn(folder)
    samples = _table(folder, "COLVAR", "walker")
    if drawn is not None:
        parts.append(_surface(folder, drawn, samples))
        parts.append(_basins(drawn))
    else:
        parts.append(html.paragraph("There is no surface yet."))
    parts.append(html.figures(*_pictures(folder, drawn)))
    parts.append(_walkers(folder, samples))
    return "".join(parts)


def _drawn(folder: RunFolder) -> Drawn | None:
    found = folder.arrays("surface.npz")
    if found is None:
        return None
    if any(name not in found for name in (*NEEDED, "time_fs", "differences")):
        folder.problems.append("surface.npz lacks a part")
        return None
    nodes = [found[f"nodes_{n}"] for n in range(found["surface"].ndim)]
    places = np.unravel_index(found["minima"], found["surface"].shape)
    minima = np.stack([axis[place] for axis, place in zip(nodes, places, strict=True)], axis=1)
    return Drawn(
        nodes=nodes,
        surface=found["surface"] / KCAL_MOL,
        errors=found["errors"] / KCAL_MOL,
        basins=found["basins"],
        minima=minima,
        labels=[str(one) for one in found["coordinates"]],
        units=[str(one) for one in found["units"]],
        time_ps=found["time_fs"] / 1000,
        differences=found["differences"] / KCAL_MOL,
    )


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


def _surface(folder: RunFolder, drawn: Drawn, samples: dict[str, np.ndarray] | None) -> str:
    if len(drawn.nodes) == 1:
        svg = plots.band(
            drawn.nodes[0],
            drawn.surface,
            drawn.errors,
            [float(one) for one in drawn.minima[:, 0]],
            (drawn.axis_label(0), ENERGY),
        ).svg("metad-surface", "Free energy along the coordinate")
        caption = (
            "Free energy in kcal/mol, read off the bias; the band is one standard error of the "
            "reweighted samples, where enough came by. Numbers from 1 mark the basins."
        )
        return html.figure(svg, caption, wide=True)
    kelvin = folder.value("temperature_K") or 300.0
    shown = _seen(_over_two(drawn.surface, kelvin), kelvin)
    svg = plots.surface(
        (drawn.nodes[0], drawn.nodes[1]),
        shown,
        _paths(drawn, samples),
        [(float(one[0]), float(one[1])) for one in drawn.minima],
        (drawn.axis_label(0), drawn.axis_label(1), ENERGY),
    ).svg("metad-surface", "Free-energy surface with the ways of the walkers")
    caption = (
        "Free energy in kcal/mol, read off the bias, with lines at whole values up to "
        f"{number(float(np.nanmax(shown, initial=0.0)))}, and the ways of the walkers over it. "
        "Numbers mark the basins; where the map is empty nobody went."
    )
    if len(drawn.nodes) == 3:
        caption += f" {drawn.labels[2]} is integrated out."
    return html.figure(svg, caption, wide=True)


def _over_two(surface: np.ndarray, kelvin: float) -> np.ndarray:
    """The surface over its first two coordinates in kcal/mol."""
    if surface.ndim == 2:
        return surface
    kT = KB * kelvin / KCAL_MOL
    lowest = surface.min(axis=2)
    weight = np.exp(-(surface - lowest[..., None]) / kT).sum(axis=2)
    free = lowest - kT * np.log(weight)
    return free - free.min()


def _seen(surface: np.ndarray, kelvin: float) -> np.ndarray:
    """The surface without what lies at its top, where no bias came."""
    top = surface.max() - KB * kelvin / KCAL_MOL / 4
    return np.where(surface < top, surface, np.nan)


def _paths(
    drawn: Drawn, samples: dict[str, np.ndarray] | None
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Two coordinates of each walker over time, broken where a dihedral goes round."""
    if samples is None:
        return []
    names = [name for name in samples if name not in ("time", *plumed.COLVAR_COLUMNS)]
    walker = samples["walker"]
    paths = []
    for which in np.unique(walker)[:MOST_WALKERS]:
        mine = np.flatnonzero(walker == which)
        mine = mine[:: max(1, len(mine) // MOST_SAMPLES)]
        way = []
        for n, name in enumerate(names[:2]):
            values = samples[name][mine] / plumed.UNITS.get(drawn.units[n], 1.0)
            jumps = np.abs(np.diff(values, prepend=values[:1])) > np.ptp(drawn.nodes[n]) / 2
            way.append((values, jumps))
        broken = way[0][1] | way[1][1]
        across, up = (np.where(broken, np.nan, values) for values, _ in way)
        paths.append((across, up))
    return paths


def _basins(drawn: Drawn) -> str:
    if not len(drawn.minima):
        return ""
    rows = []
    last = drawn.differences[-1] if len(drawn.differences) else np.zeros(len(drawn.minima))
    for index, place in enumerate(drawn.minima):
        at = [number(float(value), 4) for value in place]
        rows.append((str(index + 1), *at, fixed(float(last[index]), 2, sign=index > 0)))
    head = ("basin", *(drawn.axis_label(n) for n in range(len(drawn.nodes))), "free energy")
    caption = (
        "Minima of the basins, parted by barriers above 2 kT, and the free energy of each basin as "
        "a whole above the first, in kcal/mol."
    )
    return html.heading("The basins") + html.table(head, rows, caption)


def _pictures(folder: RunFolder, drawn: Drawn | None) -> list[str]:
    """The difference of basins and the height of hills over time."""
    found = []
    if drawn is not None and len(drawn.minima) > 1 and len(drawn.time_ps) > 1:
        curves = {
            f"basin {n + 1}": drawn.differences[:, n] for n in range(1, min(len(drawn.minima), 6))
        }
        limit = 3 * float(np.abs(drawn.differences[-1]).max() + 1)
        clipped = {
            key: np.where(np.abs(value) < limit, value, np.nan) for key, value in curves.items()
        }
        svg = plots.curves(
            drawn.time_ps, clipped, ("time / ps", "above basin 1 / kcal mol⁻¹"), markers=False
        ).svg("metad-difference", "Convergence of the free energies of the basins")
        found.append(
            html.figure(
                svg,
                "Free energy of each basin above the first over time; at the end basin 2 lies "
                f"{number(float(drawn.differences[-1, 1]))} kcal/mol above basin 1.",
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
    chosen = np.unique(np.linspace(0, len(times) - 1, min(len(times), 500)).astype(int))
    svg = plots.curves(
        times[chosen],
        {"height": means[chosen]},
        ("time / ps", "hill height / kcal mol⁻¹"),
        markers=False,
    ).svg("metad-heights", "Heights of the hills over time")
    caption = (
        f"Mean height of the walkers' hills over time, {number(float(means[-1]))} kcal/mol at the "
        "end."
    )
    return html.figure(svg, caption)


def _walkers(folder: RunFolder, samples: dict[str, np.ndarray] | None) -> str:
    counts: Any = folder.results.get("transitions")
    trips: Any = folder.results.get("round_trips")
    if not isinstance(counts, list) or not isinstance(trips, list) or len(counts) != len(trips):
        return ""
    rows = []
    for walker, (count, trip) in enumerate(zip(counts, trips, strict=True)):
        mean = None
        if samples is not None and "temperature" in samples:
            mine = samples["temperature"][samples["walker"] == walker]
            mean = float(mine.mean()) if len(mine) else None
        rows.append((str(walker), number(count), number(trip), number(mean, 4)))
    head = ("walker", "transitions", "round trips", "mean T, K")
    caption = "From the core of one basin to that of another, and back to one it had left."
    return html.heading("By walker") + html.table(head, rows, caption)
