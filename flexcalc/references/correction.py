"""A dispersion correction alone: `dispersion:D4/PBE`, as a baseline of a model.

What it adds to a functional is what `dft:PBE-D4/...` adds, by the same code (pyscf-dispersion, the
program of D3's and D4's authors), so a model of PBE labels and this are a model of PBE-D4.

Source: D4: Caldeweyher et al., J. Chem. Phys. 150, 154122 (2019), doi:10.1063/1.5090222. D3(BJ):
Grimme, Ehrlich, Goerigk, J. Comput. Chem. 32, 1456 (2011), doi:10.1002/jcc.21759. TS: see
`flexcalc.references.dispersion`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from flexcalc.errors import AddressError, MissingExtraError
from flexcalc.potential import CheckedPotential, Evaluation
from flexcalc.query import choice, read_options
from flexcalc.references import dispersion as ts
from flexcalc.references.blas import import_pyscf
from flexcalc.references.electrons import failed
from flexcalc.units import BOHR, HARTREE

DISPERSIONS: Mapping[str, str] = {
    "D3": "d3bj",
    "D3BJ": "d3bj",
    "D3(BJ)": "d3bj",
    "D3(0)": "d3zero",
    "D4": "d4",
    "TS": "ts",
}
"""Names of dispersion corrections in PySCF; plain D3 is D3(BJ)."""


class Dispersion(CheckedPotential):
    """D3, D4 or Tkatchenko-Scheffler dispersion alone, with the damping of a functional.

    TS needs the volumes of the atoms in the molecule, which come from an electron density. Here
    they are fixed: the same at every geometry, so that forces are minus the gradient of the
    energy. `dft.DFT.volumes` gives those of a geometry; without any, free atoms are taken, which
    bind more strongly than atoms in molecules.

    Args:
        numbers: (atoms,) atomic numbers.
        kind: a name in `DISPERSIONS`, in any case.
        functional: whose damping parameters are taken, such as "PBE".
        charge: total charge in units of the elementary charge; only D4 depends on it.
        volumes: for TS, volumes relative to the free atoms', separated by commas, one an atom.

    Raises:
        AddressError: an unknown dispersion, one without parameters for the functional or an
            element, or volumes that do not fit.
        MissingExtraError: pyscf-dispersion is not installed.
    """

    def __init__(
        self,
        numbers: ArrayLike,
        kind: str,
        functional: str,
        *,
        charge: int = 0,
        volumes: str = "",
    ):
        self.numbers = np.array(numbers, dtype=int)
        self.level = f"dispersion:{kind}/{functional}"
        self.kind = DISPERSIONS[choice(kind, DISPERSIONS, f"{self.level}: dispersion")]
        self.functional, self.charge = functional, charge
        self.volumes = _volumes(volumes, len(self.numbers), self.level)
        if volumes and self.kind != "ts":
            raise AddressError(f"{self.level}: volumes are for TS alone")
        self._scale = 0.0
        if self.kind == "ts":
            self._scale = ts.damping_range(functional)
            ts.free_atoms(self.numbers)
        else:
            require_parameters(functional, self.kind, self.level)

    @classmethod
    def from_address(cls, text: str, numbers: ArrayLike, options: Mapping[str, str]) -> Dispersion:
        """Open `dispersion:KIND/FUNCTIONAL?options`.

        Args:
            text: such as "D4/PBE" or "TS/PBE".
            numbers: (atoms,) atomic numbers.
            options: the constructor's keywords as texts.

        Raises:
            AddressError, MissingExtraError: see the class.
        """
        kind, slash, functional = text.partition("/")
        if not (kind and slash and functional):
            raise AddressError(f"dispersion:{text}: expected KIND/FUNCTIONAL, such as D4/PBE")
        keywords = read_options(cls.__init__, options, f"dispersion:{text}")
        return cls(numbers, kind, functional, **keywords)

    def evaluate(self, positions: np.ndarray) -> Evaluation:
        """Energies and forces of each row.

        Raises:
            LabelError: a row cannot be computed.
        """
        if self.kind == "ts":
            return Evaluation(*ts.pairwise(self.numbers, positions, self.volumes, self._scale))
        energies = np.zeros(len(positions))
        gradients = np.zeros(positions.shape)
        for row, geometry in enumerate(positions):
            try:
                molecule = _molecule(self.numbers, geometry / BOHR, self.charge)
                found = model(molecule, self.functional, self.kind).get_dispersion(grad=True)
            except RuntimeError as error:
                raise failed(row, self.level, error) from error
            energies[row], gradients[row] = found["energy"], found["gradient"]
        return Evaluation(energies * HARTREE, -gradients * (HARTREE / BOHR))


def model(mol: Any, functional: str, disp: str) -> Any:
    """pyscf-dispersion's object for a `pyscf.gto.Mole`.

    Args:
        mol: the molecule, in any basis.
        functional: as in an address.
        disp: a value of `DISPERSIONS` but "ts", or what a functional of its own comes with.

    Raises:
        RuntimeError: there are no parameters for the functional.
    """
    from pyscf.dispersion import dftd3, dftd4
    from pyscf.scf.dispersion import parse_disp

    method, version, three_body = parse_disp(functional, disp)
    if version == "d4":
        return dftd4.DFTD4Dispersion(mol, xc=method, atm=three_body)
    return dftd3.DFTD3Dispersion(mol, xc=method, version=version, atm=three_body)


def require_parameters(functional: str, disp: str, level: str) -> None:
    """Refuse a dispersion that has no parameters for the functional, before any work.

    Raises:
        AddressError: there are none.
        MissingExtraError: pyscf-dispersion is not installed.
    """
    try:
        import_pyscf()
        from pyscf.dispersion import dftd3, dftd4  # noqa: F401
    except ImportError:
        raise MissingExtraError("pyscf-dispersion", "dft") from None
    from pyscf.scf.dispersion import parse_disp

    hydrogen = _molecule(np.array([1, 1]), np.array([[0.0, 0, 0], [0, 0, 1.9]]), 0)
    try:
        model(hydrogen, functional, disp)
    except RuntimeError:
        raise AddressError(
            f"{level}: no parameters of {parse_disp(functional, disp)[1]} are known for "
            f"{functional!r}; use another dispersion or functional"
        ) from None


def _molecule(numbers: np.ndarray, positions: np.ndarray, charge: int) -> Any:
    """A `pyscf.gto.Mole` of positions (atoms, 3) in bohr; its basis is a placeholder."""
    from pyscf import gto

    return gto.M(
        atom=list(zip(numbers.tolist(), positions.tolist(), strict=True)),
        unit="Bohr",
        basis={"default": [[0, [1.0, 1.0]]]},
        charge=charge,
        spin=None,
        verbose=0,
    )


def _volumes(text: str, atoms: int, level: str) -> np.ndarray:
    """Volumes (atoms,) from an address; ones by default.

    Raises:
        AddressError: not a positive number for each atom.
    """
    if not text:
        return np.ones(atoms)
    try:
        found = np.array([float(word) for word in text.split(",")])
    except ValueError:
        found = np.array([])
    if found.shape != (atoms,) or not ((found > 0) & (found < np.inf)).all():
        raise AddressError(
            f"{level}: option volumes: expected {atoms} positive numbers, one an atom, "
            f"separated by commas, found {text!r}"
        )
    return found
