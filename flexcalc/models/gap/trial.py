"""Try out with QUIP, in a process of its own, a file that may end that process.

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
"""What is written where the file is sound."""


def question(path: Path, numbers: np.ndarray, init_args: str, positions: np.ndarray) -> bytes:
    """What the process reads: a file, a molecule (atoms,) and a geometry (atoms, 3) of it."""
    told = {
        "path": str(path),
        "numbers": numbers.tolist(),
        "init_args": init_args,
        "positions": positions.tolist(),
    }
    return json.dumps(told).encode()


def main() -> None:
    """Evaluate what standard input asks for, and say on standard output that it could be done."""
    # QUIP prints to standard output, which carries the answer: it gets another.
    answer = os.dup(1)
    os.dup2(2, 1)
    told = json.load(sys.stdin)
    quip = Quip(Path(told["path"]), np.array(told["numbers"]), told["init_args"])
    quip(np.array([told["positions"]]))
    os.write(answer, DONE)
