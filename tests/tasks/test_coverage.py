"""Runs say how far they left the training data of their model, and runs inside say nothing."""

import json
import warnings

import numpy as np
import pytest
from ase import Atoms

import flexcalc as fx
from flexcalc.domain import Domain
from flexcalc.potential import CheckedPotential, Evaluation
from flexcalc.results.coverage import NOT_SUPPORTED, Coverage, left_by, named_rows
from flexcalc.results.path import Path
from flexcalc.store import FlexcalcWarning, PlausibilityWarning, Store
from flexcalc.tasks.coverage import LEAST_STEPS, coverage_of_path
from tests.systems import GEOMETRY, WATER, KnownUpTo, Springs

pytestmark = pytest.mark.guard

HOT = {"steps": 200, "temperature_K": 3000.0, "replicas": 2, "keep_bonds": False, "seed": 1}


@pytest.fixture(autouse=True)
def _warnings_are_errors():
    """No warning but those that a test expects."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", FlexcalcWarning)
        warnings.simplefilter("ignore", PlausibilityWarning)  # scans without a barrier
        yield


def water():
    return Atoms(WATER, GEOMETRY)


def stretched(length):
    atoms = water()
    atoms.positions[1, 0] = length
    return atoms


def path(potential, **options):
    method = fx.Scan(images=5, drive=["distance 0 1"])
    ends = water(), stretched(1.4)
    return fx.path(potential, *ends, method=method, relax_ends=False, progress=False, **options)


def test_a_path_whose_top_is_outside_has_a_barrier_that_is_not_supported():
    with pytest.warns(FlexcalcWarning, match=f"barrier.*{NOT_SUPPORTED}"):
        result = path(KnownUpTo(1.2))
    coverage = result.coverage
    assert coverage.left
    assert coverage.largest_distance == pytest.approx(1.4 / 1.2)
    assert coverage.share_outside == 2 / 5
    assert coverage.where == "images 3 to 4 of 5"
    assert coverage.expected_error_eV_A == pytest.approx(0.05)
    assert coverage.unsupported == ("barrier", "barrier back", "reaction energy")
    assert NOT_SUPPORTED in result.summary()
    np.testing.assert_array_equal(result.to_frame()["distance"] > 1, [0, 0, 0, 1, 1])


@pytest.mark.parametrize(
    ("distances", "unsupported"),
    [
        ([0.5, 1.2, 0.5], ("barrier", "barrier back")),
        ([0.5, 0.8, 1.2], ("barrier", "barrier back", "reaction energy")),
        ([0.5, 0.8, 0.5], None),
    ],
)
def test_a_barrier_is_supported_only_if_all_images_are_inside(distances, unsupported):
    assert coverage_of_path(KnownUpTo(), np.array(distances)).unsupported == unsupported


def test_an_end_outside_that_relaxes_into_the_domain_was_asked_for_and_is_not_supported():
    inside, known = np.array([0.5, 0.8, 0.5]), KnownUpTo(1.2)
    found = coverage_of_path(known, inside, {"end": stretched(2.4).positions})
    assert found.left
    assert found.where == "the end as given"
    assert found.largest_distance == pytest.approx(2.0)
    assert found.unsupported == ("barrier", "barrier back", "reaction energy")
    assert not coverage_of_path(known, inside, {"end": stretched(1.1).positions}).left


def test_a_path_inside_says_so_without_a_warning():
    result = path(KnownUpTo(1.5))
    assert not result.coverage.left
    assert "within the training data" in result.summary()


def test_a_potential_without_a_domain_says_nothing():
    result = path(Springs())
    assert result.coverage is None
    assert "training" not in result.summary()
    assert not [key for key in result.to_dict() if key.startswith("domain")]


def test_a_reference_that_confirms_the_barrier_supports_it():
    result = path(KnownUpTo(1.2), relabel=Springs())
    assert result.coverage.supported_by_reference
    assert "supported by the reference" in result.summary()
    assert NOT_SUPPORTED not in result.summary()


def test_a_reference_that_contradicts_the_barrier_does_not_support_it():
    with pytest.warns(FlexcalcWarning, match=NOT_SUPPORTED):
        result = path(KnownUpTo(1.2), relabel=Springs(stiffness=10.0))
    assert result.coverage.supported_by_reference is False
    assert "nor by the reference" in result.summary()


def test_figures_of_a_coverage_stand_in_the_results_and_are_read_back():
    with pytest.warns(FlexcalcWarning):
        found = path(KnownUpTo(1.2)).to_dict()
    found = json.loads(json.dumps(found))
    assert found["domain_largest_distance"] == pytest.approx(1.4 / 1.2)
    assert Path.from_dict(found, Store()).coverage.to_dict() == {
        key: value for key, value in found.items() if key.startswith("domain_")
    }


def test_the_profile_shows_where_the_path_is_outside():
    with pytest.warns(FlexcalcWarning):
        result = path(KnownUpTo(1.2))
    legend = [text.get_text() for text in result.plot().get_legend().get_texts()]
    assert "model, outside the training data" in legend


def test_dynamics_that_leaves_the_data_says_when_and_which_replica():
    with pytest.warns(FlexcalcWarning, match="first replica"):
        run = fx.md(KnownUpTo(1.0), water(), progress=False, **HOT)
    coverage, distance = run.coverage, run.distances["distance"]
    assert distance.shape == (4, 2)  # every 60 steps, with frames every 20 and at least 50 apart
    assert coverage.share_outside == (distance > 1).mean()
    assert coverage.largest_distance == distance.max()
    outside = np.argwhere(distance > 1)
    assert coverage.first_time_ps * 1000 == run.distances["time_fs"][outside[0][0], 0]
    assert coverage.first_replica == outside[0][1]
    assert "LEFT THE TRAINING DATA" in run.summary()


def test_dynamics_that_stays_inside_says_so_without_a_warning():
    run = fx.md(KnownUpTo(1.3), water(), steps=100, temperature_K=300.0, progress=False)
    assert not run.coverage.left
    assert "within the training data" in run.summary()


def test_dynamics_without_a_domain_keeps_no_distances(tmp_path):
    fx.md(Springs(), water(), steps=20, progress=False, output=tmp_path / "run")
    assert not (tmp_path / "run" / "distances.csv").exists()


def test_distances_are_measured_at_few_steps():
    potential = KnownUpTo(1.3)
    fx.md(potential, water(), steps=200, frame_every=1, temperature_K=300.0, progress=False)
    assert potential.asked == 1 + 200 // LEAST_STEPS


def test_an_interrupted_run_ends_with_the_same_distances(tmp_path, monkeypatch):
    from flexcalc.methods import iterate

    with pytest.warns(FlexcalcWarning):
        fx.md(KnownUpTo(1.0), water(), progress=False, output=tmp_path / "whole", **HOT)
    monkeypatch.setattr(iterate.Checkpoint, "__init__", _often(iterate.Checkpoint.__init__))
    with pytest.raises(KeyboardInterrupt):
        fx.md(Ends(1.0, calls=90), water(), progress=False, output=tmp_path / "cut", **HOT)
    with pytest.warns(FlexcalcWarning):
        fx.md(Ends(1.0), water(), progress=False, output=tmp_path / "cut", **HOT)
    whole, cut = (tmp_path / name / "distances.csv" for name in ("whole", "cut"))
    assert whole.read_bytes() == cut.read_bytes()


def _often(init):
    """Checkpoints at every step."""

    def made(self, *given, **named):
        init(self, *given, **{**named, "seconds": 0.0})

    return made


class Ends(KnownUpTo):
    """Is interrupted at a call."""

    def __init__(self, longest, calls=10**9):
        super().__init__(longest)
        self.last = calls

    def evaluate(self, positions):
        if len(self.calls) > self.last:
            raise KeyboardInterrupt
        return super().evaluate(positions)


METAD = {
    **{"coordinate": "distance 0 1", "grid_min": [0.5], "grid_max": [2.0], "sigma": [0.05]},
    **{"steps": 800, "walkers": 2, "height_kcal_mol": 2.0, "pace": 10, "keep_bonds": False},
}


def test_metadynamics_says_where_on_its_surface_it_was_outside():
    with pytest.warns(FlexcalcWarning, match="distance 0 1 "):
        surface = fx.metad(KnownUpTo(1.1), water(), progress=False, **METAD)
    assert surface.coverage.left
    assert "distance 0 1 1." in surface.coverage.where
    outside, nodes = surface.arrays["outside"], surface.nodes[0]
    assert (outside[(nodes > 0.9) & (nodes < 1.0)] < 0.5).all()
    visited = np.isfinite(outside) & (nodes > 1.2)
    assert visited.any()
    assert (outside[visited] > 0.5).all()
    assert surface.plot().patches  # the shaded stretch


def test_metadynamics_inside_says_so_without_a_warning():
    surface = fx.metad(KnownUpTo(3.0), water(), progress=False, **METAD)
    assert "within the training data" in surface.summary()


def test_umbrella_sampling_says_which_windows_are_outside():
    options = {
        **{"coordinate": "distance 0 1", "low": [0.9], "high": [1.3], "windows": [9]},
        **{"steps": 800, "equilibration": 200, "keep_bonds": False, "kappa_kcal_mol": [800.0]},
    }
    with pytest.warns(FlexcalcWarning, match="highest free energy not supported"):
        profile = fx.umbrella(KnownUpTo(1.08), water(), progress=False, **options)
    assert "window" in profile.coverage.where
    assert NOT_SUPPORTED in profile.summary()
    inside = fx.umbrella(KnownUpTo(1.6), water(), progress=False, **options)
    assert "within the training data" in inside.summary()


def test_report_says_that_a_run_left_the_data(tmp_path):
    with pytest.warns(FlexcalcWarning):
        fx.md(KnownUpTo(1.0), water(), progress=False, output=tmp_path / "md", **HOT)
    with pytest.warns(FlexcalcWarning):
        path(KnownUpTo(1.2), output=tmp_path / "path")
    page = (tmp_path / "md" / "report.html").read_text()
    assert "LEFT THE TRAINING DATA" in page
    assert "Distance to the training data" in page
    page = (tmp_path / "path" / "report.html").read_text()
    assert NOT_SUPPORTED in page
    assert "Hollow points" in page


def test_a_few_frames_just_outside_do_not_count_as_leaving_the_data():
    assert not left_by(Domain(1.0), 0.004, 1.1)
    assert left_by(Domain(1.0), 0.03, 1.1)
    assert left_by(Domain(1.0), 0.001, 1.8)


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([], None),
        ([2], "image 2 of 6"),
        ([1, 2, 4], "images 1 to 2, 4 of 6"),
        (range(6), "all 6 images"),
    ],
)
def test_rows_are_named_in_words(rows, words):
    assert named_rows("images", np.array(rows, dtype=int), 6) == words


def test_a_coverage_from_results_without_its_later_figures_can_be_read():
    found = {
        **{"domain_limit": 1.0, "domain_largest_distance": 2.0},
        **{"domain_share_outside": 0.5, "domain_left": True},
    }
    assert "50 % outside" in Coverage.from_dict(found, Store()).summary()


def test_a_run_of_which_all_is_outside_says_100_percent():
    coverage = Coverage(limit=1.0, largest_distance=2.0, share_outside=1.0, left=True)
    assert "100 % outside" in coverage.summary()


class Pyramid(CheckedPotential):
    """An inverting pyramid on springs, whose training data lack the flat one.

    Args:
        known: whether it has a domain.
    """

    numbers = np.array([7, 1, 1, 1])

    def __init__(self, known=True):
        self.known = known

    def evaluate(self, positions):
        energies, forces = np.zeros(len(positions)), np.zeros_like(positions)
        for i, j in ((0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)):
            stiffness, rest = (20.0, 1.0) if i == 0 else (3.0, 1.6)
            apart = positions[:, i] - positions[:, j]
            length = np.linalg.norm(apart, axis=1)
            energies += 0.5 * stiffness * (length - rest) ** 2
            pull = (-stiffness * (length - rest) / length)[:, None] * apart
            forces[:, i] += pull
            forces[:, j] -= pull
        return Evaluation(energies, forces)

    @property
    def domain(self):
        return Domain(1.0) if self.known else None

    def distance(self, positions):
        height = np.linalg.norm(positions[:, 0] - positions[:, 1:].mean(axis=1), axis=1)
        return 1.4 - 2 * height


def pyramid(height):
    radius, turn = 1.6 / np.sqrt(3), np.radians([0, 120, 240])
    ring = radius * np.stack([np.cos(turn), np.sin(turn), 0 * turn], axis=1)
    return Atoms(Pyramid.numbers, np.vstack([[0, 0, height], ring]))


@pytest.fixture(scope="module")
def doubtful():
    """A saddle outside the training data, and the path that it comes from."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        result = fx.path(
            *(Pyramid(), pyramid(0.4), pyramid(-0.4)),
            method=fx.String(images=5),
            saddle=True,
            progress=False,
        )
    return result, [str(one.message) for one in said]


