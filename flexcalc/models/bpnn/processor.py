"""A Behler-Parrinello network for the processor."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import torch
from torch import nn

from flexcalc.models.bpnn.arithmetic import ACTIVATIONS, Functions, Layers, Scratch, evaluate
from flexcalc.models.bpnn.network import BehlerParrinello
from flexcalc.models.networks.compiled import Compiled


def on_processor(network: BehlerParrinello, activation: str, dtype: torch.dtype) -> Compiled:
    """The network compiled.

    Args:
        network: as it was trained.
        activation: a name in `ACTIVATIONS`.
        dtype: of the arithmetic.
    """
    found = network.functions
    atoms, elements = found.atoms, len(found.elements)
    members = [getattr(network, name).numpy() for name in network.members]
    kind = np.empty(atoms, int)
    for element, some in enumerate(members):
        kind[some] = element
    pair = np.zeros((atoms, atoms), int)
    one, two = np.triu_indices(atoms, 1)
    pair[one, two] = pair[two, one] = np.arange(len(one))
    block = np.zeros((elements, elements), int)
    for number, (low, high) in enumerate(found.pairs):
        i, j = found.elements.index(low), found.elements.index(high)
        block[i, j] = block[j, i] = number
    functions = Functions(
        kind=kind,
        pair=pair,
        block=block,
        radial=_array(found.radial, dtype),
        widths=_array(found.widths, dtype),
        zetas=np.array(found.zetas),
        cutoff=float(found.cutoff),
    )
    layers = _layers(network, members, ACTIVATIONS.index(activation), dtype)
    return Compiled(evaluate, (functions, layers), partial(Scratch.of, functions, layers))


def _layers(
    network: BehlerParrinello, members: list[np.ndarray], activation: int, dtype: torch.dtype
) -> Layers:
    networks: list[Any] = list(network.networks)
    nets = [[part for part in net if isinstance(part, nn.Linear)] for net in networks]
    stacks = [torch.stack([layer.weight for layer in same]) for same in zip(*nets, strict=True)]
    biases = [torch.stack([layer.bias for layer in same]) for same in zip(*nets, strict=True)]
    return Layers(
        order=np.concatenate(members),
        starts=np.cumsum([0, *map(len, members)]),
        mean=_array(network.mean, dtype),
        scale=_array(network.scale, dtype),
        weights=tuple(_array(stack, dtype) for stack in stacks),
        weights_t=tuple(_array(stack.mT, dtype) for stack in stacks),
        biases=tuple(_array(bias, dtype) for bias in biases),
        activation=activation,
    )


def _array(values: torch.Tensor, dtype: torch.dtype) -> np.ndarray:
    """The values as an array of their own, rows first."""
    return np.ascontiguousarray(values.detach().to(dtype).numpy())
