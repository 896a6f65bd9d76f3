"""What i-PI gets of a potential: units, virial, padding, extras; and which frames are refused."""

import itertools
import json

import numpy as np
import pytest
from ase import units
from ase.build import molecule
from ase.io import read
from ipi_bench import ROOT
from ipi_springs import STIFFNESS, Springs

from flexcalc.adapters.ipi.surface import Surface, check_frame, virials
from flexcalc.adapters.ipi.wire import pack
from flexcalc.errors import MoleculeError, NonFiniteError, ShapeError
from flexcalc.potential import CheckedPotential, Evaluation

pytestmark = pytest.mark.protocol

CELL = np.eye(3) * 100.0


def moved(springs, batch=1, width=0.05, seed=0):
    """Geometries near the rest of the springs, in angstrom."""
    return springs.rest + width * np.random.default_rng(seed).normal(size=(batch, 10, 3))


def ask(surface, positions):
    return surface(np.broadcast_to(CELL, (len(positions), 3, 3)), positions / units.Bohr)


def test_energies_and_forces_are_the_direct_calls_in_atomic_units(springs):
    positions = moved(springs, 4)
    answer, direct = ask(Surface(springs, springs.rest), positions), springs(positions)
    # Four roundings in the units of positions and forces, amplified by the springs' stiffness.
    scale = np.abs(direct.forces).max()
    assert np.abs(answer.energies * units.Hartree / direct.energies - 1).max() < 1e-15
    assert np.abs(answer.forces * units.Hartree / units.Bohr - direct.forces).max() < 1e-13 * scale


def test_the_virial_is_minus_the_derivative_by_strain(springs):
    """W = -dE/d(strain) by central differences; third derivatives times step^2 bound the error."""
    positions, step = moved(springs)[0], 1e-4
    numeric = np.zeros((3, 3))
    for i, j in itertools.product(range(3), repeat=2):
        strain = np.zeros((3, 3))
        strain[i, j] += step / 2
        strain[j, i] += step / 2
        ends = [springs((positions @ (np.eye(3) + sign * strain))[None]) for sign in (1, -1)]
        numeric[i, j] = -(ends[0].energies[0] - ends[1].energies[0]) / (2 * step)
    answer = ask(Surface(springs, springs.rest), positions[None])
    assert np.abs(answer.virials[0] * units.Hartree - numeric).max() < STIFFNESS * 1e-6


def test_the_virial_does_not_know_where_the_molecule_is(springs):
    positions = moved(springs)
    here = virials(positions, springs(positions).forces)
    far = virials(positions + 1e4, springs(positions + 1e4).forces)
    # 1e4 A cost 1e-12 A of each position; the stiffness of 45 springs turns it into energy.
    assert np.abs(far - here).max() < 1e-12 * 45 * STIFFNESS * 10
    assert np.array_equal(here, here.transpose(0, 2, 1))


def test_padding_is_answered_without_being_evaluated(springs):
    positions = moved(springs, 3)
    padded = np.concatenate([positions, positions[-1:], positions[-1:]])
    surface = Surface(springs, springs.rest)
    answer = ask(surface, padded)
    assert springs.batches == [3]
    assert surface.evaluations == 3
    assert np.array_equal(answer.energies[2:], np.repeat(answer.energies[2], 3))
    assert np.array_equal(answer.forces[:3], ask(Surface(springs, springs.rest), positions).forces)
    assert len(answer.extras) == 5


def test_a_batch_of_equal_beads_is_evaluated_once(springs):
    ask(Surface(springs, springs.rest), np.repeat(moved(springs), 16, axis=0))
    assert springs.batches == [1]


def test_extras_carry_the_deviation_of_each_atom():
    springs = Springs(deviation=True)
    positions = moved(springs, 2)
    answer = ask(Surface(springs, springs.rest), positions)
    found = [json.loads(text)["deviation_eV_A"] for text in answer.extras]
    assert np.abs(np.array(found) - springs(positions).deviation).max() < 1e-13


def test_extras_are_empty_where_no_deviation_is_known(springs):
    assert ask(Surface(springs, springs.rest), moved(springs)).extras == ("",)


def test_i_pi_reads_the_answer_as_it_was_meant(springs):
    """The oracle is the function of i-PI itself that takes the bytes off a socket."""
    import socket

    from ipi.interfaces.sockets import Driver

    answer = ask(Surface(Springs(deviation=True), springs.rest), moved(springs, 2))
    ours, theirs = socket.socketpair()
    theirs.settimeout(5)
    with ours, theirs, Driver(theirs) as driver:
        driver.batch_size = 2
        ours.sendall(pack(answer))
        results = driver._recv_forces_bulk_batch(10, 2)
    for row, (energy, forces, virial, extra) in enumerate(results):
        assert energy == answer.energies[row]
        assert np.array_equal(forces.reshape(10, 3), answer.forces[row])
        assert np.array_equal(virial, answer.virials[row])
        assert extra["raw"] == answer.extras[row]


