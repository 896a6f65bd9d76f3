"""What the demo returns: a few figures of each step, and the steps' own results."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Self

from flexcalc.results.base import Result, figure
from flexcalc.results.errors import Errors
from flexcalc.results.ipi import IpiRun
from flexcalc.results.labels import Labels
from flexcalc.results.path import Path
from flexcalc.results.trajectory import Trajectory
from flexcalc.runs.resuming import RESULTS
from flexcalc.storage import JSON
from flexcalc.store import FolderStore, Store
from flexcalc.units import KCAL_MOL

CHECKS = ("force_mae", "force_rmse", "energy_mae", "energy_rmse", "barrier", "difference")
"""What stands in the keys of figures that the demo takes over from its steps."""


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class DemoRun(Result):
    """A force field of glycine, from its labels to i-PI, and how well it does."""

    command: ClassVar[str] = "demo"

    molecule: str = figure("molecule")
    """Name of the molecule."""
    reference: str = figure("reference")
    """Method that labelled."""
    training_points: int = figure("training points")
    """Frames that the model was trained on."""
    labelled_frames: int = figure("labelled frames")
    """Frames that were labelled."""
    held_out_frames: int = figure("held-out frames")
    """Frames that the errors were measured on."""
    temperature_mean_K: float = figure("mean temperature", "K")
    """Mean kinetic temperature of the dynamics, in kelvin."""
    md_steps_per_second: float = figure("steps per second")
    """Timesteps of the dynamics per second of wall time."""
    checks: Mapping[str, float] = field(default_factory=dict)
    """Errors, barriers and differences by their keys in results.json, which name the units."""

    @property
    def labels(self) -> Labels:
        """The labelled frames."""
        return self._step(Labels)

    @property
    def errors(self) -> Errors:
        """Errors of the model on the held-out frames."""
        return self._step(Errors)

    @property
    def path(self) -> Path:
        """The path between the two minima on the model, relabelled by the reference."""
        return self._step(Path)

    @property
    def dynamics(self) -> Trajectory:
        """Dynamics on the model."""
        return self._step(Trajectory)

    @property
    def ipi(self) -> IpiRun:
        """The run of i-PI on the model."""
        return self._step(IpiRun)

    def _step[R: Result](self, kind: type[R]) -> R:
        """The result of a step, from its folder."""
        store = FolderStore(self.store.place(kind.command))
        return kind.from_dict(store.get(RESULTS), store)

    def to_dict(self) -> dict[str, JSON]:
        """The figures as results.json has them."""
        return super().to_dict() | dict(self.checks)

    @classmethod
    def from_dict(cls, found: Mapping[str, Any], store: Store) -> Self:
        """The result whose figures stand in results.json."""
        return replace(super().from_dict(found, store), checks=checks_of(found))

    def summary(self) -> str:
        """The demo in one line."""
        errors, path = self.errors, self.path
        return (
            f"{self.molecule}, {self.training_points} training points: "
            f"force RMSE {errors.forces.rmse / KCAL_MOL:.2f} kcal/mol/A, "
            f"energy RMSE {errors.energies.rmse / KCAL_MOL:.2f} kcal/mol, "
            f"barrier {path.barrier_kcal_mol:.2f} on the model and "
            f"{path.barrier_reference_kcal_mol:.2f} kcal/mol by {self.reference}"
        )


def checks_of(*steps: Mapping[str, Any]) -> dict[str, float]:
    """The figures of steps that tell how good the model is."""
    both: Iterable[tuple[str, Any]] = (item for step in steps for item in step.items())
    return {key: value for key, value in both if any(word in key for word in CHECKS)}
