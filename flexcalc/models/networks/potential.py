"""A trained network as a potential."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, cast

import numpy as np
import torch
from torch import nn

from flexcalc.errors import FileFormatError, InputError
from flexcalc.models.facts import ModelFacts
from flexcalc.models.family import TrainedPotential
from flexcalc.models.folder import ModelContent
from flexcalc.models.networks.recording import Replayed
from flexcalc.models.training_set import TrainingSet, read_training_set, training_set_arrays
from flexcalc.potential import Evaluation
from flexcalc.threads import cores, each

if TYPE_CHECKING:
    from flexcalc.models.networks.family import NetworkFamily

LARGEST_BATCH = 4096
"""Number of pairs of atoms evaluated at once, whose data should fit in the CPU cache."""
LARGEST_ON_GPU = 1 << 20
"""The same on a GPU, where memory is the limit; an estimate, never tried on one."""


def device(name: str) -> torch.device:
    """The device of that name; `auto` is a GPU where torch finds one.

    Raises:
        InputError: there is no GPU that torch can use.
    """
    found = torch.cuda.is_available()
    if name == "cuda" and not found:
        raise InputError('device = "cuda": torch finds no GPU here; set device = "cpu"')
    return torch.device("cuda" if found and name != "cpu" else "cpu")


def built(
    family: NetworkFamily, numbers: np.ndarray, positions: np.ndarray | None = None, seed: int = 0
) -> nn.Module:
    """A family's network with fresh weights; torch's own generator is left as it was.

    Args:
        family: builds it.
        numbers: (atoms,) atomic numbers.
        positions: (frames, atoms, 3) in angstrom, the training points; any, where the weights are
            to be replaced.
        seed: of the weights.
    """
    if positions is None:
        positions = np.arange(3.0 * len(numbers)).reshape(1, -1, 3)
    with torch.random.fork_rng():
        torch.manual_seed(seed % 2**63)
        return family.build(numbers, positions)


def differentiated(
    energy: Callable[[torch.Tensor], torch.Tensor], positions: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Energies (batch,) of positions (batch, atoms, 3), and their gradient (batch, atoms, 3)."""
    with torch.enable_grad():
        positions = positions.detach().requires_grad_()
        energies = energy(positions)
        (gradient,) = torch.autograd.grad(energies.sum(), positions)
    return energies.detach(), gradient


