"""Committees: mean and spread, how members are trained, how they are kept, what is refused."""

import json
import shutil

import numpy as np
import pytest

import flexcalc
from flexcalc.errors import AddressError, FileFormatError, InputError, MoleculeError
from flexcalc.models import folder as model_folder
from flexcalc.models.committee import Committee
from flexcalc.models.folder import FACTS
from flexcalc.models.gdml import SGDML
from flexcalc.potential import CheckedPotential, Evaluation
from flexcalc.training.committee import fit_committee
from flexcalc.training.tuning import Sets


class Pull(CheckedPotential):
    """E = -sum over atoms and axes of f x, so every force is f."""

    def __init__(self, force, numbers=(8, 1, 1)):
        self.numbers, self.force, self.calls = np.array(numbers), np.array(force), []

    def evaluate(self, positions):
        self.calls.append(len(positions))
        forces = np.broadcast_to(self.force, positions.shape)
        return Evaluation(-(forces * positions).sum(axis=(1, 2)), forces)


@pytest.fixture
def three(water, rng, tmp_path):
    """A trained committee of three, and the folder it was saved to."""
    committee = fit_committee(SGDML(sigma=5.0), Sets(water[:12], water[12:20]), 3, rng)
    committee.save(tmp_path / "three.flex")
    return committee, tmp_path / "three.flex"


def rewrite(path, **changes):
    """Change model.json and make its own hash right again, as someone hostile would."""
    facts = json.loads((path / FACTS).read_text())
    del facts["sha256"]
    facts |= changes
    facts["sha256"] = model_folder._digest(facts)
    (path / FACTS).write_text(json.dumps(facts))


def test_mean_and_deviation_are_those_of_the_closed_form(rng):
    """Forces (1,0,0), (0,2,0), (0,0,3): squared distances from the mean add up to 28/3."""
    members = [Pull([1.0, 0, 0]), Pull([0, 2.0, 0]), Pull([0, 0, 3.0])]
    positions = rng.normal(size=(4, 3, 3))
    found = Committee(members)(positions)
    assert np.allclose(found.forces, np.array([1, 2, 3]) / 3, rtol=1e-15)
    energies = np.mean([member(positions).energies for member in members], axis=0)
    assert np.allclose(found.energies, energies, rtol=1e-14)
    assert np.allclose(found.deviation, np.sqrt(28 / 3 / 2), rtol=1e-15)
    assert found.deviation.shape == (4, 3)


def test_each_member_gets_the_whole_batch_in_one_call(rng):
    members = [Pull([1.0, 0, 0]), Pull([0, 2.0, 0])]
    Committee(members)(rng.normal(size=(7, 3, 3)))
    assert [member.calls for member in members] == [[7], [7]]


def test_members_of_other_molecules_and_lonely_ones_are_refused():
    with pytest.raises(MoleculeError, match="member 1 of a committee"):
        Committee([Pull([0, 0, 0]), Pull([0, 0, 0], (1, 8, 1))])
    with pytest.raises(InputError, match="at least two members, got 1"):
        Committee([Pull([0, 0, 0])])


def test_what_cannot_be_saved_is_said(tmp_path):
    with pytest.raises(InputError, match="member 0 of the committee, a Pull, is no trained model"):
        Committee([Pull([0, 0, 0])] * 2).save(tmp_path / "none.flex")
    assert not (tmp_path / "none.flex").exists()


def test_every_point_is_left_out_by_one_member(three):
    committee, _ = three
    assert [member.facts["training_points"] for member in committee.members] == [8, 8, 8]
    assert len({member.facts["training_sha256"] for member in committee.members}) == 3
    assert committee.facts["training_points"] == 12
    assert committee.facts["force_error_over_deviation"] > 0


def test_training_is_repeatable(water):
    first, second = (
        fit_committee(SGDML(sigma=5.0), Sets(water[:12], water[12:20]), 3, np.random.default_rng(1))
        for _ in range(2)
    )
    assert np.array_equal(first(water.positions).deviation, second(water.positions).deviation)


def test_more_members_than_points_are_refused(water, rng):
    with pytest.raises(InputError, match="expected from 2 to 3 members"):
        fit_committee(SGDML(sigma=5.0), Sets(water[:3], water[12:20]), 4, rng)


def test_one_folder_holds_it_all_and_may_be_moved(three, water, tmp_path):
    committee, folder = three
    shutil.move(folder, tmp_path / "moved.flex")
    loaded = flexcalc.load(str(tmp_path / "moved.flex"))
    before, after = committee(water.positions), loaded(water.positions)
    for name in ("energies", "forces", "deviation"):
        assert np.array_equal(getattr(before, name), getattr(after, name))
    assert loaded.facts["training_sha256"] == committee.facts["training_sha256"]
    loaded.save(tmp_path / "again.flex")
    again = flexcalc.load(str(tmp_path / "again.flex"))(water.positions)
    assert np.array_equal(again.deviation, before.deviation)


