"""The stages crash and withheld of a benchmark, on water."""

import json
import shutil
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest

import flexcalc
from flexcalc import files, registry
from flexcalc.benchmarking.crash import crash
from flexcalc.benchmarking.endurance import Subject, reference_test, run_test
from flexcalc.benchmarking.job import open_job
from flexcalc.benchmarking.record import write_rows
from flexcalc.benchmarking.survival import measure_survival
from flexcalc.benchmarking.withheld import inside, withheld
from flexcalc.config.benchmark import Benchmark, Mechanism, Model
from flexcalc.config.benchmark_tests import Withheld
from flexcalc.dataset import Dataset
from flexcalc.errors import ConfigError, InputError
from flexcalc.methods.crash import CrashTest
from flexcalc.runs import RunFolder
from flexcalc.store import Store
from flexcalc.units import KCAL_MOL
from tests.systems import GEOMETRY, WATER, springs

TEST = CrashTest(
    temperatures_K=(300.0, 40000.0),
    seeds=4,
    time_ps=0.05,
    frame_every=5,
    nve_ps=0.02,
    relabelled_frames=6,
)
COORDINATES = ("distance 0 1", "angle 1 0 2")


@pytest.fixture(scope="module")
def shelf(water_shelf, tmp_path_factory):
    """The shelf of water, with a poorer model and two minima."""
    folder = tmp_path_factory.mktemp("crash")
    shutil.copytree(water_shelf / "water.flex", folder / "water.flex")
    poor = flexcalc.train(springs(60, seed=7), points=4, sigma=5.0, symmetry=False)
    poor.save(folder / "poor.flex")
    wide = GEOMETRY * [[1.0], [1.06], [1.0]]
    minima = Dataset(
        WATER, np.stack([GEOMETRY, wide]), np.array([0.0, 0.05]), np.zeros((2, 3, 3)),
        tags={"minimum": np.array(["short", "long"])},
    )  # fmt: skip
    flexcalc.write(folder / "minima.xyz", minima)
    return folder


def subject(shelf, folder, **changes):
    words = {"test": TEST, "address": str(shelf / "poor.flex"), "starts": shelf / "minima.xyz"}
    return Subject(**(words | {"coordinates": COORDINATES, "folder": folder} | changes))


@pytest.fixture(scope="module")
def tested(shelf, tmp_path_factory):
    """A crash test and its rows, cold and hot."""
    done = subject(shelf, tmp_path_factory.mktemp("done") / "poor")
    return done, measure_survival(done, str(shelf / "water.flex")).rows


@pytest.mark.data
def test_a_run_leaves_a_frame_of_every_record_until_it_fails_and_none_after(tested):
    done, rows = tested
    frames = files.read_frames(done.folder / "trajectory.xyz")
    every = TEST.frame_every * TEST.timestep_fs
    failed = 0
    for row in rows:
        for seed, end_ps in enumerate(row.time_to_failure_ps):
            own = (frames.tags["seed"] == seed) & (
                frames.tags["temperature_K"] == row.temperature_K
            )
            end = np.inf if end_ps is None else 1e3 * end_ps
            records = np.arange(0.0, 1e3 * TEST.time_ps + 1e-6, every)
            expected = records[records < end - 1e-6]
            np.testing.assert_allclose(np.sort(frames.tags["time_fs"][own]), expected)
            failed += end_ps is not None
    assert rows[0].survived == TEST.seeds
    assert failed == len(rows[1].failures) == TEST.seeds - rows[1].survived > 0


def test_a_failure_is_told_with_its_seed_time_and_atoms(tested):
    _, rows = tested
    for one in rows[1].failures:
        assert one.time_ps == rows[1].time_to_failure_ps[one.seed]
        assert one.start == ("short", "long")[one.seed % 2]
        assert one.kind in ("bond broken", "contact", "bond formed", "flying atom")
        assert one.what in ("O0-H1", "O0-H2", "H1-H2", "O0", "H1", "H2")


def test_errors_on_visited_frames_are_those_of_the_two_potentials_there(tested, shelf):
    done, rows = tested
    frames = files.read(done.folder / "visited.xyz")
    both = [flexcalc.load(str(shelf / name)) for name in ("poor.flex", "water.flex")]
    poor, good = (potential(frames.positions).forces for potential in both)
    error = (poor - good) / KCAL_MOL
    ended = frames.tags["before_failure"].astype(bool)
    assert ended.sum() == len(rows[1].failures)
    for row in rows:
        own = (frames.tags["temperature_K"] == row.temperature_K) & ~ended
        assert own.sum() == row.relabelled_frames - (ended.sum() if row is rows[1] else 0)
        rmse = np.sqrt((error[own] ** 2).mean())
        assert row.force_rmse_visited_kcal_mol_A == pytest.approx(rmse, rel=1e-8)
        largest = np.linalg.norm(error[own], axis=2).max()
        assert row.force_max_error_kcal_mol_A == pytest.approx(largest, rel=1e-8)
    largest = np.linalg.norm(error[ended], axis=2).max()
    found = rows[1].force_max_error_before_failure_kcal_mol_A
    assert found == pytest.approx(largest, rel=1e-8)
    assert rows[0].force_max_error_before_failure_kcal_mol_A is None


