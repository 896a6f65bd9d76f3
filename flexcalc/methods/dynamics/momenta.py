"""Thermal momenta, and the removal of drift and rotation."""

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
    """Scale standard normal noise (batch, atoms, 3) to thermal momenta.

    Args:
        temperature_K: a common one, or one per replica (batch,).
        own: see `state.masses`.
    """
    return noise * np.sqrt(masses(numbers, own) * KB * np.reshape(temperature_K, (-1, 1, 1)))


def rigid_freedom(atoms: int) -> int:
    """Number of rigid degrees of freedom of a molecule: drift and rotation.

    Molecules of three or more atoms have six, even if their equilibrium is linear: they bend during
    dynamics, and then have three axes of rotation.
    """
    return {1: 3, 2: 5}.get(atoms, 6)


def without_rigid_motion(
    momenta: np.ndarray, positions: np.ndarray, numbers: np.ndarray, own: Sequence[float] = ()
) -> np.ndarray:
    """Remove drift and rotation of each molecule from momenta (batch, atoms, 3).

    The projection is orthogonal in the metric of the masses, so thermal momenta stay thermal.
    `own` as in `state.masses`.
    """
    weight = masses(numbers, own)
    momenta = momenta - weight * (momenta.sum(axis=1, keepdims=True) / weight.sum())
    arm = positions - (weight * positions).sum(axis=1, keepdims=True) / weight.sum()
    spin = _cross(arm, momenta).sum(axis=1)
    square = (weight * (arm**2).sum(axis=2, keepdims=True)).sum(axis=1)[:, :, None] * np.eye(3)
    inertia = square - (weight * arm).swapaxes(1, 2) @ arm
    moments, axes = np.linalg.eigh(inertia)
    # A linear molecule has no rotation about its axis.
    turns = moments > 1e-10 * moments[:, 2:]
    along = (spin[:, None, :] @ axes)[:, 0]
    rate = (axes @ (along * turns / np.where(turns, moments, 1.0))[:, :, None])[:, :, 0]
    return momenta - weight * _cross(rate[:, None, :], arm)


def _cross(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Cross product along the last axis; numpy's own takes three times as long for small arrays."""
    ahead, behind = [1, 2, 0], [2, 0, 1]
    return first[..., ahead] * second[..., behind] - first[..., behind] * second[..., ahead]
