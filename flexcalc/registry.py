"""Names and addresses of potentials; each home is imported on first use."""

from __future__ import annotations

import difflib
import hashlib
import re
from collections.abc import Mapping
from dataclasses import fields
from importlib import import_module
from inspect import signature
from pathlib import Path
from typing import Any, get_type_hints
from urllib.parse import parse_qsl

import numpy as np
from numpy.typing import ArrayLike

from flexcalc.errors import AddressError, FileFormatError, InputError
from flexcalc.fields import FAMILY, Address, PotentialLike
from flexcalc.models.foreign import require_trust
from flexcalc.potential import Potential, check_molecule
from flexcalc.query import read_options
from flexcalc.storage import sha256_file

FAMILIES: Mapping[str, str] = {
    "sgdml": "flexcalc.models.gdml:SGDML",
    "schnet": "flexcalc.models.schnetpack:SchNet",
    "painn": "flexcalc.models.schnetpack:PaiNN",
    "bpnn": "flexcalc.models.bpnn:BPNN",
    "so3net": "flexcalc.models.schnetpack:SO3Net",
    "mace": "flexcalc.models.mace:MACE",
    "gap": "flexcalc.models.gap:GAP",
    "gap-study": "flexcalc.models.gap:StudyGAP",
    "mixture": "flexcalc.training.mixture:Mixture",
}
"""Model families by the name that stands in `model.json` and after `--family`."""

REFERENCES: Mapping[str, str] = {
    "xtb": "flexcalc.references.xtb:XTB",
    "dft": "flexcalc.references.dft:DFT",
    "dispersion": "flexcalc.references.correction:Dispersion",
    "ase": "flexcalc.references.external:ASEPotential",
}
"""Reference methods by the scheme of their address."""

FOREIGN: Mapping[str, str] = {
    ".npz": "flexcalc.models.gdml.exchange:open_npz",
    ".model": "flexcalc.models.mace.exchange:open_model",
    ".pt": "flexcalc.models.schnetpack.exchange:open_model",
    "best_model": "flexcalc.models.schnetpack.exchange:open_model",
    ".xml": "flexcalc.models.gap.exchange:open_xml",
}
"""Openers of other packages' model files, by suffix or by the name of a file without one.

An opener is called with the path; the atomic numbers (atoms,) of the molecule or, unless it is one
of MANY_MOLECULES, None; the options that followed the path (`?energy_unit=eV`); and whether code
in the file may be run."""

JOINED: Mapping[str, str] = {
    "committee": "flexcalc.models.committee:Committee",
    "delta": "flexcalc.models.delta:DeltaModel",
    "mixture": "flexcalc.models.mixture:MixturePotential",
}
"""Models made of other potentials, by the name that stands in `model.json`. Each has `load`, which
is handed what opens its parts by their address (`Parts`)."""

COMMITTEE = "committee:"
"""What an address of several potentials begins with; commas stand between their addresses."""

HARMLESS = re.compile(r"(xtb|dft|dispersion):[^/]*(/[^/]*)?")
"""Addresses that a model folder may name without its user's trust: they run no code of others and
read no files."""

DEEPEST = 8
"""How deep model folders may lie in each other; a committee of mixtures of deltas is three."""

MANY_MOLECULES = (".model", ".pt", ".xml", "best_model")
"""Which of these are for many molecules, and are bound to one on opening."""

EXAMPLES = (
    "a model folder (NAME.flex), a model file (.npz, .xml, .model, best_model), xtb:GFN2-xTB, "
    "dft:PBE-D4/def2-SVP"
)


def family(name: str) -> Any:
    """The class of a model family.

    Raises:
        AddressError: no family has that name.
    """
    if name not in FAMILIES:
        raise AddressError(f"unknown model family {name!r}{_hint(name, FAMILIES)}")
    return _home(FAMILIES[name])


