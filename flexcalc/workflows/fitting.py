"""`flexcalc train`, and the same from Python: families fitted on one split of a dataset."""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np

from flexcalc import files
from flexcalc.config import Train
from flexcalc.dataset import Dataset, first_equal
from flexcalc.errors import FileFormatError, InputError
from flexcalc.fields import Address
from flexcalc.models.family import (
    TrainedPotential,
    TrainingWarning,
    check_family,
    check_labels,
    errors,
)
from flexcalc.potential import Potential
from flexcalc.progress import Progress, silent
from flexcalc.registry import made
from flexcalc.storage import copy_tree, read_json, write_json
from flexcalc.tasks.molecule import electrons_of, following
from flexcalc.training.memory import NOTHING, Memory, Notebook
from flexcalc.training.refinement import By
from flexcalc.training.selection import Selection
from flexcalc.workflows.baseline import Baseline, Task, open_baseline, task
from flexcalc.workflows.choosing import Fitted, Split, fit, held_out, split
from flexcalc.workflows.runs import Run, open_run

UNFINISHED = "unfinished"
"""Folder in a run folder for what a run that is interrupted goes on from."""
TOLD = ("permutations",)
"""Facts of a model that stand among the results of its training."""


def train(
    data: Dataset,
    family: str = "sgdml",
    *,
    points: int = 200,
    validation_points: int | None = None,
    selection: Selection = "stratified",
    refine_rounds: int = 0,
    refine_by: By = "worst",
    folds: int = 0,
    train_folds: int | None = None,
    committee: int = 1,
    baseline: Address | Potential | None = None,
    seed: int = 0,
    progress: Progress = silent,
    **hyperparameters: Any,
) -> TrainedPotential:
    """Train a model family on a dataset.

    Args:
        data: labelled frames.
        family: name of the family, such as "sgdml".
        points: training points.
        validation_points: frames that choose the hyperparameters; by default as many as there
            are training points, or all the others if those are fewer.
        selection: "stratified" by energy, "random", "farthest" or "clusters".
        refine_rounds: rounds that add points where the model is worst.
        refine_by: "worst" frames, or frames drawn in proportion to their "error".
        folds, train_folds: cross-validate, and keep the model of the best fold.
        committee: members of a committee, 1 for a single model; see `training.committee`.
        baseline: potential, or the address of one, whose energies and forces are taken from the
            labels first; the model is its sum with what is learned of the rest. A file that can
            only be read by running code has to be opened by `flexcalc.load(..., trust=True)`.
        seed: of all random numbers.
        hyperparameters: fields of the family, such as sigma=20; of a mixture's `of`, names of
            families or tables such as {"kind": "sgdml", "sigma": 20}.

    Returns:
        the trained potential; `save` it, call it with a batch, or hand it to a Calculator.

    Raises:
        InputError: too few frames, options that do not go together, or a hyperparameter the
            family does not know.
        AddressError: no such family.
    """
    chosen = made(family, hyperparameters)
    if validation_points is None:
        validation_points = min(points, max(0, len(data) - points))
    config = Train(
        dataset=Path(data.provenance.source),
        points=points,
        validation_points=validation_points,
        selection=selection,
        refine_rounds=refine_rounds,
        refine_by=refine_by,
        folds=folds,
        train_folds=train_folds,
        committee=committee,
        seed=seed,
    )
    check_labels(chosen, data)
    parts = split(data, config, np.random.default_rng(seed))
    below = open_baseline(baseline, data.numbers, trust=False)
    work = task(config, data, parts, below, NOTHING, progress)
    rng = np.random.default_rng([seed, 0])
    fitted = fit(config, work.data, work.split, chosen, rng, progress, NOTHING)
    return work.finished(fitted).potential


