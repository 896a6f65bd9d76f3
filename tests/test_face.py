"""The public face: every command is a function of the same name, options, defaults and texts."""

import doctest
import inspect
import json
import subprocess
import sys
import threading
import warnings
import xml.etree.ElementTree
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

import flexcalc as fx
from flexcalc import cli, stub
from flexcalc.commands.annotations import Default
from flexcalc.config import COMMANDS, TOOLS, options
from flexcalc.dataset import Dataset
from flexcalc.errors import ConfigError, FileFormatError, InputError, ProtocolError
from flexcalc.files import write
from flexcalc.methods.guard import Guards
from flexcalc.methods.iterate import Checkpoint
from flexcalc.potential import CheckedPotential
from flexcalc.registry import make_family
from flexcalc.store import FlexcalcWarning
from tests.systems import GEOMETRY, WATER, springs

ROOT = Path(__file__).parents[1]

CONFIGS = {**COMMANDS, **TOOLS}
FUNCTIONS = sorted(CONFIGS)


def plain(text):
    """A text without its line breaks."""
    return " ".join(text.split())


# ---------------------------------------------------------------- the rule


def test_the_command_line_has_these_commands_and_no_others():
    assert cli.RUNS.keys() == COMMANDS.keys()
    assert cli.TOOLS.keys() == TOOLS.keys()


def test_the_help_of_an_option_is_the_text_under_it_wherever_its_class_stands():
    @dataclass(frozen=True, kw_only=True)
    class Inner(Guards):
        number: int = 1
        """How many."""

    texts = {option.name: option.help for option in options(Inner)}
    assert texts["number"] == "How many."
    guards = {option.name: option.help for option in options(Guards)}
    assert all(guards.values())
    assert texts == {"number": "How many."} | guards


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_command_is_a_function_of_the_same_name(name):
    assert name in fx.__all__
    function = getattr(fx, name)
    assert function is cli.function_of(name)
    assert function.__name__ == name
    assert function.config is CONFIGS[name]
    assert function.keeps == (name in COMMANDS and name not in cli.FOLDERLESS)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_its_signature_has_the_options_and_defaults_of_the_command_line(name):
    function, config = getattr(fx, name), CONFIGS[name]
    parameters = dict(inspect.signature(function).parameters)
    for option in options(config):
        parameter = parameters.pop(option.name)
        if option.required:
            assert parameter.default is parameter.empty
        else:
            assert parameter.default == option.default
    further = set(parameters)
    assert further - {"section_options"} == ({"output", "progress"} if function.keeps else set())
    assert ("section_options" in further) == any(option.choices for option in options(config))
    by_place = [
        parameter.name
        for parameter in inspect.signature(function).parameters.values()
        if parameter.kind is parameter.POSITIONAL_OR_KEYWORD
    ]
    words = [word.lstrip("*") for word in config.positional]
    assert by_place[: len(words)] == words


@pytest.mark.parametrize("name", FUNCTIONS)
def test_its_signature_reads_as_a_user_would_write_it(name):
    shown = str(inspect.signature(getattr(fx, name)))
    for noise in ("Annotated", "Ge(", "Gt(", "object at", "typing.", "NoneType", "<class", "'int'"):
        assert noise not in shown
    for option in options(CONFIGS[name]):
        if option.choices and not option.many:
            assert f"= {type(option.default).__name__}()" in shown


@pytest.mark.parametrize("name", FUNCTIONS)
def test_its_docstring_describes_every_option(name):
    told = plain(getattr(fx, name).__doc__)
    for option in options(CONFIGS[name]):
        assert plain(f"{option.name}: {option.help}") in told
    assert "Returns:" in told


@pytest.mark.parametrize("name", FUNCTIONS)
def test_its_example_runs_and_writes_nothing_unasked(name, tmp_path, monkeypatch, own_sockets):
    monkeypatch.chdir(tmp_path)
    function = getattr(fx, name)
    (example,) = doctest.DocTestFinder(recurse=False).find(function, name, globs={})
    assert len(example.examples) > 1
    runner, told = doctest.DocTestRunner(verbose=False), []
    runner.run(example, out=told.append)
    assert runner.failures == 0, "".join(told)
    if function.keeps:
        assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", fx.__all__)
def test_every_public_name_is_documented(name):
    text = getattr(fx, name).__doc__
    assert text
    assert not text.startswith(f"{name}(")  # what dataclasses write themselves


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_objects_that_options_take_are_public(name):
    for option in options(CONFIGS[name]):
        if name != "benchmark" and option.choices and option.name != "family":
            for kind in option.choices.values():
                assert getattr(fx, kind.__name__) is kind