def made(name: str, hyperparameters: Mapping[str, Any]) -> Any:
    """A model family with hyperparameters.

    Where a field holds families itself, they may be given by name, or as tables whose `kind` is
    the name, as they stand in TOML and in `model.json`.

    Raises:
        AddressError: no family has that name.
        InputError: a hyperparameter the family does not know.
    """
    cls = family(name)
    hints = get_type_hints(cls, include_extras=True)
    values = {key: _tupled(value) for key, value in hyperparameters.items()}
    for item in fields(cls):
        if FAMILY in getattr(hints[item.name], "__metadata__", ()):
            given = hyperparameters.get(item.name, item.default)
            entries = given if isinstance(given, list | tuple) else (given,)
            values[item.name] = tuple(map(_member, entries))
    try:
        return cls(**values)
    except TypeError as error:
        raise InputError(f"{name}: {error}") from None


def _tupled(value: Any) -> Any:
    """Tuples for the lists that JSON and TOML make of them."""
    return tuple(map(_tupled, value)) if isinstance(value, list) else value


def _member(entry: Any) -> Any:
    """A family given by name, as a table with its kind, or as it is."""
    if isinstance(entry, str):
        return made(entry, {})
    if isinstance(entry, Mapping):
        return made(entry["kind"], {key: entry[key] for key in entry if key != "kind"})
    return entry


def electron_options(address: Address) -> dict[str, int | None]:
    """The options of charge and multiplicity that a reference takes, and what its address says.

    Empty for models, and for references that take neither. Of a committee, those of its first
    member that takes any.
    """
    if address.startswith(COMMITTEE):
        return next(filter(None, map(electron_options, members_of(address))), {})
    if not is_reference(address) or address.startswith("ase:"):
        return {}
    scheme, rest = address.split(":", 1)
    taken = signature(_home(REFERENCES[scheme]).__init__).parameters
    said = dict(parse_qsl(rest.partition("?")[2], keep_blank_values=True))
    return {
        name: int(said[name]) if re.fullmatch(r"[+-]?\d{1,4}", said.get(name, "")) else None
        for name in ("charge", "multiplicity")
        if name in taken
    }


def with_options(address: Address, options: Mapping[str, Any]) -> Address:
    """A reference's address with further options; of a committee, for members that take them."""
    if not options:
        return address
    if address.startswith(COMMITTEE):
        members = [
            with_options(one, {k: v for k, v in options.items() if k in electron_options(one)})
            for one in members_of(address)
        ]
        return COMMITTEE + ",".join(members)
    joint = "&" if "?" in address else "?"
    return address + joint + "&".join(f"{name}={value}" for name, value in options.items())


def is_reference(address: Address) -> bool:
    """Whether an address names a reference method, which is bound to a molecule on opening.

    A committee is one where all its members are.
    """
    if address.startswith(COMMITTEE):
        return all(map(is_reference, members_of(address)))
    return ":" in address and address.split(":", 1)[0] in REFERENCES


def needs_molecule(address: Address) -> bool:
    """Whether an address can only be opened for a molecule that is named."""
    if is_reference(address):
        return True
    try:
        path = Path(address if Path(address).exists() else address.partition("?")[0])
        return path.is_file() and (path.suffix or path.name) in MANY_MOLECULES
    except OSError:
        return False


def members_of(address: Address) -> list[Address]:
    """The addresses in `committee:A,B,...`."""
    return address.removeprefix(COMMITTEE).split(",")


def open_potential(
    address: PotentialLike, numbers: ArrayLike | None = None, *, trust: bool = False
) -> Potential:
    """Open any potential by its address.

    Args:
        address: a Potential, which is returned as it is; an ASE calculator; or the address of a
            model folder, of a network perhaps with `?precision=float32` or `?device=cpu`; of a
            foreign model file; of a reference method with its options, such as
            `dft:PBE-D4/def2-SVP?charge=1&multiplicity=2`; or of several of them as the members of
            a committee, such as `committee:a.flex,b.flex`.
        numbers: (atoms,) atomic numbers of the molecule. Needed for a reference; a model knows
            its own and must agree.
        trust: open files that can only be read by running code they contain.

    Raises:
        AddressError: nothing can be opened by that address.
        MoleculeError: the model is for another molecule.
    """
    numbers = None if numbers is None else np.asarray(numbers, dtype=int)
    if not isinstance(address, str):
        return _given(address, numbers)
    if address.startswith(COMMITTEE):
        return _open_committee(address, numbers, trust)
    if is_reference(address):
        return _open_reference(address, numbers)
    potential = _open_model(address, numbers, trust)
    if numbers is not None:
        check_molecule(potential.numbers, numbers, address)
    return potential


