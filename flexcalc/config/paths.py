"""Options of paths, saddles and networks of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from flexcalc.analysis.rates import LowModes
from flexcalc.config.shared import MapsAtoms, OpensPotentials
from flexcalc.fields import Batch, Count, GeometryLike, Natural, Positive, PotentialLike
from flexcalc.methods.irc import IRC
from flexcalc.methods.path import NEB, PathMethod
from flexcalc.methods.saddle import RFO


@dataclass(frozen=True, kw_only=True)
class SaddleAndRates:
    """Options of a saddle search: refinement, reaction path downhill, rates."""

    panel: ClassVar[str] = "Saddle and rates"

    refinement: RFO = field(default_factory=RFO)
    """Optimiser of the saddle."""
    follow: bool = True
    """Follow the direction of a path from its highest image to the saddle, in internal coordinates
    and without Hessians; `refinement` takes over where that fails. Without it, or where the guess
    is no path, `refinement` starts at once."""
    descent: IRC = field(default_factory=IRC)
    """Integration of the intrinsic reaction coordinate, downhill from the saddle."""
    temperatures_K: tuple[Positive, ...] = (298.15,)
    """Temperatures of the rates, in kelvin; results.json has the rates at the first."""
    low_modes: LowModes = "harmonic"
    """Vibrations below 100 cm^-1: `harmonic`, or hindered rotors with a bounded moment of inertia.
    The bound is the molecule's mean for `quasi-rrho` (as in xtb and ORCA), and 1e-44 kg m^2 for
    `quasi-rrho-grimme` (as in Grimme's paper and GoodVibes)."""
    symmetry_start: Count = 1
    """Rotational symmetry number of the first minimum; 2 for cis-azobenzene."""
    symmetry_end: Count = 1
    """Rotational symmetry number of the last minimum."""
    symmetry_saddle: Count = 1
    """Rotational symmetry number of the saddle."""


@dataclass(frozen=True, kw_only=True)
class PathSearch(SaddleAndRates, MapsAtoms, OpensPotentials):
    """Find a path between two geometries, and its barrier."""

    positional: ClassVar[tuple[str, ...]] = ("model", "start", "end")
    usual: ClassVar[tuple[str, ...]] = ("method", "images", "relabel", "saddle")
    changeable: ClassVar[tuple[str, ...]] = ("steps",)

    model: PotentialLike
    """Potential to search on."""
    start: GeometryLike | None = None
    """First geometry; the last frame of a file is used. Without `end`: the initial path, or the
    only geometry of a scan that gives its own end values."""
    end: GeometryLike | None = None
    """Last geometry. Identical atoms are permuted to match the start, unless start and end differ
    by such a permutation alone (a degenerate rearrangement)."""
    starts: tuple[GeometryLike, ...] = ()
    """First geometries of several paths, in place of `start` and `end`: all frames of the files.
    The paths are searched in one batch, which each leaves when it is finished, or, on a kernel
    model, in a batch for each core."""
    ends: tuple[GeometryLike, ...] = ()
    """Last geometries of these paths, one for each first geometry; by default there are paths
    between all pairs of `starts`."""
    method: PathMethod = field(default_factory=NEB)
    """Path method."""
    relax_ends: bool = True
    """Relax both endpoints on the potential first."""
    relabel: PotentialLike | None = None
    """Reference method to evaluate along the path, for the error of the barrier."""
    equivalents: bool = False
    """Also write the symmetry-equivalent paths, with identical atoms permuted: by the symmetry
    group of the model, or else of the bond graph."""
    saddle: bool = False
    """Find the saddle of the path, follow the reaction path downhill from it, and compute rates."""
    follow_below_eV_A: Positive = 0.5
    """With `saddle` and `follow`: force perpendicular to the path below which a band or string is
    left for its saddle, in eV/angstrom. Where the saddle does not join the ends, the search of the
    path goes on until it converges."""
    adaptive: bool = True
    """With `saddle` and `follow`: begin with 5 images, or as many as the bends of the initial path
    need, and add two next to the highest where the direction to the saddle is lost. If no saddle
    joins the ends then, the search begins again with all images, as without this option."""
    assist: PotentialLike | None = None
    """With `saddle`: cheap potential, such as `xtb:GFN2-xTB`, for a search on an expensive `model`,
    such as DFT. The search is done on the cheap potential with a correction that is trained on the
    way. `model` labels only the saddle and minima of each round, until its own forces there are
    small; path, Hessians and descent are those of the corrected potential."""
    assist_rounds: Count = 20
    """With `assist`: maximum number of rounds."""
    refine: Natural = 0
    """Maximum number of rounds that label the worst images with `relabel`, retrain the model with
    them, and search again."""
    dataset: GeometryLike | None = None
    """Labelled frames that the model was trained on, for `refine`."""
    refine_images: Count = 3
    """Number of images that each round adds, including the highest; saddle and minima are added
    too."""
    barrier_tolerance_kcal_mol: Positive = 0.5
    """Stop retraining when the error of the barrier is below this, in kcal/mol."""
    steps: Count = 1000
    """Maximum number of steps."""
    seed: Natural = 0
    """Seed of all random numbers."""


@dataclass(frozen=True, kw_only=True)
class SaddleSearch(SaddleAndRates, MapsAtoms, OpensPotentials):
    """Refine a guess to a saddle, find the minima that it connects, and compute rates."""

    positional: ClassVar[tuple[str, ...]] = ("model", "guess", "start", "end")
    usual: ClassVar[tuple[str, ...]] = ("relabel", "temperatures_K")
    changeable: ClassVar[tuple[str, ...]] = ("steps",)

    model: PotentialLike
    """Potential to search on."""
    guess: GeometryLike
    """Geometry near the saddle; of a path, the highest frame is used."""
    start: GeometryLike | None = None
    """First minimum, to identify the minima found downhill; the last frame of a file is used."""
    end: GeometryLike | None = None
    """Last minimum, likewise."""
    relabel: PotentialLike | None = None
    """Reference method to evaluate at the saddle and at both minima."""
    steps: Count = 200
    """Maximum number of steps to the saddle."""


@dataclass(frozen=True, kw_only=True)
class NetworkSearch(OpensPotentials):
    """Find the minima of a molecule, the saddles between them, and the rates over these."""

    positional: ClassVar[tuple[str, ...]] = ("model", "*starts")
    usual: ClassVar[tuple[str, ...]] = ("turned", "relabel", "temperature_K")
    changeable: ClassVar[tuple[str, ...]] = ()

    model: PotentialLike
    """Potential to search on."""
    starts: tuple[GeometryLike, ...]
    """Geometries to begin with: files, such as a trajectory, or smiles:TEXT for conformers. Minima
    that are found behind saddles are added."""
    conformers: Batch = 30
    """Maximum number of conformers of a smiles: start, lowest energy first."""
    turned: Natural = 100
    """Further geometries to begin with, whose rotatable bonds are turned at random."""
    max_energy_kcal_mol: Positive = 10.0
    """Energy above the lowest geometry up to which minima are of interest, in kcal/mol."""
    max_barrier_kcal_mol: Positive = 40.0
    """The same of saddles."""
    max_minima: Count = 40
    """Maximum number of minima; mirror images are one."""
    max_pairs: Count = 80
    """Maximum number of pairs of minima between which a path is searched in a round: first near
    pairs that join all minima, then other near ones. All paths are one batch."""
    rounds: Count = 3
    """Rounds of searches; those after the first join parts that no saddle joins yet."""
    temperature_K: Positive = 298.15
    """Temperature of Gibbs energies, populations and rates, in kelvin."""
    low_modes: LowModes = "harmonic"
    """Vibrations below 100 cm^-1, as for `flexcalc saddle`."""
    relabel: PotentialLike | None = None
    """Reference method to evaluate at all minima and saddles; results say which barriers hold."""
    seed: Natural = 0
    """Seed of all random numbers."""
