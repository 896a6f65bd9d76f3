"""Training on what a baseline leaves: the sum, its folder, its errors, and what is refused."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import flexcalc
from flexcalc.dataset import Dataset
from flexcalc.errors import AddressError, FileFormatError, InputError
from flexcalc.models import folder as model_folder
from flexcalc.models.delta import DeltaModel
from flexcalc.models.folder import FACTS
from flexcalc.training.checkpoints import Checkpoints

GFN2 = "xtb:GFN2-xTB"
WORDS = ("--points", "20", "--validation-points", "10", "--sigmas", "5,10")


@pytest.fixture
def here(water_shelf, tmp_path, monkeypatch):
    """An empty folder to work in, with the shelf's things in it."""
    for entry in water_shelf.iterdir():
        if entry.is_dir():
            shutil.copytree(entry, tmp_path / entry.name)
        else:
            (tmp_path / entry.name).symlink_to(entry)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def rewrite(path, **changes):
    """Change model.json and make its own hash right again, as someone hostile would."""
    facts = json.loads((path / FACTS).read_text())
    del facts["sha256"]
    facts |= changes
    facts["sha256"] = model_folder._digest(facts)
    (path / FACTS).write_text(json.dumps(facts))


def test_labels_that_are_the_baselines_own_leave_nothing_to_learn_but_noise(here):
    """GFN2-xTB plus the springs, less GFN2-xTB: the model is that of the springs alone."""
    springs = flexcalc.read("water.xyz")
    extra = flexcalc.load(GFN2, springs.numbers)(springs.positions)
    both = Dataset(
        springs.numbers,
        springs.positions,
        springs.energies + extra.energies,
        springs.forces + extra.forces,
    )
    # Points at random, since the energies that would choose them differ.
    options = {"points": 20, "sigma": 5.0, "selection": "random", "seed": 0}
    delta = flexcalc.train(both, baseline=GFN2, **options)
    alone = flexcalc.train(springs, **options)(springs.positions)
    found = delta(springs.positions)
    assert isinstance(delta.model, flexcalc.Sum)
    # Energies of 140 eV lose 3e-14 eV; solving the kernel matrix makes the most of that.
    assert np.abs(found.forces - extra.forces - alone.forces).max() < 1e-6
    assert np.abs(found.energies - extra.energies - alone.energies).max() < 1e-6


def test_the_folder_reloads_as_the_sum(here, run):
    assert run("train", "water.xyz", *WORDS, "--baseline", GFN2, "-o", "delta.flex") == 0
    model = flexcalc.load("delta.flex")
    assert isinstance(model, DeltaModel)
    positions = flexcalc.read("water.xyz").positions[:4]
    baseline = flexcalc.load(GFN2, model.numbers)(positions)
    inner = flexcalc.load("delta.flex/model.flex")(positions)
    assert np.array_equal(model(positions).energies, baseline.energies + inner.energies)
    assert np.array_equal(model(positions).forces, baseline.forces + inner.forces)
    data = flexcalc.read("water.xyz")
    split = json.loads(Path("delta-train/split.json").read_text())
    assert model.facts["training_sha256"] == data[split["train"]].sha256()
    assert model.facts["baseline"] == GFN2


def test_the_errors_told_are_those_of_the_sum_on_the_labels(here, run):
    words = ("--baseline", GFN2, "--learning-curve", "10", "--refine-rounds", "2")
    assert run("train", "water.xyz", *WORDS, *words, "-o", "train") == 0
    results = json.loads(Path("train/results.json").read_text())
    data = flexcalc.read("water.xyz")
    judged = data[json.loads(Path("train/split.json").read_text())["validation"]]
    found = flexcalc.load("train/sgdml.flex")(judged.positions)
    rmse = np.sqrt(np.mean((found.forces - judged.forces) ** 2)) * 23.060548
    assert results["force_rmse_kcal_mol_A"] == pytest.approx(rmse, rel=1e-6)
    assert results["baseline"] == GFN2
    curve = json.loads(Path("train/learning.json").read_text())
    assert curve[-1]["force_rmse_kcal_mol_A"] == results["force_rmse_kcal_mol_A"]
    # What was held out has its own labels, not the differences.
    rest = flexcalc.read("train/heldout.xyz")
    assert len(rest) == 30
    assert set(rest.energies.tolist()) <= set(data.energies.tolist())


@pytest.mark.parametrize("way", [["--folds", "3"], ["--committee", "2"]])
def test_it_goes_with_the_other_ways_to_train(way, here, run, capsys):
    words = ["train", "water.xyz", *WORDS, "--baseline", "dispersion:D4/PBE", *way]
    assert run(*words, "-o", "delta.flex") == 0
    model = flexcalc.load("delta.flex")
    evaluation = model(flexcalc.read("water.xyz").positions[:3])
    assert (evaluation.deviation is not None) == ("--committee" in way)
    capsys.readouterr()
    assert run("info", "delta.flex") == 0
    shown = capsys.readouterr().out
    assert "family: delta" in shown
    assert "baseline: dispersion:D4/PBE" in shown


