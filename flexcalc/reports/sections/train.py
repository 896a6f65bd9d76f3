"""Training: training points, hyperparameters, validation errors and learning curve."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from flexcalc.display import html, plots, training
from flexcalc.display.numbers import NONE, duration, number
from flexcalc.display.rows import columns
from flexcalc.display.training import (
    ENERGY_SPREAD,
    ERRORS,
    FORCE_MAE,
    FORCE_RMSE,
    FORCE_SPREAD,
    HEADS,
    POINTS,
    SIGMA,
)
from flexcalc.reports import facts
from flexcalc.reports.exports import columns_of
from flexcalc.reports.folder import RunFolder
from flexcalc.reports.rows import column, dicts, listed
from flexcalc.reports.sections import baselines, features
from flexcalc.results.training import TrainedModel, Training

TITLE = "Training"

FOLDED = (
    "The model is fitted to the energies and forces of the training points. Its hyperparameters "
    "are those with the lowest errors in a cross-validation: each fold of the training points is "
    "predicted from the other folds. The errors are those of the folds; the model itself is "
    "trained on all points."
)


def body(folder: RunFolder) -> str:
    """The section as HTML."""
    intro = (
        "The model is fitted to the energies and forces of the training points. Its "
        "hyperparameters are those with the lowest errors on the validation points, which are "
        "not used for training."
    )
    result = facts.typed(Training, folder)
    if result.tuning_folds is not None:
        intro = FOLDED
    warned = _warnings(folder, result.fits)
    parts = [html.paragraph(intro, "lead"), facts.cards(result, folder), html.notes(warned)]
    if result.others:
        folder.tables["models"] = columns_of([TrainedModel.to_dict(one) for one in result.fits])
        parts.append(_comparison(result.fits))
    # The first family's tables have no name of their own: table.json, then table-gap.json.
    suffixes = ["", *sorted(path.stem[5:] for path in folder.path.glob("table-*.json"))]
    parts.append(baselines.table(folder))
    folded = result.tuning_folds is not None
    drawn = [_pictures(folder, suffix, folder.value(SIGMA), folded) for suffix in suffixes]
    parts += drawn
    if not (folder.results or any(drawn)):
        parts.append(html.paragraph("The model is not trained yet."))
    return "".join(parts)


def _warnings(folder: RunFolder, trained: Sequence[TrainedModel]) -> list[str]:
    """What the models warn of, each once."""
    known = [folder.json(f"{one.file}/model.json") for one in trained if one.file]
    texts = [text for one in known if isinstance(one, dict) for text in listed(one.get("warnings"))]
    return list(dict.fromkeys(text for text in texts if isinstance(text, str)))


def _comparison(trained: Sequence[TrainedModel]) -> str:
    rows = [
        (
            one.file or one.family or NONE,
            number(one.training_points),
            number(one.force_rmse_kcal_mol_A),
            number(one.energy_rmse_kcal_mol),
            NONE if one.training_seconds is None else duration(one.training_seconds),
            NONE if one.call_ms is None else f"{number(one.call_ms)} ms",
        )
        for one in trained
    ]
    head = ("model", "training points", "force RMSE", "energy RMSE", "training", "time per call")
    caption = (
        "Errors on the same validation points, in kcal/mol/Å and kcal/mol; wall time of the "
        "training with its search of hyperparameters, and of evaluating one geometry."
    )
    return html.table(head, rows, caption)


def _pictures(folder: RunFolder, suffix: str, sigma: float | None, folded: bool) -> str:
    """The tables of one family, whose files end in the suffix."""
    tuning = _rows(folder, f"table{suffix}.json")
    learning = _rows(folder, f"learning{suffix}.json")
    folds = _rows(folder, f"folds{suffix}.json")
    refinement = folder.json(f"refinement{suffix}.json")
    curve = _rows(folder, f"curve{suffix}.json")
    drawn = html.figures(
        _curve(curve, suffix),
        _tuning(tuning, None if suffix else sigma, suffix, folded) if len(tuning) > 1 else "",
        _folds(folds, suffix) if folds else "",
        _refinement(refinement, suffix) if isinstance(refinement, dict) else "",
        _learning(learning, suffix) if learning else "",
    )
    reduction = folder.json(f"reduction{suffix}.json")
    if isinstance(reduction, dict):
        tried = dicts(reduction.get("tried"))
        table = _table(tried) if tried else ""
        drawn += features.figures(reduction, f"train-features{_plain(suffix)}", table)
    return (html.heading(suffix.lstrip("-")) if suffix and drawn else "") + drawn


def _rows(folder: RunFolder, name: str) -> list[Mapping[str, Any]]:
    return dicts(folder.json(name))


def _table(rows: Sequence[Mapping[str, Any]]) -> str:
    keys = [key for key, value in rows[0].items() if not isinstance(value, dict | list)]
    if not keys:
        return ""
    head = [HEADS.get(key, key) for key in keys]
    return html.table(head, [[number(row.get(key)) for key in keys] for row in rows])


def _tuning(
    rows: Sequence[Mapping[str, Any]], best: float | None, suffix: str, folded: bool
) -> str:
    drawing = training.validation_curve(rows)
    where = "in the folds of the training points" if folded else "on the validation points"
    if drawing is None:
        caption = f"Candidates and their errors {where}."
        return html.figure(_table(rows), caption)
    svg = drawing.svg(
        f"train-sigma{_plain(suffix)}", "Validation errors against the kernel length sigma"
    )
    chosen = f" The model uses sigma = {number(best)}." if best is not None else ""
    several = any(label not in ERRORS.values() for label in training.along_sigma(rows)[1])
    what = "Force errors" if several else "Errors"
    what += f" {where}"
    folds = any(key in row for row in rows for key in (FORCE_SPREAD, ENERGY_SPREAD))
    mean = ", means over the folds" if folds else ""
    caption = f"{what} for each candidate sigma{mean}.{chosen}"
    return html.figure(svg, caption, _table(rows))


def _curve(rows: Sequence[Mapping[str, Any]], suffix: str) -> str:
    """Validation errors over the epochs of a network's training."""
    drawing = training.training_curve(rows)
    if drawing is None:
        return ""
    svg = drawing.svg(
        f"train-curve{_plain(suffix)}", "Training curve: validation errors over the epochs"
    )
    last, force = rows[-1], column(rows, FORCE_MAE)
    best = rows[int(np.nanargmin(force))] if np.isfinite(force).any() else last
    caption = (
        f"Training curve over {number(last.get('epoch'))} epochs, "
        f"{number(last.get('minutes'))} minutes: mean absolute errors on the validation points "
        "of the averaged weights (exponential moving average), on logarithmic axes. The lowest "
        f"force error, {number(best.get(FORCE_MAE))} kcal/mol/Å, is at epoch "
        f"{number(best.get('epoch'))}."
    )
    return html.figure(svg, caption)


