"""`flexcalc.train`: the same training from Python, in memory or in a run folder."""

import json
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import flexcalc
from flexcalc.errors import AddressError, ConfigError, InputError
from flexcalc.models.family import TrainedPotential, TrainingWarning
from flexcalc.models.gdml import SGDML
from flexcalc.store import FlexcalcWarning
from flexcalc.tasks.train import training_warnings
from flexcalc.training import tuning
from flexcalc.training.checkpoints import Checkpoints
from tests.systems import springs

GRID = {"points": 20, "validation_points": 10, "sigmas": (2.0, 5.0, 10.0), "seed": 3}
WORDS = ["--points", "20", "--validation-points", "10", "--sigmas", "2,5,10", "--seed", "3"]
TIMED = ("command", "seconds", "training_seconds", "call_ms")


def untimed(found):
    """Results but for the clock."""
    known = {key: value for key, value in found.items() if key not in TIMED}
    return known | ({"models": [*map(untimed, found["models"])]} if "models" in found else {})


def results(folder):
    return untimed(json.loads(Path(folder, "results.json").read_text()))


@pytest.fixture
def empty(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, []),
        ({"committee": 2}, ["--committee", "2"]),
        (
            {"refine_rounds": 2, "learning_curve": [5]},
            ["--refine-rounds", "2", "--learning-curve", "5"],
        ),
        ({"folds": 2}, ["--folds", "2"]),
        ({"baseline": "dispersion:D4/PBE"}, ["--baseline", "dispersion:D4/PBE"]),
    ],
    ids=["at once", "committee", "rounds", "folds", "baseline"],
)
def test_the_figures_are_those_of_the_command_line(options, words, here, run):
    assert run("train", "water.xyz", *WORDS, *words, "-o", "typed") == 0
    before = set(here.iterdir())
    fit = flexcalc.train(flexcalc.read("water.xyz"), **GRID, **options)
    assert set(here.iterdir()) == before
    assert untimed(fit.to_dict()) == results("typed")
    for name in ("table", "learning", "folds"):
        file = Path("typed", f"{name}.json")
        assert json.loads(json.dumps(fit.table(name))) == (
            json.loads(file.read_text()) if file.exists() else []
        )
    frames, other = flexcalc.read("water.xyz").positions, flexcalc.load("typed/sgdml.flex")
    assert np.array_equal(fit(frames).forces, other(frames).forces)
    held_out = flexcalc.read("typed/heldout.xyz")
    assert np.array_equal(fit.held_out.positions, held_out.positions)
    assert len(fit.split.train) == fit.training_points
    assert len(fit.split.validation) == fit.validation_points


def test_a_training_stands_for_its_first_model(empty):
    data = springs(40)
    fit = flexcalc.train(data, points=20, sigma=5.0)
    assert isinstance(fit, TrainedPotential)
    assert isinstance(fit.model, TrainedPotential)
    assert np.array_equal(fit.numbers, data.numbers)
    assert fit.facts is fit.model.facts
    expected = fit.model(data.positions)
    fit.save("water.flex")
    potentials = (fit, flexcalc.load(fit), flexcalc.load("water.flex"))
    for potential in (*potentials, flexcalc.Calculator(fit).potential):
        assert np.array_equal(potential(data.positions).forces, expected.forces)
    flexcalc.Committee([fit, fit]).save(empty / "two.flex")
    atoms = data[:1].to_atoms()[0]
    atoms.calc = flexcalc.Calculator(fit)
    assert atoms.get_potential_energy() == pytest.approx(expected.energies[0])
    assert flexcalc.md(fit, atoms, steps=2).steps == 2


