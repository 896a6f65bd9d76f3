"""Learning on several baselines: weights from the labels, one evaluation each, exact resumption."""

import json

import numpy as np
import pytest

import flexcalc as fx
from flexcalc.config.learn import Learn
from flexcalc.errors import InputError
from flexcalc.models.delta import DeltaModel
from flexcalc.potential import CheckedPotential, Evaluation, WeightedSum
from flexcalc.tasks.baseline import Baseline
from flexcalc.tasks.learn import job, loop
from flexcalc.tasks.learn.baselines import Baselines
from flexcalc.training.checkpoints import Checkpoints
from tests.systems import WATER, springs
from tests.tasks.test_learn import SHORT, water

OWN = '''
"""EMT with ripples of bond lengths that no kernel of a few labels can follow."""

import numpy as np
from ase.calculators.calculator import Calculator, all_changes
from ase.calculators.emt import EMT


class Ripples(Calculator):
    implemented_properties = ["energy", "forces"]

    def __init__(self, first=0.0, second=0.0, smooth=0.0, useless=0.0):
        super().__init__()
        self.terms = [(first, 0, 1, 61.0), (second, 0, 2, 47.0), (useless, 1, 2, 53.0)]
        self.smooth = smooth

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        energy, forces = 0.0, np.zeros((len(atoms), 3))
        if self.smooth:
            copy = atoms.copy()
            copy.calc = EMT()
            energy, forces = copy.get_potential_energy(), copy.get_forces()
        for size, a, b, wave in self.terms:
            apart = atoms.positions[b] - atoms.positions[a]
            length = np.linalg.norm(apart)
            energy += 0.02 * size * np.sin(wave * length)
            push = 0.02 * size * wave * np.cos(wave * length) * apart / length
            forces[a] += push
            forces[b] -= push
        self.results = {"energy": energy, "forces": forces}


def reference():
    return Ripples(first=0.7, second=0.5, smooth=1.0)


def first():
    return Ripples(first=1.0)


def second():
    return Ripples(second=1.0)


def useless():
    return Ripples(useless=1.0)
'''
NAMES = ("first", "useless", "second")


@pytest.fixture(scope="module")
def options(tmp_path_factory):
    """Options of a learning whose reference is a smooth part and a sum of two of the baselines."""
    own = tmp_path_factory.mktemp("own") / "own.py"
    own.write_text(OWN)
    addresses = [f"ase:{own}:{name}" for name in NAMES]
    return SHORT | {
        "reference": f"ase:{own}:reference",
        "sampler": SHORT["reference"],
        "baseline": addresses,
        "crash_test_ns": 0.0,
        "seed": 1,
        "trust": True,
    }


@pytest.fixture(scope="module")
def whole(options, tmp_path_factory):
    folder = tmp_path_factory.mktemp("learn") / "whole"
    return folder, fx.learn(water(), **options, output=folder)


def test_the_weights_of_the_sum_are_found_and_told(whole):
    """Ripples of 1 eV/angstrom next to a smooth part that a dozen labels leave 0.1 of: 0.1."""
    folder, found = whole
    rows = json.loads((folder / "baselines.json").read_text())
    assert [row["baseline"].rpartition(":")[2] for row in rows] == list(NAMES)
    weights = [row["weight"] for row in rows]
    assert weights == pytest.approx([0.7, 0.0, 0.5], abs=0.1)
    assert found.baseline == found.model.facts["baseline"]
    assert "own.py:first" in found.baseline
    assert "own.py:useless" not in found.baseline
    # Each round chose weights of its own.
    assert all(row.baseline for row in found.rounds)
    for row in found.rounds:
        own = json.loads((folder / f"round-{row.round}/baselines.json").read_text())
        assert all(f"{one['weight']:g} " in row.baseline for one in own if one["weight"])
    page = (folder / "report.html").read_text()
    assert "Weights of the baselines" in page
    assert found.rounds[-1].baseline in page


def test_the_model_folder_keeps_the_weighted_sum(whole):
    folder, found = whole
    model = fx.load(folder / "model.flex", trust=True)
    assert isinstance(model, DeltaModel)
    assert isinstance(model.baseline, WeightedSum)
    weights = [row["weight"] for row in json.loads((folder / "baselines.json").read_text())]
    assert list(model.baseline.weights) == [one for one in weights if one]
    positions = found.dataset.positions[:5]
    assert np.array_equal(model(positions).forces, found.model(positions).forces)


