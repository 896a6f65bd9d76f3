"""The numbers of results.json as key figures and as a table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flexcalc.display import html
from flexcalc.display.numbers import duration, number
from flexcalc.reports.folder import RunFolder
from flexcalc.results.base import Result
from flexcalc.results.coverage import Coverage
from flexcalc.store import Store

SECONDS = "seconds"
"""What every run writes to results.json in addition to its results."""


def typed[R: Result](kind: type[R], run: RunFolder) -> R:
    """The figures of a run, None where results.json has none or one that is damaged."""
    return kind.from_damaged(run.results, Store())


def cards(result: Result, run: RunFolder) -> str:
    """The key figures of a result as HTML, and the time that the run took."""
    seconds = run.value(SECONDS)
    taken = [] if seconds is None else [html.Card("time taken", duration(seconds))]
    return html.cards([*result.cards(), *taken])


def coverage_note(coverage: Coverage | None) -> str:
    """A note on a run that left the training data of its model; nothing for others."""
    if coverage is None or not coverage.left or not coverage.is_whole():
        return ""
    return html.notes([f"{coverage.summary()}."])


def everything(results: Mapping[str, Any]) -> str:
    """Every flat key of the results, as a table."""
    rows = [
        (str(key), number(value, 6))
        for key, value in results.items()
        if not isinstance(value, dict | list)
    ]
    if not rows:
        return ""
    return html.table(("key of results.json", "value"), rows)
