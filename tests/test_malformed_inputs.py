"""Malformed input through the command line: one line that helps, exit code 2, nothing changed."""

import hashlib
import io
import json
import os
import pickle
import random
import re
import shutil
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest

from flexcalc import cli
from tests.systems import GEOMETRY, Springs

pytestmark = pytest.mark.inputs

MD = 'model = "water.flex"\nstart = "start.xyz"\nsteps = 2\n'
LABEL = 'reference = "xtb:GFN2-xTB"\nstarts = ["start.xyz"]\n'
TRAIN = 'dataset = "water.xyz"\npoints = 10\nvalidation_points = 5\n'
FRAME = 'Properties=species:S:1:pos:R:3:forces:R:3 energy=-1.0 pbc="F F F"'
ATOMS = "O 0 0 0 0 0 0\nH 0.96 0 0 0 0 0\nH -0.24 0.93 0 0 0 0\n"
GOOD = f"3\n{FRAME}\n{ATOMS}"
IPI = """<simulation>
  <output prefix='run'/> <total_steps>2</total_steps>
  <ffsocket name='f' mode='unix' pbc='False'> <address>malformed</address> </ffsocket>
  <system>
    <initialize nbeads='1'> <file mode='ase'> start.xyz </file>
      <cell mode='abc'> [ 100, 100, 100 ] </cell> </initialize>
    <forces> <force forcefield='f'/> </forces>
    <motion mode='dynamics'> <dynamics mode='nve'> <timestep> 1 </timestep> </dynamics> </motion>
  </system>
</simulation>
"""


def npz(**arrays):
    stream = io.BytesIO()
    np.savez(stream, **{key: value for key, value in arrays.items() if value is not None})
    return stream.getvalue()


def water(**changes):
    """An sGDML dataset of twenty frames of water as npz, with changes; None leaves out."""
    rng = np.random.default_rng(0)
    frames = GEOMETRY + 0.05 * rng.standard_normal((20, 3, 3))
    labels = Springs()(frames)
    arrays = {
        "type": "d",
        "z": np.array([8, 1, 1], dtype=np.uint8),
        "R": frames,
        "E": labels.energies,
        "F": labels.forces,
        "e_unit": "eV",
        "r_unit": "Ang",
    }
    return npz(**(arrays | changes))


def with_value(array, index, value):
    array = np.array(np.load(io.BytesIO(water()))[array])
    array[index] = value
    return array


def bomb():
    """A zip whose member says it is much larger than the file."""
    stream = io.BytesIO()
    with (
        zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("R.npy", "w") as member,
    ):
        np.lib.format.write_array_header_1_0(
            member, {"descr": "<f8", "fortran_order": False, "shape": (10**11, 3, 3)}
        )
        member.write(bytes(1 << 20))
    return stream.getvalue()


def with_array(name, dtype, shape, body=b"", key="descr"):
    """The dataset with one array whose header says this, written by hand."""
    header = f"{{'{key}': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    start = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little")
    stream = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(water())) as old, zipfile.ZipFile(stream, "w") as new:
        for member in old.namelist():
            if member != f"{name}.npy":
                new.writestr(member, old.read(member))
        new.writestr(f"{name}.npy", start + header + body)
    return stream.getvalue()


# Every case: what is wrong -> (files, command line, what the line must name).

