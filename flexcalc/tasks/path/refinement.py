"""Refinement of a path's model: label where it is worst, retrain it, and search again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from flexcalc import files
from flexcalc.config.paths import PathSearch
from flexcalc.dataset import Dataset, concatenate
from flexcalc.errors import InputError
from flexcalc.models.bonding import with_bonding
from flexcalc.models.family import TrainedPotential
from flexcalc.models.frames import with_frames
from flexcalc.potential import Potential, check_molecule
from flexcalc.registry import load, name_of
from flexcalc.results.path import (
    CONVERGENCE,
    EQUIVALENTS,
    PATH,
    RELABELLED,
    RETRAINED,
    ROUNDS,
    Path,
    round_name,
)
from flexcalc.results.saddle import (
    DESCENT,
    MINIMA,
    MODE,
    RATES,
    SADDLE,
    STATIONARY,
    VIBRATIONS,
)
from flexcalc.storage import JSON
from flexcalc.store import Store
from flexcalc.tasks.molecule import source_of
from flexcalc.tasks.path.job import PathJob
from flexcalc.tasks.provenance import check_same_level
from flexcalc.tasks.retrain import Recipe, recipe
from flexcalc.tasks.tally import Tally
from flexcalc.tasks.train import training_warnings
from flexcalc.training.selection import choose

KEPT = (
    *(PATH, RELABELLED, CONVERGENCE, EQUIVALENTS, SADDLE, DESCENT, MINIMA),
    *(MODE, VIBRATIONS, RATES, STATIONARY),
)
"""What is kept of the last round as that of the run."""

TRAINING = "training.xyz"

Search = Callable[[PathJob, Store], Path]
"""Searches a path and goes through the stages."""


@dataclass(frozen=True, eq=False)
class Refinement:
    """Options of the retraining of a model.

    Args:
        fit: trains as the first model was.
        training: the frames of the first model.
        validation: as many others, for families that stop by them; None where there are none.
    """

    fit: Recipe
    training: Dataset
    validation: Dataset | None


def plan_refinement(options: PathSearch, potential: Potential) -> Refinement:
    """Prepare the refinement that options ask for, before anything is written.

    Where the dataset has more frames than the model was trained on, as many are chosen from it,
    stratified by energy.

    Raises:
        InputError: the reference or the dataset is missing or of another level of theory or
            molecule, or the model cannot be retrained.
    """
    if options.dataset is None or options.relabel is None:
        raise InputError(
            "refine: expected dataset and relabel too, the frames that the model was trained "
            "on and the reference that labelled them"
        )
    fit = recipe(potential, name_of(options.model))
    data, where = files.read(options.dataset), source_of(options.dataset)
    check_molecule(potential.numbers, data.numbers, where)
    check_same_level(data, where, "relabel", options.relabel)
    data.labels()
    facts = potential.facts if isinstance(potential, TrainedPotential) else {}
    points = min(int(facts.get("training_points", len(data))), len(data))
    rng = np.random.default_rng(options.seed)
    chosen = choose("stratified", data, points, rng)
    others = np.setdiff1d(np.arange(len(data)), chosen)
    judged = np.sort(rng.permutation(others)[:points])
    return Refinement(
        fit,
        _labels_alone(data[chosen]),
        _labels_alone(data[judged]) if len(judged) else None,
    )


def refine(job: PathJob, store: Store, plan: Refinement, search: Search) -> Path:
    """Search, add the worst images to the training set, retrain and search, until it holds.

    Each round has a part `round-N` of the store with its model, training set and path;
    `rounds.json` has their results. A run that is resumed goes on in the round it was in.

    Args:
        job: the search of the first round.
        store: keeps the rounds, and the path of the last one as that of the run.
        plan: what the model is retrained with.
        search: what is done in every round.

    Returns:
        The path of the last round.
    """
    options = job.options
    rows: list[dict[str, JSON]] = store.get(ROUNDS) or []
    training, tolerance = plan.training, options.barrier_tolerance_kcal_mol
    for number in range(options.refine + 1):
        inner = store.within(round_name(number))
        if number:
            before = store.within(round_name(number - 1))
            training = concatenate(training, worst_images(before, options.refine_images))
        if number == len(rows):
            current = job if number == 0 else _retrained(job, inner, plan, training, number)
            found = replace(search(current, inner), training_points=len(training))
            rows.append(found.to_dict())
            store.put(ROUNDS, rows)
            store.say(
                f"round {number}: {len(training)} training points, error of the barrier "
                f"{barrier_error(found):+.3f} kcal/mol"
            )
        result = Path.from_dict(rows[number], store)
        if abs(barrier_error(result)) < tolerance:
            break
    for name in KEPT:
        store.copy_from(inner, name)
    error = barrier_error(result)
    holds = abs(error) < tolerance
    if not holds:
        store.say(
            f"the barrier is still off by {error:+.3f} kcal/mol after {number} rounds: run on "
            "with more, or with more refine_images"
        )
    return replace(result, round_count=number, barrier_holds=holds)


def barrier_error(path: Path) -> float:
    """The error of the barrier in kcal/mol: at the saddle where there is one, or the top image."""
    saddle = None if path.saddle is None else path.saddle.barrier_error_kcal_mol
    error = path.barrier_error_kcal_mol if saddle is None else saddle
    if error is None:
        raise ValueError("the path of a round has not been relabelled")
    return error


def worst_images(store: Store, count: int) -> Dataset:
    """The relabelled frames of a round to be trained on, with the reference's labels.

    The reference's highest image and those whose energy above the first is most wrong; and
    saddle and minima, where they were found.
    """
    ours, theirs = store.get(PATH), store.get(RELABELLED)
    (model, _), (reference, _) = ours.labels(), theirs.labels()
    wrong = np.abs((model - model[0]) - (reference - reference[0]))
    wrong[np.argmax(reference)] = np.inf
    chosen = np.sort(np.argsort(-wrong, kind="stable")[:count])
    found = _labels_alone(theirs[chosen])
    stationary = store.get(STATIONARY)
    return found if stationary is None else concatenate(found, _labels_alone(stationary))


def _retrained(
    job: PathJob, store: Store, plan: Refinement, training: Dataset, number: int
) -> PathJob:
    """The search of a round on its model, which is read if it was trained before."""
    name = f"{round_name(number)}/{RETRAINED}"
    place = store.place(RETRAINED)
    if place.exists():
        model: Potential = load(place)
    else:
        store.put(TRAINING, training)
        rng = np.random.default_rng([job.options.seed, number])
        with store.bar(f"train round {number}") as progress, training_warnings(store.warn):
            trained = with_bonding(plan.fit(training, plan.validation, rng, progress), training)
        with_frames(trained, training, plan.validation)
        trained.save(place)
        model = trained
    return replace(job, options=replace(job.options, model=name), potential=model, tally=Tally())


def _labels_alone(data: Dataset) -> Dataset:
    """Numbers, positions and labels without the rest, so that sets can be concatenated."""
    return Dataset(data.numbers, data.positions, *data.labels())
