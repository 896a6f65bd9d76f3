"""Training: what was learned from, which hyperparameters won, and how errors fall."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from flexcalc.display import figures, html, plots
from flexcalc.display.numbers import number
from flexcalc.reports import facts
from flexcalc.reports.folder import RunFolder
from flexcalc.reports.rows import column, dicts, listed
from flexcalc.reports.sections import features

TITLE = "Training"
KEYS = (
    *("family", "baseline", "training_points", "validation_points", "sigma", "permutations"),
    *("kept_features", "all_features", "committee", "force_error_over_deviation"),
    *("force_rmse_kcal_mol_A", "energy_rmse_kcal_mol"),
    *("force_rmse_mean_kcal_mol_A", "energy_rmse_mean_kcal_mol", "folds", "refine_rounds"),
    "seconds",
)
ERRORS = {
    "force_rmse_kcal_mol_A": "force RMSE / kcal mol⁻¹ Å⁻¹",
    "energy_rmse_kcal_mol": "energy RMSE / kcal mol⁻¹",
}
CURVE = {
    "force_mae_kcal_mol_A": "force MAE / kcal mol⁻¹ Å⁻¹",
    "energy_mae_kcal_mol": "energy MAE / kcal mol⁻¹",
}
SPREADS = {
    "force_rmse_kcal_mol_A": "force_rmse_spread_kcal_mol_A",
    "energy_rmse_kcal_mol": "energy_rmse_spread_kcal_mol",
}
HEADS = {
    "sigma": "sigma",
    "fold": "fold",
    "points": "training points",
    "force_rmse_kcal_mol_A": "force RMSE, kcal/mol/Å",
    "energy_rmse_kcal_mol": "energy RMSE, kcal/mol",
    "percentile": "features to drop, %",
    "features": "features kept",
    "prediction_ms": "prediction, ms a geometry",
    "force_rmse_spread_kcal_mol_A": "spread of the force RMSE",
    "energy_rmse_spread_kcal_mol": "spread of the energy RMSE",
}


def body(folder: RunFolder) -> str:
    """The section as HTML."""
    intro = (
        "The model is fitted to the labels of the training points. Its hyperparameters "
        "are chosen by the errors on validation points that it has not seen."
    )
    parts = [html.paragraph(intro, "lead"), html.cards(facts.chosen(folder.results, KEYS))]
    trained = [row for row in folder.results.get("models") or () if isinstance(row, dict)]
    if trained:
        parts.append(_comparison(trained))
    # The first family's tables have no name of their own: table.json, then table-gap.json.
    suffixes = ["", *sorted(path.stem[5:] for path in folder.path.glob("table-*.json"))]
    drawn = [_pictures(folder, suffix, folder.value("sigma")) for suffix in suffixes]
    parts += drawn
    if not (folder.results or any(drawn)):
        parts.append(html.paragraph("The model is not trained yet."))
    return "".join(parts)


def _comparison(trained: Sequence[Mapping[str, Any]]) -> str:
    keys = ("training_points", *ERRORS)
    rows = [
        (str(row.get("model", row.get("family"))), *(number(row.get(key)) for key in keys))
        for row in trained
    ]
    head = ("model", "training points", "force RMSE", "energy RMSE")
    return html.table(head, rows, "Errors on the same validation points, kcal/mol/Å and kcal/mol.")


def _pictures(folder: RunFolder, suffix: str, sigma: float | None) -> str:
    """The tables of one family, whose files end in the suffix."""
    tuning = _rows(folder, f"table{suffix}.json")
    learning = _rows(folder, f"learning{suffix}.json")
    folds = _rows(folder, f"folds{suffix}.json")
    refinement = folder.json(f"refinement{suffix}.json")
    curve = _rows(folder, f"curve{suffix}.json")
    drawn = html.figures(
        _curve(curve, suffix) if len(curve) > 1 else "",
        _tuning(tuning, None if suffix else sigma, suffix) if len(tuning) > 1 else "",
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


def _drawn(rows: Sequence[Mapping[str, Any]]) -> dict[str, np.ndarray]:
    columns = {label: column(rows, key) for key, label in ERRORS.items()}
    return {label: values for label, values in columns.items() if np.isfinite(values).any()}


def _table(rows: Sequence[Mapping[str, Any]]) -> str:
    keys = [key for key, value in rows[0].items() if not isinstance(value, dict | list)]
    if not keys:
        return ""
    head = [HEADS.get(key, key) for key in keys]
    return html.table(head, [[number(row.get(key)) for key in keys] for row in rows])


def _tuning(rows: Sequence[Mapping[str, Any]], best: float | None, suffix: str) -> str:
    sigma = column(rows, "sigma")
    along = np.unique(sigma[np.isfinite(sigma)])
    columns = _along_sigma(rows, along)
    if not columns:
        caption = "Candidates and their errors on the validation points."
        return html.figure(_table(rows), caption)
    svg = figures.validation_curve(along, columns).svg(
        f"train-sigma{_plain(suffix)}", "Validation errors against the kernel length sigma"
    )
    chosen = f" The model uses sigma = {number(best)}." if best is not None else ""
    several = any(label not in ERRORS.values() for label in columns)
    what = "Force errors" if several else "Errors"
    mean = ", means over the folds" if SPREADS.keys() & _spreads(rows) else ""
    caption = f"{what} on the validation points for each candidate sigma{mean}.{chosen}"
    return html.figure(svg, caption, _table(rows))


def _spreads(rows: Sequence[Mapping[str, Any]]) -> set[str]:
    """Errors whose spread over folds is known."""
    return {key for key, name in SPREADS.items() if any(name in row for row in rows)}


def _along_sigma(rows: Sequence[Mapping[str, Any]], along: np.ndarray) -> dict[str, np.ndarray]:
    """Legend -> errors at each sigma: force and energy, or the force by what else was varied."""
    known = {"sigma", *ERRORS, *SPREADS.values()}
    others = [
        key for key in rows[0] if key not in known and len({str(r.get(key)) for r in rows}) > 1
    ]
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        name = ", ".join(f"{HEADS.get(key, key)} {_value(row.get(key))}" for key in others)
        groups.setdefault(name, []).append(row)
    if len(groups) == 1:
        return _on(along, rows)
    force = ERRORS["force_rmse_kcal_mol_A"]
    found = {name: _on(along, group).get(force) for name, group in groups.items()}
    return {name: values for name, values in found.items() if values is not None}


def _on(along: np.ndarray, rows: Sequence[Mapping[str, Any]]) -> dict[str, np.ndarray]:
    """Legend -> errors at each value of `along`, not-a-number where a sigma was not tried."""
    sigma, found = column(rows, "sigma"), {}
    for label, values in _drawn(rows).items():
        placed = np.full(len(along), np.nan)
        for at, value in zip(sigma, values, strict=True):
            placed[along == at] = value
        if np.isfinite(placed).any():
            found[label] = placed
    return found


def _value(value: Any) -> str:
    return f"{value:g}" if isinstance(value, int | float) else str(value)


def _curve(rows: Sequence[Mapping[str, Any]], suffix: str) -> str:
    """Validation errors over the epochs of a network's training."""
    epochs = column(rows, "epoch")
    columns = {
        label: values
        for key, label in CURVE.items()
        if np.isfinite(values := column(rows, key)).any()
    }
    if not columns or not np.isfinite(epochs).all():
        return ""
    svg = figures.training_curve(epochs, columns).svg(
        f"train-curve{_plain(suffix)}", "Training curve: validation errors over the epochs"
    )
    last, force = rows[-1], column(rows, "force_mae_kcal_mol_A")
    best = rows[int(np.nanargmin(force))] if np.isfinite(force).any() else last
    caption = (
        f"Training curve over {number(last.get('epoch'))} epochs, "
        f"{number(last.get('minutes'))} minutes: mean absolute errors on the validation points "
        "of the running average of the weights, on logarithmic axes. The lowest force error, "
        f"{number(best.get('force_mae_kcal_mol_A'))} kcal/mol/Å, is at epoch "
        f"{number(best.get('epoch'))}."
    )
    return html.figure(svg, caption)


