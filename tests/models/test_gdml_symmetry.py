"""Permutation groups recovered from geometries, against the known groups of molecules."""

import itertools

import numpy as np
import pytest
from ase.build import molecule
from ase.io import read

import flexcalc
from flexcalc.commands.face import run_command
from flexcalc.commands.train import train
from flexcalc.config import load
from flexcalc.config.train import Train
from flexcalc.errors import ConfigError
from flexcalc.geometry import distances
from flexcalc.geometry.graph import bonded_share
from flexcalc.models.gdml import SGDML, automorphisms, symmetry
from flexcalc.models.gdml.groups import close, cycles, generators_of, is_group, parsed
from flexcalc.models.gdml.symmetry import find, given, identity, recover
from tests.systems import INPUTS

RING_FLIPS = (range(0, 6), 5, 6), (range(8, 14), 8, 7)
"""Ring carbons of azobenzene, the one that is bonded to nitrogen, and that nitrogen."""


@pytest.fixture
def azobenzene(toy):
    """A function that makes frames of cis and trans in turn, their rings turned either way."""
    isomers = [read(INPUTS / f"azobenzene-{name}.xyz") for name in ("cis", "trans")]
    hydrogens = {0: 14, 1: 15, 2: 16, 3: 17, 4: 18, 9: 19, 10: 20, 11: 21, 12: 22, 13: 23}

    def frames(count, rng, flips=True, kinds=(0, 1), rattle=0.08, spread=30):
        made = []
        for index in range(count):
            frame = isomers[kinds[index % len(kinds)]].positions
            for ring, root, nitrogen in RING_FLIPS:
                atoms = [*ring, *(hydrogens[atom] for atom in ring if atom in hydrogens)]
                degrees = rng.normal(scale=spread) + 180 * rng.integers(1 + flips)
                frame = toy.turned(frame, (nitrogen, root), atoms, degrees)
            made.append(frame + rng.normal(scale=rattle, size=frame.shape))
        return isomers[0].numbers, np.array(made)

    return frames


def published(numbers, positions):
    """The group of the published algorithm, which trusts matchings that break bonds too."""
    matching = symmetry._by_modes(numbers, distances(positions), lambda rows: rows[:, 0] >= 0)
    found = symmetry._on_spanning_tree(matching)
    return close([tuple(range(len(numbers))), *found], 10000)


@pytest.mark.parametrize(
    ("name", "order"),
    [
        ("H2O", 2),
        ("NH3", 6),
        ("CH4", 24),
        ("C2H4", 4),
        ("C6H6", 12),
        ("HCN", 1),
    ],
)
def test_rattled_molecules_have_the_order_of_their_point_group(name, order, rng):
    """Of the point groups C2v, C3v, Td, D2h and D6h the operations that move atoms."""
    atoms = molecule(name)
    positions = atoms.positions + rng.normal(scale=0.08, size=(60, len(atoms), 3))
    found = recover(atoms.numbers, positions, rng)
    assert len(found.permutations) == order
    assert found.warning is None


@pytest.mark.parametrize("frames", [30, 100])
def test_ethanol_with_free_rotors_has_six(toy, rng, frames):
    """Three turns of the methyl group, and the mirror image that swaps the CH2 hydrogens."""
    found = recover(*toy.ethanol_frames(frames, rng), rng)
    assert len(found.permutations) == 6


def test_turned_and_shuffled_frames_have_the_same_group(toy, rng):
    """Neither orientation nor the order of the frames matters."""
    from scipy.spatial.transform import Rotation

    numbers, positions = toy.ethanol_frames(60, rng)
    turns = Rotation.random(60, rng=rng).as_matrix()
    moved = (positions @ turns)[rng.permutation(60)]
    expected = recover(numbers, positions, rng).permutations
    assert np.array_equal(recover(numbers, moved, rng).permutations, expected)


