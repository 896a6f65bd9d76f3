"""The hyperparameters of MACE; nothing heavy is imported here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from flexcalc.fields import Depth, Order, Positive, Width
from flexcalc.models.networks.family import NetworkFamily

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True, kw_only=True)
class MACE(NetworkFamily):
    """MACE, a network that passes messages of many bodies.

    Source: Batatia, Kovács, Simm, Ortner, Csányi, NeurIPS 35 (2022), arXiv:2206.07697;
    mace-torch 0.3.
    """

    name: ClassVar[str] = "mace"
    extra: ClassVar[str] = "mace"

    channels: Width = 32
    """Number of channels: features of an atom per component of each angular momentum."""
    max_L: Order = 1
    """Maximum angular momentum of messages; 0 for scalars alone."""
    max_ell: Depth = 2
    """Maximum angular momentum of the spherical harmonics of edges."""
    correlation: Depth = 3
    """Correlation order: number of neighbours in a product; messages have one body order more."""
    interactions: Depth = 2
    """Number of interaction blocks (message-passing layers)."""
    radial_functions: Width = 8
    """Number of radial basis functions."""
    radial_basis: Literal["bessel", "gaussian"] = "bessel"
    """Kind of radial basis functions."""
    radial_layers: Depth = 3
    """Number of hidden layers of the radial network."""
    radial_features: Width = 64
    """Width of the hidden layers of the radial network."""
    readout_features: Width = 16
    """Width of the hidden layer of the last readout."""
    cutoff: Positive = 5.0
    """Cutoff radius in angstrom, beyond which atoms do not interact."""
    cutoff_power: Depth = 5
    """Exponent p of the polynomial cutoff function; a higher one decays closer to the cutoff."""

    @classmethod
    def packages(cls) -> Sequence[str]:
        """Packages that the family needs."""
        return ("torch", "mace")

    def build(self, numbers: np.ndarray, positions: np.ndarray) -> nn.Module:
        """See `NetworkFamily.build`; the mean number of neighbours depends on the positions."""
        from flexcalc.models.mace.network import Graph, mean_neighbours, module

        elements = sorted({int(number) for number in numbers})
        return Graph(numbers, module(self, elements, mean_neighbours(positions, self.cutoff)))

    def fast(self, network: Any, dtype: Any) -> Any:
        """The network on the pairs within the cutoff."""
        from functools import partial

        from flexcalc.models.networks.potential import differentiated

        return partial(differentiated, network.near)
