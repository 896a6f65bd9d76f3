"""Learning by itself: rounds of exploration and labels, a budget, and exact resumption."""

import json
from dataclasses import replace
from importlib import import_module
from types import SimpleNamespace

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule
from ase.calculators.emt import EMT
from ase.io import read
from matplotlib.figure import Figure
from scipy.stats import spearmanr

import flexcalc as fx
from flexcalc.config import load
from flexcalc.config.learn import Learn
from flexcalc.dataset import Dataset
from flexcalc.errors import FlexcalcError, InputError
from flexcalc.files import write as files_write
from flexcalc.geometry import Coordinate
from flexcalc.geometry.torsions import torsions
from flexcalc.potential import CheckedPotential, Evaluation
from flexcalc.progress import silent
from flexcalc.registry import make_family
from flexcalc.reports import write_report
from flexcalc.results.calibration import PURPOSE, RANDOM, SCAN, JudgedFrame
from flexcalc.results.learning import Learning, LearnRound, verdict_of
from flexcalc.store import FolderStore, Store
from flexcalc.tasks.learn import bands, exploration, loop
from flexcalc.tasks.learn import model as fitting
from flexcalc.tasks.learn.bands import explore_bands
from flexcalc.tasks.learn.baselines import Baselines
from flexcalc.tasks.learn.exploration import DEVIATION, explore, first_geometries
from flexcalc.tasks.learn.job import LearnJob, bends_within, prepared
from flexcalc.tasks.stationary.minima import distinct_minima
from flexcalc.training.checkpoints import NO_CHECKPOINTS
from flexcalc.training.tuning import Sets
from flexcalc.units import KB, KCAL_MOL
from tests.systems import GEOMETRY, INPUTS, WATER, springs

SHORT = {
    "reference": "ase:ase.calculators.emt:EMT",
    "budget": 32,
    "first": 14,
    "batch": 8,
    "checks": 2,
    "replicas": 4,
    "committee": 2,
    "time_ps": 0.02,
    "sigma": 10.0,
    "temperatures_K": (300.0, 600.0),
    "energy_target_kcal_mol": 1e-9,
    "workers": 1,
    "progress": False,
}


