"""The saddle of a path: found early, or from the highest image of a converged path."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from flexcalc.errors import GuardError, LabelError
from flexcalc.geometry import align, align_consecutive
from flexcalc.methods.follow import STEPS
from flexcalc.methods.iterate import STOPPED_FILE
from flexcalc.methods.path import (
    MORE_IMAGES,
    Chain,
    Stage,
    path_length,
    respace,
    with_few_images,
)
from flexcalc.potential import Evaluation
from flexcalc.results.evaluations import Evaluations, added
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
from flexcalc.tasks.path.search import PATH_CHECKPOINT, Beginning, Searched, search
from flexcalc.tasks.saddle import SaddleJob, descent, find_saddle, guess_of
from flexcalc.tasks.saddle.search import REFINEMENTS, follow_top, saddle_of

EARLY = "early.json"
"""What a saddle has cost that was found early and does not join the ends; where it is there, a
resumed run does not leave the path again."""

FAILED = "attempts.json"
"""The attempt with few images that failed, if more images come next: their number, and what was
spent on the way to the saddle."""

AGAIN = "again.json"
"""What a search with few images has cost that found no saddle; the search has begun again with all
of them."""

GAP_EV = 0.05
"""Energy of an image above the saddle at which a descent has a gap that images cut through."""

FEW_STEPS = 30
"""Evaluations after which the direction of a path that can have more images is lost."""

FEW_PATH_STEPS = 60
"""Maximum number of steps of a path with few images."""

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


def _begin_again(job: PathJob, store: Store, why: str, spent: Evaluations | None = None) -> None:
    """Remove what a search with few images has left, apart from what it has cost.

    Args:
        job: of the search.
        store: of which the path and its attempts are removed.
        why: for the message.
        spent: on the way from the path to the saddle.
    """
    store.say(f"{why}: the search begins again with all images")
    surface = job.counting("band")
    path = Evaluations(total=surface.geometries, band=surface.geometries)
    store.put(AGAIN, (added([path, spent]) or path).to_dict())
    surface.geometries = 0
    for name in (FAILED, PATH_CHECKPOINT, STOPPED_FILE):
        store.remove(name)
    _count_failed_beginning(job, store)


def _count_failed_beginning(job: PathJob, store: Store) -> None:
    """Count what a search with few images has cost, if there was one that failed."""
    known = store.get(AGAIN)
    if known is not None:
        job.tally.include(Evaluations.from_dict(known, store))


def _first(job: PathJob, store: Store, begun: Beginning) -> np.ndarray:
    """The images (images, atoms, 3) with which the search begins."""
    method = job.options.method
    if not (isinstance(method, Chain) and is_left_early(job) and job.options.adaptive):
        return begun.images
    if store.get(AGAIN) is not None:
        return begun.images
    return with_few_images(begun.images, method.align)


def _stages(job: PathJob, store: Store, first: np.ndarray) -> list[Stage]:
    """The stage with the initial path, and that after an attempt that failed."""
    method, below = job.options.method, job.options.follow_below_eV_A
    if not isinstance(method, Chain):
        return []
    counts = [len(first), *(row["images"] for row in store.get(FAILED) or ())]
    return [Stage(method, count, below) for count in counts]


def stages_to_converge(
    job: PathJob, store: Store, begun: Beginning
) -> tuple[np.ndarray, list[Stage]]:
    """The initial path of a search, and its stages up to that of the path that converges."""
    first, method = _first(job, store, begun), job.options.method
    if not (isinstance(method, Chain) and is_left_early(job)):
        return first, []
    return first, [*_stages(job, store, first), Stage(method, len(begun.images))]


def search_early(
    job: PathJob, store: Store, begun: Beginning
) -> tuple[Searched, FoundPath, Saddle] | None:
    """Leave the path early for its saddle; None where that does not join the ends of the path.

    With `adaptive` the path has few images at first, and gets some more next to the highest where
    the direction of that is lost on the way to the saddle. If there is still no saddle that joins
    the ends, the search begins again with all images.

    Returns:
        The path as it was left, the minimum-energy path through the saddle, and the saddle.
    """
    _count_failed_beginning(job, store)
    known = store.get(EARLY)
    if known is not None:
        job.tally.include(Evaluations.from_dict(known, store))
        return None
    while True:
        searched = _searched(job, store, begun)
        found = FoundPath(*aligned_with_labels(searched.state.images, searched.state.evaluation))
        attempt = _attempt(job, store, begun, searched, found)
        if attempt.saddle is not None:
            return searched, attempt.path or found, attempt.saddle
        for name in (*OF_SADDLE, *CHECKPOINTS):
            store.remove(name)
        if len(found.images) == len(begun.images):
            break
        if attempt.images:
            store.say(f"the path goes on with {attempt.images} images")
            store.put(FAILED, [{"images": attempt.images, **attempt.spent.to_dict()}])
        else:
            _begin_again(job, store, "no saddle is found with few images", attempt.spent)
    job.tally.include(attempt.spent)
    store.put(EARLY, attempt.spent.to_dict())
    return None


def _searched(job: PathJob, store: Store, begun: Beginning) -> Searched:
    """The path as its present stage leaves it.

    Where it fails, diverges or does not settle with few images, the search begins again with all.

    Raises:
        LabelError, GuardError: it fails with all images.
    """
    first = _first(job, store, begun)
    stages = _stages(job, store, first)
    if len(first) == len(begun.images):
        return search(job, store, first, stages)
    most = min(job.options.steps, FEW_PATH_STEPS)
    try:
        searched = search(job, store, first, stages, most)
        why = "".join(searched.diverged)
        if not why and searched.state.residual >= job.options.follow_below_eV_A:
            why = f"the path has not settled in {most} steps"
    except (LabelError, GuardError) as error:
        why = str(error)
    if not why:
        return searched
    _begin_again(job, store, why)
    return _searched(job, store, begun)


@dataclass(frozen=True, eq=False)
class Attempt:
    """An attempt to find the saddle of a path that has not converged.

    Args:
        saddle: that joins the ends of the path; None without one.
        spent: on this attempt and those before it.
        images: number of images for the next attempt of this path, 0 for none.
        path: of the descent from the saddle.
    """

    saddle: Saddle | None
    spent: Evaluations
    images: int = 0
    path: FoundPath | None = None


def _attempt(
    job: PathJob, store: Store, begun: Beginning, searched: Searched, found: FoundPath
) -> Attempt:
    """Follow the direction of a path from its highest image to the saddle, and the descent.

    Where the direction is lost, or the highest image is an end, some more images are next, once.
    """
    state, count, every = searched.state, len(found.images), len(begun.images)
    search_job = _saddle_job(job, found, begun.isotopes)
    more = count + MORE_IMAGES
    for row in store.get(FAILED) or ():
        if row["images"] <= count:
            search_job.tally.include(Evaluations.from_dict(row, store))
            more = 0
    if more >= every:
        more = 0
    if not 0 < int(found.labels.energies.argmax()) < count - 1:
        return Attempt(None, search_job.tally.found(), more)
    store.say(
        f"the path is left for its saddle after {state.step} steps, with {count} images and a "
        f"force of {state.residual:.3f} eV/A"
    )
    followed = follow_top(search_job, store, STEPS if count == every else FEW_STEPS)
    if followed is None and count < every:
        return Attempt(None, search_job.tally.found(), more)
    try:
        saddle = saddle_of(search_job, store, followed)
    except LabelError as error:
        store.say(f"no saddle is found, {error}: the search of the path goes on")
    else:
        if saddle.first_order and (saddle.irc_start_is, saddle.irc_end_is) == ("start", "end"):
            path = _of_descent(job, saddle, found)
            top = float(saddle.to_dataset().labels()[0][0])
            if path is found or path.labels.energies.max() < top + GAP_EV:
                return Attempt(saddle, search_job.tally.found(), path=path)
            store.say("the descent stops too far from a minimum: the search of the path goes on")
            return Attempt(None, search_job.tally.found())
        store.say("the saddle does not join the ends: the search of the path goes on")
    return Attempt(None, search_job.tally.found())


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
