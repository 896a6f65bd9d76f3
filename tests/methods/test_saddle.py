"""Saddles, Hessians and reaction paths against closed forms, ASE and scipy."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from ase import Atoms
from ase.vibrations import VibrationsData
from scipy.integrate import solve_ivp
from test_path_search import pyramids
from triangles import Triangle, curved_wells, muller_brown, ring, sides, triangles

from flexcalc.errors import InputError, LabelError, ShapeError
from flexcalc.methods.hessian import (
    atomic_masses,
    hessian,
    rigid_motions,
    update_hessians,
    vibrations,
)
from flexcalc.methods.irc import EARLIEST, IRC, steepest_descent
from flexcalc.methods.iterate import iterate
from flexcalc.methods.saddle import RFO, rational_steps
from flexcalc.units import WAVENUMBER
from tests.systems import Failing

SADDLES = np.array(
    [[-0.822001558732732, 0.624312802814871], [0.212486582000662, 0.292988325107368]]
)
"""Of the Muller-Brown surface, with its heights."""
HEIGHTS = 0.01 * np.array([-40.6648435086574, -72.2489401129])
MINIMA = np.array([[-0.558223634633024, 1.44172584180467], [-0.0500108229, 0.4666941049],
                   [0.623499404930877, 0.0280377585286857]])  # fmt: skip


def refined(potential, guesses, rng, steps=60, tangents=None, **fields):
    method = RFO(**fields)
    state = method.init(potential, guesses, rng, tangents)
    state = iterate(method, potential, state, steps=steps, rng=rng)
    assert method.converged(state)
    return state


# ---------------------------------------------------------------- Hessians


@pytest.mark.physics
def test_a_hessian_of_springs_is_the_closed_form(pairs):
    """A spring's is k n n + k (1 - r0/r)(1 - n n) between its ends, the error is of order h^2."""
    springs = pairs([8, 1, 1], {(1, 8): (20.0, 1.0), (1, 1): (3.0, 1.6)})
    geometry = np.array([[0.0, 0, 0], [1.1, 0.1, 0], [-0.3, 0.9, 0.2]])
    expected = np.zeros((3, 3, 3, 3))  # atom, atom, axis, axis
    for i, j, k, r0 in zip(springs.i, springs.j, springs.stiffness, springs.rest, strict=True):
        apart = geometry[i] - geometry[j]
        r = np.linalg.norm(apart)
        along = np.outer(apart, apart) / r**2
        block = k * along + k * (1 - r0 / r) * (np.eye(3) - along)
        for a, b, sign in ((i, i, 1), (j, j, 1), (i, j, -1), (j, i, -1)):
            expected[a, b] += sign * block
    expected = expected.swapaxes(1, 2).reshape(9, 9)
    errors = [np.abs(hessian(springs, geometry[None], h)[0] - expected).max() for h in (0.02, 0.01)]
    assert errors[1] < 1e-2
    assert errors[0] / errors[1] == pytest.approx(4, rel=0.01)


def test_a_hessian_of_a_batch_is_one_call_and_that_of_each_row(ammonia, rng):
    batch = rng.normal(size=(2, 4, 3))
    both = hessian(ammonia, batch)
    assert ammonia.calls == 1
    rows = np.concatenate([hessian(ammonia, row[None]) for row in batch])
    assert np.abs(both - rows).max() < 1e-9


@pytest.mark.physics
def test_frequencies_are_ases(ammonia):
    up, _ = pyramids()
    found = hessian(ammonia, up[None])[0]
    masses = atomic_masses(ammonia.numbers)
    theirs = VibrationsData.from_2d(Atoms(ammonia.numbers, up), found).get_frequencies()
    ours = vibrations(up, found, masses)
    # At a minimum the six modes that they also list are those of zero frequency.
    assert ours.frequencies_cm == pytest.approx(np.sort(theirs.real)[6:], abs=0.05)
    norms = np.einsum("mac,nac,a->mn", ours.modes, ours.modes, masses)
    assert norms == pytest.approx(np.eye(6), abs=1e-10)


