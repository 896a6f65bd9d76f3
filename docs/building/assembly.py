"""The pages of the site, from docs/pages, from files of the repository and from flexcalc itself."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from docs.building import reference
from docs.building.execute import without_running
from docs.building.gallery import write_gallery
from docs.building.mathematics import with_mathml
from docs.building.running import AFTER

ROOT = Path(__file__).parents[2]
PAGES = ROOT / "docs" / "pages"

COPIED = {
    "RESULTS.md": "results/lab-book.md",
    "CHANGELOG.md": "about/changelog.md",
    "CONTRIBUTING.md": "about/contributing.md",
    "inputs/README.md": "reference/inputs.md",
    "drivers/README.md": "reference/i-pi-drivers.md",
}
"""Files of the repository that are pages too."""

TITLES = {
    "RESULTS.md": "Lab book",
    "inputs/README.md": "Example inputs",
    "drivers/README.md": "i-PI drivers",
}
"""Titles of copied pages that have a short one of their own."""

NOISE = re.compile(r"^[a-z][\w/ -]*: \d+ of \d+, .*\n", re.MULTILINE)
"""Lines of output that pages leave out: progress, which a command without a terminal prints once a
minute."""

LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)\s]+)\)")


def written_pages() -> dict[str, str]:
    """The pages of docs/pages, as they were written."""
    files = sorted(PAGES.rglob("*.md"))
    return {file.relative_to(PAGES).as_posix(): file.read_text() for file in files}


def copied_pages() -> dict[str, str]:
    """The pages that are files of the repository."""
    return {place: _relinked(name, place) for name, place in COPIED.items()}


def _relinked(name: str, place: str) -> str:
    """A file of the repository; of its links those to pages of the site stay links."""
    text = (ROOT / name).read_text()
    if name in TITLES:
        text = re.sub(r"\A# .*", f"# {TITLES[name]}", text)

    def relink(match: re.Match) -> str:
        mark, words, target = match.groups()
        if "://" in target or target.startswith("#"):
            return match[0]
        path, _, anchor = target.partition("#")
        found = os.path.normpath((PurePosixPath(name).parent / path).as_posix())
        page = COPIED.get(found) or _page_of(found)
        if page is None:
            return words if mark else f"`{words.strip('`')}`"
        relative = os.path.relpath(page, PurePosixPath(place).parent)
        return f"{mark}[{words}]({relative}{'#' + anchor if anchor else ''})"

    return LINK.sub(relink, text)


def _page_of(file: str) -> str | None:
    """The page of a file of the repository."""
    if file.startswith("docs/pages/"):
        return file.removeprefix("docs/pages/")
    return "index.md" if file == "README.md" else None


def assemble(folder: Path, executed: Mapping[str, Path] | None) -> None:
    """Write all pages into a folder, ready for mkdocs.

    Args:
        folder: where to write; what is there is replaced.
        executed: page -> folder of its executed form and figures; None for pages without output.
    """
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(PAGES, folder)
    written = written_pages()
    for name, text in {**written, **copied_pages(), **reference.pages()}.items():
        place = folder / name
        place.parent.mkdir(parents=True, exist_ok=True)
        if executed and name in executed:
            for file in executed[name].glob("*.svg"):
                shutil.copy(file, place.parent)
            text = NOISE.sub("", (executed[name] / "page.md").read_text())
        elif name in written:
            text = without_running(text)
        text = AFTER.sub("", text).lstrip()  # mkdocs looks for the title on the first line
        place.write_text(with_mathml(text) if name in written else text)
    write_gallery(folder, executed)


def settings(pages: Path, site: Path) -> dict[str, Any]:
    """The settings of mkdocs, with the generated pages in the navigation."""
    found = yaml.safe_load((ROOT / "docs" / "mkdocs.yml").read_text())
    found |= {"docs_dir": str(pages), "site_dir": str(site)}
    found["nav"] = _filled(found["nav"], pages)
    return found


def _filled(entries: Iterable[Any], pages: Path) -> list[Any]:
    """The navigation with folders in place of their names in capitals."""
    filled: list[Any] = []
    for entry in entries:
        if isinstance(entry, str):
            filled.append(entry)
            continue
        ((title, inner),) = entry.items()
        if isinstance(inner, list):
            inner = _filled(inner, pages)
        elif inner.isupper():
            inner = _folder(inner.lower(), pages)
        filled.append({title: inner})
    return filled


def _folder(name: str, pages: Path) -> list[Any]:
    """The pages of a folder: its index, those that it links to in their order, and all others."""
    index = pages / name / "index.md"
    files = sorted((pages / name).rglob("*.md"), key=lambda file: file.as_posix().lower())
    order = [target for _, _, target in LINK.findall(index.read_text())] if index.exists() else []
    known = {file.relative_to(pages / name).as_posix() for file in files}
    first = [target for target in dict.fromkeys(order) if target in known]
    rest = [file for file in files if file.relative_to(pages / name).as_posix() not in first]
    chosen = [*first, *(file.relative_to(pages / name).as_posix() for file in rest)]
    chosen = ["index.md"] * index.exists() + [entry for entry in chosen if entry != "index.md"]
    return [f"{name}/{entry}" if name == "about" else _titled(name, entry) for entry in chosen]


def _titled(name: str, entry: str) -> Any:
    """An entry of the navigation; a command, function or family is its own title."""
    place = f"{name}/{entry}"
    generated = name in ("commands", "python", "hyperparameters") and entry != "index.md"
    return {PurePosixPath(entry).stem: place} if generated else place
