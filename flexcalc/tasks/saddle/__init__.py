"""A saddle from a guess, the minima that it connects, and rates.

`search` refines the guess and puts everything together, `descent` follows the reaction coordinate
to both minima, `endpoints` tells which they are, and `rates` computes rates.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np

from flexcalc import files
from flexcalc.config.paths import SaddleSearch
from flexcalc.potential import check_molecule
from flexcalc.registry import open_potential
from flexcalc.results.saddle import Saddle
from flexcalc.store import Store
from flexcalc.tasks.molecule import (
    electrons_of,
    following,
    isotopes_in,
    source_of,
    with_masses,
)
from flexcalc.tasks.ordering import ordered
from flexcalc.tasks.remembered import RELABELLED_LOG, remembered
from flexcalc.tasks.saddle.endpoints import Guess
from flexcalc.tasks.saddle.search import (
    SaddleJob,
    find_saddle,
    guess_of,
    highest_image,
    symmetry_numbers,
)
from flexcalc.tasks.tally import Tally


def saddle(options: SaddleSearch, store: Store) -> Saddle:
    """Refine a guess to a saddle, follow the descent to its minima, and compute rates.

    Keeps saddle.xyz, mode.xyz, irc.xyz, minima.xyz, vibrations.json and rates.csv.

    Raises:
        InputError: the geometries, the potential or the reference cannot be used; nothing is
            written.
    """
    guess = files.read(options.guess)
    given = {"start": options.start, "end": options.end}
    minima = {name: files.read(place) for name, place in given.items() if place is not None}
    for name, data in minima.items():
        check_molecule(guess.numbers, data.numbers, source_of(given[name]))
    options = following(options, electrons_of(guess))
    open_one = partial(open_potential, numbers=guess.numbers, trust=options.trust)
    potential = open_one(options.model)
    reference = None if options.relabel is None else open_one(options.relabel)
    fitting = ordered(potential, guess, source_of(options.guess), options.map_atoms)
    guess, minima = fitting.data, {name: fitting.like(data) for name, data in minima.items()}
    options = with_masses(options, guess, *minima.values())
    found = store.begin(options)
    if found is not None:
        known = Saddle.from_dict(found, store)
        return replace(known, symmetry_numbers=symmetry_numbers(options))
    atom_map = fitting.said(store)
    isotopes = isotopes_in(store, potential.numbers, options.descent.masses)
    potential = remembered(potential, store)
    reference = remembered(reference, store, RELABELLED_LOG)
    tally = Tally()
    begin = highest_image(tally.of("labels", potential), np.array(guess.positions))
    begin = replace(begin, minima={name: data.positions[-1] for name, data in minima.items()})
    job = SaddleJob(options, potential, reference, begin, isotopes, tally)
    return replace(find_saddle(job, store), atom_map=atom_map)


__all__ = [
    "Guess",
    "SaddleJob",
    "find_saddle",
    "guess_of",
    "highest_image",
    "saddle",
    "symmetry_numbers",
]
