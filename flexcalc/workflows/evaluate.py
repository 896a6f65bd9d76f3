"""`flexcalc evaluate`: the errors of potentials on a dataset."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np

from flexcalc import files
from flexcalc.analysis.accuracy import accuracy
from flexcalc.config import Evaluate
from flexcalc.errors import FileFormatError
from flexcalc.geometry import Coordinate
from flexcalc.geometry.named import LINEAR_DEGREES
from flexcalc.potential import in_batches
from flexcalc.registry import open_potential
from flexcalc.storage import atomic_write, write_json
from flexcalc.tasks.molecule import electrons_of, following
from flexcalc.tasks.ordering import ordered
from flexcalc.workflows.runs import Run, open_run

UNITS = {"kcal_mol_A": "kcal/mol/A", "kcal_mol": "kcal/mol"}


def run_evaluate(config: Evaluate, output: Path) -> dict[str, Any]:
    """Compare potentials with a dataset's labels, overall and by region.

    Writes errors.json, a parity-N.npz for each model, and worst.xyz (reference labels of the
    first model's worst frames).

    Raises:
        InputError: a model, the dataset or a coordinate cannot be used; nothing is written.
    """
    data = config.read(config.dataset)
    config = following(config, electrons_of(data))
    if data.energies is None and data.forces is None:
        raise FileFormatError(f"{config.dataset}: the dataset has no labels to compare with")
    rng = np.random.default_rng(config.seed)
    if config.frames is not None and config.frames < len(data):
        data = data[np.sort(rng.choice(len(data), config.frames, replace=False))]
    coordinates = [Coordinate.parse(text, trust=config.trust) for text in config.by]
    for coordinate in coordinates:
        coordinate.values(data.positions[:1])
    undefined = _undefined(coordinates, data.positions)
    potentials = [
        open_potential(address, data.numbers, trust=config.trust) for address in config.models
    ]
    fittings = [
        ordered(potential, data, str(config.dataset), config.map_atoms, most=True)
        for potential in potentials
    ]
    with open_run("evaluate", config, output) as run:
        if run.finished is not None:
            return run.finished
        maps = [{} if (m := f.said(cast(Any, run))) is None else {"atom_map": m} for f in fittings]
        for note in undefined:
            run.say(f"warning: {note}")
        tables = []
        for index, (address, potential) in enumerate(zip(config.models, potentials, strict=True)):
            own = fittings[index].data
            with run.bar(f"evaluate {index + 1}/{len(potentials)}") as progress:
                evaluation = in_batches(potential, own.positions, progress)
            # Coordinates count atoms as the model does; so do the labels that it is judged by.
            found = accuracy(
                own,
                evaluation,
                rng=np.random.default_rng(config.seed),
                coordinates=coordinates,
                bins=config.bins,
                worst=config.worst,
            )
            tables.append({"model": address, **found.to_dict(), **maps[index]})
            _write_parity(run.folder / f"parity-{index}.npz", own, evaluation)
            if index == 0:
                files.write(run.folder / "worst.xyz", own[np.array(found.worst)])
            _say(run, tables[-1])
        if len(tables) > 1:
            run.table(*_compared(tables))
        write_json(run.folder / "errors.json", tables)
        flat = [
            {key: value for key, value in table.items() if not isinstance(value, list)}
            for table in tables
        ]
        results = {"dataset": str(config.dataset), **flat[0]}
        return run.finish(results if len(flat) == 1 else {**results, "models": flat})


def _undefined(coordinates: Sequence[Coordinate], positions: np.ndarray) -> list[str]:
    """What to say of dihedrals that have no value in some frames (frames, atoms, 3)."""
    notes = []
    for one in coordinates:
        straight = np.flatnonzero(one.bend(positions) < LINEAR_DEGREES)
        if len(straight):
            notes.append(
                f"{one.undefined(positions[straight[0]])}; that is so in {len(straight)} of "
                f"{len(positions)} frames, whose region is left to chance"
            )
    return notes


def _write_parity(path: Path, data: Any, evaluation: Any) -> None:
    import io

    arrays = {
        "energies_predicted": evaluation.energies,
        "forces_predicted": evaluation.forces,
    }
    if data.energies is not None:
        arrays["energies_reference"] = data.energies
    if data.forces is not None:
        arrays["forces_reference"] = data.forces
    stream = io.BytesIO()
    np.savez_compressed(stream, **arrays)
    atomic_write(path, stream.getvalue())


def _compared(tables: Sequence[Mapping[str, Any]]) -> tuple[list[str], list[list[str]]]:
    """Head and rows of the errors of several models."""
    keys = {
        f"{name}_{what}_{unit}": f"{name} {what.upper()}"
        for name, unit in (("force", "kcal_mol_A"), ("energy", "kcal_mol"))
        for what in ("mae", "rmse")
    }
    known = [key for key in keys if key in tables[0]]
    units = " and ".join(UNITS[u] for u in UNITS if any(key.endswith(f"_{u}") for key in known))
    head = [f"model ({units})", *(keys[key] for key in known)]
    return head, [[table["model"], *(f"{table[key]:.3f}" for key in known)] for table in tables]


def _say(run: Run, table: dict[str, Any]) -> None:
    """The figures that matter, a line each."""
    parts = []
    for name, unit in (("force", "kcal_mol_A"), ("energy", "kcal_mol")):
        if f"{name}_rmse_{unit}" in table:
            mae, rmse, largest = (table[f"{name}_{what}_{unit}"] for what in ("mae", "rmse", "max"))
            shown = UNITS[unit]
            parts.append(f"{name} MAE {mae:.3f} RMSE {rmse:.3f} max {largest:.2f} {shown}")
    run.say(f"{table['model']} on {table['frames']} frames: {'; '.join(parts)}")
    for regions in table["regions"]:
        worst = regions["bins"][0]
        run.say(
            f"  worst region of {regions['coordinate']}: {worst['from']:g} to {worst['to']:g} "
            f"{regions['unit']}, {worst['population']} frames"
        )
    for note in table["warnings"]:
        run.say(f"warning: {note}")
