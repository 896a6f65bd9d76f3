"""The baselines of a learning, which are evaluated once at every labelled geometry."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

from flexcalc.dataset import Dataset
from flexcalc.potential import Evaluation
from flexcalc.progress import Progress, silent
from flexcalc.tasks.baseline import CHUNK, Baseline
from flexcalc.training.checkpoints import NO_CHECKPOINTS, Checkpoints


class Baselines:
    """Any number of baselines, and what they gave for the geometries labelled so far.

    Each step of the checkpoints is a chunk of new geometries. Which geometries share a chunk does
    not depend on interruptions, so that a resumed learning has the same numbers.

    Args:
        opened: the baselines.
        checkpoints: what an earlier call of the same learning has evaluated.
    """

    def __init__(self, opened: Sequence[Baseline], checkpoints: Checkpoints = NO_CHECKPOINTS):
        self.opened, self.checkpoints = list(opened), checkpoints
        self._known: dict[str, list[tuple[float, np.ndarray]]] = {}
        self._steps = 0
        while self.opened and (found := checkpoints.load(self._step)) is not None:
            self._add(*found)

    def kept_in(self, checkpoints: Checkpoints) -> Baselines:
        """The same baselines with other checkpoints."""
        return Baselines(self.opened, checkpoints)

    def evaluated(self, data: Dataset, progress: Progress = silent) -> list[Evaluation]:
        """Energies and forces of each baseline at the geometries of a dataset.

        Raises:
            LabelError: a baseline cannot be computed for a geometry.
        """
        if not self.opened:
            return []
        keys = [hashlib.sha256(row.tobytes()).hexdigest() for row in data.positions]
        new = {key: row for row, key in enumerate(keys) if key not in self._known}
        for begin in range(0, len(new), CHUNK):
            some = dict(list(new.items())[begin : begin + CHUNK])
            parts = [one.potential(data.positions[list(some.values())]) for one in self.opened]
            energies = [part.energies.tolist() for part in parts]
            forces = [part.forces.tolist() for part in parts]
            self.checkpoints.save(self._step, [list(some), energies, forces])
            self._add(list(some), energies, forces)
            progress(min(begin + CHUNK, len(new)), len(new), "frames")
        shape = data.positions.shape
        return [
            Evaluation(
                np.array([self._known[key][index][0] for key in keys]),
                np.array([self._known[key][index][1] for key in keys]).reshape(shape),
            )
            for index in range(len(self.opened))
        ]

    @property
    def _step(self) -> str:
        """Name of the next step."""
        return f"chunk-{self._steps:07d}"

    def _add(
        self, keys: list[str], energies: list[list[float]], forces: list[list[list[list[float]]]]
    ) -> None:
        """Add a chunk: energies (baselines, geometries) and forces of the geometries of keys."""
        for row, key in enumerate(keys):
            self._known[key] = [
                (own[row], np.array(pull[row])) for own, pull in zip(energies, forces, strict=True)
            ]
        self._steps += 1
