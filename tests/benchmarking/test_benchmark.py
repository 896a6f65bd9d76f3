"""`flexcalc benchmark` on a molecule whose barrier is known: hydrogen peroxide on springs."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import tomllib

import numpy as np
import pytest

import flexcalc
from flexcalc import cli
from flexcalc.benchmarking import calls
from flexcalc.benchmarking.data import nearest_other
from flexcalc.benchmarking.findings import judge
from flexcalc.benchmarking.joint import evenness
from flexcalc.benchmarking.verdicts import Tables
from flexcalc.dataset import Dataset
from flexcalc.errors import FileFormatError
from flexcalc.results.benchmark import BenchmarkResult
from flexcalc.results.benchmark_rows import ROWS, CurveRow, RegionBin
from flexcalc.store import FolderStore
from flexcalc.units import KCAL_MOL

NUMBERS = np.array([1, 8, 8, 1])
BARRIER_EV, WITHOUT_EV = 0.2, 0.15
CALCULATOR = '''
"""Bonds and angles on springs, and a torsion V sin^2 that is lowest at 0 and at 180 degrees."""
import numpy as np
from ase.calculators.calculator import Calculator, all_changes
from flexcalc.geometry import angle, dihedral, distance

class Wells(Calculator):
    implemented_properties = ["energy", "forces"]

    def __init__(self, barrier=0.2):
        super().__init__()
        self.height = float(barrier)

    def calculate(self, atoms=None, properties=None, system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        batch, energy, forces = atoms.positions[None], 0.0, np.zeros((4, 3))
        bonds = (((0, 1), 0.97), ((1, 2), 1.46), ((2, 3), 0.97))
        springs = [(distance, pair, rest, 30.0) for pair, rest in bonds]
        springs += [(angle, p, np.radians(100.0), 4.0) for p in ((0, 1, 2), (1, 2, 3))]
        for measure, which, rest, stiffness in springs:
            value, gradient = measure(batch, *which)
            energy += 0.5 * stiffness * (value[0] - rest) ** 2
            forces -= stiffness * (value[0] - rest) * gradient[0]
        turn, gradient = dihedral(batch, 0, 1, 2, 3)
        energy += self.height * np.sin(turn[0]) ** 2
        forces -= self.height * np.sin(2 * turn[0]) * gradient[0]
        self.results = {"energy": energy, "forces": forces}
'''
RUN = """
title = "peroxide"
reference = "ase:wells.py:Wells"
dispersion = "ase:wells.py:Wells?barrier=0.15"
minima = {cis = "cis.xyz", trans = "trans.xyz"}
coordinates = ["dihedral 0 1 2 3"]
bins = 6
sizes = [6, 8, 10]
folds = 3
budgets = [20]
validation_points = 10
test_frames = 15

[[mechanisms]]
name = "turn"
start = "cis"
end = "trans"
method = {kind = "scan", images = 5, drive = ["dihedral 0 1 2 3"]}

[[samples]]
name = "around the minima"
sampling = {kind = "displacement", frames = 30, amplitude_A = 0.02}

[[samples]]
name = "around the images"
origin = "images"
images = [1, 2, 3]
sampling = {kind = "displacement", frames = 30, amplitude_A = 0.02}

[[models]]
label = "sGDML"
family = {kind = "sgdml", descriptor = "distances", sigmas = [2.0, 5.0]}

[[models]]
label = "sGDML extended"
family = {kind = "sgdml", descriptor = "extended", sigma = 5.0}
sizes = [8]
"""


def peroxide(degrees):
    """Positions (4, 3) with all bonds and angles at rest, the torsion as given."""
    bend, turn = np.radians([100.0, degrees])
    reach, rise = 0.97 * np.cos(bend), 0.97 * np.sin(bend)
    return np.array(
        [
            [reach, rise, 0.0],
            [0.0, 0.0, 0.0],
            [1.46, 0.0, 0.0],
            [1.46 - reach, rise * np.cos(turn), rise * np.sin(turn)],
        ]
    )


def furnish(folder):
    """Write what RUN names into a folder."""
    (folder / "wells.py").write_text(CALCULATOR)
    (folder / "run.toml").write_text(RUN)
    for name, degrees in (("cis", 4.0), ("trans", 176.0)):
        flexcalc.write(folder / f"{name}.xyz", Dataset(NUMBERS, peroxide(degrees)[None]))


def run(*words):
    try:
        cli.main([str(word) for word in words])
    except SystemExit as end:
        return end.code or 0
    return 0


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A folder with the inputs, and the run in its folder `out`."""
    folder = tmp_path_factory.mktemp("peroxide")
    furnish(folder)
    assert run("benchmark", folder / "run.toml", "--output", folder / "out") == 0
    return folder


