"""mace-torch's modules, evaluated on a batch of geometries of one molecule.

All geometries of a batch are one graph: their atoms one after another, and the edges between
atoms of the same geometry.
"""

from __future__ import annotations

import contextlib
import io
import os
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

if TYPE_CHECKING:
    from flexcalc.models.mace.family import MACE

UNSAFE = "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"
"""What mace-torch sets for the whole process, so that torch.load unpickles anything anywhere."""


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    """Import and use mace-torch without its notes on the terminal and its change of torch.load."""
    before = os.environ.get(UNSAFE)
    with (
        warnings.catch_warnings(),
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
    ):
        warnings.simplefilter("ignore")
        try:
            yield
        finally:
            os.environ.pop(UNSAFE, None)
            if before is not None:
                os.environ[UNSAFE] = before


# e3nn's table of coefficients has a slice in it, which torch.load would refuse.
with quietly(), torch.serialization.safe_globals([slice]):
    from e3nn import o3
    from mace import modules
    from mace.tools.compile import disable_e3nn_codegen

BLOCK = modules.interaction_classes["RealAgnosticResidualInteractionBlock"]


def module(family: MACE, elements: list[int], neighbours: float) -> Any:
    """mace-torch's module with fresh weights, in single precision.

    Args:
        family: the hyperparameters.
        elements: atomic numbers, ascending.
        neighbours: average number of neighbours of an atom; messages are divided by it.
    """
    shapes = "+".join(
        f"{family.channels}x{order}{'eo'[order % 2]}" for order in range(family.max_L + 1)
    )
    # TorchScript, which e3nn makes otherwise, can neither be traced nor compiled further.
    with quietly(), disable_e3nn_codegen():
        built = modules.ScaleShiftMACE(
            r_max=family.cutoff,
            num_bessel=family.radial_functions,
            num_polynomial_cutoff=family.cutoff_power,
            radial_type=family.radial_basis,
            radial_MLP=[family.radial_features] * family.radial_layers,
            max_ell=family.max_ell,
            interaction_cls=BLOCK,
            interaction_cls_first=BLOCK,
            num_interactions=family.interactions,
            num_elements=len(elements),
            hidden_irreps=o3.Irreps(shapes),
            MLP_irreps=o3.Irreps(f"{family.readout_features}x0e"),
            atomic_energies=np.zeros(len(elements)),
            avg_num_neighbors=neighbours,
            atomic_numbers=elements,
            correlation=family.correlation,
            gate=torch.nn.functional.silu,
            atomic_inter_scale=1.0,
            atomic_inter_shift=0.0,
        )
    for block in built.interactions:
        # A buffer in place of the plain number, so that a loaded network gets it back.
        del block.avg_num_neighbors
        block.register_buffer("avg_num_neighbors", torch.tensor(neighbours))
    for part in built.modules():
        for name, values in part.named_buffers(recurse=False):
            # Flags and exponents, which the hyperparameters say; a model folder has no such types.
            if values.dtype in (torch.bool, torch.int32):
                part._non_persistent_buffers_set.add(name)
    return built


def mean_neighbours(positions: np.ndarray, cutoff: float) -> float:
    """Average number of neighbours within the cutoff, for positions (frames, atoms, 3)."""
    total = sum(
        int((np.linalg.norm(frame[:, None] - frame[None], axis=-1) < cutoff).sum()) - len(frame)
        for frame in positions
    )
    return max(1.0, total / (positions.shape[0] * positions.shape[1]))


class Graph(nn.Module):
    """A MACE module on batches of one molecule.

    Args:
        numbers: (atoms,) atomic numbers, all of them among the module's elements.
        model: of mace-torch.
        head: index of the readout.
        charge: of the molecule, where the module depends on it.
        multiplicity: likewise; mace-torch calls it the total spin.
    """

    kinds: torch.Tensor
    ends: torch.Tensor

    def __init__(
        self,
        numbers: np.ndarray,
        model: Any,
        head: int = 0,
        charge: int = 0,
        multiplicity: int = 1,
    ):
        super().__init__()
        self.model, self.head, self.atoms = model, head, len(numbers)
        self.charge, self.multiplicity = charge, multiplicity
        elements = model.atomic_numbers.tolist()
        kinds = torch.tensor([elements.index(int(number)) for number in numbers])
        ends = np.nonzero(~np.eye(self.atoms, dtype=bool))
        self.register_buffer("kinds", nn.functional.one_hot(kinds, len(elements)), persistent=False)
        self.register_buffer("ends", torch.from_numpy(np.stack(ends)), persistent=False)

    def forward(self, positions: torch.Tensor) -> torch.Tensor:
        """Energies (batch,) of positions (batch, atoms, 3), on all pairs of atoms.

        The cutoff makes pairs that are far apart exactly zero.
        """
        shift = self._starts(positions)[:, None]
        edges = (self.ends[:, None] + shift).reshape(2, -1)
        return self._energies(positions, edges)

    def near(self, positions: torch.Tensor) -> torch.Tensor:
        """Energies on the neighbour list, the pairs within the cutoff; cheaper than all pairs."""
        with torch.no_grad():
            first, second = self.ends
            apart = torch.linalg.vector_norm(positions[:, second] - positions[:, first], dim=-1)
            row, pair = torch.nonzero(apart < self.model.r_max, as_tuple=True)
            edges = self.ends[:, pair] + self.atoms * row
        return self._energies(positions, edges)

    def _starts(self, positions: torch.Tensor) -> torch.Tensor:
        return torch.arange(len(positions), device=positions.device) * self.atoms

    def _energies(self, positions: torch.Tensor, edges: torch.Tensor) -> torch.Tensor:
        batch, device = len(positions), positions.device
        graph = {
            "positions": positions.reshape(-1, 3),
            "node_attrs": self.kinds.to(positions.dtype).repeat(batch, 1),
            "edge_index": edges,
            "shifts": positions.new_zeros(edges.shape[1], 3),
            "unit_shifts": positions.new_zeros(edges.shape[1], 3),
            "cell": positions.new_zeros(3 * batch, 3),
            "batch": torch.arange(batch, device=device).repeat_interleave(self.atoms),
            "ptr": torch.arange(batch + 1, device=device) * self.atoms,
            "head": torch.full((batch,), self.head, device=device),
            "total_charge": positions.new_full((batch,), self.charge),
            "total_spin": positions.new_full((batch,), self.multiplicity),
        }
        return self.model(graph, compute_force=False)["energy"]
