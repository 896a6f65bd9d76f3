"""Options of `flexcalc train`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from flexcalc.config.shared import LabelledFrames, OpensPotentials
from flexcalc.fields import (
    FAMILY,
    Address,
    Count,
    GeometryLike,
    Members,
    Natural,
    Positive,
    PotentialLike,
)
from flexcalc.training.refinement import By
from flexcalc.training.selection import Selection

USUAL_POINTS = 200
"""Training points by default, where there are twice as many frames; see `tasks/fitting.py`."""


@dataclass(frozen=True, kw_only=True)
class Train(LabelledFrames, OpensPotentials):
    """Train one or several model families on a dataset."""

    positional: ClassVar[tuple[str, ...]] = ("dataset",)
    usual: ClassVar[tuple[str, ...]] = (
        "family",
        "points",
        "validation_points",
        "committee",
        "baseline",
    )
    changeable: ClassVar[tuple[str, ...]] = ()
    makes_model: ClassVar[bool] = True

    dataset: GeometryLike
    """Labelled frames: extxyz, or npz with its units. Without energies, sGDML, mixtures of sGDML
    and networks are trained on forces alone."""
    family: Annotated[tuple[Any, ...], FAMILY] = ("sgdml",)
    """Model families to train, each with its hyperparameters."""
    points: Count | None = None
    """Number of training points; by default 200, or half of the frames if there are fewer than
    400."""
    validation_points: Natural | None = None
    """Number of validation frames, which select the hyperparameters; by default 200, or all
    remaining frames if those are fewer, or a quarter of fewer than 400 frames if `points` is left
    to its default too."""
    selection: Selection = "stratified"
    """Selection of training points: `stratified` preserves the distribution of energies, if any;
    `random` draws frames uniformly; `farthest` adds the frame least similar to those selected
    so far; `clusters` draws from each cluster of similar geometries and energies."""
    refine_rounds: Natural = 0
    """Rounds of active learning that add points where errors are largest, up to `points` in total;
    the first model and every round get equal numbers."""
    refine_by: By = "worst"
    """Selection of the points that are added: `worst` takes the worst frames of the clusters with
    the largest errors; `error` draws frames with a probability proportional to their force
    error, which gives lower errors on average over all frames."""
    folds: Natural = 0
    """Folds of a cross-validation: mean errors over the folds select the hyperparameters, without
    validation frames, and the model of the best fold is kept. 0 for none."""
    train_folds: Count | None = None
    """Folds that each model is trained on, with `points` in total; by default all but one."""
    committee: Members = 1
    """Models of a committee, each trained on all but a different part of the points, with the
    hyperparameters selected on all points. Their spread estimates the uncertainty of the
    forces. 1 for a single model."""
    baseline: tuple[PotentialLike, ...] = ()
    """Baseline for delta learning, such as xtb:GFN2-xTB or dispersion:D4/PBE: the difference
    between labels and baseline is learned, and the model is the sum of both. Of several, a sum with
    weights that folds of the training points choose; those that do not help are left out."""
    teacher: PotentialLike | None = None
    """Teacher of a student, such as a model on a baseline: it labels further geometries, and the
    model that is trained on them and on the dataset does without it."""
    teacher_points: Count | None = None
    """Number of geometries that the teacher labels for the training; by default 1000, or 60 for
    each atom of a molecule of more than 16 (1440 of azobenzene), and fewer of one of more than
    24."""
    teacher_temperature_K: Positive | None = None
    """Temperature in kelvin of the dynamics that visits those geometries; by default that of the
    training points, estimated from the spread of their energies."""
    label_weight: Positive = 10.0
    """Weight of a label of the dataset, where one of the teacher has weight 1: it divides the
    regularization of sGDML and multiplies the squared errors of a network."""
    start_from: Address | None = None
    """Trained network whose weights the training starts from: the folder of a model of the same
    family, such as one of many cheap labels. The constant of the energies is fitted again."""
    learning_curve: tuple[Count, ...] = ()
    """Smaller numbers of training points for a learning curve, with the same hyperparameters."""
    overwrite: bool = False
    """Replace another model at the output NAME.flex; without it that is refused."""
    seed: Natural = 0
    """Seed of all random numbers."""

    @property
    def training_points(self) -> int:
        """`points`, or the usual number where it is not set."""
        return self.points or USUAL_POINTS
