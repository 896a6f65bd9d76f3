"""Umbrella sampling: the free-energy profile, its windows, and whether they overlap."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from flexcalc.display import html, plots
from flexcalc.display.numbers import fixed, number
from flexcalc.reports import facts
from flexcalc.reports.folder import RunFolder
from flexcalc.units import KCAL_MOL

TITLE = "Umbrella sampling"
KEYS = (
    *(
        "isotopes",
        "windows",
        "time_ps",
        "samples",
        "independent_samples",
        "least_overlap",
        "windows_apart",
    ),
    *("highest_kcal_mol", "highest_error_kcal_mol", "temperature_mean_K", "ns_per_day"),
    "seconds",
)
ENERGY = "free energy / kcal mol⁻¹"
NEEDED = (
    *("nodes_0", "profile", "errors", "coordinates", "units", "centres", "means", "spreads"),
    *("samples", "inefficiency", "counts", "free_energies", "pairs", "shared"),
)
MOST_ROWS = 100
"""Windows that the table lists."""

Arrays = Mapping[str, np.ndarray]


def body(folder: RunFolder) -> str:
    """The section as HTML."""
    intro = (
        "Each window is a replica that a spring holds near a place of its own along the "
        "coordinates, all of them in one batch. MBAR puts their samples together into the free "
        "energy without the springs, and says how sure it is; it can do so only where windows "
        "side by side overlap."
    )
    parts = [html.paragraph(intro, "lead"), html.cards(facts.chosen(folder.results, KEYS))]
    warning = folder.results.get("warning")
    if isinstance(warning, str):
        parts.append(html.notes([f"{warning[0].upper()}{warning[1:]}."]))
    found = folder.arrays("umbrella.npz")
    if found is not None and any(name not in found for name in NEEDED):
        folder.problems.append("umbrella.npz lacks a part")
        found = None
    if found is None:
        parts.append(html.paragraph("There is no profile yet."))
        return "".join(parts)
    parts.append(_profile(found))
    parts.append(html.figures(_histograms(found), _overlaps(found)))
    parts.append(_table(found))
    return "".join(parts)


def _label(found: Arrays, n: int) -> str:
    """A coordinate with its unit."""
    unit = {"A": " / Å", "degrees": " / degrees"}.get(str(found["units"][n]), "")
    return f"{found['coordinates'][n]}{unit}"


def _profile(found: Arrays) -> str:
    profile, errors = found["profile"] / KCAL_MOL, found["errors"] / KCAL_MOL
    profile = np.where(np.isfinite(profile), profile, np.nan)
    if profile.ndim == 1:
        svg = plots.band(found["nodes_0"], profile, errors, [], (_label(found, 0), ENERGY)).svg(
            "umbrella-profile", "Free energy along the coordinate"
        )
        caption = (
            "Free energy in kcal/mol above its lowest bin; the band is one standard error of the "
            "difference from there."
        )
        return html.figure(svg, caption, wide=True)
    svg = plots.surface(
        (found["nodes_0"], found["nodes_1"]),
        profile,
        [],
        [],
        (_label(found, 0), _label(found, 1), ENERGY),
    ).svg("umbrella-profile", "Free-energy surface of the two coordinates")
    largest = float(np.nanmax(errors, initial=0.0))
    caption = (
        "Free energy in kcal/mol above its lowest bin; the largest standard error is "
        f"{number(largest)} kcal/mol. Where the map is empty nothing was sampled."
    )
    return html.figure(svg, caption, wide=True)


def _histograms(found: Arrays) -> str:
    # Of two coordinates, windows that lie at the same place of the first are counted together.
    places = np.unique(found["centres"][:, 0])
    summed = [found["counts"][found["centres"][:, 0] == place].sum(axis=0) for place in places]
    svg = plots.traces(
        [found["nodes_0"]] * len(summed),
        [np.where(one > 0, one, np.nan) for one in summed],
        (_label(found, 0), "samples"),
    ).svg("umbrella-histograms", "Samples of the windows")
    return html.figure(svg, "Samples of each window; those side by side must overlap.")


def _overlaps(found: Arrays) -> str:
    svg = plots.curves(
        np.arange(len(found["shared"])),
        {"overlap": found["shared"], "least that will do": np.full(len(found["shared"]), 0.03)},
        ("pair of neighbours", "overlap"),
        markers=False,
    ).svg("umbrella-overlap", "Overlap of neighbouring windows")
    caption = (
        "Share of its samples that a window has in common with its neighbour, the least that MBAR "
        f"and the histograms tell; {number(float(found['shared'].min()))} at least."
    )
    return html.figure(svg, caption)


def _table(found: Arrays) -> str:
    rows = []
    for window, centre in enumerate(found["centres"][:MOST_ROWS]):
        mine = (found["pairs"] == window).any(axis=1)
        rows.append(
            (
                str(window),
                *(number(float(value), 4) for value in centre),
                *(number(float(value), 4) for value in found["means"][window]),
                *(number(float(value), 3) for value in found["spreads"][window]),
                number(int(found["samples"][window])),
                number(float(found["inefficiency"][window]), 3),
                number(float(found["shared"][mine].min()), 2),
                fixed(float(found["free_energies"][window] / KCAL_MOL), 2),
            )
        )
    several = len(found["coordinates"]) > 1
    names = [f", {one}" if several else "" for one in found["coordinates"]]
    head = (
        *("window", *(f"centre{name}" for name in names), *(f"mean{name}" for name in names)),
        *(f"spread{name}" for name in names),
        *("samples", "worth one", "least overlap", "free energy"),
    )
    caption = (
        "Where each window is held and what it sampled; how many samples are worth one independent "
        "one; the least overlap with a neighbour; and the free energy of the window with its "
        "spring, in kcal/mol above the lowest."
    )
    return html.heading("By window") + html.table(head, rows, caption)
