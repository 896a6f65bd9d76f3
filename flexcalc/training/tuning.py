"""Which hyperparameters to take."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from itertools import pairwise
from typing import Any, cast

from numpy.random import Generator

from flexcalc.dataset import Dataset
from flexcalc.errors import InputError
from flexcalc.models.family import Family, SharingFamily, TrainedPotential, announce, errors
from flexcalc.progress import Progress, silent

AS_GOOD = 0.1
"""Force RMSE in kcal/mol/angstrom within which two candidates count as equally good."""

PATIENCE = 2
"""Candidates in a row that may be worse than the ones before until the rest are left out."""

FORCE, ENERGY = RESULTS = ("force_rmse_kcal_mol_A", "energy_rmse_kcal_mol")


def fit_best(
    family: Family,
    train: Dataset,
    validation: Dataset | None,
    rng: Generator,
    progress: Progress = silent,
) -> tuple[TrainedPotential, list[dict[str, Any]]]:
    """Train a family's candidates and keep the best on the validation frames.

    Among the candidates whose force RMSE lies within AS_GOOD of the lowest, the one with the
    lowest energy RMSE is taken. Candidates come in the order of their length scale or size;
    once PATIENCE in a row got worse, by more than AS_GOOD in all, the rest is not tried. The
    best at an edge of what was on offer earns a warning.

    Source: Vassilev-Galindo et al., J. Chem. Phys. 154, 094119 (2021), section II.

    Args:
        family: its `candidates()` are tried.
        train: frames to train on.
        validation: frames to judge by; None only where there is nothing to choose.
        rng: handed to the training.
        progress: told the steps of all candidates and the best force RMSE so far.

    Returns:
        the potential, and a table with a row for each candidate tried: the hyperparameters in
        which they differ and their errors on the validation frames.

    Raises:
        InputError: there are candidates to choose from and no validation frames.
    """
    candidates = family.candidates()
    judged = validation is not None and len(validation) > 0
    if not judged and len(candidates) > 1:
        raise InputError(
            f"{family.name}: no validation frames to choose between {len(candidates)} candidates; "
            "keep some frames out of the training, or set the hyperparameters"
        )
    counter = _Counter(len(candidates), progress)
    trained: list[TrainedPotential] = []
    table: list[dict[str, Any]] = []
    for potential in _train(family, candidates, train, validation, rng, counter):
        row = _choices(candidates, len(trained))
        if judged and validation is not None:
            row |= errors(potential(validation.positions), validation)
            counter.judged([*table, row])
        trained.append(potential)
        table.append(row)
        if judged and _worsening([row[FORCE] for row in table]):
            break
    best = _best(table) if judged else 0
    _warn_at_edge(trained[best], table, best, len(candidates))
    announce(trained[best])
    return trained[best], table


class _Counter:
    """Progress of one candidate as progress of all."""

    def __init__(self, candidates: int, progress: Progress):
        self.candidates, self.progress = candidates, progress
        self.done, self.best = 0, ""

    def __call__(self, done: int, total: int, note: str = "") -> None:
        self.progress(self.done * total + done, self.candidates * total, self.best or note)

    def judged(self, table: Sequence[dict[str, Any]]) -> None:
        self.done = len(table)
        best = min(row[FORCE] for row in table)
        self.best = f"force RMSE {best:.2f} kcal/mol/A"


def _train(
    family: Family,
    candidates: Sequence[Family],
    train: Dataset,
    validation: Dataset | None,
    rng: Generator,
    progress: Progress,
) -> Iterator[TrainedPotential]:
    if isinstance(family, SharingFamily):
        shared = cast(Sequence[SharingFamily], candidates)
        yield from family.fit_many(shared, train, validation, rng, progress)
        return
    for candidate in candidates:
        yield candidate.fit(train, validation, rng, progress)


def _choices(candidates: Sequence[Any], index: int) -> dict[str, Any]:
    """The fields in which a candidate differs from another one; all if there is but one."""
    fields = [asdict(candidate) for candidate in candidates]
    mine = fields[index]
    if len(fields) == 1:
        return mine
    return {key: mine[key] for key in mine if any(other[key] != mine[key] for other in fields)}


def _worsening(forces: Sequence[float]) -> bool:
    last = forces[-PATIENCE - 1 :]
    rising = all(after > before for before, after in pairwise(last))
    return len(last) > PATIENCE and rising and forces[-1] > min(forces) + AS_GOOD


def _best(table: Sequence[dict[str, Any]]) -> int:
    bound = min(row[FORCE] for row in table) + AS_GOOD
    good = [index for index, row in enumerate(table) if row[FORCE] <= bound]
    return min(good, key=lambda index: table[index][ENERGY])


def _warn_at_edge(
    potential: TrainedPotential, table: Sequence[dict[str, Any]], best: int, candidates: int
) -> None:
    """Note that better hyperparameters may lie beyond the ones on offer."""
    if candidates < 3 or best not in (0, candidates - 1):
        return
    chosen = [f"{key} = {value}" for key, value in table[best].items() if key not in RESULTS]
    note = (
        f"the best of {candidates} candidates, {', '.join(chosen)}, is at the edge of what was on "
        "offer; a better one may lie beyond"
    )
    potential.facts["warnings"] = [*potential.facts.get("warnings", ()), note]
