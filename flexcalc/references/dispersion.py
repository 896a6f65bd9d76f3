"""Tkatchenko-Scheffler dispersion: pairs of atoms scaled by their Hirshfeld volumes.

Source: Tkatchenko and Scheffler, Phys. Rev. Lett. 102, 073005 (2009),
doi:10.1103/PhysRevLett.102.073005.

The forces are those at fixed volumes, as is the custom in the codes that offer this
correction: the change of the volumes with the geometry is left out, so the forces of a TS label
are not exactly minus the gradient of its energy; by how much is stated at `dft.DFT`.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from flexcalc.errors import AddressError, ShapeError
from flexcalc.units import BOHR, HARTREE

STEEPNESS = 20.0
"""d of the damping function."""

RANGE: Mapping[str, float] = {
    "PBE": 0.94,
    "PBE0": 0.96,
    "HSE06": 0.96,
    "B3LYP": 0.84,
    "BLYP": 0.62,
}
"""s_R of the damping function by functional; PBE's is from the paper, all are FHI-aims' values."""


@dataclass(frozen=True)
class FreeAtom:
    """Reference values of a free atom, in atomic units.

    Args:
        polarisability: static dipole polarisability in bohr^3.
        c6: homonuclear dispersion coefficient in hartree bohr^6.
        radius: van der Waals radius in bohr, where the free atom's density has the value that
            the density of the row's noble gas has at half its contact distance.
    """

    polarisability: float
    c6: float
    radius: float


# Polarisabilities and C6: Chu and Dalgarno, J. Chem. Phys. 121, 4083 (2004),
# doi:10.1063/1.1779576, hydrogen exact; radii: Tkatchenko and Scheffler (2009), as tabulated in
# the codes of its authors (libMBD, FHI-aims).
FREE_ATOMS: Mapping[int, FreeAtom] = {
    1: FreeAtom(4.50, 6.5, 3.10),
    6: FreeAtom(12.0, 46.6, 3.59),
    7: FreeAtom(7.4, 24.2, 3.34),
    8: FreeAtom(5.4, 15.6, 3.19),
    9: FreeAtom(3.8, 9.52, 3.04),
    14: FreeAtom(37.0, 305.0, 4.20),
    15: FreeAtom(25.0, 185.0, 4.01),
    16: FreeAtom(19.6, 134.0, 3.86),
    17: FreeAtom(15.0, 94.6, 3.71),
    35: FreeAtom(20.0, 162.0, 3.93),
}
"""By atomic number."""


def damping_range(functional: str) -> float:
    """The s_R of a functional, whatever its upper and lower case.

    Raises:
        AddressError: none is known for it.
    """
    known = {name.lower(): value for name, value in RANGE.items()}
    if functional.lower() not in known:
        raise AddressError(
            f"no Tkatchenko-Scheffler damping is known for {functional!r}; "
            f"known: {', '.join(RANGE)}; D3 and D4 know more functionals"
        )
    return known[functional.lower()]


def free_atoms(numbers: ArrayLike) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Polarisabilities, C6 and radii (atoms,) of free atoms, in atomic units.

    Raises:
        AddressError: an element is not in the table.
    """
    from ase.data import chemical_symbols

    numbers = np.asarray(numbers, dtype=int)
    lacking = sorted({int(number) for number in numbers} - set(FREE_ATOMS))
    if lacking:
        raise AddressError(
            "Tkatchenko-Scheffler dispersion knows "
            f"{', '.join(chemical_symbols[number] for number in FREE_ATOMS)}; found "
            f"{', '.join(chemical_symbols[number] for number in lacking)}; use D3 or D4"
        )
    rows = [FREE_ATOMS[int(number)] for number in numbers]
    table = np.array([(row.polarisability, row.c6, row.radius) for row in rows])
    return table[:, 0], table[:, 1], table[:, 2]


