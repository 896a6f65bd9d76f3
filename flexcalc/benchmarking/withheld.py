"""Stage: models trained without a conformer or a region, tested on the withheld frames."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from flexcalc import files
from flexcalc.analysis.populations import MIRROR, Conformers
from flexcalc.benchmarking import calls
from flexcalc.benchmarking.curves import train_all
from flexcalc.benchmarking.job import BenchmarkJob, Fit, word
from flexcalc.benchmarking.joint import TEST_SHARE, all_frames
from flexcalc.benchmarking.record import Outcome, mark, page_named, read_or_make
from flexcalc.benchmarking.testing import barrier_errors, errors_on
from flexcalc.config.benchmark_tests import Withheld
from flexcalc.config.train import Train
from flexcalc.dataset import Dataset
from flexcalc.errors import InputError
from flexcalc.geometry import Coordinate
from flexcalc.potential import Potential
from flexcalc.registry import open_potential
from flexcalc.results.benchmark_rows import WithheldRow
from flexcalc.units import KCAL_MOL


def withheld(job: BenchmarkJob) -> list[WithheldRow]:
    """Train each model without a part of the frames, in withheld/PART-MARK/MODEL; test it there.

    The frames of all mechanisms are divided into withheld.xyz and, of the others, seen.xyz for
    the test and pool.xyz for the training.
    """
    rows = []
    for part in job.config.withheld:
        name = f"{word(part.name)}-{mark(part)}"
        place = job.folder / "withheld" / name
        points = part.points or max(job.config.budgets or job.config.sizes)
        _divide(job, part, place, points)
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
            pieces[fit] = partial(_train, config, _folder(place, fit), job.echo)
        for fit in train_all(job, WithheldRow.stage, pieces, Outcome):
            step = f"tested-{fit.mechanism}-{fit.place}-{fit.points}"
            page = page_named(job, WithheldRow.stage, step)
            row = read_or_make(page, WithheldRow, partial(_row, job, fit, place))
            rows.append(replace(row, model=fit.label, withheld=part.name))
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
    """A mask (frames,) of bool of the geometries that belong to a part.

    Args:
        numbers: (atoms,) atomic numbers.
        part: a minimum with the geometries nearest to it, or an interval with its mirror image.
        minima: name -> positions (atoms, 3) in angstrom.
        coordinates: that distinguish the minima.
        positions: (frames, atoms, 3) in angstrom.
        trust: run the code of a python: coordinate.

    Raises:
        ConfigError: the part has neither.
    """
    if part.minimum is not None:
        conformers = Conformers.of(numbers, minima, coordinates)
        return conformers.nearest(positions) == conformers.names.index(part.minimum)
    text, low, high = part.interval
    coordinate = Coordinate.parse(text, trust=trust)
    belongs = np.zeros(len(positions), dtype=bool)
    for image in (positions, positions * MIRROR):
        values = coordinate.values(image)
        above, below = values >= low, values <= high
        belongs |= above | below if low > high else above & below
    return belongs


def _divide(job: BenchmarkJob, part: Withheld, place: Path, points: int) -> None:
    """Divide the frames of all mechanisms, unless that has been done.

    Raises:
        InputError: no frame is withheld, or too few are left.
    """
    if (place / "pool.xyz").exists():
        return
    frames, minima = all_frames(job), job.minima
    names = [str(name) for name in minima.tags["minimum"]]
    places = dict(zip(names, minima.positions, strict=True))
    out = inside(
        job.numbers, part, places, job.coordinates, frames.positions, trust=job.config.trust
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
    files.write(place / "withheld.xyz", frames[np.sort(apart)])
    files.write(place / "seen.xyz", frames[np.sort(seen[:test])])
    files.write(place / "pool.xyz", frames[np.sort(seen[test:])])


def _folder(place: Path, fit: Fit) -> Path:
    return place / fit.place / str(fit.points)


def _train(config: Train, folder: Path, echo: calls.Echo) -> Outcome:
    training = calls.train(config, folder, echo)
    return Outcome(summary=f"validation force RMSE {training.force_rmse_kcal_mol_A:.3f} kcal/mol/A")


def _row(job: BenchmarkJob, fit: Fit, place: Path) -> WithheldRow:
    """Errors of a model on frames like its training set's, on those withheld, and of barriers."""
    folder = _folder(place, fit) / f"{job.models[fit.label].family.name}.flex"
    potential = open_potential(str(folder), job.numbers, trust=job.config.trust)
    seen = _side(job, potential, place / "seen.xyz")
    unseen = _side(job, potential, place / "withheld.xyz")
    return WithheldRow(
        points=fit.points,
        frames_seen=seen.frames,
        force_rmse_seen_kcal_mol_A=seen.force,
        energy_rmse_seen_kcal_mol=seen.energy,
        frames_withheld=unseen.frames,
        force_rmse_withheld_kcal_mol_A=unseen.force,
        energy_rmse_withheld_kcal_mol=unseen.energy,
        ratio=unseen.force / seen.force,
        barriers=barrier_errors(job, potential),
    )


class _Side(NamedTuple):
    """Number of test frames, and RMSEs in kcal/mol/angstrom and kcal/mol."""

    frames: int
    force: float
    energy: float


def _side(job: BenchmarkJob, potential: Potential, file: Path) -> _Side:
    test: Dataset = files.read(file)
    errors = errors_on(job, potential, test, ())
    if errors.force is None or errors.energy is None:
        raise InputError(f"{file}: the frames have no labels")
    return _Side(len(test), errors.force.rmse / KCAL_MOL, errors.energy.rmse / KCAL_MOL)