def test_the_group_is_closed_and_keeps_the_elements(toy, rng):
    numbers, positions = toy.ethanol_frames(60, rng)
    group = recover(numbers, positions, rng).permutations
    members = {tuple(row) for row in group.tolist()}
    assert tuple(range(9)) in members
    assert all((numbers[row] == numbers).all() for row in group)
    for one in group:
        assert tuple(np.argsort(one).tolist()) in members
        assert all(tuple(one[other].tolist()) in members for other in group)


def test_one_frame_or_two_equal_ones_show_no_symmetry(toy, rng):
    numbers, positions = toy.water_frames(1, rng)
    assert np.array_equal(recover(numbers, positions, rng).permutations, [np.arange(3)])
    twice = np.concatenate([positions, positions])
    assert np.array_equal(recover(numbers, twice, rng).permutations, [np.arange(3)])


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("few", [300, 4])
def test_both_isomers_of_azobenzene_have_eight(azobenzene, monkeypatch, seed, few):
    """Two rings turn and the halves change places, whichever way geometries are matched."""
    monkeypatch.setattr(symmetry, "MAX_AUTOMORPHISMS", few)
    numbers, positions = azobenzene(80, np.random.default_rng(seed))
    found = recover(numbers, positions, np.random.default_rng(0))
    assert len(found.permutations) == 8
    assert found.warning is None


def test_the_published_matching_of_both_isomers_is_spurious(azobenzene, rng, monkeypatch):
    """What the review is for: matchings between isomers break bonds and spoil the group."""
    monkeypatch.setattr(symmetry, "MAX_AUTOMORPHISMS", 4)
    sets = [azobenzene(40, np.random.default_rng(seed)) for seed in range(6)]
    groups = [published(*one) for one in sets]
    assert sum(group is None or len(group) > 8 for group in groups) > 2
    for numbers, positions in sets:
        found = recover(numbers, positions, rng)
        assert any("not their bonds were left out" in note for note in found.notes)


def test_rings_that_were_not_seen_to_turn_are_taken_to(azobenzene, rng):
    """A short run of cis stays on its side of the turn; its model gains from the turn."""
    frames = azobenzene(40, rng, flips=False, kinds=(0,), rattle=0.03, spread=15)
    found = recover(*frames, rng)
    assert len(found.permutations) == 8
    assert "the bonds allow 8 permutations; the geometries show a group of 2" in found.notes
    assert "turns about single bonds that the geometries do not show make it 8" in found.notes


@pytest.mark.parametrize(
    ("name", "order"),
    [
        ("C2H6", 9),
        ("isobutane", 27),
        ("CH3CHO", 3),
        ("CH3NO2", 6),
        ("C2H4", 1),
        ("CH4", 1),
        ("C6H6", 1),
        ("H2CCO", 1),
    ],
)
def test_only_single_bonds_turn_and_no_centre_is_mirrored(name, order, rng):
    """One frame shows nothing: methyl groups turn by thirds, NO2 by a half, =CH2 not at all."""
    atoms = molecule(name)
    assert len(recover(atoms.numbers, atoms.positions[None], rng).permutations) == order


@pytest.mark.parametrize(
    ("name", "order"),
    [("CH3CH2OH", 6), ("CH4", 24), ("CH3CHO", 6), ("trans-butane", 36), ("C2H4", 8)],
)
def test_no_tetrahedral_centre_is_mirrored_alone(name, order):
    """Of the twelve automorphisms of ethanol six are feasible, of the 288 of butane 36."""
    atoms = molecule(name)
    bonded = bonded_share(atoms.numbers, atoms.positions[None])
    rows = automorphisms.automorphisms(atoms.numbers, bonded, 300)
    assert automorphisms.feasible(atoms.positions, bonded, rows).sum() == order


def test_a_shared_proton_keeps_both_sides_alike(rng):
    """Bonded to one oxygen in six frames of ten, it does not set the two apart."""
    numbers = np.array([8, 1, 8])
    ends = np.where(rng.random(60) < 0.6, 0.0, 0.5)
    positions = np.zeros((60, 3, 3))
    positions[:, 1, 0], positions[:, 2, 0] = 1.0 + ends, 2.5
    positions += rng.normal(scale=0.03, size=positions.shape)
    assert recover(numbers, positions, rng).permutations.tolist() == [[0, 1, 2], [2, 1, 0]]


