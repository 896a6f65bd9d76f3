"""The hyperparameters of SchNet, PaiNN and SO3net; nothing heavy is imported here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from flexcalc.fields import Count, Natural, Positive
from flexcalc.models.networks.family import NetworkFamily

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True, kw_only=True)
class SchNetPackFamily(NetworkFamily):
    """What the architectures of SchNetPack have in common."""

    extra: ClassVar[str] = "schnet"

    features: Count = 128
    """Features of an atom."""
    interactions: Count = 3
    """Interaction blocks."""
    radial_functions: Count = 25
    """Functions that a distance is expanded in."""
    radial_basis: Literal["gaussian", "bessel"] = "gaussian"
    """Kind of those functions."""
    cutoff: Positive = 5.0
    """Distance in angstrom beyond which atoms do not see each other."""
    output_layers: Count = 2
    """Layers of the network that turns the features of an atom into its energy."""

    @classmethod
    def packages(cls) -> Sequence[str]:
        """Packages that the family needs."""
        return ("torch", "schnetpack")

    def build(self, numbers: np.ndarray, positions: np.ndarray) -> nn.Module:
        """See `NetworkFamily.build`; nothing depends on the positions."""
        from flexcalc.models.schnetpack import dense

        representation = self.representation(dense.radial(self), dense.cutoff(self))
        kind = getattr(dense, f"{type(self).__name__}Network")
        return kind(numbers, representation, dense.output(self))

    def representation(self, radial: nn.Module, cutoff: nn.Module) -> nn.Module:
        """SchNetPack's module with fresh weights."""
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class SchNet(SchNetPackFamily):
    """SchNet, a network of continuous filters over distances.

    Source: Schütt, Sauceda, Kindermans, Tkatchenko, Müller, J. Chem. Phys. 148, 241722 (2018),
    doi:10.1063/1.5019779; SchNetPack 2.2.
    """

    name: ClassVar[str] = "schnet"

    features: Count = 64
    """Features of an atom."""
    interactions: Count = 6
    """Interaction blocks."""
    filters: Natural = 0
    """Filters of an interaction; as many as there are features by default."""
    table: Natural = 2000
    """Points at which the filters are tabulated for inference; 0 to compute them every time."""

    def representation(self, radial: nn.Module, cutoff: nn.Module) -> nn.Module:
        """SchNetPack's module with fresh weights."""
        from schnetpack.representation import SchNet as Representation

        return Representation(
            n_atom_basis=self.features,
            n_interactions=self.interactions,
            radial_basis=radial,
            cutoff_fn=cutoff,
            n_filters=self.filters or None,
        )

    def fast(self, network: nn.Module, dtype: Any) -> Any | None:
        """SchNet with tabulated filters, on the processor."""
        if not self.table or next(network.parameters()).device.type != "cpu":
            return None
        from flexcalc.models.schnetpack.tabulated import Tabulated

        return Tabulated(network, self.table, dtype)


@dataclass(frozen=True, kw_only=True)
class PaiNN(SchNetPackFamily):
    """PaiNN, a network with features that turn with the molecule.

    Source: Schütt, Unke, Gastegger, ICML 2021, arXiv:2102.03150; SchNetPack 2.2.
    """

    name: ClassVar[str] = "painn"

    def representation(self, radial: nn.Module, cutoff: nn.Module) -> nn.Module:
        """SchNetPack's module with fresh weights."""
        from schnetpack.representation import PaiNN as Representation

        return Representation(
            n_atom_basis=self.features,
            n_interactions=self.interactions,
            radial_basis=radial,
            cutoff_fn=cutoff,
        )


@dataclass(frozen=True, kw_only=True)
class SO3Net(SchNetPackFamily):
    """SO3net, a network on spherical harmonics up to an angular momentum.

    Source: Schütt, Hessmann, Gebauer, Lederer, Gastegger, J. Chem. Phys. 158, 144801 (2023),
    doi:10.1063/5.0138367; SchNetPack 2.2.
    """

    name: ClassVar[str] = "so3net"

    features: Count = 64
    """Features of an atom."""
    angular_momentum: Count = 2
    """Highest angular momentum of the spherical harmonics."""

    def representation(self, radial: nn.Module, cutoff: nn.Module) -> nn.Module:
        """SchNetPack's module with fresh weights."""
        from schnetpack.representation import SO3net as Representation

        return Representation(
            n_atom_basis=self.features,
            n_interactions=self.interactions,
            lmax=self.angular_momentum,
            radial_basis=radial,
            cutoff_fn=cutoff,
        )
