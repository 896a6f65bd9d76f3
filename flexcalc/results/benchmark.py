"""The result of a benchmark."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Self

from flexcalc import files
from flexcalc.dataset import Dataset
from flexcalc.results.base import Figure, Result, data_frame, figure
from flexcalc.results.benchmark_rows import ROWS
from flexcalc.results.rows import Row
from flexcalc.store import Store

BARRIER = "barrier_{}_kcal_mol"
BEST, FORCE, ENERGY = "best_{}", "force_rmse_{}_kcal_mol_A", "energy_rmse_{}_kcal_mol"
"""Keys of results.json for the figures of a mechanism."""


@dataclass(frozen=True)
class BestModel:
    """The model with the lowest force error on a mechanism, or on all of them together.

    Args:
        model: its label and its number of training points.
        force_rmse_kcal_mol_A: of the forces, in kcal/mol/angstrom.
        energy_rmse_kcal_mol: of the energies, in kcal/mol.
    """

    model: str
    force_rmse_kcal_mol_A: float
    energy_rmse_kcal_mol: float


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class BenchmarkResult(Result):
    """A comparison of model families on one molecule; tables are read when they are asked for."""

    command: ClassVar[str] = "benchmark"
    headline: ClassVar[tuple[str, ...]] = ("mechanisms", "models", "findings_yes")

    title: str | None = figure("molecule", default=None)
    """The molecule's name."""
    reference: str = figure("reference")
    """Address of the method that gave energies and forces."""
    mechanisms: int = figure("mechanisms")
    """Number of mechanisms."""
    models: int = figure("models")
    """Number of models."""
    barriers_kcal_mol: Mapping[str, float] = field(default_factory=dict)
    """Barrier of each mechanism on the reference, in kcal/mol."""
    best: Mapping[str, BestModel] = field(default_factory=dict)
    """The best model of each mechanism and, as `joint`, of all of them together."""
    findings_yes: int = figure("findings that hold")
    """Number of the study's findings that hold for this molecule."""
    findings_partly: int = figure("findings that hold partly")
    """Number of those that hold in part."""
    findings_no: int = figure("findings that do not hold")
    """Number of those that do not hold."""

    @classmethod
    def from_dict(cls, found: Mapping[str, Any], store: Store) -> Self:
        """The result whose figures stand in results.json."""
        barriers = {name: found[BARRIER.format(name)] for name in _named(BARRIER, found)}
        best = {
            name: BestModel(*(found[key.format(name)] for key in (BEST, FORCE, ENERGY)))
            for name in _named(FORCE, found)
        }
        plain = super().from_dict(found, store)
        return replace(plain, barriers_kcal_mol=barriers, best=best)

    def to_dict(self) -> dict[str, Any]:
        """The figures as results.json has them; those that are not known are left out."""
        plain = super().to_dict()
        head = {key: value for key, value in plain.items() if not key.startswith("findings_")}
        return head | {one.key: one.value for one in self._by_mechanism()} | plain

    def figures(self) -> Iterator[Figure]:
        """The single figures that are known, with those of every mechanism."""
        yield from super().figures()
        yield from self._by_mechanism()

    def _by_mechanism(self) -> Iterator[Figure]:
        for name, value in self.barriers_kcal_mol.items():
            yield Figure(BARRIER.format(name), f"barrier of {name}", value, "kcal/mol")
        for name, one in self.best.items():
            force, energy = one.force_rmse_kcal_mol_A, one.energy_rmse_kcal_mol
            yield Figure(BEST.format(name), f"best model of {name}", one.model, "")
            yield Figure(FORCE.format(name), f"its force RMSE of {name}", force, "kcal/mol/A")
            yield Figure(ENERGY.format(name), f"its energy RMSE of {name}", energy, "kcal/mol")

    def rows(self, stage: str) -> list[Row]:
        """The table of a stage, such as "curves"; empty where it has not been done.

        Raises:
            FileFormatError: its file is damaged.
        """
        content = self.store.get(f"{stage}.json") if stage in ROWS else None
        return [ROWS[stage].from_dict(row) for row in content or ()]

    def to_frame(self, stage: str = "curves") -> Any:
        """The table of a stage as a pandas table.

        Raises:
            MissingExtraError: pandas is not installed.
        """
        rows = [row.to_dict() for row in self.rows(stage)]
        keys = dict.fromkeys(key for row in rows for key in row)
        return data_frame({key: [row.get(key) for row in rows] for key in keys})

    def first_geometry(self) -> Dataset | None:
        """The first of the minima on the reference."""
        place = self.store.place("minima.xyz")
        return files.read(place)[[0]] if place.exists() else None

    def summary(self) -> str:
        """The best models in one line."""
        best = [
            f"{name}: {one.model}, force RMSE {one.force_rmse_kcal_mol_A:.3f} kcal/mol/A"
            for name, one in self.best.items()
        ]
        head = f"{self.models} models, {self.mechanisms} mechanisms"
        return "; ".join([head, *best])


def _named(key: str, found: Mapping[str, Any]) -> list[str]:
    """The names that stand in keys of a form."""
    form = re.compile(key.format("(.+)"))
    return [match[1] for match in map(form.fullmatch, found) if match]
