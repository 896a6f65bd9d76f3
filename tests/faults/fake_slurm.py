"""Slurm's commands as scripts on the PATH, for what a real queue does too slowly or too rarely."""

from __future__ import annotations

from pathlib import Path

SCRIPTS = {
    "sbatch": """\
cat "$1" >> {folder}/submitted
if [ -e {folder}/refusal ]; then cat {folder}/refusal >&2; exit 1; fi
id=1; until mkdir {folder}/job-$id 2> /dev/null; do id=$((id + 1)); done
if [ ! -e {folder}/pending ]; then
    cp "$1" {folder}/job-$id/script
    setsid bash {folder}/job-$id/script > {folder}/job-$id/output 2>&1 &
    echo $! > {folder}/job-$id/pid
fi
echo "Submitted batch job $id"
""",
    "squeue": """\
if [ -e {folder}/standing ]; then cat {folder}/standing; exit; fi
for job in {folder}/job-*; do echo "${job##*-}|RUNNING|None"; done
""",
    "scancel": """\
echo "$1" >> {folder}/cancelled
if [ -e {folder}/job-$1/pid ]; then kill -- -$(cat {folder}/job-$1/pid); fi
""",
}


class FakeSlurm:
    """A queue that runs its jobs at once on this machine, unless it is told otherwise.

    Args:
        folder: gets the scripts, to be put on the PATH, and what they write down.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        folder.mkdir()
        for name, text in SCRIPTS.items():
            script = folder / name
            script.write_text("#!/bin/bash\n" + text.replace("{folder}", str(folder)))
            script.chmod(0o755)

    def refuse(self, error: str) -> None:
        """Take no job, and say why."""
        (self.folder / "refusal").write_text(error)

    def keep_pending(self) -> None:
        """Start no job."""
        (self.folder / "pending").touch()

    def say(self, *rows: str) -> None:
        """What squeue prints, instead of jobs that run: rows of id|state|reason."""
        (self.folder / "standing").write_text("".join(f"{row}\n" for row in rows))

    def read(self, name: str) -> list[str]:
        """Lines that a script wrote down; none if it never ran."""
        path = self.folder / name
        return path.read_text().splitlines() if path.exists() else []

    @property
    def jobs(self) -> int:
        """How many were submitted."""
        return self.read("submitted").count("#!/usr/bin/env bash")
