"""What in a result is implausible: functions of arrays that return what to warn of.

Each returns messages of one line; none where nothing is wrong. They know neither tasks nor files.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from flexcalc.geometry import align, largest_move, match_atoms
from flexcalc.geometry.graph import bonds, covalent_lengths
from flexcalc.geometry.matching import SAME_MINIMUM_A
from flexcalc.methods.guard import BROKEN, FORMED
from flexcalc.models.facts import TrainingEnergies
from flexcalc.units import KB, KCAL_MOL

FAR_A = 0.5
"""Root-mean-square distance beyond which a relaxed geometry is another conformer, and a saddle may
be another one than that of its guess: the highest image of a converged path is within a few
tenths of an angstrom of it."""

FLAT_EV = 5e-4
"""Height of an inner image above both ends below which there is no barrier, 0.01 kcal/mol."""

HIGH_EV = 10 * KCAL_MOL
"""Energy of a saddle above its guess beyond which it is not that of the guess."""

LEAST_RANGE_EV_ATOM = 0.02
"""The range of training energies counts as at least this for each atom, as few points may have
nearly the same energy."""

SETTLED, BLUR = 5.0, 1.5
"""Relaxation times of the thermostat that are left out of the mean temperature, at most the first
half of the run; and the factor by which those times may be longer than they are thought to be."""

SIGMAS = 4.0
"""Standard errors by which a mean temperature may miss that of the bath."""

START = 0.5
"""Share of the bath's temperature by which a run may start colder or hotter: one that starts at a
minimum has half of it left when potential and kinetic energy are equal."""

SHARE, COLD = 0.03, 0.02
"""Shares of the temperature by which the mean may differ besides: always, and by which it may be
colder at a timestep of 0.5 fs, as momenta at whole steps are cold; that grows with its square."""

LEAST_RECORDS = 4
"""Records of temperatures that a mean is judged by at least."""

ROOM_K = 100.0
"""Temperature that a replica may have in any case, such as one that starts at rest."""

RARE, EXPLODED = 1e-12, 3.0
"""Probability of a kinetic temperature above which a replica has exploded, and the multiple of that
temperature that is granted for a start with much potential energy."""


def rmsd(positions: np.ndarray, target: np.ndarray) -> float:
    """Root-mean-square distance of the atoms (atoms, 3) in angstrom, best superposition."""
    aligned = align(positions[None], target)[0]
    return float(np.sqrt(((aligned - target) ** 2).sum(axis=1).mean()))


# ---------------------------------------------------------------- paths


def moved_end(numbers: np.ndarray, before: np.ndarray, after: np.ndarray, name: str) -> list[str]:
    """An end of a path that was relaxed to another bonding, or far from where it was.

    Args:
        numbers: (atoms,) atomic numbers.
        before, after: (atoms, 3) in angstrom.
        name: of the end, such as "start".
    """
    changed = changed_bonds(numbers, before, after)
    if changed:
        return [
            f"the {name} was relaxed to another molecule ({changed}), so that the path is not "
            "the one that was asked for; look at path.xyz, or keep the ends with "
            "relax_ends = false"
        ]
    distance = rmsd(after, before)
    if distance > FAR_A:
        return [
            f"the {name} moved by {distance:.2f} A (RMSD) when it was relaxed, to another "
            "conformer; look at path.xyz, or keep the ends with relax_ends = false"
        ]
    return []


def changed_bonds(numbers: np.ndarray, before: np.ndarray, after: np.ndarray) -> str:
    """Description of the bonds that were broken and formed between two geometries, or nothing."""
    from ase.data import chemical_symbols

    old = {(int(i), int(j)) for i, j in bonds(numbers, before)}
    apart = np.linalg.norm(after[:, None] - after[None], axis=-1) / covalent_lengths(numbers)
    pairs = zip(*np.triu_indices(len(numbers), 1), strict=True)
    words = []
    for i, j in pairs:
        verb = "broken" if (i, j) in old and apart[i, j] > BROKEN else ""
        verb = "formed" if (i, j) not in old and apart[i, j] < FORMED else verb
        if verb:
            one, other = (f"{chemical_symbols[numbers[atom]]}{atom}" for atom in (i, j))
            words.append(f"{one}-{other} {verb}")
    more = f" and {len(words) - 3} more" if len(words) > 3 else ""
    return ", ".join(words[:3]) + more


def identical_ends(
    numbers: np.ndarray, first: np.ndarray, last: np.ndarray, *, degenerate: bool
) -> list[str]:
    """Ends of a path that are one minimum.

    Args:
        numbers: (atoms,) atomic numbers.
        first, last: (atoms, 3) in angstrom.
        degenerate: whether they are known to differ by a permutation of identical atoms, which is
            a reaction too.
    """
    apart = largest_move(last[match_atoms(numbers, last, first)], first)
    if degenerate or apart > SAME_MINIMUM_A:
        return []
    return [
        f"both ends are the same minimum (no atom is farther than {apart:.2f} A apart), so that "
        "there is no reaction between them; look at the first and the last image in path.xyz"
    ]


def no_barrier(energies_eV: np.ndarray, level: str) -> list[str]:
    """A path whose highest image is one of its ends, by a level of theory.

    Args:
        energies_eV: (images,) in eV.
        level: such as "on the model".
    """
    first, last = energies_eV[0], energies_eV[-1]
    if energies_eV[1:-1].max(initial=-np.inf) > max(first, last) + FLAT_EV:
        return []
    if abs(last - first) < FLAT_EV:
        return [f"{level} no image is higher than the ends, which have one energy: no barrier"]
    if last > first:
        rise = (last - first) / KCAL_MOL
        return [
            f"{level} the highest image is the last one: there is no barrier between the ends, and "
            f"{rise:.3f} kcal/mol is the reaction energy"
        ]
    return [
        f"{level} the highest image is the first one: the path leads downhill, and there is no "
        "barrier"
    ]


def negative_barrier(forth_eV: float, back_eV: float, level: str) -> list[str]:
    """A saddle that is below one of the minima that it joins, by a level of theory."""
    lower = [name for name, eV in (("start", forth_eV), ("end", back_eV)) if eV < -FLAT_EV]
    return [
        f"{level} the saddle is below the {name}, which no saddle is: the barrier from there means "
        "nothing"
        for name in lower
    ]


# ---------------------------------------------------------------- energies


def below_training(
    energies_eV: np.ndarray | Sequence[float],
    atoms: int,
    known: TrainingEnergies | None,
    what: str,
) -> list[str]:
    """Energies below the lowest training energy by more than the range of the training energies.

    Training frames of a large molecule are thermal, and their minimum is below all of them: it is
    estimated from their mean and spread, which for f harmonic coordinates are f/2 kT above it and
    the root of f/2 times kT.

    Args:
        energies_eV: (points,) of the model, in eV.
        atoms: number of atoms.
        known: of the model; None where it knows none, which is no reason for a warning.
        what: the energies are of, such as "the path".
    """
    if known is None or not len(energies_eV):
        return []
    lowest = float(np.min(energies_eV))
    minimum = known["mean"] - known["spread"] * np.sqrt(max(3 * atoms - 6, 1) / 2)
    spread = _range(known, atoms)
    if lowest >= min(known["lowest"], minimum) - spread:
        return []
    below, width = (known["lowest"] - lowest) / KCAL_MOL, spread / KCAL_MOL
    return [
        f"{what}: an energy is {below:.1f} kcal/mol below the lowest training energy, and all "
        f"training energies are within {width:.1f} kcal/mol: the model has left its training data"
    ]


def above_training(
    energy_eV: float, atoms: int, known: TrainingEnergies | None, what: str
) -> list[str]:
    """An energy above the highest training energy by more than the range of the training energies.

    Args:
        energy_eV: of the model, in eV.
        atoms, known, what: see `below_training`.
    """
    if known is None or energy_eV <= known["highest"] + _range(known, atoms):
        return []
    above = (energy_eV - known["highest"]) / KCAL_MOL
    return [
        f"{what}: its energy is {above:.1f} kcal/mol above the highest training energy, and all "
        f"training energies are within {_range(known, atoms) / KCAL_MOL:.1f} kcal/mol: the model "
        "has left its training data"
    ]


def _range(known: TrainingEnergies, atoms: int) -> float:
    """Range of the training energies in eV."""
    return max(known["highest"] - known["lowest"], LEAST_RANGE_EV_ATOM * atoms)


def implausible_saddle(
    positions: np.ndarray, guess: np.ndarray, energy_eV: float, guess_energy_eV: float
) -> list[str]:
    """A saddle that is not the one that was guessed.

    Args:
        positions, guess: (atoms, 3) in angstrom.
        energy_eV, guess_energy_eV: in eV.
    """
    found = []
    distance, above = rmsd(positions, guess), energy_eV - guess_energy_eV
    if distance > FAR_A:
        found.append(
            f"the search ended {distance:.2f} A (RMSD) from the guess, so that this may be the "
            "saddle of another reaction; compare its barrier with that of the path"
        )
    if above > HIGH_EV:
        found.append(
            f"the search ended {above / KCAL_MOL:.1f} kcal/mol above the guess, while the saddle "
            "of a good guess is near it in energy: this is not the saddle that was guessed"
        )
    return found


# ---------------------------------------------------------------- dynamics


def mean_temperature(
    time_fs: np.ndarray,
    temperatures_K: np.ndarray,
    targets_K: np.ndarray,
    *,
    freedom: int,
    relaxation_fs: float,
    timestep_fs: float,
    heating_K: float = 0.0,
) -> list[str]:
    """A mean temperature that misses that of the bath by more than statistics allow.

    The first relaxation times are left out, and what is left of the start after them is granted. A
    bath whose temperature changes is followed with a delay of one relaxation time. The
    temperature of a replica with f degrees of freedom has the variance 2 T^2 / f, and samples are
    independent after two relaxation times.

    Args:
        time_fs: (records,) from the start, ascending.
        temperatures_K: (records, replicas) kinetic temperatures.
        targets_K: (records, replicas) of the bath.
        freedom: degrees of freedom of a replica.
        relaxation_fs: time in which the energy of a replica forgets its start.
        timestep_fs: of the dynamics.
        heating_K: by which a bias that does work may heat the replicas.
    """
    settled = time_fs >= min(SETTLED * relaxation_fs, time_fs[-1] / 2) if len(time_fs) else []
    records, replicas = int(np.sum(settled)), temperatures_K.shape[1]
    if records < LEAST_RECORDS:
        return []
    bath = targets_K.mean(axis=1)
    followed = _followed(time_fs, bath, relaxation_fs)
    found, asked = temperatures_K[settled].mean(), bath[settled].mean()
    span = time_fs[settled][-1] - time_fs[settled][0]
    independent = replicas * min(records, max(1.0, span / (2 * relaxation_fs)))
    size = np.sqrt((targets_K[settled] ** 2).mean())
    error = size * np.sqrt(2 / freedom / independent)
    left = START * bath[0] * np.exp(-time_fs[settled] / (BLUR * relaxation_fs)).mean()
    delay = followed[settled].mean() - asked
    granted = SIGMAS * error + SHARE * asked + left + 0.5 * abs(delay)
    off = found - (asked + delay)
    cold = COLD * (timestep_fs / 0.5) ** 2 * asked
    if -granted - cold <= off <= granted + heating_K:
        return []
    return [
        f"the mean temperature of {found:.0f} K misses that of the bath, {asked:.0f} K, by more "
        f"than chance allows ({granted:.0f} K): this is no sample of that temperature: the "
        "run is too short for a start far from equilibrium, the timestep too long, or the model "
        "outside its training data"
    ]


def _followed(time_fs: np.ndarray, bath_K: np.ndarray, relaxation_fs: float) -> np.ndarray:
    """Temperature (records,) of a system that follows a bath's with a relaxation time."""
    if np.ptp(bath_K) == 0:
        return bath_K
    found = [bath_K[0]]
    for step, before, after in zip(np.diff(time_fs), bath_K[:-1], bath_K[1:], strict=True):
        lag = (after - before) / max(step, 1e-300) * relaxation_fs
        kept = np.exp(-step / relaxation_fs)
        found.append(after - lag + (found[-1] - before + lag) * kept)
    return np.array(found)


