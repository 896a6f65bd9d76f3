"""Stages: the labelled frames of each mechanism, and the subsets that models are judged in."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from flexcalc import files
from flexcalc.commands.face import run_command
from flexcalc.commands.label import label
from flexcalc.config import Label, Sample
from flexcalc.dataset import Dataset, concatenate
from flexcalc.errors import InputError
from flexcalc.printing import say
from flexcalc.training.clusters import pair_distances
from flexcalc.training.selection import choose
from flexcalc.units import KCAL_MOL
from flexcalc.workflows.benchmark.job import BenchmarkJob, Rows, word
from flexcalc.workflows.benchmark.record import kept
from flexcalc.workflows.runs import Run

BLOCK = 2048
"""Frames whose distances to all others are held in memory at the same time."""


def data(job: BenchmarkJob, here: Run) -> Rows:
    """Sample and label by `flexcalc label`, in samples/; write data/MECHANISM.xyz."""
    rows = []
    (here.folder / "data").mkdir(exist_ok=True)
    for name in job.mechanisms:
        place = here.folder / "data" / f"{name}.xyz"
        if not place.exists():
            parts = [_sampled(job, sample, name) for sample in _samples_of(job, name)]
            files.write(place, concatenate(*parts))
            here.say(f"{name}: {sum(map(len, parts))} labelled frames")
        rows += kept(job, "data", name, partial(_distributions, job, name))
    return rows


def _samples_of(job: BenchmarkJob, mechanism: str) -> list[Sample]:
    return [s for s in job.config.samples if not s.mechanisms or mechanism in s.mechanisms]


def _sampled(job: BenchmarkJob, sample: Sample, mechanism: str) -> Dataset:
    """The labelled frames of one kind of sampling; mechanisms share those of shared minima."""
    ends = job.mechanisms[mechanism].start, job.mechanisms[mechanism].end
    if sample.origin == "minima":
        key = f"{word(sample.name)}-{'-'.join(dict.fromkeys(ends))}"
        starts = [job.minimum(name) for name in dict.fromkeys(ends)]
    else:
        key = f"{word(sample.name)}-{mechanism}"
        starts = [_images(job, sample, mechanism, key)]
    config = Label(
        reference=job.config.reference,
        starts=tuple(map(str, starts)),
        samples=(sample.sampling,),
        workers=job.config.workers,
        trust=job.config.trust,
        seed=job.config.seed + job.config.samples.index(sample),
    )
    labels: Any = run_command(label, config, job.folder / "samples" / key, say)
    found: Dataset = labels.dataset
    tags = {"start": found.tags["start"], "sampling": np.full(len(found), sample.name)}
    return Dataset(
        found.numbers, found.positions, *found.labels(), tags=tags, provenance=found.provenance
    )


def _images(job: BenchmarkJob, sample: Sample, mechanism: str, key: str) -> Path:
    """A file of the images to start from."""
    path = job.path(mechanism)
    wanted = np.array(sample.images or range(len(path)), dtype=int)
    place = job.folder / "starts" / f"{key}.xyz"
    place.parent.mkdir(exist_ok=True)
    files.write(place, path[wanted])
    return place


def _distributions(job: BenchmarkJob, mechanism: str) -> Rows:
    """Energies and distances of a mechanism's frames, by kind of sampling."""
    frames = job.data(mechanism)
    energies, _ = frames.labels()
    above = (energies - job.lowest()) / KCAL_MOL
    apart = nearest_other(pair_distances(frames.positions))
    kinds = frames.tags["sampling"]
    return [
        {
            "mechanism": mechanism,
            "kind": sample.name,
            "frames": int((kinds == sample.name).sum()),
            "energy_kcal_mol": _rounded(above[kinds == sample.name]),
            "nearest_other_A": _rounded(apart[kinds == sample.name]),
        }
        for sample in _samples_of(job, mechanism)
    ]


def _rounded(values: np.ndarray) -> list[float]:
    """Values for a histogram."""
    return [round(float(value), 4) for value in values]


def nearest_other(features: np.ndarray) -> np.ndarray:
    """Distance (frames,) of each row to the nearest other row.

    Args:
        features: (frames, features), such as pair distances in angstrom.
    """
    centred = features - features.mean(axis=0)
    squares = (centred**2).sum(axis=1)
    nearest = np.empty(len(centred))
    for begin in range(0, len(centred), BLOCK):
        block = slice(begin, min(begin + BLOCK, len(centred)))
        apart = squares[block, None] + squares - 2 * centred[block] @ centred.T
        apart[np.arange(block.stop - begin), np.arange(begin, block.stop)] = np.inf
        nearest[block] = apart.min(axis=1)
    return np.sqrt(np.maximum(nearest, 0.0))


def subsets(job: BenchmarkJob, here: Run) -> Rows:
    """Draw the frames of each cross-validation, stratified by energy: subsets/MECHANISM-SIZE.xyz.

    Source: Vassilev-Galindo et al., J. Chem. Phys. 154, 094119 (2021), section II.
    """
    (here.folder / "subsets").mkdir(exist_ok=True)
    rows = []
    for name in job.mechanisms:
        frames = job.data(name)
        for points in _all_sizes(job):
            place = job.subset(name, points)
            wanted = job.config.folds * points
            if wanted > len(frames):
                raise InputError(
                    f"data/{name}.xyz: {len(frames)} frames are too few for {job.config.folds} "
                    f"folds of {points} points; ask for smaller sizes or more samples"
                )
            if not place.exists():
                rng = np.random.default_rng(job.seed(name, points))
                files.write(place, frames[choose("stratified", frames, wanted, rng)])
            rows.append(
                {
                    "mechanism": name,
                    "points": points,
                    "frames": wanted,
                    "file": str(place.relative_to(here.folder)),
                }
            )
    return rows


def _all_sizes(job: BenchmarkJob) -> Sequence[int]:
    """Every number of training points that a model of this run has, in curves or scan."""
    wanted = {points for model in job.wanted for points in job.sizes(model.label)}
    return sorted(wanted | ({job.scanned} if job.config.cutoffs else set()))