def test_python_and_the_command_line_train_the_same(here, run):
    assert run("train", "water.xyz", *WORDS, "--baseline", GFN2, "-o", "train") == 0
    data = flexcalc.read("water.xyz")
    model = flexcalc.train(data, points=20, validation_points=10, sigmas=(5.0, 10.0), baseline=GFN2)
    other = flexcalc.load("train/sgdml.flex")
    assert np.array_equal(model(data.positions).forces, other(data.positions).forces)


def test_a_committee_of_references_is_kept_by_its_address(here, run):
    both = "committee:xtb:GFN2-xTB,xtb:GFN1-xTB"
    assert run("train", "water.xyz", *WORDS, "--baseline", both, "-o", "delta.flex") == 0
    model = flexcalc.load("delta.flex")
    assert model.facts["baseline"] == both
    assert model(flexcalc.read("water.xyz").positions[:2]).deviation.shape == (2, 3)


@pytest.mark.data
def test_an_interrupted_baseline_goes_on_and_is_not_computed_again(here, run, monkeypatch):
    words = ["train", "water.xyz", *WORDS, "--baseline", GFN2]
    monkeypatch.setattr("flexcalc.tasks.baseline.CHUNK", 8)
    assert run(*words, "-o", "whole") == 0
    remember, done = Checkpoints.save, []

    def interrupted(self, step, content, potential=None):
        remember(self, step, content, potential)
        done.append(self.folder / step)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Checkpoints, "save", interrupted)
        while run(*words, "-o", "broken") == 130:
            assert len(done) < 100
    baseline = [step for step in done if step.parent.name == "baseline"]
    assert len(baseline) == len(set(baseline)) == -(-30 // 8)
    for name in ("model.json", "model.flex/weights.safetensors"):
        whole, broken = (Path(place, "sgdml.flex", name) for place in ("whole", "broken"))
        assert whole.read_bytes() == broken.read_bytes()


def test_a_model_as_baseline_is_copied_in(here, run):
    words = ["train", "water.xyz", *WORDS, "--baseline", "water.flex"]
    assert run(*words, "-o", "delta.flex") == 0
    positions = flexcalc.read("water.xyz").positions
    before = flexcalc.load("delta.flex")(positions)
    shutil.rmtree("water.flex")
    assert np.array_equal(flexcalc.load("delta.flex")(positions).forces, before.forces)


def test_a_baseline_that_has_another_content_by_now_is_refused(here, run):
    Path("own.py").write_text(
        "from ase.calculators.lj import LennardJones\n\n\n"
        "def calculator():\n    return LennardJones(sigma=0.9, epsilon=0.05, rc=40)\n"
    )
    words = ["train", "water.xyz", *WORDS, "--baseline", "ase:own.py:calculator"]
    assert run(*words, "-o", "delta.flex") == 0
    address = flexcalc.load("delta.flex", trust=True).facts["baseline"]
    assert Path(address.split(":")[1]).is_absolute()
    Path("own.py").write_text(Path("own.py").read_text().replace("0.9", "0.8"))
    with pytest.raises(FileFormatError, match="is not the one it was trained on"):
        flexcalc.load("delta.flex", trust=True)


@pytest.mark.security
@pytest.mark.parametrize(
    "baseline",
    [
        "ase:os:system",
        "ase:/tmp/evil.py:make",
        "committee:xtb:GFN2-xTB,ase:os:system",
        "/tmp/other.flex",
        "other.model",
        "dft:PBE//tmp/basis",
    ],
)
def test_a_model_folder_cannot_have_code_run_by_its_baseline(baseline, here, run):
    assert run("train", "water.xyz", *WORDS, "--baseline", GFN2, "-o", "delta.flex") == 0
    rewrite(Path("delta.flex"), baseline=baseline)
    with pytest.raises(AddressError, match="trust = true"):
        flexcalc.load("delta.flex")


@pytest.mark.security
@pytest.mark.parametrize("baseline", [None, 3, ["xtb:GFN2-xTB"]])
def test_a_folder_whose_baseline_got_lost_is_refused(baseline, here, run):
    assert run("train", "water.xyz", *WORDS, "--baseline", GFN2, "-o", "delta.flex") == 0
    rewrite(Path("delta.flex"), baseline=baseline)
    with pytest.raises(FileFormatError, match="baseline"):
        flexcalc.load("delta.flex")


def test_a_baseline_without_address_trains_but_cannot_be_saved(here):
    data = flexcalc.read("water.xyz")
    baseline = flexcalc.load("dispersion:D4/PBE", data.numbers)
    model = flexcalc.train(data, points=20, sigma=5.0, baseline=baseline)
    assert np.isfinite(model(data.positions).energies).all()
    with pytest.raises(InputError, match="give it by its address"):
        model.save(Path("delta.flex"))


@pytest.mark.inputs
@pytest.mark.parametrize("baseline", ["xtb:GFN3", "nothing.flex", "dispersion:D4/nothing"])
def test_a_baseline_that_cannot_be_opened_writes_nothing(baseline, here, run, capsys):
    assert run("train", "water.xyz", *WORDS, "--baseline", baseline, "-o", "out") == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
    assert not Path("out").exists()


def test_a_relative_baseline_in_a_run_file_counts_from_its_folder(here, run):
    (here / "runs").mkdir()
    (here / "runs/train.toml").write_text(
        'dataset = "../water.xyz"\nbaseline = "../water.flex"\npoints = 20\n'
        'validation_points = 10\n[[family]]\nkind = "sgdml"\nsigma = 5.0\n'
    )
    assert run("train", "runs/train.toml", "-o", "out") == 0
    assert flexcalc.load("out/sgdml.flex").facts["baseline"] == str(here / "water.flex")


BOTH = ("--baseline", GFN2, "--baseline", "water.flex")


def test_a_baseline_that_leaves_nothing_to_the_others_is_taken_alone(here, run, capsys):
    """The labels are springs, and so is the model: GFN2-xTB cannot help."""
    assert run("train", "water.xyz", *WORDS, *BOTH, "-o", "both.flex") == 0
    shown = capsys.readouterr().out
    assert f"baseline: {here}/water.flex (force RMSE " in shown
    rows = json.loads(Path("both-train/baselines.json").read_text())
    assert [(row["baseline"], row["weight"]) for row in rows] == [
        (GFN2, 0.0),
        (str(here / "water.flex"), 1.0),
    ]
    results = json.loads(Path("both-train/results.json").read_text())
    model = flexcalc.load("both.flex")
    assert results["baseline"] == model.facts["baseline"] == str(here / "water.flex")
    assert "baselines" not in model.facts


def springs_and_xtb():
    """Labels that are half springs, half GFN2-xTB, so that both are wanted."""
    data = flexcalc.read("water.xyz")
    extra = flexcalc.load(GFN2, data.numbers)(data.positions)
    return Dataset(
        data.numbers,
        data.positions,
        0.5 * data.energies + 0.5 * extra.energies,
        0.5 * data.forces + 0.5 * extra.forces,
    )


HALVES = {"points": 20, "validation_points": 10, "sigma": 5.0, "baseline": (GFN2, "water.flex")}


def test_half_weights_are_found_and_saved(here):
    fit = flexcalc.train(springs_and_xtb(), **HALVES)
    weights = fit.model.baseline.weights
    assert min(weights) > 0.1
    assert [term["weight"] for term in fit.model.facts["baselines"]] == list(weights)
    fit.save("half.flex")
    again = flexcalc.load("half.flex")
    positions = flexcalc.read("water.xyz").positions[:3]
    parts = [term(positions).forces for term in fit.model.baseline.terms]
    below = sum(weight * part for weight, part in zip(weights, parts, strict=True))
    assert np.abs(again(positions).forces - again.model(positions).forces - below).max() < 1e-12
    assert np.array_equal(again(positions).forces, fit(positions).forces)
    assert again.sha256() == fit.model.sha256()
    shutil.rmtree("water.flex")  # there is a copy inside
    assert np.array_equal(flexcalc.load("half.flex")(positions).forces, fit(positions).forces)


def without_copies(baselines):
    """Change the baselines of half.flex, which keeps no copies of them any more."""
    members = json.loads(Path("half.flex", FACTS).read_text())["members"]
    model = {"model.flex": members["model.flex"]}
    rewrite(Path("half.flex"), baselines=baselines, members=model)


@pytest.mark.inputs
@pytest.mark.parametrize(
    "baselines",
    [
        *(None, 3, [], ["xtb:GFN2-xTB"], [{"address": 3, "weight": 1.0}]),
        *([{"address": GFN2}], [{"address": GFN2, "weight": "1"}], [{"weight": 1.0}]),
        [{"address": GFN2, "weight": True}],
    ],
)
def test_damaged_weights_are_refused(baselines, here):
    flexcalc.train(springs_and_xtb(), **HALVES).save("half.flex")
    without_copies(baselines)
    with pytest.raises(FileFormatError, match="baseline"):
        flexcalc.load("half.flex")


@pytest.mark.security
def test_a_weighted_baseline_cannot_run_code(here, run):
    flexcalc.train(springs_and_xtb(), **HALVES).save("half.flex")
    without_copies([{"address": "ase:os:abort", "weight": 1.0}])
    with pytest.raises((AddressError, FileFormatError), match="trust"):
        flexcalc.load("half.flex")


def test_several_baselines_stand_in_a_run_file(here, run):
    Path("train.toml").write_text(
        f'dataset = "water.xyz"\nbaseline = ["{GFN2}", "water.flex"]\npoints = 20\n'
        'validation_points = 10\nfamily = [{kind = "sgdml", sigma = 5.0}]\n'
    )
    assert run("train", "train.toml", "-o", "out") == 0
    assert len(json.loads(Path("out/baselines.json").read_text())) == 2
