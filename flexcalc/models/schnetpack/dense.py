"""SchNetPack's modules, evaluated on all pairs of one molecule.

The weights are in SchNetPack's own modules, so that they can be exported and imported; the forward
pass is implemented here. A molecule of fixed composition always has the same pairs of atoms, so
message passing is dense: there is no neighbour list and no scatter operation. A filter depends on
the distance alone, so it is computed once for both directions of a pair. The cutoff function makes
distant pairs exactly zero.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

if TYPE_CHECKING:
    from flexcalc.models.schnetpack.family import SchNetPackFamily

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import schnetpack.nn as snn
    import schnetpack.properties as keys
    import schnetpack.representation as representations


class PairNetwork(nn.Module):
    """A representation and an output network on all pairs of a molecule.

    Args:
        numbers: (atoms,) atomic numbers.
        representation: a module of SchNetPack.
        output: maps features to an energy.
    """

    representation: Any
    output: Any
    numbers: torch.Tensor
    first: torch.Tensor
    second: torch.Tensor
    square: torch.Tensor

    def __init__(self, numbers: np.ndarray, representation: nn.Module, output: nn.Module):
        super().__init__()
        self.representation, self.output = representation, output
        atoms = self.atoms = len(numbers)
        first, second = np.triu_indices(atoms, 1)
        # Index of the pair of two atoms; the diagonal has the last index, of an empty row.
        square = np.full((atoms, atoms), len(first))
        square[first, second] = square[second, first] = np.arange(len(first))
        for name, array in {
            "numbers": np.asarray(numbers),
            "first": first,
            "second": second,
            "square": square.reshape(-1),
        }.items():
            self.register_buffer(name, torch.from_numpy(array.astype(np.int64)), persistent=False)

    def forward(self, positions: torch.Tensor) -> torch.Tensor:
        """Energies (batch,) of positions (batch, atoms, 3)."""
        return self.output(self.scalars(positions)).sum(dim=(1, 2))

    def scalars(self, positions: torch.Tensor) -> torch.Tensor:
        """Features (batch, atoms, features) of the atoms."""
        raise NotImplementedError

    def pairs(self, positions: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Differences r_second - r_first (batch, pairs, 3) and distances (batch, pairs)."""
        apart = positions.index_select(1, self.second) - positions.index_select(1, self.first)
        return apart, torch.linalg.vector_norm(apart, dim=-1)

    def squared(self, values: torch.Tensor) -> torch.Tensor:
        """Values of pairs (batch, pairs, n) as (batch, atoms, atoms, n), zero on the diagonal."""
        padded = nn.functional.pad(values, (0, 0, 0, 1))
        return padded.index_select(1, self.square).view(len(values), self.atoms, self.atoms, -1)


class SchNetNetwork(PairNetwork):
    """SchNet; see `schnetpack.representation.SchNet` for what is computed."""

    def scalars(self, positions: torch.Tensor) -> torch.Tensor:
        """Features (batch, atoms, features) of the atoms."""
        model = self.representation
        _, distances = self.pairs(positions)
        expanded = model.radial_basis(distances)
        fading = model.cutoff_fn(distances)[..., None]
        x = model.embedding(self.numbers)[None].expand(len(positions), -1, -1)
        for block in model.interactions:
            filters = self.squared(block.filter_network(expanded) * fading)
            x = x + block.f2out((filters * block.in2f(x)[:, None]).sum(2))
        return x


