"""Execute the blocks of a page, and write the page with their output and figures.

A page is Markdown. Its blocks run in order, in one folder:

- ```` ```python ````: in one namespace for the page; what it prints is shown below it, and so are
  matplotlib's figures, with `figure="..."` as the text for those who do not see the picture.
- ```` ```console ````: each line that begins with `$ ` is a command; its output follows it. With
  `head=N` only the first N lines of each output are shown; with `exit=N` the last exit code must
  be N.
- ```` ```python check ````: as python, but not shown: it asserts the figures that the text states.
- any block with `title="NAME"` is written to the file NAME and shown, and not executed.
- all other blocks, such as `sh` and `text`, are shown alone.

It is started as a script of its own, so that a page has a process of its own.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import subprocess
import sys
import traceback
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FENCE = re.compile(r"^```(\w+)([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
OPTION = re.compile(r'(\w+)=(?:"([^"]*)"|(\S+))')

ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
"""Colours and movements of the cursor in the output of a command."""


class BlockError(Exception):
    """A block of a page failed; the message has the page, the block and its output."""


@dataclass(frozen=True)
class Block:
    """A fenced block of a page.

    Args:
        language: the first word of the fence.
        words: the other words of the fence, such as `check`.
        options: the options of the fence, such as `title`.
        text: what stands in the block.
    """

    language: str
    words: frozenset[str]
    options: dict[str, str]
    text: str

    @classmethod
    def parse(cls, match: re.Match) -> Block:
        """The block of a match of FENCE."""
        language, rest, text = match.groups()
        options = {name: quoted or plain for name, quoted, plain in OPTION.findall(rest)}
        return cls(language, frozenset(OPTION.sub("", rest).split()), options, text)

    @property
    def hidden(self) -> bool:
        """Whether the page does not show it."""
        return "check" in self.words

    @property
    def runs(self) -> bool:
        """Whether it is executed."""
        return self.language in ("python", "console") and "title" not in self.options

    def shown(self) -> str:
        """The block as the site shows it, without output."""
        if self.hidden:
            return ""
        title = f' title="{self.options["title"]}"' if "title" in self.options else ""
        return f"```{self.language}{title}\n{self.text}```\n"


def blocks_of(page: str) -> list[Block]:
    """The blocks of a page, in their order."""
    return [Block.parse(match) for match in FENCE.finditer(page)]


def without_running(page: str) -> str:
    """A page as the site shows it, without output."""
    return FENCE.sub(lambda match: Block.parse(match).shown(), page)


class Runner:
    """Executes the blocks of one page.

    Args:
        folder: where the blocks run.
        pictures: folder of the figures that they draw.
        name: of the page, in messages and in the names of figures.
    """

    def __init__(self, folder: Path, pictures: Path, name: str):
        self.folder, self.pictures, self.name = folder, pictures, name
        self.namespace: dict[str, Any] = {"__name__": "__main__"}
        self.figures = 0

    def page(self, text: str) -> str:
        """The text with all blocks executed.

        Raises:
            BlockError: a block failed.
        """
        return FENCE.sub(lambda match: self.block(Block.parse(match)), text)

    def block(self, block: Block) -> str:
        """Execute a block; what the page shows of it."""
        if "title" in block.options:
            (self.folder / block.options["title"]).write_text(block.text)
        if not block.runs:
            return block.shown()
        return self._console(block) if block.language == "console" else self._python(block)

    def _python(self, block: Block) -> str:
        output = io.StringIO()
        try:
            with contextlib.redirect_stdout(output), warnings.catch_warnings():
                warnings.simplefilter("default")
                warnings.showwarning = _show_warning(output)
                exec(compile(block.text, f"<{self.name}>", "exec"), self.namespace)
        except BaseException:
            error = traceback.format_exc(limit=-3)
            raise BlockError(f"{self.name}:\n{block.text}\n{output.getvalue()}\n{error}") from None
        if block.hidden:
            return ""
        return block.shown() + self._output(output.getvalue()) + self._drawn(block)

    def _output(self, text: str) -> str:
        text = self._clean(text)
        return f"\n```{{ .text .output }}\n{text}```\n" if text.strip() else ""

    def _clean(self, text: str) -> str:
        """Output without escape sequences, overwritten lines and the folder of this machine."""
        text = ESCAPES.sub("", text).replace(f"{self.folder}/", "").replace(str(self.folder), ".")
        lines = [
            line.rpartition("\r")[2].rstrip() for line in text.replace("\r\n", "\n").split("\n")
        ]
        return "\n".join(lines).strip("\n") + "\n"

    def _drawn(self, block: Block) -> str:
        """The open figures of matplotlib, as pictures of the page."""
        if "matplotlib.pyplot" not in sys.modules:
            return ""
        import matplotlib.pyplot as plt

        shown = ""
        for number in plt.get_fignums():
            if "figure" not in block.options:
                raise BlockError(
                    f'{self.name}: a block draws and has no figure="...":\n{block.text}'
                )
            self.figures += 1
            file = self.pictures / f"{self.name}-{self.figures}.svg"
            plt.figure(number).savefig(file, bbox_inches="tight", metadata={"Date": None})
            shown += f"\n![{block.options['figure']}]({file.name}){{ .drawn }}\n"
        plt.close("all")
        return shown

    def _console(self, block: Block) -> str:
        shown = []
        commands = re.findall(r"^\$ (.*(?:\\\n.*)*)$", block.text, re.MULTILINE)
        for number, command in enumerate(commands):
            done = subprocess.run(
                ["bash", "-c", command],
                cwd=self.folder,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                check=False,
            )
            last = number == len(commands) - 1
            expected = int(block.options.get("exit", 0)) if last else 0
            if done.returncode != expected:
                raise BlockError(
                    f"{self.name}: exit code {done.returncode} instead of {expected}:\n"
                    f"$ {command}\n{done.stdout}"
                )
            output = self._clean(done.stdout) if done.stdout.strip() else ""
            shown.append(f"$ {command}\n{_head(output, block.options.get('head'))}")
        return "" if block.hidden else "```console\n" + "".join(shown) + "```\n"


def _head(output: str, most: str | None) -> str:
    """The first lines of an output, and a line for the rest."""
    lines = output.splitlines(keepends=True)
    if most is None or len(lines) <= int(most):
        return output
    return "".join(lines[: int(most)]) + f"... ({len(lines) - int(most)} more lines)\n"


def _show_warning(output: io.StringIO) -> Any:
    def show(message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
        if not issubclass(category, DeprecationWarning | ResourceWarning):
            output.write(f"{category.__name__}: {message}\n")

    return show


def main() -> None:
    """Execute one page: JSON with page, name, folder and output folder is on standard input."""
    job = json.loads(sys.stdin.read())
    folder, output = Path(job["folder"]), Path(job["output"])
    os.chdir(folder)
    sys.path.insert(0, str(folder))
    try:
        text = Runner(folder, output, job["name"]).page(job["text"])
    except BlockError as error:
        sys.exit(str(error))
    (output / "page.md").write_text(text)


if __name__ == "__main__":
    main()
