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
from flexcalc.units import HARTREE

LEVEL_SHIFT = 0.3
"""Level shift of the virtual orbitals at the second attempt, in hartree."""
SMEARING = 0.01
"""Width in hartree of the Fermi occupations whose density the second attempt starts from: where two
orbitals nearly cross, as in azobenzene that is twisted by 90 degrees, integer occupations jump
between them."""
SHIFTED_CYCLES = 10
"""Cycles of the second attempt if a third may follow, which is faster near the solution."""
ROUGH, CORRECTIONS = 1e-6, 6
"""Of an SCF on a coarse grid: change of the energy in hartree at its first convergence, and how
often at most the difference of both grids is computed."""
STABLE = 1e-5
"""Symmetry breaks if the lowest eigenvalue of the Hessian is this far below zero, in hartree."""
UNFILLED = 1e-4
"""Energy in hartree by which an empty orbital may be below a filled one."""
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
    if _has_coarse_grid(mf):
        with suppress(LabelError):
            return two_grids(mf, plan, guess)
    return _tried(make, plan, guess, mf)


def check_filling(mf: Any) -> None:
    """Refuse an SCF whose electrons do not fill the lowest orbitals.

    Where two orbitals cross, as at a twisted double bond, there is one closed shell with either of
    them filled, and none with the lowest: labels would jump between both.

    Args:
        mf: restricted, closed shell, converged.

    Raises:
        LabelError: an empty orbital is below a filled one.
    """
    highest, lowest = _frontier(mf)
    below = float(mf.mo_energy[highest] - mf.mo_energy[lowest])
    if below > UNFILLED:
        raise LabelError(
            f"the SCF leaves an orbital empty that is {below * HARTREE:.2g} eV below a filled one, "
            "as where a bond is twisted or stretched; spin=broken-symmetry has labels there"
        )


def two_grids(mf: Any, plan: Plan, guess: Orbitals | None) -> Any:
    """Converge Kohn-Sham orbitals for few evaluations on the grid of integration.

    The SCF runs on a coarse grid, to whose Fock matrix the difference of both grids at the last
    density is added as a constant, until the orbitals are those of the fine grid. That difference
    hardly depends on the density, so that three evaluations on the fine grid do where a plain SCF
    takes a dozen, and where orbitals nearly cross all the cycles that look for the right ones are
    on the coarse grid. (Defect correction, as in multigrid methods: Brandt, Math. Comput. 31, 333,
    1977.)

    Args:
        mf: of PySCF, as it was made.
        plan: how hard to try on the coarse grid.
        guess: where that one starts.

    Returns:
        `mf`, converged.

    Raises:
        LabelError: the SCF on the coarse grid does not converge, or not to that of the fine one.
    """
    core, change = mf.get_hcore(), np.zeros(())
    bare = _on_coarse_grid(mf)

    def coarse(tolerance: float) -> Any:
        rough = bare.copy()
        rough.get_veff, rough.conv_tol = _with_constant(bare, change), tolerance
        return rough

    rough, plain = _tried(lambda: coarse(ROUGH), plan, guess), True
    for _ in range(CORRECTIONS):
        density = rough.make_rdm1()
        field = mf.get_veff(dm=density)
        fock = mf.get_fock(h1e=core, vhf=field, dm=density)
        # A quarter of PySCF's tolerance, which takes one more step where its own is met.
        gradient = np.linalg.norm(mf.get_grad(rough.mo_coeff, rough.mo_occ, fock))
        if gradient < np.sqrt(mf.conv_tol) / 4:
            return _taken(mf, rough, fock, mf.energy_tot(density, core, field))
        change = np.asarray(field) - np.asarray(bare.get_veff(dm=density))
        last, tight = rough, mf.conv_tol / 100
        if plain:
            rough = _plain(coarse(tight), plan, orbitals(last))
            plain = rough.converged
        if not plain:
            rough = _checked(_second_order(coarse(tight), last), plan)
    raise LabelError("the SCF on a coarse grid does not lead to that on the fine one")


