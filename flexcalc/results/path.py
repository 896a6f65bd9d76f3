"""The result of a path search."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from flexcalc.dataset import Dataset
from flexcalc.display import figures
from flexcalc.display.drawing import Drawing
from flexcalc.potential import Potential
from flexcalc.registry import load
from flexcalc.results.base import MoleculeResult, data_frame, figure, part
from flexcalc.results.coverage import Coverage, outside_of
from flexcalc.results.evaluations import Evaluations, added
from flexcalc.results.saddle import Saddle
from flexcalc.units import KCAL_MOL

if TYPE_CHECKING:
    from ase import Atoms

PATH, RELABELLED, EQUIVALENTS = "path.xyz", "relabelled.xyz", "equivalents.xyz"
CONVERGENCE = "convergence.csv"
ROUNDS, RETRAINED = "rounds.json", "model.flex"
LABELS = "labels.xyz"
"""Labels of the reference, of a search that a model has assisted."""


def round_name(number: int) -> str:
    """The part of a store that holds a round of refinement."""
    return f"round-{number}"


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class Path(MoleculeResult):
    """A path between two geometries, its barrier, and the results of further stages."""

    command: ClassVar[str] = "path"
    headline: ClassVar[tuple[str, ...]] = (
        *("barrier_kcal_mol", "barrier_reference_kcal_mol", "barrier_error_kcal_mol"),
        *("profile_max_error_kcal_mol", "image_count", "steps", "force_residual_eV_A"),
        "largest_distance",
    )

    method: str = figure("method")
    """Kind of the path method."""
    image_count: int = figure("images", key="images")
    """Number of images, both ends included."""
    steps: int = figure("steps")
    """Number of steps done."""
    converged: bool = figure("converged")
    """Whether the path has settled, and its highest image has climbed to the barrier."""
    advice: str | None = figure("", default=None)
    """What is left and what to try, where the path has not converged."""
    force_residual_eV_A: float = figure("largest force left", "eV/A")
    """Largest length of an atom's force across the path, in eV/angstrom."""
    force_residual_image: int = figure("on image")
    """Image that has it."""
    path_length_A: float = figure("length of the path", "A")
    """Length of the path in angstrom."""
    barrier_kcal_mol: float = figure(
        "barrier on the model", "kcal/mol", key="barrier_model_kcal_mol"
    )
    """Energy of the highest image above the first, in kcal/mol."""
    barrier_back_kcal_mol: float = figure(
        "barrier back on the model", "kcal/mol", key="barrier_back_model_kcal_mol"
    )
    """Energy of the highest image above the last, in kcal/mol."""
    reaction_energy_kcal_mol: float = figure(
        "reaction energy on the model", "kcal/mol", key="reaction_energy_model_kcal_mol"
    )
    """Energy of the last image above the first, in kcal/mol."""
    degenerate: bool | None = figure("degenerate rearrangement", default=None)
    """Whether the ends differ only by a permutation of identical atoms; None where only a
    first path was given."""
    equivalent_paths: int | None = figure("equivalent paths", default=None)
    """Number of different paths that are this one with identical atoms permuted."""
    barrier_reference_kcal_mol: float | None = figure(
        "barrier of the reference", "kcal/mol", default=None
    )
    """Energy of the reference's highest image above the first, in kcal/mol."""
    barrier_error_kcal_mol: float | None = figure("error of the barrier", "kcal/mol", default=None)
    """Barrier on the model minus that of the reference, in kcal/mol."""
    reaction_energy_reference_kcal_mol: float | None = figure(
        "reaction energy of the reference", "kcal/mol", default=None
    )
    """Energy of the last image above the first by the reference, in kcal/mol."""
    profile_rmse_kcal_mol: float | None = figure(
        "root-mean-square error along the path", "kcal/mol", default=None
    )
    """Root-mean-square error of the profile, in kcal/mol."""
    profile_max_error_kcal_mol: float | None = figure(
        "largest error along the path", "kcal/mol", default=None
    )
    """Largest error of the profile, in kcal/mol."""
    worst_image: int | None = figure("image with the largest error", default=None)
    """Image that has it."""
    worst_image_deviation_eV_A: float | None = figure(
        "deviation of the committee there", "eV/A", default=None
    )
    """Largest deviation of a committee's forces on an atom of that image, in eV/angstrom."""
    left_for_saddle: bool | None = figure("left for its saddle", default=None)
    """Whether the search of the path was left early for the saddle that joins its ends: the images
    are then points of the descent from it, between the minima where that ends."""
    evaluations: Evaluations | None = part(Evaluations)
    """Geometries that were evaluated for the path, without those for its saddle."""
    coverage: Coverage | None = part(Coverage)
    """How far the images are from the training data; None without a domain."""
    saddle: Saddle | None = part(Saddle)
    """The saddle that the highest image was refined to, where that was asked for."""
    training_points: int | None = figure("training points", default=None)
    """Training points of the model of the last round, where the model was refined."""
    round_count: int | None = figure("rounds of refinement", key="rounds", default=None)
    """Number of rounds in which the model was trained again."""
    barrier_holds: bool | None = figure("barrier holds", default=None)
    """Whether the error of the barrier has come below the tolerance of the refinement."""

    def summary(self) -> str:
        """The path in one line."""
        state = "converged" if self.converged else "NOT CONVERGED"
        state = "left for its saddle" if self.left_for_saddle else state
        line = (
            f"{self.method} of {self.image_count} images, {state} in {self.steps} steps: barrier "
            f"{self.barrier_kcal_mol:.3f}, back {self.barrier_back_kcal_mol:.3f}, reaction energy "
            f"{self.reaction_energy_kcal_mol:.3f} kcal/mol"
        )
        if self.barrier_error_kcal_mol is not None:
            line += f"; error of the barrier {self.barrier_error_kcal_mol:+.3f} kcal/mol"
        spent = self.all_evaluations
        line += f"; {spent.summary()}" if spent is not None else ""
        if self.coverage is not None:
            line += f"; {self.coverage.summary()}"
        if self.saddle is not None and self.saddle.coverage is not None:
            line += f"; saddle: {self.saddle.coverage.summary()}"
        return line

    @property
    def all_evaluations(self) -> Evaluations | None:
        """Geometries that were evaluated for the path and its saddle; None where not counted."""
        saddle = None if self.saddle is None else self.saddle.evaluations
        return added([self.evaluations, saddle])

    def to_dataset(self) -> Dataset:
        """The images with the labels of the model; the tags `image`, `coordinate`, the length
        along the path in angstrom, and `distance` to the training data, where it is known."""
        return self.store.get(PATH)

    @property
    def images(self) -> list[Atoms]:
        """The images as ase.Atoms, with energies and forces."""
        return self.to_dataset().to_atoms()

    @property
    def energies(self) -> np.ndarray:
        """Energies (images,) on the model, in eV."""
        return self.to_dataset().labels()[0]

    @property
    def relabelled(self) -> Dataset | None:
        """The images with the labels of the reference, where that was asked for."""
        return self.store.get(RELABELLED)

    @property
    def profile_error_kcal_mol(self) -> np.ndarray | None:
        """Errors (images,) of the energies above the first image, model minus reference, in
        kcal/mol; None without a reference."""
        relabelled = self.relabelled
        if relabelled is None:
            return None
        ours, theirs = self.energies, relabelled.labels()[0]
        return (ours - ours[0] - (theirs - theirs[0])) / KCAL_MOL

    @property
    def equivalents(self) -> Dataset | None:
        """All paths that are this one with identical atoms permuted, one after the other, if
        requested; the tags `path`, `image` and `order`."""
        return self.store.get(EQUIVALENTS)

    @property
    def rounds(self) -> tuple[Path, ...]:
        """The path of each round of the refinement, the first on the model as it was given; none
        without refinement."""
        return tuple(
            Path.from_dict(row, self.store.within(round_name(number)))
            for number, row in enumerate(self.store.get(ROUNDS) or ())
        )

    @property
    def retrained(self) -> Potential | None:
        """The model of the last round; None where no model was trained."""
        if not self.round_count:
            return None
        return load(self.store.within(round_name(self.round_count)).place(RETRAINED))

    def first_geometry(self) -> Dataset | None:
        """The first image."""
        return self.store.first(PATH)

    def drawing(self) -> Drawing:
        """The energy profile, with that of the reference where it is known."""
        images, relabelled = self.to_dataset(), self.relabelled
        reference = None if relabelled is None else relabelled.energies
        outside = outside_of(self.coverage, images)
        return figures.energy_profile(
            images.tags["coordinate"], images.labels()[0], reference, outside
        )

    def to_frame(self) -> Any:
        """A pandas table with a row for each image."""
        data = self.to_dataset()
        energies = self.energies
        columns = {
            "image": data.tags["image"],
            "coordinate_A": data.tags["coordinate"],
            "energy_eV": energies,
            "relative_energy_kcal_mol": (energies - energies[0]) / KCAL_MOL,
        }
        errors = self.profile_error_kcal_mol
        if errors is not None:
            columns["error_kcal_mol"] = errors
        if "distance" in data.tags:
            columns["distance"] = data.tags["distance"]
        return data_frame(columns)
