"""Weights of several baselines, from folds of the training points."""

from dataclasses import replace

import numpy as np
import pytest

from flexcalc.errors import InputError
from flexcalc.models.gdml import SGDML
from flexcalc.potential import Evaluation
from flexcalc.training.weights import choose_weights

FAMILY = SGDML(sigma=20.0, symmetry=False)


@pytest.fixture
def rough(rng):
    """Two baselines whose forces no smooth model explains: noise of each geometry."""

    def made(shape):
        return Evaluation(rng.normal(size=shape[0]), rng.normal(size=shape))

    return made


def test_the_weights_of_a_sum_are_found(ethanol, rough, rng):
    """Labels that are a smooth part and a sum of baselines: the weights of the sum come back."""
    data = ethanol[:40]
    first, second, useless = (rough(data.forces.shape) for _ in range(3))
    mixed = replace(
        data,
        energies=data.energies + 0.7 * first.energies + 0.5 * second.energies,
        forces=data.forces + 0.7 * first.forces + 0.5 * second.forces,
    )
    found = choose_weights(FAMILY, mixed, [first, useless, second], rng)
    # Noise of 40 frames of 27 components, next to errors of the smooth part: about 1 %.
    assert found.values == pytest.approx([0.7, 0.0, 0.5], abs=0.05)
    assert found.error < min(found.alone) <= found.without


def test_a_baseline_that_does_not_help_is_left_out(ethanol, rough, rng):
    data = ethanol[:30]
    found = choose_weights(FAMILY, data, [rough(data.forces.shape)] * 2, rng)
    assert (found.values == 0).all()
    assert found.error == found.without


def test_weights_are_not_negative(ethanol, rng):
    data = ethanol[:30]
    against = Evaluation(-data.energies, -data.forces)
    assert (choose_weights(FAMILY, data, [against, against], rng).values == 0).all()


def test_sigma_is_searched_too(ethanol, rough, rng):
    data = ethanol[:30]
    noise = rough(data.forces.shape)
    grid = replace(FAMILY, sigma=None, sigmas=(0.1, 20.0))
    both = choose_weights(grid, data, [noise, noise], np.random.default_rng(0))
    one = choose_weights(FAMILY, data, [noise, noise], np.random.default_rng(0))
    assert both.error == pytest.approx(one.error)


def test_one_point_is_too_few(ethanol, rough, rng):
    data = ethanol[:1]
    with pytest.raises(InputError, match="at least two"):
        choose_weights(FAMILY, data, [rough(data.forces.shape)] * 2, rng)