def run_train(config: Train, output: Path) -> dict[str, Any]:
    """Train families on the same split; each becomes NAME.flex in the run folder.

    With an output named `NAME.flex` and one family, the model goes there and the run folder is
    `NAME-train` beside it. Frames that were not used go to heldout.xyz. A run that was
    interrupted goes on after the last candidate, round or fold that it finished.

    Raises:
        InputError: the dataset or the split cannot be used; nothing is written.
    """
    data = config.read(config.dataset)
    config = following(config, electrons_of(data))
    parts = split(data, config, np.random.default_rng(config.seed))
    if any(points > config.points for points in config.learning_curve):
        raise InputError(f"learning_curve: expected sizes up to points = {config.points}")
    for chosen in config.family:
        check_labels(chosen, data)
        check_family(chosen, data.numbers)
    baseline = open_baseline(config.baseline, data.numbers, config.trust)
    output, target = _places(config, Path(output))
    with open_run("train", config, output) as run:
        if run.finished is not None:
            shutil.rmtree(run.folder / UNFINISHED, ignore_errors=True)
            if target is not None and not target.exists():
                copy_tree(run.folder / run.finished["model"], target)
            return run.finished
        _take_up(run.folder, _split_record(data, parts, baseline))
        with run.bar("baseline") if baseline else nullcontext(silent) as progress:
            memory = _notebook(run, "baseline")
            work = task(config, data, parts, baseline, memory, progress)
        equal = first_equal(data.positions)
        repeated = int((equal != np.arange(len(data))).sum())
        if repeated:
            run.say(f"warning: {repeated} of {len(data)} frames repeat the geometry of another one")
        fits, rows = [], []
        for index, name in enumerate(_names(config)):
            with warned(run):
                fits.append(_fit_one(config, run, work, name, index))
            seen = _seen(run, name, equal, fits[-1].split)
            row = _written(config, run, work, fits[-1], name, index)
            rows.append({**row, "repeated_frames": repeated, "validation_frames_trained_on": seen})
        rest = held_out(parts, fits)
        if len(rest):
            files.write(run.folder / "heldout.xyz", data[rest])
        models = [run.folder / row["model"] for row in rows]
        if target is not None:
            copy_tree(models[0], target)
            models = [target]
        if len(rows) > 1:
            run.table(*_compared(rows))
        run.say(f"model: {', '.join(map(str, models))}")
        results = run.finish({**rows[0], "models": rows} if len(rows) > 1 else rows[0])
        shutil.rmtree(run.folder / UNFINISHED, ignore_errors=True)
        return results


def _compared(rows: Sequence[Mapping[str, Any]]) -> tuple[list[str], list[list[str]]]:
    """Head and rows of the table of several models."""
    head = ["model (kcal/mol/A and kcal/mol)", "points", "force RMSE", "energy RMSE"]
    known = [key for key in ("force_rmse_kcal_mol_A", "energy_rmse_kcal_mol") if key in rows[0]]
    return head[: 2 + len(known)], [
        [row["model"], str(row["training_points"]), *(f"{row[key]:.3f}" for key in known)]
        for row in rows
    ]


def _take_up(folder: Path, record: dict[str, Any]) -> None:
    """Note the split; what was remembered of another one, of changed labels, is forgotten."""
    try:
        same = read_json(folder / "split.json") == record
    except (OSError, FileFormatError):
        same = False
    if not same:
        shutil.rmtree(folder / UNFINISHED, ignore_errors=True)
        write_json(folder / "split.json", record)


def _places(config: Train, output: Path) -> tuple[Path, Path | None]:
    """The run folder, and where the model is wanted if the output names a model folder."""
    if output.suffix != ".flex":
        return output, None
    if len(config.family) > 1:
        raise InputError(
            f"{output}: one model folder cannot hold {len(config.family)} families; "
            "give --output a folder without the suffix .flex"
        )
    if output.exists() and not (output / "model.json").exists():
        raise InputError(f"{output}: exists and is no flexcalc model; choose another --output")
    return output.with_name(f"{output.stem}-train"), output


def _split_record(data: Dataset, parts: Split, baseline: Baseline | None) -> dict[str, Any]:
    return {
        "dataset": data.provenance.source,
        "dataset_sha256": data.sha256(),
        "train": parts.train.tolist(),
        "validation": parts.validation.tolist(),
        **(baseline.facts if baseline is not None else {}),
    }


