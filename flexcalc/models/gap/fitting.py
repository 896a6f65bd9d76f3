"""gap_fit: a program of the quippy-ase package that fits a GAP to frames in a file.

It runs in its own folder, without a shell. Its output is parsed for progress, metadata, and the
reason of a failure.
"""

from __future__ import annotations

import codecs
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import IO, TypedDict, cast

import numpy as np

from flexcalc.dataset import Dataset
from flexcalc.errors import InputError, MissingExtraError
from flexcalc.files import frame_bytes
from flexcalc.files.xml import parse_xml
from flexcalc.models.gap.xml import MAIN, read_files, relabel
from flexcalc.progress import Progress, silent
from flexcalc.storage import write_bytes
from flexcalc.threads import cores

FRAMES = "train.xyz"
BOX = b'Lattice="100 0 0 0 100 0 0 0 100"'
GIB_IN_MB = 1024
FOUND = re.compile(r"Number of target (energies|forces) .*found: +(\d+)")
FAILED = re.compile(
    r"SYSTEM ABORT|flexcalc\.errors|unknown key|\bERROR\b|^Error|Program received signal|"
    r"Fortran runtime error"
)
UNTOLD = re.compile(r"SYSTEM ABORT:\s*(Traceback|Exit: Mandatory|$)|STOP")
"""Output of a failed gap_fit, and the parts of it without information."""


@dataclass
class Log:
    """What gap_fit prints, read line by line.

    Args:
        descriptors: their number, for the number of steps.
        progress: called with hundredths of the steps.
    """

    descriptors: int
    progress: Progress = silent
    lines: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    steps: int = 0
    peak_mb: int = 0

    def read(self, line: str) -> None:
        """Take one line.

        Raises:
            InputError: the fit needs more memory than there is, which gap_fit tells before.
        """
        if part := re.match(r"Covariance matrix +(\d+)%", line):
            self._tell(int(part[1]))
            return
        self.lines.append(line)
        if line.startswith("WARNING") and "affected descriptor" not in line:
            self.warnings.append(line.removeprefix("WARNING:").strip())
        elif re.match(r"PEAK +\d+ MB", line):
            self.peak_mb = int(line.split()[1])
        elif re.match(r"Free system memory +\d+ GB", line):
            self._check_memory(int(line.split()[3]))
        elif line.startswith(
            ("Finished CUR", "Cartesian coordinates transformed", "Finished sparse covariance")
        ) or re.match(r"TIMER: (Solve linear system|GP sparsify)", line):
            self.steps += 1
            self._tell()

    def check_labels(self, frames: int, atoms: int) -> None:
        """Refuse a fit that did not see every label.

        Raises:
            InputError: gives the numbers of labels found.
        """
        found = {match[1]: int(match[2]) for match in map(FOUND.match, self.lines) if match}
        for kind, expected in (("energies", frames), ("forces", 3 * frames * atoms)):
            if found.get(kind) != expected:
                raise InputError(
                    f"gap: gap_fit took {found.get(kind, 0)} of the {expected} {kind}; check extra"
                )

    def reason(self) -> str:
        """Why the fit failed, in gap_fit's own words."""
        telling = [index for index, line in enumerate(self.lines) if FAILED.search(line)]
        for index in telling:
            # The text of an abort stands on the line itself, or on the one before.
            for line in (self.lines[index], *self.lines[max(index - 1, 0) : index]):
                if not UNTOLD.match(line):
                    text = re.sub(r"^(SYSTEM ABORT|flexcalc\.errors\.\w+):", "", line)
                    return " ".join(text.split())[:300]
        return self.lines[-1][:300] if self.lines else "it printed nothing"

    def version(self) -> str:
        """Version of gap_fit, as it prints it."""
        found = [line for line in self.lines if "git version" in line]
        return found[0].rpartition(",")[2].strip() if found else "unknown"

    def _tell(self, percent: int = 0) -> None:
        total = 100 * (2 * self.descriptors + 3)
        self.progress(min(100 * self.steps + percent, total - 1), total, "gap_fit")

    def _check_memory(self, free_gb: int) -> None:
        if self.peak_mb > free_gb * GIB_IN_MB:
            raise InputError(
                f"gap: the fit needs {self.peak_mb / GIB_IN_MB:.1f} GiB, and {free_gb} GiB are "
                "free; take fewer points, or a smaller n_sparse, n_max or l_max"
            )


