"""Local optimisers on batches of generalised forces.

An optimiser proposes the next move of `rows` independent problems from their positions and
forces (rows, atoms, 3). A row may be a molecule, or all images of a path. The memory of an
optimiser is a frozen dataclass of arrays, so that restarts are exact.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import ClassVar

import numpy as np

from flexcalc.fields import Count, Positive


@dataclass(frozen=True, eq=False)
class Memory:
    """History of an optimiser between steps; each array has one entry per row.

    Args:
        moves: (history, rows, atoms, 3) last steps in angstrom.
        changes: (history, rows, atoms, 3) last changes of the force in eV/angstrom.
        positions: (rows, atoms, 3) before the last move, in angstrom; empty before the first.
        forces: (rows, atoms, 3) before the last move, in eV/angstrom; empty before the first.
        velocity: (rows, atoms, 3), of FIRE.
        timestep: (rows,), of FIRE; for L-BFGS the trust radius, the maximum move in angstrom.
        mixing: (rows,), of FIRE.
        downhill: (rows,) steps since the last uphill move, of FIRE.
    """

    moves: np.ndarray
    changes: np.ndarray
    positions: np.ndarray
    forces: np.ndarray
    velocity: np.ndarray
    timestep: np.ndarray
    mixing: np.ndarray
    downhill: np.ndarray

    def of_rows(self, rows: slice | np.ndarray, known: int | None = None) -> Memory:
        """The memory of some rows; with `known`, of no more than the last steps."""
        begin = 0 if known is None else len(self.moves) - known
        moved = rows if len(self.positions) else slice(0)
        return Memory(
            moves=self.moves[begin:, rows],
            changes=self.changes[begin:, rows],
            positions=self.positions[moved],
            forces=self.forces[moved],
            velocity=self.velocity[rows],
            timestep=self.timestep[rows],
            mixing=self.mixing[rows],
            downhill=self.downhill[rows],
        )


def _blank(positions: np.ndarray, history: int, timestep: float, mixing: float) -> Memory:
    rows = len(positions)
    none = np.empty((0, *positions.shape))
    return Memory(
        moves=none[:history],
        changes=none[:history],
        positions=np.empty((0, *positions.shape[1:])),
        forces=np.empty((0, *positions.shape[1:])),
        velocity=np.zeros(positions.shape),
        timestep=np.full(rows, timestep),
        mixing=np.full(rows, mixing),
        downhill=np.zeros(rows),
    )


def _norms(forces: np.ndarray) -> np.ndarray:
    return np.sqrt(np.einsum("rac,rac->r", forces, forces))


def limit(move: np.ndarray, longest: float | np.ndarray) -> np.ndarray:
    """Shorten each row's move (rows, atoms, 3) so that no atom moves farther than `longest`.

    Args:
        longest: maximum move in angstrom, a common one or (rows,).
    """
    farthest = np.sqrt((move**2).sum(axis=2)).max(axis=1, initial=0.0)
    scale = np.minimum(1.0, longest / np.maximum(farthest, 1e-300))
    return move * scale[:, None, None]


@dataclass(frozen=True, kw_only=True)
class LBFGS:
    """Limited-memory BFGS without line search, with a maximum step length.

    Forces on a band are not a gradient, so no energy can judge a step. Instead, pairs of step and
    force change without positive curvature are skipped; steps are shortened while forces that point
    backwards grow; and a step is reverted if these forces more than double. Where forces along the
    step more than double, the history is forgotten.

    Source: Nocedal, Math. Comput. 35, 773 (1980), doi:10.1090/S0025-5718-1980-0572855-7.
    """

    kind: ClassVar[str] = "lbfgs"

    history: Count = 12
    """Number of previous steps in the L-BFGS history."""
    stiffness_eV_A2: Positive = 40.0
    """Initial guess of the curvature, in eV/angstrom^2."""
    step_A: Positive = 0.15
    """Maximum move of an atom in one step, in angstrom."""

    def start(self, positions: np.ndarray) -> Memory:
        """An empty memory for positions (rows, atoms, 3)."""
        return _blank(positions, self.history, self.step_A, 0.0)

    def move(
        self, positions: np.ndarray, forces: np.ndarray, memory: Memory
    ) -> tuple[np.ndarray, Memory]:
        """The next positions (rows, atoms, 3) in angstrom, and the new memory."""
        moves, changes, radius = memory.moves, memory.changes, memory.timestep
        if len(memory.positions):
            growth = _norms(forces) / np.maximum(_norms(memory.forces), 1e-300)
            # Growing forces along the step only mean that the descent gets steeper.
            beyond = np.einsum("rac,rac->r", forces, positions - memory.positions) < 0
            back = beyond & (growth > 2.0) & (radius > 0.01 * self.step_A)
            # A climbing image that runs up a wall meets ever larger forces along its steps.
            lost = ~beyond & (growth > 2.0)
            factor = np.where(back, 0.25, np.where(beyond & (growth > 1.0), 0.7, 1.3))
            factor = np.where(lost, 0.5, factor)
            radius = np.clip(radius * factor, 0.005 * self.step_A, self.step_A)
            keep = ~back[:, None, None]
            moves = self._with_latest(moves, keep * (positions - memory.positions))
            changes = self._with_latest(changes, keep * (memory.forces - forces))
            if lost.any():
                moves[:, lost] = changes[:, lost] = 0.0
            positions = np.where(keep, positions, memory.positions)
            forces = np.where(keep, forces, memory.forces)
        step = limit(self._direction(forces, moves, changes), radius)
        memory = replace(
            memory,
            moves=moves,
            changes=changes,
            positions=positions,
            forces=forces,
            timestep=radius,
        )
        return positions + step, memory

    def _with_latest(self, history: np.ndarray, latest: np.ndarray) -> np.ndarray:
        """A history (history, rows, atoms, 3) with the latest entry, without those that are too
        old; those of a row are next to each other in memory, as `_direction` needs them."""
        recent = history[max(len(history) + 1 - self.history, 0) :].swapaxes(0, 1)
        return np.concatenate([recent, latest[:, None]], axis=1).swapaxes(0, 1)

    def _direction(self, forces: np.ndarray, moves: np.ndarray, changes: np.ndarray) -> np.ndarray:
        """Inverse Hessian times forces for all rows; pairs of negative curvature are skipped.

        The compact representation needs few products and small triangular solves.

        Source: Byrd, Nocedal and Schnabel, Math. Program. 63, 129 (1994), equation 3.1,
        doi:10.1007/BF01582063.
        """
        steepest = forces / self.stiffness_eV_A2
        pairs, (rows, *one) = len(moves), forces.shape
        if not pairs:
            return steepest
        force = forces.reshape(rows, prod(one))
        s, y = (pair.reshape(pairs, rows, prod(one)).swapaxes(0, 1) for pair in (moves, changes))
        # Always in the same memory layout, because rounding depends on it.
        force, s, y = map(np.ascontiguousarray, (force, s, y))
        along, size = np.vecdot(s, y), np.vecdot(y, y)
        usable = along > 1e-10 * size
        if not usable.all():
            s, y = s * usable[:, :, None], y * usable[:, :, None]
        latest = np.arange(rows), pairs - 1 - np.argmax(usable[:, ::-1], axis=1)
        ratio = along[latest] / np.maximum(size[latest], 1e-300)
        scale = np.where(usable[latest], ratio, 1.0 / self.stiffness_eV_A2)
        # A skipped pair is all zeros, and 1 on the diagonal decouples it.
        upper = np.triu(s @ y.swapaxes(1, 2)) + np.eye(pairs) * ~usable[:, None, :]
        first = np.linalg.solve(upper, s @ force[:, :, None])
        curved = (along * usable)[:, :, None] * first
        curved += scale[:, None, None] * (y @ (y.swapaxes(1, 2) @ first - force[:, :, None]))
        second = np.linalg.solve(upper.swapaxes(1, 2), curved)
        direction = scale[:, None] * force
        direction += (s.swapaxes(1, 2) @ second)[:, :, 0]
        direction -= scale[:, None] * (y.swapaxes(1, 2) @ first)[:, :, 0]
        direction = direction.reshape(forces.shape)
        with np.errstate(over="ignore", invalid="ignore"):
            slope = np.einsum("rac,rac->r", direction, forces)
        # A slope that is not finite is no descent either.
        uphill = ~((slope > 0) & np.isfinite(slope))
        return np.where(uphill[:, None, None], steepest, direction)


@dataclass(frozen=True, kw_only=True)
class FIRE:
    """Fast inertial relaxation engine; slower than L-BFGS, but more robust.

    Source: Bitzek et al., Phys. Rev. Lett. 97, 170201 (2006),
    doi:10.1103/PhysRevLett.97.170201.
    """

    kind: ClassVar[str] = "fire"

    timestep: Positive = 0.1
    """Initial timestep, in angstrom sqrt(unit mass / eV)."""
    longest_timestep: Positive = 0.5
    """Maximum timestep, in the same unit."""
    step_A: Positive = 0.15
    """Maximum move of an atom in one step, in angstrom."""

    def start(self, positions: np.ndarray) -> Memory:
        """An empty memory for positions (rows, atoms, 3)."""
        return _blank(positions, 0, self.timestep, 0.1)

    def move(
        self, positions: np.ndarray, forces: np.ndarray, memory: Memory
    ) -> tuple[np.ndarray, Memory]:
        """The next positions (rows, atoms, 3) in angstrom, and the new memory."""
        velocity = memory.velocity
        power = np.einsum("rac,rac->r", forces, velocity)
        good = power > 0
        speed = np.sqrt(np.einsum("rac,rac->r", velocity, velocity))
        pull = np.sqrt(np.einsum("rac,rac->r", forces, forces))
        mixed = (1 - memory.mixing)[:, None, None] * velocity + (
            memory.mixing * speed / np.maximum(pull, 1e-300)
        )[:, None, None] * forces
        velocity = np.where(good[:, None, None], mixed, 0.0)
        faster = good & (memory.downhill > 5)
        timestep = np.where(
            faster, np.minimum(memory.timestep * 1.1, self.longest_timestep), memory.timestep
        )
        timestep = np.where(good | (speed == 0), timestep, timestep * 0.5)
        mixing = np.where(good, np.where(faster, memory.mixing * 0.99, memory.mixing), 0.1)
        velocity = velocity + timestep[:, None, None] * forces
        memory = replace(
            memory,
            velocity=velocity,
            timestep=timestep,
            mixing=mixing,
            downhill=np.where(good, memory.downhill + 1, 0.0),
        )
        return positions + limit(timestep[:, None, None] * velocity, self.step_A), memory


Optimiser = LBFGS | FIRE


def move_together(
    optimiser: Optimiser,
    positions: Sequence[np.ndarray],
    forces: Sequence[np.ndarray],
    memories: Sequence[Memory],
) -> list[tuple[np.ndarray, Memory]]:
    """One move of several searches, as arrays over the rows of all; see `LBFGS.move`.

    Args:
        optimiser: of all.
        positions: (rows, atoms, 3) of each, in angstrom, with one number of rows.
        forces: likewise, in eV/angstrom.
        memories: of each.

    Returns:
        The next positions and the new memory of each.
    """
    found: dict[int, tuple[np.ndarray, Memory]] = {}
    for begun in (False, True):  # the first move of a search has none before it
        members = [k for k, one in enumerate(memories) if bool(len(one.positions)) is begun]
        if members:
            chosen = [memories[k] for k in members]
            places = np.concatenate([positions[k] for k in members])
            pulls = np.concatenate([forces[k] for k in members])
            moved, memory = optimiser.move(places, pulls, _joined(chosen))
            rows = len(positions[0])
            for place, k in enumerate(members):
                part = slice(place * rows, (place + 1) * rows)
                known = min(len(memories[k].moves) + begun, len(memory.moves))
                found[k] = moved[part], memory.of_rows(part, known)
    return [found[k] for k in range(len(positions))]


def _joined(memories: Sequence[Memory]) -> Memory:
    """One memory of several; a shorter history begins with zeros, which L-BFGS skips."""
    if len(memories) == 1:
        return memories[0]
    longest = max(len(one.moves) for one in memories)

    def of_all(histories: list[np.ndarray]) -> np.ndarray:
        joined = []
        for history in histories:
            blank = np.zeros((longest - len(history), *history.shape[1:]))
            filled = np.concatenate([blank, history]) if len(blank) else history
            joined.append(filled.swapaxes(0, 1))
        return np.concatenate(joined).swapaxes(0, 1)  # those of a row next to each other

    return Memory(
        moves=of_all([one.moves for one in memories]),
        changes=of_all([one.changes for one in memories]),
        **{
            name: np.concatenate([getattr(one, name) for one in memories])
            for name in ("positions", "forces", "velocity", "timestep", "mixing", "downhill")
        },
    )
