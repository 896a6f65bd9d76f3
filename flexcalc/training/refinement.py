"""Refinement: further training points where the errors of a model are largest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NotRequired, TypedDict

import numpy as np
from numpy.random import Generator

from flexcalc.dataset import Dataset
from flexcalc.errors import InputError
from flexcalc.models.facts import ErrorRow
from flexcalc.models.family import Family, TrainedPotential, announce
from flexcalc.progress import Progress, silent
from flexcalc.training.checkpoints import NO_CHECKPOINTS, Checkpoints
from flexcalc.training.clusters import cluster, pair_distances, shares, ward
from flexcalc.training.tuning import ENERGY, FORCE, Choice, Sets, Trials
from flexcalc.units import KCAL_MOL

By = Literal["worst", "error"]
"""How the points of a round are chosen; see `refine`."""

POOR = 1.1
"""Multiple of the mean force RMSE of all clusters above which a cluster is refined."""

FINE = 50
"""Clusters into which the frames of the poor ones are divided again."""


@dataclass(frozen=True, eq=False)
class Rounds:
    """The number of training points of a refinement, round by round.

    Args:
        start: indices in the pool of the first training points.
        points: training points in the end; every round adds an equal part of those missing.
        count: how often points are added.
        by: how the points of a round are chosen.
    """

    start: np.ndarray
    points: int
    count: int
    by: By = "worst"

    def check(self, pool: Dataset) -> None:
        """Refuse rounds that do not fit between the first points and the last.

        Raises:
            InputError: they do not, or the pool is smaller than the points.
        """
        if not len(self.start) + self.count <= self.points <= len(pool):
            raise InputError(
                f"refine_rounds: expected {len(self.start)} first points, at least one more in "
                f"each of {self.count} rounds, and no more than the {len(pool)} frames, got "
                f"{self.points} points"
            )


class RoundRow(ErrorRow, total=False):
    """A training of a refinement, and its errors on the frames that no training used."""

    points: int
    """Training points."""
    force_rmse_by_cluster_kcal_mol_A: list[float | None]
    """Of the forces, by cluster; None where a cluster has no such frames."""


class _Squares(TypedDict):
    """Squared errors (frames,): of forces a mean over components; of energies if labelled."""

    force: list[float]
    energy: NotRequired[list[float]]


class _Note(_Squares):
    """What is kept of a round."""

    points: int
    added: list[int]


@dataclass(frozen=True, eq=False)
class Refined:
    """The result of a refinement.

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
    rounds: list[RoundRow]
    frames: list[int]


def refine(
    family: Family,
    sets: Sets,
    rounds: Rounds,
    rng: Generator,
    progress: Progress = silent,
    checkpoints: Checkpoints = NO_CHECKPOINTS,
) -> Refined:
    """Train, add points where errors are large, and repeat.

    By `worst`, those are the worst frames of the clusters with the largest errors. By `error`,
    frames are drawn with a chance in proportion to their force error: more of them where it is
    large, but not its outliers alone, from which little is learned about all others.

    The first and the last training choose the hyperparameters; those between keep the first's.

    Source: Fonseca, Poltavsky, Vassilev-Galindo, Tkatchenko, J. Chem. Phys. 154, 124102 (2021),
    arXiv:2103.01674, for the worst frames.

    Args:
        family: what is trained.
        sets: labelled frames to take points from, the pool, and others that choose the
            hyperparameters; see `training.tuning.fit_best`.
        rounds: how many points are added, and when.
        rng: seeds the clustering and the training.
        progress: called with the steps of each training.
        checkpoints: what an earlier call with the same arguments had finished.

    Raises:
        InputError: see `Rounds.check`.
    """
    pool, validation = sets
    rounds.check(pool)
    seed = int(rng.integers(2**62))
    cluster_of = cluster(pool, np.random.default_rng(seed))
    selected = np.zeros(len(pool), dtype=bool)
    selected[rounds.start] = True
    grid = family
    notes: list[_Note] = []
    for number in range(rounds.count + 1):
        fresh = np.random.default_rng([seed, number])
        within = checkpoints.within(f"round-{number}")
        trials = Trials(grid, validation, within, progress)
        trials.run(pool[selected], validation, fresh)
        choice = trials.choice()
        note = within.load("points")
        if note is None:
            squares = _squared_errors(choice.potential, pool)
            force = np.array(squares["force"])
            wanted = (rounds.points - int(selected.sum())) // max(rounds.count - number, 1)
            if not wanted:
                added = np.array([], int)
            elif rounds.by == "error":
                added = draw_by_error(force, selected, wanted, fresh)
            else:
                added = worst_frames(force, cluster_of, pool, selected, wanted, fresh)
            note = _Note(points=int(selected.sum()), **squares, added=added.tolist())
            within.save("points", note)
        notes.append(note)
        selected[note["added"]] = True
        grid = family if number + 1 == rounds.count else choice.family
    announce(choice.potential)  # warnings of the models before do not matter
    return Refined(
        choice,
        np.flatnonzero(selected),
        [_row(note, cluster_of, selected) for note in notes],
        np.bincount(cluster_of).tolist(),
    )


