"""Training of networks: exact resume, a compiled step that is the plain one, early ends."""

import shutil
import signal
import subprocess
import sys
import textwrap
import time
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

import flexcalc
from flexcalc.dataset import Dataset
from flexcalc.errors import AddressError, FileFormatError, InputError, MoleculeError
from flexcalc.models.folder import ModelContent, write_model
from flexcalc.models.gdml import SGDML

torch = pytest.importorskip("torch")
pytest.importorskip("schnetpack")

from flexcalc.models.networks.potential import differentiated  # noqa: E402
from flexcalc.models.networks.recording import Replayed, recorded  # noqa: E402
from flexcalc.models.networks.step import Flat, compiled_step, plain_step  # noqa: E402
from flexcalc.models.networks.trainer import Trainer  # noqa: E402
from flexcalc.models.schnetpack import PaiNN, SchNet  # noqa: E402
from flexcalc.progress import silent  # noqa: E402
from tests.systems import GEOMETRY, WATER, Springs  # noqa: E402

SMALL = SchNet(
    features=8, interactions=2, radial_functions=8, epochs=12, batch_size=4, compiled="no"
)


def frames(count, seed):
    noise = np.random.default_rng(seed).normal(scale=0.06, size=(count, 3, 3))
    labels = Springs(5.0)(GEOMETRY + noise)
    return Dataset(WATER, GEOMETRY + noise, labels.energies, labels.forces)


TRAIN, JUDGED = frames(18, seed=1), frames(6, seed=2)
WEIGHTS = np.linspace(0.5, 2.0, 18)


def weights(potential):
    return torch.cat([value.reshape(-1) for value in potential.network.state_dict().values()])


class StoppedError(Exception):
    pass


def stop_at(epoch):
    def progress(done, total, note):
        if done == epoch:
            raise StoppedError

    return progress


@pytest.mark.physics
@pytest.mark.parametrize("optimizer", ["adam", "adamw"])
@pytest.mark.parametrize("schedule", ["plateau", "cosine"])
def test_a_training_that_was_stopped_gives_the_same_weights(
    tmp_path, monkeypatch, optimizer, schedule
):
    """On the processor not a bit differs, wherever it was stopped."""
    monkeypatch.setattr("flexcalc.models.networks.trainer.CHECKPOINT_S", 0.0)
    family = replace(SMALL, optimizer=optimizer, schedule=schedule, plateau=2)
    whole = Trainer(family, TRAIN, JUDGED, 7, None).run(silent)
    for epoch in (1, 5, 11):
        with pytest.raises(StoppedError):
            Trainer(family, TRAIN, JUDGED, 7, tmp_path).run(stop_at(epoch))
    resumed = Trainer(family, TRAIN, JUDGED, 7, tmp_path)
    resumed._resume()
    assert resumed.epoch >= 10
    again = Trainer(family, TRAIN, JUDGED, 7, tmp_path).run(silent)
    assert torch.equal(weights(whole), weights(again))
    curves = [[{**row, "minutes": 0} for row in p.facts["curve"]] for p in (whole, again)]
    assert curves[0] == curves[1]


@pytest.mark.data
def test_a_training_that_was_killed_gives_the_same_weights(tmp_path):
    """kill -9 in another process, resumed in this one."""
    script = textwrap.dedent(f"""
        import sys
        sys.path.insert(0, {str(Path(__file__).parents[2])!r})
        import tests.models.test_network_training as here
        from flexcalc.models.networks import trainer
        trainer.CHECKPOINT_S = 0.0
        def told(done, total, note):
            print(done, flush=True)
        family = here.replace(here.SMALL, epochs=400)
        folder = here.Path({str(tmp_path)!r})
        here.Trainer(family, here.TRAIN, here.JUDGED, 3, folder).run(told)
    """)
    child = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    for line in child.stdout:
        if int(line) >= 20:
            break
    child.send_signal(signal.SIGKILL)
    child.wait()
    family = replace(SMALL, epochs=400)
    resumed = Trainer(family, TRAIN, JUDGED, 3, tmp_path)
    resumed._resume()
    assert 19 <= resumed.epoch < 400
    again = Trainer(family, TRAIN, JUDGED, 3, tmp_path).run(silent)
    whole = Trainer(family, TRAIN, JUDGED, 3, None).run(silent)
    assert torch.equal(weights(whole), weights(again))


