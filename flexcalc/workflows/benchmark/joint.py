"""Stage: one model for all mechanisms, every family with the same number of training points."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from flexcalc import files
from flexcalc.commands.face import run_command
from flexcalc.commands.train import train
from flexcalc.config import Train
from flexcalc.dataset import Dataset, concatenate
from flexcalc.errors import InputError
from flexcalc.potential import Evaluation
from flexcalc.printing import say
from flexcalc.storage import write_json
from flexcalc.units import KCAL_MOL
from flexcalc.workflows.benchmark.curves import predict_ms, trained
from flexcalc.workflows.benchmark.job import JOINT, BenchmarkJob, Fit, Rows
from flexcalc.workflows.benchmark.record import kept
from flexcalc.workflows.benchmark.testing import along, judged, region_tables
from flexcalc.workflows.runs import Run

POPULATED = 20
"""Least frames of a region that counts in comparing the worst with the best."""
SHOWN = 400
"""Test frames whose errors are written out one by one."""
TEST_SHARE = 0.25
"""Largest part of all frames that is kept for the test."""


def joint(job: BenchmarkJob, here: Run) -> Rows:
    """Train each model on points of all mechanisms by `flexcalc train`, in joint/MODEL/BUDGET.

    The points are drawn, stratified by energy, from joint/pool.xyz, and the same for every model
    that does not choose its own; joint/test.xyz is held out. Also writes errors.xyz and
    errors.json, the test frames one by one with the models of the largest budget.
    """
    if not job.config.budgets:
        return []
    (here.folder / JOINT).mkdir(exist_ok=True)
    _divided(job)
    fits = [Fit(JOINT, label, b) for b in sorted(job.config.budgets) for label in job.models]
    pieces = {fit: partial(_timed, _training(job, fit), job.training(*fit)) for fit in fits}
    found = trained(job, here, JOINT, pieces)
    test = files.read(here.folder / JOINT / "test.xyz")
    rows = []
    for fit, result in found.items():
        name = f"tested-{fit.place}-{fit.points}"
        rows.append(kept(job, JOINT, name, partial(_row, job, fit, result, test)))
    _write_errors(job, [fit for fit in found if fit.points == max(job.config.budgets)], test)
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


def _timed(config: Train, folder: Path) -> dict[str, Any]:
    """Train; the time includes the choice of hyperparameters, None if it was interrupted."""
    whole, begun = not folder.exists(), time.perf_counter()
    results = run_command(train, config, folder, echo=say).to_dict()
    seconds = round(time.perf_counter() - begun, 3)
    known = {"permutations": results["permutations"]} if "permutations" in results else {}
    force, energy = results["force_rmse_kcal_mol_A"], results["energy_rmse_kcal_mol"]
    positions = files.read(config.dataset).positions
    return {
        "train_seconds": seconds if whole else None,
        "predict_ms": predict_ms(folder / results["model"], positions, config.trust),
        "said": f"validation force RMSE {force:.3f} kcal/mol/A, energy {energy:.3f} kcal/mol",
        **known,
    }


def _divided(job: BenchmarkJob) -> None:
    """Divide the frames of all mechanisms, each once, into joint/test.xyz and joint/pool.xyz."""
    place = job.folder / JOINT
    if (place / "pool.xyz").exists():
        return
    whole = together(job)
    test = min(job.config.test_frames, int(TEST_SHARE * len(whole)))
    needed = max(job.config.budgets) + job.config.validation_points
    if needed > len(whole) - test:
        raise InputError(
            f"budgets: {len(whole)} frames of all mechanisms, {test} of them for the test, are "
            f"too few for {max(job.config.budgets)} training and "
            f"{job.config.validation_points} validation points"
        )
    order = np.random.default_rng(job.seed(JOINT)).permutation(len(whole))
    files.write(place / "test.xyz", whole[np.sort(order[:test])])
    files.write(place / "pool.xyz", whole[np.sort(order[test:])])


def together(job: BenchmarkJob) -> Dataset:
    """The frames of all mechanisms; those that mechanisms share count once.

    The tag `mechanism` names the first that has them.
    """
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


def _row(job: BenchmarkJob, fit: Fit, result: Mapping[str, Any], test: Dataset) -> dict[str, Any]:
    """Errors of a joint model on the held-out frames, by region, and of the barriers."""
    potential = job.model(*fit)
    found, _ = judged(job, potential, test, job.coordinates)
    if found.force is None or found.energy is None:
        raise InputError(f"{JOINT}/test.xyz: the frames have no labels")
    tables = region_tables(found)
    return {
        "model": fit.label,
        "family": job.models[fit.label].family.name,
        "budget": fit.points,
        "set": JOINT,
        "force_rmse_kcal_mol_A": found.force.rmse / KCAL_MOL,
        "energy_rmse_kcal_mol": found.energy.rmse / KCAL_MOL,
        **evenness(tables[0]["bins"]),
        "regions": tables,
        "barriers": [
            {
                "mechanism": name,
                "error_kcal_mol": along(job, name, potential)["barrier_error_kcal_mol"],
            }
            for name in job.mechanisms
        ],
        **{key: value for key, value in result.items() if key != "said"},
    }


def evenness(bins: Sequence[Mapping[str, Any]]) -> dict[str, float | None]:
    """The worst and the best force error of well populated bins, and their ratio."""
    forces = [b["force_rmse_kcal_mol_A"] for b in bins if b["population"] >= POPULATED]
    known = bool(forces)
    return {
        "worst_region_kcal_mol_A": max(forces) if known else None,
        "best_region_kcal_mol_A": min(forces) if known else None,
        "ratio": max(forces) / min(forces) if known else None,
    }


def _write_errors(job: BenchmarkJob, fits: Sequence[Fit], test: Dataset) -> None:
    """Write errors.xyz and errors.json: test frames with what each model gets wrong there."""
    order = np.random.default_rng(job.seed("shown")).permutation(len(test))
    shown = test[np.sort(order[:SHOWN])]
    given = {fit.label: job.model(*fit)(shown.positions) for fit in fits}
    files.write(job.folder / "errors.xyz", shown)
    write_json(job.folder / "errors.json", _errors(job, shown, given))


def _errors(job: BenchmarkJob, shown: Dataset, given: Mapping[str, Evaluation]) -> dict[str, Any]:
    energies, forces = shown.labels()
    values = {one.label: one.values(shown.positions) for one in job.coordinates}
    wrong = {label: (e.energies - energies) / KCAL_MOL for label, e in given.items()}
    rms = {
        label: np.sqrt(((e.forces - forces) ** 2).mean(axis=(1, 2))) / KCAL_MOL
        for label, e in given.items()
    }
    above = (energies - job.lowest()) / KCAL_MOL
    frames = [
        {
            "mechanism": str(shown.tags["mechanism"][index]),
            "coordinates": {label: float(value[index]) for label, value in values.items()},
            "energy_kcal_mol": float(above[index]),
            "energy_error_kcal_mol": {k: float(v[index]) for k, v in wrong.items()},
            "force_rmse_kcal_mol_A": {k: float(v[index]) for k, v in rms.items()},
        }
        for index in range(len(shown))
    ]
    return {"models": list(given), "frames": frames}
