"""Forces are minus the gradient, by whatever descriptor, and at straight angles too."""

import numpy as np
import pytest
from ase.io import read
from scipy.spatial.transform import Rotation

from flexcalc import geometry
from flexcalc.geometry.graph import neighbours
from flexcalc.models.gdml import SGDML
from flexcalc.models.gdml.descriptor import CompositeDescriptor
from tests.systems import INPUTS

KINDS = {
    "distances": {"descriptor": "distances"},
    "extended": {"descriptor": "extended"},
    "some extended": {"descriptor": "extended", "kept": tuple(range(0, 61, 2)), "symmetry": False},
    "learned": {"descriptor": "distances", "metric": "learned", "energies": "labelled"},
}
"""Those with energies fitted as well, which is the default, and one without."""


def five_point(energies, step):
    """Derivative from the energies (4, ...) at -2, -1, 1 and 2 steps."""
    return np.einsum("k,k...->...", [1.0, -8.0, 8.0, -1.0], energies) / (12 * step)


@pytest.mark.physics
@pytest.mark.parametrize("kind", KINDS)
def test_forces_are_minus_the_gradient_for_every_descriptor(kind, ethanol, rng):
    """Two hundred rattled rotamers, in a random direction each.

    Truncation is h^4/30 = 5e-13 times fifth derivatives (hundreds of eV/A^5); energies are
    smooth to 1e-9 eV or so, which the step makes 5e-7 eV/A.
    """
    family = SGDML(sigma=8.0, regularization=1e-9, **KINDS[kind])
    model = family.fit(ethanol[:30], None, rng)
    positions = ethanol.positions[rng.integers(len(ethanol), size=200)]
    positions = positions + rng.normal(scale=0.08, size=positions.shape)
    way, step = rng.normal(size=positions.shape), 2e-3
    way /= np.linalg.norm(way, axis=(1, 2), keepdims=True)
    slope = five_point([model(positions + k * step * way).energies for k in (-2, -1, 1, 2)], step)
    along = np.einsum("bax,bax->b", model(positions).forces, way)
    assert (np.abs(along + slope) < 1e-6 * np.maximum(1.0, np.abs(along))).all()


class Bend:
    """A group of atoms turned about an atom, so that an angle opens through 180 degrees.

    Args:
        atoms: at some bent angle.
        angle: the atoms i, j, k; k and what hangs on it turn about j.
        group: the atoms that turn.
    """

    def __init__(self, atoms, angle, group):
        self.numbers, self.start, self.group = atoms.numbers, atoms.positions, sorted(group)
        i, j, k = angle
        self.origin = self.start[j]
        first, second = self.start[i] - self.origin, self.start[k] - self.origin
        normal = np.cross(first, second)
        self.axis = normal / np.linalg.norm(normal)
        self.angle = np.arctan2(np.linalg.norm(normal), first @ second)

    def __call__(self, angles):
        """Positions (frames, atoms, 3) with the angle at `angles` (frames,), in radians."""
        frames = np.tile(self.start, (len(angles), 1, 1))
        for frame, angle in zip(frames, angles, strict=True):
            turn = Rotation.from_rotvec((angle - self.angle) * self.axis)
            frame[self.group] = turn.apply(self.start[self.group] - self.origin) + self.origin
        return frames

    def tangent(self, positions):
        """Derivative of positions with respect to the angle."""
        tangent = np.zeros_like(positions)
        tangent[:, self.group] = np.cross(self.axis, positions[:, self.group] - self.origin)
        return tangent


def azobenzene():
    """One phenyl ring swung through a straight C-N=N, as in the inversion."""
    atoms = read(INPUTS / "azobenzene-trans.xyz")
    first, second = map(int, np.flatnonzero(atoms.numbers == 7))
    graph = neighbours(len(atoms), geometry.bonds(atoms.numbers, atoms.positions))
    (carbon,) = graph[second] - {first}
    ring = {carbon}
    for _ in range(6):
        ring |= set().union(*(graph[atom] for atom in ring)) - {second}
    return Bend(atoms, (first, second, carbon), ring)


def chain():
    """HCNH, whose C-N-H opens; its only dihedral has a straight angle half-way."""
    from ase import Atoms

    positions = [[-0.5, 0.95, 0.0], [0.0, 0.0, 0.0], [1.25, 0.0, 0.0], [1.75, 0.6, 0.65]]
    return Bend(Atoms("HCNH", positions), (1, 2, 3), {3})


@pytest.fixture(scope="module", params=[chain, azobenzene])
def bent(request, toy):
    """A bend, and an extended model trained around it, with energies."""
    bend = request.param()
    rng = np.random.default_rng(11)
    positions = bend(np.radians(rng.uniform(110, 250, 24)))
    positions = positions + rng.normal(scale=0.04, size=positions.shape)
    family = SGDML(sigma=8.0, symmetry=False, regularization=1e-8, descriptor="extended")
    model = family.fit(toy.labelled(bend.numbers, positions), None, rng)
    assert isinstance(model.descriptor, CompositeDescriptor)
    return bend, model


@pytest.mark.physics
def test_forces_are_minus_the_gradient_through_a_straight_angle(bent):
    """On the line itself too; a step is 1e-3 radians, energies are smooth to 1e-10 eV."""
    bend, model = bent
    angles, step = np.radians([*np.linspace(150, 210, 41), 180 - 1e-4, 180 + 1e-7]), 1e-3
    energies = [model(bend(angles + k * step)).energies for k in (-2, -1, 1, 2)]
    positions = bend(angles)
    power = np.einsum("bax,bax->b", model(positions).forces, bend.tangent(positions))
    gap = np.abs(power + five_point(energies, step))
    assert (gap < 1e-6 * np.maximum(1.0, np.abs(power))).all()


@pytest.mark.physics
@pytest.mark.parametrize("off_plane", [0.0, 1e-6])
def test_energies_and_forces_are_continuous_through_a_straight_angle(bent, off_plane):
    """Halving the step halves the largest jump: with a kink in the energy that of the forces
    would stay."""
    bend, model = bent
    jumps = []
    for count in (160, 320, 640):
        positions = bend(np.radians(np.linspace(176, 184, count + 1)))
        positions[:, bend.group] += off_plane * bend.axis
        found = model(positions)
        assert np.isfinite(found.forces).all()
        jumps.append(
            [np.abs(np.diff(values, axis=0)).max() for values in (found.energies, found.forces)]
        )
    ratios = np.array(jumps)[:-1] / np.array(jumps)[1:]
    assert (np.abs(ratios - 2.0) < 0.1).all()
