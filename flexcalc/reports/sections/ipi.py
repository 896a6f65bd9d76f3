"""A run of i-PI with the model as its client."""

from __future__ import annotations

from flexcalc.display import html
from flexcalc.reports import facts
from flexcalc.reports.folder import RunFolder
from flexcalc.reports.sections import md, path
from flexcalc.results.ipi import IpiRun

TITLE = "Served to i-PI"


def body(folder: RunFolder) -> str:
    """The section as HTML."""
    scalars = md.read_scalars(folder)
    intro = (
        "i-PI ran with the model as its force provider, over a socket. The energies and forces "
        "that i-PI received are compared with direct evaluations of the model at the same "
        "geometries; they should agree to rounding."
    )
    parts = [html.paragraph(intro, "lead"), facts.cards(facts.typed(IpiRun, folder), folder)]
    images = folder.frames("path.xyz")
    if images is not None:
        parts.append(path.drawn(images))  # i-PI sought a path, which has no temperature
    elif scalars:
        parts.append(md.pictures(scalars, "ipi"))
    else:
        parts.append(html.paragraph("i-PI has not written a step yet."))
    return "".join(parts)
