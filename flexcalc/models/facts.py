"""What `model.json` says of a model, besides what the family needs to evaluate it.

These are the keys of the file. A model has those that make sense for it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NotRequired, TypedDict, cast

import numpy as np

from flexcalc.domain import Domain
from flexcalc.errors import FileFormatError
from flexcalc.storage import JSON

Row = Mapping[str, JSON]
"""A row of a table, some of whose columns are the hyperparameters of a family."""


def joined_row(*parts: Mapping[str, object]) -> Row:
    """One row with the columns of several."""
    return cast(Row, {key: value for part in parts for key, value in part.items()})


class ErrorRow(TypedDict, total=False):
    """Root-mean-square errors on some frames; without energies, or frames, there are none."""

    force_rmse_kcal_mol_A: float
    """Of the force components, in kcal/mol/angstrom."""
    energy_rmse_kcal_mol: float
    """In kcal/mol."""


def errors_in(row: Mapping[str, Any]) -> ErrorRow:
    """The errors among the columns of a row."""
    return cast(ErrorRow, {key: row[key] for key in ErrorRow.__annotations__ if key in row})


class FeatureRow(TypedDict, total=False):
    """A feature of a descriptor, and how much a model depends on it."""

    feature: str
    """Name of the coordinate."""
    atoms: list[int]
    """Indices of its atoms."""
    distance_A: float
    """Mean distance of the outermost atoms, in angstrom."""
    importance_kcal_mol_A: float
    """In kcal/mol/angstrom."""
    kept: bool
    """Whether the reduced model has it."""


class CurveRow(TypedDict, total=False):
    """An epoch of the training of a network; see `networks.trainer`."""

    epoch: int
    loss: float
    validation_loss: float
    force_mae_kcal_mol_A: float
    force_rmse_kcal_mol_A: float
    energy_mae_kcal_mol: float
    energy_rmse_kcal_mol: float
    learning_rate: float
    minutes: float


class Symmetry(TypedDict):
    """Permutations of like atoms that are built into a model."""

    generators: Sequence[str]
    """Each in cycles, such as "(1 2)(3 4)"."""
    notes: list[str]
    """How they were found."""


class SolutionFacts(TypedDict, total=False):
    """How the linear system of a kernel model was solved."""

    solver: str
    """`exact` or `iterative`."""
    indefinite: bool
    """Whether rounding has made the matrix indefinite."""
    columns: int
    """Columns of the preconditioner."""
    steps: int
    """Steps of the conjugate gradients."""
    residual: float
    """Relative to the labels."""


class GapFit(TypedDict):
    """The run of `gap_fit` that a model comes from."""

    seed: int
    version: str | None
    peak_MB: float | None


class ReducedTo(TypedDict):
    """The reduction of a model to its most important features."""

    percentile: float
    """Percentage of the features that was to be dropped."""
    features: int
    """Features that are kept."""
    of: int
    """Features before."""
    warnings_before: list[str]
    """Warnings of the training with all features."""


class BaselineTerm(TypedDict, total=False):
    """One of several potentials that a model is added to."""

    address: str | None
    """None for one that was given as an object."""
    weight: float
    """Number that its energies and forces are multiplied with."""
    sha256: str
    """Hash of its file, where it has one."""


class BaselineFacts(TypedDict, total=False):
    """The potential that a model is added to."""

    baseline: str | None
    """Its address; None for one that was given as an object. Of several: their sum in words."""
    baseline_sha256: str
    """Hash of its file, where it has one."""
    baselines: list[BaselineTerm]
    """Those of a weighted sum."""


def baseline_facts(facts: BaselineFacts) -> BaselineFacts:
    """What the facts of a model say of its baseline."""
    known = {key: facts.get(key) for key in BaselineFacts.__annotations__}
    return cast(BaselineFacts, {key: value for key, value in known.items() if value is not None})


class TeacherFacts(TypedDict, total=False):
    """The potential that labelled most of what a student was trained on."""

    teacher: str
    """Its address, or the class of an object."""
    teacher_sha256: str
    """Hash of the model, or of the file that its address names."""
    teacher_labels: int
    """Number of its labels that the student was trained on."""


class TrainingEnergies(TypedDict):
    """Energies of the training frames, in eV; those of the sum, for a model on a baseline."""

    lowest: float
    highest: float
    mean: float
    spread: float
    """Standard deviation."""


class DomainFacts(TypedDict):
    """Where the errors of a model are known; see `flexcalc.domain.Domain`."""

    limit: float
    """Distance up to which geometries belong to the domain."""
    distances: list[float]
    """Knots of the expected error; empty for a model that was not calibrated."""
    errors_eV_A: list[float]
    """Expected root-mean-square error of force components at the knots, in eV/angstrom."""
    frames: int
    """Frames that they were calibrated on."""
    unit: NotRequired[float]
    """Of the distances of a kernel model, in that of its descriptor."""


class ModelFacts(BaselineFacts, TeacherFacts, total=False):
    """Facts of a model; see the module."""

    format: str
    version: int
    family: str
    numbers: list[int]
    """(atoms,) atomic numbers."""
    units: Mapping[str, str]
    hyperparameters: Row
    """Of the family, or of the composite model."""
    versions: Mapping[str, str]
    """Packages that the model was trained with."""
    files: Mapping[str, str]
    """Name -> SHA-256."""
    members: Mapping[str, str] | Sequence[str]
    """Folder of a member -> SHA-256 of its model.json; or addresses, of an opened committee."""
    source: str
    """File of another package that the model was read from."""
    source_sha256: str
    source_units: str
    training_sha256: str
    training_points: int
    level: str
    """Level of theory of the labels."""
    errors: dict[str, ErrorRow]
    """By the name of the set: training or validation; of a student also teacher, its differences
    from the teacher."""
    warnings: list[str]
    """What the training noted."""
    bonding: list[list[list[float]]]
    """Geometries (kinds, atoms, 3) of training frames that are bonded differently."""
    training_energies_eV: TrainingEnergies
    """Of models whose training frames have energies."""
    frames: Mapping[str, str]
    """Fingerprints of the training and of the validation frames; see `models.frames`."""
    domain: DomainFacts
    permutations: int
    features: int
    longest_feature_A: float
    symmetry: Symmetry
    solution: SolutionFacts
    reduction: ReducedTo
    sparse_points: Mapping[str, int] | int
    """Of a GAP, by descriptor; or all of them."""
    descriptors: list[str]
    gap_fit: GapFit
    init_args: str
    parameters: int
    """Of a network."""
    epochs_done: int
    start_sha256: str
    """Hash of the trained network that the training has started from."""
    ended: str
    """Why the training of a network has ended."""
    training_minutes: float
    curve: list[CurveRow]
    force_error_over_deviation: float
    """Force RMSE on the validation frames divided by the committee's deviation there."""
    regions: list[Row]
    """A row for each region of a mixture."""
    backgrounds: list[Row]
    """A row for each background of a mixture."""
    gate: list[str]
    """Coordinates that define the regions; none for all distances."""


