"""The model of a round: hyperparameters chosen on validation frames, then a committee."""

from __future__ import annotations

from contextlib import nullcontext

import numpy as np
from numpy.random import Generator

from flexcalc.dataset import Dataset, concatenate
from flexcalc.models.bonding import with_bonding
from flexcalc.models.delta import DeltaModel
from flexcalc.models.facts import ModelFacts
from flexcalc.models.family import Family, FoldingFamily, TrainedPotential
from flexcalc.models.frames import with_frames
from flexcalc.potential import Evaluation
from flexcalc.progress import Progress, silent
from flexcalc.results.learning import BASELINES
from flexcalc.store import Store
from flexcalc.tasks.baseline import Baseline, combine
from flexcalc.tasks.learn.job import LearnJob
from flexcalc.tasks.train import training_warnings
from flexcalc.training.calibration import with_domain
from flexcalc.training.checkpoints import Checkpoints
from flexcalc.training.committee import fit_committee
from flexcalc.training.crossvalidation import FOLDS, folds, judge_by_folds, order_of
from flexcalc.training.tuning import Sets, fit_best
from flexcalc.units import KCAL_MOL

SEARCHED = 150
"""Labelled frames, drawn at random, with which hyperparameters are chosen at most: the best ones
hardly depend on their number, and a kernel model takes the third power of it."""
FORCE, ENERGY = "typical_force_error_kcal_mol_A", "typical_energy_error_kcal_mol"
LEEWAY = 0.25
"""Share by which the typical force error may exceed the lowest where energies choose
hyperparameters: the length scale that is best for forces blurs narrow barriers."""


def fit_model(
    job: LearnJob, sets: Sets, store: Store, rng: Generator, family: Family | None = None
) -> tuple[TrainedPotential, Family]:
    """Train a committee, and return it with the family whose hyperparameters it has.

    Args:
        job: of the learning.
        sets: frames to train on, and frames drawn at random from the exploration.
        store: keeps the checkpoints.
        rng: seeds the training.
        family: with hyperparameters already chosen. By default at most `SEARCHED` frames choose
            them: by folds of them all, see `_chosen_by_folds`, or the random ones alone, for a
            family that has to be trained for each fold.
    """
    below, train, validation = _differences(job, sets, store)
    steps = Checkpoints(store.unfinished("training"))
    with store.bar("train") as progress, training_warnings(store.warn):
        if family is None:
            family = _chosen(job, Sets(train, validation), rng, progress, steps.within("search"))
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


def _chosen(
    job: LearnJob, sets: Sets, rng: Generator, progress: Progress, checkpoints: Checkpoints
) -> Family:
    """The candidate with the best hyperparameters, see `fit_model`."""
    family, (train, validation) = job.family, sets
    if len(family.candidates()) == 1:
        return family.candidates()[0]
    if isinstance(family, FoldingFamily) and family.folds_at_once:
        data = train if validation is None else concatenate(train, validation)
        some = data[np.sort(rng.permutation(len(data))[:SEARCHED])]
        found = _chosen_by_folds(family, some, rng, progress, checkpoints)
        if found is not None:
            return found
    some = train[np.sort(rng.permutation(len(train))[:SEARCHED])]
    return fit_best(family, some, validation, rng, progress, checkpoints).family


def _chosen_by_folds(
    family: FoldingFamily,
    data: Dataset,
    rng: Generator,
    progress: Progress,
    checkpoints: Checkpoints,
) -> Family | None:
    """The candidate with the best energies of frames left out, among those with good forces.

    Medians over the frames count: in a root mean square a few high frames would decide, for which
    the smoothest model is best. None where candidates have to be trained for each fold.
    """
    candidates = family.candidates()
    parts = folds(order_of(data), min(FOLDS, len(data)), rng)
    judged = judge_by_folds(family, data, parts, _typical_errors, rng, progress, checkpoints)
    rows: list[dict[str, float]] = []
    for candidate in candidates:
        row = judged(candidate)
        if row is None:
            return None
        rows.append(row)
    bound = (1 + LEEWAY) * min(row[FORCE] for row in rows)
    good = [number for number, row in enumerate(rows) if row[FORCE] <= bound]
    return candidates[min(good, key=lambda number: rows[number][ENERGY])]


def _typical_errors(found: Evaluation, data: Dataset) -> dict[str, float]:
    energies, forces = data.labels()
    return {FORCE: _typical(found.forces, forces), ENERGY: _typical(found.energies, energies)}


def _typical(found: np.ndarray, labels: np.ndarray) -> float:
    """Median over the frames of the errors, of each frame in the root mean square, kcal/mol(/A)."""
    off = (found - labels).reshape(len(labels), -1)
    return float(np.median(np.sqrt((off**2).mean(axis=1)))) / KCAL_MOL
