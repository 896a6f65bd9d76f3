"""A model of azobenzene on the four mechanisms of inputs/ and on frames of all of them; by hand.

    python benchmarks/azobenzene.py MODEL.flex [MODEL.flex ...] --output azobenzene
        [--reference xtb:GFN2-xTB] [--no-frames]
    python benchmarks/azobenzene.py MODEL.flex --output azobenzene --tops --known labels.xyz
        --reference "dft:PBE-D3BJ/def2-SVP?spin=broken-symmetry"

For each model: the barrier of each mechanism from trans and from cis, by the same search on the
model and on the reference, and the energy of cis above trans. Force and energy RMSE on 1200 frames
of the reference, made as the set of RESULTS.md: of 100 K from the images of the four paths, of 300
and 750 K from both isomers. Paths and frames of the reference are kept in the folder.

With `--tops`, for an expensive reference, paths are those of the model, and the reference labels
only the highest image of each, its neighbours and the ends: the barriers of both on these images.
Images that are in the files `--known` are not labelled again.
"""

from __future__ import annotations

import argparse
import json
import tomllib
import warnings
from pathlib import Path

import numpy as np

import flexcalc as fx
from flexcalc.dataset import Dataset, concatenate
from flexcalc.units import KCAL_MOL

INPUTS = Path(__file__).parents[1] / "inputs"
MECHANISMS = ("rotation", "inversion", "assisted", "optimised")
SAME_A = 2e-6
"""Images whose atoms are nearer are the same: files keep six digits."""
ISOMERS = tuple(INPUTS / f"azobenzene-{name}.xyz" for name in ("cis", "trans"))


def path(model, mechanism: str, output: Path) -> Dataset:
    """The labelled path of a mechanism on a model."""
    options = tomllib.loads((INPUTS / f"path-azobenzene-{mechanism}.toml").read_text())
    method = fx.Scan(**{k: tuple(v) if isinstance(v, list) else v
                        for k, v in options["method"].items() if k != "kind"})  # fmt: skip
    start, end = (str(INPUTS / options[key]) for key in ("start", "end"))
    fx.path(model, start, end, method=method, relax_ends=False, output=output, progress=False)
    return fx.read(output / "path.xyz")


def barriers(images: Dataset) -> list[float]:
    """Of a labelled path, from cis and from trans, in kcal/mol."""
    energies = images.energies / KCAL_MOL
    return [float(energies.max() - energies[0]), float(energies.max() - energies[-1])]


def tops(model, output: Path, reference: str, known: Dataset | None) -> dict[str, dict]:
    """Barriers of the mechanisms on a model, and of the reference on the images around the top."""
    paths = {name: path(model, name, output / name) for name in MECHANISMS}
    rows = {}
    for name, images in paths.items():
        top = min(max(int(images.energies.argmax()), 1), len(images) - 2)
        rows[name] = np.unique([0, top - 1, top, top + 1, len(images) - 1])
    asked = concatenate(*(Dataset(*_bare(paths[name][rows[name]])) for name in MECHANISMS))
    found = np.full(len(asked), np.nan)
    if known is not None:
        apart = np.abs(asked.positions[:, None] - known.positions).max(axis=(2, 3))
        there = apart.min(axis=1) < SAME_A
        found[there] = known.energies[apart.argmin(axis=1)][there]
    missing = np.flatnonzero(np.isnan(found))
    if len(missing):
        labels = fx.label(reference, asked[missing], samples=[fx.AsIs()], output=output / "labels")
        found[missing] = labels.dataset.energies
    begin, barriers_of = 0, {}
    for name in MECHANISMS:
        ours = paths[name].energies[rows[name]] / KCAL_MOL
        theirs = found[begin : begin + len(ours)] / KCAL_MOL
        begin += len(ours)
        barriers_of[name] = {
            "images": rows[name].tolist(),
            "model": [float(ours.max() - ours[0]), float(ours.max() - ours[-1])],
            "reference": [float(theirs.max() - theirs[0]), float(theirs.max() - theirs[-1])],
            "off": (ours - ours[0] - theirs + theirs[0]).round(3).tolist(),
        }
    return barriers_of


def frames(reference: str, folder: Path, paths: dict[str, Dataset]) -> Dataset:
    """Frames of the reference, labelled."""
    images = concatenate(*(Dataset(one.numbers, one.positions) for one in paths.values()))
    minima = concatenate(*(Dataset(*_bare(fx.read(name))) for name in ISOMERS))
    cold = fx.Thermal(
        frames=680, temperature_K=100.0, timestep_fs=0.5, spacing_fs=5.0, friction_per_ps=1.0,
        equilibration_fs=0.0, patience=1,
    )  # fmt: skip
    warm, hot = (
        fx.Thermal(frames=264, temperature_K=kelvin, spacing_fs=20.0, replicas=2, patience=1)
        for kelvin in (300.0, 750.0)
    )
    found = [
        fx.label(reference, starts, samples=[how], seed=4321, output=folder / name).dataset
        for name, starts, how in (
            ("100K", images, cold), ("300K", minima, warm), ("750K", minima, hot)
        )
    ]  # fmt: skip
    return concatenate(*(Dataset(*_bare(one), *one.labels()) for one in found))


def _bare(data: Dataset):
    return data.numbers, data.positions


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("models", nargs="+")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--reference", default="xtb:GFN2-xTB")
    parser.add_argument("--no-frames", action="store_true")
    parser.add_argument("--tops", action="store_true", help="on the model's own paths")
    parser.add_argument("--known", type=Path, nargs="*", default=[], help="labels of the reference")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    folder, reference = options.output, options.reference
    if options.tops:
        known = concatenate(*map(fx.read, options.known)) if options.known else None
        found = {
            model: tops(fx.load(model), folder / Path(model).parent.name, reference, known)
            for model in options.models
        }
        (folder / "tops.json").write_text(json.dumps(found, indent=1))
        print(json.dumps(found, indent=1))
        return
    own = {name: path(reference, name, folder / "reference" / name) for name in MECHANISMS}
    tests = None if options.no_frames else frames(reference, folder / "frames", own)
    rows = []
    for model in options.models:
        surface = fx.load(model)
        row: dict = {"model": model, "barriers": {}}
        for name, images in own.items():
            found = path(surface, name, folder / Path(model).parent.name / name)
            row["barriers"][name] = {"reference": barriers(images), "model": barriers(found)}
            again = surface(images.positions).energies / KCAL_MOL
            off = again - images.energies / KCAL_MOL
            row["barriers"][name]["model_on_reference_images"] = [
                float(again.max() - again[0]), float(again.max() - again[-1])
            ]  # fmt: skip
            row["barriers"][name]["rmse_along"] = float(np.std(off))
        if tests is not None:
            evaluation = surface(tests.positions)
            off = evaluation.energies - tests.energies
            gaps = evaluation.forces - tests.forces
            row["frames"] = len(tests)
            row["force_rmse"] = float(np.sqrt((gaps**2).mean()) / KCAL_MOL)
            row["energy_rmse"] = float(off.std() / KCAL_MOL)
        rows.append(row)
    (folder / "found.json").write_text(json.dumps(rows, indent=1))
    print(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
