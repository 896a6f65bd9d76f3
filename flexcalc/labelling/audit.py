"""Find labels with wrong units, signs or order of atoms, by computing a sample again."""

from __future__ import annotations

import numpy as np
from numpy.random import Generator

from flexcalc.dataset import Dataset
from flexcalc.errors import FlexcalcError
from flexcalc.files.units import energy_unit, length_unit
from flexcalc.potential import Evaluation, Potential, check_molecule

FORCE_TOLERANCE = 1e-3
"""eV/angstrom and relative: between two converged runs of one method, by experience; a unit
slip or a sign is off by tens of per cent."""

ENERGY_TOLERANCE = 1e-3
"""eV, and 1e-9 of the energy itself for conversions with constants of other years."""


def audit(dataset: Dataset, potential: Potential, sample: int, rng: Generator) -> list[str]:
    """Compare the labels of some frames with the reference they are said to come from.

    Args:
        dataset: with labels.
        potential: the reference that is claimed.
        sample: number of frames to compute again.
        rng: draws the frames.

    Returns:
        One line for each finding, none for labels that agree.

    Raises:
        MoleculeError: the reference is for another molecule.
        FileFormatError: the dataset has no labels.
    """
    energies, forces = dataset.labels()
    check_molecule(np.asarray(potential.numbers), dataset.numbers, dataset.provenance.source)
    frames = np.sort(rng.choice(len(dataset), size=min(sample, len(dataset)), replace=False))
    kept, parts, findings = [], [], []
    for frame in frames:
        try:
            parts.append(potential(dataset.positions[frame][None]))
            kept.append(frame)
        except FlexcalcError as error:
            findings.append(f"frame {frame}: the reference gives no label: {error}")
    if not parts:
        return findings
    reference = Evaluation(
        np.concatenate([part.energies for part in parts]),
        np.concatenate([part.forces for part in parts]),
    )
    findings += _force_findings(kept, forces[kept], reference.forces)
    findings += _energy_findings(kept, energies[kept], reference.energies)
    return findings


def _force_findings(frames: list[int], found: np.ndarray, reference: np.ndarray) -> list[str]:
    """Findings on forces (frames, atoms, 3) in eV/angstrom, if anything."""
    differ = _force_gap(found, reference) > 1
    if not differ.any():
        return []
    slope = float(np.sum(found * reference) / max(np.sum(reference**2), 1e-300))
    if slope and not (_force_gap(found / slope, reference) > 1).any():
        return [f"forces are {slope:.4g} times the reference's{_meaning(slope, per_length=True)}"]
    order = _best_order(found, reference)
    if not (_force_gap(found[:, order], reference) > 1).any():
        moved = int(np.sum(order != np.arange(len(order))))
        return [f"forces of {moved} atoms stand in another order than the atoms"]
    worst = int(np.argmax(np.abs(found - reference).max(axis=(1, 2))))
    gap = float(np.abs(found - reference)[worst].max())
    return [
        f"forces of {differ.sum()} of {len(frames)} frames differ from the reference's, by up to "
        f"{gap:.3g} eV/A at frame {frames[worst]}"
    ]


def _force_gap(found: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Largest deviation of each frame (frames,), in units of the tolerance."""
    tolerated = FORCE_TOLERANCE * (1 + np.abs(reference).max(axis=(1, 2)))
    return np.abs(found - reference).max(axis=(1, 2)) / tolerated


def _best_order(found: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """The order (atoms,) of the found forces that comes nearest to the reference."""
    from scipy.optimize import linear_sum_assignment

    gaps = np.sum((found[:, None] - reference[:, :, None]) ** 2, axis=(0, 3))
    return linear_sum_assignment(gaps)[1]


def _energy_findings(frames: list[int], found: np.ndarray, reference: np.ndarray) -> list[str]:
    """Findings on energies (frames,) in eV, if anything."""
    tolerated = ENERGY_TOLERANCE + 1e-9 * np.abs(reference)
    gap = np.abs(found - reference)
    if not (gap > tolerated).any():
        return []
    ratio = float(np.sum(found * reference) / max(np.sum(reference**2), 1e-300))
    if ratio and np.allclose(found, ratio * reference, rtol=1e-6, atol=0) and abs(ratio - 1) > 1e-3:
        return [f"energies are {ratio:.4g} times the reference's{_meaning(ratio)}"]
    shift = float(np.median(found - reference))
    if len(frames) > 1 and not (np.abs(found - reference - shift) > tolerated).any():
        return [f"energies have another zero: all differ by {shift:.6g} eV from the reference's"]
    worst = int(np.argmax(gap))
    return [
        f"energies of {np.sum(gap > tolerated)} of {len(frames)} frames differ from the "
        f"reference's, by up to {gap[worst]:.3g} eV at frame {frames[worst]}"
    ]


def _meaning(factor: float, *, per_length: bool = False) -> str:
    """The likely cause of a constant factor between labels and reference."""
    sign = ", of opposite sign (gradients for forces?)" if factor < 0 else ""
    for energy in ("eV", "hartree", "kcal/mol", "kJ/mol", "meV"):
        for length in ("angstrom", "bohr") if per_length else ("angstrom",):
            size = energy_unit(energy)[1] / length_unit(length)[1]
            unit = f"{energy}/{length}" if per_length else energy
            if size != 1 and abs(abs(factor) * size - 1) < 1e-3:
                return f"{sign}, as if they were in {unit} and not converted"
            if size != 1 and abs(abs(factor) / size - 1) < 1e-3:
                return f"{sign}, as if they had been converted from {unit} once too often"
    return sign
