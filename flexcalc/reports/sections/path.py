"""A path between two minima: energy profile, barrier and images."""

from __future__ import annotations

import numpy as np

from flexcalc.dataset import Dataset
from flexcalc.display import figures, html, molecule
from flexcalc.display.numbers import fixed, number
from flexcalc.display.viewer import viewer
from flexcalc.reports import facts
from flexcalc.reports.exports import Columns
from flexcalc.reports.folder import RunFolder
from flexcalc.reports.rows import dicts
from flexcalc.reports.sections import paths, saddle
from flexcalc.results.coverage import outside_of
from flexcalc.results.path import ROUNDS, Path
from flexcalc.store import Store
from flexcalc.units import KCAL_MOL

TITLE = "Transition path"
INTROS = {
    "neb": "The minimum-energy path between the two end geometries on the model, found by a "
    "nudged elastic band with a climbing image.",
    "string": "The minimum-energy path between the two end geometries on the model, found by the "
    "string method with a climbing image.",
    "scan": "A path along which chosen internal coordinates are driven from the first geometry "
    "to the last on the model. Its highest image is no saddle point; its energy is an upper "
    "bound of the barrier.",
}


LEFT = (
    " The search was left early for the saddle; the images are points of the intrinsic reaction "
    "coordinate through it."
)


def body(folder: RunFolder) -> str:
    """The section as HTML."""
    if paths.is_there(folder):
        return paths.body(folder)
    images, relabelled = folder.frames("path.xyz"), folder.frames("relabelled.xyz")
    result = facts.typed(Path, folder)
    intro = INTROS.get(result.method, INTROS["neb"])
    if relabelled is not None:
        intro += " The energies of the images were then computed with the reference method."
    if result.left_for_saddle:
        intro += LEFT
    parts = [html.paragraph(intro, "lead"), facts.cards(result, folder)]
    parts.append(facts.cost(result.all_evaluations))
    parts.append(html.notes(result.warnings))
    parts.append(facts.coverage_note(result.coverage))
    if result.converged is False:
        advice = result.advice or "run on with more steps"
        parts.append(html.notes([f"The search ended before the path converged: {advice}."]))
    if images is not None:
        folder.tables["profile"] = _export(images, _fitting(relabelled, images))
        parts.append(drawn(images, relabelled, outside_of(result.coverage, images)))
    parts += [_rounds(folder), _convergence(folder)]
    if images is None:
        parts.append(html.paragraph("There is no path yet."))
    if result.saddle is not None and result.saddle.steps is not None:
        parts.append(html.heading(saddle.TITLE) + saddle.body(folder))
    return "".join(parts)


def drawn(
    images: Dataset, relabelled: Dataset | None = None, outside: np.ndarray | None = None
) -> str:
    """The profile of a path, and its images, as HTML.

    Args:
        images: with the energies of the model.
        relabelled: the same with the energies of the reference, if there is one.
        outside: (images,) whether each is outside the domain of the model; None if unknown.
    """
    parts = []
    if images.energies is not None:
        parts.append(_profile(images, _fitting(relabelled, images), outside))
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


def _profile(
    images: Dataset, reference: np.ndarray | None, outside: np.ndarray | None = None
) -> str:
    along, model = _along(images), _above(np.asarray(images.energies))
    above = None if reference is None else _above(reference)
    drawing = figures.energy_profile(along, np.asarray(images.energies), reference, outside)
    svg = drawing.svg("path-profile", "Energy along the path")
    distances = None if outside is None else images.tags["distance"]
    rows = []
    for index in range(len(images)):
        row = [str(index), fixed(along[index], 3), fixed(model[index], 3)]
        if above is not None:
            difference = model[index] - above[index]
            row += [fixed(above[index], 3), fixed(difference, 3, sign=True)]
        if distances is not None:
            row.append(fixed(float(distances[index]), 2))
        rows.append(row)
    head = ["image", "length, Å", "model"]
    head += [] if above is None else ["reference", "difference"]
    head += [] if distances is None else ["distance"]
    caption = "Energies relative to the first image, in kcal/mol; the points are numbered by image."
    if above is not None:
        worst = float(np.abs(model - above).max())
        caption = (
            "Energies of model and reference at the same geometries, relative to the first image, "
            f"in kcal/mol. Largest difference: {number(worst)} kcal/mol. The lines are guides to "
            "the eye."
        )
    if outside is not None and outside.any():
        caption += " Hollow points on shaded ground are outside the training data of the model."
    drawn = html.figure(svg, caption, html.table(head, rows), wide=True)
    return drawn + _barriers(model, above)


def _export(images: Dataset, reference: np.ndarray | None) -> Columns:
    """The profile for tables/profile.csv."""
    columns = {"image": np.arange(len(images)), "length_A": _along(images)}
    if images.energies is not None:
        columns["energy_kcal_mol"] = _above(images.energies)
    if reference is not None:
        columns["reference_energy_kcal_mol"] = _above(reference)
    return columns


def _barriers(model: np.ndarray, reference: np.ndarray | None) -> str:
    columns = [model] if reference is None else [model, reference]
    rows = []
    for name, value in (
        ("Forward barrier", lambda e: e.max()),
        ("Backward barrier", lambda e: e.max() - e[-1]),
        ("Reaction energy", lambda e: e[-1]),
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
        "The images of the path, aligned with the first; energies of the model relative to the "
        "first image."
    )
    labels = [". ".join(filter(None, lines)) for _, *lines in tiles]
    turned = html.figure(
        viewer(images.numbers, images.positions, labels, "The molecule along the path", top or 0),
        f"All {len(images)} images, at first the highest. Drag or use the arrow keys to rotate "
        "the molecule; the slider moves along the path.",
    )
    return html.heading("The images") + turned + html.figure(html.film(tiles, top), caption)


def _rounds(folder: RunFolder) -> str:
    """The rounds in which the model was retrained."""
    rounds = [Path.from_damaged(row, Store()) for row in dicts(folder.json(ROUNDS))]
    if not rounds:
        return ""
    rows = [
        (
            str(k),
            number(one.training_points),
            number(one.barrier_kcal_mol),
            number(one.barrier_error_kcal_mol),
            number(None if one.saddle is None else one.saddle.barrier_error_kcal_mol),
        )
        for k, one in enumerate(rounds)
    ]
    head = ("round", "training points", "barrier", "its error", "error at the saddle")
    caption = (
        "In each round the worst images of the previous one were labelled by the reference and "
        "the model was retrained; energies in kcal/mol."
    )
    return html.heading("Rounds of refinement") + html.table(head, rows, caption)


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
                f"Largest residual force on any atom of any image: "
                f"{number(table['force_eV_A'][-1])} eV/Å after "
                f"{number(int(table['step'][-1]))} steps.",
            ),
            (
                "barrier_kcal_mol",
                "barrier / kcal mol⁻¹",
                False,
                f"Energy of the highest image: {number(table['barrier_kcal_mol'][-1])} kcal/mol "
                "at the last step.",
            ),
        )
    ]
    return html.heading("Convergence") + html.figures(*pictures)
