"""Force constants of bonds: those that labels show, and those that molecules have."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from flexcalc.geometry.graph import consensus_bonds

MDYN_PER_ANGSTROM = 6.241509
"""1 mdyn/angstrom in eV/angstrom^2."""

NONMETALS = (1, 5, 6, 7, 8, 9, 14, 15, 16, 17, 33, 34, 35, 53)
"""Atomic numbers of the elements whose bonds have the usual lengths and force constants."""

PERIODS = (2, 10, 18, 36)
"""Last element of each period but the fifth, which ends with the table below."""

# Source: D. R. Herschbach and V. W. Laurie, J. Chem. Phys. 35, 458 (1961),
# doi:10.1063/1.1731952: Badger's rule, k = ((a - d) / (r - d))^3 in mdyn/angstrom, by the periods
# of the two atoms: (a, d) in angstrom.
_RULE = {
    (0, 0): (1.26, 0.025),
    (0, 1): (1.66, 0.30),
    (0, 2): (1.84, 0.38),
    (0, 3): (1.98, 0.49),
    (0, 4): (2.03, 0.51),
    (1, 1): (1.91, 0.68),
    (1, 2): (2.28, 0.74),
    (1, 3): (2.35, 0.85),
    (1, 4): (2.33, 0.68),
    (2, 2): (2.41, 1.18),
    (2, 3): (2.52, 1.02),
    (2, 4): (2.61, 1.28),
    (3, 3): (2.58, 1.41),
    (3, 4): (2.66, 0.86),
    (4, 4): (2.85, 1.62),
}


class Stretching(NamedTuple):
    """Stretching of bonds in labelled frames.

    Args:
        bonds: (bonds, 2) of nonmetals, each i < j.
        lengths: (bonds,) mean lengths, in angstrom.
        spreads: (bonds,) standard deviations of the lengths, in angstrom.
        constants: (bonds,) force constants in eV/angstrom^2, negative where forces lengthen long
            bonds.
        correlations: (bonds,) of the length with the force that shortens the bond.
    """

    bonds: np.ndarray
    lengths: np.ndarray
    spreads: np.ndarray
    constants: np.ndarray
    correlations: np.ndarray


def stretching(numbers: np.ndarray, positions: np.ndarray, forces: np.ndarray) -> Stretching:
    """Force constants of bonds, by regression of the force along a bond on its length.

    The force is weighted with the reduced mass, so that it is that of the stretch alone where the
    heavier atom is pulled by others.

    Args:
        numbers: (atoms,) atomic numbers.
        positions: (frames, atoms, 3) in angstrom.
        forces: (frames, atoms, 3) in eV/angstrom.
    """
    from ase.data import atomic_masses

    found = consensus_bonds(numbers, positions)
    i, j = found[np.isin(numbers[found], NONMETALS).all(axis=1)].T
    apart = positions[:, j] - positions[:, i]
    lengths = np.linalg.norm(apart, axis=-1)
    masses = atomic_masses[numbers]
    share = masses[j] / (masses[i] + masses[j])
    pull = share[:, None] * forces[:, i] - (1 - share)[:, None] * forces[:, j]
    along = np.einsum("fbx,fbx->fb", pull, apart) / lengths
    longer, stronger = lengths - lengths.mean(axis=0), along - along.mean(axis=0)
    both = np.sum(longer * stronger, axis=0)
    spread, strength = np.linalg.norm(longer, axis=0), np.linalg.norm(stronger, axis=0)
    tiny = np.finfo(float).tiny
    return Stretching(
        np.stack([i, j], axis=1),
        lengths.mean(axis=0),
        lengths.std(axis=0),
        both / np.maximum(spread**2, tiny),
        both / np.maximum(spread * strength, tiny),
    )


def usual_constants(numbers: np.ndarray, found: Stretching) -> np.ndarray:
    """Force constants (bonds,) in eV/angstrom^2 that molecules have at such bond lengths."""
    periods = np.sort(np.searchsorted(PERIODS, numbers[found.bonds]), axis=1)
    a, d = np.array([_RULE[int(one), int(other)] for one, other in periods]).reshape(-1, 2).T
    beyond = np.maximum(found.lengths - d, 0.1)  # shorter than any bond: no pole
    return MDYN_PER_ANGSTROM * ((a - d) / beyond) ** 3


def neighbour_work(positions: np.ndarray, forces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Change of the energy from each frame to its most similar one, as the forces give it.

    The forces are those along inverse distances, in which the surface is nearly quadratic: the
    mean force of the two frames times the change of the inverse distances is then the change of
    the energy.

    Args:
        positions: (frames, atoms, 3) in angstrom; two frames at least.
        forces: (frames, atoms, 3) in eV/angstrom.

    Returns:
        The most similar frame (frames,) of each, and the energies (frames,) in eV from each to it.
    """
    atoms = positions.shape[1]
    i, j = np.triu_indices(atoms, 1)
    apart = positions[:, i] - positions[:, j]
    inverse = 1 / np.linalg.norm(apart, axis=-1)
    slopes = -apart * inverse[..., None] ** 3
    pulls = np.stack([_along_features(*frame, i, j) for frame in zip(slopes, forces, strict=True)])
    gaps = np.sum((inverse[:, None] - inverse) ** 2, axis=-1)
    np.fill_diagonal(gaps, np.inf)
    nearest = gaps.argmin(axis=1)
    change = inverse[nearest] - inverse
    return nearest, -np.sum((pulls + pulls[nearest]) / 2 * change, axis=1)


def _along_features(
    slopes: np.ndarray, forces: np.ndarray, i: np.ndarray, j: np.ndarray
) -> np.ndarray:
    """The smallest forces (pairs,) along features of pairs that amount to those of the atoms.

    Args:
        slopes: (pairs, 3) of the feature with the position of the atom i; with that of j it is
            the opposite.
        forces: (atoms, 3).
        i, j: (pairs,) atoms.
    """
    atoms = len(forces)
    outer = slopes[:, :, None] * slopes[:, None, :]
    gram = np.zeros((atoms, atoms, 3, 3))
    gram[i, j] = gram[j, i] = -outer
    gram[range(atoms), range(atoms)] = -gram.sum(axis=1)
    flat = gram.transpose(0, 2, 1, 3).reshape(3 * atoms, 3 * atoms)
    values, modes = np.linalg.eigh(flat)
    # The pseudo-inverse leaves out the motions that change no distance, six at least.
    changing = values > 1e-10 * values[-1]
    modes = modes[:, changing]
    shifts = (modes @ (modes.T @ forces.ravel() / values[changing])).reshape(-1, 3)
    return np.sum(slopes * (shifts[i] - shifts[j]), axis=1)
