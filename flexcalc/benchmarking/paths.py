"""Stage: the mechanisms' paths on the reference, and searches that begin with an interpolation."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from itertools import product
from pathlib import Path

import numpy as np

from flexcalc import files
from flexcalc.benchmarking import calls
from flexcalc.benchmarking.job import BenchmarkJob
from flexcalc.benchmarking.record import page_named, read_or_make, write_rows
from flexcalc.config.benchmark import Mechanism
from flexcalc.config.label import Label
from flexcalc.config.paths import PathSearch
from flexcalc.dataset import Dataset
from flexcalc.errors import GuardError, LabelError
from flexcalc.geometry import Coordinate
from flexcalc.methods.path import NEB, PathMethod, String
from flexcalc.methods.path.interpolation import Interpolation
from flexcalc.methods.sampling import AsIs
from flexcalc.results.benchmark_rows import NaiveRow, PathRow
from flexcalc.results.path import Path as FoundPath
from flexcalc.units import KCAL_MOL

NAIVE: tuple[Interpolation, ...] = ("linear", "idpp")
"""Interpolations that use no knowledge of a mechanism."""


def paths(job: BenchmarkJob) -> list[PathRow]:
    """Find each mechanism's path by `flexcalc path`, in paths/NAME; write naive.json too."""
    rows = []
    for name, mechanism in job.mechanisms.items():
        results = _search_path(job, mechanism.method, mechanism, f"paths/{name}", mechanism.steps)
        path = job.path(name)
        profile = above_first(path)
        without = _without_dispersion(job, name, path)
        lower = None if without is None else above_first(without)
        rows.append(
            PathRow(
                mechanism=name,
                start=mechanism.start,
                end=mechanism.end,
                images=len(path),
                barrier_kcal_mol=max(profile),
                barrier_without_dispersion_kcal_mol=None if lower is None else max(lower),
                profile_kcal_mol=profile,
                profile_without_dispersion_kcal_mol=lower,
                coordinate=job.progress(name).label,
                progress=_unwrapped_values(job.progress(name), path),
                converged=results.converged,
            )
        )
    if job.config.naive_steps:
        write_rows(job, NaiveRow.stage, _naive(job))
    return rows


def above_first(path: Dataset) -> tuple[float, ...]:
    """Energies (images,) of a path above its first image, in kcal/mol."""
    energies, _ = path.labels()
    return tuple(float(energy) for energy in (energies - energies[0]) / KCAL_MOL)


def _search_path(
    job: BenchmarkJob, method: PathMethod, between: Mechanism, folder: str, steps: int
) -> FoundPath:
    search = PathSearch(
        model=job.config.reference,
        start=job.minimum(between.start),
        end=job.minimum(between.end),
        method=method,
        relax_ends=False,
        steps=steps,
        trust=job.config.trust,
        seed=job.config.seed,
    )
    return calls.path(search, job.folder / folder, job.echo)


def _unwrapped_values(coordinate: Coordinate, path: Dataset) -> tuple[float, ...]:
    """Values along a path; those of a dihedral without jumps."""
    values = coordinate.values(path.positions)
    if coordinate.periodic:
        values = np.unwrap(values, period=360.0)
    return tuple(float(value) for value in values)


def _without_dispersion(job: BenchmarkJob, name: str, path: Dataset) -> Dataset | None:
    """The path with labels of the reference without dispersion, in without-dispersion/NAME."""
    if job.config.dispersion is None:
        return None
    folder = job.folder / "without-dispersion" / name
    return relabel(job, job.config.dispersion, job.folder / f"paths/{name}/path.xyz", folder)


def relabel(job: BenchmarkJob, level: str, frames: Path, folder: Path) -> Dataset:
    """The frames of a file with the labels of a level of theory, by `flexcalc label`.

    Raises:
        LabelError: one of them got none.
    """
    config = Label(
        reference=level,
        starts=(str(frames),),
        samples=(AsIs(),),
        workers=job.config.workers,
        trust=job.config.trust,
    )
    labelled = calls.label(config, folder, job.echo)
    unlabelled = len(files.read(frames)) - len(labelled)
    if unlabelled:
        raise LabelError(
            f"{folder}: {unlabelled} frames of {frames} got no label by {level}; quarantine.xyz "
            "says why"
        )
    return labelled


def _naive(job: BenchmarkJob) -> list[NaiveRow]:
    """Results of band and string from interpolations between the endpoints."""
    mechanisms = job.mechanisms.values()
    pairs = {(one.start, one.end): one for one in mechanisms if one.start != one.end}
    rows = []
    for (start, end), interpolation, kind in product(pairs, NAIVE, (NEB, String)):
        method = kind(images=job.config.naive_images, interpolation=interpolation)
        name = f"{start}-{end}-{interpolation}-{method.kind}"
        piece = partial(_search_naively, job, method, pairs[start, end], name)
        row = read_or_make(page_named(job, NaiveRow.stage, name), NaiveRow, piece)
        row = replace(row, start=start, end=end, method=method.kind, interpolation=interpolation)
        rows.append(row)
        outcome = "converged" if row.converged else "did not converge"
        job.store.say(f"{method.kind} from {interpolation}, {start} to {end}: {outcome}")
    return rows


def _search_naively(
    job: BenchmarkJob, method: PathMethod, between: Mechanism, name: str
) -> NaiveRow:
    """One such search; overlapping atoms may end it, which is a result too."""
    try:
        results = _search_path(job, method, between, f"naive/{name}", job.config.naive_steps)
    except (LabelError, GuardError) as error:
        return NaiveRow(converged=False, steps=None, barrier_kcal_mol=None, ended=str(error))
    return NaiveRow(
        converged=results.converged,
        steps=results.steps,
        barrier_kcal_mol=results.barrier_kcal_mol,
        ended=None,
    )
