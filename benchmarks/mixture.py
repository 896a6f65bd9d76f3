"""Whether local models that are joined do better than one model, at equal budgets of points.

    python benchmarks/mixture.py isomers AZO_750K.npz [--points 100 200]
    python benchmarks/mixture.py joint POOL.xyz VALIDATION.xyz TEST.xyz --train TRAIN.xyz
        [--points 240] [--models single mixture refined ...] [--paths NAME=PATH.xyz ...]
        [--backgrounds MODEL.flex ...]

`isomers`: forces of cis- and trans-azobenzene at 750 K, without energies. One sGDML model of both
against two models, one of each, and against a mixture that finds the two by itself, with as many
points in all. In parentheses, separate models with as many points EACH.

`joint`: one set of frames of a whole landscape. For each model: force and energy RMSE on the test
frames; the force RMSE in bins of 10 degrees of the size of a dihedral, and the ratio of the worst
to the best bin with enough frames; the errors of the barriers along paths that the reference has
labelled; the drift of the energy in dynamics that starts on the borders between regions; the
largest mean deviation of forces from the gradient along short lines there; time of training and of
a geometry. With `--backgrounds` a mixture's models of all points are not trained but these, made of
the same points.
"""

from __future__ import annotations

import argparse
import time
import warnings
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from ase.data import atomic_masses

import flexcalc
from flexcalc import units
from flexcalc.dataset import Dataset
from flexcalc.geometry import Coordinate
from flexcalc.models.family import errors
from flexcalc.models.gdml import SGDML
from flexcalc.models.mixture import MixturePotential
from flexcalc.training.mixture import Mixture
from flexcalc.training.refinement import Rounds, refine
from flexcalc.training.selection import choose
from flexcalc.training.tuning import Sets, fit_best

ENOUGH = 20
"""Frames of a bin that counts."""


@dataclass(frozen=True)
class Ready:
    """A family whose one model is there already."""

    name: ClassVar[str] = "ready"

    path: str

    def candidates(self):
        return (self,)

    def fit(self, train, validation, rng, progress=None):
        return flexcalc.load(self.path)


