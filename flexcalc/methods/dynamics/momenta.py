"""Momenta of a temperature, and what of them moves the molecule as a whole."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.random import Generator

from flexcalc.methods.dynamics.state import masses
from flexcalc.units import KB


def thermal_momenta(
    numbers: np.ndarray, temperature_K: float, batch: int, rng: Generator
) -> np.ndarray:
    """Momenta (batch, atoms, 3) from the Maxwell-Boltzmann distribution."""
    return scaled(rng.standard_normal((batch, len(numbers), 3)), numbers, temperature_K)


def scaled(
    noise: np.ndarray,
    numbers: np.ndarray,
    temperature_K: float | np.ndarray,
    own: Sequence[float] = (),
) -> np.ndarray:
    """Momenta of a temperature from normal noise (batch, atoms, 3).

    Args:
        temperature_K: one for all, or one for each replica (batch,).
        own: see `state.masses`.
    """
    return noise * np.sqrt(masses(numbers, own) * KB * np.reshape(temperature_K, (-1, 1, 1)))


def rigid_freedom(atoms: int) -> int:
    """Degrees of freedom of a molecule that moves as a whole: drift and rotation.

    Three atoms and more count six, even where their equilibrium is linear: they bend as they
    move, and then have three axes to turn about.
    """
    return {1: 3, 2: 5}.get(atoms, 6)


def without_rigid_motion(
    momenta: np.ndarray, positions: np.ndarray, numbers: np.ndarray, own: Sequence[float] = ()
) -> np.ndarray:
    """Momenta (batch, atoms, 3) less each molecule's drift and rotation.

    What is taken off is orthogonal to what stays in the metric of the masses, so thermal momenta
    stay thermal. `own` as in `state.masses`.
    """
    weight = masses(numbers, own)
    momenta = momenta - weight * (momenta.sum(axis=1, keepdims=True) / weight.sum())
    arm = positions - (weight * positions).sum(axis=1, keepdims=True) / weight.sum()
    spin = _cross(arm, momenta).sum(axis=1)
    square = (weight * (arm**2).sum(axis=2, keepdims=True)).sum(axis=1)[:, :, None] * np.eye(3)
    inertia = square - (weight * arm).swapaxes(1, 2) @ arm
    moments, axes = np.linalg.eigh(inertia)
    # Nothing turns about the axis of a linear molecule.
    turns = moments > 1e-10 * moments[:, 2:]
    along = (spin[:, None, :] @ axes)[:, 0]
    rate = (axes @ (along * turns / np.where(turns, moments, 1.0))[:, :, None])[:, :, 0]
    return momenta - weight * _cross(rate[:, None, :], arm)


def _cross(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Cross product along the last axis; numpy's own takes thrice the time for small arrays."""
    ahead, behind = [1, 2, 0], [2, 0, 1]
    return first[..., ahead] * second[..., behind] - first[..., behind] * second[..., ahead]