def _given(given: Any, numbers: np.ndarray | None) -> Potential:
    """The potential that an object is, or that stands for an ASE calculator."""
    inner = getattr(given, "potential", None)  # of a flexcalc.Calculator
    potential = inner if isinstance(inner, Potential) else given
    if isinstance(potential, Potential):
        if numbers is not None:
            check_molecule(potential.numbers, numbers, name_of(given))
        return potential
    if not hasattr(given, "get_potential_energy"):
        raise AddressError(
            f"expected a potential, an ASE calculator or an address, got {type(given).__name__}; "
            f"an address is {EXAMPLES}"
        )
    if numbers is None:
        raise AddressError(
            f"{name_of(given)} is for any molecule: say which one, as in "
            "flexcalc.load(calculator, atoms)"
        )
    from flexcalc.references.external import ASEPotential

    return ASEPotential.around(given, numbers)


def name_of(given: PotentialLike) -> str:
    """A potential in one word: its address, or the class of an object."""
    return given if isinstance(given, str) else f"python:{type(given).__name__}"


def load(address: PotentialLike | Path, molecule: Any = None, *, trust: bool = False) -> Potential:
    """Open any potential; the public form of `open_potential`.

    Args:
        address: see `open_potential`; a path of a model will do.
        molecule: an `ase.Atoms` or atomic numbers (atoms,); needed for a reference method.
        trust: open files that can only be read by running code they contain.

    Raises:
        AddressError, MoleculeError: see `open_potential`.
    """
    numbers = getattr(molecule, "numbers", molecule)
    address = str(address) if isinstance(address, Path) else address
    return open_potential(address, numbers, trust=trust)


def _open_committee(address: Address, numbers: np.ndarray | None, trust: bool) -> Potential:
    from flexcalc.models.committee import Committee

    members = members_of(address)
    if not all(members) or len(members) < 2:
        raise AddressError(f"{address!r}: expected at least two members, as in {COMMITTEE}A,B")
    models = [member for member in members if not is_reference(member)]
    if numbers is None and models:
        numbers = open_potential(models[0], trust=trust).numbers
    return Committee(
        [open_potential(member, numbers, trust=trust) for member in members], {"members": members}
    )


def _open_reference(address: Address, numbers: np.ndarray | None) -> Potential:
    scheme, rest = address.split(":", 1)
    text, _, query = rest.partition("?")
    if not text:
        raise AddressError(f"{address!r}: nothing stands after {scheme}:; expected {EXAMPLES}")
    if numbers is None:
        raise _which_molecule(address)
    options = dict(parse_qsl(query, keep_blank_values=True))
    return _home(REFERENCES[scheme]).from_address(text, numbers, options)


def _open_model(address: Address, numbers: np.ndarray | None, trust: bool) -> Potential:
    try:
        text, _, query = (address, "", "") if Path(address).exists() else address.partition("?")
        path = Path(text)
        path.exists()
    except OSError as error:
        raise AddressError(f"{address[:80]!r}: no such model: {error.strerror}") from None
    if path.is_dir():
        if not (path / "model.json").exists():
            raise AddressError(f"{address!r}: a folder without model.json; expected {EXAMPLES}")
        return _reopened(_open_folder(path, trust), query, address)
    if path.is_file():
        kind = path.suffix or path.name
        if kind not in FOREIGN:
            raise AddressError(
                f"{address!r}: no model file is known by the suffix {path.suffix!r}; "
                f"expected {EXAMPLES}"
            )
        if numbers is None and kind in MANY_MOLECULES:
            raise _which_molecule(address)
        options = dict(parse_qsl(query, keep_blank_values=True))
        return _home(FOREIGN[kind])(path, numbers, options, trust)
    scheme = re.match(r"([A-Za-z]+):", address)
    if scheme:
        hint = _hint(scheme[1].lower(), REFERENCES)
        raise AddressError(f"{address!r}: unknown scheme {scheme[1]!r}{hint}")
    near = difflib.get_close_matches(
        path.name, [other.name for other in _siblings(path)], n=1, cutoff=0.6
    )
    hint = f"; did you mean {path.parent / near[0]}?" if near else f"; expected {EXAMPLES}"
    raise AddressError(f"{address!r}: no such model{hint}")


