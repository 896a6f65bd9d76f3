"""The model of a round: hyperparameters chosen on validation frames, then a committee."""

from __future__ import annotations

from contextlib import nullcontext

import numpy as np
from numpy.random import Generator

from flexcalc.dataset import Dataset
from flexcalc.models.bonding import with_bonding
from flexcalc.models.delta import DeltaModel
from flexcalc.models.facts import ModelFacts
from flexcalc.models.family import Family, TrainedPotential, errors
from flexcalc.models.frames import with_frames
from flexcalc.progress import silent
from flexcalc.results.learning import BASELINES
from flexcalc.store import Store
from flexcalc.tasks.baseline import Baseline, combine
from flexcalc.tasks.learn.job import LearnJob
from flexcalc.tasks.train import training_warnings
from flexcalc.training.calibration import with_domain
from flexcalc.training.checkpoints import Checkpoints
from flexcalc.training.committee import fit_committee
from flexcalc.training.tuning import ENERGY, FORCE, Choice, Sets, fit_best

SEARCHED = 150
"""Training points, drawn at random, with which hyperparameters are chosen at most: the best ones
hardly depend on their number, and a kernel model takes the third power of it."""
LEEWAY = 0.25
"""Share by which the force RMSE may exceed the lowest where energies on the way over barriers
choose hyperparameters: the length scale that is best for hot frames blurs a narrow barrier."""
FEWEST_JUDGES = 10
"""Frames on the way that choose at least; fewer are trained on in the search too."""


def fit_model(
    job: LearnJob,
    sets: Sets,
    store: Store,
    rng: Generator,
    family: Family | None = None,
    way: np.ndarray | None = None,
) -> tuple[TrainedPotential, Family]:
    """Train a committee, and return it with the family whose hyperparameters it has.

    Args:
        job: of the learning.
        sets: frames to train on, and frames that choose the hyperparameters.
        store: keeps the checkpoints.
        rng: seeds the training.
        family: with hyperparameters already chosen; by default validation frames choose them, for
            models of at most `SEARCHED` training points.
        way: training frames on the way over barriers that the user asks for, (rows,) of `train`.
            Half of them, drawn at random, choose among hyperparameters that are about as good on
            the validation frames, by their energies, if these are `FEWEST_JUDGES` at least.
    """
    below, train, validation = _differences(job, sets, store)
    steps = Checkpoints(store.unfinished("training"))
    with store.bar("train") as progress, training_warnings(store.warn):
        if family is None:
            order = rng.permutation(len(train))
            judges = order[np.isin(order, [] if way is None else way)]
            judges = judges[: len(judges) // 2 if len(judges) >= 2 * FEWEST_JUDGES else 0]
            some = train[np.sort(order[~np.isin(order, judges)][:SEARCHED])]
            found = fit_best(job.family, some, validation, rng, progress, steps.within("search"))
            family = found.family
            if len(judges) and len(found.trials) > 1:
                family = _best_on_the_way(found, train[np.sort(judges)])
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
    if below is not None:
        facts: ModelFacts = {
            "training_sha256": sets.train.sha256(),
            "level": job.level,
            **below.facts,
        }
        model = DeltaModel(below.potential, above, facts)
    with_bonding(model, sets.train)
    with_frames(model, sets.train, sets.validation)
    return model, family


def _differences(
    job: LearnJob, sets: Sets, store: Store
) -> tuple[Baseline | None, Dataset, Dataset | None]:
    """The baseline of the model, and the frames with its energies and forces subtracted.

    Of several, folds of the training points choose a weighted sum, which the store keeps.
    """
    train, validation = sets
    baselines = job.baselines
    with store.bar("baseline") if baselines.opened else nullcontext(silent) as progress:
        known = baselines.evaluated(train, progress)
        chosen = combine(baselines.opened, train, known, job.family, progress)
        below = [] if validation is None else baselines.evaluated(validation, progress)
    if chosen.rows:
        store.put(BASELINES, list(chosen.rows))
        store.say(chosen.said)
    rest = None if validation is None else chosen.subtracted_from(validation, below)
    return chosen.baseline, chosen.subtracted_from(train, known), rest


def _best_on_the_way(found: Choice, way: Dataset) -> Family:
    """Of the candidates with almost the lowest force RMSE the one with the best energies."""
    bound = (1 + LEEWAY) * min(trial.errors[FORCE] for trial in found.trials)
    good = [trial for trial in found.trials if trial.errors[FORCE] <= bound]
    return min(good, key=lambda one: errors(one.potential(way.positions), way)[ENERGY]).family
