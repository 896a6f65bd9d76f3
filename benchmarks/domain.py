"""The domain of each family: held-out frames, and frames of other regions; run by hand.

    python benchmarks/domain.py DATA [--sets glycine ethanol azobenzene] [--families sgdml bpnn]
        [--points 100] [--epochs 60] [--hot FOLDER]

DATA is the folder of public data with `rmd17`, `azobenzene` and the glycine file. Models are
trained on one region and calibrated on validation frames of it: azobenzene on trans (and tried on
trans and cis at 750 K), glycine within 60 degrees of Ip (and tried beyond 90), ethanol on GFN2
dynamics at 500 K (and tried at 1000 K; the frames are kept in --hot). Trainings are short, as the
question is not how good the models are, but whether they know where they are bad.

For each model and set it prints the number of frames, the share outside the domain, the rank
correlation of distance and force error, the number of frames whose error is over three times the
typical one (the RMSE on the validation frames), and the share of those that are inside.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
from scipy.stats import spearmanr

import flexcalc
from flexcalc.dataset import Dataset
from flexcalc.geometry import Coordinate, match_atoms
from flexcalc.potential import distances_of
from flexcalc.registry import make_family
from flexcalc.units import KCAL_MOL

BAD = 3.0
"""Multiple of the typical error from which a frame counts as bad."""
SIGMA = {"azobenzene": 20.0, "glycine": 10.0, "ethanol": 10.0}


def families(names, sigma, epochs):
    """The families by name, small enough for minutes."""
    kernel = {"kind": "sgdml", "sigma": sigma}
    options = {
        "sgdml": {"sigma": sigma},
        "gap": {"cutoff": 5.0, "n_sparse": 300, "n_max": 6, "l_max": 4},
        "bpnn": {"epochs": epochs},
        "schnet": {"epochs": epochs, "features": 32, "interactions": 3},
        "mace": {"epochs": epochs, "channels": 16},
        "mixture": {"of": [kernel], "regions": 2, "least_points": 30},
    }
    return {name: make_family(name, options[name]) for name in names}


def in_order(data, like):
    """The frames of a set with their atoms in the order of another set."""
    rows = [np.flatnonzero(data.numbers == number) for number in dict.fromkeys(like.numbers)]
    order = np.concatenate(rows)
    order = order[match_atoms(like.numbers, data.positions[0, order], like.positions[0])]
    return Dataset(like.numbers, data.positions[:, order], data.energies, data.forces[:, order])


def azobenzene(folder, _):
    def read(name, **keys):
        return flexcalc.read(folder / name, energy_unit="kcal/mol", **keys)

    keys = {"energy_key": "old_energies", "forces_key": "old_forces"}
    trans = read("rmd17/rmd17_azobenzene_train_01.npz", **keys)
    hot = read("azobenzene/azo_750K_recovered_RF.npz")[1099::4]
    cis = read("azobenzene/azo_cis_750K_849.npz")[::4]
    return trans, {"trans 750 K": in_order(hot, trans), "cis 750 K": in_order(cis, trans)}


def glycine(folder, _):
    data = flexcalc.read(folder / "glycine_pbe-d3bj_def2-svp.xyz")
    turned = np.abs(Coordinate.parse("dihedral 0 1 2 3").values(data.positions))
    return data[turned < 60], {"beyond 90": data[turned > 90]}


def ethanol(_, folder):
    folder.mkdir(parents=True, exist_ok=True)
    found = []
    for kelvin, replicas in ((500, 4), (1000, 2)):
        path = folder / f"ethanol-{kelvin}.xyz"
        if not path.exists():
            start = flexcalc.read(Path(__file__).parents[1] / "inputs/ethanol.xyz")
            run = flexcalc.md(
                "xtb:GFN2-xTB", start, steps=2000, replicas=replicas, temperature_K=kelvin,
                friction_per_ps=10.0, frame_every=20, keep_bonds=False, seed=kelvin,
            )  # fmt: skip
            shape = (-1, *start.positions.shape[1:])
            later = slice(10, None)  # the start is colder
            flexcalc.write(
                path,
                Dataset(
                    start.numbers,
                    run.positions[later].reshape(shape),
                    run.energies[later].ravel(),
                    run.forces[later].reshape(shape),
                ),
            )
        found.append(flexcalc.read(path))
    return found[0], {"1000 K": found[1]}


SETS = {"glycine": glycine, "ethanol": ethanol, "azobenzene": azobenzene}


def row(model, data, typical):
    """Figures of a model on a set."""
    found = model(data.positions)
    distances = distances_of(model, data.positions, found.energies)
    off = found.forces - data.forces
    errors = np.sqrt(np.mean(off**2, axis=(1, 2)))
    inside, bad = model.domain.contains(distances), errors > BAD * typical
    return {
        "frames": len(data),
        "rmse_kcal_mol_A": float(np.sqrt(np.mean(errors**2)) / KCAL_MOL),
        "outside": float(np.mean(~inside)),
        "largest": float(distances.max()),
        "rank": float(spearmanr(distances, errors).statistic),
        "bad": int(bad.sum()),
        "bad_inside": float(inside[bad].mean()) if bad.any() else None,
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--sets", nargs="+", default=list(SETS), choices=list(SETS))
    known = ("sgdml", "gap", "bpnn", "schnet", "mace", "mixture")
    parser.add_argument("--families", nargs="+", default=list(known), choices=known)
    parser.add_argument("--points", type=int, default=100)
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--hot", type=Path, default=Path("domain-frames"))
    parser.add_argument("--json", type=Path, help="also append the rows here")
    options = parser.parse_args()
    for name in options.sets:
        data, others = SETS[name](options.data, options.hot)
        for kind, family in families(options.families, SIGMA[name], options.epochs).items():
            run = flexcalc.train(
                data, family=family, points=options.points, validation_points=options.points
            )
            model, used = run.model, np.concatenate([run.split.train, run.split.validation])
            typical = run.errors.force_rmse_kcal_mol_A * KCAL_MOL
            held_out = data[np.setdiff1d(np.arange(len(data)), used)]
            for what, frames in {"held out": held_out, **others}.items():
                found = row(model, frames, typical)
                inside = "" if found["bad_inside"] is None else f"{100 * found['bad_inside']:.1f} %"
                print(
                    f"{name:10s} {kind:8s} limit {model.domain.limit:.2f}  {what:12s} "
                    f"{found['frames']:4d} frames  RMSE {found['rmse_kcal_mol_A']:6.2f}  outside "
                    f"{100 * found['outside']:5.1f} %  largest {found['largest']:5.2f}  rank "
                    f"{found['rank']:5.2f}  bad {found['bad']:4d}, inside {inside}",
                    flush=True,
                )
                if options.json is not None:
                    with options.json.open("a") as stream:
                        line = {"set": name, "family": kind, "frames_of": what, **found}
                        stream.write(json.dumps(line) + "\n")


if __name__ == "__main__":
    main()