def _open_folder(path: Path, trust: bool, depth: int = 0) -> Potential:
    from flexcalc.models.folder import read_facts

    name = read_facts(path)["family"]
    if name in JOINED:
        return _home(JOINED[name]).load(path, Parts(path, trust, depth))
    return family(name).load(path)


def _reopened(potential: Potential, query: str, address: Address) -> Potential:
    """A model with the options of its address, such as `?precision=float32` for a network."""
    options = dict(parse_qsl(query, keep_blank_values=True))
    if not options:
        return potential
    reopen = getattr(potential, "reopened", None)
    if reopen is None:
        raise AddressError(f"{address!r}: a model of this family takes no options")
    return reopen(**read_options(reopen, options, address))


def _which_molecule(address: Address) -> AddressError:
    return AddressError(
        f'{address!r} is for any molecule: say which one, as in flexcalc.load("{address}", atoms)'
    )


class Parts:
    """Opens what a model folder is made of: folders inside it by their path, and others by address.

    The two never meet: `ase:calc.py:make` is the name of a folder too, and an address in
    `model.json` means what the folder's maker wants it to, wherever the folder is opened from.

    Args:
        folder: whose `model.json` names the parts.
        trust: also open parts by which the folder could have any code run.
        depth: folders that this one lies in.
    """

    def __init__(self, folder: Path, trust: bool, depth: int = 0):
        self.folder, self.trust, self.depth = folder, trust, depth

    def __call__(self, part: Address | Path, numbers: ArrayLike | None = None) -> Potential:
        """Open a folder inside, given as a path, or a part by its address.

        Raises:
            AddressError: no such part, or one that needs trust.
            FileFormatError: a folder that lies outside.
            MoleculeError: the part is for another molecule.
        """
        if isinstance(part, Path):
            return self._member(part, numbers)
        self._check_harmless(part)
        return open_potential(part, numbers, trust=self.trust)

    def _check_harmless(self, address: Address) -> None:
        named = members_of(address) if address.startswith(COMMITTEE) else [address]
        if not all(HARMLESS.fullmatch(one) for one in named):
            require_trust(self.folder, self.trust, f"it names {address}, which may mean")

    def _member(self, path: Path, numbers: ArrayLike | None) -> Potential:
        if path.resolve().parent != self.folder.resolve():
            raise FileFormatError(f"{path}: expected a folder inside {self.folder}")
        if self.depth >= DEEPEST:
            raise FileFormatError(f"{path}: models in models, more than {DEEPEST} deep")
        potential = _open_folder(path, self.trust, self.depth + 1)
        if numbers is not None:
            check_molecule(potential.numbers, np.asarray(numbers, dtype=int), str(path))
        return potential

    def sha256(self, address: Address) -> str | None:
        """See `content_sha256`.

        Raises:
            AddressError: the address needs trust.
        """
        self._check_harmless(address)
        return content_sha256(address)


def content_sha256(address: Address) -> str | None:
    """The hash of what an address names on this machine, None where that is no file.

    Of a model folder it is the hash of its model.json, which has those of all other files; of a
    committee the hash of its members' hashes.
    """
    if address.startswith(COMMITTEE):
        found = [content_sha256(member) for member in members_of(address)]
        return hashlib.sha256(repr(found).encode()).hexdigest() if any(found) else None
    text = address.partition("?")[0] if not Path(address).exists() else address
    script = re.fullmatch(r"ase:(.+\.py):[^:]*", text)
    path = Path(script[1] if script else text)
    path = path / "model.json" if path.is_dir() else path
    return sha256_file(path) if path.is_file() else None


def _siblings(path: Path) -> list[Path]:
    return sorted(path.parent.iterdir()) if path.parent.is_dir() else []


def _home(place: str) -> Any:
    module, name = place.split(":")
    return getattr(import_module(module), name)


def _hint(name: str, known: Mapping[str, str]) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {near[0]}?" if near else f"; known: {', '.join(known)}"