def rows_of(whole, stage):
    return json.loads((whole / "out" / f"{stage}.json").read_text())


def test_minima_are_relaxed_to_where_they_are(whole):
    rows = rows_of(whole, "minima")
    assert [row["name"] for row in rows] == ["cis", "trans"]
    turns = [abs(row["coordinates"]["dihedral 0 1 2 3"]) for row in rows]
    # The torque 2 V phi of what is left is below the tolerance of 0.01 eV/A on an arm of 0.95 A.
    assert turns == pytest.approx([0.0, 180.0], abs=np.degrees(0.01 * 0.96 / (2 * BARRIER_EV)))
    assert min(row["energy_kcal_mol"] for row in rows) == 0.0


def test_barriers_are_those_of_the_torsion_with_and_without_dispersion(whole):
    """The scan passes 90 degrees; the ends lie up to V phi^2 above their minima."""
    (row,) = rows_of(whole, "paths")
    slack = BARRIER_EV * (0.01 * 0.96 / (2 * BARRIER_EV)) ** 2 / KCAL_MOL
    assert row["barrier_kcal_mol"] == pytest.approx(BARRIER_EV / KCAL_MOL, abs=2 * slack)
    without = row["barrier_without_dispersion_kcal_mol"]
    assert without == pytest.approx(WITHOUT_EV / KCAL_MOL, abs=2 * slack)
    assert len(row["progress"]) == row["images"] == 5
    assert np.all(np.abs(np.diff(row["progress"])) > 40)


def test_data_have_every_kind_of_sampling_with_its_distributions(whole):
    data = flexcalc.read(whole / "out/data/turn.xyz")
    lowest = flexcalc.read(whole / "out/minima.xyz").energies.min()
    apart = nearest_other(pairs(data.positions))
    for row in rows_of(whole, "data"):
        kind = data.tags["sampling"] == row["kind"]
        assert row["frames"] == kind.sum() == 30
        above = (data.energies[kind] - lowest) / KCAL_MOL
        np.testing.assert_allclose(row["energy_kcal_mol"], above, atol=0.6e-4)
        np.testing.assert_allclose(row["nearest_other_A"], apart[kind], atol=0.6e-4)


def pairs(positions):
    first, second = np.triu_indices(positions.shape[1], 1)
    return np.linalg.norm(positions[:, first] - positions[:, second], axis=2)


def test_the_nearest_other_frame_is_the_one_of_a_plain_search(monkeypatch):
    monkeypatch.setattr(sys.modules[nearest_other.__module__], "BLOCK", 7)
    features = np.random.default_rng(0).standard_normal((40, 6))
    features[5] = features[33]
    apart = np.linalg.norm(features[:, None] - features[None], axis=2)
    np.fill_diagonal(apart, np.inf)
    # The squares of some ten round at 1e-15, and their root where they cancel at 1e-7.
    np.testing.assert_allclose(nearest_other(features), apart.min(axis=1), atol=3e-7)


def test_a_subset_has_as_many_frames_as_its_folds_need(whole):
    for row in rows_of(whole, "subsets"):
        data = flexcalc.read(whole / "out" / row["file"])
        assert len(data) == row["frames"] == 3 * row["points"]


