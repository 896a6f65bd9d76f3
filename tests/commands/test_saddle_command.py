"""`flexcalc saddle` and the stage after a path, on HCN to HNC with GFN2-xTB."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from ase.thermochemistry import IdealGasThermo
from ase.units import invcm

import flexcalc
from flexcalc.dataset import Dataset, Provenance
from flexcalc.tasks.saddle.endpoints import misfit

NUMBERS = np.array([6, 7, 1])
MODEL = "xtb:GFN2-xTB?accuracy=0.001"


def swung(degrees):
    """HCN with its hydrogen turned about the middle of the bond; 0 is HCN, 180 HNC."""
    turn = np.radians(degrees)
    reach = 1.65 - 0.45 * np.sin(turn)
    hydrogen = [0.58 - reach * np.cos(turn), reach * np.sin(turn), 0.0]
    return np.array([[0.0, 0, 0], [1.16, 0, 0], hydrogen])


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder with both ends, a guess, a path and something that is no guess."""
    monkeypatch.chdir(tmp_path)
    for name, angles in {
        "hcn": [0.0], "hnc": [180.0], "guess": [75.0], "low": [20.0],
        "way": [0.0, 30.0, 60.0, 80.0, 100.0, 140.0, 180.0],
    }.items():  # fmt: skip
        flexcalc.write(f"{name}.xyz", Dataset(NUMBERS, np.stack([swung(a) for a in angles])))
    return tmp_path


SADDLE = ["saddle", MODEL, "guess.xyz", "hcn.xyz", "hnc.xyz"]


def test_a_guess_becomes_a_saddle_with_its_minima_and_rates(here, run):
    words = ["--temperatures-K", "300,400", "--relabel", "xtb:GFN1-xTB", "--output", "out"]
    assert run(*SADDLE, *words) == 0
    results = json.loads((here / "out/results.json").read_text())
    assert results["saddle_first_order"] is True
    assert (results["irc_start_is"], results["irc_end_is"]) == ("start", "end")
    assert results["barrier_saddle_kcal_mol"] > results["barrier_saddle_back_kcal_mol"] > 0
    points = [flexcalc.read(f"out/{name}.xyz") for name in ("minima", "saddle")]
    low, top = points[0].energies, points[1].energies[0]
    assert results["barrier_saddle_kcal_mol"] == pytest.approx((top - low[0]) * 23.0605, rel=1e-5)
    # The reference's barrier is that of its own single points at our geometries.
    other = flexcalc.load("xtb:GFN1-xTB", points[1].numbers)
    theirs = other(np.stack([points[1].positions[0], points[0].positions[0]])).energies
    expected = (top - low[0] - theirs[0] + theirs[1]) * 23.0605
    assert results["barrier_saddle_error_kcal_mol"] == pytest.approx(expected, abs=1e-3)
    way = flexcalc.read("out/irc.xyz")
    assert np.all(np.diff(way.tags["arc"]) > 0)
    assert way.energies.max() == pytest.approx(top, abs=1e-9)
    frequencies = json.loads((here / "out/vibrations.json").read_text())
    assert [len(frequencies[side]) for side in ("start", "saddle", "end")] == [4, 3, 4]
    assert (
        "Half-life of the start against" not in (here / "out/report.html").read_text()
    )  # two points are no curve


def test_the_rate_is_that_of_ases_thermochemistry(here, run):
    """k = kB T / h exp(-dG / kB T), dG from ASE with the frequencies that the run wrote."""
    assert run(*SADDLE, "--temperatures-K", "400", "--output", "out") == 0
    results = json.loads((here / "out/results.json").read_text())
    frequencies = json.loads((here / "out/vibrations.json").read_text())
    atoms = [flexcalc.read(f"out/{name}.xyz") for name in ("minima", "saddle")]
    from ase import Atoms

    energies = []
    for data, side, shape in zip(atoms, ("start", "saddle"), ("linear", "nonlinear"), strict=True):
        # ASE wants as many modes as at a minimum: a stiff one stands for the lost one, and its
        # zero-point energy is taken off again.
        stiff = 2e4 * invcm
        real = [value * invcm if value > 0 else stiff for value in frequencies[side]]
        molecule = Atoms(NUMBERS, data.positions[0])
        ideal = IdealGasThermo(
            real, shape, data.energies[0], atoms=molecule, symmetrynumber=1, spin=0
        )
        energies.append(ideal.get_gibbs_energy(400.0, 1e5, verbose=False))
    energies[1] -= stiff / 2
    height = (energies[1] - energies[0]) * 23.0605
    assert results["gibbs_activation_kcal_mol"] == pytest.approx(height, rel=1e-5)
    expected = 1.380649e-23 * 400 / 6.62607015e-34 * np.exp(-height / (1.98720426e-3 * 400))
    assert results["eyring_rate_per_s"] == pytest.approx(expected, rel=1e-3)
    assert results["half_life_s"] == pytest.approx(np.log(2) / results["rate_per_s"])


