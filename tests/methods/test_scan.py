"""Driven coordinates: values hit exactly, others interpolated or relaxed."""

from __future__ import annotations

import numpy as np
import pytest
from ase.io import read

from flexcalc.errors import InputError, ShapeError
from flexcalc.geometry import Coordinate, distances
from flexcalc.methods.iterate import iterate
from flexcalc.methods.path import Scan
from flexcalc.methods.path.scan import Drive
from flexcalc.potential import CheckedPotential, Evaluation
from tests.systems import INPUTS

DIHEDRAL, FIRST, SECOND = "dihedral 5 6 7 8", "angle 5 6 7", "angle 6 7 8"
BONDS = ("distance 5 6", "distance 6 7", "distance 7 8")


class Tethers(CheckedPotential):
    """Springs of 20 eV/A^2 on bonds, softer with distance, between all atoms: one minimum.

    Args:
        numbers: (atoms,).
        rest: (atoms, 3) where all springs are at rest.
    """

    def __init__(self, numbers, rest):
        self.numbers = numbers
        i, j = np.triu_indices(len(numbers), 1)
        self.i, self.j, self.lengths = i, j, distances(rest[None])[0][i, j]
        self.stiffness = 20.0 * np.minimum(1.0, (1.5 / self.lengths) ** 4)

    def evaluate(self, positions):
        apart = positions[:, self.i] - positions[:, self.j]
        distance = np.linalg.norm(apart, axis=-1)
        gap = distance - self.lengths
        pull = (-self.stiffness * gap / distance)[..., None] * apart
        forces = np.zeros_like(positions)
        np.add.at(forces, (slice(None), self.i), pull)
        np.add.at(forces, (slice(None), self.j), -pull)
        return Evaluation(0.5 * (self.stiffness * gap**2).sum(axis=1), forces)


@pytest.fixture(scope="module")
def isomers():
    return [read(INPUTS / f"azobenzene-{name}.xyz") for name in ("cis", "trans")]


@pytest.fixture(scope="module")
def tethers(isomers):
    return Tethers(isomers[0].numbers, isomers[0].positions)


def scanned(scan, potential, isomers, rng, steps=300):
    cis, trans = isomers
    first = scan.first(cis.numbers, cis.positions[None], trans.positions)
    return iterate(scan, potential, scan.init(potential, first, rng), steps=steps, rng=rng)


def values(text, images):
    return Coordinate.parse(text).values(images)


MECHANISMS = {
    "rotation": (DIHEDRAL,),
    "inversion": (f"{FIRST} through 180",),
    "assisted": (DIHEDRAL, f"{FIRST} via 180"),
}


@pytest.mark.physics
@pytest.mark.parametrize("name", MECHANISMS)
def test_a_mechanism_joins_cis_and_trans(name, isomers, tethers, rng):
    """The ends are the two minima, distances and all; what is between changes little by little."""
    scan = Scan(drive=MECHANISMS[name])
    state = scanned(scan, tethers, isomers, rng)
    assert scan.converged(state)
    assert state.step == 0
    cis, trans = (isomer.positions for isomer in isomers)
    order = scan.first(isomers[0].numbers, cis[None], trans)[1]
    for image, end in ((state.images[0], cis), (state.images[-1], order)):
        assert np.abs(distances(image[None]) - distances(end[None])).max() < 1e-9
    for bond in BONDS:
        steps = np.diff(values(bond, state.images))
        assert steps == pytest.approx(np.full(16, steps.mean()), abs=1e-9)
    # Rings stay rings: interpolated bonds and angles leave their sixth bond in place.
    closing = distances(state.images)[:, 0, 5]
    assert np.abs(closing - closing[0]).max() < 0.02
    moved = np.abs(np.diff(distances(state.images), axis=0)).max()
    assert moved < 0.9


@pytest.mark.physics
def test_rotation_turns_evenly_the_shorter_way(isomers, tethers, rng):
    state = scanned(Scan(drive=(DIHEDRAL,)), tethers, isomers, rng)
    turn = np.unwrap(np.radians(values(DIHEDRAL, state.images)))
    assert np.diff(turn) == pytest.approx(np.full(16, (turn[-1] - turn[0]) / 16), abs=1e-9)
    assert 170 < np.degrees(turn[-1] - turn[0]) < 180
    # The rings are labelled so that they need not turn with it.
    assert abs(values("dihedral 4 5 6 7", state.images)[[0, -1]] @ [1, -1]) < 30


