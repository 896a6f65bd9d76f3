"""`flexcalc.label` from Python: what the command gives, from objects, and without a file."""

from __future__ import annotations

import doctest
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from ase.build import molecule
from ase.calculators.emt import EMT

import flexcalc as fx
import flexcalc.commands.label as module
from flexcalc import cli
from flexcalc.dataset import Dataset
from flexcalc.errors import ConfigError, InputError, LabelError, MoleculeError
from flexcalc.labelling.queue import _Record
from flexcalc.results.labels import Labels
from flexcalc.store import FolderStore

XTB = "xtb:GFN2-xTB"
SHORT = {"frames": 6, "equilibration_fs": 2.0, "spacing_fs": 2.0}
NOISE = {"samples": "displacement", "frames": 4}


def water(stretch: float = 1.0):
    atoms = molecule("H2O")
    atoms.positions *= stretch
    return atoms


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    """An empty working folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def check_same(found: Dataset, other: Dataset) -> None:
    """The same frames with the same labels, to the last digit."""
    np.testing.assert_array_equal(found.positions, other.positions)
    np.testing.assert_array_equal(found.energies, other.energies)
    np.testing.assert_array_equal(found.forces, other.forces)
    assert found.provenance.level == other.provenance.level
    for name in ("sampling", "time_fs", "temperature_K", "index"):
        np.testing.assert_array_equal(found.tags[name], other.tags[name])


def test_python_gives_what_the_command_gives_and_writes_nothing(here):
    starts = [water(), water(1.02)]
    found = fx.label(XTB, starts, **SHORT, seed=3, workers=2)
    assert list(here.iterdir()) == []
    for name, atoms in zip(("a", "b"), starts, strict=True):
        fx.write(f"{name}.xyz", Dataset.from_atoms([atoms]))
    flags = [f"--{name.replace('_', '-')}={value}" for name, value in SHORT.items()]
    cli.main(["label", XTB, "a.xyz", "b.xyz", *flags, "--seed", "3"])
    command = fx.read("label/labels.xyz")
    check_same(found.dataset, command)
    assert found.dataset.tags["start"].tolist() == 3 * ["start-0", "start-1"]
    assert command.tags["start"].tolist() == 3 * ["a", "b"]
    by_name = fx.label(XTB, ["a.xyz", Path("b.xyz")], **SHORT, seed=3)
    np.testing.assert_array_equal(by_name.dataset.tags["start"], command.tags["start"])
    by_read = fx.label(XTB, [fx.read("a.xyz"), fx.read("b.xyz")], **SHORT, seed=3)
    np.testing.assert_array_equal(by_read.dataset.tags["start"], command.tags["start"])


def test_labels_are_a_result_with_arrays_and_may_stand_for_a_dataset(here):
    found = fx.label(XTB, water(), **NOISE)
    assert isinstance(found, Labels)
    assert (len(found), found.frames, found.quarantined) == (4, 4, 0)
    assert found.quarantine is None
    assert found.forces.shape == found.positions.shape == (4, 3, 3)
    assert found.energies.shape == (4,)
    assert found.numbers.tolist() == [8, 1, 1]
    assert repr(found) == f"Labels(labelled 4 frames with {XTB})"
    assert [atoms.get_potential_energy() for atoms in found.atoms()] == found.energies.tolist()
    fx.write("labels.xyz", found)
    check_same(fx.read("labels.xyz"), found.dataset)
    assert fx.read(found) is found.dataset
    again = fx.label(XTB, found, samples="frames")
    np.testing.assert_array_equal(again.forces, found.forces)
    moved = fx.md(EMT(), found, steps=2, replicas=4, keep_bonds=False)
    np.testing.assert_array_equal(moved.positions[0], found.positions)


def test_ways_to_sample_are_objects_of_the_face(here):
    ways = [fx.Thermal(**SHORT), fx.Displaced(frames=2), fx.AsIs()]
    found = fx.label(XTB, water(), samples=ways, temperature_K=400)  # the rest stays as given
    assert found.dataset.tags["sampling"].tolist() == [*6 * ["md"], *2 * ["displacement"], "frames"]
    assert found.dataset.tags["temperature_K"].tolist() == [*6 * [400.0], *3 * [0.0]]


def test_starts_may_be_given_in_any_mix(here):
    fx.write("file.xyz", Dataset.from_atoms([water()]))
    named = Dataset(np.array([8, 1, 1]), water().positions[None], tags={"start": ["mine"]})
    starts = ["file.xyz", water(), [water(1.01), water(1.02)], named, "smiles:O"]
    found = fx.label(XTB, starts, samples="frames")
    names = ["file", "start-1", "start-2", "start-3", "mine", "conformer-0"]
    assert found.dataset.tags["start"].tolist() == names
    with pytest.raises(MoleculeError):
        fx.label(XTB, [water(), "smiles:CO"])
    with pytest.raises(ConfigError, match="expected geometries"):
        fx.label(XTB, [water(), 3])


def test_charge_and_multiplicity_of_atoms_are_those_of_the_labels(here):
    ion = water()
    ion.info.update(charge=1, multiplicity=2)
    found = fx.label(XTB, ion, **NOISE)
    assert found.reference == f"{XTB}?charge=1&multiplicity=2"
    expected = fx.load(found.reference, ion)(found.positions)
    np.testing.assert_allclose(found.energies, expected.energies, rtol=1e-12)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_reference_given_as_an_object_labels_in_worker_processes(here, workers):
    calculator = EMT()
    found = fx.label(calculator, water(), **SHORT, workers=workers)
    address = fx.label("ase:ase.calculators.emt:EMT", water(), **SHORT)
    np.testing.assert_array_equal(found.forces, address.forces)
    assert found.reference == found.sampler == found.dataset.provenance.level == "python:EMT"
    potential = fx.load(XTB, water())
    found = fx.label(potential, water(), **NOISE, sampler=EMT(), workers=workers)
    # tblite's sums depend in the last digits on its threads
    np.testing.assert_allclose(found.forces, potential(found.positions).forces, atol=1e-10)


class Unsendable(EMT):
    """A calculator as those are that hold a library's memory."""

    def calculate(self, *args, **kwargs):
        super().calculate(*args, **kwargs)
        self.handle = (one for one in ())