def executable() -> str:
    """Path of gap_fit: the program within quippy, next to this Python, or on PATH.

    The first is best: the others are scripts that start it, and stopping them may not stop it.

    Raises:
        MissingExtraError: there is none.
    """
    spec = find_spec("quippy")
    homes = [Path(home) for home in (spec.submodule_search_locations or ())] if spec else []
    for home in (*homes, Path(sys.executable).parent):
        if os.access(home / "gap_fit", os.X_OK):
            return str(home / "gap_fit")
    found = shutil.which("gap_fit")
    if found is None:
        raise MissingExtraError("quippy-ase (gap_fit)", "gap")
    return found


def run(
    arguments: Sequence[str], frames: bytes, descriptors: int, progress: Progress
) -> tuple[dict[str, bytes], Log]:
    """Fit, and return the files of the model.

    Args:
        arguments: of gap_fit, without those for its files.
        frames: the training frames as extxyz.
        descriptors: how many the arguments name.
        progress: told the steps.

    Raises:
        InputError: the fit failed; in gap_fit's words.
        MissingExtraError: there is no gap_fit.
    """
    program = executable()
    with tempfile.TemporaryDirectory(prefix="flexcalc-gap-") as home:
        write_bytes(Path(home) / FRAMES, frames)
        files = (f"at_file={FRAMES}", f"gp_file={MAIN}", "do_copy_at_file=F")
        log = Log(descriptors, progress)
        code = _follow([program, *files, "sparse_separate_file=T", *arguments], home, log)
        main = Path(home) / MAIN
        if code or not main.exists() or any("SYSTEM ABORT" in line for line in log.lines):
            raise InputError(f"gap: gap_fit failed: {log.reason()}")
        return relabel(read_files(main)), log


def _follow(command: list[str], home: str, log: Log) -> int:
    """Run a program to its end and read its lines as they come; return its exit code."""
    # Without a terminal Fortran keeps what it prints for itself until the end.
    live = {"GFORTRAN_UNBUFFERED_PRECONNECTED": "y"}
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), str(cores()))
    process = subprocess.Popen(
        command,
        cwd=home,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={**threads, **os.environ, **live},
        start_new_session=True,  # so that it can be ended with all that it started
    )
    output = cast(IO[bytes], process.stdout)
    try:
        for line in _lines(output):
            log.read(line)
        return process.wait()
    except BaseException:  # Ctrl-C, or too little memory
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        raise
    finally:
        output.close()


def _lines(stream: IO[bytes]) -> Iterator[str]:
    """Lines that are not empty, as they come; a bar of gap_fit ends each of its states with CR."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    rest = ""
    while chunk := os.read(stream.fileno(), 1 << 16):
        *whole, rest = re.split(r"[\r\n]", rest + decoder.decode(chunk))
        yield from (line.strip() for line in whole if line.strip())
    if rest.strip():
        yield rest.strip()


class Sigmas(TypedDict, total=False):
    """Expected errors of the labels of a frame, as tags of gap_fit."""

    energy_sigma: float
    """Of the energy of the frame, in eV."""
    force_sigma: float
    """Of force components, in eV/angstrom."""


def frames_of(data: Dataset, sigmas: Sequence[Sigmas] | None = None) -> bytes:
    """Training frames as extxyz for gap_fit, with tags of each frame such as `force_sigma`."""
    energies, forces = data.labels()
    tags = sigmas or [Sigmas()] * len(data)
    # QUIP overlooks the energy of a frame that has no box, though the box stands for nothing here.
    return b"".join(
        frame_bytes(data.numbers, geometry, float(energy), force, **tag).replace(
            b"Properties=", BOX + b" Properties=", 1
        )
        for geometry, energy, force, tag in zip(data.positions, energies, forces, tags, strict=True)
    )


def sparse_counts(files: dict[str, bytes]) -> dict[str, int]:
    """Sparse points of each descriptor, by what the descriptor is of (`Z=6`)."""
    counts = {}
    for entry in parse_xml(files[MAIN], MAIN).iter("gpCoordinates"):
        words = (entry.findtext("descriptor") or "").split()
        names = [word for word in words[1:] if re.match(r"Z[12]?=", word)]
        counts[" ".join([*words[:1], *names])] = int(entry.get("n_sparseX", "0"))
    return counts


def spread(count: int, most: int) -> np.ndarray:
    """At most so many indices, evenly spread over `count`."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).astype(int))
