"""The trained sGDML potential: positions to features, `Contraction`, and slopes to forces."""

from __future__ import annotations

from collections.abc import Mapping
from copy import copy
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import numpy as np

from flexcalc.domain import Domain
from flexcalc.errors import FileFormatError
from flexcalc.models.facts import ModelFacts, domain_in
from flexcalc.models.family import TrainedPotential
from flexcalc.models.folder import ModelContent, check_arrays, read_model
from flexcalc.models.gdml.bonds import are_closed, contraction_of, terms_of
from flexcalc.models.gdml.contraction import Contraction
from flexcalc.models.gdml.descriptor import Descriptor, InverseDistances, from_arrays
from flexcalc.models.gdml.engine import PROCESSOR, Engine, engine
from flexcalc.models.gdml.groups import is_group
from flexcalc.parallel.batches import evaluate_in_pieces
from flexcalc.potential import Evaluation, check_positions, concatenate
from flexcalc.threads import cores

MIN_CHUNK, MAX_CHUNK = 4, 32
"""Geometries per chunk: small chunks cost calls, large ones exceed the cache."""
MIN_WORK = 5e6
"""Minimum work, geometries x training images x features, for a chunk given to a worker process."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Expansion:
    """An sGDML force field as a sum over training points.

    Args:
        permutations: (group, atoms) symmetry group of the model, including the identity.
        features: (points, size) descriptors of the training points.
        coefficients: (points, size) the dual coefficients of the forces contracted with the
            descriptor's Jacobian, J alpha, in units of `scale`.
        sigma: length scale in the unit of the features.
        scale: standard deviation of the training forces, in eV/angstrom.
        constant: constant of integration, in eV.
        energies: (points,) the dual coefficients of the energies, in units of `scale`; None if
            forces alone were fitted.
        centres: (terms, 2) atoms of the terms of a kernel that is a sum over bonds (see `bonds`);
            None for one kernel of all features.
    """

    permutations: np.ndarray
    features: np.ndarray
    coefficients: np.ndarray
    sigma: float
    scale: float = 1.0
    constant: float = 0.0
    energies: np.ndarray | None = None
    centres: np.ndarray | None = None


class GDMLPotential(TrainedPotential):
    """An sGDML force field, whose expansion is spread over attributes of the same names.

    Args:
        numbers: (atoms,) atomic numbers.
        expansion: over the training points.
        descriptor: of the features; the inverse distances of all pairs by default.
        facts: metadata of the training.
        engine: device and array library of the computation.

    Rows of a batch agree with the same rows alone, and with those of a batch on another number of
    cores, to rounding: about 1e-12 eV and eV/angstrom, and 1e-9 with fitted energies, whose
    coefficients are large and nearly cancel.
    """

    def __init__(
        self,
        numbers: np.ndarray,
        expansion: Expansion,
        *,
        descriptor: Descriptor | None = None,
        facts: ModelFacts | None = None,
        engine: Engine = PROCESSOR,
    ):
        self.numbers = np.array(numbers, dtype=int)
        self.permutations = np.array(expansion.permutations, dtype=int)
        self.features = np.array(expansion.features, dtype=float, order="C")
        self.coefficients = np.array(expansion.coefficients, dtype=float, order="C")
        energies = expansion.energies
        self.energies = None if energies is None else np.array(energies, dtype=float)
        centres = expansion.centres
        self.centres = None if centres is None else np.array(centres, dtype=int)
        self.sigma = float(expansion.sigma)
        self.scale = float(expansion.scale)
        self.constant = float(expansion.constant)
        self.descriptor: Descriptor = descriptor or InverseDistances(len(self.numbers))
        self.facts: ModelFacts = {**(facts or {})}
        self._prepare(engine)

    def _prepare(self, engine: Engine) -> None:
        order = self.descriptor.relabelled(self.permutations)
        terms = [] if self.centres is None else terms_of(self.descriptor, self.centres)
        self._contraction = contraction_of(self.features, order, self.sigma, terms, engine)
        self._work = self.features.shape[0] * len(order) * (sum(map(len, terms)) or order.shape[1])
        slopes = self.coefficients * (self.scale * 5.0**0.5 / (3.0 * self.sigma))
        self._contraction.set_coefficients(
            slopes, None if self.energies is None else self.energies * self.scale
        )

    @property
    def single_core(self) -> bool:  # type: ignore[override]
        """See `CheckedPotential`."""
        return self._contraction.engine.device is None

    def evaluate(self, positions: np.ndarray) -> Evaluation:
        """Energies and forces of positions (batch, atoms, 3)."""
        if self._contraction.engine.device is None:
            return evaluate_in_pieces(self, positions, self._rows(len(positions)))
        most = MAX_CHUNK * self._contraction.engine.enlarged
        starts = range(0, max(1, len(positions)), most)
        return concatenate([self.alone(positions[start : start + most]) for start in starts])

    def alone(self, positions: np.ndarray) -> Evaluation:
        """Energies and forces of positions (batch, atoms, 3) in one chunk, on one thread."""
        local = self.descriptor.linearise(positions)
        energies, slope = self.contract(local.features)
        return Evaluation(energies, local.pull(slope))

    def _rows(self, count: int) -> int:
        """Chunk size for a batch of `count` geometries: equal chunks for all cores."""
        fewest = min(MAX_CHUNK, max(MIN_CHUNK, round(MIN_WORK / self._work)))
        rounds = -(-count // (MAX_CHUNK * cores()))
        chunks = max(1, min(rounds * cores(), count // fewest))
        if chunks > cores():  # as many for each core
            chunks += -chunks % cores()
        return -(-count // chunks)

    def distance(self, positions: np.ndarray) -> np.ndarray | None:
        """Distances (batch,) of positions (batch, atoms, 3) to the nearest training point.

        Distances are those of descriptors, minimal over all permutations, in multiples of the
        largest nearest-neighbour distance within the training set. None if all points are the same.
        A student has a training set of its own: the points with true labels.
        """
        if self.training_set is not None:
            return super().distance(positions)
        if self.max_nearest_distance == 0:
            return None
        positions = check_positions(positions, self.numbers)
        features = self.descriptor.linearise(positions).features
        return self._compared.nearest(features) / self.max_nearest_distance

    @property
    def domain(self) -> Domain | None:
        """Where the errors are known; None if all training points are the same."""
        if self.training_set is not None:
            return super().domain
        return domain_in(self.facts) if self.max_nearest_distance > 0 else None

    @cached_property
    def _compared(self) -> Contraction:
        """The training points, compared by all features."""
        if isinstance(self._contraction, Contraction):
            return self._contraction
        order = self.descriptor.relabelled(self.permutations)
        compared = Contraction(self.features, order, self.sigma)
        compared.set_coefficients(np.zeros_like(self.features), None)
        return compared

    @cached_property
    def max_nearest_distance(self) -> float:
        """The largest nearest-neighbour distance within the training set."""
        known = self.facts.get("domain", {}).get("unit")
        if known is not None:
            return float(known)
        return float(self._compared.nearest().max()) if len(self.features) > 1 else 0.0

    def contract(self, features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Energies (batch,) in eV and -dE/dx (batch, size) of features (batch, size)."""
        energies, slope = self._contraction(features)
        return energies + self.constant, slope

    def finished(self, constant: float, facts: ModelFacts) -> GDMLPotential:
        """A copy with another constant of integration, in eV, and other facts."""
        twin = copy(self)
        twin.constant, twin.facts = float(constant), facts
        return twin

    def on(self, device: str) -> GDMLPotential:
        """A copy on "cpu", on "cuda", or on a GPU if there is one ("auto").

        Raises:
            InputError: there is no such device.
        """
        twin = copy(self)
        vars(twin).pop("_compared", None)
        twin._prepare(engine(device))
        return twin

    def content(self) -> ModelContent:
        """See `TrainedPotential.content`."""
        return ModelContent(
            family="sgdml",
            numbers=self.numbers,
            hyperparameters=dict(self.facts.get("hyperparameters", {})) | {"sigma": self.sigma},
            arrays={
                "permutations": self.permutations,
                "features": self.features,
                "coefficients": self.coefficients,
                "scale": np.array(self.scale),
                "constant": np.array(self.constant),
                **({} if self.energies is None else {"energies": self.energies}),
                **({} if self.centres is None else {"centres": self.centres}),
                **self.descriptor.arrays(),
                **({} if self.training_set is None else self.training_set.arrays()),
            },
            facts=self.facts,
        )