@pytest.mark.physics
def test_the_drift_is_the_slope_of_the_energy_without_thermostat(tested):
    done, rows = tested
    table = np.loadtxt(done.folder / "energies.csv", delimiter=",")
    cold = [2 * seed for seed in range(TEST.seeds)]  # runs of one seed follow each other
    found = []
    for replica in cold:
        own = table[table[:, 1] == replica]
        assert own[0, 0] == TEST.steps
        assert own[-1, 0] == TEST.steps + TEST.nve_steps
        found.append(np.polyfit(own[:, 0] * TEST.timestep_fs * 1e-3, own[:, 2], 1)[0])
    expected = np.mean(found) * 1e3 / len(WATER)
    assert rows[0].drift_meV_atom_ps == pytest.approx(expected, rel=1e-6, abs=1e-9)


def test_populations_and_the_map_count_all_frames(tested):
    _, rows = tested
    for row in rows:
        assert sum(row.populations.values()) == pytest.approx(1.0)
        assert list(row.populations) == ["short", "long"]
        assert np.sum(row.map.counts) == row.frames
        assert row.map.coordinates == COORDINATES
        assert np.shape(row.map.counts) == (TEST.map_bins, TEST.map_bins)
        assert row.reference_map is None


@pytest.mark.data
def test_a_finished_test_is_not_run_again_and_gives_the_same_rows(tested, shelf):
    done, rows = tested
    before = (done.folder / "trajectory.xyz").read_bytes()
    again = measure_survival(subject(shelf, done.folder), str(shelf / "water.flex")).rows
    assert again == rows
    assert (done.folder / "trajectory.xyz").read_bytes() == before


@pytest.mark.inputs
def test_another_test_in_the_same_folder_is_refused(tested, shelf):
    done, _ = tested
    with pytest.raises(InputError, match="holds another crash test"):
        run_test(subject(shelf, done.folder, seed=3))


def test_only_a_semiempirical_reference_runs_itself(shelf, tmp_path):
    one = subject(shelf, tmp_path)
    assert reference_test(one, "dft:PBE-D4/def2-SVP", tmp_path / "own") is None
    own = reference_test(one, "xtb:GFN2-xTB", tmp_path / "own")
    assert own is not None
    assert (own.address, own.test.seeds, own.test.nve_steps) == ("xtb:GFN2-xTB", 2, 0)
    assert own.test.time_ps == TEST.time_ps


def test_the_references_own_populations_stand_beside_the_models(tested, shelf):
    done, rows = tested
    same = measure_survival(subject(shelf, done.folder), str(shelf / "water.flex"), done).rows
    for row, other in zip(rows, same, strict=True):
        assert other.reference_populations == row.populations
        assert other.reference_map == other.map


@pytest.fixture
def config(shelf):
    """A benchmark of one model of water."""
    flexcalc.write(shelf / "start.xyz", files.read(shelf / "minima.xyz")[[0]])
    return Benchmark(
        reference=str(shelf / "water.flex"),
        minima={"short": str(shelf / "start.xyz"), "long": str(shelf / "start.xyz")},
        mechanisms=(Mechanism(name="stretch", start="short", end="long"),),
        models=(Model(label="sGDML", family=registry.family("sgdml")(sigma=5.0, symmetry=False)),),
        coordinates=COORDINATES,
        sizes=(20,),
        budgets=(20,),
        validation_points=10,
        test_frames=30,
        crash=(TEST,),
        withheld=(Withheld(name="long bond", coordinate="distance 0 1", low=0.98, high=9.0),),
    )


@contextmanager
def begun(config, folder):
    """The job of a run folder that is held."""
    with RunFolder("benchmark", folder) as run:
        job = open_job(config, run)
        run.begin(config)
        yield job


def filled(job, shelf):
    """A run folder as the stages before leave it."""
    files.write(job.folder / "minima.xyz", files.read(shelf / "minima.xyz"))
    (job.folder / "data").mkdir()
    files.write(job.folder / "data" / "stretch.xyz", springs(160, seed=3))
    (job.folder / "paths" / "stretch").mkdir(parents=True)
    files.write(job.folder / "paths" / "stretch" / "path.xyz", springs(5, seed=4))
    place = job.model_path("joint", "sGDML", 20)
    shutil.copytree(shelf / "poor.flex", place)
    return job