def test_a_path_goes_on_to_its_saddle(here, run):
    words = ["path", MODEL, "way.xyz", "--saddle", "--steps", "60", "--images", "7"]
    assert run(*words, "--output", "path") == 0
    assert run(*SADDLE, "--output", "out") == 0
    after, alone = (json.loads((here / f"{f}/results.json").read_text()) for f in ("path", "out"))
    assert after["saddle_first_order"] is True
    # Both are on the same stationary point: the energy is of second order in the force left.
    gap = after["barrier_saddle_kcal_mol"] - alone["barrier_saddle_kcal_mol"]
    assert abs(gap) < 1e-3
    assert after["irc_start_is"] == "start"
    assert after["irc_end_is"] == "end"
    # The path is that of the descent, or has ends as given, less than 1 kcal/mol above the minima.
    between = after["barrier_saddle_kcal_mol"] - after["barrier_model_kcal_mol"]
    assert -1e-9 < between < 1


@pytest.mark.physics
def test_a_run_that_was_cut_off_gives_the_same_bytes(here, run):
    """Cut after the saddle, and half way down: checkpoints and what follows are the same."""
    assert run(*SADDLE, "--output", "whole") == 0
    shutil.copytree("whole", "cut")
    for name in ("results.json", "rates.csv", "irc.xyz", "minima.xyz", "start.hessian"):
        (here / "cut" / name).unlink()
    (here / "cut/irc.checkpoint").unlink()
    assert run(*SADDLE, "--output", "cut") == 0
    for name in ("saddle.xyz", "irc.xyz", "minima.xyz", "rates.csv", "saddle.csv"):
        assert (here / "whole" / name).read_bytes() == (here / "cut" / name).read_bytes(), name


def test_a_search_that_ends_too_early_is_no_saddle(here, run, capsys):
    assert run(*SADDLE[:2], "low.xyz", "--steps", "1", "--output", "out") == 0
    results = json.loads((here / "out/results.json").read_text())
    assert results["saddle_converged"] is False
    assert results["saddle_first_order"] is False
    assert "half_life_s" not in results
    assert "NO SADDLE: not converged" in capsys.readouterr().out
    assert "no saddle" in (here / "out/report.html").read_text()


@pytest.mark.inputs
def test_an_end_of_another_molecule_is_refused(here, run, capsys):
    flexcalc.write("oh.xyz", Dataset(np.array([8, 1]), np.array([[[0.0, 0, 0], [1.0, 0, 0]]])))
    assert run(*SADDLE[:3], "oh.xyz", "--output", "out") == 2
    assert "oh.xyz: expected the molecule CHN, got HO" in capsys.readouterr().err
    assert not (here / "out").exists()


def test_a_relabelled_turned_molecule_fits_itself():
    from ase.build import molecule
    from scipy.spatial.transform import Rotation

    rng = np.random.default_rng(5)
    methane = molecule("CH4")
    turned = methane.positions[[0, 3, 1, 2, 4]] @ Rotation.random(rng=rng).as_matrix() + 1.0
    assert misfit(methane.numbers, turned, methane.positions) < 1e-6


# ---------------------------------------------------------------- refinement of the model


@pytest.fixture
def gap(here):
    """A model of frames from both sides of the barrier, none from its top."""
    rng = np.random.default_rng(2)
    angles = [*np.linspace(0, 55, 15), *np.linspace(115, 180, 15)]
    positions = np.stack([swung(a) for a in angles]) + rng.normal(scale=0.03, size=(30, 3, 3))
    labels = flexcalc.load("xtb:GFN2-xTB", NUMBERS)(positions)
    level = Provenance("xtb:GFN2-xTB")
    data = Dataset(NUMBERS, positions, labels.energies, labels.forces, {}, level)
    flexcalc.write("labels.xyz", data)
    flexcalc.train(data, points=30, sigma=5.0, symmetry=False).save(here / "gap.flex")
    return here


