"""Potentials for i-PI: i-PI with its clients, or the client alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from flexcalc import files
from flexcalc.adapters import ipi as adapter
from flexcalc.adapters.ipi.start import declares_units
from flexcalc.config import Ipi, Serve
from flexcalc.dataset import Dataset, Provenance
from flexcalc.files.text import UTF8_MARK
from flexcalc.methods.path import path_length
from flexcalc.registry import name_of, open_potential
from flexcalc.results.ipi import PATH, SCALARS, IpiRun
from flexcalc.storage import open_regular
from flexcalc.store import Store
from flexcalc.tasks.molecule import electrons_of, following
from flexcalc.units import KCAL_MOL

if TYPE_CHECKING:
    from ase import Atoms


def serve(options: Serve) -> int:
    """Answer a running i-PI until it says EXIT; returns the number of evaluations.

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
    start = files.read(options.start)
    options = following(options, electrons_of(start))
    found = store.begin(options)
    if found is not None:
        return IpiRun.from_dict(found, store)
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
                start=_plain_start(options.start, start, folder),
                compare=options.compare,
                trust=options.trust,
                allow_remote=options.allow_remote,
                timeout_s=options.timeout_s,
            ),
            progress,
        )
    columns = {name: np.asarray(column, float) for name, column in outcome.scalars.items()}
    store.put(SCALARS, columns)
    result = IpiRun(
        store=store,
        input=str(options.input),
        model=name_of(options.model),
        clients=options.clients,
        steps=int(columns["step"][-1]),
        force_difference_max_relative=outcome.force_difference_max_relative,
        energy_difference_max_relative=outcome.energy_difference_max_relative,
    )
    if outcome.images is None:
        return _with_temperatures(result, columns)
    path = _path(options, start.numbers, outcome.images)
    store.put(PATH, path)
    return _with_barriers(result, path)


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
    with open_regular(path, None) as stream:
        marked = stream.read(3) == UTF8_MARK
    usual = atoms.provenance.units.split(", ")[1] == "angstrom" or declares_units(path)
    return path.suffix != ".npz" and usual and not marked and atoms.masses is None


def _with_temperatures(result: IpiRun, columns: dict[str, np.ndarray]) -> IpiRun:
    """A run of dynamics with what its scalars tell."""
    kelvin = columns["temperature_K"]
    result = replace(result, temperature_mean_K=float(kelvin.mean()))
    ensemble = columns.get("ensemble_K")
    if ensemble is None:
        return result
    by_replica = ensemble.reshape(-1, len(np.unique(columns["replica"])))
    different = np.unique(ensemble)
    return replace(
        result,
        exchanges_seen=int((np.diff(by_replica, axis=0) != 0).any(axis=1).sum()),
        ensembles_K=tuple(different.tolist()),
        ensembles_mean_K=tuple(float(kelvin[ensemble == which].mean()) for which in different),
    )


def _path(options: Ipi, numbers: np.ndarray, images: np.ndarray) -> Dataset:
    """The path that i-PI sought, images (images, atoms, 3), with the direct call's labels."""
    found = open_potential(options.model, numbers, trust=options.trust)(images)
    tags = {"image": np.arange(len(images)), "coordinate": path_length(images)}
    provenance = Provenance(level=name_of(options.model))
    return Dataset(numbers, images, found.energies, found.forces, tags, provenance)


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