@pytest.mark.data
@pytest.mark.parametrize("calls", [1, 3])
def test_an_interrupted_learning_evaluates_no_baseline_twice(
    calls, options, whole, tmp_path, monkeypatch
):
    """Stopped after a chunk is kept, and again after the model of the round is trained."""
    remember, chunks = Checkpoints.save, []

    def interrupted(self, step, content, potential=None):
        remember(self, step, content, potential)
        if step.startswith("chunk-"):
            chunks.append(content[0])
            if len(chunks) == calls:
                raise KeyboardInterrupt

    fit, fitted = loop.fit_model, []

    def stopped(*given, **more):
        found = fit(*given, **more)
        fitted.append(found)
        if len(fitted) == 2:
            raise KeyboardInterrupt
        return found

    monkeypatch.setattr(Checkpoints, "save", interrupted)
    monkeypatch.setattr(loop, "fit_model", stopped)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            fx.learn(water(), **options, output=tmp_path / "run")
    found = fx.learn(water(), **options, output=tmp_path / "run")
    folder, undisturbed = whole
    for name in ("baselines.json", "rounds.json", "labels.xyz"):
        assert (tmp_path / "run" / name).read_bytes() == (folder / name).read_bytes()
    assert found.model.sha256() == undisturbed.model.sha256()
    keys = [key for chunk in chunks for key in chunk]
    assert len(keys) == len(set(keys)) == found.labels


class Counted(CheckedPotential):
    """Zero, and the number of geometries that it was asked for."""

    def __init__(self):
        self.numbers, self.asked = np.array(WATER), 0

    def evaluate(self, positions):
        self.asked += len(positions)
        return Evaluation(positions.sum(axis=(1, 2)), np.ones_like(positions))


def test_every_geometry_is_evaluated_once_and_known_after_reopening(tmp_path):
    data, potential = springs(100), Counted()
    one = Baseline(potential, "counted", {"baseline": None})
    baselines = Baselines([one], Checkpoints(tmp_path))
    (first,) = baselines.evaluated(data[:70])
    (again,) = baselines.evaluated(data[40:])
    assert potential.asked == 100
    assert np.array_equal(first.energies, data.positions[:70].sum(axis=(1, 2)))
    assert np.array_equal(first.energies[40:], again.energies[:30])
    (reopened,) = baselines.kept_in(Checkpoints(tmp_path)).evaluated(data[::-1])
    assert potential.asked == 100
    assert np.array_equal(reopened.energies, data.positions[::-1].sum(axis=(1, 2)))
    assert reopened.forces.shape == data.positions.shape


def test_a_learning_without_baseline_evaluates_none():
    assert Baselines([]).evaluated(springs(3)) == []


@pytest.mark.parametrize(
    ("reference", "given", "expected"),
    [
        ("dft:PBE-D4/def2-SVP", ("auto",), ["xtb:GFN2-xTB"]),
        ("dft:PBE-D4/def2-SVP", ("auto", "xtb:GFN1-xTB"), ["xtb:GFN2-xTB", "xtb:GFN1-xTB"]),
        ("xtb:GFN2-xTB", ("auto",), []),
        ("dft:PBE-D4/def2-SVP", ("none",), []),
    ],
)
def test_words_stand_for_baselines(reference, given, expected):
    assert job._baselines(Learn(reference=reference, starts=("",), baseline=given)) == expected


def test_one_of_several_baselines_that_cannot_be_opened_is_refused(options, tmp_path):
    wrong = [options["baseline"][0], "xtb:GFN9"]
    with pytest.raises(InputError, match="GFN9"):
        fx.learn(water(), **options | {"baseline": wrong}, output=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_none_on_the_command_line_is_no_file(options, run, tmp_path, monkeypatch):
    seen = []

    def looked_at(options):
        seen.append(options.baseline)
        raise InputError("enough")

    monkeypatch.setattr("flexcalc.tasks.learn.loop.prepared", looked_at)
    (tmp_path / "water.xyz").write_text("3\n\nO 0 0 0\nH 0.96 0 0\nH -0.24 0.93 0\n")
    words = ["learn", str(tmp_path / "water.xyz"), "--reference", "xtb:GFN2-xTB", "--baseline"]
    assert run(*words, "none", "-o", str(tmp_path / "run")) == 2
    assert list(seen[0]) == ["none"]
