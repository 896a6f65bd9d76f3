"""Models of SchNetPack as potentials.

Such a model does not say its units; the `config.yaml` that spktrain leaves next to it does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from flexcalc.errors import (
    AddressError,
    FileFormatError,
    MoleculeError,
    UnitError,
)
from flexcalc.fields import Count
from flexcalc.files import units
from flexcalc.potential import CheckedPotential, Evaluation
from flexcalc.storage import read_text, sha256_file

if TYPE_CHECKING:
    import torch

LARGEST_CONFIG = 1 << 20
"""Bytes that config.yaml may have."""


@dataclass(frozen=True, kw_only=True)
class ModelOptions:
    """Options of a model of SchNetPack.

    Args:
        energy_unit: of the model, such as kcal/mol; that of `config.yaml` by default.
        length_unit: of the model; that of `config.yaml` by default, or else angstrom.
        energy_key: name of the model's energy; `energy` where there is one, or the only one.
        forces_key: name of the model's forces; without any, the energy is differentiated.
        precision: arithmetic.
        charge, multiplicity: of the molecule, for models that depend on them.
    """

    energy_unit: str = ""
    length_unit: str = ""
    energy_key: str = ""
    forces_key: str = ""
    precision: Literal["float64", "float32"] = "float64"
    charge: int = 0
    multiplicity: Count = 1


class SchNetPackPotential(CheckedPotential):
    """A model of SchNetPack as a potential.

    Args:
        numbers: (atoms,) atomic numbers.
        model: a `NeuralNetworkPotential`, with SchNet, PaiNN, SO3net or another representation.
        path: where it comes from, for messages and facts.
        options: of the model.

    Raises:
        AddressError: no such key, or a charge that the model does not support.
        FileFormatError: the model cannot be evaluated on a molecule in vacuum.
        MoleculeError: an element that the model does not know.
        UnitError: the unit of energy is not known.
    """

    def __init__(self, numbers: np.ndarray, model: Any, path: Path, options: ModelOptions):
        import torch

        from flexcalc.models.networks.potential import device
        from flexcalc.models.schnetpack.evaluator import Evaluator, energy_name, forces_name

        self.numbers = np.asarray(numbers, dtype=int)
        energies = energy_name(path, model, options.energy_key)
        forces = forces_name(path, model, energies, options.forces_key)
        _check_elements(path, self.numbers, model)
        charge, multiplicity = options.charge, options.multiplicity
        _check_conditions(path, model, charge, multiplicity)
        self.energy, self.length = _units(path, energies, options.energy_unit, options.length_unit)
        self.device, self.dtype = device("auto"), getattr(torch, options.precision)
        evaluator = Evaluator(self.numbers, model, energies, forces, charge, multiplicity)
        self.evaluator = evaluator.to(self.device, self.dtype).requires_grad_(False).eval()
        _try(path, self.evaluator, len(self.numbers), self.device, self.dtype)
        self.facts = {
            "family": type(model.representation).__name__.lower(),
            "format": f"{type(model).__name__} of SchNetPack",
            "source": path.name,
            "source_sha256": sha256_file(path),
            "source_units": f"{self.energy[0]}, {self.length[0]}",
        }

    def evaluate(self, positions: np.ndarray) -> Evaluation:
        """Evaluate a batch on all pairs of atoms."""
        from flexcalc.models.networks.potential import in_parts

        energy, length = self.energy[1], self.length[1]
        energies, forces = in_parts(
            self.evaluator, positions / length, self.device, self.dtype, self.evaluator.size
        )
        return Evaluation(energy * energies, energy / length * forces)


def _units(
    path: Path, energy_key: str, energy: str, length: str
) -> tuple[tuple[str, float], tuple[str, float]]:
    """Names and sizes of the units of energy and length: those given, or those of config.yaml."""
    data = _config(path.parent / "config.yaml").get("data")
    data = data if isinstance(data, dict) else {}
    known = data.get("property_units")
    known = known.get(energy_key) if isinstance(known, dict) else None
    energy = energy or str(known or "")
    length = length or str(data.get("distance_unit") or "angstrom")
    if not energy:
        raise UnitError(
            f"{path}: the file does not say its unit of energy, nor does a config.yaml of spktrain "
            f"in its folder; state it, as in {path.name}?energy_unit=kcal/mol"
        )
    try:
        return units.energy_unit(energy), units.length_unit(length)
    except UnitError as error:
        raise UnitError(f"{path}: {error}") from None


def _config(path: Path) -> Mapping[str, object]:
    """What spktrain was told, or nothing."""
    import yaml

    try:
        found = yaml.safe_load(read_text(path, LARGEST_CONFIG))
    except (OSError, FileFormatError, ValueError, yaml.YAMLError, RecursionError):
        return {}  # of no use, like none
    return found if isinstance(found, dict) else {}


def _check_elements(path: Path, numbers: np.ndarray, model: Any) -> None:
    """Refuse elements beyond the embedding, and those that the references of the energy lack."""
    from ase.data import chemical_symbols

    embedding = getattr(model.representation, "embedding", None)
    size = getattr(embedding, "num_embeddings", len(chemical_symbols))
    missing = {number for number in numbers.tolist() if number >= size}
    for part in model.postprocessors:
        if getattr(part, "add_atomrefs", False) and bool((part.atomref != 0).any()):
            references = part.atomref.tolist()
            missing |= {
                number
                for number in numbers.tolist()
                if number >= len(references) or references[number] == 0.0
            }
    if missing:
        names = ", ".join(chemical_symbols[number] for number in sorted(missing))
        raise MoleculeError(f"{path}: the model does not know {names}; it was trained on others")


def _check_conditions(path: Path, model: Any, charge: int, multiplicity: int) -> None:
    """Refuse options that the model would ignore."""
    depends = len(getattr(model.representation, "electronic_embeddings", ())) > 0
    for name, given in (("charge", charge != 0), ("multiplicity", multiplicity != 1)):
        if given and not depends:
            raise AddressError(f"{path}: the model does not depend on the {name}; leave it out")


def _try(path: Path, evaluator: Any, atoms: int, device: torch.device, dtype: torch.dtype) -> None:
    """Evaluate once, to see whether the model needs more than the positions."""
    import torch

    positions = torch.arange(3.0 * atoms, device=device, dtype=dtype).reshape(1, atoms, 3) ** 1.1
    try:
        energies, forces = evaluator(positions)
        fits = energies.shape == (1,) and forces.shape == positions.shape
    except Exception as error:  # a module of anyone's may raise anything
        reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
        raise FileFormatError(
            f"{path}: cannot be evaluated on a molecule in vacuum: {reason}"
        ) from None
    if not fits:
        raise FileFormatError(
            f"{path}: expected one energy and forces (atoms, 3), found {tuple(energies.shape)} "
            f"and {tuple(forces.shape)}"
        )