def test_curves_tell_best_and_mean_over_the_folds_by_both_criteria(whole):
    rows = rows_of(whole, "curves")
    kinds = [(row["model"], row["points"], row["by"]) for row in rows]
    own = [("sGDML", size, by) for size in (6, 8, 10) for by in ("force", "joint")]
    assert kinds == own + [("sGDML extended", 8, by) for by in ("force", "joint")]
    for row in rows:
        folds = row["fold_force_rmse_kcal_mol_A"]
        assert len(folds) == 3
        assert row["mean_force_rmse_kcal_mol_A"] == pytest.approx(np.mean(folds))
        assert row["best_force_rmse_kcal_mol_A"] in folds
        assert row["train_seconds"] > 0
        assert row["predict_ms"] > 0
    for force, joint in zip(rows[::2], rows[1::2], strict=True):
        key = "mean_force_rmse_kcal_mol_A"
        assert force[key] <= joint[key] <= force[key] + 0.1
        assert joint["mean_energy_rmse_kcal_mol"] <= force["mean_energy_rmse_kcal_mol"]


def test_a_fold_is_trained_on_and_the_others_test_it(whole):
    """The errors in the table are those of the saved model on the frames it has not seen."""
    folder = whole / "out/curves/turn/sGDML/10"
    frames = json.loads((folder / "frames.json").read_text())
    assert (len(frames["train"]), len(frames["test"])) == (10, 20)
    data = flexcalc.read(whole / "out/subsets/turn-10.xyz")[frames["test"]]
    forces = flexcalc.load(str(folder / "sgdml.flex"))(data.positions).forces
    error = np.sqrt(np.mean((forces - data.forces) ** 2)) / KCAL_MOL
    row = next(r for r in rows_of(whole, "curves") if r["points"] == 10 and r["by"] == "joint")
    # Fitted energies and forces of a model that is read back agree to rounding.
    assert row["best_force_rmse_kcal_mol_A"] == pytest.approx(error, rel=1e-6)


def test_regions_hold_the_frames_that_were_not_trained_on(whole):
    for row in rows_of(whole, "regions"):
        assert row["coordinate"] == "dihedral 0 1 2 3"
        assert sum(one["population"] for one in row["bins"]) == 15  # test_frames
        assert [one["from"] for one in row["bins"]] == sorted(one["from"] for one in row["bins"])
    assert {(row["model"], row["points"]) for row in rows_of(whole, "regions")} == {
        ("sGDML", 10),
        ("sGDML extended", 8),
    }


def test_barriers_are_those_of_the_models_along_the_reference_path(whole):
    path = flexcalc.read(whole / "out/paths/turn/path.xyz")
    for row in rows_of(whole, "barriers"):
        place = f"out/curves/turn/{row['model'].replace(' ', '-')}/{row['points']}/sgdml.flex"
        energies = flexcalc.load(str(whole / place))(path.positions).energies
        barrier = (energies.max() - energies[0]) / KCAL_MOL
        assert row["barrier_kcal_mol"] == pytest.approx(barrier, abs=1e-6)
        error = barrier - (path.energies.max() - path.energies[0]) / KCAL_MOL
        assert row["barrier_error_kcal_mol"] == pytest.approx(error, abs=1e-6)


def test_joint_models_share_points_and_are_tested_on_others(whole):
    place = whole / "out/joint"
    splits = [
        json.loads((place / f"{model}/20/split.json").read_text())["train"]
        for model in ("sGDML", "sGDML-extended")
    ]
    assert splits[0] == splits[1]
    pool, test = (flexcalc.read(place / f"{name}.xyz") for name in ("pool", "test"))
    assert len(pool) + len(test) == 60
    assert not {p.tobytes() for p in pool.positions} & {p.tobytes() for p in test.positions}
    for row in rows_of(whole, "joint"):
        assert row["set"] == "joint"
        assert (row["budget"], row["regions"][0]["bins"][0]["population"] > 0) == (20, True)
        assert [one["mechanism"] for one in row["barriers"]] == ["turn"]
    errors = rows_of(whole, "errors")
    shown = flexcalc.read(whole / "out/errors.xyz")
    assert errors["models"] == ["sGDML", "sGDML extended"]
    assert len(errors["frames"]) == len(shown) == 15
    squares = [frame["force_rmse_kcal_mol_A"]["sGDML"] ** 2 for frame in errors["frames"]]
    whole_error = rows_of(whole, "joint")[0]["force_rmse_kcal_mol_A"]
    assert np.sqrt(np.mean(squares)) == pytest.approx(whole_error, rel=1e-9)


