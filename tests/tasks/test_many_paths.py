"""Several paths in one batch: each is as on its own."""

from __future__ import annotations

import json
import os
import pickle
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
from ase import Atoms

import flexcalc as fx
from flexcalc.config.paths import PathSearch
from flexcalc.dataset import Dataset
from flexcalc.errors import FlexcalcError, InputError, LabelError
from flexcalc.methods.optimisers import LBFGS
from flexcalc.parallel.batches import do_shares
from flexcalc.potential import CheckedPotential
from flexcalc.results.paths import Paths
from flexcalc.store import FlexcalcWarning, FolderStore, Store
from flexcalc.tasks import path as task
from flexcalc.tasks.path import many
from flexcalc.tasks.path.job import open_job
from tests.systems import Failing
from tests.tasks.test_path_and_saddle import (
    ADDRESS,
    DOWN,
    NUMBERS,
    UP,
    CountedSprings,
    Springs,
    pyramid,
)

STRETCHED = pyramid(-0.3)
ASKED = {"images": 5, "saddle": True, "relax_ends": False, "progress": False}


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty folder to work in."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def figures(path):
    """Figures of a path but the name of its potential."""
    return {key: value for key, value in path.to_dict().items() if key != "model"}


def test_all_pairs_are_searched_and_each_is_as_on_its_own():
    ends = [UP, DOWN, STRETCHED]
    found = fx.path(ADDRESS, starts=ends, **ASKED)
    assert isinstance(found, Paths)
    assert found.pairs == ((0, 1), (0, 2), (1, 2))
    assert len(found) == 3
    for (start, end), path in zip(found.pairs, found.paths, strict=True):
        alone = fx.path(ADDRESS, ends[start], ends[end], **ASKED)
        assert figures(path) == figures(alone)
        assert np.array_equal(path.to_dataset().positions, alone.to_dataset().positions)
        assert path.summary() in (repr(path)[5:-1], path.summary())
    assert found.converged_count == sum(path.converged for path in found.paths)
    assert found.failed_count == 0
    assert len(found.to_frame()) == 3
    assert "3 paths" in found.summary()


def test_a_step_of_all_paths_is_one_call():
    surface = CountedSprings()
    calls = []
    evaluate = surface.evaluate
    surface.evaluate = lambda positions: calls.append(len(positions)) or evaluate(positions)
    asked = {"images": 5, "relax_ends": False, "progress": False, "interpolation": "linear"}
    found = fx.path(surface, starts=[UP, UP], ends=[DOWN, pyramid(-0.6)], **asked)
    assert found.pairs == ((0, 0), (1, 1))
    assert surface.geometries == found.evaluations.total == sum(calls)
    # First all images of both, then a step of both, until the shorter search has ended.
    assert calls[0] == 2 * 5
    assert max(path.steps for path in found.paths) <= len(calls) - 2
    assert 2 * 3 in calls or min(path.steps for path in found.paths) == 0


def test_several_paths_in_a_folder_are_those_in_memory(here, run):
    for name, atoms in (("both", [UP, DOWN]), ("ends", [DOWN, STRETCHED])):
        fx.write(f"{name}.xyz", Dataset.from_atoms(atoms))
    (here / "run.toml").write_text(
        f'model = "{ADDRESS}"\nstarts = ["both.xyz"]\nends = ["ends.xyz"]\nsaddle = true\n'
        'relax_ends = false\n[method]\nkind = "neb"\nimages = 5\n'
    )
    assert run("path", "run.toml", "-o", "out") == 0
    words = ["--starts", "both.xyz", "--ends", "ends.xyz", "--saddle", "--no-relax-ends"]
    assert run("path", ADDRESS, *words, "--images", "5", "-o", "flags") == 0
    memory = fx.path(ADDRESS, starts=[UP, DOWN], ends=[DOWN, STRETCHED], **ASKED)
    for folder in ("out", "flags"):
        kept = json.loads((here / folder / "results.json").read_text())
        assert memory.to_dict() == {
            k: v for k, v in kept.items() if k not in ("command", "seconds")
        }
        rows = json.loads((here / folder / "paths.json").read_text())
        assert [row["barrier_model_kcal_mol"] for row in rows] == pytest.approx(
            [path.barrier_kcal_mol for path in memory.paths], abs=1e-9
        )
    again = fx.path(ADDRESS, starts=["both.xyz"], ends=["ends.xyz"], output="out", **ASKED)
    assert again.to_dict() == memory.to_dict()
    assert again[0].saddle.first_order
    page = (here / "out" / "report.html").read_text()
    assert "Energies along the paths" in page
    assert "evaluations" in page


def test_a_resumed_run_does_not_repeat_paths_that_are_finished(here):
    surface = CountedSprings()
    asked = {**ASKED, "output": "out", "starts": [UP, DOWN, STRETCHED]}
    made = fx.path(surface, **asked)
    spent = surface.geometries
    os.remove("out/results.json")
    (here / "out/path-1/figures.json").unlink()
    again = fx.path(surface, **asked)
    assert again.to_dict() == made.to_dict()
    # Of path 1 what its checkpoint does not keep is done again, of the others nothing.
    assert surface.geometries - spent < made[1].all_evaluations.total