def read_potential(folder: Path, family: str) -> GDMLPotential:
    """Read a model folder of this family.

    Raises:
        FileFormatError: damaged, of another family, or its arrays do not fit together.
    """
    facts, arrays = read_model(folder, family)
    numbers = np.array(facts["numbers"])
    if len(numbers) < 2:
        raise FileFormatError(f"{folder}: expected at least two atoms")
    descriptor = from_arrays(len(numbers), arrays, folder)
    points = len(arrays.get("features", ()))
    shapes: dict[str, tuple[str, tuple[int | None, ...]]] = {
        "permutations": ("i", (None, len(numbers))),
        "features": ("f", (None, descriptor.size)),
        "coefficients": ("f", (points, descriptor.size)),
        "scale": ("f", ()),
        "constant": ("f", ()),
    }
    if "energies" in arrays:
        shapes["energies"] = ("f", (points,))
    if "centres" in arrays:
        shapes["centres"] = ("i", (None, 2))
    check_arrays(folder, arrays, shapes)
    sigma = facts["hyperparameters"].get("sigma")
    check_model(folder, numbers, arrays, sigma, descriptor)
    potential = GDMLPotential(
        numbers,
        Expansion(
            permutations=arrays["permutations"],
            features=arrays["features"],
            coefficients=arrays["coefficients"],
            energies=arrays.get("energies"),
            centres=arrays.get("centres"),
            sigma=cast(float, sigma),
            scale=float(arrays["scale"]),
            constant=float(arrays["constant"]),
        ),
        descriptor=descriptor,
        facts=facts,
    )
    # Here, as the training set of any family is described by features of this one.
    from flexcalc.models.training_set import read_training_set

    potential.training_set = read_training_set(folder, numbers, arrays)
    return potential


