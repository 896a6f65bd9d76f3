"""A synthetic run folder of `flexcalc benchmark`: azobenzene turned about N=N, made-up errors."""

import json

import numpy as np

from flexcalc import files
from flexcalc.dataset import Dataset
from flexcalc.geometry import bonds
from tests.systems import molecule

DIHEDRAL, ANGLE = "dihedral 5 6 7 8", "angle 5 6 7"
NITROGENS = (6, 7)
MECHANISMS = {"rotation": (38.1, 36.7), "inversion": (24.4, 23.1)}
KINDS = ("thermal 300 K", "images 100 K", "hot 750 K")
MODELS = {
    "sGDML default": ("sgdml", 1.5, 0.35),
    "sGDML extended": ("sgdml", 1.0, 0.5),
    "SchNet": ("schnet", 1.9, 0.8),
    "mixture": ("mixture", 0.75, 0.3),
}
"""Family, force error at 600 points in kcal/mol/A, and the energy error as a share of it."""

SIZES = (50, 100, 200, 400, 600)
TEMPERATURES = (300, 750)
EDGES = np.arange(-180, 181, 20)


def turned(degrees, rng=None, noise=0.0):
    """Trans azobenzene with one half turned about N=N: (frames, atoms, 3), and the numbers."""
    start = molecule("azobenzene-trans")
    pairs = {frozenset(map(int, pair)) for pair in bonds(start.numbers, start.positions)}
    pairs.discard(frozenset(NITROGENS))
    side = {NITROGENS[1]}
    while grown := {atom for pair in pairs if pair & side for atom in pair} - side:
        side |= grown
    origin = start.positions[NITROGENS[0]]
    axis = start.positions[NITROGENS[1]] - origin
    axis /= np.linalg.norm(axis)
    moving = np.array(sorted(side))
    away = start.positions[moving] - origin
    turns = []
    for angle in np.radians(np.asarray(degrees) + 180):
        along = np.outer(away @ axis, axis)
        spun = along + np.cos(angle) * (away - along) + np.sin(angle) * np.cross(axis, away)
        frame = start.positions.copy()
        frame[moving] = origin + spun
        turns.append(frame)
    frames = np.array(turns)
    return frames + (
        0 if rng is None else rng.normal(scale=noise, size=frames.shape)
    ), start.numbers


def keep(folder, name, content):
    (folder / name).write_text(json.dumps(content))


def minima(folder):
    positions, numbers = turned([180, 10])
    files.write(folder / "minima.xyz", Dataset(numbers, positions))
    rows = [
        {"name": name, "energy_kcal_mol": energy, "coordinates": {DIHEDRAL: turn, ANGLE: 115.0}}
        for name, energy, turn in (("trans", 0.0, 180.0), ("cis", 12.4, 9.7))
    ]
    keep(folder, "minima.json", rows)


def profile(height, images=15):
    share = np.linspace(0, 1, images)
    return height * np.sin(np.pi * share) ** 2 + 12.4 * (1 - share)


def paths(folder):
    rows = []
    turns = np.linspace(10, 180, 15)
    for name, (height, bare) in MECHANISMS.items():
        positions, numbers = turned(turns)
        place = folder / "paths" / name
        place.mkdir(parents=True)
        files.write(place / "path.xyz", Dataset(numbers, positions, profile(height) / 23.06))
        rows.append(
            {
                "mechanism": name,
                "images": 15,
                "barrier_kcal_mol": height,
                "barrier_without_dispersion_kcal_mol": bare,
                "profile_kcal_mol": profile(height).tolist(),
                "profile_without_dispersion_kcal_mol": profile(bare).tolist(),
                "coordinate": DIHEDRAL,
                "progress": turns.tolist(),
                "converged": name != "inversion",
            }
        )
    keep(folder, "paths.json", rows)
    straight = {"start": "cis", "end": "trans", "method": "neb", "converged": False, "steps": 500}
    keep(folder, "naive.json", [{**straight, "barrier_kcal_mol": 181.0}])


def data(folder, rng):
    rows = []
    for mechanism in MECHANISMS:
        for kind, mean, frames in zip(KINDS, (9, 25, 31), (500, 700, 300), strict=True):
            rows.append(
                {
                    "mechanism": mechanism,
                    "kind": kind,
                    "frames": frames,
                    "energy_kcal_mol": (mean + 4 * rng.standard_normal(frames)).round(2).tolist(),
                    "nearest_other_A": rng.gamma(9, mean / 200, frames).round(3).tolist(),
                }
            )
    keep(folder, "data.json", rows)


