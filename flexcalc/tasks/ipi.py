"""Potentials for i-PI: i-PI with its clients, or the client alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from flexcalc import files
from flexcalc.adapters import ipi as adapter
from flexcalc.adapters.ipi.start import declares_units
from flexcalc.config.ipi import Ipi, Serve
from flexcalc.dataset import Dataset
from flexcalc.files.text import UTF8_MARK
from flexcalc.methods.path import path_length
from flexcalc.methods.sampling import autocorrelation_time
from flexcalc.potential import Potential, distances_of
from flexcalc.registry import name_of, open_potential
from flexcalc.results.coverage import DISTANCES
from flexcalc.results.ipi import PATH, SCALARS, IpiRun, QuantumNuclei
from flexcalc.storage import open_regular
from flexcalc.store import Store
from flexcalc.tasks.coverage import (
    coverage_of_path,
    coverage_of_requests,
    warn_of,
)
from flexcalc.tasks.molecule import electrons_of, following
from flexcalc.tasks.provenance import labels_by
from flexcalc.units import KB, KCAL_MOL

if TYPE_CHECKING:
    from ase import Atoms


def serve(options: Serve) -> int:
    """Answer a running i-PI, or ASE's server, until it is done; returns the number of evaluations.

    Raises:
        InputError: the potential, the molecule or the address cannot be used.
        ServerLostError: i-PI went away, or never was there.
    """
    start = files.read(options.start)
    options = following(options, electrons_of(start))
    return adapter.serve(
        open_potential(options.model, start.numbers, trust=options.trust),
        _first(start),
        adapter.Server(
            unix=options.unix,
            host=options.host,
            port=options.port,
            timeout_s=options.timeout_s,
            allow_remote=options.allow_remote,
        ),
    )


def ipi(options: Ipi, store: Store) -> IpiRun:
    """Run i-PI with its clients; keeps scalars.csv next to i-PI's own files, path.xyz of a path.

    Raises:
        InputError: the input or the potential cannot be used.
        ProtocolError: i-PI or a client broke down.
    """
    given = options.start
    if given is None:
        start = adapter.read_geometry(options.input, options.trust)
    else:
        start = files.read(given)
    options = following(options, electrons_of(start))
    found = store.begin(options)
    if found is not None:
        return IpiRun.from_dict(found, store)
    if given is not None:
        name = "START" if isinstance(given, Dataset) else given
        adapter.check_start(options.input, start, name, options.trust)
    folder = store.place(".")
    with store.bar("i-PI") as progress:
        outcome = adapter.launch(
            options.input,
            options.model,
            _first(start),
            folder,
            adapter.Launch(
                clients=options.clients,
                steps=options.steps,
                start=None if given is None else _plain_start(given, start, folder),
                compare=options.compare,
                trust=options.trust,
                allow_remote=options.allow_remote,
                timeout_s=options.timeout_s,
                distances=folder / DISTANCES,
            ),
            progress,
            store.warn,
        )
    columns = {name: np.asarray(column, float) for name, column in outcome.scalars.items()}
    store.put(SCALARS, columns)
    result = IpiRun(
        store=store,
        input=str(options.input),
        model=name_of(options.model),
        clients=options.clients,
        clients_lost=outcome.clients_lost,
        steps=int(columns["step"][-1]),
        force_difference_max_relative=outcome.force_difference_max_relative,
        energy_difference_max_relative=outcome.energy_difference_max_relative,
    )
    potential = open_potential(options.model, start.numbers, trust=options.trust)
    if outcome.images is None:
        coverage = coverage_of_requests(potential, folder / DISTANCES)
        result = replace(
            _with_temperatures(result, columns, len(start.numbers), outcome.beads),
            coverage=coverage,
        )
    else:
        path = _path(options, potential, outcome.images)
        store.put(PATH, path)
        coverage = coverage_of_path(potential, path.tags.get("distance"))
        result = replace(_with_barriers(result, path), coverage=coverage)
    warn_of(store, result.coverage)
    return result


def _first(start: Dataset) -> Atoms:
    """The molecule as i-PI numbers its atoms."""
    return start[:1].to_atoms()[0]


def _plain_start(given: Path | Dataset, atoms: Dataset, folder: Path) -> Path:
    """A file of the start that i-PI reads as it was read here.

    That is the file itself where i-PI, or ASE for it, understands the file: in angstrom or with
    i-PI's own units, without masses, D or T, and without a byte-order mark. Otherwise all its
    frames, which may be the images of a path, are written to start.xyz in angstrom.
    """
    if not isinstance(given, Dataset) and _is_plain(given, atoms):
        return given
    bare = Dataset(atoms.numbers, atoms.positions, masses=atoms.masses)
    files.write(folder / "start.xyz", bare)
    return folder / "start.xyz"


def _is_plain(path: Path, atoms: Dataset) -> bool:
    if files.split_frames(path)[1] is not None:
        return False
    with open_regular(path, None) as stream:
        marked = stream.read(3) == UTF8_MARK
    usual = atoms.provenance.units.split(", ")[1] == "angstrom" or declares_units(path)
    return path.suffix != ".npz" and usual and not marked and atoms.masses is None


def _with_temperatures(
    result: IpiRun, columns: dict[str, np.ndarray], atoms: int, beads: int
) -> IpiRun:
    """A run of dynamics with what its scalars tell."""
    kelvin = columns["temperature_K"]
    ensemble = columns.get("ensemble_K", np.zeros(len(kelvin)))
    temperatures = np.unique(ensemble)
    if "replica" in columns:
        result = _with_ensembles(result, columns, temperatures)
    if len(temperatures) > 1:
        return result
    result = replace(result, temperature_mean_K=float(kelvin.mean()))
    if "quantum_kinetic_eV" not in columns:
        return result
    half = slice(len(kelvin) // 2, None)
    kinetic = columns["quantum_kinetic_eV"][half]
    nuclei = QuantumNuclei(
        beads=beads,
        quantum_kinetic_mean_eV=float(kinetic.mean()),
        quantum_kinetic_error_eV=_standard_error(kinetic),
        classical_kinetic_eV=float(1.5 * atoms * KB * temperatures[0]),
        gyration_mean_A=float(columns["gyration_A"][half].mean()),
    )
    return replace(result, nuclei=nuclei)


def _with_ensembles(
    result: IpiRun, columns: dict[str, np.ndarray], temperatures: np.ndarray
) -> IpiRun:
    """A run of several systems with the temperatures (ensembles,) of their ensembles."""
    kelvin, ensemble = columns["temperature_K"], columns["ensemble_K"]
    by_replica = ensemble.reshape(-1, len(np.unique(columns["replica"])))
    parts = [kelvin[ensemble == which] for which in temperatures]
    return replace(
        result,
        exchanges_seen=int((np.diff(by_replica, axis=0) != 0).any(axis=1).sum()),
        ensembles_K=tuple(temperatures.tolist()),
        ensembles_mean_K=tuple(float(part.mean()) for part in parts),
        ensembles_error_K=tuple(_standard_error(part) for part in parts),
    )


def _standard_error(series: np.ndarray) -> float:
    """Standard error of the mean of a series (records,), with its autocorrelation."""
    inefficiency = 1 + 2 * autocorrelation_time(series[:, None])
    return float(series.std() * np.sqrt(inefficiency / len(series)))


def _path(options: Ipi, potential: Potential, images: np.ndarray) -> Dataset:
    """The path that i-PI sought, images (images, atoms, 3), with the direct call's labels."""
    found = potential(images)
    distances = distances_of(potential, images, found.energies)
    tags = {"image": np.arange(len(images)), "coordinate": path_length(images)}
    if distances is not None:
        tags["distance"] = distances
    provenance = labels_by(options.model, potential)
    return Dataset(potential.numbers, images, found.energies, found.forces, tags, provenance)


def _with_barriers(result: IpiRun, path: Dataset) -> IpiRun:
    """A run that sought a path with its barriers."""
    energies = path.labels()[0] / KCAL_MOL
    return replace(
        result,
        image_count=len(path),
        barrier_kcal_mol=float(energies.max() - energies[0]),
        barrier_back_kcal_mol=float(energies.max() - energies[-1]),
        reaction_energy_kcal_mol=float(energies[-1] - energies[0]),
    )
