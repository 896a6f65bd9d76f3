"""Density functional theory, and Hartree-Fock, by PySCF or gpu4pyscf."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike

from flexcalc.errors import AddressError, InputError, LabelError, MissingExtraError
from flexcalc.fields import Count, Natural, Positive
from flexcalc.potential import CheckedPotential, Evaluation, check_positions
from flexcalc.query import choice, hint, read_options
from flexcalc.references import dispersion as ts
from flexcalc.references import scf
from flexcalc.references.blas import import_pyscf
from flexcalc.references.correction import DISPERSIONS, require_parameters
from flexcalc.references.electrons import check_electrons, failed
from flexcalc.units import BOHR, HARTREE

Spin = Literal["restricted", "unrestricted", "broken-symmetry"]
Device = Literal["auto", "cpu", "gpu"]

BASIS = re.compile(r"[A-Za-z0-9][A-Za-z0-9+*(),@_. -]{0,79}")
"""Names of bases, such as 6-311++G(d,p) or, cut, cc-pVTZ@3s2p1d."""

SUFFIX = re.compile(
    "-(" + "|".join(re.escape(name) for name in DISPERSIONS) + ")$", flags=re.IGNORECASE
)

WARM_REACH = 0.5
"""Maximum displacement of an atom in angstrom for which previous orbitals are the initial guess."""


@dataclass(frozen=True, kw_only=True)
class DFTOptions:
    """Options of density functional theory.

    Args:
        charge: total charge in units of the elementary charge.
        multiplicity: 2S + 1.
        spin: "restricted" (open shells restricted too), "unrestricted", or "broken-symmetry":
            a singlet from a guess that mixes the frontier orbitals, for diradicals such as a
            double bond twisted by 90 degrees, where restricted labels fail; the restricted label
            where that one is stable against it, or lower.
        density_fit: fit the Coulomb and exchange integrals.
        grid: PySCF's level of the integration grid, 0 to 9.
        grid_response: let the grid move with the atoms in the gradient.
        conv_tol_Ha: change of the energy at convergence; the orbital gradient must fall below
            its square root.
        max_cycle: cycles of each try.
        tries: 1 for the plain SCF alone, 2 with a level shift if that fails, 3 with
            second-order SCF if that fails too.
        warm_start: carry the orbitals from one geometry to the next.
        device: "auto" is a GPU where CUDA and gpu4pyscf are there, the CPU otherwise.
        threads: OpenMP threads of PySCF; 0 leaves them to the environment.
    """

    charge: int = 0
    multiplicity: Count = 1
    spin: Spin = "restricted"
    density_fit: bool = True
    grid: Natural = 3
    grid_response: bool = True
    conv_tol_Ha: Positive = 1e-10
    max_cycle: Count = 100
    tries: Count = 3
    warm_start: bool = True
    device: Device = "auto"
    threads: Natural = 0


class DFT(CheckedPotential):
    """Any functional and basis of PySCF, with dispersion; a label exists only if converged.

    The self-consistent field starts from the orbitals of the geometry before, if no atom has
    moved by more than 0.5 angstrom, and is converged so far that a label does not depend on
    that history: on glycine a default label is within 1e-9 eV and 5e-5 eV/angstrom of one
    converged to 1e-13 hartree. Copying or pickling leaves the orbitals behind.

    With grid response forces are minus the gradient of the energy: for PBE-D4/def2-SVP on
    glycine within 1e-5 eV/angstrom. TS is the exception, since its volumes are held fixed in
    the gradient: for PBE-TS/def2-SVP on glycine the force components deviate by 1.2e-3
    eV/angstrom rms and 3.8e-3 at most (0.03 and 0.09 kcal/mol/angstrom).

    Args:
        numbers: (atoms,) atomic numbers.
        functional: as PySCF names it, or "HF".
        basis: as PySCF names it; with its effective core potentials where it has them.
        dispersion: None, "D3(BJ)" (also "D3", "D3BJ"), "D3(0)", "D4" or "TS".
        options: all others.

    Raises:
        AddressError: an unknown functional, basis or dispersion, or one that lacks parameters
            for the other or for an element; a charge, multiplicity and spin that do not fit.
        MissingExtraError: PySCF is not installed.
        InputError: a GPU is asked for and cannot be used.
    """

    takes: ClassVar[type] = DFTOptions
    expensive = True

    def __init__(
        self,
        numbers: ArrayLike,
        functional: str = "PBE",
        basis: str = "def2-SVP",
        dispersion: str | None = None,
        options: DFTOptions = DFTOptions(),
    ):
        _require_pyscf()
        self.numbers = np.array(numbers, dtype=int)
        self.functional, self.basis, self.dispersion = functional, basis, dispersion
        self.level = f"{functional}{f'-{dispersion}' if dispersion else ''}/{basis}"
        self.options = options
        self.unpaired = check_electrons(self.numbers, options.charge, options.multiplicity)
        self.spin = choice(options.spin, get_args(Spin), f"dft:{self.level}: spin")
        if self.spin == "broken-symmetry" and options.multiplicity != 1:
            raise AddressError(
                f"dft:{self.level}: spin=broken-symmetry is for singlets, found "
                f"multiplicity={options.multiplicity}; use spin=unrestricted"
            )
        if options.grid > 9:
            raise AddressError(
                f"dft:{self.level}: option grid: expected 0 to 9, found {options.grid}"
            )
        self.device = choice(options.device, get_args(Device), f"dft:{self.level}: device")
        self._xc, self._nlc, self._disp = _functional(functional, dispersion, self.level)
        _check_basis(basis, self.level)
        self._ecp = _effective_cores(self.numbers, basis)
        self._scale = 0.0
        if self._disp == "ts":
            self._scale = ts.damping_range(functional)
            ts.free_atoms(self.numbers)
        self._on_gpu = self.device != "cpu" and _gpu_found(required=self.device == "gpu")
        self._memory: scf.Orbitals | None = None
        self._free: dict[str, ts.AtomDensity] | None = None

    @classmethod
    def from_address(cls, text: str, numbers: ArrayLike, options: Mapping[str, str]) -> DFT:
        """Open `dft:FUNCTIONAL[-DISPERSION]/BASIS?options`.

        Args:
            text: such as "PBE-D4/def2-SVP", "B3LYP/6-31G*" or "HF/STO-3G".
            numbers: (atoms,) atomic numbers.
            options: those of `DFTOptions` as texts.

        Raises:
            AddressError, MissingExtraError, InputError: see the class.
        """
        functional, dispersion, basis = split(text)
        chosen = DFTOptions(**read_options(DFTOptions, options, f"dft:{text}"))
        return cls(numbers, functional, basis, dispersion, chosen)

    def evaluate(self, positions: np.ndarray) -> Evaluation:
        """Energies and forces of each row, in order.

        Raises:
            LabelError: the SCF of a row did not converge, or to closed shells that are not the
                lowest orbitals, or the row cannot be computed.
        """
        from pyscf import lib

        energies = np.zeros(len(positions))
        forces = np.zeros(positions.shape)
        with lib.with_omp_threads(self.options.threads) if self.options.threads else nullcontext():
            for row, geometry in enumerate(positions):
                try:
                    energies[row], forces[row] = self._row(geometry)
                except LabelError as error:
                    self._memory = None
                    raise LabelError(f"batch row {row}: {self.level}: {error}") from None
                except (RuntimeError, ValueError, ArithmeticError) as error:
                    self._memory = None
                    raise failed(row, self.level, error) from error
        return Evaluation(energies, forces)

    def volumes(self, positions: ArrayLike) -> np.ndarray:
        """Hirshfeld volumes relative to the free atoms', as TS dispersion takes them.

        Args:
            positions: (batch, atoms, 3) in angstrom.

        Returns:
            (batch, atoms); the `volumes` of `dispersion:TS/...`.

        Raises:
            ShapeError: the positions do not fit the molecule.
            LabelError: the SCF of a row did not converge.
        """
        geometries = check_positions(positions, self.numbers)
        return np.array([self._volumes(self._converged(geometry)) for geometry in geometries])

    def _row(self, positions: np.ndarray) -> tuple[float, np.ndarray]:
        mf = self._converged(positions)
        energy, gradient = float(mf.e_tot) * HARTREE, self._gradient(mf)
        forces = -gradient * (HARTREE / BOHR)
        if self._disp == "ts":
            extra, push = ts.pairwise(self.numbers, positions[None], self._volumes(mf), self._scale)
            energy, forces = energy + float(extra[0]), forces + push[0]
        return energy, forces

    def _converged(self, positions: np.ndarray) -> Any:
        """A converged PySCF object; its orbitals are stored as the next initial guess."""
        guess = self._guess(positions)
        plan = scf.Plan(self.options.tries, self.options.max_cycle)
        if self.spin == "broken-symmetry":
            mf, memory = scf.broken_symmetry(
                lambda: self._mean_field(positions, unrestricted=False),
                lambda: self._mean_field(positions, unrestricted=True),
                plan,
                guess,
            )
        else:
            unrestricted = self.spin == "unrestricted"
            mf = scf.converge(lambda: self._mean_field(positions, unrestricted), plan, guess)
            if not unrestricted and not self.unpaired:
                scf.check_filling(mf)
            memory = scf.orbitals(mf)
        self._memory = memory.at(positions)
        return mf

    def _mean_field(self, positions: np.ndarray, unrestricted: bool) -> Any:
        """A fresh PySCF object for a geometry, on the device."""
        mol = self._molecule(positions)
        if self._xc == "hf":
            mf = mol.UHF() if unrestricted else mol.RHF()
        else:
            mf = mol.UKS(xc=self._xc) if unrestricted else mol.RKS(xc=self._xc)
            mf.grids.level = self.options.grid
            mf.nlc = self._nlc
            # VV10 costs the square of its grid; two levels down changes water by 1e-5 eV.
            mf.nlcgrids.level = max(self.options.grid - 2, 0)
        if self._disp not in (None, "ts"):
            mf.disp = self._disp
        if self.options.density_fit:
            mf = mf.density_fit()
        mf.chkfile = None
        mf.conv_tol, mf.max_cycle = self.options.conv_tol_Ha, self.options.max_cycle
        if self._on_gpu:
            return mf.to_gpu()
        if self.options.density_fit:
            _keep_integrals(mf)
        return mf

    def _molecule(self, positions: np.ndarray) -> Any:
        from pyscf import gto

        return gto.M(
            atom=list(zip(self.numbers.tolist(), (positions / BOHR).tolist(), strict=True)),
            unit="Bohr",
            basis=self.basis,
            ecp=self._ecp,
            charge=self.options.charge,
            spin=self.unpaired,
            verbose=0,
        )

    def _guess(self, positions: np.ndarray) -> scf.Orbitals | None:
        old = self._memory
        if not self.options.warm_start or old is None or old.positions is None:
            return None
        moved = np.linalg.norm(positions - old.positions, axis=1).max()
        return old if moved < WARM_REACH else None

    def _gradient(self, mf: Any) -> np.ndarray:
        """(atoms, 3) in hartree/bohr, dispersion by pyscf-dispersion included."""
        if self._on_gpu and self.unpaired and self.spin == "restricted":
            mf = mf.to_cpu()  # gpu4pyscf has no gradient of a restricted open shell
        gradient = mf.nuc_grad_method()
        if self._xc != "hf":
            gradient.grid_response = self.options.grid_response
        return np.asarray(scf.on_host(gradient.kernel()))

    def _volumes(self, mf: Any) -> np.ndarray:
        if self._free is None:
            self._free = ts.atom_densities(mf.mol, self._xc)
        density = np.asarray(scf.on_host(mf.make_rdm1()))
        if density.ndim == 3:
            density = density.sum(axis=0)
        coords, weights = scf.on_host(mf.grids.coords), scf.on_host(mf.grids.weights)
        return ts.hirshfeld_volumes(mf.mol, coords, weights, density, self._free)

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_memory": None}


def split(text: str) -> tuple[str, str | None, str]:
    """The functional, dispersion and basis of "FUNCTIONAL[-DISPERSION]/BASIS".

    Only a known dispersion is split off, so that wB97X-V and CAM-B3LYP stay whole.

    Raises:
        AddressError: a part is missing.
    """
    method, slash, basis = text.partition("/")
    if not (method and slash and basis):
        raise AddressError(f"dft:{text}: expected FUNCTIONAL/BASIS, such as PBE-D4/def2-SVP")
    found = SUFFIX.search(method)
    if found is None:
        return method, None, basis
    return method[: found.start()], found[1].upper(), basis


def _functional(functional: str, dispersion: str | None, level: str) -> tuple[str, Any, str | None]:
    """PySCF's `xc`, `nlc` and `disp`; the last is "ts" for Tkatchenko-Scheffler."""
    from pyscf.dft import libxc
    from pyscf.scf.dispersion import parse_dft

    name, disp = functional.lower(), None
    if dispersion is not None:
        disp = DISPERSIONS[choice(dispersion, DISPERSIONS, f"dft:{level}: dispersion")]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            # Try the spelling of the address first: wB97X-D3 is a functional itself.
            parse_dft(level.partition("/")[0].lower())
            xc, nlc, own = parse_dft(name if disp in (None, "ts") else f"{name}-{disp}")
        if (name, disp) == ("wb97x", "d4"):
            # The meaning of this name changes with PySCF 2.16. This is the later meaning, which the
            # authors of D4 recommend, so that labels of both versions agree.
            xc, nlc, own = "wb97x_v", False, "d4:wb97x"
        if re.search(r"-d2?$", name):
            raise NotImplementedError("it is made for D2")
    except NotImplementedError as error:
        raise AddressError(
            f"dft:{level}: PySCF lacks the dispersion this functional is made for ({error}); "
            "use another functional with -D3, -D4 or -TS"
        ) from None
    _check_functional(xc, functional, level)
    if dispersion and nlc is not False and libxc.is_nlc(xc):
        raise AddressError(
            f"dft:{level}: {functional} has a dispersion of its own; leave out -{dispersion}"
        )
    if own is not None:
        require_parameters(xc, own, f"dft:{level}")
    return xc, nlc, "ts" if disp == "ts" else own


