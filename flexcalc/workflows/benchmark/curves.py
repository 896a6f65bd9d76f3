"""Stages: learning curves of every model on every mechanism, and the scan of cutoffs."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np

from flexcalc import files
from flexcalc.commands.face import run_command
from flexcalc.commands.train import train
from flexcalc.config import Train
from flexcalc.models.family import Family
from flexcalc.printing import say
from flexcalc.registry import load
from flexcalc.storage import read_json
from flexcalc.training.reduction import milliseconds
from flexcalc.training.tuning import ENERGY, FORCE, best_row
from flexcalc.workflows.benchmark.job import BenchmarkJob, Fit, Rows, word
from flexcalc.workflows.benchmark.record import checkpoints
from flexcalc.workflows.benchmark.team import Piece, done_by
from flexcalc.workflows.runs import Run

PREDICTED = 32
"""Geometries of the batch that a prediction is timed on."""


def curves(job: BenchmarkJob, here: Run) -> Rows:
    """Cross-validate each model at each size by `flexcalc train`, in curves/MECHANISM/MODEL/SIZE.

    Of the folds one is for training and the others for testing. Each size gives two rows, as the
    hyperparameters may be chosen by the mean force error alone, or jointly with the energy's.

    Source: Vassilev-Galindo et al., J. Chem. Phys. 154, 094119 (2021), section II.
    """
    pieces = {
        fit: partial(
            _cross_validated,
            _training(job, job.models[fit.label].family, fit),
            job.training(*fit),
        )
        for fit in job.fits()
    }
    found = trained(job, here, "curves", pieces)
    return [
        {"mechanism": fit.mechanism, "model": fit.label, **row}
        for fit in job.fits()
        for row in found.get(fit, {"rows": []})["rows"]
    ]


def cutoffs(job: BenchmarkJob, here: Run) -> Rows:
    """Cross-validate every model that can try several cutoffs with each of them, in cutoffs/."""
    pieces = {}
    for name in job.mechanisms if job.config.cutoffs else ():
        for label, model in job.models.items():
            if not _has_cutoffs(model.family):
                continue
            family = replace(model.family, cutoff=None, cutoffs=tuple(job.config.cutoffs))
            fit = Fit(name, label, job.scanned)
            folder = here.folder / "cutoffs" / name / word(label)
            pieces[fit] = partial(_scanned, _training(job, family, fit), folder)
    found = trained(job, here, "cutoffs", pieces)
    return [
        {"mechanism": fit.mechanism, "model": fit.label, "points": fit.points, **row}
        for fit, result in found.items()
        for row in result["rows"]
    ]


def trained(
    job: BenchmarkJob, here: Run, stage: str, pieces: Mapping[Fit, Piece]
) -> dict[Fit, dict[str, Any]]:
    """What trainings came to: of those done before, and of those that this run is to do."""
    rows = checkpoints(job, stage)

    def page(fit: Fit) -> Any:
        return rows.within(fit.mechanism).within(fit.place)

    found = {fit: page(fit).load(str(fit.points)) for fit in pieces}
    labels = {model.label for model in job.wanted}
    waiting = {
        fit: piece for fit, piece in pieces.items() if found[fit] is None and fit.label in labels
    }

    def taken(fit: Fit, result: dict[str, Any]) -> None:
        page(fit).save(str(fit.points), result)
        found[fit] = result
        here.say(f"{stage}: {fit.text}: {result['said']}")

    if waiting:
        with here.bar(stage) as progress:
            done_by(job.config.workers, waiting, taken, progress)
    return {fit: result for fit, result in found.items() if result is not None}


def _training(job: BenchmarkJob, family: Family, fit: Fit) -> Train:
    """One fold to train on, the others to test on; the subset has just these frames."""
    return Train(
        dataset=job.subset(fit.mechanism, fit.points),
        family=(family,),
        points=fit.points,
        folds=job.config.folds,
        train_folds=1,
        trust=job.config.trust,
        seed=job.config.seed,
    )


def _cross_validated(config: Train, folder: Path) -> dict[str, Any]:
    """The two rows of one model at one size: chosen by force, and jointly."""
    results = run_command(train, config, folder, echo=say).to_dict()
    table, trials = (read_json(folder / f"{n}.json") for n in ("table", "trials"))
    by_force = min(range(len(table)), key=lambda index: table[index][FORCE])
    jointly = best_row(table)
    costs = _costs(config, folder, results["model"], table[jointly])
    known = {"permutations": results["permutations"]} if "permutations" in results else {}
    rows = []
    for by, index in (("force", by_force), ("joint", jointly)):
        folds = trials[index]
        best = min(folds, key=lambda row: row[FORCE]) if by == "force" else folds[best_row(folds)]
        rows.append(
            {
                "family": config.family[0].name,
                "points": config.points,
                "by": by,
                "fold_force_rmse_kcal_mol_A": [row[FORCE] for row in folds],
                "fold_energy_rmse_kcal_mol": [row[ENERGY] for row in folds],
                "best_force_rmse_kcal_mol_A": best[FORCE],
                "best_energy_rmse_kcal_mol": best[ENERGY],
                "mean_force_rmse_kcal_mol_A": table[index][FORCE],
                "mean_energy_rmse_kcal_mol": table[index][ENERGY],
                "hyperparameters": _told(_candidate(config.family[0], table[index])),
                **known,
                **costs,
            }
        )
    said = f"force RMSE {rows[1]['mean_force_rmse_kcal_mol_A']:.3f} kcal/mol/A"
    return {
        "rows": rows,
        "said": f"{said}, energy {rows[1]['mean_energy_rmse_kcal_mol']:.3f} kcal/mol",
    }


def _told(family: Any) -> dict[str, Any]:
    """The plain hyperparameters of a family."""
    values = {field.name: getattr(family, field.name) for field in fields(family)}
    return {key: value for key, value in values.items() if isinstance(value, int | float | str)}


def _costs(config: Train, folder: Path, model: str, row: Mapping[str, Any]) -> dict[str, float]:
    """Seconds to train the chosen candidate once more, and milliseconds to predict a geometry.

    The search shares work between its candidates and may have been interrupted, so its own time
    says nothing about one training.
    """
    frames = read_json(folder / "frames.json")
    data = files.read(config.dataset)
    chosen = _candidate(config.family[0], row)
    begun = time.perf_counter()
    chosen.fit(data[frames["train"]], None, np.random.default_rng(config.seed))
    seconds = time.perf_counter() - begun
    return {
        "train_seconds": round(seconds, 3),
        "predict_ms": predict_ms(folder / model, data.positions, config.trust),
    }


def predict_ms(model: Path, positions: np.ndarray, trust: bool) -> float:
    """Milliseconds to predict one geometry of a batch of PREDICTED."""
    batch = positions[np.arange(PREDICTED) % len(positions)]
    return round(milliseconds(load(str(model), trust=trust), batch), 5)


def _candidate(family: Family, row: Mapping[str, Any]) -> Family:
    """The candidate that a row of the table is about."""
    candidates = family.candidates()
    if len(candidates) == 1:
        return candidates[0]
    values = {key: value for key, value in row.items() if "_rmse_" not in key}
    return cast(Family, replace(cast(Any, candidates[0]), **values))


def _scanned(config: Train, folder: Path) -> dict[str, Any]:
    """Mean errors with each cutoff."""
    run_command(train, config, folder, echo=say)
    table: Sequence[Mapping[str, Any]] = read_json(folder / "table.json")
    rows = [
        {
            "cutoff_A": row.get("cutoff", config.family[0].cutoffs[0]),
            "force_rmse_kcal_mol_A": row[FORCE],
            "energy_rmse_kcal_mol": row[ENERGY],
        }
        for row in sorted(table, key=lambda row: row.get("cutoff", 0.0))
    ]
    best = min(rows, key=lambda row: row["force_rmse_kcal_mol_A"])
    return {"rows": rows, "said": f"lowest force RMSE with {best['cutoff_A']:g} A"}


def _has_cutoffs(family: Any) -> bool:
    return {"cutoff", "cutoffs"} <= {field.name for field in fields(family)}
