"""A force field that was learned: errors against labels, and what ended the exploration."""

from __future__ import annotations

from flexcalc.display import html
from flexcalc.display.numbers import number
from flexcalc.reports import facts, rows
from flexcalc.reports.folder import RunFolder
from flexcalc.reports.sections import stationary
from flexcalc.results.learning import Learning, LearnRound, curve

TITLE = "Learning"
COLUMNS = {
    "round": "round",
    "labels": "labels",
    "training_points": "training points",
    "force_rmse_kcal_mol_A": "force RMSE",
    "energy_rmse_kcal_mol": "energy RMSE",
    "unsure_force_rmse_kcal_mol_A": "force RMSE where unsure",
    "error_over_deviation": "error over deviation",
    "rank_correlation": "rank correlation",
    "complete_replicas": "complete",
    "unsure_replicas": "unsure",
    "failed_replicas": "failed",
}
"""Keys of the rounds and the heads of their columns."""


def body(folder: RunFolder) -> str:
    """The section as HTML."""
    intro = (
        "In every round a committee explores with replicas of dynamics at several temperatures, "
        "every second one with its rotatable bonds turned at random, and with bands between the "
        "minima that it has. A batch of the visited geometries is labelled: some of the dynamics "
        "drawn at random, which judge the model before it has seen "
        "them, and the others where the models of the committee differ and the geometry is new."
    )
    result = facts.typed(Learning, folder)
    parts = [html.paragraph(intro, "lead"), facts.cards(result, folder)]
    if result.verdict:
        parts.append(html.notes([f"{result.verdict[:1].upper()}{result.verdict[1:]}."]))
    rounds = rows.read(folder, LearnRound)
    drawing = curve(rounds)
    if drawing is None:
        parts.append(html.paragraph("No round is complete yet."))
        return "".join(parts) + stationary.body(folder)
    svg = drawing.svg("learn-curve", "Errors on random new frames against labels")
    caption = (
        "Errors of the model of each round on random frames of its own exploration, which it had "
        "not seen, against the number of labels it knew."
    )
    parts.append(html.figure(svg, caption, wide=True))
    cells = [[number(getattr(row, key)) for key in COLUMNS] for row in rounds]
    caption = (
        "Errors in kcal/mol and kcal/mol/Å. Error over deviation is the scale of the uncertainty; "
        "the rank correlation is that of deviation and error over the frames of the round. The "
        "last three columns count replicas."
    )
    parts.append(html.heading("By round") + html.table(tuple(COLUMNS.values()), cells, caption))
    parts.append(stationary.body(folder))
    return "".join(parts)
