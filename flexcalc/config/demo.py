"""Options of `flexcalc demo`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from flexcalc.fields import Address, Batch, Count, Femtoseconds, Natural, Positive, Workers


@dataclass(frozen=True, kw_only=True)
class Demo:
    """Run the complete workflow on glycine, with a report, in minutes on two cores."""

    positional: ClassVar[tuple[str, ...]] = ()
    usual: ClassVar[tuple[str, ...]] = ("reference", "frames", "points", "steps", "workers")
    changeable: ClassVar[tuple[str, ...]] = ("workers",)

    reference: Address = "xtb:GFN2-xTB"
    """Reference method."""
    frames: Count = 800
    """Number of frames to label."""
    temperature_K: Positive = 500.0
    """Temperature of the sampling, in kelvin."""
    sampling_replicas: Batch = 4
    """Number of sampling runs from each of the two minima."""
    spacing_fs: Femtoseconds = 20.0
    """Time between labelled frames, in femtoseconds."""
    points: Count = 300
    """Number of training points."""
    validation_points: Count = 150
    """Number of validation frames, which select the hyperparameters."""
    replicas: Batch = 8
    """Number of replicas of the dynamics at 300 K."""
    steps: Count = 4000
    """Number of steps of the dynamics at 300 K."""
    workers: Workers = 2
    """Number of worker processes that label in parallel."""
    seed: Natural = 0
    """Seed of all random numbers."""
