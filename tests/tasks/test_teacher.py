"""Students: trained on labels of a teacher and on true ones, and honest about which are which."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import flexcalc
from flexcalc.dataset import Dataset
from flexcalc.domain import domain_of
from flexcalc.errors import ConfigError, InputError
from flexcalc.files import write
from flexcalc.geometry.fingerprint import fingerprints
from flexcalc.models.frames import use_of
from flexcalc.potential import distances_of
from flexcalc.store import FlexcalcWarning
from flexcalc.tasks import teacher as teaching
from flexcalc.tasks.retrain import recipe
from flexcalc.units import KB
from tests.systems import GEOMETRY, WATER, Springs, springs

FAST = {"sigma": 5.0, "symmetry": False, "points": 12, "validation_points": 0}


@pytest.fixture
def few(monkeypatch):
    """Dynamics and labels in numbers that take no time."""
    monkeypatch.setattr(teaching, "REPLICAS", 6)
    monkeypatch.setattr(teaching, "JUDGES_COUNT", 25)


@pytest.fixture(scope="module")
def teacher():
    """A model on a baseline that is exact but for a spring constant."""
    return flexcalc.train(
        springs(60), baseline=Springs(stiffness=20.0), points=30, validation_points=25, sigma=5.0
    )


def errors_of(model, frames):
    return np.sqrt(np.mean((model(frames.positions).forces - frames.forces) ** 2))


def test_a_student_is_as_good_as_its_teacher_without_its_baseline(few, teacher):
    """Twelve true labels alone leave about twice the error."""
    data, test = springs(12), springs(200, seed=9)
    student = flexcalc.train(data, teacher=teacher, teacher_points=200, **FAST)
    alone = flexcalc.train(data, **FAST)
    assert not isinstance(student.model, flexcalc.Sum)
    assert errors_of(student, test) < 0.6 * errors_of(alone, test)


def test_a_student_says_who_taught_it(few, teacher, tmp_path):
    data = springs(12)
    student = flexcalc.train(data, teacher=Springs(), teacher_points=30, **FAST)
    facts = student.facts
    assert facts["teacher"] == "python:Springs"
    assert "teacher_sha256" not in facts
    assert (facts["teacher_labels"], facts["training_points"]) == (30, 12)
    assert (student.teacher_labels, student.training_points) == (30, 12)
    assert facts["training_sha256"] == data.sha256()
    assert facts["level"] == data.provenance.level
    assert set(facts["errors"]) == {"training", "teacher"}
    assert student.force_rmse_kcal_mol_A is None
    assert student.teacher_force_rmse_kcal_mol_A < 0.5
    other = flexcalc.train(data, teacher=teacher, teacher_points=30, **FAST)
    assert other.facts["teacher_sha256"] == teacher.model.sha256()
    again = flexcalc.load(saved(student, tmp_path))
    assert again.facts["teacher_labels"] == 30


def saved(model, folder):
    model.save(folder / "student.flex")
    return str(folder / "student.flex")


def test_the_labels_keep_to_the_zero_of_energy_of_the_true_ones(few):
    """A teacher may have any; the student has that of the dataset."""
    data = springs(12)
    student = flexcalc.train(data, teacher=Springs(constant=77.0), teacher_points=30, **FAST)
    test = springs(50, seed=4)
    assert np.abs(student(test.positions).energies - test.energies).max() < 0.05


def test_true_labels_count_more_than_those_of_a_teacher_that_is_wrong(few):
    """By the residuals on them, with a regularization that lets labels be missed."""
    data, soft = springs(12), Springs(stiffness=25.0)
    options = {**FAST, "regularization": 1e-3, "teacher_points": 30}
    off = [
        errors_of(flexcalc.train(data, teacher=soft, label_weight=weight, **options), data)
        for weight in (100.0, 1.0, 0.01)
    ]
    assert off[0] < 0.5 * min(off[1:])


def test_frames_that_the_teacher_was_trained_on_are_no_test_of_the_student(few, teacher):
    student = flexcalc.train(springs(12), teacher=teacher, teacher_points=30, **FAST)
    data = springs(60)
    prints = fingerprints(WATER, data.positions)
    use = use_of(student.model, prints)
    assert use.training[teacher.split.train].all()
    assert (use.training | use.validation)[teacher.split.validation].all()
    with pytest.warns(FlexcalcWarning, match="training frames"):
        flexcalc.evaluate(student, data)


def test_distances_are_to_the_true_labels_and_errors_those_of_teacher_and_student(
    few, teacher, tmp_path
):
    data = springs(12)
    student = flexcalc.train(data, teacher=teacher, teacher_points=40, **FAST)
    model = student.model
    assert np.abs(distances_of(model, data.positions)).max() < 1e-3
    labelled = student.store.within(teaching.TEACHER).get(teaching.LABELS)
    assert np.median(distances_of(model, labelled.positions)) > 0.05
    domain = domain_of(model)
    assert min(domain.errors_eV_A) >= 0.9 * min(domain_of(teacher.model).errors_eV_A)
    again = flexcalc.load(saved(student, tmp_path))
    assert domain_of(again) == domain
    found, expected = (distances_of(one, labelled.positions) for one in (again, model))
    assert np.array_equal(found, expected)


def test_validation_frames_with_true_labels_calibrate_the_domain_and_are_the_errors_told(few):
    data = springs(60)
    options = {**FAST, "validation_points": 30}
    student = flexcalc.train(data, teacher=Springs(stiffness=28.0), teacher_points=30, **options)
    judged = data[student.split.validation]
    assert student.facts["domain"]["frames"] == 30
    off = errors_of(student, judged) / flexcalc.units.KCAL_MOL
    assert student.force_rmse_kcal_mol_A == pytest.approx(off, rel=1e-6)
    assert len(student.held_out) == 18


def test_labels_of_the_teacher_are_no_true_labels(few, teacher, tmp_path):
    student = flexcalc.train(springs(12), teacher=teacher, teacher_points=30, **FAST)
    labels = student.store.within(teaching.TEACHER).get(teaching.LABELS)
    write(tmp_path / "labels.xyz", labels)
    with pytest.warns(FlexcalcWarning, match="labels were made by a model"):
        flexcalc.evaluate(student, tmp_path / "labels.xyz")
    with pytest.raises(InputError, match="made by"):
        flexcalc.evaluate(teacher, tmp_path / "labels.xyz")


def test_a_student_can_be_a_network_or_learn_from_forces_alone(few):
    pytest.importorskip("torch")
    data = replace(springs(12), energies=None)
    options = {"teacher": Springs(), "teacher_points": 30, "points": 12, "validation_points": 0}
    student = flexcalc.train(data, "bpnn", epochs=30, compiled="no", **options)
    assert student.facts["teacher_labels"] == 30
    assert student.facts["errors"].keys() == {"training", "teacher"}
    student = flexcalc.train(data, sigma=5.0, **options)
    test = springs(50, seed=3)
    assert errors_of(student, test) < 0.1


def test_the_hyperparameters_are_chosen_by_labels_of_the_teacher(few):
    options = {"teacher": Springs(), "teacher_points": 30, "points": 12, "validation_points": 0}
    student = flexcalc.train(springs(12), sigmas=(2.0, 5.0), symmetry=False, **options)
    assert student.hyperparameters["sigma"] in (2.0, 5.0)
    committee = flexcalc.train(springs(12), committee=2, sigma=5.0, symmetry=False, **options)
    assert committee.facts["teacher_labels"] == 30
    assert committee(springs(3).positions).deviation is not None


def test_force_errors_choose_the_hyperparameters_unless_they_are_nearly_equal(few, monkeypatch):
    """Of nearly equal force errors, the lower energy error; errors are those of a good teacher."""
    rows = {
        2.0: {"force_rmse_kcal_mol_A": 0.60, "energy_rmse_kcal_mol": 0.1},
        5.0: {"force_rmse_kcal_mol_A": 0.55, "energy_rmse_kcal_mol": 0.3},
        9.0: {"force_rmse_kcal_mol_A": 0.555, "energy_rmse_kcal_mol": 0.2},
    }
    real = teaching.fit_best

    def scripted(*arguments):
        choice = real(*arguments)
        trials = [replace(one, errors=rows[one.family.sigma]) for one in choice.trials]
        return replace(choice, trials=trials)

    monkeypatch.setattr(teaching, "fit_best", scripted)
    options = {"teacher": Springs(), "teacher_points": 30, "points": 12, "validation_points": 0}
    student = flexcalc.train(springs(12), sigmas=tuple(rows), symmetry=False, **options)
    assert student.hyperparameters["sigma"] == 9.0


def test_larger_molecules_have_more_labels_as_long_as_their_matrix_is_not_too_large():
    ethanol, azobenzene = teaching.usual_points(9), teaching.usual_points(24)
    assert (ethanol, azobenzene) == (1000, 1440)
    counts = [teaching.usual_points(atoms) for atoms in range(2, 300)]
    assert counts[:15] == [1000] * 15
    rows = np.array([3 * atoms - 5 for atoms in range(2, 300)])
    assert (rows * counts <= teaching.ROWS).all()
    assert min(counts) >= 1


def test_a_training_that_was_interrupted_gives_the_same_student(few, tmp_path, monkeypatch):
    """Stopped in the dynamics of the teacher, in that of the first student, and in the labels."""
    monkeypatch.setattr(
        "flexcalc.methods.iterate.Checkpoint.__call__", lambda self, s: self.save(s)
    )
    data = tmp_path / "data.xyz"
    write(data, springs(12))
    flexcalc.train(springs(25), sigma=5.0, points=20, validation_points=5, symmetry=False).save(
        tmp_path / "teacher.flex"
    )
    options = {
        "teacher": str(tmp_path / "teacher.flex"),
        "teacher_points": 30,
        **FAST,
        "sigma": None,
        "sigmas": (2.0, 5.0),
    }
    whole = flexcalc.train(data, output=tmp_path / "whole", **options)
    real = teaching._Lesson._visited
    for stopped in (0, 1):

        def visited(self, potential, starts, count, number, stopped=stopped):
            found = real(self, potential, starts, count, number)
            if number == stopped:
                raise KeyboardInterrupt
            return found

        with monkeypatch.context() as patch:
            patch.setattr(teaching._Lesson, "_visited", visited)
            with pytest.raises(KeyboardInterrupt):
                flexcalc.train(data, output=tmp_path / "killed", **options)
    again = flexcalc.train(data, output=tmp_path / "killed", **options)
    positions = springs(5).positions
    assert np.array_equal(whole(positions).forces, again(positions).forces)
    assert again.hyperparameters == whole.hyperparameters
    split = json.loads((tmp_path / "killed" / "split.json").read_text())
    assert split["teacher"]["teacher_sha256"] == whole.facts["teacher_sha256"]


@pytest.mark.inputs
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"teacher_points": 5}, "there is no teacher"),
        ({"teacher": "xtb:GFN2-xTB", "baseline": "xtb:GFN1-xTB"}, "baseline: not together"),
        ({"teacher": "xtb:GFN2-xTB", "folds": 2}, "folds: not together"),
        ({"teacher": "xtb:GFN2-xTB", "refine_rounds": 2}, "refine_rounds: not together"),
        ({"teacher": "xtb:GFN2-xTB", "learning_curve": (5,)}, "learning_curve: not together"),
        ({"teacher": "xtb:GFN2-xTB", "family": "gap"}, "no weights of labels"),
        ({"teacher": "nowhere.flex"}, "nowhere.flex"),
    ],
)
def test_what_does_not_go_with_a_teacher_is_refused(options, message, tmp_path):
    place = tmp_path / "run"
    with pytest.raises((ConfigError, InputError, flexcalc.FlexcalcError), match=message):
        flexcalc.train(springs(12), points=10, output=place, **options)
    assert not place.exists()


def test_the_temperature_is_that_of_oscillators():
    """The variance of n k T / 2 in each of n oscillators; drawn ones tell it to a few percent."""
    rng, kelvin, atoms = np.random.default_rng(0), 600.0, 9
    energies = 0.5 * KB * kelvin * rng.chisquare(3 * atoms - 6, size=20000)
    assert teaching.temperature_of(energies, atoms) == pytest.approx(kelvin, rel=0.03)
    assert teaching.temperature_of(energies[:3], atoms) == teaching.USUAL_K
    assert teaching.temperature_of(np.zeros(50), atoms) == teaching.COLDEST_K


def test_a_teacher_whose_dynamics_breaks_the_molecule_is_refused(few):
    class Blast(Springs):
        def evaluate(self, positions):
            found = super().evaluate(positions)
            return replace(found, forces=1e4 * (positions - positions.mean(axis=1, keepdims=True)))

    with pytest.raises(flexcalc.FlexcalcError, match="lower teacher_temperature_K"):
        flexcalc.train(springs(12), teacher=Blast(), teacher_points=20, **FAST)


def test_a_dataset_of_equal_geometries_has_no_domain_but_a_student(few):
    frames = np.repeat(GEOMETRY[None], 12, axis=0) + 1e-3 * np.random.default_rng(0).normal(
        size=(12, 3, 3)
    )
    found = Springs()(frames)
    data = Dataset(WATER, frames, found.energies, found.forces)
    student = flexcalc.train(data, teacher=Springs(), teacher_points=30, **FAST)
    assert errors_of(student, springs(40, seed=2)) < 1.0
    assert Path(student.file).suffix == ".flex"


def test_a_network_starts_from_a_folder_that_is_named_from_where_the_run_file_lies(
    few, tmp_path, run
):
    pytest.importorskip("torch")
    write(tmp_path / "data.xyz", springs(30))
    (tmp_path / "train.toml").write_text(
        'dataset = "data.xyz"\nstart_from = "start.flex"\npoints = 20\nvalidation_points = 5\n'
        '[[family]]\nkind = "bpnn"\nepochs = 3\ncompiled = "no"\n'
    )
    words = ("--family", "bpnn", "--epochs", "3", "--compiled", "no", "--points", "20")
    start = str(tmp_path / "start.flex")
    assert run("train", str(tmp_path / "data.xyz"), *words, "-o", start) == 0
    tuned = str(tmp_path / "tuned.flex")
    assert run("train", str(tmp_path / "train.toml"), "-o", tuned) == 0
    model = flexcalc.load(tuned)
    assert model.facts["start_sha256"] == flexcalc.load(start).sha256()
    assert model.facts["hyperparameters"]["start_from"] == start
    words = ("--start-from", start, "--points", "20", "-o", str(tmp_path / "no.flex"))
    assert run("train", str(tmp_path / "data.xyz"), *words) == 2
    assert not (tmp_path / "no.flex").exists()


def test_a_student_is_not_retrained_as_if_it_had_no_teacher(few):
    student = flexcalc.train(springs(12), teacher=Springs(), teacher_points=30, **FAST)
    with pytest.raises(InputError, match="student of python:Springs"):
        recipe(student.model, "student.flex")
