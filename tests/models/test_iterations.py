"""Half-done iterative solutions: a solve that was stopped goes on and gives the same bytes."""

import numpy as np
import pytest

from flexcalc.models.gdml import SGDML, iterations, iterative, solver
from flexcalc.models.gdml.descriptor import InverseDistances
from flexcalc.models.gdml.engine import PROCESSOR
from flexcalc.models.gdml.groups import close, parsed
from flexcalc.models.gdml.kernel import Kernel, prepare
from flexcalc.progress import silent
from flexcalc.storage import load_checkpoint
from flexcalc.training.checkpoints import Checkpoints
from flexcalc.training.tuning import fit_best

RIDGE, SEED = 1e-5, 5

pytestmark = pytest.mark.data


class Killed(BaseException):
    """Stands for a kill: nothing catches it."""


class Steps:
    """Counts the steps of conjugate gradients; ends them after so many."""

    def __init__(self, most=10**9):
        self.most, self.count = most, 0

    def __call__(self, done, total, note=""):
        self.count += "residual" in note
        if self.count == self.most:
            raise Killed


@pytest.fixture
def kernel(toy, rng, monkeypatch):
    """Ten points of ethanol, with energies: two sets of labels; a checkpoint every step."""
    monkeypatch.setattr(iterations, "SECONDS", 0.0)
    monkeypatch.setattr(iterative, "LOOK_BACK", 8)
    _, positions = toy.ethanol_frames(10, rng)
    rows = [parsed(text, np.ones(9, dtype=int)) for text in ("(3 4 5)", "(3 4)")]
    group = np.array(close(rows, 10))
    return Kernel(prepare(InverseDistances(9), positions, group, energies=True), 6.0)


@pytest.fixture
def labels(rng):
    return rng.normal(size=(10, 22))


def solve(kernel, labels, folder=None, steps=silent, regularization=RIDGE, seed=SEED):
    setting = solver.Setting(
        kind="iterative", columns=15, tolerance=1e-5, engine=PROCESSOR, folder=folder
    )
    return solver.Solver(kernel, setting, steps).solve(labels, regularization, seed)


def stopped(kernel, labels, folder, after):
    with pytest.raises(Killed):
        solve(kernel, labels, folder, Steps(after))
    arrays, facts = load_checkpoint(folder / solver.CHECKPOINT)
    return "done0" in arrays, facts["restart"]


def assert_same(one, other):
    assert one.beta.tobytes() == other.beta.tobytes()
    assert one.constant == other.constant
    assert (one.facts, one.warning) == (other.facts, other.warning)


def test_a_solution_that_was_stopped_goes_on_to_the_byte(kernel, labels, tmp_path):
    """In either set of labels, before and after a restart with more columns."""
    steps = Steps()
    whole = solve(kernel, labels, steps=steps)
    assert whole.facts["steps"] == steps.count
    met = set()
    for after in {*range(2, steps.count, 7), steps.count}:
        met.add(stopped(kernel, labels, tmp_path, after))
        left = Steps()
        assert_same(solve(kernel, labels, tmp_path, left), whole)
        assert left.count == steps.count - after
        assert not list(tmp_path.iterdir())
    done, restarts = zip(*met, strict=True)
    assert set(done) == {False, True}
    assert (False, 0) in met
    assert any(restart for finished, restart in met if not finished)
    assert max(restarts) > 0


def test_one_that_is_stopped_again_and_again_ends_the_same(kernel, labels, tmp_path):
    whole = solve(kernel, labels)
    for _ in range(10**4):
        try:
            found = solve(kernel, labels, tmp_path, Steps(11))
        except Killed:
            continue
        break
    assert_same(found, whole)