class PaiNNNetwork(PairNetwork):
    """PaiNN; see `schnetpack.representation.PaiNN` for what is computed.

    Vector features are (batch, atoms, 3, features).
    """

    def scalars(self, positions: torch.Tensor) -> torch.Tensor:
        """Features (batch, atoms, features) of the atoms."""
        model, batch = self.representation, len(positions)
        apart, distances = self.pairs(positions)
        fading = model.cutoff_fn(distances)[..., None]
        filters = model.filter_net(model.radial_basis(distances)) * fading
        # SchNetPack's direction is from the centre to its neighbour: minus that of the pair
        # seen from the other side.
        unit = self.squared(apart / distances[..., None])
        order = torch.sign(self._order())[None, :, :, None].to(unit.dtype)
        unit = (unit * order).transpose(2, 3)
        q = model.embedding(self.numbers)[None].expand(batch, -1, -1)
        mu = positions.new_zeros(batch, self.atoms, 3, q.shape[-1])
        width = 3 * q.shape[-1]
        for index, (interaction, mixing) in enumerate(
            zip(model.interactions, model.mixing, strict=True)
        ):
            one = filters if model.share_filters else filters.narrow(2, index * width, width)
            context = interaction.interatomic_context_net(q)[:, None]
            dq, radial, carried = (self.squared(one) * context).chunk(3, dim=-1)
            q = q + dq.sum(2)
            step = torch.matmul(unit, radial)
            if index:  # before the first block there is nothing to carry
                step = step + (carried[:, :, :, None] * mu[:, None]).sum(2)
            q, mu = self._mixed(mixing, q, mu + step)
        return q

    def _order(self) -> torch.Tensor:
        """Minus to plus: whether the neighbour comes after the centre in the molecule."""
        atom = torch.arange(self.atoms, device=self.numbers.device)
        return atom[None] - atom[:, None]

    @staticmethod
    def _mixed(mixing: Any, q: torch.Tensor, mu: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Features after a mixing block, which acts on each atom by itself."""
        left, right = mixing.mu_channel_mix(mu).chunk(2, dim=-1)
        length = torch.sqrt((left**2).sum(2) + mixing.epsilon)
        context = mixing.intraatomic_context_net(torch.cat([q, length], dim=-1))
        dq, scale, product = context.chunk(3, dim=-1)
        q = q + dq + product * (left * right).sum(2)
        return q, mu + scale[:, :, None] * right


class SO3NetNetwork(PairNetwork):
    """SO3net, by SchNetPack's own forward pass."""

    def scalars(self, positions: torch.Tensor) -> torch.Tensor:
        """Features (batch, atoms, features) of the atoms."""
        batch, atoms = len(positions), self.atoms
        apart, _ = self.pairs(positions)
        shift = (torch.arange(batch, device=positions.device) * atoms)[:, None]
        ends = torch.stack([self.first, self.second])[:, None] + shift
        inputs = {
            keys.Z: self.numbers.repeat(batch),
            keys.Rij: torch.cat([apart, -apart]).reshape(-1, 3),
            keys.idx_i: ends.reshape(-1),
            keys.idx_j: ends.flip(0).reshape(-1),
        }
        found = self.representation(inputs)["scalar_representation"]
        return found.view(batch, atoms, -1)


NETWORKS: dict[type[nn.Module], type[PairNetwork]] = {
    representations.SchNet: SchNetNetwork,
    representations.PaiNN: PaiNNNetwork,
    representations.SO3net: SO3NetNetwork,
}
"""Which network evaluates which of SchNetPack's modules."""


def network(family: SchNetPackFamily, numbers: np.ndarray, own: Mapping[str, Any]) -> PairNetwork:
    """A network of SchNetPack's modules with fresh weights.

    Args:
        family: the hyperparameters.
        numbers: (atoms,) atomic numbers.
        own: further arguments of the architecture's module.
    """
    kind = getattr(representations, family.module)
    basis = {"gaussian": snn.GaussianRBF, "bessel": snn.BesselRBF}[family.radial_basis]
    representation = kind(
        n_atom_basis=family.features,
        n_interactions=family.interactions,
        radial_basis=basis(family.radial_functions, family.cutoff),
        cutoff_fn=snn.CosineCutoff(family.cutoff),
        **own,
    )
    # As SchNetPack's Atomwise has it.
    output = snn.build_mlp(family.features, 1, n_layers=family.output_layers)
    return NETWORKS[kind](numbers, representation, output)
