"""Students: direct models that are trained on labels of a slower potential and on true labels.

A teacher, such as a model on a baseline, labels geometries that its own dynamics visits from the
training frames on, and then those that dynamics of a first student visits and that are least like
what is labelled. So most labels take one call of the teacher, and the student is taught where it
goes itself. The true labels count more.

Source: Hinton, Vinyals, Dean, arXiv:1503.02531, for the idea; Ross, Gordon, Bagnell, AISTATS 2011
(arXiv:1011.0686), for labels where the student goes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import cast

import numpy as np
from numpy.random import Generator

from flexcalc.config.train import Train
from flexcalc.dataset import Dataset, Provenance, concatenate
from flexcalc.errors import ConfigError, LabelError
from flexcalc.methods.crash import CrashState, CrashTest, Replicas, run_replicas
from flexcalc.methods.exploration import Exploration
from flexcalc.methods.iterate import Checkpoint, Recorder, Setup
from flexcalc.models.bonding import check_order, with_bonding
from flexcalc.models.facts import ModelFacts, TeacherFacts
from flexcalc.models.family import (
    Family,
    FoldingFamily,
    TrainedPotential,
    check_weighs,
    errors,
    model_sha256,
    settled,
)
from flexcalc.models.frames import used_frames
from flexcalc.potential import Evaluation, Potential
from flexcalc.progress import Progress
from flexcalc.registry import make_family
from flexcalc.store import Store
from flexcalc.tasks.baseline import Baseline, Differences, evaluated, open_baseline
from flexcalc.tasks.fitting import Fitted, Split
from flexcalc.tasks.provenance import labels_by
from flexcalc.training.acquisition import choose_batch
from flexcalc.training.calibration import with_domain_of_student
from flexcalc.training.checkpoints import Checkpoints
from flexcalc.training.clusters import pair_distances
from flexcalc.training.crossvalidation import AS_GOOD_SHARE
from flexcalc.training.tuning import FORCE, best_row, fit_best
from flexcalc.units import KB

TEACHER, LABELS, JUDGES = "teacher", "labels.xyz", "judges.xyz"
"""Part of the store, and what it keeps: labels to train on, and those that judge."""
USUAL_POINTS, POINTS_PER_ATOM, ROWS = 1000, 60, 100_000
"""Labels by default: as many, or these for each atom of a molecule of more than 16, where a kernel
of the molecule learns more slowly; fewer where its matrix would have more than these rows."""
FIRST_SHARE = 5
"""One label in so many comes from the teacher's own dynamics, the others from the student's."""
JUDGES_COUNT = 100
"""Labels of the teacher's dynamics that are kept to judge."""
CANDIDATES = 2
"""Frames of the student's dynamics for each that is chosen."""
REPLICAS = 50
"""Replicas of the dynamics, each from a training frame."""
TIMESTEP_FS, EVERY, SETTLING = 1.0, 10, 5
"""Timestep; steps between frames; frames of each replica that are still near its start."""
FRICTION_PER_PS = 20.0
"""Friction coefficient, in 1/ps, high enough to lose the memory of a start within the settling."""
USUAL_K, COLDEST_K, HOTTEST_K = 500.0, 100.0, 1500.0
"""Temperature where too few frames tell it, and bounds of the one that they tell."""
FEWEST = 10
"""Frames from which a temperature is estimated."""
SEARCHED = 200
"""Points with which hyperparameters are chosen at most: the best ones hardly depend on them; 100
points of azobenzene choose 30 for sigma where 20 is better."""


