"""The loop that steps every method, with checkpoints and exact restarts.

A method is a frozen dataclass with `init(potential, positions, rng) -> State` and
`step(potential, state, rng) -> State`. States are frozen dataclasses of arrays, numbers and
Evaluations; together with the random generator, a state is all that an exact restart needs.
"""

from __future__ import annotations

import operator
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, Protocol, get_type_hints

import numpy as np
from numpy.random import Generator

from flexcalc.dataset import Dataset, concatenate
from flexcalc.errors import FileFormatError, GuardError, NonFiniteError
from flexcalc.masses import of_frames
from flexcalc.potential import Counted, Potential
from flexcalc.storage import JSON
from flexcalc.store import Log, Store


class State(Protocol):
    """State of a method; `step` counts its steps."""

    @property
    def step(self) -> int: ...


Observer = Callable[[Any], None]


class Method[S: State](Protocol):
    """An algorithm that moves positions on a potential, one step at a time."""

    def init(self, potential: Potential, positions: np.ndarray, rng: Generator) -> S: ...

    def step(self, potential: Potential, state: S, rng: Generator) -> S: ...


@dataclass(frozen=True, eq=False)
class StartedWith:
    """A method whose first state is made of more than positions, such as a tangent or a Hessian.

    Args:
        method: that is run.
        more: what its `init` takes after the generator.
    """

    method: Any
    more: Any

    @property
    def masses(self) -> Sequence[float]:
        """Masses (atoms,) in amu of the method; empty for standard ones."""
        return getattr(self.method, "masses", ())

    def init(self, potential: Potential, positions: np.ndarray, rng: Generator) -> Any:
        """The first state of the method."""
        return self.method.init(potential, positions, rng, self.more)

    def step(self, potential: Potential, state: Any, rng: Generator) -> Any:
        """The next state of the method."""
        return self.method.step(potential, state, rng)

    def converged(self, state: Any) -> bool:
        """Whether the method has converged."""
        return self.method.converged(state)


def iterate[S: State](
    method: Method[S],
    potential: Potential,
    state: S,
    *,
    steps: int,
    rng: Generator,
    observers: Iterable[Observer] = (),
) -> S:
    """Step a method until its state has counted `steps` steps or the method has converged.

    Args:
        method: the algorithm; if it has `converged(state) -> bool`, that can end the loop early.
        potential: surface, in eV and angstrom.
        state: from `method.init`, or from a checkpoint.
        steps: total number of steps, including those already in `state.step`.
        rng: the only source of randomness.
        observers: called with every new state.

    Raises:
        GuardError: from a guard among the observers, or from the potential.
    """
    observers = tuple(observers)
    converged = getattr(method, "converged", None)
    while state.step < steps and not (converged is not None and converged(state)):
        state = method.step(potential, state, rng)
        for observer in observers:
            observer(state)
    return state


class Recorder:
    """An observer that appends every n-th state to a log, in chunks.

    Args:
        log: append-only log of the run.
        every: steps between records.
        render: converts a state to one record of the log.
        head: first record of the log, None for a log that has none.
        optional: whether a checkpoint may lack the log, as one of an earlier version does; such
            recorders come last.
    """

    def __init__(
        self,
        log: Log,
        every: int,
        render: Callable[[Any], Any],
        *,
        head: Any = None,
        optional: bool = False,
    ):
        self.log, self.every, self.render = log, every, render
        self.head, self.optional = head, optional
        self._pending: list[Any] = []

    def __call__(self, state: State) -> None:
        if state.step % self.every == 0:
            self._pending.append(self.render(state))

    def flush(self) -> None:
        """Append the pending records to the log."""
        if self._pending:
            if self.head is not None and not self.log.size:
                self._pending.insert(0, self.head)
            self.log.extend(self._pending)
            self._pending.clear()


