"""A force field that was learned: errors, how well they are predicted, and what was explored."""

from __future__ import annotations

from collections.abc import Sequence

from flexcalc.analysis.dihedrals import CELL_DEGREES
from flexcalc.display import html
from flexcalc.display.numbers import NONE, counted, fixed, number
from flexcalc.reports import facts, rows
from flexcalc.reports.exports import columns_of
from flexcalc.reports.folder import RunFolder
from flexcalc.reports.sections import baselines, stationary
from flexcalc.results.calibration import (
    PURPOSE,
    JudgedFrame,
    calibration_drawing,
)
from flexcalc.results.crash import CONFIDENCE, CrashedAt
from flexcalc.results.learning import (
    EXPLORED,
    LABELS,
    Learning,
    LearnRound,
    curve,
    dihedral_drawing,
    dihedral_map,
    round_name,
)

TITLE = "Learning"
BELOW = "baseline"
"""Key of the weighted sum of baselines, which rounds on several of them have."""
COLUMNS = {
    "round": "round",
    "labels": "labels",
    "training_points": "training points",
    "force_rmse_kcal_mol_A": "force RMSE",
    "energy_rmse_kcal_mol": "energy RMSE",
    "unsure_force_rmse_kcal_mol_A": "force RMSE where unsure",
    "error_over_deviation": "error over deviation",
    "rank_correlation": "rank corr.",
    "confident_half_large_errors": "large, confident half",
    "complete_replicas": "complete",
    "unsure_replicas": "unsure",
    "failed_replicas": "failed",
    "stops_per_ns": "early per ns",
    "barrier_error_kcal_mol": "barrier error",
    BELOW: "baseline",
}
"""Keys of the rounds and the heads of their columns."""
RELIABILITY = {
    "judged_frames": "number",
    "share_within_factor_2": "within a factor of 2",
    "rank_correlation": "rank correlation",
    "confident_half_large_errors": "large errors in the confident half",
}
"""Figures of `Calibration` and the heads of their columns."""


def body(folder: RunFolder) -> str:
    """The section as HTML."""
    intro = (
        "In every round a committee explores with replicas of dynamics at several temperatures, "
        "a third of them with rotatable bonds turned at random and a third driven along "
        "coordinates, and with bands between the minima that it has. A batch of the visited "
        "geometries is labelled: some of the dynamics drawn at random, which judge the model "
        "before it has seen them, and the others where the models of the committee differ and the "
        "geometry is new."
    )
    result = facts.typed(Learning, folder)
    parts = [html.paragraph(intro, "lead"), facts.cards(result, folder)]
    if result.verdict:
        parts.append(html.notes([f"{result.verdict[:1].upper()}{result.verdict[1:]}."]))
    rounds = rows.read(folder, LearnRound)
    drawing = curve(rounds)
    if drawing is None:
        parts.append(html.paragraph("No round is complete yet."))
        end = baselines.table(folder), stationary.body(folder), _crash(folder)
        return "".join((*parts, *end))
    svg = drawing.svg("learn-curve", "Errors on random new frames against labels")
    caption = (
        "Errors of the model of each round on random frames of its own exploration, which it had "
        "not seen, against the number of labels it knew."
    )
    parts.append(html.figures(html.figure(svg, caption)))
    shown = {key: head for key, head in COLUMNS.items() if key != BELOW or _weighted(rounds)}
    cells = [[_cell(getattr(row, key)) for key in shown] for row in rounds]
    caption = (
        "Errors in kcal/mol and kcal/mol/Å. Error over deviation is the median over the frames of "
        "the round, and the rank correlation that of predicted and true force error. The confident "
        "half are the frames of the round with the lowest predicted errors; of these, the share "
        "whose true error exceeds twice the force target. Complete, unsure and failed count "
        "replicas; of those that are not driven, the next column has how many ended early per "
        "nanosecond. The barrier error is the largest one of the tops of bands that were "
        "labelled in the round."
    )
    parts.append(
        html.heading("By round") + html.table(tuple(shown.values()), cells, caption, dense=True)
    )
    parts.append(baselines.table(folder))
    drawn = html.figures(_calibration(folder, result), _dihedrals(folder, rounds))
    if drawn:
        parts.append(html.heading("Predicted errors and explored dihedrals") + drawn)
    parts.append(_reliability(result))
    parts.append(stationary.body(folder))
    parts.append(_crash(folder))
    return "".join(parts)


def _weighted(rounds: Sequence[LearnRound]) -> bool:
    """Whether there are several baselines."""
    return any(row.baseline for row in rounds)


def _cell(value: float | str | None) -> str:
    """A figure or a text."""
    return value if isinstance(value, str) else number(value)


