"""The search itself: first path, iterations, and what came out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from flexcalc.geometry import is_degenerate
from flexcalc.masses import ISOTOPE_AMU, atomic_masses
from flexcalc.methods.iterate import Checkpoint, Recorder, run
from flexcalc.methods.path import PathState, ScanState, chained, path_length
from flexcalc.methods.relax import relax
from flexcalc.tasks.molecule import isotopes_in
from flexcalc.units import KCAL_MOL
from flexcalc.workflows.path.job import FoundPath, PathJob, write_images
from flexcalc.workflows.runs import Run

State = PathState | ScanState


def searched(job: PathJob, here: Run) -> tuple[FoundPath, dict[str, Any]]:
    """Search, write path.xyz and convergence.csv, and say whether the path converged."""
    told = isotopes_in(here, job.potential.numbers, job.config.descent.masses)  # type: ignore[arg-type]
    isotopes = {} if told is None else {"isotopes": told}
    if job.end is not None and _unlike(job.potential.numbers, job.config.descent.masses):
        here.say(
            "warning: the end is matched to the start whatever the masses of like atoms: see in "
            "path.xyz that the isotopes are where they should be"
        )
    first, degenerate = _first(job)
    if degenerate:
        here.say(
            "the ends differ by the labels of like atoms alone: a degenerate rearrangement, "
            "searched with the labels as they are given"
        )
    state = _iterated(job, here, first)
    images = chained(state.images)
    found = FoundPath(images, job.potential(images))
    write_images(
        here.folder / "path.xyz",
        job.config.model,
        job.potential.numbers,
        images,
        found.labels,
        job.config.descent.masses,
    )
    results = _results(job, state, found) | isotopes
    if job.end is not None:
        results["degenerate"] = degenerate
    here.say(
        f"barrier on the model {results['barrier_model_kcal_mol']:.3f} kcal/mol, "
        f"{'converged' if results['converged'] else 'NOT CONVERGED'} in {state.step} steps"
    )
    if not results["converged"]:
        here.say(results["advice"])
    return found, results


def _unlike(numbers: np.ndarray, masses: Sequence[float]) -> bool:
    """Whether atoms of one element have different masses."""
    own = atomic_masses(numbers, masses)
    return any(np.ptp(own[numbers == number]) > ISOTOPE_AMU for number in np.unique(numbers))


def _iterated(job: PathJob, here: Run, first: np.ndarray) -> State:
    config, method = job.config, _method(job)
    with here.store as store:
        recorder = Recorder(store.lines("convergence.csv"), 1, _convergence_line)
        rng = np.random.default_rng(config.seed)
        checkpoint = Checkpoint(store, "path.checkpoint", rng, [recorder])
        with here.bar("path") as progress:

            def watch(state: State) -> None:
                note = f"barrier {state.barrier() / KCAL_MOL:.2f} kcal/mol"
                progress(state.step, config.steps, f"{note}, force {state.residual:.3f} eV/A")

            return run(
                method,
                job.potential,
                first,
                method.state,
                steps=config.steps,
                checkpoint=checkpoint,
                observers=[watch],
            )


def _method(job: PathJob) -> Any:
    """The path method, whose states are of its own kind."""
    return job.config.method


def _first(job: PathJob) -> tuple[np.ndarray, bool]:
    """Where the method starts from, and whether its ends differ by their labels alone.

    The ends are relaxed if that is wanted.

    Raises:
        InputError: they are one geometry.
    """
    config, numbers = job.config, job.potential.numbers
    ends = [job.start.positions[-1]]
    if job.end is not None:
        ends.append(job.end.positions[-1])
    elif config.method.takes_path:
        return config.method.first(numbers, job.start.positions, None), False
    positions = np.stack(ends)
    if config.relax_ends:
        positions = relax(job.potential, positions).positions
    if len(ends) == 1:
        return config.method.first(numbers, positions, None), False
    first = config.method.first(numbers, positions[:1], positions[1])
    return first, is_degenerate(numbers, positions[0], positions[1])


def _convergence_line(state: State) -> bytes:
    head = "step,force_eV_A,barrier_kcal_mol\n" if state.step == 0 else ""
    line = f"{state.step},{state.residual!r},{state.barrier() / KCAL_MOL!r}\n"
    return (head + line).encode()


def _results(job: PathJob, state: State, found: FoundPath) -> dict[str, Any]:
    config, energies = job.config, found.labels.energies / KCAL_MOL
    converged = bool(_method(job).converged(state))
    return {
        "model": config.model,
        "method": config.method.kind,
        "images": len(energies),
        "steps": state.step,
        "converged": converged,
        **({} if converged else {"advice": _advice(job, state)}),
        "force_residual_eV_A": state.residual,
        "force_residual_image": int(state.residuals.argmax()),
        "path_length_A": float(path_length(found.images)[-1]),
        "barrier_model_kcal_mol": float(energies.max() - energies[0]),
        "barrier_back_model_kcal_mol": float(energies.max() - energies[-1]),
        "reaction_energy_model_kcal_mol": float(energies[-1] - energies[0]),
    }


def _advice(job: PathJob, state: State) -> str:
    """What is left, where, and what to try, in one line."""
    method, tolerance = job.config.method, job.config.method.force_tolerance_eV_A
    above = int((state.residuals >= tolerance).sum())
    left = "the path has settled, but its highest image has not climbed yet"
    if above:
        left = (
            f"a force of {state.residual:.3f} eV/A is left on image {state.residuals.argmax()} "
            f"where {tolerance:g} is wanted, as on {above} of {len(state.images)} images"
        )
    return f"{left}; try {method.advice()}"
