"""Models of SchNetPack, evaluated on all pairs of one molecule.

A plain model of a kind that `dense` knows goes through it; any other through its own forward
pass, with the pairs of all atoms in place of a neighbour list. Its cutoff makes far pairs exactly
zero.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from flexcalc.errors import AddressError
from flexcalc.models.networks.potential import differentiated
from flexcalc.models.schnetpack.dense import NETWORKS, PairNetwork, keys
from flexcalc.query import choice


def energy_name(path: Path, model: Any, wanted: str) -> str:
    """The model's name of its energy: as asked for, `energy`, or the only one it could be.

    Raises:
        AddressError: there is no such output, or several could be meant.
    """
    outputs = list(model.model_outputs)
    if wanted:
        return choice(wanted, outputs, f"{path}: output")
    if keys.energy in outputs:
        return keys.energy
    single = [part.output_key for part in model.output_modules if type(part).__name__ == "Atomwise"]
    if len(single) == 1:
        return single[0]
    raise AddressError(
        f"{path}: say which output is the energy, as in ?energy_key={outputs[0]}: "
        f"{', '.join(outputs)}"
    )


def forces_name(path: Path, model: Any, energy: str, wanted: str) -> str | None:
    """The model's name of the forces of that energy, or None where it has none.

    Raises:
        AddressError: there is no such output.
    """
    if wanted:
        return choice(wanted, list(model.model_outputs), f"{path}: output")
    for part in model.output_modules:
        if type(part).__name__ == "Forces" and part.energy_key == energy and part.calc_forces:
            return part.force_key
    return None


def dense(numbers: np.ndarray, model: Any, energy: str) -> PairNetwork | None:
    """The model as one of our networks, where it is nothing but a representation and a sum."""
    import schnetpack.atomistic as parts

    outputs, inputs = list(model.output_modules), list(model.input_modules)
    kind = NETWORKS.get(type(model.representation))
    plain = (
        kind is not None
        and not len(model.representation.electronic_embeddings)
        and all(type(part) is parts.PairwiseDistances for part in inputs)
        and [type(part) for part in outputs] in ([parts.Atomwise], [parts.Atomwise, parts.Forces])
        and outputs[0].output_key == energy
        and outputs[0].aggregation_mode == "sum"
        and outputs[0].per_atom_output_key is None
        and outputs[0].n_out == 1
        and not any(part.calc_stress for part in outputs[1:])
    )
    if kind is None or not plain:
        return None
    return kind(numbers, model.representation, outputs[0].outnet)


class Evaluator(nn.Module):
    """Energies and forces of a model of SchNetPack, in its own units.

    Args:
        numbers: (atoms,) atomic numbers.
        model: a `NeuralNetworkPotential`.
        energy, forces: its names of them; where it has no forces, the energy is differentiated.
        charge, multiplicity: of the molecule.
    """

    numbers: torch.Tensor
    ends: torch.Tensor

    def __init__(
        self,
        numbers: np.ndarray,
        model: Any,
        energy: str,
        forces: str | None,
        charge: int,
        multiplicity: int,
    ):
        super().__init__()
        self.model, self.energy, self.forces = model, energy, forces
        self.charge, self.multiplicity, self.atoms = charge, multiplicity, len(numbers)
        ends = np.nonzero(~np.eye(self.atoms, dtype=bool))
        kinds = torch.from_numpy(np.asarray(numbers, dtype=np.int64))
        self.register_buffer("numbers", kinds, persistent=False)
        self.register_buffer("ends", torch.from_numpy(np.stack(ends)), persistent=False)
        self.dense = dense(numbers, model, energy)

    @property
    def size(self) -> int:
        """Work for a geometry, in units of what a pair of atoms takes."""
        harmonics = (int(getattr(self.model.representation, "lmax", 0)) + 1) ** 2
        return self.atoms**2 * harmonics

    def forward(self, positions: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Energies (batch,) and forces (batch, atoms, 3) of positions (batch, atoms, 3)."""
        inputs = self._inputs(positions)
        if self.dense is not None:
            energies, gradient = differentiated(self.dense, positions)
            inputs |= {self.energy: energies, self.forces or keys.forces: -gradient.flatten(0, 1)}
            found = self.model.postprocess(inputs)
        elif self.forces is not None:
            with torch.enable_grad():
                found = self.model(inputs)
        else:
            return self._differentiated(positions)
        energies, forces = found[self.energy], found[self.forces or keys.forces]
        return energies.detach(), forces.detach().view(positions.shape)

    def _differentiated(self, positions: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The same of a model that has no forces."""

        def energy(moved: torch.Tensor) -> torch.Tensor:
            return self.model(self._inputs(moved))[self.energy]

        energies, gradient = differentiated(energy, positions)
        return energies, -gradient

    def _inputs(self, positions: torch.Tensor) -> dict[str, torch.Tensor]:
        """A batch as SchNetPack wants it."""
        batch, device = len(positions), positions.device
        order = torch.arange(batch, device=device)
        edges = (self.ends[:, None] + self.atoms * order[:, None]).reshape(2, -1)
        whole = torch.ones_like(order)
        return {
            keys.idx: order,
            keys.n_atoms: self.atoms * whole,
            keys.Z: self.numbers.repeat(batch),
            keys.R: positions.reshape(-1, 3),
            keys.cell: positions.new_zeros(batch, 3, 3),
            keys.pbc: torch.zeros(3 * batch, dtype=torch.bool, device=device),
            keys.idx_m: order.repeat_interleave(self.atoms),
            keys.idx_i: edges[0],
            keys.idx_j: edges[1],
            keys.offsets: positions.new_zeros(edges.shape[1], 3),
            keys.total_charge: positions.new_full((batch,), self.charge),
            keys.spin_multiplicity: positions.new_full((batch,), self.multiplicity),
        }