def test_several_families_are_trained_on_one_split(empty):
    data = springs(60)
    options = {"points": 20, "validation_points": 10, "sigmas": [5.0, 10.0], "epochs": 2}
    with pytest.warns(TrainingWarning, match="more epochs"):
        fit = flexcalc.train(data, ["sgdml", "bpnn"], output="run", **options)
    assert [one.family for one in fit.fits] == ["sgdml", "bpnn"]
    assert [one.file for one in fit.fits] == ["sgdml.flex", "bpnn.flex"]
    assert untimed(fit.to_dict()) == results("run")
    assert all(one.call_ms > 0 and one.training_seconds > 0 for one in fit.fits)
    assert [row["model"] for row in fit.to_dict()["models"]] == ["sgdml.flex", "bpnn.flex"]
    assert len(fit.candidates) == 2
    assert len(fit.fits[1].table("curve")) == 2
    again = flexcalc.train(data, ["sgdml", "bpnn"], output="run", **options)
    assert again.to_dict() == fit.to_dict()
    for one, other in zip(fit.models, again.models, strict=True):
        assert np.array_equal(one(data.positions).forces, other(data.positions).forces)
    assert np.array_equal(again.split.train, fit.split.train)
    frame = pytest.importorskip("pandas") and fit.to_frame()
    assert list(frame["family"]) == ["sgdml", "bpnn"]


def test_an_output_that_is_a_model_gets_the_model(empty):
    data = springs(40)
    fit = flexcalc.train(data, points=20, sigma=5.0, output="water.flex")
    assert Path("water-train/results.json").exists()
    assert fit.summary() == f"model: {empty / 'water.flex'}"
    expected = fit(data.positions).forces
    assert np.array_equal(flexcalc.load("water.flex")(data.positions).forces, expected)
    for two in (["sgdml", "bpnn"], ["sgdml", "sgdml"]):
        with pytest.raises(InputError, match="one model folder cannot hold 2"):
            flexcalc.train(data, two, points=20, output="two.flex")
    Path("no.flex").mkdir()
    with pytest.raises(InputError, match="is not a flexcalc model"):
        flexcalc.train(data, points=20, output="no.flex")
    assert {path.name for path in empty.iterdir()} == {"water.flex", "water-train", "no.flex"}


@pytest.mark.data
def test_an_interrupted_training_resumes_from_python(empty, monkeypatch):
    data, save, done = springs(60), Checkpoints.save, []
    whole = flexcalc.train(data, **GRID)

    def interrupted(self, step, content, potential=None):
        save(self, step, content, potential)
        if self.folder is not None:
            done.append(step)
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Checkpoints, "save", interrupted)
        for _ in range(2):
            with pytest.raises(KeyboardInterrupt):
                flexcalc.train(data, output="run", **GRID)
    assert done == ["candidate-000", "candidate-001"]
    assert Path("run/unfinished/sgdml/candidate-001.json").exists()
    fit = flexcalc.train(data, output="run", **GRID)
    assert untimed(fit.to_dict()) == untimed(whole.to_dict())
    assert not Path("run/unfinished").exists()


@pytest.mark.parametrize("way", [{}, {"committee": 2}, {"refine_rounds": 1}, {"folds": 2}])
def test_the_validation_frames_are_predicted_once(way, monkeypatch):
    """By each candidate of the search; the errors of the best are those of the search."""
    judged = []

    def counted(evaluation, labels):
        judged.append(labels)
        return errors(evaluation, labels)

    errors = tuning.errors
    monkeypatch.setattr("flexcalc.tasks.train.errors", counted)
    fit = flexcalc.train(springs(60), **GRID, **way)
    assert not judged
    own = springs(60)[fit.split.validation]
    expected = errors(fit(own.positions), own)
    assert fit.errors._asdict() == expected


def test_warnings_of_other_packages_reach_the_user(monkeypatch):
    """They are no notes of the training, but raised while it runs."""

    def warning(evaluation, labels):
        warnings.warn("overflow in a library", RuntimeWarning, stacklevel=1)
        return errors(evaluation, labels)

    errors = tuning.errors
    monkeypatch.setattr("flexcalc.training.tuning.errors", warning)
    with pytest.warns(RuntimeWarning, match="overflow in a library") as caught:
        flexcalc.train(springs(60), **GRID)
    assert any(note.filename == __file__ for note in caught)
    monkeypatch.setattr("flexcalc.training.tuning.errors", _failing)
    with (
        pytest.warns(RuntimeWarning, match="before the end"),
        pytest.raises(FloatingPointError),
    ):
        flexcalc.train(springs(60), **GRID)


