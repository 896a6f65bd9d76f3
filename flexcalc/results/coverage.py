"""How far a run left the training data of its model, and what is therefore not supported."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from flexcalc.dataset import Dataset
from flexcalc.domain import TOLERATED_SHARE, Domain
from flexcalc.results.base import Figures, figure

DISTANCES = "distances.csv"
"""Table of a run: step, time_fs, replica and distance, and coordinates that are biased."""

NOT_SUPPORTED = "not supported by the training data"

TOLERATED_EXCESS = 1.5
"""Multiple of the limit beyond which a single frame of dynamics counts."""


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class Coverage(Figures):
    """Distances of a run's geometries to the training data, compared with the model's domain.

    Results have it where the potential has a domain: not for reference methods.
    """

    limit: float = figure("limit of the domain", key="domain_limit")
    """Distance up to which geometries belong to the domain of the model."""
    largest_distance: float = figure(
        "largest distance to the training data", key="domain_largest_distance"
    )
    """Largest distance to the nearest training point, in multiples of the largest
    nearest-neighbour distance within the training set."""
    share_outside: float = figure("share outside the domain", key="domain_share_outside")
    """Share of the geometries that are farther than the limit."""
    left: bool = figure("left the training data", key="domain_left")
    """Whether so many are outside, or so far, that results may be wrong."""
    where: str | None = figure("where outside", key="domain_where", default=None)
    """Which geometries are outside."""
    first_time_ps: float | None = figure(
        "first outside at", "ps", key="domain_first_time_ps", default=None
    )
    """Time of the first frame outside, in ps; None of a path."""
    first_replica: int | None = figure(
        "first outside is replica", key="domain_first_replica", default=None
    )
    """Its replica, walker or window."""
    expected_error_eV_A: float | None = figure(
        "expected force error at the largest distance",
        "eV/A",
        key="domain_expected_error_eV_A",
        default=None,
    )
    """Expected root-mean-square error of the force components at the largest distance, in
    eV/angstrom; a lower bound beyond the distances that were calibrated."""
    unsupported: tuple[str, ...] | None = figure("", key="domain_unsupported", default=None)
    """Results that rest on geometries outside."""
    supported_by_reference: bool | None = figure(
        "supported by the reference", key="domain_supported_by_reference", default=None
    )
    """Whether a reference has confirmed what the training data do not support; None where none
    was asked."""

    @classmethod
    def of_geometries(cls, domain: Domain, distances: np.ndarray, where: str | None) -> Self:
        """Coverage of a few geometries, each of which counts.

        Args:
            domain: of the model.
            distances: (geometries,).
            where: the geometries outside, in words.
        """
        outside = ~domain.contains(distances)
        return cls(
            limit=domain.limit,
            largest_distance=float(distances.max()),
            share_outside=float(outside.mean()),
            left=bool(outside.any()),
            where=where,
            expected_error_eV_A=expected_error(domain, float(distances.max())),
        )

    def is_whole(self) -> bool:
        """Whether the distances are known: not in a damaged results.json."""
        return None not in (self.limit, self.largest_distance, self.share_outside)

    def is_doubtful(self, result: str) -> bool:
        """Whether a result is supported neither by the training data nor by a reference."""
        return result in (self.unsupported or ()) and not self.supported_by_reference

    def note(self, result: str) -> str:
        """What stands after the value of a result: nothing if it is supported."""
        return f" ({NOT_SUPPORTED})" if self.is_doubtful(result) else ""

    def summary(self) -> str:
        """The coverage in one line."""
        if not self.left:
            return f"within the training data (distance {self._reach()})"
        where = "" if self.where is None else f": {self.where}"
        share = f"{100 * self.share_outside:.3g} % outside"
        line = f"LEFT THE TRAINING DATA (distance {self._reach()}; {share}{where})"
        if not self.unsupported:
            return line
        items = _listed(self.unsupported)
        if self.supported_by_reference:
            return f"{line}; {items} supported by the reference"
        if self.supported_by_reference is False:
            return f"{line}; {items} {NOT_SUPPORTED}, nor by the reference"
        return f"{line}; {items} {NOT_SUPPORTED}"

    def warning(self) -> str:
        """One line with advice, for a run that left the training data."""
        error = self.expected_error_eV_A
        wrong = "" if error is None else f", where force components err by {error:.2g} eV/A or more"
        where = "" if self.where is None else f" ({self.where})"
        line = (
            f"{100 * self.share_outside:.3g} % of the geometries are outside the training "
            f"data{where}: "
            f"the largest distance is {self.largest_distance:.2f}, the limit "
            f"{self.limit:.2f}{wrong}"
        )
        if self.unsupported:
            line += f"; {_listed(self.unsupported)} {NOT_SUPPORTED}"
        return f"{line}; label such geometries and train again, or verify with a reference"

    def _reach(self) -> str:
        return f"up to {self.largest_distance:.2f}, limit {self.limit:.2f}"


def outside_of(coverage: Coverage | None, images: Dataset) -> np.ndarray | None:
    """Whether images of a path (images,) are outside, by their tag `distance`; None if unknown."""
    distances = images.tags.get("distance")
    if coverage is None or coverage.limit is None or distances is None:
        return None
    known = np.issubdtype(distances.dtype, np.number)
    return ~(distances <= coverage.limit) if known else None


def left_by(domain: Domain, share_outside: float, largest_distance: float) -> bool:
    """Whether dynamics left a domain, by the share of its frames outside and the farthest one."""
    far = not domain.contains(np.array(largest_distance / TOLERATED_EXCESS))
    return far or share_outside > TOLERATED_SHARE


def expected_error(domain: Domain, distance: float) -> float | None:
    """Expected error of the force components in eV/angstrom at a distance; None if unknown."""
    found = domain.expected_errors(np.array([distance]))
    return None if found is None else float(found[0])


def named_rows(what: str, rows: np.ndarray, count: int) -> str | None:
    """Some of `count` numbered things in words, such as "images 3 to 5, 8 of 11"; None if none.

    Args:
        what: the plural of what they are called.
        rows: (some,) their numbers, ascending.
        count: how many there are.
    """
    if not len(rows):
        return None
    if len(rows) == count:
        return f"all {count} {what}"
    runs = np.split(rows, np.flatnonzero(np.diff(rows) > 1) + 1)
    texts = [f"{run[0]} to {run[-1]}" if len(run) > 1 else str(run[0]) for run in runs]
    shown = texts if len(texts) <= MOST_RUNS else [*texts[:MOST_RUNS], "..."]
    word = what if len(rows) > 1 else what.removesuffix("s")
    return f"{word} {', '.join(shown)} of {count}"


MOST_RUNS = 6
"""Runs of consecutive numbers that are named."""


def _listed(items: Sequence[str]) -> str:
    *first, last = items
    return f"{', '.join(first)} and {last}" if first else last
