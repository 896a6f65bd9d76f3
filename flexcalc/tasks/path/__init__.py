"""A path between two geometries, and what is asked about it afterwards.

The search comes first (`search`); then each of `STAGES` keeps files and adds figures of its own. A
stage is a function of the job, of the path that was found and of the result so far.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

from flexcalc.config.paths import PathSearch
from flexcalc.results.path import Path
from flexcalc.results.paths import Paths
from flexcalc.store import Store
from flexcalc.tasks.coverage import warn_of
from flexcalc.tasks.path.equivalents import write_equivalents
from flexcalc.tasks.path.job import FoundPath, Opened, PathJob, open_job
from flexcalc.tasks.path.many import many_paths
from flexcalc.tasks.path.relabel import relabel
from flexcalc.tasks.path.saddle import (
    is_left_early,
    refine_saddle,
    search_early,
    stages_to_converge,
)
from flexcalc.tasks.path.search import begin_path, keep_path, labelled_images, search
from flexcalc.tasks.saddle import symmetry_numbers

STAGES: tuple[Callable[[PathJob, FoundPath, Path], Path], ...] = (
    write_equivalents,
    relabel,
    refine_saddle,
)
"""What is done with a path, in this order; a stage that was not asked for changes nothing."""


def path(options: PathSearch, store: Store) -> Path | Paths:
    """Search a path; keeps path.xyz, convergence.csv and what the stages keep.

    Several paths are searched in one batch (`tasks/path/many.py`).

    With `refine`, the model is trained again with the images where it is worst and the path
    searched again, until the barrier holds (`tasks/path/refinement.py`).

    Raises:
        InputError: the ends, the potential or the reference cannot be used; nothing is written.
    """
    run: Callable[[PathJob, Store], Path] = _search
    if options.assist is not None:
        from flexcalc.tasks.path.assisted import check_assisted, search_assisted

        check_assisted(options)
        run = partial(search_assisted, search=_search)
    if options.starts or options.ends:
        return many_paths(options, store, _search)
    job = open_job(options)
    options = job.options
    if options.refine:
        run = _refined(job)
    found = store.begin(options)
    if found is not None:
        return _with_symmetry(Path.from_dict(found, store), options)
    atom_map = job.fitting.said(store)
    result = run(job.on(Opened(job.potential, job.reference).remembered(store)), store)
    warn_of(store, result.coverage)
    return replace(result, atom_map=atom_map)


def _refined(job: PathJob) -> Callable[[PathJob, Store], Path]:
    """A search in rounds; what it needs is checked before anything is written."""
    # Trains, which other paths do not: its import takes a tenth of a short search.
    from flexcalc.tasks.path.refinement import plan_refinement, refine

    return partial(refine, plan=plan_refinement(job.options, job.potential), search=_search)


def _search(job: PathJob, store: Store) -> Path:
    """Search a path and go through the stages."""
    begun = begin_path(job, store)
    early = search_early(job, store, begun) if is_left_early(job) else None
    if early is None:
        searched = search(job, store, *stages_to_converge(job, store, begun))
        found = labelled_images(job, searched)
        result = keep_path(job, store, begun, searched, found, left=False)
    else:
        searched, found, saddle = early
        result = keep_path(job, store, begun, searched, found, left=True)
        result = replace(result, saddle=saddle)
    for stage in STAGES:
        result = stage(job, found, result)
    return replace(result, evaluations=job.tally.found())


def _with_symmetry(result: Path, options: PathSearch) -> Path:
    """A result from results.json with the symmetry numbers of its saddle."""
    if result.saddle is None:
        return result
    saddle = replace(result.saddle, symmetry_numbers=symmetry_numbers(options))
    return replace(result, saddle=saddle)


__all__ = ["STAGES", "FoundPath", "PathJob", "path"]
