"""Hessians by finite differences of forces, and normal modes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from flexcalc.errors import ShapeError
from flexcalc.masses import atomic_masses as atomic_masses
from flexcalc.potential import Potential
from flexcalc.progress import Progress, silent
from flexcalc.units import WAVENUMBER

DISPLACEMENT_A = 0.005
"""Displacement of an atom: the truncation error, its square times a sixth of the fourth derivative,
is near 1e-3 eV/angstrom^2 for a bond, and the rounding error of the forces stays below that."""

ROWS = 300
"""Maximum number of displaced geometries in one call, which bounds the memory."""

LINEAR = 0.02
"""A molecule counts as linear if its smallest radius of gyration is below this fraction of its
largest: relaxation leaves linear molecules bent by some hundredths of an angstrom."""

NOISE_CM = 10.0
"""Wavenumbers in cm^-1 below which the sign of a squared frequency is not reliable."""


def hessian(
    potential: Potential,
    positions: np.ndarray,
    displacement_A: float = DISPLACEMENT_A,
    progress: Progress = silent,
) -> np.ndarray:
    """Second derivatives of the energy by central differences of the forces, symmetrised.

    The 6 x atoms displaced geometries are evaluated in batches of up to ROWS.

    Args:
        potential: surface, in eV and angstrom.
        positions: (batch, atoms, 3) in angstrom.
        displacement_A: displacement of an atom to both sides, in angstrom.
        progress: called with the number of displaced geometries that are done.

    Returns:
        (batch, 3 atoms, 3 atoms) in eV/angstrom^2.

    Raises:
        ShapeError: from the potential, for positions of another molecule.
    """
    batch, size = len(positions), positions[0].size
    moves = displacement_A * np.eye(size).reshape(size, *positions.shape[1:])
    moved = (positions[:, None] + np.concatenate([moves, -moves])).reshape(-1, *moves.shape[1:])
    forces = []
    for start in range(0, len(moved), ROWS):
        forces.append(potential(moved[start : start + ROWS]).forces)
        progress(min(start + ROWS, len(moved)), len(moved), "displacements")
    ahead, behind = np.concatenate(forces).reshape(batch, 2, size, size).swapaxes(0, 1)
    slopes = (behind - ahead) / (2 * displacement_A)
    return (slopes + slopes.swapaxes(1, 2)) / 2


def rigid_motions(positions: np.ndarray, masses: np.ndarray) -> np.ndarray:
    """Orthonormal translations and rotations (motions, 3 atoms) in mass-weighted coordinates.

    Six, or five for a linear molecule, or three for one atom.

    Args:
        positions: (atoms, 3) in angstrom.
        masses: (atoms,) in any unit; equal masses give Cartesian motions.

    Source: Wilson, Decius and Cross, Molecular Vibrations (1955), chapter 2.
    """
    root = np.sqrt(masses)[:, None]
    arms = positions - masses @ positions / masses.sum()
    axes = np.eye(3)[:, None]
    motions = np.concatenate([root * axes, root * np.cross(axes, arms)]).reshape(6, -1)
    motions[:3] /= np.sqrt(masses.sum())
    # A linear molecule is invariant under rotation about one principal axis of inertia.
    _, sizes, axes = np.linalg.svd(motions[3:], full_matrices=False)
    kept = sizes > max(LINEAR * sizes[0], 1e-9)  # one atom has no rotations
    return np.concatenate([motions[:3], axes[kept]])


@dataclass(frozen=True, eq=False)
class Vibrations:
    """The normal modes of one geometry.

    Args:
        frequencies_cm: (modes,) wavenumbers in cm^-1, ascending; imaginary ones as negative.
        modes: (modes, atoms, 3) displacements in angstrom, orthonormal once each atom's is
            multiplied by the root of its mass in amu.
        masses: (atoms,) in amu.
    """

    frequencies_cm: np.ndarray
    modes: np.ndarray
    masses: np.ndarray

    def imaginary(self) -> int:
        """Number of imaginary frequencies, beyond the noise of finite differences."""
        return int((self.frequencies_cm < -NOISE_CM).sum())


def vibrations(positions: np.ndarray, hessian: np.ndarray, masses: np.ndarray) -> Vibrations:
    """Normal modes of a geometry, free of translation and rotation.

    Args:
        positions: (atoms, 3) in angstrom.
        hessian: (3 atoms, 3 atoms) in eV/angstrom^2.
        masses: (atoms,) in amu.

    Returns:
        3 atoms - 6 modes, or one more for a linear molecule.

    Raises:
        ShapeError: the Hessian or the masses are of another size.

    Source: Wilson, Decius and Cross, Molecular Vibrations (1955), chapter 2.
    """
    size = positions.size
    if hessian.shape != (size, size) or masses.shape != positions.shape[:1]:
        raise ShapeError(
            f"expected a Hessian ({size}, {size}) and {len(positions)} masses, "
            f"got {hessian.shape} and {masses.shape}"
        )
    rigid = rigid_motions(positions, masses)
    # The rest of the orthonormal basis spans the vibrations.
    inner = np.linalg.svd(rigid)[2][len(rigid) :]
    roots = np.repeat(np.sqrt(masses), 3)
    values, vectors = np.linalg.eigh(inner @ (hessian / roots / roots[:, None]) @ inner.T)
    frequencies = np.sign(values) * np.sqrt(np.abs(values)) / WAVENUMBER
    return Vibrations(
        frequencies, (vectors.T @ inner / roots).reshape(-1, *positions.shape), masses
    )


def free_of_motions(positions: np.ndarray, masses: np.ndarray) -> np.ndarray:
    """Projectors (batch, 3 atoms, 3 atoms) that remove translation and rotation.

    Args:
        positions: (batch, atoms, 3) in angstrom.
        masses: (atoms,), see `rigid_motions`.
    """
    motions = [rigid_motions(row, masses) for row in positions]
    return np.stack([np.eye(positions[0].size) - rigid.T @ rigid for rigid in motions])


def update_hessians(hessians: np.ndarray, moves: np.ndarray, changes: np.ndarray) -> np.ndarray:
    """Update Hessians from the changes of the gradient along moves (TS-BFGS).

    The update is weighted by the absolute Hessian, so that stiff modes are preserved while soft
    torsions change; eigenvalues may become or stay negative.

    Args:
        hessians: (batch, size, size) in eV/angstrom^2.
        moves: (batch, size) in angstrom; a row that did not move keeps its Hessian.
        changes: (batch, size) of the gradient, in eV/angstrom.

    Source: Bofill, Int. J. Quantum Chem. 94, 324 (2003), doi:10.1002/qua.10709.
    """
    errors = changes - np.einsum("bij,bj->bi", hessians, moves)
    values, vectors = np.linalg.eigh(hessians)
    parts = np.einsum("bim,bi->bm", vectors, moves)
    stiff = np.einsum("bim,bm->bi", vectors, np.abs(values) * parts)
    along = np.einsum("bi,bi->b", changes, moves)
    size = np.einsum("bi,bi->b", stiff, moves)
    weight = along[:, None] * changes + size[:, None] * stiff
    length = along**2 + size**2
    moved = length > 1e-24
    weight = weight / np.where(moved, length, 1.0)[:, None]
    mixed = errors[:, :, None] * weight[:, None, :]
    mixed = mixed + mixed.swapaxes(1, 2)
    left = np.einsum("bi,bi->b", errors, moves)[:, None, None]
    correction = mixed - left * weight[:, :, None] * weight[:, None, :]
    return hessians + np.where(moved[:, None, None], correction, 0.0)
