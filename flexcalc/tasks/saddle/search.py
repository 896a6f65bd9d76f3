"""The search of a saddle: refinement of the guess, its descent, vibrations and rates."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.random import Generator

from flexcalc.analysis import plausibility
from flexcalc.analysis.rates import StationaryPoint
from flexcalc.config.paths import PathSearch, SaddleAndRates, SaddleSearch
from flexcalc.dataset import Dataset, Provenance
from flexcalc.errors import LabelError, NonFiniteError
from flexcalc.geometry import align_consecutive, is_degenerate
from flexcalc.masses import atomic_masses, of_frames
from flexcalc.methods.follow import STEPS, Top, Walk, follow
from flexcalc.methods.hessian import Vibrations, vibrations
from flexcalc.methods.iterate import Checkpoint, Recorder, Setup, StartedWith, run
from flexcalc.methods.saddle import RFO, SaddleState
from flexcalc.models.energies import training_energies
from flexcalc.potential import Counted, Evaluation, Potential, in_batches
from flexcalc.registry import name_of
from flexcalc.results.rates import SIDES
from flexcalc.results.saddle import (
    FILM_FRAMES,
    MODE,
    SADDLE,
    STATIONARY,
    SWING_A,
    VIBRATIONS,
    Saddle,
)
from flexcalc.store import Store
from flexcalc.tasks.coverage import coverage_of_saddle, judged_by_reference, warn_of
from flexcalc.tasks.plausible import warned
from flexcalc.tasks.provenance import labels_by
from flexcalc.tasks.saddle.descent import descend, kept_hessian, labelled
from flexcalc.tasks.saddle.endpoints import Endpoint, Guess
from flexcalc.tasks.saddle.rates import with_rates
from flexcalc.tasks.tally import REFERENCE, Tally
from flexcalc.units import KCAL_MOL

PUSHES = 3
"""How often a saddle of higher order is left along its second mode before that is accepted."""

REFINEMENTS = ("saddle", *(f"saddle-{number}" for number in range(1, PUSHES + 1)))
"""Names of the refinement of a guess, and of those after each push."""

PUSH_A = 0.1
"""Longest move of an atom in such a push, in angstrom."""


@dataclass(frozen=True, eq=False)
class SaddleJob:
    """The search of a saddle with everything read and open.

    Args:
        options: of the command, or of the path that the guess comes from.
        potential: to search on.
        reference: to check with, if one is named.
        guess: where the search starts.
        isotopes: atoms whose masses are not the standard ones, for the result.
        tally: counts what is evaluated.
        shared: the potential in a batch with other searches; None for one on its own.
    """

    options: SaddleSearch | PathSearch
    potential: Potential
    reference: Potential | None
    guess: Guess
    isotopes: str | None = None
    tally: Tally = field(default_factory=Tally)
    shared: Potential | None = None

    def counting(self, phase: str) -> Counted:
        """The potential with its evaluations counted in a phase."""
        return self.tally.of(phase, self.shared or self.potential)

    @property
    def numbers(self) -> np.ndarray:
        """Atomic numbers (atoms,)."""
        return self.potential.numbers

    @property
    def provenance(self) -> Provenance:
        """Of the labels of the potential."""
        return labels_by(self.options.model, self.potential)

    @property
    def own_masses(self) -> tuple[float, ...]:
        """Masses (atoms,) in amu that the geometries state; empty for standard ones."""
        return self.options.descent.masses

    @property
    def masses(self) -> np.ndarray:
        """Masses (atoms,) in amu."""
        return atomic_masses(self.numbers, self.own_masses)


@dataclass(frozen=True, eq=False)
class Refined:
    """A refined guess.

    Args:
        state: of the refinement; its only row is the guess.
        hessian: (3 atoms, 3 atoms) there, in eV/angstrom^2.
        vibrations: there.
    """

    state: SaddleState
    hessian: np.ndarray
    vibrations: Vibrations

    @property
    def positions(self) -> np.ndarray:
        """Positions (atoms, 3) in angstrom."""
        return self.state.positions[0]

    @property
    def energy(self) -> float:
        """Energy in eV."""
        return float(self.state.evaluation.energies[0])


def highest_image(potential: Potential, images: np.ndarray) -> Guess:
    """The highest of some images (images, atoms, 3) as a guess, its neighbours as the tangent.

    Of fewer than three, the last one without a tangent.
    """
    if len(images) < 3:
        return Guess(images[-1], None, {})
    images = align_consecutive(images)
    return guess_of(images, potential(images))


def guess_of(images: np.ndarray, labels: Evaluation) -> Guess:
    """The highest of the inner images (images, atoms, 3) of a path as a guess."""
    top = int(np.argmax(labels.energies[1:-1])) + 1
    tangent = images[top + 1] - images[top - 1]
    return Guess(images[top], tangent, {}, Top.of(images, labels))


def symmetry_numbers(options: SaddleAndRates) -> dict[str, int]:
    """Rotational symmetry numbers of the stationary points."""
    return {side: getattr(options, f"symmetry_{side}") for side in SIDES}


def find_saddle(job: SaddleJob, store: Store) -> Saddle:
    """Refine a guess, follow the descent to both minima, and compute rates.

    Every part that is finished is kept, and not repeated when a run is resumed.
    """
    return saddle_of(job, store, follow_top(job, store))


def saddle_of(job: SaddleJob, store: Store, followed: Refined | None) -> Saddle:
    """Follow the descent from a saddle to both minima, and compute rates.

    Args:
        job: with the guess.
        store: keeps what is found.
        followed: the stationary point to which the direction of a path leads; None to refine the
            guess.
    """
    refined = _first_order(job, store, followed)
    store.put(SADDLE, labelled(job, refined.positions[None]))
    saddle = _of_refined(job, store, refined)
    places = {"saddle": refined.positions}
    store.say(_verdict(saddle))
    saddle = replace(saddle, warnings=warned(store, _implausible(job, refined)))
    if saddle.imaginary_modes and saddle.converged:
        film = _film(job, refined)
        store.put(MODE, film)
        endpoints = descend(job, store, refined.positions, refined.hessian)
        places |= {"start": endpoints[0].positions, "end": endpoints[1].positions}
        saddle = _with_barriers(saddle, job, endpoints, refined.energy)
        points = _stationary_points(job, refined, endpoints)
        frequencies = {side: one.vibrations.frequencies_cm for side, one in points.items()}
        store.put(VIBRATIONS, {side: values.tolist() for side, values in frequencies.items()})
        if job.reference is not None:
            saddle = _relabelled(saddle, job, job.reference, points)
        if saddle.first_order:
            saddle = with_rates(saddle, job.options, points)
    saddle = _covered(saddle, job, places)
    return replace(saddle, evaluations=job.tally.found())


def _covered(saddle: Saddle, job: SaddleJob, places: Mapping[str, np.ndarray]) -> Saddle:
    """The saddle with its distance to the training data, and that of its minima; warns if far."""
    coverage = coverage_of_saddle(job.potential, places)
    errors = saddle.barrier_error_kcal_mol, saddle.barrier_back_error_kcal_mol
    if errors[0] is not None and errors[1] is not None:
        coverage = judged_by_reference(coverage, errors[0], errors[1])
    warn_of(saddle.store, coverage)
    return replace(saddle, coverage=coverage)


def _implausible(job: SaddleJob, refined: Refined) -> list[str]:
    """What to warn of in a refined guess."""
    guess, known = job.guess.positions, training_energies(job.potential)
    energy, atoms = refined.energy, len(job.numbers)
    top = job.guess.top
    labels = job.counting("labels")(guess[None]) if top is None else top.evaluation
    begin = float(labels.energies.max())
    return [
        *plausibility.implausible_saddle(refined.positions, guess, energy, begin),
        *plausibility.below_training([energy], atoms, known, "the saddle"),
        *plausibility.above_training(energy, atoms, known, "the saddle"),
    ]


def _of_refined(job: SaddleJob, store: Store, refined: Refined) -> Saddle:
    """What is known of the saddle before its descent."""
    order = refined.vibrations.imaginary()
    converged = bool(job.options.refinement.converged(refined.state))
    return Saddle(
        store=store,
        symmetry_numbers=symmetry_numbers(job.options),
        model=name_of(job.options.model),
        isotopes=job.isotopes,
        converged=converged,
        steps=refined.state.step,
        force_eV_A=float(refined.state.largest_forces()[0]),
        first_order=converged and order == 1,
        imaginary_modes=order,
        imaginary_frequency_cm=float(refined.vibrations.frequencies_cm[0]),
    )


def _verdict(saddle: Saddle) -> str:
    where = f"{saddle.steps} steps, largest force {saddle.force_eV_A:.4f}"
    order, lowest = saddle.imaginary_modes, saddle.imaginary_frequency_cm
    if saddle.first_order:
        return f"saddle of first order in {where} eV/A, imaginary frequency {-lowest:.0f}i cm^-1"
    if not saddle.converged:
        return f"NO SADDLE: not converged in {where} eV/A, {order} imaginary frequencies"
    if order == 0:
        return f"NO SADDLE: a minimum in {where} eV/A, lowest frequency {lowest:.0f} cm^-1"
    return f"NO SADDLE OF FIRST ORDER: {order} imaginary frequencies in {where} eV/A; no rates"


def _first_order(job: SaddleJob, store: Store, followed: Refined | None) -> Refined:
    """A refined guess, or where the direction of the path leads, pushed off saddles of higher
    order."""
    if followed is not None and followed.vibrations.imaginary() == 1:
        return followed
    refined = followed or _refined(job, store, REFINEMENTS[0], job.guess)
    for name in REFINEMENTS[1:]:
        found = refined.vibrations
        order = found.imaginary()
        if order < 2 or not job.options.refinement.converged(refined.state):
            break
        store.say(
            f"{order} imaginary frequencies, {found.frequencies_cm[1]:.0f} cm^-1 the second: "
            "pushed along it to go on"
        )
        away = found.modes[1] / np.sqrt((found.modes[1] ** 2).sum(axis=1)).max()
        guess = Guess(refined.positions + PUSH_A * away, found.modes[0], {})
        refined = _refined(job, store, name, guess, refined.hessian)
    return refined


def _refined(
    job: SaddleJob, store: Store, name: str, guess: Guess, curved: np.ndarray | None = None
) -> Refined:
    """One guess refined, with the Hessian there.

    Args:
        job: with the method.
        store: keeps the course and the Hessian.
        name: of both.
        guess: where it starts.
        curved: the Hessian near the guess (3 atoms, 3 atoms), which is computed if it is None.
    """
    state = _refine(job, store, name, guess, curved)
    found = kept_hessian(job, store, name, state.positions[0])
    return Refined(state, found, vibrations(state.positions[0], found, job.masses))


def follow_top(job: SaddleJob, store: Store, steps: int = STEPS) -> Refined | None:
    """The saddle to which the direction of the path leads in some steps; None without one."""
    top = job.guess.top
    if not job.options.follow or top is None:
        return None
    walk = Walk(job.numbers, top, job.options.refinement, steps)
    surface = job.counting("search")
    recorder = Recorder(store.lines("follow.csv"), 1, _walk_line)
    recorder.log.truncate(0)
    with store.bar("saddle") as progress:

        def watch() -> None:
            recorder(walk)
            progress(walk.step, steps, f"force {walk.force:.3f} eV/A")

        try:
            follow(surface, [walk], watch)
        except (LabelError, NonFiniteError) as error:
            store.say(f"the direction of the path leads to no saddle: {error}")
            return None
        finally:
            recorder.flush()
    if walk.lost:
        store.say(f"the direction of the path is lost after {walk.step} steps")
        return None
    curved = kept_hessian(job, store, "saddle", walk.positions)
    found = vibrations(walk.positions, curved, job.masses)
    if not found.imaginary():
        store.say("the direction of the path leads to a minimum")
        return None
    labels = Evaluation(np.array([walk.energy]), walk.forces[None])
    state = job.options.refinement.at(walk.positions[None], labels, curved[None])
    return Refined(replace(state, step=walk.step), curved, found)


def _walk_line(walk: Walk) -> bytes:
    head = "step,force_eV_A,energy_eV,curvature\n" if walk.step == 0 else ""
    return (head + f"{walk.step},{walk.force!r},{walk.energy!r},{walk.curvature!r}\n").encode()


@dataclass(frozen=True, eq=False)
class StartedNear(StartedWith):
    """A refinement that starts with a Hessian of a geometry near by.

    Args:
        hessians: (1, 3 atoms, 3 atoms) in eV/angstrom^2.
    """

    hessians: np.ndarray

    def init(self, potential: Potential, positions: np.ndarray, rng: Generator) -> SaddleState:
        """The first state of the method."""
        method: RFO = self.method
        return method.at(positions, potential(positions), self.hessians, self.more)


def _refine(
    job: SaddleJob, store: Store, name: str, guess: Guess, curved: np.ndarray | None
) -> SaddleState:
    """Refine one guess, with its checkpoint NAME.checkpoint and its course NAME.csv."""
    method, steps, rng = job.options.refinement, job.options.steps, np.random.default_rng(0)
    tangents = None if guess.tangent is None else guess.tangent[None]
    started = StartedWith(method, tangents)
    if curved is not None:
        started = StartedNear(method, tangents, curved[None])
    surface = job.counting("search")
    recorder = Recorder(store.lines(f"{name}.csv"), 1, _course_line)
    with store.bar(name) as progress:

        def watch(state: SaddleState) -> None:
            progress(state.step, steps, f"force {state.largest_forces()[0]:.3f} eV/A")

        return run(
            started,
            Setup(surface, guess.positions[None]),
            SaddleState,
            steps=steps,
            checkpoint=Checkpoint(store, f"{name}.checkpoint", rng, [recorder], counted=surface),
            observers=[watch],
        )


def _course_line(state: SaddleState) -> bytes:
    head = "step,force_eV_A,energy_eV,curvature_eV_A2\n" if state.step == 0 else ""
    values = (state.largest_forces()[0], state.evaluation.energies[0], state.curvatures[0])
    return (head + f"{state.step}," + ",".join(repr(float(v)) for v in values) + "\n").encode()


def _with_barriers(
    saddle: Saddle, job: SaddleJob, endpoints: list[Endpoint], energy: float
) -> Saddle:
    """The saddle with the minima that it connects and both barriers, which are reported."""
    store, (start, end) = saddle.store, endpoints
    forth, back = ((energy - one.energy) / KCAL_MOL for one in endpoints)
    alike = is_degenerate(job.numbers, start.positions, end.positions)
    if alike:
        store.say(
            "the minima differ only by a permutation of identical atoms: a degenerate rearrangement"
        )
    store.say(
        f"the saddle joins {start.describe()} and {end.describe()}; it is "
        f"{forth:.2f} and {back:.2f} kcal/mol above them"
    )
    known = training_energies(job.potential)
    energies = [one.energy for one in endpoints]
    warnings = warned(
        store,
        plausibility.negative_barrier(forth * KCAL_MOL, back * KCAL_MOL, "on the model"),
        plausibility.below_training(energies, len(job.numbers), known, "the minima of the saddle"),
    )
    return replace(
        saddle,
        warnings=saddle.warnings + warnings,
        barrier_kcal_mol=forth,
        irc_start_is=start.name,
        irc_start_rmsd_A=start.rmsd_A,
        irc_start_mirrored=start.mirrored,
        irc_start_split=start.split or None,
        barrier_back_kcal_mol=back,
        irc_end_is=end.name,
        irc_end_rmsd_A=end.rmsd_A,
        irc_end_mirrored=end.mirrored,
        irc_end_split=end.split or None,
        degenerate=alike,
    )


def _stationary_points(
    job: SaddleJob, refined: Refined, endpoints: list[Endpoint]
) -> dict[str, StationaryPoint]:
    """Start, saddle and end with their vibrations."""
    symmetry = symmetry_numbers(job.options)
    points = {
        "saddle": StationaryPoint(
            refined.energy, refined.positions, refined.vibrations, symmetry["saddle"]
        )
    }
    for side, one in zip(("start", "end"), endpoints, strict=True):
        if one.hessian is None:
            raise ValueError("expected the Hessian of an end")
        modes = vibrations(one.positions, one.hessian, job.masses)
        points[side] = StationaryPoint(one.energy, one.positions, modes, symmetry[side])
    return {side: points[side] for side in SIDES}


def _relabelled(
    saddle: Saddle, job: SaddleJob, reference: Potential, points: dict[str, StationaryPoint]
) -> Saddle:
    """The saddle with the errors of its barriers, by single points at saddle and minima."""
    store = saddle.store
    positions = np.stack([point.positions for point in points.values()])
    with store.bar("relabel saddle") as progress:
        found = in_batches(job.tally.of(REFERENCE, reference), positions, progress, size=1)
    own = of_frames(job.own_masses, len(positions))
    by = labels_by(job.options.relabel, reference)
    data = Dataset(job.numbers, positions, found.energies, found.forces, {}, by, own)
    store.put(STATIONARY, data)
    ours = job.counting("labels")(positions)
    start, top, end = found.energies / KCAL_MOL
    model = ours.energies / KCAL_MOL
    error = float(model[1] - model[0] - (top - start))
    store.say(f"error of the barrier at the saddle {error:+.3f}")
    level = f"by {name_of(job.options.relabel)}"
    forth, back = (found.energies[1] - found.energies[[0, 2]]).tolist()
    warnings = warned(store, plausibility.negative_barrier(forth, back, level))
    return replace(
        saddle,
        warnings=saddle.warnings + warnings,
        barrier_reference_kcal_mol=float(top - start),
        barrier_error_kcal_mol=error,
        barrier_back_reference_kcal_mol=float(top - end),
        barrier_back_error_kcal_mol=float(model[1] - model[2] - (top - end)),
        reference_force_eV_A=float(np.sqrt((found.forces[1] ** 2).sum(axis=1)).max()),
        deviation_eV_A=None if ours.deviation is None else float(ours.deviation[1].max()),
    )


def _film(job: SaddleJob, refined: Refined) -> Dataset:
    """The imaginary mode as a trajectory of one period, half an angstrom to each side."""
    first = refined.vibrations.modes[0]
    mode = first / np.sqrt((first**2).sum(axis=1)).max()
    swing = SWING_A * np.sin(np.linspace(0, 2 * np.pi, FILM_FRAMES + 1)[:-1])
    own = of_frames(job.own_masses, len(swing))
    return Dataset(job.numbers, refined.positions + swing[:, None, None] * mode, masses=own)
