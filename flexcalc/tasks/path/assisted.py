"""A path and its saddle on an expensive reference, with a model that is trained on the way.

Every round searches path, saddle and minima on a cheap potential that is corrected by a model of
all labels so far. The reference labels the saddle and the minima that were found, until its own
forces there are small: then they are stationary points of the reference. After Koistinen et al.,
J. Chem. Phys. 147, 152720 (2017), doi:10.1063/1.4986787, and Garrido Torres et al., Phys. Rev.
Lett. 122, 156001 (2019), doi:10.1103/PhysRevLett.122.156001; here all points of a round are
labelled at once, and the model is a correction.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike

from flexcalc.config.paths import PathSearch
from flexcalc.dataset import Dataset, concatenate
from flexcalc.errors import GuardError, InputError, LabelError
from flexcalc.geometry import align
from flexcalc.methods.path import Chain
from flexcalc.models.delta import DeltaModel
from flexcalc.models.family import TrainingWarning
from flexcalc.models.gdml.family import SGDML
from flexcalc.potential import Evaluation, Potential, check_positions
from flexcalc.registry import open_potential
from flexcalc.results.evaluations import added
from flexcalc.results.path import CONVERGENCE, LABELS, PATH, ROUNDS, Path, round_name
from flexcalc.results.saddle import (
    DESCENT,
    FILM_FRAMES,
    MINIMA,
    MODE,
    RATES,
    SADDLE,
    STATIONARY,
    VIBRATIONS,
    Saddle,
)
from flexcalc.storage import JSON
from flexcalc.store import FlexcalcWarning, Store
from flexcalc.tasks.path.job import PathJob
from flexcalc.tasks.provenance import labels_by
from flexcalc.tasks.tally import Tally
from flexcalc.units import KCAL_MOL

KEPT = (PATH, CONVERGENCE, SADDLE, DESCENT, MINIMA, MODE, VIBRATIONS, RATES, STATIONARY)
"""What is kept of the last round as that of the run."""

MINIMUM_FORCE_EV_A = 0.01
"""Force of the reference below which the ends of the descent are its minima, as of relaxed ends."""

TIGHTER = 0.25
"""Share of the tolerance of the saddle to which it is converged on the model."""

PROBE_A = 0.05
"""Longest move of an atom to both sides of the saddle, for the curvature by the reference."""

SAME_A = 1e-6
"""Geometries that are nearer than this in every coordinate have one label."""

FAILURES = (LabelError, GuardError)
"""How a search on a model of few labels fails: its cheap potential does not converge where atoms
meet, or the path diverges."""

CORRECTION = SGDML(sigma=1.0, symmetry=False, descriptor="distances")
"""The model of the difference between the reference and the cheap potential."""

Search = Callable[[PathJob, Store], Path]
"""Searches a path and goes through its stages."""


class Labelled:
    """The reference, whose labels are kept and not calculated twice.

    Args:
        reference: the potential.
        job: of the search, for the provenance of the labels.
        store: keeps LABELS; those of an interrupted run are read.
    """

    def __init__(self, reference: Potential, job: PathJob, store: Store):
        self.numbers, self._reference, self._store = reference.numbers, reference, store
        self._provenance = labels_by(job.options.model, reference)
        self.data: Dataset | None = store.get(LABELS)

    @property
    def count(self) -> int:
        """Number of labels."""
        return 0 if self.data is None else len(self.data)

    def __call__(self, positions: ArrayLike) -> Evaluation:
        """Energies and forces of positions (batch, atoms, 3) in angstrom; new ones are kept."""
        rows = [self._row(place) for place in check_positions(positions, self.numbers)]
        if self.data is None:
            return self._reference(positions)
        energies, forces = self.data.labels()
        return Evaluation(energies[rows], forces[rows])

    def _row(self, place: np.ndarray) -> int:
        """The label of a geometry (atoms, 3), which is calculated if there is none."""
        if self.data is not None:
            off = np.abs(self.data.positions - place).max(axis=(1, 2))
            if off.min() < SAME_A:
                return int(off.argmin())
        found = self._reference(place[None])
        one = Dataset(
            self.numbers, place[None], found.energies, found.forces, provenance=self._provenance
        )
        self.data = one if self.data is None else concatenate(self.data, one)
        self._store.put(LABELS, self.data)
        return len(self.data) - 1


def check_assisted(options: PathSearch) -> None:
    """Refuse options that do not go with `assist`.

    Raises:
        InputError: there are such.
    """
    if not options.saddle:
        raise InputError("assist: finds a saddle; expected saddle = true too (--saddle)")
    if not isinstance(options.method, Chain):
        raise InputError("assist: expected a band or a string (--method neb, string), found a scan")
    for name in ("starts", "relabel", "refine"):
        if getattr(options, name):
            raise InputError(f"{name}: expected none with assist, which labels with the potential")


def search_assisted(job: PathJob, store: Store, search: Search) -> Path:
    """Search a path and its saddle on the potential of the job, with a model that is trained on the
    way.

    A round has the part `round-N` of the store, with N labels: an interrupted run resumes there.
    The next round begins with its path.

    Args:
        job: on the reference.
        store: keeps the labels, the rounds, and what the last of them has found.
        search: of a path on a potential.
    """
    options = job.options
    helper = open_potential(options.assist, numbers=job.potential.numbers, trust=options.trust)
    reference = Labelled(job.potential, job, store)
    rows: list[dict[str, JSON]] = store.get(ROUNDS) or []
    last: tuple[Path, Store, Evaluation] | None = None
    done = False
    for _ in range(options.assist_rounds):
        inner, before = _part(store, reference.count), store.get(PATH)
        try:
            found = search(_on_model(job, helper, reference, before), inner)
        except FAILURES as error:
            if before is None:
                raise
            reference(_least_known(before.positions, reference)[None])
            store.say(f"the model fails ({error}): one more image is labelled")
            continue
        store.copy_from(inner, PATH)
        truth = reference(_points(found, inner))
        done = _is_found(found, truth, options) and _is_curved_down(inner, reference)
        last = found, inner, truth
        rows.append(found.to_dict())
        store.put(ROUNDS, rows)
        saddle_force, minimum_force = _forces(truth)
        store.say(
            f"{reference.count} labels: force of the reference {saddle_force:.4f} eV/A at the top, "
            f"{minimum_force:.4f} at the minima"
        )
        if done:
            break
    if last is None:
        raise LabelError("assist: the model failed in every round; try another cheap potential")
    _keep(store, last[0], last[1])
    if not done:
        store.say(
            f"NO SADDLE of the reference after {options.assist_rounds} rounds: run on with more "
            "assist_rounds, or a better potential in assist"
        )
    return _result(last[0], store, rows, last[2], done, reference.count)


def _keep(store: Store, found: Path, inner: Store) -> None:
    """Keep what the last round has found, and its warnings."""
    for name in KEPT:
        store.copy_from(inner, name)
    for text in found.warnings or ():
        store.warn(text)


def _part(store: Store, labels: int) -> Store:
    """The part of a round, which says nothing and shows no progress."""
    inner = store.within(round_name(labels))
    inner.progress = False
    inner.say = lambda line: None  # type: ignore[method-assign]
    inner.warn = lambda text, category=FlexcalcWarning: None  # type: ignore[method-assign]
    return inner


def _on_model(
    job: PathJob, helper: Potential, reference: Labelled, before: Dataset | None
) -> PathJob:
    """The search of a round: from the path before, on the helper corrected by all labels."""
    options, data = job.options, reference.data
    surrogate = helper
    if data is not None:
        energies, forces = data.labels()
        cheap = helper(data.positions)
        rest = Dataset(
            data.numbers, data.positions, energies - cheap.energies, forces - cheap.forces
        )
        with warnings.catch_warnings():
            # That its few labels do not tell much is known: the reference judges what it finds.
            warnings.simplefilter("ignore", TrainingWarning)
            model = CORRECTION.fit(rest, None, np.random.default_rng(options.seed))
        surrogate = DeltaModel(helper, model)
    tighter = TIGHTER * options.refinement.saddle_force_eV_A
    refinement = replace(options.refinement, saddle_force_eV_A=tighter)
    options = replace(options, model=surrogate, refinement=refinement, assist=None)
    first = None if before is None else before.positions
    return replace(job, options=options, potential=surrogate, tally=Tally(), first=first)


def _least_known(images: np.ndarray, reference: Labelled) -> np.ndarray:
    """The image (atoms, 3) of a path that is farthest from all labelled geometries."""
    if reference.data is None:
        return np.asarray(images[len(images) // 2])
    known = reference.data.positions
    off = [np.abs(align(known, image) - image).max(axis=(1, 2)).min() for image in images]
    return np.asarray(images[int(np.argmax(off))])


def _points(found: Path, store: Store) -> np.ndarray:
    """Start, top and end (3, atoms, 3) of a round: stationary points where it has found them."""
    saddle = found.saddle
    if saddle is not None and saddle.first_order:
        start, end = store.get(MINIMA).positions
        return np.stack([start, store.get(SADDLE).positions[0], end])
    images = store.get(PATH)
    top = int(np.argmax(images.energies[1:-1])) + 1
    return np.array(images.positions[[0, top, -1]])


def _is_curved_down(store: Store, reference: Labelled) -> bool:
    """Whether the curvature of the reference along the imaginary mode of a round is negative."""
    top = store.get(SADDLE).positions[0]
    away = store.get(MODE).positions[FILM_FRAMES // 4] - top
    step = PROBE_A / np.sqrt((away**2).sum(axis=1)).max() * away
    behind, ahead = reference(np.stack([top - step, top + step])).forces
    return bool(((behind - ahead) * step).sum() < 0)


def _forces(truth: Evaluation) -> tuple[float, float]:
    """Largest force on an atom at the top, and at both minima, in eV/angstrom."""
    largest = np.sqrt((truth.forces**2).sum(axis=2)).max(axis=1)
    return float(largest[1]), float(max(largest[0], largest[2]))


def _is_found(found: Path, truth: Evaluation, options: PathSearch) -> bool:
    """Whether the reference has no forces left at the saddle of a round and at its minima."""
    at_saddle, at_minima = _forces(truth)
    small = at_saddle < options.refinement.saddle_force_eV_A and at_minima < MINIMUM_FORCE_EV_A
    return small and found.saddle is not None and found.saddle.first_order


def _result(
    found: Path,
    store: Store,
    rows: Sequence[dict[str, JSON]],
    truth: Evaluation,
    done: bool,
    labels: int,
) -> Path:
    """The path of the last round, with the barriers of the reference and the evaluations of all."""
    start, top, _ = (truth.energies / KCAL_MOL).tolist()
    rounds = [Path.from_dict(row, store) for row in rows]
    spent = added(one.evaluations for one in rounds)
    return replace(
        found,
        store=store,
        saddle=_saddle(found.saddle, store, rounds, truth, done),
        coverage=None,
        evaluations=None if spent is None else replace(spent, reference=labels),
        barrier_reference_kcal_mol=top - start,
        barrier_error_kcal_mol=found.barrier_kcal_mol - (top - start),
    )


def _saddle(
    saddle: Saddle | None, store: Store, rounds: Sequence[Path], truth: Evaluation, done: bool
) -> Saddle | None:
    """The saddle of the last round, with the barriers of the reference, and claimed if it holds."""
    if saddle is None:
        return None
    start, top, end = (truth.energies / KCAL_MOL).tolist()
    saddle = replace(
        saddle,
        store=store,
        converged=done,
        first_order=saddle.first_order and done,
        first_rates=saddle.first_rates if done else None,
        coverage=None,
        evaluations=added(None if one.saddle is None else one.saddle.evaluations for one in rounds),
        reference_force_eV_A=_forces(truth)[0],
    )
    if saddle.barrier_kcal_mol is None or saddle.barrier_back_kcal_mol is None:
        return saddle
    return replace(
        saddle,
        barrier_reference_kcal_mol=top - start,
        barrier_error_kcal_mol=saddle.barrier_kcal_mol - (top - start),
        barrier_back_reference_kcal_mol=top - end,
        barrier_back_error_kcal_mol=saddle.barrier_back_kcal_mol - (top - end),
    )
