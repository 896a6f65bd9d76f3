"""Labels in wrong units, of the wrong sign or order are said when they are read; sound ones are
not. Molecules are held together by springs as stiff as their bonds."""

from __future__ import annotations

import re
import warnings
from dataclasses import replace

import numpy as np
import pytest
from ase.build import molecule

from flexcalc import files
from flexcalc.cli import main
from flexcalc.config.train import Train
from flexcalc.dataset import Dataset
from flexcalc.files import FileWarning, suspicions
from flexcalc.files.label_check import coherent
from flexcalc.geometry import consensus_bonds
from flexcalc.units import BOHR, HARTREE, KCAL_MOL, KJ_MOL, MEV

pytestmark = pytest.mark.data

STIFF = {
    **{(1, 6): 30.0, (1, 7): 38.0, (1, 8): 45.0, (1, 16): 24.0, (6, 6): 25.0, (6, 7): 35.0},
    **{(6, 8): 32.0, (6, 16): 18.0, (6, 17): 17.0, (7, 7): 145.0, (8, 8): 30.0},
}
DOUBLE = 80.0
"""Force constants in eV/angstrom^2 of single bonds by elements, and of C=O, as in spectra."""
ANGLE = 4.0
"""The same between second neighbours."""
MOLECULES = ("H2O", "CH3OH", "CH3CONH2", "CH3Cl", "N2", "H2O2", "CH3SH", "C6H6", "CO2", "HCOOH")


def sprung(name: str, frames: int = 40, rattle: float = 0.03) -> Dataset:
    """Labelled frames of a molecule around its rest, on springs of bonds and second neighbours."""
    atoms = molecule(name)
    numbers, rest = atoms.numbers, atoms.positions
    rng = np.random.default_rng(0)
    positions = rest + rattle * rng.normal(size=(frames, *rest.shape))
    bonds = consensus_bonds(numbers, rest[None]).tolist()
    bonded = np.zeros((len(numbers), len(numbers)))
    for i, j in bonds:
        bonded[i, j] = bonded[j, i] = 1
    i, j = np.triu_indices(len(numbers), 1)
    stiff = np.where(bonded[i, j] + (bonded @ bonded)[i, j] > 0, ANGLE, 0.0)
    for pair in np.flatnonzero(bonded[i, j]):
        elements = tuple(sorted(numbers[[i[pair], j[pair]]].tolist()))
        double = elements == (6, 8) and np.linalg.norm(rest[i[pair]] - rest[j[pair]]) < 1.3
        stiff[pair] = DOUBLE if double else STIFF[elements]
    apart = positions[:, i] - positions[:, j]
    lengths = np.linalg.norm(apart, axis=-1)
    longer = lengths - np.linalg.norm(rest[i] - rest[j], axis=-1)
    pulls = -(stiff * longer / lengths)[..., None] * apart
    forces = np.zeros_like(positions)
    np.add.at(forces, (slice(None), i), pulls)
    np.add.at(forces, (slice(None), j), -pulls)
    return Dataset(numbers, positions, np.sum(stiff * longer**2, axis=1) / 2 - 40.0, forces)


def scaled(data: Dataset, energy: float, force: float, length: float = 1.0) -> Dataset:
    """The labels in units of these sizes in eV, eV/angstrom and angstrom."""
    return replace(
        data,
        positions=data.positions / length,
        energies=data.energies / energy,
        forces=data.forces / force,
    )


def read(path, **units) -> tuple[Dataset, list[str]]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        data = files.read(path, **units)
    assert all(one.category is FileWarning for one in caught)
    return data, [str(one.message) for one in caught]


@pytest.mark.parametrize("name", MOLECULES)
@pytest.mark.parametrize("rattle", [0.005, 0.05])
def test_sound_labels_raise_no_suspicion(name, rattle):
    assert suspicions(sprung(name, rattle=rattle)) == []
    assert coherent(sprung(name, rattle=rattle))


