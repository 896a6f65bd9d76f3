"""What is said of long work, and where nothing is."""

import sys
import time

import pytest

from flexcalc.progress import waiting


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
