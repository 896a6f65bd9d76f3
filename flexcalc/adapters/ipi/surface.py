"""A potential in i-PI's atomic units, for the client and the driver.

The constants are those of `ase.units`. i-PI's own `angstrom` and `electronvolt` have eight
digits, so a file that is to agree to more asks i-PI for the unit `ase`: `potential{ase}`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np

from flexcalc.adapters.ipi.wire import Answer
from flexcalc.errors import FlexcalcError, MoleculeError, NonFiniteError
from flexcalc.geometry import bonds, distances
from flexcalc.potential import Potential, check
from flexcalc.units import BOHR, HARTREE

SHORTEST_BOND, LONGEST_BOND = 0.6, 1.45
"""A bond in the first frame over the same in the template. Heat and the zero-point motion of
hydrogen stay within 0.7 to 1.35; atoms in a wrong order seldom do (methane's C and H: 1.6)."""
SAME_SHAPE, OTHER_SPECIES = 1e-3, 0.1
"""Changes of eigenvalues, which know no order, of the distances in angstrom and of the products
of atomic numbers over (1 + distance)."""


class Surface:
    """Evaluates i-PI's frames: energies, forces and virials of a potential.

    Args:
        potential: surface of the molecule, in eV and angstrom.
        template: positions (atoms, 3) in angstrom of the molecule as the potential numbers it.
        observe: called with the frames (batch, atoms, 3) in angstrom of each request, and their
            energies (batch,) in eV.

    The first frame is compared with the template before any force leaves (see `check_frame`).
    """

    def __init__(
        self,
        potential: Potential,
        template: np.ndarray,
        observe: Callable[[np.ndarray, np.ndarray], None] | None = None,
    ):
        self.potential, self.observe = potential, observe
        self.template = np.asarray(template, dtype=np.float64)
        self.requests = 0
        self.evaluations = 0

    def __call__(self, cells: np.ndarray, positions: np.ndarray) -> Answer:
        """Evaluate frames.

        Args:
            cells: (batch, 3, 3) in bohr, cell vectors as columns.
            positions: (batch, atoms, 3) in bohr.

        Raises:
            MoleculeError: the first frame is not the template's molecule, or the molecule is
                folded into the cell.
            ShapeError, NonFiniteError: the potential's result is not fit to send.
        """
        self.requests += 1
        with _naming(self.requests):
            frames = positions * BOHR
            if self.requests == 1:
                check_frame(self.potential.numbers, self.template, frames[0])
            self._check_unfolded(cells * BOHR, frames)
            count = _distinct(frames)
            evaluation = check(self.potential(frames[:count]), frames[:count])
            self.evaluations += count
            if self.observe is not None:
                self.observe(frames[:count], evaluation.energies)
            answer = Answer(
                energies=evaluation.energies / HARTREE,
                forces=evaluation.forces * (BOHR / HARTREE),
                virials=virials(frames[:count], evaluation.forces) / HARTREE,
                extras=_extras(evaluation.deviation, count),
            )
        return _padded(answer, len(frames))

    def _check_unfolded(self, cells: np.ndarray, frames: np.ndarray) -> None:
        """Refuse a molecule that i-PI has cut by wrapping its atoms into the cell."""
        sides = np.abs(cells).max(axis=1)
        pairs = bonds(self.potential.numbers, self.template)
        if not pairs.size or not sides.all():
            return
        longest = distances(frames)[:, pairs[:, 0], pairs[:, 1]].max(axis=1)
        if (longest > sides.min(axis=1) / 2).any():
            raise MoleculeError(
                "a bond is longer than half the cell, so i-PI folds the molecule into it; "
                "set pbc='False' in i-PI's forcefield, or use a larger cell"
            )


def virials(positions: np.ndarray, forces: np.ndarray) -> np.ndarray:
    """Virials (batch, 3, 3) in eV of a molecule in vacuum: minus dE/d(symmetric strain).

    Args:
        positions: (batch, atoms, 3) in angstrom.
        forces: (batch, atoms, 3) in eV/angstrom.

    W = sum_i r_i (x) f_i, symmetric where nothing turns the molecule. The centre of the atoms
    is taken as origin: it drops out, and rounding stays small far from i-PI's origin.
    """
    centred = positions - positions.mean(axis=1, keepdims=True)
    outer = np.einsum("bni,bnj->bij", centred, forces)
    return (outer + outer.transpose(0, 2, 1)) / 2


def check_frame(numbers: np.ndarray, template: np.ndarray, frame: np.ndarray) -> None:
    """Refuse a first frame whose atoms cannot be those of the template, in its order.

    i-PI sends no species, so this looks at the shape. Every bond of the template must be
    there, compressed or stretched no more than heat can; and if the frame is the template's
    very shape, the same elements must sit on the same points (this finds the exchange of
    atoms with nearly equal bonds, such as H and O in formaldehyde).

    Args:
        numbers: (atoms,) atomic numbers of the template.
        template: (atoms, 3) in angstrom.
        frame: (atoms, 3) in angstrom.

    Raises:
        MoleculeError: names the first bond that is not there.
    """
    from ase.data import chemical_symbols

    advice = "start i-PI and the client from the same file"
    expected, found = distances(template[None])[0], distances(frame[None])[0]
    for i, j in bonds(numbers, template):
        stretch = found[i, j] / expected[i, j]
        if not SHORTEST_BOND < stretch < LONGEST_BOND:
            pair = f"{chemical_symbols[numbers[i]]}{i}-{chemical_symbols[numbers[j]]}{j}"
            raise MoleculeError(
                f"expected the bond {pair} of the template at {expected[i, j]:.2f} A, in i-PI's "
                f"first frame these atoms are {found[i, j]:.2f} A apart; {advice}"
            )
    charges = np.outer(numbers, numbers)
    shape = _spectral_change(expected, found)
    species = _spectral_change(charges / (1.0 + expected), charges / (1.0 + found))
    if shape < SAME_SHAPE and species > OTHER_SPECIES:
        raise MoleculeError(
            "i-PI's first frame has the template's shape with its elements on other points; "
            f"{advice}"
        )


def _spectral_change(first: np.ndarray, second: np.ndarray) -> float:
    """Largest change of a sorted eigenvalue; zero for the same matrix with its rows reordered."""
    return float(np.abs(np.linalg.eigvalsh(first) - np.linalg.eigvalsh(second)).max())


def _distinct(frames: np.ndarray) -> int:
    """Number of frames before the padding: i-PI repeats the last one to fill its batch."""
    same = (frames == frames[-1]).all(axis=(1, 2))
    return len(frames) - int(np.argmin(same[::-1])) + 1 if not same.all() else 1


def _padded(answer: Answer, batch: int) -> Answer:
    rows = np.minimum(np.arange(batch), len(answer.energies) - 1)
    return Answer(
        answer.energies[rows],
        answer.forces[rows],
        answer.virials[rows],
        tuple(answer.extras[row] for row in rows),
    )


def _extras(deviation: np.ndarray | None, count: int) -> tuple[str, ...]:
    """JSON texts with the committee's spread of the force on each atom, in eV/angstrom."""
    if deviation is None:
        return ("",) * count
    if not np.isfinite(deviation).all():
        raise NonFiniteError("the deviation is not finite")
    return tuple(json.dumps({"deviation_eV_A": row.tolist()}) for row in np.asarray(deviation))


@contextmanager
def _naming(request: int) -> Iterator[None]:
    """Add the number of the force request to errors."""
    try:
        yield
    except FlexcalcError as error:
        error.args = (f"force request {request}: {error}; nothing was sent to i-PI",)
        raise
