"""Retraining a model on other frames, in the way in which it was trained."""

from __future__ import annotations

from collections.abc import Callable

from numpy.random import Generator

from flexcalc.dataset import Dataset
from flexcalc.errors import InputError
from flexcalc.models.committee import Committee
from flexcalc.models.delta import DeltaModel
from flexcalc.models.facts import ModelFacts, baseline_facts
from flexcalc.models.family import Family, TrainedPotential
from flexcalc.potential import Potential
from flexcalc.progress import Progress
from flexcalc.registry import FAMILIES, make_family
from flexcalc.tasks.baseline import Baseline, subtract
from flexcalc.training.calibration import with_domain
from flexcalc.training.committee import fit_committee
from flexcalc.training.tuning import Sets

Recipe = Callable[[Dataset, Dataset | None, Generator, Progress], TrainedPotential]
"""Trains on frames; the validation frames may stop the training, or choose hyperparameters."""


def recipe(potential: Potential, address: str) -> Recipe:
    """How a model of one family, a committee of such models, or either on a baseline was trained.

    Args:
        potential: opened from its folder; hyperparameters are those that it was given.
        address: of the potential, for the error.

    Raises:
        InputError: it was trained in no such way.
    """
    if isinstance(potential, TrainedPotential) and "teacher" in potential.facts:
        raise InputError(
            f"{address} is a student of {potential.facts['teacher']} and cannot be retrained "
            "without it; give its teacher, and train the student again"
        )
    if isinstance(potential, DeltaModel):
        below = Baseline(
            potential.baseline,
            str(potential.facts.get("baseline")),
            baseline_facts(potential.facts),
        )
        return _on(below, recipe(potential.model, address))
    if isinstance(potential, Committee):
        families = [_family(member) for member in potential.members]
        if families[0] is not None and families.count(families[0]) == len(families):
            return _committee(families[0], len(families))
    family = _family(potential)
    if family is None:
        raise InputError(
            f"{address} cannot be retrained; expected the folder of a model of a family "
            f"({', '.join(FAMILIES)}), of a committee of one family, or of either on a baseline"
        )
    return _calibrated(family.fit)


def _calibrated(fit: Recipe) -> Recipe:
    """The same, with the domain of the model."""

    def calibrated(
        train: Dataset, validation: Dataset | None, rng: Generator, progress: Progress
    ) -> TrainedPotential:
        return with_domain(fit(train, validation, rng, progress), train, validation, rng)

    return calibrated


def _family(potential: Potential) -> Family | None:
    """The family of a trained model, with its hyperparameters."""
    facts = potential.facts if isinstance(potential, TrainedPotential) else {}
    if facts.get("family") not in FAMILIES:
        return None
    return make_family(facts["family"], facts["hyperparameters"])


def _committee(family: Family, members: int) -> Recipe:
    def fit(
        train: Dataset, validation: Dataset | None, rng: Generator, progress: Progress
    ) -> TrainedPotential:
        judged = validation if validation is not None else train[:0]
        return fit_committee(family, Sets(train, judged), members, rng, progress)

    return _calibrated(fit)


def _on(baseline: Baseline, above: Recipe) -> Recipe:
    def fit(
        train: Dataset, validation: Dataset | None, rng: Generator, progress: Progress
    ) -> TrainedPotential:
        judged = None
        if validation is not None:
            judged = subtract(validation, baseline, progress=progress)
        model = above(subtract(train, baseline, progress=progress), judged, rng, progress)
        facts: ModelFacts = {
            "training_sha256": train.sha256(),
            "level": train.provenance.level,
            **baseline.facts,
        }
        return DeltaModel(baseline.potential, model, facts)

    return fit
