"""Files that are read by running their code: refused, unless their user says so, everywhere."""

from pathlib import Path

import numpy as np
import pytest

import flexcalc
from flexcalc import registry
from flexcalc.config import COMMANDS
from flexcalc.config.options import options
from flexcalc.errors import AddressError
from flexcalc.models.foreign import require_trust
from flexcalc.registry import open_potential

pytestmark = pytest.mark.security

POTENTIALS = {"model", "models", "reference", "baseline", "sampler", "relabel"}
"""Fields that hold addresses."""


def open_loaded(path, numbers, options, trust):
    """An opener of files that are code: what they contain is the address of a reference."""
    require_trust(path, trust)
    return open_potential(path.read_text().strip(), numbers)


@pytest.fixture
def here(here, monkeypatch):
    """With a model file that is loaded too."""
    monkeypatch.setattr(registry, "FOREIGN", {**registry.FOREIGN, ".loaded": "here:open"})
    home = registry.import_object
    monkeypatch.setattr(
        registry,
        "import_object",
        lambda place: open_loaded if place == "here:open" else home(place),
    )
    Path("water.loaded").write_text("xtb:GFN2-xTB?accuracy=1")
    return here


COMMAND_LINES = {
    "evaluate": ["water.loaded", "water.xyz", "--frames", "3"],
    "md": ["water.loaded", "start.xyz", "--steps", "2"],
    "path": ["water.loaded", "water.xyz", "--steps", "1"],
    "label": ["water.loaded", "start.xyz", "--samples", "displacement", "--frames", "2"],
    "train": [
        *["water.xyz", "--baseline", "water.loaded", "--points", "5", "--sigma", "5"],
        *["--validation-points", "3"],
    ],
    "committee": ["committee:water.loaded,water.flex", "start.xyz", "--steps", "2"],
}


@pytest.mark.parametrize("name", COMMAND_LINES)
def test_a_command_refuses_in_one_line_and_opens_when_trusted(name, here, run, capsys, monkeypatch):
    words = ["md" if name == "committee" else name, *COMMAND_LINES[name], "--output", "out"]
    assert run(*words) == 2
    said = capsys.readouterr().err
    assert len(said.splitlines()) == 1
    assert "running code it contains" in said
    assert "--trust" in said
    assert not Path("out").exists()
    if name == "label":  # its workers are processes of their own, where nothing is patched
        opened = []

        def pool(make, *_, **__):
            opened.append(make())
            raise KeyboardInterrupt

        monkeypatch.setattr("flexcalc.tasks.label.open_pool", pool)
        assert run(*words, "--trust") == 130
        assert len(opened) == 1
    elif name == "train":
        # The baseline is no trained model of ours, so the folder names it, and asks for trust too.
        assert run(*words, "--trust") == 0
        with pytest.raises(AddressError, match="which may mean running code"):
            flexcalc.load("out/sgdml.flex")
        positions = flexcalc.read("water.xyz").positions[:1]
        assert np.isfinite(flexcalc.load("out/sgdml.flex", trust=True)(positions).energies).all()
    else:
        assert run(*words, "--trust") == 0


def test_info_and_export_take_trust_too(here, run, capsys):
    joined = "committee:water.flex,water.loaded"
    for words in (["info", joined], ["export", joined, "both.flex"]):
        assert run(*words) == 2
        assert "running code it contains" in capsys.readouterr().err
    assert run("info", joined, "--trust") == 0
    assert run("export", joined, "both.flex", "--trust") == 2
    assert "is no trained model" in capsys.readouterr().err


def test_serving_hands_trust_on(here, run, monkeypatch):
    given = []
    monkeypatch.setattr("flexcalc.adapters.ipi.serve", lambda *what, **_: given.append(what) or 0)
    assert run("serve", "water.loaded", "start.xyz", "--unix", "x") == 2
    assert not given
    assert run("serve", "water.loaded", "start.xyz", "--unix", "x", "--trust") == 0
    assert len(given) == 1
    with pytest.raises(AddressError, match="running code"):
        flexcalc.serve("water.loaded", "start.xyz", unix="nobody")


def test_the_calculator_takes_trust(here):
    from ase.io import read

    with pytest.raises(AddressError, match="trust=True in Python"):
        flexcalc.load("water.loaded", read("start.xyz"))
    atoms = read("start.xyz")
    loaded = flexcalc.load("water.loaded", atoms, trust=True)
    atoms.calc = flexcalc.Calculator(loaded)
    assert np.isfinite(atoms.get_potential_energy())


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_that_opens_potentials_can_be_trusted_with_code(name):
    fields = {option.name for option in options(COMMANDS[name])}
    if name != "demo" and fields & POTENTIALS:
        assert "trust" in fields
        assert next(o for o in options(COMMANDS[name]) if o.name == "trust").default is False
