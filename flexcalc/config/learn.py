"""The options of `flexcalc learn`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from flexcalc.config.shared import OpensPotentials
from flexcalc.config.workers import WORKER_OPTIONS, RunsOnWorkers
from flexcalc.fields import (
    FAMILY,
    Batch,
    Count,
    Fraction,
    GeometryLike,
    Members,
    Natural,
    NonNegative,
    NonNegativeNanoseconds,
    Picoseconds,
    Positive,
    PotentialLike,
    Seconds,
    Timestep,
)

CRASH_ROUNDS = 2
"""Length of the crash test by default, in lengths of the exploration of a round: it then costs
less than the rounds do."""


@dataclass(frozen=True, kw_only=True)
class Learn(RunsOnWorkers, OpensPotentials):
    """Learn a force field of a molecule by itself: explore, label where unsure, train, repeat."""

    positional: ClassVar[tuple[str, ...]] = ("*starts",)
    usual: ClassVar[tuple[str, ...]] = (
        "budget",
        "family",
        "baseline",
        "temperatures_K",
        "coordinate",
        "workers",
    )
    changeable: ClassVar[tuple[str, ...]] = (*WORKER_OPTIONS, "timeout_s")

    starts: tuple[GeometryLike, ...]
    """Starting geometries: files, all frames of which are used, or smiles:TEXT for conformers."""
    reference: PotentialLike
    """Method that gives energies and forces, such as xtb:GFN2-xTB or dft:PBE-D4/def2-SVP."""
    budget: Count = 200
    """Maximum number of reference calculations."""
    dataset: GeometryLike | None = None
    """Frames that the reference has labelled already, such as labels.xyz of an earlier run: the
    learning starts with them, and they do not count towards the budget."""
    first: Count | None = None
    """Number of labels before the first model, those of `dataset` included; by default a fifth of
    the budget, and two per model of the committee at least."""
    batch: Count | None = None
    """Number of reference calculations per round; by default a tenth of the budget."""
    checks: Natural | None = None
    """Number of reference calculations that check minima and barriers at the end, before the final
    model is trained on them too; 0 for none, by default a tenth of the budget."""
    random_share: Fraction = 0.25
    """Share of each batch that is drawn at random from the exploration: the unbiased test of the
    model of the round, and from then on validation frames."""
    family: Annotated[tuple[Any, ...], FAMILY] = ("sgdml",)
    """Model family to train, with its hyperparameters."""
    baseline: tuple[PotentialLike, ...] = ("auto",)
    """Baseline for delta learning, such as xtb:GFN2-xTB. Of several, a sum with weights that folds
    of the labels choose in every round; those that do not help are left out. "auto" is GFN2-xTB for
    a dft: reference and none otherwise; "none" is none."""
    committee: Members = 4
    """Models of the committee whose spread estimates the uncertainty."""
    sampler: PotentialLike | None = None
    """Potential that the first geometries are sampled on; by default the reference, or GFN2-xTB
    for a dft: reference."""
    conformers: Batch = 10
    """Maximum number of conformers of a smiles: start, lowest energy first."""
    temperatures_K: tuple[Positive, ...] = (300.0, 500.0, 800.0)
    """Temperatures of the exploration, in kelvin, distributed over the replicas in turn."""
    coordinate: tuple[str, ...] = ()
    """Coordinates that replicas are driven along besides the rotatable dihedrals, such as
    'dihedral 3 4 6 7' of a double bond, with the bends at its nitrogens. Candidates for labels
    are drawn evenly along them."""
    replicas: Batch = 24
    """Number of replicas of the exploration. A third starts with its rotatable bonds turned at
    random, another third is driven to random values of rotatable dihedrals and coordinates."""
    max_energy_kcal_mol: Positive = 20.0
    """Energy above the lowest labelled geometry, thermal motion not counted, up to which geometries
    are labelled; to be raised for barriers above it."""
    time_ps: Picoseconds = 2.0
    """Length of the exploration of a round, in picoseconds."""
    timestep_fs: Timestep = 0.5
    """Timestep of the exploration, in femtoseconds."""
    overlap: bool = False
    """Explore for the next round while the labels of a round are calculated, on the model at hand,
    which has not been trained on them: for an expensive reference that other cores calculate."""
    crash_test_ns: NonNegativeNanoseconds | None = None
    """Dynamics of the final model from its minima at the temperatures of the exploration, in
    nanoseconds, all replicas together; 0 for none, by default as much as in two rounds."""
    force_target_kcal_mol_A: Positive = 1.0
    """Stop when the force RMSE on geometries that the model has not seen stays below this."""
    energy_target_kcal_mol: Positive = 0.5
    """Stop when the energy error (RMSE about its mean) there stays below this as well."""
    stops_per_ns_target: NonNegative | None = None
    """Stop only if at most so many replicas per nanosecond end early as well, where the model is
    unsure or fails; driven replicas do not count. By default they are not asked for."""
    barrier_target_kcal_mol: Positive | None = None
    """Stop only if the error of barriers stays below this as well, in kcal/mol: that of the tops of
    bands, which are then the first of the bands to be labelled. By default it is not asked for."""
    patience: Count = 2
    """Number of rounds in a row, with ten random frames in all, that must reach all targets."""
    timeout_s: Seconds = 3600.0
    """Timeout for one label, in seconds."""
    seed: Natural = 0
    """Seed of all random numbers."""

    @property
    def first_count(self) -> int:
        """Labels before the first model."""
        return max(self.budget // 5, 2 * self.committee) if self.first is None else self.first

    @property
    def batch_count(self) -> int:
        """Reference calculations per round."""
        return max(self.budget // 10, 1) if self.batch is None else self.batch

    @property
    def check_count(self) -> int:
        """Reference calculations that check minima and barriers."""
        return self.budget // 10 if self.checks is None else self.checks

    @property
    def crash_ns(self) -> float:
        """Length of the crash test of all replicas together, in nanoseconds."""
        if self.crash_test_ns is None:
            return CRASH_ROUNDS * self.replicas * self.time_ps * 1e-3
        return self.crash_test_ns

    @property
    def budget_of_rounds(self) -> int:
        """Maximum number of reference calculations without those that check the model."""
        return self.budget - self.check_count