@pytest.mark.physics
def test_a_diatomic_has_one_frequency_in_closed_form(pairs):
    """omega^2 = k (1/m1 + 1/m2)."""
    springs = pairs([6, 8], {(6, 8): (30.0, 1.2)})
    geometry = np.array([[0.0, 0, 0], [0, 0, 1.2]])
    masses = atomic_masses(springs.numbers)
    found = vibrations(geometry, hessian(springs, geometry[None])[0], masses)
    assert found.frequencies_cm == pytest.approx(
        [np.sqrt(30.0 * (1 / masses).sum()) / WAVENUMBER], rel=1e-6
    )


@pytest.mark.parametrize(
    ("geometry", "motions"),
    [
        ([[0.0, 0, 0]], 3),
        ([[0.0, 0, 0], [1.0, 1, 1]], 5),
        ([[0.0, 0, 0], [1.1, 0, 0], [-1.2, 0, 0]], 5),
        ([[0.0, 0, 0], [1.1, 0, 0], [-1.2, 0.3, 0]], 6),
    ],
)
def test_a_linear_molecule_has_one_rotation_less(geometry, motions):
    geometry = np.array(geometry)
    masses = np.linspace(1.0, 16.0, len(geometry))
    rigid = rigid_motions(geometry, masses)
    assert rigid.shape == (motions, geometry.size)
    assert rigid @ rigid.T == pytest.approx(np.eye(motions), abs=1e-9)


def test_a_hessian_of_another_molecule_is_refused():
    with pytest.raises(ShapeError, match=r"expected a Hessian \(9, 9\) and 3 masses"):
        vibrations(np.zeros((3, 3)), np.zeros((6, 6)), np.ones(3))


@pytest.mark.physics
def test_a_corrected_hessian_knows_the_last_change_of_the_gradient(rng):
    before = rng.normal(size=(2, 6, 6))
    before = before + before.swapaxes(1, 2)
    moves, changes = rng.normal(size=(2, 2, 6))
    moves[1] = 0.0
    changes[1] = 0.0
    after = update_hessians(before, moves, changes)
    assert np.einsum("bij,bj->bi", after, moves) == pytest.approx(changes, abs=1e-9)
    assert after == pytest.approx(after.swapaxes(1, 2), abs=1e-12)
    assert np.array_equal(after[1], before[1])


# ---------------------------------------------------------------- saddles


@pytest.mark.physics
def test_both_saddles_of_muller_and_brown_are_found_at_once(rng):
    surface = Triangle(muller_brown)
    guesses = triangles(SADDLES + np.array([[0.08, -0.06], [-0.07, 0.08]]))
    state = refined(surface, guesses, rng, saddle_force_eV_A=1e-6, hessian_every=0)
    assert sides(state.positions) == pytest.approx(SADDLES, abs=1e-4)
    assert state.evaluation.energies == pytest.approx(HEIGHTS, abs=1e-8)
    assert (state.curvatures < 0).all()
    assert surface.calls == state.step + 2  # the guess and its Hessian


@pytest.mark.physics
def test_the_saddle_of_a_curved_double_well_is_where_it_should_be(rng):
    surface = Triangle(curved_wells)
    state = refined(surface, triangles([[0.2, 0.15]]), rng, saddle_force_eV_A=1e-6)
    assert sides(state.positions)[0] == pytest.approx([0, 0], abs=1e-4)
    assert state.evaluation.energies[0] == pytest.approx(0.8, abs=1e-9)
    found = vibrations(
        state.positions[0], hessian(surface, state.positions)[0], atomic_masses(surface.numbers)
    )
    assert found.imaginary() == 1


@pytest.mark.physics
def test_rows_do_not_know_of_each_other(rng):
    surface = Triangle(muller_brown)
    guesses = triangles(SADDLES + 0.07)
    both = refined(surface, guesses, rng, saddle_force_eV_A=1e-5)
    for row in range(2):
        alone = refined(surface, guesses[row : row + 1], rng, saddle_force_eV_A=1e-5)
        assert np.abs(alone.positions[0] - both.positions[row]).max() < 1e-9


