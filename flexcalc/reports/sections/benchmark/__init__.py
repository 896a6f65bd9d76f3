"""The benchmark of arXiv:2103.01103 on one molecule, read as that study's section of results."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from flexcalc.display import copying, html
from flexcalc.reports import explorer
from flexcalc.reports.folder import RunFolder
from flexcalc.reports.sections.benchmark import (
    findings,
    joint,
    learning,
    opening,
    regions,
    stability,
    surface,
)
from flexcalc.reports.sections.benchmark.record import Record

TITLE = "Results"


class Chapter(NamedTuple):
    """A part of the section: its anchor, title and introduction, and the function that draws it."""

    anchor: str
    title: str
    intro: str
    body: Callable[[Record], str]


def body(run: RunFolder) -> str:
    """The section as HTML: chapters of the stages that are there."""
    record = Record.of(run)
    written = [(chapter, drawn) for chapter in CHAPTERS if (drawn := chapter.body(record))]
    if not written:
        return html.paragraph("No stage of the benchmark has ended yet.")
    first, rest = opening.sentences(record)
    links = html.links([(f"benchmark-{one.anchor}", one.title) for one, _ in written])
    return (
        (html.paragraph(first, "opening") if first else "")
        + opening.cards(record)
        + (html.paragraph(rest) if rest else "")
        + _missing(record)
        + links
        + "".join(
            html.chapter(f"benchmark-{one.anchor}", one.title, one.intro, drawn)
            for one, drawn in written
        )
    )


def _missing(record: Record) -> str:
    """The stages that have not ended; none after the last, as the others were not asked for."""
    if record.findings:
        return ""
    stages = {
        "minima": record.minima,
        "paths": record.paths,
        "data": record.data,
        "learning curves": record.curves,
        "regions": record.regions,
        "barriers": record.barriers,
        "one model for everything": record.joint,
        "crash test": record.crash,
        "withheld regions": record.withheld,
        "findings": (),
    }
    lacking = ", ".join(name for name, rows in stages.items() if not rows)
    return html.paragraph(f"Not there yet: {lacking}.", "below")


def _table(record: Record) -> str:
    rows = learning.summary(record)
    caption = (
        "Errors on test frames of the best fold and their means over the folds: forces in "
        "kcal/mol/Å, energies and barriers in kcal/mol. The time to predict is of one geometry in "
        "a batch of 32."
    )
    return html.table(learning.HEAD, rows, caption, words=2, dense=True) if rows else ""


def _copies(record: Record) -> str:
    tables = {
        "Every model by mechanism": (learning.HEAD, learning.summary(record)),
        "One model for everything": (joint.HEAD, joint.summary(record.joint)),
    }
    return "".join(copying.table(name, *table) for name, table in tables.items() if table[1])


def _explorer(record: Record) -> str:
    return explorer.explorer(record.run, record.errors)


CHAPTERS = (
    Chapter(
        "minima",
        "Minima",
        "Minima of the molecule on the reference's surface, and the coordinates that distinguish "
        "them.",
        surface.minima,
    ),
    Chapter(
        "paths",
        "Paths and barriers",
        "A path of each mechanism on the reference's surface. A constructed path is not a "
        "minimum energy path: its barrier is an upper bound.",
        surface.paths,
    ),
    Chapter(
        "data",
        "Datasets",
        "Labelled frames of each mechanism by kind of sampling: their energies, and the distance "
        "of each to the nearest other frame, as the norm of the difference in all pair distances.",
        surface.data,
    ),
    Chapter(
        "curves",
        "Learning curves",
        "One fold trains and the others test. Lines are the best fold, shades the range of all "
        "folds; the horizontal line is at 1, chemical accuracy. Axes are logarithmic.",
        learning.curves,
    ),
    Chapter(
        "criteria",
        "Two ways to choose a model",
        "On the left, by the lowest force error alone; on the right, by the lowest energy error "
        "among all within 0.1 kcal/mol/Å of it. The second choice is meant to steady the energies.",
        learning.criteria,
    ),
    Chapter(
        "cutoffs",
        "The cutoff",
        "Errors against the cutoff of a local descriptor.",
        learning.cutoffs,
    ),
    Chapter("table", "Every model at its largest training set", "", _table),
    Chapter(
        "regions",
        "Errors by region",
        "A mean error hides differences between regions. Errors by bins of a coordinate, "
        "at each model's largest training set, over the number of test frames in each bin.",
        regions.by_region,
    ),
    Chapter(
        "barriers",
        "Along the paths",
        "Energies of each model on the images of the reference's path, relative to the first "
        "image.",
        regions.profiles,
    ),
    Chapter("features", "Features kept", "", regions.kept),
    Chapter(
        "joint",
        "One model for everything",
        "The data of all mechanisms together, and the same number of training points for every "
        "model. A short line means even errors.",
        joint.body,
    ),
    Chapter(
        "explorer",
        "Frame by frame",
        "Test frames of the joint set. Point at a frame to see its geometry, click to keep it; "
        "with the keyboard, the arrow keys go from frame to frame.",
        _explorer,
    ),
    Chapter(
        "crash",
        "Crash test",
        "The same dynamics with every model from the same starts. A run has failed once a bond is "
        "broken, atoms collide or fly off, or an energy or force is not finite.",
        stability.body,
    ),
    Chapter(
        "withheld",
        "Withheld regions",
        "Models tested on a part of the surface that was withheld from their training.",
        joint.withheld,
    ),
    Chapter(
        "findings",
        "The findings of the study",
        "Conclusions of arXiv:2103.01103, and the results for this molecule.",
        findings.body,
    ),
    Chapter("copies", "Tables to copy", "", _copies),
)
