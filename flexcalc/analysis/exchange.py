"""What replica exchange has done: accepted attempts, and round trips of walkers."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from flexcalc.methods.dynamics.exchange import Ladders


class Attempts(NamedTuple):
    """Attempts of two neighbouring temperatures, over all ladders.

    Args:
        cold_K, hot_K: the temperatures.
        attempts, accepted: how many there were.
    """

    cold_K: float
    hot_K: float
    attempts: int
    accepted: int


def attempts_of(walkers: np.ndarray, ladders: Ladders) -> list[Attempts]:
    """The attempts of each pair of neighbouring temperatures, from the coldest pair on.

    Args:
        walkers: (attempts + 1, batch), the walker of each replica at the start and after each.
        ladders: of the batch.
    """
    kelvin = np.resize(np.array(ladders.temperatures_K), ladders.batch)
    counts: dict[tuple[float, float], np.ndarray] = {}
    changed = walkers[1:] != walkers[:-1]
    for parity in (0, 1):  # attempt n follows step n * every, and the first is number 1
        for cold, hot in ladders.pairs(parity):
            rows = changed[1 - parity :: 2, cold]
            pair = float(kelvin[cold]), float(kelvin[hot])
            counts[pair] = counts.get(pair, 0) + np.array([len(rows), rows.sum()])
    return [Attempts(*pair, *map(int, counts[pair])) for pair in sorted(counts)]


def round_trips(walkers: np.ndarray, ladders: Ladders) -> int:
    """How often a walker came from the lowest temperature to the highest and back; see
    `attempts_of`."""
    order, trips = np.argsort(ladders.temperatures_K, kind="stable"), 0
    for first in range(0, ladders.batch, len(order)):
        ends = first + order[[0, -1]]
        if ends.max() >= ladders.batch:
            continue
        for walker in np.unique(walkers[0, first : first + len(order)]):
            # True at the highest temperature, False at the lowest, in the order of the visits.
            at = walkers[:, ends] == walker
            visits = at[at.any(axis=1), 1]
            turns = int(np.count_nonzero(visits[1:] != visits[:-1]))
            begun_hot = bool(len(visits) and visits[0])
            trips += max(0, turns - begun_hot) // 2
    return trips
