"""Training of a committee: each model leaves out a different part of the points."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.random import Generator

from flexcalc.dataset import Dataset
from flexcalc.errors import InputError
from flexcalc.models.committee import Committee
from flexcalc.models.family import Family, TrainedPotential, TrainingWarning, errors
from flexcalc.progress import Progress, part, silent
from flexcalc.training.checkpoints import NO_CHECKPOINTS, Checkpoints
from flexcalc.training.crossvalidation import folds, order_of

OF_MEMBERS = ("level", "permutations", "features")
"""Facts of a member that hold for the committee where all members have the same."""


def fit_committee(
    family: Family,
    train: Dataset,
    validation: Dataset,
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
        train: the training points.
        validation: further frames that a family may use; also those that the spread is compared
            with the errors on.
        members: at least two.
        rng: divides the points and seeds the training.
        progress: called with the steps of all members.
        checkpoints: what an earlier call with the same arguments had finished.

    Raises:
        InputError: fewer points than members, or fewer than two members.
    """
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
    return _described(trained, family, train, validation)


def _described(
    trained: list[TrainedPotential], family: Family, train: Dataset, validation: Dataset
) -> Committee:
    """The committee of the members, with its facts."""
    first = trained[0].facts
    notes = [note for member in trained for note in member.facts.get("warnings", ())]
    facts: dict[str, Any] = {
        "hyperparameters": {
            **first.get("hyperparameters", {}),
            "members": len(trained),
            "of": family.name,
        },
        "training_sha256": train.sha256(),
        "training_points": len(train),
        "warnings": list(dict.fromkeys(notes)),
    }
    for key in OF_MEMBERS:
        if key in first and all(member.facts.get(key) == first[key] for member in trained):
            facts[key] = first[key]
    committee = Committee(trained, facts)
    sets = {"training": train, **({"validation": validation} if len(validation) else {})}
    found = {name: committee(frames.positions) for name, frames in sets.items()}
    committee.facts["errors"] = {name: errors(found[name], sets[name]) for name in sets}
    if len(validation):
        off = found["validation"].forces - validation.force_labels()
        error = np.mean(np.sum(off**2, axis=2))
        spread = np.mean(np.square(np.asarray(found["validation"].deviation)))
        committee.facts["force_error_over_deviation"] = float(np.sqrt(error / max(spread, 1e-30)))
    return committee
