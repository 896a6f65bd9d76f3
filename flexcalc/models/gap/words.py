"""The line of a descriptor, every word of which must be known.

A line is taken only where all of its words are known, with values whose meaning here is that in
QUIP: whatever is not listed below is left to QUIP, never guessed.

Source: QUIP 0.10.3, src/GAP/descriptors.F90 and gap_fit_module.F90.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from flexcalc.models.gap.pairs import Pairs
from flexcalc.models.gap.soap import Soap

OF_FITS = frozenset(
    {
        *("add_species", "n_sparse", "config_type_n_sparse", "sparse_method", "sparse_file"),
        *("covariance_type", "zeta", "soap_exponent", "delta", "energy_scale", "f0"),
        *("theta_fac", "theta_uniform", "lengthscale_factor", "lengthscale_uniform"),
        *("mark_sparse_atoms", "print_sparse_index"),
        *("unique_hash_tolerance", "unique_descriptor_tolerance"),
    }
)
"""Words of a descriptor's line that only gap_fit reads: what it makes of them stands elsewhere."""
ALWAYS = {
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
"""Words of SOAP that may be there with their defaults only."""
LARGEST_N, LARGEST_L = 64, 30
"""Larger ones are no use, and make factorials that a float cannot hold."""
WORD = re.compile(r"(\w+)=(?:\{+([^{}]*)\}+|([^\s{}\"']+))(?:\s+|$)")


class OddError(Exception):
    """Something that is left to QUIP; says what."""


@dataclass
class Words:
    """The words of a descriptor's line, which must all be taken."""

    kind: str
    left: dict[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, line: str) -> Words:
        """Read a line such as `soap l_max=6 species_Z={1 6}`."""
        kind, _, rest = line.partition(" ")
        words, place = cls(kind), 0
        while place < len(rest):
            match = WORD.match(rest, place)
            if match is None or match[1] in words.left:
                raise OddError(f"the line {line!r}")
            words.left[match[1]] = (match[2] if match[2] is not None else match[3]).strip()
            place = match.end()
        return words

    def text(self, *names: str, default: str | None = None) -> str:
        """The value of a word that may have several names, or its default."""
        found = [self.left.pop(name) for name in names if name in self.left]
        if len(found) > 1 or (not found and default is None):
            raise OddError(f"{names[0]}, {len(found)} times")
        return found[0] if found else str(default)

    def number(self, *names: str, default: str | None = None) -> float:
        """A finite number."""
        return number(self.text(*names, default=default))

    def count(self, *names: str, default: str | None = None) -> int:
        """A whole number that is not negative."""
        return whole(self.text(*names, default=default))

    def truth(self, *names: str, default: str) -> bool:
        """T or F."""
        text = self.text(*names, default=default)
        if text not in ("T", "F"):
            raise OddError(f"{names[0]}={text}")
        return text == "T"

    def end(self) -> None:
        """Leave no word that means something."""
        rest = set(self.left) - OF_FITS
        if rest:
            raise OddError(", ".join(sorted(rest)))


def descriptor(line: str) -> tuple[Soap | Pairs, int]:
    """The parameters of a descriptor, and the atomic number of its centre (0: any).

    Raises:
        OddError: it is not one that is known here.
    """
    words = Words.read(line)
    if words.kind not in KINDS:
        raise OddError(f"the descriptor {words.kind}")
    result = KINDS[words.kind](words)
    words.end()
    return result


def _soap(words: Words) -> tuple[Soap, int]:
    for name, value in ALWAYS.items():
        if words.text(name, default=value) != value:
            raise OddError(name)
    listed = words.text("species_Z", default="0").split()
    species = tuple(whole(number) for number in listed)
    told = words.count("n_species", default="1")
    if told != len(species) or len(set(species)) < told or (0 in species[:told] and told > 1):
        raise OddError("species_Z")
    everywhere = words.truth("central_reference_all_species", default="FT"[told == 1])
    soap = Soap(
        species=species,
        cutoff=words.number("cutoff"),
        cutoff_transition_width=words.number("cutoff_transition_width", default="0.5"),
        atom_sigma=words.number("atom_sigma", "atom_gaussian_width"),
        n_max=words.count("n_max"),
        l_max=words.count("l_max"),
        central_weight=words.number("central_weight", default="1.0"),
        central_reference_all_species=everywhere,
        normalise=words.truth("normalise", "normalize", default="T"),
        covariance_sigma0=words.number("covariance_sigma0", default="0.0"),
        basis_error_exponent=words.number("basis_error_exponent", default="10.0"),
    )
    _check_lengths(soap)
    if soap.atom_sigma <= 0 or soap.basis_error_exponent < 0:
        raise OddError("atom_sigma, basis_error_exponent")
    if not (1 <= soap.n_max <= LARGEST_N and soap.l_max <= LARGEST_L):
        raise OddError("n_max, l_max")
    try:
        usable = bool(np.isfinite(soap.radial.transform).all())
    except np.linalg.LinAlgError:
        usable = False
    if not usable:
        raise OddError("a radial basis that is not independent")
    return soap, words.count("Z", default="0")


def _pairs(words: Words) -> tuple[Pairs, int]:
    pairs = Pairs(
        elements=(words.count("Z1", default="0"), words.count("Z2", default="0")),
        cutoff=words.number("cutoff"),
        cutoff_transition_width=words.number("cutoff_transition_width", default="0.5"),
    )
    _check_lengths(pairs)
    return pairs, 0


KINDS: dict[str, Callable[[Words], tuple[Soap | Pairs, int]]] = {
    "soap": _soap,
    "distance_2b": _pairs,
}


def _check_lengths(found: Soap | Pairs) -> None:
    if found.cutoff <= 0 or found.cutoff_transition_width <= 0:
        raise OddError("cutoff, cutoff_transition_width")


def number(text: str | None) -> float:
    """A finite number.

    Raises:
        OddError: none, or in a notation of Fortran's own.
    """
    try:
        value = float(text or "")
    except ValueError:
        raise OddError(f"the number {text}") from None
    if not np.isfinite(value):
        raise OddError(f"the number {text}")
    return value


def whole(text: str | None) -> int:
    """A whole number that is not negative, of at most six digits.

    Raises:
        OddError: none.
    """
    if not re.fullmatch(r"[0-9]{1,6}", text or ""):
        raise OddError(f"the number {text}")
    return int(text or "")
