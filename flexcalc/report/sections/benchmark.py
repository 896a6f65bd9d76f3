"""Model families compared on one molecule: what was found, and the errors behind it."""

from __future__ import annotations

from typing import Any

from flexcalc.report import facts, html
from flexcalc.report.folder import RunFolder
from flexcalc.report.numbers import fixed

TITLE = "Benchmark"


def body(run: RunFolder) -> str:
    """The section as HTML."""
    parts = [html.cards(facts.chosen(run.results, ("reference", "mechanisms", "models")))]
    found = _rows(run, "findings.json")
    if found:
        rows = [[row["finding"], row["paper"], row["ours"], row["holds"]] for row in found]
        parts.append(html.table(["finding", "the study", "here", "holds"], rows))
    curves = [row for row in _rows(run, "curves.json") if row["by"] == "joint"]
    if curves:
        head = ["mechanism", "model", "points", "force RMSE (kcal/mol/Å)", "energy RMSE (kcal/mol)"]
        errors = ("mean_force_rmse_kcal_mol_A", "mean_energy_rmse_kcal_mol")
        rows = [
            [
                row["mechanism"],
                row["model"],
                str(row["points"]),
                *(fixed(float(row[key]), 2) for key in errors),
            ]
            for row in curves
        ]
        parts.append(html.table(head, rows, "Means over the folds of the cross-validation."))
    return "".join(parts)


def _rows(run: RunFolder, name: str) -> list[dict[str, Any]]:
    content = run.json(name)
    return content if isinstance(content, list) else []