def _check_functional(xc: str, functional: str, level: str) -> None:
    from pyscf.dft import libxc

    try:
        libxc.parse_xc(xc)
    except (KeyError, ValueError, NotImplementedError):
        near = hint(functional, [*libxc.XC_CODES, *libxc.XC_ALIAS])
        near = near if "did you mean" in near else ""
        if "-" in functional:
            near += f"; a dispersion is one of -{', -'.join(DISPERSIONS)}"
        raise AddressError(f"dft:{level}: PySCF knows no functional {functional!r}{near}") from None


def _check_basis(basis: str, level: str) -> None:
    """Refuse a name that PySCF would parse as a basis, or read as a file.

    Both are data of whoever wrote them, and PySCF evaluates the numbers in them as Python.

    Raises:
        AddressError: no plain name, or there is a file of that name in the working folder.
    """
    if not BASIS.fullmatch(basis):
        raise AddressError(f"dft:{level[:80]}: expected the name of a basis, found {basis[:40]!r}")
    if Path(basis).exists():
        raise AddressError(
            f"dft:{level}: PySCF would read the file {basis!r} here in place of its own basis, and "
            "run code in it; rename the file, or work in another folder"
        )


def _effective_cores(numbers: np.ndarray, basis: str) -> dict[str, str]:
    """Element symbol -> basis, for those elements whose basis comes with a core potential.

    Raises:
        AddressError: PySCF has no such basis for an element.
    """
    from ase.data import chemical_symbols
    from pyscf import gto
    from pyscf.lib.exceptions import BasisNotFoundError

    cores = {}
    for symbol in sorted({chemical_symbols[number] for number in numbers}):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            try:
                gto.basis.load(basis, symbol)
            except (BasisNotFoundError, KeyError, OSError, ValueError):
                raise AddressError(f"PySCF has no basis {basis!r} for {symbol}") from None
            try:
                if gto.basis.load_ecp(basis, symbol):
                    cores[symbol] = basis
            except (RuntimeError, KeyError, OSError, ValueError):
                continue  # an all-electron basis
    return cores


