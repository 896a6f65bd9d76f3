"""Stages: learning curves of every model on every mechanism, and the scan of cutoffs."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np

from flexcalc import files
from flexcalc.benchmarking import calls
from flexcalc.benchmarking.job import BenchmarkJob, Fit, word
from flexcalc.benchmarking.record import Outcome, page_of
from flexcalc.benchmarking.trainings import run_pieces
from flexcalc.config.train import Train
from flexcalc.models.family import Family
from flexcalc.registry import load
from flexcalc.results.benchmark_rows import CurveRow, CutoffRow
from flexcalc.results.training import scalars
from flexcalc.storage import read_json
from flexcalc.training.reduction import milliseconds
from flexcalc.training.tuning import ENERGY, FORCE, best_row

PREDICTED = 32
"""Batch size for timing a prediction."""


@dataclass(frozen=True, kw_only=True)
class CrossValidated(Outcome):
    """The two rows of one model at one size: chosen by force, and jointly."""

    rows: tuple[CurveRow, ...]


@dataclass(frozen=True, kw_only=True)
class Scanned(Outcome):
    """Mean errors of one model with each cutoff."""

    rows: tuple[CutoffRow, ...]


class Costs(NamedTuple):
    """Seconds to train a model, and milliseconds to predict a geometry."""

    train_seconds: float
    predict_ms: float


def curves(job: BenchmarkJob) -> list[CurveRow]:
    """Cross-validate each model at each size by `flexcalc train`, in curves/MECHANISM/MODEL/SIZE.

    Of the folds one is for training and the others for testing. Each size gives two rows, as the
    hyperparameters may be chosen by the mean force error alone, or jointly with the energy's.

    Source: Vassilev-Galindo et al., J. Chem. Phys. 154, 094119 (2021), section II.
    """
    pieces = {
        fit: partial(
            _cross_validate,
            _training(job, job.models[fit.label].family, fit),
            job.training(*fit),
            job.echo,
        )
        for fit in job.fits()
    }
    done = train_all(job, CurveRow.stage, pieces, CrossValidated)
    return [
        replace(row, mechanism=fit.mechanism, model=fit.label)
        for fit in job.fits()
        if fit in done
        for row in done[fit].rows
    ]


def cutoffs(job: BenchmarkJob) -> list[CutoffRow]:
    """Cross-validate every model whose family can try several cutoffs, in cutoffs/."""
    pieces = {}
    for name in job.mechanisms if job.config.cutoffs else ():
        for label, model in job.models.items():
            if not _has_cutoffs(model.family):
                continue
            family = replace(model.family, cutoff=None, cutoffs=tuple(job.config.cutoffs))
            fit = Fit(name, label, job.cutoff_points)
            folder = job.folder / "cutoffs" / name / word(label)
            pieces[fit] = partial(_scan_cutoffs, _training(job, family, fit), folder, job.echo)
    done = train_all(job, CutoffRow.stage, pieces, Scanned)
    return [
        replace(row, mechanism=fit.mechanism, model=fit.label, points=fit.points)
        for fit, result in done.items()
        for row in result.rows
    ]


def train_all[R: Outcome](
    job: BenchmarkJob, stage: str, pieces: Mapping[Fit, partial[R]], kind: type[R]
) -> dict[Fit, R]:
    """Results of trainings, in the order of the pieces: of those done before, and of this run's."""
    pages = {fit: page_of(job, stage, fit) for fit in pieces}
    contents = {fit: page.store.get(page.name) for fit, page in pages.items()}
    done = {fit: kind.from_dict(one) for fit, one in contents.items() if one is not None}
    labels = {model.label for model in job.models_to_train}
    waiting = {
        fit: piece for fit, piece in pieces.items() if fit not in done and fit.label in labels
    }

    def keep(fit: Fit, result: R) -> None:
        pages[fit].store.put(pages[fit].name, result.to_dict())
        done[fit] = result
        job.store.say(f"{stage}: {fit.text}: {result.summary}")

    if waiting:
        with job.store.bar(stage) as progress:
            run_pieces(job, waiting, keep, progress)
    return {fit: done[fit] for fit in pieces if fit in done}


def _training(job: BenchmarkJob, family: Family, fit: Fit) -> Train:
    """One fold to train on, the others to test on; the subset has no other frames."""
    return Train(
        dataset=job.subset(fit.mechanism, fit.points),
        family=(family,),
        points=fit.points,
        folds=job.config.folds,
        train_folds=1,
        trust=job.config.trust,
        seed=job.config.seed,
    )