ENERGY_STRETCH = 3.0
"""The domain ends at the mean of the training energies and this multiple of their spread, or at the
highest one. Less than 1 % of the frames of dynamics at the same temperature are beyond it
(benchmarks/domain.py)."""


def domain_in(facts: ModelFacts) -> Domain:
    """The domain of a model; that of one that was not calibrated where the facts have none.

    Raises:
        FileFormatError: the entry of the model folder is invalid.
    """
    energies = energies_in(facts)
    if "domain" not in facts:
        return Domain(energies_eV=energies)
    try:
        entry = facts["domain"]
        limit, unit = float(entry["limit"]), float(entry.get("unit", 1.0))
        knots = np.array([entry["distances"], entry["errors_eV_A"]], dtype=float)
        float(entry["frames"])  # that it was calibrated with, for `info`
    except (TypeError, ValueError, KeyError, AttributeError):
        raise FileFormatError(_BAD_DOMAIN) from None
    rising = bool((np.diff(knots, axis=1) >= 0).all())
    if knots.ndim != 2 or not (
        np.isfinite(knots).all() and rising and 0 < limit < np.inf and unit > 0
    ):
        raise FileFormatError(_BAD_DOMAIN)
    return Domain(limit, tuple(knots[0].tolist()), tuple(knots[1].tolist()), energies)


def energies_in(facts: ModelFacts) -> tuple[float, float] | None:
    """The lowest training energy and the energy at which the domain ends, in eV.

    None for a model that does not know its training energies, or that has one alone.

    Raises:
        FileFormatError: the entry of the model folder is invalid.
    """
    known = training_energies_in(facts)
    if known is None or known["spread"] == 0:
        return None
    end = known["mean"] + ENERGY_STRETCH * known["spread"]
    return known["lowest"], max(end, known["highest"])


def training_energies_in(facts: ModelFacts) -> TrainingEnergies | None:
    """The training energies of a model; None for one that does not know them.

    Raises:
        FileFormatError: the entry of the model folder is invalid.
    """
    kept = facts.get("training_energies_eV")
    if kept is None:
        return None
    names = TrainingEnergies.__annotations__
    try:
        found = {name: float(kept[name]) for name in names}  # type: ignore[literal-required]
    except (LookupError, TypeError, ValueError):
        found = {}
    if not found or not np.isfinite(list(found.values())).all():
        raise FileFormatError(
            "training_energies_eV of the model: expected lowest, highest, mean and spread"
        )
    return TrainingEnergies(**found)  # type: ignore[typeddict-item]


_BAD_DOMAIN = (
    "domain of the model: expected a positive limit, and distances and errors_eV_A that rise"
)
