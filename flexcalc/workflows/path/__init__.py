"""`flexcalc path`: a path between two geometries, and what is asked about it afterwards.

The search comes first (`search`); then each of `STAGES` adds files and results of its own. A
stage is a function of the job, the run folder and the path that was found.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

from flexcalc.config import PathSearch
from flexcalc.workflows.path.correcting import corrected_path, correction
from flexcalc.workflows.path.equivalents import written_equivalents
from flexcalc.workflows.path.job import FoundPath, PathJob, opened
from flexcalc.workflows.path.relabel import compared, relabelled
from flexcalc.workflows.path.saddle import saddle_and_rates
from flexcalc.workflows.path.search import searched
from flexcalc.workflows.runs import Run, open_run

STAGES: tuple[Callable[[PathJob, Run, FoundPath], dict[str, Any]], ...] = (
    written_equivalents,
    relabelled,
    saddle_and_rates,
)
"""What is done with a path, in this order; a stage that was not asked for returns nothing."""


def run_path(config: PathSearch, output: Path) -> dict[str, Any]:
    """Search a path; writes path.xyz, convergence.csv and what the stages write.

    With `refine`, the model is trained anew where it is worst and the path searched again, until
    the barrier holds (`workflows/path/correcting.py`).

    Raises:
        InputError: the ends, the potential or the reference cannot be used; nothing is written.
    """
    job = opened(config)
    config = job.config
    plan = correction(config, job.potential) if config.refine else None
    with open_run("path", config, output) as here:
        if here.finished is not None:
            return here.finished
        known = {} if (m := job.fitting.said(cast(Any, here))) is None else {"atom_map": m}
        if plan is not None:
            return here.finish(corrected_path(job, here, plan, _done) | known)
        return here.finish(_done(job, here) | known)


def _done(job: PathJob, here: Run) -> dict[str, Any]:
    """Search a path in a folder and go through the stages."""
    found, results = searched(job, here)
    for stage in STAGES:
        results |= stage(job, here, found)
    return results


__all__ = ["STAGES", "FoundPath", "PathJob", "compared", "run_path"]
