"""Training on what a baseline leaves: its energies and forces taken off, and put back on."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from flexcalc.config import Train
from flexcalc.config.options import placed
from flexcalc.dataset import Dataset
from flexcalc.fields import Address
from flexcalc.models.bonding import with_bonding
from flexcalc.models.delta import DeltaModel
from flexcalc.models.family import TrainedPotential
from flexcalc.potential import Potential
from flexcalc.progress import Progress
from flexcalc.registry import content_sha256, open_potential
from flexcalc.training.memory import Memory
from flexcalc.workflows.choosing import Fitted, Split

CHUNK = 64
"""Frames of a baseline that are evaluated at once, and remembered as one step."""


@dataclass(frozen=True, eq=False)
class Baseline:
    """What is learned on top of.

    Args:
        potential: of the molecule.
        facts: `baseline`, its address, and `baseline_sha256` where that names a file.
    """

    potential: Potential
    facts: dict[str, Any]


@dataclass(frozen=True, eq=False)
class Task:
    """What is trained on: labels less those of the baseline, for the frames that are needed.

    Args:
        data: those frames.
        split: indices into them.
        frames: (needed,) ascending indices of those frames in the whole dataset.
        baseline: what was taken off, or None.
        whole: the whole dataset, with its own labels.
    """

    data: Dataset
    split: Split
    frames: np.ndarray
    baseline: Baseline | None
    whole: Dataset

    def labels(self, frames: np.ndarray) -> Dataset:
        """What there is to learn of some frames, given by their indices in the whole dataset."""
        return self.data[np.searchsorted(self.frames, frames)]

    def finished(self, fitted: Fitted) -> Fitted:
        """With indices into the whole dataset, and the model as one of the whole labels.

        The model keeps how its training frames are bonded.
        """
        if self.baseline is None:
            with_bonding(fitted.potential, self.whole[fitted.split.train])
            return fitted
        train, validation = (
            self.frames[part] for part in (fitted.split.train, fitted.split.validation)
        )
        rest = np.setdiff1d(np.arange(len(self.whole)), np.union1d(train, validation))
        facts = {
            "training_sha256": self.whole[train].sha256(),
            "level": self.whole.provenance.level,
            **self.baseline.facts,
        }
        model: TrainedPotential = DeltaModel(self.baseline.potential, fitted.potential, facts)
        with_bonding(model, self.whole[train])
        return replace(
            fitted,
            potential=model,
            split=Split(train, validation, rest),
            facts={**fitted.facts, "baseline": self.baseline.facts["baseline"]},
        )


def open_baseline(
    baseline: Address | Potential | None, numbers: np.ndarray, trust: bool
) -> Baseline | None:
    """Open a baseline, if there is one.

    Raises:
        InputError: it cannot be opened.
    """
    if baseline is None:
        return None
    if not isinstance(baseline, str):
        return Baseline(baseline, {"baseline": None})
    baseline = placed(baseline, Path.cwd())
    facts = {"baseline": baseline, "baseline_sha256": content_sha256(baseline)}
    return Baseline(
        open_potential(baseline, numbers, trust=trust),
        {key: value for key, value in facts.items() if value is not None},
    )


def task(
    config: Train,
    data: Dataset,
    parts: Split,
    baseline: Baseline | None,
    memory: Memory,
    progress: Progress,
) -> Task:
    """Take the baseline off the labels of all frames that the training may need.

    Args:
        config: says whether points may come from all frames.
        data: the dataset with its own labels.
        parts: indices into it.
        baseline: evaluated in chunks, if there is one.
        memory: what an earlier call had finished of that.
        progress: told the frames.

    Raises:
        LabelError: the baseline cannot be computed for a frame.
    """
    if baseline is None:
        return Task(data, parts, np.arange(len(data)), None, data)
    needed = np.union1d(parts.train, parts.validation)
    if config.refine_rounds:
        needed = np.arange(len(data))
    inner = [
        np.searchsorted(needed, np.intersect1d(part, needed))
        for part in (parts.train, parts.validation, parts.rest)
    ]
    rest = less(data[needed], baseline, memory, progress)
    return Task(rest, Split(*inner), needed, baseline, data)


def less(data: Dataset, baseline: Baseline, memory: Memory, progress: Progress) -> Dataset:
    """The dataset with the baseline's energies and forces subtracted, chunk by chunk.

    Raises:
        LabelError: the baseline cannot be computed for a frame.
    """
    forces = np.array(data.force_labels())
    energies = None if data.energies is None else np.array(data.energies)
    for begin in range(0, len(data), CHUNK):
        chunk = slice(begin, begin + CHUNK)
        step = f"frames-{begin:07d}"
        found = memory.recall(step)
        if found is None:
            evaluation = baseline.potential(data.positions[chunk])
            found = [evaluation.energies.tolist(), evaluation.forces.tolist()]
            memory.remember(step, found)
        if energies is not None:
            energies[chunk] -= np.array(found[0])
        forces[chunk] -= np.array(found[1])
        progress(min(begin + CHUNK, len(data)), len(data), "frames")
    level = f"{data.provenance.level} less {baseline.facts.get('baseline')}"
    provenance = replace(data.provenance, level=level)
    return replace(data, energies=energies, forces=forces, provenance=provenance)