def curves(folder, rng):
    rows, cutoffs = [], []
    for mechanism in MECHANISMS:
        for model, (family, scale, share) in MODELS.items():
            for points in SIZES:
                folds = scale * (600 / points) ** 0.6 * np.exp(0.08 * rng.standard_normal(5))
                for by in ("force", "joint") if family == "sgdml" else ("joint",):
                    energy = share * folds * np.exp((0.3 if by == "force" else 0.1) * rng.normal())
                    rows.append(
                        {
                            "mechanism": mechanism,
                            "model": model,
                            "family": family,
                            "points": points,
                            "by": by,
                            "fold_force_rmse_kcal_mol_A": folds.tolist(),
                            "fold_energy_rmse_kcal_mol": energy.tolist(),
                            "best_force_rmse_kcal_mol_A": folds.min(),
                            "best_energy_rmse_kcal_mol": energy.min(),
                            "mean_force_rmse_kcal_mol_A": folds.mean(),
                            "mean_energy_rmse_kcal_mol": energy.mean(),
                            "hyperparameters": {"sigma": 20},
                            "train_seconds": points / 3,
                            "predict_ms": 0.3 + scale,
                        }
                    )
        cutoffs += [
            {
                "mechanism": mechanism,
                "model": "GAP",
                "cutoff_A": cutoff,
                "points": 200,
                "force_rmse_kcal_mol_A": 2.4 + (0.2 + 0.02 * len(mechanism)) * (cutoff - 5) ** 2,
                "energy_rmse_kcal_mol": 0.1 * len(mechanism) + 0.12 * (cutoff - 5.5) ** 2,
            }
            for cutoff in (3.0, 4.0, 5.0, 6.0, 7.0)
        ]
    keep(folder, "curves.json", rows)
    keep(folder, "cutoffs.json", cutoffs)


def bins(scale, share, rng, flat=False):
    middles = (EDGES[1:] + EDGES[:-1]) / 2
    near = np.exp(-((np.minimum(180 - abs(middles), abs(middles)) / 30) ** 2))
    error = scale * (1 + (0.3 if flat else 2.0) * near) * np.exp(0.06 * rng.normal(size=len(near)))
    return [
        {
            "from": int(low),
            "to": int(low) + 20,
            "population": int(120 + 700 * n),
            "force_rmse_kcal_mol_A": one,
            "energy_rmse_kcal_mol": share * one,
        }
        for low, n, one in zip(EDGES[:-1], near, error, strict=True)
    ]


def regions(folder, rng):
    rows = [
        {
            "mechanism": mechanism,
            "model": model,
            "points": 600,
            "coordinate": DIHEDRAL,
            "unit": "degrees",
            "bins": bins(0.7 * scale, share, rng, model == "mixture"),
        }
        for mechanism in MECHANISMS
        for model, (_, scale, share) in MODELS.items()
    ]
    keep(folder, "regions.json", rows)


def barriers(folder, rng):
    rows = []
    for mechanism, (height, _) in MECHANISMS.items():
        for model, (_, scale, share) in MODELS.items():
            exact = profile(height)
            error = share * scale * rng.normal(size=15)
            rows.append(
                {
                    "mechanism": mechanism,
                    "model": model,
                    "points": 600,
                    "barrier_kcal_mol": height + error[7],
                    "barrier_reference_kcal_mol": height,
                    "barrier_error_kcal_mol": error[7],
                    "profile_rmse_kcal_mol": float(np.sqrt(np.mean(error**2))),
                    "profile_kcal_mol": (exact + error).tolist(),
                    "profile_reference_kcal_mol": exact.tolist(),
                }
            )
    keep(folder, "barriers.json", rows)
    features = [
        {"kind": "distance", "atoms": [i, j], "importance": 10 / (1 + j - i), "kept": j - i < 9}
        for i in range(24)
        for j in range(i + 1, 24)
    ]
    reduced = {"mechanism": "rotation", "model": "sGDML default", "kept": 156, "all": 276}
    keep(folder, "features.json", [{**reduced, "features": features}])


def joint(folder, rng):
    rows = []
    for model, (_, scale, share) in MODELS.items():
        for budget in (300, 600):
            found = bins(scale * (600 / budget) ** 0.6, share, rng, model == "mixture")
            errors = [one["force_rmse_kcal_mol_A"] for one in found]
            rows.append(
                {
                    "model": model,
                    "budget": budget,
                    "set": "joint",
                    "force_rmse_kcal_mol_A": float(np.mean(errors)),
                    "energy_rmse_kcal_mol": share * float(np.mean(errors)),
                    "worst_region_kcal_mol_A": max(errors),
                    "best_region_kcal_mol_A": min(errors),
                    "ratio": max(errors) / min(errors),
                    "regions": [{"coordinate": DIHEDRAL, "unit": "degrees", "bins": found}],
                    "barriers": [
                        {"mechanism": name, "error_kcal_mol": share * rng.normal()}
                        for name in MECHANISMS
                    ],
                    "train_seconds": budget / 2,
                    "predict_ms": 0.4 + scale,
                }
            )
    keep(folder, "joint.json", rows)


