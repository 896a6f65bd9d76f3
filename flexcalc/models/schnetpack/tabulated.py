"""SchNet with tabulated filters: energies and gradients without differentiating a graph.

A filter is a function of the distance alone, and so is its product with the cutoff. All filters
of all blocks are tabulated once, with their slopes and curvatures, and read off by quintic Hermite
interpolation; the gradient is that of the interpolant, so that forces are minus the gradient of
the energy to rounding, and smooth. With h the spacing of the table, values are off by at most
h^6/46080 max|d^6W/dr^6| and slopes by a multiple of h^5 (Davis, Interpolation and Approximation,
section 3.5).
"""

from __future__ import annotations

import copy
import math
import threading
import warnings
from typing import Any

import numpy as np
import torch
from torch import nn

from flexcalc.models.schnetpack.compiled import Blocks, Output, Pairs, Scratch, evaluate
from flexcalc.threads import one_blas_thread


class Tabulated:
    """A SchNet for inference on the processor.

    Args:
        network: a `dense.SchNetNetwork`.
        points: intervals of the table between zero and the cutoff.
        dtype: of the arithmetic.

    Calling it with positions (batch, atoms, 3) gives energies (batch,) and their gradient
    (batch, atoms, 3).
    """

    def __init__(self, network: Any, points: int, dtype: torch.dtype):
        model = network.representation
        self.pairs = Pairs(
            network.first.numpy(), network.second.numpy(), float(model.cutoff), points
        )
        start = model.embedding(network.numbers)
        self.blocks = _blocks(model, start, _table(network, points).to(dtype))
        layers = list(network.output)
        self.output = Output(
            tuple(_array(layer.weight) for layer in layers),
            tuple(_array(layer.weight.T) for layer in layers),
            tuple(_array(layer.bias) for layer in layers),
        )
        self._own = threading.local()

    def __call__(self, positions: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Energies, in double precision, and their gradient."""
        geometries = _array(positions)
        energies, gradient = np.empty(len(geometries)), np.empty_like(geometries)
        if not hasattr(self._own, "scratch"):
            self._own.scratch = Scratch.of(self.pairs, self.blocks)
        with one_blas_thread():
            evaluate(
                geometries,
                self.pairs,
                self.blocks,
                self.output,
                self._own.scratch,
                energies,
                gradient,
            )
        return torch.from_numpy(energies), torch.from_numpy(gradient)


def _array(values: torch.Tensor) -> np.ndarray:
    """The values as an array of their own layout, rows first."""
    return np.ascontiguousarray(values.detach().numpy())


def _blocks(model: nn.Module, start: torch.Tensor, table: torch.Tensor) -> Blocks:
    """The weights of the blocks, each kind in one array.

    Args:
        model: SchNetPack's SchNet.
        start: (atoms, features).
        table: of `_table`.
    """
    parts: Any = model.interactions
    inward = torch.stack([part.in2f.weight for part in parts])
    first, second = (torch.stack([part.f2out[k].weight for part in parts]) for k in (0, 1))
    biases = (torch.stack([part.f2out[k].bias for part in parts]) for k in (0, 1))
    first_bias, second_bias = biases
    return Blocks(
        start=_array(start),
        table=_array(table),
        inward=_array(inward),
        inward_t=_array(inward.mT),
        first=_array(first),
        first_t=_array(first.mT),
        first_bias=_array(first_bias),
        second=_array(second),
        second_t=_array(second.mT),
        second_bias=_array(second_bias),
    )


def _table(network: Any, points: int) -> torch.Tensor:
    """Coefficients of the polynomials, (points, blocks, 6, filters), in float64.

    Coefficients, and not what they come from, whose differences would lose digits.
    """
    model = copy.deepcopy(network.representation).to(torch.float64)
    spacing = float(model.cutoff) / points
    distances = torch.arange(points + 1, dtype=torch.float64) * spacing
    # Curvatures jump at the cutoff, and are wanted on this side of it.
    distances[-1] = math.nextafter(float(model.cutoff), 0.0)

    def filters(r: torch.Tensor) -> torch.Tensor:
        expanded, fading = model.radial_basis(r), model.cutoff_fn(r)[:, None]
        return torch.stack(
            [block.filter_network(expanded) * fading for block in model.interactions], dim=1
        )

    def sloped(r: torch.Tensor) -> Any:
        return torch.func.jvp(filters, (r,), (torch.full_like(r, spacing),))

    half = torch.full_like(distances, spacing / 2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # of torch about torch
        (values, first), (_, second), *_ = torch.func.jvp(sloped, (distances,), (half,))
    start, slope, bend = values[:-1], first[:-1], second[:-1]
    # What is left for the higher powers to do at the other end.
    value = values[1:] - start - slope - bend
    rise = first[1:] - slope - 2 * bend
    turn = second[1:] - bend
    higher = (
        10 * value - 4 * rise + turn,
        -15 * value + 7 * rise - 2 * turn,
        6 * value - 3 * rise + turn,
    )
    return torch.stack([start, slope, bend, *higher], dim=2).detach()
