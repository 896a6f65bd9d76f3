"""Which extras install and work on which Python: `make installs`, or this file as a script.

For each Python and extra, the wheel is installed with that extra alone in a new environment, and
tried there in a folder outside of the repository. Needs nothing but Python and uv, so that it also
runs where the repository is not:

    python installs.py try --uv UV --python PYTHON --wheel WHEEL --rows ROWS.json
    python installs.py write ROWS.json...

The second writes the table into docs/pages/reference/install.md.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

PAGE = Path(__file__).parents[1] / "pages" / "reference" / "install.md"
BEGIN, END = "<!-- installs -->\n", "<!-- end of installs -->\n"
STEP_TIME_S = 1500
"""An installation or a trial that takes longer is taken to hang."""

EMT = "ase:ase.calculators.emt:EMT"
"""A reference that every installation has; a bad one, but what is tried is the installation."""

PREPARE = f"""
flexcalc init --examples
flexcalc label {EMT} inputs/ethanol.xyz --frames 60 --temperature-K 100 --output label
"""
TRAIN = "flexcalc train label/labels.xyz --points 20 --validation-points 10"
PLUMED = (
    "printf 'd: TORSION ATOMS=1,2,3,9\\nRESTRAINT ARG=d AT=0 KAPPA=1\\n' > plumed.dat\n"
    f"flexcalc md {EMT} inputs/ethanol.xyz --plumed plumed.dat --steps 20 --output md-plumed"
)
FRAME = f"import flexcalc; print(flexcalc.evaluate('{EMT}', 'label/labels.xyz').to_frame())"
PREDICT = (
    "import numpy; from sgdml.predict import GDMLPredict; "
    "print(GDMLPredict(numpy.load('own.npz', allow_pickle=True)).predict(numpy.zeros((1, 27)))[0])"
)
DASK = (
    "import flexcalc; from dask.distributed import LocalCluster; "
    f"flexcalc.label('{EMT}', 'inputs/ethanol.xyz', frames=4, temperature_K=100, scheduler="
    "LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=None).scheduler_address)"
)

STARTS = """
import contextlib
from flexcalc.cli import main
from flexcalc.config import COMMANDS
for name in COMMANDS:
    for words in (["init", name], [name, "--help"]):
        with open(words[-1].strip("-") + ".txt", "w") as file, contextlib.redirect_stdout(file):
            try:
                main(words)
            except SystemExit as end:
                assert not end.code, words
"""
"""The run file and the help of every command, in one process: forty starts would take minutes."""

TRIALS = {
    "": f"""
