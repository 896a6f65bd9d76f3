"""The results of replica exchange between temperatures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Self

from flexcalc.results.base import Figures, figure
from flexcalc.results.rows import Row

EXCHANGES = "exchanges.csv"
"""Table of a run: step, time_fs, replica and the walker whose geometry it has."""
LEAST_ACCEPTANCE, ENOUGH = 0.05, 40
"""Share of accepted exchanges below which a pair keeps walkers apart, and attempts to know it."""


@dataclass(frozen=True, kw_only=True)
class ExchangedPair(Row):
    """Exchanges between two neighbouring temperatures."""

    stage: ClassVar[str] = "exchanges"
    needed: ClassVar[tuple[str, ...]] = ("cold_K", "hot_K", "attempts", "accepted")

    cold_K: float
    hot_K: float
    attempts: int
    accepted: int

    @property
    def acceptance(self) -> float | None:
        """Share of the attempts that were accepted; None without any."""
        return self.accepted / self.attempts if self.attempts else None

    def warning(self) -> str | None:
        """What to warn of; None if walkers pass."""
        if self.attempts < ENOUGH or self.accepted >= LEAST_ACCEPTANCE * self.attempts:
            return None
        return (
            f"only {self.accepted} of {self.attempts} exchanges between {self.cold_K:g} and "
            f"{self.hot_K:g} K were accepted: walkers hardly pass; put a temperature between them"
        )


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class Exchanges(Figures):
    """Replica exchange of a run."""

    temperatures_K: tuple[float, ...] = figure("", key="exchange_temperatures_K")
    """Temperature of each replica, in kelvin."""
    attempts: int = figure("attempted exchanges", key="exchange_attempts")
    """Attempted exchanges of two replicas, over all pairs."""
    acceptance: float = figure("accepted exchanges", key="exchange_acceptance")
    """Share of them that were accepted."""
    lowest_acceptance: float = figure(
        "accepted between the worst pair of temperatures", key="exchange_lowest_acceptance"
    )
    """The lowest share of a pair of neighbouring temperatures."""
    round_trips: int = figure("round trips of walkers", key="exchange_round_trips")
    """How often a walker came from the lowest temperature to the highest and back."""

    @classmethod
    def of(
        cls, temperatures_K: Sequence[float], pairs: Sequence[ExchangedPair], trips: int
    ) -> Self | None:
        """Of the replicas' temperatures and their pairs; None before the first attempt of each."""
        shares = [pair.acceptance for pair in pairs]
        known = [share for share in shares if share is not None]
        if not known or len(known) < len(shares):
            return None
        attempts = sum(pair.attempts for pair in pairs)
        return cls(
            temperatures_K=tuple(map(float, temperatures_K)),
            attempts=attempts,
            acceptance=sum(pair.accepted for pair in pairs) / attempts,
            lowest_acceptance=min(known),
            round_trips=trips,
        )

    def summary(self) -> str:
        """The exchanges in a few words."""
        return (
            f"{100 * self.acceptance:.0f} % of exchanges accepted (worst pair "
            f"{100 * self.lowest_acceptance:.0f} %), {self.round_trips} round trips"
        )
