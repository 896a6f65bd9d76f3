"""The mixture family: local models of other families, combined by a gate.

It stands here, not among the models, as finding its regions and choosing the hyperparameters of
its members are steps of a training. The potential that comes of it is `models.mixture`'s.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any, ClassVar, NamedTuple, cast

import numpy as np
from numpy.random import Generator

from flexcalc.dataset import Dataset
from flexcalc.errors import ConfigError, FileFormatError, InputError
from flexcalc.fields import FAMILY, Count, Fraction, NonNegative
from flexcalc.geometry import Coordinate
from flexcalc.models.facts import ModelFacts, Row, joined_row
from flexcalc.models.family import (
    ALONE,
    Family,
    ForcesFamily,
    TrainedPotential,
    TrainingWarning,
    announce,
    check_family,
    check_sets,
    errors,
    settled,
)
from flexcalc.models.folder import read_facts
from flexcalc.models.mixture import (
    Gate,
    MixturePotential,
    align_energies,
    averages_of,
    background_shares,
)
from flexcalc.models.mixture.features import check_kind
from flexcalc.models.mixture.gate import discriminant
from flexcalc.progress import Progress, part, silent
from flexcalc.storage import JSON
from flexcalc.training.checkpoints import Checkpoints
from flexcalc.training.regions import merged, regions_of, with_neighbours
from flexcalc.training.tuning import Choice, best_row, fit_best

KEPT_OUT = 0.2
"""Part of the training points that chooses a member's hyperparameters where nothing else does."""
MOST_VALUES = 50
"""Values of a tag that can be regions."""
APART = f"{ALONE}; those of regions that do not meet cannot be compared"
"""What `ALONE` is for a mixture."""


@dataclass(frozen=True, eq=False)
class _Frames:
    """Frames to train on, and those that choose.

    Args:
        train: all training points.
        validation: frames that choose; where there are none, some training points do.
        choose: (training points,) whether one does.
    """

    train: Dataset
    validation: Dataset | None
    choose: np.ndarray

    @classmethod
    def of(cls, train: Dataset, validation: Dataset | None, seed: int) -> _Frames:
        """Where no other frames choose, a fifth of the training points, drawn at random."""
        choose = np.zeros(len(train), dtype=bool)
        if not validation:
            order = np.random.default_rng(seed).permutation(len(train))
            choose[order[: max(1, round(KEPT_OUT * len(train)))]] = True
        return cls(train, validation or None, choose)

    @property
    def judged(self) -> Dataset:
        """The frames that choose."""
        return self.validation if self.validation is not None else self.train[self.choose]


@dataclass(frozen=True, eq=False)
class _Trained:
    """A part of a mixture, and its row of the facts.

    Args:
        potential: trained on all its points.
        draft: the same where it has not seen the frames that choose.
        row: its family and hyperparameters.
    """

    potential: TrainedPotential
    draft: TrainedPotential
    row: Row


class _Portion(NamedTuple):
    """The frames of a part of a mixture.

    Args:
        points: ascending indices of its training points.
        judged: frames that it is judged by.
        seed: of its training.
    """

    points: np.ndarray
    judged: Dataset
    seed: int