def _on_coarse_grid(mf: Any) -> Any:
    """A copy of a Kohn-Sham mean field that integrates on PySCF's coarsest grid."""
    copy = mf.copy()
    for name in ("grids", "nlcgrids"):
        grid = type(getattr(mf, name))(mf.mol)
        grid.level = 0
        setattr(copy, name, grid)
    return copy


def _with_constant(mf: Any, change: np.ndarray) -> Callable[..., Any]:
    """The function of a Kohn-Sham mean field that makes the potential of the electrons, with a
    constant matrix in it, and the energy that belongs to it."""
    from pyscf.lib import tag_array

    def get_veff(mol: Any = None, dm: Any = None, *rest: Any, **named: Any) -> Any:
        field = mf.get_veff(mol, dm, *rest, **named)
        energy = field.exc + (change * np.asarray(dm)).sum()
        return tag_array(np.asarray(field) + change, **{**vars(field), "exc": energy})

    return get_veff


def _taken(mf: Any, rough: Any, fock: np.ndarray, energy: float) -> Any:
    """A mean field with the orbitals of another, canonical as far as that leaves the density."""
    mf.mo_coeff, mf.mo_energy = rough.mo_coeff.copy(), np.zeros(rough.mo_occ.shape)
    mf.mo_occ = rough.mo_occ
    for spin in np.ndindex(mf.mo_occ.shape[:-1]):
        for part in (mf.mo_occ[spin] > 0, mf.mo_occ[spin] == 0):
            block = mf.mo_coeff[spin][:, part]
            mf.mo_energy[spin][part], turn = np.linalg.eigh(block.T @ fock[spin] @ block)
            mf.mo_coeff[spin][:, part] = block @ turn
    mf.e_tot, mf.converged = energy, True
    return mf


def _tried(make: Callable[[], Any], plan: Plan, guess: Orbitals | None, first: Any = None) -> Any:
    """The first that converges of a plain SCF, one with a level shift and a second-order one."""
    mf = _plain(first or make(), plan, guess)
    if mf.converged or plan.tries == 1:
        return _checked(mf, plan)
    shifted = make()
    shifted.level_shift = LEVEL_SHIFT
    if plan.tries > 2:
        shifted.max_cycle = min(plan.max_cycle, SHIFTED_CYCLES)
    shifted.kernel(dm0=_smeared(make) if _is_pyscf(mf) else None)
    if shifted.converged or plan.tries == 2:
        return _checked(shifted, plan)
    return _refilled(_checked(_second_order(make(), shifted), plan), make)


def _refilled(mf: Any, make: Callable[[], Any]) -> Any:
    """A mean field, or the lower one in which its highest filled orbital and the lowest empty one
    have changed places, where that one is below: second-order steps keep what was filled first.

    Of orbitals of two spins, what was found.
    """
    if np.ndim(mf.mo_energy) > 1:
        return mf
    highest, lowest = _frontier(mf)
    if mf.mo_energy[highest] <= mf.mo_energy[lowest]:
        return mf
    swapped = mf.copy()
    swapped.mo_coeff = mf.mo_coeff.copy()
    swapped.mo_coeff[:, [highest, lowest]] = mf.mo_coeff[:, [lowest, highest]]
    other = _second_order(make(), swapped)
    return other if other.converged and other.e_tot < mf.e_tot else mf


def _frontier(mf: Any) -> tuple[int, int]:
    """Indices of the highest filled and of the lowest empty orbital of a restricted mean field;
    twice the highest where none is empty."""
    energies, filled = on_host(mf.mo_energy), on_host(mf.mo_occ) > 0
    highest = int(np.argmax(np.where(filled, energies, -np.inf)))
    lowest = highest if filled.all() else int(np.argmin(np.where(filled, np.inf, energies)))
    return highest, lowest


def _plain(mf: Any, plan: Plan, guess: Orbitals | None) -> Any:
    """Run an SCF, given up where its gradient does not fall if there is another try."""
    if plan.tries > 1:
        mf.callback = _GivesUp()
    with suppress(_StalledError):
        mf.kernel(dm0=None if guess is None else _density(mf, guess))
    return mf


