"""The GAP family: hyperparameters, training, loading."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from itertools import combinations_with_replacement
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
from numpy.random import Generator

from flexcalc.dataset import Dataset
from flexcalc.errors import ConfigError
from flexcalc.fields import Count, Natural, NonNegative, Order, Positive, Width
from flexcalc.models.family import check_sets, errors
from flexcalc.models.folder import read_model
from flexcalc.models.gap.fitting import Sigmas, frames_of, run, sparse_counts, spread
from flexcalc.models.gap.potential import GAPPotential
from flexcalc.models.gap.quip import require_quippy
from flexcalc.models.gap.xml import LARGEST
from flexcalc.models.training_set import read_training_set
from flexcalc.progress import Progress, silent
from flexcalc.storage import read_file

MEASURED = 200
"""Training frames that the errors at training time are taken over."""
SOFTEST = 0.1
"""Least factor on the sigmas of a frame with small forces."""
OURS = frozenset(
    {
        # what is fitted, and where it goes
        *("at_file", "atoms_filename", "gp_file", "gap_file", "config_file", "template_file"),
        *("do_copy_at_file", "do_copy_atoms_file", "sparse_separate_file"),
        *("energy_parameter_name", "force_parameter_name"),
        # what fields stand for
        *("gap", "sparse_jitter", "default_sigma", "default_kernel_regularisation"),
        *("e0", "e0_method", "rnd_seed"),
    }
)
"""Arguments of gap_fit that fields stand for, or that the training sets itself."""


@dataclass(frozen=True, kw_only=True)
class GAP:
    """Gaussian approximation potential on SOAP, fitted by gap_fit.

    The defaults were tuned on 200 frames of ethanol and malonaldehyde from rMD17
    (benchmarks/gap.py). Those of published comparisons of flexible molecules are
    `gap-study` (`StudyGAP`): slower, and far less accurate, because they trust forces little.

    Source: Bartok, Payne, Kondor, Csanyi, Phys. Rev. Lett. 104, 136403 (2010),
    doi:10.1103/PhysRevLett.104.136403; Bartok, Kondor, Csanyi, Phys. Rev. B 87, 184115 (2013),
    doi:10.1103/PhysRevB.87.184115; Klawohn et al., J. Chem. Phys. 159, 174108 (2023),
    doi:10.1063/5.0160898 (gap_fit).
    """

    name: ClassVar[str] = "gap"

    cutoff: Positive | None = None
    """Cutoff radius of an atom's environment, in angstrom; by default the best of `cutoffs`."""
    cutoffs: tuple[Positive, ...] = (5.0,)
    """Cutoffs in angstrom to try if `cutoff` is not set."""
    cutoff_transition_width: Positive = 0.5
    """Width of the smooth transition at the cutoff, in angstrom."""
    zeta: Positive = 2.0
    """Exponent of the dot-product kernel; higher ones discriminate environments more sharply."""
    delta: Positive = 1.0
    """Standard deviation of the energies of atoms, in eV."""
    atom_sigma: Positive = 0.4
    """Width of the Gaussian density of a neighbour, in angstrom."""
    n_max: Width = 8
    """Number of radial functions of the SOAP expansion."""
    l_max: Order = 4
    """Maximum degree of the spherical harmonics of the SOAP expansion."""
    n_sparse: Count = 1000
    """Number of sparse points per element, at most that of its environments."""
    sparse_method: Literal["cur_points", "cur_covariance", "random", "covariance"] = "cur_points"
    """Selection of sparse points among the environments."""
    covariance_type: Literal["dot_product", "ard_se"] = "dot_product"
    """Kernel of environments; `ard_se` needs `soap_extra = "theta_uniform=1.0"`."""
    energy_sigma: Positive = 0.001
    """Expected error of the energies, in eV per atom; that of a molecule is larger by the square
    root of the number of atoms."""
    force_sigma: Positive = 0.01
    """Expected error of the force components, in eV/angstrom."""
    sigma_per_frame: bool = False
    """Scale both sigmas of a frame by its RMS force, relative to that of all frames, but by at
    least 0.1, so that frames with large forces are fitted less tightly."""
    sparse_jitter: NonNegative = 1e-10
    """Added to the diagonal of the covariance of the sparse points."""
    e0: tuple[str, ...] = ()
    """Energies of isolated atoms in eV, such as "H:-13.6"; by default the average energy per
    atom."""
    distance_2b: bool = False
    """Add a two-body descriptor, the distances of pairs of atoms."""
    delta_2b: Positive = 1.0
    """Standard deviation of the energies of pairs, in eV."""
    theta_2b: Positive = 1.0
    """Length scale of the two-body kernel, in angstrom."""
    n_sparse_2b: Count = 50
    """Number of sparse points per pair of elements."""
    soap_extra: str = ""
    """More parameters of the SOAP descriptor, in gap_fit's syntax."""
    extra: str = ""
    """More arguments of gap_fit, such as "config_type_parameter_name=kind"."""
    seed: Natural | None = None
    """Seed of gap_fit's random choices; by default drawn from the seed of the training."""

    def candidates(self) -> Sequence[GAP]:
        """One family for each cutoff to try; only itself if the cutoff is set."""
        cutoffs = sorted(self.cutoffs) if self.cutoff is None else (self.cutoff,)
        return tuple(replace(self, cutoff=cutoff, cutoffs=()) for cutoff in cutoffs)

    def check(self, numbers: np.ndarray) -> None:
        """Refuse invalid hyperparameters, or those that do not match the molecule (atoms,).

        Raises:
            ConfigError: an additional argument is invalid or has its own field; or `e0` does not
                have exactly the elements of the molecule.
            MissingExtraError: quippy-ase is not installed.
        """
        require_quippy()
        if self.cutoff is None and not self.cutoffs:
            raise ConfigError("cutoffs: expected at least one, or a cutoff")
        _split_arguments("extra", self.extra, OURS)
        own = ("cutoff", "cutoff_transition_width", "zeta", "delta", "atom_sigma", "n_max", "l_max")
        rest = ("n_sparse", "sparse_method", "covariance_type", "Z", "species_Z", "n_species")
        _split_arguments("soap_extra", self.soap_extra, frozenset((*own, *rest, "add_species")))
        if self.e0:
            given, needed = set(_e0(self.e0)), set(_symbols(numbers))
            if given != needed:
                raise ConfigError(
                    f"e0: expected an energy of each of {', '.join(sorted(needed))}, found "
                    f"{', '.join(sorted(given))}"
                )

    def fit(
        self,
        train: Dataset,
        validation: Dataset | None,
        rng: Generator,
        progress: Progress = silent,
    ) -> GAPPotential:
        """Train with the cutoff that is set.

        Args:
            train: the training points, with energies and forces.
            validation: further labelled frames, to measure errors on; or None.
            rng: seeds gap_fit, unless `seed` is set.
            progress: called with the steps of gap_fit.

        Raises:
            ConfigError: the cutoff is not set, or a hyperparameter does not fit.
            InputError: gap_fit failed, or needs more memory than available.
            FileFormatError: a dataset has no labels.
            MissingExtraError: quippy-ase is not installed.
            MoleculeError: the datasets are of different molecules.
        """
        self._check(train, validation)
        seed = int(rng.integers(1, 2**31 - 1)) if self.seed is None else self.seed
        descriptors = self._descriptors(train)
        frames = frames_of(train, self._sigmas(train))
        files, log = run(self._arguments(descriptors, seed), frames, len(descriptors), progress)
        log.check_labels(*train.positions.shape[:2])
        potential = GAPPotential(numbers=train.numbers, files=files)
        sets = {"training": train[spread(len(train), MEASURED)]}
        if validation is not None and len(validation):
            sets["validation"] = validation
        potential.facts = {
            "hyperparameters": {k: v for k, v in asdict(self).items() if k != "cutoffs"},
            "training_sha256": train.sha256(),
            "training_points": len(train),
            "sparse_points": sparse_counts(files),
            "gap_fit": {"seed": seed, "version": log.version(), "peak_MB": log.peak_mb},
            "level": train.provenance.level,
            "errors": {
                name: errors(potential(part.positions), part) for name, part in sets.items()
            },
            "warnings": log.warnings,
        }
        return potential

    @classmethod
    def load(cls, folder: Path) -> GAPPotential:
        """Read a model folder.

        Raises:
            FileFormatError: damaged, or of another family.
            MissingExtraError: quippy-ase is not installed.
        """
        folder = Path(folder)
        facts, arrays = read_model(folder, cls.name)
        names = [name for name in facts["files"] if not name.endswith(".safetensors")]
        potential = GAPPotential(
            numbers=np.array(facts["numbers"]),
            files={name: read_file(folder / name, LARGEST) for name in names},
            facts=facts,
            init_args=str(facts.get("init_args", "")),
            where=folder,
        )
        potential.training_set = read_training_set(folder, potential.numbers, arrays)
        return potential

    def _check(self, train: Dataset, validation: Dataset | None) -> None:
        """Refuse datasets that cannot be used for training, before any work."""
        check_sets(self, train, validation)
        if self.cutoff is None:
            raise ConfigError(
                "cutoff is not set: set it, or let training.tuning.fit_best choose from cutoffs"
            )
        self.check(train.numbers)

    def _descriptors(self, train: Dataset) -> list[str]:
        """A SOAP per element, as gap_fit would create them, but with at most the existing sparse
        points.

        gap_fit allocates memory for the requested number of sparse points.
        """
        numbers, counts = np.unique(train.numbers, return_counts=True)
        listed = " ".join(str(number) for number in numbers)
        zeta = f"zeta={self.zeta!r} " if self.covariance_type == "dot_product" else ""
        soap = (
            f"soap add_species=F n_species={len(numbers)} species_Z={{{{{listed}}}}} "
            f"cutoff={self.cutoff!r} cutoff_transition_width={self.cutoff_transition_width!r} "
            f"{zeta}delta={self.delta!r} atom_sigma={self.atom_sigma!r} "
            f"n_max={self.n_max} l_max={self.l_max} sparse_method={self.sparse_method} "
            f"covariance_type={self.covariance_type}"
        )
        found = [
            f"{soap} Z={number} n_sparse={min(self.n_sparse, count * len(train))} {self.soap_extra}"
            for number, count in zip(numbers.tolist(), counts.tolist(), strict=True)
        ]
        if self.distance_2b:
            found += self._pairs(dict(zip(numbers.tolist(), counts.tolist(), strict=True)))
        return [line.strip() for line in found]

    def _pairs(self, counts: dict[int, int]) -> list[str]:
        return [
            f"distance_2b add_species=F Z1={one} Z2={other} cutoff={self.cutoff!r} "
            f"delta={self.delta_2b!r} theta_uniform={self.theta_2b!r} covariance_type=ard_se "
            f"sparse_method=uniform n_sparse={self.n_sparse_2b}"
            for one, other in combinations_with_replacement(counts, 2)
            if one != other or counts[one] > 1
        ]

    def _arguments(self, descriptors: Sequence[str], seed: int) -> list[str]:
        e0 = ":".join(f"{symbol}:{energy!r}" for symbol, energy in _e0(self.e0).items())
        return [
            f"gap={{{' : '.join(descriptors)}}}",
            f"default_sigma={{{self.energy_sigma!r} {self.force_sigma!r} 0 0}}",
            f"sparse_jitter={self.sparse_jitter!r}",
            f"e0={{{e0}}}" if e0 else "e0_method=average",
            "energy_parameter_name=energy",
            "force_parameter_name=forces",
            f"rnd_seed={seed}",
            *_split_arguments("extra", self.extra, OURS),
        ]

    def _sigmas(self, train: Dataset) -> list[Sigmas] | None:
        """Sigmas of each frame; gap_fit expects those of energies per frame, not per atom."""
        if not self.sigma_per_frame:
            return None
        forces = train.force_labels()
        sizes = np.sqrt(np.mean(forces**2, axis=(1, 2)))
        mean = float(np.sqrt(np.mean(forces**2))) or 1.0
        factors = np.maximum(sizes / mean, SOFTEST).tolist()
        whole = self.energy_sigma * len(train.numbers) ** 0.5
        return [
            {"energy_sigma": whole * factor, "force_sigma": self.force_sigma * factor}
            for factor in factors
        ]