@pytest.mark.physics
def test_a_tangent_names_the_mode_that_is_climbed(rng):
    """At the planar ammonia one mode leads over the barrier; a guess is turned back to it."""
    wells = Triangle(curved_wells)
    guess = triangles([[0.05, 0.1]])
    along = triangles([[0.1, 0.0]]) - triangles([[0.0, 0.0]])
    method = RFO()
    state = method.init(wells, guess, rng, along)
    overlap = np.abs((state.modes * along).sum()) / np.linalg.norm(along)
    # The triangle follows a change of one side with all three atoms.
    assert overlap > 0.7
    assert state.curvatures[0] < 0


@pytest.mark.physics
def test_a_rational_step_is_newtons_near_the_saddle():
    values, slopes = np.array([[-2.0, 3.0, 5.0]]), np.array([[1e-5, -2e-5, 3e-5]])
    step = rational_steps(values, slopes, np.array([0]))
    assert step == pytest.approx(-slopes / values, rel=1e-6)


@pytest.mark.physics
def test_a_step_is_shortened_along_soft_modes_first():
    """At ten thousand times the metric the stiff mode keeps its step, the soft ones lose theirs."""
    values, slopes = np.array([[-0.01, 0.01, 40.0]]), np.array([[0.01, 0.01, 0.01]])
    free = rational_steps(values, slopes, np.array([0]))[0]
    short = rational_steps(values, slopes, np.array([0]), 1e4)[0]
    assert np.abs(short[:2]).max() < 0.03 * np.abs(free[:2]).min()
    assert short[2] == pytest.approx(free[2], rel=0.05)


@pytest.mark.physics
def test_the_saddle_of_a_soft_torsion_is_found_from_its_side(rng):
    """Straight steps stretch the bond; those that the quadratic model misses are taken back."""
    surface = Triangle(ring)
    guess = triangles([[np.cos(0.3), np.sin(0.3)]])
    state = refined(surface, guess, rng, saddle_force_eV_A=1e-4)
    assert sides(state.positions)[0] == pytest.approx([1, 0], abs=5e-3)
    assert state.evaluation.energies[0] == pytest.approx(0.01, abs=1e-5)
    assert state.curvatures[0] < 0


@pytest.mark.physics
def test_a_move_that_the_model_misses_is_taken_back(rng):
    """The other row of the batch moves on."""

    def surface(x, y):  # twice as steep a ring, whose first step stretches the bond too far
        return ring(x, y, stiffness=100.0, height=0.005)

    triangle, method = Triangle(surface), RFO(saddle_force_eV_A=1e-4)
    guesses = triangles([[np.cos(0.3), np.sin(0.3)], [1.01, 0.0]])
    before = method.init(triangle, guesses, rng)
    after = method.step(triangle, before, rng)
    assert np.array_equal(after.positions[0], before.positions[0])
    assert after.evaluation.energies[0] == before.evaluation.energies[0]
    assert after.trust_A[0] < 0.5 * before.trust_A[0]
    assert not np.array_equal(after.positions[1], before.positions[1])
    assert after.evaluation.forces == pytest.approx(triangle(after.positions).forces, abs=1e-12)


def test_a_move_to_where_the_potential_fails_is_taken_back_and_shortened(rng):
    triangle, method = Triangle(curved_wells), RFO(saddle_force_eV_A=1e-4, hessian_every=0)
    guess = triangles([[0.3, 0.4]])
    plain = method.init(triangle, guess, rng)
    step = np.abs(method.step(triangle, plain, rng).positions - guess).max()
    surface = Failing(triangle, 3)  # after the guess and its Hessian
    before = method.init(surface, guess, rng)
    after = method.step(surface, before, rng)
    assert np.array_equal(after.positions, guess)
    assert after.trust_A[0] < before.trust_A[0]
    assert 0 < np.abs(method.step(surface, after, rng).positions - guess).max() < step


def test_a_potential_that_fails_everywhere_ends_the_search(rng):
    surface = Failing(Triangle(curved_wells), *range(3, 100))
    method = RFO(hessian_every=0)
    state = method.init(surface, triangles([[0.3, 0.4]]), rng)
    with pytest.raises(LabelError):
        iterate(method, surface, state, steps=100, rng=rng)


def test_a_saddle_of_one_atom_is_refused(rng):
    atom = Triangle(curved_wells)
    with pytest.raises(ShapeError, match="at least two atoms"):
        RFO().init(atom, np.zeros((1, 1, 3)), rng)


