"""What is said of long work, and where nothing is."""

import io
import re
import sys
import time

import pytest

from flexcalc.progress import MinuteLog, Pace, bar, terminal_line, waiting


@pytest.mark.parametrize(
    ("terminal", "seconds", "said"), [(True, 0.5, True), (True, 0.0, False), (False, 0.5, False)]
)
def test_what_takes_long_is_said_on_a_terminal_alone(monkeypatch, capsys, terminal, seconds, said):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal)
    with waiting("compiling", patience_s=0.1):
        time.sleep(seconds)
    time.sleep(0.2)
    out, err = capsys.readouterr()
    assert (out, err) == ("", "flexcalc: compiling\n" if said else "")


@pytest.fixture
def minutes():
    """Progress on a clock that a test turns, and what it said."""
    hand, said = [0.0], []
    progress = MinuteLog("train gap", said.append, clock=lambda: hand[0])

    def at(seconds, *told):
        hand[0] = seconds
        progress(*told)
        return said

    return at


def test_without_a_terminal_a_line_a_minute_says_what_is_left(minutes):
    assert minutes(0.0, 0, 200) == []
    assert minutes(30.0, 10, 200) == []
    line = "train gap: 20 of 200, 3 s each, about 9 min left; F 1.2"
    assert minutes(60.0, 20, 200, "F 1.2")[-1] == line
    assert len(minutes(100.0, 30, 200)) == 1
    assert minutes(7200.0, 100, 200)[-1] == "train gap: 100 of 200, 72 s each, about 2 h left"
    assert minutes(9000.0, 199, 200)[-1] == "train gap: 199 of 200, 45 s each, about 45 s left"


def test_what_was_done_before_a_restart_is_not_taken_for_fast(minutes):
    minutes(0.0, 900, 1000)
    assert "910 of 1000, 6 s each, about 9 min left" in minutes(60.0, 910, 1000)[-1]


def test_a_count_that_starts_again_is_reckoned_anew(minutes):
    minutes(0.0, 0, 10)
    minutes(60.0, 9, 10)
    minutes(100.0, 0, 10)
    assert minutes(160.0, 2, 10)[-1] == "train gap: 2 of 10, 30 s each, about 4 min left"


def test_nothing_is_said_of_the_rest_before_anything_is_done(minutes):
    minutes(0.0, 0, 10)
    assert minutes(61.0, 0, 10)[-1] == "train gap: 0 of 10, the last 61 s ago"


def test_many_in_a_second_are_counted_by_the_second(minutes):
    minutes(0.0, 0, 10**6)
    assert minutes(60.0, 74_040, 10**6)[-1].startswith("train gap: 74040 of 1000000, 1234/s, ")


def test_a_bar_without_a_terminal_is_silent_for_a_minute(capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: False)
    said = []
    with bar("train", said.append) as progress:
        progress(1, 2, "")
    assert said == []
    assert capsys.readouterr() == ("", "")


def wait_for(said, count):
    for _ in range(1000):
        if len(said) >= count:
            return
        time.sleep(0.01)


def test_a_step_that_takes_long_is_told_of_although_it_does_not_call():
    said = []
    lines = MinuteLog("label", said.append, every_s=0.02)
    with lines.ticking():
        wait_for(said, 1)
        assert re.fullmatch(r"label: \d+ s so far", said[0])
        lines(3, 10, "2 failed")
        said.clear()
        wait_for(said, 2)
    assert said[-1] == "label: 3 of 10, the last 0 s ago; 2 failed"


def test_a_line_that_cannot_be_written_ends_the_work():
    def full(line):
        raise OSError("no space left")

    lines = MinuteLog("label", full, every_s=0.01)
    with pytest.raises(OSError, match="no space left"), lines.ticking():
        time.sleep(0.2)


LONG_WORK = [
    ("train bpnn", 1234, 3000, "F 0.512 kcal/mol/A, E 0.301 kcal/mol, step 1.0e-04"),
    ("train sgdml", 950, 3000, "force RMSE 0.71 kcal/mol/A"),
    ("train round 12", 950, 3000, "residual 1.2e-04 after 123 steps"),
    ("label", 12_345, 20_000, "123 in quarantine"),
    ("sample 1/2", 123_456, 1_000_000, "500 K"),
    ("conformers", 17, 50, "lowest -812.345 eV"),
    ("path", 123, 1000, "barrier 17.93 kcal/mol, force 0.123 eV/A"),
    ("relabel", 3, 21, ""),
    ("saddle", 12, 300, "force 0.123 eV/A"),
    ("Hessian of saddle-1", 12, 144, "displacements"),
    ("md", 123_456_780, 1_000_000_000, "300 K, 1.23e+03 ns/day"),
    ("metad", 1_234_560, 10_000_000, "hill 0.012 kcal/mol, walker 0 at -123.4, 23.3, 12 ns/day"),
    ("umbrella", 1_234_560, 10_000_000, "settling, 300 K, 1.23 ns/day"),
    ("evaluate 1/3", 1234, 100_000, ""),
    ("i-PI", 12_345, 1_000_000, "298 K"),
    ("crash test of the reference", 12_345, 1_000_000, "31 of 32 whole"),
    ("learning", 12, 160, "glycolaldehyde-hydrogen-transfer: sGDML, 1000 points, fold 3"),
]


@pytest.mark.parametrize(("title", "done", "total", "note"), LONG_WORK)
def test_step_speed_and_time_left_are_readable_in_80_columns(title, done, total, note):
    rich = pytest.importorskip("rich.console")
    text = pytest.importorskip("rich.text")
    hand = [0.0]
    pace = Pace(lambda: hand[0])
    pace.update(0, total, note)
    hand[0] = 4000.0
    pace.update(done, total, note)
    console = rich.Console(width=80, file=io.StringIO(), force_terminal=False)
    pieces = terminal_line(title, pace, console.width)
    console.print(text.Text.assemble(*pieces, no_wrap=True, overflow="crop"))
    (line,) = console.file.getvalue().splitlines()
    assert title[:12] in line
    assert f"{done}/{total}" in line
    assert re.search(r"[\d.]+/s|\d+ (s|min) each", line)
    assert re.search(r"\d (s|min|h) left", line)
    assert note[:7] in line


def test_what_matters_less_goes_first_as_the_terminal_narrows():
    hand = [0.0]
    pace = Pace(lambda: hand[0])
    pace.update(0, 1000, "")
    hand[0] = 100.0
    pace.update(100, 1000, "barrier 17.93 kcal/mol, force 0.123 eV/A")

    def line(width):
        text = "".join(text for text, _ in terminal_line("path", pace, width))
        assert len(text) <= width
        return text

    must = "path  100/1000  1 s each  15 min left"
    assert line(140) == (
        f"path  ━━━━━━━━━━━━━━━━━━━━━━━━  {must[6:]}  2 min so far  "
        "barrier 17.93 kcal/mol, force 0.123 eV/A"
    )
    assert line(93) == f"{must}  2 min so far  barrier 17.93 kcal/mol, force 0.123 eV/A"
    assert line(80) == f"{must}  barrier 17.93 kcal/mol, force 0.123 eV/A"
    assert line(70) == f"{must}  barrier 17.93 kcal/mol"
    assert line(50) == f"{must}  barrier 17…"