def test_cutoffs_are_scanned_for_models_that_can_try_several(whole, tmp_path):
    pytest.importorskip("quippy")
    furnish(tmp_path)
    gap = 'kind = "gap", n_max = 2, l_max = 1, n_sparse = 10'
    text = RUN.replace('kind = "sgdml", descriptor = "extended", sigma = 5.0', gap)
    text = text.replace("folds = 3", "folds = 3\ncutoffs = [2.0, 3.0]\ncutoff_points = 6")
    (tmp_path / "run.toml").write_text(text)
    words = ["benchmark", tmp_path / "run.toml", "--output", tmp_path / "out"]
    stages = ("minima", "paths", "data", "subsets", "cutoffs")
    assert run(*words, *(word for stage in stages for word in ("--stages", stage))) == 0
    rows = json.loads((tmp_path / "out/cutoffs.json").read_text())
    assert [(row["model"], row["cutoff_A"], row["points"]) for row in rows] == [
        ("sGDML extended", 2.0, 6),
        ("sGDML extended", 3.0, 6),
    ]
    table = json.loads((tmp_path / "out/cutoffs/turn/sGDML-extended/table.json").read_text())
    for row, tried in zip(rows, table, strict=True):
        assert row["force_rmse_kcal_mol_A"] == tried["force_rmse_kcal_mol_A"]


def test_only_well_populated_regions_count_for_evenness():
    bins = [
        RegionBin(low=0.0, high=1.0, population=population, force_rmse_kcal_mol_A=force)
        for population, force in ((19, 9.0), (20, 2.0), (80, 0.5))
    ]
    assert evenness(bins) == (2.0, 0.5, 4.0)
    assert evenness(bins[:1]).ratio is None


@pytest.mark.parametrize("stage", ROWS)
def test_rows_are_read_back_as_they_stand_in_the_files(whole, stage):
    rows = json.loads(found.read_text()) if (found := whole / f"out/{stage}.json").exists() else []
    assert [ROWS[stage].from_dict(row).to_dict() for row in rows] == rows
    assert [
        ROWS[stage].from_damaged(row).to_dict() for row in rows if None not in row.values()
    ] == [row for row in rows if None not in row.values()]


def test_a_row_that_lacks_a_value_or_has_another_type_is_refused():
    row = curve("turn", 10, 1.0, fold_energy_rmse_kcal_mol=[0.5], best_force_rmse_kcal_mol_A=1.0)
    row |= {"train_seconds": 1.0, "predict_ms": 1.0}
    assert CurveRow.from_dict(row).points == 10
    for damaged, says in (
        ({**row, "points": "ten"}, "points: expected another value than 'ten'"),
        ({**row, "fold_force_rmse_kcal_mol_A": 1.0}, "fold_force_rmse_kcal_mol_A: expected"),
        ({key: row[key] for key in row if key != "by"}, "expected by"),
        ([], "expected a row"),
    ):
        with pytest.raises(FileFormatError, match=says):
            CurveRow.from_dict(damaged)


def test_results_and_the_report_sum_it_up(whole):
    results = rows_of(whole, "results")
    assert results["title"] == "peroxide"
    assert results["best_turn"] in ("sGDML, 10 points", "sGDML extended, 8 points")
    assert results["findings_yes"] + results["findings_no"] + results["findings_partly"] >= 1
    assert "peroxide" in (whole / "out/report.html").read_text().lower()


# Taking up


def without_times(rows):
    return [
        {key: value for key, value in row.items() if key not in ("train_seconds", "predict_ms")}
        for row in rows
    ]


