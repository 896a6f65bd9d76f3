"""Groups of permutations of atoms: in cycle notation, closed, and by a few generators.

A permutation p is a row of atom indices counted from 0; `positions[p]` is the permuted
molecule, and the cycle (a b c) stands for p[a] = b, p[b] = c, p[c] = a.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from flexcalc.errors import ConfigError

CYCLES = re.compile(r"\s*(\(\s*\d{1,6}(\s+\d{1,6})*\s*\)\s*)+")
"""Cycle notation: atoms apart by spaces, in one or several pairs of parentheses."""


def close(generators: Sequence[tuple[int, ...]], largest: int) -> list[tuple[int, ...]] | None:
    """The group that permutations generate, sorted and so with the identity first.

    Args:
        generators: at least one permutation, as tuples of equal length.
        largest: maximum size of the group.

    Returns:
        The members, or None if they are more than `largest`.
    """
    members = {tuple(range(len(generators[0])))}
    fresh = list(members)
    while fresh:
        products = {tuple(one[k] for k in other) for one in fresh for other in generators}
        fresh = sorted(products - members)
        members.update(fresh)
        if len(members) > largest:
            return None
    return sorted(members)


def cycles(permutation: Sequence[int] | np.ndarray) -> str:
    """A permutation (atoms,) in cycle notation, such as "(1 2)(3 4 5)"; the identity is "()"."""
    order = [int(atom) for atom in permutation]
    seen: set[int] = set()
    text = ""
    for start in range(len(order)):
        cycle = []
        atom = start
        while atom not in seen:
            seen.add(atom)
            cycle.append(atom)
            atom = order[atom]
        if len(cycle) > 1:
            text += f"({' '.join(map(str, cycle))})"
    return text or "()"


def generators_of(permutations: np.ndarray) -> list[str]:
    """A few members that generate the whole group, in cycle notation, for people to read.

    Args:
        permutations: (group, atoms), a closed group.

    Returns:
        At most log2(group) members, those that move few atoms first; none for the identity.
    """
    rows = [tuple(row) for row in np.asarray(permutations, dtype=int).tolist()]
    rest = sorted(rows, key=lambda row: (sum(k != atom for k, atom in enumerate(row)), row))
    chosen = _generating(rest)
    return [cycles(row) for row in (rest if chosen is None else chosen)]


def is_group(permutations: np.ndarray) -> bool:
    """Whether permutations (group, atoms) are a closed group, each member once."""
    rows = [tuple(row) for row in permutations.tolist()]
    return len(set(rows)) == len(rows) and _generating(rows) is not None


def _generating(rows: Sequence[tuple[int, ...]]) -> list[tuple[int, ...]] | None:
    """Those rows that the ones before do not generate; None if all generate more than the rows."""
    chosen: list[tuple[int, ...]] = []
    reached = {tuple(range(len(rows[0])))}
    for row in rows:
        if row not in reached:
            chosen.append(row)
            group = close(chosen, len(rows))
            if group is None:
                return None
            reached = set(group)
    return chosen if len(reached) == len(rows) else None


def parsed(text: str, numbers: np.ndarray) -> tuple[int, ...]:
    """The permutation in cycle notation.

    Args:
        text: such as "(3 4 5)" or "(1 2)(7 8)", atoms counted from 0.
        numbers: (atoms,) atomic numbers; only like atoms may be exchanged.

    Raises:
        ConfigError: not cycle notation, an atom that is not there, twice there, or exchanged
            for one of another element.
    """
    from ase.data import chemical_symbols

    where = f'generators: "{text}"'
    if not CYCLES.fullmatch(text):
        raise ConfigError(f'{where}: expected cycles of atoms counted from 0, such as "(1 2)(7 8)"')
    permutation = list(range(len(numbers)))
    seen: set[int] = set()
    for cycle in re.findall(r"\(([^)]*)\)", text):
        atoms = [int(word) for word in cycle.split()]
        for atom, image in zip(atoms, atoms[1:] + atoms[:1], strict=True):
            if atom >= len(numbers):
                raise ConfigError(
                    f"{where}: expected atoms from 0 to {len(numbers) - 1}, found {atom}"
                )
            if atom in seen:
                raise ConfigError(f"{where}: expected each atom once, found {atom} twice")
            seen.add(atom)
            permutation[atom] = image
        elements = [chemical_symbols[numbers[atom]] for atom in atoms]
        if len(set(elements)) > 1:
            found = ", ".join(f"{atom} is {of}" for atom, of in zip(atoms, elements, strict=True))
            raise ConfigError(f"{where}: expected atoms of one element in a cycle, found {found}")
    return tuple(permutation)
