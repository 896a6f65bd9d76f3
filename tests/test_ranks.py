"""Correlation of ranks, against scipy's."""

import numpy as np
import pytest
from scipy.stats import spearmanr

from flexcalc.ranks import rank_correlation


@pytest.mark.parametrize("ties", [False, True])
def test_it_is_spearmans(ties, rng):
    one = rng.normal(size=50)
    other = one**3 + rng.normal(size=50)
    if ties:
        one, other = np.round(one), np.round(other)
    assert rank_correlation(one, other) == pytest.approx(spearmanr(one, other).statistic)


def test_a_series_that_does_not_vary_has_none():
    assert rank_correlation(np.ones(3), np.arange(3)) is None
