"""The first sentences of the page: the main result in figures."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from flexcalc.display import html
from flexcalc.display.numbers import counted as counted_noun
from flexcalc.display.numbers import number
from flexcalc.reports.rows import floats, grouped, largest
from flexcalc.reports.sections.benchmark import findings, joint
from flexcalc.reports.sections.benchmark.record import Record, preferred
from flexcalc.results.benchmark_rows import CrashRow, JointRow


def sentences(record: Record) -> tuple[str, str]:
    """The main result of the stages that are there, and the other results."""
    ordered = (_joint, _learning, _surface, _crash, _findings)
    first, *rest = [said for sentence in ordered if (said := sentence(record))] or [""]
    return first, " ".join(rest)


def cards(record: Record) -> str:
    """The key figures."""
    items = []
    best = _best_joint(record)
    frames = floats(row.frames for row in record.data)
    if np.isfinite(frames).any():
        items.append(html.Card("labelled frames", number(int(np.nansum(frames)))))
    if record.styles:
        items.append(html.Card("models compared", number(len(record.styles))))
    if best is not None:
        points, force = number(int(best.budget)), number(best.force_rmse_kcal_mol_A)
        items.append(html.Card(f"lowest in one model, {points} points", best.model))
        items.append(html.Card("its force RMSE", force, "kcal/mol/Å"))
        if _is_known(best.ratio):
            items.append(html.Card("its worst over best region", number(best.ratio, 2)))
    survived, runs = _survived(record.crash)
    if runs:
        items.append(
            html.Card(
                "runs that lasted", f"{round(100 * survived / runs)} %", f"of {runs}, all models"
            )
        )
    return html.cards(items)


def _surface(record: Record) -> str:
    heights = [(float(row.barrier_kcal_mol), row.mechanism) for row in record.paths]
    heights = sorted(one for one in heights if np.isfinite(one[0]))
    if not heights:
        return ""
    lowest, highest = heights[0], heights[-1]
    reference = record.run.results.get("reference")
    by = f" by {reference}" if reference else ""
    if len(heights) == 1:
        return f"The barrier of {lowest[1]} is {number(lowest[0])} kcal/mol{by}."
    return (
        f"Of {len(heights)} paths{by}, {lowest[1]} has the lowest barrier, {number(lowest[0])} "
        f"kcal/mol, and {highest[1]} the highest, {number(highest[0])}."
    )


def _learning(record: Record) -> str:
    """The best model over all mechanisms at the largest training set that all have."""
    rows = largest(preferred(record.curves))
    if not rows:
        return ""
    every = set(record.mechanisms) & {row.mechanism for row in rows}
    means = []
    for model, group in grouped(rows, lambda row: row.model).items():
        errors = floats(row.best_force_rmse_kcal_mol_A for row in group)
        if {row.mechanism for row in group} == every and np.isfinite(errors).all():
            energies = floats(row.best_energy_rmse_kcal_mol for row in group)
            means.append((float(errors.mean()), float(energies.mean()), model, group))
    if not means:
        return ""
    force, energy, model, group = min(means, key=lambda one: one[0])
    points = number(int(max(row.points for row in group)))
    where = "its mechanism" if len(every) == 1 else f"{len(every)} mechanisms"
    return (
        f"Trained for each mechanism on its own, {model} with {points} points has "
        f"{_lowest(means)} {number(force)} kcal/mol/Å over {where}; its energy error is "
        f"{number(energy)} kcal/mol."
    )


def _best_joint(record: Record) -> JointRow | None:
    """The row with the lowest force error at the largest budget."""
    if not record.joint:
        return None
    row = joint.budgets(record.joint)[-1][1][0]
    return row if np.isfinite(row.force_rmse_kcal_mol_A) else None


def _is_known(value: float | None) -> bool:
    return value is not None and bool(np.isfinite(value))


def _joint(record: Record) -> str:
    best = _best_joint(record)
    if best is None:
        return ""
    rows = joint.budgets(record.joint)[-1][1]
    said = (
        f"As one model for everything, with {number(int(best.budget))} points in all, "
        f"{best.model} has {_lowest(rows)} {number(best.force_rmse_kcal_mol_A)} kcal/mol/Å"
    )
    if _is_known(best.ratio):
        said += f", and its worst region is {number(best.ratio, 2)} times as bad as its best"
    others = [row for row in rows[1:] if np.isfinite(row.force_rmse_kcal_mol_A)]
    if others:
        second = others[0]
        said += f"; next is {second.model} with {number(second.force_rmse_kcal_mol_A)}"
        if _is_known(second.ratio):
            said += f" and {number(second.ratio, 2)} times"
    return said + "."


def _lowest(compared: Sequence[object]) -> str:
    return "the lowest force error," if len(compared) > 1 else "a force error of"


def _survived(rows: list[CrashRow]) -> tuple[int, int]:
    pairs = [(row.survived, row.seeds) for row in rows]
    pairs = [one for one in pairs if np.isfinite(one).all()]
    return int(sum(one[0] for one in pairs)), int(sum(one[1] for one in pairs))


def _crash(record: Record) -> str:
    survived, runs = _survived(record.crash)
    if not runs:
        return ""
    whole = [
        model
        for model, rows in grouped(record.crash, lambda row: row.model).items()
        if (one := _survived(rows))[0] == one[1] > 0
    ]
    end = f"{survived} of {counted_noun(runs, 'run')} of dynamics lasted to their end"
    if survived == runs:
        return f"All {counted_noun(runs, 'run')} of dynamics lasted to their end."
    return f"{end}; " + (f"{', '.join(whole)} lost none." if whole else "every model lost some.")


def _findings(record: Record) -> str:
    count = findings.counted(record)
    judged = sum(count.values()) - count["not measured"]
    if not judged:
        return ""
    part = f", {count['partly']} in part" if count["partly"] else ""
    return f"Of {judged} findings of the study that were measured, {count['yes']} hold{part}."
