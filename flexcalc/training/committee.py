"""Training a committee: models that differ in the points they have not seen."""

from __future__ import annotations

import warnings

import numpy as np
from numpy.random import Generator

from flexcalc.errors import InputError
from flexcalc.models.committee import Committee
from flexcalc.models.facts import ModelFacts
from flexcalc.models.family import Family, TrainedPotential, TrainingWarning, errors
from flexcalc.progress import Progress, part, silent
from flexcalc.training.checkpoints import NO_CHECKPOINTS, Checkpoints
from flexcalc.training.crossvalidation import folds, order_of
from flexcalc.training.tuning import Sets


def fit_committee(
    family: Family,
    sets: Sets,
    members: int,
    rng: Generator,
    progress: Progress = silent,
    checkpoints: Checkpoints = NO_CHECKPOINTS,
) -> Committee:
    """Train a family several times, each time on all but a different part of the training points.

    The points are divided into as many parts as there are members, each with the distribution of
    energies, and member k is trained on all parts but the k-th, from a seed of its own. So every
    point is seen by all members but one, the members are exchangeable, families without any
    randomness make a committee too, and there is no share to be chosen.

    Source: subsampling without replacement, as in Schran, Brezina, Marsalek, J. Chem. Phys. 153,
    104105 (2020), doi:10.1063/5.0016004; in the form of the delete-a-group jackknife.

    Args:
        family: with all hyperparameters set.
        sets: the training points, and further frames that a family may use; also those that the
            spread is compared with the errors on.
        members: at least two.
        rng: divides the points and seeds the training.
        progress: told the steps of all members.
        checkpoints: what an earlier call with the same arguments had finished.

    Raises:
        InputError: fewer points than members, or fewer than two members.
    """
    train, validation = sets
    if not 2 <= members <= len(train):
        raise InputError(
            f"committee: expected from 2 to {len(train)} members, the training points there are, "
            f"got {members}"
        )
    seed = int(rng.integers(2**62))
    parts = folds(order_of(train), members, np.random.default_rng(seed))
    trained = []
    for number, left_out in enumerate(parts):
        step = f"member-{number}"
        if checkpoints.load(step) is None:
            seen = train[np.setdiff1d(np.arange(len(train)), left_out)]
            own = np.random.default_rng([seed, number])
            with warnings.catch_warnings():
                # Warnings are given once for all members, by whoever announces the committee.
                warnings.simplefilter("ignore", TrainingWarning)
                trained.append(family.fit(seen, validation, own, part(number, members, progress)))
            checkpoints.save(step, {"points": len(seen)}, trained[-1])
        else:
            trained.append(checkpoints.load_potential(step, family))
    return _described(trained, family, sets)


def _described(trained: list[TrainedPotential], family: Family, sets: Sets) -> Committee:
    """The committee of the members, with its facts."""
    train, validation = sets
    first = trained[0].facts
    notes = [note for member in trained for note in member.facts.get("warnings", ())]
    facts: ModelFacts = {
        "hyperparameters": {
            **first.get("hyperparameters", {}),
            "members": len(trained),
            "of": family.name,
        },
        "training_sha256": train.sha256(),
        "training_points": len(train),
        "warnings": list(dict.fromkeys(notes)),
    }
    facts |= _in_common([member.facts for member in trained])
    committee = Committee(trained, facts)
    judged = {"training": train, **({"validation": validation} if validation else {})}
    found = {name: committee(frames.positions) for name, frames in judged.items()}
    committee.facts["errors"] = {name: errors(found[name], judged[name]) for name in judged}
    if validation:
        off = found["validation"].forces - validation.force_labels()
        error = np.mean(np.sum(off**2, axis=2))
        spread = np.mean(np.square(np.asarray(found["validation"].deviation)))
        committee.facts["force_error_over_deviation"] = float(np.sqrt(error / max(spread, 1e-30)))
    return committee


def _in_common(members: list[ModelFacts]) -> ModelFacts:
    """Facts of the members that hold for the committee where all members have the same."""
    first, found = members[0], ModelFacts()
    if "level" in first and all(one.get("level") == first["level"] for one in members):
        found["level"] = first["level"]
    if "permutations" in first and all(
        one.get("permutations") == first["permutations"] for one in members
    ):
        found["permutations"] = first["permutations"]
    if "features" in first and all(one.get("features") == first["features"] for one in members):
        found["features"] = first["features"]
    return found