@pytest.mark.parametrize("change", ["labels", "regularization", "seed", "sigma", "energies"])
def test_the_checkpoint_of_another_task_is_left_alone(change, kernel, labels, tmp_path):
    stopped(kernel, labels, tmp_path, 9)
    given = {"regularization": 2e-5} if change == "regularization" else {}
    given |= {"seed": SEED + 1} if change == "seed" else {}
    if change == "labels":
        labels = labels + 1e-12
    if change == "sigma":
        kernel = Kernel(kernel.points, 6.5)
    if change == "energies":
        labels = np.where(np.arange(22) == 21, 0.0, labels)
    counted, expected = Steps(), Steps()
    found = solve(kernel, labels, tmp_path, counted, **given)
    assert_same(found, solve(kernel, labels, steps=expected, **given))
    assert counted.count == expected.count
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("damage", [b"", b"not a checkpoint", None])
def test_a_damaged_checkpoint_costs_time_alone(damage, kernel, labels, tmp_path):
    """Empty, another file's content or one bit: none is gone on from."""
    steps = Steps()
    whole = solve(kernel, labels, steps=steps)
    stopped(kernel, labels, tmp_path, 9)
    files = list(tmp_path.iterdir())
    assert len(files) == 2  # the newest and the one before
    for path in files:
        content = bytearray(path.read_bytes())
        content[-5] ^= 1
        path.write_bytes(content if damage is None else damage)
    again = Steps()
    assert_same(solve(kernel, labels, tmp_path, again), whole)
    assert again.count == steps.count
    assert not list(tmp_path.iterdir())


def test_the_checkpoint_before_a_damaged_one_is_gone_on_from(kernel, labels, tmp_path):
    steps = Steps()
    whole = solve(kernel, labels, steps=steps)
    stopped(kernel, labels, tmp_path, 9)
    (tmp_path / solver.CHECKPOINT).write_bytes(b"")
    left = Steps()
    assert_same(solve(kernel, labels, tmp_path, left), whole)
    assert left.count == steps.count - 8


def test_nothing_is_kept_without_a_folder(kernel, labels, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(Killed):
        solve(kernel, labels, steps=Steps(9))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("finished", [0, 1])
@pytest.mark.filterwarnings("ignore::flexcalc.models.family.TrainingWarning")
def test_a_search_that_was_killed_within_a_solution_goes_on(
    finished, ethanol, tmp_path, monkeypatch
):
    """The same table and the same model, to the byte, from where the iterations were."""
    monkeypatch.setattr(iterations, "SECONDS", 0.0)
    family = SGDML(sigmas=(3.0, 6.0), regularization=1e-6, solver="iterative")
    train, validation, folder = ethanol[:20], ethanol[60:], tmp_path / "notebook"
    checkpoint = folder / solver.CHECKPOINT
    steps = []

    def counted(*arguments, state=None, keep, **given):
        def kept(reached):
            keep(reached)
            steps.append(len(reached.history))
            due = finished is not None and (folder / "candidate-000.json").exists() == finished
            if due and checkpoint.exists() and len(reached.history) == 7:
                raise Killed

        return iterative.conjugate_gradients(*arguments, state=state, keep=kept, **given)

    def search(memory):
        steps.clear()
        return fit_best(family, train, validation, np.random.default_rng(3), checkpoints=memory)

    monkeypatch.setattr(iterations, "conjugate_gradients", counted)
    with pytest.raises(Killed):
        search(Checkpoints(folder))
    assert checkpoint.exists()
    finished, before = None, finished
    resumed = search(Checkpoints(folder))
    assert steps[0] == 8
    assert not list(folder.glob(solver.CHECKPOINT + "*"))
    whole = fit_best(family, train, validation, np.random.default_rng(3))
    assert len(list(folder.glob("candidate-*.json"))) == len(whole.table) > before
    assert resumed.table == whole.table
    for name, choice in (("whole", whole), ("resumed", resumed)):
        choice.potential.save(tmp_path / f"{name}.flex")
    for name in ("model.json", "weights.safetensors"):
        one, other = (
            (tmp_path / f"{which}.flex" / name).read_bytes() for which in ("whole", "resumed")
        )
        assert one == other
