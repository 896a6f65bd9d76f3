"""Further training points where a model is worst."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.random import Generator

from flexcalc.dataset import Dataset
from flexcalc.errors import InputError
from flexcalc.models.family import Family, announce
from flexcalc.progress import Progress, silent
from flexcalc.training.clusters import cluster, pair_distances, shares, ward
from flexcalc.training.memory import NOTHING, Memory
from flexcalc.training.tuning import ENERGY, FORCE, Choice, Search
from flexcalc.units import KCAL_MOL

By = Literal["worst", "error"]
"""How the points of a round are chosen; see `refine`."""

POOR = 1.1
"""Clusters whose force RMSE is so many times the mean of all are refined."""

FINE = 50
"""Clusters into which the frames of the poor ones are divided anew."""


@dataclass(frozen=True, eq=False)
class Refined:
    """What came of a refinement.

    Args:
        choice: the last search, on all the training points.
        train: ascending indices (points,) of the training points in the pool.
        rounds: a row for each training: its points, its errors on the frames of the pool that
            no training used, in kcal/mol(/A), and the force errors among them by cluster, None
            where a cluster has no such frames.
        frames: how many frames of the pool each cluster has.
    """

    choice: Choice
    train: np.ndarray
    rounds: list[dict[str, Any]]
    frames: list[int]


def refine(
    family: Family,
    pool: Dataset,
    start: np.ndarray,
    points: int,
    rounds: int,
    validation: Dataset | None,
    rng: Generator,
    progress: Progress = silent,
    memory: Memory = NOTHING,
    by: By = "worst",
) -> Refined:
    """Train, take points where errors are large, repeat.

    By `worst`, those are the worst frames of the clusters with the largest errors. By `error`,
    frames are drawn with a chance in proportion to their force error: more of them where it is
    large, but not its outliers alone, from which little is learned about all others.

    The first and the last training choose the hyperparameters; those between keep the first's.

    Source: Fonseca, Poltavsky, Vassilev-Galindo, Tkatchenko, J. Chem. Phys. 154, 124102 (2021),
    arXiv:2103.01674, for the worst frames.

    Args:
        family: what is trained.
        pool: labelled frames to take points from; no validation frames among them.
        start: indices of the first training points.
        points: training points in the end; every round adds an equal part of what lacks.
        rounds: how often points are added.
        validation: frames that choose the hyperparameters; see `training.tuning.fit_best`.
        rng: seeds the clustering and the training.
        progress: told the steps of each training.
        memory: what an earlier call with the same arguments had finished.
        by: how the points of a round are chosen.

    Raises:
        InputError: the pool is smaller than the points, or the rounds do not fit between the
            first points and the last.
    """
    if not len(start) + rounds <= points <= len(pool):
        raise InputError(
            f"refine_rounds: expected {len(start)} first points, at least one more in each of "
            f"{rounds} rounds, and no more than the {len(pool)} frames, got {points} points"
        )
    seed = int(rng.integers(2**62))
    cluster_of = cluster(pool, np.random.default_rng(seed))
    taken = np.zeros(len(pool), dtype=bool)
    taken[start] = True
    grid, notes = family, []
    for number in range(rounds + 1):
        fresh = np.random.default_rng([seed, number])
        part = memory.within(f"round-{number}")
        search = Search(grid, validation, part, progress)
        search.run(pool[taken], validation, fresh)
        choice = search.choice()
        note = part.recall("points")
        if note is None:
            wanted = (points - int(taken.sum())) // max(rounds - number, 1)
            note = _note(choice, pool, cluster_of, taken, wanted, fresh, by)
            part.remember("points", note)
        notes.append(note)
        taken[note["added"]] = True
        grid = family if number + 1 == rounds else choice.family
    announce(choice.potential)  # of the models before, nobody wants to know
    return Refined(
        choice,
        np.flatnonzero(taken),
        [_row(note, cluster_of, taken) for note in notes],
        np.bincount(cluster_of).tolist(),
    )


def worst(
    squares: np.ndarray,
    cluster_of: np.ndarray,
    pool: Dataset,
    taken: np.ndarray,
    count: int,
    rng: Generator,
) -> np.ndarray:
    """The frames to add: of the clusters with large errors, finely divided, the worst frames.

    Clusters whose error is above POOR times the mean of all are divided anew by geometry, all
    together. The finer ones share the new points by mean squared error times population.

    Args:
        squares: (frames,) mean squared force error of each frame, in any unit.
        cluster_of: (frames,) cluster of each.
        pool: the frames.
        taken: (frames,) true for training points, which have no say.
        count: how many to add; clusters below the bound are drawn on only if it takes them.
        rng: see `flexcalc.training.clusters.ward`.

    Returns:
        ascending indices (count,).
    """
    errors, there = _by_cluster(squares, cluster_of, ~taken)
    order = np.argsort(-errors, kind="stable")
    poor = np.count_nonzero(errors > POOR * errors[there > 0].mean())
    enough = int(np.searchsorted(np.cumsum(there[order]), count)) + 1
    inside = np.flatnonzero(~taken & np.isin(cluster_of, order[: max(poor, enough)]))
    fine = ward(pair_distances(pool.positions[inside]), FINE, rng)
    summed, population = np.bincount(fine, squares[inside]), np.bincount(fine)
    added = []
    # The mean squared error times the population is the sum of the squared errors.
    for index, quota in enumerate(shares(count, summed, 0, population)):
        group = inside[fine == index]
        added.append(group[np.argsort(-squares[group], kind="stable")[:quota]])
    return np.sort(np.concatenate(added))


def drawn(squares: np.ndarray, taken: np.ndarray, count: int, rng: Generator) -> np.ndarray:
    """Frames to add, drawn with a chance in proportion to their root-mean-square force error.

    Args:
        squares: (frames,) mean squared force error of each frame, in any unit.
        taken: (frames,) true for training points.
        count: how many to add, no more than there are other frames.
        rng: draws them.

    Returns:
        ascending indices (count,).
    """
    free = np.flatnonzero(~taken)
    errors = np.sqrt(squares[free])
    # A frame without any error may still be needed to make up the number.
    chances = np.maximum(errors, 1e-9 * max(float(errors.max()), 1e-300))
    return np.sort(rng.choice(free, count, replace=False, p=chances / chances.sum()))


def _note(
    choice: Choice,
    pool: Dataset,
    cluster_of: np.ndarray,
    taken: np.ndarray,
    wanted: int,
    rng: Generator,
    by: By,
) -> dict[str, Any]:
    """Points of one training, squared errors of all frames, and which frames are to be added.

    Errors are the mean square over a frame's force components, and its energy's square.
    """
    found = choice.potential(pool.positions)
    force = np.mean((found.forces - pool.force_labels()) ** 2, axis=(1, 2))
    squares = {"force": force.tolist()}
    if pool.energies is not None:
        squares["energy"] = ((found.energies - pool.energies) ** 2).tolist()
    if not wanted:
        added = np.array([], int)
    elif by == "error":
        added = drawn(force, taken, wanted, rng)
    else:
        added = worst(force, cluster_of, pool, taken, wanted, rng)
    return {
        "points": int(taken.sum()),
        **squares,
        "added": added.tolist(),
    }


def _by_cluster(
    squares: np.ndarray, cluster_of: np.ndarray, counted: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Root-mean-square error and number of the frames that count, by cluster."""
    clusters = int(cluster_of.max()) + 1
    there = np.bincount(cluster_of[counted], minlength=clusters)
    summed = np.bincount(cluster_of[counted], squares[counted], minlength=clusters)
    return np.sqrt(summed / np.maximum(there, 1)), there


def _row(note: dict[str, Any], cluster_of: np.ndarray, taken: np.ndarray) -> dict[str, Any]:
    """Errors of one training on frames that no training used, so that rounds compare."""
    row: dict[str, Any] = {"points": note["points"]}
    if taken.all():
        return row
    square = {key: np.array(note[key]) for key in ("force", "energy") if key in note}
    force = square["force"]
    errors, there = _by_cluster(force, cluster_of, ~taken)
    by_cluster = [
        float(error) / KCAL_MOL if count else None
        for error, count in zip(errors, there, strict=True)
    ]
    rmse = {
        name: float(np.sqrt(square[key][~taken].mean())) / KCAL_MOL
        for key, name in (("force", FORCE), ("energy", ENERGY))
        if key in square
    }
    return row | {
        **rmse,
        "force_rmse_by_cluster_kcal_mol_A": by_cluster,
    }
