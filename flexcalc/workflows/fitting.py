"""`flexcalc train`, and the same from Python: families fitted on one split of a dataset."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from flexcalc import files
from flexcalc.config import Train
from flexcalc.dataset import Dataset
from flexcalc.errors import InputError
from flexcalc.models.family import CheckingFamily, TrainedPotential, TrainingWarning, errors
from flexcalc.progress import Progress, silent
from flexcalc.registry import family as family_class
from flexcalc.storage import write_json
from flexcalc.training import selection
from flexcalc.training.tuning import fit_best
from flexcalc.workflows.runs import Run, copy_tree, open_run


@dataclass(frozen=True, eq=False)
class Split:
    """Frames of a dataset by their use; indices (frames,), ascending and disjoint."""

    train: np.ndarray
    validation: np.ndarray
    rest: np.ndarray


def split(
    data: Dataset, points: int, validation_points: int, kind: str, rng: np.random.Generator
) -> Split:
    """Training points by `training.selection`, validation frames at random from the others.

    Raises:
        InputError: there are not enough frames.
    """
    energies, _ = data.labels()
    if points + validation_points > len(data):
        raise InputError(
            f"{data.provenance.source}: {len(data)} frames are too few for {points} training "
            f"points and {validation_points} validation points; ask for fewer or label more"
        )
    choose = {"stratified": selection.stratified, "random": selection.random}[kind]
    train = choose(energies, points, rng)
    others = np.setdiff1d(np.arange(len(data)), train)
    validation = np.sort(rng.permutation(others)[:validation_points])
    return Split(train, validation, np.setdiff1d(others, validation))


def train(
    data: Dataset,
    family: str = "sgdml",
    *,
    points: int = 200,
    validation_points: int | None = None,
    selection: str = "stratified",
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
        selection: "stratified" by energy, or "random".
        seed: of all random numbers.
        hyperparameters: fields of the family, such as sigma=20.

    Returns:
        the trained potential; `save` it, call it with a batch, or hand it to a Calculator.

    Raises:
        InputError: too few frames, or a hyperparameter the family does not know.
        AddressError: no such family.
    """
    cls = family_class(family)
    try:
        chosen = cls(**hyperparameters)
    except TypeError as error:
        raise InputError(f"{family}: {error}") from None
    if validation_points is None:
        validation_points = min(points, max(0, len(data) - points))
    rng = np.random.default_rng(seed)
    parts = split(data, points, validation_points, selection, rng)
    return fit_best(chosen, data[parts.train], data[parts.validation], rng, progress)[0]


def run_train(config: Train, output: Path) -> dict[str, Any]:
    """Train families on the same split; each becomes NAME.flex in the run folder.

    With an output named `NAME.flex` and one family, the model goes there and the run folder is
    `NAME-train` beside it. Frames that were not used go to heldout.xyz.

    Raises:
        InputError: the dataset or the split cannot be used; nothing is written.
    """
    data = files.read(
        config.dataset,
        energy_unit=config.energy_unit,
        force_unit=config.force_unit,
        labels=config.labels,
    )
    rng = np.random.default_rng(config.seed)
    parts = split(data, config.points, config.validation_points, config.selection, rng)
    if any(points > config.points for points in config.learning_curve):
        raise InputError(f"learning_curve: expected sizes up to points = {config.points}")
    for chosen in config.family:
        if isinstance(chosen, CheckingFamily):
            chosen.check(data.numbers)
    output, target = _places(config, Path(output))
    with open_run("train", config, output) as run:
        if run.finished is not None:
            if target is not None and not target.exists():
                copy_tree(run.folder / run.finished["model"], target)
            return run.finished
        write_json(run.folder / "split.json", _split_record(data, parts))
        if len(parts.rest):
            files.write(run.folder / "heldout.xyz", data[parts.rest])
        rows = []
        for index, chosen in enumerate(config.family):
            with warned(run):
                rows.append(_fit_one(config, run, data, parts, chosen, index))
        models = [run.folder / row["model"] for row in rows]
        if target is not None:
            copy_tree(models[0], target)
            models = [target]
        run.say(f"model: {', '.join(map(str, models))}")
        results = {**rows[0], "models": rows} if len(rows) > 1 else rows[0]
        return run.finish(results)


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


def _split_record(data: Dataset, parts: Split) -> dict[str, Any]:
    return {
        "dataset": data.provenance.source,
        "dataset_sha256": data.sha256(),
        "train": parts.train.tolist(),
        "validation": parts.validation.tolist(),
    }


def _fit_one(
    config: Train, run: Run, data: Dataset, parts: Split, chosen: Any, index: int
) -> dict[str, Any]:
    """Fit one family, save it, and return its row of results."""
    rng = np.random.default_rng([config.seed, index])
    fitted, judged = data[parts.train], data[parts.validation]
    with run.bar(f"train {chosen.name}") as progress:
        potential, table = fit_best(chosen, fitted, judged, rng, progress)
    names = [other.name for other in config.family[:index]]
    name = chosen.name + (f"-{names.count(chosen.name) + 1}" if chosen.name in names else "")
    potential.save(run.folder / f"{name}.flex")
    suffix = "" if index == 0 else f"-{name}"
    write_json(run.folder / f"table{suffix}.json", table)
    found = errors(potential(judged.positions), judged)
    run.say(
        f"{name}: {len(fitted)} training points, validation force RMSE "
        f"{found['force_rmse_kcal_mol_A']:.3f} kcal/mol/A, energy RMSE "
        f"{found['energy_rmse_kcal_mol']:.3f} kcal/mol"
    )
    if config.learning_curve:
        rows = list(_learning_curve(config, potential, data, parts, chosen))
        rows.append({"points": len(fitted), **found})
        write_json(run.folder / f"learning{suffix}.json", rows)
    return {
        "family": chosen.name,
        "model": f"{name}.flex",
        "training_points": len(fitted),
        "validation_points": len(judged),
        **_scalars(potential.facts.get("hyperparameters", {})),
        **found,
    }


def _learning_curve(
    config: Train, potential: TrainedPotential, data: Dataset, parts: Split, chosen: Any
) -> Iterator[dict[str, Any]]:
    """Errors of smaller training sets, nested, with the hyperparameters that were found."""
    found = potential.facts.get("hyperparameters", {})
    same = {key: value for key, value in found.items() if hasattr(chosen, key)}
    fixed = replace(chosen, **same)
    judged = data[parts.validation]
    order = np.random.default_rng([config.seed, 1]).permutation(parts.train)
    for points in sorted(set(config.learning_curve) - {config.points}):
        fewer = data[np.sort(order[:points])]
        smaller = fixed.fit(fewer, judged, np.random.default_rng(config.seed))
        yield {"points": points, **errors(smaller(judged.positions), judged)}


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
