"""Which frames and which hyperparameters a training takes: the ways that `Train` offers."""

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
from flexcalc.training.committee import fit_committee
from flexcalc.training.crossvalidation import SPREADS, cross_validate
from flexcalc.training.memory import Memory
from flexcalc.training.reduction import reduce
from flexcalc.training.refinement import refine
from flexcalc.training.selection import choose
from flexcalc.training.tuning import fit_best


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
        facts: what else belongs into its row of results.
        tables: further JSON for the run folder, by name.
    """

    family: Family
    potential: TrainedPotential
    table: list[dict[str, Any]]
    split: Split
    facts: dict[str, Any] = field(default_factory=dict)
    tables: dict[str, Any] = field(default_factory=dict)


def split(data: Dataset, config: Train, rng: np.random.Generator) -> Split:
    """Training points by their selection, validation frames at random from the others.

    Raises:
        InputError: there are not enough frames, or options do not go together.
    """
    data.force_labels()
    _check(config)
    points, validation_points = config.points, config.validation_points
    if config.folds:
        # Each fold's model has as many points as were asked for.
        points, validation_points = -(-points * config.folds // _train_folds(config)), 0
    if points + validation_points > len(data):
        wanted = (
            f"{config.folds} folds of {points // config.folds}"
            if config.folds
            else f"{points} training points and {validation_points} validation points"
        )
        raise InputError(
            f"{data.provenance.source}: {len(data)} frames are too few for {wanted}; "
            "ask for fewer or label more"
        )
    first = points // (config.refine_rounds + 1)
    train = choose(config.selection, data, first, rng)
    others = np.setdiff1d(np.arange(len(data)), train)
    validation = np.sort(rng.permutation(others)[:validation_points])
    return Split(train, validation, np.setdiff1d(others, validation))


def _train_folds(config: Train) -> int:
    return config.train_folds or config.folds - 1


def _check(config: Train) -> None:
    """Refuse options that do not go together, before anything is written."""
    if config.folds == 1:
        raise InputError("folds: expected 0 for none, or at least 2, got 1")
    if config.train_folds is not None and config.train_folds >= max(config.folds, 1):
        raise InputError(
            f"train_folds: expected less than folds = {config.folds}, got {config.train_folds}"
        )
    if config.folds and config.refine_rounds:
        raise InputError(
            "refine_rounds: a cross-validation judges points that are drawn at random, so "
            "points cannot be refined in it; leave out folds or refine_rounds"
        )
    if config.committee > config.points:
        raise InputError(
            f"committee: expected no more members than points = {config.points}, "
            f"got {config.committee}"
        )
    if config.refine_rounds >= config.points:
        raise InputError(
            f"refine_rounds: expected fewer rounds than points = {config.points}, "
            f"got {config.refine_rounds}"
        )


def fit(
    config: Train,
    data: Dataset,
    parts: Split,
    family: Family,
    rng: np.random.Generator,
    progress: Progress,
    memory: Memory,
) -> Fitted:
    """Fit a family on a split in the way the config says: at once, in rounds or in folds.

    Where the family wants it, the model that comes of that is trained again on fewer features.
    A committee is trained with the hyperparameters that all this has found.
    """
    if config.folds:
        fitted = _in_folds(config, data, parts, family, rng, progress, memory)
    elif config.refine_rounds:
        fitted = _in_rounds(config, data, parts, family, rng, progress, memory)
    else:
        train, judged = data[parts.train], data[parts.validation]
        choice = fit_best(family, train, judged, rng, progress, memory)
        fitted = Fitted(choice.family, choice.potential, choice.table, parts)
    fitted = _with_fewer_features(data, fitted, rng, progress, memory)
    if config.committee > 1:
        return _as_committee(config, data, fitted, rng, progress, memory)
    return fitted


def _as_committee(
    config: Train,
    data: Dataset,
    fitted: Fitted,
    rng: np.random.Generator,
    progress: Progress,
    memory: Memory,
) -> Fitted:
    """A committee on the same training points in place of the single model."""
    train, judged = data[fitted.split.train], data[fitted.split.validation]
    found = fit_committee(
        fitted.family, train, judged, config.committee, rng, progress, memory.within("committee")
    )
    announce(found, fitted.potential.facts.get("warnings", ()))
    scale = "force_error_over_deviation"
    told = {key: found.facts[key] for key in (scale,) if key in found.facts}
    single = fitted.potential.facts.get("errors", {}).get("validation", {})
    before = {f"single_{key}": value for key, value in single.items()}
    return replace(
        fitted,
        potential=found,
        facts={**fitted.facts, "committee": config.committee, **told, **before},
    )


def _with_fewer_features(
    data: Dataset, fitted: Fitted, rng: np.random.Generator, progress: Progress, memory: Memory
) -> Fitted:
    """The same with the least important features dropped, if the family has that in mind."""
    family, parts = fitted.family, fitted.split
    if not isinstance(family, ReducingFamily) or not family.reductions():
        return fitted
    train, judged = data[parts.train], data[parts.validation]
    found = reduce(
        family, fitted.potential, train, judged, rng, progress, memory.within("reduction")
    )
    told = fitted.potential.facts.get("warnings", ())
    announce(found.potential, told)
    record = {"tried": found.table, "percentile": found.percentile, "features": found.features}
    kept = sum(row["kept"] for row in found.features)
    return replace(
        fitted,
        family=found.family,
        potential=found.potential,
        facts={**fitted.facts, "kept_features": kept, "all_features": len(found.features)},
        tables={**fitted.tables, "reduction": record},
    )


def _in_folds(
    config: Train,
    data: Dataset,
    parts: Split,
    family: Family,
    rng: np.random.Generator,
    progress: Progress,
    memory: Memory,
) -> Fitted:
    """Cross-validate, and keep the model of the best fold."""
    found = cross_validate(
        family, data[parts.train], config.folds, _train_folds(config), rng, progress, memory
    )
    chosen = found.table[found.index]
    train, test = parts.train[found.train], parts.train[found.test]
    known = {key: name for key, name in SPREADS.items() if key in chosen}
    means = {key.replace("_rmse_", "_rmse_mean_"): chosen[key] for key in known}
    spreads = {name: chosen[name] for name in known.values()}
    return Fitted(
        found.family,
        found.potential,
        found.table,
        Split(train, test, parts.rest),
        {"folds": config.folds, "best_fold": found.best, **means, **spreads},
        {
            "folds": found.folds,
            "trials": found.trials,
            "frames": {"train": train.tolist(), "test": test.tolist()},
        },
    )


def _in_rounds(
    config: Train,
    data: Dataset,
    parts: Split,
    family: Family,
    rng: np.random.Generator,
    progress: Progress,
    memory: Memory,
) -> Fitted:
    """Refine the training points, which may come from all frames but those of validation."""
    pool = np.union1d(parts.train, parts.rest)
    found = refine(
        family,
        data[pool],
        np.searchsorted(pool, parts.train),
        config.points,
        config.refine_rounds,
        data[parts.validation],
        rng,
        progress,
        memory,
        config.refine_by,
    )
    train = pool[found.train]
    record = {"frames": found.frames, "rounds": found.rounds, "train": train.tolist()}
    return Fitted(
        found.choice.family,
        found.choice.potential,
        found.choice.table,
        replace(parts, train=train, rest=np.setdiff1d(pool, train)),
        {"refine_rounds": config.refine_rounds},
        {"refinement": record},
    )


def held_out(parts: Split, fits: Sequence[Fitted]) -> np.ndarray:
    """Frames that took part in no training and no choice, ascending indices."""
    used = [frames for fit in fits for frames in (fit.split.train, fit.split.validation)]
    return np.setdiff1d(parts.rest, np.concatenate(used))