def check_model(
    where: object,
    numbers: np.ndarray,
    arrays: Mapping[str, np.ndarray],
    sigma: Any,
    descriptor: Descriptor,
) -> None:
    """Refuse arrays of valid shapes that are not a valid sGDML model.

    Args:
        where: the file or folder, for the message.
        numbers: (atoms,) atomic numbers.
        arrays: `permutations` (group, atoms), `features` (points, size), and maybe `centres`
            (terms, 2).
        sigma: anything at all.
        descriptor: of the features.

    Raises:
        FileFormatError: says which of them cannot be used.
    """
    permutations = arrays["permutations"]
    if len(numbers) < 2 or not len(arrays["features"]):
        raise FileFormatError(f"{where}: expected at least two atoms and one training point")
    if type(sigma) not in (int, float) or not 0 < sigma < np.inf:
        raise FileFormatError(f"{where}: sigma: expected a positive number, found {sigma!r}")
    if not len(permutations) or (np.sort(permutations) != np.arange(len(numbers))).any():
        raise FileFormatError(f"{where}: permutations: expected each atom once in every row")
    if (numbers[permutations] != numbers).any():
        raise FileFormatError(f"{where}: permutations exchange unlike atoms: another molecule's?")
    if not is_group(permutations):
        raise FileFormatError(f"{where}: permutations: expected a closed group, each member once")
    if not descriptor.closed_under(permutations).all():
        raise FileFormatError(f"{where}: permutations: they take features to others than these")
    centres = arrays.get("centres")
    if centres is None:
        return
    if not len(centres) or centres.min() < 0 or centres.max() >= len(numbers):
        raise FileFormatError(f"{where}: centres: expected pairs of atoms")
    if not are_closed(centres, permutations):
        raise FileFormatError(f"{where}: centres: permutations take them to others than these")
    if not all(map(len, terms_of(descriptor, centres))):
        raise FileFormatError(f"{where}: centres: there are atoms without features among them")