def pairwise(
    numbers: ArrayLike, positions: ArrayLike, volumes: ArrayLike, scale: float
) -> tuple[np.ndarray, np.ndarray]:
    """Energy and forces of a batch at given volumes; exact derivatives at those volumes.

    Args:
        numbers: (atoms,) atomic numbers.
        positions: (batch, atoms, 3) in angstrom.
        volumes: (batch, atoms) or (atoms,) Hirshfeld volumes relative to the free atoms'.
        scale: s_R of the functional, see `damping_range`.

    Returns:
        Energies (batch,) in eV and forces (batch, atoms, 3) in eV/angstrom.

    Raises:
        AddressError: an element is not in the table.
        ShapeError: the arrays do not fit together.
    """
    positions = np.asarray(positions, dtype=float)
    volumes = np.asarray(volumes, dtype=float)
    alpha, c6, radius = free_atoms(numbers)
    count = len(alpha)
    if positions.ndim != 3 or positions.shape[1:] != (count, 3):
        raise ShapeError(f"expected positions (batch, {count}, 3), got {positions.shape}")
    if volumes.shape not in ((len(positions), count), (count,)):
        raise ShapeError(f"expected volumes (batch, {count}), got {volumes.shape}")
    first, second = np.triu_indices(count, 1)
    c6 = c6 * volumes**2
    alpha = alpha * volumes
    radius = radius * np.cbrt(volumes)
    ratio = alpha[..., second] / alpha[..., first]
    pair_c6 = 2 * c6[..., first] * c6[..., second]
    pair_c6 = pair_c6 / (ratio * c6[..., first] + c6[..., second] / ratio)
    contact = scale * (radius[..., first] + radius[..., second])

    vectors = (positions[:, first] - positions[:, second]) / BOHR
    r = np.linalg.norm(vectors, axis=-1)
    damping = 1 / (1 + np.exp(-STEEPNESS * (r / contact - 1)))
    terms = -damping * pair_c6 / r**6
    slope = terms * (STEEPNESS / contact * (1 - damping) - 6 / r)
    pull = -(slope / r)[..., None] * vectors
    sign = np.zeros((len(first), count))
    pairs = np.arange(len(first))
    sign[pairs, first], sign[pairs, second] = 1.0, -1.0
    forces = np.einsum("pa,bpx->bax", sign, pull)
    return terms.sum(axis=-1) * HARTREE, forces * (HARTREE / BOHR)


@dataclass(frozen=True, eq=False)
class AtomDensity:
    """The spherically averaged free atom in a basis.

    Args:
        density_matrix: (functions, functions) of the atom's own basis functions.
        volume: int r^3 rho, in bohr^3.
    """

    density_matrix: np.ndarray
    volume: float


def atom_densities(mol: Any, xc: str) -> dict[str, AtomDensity]:
    """Free atoms of a molecule's elements, spin- and spherically averaged, in its basis.

    Args:
        mol: a `pyscf.gto.Mole` with spherical basis functions.
        xc: the functional, as PySCF names it.

    Returns:
        Element symbol -> its density.
    """
    from pyscf import dft, gto
    from pyscf.scf.atom_ks import get_atm_nrks

    with warnings.catch_warnings():  # of PySCF's own use of what it deprecates
        warnings.simplefilter("ignore", DeprecationWarning)
        atoms = get_atm_nrks(mol, xc=xc)
    densities = {}
    for symbol, (_, _, coefficients, occupations) in atoms.items():
        matrix = (coefficients * occupations) @ coefficients.T
        # Odd-electron atoms are averaged over spin, so `spin` serves only to build the atom.
        atom = gto.M(
            atom=[(symbol, (0, 0, 0))], basis={symbol: mol._basis[symbol]}, spin=None, verbose=0
        )
        grid = dft.Grids(atom).set(level=5).build()
        rho = dft.numint.eval_rho(atom, dft.numint.eval_ao(atom, grid.coords), matrix)
        r = np.linalg.norm(grid.coords, axis=1)
        densities[symbol] = AtomDensity(matrix, float(grid.weights @ (r**3 * rho)))
    return densities


def hirshfeld_volumes(
    mol: Any,
    coords: np.ndarray,
    weights: np.ndarray,
    density_matrix: np.ndarray,
    atoms: Mapping[str, AtomDensity],
    block: int = 20000,
) -> np.ndarray:
    """Volumes of the atoms in the molecule relative to the free atoms.

    Args:
        mol: a `pyscf.gto.Mole`.
        coords: (points, 3) of the integration grid in bohr.
        weights: (points,) of the grid.
        density_matrix: (functions, functions), both spins together.
        atoms: the free atoms in the same basis, see `atom_densities`.
        block: grid points at once, which bounds the memory.

    Returns:
        (atoms,) ratios; below 1 for an atom squeezed by its neighbours.
    """
    from pyscf.dft import numint

    centres = mol.atom_coords()
    slices = mol.aoslice_by_atom()[:, 2:]
    free = [atoms[mol.atom_symbol(atom)] for atom in range(mol.natm)]
    integrals = np.zeros(mol.natm)
    for start in range(0, len(coords), block):
        points, weight = coords[start : start + block], weights[start : start + block]
        functions = numint.eval_ao(mol, points)
        rho = weight * numint.eval_rho(mol, functions, density_matrix)
        pro = np.empty((mol.natm, len(points)))
        for atom, (low, high) in enumerate(slices):
            own = functions[:, low:high]
            pro[atom] = np.einsum("pi,ij,pj->p", own, free[atom].density_matrix, own, optimize=True)
        # Far from every atom the promolecule underflows; the density there is nothing.
        share = pro / np.maximum(pro.sum(axis=0), 1e-300)
        r = np.linalg.norm(points[None] - centres[:, None], axis=-1)
        integrals += (share * r**3) @ rho
    return integrals / np.array([atom.volume for atom in free])
