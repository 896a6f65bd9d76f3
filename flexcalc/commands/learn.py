"""`flexcalc learn`."""

from __future__ import annotations

from flexcalc.commands.face import command
from flexcalc.config.learn import Learn
from flexcalc.results.learning import Learning
from flexcalc.store import Store
from flexcalc.tasks import learn as task


@command(Learn)
def learn(options: Learn, store: Store) -> Learning:
    """Learn a force field of a molecule by itself: explore, label where unsure, train, repeat.

    A first set of geometries is sampled and labelled. Then every round trains a committee, runs
    replicas of dynamics on it (at several temperatures, some with rotatable bonds turned at random,
    some driven along coordinates), searches bands between the minima that it has, and labels a
    batch of what was visited: a share of the dynamics at random, which tests the model, the others
    where the models of the committee differ and the geometries are new. It ends when the errors on
    random new frames have stayed below the targets, or when the budget is spent. The last labels
    check minima and barriers, and then the final model is trained on all. A crash test runs its
    dynamics from its minima.

    Returns:
        The model with all labels and a row for each round, minimum and barrier; it can be used as
        a potential.

    Example:
        >>> import flexcalc as fx
        >>> from ase.build import molecule
        >>> from ase.calculators.emt import EMT
        >>> learned = fx.learn(
        ...     molecule("H2O"), reference=EMT(), budget=32, checks=2, first=20, batch=10,
        ...     replicas=4, time_ps=0.05, sigma=10.0,
        ... )
        >>> learned.labels, learned.round_count
        (31, 1)

    Sources: committees in active learning, Schran, Brezina and Marsalek, J. Chem. Phys. 153, 104105
    (2020), doi:10.1063/5.0016004; selection of batches, Holzmueller et al., J. Mach. Learn. Res.
    24, 164 (2023), arXiv:2203.09410.
    """
    return task.learn(options, store)
