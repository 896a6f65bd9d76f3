"""The first words of the page: the main result, told from the figures."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from flexcalc.display import html
from flexcalc.display.numbers import counted as counted_noun
from flexcalc.display.numbers import number
from flexcalc.reports.rows import Row, column, finite, grouped, largest, word
from flexcalc.reports.sections.benchmark import findings, joint
from flexcalc.reports.sections.benchmark.record import ENERGY, FORCE, Record, preferred


def told(record: Record) -> tuple[str, str]:
    """The main result of the stages that are there, and what else came out."""
    ordered = (_joint, _learning, _surface, _crash, _findings)
    first, *rest = [said for sentence in ordered if (said := sentence(record))] or [""]
    return first, " ".join(rest)


def cards(record: Record) -> str:
    """The key figures."""
    items = []
    best = _best_joint(record)
    frames = column(record.data, "frames")
    if np.isfinite(frames).any():
        items.append(html.Card("labelled frames", number(int(np.nansum(frames)))))
    if record.looks:
        items.append(html.Card("models compared", number(len(record.looks))))
    if best is not None:
        points = number(int(best["budget"]))
        items.append(html.Card(f"lowest in one model, {points} points", word(best, "model")))
        items.append(html.Card("its force RMSE", number(finite(best, FORCE)), "kcal/mol/Å"))
        if np.isfinite(ratio := finite(best, "ratio")):
            items.append(html.Card("its worst over best region", number(ratio, 2)))
    survived, runs = _survived(record.crash)
    if runs:
        items.append(
            html.Card(
                "runs that lasted", f"{round(100 * survived / runs)} %", f"of {runs}, all models"
            )
        )
    return html.cards(items)


def _surface(record: Record) -> str:
    heights = [(finite(row, "barrier_kcal_mol"), word(row, "mechanism")) for row in record.paths]
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
    every = set(record.mechanisms) & {word(row, "mechanism") for row in rows}
    means = []
    for (model,), group in grouped(rows, "model").items():
        errors = column(group, f"best_{FORCE}")
        if {word(row, "mechanism") for row in group} == every and np.isfinite(errors).all():
            energies = column(group, f"best_{ENERGY}")
            means.append((float(errors.mean()), float(energies.mean()), model, group))
    if not means:
        return ""
    force, energy, model, group = min(means, key=lambda one: one[0])
    points = number(int(np.max(column(group, "points"))))
    where = "its mechanism" if len(every) == 1 else f"{len(every)} mechanisms"
    return (
        f"Trained for each mechanism on its own, {model} with {points} points has "
        f"{_lowest(means)} {number(force)} kcal/mol/Å over {where}; its energy error is "
        f"{number(energy)} kcal/mol."
    )


def _best_joint(record: Record) -> Row | None:
    """The row with the lowest force error at the largest budget."""
    if not record.joint:
        return None
    row = joint.budgets(record.joint)[-1][1][0]
    return row if np.isfinite(finite(row, FORCE)) else None


def _joint(record: Record) -> str:
    best = _best_joint(record)
    if best is None:
        return ""
    rows = joint.budgets(record.joint)[-1][1]
    said = (
        f"As one model for everything, with {number(int(best['budget']))} points in all, "
        f"{word(best, 'model')} has {_lowest(rows)} {number(finite(best, FORCE))} kcal/mol/Å"
    )
    ratio = finite(best, "ratio")
    if np.isfinite(ratio):
        said += f", and its worst region is {number(ratio, 2)} times as bad as its best"
    others = [row for row in rows[1:] if np.isfinite(finite(row, FORCE))]
    if others:
        second = others[0]
        said += f"; next is {word(second, 'model')} with {number(finite(second, FORCE))}"
        if np.isfinite(finite(second, "ratio")):
            said += f" and {number(finite(second, 'ratio'), 2)} times"
    return said + "."


def _lowest(compared: Sequence[object]) -> str:
    return "the lowest force error," if len(compared) > 1 else "a force error of"


def _survived(rows: list[Row]) -> tuple[int, int]:
    pairs = [(finite(row, "survived"), finite(row, "seeds")) for row in rows]
    pairs = [one for one in pairs if np.isfinite(one).all()]
    return int(sum(one[0] for one in pairs)), int(sum(one[1] for one in pairs))


def _crash(record: Record) -> str:
    survived, runs = _survived(record.crash)
    if not runs:
        return ""
    whole = [
        model
        for (model,), rows in grouped(record.crash, "model").items()
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