REFINED = [
    *["path", "gap.flex", "way.xyz", "--relabel", "xtb:GFN2-xTB", "--dataset", "labels.xyz"],
    *["--steps", "60", "--refine", "4", "--barrier-tolerance-kcal-mol", "0.2"],
]


def test_the_worst_images_are_trained_on_until_the_barrier_holds(gap, run):
    assert run(*REFINED, "--saddle", "--output", "out") == 0
    results = json.loads((gap / "out/results.json").read_text())
    rows = json.loads((gap / "out/rounds.json").read_text())
    assert abs(rows[0]["barrier_saddle_error_kcal_mol"]) > 0.2
    assert results["barrier_holds"] is True
    assert abs(results["barrier_saddle_error_kcal_mol"]) < 0.2
    assert 1 <= results["rounds"] == len(rows) - 1 <= 4
    # Three images, and saddle and both minima where they were found.
    added = np.diff([row["training_points"] for row in rows])
    assert set(added) <= {3, 6}
    last = gap / "out" / f"round-{results['rounds']}"
    assert (gap / "out/path.xyz").read_bytes() == (last / "path.xyz").read_bytes()
    assert len(flexcalc.read(last / "training.xyz")) == rows[-1]["training_points"]
    # The model of the last round is the one whose energies the path has.
    path = flexcalc.read(last / "path.xyz")
    model = flexcalc.load(str(last / "model.flex"))
    assert model(path.positions).energies == pytest.approx(path.energies, abs=1e-9)


@pytest.mark.parametrize("made", [{"committee": 2}, {"baseline": "xtb:GFN1-xTB"}])
def test_a_committee_and_a_model_on_a_baseline_are_trained_anew_as_what_they_are(gap, run, made):
    data = flexcalc.read("labels.xyz")
    first = flexcalc.train(
        data, points=24, validation_points=6, sigma=5.0, symmetry=False, **made
    ).model
    shutil.rmtree("gap.flex")
    first.save(gap / "gap.flex")
    once = [*REFINED, "--barrier-tolerance-kcal-mol", "1e-9", "--refine", "1"]
    assert run(*once, "--output", "out") == 0
    before, after = (json.loads((gap / "out/rounds.json").read_text())[k] for k in (0, 1))
    assert abs(after["barrier_error_kcal_mol"]) < abs(before["barrier_error_kcal_mol"])
    again = flexcalc.load(str(gap / "out/round-1/model.flex"))
    assert type(again) is type(first)
    points = [model.facts["training_points"] for model in (first, again)]
    assert points[0] < points[1] == after["training_points"]


@pytest.mark.data
def test_a_refinement_that_was_cut_off_goes_on_in_its_round(gap, run):
    short = [*REFINED, "--barrier-tolerance-kcal-mol", "1e-9", "--refine", "2"]
    assert run(*short, "--output", "whole") == 0
    shutil.copytree("whole", "cut")
    rows = json.loads((gap / "cut/rounds.json").read_text())
    (gap / "cut/rounds.json").write_text(json.dumps(rows[:2]))
    (gap / "cut/results.json").unlink()
    (gap / "cut/round-2/path.xyz").unlink()
    assert run(*short, "--output", "cut") == 0
    assert json.loads((gap / "cut/rounds.json").read_text()) == rows
    assert (gap / "cut/path.xyz").read_bytes() == (gap / "whole/path.xyz").read_bytes()
    assert json.loads((gap / "whole/results.json").read_text())["barrier_holds"] is False


@pytest.mark.inputs
@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["path", MODEL, "way.xyz", "--refine", "1"], "expected dataset and relabel"),
        (
            ["path", MODEL, "way.xyz", "--refine", "1", "--dataset", "way.xyz", "--relabel", MODEL],
            "cannot be retrained",
        ),
        ([*REFINED, "--relabel", "xtb:GFN1-xTB"], "labelled by xtb:GFN2-xTB, not by relabel"),
        ([*REFINED, "--dataset", "way.xyz"], "way.xyz"),
    ],
)
def test_a_refinement_that_cannot_be_is_refused(gap, words, complaint, capsys, run):
    capsys.readouterr()
    assert run(*words, "--output", "out") == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert complaint in lines[0]
    assert not (gap / "out").exists()


