"""What a stage has finished, row by row: worked out once, and read back ever after."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from dataclasses import asdict
from typing import Any

from flexcalc.benchmarking.job import BenchmarkJob, Fit, Rows, word
from flexcalc.store import Store


def page(job: BenchmarkJob, stage: str, fit: Fit) -> tuple[Store, str]:
    """Where the finished row of a training is kept in a stage: a store, and the name there."""
    rows = job.store.within("rows").within(stage)
    return rows.within(fit.mechanism).within(fit.place), f"{fit.points}.json"


def kept(job: BenchmarkJob, stage: str, name: str, make: Callable[[], Any]) -> Any:
    """What was made before under a name, or what is made now and kept in rows/STAGE."""
    return _kept_in(job.store.within("rows").within(stage), f"{word(name)}.json", make)


def kept_of(job: BenchmarkJob, stage: str, fit: Fit, make: Callable[[], Any]) -> Any:
    """What was made before of a trained model, or what is made now and kept."""
    return _kept_in(*page(job, stage, fit), make)


def _kept_in(store: Store, name: str, make: Callable[[], Any]) -> Any:
    found = store.get(name)
    if found is None:
        found = make()
        store.put(name, found)
    return found


def stage_rows(job: BenchmarkJob, stage: str) -> Rows:
    """The rows of a stage's JSON file; none where it has not been done."""
    return job.store.get(f"{stage}.json") or []


def write_rows(job: BenchmarkJob, stage: str, rows: Iterable[dict]) -> None:
    """Write a stage's JSON file."""
    job.store.put(f"{stage}.json", list(rows))


def mark(settings: Any) -> str:
    """Eight letters that tell the settings of a part (a dataclass) from all others.

    What may be added to a benchmark or changed in it later is kept under its mark, so that
    nothing of other settings is taken for it.
    """
    content = json.dumps(asdict(settings), sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()[:8]