def test_a_default_is_shown_by_what_differs():
    assert repr(Default(fx.Langevin())) == "Langevin()"
    assert repr(Default((fx.Langevin(temperature_K=77.0),))) == "(Langevin(temperature_K=77.0),)"
    assert Default(fx.Langevin()) == fx.Langevin()
    assert Default(fx.Langevin()) != fx.NoseHoover()


# ---------------------------------------------------------------- editors and type checkers


def test_the_stub_is_up_to_date():
    assert stub.FILE.read_text() == stub.stub(), "run python -m flexcalc.stub"


USED = """
import flexcalc as fx

run = fx.md("a.flex", "a.xyz", steps=10, temperature_K=300.0, method=fx.Langevin())
shape: tuple[int, ...] = run.positions.shape
surface = fx.metad("a.flex", "a.xyz", "distance 0 1", walkers=4, pace=10)
barrier: float | None = surface.drift_kcal_mol
error: float = fx.evaluate(["a.flex", "b.flex"], "a.xyz", by="distance 0 1").forces.rmse
count: int = fx.serve("a.flex", "a.xyz", unix="here")
"""

MISUSED = """
import flexcalc as fx

run = fx.md("a.flex", "a.xyz", stepz=10)
word: str = fx.md("a.flex", "a.xyz").steps
"""


def test_type_checkers_know_the_options_and_the_results(tmp_path):
    pytest.importorskip("mypy")
    (tmp_path / "used.py").write_text(USED)
    (tmp_path / "misused.py").write_text(MISUSED)
    words = ["mypy", "--config-file", str(ROOT / "pyproject.toml"), "--follow-imports", "silent"]
    files = [str(tmp_path / name) for name in ("used.py", "misused.py")]
    done = subprocess.run(
        [sys.executable, "-m", *words, *files], cwd=ROOT, capture_output=True, text=True
    )
    found = [line for line in done.stdout.splitlines() if ": error: " in line]
    assert len(found) == 2, done.stdout + done.stderr
    assert 'Unexpected keyword argument "stepz"' in found[0]
    assert "Incompatible types in assignment" in found[1]
    assert all("misused.py" in line for line in found)


# ---------------------------------------------------------------- errors of calls


def test_what_is_wrong_with_a_call_is_said_in_one_line(here):
    with pytest.raises(ConfigError, match="stepz: no such option; did you mean steps"):
        fx.md("water.flex", "start.xyz", stepz=10)
    with pytest.raises(ConfigError, match="sigam: no such option; did you mean sigma"):
        fx.train("water.xyz", "sgdml", sigam=10)
    with pytest.raises(ConfigError, match="sigam: unknown key; did you mean sigma"):
        fx.train("water.xyz", {"kind": "sgdml", "sigam": 10})
    with pytest.raises(ConfigError, match="sigma: no such option; it belongs to sgdml"):
        fx.train("water.xyz", "bpnn", sigma=10)
    with pytest.raises(InputError, match="sgdml: no hyperparameter 'sigam'; did you mean sigma"):
        make_family("sgdml", {"sigam": 10})
    with pytest.raises(ConfigError, match="start: missing"):
        fx.md("water.flex")
    with pytest.raises(ConfigError, match="steps: expected a number, got 'many'"):
        fx.md("water.flex", "start.xyz", steps="many")
    with pytest.raises(TypeError, match="takes 2 positional arguments, got 3"):
        fx.md("water.flex", "start.xyz", 10)
    with pytest.raises(TypeError, match="got 'start' twice"):
        fx.md("water.flex", "start.xyz", start="start.xyz")
    assert not any(path.is_dir() and not path.is_symlink() for path in here.iterdir())


# ---------------------------------------------------------------- runs that go on


class Interrupted(CheckedPotential):
    """Water on springs, and Ctrl-C after so many calls."""

    def __init__(self, calls):
        self.numbers, self.calls, self.inner = WATER, calls, fx.load("water.flex")

    def evaluate(self, positions):
        self.calls -= 1
        if self.calls == 0:
            raise KeyboardInterrupt
        return self.inner(positions)


