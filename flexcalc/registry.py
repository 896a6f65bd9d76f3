"""Names and addresses of potentials; the module behind each is imported on first use."""

from __future__ import annotations

import difflib
import hashlib
import re
from collections.abc import Iterable, Mapping
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
from flexcalc.memory import without_collector
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
    "so3lr": "flexcalc.models.so3lr:SO3LR",
    "ase": "flexcalc.references.external:ASEPotential",
}
"""Reference methods by the scheme of their address."""

NAMELESS = ("so3lr",)
"""Reference methods of which there is one only, so that nothing has to follow the colon."""

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

COMPOSITES: Mapping[str, str] = {
    "committee": "flexcalc.models.committee:Committee",
    "delta": "flexcalc.models.delta:DeltaModel",
    "mixture": "flexcalc.models.mixture:MixturePotential",
}
"""Models that consist of other potentials, by their name in `model.json`. Their `load` takes a
`MemberLoader`, which opens the members by path or address."""

COMMITTEE = "committee:"
"""Prefix of the address of a committee; the addresses of its members follow, with commas."""

HARMLESS = re.compile(r"(xtb|dft|dispersion|so3lr):[^/]*(/[^/]*)?")
"""Addresses that a model folder may name without `trust`: opening them runs no foreign code and
reads no files."""

DEEPEST = 8
"""Maximum depth of nested model folders; a committee of mixtures of deltas has three levels."""

MANY_MOLECULES = (".model", ".pt", ".xml", "best_model")
"""Model files of FOREIGN that serve many molecules, and are bound to one on opening."""

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
    return import_object(FAMILIES[name])


def make_family(name: str, hyperparameters: Mapping[str, Any]) -> Any:
    """Build a model family from its name and hyperparameters.

    A hyperparameter that holds families itself takes their names, or tables whose `kind` is the
    name, as in TOML and `model.json`.

    Raises:
        AddressError: no family has that name.
        InputError: the family does not have such a hyperparameter.
    """
    cls = family(name)
    hints = get_type_hints(cls, include_extras=True)
    values = {key: _tupled(value) for key, value in hyperparameters.items()}
    for item in fields(cls):
        if FAMILY in getattr(hints[item.name], "__metadata__", ()):
            given = hyperparameters.get(item.name, item.default)
            entries = given if isinstance(given, list | tuple) else (given,)
            values[item.name] = tuple(map(_member, entries))
    known = dict.fromkeys(item.name for item in fields(cls))
    for key in values:
        if key not in known:
            raise InputError(f"{name}: no hyperparameter {key!r}{_hint(key, known)}")
    return cls(**values)


def _tupled(value: Any) -> Any:
    """Tuples in place of the lists that JSON and TOML return."""
    return tuple(map(_tupled, value)) if isinstance(value, list) else value


def _member(entry: Any) -> Any:
    """A member family from its name, from a table with its kind, or unchanged."""
    if isinstance(entry, str):
        return make_family(entry, {})
    if isinstance(entry, Mapping):
        return make_family(entry["kind"], {key: entry[key] for key in entry if key != "kind"})
    return entry


def electron_options(address: Address) -> dict[str, int | None]:
    """Charge and multiplicity, where a reference accepts them, with the values in its address.

    Empty for models and for references that accept neither. A committee has those of its first
    member that accepts any.
    """
    if address.startswith(COMMITTEE):
        return next(filter(None, map(electron_options, members_of(address))), {})
    if not is_reference(address) or address.startswith("ase:"):
        return {}
    scheme, rest = address.split(":", 1)
    kind = import_object(REFERENCES[scheme])
    accepted = signature(getattr(kind, "takes", kind.__init__)).parameters
    given = dict(parse_qsl(rest.partition("?")[2], keep_blank_values=True))
    return {
        name: int(given[name]) if re.fullmatch(r"[+-]?\d{1,4}", given.get(name, "")) else None
        for name in ("charge", "multiplicity")
        if name in accepted
    }


