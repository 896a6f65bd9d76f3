"""Stage: the highest image becomes a saddle, with the way down from it and rates."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from flexcalc.workflows.path.job import FoundPath, PathJob
from flexcalc.workflows.runs import Run
from flexcalc.workflows.saddle import highest, saddle_stage


def saddle_and_rates(job: PathJob, here: Run, found: FoundPath) -> dict[str, Any]:
    """Write what `flexcalc saddle` writes, and return its results."""
    if not job.config.saddle:
        return {}
    guess = highest(job.potential, found.images)
    guess = replace(guess, ends={"start": found.images[0], "end": found.images[-1]})
    return saddle_stage(job.config, here, job.potential, job.reference, guess, job.config.steps)
