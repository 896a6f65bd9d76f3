"""The result of a run of i-PI."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from flexcalc.dataset import Dataset
from flexcalc.display import figures
from flexcalc.display.drawing import Drawing
from flexcalc.display.figures import MOST_TRACES
from flexcalc.files.tables import csv_blocks
from flexcalc.results.base import Result, data_frame, figure

if TYPE_CHECKING:
    from ase import Atoms

SCALARS, PATH = "scalars.csv", "path.xyz"


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class IpiRun(Result):
    """A run of i-PI with its clients: dynamics, or a path."""

    command: ClassVar[str] = "ipi"
    headline: ClassVar[tuple[str, ...]] = (
        *("steps", "clients", "force_difference_max_relative", "energy_difference_max_relative"),
        *("temperature_mean_K", "exchanges_seen", "barrier_kcal_mol", "image_count"),
    )

    input: str = figure("input")
    """Input file of i-PI."""
    model: str = figure("potential")
    """Address of the potential, or the class of one that was given as an object."""
    clients: int = figure("clients")
    """Clients that served the potential."""
    steps: int = figure("steps")
    """Last step of i-PI."""
    force_difference_max_relative: float | None = figure(
        "largest relative force difference", default=None
    )
    """Largest difference of a force component that i-PI received from the direct call's, over the
    largest force; None unless `compare`."""
    energy_difference_max_relative: float | None = figure(
        "largest relative energy difference", default=None
    )
    """The same of the energies."""
    temperature_mean_K: float | None = figure("mean temperature", "K", default=None)
    """Mean kinetic temperature of the records, in kelvin; None of a path."""
    exchanges_seen: int | None = figure("steps with an exchange of replicas", default=None)
    """Records in which replicas had exchanged their ensembles since the one before."""
    ensembles_K: tuple[float, ...] | None = figure("", default=None)
    """Temperatures of the ensembles of several replicas, in kelvin."""
    ensembles_mean_K: tuple[float, ...] | None = figure("", default=None)
    """Mean kinetic temperature in each of these ensembles, in kelvin."""
    image_count: int | None = figure("images", key="images", default=None)
    """Number of images of the path that i-PI sought; None of dynamics."""
    barrier_kcal_mol: float | None = figure(
        "barrier", "kcal/mol", key="barrier_model_kcal_mol", default=None
    )
    """Highest energy along the path above the first image, in kcal/mol."""
    barrier_back_kcal_mol: float | None = figure(
        "barrier of the way back", "kcal/mol", key="barrier_back_model_kcal_mol", default=None
    )
    """Highest energy along the path above the last image, in kcal/mol."""
    reaction_energy_kcal_mol: float | None = figure(
        "reaction energy", "kcal/mol", key="reaction_energy_model_kcal_mol", default=None
    )
    """Energy of the last image above the first, in kcal/mol."""

    def summary(self) -> str:
        """The run in one line."""
        found = ""
        if self.temperature_mean_K is not None:
            found = f", mean temperature {self.temperature_mean_K:.1f} K"
        elif self.barrier_kcal_mol is not None:
            found = f", barrier {self.barrier_kcal_mol:.3f} kcal/mol"
        return f"i-PI: {self.steps} steps{found}"

    @cached_property
    def scalars(self) -> dict[str, np.ndarray]:
        """Columns of scalars.csv (lines,): step, time_fs, temperature_K, potential_eV and
        conserved_eV; with several systems ensemble_K and replica too, a line of each in turn."""
        blocks = list(csv_blocks(self.store.stream(SCALARS)))
        return {name: np.concatenate([block[name] for block in blocks]) for name in blocks[0]}

    @cached_property
    def path(self) -> Dataset | None:
        """The images of the path, with the labels of direct calls; None of dynamics."""
        return self.store.get(PATH)

    def first_geometry(self) -> Dataset | None:
        """The first image of the path; None of dynamics."""
        return self.store.first(PATH)

    def drawing(self) -> Drawing:
        """The temperature over time, a line per system; of a path its energy profile."""
        path = self.path
        if path is not None:
            return figures.energy_profile(path.tags["coordinate"], path.labels()[0])
        time, kelvin = self.scalars["time_fs"], self.scalars["temperature_K"]
        replica = self.scalars.get("replica", np.zeros(len(time)))
        lines = [replica == which for which in np.unique(replica)[:MOST_TRACES]]
        return figures.temperature(
            [time[line] for line in lines], [kelvin[line] for line in lines], float(kelvin.mean())
        )

    def to_frame(self) -> Any:
        """The scalars as a pandas table, one row per record and system; of a path its images."""
        path = self.path
        if path is None:
            return data_frame(self.scalars)
        return data_frame({**path.tags, "energy_eV": path.labels()[0]})

    @property
    def images(self) -> list[Atoms]:
        """The images of the path as ase.Atoms, with energies and forces; empty of dynamics."""
        return [] if self.path is None else self.path.to_atoms()
