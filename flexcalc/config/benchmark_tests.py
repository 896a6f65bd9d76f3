"""Parts of the data that `flexcalc benchmark` withholds from training, to test extrapolation."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import ClassVar

from flexcalc.errors import ConfigError
from flexcalc.fields import Count


@dataclass(frozen=True, kw_only=True)
class Withheld:
    """A conformer or a region withheld from training: `minimum`, or `coordinate` with `low` and
    `high`; mirror images of the region are withheld too."""

    kind: ClassVar[str] = "withheld"

    name: str
    """Name of the withheld part."""
    minimum: str | None = None
    """Name of a minimum: frames nearer to it than to the other minima, in `coordinates`, are
    withheld."""
    coordinate: str | None = None
    """Coordinate of the region, such as "dihedral 5 6 7 8" (counted from 0)."""
    low: float | None = None
    """Lower bound of the region, in angstrom or degrees."""
    high: float | None = None
    """Upper bound; if below `low`, the region of a dihedral goes through 180 degrees."""
    points: Count | None = None
    """Number of training points; by default the largest of `budgets`, or of `sizes`."""

    @property
    def interval(self) -> tuple[str, float, float]:
        """Coordinate and bounds of the region.

        Raises:
            ConfigError: one of them is missing.
        """
        if self.coordinate is None or self.low is None or self.high is None:
            raise ConfigError(
                f"withheld {self.name}: expected either minimum, or coordinate with low and high"
            )
        return self.coordinate, self.low, self.high

    def check(self, minima: Collection[str]) -> None:
        """Refuse a part that is not well defined for a molecule with these minima.

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