def test_a_killed_benchmark_goes_on_with_other_workers_and_gives_the_same(whole, tmp_path):
    """Killed for good with two trainings on the way; what is done is not done again."""
    furnish(tmp_path)
    stages = ("minima", "paths", "data", "subsets", "curves")
    words = [word for stage in stages for word in ("--stages", stage)]
    begun = ["-m", "flexcalc.cli", "benchmark", "run.toml", *words, "-o", "out", "--workers", "2"]
    process = subprocess.Popen([sys.executable, *begun], cwd=tmp_path, stdout=subprocess.DEVNULL)
    done = tmp_path / "out/rows/curves/turn/sGDML"
    while process.poll() is None and not list(done.glob("*.json")):
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    first = {path: path.stat().st_mtime_ns for path in done.glob("*.json")}
    assert 0 < len(first) < 3
    for _ in range(20):  # the trainings notice that they are orphans and let go of their folders
        ended = run("benchmark", tmp_path / "run.toml", *words, "-o", tmp_path / "out")
        if ended != 2:
            break
        time.sleep(0.2)
    assert ended == 0
    assert {path: path.stat().st_mtime_ns for path in first} == first
    for stage in stages:
        again = json.loads((tmp_path / f"out/{stage}.json").read_text())
        assert without_times(again) == without_times(rows_of(whole, stage))


@pytest.mark.long
@pytest.mark.data
def test_trainings_on_dask_give_the_same_though_a_worker_is_killed(whole, tmp_path):
    distributed = pytest.importorskip("distributed")
    copy = tmp_path / "copy"
    shutil.copytree(whole, copy)
    (copy / "out/results.json").unlink()
    for place in ("rows/curves", "curves"):
        shutil.rmtree(copy / "out" / place)
    options = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": None}
    with distributed.LocalCluster(**options) as cluster:
        with distributed.Client(cluster, set_as_default=False) as client:
            victim = next(iter(client.run(os.getpid).values()))

        def kill():
            while not list((copy / "out/curves").glob("*/*/*/run.toml")):
                time.sleep(0.01)
            os.kill(victim, signal.SIGKILL)

        killer = threading.Thread(target=kill)
        killer.start()
        words = ["benchmark", whole / "run.toml", "--output", copy / "out", "--stages", "curves"]
        assert run(*words, "--scheduler", cluster.scheduler_address) == 0
        killer.join()
    rows = json.loads((copy / "out/curves.json").read_text())
    assert without_times(rows) == without_times(rows_of(whole, "curves"))


def test_the_function_of_python_gives_the_same_and_leaves_nothing(
    whole, tmp_path, monkeypatch, capsys
):
    """All is in a temporary folder, and nothing is printed."""
    monkeypatch.chdir(tmp_path)
    text = RUN.replace("ase:", f"ase:{whole}/").replace('cis = "', f'cis = "{whole}/')
    values = tomllib.loads(text.replace('trans = "', f'trans = "{whole}/'))
    stages = ("minima", "paths", "data", "subsets", "curves")
    found = flexcalc.benchmark(**values, stages=stages, progress=False)
    for stage in stages:
        rows = [row.to_dict() for row in found.rows(stage)]
        assert without_times(rows) == without_times(rows_of(whole, stage))
    assert capsys.readouterr() == ("", "")
    (turn,) = found.barriers_kcal_mol.values()
    assert turn == rows_of(whole, "results")["barrier_turn_kcal_mol"]
    assert not list(tmp_path.iterdir())


def test_results_are_read_back_as_they_were_written(whole):
    written = rows_of(whole, "results")
    result = BenchmarkResult.from_dict(written, FolderStore(whole / "out"))
    assert result.best.keys() == {"turn", "joint"}
    again = result.to_dict()
    assert list(again) == [key for key in written if key not in ("command", "seconds")]
    assert again == {key: written[key] for key in again}
    assert [row.to_dict() for row in result.rows("curves")] == rows_of(whole, "curves")
    assert "BenchmarkResult of" in result._repr_html_()
    assert len(result.to_frame("curves")) == len(rows_of(whole, "curves"))


