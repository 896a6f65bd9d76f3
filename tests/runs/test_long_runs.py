"""Runs that are longer than memory: what is read of them, and what is said before they start."""

from __future__ import annotations

import re
import tracemalloc
from collections import namedtuple
from pathlib import Path

import numpy as np
import pytest

from flexcalc.config.dynamics import Md
from flexcalc.errors import FileFormatError
from flexcalc.files import FrameLog, frame_bytes, read_frames
from flexcalc.files.plumed import read_table
from flexcalc.files.tables import blocks_of_lines, csv_blocks
from flexcalc.printing import say
from flexcalc.reports.folder import RunFolder
from flexcalc.reports.sections import md as section
from flexcalc.reports.write import write_report
from flexcalc.runs import RunFolder as OpenRun
from flexcalc.runs import folder as runs_folder
from flexcalc.tasks.md import COLUMNS, _means

REPLICAS = 50
NAMES = COLUMNS.strip().split(",")


def scalars(path: Path, records: int, rng: np.random.Generator) -> np.ndarray:
    """A scalars.csv of dynamics, and its numbers (rows, columns)."""
    rows = records * REPLICAS
    table = np.empty((rows, len(NAMES)))
    table[:, 0] = np.repeat(np.arange(records) * 20, REPLICAS)
    table[:, 1] = table[:, 0] * 0.5
    table[:, 2] = np.tile(np.arange(REPLICAS), records)
    table[:, 3] = rng.normal(300.0, 60.0, rows)
    table[:, 4] = rng.normal(-4210.0, 0.3, rows)
    table[:, 5] = rng.normal(1.0, 0.1, rows)
    table[:, 6] = -4209.0 + rng.normal(0.0, 1e-3, rows) + 1e-6 * table[:, 1]
    lines = (
        f"{int(row[0])},{row[1]!r},{int(row[2])},{row[3]!r},{row[4]!r},{row[5]!r},{row[6]!r}\n"
        for row in table.tolist()
    )
    path.write_text(COLUMNS + "".join(lines))
    return table


@pytest.fixture
def config():
    return Md(model="m.flex", start=Path("s.xyz"), replicas=REPLICAS)


def test_the_figures_of_a_run_are_those_of_all_its_rows_at_once(tmp_path, config):
    table = scalars(tmp_path / "scalars.csv", 400, np.random.default_rng(1))
    found = _means(config.replicas, csv_blocks(tmp_path / "scalars.csv"))
    first, last = table[:REPLICAS, 6], table[-REPLICAS:, 6]
    assert found.temperature_K == pytest.approx(table[:, 3].mean(), rel=1e-13)
    assert found.potential_eV == pytest.approx(table[:, 4].mean(), rel=1e-13)
    assert found.conserved_change_eV == pytest.approx((last - first).mean(), rel=1e-12)


@pytest.mark.data
@pytest.mark.parametrize("size", [10, 1000, 1 << 20])
def test_blocks_of_a_table_are_the_table_wherever_they_are_cut(tmp_path, size):
    table = scalars(tmp_path / "scalars.csv", 3, np.random.default_rng(2))
    with open(tmp_path / "scalars.csv", "a") as log:
        log.write("60,30.0,0,3")  # cut by a kill
    blocks = list(csv_blocks(tmp_path / "scalars.csv", size))
    assert list(blocks[0]) == NAMES
    found = np.concatenate([np.stack(list(block.values()), axis=1) for block in blocks])
    np.testing.assert_array_equal(found, table)


@pytest.mark.inputs
@pytest.mark.parametrize("line", ["1,2\n", "1,2,x\n", "1,2,3,4\n"])
def test_a_row_that_does_not_fit_is_refused(tmp_path, line):
    (tmp_path / "t.csv").write_text(f"a,b,c\n1,,3\n{line}")
    with pytest.raises(FileFormatError, match="has a row that is not 3 numbers"):
        list(csv_blocks(tmp_path / "t.csv"))


