"""Stages: errors of the models by region, and along the mechanisms' paths."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from flexcalc import files
from flexcalc.analysis.accuracy import Binning, accuracy
from flexcalc.analysis.accuracy_record import Accuracy, Region
from flexcalc.benchmarking.job import BenchmarkJob, Fit
from flexcalc.benchmarking.paths import above_first
from flexcalc.benchmarking.record import page_of, read_or_make, read_or_make_rows
from flexcalc.dataset import Dataset
from flexcalc.geometry import Coordinate
from flexcalc.potential import Potential, in_batches
from flexcalc.progress import silent
from flexcalc.results.benchmark_rows import (
    BarrierError,
    BarrierRow,
    RegionBin,
    RegionRow,
    RegionTable,
)
from flexcalc.storage import read_json
from flexcalc.units import KCAL_MOL


def regions(job: BenchmarkJob) -> list[RegionRow]:
    """Errors of each model of the largest size on frames it was not trained on, by region."""
    rows: list[RegionRow] = []
    for fit in _trained_fits(job):
        if fit.points == max(job.sizes(fit.label)):
            page = page_of(job, RegionRow.stage, fit)
            rows += read_or_make_rows(page, RegionRow, partial(_by_region, job, fit))
    return rows


def barriers(job: BenchmarkJob) -> list[BarrierRow]:
    """Profile and barrier of each model along its mechanism's path on the reference."""
    rows = []
    for fit in _trained_fits(job):
        page = page_of(job, BarrierRow.stage, fit)
        row = read_or_make(page, BarrierRow, partial(_along_own, job, fit))
        rows.append(replace(row, mechanism=fit.mechanism, model=fit.label, points=fit.points))
    return rows


def _along_own(job: BenchmarkJob, fit: Fit) -> BarrierRow:
    return along(job, fit.mechanism, job.model(*fit))


def along(job: BenchmarkJob, mechanism: str, potential: Potential) -> BarrierRow:
    """A potential along a mechanism's path on the reference; the row does not name the model."""
    path = job.path(mechanism)
    energies = potential(path.positions).energies
    ours, theirs = (energies - energies[0]) / KCAL_MOL, np.array(above_first(path))
    return BarrierRow(
        barrier_kcal_mol=float(ours.max()),
        barrier_reference_kcal_mol=float(theirs.max()),
        barrier_error_kcal_mol=float(ours.max() - theirs.max()),
        profile_rmse_kcal_mol=float(np.sqrt(np.mean((ours - theirs) ** 2))),
        profile_kcal_mol=tuple(float(energy) for energy in ours),
        profile_reference_kcal_mol=tuple(float(energy) for energy in theirs),
    )


def barrier_errors(job: BenchmarkJob, potential: Potential) -> tuple[BarrierError, ...]:
    """Error of a potential in each mechanism's barrier."""
    return tuple(
        BarrierError(
            mechanism=name, error_kcal_mol=along(job, name, potential).barrier_error_kcal_mol
        )
        for name in job.mechanisms
    )


def errors_on(
    job: BenchmarkJob, potential: Potential, test: Dataset, coordinates: Sequence[Coordinate]
) -> Accuracy:
    """Errors of a potential on test frames."""
    return accuracy(
        test,
        in_batches(potential, test.positions, silent),
        rng=np.random.default_rng(job.config.seed),
        by=Binning(coordinates, job.config.bins),
        resamples=0,
    )


def region_tables(errors: Accuracy) -> tuple[RegionTable, ...]:
    """A table for each coordinate: its bins in ascending order, without empty ones."""
    return tuple(
        RegionTable(
            coordinate=one.coordinate.label,
            unit=one.coordinate.unit,
            bins=tuple(
                _bin(region)
                for region in sorted(
                    (region for region in one.bins if region.population),
                    key=lambda region: region.low,
                )
            ),
        )
        for one in errors.regions
    )


def _bin(region: Region) -> RegionBin:
    edges = {"low": region.low, "high": region.high}
    if region.force is None or region.energy is None:
        return RegionBin(**edges, population=region.population)
    return RegionBin(
        **edges,
        population=region.population,
        force_rmse_kcal_mol_A=region.force.rmse / KCAL_MOL,
        energy_rmse_kcal_mol=region.energy.rmse / KCAL_MOL,
    )


def _trained_fits(job: BenchmarkJob) -> Iterator[Fit]:
    """The models of the learning curves that have been trained."""
    return (fit for fit in job.fits() if job.model_path(*fit).exists())


def _by_region(job: BenchmarkJob, fit: Fit) -> list[RegionRow]:
    own = job.progress(fit.mechanism)
    coordinates = list(dict.fromkeys([own, *job.coordinates]))
    errors = errors_on(job, job.model(*fit), _unseen(job, fit), coordinates)
    return [
        RegionRow(
            mechanism=fit.mechanism,
            model=fit.label,
            points=fit.points,
            coordinate=table.coordinate,
            unit=table.unit,
            bins=table.bins,
        )
        for table in region_tables(errors)
    ]


def _unseen(job: BenchmarkJob, fit: Fit) -> Dataset:
    """Frames of the mechanism that a model was not trained on, at most `test_frames`.

    All models take them in the same order, so that they are tested on nearly the same frames.
    """
    frames = read_json(job.training(*fit) / "frames.json")
    trained_on = files.read(job.subset(fit.mechanism, fit.points))[frames["train"]]
    known = {frame.tobytes() for frame in trained_on.positions}
    data = job.data(fit.mechanism)
    order = np.random.default_rng(job.seed("test", fit.mechanism)).permutation(len(data))
    unseen = [index for index in order if data.positions[index].tobytes() not in known]
    return data[np.sort(unseen[: job.config.test_frames])]
