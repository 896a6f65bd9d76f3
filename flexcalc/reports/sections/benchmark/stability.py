"""The chapter on the crash test: survival of dynamics, failures, and visited conformers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from flexcalc.display import comparison, html, styles
from flexcalc.display.numbers import NONE, number
from flexcalc.reports.rows import floats, grouped
from flexcalc.reports.sections.benchmark.record import Record
from flexcalc.results.benchmark_rows import CrashRow, FailureRow, VisitMap


def body(record: Record) -> str:
    """Survival at each temperature, a table of failures, populations, and maps."""
    if not record.crash:
        return ""
    heats = temperatures(record.crash)
    pictures = [_survival(record, heat, rows, place) for place, (heat, rows) in enumerate(heats)]
    return (
        styles.key(record.shown(record.crash))
        + html.figures(*pictures)
        + _table(heats)
        + _populations(heats)
        + _maps(heats)
    )


def temperatures(rows: Sequence[CrashRow]) -> list[tuple[float, list[CrashRow]]]:
    """Rows by temperature, the coldest first."""
    return sorted(
        grouped(rows, lambda row: float(row.temperature_K)).items(), key=lambda one: one[0]
    )


def _survival(record: Record, heat: float, rows: Sequence[CrashRow], place: int) -> str:
    ends = floats(row.time_ps for row in rows)
    runs = [
        (record.styles[row.model], floats(row.time_to_failure_ps))
        for row in rows
        if row.time_to_failure_ps
    ]
    if not runs or not np.isfinite(ends).any():
        return ""
    svg = comparison.survival(runs, float(np.nanmax(ends))).svg(
        f"benchmark-survival-{place}", f"Runs that have not failed at {number(heat)} K, over time"
    )
    lasting = [_model_name(row) for row in rows if row.survived == row.seeds]
    text = f"{', '.join(lasting)} lost none." if lasting else "Every model lost some."
    if len(lasting) == len(rows):
        text = "No model lost any."
    caption = (
        f"The share of {number(rows[0].seeds)} runs per model that are whole. {text} "
        "Lines are set a little apart."
    )
    return html.figure(svg, caption, title=f"{number(heat)} K")


def _model_name(row: CrashRow) -> str:
    """A model, with its mechanism where it is not for all of them."""
    return row.model + (f", {row.mechanism}" if row.mechanism not in ("", "joint") else "")


def _table(heats: Sequence[tuple[float, Sequence[CrashRow]]]) -> str:
    body = []
    for heat, rows in heats:
        for row in rows:
            first = [one.time_ps for one in row.failures if np.isfinite(one.time_ps)]
            body.append(
                (
                    _model_name(row), number(heat),
                    f"{number(row.survived)} of {number(row.seeds)}",
                    number(min(first)) if first else NONE,
                    number(row.drift_meV_atom_ps, 2),
                    number(row.force_rmse_visited_kcal_mol_A),
                    number(row.force_max_error_kcal_mol_A),
                    _broken(row.failures),
                )
            )  # fmt: skip
    head = (
        *("model", "K", "survived", "first failure, ps", "drift", "force RMSE"),
        *("largest force error", "what failed"),
    )
    caption = (
        "Drift of the energy without a thermostat in meV per atom and ps; force errors in "
        "kcal/mol/Å on frames that the model itself visited, labelled by the reference."
    )
    return html.table(head, body, caption, notes=1, dense=True)


def _broken(failures: Sequence[FailureRow]) -> str:
    """Failures, the most frequent first: C3-H9 × 4."""
    named = Counter(" ".join(filter(None, (_kind(one), one.what))) for one in failures)
    shown = [
        f"{what}\u00a0×\u00a0{count}" if count > 1 else what for what, count in named.most_common(4)
    ]
    more = len(named) - len(shown)
    return ", ".join(shown) + (f", {more} more" if more > 0 else "") if shown else NONE


def _kind(failure: FailureRow) -> str:
    """Nothing for a broken bond, which its atoms identify; of anything else its kind."""
    return "" if failure.kind == "bond broken" and failure.what else failure.kind


def _populations(heats: Sequence[tuple[float, Sequence[CrashRow]]]) -> str:
    names = list(
        dict.fromkeys(name for _, rows in heats for row in rows for name in row.populations)
    )
    if not names:
        return ""
    body = []
    for heat, rows in heats:
        exact = next((one for row in rows if (one := row.reference_populations)), None)
        if exact:
            body.append(
                (f"reference, {number(heat)} K", *(_percent(exact, name) for name in names))
            )
        for row in rows:
            label = f"{_model_name(row)}, {number(heat)} K"
            body.append((label, *(_percent(row.populations, name) for name in names)))
    caption = "Share of the time in each conformer, in per cent."
    return html.details("Populations of the conformers", html.table(("", *names), body, caption))


def _percent(shares: Mapping[str, float], name: str) -> str:
    value = shares.get(name, np.nan)
    return number(100 * value, 3) if np.isfinite(value) else NONE


def _maps(heats: Sequence[tuple[float, Sequence[CrashRow]]]) -> str:
    """Maps of two coordinates at each temperature, the reference's own run first."""
    parts = []
    for place, (heat, rows) in enumerate(heats):
        tiles = []
        exact = next((row.reference_map for row in rows if row.reference_map is not None), None)
        tiles.append(_map(exact, f"reference, {number(heat)} K", f"{place}-reference"))
        tiles += [
            _map(row.map, f"{_model_name(row)}, {number(heat)} K", f"{place}-{n}")
            for n, row in enumerate(rows)
        ]
        if any(tiles):
            parts.append((heat, f'<div class="maps">{"".join(tiles)}</div>'))
    if not parts:
        return ""
    *colder, hottest = parts
    caption = (
        "Regions that each run visited: counts of two coordinates together, darker for more, on a "
        "logarithmic scale of each map's own."
    )
    folded = "".join(html.details(f"Maps at {number(heat)} K", drawn) for heat, drawn in colder)
    title = html.subheading("Maps of two coordinates")
    return title + html.paragraph(caption, "below") + hottest[1] + folded


def _map(visits: VisitMap | None, title: str, name: str) -> str:
    """One map; nothing where it is missing or damaged."""
    if visits is None:
        return ""
    edges = [floats(one) for one in visits.edges]
    names, rows = visits.coordinates, visits.counts
    if len(edges) != 2 or len(names) != 2 or min(map(len, edges)) < 2:
        return ""
    if not all(np.all(np.diff(one) > 0) for one in edges):
        return ""
    shape = (len(edges[0]) - 1, len(edges[1]) - 1)
    if len(rows) != shape[0] or any(len(one) != shape[1] for one in rows):
        return ""
    counts = np.nan_to_num(np.array(rows)).clip(min=0)
    svg = comparison.counts_map((edges[0], edges[1]), counts, (names[0], names[1])).svg(
        f"benchmark-map-{name}",
        f"{title}: how often pairs of values of two coordinates were visited",
    )
    return html.figure(svg, title)
