"""Where a run was outside the domain of its model, from the distances that it recorded."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from flexcalc.analysis.freeenergy import node_of
from flexcalc.domain import Domain
from flexcalc.methods.bias import Axis

MOSTLY = 0.5
"""Share of the records at a place beyond which that place counts as outside."""


@dataclass(frozen=True, eq=False)
class Visits:
    """Records inside and outside a domain, of each replica.

    Args:
        records: (replicas,) how many there are.
        outside: (replicas,) how many of them are outside.
        largest: (replicas,) largest distance, 0 without records.
        largest_fs: (replicas,) its time in fs.
        first_fs: (replicas,) time in fs of the first record outside; infinite where none is.
    """

    records: np.ndarray
    outside: np.ndarray
    largest: np.ndarray
    largest_fs: np.ndarray
    first_fs: np.ndarray

    @classmethod
    def of(
        cls,
        blocks: Iterable[Mapping[str, np.ndarray]],
        domain: Domain,
        replicas: int,
        after_fs: float = -np.inf,
    ) -> Self:
        """Count the records of a table that is read a block at a time.

        Args:
            blocks: with the columns time_fs, replica and distance, in the order of time.
            domain: of the model.
            replicas: how many there are.
            after_fs: records up to this time are left out.
        """
        zeros, never = np.zeros(replicas), np.full(replicas, np.inf)
        found = cls(zeros.astype(int), zeros.astype(int), zeros.copy(), zeros.copy(), never)
        for block in blocks:
            used = block["time_fs"] > after_fs
            time, distance = block["time_fs"][used], block["distance"][used]
            replica = block["replica"][used].astype(int)
            beyond = ~domain.contains(distance)
            np.add.at(found.records, replica, 1)
            np.add.at(found.outside, replica[beyond], 1)
            np.minimum.at(found.first_fs, replica[beyond], time[beyond])
            order = np.argsort(distance, kind="stable")
            last = distance[order] > found.largest[replica[order]]
            rows = order[last]  # ascending, so that the largest of a replica is assigned last
            found.largest[replica[rows]] = distance[rows]
            found.largest_fs[replica[rows]] = time[rows]
        return found

    @property
    def share(self) -> float:
        """Share of all records that are outside."""
        return float(self.outside.sum() / max(self.records.sum(), 1))

    def mostly_outside(self) -> np.ndarray:
        """The replicas most of whose records are outside."""
        return np.flatnonzero(self.outside > MOSTLY * np.maximum(self.records, 1))


def share_on_grid(
    axes: Sequence[Axis],
    widths: Sequence[float],
    blocks: Iterable[Mapping[str, np.ndarray]],
    domain: Domain,
) -> np.ndarray:
    """Share of the records around each node of a grid that are outside a domain.

    Args:
        axes: of the grid, one per coordinate.
        widths: distance along each axis up to which records count as those of a node.
        blocks: of a table with the columns distance, value_0 and so on.
        domain: of the model.

    Returns:
        At the nodes; not-a-number where there are no records.
    """
    from scipy.ndimage import uniform_filter1d

    shape = tuple(axis.nodes for axis in axes)
    counts = np.zeros((2, int(np.prod(shape))))
    for block in blocks:
        values = np.stack([block[f"value_{n}"] for n in range(len(axes))], axis=1)
        node, beyond = node_of(axes, values), ~domain.contains(block["distance"])
        counts[0] += np.bincount(node, minlength=counts.shape[1])
        counts[1] += np.bincount(node[beyond], minlength=counts.shape[1])
    around = counts.reshape(2, *shape)
    for n, (axis, width) in enumerate(zip(axes, widths, strict=True)):
        size = min(2 * round(width / axis.spacing) + 1, axis.nodes)
        mode = "wrap" if axis.periodic else "constant"
        around = uniform_filter1d(around, size, axis=n + 1, mode=mode) * size
    # The filter sums with rounding errors; records are whole.
    records, outside = np.rint(around)
    return np.where(records > 0, outside / np.maximum(records, 1), np.nan)
