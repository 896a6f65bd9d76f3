"""Labels that are not what they claim to be are found by computing a sample again."""

from __future__ import annotations

import re

import faulty
import numpy as np
import pytest
from ase import units
from ase.build import molecule
from ase.calculators.emt import EMT

from flexcalc import cli, files
from flexcalc.dataset import Dataset
from flexcalc.errors import FileFormatError, InputError, MoleculeError
from flexcalc.labelling import audit
from flexcalc.tasks.audit import audit as audited


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


# flexcalc info DATA --audit REFERENCE

XTB = "xtb:GFN2-xTB"


def water(charge: int = 0, frames: int = 12) -> Dataset:
    """Frames of water with the labels of GFN2-xTB."""
    from flexcalc.registry import open_potential

    start = molecule("H2O")
    noise = 0.03 * np.random.default_rng(0).standard_normal((frames, 3, 3))
    electrons = {"charge": charge, "multiplicity": 2} if charge else {}
    query = "?" + "&".join(f"{name}={value}" for name, value in electrons.items()) if charge else ""
    result = open_potential(XTB + query, start.numbers)(start.positions + noise)
    tags = {name: np.full(frames, value) for name, value in electrons.items()}
    return Dataset(start.numbers, start.positions + noise, result.energies, result.forces, tags)


def told(capsys, *words: str) -> str:
    """What `flexcalc info` prints of an audit."""
    cli.main(["info", *words])
    return capsys.readouterr().out.partition("audit:\n")[2]


@pytest.mark.data
def test_the_command_says_that_labels_are_what_they_claim_to_be(tmp_path, capsys):
    files.write(tmp_path / "data.xyz", water())
    lines = told(capsys, str(tmp_path / "data.xyz"), "--audit", XTB).split("\n")
    assert lines[:3] == [
        "  reference: xtb:GFN2-xTB",
        "  frames computed again: 10",
        "  findings: 0",
    ]


FAULTS = {
    "hartree": (1 / units.Hartree, 1.0, "energies .* hartree and not converted"),
    "gradients": (1.0, -1.0, "forces are -1 times .* opposite sign"),
    "bohr": (1.0, units.Bohr, "forces are 0.5292 times"),
}


@pytest.mark.data
@pytest.mark.parametrize("fault", FAULTS)
def test_the_command_names_what_is_wrong(tmp_path, capsys, fault):
    energies, forces, message = FAULTS[fault]
    good = water()
    bad = Dataset(good.numbers, good.positions, good.energies * energies, good.forces * forces)
    files.write(tmp_path / "data.xyz", bad)
    found = told(capsys, str(tmp_path / "data.xyz"), "--audit", XTB)
    assert "findings: 1\n" in found
    assert re.search(f"finding 1: {message}", found)


@pytest.mark.data
def test_the_command_takes_units_that_an_npz_lacks_for_kcal_mol_and_tells_if_they_are_not(
    tmp_path, capsys
):
    good = water()
    content = {"z": good.numbers, "R": good.positions, "F": good.forces, "E": good.energies}
    np.savez(tmp_path / "data.npz", type="d", theory="unknown", **content)
    found = told(capsys, str(tmp_path / "data.npz"), "--audit", XTB)
    assert "as if they had been converted from kcal/mol/angstrom once too often" in found
    assert audited(files.read(tmp_path / "data.npz", energy_unit="eV"), XTB).passed


def test_the_labels_of_a_run_folder_are_audited(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    files.write("start.xyz", water(frames=1))
    cli.main(["label", XTB, "start.xyz", "--samples", "displacement", "--frames", "3"])
    capsys.readouterr()
    assert "frames computed again: 3\n  findings: 0" in told(capsys, "label", "--audit", XTB)


def test_charge_and_multiplicity_of_the_frames_are_followed():
    found = audited(water(charge=1), XTB)
    assert found.passed
    assert found.reference == "xtb:GFN2-xTB?charge=1&multiplicity=2"
    assert not audited(Dataset(*[getattr(water(charge=1), n) for n in ARRAYS]), XTB).passed


ARRAYS = ("numbers", "positions", "energies", "forces")


def test_an_audit_is_a_result_and_takes_objects():
    found = audited(water(), EMT(), frames=4, seed=1)
    assert (found.reference, found.frames, found.passed) == ("python:EMT", 4, False)
    assert found.to_dict()["findings"] == list(found.findings)
    assert found.summary().startswith("4 frames computed again with python:EMT: forces of 4 of 4")
    assert audited(labelled(), faulty.Springs()).summary().endswith("no difference")


@pytest.mark.inputs
def test_what_cannot_be_audited_is_refused(tmp_path, capsys):
    files.write(tmp_path / "bare.xyz", Dataset(faulty.NUMBERS, faulty.REST[None]))
    for place, message in (
        (tmp_path, "expected a dataset"),
        (tmp_path / "nowhere.xyz", "expected a dataset"),
        (tmp_path / "bare.xyz", "no energies"),
    ):
        with pytest.raises(SystemExit) as end:
            cli.main(["info", str(place), "--audit", XTB])
        assert end.value.code == 2
        assert message in capsys.readouterr().err
    with pytest.raises(InputError, match="at least 1 frame"):
        audited(labelled(), faulty.Springs(), frames=0)
