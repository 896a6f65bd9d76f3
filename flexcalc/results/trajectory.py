"""The result of molecular dynamics."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Literal, get_args

import numpy as np

from flexcalc.dataset import Dataset
from flexcalc.display import figures, plots
from flexcalc.display.drawing import Drawing
from flexcalc.display.figures import MOST_TRACES
from flexcalc.errors import InputError
from flexcalc.files.tables import csv_blocks
from flexcalc.results.base import MoleculeResult, data_frame, figure, part
from flexcalc.results.coverage import DISTANCES, Coverage
from flexcalc.results.exchange import EXCHANGES, Exchanges

if TYPE_CHECKING:
    from ase import Atoms
    from matplotlib.axes import Axes

Quantity = Literal["temperature", "potential", "conserved", "distance", "walkers"]

TRAJECTORY, SCALARS = "trajectory.xyz", "scalars.csv"


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class Trajectory(MoleculeResult):
    """Dynamics of replicas; arrays are read when they are first asked for."""

    command: ClassVar[str] = "md"
    headline: ClassVar[tuple[str, ...]] = (
        *("isotopes", "method", "replicas", "steps", "time_ps", "temperature_mean_K"),
        *("steps_per_second", "ns_per_day"),
        "largest_distance",
    )

    method: str = figure("method")
    """Kind of the integrator."""
    replicas: int = figure("replicas")
    """Number of replicas."""
    steps: int = figure("steps")
    """Number of timesteps done."""
    time_ps: float = figure("time simulated", "ps")
    """Time simulated, of each replica, in ps."""
    temperature_mean_K: float | None = figure("mean temperature", "K", default=None)
    """Mean kinetic temperature over replicas and records, in kelvin."""
    potential_mean_eV: float | None = figure("mean potential energy", "eV", default=None)
    """Mean potential energy over replicas and records, in eV."""
    conserved_drift_meV_atom_ps: float | None = figure(
        "drift of the conserved energy", "meV/atom/ps", default=None
    )
    """Change of the conserved energy from the first record to the last, mean over replicas."""
    steps_per_second: float = figure("steps per second")
    """Timesteps per second of wall time."""
    ns_per_day: float = figure("of all replicas together", "ns/day")
    """Time simulated by all replicas together per day of wall time, in ns."""

    coverage: Coverage | None = part(Coverage)
    """How far the replicas went from the training data; None without a domain."""
    exchanges: Exchanges | None = part(Exchanges)
    """Exchanges between temperatures; None where replicas are independent."""

    def summary(self) -> str:
        """The run in one line."""
        kelvin = self.temperature_mean_K
        mean = "" if kelvin is None else f"; mean temperature {kelvin:.1f} K"
        line = (
            f"{self.replicas} replicas, {self.steps} steps, {self.time_ps:g} ps{mean}; "
            f"{self.steps_per_second:.0f} steps/s, {self.ns_per_day:.3g} ns/day"
        )
        known = [part.summary() for part in (self.exchanges, self.coverage) if part is not None]
        return "; ".join([line, *known])

    @cached_property
    def frames(self) -> Dataset:
        """All recorded frames, with the tags `replica` and `time_fs`; labels without any bias."""
        return self.store.get(TRAJECTORY)

    @cached_property
    def scalars(self) -> dict[str, np.ndarray]:
        """Columns of scalars.csv: step, time_fs, replica, temperature_K, potential_eV, kinetic_eV
        and conserved_eV, each (records, replicas)."""
        return self._table(SCALARS)

    @cached_property
    def walkers(self) -> np.ndarray:
        """The walker (attempts + 1, replicas) whose geometry each replica has, at the start and
        after each attempt to exchange."""
        return self._table(EXCHANGES)["walker"].astype(int)

    @cached_property
    def distances(self) -> dict[str, np.ndarray]:
        """Columns of distances.csv: step, time_fs, replica and distance to the training data, each
        (records, replicas); empty where the potential has no domain."""
        return {} if self.coverage is None else self._table(DISTANCES)

    def _table(self, name: str) -> dict[str, np.ndarray]:
        blocks = list(csv_blocks(self.store.stream(name)))
        return {
            column: np.concatenate([block[column] for block in blocks]).reshape(-1, self.replicas)
            for column in blocks[0]
        }

    @property
    def positions(self) -> np.ndarray:
        """Positions (frames, replicas, atoms, 3) in angstrom."""
        return self._by_replica(self.frames.positions)

    @property
    def energies(self) -> np.ndarray:
        """Potential energies (frames, replicas) in eV."""
        return self._by_replica(self.frames.labels()[0])

    @property
    def forces(self) -> np.ndarray:
        """Forces (frames, replicas, atoms, 3) in eV/angstrom."""
        return self._by_replica(self.frames.force_labels())

    @property
    def time_fs(self) -> np.ndarray:
        """Times (frames,) of the frames in fs."""
        return self._by_replica(self.frames.tags["time_fs"])[:, 0]

    def _by_replica(self, rows: np.ndarray) -> np.ndarray:
        shown = len(np.unique(self.frames.tags["replica"]))
        return rows.reshape(-1, shown, *rows.shape[1:])

    def atoms(self, replica: int = 0) -> list[Atoms]:
        """The frames of a replica as ase.Atoms, with energies and forces."""
        return self.frames[self.frames.tags["replica"] == replica].to_atoms()

    def first_geometry(self) -> Dataset | None:
        """The first frame."""
        return self.store.first(TRAJECTORY)

    def to_frame(self) -> Any:
        """The scalars as a pandas table, one row per record and replica."""
        return data_frame({name: column.ravel() for name, column in self.scalars.items()})

    def plot(self, axes: Axes | None = None, quantity: Quantity = "temperature") -> Axes:
        """Draw a quantity over time, a line per replica.

        Args:
            axes: of matplotlib; those of a new figure by default.
            quantity: "temperature" in K, "potential" energy in kcal/mol above the lowest, the
                change of the "conserved" energy in meV, the "distance" to the training data, or the
                temperatures that the "walkers" of a replica exchange had.

        Returns:
            The axes.
        """
        return self.drawing(quantity).on(axes)

    def drawing(self, quantity: Quantity = "temperature") -> Drawing:
        """See `plot`."""
        if quantity not in get_args(Quantity):
            known = ", ".join(get_args(Quantity))
            raise InputError(f"quantity: expected one of {known}, found {quantity!r}")
        shown = plots.thinned(self.replicas, MOST_TRACES)
        if quantity == "distance":
            return self._distances_over_time(shown)
        if quantity == "walkers":
            return self._temperatures_of_walkers(shown)
        columns = {name: list(column.T[shown]) for name, column in self.scalars.items()}
        time = columns["time_fs"]
        if quantity == "potential":
            lowest = float(self.scalars["potential_eV"].min())
            return figures.potential_energy(time, columns["potential_eV"], lowest)
        if quantity == "conserved":
            return figures.conserved_energy(time, columns["conserved_eV"])
        mean = float(self.scalars["temperature_K"].mean())
        return figures.temperature(time, columns["temperature_K"], mean)

    def _distances_over_time(self, shown: np.ndarray) -> Drawing:
        if self.coverage is None:
            raise InputError("quantity: the potential of this run has no distance to training data")
        time, distance = (self.distances[name].T[shown] for name in ("time_fs", "distance"))
        return figures.training_distance(list(time), list(distance), self.coverage.limit)

    def _temperatures_of_walkers(self, shown: np.ndarray) -> Drawing:
        if self.exchanges is None:
            raise InputError("quantity: the replicas of this run do not exchange")
        time, at = (self._table(EXCHANGES)[name] for name in ("time_fs", "walker"))
        found = self.exchanges
        kelvin = np.array(found.temperatures_K)[np.argsort(at, axis=1)]
        return figures.walkers(list(time.T[shown]), list(kelvin.T[shown]))