@dataclass(frozen=True, eq=False)
class Taught(Differences):
    """Training data with the labels of a teacher behind the true ones.

    Args:
        teacher: that made them.
        true: number of frames with true labels, which come first.
        family: the first family, with the hyperparameters that were chosen.
        held: labels of the teacher that judge the student.
    """

    teacher: Baseline | None = None
    true: int = 0
    family: Family | None = None
    held: Dataset | None = None

    def calibrated(self, fitted: Fitted, rng: Generator) -> None:
        """Store with a student where its errors are known, by the true labels."""
        teacher, held = self._known
        kept = self._true(fitted.split)
        with_domain_of_student(
            fitted.potential,
            self.complete[kept.train],
            self.complete[kept.validation],
            teacher.potential,
            held,
            rng,
        )

    def restored(self, fitted: Fitted) -> Fitted:
        """The student with its true frames alone, and with the facts of its teacher."""
        teacher, held = self._known
        potential, kept = fitted.potential, self._true(fitted.split)
        sets = {"training": self.complete[kept.train], "validation": self.complete[kept.validation]}
        found = {
            name: errors(potential(data.positions), data)
            for name, data in sets.items()
            if len(data)
        }
        off = errors(potential(held.positions), held)
        labels = len(fitted.split.train) - len(kept.train)
        own: ModelFacts = {
            "training_sha256": sets["training"].sha256(),
            "training_points": len(kept.train),
            "errors": {**found, "teacher": off},
            "teacher_labels": labels,
            **teacher_facts(teacher),
        }
        potential.facts = {**potential.facts, **own}
        with_bonding(potential, sets["training"])
        return replace(
            fitted,
            split=kept,
            errors=found.get("validation", {}),
            figures={
                **fitted.figures,
                "teacher": teacher.name,
                "teacher_labels": labels,
                "teacher_force_rmse_kcal_mol_A": off[FORCE],
            },
        )

    @property
    def drawn(self) -> np.ndarray:
        """See `Differences.drawn`; of the true frames alone."""
        kept = self._true(self.split)
        return np.union1d(kept.train, kept.validation)

    @property
    def seen(self) -> tuple[np.ndarray, np.ndarray] | None:
        """Fingerprints of the frames that the teacher was trained and validated on."""
        return used_frames(self._known[0].potential)

    @property
    def _known(self) -> tuple[Baseline, Dataset]:
        return cast(tuple[Baseline, Dataset], (self.teacher, self.held))

    def _true(self, parts: Split) -> Split:
        """The frames with true labels, by their indices in the complete dataset."""
        train, validation = (
            self.frames[part[part < self.true]] for part in (parts.train, parts.validation)
        )
        rest = np.setdiff1d(np.arange(len(self.complete)), np.union1d(train, validation))
        return Split(train, validation, rest)


def teacher_facts(teacher: Baseline) -> TeacherFacts:
    """What a student says of its teacher: its address, and the hash of the model or file."""
    found: TeacherFacts = {"teacher": teacher.name}
    digest = model_sha256(teacher.potential) or teacher.facts.get("baseline_sha256")
    return {**found, "teacher_sha256": digest} if digest else found


def open_teacher(options: Train, data: Dataset) -> Baseline | None:
    """Open the teacher, if there is one, and check that its students can be trained.

    Raises:
        ConfigError: another option does not go with a teacher.
        InputError: it cannot be opened, its atoms are in another order, or a family does not heed
            weights of labels.
    """
    if options.teacher is None:
        for name in ("teacher_points", "teacher_temperature_K"):
            if getattr(options, name) is not None:
                raise ConfigError(f"{name}: there is no teacher; set teacher, or leave it out")
        return None
    for name in ("baseline", "folds", "refine_rounds", "learning_curve"):
        if getattr(options, name):
            raise ConfigError(f"{name}: not together with teacher; leave out one of the two")
    for family in options.family:
        check_weighs(family)
    teacher = open_baseline(options.teacher, data.numbers, options.trust)
    if teacher is not None:
        check_order(teacher.potential, data.positions, data.provenance.source)
    return teacher


def taught(
    options: Train, store: Store, labels: Differences, teacher: Baseline, progress: Progress
) -> Taught:
    """The training data with labels of a teacher; what an earlier call had labelled is kept.

    Args:
        options: of the training.
        store: keeps the dynamics and the labels.
        labels: the dataset with its split.
        teacher: labels further geometries.
        progress: called with the steps.

    Raises:
        LabelError: the teacher cannot label a geometry.
    """
    true = labels.data[labels.split.train]
    lesson = _Lesson(options, store, teacher, true, progress)
    data, held = lesson.labels(), lesson.judges()
    chosen = lesson.chosen()
    parts = [_weighted(labels.data, options.label_weight), _weighted(data, 1.0)]
    split = labels.split
    end = len(labels.data) + len(data)
    validation = split.validation
    if not len(validation):
        parts.append(_weighted(held, 1.0))
        validation = np.arange(end, end + len(held))
    train = np.concatenate([split.train, np.arange(len(labels.data), end)])
    return Taught(
        concatenate(*(replace(one, tags={}, provenance=true.provenance) for one in parts)),
        Split(train, validation, split.rest),
        labels.frames,
        None,
        labels.complete,
        said=(
            f"teacher: {teacher.name} labelled {len(data)} geometries at {lesson.temperature_K:.0f}"
            f" K, and {len(held)} that judge"
        ),
        teacher=teacher,
        true=len(labels.data),
        family=chosen,
        held=held,
    )


