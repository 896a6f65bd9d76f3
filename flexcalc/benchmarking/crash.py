"""Stage: the crash test of every model."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

from flexcalc.benchmarking.curves import train_all
from flexcalc.benchmarking.endurance import Subject, reference_test, run_test
from flexcalc.benchmarking.job import JOINT, BenchmarkJob, Fit
from flexcalc.benchmarking.record import mark
from flexcalc.benchmarking.survival import Survival, measure_survival
from flexcalc.methods.crash import CrashTest
from flexcalc.results.benchmark_rows import CrashRow


def crash(job: BenchmarkJob) -> list[CrashRow]:
    """Run dynamics on each model until it fails, in crash/MARK/MECHANISM/MODEL.

    The models are those for all mechanisms of the largest budget, or where there are none those of
    the learning curves of the largest size. Where the reference is semiempirical it runs too.

    Source: after the TEA challenge of 2023, Chem. Sci. 16, 3720 and 3738 (2025).
    """
    rows: list[CrashRow] = []
    for test in job.config.crash:
        folder = job.folder / "crash" / mark(test)
        subjects = {fit: _subject(job, test, fit, folder) for fit in models_to_test(job)}
        if not subjects:
            job.store.say(
                "crash test: no model has been trained yet; run the stage curves or joint"
            )
            continue
        first = next(iter(subjects.values()))
        own = reference_test(first, job.config.reference, folder / "reference")
        if own is not None:
            with job.store.bar("crash test of the reference") as progress:
                run_test(own, progress)
        pieces = {
            fit: partial(measure_survival, subject, job.config.reference, own)
            for fit, subject in subjects.items()
        }
        for fit, survival in train_all(job, f"crash-{mark(test)}", pieces, Survival).items():
            rows += [
                replace(row, model=fit.label, mechanism=fit.mechanism, points=fit.points)
                for row in survival.rows
            ]
    return rows


def models_to_test(job: BenchmarkJob) -> list[Fit]:
    """The trained models of all mechanisms, or else of one each, of the largest size."""
    if job.config.budgets:
        fits = [Fit(JOINT, label, max(job.config.budgets)) for label in job.models]
    else:
        fits = [
            Fit(name, label, max(job.sizes(label)))
            for name in job.mechanisms
            for label in job.models
        ]
    return [fit for fit in fits if job.model_path(*fit).exists()]


def _subject(job: BenchmarkJob, test: CrashTest, fit: Fit, folder: Path) -> Subject:
    return Subject(
        test=test,
        address=str(job.model_path(*fit)),
        starts=job.folder / "minima.xyz",
        coordinates=tuple(job.config.coordinates),
        folder=folder / fit.mechanism / fit.place,
        trust=job.config.trust,
        seed=job.config.seed,
    )
