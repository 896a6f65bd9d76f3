"""Guards: a run stops within a step, and goes on from its last good state as if undisturbed."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

import flexcalc
from flexcalc import cli
from flexcalc.errors import GuardError, InputError
from flexcalc.methods.dynamics import DynamicsState, Langevin
from flexcalc.methods.guard import DeviationGuard, check_deviation_known
from flexcalc.methods.iterate import Checkpoint, Recorder, run
from flexcalc.models.committee import Committee
from flexcalc.storage import AppendLog, load_checkpoint, whole_lines

pytestmark = pytest.mark.guard


class Spread(Committee):
    """Two wells of other stiffness: the deviation is |k1 - k2| |x - x0| / sqrt(2)."""


@pytest.fixture
def pair(wells):
    """The wells, and the same with half the stiffness."""
    return Spread([wells, type(wells)(stiffness=wells.stiffness / 2)])


def go(folder, potential, bound, steps=60, replicas=3):
    """Run dynamics with a guard; returns the last state."""
    folder.mkdir(exist_ok=True)
    start = np.broadcast_to(potential.members[0].reference, (replicas, 3, 3))
    guards = [DeviationGuard(numbers=potential.numbers, max_deviation_eV_A=bound)]
    with AppendLog(folder / "log.txt", whole_lines) as log:
        recorder = Recorder(log, 1, lambda s: f"{s.step} {s.positions.tobytes().hex()}\n".encode())
        checkpoint = Checkpoint(
            folder / "run.checkpoint", np.random.default_rng(3), [recorder], seconds=1e9
        )
        return run(
            Langevin(timestep_fs=1.0, temperature_K=600.0, friction_per_ps=20.0),
            potential,
            start,
            DynamicsState,
            steps=steps,
            checkpoint=checkpoint,
            guards=guards,
        )


def test_it_stops_at_the_first_step_beyond_the_bound_and_names_it(pair, tmp_path):
    free = go(tmp_path / "free", pair, np.inf, steps=60)
    assert free.evaluation.deviation.max() > 0
    with pytest.raises(GuardError, match=r"more than max_deviation_eV_A = 0\.1") as caught:
        go(tmp_path / "held", pair, 0.1)
    assert caught.value.exit_code == 3
    step, replica, atom = map(
        int, re.search(r"step (\d+): replica (\d), atom (\d) ", str(caught.value)).groups()
    )
    # What was recorded are the good states, and all of them.
    logs = [(tmp_path / name / "log.txt").read_text().splitlines() for name in ("free", "held")]
    assert logs[1] == logs[0][:step]
    bad = np.frombuffer(bytes.fromhex(logs[0][step].split()[1])).reshape(3, 3, 3)
    deviation = pair(bad).deviation
    assert np.unravel_index(deviation.argmax(), (3, 3)) == (replica, atom)
    assert deviation.max() > 0.1
    good = np.frombuffer(bytes.fromhex(logs[0][step - 1].split()[1])).reshape(3, 3, 3)
    assert pair(good).deviation.max() <= 0.1
    arrays, facts = load_checkpoint(tmp_path / "held" / "run.checkpoint")
    assert facts["values"]["step"] == step - 1
    assert np.array_equal(arrays["positions"], good)


def test_with_a_higher_bound_it_goes_on_as_if_it_had_never_stopped(pair, tmp_path):
    go(tmp_path / "free", pair, np.inf)
    for bound in (0.1, 0.12):
        with pytest.raises(GuardError):
            go(tmp_path / "held", pair, bound)
    go(tmp_path / "held", pair, np.inf)
    assert (tmp_path / "held/log.txt").read_bytes() == (tmp_path / "free/log.txt").read_bytes()


def test_a_start_that_is_beyond_the_bound_keeps_nothing(pair, tmp_path):
    pair.members[1].reference = pair.members[1].reference + 1.0
    with pytest.raises(GuardError, match="step 0"):
        go(tmp_path, pair, 0.1)
    assert (tmp_path / "log.txt").read_bytes() == b""


def test_a_force_that_is_not_finite_keeps_the_last_good_state_too(pair, tmp_path):
    """The potential itself may stop a run, in the middle of a step."""
    well, calls = pair.members[0], []
    evaluate = well.evaluate

    def sick(positions):
        calls.append(1)
        found = evaluate(positions)
        return type(found)(found.energies + (np.inf if len(calls) == 8 else 0.0), found.forces)

    well.evaluate = sick
    with pytest.raises(GuardError, match="not finite"):
        go(tmp_path, pair, np.inf)
    assert load_checkpoint(tmp_path / "run.checkpoint")[1]["values"]["step"] == 6
    assert len((tmp_path / "log.txt").read_text().splitlines()) == 7


def test_a_potential_without_deviation_is_refused(wells):
    with pytest.raises(InputError, match=r"wells\.flex knows no deviation"):
        check_deviation_known(wells, wells.reference[None], "wells.flex")


@pytest.fixture
def here(water_shelf, tmp_path, monkeypatch):
    """An empty folder with a model of water, a start and a committee."""
    for entry in water_shelf.iterdir():
        (tmp_path / entry.name).symlink_to(entry)
    monkeypatch.chdir(tmp_path)
    data = flexcalc.read("water.xyz")
    flexcalc.train(data, points=12, sigma=5.0, committee=3).save(Path("three.flex"))
    return tmp_path


def command(*words):
    """Exit code of a command line."""
    try:
        cli.main(list(words))
    except SystemExit as end:
        return end.code or 0
    return 0


def test_from_the_command_line_it_is_exit_code_3_and_a_higher_bound_goes_on(here, capsys):
    words = ["md", "three.flex", "start.xyz", "--steps", "200", "--replicas", "2"]
    words += ["--temperature-K", "900", "--friction-per-ps", "50", "--frame-every", "1"]
    assert command(*words, "-o", "free") == 0
    largest = flexcalc.read("free/trajectory.xyz").tags["deviation_max_eV_A"]
    bound = str(0.8 * float(largest.max()))
    capsys.readouterr()
    assert command(*words, "--max-deviation-eV-A", bound, "-o", "held") == 3
    line = capsys.readouterr().err
    step = int(re.match(r"flexcalc: step (\d+): replica \d, atom \d \([HO]\)", line)[1])
    kept = flexcalc.read("held/trajectory.xyz")
    assert len(kept) == 2 * step
    assert kept.tags["deviation_max_eV_A"].max() <= float(bound)
    assert not Path("held/results.json").exists()
    assert command(*words, "--max-deviation-eV-A", "1e9", "-o", "held") == 0
    for name in ("trajectory.xyz", "scalars.csv"):
        assert Path("held", name).read_bytes() == Path("free", name).read_bytes()
    assert json.loads(Path("held/results.json").read_text())["steps"] == 200


def test_a_bound_for_a_model_that_knows_no_deviation_is_bad_input(here, capsys):
    words = ["md", "water.flex", "start.xyz", "--max-deviation-eV-A", "0.5"]
    assert command(*words, "-o", "none") == 2
    assert capsys.readouterr().err.startswith("flexcalc: max_deviation_eV_A: water.flex knows no")
    assert not Path("none").exists()
