"""SCF calculations that converge or raise an error: initial guesses, retries, broken symmetry.

Works on PySCF's and gpu4pyscf's mean-field objects alike.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from flexcalc.errors import LabelError

LEVEL_SHIFT = 0.3
"""Level shift of the virtual orbitals at the second attempt, in hartree."""
SMEARING = 0.01
"""Width in hartree of the Fermi occupations whose density the second attempt starts from: where two
orbitals nearly cross, as in azobenzene that is twisted by 90 degrees, integer occupations jump
between them."""
SHIFTED_CYCLES = 10
"""Cycles of the second attempt if a third may follow, which is faster near the solution."""
SETTLING, WINDOW, FALLING, SMALL = 20, 10, 0.3, 1e-3
"""A plain SCF is given up, after `SETTLING` cycles, if the smallest orbital gradient of the last
`WINDOW` is neither below `SMALL` nor below `FALLING` times the smallest one before."""


@dataclass(frozen=True)
class Plan:
    """Convergence settings.

    Args:
        tries: 1 plain, 2 with a level shift, 3 with second-order SCF.
        max_cycle: cycles of each try, for the message.
    """

    tries: int
    max_cycle: int


@dataclass(frozen=True, eq=False)
class Orbitals:
    """Occupied orbitals, the initial guess of the next geometry.

    Args:
        alpha: (functions, electrons) of one spin.
        beta: (functions, electrons) of the other; equal to alpha where restricted.
        paired: whether the density matrix is one for both spins together.
        positions: (atoms, 3) in angstrom they belong to.
    """

    alpha: np.ndarray
    beta: np.ndarray
    paired: bool
    positions: np.ndarray | None = None

    def at(self, positions: np.ndarray) -> Orbitals:
        """The same, noting the geometry they belong to."""
        return replace(self, positions=positions.copy())

    def density(self, overlap: np.ndarray) -> np.ndarray:
        """A density matrix with the right number of electrons for another geometry.

        Args:
            overlap: (functions, functions) of the new geometry, in which the orbitals are
                made orthonormal again, each moved as little as possible.
        """
        alpha = _orthonormal(self.alpha, overlap)
        if self.paired:
            return 2 * alpha @ alpha.T
        beta = _orthonormal(self.beta, overlap)
        return np.array([alpha @ alpha.T, beta @ beta.T])


def on_host(array: Any) -> Any:
    """A NumPy array, copied from the GPU if necessary."""
    return array.get() if hasattr(array, "get") else array


def orbitals(mf: Any) -> Orbitals:
    """The occupied orbitals of a mean field."""
    coefficients = np.asarray(on_host(mf.mo_coeff))
    occupations = np.asarray(on_host(mf.mo_occ))
    if coefficients.ndim == 3:
        alpha, beta = (
            matrix[:, filled > 0] for matrix, filled in zip(coefficients, occupations, strict=True)
        )
        return Orbitals(alpha, beta, paired=False)
    alpha, beta = coefficients[:, occupations > 0], coefficients[:, occupations > 1]
    return Orbitals(alpha, beta, paired=alpha.shape == beta.shape)


def converge(make: Callable[[], Any], plan: Plan, guess: Orbitals | None) -> Any:
    """A converged mean field.

    Args:
        make: makes a fresh mean field.
        plan: how hard to try.
        guess: where the first try starts; the second starts from a density with Fermi occupations.

    Raises:
        LabelError: no try converged.
    """
    mf = make()
    if plan.tries > 1:
        mf.callback = _GivesUp()
    with suppress(_StalledError):
        mf.kernel(dm0=None if guess is None else _density(mf, guess))
    if mf.converged or plan.tries == 1:
        return _checked(mf, plan)
    shifted = make()
    shifted.level_shift = LEVEL_SHIFT
    if plan.tries > 2:
        shifted.max_cycle = min(plan.max_cycle, SHIFTED_CYCLES)
    shifted.kernel(dm0=_smeared(make) if _is_pyscf(mf) else None)
    if shifted.converged or plan.tries == 2:
        return _checked(shifted, plan)
    second = make().newton()
    second.kernel(shifted.mo_coeff, shifted.mo_occ)
    return _checked(second.undo_soscf() if hasattr(second, "undo_soscf") else second, plan)


class _StalledError(Exception):
    """The orbital gradient of an SCF does not fall."""


class _GivesUp:
    """A callback that ends an SCF whose orbital gradient does not fall."""

    def __init__(self) -> None:
        self.norms: list[float] = []

    def __call__(self, locals_: Mapping[str, Any]) -> None:
        self.norms.append(float(locals_["norm_gorb"]))
        before, last = self.norms[:-WINDOW], self.norms[-WINDOW:]
        if len(self.norms) >= SETTLING and min(last) > max(SMALL, FALLING * min(before)):
            raise _StalledError


def _is_pyscf(mf: Any) -> bool:
    """Whether a mean field is one of PySCF itself, not one on a GPU."""
    return type(mf).__module__.startswith("pyscf.")


def _smeared(make: Callable[[], Any]) -> Any:
    """The density of an SCF with Fermi occupations."""
    from pyscf.scf.addons import smearing

    mf = smearing(make(), sigma=SMEARING, method="fermi", fix_spin=True)
    mf.conv_tol = 1e-4
    mf.kernel()
    return mf.make_rdm1()


def broken_symmetry(
    make_restricted: Callable[[], Any],
    make_unrestricted: Callable[[], Any],
    plan: Plan,
    guess: Orbitals | None,
) -> tuple[Any, Orbitals]:
    """The lower of the restricted and the broken-symmetry singlet.

    Every geometry breaks the symmetry of its own restricted orbitals, so that the result
    does not depend on whether the geometry before had broken it.

    Args:
        make_restricted: makes a fresh restricted mean field.
        make_unrestricted: makes a fresh unrestricted one.
        plan: how hard to try.
        guess: restricted orbitals of the geometry before.

    Returns:
        The mean field, and the restricted orbitals to start the next geometry from.

    Raises:
        LabelError: no try of the unrestricted one converged.
    """
    closed = make_restricted()
    closed.kernel(dm0=None if guess is None else _density(closed, guess))
    start = orbitals(closed)
    opened = converge(make_unrestricted, plan, _mixed(closed, start))
    if closed.converged and closed.e_tot < opened.e_tot:
        return closed, start
    return opened, start


def _mixed(mf: Any, closed: Orbitals) -> Orbitals:
    """HOMO and LUMO mixed by 45 degrees, up for one spin and down for the other."""
    coefficients = np.asarray(on_host(mf.mo_coeff))
    occupations = np.asarray(on_host(mf.mo_occ))
    if (occupations == 0).all() or (occupations > 0).all():
        return replace(closed, paired=False)
    highest = closed.alpha[:, -1]
    lowest = coefficients[:, np.flatnonzero(occupations == 0)[0]]
    alpha, beta = closed.alpha.copy(), closed.alpha.copy()
    alpha[:, -1] = (highest + lowest) / np.sqrt(2)
    beta[:, -1] = (highest - lowest) / np.sqrt(2)
    return Orbitals(alpha, beta, paired=False)


def _density(mf: Any, guess: Orbitals) -> Any:
    density = guess.density(np.asarray(on_host(mf.get_ovlp())))
    if hasattr(mf.get_ovlp(), "get"):
        import cupy

        return cupy.asarray(density)
    return density


def _checked(mf: Any, plan: Plan) -> Any:
    if mf.converged:
        return mf
    made = ("", ", nor with a level shift", ", a level shift or second-order SCF")
    raise LabelError(
        f"the SCF did not converge in {plan.max_cycle} cycles{made[min(plan.tries, 3) - 1]}; "
        "raise max_cycle, or try spin=broken-symmetry for a stretched or twisted bond"
    )


def _orthonormal(orbitals: np.ndarray, overlap: np.ndarray) -> np.ndarray:
    """Symmetric (Loewdin) orthonormalisation of the columns."""
    values, vectors = np.linalg.eigh(orbitals.T @ overlap @ orbitals)
    return orbitals @ (vectors / np.sqrt(values)) @ vectors.T
