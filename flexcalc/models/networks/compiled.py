"""Compilation of networks for CPUs by numba, its cache on disk, and common building blocks.

Compiled networks evaluate one geometry after another, so that all data stay in the CPU cache.
Constants take the type of the arrays that they are combined with, because literals would promote
single to double precision; only activation functions always use double precision.
"""

from __future__ import annotations

import hashlib
import math
import os
import pickle
import threading
import warnings
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numba import config, njit
from numba.core.caching import FunctionCache

from flexcalc.progress import waiting
from flexcalc.threads import cores, each


class Compiled:
    """A compiled network, which is evaluated without torch.

    Args:
        evaluate: function of one thread, (positions, *weights, scratch, energies, gradient).
        weights: of the network.
        scratch: creates the work arrays of one thread, which are reused between calls, because
            allocation costs as much as the evaluation.

    Calling it with positions (batch, atoms, 3) in angstrom gives energies (batch,) and their
    gradient (batch, atoms, 3), all in double precision. A batch is distributed over the CPU cores.
    """

    def __init__(
        self, evaluate: Callable[..., None], weights: tuple[Any, ...], scratch: Callable[[], Any]
    ):
        self.evaluate, self.weights, self.scratch = evaluate, weights, scratch
        self._own = threading.local()
        self._ready = False

    def __call__(self, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Energies and their gradient."""
        energies, gradient = np.empty(len(positions)), np.empty_like(positions)
        rows = max(1, -(-len(positions) // cores()))

        def part(start: int, rows: int = rows) -> None:
            if not hasattr(self._own, "scratch"):
                self._own.scratch = self.scratch()
            here, scratch = slice(start, start + rows), self._own.scratch
            self.evaluate(positions[here], *self.weights, scratch, energies[here], gradient[here])

        if not self._ready:
            with waiting("compiling this kind of network for CPUs; about ten seconds, once"):
                part(0, 1)
            self._ready = True
        each(part, range(0, len(positions), rows))
        return energies, gradient


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a function at its first call, and cache it on disk if possible."""
    dispatcher: Any = njit(
        nogil=True,
        error_model="numpy",
        # Sums may be reordered; NaN stays NaN.
        fastmath={"reassoc", "contract", "nsz", "arcp"},
    )(function)
    settings: Any = config
    before = settings.CACHE_DIR
    # Ignore numba's own configuration: a .numba_config.yaml in the working folder, which may be
    # anyone's, could name a cache folder, and numba unpickles its files.
    settings.CACHE_DIR = os.environ.get("NUMBA_CACHE_DIR") or str(_folder())
    try:
        # As njit(cache=True) does.
        dispatcher._cache = _Cache(function)
    except RuntimeError:  # no writable folder
        pass
    finally:
        settings.CACHE_DIR = before
    return dispatcher


class _Cache(FunctionCache):
    """Numba's cache of a compiled function on disk, whose failures are never fatal.

    If the disk is full (ENOSPC, EDQUOT, EFBIG), the folder read-only or a file damaged, the
    function is compiled in this process.
    """

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """The cached function for a signature; None if it cannot be read."""
        try:
            return super().load_overload(sig, target_context)
        except Exception as error:  # unpickling a damaged file can raise any exception
            self._give_up(error)
            return None

    def save_overload(self, sig: Any, data: Any) -> None:
        """Cache the compiled function for a signature, if the file can be written."""
        try:
            super().save_overload(sig, data)
        except (OSError, EOFError, pickle.UnpicklingError) as error:
            self._give_up(error)

    def _give_up(self, error: Exception) -> None:
        """Disable the cache, with one warning per process."""
        self.disable()
        if not _warned:
            _warned.append(True)
            reason = getattr(error, "strerror", None) or f"{type(error).__name__} {error}".strip()
            warnings.warn(
                f"{self.cache_path}: compiled networks cannot be cached here ({reason}): each "
                "process compiles them again, which takes about ten seconds; free disk space, or "
                "set NUMBA_CACHE_DIR to a writable folder",
                RuntimeWarning,
                stacklevel=2,
            )


_warned: list[bool] = []
"""Whether this process has warned that compiled networks cannot be cached."""


@cache
def _folder() -> Path:
    """The cache folder for exactly these sources.

    By default numba checks only the date of the file that a function is in, and unpickles files of
    an earlier version of flexcalc before it does.
    """
    sources = [path.read_bytes() for path in sorted(Path(__file__).parents[1].rglob("*.py"))]
    digest = hashlib.sha256(b"".join(text for text in sources if b"@compiled" in text))
    return Path(__file__).parent / "__pycache__" / f"numba-{digest.hexdigest()[:16]}"


LOG2E, LOG2 = 1.0 / math.log(2.0), math.log(2.0)
EXPONENTIAL = tuple(1.0 / math.factorial(power) for power in range(13, -1, -1))
LOGARITHM = tuple(1.0 / (2 * power + 1) for power in range(10, -1, -1))
"""Coefficients of Taylor series, the highest first: of exp, and of atanh(z)/z by z^2."""


@compiled
def decay(x: float) -> float:
    """exp(x) for x <= 0 with a relative error of 1e-15 (1 + |x|), at least exp(-708).

    It has no branches or calls, so that loops over it are vectorised, unlike those over the
    mathematical library.
    """
    x = -708.0 if x < -708.0 else x
    x *= LOG2E
    power = np.floor(x + 0.5)
    rest = (x - power) * LOG2
    total = 0.0
    for coefficient in EXPONENTIAL:
        total = total * rest + coefficient
    return total * np.int64((np.int64(power) + 1023) << 52).view(np.float64)


@compiled
def log_of_one_and(x: float) -> float:
    """log(1 + x) for 0 <= x <= 1 with a relative error of 1e-15, without branches or calls."""
    large = x > 0.41421356
    x = 0.5 * (x - 1.0) if large else x
    z = x / (2.0 + x)
    total = 0.0
    for coefficient in LOGARITHM:
        total = total * (z * z) + coefficient
    return 2.0 * z * total + (LOG2 if large else 0.0)


@compiled
def silu(x: np.ndarray, bias: np.ndarray, slope: np.ndarray) -> None:
    """SiLU of x + bias in place of x (rows, features), and its slope."""
    for row in range(x.shape[0]):
        for f in range(x.shape[1]):
            value = np.float64(x[row, f] + bias[f])
            small = decay(-abs(value))
            sigmoid = (1.0 if value >= 0.0 else small) / (1.0 + small)
            x[row, f] = value * sigmoid
            slope[row, f] = sigmoid * (1.0 + value * (1.0 - sigmoid))


@compiled
def softplus(x: np.ndarray, bias: np.ndarray, slope: np.ndarray, shift: float) -> None:
    """Softplus of x + bias, less the shift, in place of x (rows, features), and its slope."""
    for row in range(x.shape[0]):
        for f in range(x.shape[1]):
            value = np.float64(x[row, f] + bias[f])
            small = decay(-abs(value))
            x[row, f] = max(value, 0.0) + log_of_one_and(small) - shift
            slope[row, f] = (1.0 if value >= 0.0 else small) / (1.0 + small)


@compiled
def tanh(x: np.ndarray, bias: np.ndarray, slope: np.ndarray) -> None:
    """The hyperbolic tangent of x + bias in place of x (rows, features), and its slope."""
    for row in range(x.shape[0]):
        for f in range(x.shape[1]):
            value = np.float64(x[row, f] + bias[f])
            small = decay(-2.0 * abs(value))
            found = math.copysign((1.0 - small) / (1.0 + small), value)
            x[row, f] = found
            slope[row, f] = 1.0 - found * found


ACTIVATIONS = ("silu", "tanh", "softplus")
"""Activation functions, by their index in `Perceptrons`."""


class Perceptrons(NamedTuple):
    """Multilayer perceptrons of the same shape, from features to an energy.

    Args:
        weights: (networks, out, in) of each layer.
        weights_t: their transposes.
        biases: (networks, out) of each layer.
        activation: index in `ACTIVATIONS` of the function between layers.
    """

    weights: tuple[np.ndarray, ...]
    weights_t: tuple[np.ndarray, ...]
    biases: tuple[np.ndarray, ...]
    activation: int


def perceptrons(networks: Sequence[Sequence[Any]], activation: str, dtype: Any) -> Perceptrons:
    """Arrays from the linear torch layers of each network, in a torch dtype."""
    layers = list(zip(*networks, strict=True))
    weights = [np.stack([array(layer.weight, dtype) for layer in same]) for same in layers]
    return Perceptrons(
        tuple(weights),
        tuple(np.ascontiguousarray(stack.swapaxes(1, 2)) for stack in weights),
        tuple(np.stack([array(layer.bias, dtype) for layer in same]) for same in layers),
        ACTIVATIONS.index(activation),
    )


def array(values: Any, dtype: Any) -> np.ndarray:
    """A tensor as a new C-contiguous array, in a torch dtype."""
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
