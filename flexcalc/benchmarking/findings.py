"""Stage: what the study found, held against this molecule; and the summary of it all."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from flexcalc.benchmarking import verdicts
from flexcalc.benchmarking.job import JOINT, BenchmarkJob, Rows
from flexcalc.benchmarking.record import stage_rows
from flexcalc.benchmarking.verdicts import Tables, Verdict
from flexcalc.potential import formula
from flexcalc.results.benchmark import BenchmarkResult, BestModel

READ = ("paths", "naive", "curves", "cutoffs", "regions", "joint")
"""Tables that findings are judged by."""

FINDINGS: Sequence[tuple[str, str, Callable[[Tables], Verdict]]] = (
    (
        "Chemical accuracy is reached with fewer than 1000 points",
        "GAP, SchNet and sGDML reach 1 kcal/mol with fewer than 1000 training points.",
        verdicts.chemical_accuracy,
    ),
    (
        "The descriptor that is needed depends on the mechanism",
        "Rotation of azobenzene needs angles and dihedrals beside the inverse distances; "
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
"""A finding, what the study says, and what decides whether it holds here."""


def judge(tables: Tables) -> list[dict[str, str]]:
    """Rows of findings.json: each finding, the study's words, ours, and whether it holds.

    Args:
        tables: rows of the stages by their names, `naive` and `molecule` among them; those that
            are lacking count as empty.
    """
    whole = {name: tables.get(name, ()) for name in (*READ, "molecule")}
    rows = []
    for finding, paper, verdict in FINDINGS:
        ours, holds = verdict(whole)
        rows.append({"finding": finding, "paper": paper, "ours": ours, "holds": holds})
    return rows


def findings(job: BenchmarkJob) -> Rows:
    """Judge every finding by the other stages' tables."""
    tables = {name: stage_rows(job, name) for name in READ}
    rows = judge({**tables, "molecule": [{"formula": formula(job.numbers)}]})
    for row in rows:
        job.store.say(f"{row['holds']}: {row['finding']}. {row['ours']}")
    return rows


def result_of(job: BenchmarkJob) -> BenchmarkResult:
    """The figures of all stages: barriers, the best models and the findings."""
    jointly = [row for row in stage_rows(job, "curves") if row["by"] == "joint"]
    best = {}
    for name in job.mechanisms:
        rows = [row for row in jointly if row["mechanism"] == name]
        if rows:
            row = min(rows, key=lambda row: row["mean_force_rmse_kcal_mol_A"])
            best[name] = BestModel(
                model=f"{row['model']}, {row['points']} points",
                force_rmse_kcal_mol_A=row["mean_force_rmse_kcal_mol_A"],
                energy_rmse_kcal_mol=row["mean_energy_rmse_kcal_mol"],
            )
    rows = stage_rows(job, "joint")
    if rows:
        row = min(rows, key=lambda row: row["force_rmse_kcal_mol_A"])
        best[JOINT] = BestModel(
            model=f"{row['model']}, {row['budget']} points",
            force_rmse_kcal_mol_A=row["force_rmse_kcal_mol_A"],
            energy_rmse_kcal_mol=row["energy_rmse_kcal_mol"],
        )
    words = [row["holds"] for row in stage_rows(job, "findings")]
    return BenchmarkResult(
        store=job.store,
        title=job.config.title or None,
        reference=job.config.reference,
        mechanisms=len(job.mechanisms),
        models=len(job.models),
        barriers_kcal_mol={
            row["mechanism"]: row["barrier_kcal_mol"] for row in stage_rows(job, "paths")
        },
        best=best,
        findings_yes=words.count("yes"),
        findings_partly=words.count("partly"),
        findings_no=words.count("no"),
    )
