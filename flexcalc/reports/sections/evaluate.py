"""Errors on held-out frames: how large, with which confidence, and where."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from flexcalc.analysis.accuracy_record import QUANTITIES, Part, Region, Regions, badness
from flexcalc.analysis.accuracy_record import Errors as QuantityErrors
from flexcalc.display import figures, html, molecule
from flexcalc.display.numbers import NONE, between, counted, number
from flexcalc.reports import facts
from flexcalc.reports.exports import Columns, columns_of
from flexcalc.reports.folder import RunFolder
from flexcalc.results.domain_errors import DomainErrors
from flexcalc.results.errors import (
    ERRORS,
    PARITY,
    TRAINING,
    UNSEEN,
    VALIDATION,
    WORST,
    Errors,
    repeated_text,
)
from flexcalc.store import Store
from flexcalc.units import KCAL_MOL, MEV

TITLE = "Accuracy"
ROWS = {
    "force": "Forces, per component",
    "energy": "Energies as predicted",
    "energy_offset_free": "Energies, mean error removed",
    "force_zero": "Baseline: zero forces",
    "energy_zero": "Baseline: the mean energy",
}
"""Quantities of `Accuracy`."""
LAWS = {
    "energy_offset": "Mean energy error (offset)",
    "net_force": "Largest net force of any frame",
    "net_torque": "Largest net torque of any frame",
}
"""Single values of `Accuracy`."""
UNITS_OF = {"A": "Å", "degrees": "degrees"}
"""Units of coordinates, as the page shows them."""
USES = {
    TRAINING: "trained on",
    VALIDATION: "chose hyperparameters",
    UNSEEN: "unseen",
}
"""What frames were to a model."""
MOST_PICTURES = 6


def body(folder: RunFolder) -> str:
    """The section as HTML."""
    rows = _rows(folder.json(ERRORS))
    models = [Errors.from_damaged(row, Store()) for row in rows]
    result = facts.typed(Errors, folder)
    if len(models) == 1:
        result = Errors.from_damaged(dict(rows[0]) | folder.results, Store())
    intro = (
        f"{_frames_text(models)} Force errors are means over the three Cartesian components of "
        "every atom; the other convention in use, the mean length of an atom's error vector, "
        "gives values about twice as large."
    )
    parts = [html.paragraph(intro, "lead"), facts.cards(result, folder)]
    if result.repeated_frames:
        parts.append(html.notes([repeated_text(result.repeated_frames, result.frames)]))
    if len(models) > 1:
        parts.append(_comparison(models))
    count = max(len(models), len(list(folder.path.glob(PARITY.format("*")))))
    for index in range(count):
        errors = models[index] if index < len(models) else Errors.from_damaged({}, Store())
        if count > 1:
            parts.append(html.heading(_name(errors, index)))
        parts.append(_model(folder, index, errors))
    folder.tables |= _tables(models)
    parts.append(_worst(folder, models[0].accuracy.worst if models else ()))
    if not count:
        parts.append(html.paragraph("There are no errors yet."))
    return "".join(parts)


def _frames_text(models: Sequence[Errors]) -> str:
    """Text about what the frames were to the models, as far as it is known."""
    what = "model" if len(models) < 2 else "models"
    known = [one for one in models if one.trained_on is not None]
    if not known:
        return "Predictions on labelled frames."
    if any(one.trained_on or one.validated_on for one in known):
        return f"Predictions on labelled frames, some of which were used to train the {what}."
    if len(known) < len(models):
        return (
            "Predictions on labelled frames that were not used to train the models, where those "
            "know their frames."
        )
    return f"Predictions on labelled frames that were not used to train the {what}."


def _rows(content: Any) -> list[Mapping[str, Any]]:
    """Errors of each model: errors.json maps names to errors, or lists them."""
    if isinstance(content, dict) and "frames" in content:
        return [content]
    if isinstance(content, dict):
        named = {str(name): one for name, one in content.items() if isinstance(one, dict)}
        return [{"model": name} | one for name, one in named.items()]
    return [one for one in content if isinstance(one, dict)] if isinstance(content, list) else []


def _tables(models: Sequence[Errors]) -> dict[str, Columns]:
    """What is exported: a row for each model, and one for each of its regions."""
    rows = [{one.key: one.value for one in errors.figures()} for errors in models]
    regions = [
        {"model": _name(errors, index), "coordinate": block.coordinate.label, **_flat(region)}
        for index, errors in enumerate(models)
        for block in errors.regions
        for region in sorted(block.bins, key=lambda one: one.low)
    ]
    found = {"models": rows, "regions": regions}
    return {name: columns_of(table) for name, table in found.items() if table}


def _flat(region: Region) -> dict[str, Any]:
    """A region and its errors, without their intervals."""
    return {key: one for key, one in region.to_dict().items() if not isinstance(one, list | tuple)}


def _name(errors: Errors, index: int) -> str:
    return errors.model or f"model {index}"


def _shown(value: float | None, unit: float = KCAL_MOL) -> str:
    return number(None if value is None else value / unit)


def _mae_and_rmse(errors: QuantityErrors | None) -> tuple[str, str]:
    return (NONE, NONE) if errors is None else (_shown(errors.mae), _shown(errors.rmse))


def _comparison(models: Sequence[Errors]) -> str:
    head = ("model", "force MAE", "force RMSE", "energy MAE", "energy RMSE", "offset removed")
    rows = []
    for index, one in enumerate(models):
        found = one.accuracy
        cells = (*_mae_and_rmse(found.force), *_mae_and_rmse(found.energy))
        _, offset_free = _mae_and_rmse(found.energy_offset_free)
        rows.append((_name(one, index), *cells, offset_free))
    caption = (
        "All models on the same frames: energies in kcal/mol, forces in kcal/mol/Å. The last "
        "column is the energy RMSE after the mean error has been subtracted."
    )
    return html.table(head, rows, caption)


def _model(folder: RunFolder, index: int, errors: Errors) -> str:
    found = errors.accuracy
    parts = [html.notes(errors.warnings)]
    if any(getattr(found, name) is not None for name in QUANTITIES):
        parts.append(_errors_table(errors))
    if errors.by_use:
        parts.append(_uses(errors))
    parts.append(_parities(folder, index, errors))
    parts.append(_by_distance(folder, index, errors.domain))
    for number_of, block in enumerate(errors.regions):
        parts.append(_regions(block, f"evaluate-{index}-regions-{number_of}"))
    if errors.elements:
        parts.append(_elements(errors))
    return "".join(parts)


def _errors_table(errors: Errors) -> str:
    caption = (
        f"Errors on {number(errors.frames)} frames in {{}}, with 95 % bootstrap intervals over "
        "frames. The rows named baseline are the errors of the simplest possible predictions."
    )
    tables = []
    for unit, units in ((KCAL_MOL, "kcal/mol and kcal/mol/Å"), (MEV, "meV and meV/Å")):
        known = {title: getattr(errors.accuracy, name) for name, title in ROWS.items()}
        rows = [(title, *_cells(one, unit)) for title, one in known.items() if one is not None]
        tables.append(html.table(("", "MAE", "RMSE", "largest"), rows, caption.format(units)))
    return tables[0] + html.details("The same in meV and meV/Å", tables[1]) + _laws(errors)


def _uses(errors: Errors) -> str:
    """Errors on frames of the training and on unseen ones apart."""
    rows = [
        (USES[use], number(one.frames), *_mae_and_rmse(one.force), *_mae_and_rmse(one.energy))
        for use, one in errors.by_use.items()
    ]
    head = ("frames", "number", "force MAE", "force RMSE", "energy MAE", "energy RMSE")
    caption = (
        "Frames found among the training and validation frames of the model by their geometry, "
        "and all others. Only errors on unseen frames tell what to expect of new geometries. In "
        "kcal/mol/Å and kcal/mol."
    )
    return html.table(head, rows, caption)


def _cells(errors: QuantityErrors, unit: float) -> tuple[str, str, str]:
    """MAE and RMSE with their intervals, and the largest error."""
    mae, rmse = (
        between(value / unit, interval and [edge / unit for edge in interval])
        for value, interval in (
            (errors.mae, errors.mae_interval),
            (errors.rmse, errors.rmse_interval),
        )
    )
    return mae, rmse, _shown(errors.maximum, unit)


def _laws(errors: Errors) -> str:
    known = {title: getattr(errors.accuracy, name) for name, title in LAWS.items()}
    rows = [
        (title, _shown(value), _shown(value, MEV))
        for title, value in known.items()
        if value is not None
    ]
    caption = (
        "Predicted net force and torque vanish for a molecule in vacuum; energies and torques "
        "in kcal/mol or meV, forces per Å."
    )
    laws = html.table(("", "kcal/mol", "meV"), rows, caption)
    return html.details("Offset, net force and net torque", laws) if rows else ""


def _parities(folder: RunFolder, index: int, errors: Errors) -> str:
    arrays = folder.arrays(PARITY.format(index))
    if arrays is None:
        return ""
    pictures = []
    for what in ("energies", "forces"):
        pair = _pair(arrays, what)
        if pair is None:
            continue
        name = f"evaluate-{index}-{what}"
        folder.tables[f"parity-{index}-{what}"] = _parity_table(what, *pair)
        title = f"Predicted against reference {what}"
        svg = figures.parity(what, *pair).svg(name, title)
        pictures.append(html.figure(svg, _parity_caption(what, pair[0].size, errors)))
    return html.figures(*pictures)


def _parity_table(what: str, reference: np.ndarray, predicted: np.ndarray) -> Columns:
    """A row for each energy, or for the forces on each atom, by the reference and as predicted."""
    pairs = {"reference": reference, "predicted": predicted}
    if what == "energies":
        columns = {f"{who}_energy_eV": values for who, values in pairs.items()}
        return {"frame": np.arange(len(reference)), **columns}
    frames, atoms = np.indices(reference.shape[:2]).reshape(2, -1)
    columns = {
        f"{who}_force_{axis}_eV_A": values[..., place].ravel()
        for who, values in pairs.items()
        for place, axis in enumerate("xyz")
    }
    return {"frame": frames, "atom": atoms, **columns}


def _pair(arrays: Mapping[str, np.ndarray], what: str) -> tuple[np.ndarray, np.ndarray] | None:
    reference, predicted = (arrays.get(f"{what}_{kind}") for kind in ("reference", "predicted"))
    if reference is None or predicted is None or reference.size == 0:
        return None
    if reference.shape != predicted.shape or not np.isfinite([reference, predicted]).all():
        return None
    if what == "forces" and (reference.ndim, reference.shape[-1]) != (3, 3):
        return None
    return reference.astype(float), predicted.astype(float)


def _parity_caption(what: str, points: int, errors: Errors) -> str:
    found = errors.accuracy
    of_energies = (found.energy, found.energy_line, "energies relative to their mean", "kcal/mol")
    of_forces = (found.force, found.force_line, "force components", "kcal/mol/Å")
    known, line, kind, unit = of_energies if what == "energies" else of_forces
    words = f"{number(points)} {kind}, predicted against reference, in {unit}."
    if known is not None:
        words += f" RMSE {_shown(known.rmse)} {unit}."
    if line is not None:
        words += f" Slope {number(line.slope, 4)}, correlation {number(line.correlation, 5)}."
    return words


def _by_distance(folder: RunFolder, index: int, domain: DomainErrors | None) -> str:
    """Force errors against the distance to the training set."""
    arrays = folder.arrays(PARITY.format(index)) or {}
    pair, distances = _pair(arrays, "forces"), arrays.get("distances")
    if pair is None or distances is None or domain is None:
        return ""
    if distances.shape != pair[0].shape[:1] or not np.isfinite(distances).all():
        return ""
    errors = np.sqrt(((pair[1] - pair[0]) ** 2).mean(axis=(1, 2)))
    knots = domain.knots or (), domain.errors_eV_A or ()
    if len(knots[0]) != len(knots[1]):
        knots = (), ()
    svg = figures.errors_by_distance(
        distances.astype(float), errors, (np.array(knots[0]), np.array(knots[1])), domain.limit
    ).svg(f"evaluate-{index}-distances", "Force error by distance to the training set")
    caption = (
        "Force RMSE of each frame by its distance to the nearest training point, in multiples of "
        "the largest nearest-neighbour distance within the training set. Dashed the limit of the "
        "model's domain; the line is the error that its validation frames let expect."
    )
    found = [
        (one.label, number(float(one.value)), one.unit.replace("/A", "/Å"))
        for one in domain.figures()
    ]
    table = html.table(("", "", "unit"), found)
    drawn = html.figures(html.figure(svg, caption, table))
    return html.heading("Distance to the training set") + drawn


def _regions(block: Regions, name: str) -> str:
    bins = sorted(block.bins, key=lambda one: one.low)
    if not bins:
        return ""
    forces = any(one.force is not None for one in bins)
    quantity, unit = ("force", "kcal/mol/Å") if forces else ("energy", "kcal/mol")
    rmse = [np.nan if one is None else one.rmse for one in (getattr(b, quantity) for b in bins)]
    error = np.array(rmse, dtype=float) / KCAL_MOL
    edges = np.array([bins[0].low, *(one.high for one in bins)], dtype=float)
    population = np.array([one.population for one in bins])
    label = block.coordinate.label
    unit_of = UNITS_OF.get(block.coordinate.unit, "")
    names = [one.name for one in bins] if all(one.name for one in bins) else []
    per = "kcal mol⁻¹ Å⁻¹" if forces else "kcal mol⁻¹"
    axis = f"{label} / {unit_of}" if unit_of else label
    svg = figures.errors_by_region(
        edges, error, population, (axis, f"{quantity} RMSE\n/ {per}"), names
    ).svg(name, f"{quantity.capitalize()} error by {label}")
    by = label if names else f"bins of {label}"
    caption = f"{quantity.capitalize()} RMSE in {unit} and number of frames, by {by}."
    if np.isfinite(error).any():
        at = int(np.nanargmax(error))
        worst = bins[at]
        caption += (
            f" Worst: {_extent(worst)}{f' {unit_of}' if unit_of else ''}, "
            f"{number(float(error[at]))} {unit} over {counted(worst.population, 'frame')}."
        )
    table = _regions_table(sorted(bins, key=badness, reverse=True))
    return html.heading(f"Errors by {label}") + html.figure(svg, caption, table, wide=True)


def _extent(region: Region) -> str:
    """The edges of a bin, or the value of a tag."""
    return region.name or f"{number(float(region.low))} to {number(float(region.high))}"


def _regions_table(bins: Sequence[Region]) -> str:
    rows = [
        (
            _extent(one),
            number(one.population),
            *_mae_and_rmse(one.force),
            *_mae_and_rmse(one.energy),
        )
        for one in bins
    ]
    head = ("region", "frames", "force MAE", "force RMSE", "energy MAE", "energy RMSE")
    return html.table(head, rows, "Worst region first; kcal/mol/Å and kcal/mol.")


def _elements(errors: Errors) -> str:
    def table(parts: Sequence[Part], title: str) -> str:
        rows = [
            (
                part.symbol if title == "element" else f"{part.symbol}{part.atoms[0]}",
                number(len(part.atoms)),
                *_mae_and_rmse(part.force),
                _shown(part.force.maximum),
            )
            for part in parts
        ]
        caption = "Force errors per component, in kcal/mol/Å."
        return html.table((title, "atoms", "MAE", "RMSE", "largest"), rows, caption)

    by_atom = html.details("The same by atom", table(errors.accuracy.each_atom, "atom"))
    return html.heading("Errors by element") + table(errors.elements, "element") + by_atom


def _worst(folder: RunFolder, indices: Sequence[int]) -> str:
    """Pictures of the first model's worst frames."""
    frames = folder.frames(WORST)
    if frames is None:
        return ""
    shown = frames[:MOST_PICTURES]
    view = molecule.look(shown.numbers, shown.positions)
    found = _frame_errors(folder, indices)
    tiles = []
    for place in range(len(shown)):
        first, second = found[place] if place < len(found) else (f"no. {place + 1}", "")
        title = f"One of the worst frames, {first}"
        tiles.append((molecule.picture(view, place, f"worst-{place}", title), first, second))
    caption = (
        f"The {len(shown)} frames with the largest errors, worst first, with their force RMSE; "
        f"{WORST} holds {len(frames)} of them."
    )
    return html.heading("The worst frames") + html.figure(html.film(tiles), caption)


def _frame_errors(folder: RunFolder, indices: Sequence[int]) -> list[tuple[str, str]]:
    """Name and force RMSE of each of the worst frames, as the parity file has them."""
    pair = _pair(folder.arrays(PARITY.format(0)) or {}, "forces")
    if pair is None or any(not 0 <= index < len(pair[0]) for index in indices):
        return [(f"frame {index}", "") for index in indices]
    rmse = np.sqrt(((pair[1] - pair[0]) ** 2).mean(axis=(1, 2))) / KCAL_MOL
    return [(f"frame {n}", f"{number(float(rmse[n]))} kcal/mol/Å") for n in indices]