def test_models_can_be_added_one_by_one(whole, tmp_path, monkeypatch):
    shutil.copytree(whole, tmp_path / "copy")
    (tmp_path / "copy/out/results.json").unlink()
    for place in ("rows/curves", "curves"):
        shutil.rmtree(tmp_path / f"copy/out/{place}/turn/sGDML-extended")
    asked = []
    whole_training = calls.train

    def counted(config, folder, echo):
        asked.append(config.family[0].descriptor)
        return whole_training(config, folder, echo)

    monkeypatch.setattr(calls, "train", counted)
    words = ["benchmark", whole / "run.toml", "--output", tmp_path / "copy/out"]
    assert run(*words, "--stages", "curves", "--only", "sGDML") == 0
    rows = json.loads((tmp_path / "copy/out/curves.json").read_text())
    assert {row["model"] for row in rows} == {"sGDML"}
    assert not asked
    assert run(*words, "--stages", "curves") == 0
    assert asked == ["extended"]
    rows = json.loads((tmp_path / "copy/out/curves.json").read_text())
    assert without_times(rows) == without_times(rows_of(whole, "curves"))


# What users get wrong


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ('end = "trans"', 'end = "tranz"', "mechanisms.end: unknown 'tranz'; did you mean trans?"),
        ('label = "sGDML extended"', 'label = "sGDML"', "models.label: expected different names"),
        ('kind = "sgdml", descriptor = "extended"', 'kind = "sgdmx"', "did you mean sgdml?"),
        ('family = {kind = "sgdml", descriptor = "extended", sigma = 5.0}', "", "family: missing"),
        (
            'family = {kind = "sgdml", descriptor = "extended", sigma = 5.0}',
            "family = {sigma = 5.0}",
            "models.family.kind: missing; expected one of sgdml",
        ),
        ("sizes = [6, 8, 10]", "sizes = [6, 30]", "too few for 3 folds of 30 points"),
        ("images = [1, 2, 3]", "images = [5]", "starts from image 5, but turn has 5, 0 to 4"),
        ('origin = "images"', 'mechanisms = ["turm"]', "unknown 'turm'; did you mean turn?"),
        ('["dihedral 0 1 2 3"]\nbins', '["dihedral 0 1 2 9"]\nbins', "names atom 9"),
        ('name = "turn"', 'name = "joint"', "other than joint"),
        ("minima = {cis", "minima = {sis", "mechanisms.start: unknown 'cis'; did you mean sis?"),
        ('trans = "trans.xyz"', 'trans = "nowhere.xyz"', "nowhere.xyz: no such file"),
    ],
)
def test_a_mistake_is_one_clear_line_and_leaves_nothing(tmp_path, capsys, old, new, says):
    furnish(tmp_path)
    assert old in RUN
    (tmp_path / "run.toml").write_text(RUN.replace(old, new))
    assert run("benchmark", tmp_path / "run.toml", "--output", tmp_path / "out") == 2
    captured = capsys.readouterr().err
    assert says in captured
    assert captured.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_stage_says_which_one_it_builds_on(tmp_path, capsys):
    furnish(tmp_path)
    for stage, needs in (
        ("curves", "subsets"),
        ("subsets", "data"),
        ("data", "minima"),
        ("barriers", "paths"),
    ):
        words = ["benchmark", tmp_path / "run.toml", "--stages", stage, "-o", tmp_path / "out"]
        assert run(*words) == 2
        assert f"run the stage {needs} first" in capsys.readouterr().err
        assert not (tmp_path / "out").exists()


def test_frames_of_a_file_are_labelled_as_they_are(whole, tmp_path):
    """A dataset at another level of theory is one command."""
    data = flexcalc.read(whole / "out/data/turn.xyz")
    words = ["label", f"ase:{whole}/wells.py:Wells?barrier=0.15", whole / "out/data/turn.xyz"]
    assert run(*words, "--samples", "frames", "--output", tmp_path / "again") == 0
    again = flexcalc.read(tmp_path / "again/labels.xyz")
    np.testing.assert_array_equal(again.positions, data.positions)
    turns = np.radians(
        flexcalc.geometry.Coordinate.parse("dihedral 0 1 2 3").values(data.positions)
    )
    lower = (BARRIER_EV - WITHOUT_EV) * np.sin(turns) ** 2
    np.testing.assert_allclose(data.energies - again.energies, lower, atol=1e-12)


