"""The nudged elastic band."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from flexcalc.fields import Positive
from flexcalc.methods.path.chain import Chain


@dataclass(frozen=True, kw_only=True)
class NEB(Chain):
    """Nudged elastic band with improved tangent, climbing image and variable springs.

    Sources: Henkelman and Jonsson, J. Chem. Phys. 113, 9978 (2000), doi:10.1063/1.1323224;
    Henkelman, Uberuaga and Jonsson, J. Chem. Phys. 113, 9901 (2000), doi:10.1063/1.1329672.
    """

    kind: ClassVar[str] = "neb"

    spring_eV_A2: Positive = 2.0
    """Stiffness of the springs between images, in eV/angstrom^2."""
    softest_spring_eV_A2: Positive | None = None
    """Stiffness of springs whose energy is below the higher endpoint; above it, stiffness grows
    with energy up to `spring_eV_A2`, which concentrates images at the barrier. By default all
    springs are equal."""

    def respace(self, images: np.ndarray, climber: int | None) -> np.ndarray:
        """Images are unchanged, as springs space them."""
        return images

    def spring(self, ahead: np.ndarray, behind: np.ndarray, energies: np.ndarray) -> np.ndarray:
        """k_(i+1) |R_(i+1) - R_i| - k_i |R_i - R_(i-1)|, in eV/angstrom."""
        stiffness = self.stiffness(energies)
        return stiffness[..., 1:] * ahead - stiffness[..., :-1] * behind

    def stiffness(self, energies: np.ndarray) -> np.ndarray:
        """Stiffness (..., images - 1) of each spring, in eV/angstrom^2; energies are (..., images).

        Henkelman, Uberuaga and Jonsson (2000), equation 6: the energy of a spring is
        that of the higher of its two images, and the reference is the higher endpoint.
        """
        left, right = energies[..., :-1], energies[..., 1:]
        if self.softest_spring_eV_A2 is None:
            return np.full(left.shape, self.spring_eV_A2)
        floor = np.maximum(energies[..., :1], energies[..., -1:])
        height = np.maximum(left, right) - floor
        highest = energies.max(axis=-1, keepdims=True) - floor
        share = np.clip(height / np.maximum(highest, 1e-300), 0.0, 1.0)
        softest = self.softest_spring_eV_A2
        return softest + (self.spring_eV_A2 - softest) * share
