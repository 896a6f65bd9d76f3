"""Stationary points of a model compared with a reference."""

from __future__ import annotations

import numpy as np

from flexcalc.dataset import Dataset
from flexcalc.results.stationary import ARTEFACT_KCAL_MOL_A, LearnedBarrier, LearnedMinimum
from flexcalc.tasks.stationary.search import Points
from flexcalc.units import KCAL_MOL


def minimum_name(index: int) -> str:
    """Name of a minimum, from 1 in order of energy."""
    return f"minimum-{index + 1}"


def saddle_name(index: int) -> str:
    """Name of a saddle, from 1 in order of energy."""
    return f"saddle-{index + 1}"


def compare(
    points: Points, labels: Dataset | None
) -> tuple[list[LearnedMinimum], list[LearnedBarrier]]:
    """The rows of minima and barriers, with energies of the model and of the reference.

    Args:
        points: of the model.
        labels: of the reference at some of them, with the tag `name`; None without any.
    """
    energies, forces = _by_name(labels)
    names = [minimum_name(index) for index in range(len(points.minima))]
    confirmed = [name for name in names if forces.get(name, np.inf) < ARTEFACT_KCAL_MOL_A]
    zero = names.index(confirmed[0]) if confirmed else 0
    minima = [
        LearnedMinimum(
            name=name,
            energy_kcal_mol=float(energy - points.minima_eV[zero]) / KCAL_MOL,
            reference_kcal_mol=_apart(energies, name, names[zero]),
            reference_force_kcal_mol_A=forces.get(name),
        )
        for name, energy in zip(names, points.minima_eV, strict=True)
    ]
    barriers = [
        LearnedBarrier(
            name=saddle_name(index),
            start=names[start],
            end=names[end],
            energy_kcal_mol=float(points.barriers_eV[index]) / KCAL_MOL,
            reference_kcal_mol=_apart(energies, saddle_name(index), names[start]),
            reference_force_kcal_mol_A=forces.get(saddle_name(index)),
            imaginary_frequency_cm=float(points.imaginary_cm[index]),
        )
        for index, (start, end) in enumerate(np.sort(points.ends, axis=1).tolist())
    ]
    return minima, barriers


def _by_name(labels: Dataset | None) -> tuple[dict[str, float], dict[str, float]]:
    """Energies in kcal/mol and largest forces in kcal/mol/angstrom of the reference by name."""
    if labels is None:
        return {}, {}
    names = labels.tags["name"].tolist()
    energies, forces = labels.labels()
    largest = np.sqrt((forces**2).sum(axis=2)).max(axis=1)
    return (
        dict(zip(names, (energies / KCAL_MOL).tolist(), strict=True)),
        dict(zip(names, (largest / KCAL_MOL).tolist(), strict=True)),
    )


def _apart(energies: dict[str, float], name: str, origin: str) -> float | None:
    """Energy above that of an origin; None where one of them is not known."""
    if name not in energies or origin not in energies:
        return None
    return energies[name] - energies[origin]
