"""No input of PLUMED runs code or writes outside its folder, unless its user trusts it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from flexcalc.errors import InputError
from flexcalc.files.plumed_input import LARGEST_INPUT, check_plumed_input, read_plumed_input

pytestmark = pytest.mark.security

DISTANCE = "d: DISTANCE ATOMS=1,2\n"

RUNS_CODE = {
    "a library": "LOAD FILE=x.so",
    "a source": "LOAD FILE=x.cpp",
    "small letters": "load FILE=x.so",
    "a label": "a: LOAD FILE=x.so",
    "a label of its own": "LOAD FILE=x.so LABEL=a",
    "a tab": "a:\tLOAD\tFILE=x.so",
    "dos lines": "d: DISTANCE ATOMS=1,2\r\nLOAD FILE=x.so\r\n",
    "braces around": "{LOAD} FILE=x.so",
    "braces within": "LO{AD} FILE=x.so",
    "a continuation": "LOAD ...\n  FILE=x.so\n...",
    "a continued label": "a: ...\n  LOAD FILE=x.so\n...",
    "nothing but a continuation": "...\nLOAD FILE=x.so\n...",
    "after a continuation": "d: DISTANCE ...\n  ATOMS=1,2\n... d\nLOAD FILE=x.so",
    "after a comment": "d: DISTANCE ATOMS=1,2 # ...\nLOAD FILE=x.so",
    "after a brace in a comment": "d: DISTANCE ATOMS=1,2 # {\nLOAD FILE=x.so",
    "after the end in a comment": "# ENDPLUMED\nLOAD FILE=x.so",
    "after the end in a continuation": "d: DISTANCE ...\nENDPLUMED\nATOMS=1,2\n...\nLOAD FILE=x.so",
    "a label that is a statement": "d: DISTANCE ATOMS=1,2 LABEL={a: LOAD FILE=x.so}",
    "an action in a keyword": "p: GEOMETRIC_PATH METRIC={LOAD FILE=x.so} REFERENCE=a.pdb",
    "an action in a list": "p: GEOMETRIC_PATH METRIC=@replicas:LOAD,LOAD REFERENCE=a.pdb",
    "another PLUMED": "PLUMED FILE=other.dat KERNEL=/tmp/libplumedKernel.so",
    "a Python coordinate": "c: PYCVINTERFACE IMPORT=evil ATOMS=1",
    "a Python function": "c: PYFUNCTION IMPORT=evil ARG=d",
    "a torch model": "c: PYTORCH_MODEL FILE=model.ptc ARG=d",
    "a metatomic model": "c: METATOMIC MODEL=model.pt EXTENSIONS_DIRECTORY=.",
    "a program": "MOLINFO STRUCTURE=a.pdb PYTHON_BIN=evil",
    "a shell": "MOLINFO STRUCTURE={a.pdb;touch$IFS'x'}",
    "a shell in quotes": "MOLINFO STRUCTURE=`touch`",
    "a selection": "g: GROUP ATOMS={@mda:{name C}}",
    "a selection in braces": "g: GROUP ATOMS=@{mdt:name}",
    "vmd": "g: GROUP ATOMS=@vmdexec:{all}",
    "an action of a later PLUMED": "SHELL COMMAND=ls",
    "memory": "PRINT ARG=d FMT=%n",
    "text that is a number": "PRINT ARG=d FMT=%s",
    "a disk full of blanks": "PRINT ARG=d FMT=%1000000000f",
    "two formats": "PRINT ARG=d FMT=%8.3f%n",
}

WRITES_ELSEWHERE = {
    "up": "PRINT ARG=d FILE=../../x",
    "an absolute name": "PRINT ARG=d FILE=/tmp/x",
    "small letters": "print arg=d file=/tmp/x",
    "up and down": "PRINT ARG=d FILE=a/../../x",
    "braces": "PRINT ARG=d FILE={../../x}",
    "braces within": "PRINT ARG=d FILE={/}tmp/x",
    "the second of two": "PBMETAD ARG=d SIGMA=1 HEIGHT=1 FILE=a,/tmp/b",
    "parted by a blank": "PBMETAD ARG=d SIGMA=1 HEIGHT=1 FILE={a /tmp/b}",
    "replicas": "PRINT ARG=d FILE=@replicas:/tmp/a,/tmp/b",
    "hidden as a formula": "PBMETAD ARG=d SIGMA=1 HEIGHT=1 FILE={FUNC=x /tmp/b}",
    "over lines": "PRINT ...\n  ARG=d\n  FILE=/tmp/x\n... PRINT",
    "over lines in braces": "PRINT ARG=d ...\nFILE={\n/tmp/x\n}\n...",
    "a link": "PRINT ARG=d FILE=link/x",
    "a link to a file": "PRINT ARG=d FILE=linked",
    "frames": "DUMPATOMS ATOMS=1 FILE=/tmp/x.xyz",
    "a grid": "DUMPGRID ARG=h FILE=../../x.grid",
    "charges": "DUMPMASSCHARGE FILE=/tmp/x",
    "projections": "DUMPPROJECTIONS ARG=d FILE=/tmp/x",
    "hills": "METAD ARG=d SIGMA=1 HEIGHT=1 PACE=1 FILE=../../HILLS",
    "a grid of hills": "METAD ARG=d SIGMA=1 HEIGHT=1 PACE=1 GRID_WFILE=/tmp/x",
    "walkers": "METAD ARG=d SIGMA=1 HEIGHT=1 PACE=1 WALKERS_DIR=../../shared",
    "a state": "OPES_METAD ARG=d BARRIER=1 PACE=1 STATE_WFILE=/tmp/x",
    "a restart": "EDS ARG=d CENTER=1 PERIOD=1 OUT_RESTART=/tmp/x",
    "a path": "ADAPTIVE_PATH REFERENCE=a.pdb WFILE=/tmp/x",
    "a prefix": "DRR ARG=d OUTPUTPREFIX=/tmp/x",
    "a backup beside what is read": "DRR ARG=d DRR_RFILE=/tmp/x",
    "a label": "../../x: MAXENT ARG=d",
    "a label of its own": "MAXENT ARG=d LABEL=../../x",
    "a suffix": "_SET_SUFFIX /../../x",
    "a keyword that is not known": "PRINT ARG=d LATER=/tmp/x",
}

HARMLESS = {
    "a restraint": "RESTRAINT ARG=d AT=pi/2 KAPPA=1/2",
    "hills": "METAD ARG=d SIGMA=0.05 HEIGHT=1.2 PACE=500 FILE=HILLS",
    "a folder within": "PRINT ARG=d FILE=sub/COLVAR FMT=%12.6f STRIDE=10",
    "nothing": "PRINT ARG=d FILE=/dev/null",
    "a formula": "c: CUSTOM ARG=d FUNC=(x-1)/(x+1) PERIODIC=NO",
    "a formula with blanks": "c: CUSTOM ARG=d FUNC={(x - 1) / (x + 1)} PERIODIC=NO",
    "a switch": "c: COORDINATION GROUPA=1 GROUPB=2 SWITCH={CUSTOM FUNC=1 / (1+x^6) R_0=0.2}",
    "a reference": "r: RMSD REFERENCE=/data/a.pdb TYPE=OPTIMAL",
    "a potential": "e: EXTERNAL ARG=d FILE=/data/bias.grid",
    "a structure": "MOLINFO STRUCTURE=/data/a-1.pdb\nt: TORSION ATOMS=@phi-2",
    "a grid to go on from": "METAD ARG=d SIGMA=1 HEIGHT=1 PACE=1 GRID_RFILE=/data/grid",
    "a state to go on from": "OPES_METAD ARG=d BARRIER=1 PACE=1 STATE_RFILE=/data/state",
    "a comment": "# LOAD FILE=/x.so and FILE=../../x\nd2: DISTANCE ATOMS=1,2 # FILE=/tmp/x",
    "what follows the end": "PRINT ARG=d\nENDPLUMED\nLOAD FILE=x.so { and anything",
    "a file named as an action": "PRINT ARG=d FILE=plumed.out",
    "small letters": "print arg=d file=colvar",
}


@pytest.fixture
def folder(tmp_path):
    """Where PLUMED runs, with links out of it."""
    folder = tmp_path / "run" / "plumed"
    folder.mkdir(parents=True)
    (folder / "link").symlink_to(tmp_path)
    (folder / "linked").symlink_to(tmp_path / "file")
    return folder


@pytest.mark.parametrize("line", [*RUNS_CODE.values()], ids=[*RUNS_CODE])
def test_what_runs_code_needs_trust(line, folder):
    with pytest.raises(InputError, match=r"^a\.dat: line \d+: .* --trust$") as caught:
        check_plumed_input(DISTANCE + line + "\n", folder, name="a.dat")
    assert "\n" not in str(caught.value)
    check_plumed_input(DISTANCE + line + "\n", folder, trust=True)


@pytest.mark.parametrize("line", [*WRITES_ELSEWHERE.values()], ids=[*WRITES_ELSEWHERE])
def test_what_writes_outside_its_folder_needs_trust(line, folder):
    with pytest.raises(InputError, match=r"^plumed\.dat: line \d+: .* --trust$"):
        check_plumed_input(DISTANCE + line + "\n", folder)
    check_plumed_input(DISTANCE + line + "\n", folder, trust=True)


@pytest.mark.parametrize("line", [*HARMLESS.values()], ids=[*HARMLESS])
def test_what_stays_in_its_folder_and_reads_anywhere_is_let_through(line, folder):
    check_plumed_input(DISTANCE + line + "\n", folder)


def test_the_line_that_is_named_is_where_the_statement_begins(folder):
    text = "# one\n\nd: DISTANCE ...\n ATOMS=1,2 # FILE=/x\n...\n\nPRINT ...\n  ARG=d\nFILE=/x\n..."
    with pytest.raises(InputError, match=r"line 7: PRINT could write outside .*'FILE=/x'"):
        check_plumed_input(text, folder)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("d: DISTANCE ATOMS={1,2\n", "line 1: a brace { is not closed"),
        ("d: DISTANCE ATOMS=1,2}\n", "line 1: a brace } closes nothing"),
        ("d: DISTANCE ...\nATOMS={1,2\n", "line 1: a brace { is not closed"),
        ("d: DISTANCE ...\nATOMS=1,2\n... d LOAD\n", "line 3: expected nothing after"),
        ("d: DISTANCE ATOMS=1,2\x00\n", "found the character '\\x00'"),
        ("d: DISTANCE ATOMS=1,2\rLOAD FILE=x\n", "found the character '\\r'"),
    ],
)
@pytest.mark.inputs
def test_what_plumed_could_not_take_apart_is_refused_in_one_line(text, words, folder):
    with pytest.raises(InputError) as caught:
        check_plumed_input(text, folder)
    assert words in str(caught.value)


def test_included_files_are_checked_wherever_they_lie(folder, tmp_path):
    outer, inner = tmp_path / "outer.dat", tmp_path / "inner.dat"
    outer.write_text(f"INCLUDE FILE={inner}\n")
    inner.write_text(DISTANCE + "PRINT ARG=d FILE=COLVAR\n")
    check_plumed_input(f"INCLUDE FILE={outer}\n", folder)
    inner.write_text("LOAD FILE=x.so\n")
    with pytest.raises(
        InputError, match=r"line 1: .*outer\.dat: line 1: .*inner\.dat: line 1: LOAD"
    ):
        check_plumed_input(f"INCLUDE FILE={outer}\n", folder)
    inner.write_text("ENDPLUMED\nLOAD FILE=x.so\n")
    with pytest.raises(InputError, match="line 2: LOAD"):
        check_plumed_input(f"INCLUDE FILE={outer}\nLOAD FILE=x.so\n", folder)


def test_the_file_of_one_replica_that_plumed_would_include_instead_is_checked(folder, tmp_path):
    (tmp_path / "a.dat").write_text(DISTANCE)
    for name in ("a.3.dat", "a.dat.3"):
        (tmp_path / name).write_text("LOAD FILE=x.so\n")
        with pytest.raises(InputError, match="LOAD loads a library"):
            check_plumed_input(f"INCLUDE FILE={tmp_path}/a.dat\n", folder)
        (tmp_path / name).unlink()
    check_plumed_input(f"INCLUDE FILE={tmp_path}/a.dat\n", folder)


@pytest.mark.inputs
def test_files_that_cannot_be_included_are_refused(folder, tmp_path):
    loop = tmp_path / "loop.dat"
    loop.write_text(f"INCLUDE FILE={loop}\n")
    for name, words in (
        (loop, "includes itself"),
        (tmp_path / "none.dat", "cannot be read"),
        (tmp_path, "expected a file, found a folder"),
        ("@replicas:a,b", "name of a plain file"),
        (tmp_path / "a.gz", "name of a plain file"),
    ):
        with pytest.raises(InputError, match=words):
            check_plumed_input(f"INCLUDE FILE={name}\n", folder)


@pytest.mark.inputs
def test_an_input_without_an_end_is_not_read(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    for path in (tmp_path / "fifo", Path("/dev/zero")):
        with pytest.raises(InputError, match="expected a file, found a"):
            read_plumed_input(path)
    with open(tmp_path / "long.dat", "wb") as stream:
        stream.truncate(LARGEST_INPUT + 1)
    with pytest.raises(InputError, match="larger than the 16777216 bytes"):
        read_plumed_input(tmp_path / "long.dat")


def test_what_neither_side_knows_is_left_to_plumed_to_refuse(folder):
    check_plumed_input("RESTRANT ARG=d\n", folder, exists=lambda action: False)
    with pytest.raises(InputError, match="RESTRANT is not among the actions"):
        check_plumed_input("RESTRANT ARG=d\n", folder)
