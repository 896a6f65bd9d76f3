"""Each family compared with its own package: an ASE call, a batch, a training step, in one run.

    python benchmarks/families.py FRAMES.npz [--threads 2] [--repeats 7] [--only schnet painn mace]

Weights are random, as the time does not depend on them. Both sides have the same weights, the same
geometries and the same number of threads. They are called in turn, so that other work on the
machine slows both: times are medians of several calls, and their ratio is what counts. GAP has a
benchmark of its own (gap.py speed), and sGDML too (gdml.py).
"""

from __future__ import annotations

import argparse
import copy
import tempfile
import time
import warnings
from dataclasses import replace
from pathlib import Path

import ase
import numpy as np
import torch

import flexcalc
from flexcalc import files
from flexcalc.models.gdml import GDMLPotential
from flexcalc.models.mace import MACE
from flexcalc.models.networks.potential import NetworkPotential
from flexcalc.models.networks.step import Flat, plain_step
from flexcalc.models.schnetpack import PaiNN, SchNet, SO3Net
from flexcalc.models.schnetpack.family import SchNetPackFamily

BATCH = 32
FAMILIES = {
    "schnet": SchNet(features=128, interactions=6),
    "painn": PaiNN(features=128, interactions=3),
    "so3net": SO3Net(features=64, interactions=3),
    "mace": MACE(),
}


def in_turn(ours, theirs, repeats):
    """Milliseconds of both, medians of several calls in turn, after one of each to warm up."""
    times = [], []
    for _ in range(repeats + 1):
        for function, own in zip((ours, theirs), times, strict=True):
            begun = time.perf_counter()
            function()
            own.append(time.perf_counter() - begun)
    return [1e3 * np.median(own[1:]) for own in times]


def told(name, what, ours, theirs, note=""):
    print(
        f"{name:8s} {what:28s} flexcalc {ours:9.3f} ms   peer {theirs:9.3f} ms   "
        f"{theirs / ours:5.2f} x  {note}",
        flush=True,
    )


def moved(positions):
    """Positions that no calculator has seen, so that none answers from memory."""
    rng = np.random.default_rng(0)
    while True:
        yield positions + rng.normal(scale=1e-3, size=positions.shape)


def ase_call(numbers, positions, calculator):
    atoms, shaken = ase.Atoms(numbers, positions), moved(positions)
    atoms.calc = calculator

    def call():
        atoms.positions = next(shaken)
        return atoms.get_potential_energy(), atoms.get_forces()

    return call


def own_calculator(potential, folder):
    """The ASE calculator of the package that a model comes from; None where that knows it not."""
    if isinstance(getattr(potential, "family", None), SchNetPackFamily):
        return Peer(potential.family, potential.network, potential.numbers).calculator(folder)
    if not isinstance(potential, GDMLPotential) or potential.descriptor.arrays():
        return None
    from sgdml.intf.ase_calc import SGDMLCalculator

    from flexcalc.models.gdml.exchange import write_npz

    write_npz(potential, folder / "model.npz")
    return SGDMLCalculator(str(folder / "model.npz"), E_to_eV=1.0, F_to_eV_Ang=1.0)


class Peer:
    """A model of SchNetPack with given modules, and its ways of being called."""

    def __init__(self, family, network, numbers):
        import schnetpack as spk
        from schnetpack.interfaces.ase_interface import AtomsConverter

        modules = copy.deepcopy(network).float().cpu()
        atomwise = spk.atomistic.Atomwise(n_in=family.features, output_key="energy")
        atomwise.outnet = modules.output
        self.model = spk.model.NeuralNetworkPotential(
            representation=modules.representation,
            input_modules=[spk.atomistic.PairwiseDistances()],
            output_modules=[atomwise, spk.atomistic.Forces()],
        ).eval()
        self.list = spk.transform.ASENeighborList(cutoff=family.cutoff)
        self.converter = AtomsConverter(neighbor_list=self.list, device="cpu", dtype=torch.float32)
        self.numbers = numbers

    def inputs(self, positions):
        found = self.converter([ase.Atoms(self.numbers, row) for row in positions])
        return {k: v.detach() if torch.is_tensor(v) else v for k, v in found.items()}

    def __call__(self, inputs):
        return self.model({k: v.detach() if torch.is_tensor(v) else v for k, v in inputs.items()})

    def calculator(self, folder):
        from schnetpack.interfaces import SpkCalculator

        torch.save(self.model, folder / "best_model")
        return SpkCalculator(
            model=str(folder / "best_model"), neighbor_list=self.list, energy_unit="eV",
            position_unit="Ang", dtype=torch.float32,
        )  # fmt: skip

    def step(self, inputs, energies, forces):
        """Loss and gradient, as SchNetPack's task has it, without its neighbour list."""
        self.model.train()  # only then do its forces keep their graph
        parameters = [p for p in self.model.parameters() if p.requires_grad]

        frozen = {k: v.detach() if torch.is_tensor(v) else v for k, v in inputs.items()}

        def call():
            found = self.model(
                {k: v.clone() if torch.is_tensor(v) else v for k, v in frozen.items()}
            )
            loss = 0.01 * torch.mean((found["energy"].reshape(-1) - energies) ** 2)
            loss = loss + 0.99 * torch.mean((found["forces"] - forces) ** 2)
            return torch.autograd.grad(loss, parameters, allow_unused=True)

        return call