TOML = {
    "unknown key": (MD + "stepz = 3\n", "run.toml: stepz: unknown key; did you mean steps?"),
    "unknown key in a section": (MD + "[method]\nfriction = 1\n", "method.friction: unknown key"),
    "text for a number": (MD + 'replicas = "2"\n', "replicas: expected a number, got '2'"),
    "fraction for a count": (MD + "replicas = 1.5\n", "replicas: expected a whole number"),
    "truth for a number": (MD + "replicas = true\n", "replicas: expected a number, got True"),
    "number for truth": (
        'model = "m"\nstart = "s"\nrelax_ends = 1\n',
        "relax_ends: unknown key",
    ),
    "negative count": (MD + "replicas = -4\n", "replicas: expected at least 1, got -4"),
    "count of zero": (MD + "frame_every = 0\n", "frame_every: expected at least 1"),
    "huge count": (MD + "replicas = 1000000000\n", "replicas: expected at most 100000"),
    "count beyond any integer": (MD + f"frame_every = {10**40}\n", "frame_every: "),
    "integer of 5000 digits": (MD + f"seed = {'9' * 5000}\n", "run.toml: "),
    "not a number": (MD + "[method]\ntimestep_fs = nan\n", "method.timestep_fs: expected"),
    "infinite": (MD + "[method]\ntemperature_K = inf\n", "method.temperature_K: expected"),
    "negative timestep": (MD + "[method]\ntimestep_fs = -0.5\n", "method.timestep_fs: expected"),
    "unknown kind": (MD + '[method]\nkind = "nose"\n', "method.kind: unknown 'nose'"),
    "kind is a number": (MD + "[method]\nkind = 3\n", "method.kind: unknown 3"),
    "section is a number": (MD + "method = 3\n", "method: expected a table, got 3"),
    "section is a list": (MD + '[[method]]\nkind = "nve"\n', "method: expected a table"),
    "key of another kind": (
        MD + '[method]\nkind = "nve"\nfriction_per_ps = 1.0\n',
        "method.friction_per_ps: unknown key",
    ),
    "model is a number": (
        'model = 3\nstart = "start.xyz"\n',
        "run.toml: model: expected a potential, got 3",
    ),
    "model is a table": ('start = "start.xyz"\n[model]\na = 1\n', "run.toml: model: expected"),
    "model is empty": ('model = ""\nstart = "start.xyz"\n', "run.toml: model: missing"),
    "model is missing": ('start = "start.xyz"\n', "run.toml: model: missing"),
    "start is a list": ('model = "water.flex"\nstart = ["start.xyz"]\n', "run.toml: start:"),
    "start has a null byte": ('model = "water.flex"\nstart = "a\\u0000b.xyz"\n', "b.xyz"),
    "a date for a number": (MD + "replicas = 2020-01-01\n", "replicas: expected"),
    "duplicate key": (MD + "steps = 3\n", "run.toml: not valid TOML"),
    "unclosed text": ('model = "water.flex\n', "run.toml: not valid TOML"),
    "no value": ("model =\n", "run.toml: not valid TOML"),
    "YAML": ("model: water.flex\n", "run.toml: not valid TOML"),
    "JSON": ('{"model": "water.flex"}\n', "run.toml: not valid TOML"),
    "nothing in it": ("", "run.toml: model: missing"),
    "very deep": ("model = " + "[" * 5000, "run.toml: not valid TOML"),
    "very large": ("# " + "x" * (2 << 20), "run.toml: larger than"),
    "binary garbage": (bytes(range(256)) * 4, "run.toml: not valid TOML"),
    "UTF-16": (MD.encode("utf-16"), "run.toml: not valid TOML"),
}
"""Run files for `flexcalc md`."""

OTHER_TOML = {
    "no way to sample": ("label", "samples = []\n" + LABEL, "samples: expected at least one"),
    "unknown sampling": ("label", LABEL + '[[samples]]\nkind = "mc"\n', "samples.kind: unknown"),
    "starts is one text": (
        "label",
        'reference = "xtb:GFN2-xTB"\nstarts = "start.xyz"\n',
        "starts: expected a list",
    ),
    "a start is a number": (
        "label",
        'reference = "xtb:GFN2-xTB"\nstarts = [3]\n',
        "starts: expected geometries, got 3",
    ),
    "no starts": ("label", 'reference = "xtb:GFN2-xTB"\nstarts = []\n', "starts: missing"),
    "no workers": ("label", "workers = 0\n" + LABEL, "workers: expected at least 1"),
    "a million workers": ("label", "workers = 1000000\n" + LABEL, "workers: expected at most"),
    "scheduler is a number": ("label", "scheduler = 8786\n" + LABEL, "scheduler: expected text"),
    "unknown queue system": (
        "label",
        LABEL + '[scheduler]\ncluster = "SLERM"\n',
        "scheduler.cluster: expected one of",
    ),
    "unknown family": ("train", TRAIN + '[[family]]\nkind = "sgmdl"\n', "family.kind: unknown"),
    "no family": ("train", "family = []\n" + TRAIN, "family: expected at least one of sgdml"),
    "sigma of zero": ("train", TRAIN + "[[family]]\nsigma = 0.0\n", "family.sigma: expected"),
    "sigma is text": (
        "train",
        TRAIN + '[[family]]\nsigmas = ["ten"]\n',
        "family.sigmas: expected a number",
    ),
    "symmetry is text": (
        "train",
        TRAIN + '[[family]]\nsymmetry = "yes"\n',
        "family.symmetry: expected true or false",
    ),
    "unknown descriptor": (
        "train",
        TRAIN + '[[family]]\ndescriptor = "angles"\n',
        "family.descriptor: expected",
    ),
    "a metric that its descriptor does not have": (
        "train",
        TRAIN + '[[family]]\nmetric = "learned"\n',
        'descriptor = "distances" only',
    ),
    "generators of unlike atoms": (
        "train",
        TRAIN + '[[family]]\ngenerators = ["(0 1)"]\n',
        "generators",
    ),
    "a tolerance above one": ("train", TRAIN + "[[family]]\ntolerance = 2.0\n", "tolerance"),
    "no columns": ("train", TRAIN + "[[family]]\ncolumns = 0\n", "columns: expected"),
    "unknown device": ("train", TRAIN + '[[family]]\ndevice = "tpu"\n', "device: expected"),
    "learning curve of nothing": ("train", "learning_curve = [0]\n" + TRAIN, "learning_curve"),
    "learning curve too long": ("train", "learning_curve = [11]\n" + TRAIN, "learning_curve"),
    "unknown selection": ("train", 'selection = "best"\n' + TRAIN, "selection: expected"),
    "one fold": ("train", "folds = 1\n" + TRAIN, "folds: expected 0 for none"),
    "all folds to train on": ("train", "folds = 3\ntrain_folds = 3\n" + TRAIN, "train_folds: exp"),
    "training folds of none": ("train", "train_folds = 1\n" + TRAIN, "train_folds: expected less"),
    "folds of refined points": (
        "train",
        "folds = 3\nrefine_rounds = 1\n" + TRAIN,
        "refine_rounds: a cross-validation",
    ),
    "more rounds than points": ("train", "refine_rounds = 10\n" + TRAIN, "refine_rounds: expected"),
    "too few frames for the folds": (
        "train",
        "folds = 20\ntrain_folds = 1\n" + TRAIN,
        "too few for 20 folds",
    ),
    "unknown labels": ("train", 'labels = "older"\n' + TRAIN, "labels: expected 'new' or 'old'"),
    "optimiser is a number": (
        "path",
        'model = "water.flex"\nstart = "start.xyz"\n[method]\noptimiser = 3\n',
        "method.optimiser: expected a table",
    ),
    "unknown optimiser": (
        "path",
        'model = "water.flex"\nstart = "start.xyz"\n[method]\noptimiser = {kind = "bfgs"}\n',
        "method.optimiser.kind: unknown 'bfgs'; did you mean lbfgs?",
    ),
}

