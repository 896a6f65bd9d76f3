"""GFN2-xTB, GFN1-xTB and IPEA1-xTB, by tblite or, on request, by xtb-python."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, ClassVar, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike

from flexcalc.errors import AddressError, InputError, MissingExtraError
from flexcalc.fields import Count, Positive
from flexcalc.potential import CheckedPotential, Evaluation
from flexcalc.query import choice, read_options
from flexcalc.references.electrons import check_electrons, failed
from flexcalc.threads import cores, each
from flexcalc.units import BOHR, HARTREE, KB

Method = Literal["GFN2-xTB", "GFN1-xTB", "IPEA1-xTB"]
Backend = Literal["tblite", "xtb-python"]
HEAVIEST = 86
"""All methods have parameters up to radon."""


@dataclass(frozen=True, kw_only=True)
class XTBOptions:
    """Options of extended tight binding.

    Args:
        charge: total charge in units of the elementary charge.
        multiplicity: 2S + 1.
        accuracy: factor on the thresholds of the self-consistent charges; smaller is tighter.
            At 1e-4 forces are minus the gradient to 2e-8 eV/angstrom, for a third more
            time than at the packages' own 1.
        temperature_K: electronic temperature of the Fermi occupation.
        max_iterations: iterations allowed for self-consistency.
        threads: rows of a batch computed at once, by default as many as there are cores for this
            process. The result does not depend on it, not by a bit.
        backend: "tblite", or "xtb-python" where that package is installed.
    """

    charge: int = 0
    multiplicity: Count = 1
    accuracy: Positive = 1e-4
    temperature_K: Positive = 300.0
    max_iterations: Count = 250
    threads: Count | None = None
    backend: Backend = "tblite"


class XTB(CheckedPotential):
    """Extended tight binding.

    Every geometry starts from a fresh calculator, so a label does not depend on what was
    computed before it, and two runs give the same bytes. The calculator can be copied and
    pickled to other processes.

    Source: GFN2-xTB: Bannwarth, Ehlert and Grimme, J. Chem. Theory Comput. 15, 1652 (2019),
    doi:10.1021/acs.jctc.8b01176. GFN1-xTB: Grimme, Bannwarth and Shushkov, J. Chem. Theory
    Comput. 13, 1989 (2017), doi:10.1021/acs.jctc.7b00118. IPEA1-xTB, for ionisation potentials and
    electron affinities: Asgeirsson, Bauer and Grimme, Chem. Sci. 8, 4879 (2017),
    doi:10.1039/c7sc00601b.

    Args:
        numbers: (atoms,) atomic numbers.
        method: "GFN2-xTB", "GFN1-xTB", or "IPEA1-xTB", which tblite has alone.
        options: all others.

    Raises:
        AddressError: an unknown method, or a charge and multiplicity that do not fit.
        InputError: the backend is not installed.
    """

    takes: ClassVar[type] = XTBOptions

    def __init__(
        self,
        numbers: ArrayLike,
        method: str = "GFN2-xTB",
        options: XTBOptions = XTBOptions(),
    ):
        self.numbers = np.array(numbers, dtype=int)
        self.method = choice(_full(method), get_args(Method), "xtb: method")
        if self.numbers.max(initial=0) > HEAVIEST:
            raise AddressError(f"xtb: elements up to Z = {HEAVIEST}, found {self.numbers.max()}")
        self.unpaired = check_electrons(self.numbers, options.charge, options.multiplicity)
        self.options = options
        self.backend = choice(options.backend, get_args(Backend), "xtb: backend")
        if self.backend == "xtb-python" and self.method == "IPEA1-xTB":
            raise AddressError("xtb: IPEA1-xTB needs backend=tblite")
        self._require_backend()

    @classmethod
    def from_address(cls, text: str, numbers: ArrayLike, options: Mapping[str, str]) -> XTB:
        """Open `xtb:TEXT?options`.

        Args:
            text: the method, such as "GFN2-xTB".
            numbers: (atoms,) atomic numbers.
            options: those of `XTBOptions` as texts.

        Raises:
            AddressError, InputError: see the class.
        """
        return cls(numbers, text, XTBOptions(**read_options(XTBOptions, options, f"xtb:{text}")))

    def evaluate(self, positions: np.ndarray) -> Evaluation:
        """Energies and forces of each row.

        Raises:
            LabelError: the charges of a row did not converge, or the row cannot be computed.
        """
        self._require_backend()
        parts = max(1, min(self.options.threads or cores(), len(positions)))
        chunks = [range(part, len(positions), parts) for part in range(parts)]
        energies = np.zeros(len(positions))
        forces = np.zeros(positions.shape)

        def work(rows: range) -> None:
            with _one_openmp_thread():
                for row in rows:
                    energies[row], forces[row] = self._row(row, positions[row])

        if parts == 1:
            work(chunks[0])
        else:
            # The library releases the GIL, and each row has its own calculator, so threads run in
            # parallel.
            each(work, chunks)
        return Evaluation(energies, forces)

    def _row(self, row: int, positions: np.ndarray) -> tuple[float, np.ndarray]:
        single = self._tblite if self.backend == "tblite" else self._xtb_python
        try:
            energy, gradient = single(positions / BOHR)
        except (RuntimeError, ValueError) as error:  # what both packages' own errors derive from
            raise failed(row, self.method, error) from error
        return energy * HARTREE, -np.asarray(gradient) * (HARTREE / BOHR)

    def _tblite(self, positions: np.ndarray) -> tuple[float, np.ndarray]:
        from tblite.interface import Calculator

        calculator = Calculator(
            self.method, self.numbers, positions, float(self.options.charge), self.unpaired
        )
        calculator.set("verbosity", 0)
        calculator.set("accuracy", self.options.accuracy)
        calculator.set("temperature", self.options.temperature_K * KB / HARTREE)
        calculator.set("max-iter", self.options.max_iterations)
        result = calculator.singlepoint()
        return result["energy"], result["gradient"]

    def _xtb_python(self, positions: np.ndarray) -> tuple[float, np.ndarray]:
        from xtb.interface import Calculator, Param, XTBException
        from xtb.libxtb import VERBOSITY_MUTED

        param = {"GFN2-xTB": Param.GFN2xTB, "GFN1-xTB": Param.GFN1xTB}[self.method]
        calculator = Calculator(param, self.numbers, positions, self.options.charge, self.unpaired)
        calculator.set_verbosity(VERBOSITY_MUTED)
        calculator.set_accuracy(self.options.accuracy)
        calculator.set_electronic_temperature(self.options.temperature_K)
        calculator.set_max_iterations(self.options.max_iterations)
        try:
            result = calculator.singlepoint()
        except XTBException as error:
            raise RuntimeError(str(error)) from error
        return result.get_energy(), result.get_gradient()

    def _require_backend(self) -> None:
        try:
            if self.backend == "tblite":
                import tblite.interface  # noqa: F401
            else:
                import xtb.interface  # noqa: F401
        except ImportError:
            if self.backend == "tblite":
                raise MissingExtraError("tblite", "xtb") from None
            raise InputError(
                "xtb-python is not installed (conda install -c conda-forge xtb-python); "
                "leave out backend=xtb-python to use tblite"
            ) from None


def _full(method: str) -> str:
    """`GFN2` is short for `GFN2-xTB`."""
    return f"{method}-xTB" if str(method).lower() in ("gfn1", "gfn2", "ipea1") else method


@cache
def _openmp() -> Any:
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()


def _one_openmp_thread() -> Any:
    """Disable the library's own threads, which are slower for small molecules.

    The limit is the calling thread's alone, so each worker thread sets its own.
    """
    return _openmp().limit(limits=1, user_api="openmp")
