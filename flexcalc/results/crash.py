"""The crash test of a learned model: how many replicas of its dynamics stayed intact, how long."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple, Self

from flexcalc.results.base import Figures, figure
from flexcalc.results.rows import Row

CONFIDENCE = 0.95
"""Of the largest rate of failures that a crash test leaves possible."""


class Kept(NamedTuple):
    """Replicas at a temperature, and those of them that lasted."""

    temperature_K: float
    lasted: int
    replicas: int


def lasted_up_to_K(kept: Iterable[Kept]) -> float | None:
    """The highest temperature at which, as below it, all replicas lasted; None where some did not
    at the lowest one."""
    held = None
    for kelvin, lasted, replicas in kept:
        if lasted < replicas:
            break
        held = kelvin
    return held


def lost_replicas(kept: Iterable[Kept]) -> tuple[str, ...]:
    """For each temperature at which replicas did not last, how many did not."""
    return tuple(
        f"{replicas - lasted} of {replicas} at {kelvin:g} K"
        for kelvin, lasted, replicas in kept
        if lasted < replicas
    )


@dataclass(frozen=True, kw_only=True)
class CrashedAt(Row):
    """The crash test of the final model at a temperature."""

    stage: ClassVar[str] = "crash"
    needed: ClassVar[tuple[str, ...]] = (
        *("temperature_K", "replicas", "intact_replicas", "time_ns"),
    )

    temperature_K: float
    replicas: int
    intact_replicas: int
    """Replicas that reached the end with their bonds and without a close contact."""
    time_ns: float
    """Of all replicas together, each up to its failure."""
    failures: tuple[str, ...] = ()
    """Kind of each failure, such as "bond broken"."""

    @property
    def kept(self) -> Kept:
        """Replicas and intact ones."""
        return Kept(self.temperature_K, self.intact_replicas, self.replicas)

    @property
    def most_failures_per_ns(self) -> float | None:
        """Upper bound of the rate of failures with a confidence of 95 %; without a failure 3.0
        divided by the time. None without time.

        Source: exact limit of a Poisson rate, Garwood, Biometrika 28, 437 (1936).
        """
        from scipy.special import gammaincinv

        if not self.time_ns > 0:
            return None
        failed = self.replicas - self.intact_replicas
        return float(gammaincinv(failed + 1, CONFIDENCE)) / self.time_ns

    def described(self) -> str:
        """Failures by kind, most frequent first; empty without any."""
        counts = Counter(self.failures).most_common()
        return ", ".join(kind if count == 1 else f"{count} {kind}" for kind, count in counts)


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class CrashTested(Figures):
    """Dynamics of the final model from its minima at the temperatures of the exploration."""

    crash_replicas: int = figure("replicas of the crash test")
    crash_intact_replicas: int = figure("intact replicas of the crash test")
    """Those that kept their bonds, without a close contact, to the end."""
    crash_ns: float = figure("crash test", "ns")
    """Of all replicas together, each up to its failure."""
    crash_up_to_K: float | None = figure("intact up to", "K", default=None)
    """Highest temperature at which, as below it, all replicas stayed intact."""

    @classmethod
    def of(cls, rows: Sequence[CrashedAt]) -> Self:
        """The figures of rows by ascending temperature."""
        return cls(
            crash_replicas=sum(row.replicas for row in rows),
            crash_intact_replicas=sum(row.intact_replicas for row in rows),
            crash_ns=sum(row.time_ns for row in rows),
            crash_up_to_K=lasted_up_to_K(row.kept for row in rows),
        )


def crash_verdict(rows: Sequence[CrashedAt]) -> str:
    """What the crash test shows; without rows it could not be done."""
    if not rows:
        return "NOT CRASH-TESTED: no relaxation on the final model led to a minimum"
    found = CrashTested.of(rows)
    time = f"{found.crash_ns:.2g} ns in all up to {rows[-1].temperature_K:g} K"
    lost = [row for row in rows if row.intact_replicas < row.replicas]
    if not lost:
        return (
            f"in the crash test of the final model all {found.crash_replicas} replicas stayed "
            f"intact ({time})"
        )
    failed = ", ".join(
        f"{text} ({row.described()})"
        for row, text in zip(lost, lost_replicas(row.kept for row in rows), strict=True)
    )
    return f"in the crash test of the final model {failed} FAILED ({time})"
