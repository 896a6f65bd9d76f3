"""`flexcalc path`: a minimum-energy path, checked against a reference if one is named."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from flexcalc import files
from flexcalc.config import PathSearch
from flexcalc.dataset import Dataset, Provenance
from flexcalc.errors import InputError
from flexcalc.methods.iterate import Checkpoint, Recorder, run
from flexcalc.methods.path import PathState, chained, interpolate, joined_ends, path_length
from flexcalc.methods.relax import relax
from flexcalc.potential import Evaluation, Potential, check_molecule
from flexcalc.registry import open_potential
from flexcalc.storage import AppendLog, whole_lines
from flexcalc.units import KCAL_MOL
from flexcalc.workflows.correcting import corrected_path, correction
from flexcalc.workflows.runs import Run, in_chunks, open_run
from flexcalc.workflows.saddle import highest, saddle_stage


def run_path(config: PathSearch, output: Path) -> dict[str, Any]:
    """Search a path; writes path.xyz, convergence.csv and, on request, relabelled.xyz.

    Raises:
        InputError: the ends, the potential or the reference cannot be used; nothing is written.
    """
    start = files.read(config.start)
    end = None if config.end is None else files.read(config.end)
    if end is None and len(start) < 3:
        raise InputError(
            f"{config.start}: {len(start)} frames are no path; name an end geometry too"
        )
    opened = partial(open_potential, numbers=start.numbers, trust=config.trust)
    potential = opened(config.model)
    if end is not None:
        check_molecule(start.numbers, end.numbers, str(config.end))
    reference = None if config.relabel is None else opened(config.relabel)
    plan = correction(config, potential) if config.refine else None
    with open_run("path", config, output) as here:
        if here.finished is not None:
            return here.finished
        search = partial(_searched, start, end, reference)
        if plan is not None:
            return here.finish(corrected_path(config, here, potential, plan, search))
        return here.finish(search(config, here, potential))


def _searched(
    start: Dataset,
    end: Dataset | None,
    reference: Potential | None,
    config: PathSearch,
    here: Run,
    potential: Potential,
) -> dict[str, Any]:
    """Search a path on a potential, relabel it, and go on to its saddle, as the config says."""
    state = _search(config, here, potential, start, end)
    images = chained(state.images)
    labels = _write_path(here.folder / "path.xyz", config.model, potential, images)
    results = _results(config, state, labels)
    here.say(
        f"barrier on the model {results['barrier_model_kcal_mol']:.3f} kcal/mol, "
        f"{'converged' if results['converged'] else 'NOT CONVERGED'} in {state.step} steps"
    )
    if reference is not None:
        with here.bar("relabel") as progress:
            found = in_chunks(reference, images, progress, size=1)
        _write(here.folder / "relabelled.xyz", config.relabel, images, start, found)
        results |= compared(labels.energies, found.energies)
        if labels.deviation is not None:
            worst = labels.deviation[results["worst_image"]].max()
            results["worst_image_deviation_eV_A"] = float(worst)
        here.say(
            f"barrier by {config.relabel} {results['barrier_reference_kcal_mol']:.3f} "
            f"kcal/mol, error {results['barrier_error_kcal_mol']:+.3f}"
        )
    if config.saddle:
        guess = replace(highest(potential, images), ends={"start": images[0], "end": images[-1]})
        results |= saddle_stage(config, here, potential, reference, guess, config.steps)
    return results


def _search(
    config: PathSearch, here: Run, potential: Potential, start: Dataset, end: Dataset | None
) -> PathState:
    with AppendLog(here.folder / "convergence.csv", whole_lines) as log:
        recorder = Recorder(log, 1, _convergence_line)
        rng = np.random.default_rng(config.seed)
        checkpoint = Checkpoint(here.folder / "path.checkpoint", rng, [recorder])
        with here.bar("path") as progress:

            def watch(state: PathState) -> None:
                note = f"barrier {state.barrier() / KCAL_MOL:.2f} kcal/mol"
                progress(state.step, config.steps, f"{note}, force {state.residual:.3f} eV/A")

            return run(
                config.method,
                potential,
                _first_path(config, potential, start, end),
                PathState,
                steps=config.steps,
                checkpoint=checkpoint,
                observers=[watch],
            )


def _first_path(
    config: PathSearch, potential: Potential, start: Dataset, end: Dataset | None
) -> np.ndarray:
    if end is None:
        return np.array(start.positions)
    first, last = start.positions[-1], end.positions[-1]
    if config.relax_ends:
        first, last = relax(potential, np.stack([first, last])).positions
    last, _ = joined_ends(potential.numbers, first, last)
    return interpolate(first, last, config.method.images, config.method.interpolation)


def _convergence_line(state: PathState) -> bytes:
    head = "step,force_eV_A,barrier_kcal_mol\n" if state.step == 0 else ""
    line = f"{state.step},{state.residual!r},{state.barrier() / KCAL_MOL!r}\n"
    return (head + line).encode()


def _write_path(path: Path, level: str, potential: Potential, images: np.ndarray) -> Evaluation:
    """Evaluate the images as laid on each other, and write them."""
    found = potential(images)
    bare = Dataset(potential.numbers, images)
    _write(path, level, images, bare, found)
    return found


def _write(
    path: Path, level: str | None, images: np.ndarray, like: Dataset, found: Evaluation
) -> None:
    tags = {"image": np.arange(len(images)), "coordinate": path_length(images)}
    provenance = Provenance(level=level or "unknown")
    files.write(path, Dataset(like.numbers, images, found.energies, found.forces, tags, provenance))


def _results(config: PathSearch, state: PathState, labels: Evaluation) -> dict[str, Any]:
    energies = labels.energies / KCAL_MOL
    return {
        "model": config.model,
        "images": len(energies),
        "steps": state.step,
        "converged": bool(config.method.converged(state)),
        "force_residual_eV_A": float(state.residual),
        "path_length_A": float(path_length(state.images)[-1]),
        "barrier_model_kcal_mol": float(energies.max() - energies[0]),
        "barrier_back_model_kcal_mol": float(energies.max() - energies[-1]),
        "reaction_energy_model_kcal_mol": float(energies[-1] - energies[0]),
    }


def compared(model: np.ndarray, reference: np.ndarray) -> dict[str, float]:
    """Errors of a profile (images,) in eV against a reference's, each from its first image."""
    ours = (model - model[0]) / KCAL_MOL
    theirs = (reference - reference[0]) / KCAL_MOL
    return {
        "barrier_reference_kcal_mol": float(theirs.max()),
        "barrier_error_kcal_mol": float(ours.max() - theirs.max()),
        "reaction_energy_reference_kcal_mol": float(theirs[-1]),
        "profile_rmse_kcal_mol": float(np.sqrt(np.mean((ours - theirs) ** 2))),
        "profile_max_error_kcal_mol": float(abs(ours - theirs).max()),
        "worst_image": int(abs(ours - theirs).argmax()),
    }
