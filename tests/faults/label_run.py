"""A labelling run to be killed.

FOLDER FRAMES WORKERS SECONDS CALLS HANGS_AT: springs that take so long a call, write their calls
down and hang at a geometry (-1: at none). FOLDER FRAMES WORKERS ADDRESS: a real reference.
"""

import sys
from functools import partial
from pathlib import Path

from faulty import ethanol, geometries, open_faulty, planted
from in_folder import label

from flexcalc.storage import run_folder


def acknowledge(done: int, total: int, note: str = "") -> None:
    """Tell the killer what is said to be on disk."""
    print(done, flush=True)


if __name__ == "__main__":
    folder, frames, workers, *rest = sys.argv[1:]
    if len(rest) == 1:
        from flexcalc.registry import open_potential

        data = ethanol(int(frames))
        opener = partial(open_potential, rest[0], data.numbers.tolist())
    else:
        seconds, calls, hangs_at = rest
        data = geometries(int(frames))
        faults = planted(data, {int(hangs_at): "hangs"}) if int(hangs_at) >= 0 else {}
        opener = partial(open_faulty, faults, calls=calls, seconds=float(seconds))
    with run_folder(Path(folder)):
        label(opener, data, Path(folder), workers=int(workers), progress=acknowledge)
    print("finished", flush=True)
