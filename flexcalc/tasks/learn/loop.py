"""The loop: explore on the model, label where it is unsure, judge, train again."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any, cast

import numpy as np

from flexcalc.config.learn import Learn
from flexcalc.dataset import Dataset, concatenate
from flexcalc.labelling import QUARANTINE
from flexcalc.methods.exploration import deviation_of
from flexcalc.models.family import Family, TrainedPotential
from flexcalc.parallel.alongside import alongside
from flexcalc.potential import Evaluation
from flexcalc.progress import Progress
from flexcalc.registry import load, make_family
from flexcalc.results.calibration import (
    BAND,
    CALIBRATION,
    CHECK,
    ENOUGH,
    FIRST,
    PURPOSE,
    RANDOM,
    SCAN,
    UNSURE,
    Calibration,
    JudgedFrame,
    random_frames,
    scale_of,
)
from flexcalc.results.crash import CrashedAt, CrashTested
from flexcalc.results.learning import (
    LABELS,
    MODEL,
    ROUNDS,
    Learning,
    LearnRound,
    round_name,
    trusted_up_to_K,
    verdict_of,
)
from flexcalc.results.stationary import STATIONARY, PointsChecked
from flexcalc.results.targets import Targets
from flexcalc.store import UNFINISHED, Store
from flexcalc.tasks.learn.bands import TOP, explore_bands
from flexcalc.tasks.learn.checks import CHECKS, check_points
from flexcalc.tasks.learn.crash import crash_test
from flexcalc.tasks.learn.exploration import (
    CANDIDATES,
    DEVIATION,
    Explored,
    evenly,
    explore,
    features,
    first_geometries,
)
from flexcalc.tasks.learn.job import LearnJob, prepared
from flexcalc.tasks.learn.judgement import (
    barrier_error,
    by_temperature,
    force_rmse,
    judged_frames,
    rms,
)
from flexcalc.tasks.learn.model import SEARCHED, fit_model
from flexcalc.training.acquisition import choose_batch
from flexcalc.training.checkpoints import Checkpoints
from flexcalc.training.tuning import Sets
from flexcalc.units import KCAL_MOL

CHOSEN, ROW, FAMILY = "chosen.xyz", "round.json", "family.json"
STOP_AT, STOP_AT_TYPICAL = 5.0, 3.0
"""A replica ends where the expected error exceeds this multiple of the force target, and the
deviation that multiple of the one on the validation frames: early models are unsure everywhere."""
GROWN = 1.4
"""Growth of the training set from which hyperparameters are chosen again."""
BAND_SHARE = 0.2
"""Share of a batch that is chosen from the bands: the way over barriers is rarely visited, and its
energies are those that count."""
SCAN_SHARE = 0.3
"""Share that is chosen from the scans, where the user names coordinates: a barrier along one that
is not the lowest is met by no band, and by dynamics hardly."""
SMALLEST_SCALE = 0.1
"""Scale of the deviation that the end of a replica relies on at least."""


def learn(options: Learn, store: Store) -> Learning:
    """Learn a force field; a second call resumes it.

    Each round has a part `round-N` of the store with its model, exploration and labels. All
    labels are in labels.xyz, the rounds in rounds.json, predicted and true errors in
    calibration.json. Minima and barriers of the last model but one are compared with the reference
    (`checks`), the final model, in model.flex, is trained on these labels too. A crash test runs
    dynamics of it, by temperature in crash.json.

    Raises:
        InputError: a start, the reference or the family cannot be used; nothing is written.
        LabelError: the reference labels no geometry of a round.
    """
    job = prepared(options)
    found = store.begin(options)
    if found is not None:
        store.deliver(found["model"])
        return Learning.from_dict(found, store)
    for note in job.notes:
        store.warn(note)
    kept = job.baselines.kept_in(Checkpoints(store.unfinished("baseline")))
    return _Loop(replace(job, baselines=kept), store).run()


@dataclass(frozen=True, eq=False)
class _Labelled:
    """All frames that are labelled, and the number of reference calculations.

    Args:
        data: with the tags `round` and `purpose`.
        spent: reference calculations, failed ones included.
    """

    data: Dataset
    spent: int

    @property
    def sets(self) -> Sets:
        """Frames to train on, and those drawn at random, which choose hyperparameters."""
        random = self.data.tags[PURPOSE] == RANDOM
        validation = self.data[np.flatnonzero(random)]
        return Sets(_bare(self.data[np.flatnonzero(~random)]), _bare(validation))

    @property
    def everything(self) -> Sets:
        """All frames to train on, and none to choose by."""
        return Sets(_bare(self.data), None)


class _Loop:
    """A learning that goes on.

    Args:
        job: of the learning.
        store: keeps the rounds.
    """

    def __init__(self, job: LearnJob, store: Store):
        self.job, self.store, self.options = job, store, job.options
        self.rows: list[LearnRound] = []
        self.frames: list[JudgedFrame] = []
        self.family: Family | None = None
        self.chosen_with = 0
        """Frames with which the hyperparameters of the family were chosen."""
        self.ahead: Explored | None = None
        """What the model of the last round has explored for the next one, with `overlap`."""

    def run(self) -> Learning:
        """Go through the rounds, and train the final model."""
        starts = self.job.geometries(self.store)
        labelled = self._first(starts)
        number = 1
        while labelled.spent < self.options.budget_of_rounds and not self._reached():
            labelled = self._round(number, labelled)
            number += 1
        self.store.put(ROUNDS, [row.to_dict() for row in self.rows])
        self.store.put(CALIBRATION, [frame.to_dict() for frame in self.frames])
        points = None
        if self.options.check_count:
            self.store.say(f"training on {len(labelled.data)} frames")
            model = self._model(number, self._last(labelled), self.store.within(CHECKS))
            points = check_points(self.job, model, starts, labelled.data, self.store)
            labelled = self._with_checks(labelled, number, points.checks)
        self.store.put(LABELS, labelled.data)
        self.store.say(f"training the final model on {len(labelled.data)} frames")
        model = self._model(number + 1, self._last(labelled), self.store)
        crash = None
        if self.options.crash_ns:
            crash = crash_test(self.job, model, starts, labelled.data, self.store)
        self.store.deliver(MODEL)
        return self._result(labelled, model, points, crash)

    def _last(self, labelled: _Labelled) -> Sets:
        """What the last models are trained on: everything, if hyperparameters are chosen."""
        return labelled.sets if self.family is None else labelled.everything

    def _with_checks(self, labelled: _Labelled, number: int, count: int) -> _Labelled:
        """With the minima and saddles, of which so many were to be labelled."""
        found = self.store.get(STATIONARY)
        data = labelled.data
        if found is not None:
            tags = {PURPOSE: np.full(len(found), CHECK), "round": np.full(len(found), number)}
            data = concatenate(data, replace(found, tags=tags))
        return _Labelled(data, labelled.spent + count)

    def _first(self, starts: Dataset) -> _Labelled:
        """The labels before the first model; a share of them, drawn at random, is validation."""
        known = self.job.known
        if known is not None:
            self.store.say(f"{len(known)} labels of {known.provenance.source}")
            if not self.job.first_count:
                return _Labelled(known, 0)
        part = self.store.within(round_name(0))
        chosen = part.get(CHOSEN)
        if chosen is None:
            chosen = first_geometries(self.job, starts, part)
            rng = np.random.default_rng([self.options.seed, 0, 1])
            judged = rng.permutation(len(chosen)) < round(self.options.random_share * len(chosen))
            chosen = replace(chosen, tags={PURPOSE: np.where(judged, RANDOM, FIRST)})
            part.put(CHOSEN, chosen)
        data, failed = self._labels(0, chosen, part)
        return _Labelled(data if known is None else concatenate(known, data), len(data) + failed)

    def _round(self, number: int, before: _Labelled) -> _Labelled:
        """A round: its labels are added to those before, and its row to the rows."""
        part = self.store.within(round_name(number))
        row, kept = part.get(ROW), part.get(CALIBRATION)
        model = self._model(number, before.sets, part)
        if self.ahead is None:
            explored = self._explored(number, model, before, part)
        else:
            explored = self.ahead.doubted_by(model)
        chosen = part.get(CHOSEN)
        if chosen is None:
            rng = np.random.default_rng([self.options.seed, number, 5])
            bands = explore_bands(self.job, model, before.data, part, rng)
            chosen = self._chosen(number, explored, bands, before)
            part.put(CHOSEN, chosen)
        data, failed = self._labels_and_ahead(number, model, before, chosen, part)
        added = replace(data, tags={name: data.tags[name] for name in (PURPOSE, "round")})
        after = _Labelled(concatenate(before.data, added), before.spent + len(data) + failed)
        if row is None or kept is None:
            evaluation = model(data.positions)
            frames = judged_frames(number, evaluation, data, scale_of(self.frames))
            part.put(CALIBRATION, [frame.to_dict() for frame in frames])
            found = self._judged(number, model, evaluation, data, frames, explored, before, after)
            part.put(ROW, found.to_dict())
            self.store.say(found.described())
        else:
            frames = [JudgedFrame.from_dict(frame) for frame in kept]
            found = LearnRound.from_dict(row)
        self.rows.append(found)
        self.frames += frames
        return after

    def _model(self, number: int, sets: Sets, part: Store) -> TrainedPotential:
        """The model of a round, or the final one, which is read if it was trained before.

        Hyperparameters are chosen again where the training set has grown enough.
        """
        place = part.place(MODEL)
        if not place.exists():
            judged = 0 if sets.validation is None else len(sets.validation)
            points = min(len(sets.train) + judged, SEARCHED)
            grown = sets.validation is not None and points >= GROWN * self.chosen_with
            if self.family is None or grown:
                self.family, self.chosen_with = None, points
            model, family = self._fitted(sets, part, number, self.family)
            hyperparameters = asdict(cast(Any, family))
            part.put(FAMILY, [family.name, hyperparameters, self.chosen_with])
            model.save(place)
        name, hyperparameters, self.chosen_with = part.get(FAMILY)
        self.family = make_family(name, hyperparameters)
        return cast(TrainedPotential, load(place, trust=self.options.trust))

    def _fitted(
        self,
        sets: Sets,
        part: Store,
        number: int,
        family: Family | None = None,
    ) -> tuple[TrainedPotential, Family]:
        rng = np.random.default_rng([self.options.seed, number, 2])
        found = fit_model(self.job, sets, part, rng, family)
        part.remove(f"{UNFINISHED}/training")
        return found

    def _labels_and_ahead(
        self, number: int, model: TrainedPotential, before: _Labelled, chosen: Dataset, part: Store
    ) -> tuple[Dataset, int]:
        """The labels of a round, see `_labels`; with `overlap`, and if there may be a next round,
        what is explored for it meanwhile is kept in `ahead`.

        Both are the same however long they take, so that a resumed learning makes the same choices.
        """
        spent = before.spent + len(chosen)
        if not self.options.overlap or spent >= self.options.budget_of_rounds:
            self.ahead = None
            return self._labels(number, chosen, part)
        following = self.store.within(round_name(number + 1))
        found, self.ahead = alongside(
            lambda: self._labels(number, chosen, part),
            lambda told: self._explored(number + 1, model, before, following, told),
        )
        return found

    def _explored(
        self,
        number: int,
        model: TrainedPotential,
        labelled: _Labelled,
        part: Store,
        progress: Progress | None = None,
    ) -> Explored:
        bound = STOP_AT * np.sqrt(3) * self.options.force_target_kcal_mol_A * KCAL_MOL
        bound /= max(scale_of(self.frames), SMALLEST_SCALE)
        validation = labelled.sets.validation
        if validation is not None and len(validation):
            typical = rms(deviation_of(model(validation.positions)))
            bound = max(bound, STOP_AT_TYPICAL * typical)
        rng = np.random.default_rng([self.options.seed, number, 3])
        return explore(self.job, model, labelled.data, bound, part, rng, progress)

    def _chosen(
        self, number: int, explored: Explored, bands: Dataset, labelled: _Labelled
    ) -> Dataset:
        """Geometries to label: some of the dynamics at random, a share of the bands and one of the
        scans, and uncertain and different ones of the dynamics."""
        options, frames = self.options, explored.frames
        left = options.budget_of_rounds - labelled.spent
        count = min(options.batch_count, left, len(frames) + len(bands))
        rng = np.random.default_rng([options.seed, number, 4])
        tests = min(max(1, round(options.random_share * count)), len(frames))
        random, others = np.split(rng.permutation(len(frames)), [tests])
        scan = bands.tags[SCAN]
        scans, bands = bands[scan], bands[~scan]
        others_count = count - tests
        on_scans = min(round(SCAN_SHARE * count), len(scans), others_count)
        wanted = max(round(BAND_SHARE * count), count - len(frames))
        on_bands = min(wanted, len(bands), others_count - on_scans)
        if self.job.along:
            others = others[evenly(self.job.along, frames.positions[others], rng)]
        others = others[: CANDIDATES * (others_count - on_bands - on_scans)]
        positions, purpose = frames.positions[random], np.full(tests, RANDOM)
        top = np.zeros(tests, bool)
        on_the_way = [*self._of_bands(bands, on_bands), (scans, on_scans, SCAN)]
        for some, many, why in (*on_the_way, (frames[others], count, UNSURE)):
            known = features(np.concatenate([labelled.data.positions, positions]))
            doubts = some.tags[DEVIATION]
            best = choose_batch(
                features(some.positions), doubts, known, min(many, count - len(positions))
            )
            positions = np.concatenate([positions, some.positions[best]])
            purpose = np.concatenate([purpose, np.full(len(best), why)])
            highest = some.tags[TOP][best] if TOP in some.tags else np.zeros(len(best), bool)
            top = np.concatenate([top, highest])
        return Dataset(frames.numbers, positions, tags={PURPOSE: purpose, TOP: top})

    def _of_bands(self, bands: Dataset, count: int) -> list[tuple[Dataset, int, str]]:
        """What so many geometries of the bands are chosen from: first the tops, if the error of
        barriers is a target."""
        if self.options.barrier_target_kcal_mol is None or TOP not in bands.tags:
            return [(bands, count, BAND)]
        top = bands.tags[TOP]
        tops = min(count, int(top.sum()))
        return [(bands[top], tops, BAND), (bands[~top], count - tops, BAND)]

    def _labels(self, number: int, chosen: Dataset, part: Store) -> tuple[Dataset, int]:
        """The labelled frames of a round, and the number of those that could not be labelled."""
        inner = part.within("label")
        data = self.job.labels(chosen, inner)
        tags = {name: data.tags[name] for name in (PURPOSE, TOP) if name in data.tags}
        tags["round"] = np.full(len(data), number)
        failed = inner.get(QUARANTINE)
        return replace(data, tags=tags), 0 if failed is None else len(failed)

    def _judged(
        self,
        number: int,
        model: TrainedPotential,
        found: Evaluation,
        data: Dataset,
        frames: list[JudgedFrame],
        explored: Explored,
        before: _Labelled,
        after: _Labelled,
    ) -> LearnRound:
        """Errors of a model on the labels of its round, which it has not seen."""
        energies, forces = data.labels()
        squares = ((found.forces - forces) ** 2).sum(axis=2).mean(axis=1)
        random = data.tags[PURPOSE] == RANDOM
        sets, ends = before.sets, explored.ends
        calibration = self._calibration(frames)
        return LearnRound(
            round=number,
            training_points=len(sets.train),
            validation_points=0 if sets.validation is None else len(sets.validation),
            labels=after.spent,
            force_rmse_kcal_mol_A=force_rmse(squares[random]),
            energy_rmse_kcal_mol=rms((found.energies - energies)[random]) / KCAL_MOL,
            unsure_force_rmse_kcal_mol_A=force_rmse(squares[~random]) if any(~random) else None,
            error_over_deviation=scale_of(frames),
            scale=scale_of(self.frames),
            rank_correlation=calibration.rank_correlation,
            confident_half_large_errors=calibration.confident_half_large_errors,
            complete_replicas=ends.count(""),
            unsure_replicas=ends.count(UNSURE),
            failed_replicas=len(ends) - ends.count("") - ends.count(UNSURE),
            barrier_error_kcal_mol=barrier_error(model, found, data, before.data),
            baseline=_baseline_of(model) if len(self.job.baselines.opened) > 1 else None,
            **by_temperature(explored),
        )

    def _calibration(self, frames: list[JudgedFrame]) -> Calibration:
        return Calibration.of(frames, self.options.force_target_kcal_mol_A)

    def _reached(self) -> bool:
        """Whether the last rounds, with enough random frames in all, have reached all targets."""
        tested = 0
        for count, row in enumerate(reversed(self.rows), 1):
            if not self._targets.held(row):
                return False
            tested += sum(frame.round == row.round for frame in random_frames(self.frames))
            if count >= self.options.patience and tested >= ENOUGH:
                return True
        return False

    @property
    def _targets(self) -> Targets:
        return Targets(
            force_kcal_mol_A=self.options.force_target_kcal_mol_A,
            energy_kcal_mol=self.options.energy_target_kcal_mol,
            stops_per_ns=self.options.stops_per_ns_target,
            barrier_kcal_mol=self.options.barrier_target_kcal_mol,
        )

    def _result(
        self,
        labelled: _Labelled,
        model: TrainedPotential,
        points: PointsChecked | None,
        crash: list[CrashedAt] | None = None,
    ) -> Learning:
        last, reached = self.rows[-1] if self.rows else None, self._reached()
        known = 0 if self.job.known is None else len(self.job.known)
        verdict = verdict_of(
            last, self.options.time_ps, reached=reached, crash=crash, targets=self._targets
        )
        result = Learning(
            store=self.store,
            reference=self.job.level,
            family=cast(Family, self.family).name,
            baseline=None if model is None else _baseline_of(model),
            file=MODEL,
            labels=len(labelled.data),
            known_labels=known,
            quarantined=labelled.spent - (len(labelled.data) - known),
            round_count=len(self.rows),
            targets_reached=reached,
            verdict=verdict if points is None else f"{verdict}; {points.verdict()}",
            crash=CrashTested.of(crash) if crash else None,
            points=points,
            trained=model,
        )
        if last is None:
            return result
        random = random_frames(self.frames)
        return replace(
            result,
            force_rmse_kcal_mol_A=last.force_rmse_kcal_mol_A,
            energy_rmse_kcal_mol=last.energy_rmse_kcal_mol,
            error_over_deviation=scale_of(self.frames),
            stops_per_ns=last.stops_per_ns,
            barrier_error_kcal_mol=last.barrier_error_kcal_mol,
            calibration=self._calibration(self.frames),
            random_calibration=self._calibration(random) if len(random) >= ENOUGH else None,
            complete_share=last.complete_replicas / self.options.replicas,
            trusted_up_to_K=trusted_up_to_K(last, crash) if reached else None,
        )


def _baseline_of(model: TrainedPotential) -> str | None:
    """What a model was added to."""
    return model.facts.get("baseline")


def _bare(data: Dataset) -> Dataset:
    """Frames and labels without tags."""
    return Dataset(data.numbers, data.positions, *data.labels(), provenance=data.provenance)
