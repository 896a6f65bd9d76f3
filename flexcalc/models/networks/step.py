"""One step of training: the loss and its gradient, compiled where that pays.

The gradient of a loss of forces is a derivative of a derivative. Traced once for the shape of a
batch, it becomes one graph that torch's compiler can fuse; run as it is, the same lines work
everywhere.
"""

from __future__ import annotations

import logging
import shutil
import warnings
from collections.abc import Callable

import torch
from torch import nn

WORTH_COMPILING = 20_000
"""Steps of a training from which on the minute that compiling takes is saved again."""

Step = Callable[[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor], tuple]
"""Maps the flat parameters and a batch (positions, energies, forces, weights) to loss and
gradient."""


class Flat:
    """The parameters of a network as one vector.

    One vector makes the optimiser, the running average and a checkpoint a handful of operations
    instead of a handful for each of a hundred tensors.
    """

    def __init__(self, network: nn.Module):
        self.network = network
        named = [(key, value) for key, value in network.named_parameters() if value.requires_grad]
        self.names = [key for key, _ in named]
        self.shapes = [value.shape for _, value in named]
        self.sizes = [value.numel() for _, value in named]

    def vector(self) -> torch.Tensor:
        """The parameters as they are now (parameters,)."""
        found = dict(self.network.named_parameters())
        return torch.cat([found[name].detach().reshape(-1) for name in self.names])

    def parts(self, vector: torch.Tensor) -> list[torch.Tensor]:
        """The vector cut into tensors of the network's shapes."""
        cut = vector.split(self.sizes)
        return [part.view(shape) for part, shape in zip(cut, self.shapes, strict=True)]

    def named(self, vector: torch.Tensor) -> dict[str, torch.Tensor]:
        """The same by name, for `torch.func.functional_call`."""
        return dict(zip(self.names, self.parts(vector), strict=True))

    def write(self, vector: torch.Tensor) -> None:
        """Put the vector into the network."""
        found = dict(self.network.named_parameters())
        with torch.no_grad():
            for name, part in zip(self.names, self.parts(vector), strict=True):
                found[name].copy_(part)


def weighted_loss(
    energies: torch.Tensor,
    forces: torch.Tensor,
    weights: torch.Tensor,
    of: tuple[float, float],
) -> torch.Tensor:
    """The loss of errors of energies (batch,) and forces (batch, atoms, 3).

    Args:
        energies, forces: the errors, over the scale of the labels.
        weights: (batch,) of the frames.
        of: weights of energies and of forces.
    """
    loss = of[0] * torch.mean(weights * energies**2)
    return loss + of[1] * torch.mean(weights[:, None, None] * forces**2)


def plain_step(flat: Flat, energy_weight: float, force_weight: float) -> Step:
    """A step that works everywhere.

    The loss is energy_weight <w (E - E')^2> + force_weight <w (F - F')^2> with the weights w of the
    frames, the means being over the batch and over all force components.
    """

    def step(
        vector: torch.Tensor,
        positions: torch.Tensor,
        energies: torch.Tensor,
        forces: torch.Tensor,
        weights: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        vector = vector.detach().requires_grad_()
        positions = positions.detach().requires_grad_()
        found = torch.func.functional_call(flat.network, flat.named(vector), (positions,))
        (slope,) = torch.autograd.grad(found.sum(), positions, create_graph=True)
        loss = weighted_loss(
            found - energies, slope + forces, weights, (energy_weight, force_weight)
        )
        (gradient,) = torch.autograd.grad(loss, vector)
        return loss.detach(), gradient

    return step


def compiled_step(step: Step, example: tuple[torch.Tensor, ...]) -> Step:
    """The same step as one compiled graph for batches shaped like the example.

    Raises:
        Exception: whatever the compiler raises; the plain step still works.
    """
    from torch.fx.experimental.proxy_tensor import make_fx

    # Without a GPU the compiler logs that there is none.
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        graph = make_fx(step)(*example)
        fused = torch.compile(graph, dynamic=False)
        with torch.no_grad():
            fused(*example)

    def run(*batch: torch.Tensor) -> tuple:
        with torch.no_grad():
            return fused(*batch)

    return run


def worth_compiling(wanted: str, steps: int) -> bool:
    """Whether to compile: as requested, or for long trainings if there is a C++ compiler."""
    if wanted != "auto":
        return wanted == "yes"
    there = any(map(shutil.which, ("c++", "g++", "clang++", "cl")))
    return there and steps >= WORTH_COMPILING
