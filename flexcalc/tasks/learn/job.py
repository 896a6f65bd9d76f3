"""What all rounds of the learning share: options, start geometries and opened potentials."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from flexcalc import files
from flexcalc.config.label import Label
from flexcalc.config.learn import Learn
from flexcalc.dataset import Dataset
from flexcalc.errors import InputError
from flexcalc.fields import PotentialLike
from flexcalc.geometry import Coordinate
from flexcalc.geometry.graph import bonds
from flexcalc.geometry.torsions import Torsion, torsions
from flexcalc.labelling.pool import sendable
from flexcalc.methods.sampling import AsIs
from flexcalc.models.delta import check_baseline
from flexcalc.models.family import Family, check_family, settled
from flexcalc.potential import Potential, check_molecule
from flexcalc.registry import name_of, open_potential
from flexcalc.results.calibration import KNOWN, PURPOSE, RANDOM
from flexcalc.store import Store
from flexcalc.tasks.baseline import open_baselines
from flexcalc.tasks.label import cheap_surface, default_sampler, label
from flexcalc.tasks.learn.baselines import Baselines
from flexcalc.tasks.molecule import common_masses, electrons_of, following, source_of
from flexcalc.tasks.motion import biased_coordinates
from flexcalc.tasks.provenance import check_same_level
from flexcalc.tasks.starts import Start, frames_of, read_starts, start_geometries
from flexcalc.units import KB, KCAL_MOL

SPREADS = 3.0
"""Standard deviations of the thermal energy that count as thermal motion."""


@dataclass(frozen=True, eq=False)
class LearnJob:
    """The learning to be done, with all input read and checked.

    Args:
        options: with charge and multiplicity that the starts state.
        reference: its address, or a copy of an object that worker processes can have.
        starts: starts as they were given.
        sampler: potential that the first geometries are sampled on.
        sampler_name: its address, or the class of one that was given as an object.
        baselines: potentials whose weighted sum the model is added to; none, one or several.
        coordinates: that the user wants replicas driven along.
        bends: angles at atoms with two bonds within dihedrals that do not turn by themselves. A
            nitrogen of a double bond passes to its other side where it is straight.
        known: frames with labels that there are already, with the tags `purpose` and `round`.
        notes: what to warn of, a line each.
    """

    options: Learn
    reference: PotentialLike
    starts: list[Start]
    sampler: Potential
    sampler_name: str
    baselines: Baselines
    coordinates: list[Coordinate]
    bends: list[Coordinate]
    known: Dataset | None = None
    notes: tuple[str, ...] = ()

    @property
    def first_count(self) -> int:
        """Reference calculations before the first model."""
        return _first_count(self.options, self.known)

    @property
    def numbers(self) -> np.ndarray:
        """Atomic numbers (atoms,)."""
        return self.starts[0].numbers

    @property
    def family(self) -> Family:
        """The model family, for as many labels as there will be."""
        known = 0 if self.known is None else len(self.known)
        return settled(self.options.family[0], self.options.budget + known)

    @property
    def along(self) -> list[Coordinate]:
        """Coordinates along which labels are distributed evenly; none if the user names none."""
        return [*self.coordinates, *self.bends]

    @property
    def level(self) -> str:
        """Name of the reference."""
        return name_of(self.options.reference)

    def ceiling_eV(self, temperature_K: np.ndarray | float) -> np.ndarray:
        """Energy above the lowest label up to which geometries at a temperature are of interest.

        To the option is added the mean potential energy of harmonic vibrations, and `SPREADS` of
        its standard deviations.
        """
        modes = max(3 * len(self.numbers) - 6, 1) / 2
        thermal = (modes + SPREADS * np.sqrt(modes)) * KB * np.asarray(temperature_K)
        return self.options.max_energy_kcal_mol * KCAL_MOL + thermal

    def low(self, known: Dataset) -> np.ndarray:
        """Rows of labelled frames to start from: those that are not too high."""
        energies = known.labels()[0]
        return np.flatnonzero(
            energies <= energies.min() + self.ceiling_eV(max(self.options.temperatures_K))
        )

    def labelling(self, starts: Dataset | None = None) -> Label:
        """Options that label geometries as they are, or those of the starts themselves."""
        options = self.options
        return Label(
            reference=self.reference,
            starts=options.starts if starts is None else (starts,),
            samples=(AsIs(),),
            sampler=options.sampler,
            conformers=options.conformers,
            timeout_s=options.timeout_s,
            seed=options.seed,
            trust=options.trust,
            workers=options.workers,
            scheduler=options.scheduler,
            worker_wait_s=options.worker_wait_s,
            allow_remote=options.allow_remote,
        )

    def geometries(self, store: Store) -> Dataset:
        """The start geometries; conformers of a SMILES are relaxed on the sampler."""
        return start_geometries(self.labelling(), store, self.starts, self.sampler)

    def rotors(self, known: Dataset) -> list[Torsion]:
        """Rotatable bonds of the molecule."""
        return torsions(self.numbers, known.positions[0])

    def turning(self, known: Dataset) -> list[Coordinate]:
        """Rotatable dihedrals that the user does not name."""
        found = [Coordinate("dihedral", bond.atoms) for bond in self.rotors(known)]
        return [one for one in found if one not in self.coordinates]

    def labels(self, geometries: Dataset, store: Store) -> Dataset:
        """Geometries with labels of the reference and their tags; those without one are left out.

        Raises:
            LabelError: none of them could be labelled.
        """
        found = label(self.labelling(geometries), store).dataset
        rows = found.tags["index"].astype(int)
        own = {name: values[rows] for name, values in geometries.tags.items()}
        return replace(found, tags=own)


def prepared(options: Learn) -> LearnJob:
    """Read the starts, open the potentials, and check everything.

    Raises:
        InputError: something cannot be used.
    """
    if len(options.family) != 1:
        raise InputError(f"family: expected one, found {len(options.family)}")
    if not options.temperatures_K:
        raise InputError("temperatures_K: expected at least one temperature, found none")
    known = None if options.dataset is None else files.read(options.dataset)
    first_count = _first_count(options, known)
    if options.first is None and first_count > options.budget_of_rounds:
        raise InputError(
            f"budget: expected at least {first_count + options.check_count}, two labels "
            f"per model of the committee and those of the checks, found {options.budget}"
        )
    if first_count > options.budget_of_rounds:
        raise InputError(
            f"first: expected at most budget - checks = {options.budget} - {options.check_count} = "
            f"{options.budget_of_rounds}, found {options.first_count}"
        )
    if options.committee < 2:
        raise InputError(
            "committee: expected at least 2 models, as their spread is the uncertainty, found 1"
        )
    if options.first_count < 2 * options.committee:
        raise InputError(
            f"first: expected at least {2 * options.committee}, two per model of the committee, "
            f"found {options.first_count}"
        )
    starts = read_starts(options.starts)
    common_masses(*frames_of(starts))
    for start in starts:
        options = following(options, start.electrons)
    numbers = starts[0].numbers
    notes: tuple[str, ...] = ()
    if known is not None:
        options = following(options, electrons_of(known))
        if known.provenance.level == "unknown":
            where, by = source_of(options.dataset), name_of(options.reference)
            notes = (f"{where}: does not say what its labels were made by; they count as {by}",)
        known = _known(known, options, numbers)
    given = options.reference
    reference = given if isinstance(given, str) else sendable(given)
    check_family(options.family[0], numbers)
    chosen = options.sampler or default_sampler(given, options.workers)
    sampler = open_potential(chosen, numbers, trust=options.trust)
    baselines = open_baselines(_baselines(options), numbers, options.trust)
    for one in baselines:
        check_baseline(one.potential, one.facts["baseline"])
    coordinates = biased_coordinates(options.coordinate, trust=options.trust)
    for named in coordinates:
        named.check(len(numbers))
    options.worker_options.check()
    return LearnJob(
        options=options,
        reference=reference,
        starts=starts,
        sampler=sampler,
        sampler_name=name_of(chosen),
        baselines=Baselines(baselines),
        coordinates=coordinates,
        bends=bends_within(coordinates, numbers, _geometry(starts[0])) if coordinates else [],
        known=known,
        notes=notes,
    )


def _first_count(options: Learn, known: Dataset | None) -> int:
    """Reference calculations before the first model, which known labels make fewer."""
    return max(0, options.first_count - (0 if known is None else len(known)))


def _known(data: Dataset, options: Learn, numbers: np.ndarray) -> Dataset:
    """Labels that there are already, with the tags `purpose` and `round`.

    Frames that an earlier learning drew at random are validation again; of labels without such, a
    share is drawn.

    Raises:
        InputError: they are of another molecule or level, or lack energies or forces.
    """
    where = source_of(options.dataset)
    check_molecule(numbers, data.numbers, where)
    check_same_level(data, where, "reference", options.reference)
    energies, forces = data.labels()
    purpose = data.tags.get(PURPOSE)
    judged = np.zeros(len(data), bool) if purpose is None else purpose.astype(str) == RANDOM
    if not judged.any():
        rng = np.random.default_rng([options.seed, 0, 9])
        judged = rng.permutation(len(data)) < round(options.random_share * len(data))
    provenance = replace(data.provenance, level=name_of(options.reference))
    tags = {PURPOSE: np.where(judged, RANDOM, KNOWN), "round": np.zeros(len(data), int)}
    return Dataset(numbers, data.positions, energies, forces, tags, provenance)


def _geometry(start: Start) -> np.ndarray:
    """A geometry (atoms, 3) of a start, whose bonds are those of its molecule."""
    if start.frames is None:
        from flexcalc.methods.conformers import embedded

        return embedded(start.source.removeprefix(files.SMILES)).positions[0]
    return start.frames.positions[0]


def bends_within(
    coordinates: Sequence[Coordinate], numbers: np.ndarray, positions: np.ndarray
) -> list[Coordinate]:
    """The angles at atoms with two bonds within dihedrals about bonds that are not rotatable.

    Args:
        coordinates: dihedrals and others.
        numbers, positions: (atoms,) and (atoms, 3), a geometry of the molecule.
    """
    pairs = bonds(numbers, positions)
    rotatable = {frozenset(bond.atoms[1:3]) for bond in torsions(numbers, positions)}
    found: list[Coordinate] = []
    for one in coordinates:
        if one.kind == "dihedral" and frozenset(one.atoms[1:3]) not in rotatable:
            for atoms in (one.atoms[:3], one.atoms[1:]):
                bend = Coordinate("angle", atoms)
                if np.sum(pairs == atoms[1]) == 2 and bend not in (*coordinates, *found):
                    found.append(bend)
    return found


def _baselines(options: Learn) -> list[PotentialLike]:
    """What the option stands for."""
    cheap = cheap_surface(options.reference)
    words = {"auto": [] if cheap is None else [cheap], "none": []}
    found: list[PotentialLike] = []
    for one in options.baseline:
        found += words.get(one, [one]) if isinstance(one, str) else [one]
    return found
