"""Rates at all temperatures, as a file and as results."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flexcalc.analysis.rates import (
    LowModes,
    StationaryPoint,
    eyring_rate,
    half_life_s,
    vineyard_rate,
    wigner_factor,
)
from flexcalc.config.commands import SaddleAndRates
from flexcalc.storage import atomic_write
from flexcalc.units import KCAL_MOL
from flexcalc.workflows.runs import Run


def rate_results(
    config: SaddleAndRates, here: Run, points: Mapping[str, StationaryPoint]
) -> dict[str, Any]:
    """Write rates.csv, a row a temperature, and return those at the first temperature.

    Args:
        points: `start`, `saddle` and `end`.
    """
    for side, point in points.items():
        wanted = 1 if side == "saddle" else 0
        real = int((point.vibrations.frequencies_cm > 0).sum())
        if real + wanted != len(point.vibrations.frequencies_cm):
            lowest = point.vibrations.frequencies_cm[wanted]
            here.say(f"no rates: {side} has a vibration of {lowest:.1f} cm^-1 too many")
            return {}
    rows = [_row(points, kelvin, config.low_modes) for kelvin in config.temperatures_K]
    lines = [",".join(rows[0]), *(",".join(repr(v) for v in row.values()) for row in rows)]
    atomic_write(here.folder / "rates.csv", "\n".join(lines) + "\n")
    here.table(
        ["temperature", "dG kcal/mol", "rate 1/s", "half-life", "back dG", "back 1/s"],
        [
            [
                f"{row['temperature_K']:g} K",
                f"{row['gibbs_activation_kcal_mol']:.2f}",
                f"{row['rate_per_s']:.3g}",
                lasting(row["half_life_s"]),
                f"{row['gibbs_activation_back_kcal_mol']:.2f}",
                f"{row['rate_back_per_s']:.3g}",
            ]
            for row in rows
        ],
    )
    zero_points = {
        f"zero_point_{side}_kcal_mol": point.zero_point_energy_eV() / KCAL_MOL
        for side, point in points.items()
    }
    return {"low_modes": config.low_modes, **rows[0], **zero_points}


def _row(
    points: Mapping[str, StationaryPoint], kelvin: float, low_modes: LowModes
) -> dict[str, float]:
    """Rates both ways at one temperature; `rate` is Eyring's times Wigner's factor."""
    saddle = points["saddle"]
    tunnelling = wigner_factor(float(saddle.vibrations.frequencies_cm[0]), kelvin)
    row = {"temperature_K": kelvin, "wigner_factor": tunnelling}
    for side, back in (("start", ""), ("end", "_back")):
        minimum = points[side]
        height = saddle.free_energy_eV(kelvin, low_modes)
        height -= minimum.free_energy_eV(kelvin, low_modes)
        rate = eyring_rate(minimum, saddle, kelvin, low_modes)
        row |= {
            f"gibbs_activation{back}_kcal_mol": height / KCAL_MOL,
            f"eyring_rate{back}_per_s": rate,
            f"rate{back}_per_s": rate * tunnelling,
            f"half_life{back}_s": half_life_s(rate * tunnelling),
        }
        # Beside a bent saddle a linear minimum has a vibration too many for Vineyard.
        if len(minimum.vibrations.frequencies_cm) == len(saddle.vibrations.frequencies_cm):
            row[f"vineyard_rate{back}_per_s"] = vineyard_rate(minimum, saddle, kelvin)
    return row


UNITS = (("years", 365.25 * 86400.0), ("days", 86400.0), ("h", 3600.0), ("min", 60.0))


def lasting(seconds: float) -> str:
    """A time in the unit that suits it, from years down to seconds."""
    for name, size in UNITS:
        if seconds >= 2 * size:
            return f"{seconds / size:.3g} {name}"
    return f"{seconds:.3g} s"
