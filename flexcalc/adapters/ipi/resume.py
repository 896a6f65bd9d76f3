"""A run of i-PI that was stopped or killed: where it can be taken up, and its outputs up to there.

i-PI writes a RESTART when it is stopped, but not when it is killed, and rewrites its checkpoints
in place; whatever it wrote after the checkpoint it is taken up at would stand there twice.
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
"""Name of the output that is added: a new file each time, so that the last whole one stays."""
MOST = 20
"""Checkpoints in a run; they go when it is finished."""
RESUME, RESTART = "resume.xml", "RESTART"
SWAPS = "remd_idx"
"""i-PI's own name of the record of replica exchanges."""
FRAMES = {"xyz": "xyz", "ase": "extxyz"}
"""Endings of trajectories whose frames are as many lines as atoms and two."""


def add_checkpoints(root: Element, steps: int) -> None:
    """Have i-PI write checkpoints, `steps` being all there are; changes the input in place."""
    output = root.find("output")
    output = SubElement(root, "output") if output is None else output
    stride = str(max(1, steps // MOST))
    SubElement(output, "checkpoint", filename=CHECKPOINT, stride=stride, overwrite="False")


def newest(root: Element, folder: Path) -> Element | None:
    """The checkpoint with the most steps of those that are whole; None if there is none."""
    found = []
    for path in (folder / RESTART, folder / RESUME, *_checkpoints(root, folder)):
        try:
            found.append(inputs.load(path))
        except FileFormatError:
            continue  # not there, or cut short by a kill
    return max(found, key=inputs.steps_done, default=None)


def clear(root: Element, folder: Path) -> None:
    """Remove the checkpoints."""
    for path in _checkpoints(root, folder):
        path.unlink()


def cut_back(root: Element, folder: Path, steps: int, atoms: int) -> None:
    """Cut what i-PI has written back to where it stood after so many steps.

    Trajectories in other formats than xyz and ase are left as they are.

    Args:
        root: the input.
        folder: where i-PI works.
        steps: steps done.
        atoms: number of atoms.
    """
    for element in root.iterfind("output/properties"):
        for system in inputs.systems(root):
            path = inputs.output_file(root, folder, element.get("filename", "out"), system)
            _cut(path, _records(element, steps), lines=1)
    for element in root.iterfind("output/trajectory"):
        ending = FRAMES.get(element.get("format", "xyz").strip())
        for system in inputs.systems(root):
            name = inputs.output_file(root, folder, element.get("filename", "traj"), system).name
            for path in folder.glob(f"{name}*.{ending}"):
                _cut(path, _records(element, steps), lines=atoms + 2)
    for element in root.iterfind("smotion/remd"):
        name = (element.findtext("swapfile") or SWAPS).strip()
        _cut_swaps(inputs.output_file(root, folder, name), steps)


def _checkpoints(root: Element, folder: Path) -> Iterator[Path]:
    return folder.glob(inputs.output_file(root, folder, f"{CHECKPOINT}_*").name)


def _records(element: Element, steps: int) -> int:
    """How often an output is written in so many steps, the first time before any of them."""
    return steps // max(1, int(float(element.get("stride", "1")))) + 1


def _cut(path: Path, records: int, lines: int) -> None:
    """Keep the comments at the top of a file, and so many records of so many lines."""
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


def _cut_swaps(path: Path, steps: int) -> None:
    """Keep the exchanges of the first so many steps, counted from 0; one a line."""
    if not path.exists():
        return
    size = 0
    with open_regular(path, None) as stream:
        for line in stream:
            if not line.endswith(b"\n") or int(line.split()[0]) >= steps:
                break
            size += len(line)
    os.truncate(path, size)
