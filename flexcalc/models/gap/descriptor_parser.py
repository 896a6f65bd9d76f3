"""Parser of descriptor lines, such as `soap l_max=6 n_max=8`.

A descriptor is supported only if all of its keywords are known, with values that mean the same here
as in QUIP. All others are left to QUIP, never guessed.

Source: QUIP 0.10.3, src/GAP/descriptors.F90 and gap_fit_module.F90.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from flexcalc.models.gap.pairs import Pairs
from flexcalc.models.gap.soap import Soap

FIT_ONLY = frozenset(
    {
        *("add_species", "n_sparse", "config_type_n_sparse", "sparse_method", "sparse_file"),
        *("covariance_type", "zeta", "soap_exponent", "delta", "energy_scale", "f0"),
        *("theta_fac", "theta_uniform", "lengthscale_factor", "lengthscale_uniform"),
        *("mark_sparse_atoms", "print_sparse_index"),
        *("unique_hash_tolerance", "unique_descriptor_tolerance"),
    }
)
"""Keywords that only gap_fit reads; their results are in other parts of the file."""
DEFAULTS_ONLY = {
    "n_Z": "1",
    "cutoff_dexp": "0",
    "average": "F",
    "diagonal_radial": "F",
    "nu_R": "2",
    "nu_S": "2",
    "Z_mix": "F",
    "R_mix": "F",
    "sym_mix": "F",
    "coupling": "T",
    "radial_basis": "EQUISPACED_GAUSS",
}
"""Keywords of SOAP that are supported with these values, their defaults, only."""
MAX_N, MAX_L = 64, 30
"""Maximum n_max and l_max; beyond them factorials overflow."""
KEYWORD = re.compile(r"(\w+)=(?:\{+([^{}]*)\}+|([^\s{}\"']+))(?:\s+|$)")


class UnsupportedError(Exception):
    """A feature of a GAP that only QUIP can evaluate."""


@dataclass
class Keywords:
    """The keywords of a descriptor line, all of which must be read."""

    kind: str
    left: dict[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, line: str) -> Keywords:
        """Parse a line such as `soap l_max=6 species_Z={1 6}`."""
        kind, _, rest = line.partition(" ")
        keywords, place = cls(kind), 0
        while place < len(rest):
            match = KEYWORD.match(rest, place)
            if match is None or match[1] in keywords.left:
                raise UnsupportedError(f"the line {line!r}")
            keywords.left[match[1]] = (match[2] if match[2] is not None else match[3]).strip()
            place = match.end()
        return keywords

    def text(self, *names: str, default: str | None = None) -> str:
        """The value of a keyword that may have several names, or its default."""
        found = [self.left.pop(name) for name in names if name in self.left]
        if len(found) > 1 or (not found and default is None):
            raise UnsupportedError(f"{names[0]}, {len(found)} times")
        return found[0] if found else str(default)

    def number(self, *names: str, default: str | None = None) -> float:
        """A finite number."""
        return number(self.text(*names, default=default))

    def count(self, *names: str, default: str | None = None) -> int:
        """A non-negative integer."""
        return whole(self.text(*names, default=default))

    def truth(self, *names: str, default: str) -> bool:
        """T or F."""
        text = self.text(*names, default=default)
        if text not in ("T", "F"):
            raise UnsupportedError(f"{names[0]}={text}")
        return text == "T"

    def end(self) -> None:
        """Refuse keywords that were not read, except those of gap_fit.

        Raises:
            UnsupportedError: names them.
        """
        rest = set(self.left) - FIT_ONLY
        if rest:
            raise UnsupportedError(", ".join(sorted(rest)))


def descriptor(line: str) -> tuple[Soap | Pairs, int]:
    """The parameters of a descriptor, and the atomic number of its centre (0: any).

    Raises:
        UnsupportedError: the descriptor is not supported.
    """
    keywords = Keywords.read(line)
    if keywords.kind not in KINDS:
        raise UnsupportedError(f"the descriptor {keywords.kind}")
    result = KINDS[keywords.kind](keywords)
    keywords.end()
    return result


def _soap(keywords: Keywords) -> tuple[Soap, int]:
    for name, value in DEFAULTS_ONLY.items():
        if keywords.text(name, default=value) != value:
            raise UnsupportedError(name)
    listed = keywords.text("species_Z", default="0").split()
    species = tuple(whole(number) for number in listed)
    count = keywords.count("n_species", default="1")
    if count != len(species) or len(set(species)) < count or (0 in species[:count] and count > 1):
        raise UnsupportedError("species_Z")
    everywhere = keywords.truth("central_reference_all_species", default="FT"[count == 1])
    soap = Soap(
        species=species,
        cutoff=keywords.number("cutoff"),
        cutoff_transition_width=keywords.number("cutoff_transition_width", default="0.5"),
        atom_sigma=keywords.number("atom_sigma", "atom_gaussian_width"),
        n_max=keywords.count("n_max"),
        l_max=keywords.count("l_max"),
        central_weight=keywords.number("central_weight", default="1.0"),
        central_reference_all_species=everywhere,
        normalise=keywords.truth("normalise", "normalize", default="T"),
        covariance_sigma0=keywords.number("covariance_sigma0", default="0.0"),
        basis_error_exponent=keywords.number("basis_error_exponent", default="10.0"),
    )
    _check_lengths(soap)
    if soap.atom_sigma <= 0 or soap.basis_error_exponent < 0:
        raise UnsupportedError("atom_sigma, basis_error_exponent")
    if not (1 <= soap.n_max <= MAX_N and soap.l_max <= MAX_L):
        raise UnsupportedError("n_max, l_max")
    try:
        usable = bool(np.isfinite(soap.radial.transform).all())
    except np.linalg.LinAlgError:
        usable = False
    if not usable:
        raise UnsupportedError("a linearly dependent radial basis")
    return soap, keywords.count("Z", default="0")


def _pairs(keywords: Keywords) -> tuple[Pairs, int]:
    pairs = Pairs(
        elements=(keywords.count("Z1", default="0"), keywords.count("Z2", default="0")),
        cutoff=keywords.number("cutoff"),
        cutoff_transition_width=keywords.number("cutoff_transition_width", default="0.5"),
    )
    _check_lengths(pairs)
    return pairs, 0


KINDS: dict[str, Callable[[Keywords], tuple[Soap | Pairs, int]]] = {
    "soap": _soap,
    "distance_2b": _pairs,
}


def _check_lengths(found: Soap | Pairs) -> None:
    if found.cutoff <= 0 or found.cutoff_transition_width <= 0:
        raise UnsupportedError("cutoff, cutoff_transition_width")


def number(text: str | None) -> float:
    """A finite number.

    Raises:
        UnsupportedError: not a number, or in a notation of Fortran.
    """
    try:
        value = float(text or "")
    except ValueError:
        raise UnsupportedError(f"the number {text}") from None
    if not np.isfinite(value):
        raise UnsupportedError(f"the number {text}")
    return value


def whole(text: str | None) -> int:
    """A non-negative integer of at most six digits.

    Raises:
        UnsupportedError: not such a number.
    """
    if not re.fullmatch(r"[0-9]{1,6}", text or ""):
        raise UnsupportedError(f"the number {text}")
    return int(text or "")