FRAMES = {
    "empty": ("", "the file is empty"),
    "binary garbage": (bytes(range(256)) * 9, ""),
    "only a count": ("3\n", ""),
    "cut in a line": (GOOD[:-5], ""),
    "cut between lines": (f"3\n{FRAME}\nO 0 0 0 0 0 0\n", ""),
    "no newline at the end": (GOOD[:-1], ""),
    "position is not a number": (GOOD.replace("0.93", "nan"), ""),
    "position is infinite": (GOOD.replace("0.93", "inf"), ""),
    "position is text": (GOOD.replace("0.93", "abc"), ""),
    "position with a comma": (GOOD.replace("0.93", "0,93"), ""),
    "energy is not a number": (GOOD.replace("energy=-1.0", "energy=nan"), ""),
    "energy is text": (GOOD.replace("energy=-1.0", "energy=low"), ""),
    "force is infinite": (GOOD.replace("0 0 0 0 0 0", "0 0 0 -inf 0 0"), ""),
    "force overflows": (GOOD.replace("0 0 0 0 0 0", "0 0 0 1e999 0 0"), ""),
    "too few columns": (GOOD.replace("0.93 0 0 0 0", "0.93 0 0"), ""),
    "too many columns": (GOOD.replace("0.93 0 0", "0.93 0 0 7"), ""),
    "count too large": ("4" + GOOD[1:], ""),
    "count too small": ("2" + GOOD[1:], ""),
    "count is negative": ("-3" + GOOD[1:], ""),
    "count is huge": ("999999999999" + GOOD[1:], ""),
    "count is text": ("three" + GOOD[1:], ""),
    "no atoms": (f"0\n{FRAME}\n", ""),
    "unknown element": (GOOD.replace("O 0", "Xq 0"), ""),
    "another molecule in the next frame": (GOOD + GOOD.replace("O 0", "N 0"), ""),
    "more atoms in the next frame": (GOOD + "4" + GOOD[1:] + "H 1 1 1 0 0 0\n", ""),
    "periodic": (GOOD.replace("F F F", "T T T"), ""),
    "periodic in one direction": (GOOD.replace("F F F", "F F T"), ""),
    "unknown property": (GOOD.replace("forces:R:3", "forces:Q:3"), ""),
    "properties without positions": (GOOD.replace("pos:R:3", "location:R:3"), ""),
    "unclosed quotes": (GOOD.replace('pbc="F F F"', 'pbc="F F F'), ""),
    "second frame lacks labels": (GOOD + GOOD.replace("energy=-1.0 ", ""), ""),
    "two encodings": (GOOD.encode() + "3\nh\xf6he".encode("latin-1"), ""),
    "no labels at all": ("3\nwater\nO 0 0 0\nH 0.96 0 0\nH -0.24 0.93 0\n", ""),
    "too few frames": (GOOD, "too few for 10 training points"),
}
"""Datasets for `flexcalc train`, as data.xyz."""

