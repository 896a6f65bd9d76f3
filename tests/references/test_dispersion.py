"""Tkatchenko-Scheffler dispersion against FHI-aims, ASE and its own derivatives."""

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import molecule
from ase.calculators.singlepoint import SinglePointCalculator

from flexcalc.errors import AddressError, ShapeError
from flexcalc.references import dispersion

pytest.importorskip("pyscf")

WATER = "O 0 0 0.1173; H 0 0.7572 -0.4692; H 0 -0.7572 -0.4692"
DIMER = "O 0 0 0; H 0 0 1; H 0 1 0; O 0 0 2; H 0 0 3; H 0 1 2"
ELEMENTS = np.array([1, 6, 7, 8, 9, 15, 16, 17])


def volumes_of(text: str, spin: int = 0, charge: int = 0):
    from pyscf import gto

    mol = gto.M(atom=text, basis="def2-SVP", charge=charge, spin=spin, verbose=0)
    field = mol.RKS(xc="pbe").density_fit().run()
    atoms = dispersion.atom_densities(mol, "pbe")
    density = field.make_rdm1()
    grid = field.grids
    return mol, dispersion.hirshfeld_volumes(mol, grid.coords, grid.weights, density, atoms)


def scattered(batch: int) -> np.ndarray:
    """Eight unlike atoms on a loose cube, where the damping is neither 0 nor 1."""
    cube = 2.6 * np.array(np.meshgrid([0, 1], [0, 1], [0, 1])).reshape(3, 8).T
    return cube + np.random.default_rng(0).normal(0, 0.2, (batch, 8, 3))


def test_hirshfeld_volumes_of_water_are_the_known_ones():
    """METHODS section 6: 0.952, 0.550, 0.550 at PBE/def2-SVP, given to three digits.

    The geometry they were computed at may differ by a hundredth of an angstrom.
    """
    _, volumes = volumes_of(WATER)
    np.testing.assert_allclose(volumes, [0.952, 0.550, 0.550], atol=1e-3)


def test_a_distorted_water_dimer_has_the_energy_of_fhi_aims():
    """-0.00021265 hartree by FHI-aims with its own basis; a gaussian one is within 2 %."""
    mol, volumes = volumes_of(DIMER)
    positions = mol.atom_coords(unit="angstrom")[None]
    energies, _ = dispersion.pairwise(mol.atom_charges(), positions, volumes, 0.94)
    assert energies[0] / units.Hartree == pytest.approx(-0.00021265, rel=0.02)


def test_volumes_do_not_depend_on_the_block_of_grid_points():
    from pyscf import gto

    mol = gto.M(atom=WATER, basis="STO-3G", verbose=0)
    field = mol.RKS(xc="pbe").run()
    atoms = dispersion.atom_densities(mol, "pbe")
    arguments = (mol, field.grids.coords, field.grids.weights, field.make_rdm1(), atoms)
    whole, parts = (dispersion.hirshfeld_volumes(*arguments, block=n) for n in (10**9, 777))
    np.testing.assert_allclose(whole, parts, rtol=1e-12)


def test_a_lone_atom_has_the_volume_of_the_free_one():
    """Neon is spherical by itself, so its SCF and the averaged atom's find the same density."""
    _, volumes = volumes_of("Ne 0 0 0")
    assert volumes[0] == pytest.approx(1.0, abs=1e-4)


def test_pairs_agree_with_ases_implementation():
    """`ase.calculators.vdwcorrection`, written by others, given the same volumes and radii.

    It combines C6 coefficients with free polarisabilities, where the method has those of the
    atoms in the molecule (METHODS section 6), so it is handed the latter; all atoms differ.
    """
    from ase.calculators.vdwcorrection import vdWTkatchenko09prl

    class Nothing(SinglePointCalculator):
        name = "nothing"

        def get_xc_functional(self):
            return "PBE"

        def calculation_required(self, *_):
            return False

    positions = scattered(2)
    volumes = np.random.default_rng(1).uniform(0.5, 1.05, (2, 8))
    energies, forces = dispersion.pairwise(ELEMENTS, positions, volumes, 0.94)
    alpha, c6, radii = dispersion.free_atoms(ELEMENTS)
    for row in range(2):
        atoms = Atoms(ELEMENTS, positions[row])
        base = Nothing(atoms, energy=0.0, free_energy=0.0, forces=np.zeros((8, 3)))
        table = dict(zip(atoms.symbols, zip(alpha * volumes[row], c6, strict=True), strict=True))
        other = vdWTkatchenko09prl(
            volumes[row], radii * units.Bohr, calculator=base, vdWDB_alphaC6=table, txt=None
        )
        other.calculate(atoms)
        assert energies[row] == pytest.approx(other.results["energy"], rel=1e-10)
        np.testing.assert_allclose(forces[row], other.results["forces"], atol=1e-12)


@pytest.mark.physics
def test_forces_of_the_pairs_are_minus_the_gradient_at_fixed_volumes():
    positions = scattered(1)
    volumes = np.linspace(0.6, 1.0, 8)
    step = 1e-3
    moves = step * np.eye(24).reshape(24, 8, 3)
    energy = [
        dispersion.pairwise(ELEMENTS, positions + scale * moves, volumes, 0.94)[0]
        for scale in (-2, -1, 1, 2)
    ]
    slope = (energy[0] - 8 * energy[1] + 8 * energy[2] - energy[3]) / (12 * step)
    forces = dispersion.pairwise(ELEMENTS, positions, volumes, 0.94)[1][0]
    np.testing.assert_allclose(forces, -slope.reshape(8, 3), atol=1e-9)


def test_far_atoms_attract_by_their_c6():
    """Beyond the damping E = -C6 / r^6; for two free hydrogens C6 is 6.5 hartree bohr^6."""
    positions = np.array([[[0.0, 0, 0], [0, 0, 20.0]]])
    energies, _ = dispersion.pairwise([1, 1], positions, np.ones(2), 0.94)
    expected = -6.5 * units.Hartree * (units.Bohr / 20.0) ** 6
    assert energies[0] == pytest.approx(expected, rel=1e-10)


def test_arguments_are_left_as_they_were():
    positions, volumes = scattered(1), np.full(8, 0.8)
    kept = positions.copy(), volumes.copy()
    dispersion.pairwise(ELEMENTS, positions, volumes, 0.94)
    np.testing.assert_array_equal(positions, kept[0])
    np.testing.assert_array_equal(volumes, kept[1])


def test_an_element_outside_the_table_is_refused():
    with pytest.raises(AddressError, match=r"knows H, C, .* found Fe; use D3 or D4"):
        dispersion.free_atoms([26, 1])


def test_a_functional_without_damping_is_refused():
    with pytest.raises(AddressError, match="no Tkatchenko-Scheffler damping is known for 'TPSS'"):
        dispersion.damping_range("TPSS")


def test_wrong_shapes_are_refused():
    water = molecule("H2O")
    with pytest.raises(ShapeError, match="positions"):
        dispersion.pairwise(water.numbers, water.positions, np.ones(3), 0.94)
    with pytest.raises(ShapeError, match="volumes"):
        dispersion.pairwise(water.numbers, water.positions[None], np.ones(2), 0.94)
