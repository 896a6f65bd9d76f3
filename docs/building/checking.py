"""What must hold of the site: links, pages for everything public, nothing from the network."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import flexcalc
from docs.building import reference
from flexcalc.registry import FAMILIES

LOADED = {"script": "src", "img": "src", "link": "href", "iframe": "src", "source": "src"}
"""Elements that make a browser fetch something, and where they say what."""


class _Links(HTMLParser):
    """The links, anchors and loaded files of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.anchors: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keep what one element says."""
        given = {name: value or "" for name, value in attrs}
        self.anchors |= {given[name] for name in ("id", "name") if name in given}
        if tag == "a" and "href" in given:
            self.links.append(given["href"])
        if (
            tag in LOADED
            and LOADED[tag] in given
            and given.get("rel") not in ("canonical", "prev", "next")
        ):
            self.loaded.append(given[LOADED[tag]])


def faults(site: Path) -> list[str]:
    """Everything that is wrong with a built site, a line for each."""
    return [*missing_pages(site), *broken_links(site), *from_network(site), *without_text()]


def missing_pages(site: Path) -> Iterator[str]:
    """Public names, commands and families without a page."""
    wanted = {f"python/{name}.html": f"flexcalc.{name}" for name in flexcalc.__all__}
    wanted |= {f"commands/{name}.html": f"flexcalc {name}" for name in reference.COMMANDS}
    wanted |= {f"hyperparameters/{name}.html": f"the family {name}" for name in FAMILIES}
    for page, name in wanted.items():
        if not (site / page).is_file():
            yield f"{name} has no page"


def without_text() -> Iterator[str]:
    """Options and hyperparameters without a description."""
    for name in reference.undescribed():
        yield f"{name} has no description"


def broken_links(site: Path) -> Iterator[str]:
    """Links and pictures that lead to no file, or to no heading."""
    pages = {file.resolve(): _parsed(file) for file in sorted(site.rglob("*.html"))}
    for file, page in pages.items():
        for link in dict.fromkeys([*page.links, *page.loaded]):
            split = urlsplit(link)
            if split.scheme or split.netloc:
                continue
            target = (file.parent / unquote(split.path)).resolve() if split.path else file
            target = target / "index.html" if target.is_dir() else target
            if not target.is_file():
                yield f"{file.relative_to(site.resolve())}: no file {link}"
            elif split.fragment and unquote(split.fragment) not in pages[target].anchors:
                yield f"{file.relative_to(site.resolve())}: no heading {link}"


def from_network(site: Path) -> Iterator[str]:
    """Scripts, styles, fonts and pictures that would be fetched from elsewhere."""
    for file in sorted(site.rglob("*.html")):
        for link in _parsed(file).loaded:
            if urlsplit(link).netloc:
                yield f"{file.relative_to(site)}: fetches {link}"
    for file in sorted(site.rglob("*.css")):
        for link in re.findall(r"url\(\s*[\"']?(https?:)?//[^)]*", file.read_text()):
            yield f"{file.relative_to(site)}: fetches {link}"


def _parsed(file: Path) -> _Links:
    links = _Links()
    links.feed(file.read_text())
    return links