ARCHIVES = {
    "garbage": b"PK\x03\x04" + bytes(range(256)),
    "empty": b"",
    "not a zip": b"hello",
    "cut": water()[:-300],
    "nothing in it": npz(),
    "no positions": water(R=None),
    "no species": water(z=None),
    "species are text": water(z=np.array(["O", "H", "H"])),
    "species out of range": water(z=np.array([8, 1, 200])),
    "one species too many": water(z=np.array([8, 1, 1, 1])),
    "positions in a flat array": water(R=np.zeros((20, 9))),
    "positions are text": water(R=np.full((20, 3, 3), "a")),
    "positions are not finite": water(R=with_value("R", (3, 1, 2), np.nan)),
    "energies are not finite": water(E=with_value("E", 4, np.inf)),
    "forces are not finite": water(F=with_value("F", (0, 0, 0), np.nan)),
    "too few energies": water(E=np.zeros(19)),
    "forces of another shape": water(F=np.zeros((20, 3, 2))),
    "no forces": water(F=None),
    "no unit": water(e_unit=None, r_unit=None),
    "unknown unit": water(e_unit="parsec"),
    "unit is a number": water(e_unit=np.array(3)),
    "periodic": water(lattice=np.eye(3)),
    "pickled objects": water(z=np.array([8, 1, {}], dtype=object)),
    "a bare pickle": pickle.dumps({"R": 1}),
    "a model, not a dataset": water(type="m"),
    "a bomb": bomb(),
    "numbers of three bytes": with_array("R", "<f3", "(20, 3, 3)", bytes(540)),
    "numbers of no bytes": with_array("R", "<f0", "(20, 3, 3)"),
    "more frames than there can be": with_array("R", "<f8", f"({10**18}, 0, 3)"),
    "a length of sixty digits": with_array("R", "<f8", f"({'9' * 60},)"),
    "a length that is no number": with_array("R", "<f8", "(L,)"),
    "a negative length": with_array("R", "<f8", "(-20, 3, 3)", bytes(1440)),
    "forty dimensions": with_array("R", "<f8", f"({'1,' * 40})", bytes(8)),
    "a unit without letters": with_array("e_unit", "<U0", "()"),
    "a unit of no characters": with_array("e_unit", "<U2", "()", b"\xff\xff\xff\xffa\0\0\0"),
    "a level of half a character": with_array("theory", "<U1", "()", b"\x00\xd8\0\0"),
    "a tag of no characters": with_array("tag", "<U1", "(20,)", b"\xff" * 80),
    "energies beyond double precision": with_array(
        "E", "<f16", "(20,)", np.full(20, np.longdouble("1e4000")).tobytes()
    ),
    "energies that signal": with_array("E", "<f4", "(20,)", b"\x01\x00\x80\x7f" * 20),
    "complex positions": with_array("R", "<c16", "(20, 3, 3)", bytes(2880)),
    "a header with another key": with_array("R", "<f8", "(20, 3, 3)", bytes(1440), key="dtype"),
}
"""Datasets for `flexcalc train`, as data.npz."""

ADDRESSES = [
    ("nothing.flex", "no such model"),
    ("water.fle", "did you mean water.flex?"),
    ("", "MODEL: missing"),
    (".", "without model.json"),
    ("start.xyz", "no model file is known by the suffix '.xyz'"),
    ("run.toml", ""),
    ("x" * 5000, "x"),
    ("a\tb\x07", ""),
    ("xtb", "no such model"),
    ("xtb:", "nothing stands after xtb:"),
    ("xtc:GFN2-xTB", "unknown scheme 'xtc'; did you mean xtb?"),
    ("http://localhost/m.flex", "unknown scheme 'http'"),
    ("xtb:GFN9-xTB", "did you mean GFN"),
    ("xtb:GFN2-xTB?chrage=1", "did you mean charge?"),
    ("xtb:GFN2-xTB?charge=one", "expected a whole number"),
    ("xtb:GFN2-xTB?charge=1", "multiplicity"),
    ("xtb:GFN2-xTB?multiplicity=2", "multiplicity"),
    ("xtb:GFN2-xTB?charge=99", "electrons"),
    ("xtb:GFN2-xTB?accuracy=-1", "accuracy"),
    ("xtb:GFN2-xTB?accuracy=nan", "accuracy"),
    ("dft:PBE", "FUNCTIONAL/BASIS"),
    ("dft:/def2-SVP", "FUNCTIONAL/BASIS"),
    ("dft:PBQ/def2-SVP", "PBQ"),
    ("dft:PBE/def9-SVP", "def9-SVP"),
    ("dft:PBE-D9/def2-SVP", "D9"),
    ("dft:PBE/def2-SVP?charge=0.5", "charge"),
    ("dft:PBE/def2-SVP?multiplicity=4000", "multiplicity"),
    ("dft:PBE/def2-SVP?spin=up", "spin"),
    ("ase:", "nothing stands after ase:"),
    ("ase:nothing", "expected ase:module:Class"),
    ("ase:no.such.module:Class", "no.such.module"),
    ("ase:ase.calculators.emt:EMTT", "did you mean EMT?"),
    ("ase:missing.py:make", "missing.py"),
    ("ase:bad.py:make", "bad.py"),
    ("ase:pathlib:Path", "expected an ASE calculator"),
]
"""Potentials for `flexcalc md ADDRESS start.xyz`."""

