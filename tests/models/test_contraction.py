"""The contracted kernel model against the literal sum over training points and permutations."""

import copy
import pickle

import numpy as np
import pytest

from flexcalc.models.gdml import contraction
from flexcalc.models.gdml.contraction import Contraction
from flexcalc.models.gdml.descriptor import InverseDistances
from flexcalc.models.gdml.engine import engine
from flexcalc.models.gdml.groups import close, parsed

GROUPS = {1: [], 6: ["(2 3 4)", "(2 3)"], 8: ["(0 1)", "(2 3)", "(0 2)(1 3)"]}
"""Generators by the order of the group; six atoms."""
SIGMA, POINTS = 2.0, 11


def order_of(members):
    rows = [parsed(text, np.ones(6, dtype=int)) for text in GROUPS[members]]
    permutations = np.array(close(rows or [tuple(range(6))], 100))
    assert len(permutations) == members
    return InverseDistances(6).relabelled(permutations)


def literal(points, order, slopes, energies, x):
    """E and -dE/dx of one geometry by the formula of the module, and the size of its terms."""
    stretch = np.sqrt(5) / SIGMA
    value, slope, size = 0.0, np.zeros_like(x), 0.0
    for point, a, e in zip(points, slopes, energies, strict=True):
        for permuted in order:
            d = stretch * (x - point[permuted])
            n, along = np.linalg.norm(d), d @ a[permuted]
            decay = np.exp(-n)
            value += along * (1 + n) * decay + e * (1 + n + n**2 / 3) * decay
            slope += stretch * decay * (along + e * (1 + n) / 3) * d
            slope -= stretch * decay * (1 + n) * a[permuted]
            size += abs(along) + abs(e) + np.linalg.norm(a)
    return value, slope, size


@pytest.fixture
def case(rng):
    """Features, their slopes and their energy coefficients, for 11 training points."""
    points = rng.uniform(0.2, 1.2, size=(POINTS, 15))
    return points, rng.normal(size=(POINTS, 15)), rng.normal(size=POINTS)


def built(case, members, fitted, kind="cpu"):
    points, slopes, energies = case
    made = Contraction(points, order_of(members), SIGMA, engine(kind))
    made.set_coefficients(slopes, energies if fitted else None)
    return made


@pytest.mark.parametrize("fitted", [False, True], ids=["forces", "energies too"])
@pytest.mark.parametrize("members", GROUPS)
@pytest.mark.parametrize("blocks", ["one block", "several blocks"])
@pytest.mark.parametrize("kind", ["cpu", "torch"])
def test_it_is_the_literal_sum(kind, blocks, members, fitted, case, rng, monkeypatch):
    """To 1e-12 of the sum of the terms' sizes, for batches of 1, 2 and 33 geometries."""
    if kind == "torch":
        pytest.importorskip("torch")
    if blocks == "several blocks":
        for name, value in (("IMAGES", 4 * members), ("PAIRS", 12 * members), ("FEWEST", 1)):
            monkeypatch.setattr(contraction, name, value)
    found = built(case, members, fitted, kind)
    assert (len(found._blocks) > 1) == (blocks == "several blocks")
    points, slopes, energies = case
    x = rng.uniform(0.2, 1.2, size=(33, 15))
    expected = [literal(points, order_of(members), slopes, energies * fitted, frame) for frame in x]
    for batch in (1, 2, 33):
        values, gradients = found(x[:batch])
        assert values.shape == (batch,)
        for (value, slope, size), got, way in zip(expected, values, gradients, strict=False):
            assert abs(got - value) < 1e-12 * size
            assert np.abs(way - slope).max() < 1e-12 * size


def test_the_slope_is_minus_the_derivative_of_the_energy(case, rng):
    """Five-point differences in the features: h^4/30 times a fifth derivative of order 100."""
    found = built(case, 6, True)
    x, way, step = rng.uniform(0.2, 1.2, size=15), rng.normal(size=15), 2e-3
    way /= np.linalg.norm(way)
    shifts = np.array([-2, -1, 1, 2])
    energies, _ = found(x + step * shifts[:, None] * way)
    difference = np.array([1, -8, 8, -1]) @ energies / (12 * step)
    _, slope = found(x[None])
    assert abs(slope[0] @ way + difference) < 1e-9 * np.abs(slope).max()


@pytest.mark.parametrize("members", GROUPS)
def test_a_training_point_itself_is_nothing_special(members, case):
    """Its distance is zero up to rounding on either side."""
    found = built(case, members, True)
    points, slopes, energies = case
    values, gradients = found(points)
    for x, got, way in zip(points, values, gradients, strict=True):
        value, slope, size = literal(points, order_of(members), slopes, energies, x)
        assert abs(got - value) < 1e-12 * size
        assert np.abs(way - slope).max() < 1e-12 * size


def test_all_features_may_be_shifted(case, rng):
    """Only differences count; a common origin far away costs no digits but its own."""
    points, slopes, energies = case
    far = Contraction(points + 1e3, order_of(8), SIGMA)
    far.set_coefficients(slopes, energies)
    x = rng.uniform(0.2, 1.2, size=(5, 15))
    for one, other in zip(built(case, 8, True)(x), far(x + 1e3), strict=True):
        assert np.abs(one - other).max() < 1e-12 * 1e3 * np.abs(one).max()


def test_a_batch_of_none_gives_none(case):
    values, slopes = built(case, 6, True)(np.empty((0, 15)))
    assert values.shape == (0,)
    assert slopes.shape == (0, 15)


def test_coefficients_can_be_set_anew(case, rng):
    found = built(case, 6, True)
    _, slopes, _ = case
    found.set_coefficients(2 * slopes)
    x = rng.uniform(0.2, 1.2, size=(3, 15))
    expected = built(case, 6, False)(x)
    for one, other in zip(expected, found(x), strict=True):
        assert np.abs(2 * one - other).max() < 1e-12 * np.abs(other).max()


def test_it_survives_copying_and_pickling(case, rng):
    found = built(case, 8, True)
    x = rng.uniform(0.2, 1.2, size=(4, 15))
    expected = found(x)
    for other in (copy.deepcopy(found), pickle.loads(pickle.dumps(found))):
        for one, two in zip(expected, other(x), strict=True):
            assert np.array_equal(one, two)
