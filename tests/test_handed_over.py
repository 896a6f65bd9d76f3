"""Files and folders of others: nothing in them runs, hangs, paints or writes elsewhere."""

import ast
import os
import shutil
import signal
import socket
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

import flexcalc
from flexcalc import cli
from flexcalc.errors import AddressError, FileFormatError, InputError
from flexcalc.models.folder import ModelContent, read_facts, write_model
from flexcalc.printing import printable
from flexcalc.registry import DEEPEST, MemberLoader
from flexcalc.storage import (
    MAX_DEPTH_JSON,
    AppendLog,
    load_checkpoint,
    open_regular,
    read_file,
    read_json,
    sha256_file,
    whole_lines,
)
from tests.systems import GEOMETRY, WATER, springs

pytestmark = pytest.mark.security

ROOT = Path(__file__).parents[1]
CODE = "from ase.calculators.emt import EMT\nopen({canary!r}, 'w')\ndef make(): return EMT()\n"
ESCAPE = "\x1b]0;title\x07\x1b[2J\u202e"


@contextmanager
def patience():
    """Let a reader that waits for a pipe end in an error, after far longer than any test takes."""

    def late(number, frame):
        raise TimeoutError("waited for ten minutes")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(600)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@pytest.fixture
def here(water_shelf, tmp_path, monkeypatch):
    """Own copies of the labels, the start and the model, and no patience for what hangs."""
    shutil.copytree(water_shelf, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    with patience():
        yield tmp_path


def refused(words, capfd):
    """A command line is refused in one line, which is returned."""
    with pytest.raises(SystemExit) as end:
        cli.main(words)
    (line,) = capfd.readouterr().err.splitlines()
    assert end.value.code == 2
    assert line.isprintable()
    return line


# Code


def delta(name, baseline, model):
    """A model folder that names a baseline."""
    write_model(
        Path(name),
        ModelContent(
            family="delta",
            numbers=WATER,
            hyperparameters={},
            arrays={},
            facts={"baseline": baseline},
            members={"model.flex": model.save},
        ),
    )


def test_a_baseline_beside_model_json_does_not_run_wherever_the_folder_is_opened_from(
    here, monkeypatch
):
    canary = here / "canary"
    model = flexcalc.load("water.flex")
    for number, address in enumerate(
        ("ase:calc.py:make", "ase:./calc.py:make", "committee:ase:calc.py:make,water.flex")
    ):
        folder = here / f"evil-{number}.flex"
        delta(folder, address, model)
        (folder / "calc.py").write_text(CODE.format(canary=str(canary)))
        (here / f"link-{number}.flex").symlink_to(folder)
        for place in (folder, here / f"link-{number}.flex"):
            monkeypatch.chdir(place)
            for named in (".", "./", str(place), f"../{place.name}"):
                with pytest.raises(AddressError, match="may mean running code"):
                    flexcalc.load(named)
    assert not canary.exists()
    monkeypatch.chdir(here / "evil-0.flex")
    assert np.array_equal(flexcalc.load(".", trust=True).numbers, WATER)
    assert canary.exists()


def test_a_folder_inside_that_is_called_like_an_address_is_opened_as_a_folder(here, monkeypatch):
    model = flexcalc.load("water.flex")
    write_model(
        Path("both.flex"),
        ModelContent(
            family="committee",
            numbers=WATER,
            hyperparameters={},
            arrays={},
            facts={},
            members={"ase:calc.py:make": model.save, "xtb:GFN2-xTB": model.save},
        ),
    )
    Path("both.flex/calc.py").write_text(CODE.format(canary=str(here / "canary")))
    expected = model(GEOMETRY[None]).energies
    monkeypatch.chdir("both.flex")
    assert flexcalc.load(".")(GEOMETRY[None]).energies == expected
    assert not (here / "canary").exists()


def test_a_part_outside_its_folder_is_no_part(here):
    parts = MemberLoader(here / "water.flex", trust=False)
    (here / "water.flex" / "inside").symlink_to(here / "water.flex")
    for path in ("..", "../water.flex", "inside", "a/../../water.flex", "."):
        with pytest.raises(FileFormatError, match="expected a folder inside"):
            parts(here / "water.flex" / path)
    with pytest.raises(AddressError, match="may mean running code"):
        parts.sha256("/dev/zero")


def test_models_in_models_have_an_end(here):
    save = flexcalc.load("water.flex").save
    for _ in range(DEEPEST + 2):

        def save(folder, inner=save):
            write_model(
                folder,
                ModelContent(
                    family="delta",
                    numbers=WATER,
                    hyperparameters={},
                    arrays={},
                    facts={"baseline": "xtb:GFN2-xTB"},
                    members={"model.flex": inner},
                ),
            )

    save(Path("deep.flex"))
    with pytest.raises(FileFormatError, match=f"more than {DEEPEST} deep"):
        flexcalc.load("deep.flex")


def test_pyscf_runs_no_file_of_the_working_folder(here):
    pytest.importorskip("pyscf")
    Path(".pyscf_conf.py").write_text("open('canary', 'w')\n")
    Path("calc").write_text("H S\n 1.0 __import__('os').mknod('canary')\n" * 2)
    script = (
        "import flexcalc, pytest; from flexcalc.errors import AddressError\n"
        "flexcalc.load('dft:PBE/sto-3g', [1, 1])\n"
        "with pytest.raises(AddressError, match='would read the file'):\n"
        "    flexcalc.load('dft:PBE/calc', [1, 1])\n"
        "with pytest.raises(AddressError, match='expected the name of a basis'):\n"
        "    flexcalc.load('dft:PBE/GTH\\nH S\\n 1.0 1', [1, 1])\n"
    )
    environment = {k: v for k, v in os.environ.items() if k != "PYSCF_CONFIG_FILE"}
    environment["PYTHONPATH"] = str(ROOT)
    subprocess.run([sys.executable, "-P", "-c", script], env=environment, check=True)
    assert not Path("canary").exists()


def test_numba_takes_no_cache_from_the_working_folder(here, monkeypatch):
    numba = pytest.importorskip("numba")
    from flexcalc.models.networks import compiled

    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
    # as it is after numba has read a .numba_config.yaml
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(here / "evil"))

    def double(x):
        return 2 * x

    assert compiled.compiled(double)(2.0) == 4.0
    assert not (here / "evil").exists()
    assert str(here / "evil") == numba.config.CACHE_DIR


