"""Nothing flexcalc reads can run code: by the source, and by an audit of what happens."""

from __future__ import annotations

import ast
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytestmark = pytest.mark.security

ROOT = Path(__file__).parents[1]
SOURCES = sorted([*(ROOT / "flexcalc").rglob("*.py"), *(ROOT / "drivers").glob("*.py")])
FORBIDDEN_CALLS = {
    "eval",
    "exec",
    "os._exit",
    "os.system",
    "torch.load",
    "pickle.load",
    "pickle.loads",
    "joblib.load",
    "load_model",
}
TRUSTED = {
    "flexcalc/models/mace/potential.py": "torch.load",
    "flexcalc/models/schnetpack/exchange.py": "load_model",
}
"""The one call of each opener that unpickles; SchNetPack's `load_model` is a torch.load."""
RESTRICTED = {"flexcalc/models/so3lr.py": "torch.load"}
"""The one call that reads a pickle with `weights_only`: it makes only the classes it is told."""
FORBIDDEN_KEYWORDS = {("allow_pickle", "True"), ("shell", "True")}


def offences(tree):
    """Forbidden calls of a module, as text."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            keywords = {(word.arg, ast.unparse(word.value)) for word in node.keywords}
            if called in FORBIDDEN_CALLS or keywords & FORBIDDEN_KEYWORDS:
                yield f"line {node.lineno}: {ast.unparse(node)}"
        if isinstance(node, ast.Assert):
            yield f"line {node.lineno}: assert, which vanishes with python -O"


def test_the_scan_sees_what_it_should():
    bad = "import pickle\npickle.loads(b'')\nnp.load(f, allow_pickle=True)\neval('1')\nassert x"
    assert len(list(offences(ast.parse(bad)))) == 4


def calls(tree):
    """Calls of a module or function by the name that is called, in the order of their lines."""
    found = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    return [ast.unparse(node.func) for node in sorted(found, key=lambda node: node.lineno)]


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_no_source_unpickles_evaluates_or_starts_a_shell(path):
    allowed = {**TRUSTED, **RESTRICTED}.get(path.relative_to(ROOT).as_posix())
    found = list(offences(ast.parse(path.read_text())))
    if allowed is None:
        assert found == []
    else:
        assert len(found) == 1
        assert f" {allowed}(" in found[0]


@pytest.mark.parametrize("name", RESTRICTED)
def test_what_is_read_without_trust_is_read_with_weights_only(name):
    (found,) = offences(ast.parse((ROOT / name).read_text()))
    assert "weights_only=True" in found


@pytest.mark.parametrize("name", TRUSTED)
def test_what_unpickles_asks_for_trust_first(name):
    functions = [
        node
        for node in ast.walk(ast.parse((ROOT / name).read_text()))
        if isinstance(node, ast.FunctionDef) and TRUSTED[name] in calls(node)
    ]
    assert len(functions) == 1
    order = calls(functions[0])
    assert order.index("require_trust") < order.index(TRUSTED[name])


WATCHED = """
import sys
events = []
def hook(event, arguments):
    if event in ("pickle.find_class", "os.system", "subprocess.Popen", "os.exec", "os.posix_spawn"):
        events.append(event)
sys.addaudithook(hook)
from flexcalc.cli import main
try:
    main(sys.argv[1:])
except SystemExit as stop:
    print("exit", stop.code)
print("events", events)
"""


class Bomb:
    """Makes a file when it is unpickled."""

    def __init__(self, canary):
        self.canary = str(canary)

    def __reduce__(self):
        return (open, (self.canary, "w"))


@pytest.fixture
def hostile(tmp_path):
    """Files whose opening would make a canary if anything in them ran."""
    canary = tmp_path / "canary"
    bomb = np.array([Bomb(canary)], dtype=object)
    np.savez(tmp_path / "model.npz", R_desc=bomb, perms=np.zeros((1, 3), int), z=np.ones(3, int))
    for name in ("bomb.model", "bomb.pt", "best_model"):
        (tmp_path / name).write_bytes(pickle.dumps(Bomb(canary)))
    np.savez(tmp_path / "data.npz", R=bomb, z=np.ones(3, int), E=bomb, F=bomb)
    folder = tmp_path / "model.flex"
    folder.mkdir()
    (folder / "model.json").write_text('{"family": "os:system", "files": {}}')
    (folder / "weights.safetensors").write_bytes(b"cos\nsystem\n(S'touch canary'\ntR.")
    code = f"__import__('os').mknod({str(canary)!r})"
    (tmp_path / "frames.xyz").write_text(f'1\nenergy="{code}" pbc="{code}"\nH 0 0 {code}\n')
    (tmp_path / "water.xyz").write_text("3\n\nO 0 0 0\nH 0.96 0 0\nH -0.24 0.93 0\n")
    (tmp_path / "run.toml").write_text(f'model = "ase:os:system?{code}"\nstart = "{code}"\n')
    return tmp_path


@pytest.mark.parametrize(
    "words",
    [
        ("info", "model.npz"),
        ("info", "data.npz"),
        ("info", "model.flex"),
        ("info", "frames.xyz"),
        ("md", "run.toml"),
        ("md", "model.flex", "frames.xyz"),
        ("evaluate", "model.npz", "data.npz", "--energy-unit", "eV"),
        ("md", "bomb.model", "water.xyz"),
        ("md", "bomb.pt", "water.xyz"),
        ("md", "best_model", "water.xyz"),
        ("evaluate", "model.flex", "frames.xyz"),
        ("train", "data.npz", "--energy-unit", "__import__('os')"),
        ("train", "frames.xyz", "--family", "os:system"),
    ],
    ids=" ".join,
)
def test_hostile_files_are_refused_and_nothing_in_them_runs(hostile, words):
    found = subprocess.run(
        [sys.executable, "-c", WATCHED, *words],
        cwd=hostile,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert "exit 2" in found.stdout, found.stderr
    assert "events []" in found.stdout
    assert found.stderr.count("\n") == 1
    assert not (hostile / "canary").exists()
