"""Any ASE calculator as a reference."""

import pickle
import stat
import sys

import numpy as np
import pytest
from ase.build import molecule
from ase.calculators.emt import EMT

from flexcalc.errors import AddressError, LabelError, MissingProgramError
from flexcalc.references.external import ASEPotential
from flexcalc.registry import open_potential
from tests.systems import INPUTS

MODULE = '''
"""Calculators that behave in various ways."""
import numpy as np
from ase.calculators.calculator import Calculator, CalculationFailed, CalculatorSetupError

CALLS = []

class Spring(Calculator):
    implemented_properties = ["energy", "forces"]

    def __init__(self, stiffness=1.0, **rest):
        super().__init__()
        if rest:
            raise TypeError(f"unknown {sorted(rest)}")
        self.stiffness = stiffness

    def calculate(self, atoms, properties, changes):
        CALLS.append(tuple(properties))
        super().calculate(atoms, properties, changes)
        if atoms.positions[0, 0] > 5:
            raise CalculationFailed("the spring\\nbroke")
        if atoms.positions[0, 0] > 4:
            raise ZeroDivisionError("bug")
        if atoms.positions[0, 0] > 3:
            raise CalculatorSetupError("no executable")
        self.results = {
            "energy": 0.5 * self.stiffness * np.sum(atoms.positions**2),
            "forces": -self.stiffness * atoms.positions,
        }

class EnergyOnly(Spring):
    implemented_properties = ["energy"]

def not_a_calculator():
    return 3

CONSTANT = 3
'''


@pytest.fixture
def springs(tmp_path, monkeypatch) -> str:
    """The name of an importable module of calculators, in a folder on the path."""
    name = f"springs_{tmp_path.name.replace('-', '_')}"
    (tmp_path / f"{name}.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    yield name
    sys.modules.pop(name, None)


def test_labels_are_those_of_the_calculator():
    atoms = molecule("CH3CH2OH")
    rng = np.random.default_rng(0)
    positions = atoms.positions + rng.normal(0, 0.05, (3, *atoms.positions.shape))
    found = open_potential("ase:ase.calculators.emt:EMT", atoms.numbers)(positions)
    for row, geometry in enumerate(positions):
        single = atoms.copy()
        single.positions = geometry
        single.calc = EMT()
        assert found.energies[row] == pytest.approx(single.get_potential_energy(), abs=1e-12)
        np.testing.assert_allclose(found.forces[row], single.get_forces(), atol=1e-12)


def test_options_are_read_as_toml_values(springs):
    texts = {
        "stiffness": "2.5",
        "name": "water",
        "quoted": '"3"',
        "flag": "true",
        "list": "[1, 2]",
        "sneaky": "1\nother = 2",
        "code": "__import__('os')",
    }
    potential = ASEPotential.from_address(f"{springs}:Spring", [1, 1], texts)
    assert potential.keywords == {
        "stiffness": 2.5,
        "name": "water",
        "quoted": "3",
        "flag": True,
        "list": [1, 2],
        "sneaky": "1\nother = 2",
        "code": "__import__('os')",
    }


def test_keywords_reach_the_calculator(springs):
    potential = open_potential(f"ase:{springs}:Spring?stiffness=3", np.array([1, 1]))
    positions = np.array([[[0.0, 0, 0], [0, 0, 1.0]]])
    assert potential(positions).energies[0] == pytest.approx(1.5)


def test_a_geometry_is_computed_once(springs):
    """Forces are asked for first, which gives the energy too; the other order runs twice."""
    ASEPotential([1, 1], f"{springs}:Spring")(np.zeros((1, 2, 3)))
    assert sys.modules[springs].CALLS == [("forces",)]


def test_a_calculator_from_a_file_needs_no_path(tmp_path, monkeypatch):
    (tmp_path / "my-code.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    potential = open_potential("ase:my-code.py:Spring?stiffness=2", np.array([1, 1]))
    monkeypatch.chdir("/")
    positions = np.array([[[0.0, 0, 0], [0, 0, 1.0]]])
    assert potential(positions).energies[0] == pytest.approx(1.0)


def test_a_pickled_reference_leaves_its_calculator_behind(springs):
    potential = ASEPotential([1, 1], f"{springs}:Spring", stiffness=2.0)
    positions = np.array([[[0.0, 0, 0], [0, 0, 1.0]]])
    potential(positions)
    again = pickle.loads(pickle.dumps(potential))
    assert again._calculator is None
    np.testing.assert_array_equal(again(positions).forces, potential(positions).forces)


@pytest.mark.parametrize(
    ("where", "message"),
    [(6.0, "CalculationFailed: the spring broke"), (4.5, "ZeroDivisionError: bug")],
)
def test_a_failed_calculation_is_a_label_error_with_its_row(springs, where, message):
    positions = np.zeros((2, 2, 3))
    positions[1, 0, 0] = where
    with pytest.raises(LabelError, match=f"batch row 1: .*{message}") as error:
        ASEPotential([1, 1], f"{springs}:Spring")(positions)
    assert "\n" not in str(error.value)


def test_a_calculator_that_is_not_set_up_stops_the_run(springs):
    positions = np.full((1, 2, 3), 3.5)
    with pytest.raises(AddressError, match="CalculatorSetupError: no executable"):
        ASEPotential([1, 1], f"{springs}:Spring")(positions)


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("numpy", "expected ase:module:Class"),
        ("no_such_module:Class", "ModuleNotFoundError"),
        ("no_such_file.py:Class", "FileNotFoundError"),
        ("{springs}:Sprang", "did you mean Spring"),
        ("{springs}:CONSTANT", "no class 'CONSTANT'"),
    ],
)
def test_an_address_that_names_nothing_is_refused_on_opening(springs, target, message):
    with pytest.raises(AddressError, match=message) as error:
        ASEPotential([1, 1], target.format(springs=springs))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("Spring?colour=red", "TypeError: unknown"),
        ("not_a_calculator", "expected an ASE calculator, found int"),
        ("EnergyOnly", "gives energies and forces, found PropertyNotImplementedError"),
    ],
)
def test_a_calculator_that_cannot_label_is_refused_on_the_first_call(springs, target, message):
    potential = open_potential(f"ase:{springs}:{target}", np.array([1, 1]))
    with pytest.raises(AddressError, match=message):
        potential(np.zeros((1, 2, 3)))


