"""Rates at all temperatures, as a table and as figures of a saddle."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from flexcalc.analysis.rates import StationaryPoint
from flexcalc.config.paths import SaddleAndRates
from flexcalc.errors import InputError
from flexcalc.results.rates import Rates, check_order, format_duration
from flexcalc.results.saddle import RATES, Saddle
from flexcalc.units import KCAL_MOL


def with_rates(
    saddle: Saddle, options: SaddleAndRates, points: Mapping[str, StationaryPoint]
) -> Saddle:
    """Keep rates.csv, a row per temperature, and return the saddle with the first of them.

    Args:
        saddle: whose store keeps the table.
        options: with the temperatures.
        points: `start`, `saddle` and `end`.
    """
    store = saddle.store
    try:
        check_order(points)
    except InputError as error:
        store.say(str(error))
        return saddle
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
    zero = {side: point.zero_point_energy_eV() / KCAL_MOL for side, point in points.items()}
    return replace(
        saddle,
        low_modes=options.low_modes,
        first_rates=rows[0],
        zero_point_start_kcal_mol=zero["start"],
        zero_point_saddle_kcal_mol=zero["saddle"],
        zero_point_end_kcal_mol=zero["end"],
    )
