"""Stages: errors of the models by region, and along the mechanisms' paths."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np

from flexcalc import files
from flexcalc.analysis.accuracy import Accuracy, Binning, accuracy
from flexcalc.benchmarking.job import BenchmarkJob, Fit, Rows
from flexcalc.benchmarking.paths import above_first
from flexcalc.benchmarking.record import kept_of
from flexcalc.dataset import Dataset
from flexcalc.geometry import Coordinate
from flexcalc.potential import Potential, in_batches
from flexcalc.progress import silent
from flexcalc.storage import read_json
from flexcalc.units import KCAL_MOL


def regions(job: BenchmarkJob) -> Rows:
    """Errors of each model of the largest size on frames it was not trained on, by region."""
    rows: Rows = []
    for fit in _trained_fits(job):
        if fit.points == max(job.sizes(fit.label)):
            rows += kept_of(job, "regions", fit, partial(_by_region, job, fit))
    return rows


def barriers(job: BenchmarkJob) -> Rows:
    """Profile and barrier of each model along its mechanism's path on the reference."""
    rows: Rows = []
    for fit in _trained_fits(job):
        row = kept_of(job, "barriers", fit, partial(_along_own, job, fit))
        rows.append({"mechanism": fit.mechanism, "model": fit.label, "points": fit.points, **row})
    return rows


def _along_own(job: BenchmarkJob, fit: Fit) -> dict[str, Any]:
    return along(job, fit.mechanism, job.model(*fit))


def along(job: BenchmarkJob, mechanism: str, potential: Potential) -> dict[str, Any]:
    """A potential along a mechanism's path on the reference, in kcal/mol above the first image."""
    path = job.path(mechanism)
    energies = potential(path.positions).energies
    ours, theirs = (energies - energies[0]) / KCAL_MOL, np.array(above_first(path))
    return {
        "barrier_kcal_mol": float(ours.max()),
        "barrier_reference_kcal_mol": float(theirs.max()),
        "barrier_error_kcal_mol": float(ours.max() - theirs.max()),
        "profile_rmse_kcal_mol": float(np.sqrt(np.mean((ours - theirs) ** 2))),
        "profile_kcal_mol": [float(energy) for energy in ours],
        "profile_reference_kcal_mol": [float(energy) for energy in theirs],
    }


def judged(
    job: BenchmarkJob, potential: Potential, test: Dataset, coordinates: Sequence[Coordinate]
) -> tuple[Accuracy, Any]:
    """Errors of a potential on test frames, and what it gave there."""
    evaluation = in_batches(potential, test.positions, silent)
    found = accuracy(
        test,
        evaluation,
        rng=np.random.default_rng(job.config.seed),
        by=Binning(coordinates, job.config.bins),
        resamples=0,
    )
    return found, evaluation


def region_tables(found: Accuracy) -> list[dict[str, Any]]:
    """A table for each coordinate, its bins in their order and those without frames left out."""
    tables = []
    for one in found.regions:
        filled = sorted((r for r in one.bins if r.population), key=lambda r: r.low)
        bins = []
        for region in filled:
            row: dict[str, Any] = {"from": region.low, "to": region.high}
            row["population"] = region.population
            if region.force is not None and region.energy is not None:
                row["force_rmse_kcal_mol_A"] = region.force.rmse / KCAL_MOL
                row["energy_rmse_kcal_mol"] = region.energy.rmse / KCAL_MOL
            bins.append(row)
        name, unit = one.coordinate.label, one.coordinate.unit
        tables.append({"coordinate": name, "unit": unit, "bins": bins})
    return tables


def _trained_fits(job: BenchmarkJob) -> Iterator[Fit]:
    """The models of the learning curves that are there."""
    return (fit for fit in job.fits() if job.model_path(*fit).exists())


def _by_region(job: BenchmarkJob, fit: Fit) -> Rows:
    own = job.progress(fit.mechanism)
    coordinates = list(dict.fromkeys([own, *job.coordinates]))
    found, _ = judged(job, job.model(*fit), _unseen(job, fit), coordinates)
    head = {"mechanism": fit.mechanism, "model": fit.label, "points": fit.points}
    return [{**head, **table} for table in region_tables(found)]


def _unseen(job: BenchmarkJob, fit: Fit) -> Dataset:
    """Frames of the mechanism that a model was not trained on, at most `test_frames`.

    They are taken in an order that is the same for all models, so that these are tested on
    nearly the same frames.
    """
    frames = read_json(job.training(*fit) / "frames.json")
    trained_on = files.read(job.subset(fit.mechanism, fit.points))[frames["train"]]
    known = {frame.tobytes() for frame in trained_on.positions}
    data = job.data(fit.mechanism)
    order = np.random.default_rng(job.seed("test", fit.mechanism)).permutation(len(data))
    unseen = [index for index in order if data.positions[index].tobytes() not in known]
    return data[np.sort(unseen[: job.config.test_frames])]
