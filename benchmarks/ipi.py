"""Path integrals in i-PI: beads in one message against one by one; run by hand.

    python benchmarks/ipi.py MODEL START.xyz [--beads 16] [--steps 200]

Both runs are `flexcalc ipi` on inputs/ipi-pimd.xml with the model as the only client, in turn. The
time of a step is the difference of a long and a short run over the difference of their steps, so
that starting i-PI and opening the model do not count.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from pathlib import Path

from flexcalc.adapters.ipi import Launch, launch

GIVEN = Path(__file__).parents[1] / "inputs" / "ipi-pimd.xml"
REPEATS, SHORT = 3, 20


def step_ms(xml, options):
    """Milliseconds a step of i-PI takes with an input."""
    seconds = []
    for steps in (SHORT, SHORT + options.steps):
        with tempfile.TemporaryDirectory() as name:
            path = Path(name) / "given.xml"
            path.write_text(xml)
            outcome = launch(
                path, options.model, options.start, name, Launch(steps=steps, start=options.start)
            )
            seconds.append(outcome.seconds)
    return 1e3 * (seconds[1] - seconds[0]) / options.steps


def main():
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("start", type=Path)
    parser.add_argument("--beads", type=int, default=16)
    parser.add_argument("--steps", type=int, default=200)
    options = parser.parse_args()
    batched = GIVEN.read_text().replace("nbeads='16'", f"nbeads='{options.beads}'")
    batched = batched.replace(
        "<file mode='ase'> glycine-Ip.xyz", f"<file mode='ase'> {options.start.resolve()}"
    )
    batched = batched.replace("<batch_size>16<", f"<batch_size>{options.beads}<")
    single = batched.replace(f"<batch_size>{options.beads}</batch_size>", "")
    times = [[step_ms(xml, options) for xml in (batched, single)] for _ in range(REPEATS)]
    ours, theirs = (statistics.median(column) for column in zip(*times, strict=True))
    print(
        f"{options.beads} beads: batched {ours:.2f} ms a step, one by one {theirs:.2f}, "
        f"ratio {theirs / ours:.2f}"
    )


if __name__ == "__main__":
    main()