@dataclass(frozen=True, kw_only=True)
class Mixture:
    """Local models of regions of configuration space, combined into one energy-conserving model.

    Regions are clusters of the training points; a gate weights their models (`models.mixture`). For
    disconnected regions of data, local models alone are better than a single model of all points:
    two isomers of azobenzene at 750 K, sGDML with distances, 200 points in total and borders of
    0.02 have a force MAE of 1.33 compared with 1.43 kcal/mol/A. For connected regions, as around
    reaction paths, they are worse (600 points of extended sGDML, force RMSE 1.02 compared with
    0.92; 1000 points in six regions 0.80 compared with 0.74, with the most uniform errors). But the
    errors of local and single models are weakly correlated, and their mean, with the single model
    as `background`, is better than either, 0.88. So that is the default. Errors of different
    families are even less correlated: with `backgrounds` of sGDML, MACE, BPNN and SchNet the RMSE
    is 0.72, that of the best of them alone 0.92. RESULTS.md has the rest.

    Source: the conclusion of Vassilev-Galindo et al., J. Chem. Phys. 154, 094119 (2021),
    arXiv:2103.01103, that local models should be combined into a global one.
    """

    name: ClassVar[str] = "mixture"
    file_only: ClassVar[tuple[str, ...]] = ("backgrounds",)

    of: Annotated[tuple[Any, ...], FAMILY] = ("sgdml",)
    """Families of the local models, each with its hyperparameters; from several, the validation
    frames of each region select the best."""
    regions: Count | None = None
    """Maximum number of regions; by default the best of `region_numbers`."""
    region_numbers: tuple[Count, ...] = (2, 4)
    """Numbers of regions to try if `regions` is not set; 1 is a single model."""
    least_points: Count = 50
    """Minimum number of training points of a region; smaller regions are merged with neighbours."""
    coordinates: tuple[str, ...] = ()
    """Coordinates that define the regions, such as "dihedral 4 6 7 12" (distances, angles and
    dihedrals); by default all distances."""
    tag: str = ""
    """Tag of the training frames that names the region of each, in place of clusters, as in `by` of
    an evaluation; values with too few frames join the nearest."""
    shared: Fraction = 0.05
    """Minimum fraction of training points on borders, where several local models have weight;
    borders are wider where thermal motion would cross them within 10 fs."""
    overlap: NonNegative = 0.0
    """Number of additional training points of a local model, from neighbouring regions, as a
    multiple of those where it has weight."""

    background: bool = True
    """Blend in background models, trained on all points; validation frames set their weight in each
    region. Without, training is fastest, and a geometry costs as much as one local model."""
    backgrounds: Annotated[tuple[Any, ...], FAMILY] = ()
    """Families of the background models, one model each; by default the best of `of`."""

    @property
    def forces_alone(self) -> bool:
        """Whether its members can learn from forces alone; see `ForcesFamily`."""
        members = (*self._families(), *self.backgrounds)
        return all(isinstance(one, ForcesFamily) and one.forces_alone for one in members)

    def candidates(self) -> Sequence[Mixture]:
        """One for each number of regions to try; just itself where that is set, or by a tag."""
        if self.regions is not None or self.tag:
            return (self,)
        return tuple(replace(self, regions=number) for number in sorted(set(self.region_numbers)))

    def check(self, numbers: np.ndarray) -> None:
        """Refuse hyperparameters that do not fit the molecule of `numbers` (atoms,).

        Raises:
            ConfigError: a member's hyperparameters do not fit, or members are mixtures.
            InputError: a coordinate cannot be used.
            ShapeError: a coordinate names an atom that is not there.
        """
        if self.regions is not None and self.tag:
            raise ConfigError("mixture: expected regions or tag, got both")
        if self.regions is None and not self.region_numbers:
            raise ConfigError("region_numbers: expected at least one number of regions, got []")
        for member in (*self._families(), *self.backgrounds):
            check_family(member, numbers)
        for text in self.coordinates:
            coordinate = Coordinate.parse(text)
            check_kind(coordinate)
            coordinate.check(len(numbers))

    def fit(
        self,
        train: Dataset,
        validation: Dataset | None,
        rng: Generator,
        progress: Progress = silent,
    ) -> MixturePotential:
        """Find the regions, train a model in each, and combine them.

        Args:
            train: the training points, with forces, and energies unless members do without.
            validation: frames that choose the hyperparameters of the members, each by those
                in its region, and the shares of the backgrounds; without any, a fifth of the
                training points chooses, before all models are trained on all of them.
            rng: clusters the frames and seeds the training.
            progress: called with the steps of all members.

        Raises:
            ConfigError: `regions` is not set, or a member's hyperparameters do not fit.
        """
        trained = self.session(train, validation, rng, progress).fit(self)
        announce(trained)
        return trained

    def session(
        self,
        train: Dataset,
        validation: Dataset | None,
        rng: Generator,
        progress: Progress = silent,
        folder: Path | None = None,
    ) -> MixtureSession:
        """Begin to train candidates that differ in their number of regions; see `SharingFamily`.

        In `folder` the members that are finished are kept, so that a killed training resumes
        with the next one.
        """
        check_sets(cast(Family, self), train, validation)
        self.check(train.numbers)
        seed = int(rng.integers(2**62))
        frames = _Frames.of(train, validation, seed)
        return MixtureSession(self, frames, seed, progress, Checkpoints(folder))

    def _backgrounds(
        self, frames: _Frames, seed: int, progress: Progress, checkpoints: Checkpoints
    ) -> list[_Trained]:
        """The models of all training points."""
        if not self.background:
            return []
        each = [[family] for family in self.backgrounds] or [self._families()]
        every, judged = np.arange(len(frames.train)), frames.judged
        return [
            self._part(
                families,
                frames,
                _Portion(every, judged, seed + number),
                part(number, len(each) + 1, progress),
                checkpoints.within(f"background-{number}"),
            )
            for number, families in enumerate(each)
        ]

    def _fitted(
        self,
        frames: _Frames,
        common: Sequence[_Trained],
        rng: Generator,
        progress: Progress,
        checkpoints: Checkpoints,
    ) -> MixturePotential:
        """The mixture of backgrounds, if there are any, and the local models still to be made."""
        train, judged = frames.train, frames.judged
        gate, of_frame = self.gate(train, rng)
        if gate.regions == 1:
            common = ()
        weights, shares = gate(train.positions).weights, gate.shares(train.positions)
        of_judged = gate(judged.positions).weights
        seeds, begun = rng.integers(2**62, size=gate.regions), len(common)
        members = []
        for number, points in enumerate(with_neighbours(weights, shares, self.overlap)):
            inside = np.flatnonzero(of_judged[:, number])
            member = self._part(
                self._families(),
                frames,
                _Portion(points, judged[inside] if len(inside) else judged, int(seeds[number])),
                part(begun + number, begun + gate.regions, progress),
                checkpoints.within(f"region-{number}"),
            )
            there = of_frame == number
            counts: dict[str, JSON] = {"frames": int(there.sum()), "training_points": len(points)}
            if self.tag:
                counts["region"] = ", ".join(map(str, np.unique(train.tags[self.tag][there])))
            members.append(replace(member, row=joined_row(member.row, counts)))
        return self._combined(members, common, gate, frames)

    def gate(self, train: Dataset, rng: Generator) -> tuple[Gate, np.ndarray]:
        """The gate between the regions of a dataset, and the region (frames,) of each frame.

        Args:
            train: frames that show where the molecule goes.
            rng: clusters the frames.
        """
        coordinates = [Coordinate.parse(text) for text in self.coordinates]
        averages = averages_of(train.numbers, train.positions, rng, coordinates)
        seen = averages(train.positions)
        if self.tag:
            of_frame = merged(self._tagged(train), seen, self.least_points)
        else:
            of_frame = regions_of(seen, self.regions or 1, self.least_points, rng)
        gate = discriminant(averages, train.numbers, train.positions, of_frame, self.shared)
        return gate, of_frame

    def _tagged(self, train: Dataset) -> np.ndarray:
        """The number (frames,) of each frame's value of the tag.

        Raises:
            InputError: the frames have no such tag, or it has too many values for regions.
        """
        if self.tag not in train.tags:
            known = f"their tags are {', '.join(train.tags)}" if train.tags else "they have no tags"
            raise InputError(f"mixture: tag: the training frames have no tag {self.tag!r}; {known}")
        values, found = np.unique(train.tags[self.tag], return_inverse=True)
        if len(values) > MOST_VALUES:
            raise InputError(
                f"mixture: tag: expected a tag of at most {MOST_VALUES} values, "
                f"got {self.tag!r} with {len(values)}"
            )
        return found

    def _part(
        self,
        families: Sequence[Family],
        frames: _Frames,
        portion: _Portion,
        progress: Progress,
        checkpoints: Checkpoints,
    ) -> _Trained:
        """The best model of some training points, judged by some frames.

        Where these are training points themselves, a draft is trained without them, and what was
        chosen so is trained again with them.
        """
        points, judged, seed = portion
        families = [settled(family, len(frames.train)) for family in families]
        if frames.validation is not None:
            choice = _best(families, frames.train[points], judged, seed, progress, checkpoints)
            return _Trained(choice.potential, choice.potential, _row(choice))
        chosen = None
        if self.background or sum(len(family.candidates()) for family in families) > 1:
            rest = points[~frames.choose[points]]
            rest = rest if len(rest) else points
            within = checkpoints.within("settled")
            chosen = _best(families, frames.train[rest], judged, seed, progress, within)
            families = [chosen.family]
        choice = _best(families, frames.train[points], None, seed, progress, checkpoints)
        draft = choice if chosen is None else chosen
        return _Trained(choice.potential, draft.potential, _row(choice))

    def _combined(
        self,
        members: Sequence[_Trained],
        common: Sequence[_Trained],
        gate: Gate,
        frames: _Frames,
    ) -> MixturePotential:
        """The mixture of its parts, with the shares of its backgrounds, constants and facts."""
        local, below = ([one.potential for one in parts] for parts in (members, common))
        train, validation = frames.train, frames.validation
        none = np.zeros(gate.regions)
        drafts, bases = ([one.draft for one in parts] for parts in (members, common))
        shares = background_shares(MixturePotential(drafts, gate, none, bases), frames.judged)
        constants = align_energies(MixturePotential(local, gate, none, below, shares), train)
        rows = [member.row for member in members]
        if common:
            rows = [
                joined_row(row, {"background_shares": found.tolist()})
                for row, found in zip(rows, shares, strict=True)
            ]
        notes = [note for model in (*local, *below) for note in model.facts.get("warnings", ())]
        notes = [APART if note == ALONE else note for note in notes]
        facts: ModelFacts = {
            "hyperparameters": self._plain(),
            "training_sha256": train.sha256(),
            "training_points": len(train),
            "level": train.provenance.level,
            "regions": rows,
        }
        if common:
            facts["backgrounds"] = [one.row for one in common]
        facts["warnings"] = list(dict.fromkeys(notes))
        mixture = MixturePotential(local, gate, constants, below, shares, facts)
        sets = {"training": train, **({} if validation is None else {"validation": validation})}
        mixture.facts["errors"] = {
            name: errors(mixture(frames.positions), frames) for name, frames in sets.items()
        }
        return mixture

    def _families(self) -> list[Family]:
        """The families of the members.

        Raises:
            ConfigError: names that nobody has looked up, or mixtures of mixtures.
        """
        for name, families in (("of", self.of), ("backgrounds", self.backgrounds)):
            for family in families:
                if isinstance(family, str | Mixture):
                    kind = family if isinstance(family, str) else family.name
                    raise ConfigError(f"mixture: {name}: expected other model families, got {kind}")
        if not self.of:
            raise ConfigError("mixture: of: expected at least one model family")
        return list(self.of)

    def _plain(self) -> Row:
        """The hyperparameters as JSON holds them."""

        def plain(families: Iterable[Any]) -> list[Row]:
            return [{"kind": family.name, **asdict(family)} for family in families]

        own = asdict(replace(self, of=(), backgrounds=()))
        return {**own, "of": plain(self.of), "backgrounds": plain(self.backgrounds)}

    def load(self, folder: Path) -> MixturePotential:
        """Read a model folder whose members are of the families of this mixture.

        Raises:
            FileFormatError: damaged, or a member is of another family.
        """
        loaders = {family.name: family.load for family in (*self._families(), *self.backgrounds)}

        def opened(path: Path) -> TrainedPotential:
            family = read_facts(path)["family"]
            if family not in loaders:
                raise FileFormatError(f"{path}: expected one of {', '.join(loaders)}")
            return cast(Callable[[Path], TrainedPotential], loaders[family])(path)

        return MixturePotential.load(folder, opened)


