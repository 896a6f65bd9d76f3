"""Like atoms in another order than the model's: seen by their bonds, refused or mapped."""

import json
import warnings
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms

import flexcalc
from flexcalc.adapters.ase import OrderWarning
from flexcalc.adapters.watch import DomainWarning
from flexcalc.dataset import Dataset
from flexcalc.errors import FileFormatError, InputError
from flexcalc.models.bonding import FACT, MAX_KINDS, check_order, judged, with_bonding
from flexcalc.models.gdml import SGDML

SWAPPED = np.array([0, 1, 2, 8, 4, 5, 6, 7, 3])
"""Ethanol's O-H hydrogen and one of the methyl group's, each with the other's label."""
TRAINING = {"points": 40, "validation_points": 10, "seed": 0}


def made(data, kind):
    """A small model of every sort that knows an order of atoms."""
    if kind == "committee":
        return flexcalc.train(data, committee=2, sigma=10.0, **TRAINING)
    if kind == "delta":
        below = flexcalc.train(data, sigma=30.0, **TRAINING)
        return flexcalc.train(data, baseline=below, sigma=10.0, **TRAINING)
    if kind == "mixture":
        return flexcalc.train(data, "mixture", regions=1, of=[{"kind": "sgdml", "sigma": 10.0}],
                              **TRAINING)  # fmt: skip
    return flexcalc.train(data, sigma=10.0, **TRAINING)


@pytest.fixture
def folder(ethanol, tmp_path, monkeypatch):
    """A folder with a model of ethanol and a start whose like atoms are in another order."""
    monkeypatch.chdir(tmp_path)
    made(ethanol, "sgdml").save(tmp_path / "m.flex")
    right = Dataset(ethanol.numbers, ethanol.positions[:1])
    flexcalc.write("right.xyz", right)
    flexcalc.write("swapped.xyz", Dataset(ethanol.numbers, right.positions[:, SWAPPED]))
    flexcalc.write(
        "frames.xyz",
        Dataset(ethanol.numbers, ethanol.positions[:20, SWAPPED], ethanol.energies[:20],
                ethanol.forces[:20, SWAPPED]),
    )  # fmt: skip
    return tmp_path


@pytest.mark.parametrize("kind", ["sgdml", "committee", "delta", "mixture"])
def test_another_order_of_like_atoms_is_seen_and_mapped_back(kind, ethanol, tmp_path):
    """Mapped back, the energy is that of the right order, to the rounding."""
    made(ethanol, kind).save(tmp_path / "m.flex")
    model = flexcalc.load(tmp_path / "m.flex")
    frames = ethanol.positions[:3]
    assert judged(model, frames).order is None
    check_order(model, frames, "start")
    found = judged(model, frames[:, SWAPPED])
    assert found.relabelled == 3
    mapped = frames[:, SWAPPED][:, found.order]
    assert judged(model, mapped).order is None
    # The hydrogens of the methyl group may have changed places: the molecule is the same one.
    bonded = np.linalg.norm(mapped[0][8] - mapped[0][2])
    assert bonded == pytest.approx(np.linalg.norm(frames[0][8] - frames[0][2]), abs=1e-12)
    with pytest.raises(InputError, match="only with the atoms in the order") as caught:
        check_order(model, frames[:, SWAPPED], "start")
    assert "\n" not in str(caught.value)


def test_a_model_that_knows_no_order_of_like_atoms_takes_any(ethanol):
    """A surface that only depends on the elements, as a network's does."""

    class Alike(flexcalc.Potential):
        numbers = ethanol.numbers
        facts = {FACT: ethanol.positions[:1].tolist()}  # noqa: RUF012

        def __call__(self, positions):
            apart = np.linalg.norm(positions[:, :, None] - positions[:, None], axis=-1)
            return flexcalc.Evaluation(apart.sum(axis=(1, 2)), np.zeros_like(positions))

    found = judged(Alike(), ethanol.positions[:2, SWAPPED])
    assert (found.order, found.relabelled, found.unknown) == (None, 0, 0)


def test_every_kind_of_bonding_of_the_training_frames_is_known(ethanol, rng):
    """A quarter of the frames with the proton far off: both are right, what is neither is told."""
    off = np.array(ethanol.positions[:40])
    off[::4, 8] += 6.0
    data = Dataset(ethanol.numbers, off, ethanol.energies[:40], ethanol.forces[:40])
    model = SGDML(sigma=10.0, symmetry=False).fit(data, None, rng)
    assert FACT not in model.facts
    model = with_bonding(model, data)
    assert len(model.facts[FACT]) == 2
    # The more frequent kind comes first, each at its lowest energy.
    whole = np.arange(40) % 4 != 0
    best = np.flatnonzero(whole)[np.argmin(data.energies[whole])]
    assert model.facts[FACT][0] == off[best].tolist()
    found = judged(model, off)
    assert (found.order, found.relabelled, found.unknown) == (None, 0, 0)
    other = np.array(ethanol.positions[:1])
    other[:, 3] += 7.0
    other[:, 4] -= 7.0
    found = judged(model, other)
    assert (found.order, found.unknown) == (None, 1)


