"""Dynamics of many replicas here against ASE's in turn, side by side; run by hand.

    python benchmarks/dynamics.py replicas azobenzene.flex --steps 200
    python benchmarks/dynamics.py replicas schnet:float32 --start inputs/azobenzene-trans.xyz
    python benchmarks/dynamics.py drift ethanol-*.flex --start inputs/ethanol.xyz
    python benchmarks/dynamics.py overhead
    python benchmarks/dynamics.py torchsim schnet.flex

`replicas` prints how many times as many steps of Langevin a batch of 32 does in a second as 32 runs
of ase.md.langevin with the same model, one after the other, by our calculator and by that of the
package that the kind of model comes from, where that knows it; a model is an address, or
schnet:PRECISION for a SchNet of 128 features and 6 layers with random weights, whose speed is that
of a trained one. `drift` prints the drift of the energy in 100 ps of constant-energy dynamics in
meV an atom a ps (bound 5e-3). `overhead` prints what a step costs without the potential. `torchsim`
has TorchSim (pip install torch-sim-atomistic) do the same Langevin steps of 32 replicas on the same
network, differentiated by torch as it is, in turns with ours.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import ase
import numpy as np
from ase import units
from ase.md.langevin import Langevin as ASELangevin
from families import own_calculator

import flexcalc
from flexcalc import files
from flexcalc.methods.dynamics import (
    NVE,
    Langevin,
    NoseHoover,
    Rescaling,
    conserved_energy,
    temperature,
)
from flexcalc.methods.guard import Guards
from flexcalc.methods.iterate import iterate
from flexcalc.potential import CheckedPotential, Evaluation, Potential

INPUTS = Path(__file__).parents[1] / "inputs"
REPLICAS, ROUNDS = 32, 5


class Springs(CheckedPotential):
    """Every atom on a spring of its own: the cheapest potential there is."""

    def __init__(self, numbers: np.ndarray, reference: np.ndarray):
        self.numbers, self.reference = numbers, reference

    def evaluate(self, positions: np.ndarray) -> Evaluation:
        stretch = positions - self.reference
        return Evaluation(15.0 * (stretch**2).sum(axis=(1, 2)), -30.0 * stretch)


def opened(address: str, numbers: np.ndarray) -> Potential:
    """A potential by its address, or a SchNet with random weights."""
    if not address.startswith("schnet:"):
        return flexcalc.load(address, numbers)
    from flexcalc.models.networks.potential import NetworkPotential, built
    from flexcalc.models.schnetpack import SchNet

    family = SchNet(features=128, interactions=6, precision=address.partition(":")[2])
    return NetworkPotential(family, numbers, built(family, numbers), 0.0, 1e-3, {})


WARM_S = 4.0
"""Seconds of work before anything is timed."""


def replicas(models: list[str], start: Path, steps: int) -> None:
    frame = files.read(start)
    for address in models:
        potential = opened(address, frame.numbers)
        rng = np.random.default_rng(0)
        method = Langevin(timestep_fs=0.5, temperature_K=300.0, friction_per_ps=10.0)
        state = method.init(potential, np.repeat(frame.positions[:1], REPLICAS, axis=0), rng)
        run = Batch(method, potential, state)
        # A kernel's worker processes start after a second of work (`flexcalc.parallel.batches`).
        begun = time.monotonic()
        while time.monotonic() - begun < WARM_S:
            run(10)
        calculators = {"our calculator": flexcalc.Calculator(potential)}
        if own := own_calculator(potential, Path(tempfile.mkdtemp())):
            calculators["its package's"] = own
        for name, calculator in calculators.items():
            alone = Alone(calculator, frame)
            alone(10)
            ratios, rates = [], []
            for _ in range(ROUNDS):
                # In turns, so that what else the machine does meets both.
                batch, single = timed(run, steps), timed(alone, steps * 2)
                ratios.append(REPLICAS * (single / 2) / batch)
                rates.append((REPLICAS * steps / batch, steps * 2 / single))
            ours, theirs = np.median(rates, axis=0)
            print(
                f"{address}, {name}: {np.median(ratios):.1f} times (from {min(ratios):.1f} to "
                f"{max(ratios):.1f}); {ours:.0f} against {theirs:.0f} steps of a replica a second; "
                f"load {os.getloadavg()[0]:.1f}"
            )


class Batch:
    """Our dynamics, going on with each call."""

    def __init__(self, method, potential, state, guards=()):
        self.method, self.potential, self.state, self.guards = method, potential, state, guards
        self.rng = np.random.default_rng(0)

    def __call__(self, steps: int) -> None:
        self.state = iterate(
            self.method,
            self.potential,
            self.state,
            steps=self.state.step + steps,
            rng=self.rng,
            observers=self.guards,
        )


class Alone:
    """ASE's dynamics of one replica, as each of 32 in turn would go."""

    def __init__(self, calculator: ase.calculators.calculator.Calculator, frame: flexcalc.Dataset):
        atoms = ase.Atoms(frame.numbers, frame.positions[0])
        atoms.calc = calculator
        self.dynamics = ASELangevin(
            atoms, 0.5 * units.fs, temperature_K=300, friction=0.01 / units.fs, fixcm=False
        )

    def __call__(self, steps: int) -> None:
        self.dynamics.run(steps)


def timed(run: Callable[[int], None], steps: int) -> float:
    """Seconds of some steps."""
    begin = time.perf_counter()
    run(steps)
    return time.perf_counter() - begin