def _failing(evaluation, labels):
    warnings.warn("before the end", RuntimeWarning, stacklevel=1)
    raise FloatingPointError


@pytest.mark.parametrize(("points", "expected"), [(20, 200), (100, 200), (150, 150), (300, 0)])
def test_by_default_200_frames_validate_or_all_that_are_left(points, expected):
    fit = flexcalc.train(springs(300), points=points, sigma=5.0, symmetry=False)
    assert fit.validation_points == expected
    assert (fit.held_out is None) == (points + expected == 300)
    assert (fit.errors.force_rmse_kcal_mol_A is None) == (expected == 0)


@pytest.mark.parametrize(
    ("frames", "options", "expected"),
    [
        (60, {}, (60, 0, 0)),
        (200, {}, (200, 0, 0)),
        (201, {}, (100, 50, 51)),
        (399, {}, (199, 99, 101)),
        (401, {}, (200, 200, 1)),
        (60, {"validation_points": 20}, (30, 20, 10)),
        (60, {"points": 20}, (20, 40, 0)),
        (60, {"folds": 3}, (40, 20, 0)),
    ],
)
def test_few_frames_are_shared_by_default(frames, options, expected, recwarn):
    fit = flexcalc.train(springs(frames), sigma=5.0, symmetry=False, **options)
    held_out = 0 if fit.held_out is None else len(fit.held_out)
    assert (fit.training_points, fit.validation_points, held_out) == expected


def test_all_frames_of_a_small_dataset_are_trained_on(here, run, capsys):
    assert run("train", "water.xyz", "--sigmas", "5,10") == 0
    shown = capsys.readouterr().out
    assert shown.startswith("60 frames: 60 training points, whose folds choose the hyperparam")
    assert "kcal/mol/A in 5 folds, energy RMSE" in shown
    found = json.loads(Path("train/results.json").read_text())
    assert (found["training_points"], found["validation_points"]) == (60, 0)
    assert found["tuning_folds"] == 5
    assert found["force_rmse_mean_kcal_mol_A"] < 1.0
    assert "force_rmse_kcal_mol_A" not in found
    assert [row["sigma"] for row in json.loads(Path("train/table.json").read_text())] == [5, 10]
    assert len(flexcalc.load("train/sgdml.flex").domain.distances) > 1
    assert run("report", "train") == 0
    assert "trained on all points" in Path("train/report.html").read_text()


def test_a_line_says_how_few_frames_were_shared(here, run, capsys):
    said = "60 frames: 30 training points, 20 validation frames, 10 held out (points and "
    assert run("train", "water.xyz", "--sigma", "5", "--validation-points", "20") == 0
    assert capsys.readouterr().out.startswith(said)
    assert "points = 30\nvalidation_points = 20" in Path("train/run.toml").read_text()
    assert run("evaluate", "train/sgdml.flex", "train/heldout.xyz") == 0


def test_the_default_is_the_same_on_the_command_line(here, run):
    assert run("train", "water.xyz", "--points", "40", "--sigma", "5") == 0
    assert results("train")["validation_points"] == 20
    assert "validation_points = 20" in Path("train/run.toml").read_text()
    assert run("train", "water.xyz", "--points", "60", "--sigma", "5", "-o", "all") == 0
    assert "force_rmse_kcal_mol_A" not in results("all")


