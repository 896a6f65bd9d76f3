"""Files of every kind, changed at random: read, or refused in one line, soon and in little memory.

The short form is part of the ordinary suite, the long one (`-m long`) has 4000 of each kind. The
changes are drawn from a seed, so a failure can be had again: its message says which one it was.
"""

import hashlib
import io
import json
import os
import random
import re
import resource
import shutil
import signal
import struct
import time
import zipfile
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
import pytest

import flexcalc
from flexcalc import cli
from flexcalc.adapters.ipi import inputs, resume, safety
from flexcalc.config import COMMANDS, load
from flexcalc.errors import FlexcalcError
from flexcalc.files.plumed import (
    WINDOW_COLUMNS,
    colvar_head,
    colvar_lines,
    read_colvar,
    read_hills,
    read_windows,
)
from flexcalc.geometry import Coordinate
from flexcalc.methods.dynamics import DynamicsState
from flexcalc.methods.iterate import Checkpoint, Recorder
from flexcalc.models.gap.potential import GAPPotential
from flexcalc.models.gap.xml import read_files
from flexcalc.reports import write_report
from flexcalc.reports.folder import RunFolder
from flexcalc.storage import AppendLog, whole_lines
from flexcalc.store import FolderStore
from tests.systems import GEOMETRY, WATER, springs
from tests.test_malformed_inputs import IPI, MD, mutated, water

pytestmark = [pytest.mark.inputs, pytest.mark.security]

DISTANCE = [Coordinate.parse("distance 0 1")]

SHORT, LONG = 150, 4000
LONGEST_S, LONGEST_WAIT_S = 10, 300
LARGEST_MEMORY = 500 << 20

PAGES = {"the report of results.json": 100, "the report of scalars.csv": 100}
"""How many of the long form, where each takes a page with pictures."""


@pytest.fixture(scope="module")
def originals(tmp_path_factory):
    """One good file of each kind, in a folder."""
    folder = tmp_path_factory.mktemp("originals")
    before = Path.cwd()
    os.chdir(folder)
    try:
        data = springs(60)
        flexcalc.write("water.xyz", data)
        flexcalc.write("start.xyz", flexcalc.Dataset(WATER, GEOMETRY[None]))
        Path("water.npz").write_bytes(water(theory="GFN2-xTB", tag=np.array(["a"] * 20)))
        plain = {"points": 10, "sigma": 5.0, "descriptor": "distances", "energies": "training"}
        flexcalc.train(data, **plain).save("plain.flex")
        flexcalc.train(data, points=10, sigma=5.0).save("water.flex")
        cli.main(["export", "plain.flex", "sgdml.npz"])
        gap = flexcalc.train(data, "gap", points=5, cutoff=3.0, n_max=2, l_max=1, n_sparse=4)
        for name, content in gap.model.files.items():
            Path(name).write_bytes(content)
        Path("run.toml").write_text(
            MD + 'replicas = 2\nseed = 3\n[method]\nkind = "langevin"\ntimestep_fs = 0.5\n'
        )
        Path("input.xml").write_text(IPI)
        cli.main(["md", "water.flex", "start.xyz", "--steps", "4", "-o", "run"])
        driven = ["--coordinate", "distance 0 1", "--grid-min", "0.6", "--grid-max", "1.6"]
        driven += ["--steps", "8", "--pace", "2", "-o", "metad"]
        Path("begun").mkdir()
        shutil.copy("run/run.toml", "begun")
        energies = [np.zeros(3), np.full(3, -1.5)]
        lines = [
            colvar_lines(DISTANCE, 0.5 * step, np.full((3, 1), 0.9), energies, np.full(3, 300.0))
            for step in range(8)
        ]
        Path("WINDOWS").write_bytes(colvar_head(DISTANCE, WINDOW_COLUMNS) + b"".join(lines))
        cli.main(["metad", "water.flex", "start.xyz", *driven])
    finally:
        os.chdir(before)
    return folder


# ---------------------------------------------------------------- how files are changed


def inside_zip(content, rng):
    """A zip in which one array is changed, most often its header, and all sums are right."""
    source, stream = zipfile.ZipFile(io.BytesIO(content)), io.BytesIO()
    chosen = rng.choice(source.namelist())
    with zipfile.ZipFile(stream, "w") as target:
        for name in source.namelist():
            array = source.read(name)
            if name == chosen:
                head = 128 if rng.random() < 0.8 else len(array)
                array = changed_header(array[:head], rng) + array[head:]
            target.writestr(name, array)
    return stream.getvalue()


