"""What a model that is trained on the way saves: calls of an expensive reference to a saddle.

    python benchmarks/assisted.py xtb:GFN2-xTB xtb:GFN1-xTB
    python benchmarks/assisted.py dft:PBE-D3BJ/def2-SVP xtb:GFN2-xTB --only assisted --output FOLDER

The path of glycine from Ip to IIIp by a band of 11 images, by `path --saddle` on the reference
alone and with `--assist`. A row has the calls of the reference, of the cheap potential with its
correction, the barrier of the saddle by the reference and its force there, and what the descent
joins. `to_saddle` leaves out what the direct search calls for after the saddle: Hessians, descent
and vibrations. At the end: how far the two saddles are apart.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import flexcalc
from flexcalc.geometry import largest_move, match_atoms

INPUTS = Path(__file__).parents[1] / "inputs"


def row_of(kind, reference, force_eV_A, **options):
    """A row of the table, and the saddle (atoms, 3)."""
    ends = (INPUTS / f"glycine-{name}.xyz" for name in ("Ip", "IIIp"))
    method = flexcalc.NEB(images=11, force_tolerance_eV_A=0.005)
    begun = time.perf_counter()
    found = flexcalc.path(
        reference, *ends, method=method, saddle=True, saddle_force_eV_A=force_eV_A, **options
    )
    saddle, spent = found.saddle, found.all_evaluations
    direct = kind == "direct"
    before = [(found.evaluations, ("ends", "band")), (saddle.evaluations, ("search",))]
    row = {
        "search": kind,
        "reference": spent.total if direct else spent.reference,
        "to_saddle": sum(getattr(part, name) or 0 for part, names in before for name in names)
        if direct
        else spent.reference,
        "model": 0 if direct else spent.total,
        "first_order": saddle.first_order,
        "barrier_kcal_mol": saddle.barrier_kcal_mol
        if direct
        else saddle.barrier_reference_kcal_mol,
        "force_eV_A": saddle.force_eV_A if direct else saddle.reference_force_eV_A,
        "imaginary_frequency_cm": saddle.imaginary_frequency_cm,
        "joins": [saddle.irc_start_is, saddle.irc_end_is],
        "seconds": time.perf_counter() - begun,
    }
    return row, saddle.to_dataset()


def apart(numbers, one, other):
    """Largest distance of an atom in angstrom; mirror images and identical atoms are the same."""
    return min(
        largest_move((sign * one)[match_atoms(numbers, sign * one, other)], other)
        for sign in (1, -1)
    )


def main():
    """Print a row per search, and compare them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("reference")
    parser.add_argument("assist")
    parser.add_argument("--only", choices=("direct", "assisted"))
    parser.add_argument("--force", type=float, default=0.005, help="of the saddle, in eV/angstrom")
    parser.add_argument("--output", type=Path, help="run folders, which can be resumed")
    arguments = parser.parse_args()
    found = {}
    for kind in ("direct", "assisted"):
        if arguments.only not in (None, kind):
            continue
        options = {"progress": False} if arguments.output is None else {}
        if arguments.output is not None:
            options["output"] = arguments.output / kind
        if kind == "assisted":
            options["assist"] = arguments.assist
        found[kind] = row_of(kind, arguments.reference, arguments.force, **options)
        print(json.dumps(found[kind][0]), flush=True)
    if len(found) == 2:
        (direct, one), (assisted, other) = found["direct"], found["assisted"]
        for key in ("reference", "to_saddle"):
            print(f"{key}: {direct[key]} and {assisted[key]}, {direct[key] / assisted[key]:.1f}")
        off = assisted["barrier_kcal_mol"] - direct["barrier_kcal_mol"]
        far = apart(one.numbers, one.positions[0], other.positions[0])
        print(f"barriers differ by {off:+.4f} kcal/mol, saddles by {far:.4f} A")


if __name__ == "__main__":
    main()
