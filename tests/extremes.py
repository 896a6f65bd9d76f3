"""Every numeric field of every command with extreme values, each run in a process of its own.

`python tests/extremes.py FOLDER` reads cases as lines of JSON and answers each with one line. It
imports what commands need once, and then forks for every case, as importing takes longer than most
cases do. FOLDER has the things of the `water_shelf` fixture.
"""

from __future__ import annotations

import gc
import io
import json
import math
import os
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout, suppress
from importlib import import_module
from pathlib import Path
from typing import Any

VALUES: tuple[Any, ...] = (0, -1, 1e-300, 1e300, 10**18, math.nan, math.inf, -0.0, "text", True, [])
SECONDS = 10.0
"""Processor time that a case may take."""
COMPILING = 25.0
"""Processor time that numba may take beside, where a kind of network was not compiled yet."""
COMPILED = ("bpnn", "schnet", "painn")
PATIENCE = 150.0
"""Seconds after which a case hangs; more than `SECONDS`, as a machine may be busy."""
MEMORY = 500 << 20
"""Bytes that a case may take beside what is imported."""
CRASHED = 70
"""Exit code of a case that ended in a traceback."""

FEW = {"kind": "displacement", "frames": 3}
DYNAMICS = {"model": "water.flex", "start": "start.xyz", "steps": 6, "frame_every": 2}
ANGLE = {"coordinate": ["angle 1 0 2"]}
IMPORTED = (
    *("flexcalc.commands.face", "flexcalc.reports.write", "torch", "scipy.optimize", "scipy.stats"),
    *("matplotlib.backends.backend_svg", "pymbar", "numba", "pydantic", "safetensors.numpy"),
    *("flexcalc.models.networks.trainer", "flexcalc.models.mace.network", "torch._dynamo"),
    *("flexcalc.models.schnetpack.dense", "flexcalc.models.bpnn.potential", "mace.modules"),
)
"""What most cases would import by themselves otherwise."""

BASES: dict[str, dict[str, Any]] = {
    "label": {"reference": "water.flex", "starts": ["start.xyz"], "samples": [FEW]},
    "train": {"dataset": "water.xyz", "points": 8, "validation_points": 4},
    "learn": {
        **{"reference": "water.flex", "starts": ["start.xyz"], "workers": 1},
        **{"budget": 14, "checks": 0, "first": 10, "batch": 4, "committee": 2},
        **{"replicas": 2, "time_ps": 5e-3},
        "family": [{"kind": "sgdml", "sigmas": [5.0], "symmetry": False}],
    },
    "evaluate": {"models": ["water.flex"], "dataset": "water.xyz"},
    "path": {
        **{"model": "water.flex", "start": "start.xyz", "end": "end.xyz", "steps": 2},
        "relax_ends": False,  # this surface has one minimum, and a path needs two ends
    },
    "saddle": {"model": "water.flex", "guess": "start.xyz", "steps": 2},
    "network": {"model": "water.flex", "starts": ["start.xyz"], "turned": 2, "max_pairs": 2},
    "md": DYNAMICS,
    "metad": {**DYNAMICS, **ANGLE, "colvar_every": 2},
    "umbrella": {
        **{**DYNAMICS, **ANGLE, "colvar_every": 2, "equilibration": 2},
        **{"low": [95.0], "high": [110.0], "windows": [3]},
    },
    "serve": {"model": "water.flex", "start": "start.xyz", "port": 9, "timeout_s": 0.2},
    "benchmark": {
        "reference": "water.flex",
        "minima": {"one": "start.xyz", "other": "end.xyz"},
        "mechanisms": [{"name": "way", "start": "one", "end": "other"}],
        "models": [{"label": "sgdml", "family": {"kind": "sgdml"}}],
        "coordinates": ["angle 1 0 2"],
        **{"stages": ["minima"], "sizes": [5], "folds": 2, "validation_points": 5},
    },
}
"""A small run of each command. `demo` and `ipi` run others, and take minutes."""