def changed_header(header, rng):
    """The header of an array with another type or shape, or any change at all."""
    how = rng.randrange(3)
    if how == 0:
        kind = rng.choice("biufcSUOVMm?e") + rng.choice(
            ["", "0", "1", "2", "3", "8", "16", "99999"]
        )
        return re.sub(rb"'[<>|][^']+'", f"'{rng.choice('<>|=')}{kind}'".encode(), header)
    if how == 1:
        size = rng.choice([b"0", b"-1", b"1", b"10" + b"0" * 17, b"9" * 30, b"2, 3", b"L", b"1_0"])
        return re.sub(rb"\((\d+)?", b"(" + size, header)
    return mutated(header, rng)


def signed_facts(content, rng):
    """A model.json that is changed and whose hash is right again, or that is none any more."""
    facts = json.loads(content)
    facts.pop("sha256")
    try:
        facts = json.loads(mutated(json.dumps(facts).encode(), rng))
        text = json.dumps(facts, sort_keys=True, allow_nan=False)
        facts["sha256"] = hashlib.sha256(text.encode()).hexdigest()
        return json.dumps(facts).encode()
    except (ValueError, TypeError, RecursionError):
        return mutated(content, rng)


def signed_checkpoint(content, rng):
    """A checkpoint whose facts are changed, and whose hash is right again."""
    length = struct.unpack("<Q", content[:8])[0]
    header, body = json.loads(content[8 : 8 + length]), content[8 + length :]
    told = header["__metadata__"]
    facts = mutated(told["facts"].encode(), rng).decode(errors="replace")
    digest = hashlib.sha256(facts.encode())
    for name in sorted(set(header) - {"__metadata__"}):
        entry = header[name]
        dtype = {"F64": "float64", "U64": "uint64", "I64": "int64"}[entry["dtype"]]
        begin, end = entry["data_offsets"]
        digest.update(f"{name}{dtype}{tuple(entry['shape'])}".encode() + body[begin:end])
    header["__metadata__"] = {"facts": facts, "sha256": digest.hexdigest()}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + body


def both(*ways):
    """One of several ways to change a file, drawn anew each time."""
    return lambda content, rng: rng.choice(ways)(content, rng)


# ---------------------------------------------------------------- how files are read


def command(*words):
    """A command line, which must end with a fitting exit code and at most one line."""

    def act(capfd):
        code = 0
        try:
            cli.main(list(words))
        except SystemExit as end:
            code = end.code or 0
        lines = capfd.readouterr().err.splitlines()
        assert code in (0, 2), (code, lines)
        doubts = [line for line in lines if line.startswith("flexcalc: warning: ")]
        assert len(lines) - len(doubts) == (code != 0), lines
        assert all(line.isprintable() for line in lines)
        return code == 0

    return act


def call(function):
    """A reader, which may refuse by an error of ours."""

    def act(capfd):
        accepted = True
        try:
            function()
        except FlexcalcError:
            accepted = False
        assert capfd.readouterr().err == ""
        return accepted

    return act


def sign_weights():
    """Make model.json say the hash of the weights that are there."""
    place = Path("water.flex/model.json")
    facts = json.loads(place.read_text())
    facts.pop("sha256")
    content = Path("water.flex/weights.safetensors").read_bytes()
    facts["files"]["weights.safetensors"] = hashlib.sha256(content).hexdigest()
    text = json.dumps(facts, sort_keys=True)
    place.write_text(json.dumps(facts | {"sha256": hashlib.sha256(text.encode()).hexdigest()}))


def open_model():
    potential = flexcalc.load("water.flex")
    potential(GEOMETRY[None])


def open_signed():
    sign_weights()
    open_model()


def open_gap():
    potential = GAPPotential(numbers=WATER, files=read_files(Path("GAP.xml")), where="GAP.xml")
    if not potential.needs_quip:  # another process tries those out
        potential(GEOMETRY[None])


def open_ipi():
    root = inputs.load(Path("input.xml"))
    inputs.set_start(root, Path("start.xyz"))
    inputs.make_paths_absolute(root, Path())
    inputs.set_steps(root, inputs.total_steps(root, "input.xml"))
    safety.check(root, "input.xml", Path("ipi"), trust=False)
    inputs.sockets(root, "input.xml")
    inputs.add_outputs(root, 1, 3)
    resume.add_checkpoints(root, 2)


def resume_dynamics():
    with ExitStack() as open_logs:
        logs = [open_logs.enter_context(AppendLog(Path(name), whole_lines)) for name in "abc"]
        for log in logs:
            log.size = 10**6  # as long as any checkpoint may want them
        recorders = [Recorder(log, 1, lambda state: b"") for log in logs]
        Checkpoint(
            FolderStore("run"), "md.checkpoint", np.random.default_rng(0), recorders
        ).restore(DynamicsState)


