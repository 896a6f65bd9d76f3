"""The model served to i-PI: the same numbers on both sides of the socket."""

from __future__ import annotations

from flexcalc.display import html
from flexcalc.reports import facts
from flexcalc.reports.folder import RunFolder
from flexcalc.reports.sections import md, path

TITLE = "Served to i-PI"
KEYS = (
    *("steps", "clients", "force_difference_max_relative", "energy_difference_max_relative"),
    *("temperature_mean_K", "exchanges_seen", "barrier_model_kcal_mol", "images", "seconds"),
)


def body(folder: RunFolder) -> str:
    """The section as HTML."""
    scalars = md.read_scalars(folder)
    intro = (
        "A real i-PI run asked the model for its forces over a socket. The energies and forces "
        "it received are compared with direct calls of the same model at the same geometries; "
        "what is left should be rounding."
    )
    parts = [html.paragraph(intro, "lead"), html.cards(facts.chosen(folder.results, KEYS))]
    images = folder.frames("path.xyz")
    if images is not None:
        parts.append(path.drawn(images))  # i-PI sought a path, which has no temperature
    elif scalars:
        parts.append(md.pictures(scalars, "ipi"))
    else:
        parts.append(html.paragraph("i-PI has not written a step yet."))
    return "".join(parts)
