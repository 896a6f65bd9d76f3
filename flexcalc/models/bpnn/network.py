"""Energies of atoms from their symmetry functions."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import torch
from torch import nn

from flexcalc.models.bpnn.functions import SymmetryFunctions

QUIET = 0.05
"""Deviation over the training points, relative to the largest of its kind and element, below which
a function is not scaled up any further: small ones are mostly tails, and would make the energy
bend sharply where a geometry is new."""
SCALED = 100
"""Training points whose functions are held in memory at a time."""

ACTIVATIONS = {"tanh": nn.Tanh, "silu": nn.SiLU, "softplus": nn.Softplus}


class BehlerParrinello(nn.Module):
    """The sum of the energies of the atoms, each by the network of its element.

    Source: Behler and Parrinello, Phys. Rev. Lett. 98, 146401 (2007),
    doi:10.1103/PhysRevLett.98.146401.

    Args:
        numbers: (atoms,) atomic numbers.
        functions: of the same molecule.
        hidden: neurons of the hidden layers.
        activation: a name in `ACTIVATIONS`.
    """

    mean: torch.Tensor
    scale: torch.Tensor

    def __init__(
        self,
        numbers: np.ndarray,
        functions: SymmetryFunctions,
        hidden: Sequence[int],
        activation: str,
    ):
        super().__init__()
        self.functions = functions
        self.networks = nn.ModuleList(
            network([functions.size, *hidden, 1], ACTIVATIONS[activation])
            for _ in functions.elements
        )
        self.members = [f"members_{element}" for element in functions.elements]
        for name, element in zip(self.members, functions.elements, strict=True):
            members = torch.from_numpy(np.flatnonzero(numbers == element))
            self.register_buffer(name, members, persistent=False)
        shape = len(functions.elements), functions.size
        self.register_buffer("mean", torch.zeros(shape, dtype=torch.float64))
        self.register_buffer("scale", torch.ones(shape, dtype=torch.float64))

    def forward(self, positions: torch.Tensor) -> torch.Tensor:
        """Energies (batch,) of positions (batch, atoms, 3) in angstrom."""
        found = self.functions(positions)
        energies = positions.new_zeros(len(positions))
        for kind, name in enumerate(self.members):
            inputs = (found[:, getattr(self, name)] - self.mean[kind]) * self.scale[kind]
            energies = energies + self.networks[kind](inputs).sum(dim=(1, 2))
        return energies

    @torch.no_grad()
    def standardise(self, positions: torch.Tensor) -> None:
        """Set mean and scale so that functions have mean 0 and deviation 1 on these points.

        Functions that hardly vary get a smaller deviation, and 0 if they are constant.

        Args:
            positions: (frames, atoms, 3) in angstrom.
        """
        found = torch.cat([self.functions(part) for part in positions.split(SCALED)])
        kinds = [slice(0, self.functions.radials), slice(self.functions.radials, None)]
        for kind, name in enumerate(self.members):
            values = found[:, getattr(self, name)].flatten(0, 1)
            deviation, self.mean[kind] = torch.std_mean(values, dim=0, correction=0)
            for part in kinds:
                least = QUIET * deviation[part].max()
                scale = 1 / torch.hypot(deviation[part], least)
                self.scale[kind, part] = torch.where(deviation[part] > 0, scale, 0.0)


def network(sizes: Sequence[int], activation: type[nn.Module]) -> nn.Sequential:
    """Linear layers of these sizes with the activation between them.

    The first weights are torch's own, which are small: larger ones begin with an energy that
    bends more sharply than any molecule's, and training does not smooth it where there are no
    points.
    """
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(sizes):
        layers += [nn.Linear(inputs, outputs), activation()]
    return nn.Sequential(*layers[:-1])