def test_a_checkpoint_of_another_training_is_not_taken(tmp_path, monkeypatch):
    monkeypatch.setattr("flexcalc.models.networks.trainer.CHECKPOINT_S", 0.0)
    with pytest.raises(StoppedError):
        Trainer(SMALL, TRAIN, JUDGED, 7, tmp_path).run(stop_at(5))
    for other in (
        Trainer(replace(SMALL, learning_rate=2e-3), TRAIN, JUDGED, 7, tmp_path),
        Trainer(SMALL, TRAIN[np.arange(17)], JUDGED, 7, tmp_path),
        Trainer(SMALL, TRAIN, JUDGED, 8, tmp_path),
    ):
        other._resume()
        assert other.epoch == 0


@pytest.mark.parametrize("family", [SMALL, PaiNN(features=8, interactions=2)])
def test_the_step_is_the_gradient_of_the_loss(family):
    """Central differences of the loss in float64: error h^2 and rounding over h."""
    torch.manual_seed(0)
    network = family.build(WATER, TRAIN.positions).double()
    flat = Flat(network)
    batch = [torch.tensor(a[:4]) for a in (TRAIN.positions, *TRAIN.labels(), WEIGHTS)]
    step = plain_step(flat, 0.3, 0.7)
    vector = flat.vector()
    _, gradient = step(vector, *batch)
    rng = torch.Generator().manual_seed(1)
    for _ in range(3):
        direction = torch.randn(vector.shape, generator=rng, dtype=torch.float64)
        direction /= direction.norm()
        above, below = (step(vector + sign * 1e-4 * direction, *batch)[0] for sign in (1, -1))
        slope = float(above - below) / 2e-4
        assert slope == pytest.approx(float(gradient @ direction), rel=1e-5, abs=1e-8)


def test_a_traced_step_is_the_plain_step():
    """What the compiler is given; it is run here without one."""
    torch.manual_seed(0)
    flat = Flat(SMALL.build(WATER, TRAIN.positions).double())
    step = plain_step(flat, 0.3, 0.7)
    first, second = (
        [torch.tensor(a[part]) for a in (TRAIN.positions, *TRAIN.labels(), WEIGHTS)]
        for part in (slice(0, 4), slice(4, 8))
    )
    from torch.fx.experimental.proxy_tensor import make_fx

    traced = make_fx(step)(flat.vector(), *first)
    for found, expected in zip(
        traced(flat.vector(), *second), step(flat.vector(), *second), strict=True
    ):
        assert torch.allclose(found, expected, rtol=1e-12, atol=1e-14)


