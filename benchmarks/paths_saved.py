"""What following a path's direction saves, and few images: evaluations of `path --saddle`.

    python benchmarks/paths_saved.py
    python benchmarks/paths_saved.py glycine --json saved.json

All routes end with the Hessian of the saddle and the descent from it, to 0.005 eV/A: without
following, with all images, and with few images at first (the default). `glycine` is
Ip to IIIp by a band of 11 images; `azobenzene` its inversion, from the scan of the shipped input. A
row has the evaluations by phase, those up to the saddle with its Hessian (`to_saddle`), the barrier
of the saddle, and whether it joins both ends by the descent from it.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import flexcalc
from flexcalc.config import load
from flexcalc.config.paths import PathSearch
from flexcalc.results.evaluations import PHASES

INPUTS = Path(__file__).parents[1] / "inputs"
FORCE_EV_A = 0.005
MODEL = "xtb:GFN2-xTB"


def glycine(**options):
    """The path of glycine from Ip to IIIp."""
    ends = (INPUTS / f"glycine-{name}.xyz" for name in ("Ip", "IIIp"))
    method = flexcalc.NEB(images=11, force_tolerance_eV_A=FORCE_EV_A)
    return flexcalc.path(MODEL, *ends, method=method, **options)


def azobenzene(**options):
    """The inversion of azobenzene from cis to trans."""
    config = load(PathSearch, INPUTS / "path-azobenzene-inversion.toml")
    return flexcalc.path(
        MODEL, config.start, config.end, method=config.method, relax_ends=False, **options
    )


def row_of(name, search, **asked):
    """A row of the table."""
    begun = time.perf_counter()
    found = search(saddle=True, saddle_force_eV_A=FORCE_EV_A, progress=False, **asked)
    seconds, saddle = time.perf_counter() - begun, found.saddle
    parts = (found.evaluations, saddle.evaluations)
    counts = {phase: sum(getattr(part, phase) or 0 for part in parts) for phase in PHASES}
    hessian = 6 * len(saddle.atoms)
    return {
        "path": name,
        **asked,
        **counts,
        "all": sum(part.total for part in parts),
        "to_saddle": counts["ends"] + counts["band"] + counts["search"] + hessian,
        "barrier_kcal_mol": saddle.barrier_kcal_mol,
        "barrier_back_kcal_mol": saddle.barrier_back_kcal_mol,
        "imaginary_modes": saddle.imaginary_modes,
        "imaginary_frequency_cm": saddle.imaginary_frequency_cm,
        "joins": [saddle.irc_start_is, saddle.irc_end_is],
        "seconds": seconds,
    }


ROUTES = (
    {"follow": False, "adaptive": False},
    {"follow": True, "adaptive": False},
    {"follow": True, "adaptive": True},
)

SEARCHES = {"glycine": glycine, "azobenzene": azobenzene}


def main():
    """Print a row per path and route, and what is saved."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", choices=(*SEARCHES, []), default=[])
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    rows = []
    for name in arguments.names or SEARCHES:
        routes = [row_of(name, SEARCHES[name], **route) for route in ROUTES]
        rows += routes
        for row in routes:
            print(json.dumps(row), flush=True)
        for row in routes[1:]:
            for key in ("to_saddle", "all"):
                before, after = routes[0][key], row[key]
                print(f"{name}: {key} {after} of {before} evaluations, {after / before:.0%}")
            off = row["barrier_kcal_mol"] - routes[0]["barrier_kcal_mol"]
            print(f"{name}: barriers differ by {off:+.4f} kcal/mol", flush=True)
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