class Checkpoint:
    """An observer that saves checkpoints, from which a run resumes exactly to the byte.

    On restart the logs of the run are truncated to their length at the time of the checkpoint, so
    that no frame is lost or written twice.

    Args:
        store: where checkpoints are saved.
        name: of the checkpoint in the store.
        rng: random generator of the run; its state is saved and restored.
        recorders: the logs of the run.
        seconds: minimum time between checkpoints.
        counted: potential of the run whose evaluations go on being counted on a restart.
    """

    def __init__(
        self,
        store: Store,
        name: str,
        rng: Generator,
        recorders: Sequence[Recorder] = (),
        *,
        seconds: float = 5.0,
        counted: Counted | None = None,
    ):
        self.store, self.name, self.rng, self.seconds = store, name, rng, seconds
        self.counted = counted
        self.recorders = tuple(recorders)
        self.steps = 0
        """Steps of the state that was saved or restored last."""
        self._last = time.monotonic()

    def __call__(self, state: State) -> None:
        if time.monotonic() - self._last >= self.seconds:
            self.save(state)

    def save(self, state: State, generator: Mapping[str, Any] | None = None) -> None:
        """Write a checkpoint now; `generator` is the generator's state at that step, by default
        now."""
        self.flush()
        packed = pack(state)
        facts: dict[str, JSON] = {
            "kind": packed.kind,
            "values": packed.values,
            "rng": self.rng.bit_generator.state if generator is None else generator,
            "logs": [recorder.log.size for recorder in self.recorders],
        }
        if self.counted is not None:
            facts["evaluations"] = self.counted.geometries
        self.steps = state.step
        self.store.put_arrays(self.name, packed.arrays, facts)
        self._last = time.monotonic()

    def flush(self) -> None:
        """Append all pending records to their logs."""
        for recorder in self.recorders:
            recorder.flush()

    def restore[S: State](self, kind: type[S]) -> S | None:
        """Restart: the saved state, with generator and logs reset to it; None for a new run.

        Raises:
            FileFormatError: the checkpoint is damaged or of another method.
        """
        found = self.store.arrays(self.name)
        if found is None:
            for recorder in self.recorders:
                recorder.log.truncate(0)
            return None
        arrays, facts = found
        try:
            state = unpack(kind, Packed(facts["kind"], arrays, facts["values"]))
            self.rng.bit_generator.state = facts["rng"]
            if type(state.step) is not int or state.step < 0:
                raise ValueError(f"a step of {state.step!r}")
            lengths = [operator.index(length) for length in facts["logs"]]
            lacking = self.recorders[len(lengths) :]
            if all(recorder.optional for recorder in lacking):
                lengths += [0] * len(lacking)
            if len(lengths) != len(self.recorders) or any(length < 0 for length in lengths):
                raise ValueError(f"lengths of logs {lengths}")
            if self.counted is not None:
                self.counted.geometries = operator.index(facts.get("evaluations", 0))
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
            raise FileFormatError(
                f"{self.store.where(self.name)}: not a checkpoint of this method ({error}); "
                "choose another folder"
            ) from None
        for recorder, length in zip(self.recorders, lengths, strict=True):
            recorder.log.truncate(length)
        self.steps = state.step
        return state


class LastGood:
    """An observer that holds the last good state, before the one that a guard refuses.

    Args:
        rng: random generator of the run.
    """

    def __init__(self, rng: Generator):
        self.rng = rng
        self.state: State | None = None
        self.generator: Mapping[str, Any] = {}

    def __call__(self, state: State) -> None:
        self.state, self.generator = state, self.rng.bit_generator.state


@dataclass(frozen=True, eq=False)
class Setup:
    """Geometries that are about to move, and the surface that they move on.

    Args:
        potential: surface, in eV and angstrom.
        positions: (batch, atoms, 3) in angstrom, where a fresh run starts.
        guards: called with every state before it is recorded; they raise a GuardError to end the
            run (`methods/guard.py`).
    """

    potential: Potential
    positions: np.ndarray
    guards: Sequence[Observer] = ()


