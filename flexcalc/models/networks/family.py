"""The hyperparameters that all families of networks share, and the training that they steer."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self, cast

import numpy as np
from numpy.random import Generator

from flexcalc.dataset import Dataset
from flexcalc.errors import FileFormatError, InputError, MissingExtraError
from flexcalc.fields import INTERNAL, Batch, Count, Fraction, NonNegative, Positive, Seconds
from flexcalc.models.family import announce, check_sets
from flexcalc.potential import check_molecule
from flexcalc.progress import Progress, silent

if TYPE_CHECKING:
    from torch import nn

    from flexcalc.models.networks.potential import NetworkPotential


@dataclass(frozen=True, kw_only=True)
class NetworkFamily(ABC):
    """A family of networks: their construction, and hyperparameters of the training.

    A subclass adds the hyperparameters of its architecture and builds the network.
    """

    name: ClassVar[str]
    extra: ClassVar[str]
    """Extra of pyproject.toml that installs its packages."""

    epochs: Count = 2000
    """Maximum number of epochs (passes over the training points)."""
    batch_size: Batch = 10
    """Number of training points per step."""
    learning_rate: Positive = 1e-3
    """Initial learning rate."""
    schedule: Literal["plateau", "cosine"] = "plateau"
    """Schedule of the learning rate: `plateau` reduces it when the validation loss stops improving;
    `cosine` anneals it to the last epoch."""
    optimizer: Literal["adam", "adamw"] = "adam"
    """Optimiser: `adam`, or `adamw` with the weight decay below."""
    weight_decay: NonNegative = 0.01
    """Weight decay of `adamw`."""
    energy_weight: NonNegative = 0.01
    """Weight of the squared error of energies in the loss; energies and forces are divided by the
    same number, the standard deviation of the forces."""
    force_weight: Positive = 0.99
    """Weight of the squared error of force components in the loss."""
    plateau: Count = 50
    """Epochs without improvement of the validation loss before the learning rate is reduced."""
    decay: Fraction = 0.7
    """Factor by which the learning rate is reduced."""
    smallest_learning_rate: Positive = 1e-6
    """Learning rate below which training stops."""
    early_stopping: Count = 500
    """Epochs without improvement of the validation loss before training stops."""
    averaging: Fraction = 0.995
    """Decay of the exponential moving average of the weights per step; the average is validated and
    saved."""
    clip: Positive = 10.0
    """Gradient clipping: maximum norm of the gradient of the loss."""
    time_limit_min: Seconds | None = None
    """Time limit of training in minutes; with it, the result depends on the speed of the
    machine."""
    compiled: Literal["auto", "yes", "no"] = "auto"
    """Compile the training step: `auto` does so for long trainings if a compiler is found."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Device for training; `auto` is a GPU if torch finds one."""
    precision: Literal["float64", "float32"] = "float64"
    """Floating-point precision of the trained potential; training uses float32. Single precision
    takes about half the time. Its rounding errors in forces, 1e-5 eV/angstrom for ethanol, affect
    finite differences and tight relaxations."""
    fine_tuning: Fraction = 0.1
    """Factor of the learning rate in a training that starts from a trained network."""
    start_from: Annotated[str | None, INTERNAL] = None
    """Model folder of a trained network of this family and size, whose weights the training starts
    from; see `Train.start_from`."""

    @abstractmethod
    def build(self, numbers: np.ndarray, positions: np.ndarray) -> nn.Module:
        """A network with fresh weights, drawn from torch's global generator.

        Args:
            numbers: (atoms,) atomic numbers.
            positions: (frames, atoms, 3) in angstrom, the training points, for what depends on
                them (scales, say). A network that is loaded is built on one frame, and what was
                drawn from the points must be among its buffers.

        Returns:
            a module that maps positions (batch, atoms, 3) to energies (batch,), per unit of the
            scale of the labels, in the precision of its parameters.
        """

    def fast(self, network: nn.Module, dtype: Any) -> Any | None:
        """A faster form of a trained network for inference, or None.

        It maps a tensor of positions (batch, atoms, 3) to energies (batch,) and their gradient
        (batch, atoms, 3).
        """
        return None

    def on_processor(self, network: nn.Module, dtype: Any) -> Any | None:
        """A trained network as a `compiled.Compiled`, for inference on the processor, or None."""
        return None

    def size(self, atoms: int) -> int:
        """Values that are computed of a geometry, in units of what a pair of atoms takes.

        It bounds the geometries that are evaluated at a time.
        """
        return atoms**2

    def check(self, numbers: np.ndarray) -> None:
        """Refuse what cannot be trained on the molecule of `numbers` (atoms,).

        Raises:
            MissingExtraError: a package is not installed.
            InputError: there is no such device.
        """
        from importlib.util import find_spec

        for package in self.packages():
            if find_spec(package) is None:
                raise MissingExtraError(package, self.extra)
        from flexcalc.models.networks.potential import device

        device(self.device)
        self.start(numbers)

    def start(self, numbers: np.ndarray) -> NetworkPotential | None:
        """The trained network to start from, if there is one.

        Raises:
            FileFormatError: the folder is damaged, or of another family.
            InputError: the network is of another molecule, or of another size.
        """
        if self.start_from is None:
            return None
        from flexcalc.models.networks.potential import built

        found = type(self).load(Path(self.start_from))
        check_molecule(numbers, found.numbers, self.start_from)
        fresh, known = (
            {name: tuple(value.shape) for name, value in network.state_dict().items()}
            for network in (built(self, numbers), found.network)
        )
        if fresh != known:
            names = sorted(name for name in fresh | known if fresh.get(name) != known.get(name))
            raise InputError(
                f"{self.start_from}: its network has another size than that of this training "
                f"({names[0]}: {known.get(names[0])}, here {fresh.get(names[0])}); give this one "
                "the same hyperparameters"
            )
        return found

    @property
    def first_rate(self) -> float:
        """Learning rate at the beginning."""
        return self.learning_rate * (1.0 if self.start_from is None else self.fine_tuning)

    @classmethod
    def packages(cls) -> Sequence[str]:
        """Packages that the family needs."""
        return ("torch",)

    @property
    def forces_alone(self) -> bool:
        """It can learn from forces alone; see `ForcesFamily`."""
        return self.force_weight > 0

    @property
    def weighs_labels(self) -> bool:
        """Squared errors are multiplied with the weights of the frames; see `WeighingFamily`."""
        return True

    def candidates(self) -> Sequence[Self]:
        """Just itself: a network has no grid of hyperparameters."""
        return (self,)

    def fit(
        self,
        train: Dataset,
        validation: Dataset | None,
        rng: Generator,
        progress: Progress = silent,
    ) -> NetworkPotential:
        """Train; see `session`."""
        trained = self.session(train, validation, rng, progress).fit(self)
        announce(trained)
        return trained

    def session(
        self,
        train: Dataset,
        validation: Dataset | None,
        rng: Generator,
        progress: Progress = silent,
        folder: Path | None = None,
    ) -> NetworkSession:
        """Begin to train candidates on one dataset.

            Args:
                train: the training points, with forces; energies may be missing.
                validation: judges when to reduce the step size, when to stop, and which weights
                    are the best; without any the training loss does.
                rng: draws the first weights and the order of the points.
                progress: called with the epochs and the validation errors.
        folder: for checkpoints, from which the training resumes exactly.

            Raises:
                InputError: a package is missing, or the datasets cannot be trained on.
                FileFormatError: a dataset has no labels.
                MoleculeError: the datasets are of different molecules.
        """
        check_sets(self, train, validation)
        if float(np.std(train.force_labels())) == 0.0:
            raise InputError(f"{self.name} needs training points whose forces differ")
        self.check(train.numbers)
        return NetworkSession(train, validation, int(rng.integers(2**62)), progress, folder)

    @classmethod
    def load(cls, folder: Path) -> NetworkPotential:
        """Read a model folder.

        Raises:
            FileFormatError: damaged, of another family, or its weights do not fit.
            InputError: a package is missing.
        """
        from flexcalc.models.folder import read_model

        facts, arrays = read_model(folder, cls.name)
        # JSON has lists where a family has tuples. Where it was trained, a GPU say, does not
        # matter any more.
        values = {
            key: tuple(value) if isinstance(value, list) else value
            for key, value in facts["hyperparameters"].items()
        }
        try:
            family = cast(Any, cls)(**values | {"device": "auto"})
        except TypeError as error:
            raise FileFormatError(f"{folder}: hyperparameters: {error}") from None
        # What it started from need not be there any more.
        replace(family, start_from=None).check(np.array(facts["numbers"]))
        from flexcalc.models.networks.potential import NetworkPotential

        return NetworkPotential.from_arrays(family, facts, arrays, folder)


@dataclass(eq=False)
class NetworkSession:
    """Trains networks on one dataset; see `NetworkFamily.session`."""

    train: Dataset
    validation: Dataset | None
    seed: int
    progress: Progress
    folder: Path | None
    trained: int = 0

    def fit(self, candidate: NetworkFamily) -> NetworkPotential:
        """Train a network."""
        from flexcalc.models.networks.trainer import Trainer

        place = None if self.folder is None else self.folder / f"network-{self.trained}"
        trainer = Trainer(candidate, self.train, self.validation, self.seed, place)
        potential = trainer.run(self.progress)
        self.trained += 1
        return potential
