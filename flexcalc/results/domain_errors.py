"""Errors inside and outside the domain of a model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np

from flexcalc.domain import TOLERATED_SHARE, Domain
from flexcalc.ranks import rank_correlation
from flexcalc.results.base import Figures, figure
from flexcalc.units import KCAL_MOL


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class DomainErrors(Figures):
    """Distances of frames to the training set of a model, and its errors by them."""

    limit: float = figure("limit of the domain", key="domain_limit")
    """Distance up to which frames belong to the domain."""
    largest_distance: float = figure(
        "largest distance to the training set", key="domain_largest_distance"
    )
    """In multiples of the largest nearest-neighbour distance within the training set."""
    share_outside: float = figure("share outside the domain", key="domain_share_outside")
    """Share of the frames that are farther than the limit."""
    inside_kcal_mol_A: float | None = figure(
        "force RMSE inside the domain",
        "kcal/mol/A",
        key="domain_inside_force_rmse_kcal_mol_A",
        default=None,
    )
    """RMSE of the forces on the frames inside, in kcal/mol/angstrom."""
    outside_kcal_mol_A: float | None = figure(
        "force RMSE outside the domain",
        "kcal/mol/A",
        key="domain_outside_force_rmse_kcal_mol_A",
        default=None,
    )
    """RMSE of the forces on the frames outside, in kcal/mol/angstrom."""
    expected_kcal_mol_A: float | None = figure(
        "force RMSE expected at these distances",
        "kcal/mol/A",
        key="domain_expected_force_rmse_kcal_mol_A",
        default=None,
    )
    """RMSE of the forces that the calibration of the model expects on all frames, in
    kcal/mol/angstrom; a lower bound where frames are outside. None for a model without one."""
    rank_correlation: float | None = figure(
        "rank correlation of distance and force error",
        key="domain_rank_correlation",
        default=None,
    )
    """Spearman's, of the distances and the force errors of the frames."""
    knots: tuple[float, ...] = figure("", key="domain_distances", default=())
    """Distances at which the calibration of the model has its knots."""
    errors_eV_A: tuple[float, ...] = figure("", key="domain_errors_eV_A", default=())
    """Expected root-mean-square errors of force components there, in eV/angstrom."""

    @classmethod
    def of(cls, domain: Domain, distances: np.ndarray, errors_eV_A: np.ndarray | None) -> Self:
        """Those of frames.

        Args:
            domain: of the model.
            distances: (frames,) to its training set.
            errors_eV_A: (frames,) root-mean-square errors of the force components; None where they
                are not known.
        """
        inside, expected = domain.contains(distances), domain.expected_errors(distances)
        return cls(
            limit=domain.limit,
            largest_distance=float(distances.max()),
            share_outside=float(np.mean(~inside)),
            inside_kcal_mol_A=_rms(errors_eV_A, inside),
            outside_kcal_mol_A=_rms(errors_eV_A, ~inside),
            expected_kcal_mol_A=_rms(expected, np.ones(len(distances), dtype=bool)),
            rank_correlation=None
            if errors_eV_A is None
            else rank_correlation(distances, errors_eV_A),
            knots=domain.distances,
            errors_eV_A=domain.errors_eV_A,
        )

    @property
    def left(self) -> bool:
        """Whether more frames are outside than of the kind that the model was trained on."""
        return self.share_outside > TOLERATED_SHARE

    def summary(self) -> str:
        """How many frames are outside, and the errors inside and outside."""
        text = (
            f"{100 * self.share_outside:.3g} % of the frames are outside the domain of the model "
            f"(distance to its training data up to {self.largest_distance:.3g}, limit "
            f"{self.limit:.3g})"
        )
        known = {"inside": self.inside_kcal_mol_A, "outside": self.outside_kcal_mol_A}
        parts = [f"{value:.3f} {where}" for where, value in known.items() if value is not None]
        return f"{text}: forces RMSE {', '.join(parts)}" if parts else text


def _rms(errors_eV_A: np.ndarray | None, frames: np.ndarray) -> float | None:
    """Root mean square in kcal/mol/angstrom over some frames; None without any."""
    if errors_eV_A is None or not frames.any():
        return None
    return float(np.sqrt(np.mean(errors_eV_A[frames] ** 2)) / KCAL_MOL)