def _folds(rows: Sequence[Mapping[str, Any]], suffix: str) -> str:
    """Errors of the model of each fold, and their means and spreads."""
    columns = _drawn(rows)
    if not columns:
        return html.figure(_table(rows), "Errors of the folds.")
    svg = figures.fold_errors(columns).svg(
        f"train-folds{_plain(suffix)}", "Errors of the cross-validation by fold"
    )
    said = [
        f"{label.split(' /')[0]} {number(float(np.nanmean(values)))} "
        f"± {number(float(np.nanstd(values, ddof=1)) if np.isfinite(values).sum() > 1 else None)}"
        for label, values in columns.items()
    ]
    caption = (
        "Cross-validation: errors of each fold's model on frames that took no part in its "
        f"training. Means and standard deviations: {', '.join(said)}, in kcal/mol(/Å)."
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
        "Refinement: the points of each round were taken where the model before it was worst. "
        "Errors are on frames that no round trained on"
    )
    if len(first) != len(last) or not np.isfinite(first).any():
        return html.figure(_table(plain), f"{caption}.")
    order = np.argsort(-np.nan_to_num(first, nan=-1.0), kind="stable")
    order = order[np.isfinite(first[order])]
    svg = plots.curves(
        np.arange(1, len(order) + 1),
        {
            f"{rounds[n].get('points')} points": column[order]
            for n, column in ((0, first), (-1, last))
        },
        ("cluster of frames, worst first", ERRORS["force_rmse_kcal_mol_A"]),
    ).svg(
        f"train-refinement{_plain(suffix)}",
        "Force errors by cluster before and after the refinement",
    )
    return html.figure(svg, f"{caption}, by cluster of geometry and energy.", _table(plain))


def _learning(rows: Sequence[Mapping[str, Any]], suffix: str) -> str:
    points, columns = column(rows, "points"), _drawn(rows)
    if not np.isfinite(points).any() or not columns:
        return html.figure(_table(rows), "Errors against the number of training points.")
    svg = figures.learning_curve(points, columns).svg(
        f"train-learning{_plain(suffix)}",
        "Learning curve: validation errors against the number of training points",
    )
    caption = (
        "Learning curve: errors on the validation points as the training set grows, on "
        "logarithmic axes. A straight falling line says that more points still help."
    )
    return html.figure(svg, caption, _table(rows))


def _plain(suffix: str) -> str:
    """A part of a file's name that can be part of an id."""
    return re.sub(r"[^\w-]", "_", suffix)
