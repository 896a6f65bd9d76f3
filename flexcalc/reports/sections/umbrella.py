"""Umbrella sampling: the free-energy profile, its windows, and whether they overlap."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from flexcalc.analysis.umbrella import LEAST_OVERLAP
from flexcalc.display import free_energy, html
from flexcalc.display.numbers import fixed, number
from flexcalc.errors import FileFormatError
from flexcalc.reports import facts
from flexcalc.reports.exports import Columns
from flexcalc.reports.folder import RunFolder
from flexcalc.results.free_energy import FreeEnergyProfile
from flexcalc.units import KCAL_MOL

TITLE = "Umbrella sampling"
MOST_ROWS = 100
"""Windows that the table lists."""

Arrays = Mapping[str, np.ndarray]


def body(folder: RunFolder) -> str:
    """The section as HTML."""
    intro = (
        "Each window is a replica with a harmonic restraint at its own value of the coordinates; "
        "all windows run in one batch. MBAR combines their samples into the unbiased free energy "
        "with standard errors, provided that neighbouring windows overlap."
    )
    result = facts.typed(FreeEnergyProfile, folder)
    parts = [html.paragraph(intro, "lead"), facts.cards(result, folder)]
    parts.append(html.notes(result.warnings))
    parts.append(facts.coverage_note(result.coverage))
    if result.warning:
        parts.append(html.notes([f"{result.warning[0].upper()}{result.warning[1:]}."]))
    found = _arrays(folder)
    if found is None:
        parts.append(html.paragraph("There is no profile yet."))
        return "".join(parts)
    folder.tables |= {"free-energy": _free_energy(found), "windows": _windows(found)}
    parts.append(_profile(found))
    parts.append(html.figures(_histograms(found), _overlaps(found)))
    parts.append(_table(found))
    return "".join(parts)


def _arrays(folder: RunFolder) -> Arrays | None:
    found = folder.arrays("umbrella.npz")
    if found is None:
        return None
    try:
        free_energy.check_profile(found)
    except FileFormatError as error:
        folder.problems.append(f"umbrella.npz {error}")
        return None
    return found


def _profile(found: Arrays) -> str:
    drawing = free_energy.profile(found)
    if found["profile"].ndim == 1:
        svg = drawing.svg("umbrella-profile", "Free energy along the coordinate")
        caption = (
            "Free energy in kcal/mol relative to the lowest bin; the band is one standard error "
            "of that difference."
        )
        return html.figure(svg, caption, wide=True)
    svg = drawing.svg("umbrella-profile", "Free-energy surface of the two coordinates")
    largest = float(np.nanmax(found["errors"] / KCAL_MOL, initial=0.0))
    caption = (
        "Free energy in kcal/mol relative to the lowest bin; the largest standard error is "
        f"{number(largest)} kcal/mol. Empty regions were not sampled."
    )
    return html.figure(svg, caption, wide=True)


def _free_energy(found: Arrays) -> Columns:
    """The profile or surface: a row for each bin."""
    free, errors = found["profile"] / KCAL_MOL, found["errors"] / KCAL_MOL
    nodes = [found[f"nodes_{n}"] for n in range(free.ndim)]
    labels = [free_energy.axis_label(found, n) for n in range(free.ndim)]
    return free_energy.table_of(nodes, labels, np.where(np.isfinite(free), free, np.nan), errors)


def _windows(found: Arrays) -> Columns:
    """A row for each window."""
    of_axes = {}
    for n, name in enumerate(found["coordinates"].tolist()):
        for key, word in (("centres", "centre"), ("means", "mean"), ("spreads", "spread")):
            of_axes[f"{word} of {name}"] = found[key][:, n]
    return {
        "window": np.arange(len(found["centres"])),
        **of_axes,
        "samples": found["samples"],
        "statistical_inefficiency": found["inefficiency"],
        "free_energy_kcal_mol": found["free_energies"] / KCAL_MOL,
    }


def _histograms(found: Arrays) -> str:
    svg = free_energy.window_samples(found).svg("umbrella-histograms", "Samples of the windows")
    return html.figure(
        svg, "Histogram of the samples of each window; neighbouring windows must overlap."
    )


def _overlaps(found: Arrays) -> str:
    svg = free_energy.window_overlaps(found, LEAST_OVERLAP).svg(
        "umbrella-overlap", "Overlap of neighbouring windows"
    )
    caption = (
        "Overlap of neighbouring windows, the smaller of the estimates by MBAR and by the "
        f"histograms; minimum {number(float(found['shared'].min()))}."
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
        *("samples", "statistical inefficiency", "lowest overlap", "free energy"),
    )
    caption = (
        "Centre, mean and standard deviation of each window; number of samples and how many of "
        "them make one independent sample; lowest overlap with a neighbour; free energy of the "
        "restrained window relative to the lowest, in kcal/mol."
    )
    return html.heading("By window") + html.table(head, rows, caption)
