"""`flexcalc path`."""

from __future__ import annotations

from flexcalc.commands.face import command
from flexcalc.config.paths import PathSearch
from flexcalc.results.path import Path
from flexcalc.results.paths import Paths
from flexcalc.store import Store
from flexcalc.tasks import path as task


@command(PathSearch)
def path(options: PathSearch, store: Store) -> Path | Paths:
    """Find a minimum-energy path between two geometries, and its barrier; or several in one batch.

    Returns:
        The path with its images, energies and barrier; with `relabel` also the errors against
        the reference, with `saddle` the saddle and the rates, with `refine` the rounds. With
        `starts` a `Paths`, whose `paths` are such results.

    Example:
        >>> import flexcalc as fx
        >>> from ase.build import molecule
        >>> from ase.calculators.emt import EMT
        >>> up = molecule("NH3")
        >>> down = up.copy()
        >>> down.positions[:, 2] *= -1
        >>> inversion = fx.path(EMT(), up, down, method=fx.NEB(images=5))
        >>> inversion.converged, inversion.degenerate, len(inversion.images)
        (True, True, 5)

    Source: the path methods name theirs, such as `help(flexcalc.NEB)`.
    """
    return task.path(options, store)