def _calibration(folder: RunFolder, result: Learning) -> str:
    """Predicted against true force errors; nothing of a run that has none."""
    frames = rows.read(folder, JudgedFrame)
    drawing = calibration_drawing(frames)
    if drawing is None:
        return ""
    folder.tables["calibration"] = columns_of([frame.to_dict() for frame in frames])
    svg = drawing.svg("learn-calibration", "Predicted against true force error")
    caption = (
        "Force RMSE of each new frame, true and as predicted before its label was known. The "
        "prediction is the deviation of the committee times a scale: the median of error over "
        "deviation in up to three rounds before, 1 in the first round. Above the line the error "
        "is larger than predicted. Random frames are what the dynamics visits; the others were "
        "chosen because the deviation was large."
    )
    if result.error_over_deviation is not None:
        caption += f" Scale after the last round: {number(result.error_over_deviation)}."
    if result.calibration is not None:
        share = _percent(result.calibration.share_within_factor_2)
        caption += f" Of all frames, {share} have between half and twice the predicted error."
    return html.figure(svg, caption)


def _reliability(result: Learning) -> str:
    """How reliable predicted errors are, as a table."""
    known = {"all": result.calibration, "random": result.random_calibration}
    cells = [
        (name, *(number(getattr(found, key)) for key in RELIABILITY))
        for name, found in known.items()
        if found is not None
    ]
    caption = (
        "How reliable predicted force errors are, over all rounds: the share of frames whose true "
        "error is between half and twice the predicted one; Spearman's rank correlation of both; "
        "and, of the half of the frames with the lowest predicted errors, the share whose true "
        "error exceeds twice the force target."
    )
    return html.table(("frames", *RELIABILITY.values()), cells, caption) if cells else ""


def _crash(folder: RunFolder) -> str:
    """How many replicas of the crash test stayed intact; nothing where there was none."""
    found = rows.read(folder, CrashedAt)
    if not found:
        return ""
    written = [row.to_dict() | {"failures": row.described()} for row in found]
    folder.tables["crash"] = columns_of(written)
    intro = (
        "Dynamics of the final model from its minima. A replica fails where a bond breaks or "
        "forms, where atoms come too close, or where the model gives no finite number. That it "
        "stays intact does not show that its forces are right: that is what the errors on random "
        "new frames are for."
    )
    cells = [
        (
            fixed(row.temperature_K, 0),
            str(row.replicas),
            str(row.intact_replicas),
            number(row.time_ns),
            number(row.most_failures_per_ns),
            row.described() or NONE,
        )
        for row in found
    ]
    caption = (
        "Temperatures in kelvin, times of all replicas together in nanoseconds. The last but one "
        f"column is the largest rate that these figures leave possible, with {100 * CONFIDENCE:.0f}"
        " % confidence: 3 divided by the time where no replica failed. The last geometry before "
        "each failure is in crash/failed.xyz."
    )
    head = ("temperature", "replicas", "intact", "time", "failures per ns at most", "failures")
    table = html.table(head, cells, caption)
    return html.heading("Crash test") + html.paragraph(intro) + table


def _dihedrals(folder: RunFolder, rounds: Sequence[LearnRound]) -> str:
    """Explored and labelled geometries over rotatable dihedrals; nothing of a rigid molecule."""
    labelled = folder.frames(LABELS)
    if labelled is None or PURPOSE not in labelled.tags:
        return ""
    names = (f"{round_name(row.round)}/{EXPLORED}" for row in rounds)
    found = dihedral_map(labelled, (folder.frames(name) for name in names))
    if found is None:
        return ""
    drawn = [f"{one.label} / {one.unit}" for one in found.drawn]
    purpose = {PURPOSE: labelled.tags[PURPOSE]}
    folder.tables["dihedrals-labelled"] = purpose | dict(zip(drawn, found.labelled.T, strict=True))
    folder.tables["dihedrals-explored"] = dict(zip(drawn, found.explored.T, strict=True))
    svg = dihedral_drawing(found, labelled).svg("learn-dihedrals", "Explored dihedrals")
    caption = (
        f"Dihedrals of {counted(len(found.explored), 'explored frame')} of all rounds (shaded) and "
        "of the labelled geometries (marks), coloured by why they were labelled. The exploration "
        f"has reached {_percent(found.reached_share)} of a grid of {CELL_DEGREES} degrees, not all "
        "of which a molecule can reach without close contacts."
    )
    if len(found.rotatable) > len(found.drawn):
        caption += (
            f" Rotatable: {', '.join(one.label for one in found.rotatable)}; drawn are the two "
            "whose labelled values spread most."
        )
    return html.figure(svg, caption)


def _percent(share: float | None) -> str:
    return NONE if share is None else f"{100 * share:.0f} %"