def in_parts(
    evaluate: Callable[[torch.Tensor], tuple[torch.Tensor, ...]],
    positions: np.ndarray,
    device: torch.device,
    dtype: torch.dtype,
    size: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Evaluate a batch (batch, atoms, 3) in parts that fit the cache.

    Args:
        evaluate: maps a part to energies (rows,) and an array (rows, atoms, 3).
        positions: (batch, atoms, 3) in angstrom.
        device, dtype: where the parts go, and their precision.
        size: pairs of atoms, or as much work as so many pairs are, in a row.

    Returns:
        energies (batch,) and the arrays (batch, atoms, 3), in float64.
    """
    energies, vectors = np.empty(len(positions)), np.empty(positions.shape)

    def part(start: int, rows: int) -> None:
        there = slice(start, start + rows)
        # Relative to the centre, single precision has the most digits.
        centred = positions[there] - positions[there].mean(axis=1, keepdims=True)
        energy, vector = evaluate(torch.tensor(centred, dtype=dtype, device=device))
        energies[there] = energy.double().cpu().numpy()
        vectors[there] = vector.double().cpu().numpy()

    if device.type != "cpu":
        rows = max(1, LARGEST_ON_GPU // size)
        for start in range(0, len(positions), rows):
            part(start, rows)
        return energies, vectors
    # Operations on so few atoms are faster on one thread; the cores take parts of the batch.
    rows = max(1, min(LARGEST_BATCH // size, -(-len(positions) // cores())))
    each(lambda start: _alone(part, start, rows), range(0, len(positions), rows))
    return energies, vectors


def _alone(part: Callable[[int, int], None], start: int, rows: int) -> None:
    """Evaluate a part on this thread, which shares its work with no other."""
    threads = torch.get_num_threads()  # of this thread, not of the process
    try:
        torch.set_num_threads(1)
        part(start, rows)
    finally:
        torch.set_num_threads(threads)


class NetworkPotential(TrainedPotential):
    """Energies and forces of a network, constant + scale * network(positions).

    Args:
        family: its hyperparameters.
        numbers: (atoms,) atomic numbers.
        network: maps positions (batch, atoms, 3) to energies (batch,).
        constant, scale: in eV; the sum is taken in float64.
        facts: see `TrainedPotential`.
    """

    def __init__(
        self,
        family: NetworkFamily,
        numbers: np.ndarray,
        network: nn.Module,
        constant: float,
        scale: float,
        facts: ModelFacts,
    ):
        self.family, self.numbers = family, np.asarray(numbers, dtype=int)
        self.constant, self.scale, self.facts = constant, scale, facts
        self.dtype = getattr(torch, family.precision)
        self.device = device(family.device)
        self._weights = {key: value.cpu() for key, value in network.state_dict().items()}
        self.network = network.to(self.device, self.dtype).requires_grad_(False).eval()
        here = self.device.type == "cpu"
        self._compiled = family.on_processor(self.network, self.dtype) if here else None
        # On a GPU launches cost more than arithmetic, so there the plain form is replayed.
        self._evaluate = (
            family.fast(self.network, self.dtype) or self.gradient
            if here
            else Replayed(self.gradient)
        )

    def evaluate(self, positions: np.ndarray) -> Evaluation:
        """Evaluate a batch: compiled, or in parts that fit the cache."""
        if self._compiled is not None:
            energies, gradient = self._compiled(positions)
        else:
            energies, gradient = in_parts(
                self._evaluate,
                positions,
                self.device,
                self.dtype,
                self.family.size(len(self.numbers)),
            )
        return Evaluation(self.constant + self.scale * energies, -self.scale * gradient)

    def gradient(self, positions: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Energies (batch,) and their gradient (batch, atoms, 3), by differentiating."""
        return differentiated(self.network, positions)

    def reopened(
        self,
        *,
        precision: Literal["float32", "float64"] | None = None,
        device: Literal["auto", "cpu", "cuda"] | None = None,
    ) -> NetworkPotential:
        """The same network in another precision, or on another device, than it was trained in.

        Raises:
            InputError: there is no such device.
        """
        given = {"precision": precision, "device": device}
        changes = {name: value for name, value in given.items() if value is not None}
        family = replace(cast(Any, self.family), **changes)
        network = built(family, self.numbers)
        network.load_state_dict(self._weights)
        twin = type(self)(family, self.numbers, network, self.constant, self.scale, self.facts)
        twin.training_set = self.training_set
        return twin

    def content(self) -> ModelContent:
        """See `TrainedPotential.content`."""
        return ModelContent(
            family=self.family.name,
            numbers=self.numbers,
            hyperparameters=asdict(self.family),
            arrays={
                "constant": np.array(self.constant),
                "scale": np.array(self.scale),
                **{f"network.{key}": value.numpy() for key, value in self._weights.items()},
                **training_set_arrays(self),
            },
            facts=self.facts,
        )

    @classmethod
    def from_arrays(
        cls,
        family: NetworkFamily,
        facts: ModelFacts,
        arrays: Mapping[str, np.ndarray],
        folder: Path,
    ) -> NetworkPotential:
        """The potential of a model folder's arrays.

        Raises:
            FileFormatError: the hyperparameters make no network, or an array is missing or is not
                of its shape.
        """
        numbers = np.array(facts["numbers"])
        weights = {
            key.removeprefix("network."): torch.from_numpy(np.array(value))
            for key, value in arrays.items()
            if key.startswith("network.")
        }
        try:
            network = built(family, numbers)
            network.load_state_dict(weights)
            constant, scale = float(arrays["constant"]), float(arrays["scale"])
        except (RuntimeError, LookupError, TypeError, ValueError, AttributeError) as error:
            reason = " ".join(str(error).split())
            raise FileFormatError(f"{folder}: weights do not fit the network: {reason}") from None
        potential = cls(family, numbers, network, constant, scale, facts)
        potential.training_set = read_training_set(folder, numbers, arrays)
        return potential

    def __getstate__(self) -> _State:
        """State for copies: the weights, without compiled functions."""
        return _State(
            self.family,
            self.numbers,
            self._weights,
            self.constant,
            self.scale,
            self.facts,
            self.training_set,
        )

    def __setstate__(self, state: _State) -> None:
        network = built(state.family, state.numbers)
        network.load_state_dict(state.weights)
        self.__init__(  # type: ignore[misc]
            state.family, state.numbers, network, state.constant, state.scale, state.facts
        )
        self.training_set = state.training_set


class _State(NamedTuple):
    """What a copy of a `NetworkPotential` is made from."""

    family: NetworkFamily
    numbers: np.ndarray
    weights: dict[str, torch.Tensor]
    constant: float
    scale: float
    facts: ModelFacts
    training_set: TrainingSet | None