def _keep_integrals(mf: Any) -> None:
    """Compute the integrals of density fitting once, if half of PySCF's memory holds them.

    Where there is no exact exchange PySCF computes them in every cycle, a fifth of a label of
    azobenzene.
    """
    from pyscf.df.addons import make_auxmol

    functions = mf.mol.nao
    fitted = make_auxmol(mf.mol, mf.with_df.auxbasis).nao
    if 8e-6 * fitted * functions * (functions + 1) / 2 < mf.max_memory / 2:
        mf.with_df.build()


def _require_pyscf() -> None:
    try:
        import_pyscf()
    except ImportError:
        raise MissingExtraError("pyscf", "dft") from None


def _gpu_found(required: bool) -> bool:
    """Whether gpu4pyscf and a CUDA device are available.

    Raises:
        InputError: one is required and is not there.
    """
    try:
        import cupy
        import gpu4pyscf  # noqa: F401

        found = cupy.cuda.runtime.getDeviceCount() > 0
        reason = "no CUDA device"
    except Exception as error:  # without a driver CuPy raises various exceptions
        found = False
        reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
    if required and not found:
        raise InputError(
            f"device=gpu needs CUDA and gpu4pyscf (pip install gpu4pyscf-cuda12x): {reason}; "
            "leave out device=gpu to run on the CPU"
        )
    return found