# Findings


def curve(mechanism, points, force, energy=0.5, by="joint", family="sgdml", folds=None, **more):
    return {
        "mechanism": mechanism,
        "model": more.pop("model", family),
        "family": family,
        "points": points,
        "by": by,
        "mean_force_rmse_kcal_mol_A": force,
        "mean_energy_rmse_kcal_mol": energy,
        "best_energy_rmse_kcal_mol": energy,
        "fold_force_rmse_kcal_mol_A": folds or [force] * 5,
        "hyperparameters": more.pop("hyperparameters", {}),
        **more,
    }


def verdict(about, formula="", **tables):
    read = {name: [ROWS[name].from_damaged(row) for row in rows] for name, rows in tables.items()}
    rows = [row for row in judge(Tables(formula=formula, **read)) if about in row.finding]
    assert len(rows) == 1
    return rows[0].holds


def test_nothing_is_measured_on_empty_tables():
    assert {row.holds for row in judge(Tables())} == {"not measured"}


@pytest.mark.parametrize(
    ("rotation", "inversion", "holds"),
    [
        ((2.0, 1.0), (1.0, 2.0), "yes"),
        ((2.0, 1.0), (1.0, 1.01), "partly"),
        ((2.0, 1.0), (2.0, 1.0), "no"),
    ],
)
def test_the_descriptor_depends_on_the_mechanism_where_each_has_its_own(rotation, inversion, holds):
    rows = [
        curve(name, 100, force, model=kind, hyperparameters={"descriptor": kind})
        for name, forces in (("rotation", rotation), ("inversion", inversion))
        for kind, force in zip(("distances", "extended"), forces, strict=True)
    ]
    assert verdict("descriptor", curves=rows) == holds


@pytest.mark.parametrize(
    ("by_force", "jointly", "holds"),
    [
        ([1.0, 2.0, 0.5], [1.0, 0.8, 0.5], "yes"),
        ([1.0, 2.0, 0.5], [1.0, 1.9, 0.5], "partly"),
        ([1.0, 0.8, 0.5], [1.0, 0.8, 0.5], "no"),
        ([1.0, 0.8, 0.5], [1.0, 0.6, 0.5], "partly"),
    ],
)
def test_energies_oscillate_where_they_rise_with_the_size(by_force, jointly, holds):
    rows = [
        curve("turn", size, 1.0, energy, by=by)
        for by, energies in (("force", by_force), ("joint", jointly))
        for size, energy in zip((50, 100, 200), energies, strict=True)
    ]
    assert verdict("oscillate", curves=rows) == holds
    assert verdict("oscillate", curves=rows[:2]) == "not measured"


@pytest.mark.parametrize(("near", "holds"), [(4.0, "yes"), (1.5, "partly"), (0.9, "no")])
def test_schnet_is_uneven_where_the_minima_are_worse_than_the_top(near, holds):
    path = {
        "mechanism": "turn",
        "coordinate": "dihedral 0 1 2 3",
        "progress": [10.0, 95.0, 190.0],  # the last one is -170, a turn on
        "profile_kcal_mol": [0.0, 20.0, -5.0],
    }
    bins = [
        {"from": -180.0, "to": -160.0, "force_rmse_kcal_mol_A": near},
        {"from": 0.0, "to": 20.0, "force_rmse_kcal_mol_A": 0.1},
        {"from": 80.0, "to": 100.0, "force_rmse_kcal_mol_A": 1.0},
    ]
    region = {"mechanism": "turn", "model": "schnet", "coordinate": "dihedral 0 1 2 3"}
    tables = {
        "paths": [path],
        "curves": [curve("turn", 100, 1.0, family="schnet")],
        "regions": [{**region, "unit": "degrees", "bins": bins}],
    }
    assert verdict("SchNet", **tables) == holds


