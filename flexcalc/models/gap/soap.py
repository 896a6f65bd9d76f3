"""SOAP, the smooth overlap of atomic positions: power spectra of environments, and forces.

What goes from positions to the power spectrum is gone back over for the forces (the adjoint, or
reverse, method): the derivatives of the energy by the features make those by the expansion
coefficients, and these the ones by the vectors to the neighbours. No gradient of a feature is
ever formed.

Source: Bartok, Kondor, Csanyi, Phys. Rev. B 87, 184115 (2013), doi:10.1103/PhysRevB.87.184115,
with the normalisation and the order of QUIP 0.10.3 (src/GAP/descriptors.F90, soap_calc).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from math import pi, sqrt

import numpy as np

from flexcalc.models.gap.angular import Harmonics
from flexcalc.models.gap.neighbours import Neighbours
from flexcalc.models.gap.radial import Radial, cutoff_function


@dataclass(frozen=True, kw_only=True)
class Soap:
    """Parameters of a power spectrum, named as in QUIP.

    Args:
        species: atomic numbers of the channels; 0 is any element.
        cutoff, cutoff_transition_width, atom_sigma: in angstrom.
        n_max: of radial functions.
        l_max: highest degree.
        central_weight: of the gaussian at the centre.
        central_reference_all_species: whether all channels have it, or that of the centre alone.
        normalise: whether power spectra are of unit length.
        covariance_sigma0: a last component that all environments share.
        basis_error_exponent: see `Radial`.
    """

    species: tuple[int, ...]
    cutoff: float
    cutoff_transition_width: float
    atom_sigma: float
    n_max: int
    l_max: int
    central_weight: float
    central_reference_all_species: bool
    normalise: bool
    covariance_sigma0: float
    basis_error_exponent: float

    @property
    def dimensions(self) -> int:
        """Components of a power spectrum, with the last one."""
        channels = len(self.species) * self.n_max
        return (self.l_max + 1) * channels * (channels + 1) // 2 + 1

    @cached_property
    def radial(self) -> Radial:
        """The radial functions.

        Raises:
            numpy.linalg.LinAlgError: they are not independent.
        """
        return Radial(
            self.cutoff, self.atom_sigma, self.n_max, self.l_max, self.basis_error_exponent
        )

    @cached_property
    def harmonics(self) -> Harmonics:
        """Their squares get the factor 1 / sqrt(2 l + 1) of the power spectrum."""
        return Harmonics((2.0 * np.arange(self.l_max + 1) + 1.0) ** -0.25)


class Environments:
    """Environments of atoms of a molecule.

    Features are the power spectrum without its last component, its length one or not, as the
    upper triangles (l, n <= n') of matrices: components off the diagonal are not yet multiplied
    by sqrt(2), and channels of species that are not in the molecule are left out.

    Args:
        soap: parameters.
        numbers: (atoms,) atomic numbers.
        centres: (centres,) indices of the atoms whose environments are wanted.
    """

    def __init__(self, soap: Soap, numbers: np.ndarray, centres: np.ndarray):
        self.soap, self.centres, self._numbers = soap, centres, numbers
        everywhere = soap.central_reference_all_species
        kept = [
            index
            for index, number in enumerate(soap.species)
            if everywhere or number == 0 or number in numbers
        ]
        chosen = np.array([soap.species[index] for index in kept], dtype=int)
        self._members = [np.flatnonzero((numbers == number) | (number == 0)) for number in chosen]
        own = (chosen == numbers[centres, None]) | (chosen == 0) | everywhere
        self._own = own.astype(float)  # (centres, species)
        channels = (np.array(kept, dtype=int)[:, None] * soap.n_max + np.arange(soap.n_max)).ravel()
        size = len(channels)
        i, j = np.tril_indices(size)
        self._triangle = i * size + j
        pair = np.zeros((size, size), dtype=int)
        pair[i, j] = pair[j, i] = np.arange(len(i))
        degrees = np.arange(soap.l_max + 1)[:, None]
        self._square = (degrees * len(i) + pair.ravel()).ravel()
        self._diagonal = (degrees * len(i) + np.diag(pair)).ravel()
        there = channels[i] * (channels[i] + 1) // 2 + channels[j]
        self.columns = (there * (soap.l_max + 1) + degrees).ravel()
        """(features,) where each is among QUIP's components."""
        weights = np.tile(np.where(i == j, 1.0, sqrt(2.0)), soap.l_max + 1)
        self.weights = weights
        """(features,) factors that make them QUIP's components."""

    @property
    def size(self) -> int:
        """Maximum number of float64 values of an environment."""
        degrees, most = self.soap.l_max + 1, len(self._numbers)
        neighbour = 6 * degrees * self.soap.n_max + 6 * degrees**2 + 20
        return 2 * len(self.columns) + 2 * len(self._square) + most * neighbour

    def __call__(self, positions: np.ndarray) -> Expansion:
        """The environments of geometries (rows, atoms, 3) in angstrom."""
        return Expansion(self, positions)


class Expansion:
    """Expansion coefficients and power spectra of geometries, stored for the backward pass.

    Arrays of environments have the centres before the rows.

    Args:
        environments: which, and of what.
        positions: (rows, atoms, 3) in angstrom.
    """

    def __init__(self, environments: Environments, positions: np.ndarray):
        self._of, self._soap = environments, environments.soap
        self._count = len(environments.centres) * len(positions)
        self._rows = len(positions)
        self._near = Neighbours(
            positions, environments.centres, environments._members, self._soap.cutoff
        )
        self._expand()
        self._multiply()

    def _expand(self) -> None:
        """Sums over neighbours of radial functions times spherical harmonics."""
        soap, near = self._soap, self._near
        self._fade, self._fade_slope = cutoff_function(
            near.distances, soap.cutoff, soap.cutoff_transition_width
        )
        self._radial, self._radial_slope = soap.radial(near.distances)
        self._angular = soap.harmonics(near.directions)
        self._faded = self._angular * self._fade
        species, functions = len(near.slices), (soap.l_max + 1) ** 2
        sums = np.empty((soap.n_max, self._count, species, functions))
        for degree, part in self._degrees():
            radial, angular = self._by_centre(self._radial[degree], self._faded[part])
            for index, there in enumerate(near.slices):
                np.matmul(
                    radial[:, :, there],
                    angular[:, :, there].transpose(0, 2, 1),
                    out=sums[:, :, index, part].transpose(1, 0, 2),
                )
        found = soap.radial.transform.T @ sums.reshape(soap.n_max, sums[0].size)
        found = found.reshape(sums.shape)
        own = np.repeat(self._of._own, self._rows, axis=0)
        scale = soap.central_weight / sqrt(4.0 * pi)
        found[..., 0] += scale * soap.radial.centre[:, None, None] * own
        # (environments, channels, orders) of each degree
        self._coefficients = [
            np.ascontiguousarray(found[..., part].transpose(1, 2, 0, 3)).reshape(
                self._count, species * soap.n_max, 2 * degree + 1
            )
            for degree, part in self._degrees()
        ]

    def _multiply(self) -> None:
        """The power spectra."""
        size = len(self._of.columns)
        channels = self._coefficients[0].shape[1]
        full = np.empty((self._count, self._soap.l_max + 1, channels, channels))
        for degree, part in enumerate(self._coefficients):
            np.matmul(part, part.transpose(0, 2, 1), out=full[:, degree])
        flat = full.reshape(self._count, full[0].size)
        self.lengths = np.sqrt(np.einsum("ec,ec->e", flat, flat))
        """(environments,) of the power spectra."""
        self.features = np.empty((self._count, size))
        """(environments, features); see `Environments`."""
        np.take(
            full.reshape(self._count, self._soap.l_max + 1, -1),
            self._of._triangle,
            axis=2,
            out=self.features.reshape(self._count, self._soap.l_max + 1, -1),
            mode="clip",
        )

    def add_lengths(self, shrinking: np.ndarray, slopes: np.ndarray) -> None:
        """Add to derivatives by the features what those by the lengths give.

        The features are of no use afterwards.

        Args:
            shrinking: (environments,), derivatives of the energy by the logarithms of the lengths.
            slopes: (environments, features), the others.
        """
        self.features *= (2.0 * shrinking / self.lengths**2)[:, None]
        self.features[:, self._of._diagonal] *= 0.5  # the others count twice in the length
        slopes += self.features

    def add_forces(self, slopes: np.ndarray, out: np.ndarray) -> None:
        """Add the forces of an energy that depends on the features.

        Args:
            slopes: (environments, features), the derivatives of the energy by them.
            out: (rows, atoms, 3).
        """
        soap, near = self._soap, self._near
        channels = self._coefficients[0].shape[1]
        species = len(near.slices)
        full = np.take(slopes, self._of._square, axis=1, mode="clip").reshape(
            self._count, soap.l_max + 1, channels, channels
        )
        full.reshape(self._count, soap.l_max + 1, -1)[:, :, :: channels + 1] *= 2.0
        pulled = np.empty((soap.n_max, self._count, species, (soap.l_max + 1) ** 2))
        for degree, part in self._degrees():
            product = full[:, degree] @ self._coefficients[degree]
            pulled[..., part] = product.reshape(
                self._count, species, soap.n_max, 2 * degree + 1
            ).transpose(2, 0, 1, 3)
        pulled = (soap.radial.transform @ pulled.reshape(soap.n_max, -1)).reshape(pulled.shape)
        near.scatter(self._by_vectors(pulled), out)

    def _by_vectors(self, pulled: np.ndarray) -> np.ndarray:
        """Derivatives (3, points) by the vectors to the neighbours.

        Args:
            pulled: (n_max, environments, species, functions), those by the sums over neighbours.
        """
        near = self._near
        radial, angular = np.empty_like(self._radial), np.empty_like(self._angular)
        for degree, part in self._degrees():
            values, faded = self._by_centre(self._radial[degree], self._faded[part])
            ours, theirs = self._by_centre(radial[degree], angular[part])
            for index, there in enumerate(near.slices):
                slope = pulled[:, :, index, part].transpose(1, 0, 2)
                np.matmul(slope, faded[:, :, there], out=ours[:, :, there])
                np.matmul(slope.transpose(0, 2, 1), values[:, :, there], out=theirs[:, :, there])
        along = np.einsum("lnp,lnp->p", radial, self._radial_slope)
        along += self._fade_slope * np.einsum("fp,fp->p", angular, self._angular)
        across = self._soap.harmonics.pull(self._angular, angular)
        across *= self._fade / near.distances
        along -= np.einsum("kp,kp->p", across, near.directions)
        return across + along * near.directions

    def _degrees(self) -> list[tuple[int, slice]]:
        """Degrees, and where their functions are."""
        return [
            (degree, slice(degree**2, (degree + 1) ** 2)) for degree in range(self._soap.l_max + 1)
        ]

    def _by_centre(self, *arrays: np.ndarray) -> list[np.ndarray]:
        """Views (environments, functions, neighbours) of arrays (functions, points)."""
        shape = self._count, self._near.atoms.shape[1]
        return [array.reshape(len(array), *shape).transpose(1, 0, 2) for array in arrays]