def _cross_validate(config: Train, folder: Path, echo: calls.Echo) -> CrossValidated:
    """Train, and read the errors of the folds by both choices of hyperparameters."""
    training = calls.train(config, folder, echo)
    table, trials = (read_json(folder / f"{n}.json") for n in ("table", "trials"))
    by_force = min(range(len(table)), key=lambda index: table[index][FORCE])
    jointly = best_row(table)
    costs = _costs(config, folder, training.file, table[jointly])
    rows = []
    for by, index in (("force", by_force), ("joint", jointly)):
        folds = trials[index]
        best = min(folds, key=lambda row: row[FORCE]) if by == "force" else folds[best_row(folds)]
        rows.append(
            CurveRow(
                family=config.family[0].name,
                points=config.training_points,
                by=by,
                fold_force_rmse_kcal_mol_A=tuple(row[FORCE] for row in folds),
                fold_energy_rmse_kcal_mol=tuple(row[ENERGY] for row in folds),
                best_force_rmse_kcal_mol_A=best[FORCE],
                best_energy_rmse_kcal_mol=best[ENERGY],
                mean_force_rmse_kcal_mol_A=table[index][FORCE],
                mean_energy_rmse_kcal_mol=table[index][ENERGY],
                hyperparameters=_hyperparameters(_candidate(config.family[0], table[index])),
                permutations=training.permutations,
                train_seconds=costs.train_seconds,
                predict_ms=costs.predict_ms,
            )
        )
    joint = rows[1]
    said = f"force RMSE {joint.mean_force_rmse_kcal_mol_A:.3f} kcal/mol/A"
    return CrossValidated(
        rows=tuple(rows), summary=f"{said}, energy {joint.mean_energy_rmse_kcal_mol:.3f} kcal/mol"
    )


def _hyperparameters(family: Any) -> Mapping[str, int | float | str]:
    """The plain hyperparameters of a family."""
    return scalars({field.name: getattr(family, field.name) for field in fields(family)})


def _costs(config: Train, folder: Path, model: str, row: Mapping[str, Any]) -> Costs:
    """Costs of the chosen candidate, which is trained once more.

    The search shares work between its candidates and may have been interrupted, so its own time
    says nothing about one training.
    """
    frames = read_json(folder / "frames.json")
    data = files.read(config.dataset)
    chosen = _candidate(config.family[0], row)
    begun = time.perf_counter()
    chosen.fit(data[frames["train"]], None, np.random.default_rng(config.seed))
    seconds = time.perf_counter() - begun
    return Costs(round(seconds, 3), predict_ms(folder / model, data.positions, config.trust))


def predict_ms(model: Path, positions: np.ndarray, trust: bool) -> float:
    """Milliseconds to predict one geometry of a batch of PREDICTED."""
    batch = positions[np.arange(PREDICTED) % len(positions)]
    return round(milliseconds(load(str(model), trust=trust), batch), 5)


def _candidate(family: Family, row: Mapping[str, Any]) -> Family:
    """The candidate of a row of the table."""
    candidates = family.candidates()
    if len(candidates) == 1:
        return candidates[0]
    values = {key: value for key, value in row.items() if "_rmse_" not in key}
    return cast(Family, replace(cast(Any, candidates[0]), **values))


def _scan_cutoffs(config: Train, folder: Path, echo: calls.Echo) -> Scanned:
    """Train with each cutoff."""
    calls.train(config, folder, echo)
    table: Sequence[Mapping[str, Any]] = read_json(folder / "table.json")
    rows = tuple(
        CutoffRow(
            cutoff_A=row.get("cutoff", config.family[0].cutoffs[0]),
            force_rmse_kcal_mol_A=row[FORCE],
            energy_rmse_kcal_mol=row[ENERGY],
        )
        for row in sorted(table, key=lambda row: row.get("cutoff", 0.0))
    )
    best = min(rows, key=lambda row: row.force_rmse_kcal_mol_A)
    return Scanned(rows=rows, summary=f"lowest force RMSE with {best.cutoff_A:g} A")


def _has_cutoffs(family: Any) -> bool:
    return {"cutoff", "cutoffs"} <= {field.name for field in fields(family)}