def test_a_run_folder_that_says_trust_is_only_read_by_info_and_report(here, capfd):
    cli.main(["md", "water.flex", "start.xyz", "--steps", "2", "-o", "run"])
    text = Path("run/run.toml").read_text()
    Path("run/calc.py").write_text(CODE.format(canary=str(here / "canary")))
    hostile = text.replace("trust = false", "trust = true").replace(
        str(Path("water.flex")), "ase:run/calc.py:make"
    )
    assert hostile.count("true") > text.count("true")
    Path("run/run.toml").write_text(hostile)
    for results in (True, False):
        if not results:
            Path("run/results.json").unlink()
        cli.main(["info", "run"])
        cli.main(["report", "run"])
    assert not (here / "canary").exists()
    capfd.readouterr()
    # Nor does a run that is resumed take its trust from there.
    Path("run/run.toml").write_text(text.replace("trust = false", "trust = true"))
    line = refused(["md", "water.flex", "start.xyz", "--steps", "2", "-o", "run"], capfd)
    assert "trust = True, not False" in line


# What is no file


def special(path, kind):
    """Put something in the place of a file."""
    shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    if kind == "link to /dev/zero":
        path.symlink_to("/dev/zero")
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        socket.socket(socket.AF_UNIX).bind(path.name)  # its path may be long


