"""The geometry that an i-PI input starts from, read by i-PI's own readers.

So it has the units and the elements that the simulation will have. Where neither the file nor the
input names a unit, i-PI takes an xyz file for bohr.

Source: i-PI 3.3.1, ipi/engine/initializer.py and ipi/utils/io.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from xml.etree.ElementTree import Element

import numpy as np

from flexcalc.adapters.ipi import inputs, safety
from flexcalc.adapters.ipi.start import comment_of, declares_units
from flexcalc.dataset import Dataset, Provenance
from flexcalc.errors import ConfigError, FileFormatError, UnitError
from flexcalc.files.comment import ELECTRONS, pairs, typed
from flexcalc.files.units import check_angstrom
from flexcalc.potential import formula
from flexcalc.storage import check_regular
from flexcalc.units import BOHR

SAME_A = 1e-3
"""Largest distance of an atom between geometries that differ only by rounding."""
HYDROGEN = {"D": 1, "T": 1}


def read(source: Path, trust: bool) -> Dataset:
    """The geometry that an input starts from: the last `<file>` of its first system.

    All its frames, which may be beads or the images of a path.

    Args:
        source: i-PI's XML; a RESTART too, whose beads are read.
        trust: let i-PI's readers run what they need.

    Raises:
        ConfigError: it starts from no file, from one that needs trust, or systems differ.
        FileFormatError: a file cannot be read.
        UnitError: bonds cannot be in the unit that i-PI takes where none is named.
    """
    found = []
    for system in _systems(source):
        files, beads = system.findall("initialize/file"), system.find("beads")
        if files:
            found.append(_of_file(files[-1], source, trust))
            _check_unit(files[-1], found[-1])
        elif beads is not None:
            found.append(_of_beads(beads, source))
        else:
            raise ConfigError(
                f"{source}: expected a <file> in <initialize>; without one give START, a file of "
                "the molecule"
            )
    if not found:
        raise ConfigError(f"{source}: expected a <system>, found none")
    if any(not np.array_equal(one.numbers, found[0].numbers) for one in found):
        raise ConfigError(f"{source}: expected the same atoms in all systems")
    return found[0]


def check_start(source: Path, start: Dataset, name: object, trust: bool) -> None:
    """Refuse a START that is another geometry than the `<file>` of an input.

    Args:
        source: i-PI's XML; one without a `<file>` agrees with every start.
        start: the geometry, as flexcalc has read it.
        name: path of the start, or what it is called in errors.
        trust: let i-PI's readers run what they need.

    Raises:
        ConfigError: they differ, or a file needs trust.
        FileFormatError: a file cannot be read.
    """
    for system in _systems(source):
        for file in system.findall("initialize/file"):
            path = _path(file)
            if isinstance(name, Path) and name.resolve() == path.resolve():
                continue
            found = _difference(_of_file(file, source, trust), start)
            if found:
                unit = "" if _names_unit(file) else " (read in bohr, as nothing names its unit)"
                raise ConfigError(
                    f"{name}: differs from {path}{unit}, the <file> in {source}: {found}; leave "
                    "START out to start from <file>, or remove <file> from the input to start "
                    "from START"
                )


def _systems(source: Path) -> list[Element]:
    root = inputs.load(source)
    inputs.make_paths_absolute(root, source.parent)
    return inputs.system_elements(root)


def _path(file: Element) -> Path:
    return Path((file.text or "").strip())


def _of_file(file: Element, source: Path, trust: bool) -> Dataset:
    """The frames that i-PI reads from a `<file>`, with charge and multiplicity of its comment.

    Raises:
        ConfigError, FileFormatError: it needs trust, or cannot be read.
    """
    safety.check_element(file, source, trust)
    path, mode = _path(file), inputs.reading_mode(file)
    if mode == "chk":
        beads = inputs.load(path).find("system/beads")
        if beads is None:
            raise FileFormatError(f"{path}: expected a checkpoint of i-PI, found no <beads>")
        return _of_beads(beads, path)
    if mode not in inputs.FILE_MODES:
        raise ConfigError(f"{source}: <file mode={mode!r}>: expected xyz, pdb, ase or chk")
    from ipi.utils.io import read_file

    units = {name: file.get(name, "automatic").strip() for name in ("units", "cell_units")}
    frames = []
    check_regular(path, None)
    with open(path) as stream:  # as i-PI does: ASE asks for the name
        try:
            while True:
                frames.append(read_file(mode, stream, dimension="length", **units)["atoms"])
        except EOFError:
            pass  # i-PI's sign for the end of the file
        except Exception as error:  # whatever its readers, and those of ASE, stumble over
            raise FileFormatError(f"{path}: i-PI cannot read it as {mode}: {error}") from None
    if not frames:
        raise FileFormatError(f"{path}: i-PI finds no frame of {mode} in it")
    numbers = _numbers(frames[0].names, path)
    if any(len(frame.names) != len(numbers) for frame in frames):
        raise FileFormatError(f"{path}: expected as many atoms in all frames")
    positions = np.array([np.reshape(frame.q, (-1, 3)) for frame in frames])
    stated = pairs(comment_of(path), str(path)) if mode in ("xyz", "ase") else {}
    electrons = {
        key: np.full(len(frames), typed(*stated[key])) for key in ELECTRONS if key in stated
    }
    provenance = Provenance(source=str(path))
    return Dataset(numbers, BOHR * positions, tags=electrons, provenance=provenance)


def _of_beads(beads: Element, path: Path) -> Dataset:
    """The beads of a checkpoint of i-PI."""
    return Dataset(_numbers(inputs.entries(beads.findtext("names")), path), inputs.positions(beads))


def _numbers(names: Sequence[str], path: Path) -> np.ndarray:
    """Atomic numbers (atoms,) of i-PI's labels.

    Raises:
        FileFormatError: a label that is no element.
    """
    from ase.data import atomic_numbers

    known = atomic_numbers | HYDROGEN
    strange = [str(name) for name in names if not known.get(name)]
    if strange:
        raise FileFormatError(f"{path}: expected symbols of elements, found {strange[0][:20]!r}")
    return np.array([known[name] for name in names])


def _names_unit(file: Element) -> bool:
    """Whether i-PI knows the unit of a file: by the input, by its format or by its comment."""
    units = file.get("units", "automatic").strip()
    return inputs.reading_mode(file) != "xyz" or units != "automatic" or declares_units(_path(file))


def _check_unit(file: Element, found: Dataset) -> None:
    """Refuse bonds that cannot be in bohr, where i-PI takes them to be.

    Raises:
        UnitError: tells how to name the unit.
    """
    if _names_unit(file):
        return
    try:
        check_angstrom(found.numbers, found.positions[0])
    except UnitError:
        raise UnitError(
            f"{_path(file)}: read in bohr, as i-PI does where nothing names a unit, its bonds do "
            "not have the usual lengths; write positions{angstrom} into its comment, or "
            "units='angstrom' into <file>"
        ) from None


def _difference(given: Dataset, start: Dataset) -> str:
    """What differs between the geometry of an input and the start; empty if nothing does."""
    if not np.array_equal(given.numbers, start.numbers):
        expected, found = formula(given.numbers), formula(start.numbers)
        if expected == found:
            return f"expected the same order of atoms ({expected})"
        return f"expected {expected}, found {found}"
    if len(given) != len(start):
        return f"expected {len(given)} frames, found {len(start)}"
    apart = np.linalg.norm(given.positions - start.positions, axis=2)
    frame, atom = np.unravel_index(apart.argmax(), apart.shape)
    if apart[frame, atom] <= SAME_A:
        return ""
    where = f"atom {atom}" if len(given) == 1 else f"frame {frame}, atom {atom}"
    return f"{where} is {apart[frame, atom]:.3f} angstrom away"