def isomers(options):
    """Two isomers in one model, in two, and in a mixture."""
    with np.load(options.frames) as found:
        numbers, positions, forces = found["z"], found["R"], found["F"] * units.KCAL_MOL
    data = Dataset(numbers, positions, forces=forces)
    trans = np.abs(Coordinate.parse(options.coordinate).values(positions)) > 90
    order = np.random.default_rng(options.seed).permutation(len(data))
    sides = [order[trans[order] == side] for side in (False, True)]
    judged = data[np.sort(np.concatenate([side[-300:-200] for side in sides]))]
    tests = [data[np.sort(side[-200:])] for side in sides]
    test = data[np.sort(np.concatenate([side[-200:] for side in sides]))]
    local = SGDML(descriptor=options.descriptor, sigmas=tuple(options.sigmas))

    def mae(found, frames):
        return np.abs(found(frames.positions).forces - frames.forces).mean() / units.KCAL_MOL

    def best(family, frames):
        return fit_best(family, data[np.sort(frames)], judged, np.random.default_rng(0)).potential

    for points in options.points:
        half = [side[: points // 2] for side in sides]
        one = best(local, np.concatenate(half))
        told = f"one model {mae(one, test):.3f} ({len(one.permutations)} permutations)"
        for count, label in ((points // 2, "two models"), (points, "(each with all")):
            apart = [
                mae(best(local, side[:count]), frames)
                for side, frames in zip(sides, tests, strict=True)
            ]
            told += f", {label} {np.mean(apart):.3f} = {apart[0]:.3f} cis, {apart[1]:.3f} trans"
            told += ")" if count == points else ""
        # Without energies nothing says how the isomers' compare, so borders should be narrow.
        family = Mixture(
            of=(local,), regions=2, least_points=points // 5, shared=0.02, background=False
        )
        mixture = best(family, np.concatenate(half))
        told += f", mixture {mae(mixture, test):.3f}"
        print(f"{points} points in all: force MAE in kcal/mol/A: {told}", flush=True)


def bins(potential, test, coordinate):
    """Force RMSE (kcal/mol/A) and population of bins of 10 degrees of |dihedral|."""
    squares = ((potential(test.positions).forces - test.forces) ** 2).mean(axis=(1, 2))
    values = np.abs(Coordinate.parse(coordinate).values(test.positions))
    index = np.minimum((values / 10).astype(int), 17)
    rows = []
    for number in range(18):
        inside = index == number
        if inside.sum():
            rmse = np.sqrt(squares[inside].mean()) / units.KCAL_MOL
            rows.append((10 * number, int(inside.sum()), float(rmse)))
    return rows


def barrier_error(potential, path):
    """Error of the barrier from the first image of a labelled path, in kcal/mol."""
    found = potential(path.positions).energies
    return ((found.max() - found[0]) - (path.energies.max() - path.energies[0])) / units.KCAL_MOL


def dynamics(potential, starts, temperature_K, steps, step_fs, rng):
    """Drift (meV an atom and ps), energy spread (meV), and steps with mixed weights, of NVE."""
    masses = atomic_masses[potential.numbers][:, None]
    velocities = rng.standard_normal(starts.shape) * np.sqrt(units.KB * temperature_K / masses)
    positions, step = starts.copy(), step_fs * units.FS
    found, energies, mixed = potential(positions), [], []
    for _ in range(steps):
        velocities += 0.5 * step * found.forces / masses
        positions += step * velocities
        found = potential(positions)
        velocities += 0.5 * step * found.forces / masses
        energies.append(found.energies + 0.5 * (masses * velocities**2).sum(axis=(1, 2)))
        mixed.append((potential.gate(positions).weights > 0).sum(axis=1) > 1)
    times = np.arange(steps) * step_fs / 1000
    slopes = np.polyfit(times, np.array(energies), 1)[0]
    drift = 1000 * np.abs(slopes).max() / len(masses)
    return drift, 1000 * np.std(energies, axis=0).max(), float(np.mean(mixed))


def gradient_error(potential, geometries, rng, length=0.2, panels=32):
    """Largest mean deviation of a force from the gradient along a line, in eV/A.

    What the energy gains on a line of `length` through each geometry, less what the forces do on
    it, by Gauss's quadrature, and over the length: a difference of two energies that are so far
    apart is not lost in their rounding, as one of neighbours is.
    """
    nodes, weights = np.polynomial.legendre.leggauss(8)
    edges = np.linspace(-0.5, 0.5, panels + 1) * length
    half = 0.5 * length / panels
    places = (0.5 * (edges[:-1] + edges[1:])[:, None] + half * nodes).ravel()
    worst = 0.0
    for geometry in geometries:
        direction = rng.standard_normal(geometry.shape)
        direction /= np.linalg.norm(direction)
        start, end = potential(geometry + edges[[0, -1], None, None] * direction).energies
        forces = potential(geometry + places[:, None, None] * direction).forces
        along = (forces * direction).sum(axis=(1, 2))
        work = half * (np.tile(weights, panels) * along).sum()
        worst = max(worst, abs(end - start + work) / length)
    return worst


def tell(name, potential, seconds, test, options):
    """All that is measured of one model, in a few lines."""
    begun = time.perf_counter()
    found = potential(test.positions)
    each = 1000 * (time.perf_counter() - begun) / len(test)
    wrong = errors(found, test)
    rows = bins(potential, test, options.coordinate)
    took = "" if seconds is None else f"{seconds:.0f} s of processor to train, "
    counted = [rmse for _, population, rmse in rows if population >= ENOUGH]
    print(
        f"{name}: force RMSE {wrong['force_rmse_kcal_mol_A']:.3f} kcal/mol/A, energy RMSE "
        f"{wrong['energy_rmse_kcal_mol']:.3f} kcal/mol, worst/best bin "
        f"{max(counted):.2f}/{min(counted):.2f} = {max(counted) / min(counted):.2f}, "
        f"{took}{each:.2f} ms a geometry"
    )
    print("   bins:", ", ".join(f"{low}: {rmse:.2f} ({count})" for low, count, rmse in rows))
    for text in options.paths:
        label, _, file = text.partition("=")
        print(f"   barrier {label}: {barrier_error(potential, flexcalc.read(file)):+.2f} kcal/mol")
    if isinstance(potential, MixturePotential):
        told_of_mixture(potential, test, options)


def told_of_mixture(potential, test, options):
    """Its regions, and what happens on the borders."""
    rows = [
        f"{row['training_points']} points, backgrounds "
        + " ".join(f"{share:.2f}" for share in row.get("background_shares", ()))
        for row in potential.facts["regions"]
    ]
    weights = potential.gate(test.positions).weights
    border = np.flatnonzero((weights > 0).sum(axis=1) > 1)
    print(f"   regions: {'; '.join(rows)}; {len(border) / len(test):.1%} of the test on borders")
    rng = np.random.default_rng(options.seed)
    if len(border):
        some = test.positions[border[:: max(1, len(border) // 4)][:4]]
        drift, spread, mixed = dynamics(potential, some, 300.0, options.steps, 0.25, rng)
        print(
            f"   NVE of {len(some)} x {options.steps} x 0.25 fs from the borders: drift "
            f"{drift:.3f} meV/atom/ps, deviation {spread:.2f} meV, {mixed:.0%} of it on borders; "
            f"forces off the gradient by {gradient_error(potential, some, rng):.1e} eV/A"
        )


def joint(options):
    """One landscape, one budget, several models."""
    pool, judged, test = map(flexcalc.read, (options.pool, options.validation, options.test))
    # Frames of the validation may be in the pool; none of them may be trained on.
    known = {frame.tobytes() for frame in judged.positions}
    pool = pool[[index for index, x in enumerate(pool.positions) if x.tobytes() not in known]]
    train = pool[choose("stratified", pool, options.points, np.random.default_rng(options.seed))]
    if options.train:
        train = flexcalc.read(options.train)
    for text in options.opened:
        label, _, address = text.partition("=")
        tell(label, flexcalc.load(address), None, test, options)
    placed = None
    for name in options.models:
        kind, _, descriptor = name.removeprefix("refined-").partition("-")
        local = SGDML(descriptor=descriptor or "extended", sigmas=tuple(options.sigmas))
        family = local
        if kind != "single":
            family = Mixture(
                of=(local,),
                regions=options.regions,
                overlap=options.overlap,
                least_points=options.least_points,
                coordinates=tuple(options.gate),
                background=kind.endswith("background"),
                backgrounds=tuple(map(Ready, options.backgrounds)),
            )
        begun, rng = time.process_time(), np.random.default_rng(options.seed)
        if name.startswith("refined-") and (kind != "single" or placed is None):
            first = choose("stratified", pool, options.points // (options.rounds + 1), rng)
            found = refine(
                family,
                Sets(pool, judged),
                Rounds(first, options.points, options.rounds, options.by),
                rng,
            )
            placed, potential = pool[found.train], found.choice.potential
        else:
            points = placed if name.startswith("refined-") else train
            potential = fit_best(family, points, judged, rng).potential
        tell(f"{name} {options.points}", potential, time.process_time() - begun, test, options)
        if options.save:
            potential.save(f"{options.save}/{name}-{options.points}.flex", overwrite=True)


def parsed():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parts = parser.add_subparsers(dest="part", required=True)
    first = parts.add_parser("isomers")
    first.add_argument("frames")
    first.add_argument("--points", type=int, nargs="+", default=[100, 200])
    first.add_argument("--descriptor", default="distances")
    second = parts.add_parser("joint")
    for name in ("pool", "validation", "test"):
        second.add_argument(name)
    second.add_argument("--train", help="training points of the models that place none")
    second.add_argument("--points", type=int, default=240)
    models = [
        *("single-distances", "single-extended", "mixture", "mixture+background"),
        *("refined-mixture", "refined-single-extended"),
    ]
    second.add_argument("--models", nargs="*", default=models)
    second.add_argument("--paths", nargs="*", default=[], help="NAME=PATH.xyz")
    second.add_argument("--regions", type=int, default=2)
    second.add_argument("--overlap", type=float, default=0.0)
    second.add_argument("--least-points", type=int, default=50)
    second.add_argument("--gate", nargs="*", default=[], help="coordinates of the gate")
    second.add_argument("--rounds", type=int, default=1)
    second.add_argument("--by", choices=["worst", "error"], default="error")
    second.add_argument("--steps", type=int, default=400)
    second.add_argument("--opened", nargs="*", default=[], help="NAME=MODEL.flex to measure too")
    second.add_argument("--backgrounds", nargs="*", default=[], help="MODEL.flex of these points")
    second.add_argument("--save", help="folder for the models")
    for part in (first, second):
        part.add_argument("--coordinate", default="dihedral 5 6 7 8")
        part.add_argument("--sigmas", type=float, nargs="+", default=[10.0, 20.0, 40.0])
        part.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    chosen = parsed()
    {"isomers": isomers, "joint": joint}[chosen.part](chosen)
