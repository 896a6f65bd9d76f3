"""Complete iterative solutions: restarts with larger preconditioners, and checkpoints.

If conjugate gradients stall, they are restarted from the current solution, with a preconditioner of
more columns. An interrupted run resumes from its last checkpoint, and gives the same bytes.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypedDict, cast

import numpy as np

from flexcalc.errors import FileFormatError
from flexcalc.models.gdml.iterative import (
    Conjugate,
    Nystroem,
    Operator,
    System,
    conjugate_gradients,
)
from flexcalc.models.gdml.kernel import Kernel
from flexcalc.progress import Progress, silent
from flexcalc.storage import load_checkpoint, remove_checkpoint, save_checkpoint

MAX_RESTARTS = 4
"""Maximum number of restarts, each with a new preconditioner."""
GROWTH = 1.6
"""Growth factor of the number of columns at a restart."""
SECONDS = 20.0
"""Time between checkpoints."""


class _StageFacts(TypedDict, total=False):
    """What the checkpoint of a stage has besides arrays."""

    key: str
    columns: int
    restart: int
    steps: int
    residual: float
    worst: float
    product: float
    history: list[float]


@dataclass(frozen=True)
class Stage:
    """State of the solution of several sets of labels.

    Args:
        columns: of the present preconditioner.
        restart: number of restarts before it.
        steps: number of steps with these preconditioners, over all sets.
        residual: of the present set before this preconditioner, relative to its labels.
        worst: maximum residual of the solved sets.
        done: the sets solved, (rows,) each.
        solution: (rows,) of the present set before this preconditioner, or None at zero.
        state: of the conjugate gradients, or None at their start.
    """

    columns: int
    restart: int = 0
    steps: int = 0
    residual: float = 1.0
    worst: float = 0.0
    done: tuple[np.ndarray, ...] = ()
    solution: np.ndarray | None = None
    state: Conjugate | None = None


@dataclass(frozen=True, kw_only=True)
class Iterations:
    """An iterative solution, with all its settings.

    Args:
        kernel: the matrix K.
        regularization: lambda.
        tolerance: relative residual to reach.
        columns: of the first preconditioner.
        grown: function from the number of columns to that of the next preconditioner.
        seed: of the drawing of columns.
        checkpoint: path of the checkpoint, or None.
        progress: told the steps.
    """

    kernel: Kernel
    regularization: float
    tolerance: float
    columns: int
    grown: Callable[[int], int]
    seed: int
    checkpoint: Path | None = None
    progress: Progress = silent
    product: Operator = field(init=False)
    noise: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "product", Operator(self.kernel))
        noise = self.kernel.points.noise(self.regularization).ravel()
        object.__setattr__(self, "noise", noise)

    def solve(self, sets: Sequence[np.ndarray]) -> Stage:
        """Solve (K + lambda / weights) x = labels for every set of labels (rows,).

        Returns:
            The last stage: `done` has the solutions, `worst` how good they are.
        """
        key = self._key(sets)
        stage = self._recalled(key) or Stage(self.columns)
        inverse = None
        while len(stage.done) < len(sets):
            if inverse is None:
                rng = np.random.default_rng([self.seed, stage.restart])
                inverse = Nystroem(
                    self.kernel, stage.columns, self.regularization, rng, self.progress
                )
            stage = self._advanced(stage, sets[len(stage.done)], inverse, key)
            enough = stage.residual <= self.tolerance
            more = self.grown(stage.columns)
            if not enough and stage.restart < MAX_RESTARTS and more > stage.columns:
                stage = replace(stage, columns=more, restart=stage.restart + 1)
                inverse = None
                continue
            stage = replace(
                stage,
                done=(*stage.done, cast(np.ndarray, stage.solution)),
                worst=max(stage.worst, stage.residual),
                solution=None,
                residual=1.0,
            )
        if self.checkpoint is not None:
            remove_checkpoint(self.checkpoint)
        return stage

    def _matrix(self, vector: np.ndarray) -> np.ndarray:
        return self.product(vector) + self.noise * vector

    def _advanced(self, stage: Stage, labels: np.ndarray, inverse: Nystroem, key: str) -> Stage:
        """The stage after conjugate gradients with one preconditioner."""
        left = labels if stage.solution is None else labels - self._matrix(stage.solution)
        saved = time.monotonic()

        def keep(state: Conjugate) -> None:
            nonlocal saved
            if self.checkpoint is not None and time.monotonic() - saved > SECONDS:
                self._save(replace(stage, state=state), key)
                saved = time.monotonic()

        state = conjugate_gradients(
            System(self._matrix, inverse, left),
            self.tolerance / stage.residual,
            state=stage.state,
            keep=keep,
            progress=self.progress,
        )
        last = state.history[-1] if state.history else 1.0
        return replace(
            stage,
            steps=stage.steps + len(state.history),
            residual=stage.residual * last,
            solution=state.solution + (0.0 if stage.solution is None else stage.solution),
            state=None,
        )

    def _key(self, sets: Sequence[np.ndarray]) -> str:
        """What tells this task from others."""
        digest = hashlib.sha256()
        points = self.kernel.points
        settings = (self.kernel.sigma, self.regularization, self.tolerance, self.columns, self.seed)
        digest.update(repr(settings).encode())
        weights = () if points.weights is None else (points.weights,)
        arrays = points.features, points.jacobians, points.order, *points.terms
        for array in (*arrays, *weights, *sets):
            digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()

    def _save(self, stage: Stage, key: str) -> None:
        arrays = {f"done{index}": solution for index, solution in enumerate(stage.done)}
        state = stage.state
        if stage.solution is not None:
            arrays["solution"] = stage.solution
        facts: _StageFacts = {
            "key": key,
            **{"columns": stage.columns, "restart": stage.restart, "steps": stage.steps},
            **{"residual": stage.residual, "worst": stage.worst},
        }
        if state is not None:
            arrays |= {"x": state.solution, "r": state.residual, "p": state.direction}
            facts |= {"product": state.product, "history": list(state.history)}
        if self.checkpoint is not None:
            self.checkpoint.parent.mkdir(parents=True, exist_ok=True)
            save_checkpoint(self.checkpoint, arrays, facts)

    def _recalled(self, key: str) -> Stage | None:
        """The stage of the checkpoint, if there is one of this very task."""
        try:
            found = load_checkpoint(self.checkpoint) if self.checkpoint is not None else None
        except FileFormatError:
            return None  # damaged: nothing is lost but time
        if found is None or found[1].get("key") != key:
            return None
        arrays, facts = found
        done = [arrays[name] for name in sorted(arrays) if name.startswith("done")]
        state = None
        if "x" in arrays:
            history = tuple(facts["history"])
            state = Conjugate(arrays["x"], arrays["r"], arrays["p"], facts["product"], history)
        return Stage(
            columns=facts["columns"],
            restart=facts["restart"],
            steps=facts["steps"],
            residual=facts["residual"],
            worst=facts["worst"],
            done=tuple(done),
            solution=arrays.get("solution"),
            state=state,
        )
