"""Where the arrays live: NumPy on the processor, or torch on a GPU, under the same names.

The formulas of the kernel use only what both libraries spell alike (`matmul`, `exp`, `einsum`,
`out=`), so each stands in one place; an Engine makes the arrays and brings them back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from flexcalc.errors import InputError
from flexcalc.threads import each

Array = Any
"""A float64 array of the engine: numpy.ndarray or torch.Tensor."""


@dataclass(frozen=True)
class Engine:
    """An array library and the device its arrays are on.

    Args:
        device: None for NumPy, else torch's name of the device.
    """

    device: str | None = None

    @property
    def xp(self) -> Any:
        """The library, numpy or torch."""
        if self.device is None:
            return np
        import torch

        return torch

    @property
    def enlarged(self) -> int:
        """How many times larger blocks are than what fits into a processor's cache."""
        return 1 if self.device in (None, "cpu") else 256

    def array(self, values: np.ndarray) -> Array:
        """A float64 array of the engine with these values; of NumPy's, the very same array."""
        values = np.ascontiguousarray(values, dtype=float)
        return values if self.device is None else self.xp.from_numpy(values).to(self.device)

    def indices(self, values: np.ndarray) -> Array:
        """Indices for arrays of the engine."""
        values = np.ascontiguousarray(values)
        return values if self.device is None else self.xp.from_numpy(values).to(self.device)

    def numpy(self, values: Array) -> np.ndarray:
        """The values as a NumPy array."""
        return values if self.device is None else values.cpu().numpy()

    def empty(self, *shape: int) -> Array:
        """A float64 array with any values."""
        if self.device is None:
            return np.empty(shape)
        return self.xp.empty(shape, dtype=self.xp.float64, device=self.device)

    def zeros(self, *shape: int) -> Array:
        """A float64 array of zeros."""
        array = self.empty(*shape)
        array[...] = 0.0
        return array

    def each(self, work: Callable[[Any], None], items: Iterable[Any]) -> None:
        """Do independent pieces of work, on the processor on all cores at once."""
        if self.device is None:
            each(work, items)
            return
        for item in items:
            work(item)


PROCESSOR = Engine()


@cache
def engine(device: str) -> Engine:
    """The engine of a device: "cpu", "cuda", "auto" (a GPU where there is one), or "torch".

    "torch" runs torch on the processor, for tests.

    Raises:
        InputError: there is no such device, or torch is not installed.
    """
    if device == "cpu":
        return PROCESSOR
    try:
        import torch
    except ImportError:
        if device == "auto":
            return PROCESSOR
        raise InputError(
            f"device {device}: torch is not installed; pip install 'flexcalc[schnet]'"
        ) from None
    if device == "torch":
        return Engine("cpu")
    if torch.cuda.is_available():
        return Engine("cuda")
    if device == "auto":
        return PROCESSOR
    raise InputError('device cuda: torch finds no GPU on this machine; use device = "cpu"')
