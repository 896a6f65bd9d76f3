"""Fits with the options of `Train`: splits, folds, refinement, committees, reduction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from flexcalc.config import Train
from flexcalc.dataset import Dataset
from flexcalc.errors import InputError
from flexcalc.models.family import Family, ReducingFamily, TrainedPotential, announce
from flexcalc.progress import Progress
from flexcalc.training.checkpoints import Checkpoints
from flexcalc.training.committee import fit_committee
from flexcalc.training.crossvalidation import SPREADS, cross_validate
from flexcalc.training.reduction import reduce
from flexcalc.training.refinement import Rounds, refine
from flexcalc.training.selection import choose
from flexcalc.training.tuning import ENERGY, FORCE, Trial, fit_best

VALIDATION_POINTS = 200
"""Validation frames by default, where there are as many besides the training points."""

Errors = dict[str, float]
"""Errors on the validation frames by their key in results.json."""


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
    table: list[dict[str, Any]]
    split: Split
    errors: Errors | None
    figures: dict[str, Any] = field(default_factory=dict)
    tables: dict[str, Any] = field(default_factory=dict)


def with_validation_points(options: Train, frames: int) -> Train:
    """The options with the number of validation points, where it was left to the default."""
    if options.validation_points is not None:
        return options
    left = max(0, frames - options.points)
    return replace(options, validation_points=min(VALIDATION_POINTS, left))


def split(data: Dataset, options: Train, rng: np.random.Generator) -> Split:
    """Training points by their selection, validation frames at random from the others.

    Raises:
        InputError: there are not enough frames, or options do not go together.
    """
    data.force_labels()
    _check(options)
    points, validation_points = options.points, options.validation_points or 0
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
    validation = np.sort(rng.permutation(others)[:validation_points])
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
    if options.committee > options.points:
        raise InputError(
            f"committee: expected no more members than points = {options.points}, "
            f"got {options.committee}"
        )
    if options.refine_rounds >= options.points:
        raise InputError(
            f"refine_rounds: expected fewer rounds than points = {options.points}, "
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
        choice = fit_best(self.family, train, validation, self.rng, self.progress, self.checkpoints)
        return Fitted(choice.family, choice.potential, choice.table, self.split, choice.errors)

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
        chosen, best = found.table[found.index], found.folds[found.best]
        train, test = drawn[found.train], drawn[found.test]
        known = {key: name for key, name in SPREADS.items() if key in chosen}
        means = {key.replace("_rmse_", "_rmse_mean_"): chosen[key] for key in known}
        spreads = {name: chosen[name] for name in known.values()}
        return Fitted(
            found.family,
            found.potential,
            found.table,
            Split(train, test, self.split.rest),
            _errors_in(best),
            {"folds": options.folds, "best_fold": found.best, **means, **spreads},
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
            self.data[pool],
            Rounds(first, options.points, options.refine_rounds, options.refine_by),
            self.data[parts.validation],
            self.rng,
            self.progress,
            self.checkpoints,
        )
        train = pool[found.train]
        record = {"frames": found.frames, "rounds": found.rounds, "train": train.tolist()}
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
            Trial(fitted.family, dict(fitted.errors or {}), fitted.potential),
            train,
            validation,
            self.rng,
            self.progress,
            self.checkpoints.within("reduction"),
        )
        announce(found.potential, fitted.potential.facts.get("warnings", ()))
        record = {"tried": found.table, "percentile": found.percentile, "features": found.features}
        counts = {
            "kept_features": sum(row["kept"] for row in found.features),
            "all_features": len(found.features),
        }
        return replace(
            fitted,
            family=found.family,
            potential=found.potential,
            errors=_errors_in(found.row),
            figures={**fitted.figures, **counts},
            tables={**fitted.tables, "reduction": record},
        )

    def _as_committee(self, fitted: Fitted) -> Fitted:
        """A committee on the same training points in place of the single model."""
        found = fit_committee(
            fitted.family,
            self.data[fitted.split.train],
            self.data[fitted.split.validation],
            self.options.committee,
            self.rng,
            self.progress,
            self.checkpoints.within("committee"),
        )
        announce(found, fitted.potential.facts.get("warnings", ()))
        scale = "force_error_over_deviation"
        figures = {key: found.facts[key] for key in (scale,) if key in found.facts}
        single = fitted.potential.facts.get("errors", {}).get("validation", {})
        before = {f"single_{key}": value for key, value in single.items()}
        return replace(
            fitted,
            potential=found,
            errors=found.facts["errors"].get("validation", {}),
            figures={**fitted.figures, "committee": self.options.committee, **figures, **before},
        )


def _errors_in(row: dict[str, Any]) -> Errors:
    return {key: row[key] for key in (FORCE, ENERGY) if key in row}


def held_out(parts: Split, fits: Sequence[Fitted]) -> np.ndarray:
    """Frames used neither for training nor for validation, ascending indices."""
    used = [frames for fit in fits for frames in (fit.split.train, fit.split.validation)]
    return np.setdiff1d(parts.rest, np.concatenate(used))