@pytest.mark.inputs
@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"points": 20, "validation_points": 41}, InputError, "60 frames are too few"),
        ({"points": 61}, InputError, "60 frames are too few"),
        ({"validation_points": 31}, InputError, "60 frames are too few"),
        ({"points": 1, "validation_points": 0}, InputError, "no validation frames to choose"),
        ({"points": 20, "folds": 1}, InputError, "folds: expected 0"),
        ({"points": 20, "learning_curve": [30]}, InputError, "learning_curve"),
        ({"points": 20, "sigma": -1}, ConfigError, "sigma"),
        ({"points": 20, "sigmo": 5}, ConfigError, "did you mean sigma"),
        ({"points": 20, "family": "sgdmk"}, AddressError, "did you mean sgdml"),
        ({"points": 20, "family": 3}, ConfigError, "family"),
    ],
)
def test_what_cannot_be_used_writes_nothing(options, error, message, empty):
    with pytest.raises(error, match=message):
        flexcalc.train(springs(60), output="run", **options)
    assert not list(empty.iterdir())


def test_a_baseline_that_cannot_be_kept_is_refused_before_the_training(empty):
    from ase.calculators.lj import LennardJones

    data, calculator = springs(40), LennardJones(sigma=0.9, epsilon=0.05, rc=40)
    fit = flexcalc.train(data, points=20, sigma=5.0, baseline=calculator)
    assert fit.baseline == "python:LennardJones"
    with pytest.raises(InputError, match="give it by its address"):
        flexcalc.train(data, points=20, sigma=5.0, baseline=calculator, output="run")
    assert not list(empty.iterdir())


def test_a_family_may_be_an_object_and_options_come_on_top(empty):
    data = springs(40)
    fit = flexcalc.train(data, SGDML(sigma=20.0, symmetry=False), points=20, sigma=5)
    assert fit.hyperparameters["sigma"] == 5.0
    assert fit.hyperparameters["symmetry"] is False
    below = [{"kind": "sgdml", "sigma": 8.0}]
    options = {"regions": 2, "least_points": 5, "of": ["sgdml"], "backgrounds": below}
    mixture = flexcalc.train(data, "mixture", points=20, sigma=5.0, **options)
    assert mixture.facts["backgrounds"][0]["sigma"] == 8.0
    assert mixture.facts["regions"][0]["sigma"] == 5.0


def test_the_user_is_warned():
    data = springs(60)
    with pytest.warns(TrainingWarning, match="at the edge of the search grid"):
        flexcalc.train(data, points=20, validation_points=10, sigmas=(10.0, 40.0, 80.0))
    doubled = replace(data, positions=np.repeat(data.positions[::2], 2, axis=0))
    with pytest.warns(FlexcalcWarning, match="30 of 60 frames repeat"):
        flexcalc.train(doubled, points=20, sigma=5.0, symmetry=False, regularization=1e-6)


def test_atoms_with_results_are_data():
    frames = springs(40).to_atoms()
    fit = flexcalc.train(frames, points=20, sigma=5.0)
    expected = flexcalc.train(springs(40), points=20, sigma=5.0)
    assert fit.errors == expected.errors


def test_a_training_is_the_potential_of_a_run_that_is_kept(empty):
    """Results and sums are dataclasses like the sections of a config, but are potentials."""
    fit = flexcalc.train(springs(40), points=20, sigma=5.0, symmetry=False)
    start = springs(1)
    for name, potential in {"fit": fit, "sum": flexcalc.Sum(fit.model, fit.model)}.items():
        first, again = (
            flexcalc.md(potential, start, steps=4, output=name, progress=False) for _ in range(2)
        )
        assert first.positions.tobytes() == again.positions.tobytes()
        assert "kind =" not in (empty / name / "run.toml").read_text().split("[method]")[0]


def test_a_warning_of_several_trainings_is_said_once():
    said = []
    with training_warnings(lambda text, category: said.append((text, category))):
        for text in ("more epochs", "at the edge", "more epochs"):
            warnings.warn(text, TrainingWarning, stacklevel=1)
    assert said == [("more epochs", TrainingWarning), ("at the edge", TrainingWarning)]