def _second_order(mf: Any, start: Any) -> Any:
    """Run a second-order SCF from the orbitals of another mean field."""
    second = mf.newton()
    second.kernel(start.mo_coeff, start.mo_occ)
    return second.undo_soscf() if hasattr(second, "undo_soscf") else second


def _has_coarse_grid(mf: Any) -> bool:
    """Whether the method is a Kohn-Sham one of PySCF on a finer grid than the coarsest.

    Of open shells the unrestricted ones.

    gpu4pyscf is not tried: what an SCF costs there is not known here.
    """
    if not _is_pyscf(mf):
        return False
    from pyscf.dft.rks import RKS
    from pyscf.dft.uks import UKS

    closed = isinstance(mf, RKS) and mf.mol.spin == 0
    return (closed or isinstance(mf, UKS)) and mf.grids.level > 0


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
    """The restricted singlet where it keeps its symmetry, else the lower of it and the broken one.

    Every geometry breaks the symmetry of its own restricted orbitals, so that the result
    does not depend on whether the geometry before had broken it. Where there is a coarse grid they
    are those on it: where frontier orbitals cross, those of the fine grid take several times as
    long as the broken ones.

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
    mf = make_restricted()
    if _has_coarse_grid(mf):
        with suppress(LabelError):
            rough = _tried(_on_coarse_grid(mf).copy, plan, guess)
            guess = orbitals(rough)
            if not keeps_symmetry(rough):
                opened = converge(make_unrestricted, plan, _mixed(rough, guess))
                if opened.e_tot < mf.energy_tot(rough.make_rdm1()):
                    return opened, guess
    try:
        closed = converge(make_restricted, plan, guess)
    except LabelError:  # its last orbitals do as well to be mixed
        closed = _plain(make_restricted(), replace(plan, tries=1), guess)
    start = orbitals(closed)
    if closed.converged and _is_pyscf(closed) and keeps_symmetry(closed):
        return closed, start
    opened = converge(make_unrestricted, plan, _mixed(closed, start))
    if closed.converged and closed.e_tot < opened.e_tot:
        return closed, start
    return opened, start


def keeps_symmetry(mf: Any) -> bool:
    """Whether a closed shell is a minimum among all singlets and triplets of two sets of orbitals.

    The lowest eigenvalue of the Hessian of the energy with respect to rotations of the orbitals of
    one spin against those of the other is computed, on PySCF's coarsest grid.

    Source: Seeger, Pople, J. Chem. Phys. 66, 3045 (1977); Bauernschmitt, Ahlrichs, J. Chem. Phys.
    104, 9047 (1996), for density functionals.

    Args:
        mf: of PySCF; restricted, closed shell, converged.
    """
    from pyscf.lib import davidson1

    rough = _on_coarse_grid(mf) if hasattr(mf, "grids") else mf
    filled, empty = (mf.mo_coeff[:, mf.mo_occ == count] for count in (2, 0))
    gaps = mf.mo_energy[mf.mo_occ == 0][:, None] - mf.mo_energy[mf.mo_occ == 2]
    if not gaps.size:
        return True
    response = rough.gen_response(singlet=False, hermi=1)

    def products(rotations: list[np.ndarray]) -> list[np.ndarray]:
        turns = np.reshape(rotations, (-1, *gaps.shape))
        half = 2 * empty @ turns @ filled.T
        fields = response(half + half.transpose(0, 2, 1))
        return list((gaps * turns + empty.T @ fields @ filled).reshape(len(turns), -1))

    def shrunk(residual: np.ndarray, value: float, _: np.ndarray) -> np.ndarray:
        below = gaps.ravel() - value
        return residual / np.where(abs(below) < SMALL, SMALL, below)

    lowest = np.zeros(gaps.size)
    lowest[np.argmin(gaps)] = 1.0
    even = 1.0 / np.maximum(gaps.ravel(), UNFILLED)
    _, values, _ = davidson1(products, [lowest, even], shrunk, tol=STABLE / 10, nroots=1, verbose=0)
    return bool(values[0] > -STABLE)


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
