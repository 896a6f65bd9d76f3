"""N + N steps equal 2N steps, to the byte, for every method."""

from __future__ import annotations

import numpy as np
import pytest

from flexcalc.errors import FileFormatError
from flexcalc.geometry import Coordinate
from flexcalc.methods.dynamics import (
    NVE,
    DynamicsState,
    ExchangeState,
    Langevin,
    NoseHoover,
    ReplicaExchange,
    Rescaling,
)
from flexcalc.methods.irc import IRC, IRCState
from flexcalc.methods.iterate import Checkpoint, Recorder, Setup, pack, run, unpack
from flexcalc.methods.metadynamics import Metadynamics, MetadynamicsState, WellTempered
from flexcalc.methods.optimisers import FIRE, LBFGS
from flexcalc.methods.path import NEB, PathState, Scan, ScanState, String, interpolate
from flexcalc.methods.relax import Relax, RelaxState
from flexcalc.methods.saddle import RFO, SaddleState
from flexcalc.methods.umbrella import Umbrella, UmbrellaState, Windows
from flexcalc.storage import AppendLog, whole_lines
from flexcalc.store import FolderStore

UP = np.array([[0.0, 0, 0.4], [0.9, 0, 0], [-0.45, 0.8, 0], [-0.45, -0.8, 0]])
DOWN = UP * [1, 1, -1]

PLANAR = UP * [1.06, 1.06, 0]

METHODS = {
    "nve": (NVE(), DynamicsState, np.stack([UP, DOWN])),
    "langevin": (Langevin(), DynamicsState, np.stack([UP, DOWN])),
    "langevin-scheduled": (
        Langevin(schedule=("0.005 ps 600 K",), rigid_motion="removed"),
        DynamicsState,
        np.stack([UP, DOWN]),
    ),
    "rescaling": (Rescaling(), DynamicsState, np.stack([UP, DOWN])),
    "nose-hoover": (
        NoseHoover(replica_temperatures_K=(300.0, 500.0)),
        DynamicsState,
        np.stack([UP, DOWN]),
    ),
    "exchange": (
        ReplicaExchange(dynamics=Rescaling(replica_temperatures_K=(300.0, 320.0)), every=2),
        ExchangeState,
        np.stack([UP, DOWN]),
    ),
    "metad": (
        Metadynamics.on(
            [Coordinate.parse("dihedral 0 1 2 3"), Coordinate.parse("angle 1 0 2")],
            Langevin(),
            WellTempered(pace=3),
        ),
        MetadynamicsState,
        np.stack([UP, DOWN]),
    ),
    "umbrella": (
        Umbrella.on(
            [Coordinate.parse("angle 1 0 2")],
            Langevin(),
            Windows(low=[105.0], high=[110.0], windows=[2]),
            equilibration=10,
        ),
        UmbrellaState,
        np.stack([UP, DOWN]),
    ),
    **{
        f"{kind.kind}-{optimiser.kind}-{rows}": (
            kind(images=5, force_tolerance_eV_A=1e-9, optimiser=optimiser, rows=rows),
            PathState,
            interpolate(UP, DOWN, 5),
        )
        for kind in (NEB, String)
        for optimiser in (LBFGS(), FIRE())
        for rows in ("path", "image")
    },
    **{
        f"scan-{name}-{optimiser.kind}": (
            Scan(
                images=4,
                drive=("distance 0 1 to 1.4",),
                relax=relax,
                force_tolerance_eV_A=1e-9,
                optimiser=optimiser,
            ),
            ScanState,
            UP[None],
        )
        for name, relax in (("all", ("all",)), ("chosen", ("angle 1 0 2", "distance 0 2")))
        for optimiser in (LBFGS(), FIRE())
    },
    "rfo": (RFO(saddle_force_eV_A=1e-12), SaddleState, np.stack([UP, DOWN]) * [1, 1, 0.3]),
    "irc": (IRC(arc_step=0.02, arc_force_eV_A=1e-9), IRCState, PLANAR[None]),
    "relax": (Relax(force_tolerance_eV_A=1e-9, optimiser=LBFGS()), RelaxState, UP[None] * 1.1),
}


def line(state):
    """A record of a state with all its digits."""
    return f"{state.step} {state.evaluation.energies.tobytes().hex()}\n".encode()


def go(name, folder, steps, potential, seed=3):
    method, kind, start = METHODS[name]
    with AppendLog(folder / "log.txt", whole_lines) as log:
        recorder = Recorder(log, 2, line)
        checkpoint = Checkpoint(
            FolderStore(folder),
            "run.checkpoint",
            np.random.default_rng(seed),
            [recorder],
            seconds=1e9,
        )
        return run(method, Setup(potential, start), kind, steps=steps, checkpoint=checkpoint)


def everything(state):
    packed = pack(state)
    arrays = {name: array.tobytes() for name, array in packed.arrays.items()}
    return arrays, packed.kind, packed.values


@pytest.mark.physics
@pytest.mark.parametrize("name", METHODS)
def test_stopping_half_way_changes_not_one_byte(name, ammonia, tmp_path):
    (tmp_path / "whole").mkdir()
    (tmp_path / "halves").mkdir()
    whole = go(name, tmp_path / "whole", 20, ammonia)
    go(name, tmp_path / "halves", 10, ammonia)
    halves = go(name, tmp_path / "halves", 20, ammonia, seed=99)
    assert everything(whole) == everything(halves)
    one, other = (tmp_path / part / "log.txt" for part in ("whole", "halves"))
    assert one.read_bytes() == other.read_bytes()


@pytest.mark.data
def test_what_was_logged_after_the_checkpoint_is_not_doubled(ammonia, tmp_path):
    go("langevin", tmp_path, 10, ammonia)
    kept = (tmp_path / "log.txt").read_bytes()
    with open(tmp_path / "log.txt", "ab") as log:
        log.write(b"12 after the checkpoint\n")
    go("langevin", tmp_path, 10, ammonia)
    assert (tmp_path / "log.txt").read_bytes() == kept


@pytest.mark.data
def test_a_log_that_lost_lines_is_refused(ammonia, tmp_path):
    go("langevin", tmp_path, 10, ammonia)
    (tmp_path / "log.txt").write_bytes(b"")
    with pytest.raises(FileFormatError, match="expected at least"):
        go("langevin", tmp_path, 20, ammonia)


@pytest.mark.data
def test_a_checkpoint_of_another_method_is_refused(ammonia, tmp_path):
    go("langevin", tmp_path, 4, ammonia)
    with pytest.raises(FileFormatError, match="expected a PathState, found a DynamicsState"):
        go("neb-fire-path", tmp_path, 8, ammonia)


def test_a_state_comes_back_whole(ammonia, tmp_path):
    state = go("neb-fire-path", tmp_path, 6, ammonia)
    again = unpack(PathState, pack(state))
    assert everything(again) == everything(state)
    assert again.climbing is state.climbing


def test_a_state_with_a_tree_in_it_comes_back_whole(ammonia, tmp_path):
    state = go("scan-chosen-lbfgs", tmp_path, 6, ammonia)
    assert everything(unpack(ScanState, pack(state))) == everything(state)