def test_the_report_has_the_figures_of_all_rows_and_draws_some(tmp_path):
    table = scalars(tmp_path / "scalars.csv", 600, np.random.default_rng(3))
    (tmp_path / "run.toml").write_text("# flexcalc md\n")
    found = section.read_scalars(RunFolder(tmp_path))
    assert found.replicas == REPLICAS
    assert len(found.traces) == section.MOST_TRACES
    assert found.mean_K == pytest.approx(table[:, 3].mean(), rel=1e-12)
    assert found.lowest_eV == table[:, 4].min()
    change = abs(table[:, 6].reshape(-1, REPLICAS) - table[:REPLICAS, 6]).max()
    assert found.largest_change_eV == pytest.approx(change, rel=1e-9)
    assert [found.traces[0].replica, found.traces[-1].replica] == [0, REPLICAS - 1]
    for trace in found.traces:
        mine = table[table[:, 2] == trace.replica]
        slope = np.polyfit(mine[:, 1] / 1000, mine[:, 6], 1)[0]
        assert trace.mean_K == pytest.approx(mine[:, 3].mean(), rel=1e-12)
        assert trace.spread_K == pytest.approx(mine[:, 3].std(), rel=1e-9)
        assert trace.drift_eV_ps == pytest.approx(slope, rel=1e-6, abs=1e-12)
        rows = np.unique(np.linspace(0, 599, 500).round().astype(int))
        np.testing.assert_array_equal(trace.conserved_eV, mine[rows, 6])


def test_neither_figures_nor_report_hold_the_whole_file(tmp_path, config):
    scalars(tmp_path / "scalars.csv", 2000, np.random.default_rng(4))
    (tmp_path / "run.toml").write_text("# flexcalc md\n")
    frame = frame_bytes([8, 1, 1], np.eye(3), -1.0, np.eye(3), replica=0, time_fs=0.0)
    (tmp_path / "trajectory.xyz").write_bytes(frame * 30_000)
    sizes = [(tmp_path / name).stat().st_size for name in ("scalars.csv", "trajectory.xyz")]
    assert min(sizes) > 4 << 20  # what the bounds below are to be seen against
    write_report(tmp_path)  # so that what is imported does not count
    tracemalloc.start()
    try:
        _means(config.replicas, csv_blocks(tmp_path / "scalars.csv"))
        figures = tracemalloc.get_traced_memory()[1]
        FrameLog(tmp_path / "trajectory.xyz").close()
        log = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert figures < 30 << 20  # 55 MB when genfromtxt read it
    assert log < 30 << 20
    assert (tmp_path / "report.html").stat().st_size < 5 << 20


# ---------------------------------------------------------------- what is written


def test_a_run_writes_the_replicas_and_records_that_it_is_asked_for(here, run):
    words = ("md", "water.flex", "start.xyz", "--replicas", 3, "--steps", 20, "--frame-every", 10)
    assert run(*words, "--frame-replicas", 2, "--scalars-every", 5, "--output", "some") == 0
    assert run(*words, "--output", "all") == 0
    some, whole = (read_frames(Path(name, "trajectory.xyz")) for name in ("some", "all"))
    kept = whole.tags["replica"] < 2
    np.testing.assert_array_equal(some.positions, whole.positions[kept])
    np.testing.assert_array_equal(some.forces, whole.forces[kept])
    steps = {
        name: Path(name, "scalars.csv").read_text().splitlines()[1:] for name in ("some", "all")
    }
    assert len(steps["some"]) == 5 * 3
    assert [line for line in steps["some"] if int(line.split(",")[0]) % 10 == 0] == steps["all"]


def test_the_sizes_that_are_foretold_are_those_that_come(here, run, monkeypatch, capsys):
    monkeypatch.setattr(runs_folder, "LARGE_BYTES", 1)
    words = ("md", "water.flex", "start.xyz", "--replicas", 20, "--steps", 400, "--frame-every", 2)
    assert run(*words, "--output", "md") == 0
    line = next(line for line in capsys.readouterr().out.splitlines() if "will write" in line)
    told = dict(re.findall(r"(trajectory.xyz|scalars.csv) ([0-9.e-]+) GB", line))
    for name, gigabytes in told.items():
        there = Path("md", name).stat().st_size
        assert float(gigabytes) * 1e9 == pytest.approx(there, rel=0.12)
    assert len(told) == 2
    assert line in re.sub(r"^\S+ \S+ ", "", Path("md/log.txt").read_text(), flags=re.MULTILINE)


