"""Trial evaluation by QUIP, in a separate process, of a file that may end that process.

The process is a program of its own, not started by `multiprocessing`, which would run the user's
script once more in it.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import numpy as np

from flexcalc.models.gap.quip import Quip

DONE = b"evaluated"
"""Output if the file is valid."""


def question(path: Path, numbers: np.ndarray, init_args: str, positions: np.ndarray) -> bytes:
    """Input of the process: a file, a molecule (atoms,) and a geometry (atoms, 3)."""
    task = {
        "path": str(path),
        "numbers": numbers.tolist(),
        "init_args": init_args,
        "positions": positions.tolist(),
    }
    return json.dumps(task).encode()


def main() -> None:
    """Evaluate the task on standard input, and report success on standard output."""
    # QUIP prints to standard output, which is needed for the answer, so it gets another.
    answer = os.dup(1)
    os.dup2(2, 1)
    task = json.load(sys.stdin)
    quip = Quip(Path(task["path"]), np.array(task["numbers"]), task["init_args"])
    quip(np.array([task["positions"]]))
    os.write(answer, DONE)
