"""Stages: the labelled frames of each mechanism, and the subsets for cross-validation."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from flexcalc import files
from flexcalc.benchmarking import calls
from flexcalc.benchmarking.job import BenchmarkJob, word
from flexcalc.benchmarking.record import page_named, read_or_make_rows
from flexcalc.config.benchmark import Sample
from flexcalc.config.label import Label
from flexcalc.dataset import Dataset, concatenate
from flexcalc.errors import InputError
from flexcalc.results.benchmark_rows import DataRow, SubsetRow
from flexcalc.training.clusters import pair_distances
from flexcalc.training.selection import choose
from flexcalc.units import KCAL_MOL

BLOCK = 2048
"""Frames per block of the distance matrix."""


def data(job: BenchmarkJob) -> list[DataRow]:
    """Sample and label by `flexcalc label`, in samples/; write data/MECHANISM.xyz."""
    rows: list[DataRow] = []
    (job.folder / "data").mkdir(exist_ok=True)
    for name in job.mechanisms:
        place = job.folder / "data" / f"{name}.xyz"
        if not place.exists():
            parts = [_sample(job, sample, name) for sample in _samples_of(job, name)]
            files.write(place, concatenate(*parts))
            job.store.say(f"{name}: {sum(map(len, parts))} labelled frames")
        rows += read_or_make_rows(
            page_named(job, "data", name), DataRow, partial(_distributions, job, name)
        )
    return rows


def _samples_of(job: BenchmarkJob, mechanism: str) -> list[Sample]:
    return [s for s in job.config.samples if not s.mechanisms or mechanism in s.mechanisms]


def _sample(job: BenchmarkJob, sample: Sample, mechanism: str) -> Dataset:
    """Labelled frames of one kind of sampling; mechanisms with the same minima share them."""
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
        scheduler=job.config.scheduler,
        worker_wait_s=job.config.worker_wait_s,
        allow_remote=job.config.allow_remote,
        trust=job.config.trust,
        seed=job.config.seed + job.config.samples.index(sample),
    )
    frames = calls.label(config, job.folder / "samples" / key, job.echo)
    tags = {"start": frames.tags["start"], "sampling": np.full(len(frames), sample.name)}
    return Dataset(
        frames.numbers, frames.positions, *frames.labels(), tags=tags, provenance=frames.provenance
    )


def _images(job: BenchmarkJob, sample: Sample, mechanism: str, key: str) -> Path:
    """A file of the images to start from."""
    path = job.path(mechanism)
    wanted = np.array(sample.images or range(len(path)), dtype=int)
    place = job.folder / "starts" / f"{key}.xyz"
    place.parent.mkdir(exist_ok=True)
    files.write(place, path[wanted])
    return place


def _distributions(job: BenchmarkJob, mechanism: str) -> list[DataRow]:
    """Energies and distances of a mechanism's frames, by kind of sampling."""
    frames = job.data(mechanism)
    energies, _ = frames.labels()
    above = (energies - job.lowest()) / KCAL_MOL
    apart = nearest_other(pair_distances(frames.positions))
    kinds = frames.tags["sampling"]
    return [
        DataRow(
            mechanism=mechanism,
            kind=sample.name,
            frames=int((kinds == sample.name).sum()),
            energy_kcal_mol=_rounded(above[kinds == sample.name]),
            nearest_other_A=_rounded(apart[kinds == sample.name]),
        )
        for sample in _samples_of(job, mechanism)
    ]


def _rounded(values: np.ndarray) -> tuple[float, ...]:
    """Values for a histogram."""
    return tuple(round(float(value), 4) for value in values)


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


def subsets(job: BenchmarkJob) -> list[SubsetRow]:
    """Draw the frames of each cross-validation, stratified by energy: subsets/MECHANISM-SIZE.xyz.

    Source: Vassilev-Galindo et al., J. Chem. Phys. 154, 094119 (2021), section II.
    """
    (job.folder / "subsets").mkdir(exist_ok=True)
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
                SubsetRow(
                    mechanism=name,
                    points=points,
                    frames=wanted,
                    file=str(place.relative_to(job.folder)),
                )
            )
    return rows


def _all_sizes(job: BenchmarkJob) -> Sequence[int]:
    """All numbers of training points of this run, of learning curves and cutoffs."""
    wanted = {points for model in job.models_to_train for points in job.sizes(model.label)}
    return sorted(wanted | ({job.cutoff_points} if job.config.cutoffs else set()))
