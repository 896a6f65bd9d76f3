"""The result of a saddle search."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from flexcalc.analysis.rates import LowModes, StationaryPoint
from flexcalc.dataset import Dataset
from flexcalc.display import figures
from flexcalc.display.drawing import Drawing
from flexcalc.errors import InputError
from flexcalc.files.tables import csv_blocks
from flexcalc.masses import atomic_masses
from flexcalc.methods.hessian import Vibrations
from flexcalc.results.base import MoleculeResult, data_frame, figure, part
from flexcalc.results.coverage import Coverage
from flexcalc.results.evaluations import Evaluations
from flexcalc.results.rates import SIDES, Rates
from flexcalc.storage import JSON

if TYPE_CHECKING:
    from ase import Atoms

SADDLE, MINIMA = "saddle.xyz", "minima.xyz"
MODE, DESCENT = "mode.xyz", "irc.xyz"
VIBRATIONS, RATES = "vibrations.json", "rates.csv"
STATIONARY = "stationary-relabelled.xyz"

SWING_A = 0.5
"""Largest move of an atom in the film of the imaginary mode, in angstrom."""

FILM_FRAMES = 12
"""Frames of that film, which is one period."""


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class Saddle(MoleculeResult):
    """A saddle point, the minima that it connects, and the rates.

    `symmetry_numbers` are those of start, saddle and end, which rates depend on.
    """

    command: ClassVar[str] = "saddle"
    headline: ClassVar[tuple[str, ...]] = (
        *("isotopes", "barrier_kcal_mol", "barrier_back_kcal_mol", "imaginary_frequency_cm"),
        *("barrier_error_kcal_mol", "gibbs_activation_kcal_mol", "half_life_s", "steps"),
        "largest_distance",
    )

    symmetry_numbers: Mapping[str, int] | None = None

    warnings: tuple[str, ...] = figure("", key="saddle_warnings", default=())
    """What is implausible in the saddle, a line each."""
    converged: bool = figure("converged", key="saddle_converged")
    """Whether no atom's force is longer than asked for."""
    steps: int = figure("steps to the saddle", key="saddle_steps")
    """Steps of the refinement."""
    force_eV_A: float = figure("largest force at the saddle", "eV/A", key="saddle_force_eV_A")
    """Largest length of an atom's force at the saddle, in eV/angstrom."""
    first_order: bool = figure("saddle of first order", key="saddle_first_order")
    """Whether the search converged to a point with exactly one imaginary frequency."""
    imaginary_modes: int = figure("imaginary modes")
    """Number of imaginary frequencies."""
    imaginary_frequency_cm: float = figure("imaginary frequency, as negative", "cm^-1")
    """Lowest frequency in cm^-1; negative where it is imaginary."""
    irc_start_is: str | None = figure("the side of the start leads to", default=None)
    """Minimum that the descent reaches on the side of the start: "start", "end" or another one."""
    irc_start_rmsd_A: float | None = figure("", default=None)
    """Root-mean-square distance of the atoms from the nearest given minimum, in angstrom."""
    irc_start_mirrored: bool | None = figure("", default=None)
    """Whether it is the mirror image of the given minimum."""
    irc_start_split: bool | None = figure("splits on the side of the start", default=None)
    """Whether the descent on this side came by another saddle, where it splits into two ways (for a
    symmetric molecule they are equivalent); one of them was taken. None where it did not."""
    barrier_kcal_mol: float | None = figure(
        "saddle above the start", "kcal/mol", key="barrier_saddle_kcal_mol", default=None
    )
    """Energy of the saddle above the start, in kcal/mol."""
    irc_end_is: str | None = figure("the side of the end leads to", default=None)
    """Minimum that the descent reaches on the side of the end."""
    irc_end_rmsd_A: float | None = figure("", default=None)
    """Root-mean-square distance of the atoms from the nearest given minimum, in angstrom."""
    irc_end_mirrored: bool | None = figure("", default=None)
    """Whether it is the mirror image of the given minimum."""
    irc_end_split: bool | None = figure("splits on the side of the end", default=None)
    """Whether the descent on this side came by another saddle, where it splits into two ways (for a
    symmetric molecule they are equivalent); one of them was taken. None where it did not."""
    barrier_back_kcal_mol: float | None = figure(
        "saddle above the end", "kcal/mol", key="barrier_saddle_back_kcal_mol", default=None
    )
    """Energy of the saddle above the end, in kcal/mol."""
    degenerate: bool | None = figure("degenerate rearrangement", default=None)
    """Whether the minima differ only by a permutation of identical atoms."""
    barrier_reference_kcal_mol: float | None = figure(
        "the same by the reference",
        "kcal/mol",
        key="barrier_saddle_reference_kcal_mol",
        default=None,
    )
    """Barrier by the reference, in single points at saddle and start, in kcal/mol."""
    barrier_error_kcal_mol: float | None = figure(
        "error of the barrier at the saddle",
        "kcal/mol",
        key="barrier_saddle_error_kcal_mol",
        default=None,
    )
    """Barrier on the model minus that of the reference, in kcal/mol."""
    barrier_back_reference_kcal_mol: float | None = figure(
        "barrier back by the reference",
        "kcal/mol",
        key="barrier_saddle_back_reference_kcal_mol",
        default=None,
    )
    """Barrier from the end by the reference, in kcal/mol."""
    barrier_back_error_kcal_mol: float | None = figure(
        "error of the barrier back",
        "kcal/mol",
        key="barrier_saddle_back_error_kcal_mol",
        default=None,
    )
    """Barrier from the end on the model minus that of the reference, in kcal/mol."""
    reference_force_eV_A: float | None = figure(
        "the reference's largest force at the saddle",
        "eV/A",
        key="saddle_reference_force_eV_A",
        default=None,
    )
    """Largest length of an atom's force by the reference at the saddle, in eV/angstrom."""
    deviation_eV_A: float | None = figure(
        "deviation of the committee at the saddle",
        "eV/A",
        key="saddle_deviation_eV_A",
        default=None,
    )
    """Largest deviation of a committee's forces on an atom at the saddle, in eV/angstrom."""
    coverage: Coverage | None = part(Coverage, prefix="saddle_")
    """How far saddle and minima are from the training data; None without a domain."""
    evaluations: Evaluations | None = part(Evaluations, prefix="saddle_")
    """Geometries that were evaluated; of a path, those for its saddle."""
    low_modes: LowModes | None = figure("low modes", default=None)
    """How vibrations below 100 cm^-1 were treated in the rates."""
    first_rates: Rates | None = part(Rates)
    """Rates at the first temperature that was asked for; None where there are none."""
    zero_point_start_kcal_mol: float | None = figure(
        "zero-point energy of the start", "kcal/mol", default=None
    )
    """Zero-point energy of the start, in kcal/mol."""
    zero_point_saddle_kcal_mol: float | None = figure(
        "zero-point energy of the saddle", "kcal/mol", default=None
    )
    """Zero-point energy of the saddle, in kcal/mol."""
    zero_point_end_kcal_mol: float | None = figure(
        "zero-point energy of the end", "kcal/mol", default=None
    )
    """Zero-point energy of the end, in kcal/mol."""

    def to_dict(self) -> dict[str, JSON]:
        """The figures as results.json has them; distances from minima that were not given too."""
        found = super().to_dict()
        if self.irc_start_is is not None:
            found = {"irc_start_rmsd_A": None, "irc_end_rmsd_A": None, **found}
        return found

    def summary(self) -> str:
        """The saddle in one line."""
        kind = "saddle of first order" if self.first_order else "no saddle of first order"
        line = f"{kind}, lowest frequency {self.imaginary_frequency_cm:.0f} cm^-1"
        if self.barrier_kcal_mol is not None:
            line += (
                f"; barriers {self.barrier_kcal_mol:.2f} and {self.barrier_back_kcal_mol:.2f} "
                "kcal/mol"
            )
        if self.first_rates is not None:
            line += f"; {self.first_rates.summary()}"
        if self.evaluations is not None:
            line += f"; {self.evaluations.summary()}"
        return line if self.coverage is None else f"{line}; {self.coverage.summary()}"

    def to_dataset(self) -> Dataset:
        """The saddle as one labelled frame."""
        return self.store.get(SADDLE)

    @property
    def atoms(self) -> Atoms:
        """The saddle as ase.Atoms, with energy and forces."""
        return self.to_dataset().to_atoms()[0]

    @property
    def minima(self) -> list[Atoms]:
        """The minima at the ends of the descent, start first, as ase.Atoms with energies and
        forces; none where there was no descent."""
        found = self.store.get(MINIMA)
        return [] if found is None else found.to_atoms()

    @property
    def mode(self) -> np.ndarray | None:
        """The imaginary mode (atoms, 3), a direction whose largest displacement of an atom is 1."""
        film = self.store.get(MODE)
        if film is None:
            return None
        return (film.positions[FILM_FRAMES // 4] - film.positions[0]) / SWING_A

    @property
    def irc(self) -> Dataset | None:
        """Points of the intrinsic reaction coordinate from start to end with their energies; the
        tag `arc` is the length from the saddle in angstrom sqrt(amu)."""
        return self.store.get(DESCENT)

    @property
    def frequencies_cm(self) -> dict[str, np.ndarray]:
        """Frequencies (modes,) in cm^-1 of `start`, `saddle` and `end`, imaginary ones negative."""
        found = self.store.get(VIBRATIONS) or {}
        return {side: np.array(found[side]) for side in SIDES if side in found}

    @property
    def stationary_points(self) -> dict[str, StationaryPoint]:
        """`start`, `saddle` and `end`, with all that partition functions need but the modes."""
        frequencies = self.frequencies_cm
        if not frequencies:
            return {}
        minima, top = self.store.get(MINIMA), self.to_dataset()
        masses = atomic_masses(top.numbers, top.own_masses())
        symmetry = self.symmetry_numbers or dict.fromkeys(SIDES, 1)
        no_modes = np.empty((0, *top.positions.shape[1:]))
        places = {"start": (minima, 0), "saddle": (top, 0), "end": (minima, 1)}
        return {
            side: StationaryPoint(
                float(data.energies[row]),
                data.positions[row],
                Vibrations(frequencies[side], no_modes, masses),
                symmetry[side],
            )
            for side, (data, row) in places.items()
        }

    def rates(self, temperature_K: float = 298.15, low_modes: LowModes | None = None) -> Rates:
        """Rates over the saddle at any temperature.

        Args:
            temperature_K: temperature, in kelvin.
            low_modes: how vibrations below 100 cm^-1 are treated; by default as in the run.

        Raises:
            InputError: this is no saddle of first order between two minima.
        """
        points = self.stationary_points
        if not self.first_order or not points:
            raise InputError(f"no rates: {self.summary()}")
        return Rates.between(points, temperature_K, low_modes or self.low_modes or "harmonic")

    def first_geometry(self) -> Dataset | None:
        """The saddle."""
        return self.store.first(SADDLE)

    def drawing(self) -> Drawing | None:
        """The energy along the intrinsic reaction coordinate; None where there was no descent."""
        descent = self.irc
        if descent is None or descent.energies is None:
            return None
        return figures.reaction_coordinate(descent.tags["arc"], descent.energies)

    def to_frame(self) -> Any:
        """The rates as a pandas table, one row per temperature that was asked for."""
        if self.first_rates is None:
            return data_frame({})
        return data_frame(next(csv_blocks(self.store.stream(RATES))))
