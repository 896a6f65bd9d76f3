"""What is drawn of the tables of a training: rows of JSON -> a `Drawing`.

Each function returns None where the rows have nothing to draw, which those of an old or damaged
run folder may not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from flexcalc.display import figures
from flexcalc.display.drawing import Drawing
from flexcalc.display.rows import Row, column, columns

FORCE_RMSE, ENERGY_RMSE = "force_rmse_kcal_mol_A", "energy_rmse_kcal_mol"
FORCE_MAE, ENERGY_MAE = "force_mae_kcal_mol_A", "energy_mae_kcal_mol"
"""Columns of errors."""
FORCE_SPREAD, ENERGY_SPREAD = "force_rmse_spread_kcal_mol_A", "energy_rmse_spread_kcal_mol"
"""Columns of the standard deviations over the folds of a cross-validation."""
SIGMA, POINTS = "sigma", "points"

ERRORS = {
    FORCE_RMSE: "force RMSE / kcal mol⁻¹ Å⁻¹",
    ENERGY_RMSE: "energy RMSE / kcal mol⁻¹",
}
CURVE = {
    FORCE_MAE: "force MAE / kcal mol⁻¹ Å⁻¹",
    ENERGY_MAE: "energy MAE / kcal mol⁻¹",
}
HEADS = {
    SIGMA: "sigma",
    "fold": "fold",
    POINTS: "training points",
    FORCE_RMSE: "force RMSE, kcal/mol/Å",
    ENERGY_RMSE: "energy RMSE, kcal/mol",
    "percentile": "features removed, %",
    "features": "features kept",
    "prediction_ms": "prediction, ms per geometry",
    FORCE_SPREAD: "standard deviation of the force RMSE",
    ENERGY_SPREAD: "standard deviation of the energy RMSE",
}
"""Columns of the tables, as the heads of tables and legends call them."""


def training_curve(rows: Sequence[Row]) -> Drawing | None:
    """Validation errors over the epochs of a network's training."""
    epochs, errors = column(rows, "epoch"), columns(rows, CURVE)
    if len(rows) < 2 or not errors or not np.isfinite(epochs).all():
        return None
    return figures.training_curve(epochs, errors)


def validation_curve(rows: Sequence[Row]) -> Drawing | None:
    """Validation errors of the candidates against sigma; see `along_sigma`."""
    values, errors = along_sigma(rows)
    return figures.validation_curve(values, errors) if len(rows) > 1 and errors else None


def learning_curve(rows: Sequence[Row]) -> Drawing | None:
    """Validation errors against the number of training points."""
    points, errors = column(rows, POINTS), columns(rows, ERRORS)
    return figures.learning_curve(points, errors) if errors and np.isfinite(points).any() else None


def fold_errors(rows: Sequence[Row]) -> Drawing | None:
    """Errors of each fold of a cross-validation."""
    errors = columns(rows, ERRORS)
    return figures.fold_errors(errors) if errors else None


def along_sigma(rows: Sequence[Row]) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Errors of the candidates by sigma.

    Returns:
        The values (values,) of sigma, ascending, and legend -> errors (values,), not-a-number
        where a sigma was not tried: those of forces and energies, or where candidates differ in
        more than sigma, those of forces for each combination of the other hyperparameters.
    """
    sigma = column(rows, SIGMA)
    along = np.unique(sigma[np.isfinite(sigma)])
    if not len(along):
        return along, {}
    known = {SIGMA, *ERRORS, FORCE_SPREAD, ENERGY_SPREAD}
    others = [
        key for key in rows[0] if key not in known and len({str(r.get(key)) for r in rows}) > 1
    ]
    groups: dict[str, list[Row]] = {}
    for row in rows:
        name = ", ".join(f"{HEADS.get(key, key)} {_value(row.get(key))}" for key in others)
        groups.setdefault(name, []).append(row)
    if len(groups) == 1:
        return along, _on(along, rows, ERRORS)
    force = {FORCE_RMSE: ERRORS[FORCE_RMSE]}
    found = {name: _on(along, group, force) for name, group in groups.items()}
    return along, {name: errors[force[FORCE_RMSE]] for name, errors in found.items() if errors}


def _on(along: np.ndarray, rows: Sequence[Row], labels: Mapping[str, str]) -> dict[str, np.ndarray]:
    """Legend -> errors at each value of `along`, not-a-number where a sigma was not tried."""
    sigma, found = column(rows, SIGMA), {}
    for label, values in columns(rows, labels).items():
        placed = np.full(len(along), np.nan)
        for at, value in zip(sigma, values, strict=True):
            placed[along == at] = value
        if np.isfinite(placed).any():
            found[label] = placed
    return found


def _value(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
