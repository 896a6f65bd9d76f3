"""The README: its blocks run as written, its figures stand in RESULTS.md, its links lead on.

Blocks fenced `python` or `console` run in order in one folder; those fenced `sh` (installation,
make) do not. The tables that it once had are pages of docs, and are compared here with the code.
"""

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import flexcalc
from flexcalc.registry import COMMITTEE, FOREIGN, REFERENCES

ROOT = Path(__file__).parents[1]
REFERENCE = ROOT / "docs" / "pages" / "reference"
TEXT = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
LONGEST = 150


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("readme")


def environment(sockets):
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, "PATH": path, "OMP_NUM_THREADS": "1", "TMPDIR": sockets}


def test_every_fence_says_what_it_is():
    assert {kind for kind, _ in BLOCKS} == {"sh", "console", "python"}
    assert all(
        line.startswith("$ ")
        for kind, text in BLOCKS
        if kind == "console"
        for line in text.splitlines()
    )


def test_it_is_short():
    assert len(TEXT.splitlines()) <= LONGEST
    assert all(text.count("\n") <= 20 for kind, text in BLOCKS if kind != "python")


def test_blocks_run_in_order(place, own_sockets):
    """One test: each block needs what those before it left behind."""
    for kind, text in BLOCKS:
        if kind == "sh":
            continue
        script = text if kind == "python" else text.replace("$ ", "")
        words = [sys.executable, "-W", "error::DeprecationWarning", "-"]
        done = subprocess.run(
            words if kind == "python" else ["bash", "-e"],
            input=script,
            cwd=place,
            env=environment(own_sockets),
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, (text, done.stdout, done.stderr)
        assert "NOT CONVERGED" not in done.stdout
    for folder in ("label", "glycine-train", "check", "path", "md", "metad", "ipi"):
        assert (place / folder / "report.html").stat().st_size > 1000
    assert flexcalc.load(str(place / "glycine.flex")).facts["training_points"] == 80


def test_figures_of_the_table_stand_in_the_results():
    """Every number in the table of what was measured is a number of RESULTS.md."""
    table = TEXT.split("## What it has\n")[1].split("\n## ")[0]
    measured = "\n".join(line for line in table.splitlines() if line.startswith("|"))
    known = set(re.findall(r"\d+(?:\.\d+)?", (ROOT / "RESULTS.md").read_text()))
    assert set(re.findall(r"(?<![\w.])\d+(?:\.\d+)?", measured)) <= known


def rows(page, cell):
    return set(re.findall(cell, (REFERENCE / page).read_text(), re.MULTILINE))


def test_extras_table_is_complete():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    found = rows("install.md", r"^\| (`[^|]*`) \|")
    assert {name for row in found for name in re.findall(r"`(\w+)`", row)} == set(
        extras["optional-dependencies"]
    ) - {"test"}


def test_address_table_names_every_kind_of_address():
    found = rows("addresses.md", r"^\| `([^`]*)`")
    schemes = {row.split(":")[0] for row in found if ":" in row}
    suffixes = {Path(row).suffix or row for row in found if ":" not in row}
    assert {f"{scheme}:" for scheme in schemes} == {f"{name}:" for name in REFERENCES} | {COMMITTEE}
    assert suffixes == {".flex", *FOREIGN}


def test_links_lead_to_files():
    links = re.findall(r"\]\(([\w/.-]+)\)", TEXT)
    assert links
    for link in links:
        assert (ROOT / link).exists(), link
