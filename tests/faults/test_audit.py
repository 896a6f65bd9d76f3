"""Labels that are not what they claim to be are found by computing a sample again."""

from __future__ import annotations

import re

import faulty
import numpy as np
import pytest
from ase import units

from flexcalc.dataset import Dataset
from flexcalc.errors import FileFormatError, MoleculeError
from flexcalc.labelling import audit


def labelled(frames: int = 40) -> Dataset:
    data = faulty.geometries(frames)
    result = faulty.Springs()(data.positions)
    return Dataset(data.numbers, data.positions, result.energies, result.forces)


def changed(energies: object = 1.0, forces: object = 1.0, positions: object = 1.0) -> Dataset:
    data = labelled()
    return Dataset(
        data.numbers, data.positions * positions, data.energies * energies, data.forces * forces
    )


def findings(data: Dataset, sample: int = 5, seed: int = 0) -> list[str]:
    return audit(data, faulty.Springs(), sample, np.random.default_rng(seed))


@pytest.mark.data
def test_a_clean_set_raises_no_alarm():
    noisy = labelled()
    rng = np.random.default_rng(3)
    jitter = Dataset(
        noisy.numbers,
        noisy.positions,
        noisy.energies + 1e-4 * rng.standard_normal(len(noisy)),
        noisy.forces + 1e-4 * rng.standard_normal(noisy.forces.shape),
    )
    for data in (noisy, jitter):
        for seed in range(50):
            assert findings(data, seed=seed) == []


PLANTED = {
    "hartree for eV": (changed(energies=1 / 27.211386), "energies .* hartree and not converted"),
    "eV for hartree": (changed(energies=27.211386), "converted from hartree once too often"),
    "kcal for eV": (changed(energies=23.060549), "energies .* kcal/mol and not converted"),
    "forces x 27.2": (changed(forces=27.211386), "forces are 27.21 times"),
    "forces x 0.529": (changed(forces=0.529177), "forces are 0.5292 times"),
    "bohr and hartree": (
        changed(forces=units.Bohr / units.Hartree),
        "forces .* hartree/bohr and not converted",
    ),
    "kcal/mol/A": (
        changed(forces=units.mol / units.kcal),
        "forces .* kcal/mol/angstrom and not converted",
    ),
    "-F": (changed(forces=-1.0), "forces are -1 times .* opposite sign"),
    "-F in hartree": (changed(forces=-1 / 27.211386), "opposite sign .* hartree/angstrom"),
    "positions x 0.529": (changed(positions=0.529177), "forces of 5 of 5 frames differ"),
}


@pytest.mark.data
@pytest.mark.parametrize("kind", PLANTED)
def test_planted_units_and_signs_are_found_and_named(kind):
    data, message = PLANTED[kind]
    for seed in range(10):
        assert any(re.search(message, line) for line in findings(data, seed=seed))


@pytest.mark.data
def test_shuffled_atoms_are_found():
    data = labelled()
    shuffled = Dataset(data.numbers, data.positions, data.energies, data.forces[:, [1, 0, 3, 2]])
    assert findings(shuffled) == ["forces of 4 atoms stand in another order than the atoms"]
    moved = Dataset(data.numbers, data.positions[:, [0, 2, 1, 3]], data.energies, data.forces)
    assert len(findings(moved)) == 2


@pytest.mark.data
def test_shuffled_frames_and_single_frames_are_found():
    data = labelled()
    rolled = Dataset(data.numbers, data.positions, np.roll(data.energies, 1), data.forces)
    assert any("energies of 5 of 5 frames differ" in line for line in findings(rolled))
    forces = data.forces.copy()
    forces[7, 2, 1] += 0.01
    one = Dataset(data.numbers, data.positions, data.energies, forces)
    (line,) = findings(one, sample=40)
    assert "1 of 40 frames" in line
    assert "frame 7" in line


@pytest.mark.data
def test_another_zero_of_energy_is_named():
    data = labelled()
    moved = Dataset(data.numbers, data.positions, data.energies + 13.6, data.forces)
    assert findings(moved) == [
        "energies have another zero: all differ by 13.6 eV from the reference's"
    ]


@pytest.mark.data
def test_a_reference_that_gives_no_label_is_a_finding():
    data = labelled()
    bad = faulty.Faulty(faulty.planted(data, {3: "unconverged"}), None, 0.0)
    (line,) = audit(data, bad, 40, np.random.default_rng(0))
    assert "frame 3: the reference gives no label" in line


def test_what_cannot_be_compared_is_refused():
    data = labelled()
    with pytest.raises(FileFormatError, match="no energies"):
        findings(Dataset(data.numbers, data.positions))
    with pytest.raises(MoleculeError):
        audit(data, faulty.Springs(np.array([8, 1, 6, 1])), 3, np.random.default_rng(0))