def test_atoms_that_come_apart_are_still_matched(rng):
    """Six argon atoms without a bond: far more relabellings than can be tried."""
    positions = 2.7 * np.concatenate([np.eye(3), -np.eye(3)])
    positions = positions + rng.normal(scale=0.1, size=(40, 6, 3))
    found = recover(np.full(6, 18), positions, rng, largest=720)
    assert len(found.permutations) > 1
    assert "more than 300 permutations" in found.notes[0]


def test_all_automorphisms_are_found():
    """Of a ring of six the twelve of the hexagon; of a chain of four its two directions."""
    for bonded, order in ((np.eye(6, k=1) + np.eye(6, k=5), 12), (np.eye(4, k=1), 2)):
        rows = automorphisms.automorphisms(np.full(len(bonded), 6), bonded + bonded.T, 100)
        assert len(np.unique(rows, axis=0)) == len(rows) == order
        assert automorphisms.keeps_bonds(bonded + bonded.T, rows).all()
        assert rows[0].tolist() == list(range(len(bonded)))


def test_many_frames_are_thinned_out(toy, rng, monkeypatch):
    monkeypatch.setattr("flexcalc.models.gdml.symmetry.MAX_GEOMETRIES", 30)
    found = recover(*toy.ethanol_frames(300, rng), rng)
    assert len(found.permutations) == 6


def test_closing_two_exchanges_gives_all_permutations_of_three():
    assert len(close([(1, 0, 2), (0, 2, 1)], 100)) == 6
    assert len(close([(1, 2, 3, 4, 0)], 100)) == 5
    assert close([(1, 0, 2), (0, 2, 1)], 5) is None


def test_a_group_beyond_the_limit_loses_its_rarest_members_and_says_so(rng):
    atoms = molecule("CH4")
    positions = atoms.positions + rng.normal(scale=0.08, size=(60, 5, 3))
    found = recover(atoms.numbers, positions, rng, largest=8)
    assert 1 < len(found.permutations) <= 8
    assert "left out" in found.warning
    assert "more than 8 members" in found.warning
    assert np.array_equal(recover(atoms.numbers, positions, rng, 1).permutations, [np.arange(5)])


def test_turns_beyond_the_limit_are_left_out_and_told():
    """Of the three methyl groups of isobutane two make a group of nine."""
    atoms = molecule("isobutane")
    found = recover(atoms.numbers, atoms.positions[None], np.random.default_rng(0), largest=9)
    assert len(found.permutations) == 9
    assert found.warning.startswith("1 permutations were left out")


def test_what_was_left_out_stands_in_the_facts(toy, water, rng):
    with pytest.warns(UserWarning, match="left out"):
        potential = SGDML(sigma=10.0, max_permutations=1).fit(water, None, rng)
    assert potential.facts["permutations"] == 1
    assert "left out" in potential.facts["warnings"][0]


def test_no_symmetry_is_the_identity():
    assert np.array_equal(identity(3).permutations, [[0, 1, 2]])


ETHANOL = np.array([6, 6, 8, 1, 1, 1, 1, 1, 1])


@pytest.mark.parametrize("text", ["()", "(0 2)(1 3)", "(3 4 5)", "(1 2)(3 4 5)"])
def test_cycle_notation_is_read_as_it_is_written(text):
    if text != "()":
        assert cycles(parsed(text, np.full(6, 1))) == text
    assert cycles(range(4)) == "()"


