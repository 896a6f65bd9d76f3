"""The chapter on the crash test: how long dynamics lasts, what breaks, and where it goes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from flexcalc.display import comparison, html, styles
from flexcalc.display.numbers import NONE, number
from flexcalc.reports.rows import Row, dicts, finite, listed, numbers, word
from flexcalc.reports.sections.benchmark.record import Record


def body(record: Record) -> str:
    """Survival at each temperature, a table of what broke, populations, and maps."""
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


def temperatures(rows: Sequence[Row]) -> list[tuple[float, list[Row]]]:
    """Rows by temperature, the coldest first."""
    found: dict[float, list[Row]] = {}
    for row in rows:
        found.setdefault(float(row["temperature_K"]), []).append(row)
    return sorted(found.items())


def _survival(record: Record, heat: float, rows: Sequence[Row], place: int) -> str:
    ends = [finite(row, "time_ps") for row in rows]
    runs = [
        (record.looks[word(row, "model")], numbers(row.get("time_to_failure_ps")))
        for row in rows
        if listed(row.get("time_to_failure_ps"))
    ]
    if not runs or not np.isfinite(ends).any():
        return ""
    svg = comparison.survival(runs, float(np.nanmax(ends))).svg(
        f"benchmark-survival-{place}", f"Runs that have not failed at {number(heat)} K, over time"
    )
    lasting = [_who(row) for row in rows if finite(row, "survived") == finite(row, "seeds")]
    said = f"{', '.join(lasting)} lost none." if lasting else "Every model lost some."
    if len(lasting) == len(rows):
        said = "No model lost any."
    caption = (
        f"The share of {number(rows[0].get('seeds'))} runs a model that are whole. {said} "
        "Lines are set a little apart."
    )
    return html.figure(svg, caption, title=f"{number(heat)} K")


def _who(row: Row) -> str:
    """A model, with its mechanism where it is not for all of them."""
    mechanism = word(row, "mechanism")
    return word(row, "model") + (f", {mechanism}" if mechanism not in ("", "joint") else "")


def _table(heats: Sequence[tuple[float, Sequence[Row]]]) -> str:
    body = []
    for heat, rows in heats:
        for row in rows:
            failures = dicts(row.get("failures"))
            first = [time for one in failures if np.isfinite(time := finite(one, "time_ps"))]
            body.append(
                (
                    _who(row), number(heat),
                    f"{number(row.get('survived'))} of {number(row.get('seeds'))}",
                    number(min(first)) if first else NONE,
                    number(finite(row, "drift_meV_atom_ps"), 2),
                    number(finite(row, "force_rmse_visited_kcal_mol_A")),
                    number(finite(row, "force_max_error_kcal_mol_A")),
                    _broken(failures),
                )
            )  # fmt: skip
    head = (
        *("model", "K", "survived", "first failure, ps", "drift", "force RMSE"),
        *("largest force error", "what failed"),
    )
    caption = (
        "Drift of the energy without a thermostat in meV an atom and ps; force errors in "
        "kcal/mol/Å on frames that the model itself visited, labelled by the reference."
    )
    return html.table(head, body, caption, notes=1, dense=True)


def _broken(failures: Sequence[Row]) -> str:
    """What failed, the commonest first: C3-H9 × 4."""
    named = Counter(" ".join(filter(None, (_kind(one), word(one, "what")))) for one in failures)
    shown = [
        f"{what}\u00a0×\u00a0{count}" if count > 1 else what for what, count in named.most_common(4)
    ]
    more = len(named) - len(shown)
    return ", ".join(shown) + (f", {more} more" if more > 0 else "") if shown else NONE


def _kind(failure: Row) -> str:
    """A broken bond is told by its atoms; anything else by its kind."""
    kind = word(failure, "kind")
    return "" if kind == "bond broken" and word(failure, "what") else kind


def _populations(heats: Sequence[tuple[float, Sequence[Row]]]) -> str:
    names = list(
        dict.fromkeys(
            name for _, rows in heats for row in rows for name in _shares(row, "populations")
        )
    )
    if not names:
        return ""
    body = []
    for heat, rows in heats:
        exact = next((one for row in rows if (one := _shares(row, "reference_populations"))), {})
        if exact:
            body.append(
                (f"reference, {number(heat)} K", *(_percent(exact, name) for name in names))
            )
        for row in rows:
            found = _shares(row, "populations")
            label = f"{_who(row)}, {number(heat)} K"
            body.append((label, *(_percent(found, name) for name in names)))
    caption = "Share of the time in each conformer, in per cent."
    return html.details("Populations of the conformers", html.table(("", *names), body, caption))


def _shares(row: Row, key: str) -> Mapping[str, Any]:
    found = row.get(key)
    return found if isinstance(found, dict) else {}


def _percent(shares: Mapping[str, Any], name: str) -> str:
    value = finite(shares, name)
    return number(100 * value, 3) if np.isfinite(value) else NONE


def _maps(heats: Sequence[tuple[float, Sequence[Row]]]) -> str:
    """Maps of two coordinates at each temperature, the reference's own run first."""
    parts = []
    for place, (heat, rows) in enumerate(heats):
        tiles = []
        reference = next((row for row in rows if row.get("reference_map")), None)
        if reference is not None:
            tiles.append(_map(reference, "reference_map", "reference", heat, f"{place}-reference"))
        tiles += [_map(row, "map", _who(row), heat, f"{place}-{n}") for n, row in enumerate(rows)]
        if any(tiles):
            parts.append((heat, f'<div class="maps">{"".join(tiles)}</div>'))
    if not parts:
        return ""
    *colder, hottest = parts
    caption = (
        "Where each run went: counts of two coordinates together, darker for more, on a "
        "logarithmic scale of each map's own."
    )
    folded = "".join(html.details(f"Maps at {number(heat)} K", drawn) for heat, drawn in colder)
    title = html.subheading("Maps of two coordinates")
    return title + html.paragraph(caption, "below") + hottest[1] + folded


def _map(row: Row, key: str, title: str, heat: float, name: str) -> str:
    """One map; the reference's may hold counts alone, on the edges of the model's."""
    own, found = _shares(row, "map"), row.get(key)
    chart = {**own, **found} if isinstance(found, dict) else {**own, "counts": found}
    edges = [numbers(one) for one in listed(chart.get("edges"))]
    names = [str(one) for one in listed(chart.get("coordinates"))]
    rows = [numbers(one) for one in listed(chart.get("counts"))]
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
        f"{title} at {number(heat)} K: how often two coordinates were met together",
    )
    return html.figure(svg, f"{title}, {number(heat)} K")
