"""Which hyperparameters to take."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import chain, pairwise
from typing import Any, cast

import numpy as np
from numpy.random import Generator

from flexcalc.dataset import Dataset
from flexcalc.errors import InputError
from flexcalc.models.family import (
    Family,
    GrowingFamily,
    SharingFamily,
    TrainedPotential,
    announce,
    errors,
)
from flexcalc.progress import Progress, silent
from flexcalc.training.memory import NOTHING, Memory

AS_GOOD = 0.1
"""Force RMSE in kcal/mol/angstrom within which two candidates count as equally good."""

PATIENCE = 2
"""Candidates, or groups of them, in a row that may be worse than the ones before until the rest
are left out."""

MOST_BEYOND = 4
"""Candidates beyond the edge of a grid that are tried while the best one is the outermost."""

FORCE, ENERGY = ("force_rmse_kcal_mol_A", "energy_rmse_kcal_mol")


@dataclass(frozen=True, eq=False)
class Tried:
    """A candidate, its row of the table and what it was trained into."""

    family: Family
    row: dict[str, Any]
    potential: TrainedPotential


@dataclass(frozen=True, eq=False)
class Choice:
    """What came of a search.

    Args:
        tried: the candidates tried, in the order of the trials.
        index: of the best among them.
    """

    tried: list[Tried]
    index: int

    @property
    def potential(self) -> TrainedPotential:
        """The best potential."""
        return self.tried[self.index].potential

    @property
    def family(self) -> Family:
        """The best candidate: the family with the hyperparameters that were chosen."""
        return self.tried[self.index].family

    @property
    def table(self) -> list[dict[str, Any]]:
        """Rows of the candidates: hyperparameters in which they differ, errors in kcal/mol(/A)."""
        return [one.row for one in self.tried]


def fit_best(
    family: Family,
    train: Dataset,
    validation: Dataset | None,
    rng: Generator,
    progress: Progress = silent,
    memory: Memory = NOTHING,
) -> Choice:
    """Train a family's candidates and choose the best on the validation frames.

    Candidates that differ in other fields than the first two do are searched in groups, one
    after another. Within a group they come in the order of their length scale or size; once
    PATIENCE in a row got worse, by more than AS_GOOD in all, the rest of it is not tried. The
    groups, each judged by its best, end by the same rule. While the best is the outermost of a
    grid that can grow, up to MOST_BEYOND further candidates are tried. A best one that still is
    at an edge earns a warning.

    Source: Vassilev-Galindo et al., J. Chem. Phys. 154, 094119 (2021), section II.

    Args:
        family: its `candidates()` are tried.
        train: frames to train on.
        validation: frames to judge by; None only where there is nothing to choose.
        rng: seeds the training; candidates that are remembered change nothing for the others.
        progress: told the steps of all candidates and the best force RMSE so far.
        memory: what an earlier search with the same arguments had finished.

    Raises:
        InputError: there are candidates to choose from and no validation frames.
    """
    search = Search(family, validation, memory, progress)
    search.run(train, validation, rng)
    choice = search.choice()
    announce(choice.potential)
    return choice


def best_row(table: Sequence[dict[str, Any]]) -> int:
    """Index of the row with the lowest energy RMSE of those with force RMSEs as good as the best.

    As good means within AS_GOOD; source: see `fit_best`. Without energies the force decides.
    """
    judge = ENERGY if ENERGY in table[0] else FORCE
    bound = min(row[FORCE] for row in table) + AS_GOOD
    good = [index for index, row in enumerate(table) if row[FORCE] <= bound]
    return min(good, key=lambda index: table[index][judge])


class Search:
    """The trials of a family's candidates; which comes next depends on how the last ones did.

    Args:
        family: its `candidates()` are tried, as `fit_best` says.
        judged: frames to judge by; None only where there is nothing to choose.
        memory, progress: see `fit_best`.

    Raises:
        InputError: there are candidates to choose from and no frames to judge by.
    """

    def __init__(self, family: Family, judged: Dataset | None, memory: Memory, progress: Progress):
        self.family, self.memory = family, memory
        self.judged = judged if judged is not None and len(judged) else None
        self.candidates = list(family.candidates())
        if self.judged is None and len(self.candidates) > 1:
            raise InputError(
                f"{family.name}: no validation frames to choose between {len(self.candidates)} "
                "candidates; keep some frames out of the training, or set the hyperparameters"
            )
        self.fields = _differing(self.candidates)
        self.groups = _groups(self.candidates)
        self.tried: list[Tried] = []
        self.current = self.candidates[0]
        self.progress = _Counter(len(self.candidates), progress)

    def run(
        self,
        train: Dataset,
        validation: Dataset | None,
        rng: Generator,
        candidates: Iterable[Family] | None = None,
    ) -> None:
        """Train and judge candidates: by default the family's, as far as they are promising.

        Those remembered are taken as they are.

        `validation` is what `Family.fit` may use; it need not be what the candidates are judged
        by. Every candidate draws from the same seed, so that none depends on what was done before.
        """
        seed = int(rng.integers(2**62))
        waiting = self._unknown(self._ahead() if candidates is None else candidates)
        first = next(waiting, None)
        if first is None:
            return
        for potential in _train(
            self.family, chain([first], waiting), train, validation, seed, self
        ):
            row = self._row(self.current)
            if self.judged is not None:
                row |= errors(potential(self.judged.positions), self.judged)
            self.memory.remember(self._step(), row, potential)
            self._add(row, potential)

    def choice(self) -> Choice:
        """The best of the candidates tried; its warnings are in its facts."""
        best = self._best() if self.judged is not None else 0
        chosen = Choice(self.tried, best)
        if self.judged is not None and self.at_edge(chosen.family):
            note_edge(chosen.potential, chosen.table[best], len(self.tried))
        return chosen

    def _unknown(self, candidates: Iterable[Family]) -> Iterator[Family]:
        """The candidates to be trained; each is asked for when the one before is judged."""
        for candidate in candidates:
            self.current = candidate
            row = self.memory.recall(self._step())
            if row is None:
                yield candidate
            else:
                self._add(row, self.memory.potential(self._step(), self.family))

    def _ahead(self) -> Iterator[Family]:
        if self.judged is None:
            yield from self.candidates  # there is but one
            return
        bests: list[float] = []
        for group in self.groups:
            forces: list[float] = []
            for candidate in group:
                yield candidate
                forces.append(self.tried[-1].row[FORCE])
                if _worsening(forces):
                    break
            bests.append(min(forces))
            if _worsening(bests):
                break
        for _ in range(MOST_BEYOND):
            further = self._beyond(self.tried[self._best()].family)
            if further is None or self.knows(further):
                return
            yield further

    def _beyond(self, candidate: Family) -> Family | None:
        """The one beyond a candidate where that is the outermost and the grid can grow."""
        if not isinstance(self.family, GrowingFamily):
            return None
        return self.family.beyond(cast(GrowingFamily, candidate))

    def at_edge(self, candidate: Family) -> bool:
        """Whether nothing was tried on one side of a candidate, and something could be."""
        further = self._beyond(candidate)
        if further is not None:
            return not self.knows(further)
        ends = [end for group in self.groups if len(group) > 2 for end in (group[0], group[-1])]
        return candidate in ends

    def knows(self, candidate: Family) -> bool:
        """Whether a candidate was tried."""
        return candidate in [one.family for one in self.tried]

    def _best(self) -> int:
        return best_row([one.row for one in self.tried])

    def _step(self) -> str:
        return f"candidate-{len(self.tried):03d}"

    def _row(self, candidate: Family) -> dict[str, Any]:
        mine = asdict(cast(Any, candidate))
        return {key: mine[key] for key in self.fields}

    def _add(self, row: dict[str, Any], potential: TrainedPotential) -> None:
        self.tried.append(Tried(self.current, row, potential))
        if self.judged is not None:
            self.progress.judged([one.row for one in self.tried])


class _Counter:
    """Progress of one candidate as progress of all."""

    def __init__(self, candidates: int, progress: Progress):
        self.candidates, self.progress = candidates, progress
        self.done, self.best = 0, ""

    def __call__(self, done: int, total: int, note: str = "") -> None:
        self.candidates = max(self.candidates, self.done + 1)
        self.progress(self.done * total + done, self.candidates * total, self.best or note)

    def judged(self, table: Sequence[dict[str, Any]]) -> None:
        self.done = len(table)
        best = min(row[FORCE] for row in table)
        self.best = f"force RMSE {best:.2f} kcal/mol/A"


def _train(
    family: Family,
    candidates: Iterator[Family],
    train: Dataset,
    validation: Dataset | None,
    seed: int,
    search: Search,
) -> Iterator[TrainedPotential]:
    progress, folder = search.progress, search.memory.scratch
    if isinstance(family, SharingFamily):
        shared = cast(Iterator[SharingFamily], candidates)
        rng = np.random.default_rng(seed)
        yield from family.fit_many(shared, train, validation, rng, progress, folder)
        return
    for candidate in candidates:
        yield candidate.fit(train, validation, np.random.default_rng(seed), progress)


def _differing(candidates: Sequence[Any]) -> list[str]:
    """The fields in which candidates differ; all if there is but one."""
    fields = [asdict(candidate) for candidate in candidates]
    if len(fields) == 1:
        return list(fields[0])
    return [key for key in fields[0] if any(other[key] != fields[0][key] for other in fields)]


def _groups(candidates: Sequence[Family]) -> list[list[Family]]:
    """Candidates that are alike in all but the fields in which the first two differ."""
    swept = set(_differing(candidates[:2])) if len(candidates) > 1 else set()
    groups: list[tuple[dict[str, Any], list[Family]]] = []
    for candidate in candidates:
        fields = asdict(cast(Any, candidate))
        kept = {key: value for key, value in fields.items() if key not in swept}
        members = next((group for other, group in groups if other == kept), None)
        if members is None:
            groups.append((kept, [candidate]))
        else:
            members.append(candidate)
    return [group for _, group in groups]


def _worsening(forces: Sequence[float]) -> bool:
    last = forces[-PATIENCE - 1 :]
    rising = all(after > before for before, after in pairwise(last))
    return len(last) > PATIENCE and rising and forces[-1] > min(forces) + AS_GOOD


def note_edge(potential: TrainedPotential, row: dict[str, Any], candidates: int) -> None:
    """Add to a potential's warnings that better hyperparameters may lie beyond its own."""
    fields = [f"{key} = {value}" for key, value in row.items() if "_rmse_" not in key]
    note = (
        f"the best of {candidates} candidates, {', '.join(fields)}, is at the edge of what was on "
        "offer; a better one may lie beyond"
    )
    potential.facts["warnings"] = [*potential.facts.get("warnings", ()), note]
