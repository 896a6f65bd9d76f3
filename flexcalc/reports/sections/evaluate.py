"""Errors on held-out labels: how large, how sure, and where."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from flexcalc.display import figures, html, molecule
from flexcalc.display.numbers import NONE, between, counted, number
from flexcalc.reports import facts
from flexcalc.reports.folder import RunFolder
from flexcalc.reports.rows import dicts
from flexcalc.units import KCAL_MOL

TITLE = "Accuracy"
KEYS = (
    *("frames", "force_rmse_kcal_mol_A", "force_mae_kcal_mol_A"),
    *("energy_rmse_kcal_mol", "energy_mae_kcal_mol", "seconds"),
)
ROWS = (
    ("force", "Forces, per component", "_A"),
    ("energy", "Energies as predicted", ""),
    ("energy_offset_free", "Energies, mean error removed", ""),
    ("force_zero", "Scale: no forces at all", "_A"),
    ("energy_zero", "Scale: the mean energy", ""),
)
MOST_PICTURES = 6

Errors = Mapping[str, Any]


def body(folder: RunFolder) -> str:
    """The section as HTML."""
    models = _models(folder.json("errors.json"))
    results = folder.results
    if len(models) == 1:
        results = dict(models[0][1]) | dict(results)
    intro = (
        "Predictions on labelled frames that the model was not trained on. Force errors are "
        "means over the three Cartesian components of every atom; the other convention in use, "
        "the mean length of an atom's error vector, gives about twice as much."
    )
    parts = [html.paragraph(intro, "lead"), html.cards(facts.chosen(results, KEYS))]
    if len(models) > 1:
        parts.append(_comparison(models))
    count = max(len(models), len(list(folder.path.glob("parity-*.npz"))))
    for index in range(count):
        name, errors = models[index] if index < len(models) else (f"model {index}", {})
        if count > 1:
            parts.append(html.heading(name))
        parts.append(_model(folder, index, errors))
    parts.append(_worst(folder, models[0][1] if models else {}))
    if not count:
        parts.append(html.paragraph("There are no errors yet."))
    return "".join(parts)


def _models(content: Any) -> list[tuple[str, Errors]]:
    """(name, errors) of each model: errors.json maps names to errors, or lists them."""
    if isinstance(content, dict) and "frames" in content:
        return [(str(content.get("model", "model")), content)]
    if isinstance(content, dict):
        return [(str(name), one) for name, one in content.items() if isinstance(one, dict)]
    if isinstance(content, list):
        found = [one for one in content if isinstance(one, dict)]
        return [(str(one.get("model", f"model {n}")), one) for n, one in enumerate(found)]
    return []


def _comparison(models: Sequence[tuple[str, Errors]]) -> str:
    keys = (
        *("force_mae_kcal_mol_A", "force_rmse_kcal_mol_A"),
        *("energy_mae_kcal_mol", "energy_rmse_kcal_mol", "energy_offset_free_rmse_kcal_mol"),
    )
    head = ("model", "force MAE", "force RMSE", "energy MAE", "energy RMSE", "offset removed")
    rows = [(name, *(number(errors.get(key)) for key in keys)) for name, errors in models]
    caption = (
        "All models on the same frames: energies in kcal/mol, forces in kcal/mol/Å; the last "
        "column is the energy RMSE once the mean error is taken off."
    )
    return html.table(head, rows, caption)


def _model(folder: RunFolder, index: int, errors: Errors) -> str:
    parts = [html.notes(_strings(errors.get("warnings")))]
    if errors:
        parts.append(_errors_table(errors))
    parts.append(_parities(folder, index, errors))
    for number_of, block in enumerate(dicts(errors.get("regions"))):
        parts.append(_regions(block, f"evaluate-{index}-regions-{number_of}"))
    if errors.get("elements"):
        parts.append(_elements(errors))
    return "".join(parts)


def _errors_table(errors: Errors) -> str:
    rows = []
    for key, title, per in ROWS:
        if f"{key}_mae_kcal_mol{per}" not in errors:
            continue
        cells = []
        for unit in ("kcal_mol", "meV"):
            for what in ("mae", "rmse"):
                interval = errors.get(f"{key}_{what}_interval_{unit}{per}")
                cells.append(between(errors.get(f"{key}_{what}_{unit}{per}"), interval))
            cells.append(number(errors.get(f"{key}_max_{unit}{per}")))
        rows.append((title, *cells))
    head = ("", "MAE", "RMSE", "largest")
    caption = (
        f"Errors on {number(errors.get('frames'))} frames in {{}}, with 95 % bootstrap intervals "
        "over frames. The rows named scale are the errors of a model that knows nothing."
    )
    tables = [
        html.table(head, [(row[0], *row[start : start + 3]) for row in rows], caption.format(units))
        for start, units in ((1, "kcal/mol and kcal/mol/Å"), (4, "meV and meV/Å"))
    ]
    return tables[0] + html.details("The same in meV and meV/Å", tables[1]) + _laws(errors)


def _laws(errors: Errors) -> str:
    rows = [
        (title, number(errors.get(f"{key}_kcal_mol{per}")), number(errors.get(f"{key}_meV{per}")))
        for title, key, per in (
            ("Mean energy error (offset)", "energy_offset", ""),
            ("Largest net force of any frame", "net_force_max", "_A"),
            ("Largest net torque of any frame", "net_torque_max", ""),
        )
        if f"{key}_meV{per}" in errors
    ]
    caption = (
        "Predicted net force and torque vanish for a molecule in vacuum; energies and torques "
        "in kcal/mol or meV, forces per Å."
    )
    laws = html.table(("", "kcal/mol", "meV"), rows, caption)
    return html.details("Offset, net force and net torque", laws) if rows else ""


def _parities(folder: RunFolder, index: int, errors: Errors) -> str:
    arrays = folder.arrays(f"parity-{index}.npz")
    if arrays is None:
        return ""
    pictures = []
    for what, unit in (("energies", "kcal/mol"), ("forces", "kcal/mol/Å")):
        pair = _pair(arrays, what)
        if pair is None:
            continue
        name = f"evaluate-{index}-{what}"
        title = f"Predicted against reference {what}"
        svg = figures.parity(what, *pair).svg(name, title)
        pictures.append(html.figure(svg, _parity_caption(what, unit, pair[0].size, errors)))
    return html.figures(*pictures)


def _pair(arrays: Mapping[str, np.ndarray], what: str) -> tuple[np.ndarray, np.ndarray] | None:
    reference, predicted = (arrays.get(f"{what}_{kind}") for kind in ("reference", "predicted"))
    if reference is None or predicted is None or reference.size == 0:
        return None
    if reference.shape != predicted.shape or not np.isfinite([reference, predicted]).all():
        return None
    return reference.astype(float), predicted.astype(float)


def _parity_caption(what: str, unit: str, points: int, errors: Errors) -> str:
    key = "energy" if what == "energies" else "force"
    per = "" if key == "energy" else "_A"
    kind = "energies above their mean" if key == "energy" else "force components"
    words = f"{number(points)} {kind}, predicted against reference, in {unit}."
    rmse = errors.get(f"{key}_rmse_kcal_mol{per}")
    if rmse is not None:
        words += f" RMSE {number(rmse)} {unit}."
    slope, correlation = errors.get(f"{key}_slope"), errors.get(f"{key}_correlation")
    if slope is not None:
        words += f" Slope {number(slope, 4)}, correlation {number(correlation, 5)}."
    return words


def _regions(block: Mapping[str, Any], name: str) -> str:
    bins = [row for row in dicts(block.get("bins")) if {"from", "to", "population"} <= set(row)]
    bins.sort(key=lambda row: row["from"])
    if not bins:
        return ""
    key = "force_rmse_kcal_mol_A" if any("force_rmse_kcal_mol_A" in row for row in bins) else ""
    key = key or "energy_rmse_kcal_mol"
    quantity, unit = ("force", "kcal/mol/Å") if key.startswith("force") else ("energy", "kcal/mol")
    error = np.array([row.get(key, np.nan) for row in bins], dtype=float)
    edges = np.array([bins[0]["from"], *(row["to"] for row in bins)], dtype=float)
    population = np.array([row["population"] for row in bins])
    label = str(block.get("coordinate", "coordinate"))
    unit_of = "Å" if block.get("unit") == "A" else "degrees"
    svg = figures.errors_by_region(
        edges, error, population, (f"{label} / {unit_of}", f"{quantity} RMSE")
    ).svg(name, f"{quantity.capitalize()} error by {label}")
    worst = max((row for row in bins if key in row), key=lambda row: row[key], default=None)
    caption = f"{quantity.capitalize()} RMSE in {unit} by bins of {label}, and the frames in each."
    if worst is not None:
        caption += (
            f" Worst: {number(float(worst['from']))} to {number(float(worst['to']))} {unit_of}, "
            f"{number(worst[key])} {unit} over {counted(worst['population'], 'frame')}."
        )
    drawn = html.figure(
        svg, caption, _regions_table(sorted(bins, key=lambda row: -row.get(key, -1.0))), wide=True
    )
    return html.heading(f"Errors by {label}") + drawn


def _regions_table(bins: Sequence[Mapping[str, Any]]) -> str:
    """Rows in the order of the file: the worst region first."""
    keys = [f"force_{what}_kcal_mol_A" for what in ("mae", "rmse")]
    keys += [f"energy_{what}_kcal_mol" for what in ("mae", "rmse")]
    rows = [
        (
            f"{number(float(row['from']))} to {number(float(row['to']))}",
            number(row["population"]),
            *(number(row.get(key)) for key in keys),
        )
        for row in bins
    ]
    head = ("region", "frames", "force MAE", "force RMSE", "energy MAE", "energy RMSE")
    return html.table(head, rows, "Worst region first; kcal/mol/Å and kcal/mol.")


def _elements(errors: Errors) -> str:
    def table(key: str, title: str) -> str:
        rows = [
            (
                str(row.get("name", NONE)),
                number(len(row.get("atoms", ()))),
                number(row.get("force_mae_kcal_mol_A")),
                number(row.get("force_rmse_kcal_mol_A")),
                number(row.get("force_max_kcal_mol_A")),
            )
            for row in dicts(errors.get(key))
        ]
        caption = "Force errors per component, in kcal/mol/Å."
        return html.table((title, "atoms", "MAE", "RMSE", "largest"), rows, caption)

    by_atom = html.details("The same for each atom", table("each_atom", "atom"))
    return html.heading("Errors by element") + table("elements", "element") + by_atom


def _worst(folder: RunFolder, errors: Errors) -> str:
    """Pictures of the first model's worst frames."""
    frames = folder.frames("worst.xyz")
    if frames is None:
        return ""
    shown = frames[:MOST_PICTURES]
    view = molecule.look(shown.numbers, shown.positions)
    found = _frame_errors(folder, errors)
    tiles = []
    for place in range(len(shown)):
        first, second = found[place] if place < len(found) else (f"no. {place + 1}", "")
        title = f"One of the worst frames, {first}"
        tiles.append((molecule.picture(view, place, f"worst-{place}", title), first, second))
    caption = (
        f"The {len(shown)} frames with the largest errors, the worst first, each with its force "
        f"RMSE; worst.xyz holds {len(frames)} of them."
    )
    return html.heading("The worst frames") + html.figure(html.film(tiles), caption)


def _frame_errors(folder: RunFolder, errors: Errors) -> list[tuple[str, str]]:
    """Name and force RMSE of each of the worst frames, as the parity file has them."""
    indices = [one for one in errors.get("worst_frames", ()) if isinstance(one, int)]
    pair = _pair(folder.arrays("parity-0.npz") or {}, "forces")
    if pair is None or (indices and max(indices) >= len(pair[0])):
        return [(f"frame {index}", "") for index in indices]
    rmse = np.sqrt(((pair[1] - pair[0]) ** 2).mean(axis=(1, 2))) / KCAL_MOL
    return [(f"frame {n}", f"{number(float(rmse[n]))} kcal/mol/Å") for n in indices]


def _strings(content: Any) -> list[str]:
    return [str(one) for one in content] if isinstance(content, list) else []
