"""Runs whose inputs keep their names and change their contents, and models that are in the way."""

import json
import shutil
from pathlib import Path

import pytest

import flexcalc
from flexcalc.errors import InputError
from flexcalc.models.folder import FACTS
from flexcalc.store import FlexcalcWarning
from tests.systems import springs

TRAIN = {"points": 20, "validation_points": 10, "symmetry": False}
MD = {"steps": 20, "frame_every": 5}


@pytest.fixture
def model(here):
    """A model of one's own, m.flex, and its labels, data.xyz."""
    flexcalc.write("data.xyz", springs(60))
    flexcalc.train("data.xyz", **TRAIN, sigma=5.0, output="m.flex")
    return here / "m.flex"


def other(folder):
    """Replace a model by another one."""
    flexcalc.train(springs(60), **TRAIN, sigma=2.0).save(folder, overwrite=True)


@pytest.mark.data
def test_a_run_is_not_resumed_with_another_model_of_the_same_name(model):
    flexcalc.md("m.flex", "start.xyz", **MD, output="md")
    before = Path("md/trajectory.xyz").read_bytes()
    kept = shutil.copytree(model, "kept.flex")
    other("m.flex")
    for steps in (20, 40):  # complete already, or longer than before
        with pytest.raises(
            InputError, match=r"md: holds a run with an earlier content of .*m\.flex"
        ):
            flexcalc.md("m.flex", "start.xyz", **MD | {"steps": steps}, output="md")
    assert Path("md/trajectory.xyz").read_bytes() == before
    shutil.rmtree("m.flex")
    shutil.copytree(kept, "m.flex")
    longer = flexcalc.md("m.flex", "start.xyz", **MD | {"steps": 40}, output="md")
    assert longer.steps == 40


@pytest.mark.data
def test_a_run_is_not_resumed_with_another_start_or_dataset_of_the_same_name(model, run, capfd):
    flexcalc.evaluate("water.flex", "data.xyz", output="errors")
    flexcalc.write("data.xyz", springs(60, seed=1))
    assert run("evaluate", "water.flex", "data.xyz", "-o", "errors") == 2
    assert (
        run(
            "train",
            "data.xyz",
            "--points",
            "20",
            "--validation-points",
            "10",
            "--sigma",
            "5",
            "--no-symmetry",
            "-o",
            "m.flex",
        )
        == 2
    )
    lines = capfd.readouterr().err.splitlines()
    assert len(lines) == 2
    for line in lines:
        assert "data.xyz, which has been replaced since; choose another --output" in line
    flexcalc.write("data.xyz", springs(60))  # the same content again
    assert run("evaluate", "water.flex", "data.xyz", "-o", "errors") == 0


@pytest.mark.data
def test_a_committee_is_compared_too_and_a_script_may_be_mended(here):
    for name in ("a", "b"):
        flexcalc.train(springs(60), **TRAIN, sigma=4.0).save(f"{name}.flex")
    flexcalc.evaluate("committee:a.flex,b.flex", "water.xyz", output="both")
    other("b.flex")
    with pytest.raises(InputError, match=r"earlier content of committee:.*a\.flex,.*b\.flex"):
        flexcalc.evaluate("committee:a.flex,b.flex", "water.xyz", output="both")
    script = "from ase.calculators.emt import EMT\n\ndef make():\n    return EMT()\n"
    Path("calc.py").write_text(script)
    before = flexcalc.evaluate("ase:calc.py:make", "water.xyz", output="script")
    Path("calc.py").write_text(script + "# changed\n")
    with pytest.warns(FlexcalcWarning, match=r"ase:.*calc\.py:make has been changed since the run"):
        after = flexcalc.evaluate("ase:calc.py:make", "water.xyz", output="script")
    assert after.forces.rmse == pytest.approx(before.forces.rmse, rel=1e-12)


@pytest.mark.data
def test_a_run_of_an_earlier_version_knows_no_hashes_and_is_resumed(model):
    flexcalc.md("m.flex", "start.xyz", **MD, output="md")
    noted = json.loads(Path("md/inputs.json").read_text())
    assert sorted(Path(place).name for place in noted) == ["m.flex", "start.xyz"]
    Path("md/inputs.json").unlink()
    longer = flexcalc.md("m.flex", "start.xyz", **MD | {"steps": 40}, output="md")
    assert longer.steps == 40
    assert json.loads(Path("md/inputs.json").read_text()) == noted
    Path("md/inputs.json").write_text("{")
    with pytest.raises(InputError, match=r"incomplete JSON.*choose another --output"):
        flexcalc.md("m.flex", "start.xyz", **MD | {"steps": 60}, output="md")


# Models in the way


@pytest.mark.data
def test_a_model_of_another_run_is_not_replaced_unless_asked(model, run, capfd):
    before = (model / FACTS).read_bytes()
    assert flexcalc.train("data.xyz", **TRAIN, sigma=5.0, output="m.flex").family == "sgdml"
    shutil.rmtree("m-train")
    words = ["train", "data.xyz", "--points", "10", "--validation-points", "10", "--sigma", "5"]
    assert run(*words, "-o", "m.flex") == 2
    (line,) = capfd.readouterr().err.splitlines()
    assert "m.flex: holds another model, which this run did not write" in line
    assert "--overwrite" in line
    assert (model / FACTS).read_bytes() == before
    assert not Path("m-train").exists()
    assert run(*words, "-o", "m.flex", "--overwrite") == 0
    assert flexcalc.load("m.flex").facts["training_points"] == 10


@pytest.mark.data
def test_a_complete_run_says_if_its_model_was_replaced_and_brings_it_back_if_asked(model):
    mine = flexcalc.load("m.flex").sha256()
    other("m.flex")
    with pytest.raises(InputError, match="holds another model, which this run did not write"):
        flexcalc.train("data.xyz", **TRAIN, sigma=5.0, output="m.flex")
    flexcalc.train("data.xyz", **TRAIN, sigma=5.0, output="m.flex", overwrite=True)
    assert flexcalc.load("m.flex").sha256() == mine
    shutil.rmtree("m.flex")
    flexcalc.train("data.xyz", **TRAIN, sigma=5.0, output="m.flex")
    assert flexcalc.load("m.flex").sha256() == mine


@pytest.mark.data
@pytest.mark.parametrize("name", ["out.flex", "out.npz"])
def test_an_export_does_not_replace_another_file_unless_asked(here, run, capfd, name):
    plain = {"descriptor": "distances", "metric": "plain"}
    for sigma in (5, 6):
        flexcalc.train(springs(60), **TRAIN, **plain, sigma=float(sigma)).save(f"{sigma}.flex")
    assert run("export", "5.flex", name) == run("export", "5.flex", name) == 0
    mine = flexcalc.load(name).sha256()
    assert run("export", "6.flex", name) == 2
    assert f"{name}: holds" in capfd.readouterr().err
    assert flexcalc.load(name).sha256() == mine
    assert run("export", "6.flex", name, "--overwrite") == 0
    assert flexcalc.load(name).sha256() != mine
