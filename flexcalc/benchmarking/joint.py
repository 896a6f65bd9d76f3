"""Stage: one model for all mechanisms, every family with the same number of training points."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from flexcalc import files
from flexcalc.benchmarking import calls
from flexcalc.benchmarking.curves import predict_ms, train_all
from flexcalc.benchmarking.job import JOINT, BenchmarkJob, Fit
from flexcalc.benchmarking.record import Outcome, page_named, read_or_make
from flexcalc.benchmarking.testing import barrier_errors, errors_on, region_tables
from flexcalc.config.train import Train
from flexcalc.dataset import Dataset, concatenate
from flexcalc.errors import InputError
from flexcalc.potential import Evaluation
from flexcalc.results.benchmark_rows import ErrorsByFrame, FrameErrors, JointRow, RegionBin
from flexcalc.units import KCAL_MOL

POPULATED = 20
"""Minimum number of frames of a region that counts as the worst or the best."""
SHOWN = 400
"""Maximum number of test frames in errors.xyz."""
TEST_SHARE = 0.25
"""Maximum share of all frames that is kept for the test."""


@dataclass(frozen=True, kw_only=True)
class Trained(Outcome):
    """A joint model; the time includes the choice of hyperparameters, None if interrupted."""

    train_seconds: float | None
    predict_ms: float
    permutations: int | None = None


class Evenness(NamedTuple):
    """Worst and best force error of well populated regions and their ratio; None without any."""

    worst: float | None
    best: float | None
    ratio: float | None


def joint(job: BenchmarkJob) -> list[JointRow]:
    """Train each model on points of all mechanisms by `flexcalc train`, in joint/MODEL/BUDGET.

    The points are drawn from joint/pool.xyz, stratified by energy, and are the same for every
    model that does not choose its own; joint/test.xyz is held out. Also writes errors.xyz and
    errors.json, the errors of the models of the largest budget on each test frame.
    """
    if not job.config.budgets:
        return []
    (job.folder / JOINT).mkdir(exist_ok=True)
    _divide(job)
    fits = [Fit(JOINT, label, b) for b in sorted(job.config.budgets) for label in job.models]
    pieces = {
        fit: partial(_train_timed, _training(job, fit), job.training(*fit), job.echo)
        for fit in fits
    }
    done = train_all(job, JOINT, pieces, Trained)
    test = files.read(job.folder / JOINT / "test.xyz")
    rows = []
    for fit, result in done.items():
        page = page_named(job, JOINT, f"tested-{fit.place}-{fit.points}")
        rows.append(read_or_make(page, JointRow, partial(_row, job, fit, result, test)))
    _write_errors(job, [fit for fit in done if fit.points == max(job.config.budgets)], test)
    return rows


def _training(job: BenchmarkJob, fit: Fit) -> Train:
    return Train(
        dataset=job.folder / JOINT / "pool.xyz",
        family=(job.models[fit.label].family,),
        points=fit.points,
        validation_points=job.config.validation_points,
        trust=job.config.trust,
        seed=job.config.seed,
    )


def _train_timed(config: Train, folder: Path, echo: calls.Echo) -> Trained:
    """Train, and measure the time."""
    uninterrupted, start = not folder.exists(), time.perf_counter()
    training = calls.train(config, folder, echo)
    seconds = round(time.perf_counter() - start, 3)
    force, energy = training.force_rmse_kcal_mol_A, training.energy_rmse_kcal_mol
    positions = files.read(config.dataset).positions
    return Trained(
        train_seconds=seconds if uninterrupted else None,
        predict_ms=predict_ms(folder / training.file, positions, config.trust),
        summary=f"validation force RMSE {force:.3f} kcal/mol/A, energy {energy:.3f} kcal/mol",
        permutations=training.permutations,
    )


def _divide(job: BenchmarkJob) -> None:
    """Divide the distinct frames of all mechanisms into joint/test.xyz and joint/pool.xyz."""
    place = job.folder / JOINT
    if (place / "pool.xyz").exists():
        return
    frames = all_frames(job)
    test = min(job.config.test_frames, int(TEST_SHARE * len(frames)))
    needed = max(job.config.budgets) + job.config.validation_points
    if needed > len(frames) - test:
        raise InputError(
            f"budgets: {len(frames)} frames of all mechanisms, {test} of them for the test, are "
            f"too few for {max(job.config.budgets)} training and "
            f"{job.config.validation_points} validation points"
        )
    order = np.random.default_rng(job.seed(JOINT)).permutation(len(frames))
    files.write(place / "test.xyz", frames[np.sort(order[:test])])
    files.write(place / "pool.xyz", frames[np.sort(order[test:])])


def all_frames(job: BenchmarkJob) -> Dataset:
    """The distinct frames of all mechanisms, tagged with the first `mechanism` that has them."""
    parts, known = [], set()
    for name in job.mechanisms:
        data = job.data(name)
        new = []
        for index, frame in enumerate(data.positions):
            content = frame.tobytes()
            if content not in known:
                known.add(content)
                new.append(index)
        part = data[np.array(new, dtype=int)]
        tags = {**part.tags, "mechanism": np.full(len(part), name)}
        parts.append(replace(part, tags=tags))
    return concatenate(*parts)


def _row(job: BenchmarkJob, fit: Fit, trained_model: Trained, test: Dataset) -> JointRow:
    """Errors of a joint model on the held-out frames, by region, and of the barriers."""
    potential = job.model(*fit)
    errors = errors_on(job, potential, test, job.coordinates)
    if errors.force is None or errors.energy is None:
        raise InputError(f"{JOINT}/test.xyz: the frames have no labels")
    tables = region_tables(errors)
    worst, best, ratio = evenness(tables[0].bins)
    return JointRow(
        model=fit.label,
        family=job.models[fit.label].family.name,
        budget=fit.points,
        data=JOINT,
        force_rmse_kcal_mol_A=errors.force.rmse / KCAL_MOL,
        energy_rmse_kcal_mol=errors.energy.rmse / KCAL_MOL,
        worst_region_kcal_mol_A=worst,
        best_region_kcal_mol_A=best,
        ratio=ratio,
        regions=tables,
        barriers=barrier_errors(job, potential),
        train_seconds=trained_model.train_seconds,
        predict_ms=trained_model.predict_ms,
        permutations=trained_model.permutations,
    )


def evenness(bins: Sequence[RegionBin]) -> Evenness:
    """The worst and the best force error of well populated bins, and their ratio."""
    forces = [one.rmse("force") for one in bins if one.population >= POPULATED]
    if not forces:
        return Evenness(None, None, None)
    return Evenness(max(forces), min(forces), max(forces) / min(forces))


def _write_errors(job: BenchmarkJob, fits: Sequence[Fit], test: Dataset) -> None:
    """Write errors.xyz and errors.json: test frames with the errors of each model."""
    order = np.random.default_rng(job.seed("shown")).permutation(len(test))
    shown = test[np.sort(order[:SHOWN])]
    predicted = {fit.label: job.model(*fit)(shown.positions) for fit in fits}
    files.write(job.folder / "errors.xyz", shown)
    errors = _errors_by_frame(job, shown, predicted)
    job.store.put(f"{errors.stage}.json", errors.to_dict())


def _errors_by_frame(
    job: BenchmarkJob, shown: Dataset, predicted: Mapping[str, Evaluation]
) -> ErrorsByFrame:
    energies, forces = shown.labels()
    values = {one.label: one.values(shown.positions) for one in job.coordinates}
    off = {label: (e.energies - energies) / KCAL_MOL for label, e in predicted.items()}
    rms = {
        label: np.sqrt(((e.forces - forces) ** 2).mean(axis=(1, 2))) / KCAL_MOL
        for label, e in predicted.items()
    }
    above = (energies - job.lowest()) / KCAL_MOL
    frames = tuple(
        FrameErrors(
            mechanism=str(shown.tags["mechanism"][index]),
            coordinates={label: float(value[index]) for label, value in values.items()},
            energy_kcal_mol=float(above[index]),
            energy_error_kcal_mol={k: float(v[index]) for k, v in off.items()},
            force_rmse_kcal_mol_A={k: float(v[index]) for k, v in rms.items()},
        )
        for index in range(len(shown))
    )
    return ErrorsByFrame(models=tuple(predicted), frames=frames)
