"""What is said of long work, and where nothing is."""

import sys
import time

import pytest

from flexcalc.progress import bar, now_and_then, waiting


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
    progress = now_and_then("train gap", said.append, clock=lambda: hand[0])

    def at(seconds, *told):
        hand[0] = seconds
        progress(*told)
        return said

    return at


def test_without_a_terminal_a_line_a_minute_says_what_is_left(minutes):
    assert minutes(0.0, 0, 200) == []
    assert minutes(30.0, 10, 200) == []
    assert minutes(60.0, 20, 200, "F 1.2")[-1] == "train gap: 20 of 200, about 9 min left; F 1.2"
    assert len(minutes(100.0, 30, 200)) == 1
    assert minutes(7200.0, 100, 200)[-1] == "train gap: 100 of 200, about 2 h left"
    assert minutes(9000.0, 199, 200)[-1] == "train gap: 199 of 200, about 45 s left"


def test_what_was_done_before_a_restart_is_not_taken_for_fast(minutes):
    minutes(0.0, 900, 1000)
    assert minutes(60.0, 910, 1000)[-1] == "train gap: 910 of 1000, about 9 min left"


def test_a_count_that_starts_again_is_reckoned_anew(minutes):
    minutes(0.0, 0, 10)
    minutes(60.0, 9, 10)
    minutes(100.0, 0, 10)
    assert minutes(160.0, 2, 10)[-1] == "train gap: 2 of 10, about 4 min left"


def test_nothing_is_said_of_the_rest_before_anything_is_done(minutes):
    minutes(0.0, 0, 10)
    assert minutes(61.0, 0, 10)[-1] == "train gap: 0 of 10"


def test_a_bar_without_a_terminal_is_silent_for_a_minute(capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: False)
    said = []
    with bar("train", said.append) as progress:
        progress(1, 2, "")
    assert said == []
    assert capsys.readouterr() == ("", "")
