"""Minima and barriers of a model, against a torsion whose every minimum and barrier is known."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from flexcalc.dataset import Dataset
from flexcalc.errors import LabelError, NonFiniteError
from flexcalc.geometry.coordinates import dihedral, distance
from flexcalc.labelling import QUARANTINE
from flexcalc.masses import atomic_masses
from flexcalc.potential import CheckedPotential, Evaluation
from flexcalc.results.stationary import (
    LearnedBarrier,
    LearnedMinimum,
    PointsChecked,
)
from flexcalc.store import FolderStore, Store
from flexcalc.tasks.learn.checks import affordable, check_points
from flexcalc.tasks.starts import read_starts
from flexcalc.tasks.stationary import search as stationary
from flexcalc.tasks.stationary.minima import surviving
from flexcalc.tasks.stationary.search import Points, PointSearch, nearest_pairs
from flexcalc.units import KCAL_MOL
from tests.systems import (
    GEOMETRY,
    WATER,
    Springs,
    Torsion,
    peroxide_frames,
)


def search(model, known, store=None, ceiling_eV=np.inf):
    masses = atomic_masses(model.numbers)
    where = Store() if store is None else store
    return PointSearch(model, known.positions[:1], masses, ceiling_eV, where).run(
        known, np.random.default_rng(0)
    )


def dihedrals(positions):
    return np.abs(dihedral(positions, 0, 1, 2, 3)[0])


@pytest.fixture(scope="module")
def points():
    return search(Torsion(), peroxide_frames(Torsion()))


def test_all_minima_and_barriers_are_found_once_and_have_their_heights(points):
    model = Torsion()
    anti, gauche, cis, between = model.extremes()
    np.testing.assert_allclose(dihedrals(points.minima), [anti, gauche], atol=0.02)
    np.testing.assert_allclose(dihedrals(points.saddles), [between, cis], atol=0.02)
    lowest = model.torsion(anti)
    heights = [model.torsion(between) - lowest, model.torsion(cis) - model.torsion(gauche)]
    np.testing.assert_allclose(points.barriers_eV / KCAL_MOL, heights, atol=1e-3)
    assert [sorted(pair) for pair in points.ends.tolist()] == [[0, 1], [1, 1]]
    assert points.relaxations.tolist() == [8, 0]


def test_barriers_above_the_ceiling_are_left_out(points):
    known = peroxide_frames(Torsion())
    between = points.saddles_eV.mean() - known.energies.min()  # the ceiling is above this
    found = search(Torsion(), known, ceiling_eV=between)
    assert len(found.saddles) == 1
    np.testing.assert_allclose(found.saddles_eV, points.saddles_eV[:1], atol=1e-6)
    assert len(found.minima) == len(points.minima)


def test_a_search_that_was_interrupted_ends_as_the_undisturbed_one(points, tmp_path, monkeypatch):
    original, calls = stationary.search_path, []

    def interrupted(*given):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return original(*given)

    store = FolderStore(tmp_path)
    with monkeypatch.context() as patched:
        patched.setattr(stationary, "search_path", interrupted)
        with pytest.raises(KeyboardInterrupt):
            search(Torsion(), peroxide_frames(Torsion()), store)
    found = search(Torsion(), peroxide_frames(Torsion()), store)
    for name, value in vars(points).items():
        np.testing.assert_array_equal(vars(found)[name], value)


def test_where_the_model_fails_the_other_geometries_are_searched_from():
    whole = peroxide_frames(Torsion())
    positions = whole.positions.copy()
    positions[3, 2:] -= [0.6, 0.0, 0.0]
    known = replace(whole, positions=positions)
    found = search(Torsion(below=0.9), known)
    assert (len(found.minima), len(found.saddles)) == (2, 2)
    assert found.relaxations.tolist() == [8, 1]


def test_the_rows_that_do_not_fail_survive():
    def work(values):
        if (values == 5).any():
            raise NonFiniteError("five")
        return values, 2 * values

    one, two = surviving(work, np.arange(9))
    assert one.tolist() == [0, 1, 2, 3, 4, 6, 7, 8]
    assert two.tolist() == (2 * one).tolist()
    assert surviving(work, np.array([5])) is None
    assert surviving(work, np.array([])) is None


def test_near_minima_are_paired_so_that_all_are_connected():
    places = np.array([0.0, 1.0, 2.5, 10.0, 10.6])
    distances = np.abs(places[:, None] - places)
    assert nearest_pairs(distances, np.arange(5), 4) == [(3, 4), (0, 1), (1, 2), (2, 3)]
    assert nearest_pairs(distances, np.arange(5), 5)[-1] == (0, 2)
    # 3 and 4 are mirror images of 0 and 1
    pairs = nearest_pairs(distances, np.array([0, 1, 2, 0, 1]), 9)
    assert pairs == [(3, 4), (1, 2), (0, 2), (1, 4), (0, 3)]


def of_energies(minima, saddles, ends):
    """Points of these energies in kcal/mol."""
    shape = (4, 3)
    return Points(
        minima=np.zeros((len(minima), *shape)),
        minima_eV=np.array(minima) * KCAL_MOL,
        saddles=np.zeros((len(saddles), *shape)),
        saddles_eV=np.array(saddles) * KCAL_MOL,
        ends=np.array(ends).reshape(-1, 2),
        imaginary_cm=np.full(len(saddles), 300.0),
        relaxations=np.array([8, 0]),
    )


@pytest.mark.parametrize(
    ("checks", "minima", "saddles"),
    [
        (7, [0, 1, 2, 3], [1, 0, 2]),
        (5, [0, 1, 2], [1, 0]),
        (3, [0, 1], [1]),
        (1, [0], []),
    ],
)
def test_few_checks_are_of_the_lowest_minima_and_barriers(checks, minima, saddles):
    """Barriers of 4, 2 and 7 kcal/mol above the lower one of their minima."""
    found = affordable(of_energies([0, 1, 2, 3], [4, 3, 9], [[0, 3], [2, 1], [3, 2]]), checks)
    assert [one.tolist() for one in found] == [minima, saddles]


def job_with(reference, checks=20, fails=()):
    """A learning whose reference labels at once, and fails for these kinds of points."""

    def labels(geometries, store):
        lost = np.isin(geometries.tags["kind"], fails)
        if lost.any():
            store.put(QUARANTINE, geometries[np.flatnonzero(lost)])
        if lost.all():
            raise LabelError("no label")
        kept = geometries[np.flatnonzero(~lost)]
        found = reference(kept.positions)
        return Dataset(kept.numbers, kept.positions, found.energies, found.forces, kept.tags)

    return SimpleNamespace(
        numbers=reference.numbers,
        options=SimpleNamespace(check_count=checks, seed=0),
        ceiling_eV=lambda temperature_K: 1.0,
        starts=read_starts((peroxide_frames(Torsion())[:1],)),
        labels=labels,
    )


def checked(job, model=None, store=None):
    model, known = model or Torsion(), peroxide_frames(Torsion())
    store = Store() if store is None else store
    return check_points(job, model, known[:1], known, store), store


def test_the_reference_judges_minima_and_barriers_at_the_geometries_of_the_model():
    model, reference = Torsion(), Torsion(a=0.7, c=1.2)
    anti, gauche, cis, between = model.extremes()
    at = reference.torsion
    found, store = checked(job_with(reference))
    minima = [LearnedMinimum.from_dict(row) for row in store.get("minima.json")]
    barriers = [LearnedBarrier.from_dict(row) for row in store.get("barriers.json")]

    assert [row.name for row in minima] == ["minimum-1", "minimum-2"]
    assert minima[1].energy_kcal_mol == pytest.approx(
        model.torsion(gauche) - model.torsion(anti), abs=1e-3
    )
    assert minima[1].reference_kcal_mol == pytest.approx(at(gauche) - at(anti), abs=2e-3)
    heights = [at(between) - at(anti), at(cis) - at(gauche)]
    assert [row.reference_kcal_mol for row in barriers] == pytest.approx(heights, abs=2e-3)
    assert [(row.start, row.end) for row in barriers] == [
        ("minimum-1", "minimum-2"),
        ("minimum-2", "minimum-2"),
    ]
    largest = max(abs(row.difference_kcal_mol) for row in barriers)
    assert (found.barriers_compared, found.barriers_that_hold) == (2, 0)
    assert found.largest_barrier_error_kcal_mol == pytest.approx(largest)
    assert "DO NOT TRUST ITS BARRIERS: 2 of 2 differ" in found.verdict()
    assert f"minima within {minima[1].difference_kcal_mol * -1:.2f}" in found.verdict()

    labelled = store.get("stationary.xyz")
    assert labelled.tags["kind"].tolist() == ["minimum"] * 2 + ["saddle"] * 2
    np.testing.assert_allclose(reference(labelled.positions).energies, labelled.energies)


def test_barriers_that_the_reference_confirms_hold():
    found, _ = checked(job_with(Torsion(c=1.05)))
    assert (found.barriers_compared, found.barriers_that_hold, found.checks) == (2, 2, 4)
    assert found.verdict().startswith("barriers within 0.1")
    assert "TRUST" not in found.verdict()


def test_checks_are_not_exceeded():
    found, store = checked(job_with(Torsion(), checks=3))
    assert (found.checks, len(store.get("stationary.xyz"))) == (3, 3)
    assert (found.saddle_count, found.barriers_compared) == (2, 1)


@pytest.mark.parametrize(
    ("fails", "said", "labelled"),
    [
        (("minimum", "saddle"), "NOT CHECKED: the reference gave no label", None),
        (("saddle",), "minima within", 2),
        (("minimum",), "", 2),
    ],
)
def test_points_without_a_label_are_no_error_and_judge_nothing(fails, said, labelled):
    found, store = checked(job_with(Torsion(), fails=fails))
    assert said in found.verdict()
    assert (found.barriers_compared, found.largest_barrier_error_kcal_mol) == (0, None)
    kept = store.get("stationary.xyz")
    assert (None if kept is None else len(kept)) == labelled


def test_a_queue_that_nobody_serves_ends_the_learning_to_be_resumed():
    job = job_with(Torsion())

    def broken(geometries, store):
        raise LabelError("nobody labels any more")

    job.labels = broken
    with pytest.raises(LabelError, match="nobody"):
        checked(job)


def test_one_minimum_has_no_barrier_which_is_said():
    model = Springs()
    rng = np.random.default_rng(0)
    positions = GEOMETRY + 0.05 * rng.standard_normal((6, 3, 3))
    labels = model(positions)
    known = Dataset(WATER, positions, labels.energies, labels.forces)
    job = job_with(model)
    job.starts = read_starts((known[:1],))
    found = check_points(job, model, known[:1], known, Store())
    assert (found.minimum_count, found.saddle_count, found.checks) == (1, 0, 1)
    assert found.verdict().startswith("no barrier to check: its one minimum")


class Morse(CheckedPotential):
    """A molecule of two atoms."""

    numbers = np.array([7, 7])

    def evaluate(self, positions):
        length, gradient = distance(positions, 0, 1)
        decay = np.exp(-2.5 * (length - 1.1))
        slope = 2 * 10.0 * 2.5 * (1 - decay) * decay
        return Evaluation(10.0 * (1 - decay) ** 2, -slope[:, None, None] * gradient)


def test_two_atoms_have_one_minimum():
    positions = np.zeros((4, 2, 3))
    positions[:, 1, 0] = [1.0, 1.05, 1.15, 1.2]
    found = Morse()(positions)
    points = search(Morse(), Dataset(Morse.numbers, positions, found.energies, found.forces))
    assert (len(points.minima), len(points.saddles)) == (1, 0)
    assert np.linalg.norm(np.diff(points.minima[0], axis=0)) == pytest.approx(1.1, abs=1e-3)


class Repelled(Torsion):
    """The torsion, and 100 kcal/mol per radian away from the anti form."""

    def evaluate(self, positions):
        found = super().evaluate(positions)
        phi, gradient = dihedral(positions, 0, 1, 2, 3)
        beyond = np.where(np.abs(phi) > 2.5, 100.0 * KCAL_MOL, 0.0)
        force = (beyond * np.sign(phi))[:, None, None] * gradient
        return Evaluation(found.energies + beyond * (np.abs(phi) - 2.5), found.forces - force)


def test_other_minima_are_not_compared_with_one_that_is_an_artefact():
    found, store = checked(job_with(Repelled()))
    anti, gauche = (LearnedMinimum.from_dict(row) for row in store.get("minima.json"))
    assert anti.reference_force_kcal_mol_A > 50
    assert (gauche.energy_kcal_mol, gauche.reference_kcal_mol) == (0, 0)
    model = Torsion()
    high, low, *_ = model.extremes()
    apart = model.torsion(high) - model.torsion(low)
    assert anti.energy_kcal_mol == pytest.approx(apart, abs=1e-3)
    assert (found.minima_compared, found.minima_that_hold) == (1, 0)
    assert "DO NOT TRUST ITS MINIMA: 1 of 1" in found.verdict()


def test_figures_come_back_from_results_json():
    found, store = checked(job_with(Torsion(c=1.05)))
    assert PointsChecked.from_dict(found.to_dict(), store).verdict() == found.verdict()
