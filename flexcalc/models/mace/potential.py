"""Modules of mace-torch as potentials."""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np

from flexcalc.errors import AddressError, FileFormatError, MissingExtraError, MoleculeError
from flexcalc.fields import Count
from flexcalc.models.foreign import require_trust
from flexcalc.potential import CheckedPotential, Evaluation
from flexcalc.query import choice

KINDS = ("MACE", "ScaleShiftMACE")
"""Classes of mace-torch that give an energy and need no more than positions, charge and spin."""


@dataclass(frozen=True, kw_only=True)
class ModuleOptions:
    """Options of a module of mace-torch.

    Args:
        precision: arithmetic.
        head: name of the readout, for modules that have several.
        charge, multiplicity: of the molecule, for modules that depend on them.
    """

    precision: Literal["float64", "float32"] = "float64"
    head: str = ""
    charge: int = 0
    multiplicity: Count = 1


class MACEPotential(CheckedPotential):
    """A module of mace-torch as a potential.

    Args:
        numbers: (atoms,) atomic numbers.
        content: of the model file; copies are made from it.
        path: where it comes from, for messages and facts.
        trust: the content may run code.
        options: of the module.

    Raises:
        AddressError: no such head, or a charge that the module does not support.
        FileFormatError: no module of mace-torch, or of a kind that is not supported.
        MoleculeError: an element that the module does not know.
    """

    def __init__(
        self,
        numbers: np.ndarray,
        content: bytes,
        path: Path,
        trust: bool,
        options: ModuleOptions,
    ):
        model = _unpickled(content, path, trust)  # or refuses, before anything is imported
        import torch

        from flexcalc.models.mace.network import Graph
        from flexcalc.models.networks.potential import device, differentiated

        self.numbers = np.asarray(numbers, dtype=int)
        charge, multiplicity = options.charge, options.multiplicity
        self._made_of = content, path, options
        _check_elements(path, self.numbers, model.atomic_numbers.tolist())
        _check_conditions(path, model, charge, multiplicity)
        self.device, self.dtype = device("auto"), getattr(torch, options.precision)
        graph = Graph(self.numbers, model, _head(path, model, options.head), charge, multiplicity)
        self.graph = graph.to(self.device, self.dtype).requires_grad_(False).eval()
        self._evaluate = partial(differentiated, self.graph.near)
        self.facts = {
            "family": "mace",
            "format": f"{type(model).__name__} of mace-torch",
            "source": path.name,
            "source_sha256": hashlib.sha256(content).hexdigest(),
            "source_units": "eV, angstrom",
        }

    def evaluate(self, positions: np.ndarray) -> Evaluation:
        """Evaluate a batch on the pairs within the cutoff."""
        from flexcalc.models.networks.potential import in_parts

        energies, gradient = in_parts(
            self._evaluate, positions, self.device, self.dtype, len(self.numbers) ** 2
        )
        return Evaluation(energies, -gradient)

    def __reduce__(self) -> tuple[Any, ...]:
        """A copy is read from the file's content, as TorchScript inside the module warns a lot."""
        content, path, options = self._made_of
        return MACEPotential, (self.numbers, content, path, True, options)


def _check_elements(path: Path, numbers: np.ndarray, known: list[int]) -> None:
    from ase.data import chemical_symbols

    missing = sorted(set(numbers.tolist()) - set(known))
    if missing:
        names = ", ".join(chemical_symbols[number] for number in missing)
        elements = ", ".join(chemical_symbols[number] for number in known)
        raise MoleculeError(f"{path}: the model does not know {names}; it knows {elements}")


def _check_conditions(path: Path, model: Any, charge: int, multiplicity: int) -> None:
    """Refuse options that the model would ignore, and missing options that it needs."""
    needed = set(getattr(model, "embedding_specs", None) or {})
    if needed - {"total_charge", "total_spin"}:
        raise FileFormatError(
            f"{path}: the model depends on {', '.join(sorted(needed))}; flexcalc can give it "
            "the charge and the multiplicity only"
        )
    for name, key, given in (
        ("charge", "total_charge", charge != 0),
        ("multiplicity", "total_spin", multiplicity != 1),
    ):
        if given and key not in needed:
            raise AddressError(f"{path}: the model does not depend on the {name}; leave it out")


def _head(path: Path, model: Any, wanted: str) -> int:
    """The place of the readout that is meant: the only one, the one asked for, or `default`."""
    heads = list(getattr(model, "heads", None) or ["Default"])
    if wanted:
        return heads.index(choice(wanted, heads, f"{path}: head"))
    if len(heads) == 1:
        return 0
    plain = [place for place, name in enumerate(heads) if name.lower() == "default"]
    if not plain:
        raise AddressError(f"{path}: say which head is meant, as in ?head={heads[0]}: {heads}")
    return plain[0]


def _unpickled(content: bytes, path: Path, trust: bool) -> Any:
    require_trust(path, trust)
    import torch

    try:
        from flexcalc.models.mace.network import quietly
    except ImportError:
        raise MissingExtraError("mace-torch", "mace") from None
    try:
        with quietly():
            model = torch.load(io.BytesIO(content), map_location="cpu", weights_only=False)
    except Exception as error:  # a pickle may raise anything
        reason = " ".join(str(error).split())
        raise FileFormatError(f"{path}: not a model of mace-torch: {reason}") from None
    if type(model).__name__ not in KINDS:
        raise FileFormatError(
            f"{path}: expected a {' or '.join(KINDS)} of mace-torch, found {type(model).__name__}"
        )
    return model