@pytest.mark.data
def test_a_run_that_was_interrupted_goes_on_with_the_same_call(here, monkeypatch):
    monkeypatch.setitem(Checkpoint.__init__.__kwdefaults__, "seconds", 0.0)
    how = {"steps": 60, "replicas": 2, "frame_every": 5, "seed": 3}
    whole = fx.md(Interrupted(0), "start.xyz", **how)
    potential = Interrupted(30)
    with pytest.raises(KeyboardInterrupt):
        fx.md(potential, "start.xyz", output="md", **how)
    assert not Path("md/results.json").exists()
    potential = Interrupted(45)  # a run of 60 steps that begins again would not get through
    found = fx.md(potential, "start.xyz", output="md", **how)
    assert potential.calls > 0
    assert (found.positions == whole.positions).all()
    assert (found.scalars["conserved_eV"] == whole.scalars["conserved_eV"]).all()
    again = fx.md(Interrupted(1), "start.xyz", output="md", **how)  # complete: nothing is computed
    assert again.to_dict() == {**found.to_dict(), "steps_per_second": again.steps_per_second}


# ---------------------------------------------------------------- evaluate


BY = "angle 1 0 2"


def test_evaluate_in_memory_gives_what_the_command_line_writes(here, run):
    assert run("evaluate", "water.flex", "water.xyz", "--by", BY, "--seed", "2", "-o", "e") == 0
    before = sorted(here.iterdir())
    found = fx.evaluate("water.flex", "water.xyz", by=BY, seed=2)
    assert sorted(here.iterdir()) == before
    written = json.loads(Path("e/results.json").read_text())
    for key in ("command", "seconds"):
        written.pop(key)
    assert {**found.to_dict(), "dataset": written["dataset"]} == written
    assert json.loads(json.dumps(found.table())) == json.loads(Path("e/errors.json").read_text())[0]
    with np.load("e/parity-0.npz") as parity:
        assert all((parity[name] == array).all() for name, array in found.parity.items())
    assert (fx.read("e/worst.xyz").positions == found.worst_frames.positions).all()


def test_errors_are_in_ev_and_say_where_they_are_largest(here):
    data = springs(40, seed=1)
    found = fx.evaluate("water.flex", data, by=[BY, "distance 0 1"])
    predicted = fx.load("water.flex")(data.positions)
    assert np.isclose(found.forces.rmse, np.sqrt(((predicted.forces - data.forces) ** 2).mean()))
    assert np.isclose(found.energies.mae, np.abs(predicted.energies - data.energies).mean())
    low, high = found.forces.rmse_interval
    assert low < found.forces.rmse < high
    worst = max((r.bins[0] for r in found.regions), key=lambda region: region.force.rmse)
    assert found.worst_region == worst
    assert found.models == (found,)
    assert "force MAE" in repr(found)
    assert found.dataset == "memory"


def test_tags_of_a_file_are_regions_of_an_evaluation(here, run, capsys):
    data = springs(20)
    kinds = np.array(["cis", "trans"])[np.arange(20) % 2]
    write(Path("tagged.xyz"), replace(data, tags={"config_type": kinds}))
    errors = fx.evaluate("water.flex", "tagged.xyz", by="config_type")
    assert {one.name for one in errors.regions[0].bins} == {"cis", "trans"}
    assert run("evaluate", "water.flex", "tagged.xyz", "--by", "config_type") == 0
    worst = errors.worst_region.name
    assert f"worst region of config_type: {worst}, 10 frames" in capsys.readouterr().out
    assert f"Worst: {worst}, " in Path("evaluate/report.html").read_text()
    with pytest.raises(InputError, match=r"'confg'.*; or a tag of the frames: config_type$"):
        fx.evaluate("water.flex", "tagged.xyz", by="confg")


def test_several_potentials_are_compared_on_the_same_frames(here):
    from ase.calculators.emt import EMT

    data = springs(20, seed=1)
    found = fx.evaluate([fx.load("water.flex"), EMT()], data.to_atoms())
    assert [one.model for one in found.models] == ["python:GDMLPotential", "python:EMT"]
    model, emt = found.models
    assert model.forces.rmse < emt.forces.rmse
    assert "of 2 potentials: python:GDMLPotential" in found.summary()
    assert (emt.parity["forces_reference"] == data.forces).all()
    assert not np.allclose(emt.parity["forces_predicted"], data.forces)
    assert [row["model"] for row in found.to_dict()["models"]] == [model.model, emt.model]


