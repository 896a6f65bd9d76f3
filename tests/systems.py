"""Molecules and toy surfaces that several test files share."""

from pathlib import Path

import numpy as np
from ase import Atoms
from ase.io import read
from scipy.spatial.transform import Rotation

from flexcalc.dataset import Dataset
from flexcalc.domain import Domain
from flexcalc.errors import LabelError
from flexcalc.geometry.coordinates import dihedral, distance
from flexcalc.potential import CheckedPotential, Evaluation, Potential
from flexcalc.units import KCAL_MOL

INPUTS = Path(__file__).parents[1] / "inputs"

WATER = np.array([8, 1, 1])
GEOMETRY = np.array([[0.0, 0.0, 0.0], [0.96, 0.0, 0.0], [-0.24, 0.93, 0.0]])

STRETCH = 0.6
"""1/angstrom; stiffness of the toy bonds."""


def molecule(name: str) -> Atoms:
    """The geometry inputs/NAME.xyz."""
    atoms = read(INPUTS / f"{name}.xyz", index=-1)
    assert isinstance(atoms, Atoms)
    return atoms


class Failing(CheckedPotential):
    """A potential of which some calls fail, as a reference that does not converge.

    Args:
        inner: the potential.
        calls: numbers of the calls that fail, from 1.
    """

    def __init__(self, inner: Potential, *calls: int):
        self.inner, self.numbers, self.failing, self.calls = inner, inner.numbers, calls, 0

    def evaluate(self, positions):
        self.calls += 1
        if self.calls in self.failing:
            raise LabelError(f"call {self.calls}: not converged")
        return self.inner(positions)


class Springs(CheckedPotential):
    """Springs between all pairs of water, E = sum_{i<j} k (r_ij - r0_ij)^2 / 2 plus a constant.

    Args:
        stiffness: k in eV/angstrom^2.
        shape: (3, 3) in angstrom, where all springs are at rest.
        constant: in eV.
        numbers: (3,).
    """

    def __init__(self, stiffness=30.0, shape=GEOMETRY, constant=0.0, numbers=WATER):
        self.stiffness, self.shape, self.constant = stiffness, shape, constant
        self.numbers = np.array(numbers)
        self.calls = []

    def evaluate(self, positions):
        self.calls.append(len(positions))
        energies, forces = np.full(len(positions), self.constant), np.zeros_like(positions)
        for i, j in ((0, 1), (0, 2), (1, 2)):
            apart = positions[:, i] - positions[:, j]
            length = np.linalg.norm(apart, axis=1)
            gap = length - np.linalg.norm(self.shape[i] - self.shape[j])
            energies += 0.5 * self.stiffness * gap**2
            pull = (-self.stiffness * gap / length)[:, None] * apart
            forces[:, i] += pull
            forces[:, j] -= pull
        return Evaluation(energies, forces)


def springs(frames, seed=0):
    """Labelled frames of water on springs."""
    rng = np.random.default_rng(seed)
    positions = GEOMETRY + 0.05 * rng.standard_normal((frames, 3, 3))
    labels = Springs()(positions)
    return Dataset(WATER, positions, labels.energies, labels.forces)


def toy_labels(numbers, positions):
    """Energies and forces of Morse springs between all pairs; only the elements matter.

    E = sum_{i<j} (1 - exp(-k (r_ij - r0)))^2 with r0 = 2 angstrom + 0.05 (Z_i + Z_j): smooth,
    without symmetry but that of the elements.
    """
    i, j = np.triu_indices(len(numbers), 1)
    apart = positions[:, i] - positions[:, j]
    distance = np.linalg.norm(apart, axis=-1)
    rest = 2.0 + 0.05 * (numbers[i] + numbers[j])
    decay = np.exp(-STRETCH * (distance - rest))
    energies = ((1 - decay) ** 2).sum(axis=1)
    pull = -2 * STRETCH * (1 - decay) * decay / distance
    along = np.zeros((*positions.shape[:2], *positions.shape[1:]))
    along[:, i, j] = pull[..., None] * apart
    return energies, along.sum(axis=2) - along.sum(axis=1)


def labelled(numbers, positions):
    """A Dataset on the toy surface."""
    energies, forces = toy_labels(numbers, positions)
    return Dataset(numbers, positions, energies, forces)


def turned(positions, axis, atoms, degrees):
    """Positions (atoms, 3) with some atoms turned about the bond from axis[0] to axis[1]."""
    origin = positions[axis[0]]
    direction = positions[axis[1]] - origin
    turn = Rotation.from_rotvec(np.deg2rad(degrees) * direction / np.linalg.norm(direction))
    moved = positions.copy()
    moved[atoms] = turn.apply(positions[atoms] - origin) + origin
    return moved


