"""`flexcalc saddle`, and the same after a path: a saddle, the minima it joins, and rates."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.random import Generator

from flexcalc import files
from flexcalc.analysis.rates import StationaryPoint
from flexcalc.config import Saddle
from flexcalc.config.commands import SaddleAndRates
from flexcalc.dataset import Dataset
from flexcalc.geometry import is_degenerate
from flexcalc.masses import atomic_masses, of_frames
from flexcalc.methods.hessian import Vibrations, hessian, vibrations
from flexcalc.methods.irc import IRCState
from flexcalc.methods.iterate import Checkpoint, Recorder, run
from flexcalc.methods.path import chained
from flexcalc.methods.relax import relax
from flexcalc.methods.saddle import SaddleState
from flexcalc.potential import Evaluation, Potential, check_molecule, in_batches
from flexcalc.registry import open_potential
from flexcalc.storage import load_checkpoint, save_checkpoint, write_json
from flexcalc.tasks.molecule import electrons_of, following, isotopes_in, with_masses
from flexcalc.tasks.ordering import ordered
from flexcalc.units import KCAL_MOL
from flexcalc.workflows.ends import Named, name_ends
from flexcalc.workflows.ratetable import rate_results
from flexcalc.workflows.runs import Run, open_run

PUSHES = 3
"""How often a saddle of higher order is left along its second mode before that is accepted."""

PUSH_A = 0.1
"""Longest move of an atom in such a push, in angstrom."""

MINIMUM_FORCE_EV_A = 0.001
"""Minima are relaxed to this force: soft modes are only then free of the slope."""


@dataclass(frozen=True, eq=False)
class Guess:
    """Where the search for a saddle starts.

    Args:
        positions: (atoms, 3) in angstrom.
        tangent: (atoms, 3) direction across the barrier from start to end, or None.
        ends: geometries (atoms, 3) by name, which the way down may end in.
    """

    positions: np.ndarray
    tangent: np.ndarray | None
    ends: dict[str, np.ndarray]


def run_saddle(config: Saddle, output: Path) -> dict[str, Any]:
    """Refine a guess; writes saddle.xyz, irc.xyz, minima.xyz, mode.xyz and rates.csv.

    Raises:
        InputError: the geometries, the potential or the reference cannot be used; nothing is
            written.
    """
    guess = files.read(config.guess)
    named = {"start": config.start, "end": config.end}
    ends = {name: files.read(path) for name, path in named.items() if path is not None}
    for name, data in ends.items():
        check_molecule(guess.numbers, data.numbers, str(named[name]))
    config = following(config, electrons_of(guess))
    opened = partial(open_potential, numbers=guess.numbers, trust=config.trust)
    potential = opened(config.model)
    reference = None if config.relabel is None else opened(config.relabel)
    fitting = ordered(potential, guess, str(config.guess), config.map_atoms)
    guess, ends = fitting.data, {name: fitting.like(data) for name, data in ends.items()}
    config = with_masses(config, guess, *ends.values())
    with open_run("saddle", config, output) as here:
        if here.finished is not None:
            return here.finished
        known = {} if (m := fitting.said(cast(Any, here))) is None else {"atom_map": m}
        begin = highest(potential, np.array(guess.positions))
        begin = replace(begin, ends={name: data.positions[-1] for name, data in ends.items()})
        results = saddle_stage(config, here, potential, reference, begin, config.steps)
        return here.finish({"model": config.model, **results, **known})


def highest(potential: Potential, images: np.ndarray) -> Guess:
    """The highest of some images (images, atoms, 3) as a guess, its neighbours as the tangent."""
    if len(images) < 3:
        return Guess(images[-1], None, {})
    images = chained(images)
    top = int(np.argmax(potential(images).energies[1:-1])) + 1
    return Guess(images[top], images[top + 1] - images[top - 1], {})


def saddle_stage(
    config: SaddleAndRates,
    here: Run,
    potential: Potential,
    reference: Potential | None,
    guess: Guess,
    steps: int,
) -> dict[str, Any]:
    """Refine a guess in a run folder, follow the way down, and return results for its JSON.

    Every part that is finished stays on disk, and is not done again when a run is taken up.
    """
    masses = config.descent.masses
    told = isotopes_in(here, potential.numbers, masses)  # type: ignore[arg-type]
    isotopes = {} if told is None else {"isotopes": told}
    state, curved, found = _first_order(config, here, potential, guess, steps)
    order = found.imaginary()
    converged = bool(config.refinement.converged(state))
    place, energy = state.positions[0], float(state.evaluation.energies[0])
    _write_frames(here.folder / "saddle.xyz", potential, place[None], masses)
    results: dict[str, Any] = {
        **isotopes,
        "saddle_converged": converged,
        "saddle_steps": state.step,
        "saddle_force_eV_A": float(state.largest_forces()[0]),
        "saddle_first_order": converged and order == 1,
        "imaginary_modes": order,
        "imaginary_frequency_cm": float(found.frequencies_cm[0]),
    }
    here.say(_verdict(results))
    if order == 0 or not converged:
        return results
    _write_mode(here.folder / "mode.xyz", potential.numbers, place, found, masses)
    ends = _down(config, here, potential, place, curved, guess)
    results |= _joined(here, potential.numbers, ends, energy)
    points = _stationary_points(config, here, potential, place, energy, found, ends)
    write_json(
        here.folder / "vibrations.json",
        {name: point.vibrations.frequencies_cm.tolist() for name, point in points.items()},
    )
    if reference is not None:
        results |= _relabelled(here, potential, reference, points, masses)
    if results["saddle_first_order"]:
        results |= rate_results(config, here, points)
    return results


def _verdict(results: dict[str, Any]) -> str:
    where = f"{results['saddle_steps']} steps, largest force {results['saddle_force_eV_A']:.4f}"
    order, lowest = results["imaginary_modes"], results["imaginary_frequency_cm"]
    if results["saddle_first_order"]:
        return f"saddle of first order in {where} eV/A, imaginary frequency {-lowest:.0f}i cm^-1"
    if not results["saddle_converged"]:
        return f"NO SADDLE: not converged in {where} eV/A, {order} imaginary frequencies"
    if order == 0:
        return f"NO SADDLE: a minimum in {where} eV/A, lowest frequency {lowest:.0f} cm^-1"
    return f"NO SADDLE OF FIRST ORDER: {order} imaginary frequencies in {where} eV/A; no rates"


def _first_order(
    config: SaddleAndRates, here: Run, potential: Potential, guess: Guess, steps: int
) -> tuple[SaddleState, np.ndarray, Vibrations]:
    """The refined guess, its Hessian and vibrations; pushed off saddles of higher order."""
    place, tangent = guess.positions, guess.tangent
    masses = atomic_masses(potential.numbers, config.descent.masses)
    for attempt in range(PUSHES + 1):
        name = "saddle" if attempt == 0 else f"saddle-{attempt}"
        state = _refine(config, here, potential, name, place, tangent, steps)
        curved = _hessian(here, potential, name, state.positions[0])
        found = vibrations(state.positions[0], curved, masses)
        order = found.imaginary()
        if order < 2 or attempt == PUSHES or not config.refinement.converged(state):
            break
        here.say(
            f"{order} imaginary frequencies, {found.frequencies_cm[1]:.0f} cm^-1 the second: "
            "pushed along it to go on"
        )
        away = found.modes[1] / np.sqrt((found.modes[1] ** 2).sum(axis=1)).max()
        place, tangent = state.positions[0] + PUSH_A * away, found.modes[0]
    return state, curved, found


@dataclass(frozen=True, eq=False)
class _Begun:
    """A method whose first state needs more than positions.

    Args:
        method: what is done.
        first: makes the first state; called only where there is no checkpoint.
    """

    method: Any
    first: Callable[[Generator], Any]

    def init(self, potential: Potential, positions: np.ndarray, rng: Generator) -> Any:
        return self.first(rng)

    def step(self, potential: Potential, state: Any, rng: Generator) -> Any:
        return self.method.step(potential, state, rng)

    def converged(self, state: Any) -> bool:
        return self.method.converged(state)


def _refine(
    config: SaddleAndRates,
    here: Run,
    potential: Potential,
    name: str,
    place: np.ndarray,
    tangent: np.ndarray | None,
    steps: int,
) -> SaddleState:
    """Refine one guess, with its checkpoint NAME.checkpoint and its course NAME.csv."""
    method, rng = config.refinement, np.random.default_rng(0)
    tangents = None if tangent is None else tangent[None]

    def first(rng: Generator) -> SaddleState:
        return method.init(potential, place[None], rng, tangents)

    with here.store as store, here.bar(name) as progress:
        log = store.lines(f"{name}.csv")
        checkpoint = Checkpoint(store, f"{name}.checkpoint", rng, [Recorder(log, 1, _course_line)])

        def watch(state: SaddleState) -> None:
            progress(state.step, steps, f"force {state.largest_forces()[0]:.3f} eV/A")

        return run(
            _Begun(method, first),
            potential,
            place[None],
            SaddleState,
            steps=steps,
            checkpoint=checkpoint,
            observers=[watch],
        )


def _course_line(state: SaddleState) -> bytes:
    head = "step,force_eV_A,energy_eV,curvature_eV_A2\n" if state.step == 0 else ""
    values = (state.largest_forces()[0], state.evaluation.energies[0], state.curvatures[0])
    return (head + f"{state.step}," + ",".join(repr(float(v)) for v in values) + "\n").encode()


def _hessian(here: Run, potential: Potential, name: str, place: np.ndarray) -> np.ndarray:
    """The Hessian of one geometry, kept as NAME.hessian; taken from there if it was done."""
    path = here.folder / f"{name}.hessian"
    known = load_checkpoint(path)
    if known is not None and np.array_equal(known[0]["positions"], place):
        return known[0]["hessian"]
    with here.bar(f"Hessian of {name}") as progress:
        found = hessian(potential, place[None], progress=progress)[0]
    save_checkpoint(path, {"positions": place, "hessian": found}, {})
    return found


def _down(
    config: SaddleAndRates,
    here: Run,
    potential: Potential,
    place: np.ndarray,
    curved: np.ndarray,
    guess: Guess,
) -> list[Named]:
    """Follow the way down both sides, relax and name its ends; start first, end last."""
    method, rng = config.descent, np.random.default_rng(0)

    def first(rng: Generator) -> IRCState:
        return method.init(potential, place[None], rng, curved[None])

    checkpoint = Checkpoint(here.store, "irc.checkpoint", rng)
    with here.bar("way down") as progress:

        def watch(state: IRCState) -> None:
            done = int(state.done.sum())
            progress(state.step, method.arc_steps, f"{done} of 2 sides at the bottom")

        state = run(
            _Begun(method, first),
            potential,
            place[None],
            IRCState,
            steps=method.arc_steps,
            checkpoint=checkpoint,
            observers=[watch],
        )
    if not method.converged(state):
        here.say("the way down did not come to its end: run with more arc_steps")
    with here.bar("minima") as progress:
        minima = relax(
            potential, state.positions, force_tolerance_eV_A=MINIMUM_FORCE_EV_A, steps=2000
        )
        progress(1, 1, "relaxed")
    ends, forward = name_ends(
        potential.numbers, minima.positions, minima.evaluation, guess.ends, state, guess.tangent
    )
    _write_way(here.folder / "irc.xyz", potential.numbers, state, forward, method.masses)
    places = np.stack([end.positions for end in ends])
    _write_frames(here.folder / "minima.xyz", potential, places, method.masses)
    return ends


def _joined(here: Run, numbers: np.ndarray, ends: list[Named], energy: float) -> dict[str, Any]:
    """Say and return what the saddle joins, and how high it is above both."""
    results: dict[str, Any] = {}
    for side, end, back in zip(("start", "end"), ends, ("", "_back"), strict=True):
        results[f"barrier_saddle{back}_kcal_mol"] = (energy - end.energy) / KCAL_MOL
        results[f"irc_{side}_is"] = end.name
        results[f"irc_{side}_rmsd_A"] = end.rmsd_A
        results[f"irc_{side}_mirrored"] = end.mirrored
    alike = is_degenerate(numbers, ends[0].positions, ends[1].positions)
    results["degenerate"] = alike
    if alike:
        here.say("the minima differ by the labels of like atoms alone: a degenerate rearrangement")
    heights = [results[f"barrier_saddle{back}_kcal_mol"] for back in ("", "_back")]
    here.say(
        f"the saddle joins {ends[0].told()} and {ends[1].told()}; it is {heights[0]:.2f} and "
        f"{heights[1]:.2f} kcal/mol above them"
    )
    return results


def _stationary_points(
    config: SaddleAndRates,
    here: Run,
    potential: Potential,
    place: np.ndarray,
    energy: float,
    found: Vibrations,
    ends: list[Named],
) -> dict[str, StationaryPoint]:
    """Start, saddle and end with their vibrations."""
    masses = atomic_masses(potential.numbers, config.descent.masses)
    points = {"saddle": StationaryPoint(energy, place, found, config.symmetry_saddle)}
    symmetry = {"start": config.symmetry_start, "end": config.symmetry_end}
    for side, end in zip(("start", "end"), ends, strict=True):
        curved = _hessian(here, potential, side, end.positions)
        modes = vibrations(end.positions, curved, masses)
        points[side] = StationaryPoint(end.energy, end.positions, modes, symmetry[side])
    return {side: points[side] for side in ("start", "saddle", "end")}


def _relabelled(
    here: Run,
    potential: Potential,
    reference: Potential,
    points: dict[str, StationaryPoint],
    masses: Sequence[float],
) -> dict[str, float]:
    """Errors of the barrier at the saddle, with single points at saddle and minima."""
    places = np.stack([point.positions for point in points.values()])
    with here.bar("relabel saddle") as progress:
        found = in_batches(reference, places, progress, size=1)
    _write(here.folder / "stationary-relabelled.xyz", potential.numbers, places, found, masses)
    ours = potential(places)
    start, top, end = found.energies / KCAL_MOL
    model = ours.energies / KCAL_MOL
    errors = {
        "barrier_saddle_reference_kcal_mol": float(top - start),
        "barrier_saddle_error_kcal_mol": float(model[1] - model[0] - (top - start)),
        "barrier_saddle_back_reference_kcal_mol": float(top - end),
        "barrier_saddle_back_error_kcal_mol": float(model[1] - model[2] - (top - end)),
        "saddle_reference_force_eV_A": float(np.sqrt((found.forces[1] ** 2).sum(axis=1)).max()),
    }
    if ours.deviation is not None:
        errors["saddle_deviation_eV_A"] = float(ours.deviation[1].max())
    here.say(f"error of the barrier at the saddle {errors['barrier_saddle_error_kcal_mol']:+.3f}")
    return errors


def _write_way(
    path: Path, numbers: np.ndarray, state: IRCState, forward: int, masses: Sequence[float]
) -> None:
    """The way from start to end through the saddle, as frames with their arc."""
    back = 1 - forward
    halves = []
    for row, sign in ((back, -1), (forward, 1)):
        went = np.concatenate([[True], np.diff(state.arcs[:, row]) > 0])
        arcs = sign * state.arcs[went, row]
        halves.append((state.points[went, row], state.energies[went, row], arcs))
    (p, e, a), (q, f, b) = halves
    points = chained(np.concatenate([p[::-1], q[1:]]))
    energies, arcs = np.concatenate([e[::-1], f[1:]]), np.concatenate([a[::-1], b[1:]])
    own = of_frames(masses, len(points))
    files.write(path, Dataset(numbers, points, energies, None, {"arc": arcs}, masses=own))


def _write_mode(
    path: Path,
    numbers: np.ndarray,
    place: np.ndarray,
    found: Vibrations,
    masses: Sequence[float],
) -> None:
    """The imaginary mode as a film of one period, half an angstrom to each side."""
    mode = found.modes[0] / np.sqrt((found.modes[0] ** 2).sum(axis=1)).max()
    swing = 0.5 * np.sin(np.linspace(0, 2 * np.pi, 13)[:-1])
    own = of_frames(masses, len(swing))
    files.write(path, Dataset(numbers, place + swing[:, None, None] * mode, masses=own))


def _write_frames(
    path: Path, potential: Potential, places: np.ndarray, masses: Sequence[float]
) -> None:
    _write(path, potential.numbers, places, potential(places), masses)


def _write(
    path: Path,
    numbers: np.ndarray,
    places: np.ndarray,
    found: Evaluation,
    masses: Sequence[float],
) -> None:
    own = of_frames(masses, len(places))
    files.write(path, Dataset(numbers, places, found.energies, found.forces, masses=own))