@pytest.mark.parametrize(("last", "holds"), [(1.95, "yes"), (1.5, "no"), (0.99, "no")])
def test_gap_has_a_floor_where_more_points_do_not_help(last, holds):
    rows = [curve("turn", 100, 2.0, family="gap"), curve("turn", 200, last, family="gap")]
    assert verdict("floor", curves=rows) == holds


def test_families_differ_in_their_spread_over_the_folds():
    steady = curve("turn", 100, 1.0, folds=[0.99, 1.0, 1.01])
    wild = curve("turn", 100, 1.0, family="bpnn", folds=[0.5, 1.0, 1.5])
    assert verdict("depend on the training", curves=[steady, wild]) == "yes"
    calm = {**wild, "fold_force_rmse_kcal_mol_A": [0.99, 1.0, 1.01]}
    assert verdict("depend on the training", curves=[steady, calm]) == "no"
    assert verdict("depend on the training", curves=[steady]) == "not measured"


@pytest.mark.parametrize(("mixed", "holds"), [(32, "yes"), (8, "no")])
def test_symmetries_are_spurious_where_a_mixed_set_has_more(mixed, holds):
    joint = [{"model": "sgdml", "family": "sgdml", "budget": 100, "permutations": mixed}]
    alone = [curve("turn", 100, 1.0, permutations=8)]
    joint[0]["force_rmse_kcal_mol_A"] = 1.0
    assert verdict("symmetries", joint=joint, curves=alone) == holds


@pytest.mark.parametrize(
    ("added", "holds"),
    [((1.2, 1.5), "yes"), ((1.2, 0.3), "partly"), ((0.1, 0.3), "no"), ((), "not measured")],
)
def test_dispersion_is_judged_barrier_by_barrier(added, holds):
    rows = [
        {
            "mechanism": str(index),
            "barrier_kcal_mol": 30.0,
            "barrier_without_dispersion_kcal_mol": 30.0 - more,
        }
        for index, more in enumerate(added)
    ]
    assert verdict("Dispersion", paths=rows) == holds


@pytest.mark.parametrize(
    ("formula", "barriers", "holds"),
    [
        ("C12H10N2", (None, None), "yes"),
        ("C12H10N2", (80.0, None), "yes"),  # it converged to what is no reasonable way
        ("C12H10N2", (30.5, None), "partly"),
        ("C2H5NO2", (30.0, 30.0), "yes"),
        ("C2H5NO2", (None, None), "no"),
        ("H2O2", (30.0, 30.0), "not measured"),
    ],
)
def test_naive_paths_are_judged_by_what_the_study_says_of_the_molecule(formula, barriers, holds):
    ends = {"start": "a", "end": "b", "interpolation": "linear", "steps": 9}
    rows = [
        {**ends, "method": kind, "converged": height is not None, "barrier_kcal_mol": height}
        for kind, height in zip(("neb", "string"), barriers, strict=True)
    ]
    known = [{"start": "a", "end": "b", "barrier_kcal_mol": 30.0}]
    assert verdict("naive", formula, naive=rows, paths=known) == holds


def test_chemical_accuracy_needs_all_three_families_on_all_mechanisms():
    good = [curve("turn", 100, 1.0, 0.9, family=family) for family in ("sgdml", "schnet", "gap")]
    assert verdict("Chemical accuracy", curves=good) == "yes"
    assert verdict("Chemical accuracy", curves=good[:2]) == "partly"
    bad = curve("flip", 100, 1.0, 1.1, family="gap")
    assert verdict("Chemical accuracy", curves=[*good, bad]) == "partly"
    assert verdict("Chemical accuracy", curves=[bad]) == "no"


@pytest.mark.parametrize(("mixture", "holds"), [(0.5, "yes"), (1.5, "no")])
def test_local_models_are_better_where_their_force_error_is_lower(mixture, holds):
    rows = [
        {"model": "one", "family": "sgdml", "budget": 600, "force_rmse_kcal_mol_A": 1.0},
        {"model": "many", "family": "mixture", "budget": 600, "force_rmse_kcal_mol_A": mixture},
    ]
    assert verdict("Local models", joint=rows) == holds
    assert verdict("Local models", joint=rows[:1]) == "not measured"
