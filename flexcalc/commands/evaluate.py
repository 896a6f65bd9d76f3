"""`flexcalc evaluate`: errors of potentials."""

from __future__ import annotations

from flexcalc.commands.face import command
from flexcalc.config.evaluate import Evaluate
from flexcalc.results.errors import Errors
from flexcalc.store import Store
from flexcalc.tasks import evaluate as task


@command(Evaluate)
def evaluate(options: Evaluate, store: Store) -> Errors:
    """Measure the errors of potentials on labelled frames, overall and by region.

    Returns:
        The errors in eV and eV/angstrom. Of several potentials those of the first, and those of
        each in `models`. For a trained model `domain` has the distances of the frames to its
        training set, and the errors inside and outside the domain in which it was calibrated.

    Example:
        >>> import flexcalc as fx
        >>> from ase.build import molecule
        >>> from ase.calculators.emt import EMT
        >>> frames = [molecule("H2O") for _ in range(5)]
        >>> for atoms in frames:
        ...     atoms.rattle(0.05)
        ...     atoms.calc = EMT()
        ...     force = atoms.get_forces()
        >>> errors = fx.evaluate(EMT(), frames, by="distance 0 1")
        >>> errors.forces.rmse < 1e-9
        True

    Source: bootstrap intervals by the percentile method, Efron and Tibshirani, An Introduction to
    the Bootstrap (1993), chapter 13.
    """
    return task.evaluate(options, store)
