"""A path between two minima: its energies, its barrier and its pictures."""

from __future__ import annotations

import numpy as np

from flexcalc.dataset import Dataset
from flexcalc.display import figures, html, molecule
from flexcalc.display.numbers import fixed, number
from flexcalc.display.viewer import viewer
from flexcalc.reports import facts
from flexcalc.reports.folder import RunFolder
from flexcalc.reports.sections import saddle
from flexcalc.units import KCAL_MOL

TITLE = "Transition path"
KEYS = (
    *("barrier_model_kcal_mol", "barrier_reference_kcal_mol", "barrier_error_kcal_mol"),
    *("profile_max_error_kcal_mol", "images", "steps", "force_residual_eV_A", "seconds"),
)


INTROS = {
    "neb": "The path of least energy between the two end geometries, found on the model by a "
    "nudged elastic band whose highest image climbs to the top of the barrier.",
    "string": "The path of least energy between the two end geometries, found on the model by a "
    "string of images at even distances whose highest one climbs to the top of the barrier.",
    "scan": "A path that drives chosen internal coordinates from the first geometry to the last "
    "on the model. Its highest image is no saddle, and its height an upper bound of the barrier.",
}


def body(folder: RunFolder) -> str:
    """The section as HTML."""
    images, relabelled = folder.frames("path.xyz"), folder.frames("relabelled.xyz")
    intro = INTROS.get(str(folder.results.get("method")), INTROS["neb"])
    if relabelled is not None:
        intro += " The reference was then computed for the same images."
    parts = [html.paragraph(intro, "lead"), html.cards(facts.chosen(folder.results, KEYS))]
    if folder.results.get("converged") is False:
        advice = folder.results.get("advice")
        left = f": {advice}." if isinstance(advice, str) else ": run on with more steps."
        parts.append(html.notes([f"The search ended before the path converged{left}"]))
    if images is not None:
        parts.append(drawn(images, relabelled))
    parts += [_rounds(folder), _convergence(folder)]
    if images is None:
        parts.append(html.paragraph("There is no path yet."))
    if "saddle_steps" in folder.results:
        parts.append(html.heading(saddle.TITLE) + saddle.body(folder))
    return "".join(parts)


def drawn(images: Dataset, relabelled: Dataset | None = None) -> str:
    """The profile of a path, and its images, as HTML; with the reference's energies if given."""
    parts = [] if images.energies is None else [_profile(images, _fitting(relabelled, images))]
    return "".join([*parts, _pictures(images)])


def _fitting(relabelled: Dataset | None, images: Dataset) -> np.ndarray | None:
    """Reference energies of the images; None where they are not all there."""
    if relabelled is None or relabelled.energies is None or len(relabelled) != len(images):
        return None
    return relabelled.energies


def _along(images: Dataset) -> np.ndarray:
    """Length along the path to each image in angstrom, as the run gives it or measured here."""
    given = images.tags.get("coordinate")
    if given is not None and np.issubdtype(given.dtype, np.number):
        return given.astype(float)
    return molecule.path_length(images.numbers, images.positions)


def _above(energies: np.ndarray) -> np.ndarray:
    return (energies - energies[0]) / KCAL_MOL


def _profile(images: Dataset, reference: np.ndarray | None) -> str:
    along, model = _along(images), _above(np.asarray(images.energies))
    above = None if reference is None else _above(reference)
    drawing = figures.energy_profile(along, np.asarray(images.energies), reference)
    svg = drawing.svg("path-profile", "Energy along the path")
    rows = []
    for index in range(len(images)):
        row = [str(index), fixed(along[index], 3), fixed(model[index], 3)]
        if above is not None:
            difference = model[index] - above[index]
            row += [fixed(above[index], 3), fixed(difference, 3, sign=True)]
        rows.append(row)
    head = ["image", "length, Å", "model"]
    head += [] if above is None else ["reference", "difference"]
    caption = "Energies above the first image in kcal/mol; the numbers are those of the images."
    if above is not None:
        worst = float(np.abs(model - above).max())
        caption = (
            "Energy of model and reference at the same geometries, in kcal/mol above the first "
            f"image; they differ by {number(worst)} kcal/mol at most. The lines guide the eye."
        )
    drawn = html.figure(svg, caption, html.table(head, rows), wide=True)
    return drawn + _barriers(model, above)