class MixtureSession:
    """Trains candidates that share the models of all training points; see `Mixture.session`."""

    def __init__(
        self,
        family: Mixture,
        frames: _Frames,
        seed: int,
        progress: Progress,
        checkpoints: Checkpoints,
    ):
        self.family, self.frames, self.seed = family, frames, seed
        self.progress, self.checkpoints = progress, checkpoints
        self.backgrounds: list[_Trained] | None = None

    def fit(self, candidate: Mixture) -> MixturePotential:
        """Train a candidate; every one draws alike, so that none depends on those before it.

        Raises:
            ConfigError: its `regions` is not set.
        """
        if candidate.regions is None and not candidate.tag:
            raise ConfigError(
                "regions is not set: set it, or let training.tuning.fit_best choose from "
                "region_numbers"
            )
        frames, seed, progress = self.frames, self.seed, self.progress
        if self.backgrounds is None and candidate.regions != 1:
            self.backgrounds = self.family._backgrounds(frames, seed, progress, self.checkpoints)
        within = self.checkpoints.within(f"regions-{candidate.regions}")
        rng = np.random.default_rng(seed)
        return candidate._fitted(frames, self.backgrounds or [], rng, progress, within)


def _row(choice: Choice) -> Row:
    return {"family": choice.family.name, **choice.table[choice.index]}


def _best(
    families: Sequence[Family],
    train: Dataset,
    validation: Dataset | None,
    seed: int,
    progress: Progress,
    checkpoints: Checkpoints,
) -> Choice:
    """The choice of the best of some families; of one alone there need be nothing to choose by."""
    found = []
    for index, family in enumerate(families):
        with warnings.catch_warnings():
            # Warnings are given once for all members, by whoever announces the mixture.
            warnings.simplefilter("ignore", TrainingWarning)
            fresh = np.random.default_rng([seed, index])
            place = checkpoints.within(f"of-{index}")
            found.append(fit_best(family, train, validation, fresh, progress, place))
    if len(found) == 1:
        return found[0]
    return found[best_row([choice.errors for choice in found])]
