"""Reference labels: how many, how they spread, and what went wrong."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np

from flexcalc.dataset import Dataset
from flexcalc.display import atoms, figures, html, molecule
from flexcalc.display.numbers import fixed, number
from flexcalc.geometry import Structure
from flexcalc.reports import facts
from flexcalc.reports.folder import RunFolder
from flexcalc.results.labels import CONFORMERS, Labels
from flexcalc.units import KCAL_MOL

TITLE = "Reference data"
MOST_PICTURES = 24


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
    parts = [html.paragraph(intro, "lead"), facts.cards(result, folder), _conformers(folder)]
    if labels is None:
        parts.append(_waiting(folder))
    elif labels.energies is not None:
        parts.append(_energies(labels))
    if labels is not None and len(labels):
        shown = Structure.of(labels.numbers, labels.positions)
        parts += [html.heading("Atoms"), atoms.section(shown, "label-atoms")]
    parts.append(_quarantine(folder))
    return "".join(parts)


def _conformers(folder: RunFolder) -> str:
    """Pictures of the conformers of a SMILES, with their energies."""
    frames = folder.frames(CONFORMERS)
    if frames is None or frames.energies is None:
        return ""
    above = (frames.energies - frames.energies.min()) / KCAL_MOL
    names = frames.tags.get("start", np.arange(len(frames))).astype(str)
    folder.tables["conformers"] = {
        "conformer": names,
        "energy_kcal_mol": above,
        "energy_eV": frames.energies,
    }
    shown = frames[:MOST_PICTURES]
    view = molecule.look(shown.numbers, shown.positions)
    tiles = [
        (
            molecule.picture(view, index, f"conformer-{index}", f"The molecule as {names[index]}"),
            names[index],
            f"{fixed(float(above[index]), 2)} kcal/mol",
        )
        for index in range(len(shown))
    ]
    left_out = len(frames) - len(shown)
    caption = (
        "The conformers, relaxed on the reference, lowest first, with their energies relative to "
        f"the lowest. They are in {CONFORMERS}"
        f"{f', with {left_out} more that are not shown' if left_out else ''}."
    )
    table = html.table(
        ("conformer", "energy, kcal/mol"),
        [(name, fixed(float(one), 3)) for name, one in zip(names, above, strict=True)],
    )
    return html.heading("Conformers") + html.figure(html.film(tiles), caption, table)


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