@pytest.mark.parametrize("where", ["begin_path", "keep_path"])
def test_a_search_that_fails_does_not_end_the_others(where, monkeypatch):
    search, surface = getattr(task, where), CountedSprings()

    def failing(job, *rest, **named):
        if np.abs(job.end.positions[-1] - STRETCHED.positions).max() < 1e-9:
            raise InputError("this one is refused")
        return search(job, *rest, **named)

    monkeypatch.setattr(task, where, failing)
    asked = {**ASKED, "saddle": False}
    found = fx.path(surface, starts=[UP, UP], ends=[DOWN, STRETCHED], **asked)
    # What the one that failed has cost is counted, once.
    assert found.evaluations.total == surface.geometries
    assert (found.evaluations.total == found[0].all_evaluations.total) == (where == "begin_path")
    assert found.failed_count == 1
    assert found.errors == {1: "this one is refused"}
    assert found[0].converged
    with pytest.raises(InputError, match="path 1: this one is refused"):
        found[1]
    assert "1 FAILED" in found.summary()
    read = Paths.from_dict(found.to_dict(), Store())
    assert read.failed_count == 1


class Unconvergeable(Springs):
    """A calculator that fails at every geometry."""

    def calculate(self, *given, **named):
        raise RuntimeError("SCF not converged")


class Unconverged(CheckedPotential):
    """The springs, as a reference that does not converge where N-H bonds are longer than 1.25 A."""

    def __init__(self):
        self.springs = fx.load(Springs(), UP)
        self.numbers = self.springs.numbers

    def evaluate(self, positions):
        bonds = np.linalg.norm(positions[:, 1:] - positions[:, :1], axis=-1)
        if bonds.max() > 1.25:
            raise LabelError("SCF not converged")
        return self.springs(positions)


@pytest.mark.parametrize("saddle", [False, True])
def test_a_pair_whose_reference_fails_ends_alone(here, saddle):
    asked = {**ASKED, "saddle": saddle}
    ends = {"starts": [UP, UP, UP], "ends": [DOWN, pyramid(1.5), STRETCHED]}
    with pytest.warns(FlexcalcWarning, match=r"path 1, 1 to 1, failed: SCF not converged"):
        found = fx.path(Unconverged(), output="out", **ends, **asked)
    assert found.errors == {1: "SCF not converged"}
    for number in (0, 2):
        alone = fx.path(Unconverged(), UP, ends["ends"][number], **asked)
        assert figures(found[number]) == figures(alone)
    kept = json.loads((here / "out/results.json").read_text())
    assert kept["paths_failed"] == 1
    assert kept["warnings"] == ["path 1, 1 to 1, failed: SCF not converged"]
    assert list(found.to_frame()["error"].dropna()) == ["SCF not converged"]
    page = (here / "out/report.html").read_text()
    assert "Path 1, 1 to 1, failed: SCF not converged" in page
    assert "<td>failed</td>" in page


def test_a_search_of_which_all_fail_ends_with_the_error(here, run, capsys):
    fx.write("far.xyz", Dataset.from_atoms([pyramid(1.5), pyramid(1.6)]))
    fx.write("up.xyz", Dataset.from_atoms([UP, UP]))
    address = f"ase:{__file__}:Unconvergeable"
    words = ["path", address, "--starts", "up.xyz", "--ends", "far.xyz", "--no-relax-ends"]
    assert run(*words, "--images", "5", "-o", "out") == 1
    shown = capsys.readouterr()
    assert shown.err.endswith("SCF not converged\n")
    assert "path 0, 0 to 0, failed" in shown.out
    assert "path 1, 1 to 1, failed" in shown.out
    assert not (here / "out/results.json").exists()


def test_a_step_of_a_batch_is_shortened_for_the_path_whose_label_fails():
    """The first step of both fails, and then that of the second path alone."""
    ends = {"starts": [UP, UP], "ends": [DOWN, STRETCHED]}
    # Long steps, which the largest move bounds.
    optimiser = LBFGS(stiffness_eV_A2=0.5)
    method = fx.NEB(images=5, interpolation="linear", optimiser=optimiser)
    asked = {"method": method, "relax_ends": False, "progress": False}
    springs = fx.load(Springs(), UP)
    found = fx.path(Failing(springs, 2, 4), **ends, **asked)
    plain = fx.path(springs, **ends, **asked)
    assert found.failed_count == 0
    assert figures(found[0]) == figures(plain[0])
    assert found[1].converged
    assert found[1].steps != plain[1].steps
    assert found[1].barrier_kcal_mol == pytest.approx(plain[1].barrier_kcal_mol, abs=0.05)


