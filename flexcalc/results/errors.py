"""The result of an evaluation of potentials."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self, get_args

import numpy as np

from flexcalc.analysis.accuracy_record import (
    ENERGY,
    FORCE,
    Accuracy,
    Part,
    Region,
    Regions,
    badness,
    key_of,
    sound_numbers,
)
from flexcalc.analysis.accuracy_record import Errors as QuantityErrors
from flexcalc.dataset import Dataset
from flexcalc.display import figures
from flexcalc.display.drawing import Drawing
from flexcalc.display.numbers import counted
from flexcalc.display.rows import dicts
from flexcalc.errors import FileFormatError, InputError
from flexcalc.results.base import Figure, Result, figure, frame_of_rows, part
from flexcalc.results.domain_errors import DomainErrors
from flexcalc.storage import JSON
from flexcalc.store import Store
from flexcalc.units import KCAL_MOL

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ERRORS, WORST, PARITY = "errors.json", "worst.xyz", "parity-{}.npz"

Quantity = Literal["forces", "energies"]
Table = Literal["models", "regions"]

LABELS = {
    "force": ("force {}, per component", "kcal/mol/A"),
    "energy": ("energy {}", "kcal/mol"),
}
"""Errors and their units, as reports call them."""

UNITS = {"force": "kcal/mol/A", "energy": "kcal/mol"}
"""Quantities of labels, and the units that they are shown in."""


TRAINING, VALIDATION, UNSEEN = "training", "validation", "unseen"
"""What frames were to a model."""


@dataclass(frozen=True)
class UsedErrors:
    """Errors on the frames that had one use in the training of a model.

    Args:
        frames: number of them.
        force: errors in eV/angstrom; None without forces.
        energy: errors in eV; None without energies.
    """

    frames: int
    force: QuantityErrors | None
    energy: QuantityErrors | None

    def to_dict(self) -> dict[str, JSON]:
        """Number and errors under flat keys."""
        keys: dict[str, JSON] = {"frames": self.frames}
        for name, per in PARTS.items():
            errors: QuantityErrors | None = getattr(self, name)
            keys |= {} if errors is None else errors.to_dict(name, per)
        return keys

    @classmethod
    def from_dict(cls, keys: Mapping[str, Any]) -> Self:
        """The errors that `to_dict` gave.

        Raises:
            KeyError: they have no number.
        """
        found = {name: QuantityErrors.from_dict(keys, name, per) for name, per in PARTS.items()}
        return cls(keys["frames"], **found)

    def rmse(self) -> list[str]:
        """The root-mean-square errors with their units."""
        known = {name: getattr(self, name) for name in UNITS}
        return [
            f"{name} RMSE {errors.rmse / KCAL_MOL:.3f} {UNITS[name]}"
            for name, errors in known.items()
            if errors is not None
        ]


PARTS = {"force": FORCE, "energy": ENERGY}
"""Quantities of `UsedErrors`, and what follows the unit in their keys."""


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class Errors(Result):
    """Errors of a potential on labelled frames; of several, those of the first and all `models`.

    Energies are in eV and forces in eV/angstrom, as in a Dataset; `to_dict`, the summary and the
    report have them in kcal/mol and meV too. Errors of forces are means over the 3N Cartesian
    components of all frames.
    """

    command: ClassVar[str] = "evaluate"
    rmse_keys: ClassVar[tuple[str, str]] = (
        key_of("force_rmse", FORCE),
        key_of("energy_rmse", ENERGY),
    )
    """Keys of the root-mean-square errors."""
    headline: ClassVar[tuple[str, ...]] = (
        *("frames", rmse_keys[0], key_of("force_mae", FORCE)),
        *(rmse_keys[1], key_of("energy_mae", ENERGY)),
    )

    dataset: str = figure("dataset")
    """File of the labelled frames, or where they come from."""
    model: str = figure("potential")
    """Address of the potential, or the class of one that was given as an object."""
    atom_map: tuple[int, ...] | None = figure("", default=None)
    """Order (atoms,) in which the atoms of the frames were put to be those of the model."""
    level: str | None = figure("labels by", default=None)
    """Level of theory of the labels, such as the address of the reference; None if unknown."""
    repeated_frames: int = figure("repeated frames", default=0)
    """Frames with the geometry of an earlier one."""
    trained_on: int | None = figure("frames that the model was trained on", default=None)
    """Frames of the dataset that the model was trained on; None where it does not know them."""
    validated_on: int | None = figure("frames that chose its hyperparameters", default=None)
    """Frames of the dataset that were validation frames of the model."""
    accuracy: Accuracy
    """All errors, in eV and eV/angstrom."""
    by_use: Mapping[str, UsedErrors] = field(default_factory=dict)
    """Errors on "training", "validation" and "unseen" frames apart; empty where all are unseen, or
    where it is not known."""
    further: tuple[Errors, ...] = ()
    """Errors of the second and all further potentials."""
    index: int = 0
    """Number of the potential among several, from 0."""
    domain: DomainErrors | None = part(DomainErrors)
    """Errors inside and outside the domain of the model; None for a potential without one."""

    @property
    def models(self) -> tuple[Errors, ...]:
        """The errors of each potential in turn, of this one first."""
        return (self, *self.further)

    @property
    def frames(self) -> int:
        """Number of frames that were compared."""
        return self.accuracy.frames

    @property
    def forces(self) -> QuantityErrors:
        """Errors of the force components in eV/angstrom: `mae`, `rmse`, `maximum`, and bootstrap
        intervals of the first two.

        Raises:
            FileFormatError: the frames have no forces.
        """
        return self._known(self.accuracy.force, "forces")

    @property
    def energies(self) -> QuantityErrors:
        """Errors of the energies in eV, as `forces`.

        Raises:
            FileFormatError: the frames have no energies.
        """
        return self._known(self.accuracy.energy, "energies")

    @property
    def energies_offset_free(self) -> QuantityErrors:
        """Errors of the energies in eV once their mean error is taken off.

        Raises:
            FileFormatError: the frames have no energies.
        """
        return self._known(self.accuracy.energy_offset_free, "energies")

    def _known(self, errors: QuantityErrors | None, what: str) -> QuantityErrors:
        if errors is None:
            raise FileFormatError(f"{self.dataset}: the dataset has no {what} to compare with")
        return errors

    @property
    def elements(self) -> tuple[Part, ...]:
        """Force errors in eV/angstrom by element."""
        return self.accuracy.elements

    @property
    def regions(self) -> tuple[Regions, ...]:
        """Errors by bins of each coordinate of `by`, the worst bin first."""
        return self.accuracy.regions

    @property
    def worst_region(self) -> Region | None:
        """The region with the largest RMSE, of any coordinate; None without `by`."""
        worst = [regions.bins[0] for regions in self.regions]
        return max(worst, key=badness, default=None)

    @property
    def warnings(self) -> tuple[str, ...]:
        """Warnings for the user, such as a unit that seems wrong, one line each."""
        return (*self.accuracy.warnings, *self._of_seen_frames())

    def _of_seen_frames(self) -> Iterator[str]:
        """That errors on frames of the training tell little of those on new geometries."""
        trained, validated = self.trained_on or 0, self.validated_on or 0
        used = [
            *([f"{trained} were training frames"] if trained else []),
            *([f"{validated} were validation frames"] if validated else []),
        ]
        if used:
            yield (
                f"of the {self.frames} frames {' and '.join(used)} of {self.model}: errors on "
                "them are lower than on new geometries"
            )

    @property
    def parity(self) -> dict[str, np.ndarray]:
        """energies_predicted and energies_reference (frames,) in eV, forces_predicted and
        forces_reference (frames, atoms, 3) in eV/angstrom; those of the reference if known. For a
        model with a domain also distances (frames,) to its training set."""
        return self.store.get(PARITY.format(self.index)) or {}

    @property
    def worst_frames(self) -> Dataset:
        """The frames with the largest errors of the first potential, with their labels."""
        return self.store.get(WORST)

    def table(self) -> dict[str, Any]:
        """All errors of this potential alone, as errors.json has them."""
        known: dict[str, Any] = {
            "atom_map": self.atom_map,
            "trained_on": self.trained_on,
            "validated_on": self.validated_on,
            "by_use": {use: one.to_dict() for use, one in self.by_use.items()} or None,
        }
        rest = {key: value for key, value in known.items() if value is not None}
        domain = {} if self.domain is None else self.domain.to_dict()
        return {"model": self.model, **self.accuracy.to_dict(), **rest, **domain}

    def to_dict(self) -> dict[str, Any]:
        """The errors as results.json has them: those of regions, elements and atoms left out."""
        found = {
            "dataset": self.dataset,
            **({} if self.level is None else {"level": self.level}),
            "repeated_frames": self.repeated_frames,
            **_flat(self.table()),
        }
        if self.further:
            found["models"] = [_flat(one.table()) for one in self.models]
        return found

    @classmethod
    def from_dict(cls, found: Mapping[str, Any], store: Store) -> Self:
        """The errors that stand in results.json, and in errors.json if that is there.

        Raises:
            FileFormatError: errors are missing.
        """
        tables = store.get(ERRORS) or found.get("models", [found])
        try:
            models = [
                cls(
                    store=store,
                    dataset=found["dataset"],
                    level=found.get("level"),
                    repeated_frames=found.get("repeated_frames", 0),
                    trained_on=table.get("trained_on"),
                    validated_on=table.get("validated_on"),
                    by_use={
                        use: UsedErrors.from_dict(one)
                        for use, one in table.get("by_use", {}).items()
                    },
                    model=table["model"],
                    accuracy=Accuracy.from_dict(table),
                    atom_map=tuple(table["atom_map"]) if "atom_map" in table else None,
                    index=index,
                    domain=DomainErrors.from_dict(table, store)
                    if DomainErrors.stand_in(table)
                    else None,
                )
                for index, table in enumerate(tables)
            ]
        except (KeyError, TypeError, AttributeError) as error:
            raise FileFormatError(f"{store.where(ERRORS)}: no errors of models: {error}") from None
        return joined(models)

    @classmethod
    def from_damaged(cls, found: Mapping[str, Any], store: Store) -> Self:
        """The errors of a results.json of any version, or of one that is damaged.

        What is missing, or not of its type, is None, or not-a-number among the errors; tables are
        empty; nothing is raised.
        """
        sound = cls._sound_values(found, store)
        of_all = {key: sound[key] for key in ("dataset", "level", "repeated_frames")}
        rows = dicts(found.get("models")) or [found]
        return joined(
            [
                cls(
                    store=store,
                    accuracy=Accuracy.from_damaged(row),
                    index=index,
                    by_use=_sound_uses(row.get("by_use")),
                    **{**cls._sound_values(row, store), **of_all},
                )
                for index, row in enumerate(rows)
            ]
        )

    def figures(self) -> Iterator[Figure]:
        """The dataset, the potential, the number of frames, and MAE and RMSE in kcal/mol."""
        yield from super().figures()
        if self.frames is not None:
            yield Figure("frames", "frames", self.frames, "")
        for name, per in (("force", FORCE), ("energy", ENERGY)):
            errors: QuantityErrors | None = getattr(self.accuracy, name)
            for word in ("mae", "rmse") if errors else ():
                value = getattr(errors, word) / KCAL_MOL
                if np.isfinite(value):
                    label, unit = LABELS[name]
                    key = key_of(f"{name}_{word}", per)
                    yield Figure(key, label.format(word.upper()), value, unit)

    def to_frame(self, rows: Table = "models") -> Any:
        """A pandas table; errors are in kcal/mol and meV.

        Args:
            rows: a row for each of the "models", or for each of the "regions" of this one.

        Raises:
            MissingExtraError: pandas is not installed.
            InputError: there is no such table.
        """
        if rows not in get_args(Table):
            raise InputError(f"rows: expected one of {', '.join(get_args(Table))}, found {rows!r}")
        if rows == "regions":
            return frame_of_rows(
                [
                    {"coordinate": block.coordinate.label, **region.to_dict()}
                    for block in self.regions
                    for region in block.bins
                ]
            )
        return frame_of_rows([{one.key: one.value for one in m.figures()} for m in self.models])

    def first_geometry(self) -> Dataset | None:
        """The frame with the largest errors."""
        return self.store.first(WORST)

    def plot(self, axes: Axes | None = None, quantity: Quantity | None = None) -> Axes:
        """Draw the predictions against the reference.

        Args:
            axes: of matplotlib; those of a new figure by default.
            quantity: "forces" or "energies"; forces by default, where they are known.

        Returns:
            The axes.

        Raises:
            InputError: there is nothing to draw.
        """
        drawing = self.drawing(quantity)
        if drawing is None:
            raise InputError(f"{self.dataset}: there are no {quantity or 'labels'} to plot")
        return drawing.on(axes)

    def drawing(self, quantity: Quantity | None = None) -> Drawing | None:
        """See `plot`."""
        if quantity not in (None, *get_args(Quantity)):
            known = ", ".join(get_args(Quantity))
            raise InputError(f"quantity: expected one of {known}, found {quantity!r}")
        known_arrays = self.parity
        for name in (quantity,) if quantity else get_args(Quantity):
            reference = known_arrays.get(f"{name}_reference")
            if reference is not None:
                return figures.parity(name, reference, known_arrays[f"{name}_predicted"])
        return None

    def summary(self) -> str:
        """The errors in one line; of several potentials the one with the lowest RMSE.

        RMSE on unseen frames, of a potential that has seen others.
        """
        if not self.further:
            return self.line()
        best = min(self.models, key=lambda one: one._rmse())
        return f"lowest RMSE of {len(self.models)} potentials: {best.line()}"

    def line(self) -> str:
        """The errors of this potential alone in one line."""
        parts = []
        for name, unit in UNITS.items():
            errors: QuantityErrors | None = getattr(self.accuracy, name)
            if errors is not None:
                mae, rmse, largest = (
                    value / KCAL_MOL for value in (errors.mae, errors.rmse, errors.maximum)
                )
                parts.append(f"{name} MAE {mae:.3f} RMSE {rmse:.3f} max {largest:.2f} {unit}")
        if self.domain is not None and self.domain.left:
            parts.append(self.domain.summary())
        return f"{self.model} on {self.frames} frames: {'; '.join([*parts, *self._unseen_line()])}"

    def _unseen_line(self) -> Iterator[str]:
        """The errors on unseen frames, where others were seen."""
        unseen = self.by_use.get(UNSEEN)
        if unseen is not None:
            frames = counted(unseen.frames, "frame")
            yield f"on the {frames} not used in its training: {', '.join(unseen.rmse())}"
        elif self.by_use:
            yield "all of these frames were used in its training"

    def _rmse(self) -> float:
        """RMSE of the forces, or else of the energies, on unseen frames if there are any."""
        shown = self.by_use.get(UNSEEN, self.accuracy)
        return (shown.force or shown.energy or self.energies).rmse


def repeated_text(repeated: int, frames: int) -> str:
    """Text about frames with the geometry of an earlier one, however it is turned."""
    return f"{repeated} of {frames} frames repeat the geometry of another one"


def joined[E: Errors](models: Sequence[E]) -> E:
    """The errors of the first of several potentials, with those of all others."""
    return replace(models[0], further=tuple(models[1:]))


def _sound_uses(found: Any) -> dict[str, UsedErrors]:
    """Errors by use of a file that may be damaged; damaged ones are left out."""
    rows = {
        use: sound_numbers(one)
        for use, one in (found.items() if isinstance(found, Mapping) else ())
        if isinstance(one, Mapping)
    }
    return {
        use: UsedErrors.from_dict(rows[use])
        for use in (TRAINING, VALIDATION, UNSEEN)
        if type(rows.get(use, {}).get("frames")) is int
    }


def _flat(table: Mapping[str, Any]) -> dict[str, Any]:
    """What is no table itself, such as errors of regions and intervals."""
    return {key: value for key, value in table.items() if not isinstance(value, list)}