def test_a_used_calculator_that_cannot_be_copied_is_refused_in_one_line(here):
    calculator = Unsendable()
    atoms = water()
    atoms.calc = calculator
    atoms.get_potential_energy()
    with pytest.raises(
        InputError, match=r"Unsendable cannot be sent to worker .*generator"
    ) as told:
        fx.label(calculator, water(), **NOISE, output="run")
    assert "\n" not in str(told.value)
    assert not Path("run").exists()


@pytest.mark.data
@pytest.mark.parametrize("make", [lambda: XTB, EMT], ids=["address", "object"])
def test_an_interrupted_run_of_python_goes_on_from_its_folder(here, monkeypatch, make):
    whole = fx.label(make(), water(), **SHORT)
    take = _Record.take

    def once(self, outcomes):
        take(self, outcomes)
        self.write()
        if self.labelled >= 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(_Record, "take", once)
    with pytest.raises(KeyboardInterrupt):
        fx.label(make(), water(), **SHORT, output="run")
    monkeypatch.setattr(_Record, "take", take)
    assert len(FolderStore("run").get("labels.xyz")) >= 3
    found = fx.label(make(), water(), **SHORT, output="run")
    check_same(found.dataset, whole.dataset)
    again = fx.label(make(), water(), **SHORT, output="run")
    assert again.to_dict() == found.to_dict()
    check_same(again.dataset, whole.dataset)
    assert Path("run/report.html").exists()


CALCULATOR = """
from ase.calculators.calculator import CalculationFailed
from ase.calculators.emt import EMT

class Picky(EMT):
    def calculate(self, atoms, properties, changes):
        if atoms.positions[0, 0] > {limit}:
            raise CalculationFailed("too far to the right")
        super().calculate(atoms, properties, changes)
"""


def test_geometries_without_a_label_are_in_quarantine_in_memory_too(here):
    Path("picky.py").write_text(CALCULATOR.format(limit=0.0))
    found = fx.label("ase:picky.py:Picky", water(), samples="displacement", frames=20)
    assert 0 < found.quarantined == len(found.quarantine) < 20
    assert found.frames + found.quarantined == 20
    assert (found.quarantine.positions[:, 0, 0] > 0).all()
    assert (found.positions[:, 0, 0] <= 0).all()
    assert "too far to the right" in found.quarantine.tags["reason"][0]
    assert "in quarantine (the first: " in found.summary()
    assert sorted(found.dataset.tags["index"].tolist()) == found.dataset.tags["index"].tolist()
    Path("picky.py").write_text(CALCULATOR.format(limit=-1.0))
    with pytest.raises(LabelError, match="no label of the start geometries"):
        fx.label("ase:picky.py:Picky", water(), **NOISE)
    with pytest.raises(LabelError, match=r"labelled no frame; the first: .*too far to the right"):
        fx.label("ase:picky.py:Picky", water(), samples="frames")


SCRIPT = """
import flexcalc as fx
from ase.build import molecule
from ase.calculators.emt import EMT
{definition}
print("begun")
{guard}print(
    fx.label({reference}, molecule("H2O"), samples="displacement", frames=3, workers=2)
)
"""


def run_script(**parts: str) -> subprocess.CompletedProcess:
    Path("script.py").write_text(SCRIPT.format(**{"definition": "", "guard": "", **parts}))
    return subprocess.run([sys.executable, "script.py"], capture_output=True, text=True)


def test_a_script_is_not_run_again_by_its_worker_processes(here):
    done = run_script(reference="EMT()")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.split("\n")[0:2] == ["begun", "Labels(labelled 3 frames with python:EMT)"]


def test_a_script_that_defines_its_calculator_is_told_to_guard_its_work(here):
    own = {"definition": "class Mine(EMT): pass", "reference": "Mine()"}
    done = run_script(**own)
    assert done.returncode == 1
    assert 'must have `if __name__ == "__main__":`' in done.stderr.splitlines()[-1]
    done = run_script(**own, guard="if __name__ == '__main__': ")
    assert (done.returncode, done.stderr) == (0, "")


def test_a_calculator_of_an_interactive_session_is_refused(here):
    text = SCRIPT.format(definition="class Mine(EMT): pass", guard="", reference="Mine()")
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True)
    assert "Mine is defined in a notebook or an interactive session" in done.stderr


@pytest.mark.data
def test_what_replaces_a_log_closes_it(tmp_path):
    frames = Dataset.from_atoms([water()])
    with FolderStore(tmp_path) as store:
        store.frames("log.xyz").extend([frames])
        store.put("log.xyz", frames[[0, 0]])
        store.frames("log.xyz").extend([frames])
        assert len(store.get("log.xyz")) == 3
        store.remove("log.xyz")
        store.frames("log.xyz").extend([frames])
        assert len(store.get("log.xyz")) == 1


def test_the_example_of_its_docstring_runs(here):
    found = doctest.testmod(module)
    assert (found.failed, found.attempted) == (0, 5)
