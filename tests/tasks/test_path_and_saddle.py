"""`flexcalc.path` and `flexcalc.saddle`: objects in, typed results out, in memory or on disk."""

from __future__ import annotations

import doctest
import importlib
import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes

import flexcalc as fx
from flexcalc.config import options
from flexcalc.dataset import Dataset, Provenance
from flexcalc.errors import ConfigError, InputError, LabelError
from flexcalc.potential import CheckedPotential, Evaluation
from flexcalc.results.path import Path as PathResult
from flexcalc.results.saddle import Saddle
from flexcalc.store import Store
from tests.systems import Failing

NUMBERS = np.array([7, 1, 1, 1])
SOURCE = Path(__file__)
ADDRESS = f"ase:{SOURCE}:Springs"
REFERENCE = f"ase:{SOURCE}:Springs?stiffer=1.1"


class Springs(Calculator):
    """An inverting pyramid: springs between all four atoms."""

    implemented_properties = ("energy", "forces")

    def __init__(self, stiffer=1.0):
        super().__init__()
        self.stiffer = float(stiffer)

    def calculate(self, atoms=None, properties=None, system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        positions, energy, forces = atoms.positions, 0.0, np.zeros((4, 3))
        for i, j in ((0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)):
            stiffness, rest = (20.0 * self.stiffer, 1.0) if i == 0 else (3.0, 1.6)
            apart = positions[i] - positions[j]
            length = np.linalg.norm(apart)
            energy += 0.5 * stiffness * (length - rest) ** 2
            pull = -stiffness * (length - rest) * apart / length
            forces[i] += pull
            forces[j] -= pull
        self.results = {"energy": energy, "forces": forces}


def pyramid(height):
    radius, turn = 1.6 / np.sqrt(3), np.radians([0, 120, 240])
    ring = radius * np.stack([np.cos(turn), np.sin(turn), 0 * turn], axis=1)
    return Atoms(NUMBERS, np.vstack([[0, 0, height], ring]))


HEIGHT = np.sqrt(1 - 1.6**2 / 3)
UP, DOWN, FLAT = pyramid(HEIGHT), pyramid(-HEIGHT), pyramid(0.01)


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty folder to work in."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def inversion():
    """A path in memory with all that can be asked about it."""
    options = {"relabel": REFERENCE, "equivalents": True, "saddle": True, "progress": False}
    return fx.path(ADDRESS, UP, DOWN, method=fx.NEB(images=7), **options)


def figures(folder):
    """What results.json holds but the name of the command and its time."""
    found = json.loads((folder / "results.json").read_text())
    return {key: value for key, value in found.items() if key not in ("command", "seconds")}


# ---------------------------------------------------------------- paths


def test_a_path_in_memory_has_the_figures_of_the_command_line(here, run, inversion):
    for name, atoms in (("up", UP), ("down", DOWN)):
        fx.write(f"{name}.xyz", Dataset.from_atoms([atoms]))
    words = ["--saddle", "--equivalents", "--images", "7", "--relabel", REFERENCE, "-o", "out"]
    assert run("path", ADDRESS, "up.xyz", "down.xyz", *words) == 0
    assert inversion.to_dict() == figures(here / "out")
    ours, theirs = inversion.to_dataset(), fx.read("out/path.xyz")
    assert np.array_equal(ours.positions, theirs.positions)
    assert np.array_equal(ours.energies, theirs.energies)


def test_a_path_in_memory_writes_nothing(here):
    found = fx.path(Springs(), UP, DOWN, images=5, saddle=True, progress=False)
    assert found.saddle.first_order
    assert os.listdir(here) == []


def test_a_path_has_its_images_with_energies_and_forces(inversion):
    assert len(inversion.images) == inversion.image_count == 7
    energies = [atoms.get_potential_energy() for atoms in inversion.images]
    assert inversion.energies == pytest.approx(energies, abs=0)
    assert inversion.images[3].get_forces().shape == (4, 3)
    height = (max(energies) - energies[0]) * 23.0605
    assert inversion.barrier_kcal_mol == pytest.approx(height, rel=1e-5)
    assert inversion.degenerate
    assert inversion.converged
    assert inversion.advice is None
    assert "barrier" in repr(inversion)


def test_errors_and_equivalents_of_a_path(inversion):
    errors = inversion.profile_error_kcal_mol
    assert np.abs(errors).max() == pytest.approx(inversion.profile_max_error_kcal_mol)
    assert np.abs(errors).argmax() == inversion.worst_image
    assert len(inversion.equivalents) == 7 * inversion.equivalent_paths
    assert inversion.rounds == ()
    assert inversion.retrained is None


def test_objects_and_addresses_give_the_same_figures(inversion):
    given = fx.path(
        Springs(),
        Dataset.from_atoms([UP]),
        [DOWN],
        images=7,
        relabel=Springs(1.1),
        equivalents=True,
        saddle=True,
        progress=False,
    )
    assert given.model == "python:Springs"
    assert given.relabelled.provenance.level == "python:Springs"
    assert given.to_dict() | {"model": ADDRESS} == inversion.to_dict()


def test_methods_are_objects_names_or_options_of_their_own():
    one = fx.path(Springs(), UP, DOWN, method=fx.String(images=5), progress=False)
    other = fx.path(Springs(), UP, DOWN, method="string", images=5, progress=False)
    assert one.method == "string"
    assert one.to_dict() == other.to_dict()


def test_a_path_in_a_folder_is_resumed(here):
    words = {"images": 7, "interpolation": "linear", "force_tolerance_eV_A": 1e-6}
    straight = fx.path(ADDRESS, UP, pyramid(-0.5), output="whole", progress=False, **words)
    assert straight.steps > 2
    first = fx.path(ADDRESS, UP, pyramid(-0.5), output="cut", steps=2, progress=False, **words)
    assert not first.converged
    assert "try more --steps" in first.advice
    again = fx.path(ADDRESS, UP, pyramid(-0.5), output="cut", progress=False, **words)
    assert again.to_dict() == straight.to_dict()
    for name in ("path.xyz", "convergence.csv"):
        assert (here / "cut" / name).read_bytes() == (here / "whole" / name).read_bytes()
    complete = fx.path(ADDRESS, UP, pyramid(-0.5), output="cut", progress=False, **words)
    assert complete.to_dict() == again.to_dict()
    assert len(complete.images) == 7


def test_results_with_a_saddle_are_read_back(here):
    symmetry = {"symmetry_start": 3, "symmetry_end": 3}
    asked = {"saddle": True, "images": 5, "progress": False, "output": "out", **symmetry}
    made = fx.path(ADDRESS, UP, DOWN, **asked)
    found = fx.path(ADDRESS, UP, DOWN, **asked)
    assert found.to_dict() == made.to_dict() == figures(here / "out")
    assert found.saddle.rates(350.0).to_dict() == made.saddle.rates(350.0).to_dict()
    plain = PathResult.from_dict(made.to_dict(), Store())
    assert plain.saddle.barrier_kcal_mol == made.saddle.barrier_kcal_mol
    assert plain.saddle.first_rates.half_life_s == made.saddle.first_rates.half_life_s


@pytest.mark.inputs
def test_what_is_no_path_is_refused(here):
    with pytest.raises(InputError, match="is the geometry of the start"):
        fx.path(Springs(), UP, UP, output="out", progress=False)
    with pytest.raises(InputError, match=r"ase\.Atoms: expected the molecule H3N, got HO"):
        fx.path(Springs(), UP, Atoms("OH", [[0, 0, 0], [1, 0, 0]]), output="out", progress=False)
    with pytest.raises(InputError, match="are no path; name an end"):
        fx.path(Springs(), UP, output="out", progress=False)
    with pytest.raises(ConfigError, match="did you mean images"):
        fx.path(Springs(), UP, DOWN, image=5)
    assert os.listdir(here) == []


# ---------------------------------------------------------------- left early


def test_a_path_that_is_left_for_its_saddle_is_the_path_of_its_descent(inversion):
    """The converged band has the same barrier; its images are on the way down from the saddle."""
    settled = fx.path(
        Springs(), UP, DOWN, images=7, force_tolerance_eV_A=1e-3, follow=False, saddle=True,
        progress=False,
    )  # fmt: skip
    assert inversion.left_for_saddle
    assert not settled.left_for_saddle
    assert inversion.barrier_kcal_mol == pytest.approx(settled.barrier_kcal_mol, abs=1e-3)
    saddle = inversion.saddle.atoms.get_potential_energy()
    assert inversion.energies.max() == pytest.approx(saddle, abs=1e-9)
    assert inversion.energies[[0, -1]] == pytest.approx(0.0, abs=1e-4)
    steps = np.diff(inversion.to_dataset().tags["coordinate"])
    assert steps == pytest.approx(steps.mean(), rel=0.05)


def test_evaluations_are_counted_by_phase():
    surface = Springs()
    found = fx.path(surface, UP, DOWN, images=5, saddle=True, progress=False)
    parts = (found.evaluations, found.saddle.evaluations)
    assert found.evaluations.ends >= 2
    assert found.saddle.evaluations.hessians == 3 * 6 * 4
    assert found.evaluations.total == found.evaluations.ends + found.evaluations.band
    total = sum(part.total for part in parts)
    assert f"{total} evaluations (ends" in found.summary()
    again = PathResult.from_dict(found.to_dict(), Store())
    assert again.evaluations.to_dict() == found.evaluations.to_dict()
    assert again.saddle.evaluations.to_dict() == found.saddle.evaluations.to_dict()


class CountedSprings(CheckedPotential):
    """The same surface, which counts the geometries that it is asked for."""

    def __init__(self, stiffer=1.0):
        self.numbers, self.geometries = NUMBERS, 0
        self.springs = fx.load(Springs(stiffer), UP)

    def evaluate(self, positions):
        self.geometries += len(positions)
        return self.springs(positions)


@pytest.mark.parametrize("follow", [True, False])
def test_every_evaluation_is_counted(follow):
    surface, reference = CountedSprings(), CountedSprings(1.1)
    asked = {"images": 5, "saddle": True, "follow": follow, "equivalents": True}
    found = fx.path(surface, UP, DOWN, relabel=reference, progress=False, **asked)
    parts = (found.evaluations, found.saddle.evaluations)
    assert sum(part.total for part in parts) == surface.geometries
    assert sum(part.reference for part in parts) == reference.geometries == 5 + 3


def test_a_saddle_that_does_not_join_the_ends_sends_the_search_back_to_the_path(here, monkeypatch):
    monkeypatch.setattr("flexcalc.tasks.saddle.endpoints.SAME_A", 1e-9)
    asked = {"images": 5, "saddle": True, "progress": False}
    found = fx.path(ADDRESS, UP, DOWN, output="early", **asked)
    plain = fx.path(ADDRESS, UP, DOWN, follow=False, output="plain", **asked)
    assert "the search of the path goes on" in (here / "early" / "log.txt").read_text()
    assert not found.left_for_saddle
    assert found.converged
    assert found.steps == plain.steps
    assert found.barrier_kcal_mol == pytest.approx(plain.barrier_kcal_mol, abs=1e-9)
    assert found.evaluations.band == plain.evaluations.band
    for name in ("path.xyz", "convergence.csv"):
        assert (here / "early" / name).read_bytes() == (here / "plain" / name).read_bytes()


def test_an_early_saddle_that_fails_sends_the_search_back_to_the_path(here, monkeypatch):
    """The saddle of the converged path is found all the same."""
    import flexcalc.tasks.path.saddle as stage

    calls, find = [], stage.find_saddle

    def find_second(job, store):
        calls.append(job)
        job.counting("search")(job.guess.positions[None])
        return find(job, store)

    def fail_first(job, store, followed):
        calls.append(job)
        raise LabelError("not converged")

    monkeypatch.setattr(stage, "find_saddle", find_second)
    monkeypatch.setattr(stage, "saddle_of", fail_first)
    asked = {"images": 5, "saddle": True, "progress": False}
    found = fx.path(ADDRESS, UP, DOWN, output="early", **asked)
    assert "no saddle is found, not converged" in (here / "early" / "log.txt").read_text()
    assert len(calls) == 2
    assert found.converged
    assert not found.left_for_saddle
    assert found.saddle.first_order
    # What the early attempt has cost is counted with the path.
    early = json.loads((here / "early" / "early.json").read_text())
    assert early["evaluations_search"] > 1
    assert early["evaluations_hessians"] == 6 * len(NUMBERS)
    assert found.evaluations.search == early["evaluations_search"]
    assert found.all_evaluations.search == early["evaluations_search"] + 1
    assert found.saddle.evaluations.search == 1


ADAPTIVE = {"images": 11, "saddle": True, "relax_ends": False, "progress": False}


def test_an_adaptive_path_needs_fewer_evaluations_for_the_same_saddle():
    few = fx.path(ADDRESS, UP, DOWN, **ADAPTIVE)
    every = fx.path(ADDRESS, UP, DOWN, adaptive=False, **ADAPTIVE)
    assert few.left_for_saddle
    assert few.image_count == every.image_count == 11
    assert few.evaluations.band < every.evaluations.band
    assert few.saddle.barrier_kcal_mol == pytest.approx(every.saddle.barrier_kcal_mol, abs=1e-3)


def lose(monkeypatch, times):
    """Lose the direction of a path some times."""
    import flexcalc.tasks.path.saddle as stage

    follow, calls = stage.follow_top, []

    def lost(job, store, steps):
        calls.append(steps)
        found = follow(job, store, steps)
        return None if len(calls) <= times else found

    monkeypatch.setattr(stage, "follow_top", lost)


def test_a_path_whose_direction_is_lost_gets_more_images(here, monkeypatch):
    lose(monkeypatch, 1)
    surface = CountedSprings()
    found = fx.path(surface, UP, DOWN, output="out", **ADAPTIVE)
    assert found.left_for_saddle
    assert found.saddle.first_order
    rows = json.loads((here / "out/attempts.json").read_text())
    assert [row["images"] for row in rows] == [7]
    assert found.all_evaluations.total == surface.geometries
    log = (here / "out/log.txt").read_text()
    for count in (5, 7):
        assert f"with {count} images and a force" in log


def test_an_adaptive_path_that_was_cut_off_gives_the_same_bytes(here, monkeypatch):
    """Cut in the second attempt, when the band has more images."""
    lose(monkeypatch, 1)
    made = fx.path(ADDRESS, UP, DOWN, output="out", **ADAPTIVE)
    shutil.copytree("out", "cut")
    for name in ("results.json", "path.xyz", "irc.xyz", "irc.checkpoint", "minima.xyz"):
        os.remove(f"cut/{name}")
    lose(monkeypatch, 0)
    again = fx.path(ADDRESS, UP, DOWN, output="cut", **ADAPTIVE)
    assert again.to_dict() == made.to_dict()
    for name in ("path.xyz", "irc.xyz", "convergence.csv", "attempts.json"):
        assert (here / "out" / name).read_bytes() == (here / "cut" / name).read_bytes(), name


@pytest.mark.parametrize("times", [0, 2])
def test_an_adaptive_path_without_its_saddle_begins_again_with_all_images(here, monkeypatch, times):
    """Its saddle does not join the ends, or the direction is lost twice."""
    if times:
        lose(monkeypatch, times)
    else:
        monkeypatch.setattr("flexcalc.tasks.saddle.endpoints.SAME_A", 1e-9)
    every = fx.path(ADDRESS, UP, DOWN, adaptive=False, **ADAPTIVE)
    if times:
        lose(monkeypatch, times)
    surface = CountedSprings()
    found = fx.path(surface, UP, DOWN, output="out", **ADAPTIVE)
    assert "begins again with all images" in (here / "out/log.txt").read_text()
    assert found.image_count == 11
    assert found.all_evaluations.total == surface.geometries
    assert found.all_evaluations.total > every.all_evaluations.total
    if not times:
        assert found.converged
        assert found.steps == every.steps
        assert np.array_equal(found.energies, every.energies)
    shutil.copytree("out", "cut")
    for name in ("results.json", "path.xyz", "saddle.xyz", "irc.checkpoint"):
        os.remove(f"cut/{name}")
    again = fx.path(surface, UP, DOWN, output="cut", **ADAPTIVE)
    assert again.to_dict() == found.to_dict()
    assert (here / "out/path.xyz").read_bytes() == (here / "cut/path.xyz").read_bytes()


def test_a_search_that_fails_with_few_images_begins_again_with_all(here):
    """A step of the band with 5 images fails, however short it is."""
    counted = CountedSprings()
    found = fx.path(Failing(counted, 2, 3, 4, 5), UP, DOWN, output="out", **ADAPTIVE)
    every = fx.path(Springs(), UP, DOWN, adaptive=False, **ADAPTIVE)
    assert "begins again with all images" in (here / "out/log.txt").read_text()
    assert found.left_for_saddle
    assert found.steps == every.steps
    assert found.barrier_kcal_mol == pytest.approx(every.barrier_kcal_mol, abs=1e-9)
    assert found.evaluations.band == every.evaluations.band + 5
    assert found.all_evaluations.total == counted.geometries
    os.remove("out/results.json")
    again = fx.path(Failing(counted), UP, DOWN, output="out", **ADAPTIVE)
    assert again.to_dict() == found.to_dict()


def test_a_search_that_does_not_settle_with_few_images_begins_again_with_all(here, monkeypatch):
    monkeypatch.setattr("flexcalc.tasks.path.saddle.FEW_PATH_STEPS", 1)
    ends = UP, pyramid(-0.6)
    found = fx.path(ADDRESS, *ends, output="out", follow_below_eV_A=0.05, **ADAPTIVE)
    every = fx.path(ADDRESS, *ends, follow_below_eV_A=0.05, adaptive=False, **ADAPTIVE)
    assert "has not settled in 1 steps: the search begins" in (here / "out/log.txt").read_text()
    assert found.steps == every.steps
    assert found.barrier_kcal_mol == every.barrier_kcal_mol


def test_a_path_whose_descent_cannot_be_evaluated_is_kept_as_it_was_left(here, monkeypatch):
    def failing(job, saddle, ends):
        raise LabelError("not converged")

    monkeypatch.setattr("flexcalc.tasks.path.saddle.path_of_descent", failing)
    found = fx.path(ADDRESS, UP, DOWN, images=5, saddle=True, output="left", progress=False)
    assert "kept as it was left" in (here / "left" / "log.txt").read_text()
    assert found.left_for_saddle
    assert found.saddle.first_order
    assert len(found.energies) == 5


# ---------------------------------------------------------------- saddles


def test_a_path_goes_on_to_its_saddle(inversion):
    top = fx.saddle(ADDRESS, inversion, progress=False)
    assert top.first_order
    assert top.imaginary_frequency_cm < 0
    assert top.barrier_kcal_mol == pytest.approx(inversion.saddle.barrier_kcal_mol, abs=1e-4)
    assert np.abs(top.mode).max() == pytest.approx(1.0, abs=1e-2)
    assert np.linalg.norm(top.mode, axis=1).max() == pytest.approx(1.0, rel=1e-9)
    assert [len(top.frequencies_cm[side]) for side in ("start", "saddle", "end")] == [6, 6, 6]
    assert (np.diff(top.irc.tags["arc"]) > 0).all()
    below = [top.atoms.get_potential_energy() - a.get_potential_energy() for a in top.minima]
    assert np.array(below) * 23.0605 == pytest.approx([top.barrier_kcal_mol] * 2, rel=1e-4)


def test_a_saddle_in_memory_has_the_figures_of_the_command_line(here, run):
    for name, atoms in (("up", UP), ("down", DOWN), ("flat", FLAT)):
        fx.write(f"{name}.xyz", Dataset.from_atoms([atoms]))
    words = ["flat.xyz", "up.xyz", "down.xyz", "--temperatures-K", "300,400", "-o", "out"]
    assert run("saddle", ADDRESS, *words) == 0
    top = fx.saddle(ADDRESS, FLAT, UP, DOWN, temperatures_K=(300.0, 400.0), progress=False)
    assert top.to_dict() == figures(here / "out")
    assert (top.irc_start_is, top.irc_end_is) == ("start", "end")
    columns = (here / "out/rates.csv").read_text().splitlines()[0].split(",")
    assert set(columns) == set(top.first_rates.to_dict())


@pytest.mark.physics
@pytest.mark.parametrize("low_modes", ["harmonic", "quasi-rrho"])
def test_rates_at_any_temperature_are_those_of_a_run_at_it(low_modes):
    asked = {"symmetry_start": 3, "low_modes": low_modes, "progress": False}
    top = fx.saddle(Springs(), FLAT, UP, DOWN, temperatures_K=(250.0, 500.0), **asked)
    other = fx.saddle(Springs(), FLAT, UP, DOWN, temperatures_K=(500.0,), **asked)
    ours, theirs = top.rates(500.0).to_dict(), other.first_rates.to_dict()
    assert ours.keys() == theirs.keys()
    for key, value in theirs.items():
        # Energies of one geometry may differ in the last digit between batches.
        assert ours[key] == pytest.approx(value, rel=1e-9), key
    assert top.rates(250.0).half_life_s == pytest.approx(top.first_rates.half_life_s, rel=1e-9)
    expected = np.log(2) / top.rates(500.0).rate_per_s
    assert top.rates(500.0).half_life_s == pytest.approx(expected, rel=1e-12)


def test_isotopes_slow_the_inversion_in_rates_too():
    heavy = [atoms.copy() for atoms in (FLAT, UP, DOWN)]
    for atoms in heavy:
        atoms.set_masses([14.007, 2.014, 2.014, 2.014])
    light = fx.saddle(Springs(), FLAT, UP, DOWN, progress=False)
    slow = fx.saddle(Springs(), *heavy, progress=False)
    assert slow.isotopes == "H 1, 2, 3: 2.014 amu"
    assert slow.rates(200.0).wigner_factor < light.rates(200.0).wigner_factor
    assert slow.rates(slow.first_rates.temperature_K).half_life_s == pytest.approx(
        slow.first_rates.half_life_s, rel=1e-9
    )


def test_where_there_is_no_saddle_there_are_no_rates():
    low = fx.saddle(Springs(), pyramid(0.3), steps=1, progress=False)
    assert not low.first_order
    assert low.first_rates is None
    assert low.minima == []
    assert low.mode is None
    assert low.irc is None
    with pytest.raises(InputError, match="no rates: no saddle of first order"):
        low.rates(300.0)


def test_distances_from_minima_that_were_not_given_are_null_in_results():
    top = fx.saddle(Springs(), FLAT, progress=False)
    assert top.to_dict()["irc_start_rmsd_A"] is None
    again = Saddle.from_dict(top.to_dict(), Store())
    assert again.irc_start_rmsd_A is None
    assert again.to_dict() == top.to_dict()


# ---------------------------------------------------------------- refinement


@pytest.fixture(scope="module")
def shelf(tmp_path_factory):
    """A model of pyramids, none of them nearly flat, its frames and a rough first path."""
    folder = tmp_path_factory.mktemp("pyramids")
    rng = np.random.default_rng(1)
    heights = HEIGHT * np.concatenate([np.linspace(-1.1, -0.6, 12), np.linspace(0.6, 1.1, 12)])
    positions = np.stack([pyramid(height).positions for height in heights])
    positions += rng.normal(scale=0.03, size=positions.shape)
    labels = fx.load(ADDRESS, NUMBERS)(positions)
    level = Provenance(ADDRESS)
    data = Dataset(NUMBERS, positions, labels.energies, labels.forces, {}, level)
    fx.train(data, points=24, sigma=5.0, symmetry=False).save(folder / "gap.flex")
    fx.write(folder / "labels.xyz", data)
    return folder


def test_a_refinement_in_memory_is_that_of_a_folder(shelf, here):
    way = [pyramid(height) for height in np.linspace(HEIGHT, -HEIGHT, 7)]
    asked = {
        "relabel": ADDRESS,
        "dataset": shelf / "labels.xyz",
        "refine": 2,
        "barrier_tolerance_kcal_mol": 1e-9,
        "steps": 40,
        "progress": False,
    }
    memory = fx.path(str(shelf / "gap.flex"), way, **asked)
    assert os.listdir(here) == []
    folder = fx.path(str(shelf / "gap.flex"), way, output="out", **asked)
    assert memory.to_dict() == folder.to_dict() == figures(here / "out")
    assert memory.round_count == len(memory.rounds) - 1 == 2
    assert [one.training_points for one in memory.rounds] == [24, 27, 30]
    assert abs(memory.barrier_error_kcal_mol) < abs(memory.rounds[0].barrier_error_kcal_mol)
    for found in (memory, folder):
        assert found.barrier_holds is False
        assert np.array_equal(found.energies, found.rounds[-1].energies)
        path = found.to_dataset()
        again = found.retrained(path.positions)
        assert again.energies == pytest.approx(path.energies, abs=1e-9)


# ---------------------------------------------------------------- documentation


@pytest.mark.parametrize("name", ["path", "saddle"])
def test_the_example_of_its_documentation_runs(name, here):
    function = getattr(fx, name)
    example = doctest.DocTestParser().get_doctest(function.__doc__, {}, name, None, None)
    assert example.examples
    assert doctest.DocTestRunner(verbose=False).run(example).failed == 0
    assert "output:" in function.__doc__
    assert "Returns:" in function.__doc__


@pytest.mark.parametrize(
    "name",
    [
        *("NEB", "String", "Scan", "RFO", "IRC", "Langevin", "NVE", "Rescaling", "NoseHoover"),
        *("WellTempered", "PlainHills", "Guards", "LBFGS", "FIRE"),
    ],
)
def test_methods_are_part_of_the_face_and_documented(name):
    method = getattr(fx, name)
    assert method.__name__ == name
    assert method() == method()
    head, _, rest = method.__doc__.partition("Args:")
    assert head.strip()
    for option in options(method):
        assert f"    {option.name}: " in rest
        assert option.help.split()[0] in rest
    assert name == "Guards" or "Source" in rest


def test_a_climbing_image_of_a_coarse_band_does_not_run_up_a_wall():
    """L-BFGS kept what it had learned on the way up, and the top rose to 300 kcal/mol."""
    inputs = Path(fx.__file__).parents[1] / "inputs"
    ends = (inputs / f"glycine-{name}.xyz" for name in ("Ip", "IIIp"))
    found = fx.path("xtb:GFN2-xTB", *map(str, ends), method=fx.NEB(images=7), progress=False)
    assert found.converged
    assert found.barrier_kcal_mol == pytest.approx(2.02, abs=0.05)


def test_a_descent_with_a_gap_that_images_cut_through_is_no_path(monkeypatch):
    """A descent that stops at once; straight from there to the minimum it is high."""
    task = importlib.import_module("flexcalc.tasks.path.saddle")
    inner, seen = task.path_of_descent, []

    def cut(job, saddle, ends):
        found = inner(job, saddle, ends)
        energies = found.labels.energies.copy()
        energies[1] += 2 * task.GAP_EV + energies.max() - energies[1]
        seen.append(energies)
        return replace(found, labels=Evaluation(energies, found.labels.forces))

    expected = fx.path(ADDRESS, UP, DOWN, saddle=True, progress=False)
    monkeypatch.setattr(task, "path_of_descent", cut)
    found = fx.path(ADDRESS, UP, DOWN, saddle=True, progress=False)
    assert seen
    assert found.converged
    assert found.barrier_kcal_mol == pytest.approx(expected.barrier_kcal_mol, abs=0.01)
    assert found.barrier_kcal_mol == pytest.approx(found.saddle.barrier_kcal_mol, abs=0.01)
