"""Reference labels: how many, how they spread, and what went wrong."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np

from flexcalc.dataset import Dataset
from flexcalc.display import figures, html
from flexcalc.display.numbers import fixed, number
from flexcalc.reports import facts
from flexcalc.reports.folder import RunFolder
from flexcalc.results.labels import Labels
from flexcalc.units import KCAL_MOL

TITLE = "Reference data"


def body(folder: RunFolder) -> str:
    """The section as HTML."""
    labels = folder.frames("labels.xyz")
    result = facts.typed(Labels, folder)
    if labels is not None and result.frames is None:
        result = replace(result, frames=len(labels))
    if labels is not None and result.reference is None:
        result = replace(result, reference=labels.provenance.level)
    intro = (
        "Geometries were sampled and labelled with energies and forces of the reference method. "
        "Calculations that failed, did not converge or gave no finite number are in quarantine, "
        "each with its reason."
    )
    parts = [html.paragraph(intro, "lead"), facts.cards(result, folder)]
    if labels is None:
        parts.append(_waiting(folder))
    elif labels.energies is not None:
        parts.append(_energies(labels))
    parts.append(_quarantine(folder))
    return "".join(parts)


def _waiting(folder: RunFolder) -> str:
    geometries = folder.frames("geometries.xyz")
    if geometries is None:
        return html.paragraph("No geometries have been sampled yet.")
    return html.paragraph(f"{len(geometries)} geometries are sampled; none is labelled yet.")


def _energies(labels: Dataset) -> str:
    energies = np.asarray(labels.energies)
    svg = figures.energies(figures.groups(labels.tags, energies)).svg(
        "label-energies", "Histogram of reference energies"
    )
    groups = figures.groups(labels.tags, (energies - energies.min()) / KCAL_MOL)
    rows = [
        (name, number(len(part)), *(fixed(one, 2) for one in _summary(part)))
        for name, part in groups.items()
    ]
    head = ("frames of", "number", "lowest", "mean", "median", "highest")
    caption = "Energies relative to the lowest frame, in kcal/mol."
    drawn = html.figure(
        svg,
        f"Reference energies of {len(labels)} frames relative to the lowest, in kcal/mol.",
        html.table(head, rows, caption),
    )
    if labels.forces is None:
        return html.figures(drawn)
    components = labels.forces.ravel() / KCAL_MOL
    forces = html.figure(
        figures.forces(labels.forces).svg(
            "label-forces", "Histogram of reference force components"
        ),
        f"Distribution of the {number(components.size)} Cartesian components of the reference "
        f"forces: root mean square {number(float(np.sqrt((components**2).mean())))} kcal/mol/Å, "
        "largest "
        f"{number(float(np.abs(components).max()))} kcal/mol/Å.",
    )
    return html.figures(drawn, forces)


def _summary(values: np.ndarray) -> tuple[float, float, float, float]:
    return values.min(), values.mean(), float(np.median(values)), values.max()


def _quarantine(folder: RunFolder) -> str:
    frames = folder.frames("quarantine.xyz")
    if frames is None:
        return ""
    reasons = frames.tags.get("reason", np.array(["no reason given"] * len(frames)))
    rows = [
        (str(reason), number(count)) for reason, count in Counter(reasons.tolist()).most_common()
    ]
    caption = "Number of frames without a label, by reason; the frames are in quarantine.xyz."
    return html.heading("Quarantine") + html.table(("reason", "frames"), rows, caption)