def test_a_finished_evaluation_is_read_back(here):
    models = ["water.flex", Path("water.flex")]
    how = {"by": BY, "output": "e"}
    made = fx.evaluate(models, "water.xyz", **how)
    read = fx.evaluate(models, "water.xyz", **how)
    for one, other in zip(made.models, read.models, strict=True):
        assert np.isclose(one.forces.rmse, other.forces.rmse, rtol=1e-14)
        assert one.worst_region.low == other.worst_region.low
        assert one.accuracy.worst == other.accuracy.worst
        assert one.warnings == other.warnings
        assert (one.parity["forces_predicted"] == other.parity["forces_predicted"]).all()
    Path("e/errors.json").unlink()  # what results.json has is enough for the figures overall
    assert np.isclose(fx.evaluate(models, "water.xyz", **how).forces.mae, made.forces.mae)


def test_evaluate_refuses_what_it_cannot_compare(here):
    with pytest.raises(FileFormatError, match="no labels to compare with"):
        fx.evaluate("water.flex", Dataset(WATER, GEOMETRY[None]), output="e")
    with pytest.raises(InputError, match="names atom 7"):
        fx.evaluate("water.flex", "water.xyz", by="distance 0 7", output="e")
    assert not Path("e").exists()
    forces = springs(10)
    found = fx.evaluate("water.flex", Dataset(WATER, forces.positions, forces=forces.forces))
    with pytest.raises(FileFormatError, match="no energies"):
        _ = found.energies


def test_what_is_odd_about_labels_is_a_warning_of_python(here):
    data = springs(20, seed=1)
    wrong = Dataset(WATER, data.positions, data.energies + 1000.0, data.forces)
    with pytest.warns(FlexcalcWarning, match="the zeros of energy differ"):
        found = fx.evaluate("water.flex", wrong)
    assert any("zeros" in line for line in found.warnings)
    with warnings.catch_warnings():
        warnings.simplefilter("error", FlexcalcWarning)
        fx.evaluate("water.flex", data)


# ---------------------------------------------------------------- info, export, init


def test_info_tells_the_same_of_an_object_and_of_its_file(here, run, capsys):
    assert run("info", "water.flex") == 0
    printed = capsys.readouterr().out.splitlines()
    found = fx.info("water.flex")
    assert found.lines() == printed == str(found).splitlines()
    assert found.what == "model"
    assert fx.info(fx.load("water.flex")).molecule == found.molecule == "H2O"
    data, file = fx.info(springs(5)), fx.info(Path("water.xyz"))
    assert data.to_dict().keys() == file.to_dict().keys()
    assert (data.facts["frames"], file.facts["frames"]) == (5, 60)
    assert fx.info(springs(5).to_atoms()).facts["frames"] == 5


def test_info_numbers_the_atoms_of_a_geometry(here, run, capsys):
    ethanol = ROOT / "inputs/ethanol.xyz"
    found = fx.info(ethanol)
    assert found.structure.bonded_to[:3] == ((1, 3, 4, 5), (0, 2, 6, 7), (1, 8))
    assert found.rotatable_dihedrals == ("dihedral 3 0 1 2", "dihedral 0 1 2 8")
    html = found._repr_html_()
    assert all(f">{atom}</text>" in html for atom in range(9))
    assert run("info", ethanol, "--picture", "atoms.svg") == 0
    lines = capsys.readouterr().out.splitlines()
    assert "0        C        1 3 4 5" in lines
    assert lines[-2:] == ['  "dihedral 3 0 1 2"  H-C-C-O', '  "dihedral 0 1 2 8"  C-C-O-H']
    drawn = xml.etree.ElementTree.parse("atoms.svg")
    texts = [one.text for one in drawn.iter("{http://www.w3.org/2000/svg}text")]
    assert sorted(texts) == [str(atom) for atom in range(9)]
    with pytest.raises(InputError, match="a model has no geometry to draw"):
        fx.info("water.flex", picture="atoms.svg")
    with pytest.raises(InputError, match=r"expected a name that ends in \.svg"):
        fx.info(ethanol, picture="atoms.png")


def test_info_numbers_a_smiles_as_label_does(here):
    pytest.importorskip("rdkit")
    found = fx.info("smiles:OCC=O")
    assert (found.what, found.molecule) == ("SMILES", "C2H4O2")
    assert found.structure.symbols == ("O", "C", "C", "O", "H", "H", "H", "H")
    assert "dihedral 0 1 2 3" in found.rotatable_dihedrals
    with pytest.raises(InputError, match="OCC=O: no such file; a SMILES is written smiles:OCC=O"):
        fx.info("OCC=O")


def test_info_describes_runs_and_results(here):
    result = fx.md("water.flex", "start.xyz", steps=20, output="md")
    assert fx.info("md").what == "run folder"
    assert fx.info("md").facts["steps"] == fx.info(result).facts["steps"] == 20
    assert fx.info(result).what == "result"
    with pytest.raises(InputError, match="nowhere"):
        fx.info("nowhere")


