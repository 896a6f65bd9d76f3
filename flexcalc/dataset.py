"""Dataset: labelled geometries of one molecule, with their provenance."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from flexcalc.errors import FileFormatError, MoleculeError, ShapeError
from flexcalc.masses import standard_masses
from flexcalc.potential import check_molecule

if TYPE_CHECKING:
    from ase import Atoms


ELECTRONS = ("charge", "multiplicity")
"""Tags that say what all frames have of electrons."""


@dataclass(frozen=True)
class Provenance:
    """Provenance of labels.

    Args:
        level: level of theory, such as the address of the reference.
        source: name of the file, or what made the frames.
        units: units found on disk, such as "kcal/mol, angstrom".
        sha256: hash of that file.
        notes: what a reader of the file should know, such as columns that are not used.
        model_sha256: hash of the trained model that made the labels; empty for a reference.
    """

    level: str = "unknown"
    source: str = "memory"
    units: str = "eV, angstrom"
    sha256: str = ""
    notes: tuple[str, ...] = ()
    model_sha256: str = ""

    def columns(self) -> dict[str, str]:
        """What every frame in a file says of its labels; nothing where nothing is known."""
        text = self.level if self.level.isprintable() else repr(self.level)[1:-1]
        level = {} if self.level == "unknown" else {"level": text}
        return level | ({"model_sha256": self.model_sha256} if self.model_sha256 else {})


@dataclass(frozen=True, eq=False)
class Dataset:
    """Frames of one molecule; arrays are read-only.

    Args:
        numbers: (atoms,) atomic numbers.
        positions: (frames, atoms, 3) in angstrom.
        energies: (frames,) in eV, or None where the source has none.
        forces: (frames, atoms, 3) in eV/angstrom, or None where the source has none.
        tags: per-frame columns such as `start` or `time_fs`, each (frames,).
        provenance: where the labels come from.
        masses: (frames, atoms) in amu where the source states any, or None for standard ones.
        weights: (frames,) how much the labels of each count in a training, in which those of
            weight 1 have the weight of the family; None where all have. No file holds them.

    Raises:
        ShapeError: the arrays do not fit together or are not finite, or a weight is not positive.
    """

    numbers: np.ndarray
    positions: np.ndarray
    energies: np.ndarray | None = None
    forces: np.ndarray | None = None
    tags: Mapping[str, np.ndarray] = field(default_factory=dict)
    provenance: Provenance = Provenance()
    masses: np.ndarray | None = None
    weights: np.ndarray | None = None

    def __post_init__(self) -> None:
        frames, atoms = len(self.positions), len(self.numbers)
        shapes = {
            "numbers": (self.numbers, int, (atoms,)),
            "positions": (self.positions, float, (frames, atoms, 3)),
            "energies": (self.energies, float, (frames,)),
            "forces": (self.forces, float, (frames, atoms, 3)),
            "masses": (self.masses, float, (frames, atoms)),
            "weights": (self.weights, float, (frames,)),
        }
        for name, (value, kind, shape) in shapes.items():
            if value is not None:
                object.__setattr__(self, name, _frozen(name, value, kind, shape))
        if atoms and not 1 <= self.numbers.min() <= self.numbers.max() <= 118:
            raise ShapeError(
                f"numbers: expected atomic numbers from 1 to 118, got {self.numbers.min()} to "
                f"{self.numbers.max()}"
            )
        if self.weights is not None and (self.weights <= 0).any():
            raise ShapeError(f"weights: expected positive numbers, got {self.weights.min()}")
        tags = {name: np.array(column) for name, column in self.tags.items()}
        for name, column in tags.items():
            if column.shape != (frames,):
                raise ShapeError(f"tag {name}: expected shape ({frames},), got {column.shape}")
            column.flags.writeable = False
        object.__setattr__(self, "tags", tags)

    def __len__(self) -> int:
        return len(self.positions)

    def __getitem__(self, index: ArrayLike | slice) -> Dataset:
        """The frames of an index array, a mask or a slice, as a Dataset."""
        if not isinstance(index, slice):
            index = np.atleast_1d(np.asarray(index))
            index = index if index.size else index.astype(int)  # an empty list has no type
        return replace(
            self,
            positions=self.positions[index],
            energies=None if self.energies is None else self.energies[index],
            forces=None if self.forces is None else self.forces[index],
            tags={name: column[index] for name, column in self.tags.items()},
            masses=None if self.masses is None else self.masses[index],
            weights=None if self.weights is None else self.weights[index],
        )

    @classmethod
    def from_atoms(cls, images: Sequence[Atoms]) -> Dataset:
        """Geometries given as ase.Atoms, with energies and forces where all of them have both.

        Charge and multiplicity in `info` become tags, as those of a file do. What made the labels
        is known of a `flexcalc.Calculator`, and of `level` and `model_sha256` in `info`.

        Raises:
            FileFormatError: labels of different levels of theory.
            MoleculeError: periodic atoms, or not all of one molecule.
            ShapeError: no atoms at all.
        """
        if not images:
            raise ShapeError("expected at least one ase.Atoms, got an empty list")
        numbers, source = images[0].numbers, "ase.Atoms"
        for atoms in images:
            check_molecule(numbers, atoms.numbers, source)
            if atoms.pbc.any():
                raise MoleculeError(
                    "flexcalc is for molecules in vacuum, got periodic atoms; set atoms.pbc = False"
                )
        found = [_labels_of(atoms) for atoms in images]
        known = [labels for labels in found if labels is not None]
        whole = len(known) == len(found)
        masses = np.array([atoms.get_masses() for atoms in images])
        standard = np.abs(masses - standard_masses(numbers)).max() < 1e-6
        said = [name for name in ELECTRONS if all(name in atoms.info for atoms in images)]
        return cls(
            numbers,
            np.array([atoms.positions for atoms in images]),
            np.array([energy for energy, _ in known]) if whole else None,
            np.array([forces for _, forces in known]) if whole else None,
            {name: np.array([atoms.info[name] for atoms in images]) for name in said},
            provenance=Provenance(source=source, **(_made_by(images) if whole else {})),
            masses=None if standard else masses,
        )

    def to_atoms(self) -> list[Atoms]:
        """The frames as ase.Atoms, with the labels that there are and tags in `info`."""
        from ase import Atoms
        from ase.calculators.singlepoint import SinglePointCalculator

        found = []
        for index, positions in enumerate(self.positions):
            masses = None if self.masses is None else self.masses[index]
            atoms = Atoms(self.numbers, positions, masses=masses)
            atoms.info.update({name: column[index] for name, column in self.tags.items()})
            atoms.info.update(self.provenance.columns())
            labels = {
                name: column[index]
                for name, column in (("energy", self.energies), ("forces", self.forces))
                if column is not None
            }
            if labels:
                atoms.calc = SinglePointCalculator(atoms, **labels)
            found.append(atoms)
        return found

    def own_masses(self) -> np.ndarray | None:
        """Masses (atoms,) in amu that all frames share, or None for standard ones.

        Raises:
            MoleculeError: the frames have different ones.
        """
        if self.masses is None or not len(self):
            return None
        other = np.abs(self.masses - self.masses[0]).max(axis=1) > 1e-6
        if other.any():
            raise MoleculeError(
                f"{self.provenance.source}: frame {np.flatnonzero(other)[0]} has other masses than "
                "frame 0; put isotopes into files of their own"
            )
        return self.masses[0]

    def labels(self) -> tuple[np.ndarray, np.ndarray]:
        """Energies (frames,) and forces (frames, atoms, 3).

        Raises:
            FileFormatError: the dataset lacks one of them.
        """
        if self.energies is None:
            raise self._lacks("energies")
        return self.energies, self.force_labels()

    def force_labels(self) -> np.ndarray:
        """Forces (frames, atoms, 3), whether or not there are energies.

        Raises:
            FileFormatError: the dataset has none.
        """
        if self.forces is None:
            raise self._lacks("forces")
        return self.forces

    def _lacks(self, what: str) -> FileFormatError:
        return FileFormatError(
            f"{self.provenance.source}: the dataset has no {what}; "
            "label its geometries with `flexcalc label`"
        )

    def sha256(self) -> str:
        """Hash of the numbers, positions, labels and any weights, whatever file they came from."""
        digest = hashlib.sha256()
        for array in (self.numbers, self.positions, self.energies, self.forces):
            digest.update(b"none" if array is None else np.ascontiguousarray(array).tobytes())
        if self.weights is not None:
            digest.update(np.ascontiguousarray(self.weights).tobytes())
        return digest.hexdigest()


def _made_by(images: Sequence[Atoms]) -> dict[str, Any]:
    """What is said of the labels of all atoms.

    Raises:
        FileFormatError: it says different things.
    """
    found = {}
    for name in ("level", "model_sha256"):
        values = {_said_by(atoms, name) for atoms in images}
        if len(values) > 1:
            shown = " and ".join(value or "unknown" for value in sorted(values)[:2])
            raise FileFormatError(
                f"ase.Atoms: labels of different levels of theory, {shown}: their zeros of energy "
                "may differ; relabel one of them"
            )
        found[name] = values.pop()
    return {name: value for name, value in found.items() if value}


def _said_by(atoms: Atoms, name: str) -> str:
    """A column of `Provenance.columns` by a calculator of flexcalc, or else by `info`."""
    made = getattr(atoms.calc, "provenance", None)
    if isinstance(made, Provenance):
        return made.columns().get(name, "")
    return str(atoms.info.get(name, ""))


def _labels_of(atoms: Atoms) -> tuple[float, np.ndarray] | None:
    """Energy and forces that a calculator of atoms has already computed."""
    known = getattr(atoms.calc, "results", {})
    if atoms.calc is None or "energy" not in known or "forces" not in known:
        return None
    if atoms.calc.check_state(atoms):
        return None
    return float(known["energy"]), np.array(known["forces"])


def concatenate(*parts: Dataset) -> Dataset:
    """Concatenate datasets of one molecule and one level of theory, keeping the tags all share.

    Raises:
        ShapeError: no dataset given.
        MoleculeError: different molecules.
        FileFormatError: different levels of theory, whose zeros of energy differ, or different
            models.
    """
    if not parts:
        raise ShapeError("nothing to join: expected at least one dataset")
    first = parts[0]
    for part in parts[1:]:
        check_molecule(first.numbers, part.numbers, part.provenance.source)
        if part.provenance.level != first.provenance.level:
            raise FileFormatError(
                f"cannot join {first.provenance.level} and {part.provenance.level} labels: "
                "their zeros of energy differ; relabel one of them"
            )
        if part.provenance.model_sha256 != first.provenance.model_sha256:
            raise FileFormatError(
                f"cannot join labels of two models that are both called {first.provenance.level}; "
                "relabel one of them"
            )

    def joined(name: str) -> np.ndarray | None:
        columns = [getattr(part, name) for part in parts]
        return None if any(column is None for column in columns) else np.concatenate(columns)

    masses = None
    if any(part.masses is not None for part in parts):
        masses = np.concatenate(
            [
                np.tile(standard_masses(part.numbers), (len(part), 1))
                if part.masses is None
                else part.masses
                for part in parts
            ]
        )
    weights = None
    if any(part.weights is not None for part in parts):
        weights = np.concatenate(
            [np.ones(len(part)) if part.weights is None else part.weights for part in parts]
        )
    shared = [name for name in first.tags if all(name in part.tags for part in parts)]
    sources = dict.fromkeys(part.provenance.source for part in parts)
    units = dict.fromkeys(part.provenance.units for part in parts)
    return replace(
        first,
        positions=np.concatenate([part.positions for part in parts]),
        energies=joined("energies"),
        forces=joined("forces"),
        tags={name: np.concatenate([part.tags[name] for part in parts]) for name in shared},
        masses=masses,
        weights=weights,
        provenance=first.provenance
        if len(parts) == 1
        else Provenance(
            first.provenance.level,
            " + ".join(sources),
            "; ".join(units),
            model_sha256=first.provenance.model_sha256,
        ),
    )


def _frozen(name: str, value: ArrayLike, kind: type, shape: tuple[int, ...]) -> np.ndarray:
    try:
        array: np.ndarray = np.array(value, dtype=kind)
        if kind is int and not np.array_equal(array, np.asarray(value)):
            raise ShapeError(f"{name}: expected whole numbers")
    except (TypeError, ValueError) as error:
        raise ShapeError(f"{name} is not an array of numbers: {error}") from None
    if array.shape != shape:
        raise ShapeError(f"{name}: expected shape {shape}, got {array.shape}")
    if not np.isfinite(array).all():
        frame = int(np.argwhere(~np.isfinite(array))[0][0])
        raise ShapeError(f"{name}: frame {frame} is not finite")
    array.flags.writeable = False
    return array