def exploded(
    time_fs: np.ndarray, temperatures_K: np.ndarray, targets_K: np.ndarray, freedom: int
) -> list[str]:
    """A replica that came to a temperature beyond anything that dynamics at the target can reach.

    Args:
        time_fs: (records,).
        temperatures_K: (records, replicas) kinetic temperatures.
        targets_K: (records, replicas) of the bath, or of the first momenta.
        freedom: degrees of freedom of a replica.
    """
    if not len(temperatures_K):
        return []
    usual = np.maximum(np.maximum(targets_K, temperatures_K[0]), ROOM_K)
    if not (temperatures_K > EXPLODED * usual).any():
        return []  # without the import of scipy.special, which takes longer than all checks
    from scipy.special import gammainccinv

    # The temperature over its mean is distributed as chi squared over its degrees of freedom.
    hottest = 2 * gammainccinv(freedom / 2, RARE) / freedom
    bad = temperatures_K > EXPLODED * usual * hottest
    if not bad.any():
        return []
    replicas = np.flatnonzero(bad.any(axis=0))
    replica = int(replicas[0])
    record = int(bad[:, replica].argmax())
    more = f" (and {len(replicas) - 1} more)" if len(replicas) > 1 else ""
    return [
        f"replica {replica}{more} exploded: it had {temperatures_K[record, replica]:.4g} K at "
        f"{time_fs[record] * 1e-3:.4g} ps; what follows of it means nothing, see scalars.csv"
    ]


def bias_heating_K(work_eV: float, time_fs: float, relaxation_fs: float, freedom: int) -> float:
    """Rise of the temperature in kelvin that the work of a bias may cause, doubled to be safe.

    In a steady state the bath takes away in one relaxation time what the bias has put in, half of
    which is kinetic.

    Args:
        work_eV: done on a replica.
        time_fs: in which it was done.
        relaxation_fs, freedom: see `mean_temperature`.
    """
    return 2 * max(work_eV, 0.0) / max(time_fs, relaxation_fs) * relaxation_fs / (freedom * KB)
