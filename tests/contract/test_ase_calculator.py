"""A potential inside ASE: plain scripts, copies, processes, refusals."""

from __future__ import annotations

import copy
import multiprocessing
import pickle
import warnings

import ase
import numpy as np
import pytest
from ase import units
from ase.calculators.calculator import PropertyNotImplementedError
from ase.io import read
from ase.md.langevin import Langevin
from ase.mep import NEB
from ase.optimize import BFGS

import flexcalc
from flexcalc.adapters.watch import DomainWarning
from flexcalc.domain import Domain
from flexcalc.errors import AddressError, MoleculeError
from flexcalc.methods.path import match_endpoints
from flexcalc.potential import Evaluation
from tests.systems import GEOMETRY, INPUTS, WATER, KnownUpTo, Springs


def water(length=0.96):
    atoms = ase.Atoms(WATER, GEOMETRY)
    atoms.positions[1, 0] = length
    return atoms


def test_the_distance_to_the_training_data_is_a_property():
    atoms = water()
    atoms.calc = flexcalc.Calculator(KnownUpTo(1.2))
    atoms.get_potential_energy()
    assert atoms.calc.results["distance"] == pytest.approx(0.96 / 1.2)
    for _ in range(3):
        atoms.positions[1, 0] += 0.001
        atoms.get_potential_energy()
    evaluated = len(atoms.calc.potential.calls)
    assert atoms.calc.get_property("distance", atoms) == pytest.approx(0.963 / 1.2)
    assert len(atoms.calc.potential.calls) == evaluated


def test_a_geometry_outside_the_training_data_is_warned_of_once():
    atoms = water()
    atoms.calc = flexcalc.Calculator(KnownUpTo(1.2))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        atoms.get_potential_energy()
    atoms.positions[1, 0] = 1.5
    with pytest.warns(DomainWarning, match="1.25, the limit 1.00"):
        atoms.get_potential_energy()
    atoms.positions[1, 0] = 2.0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        atoms.get_potential_energy()
    assert atoms.calc.results["distance"] == pytest.approx(2.0 / 1.2)


def test_an_energy_above_those_of_the_training_data_is_outside(monkeypatch):
    potential = KnownUpTo(1.2)
    known = potential(water(0.96).positions[None]).energies[0]
    hot = potential(water(1.1).positions[None]).energies[0]
    monkeypatch.setattr(KnownUpTo, "domain", Domain(energies_eV=(known - 1.0, (known + hot) / 2)))
    atoms = water()
    atoms.calc = flexcalc.Calculator(potential)
    atoms.get_potential_energy()
    atoms.positions[1, 0] = 1.1
    expected = np.sqrt((hot - known + 1.0) / ((hot - known) / 2 + 1.0))
    with pytest.warns(DomainWarning):
        assert atoms.calc.get_property("distance", atoms) == pytest.approx(expected)
    assert expected > 1.1 / 1.2


def test_the_distance_is_measured_at_one_call_of_ten_where_atoms_move_little():
    atoms = water()
    atoms.calc = flexcalc.Calculator(KnownUpTo(1.2))
    for _ in range(40):
        atoms.positions[1, 0] += 1e-4
        atoms.get_potential_energy()
    assert atoms.calc.potential.asked == 4


def test_a_potential_without_a_domain_has_no_distance():
    atoms = water()
    atoms.calc = flexcalc.Calculator(Springs())
    atoms.get_potential_energy()
    assert "distance" not in atoms.calc.results
    with pytest.raises(PropertyNotImplementedError):
        atoms.calc.get_property("distance", atoms)


def glycine(name="Ip"):
    return read(INPUTS / f"glycine-{name}.xyz")


def test_bfgs_finds_the_minimum_that_is_shipped():
    atoms = glycine()
    atoms.rattle(0.02, seed=0)
    atoms.calc = flexcalc.Calculator("xtb:GFN2-xTB")
    BFGS(atoms, logfile=None).run(fmax=0.01, steps=100)
    shipped = glycine()
    shipped.calc = atoms.calc
    assert atoms.get_potential_energy() == pytest.approx(shipped.get_potential_energy(), abs=1e-3)


def test_langevin_dynamics_runs_and_forces_are_the_batch_calls():
    atoms = glycine()
    atoms.calc = flexcalc.Calculator("xtb:GFN2-xTB")
    dynamics = Langevin(
        atoms,
        0.5 * units.fs,
        temperature_K=300,
        friction=0.01 / units.fs,
        rng=np.random.default_rng(0),
    )
    dynamics.run(5)
    direct = flexcalc.load("xtb:GFN2-xTB", atoms)(atoms.positions[None])
    assert np.abs(atoms.get_forces() - direct.forces[0]).max() < 1e-12
    assert atoms.get_potential_energy() == pytest.approx(direct.energies[0], abs=1e-12)
    assert atoms.get_potential_energy(force_consistent=True) == atoms.get_potential_energy()


