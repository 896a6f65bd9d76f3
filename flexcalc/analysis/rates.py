"""Rates over a barrier from vibrations: harmonic, and by Eyring with partition functions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from flexcalc.errors import InputError
from flexcalc.methods.hessian import NOISE_CM, Vibrations, rigid_motions
from flexcalc.units import AMU_KG, BAR, HBAR, INVCM, KB, PER_SECOND, WAVENUMBER

LowModes = Literal["harmonic", "quasi-rrho", "quasi-rrho-grimme"]

CROSSOVER_CM = 100.0
"""Where quasi-RRHO turns from a free rotor to an oscillator, in cm^-1."""

CROSSOVER_POWER = 4
"""How sharply it does so."""

MEAN_INERTIA = 1e-44 / AMU_KG * 1e20
"""Bound of a free rotor's moment of inertia in Grimme's paper: 1e-44 kg m^2, in amu angstrom^2."""


@dataclass(frozen=True, eq=False)
class StationaryPoint:
    """A minimum or a saddle with all that its partition function needs.

    Args:
        energy_eV: of the surface.
        positions: (atoms, 3) in angstrom.
        vibrations: at the positions; an imaginary frequency takes no part.
        symmetry_number: of the rotations that leave the molecule as it is.
    """

    energy_eV: float
    positions: np.ndarray
    vibrations: Vibrations
    symmetry_number: int = 1

    def real_frequencies_cm(self) -> np.ndarray:
        """The frequencies that count as vibrations, in cm^-1.

        Raises:
            InputError: a frequency is zero within the noise, where no oscillator is left.
        """
        frequencies = self.vibrations.frequencies_cm
        real = frequencies[frequencies > 0]
        if len(real) + self.vibrations.imaginary() < len(frequencies):
            worst = frequencies[(frequencies <= 0) & (frequencies >= -NOISE_CM)][0]
            raise InputError(
                f"a frequency of {worst:.2g} cm^-1 is zero within the noise of the Hessian, so "
                "there is no partition function; relax the geometry to smaller forces"
            )
        return real

    def zero_point_energy_eV(self) -> float:
        """Zero-point energy of the vibrations."""
        return float(self.real_frequencies_cm().sum() * INVCM / 2)

    def free_energy_eV(
        self, temperature_K: float, low_modes: LowModes = "harmonic", pressure_bar: float = 1.0
    ) -> float:
        """Gibbs energy of the ideal gas of rigid rotors and harmonic oscillators, in eV.

        Args:
            temperature_K: temperature.
            low_modes: `harmonic` takes every vibration as an oscillator; `quasi-rrho` gives
                those below about 100 cm^-1 the entropy of a free rotor, whose moment of inertia is
                bounded by the mean of the molecule's own, as in xtb, ORCA and pymatgen;
                `quasi-rrho-grimme` bounds it by 1e-44 kg m^2, as the paper and GoodVibes do. Of
                small molecules, whose own is smaller, the two differ by up to 0.2 kcal/mol for a
                mode of 1 cm^-1 and 0.03 for one of 10 cm^-1.
            pressure_bar: pressure; a rate of one molecule does not depend on it.

        Sources: McQuarrie, Statistical Mechanics (1976), chapters 5 and 6; quasi-RRHO: Grimme,
        Chem. Eur. J. 18, 9955 (2012), doi:10.1002/chem.201200497, equations 3 to 8.
        """
        thermal = KB * temperature_K
        outer = _translation(self.vibrations.masses.sum(), temperature_K, pressure_bar)
        outer += _rotation(self.positions, self.vibrations.masses, thermal, self.symmetry_number)
        energies = self.real_frequencies_cm() * INVCM
        ratio = energies / thermal
        inner = energies / 2 + thermal * np.log1p(-np.exp(-ratio))
        if low_modes != "harmonic":
            inner = inner + self._rotor_correction(temperature_K, self._bound(low_modes))
        return float(self.energy_eV - thermal * outer + inner.sum())

    def _bound(self, low_modes: LowModes) -> float:
        """What the moment of inertia of a free rotor is bounded by, in amu angstrom^2."""
        if low_modes == "quasi-rrho-grimme":
            return MEAN_INERTIA
        return float(_inertia(self.positions, self.vibrations.masses).mean())

    def _rotor_correction(self, temperature_K: float, bound: float) -> np.ndarray:
        """Change of each mode's free energy from oscillator to Grimme's mixture, in eV.

        Args:
            temperature_K: temperature.
            bound: of the rotors' moments of inertia, in amu angstrom^2.
        """
        thermal, frequencies = KB * temperature_K, self.real_frequencies_cm()
        ratio = frequencies * INVCM / thermal
        oscillator = ratio / np.expm1(ratio) - np.log1p(-np.exp(-ratio))
        inertia = HBAR / (2 * frequencies * WAVENUMBER)
        inertia = inertia * bound / (inertia + bound)
        rotor = 0.5 + 0.5 * np.log(2 * np.pi * inertia * thermal / HBAR**2)
        share = 1 / (1 + (CROSSOVER_CM / frequencies) ** CROSSOVER_POWER)
        return -thermal * (1 - share) * (rotor - oscillator)


def eyring_rate(
    minimum: StationaryPoint,
    saddle: StationaryPoint,
    temperature_K: float,
    low_modes: LowModes = "harmonic",
) -> float:
    """Rate over a barrier in 1/s, without tunnelling.

    k = kB T / h exp(-(G_saddle - G_minimum) / kB T), for a barrier that is passed one way;
    several equivalent ways are counted by the symmetry numbers.

    Source: Eyring, J. Chem. Phys. 3, 107 (1935), doi:10.1063/1.1749604.
    """
    height = saddle.free_energy_eV(temperature_K, low_modes) - minimum.free_energy_eV(
        temperature_K, low_modes
    )
    thermal = KB * temperature_K
    return float(thermal / (2 * np.pi * HBAR) * np.exp(-height / thermal)) * PER_SECOND


def vineyard_rate(minimum: StationaryPoint, saddle: StationaryPoint, temperature_K: float) -> float:
    """Classical harmonic rate in 1/s: product of the minimum's frequencies over the saddle's.

    Rotation and translation are left out, as in a solid.

    Source: Vineyard, J. Phys. Chem. Solids 3, 121 (1957), doi:10.1016/0022-3697(57)90059-8.
    """
    below, above = minimum.real_frequencies_cm(), saddle.real_frequencies_cm()
    if len(below) != len(above) + 1:
        raise InputError(
            f"expected one vibration more at the minimum than at the saddle, found {len(below)} "
            f"and {len(above)}: the saddle is not of first order, or one of them is linear"
        )
    ratio = np.exp(np.log(below).sum() - np.log(above).sum()) * WAVENUMBER / (2 * np.pi)
    height = saddle.energy_eV - minimum.energy_eV
    return float(ratio * np.exp(-height / (KB * temperature_K))) * PER_SECOND


def wigner_factor(imaginary_cm: float, temperature_K: float) -> float:
    """Factor by which tunnelling raises a rate, 1 + (h nu / kB T)^2 / 24.

    Args:
        imaginary_cm: imaginary frequency of the saddle in cm^-1, of either sign.
        temperature_K: temperature; the correction is small where it is valid.

    Source: Wigner, Z. Phys. Chem. B 19, 203 (1932).
    """
    return float(1 + (imaginary_cm * INVCM / (KB * temperature_K)) ** 2 / 24)


LONGEST_S = 1e200
"""Longest half-life in s; longer ones, and that of a rate of zero, are given as this one."""


def half_life_s(rate_per_s: float) -> float:
    """Time after which half is left of what decays at a rate, in s; at most LONGEST_S."""
    return float(np.log(2) / max(rate_per_s, np.log(2) / LONGEST_S))


def _translation(mass: float, temperature_K: float, pressure_bar: float) -> float:
    """Logarithm of the translational partition function per molecule."""
    thermal = KB * temperature_K
    volume = thermal / (pressure_bar * BAR)
    return float(np.log(volume * (mass * thermal / (2 * np.pi * HBAR**2)) ** 1.5))


def _rotation(
    positions: np.ndarray, masses: np.ndarray, thermal: float, symmetry_number: int
) -> float:
    """Logarithm of the rigid rotor's partition function; 0 for one atom."""
    inertia = _inertia(positions, masses)
    reduced = 2 * inertia * thermal / HBAR**2
    if len(rigid_motions(positions, masses)) == 5:
        return float(np.log(reduced[-1] / symmetry_number))
    if len(positions) == 1:
        return 0.0
    return float(0.5 * np.log(np.pi * reduced.prod()) - np.log(symmetry_number))


def _inertia(positions: np.ndarray, masses: np.ndarray) -> np.ndarray:
    """Principal moments of inertia (3,) in amu angstrom^2, ascending."""
    arms = positions - masses @ positions / masses.sum()
    tensor = (masses * (arms**2).sum(axis=1)).sum() * np.eye(3)
    return np.linalg.eigvalsh(tensor - np.einsum("a,ax,ay->xy", masses, arms, arms))