def _folds(rows: Sequence[Mapping[str, Any]], suffix: str) -> str:
    """Errors of the model of each fold, and their means and spreads."""
    drawing = training.fold_errors(rows)
    if drawing is None:
        return html.figure(_table(rows), "Errors of the folds.")
    svg = drawing.svg(f"train-folds{_plain(suffix)}", "Errors of the cross-validation by fold")
    said = [
        f"{label.split(' /')[0]} {number(float(np.nanmean(values)))} "
        f"± {number(float(np.nanstd(values, ddof=1)) if np.isfinite(values).sum() > 1 else None)}"
        for label, values in columns(rows, ERRORS).items()
    ]
    caption = (
        "Cross-validation: errors of each fold's model on the frames that it was not trained "
        f"on. Means and standard deviations: {', '.join(said)}, in kcal/mol(/Å)."
    )
    return html.figure(svg, caption, _table(rows))


def _refinement(record: Mapping[str, Any], suffix: str) -> str:
    """Force errors by cluster before the first and after the last round."""
    rounds = dicts(record.get("rounds"))
    if not rounds:
        return ""
    key = "force_rmse_by_cluster_kcal_mol_A"
    first, last = (
        column([{key: error} for error in listed(row.get(key))], key)
        for row in (rounds[0], rounds[-1])
    )
    plain = [{name: value for name, value in row.items() if name != key} for row in rounds]
    caption = (
        "Refinement: each round added training points where the previous model had the largest "
        "errors. Errors are on frames that no round was trained on"
    )
    if len(first) != len(last) or not np.isfinite(first).any():
        return html.figure(_table(plain), f"{caption}.")
    order = np.argsort(-np.nan_to_num(first, nan=-1.0), kind="stable")
    order = order[np.isfinite(first[order])]
    svg = plots.curves(
        np.arange(1, len(order) + 1),
        {
            f"{rounds[n].get(POINTS)} points": errors[order]
            for n, errors in ((0, first), (-1, last))
        },
        ("cluster of frames, worst first", ERRORS[FORCE_RMSE]),
    ).svg(
        f"train-refinement{_plain(suffix)}",
        "Force errors by cluster before and after the refinement",
    )
    return html.figure(svg, f"{caption}, by cluster of geometry and energy.", _table(plain))


def _learning(rows: Sequence[Mapping[str, Any]], suffix: str) -> str:
    drawing = training.learning_curve(rows)
    if drawing is None:
        return html.figure(_table(rows), "Errors against the number of training points.")
    svg = drawing.svg(
        f"train-learning{_plain(suffix)}",
        "Learning curve: validation errors against the number of training points",
    )
    caption = (
        "Learning curve: errors on the validation points as the training set grows, on "
        "logarithmic axes. A straight falling line means that more points would still help."
    )
    return html.figure(svg, caption, _table(rows))


def _plain(suffix: str) -> str:
    """A part of a file's name that can be part of an id."""
    return re.sub(r"[^\w-]", "_", suffix)
