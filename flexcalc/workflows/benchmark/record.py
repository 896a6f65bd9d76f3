"""What a stage has finished, row by row: worked out once, and read back ever after."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from dataclasses import asdict
from typing import Any

from flexcalc.storage import read_json, write_json
from flexcalc.training.checkpoints import Checkpoints
from flexcalc.workflows.benchmark.job import BenchmarkJob, Rows, word


def checkpoints(job: BenchmarkJob, stage: str) -> Checkpoints:
    """The finished rows of a stage, in rows/STAGE."""
    return Checkpoints(job.folder / "rows" / stage)


def kept(job: BenchmarkJob, stage: str, name: str, make: Callable[[], Any]) -> Any:
    """What was made before under a name, or what is made now and kept."""
    rows, step = checkpoints(job, stage), word(name)
    found = rows.load(step)
    if found is None:
        found = make()
        rows.save(step, found)
    return found


def stage_rows(job: BenchmarkJob, stage: str) -> Rows:
    """The rows of a stage's JSON file; none where it has not been done."""
    try:
        return read_json(job.folder / f"{stage}.json")
    except FileNotFoundError:
        return []


def write_rows(job: BenchmarkJob, stage: str, rows: Iterable[dict]) -> None:
    """Write a stage's JSON file."""
    write_json(job.folder / f"{stage}.json", list(rows))


def mark(settings: Any) -> str:
    """Eight letters that tell the settings of a part (a dataclass) from all others.

    What may be added to a benchmark or changed in it later is kept under its mark, so that
    nothing of other settings is taken for it.
    """
    content = json.dumps(asdict(settings), sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()[:8]
