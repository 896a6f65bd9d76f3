"""The symmetry functions of all atoms of one molecule, on dense batches.

All triplets of a centre i are the pairs (j, k) of the molecule: those that contain the centre
weigh nothing. Because exp(-eta (r_ij^2 + r_ik^2 + r_jk^2)) and the cutoffs are products over the
three sides, and the angle knows nothing of eta, an angular function is

    G4 = 2 sum_(j<k) [w_ij w_ik w_jk]_eta [((1 + lambda cos theta_ijk) / 2)^zeta]

with w(r) = exp(-eta r^2) f_c(r): functions of pairs, products of them, and one product of matrices
of (eta, pairs) and (pairs, (lambda, zeta)). No list of functions is gone through.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import nn


class SymmetryFunctions(nn.Module):
    """Radial functions G2 and angular functions G4 with the cosine cutoff.

    Source: Behler, J. Chem. Phys. 134, 074106 (2011), doi:10.1063/1.3553717, equations 4, 6 and 8;
    every triplet is counted once, as in DScribe.

    Args:
        numbers: (atoms,) atomic numbers.
        radial: (functions, 2), eta in 1/angstrom^2 and the shift in angstrom of G2.
        widths: (etas,), in 1/angstrom^2, of G4.
        zetas: exponents of G4, integers; lambda is both 1 and -1 for each.
        cutoff: in angstrom.
    """

    radial: torch.Tensor
    widths: torch.Tensor
    square: torch.Tensor
    neighbours: torch.Tensor
    first: torch.Tensor
    second: torch.Tensor

    def __init__(
        self,
        numbers: np.ndarray,
        radial: np.ndarray,
        widths: np.ndarray,
        zetas: Sequence[int],
        cutoff: float,
    ):
        super().__init__()
        self.zetas, self.cutoff, self.atoms = tuple(zetas), cutoff, len(numbers)
        elements, kind = np.unique(numbers, return_inverse=True)
        one, two = np.triu_indices(len(numbers), 1)
        low, high = np.minimum(kind[one], kind[two]), np.maximum(kind[one], kind[two])
        code = high * (high + 1) // 2 + low
        order = np.argsort(code, kind="stable")
        one, two, code = one[order], two[order], code[order]
        starts = np.flatnonzero(np.diff(code, prepend=-1))
        self.blocks = [int(size) for size in np.diff(starts, append=len(code))]
        """Pairs of neighbours of the same two elements, which are contiguous."""
        self.pairs = [
            (int(elements[low[order][start]]), int(elements[high[order][start]]))
            for start in starts
        ]
        """The elements of the neighbours of each block of angular functions."""
        self.elements = [int(element) for element in elements]
        self.angular = len(widths) * 2 * len(self.zetas)
        self.radials = len(elements) * len(radial)
        self.size = self.radials + len(self.blocks) * self.angular
        square = np.full((self.atoms, self.atoms), len(one))
        square[one, two] = square[two, one] = np.arange(len(one))
        for name, array in {
            "radial": np.asarray(radial, dtype=float),
            "widths": np.asarray(widths, dtype=float),
            "square": square.reshape(-1),
            "neighbours": (kind[:, None] == np.arange(len(elements))).astype(float),
            "first": one,
            "second": two,
        }.items():
            self.register_buffer(name, torch.from_numpy(np.ascontiguousarray(array)), False)

    def forward(self, positions: torch.Tensor) -> torch.Tensor:
        """Functions (batch, atoms, functions) of positions (batch, atoms, 3) in angstrom.

        First the radial ones by the element of the neighbour and the function, then the angular
        ones by the elements of the neighbours (`pairs`), eta, lambda (1, then -1) and zeta.
        """
        apart = positions[:, self.second] - positions[:, self.first]
        squared = (apart * apart).sum(-1)[:, None]
        distances = torch.sqrt(squared)
        fading = self.fading(distances)
        shells = torch.exp(-self.radial[:, :1] * (distances - self.radial[:, 1:]) ** 2) * fading
        sides = torch.exp(-self.widths[:, None] * squared) * fading
        return torch.cat([self.g2(shells), *self.g4(squared, distances, sides)], dim=-1)

    def fading(self, distances: torch.Tensor) -> torch.Tensor:
        """The cosine cutoff, exactly zero from the cutoff on."""
        wave = 0.5 + 0.5 * torch.cos(distances * (np.pi / self.cutoff))
        return torch.where(distances < self.cutoff, wave, torch.zeros_like(wave))

    def g2(self, shells: torch.Tensor) -> torch.Tensor:
        """Sums over the neighbours of an element of functions (batch, functions, pairs)."""
        found = self.squared(shells) @ self.neighbours
        return found.permute(0, 2, 3, 1).flatten(2)

    def g4(
        self, squared: torch.Tensor, distances: torch.Tensor, sides: torch.Tensor
    ) -> list[torch.Tensor]:
        """A block (batch, atoms, functions) for every pair of elements of the neighbours.

        Args:
            squared, distances: (batch, 1, pairs).
            sides: w of the pairs (batch, etas, pairs).
        """
        etas = len(self.widths)
        around = self.squared(torch.cat([sides, 1 / distances, squared], dim=1)).transpose(1, 2)
        factors, terms = around.split([etas + 1, 1], dim=2)
        product = taken(factors, self.first) * taken(factors, self.second)
        weights, inverse = product.split([etas, 1], dim=2)
        excess = taken(terms, self.first) + taken(terms, self.second) - squared[:, None]
        half_cosine = 0.25 * excess * inverse
        signs = torch.cat([0.5 + half_cosine, 0.5 - half_cosine], dim=2)
        lobes = torch.stack(powers(signs, self.zetas), dim=3).flatten(2, 3)
        # Splitting, unlike slicing, has a derivative that does not fill a tensor for every part.
        parts = zip(
            (2 * weights * sides[:, None]).split(self.blocks, dim=-1),
            lobes.split(self.blocks, dim=-1),
            strict=True,
        )
        return [(weight @ lobe.transpose(2, 3)).flatten(2) for weight, lobe in parts]

    def squared(self, values: torch.Tensor) -> torch.Tensor:
        """Values of pairs (batch, n, pairs) as (batch, n, atoms, atoms), zero on the diagonal."""
        padded = nn.functional.pad(values, (0, 1))
        return taken(padded, self.square).view(*values.shape[:2], self.atoms, self.atoms)


def taken(values: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
    """`values[..., index]`, by the operation with the fastest derivative."""
    return values.gather(-1, index.expand(*values.shape[:-1], -1))


def powers(base: torch.Tensor, exponents: Sequence[int]) -> list[torch.Tensor]:
    """Whole powers by repeated squaring, which is fast, and smooth where the base is zero."""
    squares = [base]
    while 2 ** len(squares) <= max(exponents):
        squares.append(squares[-1] * squares[-1])
    found = []
    for exponent in exponents:
        factors = [squares[bit] for bit in range(exponent.bit_length()) if exponent >> bit & 1]
        product = factors[0]
        for factor in factors[1:]:
            product = product * factor
        found.append(product)
    return found
