"""Search of hyperparameters.

The search is ask and tell: a `Search` proposes the next candidate, its caller trains it and reports
its errors. `Trials` is the caller that trains and validates candidates, with checkpoints.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Final, NamedTuple, cast

import numpy as np
from numpy.random import Generator

from flexcalc.dataset import Dataset
from flexcalc.errors import InputError
from flexcalc.models.facts import ErrorRow, Row, errors_in, joined_row
from flexcalc.models.family import (
    Family,
    GrowingFamily,
    SharingFamily,
    TrainedPotential,
    announce,
    errors,
)
from flexcalc.progress import Progress, silent
from flexcalc.training.checkpoints import NO_CHECKPOINTS, Checkpoints

AS_GOOD = 0.1
"""Force RMSE in kcal/mol/angstrom within which two candidates count as equally good."""

PATIENCE = 2
"""Candidates, or groups of them, in a row that may be worse than the ones before until the rest
are left out."""

MAX_EXTENSIONS = 4
"""Candidates beyond the edge of a grid that are tried while the best one is the outermost."""

FORCE: Final = "force_rmse_kcal_mol_A"
ENERGY: Final = "energy_rmse_kcal_mol"
"""Keys of `ErrorRow`."""


@dataclass(frozen=True, eq=False)
class Judged:
    """A candidate that was judged.

    Args:
        family: the candidate.
        hyperparameters: those in which the candidates differ.
        errors: on the frames that it was judged by; empty without any.
    """

    family: Family
    hyperparameters: Row
    errors: ErrorRow

    @property
    def row(self) -> Row:
        """Its row of the table of candidates."""
        return joined_row(self.hyperparameters, self.errors)


@dataclass(frozen=True, eq=False)
class Trial(Judged):
    """A candidate that was trained.

    Args:
        family, hyperparameters, errors: see `Judged`.
        potential: that it was trained into.
    """

    potential: TrainedPotential


@dataclass(frozen=True, eq=False)
class Choice:
    """The result of a search.

    Args:
        trials: of all candidates that were tried, in this order.
        index: of the best among them.
    """

    trials: list[Trial]
    index: int

    @property
    def potential(self) -> TrainedPotential:
        """The best potential."""
        return self.trials[self.index].potential

    @property
    def family(self) -> Family:
        """The best candidate: the family with the hyperparameters that were chosen."""
        return self.trials[self.index].family

    @property
    def table(self) -> list[Row]:
        """Rows of the candidates: hyperparameters in which they differ, errors in kcal/mol(/A)."""
        return [trial.row for trial in self.trials]

    @property
    def errors(self) -> ErrorRow:
        """Errors of the best candidate on the frames that it was judged by; empty without any."""
        return self.trials[self.index].errors


class Sets(NamedTuple):
    """Frames to train on, and further ones to judge by, or that a family may use."""

    train: Dataset
    validation: Dataset | None


def fit_best(
    family: Family,
    train: Dataset,
    validation: Dataset | None,
    rng: Generator,
    progress: Progress = silent,
    checkpoints: Checkpoints = NO_CHECKPOINTS,
) -> Choice:
    """Train a family's candidates and choose the best on the validation frames.

    Candidates that differ in other fields than the first two do are searched in groups, one
    after another. Within a group they come in the order of their length scale or size; once
    PATIENCE in a row got worse, by more than AS_GOOD in all, the rest of it is not tried. The
    groups, each judged by its best, end by the same rule. While the best is the outermost of a
    grid that can grow, up to MAX_EXTENSIONS further candidates are tried. A best one that still is
    at an edge earns a warning.

    Source: Vassilev-Galindo et al., J. Chem. Phys. 154, 094119 (2021), section II.

    Args:
        family: its `candidates()` are tried.
        train: frames to train on.
        validation: frames to judge by; None only where there is nothing to choose.
        rng: seeds the training; candidates from checkpoints change nothing for the others.
        progress: called with the steps of all candidates and the best force RMSE so far.
        checkpoints: what an earlier search with the same arguments had finished.

    Raises:
        InputError: there are candidates to choose from and no validation frames.
    """
    trials = Trials(family, validation, checkpoints, progress)
    trials.run(train, validation, rng)
    choice = trials.choice()
    announce(choice.potential)
    return choice


def best_row(table: Sequence[Mapping[str, Any]], share: float = np.inf) -> int:
    """Index of the row with the lowest energy RMSE of those with force RMSEs as good as the best.

    As good means within AS_GOOD, and within a share of the best; source: see `fit_best`. Without
    energies the force decides.
    """
    judge = ENERGY if ENERGY in table[0] else FORCE
    best = min(row[FORCE] for row in table)
    bound = best + min(AS_GOOD, share * best)
    good = [index for index, row in enumerate(table) if row[FORCE] <= bound]
    return min(good, key=lambda index: table[index][judge])


class Search[T: Judged]:
    """Proposes the next candidate of a family: ask for one, train it, tell its errors.

    Args:
        family: its `candidates()` are tried, as `fit_best` says.
        judged: whether there are frames to judge by; needed where there is a choice.
        share: see `best_row`.

    Raises:
        InputError: there are candidates to choose from and no frames to judge by.
    """

    def __init__(self, family: Family, *, judged: bool = True, share: float = np.inf):
        self.family, self.judged, self.share = family, judged, share
        self.candidates = list(family.candidates())
        if not judged and len(self.candidates) > 1:
            raise InputError(
                f"{family.name}: no validation frames to choose between {len(self.candidates)} "
                "candidates; keep some frames out of the training, or set the hyperparameters"
            )
        self.groups = _groups(self.candidates)
        self.trials: list[T] = []

    def ask(self) -> Family | None:
        """The next candidate, given the errors so far; None at the end of the search."""
        told = iter(self.trials)
        if not self.judged:
            return None if self.trials else self.candidates[0]
        bests: list[float] = []
        for group in self.groups:
            forces: list[float] = []
            for candidate in group:
                trial = next(told, None)
                if trial is None:
                    return candidate
                forces.append(trial.errors[FORCE])
                if _is_worsening(forces):
                    break
            bests.append(min(forces))
            if _is_worsening(bests):
                break
        if len(list(told)) == MAX_EXTENSIONS:
            return None
        further = self._extension(self.trials[self.best].family)
        return None if further is None or self.is_tried(further) else further

    def tell(self, trial: T) -> None:
        """Take note of a candidate that was trained; it need not have been asked for."""
        self.trials.append(trial)

    @property
    def best(self) -> int:
        """Index of the best of the candidates tried."""
        if not self.judged:
            return 0
        return best_row([trial.errors for trial in self.trials], self.share)

    def is_at_edge(self, candidate: Family) -> bool:
        """Whether nothing was tried on one side of a candidate, and something could be."""
        further = self._extension(candidate)
        if further is not None:
            return not self.is_tried(further)
        ends = [end for group in self.groups if len(group) > 2 for end in (group[0], group[-1])]
        return candidate in ends

    def is_tried(self, candidate: Family) -> bool:
        """Whether a candidate was tried."""
        return candidate in [trial.family for trial in self.trials]

    def hyperparameters(self, candidate: Family) -> Row:
        """The fields of a candidate in which the candidates differ; all if there is but one."""
        values = asdict(cast(Any, candidate))
        return {key: values[key] for key in _differing(self.candidates)}

    def _extension(self, candidate: Family) -> Family | None:
        """The one beyond a candidate where that is the outermost and the grid can grow."""
        if not isinstance(self.family, GrowingFamily):
            return None
        return self.family.extend_grid(cast(GrowingFamily, candidate))


class Trials:
    """Trains the candidates of a search and judges them.

    Args:
        family: see `Search`.
        validation: frames to judge by; None only where there is nothing to choose.
        checkpoints, progress: see `fit_best`.

    Raises:
        InputError: see `Search`.
    """

    def __init__(
        self,
        family: Family,
        validation: Dataset | None,
        checkpoints: Checkpoints,
        progress: Progress,
    ):
        self.validation = validation if validation is not None and len(validation) else None
        self.search: Search[Trial] = Search(family, judged=self.validation is not None)
        self.checkpoints = checkpoints
        self.progress = _Counter(len(self.search.candidates), progress)

    def run(self, train: Dataset, others: Dataset | None, rng: Generator) -> None:
        """Train and judge candidates until the search ends.

        Args:
            train: frames to train on.
            others: what `Family.fit` may use; need not be what the candidates are judged by.
            rng: every candidate draws from the same seed, so that none depends on those before.
        """
        fit = self._fitter(train, others, rng)
        while (candidate := self.search.ask()) is not None:
            self._try(candidate, fit)

    def add(
        self,
        candidates: Iterable[Family],
        train: Dataset,
        others: Dataset | None,
        rng: Generator,
    ) -> None:
        """Train and judge further candidates, which the search did not ask for; see `run`."""
        fit = self._fitter(train, others, rng)
        for candidate in candidates:
            self._try(candidate, fit)

    def choice(self) -> Choice:
        """The best of the candidates tried; its warnings are in its facts."""
        search = self.search
        chosen = Choice(search.trials, search.best)
        if search.judged and search.is_at_edge(chosen.family):
            best = search.trials[search.best]
            note_edge(chosen.potential, best.hyperparameters, len(search.trials))
        return chosen

    def _try(self, candidate: Family, fit: Callable[[Family], TrainedPotential]) -> None:
        """Train and judge one candidate, or take it from the checkpoints."""
        step = f"candidate-{len(self.search.trials):03d}"
        row = self.checkpoints.load(step)
        if row is None:
            potential = fit(candidate)
            found: ErrorRow = {}
            if self.validation is not None:
                found = errors(potential(self.validation.positions), self.validation)
            trial = Trial(candidate, self.search.hyperparameters(candidate), found, potential)
            self.checkpoints.save(step, trial.row, potential)
        else:
            potential = self.checkpoints.load_potential(step, self.search.family)
            found = errors_in(row)
            others = {key: value for key, value in row.items() if key not in found}
            trial = Trial(candidate, others, found, potential)
        self.search.tell(trial)
        if self.validation is not None:
            self.progress.count([trial.errors for trial in self.search.trials])

    def _fitter(
        self, train: Dataset, others: Dataset | None, rng: Generator
    ) -> Callable[[Family], TrainedPotential]:
        """Trains one candidate after the other; shared work is done with the first of them."""
        family, seed = self.search.family, int(rng.integers(2**62))
        progress, folder = self.progress, self.checkpoints.folder
        if isinstance(family, SharingFamily):
            return _Shared(family, train, others, seed, progress, folder)
        return lambda candidate: candidate.fit(train, others, np.random.default_rng(seed), progress)


class _Shared:
    """Trains candidates that share work, which begins when the first of them is to be trained."""

    def __init__(
        self,
        family: SharingFamily,
        train: Dataset,
        others: Dataset | None,
        seed: int,
        progress: Progress,
        folder: Path | None,
    ):
        rng = np.random.default_rng(seed)
        self.begin = lambda: family.session(train, others, rng, progress, folder)
        self.session: Any = None

    def __call__(self, candidate: Family) -> TrainedPotential:
        if self.session is None:
            self.session = self.begin()
        return self.session.fit(candidate)


class _Counter:
    """Progress of one candidate as progress of all."""

    def __init__(self, candidates: int, progress: Progress):
        self.candidates, self.progress = candidates, progress
        self.done, self.best = 0, ""

    def __call__(self, done: int, total: int, note: str = "") -> None:
        self.candidates = max(self.candidates, self.done + 1)
        self.progress(self.done * total + done, self.candidates * total, self.best or note)

    def count(self, table: Sequence[ErrorRow]) -> None:
        """Take note of the candidates that were judged."""
        self.done = len(table)
        best = min(row[FORCE] for row in table)
        self.best = f"force RMSE {best:.2f} kcal/mol/A"


def _differing(candidates: Sequence[Any]) -> list[str]:
    """The fields in which candidates differ; all if there is but one."""
    fields = [asdict(candidate) for candidate in candidates]
    if len(fields) == 1:
        return list(fields[0])
    return [key for key in fields[0] if any(other[key] != fields[0][key] for other in fields)]


def _groups(candidates: Sequence[Family]) -> list[list[Family]]:
    """Candidates that are alike in all but the fields in which the first two differ."""
    swept = set(_differing(candidates[:2])) if len(candidates) > 1 else set()
    groups: list[tuple[Row, list[Family]]] = []
    for candidate in candidates:
        fields = asdict(cast(Any, candidate))
        kept = {key: value for key, value in fields.items() if key not in swept}
        members = next((group for other, group in groups if other == kept), None)
        if members is None:
            groups.append((kept, [candidate]))
        else:
            members.append(candidate)
    return [group for _, group in groups]


def _is_worsening(forces: Sequence[float]) -> bool:
    last = forces[-PATIENCE - 1 :]
    rising = all(after > before for before, after in pairwise(last))
    return len(last) > PATIENCE and rising and forces[-1] > min(forces) + AS_GOOD


def note_edge(potential: TrainedPotential, hyperparameters: Row, candidates: int) -> None:
    """Add to a potential's warnings that better hyperparameters may lie beyond its own."""
    fields = [f"{key} = {value}" for key, value in hyperparameters.items()]
    note = (
        f"the best of {candidates} candidates, {', '.join(fields)}, is at the edge of the search "
        "grid; a better one may lie beyond"
    )
    potential.facts["warnings"] = [*potential.facts.get("warnings", ()), note]
