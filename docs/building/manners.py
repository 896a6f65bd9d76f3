"""Manners of pages in a browser: `python -m docs.building.manners PAGES...` checks reports.

Of each page: no error on the console, nothing fetched from elsewhere, no serious or critical fault
that axe-core finds (https://github.com/dequelabs/axe-core), light and dark; in a narrow window
nothing is cut; the keyboard reaches every control, and the focus can be seen; on paper nothing is
folded, cut or dark. Needs Chromium, and axe-core as `npm install --no-save axe-core` leaves it.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from docs.building.browser import Browser, PageFailedError, find_chromium

ROOT = Path(__file__).parents[2]
AXE = Path("node_modules/axe-core/axe.min.js")
OWN = Path(__file__).with_name("manners.js")

NARROW_PX = 390
"""Width of a telephone's window."""

PAPER_PX = 718
"""Width of the text on a sheet of A4 with margins of 1 cm, at 96 px an inch."""

MOST_CONTROLS = 400
"""Controls of a page that are reached with the Tab key; a page with more is not walked to its
end."""

MOST_IDLE = 3
"""Tab keys in succession that lead to nothing new at the end of a page; on a busy machine one of
them alone may come before the page has moved the focus."""


def find_axe() -> Path | None:
    """axe-core's script: where `AXE_CORE` says, or in the repository; None where it is not."""
    places = [os.environ.get("AXE_CORE"), ROOT / AXE]
    return next((Path(place) for place in places if place and Path(place).is_file()), None)


def missing() -> list[str]:
    """What is needed and not there."""
    found = {"Chromium": find_chromium(), "axe-core (npm install --no-save axe-core)": find_axe()}
    return [name for name, place in found.items() if place is None]


def faults(pages: Iterable[Path], *, thorough: bool = True) -> Iterator[str]:
    """Everything that is wrong with pages, a line for each.

    Args:
        pages: HTML files.
        thorough: ask all of it; otherwise the console, the network and axe-core alone.

    Raises:
        FileNotFoundError: Chromium or axe-core is not there.
    """
    chromium, axe = find_chromium(), find_axe()
    if chromium is None or axe is None:
        raise FileNotFoundError(" and ".join(missing()))
    scripts = axe.read_text() + "\n" + OWN.read_text()
    with Browser(chromium) as browser:
        for page in pages:
            for line in _of_page(browser, page, scripts, thorough=thorough):
                yield f"{page}: {line}"


def faults_of_site(site: Path) -> list[str]:
    """What is wrong with the pages of a site: all of it with one page of each folder and with the
    reports of the gallery, console, network and axe-core, light and dark, with the others, which
    look alike."""
    folders = [place for place in (site, *site.rglob("*")) if place.is_dir()]
    chosen = {page for folder in folders for page in sorted(folder.glob("*.html"))[:1]}
    chosen |= set((site / "gallery").glob("*.html"))
    others = set(site.rglob("*.html")) - chosen
    found = [*faults(sorted(chosen)), *faults(sorted(others), thorough=False)]
    return [line.replace(f"{site}/", "") for line in found]


def _of_page(browser: Browser, page: Path, scripts: str, *, thorough: bool) -> Iterator[str]:
    """What is wrong with one page."""
    for scheme in ("light", "dark"):
        browser.open(page, scheme=scheme)
        browser.evaluate(scripts)
        browser.evaluate("manners.unfold()")
        yield from _named(scheme, browser.evaluate("manners.axe()"))
        yield from _said(browser)
    if thorough:
        yield from _named("keyboard", _keyboard(browser))
        browser.show_as(width=NARROW_PX, scheme="dark")
        yield from _named("narrow, dark", browser.evaluate("manners.axe()"))
        browser.show_as(width=NARROW_PX)
        yield from _named("narrow", browser.evaluate("manners.cut()"))
        browser.open(page, width=PAPER_PX, scheme="dark", media="print")
        browser.evaluate(OWN.read_text())
        yield from _named("paper", browser.evaluate("manners.paper()"))
        yield from _said(browser)


def _said(browser: Browser) -> Iterator[str]:
    """What the page that is open has said on the console, and what it has fetched."""
    yield from (f"console: {line}" for line in browser.complaints())
    yield from (f"fetches {url}" for url in browser.fetched())


def _named(how: str, lines: Iterable[str]) -> Iterator[str]:
    return (f"{how}: {line}" for line in lines)


def _keyboard(browser: Browser) -> list[str]:
    """Walk through a page with the Tab key."""
    browser.evaluate("manners.beginKeyboard()")
    found: list[str] = []
    idle = 0
    for _ in range(MOST_CONTROLS):
        browser.press("Tab")
        lines = browser.evaluate("manners.focused()")
        idle = idle + 1 if lines is None else 0
        if idle == MOST_IDLE:
            return found + browser.evaluate("manners.missed()")
        found += lines or []
    return found


def main() -> None:
    """The command line of the check."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition(":")[0])
    parser.add_argument("pages", type=Path, nargs="+", help="HTML files, or folders of them")
    parser.add_argument("--quick", action="store_true", help="console, network and axe-core alone")
    given = parser.parse_args()
    pages = [page for place in given.pages for page in _pages_in(place)]
    try:
        found = list(faults(pages, thorough=not given.quick))
    except (FileNotFoundError, PageFailedError) as error:
        sys.exit(f"{type(error).__name__}: {error}")
    for line in found:
        print(line)
    print(f"{len(pages)} pages, {len(found)} faults")
    sys.exit(bool(found))


def _pages_in(place: Path) -> list[Path]:
    return sorted(place.rglob("*.html")) if place.is_dir() else [place]


if __name__ == "__main__":
    main()