def worst_frames(
    squares: np.ndarray,
    cluster_of: np.ndarray,
    pool: Dataset,
    selected: np.ndarray,
    count: int,
    rng: Generator,
) -> np.ndarray:
    """The frames to add: of the clusters with large errors, finely divided, the worst frames.

    Clusters whose error is above POOR times the mean of all are divided again by geometry, all
    together. The finer ones share the new points by mean squared error times population.

    Args:
        squares: (frames,) mean squared force error of each frame, in any unit.
        cluster_of: (frames,) cluster of each.
        pool: the frames.
        selected: (frames,) true for training points, which do not count.
        count: how many to add; clusters below the bound serve where others do not suffice.
        rng: see `flexcalc.training.clusters.ward`.

    Returns:
        ascending indices (count,).
    """
    errors, there = _by_cluster(squares, cluster_of, ~selected)
    order = np.argsort(-errors, kind="stable")
    poor = np.count_nonzero(errors > POOR * errors[there > 0].mean())
    enough = int(np.searchsorted(np.cumsum(there[order]), count)) + 1
    inside = np.flatnonzero(~selected & np.isin(cluster_of, order[: max(poor, enough)]))
    fine = ward(pair_distances(pool.positions[inside]), FINE, rng)
    summed, population = np.bincount(fine, squares[inside]), np.bincount(fine)
    added = []
    # The mean squared error times the population is the sum of the squared errors.
    for index, quota in enumerate(shares(count, summed, 0, population)):
        group = inside[fine == index]
        added.append(group[np.argsort(-squares[group], kind="stable")[:quota]])
    return np.sort(np.concatenate(added))


def draw_by_error(
    squares: np.ndarray, selected: np.ndarray, count: int, rng: Generator
) -> np.ndarray:
    """Frames to add, drawn with a chance in proportion to their root-mean-square force error.

    Args:
        squares: (frames,) mean squared force error of each frame, in any unit.
        selected: (frames,) true for training points.
        count: how many to add, no more than there are other frames.
        rng: draws them.

    Returns:
        ascending indices (count,).
    """
    free = np.flatnonzero(~selected)
    errors = np.sqrt(squares[free])
    # A frame without any error may still be needed to make up the number.
    chances = np.maximum(errors, 1e-9 * max(float(errors.max()), 1e-300))
    return np.sort(rng.choice(free, count, replace=False, p=chances / chances.sum()))


def _squared_errors(potential: TrainedPotential, pool: Dataset) -> _Squares:
    found = potential(pool.positions)
    off = found.forces - pool.force_labels()
    squares: _Squares = {"force": np.mean(off**2, axis=(1, 2)).tolist()}
    if pool.energies is not None:
        squares["energy"] = ((found.energies - pool.energies) ** 2).tolist()
    return squares


def _by_cluster(
    squares: np.ndarray, cluster_of: np.ndarray, counted: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Root-mean-square error and number of the frames that count, by cluster."""
    clusters = int(cluster_of.max()) + 1
    there = np.bincount(cluster_of[counted], minlength=clusters)
    summed = np.bincount(cluster_of[counted], squares[counted], minlength=clusters)
    return np.sqrt(summed / np.maximum(there, 1)), there


def _row(note: _Note, cluster_of: np.ndarray, selected: np.ndarray) -> RoundRow:
    """Errors of one training on frames that no training used, so that rounds compare."""
    row: RoundRow = {"points": note["points"]}
    if selected.all():
        return row
    force = np.array(note["force"])
    row[FORCE] = _root_mean(force[~selected])
    if "energy" in note:
        row[ENERGY] = _root_mean(np.array(note["energy"])[~selected])
    errors, there = _by_cluster(force, cluster_of, ~selected)
    row["force_rmse_by_cluster_kcal_mol_A"] = [
        float(error) / KCAL_MOL if count else None
        for error, count in zip(errors, there, strict=True)
    ]
    return row


def _root_mean(squares: np.ndarray) -> float:
    """The root-mean-square error in kcal/mol(/A) of squared errors in eV(/A)."""
    return float(np.sqrt(squares.mean())) / KCAL_MOL