@pytest.mark.physics
def test_inversion_goes_through_the_linear_angle(isomers, tethers, rng):
    """The angle runs from 126 to 360 - 117 degrees; the dihedral jumps where it is linear."""
    scan = Scan(images=41, drive=(f"{FIRST} through 180",))
    state = scanned(scan, tethers, isomers, rng)
    ends = values(FIRST, state.images)[[0, -1]]
    expected = np.linspace(ends[0], 360 - ends[1], 41)
    expected = np.where(expected > 180, 360 - expected, expected)
    assert values(FIRST, state.images) == pytest.approx(expected, abs=1e-8)
    turn = values(DIHEDRAL, state.images)
    assert (np.abs(turn) < 20).sum() + (np.abs(turn) > 160).sum() == 41
    # No atom knows of the jump: the path is smooth, its steps all alike.
    steps = np.sqrt((np.diff(state.images, axis=0) ** 2).sum(axis=(1, 2)))
    assert steps.max() / steps.min() < 1.1


@pytest.mark.physics
def test_chosen_coordinates_are_relaxed_and_the_others_are_not(isomers, tethers, rng):
    """At rest no chosen value can be changed to lower the energy, by central differences."""
    chosen = (FIRST, SECOND, *BONDS)
    scan = Scan(images=5, drive=(DIHEDRAL,), relax=chosen, force_tolerance_eV_A=1e-6)
    state = scanned(scan, tethers, isomers, rng)
    first = scan.first(isomers[0].numbers, isomers[0].positions[None], isomers[1].positions)
    rigid = Scan(images=5, drive=(DIHEDRAL,)).init(tethers, first, rng)
    assert scan.converged(state)
    assert (state.evaluation.energies <= rigid.evaluation.energies + 1e-12).all()
    assert (rigid.evaluation.energies - state.evaluation.energies)[2] > 0.01
    for text in (DIHEDRAL, "dihedral 4 5 6 7", "dihedral 6 7 8 9", "angle 4 5 6", "distance 0 1"):
        assert values(text, state.images) == pytest.approx(values(text, rigid.images), abs=1e-8)
    for text in chosen:
        atom, column = state.tree.locate(Coordinate.parse(text))
        energies = []
        for step in (1e-4, -1e-4):
            shifted = state.values.copy()
            shifted[:, atom, column] += step
            energies.append(tethers(state.tree.positions(shifted)).energies)
        assert np.abs(energies[0] - energies[1]).max() / 2e-4 < 2e-6


RELAXED = {
    # On springs that are at rest in cis, trans would be pulled to a linear angle.
    "rotation": (f"{DIHEDRAL} to 100",),
    "inversion": (f"{FIRST} through 180",),
    "assisted": (DIHEDRAL, f"{FIRST} via 180"),
}


@pytest.mark.physics
@pytest.mark.parametrize("name", RELAXED)
def test_all_else_is_relaxed_at_exact_values(name, isomers, tethers, rng):
    """Lagrange: what force is left is a sum of the driven coordinates' gradients."""
    scan = Scan(images=5, drive=RELAXED[name], relax=("all",))
    rigid = scanned(Scan(images=5, drive=RELAXED[name]), tethers, isomers, rng)
    state = scanned(scan, tethers, isomers, rng)
    assert scan.converged(state)
    assert (state.evaluation.energies < rigid.evaluation.energies + 1e-9).all()
    for text in RELAXED[name]:
        coordinate = Drive.parse(text).coordinate
        wanted, found = (coordinate.measured(s.images)[0] for s in (rigid, state))
        # Beside a linear angle, which the third image of one has, there is no dihedral.
        kept = [0, 1, 3, 4] if name == "assisted" else range(5)
        assert found[kept] == pytest.approx(wanted[kept], abs=1e-8)


def test_one_geometry_is_driven_to_a_value(isomers, rng):
    """A full turn of a ring brings every image back to where it was."""
    cis = isomers[0]
    scan = Scan(images=7, drive=("dihedral 4 5 6 7 from 46 to 406",))
    potential = Tethers(cis.numbers, cis.positions)
    scan.check("cis.xyz", cis.numbers, cis.positions[None], False)
    first = scan.first(cis.numbers, cis.positions[None], None)
    state = scan.init(potential, first, rng)
    turned = values("dihedral 4 5 6 7", state.images)
    assert turned == pytest.approx([46, 106, 166, -134, -74, -14, 46], abs=1e-8)
    assert np.abs(state.images[0] - state.images[-1]).max() < 1e-9


def test_a_distance_between_atoms_without_a_bond_can_be_driven(isomers, rng):
    cis = isomers[0]
    potential = Tethers(cis.numbers, cis.positions)
    scan = Scan(images=4, drive=("distance 0 13 to 3.5",))
    state = scan.init(potential, scan.first(cis.numbers, cis.positions[None], None), rng)
    lengths = values("distance 0 13", state.images)
    assert lengths == pytest.approx(np.linspace(lengths[0], 3.5, 4), abs=1e-8)