WORDS = {
    "unknown command": (["evalute", "x"], "did you mean 'evaluate'?"),
    "unknown option": (["md", "--step", "3"], "did you mean --steps?"),
    "option without its value": (["md", "water.flex", "start.xyz", "--steps"], "--steps"),
    "no arguments": (["md"], "MODEL: missing"),
    "no start": (["md", "water.flex"], "START: missing"),
    "too many arguments": (["md", "water.flex", "start.xyz", "start.xyz"], "one word too many"),
    "missing run file": (["md", "nothing.toml"], "nothing.toml: no such file"),
    "missing start": (["md", "water.flex", "nothing.xyz"], "nothing.xyz: no such file"),
    "start is a folder": (["md", "water.flex", "water.flex"], "water.flex"),
    "start is another molecule": (["md", "water.flex", "ammonia.xyz"], "expected the molecule H2O"),
    "atoms in another order": (["md", "water.flex", "order.xyz"], "another order"),
    "negative steps": (["md", "water.flex", "start.xyz", "--steps", "-1"], "--steps"),
    "temperature in words": (
        ["md", "water.flex", "start.xyz", "--temperature-K", "300K"],
        "--temperature-K: expected a number, got '300K'",
    ),
    "hexadecimal steps": (["md", "water.flex", "start.xyz", "--steps", "0x10"], "--steps"),
    "output is a file": (["md", "water.flex", "start.xyz", "-o", "start.xyz"], "start.xyz"),
    "output below a file": (["md", "water.flex", "start.xyz", "-o", "start.xyz/a"], "start.xyz/a"),
    "output holds other things": (["md", "water.flex", "start.xyz", "-o", "."], "--output"),
    "output is very long": (["md", "water.flex", "start.xyz", "-o", "o" * 300], "ooo"),
    "output has a null byte": (["md", "water.flex", "start.xyz", "-o", "a\0b"], "--output"),
    "too many training points": (
        ["train", "water.xyz", "--points", "50", "--validation-points", "11"],
        "60 frames are too few",
    ),
    "no such dataset": (["train", "nothing.xyz"], "nothing.xyz: no such file"),
    "dataset of unknown kind": (["train", "notes.txt"], "notes.txt: expected a file named"),
    "unknown unit": (["train", "water.npz", "--energy-unit", "parsec"], "parsec"),
    "old labels where there are none": (["train", "water.npz", "--labels", "old"], "old_energies"),
    "unknown family": (["train", "water.xyz", "--family", "shnet"], "shnet"),
    "option of no family": (["train", "water.xyz", "--gamma", "1"], "--gamma"),
    "no model to evaluate": (["evaluate", "water.xyz"], "MODELS: missing"),
    "dataset of another molecule": (["evaluate", "water.flex", "ammonia.xyz"], "H2O"),
    "dataset without labels": (["evaluate", "water.flex", "start.xyz"], "no labels"),
    "no bins": (["evaluate", "water.flex", "water.xyz", "--bins", "0"], "--bins"),
    "a thousand million bins": (
        ["evaluate", "water.flex", "water.xyz", "--bins", "9" * 9],
        "--bins",
    ),
    "coordinate of unknown kind": (
        ["evaluate", "water.flex", "water.xyz", "--by", "torsion 0 1 2 3"],
        "torsion 0 1 2 3",
    ),
    "coordinate with too few atoms": (
        ["evaluate", "water.flex", "water.xyz", "--by", "angle 0 1"],
        "angle 0 1",
    ),
    "coordinate of a missing atom": (
        ["evaluate", "water.flex", "water.xyz", "--by", "distance 0 7"],
        "distance 0 7",
    ),
    "coordinate of one atom twice": (
        ["evaluate", "water.flex", "water.xyz", "--by", "distance 1 1"],
        "distance 1 1",
    ),
    "coordinate of a negative atom": (
        ["evaluate", "water.flex", "water.xyz", "--by", "distance 0 -1"],
        "distance 0 -1",
    ),
    "end of another molecule": (["path", "water.flex", "start.xyz", "ammonia.xyz"], "ammonia.xyz"),
    "a path of one frame": (["path", "water.flex", "start.xyz"], "start.xyz: 1 frames"),
    "a path of two images": (
        ["path", "water.flex", "start.xyz", "start.xyz", "--images", "2"],
        "--images: expected at least 3",
    ),
    "unknown interpolation": (
        ["path", "water.flex", "start.xyz", "start.xyz", "--interpolation", "cubic"],
        "--interpolation: expected 'idpp', 'linear' or 'geodesic'",
    ),
    "option of another optimiser": (
        ["path", "water.flex", "start.xyz", "start.xyz", "--optimiser", "lbfgs", "--timestep", "1"],
        "--timestep: not an option of optimiser lbfgs",
    ),
    "a scan of nothing": (
        ["path", "water.flex", "start.xyz", "start.xyz", "--method", "scan"],
        "drive: expected at least one coordinate",
    ),
    "a scan of a missing atom": (
        [
            "path",
            *("water.flex", "start.xyz", "start.xyz", "--method", "scan"),
            "--drive",
            "distance 0 9",
        ],
        "names atom 9",
    ),
    "a scan that no one can read": (
        ["path", "water.flex", "start.xyz", "--method", "scan", "--drive", "angle 0 1 2 up"],
        "cannot read",
    ),
    "a scan without its end": (
        ["path", "water.flex", "start.xyz", "--method", "scan", "--drive", "angle 1 0 2"],
        "has no end",
    ),
    "springs on a string": (
        [
            "path",
            *("water.flex", "start.xyz", "start.xyz", "--method", "string"),
            "--spring-eV-A2",
            "1",
        ],
        "--spring-eV-A2: not an option of method string",
    ),
    "relabel by nothing": (
        ["path", "water.flex", "start.xyz", "start.xyz", "--relabel", "xtb:GFN7"],
        "GFN7",
    ),
    "not a SMILES": (["label", "xtb:GFN2-xTB", "smiles:C(C"], "smiles:C(C"),
    "an empty SMILES": (["label", "xtb:GFN2-xTB", "smiles:"], "smiles:"),
    "starts of two molecules": (["label", "xtb:GFN2-xTB", "start.xyz", "ammonia.xyz"], "ammonia"),
    "SMILES of another molecule": (["label", "xtb:GFN2-xTB", "start.xyz", "smiles:N"], "smiles:N"),
    "sampler for another molecule": (
        ["label", "xtb:GFN2-xTB", "ammonia.xyz", "--sampler", "water.flex"],
        "water.flex",
    ),
    "negative temperature": (
        ["label", "xtb:GFN2-xTB", "start.xyz", "--temperature-K", "-5"],
        "--temperature-K",
    ),
    "amplitude without displacements": (
        ["label", "xtb:GFN2-xTB", "start.xyz", "--amplitude-A", "0.1"],
        "--amplitude-A: not an option of samples md",
    ),
    "scheduler at no port": (
        ["label", "xtb:GFN2-xTB", "start.xyz", "--scheduler", "tcp://localhost"],
        "scheduler: expected HOST:PORT",
    ),
    "scheduler that is no address": (
        ["label", "xtb:GFN2-xTB", "start.xyz", "--scheduler", "nonsense"],
        "nonsense",
    ),
    "serve nowhere": (["serve", "water.flex", "start.xyz"], "unix"),
    "serve in two places": (
        ["serve", "water.flex", "start.xyz", "--unix", "a", "--port", "31415"],
        "unix",
    ),
    "serve another molecule": (
        ["serve", "water.flex", "ammonia.xyz", "--unix", "malformed"],
        "H2O",
    ),
    "serve to a remote machine": (
        ["serve", "water.flex", "start.xyz", "--host", "192.0.2.1", "--port", "31415"],
        "--allow-remote",
    ),
    "serve to an unknown host": (
        ["serve", "water.flex", "start.xyz", "--host", "no such host", "--port", "31415"],
        "no such host",
    ),
    "init of nothing": (["init"], "COMMAND"),
    "init of a command without a file": (["init", "report"], "report"),
    "report of nothing": (["report", "nothing"], "nothing"),
    "report of a model": (["report", "water.flex"], "water.flex"),
    "info of nothing": (["info", "nothing"], "nothing"),
    "info of a text": (["info", "notes.txt"], "notes.txt"),
    "export of nothing": (["export", "nothing", "out.npz"], "nothing"),
    "export of a reference": (["export", "xtb:GFN2-xTB", "out.npz"], "xtb"),
    "export to another format": (["export", "water.flex", "out.xyz"], "out.xyz"),
    "export of the extended descriptor": (["export", "water.flex", "out.npz"], "descriptor"),
}

