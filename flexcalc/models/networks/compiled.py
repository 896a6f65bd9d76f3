"""How arithmetic is compiled for the processor, and what all compiled networks share.

They go through one geometry after another, so that all of it stays in the cache. Constants take
the type of the arrays that they meet: a literal would make single precision double.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit

from flexcalc.threads import cores, each


class Compiled:
    """A network that needs no torch.

    Args:
        evaluate: of geometries on a thread, (positions, *weights, scratch, energies, gradient).
        weights: of the network.
        scratch: makes the arrays of one thread, which are kept from call to call: new memory
            costs as much as what it is for.

    Calling it with positions (batch, atoms, 3) in angstrom gives energies (batch,) and their
    gradient (batch, atoms, 3), all in double precision. The cores share a batch.
    """

    def __init__(
        self, evaluate: Callable[..., None], weights: tuple[Any, ...], scratch: Callable[[], Any]
    ):
        self.arithmetic, self.weights, self.scratch = evaluate, weights, scratch
        self._own = threading.local()

    def __call__(self, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Energies and their gradient."""
        energies, gradient = np.empty(len(positions)), np.empty_like(positions)
        rows = max(1, -(-len(positions) // cores()))

        def part(start: int) -> None:
            if not hasattr(self._own, "scratch"):
                self._own.scratch = self.scratch()
            here, scratch = slice(start, start + rows), self._own.scratch
            self.arithmetic(positions[here], *self.weights, scratch, energies[here], gradient[here])

        each(part, range(0, len(positions), rows))
        return energies, gradient


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile at the first call, for good where there is a place to keep it."""
    options: dict[str, Any] = {
        "nogil": True,
        "error_model": "numpy",
        # Sums may be taken in any order; numbers that are none stay none.
        "fastmath": {"reassoc", "contract", "nsz", "arcp"},
    }
    try:
        return njit(cache=True, **options)(function)
    except RuntimeError:  # no folder that can be written to
        return njit(**options)(function)


@compiled
def silu(x: np.ndarray, bias: np.ndarray, slope: np.ndarray) -> None:
    """SiLU of x + bias in place of x (rows, features), and its slope."""
    one = x.dtype.type(1)
    for row in range(x.shape[0]):
        for f in range(x.shape[1]):
            value = x[row, f] + bias[f]
            sigmoid = one / (one + math.exp(-value))
            x[row, f] = value * sigmoid
            slope[row, f] = sigmoid * (one + value * (one - sigmoid))


@compiled
def softplus(x: np.ndarray, bias: np.ndarray, slope: np.ndarray, shift: float) -> None:
    """Softplus of x + bias, less the shift, in place of x (rows, features), and its slope."""
    one, zero, less = x.dtype.type(1), x.dtype.type(0), x.dtype.type(shift)
    for row in range(x.shape[0]):
        for f in range(x.shape[1]):
            value = x[row, f] + bias[f]
            small = math.exp(-abs(value))
            x[row, f] = max(value, zero) + math.log(one + small) - less
            slope[row, f] = (one if value >= zero else small) / (one + small)


@compiled
def tanh(x: np.ndarray, bias: np.ndarray, slope: np.ndarray) -> None:
    """The hyperbolic tangent of x + bias in place of x (rows, features), and its slope."""
    one = x.dtype.type(1)
    for row in range(x.shape[0]):
        for f in range(x.shape[1]):
            value = math.tanh(x[row, f] + bias[f])
            x[row, f] = value
            slope[row, f] = one - value * value
