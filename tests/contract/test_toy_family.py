"""A family that is one file and one registry line goes through everything."""

import ase.io
import numpy as np
import pytest

import flexcalc
from flexcalc import files, registry
from flexcalc.cli import main
from flexcalc.config.options import options
from flexcalc.dataset import Dataset
from tests.contract.test_potential_contract import METHANOL, NUMBERS, Springs, rattled


@pytest.fixture
def place(monkeypatch, tmp_path):
    monkeypatch.setitem(registry.FAMILIES, "toy", "tests.contract.toy_family:Toy")
    options.cache_clear()  # other tests may have asked before the line was there
    monkeypatch.chdir(tmp_path)
    positions = rattled(60, seed=1)
    labels = Springs()(positions)
    files.write("labels.xyz", Dataset(NUMBERS, positions, labels.energies, labels.forces))
    ase.io.write("start.xyz", ase.Atoms(NUMBERS, METHANOL))
    yield tmp_path
    options.cache_clear()


def test_the_commands_know_it_from_its_registry_line(place, capsys):
    split = ("--points", "30", "--validation-points", "20", "--selection", "random")
    assert not main(["train", "labels.xyz", "--family", "toy", "--ridge", "1e-4", *split])
    model = "train/toy.flex"
    assert not main(["evaluate", model, "train/heldout.xyz", "--output", "check"])
    assert not main(["md", model, "start.xyz", "--steps", "5", "--output", "md"])
    assert not main(["info", model])
    assert "toy" in capsys.readouterr().out
    atoms = ase.Atoms(NUMBERS, METHANOL, calculator=flexcalc.Calculator(model))
    assert atoms.get_forces().shape == (6, 3)


def test_its_options_are_checked_and_hinted(place, capsys):
    for words, told in (("toi",), "did you mean toy?"), (("toy", "--ridge", "-1"), "--ridge"):
        with pytest.raises(SystemExit) as caught:
            main(["train", "labels.xyz", "--family", *words])
        assert caught.value.code == 2
        assert told in capsys.readouterr().err


def test_it_can_be_a_committee_and_stand_on_a_baseline(place):
    data = flexcalc.read("labels.xyz")
    together = flexcalc.train(data, "toy", points=40, committee=4)
    assert together(data.positions[:2]).deviation.shape == (2, 6)
    upon = flexcalc.train(data, "toy", points=40, baseline="xtb:GFN2-xTB")
    upon.save(place / "upon.flex")
    again = flexcalc.load(str(place / "upon.flex"))
    assert np.array_equal(again(data.positions[:2]).forces, upon(data.positions[:2]).forces)
