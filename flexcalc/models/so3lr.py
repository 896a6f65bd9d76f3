"""SO3LR, a pretrained potential for organic molecules: `so3lr:`, as a baseline or on its own.

Its weights are inside the package so3krates-torch. It learned PBE0 with many-body dispersion for H,
C, N, O, F, P, S and Cl, and has charges and dispersion of long range.

Source: Kabylda et al., J. Am. Chem. Soc. 147, 33723 (2025), doi:10.1021/jacs.5c09558.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import ArrayLike

from flexcalc.errors import AddressError, FileFormatError, MissingExtraError
from flexcalc.fields import Count
from flexcalc.potential import CheckedPotential, Evaluation
from flexcalc.query import read_options
from flexcalc.storage import open_regular

KNOWN = (1, 6, 7, 8, 9, 15, 16, 17)
"""Atomic numbers that it was trained on."""
CUTOFF_A, DAMPING_A = 12.0, 2.0
"""Cutoff of charges and dispersion, and its damping range, as in the package's calculator."""
EDGES = 40_000
"""Pairs of atoms that are evaluated at a time; more do not get faster, and take more memory."""


@dataclass(frozen=True, kw_only=True)
class SO3LROptions:
    """Options of SO3LR.

    Args:
        charge: total charge in units of the elementary charge.
        multiplicity: 2S + 1.
        precision: floating-point precision. Single precision takes a third of the time for a
            batch, and leaves rounding errors of 1e-4 eV in energies, 1e-5 eV/angstrom in forces.
    """

    charge: int = 0
    multiplicity: Count = 1
    precision: Literal["float64", "float32"] = "float64"


class SO3LR(CheckedPotential):
    """The pretrained potential, bound to one molecule.

    Args:
        numbers: (atoms,) atomic numbers.
        options: all others.

    Raises:
        AddressError: an element that it does not know.
        MissingExtraError: the package is not installed.
        FileFormatError: the file with its weights holds something else.
    """

    takes: ClassVar[type] = SO3LROptions

    def __init__(self, numbers: ArrayLike, options: SO3LROptions = SO3LROptions()):
        self.numbers = np.array(numbers, dtype=int)
        unknown = sorted(set(self.numbers.tolist()) - set(KNOWN))
        if unknown:
            raise AddressError(f"so3lr: knows the elements {KNOWN} (Z), found {unknown[0]}")
        self.options = options
        _model(options.precision)

    @classmethod
    def from_address(cls, text: str, numbers: ArrayLike, options: Mapping[str, str]) -> SO3LR:
        """Open `so3lr:?options`.

        Args:
            text: nothing; there is one such model.
            numbers: (atoms,) atomic numbers.
            options: those of `SO3LROptions` as texts.

        Raises:
            AddressError, MissingExtraError, FileFormatError: see the class.
        """
        if text:
            raise AddressError(f"so3lr: has one model, without a name; found {text!r}")
        return cls(numbers, SO3LROptions(**read_options(SO3LROptions, options, "so3lr:")))

    def evaluate(self, positions: np.ndarray) -> Evaluation:
        """Energies and forces of each row, in a few batches."""
        atoms = len(self.numbers)
        rows = max(1, EDGES // max(1, atoms * (atoms - 1)))
        energies, forces = np.empty(len(positions)), np.empty(positions.shape)
        for begin in range(0, len(positions), rows):
            chunk = slice(begin, begin + rows)
            energies[chunk], forces[chunk] = self._evaluate(positions[chunk])
        return Evaluation(energies, forces)

    def _evaluate(self, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        model = _model(self.options.precision)
        found = model(_graph(self.numbers, positions, model, self.options), compute_stress=False)
        energies = found["energy"].detach().double().numpy()
        return energies.ravel(), found["forces"].detach().double().numpy().reshape(positions.shape)


def _graph(
    numbers: np.ndarray, positions: np.ndarray, model: Any, options: SO3LROptions
) -> dict[str, Any]:
    """What the model takes, with all pairs of atoms; those near each other exchange messages."""
    import torch
    from torch.nn.functional import one_hot

    rows, atoms = positions.shape[:2]
    dtype = next(model.parameters()).dtype
    pairs = np.argwhere(~np.eye(atoms, dtype=bool)).T
    far = (pairs[:, None] + atoms * np.arange(rows)[:, None]).reshape(2, -1)
    where = positions.reshape(-1, 3)
    near = far[:, np.linalg.norm(where[far[0]] - where[far[1]], axis=1) < model.r_max]
    kinds = torch.tensor(np.tile(numbers, rows))
    # No cell: nothing is shifted.
    data = {
        f"{name}{suffix}": torch.zeros((edges.shape[1], 3), dtype=dtype)
        for name in ("shifts", "unit_shifts")
        for suffix, edges in (("", near), ("_lr", far))
    }
    spin = (options.multiplicity - 1) / 2
    return {
        **data,
        "positions": torch.tensor(where, dtype=dtype),
        "atomic_numbers": kinds,
        "node_attrs": one_hot(kinds - 1, model.num_elements).to(dtype),
        "edge_index": torch.tensor(near),
        "edge_index_lr": torch.tensor(far),
        "cell": torch.zeros((rows, 3, 3), dtype=dtype),
        "batch": torch.arange(rows).repeat_interleave(atoms),
        "ptr": torch.arange(rows + 1) * atoms,
        "total_charge": torch.full((rows,), float(options.charge), dtype=dtype),
        "total_spin": torch.full((rows,), spin, dtype=dtype),
        "head": torch.zeros(rows, dtype=torch.long),
    }


@cache
def _model(precision: str) -> Any:
    """The module with its weights, read without running code that the file could hold.

    Raises:
        MissingExtraError, FileFormatError: see `SO3LR`.
    """
    import torch
    from torch.serialization import safe_globals

    try:
        import so3krates_torch
        from so3krates_torch.modules import models  # noqa: F401
    except ImportError:
        raise MissingExtraError("so3krates-torch", "so3lr") from None
    path = Path(next(iter(so3krates_torch.__path__))) / "pretrained" / "so3lr" / "so3lr.model"
    try:
        with open_regular(path) as stream, safe_globals(_classes()):
            model = torch.load(stream, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises what it likes
        text = str(error).splitlines()[0]
        raise FileFormatError(f"{path}: not the SO3LR of so3krates-torch 0.2: {text}") from None
    model.r_max_lr, model.dispersion_energy_cutoff_lr_damping = CUTOFF_A, DAMPING_A
    model.requires_grad_(False)
    return model.eval().to(getattr(torch, precision))


def _classes() -> list[Any]:
    """The classes of modules that the file may name: those of the package, and torch's layers."""
    from inspect import getmembers, isclass

    from so3krates_torch.blocks import (
        embedding,
        euclidean_transformer,
        output_block,
        physical_potentials,
        radial_basis,
        so3_conv_invariants,
    )
    from so3krates_torch.modules import cutoff, models, spherical_harmonics
    from torch import nn

    rooms = (
        *(embedding, euclidean_transformer, output_block, physical_potentials, radial_basis),
        *(so3_conv_invariants, cutoff, models, spherical_harmonics),
    )
    own = [
        kind
        for room in rooms
        for _, kind in getmembers(room, isclass)
        if issubclass(kind, nn.Module) and kind.__module__ == room.__name__
    ]
    layers = [nn.Embedding, nn.Linear, nn.ModuleList, nn.SiLU, nn.LayerNorm, nn.Identity]
    return [*own, *layers, nn.Sequential]