def test_tangents_of_another_shape_are_refused(rng):
    with pytest.raises(ShapeError, match="expected tangents"):
        RFO().init(Triangle(curved_wells), triangles([[0, 0]]), rng, np.zeros((2, 3, 3)))


# ---------------------------------------------------------------- reaction paths


@pytest.mark.physics
def test_the_ways_down_end_in_the_minima_that_the_saddle_joins(rng):
    surface = Triangle(muller_brown)
    state = refined(surface, triangles(SADDLES + 0.05), rng)
    method = IRC(arc_step=0.2, arc_force_eV_A=1e-3)
    before = surface.calls
    down = method.init(surface, state.positions, rng)
    down = iterate(method, surface, down, steps=400, rng=rng)
    assert method.converged(down)
    assert surface.calls - before <= down.step + 2  # Hessian and saddles
    ends = sides(down.positions)
    for k, (one, other) in enumerate(((0, 1), (1, 2))):
        found = ends[2 * k : 2 * k + 2]
        gaps = np.linalg.norm(found[:, None] - MINIMA[None], axis=-1)
        assert sorted(gaps.argmin(axis=1)) == [one, other]
        assert gaps.min(axis=1).max() < 5e-3


@pytest.mark.parametrize(("step", "done"), [(1, False), (EARLIEST, True)])
def test_small_forces_next_to_a_soft_saddle_are_no_minimum(step, done, rng):
    """A descent of glycine stopped at once, and its path was drawn straight to the minimum."""
    surface = Triangle(curved_wells)
    method = IRC(arc_force_eV_A=10.0)
    state = method.init(surface, triangles([[0.0, 0.0]]), rng)
    hard = np.repeat(np.eye(9)[None], len(state.positions), axis=0)
    state = method.step(surface, replace(state, hessians=hard, step=step), rng)
    assert state.done.all() == done


@pytest.mark.physics
def test_the_way_down_is_the_steepest_descent_of_scipy(rng):
    """The local quadratic approximation is of second order in its step."""
    surface = Triangle(curved_wells)
    roots = np.sqrt(atomic_masses(surface.numbers))[:, None]
    top = triangles([[0.0, 0.0]])

    def slope(_, flat):
        forces = surface((flat.reshape(3, 3) / roots)[None]).forces[0] / roots
        return (forces / np.linalg.norm(forces)).ravel()

    worst = []
    for step in (0.2, 0.1):
        method = IRC(arc_step=step)
        state = method.init(surface, top, rng)
        state = iterate(method, surface, state, steps=int(2.4 / step), rng=rng)
        ours = state.points[2:, 0] * roots
        start = (state.points[1, 0] * roots).ravel()
        exact = solve_ivp(slope, (0, 2.6), start, rtol=1e-8, atol=1e-10, dense_output=True)
        dense = exact.sol(np.linspace(0, 2.6, 4001)).T.reshape(-1, 3, 3)
        gaps = np.sqrt(((ours[:, None] - dense[None]) ** 2).sum(axis=(2, 3))).min(axis=1)
        worst.append(gaps.max())
    assert worst[1] < 4e-3
    assert worst[0] / worst[1] > 3


@pytest.mark.physics
def test_a_descent_of_a_quadratic_surface_is_exact():
    """On E = g x + w x^2 / 2 in one coordinate the way goes straight, and ends at -g / w."""
    slopes = np.array([[2.0, 0.0], [-1.0, 3.0], [0.0, 0.0]])
    curvatures = np.array([[0.1, 0.0], [0.0, 5.0], [-0.4, 0.3]])
    step = steepest_descent(slopes, curvatures, np.full(3, 0.3))
    assert step[0] == pytest.approx([-0.05, 0.0], abs=1e-9)
    assert step[1] == pytest.approx([0.0, -0.3], abs=1e-9)
    assert step[2] == pytest.approx([0.24, -0.18], abs=1e-9)


def test_there_is_no_way_down_from_a_minimum(rng):
    surface = Triangle(curved_wells)
    with pytest.raises(InputError, match="geometry 0 is no saddle"):
        IRC().init(surface, triangles([[1.0, 0.7]]), rng)
