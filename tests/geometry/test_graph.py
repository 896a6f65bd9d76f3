"""Bond graphs of frames."""

import numpy as np

from flexcalc.geometry.graph import bond_graphs, bonded_pairs


def test_bond_graphs_are_the_distinct_rows_of_bonded_pairs(rng):
    numbers = np.array([6, 1, 1, 1, 1, 8])
    positions = rng.normal(size=(200, 6, 3))
    graphs, kinds = bond_graphs(numbers, positions)
    bonded = bonded_pairs(numbers, positions)
    np.testing.assert_array_equal(graphs[kinds], bonded)
    assert len(graphs) == len(np.unique(bonded, axis=0))
    graphs, kinds = bond_graphs(numbers[:1], positions[:, :1])
    assert (graphs.shape, kinds.tolist()) == ((1, 0), [0] * 200)
    assert bond_graphs(numbers, positions[:0])[1].tolist() == []
