"""The gallery: reports that the tutorials left, as users see them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).parents[2]

REPORTS = {
    "demo": ("demo", "the complete workflow on glycine, small"),
    "label": (
        "first-force-field",
        "labels of ethanol: energies, dihedrals, the sampled geometries",
    ),
    "ethanol-train": ("first-force-field", "a training: candidates of sigma, errors, symmetry"),
    "md": ("first-force-field", "dynamics of eight replicas"),
    "families": ("which-family", "three families on the same split"),
    "benchmark-tiny": ("which-family", "families compared by a protocol, at its smallest"),
    "check": ("regions-and-errors", "errors by bins of a dihedral, parity, worst frames"),
    "path": ("barrier-and-half-life", "a path with the reference on its images"),
    "path-saddle": ("barrier-and-half-life", "saddle, reaction path, vibrations and rates"),
    "network": ("network", "minima of ethanol, the saddles between them, and rates"),
    "student-train": ("students", "a student, trained on labels of its teacher"),
    "umbrella": ("free-energy", "a free-energy profile with standard errors"),
    "metad": ("metadynamics", "metadynamics and its verdict"),
    "pimd": ("path-integrals", "path integrals in i-PI"),
    "learn": ("learn", "a force field learned from a SMILES, with its verdict"),
}
"""Run folder -> the tutorial that leaves it, and what its report shows."""

BENCHMARKS = ("benchmark-glycine-small", "benchmark-azobenzene-small")
"""Comparisons of families that take too long for a build; they are shown where `make NAME` was run
in the clone before."""

WHERE = re.compile(r"/[^\s\"'<>&]*/flexcalc-docs-\w+/folder/")
"""The folder in which a page was executed."""

HEAD = """\
# Gallery

Reports as flexcalc writes them, one page each, from the runs of the tutorials. They were made when
this site was built.

| report | shows | made by |
|---|---|---|
"""


def write_gallery(pages: Path, executed: Mapping[str, Path] | None) -> None:
    """Write the page of the gallery, and copy the reports next to it.

    Args:
        pages: folder of the assembled pages.
        executed: page -> folder of its output, next to which is the folder that it ran in; without
            them the page names the tutorials alone.
    """
    folder = pages / "gallery"
    folder.mkdir(parents=True)
    rows = []
    for run, (tutorial, text) in REPORTS.items():
        page = f"tutorials/{tutorial}.md"
        shown = run
        if executed and page in executed:
            name = f"{tutorial}-{run}.html"
            report = (executed[page].parent / "folder" / run / "report.html").read_text()
            (folder / name).write_text(WHERE.sub("", report))
            shown = f"[{run}]({name})"
        rows.append(f"| {shown} | {text} | [{tutorial}](../{page}) |\n")
    rows += [_benchmark(name, folder) for name in BENCHMARKS]
    (folder / "index.md").write_text(HEAD + "".join(rows))


def _benchmark(name: str, folder: Path) -> str:
    """The row of a benchmark, and its report in the folder if there is one."""
    report = ROOT / name / "report.html"
    shown = name
    if report.is_file():
        (folder / f"{name}.html").write_text(report.read_text().replace(f"{ROOT}/", ""))
        shown = f"[{name}]({name}.html)"
    return f"| {shown} | families compared by the protocol of a study | `make {name}` |\n"
