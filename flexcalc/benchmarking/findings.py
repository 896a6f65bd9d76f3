"""Stage: findings of the study, judged for this molecule; and the figures of all stages."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from flexcalc.benchmarking import verdicts
from flexcalc.benchmarking.job import JOINT, BenchmarkJob
from flexcalc.benchmarking.record import stage_rows
from flexcalc.benchmarking.verdicts import Tables, Verdict
from flexcalc.potential import formula
from flexcalc.results.benchmark import BenchmarkResult, BestModel
from flexcalc.results.benchmark_rows import (
    CurveRow,
    CutoffRow,
    Finding,
    JointRow,
    NaiveRow,
    PathRow,
    RegionRow,
)

FINDINGS: Sequence[tuple[str, str, Callable[[Tables], Verdict]]] = (
    (
        "Chemical accuracy is reached with fewer than 1000 points",
        "GAP, SchNet and sGDML reach 1 kcal/mol with fewer than 1000 training points.",
        verdicts.chemical_accuracy,
    ),
    (
        "The descriptor that is needed depends on the mechanism",
        "Rotation of azobenzene needs angles and dihedrals in addition to the inverse distances; "
        "inversion is worse with them.",
        verdicts.descriptor_by_mechanism,
    ),
    (
        "Energy errors of sGDML oscillate unless energies have a say",
        "Force errors fall steadily with the size while energy errors go up and down; models "
        "chosen by force and energy together do not.",
        verdicts.oscillating_energies,
    ),
    (
        "SchNet is uneven over the surface",
        "Its errors near equilibrium are four times those of the transition region.",
        verdicts.uneven_schnet,
    ),
    (
        "GAP's force errors reach a floor",
        "They stay above 1.8 (inversion) and 2.4 kcal/mol/A (rotation) up to 1000 points, "
        "whatever the cutoff.",
        verdicts.gap_floor,
    ),
    (
        "Families differ in how much they depend on the training points",
        "The best and the mean model of five folds are told apart for every family.",
        verdicts.sensitivity,
    ),
    (
        "Mixed sets give spurious symmetries",
        "On sets of cis and trans the plain recovery finds groups of 16 to 64 permutations "
        "instead of 8.",
        verdicts.spurious_symmetries,
    ),
    (
        "Dispersion adds more than 1 kcal/mol to every barrier",
        "More than 1.0 kcal/mol for every mechanism of azobenzene.",
        verdicts.dispersion_raises_barriers,
    ),
    (
        "From naive interpolations, band and string fail for azobenzene and not for glycine",
        "Neither converges to a reasonable path between the isomers of azobenzene; for glycine "
        "both do.",
        verdicts.naive_paths,
    ),
    (
        "Local models together do better than one for everything",
        "The study's conclusion: combine local models into a global one.",
        verdicts.local_models,
    ),
)
"""A finding, the words of the study, and the function that decides whether it holds here."""


def judge(tables: Tables) -> list[Finding]:
    """Every finding with its verdict by the tables of the stages; missing tables are empty."""
    judged = ((finding, paper, verdict(tables)) for finding, paper, verdict in FINDINGS)
    return [
        Finding(finding=finding, paper=paper, ours=verdict.ours, holds=verdict.holds)
        for finding, paper, verdict in judged
    ]


def findings(job: BenchmarkJob) -> list[Finding]:
    """Judge every finding by the other stages' tables."""
    tables = Tables(
        formula=formula(job.numbers),
        paths=stage_rows(job, PathRow),
        naive=stage_rows(job, NaiveRow),
        curves=stage_rows(job, CurveRow),
        cutoffs=stage_rows(job, CutoffRow),
        regions=stage_rows(job, RegionRow),
        joint=stage_rows(job, JointRow),
    )
    rows = judge(tables)
    for row in rows:
        job.store.say(f"{row.holds}: {row.finding}. {row.ours}")
    return rows


def result_of(job: BenchmarkJob) -> BenchmarkResult:
    """The figures of all stages: barriers, the best models and the findings."""
    curves = [row for row in stage_rows(job, CurveRow) if row.by == "joint"]
    best = {}
    for name in job.mechanisms:
        own = [row for row in curves if row.mechanism == name]
        if own:
            best[name] = _best_curve(own)
    joint = stage_rows(job, JointRow)
    if joint:
        best[JOINT] = _best_joint(joint)
    holds = [row.holds for row in stage_rows(job, Finding)]
    return BenchmarkResult(
        store=job.store,
        title=job.config.title or None,
        reference=job.config.reference,
        mechanisms=len(job.mechanisms),
        models=len(job.models),
        barriers_kcal_mol={row.mechanism: row.barrier_kcal_mol for row in stage_rows(job, PathRow)},
        best=best,
        findings_yes=holds.count("yes"),
        findings_partly=holds.count("partly"),
        findings_no=holds.count("no"),
    )


def _best_curve(rows: Iterable[CurveRow]) -> BestModel:
    row = min(rows, key=lambda row: row.mean_force_rmse_kcal_mol_A)
    return BestModel(
        model=f"{row.model}, {row.points} points",
        force_rmse_kcal_mol_A=row.mean_force_rmse_kcal_mol_A,
        energy_rmse_kcal_mol=row.mean_energy_rmse_kcal_mol,
    )


def _best_joint(rows: Iterable[JointRow]) -> BestModel:
    row = min(rows, key=lambda row: row.force_rmse_kcal_mol_A)
    return BestModel(
        model=f"{row.model}, {row.budget} points",
        force_rmse_kcal_mol_A=row.force_rmse_kcal_mol_A,
        energy_rmse_kcal_mol=row.energy_rmse_kcal_mol,
    )
