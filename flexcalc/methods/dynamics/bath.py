"""Thermostats: their temperature, constant, as a ramp over time, or different for each replica."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from flexcalc.errors import ConfigError
from flexcalc.fields import Positive
from flexcalc.methods.dynamics.integrator import Integrator

STAGE = re.compile(r"\s*([0-9.eE+-]+)\s*ps\s+([0-9.eE+-]+)\s*K\s*")


@dataclass(frozen=True, kw_only=True)
class Bath(Integrator):
    """Dynamics with a thermostat whose temperature is constant, follows a schedule, or differs by
    replica."""

    temperature_K: Positive = 300.0
    """Temperature of the thermostat, in kelvin."""
    schedule: tuple[str, ...] = ()
    """Temperature ramp, piecewise linear in time, as points such as "10 ps 600 K" with times from
    the start; constant after the last point."""
    replica_temperatures_K: tuple[Positive, ...] = ()
    """A temperature for each replica in turn, in kelvin, instead of a common one."""

    def __post_init__(self) -> None:
        if self.schedule and self.replica_temperatures_K:
            raise ConfigError(
                "schedule and replica_temperatures_K: expected one of them, found both"
            )
        times = self.stages[0]
        if (np.diff(times) <= 0).any():
            raise ConfigError(f"schedule: expected times that rise from 0, found {self.schedule}")

    @cached_property
    def stages(self) -> tuple[np.ndarray, np.ndarray]:
        """Times (stages,) in ps and the temperatures there in K, the start included."""
        points = [(0.0, self.temperature_K)]
        for text in self.schedule:
            points.append(_stage(text))
        times, temperatures = np.array(points).T
        return times, temperatures

    def target_K(self, step: int, batch: int) -> np.ndarray:
        """Temperatures (batch,) of the thermostat in K during the step after `step` steps."""
        if self.replica_temperatures_K:
            return np.resize(np.array(self.replica_temperatures_K), batch)
        value = np.interp(step * self.timestep_fs * 1e-3, *self.stages)
        return np.full(batch, value)


def _stage(text: str) -> tuple[float, float]:
    found = STAGE.fullmatch(text)
    try:
        time_ps, kelvin = map(float, found.groups()) if found else (0.0, 0.0)
    except ValueError:
        time_ps, kelvin = 0.0, 0.0
    if not (0 < time_ps < np.inf and 0 < kelvin < np.inf):
        raise ConfigError(f'schedule: expected stages such as "10 ps 600 K", found {text!r}')
    return time_ps, kelvin
