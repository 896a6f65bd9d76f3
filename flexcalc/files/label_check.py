"""Whether labels can be those of their geometries, in the units that they were read in.

Energies and forces in one wrong unit agree with each other, so they are compared with what
molecules have: lengths and force constants of bonds, and total energies. Energies are compared with
the forces without any model, and the order of the forces with that of the atoms by their torque.
Few frames, and frames without the spread that a comparison needs, raise no suspicion.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import NamedTuple

import numpy as np

from flexcalc.dataset import Dataset
from flexcalc.files.units import energy_unit, force_unit, length_unit
from flexcalc.geometry.graph import bond_graphs, covalent_lengths
from flexcalc.geometry.matching import is_isomorphic
from flexcalc.geometry.stiffness import (
    NONMETALS,
    Stretching,
    neighbour_work,
    stretching,
    usual_constants,
)
from flexcalc.ranks import rank_correlation
from flexcalc.units import HARTREE

FEWEST = 10
"""Different frames from which on a regression counts."""

MOST_FRAMES, MOST_PAIRED, MOST_ORDERED = 300, 80, 1000
"""Frames of which bonds, energies and orders of atoms are compared, spread evenly over all."""

# Calibrated on 31 sets of 23 molecules, by GFN2-xTB, DFT and CCSD(T), at 50 to 1000 K
# (benchmarks/slips.py), and on subsets of 10, 20 and 40 of their frames.
USUAL_LENGTHS = (0.66, 1.34)
"""Median distance to the nearest atom, in sums of covalent radii: 0.77 to 1.24 in molecules."""
USUAL_STIFFNESS = 3.0
"""Factor between force constants of labels and usual ones: up to 1.3 in thermal frames."""
USUAL_SLOPE = 1.35
"""Factor between energies and what the forces give for them: up to 1.1 in thermal frames."""
STIFFNESS_ERROR, SLOPE_ERROR = 0.15, 0.06
"""Standard deviations of the logarithms of the two factors."""
MOST_OFF_STIFFNESS, MOST_OFF_SLOPE = 0.5, 0.2
"""How far the logarithms may be from those of a unit that is named."""
LEAST_CORRELATION, LEAST_SLOPE_CORRELATION = 0.6, 0.8
"""Correlation of a bond's force and length, and of energies and what the forces give."""
RELATED = 0.8
"""Rank correlation of energies with what the forces give: over 0.85 in thermal frames."""
DEVIATIONS = 3.29
"""Standard errors that a figure must be off by: by chance it is in 1 of 1000 datasets."""
MOST_UNSURE = 3.0
"""Factor that the interval of a slope may reach for the labels to be called coherent."""
SHORTEST_A = 0.1
"""Distance in angstrom of atoms that coincide."""
LEAST_SPREAD_A, LEAST_SPREAD_EV = 2e-3, 1e-5
"""Standard deviation of a bond length, and of energies, below which they are one value."""
MOST_TORQUE = 0.2
"""Norm of the torque of a frame over that of its atoms' torques: under 0.01 in molecules."""
LEAST_FORCE = 0.05
"""Root mean square of a frame's forces in eV/angstrom below which noise may have a torque."""
MOST_KINDS = 16
"""Bond graphs that are compared, the most frequent ones."""
HEAVY_BROKEN, BROKEN, TORN = 1.45, 1.6, 1.85
"""Lengths in sums of covalent radii: two bonds without hydrogen beyond the first are broken, and
two of any kind beyond the second if one is beyond the third; a proton that goes over is not."""

ENERGIES = ("eV", "kcal/mol", "kJ/mol", "hartree", "meV", "mhartree", "rydberg")
LENGTHS = ("angstrom", "bohr", "nm")
USED_OFTEN = ("eV", "kcal/mol", "kJ/mol", "hartree", "angstrom", "bohr")

# Hartree-Fock energies of atoms in hartree: C. Froese Fischer, The Hartree-Fock Method for Atoms
# (Wiley, 1977). All-electron energies of molecules are 0 to 3 % lower than their sum.
ATOMIC_ENERGIES = {
    **{1: -0.5, 5: -24.5291, 6: -37.6886, 7: -54.4009, 8: -74.8094, 9: -99.4093},
    **{14: -288.8544, 15: -340.7188, 16: -397.5049, 17: -459.4821},
}
TOTAL_ENERGIES = (0.985, 1.035)
"""Total energies of molecules over the sum of their atoms'."""


