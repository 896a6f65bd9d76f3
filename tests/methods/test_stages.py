"""Bands and strings that begin with few images and get more."""

from __future__ import annotations

import numpy as np
import pytest

from flexcalc.methods.iterate import iterate
from flexcalc.methods.path import (
    FEWEST_IMAGES,
    NEB,
    Stage,
    String,
    interpolate,
    path_length,
    with_few_images,
)
from tests.methods.test_path_search import planar_barrier, pyramids
from tests.methods.triangles import sides, triangles

TURN = np.linspace(0, np.pi, 41)


def curved(radius, turns=1):
    """A path (41, 3, 3) of a triangle along an arc of a radius."""
    return triangles(radius * np.stack([np.cos(turns * TURN), np.sin(turns * TURN)], axis=1))


def test_a_straight_path_has_the_fewest_images():
    straight = triangles(np.stack([np.linspace(-1, 1, 15), np.zeros(15)], axis=1))
    few = with_few_images(straight)
    assert len(few) == FEWEST_IMAGES
    assert np.array_equal(few[[0, -1]], straight[[0, -1]])


def test_a_path_that_bends_has_more_images():
    x = np.linspace(-1, 1, 41)
    waves = [triangles(np.stack([x, 0.5 * np.sin(k * np.pi * x)], axis=1)) for k in (0.25, 2, 4)]
    counts = [len(with_few_images(wave)) for wave in waves]
    assert counts[0] == FEWEST_IMAGES
    assert counts[0] < counts[1] < counts[2]


def test_few_images_are_evenly_spaced_on_the_path():
    path = curved(1.0, 3)
    few = with_few_images(path)
    assert len(few) < len(path)
    assert np.array_equal(few[[0, -1]], path[[0, -1]])
    steps = np.diff(path_length(few))
    assert steps == pytest.approx(np.full(len(steps), steps.mean()), rel=1e-3)
    x, y = sides(few).T
    assert np.hypot(x, y) == pytest.approx(np.ones(len(few)), abs=0.01)


@pytest.mark.parametrize("images", [3, 5, 6])
def test_a_short_path_is_as_it_is(images):
    path = curved(1.0)[:images]
    assert np.array_equal(with_few_images(path), path)


@pytest.mark.parametrize("method", [NEB(images=9), String(images=9)])
def test_images_are_added_next_to_the_highest(method, ammonia, rng):
    state = method.init(ammonia, interpolate(*pyramids(), 5, "linear"), rng)
    before = ammonia.calls
    grown = Stage(method, 7).step(ammonia, state, rng)
    assert ammonia.calls == before + 1
    assert len(grown.images) == 7
    assert grown.step == state.step + 1
    top = int(state.evaluation.energies.argmax())
    kept = [*range(top), top + 1, *range(top + 3, 7)]
    assert np.array_equal(grown.images[kept], state.images)
    assert np.array_equal(grown.evaluation.forces[kept], state.evaluation.forces)
    labels = ammonia(grown.images)
    assert grown.evaluation.energies == pytest.approx(labels.energies, abs=1e-12)
    assert grown.evaluation.forces == pytest.approx(labels.forces, abs=1e-12)
    for new in (top, top + 2):
        lengths = np.diff(path_length(grown.images[new - 1 : new + 2]))
        assert lengths[0] == pytest.approx(lengths[1], rel=0.1)


def test_stages_end_at_the_barrier_with_all_images(ammonia, rng):
    method = NEB(images=9, force_tolerance_eV_A=1e-5)
    state = method.init(ammonia, interpolate(*pyramids(), 5, "linear"), rng)
    counts = []
    for stage in (Stage(method, 5, 0.5), Stage(method, 7, 0.5), Stage(method, 9)):
        state = iterate(stage, ammonia, state, steps=500, rng=rng)
        assert stage.converged(state)
        counts.append(len(state.images))
    assert counts == [5, 7, 9]
    assert method.converged(state)
    assert state.barrier() == pytest.approx(planar_barrier(), abs=1e-7)


def test_a_stage_without_its_images_has_not_converged(ammonia, rng):
    method = NEB(images=9)
    state = method.init(ammonia, interpolate(*pyramids(), 5, "linear"), rng)
    state = iterate(method, ammonia, state, steps=500, rng=rng)
    assert method.converged(state)
    assert Stage(method, 5).converged(state)
    assert not Stage(method, 6).converged(state)
    grown = Stage(method, 6).step(ammonia, state, rng)
    assert len(grown.images) == 6