KINDS = ("link to /dev/zero", "pipe", "folder", "socket")
READERS = {
    "water.xyz": ["info", "water.xyz"],
    "data.npz": ["info", "data.npz"],
    "run.toml": ["md", "run.toml"],
    "start.xyz": ["md", "water.flex", "start.xyz"],
    "water.flex/model.json": ["info", "water.flex"],
    "water.flex/weights.safetensors": ["export", "water.flex", "copy.flex"],
    "GAP.xml": ["md", "GAP.xml", "start.xyz"],
    "best_model": ["md", "best_model", "start.xyz", "--trust"],
    "m.model": ["md", "m.model", "start.xyz", "--trust"],
    "m.npz": ["md", "m.npz", "start.xyz"],
    "input.xml": ["ipi", "input.xml", "water.flex", "start.xyz"],
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", READERS)
def test_what_is_no_file_is_refused_at_once(name, kind, here, capfd, monkeypatch):
    folder = (here / name).parent
    monkeypatch.chdir(folder)
    special(Path(Path(name).name), kind)
    monkeypatch.chdir(here)
    line = refused(READERS[name], capfd)
    assert name.split("/")[0] in line


@pytest.mark.parametrize("kind", KINDS)
def test_every_reader_of_storage_refuses_what_is_no_file(kind, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    place = Path("place")
    special(place, kind)
    with patience():
        for reader in (open_regular, read_file, read_json, sha256_file, load_checkpoint):
            with pytest.raises(FileFormatError, match="expected a file, found a"):
                reader(place)
        with pytest.raises(FileFormatError, match="expected a file, found a"):
            AppendLog(place, whole_lines)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["results.json", "run.toml", "scalars.csv", "trajectory.xyz"])
def test_info_report_and_a_restart_survive_what_is_no_file_in_a_run_folder(
    name, kind, here, run, capfd, monkeypatch
):
    cli.main(["md", "water.flex", "start.xyz", "--steps", "2", "-o", "run"])
    monkeypatch.chdir("run")
    special(Path(name), kind)
    monkeypatch.chdir(here)
    for words in (
        ["info", "run"],
        ["report", "run"],
        ["md", "water.flex", "start.xyz", "--steps", "2", "-o", "run"],
    ):
        capfd.readouterr()
        code = run(*words)
        assert code in (0, 1, 2)
        assert len(capfd.readouterr().err.splitlines()) == (code != 0)


def test_a_file_is_read_up_to_its_limit_and_no_further(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"12345")
    assert read_file(path, 5) == b"12345"
    with pytest.raises(FileFormatError, match="larger than the 4 bytes"):
        read_file(path, 4)
    with pytest.raises(FileFormatError, match="larger than the 10 bytes"):
        read_file("/proc/self/status", 10)  # whose size is 0
    os.truncate(path, 5 << 30)
    for reader in (read_file, sha256_file, flexcalc.read):
        with pytest.raises((FileFormatError, InputError), match=r"larger than|suffix"):
            reader(path)


def test_json_has_a_depth_that_everything_can_handle(tmp_path):
    path = tmp_path / "deep.json"
    for depth in (MAX_DEPTH_JSON, MAX_DEPTH_JSON + 1, 900, 10**5):
        path.write_text("[" * depth + "]" * depth)
        if depth <= MAX_DEPTH_JSON:
            assert str(read_json(path)) == "[" * depth + "]" * depth
        else:
            with pytest.raises(FileFormatError, match=r"deep|not whole JSON|incomplete JSON"):
                read_json(path)


OPENERS = {"open", "os.open", "np.load", "np.loadtxt", "np.genfromtxt", "numpy.load"}
METHODS = {"read_text", "read_bytes", "open"}
BY_THEMSELVES = {
    "flexcalc/storage.py": "the one place",
    "flexcalc/cli.py": "os.devnull",
    "flexcalc/adapters/ipi/child.py": "the input that the launcher has just written",
    "flexcalc/adapters/ipi/client.py": "distances.csv, which several clients append to",
    "flexcalc/adapters/ipi/geometry.py": "a checked file, for i-PI's readers, which ask its name",
    "flexcalc/adapters/ipi/launcher.py": "what i-PI has just written",
    "flexcalc/adapters/ipi/processes.py": "the log of a process of ours, and its lock",
    "flexcalc/files/archive.py": "a member of a zip that is open",
    "flexcalc/files/tables.py": "lines in memory",
    "flexcalc/memory.py": "/proc and /sys",
    "flexcalc/models/gdml/solver.py": "/proc and /sys",
    "flexcalc/models/networks/compiled.py": "our own sources",
    "flexcalc/display/html.py": "our own style and scripts",
    "flexcalc/benchmarking/trainings.py": "os.devnull",
    "flexcalc/runs/folder.py": "log.txt, in a folder that has been looked through",
}
"""Modules that open files without storage's help, and which."""


def opened(tree):
    """Calls of a module that open a file by its name."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            if called in OPENERS or (
                isinstance(node.func, ast.Attribute) and node.func.attr in METHODS
            ):
                yield called


def test_files_are_opened_in_one_place():
    found = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "flexcalc").rglob("*.py")
        if list(opened(ast.parse(path.read_text())))
    }
    assert found - BY_THEMSELVES.keys() == set()


# Writing


def test_a_run_writes_into_no_file_outside_its_folder(here, capfd):
    words = ["md", "water.flex", "start.xyz", "--steps", "2", "-o", "run"]
    cli.main(words)
    Path("mine").write_text("mine\n")
    Path("run/results.json").unlink()
    for name in ("log.txt", "trajectory.xyz", ".lock", "new"):
        kept = Path("run", name).read_bytes() if Path("run", name).exists() else None
        Path("run", name).unlink(missing_ok=True)
        Path("run", name).symlink_to("../mine")
        capfd.readouterr()
        assert "leads out of the run folder" in refused(words, capfd)
        assert Path("mine").read_text() == "mine\n"
        Path("run", name).unlink()
        if kept is not None:
            Path("run", name).write_bytes(kept)
    Path("run/inside").symlink_to("log.txt")
    cli.main(words)
    assert Path("run/results.json").exists()


def test_a_report_holds_nothing_from_outside_its_folder(here):
    cli.main(["md", "water.flex", "start.xyz", "--steps", "2", "-o", "run"])
    Path("secret").write_text("do not hand on\n")
    for name in ("run.toml", "log.txt", "scalars.csv"):
        Path("run", name).unlink()
        Path("run", name).symlink_to("../secret")
    cli.main(["report", "run"])
    page = Path("run/report.html").read_text()
    assert "do not hand on" not in page
    assert "leads out of the folder" in page


@pytest.mark.parametrize("mask", [0o002, 0o022, 0o027, 0o077])
def test_what_is_made_has_the_rights_that_the_umask_gives(mask, here):
    before = os.umask(mask)
    try:
        words = ["train", "water.xyz", "--points", "10", "--validation-points", "5"]
        cli.main([*words, "--sigma", "5", "-o", "new.flex"])
        cli.main(["md", "new.flex", "start.xyz", "--steps", "2", "-o", "run"])
        flexcalc.load("new.flex").save(Path("again.flex"))
        flexcalc.load("new.flex").save(Path("again.flex"))  # replaced
    finally:
        os.umask(before)
    made = [Path(name) for name in ("new.flex", "new-train", "run", "again.flex")]
    made += [entry for folder in made for entry in folder.rglob("*")]
    assert len(made) > 15
    for entry in made:
        wanted = (0o777 if entry.is_dir() else 0o666) & ~mask
        assert entry.stat().st_mode & 0o777 == wanted, entry


# The terminal


def test_every_character_is_shown_and_none_is_obeyed():
    assert printable("Å é 水") == "Å é 水"
    assert printable("a\x1b[2Jb\nc\u202e\x9b\ud800") == r"a\x1b[2Jb\nc\u202e\x9b\ud800"


def test_texts_of_others_paint_no_terminal(here, capfd):
    level = f"PBE{ESCAPE}"
    frame = f'Properties=species:S:1:pos:R:3 level="{level}" pbc="F F F"'
    Path("paint.xyz").write_text(f"1\n{frame}\nH 0 0 0\n")
    model = flexcalc.load("water.flex")
    facts = {"comment": ESCAPE, ESCAPE: {"deeper": [ESCAPE]}}
    write_model(
        Path("paint.flex"),
        ModelContent(
            family="sgdml",
            numbers=WATER,
            hyperparameters={},
            arrays={},
            facts=facts,
        ),
    )
    assert read_facts(Path("paint.flex"))["comment"] == ESCAPE
    model.save(Path(f"{ESCAPE.replace('/', '')}.flex"))
    Path("run").mkdir()
    Path("run/results.json").write_text('{"command": "md", "note": "\\u001b[2J", "b\\u0007": 1}')
    Path("begun").mkdir()
    Path("begun/run.toml").write_text(f"# flexcalc {ESCAPE}\n")
    for place in ("paint.xyz", "paint.flex", "run", "begun", f"{ESCAPE}.flex"):
        cli.main(["info", place])
        out, err = capfd.readouterr()
        assert all(line.isprintable() for line in out.splitlines()), place
        assert "x1b" in out or "ESC" in out or place.endswith(f"{ESCAPE}.flex")
        assert err == ""
    cli.main(["export", "committee:water.flex,water.flex", f"to{ESCAPE}.flex"])
    assert capfd.readouterr().out.strip().isprintable()
    refused(["info", f"{ESCAPE}.npz"], capfd)
    words = ["md", f"{ESCAPE}.flex", "start.xyz", "--steps", "1", "-o", f"out{ESCAPE}"]
    cli.main(words)
    cli.main(words)  # says that it is done, with its name
    out, _ = capfd.readouterr()
    assert "x1b" in out
    assert all(line.isprintable() for line in out.splitlines())
    log = Path(f"out{ESCAPE}/log.txt").read_text()
    assert all(line.isprintable() for line in log.splitlines())


def test_a_terminal_without_unicode_gets_escapes_and_no_traceback(here):
    Path("umlaut.xyz").write_text(
        '1\nProperties=species:S:1:pos:R:3 level="é" pbc="F F F"\nH 0 0 0\n'
    )
    found = subprocess.run(
        [sys.executable, "-m", "flexcalc.cli", "info", "umlaut.xyz"],
        env={**os.environ, "PYTHONIOENCODING": "ascii:strict", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        check=True,
    )
    assert rb"level: \xe9" in found.stdout


# Duplicates


def test_repeated_frames_and_validation_on_training_points_are_said(here, capfd):
    data = springs(10)
    flexcalc.write("twice.xyz", data[np.repeat(np.arange(10), 3)])
    words = ["--points", "10", "--validation-points", "20", "--sigma", "5"]
    cli.main(["train", "twice.xyz", *words, "-o", "twice"])
    out = capfd.readouterr().out
    assert "warning: 20 of 30 frames repeat the geometry of another one" in out
    results = read_json("twice/results.json")
    split = read_json("twice/split.json")
    origin = np.repeat(np.arange(10), 3)
    seen = np.isin(origin[split["validation"]], origin[split["train"]]).sum()
    assert results["repeated_frames"] == 20
    assert results["validation_frames_trained_on"] == seen > 0
    assert f"{seen} of 20 validation frames have the geometry of a training point" in out
    cli.main(["train", "water.xyz", *words, "-o", "once"])
    assert "repeat" not in capfd.readouterr().out
    results = read_json("once/results.json")
    assert results["repeated_frames"] == results["validation_frames_trained_on"] == 0
