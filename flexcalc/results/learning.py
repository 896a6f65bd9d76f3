"""The result of `learn`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar, cast

import numpy as np

from flexcalc.dataset import Dataset
from flexcalc.display import figures
from flexcalc.display.drawing import Drawing
from flexcalc.models.family import TrainedPotential
from flexcalc.registry import load
from flexcalc.results.as_model import ActsAsModel
from flexcalc.results.base import Result, figure, frame_of_rows, part
from flexcalc.results.rows import Row
from flexcalc.results.stationary import LearnedBarrier, LearnedMinimum, PointsChecked

MODEL, LABELS, ROUNDS = "model.flex", "labels.xyz", "rounds.json"


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
    """Force error over the committee's deviation: the scale of the uncertainty."""
    rank_correlation: float | None
    """Spearman's correlation of deviation and force error over the frames of the round."""
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

    @property
    def holds_up_to_K(self) -> float | None:
        """The highest temperature at which, as below it, all replicas were complete; or None."""
        held = None
        for kelvin, complete, count in self._by_temperature():
            if complete < count:
                return held
            held = kelvin
        return held

    @property
    def ended_early(self) -> tuple[str, ...]:
        """For each temperature at which replicas ended early, how many did."""
        return tuple(
            f"{count - complete} of {count} at {kelvin:g} K"
            for kelvin, complete, count in self._by_temperature()
            if complete < count
        )

    def _by_temperature(self) -> Iterator[tuple[float, int, int]]:
        """Temperature, complete replicas, and all of them."""
        return zip(
            self.temperatures_K,
            self.complete_by_temperature,
            self.replicas_by_temperature,
            strict=False,
        )

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
        *("barriers_compared", "largest_barrier_error_kcal_mol"),
    )

    reference: str = figure("reference")
    """Address of the reference, or the class of one that was given as an object."""
    family: str = figure("family")
    """Name of the model family."""
    baseline: str | None = figure("baseline", default=None)
    """Potential that the model is added to."""
    file: str = figure("model", key="model")
    """Folder of the model in the run folder."""
    labels: int = figure("labelled frames")
    """Frames with labels, all of which the final model is trained on."""
    quarantined: int = figure("frames in quarantine")
    """Geometries that the reference gave no label for; they count towards the budget."""
    round_count: int = figure("rounds", key="rounds")
    """Number of rounds of exploration."""
    targets_reached: bool = figure("targets reached")
    """Whether both errors stayed below their targets; otherwise the budget was spent."""
    force_rmse_kcal_mol_A: float | None = figure("force RMSE", "kcal/mol/A", default=None)
    """Of the model of the last round on random new frames of its own dynamics, in
    kcal/mol/angstrom; None without rounds."""
    energy_rmse_kcal_mol: float | None = figure("energy RMSE", "kcal/mol", default=None)
    """Likewise for energies, in kcal/mol."""
    error_over_deviation: float | None = figure("force error over deviation", default=None)
    """Scale of the uncertainty in the last round."""
    complete_share: float | None = figure("share of complete replicas", default=None)
    """Replicas of the last exploration that reached its end, as a share of all."""
    trusted_up_to_K: float | None = figure("trusted up to", "K", default=None)
    """Highest temperature at which, as below it, all replicas of the last exploration reached its
    end, in kelvin; None where the targets were not reached, or where some ended at each."""
    verdict: str | None = figure("verdict", default=None)
    """What the model may be used for and what not, as far as its rounds, and the reference at its
    minima and barriers, show."""
    points: PointsChecked | None = part(PointsChecked)
    """Minima and barriers of the final model, compared with the reference; None without checks."""

    trained: TrainedPotential | None = field(default=None)

    @property
    def rounds(self) -> tuple[LearnRound, ...]:
        """The rounds, the first after the first labels."""
        return tuple(LearnRound.from_dict(row) for row in self.store.get(ROUNDS) or ())

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

    def to_frame(self) -> Any:
        """A pandas table with a row for each round."""
        return frame_of_rows([one.to_dict() for one in self.rounds])

    def first_geometry(self) -> Dataset | None:
        """The first labelled frame."""
        return self.store.first(LABELS)

    def drawing(self) -> Drawing | None:
        """Errors on random new frames against the number of labels."""
        return curve(self.rounds)

    def summary(self) -> str:
        """The learning in one line."""
        why = "targets reached" if self.targets_reached else "the budget is spent"
        line = f"{self.labels} labels in {self.round_count} rounds, {why}"
        if self.force_rmse_kcal_mol_A is not None:
            line += (
                f": force RMSE {self.force_rmse_kcal_mol_A:.3f} kcal/mol/A, energy RMSE "
                f"{self.energy_rmse_kcal_mol:.3f} kcal/mol on random new frames"
            )
        return line if self.verdict is None else f"{line}; {self.verdict}"


TrainedPotential.register(Learning)


def verdict_of(last: LearnRound | None, time_ps: float, *, reached: bool) -> str:
    """What a model may be used for, as far as its last round shows.

    Args:
        last: the last round; None without any.
        time_ps: length of the exploration.
        reached: whether the errors stayed below their targets.
    """
    if last is None:
        return "NOT JUDGED: the labels did not suffice for a round"
    early = f"{', '.join(last.ended_early)} ended early" if last.ended_early else ""
    if not reached:
        why = "its errors on new geometries are above the targets"
        return f"DO NOT TRUST IT YET: {why}{early and f'; of its replicas {early}'}"
    kelvin = last.holds_up_to_K
    if kelvin is None:
        return f"DO NOT TRUST IT in dynamics: of its replicas {early}"
    beyond = f", not beyond (of its replicas {early})" if early else ""
    return f"trust it for dynamics of some {time_ps:g} ps up to {kelvin:g} K{beyond}"


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