def water():
    return Atoms(WATER, GEOMETRY)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A learning in a folder, from start to end."""
    folder = tmp_path_factory.mktemp("learn") / "whole"
    return folder, fx.learn(water(), **SHORT, output=folder)


def test_the_budget_is_spent_and_kept_to(whole):
    folder, found = whole
    # Of the two checks, water has one minimum to spend on.
    assert (found.labels, found.round_count, found.targets_reached) == (31, 2, False)
    assert len(found.dataset) == 31
    assert [row.labels for row in found.rounds] == [22, 30]
    assert sorted(set(found.dataset.tags["round"].tolist())) == [0, 1, 2, 3]
    assert 1 <= found.points.checks <= 2
    assert "the budget is spent" in found.summary()
    results = json.loads((folder / "results.json").read_text())
    assert Learning.from_dict(results, found.store).summary() == found.summary()
    assert "Learning" in (folder / "report.html").read_text()


def test_the_model_is_a_potential_of_the_molecule_and_knows_its_doubt(whole):
    _, found = whole
    reference = fx.load(SHORT["reference"], WATER)
    positions = found.dataset.positions
    ours, theirs = found(positions), reference(positions)
    assert np.sqrt(np.mean((ours.forces - theirs.forces) ** 2)) < 0.05
    assert ours.deviation.shape == (31, 3)


def test_errors_of_a_round_are_those_on_labels_that_its_model_had_not_seen(whole):
    folder, found = whole
    model = fx.load(folder / "round-2/model.flex")
    data = found.dataset
    rows = (data.tags["round"] == 2) & (data.tags[PURPOSE] == RANDOM)
    fresh = data[np.flatnonzero(rows)]
    off = model(fresh.positions).forces - fresh.forces

    rmse = np.sqrt(np.mean(off**2)) / KCAL_MOL
    assert found.rounds[1].force_rmse_kcal_mol_A == pytest.approx(rmse)
    assert found.rounds[1].training_points + found.rounds[1].validation_points == 22


@pytest.mark.parametrize(("share", "rounds"), [(0.75, 2), (0.25, 5)])
def test_targets_that_are_reached_end_it_when_enough_frames_have_tested_them(share, rounds):
    """Two rounds at least, with ten random frames in all."""
    targets = {"energy_target_kcal_mol": 1e3, "force_target_kcal_mol_A": 1e3}
    found = fx.learn(water(), **SHORT | targets | {"budget": 60, "random_share": share})
    assert (found.targets_reached, found.round_count) == (True, rounds)
    assert found.labels == 14 + 8 * rounds + 1


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"first": 40}, "first: expected at most budget - checks = 32 - 2 = 30"),
        ({"temperatures_K": ()}, "temperatures_K: expected at least one"),
        ({"first": None, "checks": None, "budget": 3}, "budget: expected at least 4"),
        ({"committee": 1}, "committee: expected at least 2"),
        ({"committee": 8}, "first: expected at least 16"),
        ({"reference": "xtc:GFN2-xTB"}, "did you mean xtb"),
    ],
)
def test_what_cannot_be_learned_is_refused_before_anything_is_written(change, match, tmp_path):
    with pytest.raises(InputError, match=match):
        fx.learn(water(), **SHORT | change, output=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_calculator_object_labels_and_is_not_changed():
    found = fx.learn(water(), **SHORT | {"reference": EMT(), "budget": 14, "checks": 0})
    assert (found.labels, found.round_count) == (14, 0)
    assert found.reference == "python:EMT"
    assert (found.points, found.minima) == (None, ())


@pytest.mark.data
@pytest.mark.parametrize(
    ("where", "calls"),
    [
        ("loop.first_geometries", 1),
        ("job.label", 1),
        ("loop.fit_model", 1),
        ("loop.explore", 1),
        ("job.label", 2),
        ("loop.fit_model", 2),
        ("job.label", 3),
        ("loop.fit_model", 3),
        ("search.relax_rows", 1),
        ("job.label", 4),
        ("checks.points_checked", 1),
        ("crash.relax_rows", 1),
        ("crash.run_replicas", 1),
    ],
)
def test_a_learning_that_was_interrupted_ends_as_the_undisturbed_one(
    where, calls, whole, tmp_path, monkeypatch
):
    """Stopped after the so many-th call of a part, whose result is on disk or lost with it."""
    room = "stationary" if where.startswith("search") else "learn"
    place = f"flexcalc.tasks.{room}.{where}"
    module, name = place.rsplit(".", 1)
    original = getattr(import_module(module), name)
    counted = []

    def interrupted(*given, **options):
        found = original(*given, **options)
        counted.append(name)
        if len(counted) == calls:
            raise KeyboardInterrupt
        return found

    with monkeypatch.context() as patched:
        patched.setattr(place, interrupted)
        with pytest.raises(KeyboardInterrupt):
            fx.learn(water(), **SHORT, output=tmp_path / "run")
    found = fx.learn(water(), **SHORT, output=tmp_path / "run")
    folder, undisturbed = whole
    files = ("labels.xyz", "rounds.json", "calibration.json")
    for one in (*files, "stationary.xyz", "minima.json", "barriers.json", "crash.json"):
        assert (tmp_path / "run" / one).read_bytes() == (folder / one).read_bytes()
    assert found.model.sha256() == undisturbed.model.sha256()


def test_the_minimum_is_checked_before_it_is_trained_on(whole):
    folder, found = whole
    [minimum, *_] = found.minima
    [place, *_] = found.store.get("stationary.xyz").positions
    reference, before = (
        fx.load(SHORT["reference"], WATER),
        fx.load(folder / "stationary/model.flex"),
    )
    force = np.linalg.norm(reference(place[None]).forces[0], axis=1).max() / KCAL_MOL
    assert minimum.reference_force_kcal_mol_A == pytest.approx(force)
    assert np.linalg.norm(before(place[None]).forces[0], axis=1).max() < 0.01
    data = found.dataset
    is_check = data.tags[PURPOSE] == "check"
    assert (data.positions[is_check] == place).all()
    assert before.facts["training_sha256"] != found.model.facts["training_sha256"]
    assert found.points.verdict() in found.verdict
    assert "Minima and barriers" in (folder / "report.html").read_text()
    assert (folder / "tables/minima.csv").exists()


def judged(complete, replicas=(8, 8, 8)):
    """A round with so many complete replicas at 300, 500 and 800 K."""
    return LearnRound(
        round=3,
        training_points=80,
        validation_points=20,
        labels=120,
        force_rmse_kcal_mol_A=0.8,
        energy_rmse_kcal_mol=0.2,
        unsure_force_rmse_kcal_mol_A=None,
        error_over_deviation=1.2,
        rank_correlation=None,
        complete_replicas=sum(complete),
        unsure_replicas=sum(replicas) - sum(complete),
        failed_replicas=0,
        temperatures_K=(300.0, 500.0, 800.0),
        replicas_by_temperature=replicas,
        complete_by_temperature=complete,
    )


@pytest.mark.parametrize(
    ("complete", "reached", "verdict", "kelvin"),
    [
        ((8, 8, 8), True, "trust it for dynamics of some 2 ps up to 800 K", 800),
        (
            (8, 8, 5),
            True,
            "trust it for dynamics of some 2 ps up to 500 K, not beyond (of its replicas 3 of 8 at "
            "800 K ended early)",
            500,
        ),
        ((7, 8, 8), True, "DO NOT TRUST IT in dynamics: of its replicas 1 of 8 at 300 K", None),
        (
            (8, 8, 8),
            False,
            "DO NOT TRUST IT YET: its errors on new geometries have not stayed below the targets",
            800,
        ),
    ],
)
def test_the_verdict_says_what_the_last_round_shows(complete, reached, verdict, kelvin):
    last = judged(complete)
    assert verdict_of(last, 2.0, reached=reached).startswith(verdict)
    assert last.holds_up_to_K == kelvin


def test_without_a_round_nothing_is_judged():
    assert verdict_of(None, 2.0, reached=False).startswith("NOT JUDGED")


def test_the_verdict_stands_in_the_results_and_the_report(whole):
    folder, found = whole
    assert found.verdict.startswith("DO NOT TRUST IT YET")
    assert found.verdict in found.summary()
    assert "DO NOT TRUST IT YET" in (folder / "report.html").read_text()
    assert sum(found.rounds[0].replicas_by_temperature) == SHORT["replicas"]
    assert sum(found.rounds[0].complete_by_temperature) == found.rounds[0].complete_replicas


class Doubtful(CheckedPotential):
    """GFN2-xTB with a deviation, as a committee has one."""

    def __init__(self, numbers):
        self.numbers = np.array(numbers)
        self.surface = fx.load("xtb:GFN2-xTB", self.numbers)

    def evaluate(self, positions):
        return replace(self.surface(positions), deviation=np.ones(positions.shape[:2]))


def job_of(numbers, sampler):
    options, start = Learn(reference="", starts=("",)), SimpleNamespace(numbers=numbers)
    return LearnJob(options, "", [start], sampler, "", Baselines([]), [], [])


@pytest.fixture(scope="module")
def ethanol():
    """Ethanol, whose hydroxyl group has three minima: anti, and two gauche that are mirrored."""
    atoms = molecule("CH3CH2OH")
    [bond] = torsions(atoms.numbers, atoms.positions)
    turned = [bond.turned(atoms.positions, np.radians(angle)) for angle in (0, 120, -120, 10)]
    positions = np.stack(turned)
    found = fx.load("xtb:GFN2-xTB", atoms.numbers)(positions)
    return Dataset(atoms.numbers, positions, found.energies, found.forces)


def test_minima_are_found_once_each_and_bands_lead_over_the_tops_between_them(ethanol):
    model, numbers = Doubtful(ethanol.numbers), ethanol.numbers
    minima = distinct_minima(numbers, model, ethanol.positions)
    assert len(minima) == 3
    store, job = Store(), job_of(numbers, model)
    images = explore_bands(job, model, ethanol, store, np.random.default_rng(0))
    assert len(images) == 3 * (bands.IMAGES - 2)
    assert (images.tags[DEVIATION] == 1).all()
    lowest = model(minima).energies.min()
    heights = model(images.positions).energies.reshape(3, -1) - lowest
    assert (heights.max(axis=1) > 0.03).all()  # eV; 1 kcal/mol is 0.043
    assert heights.max() < 0.2
    tops = images.tags[bands.TOP].reshape(3, -1)
    assert tops.sum(axis=1).tolist() == [1, 1, 1]
    assert (tops.argmax(axis=1) == heights.argmax(axis=1)).all()
    again = explore_bands(job, None, ethanol, store, np.random.default_rng(1))
    np.testing.assert_array_equal(again.positions, images.positions)


def test_named_coordinates_are_scanned_from_the_minima_rigid_and_relaxed(ethanol, monkeypatch):
    monkeypatch.setattr(bands, "_upper", lambda scan, highest: scan.images[1:])
    model, numbers = Doubtful(ethanol.numbers), ethanol.numbers
    (bond,) = torsions(numbers, ethanol.positions[0])
    named = Coordinate("dihedral", bond.atoms)
    job = replace(job_of(numbers, model), coordinates=[named])
    images = explore_bands(job, model, ethanol, Store(), np.random.default_rng(0))
    scans = images[images.tags[SCAN]]
    assert len(images) - len(scans) == 3 * (bands.IMAGES - 2)
    count = bands.SCAN_IMAGES - 1
    assert len(scans) == (2 + 3) * count  # the others go from one minimum to another
    assert not scans.tags[bands.TOP].any()
    scans = scans[: 2 * count]
    rigid, relaxed = np.split(named.values(scans.positions).ravel(), 2)
    for one in (rigid, relaxed):
        steps = np.diff(np.unwrap(one, period=360))
        assert np.ptp(steps) < 1e-6
        assert 150 / 12 <= abs(steps[0]) <= 180 / 12
    # What is relaxed has forces along the dihedral alone.
    largest = np.abs(model(scans.positions).forces).max(axis=(1, 2)).reshape(2, -1)
    assert largest[1].mean() < largest[0].mean()


def test_the_upper_half_of_a_scan_is_asked_for():
    energies = np.array([0.0, 1.0, 4.0, 6.0, 2.9, 0.5])
    scan = SimpleNamespace(images=np.arange(6), evaluation=SimpleNamespace(energies=energies))
    assert bands._upper(scan, 100.0).tolist() == [2, 3]
    # What is above the highest energy of interest is left out later, and sets no scale.
    assert bands._upper(scan, 4.0).tolist() == [2, 3, 4]


class Folding:
    """A family whose candidates are off by so much in energies and forces; keeps its frames."""

    name = "folding"
    folds_at_once = True

    def __init__(self, off, high=()):
        self.off, self.high = off, list(high)
        self.seen = None

    def candidates(self):
        return tuple(self.off)

    def session(self, data, others, rng, progress):
        self.seen = data
        return self

    def fit(self, *_):
        raise AssertionError("nothing is to be trained")

    load = fit

    def left_out(self, candidate, parts, others=()):
        assert sorted(np.concatenate(parts).tolist()) == list(range(len(self.seen)))
        energies, forces = self.seen.labels()
        energy, force = self.off[candidate]
        off = np.full(len(energies), energy)
        off[self.high] = 100.0 if candidate == "narrow" else 0.0
        return [Evaluation(energies + off, forces + force)]


def test_energies_left_out_choose_among_candidates_with_good_forces(monkeypatch):
    data = springs(60)
    off = {"smooth": (1.0, 1.0), "narrow": (0.1, 1.2), "bad": (0.0, 1.3)}

    def choose(family):
        rng = np.random.default_rng(0)
        return fitting._chosen_by_folds(family, data, rng, silent, NO_CHECKPOINTS)

    assert choose(Folding(off)) == "narrow"
    # A few frames that are far off, which the smooth one gets right, do not count.
    assert choose(Folding(off, high=[3, 7])) == "narrow"
    monkeypatch.setattr(fitting, "LEEWAY", 0.1)
    assert choose(Folding(off)) == "smooth"
    monkeypatch.setattr(fitting, "LEEWAY", 0.4)
    assert choose(Folding(off)) == "bad"


def test_the_kernel_is_that_of_all_labels_and_not_of_the_budget_alone(ethanol):
    job = job_of(ethanol.numbers, Doubtful(ethanol.numbers))
    job = replace(job, options=replace(job.options, family=(make_family("sgdml", {}),), budget=150))
    assert job.family.kernel == "bonds"
    known = ethanol[np.arange(len(ethanol)).repeat(20)]
    assert replace(job, known=known).family.kernel == "molecule"


def test_all_frames_choose_by_folds_and_random_ones_where_there_are_none(monkeypatch):
    data = springs(60)
    sets = Sets(data[np.arange(50)], data[np.arange(50, 60)])
    seen = {}

    def search(family, train, validation, rng, progress, checkpoints):
        seen["sets"] = Sets(train, validation)
        return SimpleNamespace(family="by the random ones")

    def chosen(family):
        rng = np.random.default_rng(0)
        return fitting._chosen(SimpleNamespace(family=family), sets, rng, silent, NO_CHECKPOINTS)

    def rows(part):
        gaps = np.abs(part.positions[:, None] - data.positions).max(axis=(2, 3))
        assert (gaps.min(axis=1) == 0).all()
        return set(gaps.argmin(axis=1).tolist())

    monkeypatch.setattr(fitting, "fit_best", search)
    family = Folding({"smooth": (1.0, 1.0), "narrow": (0.1, 1.2)})
    assert chosen(family) == "narrow"
    assert rows(family.seen) == set(range(60))
    monkeypatch.setattr(fitting, "SEARCHED", 20)
    chosen(family)
    assert len(rows(family.seen)) == 20
    assert not seen

    monkeypatch.setattr(family, "left_out", lambda *_: None)
    assert chosen(family) == "by the random ones"
    assert len(rows(seen["sets"].train)) == 20
    assert rows(seen["sets"].validation) == set(range(50, 60))
    assert chosen(Folding({"alone": (1.0, 1.0)})) == "alone"


def test_minima_on_both_sides_of_a_named_bond_are_crossed_by_rotation_and_by_inversion():
    trans, cis = (read(INPUTS / f"azobenzene-{name}.xyz") for name in ("trans", "cis"))
    minima = np.stack([trans.positions, cis.positions])
    named = Coordinate("dihedral", (5, 6, 7, 8))
    bends = [Coordinate("angle", atoms) for atoms in ((5, 6, 7), (6, 7, 8))]
    job = SimpleNamespace(coordinates=[named], bends=bends)
    found = list(bands._crossings(job, minima, np.random.default_rng(0)))
    assert [(len(scan.drive), len(scan.relax)) for scan, *_ in found] == [
        *((1, 0), (1, 5), (1, 1)),  # rotation: rigid, relaxed within the dihedral, and everywhere
        *((1, 0), (2, 0), (1, 0), (2, 0)),  # at each nitrogen: inversion, and both at once
    ]
    model, rng = fx.load("xtb:GFN2-xTB", trans.numbers), np.random.default_rng(0)
    paths = []
    for scan, start, end in found:
        first = scan.first(trans.numbers, start[None], end)
        paths.append(scan.init(model, first, rng).images)
    for path in paths:
        turned = np.abs(named.values(path[[0, -1]]))
        assert turned.min() < 20
        assert turned.max() > 160
    widest = np.array([max(bend.values(path).max() for bend in bends) for path in paths])
    assert (widest[:3] < 135).all()
    assert (widest[3:] > 165).all()
    # Of one side alone there is nothing to cross.
    assert not list(bands._crossings(job, minima[:1], np.random.default_rng(0)))


def test_one_minimum_has_no_bands(ethanol):
    one = ethanol[np.array([0, 3])]
    model = Doubtful(ethanol.numbers)
    job = job_of(ethanol.numbers, model)
    found = explore_bands(job, model, one, Store(), np.random.default_rng(0))
    assert (len(found), found.tags[DEVIATION].shape) == (0, (0,))


def test_the_learned_model_knows_its_frames_its_domain_and_can_be_saved(whole, tmp_path):
    _, found = whole
    judged = fx.evaluate(found, found.dataset, progress=False)
    assert judged.trained_on == len(found.dataset)
    assert found.domain is not None
    assert found.distance(found.dataset.positions[:2]) is not None
    found.save(tmp_path / "m.flex")
    found.save(tmp_path / "m.flex", overwrite=True)
    assert fx.load(tmp_path / "m.flex").sha256() == found.sha256()


def test_driven_replicas_reach_their_targets_and_are_not_counted_in_the_verdict(tmp_path):
    found = fx.learn(
        molecule("CH3CH2OH"),
        **SHORT | {"budget": 20, "first": 14, "batch": 6, "replicas": 12, "time_ps": 0.4},
        force_target_kcal_mol_A=1e3,
        coordinate=("angle 0 1 2",),
        output=tmp_path / "run",
    )
    (row,) = found.rounds
    assert sum(row.replicas_by_temperature) == 8  # every third of 12 is driven
    assert row.complete_replicas + row.unsure_replicas + row.failed_replicas == 12


def test_a_drive_pulls_in_the_first_half_and_holds_in_the_second(rng):
    place = molecule("CH3CH2OH")
    hydroxyl = Coordinate("dihedral", torsions(place.numbers, place.positions)[0].atoms)
    (line,) = exploration.driven_lines([hydroxyl], place.positions[None])
    known = np.repeat(place.positions[None], 4, axis=0)
    starts = known[:3].copy()
    drive = exploration.drive_of((), (line,), known, starts, np.array([1]), rng)
    assert np.isnan(drive.targets[[0, 2]]).all()
    target, begun = drive.targets[1, 0], hydroxyl.values(known[:1])[0]
    who = np.array([0, 1])
    middle = begun + (target - begun - 360 * np.round((target - begun) / 360)) / 2
    for share, centre in ((0.0, begun), (0.25, middle), (0.5, target), (1.0, target)):
        springs = drive.springs(place.numbers, who, share)
        away = (springs.centres[1, 0] - centre + 180) % 360 - 180
        assert away == pytest.approx(0, abs=1e-9)
        assert np.isnan(springs.centres[0, 0])
    found = springs(starts[:2])
    assert (found.energies[0], np.abs(found.forces[0]).max()) == (0, 0)
    assert found.energies[1] == pytest.approx(line.kappa / 2 * line.gaps(begun, target) ** 2)


def test_targets_of_a_coordinate_that_is_no_dihedral_go_a_little_beyond_what_is_known(rng):
    known = np.repeat(molecule("CH3CH2OH").positions[None], 3, axis=0)
    known[1, 0] += 0.2
    bond = Coordinate("distance", (0, 1))
    values = bond.values(known)
    (line,) = exploration.driven_lines([bond], known)
    low, high = line.centres
    assert low < values.min()
    assert values.max() < high
    assert high - low < np.ptp(values) + 0.4


def test_targets_of_named_coordinates_are_spread_over_their_ranges(rng):
    place = molecule("CH3CH2OH")
    turn = Coordinate("dihedral", torsions(place.numbers, place.positions)[0].atoms)
    known = np.repeat(place.positions[None], 3, axis=0)
    known[1, 0] += 0.2
    named = exploration.driven_lines([turn, Coordinate("distance", (0, 1))], known)
    starts = np.repeat(place.positions[None], 20, axis=0)
    drive = exploration.drive_of(named, (), known, starts, np.arange(2, 20), rng)
    assert np.isnan(drive.targets[:2]).all()
    assert (np.isfinite(drive.targets[2:]).sum(axis=1) == 1).all()
    for line, targets in zip(named, drive.targets.T, strict=True):
        low, high = line.centres
        shares = np.sort((targets[np.isfinite(targets)] - low) / (high - low))
        assert np.floor(9 * shares).tolist() == list(range(9))


def test_geometries_at_which_replicas_end_unsure_are_candidates(ethanol, tmp_path):
    """However early: there the model needs a label."""
    job = job_of(ethanol.numbers, None)
    job = replace(job, options=replace(job.options, replicas=6, time_ps=0.1))
    model, rng = Doubtful(ethanol.numbers), np.random.default_rng(0)
    found = explore(job, model, ethanol, 1e-9, FolderStore(tmp_path), rng)
    assert found.ends == ("unsure",) * 6
    last = found.frames.tags["replica"].tolist()
    assert last == list(range(6))
    assert (found.frames.tags["time_ps"] < 0.01).all()


def test_a_dihedral_is_held_within_its_width_on_the_slope_of_a_barrier():
    place = molecule("CH3CH2OH")
    hydroxyl = Coordinate("dihedral", torsions(place.numbers, place.positions)[0].atoms)
    (line,) = exploration.driven_lines([hydroxyl], place.positions[None], 40.0)
    (soft,) = exploration.driven_lines([hydroxyl], place.positions[None])
    angles = np.radians(np.arange(0.0, 180.0))
    steepest = np.abs(np.gradient(40.0 * KCAL_MOL * np.sin(angles) ** 2)).max()  # per degree
    assert steepest / line.kappa == pytest.approx(10.0, rel=1e-3)
    assert steepest / soft.kappa > 60.0
    (bond,) = exploration.driven_lines(
        [Coordinate("distance", (0, 1))],
        place.positions[None] * np.array([1.0, 1.1])[:, None, None],
        40.0,
    )
    assert bond.kappa == pytest.approx(KB * 500.0 / (0.1 / 1.5) ** 2)


def test_frames_that_are_rare_along_a_coordinate_come_first(rng):
    """A thousand frames of a minimum, and ten of the way over the top."""
    place = molecule("CH3CH2OH")
    bond = Coordinate("distance", (0, 1))
    positions = np.repeat(place.positions[None], 1010, axis=0)
    positions[1000:, 0, 0] += np.linspace(1.0, 2.0, 10)
    order = exploration.evenly([bond], positions, rng)
    assert sorted(order) == list(range(1010))
    assert (order[:12] >= 1000).sum() >= 8


@pytest.mark.parametrize(
    ("texts", "said"), [(("dihedral 0 1 2 9",), "atom 9"), (("distance 0 1",) * 2, "twice")]
)
def test_a_coordinate_that_cannot_be_used_is_refused_before_anything_is_written(
    tmp_path, texts, said
):
    with pytest.raises(FlexcalcError, match=said):
        fx.learn(water(), **SHORT, coordinate=texts, output=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def rmse(values, axis):
    return np.sqrt((values**2).mean(axis=axis)) / KCAL_MOL


@pytest.mark.parametrize("number", [1, 2])
def test_predicted_and_true_errors_are_those_of_the_model_before_the_labels(number, whole):
    folder, found = whole
    model = fx.load(folder / f"round-{number}/model.flex")
    data = found.dataset[np.flatnonzero(found.dataset.tags["round"] == number)]
    forces = np.stack([one(data.positions).forces for one in model.members])
    errors = rmse(forces.mean(axis=0) - data.forces, (1, 2))
    deviations = rmse(forces.std(axis=0, ddof=1), (1, 2))

    frames = [frame for frame in found.frames if frame.round == number]
    assert [frame.purpose for frame in frames] == data.tags[PURPOSE].tolist()
    assert [frame.error_kcal_mol_A for frame in frames] == pytest.approx(errors)
    assert [frame.deviation_kcal_mol_A for frame in frames] == pytest.approx(deviations)
    earlier = [
        frame.error_kcal_mol_A / frame.deviation_kcal_mol_A
        for frame in found.frames
        if frame.round < number
    ]
    scale = np.median(earlier) if earlier else 1.0
    assert found.rounds[number - 1].scale == pytest.approx(scale)
    predicted = [frame.predicted_error_kcal_mol_A for frame in frames]
    assert predicted == pytest.approx(scale * deviations)
    ratio = np.median(errors / deviations)
    assert found.rounds[number - 1].error_over_deviation == pytest.approx(ratio)


def test_figures_of_the_predicted_errors_are_those_of_its_frames(whole):
    folder, found = whole
    predicted = np.array([frame.predicted_error_kcal_mol_A for frame in found.frames])
    errors = np.array([frame.error_kcal_mol_A for frame in found.frames])
    target = Learn(reference="", starts=("",)).force_target_kcal_mol_A
    sure = np.argsort(predicted)[:8]
    results = json.loads((folder / "results.json").read_text())
    assert results["judged_frames"] == len(errors) == 16
    assert results["rank_correlation"] == pytest.approx(spearmanr(predicted, errors)[0])
    assert results["confident_half_large_errors"] == np.mean(errors[sure] > 2 * target)
    within = np.abs(np.log2(predicted / errors)) <= 1
    assert results["share_within_factor_2"] == within.mean()
    deviations = [frame.deviation_kcal_mol_A for frame in found.frames]
    assert results["error_over_deviation"] == pytest.approx(np.median(errors / deviations))
    # Four random frames are too few for figures of their own.
    assert sum(frame.purpose == RANDOM for frame in found.frames) < 10
    assert found.random_calibration is None
    for row in found.rounds:
        of_round = np.array([frame.round == row.round for frame in found.frames])
        expected = spearmanr(predicted[of_round], errors[of_round])[0]
        assert row.rank_correlation == pytest.approx(expected)


def judged_frame(number, deviation, error, purpose=RANDOM):
    return JudgedFrame(
        round=number,
        purpose=purpose,
        deviation_kcal_mol_A=deviation,
        predicted_error_kcal_mol_A=2 * deviation,
        error_kcal_mol_A=error,
    )


@pytest.mark.parametrize(("error", "scale"), [(None, 1.0), (3.0, 3.0), (1e-3, 0.1)])
def test_replicas_end_where_the_scaled_deviation_exceeds_five_times_the_target(
    error, scale, monkeypatch
):
    options = Learn(reference="", starts=("",), force_target_kcal_mol_A=0.7)
    going = loop._Loop(SimpleNamespace(options=options), Store())
    # Rounds before the latest three do not count, nor does a single outlier.
    going.frames = [] if error is None else [judged_frame(n, 1.0, error) for n in (2, 3, 4)]
    going.frames += [] if error is None else [judged_frame(1, 1.0, 50.0)] * 9
    monkeypatch.setattr(loop, "explore", lambda *given: given[3])
    bound = going._explored(5, None, SimpleNamespace(data=None, sets=Sets(None, None)), Store())
    per_component = bound / np.sqrt(3) / KCAL_MOL
    assert scale * per_component == pytest.approx(5 * 0.7)


def test_random_frames_have_figures_of_their_own_where_they_are_enough():
    rng = np.random.default_rng(0)
    errors = rng.lognormal(size=(2, 12))
    random = [judged_frame(1, one / 2, other) for one, other in errors.T]
    chosen = [judged_frame(1, 1.0, 9.0, "unsure")] * 30
    going = loop._Loop(
        SimpleNamespace(
            options=Learn(reference="", starts=("",)), level="", baselines=Baselines([]), known=None
        ),
        Store(),
    )
    going.rows, going.frames = [judged((8, 8, 8))], [*random, *chosen]
    labelled = SimpleNamespace(data=range(42), spent=42)
    going.family = SimpleNamespace(name="sgdml")
    found = going._result(labelled, None, None)
    assert (found.calibration.judged_frames, found.random_calibration.judged_frames) == (42, 12)
    expected = spearmanr(*errors)[0]
    assert found.random_calibration.rank_correlation == pytest.approx(expected)
    assert found.to_dict()["random_rank_correlation"] == pytest.approx(expected)


def test_predicted_errors_can_be_drawn_and_taken_as_a_table(whole):
    folder, found = whole
    axes = found.plot(Figure().add_subplot(), "calibration")
    drawn = {line.get_label(): line.get_xydata() for line in axes.lines}
    for name, is_random in (("random frames", True), ("chosen frames", False)):
        pairs = [
            (frame.predicted_error_kcal_mol_A, frame.error_kcal_mol_A)
            for frame in found.frames
            if (frame.purpose == RANDOM) == is_random
        ]
        np.testing.assert_allclose(drawn[name], pairs)
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
    assert len(found.to_frame()) == 2
    table = found.to_frame("frames")
    assert table["error_kcal_mol_A"].tolist() == [one.error_kcal_mol_A for one in found.frames]
    exported = (folder / "tables/calibration.csv").read_text().splitlines()
    assert exported == table.to_csv(index=False).splitlines()
    assert (folder / "figures/learn-calibration.pdf").exists()
    assert "the deviation of the committee times a scale" in (folder / "report.html").read_text()


def test_what_cannot_be_drawn_is_refused(whole):
    _, found = whole
    with pytest.raises(InputError, match="this learning has no dihedrals to plot"):
        found.plot(quantity="dihedrals")
    with pytest.raises(InputError, match="expected one of errors, calibration, dihedrals"):
        found.plot(quantity="forces")
    with pytest.raises(InputError, match="expected one of rounds, frames"):
        found.to_frame("minima")


@pytest.fixture
def explored_ethanol(ethanol, tmp_path):
    """A learning in a folder that has two rounds of exploration of ethanol."""
    store = FolderStore(tmp_path)
    purpose = np.array(["first", "random", "unsure", "band"])
    store.put("labels.xyz", replace(ethanol, tags={PURPOSE: purpose, "round": np.arange(4)}))
    rows = [replace(judged((8, 8, 8)), round=number).to_dict() for number in (1, 2)]
    store.put("rounds.json", rows)
    [bond] = torsions(ethanol.numbers, ethanol.positions[0])
    for number, angles in ((1, (0, 5)), (2, (40, 80, 120))):
        frames = [bond.turned(ethanol.positions[0], np.radians(angle)) for angle in angles]
        store.within(f"round-{number}").put(
            "explored.xyz", Dataset(ethanol.numbers, np.array(frames))
        )
    store.put("results.json", {"command": "learn"})
    write_report(tmp_path)
    return tmp_path, Learning.from_damaged({}, store), bond.atoms


def test_explored_dihedrals_are_drawn_with_the_labels_in_them(explored_ethanol, ethanol):
    folder, found, atoms = explored_ethanol
    name = f"dihedral {' '.join(map(str, atoms))} / degrees"
    labelled = [Atoms(ethanol.numbers, one).get_dihedral(*atoms) for one in ethanol.positions]
    start = labelled[0]
    explored = np.array([start, start + 5, start + 40, start + 80, start + 120])

    rows = (folder / "tables/dihedrals-explored.csv").read_text().splitlines()
    assert rows[0] == name
    np.testing.assert_allclose((np.array(rows[1:], float) - explored + 180) % 360, 180, atol=1e-6)
    axes = found.plot(Figure().add_subplot(), "dihedrals")
    assert axes.get_xlabel() == name
    assert axes.get_xticks().tolist() == list(range(-180, 181, 60))
    assert sum(bar.get_height() for bar in axes.patches) == 5
    drawn = {line.get_label(): line.get_xdata()[0] for line in axes.lines}
    for purpose, value in zip(("first", "random", "unsure", "band"), labelled, strict=True):
        assert (drawn[purpose] - value + 180) % 360 == pytest.approx(180)
    cells = len(np.unique(np.floor((explored % 360) / 30)))
    page = (folder / "report.html").read_text()
    assert f"has reached {100 * cells / 12:.0f} % of a grid of 30 degrees" in page
    assert "5 explored frames of all rounds" in page


def test_a_report_is_written_of_a_learning_whose_exploration_is_damaged(explored_ethanol):
    folder, _, _ = explored_ethanol
    (folder / "round-1/explored.xyz").write_text("no frames\n")
    files_write(folder / "round-2/explored.xyz", Dataset(WATER, GEOMETRY[None]))
    write_report(folder)
    assert "of 0 explored frames" in (folder / "report.html").read_text()


def test_hyperparameters_are_chosen_again_where_the_training_set_has_grown(monkeypatch):
    real, seen = loop.fit_model, []

    def spy(job, sets, store, rng, family=None):
        seen.append((len(sets.train), family is None))
        return real(job, sets, store, rng, family)

    monkeypatch.setattr(loop, "fit_model", spy)
    fx.learn(water(), **SHORT | {"budget": 38, "checks": 0, "random_share": 0.25})
    assert seen == [(10, True), (16, True), (22, False), (38, False)]


def test_the_first_geometries_are_driven_along_a_named_coordinate(ethanol, tmp_path, monkeypatch):
    monkeypatch.setattr(exploration, "DRIVEN_AT_FIRST", 6)
    monkeypatch.setattr(exploration, "DRIVEN_PS", 0.2)
    place = ethanol[:1]
    (bond,) = torsions(place.numbers, place.positions[0])
    named = Coordinate("dihedral", bond.atoms)
    job = job_of(place.numbers, Doubtful(place.numbers).surface)
    job = replace(job, options=replace(job.options, first=16), coordinates=[named])
    found = first_geometries(job, place, FolderStore(tmp_path))
    driven = named.values(fx.read(tmp_path / "driven.xyz").positions)
    assert np.ptp(driven) > 180
    assert len(found) == 16
    assert (
        np.abs(found.positions[:, None] - fx.read(tmp_path / "driven.xyz").positions[None]).max(
            axis=(2, 3)
        )
        < 1e-6
    ).any()  # some of those are chosen


def test_nitrogens_of_a_double_bond_that_is_named_are_bent_too():
    place = fx.read(INPUTS / "azobenzene-trans.xyz")
    turn, bends = Coordinate("dihedral", (5, 6, 7, 8)), [(5, 6, 7), (6, 7, 8)]
    found = bends_within([turn], place.numbers, place.positions[0])
    assert [(one.kind, one.atoms) for one in found] == [("angle", atoms) for atoms in bends]
    named = [turn, found[0]]
    assert bends_within(named, place.numbers, place.positions[0]) == [found[1]]
    (line, _) = exploration.driven_lines(found, place.positions, 50.0, straight=True)
    assert line.centres[1] == pytest.approx(180 - 5.0 / 1.5)
    # The dihedral of a hydroxyl turns by itself, and carbons have more than two bonds.
    ethanol = molecule("CH3CH2OH")
    for bond in torsions(ethanol.numbers, ethanol.positions):
        turning = [Coordinate("dihedral", bond.atoms)]
        assert not bends_within(turning, ethanol.numbers, ethanol.positions)


@pytest.mark.parametrize(
    ("coordinate", "bends"), [("[]", []), ('["dihedral 0 1 2 3"]', ["angle 0 1 2", "angle 1 2 3"])]
)
def test_a_smiles_alone_has_a_geometry_to_find_bends_in(coordinate, bends, tmp_path):
    run = tmp_path / "run.toml"
    run.write_text(
        f'starts = ["smiles:C/N=N/C"]\nreference = "xtb:GFN2-xTB"\ncoordinate = {coordinate}\n'
    )
    assert [one.label for one in prepared(load(Learn, run)).bends] == bends
