"""Reference labels: how many, how they spread, and what went wrong."""

from __future__ import annotations

from collections import Counter

import numpy as np

from flexcalc.dataset import Dataset
from flexcalc.display import figures, html
from flexcalc.display.numbers import fixed, number
from flexcalc.reports import facts
from flexcalc.reports.folder import RunFolder
from flexcalc.units import KCAL_MOL

TITLE = "Reference data"
KEYS = ("reference", "labelled", "frames", "quarantined", "seconds")


def body(folder: RunFolder) -> str:
    """The section as HTML."""
    labels = folder.frames("labels.xyz")
    results = dict(folder.results)
    if labels is not None:
        results.setdefault("frames", len(labels))
        results.setdefault("level", labels.provenance.level)
    intro = (
        "Geometries sampled and labelled with energies and forces of the reference. A label "
        "counts only once it is on disk; a calculation that failed, did not converge or gave "
        "no finite number is set aside with its reason."
    )
    keys = KEYS if "reference" in results else ("level", *KEYS)
    parts = [html.paragraph(intro, "lead"), html.cards(facts.chosen(results, keys))]
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
    return html.paragraph(f"{len(geometries)} geometries wait for their labels; none has one yet.")


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
    caption = "Energies above the lowest frame, in kcal/mol."
    drawn = html.figure(
        svg,
        f"Reference energies of {len(labels)} frames, in kcal/mol above the lowest one.",
        html.table(head, rows, caption),
    )
    if labels.forces is None:
        return html.figures(drawn)
    components = labels.forces.ravel() / KCAL_MOL
    forces = html.figure(
        figures.forces(labels.forces).svg(
            "label-forces", "Histogram of reference force components"
        ),
        f"All {number(components.size)} Cartesian components of the reference forces: root "
        f"mean square {number(float(np.sqrt((components**2).mean())))} kcal/mol/Å, largest "
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
    caption = "Frames without a label, by reason; they are kept in quarantine.xyz."
    return html.heading("Quarantine") + html.table(("reason", "frames"), rows, caption)
