"""The model of a round: hyperparameters chosen by folds of its labels, then a committee."""

from __future__ import annotations

import numpy as np
from numpy.random import Generator

from flexcalc.dataset import concatenate
from flexcalc.models.bonding import with_bonding
from flexcalc.models.delta import DeltaModel
from flexcalc.models.facts import ModelFacts
from flexcalc.models.family import Family, TrainedPotential
from flexcalc.models.frames import with_frames
from flexcalc.progress import Progress
from flexcalc.store import Store
from flexcalc.tasks.baseline import subtract
from flexcalc.tasks.learn.job import LearnJob
from flexcalc.tasks.train import training_warnings
from flexcalc.training.calibration import with_domain
from flexcalc.training.checkpoints import Checkpoints
from flexcalc.training.committee import fit_committee
from flexcalc.training.crossvalidation import choose_by_folds, folds, order_of
from flexcalc.training.tuning import Sets, fit_best

SEARCHED, FOLDS = 150, 3
"""Labels, drawn at random, that choose hyperparameters at most, and folds of them: the best ones
hardly depend on their number, and a kernel model takes the third power of it. Bands and uncertain
geometries are among them: a length scale may suit hot dynamics and not the way over a barrier."""


def fit_model(
    job: LearnJob, sets: Sets, store: Store, rng: Generator, family: Family | None = None
) -> tuple[TrainedPotential, Family]:
    """Train a committee, and return it with the family whose hyperparameters it has.

    Args:
        job: of the learning.
        sets: frames to train on, and further ones that a network may stop by.
        store: keeps the checkpoints.
        rng: seeds the training.
        family: with hyperparameters already chosen; by default folds of at most `SEARCHED` frames
            choose them; of a family that would have to be trained for each fold, the further ones.
    """
    train, validation = sets
    if job.baseline is not None:
        train = subtract(train, job.baseline)
        validation = None if validation is None else subtract(validation, job.baseline)
    steps = Checkpoints(store.unfinished("training"))
    with store.bar("train") as progress, training_warnings(store.warn):
        if family is None:
            family = _chosen(job.options.family[0], Sets(train, validation), rng, progress, steps)
        above = fit_committee(
            family,
            Sets(train, validation if validation is not None else train[:0]),
            job.options.committee,
            rng,
            progress,
            steps.within("committee"),
        )
        with_domain(above, train, validation, rng)
    model: TrainedPotential = above
    if job.baseline is not None:
        facts: ModelFacts = {
            "training_sha256": sets.train.sha256(),
            "level": job.level,
            **job.baseline.facts,
        }
        model = DeltaModel(job.baseline.potential, above, facts)
    with_bonding(model, sets.train)
    with_frames(model, sets.train, sets.validation)
    return model, family


def _chosen(
    family: Family, sets: Sets, rng: Generator, progress: Progress, steps: Checkpoints
) -> Family:
    """A family with its best hyperparameters."""
    train, validation = sets
    every = train if validation is None else concatenate(train, validation)
    some = every[np.sort(rng.permutation(len(every))[:SEARCHED])]
    parts = folds(order_of(some), min(FOLDS, len(some)), rng)
    found = choose_by_folds(family, some, parts, rng, progress, steps.within("search"))
    if found is not None:
        return found.family
    some = train[np.sort(rng.permutation(len(train))[:SEARCHED])]
    return fit_best(family, some, validation, rng, progress, steps.within("search")).family