def read_run():
    run = RunFolder(Path("run"))
    run.table("scalars.csv", "step", "temperature_K")
    if run.problems:
        raise FlexcalcError(run.problems[0])


KINDS = {
    "extxyz": ("water.xyz", mutated, command("info", "water.xyz")),
    "npz dataset": ("water.npz", both(mutated, inside_zip), command("info", "water.npz")),
    "npz model": ("sgdml.npz", both(mutated, inside_zip), command("info", "sgdml.npz")),
    "model.json": ("water.flex/model.json", both(mutated, signed_facts), call(open_model)),
    "model.json told": ("water.flex/model.json", signed_facts, command("info", "water.flex")),
    "weights": ("water.flex/weights.safetensors", mutated, call(open_model)),
    "weights, signed": ("water.flex/weights.safetensors", mutated, call(open_signed)),
    "GAP.xml": ("GAP.xml", mutated, call(open_gap)),
    "run.toml": ("run.toml", mutated, call(lambda: load(COMMANDS["md"], Path("run.toml")))),
    "i-PI input": ("input.xml", mutated, call(open_ipi)),
    "HILLS": ("metad/HILLS", mutated, call(lambda: read_hills("metad/HILLS", DISTANCE))),
    "COLVAR": ("metad/COLVAR", mutated, call(lambda: read_colvar("metad/COLVAR", DISTANCE))),
    "windows": ("WINDOWS", mutated, call(lambda: read_windows("WINDOWS", DISTANCE))),
    "results.json": ("run/results.json", mutated, command("info", "run")),
    "run.toml of a run": ("begun/run.toml", mutated, command("info", "begun")),
    "checkpoint": ("run/md.checkpoint", both(mutated, signed_checkpoint), call(resume_dynamics)),
    "scalars.csv": ("run/scalars.csv", mutated, call(read_run)),
    "the report of results.json": (
        "run/results.json",
        mutated,
        call(lambda: write_report(Path("run"))),
    ),
    "the report of scalars.csv": (
        "run/scalars.csv",
        mutated,
        call(lambda: write_report(Path("run"))),
    ),
}
"""Kind of file -> its name, how it is changed, and what reads it."""


@contextmanager
def limited():
    """Let what computes or waits longer than it may end in an error.

    Computing is counted in the time of the processor, which others on it do not lengthen.
    """

    def late(number, frame):
        raise TimeoutError(f"computed more than {LONGEST_S} s, or waited for {LONGEST_WAIT_S} s")

    before = [signal.signal(one, late) for one in (signal.SIGPROF, signal.SIGALRM)]
    signal.setitimer(signal.ITIMER_PROF, LONGEST_S)
    signal.alarm(LONGEST_WAIT_S)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.setitimer(signal.ITIMER_PROF, 0)
        for one, handler in zip((signal.SIGPROF, signal.SIGALRM), before, strict=True):
            signal.signal(one, handler)


def tried(kind, count, capfd):
    """Change a file so many times and read it; what came of it all."""
    name, change, read = KINDS[kind]
    path = Path(name)
    whole, rng = path.read_bytes(), random.Random(kind)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    accepted, slowest = 0, 0.0
    assert read(capfd)
    for number in range(count):
        content = change(whole, rng)
        path.write_bytes(content)
        begun = time.process_time()
        try:
            with limited():
                accepted += read(capfd)
        except BaseException as error:
            Path("kept").write_bytes(content)
            error.add_note(f"change {number} of {kind}, kept as {Path('kept').resolve()}")
            raise
        slowest = max(slowest, time.process_time() - begun)
    more = 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory)
    return {
        "changes": count,
        "refused": count - accepted,
        "slowest_s": round(slowest, 3),
        "memory_MB": round(more / 1e6),
    }


@pytest.fixture
def here(originals, tmp_path, monkeypatch):
    shutil.copytree(originals, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in PAGES])
def test_a_file_changed_at_random_is_read_or_refused_in_one_line(kind, here, capfd):
    found = tried(kind, SHORT, capfd)
    assert found["refused"] > 0
    assert found["memory_MB"] < LARGEST_MEMORY / 1e6


@pytest.mark.long
@pytest.mark.parametrize("kind", KINDS)
def test_so_is_each_of_thousands(kind, here, capfd):
    found = tried(kind, PAGES.get(kind, LONG), capfd)
    with capfd.disabled():
        print(f"\n{kind}: {json.dumps(found)}")
    assert found["memory_MB"] < LARGEST_MEMORY / 1e6