NETWORK = {"epochs": 2, "batch_size": 4, "compiled": "no"}
SECTIONS: dict[str, dict[str, Any]] = {
    "sgdml": {"sigmas": [5.0], "symmetry": False},
    "schnet": {**NETWORK, "features": 8, "interactions": 1, "radial_functions": 5},
    "painn": {**NETWORK, "features": 8, "interactions": 1, "radial_functions": 5},
    "so3net": {**NETWORK, "features": 8, "interactions": 1, "radial_functions": 5},
    "bpnn": {**NETWORK, "hidden": [4], "radial_functions": 4, "zetas": [1]},
    "mace": {**NETWORK, "channels": 2, "max_L": 0, "max_ell": 1, "correlation": 1},
    "gap": {"n_max": 3, "l_max": 1, "n_sparse": 10, "n_sparse_2b": 4},
    "mixture": {"of": [{"kind": "sgdml", "sigmas": [5.0], "symmetry": False}]},
    "md": {"frames": 3, "equilibration_fs": 2.0, "spacing_fs": 2.0},
    "displacement": {"frames": 3},
    "neb": {"images": 3},
    "string": {"images": 3},
    "scan": {"images": 3, "drive": ["angle 1 0 2"]},
    "well-tempered": {"pace": 2, "grid_spacing": [3.0]},
    "plain": {"pace": 2, "grid_spacing": [3.0]},
    "irc": {"arc_steps": 3},
    "mechanism": {"name": "way", "start": "one", "end": "other"},
    "model": {"label": "sgdml", "family": {"kind": "sgdml"}},
    "sample": {"name": "300 K"},
    "crash": {},
    "withheld": {"name": "w", "minimum": "one"},
}
"""What a section is given beside the value that is tried; a key that it does not have is left."""


def leaves(config: type, path: tuple[Any, ...] = (), seen: tuple[type, ...] = ()) -> Iterator[Any]:
    """(sections on the way, name) of every numeric field; a section is (name, kind, many)."""
    from flexcalc.config.options import is_numeric, options

    for option in options(config):
        for kind in option.choices:
            section = option.choices[kind]
            if section not in seen:
                step = (option.name, kind, option.many)
                yield from leaves(section, (*path, step), (*seen, section))
        if not option.choices and is_numeric(option.annotation):
            yield path, option.name


def cases() -> list[dict[str, Any]]:
    """All cases; a field of a kind of section is tried once a command, however deep it stands."""
    from flexcalc.config import COMMANDS

    found, known = [], set()
    for command in BASES:
        for path, name in leaves(COMMANDS[command]):
            kind = path[-1][1] if path else ""
            if (command, kind, name) not in known:
                known.add((command, kind, name))
                found += [
                    {"command": command, "path": path, "name": name, "value": value}
                    for value in VALUES
                ]
    return found


def run_file(case: dict[str, Any]) -> str:
    """The TOML of a case."""
    from flexcalc.config import COMMANDS, options
    from flexcalc.config.writing import _literal

    table = dict(BASES[case["command"]])
    if not case["path"] and "family" in {one.name for one in options(COMMANDS[case["command"]])}:
        table["family"] = [{"kind": "sgdml", **SECTIONS["sgdml"]}]
    inner = table
    for name, kind, many in case["path"]:
        section = {"kind": kind, **SECTIONS.get(kind, {})}
        inner[name] = [section] if many else section
        inner = section
    inner[case["name"]] = case["value"]
    return "".join(f"{key} = {_literal(value)}\n" for key, value in table.items())