UNITS = {
    "kcal": ((KCAL_MOL, KCAL_MOL), "--energy-unit kcal/mol"),
    "kJ": ((KJ_MOL, KJ_MOL), "--energy-unit kJ/mol"),
    "meV": ((MEV, MEV), "--energy-unit meV"),
    "hartree": ((HARTREE, HARTREE), "--energy-unit hartree"),
    "hartree and hartree/bohr": (
        (HARTREE, HARTREE / BOHR),
        "--energy-unit hartree --force-unit hartree/bohr",
    ),
    "forces in hartree/bohr": ((1, HARTREE / BOHR), "--force-unit hartree/bohr"),
    "forces in eV/bohr": ((1, 1 / BOHR), "--force-unit eV/bohr"),
    "energies in hartree": ((HARTREE, 1), "--energy-unit hartree --force-unit eV/angstrom"),
    "positions in bohr": ((1, 1, BOHR), "--length-unit bohr --force-unit eV/angstrom"),
    "atomic units": (
        (HARTREE, HARTREE / BOHR, BOHR),
        "--length-unit bohr --energy-unit hartree",
    ),
}


@pytest.mark.parametrize("name", ["H2O", "CH3CONH2", "CO2"])
@pytest.mark.parametrize("fault", UNITS)
def test_what_is_advised_for_wrong_units_gives_the_labels_back(name, fault, tmp_path):
    sizes, advice = UNITS[fault]
    data = sprung(name)
    files.write(tmp_path / "data.xyz", scaled(data, *sizes))
    _, (line,) = read(tmp_path / "data.xyz")
    assert f"give {advice} (" in line
    assert "\n" not in line
    given = re.findall(r"--(\w+)-unit (\S+)", line)
    back, said = read(tmp_path / "data.xyz", **{f"{kind}_unit": unit for kind, unit in given})
    assert said == []
    np.testing.assert_allclose(back.positions, data.positions, rtol=1e-12)
    np.testing.assert_allclose(back.energies, data.energies, rtol=1e-12)
    np.testing.assert_allclose(back.forces, data.forces, rtol=1e-9, atol=1e-12)


def test_a_unit_that_was_said_wrongly_is_caught_too(tmp_path):
    files.write(tmp_path / "data.xyz", scaled(sprung("CH3OH"), KCAL_MOL, KCAL_MOL))
    _, (line,) = read(tmp_path / "data.xyz", energy_unit="kJ/mol")
    assert "give --energy-unit kcal/mol (" in line
    bare = sprung("CH3OH")
    np.savez(tmp_path / "a.npz", z=bare.numbers, R=bare.positions, E=bare.energies, F=bare.forces)
    _, (line,) = read(tmp_path / "a.npz", energy_unit="hartree")
    assert "give --energy-unit eV (" in line
    assert read(tmp_path / "a.npz", energy_unit="eV")[1] == []


def test_forces_alone_are_enough(tmp_path):
    data = replace(scaled(sprung("CH3OH"), 1, KCAL_MOL), energies=None)
    files.write(tmp_path / "data.xyz", data)
    _, (line,) = read(tmp_path / "data.xyz")
    assert "give --force-unit kcal/mol/angstrom (" in line
    assert read(tmp_path / "data.xyz", force_unit="kcal/mol/angstrom")[1] == []


@pytest.mark.parametrize(("unit", "size"), [("hartree", HARTREE), ("kcal/mol", KCAL_MOL)])
def test_one_total_energy_is_enough_where_there_are_no_forces(unit, size):
    """Methanol: PBE has -115.6 hartree, and GFN2-xTB, which leaves out the cores, -8.2."""
    start = molecule("CH3OH")
    one = Dataset(start.numbers, start.positions[None], [-115.6 * HARTREE])
    (line,) = suspicions(replace(one, energies=one.energies / size))
    assert f"energy unit {unit}" in line
    for right in (-115.6 * HARTREE, -8.2 * HARTREE, -22.1, -30.3, 0.0, 0.4):
        assert suspicions(replace(one, energies=[right])) == []


@pytest.mark.parametrize("name", MOLECULES)
def test_gradients_for_forces_and_energies_of_opposite_sign_are_told_apart(name):
    data = sprung(name)
    (line,) = suspicions(replace(data, forces=-data.forces))
    assert "gradients seem to have been given as forces" in line
    (line,) = suspicions(replace(data, energies=-data.energies))
    assert "energies seem to have the opposite sign" in line
    (line,) = suspicions(replace(data, energies=None, forces=-data.forces))
    assert "gradients seem to have been given as forces" in line


