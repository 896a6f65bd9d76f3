"""Execute pages, each in a process and folder of its own, and keep what came of them.

A page is executed again when its text, the version or the sources of flexcalc, the example inputs
or the page that it continues has changed. `<!-- after: PAGE -->` on the first line of a page names
the one in whose folder it continues, such as `tutorials/first-force-field.md`.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import flexcalc
from docs.building.execute import blocks_of

ROOT = Path(__file__).parents[2]
AFTER = re.compile(r"<!-- after: (\S+) -->")
PAGE_TIME_S = 3600
"""A page that takes longer is taken to hang."""


class PageError(Exception):
    """A page could not be executed; the message has its block and its output."""


def page_before(text: str) -> str | None:
    """The page in whose folder a page continues."""
    found = AFTER.match(text)
    return found[1] if found else None


def has_blocks_to_run(text: str) -> bool:
    """Whether anything on a page is executed."""
    return any(block.runs for block in blocks_of(text))


def sources_digest() -> str:
    """A digest of the version and sources of flexcalc, the example inputs and the runner."""
    digest = hashlib.sha256(flexcalc.__version__.encode())
    folders = ((ROOT / "flexcalc", "*.py"), (ROOT / "inputs", "*"))
    files = [file for folder, names in folders for file in folder.rglob(names) if file.is_file()]
    for file in sorted([*files, Path(__file__).with_name("execute.py")]):
        digest.update(file.read_bytes())
    return digest.hexdigest()


def executed(
    pages: Mapping[str, str],
    cache: Path,
    jobs: int,
    say: Callable[[str], None] = print,
    *,
    forget: bool = True,
) -> dict[str, Path]:
    """Execute pages; the folder of each has page.md and its figures.

    Args:
        pages: path of a page -> its text.
        cache: folder of what was executed before.
        jobs: number of pages that run at the same time.
        say: is told of each page that was executed.
        forget: remove other pages from the cache.

    Raises:
        PageError: a block of a page failed, or a page continues one that is not there.
    """
    base = sources_digest()
    keys: dict[str, str] = {}

    def key_of(name: str) -> str:
        if name not in keys:
            before = page_before(pages[name])
            parts = [base, pages[name], key_of(before) if before else ""]
            keys[name] = hashlib.sha256("\n".join(parts).encode()).hexdigest()[:24]
        return keys[name]

    def run(name: str, first: Future | None) -> Path:
        place = cache / f"{Path(name).stem}-{key_of(name)}"
        before = first.result() if first else None
        if not (place / "output" / "page.md").exists():
            begun = time.monotonic()
            try:
                _execute(name, pages[name], place, before)
            except PageError as error:
                say(f"{name}: failed\n{error}")
                raise
            say(f"{name}: {time.monotonic() - begun:.0f} s")
        return place

    for name, text in pages.items():
        if (before := page_before(text)) and before not in pages:
            raise PageError(f"{name}: there is no page {before} with blocks to continue")
    futures: dict[str, Future] = {}
    waiting = sorted(pages, key=lambda name: page_before(pages[name]) is not None)
    with ThreadPoolExecutor(jobs) as pool:
        while waiting:
            name = waiting.pop(0)
            before = page_before(pages[name])
            if before and before not in futures:
                waiting.append(name)
                continue
            futures[name] = pool.submit(run, name, futures[before] if before else None)
    failures = {str(error) for future in futures.values() if (error := future.exception())}
    if failures:
        raise PageError(f"{len(failures)} pages failed")
    places = {name: future.result() for name, future in futures.items()}
    if forget:
        _forget(cache, set(places.values()))
    return {name: place / "output" for name, place in places.items()}


def _execute(name: str, text: str, place: Path, before: Path | None) -> None:
    """Execute one page in a new folder, and keep that folder where it succeeded."""
    with tempfile.TemporaryDirectory(prefix="flexcalc-docs-") as temporary:
        work, output = Path(temporary) / "folder", Path(temporary) / "output"
        output.mkdir()
        if before:
            shutil.copytree(before / "folder", work)
        else:
            work.mkdir()
        job = {"text": text, "name": Path(name).stem, "folder": str(work), "output": str(output)}
        words = [sys.executable, "-P", str(Path(__file__).with_name("execute.py"))]
        try:
            done = subprocess.run(
                words,
                input=json.dumps(job),
                env=_environment(),
                capture_output=True,
                text=True,
                timeout=PAGE_TIME_S,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise PageError(f"{name}: not done after {PAGE_TIME_S} s") from None
        if done.returncode:
            raise PageError(done.stderr.strip()[-6000:])
        shutil.rmtree(place, ignore_errors=True)
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(temporary, place)


def _environment() -> dict[str, str]:
    """Of a user: the programs of this Python first, one thread, and a fixed width."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    settings = {"PATH": path, "OMP_NUM_THREADS": "1", "COLUMNS": "88", "MPLBACKEND": "agg"}
    return {**os.environ, **settings, "NO_COLOR": "1", "PYTHONPATH": str(ROOT)}


def _forget(cache: Path, used: set[Path]) -> None:
    """Remove what earlier versions of pages left in the cache."""
    for entry in cache.iterdir() if cache.exists() else ():
        if entry not in used:
            shutil.rmtree(entry, ignore_errors=True)