@pytest.mark.parametrize(
    ("how", "error"),
    [("nan", NonFiniteError), ("infinite", NonFiniteError), ("misshapen", ShapeError)],
)
def test_a_bad_result_names_the_request(how, error):
    springs = Springs(fail_at=3, how=how)
    surface = Surface(springs, springs.rest)
    for _ in range(2):
        ask(surface, moved(springs))
    with pytest.raises(error, match=r"^force request 3: [^\n]*nothing was sent to i-PI$"):
        ask(surface, moved(springs))


class Unchecked:
    """A foreign potential that does not look at its own results."""

    def __init__(self, springs, **spoil):
        self.numbers, self.springs, self.spoil = springs.numbers, springs, spoil

    def __call__(self, positions):
        good = self.springs(positions)
        parts = {"energies": good.energies, "forces": good.forces} | self.spoil
        return Evaluation(**parts)


@pytest.mark.parametrize(
    ("spoil", "error"),
    [
        ({"energies": np.array([np.nan])}, NonFiniteError),
        ({"energies": np.zeros(2)}, ShapeError),
        ({"forces": np.full((1, 10, 3), np.inf)}, NonFiniteError),
        ({"forces": np.zeros((1, 30))}, ShapeError),
        ({"deviation": np.full((1, 10), np.nan)}, NonFiniteError),
    ],
)
def test_an_unchecked_potential_is_checked_on_the_way_out(springs, spoil, error):
    with pytest.raises(error, match="force request 1"):
        ask(Surface(Unchecked(springs, **spoil), springs.rest), moved(springs))


class Counting(CheckedPotential):
    """Fails the test if it is ever asked."""

    def __init__(self, numbers):
        self.numbers = numbers

    def evaluate(self, positions):
        raise AssertionError("a force was asked for")


SHIPPED = {path.stem: read(path) for path in sorted((ROOT / "inputs").glob("*.xyz"))}
TRICKY = {name: molecule(name) for name in ("H2CO", "HCN", "CH3Cl", "CH4", "HCOOH", "H2O")}
MOLECULES = SHIPPED | TRICKY


def hot(atoms, rng):
    """Atoms displaced as by zero-point motion at room temperature, hydrogen more."""
    width = np.where(atoms.numbers == 1, 0.08, 0.04)[:, None]
    return atoms.positions + width * rng.normal(size=atoms.positions.shape)


@pytest.mark.parametrize("name", MOLECULES)
def test_hot_and_turned_frames_of_the_template_are_accepted(name):
    atoms, rng = MOLECULES[name], np.random.default_rng(1)
    for _ in range(100):
        turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
        check_frame(
            atoms.numbers, atoms.positions, hot(atoms, rng) @ turn + 10 * rng.normal(size=3)
        )


@pytest.mark.parametrize(
    ("first", "second"),
    [("glycine-Ip", "glycine-IIIp"), ("azobenzene-cis", "azobenzene-trans")],
)
def test_another_conformer_of_the_template_is_accepted(first, second):
    one, other = MOLECULES[first], MOLECULES[second]
    check_frame(one.numbers, one.positions, other.positions)
    check_frame(one.numbers, other.positions, one.positions)


@pytest.mark.parametrize("name", MOLECULES)
def test_every_exchange_of_two_unlike_atoms_is_refused_before_a_force(name):
    atoms = MOLECULES[name]
    for i, j in itertools.combinations(range(len(atoms)), 2):
        if atoms.numbers[i] == atoms.numbers[j]:
            continue
        order = np.arange(len(atoms))
        order[[i, j]] = j, i
        surface = Surface(Counting(atoms.numbers), atoms.positions)
        with pytest.raises(MoleculeError, match="same file"):
            ask(surface, atoms.positions[None, order])


@pytest.mark.parametrize("name", SHIPPED)
def test_hot_frames_in_a_random_order_are_refused(name):
    """A random order puts hydrogens far from their heavy atoms, whatever the temperature."""
    atoms, rng = MOLECULES[name], np.random.default_rng(2)
    for _ in range(50):
        with pytest.raises(MoleculeError):
            check_frame(atoms.numbers, atoms.positions, rng.permutation(hot(atoms, rng), axis=0))


def test_a_molecule_folded_into_the_cell_is_refused_at_any_frame(springs):
    surface = Surface(springs, springs.rest)
    box = np.eye(3)[None] * 12.0 / units.Bohr
    whole = moved(springs) + 6.0
    surface(box, whole / units.Bohr)
    crossing = whole + np.array([5.9, 0.0, 0.0])
    with pytest.raises(MoleculeError, match="pbc='False'"):
        surface(box, (crossing % 12.0) / units.Bohr)