UMBRELLA = """
import numpy as np
from ase.calculators.calculator import Calculator, all_changes


class Springs(Calculator):
    implemented_properties = ["energy", "forces"]

    def calculate(self, atoms=None, properties=None, system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        places, energy, forces = atoms.positions, 0.0, np.zeros((4, 3))
        for i, j in ((0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)):
            stiffness, rest = (20.0, 1.0) if i == 0 else (3.0, 1.6)
            apart = places[i] - places[j]
            length = np.linalg.norm(apart)
            energy += 0.5 * stiffness * (length - rest) ** 2
            pull = -stiffness * (length - rest) * apart / length
            forces[i] += pull
            forces[j] -= pull
        self.results = {"energy": energy, "forces": forces}
"""


@pytest.fixture
def pyramids(tmp_path, monkeypatch):
    """A folder with an inverting pyramid on springs: both ends, and flat.xyz in between."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "springs.py").write_text(UMBRELLA)
    turn, radius = np.radians([0, 120, 240]), 1.6 / np.sqrt(3)
    ring = radius * np.stack([np.cos(turn), np.sin(turn), 0 * turn], axis=1)
    height = np.sqrt(1 - radius**2)
    for name, high in (("up", height), ("down", -height), ("flat", 0.01)):
        atoms = np.vstack([[0, 0, high], ring])
        flexcalc.write(f"{name}.xyz", Dataset(np.array([7, 1, 1, 1]), atoms[None]))
    return tmp_path


def flat_barrier():
    """Lowest energy of the planar triangle in kcal/mol, see test_path_search.py."""
    k1, k2, h = 20.0, 3.0, 1.6
    x = (k1 + np.sqrt(3) * k2 * h) / (k1 + 3 * k2)
    return (1.5 * k1 * (x - 1) ** 2 + 1.5 * k2 * (np.sqrt(3) * x - h) ** 2) * 23.0605


@pytest.mark.parametrize("words", [["path", "--saddle", "--images", "7"], ["saddle"]])
def test_a_degenerate_rearrangement_is_named_and_has_its_barrier(pyramids, run, capsys, words):
    ends = ["up.xyz", "down.xyz"] if words[0] == "path" else ["flat.xyz", "up.xyz", "down.xyz"]
    assert run(words[0], "ase:springs.py:Springs", *ends, *words[1:], "--output", "out") == 0
    results = json.loads((pyramids / "out/results.json").read_text())
    assert results["degenerate"] is True
    assert (results["irc_start_is"], results["irc_end_is"]) == ("start", "end")
    for key in ("barrier_saddle_kcal_mol", "barrier_saddle_back_kcal_mol"):
        assert results[key] == pytest.approx(flat_barrier(), abs=1e-3)
    assert "a degenerate rearrangement" in capsys.readouterr().out
    assert "a degenerate rearrangement" in (pyramids / "out/log.txt").read_text()


@pytest.mark.inputs
def test_a_path_from_a_minimum_to_itself_is_refused(pyramids, run, capsys):
    words = ["path", "ase:springs.py:Springs", "up.xyz", "up.xyz", "--output", "out"]
    assert run(*words) == 2
    said = capsys.readouterr().err
    assert "is the geometry of the start" in said
    assert said.count("\n") == 1
    assert not (pyramids / "out").exists()


def test_ends_that_are_two_minima_are_not_called_degenerate(here, run):
    assert run(*SADDLE, "--output", "out") == 0
    assert json.loads((here / "out/results.json").read_text())["degenerate"] is False


def test_a_saddle_far_from_its_guess_is_warned_of(here, run, monkeypatch, capsys):
    assert run(*SADDLE, "--output", "near") == 0
    assert "from the guess" not in capsys.readouterr().out
    monkeypatch.setattr("flexcalc.analysis.plausibility.FAR_A", 0.01)
    assert run(*SADDLE, "--output", "far") == 0
    assert "warning: the search ended 0." in capsys.readouterr().out
