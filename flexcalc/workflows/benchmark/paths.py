"""Stage: the mechanisms' paths on the reference, and what is found without knowing them."""

from __future__ import annotations

from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from flexcalc.commands.face import run_command
from flexcalc.commands.label import label
from flexcalc.commands.path import path as path_command
from flexcalc.config import Label, Mechanism, PathSearch
from flexcalc.dataset import Dataset
from flexcalc.errors import GuardError, LabelError
from flexcalc.geometry import Coordinate
from flexcalc.methods.path import NEB, PathMethod, String
from flexcalc.methods.path.interpolation import Interpolation
from flexcalc.methods.sampling import AsIs
from flexcalc.printing import say
from flexcalc.results.path import Path as FoundPath
from flexcalc.storage import write_json
from flexcalc.units import KCAL_MOL
from flexcalc.workflows.benchmark.job import BenchmarkJob, Rows
from flexcalc.workflows.benchmark.record import kept
from flexcalc.workflows.runs import Run

NAIVE: tuple[Interpolation, ...] = ("linear", "idpp")
"""Interpolations that know nothing of a mechanism."""


def paths(job: BenchmarkJob, here: Run) -> Rows:
    """Find each mechanism's path by `flexcalc path`, in paths/NAME; write naive.json too."""
    rows = []
    for name, mechanism in job.mechanisms.items():
        results = _searched(job, mechanism.method, mechanism, f"paths/{name}", mechanism.steps)
        path = job.path(name)
        profile = above_first(path)
        without = _without_dispersion(job, name, path)
        lower = None if without is None else above_first(without)
        rows.append(
            {
                "mechanism": name,
                "start": mechanism.start,
                "end": mechanism.end,
                "images": len(path),
                "barrier_kcal_mol": max(profile),
                "barrier_without_dispersion_kcal_mol": None if lower is None else max(lower),
                "profile_kcal_mol": profile,
                "profile_without_dispersion_kcal_mol": lower,
                "coordinate": job.progress(name).label,
                "progress": _unwound(job.progress(name), path),
                "converged": results.converged,
            }
        )
    if job.config.naive_steps:
        write_json(here.folder / "naive.json", _naive(job, here))
    return rows


def above_first(path: Dataset) -> list[float]:
    """Energies (images,) of a path above its first image, in kcal/mol."""
    energies, _ = path.labels()
    return [float(energy) for energy in (energies - energies[0]) / KCAL_MOL]


def _searched(
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
    found: Any = run_command(path_command, search, job.folder / folder, say)
    return found


def _unwound(coordinate: Coordinate, path: Dataset) -> list[float]:
    """Values along a path; those of a dihedral without jumps."""
    values = coordinate.values(path.positions)
    if coordinate.periodic:
        values = np.unwrap(values, period=360.0)
    return [float(value) for value in values]


def _without_dispersion(job: BenchmarkJob, name: str, path: Dataset) -> Dataset | None:
    """The path labelled by the reference without dispersion, in without-dispersion/NAME."""
    if job.config.dispersion is None:
        return None
    folder = job.folder / "without-dispersion" / name
    return relabelled(job, job.config.dispersion, job.folder / f"paths/{name}/path.xyz", folder)


def relabelled(job: BenchmarkJob, level: str, frames: Path, folder: Path) -> Dataset:
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
    labels: Any = run_command(label, config, folder, say)
    if labels.quarantined:
        raise LabelError(
            f"{folder}: {labels.quarantined} frames of {frames} got no label by {level}; "
            "quarantine.xyz says why"
        )
    return labels.dataset


def _naive(job: BenchmarkJob, here: Run) -> Rows:
    """What band and string come to from interpolations that know only the ends."""
    mechanisms = job.mechanisms.values()
    pairs = {(one.start, one.end): one for one in mechanisms if one.start != one.end}
    rows = []
    for (start, end), interpolation, kind in product(pairs, NAIVE, (NEB, String)):
        method = kind(images=job.config.naive_images, interpolation=interpolation)
        name = f"{start}-{end}-{interpolation}-{method.kind}"
        piece = partial(_tried, job, method, pairs[start, end], name)
        found = kept(job, "naive", name, piece)
        head = {"start": start, "end": end, "method": method.kind, "interpolation": interpolation}
        rows.append({**head, **found})
        outcome = "converged" if found["converged"] else "did not converge"
        here.say(f"{method.kind} from {interpolation}, {start} to {end}: {outcome}")
    return rows


def _tried(job: BenchmarkJob, method: PathMethod, between: Mechanism, name: str) -> dict[str, Any]:
    """One such search; atoms on top of each other may end it, which is an answer too."""
    try:
        results = _searched(job, method, between, f"naive/{name}", job.config.naive_steps)
    except (LabelError, GuardError) as error:
        return {"converged": False, "steps": None, "barrier_kcal_mol": None, "ended": str(error)}
    return {
        "converged": results.converged,
        "steps": results.steps,
        "barrier_kcal_mol": results.barrier_kcal_mol,
        "ended": None,
    }
