"""Error against number of labels: a table in Markdown and a figure, from what others measured.

    python benchmarks/fewest.py DATA --points 50 100 200 400 --output fewest.json
    python benchmarks/students.py DATA --molecules ethanol azobenzene --output students
    python benchmarks/curve.py fewest.json [--students students/students.json]
        [--molecules ethanol ...] [--picture few-labels.png]

Rows are those of fewest.json without a baseline, on GFN2-xTB and on several baselines, students,
and the published errors of MACE. Errors are mean absolute errors in meV and meV/angstrom, means
over the splits that were measured, with their standard deviations where there are two or more. Of
several kernels or sets of baselines, each is a row of its own; the figure has the best of them.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from pathlib import Path

import numpy as np
from fewest import MACE

from flexcalc.display import plots

ERRORS = ("energy_mae_meV", "force_mae_meV_A")
NONE, GFN2, COMBINED, STUDENT = "no baseline", "GFN2-xTB", "combined", "student"
PUBLISHED = "MACE, published"
KINDS = (NONE, GFN2, COMBINED, STUDENT, PUBLISHED)


def kind_of(baselines):
    """What a row of fewest.json is in the table; None of another single baseline."""
    if "," in baselines:
        return COMBINED
    return {"none": NONE, "xtb:GFN2-xTB": GFN2}.get(baselines)


def collected(fewest, students):
    """(molecule, kind, kernel, baselines) -> points -> rows of energy and force errors."""
    found = defaultdict(lambda: defaultdict(list))
    for row in fewest:
        kind = kind_of(row["baselines"])
        if kind is not None:
            own = row["baselines"] if kind == COMBINED else ""
            key = row["molecule"], kind, row.get("kernel", ""), own
            found[key][row["points"]].append([row[name] for name in ERRORS])
    for row in students:
        if row["model"] == "student":
            key = row["molecule"], STUDENT, "", ""
            found[key][row["points"]].append([row[name] for name in ERRORS])
    for molecule in {key[0] for key in found} & MACE.keys():
        found[molecule, PUBLISHED, "", ""][50].append(list(MACE[molecule]))
    return found


def cell(rows):
    """Energy and force error, with their spreads."""
    rows = np.array(rows)
    mean, spread = rows.mean(axis=0), rows.std(axis=0)
    if len(rows) == 1:
        return " / ".join(f"{value:.1f}" for value in mean)
    return " / ".join(f"{value:.1f} ± {own:.1f}" for value, own in zip(mean, spread, strict=True))


def table(found):
    """Lines of Markdown."""
    sizes = sorted({points for rows in found.values() for points in rows})
    yield "| | | " + " | ".join(f"{points} labels" for points in sizes) + " |"
    yield "|---" * (len(sizes) + 2) + "|"
    for key in sorted(found, key=lambda one: (one[0], KINDS.index(one[1]), *one[2:])):
        molecule, kind, kernel, baselines = key
        more = [part for part in (kernel and f"kernel {kernel}", baselines) if part]
        name = f"{kind} ({', '.join(more)})" if more else kind
        cells = [cell(found[key][points]) if points in found[key] else "" for points in sizes]
        yield f"| {molecule} | {name} | " + " | ".join(cells) + " |"


def draw(found, molecules, picture):
    """A panel of force errors for each molecule."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    columns = min(len(molecules), 2)
    rows = -(-len(molecules) // columns)
    figure, panels = plt.subplots(
        rows, columns, figsize=(4.4 * columns, 3.4 * rows), squeeze=False, layout="constrained"
    )
    for panel in panels.flat[len(molecules) :]:
        panel.remove()
    for panel, molecule in zip(panels.flat, molecules, strict=False):
        mine = {key: value for key, value in found.items() if key[0] == molecule}
        sizes = np.array(sorted({points for value in mine.values() for points in value}))
        lines = {}
        for kind in KINDS:
            some = [value for key, value in mine.items() if key[1] == kind]
            # Panels have the same lines, so that one legend is enough.
            lines[kind] = np.array(
                [
                    min([np.mean(one[n], axis=0)[1] for one in some if n in one], default=np.nan)
                    for n in sizes
                ]
            )
        plots.curves(sizes, lines, ("labels", "force MAE / meV Å⁻¹"), log="xy").on(panel)
        panel.set_title(molecule)
        panel.get_legend().remove()
    handles, names = panels.flat[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside upper center", ncols=len(KINDS), frameon=False)
    figure.savefig(picture, dpi=150)


def main():
    """Print the table, and draw if a picture is asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("fewest", type=Path)
    parser.add_argument("--students", type=Path)
    parser.add_argument("--molecules", nargs="+")
    parser.add_argument("--picture", type=Path)
    options = parser.parse_args()
    students = [] if options.students is None else json.loads(options.students.read_text())
    found = collected(json.loads(options.fewest.read_text()), students)
    molecules = options.molecules or sorted({key[0] for key in found})
    found = {key: rows for key, rows in found.items() if key[0] in molecules}
    print("\n".join(table(found)))
    if options.picture is not None:
        draw(found, molecules, options.picture)


if __name__ == "__main__":
    main()