def test_a_saddle_outside_has_a_barrier_and_rates_that_are_not_supported(doubtful):
    saddle = doubtful[0].saddle
    assert saddle.coverage.where == "saddle"
    assert saddle.coverage.unsupported == ("barrier", "barrier back", "rates")
    assert saddle.first_rates is not None
    assert f"half-life {saddle.summary().split('half-life ')[1]}".count(NOT_SUPPORTED) == 1
    assert any("rates" in line and NOT_SUPPORTED in line for line in doubtful[1])


def test_a_path_and_its_saddle_keep_their_coverages_apart(doubtful):
    result = doubtful[0]
    found = result.to_dict()
    assert found["saddle_domain_where"] == "saddle"
    assert found["domain_where"] == result.coverage.where == "images 1 to 3 of 5"
    again = Path.from_dict(json.loads(json.dumps(found)), Store())
    assert again.coverage.to_dict() == result.coverage.to_dict()
    assert again.saddle.coverage.to_dict() == result.saddle.coverage.to_dict()


def test_a_saddle_that_the_reference_confirms_is_supported():
    options = {"relabel": Pyramid(known=False), "progress": False}
    saddle = fx.saddle(Pyramid(), pyramid(0.01), pyramid(0.4), pyramid(-0.4), **options)
    assert saddle.coverage.supported_by_reference
    assert NOT_SUPPORTED not in saddle.summary()
