"""The result of `learn`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Literal, cast, get_args

import numpy as np

from flexcalc.analysis.dihedrals import DihedralMap
from flexcalc.dataset import Dataset
from flexcalc.display import figures, learning
from flexcalc.display.drawing import Drawing
from flexcalc.display.numbers import counted
from flexcalc.errors import InputError
from flexcalc.models.family import TrainedPotential
from flexcalc.registry import load
from flexcalc.results.as_model import ActsAsModel
from flexcalc.results.base import Result, figure, frame_of_rows, part
from flexcalc.results.calibration import (
    BAND,
    CALIBRATION,
    CHECK,
    FIRST,
    KNOWN,
    PURPOSE,
    RANDOM,
    SCAN,
    UNSURE,
    Calibration,
    JudgedFrame,
    calibration_drawing,
)
from flexcalc.results.crash import (
    CrashedAt,
    CrashTested,
    Kept,
    crash_verdict,
    lasted_up_to_K,
    lost_replicas,
)
from flexcalc.results.rows import Row
from flexcalc.results.stationary import LearnedBarrier, LearnedMinimum, PointsChecked
from flexcalc.results.targets import Targets

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MODEL, LABELS, ROUNDS, EXPLORED = "model.flex", "labels.xyz", "rounds.json", "explored.xyz"
BASELINES = "baselines.json"
Quantity = Literal["errors", "calibration", "dihedrals"]
Table = Literal["rounds", "frames"]


def round_name(number: int) -> str:
    """The part of a store that holds a round."""
    return f"round-{number}"


@dataclass(frozen=True, kw_only=True)
class LearnRound(Row):
    """A round: the model before its labels were trained on, judged on those labels.

    Errors of the random frames are unbiased for what the model's own dynamics visits.
    """

    stage: ClassVar[str] = "rounds"
    needed: ClassVar[tuple[str, ...]] = (
        *("labels", "training_points", "validation_points"),
        *("force_rmse_kcal_mol_A", "energy_rmse_kcal_mol"),
    )

    round: int
    training_points: int
    """Labelled frames that the model of the round was trained on."""
    validation_points: int
    """Labelled frames that chose its hyperparameters."""
    labels: int
    """Reference calculations so far, those of the round included."""
    force_rmse_kcal_mol_A: float
    """On the frames drawn at random, in kcal/mol/angstrom."""
    energy_rmse_kcal_mol: float
    """On the frames drawn at random, in kcal/mol."""
    unsure_force_rmse_kcal_mol_A: float | None
    """On the frames that were chosen because the model was unsure, in kcal/mol/angstrom."""
    error_over_deviation: float
    """Median over the frames of the round of force error over the committee's deviation."""
    rank_correlation: float | None
    """Spearman's correlation of predicted and true force error over the frames of the round."""
    complete_replicas: int
    """Replicas of the exploration that reached its end."""
    unsure_replicas: int
    """Replicas that ended where the model was unsure."""
    failed_replicas: int
    """Replicas that ended with a broken bond, a close contact or worse."""
    temperatures_K: tuple[float, ...] = ()
    """Temperatures of the exploration, ascending, in kelvin."""
    replicas_by_temperature: tuple[int, ...] = ()
    """Replicas at each of them."""
    complete_by_temperature: tuple[int, ...] = ()
    """Of these, the ones that reached the end of the exploration."""
    explored_ns: float | None = None
    """Dynamics of the replicas that are not driven, each up to its end, in nanoseconds."""
    stops_per_ns: float | None = None
    """Of these, the ones that ended early, divided by that time."""
    baseline: str | None = None
    """The weighted sum of baselines of the model of the round, where there are several."""
    barrier_error_kcal_mol: float | None = None
    """Largest error of the energy of a labelled top of a band, above the lowest labelled geometry;
    None where no top was labelled."""
    scale: float | None = None
    """Factor from deviations to predicted errors, by the rounds before."""
    confident_half_large_errors: float | None = None
    """Of the half of the frames with the lowest predicted errors, the share whose true force error
    exceeds twice the target."""

    @property
    def holds_up_to_K(self) -> float | None:
        """The highest temperature at which, as below it, all replicas were complete; or None."""
        return lasted_up_to_K(self._by_temperature())

    @property
    def ended_early(self) -> tuple[str, ...]:
        """For each temperature at which replicas ended early, how many did."""
        return lost_replicas(self._by_temperature())

    def _by_temperature(self) -> list[Kept]:
        """Replicas at each temperature, and the complete ones of them."""
        columns = (
            self.temperatures_K,
            self.complete_by_temperature,
            self.replicas_by_temperature,
        )
        return [Kept(*row) for row in zip(*columns, strict=False)]

    def described(self) -> str:
        """The round in one line."""
        return (
            f"round {self.round}: {self.labels} labels, force RMSE "
            f"{self.force_rmse_kcal_mol_A:.2f} kcal/mol/A, energy "
            f"{self.energy_rmse_kcal_mol:.2f} kcal/mol on random new frames; "
            f"{self.complete_replicas} replicas complete, {self.unsure_replicas} unsure, "
            f"{self.failed_replicas} failed"
        )


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class Learning(Result, ActsAsModel):
    """A force field that was learned, its labels, and how it got better.

    Can be used in place of its model: called with positions, saved, or handed to a `Calculator`.
    """

    command: ClassVar[str] = "learn"
    headline: ClassVar[tuple[str, ...]] = (
        *("reference", "labels", "round_count", "targets_reached"),
        *("force_rmse_kcal_mol_A", "energy_rmse_kcal_mol", "error_over_deviation"),
        *("share_within_factor_2", "confident_half_large_errors"),
        *("barriers_compared", "largest_barrier_error_kcal_mol"),
    )

    reference: str = figure("reference")
    """Address of the reference, or the class of one that was given as an object."""
    family: str = figure("family")
    """Name of the model family."""
    baseline: str | None = figure("baseline", default=None)
    """Potential that the final model is added to: of several, their weighted sum."""
    file: str = figure("model", key="model")
    """Folder of the model in the run folder."""
    labels: int = figure("labelled frames")
    """Frames with labels, all of which the final model is trained on."""
    known_labels: int = figure("labels known before", default=0)
    """Frames of `dataset` among them, which do not count towards the budget."""
    quarantined: int = figure("frames in quarantine")
    """Geometries that the reference gave no label for; they count towards the budget."""
    round_count: int = figure("rounds", key="rounds")
    """Number of rounds of exploration."""
    targets_reached: bool = figure("targets reached")
    """Whether all targets were held; otherwise the budget was spent."""
    force_rmse_kcal_mol_A: float | None = figure("force RMSE", "kcal/mol/A", default=None)
    """Of the model of the last round on random new frames of its own dynamics, in
    kcal/mol/angstrom; None without rounds."""
    energy_rmse_kcal_mol: float | None = figure("energy RMSE", "kcal/mol", default=None)
    """Likewise for energies, in kcal/mol."""
    error_over_deviation: float | None = figure("force error over deviation", default=None)
    """Factor from a deviation of the committee to the force error that it lets expect: the median
    of their ratios over the frames of the latest rounds."""
    stops_per_ns: float | None = figure("replicas that ended early", "1/ns", default=None)
    """In the last round, of those that were not driven."""
    barrier_error_kcal_mol: float | None = figure(
        "error of tops of bands", "kcal/mol", default=None
    )
    """Largest one of the last round, before these labels were trained on; None where there is
    none."""
    complete_share: float | None = figure("share of complete replicas", default=None)
    """Replicas of the last exploration that reached its end, as a share of all."""
    trusted_up_to_K: float | None = figure("trusted up to", "K", default=None)
    """Highest temperature at which, as below it, all replicas of the last exploration and of the
    crash test reached the end, in kelvin; None where the targets were not reached, or where some
    ended at each."""
    verdict: str | None = figure("verdict", default=None)
    """What the model may be used for and what not, as far as its rounds, its crash test, and the
    reference at its minima and barriers show."""
    crash: CrashTested | None = part(CrashTested)
    """Dynamics of the final model from its minima; None without a crash test, or where the model
    has no minimum."""
    points: PointsChecked | None = part(PointsChecked)
    """Minima and barriers of the final model, compared with the reference; None without checks."""

    calibration: Calibration | None = part(Calibration)
    """How reliable predicted force errors are, on the new frames of all rounds; None without
    rounds."""
    random_calibration: Calibration | None = part(Calibration, prefix="random_")
    """Likewise on those drawn at random alone; None where they are few."""

    trained: TrainedPotential | None = field(default=None)

    @property
    def rounds(self) -> tuple[LearnRound, ...]:
        """The rounds, the first after the first labels."""
        return tuple(LearnRound.from_dict(row) for row in self.store.get(ROUNDS) or ())

    @property
    def frames(self) -> tuple[JudgedFrame, ...]:
        """Predicted and true force errors of the new frames of each round."""
        return tuple(JudgedFrame.from_dict(row) for row in self.store.get(CALIBRATION) or ())

    @property
    def crash_rows(self) -> tuple[CrashedAt, ...]:
        """The crash test by temperature."""
        found = self.store.get(f"{CrashedAt.stage}.json")
        return tuple(CrashedAt.from_dict(row) for row in found or ())

    @property
    def minima(self) -> tuple[LearnedMinimum, ...]:
        """The minima of the final model, lowest first."""
        found = self.store.get(f"{LearnedMinimum.stage}.json")
        return tuple(LearnedMinimum.from_dict(row) for row in found or ())

    @property
    def barriers(self) -> tuple[LearnedBarrier, ...]:
        """The barriers between them, lowest saddle first."""
        found = self.store.get(f"{LearnedBarrier.stage}.json")
        return tuple(LearnedBarrier.from_dict(row) for row in found or ())

    @cached_property
    def model(self) -> TrainedPotential:
        """The potential, a committee, trained on all labels.

        Raises:
            AddressError, FileFormatError: its folder is gone or damaged.
        """
        if self.trained is not None:
            return self.trained
        return cast(TrainedPotential, load(self.store.place(self.file)))

    @cached_property
    def dataset(self) -> Dataset:
        """All labelled frames, with the tags `round` and `purpose`."""
        return self.store.get(LABELS)

    def to_frame(self, rows: Table = "rounds") -> Any:
        """A pandas table.

        Args:
            rows: a row for each of the "rounds", or for each of the "frames" that judged them,
                with its predicted and true force error.

        Raises:
            MissingExtraError: pandas is not installed.
            InputError: there is no such table.
        """
        if rows not in get_args(Table):
            raise InputError(f"rows: expected one of {', '.join(get_args(Table))}, found {rows!r}")
        found: Sequence[Row] = self.rounds if rows == "rounds" else self.frames
        return frame_of_rows([one.to_dict() for one in found])

    def first_geometry(self) -> Dataset | None:
        """The first labelled frame."""
        return self.store.first(LABELS)

    def plot(self, axes: Axes | None = None, quantity: Quantity = "errors") -> Axes:
        """Draw the errors on random new frames against the number of labels, or another quantity.

        Args:
            axes: of matplotlib; those of a new figure by default.
            quantity: "errors", "calibration" for predicted against true force errors of new
                frames, or "dihedrals" for a map of explored and labelled geometries.

        Returns:
            The axes.

        Raises:
            InputError: there is nothing to draw.
        """
        drawing = self.drawing(quantity)
        if drawing is None:
            raise InputError(f"quantity: this learning has no {quantity} to plot")
        return drawing.on(axes)

    def drawing(self, quantity: Quantity = "errors") -> Drawing | None:
        """See `plot`."""
        if quantity not in get_args(Quantity):
            known = ", ".join(get_args(Quantity))
            raise InputError(f"quantity: expected one of {known}, found {quantity!r}")
        if quantity == "calibration":
            return calibration_drawing(self.frames)
        if quantity == "dihedrals":
            found = self.dihedrals
            return None if found is None else dihedral_drawing(found, self.dataset)
        return curve(self.rounds)

    @cached_property
    def dihedrals(self) -> DihedralMap | None:
        """Rotatable dihedrals of labelled and explored geometries; None of a rigid molecule."""
        stores = (self.store.within(round_name(row.round)) for row in self.rounds)
        return dihedral_map(self.dataset, (one.get(EXPLORED) for one in stores))

    def summary(self) -> str:
        """The learning in one line."""
        why = "targets reached" if self.targets_reached else "the budget is spent"
        known = f" ({self.known_labels} known before)" if self.known_labels else ""
        line = f"{self.labels} labels{known} in {counted(self.round_count, 'round')}, {why}"
        if self.force_rmse_kcal_mol_A is not None:
            line += (
                f": force RMSE {self.force_rmse_kcal_mol_A:.3f} kcal/mol/A, energy RMSE "
                f"{self.energy_rmse_kcal_mol:.3f} kcal/mol on random new frames"
            )
        return line if self.verdict is None else f"{line}; {self.verdict}"


