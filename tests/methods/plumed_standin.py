"""A stand-in for PLUMED's Python package, for machines without a kernel.

Of PLUMED it knows DISTANCE, RESTRAINT, plain METAD and PRINT, in PLUMED's units and its order: what
it does at its first step, when it writes, and what it reads on a restart are as PLUMED's own
(`test_plumed.py` runs on both where a kernel is found).
"""

from pathlib import Path

import numpy as np

KNOWN = ("DISTANCE", "RESTRAINT", "METAD", "PRINT")


class Plumed:
    """One kernel; `cmd` as in the package."""

    Restart: int
    Step: int
    Timestep: float
    Positions: np.ndarray
    Forces: np.ndarray

    def __init__(self, kernel=None):
        self.units, self.actions, self.files = {}, [], {}
        self.suffix, self.first = "", True

    def cmd(self, key, value=None):
        if key.startswith("setMD") and key.endswith("Units"):
            self.units[key[5:-5]] = value
        elif key.startswith("set"):
            setattr(self, key[3:], value)
        elif key in ("readInputLine", "readInputLines"):
            for line in value.splitlines():
                self._read(line)
        elif key == "calc":
            self._calculate()
        elif key == "getBias":
            value[0] = self.bias / self.units["Energy"]
        elif key.startswith("checkAction "):
            value[0] = key.split()[1] in KNOWN
        elif key != "init":
            raise ValueError(f"unknown command {key}")

    def finalize(self):
        for stream in self.files.values():
            stream.close()

    def _read(self, line):
        words = line.partition("#")[0].split()
        if not words:
            return
        label, words = (words[0][:-1], words[1:]) if words[0].endswith(":") else ("", words)
        options = dict(word.split("=") for word in words[1:] if "=" in word)
        if words[0] == "_SET_SUFFIX":
            self.suffix = words[1]
        elif words[0] in KNOWN:
            self.actions.append((label, words[0], options))
            if words[0] == "METAD":
                self.hills = self._old_hills(options["FILE"])
            if "FILE" in options:
                self._open(options["FILE"])
        elif words[0] != "FLUSH":
            raise RuntimeError(
                f"\n+++ PLUMED error\n+++ at Somewhere.cpp:1, function read\n"
                f"+++ message follows +++\nI cannot understand line: {line}\n"
            )

    def _old_hills(self, name):
        path = Path(name + self.suffix)
        if not (self.Restart and path.exists()):
            return []
        rows = [line.split() for line in path.read_text().splitlines() if line[:1] != "#"]
        return [tuple(map(float, row[1:4])) for row in rows]

    def _open(self, name):
        self.files[name] = open(name + self.suffix, "a" if self.Restart else "w")  # noqa: SIM115

    def _write(self, name, fields, row):
        stream = self.files[name]
        if stream not in getattr(self, "headed", ()):
            self.headed = (*getattr(self, "headed", ()), stream)
            stream.write(f"#! FIELDS {fields}\n")
        stream.write(" " + " ".join(f"{value:.12f}" for value in row) + "\n")
        stream.flush()

    def _calculate(self):
        time = self.Step * self.Timestep * self.units["Time"]
        self.bias, values = 0.0, {}
        for label, kind, options in self.actions:
            if kind == "DISTANCE":
                i, j = (int(atom) - 1 for atom in options["ATOMS"].split(","))
                apart = (self.Positions[j] - self.Positions[i]) * self.units["Length"]
                values[label] = float(np.linalg.norm(apart))
                atoms, unit = (i, j), apart / values[label]
            if kind == "RESTRAINT":
                away = values[options["ARG"]] - float(options["AT"])
                kappa = float(options["KAPPA"])
                self._push(0.5 * kappa * away**2, kappa * away, atoms, unit)
            if kind == "METAD":
                at, energy, slope = values[options["ARG"]], 0.0, 0.0
                for centre, sigma, height in self.hills:
                    hill = height * np.exp(-0.5 * ((at - centre) / sigma) ** 2)
                    energy, slope = energy + hill, slope - hill * (at - centre) / sigma**2
                self._push(energy, slope, atoms, unit)
                if self.Step % int(options["PACE"]) == 0 and not self.first:
                    hill = (at, float(options["SIGMA"]), float(options["HEIGHT"]))
                    self.hills.append(hill)
                    name = options["ARG"]
                    fields = f"time {name} sigma_{name} height biasf"
                    self._write(options["FILE"], fields, (time, *hill, -1.0))
            if kind == "PRINT" and self.Step % int(options["STRIDE"]) == 0:
                self._write(
                    options["FILE"], f"time {options['ARG']}", (time, values[options["ARG"]])
                )
        self.first = False

    def _push(self, energy, slope, atoms, unit):
        self.bias += energy
        pull = slope * unit * self.units["Length"] / self.units["Energy"]
        self.Forces[atoms[0]] += pull
        self.Forces[atoms[1]] -= pull
