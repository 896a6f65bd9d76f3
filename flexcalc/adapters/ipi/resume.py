"""Restart of an interrupted or killed i-PI run from its newest checkpoint.

i-PI writes a RESTART when it is stopped, but not when it is killed, and overwrites its checkpoints.
Outputs are truncated to the checkpoint, because records after it would be written twice.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from xml.etree.ElementTree import Element, SubElement

from flexcalc.adapters.ipi import inputs
from flexcalc.errors import FileFormatError
from flexcalc.storage import open_regular

CHECKPOINT = "flexcalc-restart"
"""Name of the added checkpoint output, a new file each time, so that the last complete one
remains."""
MAX_CHECKPOINTS = 20
"""Number of checkpoints of a run; they are removed when it is complete."""
RESUME, RESTART = "resume.xml", "RESTART"
SWAPS = "remd_idx"
"""i-PI's own name of the record of replica exchanges."""
FRAMES = {"xyz": "xyz", "ase": "extxyz"}
"""Suffixes of trajectory formats with atoms + 2 lines per frame."""


def add_checkpoints(root: Element, steps: int) -> None:
    """Add checkpoints to an input with `steps` steps in total; changes the input in place."""
    output = root.find("output")
    output = SubElement(root, "output") if output is None else output
    stride = str(max(1, steps // MAX_CHECKPOINTS))
    SubElement(output, "checkpoint", filename=CHECKPOINT, stride=stride, overwrite="False")


def newest(root: Element, folder: Path) -> Element | None:
    """The complete checkpoint with the most steps; None if there is none."""
    found = []
    for path in (folder / RESTART, folder / RESUME, *_checkpoints(root, folder)):
        try:
            found.append(inputs.load(path))
        except FileFormatError:
            continue  # missing, or incomplete after a kill
    return max(found, key=inputs.steps_done, default=None)


def clear(root: Element, folder: Path) -> None:
    """Remove the checkpoints."""
    for path in _checkpoints(root, folder):
        path.unlink()


def truncate_outputs(root: Element, folder: Path, steps: int, atoms: int) -> None:
    """Truncate the outputs of i-PI to a number of steps.

    Trajectories in other formats than xyz and ase are not changed.

    Args:
        root: the input.
        folder: working folder of i-PI.
        steps: steps done.
        atoms: number of atoms.
    """
    for element in root.iterfind("output/properties"):
        for system in inputs.systems(root):
            path = inputs.output_file(root, folder, element.get("filename", "out"), system)
            _truncate(path, _records(element, steps), lines=1)
    for element in root.iterfind("output/trajectory"):
        ending = FRAMES.get(element.get("format", "xyz").strip())
        for system in inputs.systems(root):
            name = inputs.output_file(root, folder, element.get("filename", "traj"), system).name
            for path in folder.glob(f"{name}*.{ending}"):
                _truncate(path, _records(element, steps), lines=atoms + 2)
    for element in root.iterfind("smotion/remd"):
        name = (element.findtext("swapfile") or SWAPS).strip()
        _truncate_swaps(inputs.output_file(root, folder, name), steps)


def _checkpoints(root: Element, folder: Path) -> Iterator[Path]:
    return folder.glob(inputs.output_file(root, folder, f"{CHECKPOINT}_*").name)


def _records(element: Element, steps: int) -> int:
    """Number of records of an output after `steps` steps, including the one before the first."""
    return steps // max(1, int(float(element.get("stride", "1")))) + 1


def _truncate(path: Path, records: int, lines: int) -> None:
    """Truncate a file to the comments at its top and `records` records of `lines` lines."""
    if not path.exists():
        return
    size, left = 0, records * lines
    with open_regular(path, None) as stream:
        for line in stream:
            if line.startswith(b"#") and left == records * lines:
                size += len(line)
            elif left and line.endswith(b"\n"):
                size, left = size + len(line), left - 1
            else:
                break
    os.truncate(path, size)


def _truncate_swaps(path: Path, steps: int) -> None:
    """Truncate replica exchanges, one per line, to the first `steps` steps, counted from 0."""
    if not path.exists():
        return
    size = 0
    with open_regular(path, None) as stream:
        for line in stream:
            if not line.endswith(b"\n") or int(line.split()[0]) >= steps:
                break
            size += len(line)
    os.truncate(path, size)
