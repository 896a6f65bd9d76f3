"""`flexcalc label`: geometries with energies and forces of a reference method."""

from __future__ import annotations

from flexcalc.commands.face import command
from flexcalc.config.label import Label
from flexcalc.results.labels import Labels
from flexcalc.store import Store
from flexcalc.tasks import label as task


@command(Label)
def label(options: Label, store: Store) -> Labels:
    """Sample geometries of a molecule and label them with a reference method.

    Labels are computed in worker processes, to which a reference that is given as an object is
    copied; one that cannot be copied is refused, and its address will do instead. Geometries for
    which there is no label are in quarantine, with the reason.

    Returns:
        The labelled frames, which can be given wherever a dataset is wanted.

    Example:
        >>> import flexcalc as fx
        >>> from ase.build import molecule
        >>> from ase.calculators.emt import EMT
        >>> data = fx.label(EMT(), molecule("H2O"), samples="displacement", frames=4)
        >>> len(data), data.forces.shape
        (4, (4, 3, 3))

    Source: frames of dynamics are kept an autocorrelation time apart, Chodera et al., J. Chem.
    Theory Comput. 3, 26 (2007), doi:10.1021/ct0502864.
    """
    return task.label(options, store)