def drift(models: list[str], start: Path, picoseconds: float) -> None:
    frame = files.read(start)
    for address in models:
        potential = opened(address, frame.numbers)
        method = NVE(timestep_fs=0.5, temperature_K=300.0)
        rng = np.random.default_rng(0)
        state = method.init(potential, np.repeat(frame.positions[:1], 4, axis=0), rng)
        kept, kelvin = [], []

        fixed = method.fixed(frame.numbers)

        def watch(state, kept=kept, kelvin=kelvin, numbers=frame.numbers, fixed=fixed):
            if state.step % 20 == 0:
                kept.append(conserved_energy(state, numbers))
                kelvin.append(temperature(state.momenta, numbers, fixed).mean())

        steps = round(picoseconds * 2000)
        guards = Guards().guards(potential, state.positions, fixed, address)
        watchers = [*guards, watch]
        iterate(method, potential, state, steps=steps, rng=rng, observers=watchers)
        times = np.arange(len(kept)) * 0.01
        slopes = np.polyfit(times, np.array(kept), 1)[0] * 1e3 / len(potential.numbers)
        print(
            f"{address}: {np.abs(slopes).max():.2e} meV an atom a ps at most, "
            f"{np.abs(slopes.mean()):.2e} on average of 4 replicas in {picoseconds:g} ps; mean "
            f"temperature {np.mean(kelvin):.0f} K",
            flush=True,
        )


def torchsim(models: list[str], start: Path, steps: int) -> None:
    import torch
    import torch_sim
    from torch_sim.integrators import nvt_langevin_init, nvt_langevin_step
    from torch_sim.models.interface import ModelInterface

    from flexcalc.models.networks.potential import differentiated

    class Network(ModelInterface):
        """A network of ours as TorchSim's models are."""

        def __init__(self, potential):
            super().__init__()
            self._device, self._dtype = potential.device, potential.dtype
            self._compute_forces, self._compute_stress = True, False
            self.potential, self.atoms = potential, len(potential.numbers)

        def forward(self, state, **_):
            positions = state.positions.reshape(-1, self.atoms, 3)
            energies, gradient = differentiated(self.potential.network, positions)
            scale = self.potential.scale
            return {"energy": scale * energies, "forces": -scale * gradient.reshape(-1, 3)}

    class Theirs:
        """TorchSim's dynamics, going on with each call."""

        def __init__(self, potential, frame):
            self.model = Network(potential)
            atoms = ase.Atoms(frame.numbers, frame.positions[0], cell=50 * np.eye(3), pbc=False)
            state = torch_sim.initialize_state(
                [atoms] * REPLICAS, self.model.device, self.model.dtype
            )
            values = {"dt": 0.5 * units.fs, "kT": 300 * units.kB, "gamma": 0.01 / units.fs}
            self.units = {
                key: torch.tensor(value, dtype=self.model.dtype) for key, value in values.items()
            }
            # TorchSim's metal units are ASE's.
            self.state = nvt_langevin_init(state, self.model, kT=self.units["kT"])

        def __call__(self, steps):
            for _ in range(steps):
                self.state = nvt_langevin_step(self.state, self.model, **self.units)

    frame = files.read(start)
    for address in models:
        potential = opened(address, frame.numbers)
        method = Langevin(timestep_fs=0.5, temperature_K=300.0, friction_per_ps=10.0)
        positions = np.repeat(frame.positions[:1], REPLICAS, axis=0)
        ours = Batch(method, potential, method.init(potential, positions, np.random.default_rng(0)))
        theirs = Theirs(potential, frame)
        ours(5), theirs(5)
        pairs = [(timed(ours, steps), timed(theirs, steps)) for _ in range(ROUNDS)]
        mine, other = np.median(pairs, axis=0) * 1e3 / steps
        print(
            f"{address}: {mine:.1f} ms a step of {REPLICAS} replicas, TorchSim {other:.1f}: "
            f"{np.median([b / a for a, b in pairs]):.2f} times; load {os.getloadavg()[0]:.1f}"
        )


def overhead(start: Path) -> None:
    frame = files.read(start)
    potential = Springs(frame.numbers, frame.positions[0])
    positions = np.repeat(frame.positions[:1], REPLICAS, axis=0)
    methods = (NVE(), Langevin(), Rescaling(), NoseHoover())
    begin = time.process_time()
    for _ in range(500):
        potential(positions)
    call = (time.process_time() - begin) / 500
    print(f"{REPLICAS} replicas of {len(frame.numbers)} atoms, milliseconds of CPU a step")
    for method in (*methods, Langevin(rigid_motion="removed")):
        state = method.init(potential, positions, np.random.default_rng(0))
        best = []
        for guards in ((), tuple(Guards().guards(potential, positions, 0, ""))):
            run = Batch(method, potential, state, guards)
            spent = []
            for _ in range(ROUNDS):
                begin = time.process_time()
                run(200)
                spent.append((time.process_time() - begin) / 200)
            best.append(min(spent) - call)
        rigid = ", rigid motion removed" if method.rigid_motion == "removed" else ""
        print(f"{method.kind}{rigid}: {best[0] * 1e3:.3f}, guarded {best[1] * 1e3:.3f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["replicas", "drift", "overhead", "torchsim"])
    parser.add_argument("models", nargs="*")
    parser.add_argument("--start", type=Path, default=INPUTS / "azobenzene-trans.xyz")
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--picoseconds", type=float, default=100.0)
    options = parser.parse_args()
    if options.what == "replicas":
        replicas(options.models, options.start, options.steps)
    elif options.what == "drift":
        drift(options.models, options.start, options.picoseconds)
    elif options.what == "torchsim":
        torchsim(options.models, options.start, options.steps)
    else:
        overhead(options.start)


if __name__ == "__main__":
    main()
