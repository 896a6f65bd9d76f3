"""The result of an evaluation of potentials."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self, get_args

import numpy as np

from flexcalc.analysis.accuracy import (
    ENERGY,
    FORCE,
    Accuracy,
    Part,
    Region,
    Regions,
    badness,
    key_of,
)
from flexcalc.analysis.accuracy import Errors as QuantityErrors
from flexcalc.dataset import Dataset
from flexcalc.display import figures
from flexcalc.display.drawing import Drawing
from flexcalc.display.rows import dicts
from flexcalc.errors import FileFormatError, InputError
from flexcalc.results.base import Figure, Result, figure, frame_of_rows
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
    accuracy: Accuracy
    """All errors, in eV and eV/angstrom."""
    further: tuple[Errors, ...] = ()
    """Errors of the second and all further potentials."""
    index: int = 0
    """Number of the potential among several, from 0."""

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
        return self.accuracy.warnings

    @property
    def parity(self) -> dict[str, np.ndarray]:
        """energies_predicted and energies_reference (frames,) in eV, forces_predicted and
        forces_reference (frames, atoms, 3) in eV/angstrom; those of the reference if known."""
        return self.store.get(PARITY.format(self.index)) or {}

    @property
    def worst_frames(self) -> Dataset:
        """The frames with the largest errors of the first potential, with their labels."""
        return self.store.get(WORST)

    def table(self) -> dict[str, Any]:
        """All errors of this potential alone, as errors.json has them."""
        mapped = {} if self.atom_map is None else {"atom_map": self.atom_map}
        return {"model": self.model, **self.accuracy.to_dict(), **mapped}

    def to_dict(self) -> dict[str, Any]:
        """The errors as results.json has them: those of regions, elements and atoms left out."""
        found = {"dataset": self.dataset, **_flat(self.table())}
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
                    model=table["model"],
                    accuracy=Accuracy.from_dict(table),
                    atom_map=tuple(table["atom_map"]) if "atom_map" in table else None,
                    index=index,
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
        dataset = cls._sound_values(found, store)["dataset"]
        rows = dicts(found.get("models")) or [found]
        return joined(
            [
                cls(
                    store=store,
                    accuracy=Accuracy.from_damaged(row),
                    index=index,
                    **{**cls._sound_values(row, store), "dataset": dataset},
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
        """The errors in one line; of several potentials the one with the lowest RMSE."""
        if not self.further:
            return self.line()
        best = min(self.models, key=lambda one: (one.accuracy.force or one.energies).rmse)
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
        return f"{self.model} on {self.frames} frames: {'; '.join(parts)}"


def joined[E: Errors](models: Sequence[E]) -> E:
    """The errors of the first of several potentials, with those of all others."""
    return replace(models[0], further=tuple(models[1:]))


def _flat(table: Mapping[str, Any]) -> dict[str, Any]:
    """What is no table itself, such as errors of regions and intervals."""
    return {key: value for key, value in table.items() if not isinstance(value, list)}
