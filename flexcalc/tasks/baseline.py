"""Delta learning: the energies and forces of a baseline subtracted, and added to the model.

Of several baselines it is a weighted sum, whose weights folds of the training points choose.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol, TypedDict, cast, runtime_checkable

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
from flexcalc.training.checkpoints import NO_CHECKPOINTS, Checkpoints
from flexcalc.training.weights import Weights, choose_weights, drawn_points, fit_changes

CHUNK = 64
"""Frames of a baseline that are evaluated at once, and kept as one step."""

DIFFERENCE, SMALL_CHANGE = 0.1, 0.2
"""Changes of parameters, in steps, for their derivatives; and the largest in a fitted baseline."""
WEIGHTS_SEED = 0
"""Seed of the folds that choose weights, which do not depend on what else is drawn."""


@runtime_checkable
class Adjustable(Protocol):
    """A potential with parameters that can be fitted to labels."""

    @property
    def steps(self) -> Mapping[str, float]:
        """Those to be fitted, with the step by which each may be changed; empty for none."""

    @property
    def changed(self) -> str:
        """Changes of its parameters, as the option `parameters` of its address has them."""

    def with_changes(self, changes: Mapping[str, float]) -> Any:
        """The same potential with changed parameters."""


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
    frames, train = data[needed], inner[0]
    baselines = [
        _fitted(baselines, index, frames[train], family, checkpoints, progress)
        for index in range(len(baselines))
    ]
    if len(baselines) == 1 and "baselines" not in baselines[0].facts:
        rest = subtract(frames, baselines[0], checkpoints, progress)
        return Differences(rest, Split(*inner), needed, baselines[0], data)
    found = []
    for index, one in enumerate(baselines):
        steps, own = checkpoints.within(str(index)), share(index, len(baselines), progress)
        found.append(evaluated(frames, one, steps, own))
    weights = choose_weights(
        _of_kernels(family),
        frames[train],
        [Evaluation(one.energies[train], one.forces[train]) for one in found],
        np.random.default_rng(WEIGHTS_SEED),
        progress,
    )
    rows = [
        WeightRow(baseline=one.name, weight=float(weight), force_rmse_kcal_mol_A=alone)
        for one, weight, alone in zip(baselines, weights.values, weights.alone, strict=True)
    ]
    kept = np.flatnonzero(weights.values)
    both = _weighted([baselines[index] for index in kept], weights.values[kept])
    said = _said(both, rows, weights)
    if both is None:
        return Differences(data, parts, np.arange(len(data)), None, data, rows, said)
    sums = Evaluation(
        np.sum([weights.values[index] * found[index].energies for index in kept], axis=0),
        np.sum([weights.values[index] * found[index].forces for index in kept], axis=0),
    )
    return Differences(_less(frames, sums, both), Split(*inner), needed, both, data, rows, said)


def _fitted(
    baselines: Sequence[Baseline],
    index: int,
    train: Dataset,
    family: Family,
    checkpoints: Checkpoints,
    progress: Progress,
) -> Baseline:
    """One of some baselines, with fitted parameters where its address asks for that.

    It stays linear in the changes: E + dE is a weighted sum of the potential with a small part of
    the changes, forwards and backwards, whose mean is E.
    """
    one = baselines[index]
    if not isinstance(one.potential, Adjustable) or not one.potential.steps:
        return one
    steps = one.potential.steps
    found = checkpoints.load(f"parameters-{index}")
    if found is None:
        found = _changes(baselines, index, train, _of_kernels(family), progress).tolist()
        checkpoints.save(f"parameters-{index}", found)
    share = SMALL_CHANGE / max(SMALL_CHANGE, *map(abs, found))
    potentials = []
    for sign in (share, -share):
        changes = dict(zip(steps, sign * np.array(found) * list(steps.values()), strict=True))
        potentials.append(one.potential.with_changes(changes))
    weights = (0.5 + 0.5 / share, 0.5 - 0.5 / share)
    terms: list[BaselineTerm] = []
    for weight, potential in zip(weights, potentials, strict=True):
        address = one.facts.get("baseline")
        if address is not None:
            address = address.replace("fitted=true", f"parameters={potential.changed}")
        terms.append({"address": address, "weight": weight})
    facts: BaselineFacts = {"baseline": one.name, "baselines": terms}
    return Baseline(WeightedSum(potentials, weights), one.name, facts)


def _changes(
    baselines: Sequence[Baseline],
    index: int,
    train: Dataset,
    family: SharingFamily,
    progress: Progress,
) -> np.ndarray:
    """Changes (parameters,) in steps of the parameters of one of some baselines."""
    rng = np.random.default_rng(WEIGHTS_SEED)
    train = train[drawn_points(train, rng)]
    potential = cast(Adjustable, baselines[index].potential)

    def at(changes: Mapping[str, float]) -> Evaluation:
        return potential.with_changes(changes)(train.positions)

    first, slopes = at({}), []
    for done, (name, step) in enumerate(potential.steps.items()):
        moved = at({name: DIFFERENCE * step})
        energies, forces = moved.energies - first.energies, moved.forces - first.forces
        slopes.append(Evaluation(energies / DIFFERENCE, forces / DIFFERENCE))
        progress(done + 1, len(potential.steps), "parameters")
    others = [one.potential for place, one in enumerate(baselines) if place != index]
    fixed = [
        other(train.positions)
        for other in others
        if not (isinstance(other, Adjustable) and other.steps)
    ]
    return fit_changes(family, train, [first, *fixed], slopes, rng, progress).values


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
    terms: list[BaselineTerm] = []
    potentials: list[Potential] = []
    for weight, one in zip(weights.tolist(), baselines, strict=True):
        own: BaselineTerm = {"address": one.facts.get("baseline"), "weight": 1.0}
        if "baseline_sha256" in one.facts:
            own["sha256"] = one.facts["baseline_sha256"]
        # Those with fitted parameters are sums themselves.
        several = one.facts.get("baselines")
        terms += [{**row, "weight": weight * row["weight"]} for row in several or [own]]
        potentials += cast(WeightedSum, one.potential).terms if several else [one.potential]
    potential = WeightedSum(potentials, [row["weight"] for row in terms])
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