@pytest.mark.parametrize("name", [name for name in MOLECULES if name not in ("N2", "CO2")])
def test_forces_of_atoms_in_another_order_or_orientation_are_found(name):
    data = sprung(name)
    lines = suspicions(replace(data, forces=np.roll(data.forces, 1, axis=1)))
    assert any("turn the molecule as a whole" in line for line in lines)
    lines = suspicions(replace(data, forces=data.forces[..., [1, 2, 0]]))
    assert any("turn the molecule as a whole" in line for line in lines)
    some = np.array(data.forces)
    some[7] = some[7, ::-1]
    (line,) = suspicions(replace(data, forces=some))
    assert "forces of 1 of 40 frames, such as frame 7, turn" in line


@pytest.mark.parametrize("name", MOLECULES)
def test_energies_of_other_frames_are_found(name):
    data = sprung(name, frames=80)
    lines = suspicions(replace(data, energies=np.roll(data.energies, 7)))
    assert any("they seem to belong to other frames" in line for line in lines)


@pytest.mark.parametrize("name", ["CH3OH", "CH3CONH2", "CH3SH", "HCOOH"])
def test_frames_with_identical_atoms_in_another_order_are_found(name):
    """A hydrogen of the carbon and one of the oxygen, nitrogen or sulphur change places."""
    data = sprung(name)
    bonds = consensus_bonds(data.numbers, data.positions).tolist()
    owner = {i: j for pair in bonds for i, j in (pair, pair[::-1]) if data.numbers[i] == 1}
    first = next(atom for atom in owner if data.numbers[owner[atom]] == 6)
    second = next(atom for atom in owner if data.numbers[owner[atom]] != 6)
    order = np.arange(len(data.numbers))
    order[[first, second]] = second, first
    positions, forces = np.array(data.positions), np.array(data.forces)
    positions[5::8], forces[5::8] = positions[5::8, order], forces[5::8, order]
    lines = suspicions(replace(data, positions=positions, forces=forces))
    assert any(
        "5 of 40 frames, such as frame 5, have the bonds of frame 0 only" in x for x in lines
    )


def test_a_proton_that_changes_its_place_is_no_other_order():
    """F-H...F: the hydrogen goes over, and the bonds are those of the two fluorines exchanged."""
    positions = np.zeros((20, 3, 3))
    positions[:, 2, 2] = 2.5
    positions[:, 1, 2] = np.where(np.arange(20) % 2, 0.95, 1.55)
    assert suspicions(Dataset([9, 1, 9], positions)) == []


def test_few_frames_and_frames_without_a_spread_raise_no_suspicion():
    data = scaled(sprung("CH3OH"), KCAL_MOL, KCAL_MOL)
    assert suspicions(data[:9]) == []
    rest = replace(data[:1], forces=1e-6 * data.forces[:1])
    assert suspicions(rest[np.zeros(30, dtype=int)]) == []
    noise = np.random.default_rng(1)
    still = rest[np.zeros(30, dtype=int)]
    minima = replace(
        still,
        positions=still.positions + 1e-5 * noise.normal(size=still.positions.shape),
        forces=1e-4 * noise.normal(size=still.positions.shape),
    )
    assert suspicions(minima) == []
    assert suspicions(Dataset([18], np.zeros((20, 1, 3)))) == []


def test_lengths_are_judged_where_there_are_bonds_only():
    """Argon and a dimer that is pulled apart are far; water in bohr is not to be mistaken."""
    apart = np.zeros((20, 2, 3))
    apart[:, 1, 0] = 3.8
    assert suspicions(Dataset([18, 18], apart)) == []
    assert suspicions(Dataset([17, 17], apart[:1])) == []
    start = molecule("CH3OH")
    one = Dataset(start.numbers, start.positions[None] / BOHR)
    assert "length unit bohr" in suspicions(one)[0]


def test_a_dataset_from_memory_is_told_to_convert():
    data = scaled(sprung("CH3OH"), KCAL_MOL, KCAL_MOL)
    with pytest.warns(FileWarning, match=r"^memory: .*convert .*energy unit kcal/mol"):
        Train(dataset=data, family=["sgdml"]).read(data)


@pytest.mark.inputs
def test_the_command_says_what_to_type_in_one_line(tmp_path, capsys):
    path = tmp_path / "data.xyz"
    files.write(path, scaled(sprung("CH3OH"), KCAL_MOL, KCAL_MOL))
    main(["info", str(path)])
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1
    assert said[0].startswith(f"flexcalc: warning: {path}: bonds are ")
    assert "give --energy-unit kcal/mol" in said[0]
    main(["info", str(path), "--energy-unit", "kcal/mol"])
    assert capsys.readouterr().err == ""
