"""`flexcalc learn` killed at random moments, beside one that is left alone; run by hand.

    python benchmarks/killed.py --kills 20 --output OUTPUT -- learn inputs/learn.toml

The command is run once undisturbed in OUTPUT/whole, and then in OUTPUT/killed, where it gets
SIGKILL at random moments and is started again, until it has been killed so often and ends. Prints
how many kills there were and which files differ: labels, rounds, choices and models.
"""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
import time
from pathlib import Path

CODE = "from flexcalc.cli import main; main()"
FILES = ("labels.xyz", "rounds.json", "stationary.xyz", "crash.json")


def started(words: list[str], output: Path) -> subprocess.Popen:
    command = [sys.executable, "-c", CODE, *words, "--output", str(output)]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("words", nargs=argparse.REMAINDER, help="-- COMMAND WORDS...")
    options = parser.parse_args()
    options.words = [word for word in options.words if word != "--"]
    rng = random.Random(options.seed)
    whole, killed = options.output / "whole", options.output / "killed"
    begun = time.perf_counter()
    code = started(options.words, whole).wait()
    length = time.perf_counter() - begun
    print(f"undisturbed: exit {code} after {length:.0f} s", flush=True)
    kills, since = 0, time.perf_counter()
    while True:
        process = started(options.words, killed)
        # Mostly short lives, so that the kills are spread over the whole run.
        life = rng.uniform(0.3, 2 * length / options.kills + 6)
        try:
            code = process.wait(timeout=life if kills < options.kills else None)
            break
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            kills += 1
    took = time.perf_counter() - since
    print(f"killed {kills} times: exit {code} after {took:.0f} s", flush=True)
    places = [Path(one) for one in FILES]
    places += sorted(p.relative_to(whole) for p in whole.rglob("model.flex/*") if p.is_file())
    places += sorted(p.relative_to(whole) for p in whole.rglob("chosen.xyz"))
    places = [one for one in places if (whole / one).exists()]
    other = [
        str(one)
        for one in places
        if not (killed / one).exists() or (killed / one).read_bytes() != (whole / one).read_bytes()
    ]
    print(f"{len(places)} files compared, different: {', '.join(other) or 'none'}")


if __name__ == "__main__":
    main()
