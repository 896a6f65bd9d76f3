"""The hyperparameters of SchNet, PaiNN and SO3net; nothing heavy is imported here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, cast

import numpy as np

from flexcalc.fields import Count, Depth, Positive, Table, Width
from flexcalc.models.networks.family import NetworkFamily

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True, kw_only=True)
class SchNetPackFamily(NetworkFamily):
    """What the architectures of SchNetPack have in common."""

    extra: ClassVar[str] = "schnet"
    module: ClassVar[str]
    """Name of the class in `schnetpack.representation`."""

    features: Width = 128
    """Number of features per atom."""
    interactions: Depth = 3
    """Number of interaction blocks (message-passing layers)."""
    radial_functions: Width = 25
    """Number of radial basis functions."""
    radial_basis: Literal["gaussian", "bessel"] = "gaussian"
    """Kind of radial basis functions."""
    cutoff: Positive = 5.0
    """Cutoff radius in angstrom, beyond which atoms do not interact."""
    output_layers: Depth = 2
    """Number of layers of the output network, from the features of an atom to its energy."""

    @classmethod
    def packages(cls) -> Sequence[str]:
        """Packages that the family needs."""
        return ("torch", "schnetpack")

    def build(self, numbers: np.ndarray, positions: np.ndarray) -> nn.Module:
        """See `NetworkFamily.build`; nothing depends on the positions."""
        from flexcalc.models.schnetpack.dense import network

        return network(self, numbers, self.own())

    def own(self) -> Mapping[str, int | None]:
        """Additional arguments of SchNetPack's module of this architecture."""
        return {}


@dataclass(frozen=True, kw_only=True)
class TabulatedFamily(SchNetPackFamily):
    """What the architectures have in common that are compiled for the processor."""

    table: Table = 300
    """Number of intervals of the table of radial filters, for inference on CPUs; 0 for inference by
    torch. With 300, the error of forces of azobenzene is 3e-8 eV/angstrom in double precision; it
    scales with the fifth power of the spacing. With more intervals SchNet's table exceeds the
    cache."""

    @classmethod
    def packages(cls) -> Sequence[str]:
        """Packages that the family needs."""
        return (*super().packages(), "numba")

    def on_processor(self, network: nn.Module, dtype: Any) -> Any | None:
        """See `NetworkFamily.on_processor`."""
        if not self.table:
            return None
        from flexcalc.models.schnetpack.tabulated import tabulated

        return tabulated(cast(Any, network), self.table, dtype)


@dataclass(frozen=True, kw_only=True)
class SchNet(TabulatedFamily):
    """SchNet, a message-passing network with continuous filters over distances.

    Source: Schütt, Sauceda, Kindermans, Tkatchenko, Müller, J. Chem. Phys. 148, 241722 (2018),
    doi:10.1063/1.5019779; SchNetPack 2.2.
    """

    name: ClassVar[str] = "schnet"
    module: ClassVar[str] = "SchNet"

    features: Width = 64
    """Number of features per atom."""
    interactions: Depth = 6
    """Number of interaction blocks (message-passing layers)."""
    filters: Table = 0
    """Number of filters per interaction; as many as features by default."""

    def own(self) -> Mapping[str, int | None]:
        """See `SchNetPackFamily.own`."""
        return {"n_filters": self.filters or None}


@dataclass(frozen=True, kw_only=True)
class PaiNN(TabulatedFamily):
    """PaiNN, an equivariant message-passing network with vector features.

    Source: Schütt, Unke, Gastegger, ICML 2021, arXiv:2102.03150; SchNetPack 2.2.
    """

    name: ClassVar[str] = "painn"
    module: ClassVar[str] = "PaiNN"


@dataclass(frozen=True, kw_only=True)
class SO3Net(SchNetPackFamily):
    """SO3net, an equivariant message-passing network on spherical harmonics.

    Source: Schütt, Hessmann, Gebauer, Lederer, Gastegger, J. Chem. Phys. 158, 144801 (2023),
    doi:10.1063/5.0138367; SchNetPack 2.2.
    """

    name: ClassVar[str] = "so3net"
    module: ClassVar[str] = "SO3net"

    features: Width = 64
    """Number of features per atom."""
    angular_momentum: Count = 2
    """Maximum angular momentum of the spherical harmonics."""

    def own(self) -> Mapping[str, int | None]:
        """See `SchNetPackFamily.own`."""
        return {"lmax": self.angular_momentum}

    def size(self, atoms: int) -> int:
        """See `NetworkFamily.size`; a pair has as many filters as there are harmonics."""
        return atoms**2 * (self.angular_momentum + 1) ** 2