def with_options(address: Address, options: Mapping[str, Any]) -> Address:
    """The address of a reference with more options, given to those that accept them."""
    if not options:
        return address
    if address.startswith(COMMITTEE):
        members = [
            with_options(
                member, {k: v for k, v in options.items() if k in electron_options(member)}
            )
            for member in members_of(address)
        ]
        return COMMITTEE + ",".join(members)
    separator = "&" if "?" in address else "?"
    return address + separator + "&".join(f"{name}={value}" for name, value in options.items())


def is_reference(address: Address) -> bool:
    """Whether an address names a reference method, which is bound to a molecule on opening.

    A committee is a reference if all its members are.
    """
    if address.startswith(COMMITTEE):
        return all(map(is_reference, members_of(address)))
    return ":" in address and address.split(":", 1)[0] in REFERENCES


def needs_molecule(address: Address) -> bool:
    """Whether an address can only be opened together with the numbers of a molecule."""
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
        address: a Potential, which is returned unchanged; an ASE calculator; or an address.
            An address names a model folder (a network's may end in `?precision=float32` or
            `?device=cpu`), a foreign model file, a reference method with its options
            (`dft:PBE-D4/def2-SVP?charge=1&multiplicity=2`), or a committee of any of these
            (`committee:a.flex,b.flex`).
        numbers: (atoms,) atomic numbers of the molecule. Required for a reference; a model has
            its own, which must agree.
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
    """The potential of an object: itself, that of a flexcalc.Calculator, or an ASE calculator's."""
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
        address: see `open_potential`; or the path of a model.
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
    if not text and scheme not in NAMELESS:
        raise AddressError(f"{address!r}: nothing stands after {scheme}:; expected {EXAMPLES}")
    if numbers is None:
        raise _which_molecule(address)
    options = dict(parse_qsl(query, keep_blank_values=True))
    return import_object(REFERENCES[scheme]).from_address(text, numbers, options)


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
        return import_object(FOREIGN[kind])(path, numbers, options, trust)
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
    if name in COMPOSITES:
        return import_object(COMPOSITES[name]).load(path, MemberLoader(path, trust, depth))
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


class MemberLoader:
    """Opens the members of a composite model: folders inside it by path, others by address.

    Paths and addresses are kept apart: `ase:calc.py:make` is also a valid name of a folder, and an
    address in `model.json` must mean the same wherever the folder is opened from.

    Args:
        folder: the model folder whose `model.json` names the members.
        trust: also open members that can run arbitrary code.
        depth: number of model folders that contain this one.
    """

    def __init__(self, folder: Path, trust: bool, depth: int = 0):
        self.folder, self.trust, self.depth = folder, trust, depth

    def __call__(self, member: Address | Path, numbers: ArrayLike | None = None) -> Potential:
        """Open a member by the path of its folder, or by its address.

        Raises:
            AddressError: no such member, or one that needs trust.
            FileFormatError: a path outside the model folder.
            MoleculeError: the member is for another molecule.
        """
        if isinstance(member, Path):
            return self._open_inside(member, numbers)
        self._check_harmless(member)
        return open_potential(member, numbers, trust=self.trust)

    def _check_harmless(self, address: Address) -> None:
        named = members_of(address) if address.startswith(COMMITTEE) else [address]
        if not all(HARMLESS.fullmatch(member) for member in named):
            require_trust(self.folder, self.trust, f"it names {address}, which may mean")

    def _open_inside(self, path: Path, numbers: ArrayLike | None) -> Potential:
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
    """SHA-256 of the file that an address names on this machine; None where it names none.

    For a model folder it is the hash of model.json, which has the hashes of all other files; for a
    committee it is the hash of its members' hashes.
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


def import_object(name: str) -> Any:
    """Import an object by `module:name`."""
    module, attribute = name.split(":")
    with without_collector():
        return getattr(import_module(module), attribute)


def _hint(name: str, known: Iterable[str]) -> str:
    known = list(known)
    near = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {near[0]}?" if near else f"; known: {', '.join(known)}"