def in_a_child(case: dict[str, Any], place: Path) -> int:
    """Run the command line in the folder; never returns to what forked."""
    from flexcalc import cli

    os.chdir(place)
    output = os.open("../said", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(output, 1)
    os.dup2(output, 2)
    sizes = Path("/proc/self/statm").read_text().split()
    size, resident = (int(pages) * resource.getpagesize() for pages in sizes[:2])
    Path("../base").write_text(str(resident))
    resource.setrlimit(resource.RLIMIT_AS, (size + 3 * MEMORY, size + 3 * MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (int(PATIENCE), int(PATIENCE)))
    code = CRASHED
    try:
        cli.main(words(case))
        code = 0
    except SystemExit as end:
        code = int(end.code or 0)
    except BaseException:
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def outcome(case: dict[str, Any], shelf: Path) -> dict[str, Any]:
    """Exit code, what was said, processor time, bytes, and what was left in the folder."""
    home = Path(tempfile.mkdtemp(prefix="flexcalc-extreme-"))
    place = home / "here"
    place.mkdir()
    try:
        for entry in shelf.iterdir():
            (place / entry.name).symlink_to(entry)
        (place / "run.toml").write_text(run_file(case))
        before = {entry.name for entry in place.iterdir()}
        if refused(case, place):
            return {**at_once(case, place), "left": left(place, before)}
        (home / "base").write_text("0")
        child = os.fork()
        if not child:
            os.setsid()
            in_a_child(case, place)
        code, usage, hung = waited(child)
        said = (home / "said").read_text(errors="replace") if (home / "said").exists() else ""
        base = int((home / "base").read_text())
        return {
            "code": code,
            "said": said[-3000:],
            "seconds": usage.ru_utime + usage.ru_stime,
            "hung": hung,
            "bytes": max(0, usage.ru_maxrss * 1024 - base),
            "left": left(place, before),
        }
    finally:
        shutil.rmtree(home, ignore_errors=True)


def left(place: Path, before: set[str]) -> list[str]:
    """What a case has made in its folder."""
    return sorted({entry.name for entry in place.iterdir()} - before)


def refused(case: dict[str, Any], place: Path) -> bool:
    """Whether the value is refused as the config is read; most are."""
    from flexcalc.config import COMMANDS, load
    from flexcalc.errors import ConfigError

    try:
        load(COMMANDS[case["command"]], place / "run.toml")
    except ConfigError:
        return True
    except Exception:  # the case itself will show it
        return False
    return False


def at_once(case: dict[str, Any], place: Path) -> dict[str, Any]:
    """The outcome of a case that is refused: without a process of its own, which takes longer."""
    from flexcalc import cli

    said, begun, home = io.StringIO(), time.process_time(), Path.cwd()
    os.chdir(place)
    try:
        with redirect_stdout(said), redirect_stderr(said):
            cli.main(words(case))
        code = 0
    except SystemExit as end:
        code = int(end.code or 0)
    finally:
        os.chdir(home)
    seconds = time.process_time() - begun
    return {"code": code, "said": said.getvalue(), "seconds": seconds, "hung": False, "bytes": 0}


def words(case: dict[str, Any]) -> list[str]:
    """The command line of a case."""
    folder = [] if case["command"] == "serve" else ["--output", "out"]
    return [case["command"], "run.toml", *folder]


def waited(child: int) -> tuple[int, Any, bool]:
    """Exit code and usage of a process that is given its time."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        done, status, usage = os.wait4(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status), usage, False
        time.sleep(0.005)
    os.killpg(child, signal.SIGKILL)
    _, status, usage = os.wait4(child, 0)
    return os.waitstatus_to_exitcode(status), usage, True


def faults(case: dict[str, Any], found: dict[str, Any]) -> list[str]:
    """What is wrong with an outcome, in words."""
    lines = [line for line in found["said"].splitlines() if line.startswith("flexcalc: ")]
    wrong = []
    compiles = any(kind in COMPILED for _, kind, _ in case["path"])
    if found["hung"] or found["seconds"] > SECONDS + compiles * COMPILING:
        wrong.append(f"took {found['seconds']:.0f} s")
    if found["bytes"] > MEMORY:
        wrong.append(f"took {found['bytes'] >> 20} MB")
    if found["code"] not in (0, 1, 2, 3) or "Traceback" in found["said"]:
        wrong.append(f"ended with {found['code']}")
    if found["code"] in (1, 2, 3) and len(lines) != 1:
        wrong.append(f"said {len(lines)} lines")
    if found["code"] == 2 and found["left"]:
        wrong.append(f"left {found['left']}")
    return wrong


def main() -> None:
    """Answer cases until there are no more."""
    import warnings

    warnings.simplefilter("ignore")
    import flexcalc
    from flexcalc import config
    from flexcalc.registry import FAMILIES, family

    for name in IMPORTED:
        with suppress(ImportError):
            import_module(name)
    for name in FAMILIES:
        family(name)
    for kind in config.COMMANDS.values():
        config.flags(kind)
        list(leaves(kind))
    shelf = Path(sys.argv[1])
    flexcalc.load(shelf / "water.flex")(flexcalc.read(shelf / "water.xyz").positions)
    gc.collect()
    gc.freeze()  # so that children share it
    for line in sys.stdin:
        case = json.loads(line)
        found = outcome(case, Path(sys.argv[1]))
        print(json.dumps({**case, **found, "faults": faults(case, found)}), flush=True)
    os._exit(0)  # what is frozen cannot be taken down in order


if __name__ == "__main__":
    main()
