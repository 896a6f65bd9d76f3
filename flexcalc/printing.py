"""Printing to the terminal; all output goes through this module.

Texts may come from files of others: an escape sequence in the tags of a dataset could overwrite the
terminal, change its title, or make it type commands.
"""

from __future__ import annotations

import sys


def printable(text: str) -> str:
    """Text as one line that only moves the cursor on: every other character as its escape."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def say(text: str) -> None:
    """Print one line on standard output."""
    print(_encodable(printable(text), sys.stdout.encoding), flush=True)


def complain(text: str) -> None:
    """Print one line on standard error, after our name."""
    line = printable(text)
    print(f"flexcalc: {_encodable(line, sys.stderr.encoding)}", file=sys.stderr, flush=True)


def _encodable(text: str, encoding: str | None) -> str:
    """Text of which a terminal without Unicode shows the escapes of what it does not have."""
    code = encoding or "utf-8"
    return text.encode(code, "backslashreplace").decode(code)
