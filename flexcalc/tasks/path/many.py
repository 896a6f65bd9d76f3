"""Several paths in one batch of the potential, each with its own stages and its own convergence."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import combinations

from flexcalc import files
from flexcalc.config.paths import PathSearch
from flexcalc.dataset import Dataset
from flexcalc.errors import FlexcalcError, InputError
from flexcalc.fields import GeometryLike
from flexcalc.parallel.turns import in_one_batch
from flexcalc.potential import Potential, check_molecule
from flexcalc.registry import name_of
from flexcalc.results.evaluations import added
from flexcalc.results.path import Path
from flexcalc.results.paths import END, ERROR, PATHS, START, Paths, path_name
from flexcalc.store import FlexcalcWarning, Store
from flexcalc.tasks.coverage import warn_of
from flexcalc.tasks.molecule import electrons_of, following, source_of
from flexcalc.tasks.path.job import PathJob, open_job, open_potentials

FIGURES = "figures.json"
"""The figures of a path that is finished, which a resumed run reads."""

Search = Callable[[PathJob, Store], Path]
"""Searches one path and goes through its stages."""


@dataclass(frozen=True, eq=False)
class Pair:
    """The ends of a path.

    Args:
        start: first geometry, one frame.
        end: last geometry, one frame.
        numbers: of both, among the starts and the ends that were given.
    """

    start: Dataset
    end: Dataset
    numbers: tuple[int, int]


def many_paths(options: PathSearch, store: Store, search: Search) -> Paths:
    """Search all paths that the options ask for; keeps each in a part of the store of its own.

    A search that fails, as where its reference does not converge, ends alone, with a warning.

    Raises:
        InputError: the geometries do not go together, or an option is for one path alone.
        FlexcalcError: all searches fail; it is the error of the first.
    """
    pairs = read_pairs(options)
    first = pairs[0].start
    options = following(options, electrons_of(first))
    opened = open_potentials(options, first.numbers)
    one = replace(options, starts=(), ends=())
    jobs = [open_job(replace(one, start=pair.start, end=pair.end), opened) for pair in pairs]
    known = store.begin(options)
    if known is not None:
        return Paths.from_dict(known, store)
    kept = opened.remembered(store)
    found = search_paths([job.on(kept) for job in jobs], store, search)
    failed = {number: one for number, one in enumerate(found) if isinstance(one, FlexcalcError)}
    warnings = tuple(
        f"path {number}, {' to '.join(map(str, pairs[number].numbers))}, failed: {error}"
        for number, error in failed.items()
    )
    for text in warnings:
        store.warn(text)
    if len(failed) == len(found):
        raise failed[0]
    rows = [
        {START: pair.numbers[0], END: pair.numbers[1]}
        | ({ERROR: str(path)} if isinstance(path, FlexcalcError) else path.to_dict())
        for pair, path in zip(pairs, found, strict=True)
    ]
    store.put(PATHS, rows)
    paths = [path for path in found if isinstance(path, Path)]
    return Paths(
        store=store,
        model=name_of(options.model),
        warnings=warnings,
        isotopes=next((path.isotopes for path in paths), None),
        path_count=len(found),
        converged_count=sum(path.converged for path in paths),
        failed_count=len(failed),
        evaluations=added(
            path.all_evaluations if isinstance(path, Path) else job.tally.found()
            for job, path in zip(jobs, found, strict=True)
        ),
    )


def search_paths(
    jobs: Sequence[PathJob], store: Store, search: Search
) -> list[Path | FlexcalcError]:
    """Search paths of one molecule on one potential, in one batch.

    Every phase of every path, from the relaxation of its ends to the descent from its saddle, asks
    for its geometries together with the other paths; a path that is finished leaves the batch.

    Args:
        jobs: the searches, opened with the same potential.
        store: keeps each path in a part of its own, and reads those that are finished.
        search: of one path.

    Returns:
        The paths, or the errors of flexcalc's that their searches ended with.
    """

    def work(number: int, shared: Potential) -> Path:
        inner = _part(store, number)
        known = inner.get(FIGURES)
        if known is not None:
            return Path.from_dict(known, inner)
        job = jobs[number]
        atom_map = job.fitting.said(inner)
        found = replace(search(replace(job, shared=shared), inner), atom_map=atom_map)
        warn_of(inner, found.coverage)
        inner.put(FIGURES, found.to_dict())
        return found

    with store.bar("paths") as progress:
        works = [partial(work, number) for number in range(len(jobs))]
        return in_one_batch(jobs[0].potential, works, progress)


def _part(store: Store, number: int) -> Store:
    """The part of the store of one path, which shows no progress and says which path it is."""
    inner = store.within(path_name(number))
    inner.progress = False

    def say(line: str) -> None:
        store.say(f"path {number}: {line}")

    def warn(text: str, category: type[Warning] = FlexcalcWarning) -> None:
        store.warn(f"path {number}: {text}", category)

    inner.say, inner.warn = say, warn  # type: ignore[method-assign]
    return inner


def read_pairs(options: PathSearch) -> list[Pair]:
    """Read the ends of several paths.

    Raises:
        InputError: there are not as many last geometries as first ones, or they are of different
            molecules, or an option is for one path alone.
    """
    for name in ("start", "end"):
        if getattr(options, name) is not None:
            raise InputError(f"{name}: for one path; expected starts and ends alone for several")
    if options.refine:
        raise InputError("refine: for one path, not for several starts")
    starts, ends = (_frames(name, getattr(options, name)) for name in ("starts", "ends"))
    if not ends and len(starts) < 2:
        raise InputError(f"starts: expected at least two geometries, or ends, got {len(starts)}")
    if ends and len(ends) != len(starts):
        raise InputError(
            f"ends: expected as many geometries as starts have, {len(starts)}, got {len(ends)}"
        )
    for frame in (*starts, *ends):
        check_molecule(starts[0].numbers, frame.numbers, source_of(frame))
    if ends:
        together = zip(starts, ends, strict=True)
        return [Pair(*both, (number, number)) for number, both in enumerate(together)]
    every = combinations(range(len(starts)), 2)
    return [Pair(starts[i], starts[j], (i, j)) for i, j in every]


def _frames(name: str, given: Sequence[GeometryLike]) -> list[Dataset]:
    """All frames of files and objects, each on its own."""
    found = []
    for entry in given:
        data = files.read(entry)
        found += [data[row : row + 1] for row in range(len(data))]
    if given and not found:
        raise InputError(f"{name}: expected geometries, got none")
    return found
