"""Rates over a saddle at one temperature."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from flexcalc.analysis.rates import (
    LowModes,
    StationaryPoint,
    eyring_rate,
    half_life_s,
    vineyard_rate,
    wigner_factor,
)
from flexcalc.errors import InputError
from flexcalc.results.base import Figures, figure
from flexcalc.units import KCAL_MOL

SIDES = ("start", "saddle", "end")
"""The stationary points of a rate, in the order in which they are kept."""


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class Rates(Figures):
    """Rates from the start over the saddle at one temperature, and `back` from the end."""

    temperature_K: float = figure("temperature of the rates", "K")
    """Temperature, in kelvin."""
    wigner_factor: float = figure("Wigner's factor")
    """Factor by which tunnelling raises the rates, by Wigner's correction."""
    gibbs_activation_kcal_mol: float = figure("Gibbs energy of activation", "kcal/mol")
    """Gibbs energy of the saddle above the start, in kcal/mol."""
    eyring_rate_per_s: float = figure("Eyring's rate", "1/s")
    """Rate by Eyring's equation without tunnelling, in 1/s."""
    rate_per_s: float = figure("rate", "1/s")
    """Eyring's rate times Wigner's factor, in 1/s."""
    half_life_s: float = figure("half-life of the start", "s")
    """Time after which half of the start is left, in s."""
    vineyard_rate_per_s: float | None = figure("Vineyard's rate", "1/s", default=None)
    """Classical harmonic rate without rotation, in 1/s; None where only one of the two
    geometries is linear."""
    gibbs_activation_back_kcal_mol: float = figure("Gibbs energy of activation, back", "kcal/mol")
    """Gibbs energy of the saddle above the end, in kcal/mol."""
    eyring_rate_back_per_s: float = figure("Eyring's rate, back", "1/s")
    """Rate back by Eyring's equation without tunnelling, in 1/s."""
    rate_back_per_s: float = figure("rate back", "1/s")
    """Eyring's rate back times Wigner's factor, in 1/s."""
    half_life_back_s: float = figure("half-life of the end", "s")
    """Time after which half of the end is left, in s."""
    vineyard_rate_back_per_s: float | None = figure("Vineyard's rate, back", "1/s", default=None)
    """Classical harmonic rate back, in 1/s."""

    @classmethod
    def between(
        cls,
        points: Mapping[str, StationaryPoint],
        temperature_K: float,
        low_modes: LowModes = "harmonic",
    ) -> Self:
        """Rates between two minima.

        Args:
            points: `start`, `saddle` and `end`.
            temperature_K: temperature, in kelvin.
            low_modes: how vibrations below 100 cm^-1 are treated; see
                `StationaryPoint.free_energy_eV`.

        Raises:
            InputError: one of the points has a vibration of the wrong sign.

        Sources: Eyring, J. Chem. Phys. 3, 107 (1935), doi:10.1063/1.1749604; Wigner, Z. Phys.
        Chem. B 19, 203 (1932); Vineyard, J. Phys. Chem. Solids 3, 121 (1957),
        doi:10.1016/0022-3697(57)90059-8.
        """
        check_order(points)
        saddle = points["saddle"]
        tunnelling = wigner_factor(float(saddle.vibrations.frequencies_cm[0]), temperature_K)
        values = {"temperature_K": temperature_K, "wigner_factor": tunnelling}
        for side, back in (("start", ""), ("end", "_back")):
            minimum = points[side]
            height = saddle.free_energy_eV(temperature_K, low_modes)
            height -= minimum.free_energy_eV(temperature_K, low_modes)
            rate = eyring_rate(minimum, saddle, temperature_K, low_modes)
            values |= {
                f"gibbs_activation{back}_kcal_mol": height / KCAL_MOL,
                f"eyring_rate{back}_per_s": rate,
                f"rate{back}_per_s": rate * tunnelling,
                f"half_life{back}_s": half_life_s(rate * tunnelling),
            }
            # A linear minimum has one vibration more than Vineyard's formula has for a bent saddle.
            if len(minimum.vibrations.frequencies_cm) == len(saddle.vibrations.frequencies_cm):
                values[f"vineyard_rate{back}_per_s"] = vineyard_rate(minimum, saddle, temperature_K)
        return cls(**values)

    def summary(self) -> str:
        """The rates in one line."""
        return (
            f"{self.temperature_K:g} K: Gibbs energy of activation "
            f"{self.gibbs_activation_kcal_mol:.2f} kcal/mol, rate {self.rate_per_s:.3g} 1/s, "
            f"half-life {format_duration(self.half_life_s)}"
        )


def check_order(points: Mapping[str, StationaryPoint]) -> None:
    """Refuse stationary points between which there is no rate.

    Raises:
        InputError: a minimum has an imaginary frequency, or the saddle has not exactly one.
    """
    for side, point in points.items():
        wanted = 1 if side == "saddle" else 0
        real = int((point.vibrations.frequencies_cm > 0).sum())
        if real + wanted != len(point.vibrations.frequencies_cm):
            lowest = point.vibrations.frequencies_cm[wanted]
            raise InputError(f"no rates: {side} has a vibration of {lowest:.1f} cm^-1 too many")


UNITS = (("years", 365.25 * 86400.0), ("days", 86400.0), ("h", 3600.0), ("min", 60.0))


def format_duration(seconds: float) -> str:
    """A time in the unit that suits it, from years down to seconds."""
    for name, size in UNITS:
        if seconds >= 2 * size:
            return f"{seconds / size:.3g} {name}"
    return f"{seconds:.3g} s"