@pytest.mark.inputs
@pytest.mark.filterwarnings("ignore:FHI-aims IO:FutureWarning")
def test_the_fhi_aims_example_writes_the_papers_input(tmp_path, monkeypatch):
    """PBE with Tkatchenko-Scheffler, forces asked for; the program itself is a stand-in."""
    species = tmp_path / "species" / "light"
    species.mkdir(parents=True)
    for name in ("01_H", "08_O"):
        (species / f"{name}_default").write_text(f"  species {name[3:]}\n")
    program = tmp_path / "aims.x"
    program.write_text("#!/bin/sh\necho 'no licence' >&2\nexit 1\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("AIMS_COMMAND", str(program))
    monkeypatch.setenv("AIMS_SPECIES", str(species.parent))
    monkeypatch.setenv("AIMS_SCRATCH", str(tmp_path / "scratch"))
    address = f"ase:{INPUTS / 'fhi_aims.py'}:pbe_ts?settings=light&charge=1.0"
    water = molecule("H2O")
    with pytest.raises(LabelError, match="batch row 0"):
        open_potential(address, water.numbers)(water.positions[None])
    (folder,) = (tmp_path / "scratch").iterdir()
    lines = [line.split() for line in (folder / "control.in").read_text().splitlines()]
    assert ["xc", "pbe"] in lines
    assert ["vdw_correction_hirshfeld"] in lines
    assert ["compute_forces", ".true."] in lines
    assert (folder / "geometry.in").read_text().count("atom ") == 3


@pytest.mark.inputs
@pytest.mark.parametrize("command", ["no-such-program", "/etc/passwd"])
def test_a_program_that_cannot_be_started_is_named(tmp_path, command):
    (tmp_path / "starts.py").write_text(
        "import subprocess\n"
        "from ase.calculators.calculator import Calculator\n"
        "class Starts(Calculator):\n"
        '    implemented_properties = ["energy", "forces"]\n'
        "    def calculate(self, *_):\n"
        f"        subprocess.run([{command!r}], check=True)\n"
    )
    potential = open_potential(f"ase:{tmp_path / 'starts.py'}:Starts", [1])
    with pytest.raises(MissingProgramError, match=f"cannot be started, .*: '{command}'"):
        potential(np.zeros((1, 1, 3)))


def test_a_file_that_a_program_did_not_write_is_the_geometrys_failure(tmp_path):
    (tmp_path / "lacks.py").write_text(
        "from ase.calculators.calculator import Calculator\n"
        "class Lacks(Calculator):\n"
        '    implemented_properties = ["energy", "forces"]\n'
        "    def calculate(self, *_):\n"
        '        open("no-such-output.out")\n'
    )
    potential = open_potential(f"ase:{tmp_path / 'lacks.py'}:Lacks", [1])
    with pytest.raises(LabelError, match=r"no-such-output\.out"):
        potential(np.zeros((1, 1, 3)))