@dataclass(frozen=True, kw_only=True)
class StudyGAP(GAP):
    """GAP with the settings of the study of glycine and azobenzene.

    Source: Vassilev-Galindo, Fonseca, Poltavsky, Tkatchenko, J. Chem. Phys. 154, 094119 (2021),
    doi:10.1063/5.0038516; otherwise the same as `GAP`, as which its models are saved.
    """

    delta: Positive = 0.25
    """Standard deviation of the energies of atoms, in eV."""
    atom_sigma: Positive = 0.3
    """Width of the Gaussian density of a neighbour, in angstrom."""
    n_max: Width = 12
    """Number of radial functions of the SOAP expansion."""
    l_max: Order = 6
    """Maximum degree of the spherical harmonics of the SOAP expansion."""
    n_sparse: Count = 4000
    """Number of sparse points per element, at most that of its environments."""
    force_sigma: Positive = 0.2
    """Expected error of the force components, in eV/angstrom."""


def _split_arguments(where: str, text: str, reserved: frozenset[str]) -> list[str]:
    """Split additional arguments into a list.

    Raises:
        ConfigError: one is not `name=value`, or has its own field.
    """
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise ConfigError(f"{where}: {error}") from None
    for word in words:
        name, equals, _ = word.partition("=")
        if not equals or not name.isidentifier():
            raise ConfigError(f"{where}: expected name=value, found {word!r}")
        if name in reserved:
            raise ConfigError(f"{where}: {name} cannot be set here; it is set by its own field")
    return words


def _e0(entries: Sequence[str]) -> dict[str, float]:
    found = {}
    for entry in entries:
        symbol, _, text = entry.partition(":")
        try:
            found[symbol.strip()] = float(text)
        except ValueError:
            raise ConfigError(
                f'e0: expected an element and its energy, such as "H:-13.6", found {entry!r}'
            ) from None
    return found


def _symbols(numbers: np.ndarray) -> list[str]:
    from ase.data import chemical_symbols

    return [chemical_symbols[number] for number in np.unique(numbers)]