def errors(folder, rng, frames=120):
    turns = rng.uniform(-180, 180, frames)
    positions, numbers = turned(turns, rng, 0.04)
    files.write(folder / "errors.xyz", Dataset(numbers, positions))
    names = list(MECHANISMS)
    rows = [
        {
            "mechanism": names[index % len(names)],
            "coordinates": {
                DIHEDRAL: round(float(turn), 1),
                ANGLE: round(115 + 6 * rng.normal(), 1),
            },
            "energy_kcal_mol": 25 - 12 * np.cos(2 * np.radians(turn)) + 4 * rng.normal(),
            "energy_error_kcal_mol": {m: s * e * rng.normal() for m, (_, s, e) in MODELS.items()},
            "force_rmse_kcal_mol_A": {m: s * rng.gamma(9, 0.11) for m, (_, s, _) in MODELS.items()},
        }
        for index, turn in enumerate(turns)
    ]
    keep(folder, "errors.json", {"models": list(MODELS), "frames": rows})


def crash(folder, rng):
    grid = np.linspace(-180, 180, 25)
    middles = (grid[1:] + grid[:-1]) / 2

    def met(width):
        away = np.minimum(abs(middles), 180 - abs(middles))
        weight = np.exp(-((away / width) ** 2))
        return rng.poisson(60 * np.outer(weight, np.exp(-((middles / 60) ** 2))))

    chart = {"coordinates": [DIHEDRAL, "dihedral 4 5 6 7"], "edges": [grid.tolist()] * 2}
    rows = []
    for temperature in TEMPERATURES:
        real = {**chart, "counts": met(temperature / 25).tolist()}
        for model, (_, scale, _) in MODELS.items():
            chance = min(1.0, scale * temperature / 3000)
            times = [
                float(rng.uniform(0.5, 20)) if rng.random() < chance else None for _ in range(10)
            ]
            failures = [
                {"seed": k, "time_ps": t, "kind": "bond broken", "what": f"C{k % 3}-H{14 + k % 3}"}
                for k, t in enumerate(times)
                if t is not None
            ]
            rows.append(
                {
                    "model": model,
                    "temperature_K": temperature,
                    "seeds": 10,
                    "time_ps": 20.0,
                    "survived": times.count(None),
                    "time_to_failure_ps": times,
                    "failures": failures,
                    "drift_meV_atom_ps": 0.01 * scale,
                    "populations": {"trans": 0.9 - 0.05 * scale, "cis": 0.1 + 0.05 * scale},
                    "reference_populations": {"trans": 0.88, "cis": 0.12},
                    "map": {**chart, "counts": met(temperature / 22).tolist()},
                    "reference_map": real,
                    "force_max_error_kcal_mol_A": 12 * scale,
                    "force_rmse_visited_kcal_mol_A": 1.3 * scale,
                }
            )
    keep(folder, "crash.json", rows)


def withheld(folder):
    rows = [
        {
            "model": model,
            "withheld": "cis",
            "points": 400,
            "force_rmse_seen_kcal_mol_A": scale,
            "force_rmse_withheld_kcal_mol_A": scale * (2.2 if model == "mixture" else 4.5),
            "energy_rmse_seen_kcal_mol": share * scale,
            "energy_rmse_withheld_kcal_mol": 5 * share * scale,
            "barriers": [{"mechanism": "rotation", "error_kcal_mol": 3 * share * scale}],
        }
        for model, (_, scale, share) in MODELS.items()
    ]
    keep(folder, "withheld.json", rows)


def findings(folder):
    texts = (
        ("The descriptor must fit the mechanism.", "sGDML needs angles for inversion.", "yes"),
        (
            "Energies of sGDML oscillate with the training size.",
            "Errors rise from 50 to 100.",
            "partly",
        ),
        ("The van der Waals term raises every barrier by 1 kcal/mol.", "By 1.0 to 1.4.", "yes"),
        ("A band does not converge from a naive path.", "It did for glycine only.", "no"),
        ("SchNet is four times worse near equilibrium.", "", "not measured"),
    )
    rows = [
        {"finding": text, "paper": paper, "ours": f"Measured here: {verdict}.", "holds": verdict}
        for text, paper, verdict in texts
    ]
    keep(folder, "findings.json", rows)


def results(folder):
    content = {
        "command": "benchmark",
        "title": "azobenzene",
        "reference": "xtb:GFN2-xTB",
        "best_model": "mixture",
        "seconds": 5230.0,
    }
    keep(folder, "results.json", content)
    (folder / "run.toml").write_text("# flexcalc benchmark\nseed = 0\n")
    (folder / "log.txt").write_text("started\ndone <b>well</b>\n")


def benchmark(folder, rng):
    """All stages; each also stands alone."""
    folder.mkdir(parents=True, exist_ok=True)
    results(folder)
    minima(folder)
    paths(folder)
    for stage in (data, curves, regions, barriers, joint, errors, crash):
        stage(folder, rng)
    withheld(folder)
    findings(folder)
