"""Where a run was outside the domain of its model."""

import numpy as np

from flexcalc.analysis.outside import Visits, share_on_grid
from flexcalc.analysis.transitions import pass_between
from flexcalc.domain import Domain
from flexcalc.methods.bias import Axis


def blocks(*rows):
    """A table of time, replica, distance and value, in two blocks."""
    table = np.array(rows, dtype=float)
    for part in np.array_split(table, 2):
        yield dict(zip(("time_fs", "replica", "distance", "value_0"), part.T, strict=True))


ROWS = (
    (0, 0, 0.5, 0.0),
    (0, 1, 0.6, 0.0),
    (10, 0, 1.2, 2.0),
    (10, 1, 0.9, 0.0),
    (20, 0, 3.0, 2.0),
    (20, 1, 1.5, 2.0),
    (30, 0, 2.0, 2.0),
)


def test_records_are_counted_for_each_replica():
    visits = Visits.of(blocks(*ROWS), Domain(1.0), 3)
    np.testing.assert_array_equal(visits.records, [4, 3, 0])
    np.testing.assert_array_equal(visits.outside, [3, 1, 0])
    np.testing.assert_array_equal(visits.largest, [3.0, 1.5, 0.0])
    np.testing.assert_array_equal(visits.largest_fs, [20, 20, 0])
    np.testing.assert_array_equal(visits.first_fs, [10, 20, np.inf])
    assert visits.share == 4 / 7
    np.testing.assert_array_equal(visits.mostly_outside(), [0])


def test_records_before_a_time_can_be_left_out():
    visits = Visits.of(blocks(*ROWS), Domain(1.0), 2, after_fs=20)
    np.testing.assert_array_equal(visits.records, [1, 0])


def test_share_outside_is_that_of_the_records_around_a_node():
    axis = Axis(0.0, 4.0, 5)
    share = share_on_grid([axis], [0.4], blocks(*ROWS), Domain(1.0))
    np.testing.assert_array_equal(share, [0.0, np.nan, 1.0, np.nan, np.nan])
    share = share_on_grid([axis], [2.0], blocks(*ROWS), Domain(1.0))
    np.testing.assert_allclose(share[:2], [4 / 7, 4 / 7])


def test_a_periodic_axis_counts_records_across_its_end():
    axis = Axis(-180.0, 180.0, 36, periodic=True)
    rows = [(0, 0, 2.0, 178.0), (0, 0, 0.1, 0.0)]
    share = share_on_grid([axis], [20.0], blocks(*rows), Domain(1.0))
    assert share[0] == share[1] == share[-1] == 1.0
    assert share[18] == 0.0


def test_the_lowest_way_between_two_basins_has_its_top_at_the_lower_pass():
    surface = np.full((5, 5), 9.0)
    surface[2, :] = [0, 1, 4, 1, 0]
    surface[1, :] = [1, 3, 3, 3, 1]
    axes = [Axis(0, 4, 5), Axis(0, 4, 5)]
    top = pass_between(surface, axes, 10, 14)
    assert surface.ravel()[top] == 3.0
    assert top // 5 == 1
