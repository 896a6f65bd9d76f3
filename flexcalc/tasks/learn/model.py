"""The model of a round: hyperparameters chosen on validation frames, then a committee."""

from __future__ import annotations

import numpy as np
from numpy.random import Generator

from flexcalc.models.bonding import with_bonding
from flexcalc.models.delta import DeltaModel
from flexcalc.models.facts import ModelFacts
from flexcalc.models.family import Family, TrainedPotential
from flexcalc.models.frames import with_frames
from flexcalc.store import Store
from flexcalc.tasks.baseline import subtract
from flexcalc.tasks.learn.job import LearnJob
from flexcalc.tasks.train import training_warnings
from flexcalc.training.calibration import with_domain
from flexcalc.training.checkpoints import Checkpoints
from flexcalc.training.committee import fit_committee
from flexcalc.training.tuning import Sets, fit_best

SEARCHED = 150
"""Training points, drawn at random, with which hyperparameters are chosen at most: the best ones
hardly depend on their number, and a kernel model takes the third power of it."""


def fit_model(
    job: LearnJob, sets: Sets, store: Store, rng: Generator, family: Family | None = None
) -> tuple[TrainedPotential, Family]:
    """Train a committee, and return it with the family whose hyperparameters it has.

    Args:
        job: of the learning.
        sets: frames to train on, and frames that choose the hyperparameters.
        store: keeps the checkpoints.
        rng: seeds the training.
        family: with hyperparameters already chosen; by default validation frames choose them, for
            models of at most `SEARCHED` training points.
    """
    train, validation = sets
    if job.baseline is not None:
        train = subtract(train, job.baseline)
        validation = None if validation is None else subtract(validation, job.baseline)
    steps = Checkpoints(store.unfinished("training"))
    with store.bar("train") as progress, training_warnings(store.warn):
        if family is None:
            some = train[np.sort(rng.permutation(len(train))[:SEARCHED])]
            found = fit_best(
                job.options.family[0], some, validation, rng, progress, steps.within("search")
            )
            family = found.family
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