flexcalc --version
python -c 'import flexcalc; [getattr(flexcalc, name) for name in flexcalc.__all__]'
python -c '{STARTS}'
{TRAIN} --output own.flex
flexcalc evaluate own.flex own-train/heldout.xyz --output check
flexcalc md own.flex inputs/ethanol.xyz --temperature-K 100 --steps 50 --output md
""",
    "xtb": "flexcalc label xtb:GFN2-xTB inputs/ethanol.xyz --frames 4 --output xtb",
    "dft": f"flexcalc label dft:PBE-D4/def2-SVP inputs/ethanol.xyz --sampler {EMT} --frames 1 "
    "--temperature-K 100 --output dft",
    "ipi": f"flexcalc ipi inputs/ipi-nvt.xml {EMT} inputs/glycine-Ip.xyz --steps 5 --output ipi",
    "gap": f"{TRAIN} --family gap --output gap.flex",
    "schnet": f"{TRAIN} --family schnet --epochs 2 --output schnet.flex",
    "bpnn": f"{TRAIN} --family bpnn --epochs 2 --output bpnn.flex",
    "so3lr": "flexcalc label so3lr: inputs/ethanol.xyz --frames 2 --output so3lr",
    "mace": f"{TRAIN} --family mace --epochs 2 --output mace.flex",
    "sgdml": f"{TRAIN} --descriptor distances --output sgdml.flex\n"
    "flexcalc export sgdml.flex own.npz\n"
    f'python -c "{PREDICT}"',
    "umbrella": f"flexcalc umbrella {EMT} inputs/ethanol.xyz --coordinate 'distance 0 1' "
    "--low 1.4 --high 1.6 --windows 3 --steps 600 --equilibration 100 --no-keep-bonds "
    "--output umbrella",
    "plumed": PLUMED,
    "dask": f'python -c "if __name__ == \'__main__\': exec(\\"{DASK}\\")"',
    "smiles": "flexcalc info smiles:CCO",
    "pandas": f'python -c "{FRAME}"',
}
"""What is tried of an extra; of none, the commands that need none."""


def tried(uv: Path, python: str, wheel: Path, extra: str, shared: Path) -> str:
    """Install the wheel with one extra in a new environment and try it.

    Args:
        uv: the program.
        python: of the environment.
        wheel: to install.
        extra: its name, or empty for none.
        shared: folder with the examples and labels, made by the first trial.

    Returns:
        "yes"; or what failed, and the last line that it said.
    """
    with tempfile.TemporaryDirectory(prefix="flexcalc-install-") as folder:
        place = Path(folder)
        own = place / "environment" / "bin"
        environment = {**os.environ, "PATH": f"{own}:{os.environ['PATH']}", "OMP_NUM_THREADS": "1"}
        environment.pop("PYTHONPATH", None)
        empty = place / "empty"
        empty.mkdir()
        prepare = PREPARE
        if (shared / "label" / "labels.xyz").exists():
            shutil.copytree(shared, empty, dirs_exist_ok=True)
            prepare = ""
        wanted = f"{wheel}[{extra}]" if extra else str(wheel)
        install = [str(uv), "pip", "install", "--quiet", "--python", str(own / "python"), wanted]
        trial = "\n".join(TRIALS.values()) if extra == "all" else TRIALS[extra]
        steps = {
            "environment": [str(uv), "venv", "--quiet", "--python", python, str(own.parent)],
            "installation": install,
            "trial": ["bash", "-euc", prepare + trial],
        }
        for name, words in steps.items():
            text = _failure(words, empty, environment)
            if text is not None:
                return f"{name} failed: {text}"
        if prepare:
            for name in ("inputs", "label"):
                shutil.copytree(empty / name, shared / name)
    return "yes"


def _failure(words: list[str], folder: Path, environment: dict[str, str]) -> str | None:
    """The last line of output of a program that failed; None where it did not."""
    try:
        done = subprocess.run(
            words,
            cwd=folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=STEP_TIME_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"not done after {STEP_TIME_S} s"
    if done.returncode == 0:
        return None
    print(done.stdout[-3000:], flush=True)
    lines = [line.strip() for line in done.stdout.splitlines() if line.strip()]
    return lines[-1] if lines else f"exit code {done.returncode}"


def try_all(uv: Path, python: str, wheel: Path, rows: Path, only: list[str]) -> None:
    """Try extras on one Python; what was tried before is kept in the file of rows."""
    said = subprocess.run([python, "--version"], capture_output=True, text=True, check=True)
    version = said.stdout.split()[1]
    known = json.loads(rows.read_text()) if rows.exists() else {}
    known |= {
        "python": version,
        "wheel": wheel.name,
        "date": datetime.date.today().isoformat(),
        "machine": f"{platform.system()} {platform.machine()}",
    }
    found = known.setdefault("extras", {})
    with tempfile.TemporaryDirectory(prefix="flexcalc-install-") as shared:
        for extra in only or [*TRIALS, "all"]:
            if found.get(extra) != "yes":
                found[extra] = tried(uv, python, wheel, extra, Path(shared))
                print(f"Python {version}, {extra or 'no extra'}: {found[extra]}", flush=True)
                rows.write_text(json.dumps(known, indent=1))


def table(files: list[Path]) -> str:
    """The table in Markdown, with a column for each file of rows; extras that were tried nowhere
    are named below it."""
    columns = sorted(
        (json.loads(file.read_text()) for file in files),
        key=lambda column: [int(part) for part in re.findall(r"\d+", column["python"])],
    )
    heads = " | ".join(f"Python {column['python']}" for column in columns)
    lines = [f"| extra | {heads} |", "|---" * (len(columns) + 1) + "|"]
    extras = [*TRIALS, "all"]
    known = [extra for extra in extras if any(extra in column["extras"] for column in columns)]
    for extra in known:
        cells = [column["extras"].get(extra, "not tried").replace("|", "/") for column in columns]
        lines.append(f"| {f'`{extra}`' if extra else 'none'} | {' | '.join(cells)} |")
    machines = ", ".join(dict.fromkeys(column["machine"] for column in columns))
    dates = " to ".join(sorted({column["date"] for column in columns}))
    wheels = ", ".join(dict.fromkeys(column["wheel"] for column in columns))
    untried = ", ".join(f"`{extra}`" for extra in extras if extra not in known)
    below = f"`{wheels}`, {machines}, {dates}." + (f" Not tried yet: {untried}." * bool(untried))
    return "\n".join(lines) + f"\n\n{below}\n"


def write(files: list[Path], page: Path = PAGE) -> None:
    """Write the table into its place on the page."""
    before, _, rest = page.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    page.write_text(f"{before}{BEGIN}\n{table(files)}\n{END}{after}")


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition(":")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    trial = commands.add_parser("try")
    trial.add_argument("--uv", type=Path, required=True)
    trial.add_argument("--python", required=True)
    trial.add_argument("--wheel", type=Path, required=True)
    trial.add_argument("--rows", type=Path, required=True)
    trial.add_argument("--only", nargs="*", default=[], help="extras; by default all of them")
    writing = commands.add_parser("write")
    writing.add_argument("rows", type=Path, nargs="+")
    given = parser.parse_args()
    if given.command == "write":
        write(given.rows)
    else:
        uv, wheel = given.uv.absolute(), given.wheel.absolute()
        try_all(uv, given.python, wheel, given.rows, given.only)


if __name__ == "__main__":
    main()
