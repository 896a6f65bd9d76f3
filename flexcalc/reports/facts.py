"""The numbers of results.json as key figures and as a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from flexcalc.display import html
from flexcalc.display.numbers import duration, number

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
    "isotopes": ("isotopes", ""),
    "imaginary_frequency_cm": ("imaginary frequency, as negative", "cm⁻¹"),
    "gibbs_activation_kcal_mol": ("Gibbs energy of activation", "kcal/mol"),
    "half_life_s": ("half-life of the start", "s"),
    "saddle_steps": ("steps to the saddle", ""),
    "path_length_A": ("length of the path", "Å"),
    "images": ("images", ""),
    "steps": ("steps", ""),
    "time_ps": ("time simulated", "ps"),
    "method": ("method", ""),
    "clients": ("clients", ""),
    "force_residual_eV_A": ("largest force left", "eV/Å"),
    "replicas": ("replicas", ""),
    "walkers": ("walkers", ""),
    "hills": ("hills", ""),
    "basins": ("basins", ""),
    "verdict": ("verdict", ""),
    "basin_difference_kcal_mol": ("second basin above the first", "kcal/mol"),
    "basin_difference_reweighted_kcal_mol": ("the same, reweighted", "kcal/mol"),
    "basin_difference_error_kcal_mol": ("its standard error", "kcal/mol"),
    "drift_kcal_mol": ("change in the second half", "kcal/mol"),
    "windows": ("windows", ""),
    "samples": ("samples", ""),
    "independent_samples": ("of them independent", ""),
    "least_overlap": ("least overlap of neighbours", ""),
    "windows_apart": ("neighbours without overlap", ""),
    "pieces": ("pieces of the profile", ""),
    "highest_kcal_mol": ("highest free energy", "kcal/mol"),
    "highest_error_kcal_mol": ("its standard error", "kcal/mol"),
    "temperature_K": ("temperature asked for", "K"),
    "temperature_mean_K": ("mean temperature", "K"),
    "timestep_fs": ("timestep", "fs"),
    "steps_per_second": ("steps a second", ""),
    "ns_per_day": ("of all replicas together", "ns/day"),
    "exchanges_seen": ("steps with an exchange of replicas", ""),
    "force_difference_max_relative": ("largest relative force difference", ""),
    "energy_difference_max_relative": ("largest relative energy difference", ""),
    "seconds": ("time taken", ""),
}
"""Keys of results.json that a reader looks for first: (name, unit)."""


def chosen(results: Mapping[str, Any], keys: Sequence[str]) -> list[html.Card]:
    """Cards of those keys that the results have, in the order of the keys."""
    found = []
    for key in keys:
        value = results.get(key)
        if value is None or isinstance(value, dict | list | bool):
            continue
        name, unit = FIGURES.get(key, (key, ""))
        shown = duration(value) if key == "seconds" and _is_number(value) else number(value)
        found.append(html.Card(name, shown, unit))
    return found


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


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