def test_export_takes_a_model_of_memory(here):
    model = fx.load("water.flex")
    assert fx.export(model, "again.flex") == Path("again.flex")
    positions = springs(3).positions
    assert (fx.load("again.flex")(positions).energies == model(positions).energies).all()
    with pytest.raises(InputError, match=r"expected a name that ends in \.flex"):
        fx.export(model, "again.txt")


def test_init_gives_the_text_that_the_command_line_prints(run, capsys):
    assert run("init", "md") == 0
    assert capsys.readouterr().out.rstrip("\n") == fx.init("md").rstrip("\n")
    with pytest.raises(InputError, match="no TOML for 'report'"):
        fx.init("report")


# ---------------------------------------------------------------- i-PI


@pytest.fixture
def glycine():
    """The molecule that the shipped inputs of i-PI start from."""
    from ase.io import read

    from flexcalc.files.shipped import shipped

    return read(shipped("glycine-Ip.xyz"))


@pytest.mark.protocol
def test_ipi_in_memory_serves_an_object_from_this_process(
    tmp_path, monkeypatch, glycine, own_sockets
):
    pytest.importorskip("ipi")
    from ase.calculators.emt import EMT

    from flexcalc.files.shipped import shipped

    monkeypatch.chdir(tmp_path)
    found = fx.ipi(shipped("ipi-nvt.xml"), EMT(), glycine, steps=20)
    assert not list(tmp_path.iterdir())
    assert (found.steps, found.clients, found.model) == (20, 1, "python:EMT")
    assert found.force_difference_max_relative < 1e-12
    assert found.energy_difference_max_relative < 1e-12
    assert np.isclose(found.temperature_mean_K, found.scalars["temperature_K"].mean())
    assert found.path is None
    assert found.images == []
    kept = fx.ipi(shipped("ipi-nvt.xml"), EMT(), glycine, steps=20, output="ipi")
    assert (kept.scalars["conserved_eV"] == found.scalars["conserved_eV"]).all()
    written = json.loads(Path("ipi/results.json").read_text())
    assert {"command": "ipi", **kept.to_dict(), "seconds": written["seconds"]} == written
    again = fx.ipi(shipped("ipi-nvt.xml"), EMT(), glycine, steps=20, output="ipi")
    assert again.to_dict() == kept.to_dict()


@pytest.mark.protocol
def test_ipi_refuses_several_clients_of_one_object(tmp_path, monkeypatch, glycine, own_sockets):
    pytest.importorskip("ipi")
    from ase.calculators.emt import EMT

    from flexcalc.files.shipped import shipped

    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match="clients: expected 1 for a potential that is an object"):
        fx.ipi(shipped("ipi-nvt.xml"), EMT(), glycine, clients=2, output="ipi")
    assert not Path("ipi").exists()


@pytest.mark.protocol
def test_what_a_client_in_this_process_fails_with_ends_the_run(
    tmp_path, monkeypatch, glycine, own_sockets
):
    pytest.importorskip("ipi")
    from ase.calculators.emt import EMT

    from flexcalc.errors import NonFiniteError
    from flexcalc.files.shipped import shipped

    class Broken(EMT):
        def calculate(self, *what):
            super().calculate(*what)
            self.results["forces"] = np.full((10, 3), np.nan)

    monkeypatch.chdir(tmp_path)
    with pytest.raises(NonFiniteError):
        fx.ipi(shipped("ipi-nvt.xml"), Broken(), glycine, steps=20, timeout_s=60)


@pytest.mark.protocol
def test_a_client_in_this_process_ends_where_ipi_refuses_the_input(
    tmp_path, monkeypatch, glycine, own_sockets
):
    pytest.importorskip("ipi")
    from ase.calculators.emt import EMT

    from flexcalc.files.shipped import shipped

    monkeypatch.chdir(tmp_path)
    text = shipped("ipi-nvt.xml").read_text()
    Path("glycine-Ip.xyz").write_text(shipped("glycine-Ip.xyz").read_text())
    Path("bad.xml").write_text(text.replace("<dynamics mode='nvt'>", "<dynamics mode='nonsense'>"))
    before = threading.active_count()
    with pytest.raises(ProtocolError, match="nonsense is not a valid option"):
        fx.ipi("bad.xml", EMT(), glycine, steps=20)
    assert threading.active_count() == before
