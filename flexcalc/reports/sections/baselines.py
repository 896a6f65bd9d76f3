"""The weights of several baselines, of a training and of a learning."""

from __future__ import annotations

from flexcalc.display import html
from flexcalc.display.numbers import NONE, number
from flexcalc.reports.exports import columns_of
from flexcalc.reports.folder import RunFolder
from flexcalc.reports.rows import dicts


def table(folder: RunFolder) -> str:
    """The weights as a table; nothing where there are not several baselines."""
    rows = dicts(folder.json("baselines.json"))
    if not rows:
        return ""
    folder.tables["baselines"] = columns_of(rows)
    keys = ("weight", "force_rmse_kcal_mol_A")
    cells = [
        (str(row.get("baseline", NONE)), *(number(row.get(key)) for key in keys)) for row in rows
    ]
    caption = (
        "Weights of the baselines, by folds of the training points, and the force RMSE in "
        "kcal/mol/Å of a model on each of them alone. One of weight 0 does not help."
    )
    return html.table(("baseline", "weight", "force RMSE alone"), cells, caption)