def test_a_neb_of_ase_runs_on_it():
    first, last = glycine("Ip"), glycine("IIIp")
    last.positions = match_endpoints(first.numbers, first.positions, last.positions)[0]
    images = [first, *(first.copy() for _ in range(3)), last]
    for image in images:
        image.calc = flexcalc.Calculator("xtb:GFN2-xTB")
    band = NEB(images, method="improvedtangent")
    band.interpolate(method="idpp")
    before = max(image.get_potential_energy() for image in images)
    BFGS(band, logfile=None).run(fmax=0.3, steps=15)
    assert max(image.get_potential_energy() for image in images) < before


def forces_elsewhere(calculator, positions):
    """Runs in another process."""
    atoms = ase.Atoms("OH2", positions, calculator=calculator)
    return atoms.get_forces()


def test_it_works_in_a_worker_process():
    water = ase.Atoms("OH2", [[0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]])
    water.calc = flexcalc.Calculator("xtb:GFN2-xTB")
    here = water.get_forces()
    payload = pickle.dumps(water.calc)
    again = pickle.loads(payload)
    assert np.array_equal(forces_elsewhere(again, water.positions), here)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        # Moved, as the calculator remembers the forces it was pickled with.
        there = pool.apply(_elsewhere, (payload, 1.01 * water.positions))
        direct = pool.apply(_made_there, (1.01 * water.positions,))
    # Not with `here`: other tests may have imported quippy, whose BLAS tblite then takes.
    assert np.array_equal(there, direct)


def _made_there(positions):
    return forces_elsewhere(flexcalc.Calculator("xtb:GFN2-xTB"), positions)


def _elsewhere(payload, positions):
    return forces_elsewhere(pickle.loads(payload), positions)


def test_copies_do_not_share_results():
    atoms = glycine()
    atoms.calc = flexcalc.Calculator("xtb:GFN2-xTB")
    energy = atoms.get_potential_energy()
    for other in (copy.copy(atoms.calc), copy.deepcopy(atoms.calc)):
        moved = glycine()
        moved.rattle(0.05, seed=1)
        moved.calc = other
        assert moved.get_potential_energy() != energy
    atoms.get_forces()[:] = 1.0  # a user's scribbling on the result
    assert not np.array_equal(atoms.get_forces(), np.ones((len(atoms), 3)))
    assert atoms.get_potential_energy() == energy


def test_a_reference_serves_one_molecule_after_another():
    calculator = flexcalc.Calculator("xtb:GFN2-xTB")
    for name in ("glycine-Ip", "ethanol"):
        atoms = read(INPUTS / f"{name}.xyz")
        atoms.calc = calculator
        direct = flexcalc.load("xtb:GFN2-xTB", atoms)(atoms.positions[None])
        assert atoms.get_potential_energy() == pytest.approx(direct.energies[0], abs=1e-12)


def test_periodic_atoms_are_refused():
    atoms = glycine()
    atoms.pbc = [False, False, True]
    atoms.cell = [10, 10, 10]
    atoms.calc = flexcalc.Calculator("xtb:GFN2-xTB")
    with pytest.raises(MoleculeError, match="in vacuum, got periodic atoms"):
        atoms.get_potential_energy()


def test_another_molecule_is_refused():
    atoms = glycine()
    bound = flexcalc.load("xtb:GFN2-xTB", read(INPUTS / "ethanol.xyz"))
    atoms.calc = flexcalc.Calculator(bound)
    with pytest.raises(MoleculeError, match="expected the molecule C2H6O, got C2H5NO2"):
        atoms.get_forces()


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("nothing.flex", "no such model"),
        ("xbt:GFN2-xTB", "did you mean xtb"),
        ("https://somewhere/model", "unknown scheme"),
    ],
)
def test_an_address_that_names_nothing_is_refused_at_once(address, message):
    with pytest.raises(AddressError, match=message):
        flexcalc.Calculator(address)


def test_energy_and_forces_of_one_geometry_are_one_evaluation():
    calls = []

    class Counting:
        numbers = np.array([8, 1, 1])

        def __call__(self, positions):
            calls.append(positions.copy())
            return Evaluation(np.zeros(1), np.zeros((1, 3, 3)))

    water = ase.Atoms("OH2", [[0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]])
    water.calc = flexcalc.Calculator(Counting())
    for expected in (1, 2):
        water.get_potential_energy()
        water.get_forces()
        water.get_potential_energy()
        assert len(calls) == expected
        water.positions[1, 0] += 1e-12  # in place, and by little
