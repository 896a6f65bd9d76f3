"""Make the fixtures of this folder with the flexcalc on the path; run by hand, once a format.

    python tests/compatibility/make.py tests/compatibility/FOLDER

They are what users have on disk: a model folder of each family and of each kind of joined model,
with the energies and forces that it gave (expected.json), and of each command a finished run folder
and one that was interrupted after its first checkpoint. `commands.json` has their command lines.
FOLDER 1 was made by version 0.1.0 at commit 05f75c5. A format that changes gets a new folder; the
old ones stay, and `test_compatibility.py` opens, evaluates and resumes all of them.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

import flexcalc
from flexcalc import cli
from flexcalc.dataset import Dataset
from flexcalc.labelling.queue import _Record
from flexcalc.methods.iterate import Checkpoint
from flexcalc.models.networks.trainer import Trainer
from flexcalc.training.checkpoints import Checkpoints

HERE = "@HERE@"
"""Stands for the folder that the fixtures are in, which run folders name in full."""
WATER = np.array([8, 1, 1])
GEOMETRY = np.array([[0.0, 0.0, 0.0], [0.96, 0.0, 0.0], [-0.24, 0.93, 0.0]])
HCN = np.array([6, 7, 1])

TRAIN = ["train", "water.xyz", "--points", "12", "--validation-points", "8"]
NETWORK = ["--epochs", "2", "--batch-size", "6"]
MODELS = {
    "sgdml": ["--sigma", "5"],
    "sgdml-published": ["--descriptor", "distances", "--energies", "training", "--sigma", "5"],
    "schnet": ["--family", "schnet", *NETWORK, "--features", "8", "--interactions", "2"],
    "painn": ["--family", "painn", *NETWORK, "--features", "8", "--interactions", "2"],
    "so3net": ["--family", "so3net", *NETWORK, "--features", "8", "--interactions", "1"],
    "bpnn": ["--family", "bpnn", *NETWORK],
    "mace": ["--family", "mace", *NETWORK, "--channels", "4", "--interactions", "1"],
    "gap": ["--family", "gap", "--n-max", "4", "--l-max", "2", "--n-sparse", "10", "--seed", "1"],
    "mixture": ["--family", "mixture", "--regions", "2", "--sigma", "5"],
    "committee": ["--committee", "2", "--sigma", "5"],
    "delta": ["--baseline", "xtb:GFN2-xTB", "--sigma", "5"],
}
MODEL = "models/sgdml.flex"
MOVE = [MODEL, "start.xyz", "--seed", "3"]
ANGLE = ["--coordinate", "angle 1 0 2"]
XTB = "xtb:GFN2-xTB?accuracy=0.001"
COMMANDS: dict[str, tuple[list[str], type, str, int]] = {
    "label": (
        ["label", "xtb:GFN2-xTB", "start.xyz", "--frames", "6", "--seed", "1"],
        _Record,
        "take",
        3,
    ),
    "md": (["md", *MOVE, "--steps", "30", "--replicas", "2"], Checkpoint, "save", 7),
    "metad": (
        ["metad", *MOVE, *ANGLE, "--steps", "30", "--pace", "5", "--walkers", "2"],
        *(Checkpoint, "save", 7),
    ),
    "umbrella": (
        [
            *["umbrella", *MOVE, *ANGLE, "--low", "98", "--high", "110", "--windows", "3"],
            *["--equilibration", "10", "--steps", "30", "--colvar-every", "5"],
        ],
        *(Checkpoint, "save", 7),
    ),
    "path": (
        ["path", XTB, "way.xyz", "--images", "7", "--steps", "60"],
        *(Checkpoint, "save", 7),
    ),
    "saddle": (["saddle", XTB, "guess.xyz", "hcn.xyz", "hnc.xyz"], Checkpoint, "save", 7),
    "train": ([*TRAIN, "--sigmas", "5,10"], Checkpoints, "save", 1),
    "train-bpnn": ([*TRAIN, "--family", "bpnn", *NETWORK], Trainer, "_save", 1),
}
"""Command line of each run, and where its second run is interrupted: after that many calls of a
method. A checkpoint is written at every step of that run."""


def springs(frames: int, seed: int = 0) -> Dataset:
    """Labelled frames of water: springs between all pairs."""
    rng = np.random.default_rng(seed)
    positions = GEOMETRY + 0.05 * rng.standard_normal((frames, 3, 3))
    apart = positions[:, :, None] - positions[:, None]
    lengths = np.linalg.norm(apart, axis=-1) + np.eye(3)
    rest = np.linalg.norm(GEOMETRY[:, None] - GEOMETRY, axis=-1) + np.eye(3)
    stretch = lengths - rest
    forces = -(30.0 * stretch / lengths)[..., None] * apart
    return Dataset(WATER, positions, 7.5 * (stretch**2).sum(axis=(1, 2)), forces.sum(axis=2))


def swung(degrees: float) -> np.ndarray:
    """HCN with its hydrogen turned about the middle of the bond; 0 is HCN, 180 HNC."""
    turn = np.radians(degrees)
    reach = 1.65 - 0.45 * np.sin(turn)
    return np.array(
        [[0.0, 0, 0], [1.16, 0, 0], [0.58 - reach * np.cos(turn), reach * np.sin(turn), 0]]
    )


@contextmanager
def interrupted(cls: type, method: str, calls: int) -> Iterator[None]:
    """Ctrl-C after so many calls of a method; checkpoints are written at every step."""
    original: Callable[..., Any] = getattr(cls, method)
    every, done = Checkpoint.__call__, 0

    def once(self: Any, *args: Any, **kwargs: Any) -> Any:
        nonlocal done
        result = original(self, *args, **kwargs)
        done += 1
        if done == calls:
            raise KeyboardInterrupt
        return result

    setattr(cls, method, once)
    Checkpoint.__call__ = lambda self, state: state.step and self.save(state)  # type: ignore
    try:
        yield
    finally:
        setattr(cls, method, original)
        Checkpoint.__call__ = every  # type: ignore[method-assign]


def run(*words: str) -> int:
    """The exit code of a command line."""
    try:
        cli.main(list(words))
    except SystemExit as end:
        return int(end.code or 0)
    return 0


def expect(code: int, *words: str) -> None:
    found = run(*words)
    if found != code:
        raise SystemExit(f"{' '.join(words)}: exit {found}, expected {code}")


def slim(folder: Path) -> None:
    """Leave out what is made again, and write HERE for the name of the folder."""
    for page in folder.rglob("report.html"):
        page.unlink()
    for lock in folder.rglob(".lock"):
        lock.unlink()
    for path in folder.rglob("*"):
        if path.suffix in (".toml", ".json", ".txt", ".xyz"):
            path.write_text(path.read_text().replace(str(folder), HERE))


def main() -> None:
    folder = Path(sys.argv[1]).resolve()
    folder.mkdir(parents=True)
    os.chdir(folder)
    flexcalc.write("water.xyz", springs(40))
    flexcalc.write("start.xyz", Dataset(WATER, GEOMETRY[None]))
    way = [0.0, 30.0, 60.0, 80.0, 100.0, 140.0, 180.0]
    for name, angles in {"hcn": [0.0], "hnc": [180.0], "guess": [75.0], "way": way}.items():
        flexcalc.write(f"{name}.xyz", Dataset(HCN, np.stack([swung(angle) for angle in angles])))
    Path("models").mkdir()
    expected = {}
    for name, words in MODELS.items():
        expect(0, *TRAIN, *words, "--output", f"models/{name}.flex")
        shutil.rmtree(f"models/{name}-train")
        found = flexcalc.load(f"models/{name}.flex")(springs(3, seed=1).positions)
        expected[name] = {"energies": found.energies.tolist(), "forces": found.forces.tolist()}
    Path("expected.json").write_text(json.dumps(expected) + "\n")
    lines = {name: words for name, (words, *_) in COMMANDS.items()}
    for name, (words, cls, method, calls) in COMMANDS.items():
        expect(0, *words, "--output", f"finished/{name}")
        with interrupted(cls, method, calls):
            expect(130, *words, "--output", f"interrupted/{name}")
    lines["evaluate"] = ["evaluate", MODEL, "water.xyz", "--by", "angle 1 0 2"]
    expect(0, *lines["evaluate"], "--output", "finished/evaluate")
    Path("commands.json").write_text(json.dumps(lines, indent=1) + "\n")
    slim(folder)


if __name__ == "__main__":
    main()
