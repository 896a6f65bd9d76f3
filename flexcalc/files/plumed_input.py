"""Safety check of a PLUMED input of others: actions that run code or write elsewhere.

PLUMED's actions can load libraries, start programs and write wherever a file name points. What
may stand in an input without its user's trust is therefore an allow-list (`plumed_actions`): of
actions, and of the keywords that name a file to read. All other values that could be paths must
stay in the folder in which PLUMED runs.

The text is taken apart here exactly as PLUMED does (getParsedLine, getWords and interpretLabel in
its `tools/Tools.cpp`, versions 2.8 to 2.11), for what is a comment, a continuation or a brace
decides what is an action.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

from flexcalc.errors import InputError
from flexcalc.files.plumed_actions import EXPRESSIONS, HARMLESS, READ, READ_ANYWHERE, TRUSTED
from flexcalc.storage import read_file

LARGEST_INPUT = 16 << 20
"""Bytes; a longer input is refused before it is read."""

NUMBERED_READ = re.compile(rf"(?:{READ_ANYWHERE})\d*")
NUMBERED_EXPRESSION = re.compile(rf"(?:{EXPRESSIONS})\d*")
PLAIN_LABEL = re.compile(r"[^\s/{}=,:]*")
NUMBER_FORMAT = re.compile(r"%%|%[-+ 0#]*\d{0,3}(?:\.\d{1,3})?l?[aAeEfFgG]")
"""What printf makes of one number; any other directive would reach for what is not there."""
SELECTION = re.compile(r"@(mda|mdt|vmd|vmdexec):", re.IGNORECASE)
"""Atoms that MOLINFO has a Python program choose, which PLUMED starts by a shell."""
SHELL_SAFE = re.compile(r"[\w./+][\w./+-]*")

Exists = Callable[[str], bool]


def check_plumed_input(
    text: str,
    folder: Path | str,
    trust: bool = False,
    *,
    name: str = "plumed.dat",
    exists: Exists | None = None,
) -> None:
    """Make sure that an input of PLUMED runs no code of others and writes only in its folder.

    Files that it includes are checked too. What it reads may lie anywhere.

    Args:
        text: the input, with nothing left to be filled in.
        folder: in which PLUMED is going to run, so that relative names are looked for there; it
            need not exist yet.
        trust: whether the user trusts the input; then nothing is checked.
        name: of the input, for messages.
        exists: tells whether PLUMED has an action of that name. One that is unknown here and not
            PLUMED's either is left to PLUMED to refuse; without `exists` it is refused here.

    Raises:
        InputError: it needs trust, or cannot be read; names the line.
    """
    if not trust:
        _Check(Path(folder), exists or (lambda action: True)).text(text, name, ())


def read_plumed_input(path: Path | str) -> str:
    """The text of an input.

    Raises:
        InputError: not a file, too long, or not text.
    """
    path = Path(path)
    try:
        return read_file(path, LARGEST_INPUT).decode("utf-8-sig").replace("\r\n", "\n")
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read: {error}") from None


class _Check:
    """The rules for one folder."""

    def __init__(self, folder: Path, exists: Exists):
        self.folder, self.exists = os.path.realpath(folder), exists

    def text(self, text: str, name: str, within: tuple[str, ...]) -> None:
        """Check a text that is included by the files `within`."""
        text = text.replace("\r\n", "\n")
        control = re.search(r"[\x00-\x08\x0b-\x1f\x7f]", text)
        if control:
            raise InputError(f"{name}: expected text, found the character {control[0]!r}")
        for number, words in _statements(text, name):
            label, action, rest = _interpreted(words)
            if action == "ENDPLUMED":
                return
            try:
                self._statement(label, action, rest)
            except _NeedsTrustError as error:
                raise InputError(
                    f"{name}: line {number}: {action[:40]} {error}; if you trust this input, say "
                    "so: trust = true in the run file, or --trust"
                ) from None
            if action == "INCLUDE":
                self._included(rest, f"{name}: line {number}", within)

    def _statement(self, label: str, action: str, rest: list[str]) -> None:
        if action in TRUSTED:
            raise _NeedsTrustError(TRUSTED[action])
        if action not in HARMLESS:
            if not re.fullmatch(r"[A-Z0-9_-]+", action) or self.exists(action):
                raise _NeedsTrustError("is not among the actions that flexcalc knows as harmless")
            return
        for word in (f"LABEL={label}", *rest):
            self._word(action, word)

    def _word(self, action: str, word: str) -> None:
        key, equals, value = word.partition("=")
        key = key.upper() if equals else ""
        value = value if equals else word
        bare = re.sub("[{}]", "", word)
        for piece in (*_pieces(word), *_pieces(bare)):
            if piece.upper() in TRUSTED:
                raise _NeedsTrustError(f"has {piece} in {word[:60]!r}, which may run code")
        if "%" in NUMBER_FORMAT.sub("", bare):
            raise _NeedsTrustError(f"expects the format of one number, found {word[:60]!r}")
        if key == "LABEL" and not PLAIN_LABEL.fullmatch(value):
            raise _NeedsTrustError(f"has a label that is no plain name, {value[:60]!r}")
        if key == "PYTHON_BIN" or SELECTION.search(bare):
            raise _NeedsTrustError(f"starts another program by {word[:60]!r}")
        if key == "STRUCTURE" and action == "MOLINFO" and not SHELL_SAFE.fullmatch(value):
            raise _NeedsTrustError(f"has a STRUCTURE that is no plain file name, {value[:60]!r}")
        if NUMBERED_READ.fullmatch(key) or (action, key) in READ:
            return
        if not NUMBERED_EXPRESSION.fullmatch(key):
            for place in (value, *_pieces(word), *_pieces(bare)):
                if not self._inside(place):
                    raise _NeedsTrustError(
                        f"could write outside the run folder by {word[:60]!r} (a file that is only "
                        "read may lie anywhere where flexcalc knows its keyword)"
                    )

    def _inside(self, place: str) -> bool:
        """Whether a path stays in the folder, links followed."""
        found = os.path.realpath(os.path.join(self.folder, place))
        return place == "/dev/null" or found == self.folder or found.startswith(self.folder + "/")

    def _included(self, rest: list[str], where: str, within: tuple[str, ...]) -> None:
        names = [word[5:] for word in rest if word.upper().startswith("FILE=")]
        for name in names:
            if name.startswith("@") or name.endswith(".gz"):
                raise InputError(
                    f"{where}: INCLUDE: expected the name of a plain file, found {name[:60]!r}"
                )
            for path in _variants(Path(self.folder, name)):
                real = os.path.realpath(path)
                if real in within:
                    raise InputError(f"{where}: INCLUDE: {name} includes itself")
                self.text(read_plumed_input(path), f"{where}: {name}", (*within, real))


class _NeedsTrustError(Exception):
    """What of a statement needs trust; follows the name of the action."""


def _pieces(word: str) -> list[str]:
    """What PLUMED could take out of a word once it looks into it."""
    return [piece for piece in re.split(r"[\s{}(),:=]+", word) if piece]


def _variants(path: Path) -> list[Path]:
    """The file, and those of single replicas (a.0.dat for a.dat), which PLUMED prefers."""
    numbered = re.compile(
        rf"{re.escape(path.stem)}\.\d+{re.escape(path.suffix)}|{re.escape(path.name)}\.\d+"
    )
    try:
        siblings = sorted(one for one in os.listdir(path.parent) if numbered.fullmatch(one))
    except OSError:
        siblings = []
    return [*([path] if path.exists() or not siblings else []), *map(path.with_name, siblings)]


def _interpreted(words: list[str]) -> tuple[str, str, list[str]]:
    """Label, action and the other words of a statement."""
    label = ""
    if len(words) > 1 and words[0].endswith(":"):
        label, words = words[0][:-1], words[1:]
    return label, words[0].upper(), words[1:]


def _statements(text: str, name: str) -> Iterator[tuple[int, list[str]]]:
    """The statements of an input: the line where each begins, and its words.

    Raises:
        InputError: braces or continuations do not fit together.
    """
    words: list[str] = []
    first, level, inside, merged = 0, 0, False, False
    for number, whole in enumerate(text.split("\n"), start=1):
        line = whole.partition("#")[0].rstrip(" \t")
        if not line:
            continue
        found, level = _words(line, level, f"{name}: line {number}")
        first = first if words else number
        if found and inside and found[0] == "...":
            if len(found) > 2:
                raise InputError(f"{name}: line {number}: expected nothing after '...' and a name")
            found, inside = [], False
        elif found and found[-1] == "...":
            found, inside = found[:-1], True
        if merged and words and found:
            words[-1] += " " + found.pop(0)
        words += found
        merged = level > 0
        if inside:
            continue
        if level:
            raise InputError(f"{name}: line {number}: a brace {{ is not closed")
        if words:
            yield first, words
        words = []
    if level:
        raise InputError(f"{name}: line {first}: a brace {{ is not closed")
    if words:
        yield first, words


def _words(line: str, level: int, where: str) -> tuple[list[str], int]:
    """The words of a line that begins inside `level` braces, and the level at its end.

    The outermost braces hold a word together and go; those within stay in it.
    """
    words, word = [], ""
    for letter in line:
        level -= letter == "}"
        if level < 0:
            raise InputError(f"{where}: a brace }} closes nothing")
        if level or letter not in " \t{}":
            word += letter
        elif letter in " \t" and word:
            words.append(word)
            word = ""
        level += letter == "{"
    return [*words, word] if word else words, level
