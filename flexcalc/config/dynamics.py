"""Options of molecular dynamics and of free energies from it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from flexcalc.config.shared import MapsAtoms, OpensPotentials
from flexcalc.fields import Batch, Count, GeometryLike, Natural, Positive, PotentialLike
from flexcalc.methods.dynamics import Dynamics, Langevin
from flexcalc.methods.guard import Guards
from flexcalc.methods.metadynamics import Hills, WellTempered


@dataclass(frozen=True, kw_only=True)
class Md(Guards, MapsAtoms, OpensPotentials):
    """Run molecular dynamics of many replicas in one batch."""

    positional: ClassVar[tuple[str, ...]] = ("model", "start")
    usual: ClassVar[tuple[str, ...]] = (
        "method",
        "temperature_K",
        "timestep_fs",
        "steps",
        "replicas",
    )
    changeable: ClassVar[tuple[str, ...]] = ("steps", *Guards.changeable_guards)

    model: PotentialLike
    """Potential to run on."""
    start: GeometryLike
    """Starting geometry; several frames are distributed over the replicas in turn."""
    method: Dynamics = field(default_factory=Langevin)
    """Integrator and thermostat: `nve` is constant-energy; `langevin`, `rescaling` (Bussi) and
    `nose-hoover` are constant-temperature dynamics."""
    steps: Count = 10000
    """Number of timesteps."""
    replicas: Batch = 1
    """Number of replicas, integrated in one batch."""
    exchange_every: Count | None = None
    """Steps between attempts to exchange the geometries of replicas that are neighbours in
    temperature (replica exchange, parallel tempering); the temperatures are
    `replica_temperatures_K` of the method. Without, replicas are independent."""
    plumed: Path | None = None
    """PLUMED input whose bias acts on every replica; `{replica}` and `{replicas}` in it stand for
    numbers. Files it reads need absolute paths; those it writes go to OUTPUT/plumed. Actions
    that can run code or write elsewhere need `trust`. Set the environment variable PLUMED_KERNEL
    to use another libplumedKernel.so than that of flexcalc[plumed]."""
    frame_every: Count = 20
    """Steps between saved frames; their energies and forces are the model's, without any bias."""
    frame_replicas: Count | None = None
    """Number of replicas whose frames are saved, from the first; all by default."""
    scalars_every: Count | None = None
    """Steps between rows of scalars.csv; `frame_every` by default."""
    seed: Natural = 0
    """Seed of all random numbers."""


@dataclass(frozen=True, kw_only=True)
class Metad(Guards, MapsAtoms, OpensPotentials):
    """Run metadynamics of walkers that share one bias, for a free-energy surface."""

    positional: ClassVar[tuple[str, ...]] = ("model", "start")
    usual: ClassVar[tuple[str, ...]] = (
        "temperature_K",
        "timestep_fs",
        "steps",
        "walkers",
        "height_kcal_mol",
        "bias_factor",
        "pace",
    )
    changeable: ClassVar[tuple[str, ...]] = ("steps", *Guards.changeable_guards)

    model: PotentialLike
    """Potential to run on."""
    start: GeometryLike
    """Starting geometry; several frames are distributed over the walkers in turn."""
    coordinate: tuple[str, ...]
    """One to three coordinates to bias, such as "dihedral 4 6 7 12" (counted from 0)."""
    method: Dynamics = field(default_factory=Langevin)
    """Integrator and thermostat."""
    hills: Hills = field(default_factory=WellTempered)
    """Kind of hills."""
    upper_wall: tuple[str, ...] = ()
    """Harmonic walls that keep coordinates below a value, such as "distance 0 1 at 3.5 kappa 50":
    in degrees or angstrom, and kcal/mol per unit squared."""
    lower_wall: tuple[str, ...] = ()
    """Harmonic walls that keep coordinates above a value."""
    steps: Count = 100000
    """Number of timesteps."""
    walkers: Batch = 1
    """Number of walkers that share the bias, integrated in one batch."""
    frame_every: Count = 20
    """Steps between saved frames; their energies and forces are the model's, without the bias."""
    colvar_every: Count = 20
    """Steps between lines of COLVAR."""
    seed: Natural = 0
    """Seed of all random numbers."""


@dataclass(frozen=True, kw_only=True)
class UmbrellaSampling(Guards, MapsAtoms, OpensPotentials):
    """Run umbrella sampling, all windows in one batch, for a free-energy profile with errors."""

    positional: ClassVar[tuple[str, ...]] = ("model", "start")
    usual: ClassVar[tuple[str, ...]] = (
        "low",
        "high",
        "windows",
        "temperature_K",
        "steps",
        "equilibration",
    )
    changeable: ClassVar[tuple[str, ...]] = ("steps", *Guards.changeable_guards)

    model: PotentialLike
    """Potential to run on."""
    start: GeometryLike
    """Starting geometry; of several frames, such as a path, each window uses the nearest."""
    coordinate: tuple[str, ...]
    """One or two coordinates to restrain, such as "dihedral 4 6 7 12" (counted from 0)."""
    low: tuple[float, ...] = ()
    """Centre of the first window, one per coordinate, in degrees or angstrom. By default windows
    cover the full circle of a dihedral."""
    high: tuple[float, ...] = ()
    """Centre of the last window, one per coordinate."""
    windows: tuple[Batch, ...] = ()
    """Number of windows along each coordinate; by default one every 15 degrees of a dihedral, 5
    degrees of an angle, 0.1 otherwise. Two coordinates get a window for every combination."""
    kappa_kcal_mol: tuple[Positive, ...] = ()
    """Force constants of the restraints kappa/2 (s - centre)^2, one per coordinate, in kcal/mol
    per degree or angstrom squared; by default their thermal width is half the window spacing."""
    method: Dynamics = field(default_factory=Langevin)
    """Integrator and thermostat."""
    steps: Count = 60000
    """Number of timesteps, including equilibration."""
    equilibration: Count = 10000
    """Timesteps that are discarded; in the first half of them each window is pulled from its start
    to its centre."""
    frame_every: Count = 200
    """Steps between saved frames; their energies and forces are the model's, without restraints."""
    colvar_every: Count = 20
    """Steps between lines of COLVAR, from which the free energy is computed."""
    seed: Natural = 0
    """Seed of all random numbers."""