TrainedPotential.register(Learning)


def verdict_of(
    last: LearnRound | None,
    time_ps: float,
    *,
    reached: bool,
    crash: Sequence[CrashedAt] | None = None,
    targets: Targets | None = None,
) -> str:
    """What a model may be used for, as far as its last round and its crash test show.

    Args:
        last: the last round; None without any.
        time_ps: length of the exploration.
        reached: whether the rounds have held their targets.
        crash: the crash test by temperature; None where none was made.
        targets: that were asked for.
    """
    tested = "" if crash is None else f"; {crash_verdict(crash)}"
    if last is None:
        return f"NOT JUDGED: the labels did not suffice for a round{tested}"
    further = "" if targets is None else targets.verdict(last)
    tested = f"; {further}{tested}" if further else tested
    reasons = []
    if last.ended_early:
        reasons.append(f"of its replicas {', '.join(last.ended_early)} ended early")
    if not reached:
        why = "its errors on new geometries have not stayed below the targets for long enough"
        if targets is not None and targets.goes_further:
            why = "its rounds have not held all targets for long enough"
        return f"DO NOT TRUST IT YET: {'; '.join((why, *reasons))}{tested}"
    kelvin = trusted_up_to_K(last, crash)
    if any(row.failures for row in crash or ()):
        reasons.append("replicas of the crash test failed")
    if kelvin is None:
        why = "; ".join(reasons) or "it has no minimum to start from"
        return f"DO NOT TRUST IT in dynamics: {why}{tested}"
    beyond = f", not beyond ({'; '.join(reasons)})" if reasons else ""
    return f"trust it for dynamics of some {time_ps:g} ps up to {kelvin:g} K{beyond}{tested}"


