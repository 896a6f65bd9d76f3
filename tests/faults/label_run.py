"""A labelling run to be killed: python label_run.py FOLDER FRAMES WORKERS SECONDS CALLS."""

import sys
from functools import partial
from pathlib import Path

from faulty import geometries, open_faulty

from flexcalc.labelling import label
from flexcalc.storage import run_folder


def acknowledge(done: int, total: int, note: str = "") -> None:
    """Tell the killer what is said to be on disk."""
    print(done, flush=True)


if __name__ == "__main__":
    folder, frames, workers, seconds, calls = sys.argv[1:]
    opener = partial(open_faulty, calls=calls, seconds=float(seconds))
    with run_folder(Path(folder)):
        label(
            opener,
            geometries(int(frames)),
            Path(folder),
            workers=int(workers),
            progress=acknowledge,
        )
    print("finished", flush=True)
