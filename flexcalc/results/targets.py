"""What a learning is asked for: targets that its rounds have to hold before it stops."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flexcalc.results.learning import LearnRound


@dataclass(frozen=True, kw_only=True)
class Targets:
    """Largest errors of a round; None for what is not asked for.

    Args:
        force_kcal_mol_A: of the force RMSE on random new frames.
        energy_kcal_mol: of the energy RMSE there.
        stops_per_ns: of the replicas that end early per nanosecond.
        barrier_kcal_mol: of the largest error of the tops of bands.
    """

    force_kcal_mol_A: float
    energy_kcal_mol: float
    stops_per_ns: float | None = None
    barrier_kcal_mol: float | None = None

    def held(self, row: LearnRound) -> bool:
        """Whether a round has reached all that is asked for."""
        return (
            row.force_rmse_kcal_mol_A <= self.force_kcal_mol_A
            and row.energy_rmse_kcal_mol <= self.energy_kcal_mol
            and _holds(row.stops_per_ns, self.stops_per_ns)
            and _holds(row.barrier_error_kcal_mol, self.barrier_kcal_mol)
        )

    @property
    def goes_further(self) -> bool:
        """Whether more than the errors on random new frames is asked for."""
        return self.stops_per_ns is not None or self.barrier_kcal_mol is not None

    def verdict(self, row: LearnRound) -> str:
        """Which targets for runs and barriers the last round holds; empty without such."""
        words = []
        if self.stops_per_ns is not None:
            words.append(
                _said("replicas ended early", "per ns", row.stops_per_ns, self.stops_per_ns)
            )
        if self.barrier_kcal_mol is not None:
            error = row.barrier_error_kcal_mol
            words.append(_said("error of barriers", "kcal/mol", error, self.barrier_kcal_mol))
        return f"in its last round {' and '.join(words)}" if words else ""


def _holds(found: float | None, target: float | None) -> bool:
    """Whether a target is held; one that nothing was found for is not."""
    return target is None or (found is not None and found <= target)


def _said(what: str, unit: str, found: float | None, target: float) -> str:
    if found is None:
        return f"{what}: NOT KNOWN (target {target:g} {unit})"
    word = "target" if found <= target else "NOT below the target,"
    return f"{what}: {found:.2g} {unit} ({word} {target:g})"