def test_a_model_keeps_a_few_kinds_of_bonding_at_most(rng):
    numbers = np.ones(12, dtype=int)
    scattered = Dataset(numbers, rng.normal(scale=0.8, size=(60, 12, 3)))
    model = with_bonding(type("Model", (), {"facts": {}})(), scattered)
    assert len(model.facts[FACT]) == MAX_KINDS


def test_a_folder_without_bonds_opens_and_takes_any_order(ethanol, tmp_path):
    model = made(ethanol, "sgdml")
    del model.facts[FACT]
    model.save(tmp_path / "old.flex")
    old = flexcalc.load(tmp_path / "old.flex")
    assert judged(old, ethanol.positions[:1, SWAPPED]).order is None
    assert (
        judged(flexcalc.load("xtb:GFN2-xTB", ethanol.numbers), ethanol.positions[:1]).unknown == 0
    )


@pytest.mark.inputs
@pytest.mark.parametrize("kept", ["x", [[0.0]], [[[0.0] * 3] * 4], [[["a"] * 3] * 9], {"a": 1}])
def test_bonds_that_are_none_are_refused_in_one_line(kept, ethanol):
    model = made(ethanol, "sgdml")
    model.facts[FACT] = kept
    with pytest.raises(FileFormatError, match="expected geometries") as caught:
        judged(model, ethanol.positions[:1])
    assert "\n" not in str(caught.value)


COMMANDS = {
    "md": ["md", "m.flex", "swapped.xyz", "--steps", "2"],
    "metad": ["metad", "m.flex", "swapped.xyz", "--coordinate", "dihedral 0 1 2 8", "--steps", "2"],
    "umbrella": ["umbrella", "m.flex", "swapped.xyz", "--coordinate", "distance 1 2", "--low",
                 "1.3", "--high", "1.5", "--steps", "40", "--equilibration", "4",
                 "--colvar-every", "2"],
    "path": ["path", "m.flex", "swapped.xyz", "--method", "scan", "--drive",
             "dihedral 0 1 2 8 to 90", "--images", "3", "--no-relax-ends"],
    "saddle": ["saddle", "m.flex", "swapped.xyz", "--steps", "1"],
    "evaluate": ["evaluate", "m.flex", "frames.xyz"],
}  # fmt: skip


@pytest.mark.inputs
@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_refuses_another_order_or_maps_it(name, folder, run, capsys):
    assert run(*COMMANDS[name], "-o", "out") == 2
    said = capsys.readouterr().err
    assert "fit those of the model's training frames only with the atoms in the order" in said
    assert said.count("\n") == 1
    assert not Path("out").exists()
    assert run(*COMMANDS[name], "--map-atoms", "-o", "out") in (0, 3)
    assert "atoms put into the model's order, 0 1 2 " in Path("out/log.txt").read_text()
    if name == "evaluate":
        results = json.loads(Path("out/errors.json").read_text())[0]
        assert sorted(results["atom_map"]) == list(range(9))
        assert results["force_rmse_kcal_mol_A"] < 5.0


@pytest.mark.inputs
def test_a_sampler_and_i_pis_molecule_in_another_order_are_refused(folder, run, capsys):
    assert run("label", "m.flex", "swapped.xyz", "--frames", "2", "-o", "out") == 2
    assert "swapped.xyz: the bonds fit" in capsys.readouterr().err
    with pytest.raises(InputError, match="the molecule as i-PI has it: the bonds fit"):
        flexcalc.serve("m.flex", "swapped.xyz", unix="nobody")


def test_the_calculator_warns_once_and_lets_a_bond_break(ethanol, folder):
    atoms = Atoms(ethanol.numbers, ethanol.positions[0][SWAPPED])
    atoms.calc = flexcalc.Calculator("m.flex")
    with pytest.warns(OrderWarning, match="only with the atoms in the order"):
        atoms.get_potential_energy()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", DomainWarning)
        atoms.rattle(0.01)
        atoms.get_potential_energy()
        right = Atoms(ethanol.numbers, ethanol.positions[0])
        right.calc = flexcalc.Calculator("m.flex")
        right.get_potential_energy()
        right.positions = ethanol.positions[0][SWAPPED]
        right.get_potential_energy()
