"""The numbers of results.json as key figures and as a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeGuard

from flexcalc.display import html
from flexcalc.display.numbers import duration, number
from flexcalc.reports.folder import RunFolder
from flexcalc.results.base import LARGEST, Result, labels_of
from flexcalc.results.free_energy import FreeEnergyProfile, FreeEnergySurface
from flexcalc.results.trajectory import Trajectory
from flexcalc.store import Store

FIGURES = {
    "reference": ("reference method", ""),
    "level": ("level of theory", ""),
    "family": ("model family", ""),
    "frames": ("frames", ""),
    "labelled": ("labelled frames", ""),
    "quarantined": ("in quarantine", ""),
    "training_points": ("training points", ""),
    "validation_points": ("validation points", ""),
    "permutations": ("permutations of like atoms", ""),
    "kept_features": ("features kept", ""),
    "all_features": ("features in all", ""),
    "sigma": ("kernel length sigma", ""),
    "force_rmse_kcal_mol_A": ("force RMSE, per component", "kcal/mol/Å"),
    "force_rmse_mean_kcal_mol_A": ("force RMSE, mean of the folds", "kcal/mol/Å"),
    "energy_rmse_mean_kcal_mol": ("energy RMSE, mean of the folds", "kcal/mol"),
    "folds": ("folds", ""),
    "committee": ("members of the committee", ""),
    "force_error_over_deviation": ("force error over deviation", ""),
    "baseline": ("baseline", ""),
    "refine_rounds": ("rounds of refinement", ""),
    "force_mae_kcal_mol_A": ("force MAE, per component", "kcal/mol/Å"),
    "energy_rmse_kcal_mol": ("energy RMSE", "kcal/mol"),
    "energy_mae_kcal_mol": ("energy MAE", "kcal/mol"),
    "energy_offset_free_rmse_kcal_mol": ("energy RMSE, offset removed", "kcal/mol"),
    "barrier_model_kcal_mol": ("barrier on the model", "kcal/mol"),
    "barrier_reference_kcal_mol": ("barrier of the reference", "kcal/mol"),
    "barrier_error_kcal_mol": ("error of the barrier", "kcal/mol"),
    "reaction_energy_model_kcal_mol": ("reaction energy on the model", "kcal/mol"),
    "reaction_energy_reference_kcal_mol": ("reaction energy of the reference", "kcal/mol"),
    "profile_max_error_kcal_mol": ("largest error along the path", "kcal/mol"),
    "barrier_saddle_kcal_mol": ("saddle above the start", "kcal/mol"),
    "barrier_saddle_back_kcal_mol": ("saddle above the end", "kcal/mol"),
    "barrier_saddle_error_kcal_mol": ("error of the barrier at the saddle", "kcal/mol"),
    "imaginary_frequency_cm": ("imaginary frequency, as negative", "cm⁻¹"),
    "gibbs_activation_kcal_mol": ("Gibbs energy of activation", "kcal/mol"),
    "half_life_s": ("half-life of the start", "s"),
    "saddle_steps": ("steps to the saddle", ""),
    "path_length_A": ("length of the path", "Å"),
    "images": ("images", ""),
    "clients": ("clients", ""),
    "force_residual_eV_A": ("largest force left", "eV/Å"),
    "exchanges_seen": ("steps with an exchange of replicas", ""),
    "force_difference_max_relative": ("largest relative force difference", ""),
    "energy_difference_max_relative": ("largest relative energy difference", ""),
}
"""Keys of results.json of commands that have no class of results yet: (name, unit)."""

RESULTS: Mapping[str, type[Result]] = {
    one.command: one for one in (Trajectory, FreeEnergySurface, FreeEnergyProfile)
}
"""What the commands return: these declare the figures of their results.json, which is then shown
by `cards`; those of the others are shown by `chosen`, from FIGURES."""

SECONDS = "seconds"
"""What every run notes beside its results."""


def typed[R: Result](kind: type[R], run: RunFolder) -> R:
    """The figures of a run, None where results.json has none or one that is damaged."""
    return kind.from_damaged(run.results, Store())


def cards(result: Result, run: RunFolder) -> str:
    """The key figures of a result as HTML, and the time that the run took."""
    return html.cards([*result.cards(), *chosen(run.results, [SECONDS])])


def chosen(results: Mapping[str, Any], keys: Sequence[str]) -> list[html.Card]:
    """Cards of those keys that the results have, in the order of the keys."""
    labels = _labels()
    found = []
    for key in keys:
        value = results.get(key)
        if key == SECONDS and _is_number(value):
            found.append(html.Card("time taken", duration(value)))
        elif isinstance(value, str) or _is_number(value):
            name, unit = labels.get(key, (key, ""))
            found.append(html.Card.of(name, value, unit))
    return found


def _labels() -> dict[str, tuple[str, str]]:
    declared: dict[str, tuple[str, str]] = {}
    for kind in RESULTS.values():
        declared |= labels_of(kind)
    return declared | FIGURES


def everything(results: Mapping[str, Any]) -> str:
    """Every flat key of the results, as a table."""
    rows = [
        (str(key), number(value, 6))
        for key, value in results.items()
        if not isinstance(value, dict | list)
    ]
    if not rows:
        return ""
    return html.table(("key of results.json", "value"), rows)


def _is_number(value: Any) -> TypeGuard[int | float]:
    """Whether it is a number that can be shown; an integer of JSON may have any length."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < LARGEST
