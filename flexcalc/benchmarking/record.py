"""What a stage has finished, row by row: computed once, and read back by later runs."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

from flexcalc.benchmarking.job import BenchmarkJob, Fit, word
from flexcalc.results.rows import Row, keyed
from flexcalc.store import Store


@dataclass(frozen=True, kw_only=True)
class Outcome(Row):
    """The result of a piece of work: `summary` is a line for the log."""

    summary: str = keyed("said")


class Page(NamedTuple):
    """Where a finished part of a stage is kept: a store, and the name there."""

    store: Store
    name: str


def page_of(job: BenchmarkJob, stage: str, fit: Fit) -> Page:
    """The page of a training in a stage."""
    rows = job.store.within("rows").within(stage)
    return Page(rows.within(fit.mechanism).within(fit.place), f"{fit.points}.json")


def page_named(job: BenchmarkJob, stage: str, name: str) -> Page:
    """The page of another part of a stage."""
    return Page(job.store.within("rows").within(stage), f"{word(name)}.json")


def read_or_make[R: Row](page: Page, kind: type[R], make: Callable[[], R]) -> R:
    """The row that is kept in a page, or the one that is made now and kept there."""
    content = page.store.get(page.name)
    if content is not None:
        return kind.from_dict(content)
    row = make()
    page.store.put(page.name, row.to_dict())
    return row


def read_or_make_rows[R: Row](
    page: Page, kind: type[R], make: Callable[[], Sequence[R]]
) -> Sequence[R]:
    """The rows that are kept in a page, or those that are made now and kept there."""
    content = page.store.get(page.name)
    if content is not None:
        return [kind.from_dict(row) for row in content]
    rows = make()
    page.store.put(page.name, [row.to_dict() for row in rows])
    return rows


def stage_rows[R: Row](job: BenchmarkJob, kind: type[R]) -> list[R]:
    """The rows of a stage's JSON file; none where it has not been done."""
    return [kind.from_dict(row) for row in job.store.get(f"{kind.stage}.json") or ()]


def write_rows(job: BenchmarkJob, stage: str, rows: Sequence[Row]) -> None:
    """Write a stage's JSON file."""
    job.store.put(f"{stage}.json", [row.to_dict() for row in rows])


def mark(settings: Any) -> str:
    """Eight letters that distinguish the settings of a part (a dataclass) from all others.

    What may be added to a benchmark or changed in it later is kept under its mark, so that
    nothing of other settings is reused for it.
    """
    content = json.dumps(asdict(settings), sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()[:8]
