"""Options of `flexcalc label`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from flexcalc.config.shared import OpensPotentials
from flexcalc.config.workers import WORKER_OPTIONS, RunsOnWorkers
from flexcalc.fields import Batch, GeometryLike, Natural, PotentialLike, Seconds
from flexcalc.methods.sampling import Sampling, Thermal


@dataclass(frozen=True, kw_only=True)
class Label(RunsOnWorkers, OpensPotentials):
    """Sample geometries of a molecule and label them with a reference method."""

    positional: ClassVar[tuple[str, ...]] = ("reference", "*starts")
    usual: ClassVar[tuple[str, ...]] = ("samples", "frames", "temperature_K", "workers")
    changeable: ClassVar[tuple[str, ...]] = (
        *WORKER_OPTIONS,
        *("timeout_s", "retry_quarantined"),
    )

    reference: PotentialLike
    """Method that gives energies and forces, such as xtb:GFN2-xTB or dft:PBE-D4/def2-SVP."""
    starts: tuple[GeometryLike, ...]
    """Starting geometries: files, all frames of which are used, or smiles:TEXT for conformers."""
    samples: tuple[Sampling, ...] = (Thermal(),)
    """Sampling methods; a flag for one of their options applies to all methods that have it."""
    sampler: PotentialLike | None = None
    """Potential used for sampling; by default the reference, or GFN2-xTB for a dft: reference."""
    conformers: Batch = 10
    """Maximum number of conformers of a smiles: start, lowest energy first."""
    timeout_s: Seconds = 3600.0
    """Timeout for one label, in seconds."""
    retry_quarantined: bool = False
    """Retry the geometries in quarantine.xyz, after the cause of their failure is fixed."""
    seed: Natural = 0
    """Seed of all random numbers."""
