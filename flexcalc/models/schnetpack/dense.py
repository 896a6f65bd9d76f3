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
    import schnetpack.properties as keys  # noqa: F401 (of the evaluator)
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

    @property
    def size(self) -> int:
        """See `NetworkFamily.size`."""
        return self.atoms**2

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
    """SO3net; see `schnetpack.representation.SO3net` for what is computed.

    Features are (batch, features, atoms, harmonics), so that the sum over neighbours is a matrix
    product. Products of harmonics are contracted with the Clebsch-Gordan coefficients after that
    sum: then they are taken for each atom and not for each pair.
    """

    powers: torch.Tensor
    harmonics: torch.Tensor
    couplings: torch.Tensor
    degrees: torch.Tensor
    parity: torch.Tensor

    def __init__(self, numbers: np.ndarray, representation: Any, output: nn.Module):
        super().__init__(numbers, representation, output)
        powers, harmonics = _harmonics(representation.sphharm)
        product = representation.so3product
        count = (int(representation.lmax) + 1) ** 2
        couplings = torch.zeros(count, count, count, dtype=torch.float64)
        where = (product.idx_in_1, product.idx_in_2, product.idx_out)
        couplings[where] = product.clebsch_gordan.double()
        degrees = representation.sphharm.lidx.clone()
        # A pair seen from the other side: harmonics of odd degree change their sign.
        after = torch.arange(self.atoms)[None] > torch.arange(self.atoms)[:, None]
        odd = (degrees % 2 == 1)[:, None]
        parity = 1.0 - 2.0 * (odd[None] & ~after[:, None]).double().reshape(self.atoms, count, -1)
        for name, value in {
            "powers": powers,
            # As bits: a network that was in single precision for its training, and is then put
            # into double, must give what it gives when it is read from its folder.
            "harmonics": harmonics.view(torch.int64),
            "couplings": couplings.reshape(count * count, count),
            "degrees": degrees,
            "parity": parity,
        }.items():
            self.register_buffer(name, value, persistent=False)

    @property
    def size(self) -> int:
        """See `NetworkFamily.size`; a pair has as many filters as there are harmonics."""
        return self.atoms**2 * len(self.degrees)

    def scalars(self, positions: torch.Tensor) -> torch.Tensor:
        """Features (batch, atoms, features) of the atoms."""
        model, batch, atoms = self.representation, len(positions), self.atoms
        apart, distances = self.pairs(positions)
        radial = model.radial_basis(distances)
        fading = model.cutoff_fn(distances)[..., None]
        shells = torch.cat([radial * fading, fading], dim=-1)
        # (batch, functions, atoms * atoms), zero on the diagonal
        shells = self.squared(shells).view(batch, atoms * atoms, -1).mT
        around = self.squared(self._harmonics_of(apart / distances[..., None]))
        around = around.mT * self.parity.to(positions.dtype)  # (batch, atoms, harmonics, atoms)
        couplings = self.couplings.to(positions.dtype)
        x = model.embedding(self.numbers).mT[None, :, :, None].expand(batch, -1, -1, -1)
        for index, conv in enumerate(model.so3convs):
            dx = self._convolved(conv, x, shells, around, couplings)
            ddx = _mixed(model.mixings1[index], dx)
            outer = (dx[..., :, None] * ddx[..., None, :]).flatten(-2)
            dx = _mixed(model.mixings2[index], dx + outer @ couplings)
            dx = _mixed(model.mixings3[index], self._gated(model.gatings[index], dx))
            if not index:  # before the first block there are scalars alone
                x = nn.functional.pad(x, (0, len(self.degrees) - 1))
            x = x + dx
        return x[..., 0].mT

    def _harmonics_of(self, unit: torch.Tensor) -> torch.Tensor:
        """Real spherical harmonics (batch, pairs, harmonics) of unit vectors."""
        powers = [torch.ones_like(unit)]
        for _ in range(int(self.representation.lmax)):
            powers.append(powers[-1] * unit)
        x, y, z = torch.stack(powers, dim=-1).unbind(2)
        a, b, c = self.powers
        monomials = x[..., a] * y[..., b] * z[..., c]
        return monomials @ self.harmonics.view(torch.float64).to(unit.dtype)

    def _convolved(
        self,
        conv: Any,
        x: torch.Tensor,
        shells: torch.Tensor,
        around: torch.Tensor,
        couplings: torch.Tensor,
    ) -> torch.Tensor:
        """Features after the convolution with the filters of a block."""
        batch, atoms, count = len(x), self.atoms, len(self.degrees)
        net = conv.filternet
        weights = torch.cat([net.weight, net.bias[:, None]], dim=1)
        # Rows of the weights are degree by degree; here the features come first.
        weights = weights.view(-1, x.shape[1], weights.shape[1])
        weights = weights.transpose(0, 1).reshape(-1, weights.shape[2])
        filters = (weights @ shells).view(batch, x.shape[1], -1, atoms, atoms)
        filters = filters.transpose(2, 3).index_select(3, self.degrees)
        filters = (filters * around[:, None]).view(batch, -1, atoms * count, atoms)
        summed = filters @ x  # (batch, features, atoms * harmonics, harmonics)
        if x.shape[-1] == 1:  # scalars alone: the coefficients are a unit matrix
            return summed.view(batch, -1, atoms, count)
        return summed.view(batch, -1, atoms, count * count) @ couplings

    def _gated(self, gating: Any, x: torch.Tensor) -> torch.Tensor:
        """Features (batch, features, atoms, harmonics) after the gates."""
        gates = torch.sigmoid(gating.scaling(x[..., 0].mT))  # (batch, atoms, degrees * features)
        gates = gates.view(len(x), self.atoms, -1, x.shape[1]).permute(0, 3, 1, 2)
        return x * gates.index_select(3, self.degrees)


def _mixed(linear: nn.Linear, x: torch.Tensor) -> torch.Tensor:
    """A linear map of the features of (batch, features, ...) without a bias."""
    return (linear.weight @ x.flatten(2)).view(x.shape)


def _harmonics(sphharm: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """The real spherical harmonics of SchNetPack as polynomials.

    Returns:
        powers of x, y and z (3, monomials), and the coefficients (monomials, harmonics).
    """
    top = int(sphharm.lmax)
    across = {True: sphharm.cAm.double(), False: sphharm.cBm.double()}
    found: dict[tuple[int, int, int], torch.Tensor] = {}
    for column, (degree, order) in enumerate(
        zip(sphharm.lidx.tolist(), sphharm.midx.tolist(), strict=True)
    ):
        m = abs(order)
        flat = [((0, 0), 0.5**0.5)]
        if m:
            flat = [((p, m - p), float(across[order > 0][m - 1, p])) for p in range(m + 1)]
        size = ((2 * degree + 1) / (2 * np.pi)) ** 0.5
        for k in range((degree - m) // 2 + 1):
            high = float(sphharm.cPi[degree, m, k].double())
            for (a, b), low in flat:
                powers = (a, b, degree - m - 2 * k)
                row = found.setdefault(powers, torch.zeros((top + 1) ** 2, dtype=torch.float64))
                row[column] += size * high * low
    return torch.tensor(list(found)).T.contiguous(), torch.stack(list(found.values()))


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
