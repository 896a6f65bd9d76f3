"""Delta learning: the energies and forces of a baseline subtracted, and added to the model.

Of several baselines it is a weighted sum, whose weights folds of the training points choose.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypedDict, cast

import numpy as np

from flexcalc.config.options import placed
from flexcalc.dataset import Dataset
from flexcalc.fields import PotentialLike
from flexcalc.models.bonding import with_bonding
from flexcalc.models.delta import DeltaModel
from flexcalc.models.facts import BaselineFacts, BaselineTerm, ModelFacts
from flexcalc.models.family import Family, FoldingFamily, SharingFamily, TrainedPotential
from flexcalc.potential import Evaluation, Potential, WeightedSum, concatenate
from flexcalc.progress import Progress, silent
from flexcalc.progress import part as share
from flexcalc.registry import content_sha256, make_family, name_of, open_potential
from flexcalc.tasks.fitting import Fitted, Split, Tables
from flexcalc.training.calibration import with_domain
from flexcalc.training.checkpoints import NO_CHECKPOINTS, Checkpoints
from flexcalc.training.weights import Weights, choose_weights

CHUNK = 64
"""Frames of a baseline that are evaluated at once, and kept as one step."""

WEIGHTS_SEED = 0
"""Seed of the folds that choose weights, which do not depend on what else is drawn."""


@dataclass(frozen=True, eq=False)
class Baseline:
    """A potential whose energies and forces are subtracted from the labels.

    Args:
        potential: of the molecule.
        name: its address, or the class of an object.
        facts: `baseline`, its address, and `baseline_sha256` where that names a file.
    """

    potential: Potential
    name: str
    facts: BaselineFacts


class WeightRow(TypedDict):
    """A row of baselines.json, for each of several baselines."""

    baseline: str
    weight: float
    force_rmse_kcal_mol_A: float
    """Of a model on this baseline alone, in the folds that chose the weights."""


@dataclass(frozen=True, eq=False)
class Combined:
    """Any number of baselines with their weights.

    Args:
        baseline: their weighted sum; None where no weight is above zero.
        weights: (baselines,), 0 for those that do not help.
        rows: for each of several baselines.
        said: a line about the weights; empty where there is one baseline, or none.
    """

    baseline: Baseline | None
    weights: np.ndarray
    rows: Sequence[WeightRow] = ()
    said: str = ""

    def subtracted_from(self, data: Dataset, evaluations: Sequence[Evaluation]) -> Dataset:
        """The dataset with their weighted sum subtracted.

        Args:
            data: with its own labels.
            evaluations: of each baseline at its geometries.
        """
        if self.baseline is None:
            return data
        kept = np.flatnonzero(self.weights)
        total = Evaluation(
            np.sum([self.weights[index] * evaluations[index].energies for index in kept], axis=0),
            np.sum([self.weights[index] * evaluations[index].forces for index in kept], axis=0),
        )
        return _less(data, total, self.baseline)


@dataclass(frozen=True, eq=False)
class Differences:
    """Training data: labels minus the baseline's, for the frames that are needed.

    Args:
        data: those frames.
        split: indices into them.
        frames: (needed,) ascending indices of those frames in the complete dataset.
        baseline: what was subtracted, or None.
        weights: a row for each of several baselines.
        said: a line about the weights; empty where there is one baseline, or none.
        complete: the complete dataset, with its own labels.
    """

    data: Dataset
    split: Split
    frames: np.ndarray
    baseline: Baseline | None
    complete: Dataset
    weights: Sequence[WeightRow] = ()
    said: str = ""

    def labels(self, frames: np.ndarray) -> Dataset:
        """The differences of some frames, given by their indices in the complete dataset."""
        return self.data[np.searchsorted(self.frames, frames)]

    @property
    def drawn(self) -> np.ndarray:
        """Indices in the complete dataset of the frames drawn for training and validation."""
        return self.frames[np.union1d(self.split.train, self.split.validation)]

    @property
    def seen(self) -> tuple[np.ndarray, np.ndarray] | None:
        """Fingerprints of frames that what labelled further ones was trained and validated on."""
        return None

    def calibrated(self, fitted: Fitted, rng: np.random.Generator) -> None:
        """Store with a model where its errors are known, by its validation frames."""
        train, judged = self.data[fitted.split.train], self.data[fitted.split.validation]
        with_domain(fitted.potential, train, judged, rng)

    def restored(self, fitted: Fitted) -> Fitted:
        """With indices into the complete dataset, and the baseline added to the model.

        The model keeps how its training frames are bonded.
        """
        tables = {"baselines": list(self.weights)} if self.weights else {}
        fitted = replace(fitted, tables=cast(Tables, {**fitted.tables, **tables}))
        if self.baseline is None:
            with_bonding(fitted.potential, self.complete[fitted.split.train])
            return fitted
        train, validation = (
            self.frames[part] for part in (fitted.split.train, fitted.split.validation)
        )
        rest = np.setdiff1d(np.arange(len(self.complete)), np.union1d(train, validation))
        facts: ModelFacts = {
            "training_sha256": self.complete[train].sha256(),
            "level": self.complete.provenance.level,
            **self.baseline.facts,
        }
        model: TrainedPotential = DeltaModel(self.baseline.potential, fitted.potential, facts)
        with_bonding(model, self.complete[train])
        return replace(
            fitted,
            potential=model,
            split=Split(train, validation, rest),
            errors=None,
            figures={**fitted.figures, "baseline": self.baseline.name},
        )


def open_baselines(
    baselines: Sequence[PotentialLike] | PotentialLike | None, numbers: np.ndarray, trust: bool
) -> list[Baseline]:
    """Open any number of baselines.

    Raises:
        InputError: one cannot be opened.
    """
    if baselines is None or not isinstance(baselines, list | tuple):
        baselines = [] if baselines is None else [baselines]
    opened = (open_baseline(one, numbers, trust) for one in baselines)
    return [one for one in opened if one is not None]


def open_baseline(
    baseline: PotentialLike | None, numbers: np.ndarray, trust: bool
) -> Baseline | None:
    """Open a baseline, if there is one.

    Raises:
        InputError: it cannot be opened.
    """
    if baseline is None:
        return None
    if not isinstance(baseline, str):
        opened = open_potential(baseline, numbers, trust=trust)
        return Baseline(opened, name_of(baseline), {"baseline": None})
    baseline = placed(baseline, Path.cwd())
    facts: BaselineFacts = {"baseline": baseline}
    digest = content_sha256(baseline)
    if digest is not None:
        facts["baseline_sha256"] = digest
    return Baseline(
        open_potential(baseline, numbers, trust=trust),
        baseline,
        facts,
    )


def needed_frames(parts: Split, everything: bool) -> np.ndarray:
    """Frames whose labels a training may need, ascending.

    Args:
        parts: indices into the dataset.
        everything: whether training points may come from all frames.
    """
    if everything:
        return np.union1d(np.union1d(parts.train, parts.validation), parts.rest)
    return np.union1d(parts.train, parts.validation)


def differences(
    data: Dataset,
    parts: Split,
    needed: np.ndarray,
    baselines: Sequence[Baseline],
    family: Family,
    checkpoints: Checkpoints = NO_CHECKPOINTS,
    progress: Progress = silent,
) -> Differences:
    """Subtract the baseline from the labels of the frames that are needed.

    Args:
        data: the dataset with its own labels.
        parts: indices into it.
        needed: frames, ascending; see `needed_frames`.
        baselines: evaluated in chunks, if there are any.
        family: whose models choose the weights of several, if it is one of kernels; else sGDML.
        checkpoints: what an earlier call had finished of that.
        progress: called with the number of frames.

    Raises:
        LabelError: the baseline cannot be computed for a frame.
    """
    if not baselines:
        return Differences(data, parts, np.arange(len(data)), None, data)
    inner = [
        np.searchsorted(needed, np.intersect1d(part, needed))
        for part in (parts.train, parts.validation, parts.rest)
    ]
    frames = data[needed]
    found = []
    for index, one in enumerate(baselines):
        several = len(baselines) > 1
        steps = checkpoints.within(str(index)) if several else checkpoints
        found.append(evaluated(frames, one, steps, share(index, len(baselines), progress)))
    train = inner[0]
    labels = [Evaluation(one.energies[train], one.forces[train]) for one in found]
    chosen = combine(baselines, frames[train], labels, family, progress)
    told = chosen.rows, chosen.said
    if chosen.baseline is None:
        return Differences(data, parts, np.arange(len(data)), None, data, *told)
    rest = chosen.subtracted_from(frames, found)
    return Differences(rest, Split(*inner), needed, chosen.baseline, data, *told)


def combine(
    baselines: Sequence[Baseline],
    train: Dataset,
    evaluations: Sequence[Evaluation],
    family: Family,
    progress: Progress = silent,
) -> Combined:
    """Find the weights of several baselines; that of a single one is 1.

    Args:
        baselines: any number of them.
        train: training points with their own labels, whose folds choose the weights.
        evaluations: of each baseline for them.
        family: whose models choose the weights, if it is one of kernels; else sGDML.
        progress: called with the steps.

    Raises:
        InputError: several baselines, and fewer than two points or more than fit into memory.
    """
    if len(baselines) < 2:
        return Combined(baselines[0] if baselines else None, np.ones(len(baselines)))
    rng = np.random.default_rng(WEIGHTS_SEED)
    weights = choose_weights(_of_kernels(family), train, evaluations, rng, progress)
    rows = [
        WeightRow(baseline=one.name, weight=float(weight), force_rmse_kcal_mol_A=alone)
        for one, weight, alone in zip(baselines, weights.values, weights.alone, strict=True)
    ]
    kept = np.flatnonzero(weights.values)
    both = _weighted([baselines[index] for index in kept], weights.values[kept])
    return Combined(both, weights.values, rows, _said(both, rows, weights))


def _of_kernels(family: Family) -> SharingFamily:
    """The family that chooses weights: sGDML, where it is not one that can."""
    if isinstance(family, FoldingFamily) and family.folds_at_once:
        return family
    return cast(SharingFamily, make_family("sgdml", {}))


def _weighted(baselines: Sequence[Baseline], weights: np.ndarray) -> Baseline | None:
    """The weighted sum of baselines; one with weight 1 is itself, and of none there is none."""
    if not len(baselines):
        return None
    if len(baselines) == 1 and weights[0] == 1.0:
        return baselines[0]
    name = " + ".join(
        f"{weight:g} {one.name}" for weight, one in zip(weights, baselines, strict=True)
    )
    terms = []
    for weight, one in zip(weights, baselines, strict=True):
        term: BaselineTerm = {"address": one.facts.get("baseline"), "weight": float(weight)}
        if "baseline_sha256" in one.facts:
            term["sha256"] = one.facts["baseline_sha256"]
        terms.append(term)
    potential = WeightedSum([one.potential for one in baselines], weights.tolist())
    return Baseline(potential, name, {"baseline": name, "baselines": terms})


def _said(both: Baseline | None, rows: Sequence[WeightRow], weights: Weights) -> str:
    """What folds of the training points found, in one line."""
    alone = [f"{row['force_rmse_kcal_mol_A']:.3f} with {row['baseline']}" for row in rows]
    return (
        f"baseline: {'none' if both is None else both.name} (force RMSE {weights.error:.3f} "
        f"kcal/mol/A in folds; {', '.join(alone)}, {weights.without:.3f} without)"
    )


def subtract(
    data: Dataset,
    baseline: Baseline,
    checkpoints: Checkpoints = NO_CHECKPOINTS,
    progress: Progress = silent,
) -> Dataset:
    """The dataset with the baseline's energies and forces subtracted, chunk by chunk.

    Raises:
        LabelError: the baseline cannot be computed for a frame.
    """
    return _less(data, evaluated(data, baseline, checkpoints, progress), baseline)


def evaluated(
    data: Dataset,
    baseline: Baseline,
    checkpoints: Checkpoints = NO_CHECKPOINTS,
    progress: Progress = silent,
) -> Evaluation:
    """The baseline's energies and forces of a dataset's geometries, chunk by chunk.

    Raises:
        LabelError: the baseline cannot be computed for a frame.
    """
    parts = []
    for begin in range(0, len(data), CHUNK):
        chunk = slice(begin, begin + CHUNK)
        step = f"frames-{begin:07d}"
        found = checkpoints.load(step)
        if found is None:
            evaluation = baseline.potential(data.positions[chunk])
            found = [evaluation.energies.tolist(), evaluation.forces.tolist()]
            checkpoints.save(step, found)
        parts.append(Evaluation(np.array(found[0]), np.array(found[1])))
        progress(min(begin + CHUNK, len(data)), len(data), "frames")
    return concatenate(parts)


def _less(data: Dataset, below: Evaluation, baseline: Baseline) -> Dataset:
    """The dataset with a baseline's energies and forces subtracted."""
    energies = None if data.energies is None else data.energies - below.energies
    level = f"{data.provenance.level} less {baseline.facts.get('baseline')}"
    return replace(
        data,
        energies=energies,
        forces=data.force_labels() - below.forces,
        provenance=replace(data.provenance, level=level),
    )