@pytest.mark.parametrize("relax", [("all",), ()])
@pytest.mark.parametrize(
    ("text", "last"),
    [("coordination 6 : 5 7 r0=1.5 n=6", 0.9), ("difference 5 6 6 7", 0.4)],
)
def test_a_coordinate_that_is_no_value_of_the_tree_is_driven(text, last, relax, isomers, rng):
    """Of the same four atoms as a dihedral, or of the two first as a distance, it is neither."""
    cis = isomers[0]
    scan = Scan(images=4, drive=(f"{text} to {last}",), relax=relax)
    scan.check("cis.xyz", cis.numbers, cis.positions[None], False)
    first = scan.first(cis.numbers, cis.positions[None], None)
    potential = Tethers(cis.numbers, cis.positions)
    state = scan.init(potential, first, rng)
    state = iterate(scan, potential, state, steps=3, rng=rng)
    begun = values(text, cis.positions[None])[0]
    assert values(text, state.images) == pytest.approx(np.linspace(begun, last, 4), abs=1e-8)


@pytest.mark.inputs
@pytest.mark.parametrize(
    ("drive", "message"),
    [
        ("coordination 6 : 5 7 r0=1.5 to 2.5", "lies between 0 and 2, found 2.5"),
        ("coordination 6 : 5 7 r0=1.5 from 0 to 1", "lies between 0 and 2, found 0"),
        ("coordination 6 : 5 99 r0=1.5 to 1", "names atom 99"),
        ("python:os:getcwd to 1", "not user-defined functions"),
    ],
)
def test_what_cannot_be_driven_is_refused_at_the_start(drive, message, isomers):
    cis = isomers[0]
    with pytest.raises(InputError, match=message):
        Scan(drive=(drive,)).check("cis.xyz", cis.numbers, cis.positions[None], False)


@pytest.mark.parametrize("relax", [("all",), (FIRST,), ()])
def test_a_step_of_a_scan_is_one_call(relax, isomers, tethers, rng):
    sizes = []

    class Counted(CheckedPotential):
        numbers = tethers.numbers

        def evaluate(self, positions):
            sizes.append(len(positions))
            return tethers.evaluate(positions)

    scan = Scan(images=5, drive=(DIHEDRAL,), relax=relax, force_tolerance_eV_A=1e-5)
    state = scanned(scan, Counted(), isomers, rng, steps=4)
    assert sizes == [5] * (state.step + 1)


TEXTS = {
    "dihedral 4 6 7 12": Drive(Coordinate("dihedral", (4, 6, 7, 12))),
    " angle 0 1 2 through 180 ": Drive(Coordinate("angle", (0, 1, 2)), through=True),
    "distance 0 1 from 1 via 3 to 2.5": Drive(Coordinate("distance", (0, 1)), 1.0, 3.0, 2.5),
}


@pytest.mark.parametrize("text", TEXTS)
def test_a_drive_is_read_from_text(text):
    assert Drive.parse(text) == TEXTS[text]


@pytest.mark.inputs
@pytest.mark.parametrize(
    "text",
    [
        *("", "dihedral 1 2 3", "angle 0 1 2 through 90", "dihedral 0 1 2 3 through 180"),
        *("angle 0 1 2 to", "angle 0 1 2 to x", "distance 0 1 to inf", "angle 0 1 2 to 3 to 4"),
        *("angle 0 1 2 through 180 to 100", "distance 0 1 upto 3"),
    ],
)
def test_a_bad_drive_is_refused_in_one_line(text):
    with pytest.raises(InputError) as caught:
        Drive.parse(text)
    assert "\n" not in str(caught.value)


@pytest.mark.inputs
@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "at least one coordinate"),
        ({"drive": ("distance 0 99",)}, "names atom 99"),
        ({"drive": (DIHEDRAL,), "relax": ("distance 0 99",)}, "names atom 99"),
        ({"drive": (DIHEDRAL,), "relax": ("distance 0 12",)}, "cannot be distinguished"),
        ({"drive": (DIHEDRAL,), "relax": (DIHEDRAL,)}, "driven too"),
        ({"drive": (DIHEDRAL,), "relax": (FIRST, FIRST)}, "twice"),
    ],
)
def test_what_the_molecule_has_not_is_refused(fields, message, isomers):
    cis = isomers[0]
    with pytest.raises((InputError, ShapeError), match=message):
        Scan(**fields).check("cis.xyz", cis.numbers, cis.positions[None], True)


@pytest.mark.inputs
def test_a_scan_without_an_end_asks_for_one(isomers):
    cis = isomers[0]
    with pytest.raises(InputError, match="has no end"):
        Scan(drive=(DIHEDRAL,)).check("cis.xyz", cis.numbers, cis.positions[None], False)
