"""Band and string on surfaces whose saddles and paths are known."""

import numpy as np
import pytest

from flexcalc.methods.iterate import iterate
from flexcalc.methods.optimisers import FIRE, LBFGS
from flexcalc.methods.path import NEB, String, interpolate

METHODS = [
    NEB(align=False),
    NEB(align=False, optimiser=FIRE()),
    NEB(align=False, softest_spring_eV_A2=0.5),
    String(align=False),
    String(align=False, optimiser=FIRE()),
]


def name(method):
    soft = getattr(method, "softest_spring_eV_A2", None)
    return f"{method.kind}-{method.optimiser.kind}{'-variable' if soft else ''}"


def point(x, y):
    return np.array([[x, y, 0.0]])


def search(method, surface, path, rng, **changed):
    from dataclasses import replace

    method = replace(method, images=len(path), force_tolerance_eV_A=1e-4, **changed)
    state = iterate(method, surface, method.init(surface, path, rng), steps=1000, rng=rng)
    assert method.converged(state)
    return state


def stationary(surface, x, y):
    """A place without force near (x, y), by scipy, and its energy."""
    from scipy.optimize import root

    found = root(lambda at: surface(point(*at)[None]).forces[0, 0, :2], (x, y), tol=1e-13)
    return found.x, float(surface(point(*found.x)[None]).energies[0])


@pytest.mark.physics
def test_the_muller_brown_surface_is_the_published_one(muller_brown):
    """Minima and saddles as in Muller and Brown, table 1, in their units."""
    known = {(-0.558, 1.442): -146.700, (0.623, 0.028): -108.167, (-0.822, 0.624): -40.665}
    for place, energy in known.items():
        found, lowest = stationary(muller_brown, *place)
        assert found == pytest.approx(place, abs=1e-3)
        assert lowest / muller_brown.SCALE == pytest.approx(energy, abs=1e-3)


@pytest.mark.physics
@pytest.mark.parametrize("method", METHODS, ids=name)
def test_the_muller_brown_barrier_is_exact(method, muller_brown, rng):
    """The energy's error is the square of the force over twice a curvature of 1 and more."""
    first, low = stationary(muller_brown, -0.558, 1.442)
    last, _ = stationary(muller_brown, 0.623, 0.028)
    _, top = stationary(muller_brown, -0.822, 0.624)
    path = interpolate(point(*first), point(*last), 11, "linear")
    state = search(method, muller_brown, path, rng)
    assert state.barrier() == pytest.approx(top - low, abs=1e-8)


def bowed(images):
    """A flat first guess between the two ends of the half circle."""
    path = interpolate(point(1, 0), point(-1, 0), images, "linear")
    path[1:-1, 0, 1] += 0.3
    return path


@pytest.mark.physics
@pytest.mark.parametrize("method", METHODS, ids=name)
def test_the_bows_barrier_and_path_are_the_closed_form(method, bow, rng):
    """Barrier h exactly; images on the circle but for the tangent's error.

    The tangent points to the higher neighbour, a chord that is off by half the angle a between
    neighbours; the slope along the path, at most h, leaves h sin(a / 2) / k across it.
    """
    state = search(method, bow, bowed(13), rng)
    assert state.barrier() == pytest.approx(bow.height, abs=1e-8)
    places = state.images[:, 0, :2]
    angles = np.arctan2(places[:, 1], places[:, 0])
    widest = np.abs(np.diff(angles)).max()
    bound = bow.height * np.sin(widest / 2) / bow.stiffness
    assert np.abs(np.linalg.norm(places, axis=1) - 1).max() < 1.1 * bound
    expected = bow.height * np.sin(angles) ** 2
    # Off the circle by d the energy is higher by k d^2 / 2.
    excess = state.evaluation.energies - expected
    assert np.abs(excess).max() < bow.stiffness * (1.1 * bound) ** 2


@pytest.mark.physics
def test_band_and_string_settle_on_the_same_images(bow, rng):
    """Without a climb both ask for no force across the same tangents, and equal gaps.

    A spring's slack is what is left of the band: its force, below the tolerance, over its
    stiffness.
    """
    path = bowed(11)
    ends = [
        search(NEB(align=False, optimiser=LBFGS()), bow, path, rng, climb=False),
        search(String(align=False), bow, path, rng, climb=False),
    ]
    gaps = [np.diff(end.images[:, 0], axis=0) for end in ends]
    for gap in gaps:
        length = np.linalg.norm(gap, axis=1)
        assert length.max() - length.min() < 1e-3
    assert np.abs(ends[0].images - ends[1].images).max() < 2e-3


@pytest.mark.physics
def test_stiffer_springs_gather_images_at_the_barrier(bow, rng):
    even = search(NEB(align=False, climb=False), bow, bowed(12), rng)
    soft = NEB(align=False, climb=False, softest_spring_eV_A2=0.2)
    gathered = search(soft, bow, bowed(12), rng)
    gap = [np.linalg.norm(np.diff(s.images[:, 0], axis=0), axis=1) for s in (even, gathered)]
    assert gap[0] == pytest.approx(np.full(11, gap[0].mean()), rel=1e-3)
    # At rest the pull k_i d_i of all springs is the same.
    pull = gap[1] * soft.stiffness(gathered.evaluation.energies)
    assert pull == pytest.approx(np.full(11, pull.mean()), rel=1e-3)
    assert gap[1][5] < 0.5 * gap[1][0]


@pytest.mark.parametrize("method", [NEB(images=7, align=False), String(images=7, align=False)])
def test_a_step_is_one_call_for_all_inner_images(method, bow, rng):
    sizes = []

    def counted(positions):
        sizes.append(len(positions))
        return bow(positions)

    state = method.init(counted, bowed(7), rng)
    state = iterate(method, counted, state, steps=5, rng=rng)
    assert sizes == [7, *[5] * state.step]