class Units(NamedTuple):
    """Names of units of energy, length and force."""

    energy: str
    length: str
    force: str

    @classmethod
    def of(cls, named: str) -> Units:
        """Those of `Provenance.units`."""
        words = named.split(";")[0].split(", ")
        energy, length = ("eV" if words[0] == "none" else words[0]), words[1]
        return cls(energy, length, words[2] if len(words) > 2 else f"{energy}/{length}")

    def factors(self, read: Units) -> tuple[float, float]:
        """How much too large energies and forces in these units are if they are read in others."""
        energy = energy_unit(read.energy)[1] / energy_unit(self.energy)[1]
        return energy, force_unit(read.force)[1] / force_unit(self.force)[1]

    def oddity(self) -> float:
        """The rarer such units are, the more has to speak for them."""
        energy, _, length = self.force.rpartition("/")
        odd = [word not in USED_OFTEN for word in (self.energy, energy, length)]
        return float(2 * (self.force != f"{self.energy}/{self.length}") + sum(odd))


class Slope(NamedTuple):
    """Median of a ratio, and its 99.9 % confidence interval."""

    middle: float
    low: float
    high: float

    def is_off(self) -> bool:
        """Whether it is certainly no usual one."""
        low, high = sorted(map(abs, self[1:])) if self.low * self.high > 0 else (0.0, np.inf)
        return high < 1 / USUAL_SLOPE or low > USUAL_SLOPE

    def is_negative(self) -> bool:
        return self.high < 0

    def misfit(self, expected: float) -> float:
        """Difference of logarithms from an expected size; none within the interval."""
        low, high = sorted(map(abs, self[1:]))
        return 0.0 if low <= expected <= high else _far(self.middle, expected)


@dataclass(frozen=True)
class Evidence:
    """How the labels of a dataset compare with each other and with those of molecules.

    Args:
        length: name of the unit of length, by the lengths of bonds.
        lengths: median of the bond lengths over the usual ones.
        stiffness: force constants over the usual ones, negative for gradients; None if unknown.
        slope: energies over those that the forces give; None if unknown.
        total: name of the unit in which the energies are total energies; None if unknown.
        example: a bond and its force constants.
        unrelated: whether energies have nothing to do with the forces.
    """

    length: str
    lengths: float
    stiffness: float | None
    slope: Slope | None
    total: str | None
    example: str = ""
    unrelated: bool = False


def suspicions(data: Dataset) -> list[str]:
    """What is suspicious about units, signs and orders of a dataset, one line each."""
    if not len(data) or len(data.numbers) < 2:
        return []
    read = Units.of(data.provenance.units)
    evidence = _evidence(data, read)
    found = [_of_units(data, read, evidence), _of_energies(evidence)]
    if evidence.length == read.length and len(data) >= FEWEST:
        found += [_of_torque(data), _of_order(data)]
    return [line for line in found if line is not None]


def coherent(data: Dataset) -> bool:
    """Whether energies rise and fall as the forces say; False where that is not known."""
    if data.energies is None or data.forces is None or len(data.numbers) < 2:
        return False
    some = _some(data, MOST_PAIRED)
    slope, _ = _slope(some.positions, *some.labels())
    if slope is None or slope.low * MOST_UNSURE < 1 or slope.high > MOST_UNSURE:
        return False
    return 1 / USUAL_SLOPE < slope.middle < USUAL_SLOPE


def _evidence(data: Dataset, read: Units) -> Evidence:
    length, lengths = _length(data, read.length)
    scale = length_unit(length)[1] / length_unit(read.length)[1]
    stiffness, slope, unrelated, example = None, None, False, ""
    if data.forces is not None:
        some = _some(data, MOST_FRAMES)
        bonds = stretching(some.numbers, scale * some.positions, some.force_labels())
        stiffness, example = _stiffness(data.numbers, bonds, len(some))
        if data.energies is not None:
            some = _some(data, MOST_PAIRED)
            slope, unrelated = _slope(scale * some.positions, *some.labels())
            if stiffness is not None and stiffness < 0 and slope is not None and slope.low > 0:
                stiffness = None  # a model surface, no molecule
    total = None if data.energies is None else _total(data.numbers, data.energies, read.energy)
    return Evidence(length, lengths, stiffness, slope, total, example, unrelated)


