"""The search: initial path, iterations and result."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from flexcalc.analysis import plausibility
from flexcalc.errors import GuardError
from flexcalc.files.tables import csv_blocks
from flexcalc.geometry import align, align_consecutive, is_degenerate
from flexcalc.masses import ISOTOPE_AMU, atomic_masses
from flexcalc.methods.iterate import Checkpoint, Recorder, Setup, iterate, run
from flexcalc.methods.path import (
    DIVERGED,
    DivergenceGuard,
    Ends,
    PathState,
    ScanState,
    Stage,
    match_endpoints,
    path_length,
)
from flexcalc.methods.relax import relax
from flexcalc.models.energies import training_energies
from flexcalc.parallel.turns import do
from flexcalc.potential import distances_of
from flexcalc.registry import name_of
from flexcalc.results.path import CONVERGENCE, PATH, Path
from flexcalc.store import Store
from flexcalc.tasks.coverage import coverage_of_path
from flexcalc.tasks.molecule import isotopes_in
from flexcalc.tasks.path.job import FoundPath, PathJob
from flexcalc.tasks.plausible import warned
from flexcalc.units import KCAL_MOL

State = PathState | ScanState

PATH_CHECKPOINT = "path.checkpoint"

MOST_MOVED_A = 0.5
"""Largest move of an atom to the ends of a path from those of a path that was found before."""


@dataclass(frozen=True, eq=False)
class Beginning:
    """Where the search of a path begins.

    Args:
        images: (images, atoms, 3) in angstrom of the initial path.
        degenerate: whether its ends differ by a permutation of identical atoms alone.
        warnings: what to know of its ends.
        strayed: the given ends (atoms, 3) by name from which relaxation led to another minimum.
        isotopes: atoms whose masses are not the standard ones.
    """

    images: np.ndarray
    degenerate: bool
    warnings: list[str]
    strayed: dict[str, np.ndarray]
    isotopes: str | None


@dataclass(frozen=True, eq=False)
class Searched:
    """A path as its search leaves it.

    Args:
        state: of the path method.
        diverged: what to warn of where the search has diverged.
    """

    state: State
    diverged: list[str]


def begin_path(job: PathJob, store: Store) -> Beginning:
    """The initial path, between relaxed ends if that is wanted."""
    masses = job.options.descent.masses
    isotopes = isotopes_in(store, job.potential.numbers, masses)
    if job.end is not None and _unlike(job.potential.numbers, masses):
        store.warn(
            "the end is matched to the start whatever the masses of identical atoms: see in "
            "path.xyz that the isotopes are where they should be"
        )
    with store.bar("path ends"):
        first, degenerate, moved, strayed = _first(job)
    if degenerate:
        store.say(
            "the ends differ only by a permutation of identical atoms: a degenerate rearrangement, "
            "the order of atoms is kept"
        )
    return Beginning(first, degenerate, moved, strayed, isotopes)


def search(
    job: PathJob,
    store: Store,
    first: np.ndarray,
    stages: Sequence[Stage] = (),
    steps: int | None = None,
) -> Searched:
    """Search a path from an initial one (images, atoms, 3); keeps convergence.csv.

    Args:
        job: with the method.
        store: keeps the checkpoint too, from which a stage goes on.
        first: in angstrom.
        stages: those before, and the one that is searched; without any, the path converges with
            the images that it has.
        steps: maximum number of steps, by default that of the options.
    """
    return Searched(*_iterate(job, store, first, stages, steps or job.options.steps))


def labelled_images(job: PathJob, searched: Searched) -> FoundPath:
    """The images of a path, each aligned with the one before, and their labels."""
    images = align_consecutive(searched.state.images)
    return FoundPath(images, job.counting("band")(images))


def keep_path(
    job: PathJob, store: Store, begun: Beginning, searched: Searched, found: FoundPath, left: bool
) -> Path:
    """Keep path.xyz, and say whether the path converged.

    Args:
        job: of the search.
        store: keeps the path.
        begun: where it began.
        searched: the path as the search left it.
        found: its images as they are kept.
        left: whether the search was left for the saddle, which is the highest image.
    """
    distances = distances_of(job.potential, found.images, found.labels.energies)
    tags = {} if distances is None else {"distance": distances}
    store.put(PATH, job.labelled(job.provenance, found.images, found.labels, tags))
    coverage = coverage_of_path(job.potential, distances, begun.strayed)
    degenerate = begun.degenerate
    implausible = _implausible(job, found, degenerate)
    result = replace(
        _result(job, store, searched.state, found, left),
        coverage=coverage,
        isotopes=begun.isotopes,
        degenerate=None if job.end is None else degenerate,
        warnings=warned(store, begun.warnings, searched.diverged, implausible),
        evaluations=job.tally.found(),
    )
    note = "" if coverage is None or job.reference is not None else coverage.note("barrier")
    how = "converged" if result.converged else "NOT CONVERGED"
    store.say(
        f"barrier on the model {result.barrier_kcal_mol:.3f} kcal/mol{note}, "
        f"{'left for its saddle' if left else how} in {searched.state.step} steps"
    )
    if result.advice is not None:
        store.say(result.advice)
    return result


def _unlike(numbers: np.ndarray, masses: Sequence[float]) -> bool:
    """Whether atoms of one element have different masses."""
    own = atomic_masses(numbers, masses)
    return any(np.ptp(own[numbers == number]) > ISOTOPE_AMU for number in np.unique(numbers))


def _implausible(job: PathJob, found: FoundPath, degenerate: bool) -> list[str]:
    """What to warn of in a path."""
    numbers, images, energies = job.potential.numbers, found.images, found.labels.energies
    known = training_energies(job.potential)
    same = []
    if job.end is not None or job.options.method.takes_path:
        same = plausibility.identical_ends(numbers, images[0], images[-1], degenerate=degenerate)
    return [
        *(same or plausibility.no_barrier(energies, "on the model")),
        *plausibility.below_training(energies, len(numbers), known, "the path"),
    ]


def _iterate(
    job: PathJob, store: Store, first: np.ndarray, stages: Sequence[Stage], steps: int
) -> tuple[State, list[str]]:
    """The path method's last state, from its checkpoint if there is one, and what to warn of.

    Of a search that diverges it is the state with the smallest force.

    Raises:
        GuardError: the search diverges, and no path that it came by is one of a molecule.
    """
    options, method, surface = job.options, _method(job), job.counting("band")
    recorder = Recorder(store.lines(CONVERGENCE), 1, _convergence_line)
    checkpoint = Checkpoint(
        store, PATH_CHECKPOINT, np.random.default_rng(options.seed), [recorder], counted=surface
    )
    guard = DivergenceGuard(len(job.potential.numbers))
    setup = Setup(surface, first, [guard])
    try:
        with store.bar("path") as progress:

            def watch(state: State) -> None:
                note = f"barrier {state.barrier() / KCAL_MOL:.2f} kcal/mol"
                progress(state.step, steps, f"{note}, force {state.residual:.3f} eV/A")

            state = run(
                stages[-1] if stages else method,
                setup,
                method.state,
                steps=steps,
                checkpoint=checkpoint,
                observers=[watch],
            )
        guard.check_last(state)
        return state, []
    except GuardError as error:
        if error.reason != DIVERGED or not recorder.log.size:
            raise
        state = _best(job, store, first, stages)
        guard.check_last(state)
        return state, [
            f"{error}; the path of step {state.step}, which had the smallest force, is kept, and "
            "its barrier is not converged"
        ]


def _best(job: PathJob, store: Store, first: np.ndarray, stages: Sequence[Stage]) -> State:
    """The state of a search with the smallest force, which is found again from its start."""
    blocks = csv_blocks(store.stream(CONVERGENCE))
    forces = np.concatenate([block["force_eV_A"] for block in blocks])
    method, rng = _method(job), np.random.default_rng(job.options.seed)
    surface = job.counting("band")
    state = method.init(surface, first, rng)
    for stage in stages or (method,):
        state = iterate(stage, surface, state, steps=int(forces.argmin()), rng=rng)
    return state


def _method(job: PathJob) -> Any:
    """The path method, whose states are of its own kind."""
    return job.options.method


def _first(job: PathJob) -> tuple[np.ndarray, bool, list[str], dict[str, np.ndarray]]:
    """Where the method starts from, whether its ends differ by their labels alone, what to warn
    of, and the given ends (atoms, 3) by name from which relaxation led to another minimum.

    The ends are relaxed if that is wanted.

    Raises:
        InputError: they are one geometry.
    """
    options, numbers = job.options, job.potential.numbers
    ends = [job.start.positions[-1]]
    if job.end is not None:
        ends.append(job.end.positions[-1])
    elif options.method.takes_path:
        return options.method.first(numbers, job.start.positions, None), False, [], {}
    given = positions = np.stack(ends)
    if options.relax_ends:
        positions = relax(job.counting("ends"), given).positions
    moved, strayed = [], {}
    for before, after, name in zip(given, positions, ("start", "end"), strict=False):
        found = plausibility.moved_end(numbers, before, after, name)
        moved += found
        if found:
            strayed[name] = before
    if len(ends) == 1:
        return options.method.first(numbers, positions, None), False, moved, strayed
    first = None if job.first is None else _moved(numbers, job.first, positions)
    if first is None:
        pair = Ends(numbers, positions[0], positions[1])
        first = do(job.counting("band"), options.method.first_paths, pair)
    return first, is_degenerate(numbers, positions[0], positions[1]), moved, strayed


def _moved(numbers: np.ndarray, path: np.ndarray, ends: np.ndarray) -> np.ndarray | None:
    """A path (images, atoms, 3) moved to other ends (2, atoms, 3), its images by their shares.

    None where an end is farther than `MOST_MOVED_A` from that of the path.
    """
    last, _ = match_endpoints(numbers, ends[0], ends[1])
    old = path[[0, -1]]
    moves = align(np.stack([ends[0], last]), old) - old
    if np.sqrt((moves**2).sum(axis=2)).max() > MOST_MOVED_A:
        return None
    share = np.linspace(0, 1, len(path))[:, None, None]
    return np.asarray(path + (1 - share) * moves[0] + share * moves[1])


def _convergence_line(state: State) -> bytes:
    head = "step,force_eV_A,barrier_kcal_mol\n" if state.step == 0 else ""
    line = f"{state.step},{state.residual!r},{state.barrier() / KCAL_MOL!r}\n"
    return (head + line).encode()


def _result(job: PathJob, store: Store, state: State, found: FoundPath, left: bool) -> Path:
    """What is known of the path before the stages."""
    energies = found.labels.energies / KCAL_MOL
    converged = left or bool(_method(job).converged(state))
    return Path(
        store=store,
        model=name_of(job.options.model),
        method=job.options.method.kind,
        image_count=len(energies),
        steps=state.step,
        converged=converged,
        left_for_saddle=left or None,
        advice=None if converged else _advice(job, state),
        force_residual_eV_A=state.residual,
        force_residual_image=int(state.residuals.argmax()),
        path_length_A=float(path_length(found.images)[-1]),
        barrier_kcal_mol=float(energies.max() - energies[0]),
        barrier_back_kcal_mol=float(energies.max() - energies[-1]),
        reaction_energy_kcal_mol=float(energies[-1] - energies[0]),
    )


def _advice(job: PathJob, state: State) -> str:
    """The remaining force, its image, and advice, in one line."""
    method, tolerance = job.options.method, job.options.method.force_tolerance_eV_A
    above = int((state.residuals >= tolerance).sum())
    left = "the path has settled, but its highest image has not climbed yet"
    if above:
        left = (
            f"a force of {state.residual:.3f} eV/A is left on image {state.residuals.argmax()} "
            f"where {tolerance:g} is wanted, as on {above} of {len(state.images)} images"
        )
    return f"{left}; try {method.advice()}"
