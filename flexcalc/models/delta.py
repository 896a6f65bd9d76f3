"""Delta learning: the sum of a baseline and a model of the baseline's errors.

The model folder holds the model and, where the baseline is a trained model itself, a copy of the
baseline. Any other baseline is stored by its address, with the hash of its file if it is a file, so
that it cannot change without notice. Of a weighted sum, this is done for each of its terms.

Source: Ramakrishnan, Dral, Rupp, von Lilienfeld, J. Chem. Theory Comput. 11, 2087 (2015),
doi:10.1021/acs.jctc.5b00099.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from math import isfinite
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Protocol, cast

import numpy as np
from numpy.typing import ArrayLike

from flexcalc.domain import Domain
from flexcalc.errors import FileFormatError, InputError
from flexcalc.fields import Address
from flexcalc.models.facts import BaselineTerm, ModelFacts, energies_in
from flexcalc.models.family import TrainedPotential, model_sha256
from flexcalc.models.folder import ModelContent, joint_sha256, read_members, read_model
from flexcalc.potential import Potential, Sum, WeightedSum

MODEL, BASELINE, TERM = "model.flex", "baseline.flex", "baseline-{}.flex"
"""Names of the folders inside; the last for each term of a weighted sum."""


class MemberLoader(Protocol):
    """Opens the members of a composite model; implemented by `flexcalc.registry.MemberLoader`."""

    def __call__(self, member: Address | Path, numbers: ArrayLike | None = None) -> Potential:
        """Open a member by the path of its folder, or by its address."""

    def sha256(self, address: Address) -> str | None:
        """SHA-256 of the file that an address names on this machine; None where it names none."""


class DeltaModel(Sum, TrainedPotential):
    """The sum of a baseline and a model trained on the difference between labels and baseline.

    Args:
        baseline: any potential, or a `WeightedSum` of some.
        model: trained on the labels minus the baseline.
        facts: of the sum; `baseline` is the address of the baseline and `baseline_sha256` the
            hash of its file, or `baselines` those of the terms of a weighted sum. Missing facts are
            taken from the model's.

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
        members = {MODEL: self.model.save}
        for name, potential, address in self._baselines():
            check_baseline(potential, address)
            if _can_be_saved(potential):
                members[name] = cast(TrainedPotential, potential).save
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
        weights = getattr(self.baseline, "weights", ()) if "baselines" in self.facts else ()
        baselines = [
            model_sha256(potential) or str(address) for _, potential, address in self._baselines()
        ]
        return joint_sha256(self.name, *baselines, *map(repr, weights), self.model.sha256())

    def _baselines(self) -> list[tuple[str, Potential, str | None]]:
        """Folder, potential and address of the baseline, or of each term of a weighted sum."""
        if "baselines" not in self.facts:
            return [(BASELINE, self.baseline, self.facts.get("baseline"))]
        terms = cast(WeightedSum, self.baseline).terms
        return [
            (TERM.format(index), potential, row.get("address"))
            for index, (potential, row) in enumerate(
                zip(terms, self.facts["baselines"], strict=True)
            )
        ]

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
        inside = _Inside(folder, facts["numbers"], paths, loader)
        if "baselines" in facts:
            rows = _checked_terms(folder, facts["baselines"])
            terms = [inside.load(TERM.format(index), row) for index, row in enumerate(rows)]
            return cls(WeightedSum(terms, [row["weight"] for row in rows]), model, facts)
        only: BaselineTerm = {"address": address}
        if "baseline_sha256" in facts:
            only["sha256"] = facts["baseline_sha256"]
        return cls(inside.load(BASELINE, only), model, facts)


class _Inside(NamedTuple):
    """Loads the baselines of a model folder."""

    folder: Path
    numbers: ArrayLike
    paths: Mapping[str, Path]
    loader: MemberLoader

    def load(self, name: str, row: BaselineTerm) -> Potential:
        """The copy inside the folder, or what the address names."""
        if name in self.paths:
            return self.loader(self.paths[name], self.numbers)
        address, expected = row.get("address"), row.get("sha256")
        if address is None:
            raise FileFormatError(f"{self.folder}: expected the folder {name} or a baseline")
        if expected is not None and self.loader.sha256(address) != expected:
            raise FileFormatError(
                f"{self.folder}: its baseline {address} is not the one it was trained on: the file "
                "has changed or is gone; put it back, or train again"
            )
        return self.loader(address, self.numbers)


def _checked_terms(folder: Path, rows: Any) -> list[BaselineTerm]:
    """The terms of a weighted sum, as model.json has them.

    Raises:
        FileFormatError: they are no list of addresses and weights.
    """
    good = isinstance(rows, list) and bool(rows)
    for row in rows if good else ():
        good = good and isinstance(row, dict) and isinstance(row.get("address"), str | None)
        weight: Any = row.get("weight") if good else None
        good = good and type(weight) in (int, float) and isfinite(weight)
    if not good:
        raise FileFormatError(f"{folder}: expected baselines with an address and a weight each")
    return cast(list[BaselineTerm], rows)


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
