"""SchNet and PaiNN on CPUs: energies and analytical gradients, without automatic differentiation.

Functions of the distance are tabulated once, with first and second derivatives, and evaluated by
quintic Hermite interpolation: SchNet's filters of all blocks, and PaiNN's radial functions. The
gradient is that of the interpolant, so that forces are smooth, and minus the gradient of the energy
to rounding. With h the spacing of the table, the error of values is at most
h^6/46080 max|d^6W/dr^6| and slopes by a multiple of h^5 (Davis, Interpolation and Approximation,
section 3.5). The arithmetic is compiled: `schnet` and `painn`.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch

from flexcalc.models.networks.compiled import Compiled, array, perceptrons
from flexcalc.models.schnetpack import painn, schnet
from flexcalc.models.schnetpack.dense import PaiNNNetwork, PairNetwork, SchNetNetwork
from flexcalc.models.schnetpack.pairs import Pairs


def tabulated(network: PairNetwork, points: int, dtype: torch.dtype) -> Compiled:
    """A compiled network for inference on CPUs.

    Args:
        network: SchNet or PaiNN.
        points: number of intervals of the table from zero to the cutoff.
        dtype: of the arithmetic.
    """
    model = copy.deepcopy(network.representation).to(torch.float64)
    kind, collected = BLOCKS[type(network)]
    pairs = Pairs(network.first.numpy(), network.second.numpy(), float(model.cutoff), points)
    with torch.no_grad():
        blocks = collected(model, model.embedding(network.numbers), points, dtype)
    output = perceptrons([list(network.output)], "silu", dtype)
    return Compiled(kind.evaluate, (pairs, blocks, output), partial(kind.Scratch.of, pairs, blocks))


def _both(name: str, weights: list[torch.Tensor], dtype: torch.dtype) -> dict[str, np.ndarray]:
    """A weight of all blocks, and its transpose."""
    stacked = torch.stack(weights)
    return {name: array(stacked, dtype), f"{name}_t": array(stacked.mT, dtype)}


def _schnet(model: Any, start: torch.Tensor, points: int, dtype: torch.dtype) -> schnet.Blocks:
    """SchNet's weights; the table has the filters of all blocks."""
    parts = list(model.interactions)

    def filters(r: torch.Tensor) -> torch.Tensor:
        expanded, fading = model.radial_basis(r), model.cutoff_fn(r)[:, None]
        return torch.stack([part.filter_network(expanded) * fading for part in parts], dim=1)

    return schnet.Blocks(
        start=array(start, dtype),
        table=array(_table(filters, float(model.cutoff), points), dtype),
        **_both("inward", [part.in2f.weight for part in parts], dtype),
        **_both("first", [part.f2out[0].weight for part in parts], dtype),
        first_bias=array(torch.stack([part.f2out[0].bias for part in parts]), dtype),
        **_both("second", [part.f2out[1].weight for part in parts], dtype),
        second_bias=array(torch.stack([part.f2out[1].bias for part in parts]), dtype),
    )


def _painn(model: Any, start: torch.Tensor, points: int, dtype: torch.dtype) -> painn.Blocks:
    """PaiNN's weights; the table has radial functions times cutoff function, and cutoff
    function."""
    interactions, mixings = list(model.interactions), list(model.mixing)
    context = [part.interatomic_context_net for part in interactions]
    inner = [part.intraatomic_context_net for part in mixings]
    net = model.filter_net
    together = torch.cat([net.weight, net.bias[:, None]], dim=1)
    filters = list(together.chunk(len(interactions)))

    def shells(r: torch.Tensor) -> torch.Tensor:
        fading = model.cutoff_fn(r)[:, None]
        return torch.cat([model.radial_basis(r) * fading, fading], dim=1)

    def biases(layers: list[Any]) -> np.ndarray:
        return array(torch.stack([layer.bias for layer in layers]), dtype)

    return painn.Blocks(
        start=array(start, dtype),
        table=array(_table(shells, float(model.cutoff), points), dtype),
        **_both("filters", filters, dtype),
        **_both("context", [net[0].weight for net in context], dtype),
        context_bias=biases([net[0] for net in context]),
        **_both("message", [net[1].weight for net in context], dtype),
        message_bias=biases([net[1] for net in context]),
        **_both("mix", [part.mu_channel_mix.weight for part in mixings], dtype),
        **_both("inner", [net[0].weight for net in inner], dtype),
        inner_bias=biases([net[0] for net in inner]),
        **_both("update", [net[1].weight for net in inner], dtype),
        update_bias=biases([net[1] for net in inner]),
        epsilon=array(torch.tensor([mixings[0].epsilon]), dtype)[0],
    )


BLOCKS: dict[type[PairNetwork], tuple[Any, Callable[..., Any]]] = {
    SchNetNetwork: (schnet, _schnet),
    PaiNNNetwork: (painn, _painn),
}
"""The module with the compiled form of a network, and the function that collects its weights."""


def _table(
    functions: Callable[[torch.Tensor], torch.Tensor], cutoff: float, points: int
) -> torch.Tensor:
    """Coefficients of the polynomials of each interval, in float64.

    Coefficients are stored rather than values, whose differences would lose digits.

    Args:
        functions: distances (n,) in angstrom to values (n, ..., functions).

    Returns:
        (points, ..., 6, functions).
    """
    spacing = cutoff / points
    distances = torch.arange(points + 1, dtype=torch.float64) * spacing
    # Second derivatives are discontinuous at the cutoff; take the limit from below.
    distances[-1] = math.nextafter(cutoff, 0.0)

    with torch.enable_grad():
        distances.requires_grad_()
        exact = functions(distances)
        rising = _slopes(exact, distances)
        turning = _slopes(rising, distances)
    values, first, second = exact.detach(), rising.detach(), turning.detach()
    first, second = first * spacing, second * (spacing**2 / 2)
    start, slope, bend = values[:-1], first[:-1], second[:-1]
    # The remainder at the other end, which the higher powers account for.
    value = values[1:] - start - slope - bend
    rise = first[1:] - slope - 2 * bend
    turn = second[1:] - bend
    higher = (
        10 * value - 4 * rise + turn,
        -15 * value + 7 * rise - 2 * turn,
        6 * value - 3 * rise + turn,
    )
    return torch.stack([start, slope, bend, *higher], dim=-2)


def _slopes(values: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
    """Derivatives of values (n, ...) by places (n,), where each row depends on its own place only.

    All derivatives at once, by differentiating a weighted sum of values by its weights.
    """
    weights = torch.ones_like(values, requires_grad=True)
    (mixed,) = torch.autograd.grad(values, places, weights, create_graph=True)
    (found,) = torch.autograd.grad(mixed.sum(), weights, create_graph=True)
    return found
