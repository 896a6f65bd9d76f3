"""`flexcalc serve` and `flexcalc ipi`: potentials for i-PI."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from flexcalc import files
from flexcalc.adapters.ipi import Outcome, launch, serve
from flexcalc.adapters.ipi.start import declares_units
from flexcalc.config import Ipi, Serve
from flexcalc.dataset import Dataset, Provenance
from flexcalc.files.text import UTF8_MARK
from flexcalc.methods.path import path_length
from flexcalc.registry import open_potential
from flexcalc.storage import atomic_write, open_regular
from flexcalc.tasks.molecule import electrons_of, following, stated
from flexcalc.units import KCAL_MOL
from flexcalc.workflows.runs import open_run


def run_serve(config: Serve) -> int:
    """Answer a running i-PI until it says goodbye; returns the number of evaluations.

    Raises:
        InputError: the potential, the molecule or the address cannot be used.
        ServerLostError: i-PI went away, or never was there.
    """
    start = files.read(config.start)
    return serve(
        stated(config.model, electrons_of(start)),
        config.start,
        unix=config.unix,
        host=config.host,
        port=config.port,
        timeout_s=config.timeout_s,
        allow_remote=config.allow_remote,
        trust=config.trust,
    )


def run_ipi(config: Ipi, output: Path) -> dict[str, Any]:
    """Run i-PI with its clients; writes scalars.csv beside i-PI's own files, path.xyz of a path.

    Raises:
        InputError: the input or the potential cannot be used.
        ProtocolError: i-PI or a client broke down.
    """
    atoms = files.read(config.start)
    config = following(config, electrons_of(atoms))
    with open_run("ipi", config, output) as here:
        if here.finished is not None:
            return here.finished
        start = _plain_start(config.start, atoms, here.folder)
        with here.bar("i-PI") as progress:
            outcome = launch(
                config.input,
                config.model,
                config.start,
                here.folder,
                clients=config.clients,
                steps=config.steps,
                start=start,
                compare=config.compare,
                trust=config.trust,
                allow_remote=config.allow_remote,
                timeout_s=config.timeout_s,
                progress=progress,
            )
        _write_scalars(here.folder / "scalars.csv", outcome.scalars)
        results: dict[str, Any] = {
            "input": str(config.input),
            "model": config.model,
            "clients": config.clients,
            "steps": int(outcome.scalars["step"][-1]),
        }
        if outcome.force_difference_max_relative is not None:
            results["force_difference_max_relative"] = outcome.force_difference_max_relative
            results["energy_difference_max_relative"] = outcome.energy_difference_max_relative
        if outcome.images is None:
            results |= _thermal(outcome)
            said = f"mean temperature {results['temperature_mean_K']:.1f} K"
        else:
            results |= _path(config, outcome.images, here.folder / "path.xyz")
            said = f"barrier {results['barrier_model_kcal_mol']:.3f} kcal/mol"
        here.say(f"i-PI: {results['steps']} steps, {said}")
        return here.finish(results)


def _plain_start(path: Path, atoms: Dataset, folder: Path) -> Path:
    """A file of the start that i-PI reads as it was read here.

    That is the file itself where i-PI, or ASE for it, understands the file: in angstrom or with
    i-PI's own units, without masses, D or T, and without a byte-order mark. Otherwise all its
    frames, which may be the images of a path, are written to start.xyz in angstrom.
    """
    with open_regular(path, None) as stream:
        marked = stream.read(3) == UTF8_MARK
    usual = atoms.provenance.units.split(", ")[1] == "angstrom" or declares_units(path)
    if path.suffix != ".npz" and usual and not marked and atoms.masses is None:
        return path
    bare = Dataset(atoms.numbers, atoms.positions, masses=atoms.masses)
    files.write(folder / "start.xyz", bare)
    return folder / "start.xyz"


def _write_scalars(path: Path, scalars: Mapping[str, np.ndarray]) -> None:
    rows = np.column_stack(list(scalars.values()))
    lines = [",".join(scalars), *(",".join(repr(float(v)) for v in row) for row in rows)]
    atomic_write(path, "\n".join(lines) + "\n")


def _thermal(outcome: Outcome) -> dict[str, Any]:
    """What is known of a run that has a temperature."""
    kelvin = outcome.scalars["temperature_K"]
    found: dict[str, Any] = {"temperature_mean_K": float(kelvin.mean())}
    ensemble = outcome.scalars.get("ensemble_K")
    if ensemble is not None:
        by_replica = ensemble.reshape(-1, len(np.unique(outcome.scalars["replica"])))
        found["exchanges_seen"] = int((np.diff(by_replica, axis=0) != 0).any(axis=1).sum())
        found["ensembles_K"] = np.unique(ensemble).tolist()
        found["ensembles_mean_K"] = [
            float(kelvin[ensemble == which].mean()) for which in np.unique(ensemble)
        ]
    return found


def _path(config: Ipi, images: np.ndarray, path: Path) -> dict[str, Any]:
    """What is known of a path that i-PI sought; writes it, with the direct call's labels."""
    numbers = files.read(config.start).numbers
    found = open_potential(config.model, numbers, trust=config.trust)(images)
    tags = {"image": np.arange(len(images)), "coordinate": path_length(images)}
    provenance = Provenance(level=config.model)
    files.write(path, Dataset(numbers, images, found.energies, found.forces, tags, provenance))
    energies = found.energies / KCAL_MOL
    return {
        "images": len(images),
        "barrier_model_kcal_mol": float(energies.max() - energies[0]),
        "barrier_back_model_kcal_mol": float(energies.max() - energies[-1]),
        "reaction_energy_model_kcal_mol": float(energies[-1] - energies[0]),
    }