def ethanol_frames(count, rng, rattle=0.05):
    """Ethanol with its methyl and hydroxyl rotors anywhere, and every atom rattled."""
    start = molecule("ethanol")
    symbols = np.array(start.symbols)
    apart = start.get_all_distances()
    oxygen = int(np.flatnonzero(symbols == "O")[0])
    carbons = np.flatnonzero(symbols == "C")
    inner, outer = carbons[np.argsort(apart[oxygen, carbons])]
    hydrogens = np.flatnonzero(symbols == "H")
    methyl = hydrogens[apart[outer, hydrogens] < 1.25]
    hydroxyl = hydrogens[apart[oxygen, hydrogens] < 1.25]
    frames = []
    for _ in range(count):
        frame = turned(start.positions, (inner, outer), methyl, rng.uniform(0, 360))
        frame = turned(frame, (inner, oxygen), hydroxyl, rng.uniform(0, 360))
        frames.append(frame + rng.normal(scale=rattle, size=frame.shape))
    return start.numbers, np.array(frames)


def water_frames(count, rng, rattle=0.1):
    """Rattled water."""
    return WATER, GEOMETRY + rng.normal(scale=rattle, size=(count, 3, 3))


class KnownUpTo(Springs):
    """Springs whose training data, so it says, reach up to a length of the bond of atoms 0 and 1.

    Args:
        longest: length in angstrom at which the distance to the training data is 1, the limit.
    """

    def __init__(self, longest=1.1, **options):
        super().__init__(**options)
        self.longest, self.asked = longest, 0

    @property
    def domain(self):
        return Domain(1.0, (0.5, 1.0), (0.01, 0.05))

    def distance(self, positions):
        self.asked += len(positions)
        return np.linalg.norm(positions[:, 0] - positions[:, 1], axis=1) / self.longest


PEROXIDE = np.array([1, 8, 8, 1])
FLAT = np.array([[-0.25, 0.93, 0.0], [0.0, 0.0, 0.0], [1.45, 0.0, 0.0], [1.7, 0.93, 0.0]])
"""The cis form, whose dihedral is zero."""


class Torsion(CheckedPotential):
    """Hydrogen peroxide with stiff bonds and angles, and V = a cos(phi) + c cos(3 phi).

    Nothing couples the torsion to the rest, so that all stationary points are those of V: the
    minima anti and gauche, the latter twice as mirror images, with one barrier between each two.

    Args:
        a, c: in kcal/mol.
        below: geometries with a shorter distance of the oxygen atoms, in angstrom, fail.
    """

    def __init__(self, a=0.5, c=1.0, below=0.0):
        self.numbers, self.a, self.c, self.below = PEROXIDE, a, c, below

    def torsion(self, phi):
        """V in kcal/mol at angles in radians."""
        return self.a * np.cos(phi) + self.c * np.cos(3 * phi)

    def evaluate(self, positions):
        energies, forces = np.zeros(len(positions)), np.zeros_like(positions)
        for i, j in ((0, 1), (1, 2), (2, 3), (0, 2), (1, 3)):
            length, gradient = distance(positions, i, j)
            gap = length - np.linalg.norm(FLAT[i] - FLAT[j])
            energies += 15.0 * gap**2
            forces -= 30.0 * gap[:, None, None] * gradient
        phi, gradient = dihedral(positions, 0, 1, 2, 3)
        energies += KCAL_MOL * self.torsion(phi)
        slope = -KCAL_MOL * (self.a * np.sin(phi) + 3 * self.c * np.sin(3 * phi))
        short = distance(positions, 1, 2)[0] < self.below
        energies[short] = np.nan
        return Evaluation(energies, forces - slope[:, None, None] * gradient)

    def extremes(self):
        """Angles of the minima anti and gauche and of the barriers cis and between them."""
        phi = np.linspace(0, np.pi, 1_000_001)
        inner = self.torsion(phi)
        gauche = phi[phi < 2][np.argmin(inner[phi < 2])]
        between = phi[(phi > gauche)][np.argmax(inner[phi > gauche])]
        return np.pi, gauche, 0.0, between


def peroxide_frames(potential, degrees=(20, 50, 75, -60, -110, 140, 170, -160)):
    """Labelled geometries with these dihedrals."""
    positions = np.stack([turned(FLAT, (1, 2), [3], one) for one in degrees])
    found = potential(positions)
    return Dataset(PEROXIDE, positions, found.energies, found.forces)
