"""Delta learning: the sum of a baseline and a model of the baseline's errors.

The model folder holds the model and, where the baseline is a trained model itself, a copy of the
baseline. Any other baseline is stored by its address, with the hash of its file if it is a file, so
that it cannot change without notice.

Source: Ramakrishnan, Dral, Rupp, von Lilienfeld, J. Chem. Theory Comput. 11, 2087 (2015),
doi:10.1021/acs.jctc.5b00099.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Protocol, cast

import numpy as np
from numpy.typing import ArrayLike

from flexcalc.domain import Domain
from flexcalc.errors import FileFormatError, InputError
from flexcalc.fields import Address
from flexcalc.models.facts import ModelFacts, energies_in
from flexcalc.models.family import TrainedPotential, model_sha256
from flexcalc.models.folder import ModelContent, joint_sha256, read_members, read_model
from flexcalc.potential import Potential, Sum

MODEL, BASELINE = "model.flex", "baseline.flex"
"""Names of the folders inside."""


class MemberLoader(Protocol):
    """Opens the members of a composite model; implemented by `flexcalc.registry.MemberLoader`."""

    def __call__(self, member: Address | Path, numbers: ArrayLike | None = None) -> Potential:
        """Open a member by the path of its folder, or by its address."""

    def sha256(self, address: Address) -> str | None:
        """SHA-256 of the file that an address names on this machine; None where it names none."""


class DeltaModel(Sum, TrainedPotential):
    """The sum of a baseline and a model trained on the difference between labels and baseline.

    Args:
        baseline: any potential.
        model: trained on the labels minus the baseline.
        facts: of the sum; `baseline` is the address of the baseline and `baseline_sha256` the
            hash of its file. Missing facts are taken from the model's.

    Raises:
        MoleculeError: they are for different molecules.
    """

    name: ClassVar[str] = "delta"

    def __init__(
        self, baseline: Potential, model: TrainedPotential, facts: ModelFacts | None = None
    ):
        super().__init__(baseline, model)
        self.baseline, self.model = baseline, model
        self.facts = {**model.facts, **(facts or {})}

    def distance(self, positions: np.ndarray) -> np.ndarray | None:
        """That of the model (batch,), which was trained to correct the baseline where it is."""
        return self.model.distance(positions)

    @property
    def domain(self) -> Domain | None:
        """That of the model, with the energies of the sum."""
        own = self.model.domain
        return None if own is None else replace(own, energies_eV=energies_in(self.facts))

    def content(self) -> ModelContent:
        """See `TrainedPotential.content`.

        Raises:
            InputError: the baseline is no trained model and has no address.
        """
        check_baseline(self.baseline, self.facts.get("baseline"))
        members = {MODEL: self.model.save}
        if _can_be_saved(self.baseline):
            members[BASELINE] = cast(TrainedPotential, self.baseline).save
        return ModelContent(
            family=self.name,
            numbers=self.numbers,
            hyperparameters=self.facts.get("hyperparameters", {}),
            arrays={},
            facts=self.facts,
            members=members,
        )

    def sha256(self) -> str:
        """See `TrainedPotential.sha256`."""
        baseline = model_sha256(self.baseline) or str(self.facts.get("baseline"))
        return joint_sha256(self.name, baseline, self.model.sha256())

    @classmethod
    def load(cls, folder: Path, loader: MemberLoader) -> DeltaModel:
        """Read a model folder.

        Args:
            folder: of such a model.
            loader: opens the model and the baseline, and hashes files.

        Raises:
            FileFormatError: the folder is damaged or incomplete, or the baseline has changed.
        """
        facts, _ = read_model(folder)
        paths, address = read_members(folder, facts), facts.get("baseline")
        if MODEL not in paths or not isinstance(address, str | None):
            raise FileFormatError(f"{folder}: expected the folder {MODEL} and a baseline")
        model = loader(paths[MODEL], facts["numbers"])
        if not isinstance(model, TrainedPotential):
            raise FileFormatError(f"{paths[MODEL]}: expected a trained model")
        if BASELINE in paths:
            return cls(loader(paths[BASELINE], facts["numbers"]), model, facts)
        if address is None:
            raise FileFormatError(f"{folder}: expected the folder {BASELINE} or a baseline")
        expected = facts.get("baseline_sha256")
        if expected is not None and loader.sha256(address) != expected:
            raise FileFormatError(
                f"{folder}: its baseline {address} is not the one it was trained on: the file has "
                "changed or is gone; put it back, or train again"
            )
        return cls(loader(address, facts["numbers"]), model, facts)


def check_baseline(baseline: Potential, address: Any) -> None:
    """Refuse a baseline that cannot be saved with a model: neither one itself nor an address.

    Raises:
        InputError: it is such a one.
    """
    if not isinstance(address, str) and not _can_be_saved(baseline):
        raise InputError(
            f"the baseline, a {type(baseline).__name__}, is no trained model: give it by "
            "its address to save what was trained on it"
        )


def _can_be_saved(potential: Potential) -> bool:
    """Whether a potential and all of its members are trained models."""
    members = getattr(potential, "members", ())
    return isinstance(potential, TrainedPotential) and all(map(_can_be_saved, members))
