"""`flexcalc path --refine`: label where the path's model is worst, train anew, search again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from flexcalc import files
from flexcalc.config import PathSearch
from flexcalc.dataset import Dataset, concatenate
from flexcalc.errors import InputError
from flexcalc.models.bonding import with_bonding
from flexcalc.models.family import TrainedPotential
from flexcalc.potential import Potential, check_molecule
from flexcalc.registry import load
from flexcalc.storage import copy_file, read_json, write_json
from flexcalc.training.selection import choose
from flexcalc.workflows.anew import Recipe, recipe
from flexcalc.workflows.fitting import warned
from flexcalc.workflows.path.job import PathJob
from flexcalc.workflows.runs import Run

KEPT = ("path.xyz", "relabelled.xyz", "convergence.csv", "saddle.xyz", "irc.xyz", "minima.xyz")
MORE = ("mode.xyz", "vibrations.json", "rates.csv", "stationary-relabelled.xyz")
"""Files of the last round that become those of the run."""

Searched = Callable[[PathJob, Run], dict[str, Any]]
"""Searches a path in a folder, relabels it, and returns results."""


@dataclass(frozen=True, eq=False)
class Correction:
    """What a model is trained anew with.

    Args:
        fit: trains as the first model was.
        training: the frames of the first model.
        validation: as many others, for families that stop by them; None where there are none.
    """

    fit: Recipe
    training: Dataset
    validation: Dataset | None


def correction(config: PathSearch, potential: Potential) -> Correction:
    """Prepare the refinement that a config asks for, before anything is written.

    Where the dataset has more frames than the model was trained on, as many are chosen from it,
    stratified by energy.

    Raises:
        InputError: the reference or the dataset is missing or of another level of theory or
            molecule, or the model is none that can be trained anew.
    """
    if config.dataset is None or config.relabel is None:
        raise InputError(
            "refine: expected dataset and relabel beside it, the frames that the model was trained "
            "on and the reference that labelled them"
        )
    fit = recipe(potential, config.model)
    data = files.read(config.dataset)
    check_molecule(potential.numbers, data.numbers, str(config.dataset))
    level, wanted = data.provenance.level, config.relabel.split("?")[0]
    if level != "unknown" and level.split("?")[0] != wanted:
        raise InputError(
            f"{config.dataset}: labelled by {level}, not by relabel = {wanted}; labels of two "
            "levels cannot be trained on together"
        )
    data.labels()
    facts = potential.facts if isinstance(potential, TrainedPotential) else {}
    points = min(int(facts.get("training_points", len(data))), len(data))
    rng = np.random.default_rng(config.seed)
    taken = choose("stratified", data, points, rng)
    others = np.setdiff1d(np.arange(len(data)), taken)
    judged = np.sort(rng.permutation(others)[:points])
    return Correction(
        fit,
        _bare(data[taken]),
        _bare(data[judged]) if len(judged) else None,
    )


def corrected_path(job: PathJob, here: Run, plan: Correction, searched: Searched) -> dict[str, Any]:
    """Search, add the worst images to the training set, train and search anew, until it holds.

    Each round has a folder `round-N` with its model, training set and path; `rounds.json` has
    their results. A run that is taken up goes on in the round it was in.

    Args:
        searched: what is done in every round.

    Returns:
        The results of the last round.
    """
    config, record = job.config, here.folder / "rounds.json"
    rows: list[dict[str, Any]] = read_json(record) if record.exists() else []
    training = plan.training
    for number in range(config.refine + 1):
        inner = replace(here, folder=here.folder / f"round-{number}")
        inner.folder.mkdir(exist_ok=True)
        if number:
            added = worst_images(here.folder / f"round-{number - 1}", config.refine_images)
            training = concatenate(training, added)
        if number == len(rows):
            current = job
            if number:
                model = _trained(config, inner, plan, training, number)
                settings = replace(config, model=f"round-{number}/model.flex")
                current = replace(job, config=settings, potential=model)
            found = searched(current, inner)
            rows.append({"training_points": len(training), **found})
            write_json(record, rows)
            here.say(
                f"round {number}: {len(training)} training points, error of the barrier "
                f"{barrier_error(found):+.3f} kcal/mol"
            )
        if abs(barrier_error(rows[number])) < config.barrier_tolerance_kcal_mol:
            break
    for name in (*KEPT, *MORE):
        (here.folder / name).unlink(missing_ok=True)
        if (inner.folder / name).exists():
            copy_file(inner.folder / name, here.folder / name)
    error = barrier_error(rows[number])
    held = abs(error) < config.barrier_tolerance_kcal_mol
    if not held:
        here.say(
            f"the barrier is still off by {error:+.3f} kcal/mol after {number} rounds: run on "
            "with more, or with more refine_images"
        )
    return {**rows[number], "rounds": number, "barrier_holds": held}


def barrier_error(results: dict[str, Any]) -> float:
    """The error of the barrier in kcal/mol: at the saddle where there is one, or the top image."""
    top = results["barrier_error_kcal_mol"]
    return float(results.get("barrier_saddle_error_kcal_mol", top))


def worst_images(folder: Path, count: int) -> Dataset:
    """The relabelled frames of a round to be trained on, with the reference's labels.

    The reference's highest image and those whose energy above the first is most wrong; and
    saddle and minima, where they were found.
    """
    ours, theirs = (files.read(folder / name) for name in ("path.xyz", "relabelled.xyz"))
    (model, _), (reference, _) = ours.labels(), theirs.labels()
    wrong = np.abs((model - model[0]) - (reference - reference[0]))
    wrong[np.argmax(reference)] = np.inf
    taken = np.sort(np.argsort(-wrong, kind="stable")[:count])
    found = _bare(theirs[taken])
    if (folder / "stationary-relabelled.xyz").exists():
        found = concatenate(found, _bare(files.read(folder / "stationary-relabelled.xyz")))
    return found


def _trained(
    config: PathSearch, inner: Run, plan: Correction, training: Dataset, number: int
) -> Potential:
    """The model of a round, from its folder if it was trained before."""
    place = inner.folder / "model.flex"
    if place.exists():
        return load(str(place))
    files.write(inner.folder / "training.xyz", training)
    rng = np.random.default_rng([config.seed, number])
    with inner.bar(f"train round {number}") as progress, warned(inner):
        model = with_bonding(plan.fit(training, plan.validation, rng, progress), training)
    model.save(place)
    return model


def _bare(data: Dataset) -> Dataset:
    """Numbers, positions and labels alone: sets of different origin are to be joined."""
    return Dataset(data.numbers, data.positions, *data.labels())