def schnetpack(name, family, data, folder, repeats):
    """SchNet, PaiNN and SO3net against SchNetPack."""
    numbers, positions = data.numbers, data.positions[:BATCH]
    torch.manual_seed(0)
    network = family.build(numbers, positions)
    peer = Peer(family, network, numbers)
    inputs = peer.inputs(positions)
    calculator = peer.calculator(folder)
    expected = peer(inputs)["forces"].detach().numpy().reshape(positions.shape)
    for precision in ("float32", "float64"):
        one = replace(family, precision=precision)
        potential = NetworkPotential(one, numbers, copy.deepcopy(network), 0.0, 1.0, {})
        note = (
            f"{precision}, forces differ {np.abs(potential(positions).forces - expected).max():.0e}"
        )
        own = ase_call(numbers, positions[0], flexcalc.Calculator(potential))
        both = in_turn(own, ase_call(numbers, positions[0], calculator), repeats)
        told(name, "ASE call", *both, note)
        for what, call in {
            "lists made": lambda: peer(inputs),
            "lists counted": lambda: peer(peer.inputs(positions)),
        }.items():
            both = in_turn(lambda potential=potential: potential(positions), call, repeats)
            told(name, f"batch of {BATCH}, {what}", *both, precision)
    energies, forces = (torch.tensor(a[:10], dtype=torch.float32) for a in data.labels())
    there = torch.tensor(positions[:10], dtype=torch.float32)
    flat = Flat(network)
    step, vector = plain_step(flat, 0.01, 0.99), flat.vector()
    weights = torch.ones(len(there))
    both = in_turn(
        lambda: step(vector, there, energies, forces, weights),
        peer.step(peer.inputs(positions[:10]), energies, forces.reshape(-1, 3)),
        repeats,
    )
    told(name, "training step, 10 points", *both, "not compiled")


def mace(name, family, data, folder, repeats):
    """MACE against mace-torch's calculator, in float64."""
    from mace.calculators import MACECalculator

    numbers, positions = data.numbers, data.positions[:BATCH]
    torch.manual_seed(0)
    network = family.build(numbers, positions)
    potential = NetworkPotential(family, numbers, network, 0.0, 1.0, {})
    model = copy.deepcopy(getattr(network, "model", network)).double()
    torch.save(model, folder / "random.model")
    calculator = MACECalculator(
        model_paths=str(folder / "random.model"), device="cpu", default_dtype="float64"
    )
    call = ase_call(numbers, positions[0], calculator)
    own = ase_call(numbers, positions[0], flexcalc.Calculator(potential))
    told(name, "ASE call", *in_turn(own, call, repeats), "float64")

    def loop():
        for _ in range(BATCH):
            call()

    both = in_turn(lambda: potential(positions), loop, repeats)
    told(name, f"batch of {BATCH}, a loop there", *both, "float64")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("frames", type=Path)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--only", nargs="+", choices=FAMILIES, default=list(FAMILIES))
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(arguments.threads)
    data = files.read(arguments.frames, energy_unit="kcal/mol")
    for name in arguments.only:
        measure = mace if name == "mace" else schnetpack
        with tempfile.TemporaryDirectory() as folder:
            measure(name, FAMILIES[name], data, Path(folder), arguments.repeats)


if __name__ == "__main__":
    main()