def test_models_that_are_there_are_joined_by_address(water, rng, tmp_path):
    addresses = []
    for sigma in (5.0, 10.0):
        model = SGDML(sigma=sigma).fit(water[:12], water[12:20], rng)
        addresses.append(str(tmp_path / f"{sigma:g}.flex"))
        model.save(addresses[-1])
    joined = flexcalc.load(f"committee:{','.join(addresses)}")
    alone = [flexcalc.load(address)(water.positions) for address in addresses]
    found = joined(water.positions)
    assert np.array_equal(found.forces, np.mean([one.forces for one in alone], axis=0))
    # Of two members, the deviation is their distance over the square root of two.
    apart = np.linalg.norm(alone[0].forces - alone[1].forces, axis=2)
    assert np.allclose(found.deviation, apart / np.sqrt(2), rtol=1e-12)
    joined.save(tmp_path / "joined.flex")
    assert np.array_equal(
        flexcalc.load(str(tmp_path / "joined.flex"))(water.positions).forces, found.forces
    )


def test_references_can_be_members_too(three, water):
    _, folder = three
    mixed = flexcalc.load(f"committee:{folder},xtb:GFN2-xTB")
    assert mixed(water.positions[:2]).deviation.shape == (2, 3)
    with pytest.raises(AddressError, match="is for any molecule: say which one"):
        flexcalc.load("committee:xtb:GFN2-xTB,xtb:GFN1-xTB")
    both = flexcalc.load("committee:xtb:GFN2-xTB,xtb:GFN1-xTB", water.numbers)
    assert both(water.positions[:1]).deviation.shape == (1, 3)


@pytest.mark.parametrize("address", ["committee:", "committee:a.flex", "committee:a.flex,"])
def test_addresses_with_too_few_members_are_refused(address):
    with pytest.raises(AddressError, match="at least two members"):
        flexcalc.load(address)


@pytest.mark.security
def test_a_member_that_is_not_the_one_written_is_refused(three, tmp_path):
    _, folder = three
    other = folder / "member-1.flex"
    facts = (folder / "member-0.flex" / FACTS).read_bytes()
    (other / FACTS).write_bytes(facts)
    with pytest.raises(FileFormatError, match="not the model that was written here"):
        flexcalc.load(str(folder))


@pytest.mark.security
def test_damaged_weights_of_a_member_are_refused(three):
    _, folder = three
    weights = folder / "member-2.flex" / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x01")
    with pytest.raises(FileFormatError, match="damaged"):
        flexcalc.load(str(folder))


@pytest.mark.security
def test_members_outside_the_folder_are_refused(three, tmp_path):
    _, folder = three
    digest = json.loads((folder / FACTS).read_text())["members"]["member-0.flex"]
    for name in ("../three.flex", "/etc", "..", "a/b"):
        rewrite(folder, members={name: digest, "member-0.flex": digest})
        with pytest.raises(FileFormatError, match="expected names inside the folder"):
            flexcalc.load(str(folder))
    shutil.copytree(folder / "member-0.flex", tmp_path / "elsewhere")
    (folder / "link.flex").symlink_to(tmp_path / "elsewhere")
    rewrite(folder, members={"member-0.flex": digest, "link.flex": digest})
    with pytest.raises(FileFormatError, match="missing from the model folder"):
        flexcalc.load(str(folder))


@pytest.mark.security
@pytest.mark.parametrize("members", [{}, [], {"member-0.flex": 3}, "member-0.flex"])
def test_facts_without_members_are_refused(three, members):
    _, folder = three
    rewrite(folder, members=members)
    with pytest.raises(FileFormatError, match="members"):
        flexcalc.load(str(folder))


def test_stretched_bonds_deviate_more_than_what_was_trained_on(toy, rng):
    """A small form of benchmarks/committee.py: 0.3 to 0.5 angstrom beyond the longest."""
    numbers, frames = toy.ethanol_frames(400, rng)
    data = toy.labelled(numbers, frames)
    committee = fit_committee(SGDML(sigma=10.0), Sets(data[:60], data[60:100]), 4, rng)
    inside = deviation_of(committee, data[100:].positions)
    oxygen, hydrogen = hydroxyl_bond(numbers, frames[0])
    longest = np.linalg.norm(frames[:, hydrogen] - frames[:, oxygen], axis=1).max()
    moved = frames[100:200].copy()
    along = moved[:, hydrogen] - moved[:, oxygen]
    along /= np.linalg.norm(along, axis=1, keepdims=True)
    lengths = longest + rng.uniform(0.3, 0.5, (100, 1))
    moved[:, hydrogen] = moved[:, oxygen] + lengths * along
    outside = deviation_of(committee, moved)
    assert (outside > np.percentile(inside, 99)).sum() >= 95


def deviation_of(committee, positions):
    """Root mean square over the atoms (batch,)."""
    return np.sqrt(np.mean(committee(positions).deviation ** 2, axis=1))


def hydroxyl_bond(numbers, geometry):
    """The oxygen of a geometry and the hydrogen nearest to it."""
    oxygen = int(np.flatnonzero(numbers == 8)[0])
    apart = np.linalg.norm(geometry - geometry[oxygen], axis=1)
    return oxygen, int(np.where(numbers == 1, apart, np.inf).argmin())