def _barriers(model: np.ndarray, reference: np.ndarray | None) -> str:
    columns = [model] if reference is None else [model, reference]
    rows = []
    for name, value in (
        ("Barrier from the first image", lambda e: e.max()),
        ("Barrier from the last image", lambda e: e.max() - e[-1]),
        ("Last image above the first", lambda e: e[-1]),
    ):
        row = [fixed(float(value(energies)), 3) for energies in columns]
        if reference is not None:
            row.append(fixed(float(value(model) - value(reference)), 3, sign=True))
        rows.append((name, *row))
    head = ["", "model"] if reference is None else ["", "model", "reference", "difference"]
    return html.table(head, rows, "In kcal/mol, from the highest image of each profile.")


def _pictures(images: Dataset) -> str:
    view = molecule.look(images.numbers, images.positions)
    above = None if images.energies is None else _above(images.energies)
    top = None if above is None else int(np.argmax(above))
    tiles = []
    for index in range(len(images)):
        first = f"image {index}" + (", top" if index == top else "")
        second = "" if above is None else f"{fixed(above[index], 2)} kcal/mol"
        title = f"The molecule at image {index} of the path"
        tiles.append((molecule.picture(view, index, f"path-{index}", title), first, second))
    caption = (
        "The images of the path, all laid on the first and seen from one side; energies of the "
        "model above the first image."
    )
    labels = [". ".join(filter(None, lines)) for _, *lines in tiles]
    turned = html.figure(
        viewer(images.numbers, images.positions, labels, "The molecule along the path", top or 0),
        f"All {len(images)} images, the highest first. Drag to turn the molecule, or use the arrow "
        "keys; the slider goes along the path.",
    )
    return html.heading("The images") + turned + html.figure(html.film(tiles, top), caption)


def _rounds(folder: RunFolder) -> str:
    """The rounds in which the model was trained anew."""
    rounds = folder.json("rounds.json")
    if not isinstance(rounds, list) or not rounds:
        return ""
    keys = ("training_points", "barrier_model_kcal_mol", "barrier_error_kcal_mol")
    rows = [
        (str(k), *(number(row.get(key)) for key in (*keys, "barrier_saddle_error_kcal_mol")))
        for k, row in enumerate(rounds)
    ]
    head = ("round", "training points", "barrier", "its error", "error at the saddle")
    caption = (
        "Each round trained the model on the worst images of the one before, labelled by the "
        "reference; energies in kcal/mol."
    )
    return html.heading("Rounds") + html.table(head, rows, caption)


def _convergence(folder: RunFolder) -> str:
    table = folder.table("convergence.csv", "step", "force_eV_A", "barrier_kcal_mol")
    if table is None or len(table["step"]) < 2:
        return ""
    pictures = [
        html.figure(
            figures.convergence(table["step"], table[key], label, log).svg(
                f"path-{key}", f"Convergence: {label}"
            ),
            caption,
        )
        for key, label, log, caption in (
            (
                "force_eV_A",
                "largest force / eV Å⁻¹",
                True,
                f"Largest force left on any atom of any image: {number(table['force_eV_A'][-1])} "
                f"eV/Å after {number(int(table['step'][-1]))} steps.",
            ),
            (
                "barrier_kcal_mol",
                "barrier / kcal mol⁻¹",
                False,
                f"Height of the highest image: {number(table['barrier_kcal_mol'][-1])} kcal/mol "
                "at the last step.",
            ),
        )
    ]
    return html.heading("Convergence") + html.figures(*pictures)
