"""What results and reports draw: plain arrays of a known quantity -> a `Drawing`, axes named.

Energies come in eV, forces in eV/angstrom, and are drawn in kcal/mol and kcal/mol/angstrom.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from flexcalc.display import plots
from flexcalc.display.drawing import Drawing
from flexcalc.display.svg import WIDE
from flexcalc.units import KCAL_MOL, MEV

QUANTITIES = {
    "energies": "energy / kcal mol⁻¹",
    "forces": "force / kcal mol⁻¹ Å⁻¹",
}
"""What a model predicts, as axes call it."""

# Reference labels

GROUPING = ("start", "source", "temperature_K")
"""Tags by which frames are coloured; the first that tells a few kinds of frames apart."""
MOST_GROUPS = 6


def groups(tags: Mapping[str, np.ndarray], values: np.ndarray) -> dict[str, np.ndarray]:
    """Values (frames,) by a tag of the frames: legend -> values."""
    for tag in GROUPING:
        column = tags.get(tag)
        kinds = [] if column is None else np.unique(column).tolist()
        if column is not None and 1 < len(kinds) <= MOST_GROUPS:
            word = tag.replace("_", " ")
            return {f"{word} {kind}": values[column == kind] for kind in kinds}
    return {"all frames": values}


def energies(groups: Mapping[str, np.ndarray]) -> Drawing:
    """Histogram of energies above the lowest.

    Args:
        groups: legend -> energies (frames,) in eV.
    """
    lowest = min(float(group.min()) for group in groups.values())
    above = {name: (group - lowest) / KCAL_MOL for name, group in groups.items()}
    return plots.histogram(above, "energy above the lowest frame / kcal mol⁻¹")


def forces(forces: np.ndarray) -> Drawing:
    """Histogram of the Cartesian components of forces (..., 3) in eV/angstrom."""
    groups = {"forces": forces.ravel() / KCAL_MOL}
    label = "force component / kcal mol⁻¹ Å⁻¹"
    return plots.histogram(groups, label, bins=60, counted="components")


# Training


def _errors_label(columns: Mapping[str, np.ndarray], several: str) -> str:
    """What the axis of some errors is called: one alone has no legend."""
    return next(iter(columns)) if len(columns) == 1 else several


VALIDATION = "validation error"


def validation_curve(
    values: np.ndarray, columns: Mapping[str, np.ndarray], label: str = "kernel length sigma"
) -> Drawing:
    """Errors on the validation points against a hyperparameter.

    Args:
        values: (candidates,) of the hyperparameter.
        columns: legend, with the unit -> errors (candidates,).
        label: of the hyperparameter.
    """
    return plots.curves(values, columns, (label, _errors_label(columns, VALIDATION)), log="y")


def training_curve(epochs: np.ndarray, columns: Mapping[str, np.ndarray]) -> Drawing:
    """Errors on the validation points over the epochs of a network's training.

    Args:
        epochs: (records,).
        columns: legend, with the unit -> errors (records,).
    """
    labels = ("epoch", _errors_label(columns, VALIDATION))
    return plots.curves(epochs, columns, labels, log="xy", markers=False)


def learning_curve(points: np.ndarray, columns: Mapping[str, np.ndarray]) -> Drawing:
    """Errors on the validation points as the training set grows.

    Args:
        points: (sizes,) of the training set.
        columns: legend, with the unit -> errors (sizes,).
    """
    order = np.argsort(points)
    ordered = {label: values[order] for label, values in columns.items()}
    labels = ("training points", _errors_label(columns, VALIDATION))
    return plots.curves(points[order], ordered, labels, log="xy")


def fold_errors(columns: Mapping[str, np.ndarray]) -> Drawing:
    """Errors of each fold of a cross-validation.

    Args:
        columns: legend, with the unit -> errors (folds,).
    """
    folds = len(next(iter(columns.values())))
    labels = ("fold", _errors_label(columns, "error on the other frames"))
    return plots.curves(np.arange(folds), columns, labels)


# Errors


def parity(what: str, reference: np.ndarray, predicted: np.ndarray) -> Drawing:
    """Predictions against reference labels.

    Args:
        what: "energies" or "forces".
        reference, predicted: of one shape, in eV or eV/angstrom; energies are drawn above the mean
            of the reference, as they have no natural zero.
    """
    zero = reference.mean() if what == "energies" else 0.0
    given, found = (reference - zero) / KCAL_MOL, (predicted - zero) / KCAL_MOL
    return plots.parity(given, found, QUANTITIES[what])


def errors_by_region(
    edges: np.ndarray,
    errors: np.ndarray,
    population: np.ndarray,
    labels: tuple[str, str],
    names: Sequence[str] = (),
) -> Drawing:
    """Errors by bins of a coordinate, the worst bin marked, and the frames in each bin.

    Args:
        edges: (bins + 1,) in the coordinate's unit.
        errors: (bins,) in the unit that the label names, not-a-number where a bin is empty.
        population: (bins,) frames.
        labels: of the coordinate and of the error, such as "dihedral 0 1 2 3 / degrees" and
            "force RMSE".
        names: (bins,) values of a tag, which are regions in place of bins.
    """
    return plots.regions(edges, errors, population, labels, names)


def errors_by_distance(
    distances: np.ndarray,
    errors: np.ndarray,
    knots: tuple[np.ndarray, np.ndarray],
    limit: float | None,
) -> Drawing:
    """Force errors of frames against their distance to the training set.

    Args:
        distances: (frames,) in multiples of the largest one within the training set.
        errors: (frames,) root-mean-square errors of the force components, in eV/angstrom.
        knots: distances and expected errors, (knots,) each; empty without calibration.
        limit: of the domain; None if unknown.
    """
    labels = ("distance to the training set", "force RMSE of a frame / kcal mol⁻¹ Å⁻¹")
    curve = np.asarray(knots[0]), np.asarray(knots[1]) / KCAL_MOL
    points = distances, np.maximum(errors, SMALLEST_ERROR) / KCAL_MOL
    return plots.against_limit(points, curve, limit, labels, ("frames", "expected"))


SMALLEST_ERROR = 1e-9
"""Error in eV/angstrom that is drawn for an exact prediction, on a logarithmic axis."""


# Paths


def energy_profile(
    along_A: np.ndarray,
    model: np.ndarray,
    reference: np.ndarray | None = None,
    outside: np.ndarray | None = None,
) -> Drawing:
    """Energy along a path above its first image, on the model and by the reference.

    Args:
        along_A: (images,) length along the path in angstrom.
        model, reference: (images,) energies in eV.
        outside: (images,) whether each is outside the domain of the model; None if unknown.
    """
    above = None if reference is None else (reference - reference[0]) / KCAL_MOL
    return plots.profile(along_A, (model - model[0]) / KCAL_MOL, above, outside)


def energy_profiles(paths: Mapping[str, np.ndarray]) -> Drawing:
    """Energies along several paths above their first images.

    Args:
        paths: by name, energies (images,) in eV.
    """
    return plots.profiles({name: (one - one[0]) / KCAL_MOL for name, one in paths.items()})


def convergence(steps: np.ndarray, values: np.ndarray, label: str, log: bool = False) -> Drawing:
    """A quantity over the steps of a search."""
    log_axes = "y" if log else ""
    return plots.curves(steps, {label: values}, ("step", label), log=log_axes, markers=False)


def reaction_coordinate(arc: np.ndarray, energies: np.ndarray) -> Drawing:
    """Energy along the intrinsic reaction coordinate above its first point.

    Args:
        arc: (points,) in angstrom sqrt(amu).
        energies: (points,) in eV.
    """
    above = (energies - energies[0]) / KCAL_MOL
    labels = ("arc / Å √amu", "energy / kcal mol⁻¹")
    return plots.curves(arc, {"energy": above}, labels, markers=False)


def half_lives(temperature_K: np.ndarray, half_life_s: np.ndarray) -> Drawing:
    """Half-life against temperature."""
    labels = ("temperature / K", "half-life / s")
    return plots.curves(temperature_K, {"half-life": half_life_s}, labels, log="y")


# Dynamics

MOST_TRACES = 32
"""Replicas that are drawn; of more, as many evenly from the first to the last."""

Series = Sequence[np.ndarray]
"""One array (records,) per replica."""


def temperature(time_fs: Series, kelvin: Series, mean_K: float | None = None) -> Drawing:
    """Kinetic temperature over time, a line per replica; dashed the mean."""
    return plots.traces(_picoseconds(time_fs), kelvin, ("time / ps", "temperature / K"), mean_K)


def potential_energy(time_fs: Series, energies: Series, lowest_eV: float | None = None) -> Drawing:
    """Potential energy over time above the lowest that was met, a line per replica."""
    if lowest_eV is None:
        lowest_eV = min(float(one.min()) for one in energies)
    above = [(one - lowest_eV) / KCAL_MOL for one in energies]
    labels = ("time / ps", "potential energy / kcal mol⁻¹")
    return plots.traces(_picoseconds(time_fs), above, labels)


def conserved_energy(time_fs: Series, energies: Series) -> Drawing:
    """Change of the conserved energy since the start, a line per replica."""
    change = [(one - one[0]) / MEV for one in energies]
    labels = ("time / ps", "conserved energy, change / meV")
    return plots.traces(_picoseconds(time_fs), change, labels).sized(WIDE)


def training_distance(time_fs: Series, distances: Series, limit: float) -> Drawing:
    """Distance to the training data over time, a line per replica; dashed the limit of the domain.

    Args:
        time_fs: in fs.
        distances: in multiples of the largest nearest-neighbour distance of the training set.
        limit: of the domain.
    """
    labels = ("time / ps", "distance to the training data")
    return plots.traces(_picoseconds(time_fs), distances, labels, limit)


def walkers(time_fs: Series, kelvin: Series) -> Drawing:
    """Temperatures in K that walkers of a replica exchange had over time, a line per walker."""
    return plots.traces(_picoseconds(time_fs), kelvin, ("time / ps", "temperature of walker / K"))


def _picoseconds(time_fs: Series) -> list[np.ndarray]:
    return [one / 1000 for one in time_fs]
