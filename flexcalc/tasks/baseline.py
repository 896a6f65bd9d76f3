"""Delta learning: the energies and forces of a baseline subtracted, and added to the model."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from flexcalc.config.options import placed
from flexcalc.dataset import Dataset
from flexcalc.fields import PotentialLike
from flexcalc.models.bonding import with_bonding
from flexcalc.models.delta import DeltaModel
from flexcalc.models.facts import BaselineFacts, ModelFacts
from flexcalc.models.family import TrainedPotential
from flexcalc.potential import Potential
from flexcalc.progress import Progress, silent
from flexcalc.registry import content_sha256, name_of, open_potential
from flexcalc.tasks.fitting import Fitted, Split
from flexcalc.training.checkpoints import NO_CHECKPOINTS, Checkpoints

CHUNK = 64
"""Frames of a baseline that are evaluated at once, and kept as one step."""


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


@dataclass(frozen=True, eq=False)
class Differences:
    """Training data: labels minus the baseline's, for the frames that are needed.

    Args:
        data: those frames.
        split: indices into them.
        frames: (needed,) ascending indices of those frames in the complete dataset.
        baseline: what was subtracted, or None.
        complete: the complete dataset, with its own labels.
    """

    data: Dataset
    split: Split
    frames: np.ndarray
    baseline: Baseline | None
    complete: Dataset

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
    baseline: Baseline | None,
    checkpoints: Checkpoints = NO_CHECKPOINTS,
    progress: Progress = silent,
) -> Differences:
    """Subtract the baseline from the labels of the frames that are needed.

    Args:
        data: the dataset with its own labels.
        parts: indices into it.
        needed: frames, ascending; see `needed_frames`.
        baseline: evaluated in chunks, if there is one.
        checkpoints: what an earlier call had finished of that.
        progress: called with the number of frames.

    Raises:
        LabelError: the baseline cannot be computed for a frame.
    """
    if baseline is None:
        return Differences(data, parts, np.arange(len(data)), None, data)
    inner = [
        np.searchsorted(needed, np.intersect1d(part, needed))
        for part in (parts.train, parts.validation, parts.rest)
    ]
    rest = subtract(data[needed], baseline, checkpoints, progress)
    return Differences(rest, Split(*inner), needed, baseline, data)


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
    forces = np.array(data.force_labels())
    energies = None if data.energies is None else np.array(data.energies)
    for begin in range(0, len(data), CHUNK):
        chunk = slice(begin, begin + CHUNK)
        step = f"frames-{begin:07d}"
        found = checkpoints.load(step)
        if found is None:
            evaluation = baseline.potential(data.positions[chunk])
            found = [evaluation.energies.tolist(), evaluation.forces.tolist()]
            checkpoints.save(step, found)
        if energies is not None:
            energies[chunk] -= np.array(found[0])
        forces[chunk] -= np.array(found[1])
        progress(min(begin + CHUNK, len(data)), len(data), "frames")
    level = f"{data.provenance.level} less {baseline.facts.get('baseline')}"
    provenance = replace(data.provenance, level=level)
    return replace(data, energies=energies, forces=forces, provenance=provenance)
