"""A stream of random numbers for each replica, as a pure function of its key and the step.

The generator (Philox) is counter-based: number n of a stream is a function of the key and n. So
only the key has to be stored, a resumed run draws the same numbers as an uninterrupted one, and the
numbers of a replica do not depend on the other replicas in the batch.

Source: Salmon et al., SC '11, doi:10.1145/2063384.2063405.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np
from numpy.random import Generator, Philox

START, NORMAL, GAMMA, CHAIN, UNIFORM = 0, 1, 2, 3, 4
"""Streams of one key: initial momenta; normal and gamma noise of the steps; initial chain; uniform
numbers of the steps."""

BLOCK = 16
"""Steps whose noise is drawn at once; setting up the generator dominates the cost of a draw."""


def draw_keys(rng: Generator, batch: int) -> np.ndarray:
    """Keys (batch, 2) of new replicas; the first ones are the same for every batch."""
    return rng.integers(0, 2**64, size=(batch, 2), dtype=np.uint64)


def first_normal(keys: np.ndarray, size: int, stream: int = START) -> np.ndarray:
    """Standard normal numbers (batch, size) for the start of replicas with keys (batch, 2)."""
    return _drawn(keys, stream, 0, lambda rng: rng.standard_normal(size))


def normal(keys: np.ndarray, step: int, size: int) -> np.ndarray:
    """Standard normal numbers (batch, size) of a step."""
    block, row = divmod(step, BLOCK)
    return _normal_block(keys.tobytes(), block, size)[:, row]


def gamma(keys: np.ndarray, step: int, shape: float) -> np.ndarray:
    """Numbers (batch,) of a step from the gamma distribution of that shape and unit scale."""
    block, row = divmod(step, BLOCK)
    return _gamma_block(keys.tobytes(), block, shape)[:, row]


def uniform(keys: np.ndarray, step: int) -> np.ndarray:
    """Numbers (batch,) of a step, uniform from 0 to 1."""
    return _drawn(keys, UNIFORM, step, Generator.random)


# The cache holds two blocks, for two runs that alternate.
@lru_cache(maxsize=2)
def _normal_block(keys: bytes, block: int, size: int) -> np.ndarray:
    return _drawn(_keys(keys), NORMAL, block, lambda rng: rng.standard_normal((BLOCK, size)))


@lru_cache(maxsize=2)
def _gamma_block(keys: bytes, block: int, shape: float) -> np.ndarray:
    return _drawn(_keys(keys), GAMMA, block, lambda rng: rng.standard_gamma(shape, BLOCK))


def _keys(content: bytes) -> np.ndarray:
    return np.frombuffer(content, dtype=np.uint64).reshape(-1, 2)


def _drawn(
    keys: np.ndarray, stream: int, block: int, draw: Callable[[Generator], np.ndarray]
) -> np.ndarray:
    """Numbers that `draw` takes from the generator of each replica, at a block of a stream."""
    source = Philox(0)
    rng, state = Generator(source), source.state
    rows = []
    for key in keys:
        # The generator counts up in the lowest word, 2**64 times before it meets the next block.
        counter = np.array([0, block, stream, 0], dtype=np.uint64)
        state["state"] = {"key": key, "counter": counter}
        source.state = state
        rows.append(draw(rng))
    numbers = np.stack(rows)
    numbers.flags.writeable = False
    return numbers
