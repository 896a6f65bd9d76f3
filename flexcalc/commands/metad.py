"""`flexcalc metad`."""

from __future__ import annotations

from flexcalc.commands.face import command
from flexcalc.config.dynamics import Metad
from flexcalc.results.free_energy import FreeEnergySurface
from flexcalc.store import Store
from flexcalc.tasks import metad as task


@command(Metad, positional=("model", "start", "coordinate"))
def metad(options: Metad, store: Store) -> FreeEnergySurface:
    """Run metadynamics of walkers that share one bias, for a free-energy surface.

    Returns:
        The surface, and a verdict on whether the coordinates drove the transition. Where a guard
        stops the run, or a walker leaves the grid, `stopped` says why.

    Example:
        >>> import flexcalc as fx
        >>> from ase.build import molecule
        >>> from ase.calculators.emt import EMT
        >>> surface = fx.metad(
        ...     EMT(), molecule("H2O"), "distance 0 1", grid_min=0.5, grid_max=3.0, steps=200,
        ...     pace=50, keep_bonds=False,
        ... )
        >>> surface.hills
        4

    Source: Laio and Parrinello, PNAS 99, 12562 (2002); Barducci, Bussi and Parrinello, Phys. Rev.
    Lett. 100, 020603 (2008).
    """
    return task.metad(options, store)
