"""Guards: a run stops within a step, and goes on from its last good state as if undisturbed."""

from __future__ import annotations

import json
import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import flexcalc
from flexcalc import cli, files
from flexcalc.errors import GuardError, InputError
from flexcalc.geometry import Coordinate
from flexcalc.methods.dynamics import DynamicsState, Langevin
from flexcalc.methods.guard import (
    BendGuard,
    DeviationGuard,
    DistanceGuard,
    Guards,
    TrainingGuard,
    check_deviation_known,
    check_distance_known,
)
from flexcalc.methods.iterate import Checkpoint, Recorder, Setup, run
from flexcalc.models.committee import Committee
from flexcalc.potential import Sum
from flexcalc.storage import AppendLog, load_checkpoint, whole_lines
from flexcalc.store import FolderStore

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
            FolderStore(folder), "run.checkpoint", np.random.default_rng(3), [recorder], seconds=1e9
        )
        return run(
            Langevin(timestep_fs=1.0, temperature_K=600.0, friction_per_ps=20.0),
            Setup(potential, start, guards),
            DynamicsState,
            steps=steps,
            checkpoint=checkpoint,
        )


def test_it_stops_at_the_first_step_beyond_the_bound_and_names_it(pair, tmp_path):
    free = go(tmp_path / "free", pair, np.inf, steps=60)
    assert free.evaluation.deviation.max() > 0
    with pytest.raises(GuardError, match=r"more than max_deviation_eV_A = 0\.1") as caught:
        go(tmp_path / "held", pair, 0.1)
    assert caught.value.exit_code == 3
    step, replica, atom = map(
        int,
        re.search(
            r"step (\d+): replica (\d)(?: \(and \d more\))?, atom (\d) ", str(caught.value)
        ).groups(),
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


SURFACES = """
import numpy as np
from ase.calculators.calculator import Calculator, all_changes

BONDS = {(0, 1): 0.96, (0, 2): 0.96, (1, 2): 1.515}


class Springs(Calculator):
    \"\"\"Water on springs, with a fault that begins at a call.\"\"\"

    implemented_properties = ["energy", "forces"]

    def __init__(self, fault, begin):
        super().__init__()
        self.fault, self.begin, self.calls = fault, begin, 0

    def calculate(self, atoms=None, properties=(), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        self.calls += 1
        energy, forces = 0.0, np.zeros((3, 3))
        for (i, j), length in BONDS.items():
            arm = atoms.positions[i] - atoms.positions[j]
            stretch = np.linalg.norm(arm) - length
            energy += 15.0 * stretch**2
            forces[i] -= 30.0 * stretch * arm / np.linalg.norm(arm)
            forces[j] += 30.0 * stretch * arm / np.linalg.norm(arm)
        if self.calls >= self.begin:
            energy, forces = self.fault(atoms.positions, energy, forces)
        self.results = {"energy": energy, "forces": forces}


def not_a_number(positions, energy, forces):
    forces[2, 1] = np.nan
    return energy, forces


def infinite_energy(positions, energy, forces):
    return np.inf, forces


def close_contact(positions, energy, forces):
    pull = 60.0 * (positions[1] - positions[2])
    forces[1] -= pull
    forces[2] += pull
    return energy, forces


def flying_atom(positions, energy, forces):
    forces[1] = [5e3, 0.0, 0.0]
    return energy, forces


def broken_bond(positions, energy, forces):
    arm = positions[2] - positions[0]
    return energy, forces + np.outer([-1, 0, 1], 40.0 * arm / np.linalg.norm(arm))


def spike(positions, energy, forces):
    forces[1] += [0.0, 0.0, 60.0]
    return energy, forces
"""

FAULTS = {
    "not_a_number": ([], r"not finite \(forces on atoms 2\)", "not finite"),
    "infinite_energy": ([], r"not finite \(the energy\)", "not finite"),
    "close_contact": ([], r"atoms \d \(.\) and 2 \(H\): .*by min_contact", "close contact"),
    "flying_atom": ([], r"atoms 0 \(O\) and 1 \(H\): .*keep_bonds = false", "broken bond"),
    "broken_bond": ([], r"atoms 0 \(O\) and 2 \(H\): .*keep_bonds = false", "broken bond"),
    "spike": (
        ["--max-temperature-K", "3000"],
        r"atom 1 \(H\): .*max_temperature_K = 3000",
        "temperature spike",
    ),
}


@pytest.fixture
def faulty(tmp_path, monkeypatch):
    """An empty folder with a start, where an address makes springs with a fault."""
    monkeypatch.chdir(tmp_path)
    water = np.array([[0.0, 0.0, 0.0], [0.96, 0.0, 0.0], [-0.24, 0.93, 0.0]])
    flexcalc.write("start.xyz", flexcalc.Dataset(np.array([8, 1, 1]), water[None]))

    def address(fault, begin):
        made = f"\n\ndef make():\n    return Springs({fault}, {begin})\n"
        Path(f"{fault}_{begin}.py").write_text(SURFACES + made)
        return f"ase:{fault}_{begin}.py:make"

    return address


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_ends_the_run_within_a_step_and_leaves_what_is_needed(
    fault, faulty, capsys
):
    """Call 21 is a geometry of step 9 or 10, as 2 are in the batch."""
    flags, message, reason = FAULTS[fault]
    words = ["md", faulty(fault, 21), "start.xyz", "--steps", "400", "--replicas", "2"]
    words += ["--frame-every", "1", *flags, "-o", "run"]
    assert command(*words) == 3
    line = capsys.readouterr().err
    assert line.count("\n") == 1
    assert re.search(message, line), line
    assert "the state before is kept" in line
    step = int(re.search(r"step (\d+)", line)[1])
    # The fault acts on forces; what it does to positions takes a few steps.
    assert step in (9, 10) if reason == "not finite" else 9 <= step < 60
    kept = flexcalc.read("run/trajectory.xyz")
    assert len(kept) == 2 * step
    arrays, facts = load_checkpoint(Path("run/md.checkpoint"))
    assert facts["values"]["step"] == step - 1
    assert np.isfinite(arrays["positions"]).all()
    assert np.array_equal(arrays["positions"], kept.positions[-2:])
    stopped = files.read_frames("run/stopped.xyz")
    assert set(stopped.tags["reason"]) == {reason}
    assert np.isfinite(stopped.positions).all()
    assert re.search(rf"(replica|batch row) {stopped.tags['replica'][0]}\b", line)
    replica = stopped.tags["replica"][0]
    assert not (stopped.positions[0] == kept.positions[-2 + replica]).all()
    assert "stopped: step" in Path("run/log.txt").read_text()
    assert "Where a guard stopped it" in Path("run/report.html").read_text()
    # The same again stops again, and does not keep a geometry twice.
    Path(words[1].split(":")[1]).write_text(
        SURFACES + f"\n\ndef make():\n    return Springs({fault}, 1)\n"
    )
    found = []
    for _ in range(2):
        assert command(*words) == 3
        found.append(Path("run/stopped.xyz").read_bytes())
    assert found[0] == found[1]


def test_a_bond_that_forms_ends_the_run_unless_it_may():
    numbers = np.array([8, 1, 1, 8])
    start = np.array([[[0.0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0], [2.7, 0, 0]]])
    near = start + np.array([[0.0], [0.9], [0.0], [0.0]]) * [1.0, 0, 0]
    guard = DistanceGuard.around(numbers, start, 0.6, keep_bonds=True)
    guard(state_at(start))
    with pytest.raises(GuardError, match=r"atoms 0 \(O\) and 1 \(H\): their bond broke"):
        guard(state_at(near))
    shared = start - np.array([[0.0], [0.0], [0.0], [0.9]]) * [1.0, 0, 0]
    with pytest.raises(GuardError, match=r"atoms 1 \(H\) and 3 \(O\): a bond formed at 0.84 A"):
        guard(state_at(shared))
    free = DistanceGuard.around(numbers, start, 0.6, keep_bonds=False)
    free(state_at(near))
    free(state_at(shared))


def test_bonds_are_those_of_each_replicas_own_start():
    numbers = np.array([8, 1, 8])
    left = np.array([[0.0, 0, 0], [0.97, 0, 0], [2.6, 0, 0]])
    right = np.array([[0.0, 0, 0], [1.63, 0, 0], [2.6, 0, 0]])
    guard = DistanceGuard.around(numbers, np.stack([left, right]), 0.6, keep_bonds=True)
    guard(state_at(np.stack([left, right])))
    with pytest.raises(GuardError, match=r"replica 0 \(and 1 more\)") as caught:
        guard(state_at(np.stack([right, left])))
    assert caught.value.rows.tolist() == [0, 1]


def test_distances_keep_their_digits_far_from_the_origin():
    numbers = np.array([8, 1, 1])
    start = np.array([[[0.0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]]])
    guard = DistanceGuard.around(numbers, start, 0.6, keep_bonds=True)
    guard(state_at(start + 1e7))


def state_at(positions):
    """A state of dynamics at positions, as far as guards look at it."""
    return SimpleNamespace(step=4, positions=positions, momenta=np.zeros_like(positions))


def test_a_replica_that_goes_to_infinity_is_no_bad_input_but_a_stop(wells, rng):
    method = Langevin(timestep_fs=0.5)
    state = method.init(wells, np.stack([wells.reference] * 2), rng)
    state.momenta[1, 2, 0] = np.inf
    # The heat of infinite momenta is no number, on the way to being told.
    with (
        np.errstate(invalid="ignore"),
        pytest.raises(GuardError, match="positions of batch row 1 are not finite") as caught,
    ):
        method.step(wells, state, rng)
    assert np.array_equal(caught.value.positions, state.positions[1:])


def test_the_deviation_over_all_atoms_has_a_bound_of_its_own(pair):
    positions = pair.members[0].reference + np.array([[[0.2, 0, 0], [0, 0, 0], [0, 0, 0]]])
    state = SimpleNamespace(step=1, positions=positions, evaluation=pair(positions))
    deviation = state.evaluation.deviation[0]
    rms = np.sqrt(np.mean(deviation**2))
    assert deviation.max() == pytest.approx(np.sqrt(3) * rms)
    DeviationGuard(numbers=pair.numbers, max_rms_deviation_eV_A=1.01 * rms)(state)
    with pytest.raises(GuardError, match=r"root mean square over all atoms.*max_rms_deviation"):
        DeviationGuard(numbers=pair.numbers, max_rms_deviation_eV_A=0.99 * rms)(state)


def test_distance_to_the_training_set_is_the_descriptors_own(here):
    """By brute force over points and permutations, in multiples of the largest between points."""
    model = flexcalc.load("water.flex")
    rng = np.random.default_rng(4)
    positions = flexcalc.read("start.xyz").positions + 0.1 * rng.standard_normal((7, 3, 3))
    order = model.descriptor.relabelled(model.permutations)
    images = model.features[:, order]

    def nearest(features, skip=None):
        apart = np.linalg.norm(images - features, axis=-1).min(axis=1)
        return np.delete(apart, skip).min() if skip is not None else apart.min()

    largest = max(nearest(row, skip) for skip, row in enumerate(model.features))
    features = model.descriptor.linearise(positions).features
    expected = np.array([nearest(row) for row in features]) / largest
    assert np.allclose(model.distance(positions), expected, rtol=1e-7)
    data = flexcalc.read("water.xyz")
    assert model.distance(data.positions).min() < 1e-5


def test_a_model_stops_far_from_its_training_points(here):
    model = flexcalc.load("water.flex")
    start = flexcalc.read("start.xyz").positions
    guard = TrainingGuard(model, 3.0)
    guard(state_at(start))
    with pytest.raises(GuardError, match=r"replica 1, all atoms: .*max_training_distance = 3"):
        guard(state_at(np.concatenate([start, 0.7 * start])))


def test_parts_of_a_model_tell_their_distance(here):
    model, committee = flexcalc.load("water.flex"), flexcalc.load("three.flex")
    positions = flexcalc.read("water.xyz").positions[:5]
    expected = np.max([member.distance(positions) for member in committee.members], axis=0)
    assert np.array_equal(committee.distance(positions), expected)
    assert np.array_equal(Sum(model, model).distance(positions), model.distance(positions))


def test_a_potential_that_knows_no_training_set_is_refused(wells):
    with pytest.raises(InputError, match="max_training_distance: xtb:x does not know"):
        check_distance_known(wells, wells.reference[None], "xtb:x")


def test_from_the_command_line_a_model_stops_far_from_its_training_points(here, capsys):
    words = ["md", "water.flex", "start.xyz", "--steps", "300", "--temperature-K", "3000"]
    words += ["--friction-per-ps", "50", "--max-training-distance", "1.5", "-o", "far"]
    assert command(*words) == 3
    assert "more than max_training_distance = 1.5" in capsys.readouterr().err


def test_a_schedule_that_makes_no_sense_is_bad_input(here, capsys):
    words = ["md", "water.flex", "start.xyz", "--schedule", "10 fs 300 K", "-o", "none"]
    assert command(*words) == 2
    assert 'expected stages such as "10 ps 600 K"' in capsys.readouterr().err
    assert not Path("none").exists()


@pytest.mark.parametrize("kind", ["nve", "langevin", "rescaling", "nose-hoover"])
def test_every_method_runs_from_the_command_line_and_says_how_fast(kind, here):
    words = ["md", "water.flex", "start.xyz", "--method", kind, "--steps", "20"]
    assert command(*words, "-o", kind) == 0
    results = json.loads(Path(kind, "results.json").read_text())
    assert results["method"] == kind
    assert results["ns_per_day"] > 0


def test_guards_are_on_where_they_do_no_harm(wells):
    found = Guards().guards(wells, wells.reference[None], 0, "wells")
    assert [type(guard) for guard in found] == [DistanceGuard]
    assert not Guards(min_contact=0.0, keep_bonds=False).guards(wells, None, 0, "wells")


def chain(*bends):
    """Positions (1, 4, 3) of a chain whose two angles are bent by these degrees out of a line."""
    first, last = np.radians(bends)
    points = [[-np.cos(first), np.sin(first), 0], [0, 0, 0], [1, 0, 0]]
    return np.array([[*points, [1 + np.cos(last), 0, np.sin(last)]]])


@pytest.mark.parametrize("bends", [(0.9, 60.0), (60.0, 0.9), (0.0, 60.0), (179.5, 60.0)])
def test_a_dihedral_beside_an_angle_that_becomes_linear_stops_the_run(bends):
    guard = BendGuard((Coordinate.parse("dihedral 0 1 2 3"), Coordinate.parse("distance 0 1")))
    guard(SimpleNamespace(step=6, positions=chain(1.1, 60.0)))
    state = SimpleNamespace(step=7, positions=np.concatenate([chain(30.0, 60.0), chain(*bends)]))
    with pytest.raises(GuardError, match="step 7: replica 1, 'dihedral 0 1 2 3' has no") as caught:
        guard(state)
    assert caught.value.rows.tolist() == [1]
    assert "\n" not in str(caught.value)
    BendGuard((Coordinate.parse("angle 0 1 2"),))(state)
