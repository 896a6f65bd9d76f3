"""Parts of a run: their messages and their progress are those of the run, however deep they are."""

from __future__ import annotations

import time
from functools import partialmethod

import pytest

from flexcalc import progress
from flexcalc.printing import say
from flexcalc.runs import RunFolder


@pytest.mark.parametrize("parts", [("round-1",), ("round-1", "label")])
def test_a_part_logs_its_progress_and_says_what_it_finds(tmp_path, capsys, monkeypatch, parts):
    always = partialmethod(progress.MinuteLog.__init__, every_s=1e-3)
    monkeypatch.setattr(
        progress, "MinuteLog", type("Always", (progress.MinuteLog,), {"__init__": always})
    )
    (tmp_path / "run").mkdir()
    inner = run = RunFolder("learn", tmp_path / "run", echo=say, progress=True)
    for name in parts:
        inner = inner.within(name)
    with inner.bar("label") as told:
        told(1, 30, "of a molecule")
        time.sleep(0.01)
        told(1, 30, "of a molecule")
    inner.say("labelled")
    inner.warn("of little use")
    printed, log = capsys.readouterr().out, (tmp_path / "run" / "log.txt").read_text()
    run.close()
    for line in ("label: 1 of 30", "labelled", "warning: of little use"):
        assert line in printed
        assert line in log
    assert not list((tmp_path / "run" / parts[0]).rglob("log.txt"))


def test_a_part_that_shows_no_progress_has_none_within(tmp_path):
    run = RunFolder("learn", tmp_path / "run", echo=say, progress=True)
    quiet = run.within("round-1")
    quiet.progress = False
    with quiet.within("label").bar("label") as told:
        assert told is progress.silent
    run.close()