def trusted_up_to_K(last: LearnRound, crash: Sequence[CrashedAt] | None) -> float | None:
    """Highest temperature that the last round and the crash test, where there is one, carry."""
    limits = [last.holds_up_to_K]
    if crash is not None:
        limits.append(lasted_up_to_K(row.kept for row in crash))
    known = [limit for limit in limits if limit is not None]
    return min(known) if len(known) == len(limits) else None


def curve(rounds: Sequence[LearnRound]) -> Drawing | None:
    """Errors of rounds against the number of labels; None without rounds."""
    if not rounds:
        return None
    spent = np.array([row.training_points + row.validation_points for row in rounds], float)
    errors = {
        "force RMSE, kcal/mol/A": np.array([row.force_rmse_kcal_mol_A for row in rounds]),
        "energy RMSE, kcal/mol": np.array([row.energy_rmse_kcal_mol for row in rounds]),
    }
    return figures.learning_curve(spent, errors)


def dihedral_map(labelled: Dataset, explored: Iterable[Dataset | None]) -> DihedralMap | None:
    """Rotatable dihedrals of labelled and explored frames; None of a rigid molecule.

    Args:
        labelled: at least one frame.
        explored: of each round, None where there are none; other molecules are left out.
    """
    same = (
        one.positions
        for one in explored
        if one is not None and np.array_equal(one.numbers, labelled.numbers)
    )
    return DihedralMap.of(labelled.numbers, labelled.positions, same)


def dihedral_drawing(found: DihedralMap, labelled: Dataset) -> Drawing:
    """A map of explored geometries, and of labelled ones by the reason why they were chosen."""
    purpose = labelled.tags[PURPOSE]
    groups = {
        one: found.labelled[purpose == one]
        for one in (RANDOM, UNSURE, BAND, SCAN, CHECK, FIRST, KNOWN)
        if (purpose == one).any()
    }
    labels = [f"{one.label} / {one.unit}" for one in found.drawn]
    return learning.dihedral_map(found.explored, groups, labels)
