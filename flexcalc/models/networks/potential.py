"""A trained network as a potential."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from flexcalc.errors import FileFormatError, InputError
from flexcalc.models.family import TrainedPotential
from flexcalc.models.folder import write_model
from flexcalc.potential import Evaluation

if TYPE_CHECKING:
    from flexcalc.models.networks.family import NetworkFamily

LARGEST_BATCH = 1 << 14
"""Pairs of atoms that are evaluated at a time: what they need should stay in the cache."""
LARGEST_ON_GPU = 1 << 20
"""The same where only memory is the limit, some GB of it."""


def device(name: str) -> torch.device:
    """The device of that name; `auto` is a GPU where torch finds one.

    Raises:
        InputError: there is no GPU that torch can use.
    """
    found = torch.cuda.is_available()
    if name == "cuda" and not found:
        raise InputError('device = "cuda": torch finds no GPU here; set device = "cpu"')
    return torch.device("cuda" if found and name != "cpu" else "cpu")


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
        facts: dict[str, Any],
    ):
        self.family, self.numbers = family, np.asarray(numbers, dtype=int)
        self.constant, self.scale, self.facts = constant, scale, facts
        self.dtype = getattr(torch, family.precision)
        self.device = device(family.device)
        self._weights = {key: value.cpu() for key, value in network.state_dict().items()}
        self.network = network.to(self.device, self.dtype).requires_grad_(False).eval()
        self._fast = family.fast(self.network, self.dtype)

    def evaluate(self, positions: np.ndarray) -> Evaluation:
        """Evaluate a batch, in parts that fit the cache."""
        size = self.family.size(len(self.numbers))
        if self.device.type == "cpu":
            rows = max(1, LARGEST_BATCH // size)
        else:
            rows = min(512, max(1, LARGEST_ON_GPU // size))
        energies = np.empty(len(positions))
        forces = np.empty(positions.shape)
        for start in range(0, len(positions), rows):
            part = slice(start, start + rows)
            there = torch.as_tensor(positions[part]).to(self.device, self.dtype)
            energy, gradient = (self._fast or self.gradient)(there)
            energies[part] = self.constant + self.scale * energy.double().cpu().numpy()
            forces[part] = -self.scale * gradient.double().cpu().numpy()
        return Evaluation(energies, forces)

    def gradient(self, positions: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Energies (batch,) and their gradient (batch, atoms, 3), by differentiating."""
        with torch.enable_grad():
            positions = positions.detach().requires_grad_()
            energies = self.network(positions)
            (gradient,) = torch.autograd.grad(energies.sum(), positions)
        return energies.detach(), gradient

    def save(self, folder: Path) -> None:
        """Write the model as a folder."""
        write_model(
            folder,
            family=self.family.name,
            numbers=self.numbers,
            hyperparameters=self.family.hyperparameters(),
            arrays={
                "constant": np.array(self.constant),
                "scale": np.array(self.scale),
                **{f"network.{key}": value.numpy() for key, value in self._weights.items()},
            },
            facts=self.facts,
        )

    @classmethod
    def from_arrays(
        cls,
        family: NetworkFamily,
        facts: dict[str, Any],
        arrays: Mapping[str, np.ndarray],
        folder: Path,
    ) -> NetworkPotential:
        """The potential of a model folder's arrays.

        Raises:
            FileFormatError: an array is missing, or is not of the network's shape.
        """
        numbers = np.array(facts["numbers"])
        network = family.build(numbers, np.arange(3.0 * len(numbers)).reshape(1, -1, 3))
        weights = {
            key.removeprefix("network."): torch.from_numpy(np.array(value))
            for key, value in arrays.items()
            if key.startswith("network.")
        }
        try:
            network.load_state_dict(weights)
            constant, scale = float(arrays["constant"]), float(arrays["scale"])
        except (RuntimeError, KeyError, TypeError) as error:
            reason = " ".join(str(error).split())
            raise FileFormatError(f"{folder}: weights do not fit the network: {reason}") from None
        return cls(family, numbers, network, constant, scale, facts)

    def __getstate__(self) -> dict[str, Any]:
        """What a copy needs: the weights, and not what was compiled from them."""
        kept = ("family", "numbers", "constant", "scale", "facts")
        return {key: self.__dict__[key] for key in kept} | {"weights": self._weights}

    def __setstate__(self, state: dict[str, Any]) -> None:
        weights = state.pop("weights")
        atoms = len(state["numbers"])
        positions = np.arange(3.0 * atoms).reshape(1, atoms, 3)
        network = state["family"].build(state["numbers"], positions)
        network.load_state_dict(weights)
        self.__init__(network=network, **state)  # type: ignore[misc]