@pytest.mark.parametrize(("free", "says"), [(10**15, "this run"), (10**9, "warning: this run")])
def test_what_does_not_fit_on_the_disk_is_warned_of(tmp_path, monkeypatch, capsys, free, says):
    usage = namedtuple("usage", "total used free")(0, 0, free)
    monkeypatch.setattr(runs_folder.shutil, "disk_usage", lambda _: usage)
    here = OpenRun("md", tmp_path, echo=say)
    here.announce({"trajectory.xyz": 66 * 10**9, "scalars.csv": 4 * 10**9}, "write less")
    assert capsys.readouterr().out.startswith(
        f"{says} will write about 70 GB (trajectory.xyz 66 GB, scalars.csv 4 GB)"
    )
    here.announce({"trajectory.xyz": 5 * 10**8}, "write less")
    assert capsys.readouterr().out == ""


# ---------------------------------------------------------------- tables of PLUMED


def test_a_long_table_gives_every_nth_time_with_all_its_rows(tmp_path):
    rows = [f"{0.01 * time!r} {walker} {time + 0.25}" for time in range(50) for walker in range(3)]
    (tmp_path / "COLVAR").write_text("#! FIELDS time walker x\n" + "\n".join(rows) + "\n")
    whole = read_table(tmp_path / "COLVAR")
    assert len(whole["x"]) == 150
    some = read_table(tmp_path / "COLVAR", 60)
    kept = np.repeat(np.arange(50) % 3 == 0, 3)
    for name, column in whole.items():
        np.testing.assert_array_equal(some[name], column[kept])


def test_a_table_in_blocks_is_the_table_at_once(tmp_path, monkeypatch):
    head = "#! FIELDS time x\n"
    text = head + "".join(f"{n} {n / 7!r}\n" for n in range(40)) + head + "40 1.5\n41 2"
    (tmp_path / "COLVAR").write_text(text)
    whole = read_table(tmp_path / "COLVAR")
    monkeypatch.setattr("flexcalc.files.plumed.blocks_of_lines", lambda p: blocks_of_lines(p, 13))
    pieces = read_table(tmp_path / "COLVAR")
    assert len(whole["x"]) == 41
    some = read_table(tmp_path / "COLVAR", 21)
    for name in ("time", "x"):
        np.testing.assert_array_equal(pieces[name], whole[name])
        np.testing.assert_array_equal(some[name], whole[name][::3])


@pytest.mark.data
def test_rows_that_no_run_can_have_written_are_left_out_of_the_report(tmp_path):
    """A damaged number must not become an index, or memory for so many replicas."""
    path = tmp_path / "scalars.csv"
    (tmp_path / "run.toml").write_text("# flexcalc md\n")
    scalars(path, 20, np.random.default_rng(5))
    whole = section.read_scalars(RunFolder(tmp_path))
    names = path.read_text().partition("\n")[0].split(",")
    rows = dict.fromkeys(names, "1.0")
    with open(path, "a") as log:
        for name, value in [("replica", v) for v in ("nan", "-1", "1e18", "0.5", "inf")] + [
            ("conserved_eV", "nan"),
            ("temperature_K", "inf"),
        ]:
            log.write(",".join((rows | {"replica": "0", name: value}).values()) + "\n")
    folder = RunFolder(tmp_path)
    found = section.read_scalars(folder)
    assert (found.replicas, found.mean_K, found.lowest_eV) == (
        whole.replicas,
        whole.mean_K,
        whole.lowest_eV,
    )
    assert len(folder.problems) == 1
    assert "left out" in folder.problems[0]