SOCKETS = [
    "",
    "../escape",
    "a/b",
    "/tmp/x",
    "a b",
    "x" * 200,
    "-n",
    "é",
    "a\nb",
    "$(touch x)",
    "\0",
]
PORTS = ["0", "-1", "65536", "http", "1.5", "9" * 30]

XML = {
    "not XML": "hello",
    "cut": IPI[:200],
    "empty": "",
    "another root": IPI.replace("simulation", "stimulation"),
    "no force field": re.sub(r"<ffsocket.*</ffsocket>", "", IPI),
    "two sockets": IPI.replace("<system>", "<ffsocket mode='unix' name='g'/> <system>"),
    "unknown mode": IPI.replace("mode='unix'", "mode='pigeon'"),
    "socket name that leaves its folder": IPI.replace("malformed", "../../escape"),
    "steps in words": IPI.replace("<total_steps>2", "<total_steps>two"),
    "negative steps": IPI.replace("<total_steps>2", "<total_steps>-2"),
    "bad port": IPI.replace("unix", "inet").replace("<address>", "<port>0</port> <address>"),
    "listens to the world": IPI.replace("unix", "inet").replace("malformed", "0.0.0.0"),
    "outputs elsewhere": IPI.replace("prefix='run'", "prefix='../run'"),
    "runs a Python file": IPI.replace("<system>", "<x><pes_path>a.py</pes_path></x> <system>"),
    "an entity bomb": "<!DOCTYPE x [<!ENTITY a 'ha'>]>" + IPI.replace("malformed", "&a;"),
    "no place for a start": re.sub(r"<initialize.*</initialize>", "", IPI, flags=re.DOTALL),
    "another start than the file": IPI.replace("start.xyz", "other.xyz"),
}
"""i-PI inputs for `flexcalc ipi input.xml water.flex start.xyz`."""