def test_a_search_that_was_cut_off_after_a_failure_gives_the_same(here):
    ends = {"starts": [UP, UP, UP], "ends": [DOWN, pyramid(1.5), STRETCHED], "output": "out"}
    made = fx.path(Unconverged(), **ends, **ASKED)
    for name in ("results.json", "paths.json", "path-2/figures.json"):
        os.remove(f"out/{name}")
    again = fx.path(Unconverged(), **ends, **ASKED)
    assert again.to_dict() == made.to_dict()
    assert again.rows == made.rows


@pytest.mark.inputs
def test_several_paths_that_cannot_be_are_refused(here):
    water = Atoms("OH2", [[0, 0, 0], [1, 0, 0], [0, 1, 0]])
    for options, match in (
        ({"starts": [UP, DOWN], "ends": [UP]}, "as many geometries as starts have, 2, got 1"),
        ({"starts": [UP]}, "at least two geometries"),
        ({"ends": [UP]}, "as many geometries as starts have, 0, got 1"),
        ({"start": UP, "starts": [UP, DOWN]}, "start: for one path"),
        ({"starts": [UP, DOWN], "refine": 1}, "refine: for one path"),
        ({"starts": [[UP], [water]]}, "expected the molecule"),
        ({}, "start: missing"),
    ):
        with pytest.raises(InputError, match=match):
            fx.path(ADDRESS, output="out", progress=False, **options)
    assert os.listdir(here) == []
    assert len(NUMBERS) == 4


@pytest.fixture
def bent(water_shelf):
    """A model of water, and four geometries of it: four degrees of bending."""
    model = fx.load(water_shelf / "water.flex")
    angles = np.radians([95.0, 104.0, 110.0, 118.0])
    places = [[[0, 0, 0], [0.96, 0, 0], [0.96 * np.cos(a), 0.96 * np.sin(a), 0]] for a in angles]
    return model, [Atoms(model.numbers, place) for place in places]


def test_paths_of_a_kernel_are_searched_in_a_batch_for_each_core(bent, here, monkeypatch):
    model, starts = bent
    asked = {**ASKED, "starts": starts, "steps": 10, "saddle": False}
    whole = fx.path(model, **asked)
    assert list(whole.errors) == [3, 5]  # their ends are too near to each other
    shares = []

    def seen(given, told):
        shares.extend(given)
        return do_shares(given, told)

    monkeypatch.setattr(many, "do_shares", seen)
    monkeypatch.setattr(many, "cores", lambda: 2)
    fx.path(model, **asked)
    monkeypatch.setattr(many, "FEWEST_IN_A_BATCH", 2)
    halves = fx.path(model, **asked)
    kept = fx.path(model, **asked, output="out")
    assert [sorted(share.jobs) for share in shares] == [
        *[list(range(6))],
        *[[0, 2, 4], [1, 3, 5]] * 2,
    ]
    for found in (halves, kept):
        assert found.errors == whole.errors
        for number in (0, 1, 2, 4):
            one, other = found[number], whole[number]
            assert one.steps == other.steps
            assert one.barrier_kcal_mol == pytest.approx(other.barrier_kcal_mol, abs=1e-8)
            there = other.to_dataset().positions
            assert np.allclose(one.to_dataset().positions, there, atol=1e-9)
    assert "path 4: barrier on the model" in (here / "out/log.txt").read_text()
    assert (here / "out/path-4/path.xyz").exists()


def test_paths_of_other_potentials_are_one_batch(monkeypatch):
    monkeypatch.setattr(many, "cores", lambda: 2)
    monkeypatch.setattr(many, "FEWEST_IN_A_BATCH", 1)
    surface = CountedSprings()
    jobs = [(number, SimpleNamespace(potential=surface, reference=None)) for number in range(8)]
    assert many._shared_out(jobs) == [jobs]


def frame_of(atoms):
    return Dataset.from_atoms([atoms])


@pytest.mark.parametrize("folder", [False, True])
def test_a_share_of_paths_can_be_sent_to_another_process(bent, here, folder):
    model, starts = bent
    ends = [starts[1], starts[0]]  # the second search fails
    asked = {"model": model, "method": fx.NEB(images=5), "relax_ends": False, "steps": 10}
    jobs = {
        number: open_job(PathSearch(**asked, start=frame_of(starts[0]), end=frame_of(end)))
        for number, end in ((3, ends[0]), (7, ends[1]))
    }
    share = many._Share(jobs, here / "out" if folder else None, task._search)
    pickled, told = pickle.dumps(share), []
    made = share(told.append)
    if folder:
        shutil.rmtree(here / "out")
    again = []
    sent = pickle.loads(pickled)(again.append)
    sent = pickle.loads(pickle.dumps(sent))
    assert [repr(one) for one in again] == [repr(one) for one in told]
    assert any("path 3: barrier on the model" in repr(one) for one in told)
    store = FolderStore(here / "out") if folder else Store()
    for number in (3, 7):
        one, other = (
            found[number].path(jobs[number], store.within(f"path-{number}"))
            for found in (made, sent)
        )
        if number == 7:
            assert isinstance(one, FlexcalcError)
            assert str(one) == str(other)
        else:
            assert one.to_dict() == other.to_dict()
            assert len(other.to_dataset()) == 5
