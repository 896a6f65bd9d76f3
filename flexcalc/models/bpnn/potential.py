"""A Behler-Parrinello network for the processor."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import torch
from torch import nn

from flexcalc.models.bpnn.arithmetic import Functions, Inputs, Scratch, evaluate
from flexcalc.models.bpnn.network import BehlerParrinello
from flexcalc.models.networks.compiled import Compiled, array, perceptrons


def on_processor(network: BehlerParrinello, activation: str, dtype: torch.dtype) -> Compiled:
    """The network compiled.

    Args:
        network: as it was trained.
        activation: a name in `compiled.ACTIVATIONS`.
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
        radial=array(found.radial, dtype),
        widths=array(found.widths, dtype),
        zetas=np.array(found.zetas),
        cutoff=float(found.cutoff),
    )
    inputs = Inputs(
        order=np.concatenate(members),
        starts=np.cumsum([0, *map(len, members)]),
        mean=array(network.mean, dtype),
        scale=array(network.scale, dtype),
    )
    parts: list[Any] = list(network.networks)
    linear = [[part for part in net if isinstance(part, nn.Linear)] for net in parts]
    networks = perceptrons(linear, activation, dtype)
    return Compiled(evaluate, (functions, inputs, networks), partial(Scratch.of, functions, inputs))
