"""Stage: the highest image becomes a saddle, with its descent and rates."""

from __future__ import annotations

from dataclasses import replace

from flexcalc.results.path import Path
from flexcalc.tasks.path.job import FoundPath, PathJob
from flexcalc.tasks.saddle import SaddleJob, find_saddle, highest_image


def refine_saddle(job: PathJob, found: FoundPath, result: Path) -> Path:
    """Keep what `flexcalc saddle` keeps, and return the path with its saddle."""
    if not job.options.saddle:
        return result
    guess = highest_image(job.potential, found.images)
    guess = replace(guess, minima={"start": found.images[0], "end": found.images[-1]})
    saddle = find_saddle(
        SaddleJob(job.options, job.potential, job.reference, guess, result.isotopes), result.store
    )
    degenerate = result.degenerate if saddle.degenerate is None else saddle.degenerate
    return replace(result, saddle=saddle, degenerate=degenerate)