def run[S: State](
    method: Method[S],
    setup: Setup,
    kind: type[S],
    *,
    steps: int,
    checkpoint: Checkpoint,
    observers: Iterable[Observer] = (),
) -> S:
    """Start a method, or resume it from its checkpoint, and iterate with everything recorded.

    Args:
        method: what moves the batch.
        setup: what is moved, and on what.
        kind: class of the method's states.
        steps: total number of steps.
        checkpoint: saves the run; its generator is that of the run.
        observers: called with every state, after the recorders.

    Raises:
        FileFormatError: the checkpoint on disk is damaged or of another method.
        GuardError: a guard stopped the run. All records before are saved, the checkpoint is the
            last good state, and the bad geometries are in stopped.xyz.
    """
    rng, last, potential = checkpoint.rng, LastGood(checkpoint.rng), setup.potential
    recorded: tuple[Observer, ...] = (*checkpoint.recorders, *observers, checkpoint)
    watchers: tuple[Observer, ...] = (*setup.guards, *recorded, last)
    state = checkpoint.restore(kind)
    try:
        if state is not None:
            for guard in setup.guards:
                guard(state)
            last(state)
        if state is None:
            state = method.init(potential, setup.positions, rng)
            for watcher in watchers:
                watcher(state)
        state = iterate(method, potential, state, steps=steps, rng=rng, observers=watchers)
    except GuardError as error:
        if last.state is not None:
            checkpoint.save(last.state, last.generator)
        dynamics = getattr(method, "dynamics", method)  # of a method that adds a bias
        masses = getattr(dynamics, "masses", ())
        _keep_geometries(checkpoint.store, potential.numbers, masses, error)
        if isinstance(error, NonFiniteError) and error.positions is not None:
            step = 0 if last.state is None else last.state.step + 1
            raise NonFiniteError(
                f"step {step}: {error}; the state before is kept, and the geometry is in "
                f"{STOPPED_FILE}",
                error.reason,
                error.rows,
                error.positions,
            ) from None
        raise
    except BaseException:
        checkpoint.flush()
        raise
    checkpoint.save(state)
    return state


STOPPED_FILE = "stopped.xyz"
"""File next to the checkpoint with the geometries at which guards stopped runs, for labelling."""


def _keep_geometries(
    store: Store, numbers: np.ndarray, masses: Sequence[float], error: GuardError
) -> None:
    """Save the geometries of an error, unless they were saved at the last attempt."""
    if error.rows is None or error.positions is None:
        return
    tags = {"replica": np.asarray(error.rows), "reason": np.full(len(error.rows), error.reason)}
    own = of_frames(masses, len(error.rows))
    frames = Dataset(numbers, error.positions, tags=tags, masses=own)
    before = store.get(STOPPED_FILE)
    if before is None:
        store.put(STOPPED_FILE, frames)
    elif not _contains(before, frames):
        store.put(STOPPED_FILE, concatenate(before, frames))


def _contains(all_frames: Dataset, frames: Dataset) -> bool:
    """Whether a dataset contains the geometries of another one in the same order."""
    count = len(frames)
    return any(
        np.array_equal(all_frames.positions[begin : begin + count], frames.positions)
        for begin in range(len(all_frames) - count + 1)
    )


@dataclass(frozen=True, eq=False)
class Packed:
    """A state in parts that can be written to a file, by dotted name.

    Args:
        kind: name of the state's class.
        arrays: the arrays in it.
        values: everything else.
    """

    kind: str
    arrays: Mapping[str, np.ndarray]
    values: Mapping[str, JSON]


def pack(state: State) -> Packed:
    """Split a state into its parts."""
    arrays: dict[str, np.ndarray] = {}
    values: dict[str, JSON] = {}

    def walk(value: Any, name: str) -> None:
        if isinstance(value, np.ndarray):
            arrays[name] = value
        elif is_dataclass(value):
            for item in fields(value):
                walk(getattr(value, item.name), f"{name}.{item.name}" if name else item.name)
        else:
            values[name] = value

    walk(state, "")
    return Packed(type(state).__name__, arrays, values)


def unpack[S: State](kind: type[S], packed: Packed) -> S:
    """The state that `pack` split.

    Raises:
        ValueError: it was of another kind.
        KeyError: a part is missing.
    """
    if packed.kind != kind.__name__:
        raise ValueError(f"expected a {kind.__name__}, found a {packed.kind}")

    def build(cls: type, name: str) -> Any:
        parts: dict[str, object] = {}
        hints = get_type_hints(cls)
        for item in fields(cls):
            key = f"{name}.{item.name}" if name else item.name
            if key in packed.arrays:
                parts[item.name] = packed.arrays[key]
            elif key in packed.values:
                parts[item.name] = packed.values[key]
            elif is_dataclass(hints[item.name]):
                parts[item.name] = build(hints[item.name], key)
            else:
                raise KeyError(key)
        return cls(**parts)

    return build(kind, "")
