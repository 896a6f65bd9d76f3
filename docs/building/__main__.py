"""Build the site: `python -m docs.building`, or `--without-running` for pages without output."""

from __future__ import annotations

import argparse
import logging
import shutil
import sys
import time
from pathlib import Path

import yaml

from docs.building import assembly, checking, manners, running

WORK = assembly.ROOT / "build"
"""Folder of what is needed for the site only: assembled pages, settings, executed pages."""


def build(site: Path, *, run: bool, jobs: int = 2, only: str = "", work: Path = WORK) -> list[str]:
    """Build the site; what is wrong with it, a line for each.

    Args:
        site: folder to write.
        run: execute the blocks of pages.
        jobs: number of pages that are executed at the same time.
        only: execute the pages alone whose path contains this.
        work: folder of assembled and executed pages.

    Raises:
        PageError: a block failed.
        Abort: mkdocs found something wrong.
    """
    written = assembly.written_pages()
    pages = {name: text for name, text in written.items() if running.has_blocks_to_run(text)}
    if only:
        chosen = [name for name in pages if only in name]
        for name in chosen:  # with the pages that they continue
            before = running.page_before(pages[name])
            chosen += [before] if before and before not in chosen else []
        pages = {name: pages[name] for name in chosen}
    executed = None
    if run:
        executed = running.executed(pages, work / "executed", jobs, forget=not only)
    assembly.assemble(work / "pages", executed)
    _mkdocs(work, site)
    return checking.faults(site)


def _mkdocs(work: Path, site: Path) -> None:
    """Run mkdocs; its warnings are errors, as the settings say `strict`."""
    from mkdocs.commands.build import build as build_site
    from mkdocs.config import load_config

    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    file = work / "mkdocs.yml"
    file.write_text(yaml.safe_dump(assembly.settings(work / "pages", site), sort_keys=False))
    shutil.rmtree(site, ignore_errors=True)
    with file.open("rb") as stream:
        settings = load_config(stream, config_file_path=str(file))
    settings.plugins.on_startup(command="build", dirty=False)
    build_site(settings)
    (site / "search" / "search_index.json").unlink(missing_ok=True)  # in search_index.js too
    (site / "404.html").unlink(missing_ok=True)  # for servers: its links start at their root
    for page in site.rglob("*.html"):  # the theme's search has no name for those who do not see it
        named = page.read_text().replace('role="dialog">', 'role="dialog" aria-label="Search">')
        page.write_text(named)


def main() -> None:
    """The command line of the builder."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition(":")[0])
    parser.add_argument("--site", type=Path, default=assembly.ROOT / "site")
    parser.add_argument("--without-running", action="store_true", help="show blocks without output")
    parser.add_argument("--jobs", type=int, default=2, help="pages that run at the same time")
    parser.add_argument("--only", default="", help="execute only pages whose path contains this")
    given = parser.parse_args()
    begun = time.monotonic()
    try:
        found = build(
            given.site.absolute(), run=not given.without_running, jobs=given.jobs, only=given.only
        )
    except running.PageError as error:
        sys.exit(str(error))
    if absent := manners.missing():
        print(f"pages are not tried in a browser: there is no {' and no '.join(absent)}")
    else:
        found += manners.faults_of_site(given.site)
    for line in found:
        print(line, file=sys.stderr)
    pages = len(list(given.site.rglob("*.html")))
    print(f"{given.site}: {pages} pages in {time.monotonic() - begun:.0f} s, {len(found)} faults")
    sys.exit(bool(found))


if __name__ == "__main__":
    main()
