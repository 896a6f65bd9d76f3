"""`flexcalc umbrella`."""

from __future__ import annotations

from flexcalc.commands.face import command
from flexcalc.config.dynamics import UmbrellaSampling
from flexcalc.results.free_energy import FreeEnergyProfile
from flexcalc.store import Store
from flexcalc.tasks import umbrella as task


@command(UmbrellaSampling, positional=("model", "start", "coordinate"))
def umbrella(options: UmbrellaSampling, store: Store) -> FreeEnergyProfile:
    """Run umbrella sampling, all windows in one batch, for a free-energy profile with errors.

    Returns:
        The profile by MBAR, with standard errors and the overlap of the windows. Where a guard
        stops the run, `stopped` says why, and there is no profile.

    Example:
        >>> import flexcalc as fx
        >>> from ase.build import molecule
        >>> from ase.calculators.emt import EMT
        >>> profile = fx.umbrella(
        ...     EMT(), molecule("H2O"), "distance 0 1", low=0.9, high=1.1, windows=3,
        ...     steps=300, equilibration=100, keep_bonds=False,
        ... )
        >>> profile.windows
        3

    Source: Torrie and Valleau, J. Comput. Phys. 23, 187 (1977); Shirts and Chodera, J. Chem. Phys.
    129, 124105 (2008).
    """
    return task.umbrella(options, store)
