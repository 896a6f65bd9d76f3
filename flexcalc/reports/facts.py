"""The numbers of results.json as key figures and as a table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from flexcalc.dataset import Dataset
from flexcalc.display import html
from flexcalc.display.numbers import duration, number
from flexcalc.errors import FlexcalcError
from flexcalc.reports.folder import RunFolder
from flexcalc.results.base import Result
from flexcalc.results.coverage import Coverage
from flexcalc.results.evaluations import Evaluations
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


def trained_geometry(run: RunFolder) -> Dataset | None:
    """A training frame, from the model of a training that has left no frames out."""
    if run.command != "train":
        return None
    model: Any = run.json(f"{run.results.get('model')}/model.json")
    try:
        positions = np.array(model["bonding"][:1], dtype=float)
        return Dataset(np.array(model["numbers"], dtype=int), positions)
    except (TypeError, LookupError, ValueError, FlexcalcError):
        return None  # none yet, or a damaged one


def coverage_note(coverage: Coverage | None) -> str:
    """A note on a run that left the training data of its model; nothing for others."""
    if coverage is None or not coverage.left or not coverage.is_whole():
        return ""
    return html.notes([f"{coverage.summary()}."])


def cost(evaluations: Evaluations | None) -> str:
    """What a search has cost, as a table; nothing where it was not counted."""
    rows = [] if evaluations is None else [(one.label, f"{one.value}") for one in
                                           evaluations.figures()]  # fmt: skip
    if not rows:
        return ""
    return html.table(("geometries", "number"), rows, "What the search has evaluated, by phase.")


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
