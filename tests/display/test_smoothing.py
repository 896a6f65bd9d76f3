"""The curve through points that guides the eye."""

import numpy as np
import pytest
from scipy.interpolate import PchipInterpolator

from flexcalc.display.smoothing import smooth


@pytest.mark.parametrize("points", [3, 4, 11])
@pytest.mark.parametrize("kind", ["ascending", "random", "with a level stretch"])
def test_the_curve_is_that_of_scipy(points, kind, rng):
    x, y = np.cumsum(rng.random(points) + 0.01), rng.standard_normal(points)
    if kind == "ascending":
        y = np.sort(y)
    if kind == "with a level stretch":
        y[1] = y[0]
    fine, curve = smooth(x, y)
    np.testing.assert_allclose(curve, PchipInterpolator(x, y)(fine), atol=1e-13)
    assert y.min() - 1e-13 <= curve.min() <= curve.max() <= y.max() + 1e-13


def test_points_that_no_curve_goes_through_stay_as_they_are():
    for x in (np.array([0.0, 1.0]), np.array([0.0, 1.0, 1.0]), np.array([])):
        assert smooth(x, x + 1)[1].tolist() == (x + 1).tolist()
