"""Stage: what the study found, held against this molecule; and the summary of it all."""

from __future__ import annotations

from typing import Any

from flexcalc.potential import formula
from flexcalc.workflows.benchmark.job import BenchmarkJob, Rows
from flexcalc.workflows.benchmark.record import stage_rows
from flexcalc.workflows.benchmark.verdicts import judge
from flexcalc.workflows.runs import Run

READ = ("paths", "naive", "curves", "cutoffs", "regions", "joint")


def findings(job: BenchmarkJob, here: Run) -> Rows:
    """Judge every finding by the other stages' tables; see `verdicts`."""
    tables = {name: stage_rows(job, name) for name in READ}
    rows = judge({**tables, "molecule": [{"formula": formula(job.numbers)}]})
    for row in rows:
        here.say(f"{row['holds']}: {row['finding']}. {row['ours']}")
    return rows


def summary(job: BenchmarkJob) -> dict[str, Any]:
    """The flat results: the molecule, the best models and their figures."""
    results: dict[str, Any] = {
        **({"title": job.config.title} if job.config.title else {}),
        "reference": job.config.reference,
        "mechanisms": len(job.mechanisms),
        "models": len(job.models),
    }
    for row in stage_rows(job, "paths"):
        results[f"barrier_{row['mechanism']}_kcal_mol"] = row["barrier_kcal_mol"]
    jointly = [row for row in stage_rows(job, "curves") if row["by"] == "joint"]
    for name in job.mechanisms:
        rows = [row for row in jointly if row["mechanism"] == name]
        if rows:
            best = min(rows, key=lambda row: row["mean_force_rmse_kcal_mol_A"])
            results |= {
                f"best_{name}": f"{best['model']}, {best['points']} points",
                f"force_rmse_{name}_kcal_mol_A": best["mean_force_rmse_kcal_mol_A"],
                f"energy_rmse_{name}_kcal_mol": best["mean_energy_rmse_kcal_mol"],
            }
    joint = stage_rows(job, "joint")
    if joint:
        best = min(joint, key=lambda row: row["force_rmse_kcal_mol_A"])
        results |= {
            "best_joint": f"{best['model']}, {best['budget']} points",
            "force_rmse_joint_kcal_mol_A": best["force_rmse_kcal_mol_A"],
            "energy_rmse_joint_kcal_mol": best["energy_rmse_kcal_mol"],
        }
    verdicts = [row["holds"] for row in stage_rows(job, "findings")]
    counted = {f"findings_{word}": verdicts.count(word) for word in ("yes", "partly", "no")}
    return results | counted