def broken_model(kind):
    """What to do to model.json or weights.safetensors of a copied model folder."""

    def facts(change):
        def act(folder):
            path = folder / "model.json"
            content = json.loads(path.read_text())
            content.update(change)
            path.write_text(json.dumps(content))

        return act

    def flip(name):
        def act(folder):
            content = bytearray((folder / name).read_bytes())
            content[len(content) // 2] ^= 4
            (folder / name).write_bytes(content)

        return act

    return {
        "no model.json": lambda folder: (folder / "model.json").unlink(),
        "no weights": lambda folder: (folder / "weights.safetensors").unlink(),
        "empty model.json": lambda folder: (folder / "model.json").write_text(""),
        "model.json is a list": lambda folder: (folder / "model.json").write_text("[1]"),
        "model.json is binary": lambda folder: (folder / "model.json").write_bytes(b"\xff\xfe\0"),
        "very deep model.json": lambda folder: (folder / "model.json").write_text("[" * 10**5),
        "cut weights": lambda folder: (folder / "weights.safetensors").write_bytes(b"\0" * 9),
        "flipped bit in the weights": flip("weights.safetensors"),
        "flipped bit in model.json": flip("model.json"),
        "family changed by hand": facts({"family": "schnet"}),
        "numbers changed by hand": facts({"numbers": [7, 1, 1]}),
        "another version": facts({"version": 99}),
        "another format": facts({"format": "pickle"}),
        "weights elsewhere": facts({"files": {"../weights.safetensors": "0"}}),
    }[kind]


MODELS = [
    *["no model.json", "no weights", "empty model.json", "model.json is a list"],
    *["model.json is binary", "very deep model.json", "cut weights"],
    *["flipped bit in the weights", "flipped bit in model.json", "family changed by hand"],
    *["numbers changed by hand", "another version", "another format", "weights elsewhere"],
]


# ---------------------------------------------------------------- the test itself


@pytest.fixture
def here(water_shelf, tmp_path, monkeypatch):
    shutil.copytree(water_shelf, tmp_path, dirs_exist_ok=True)
    ammonia = f"4\n{FRAME}\nN 0 0 0 0 0 0\nH 1 0 0 0 0 0\nH 0 1 0 0 0 0\nH 0 0 1 0 0 0\n"
    write("ammonia.xyz", ammonia, tmp_path)
    write("order.xyz", "3\n\nH 0.96 0 0\nO 0 0 0\nH -0.24 0.93 0\n", tmp_path)
    write("notes.txt", "notes\n", tmp_path)
    write("bad.py", "def make(:\n", tmp_path)
    write("water.npz", water(), tmp_path)
    write("input.xml", IPI.replace("malformed", f"malformed-{os.getpid()}"), tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(name, content, folder=Path()):
    content = content.encode() if isinstance(content, str) else content
    (folder / name).write_bytes(content)


def snapshot(folder):
    """Every path below a folder with a hash of what it holds."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        if path.is_file()
        else "folder"
        for path in folder.rglob("*")
        if "__pycache__" not in path.parts
    }


def ended(words):
    try:
        cli.main(words)
    except SystemExit as end:
        return end.code or 0
    return 0


def refuse(words, named, folder, capfd):
    """The command line is refused as it should be; returns the line."""
    before = snapshot(folder)
    code = ended(words)
    out, err = capfd.readouterr()
    lines = err.splitlines()
    assert code == 2, (code, out, err)
    assert len(lines) == 1, err
    assert lines[0].startswith("flexcalc: ")
    assert lines[0].isprintable()
    assert "Traceback" not in err
    assert named in lines[0]
    assert len(lines[0]) < 600
    assert snapshot(folder) == before
    return lines[0]


@pytest.mark.parametrize("case", TOML)
def test_run_file(case, here, capfd):
    content, named = TOML[case]
    write("run.toml", content)
    refuse(["md", "run.toml"], named, here, capfd)


@pytest.mark.parametrize("case", OTHER_TOML)
def test_run_file_of_another_command(case, here, capfd):
    command, content, named = OTHER_TOML[case]
    write("run.toml", content)
    refuse([command, "run.toml"], named, here, capfd)


@pytest.mark.parametrize("case", FRAMES)
def test_extxyz(case, here, capfd):
    content, named = FRAMES[case]
    write("data.xyz", content)
    words = ["train", "data.xyz", "--points", "10", "--validation-points", "5"]
    assert named in refuse(words, "data.xyz", here, capfd)


@pytest.mark.parametrize("case", ARCHIVES)
def test_npz(case, here, capfd):
    write("data.npz", ARCHIVES[case])
    words = ["train", "data.npz", "--points", "10", "--validation-points", "5"]
    refuse(words, "data.npz", here, capfd)


@pytest.mark.parametrize(("address", "named"), ADDRESSES, ids=lambda text: text[:30])
def test_address(address, named, here, capfd):
    refuse(["md", address, "start.xyz"], named, here, capfd)


@pytest.mark.parametrize("case", WORDS)
def test_words(case, here, capfd):
    words, named = WORDS[case]
    refuse(words, named, here, capfd)


@pytest.mark.parametrize("name", SOCKETS, ids=ascii)
def test_socket_name(name, here, capfd):
    refuse(["serve", "water.flex", "start.xyz", f"--unix={name}"], "unix", here, capfd)


@pytest.mark.parametrize("port", PORTS)
def test_port(port, here, capfd):
    refuse(["serve", "water.flex", "start.xyz", f"--port={port}"], "port", here, capfd)


@pytest.mark.parametrize("case", XML)
def test_ipi_input(case, here, capfd):
    write("input.xml", XML[case])
    write("other.xyz", (here / "start.xyz").read_text().replace("0.", "0.1", 1))
    line = refuse(["ipi", "input.xml", "water.flex", "start.xyz"], "", here, capfd)
    assert ("differs from" in line) == (case == "another start than the file")


@pytest.mark.parametrize("case", MODELS)
def test_model_folder(case, here, capfd):
    broken_model(case)(here / "water.flex")
    refuse(["md", "water.flex", "start.xyz", "--steps", "2"], "water.flex", here, capfd)


def test_there_are_at_least_a_hundred_of_them():
    tables = (TOML, OTHER_TOML, FRAMES, ARCHIVES, ADDRESSES, WORDS, SOCKETS, PORTS, XML, MODELS)
    assert sum(map(len, tables)) >= 100


def test_the_unbroken_files_are_accepted(here, capfd):
    """Else the tests above would show nothing."""
    write("run.toml", MD)
    write("data.xyz", 20 * GOOD)
    write("data.npz", water())
    assert ended(["md", "run.toml"]) == 0
    for name in ("data.xyz", "data.npz"):
        assert ended(["info", name]) == 0
    assert ended(["evaluate", "water.flex", "data.npz", "-o", "e"]) == 0
    assert (
        ended(
            [
                "label",
                "xtb:GFN2-xTB",
                "start.xyz",
                "--samples",
                "displacement",
                "--frames",
                "2",
                "-o",
                "l",
            ]
        )
        == 0
    )
    assert ended(["ipi", "input.xml", "water.flex", "start.xyz"]) == 0
    assert capfd.readouterr().err == ""


def test_a_port_where_nobody_listens_is_one_line_too(here, capfd):
    """Nothing is wrong with the words, so the exit code is 1."""
    before = snapshot(here)
    start = time.monotonic()
    assert ended(["serve", "water.flex", "start.xyz", "--port", "1", "--timeout-s", "0.3"]) == 1
    assert time.monotonic() - start < 20
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith("flexcalc: no i-PI server at 127.0.0.1:1: ")
    assert snapshot(here) == before


# ---------------------------------------------------------------- the long form


def mutated(content, rng):
    """A random change to a file: cut, flipped, doubled, shuffled, or a number made strange."""
    content = bytearray(content)
    place = rng.randrange(len(content))
    how = rng.randrange(6)
    if how == 0:
        return bytes(content[:place])
    if how == 1:
        content[place] ^= 1 << rng.randrange(8)
    elif how == 2:
        content[place:place] = bytes(rng.randrange(256) for _ in range(rng.randrange(1, 20)))
    elif how == 3:
        del content[place : place + rng.randrange(1, 40)]
    elif how == 4:
        content[place:place] = content[place // 2 : place]
    else:
        numbers = list(re.finditer(rb"\d[\d.]*", bytes(content)))
        chosen = rng.choice(numbers)
        strange = rng.choice([b"nan", b"-1", b"1e999", b"999999999999", b"true", b'""', b"\xff"])
        content[chosen.start() : chosen.end()] = strange
    return bytes(content)


MD_WORDS = ["md", "water.flex", "start.xyz", "--steps", "1", "-o", "out"]
TARGETS = {
    "run.toml": ["md", "run.toml", "--steps", "1", "-o", "out"],
    "water.xyz": ["evaluate", "water.flex", "water.xyz", "-o", "out"],
    "water.npz": ["evaluate", "water.flex", "water.npz", "-o", "out"],
    "water.flex/model.json": MD_WORDS,
    "water.flex/weights.safetensors": MD_WORDS,
    "start.xyz": MD_WORDS,
}


@pytest.mark.long
@pytest.mark.parametrize("name", TARGETS)
def test_random_damage_is_refused_or_harmless(name, here, capfd):
    """A hundred mutations of every kind of file: done, or refused in one line without a trace."""
    write("run.toml", MD + "replicas = 2\nseed = 3\n[method]\ntimestep_fs = 0.5\n")
    whole = Path(name).read_bytes()
    words = TARGETS[name]
    rng = random.Random(name)
    refused = 0
    for _ in range(100):
        content = mutated(whole, rng)
        write(name, content)
        before = snapshot(here)
        code = ended(words)
        out, err = capfd.readouterr()
        lines = err.splitlines()
        # 3 is a guard: a geometry or timestep that was legible and flew apart.
        assert code in (0, 2, 3), (code, out, err)
        assert len(lines) == (code != 0), err
        if code == 2:
            assert lines[0].startswith("flexcalc: ")
            assert snapshot(here) == before
            refused += 1
        shutil.rmtree("out", ignore_errors=True)
    assert refused > 0