def _weighted(data: Dataset, weight: float) -> Dataset:
    return replace(data, weights=np.full(len(data), weight))


class _Lesson:
    """One teacher and its pupils-to-be.

    Args:
        options, store, teacher, progress: see `taught`.
        true: the training points with their labels.
    """

    def __init__(
        self,
        options: Train,
        store: Store,
        teacher: Baseline,
        true: Dataset,
        progress: Progress,
    ):
        self.options, self.store, self.teacher = options, store.within(TEACHER), teacher
        self.true, self.progress = true, progress
        self.steps = Checkpoints(store.unfinished(TEACHER))
        self.kept = labels_by(teacher.name, teacher.potential)
        self.count = options.teacher_points or usual_points(len(true.numbers))
        self.first_count = max(1, self.count // FIRST_SHARE)
        self.family = settled(options.family[0], len(true) + self.count)
        own = self._own()
        self.temperature_K = options.teacher_temperature_K or temperature_of(
            own.energies, len(true.numbers)
        )
        # The teacher's zero of energy need not be that of the labels.
        self.found: Family | None = None
        self.shift = 0.0 if true.energies is None else float(np.mean(true.energies - own.energies))

    def _own(self) -> Evaluation:
        """The teacher's energies and forces of the training points."""
        return evaluated(self.true, self.teacher, self.steps.within("true"), self.progress)

    def labels(self) -> Dataset:
        """The labels to train on."""
        return self._complete()[0]

    def judges(self) -> Dataset:
        """The labels that judge."""
        return self._complete()[1]

    def _complete(self) -> tuple[Dataset, Dataset]:
        known = self.store.get(LABELS), self.store.get(JUDGES)
        if known[0] is None or known[1] is None:
            first, judges = self._by_teacher()
            further = self._by_student(first, judges)
            self.store.put(JUDGES, judges)
            self.store.put(LABELS, concatenate(first, further))
            known = self.store.get(LABELS), self.store.get(JUDGES)
        return known

    def _by_teacher(self) -> tuple[Dataset, Dataset]:
        """Labels of the teacher's dynamics that differ from each other, and some at random."""
        count = self.first_count + JUDGES_COUNT
        frames = self._visited(self.teacher.potential, self.true, count, 0)
        order = np.random.default_rng([self.options.seed, 3]).permutation(len(frames))
        judges, pool = frames[np.sort(order[:JUDGES_COUNT])], frames[np.sort(order[JUDGES_COUNT:])]
        if not len(pool):
            raise LabelError(
                f"dynamics of {self.teacher.name} at {self.temperature_K:.0f} K breaks the "
                "molecule at once; set a lower teacher_temperature_K"
            )
        return pool[self._different(pool, self.true, self.first_count)], judges

    def _by_student(self, first: Dataset, judges: Dataset) -> Dataset:
        """Labels of geometries that a first student visits, unlike those that are labelled."""
        missing = self.count - len(first)
        known = self._together(first)
        if missing <= 0:
            return first[:0]
        draft = self._draft(first, judges)
        pool = self._visited(draft, known, CANDIDATES * missing, 1)
        chosen = pool[self._different(pool, known, missing)]
        found = evaluated(chosen, self.teacher, self.steps.within("further"), self.progress)
        return self._labelled(chosen.positions, found.energies, found.forces)

    def _draft(self, first: Dataset, judges: Dataset) -> TrainedPotential:
        """A first student, of a family of kernels."""
        family = self._searched(first, judges)
        rng = np.random.default_rng([self.options.seed, 4])
        return family.fit(self._together(first), None, rng, self.progress)

    def chosen(self) -> Family:
        """The first family, with hyperparameters chosen by the labels that judge."""
        family = self.family
        if not _of_kernels(family) or len(family.candidates()) == 1:
            return family
        labels, judges = self._complete()
        return self._searched(labels[: self.first_count], judges)

    def _searched(self, first: Dataset, judges: Dataset) -> Family:
        """The family with hyperparameters chosen by the labels that judge; sGDML for a network."""
        if self.found is not None:
            return self.found
        family = self.family if _of_kernels(self.family) else make_family("sgdml", {})
        rng = np.random.default_rng([self.options.seed, 5])
        data = self._together(first)
        some = data[np.sort(rng.permutation(len(data))[:SEARCHED])]
        steps = self.steps.within("search")
        judged = replace(judges, tags={}, provenance=self.true.provenance)
        trials = fit_best(family, some, judged, rng, self.progress, steps).trials
        best = best_row([trial.errors for trial in trials], AS_GOOD_SHARE)
        self.found = trials[best].family
        return self.found

    def _together(self, labels: Dataset) -> Dataset:
        """True labels and those of the teacher, with their weights."""
        parts = _weighted(self.true, self.options.label_weight), _weighted(labels, 1.0)
        return concatenate(
            *(replace(one, tags={}, provenance=self.true.provenance) for one in parts)
        )

    def _different(self, pool: Dataset, known: Dataset, count: int) -> np.ndarray:
        """Frames of a pool that stand for it and are unlike what is known, ascending."""
        features, others = (1.0 / pair_distances(one.positions) for one in (pool, known))
        return np.sort(choose_batch(features, np.ones(len(pool)), others, count))

    def _visited(self, potential: Potential, starts: Dataset, count: int, number: int) -> Dataset:
        """Frames of dynamics from the starts, with their labels by the potential.

        Replicas whose bonds break, or whose atoms collide, end there.

        Args:
            potential: that they move on.
            starts: geometries to start from.
            count: frames wanted; there are more or, where replicas have ended, fewer.
            number: of the dynamics.
        """
        rng = np.random.default_rng([self.options.seed, 2, number])
        each = -(-count // REPLICAS) + SETTLING
        test = CrashTest(
            temperatures_K=(self.temperature_K,),
            time_ps=each * EVERY * TIMESTEP_FS / 1e3,
            timestep_fs=TIMESTEP_FS,
            friction_per_ps=FRICTION_PER_PS,
            nve_ps=0.0,
        )
        who = np.arange(REPLICAS)
        order = np.concatenate([rng.permutation(len(starts)) for _ in range(REPLICAS)])[:REPLICAS]
        places = starts.positions[order]
        replicas = Replicas(who, np.full(REPLICAS, self.temperature_K), order, places)
        method, name = Exploration(test, self.true.numbers, replicas), f"dynamics-{number}"

        def render(state: CrashState) -> Dataset:
            found = state.moving.evaluation
            labels = self._labelled(state.moving.positions, found.energies, found.forces)
            times = np.full(len(labels), state.step * TIMESTEP_FS)
            return replace(labels, tags={"time_fs": times}, provenance=Provenance())

        recorder = Recorder(self.store.frames(f"{name}.xyz"), EVERY, render)
        checkpoint = Checkpoint(self.store, f"{name}.checkpoint", rng, [recorder])
        run_replicas(method, Setup(potential, places), checkpoint, self.progress)
        frames = self.store.get(f"{name}.xyz")
        if frames is None:
            return self.true[:0]
        late = frames[frames.tags["time_fs"] > SETTLING * EVERY * TIMESTEP_FS]
        return replace(late, provenance=self.kept)

    def _labelled(self, positions: np.ndarray, energies: np.ndarray, forces: np.ndarray) -> Dataset:
        """Labels of the teacher, in the zero of energy of the true labels."""
        return Dataset(
            self.true.numbers,
            positions,
            None if self.true.energies is None else energies + self.shift,
            forces,
            provenance=self.kept,
        )


def usual_points(atoms: int) -> int:
    """Labels of the teacher by default, of a molecule with this number of atoms."""
    rows = max(3 * atoms - 5, 1)  # of the kernel matrix, for each label
    return max(min(max(USUAL_POINTS, POINTS_PER_ATOM * atoms), ROWS // rows), 1)


def _of_kernels(family: Family) -> bool:
    return isinstance(family, FoldingFamily)


def temperature_of(energies_eV: np.ndarray, atoms: int) -> float:
    """Temperature in kelvin of geometries with these energies (frames,), in a harmonic well.

    There the potential energy of n = 3 atoms - 6 oscillators has the variance n (k T)^2 / 2. In
    several wells it is larger, and so is the temperature that connects them.

    Args:
        energies_eV: of frames of dynamics, in eV.
        atoms: number of atoms.
    """
    if len(energies_eV) < FEWEST:
        return USUAL_K
    oscillators = max(3 * atoms - 6, 1)
    found = float(np.std(energies_eV)) * np.sqrt(2.0 / oscillators) / KB
    return float(np.clip(found, COLDEST_K, HOTTEST_K))
