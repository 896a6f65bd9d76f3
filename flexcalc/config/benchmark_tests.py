"""What `flexcalc benchmark` withholds from models, to see how they do on what they never saw."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import ClassVar

from flexcalc.errors import ConfigError
from flexcalc.fields import Count


@dataclass(frozen=True, kw_only=True)
class Withheld:
    """A conformer or a region that models are trained without: `minimum`, or `coordinate` with
    `low` and `high`; mirror images of the region go with it."""

    kind: ClassVar[str] = "withheld"

    name: str
    """Words for what is withheld."""
    minimum: str | None = None
    """Name of a minimum: withheld are the frames that are nearer to it than to the others, by
    `coordinates`."""
    coordinate: str | None = None
    """Coordinate of the region, such as "dihedral 5 6 7 8" (counted from 0)."""
    low: float | None = None
    """Where the region begins, in angstrom or degrees."""
    high: float | None = None
    """Where it ends; below `low`, the region of a dihedral goes through 180 degrees."""
    points: Count | None = None
    """Training points; by default the largest of `budgets`, or of `sizes`."""

    @property
    def interval(self) -> tuple[str, float, float]:
        """Coordinate and ends of the region.

        Raises:
            ConfigError: one of them is missing.
        """
        if self.coordinate is None or self.low is None or self.high is None:
            raise ConfigError(
                f"withheld {self.name}: expected either minimum, or coordinate with low and high"
            )
        return self.coordinate, self.low, self.high

    def check(self, minima: Collection[str]) -> None:
        """Refuse a part that does not say what it is, of a molecule with such minima.

        Raises:
            ConfigError: neither a minimum nor a whole interval, or both, or an unknown minimum.
        """
        if self.minimum is None:
            _ = self.interval
            return
        if (self.coordinate, self.low, self.high) != (None, None, None):
            raise ConfigError(
                f"withheld {self.name}: expected either minimum, or coordinate with low and high"
            )
        if self.minimum not in minima or len(minima) < 2:
            raise ConfigError(
                f"withheld.minimum: expected one of at least two minima, found {self.minimum!r} "
                f"of {', '.join(minima)}"
            )