def test_a_cycle_sends_each_atom_to_the_next():
    assert parsed(" ( 3 4  5)(7) ", ETHANOL) == (0, 1, 2, 4, 5, 3, 6, 7, 8)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("(3 9)", "expected atoms from 0 to 8, found 9"),
        ("(3 4)(4 5)", "expected each atom once, found 4 twice"),
        ("(3 3)", "expected each atom once, found 3 twice"),
        ("(2 3)", "expected atoms of one element in a cycle, found 2 is O, 3 is H"),
        ("3 4 5", "expected cycles of atoms counted from 0"),
        ("(3,4)", "expected cycles of atoms counted from 0"),
        ("(3 -4)", "expected cycles of atoms counted from 0"),
        ("()", "expected cycles of atoms counted from 0"),
        ("", "expected cycles of atoms counted from 0"),
        ("(3 4", "expected cycles of atoms counted from 0"),
    ],
)
def test_generators_that_cannot_be_are_refused_in_one_line(text, message):
    with pytest.raises(ConfigError, match=r"^generators: ") as caught:
        parsed(text, ETHANOL)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_generators_take_the_place_of_the_search(toy, rng):
    numbers, positions = toy.ethanol_frames(20, rng)
    found = find(numbers, positions, rng, generators=["(3 4 5)"])
    assert generators_of(found.permutations) == ["(3 4 5)"]
    assert len(found.permutations) == 3
    assert "generators" in found.notes[0]


def test_a_group_larger_than_the_limit_is_refused(toy, rng):
    numbers, positions = toy.ethanol_frames(2, rng)
    with pytest.raises(ConfigError, match="more than max_permutations = 5 members"):
        given(["(3 4 5)", "(3 4)"], numbers, positions, 5)


def test_generators_that_break_bonds_are_used_with_a_warning(toy, rng):
    numbers, positions = toy.ethanol_frames(2, rng)
    found = given(["(3 8)"], numbers, positions)
    assert len(found.permutations) == 2
    assert "(3 8) do not map bonds on bonds" in found.warning


def test_generators_contradict_no_symmetry(toy, water, rng):
    with pytest.raises(ConfigError, match="contradict symmetry = false"):
        SGDML(sigma=10.0, symmetry=False, generators=("(1 2)",)).fit(water, None, rng)


def test_a_model_tells_its_group_in_cycle_notation(water, rng):
    potential = SGDML(sigma=10.0, generators=("(1 2)",)).fit(water, None, rng)
    assert potential.facts["permutations"] == 2
    assert potential.facts["symmetry"]["generators"] == ["(1 2)"]
    assert potential.facts["hyperparameters"]["generators"] == ("(1 2)",)


def test_a_few_generators_give_the_whole_group(toy, rng):
    """At most log2 of its order, and closed they are all of it."""
    group = recover(*toy.ethanol_frames(60, rng), rng)
    few = group.generators()
    assert len(few) <= np.log2(6)
    assert close([parsed(text, ETHANOL) for text in few], 6) == [
        tuple(row) for row in group.permutations.tolist()
    ]
    assert generators_of(np.arange(4)[None]) == []


def test_generators_are_told_by_flag_and_by_table(tmp_path):
    """One declaration gives both."""
    run = tmp_path / "train.toml"
    text = 'dataset = "a.xyz"\n[[family]]\nkind = "sgdml"\ngenerators = ["(1 2)", "(3 4)"]\n'
    run.write_text(text)
    assert load(Train, run).family[0].generators == ("(1 2)", "(3 4)")
    told = load(Train, run, {"family.generators": ["(5 6)"]})
    assert told.family[0].generators == ("(5 6)",)


def test_generators_that_cannot_be_leave_no_run_folder(water, tmp_path):
    flexcalc.write(tmp_path / "water.xyz", water)
    family = (SGDML(generators=("(1 3)",)),)
    options = Train(dataset=tmp_path / "water.xyz", family=family, points=20, validation_points=20)
    with pytest.raises(ConfigError, match="expected atoms from 0 to 2, found 3"):
        run_command(train, options, tmp_path / "out", None)
    assert not (tmp_path / "out").exists()


def test_a_group_is_closed_and_has_each_member_once():
    everything = np.array(list(itertools.permutations(range(4))))
    assert is_group(everything)
    assert is_group(everything[:1])
    for rows in (everything[1:], everything[:-1], everything[1:2], everything[[0, 0]]):
        assert not is_group(rows)
