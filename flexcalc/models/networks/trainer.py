"""Training a network on energies and forces, from the first weights to the trained potential."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch

from flexcalc.dataset import Dataset
from flexcalc.errors import InputError
from flexcalc.models.facts import CurveRow
from flexcalc.models.family import ALONE, errors
from flexcalc.models.networks.potential import LARGEST_ON_GPU, NetworkPotential, built, device
from flexcalc.models.networks.recording import recorded
from flexcalc.models.networks.step import (
    Flat,
    Step,
    compiled_step,
    plain_step,
    weighted_loss,
    worth_compiling,
)
from flexcalc.progress import Progress
from flexcalc.storage import load_checkpoint, save_checkpoint
from flexcalc.units import KCAL_MOL

if TYPE_CHECKING:
    from flexcalc.models.networks.family import NetworkFamily

CHECKPOINT_S = 30.0
"""Seconds between two checkpoints, at the end of an epoch."""
CURVE = 400
"""Maximum number of rows of the training curve stored with a model."""
VALIDATED = 256
"""Maximum number of validation frames evaluated at once."""


class Labelled(NamedTuple):
    """Frames on the device, in the units of the network.

    Shapes: positions (frames, atoms, 3) in angstrom, energies (frames,) and forces
    (frames, atoms, 3) over the scale of the labels, weights (frames,) over their mean.
    """

    positions: torch.Tensor
    energies: torch.Tensor
    forces: torch.Tensor
    weights: torch.Tensor


class Trainer:
    """A training that can be interrupted at any time, and resumes exactly from its checkpoint.

    The labels are shifted by the mean energy of the training points (for a fixed composition
    that is the offset per atom) and divided by the deviation of their forces, in float64; the
    network sees them in float32. What is validated and kept is a running average of the weights.
    A training that starts from a trained network has its weights and its scale, and the constant
    with which it fits the mean energy of the training points; so the first forces are its own.

    Args:
        family: the hyperparameters.
        train, validation: checked by the family; without validation frames the training points
            are validated on.
        seed: of the first weights, and with the number of an epoch of the order of its points.
        folder: for checkpoints, or None.
    """

    def __init__(
        self,
        family: NetworkFamily,
        train: Dataset,
        validation: Dataset | None,
        seed: int,
        folder: Path | None,
    ):
        self.family, self.seed = family, seed
        self.train = train
        self.validation = validation if validation is not None and len(validation) else None
        self.judged = self.validation or train
        self.device = device(family.device)
        self.alone = train.energies is None
        self.energy_weight = 0.0 if self.alone else family.energy_weight
        self.constant = 0.0 if train.energies is None else float(np.mean(train.energies))
        self.scale = float(np.std(train.force_labels()))
        fresh = built(family, train.numbers, train.positions, seed)
        self.start = family.start(train.numbers)
        if self.start is not None:
            fresh.load_state_dict(self.start.network.state_dict())
            self.scale = self.start.scale
            if train.energies is not None:
                off = train.energies - self.start(train.positions).energies
                self.constant = self.start.constant + float(np.mean(off))
        self.network = fresh.to(self.device, torch.float32)
        self.flat = Flat(self.network)
        self.data, self.checked = self._labelled(train), self._labelled(self.judged)
        self.batch = min(family.batch_size, len(train))
        self.checkpoint = None if folder is None else folder / "checkpoint.npz"
        self.notes: list[str] = []
        self._begin()

    def _begin(self) -> None:
        """The initial state of a training; checkpoints contain all of it."""
        self.weights = self.flat.vector().requires_grad_()
        self.average, self.best = self.weights.detach().clone(), self.weights.detach().clone()
        self.optimizer = self._optimizer()
        self.epoch, self.steps, self.seconds = 0, 0, 0.0
        self.lowest, self.since_best, self.since_drop = float("inf"), 0, 0
        self.rate = self.family.first_rate
        self.curve: list[CurveRow] = []
        self.ended = ""

    def run(self, progress: Progress) -> NetworkPotential:
        """Train until it ends, and return the potential of the best weights.

        Raises:
            InputError: the loss became infinite or no number.
        """
        self._resume()
        step = self._step()
        saved = time.monotonic()
        while not self.ended:
            begun = time.monotonic()
            self._epoch(step)
            self._judge()
            self.seconds += time.monotonic() - begun
            self.ended = self._end()
            progress(self.epoch, self.family.epochs, self._note())
            if self.ended or time.monotonic() - saved > CHECKPOINT_S:
                self._save()
                saved = time.monotonic()
        return self._potential()

    def _optimizer(self) -> torch.optim.Optimizer:
        family = self.family
        if family.optimizer == "adamw":
            return torch.optim.AdamW(
                [self.weights], family.first_rate, weight_decay=family.weight_decay
            )
        return torch.optim.Adam([self.weights], family.first_rate)

    def _labelled(self, data: Dataset) -> Labelled:
        energies = np.zeros(len(data)) if data.energies is None else data.energies - self.constant
        weights = np.ones(len(data)) if data.weights is None else data.weights
        labels = energies / self.scale, data.force_labels() / self.scale
        arrays = data.positions, *labels, weights / weights.mean()
        return Labelled(
            *(torch.tensor(array, dtype=torch.float32, device=self.device) for array in arrays)
        )

    def _step(self) -> Step:
        step = plain_step(self.flat, self.energy_weight, self.family.force_weight)
        example = (self.weights.detach(), *(part[: self.batch] for part in self.data))
        per_epoch = len(self.train) // self.batch
        if worth_compiling(self.family.compiled, self.family.epochs * per_epoch):
            required = self.family.compiled == "yes"
            step = self._faster(compiled_step, "compile", step, example, required)
        if self.device.type == "cuda":
            step = self._faster(recorded, "record", step, example, False)
        return step

    def _faster(
        self,
        maker: Callable[[Step, tuple[torch.Tensor, ...]], Step],
        verb: str,
        step: Step,
        example: tuple[torch.Tensor, ...],
        required: bool,
    ) -> Step:
        """What the maker makes of a step; the step itself, with a note, where it cannot."""
        try:
            return maker(step, example)
        except Exception as error:  # torch may raise anything here; the step before is the same
            reason = f"torch cannot {verb} the step here: {error}".split("\n")[0]
            if required:
                raise InputError(f'compiled = "yes": {reason}') from error
            self.notes.append(f"{self.family.name}: {reason}; trained without, which is slower")
            return step

    def _epoch(self, step: Step) -> None:
        """Every point once, in an order that depends on the seed and the epoch alone.

        Points left over by the size of a batch wait for another epoch's order.
        """
        if self.family.schedule == "cosine":
            wave = 0.5 + 0.5 * np.cos(np.pi * self.epoch / self.family.epochs)
            floor = self.family.smallest_learning_rate
            self._set_rate(max(self.family.first_rate * float(wave), floor))
        order = np.random.default_rng([self.seed, self.epoch]).permutation(len(self.train))
        total = torch.zeros((), device=self.device)
        batches = len(order) // self.batch
        for row in order[: batches * self.batch].reshape(batches, self.batch):
            chosen = torch.from_numpy(row).to(self.device)
            loss, gradient = step(self.weights.detach(), *(part[chosen] for part in self.data))
            norm = torch.linalg.vector_norm(gradient)
            self.weights.grad = gradient * torch.clamp(self.family.clip / (norm + 1e-12), max=1.0)
            self.optimizer.step()
            self.steps += 1
            # A young average forgets faster, so that it is not held back by the first weights.
            keep = min(self.family.averaging, (1 + self.steps) / (10 + self.steps))
            self.average.lerp_(self.weights.detach(), 1 - keep)
            total += loss
        self.epoch += 1
        self.loss = float(total) / batches
        if not np.isfinite(self.loss):
            raise InputError(
                f"{self.family.name}: the loss is {self.loss} after {self.epoch} epochs; choose a "
                f"smaller learning_rate than {self.family.learning_rate:g}, or look for frames "
                "with wrong labels"
            )

    def _judge(self) -> None:
        """Validate the running average, and reduce the step size where that got no better."""
        energies, forces = self._predict(self.average)
        off_energy, off_force = energies - self.checked.energies, forces - self.checked.forces
        of = self.energy_weight, self.family.force_weight
        loss = float(weighted_loss(off_energy, off_force, self.checked.weights, of))
        unit = self.scale / KCAL_MOL
        found: CurveRow = {
            "force_mae_kcal_mol_A": float(torch.mean(off_force.abs())) * unit,
            "force_rmse_kcal_mol_A": float(torch.mean(off_force**2)) ** 0.5 * unit,
        }
        if not self.alone:
            found["energy_mae_kcal_mol"] = float(torch.mean(off_energy.abs())) * unit
            found["energy_rmse_kcal_mol"] = float(torch.mean(off_energy**2)) ** 0.5 * unit
        self.curve.append(
            {
                "epoch": self.epoch,
                "loss": self.loss,
                "validation_loss": loss,
                **found,
                "learning_rate": self.rate,
                "minutes": round(self.seconds / 60, 4),
            }
        )
        self.since_best, self.since_drop = self.since_best + 1, self.since_drop + 1
        if loss < self.lowest:
            self.lowest, self.since_best, self.since_drop = loss, 0, 0
            self.best.copy_(self.average)
        elif self.family.schedule == "plateau" and self.since_drop >= self.family.plateau:
            self.since_drop = 0
            self._set_rate(self.rate * self.family.decay)

    def _set_rate(self, rate: float) -> None:
        self.rate = rate
        for group in self.optimizer.param_groups:
            group["lr"] = rate

    def _predict(self, vector: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Energies and forces of the validation frames, over the scale."""
        named = {key: value.detach() for key, value in self.flat.named(vector).items()}
        energies, forces = [], []
        size = self.family.size(len(self.train.numbers))
        rows = min(VALIDATED, max(1, LARGEST_ON_GPU // size))
        for positions in self.checked.positions.split(rows):
            positions = positions.detach().requires_grad_()
            found = torch.func.functional_call(self.network, named, (positions,))
            (slope,) = torch.autograd.grad(found.sum(), positions)
            energies.append(found.detach())
            forces.append(-slope)
        return torch.cat(energies), torch.cat(forces)

    def _end(self) -> str:
        """Why the training ends here, if it does."""
        family, limit = self.family, self.family.time_limit_min
        if self.epoch >= family.epochs:
            return "all epochs are done"
        if self.rate < family.smallest_learning_rate:
            return "the step size is as small as it may get"
        if self.since_best >= family.early_stopping:
            return f"no better validation loss in {family.early_stopping} epochs"
        if limit is not None and self.seconds >= 60 * limit:
            return "the time is up"
        return ""

    def _note(self) -> str:
        row = self.curve[-1]
        told = f"F {row['force_mae_kcal_mol_A']:.3f} kcal/mol/A, "
        if not self.alone:
            told += f"E {row['energy_mae_kcal_mol']:.3f} kcal/mol, "
        return f"{told}step {self.rate:.1e}"

    def _run(self) -> str:
        """What this training is; a checkpoint of another one is of no use."""
        hyperparameters, start = asdict(self.family), {}
        if self.start is None:
            # As in earlier versions, whose trainings go on.
            del hyperparameters["start_from"], hyperparameters["fine_tuning"]
        else:
            start = {"start": self.start.sha256()}
        told = {
            "family": self.family.name,
            "hyperparameters": hyperparameters,
            "train": self.train.sha256(),
            "judged": self.judged.sha256(),
            "seed": self.seed,
            **start,
        }
        return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()

    def _save(self) -> None:
        if self.checkpoint is None:
            return
        state = self.optimizer.state[self.weights]
        tensors = {
            "weights": self.weights,
            "average": self.average,
            "best": self.best,
            "first": state["exp_avg"],
            "second": state["exp_avg_sq"],
        }
        arrays = {key: value.detach().cpu().numpy() for key, value in tensors.items()}
        kept = ("epoch", "steps", "seconds", "since_best", "since_drop", "rate", "loss", "ended")
        facts = {key: getattr(self, key) for key in kept}
        self.checkpoint.parent.mkdir(parents=True, exist_ok=True)
        save_checkpoint(
            self.checkpoint,
            arrays,
            {**facts, "lowest": self.lowest, "curve": self.curve, "run": self._run()},
        )

    def _resume(self) -> None:
        """Go on from the last checkpoint of this very training, if there is one."""
        found = None if self.checkpoint is None else load_checkpoint(self.checkpoint)
        if found is None or found[1].get("run") != self._run():
            return
        arrays, facts = found
        tensors = {key: torch.tensor(value).to(self.device) for key, value in arrays.items()}
        self.weights.detach().copy_(tensors["weights"])
        self.average.copy_(tensors["average"])
        self.best.copy_(tensors["best"])
        self.optimizer.state[self.weights] = {
            "step": torch.tensor(float(facts["steps"])),
            "exp_avg": tensors["first"],
            "exp_avg_sq": tensors["second"],
        }
        for key, value in facts.items():
            if key not in ("run", "rate"):
                setattr(self, key, value)
        self._set_rate(facts["rate"])

    def _potential(self) -> NetworkPotential:
        """The potential of the best weights, with the facts about them."""
        self.flat.write(self.best)
        potential = NetworkPotential(
            self.family, self.train.numbers, self.network, self.constant, self.scale, {}
        )
        if self.alone:
            potential.constant -= float(np.mean(potential(self.train.positions).energies))
            self.notes.append(ALONE)
        sets = {"training": self.train}
        if self.validation is not None:
            sets["validation"] = self.validation
        keep = np.unique(np.linspace(0, len(self.curve) - 1, CURVE).astype(int))
        unfinished = self.family.schedule == "plateau" and self.ended == "all epochs are done"
        if unfinished and self.since_best < self.family.plateau // 2:
            self.notes.append(
                f"{self.family.name} was still getting better after {self.epoch} epochs; more "
                "epochs would give a better model"
            )
        potential.facts = {
            "training_sha256": self.train.sha256(),
            "training_points": len(self.train),
            "level": self.train.provenance.level,
            "parameters": int(self.weights.numel()),
            "epochs_done": self.epoch,
            "ended": self.ended,
            "training_minutes": self.seconds / 60,
            "curve": [self.curve[index] for index in keep],
            "errors": {
                name: errors(potential(frames.positions), frames) for name, frames in sets.items()
            },
            "warnings": self.notes,
            **({} if self.start is None else {"start_sha256": self.start.sha256()}),
        }
        return potential
