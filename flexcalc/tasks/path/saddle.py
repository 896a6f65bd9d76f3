"""Stage: the highest image is refined to a saddle, with its descent and rates."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from flexcalc.store import Store
from flexcalc.tasks.path.job import FoundPath, PathJob
from flexcalc.tasks.saddle import SaddleJob, find_saddle, highest_image


def refine_saddle(job: PathJob, store: Store, found: FoundPath) -> dict[str, Any]:
    """Keep what `flexcalc saddle` keeps, and return the saddle."""
    if not job.options.saddle:
        return {}
    guess = highest_image(job.potential, found.images)
    guess = replace(guess, minima={"start": found.images[0], "end": found.images[-1]})
    saddle = find_saddle(
        SaddleJob(job.options, job.potential, job.reference, guess, found.isotopes), store
    )
    known = {} if saddle.degenerate is None else {"degenerate": saddle.degenerate}
    return {"saddle": saddle, **known}
