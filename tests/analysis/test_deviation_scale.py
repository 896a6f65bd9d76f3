"""The scale of a committee's deviation, and how reliable the errors are that it predicts."""

import numpy as np
import pytest

from flexcalc.analysis.calibration import (
    confident_half_large_errors,
    deviation_scale,
    share_within_factor,
)


def test_the_scale_is_the_median_ratio_of_the_latest_three_rounds():
    rounds = np.array([1, 1, 2, 2, 3, 4, 4])
    deviations = np.array([1.0, 1.0, 2.0, 1.0, 4.0, 0.5, 1.0])
    errors = np.array([90.0, 90.0, 1.0, 0.6, 8.0, 1.5, 1e4])
    # Ratios of rounds 2 to 4: 0.5, 0.6, 2, 3 and an outlier.
    assert deviation_scale(rounds, deviations, errors) == 2.0


def test_the_scale_is_one_before_the_first_round():
    assert deviation_scale(*np.zeros((3, 0))) == 1.0


def test_a_scaled_deviation_recovers_errors_that_are_proportional_to_it():
    rng = np.random.default_rng(0)
    deviations = rng.lognormal(size=500)
    errors = 1.7 * deviations * rng.lognormal(sigma=0.3, size=500)
    # The median of 500 ratios has a standard error of 1.25 * 0.3 / sqrt(500) = 1.7 %.
    assert deviation_scale(np.ones(500), deviations, errors) == pytest.approx(1.7, rel=0.07)


def test_large_errors_are_counted_in_the_half_with_the_lowest_predictions():
    predicted = np.array([5.0, 0.1, 0.2, 6.0, 0.3, 0.4, 7.0])
    errors = np.array([9.0, 2.1, 1.0, 9.0, 2.0, 9.0, 9.0])
    # Of 7 frames the lowest three are 0.1, 0.2 and 0.3; only 2.1 exceeds twice 1.
    assert confident_half_large_errors(predicted, errors, 1.0) == pytest.approx(1 / 3)
    assert confident_half_large_errors(predicted, errors, 1.1) == 0
    assert confident_half_large_errors(predicted[:1], errors[:1], 1.0) is None


def test_errors_within_a_factor_of_two_are_counted_on_both_sides():
    predicted = np.array([1.0, 1.0, 1.0, 1.0, 1.0])
    errors = np.array([0.4, 0.5, 1.0, 2.0, 2.1])
    assert share_within_factor(predicted, errors) == pytest.approx(3 / 5)
