"""The saddle of a path: found early, or from the highest image of a converged path."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from flexcalc.errors import LabelError
from flexcalc.geometry import align, align_consecutive
from flexcalc.methods.path import Chain, path_length, respace
from flexcalc.potential import Evaluation
from flexcalc.results.evaluations import Evaluations
from flexcalc.results.path import Path
from flexcalc.results.saddle import (
    DESCENT,
    MINIMA,
    MODE,
    RATES,
    SADDLE,
    STATIONARY,
    VIBRATIONS,
    Saddle,
)
from flexcalc.store import Store
from flexcalc.tasks.path.job import FoundPath, PathJob
from flexcalc.tasks.path.search import Beginning, Searched, search
from flexcalc.tasks.saddle import SaddleJob, descent, find_saddle, guess_of
from flexcalc.tasks.saddle.search import REFINEMENTS

EARLY = "early.json"
"""What a saddle has cost that was found early and does not join the ends; where it is there, a
resumed run does not leave the path again."""

OF_SADDLE = (SADDLE, DESCENT, MINIMA, MODE, VIBRATIONS, RATES, STATIONARY)
"""What a search of a saddle keeps."""

CHECKPOINTS = (
    *(f"{name}.{kind}" for name in REFINEMENTS for kind in ("checkpoint", "csv")),
    *descent.CHECKPOINTS,
    "follow.csv",
)
"""What it resumes from, apart from Hessians, which know their geometry."""


def is_left_early(job: PathJob) -> bool:
    """Whether the path is left for its saddle before it converges."""
    options = job.options
    climbs = isinstance(options.method, Chain) and options.method.climb
    return options.saddle and options.follow and climbs


def search_early(
    job: PathJob, store: Store, begun: Beginning
) -> tuple[Searched, FoundPath, Saddle] | None:
    """Leave the path early for its saddle; None where that does not join the ends of the path.

    Returns:
        The path as it was left, the minimum-energy path through the saddle, and the saddle.
    """
    known = store.get(EARLY)
    if known is not None:
        job.tally.include(Evaluations.from_dict(known, store))
        return None
    searched = search(job, store, begun.images, job.options.follow_below_eV_A)
    state = searched.state
    found = FoundPath(*aligned_with_labels(state.images, state.evaluation))
    if not 0 < int(found.labels.energies.argmax()) < len(found.images) - 1:
        return None
    store.say(
        f"the path is left for its saddle after {state.step} steps, with a force of "
        f"{state.residual:.3f} eV/A"
    )
    search_job = _saddle_job(job, found, begun.isotopes)
    try:
        saddle = find_saddle(search_job, store)
    except LabelError as error:
        store.say(f"no saddle is found, {error}: the search of the path goes on")
    else:
        if saddle.first_order and (saddle.irc_start_is, saddle.irc_end_is) == ("start", "end"):
            return searched, _of_descent(job, saddle, found), saddle
        store.say("the saddle does not join the ends: the search of the path goes on")
    for name in (*OF_SADDLE, *CHECKPOINTS):
        store.remove(name)
    spent = search_job.tally.found() or Evaluations(total=0)
    job.tally.include(spent)
    store.put(EARLY, spent.to_dict())
    return None


def _of_descent(job: PathJob, saddle: Saddle, left: FoundPath) -> FoundPath:
    """The path of the descent, or the path as it was left where an image cannot be evaluated."""
    try:
        return path_of_descent(job, saddle, left.images[[0, -1]])
    except LabelError as error:
        saddle.store.say(f"the path is kept as it was left for its saddle: {error}")
        return left


def path_of_descent(job: PathJob, saddle: Saddle, ends: np.ndarray) -> FoundPath:
    """The minimum-energy path through a saddle, as many images as the method has.

    They are evenly spaced on both sides of the saddle, between the minima of its descent.

    Args:
        job: with the method.
        saddle: with its descent.
        ends: (2, atoms, 3) of the path that was asked for; of the path and its mirror image, the
            one with ends nearer to these is returned.
    """
    descent, minima = saddle.store.get(DESCENT), saddle.store.get(MINIMA).positions
    before = descent.positions[descent.tags["arc"] < 0]
    after = descent.positions[descent.tags["arc"] > 0]
    top = saddle.to_dataset().positions
    halves = (np.concatenate([minima[:1], before, top]), np.concatenate([top, after, minima[1:]]))
    lengths = [path_length(half)[-1] for half in halves]
    steps = job.options.method.images - 1
    behind = min(max(round(steps * lengths[0] / sum(lengths)), 1), steps - 1)
    first, last = (
        respace(half, count=count + 1)
        for half, count in zip(halves, (behind, steps - behind), strict=True)
    )
    images = np.concatenate([first, last[1:]])
    off = [np.abs(align(sign * images[[0, -1]], ends) - ends).sum() for sign in (1, -1)]
    images = align_consecutive(images if off[0] <= off[1] else -images)
    return FoundPath(images, job.counting("band")(images))


def aligned_with_labels(images: np.ndarray, labels: Evaluation) -> tuple[np.ndarray, Evaluation]:
    """Images (images, atoms, 3), each aligned with the one before, with their turned forces."""
    from scipy.spatial.transform import Rotation

    aligned = align_consecutive(images)
    turns = [
        Rotation.align_vectors(*pair)[0]
        for pair in zip(
            aligned - aligned.mean(axis=1, keepdims=True),
            images - images.mean(axis=1, keepdims=True),
            strict=True,
        )
    ]
    forces = np.stack([turn.apply(one) for turn, one in zip(turns, labels.forces, strict=True)])
    return aligned, Evaluation(labels.energies, forces)


def refine_saddle(job: PathJob, found: FoundPath, result: Path) -> Path:
    """Stage: keep what `flexcalc saddle` keeps, and return the path with its saddle."""
    if not job.options.saddle:
        return result
    saddle = result.saddle or find_saddle(_saddle_job(job, found, result.isotopes), result.store)
    degenerate = result.degenerate if saddle.degenerate is None else saddle.degenerate
    return replace(result, saddle=saddle, degenerate=degenerate)


def _saddle_job(job: PathJob, found: FoundPath, isotopes: str | None) -> SaddleJob:
    """The search of the saddle to which the highest image of a path leads."""
    guess = guess_of(found.images, found.labels)
    guess = replace(guess, minima={"start": found.images[0], "end": found.images[-1]})
    return SaddleJob(job.options, job.potential, job.reference, guess, isotopes, shared=job.shared)
