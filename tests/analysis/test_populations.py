"""Populations of conformers, maps of visits, and errors where a model went."""

import numpy as np
import pytest

from flexcalc.analysis.populations import Conformers, map_edges, visit_counts
from flexcalc.analysis.visited import evenly, force_errors, slopes
from flexcalc.errors import InputError
from flexcalc.geometry import Coordinate
from flexcalc.methods.crash import Crash, CrashTest
from flexcalc.methods.iterate import iterate
from flexcalc.potential import CheckedPotential, Evaluation
from flexcalc.units import KB

CARBON = np.array([6, 6])
PEROXIDE = np.array([8, 8, 1, 1])
TURN = Coordinate.parse("dihedral 2 0 1 3")
APART = Coordinate.parse("distance 0 1")


class DoubleWell(CheckedPotential):
    """Two atoms: E = height (x^2 - 1)^2 + tilt x, with x = (r - middle) / width."""

    numbers = CARBON
    height, tilt, middle, width = 0.06, 0.02, 1.8, 0.3

    def energy(self, r):
        x = (r - self.middle) / self.width
        return self.height * (x**2 - 1) ** 2 + self.tilt * x

    def evaluate(self, positions):
        arm = positions[:, 1] - positions[:, 0]
        r = np.sqrt((arm**2).sum(axis=1))
        x = (r - self.middle) / self.width
        slope = (4 * self.height * x * (x**2 - 1) + self.tilt) / self.width
        pull = (slope / r)[:, None] * arm
        return Evaluation(self.energy(r), np.stack([pull, -pull], axis=1))


def pair(r):
    return np.array([[0.0, 0, 0], [r, 0, 0]])


@pytest.mark.physics
def test_the_populations_of_a_double_well_are_boltzmanns():
    """In three dimensions p(r) is proportional to r^2 exp(-E / kT)."""
    well, kelvin, runs = DoubleWell(), 700.0, 240
    ends = {name: pair(well.middle + side * well.width) for name, side in (("in", -1), ("out", 1))}
    conformers = Conformers.of(CARBON, ends, [APART])
    test = CrashTest(
        temperatures_K=(kelvin,), seeds=runs, timestep_fs=2.0, time_ps=6.0, nve_ps=0.0,
        friction_per_ps=15.0, min_contact=0.0, keep_bonds=False,
    )  # fmt: skip
    method = Crash(test, CARBON, test.replicas(np.stack(list(ends.values()))))
    visits = []

    def look(state):
        if state.step > 1000 and state.step % 25 == 0:
            visits.append(conformers.nearest(state.moving.positions) == 0)

    rng = np.random.default_rng(4)
    state = method.init(well, method.replicas.positions, rng)
    state = iterate(method, well, state, steps=method.steps, rng=rng, observers=[look])
    assert len(state.alive) == runs
    shares = np.mean(visits, axis=0)
    r = np.linspace(0.5, 4.0, 20001)
    weight = r**2 * np.exp(-well.energy(r) / (KB * kelvin))
    exact = weight[r < well.middle].sum() / weight.sum()
    # Runs are independent of each other, so their spread is the error of their mean.
    error = shares.std(ddof=1) / np.sqrt(runs)
    assert error < 0.03
    assert abs(shares.mean() - exact) < 4 * error


def peroxide(degrees):
    """HOOH with a dihedral."""
    turn = np.radians(degrees)
    return np.array(
        [[0.0, 0, 0], [1.45, 0, 0], [-0.2, 0.95, 0],
         [1.65, 0.95 * np.cos(turn), 0.95 * np.sin(turn)]]
    )  # fmt: skip


def test_a_mirror_image_is_the_same_conformer():
    conformers = Conformers.of(PEROXIDE, {"bent": peroxide(70), "flat": peroxide(180)}, [TURN])
    frames = np.stack([peroxide(angle) for angle in (65, -65, 170, -178, -130, 120)])
    assert conformers.nearest(frames).tolist() == [0, 0, 1, 1, 1, 0]
    assert conformers.shares(frames) == {"bent": 0.5, "flat": 0.5}


def test_like_atoms_may_be_exchanged():
    water = np.array([8, 1, 1])
    uneven = np.array([[0.0, 0, 0], [1.2, 0, 0], [-0.18, 0.73, 0]])
    even = np.array([[0.0, 0, 0], [0.9, 0, 0], [-0.22, 0.87, 0]])
    conformers = Conformers.of(water, {"uneven": uneven, "even": even}, [APART])
    assert conformers.nearest(np.stack([uneven, uneven[[0, 2, 1]], even])).tolist() == [0, 0, 1]


def test_no_frames_have_no_populations():
    conformers = Conformers.of(PEROXIDE, {"bent": peroxide(70)}, [TURN])
    assert conformers.shares(np.empty((0, 4, 3))) == {}


@pytest.mark.inputs
def test_conformers_without_a_coordinate_are_refused():
    with pytest.raises(InputError, match="at least one minimum and one coordinate"):
        Conformers.of(PEROXIDE, {"bent": peroxide(70)}, [])


def test_a_map_counts_every_frame_in_its_bin():
    frames = np.stack([peroxide(angle) for angle in (-179.0, -1.0, 1.0, 1.5)])
    frames[3, 1, 0] = 1.6
    other = Coordinate.parse("distance 0 1")
    edges = [map_edges(TURN, 4, frames), map_edges(other, 3, frames)]
    assert edges[0].tolist() == [-180.0, -90.0, 0.0, 90.0, 180.0]
    np.testing.assert_allclose(edges[1], [1.45, 1.5, 1.55, 1.6])
    counts = visit_counts((TURN, other), edges, frames)
    expected = np.zeros((4, 3))
    values = TURN.values(frames)
    for value, column in zip(values, (0, 0, 0, 2), strict=True):
        expected[int((value + 180) // 90), column] += 1
    assert counts.tolist() == expected.tolist()


def test_a_map_of_one_place_has_bins_too():
    frames = np.stack([pair(1.5)])
    edges = map_edges(APART, 3, frames)
    assert (np.diff(edges) > 0).all()
    assert visit_counts((APART, APART), [edges, edges], frames).sum() == 1


@pytest.mark.parametrize(("count", "most"), [(0, 5), (3, 5), (5, 5), (1001, 7), (10, 1)])
def test_frames_are_taken_evenly_and_each_once(count, most):
    rows = evenly(count, most)
    assert len(rows) == min(count, most)
    assert len(set(rows.tolist())) == len(rows)
    if len(rows) > 2:
        assert np.ptp(np.diff(rows)) <= 1


def test_the_largest_force_error_is_the_longest_vector_and_the_rmse_is_over_components():
    exact, guess = np.zeros((2, 2, 3)), np.zeros((2, 2, 3))
    guess[1, 0] = [3.0, 4.0, 0.0]
    rmse, largest = force_errors(guess, exact)
    assert largest == pytest.approx(5.0)
    assert rmse == pytest.approx(np.sqrt(25 / 12))


def test_a_drift_is_the_slope_of_a_line():
    times = np.array([0.0, 0.1, 0.3, 0.4])
    energies = np.stack([2.0 - 3.0 * times, 5.0 + 0.5 * times], axis=1)
    np.testing.assert_allclose(slopes(times, energies), [-3.0, 0.5], rtol=1e-12)
