"""`flexcalc train`."""

from __future__ import annotations

from flexcalc.commands.face import command
from flexcalc.config.train import Train
from flexcalc.results.training import Training
from flexcalc.store import Store
from flexcalc.tasks import train as task


@command(Train, positional=("dataset", "family"))
def train(options: Train, store: Store) -> Training:
    """Train one or several model families on the same split of a dataset.

    Hyperparameters of the family, such as `sigma=20`, may be given as options; of a mixture's
    `of`, names of families or tables such as `{"kind": "sgdml", "sigma": 20}`. With an output
    `NAME.flex` the model is that folder, and all else is kept in `NAME-train`. With a `teacher`,
    its labels are kept in the folder `teacher`.

    Returns:
        The models with their errors on the validation frames. It can be called, saved, and handed
        to a `Calculator` as its first model.

    Example:
        >>> import flexcalc as fx
        >>> from ase.build import molecule
        >>> from ase.calculators.emt import EMT
        >>> frames = []
        >>> for seed in range(30):
        ...     frames.append(molecule("H2O", calculator=EMT()))
        ...     frames[-1].rattle(0.05, seed=seed)
        ...     _ = frames[-1].get_forces()
        >>> fit = fx.train(frames, "sgdml", points=20, sigma=10)
        >>> fit.training_points, fit.validation_points
        (20, 10)
        >>> fit([molecule("H2O").positions]).forces.shape
        (1, 3, 3)

    Source: the families name theirs; the selection of points and of hyperparameters follows
    Vassilev-Galindo et al., J. Chem. Phys. 154, 094119 (2021).
    """
    return task.train(options, store)
