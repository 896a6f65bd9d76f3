"""How arithmetic is compiled for the processor, and what all compiled networks share.

They go through one geometry after another, so that all of it stays in the cache. Constants take
the type of the arrays that they meet: a literal would make single precision double.
"""

from __future__ import annotations

import hashlib
import math
import threading
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numba import config, njit

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
        self.evaluate, self.weights, self.scratch = evaluate, weights, scratch
        self._own = threading.local()

    def __call__(self, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Energies and their gradient."""
        energies, gradient = np.empty(len(positions)), np.empty_like(positions)
        rows = max(1, -(-len(positions) // cores()))

        def part(start: int) -> None:
            if not hasattr(self._own, "scratch"):
                self._own.scratch = self.scratch()
            here, scratch = slice(start, start + rows), self._own.scratch
            self.evaluate(positions[here], *self.weights, scratch, energies[here], gradient[here])

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
    settings: Any = config
    before = settings.CACHE_DIR
    settings.CACHE_DIR = before or str(_folder())
    try:
        return njit(cache=True, **options)(function)
    except RuntimeError:  # no folder that can be written to
        return njit(**options)(function)
    finally:
        settings.CACHE_DIR = before


@cache
def _folder() -> Path:
    """Where what comes of these very sources is kept.

    By itself numba looks at the date of the one file that a function is in, and unpickles what an
    earlier version of flexcalc has left before it does.
    """
    sources = [path.read_bytes() for path in sorted(Path(__file__).parents[1].rglob("*.py"))]
    digest = hashlib.sha256(b"".join(text for text in sources if b"@compiled" in text))
    return Path(__file__).parent / "__pycache__" / f"numba-{digest.hexdigest()[:16]}"


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


ACTIVATIONS = ("silu", "tanh", "softplus")
"""Their numbers in `Perceptrons`."""


class Perceptrons(NamedTuple):
    """Networks of one shape that turn features into an energy, with an activation between layers.

    Args:
        weights: (networks, out, in) of each layer.
        weights_t: their transposes.
        biases: (networks, out) of each layer.
        activation: its place in `ACTIVATIONS`.
    """

    weights: tuple[np.ndarray, ...]
    weights_t: tuple[np.ndarray, ...]
    biases: tuple[np.ndarray, ...]
    activation: int


def perceptrons(networks: Sequence[Sequence[Any]], activation: str, dtype: Any) -> Perceptrons:
    """The linear layers of torch of each network, in arrays of a type of torch."""
    layers = list(zip(*networks, strict=True))
    weights = [np.stack([array(layer.weight, dtype) for layer in same]) for same in layers]
    return Perceptrons(
        tuple(weights),
        tuple(np.ascontiguousarray(stack.swapaxes(1, 2)) for stack in weights),
        tuple(np.stack([array(layer.bias, dtype) for layer in same]) for same in layers),
        ACTIVATIONS.index(activation),
    )


def array(values: Any, dtype: Any) -> np.ndarray:
    """A tensor as an array of its own, rows first, of a type of torch."""
    return np.ascontiguousarray(values.detach().to(dtype).numpy())


@compiled
def read_out(x: np.ndarray, networks: Perceptrons, which: int) -> tuple[float, np.ndarray]:
    """The energy of features (rows, features) by one of the networks, and its gradient by them."""
    layers = len(networks.weights)
    slopes = [x]
    for layer in range(layers - 1):
        x = np.dot(x, networks.weights_t[layer][which])
        slope, bias = np.empty_like(x), networks.biases[layer][which]
        if networks.activation == 0:
            silu(x, bias, slope)
        elif networks.activation == 1:
            tanh(x, bias, slope)
        else:
            softplus(x, bias, slope, 0.0)
        slopes.append(slope)
    last, shift = networks.weights[layers - 1][which, 0], networks.biases[layers - 1][which, 0]
    energy = 0.0
    for row in range(x.shape[0]):
        energy += shift
        for f in range(x.shape[1]):
            energy += x[row, f] * last[f]
    pull = np.empty_like(x)
    pull[:] = last
    for step in range(layers - 1):
        layer = layers - 2 - step
        pull = np.dot(pull * slopes[layer + 1], networks.weights[layer][which])
    return energy, pull
