"""The hyperparameters of Behler-Parrinello networks; nothing heavy is imported here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, cast

import numpy as np

from flexcalc.errors import InputError
from flexcalc.fields import Positive, Width
from flexcalc.models.bpnn import parameters
from flexcalc.models.networks.family import NetworkFamily

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True, kw_only=True)
class BPNN(NetworkFamily):
    """Behler-Parrinello networks on symmetry functions G2 and G4.

    Source: Behler and Parrinello, Phys. Rev. Lett. 98, 146401 (2007),
    doi:10.1103/PhysRevLett.98.146401; Behler, J. Chem. Phys. 134, 074106 (2011),
    doi:10.1063/1.3553717; the choice of functions by Imbalzano et al., J. Chem. Phys. 148, 241730
    (2018), doi:10.1063/1.5024611.
    """

    name: ClassVar[str] = "bpnn"
    extra: ClassVar[str] = "bpnn"

    cutoff: Positive = 6.0
    """Cutoff radius in angstrom, beyond which atoms do not interact."""
    radial_functions: Width = 16
    """Number of radial functions per element of the neighbour."""
    angular_widths: Width = 4
    """Number of radial widths of the angular functions per pair of elements of the neighbours."""
    zetas: tuple[Width, ...] = (1, 2, 4, 16)
    """Exponents zeta of the angular functions; each is used with both signs of the cosine."""
    hidden: tuple[Width, ...] = (30, 30)
    """Numbers of neurons in the hidden layers of the network of each element."""
    activation: Literal["silu", "tanh", "softplus"] = "silu"
    """Activation function."""

    @classmethod
    def packages(cls) -> Sequence[str]:
        """Packages that the family needs."""
        return ("torch", "numba")

    def on_processor(self, network: nn.Module, dtype: Any) -> Any:
        """See `NetworkFamily.on_processor`."""
        from flexcalc.models.bpnn.potential import on_processor

        return on_processor(cast(Any, network), self.activation, dtype)

    def size(self, atoms: int) -> int:
        """The triplets, eight of which take about as much as a pair does in other networks."""
        return max(1, atoms**3 // 16)

    def check(self, numbers: np.ndarray) -> None:
        """See `NetworkFamily.check`.

        Raises:
            InputError: there are no powers, no two atoms, or see there.
        """
        super().check(numbers)
        if not self.zetas:
            raise InputError("zetas: expected one power at least, as in zetas = [1, 4]")
        if len(numbers) < 2:
            raise InputError("bpnn needs a molecule of two atoms at least")

    def build(self, numbers: np.ndarray, positions: np.ndarray) -> nn.Module:
        """See `NetworkFamily.build`; the scales of the functions depend on the positions."""
        import torch

        from flexcalc.models.bpnn.functions import SymmetryFunctions
        from flexcalc.models.bpnn.network import BehlerParrinello

        functions = SymmetryFunctions(
            numbers,
            parameters.radial(self.radial_functions, self.cutoff),
            parameters.angular(self.angular_widths, self.cutoff),
            self.zetas,
            self.cutoff,
        )
        network = BehlerParrinello(numbers, functions, self.hidden, self.activation)
        network.standardise(torch.tensor(positions, dtype=torch.float64))
        # A trained potential is the float32 network, read in another precision.
        return network.float()
