"""The result of a run of i-PI."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from flexcalc.dataset import Dataset
from flexcalc.display import figures
from flexcalc.display.drawing import Drawing
from flexcalc.display.figures import MOST_TRACES
from flexcalc.files.tables import csv_blocks
from flexcalc.results.base import Figure, Figures, Result, data_frame, figure, part
from flexcalc.results.coverage import Coverage, outside_of

if TYPE_CHECKING:
    from ase import Atoms

SCALARS, PATH = "scalars.csv", "path.xyz"
MOST_NAMED = 6
"""Ensembles whose temperatures the closing line names one by one."""
RING_TEMPERATURE = "mean temperature of the ring polymers"


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class QuantumNuclei(Figures):
    """Nuclei as ring polymers in i-PI's path-integral dynamics.

    The means are those of the second half of the records, as ring polymers begin collapsed.
    """

    beads: int = figure("beads")
    """Number of beads of each ring polymer."""
    quantum_kinetic_mean_eV: float = figure("quantum kinetic energy", "eV")
    """Mean kinetic energy of the nuclei by the centroid-virial estimator, in eV."""
    quantum_kinetic_error_eV: float = figure("standard error of the quantum kinetic energy", "eV")
    """Its standard error in eV, with the autocorrelation of the records."""
    classical_kinetic_eV: float = figure("kinetic energy of classical nuclei", "eV")
    """3/2 N k T in eV: as many classical nuclei in the same ensemble."""
    gyration_mean_A: float = figure("radius of gyration of the ring polymers", "Å")
    """Mean over time and atoms, in angstrom."""

    def summary(self) -> str:
        """The nuclei in one line."""
        return (
            f"{self.beads} beads, quantum kinetic energy {self.quantum_kinetic_mean_eV:.3f} ± "
            f"{self.quantum_kinetic_error_eV:.3f} eV (classical nuclei "
            f"{self.classical_kinetic_eV:.3f} eV)"
        )


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class IpiRun(Result):
    """A run of i-PI with its clients: dynamics, or a path."""

    command: ClassVar[str] = "ipi"
    headline: ClassVar[tuple[str, ...]] = (
        *("steps", "clients", "force_difference_max_relative", "energy_difference_max_relative"),
        *("temperature_mean_K", "exchanges_seen", "beads", "quantum_kinetic_mean_eV"),
        *("classical_kinetic_eV", "barrier_kcal_mol", "image_count"),
        "largest_distance",
    )

    input: str = figure("input")
    """Input file of i-PI."""
    model: str = figure("potential")
    """Address of the potential, or the class of one that was given as an object."""
    clients: int = figure("clients")
    """Clients that served the potential."""
    clients_lost: int | None = figure("clients that failed", default=None)
    """Clients that failed while i-PI went on with the others."""
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
    """Mean kinetic temperature of the records, in kelvin. With beads that of the ring polymers,
    which shows whether the thermostat works, and nothing of the nuclei. None of a path, and of
    replicas at different temperatures."""
    exchanges_seen: int | None = figure("steps with an exchange of replicas", default=None)
    """Records in which replicas had exchanged their ensembles since the one before."""
    ensembles_K: tuple[float, ...] | None = figure("", default=None)
    """Temperatures of the ensembles of several replicas, in kelvin."""
    ensembles_mean_K: tuple[float, ...] | None = figure("", default=None)
    """Mean kinetic temperature in each of these ensembles, in kelvin."""
    ensembles_error_K: tuple[float, ...] | None = figure("", default=None)
    """Standard error of each of these means, in kelvin."""
    image_count: int | None = figure("images", key="images", default=None)
    """Number of images of the path that i-PI sought; None of dynamics."""
    nuclei: QuantumNuclei | None = part(QuantumNuclei)
    """Quantum nuclei; None of classical ones, and of replicas at different temperatures."""
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

    coverage: Coverage | None = part(Coverage)
    """How far the geometries went from the training data, of a path its images; None without a
    domain."""

    def summary(self) -> str:
        """The run in one line."""
        parts = [f"i-PI: {self.steps} steps", *self._found()]
        if self.clients_lost:
            parts.append(f"{self.clients_lost} of {self.clients} clients failed")
        line = ", ".join(parts)
        return line if self.coverage is None else f"{line}; {self.coverage.summary()}"

    def _found(self) -> Iterator[str]:
        if self.ensembles_K and self.ensembles_mean_K and len(self.ensembles_K) > 1:
            yield f"mean temperatures by ensemble: {self._temperatures()}"
        elif self.nuclei is not None:
            yield self.nuclei.summary()
            yield f"{RING_TEMPERATURE} {self.temperature_mean_K:.1f} K"
        elif self.temperature_mean_K is not None:
            yield f"mean temperature {self.temperature_mean_K:.1f} K"
        elif self.barrier_kcal_mol is not None:
            yield f"barrier {self.barrier_kcal_mol:.3f} kcal/mol"

    def _temperatures(self) -> str:
        """Mean temperatures by ensemble; of many only the one farthest from its ensemble's."""
        pairs = list(zip(self.ensembles_mean_K or (), self.ensembles_K or (), strict=True))
        if len(pairs) <= MOST_NAMED:
            return "; ".join(f"{mean:.1f} K in that of {target:g} K" for mean, target in pairs)
        mean, target = max(pairs, key=lambda pair: abs(pair[0] / pair[1] - 1))
        return f"the farthest of {len(pairs)} is {mean:.1f} K in that of {target:g} K"

    def figures(self) -> Iterator[Figure]:
        """The single figures that are known; with beads the temperature is the ring polymers'."""
        for one in super().figures():
            ring = one.key == "temperature_mean_K" and self.nuclei is not None
            yield one._replace(label=RING_TEMPERATURE) if ring else one

    @cached_property
    def scalars(self) -> dict[str, np.ndarray]:
        """Columns of scalars.csv (lines,): step, time_fs, temperature_K, potential_eV and
        conserved_eV; with beads quantum_kinetic_eV, gyration_A and ensemble_K too; with several
        systems ensemble_K and replica, a line of each in turn."""
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
        """The temperature over time, a line per ensemble; of a path its energy profile."""
        path = self.path
        if path is not None:
            outside = outside_of(self.coverage, path)
            return figures.energy_profile(
                path.tags["coordinate"], path.labels()[0], outside=outside
            )
        time, kelvin = self.scalars["time_fs"], self.scalars["temperature_K"]
        owner = self.scalars.get("ensemble_K", np.zeros(len(time)))
        if len(np.unique(owner)) == 1:
            owner = self.scalars.get("replica", owner)
            mean = float(kelvin.mean())
        else:
            mean = None
        lines = [owner == which for which in np.unique(owner)[:MOST_TRACES]]
        return figures.temperature(
            [time[line] for line in lines], [kelvin[line] for line in lines], mean
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