def _names(config: Train) -> list[str]:
    """Names of the models; the second of a family is NAME-2."""
    families = [family.name for family in config.family]
    before = [families[:index].count(name) for index, name in enumerate(families)]
    return [name + (f"-{n + 1}" if n else "") for name, n in zip(families, before, strict=True)]


def _notebook(run: Run, name: str) -> Notebook:
    return Notebook(run.folder / UNFINISHED / name)


def _fit_one(config: Train, run: Run, work: Task, name: str, index: int) -> Fitted:
    """Fit one family and save it."""
    rng, family = np.random.default_rng([config.seed, index]), config.family[index]
    with run.bar(f"train {name}") as progress:
        memory = _notebook(run, name)
        fitted = fit(config, work.data, work.split, family, rng, progress, memory)
    fitted = work.finished(fitted)
    fitted.potential.save(run.folder / f"{name}.flex")
    return fitted


def _seen(run: Run, name: str, equal: np.ndarray, parts: Split) -> int:
    """How many validation frames have the geometry of a training point, which is said."""
    seen = int(np.isin(equal[parts.validation], equal[parts.train]).sum())
    if seen:
        run.say(
            f"warning: {name}: {seen} of {len(parts.validation)} validation frames have the "
            "geometry of a training point, so validation errors are lower than on new geometries"
        )
    return seen


def _written(
    config: Train, run: Run, work: Task, fitted: Fitted, name: str, index: int
) -> dict[str, Any]:
    """Write the tables about a family that was fitted, and return its row of results."""
    suffix = "" if index == 0 else f"-{name}"
    judged, points = work.whole[fitted.split.validation], len(fitted.split.train)
    found = errors(fitted.potential(judged.positions), judged)
    told = f"force RMSE {found['force_rmse_kcal_mol_A']:.3f} kcal/mol/A"
    if "energy_rmse_kcal_mol" in found:
        told += f", energy RMSE {found['energy_rmse_kcal_mol']:.3f} kcal/mol"
    run.say(f"{name}: {points} training points, validation {told}")
    tables = {"table": fitted.table, **fitted.tables}
    if "curve" in fitted.potential.facts:
        tables["curve"] = fitted.potential.facts["curve"]
    for kind, table in tables.items():
        write_json(run.folder / f"{kind}{suffix}.json", table)
    if config.learning_curve:
        rows = list(_learning_curve(config, work, fitted, _notebook(run, name)))
        write_json(run.folder / f"learning{suffix}.json", [*rows, {"points": points, **found}])
    return {
        "family": config.family[index].name,
        "model": f"{name}.flex",
        "training_points": points,
        "validation_points": len(judged),
        **_scalars(fitted.potential.facts.get("hyperparameters", {})),
        **{key: fitted.potential.facts[key] for key in TOLD if key in fitted.potential.facts},
        **found,
        **fitted.facts,
    }


def _learning_curve(
    config: Train, work: Task, fitted: Fitted, memory: Memory
) -> Iterator[dict[str, Any]]:
    """Errors of smaller training sets, nested, with the hyperparameters that were found."""
    judged = work.labels(fitted.split.validation)
    order = np.random.default_rng([config.seed, 1]).permutation(fitted.split.train)
    for points in sorted(set(config.learning_curve) - {config.points}):
        row = memory.recall(f"learning-{points}")
        if row is None:
            fewer = work.labels(np.sort(order[:points]))
            with warnings.catch_warnings():
                # Of the model of all points they are told already.
                warnings.simplefilter("ignore", TrainingWarning)
                smaller = fitted.family.fit(fewer, judged, np.random.default_rng(config.seed))
            row = {"points": points, **errors(smaller(judged.positions), judged)}
            memory.remember(f"learning-{points}", row)
        yield row


def _scalars(values: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if isinstance(value, int | float | str)}


@contextmanager
def warned(run: Run) -> Iterator[None]:
    """Turn the training's warnings into lines of the log."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", TrainingWarning)
        yield
    for note in caught:
        if issubclass(note.category, TrainingWarning):
            run.say(f"warning: {note.message}")