def test_the_stage_tests_the_models_of_the_largest_budget(config, shelf, tmp_path, tested):
    with begun(config, tmp_path / "run") as job:
        filled(job, shelf)
        rows = crash(job)
        write_rows(job, "crash", rows)
        again = crash(job)
    _, alone = tested
    head = {"model": "sGDML", "mechanism": "joint", "points": 20}
    assert rows == again == [replace(row, **head) for row in alone]
    written = json.loads((job.folder / "crash.json").read_text())
    assert written == [row.to_dict() for row in rows]
    assert list(written[0])[:4] == [*head, "temperature_K"]


def test_what_is_withheld_is_in_no_training_and_the_errors_are_those_there(config, shelf, tmp_path):
    with begun(config, tmp_path / "run") as job:
        filled(job, shelf)
        (row,) = withheld(job)
    (place,) = (job.folder / "withheld").glob("long-bond-*")
    parts = {name: files.read(place / f"{name}.xyz") for name in ("pool", "seen", "withheld")}
    lengths = {
        name: np.linalg.norm(part.positions[:, 1] - part.positions[:, 0], axis=1)
        for name, part in parts.items()
    }
    assert (lengths["withheld"] >= 0.98).all()
    assert (np.concatenate([lengths["pool"], lengths["seen"]]) < 0.98).all()
    everything = {frame.tobytes() for part in parts.values() for frame in part.positions}
    assert len(everything) == sum(map(len, parts.values()))
    potential = flexcalc.load(str(place / "sGDML" / "20" / "sgdml.flex"))
    for side in ("seen", "withheld"):
        part = parts[side]
        error = potential(part.positions).forces - part.forces
        rmse = np.sqrt((error**2).mean()) / KCAL_MOL
        assert getattr(row, f"force_rmse_{side}_kcal_mol_A") == pytest.approx(rmse, rel=1e-8)
    assert row.barriers[0].mechanism == "stretch"
    assert (row.model, row.withheld, row.points) == ("sGDML", "long bond", 20)


def peroxide(degrees):
    turn = np.radians(degrees)
    return np.array(
        [[0.0, 0, 0], [1.45, 0, 0], [-0.2, 0.95, 0],
         [1.65, 0.95 * np.cos(turn), 0.95 * np.sin(turn)]]
    )  # fmt: skip


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (60.0, 120.0, [True, True, False, False, False]),
        (-120.0, -60.0, [True, True, False, False, False]),
        (150.0, -150.0, [False, False, True, True, False]),
    ],
)
def test_a_region_has_its_mirror_image_and_may_go_through_180_degrees(low, high, expected):
    frames = np.stack([peroxide(angle) for angle in (90.0, -90.0, 170.0, -170.0, 10.0)])
    part = Withheld(name="turn", coordinate="dihedral 2 0 1 3", low=low, high=high)
    assert inside(np.array([8, 8, 1, 1]), part, {}, (), frames).tolist() == expected


@pytest.mark.data
def test_a_crash_test_can_be_added_later_and_one_with_other_settings_is_run_anew(
    config, shelf, tmp_path
):
    few = replace(TEST, temperatures_K=(300.0,), seeds=1, time_ps=0.01, nve_ps=0.0)
    found = []
    for tests in ((), (few,), (replace(few, seeds=2),), (few,)):
        now = replace(config, crash=tests)
        with begun(now, tmp_path / "run") as job:
            if not tests:
                filled(job, shelf)
            found.append(crash(job))
    assert [len(rows) for rows in found] == [0, 1, 1, 1]
    assert [rows[0].seeds for rows in found[1:]] == [1, 2, 1]
    assert found[3] == found[1]


@pytest.mark.inputs
@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({}, "either minimum, or coordinate"),
        ({"coordinate": "distance 0 1", "low": 1.0}, "either minimum, or coordinate"),
        ({"minimum": "short", "low": 1.0}, "either minimum, or coordinate"),
        ({"minimum": "twist"}, "found 'twist' of short, long"),
    ],
)
def test_a_part_that_says_too_little_or_too_much_is_refused_at_the_start(config, words, message):
    bad = replace(config, withheld=(Withheld(name="some", **words),))
    with pytest.raises(ConfigError, match=message):
        open_job(bad, Store())


@pytest.mark.inputs
def test_a_part_that_leaves_too_few_frames_is_refused(config, shelf, tmp_path):
    part = Withheld(name="most", coordinate="distance 0 1", low=0.85, high=9.0)
    bad = replace(config, withheld=(part,))
    with begun(bad, tmp_path / "run") as job:
        filled(job, shelf)
        with pytest.raises(InputError, match="withheld most: expected some frames"):
            withheld(job)