def _some(data: Dataset, most: int) -> Dataset:
    """At most so many frames, spread evenly."""
    return data[_spread(len(data), most)]


def _spread(frames: int, most: int) -> np.ndarray:
    return np.unique(np.linspace(0, frames - 1, min(most, frames)).astype(int))


# Evidence


def _length(data: Dataset, read: str) -> tuple[str, float]:
    """The unit of length by the distances of atoms to their nearest ones, and their median."""
    bonding = np.flatnonzero(np.isin(data.numbers, NONMETALS))
    positions = _some(data, MOST_FRAMES).positions[:, bonding]
    few = len(positions) < FEWEST
    if len(bonding) < (4 if few else 2):
        return read, 1.0
    apart = np.linalg.norm(positions[:, :, None] - positions[:, None], axis=-1)
    ratio = apart / covalent_lengths(data.numbers[bonding])
    ratio[:, range(len(bonding)), range(len(bonding))] = np.inf
    nearest = ratio.min(axis=-1)
    low, high = (nearest.min(), nearest.max()) if few else 2 * (np.median(nearest),)
    typical = float(np.median(nearest))
    if USUAL_LENGTHS[0] < high and low < USUAL_LENGTHS[1]:
        return read, typical
    size = length_unit(read)[1]
    fitting = {name: abs(np.log(typical * length_unit(name)[1] / size)) for name in LENGTHS}
    best = min(fitting, key=lambda name: fitting[name])
    return (best if fitting[best] < MOST_OFF_STIFFNESS else read), typical


