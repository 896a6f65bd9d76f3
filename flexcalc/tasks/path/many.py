"""Several paths at once, in batches of the potential, each with its own stages and convergence."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import combinations
from pathlib import Path as FilePath
from typing import Any, cast

from flexcalc import files
from flexcalc.config.paths import PathSearch
from flexcalc.dataset import Dataset
from flexcalc.errors import FlexcalcError, InputError
from flexcalc.fields import GeometryLike
from flexcalc.parallel.batches import do_shares
from flexcalc.parallel.turns import in_one_batch
from flexcalc.potential import Potential, check_molecule
from flexcalc.registry import name_of
from flexcalc.results.evaluations import Evaluations, added
from flexcalc.results.path import Path
from flexcalc.results.paths import END, ERROR, PATHS, START, Paths, path_name
from flexcalc.store import FlexcalcWarning, FolderStore, Store
from flexcalc.tasks.coverage import warn_of
from flexcalc.tasks.molecule import electrons_of, following, source_of
from flexcalc.tasks.path.job import PathJob, open_job, open_potentials
from flexcalc.tasks.tally import Tally
from flexcalc.threads import cores

FEWEST_IN_A_BATCH = 4
"""Paths of a batch at least, where there is one for each core."""
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
    """Search paths of one molecule on one potential, in one batch, or one for each core.

    Every phase of every path, from the relaxation of its ends to the descent from its saddle, asks
    for its geometries together with the other paths of the batch; a path that is finished leaves
    it.

    Args:
        jobs: the searches, opened with the same potential.
        store: keeps each path in a part of its own, and reads those that are finished.
        search: of one path, a function of a module.

    Returns:
        The paths, or the errors of flexcalc's that their searches ended with.
    """
    folder = store.folder if isinstance(store, FolderStore) else None
    shares = [_Share(dict(some), folder, search) for some in _shared_out(list(enumerate(jobs)))]
    ended = dict.fromkeys(range(len(shares)), 0)
    with store.bar("paths") as progress:

        def told(message: _Said | _Warned | _Ended) -> None:
            match message:
                case _Said(line):
                    store.say(line)
                case _Warned(text, category):
                    store.warn(text, category)
                case _Ended(first, count):
                    ended[first] = count
                    done = sum(ended.values())
                    progress(done, len(jobs), f"{len(jobs) - done} searches go on")

        found = do_shares(shares, told)
    every = {number: one for share in found for number, one in share.items()}
    return [
        every[number].path(job, store.within(path_name(number))) for number, job in enumerate(jobs)
    ]


def _shared_out(jobs: list[tuple[int, PathJob]]) -> list[list[tuple[int, PathJob]]]:
    """The jobs of each batch: one for each core where a batch is as fast on one of them.

    A network or a reference has its own threads or processes; of a kernel's model each core
    evaluates small batches as well as large ones.
    """
    first = jobs[0][1]
    apart = getattr(first.potential, "single_core", False) and first.reference is None
    count = max(1, min(cores(), len(jobs) // FEWEST_IN_A_BATCH)) if apart else 1
    return [jobs[number::count] for number in range(count)]


@dataclass(frozen=True)
class _Said:
    """A line of a share."""

    line: str


@dataclass(frozen=True)
class _Warned:
    """A warning of a share."""

    text: str
    category: type[Warning]


@dataclass(frozen=True)
class _Ended:
    """How many searches of a share, which has the number `first` among them, have ended."""

    first: int
    count: int


_Message = _Said | _Warned | _Ended
_Tell = Callable[[_Message], None]


@dataclass(frozen=True, eq=False)
class _Found:
    """What a share knows of a path, as it is sent to the process that asked for it.

    Args:
        figures: of the path; None where its search has failed,
        error: that ended it,
        spent: and the evaluations until then.
        kept: what its store holds, if that is in memory.
    """

    figures: dict[str, Any] | None
    error: FlexcalcError | None
    spent: Evaluations | None
    kept: dict[str, Any]

    def path(self, job: PathJob, store: Store) -> Path | FlexcalcError:
        """The path, kept in the store of its own, or the error."""
        store.kept.update(self.kept)
        if self.figures is not None:
            return Path.from_dict(self.figures, store)
        job.tally.include(self.spent)
        return cast(FlexcalcError, self.error)


@dataclass(frozen=True, eq=False)
class _Share:
    """The searches of one batch.

    Args:
        jobs: by the number of the path.
        folder: that keeps them; None for memory.
        search: of one path.
    """

    jobs: dict[int, PathJob]
    folder: FilePath | None
    search: Search

    def __call__(self, tell: _Tell) -> dict[int, _Found]:
        """Search the paths; returns what is known of each."""
        with _store_of(self.folder, tell) as store:
            inners = {number: _part(store, number) for number in self.jobs}
            # Counted apart in any process: `_Found.path` adds what a failed search has spent.
            jobs = {number: replace(job, tally=Tally()) for number, job in self.jobs.items()}
            works = [partial(self._figures, jobs[number], inners[number]) for number in jobs]
            first = min(jobs)

            def progress(done: int, total: int, note: str = "") -> None:
                tell(_Ended(first, done))

            found = in_one_batch(jobs[first].potential, works, progress)
            return {
                number: self._found(jobs[number], one, inners[number])
                for number, one in zip(jobs, found, strict=True)
            }

    def _figures(self, job: PathJob, inner: Store, shared: Potential) -> dict[str, Any]:
        """The figures of a path, which is searched unless it is finished."""
        known = inner.get(FIGURES)
        if known is not None:
            return dict(known)
        atom_map = job.fitting.said(inner)
        path = replace(self.search(replace(job, shared=shared), inner), atom_map=atom_map)
        warn_of(inner, path.coverage)
        figures = dict(path.to_dict())
        inner.put(FIGURES, figures)
        return figures

    def _found(self, job: PathJob, found: dict[str, Any] | FlexcalcError, inner: Store) -> _Found:
        kept = {} if self.folder else _content(inner)
        if isinstance(found, FlexcalcError):
            return _Found(None, found, job.tally.found(), kept)
        return _Found(found, None, None, kept)


def _store_of(folder: FilePath | None, tell: _Tell) -> Store:
    """The store of a share, whose lines and warnings are told."""
    store = Store() if folder is None else FolderStore(folder)

    def warn(text: str, category: type[Warning] = FlexcalcWarning) -> None:
        tell(_Warned(text, category))

    return _saying(store, lambda line: tell(_Said(line)), warn)


def _part(store: Store, number: int) -> Store:
    """The part of the store of one path, which shows no progress and says which path it is."""
    inner = store.within(path_name(number))
    inner.progress = False

    def warn(text: str, category: type[Warning] = FlexcalcWarning) -> None:
        store.warn(f"path {number}: {text}", category)

    return _saying(inner, lambda line: store.say(f"path {number}: {line}"), warn)


def _saying(store: Store, say: Callable[[str], None], warn: Callable[..., None]) -> Store:
    """A store that says its lines and warnings so, as its parts do."""
    outer, parts = store.within, dict[str, Store]()

    def within(part: str) -> Store:
        if part not in parts:
            parts[part] = _saying(outer(part), say, warn)
        return parts[part]

    vars(store).update(say=say, warn=warn, within=within)
    return store


def _content(store: Store) -> dict[str, Any]:
    """What a store in memory keeps, its parts in stores that say nothing."""
    kept = dict(store.kept)
    for name, one in kept.items():
        if isinstance(one, Store):
            kept[name] = Store(progress=one.progress)
            kept[name].kept = _content(one)
    return kept


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
