"""Stage: models trained without a conformer or a region, tested on what they never saw."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from flexcalc import files
from flexcalc.analysis.populations import MIRROR, Conformers
from flexcalc.commands.face import run_command
from flexcalc.commands.train import train
from flexcalc.config import Train
from flexcalc.config.benchmark_tests import Withheld
from flexcalc.dataset import Dataset
from flexcalc.errors import InputError
from flexcalc.geometry import Coordinate
from flexcalc.printing import say
from flexcalc.registry import open_potential
from flexcalc.units import KCAL_MOL
from flexcalc.workflows.benchmark.curves import trained
from flexcalc.workflows.benchmark.job import BenchmarkJob, Fit, Rows, word
from flexcalc.workflows.benchmark.joint import TEST_SHARE, together
from flexcalc.workflows.benchmark.record import kept, mark
from flexcalc.workflows.benchmark.testing import along, judged
from flexcalc.workflows.runs import Run


def withheld(job: BenchmarkJob, here: Run) -> Rows:
    """Train each model without a part of the frames, in withheld/PART-MARK/MODEL; test it there.

    The frames of all mechanisms are divided into withheld.xyz and, of the others, seen.xyz for
    the test and pool.xyz for the training.
    """
    rows: Rows = []
    for part in job.config.withheld:
        name = f"{word(part.name)}-{mark(part)}"
        place = here.folder / "withheld" / name
        points = part.points or max(job.config.budgets or job.config.sizes)
        _divided(job, part, place, points)
        pieces = {}
        for label, model in job.models.items():
            config = Train(
                dataset=place / "pool.xyz",
                family=(model.family,),
                points=points,
                validation_points=job.config.validation_points,
                trust=job.config.trust,
                seed=job.config.seed,
            )
            fit = Fit(name, label, points)
            pieces[fit] = partial(_fitted, config, _folder(place, fit))
        for fit in trained(job, here, "withheld", pieces):
            step = f"tested-{fit.mechanism}-{fit.place}-{fit.points}"
            found = kept(job, "withheld", step, partial(_tested, job, fit, place))
            rows.append({"model": fit.label, "withheld": part.name, **found})
    return rows


def inside(
    numbers: np.ndarray,
    part: Withheld,
    minima: Mapping[str, np.ndarray],
    coordinates: tuple[Coordinate, ...],
    positions: np.ndarray,
    *,
    trust: bool = False,
) -> np.ndarray:
    """Which geometries (frames,) of bool belong to a part.

    Args:
        numbers: (atoms,) atomic numbers.
        part: a minimum with what is nearest to it, or an interval with its mirror image.
        minima: name -> positions (atoms, 3) in angstrom.
        coordinates: that tell the minima apart.
        positions: (frames, atoms, 3) in angstrom.
        trust: run the code of a python: coordinate.

    Raises:
        ConfigError: the part says neither.
    """
    if part.minimum is not None:
        conformers = Conformers.of(numbers, minima, coordinates)
        return conformers.nearest(positions) == conformers.names.index(part.minimum)
    text, low, high = part.interval
    one = Coordinate.parse(text, trust=trust)
    found = np.zeros(len(positions), dtype=bool)
    for image in (positions, positions * MIRROR):
        values = one.values(image)
        above, below = values >= low, values <= high
        found |= above | below if low > high else above & below
    return found


def _divided(job: BenchmarkJob, part: Withheld, place: Path, points: int) -> None:
    """Divide the frames of all mechanisms, unless that has been done.

    Raises:
        InputError: no frame is withheld, or too few are left.
    """
    if (place / "pool.xyz").exists():
        return
    whole, minima = together(job), job.minima
    names = [str(name) for name in minima.tags["minimum"]]
    places = dict(zip(names, minima.positions, strict=True))
    out = inside(
        job.numbers, part, places, job.coordinates, whole.positions, trust=job.config.trust
    )
    seen, apart = np.flatnonzero(~out), np.flatnonzero(out)
    rng = np.random.default_rng(job.seed("withheld", part.name))
    seen, apart = rng.permutation(seen), rng.permutation(apart)[: job.config.test_frames]
    test = min(job.config.test_frames, int(TEST_SHARE * len(seen)))
    needed = points + job.config.validation_points
    if not len(apart) or not test or len(seen) - test < needed:
        raise InputError(
            f"withheld {part.name}: expected some frames to withhold and {needed} others to train "
            f"on, found {len(apart)} and {len(seen) - test}"
        )
    place.mkdir(parents=True, exist_ok=True)
    files.write(place / "withheld.xyz", whole[np.sort(apart)])
    files.write(place / "seen.xyz", whole[np.sort(seen[:test])])
    files.write(place / "pool.xyz", whole[np.sort(seen[test:])])


def _folder(place: Path, fit: Fit) -> Path:
    return place / fit.place / str(fit.points)


def _fitted(config: Train, folder: Path) -> dict[str, Any]:
    results = run_command(train, config, folder, echo=say).to_dict()
    force = results["force_rmse_kcal_mol_A"]
    return {"said": f"validation force RMSE {force:.3f} kcal/mol/A"}


def _tested(job: BenchmarkJob, fit: Fit, place: Path) -> dict[str, Any]:
    """Errors of a model on frames like its training set's, on those withheld, and of barriers."""
    folder = _folder(place, fit) / f"{job.models[fit.label].family.name}.flex"
    potential = open_potential(str(folder), job.numbers, trust=job.config.trust)
    row: dict[str, Any] = {"points": fit.points}
    for side in ("seen", "withheld"):
        test: Dataset = files.read(place / f"{side}.xyz")
        found, _ = judged(job, potential, test, ())
        if found.force is None or found.energy is None:
            raise InputError(f"{place / side}.xyz: the frames have no labels")
        row[f"frames_{side}"] = len(test)
        row[f"force_rmse_{side}_kcal_mol_A"] = found.force.rmse / KCAL_MOL
        row[f"energy_rmse_{side}_kcal_mol"] = found.energy.rmse / KCAL_MOL
    row["ratio"] = row["force_rmse_withheld_kcal_mol_A"] / row["force_rmse_seen_kcal_mol_A"]
    row["barriers"] = [
        {"mechanism": name, "error_kcal_mol": along(job, name, potential)["barrier_error_kcal_mol"]}
        for name in job.mechanisms
    ]
    return row
