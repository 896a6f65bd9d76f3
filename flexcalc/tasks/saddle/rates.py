"""Rates at all temperatures, as a table and as figures of a saddle."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flexcalc.analysis.rates import StationaryPoint
from flexcalc.config.commands import SaddleAndRates
from flexcalc.errors import InputError
from flexcalc.results.rates import Rates, check_order, format_duration
from flexcalc.results.saddle import RATES
from flexcalc.store import Store
from flexcalc.units import KCAL_MOL


def rate_figures(
    options: SaddleAndRates, store: Store, points: Mapping[str, StationaryPoint]
) -> dict[str, Any]:
    """Keep rates.csv, a row per temperature, and return the figures at the first temperature.

    Args:
        options: with the temperatures.
        store: keeps the table.
        points: `start`, `saddle` and `end`.
    """
    try:
        check_order(points)
    except InputError as error:
        store.say(str(error))
        return {}
    rows = [Rates.between(points, kelvin, options.low_modes) for kelvin in options.temperatures_K]
    columns = [row.to_dict() for row in rows]
    store.put(RATES, {key: [row[key] for row in columns] for key in columns[0]})
    store.table(
        ["temperature", "dG kcal/mol", "rate 1/s", "half-life", "back dG", "back 1/s"],
        [
            [
                f"{row.temperature_K:g} K",
                f"{row.gibbs_activation_kcal_mol:.2f}",
                f"{row.rate_per_s:.3g}",
                format_duration(row.half_life_s),
                f"{row.gibbs_activation_back_kcal_mol:.2f}",
                f"{row.rate_back_per_s:.3g}",
            ]
            for row in rows
        ],
    )
    zero_points = {
        f"zero_point_{side}_kcal_mol": point.zero_point_energy_eV() / KCAL_MOL
        for side, point in points.items()
    }
    return {"low_modes": options.low_modes, "first_rates": rows[0], **zero_points}
