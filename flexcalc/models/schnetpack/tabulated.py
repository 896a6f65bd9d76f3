"""SchNet with tabulated filters: energies and gradients without differentiating a graph.

A filter is a function of the distance alone, and so is its product with the cutoff. All filters
of all blocks are tabulated once, with their slopes, and read off by cubic Hermite interpolation;
the gradient is that of the interpolant, so that forces are minus the gradient of the energy to
rounding. With h the spacing of the table, values are off by at most h^4/384 max|W''''| and slopes
by sqrt(3)/216 h^3 max|W''''| (de Boor, A Practical Guide to Splines, chapter IV).
"""

from __future__ import annotations

import copy
import math
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.nn.functional import embedding_bag, linear, softplus

LOG2 = math.log(2.0)


Ends = tuple[torch.Tensor, torch.Tensor]
"""The two atoms of each pair (pairs,)."""


class _Block(NamedTuple):
    """The weights of an interaction block."""

    inward: torch.Tensor
    first: nn.Linear
    second: nn.Linear


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
        self.network, self.points = network, points
        model = network.representation
        self.cutoff = float(model.cutoff)
        self.blocks = [
            _Block(block.in2f.weight, block.f2out[0], block.f2out[1])
            for block in model.interactions
        ]
        self.start = model.embedding(network.numbers)
        self.table = _table(network, points).to(dtype)

    def __call__(self, positions: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Energies and their gradient."""
        with torch.no_grad():
            net = self.network
            apart, distances = net.pairs(positions)
            # Pairs beyond the cutoff in every row add nothing: their filters are zero.
            near = torch.nonzero((distances < self.cutoff).any(dim=0))[:, 0]
            apart, distances = apart[:, near], distances[:, near]
            ends = net.first[near], net.second[near]
            values, slopes = self.filters(distances)
            x, kept = self._forward(values, ends)
            energies, pull = self._energy(x)
            tension = self._backward(pull, values, slopes, kept, ends)
            push = apart * (tension / distances)[..., None]
            gradient = torch.zeros_like(positions)
            gradient.index_add_(1, ends[1], push)
            gradient.index_add_(1, ends[0], push, alpha=-1.0)
        return energies, gradient

    def filters(self, distances: torch.Tensor) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        """Filters and their slopes, each (batch, pairs, filters) for every block.

        Args:
            distances: (batch, pairs) in angstrom.
        """
        place = distances.reshape(-1) * (self.points / self.cutoff)
        left = place.floor().clamp(max=self.points - 1)
        rows = 4 * left.long()[:, None] + torch.arange(4)
        inside = (place < self.points).to(place.dtype)[:, None]
        powers = _powers(place - left, self.points / self.cutoff) * inside.repeat(2, 1)
        found = embedding_bag(
            rows.repeat(2, 1), self.table, mode="sum", per_sample_weights=powers
        ).view(2, *distances.shape, len(self.blocks), -1)
        return list(found[0].unbind(-2)), list(found[1].unbind(-2))

    def _forward(self, filters: list[torch.Tensor], ends: Ends) -> tuple[torch.Tensor, list[tuple]]:
        """Features of the atoms, and what the way back needs of each block."""
        batch = len(filters[0])
        x = self.start.expand(batch, -1, -1)
        kept = []
        for block, filter in zip(self.blocks, filters, strict=True):
            inward = linear(x, block.inward)
            before = linear(_gathered(filter, inward, ends), block.first.weight, block.first.bias)
            x = x + linear(softplus(before) - LOG2, block.second.weight, block.second.bias)
            kept.append((inward, before))
        return x, kept

    def _energy(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Energies, and their gradient by the features."""
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            energies = self.network.output(x).sum(dim=(1, 2))
            (gradient,) = torch.autograd.grad(energies.sum(), x)
        return energies.detach(), gradient

    def _backward(
        self,
        pull: torch.Tensor,
        filters: list[torch.Tensor],
        slopes: list[torch.Tensor],
        kept: list[tuple],
        ends: Ends,
    ) -> torch.Tensor:
        """The derivative of the energy by the distances (batch, pairs).

        Args:
            pull: its gradient by the features of the last block (batch, atoms, features).
            filters, slopes, kept, ends: of the way forward.
        """
        first, second = ends
        tension = filters[0].new_zeros(filters[0].shape[:2])
        for index in reversed(range(len(self.blocks))):
            block, (inward, before) = self.blocks[index], kept[index]
            message = (pull @ block.second.weight) * torch.sigmoid(before) @ block.first.weight
            both = message.index_select(1, first) * inward.index_select(1, second)
            both.addcmul_(message.index_select(1, second), inward.index_select(1, first))
            tension += torch.einsum("bpf,bpf->bp", both, slopes[index])
            if index:  # the features before the first block are constant
                pull = pull + _gathered(filters[index], message, ends) @ block.inward
        return tension


def _gathered(filter: torch.Tensor, features: torch.Tensor, ends: Ends) -> torch.Tensor:
    """Features of the partners of each atom times the filters between them, summed."""
    first, second = ends
    total = torch.zeros_like(features)
    total.index_add_(1, first, filter * features.index_select(1, second))
    total.index_add_(1, second, filter * features.index_select(1, first))
    return total


def _powers(t: torch.Tensor, scale: float) -> torch.Tensor:
    """Factors of a cubic's coefficients (2 rows, 4): for its values at t, then for its slopes."""
    zero, one = torch.zeros_like(t), torch.ones_like(t)
    value = torch.stack([one, t, t**2, t**3], dim=1)
    slope = torch.stack([zero, one, 2 * t, 3 * t**2], dim=1)
    return torch.cat([value, slope * scale])


def _table(network: Any, points: int) -> torch.Tensor:
    """Coefficients of the cubics, four rows an interval: (4 points, all filters), in float64.

    Coefficients, and not the values at both ends, whose differences would lose digits.
    """
    model = copy.deepcopy(network.representation).to(torch.float64)
    spacing = float(model.cutoff) / points
    distances = torch.arange(points + 1, dtype=torch.float64) * spacing

    def filters(r: torch.Tensor) -> torch.Tensor:
        expanded, fading = model.radial_basis(r), model.cutoff_fn(r)[:, None]
        return torch.cat(
            [block.filter_network(expanded) * fading for block in model.interactions], dim=1
        )

    values, slopes, *_ = torch.func.jvp(filters, (distances,), (torch.ones_like(distances),))
    left, right = values[:-1], values[1:]
    start, end = slopes[:-1] * spacing, slopes[1:] * spacing
    square = 3 * (right - left) - 2 * start - end
    cube = 2 * (left - right) + start + end
    return torch.stack([left, start, square, cube], dim=1).flatten(0, 1).detach()
