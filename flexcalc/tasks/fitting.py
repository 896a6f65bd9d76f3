"""Fits with the options of `Train`: splits, folds, refinement, committees, reduction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TypedDict

import numpy as np

from flexcalc.config.train import USUAL_POINTS, Train
from flexcalc.dataset import Dataset
from flexcalc.errors import InputError
from flexcalc.geometry.fingerprint import first_repeated
from flexcalc.models.facts import ErrorRow, FeatureRow, Row, errors_in
from flexcalc.models.family import (
    Family,
    FoldingFamily,
    ReducingFamily,
    TrainedPotential,
    announce,
    settled,
)
from flexcalc.progress import Progress
from flexcalc.training.checkpoints import Checkpoints
from flexcalc.training.committee import fit_committee
from flexcalc.training.crossvalidation import FoldRow, cross_validate, fit_by_folds
from flexcalc.training.reduction import ReducedRow, reduce
from flexcalc.training.refinement import RoundRow, Rounds, refine
from flexcalc.training.selection import choose
from flexcalc.training.tuning import ENERGY, FORCE, Sets, Trial, fit_best

VALIDATION_POINTS = 200
"""Validation frames by default, where there are as many besides the training points; see
`with_sizes`."""

SMALL = 200
"""Frames of a dataset up to which all of them are training points by default, and folds of them
choose the hyperparameters."""


class FoldFrames(TypedDict):
    """frames.json: indices in the dataset of the frames of the best fold."""

    train: list[int]
    test: list[int]


class RefinementRecord(TypedDict):
    """refinement.json."""

    frames: list[int]
    """Frames of each cluster that points may come from."""
    rounds: list[RoundRow]
    train: list[int]
    """Indices in the dataset of the training points."""


class ReductionRecord(TypedDict):
    """reduction.json."""

    tried: list[ReducedRow]
    percentile: float
    """Percentage of the features that was to be dropped."""
    features: list[FeatureRow]


class Tables(TypedDict, total=False):
    """Further files of a training, by the stem of their names."""

    folds: list[FoldRow]
    trials: list[list[FoldRow]]
    frames: FoldFrames
    refinement: RefinementRecord
    reduction: ReductionRecord
    baselines: Sequence[Row]


class FittedFigures(TypedDict, total=False):
    """Figures of the way in which a family was fitted; see `TrainedModel`."""

    refine_rounds: int
    folds: int
    best_fold: int
    tuning_folds: int
    force_rmse_mean_kcal_mol_A: float
    energy_rmse_mean_kcal_mol: float
    force_rmse_spread_kcal_mol_A: float
    energy_rmse_spread_kcal_mol: float
    kept_features: int
    all_features: int
    committee: int
    force_error_over_deviation: float
    single_force_rmse_kcal_mol_A: float
    single_energy_rmse_kcal_mol: float
    baseline: str
    teacher: str
    teacher_labels: int
    teacher_force_rmse_kcal_mol_A: float


@dataclass(frozen=True, eq=False)
class Split:
    """Frames of a dataset by their use; indices (frames,), ascending and disjoint.

    Before a cross-validation all its frames are in `train`; before a refinement only the first
    points are.
    """

    train: np.ndarray
    validation: np.ndarray
    rest: np.ndarray


@dataclass(frozen=True, eq=False)
class Fitted:
    """A family that was fitted.

    Args:
        family: the hyperparameters that were chosen.
        potential: trained with them.
        table: a row for each candidate.
        split: the frames that this very potential was trained and judged on.
        errors: of this very potential on the validation frames; empty without any, None where
            they are not known.
        figures: further figures of its results.
        tables: further JSON for the run folder, by name.
    """

    family: Family
    potential: TrainedPotential
    table: list[Row]
    split: Split
    errors: ErrorRow | None
    figures: FittedFigures = field(default_factory=FittedFigures)
    tables: Tables = field(default_factory=Tables)


def with_sizes(options: Train, frames: int) -> Train:
    """The options with numbers for the points and validation frames that were left to the default,
    and with the hyperparameters of the families that follow from them.

    Where frames are too few for the usual numbers, half of them are training points and a quarter
    validates, so that some are left to test the model on. Of a small dataset all are training
    points where folds of them can choose the hyperparameters quickly. In a cross-validation each
    model has all frames but those that it is judged by.

    Args:
        options: of the training.
        frames: number of frames in the dataset.
    """
    if _is_small(options, frames):
        return _settled(replace(options, points=frames, validation_points=0))
    few = options.points is None and frames < USUAL_POINTS + VALIDATION_POINTS
    share = frames * _train_folds(options) // options.folds if options.folds > 1 else frames // 2
    points = options.training_points
    if few:
        points = max(1, min(USUAL_POINTS, share))
    validation = options.validation_points
    if validation is None:
        left = max(0, frames - points)
        validation = min(VALIDATION_POINTS, frames // 4 if few else left, left)
    return _settled(replace(options, points=points, validation_points=validation))


def _settled(options: Train) -> Train:
    """The options with families for that number of points; a teacher gives a student more."""
    if options.teacher is not None:
        return options
    points = options.training_points
    return replace(options, family=tuple(settled(one, points) for one in options.family))


def _is_small(options: Train, frames: int) -> bool:
    """Whether all frames are training points by default: they are few, and folds can choose."""
    sizes = (options.points, options.validation_points)
    if frames > SMALL or sizes != (None, None) or options.folds or options.refine_rounds:
        return False
    return all(map(_folds_at_once, options.family))


def _folds_at_once(family: Family) -> bool:
    """Whether folds tell all that validation frames would, without training for each fold."""
    reduces = isinstance(family, ReducingFamily) and bool(family.reductions())
    return isinstance(family, FoldingFamily) and family.folds_at_once and not reduces


def said_sizes(asked: Train, chosen: Train, frames: int) -> str | None:
    """A line about the numbers that follow from few frames; None if the usual ones were taken.

    Args:
        asked: options as they were given.
        chosen: those of `with_sizes`.
        frames: number of frames in the dataset.
    """
    if asked.points is not None or frames >= USUAL_POINTS + VALIDATION_POINTS:
        return None
    points, validation = chosen.training_points, chosen.validation_points or 0
    if not chosen.folds and not validation:
        parts = f"{points} training points, whose folds choose the hyperparameters"
    elif chosen.folds:
        parts = f"{points} training points for each model of {chosen.folds} folds"
    else:
        held_out = frames - points - validation
        parts = f"{points} training points, {validation} validation frames, {held_out} held out"
    return f"{frames} frames: {parts} (points and validation_points set other numbers)"


def split(data: Dataset, options: Train, rng: np.random.Generator) -> Split:
    """Training points by their selection, validation frames at random from the others.

    Raises:
        InputError: there are not enough frames, or options do not go together.
    """
    data.force_labels()
    _check(options)
    points, validation_points = options.training_points, options.validation_points or 0
    if options.folds:
        # Each fold's model has as many points as were asked for.
        points, validation_points = -(-points * options.folds // _train_folds(options)), 0
    if points + validation_points > len(data):
        wanted = (
            f"{options.folds} folds of {points // options.folds}"
            if options.folds
            else f"{points} training points and {validation_points} validation points"
        )
        raise InputError(
            f"{data.provenance.source}: {len(data)} frames are too few for {wanted}; "
            "ask for fewer or label more"
        )
    first = points // (options.refine_rounds + 1)
    train = choose(options.selection, data, first, rng)
    others = np.setdiff1d(np.arange(len(data)), train)
    drawn = rng.permutation(others)
    # Geometries that repeat a training point come last, so that they judge only if they must.
    alike = first_repeated(data.numbers, data.positions)
    drawn = drawn[np.argsort(np.isin(alike[drawn], alike[train]), kind="stable")]
    validation = np.sort(drawn[:validation_points])
    return Split(train, validation, np.setdiff1d(others, validation))


def _train_folds(options: Train) -> int:
    return options.train_folds or options.folds - 1


def _check(options: Train) -> None:
    """Refuse incompatible options, before anything is written."""
    if options.folds == 1:
        raise InputError("folds: expected 0 for none, or at least 2, got 1")
    if options.train_folds is not None and options.train_folds >= max(options.folds, 1):
        raise InputError(
            f"train_folds: expected less than folds = {options.folds}, got {options.train_folds}"
        )
    if options.folds and options.refine_rounds:
        raise InputError(
            "refine_rounds: a cross-validation judges points that are drawn at random, so "
            "points cannot be refined in it; leave out folds or refine_rounds"
        )
    if options.committee > options.training_points:
        raise InputError(
            f"committee: expected no more members than points = {options.training_points}, "
            f"got {options.committee}"
        )
    if options.refine_rounds >= options.training_points:
        raise InputError(
            f"refine_rounds: expected fewer rounds than points = {options.training_points}, "
            f"got {options.refine_rounds}"
        )


@dataclass(frozen=True, eq=False)
class Fit:
    """One family to be fitted on one split.

    Args:
        options: say in which way: at once, in rounds or in folds.
        data: the dataset.
        split: indices into it.
        family: with the hyperparameters that are set.
        rng: seeds the training.
        progress: called with the steps.
        checkpoints: what an earlier fit with the same arguments had finished.
    """

    options: Train
    data: Dataset
    split: Split
    family: Family
    rng: np.random.Generator
    progress: Progress
    checkpoints: Checkpoints

    def run(self) -> Fitted:
        """Fit the family.

        Where the family wants it, the model is trained again on fewer features. A committee is
        trained with the hyperparameters that were found.
        """
        if self.options.folds:
            fitted = self._in_folds()
        elif self.options.refine_rounds:
            fitted = self._in_rounds()
        else:
            fitted = self._at_once()
        fitted = self._with_fewer_features(fitted)
        return self._as_committee(fitted) if self.options.committee > 1 else fitted

    def _at_once(self) -> Fitted:
        train, validation = self.data[self.split.train], self.data[self.split.validation]
        if not len(validation) and self._can_be_judged_by_folds(train):
            return self._chosen_by_folds(train)
        choice = fit_best(self.family, train, validation, self.rng, self.progress, self.checkpoints)
        return Fitted(choice.family, choice.potential, choice.table, self.split, choice.errors)

    def _can_be_judged_by_folds(self, train: Dataset) -> bool:
        """Whether to ask folds: where there is a choice, or where they tell errors quickly."""
        quick = len(train) <= SMALL and _folds_at_once(self.family)
        return len(train) > 1 and (quick or len(self.family.candidates()) > 1)

    def _chosen_by_folds(self, train: Dataset) -> Fitted:
        """Choose hyperparameters by folds of the training points, and train on all of them."""
        choice = fit_by_folds(self.family, train, self.rng, self.progress, self.checkpoints)
        figures: FittedFigures = {
            "tuning_folds": choice.count,
            "force_rmse_mean_kcal_mol_A": choice.errors[FORCE],
        }
        if ENERGY in choice.errors:
            figures["energy_rmse_mean_kcal_mol"] = choice.errors[ENERGY]
        return Fitted(choice.family, choice.potential, choice.table, self.split, {}, figures)

    def _in_folds(self) -> Fitted:
        """Cross-validate, and keep the model of the best fold."""
        drawn, options = self.split.train, self.options
        found = cross_validate(
            self.family,
            self.data[drawn],
            (options.folds, _train_folds(options)),
            self.rng,
            self.progress,
            self.checkpoints,
        )
        train, test = drawn[found.train], drawn[found.test]
        figures: FittedFigures = {
            "folds": options.folds,
            "best_fold": found.best,
            "force_rmse_mean_kcal_mol_A": found.means[FORCE],
            **found.spreads,
        }
        if ENERGY in found.means:
            figures["energy_rmse_mean_kcal_mol"] = found.means[ENERGY]
        return Fitted(
            found.family,
            found.potential,
            found.table,
            Split(train, test, self.split.rest),
            errors_in(found.folds[found.best]),
            figures,
            {
                "folds": found.folds,
                "trials": found.trials,
                "frames": {"train": train.tolist(), "test": test.tolist()},
            },
        )

    def _in_rounds(self) -> Fitted:
        """Refine the training points, which may come from all frames but those of validation."""
        parts, options = self.split, self.options
        pool = np.union1d(parts.train, parts.rest)
        first = np.searchsorted(pool, parts.train)
        found = refine(
            self.family,
            Sets(self.data[pool], self.data[parts.validation]),
            Rounds(first, options.training_points, options.refine_rounds, options.refine_by),
            self.rng,
            self.progress,
            self.checkpoints,
        )
        train = pool[found.train]
        record: RefinementRecord = {
            "frames": found.frames,
            "rounds": found.rounds,
            "train": train.tolist(),
        }
        return Fitted(
            found.choice.family,
            found.choice.potential,
            found.choice.table,
            replace(parts, train=train, rest=np.setdiff1d(pool, train)),
            found.choice.errors,
            {"refine_rounds": options.refine_rounds},
            {"refinement": record},
        )

    def _with_fewer_features(self, fitted: Fitted) -> Fitted:
        """The same without the least important features, if the family has that in mind."""
        family = fitted.family
        if not isinstance(family, ReducingFamily) or not family.reductions():
            return fitted
        train, validation = self.data[fitted.split.train], self.data[fitted.split.validation]
        found = reduce(
            Trial(fitted.family, {}, fitted.errors or {}, fitted.potential),
            train,
            validation,
            self.rng,
            self.progress,
            self.checkpoints.within("reduction"),
        )
        announce(found.potential, fitted.potential.facts.get("warnings", ()))
        record: ReductionRecord = {
            "tried": found.table,
            "percentile": found.percentile,
            "features": found.features,
        }
        counts: FittedFigures = {
            "kept_features": sum(row["kept"] for row in found.features),
            "all_features": len(found.features),
        }
        return replace(
            fitted,
            family=found.family,
            potential=found.potential,
            errors=found.errors,
            figures={**fitted.figures, **counts},
            tables={**fitted.tables, "reduction": record},
        )

    def _as_committee(self, fitted: Fitted) -> Fitted:
        """A committee on the same training points in place of the single model."""
        found = fit_committee(
            fitted.family,
            Sets(self.data[fitted.split.train], self.data[fitted.split.validation]),
            self.options.committee,
            self.rng,
            self.progress,
            self.checkpoints.within("committee"),
        )
        announce(found, fitted.potential.facts.get("warnings", ()))
        figures: FittedFigures = {**fitted.figures, "committee": self.options.committee}
        if "force_error_over_deviation" in found.facts:
            figures["force_error_over_deviation"] = found.facts["force_error_over_deviation"]
        single = fitted.potential.facts.get("errors", {}).get("validation", {})
        if FORCE in single:
            figures["single_force_rmse_kcal_mol_A"] = single[FORCE]
        if ENERGY in single:
            figures["single_energy_rmse_kcal_mol"] = single[ENERGY]
        return replace(
            fitted,
            potential=found,
            errors=found.facts["errors"].get("validation", {}),
            figures=figures,
        )


def held_out(parts: Split, fits: Sequence[Fitted]) -> np.ndarray:
    """Frames used neither for training nor for validation, ascending indices."""
    used = [frames for fit in fits for frames in (fit.split.train, fit.split.validation)]
    return np.setdiff1d(parts.rest, np.concatenate(used))