@pytest.mark.long
def test_a_compiled_step_is_the_plain_step():
    torch.manual_seed(0)
    flat = Flat(SMALL.build(WATER, TRAIN.positions))
    step = plain_step(flat, 0.3, 0.7)
    arrays = (TRAIN.positions, *TRAIN.labels(), WEIGHTS)
    batch = [torch.tensor(a[:4], dtype=torch.float32) for a in arrays]
    compiled = compiled_step(step, (flat.vector(), *batch))
    for found, expected in zip(
        compiled(flat.vector(), *batch), step(flat.vector(), *batch), strict=True
    ):
        assert torch.allclose(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_recorded_step_is_the_plain_step():
    """On another batch than the one it was recorded with."""
    torch.manual_seed(0)
    flat = Flat(SMALL.build(WATER, TRAIN.positions).cuda())
    step = plain_step(flat, 0.3, 0.7)
    first, second = (
        [
            torch.tensor(a[part], dtype=torch.float32, device="cuda")
            for a in (TRAIN.positions, *TRAIN.labels(), WEIGHTS)
        ]
        for part in (slice(0, 4), slice(4, 8))
    )
    replay = recorded(step, (flat.vector(), *first))
    for found, expected in zip(
        replay(flat.vector(), *second), step(flat.vector(), *second), strict=True
    ):
        assert torch.allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_a_size_that_comes_again_is_recorded_once_and_the_last_used_are_kept():
    recordings = []

    def record(work, example):
        recordings.append(len(example[0]))
        return lambda batch: (batch + 1,)

    replayed = Replayed(lambda batch: (batch,), record)
    sizes = [1, 2, 1, 1, *range(3, 10), 1]
    found = [float(replayed(torch.zeros(size))[0][0]) for size in sizes]
    assert recordings == [1]
    assert found == [0, 0, 1, 1, *[0] * 7, 1]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_replayed_potential_is_the_plain_one():
    torch.manual_seed(0)
    network = SMALL.build(WATER, TRAIN.positions).cuda().double()
    replayed = Replayed(lambda batch: differentiated(network, batch))
    batches = torch.tensor(TRAIN.positions, device="cuda").split(4)[:3]
    for batch in batches:
        for found, expected in zip(replayed(batch), differentiated(network, batch), strict=True):
            assert torch.allclose(found, expected, rtol=1e-12, atol=1e-14)


def test_what_cannot_be_recorded_is_done_as_it_is():
    def failing(work, example):
        raise RuntimeError("not here")

    replayed = Replayed(lambda batch: (2 * batch,), failing)
    assert [float(replayed(torch.ones(1))[0]) for _ in range(3)] == [2, 2, 2]


def test_a_recorder_that_fails_leaves_the_plain_step():
    trainer = Trainer(SMALL, TRAIN, None, 0, None)
    plain = trainer._step()

    def failing(step, example):
        raise RuntimeError("operation not permitted when stream is capturing\nand more")

    kept = trainer._faster(failing, "record", plain, (), False)
    assert kept is plain
    assert trainer.notes == [
        "schnet: torch cannot record the step here: operation not permitted when stream is "
        "capturing; trained without, which is slower"
    ]


def test_a_compiler_that_fails_leaves_the_plain_step(monkeypatch):
    def broken(*args):
        raise RuntimeError("no compiler\nsecond line")

    monkeypatch.setattr("flexcalc.models.networks.trainer.compiled_step", broken)
    monkeypatch.setattr("flexcalc.models.networks.trainer.worth_compiling", lambda *a: True)
    plain = Trainer(SMALL, TRAIN, JUDGED, 7, None).run(silent)
    quiet = Trainer(replace(SMALL, compiled="auto"), TRAIN, JUDGED, 7, None).run(silent)
    assert torch.equal(weights(plain), weights(quiet))
    assert any("no compiler; trained without" in note for note in quiet.facts["warnings"])
    with pytest.raises(InputError, match=r"no compiler$"):
        Trainer(replace(SMALL, compiled="yes"), TRAIN, JUDGED, 7, None).run(silent)


def test_a_training_learns_and_says_so():
    potential = Trainer(replace(SMALL, epochs=150), TRAIN, JUDGED, 7, None).run(silent)
    curve = potential.facts["curve"]
    assert curve[-1]["force_mae_kcal_mol_A"] < 0.5 * curve[0]["force_mae_kcal_mol_A"]
    # The kept weights are those of the lowest validation loss.
    from flexcalc.models.family import errors

    found = errors(potential(JUDGED.positions), JUDGED)
    best = min(curve, key=lambda row: row["validation_loss"])
    assert found["force_rmse_kcal_mol_A"] == pytest.approx(best["force_rmse_kcal_mol_A"], rel=1e-3)


def test_a_training_ends_early_where_nothing_gets_better():
    family = replace(SMALL, epochs=500, learning_rate=1e-12, early_stopping=5, plateau=2)
    family = replace(family, smallest_learning_rate=1e-30)
    potential = Trainer(family, TRAIN, JUDGED, 7, None).run(silent)
    assert potential.facts["epochs_done"] < 500
    assert "no better validation loss" in potential.facts["ended"]


def test_a_training_ends_when_its_time_is_up():
    family = replace(SMALL, epochs=10**6, time_limit_min=0.01)
    begun = time.monotonic()
    potential = Trainer(family, TRAIN, JUDGED, 7, None).run(silent)
    assert potential.facts["ended"] == "the time is up"
    assert time.monotonic() - begun < 30


def test_a_loss_that_grows_beyond_bounds_is_one_clear_line():
    family = replace(SMALL, epochs=500, learning_rate=1e18, clip=1e30, averaging=0.001)
    with pytest.raises(InputError, match="smaller learning_rate"):
        Trainer(family, TRAIN, JUDGED, 7, None).run(silent)


def test_a_gpu_that_is_not_there_is_refused():
    if torch.cuda.is_available():
        pytest.skip("there is one")
    with pytest.raises(InputError, match="no GPU"):
        replace(SMALL, device="cuda").fit(TRAIN, JUDGED, np.random.default_rng(0))


def test_an_address_opens_a_network_in_another_precision(tmp_path):
    """Single precision rounds, by some 1e-7 of the forces; the weights are the same ones."""
    fitted = SMALL.fit(TRAIN, JUDGED, np.random.default_rng(0))
    place = str(tmp_path / "water.flex")
    fitted.save(place)
    single = flexcalc.load(f"{place}?precision=float32&device=cpu")
    found, expected = single(JUDGED.positions), fitted(JUDGED.positions)
    off = np.abs(found.forces - expected.forces).max()
    assert 0 < off < 1e-4
    assert np.array_equal(
        single.reopened(precision="float64")(JUDGED.positions).forces, expected.forces
    )
    with pytest.raises(AddressError, match="option precision 'float16' is unknown; did you mean"):
        flexcalc.load(f"{place}?precision=float16")
    with pytest.raises(AddressError, match="unknown option 'precisoin'; did you mean precision"):
        flexcalc.load(f"{place}?precisoin=float32")
    SGDML(sigma=3.0).fit(TRAIN, None, np.random.default_rng(0)).save(tmp_path / "kernel.flex")
    with pytest.raises(AddressError, match="a model of this family takes no options"):
        flexcalc.load(f"{tmp_path}/kernel.flex?precision=float32")


def test_labels_that_are_all_the_same_are_refused():
    flat = Dataset(WATER, TRAIN.positions, np.zeros(18), np.zeros((18, 3, 3)))
    with pytest.raises(InputError, match="forces differ"):
        SMALL.fit(flat, None, np.random.default_rng(0))


def test_torchs_own_generator_is_left_as_it_was(tmp_path):
    torch.manual_seed(11)
    expected = torch.rand(3)
    torch.manual_seed(11)
    potential = SMALL.fit(TRAIN, JUDGED, np.random.default_rng(0))
    potential.save(tmp_path / "model.flex")
    SchNet.load(tmp_path / "model.flex")
    assert torch.equal(torch.rand(3), expected)


def test_a_model_trained_on_a_gpu_opens_without_one(tmp_path):
    potential = Trainer(SMALL, TRAIN, JUDGED, 7, None).run(silent)
    potential.family = replace(potential.family, device="cuda")
    potential.save(tmp_path / "model.flex")
    positions = JUDGED.positions
    found = SchNet.load(tmp_path / "model.flex")(positions)
    assert np.array_equal(found.forces, potential(positions).forces)


@pytest.mark.security
@pytest.mark.parametrize(
    "change", [{"features": "many"}, {"radial_basis": "none"}, {"output_layers": -1}, {"new": 1}]
)
def test_hyperparameters_that_make_no_network_are_refused(tmp_path, change):
    potential = Trainer(SMALL, TRAIN, JUDGED, 7, None).run(silent)
    values = asdict(potential.family) | change
    write_model(
        tmp_path / "model.flex",
        ModelContent(
            family="schnet",
            numbers=WATER,
            hyperparameters=values,
            arrays={"constant": np.array(0.0), "scale": np.array(1.0)},
            facts={},
        ),
    )
    with pytest.raises(FileFormatError, match=r"model\.flex"):
        SchNet.load(tmp_path / "model.flex")


def test_a_schedule_that_ends_at_its_best_earns_no_warning():
    cosine = Trainer(replace(SMALL, schedule="cosine"), TRAIN, JUDGED, 7, None).run(silent)
    plateau = Trainer(SMALL, TRAIN, JUDGED, 7, None).run(silent)
    assert cosine.facts["warnings"] == []
    assert "still getting better" in plateau.facts["warnings"][0]


# ---------------------------------------------------------------- from a trained network


def test_a_training_that_starts_from_a_network_begins_with_its_forces(tmp_path):
    """One step of no size: the forces are the start's, the mean energy that of the new labels."""
    SMALL.fit(TRAIN, JUDGED, np.random.default_rng(0)).save(tmp_path / "start.flex")
    family = replace(SMALL, start_from=str(tmp_path / "start.flex"), learning_rate=1e-12, epochs=1)
    other = replace(JUDGED, energies=JUDGED.energies + 50.0, forces=1.5 * JUDGED.forces)
    tuned = family.fit(other, None, np.random.default_rng(0))
    start = SMALL.load(tmp_path / "start.flex")
    found, expected = tuned(TRAIN.positions), start(TRAIN.positions)
    # Both in float64 from float32 weights that differ by 1e-13 at most, in a scale of some eV.
    assert np.abs(found.forces - expected.forces).max() < 1e-5
    off = tuned(other.positions).energies - other.energies
    assert abs(off.mean()) < 1e-5
    assert tuned.facts["start_sha256"] == start.sha256()


def test_a_start_from_cheap_labels_lowers_the_error_of_few_true_ones(tmp_path):
    """Labels whose forces are a tenth too large, many of them; and twelve true ones."""
    many, few = frames(80, seed=5), frames(12, seed=6)
    cheap = replace(many, forces=1.1 * many.forces, energies=1.1 * many.energies)
    family = replace(SMALL, epochs=150)
    family.fit(cheap, None, np.random.default_rng(0)).save(tmp_path / "start.flex")
    started = replace(family, start_from=str(tmp_path / "start.flex"))

    def error(one):
        fit = one.fit(few, None, np.random.default_rng(0))
        return np.sqrt(np.mean((fit(many.positions).forces - many.forces) ** 2))

    assert error(started) < 0.7 * error(family)


@pytest.mark.data
def test_a_stopped_training_from_a_network_resumes_and_its_model_outlives_the_start(
    tmp_path, monkeypatch
):
    monkeypatch.setattr("flexcalc.models.networks.trainer.CHECKPOINT_S", 0.0)
    SMALL.fit(TRAIN, JUDGED, np.random.default_rng(0)).save(tmp_path / "start.flex")
    family = replace(SMALL, start_from=str(tmp_path / "start.flex"))
    whole = Trainer(family, JUDGED, None, 7, None).run(silent)
    with pytest.raises(StoppedError):
        Trainer(family, JUDGED, None, 7, tmp_path).run(stop_at(5))
    again = Trainer(family, JUDGED, None, 7, tmp_path).run(silent)
    assert torch.equal(weights(whole), weights(again))
    whole.save(tmp_path / "tuned.flex")
    shutil.rmtree(tmp_path / "start.flex")
    found = SMALL.load(tmp_path / "tuned.flex")(TRAIN.positions)
    assert np.array_equal(found.forces, whole(TRAIN.positions).forces)


@pytest.mark.inputs
def test_a_start_of_another_size_or_family_is_refused(tmp_path):
    SMALL.fit(TRAIN, JUDGED, np.random.default_rng(0)).save(tmp_path / "start.flex")
    path = str(tmp_path / "start.flex")
    with pytest.raises(InputError, match="another size"):
        replace(SMALL, start_from=path, features=2 * SMALL.features).check(WATER)
    with pytest.raises(FileFormatError, match="schnet"):
        PaiNN(start_from=path).check(WATER)
    with pytest.raises(MoleculeError):
        replace(SMALL, start_from=path).check(np.array([8, 1, 1, 1]))