def _stiffness(numbers: np.ndarray, found: Stretching, frames: int) -> tuple[float | None, str]:
    """Force constants over the usual ones, and a bond as an example."""
    from ase.data import chemical_symbols

    clear = np.abs(found.correlations) > LEAST_CORRELATION
    clear &= found.spreads > LEAST_SPREAD_A
    if frames < FEWEST or 2 * clear.sum() <= len(clear):
        return None, ""
    usual = usual_constants(numbers, found)
    ratios = found.constants[clear] / usual[clear]
    middle = np.argsort(ratios)[len(ratios) // 2]
    bond = np.flatnonzero(clear)[middle]
    elements = sorted(numbers[found.bonds[bond]].tolist(), key=lambda number: (number == 1, number))
    names = "-".join(chemical_symbols[number] for number in elements)
    example = f"{names} {abs(found.constants[bond]):.3g} eV/A^2, usual {usual[bond]:.0f}"
    return float(ratios[middle]), example


def _slope(
    positions: np.ndarray, energies: np.ndarray, forces: np.ndarray
) -> tuple[Slope | None, bool]:
    """Energies over those that the forces give, by pairs of similar frames, and whether the two
    have nothing to do with each other."""
    apart = np.linalg.norm(positions[:, :, None] - positions[:, None], axis=-1)
    meeting = (apart + np.eye(positions.shape[1])).min() < SHORTEST_A
    if len(positions) < FEWEST or energies.std() < LEAST_SPREAD_EV or meeting:
        return None, False
    nearest, expected = neighbour_work(positions, forces)
    change = energies[nearest] - energies
    pairs = np.unique(np.sort(np.stack([np.arange(len(nearest)), nearest]), axis=0), axis=1)[0]
    told = pairs[np.abs(expected[pairs]) > 1e-3 * np.abs(expected).max()]
    expected, change, count = expected[told], change[told], len(told)
    first = int(np.floor((count - DEVIATIONS * np.sqrt(count)) / 2))
    if count < FEWEST or first < 0 or min(expected.std(), change.std()) == 0:
        return None, False
    rank = abs(rank_correlation(expected, change) or 0.0)
    related = np.tanh(np.arctanh(RELATED) - DEVIATIONS / np.sqrt(count - 3))
    if abs(np.corrcoef(expected, change)[0, 1]) < LEAST_SLOPE_CORRELATION:
        return None, bool(rank < related)
    ratios = np.sort(change / expected)
    return Slope(float(np.median(ratios)), float(ratios[first]), float(ratios[-1 - first])), False


def _total(numbers: np.ndarray, energies: np.ndarray, read: str) -> str | None:
    """The unit in which energies are all-electron total energies of the molecule."""
    if not (numbers > 1).any() or not set(numbers.tolist()) <= ATOMIC_ENERGIES.keys():
        return None
    atoms = HARTREE * sum(ATOMIC_ENERGIES[number] for number in numbers.tolist())
    size = energy_unit(read)[1]
    ratio = float(np.median(energies)) / atoms
    for name in ENERGIES[:4]:
        if TOTAL_ENERGIES[0] < ratio * energy_unit(name)[1] / size < TOTAL_ENERGIES[1]:
            return name
    return None


# Conclusions


def _of_units(data: Dataset, read: Units, evidence: Evidence) -> str | None:
    """The line about units and signs."""
    reasons, sign = _reasons(data, read, evidence), _sign(evidence)
    if not reasons:
        return None
    advice = [] if sign is None else [sign]
    named = _named(data, read, evidence)
    flags = {} if named is None else _flags(data, read, named)
    if flags:
        advice.append(_advice(flags, from_file=bool(data.provenance.sha256)))
    if not advice:
        if evidence.slope is None or not evidence.slope.is_off():
            return None  # stiff or soft beyond experience, but by the factor of no unit
        advice = ["check their units"]
    return f"{' and '.join(reasons)}; {'; '.join(advice)}"


def _advice(flags: dict[str, str], *, from_file: bool) -> str:
    """What to do about units that seem to be others."""
    if not from_file:
        seems = ", ".join(f"{flag[2:-5]} unit {unit}" for flag, unit in flags.items())
        return f"convert to eV and angstrom what seems to have {seems}"
    typed = " ".join(f"{flag} {unit}" for flag, unit in flags.items())
    python = " and ".join(flag[2:].replace("-", "_") for flag in flags)
    return f"give {typed} ({python} in Python, TOML and the file itself)"


def _reasons(data: Dataset, read: Units, evidence: Evidence) -> list[str]:
    """Whatever is unusual."""
    found = []
    if evidence.length != read.length:
        found.append(f"bonds are {evidence.lengths:.3g} times as long as usual")
    stiffness = evidence.stiffness
    if stiffness is not None and _far(stiffness, 1.0) > np.log(USUAL_STIFFNESS):
        found.append(f"bonds are {abs(stiffness):.3g} times as stiff as usual ({evidence.example})")
    if stiffness is not None and stiffness < 0:
        found.append("forces stretch long bonds")
    slope = evidence.slope
    if slope is not None and slope.is_off():
        found.append(f"energies vary {abs(slope.middle):.3g} times as much as the forces say")
    if slope is not None and slope.is_negative():
        found.append("energies fall where the forces say they rise")
    alone = evidence.stiffness is None and evidence.total not in (None, read.energy)
    if alone and not found and data.energies is not None:
        found.append(f"energies of {np.median(data.energies):.6g} eV are no total energies")
    return found


def _sign(evidence: Evidence) -> str | None:
    if evidence.stiffness is not None and evidence.stiffness < 0:
        return "gradients seem to have been given as forces: change their sign"
    if evidence.slope is not None and evidence.slope.is_negative():
        if evidence.stiffness is None:
            return "gradients seem to have been given as forces, or energies of opposite sign"
        return "the energies seem to have the opposite sign"
    return None


def _named(data: Dataset, read: Units, evidence: Evidence) -> Units | None:
    """The units that explain the evidence best, if any do."""
    if evidence.stiffness is None and evidence.total is None:
        unsure = evidence.slope is not None and evidence.slope.is_off()
        return None if unsure else read._replace(length=evidence.length, force="")
    candidates = [
        Units(energy, evidence.length, f"{part}/{length}")
        for part, length in product(ENERGIES, LENGTHS)
        for energy in ((part,) if data.energies is None or data.forces is None else ENERGIES)
    ]
    best = min(candidates, key=lambda units: _misfit(units, read, evidence))
    energy, force = best.factors(read)
    stiffness = _far(evidence.stiffness, force)
    slope = 0.0 if evidence.slope is None else evidence.slope.misfit(energy / force)
    return best if stiffness < MOST_OFF_STIFFNESS and slope < MOST_OFF_SLOPE else None


def _misfit(units: Units, read: Units, evidence: Evidence) -> float:
    """How badly units explain the evidence, in standard deviations."""
    energy, force = units.factors(read)
    by_forces = _far(evidence.stiffness, force) / STIFFNESS_ERROR
    slope = 0.0 if evidence.slope is None else evidence.slope.misfit(energy / force)
    by_energies = slope / SLOPE_ERROR
    by_total = 0.0 if evidence.total in (None, units.energy) else 10.0
    return by_forces + by_energies + by_total + units.oddity()


def _far(found: float | None, expected: float) -> float:
    """Difference of logarithms; none where nothing was found."""
    return 0.0 if found is None or found == 0 else abs(np.log(abs(found) / expected))


def _flags(data: Dataset, read: Units, named: Units) -> dict[str, str]:
    """What to type so that a dataset is read in the named units."""
    flags = {}
    usual = f"{read.energy}/{read.length}"
    alone = data.energies is None
    if named.length != read.length:
        flags["--length-unit"] = named.length
    if named.energy != read.energy and not alone:
        flags["--energy-unit"] = named.energy
    if data.forces is not None and named.force:
        would_be = f"{read.energy if alone else named.energy}/{named.length}"
        if named.force != (would_be if read.force == usual else read.force):
            flags["--force-unit"] = named.force
    return flags


def _of_energies(evidence: Evidence) -> str | None:
    """The line about energies that have nothing to do with the forces."""
    if evidence.stiffness is None or not evidence.unrelated:
        return None
    return (
        "energies have nothing to do with those that the forces give: they seem to belong to "
        "other frames"
    )


def _of_torque(data: Dataset) -> str | None:
    """The line about forces that turn a molecule, as only those of other atoms do."""
    if data.forces is None:
        return None
    arms = data.positions - data.positions.mean(axis=1, keepdims=True)
    torques = np.cross(arms, data.forces)
    net = np.linalg.norm(torques.sum(axis=1), axis=1)
    size = np.linalg.norm(torques, axis=(1, 2))
    strong = np.sqrt(np.mean(data.forces**2, axis=(1, 2))) > LEAST_FORCE
    frames = np.flatnonzero(strong & (net > MOST_TORQUE * size) & (net > LEAST_FORCE))
    if not len(frames):
        return None
    return (
        f"forces of {len(frames)} of {len(data)} frames, such as frame {frames[0]}, turn the "
        "molecule as a whole: they seem to belong to atoms in another order, to another geometry "
        "or to another orientation"
    )


def _of_order(data: Dataset) -> str | None:
    """The line about frames whose identical atoms stand in another order than those of most."""
    rows = _spread(len(data), MOST_ORDERED)
    patterns, which = bond_graphs(data.numbers, data.positions[rows])
    counts = np.bincount(which)
    usual = int(counts.argmax())
    first = data.positions[rows[np.flatnonzero(which == usual)[0]]]
    lengths = covalent_lengths(data.numbers)[np.triu_indices(len(data.numbers), 1)]
    i, j = np.triu_indices(len(data.numbers), 1)
    without_hydrogen = (data.numbers[i] > 1) & (data.numbers[j] > 1)
    moved: list[int] = []
    for kind in np.argsort(-counts)[:MOST_KINDS]:
        frames = rows[which == kind]
        place = data.positions[frames[0]]
        apart = np.linalg.norm(place[:, None] - place, axis=-1)[np.triu_indices(len(place), 1)]
        ratios = (apart / lengths)[patterns[usual]]
        heavy = np.sum(ratios[without_hydrogen[patterns[usual]]] > HEAVY_BROKEN) > 1
        torn = heavy or (np.sum(ratios > BROKEN) > 1 and ratios.max() > TORN)
        if torn and is_isomorphic(data.numbers, place, first):
            moved += frames.tolist()
    if not moved:
        return None
    return (
        f"{len(moved)} of {len(rows)} frames, such as frame {min(moved)}, have the bonds of frame "
        f"{rows[np.flatnonzero(which == usual)[0]]} only with identical atoms in another order"
    )
