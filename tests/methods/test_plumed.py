"""Dynamics under PLUMED, on a real kernel where there is one and on a stand-in everywhere."""

from __future__ import annotations

import importlib.metadata
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import plumed_standin
import pytest

import flexcalc
from flexcalc.errors import GuardError, InputError, MissingExtraError
from flexcalc.files.plumed import read_table
from flexcalc.files.plumed_input import check_plumed_input
from flexcalc.geometry import Coordinate
from flexcalc.methods import plumed_kernel
from flexcalc.methods.dynamics import Langevin
from flexcalc.methods.iterate import Checkpoint, Setup, iterate, run
from flexcalc.methods.plumed import Kernels, PlumedState, UnderPlumed, read_script
from flexcalc.methods.plumed_kernel import has_action, kernel_file
from flexcalc.potential import CheckedPotential, Evaluation
from flexcalc.store import FolderStore
from flexcalc.units import KJ_MOL

START = np.array([[0.0, 0, 0.4], [0.9, 0, 0], [-0.45, 0.8, 0], [-0.45, -0.8, 0]])
BATH = Langevin(timestep_fs=0.5, temperature_K=300.0, friction_per_ps=10.0)
RESTRAINT = """d: DISTANCE ATOMS=1,2
r: RESTRAINT ARG=d AT=0.12 KAPPA=5000
PRINT ARG=d STRIDE=2 FILE=COLVAR
"""
HILLS = """d: DISTANCE ATOMS=1,2
m: METAD ARG=d SIGMA=0.005 HEIGHT=1.5 PACE=3 FILE=HILLS
PRINT ARG=d STRIDE=2 FILE=COLVAR
"""
HILLS_DIGITS = 1e-7
"""Relative rounding of a hill of some kJ/mol that is written with nine decimals."""


def needs_a_kernel():
    """The test skips where there is none; the developers' environment has one."""
    pytest.importorskip("plumed")
    if kernel_file() is None:
        pytest.skip("needs PLUMED's library")


@pytest.fixture(params=["stand-in", "kernel"])
def plumed(request, monkeypatch):
    if request.param == "kernel":
        needs_a_kernel()
    else:
        monkeypatch.setitem(sys.modules, "plumed", plumed_standin)
    return request.param


@pytest.fixture
def kernel():
    """Of PLUMED alone."""
    needs_a_kernel()


def method(script, folder, potential, replicas=1):
    kernels = Kernels(script, folder / "plumed", potential.numbers, replicas, BATH)
    return UnderPlumed(dynamics=BATH, kernels=kernels)


def go(script, folder, potential, steps, replicas=1, seed=3):
    folder.mkdir(exist_ok=True)
    moving = method(script, folder, potential, replicas)
    start = np.repeat(START[None], replicas, axis=0)
    checkpoint = Checkpoint(FolderStore(folder), "c", np.random.default_rng(seed), seconds=1e9)
    try:
        return run(moving, Setup(potential, start), PlumedState, steps=steps, checkpoint=checkpoint)
    finally:
        moving.kernels.close()


def test_a_restraint_is_the_spring_it_should_be(plumed, ammonia, tmp_path):
    state = go(RESTRAINT, tmp_path, ammonia, 20)
    distance, gradient = Coordinate.parse("distance 0 1").measure(state.positions)
    kappa = 5000 * KJ_MOL / 100
    assert state.bias == pytest.approx(0.5 * kappa * (distance - 1.2) ** 2, rel=1e-12)
    model = ammonia(state.positions)
    np.testing.assert_array_equal(state.evaluation.forces, model.forces)
    push = state.dynamics.evaluation.forces - model.forces
    expected = -(kappa * (distance - 1.2))[:, None, None] * gradient
    np.testing.assert_allclose(push, expected, atol=1e-12)


def test_stopping_half_way_changes_not_one_byte_of_a_bias_without_memory(plumed, ammonia, tmp_path):
    whole = go(RESTRAINT, tmp_path / "whole", ammonia, 20, replicas=2)
    for steps in (7, 20):
        halves = go(RESTRAINT, tmp_path / "halves", ammonia, steps, replicas=2)
    np.testing.assert_array_equal(whole.positions, halves.positions)
    np.testing.assert_array_equal(whole.momenta, halves.momenta)
    for replica in range(2):
        files = [tmp_path / part / "plumed" / f"COLVAR.{replica}" for part in ("whole", "halves")]
        one, other = (
            [line for line in path.read_text().splitlines() if not line.startswith("#")]
            for path in files
        )
        assert one == other
        assert len(one) == 11


@pytest.mark.parametrize("stop", [7, 8, 9])
def test_hills_go_on_after_a_stop_as_their_digits_say(plumed, ammonia, tmp_path, stop):
    """A stop just before, at, and after a hill loses none and adds none."""
    whole = go(HILLS, tmp_path / "whole", ammonia, 20)
    for steps in (stop, 20):
        halves = go(HILLS, tmp_path / "halves", ammonia, steps)
    np.testing.assert_allclose(halves.positions, whole.positions, atol=10 * HILLS_DIGITS)
    for name in ("HILLS", "COLVAR"):
        one, other = (read_table(tmp_path / part / "plumed" / name) for part in ("whole", "halves"))
        assert one.keys() == other.keys()
        for column in one:
            np.testing.assert_allclose(other[column], one[column], atol=10 * HILLS_DIGITS)
    assert len(one["time"]) == 11


def test_what_was_written_after_the_checkpoint_is_taken_back(plumed, ammonia, tmp_path):
    """As after a kill: PLUMED is some steps further than the checkpoint."""
    go(HILLS, tmp_path, ammonia, 9)
    kept = {path.name: path.read_bytes() for path in (tmp_path / "plumed").iterdir()}
    for name in ("HILLS", "COLVAR"):
        with open(tmp_path / "plumed" / name, "ab") as stream:
            stream.write(b" 0.0060 0.1 0.005 1.5 -1\n 0.00")
    go(HILLS, tmp_path, ammonia, 10)
    for name in ("HILLS", "COLVAR"):
        assert (tmp_path / "plumed" / name).read_bytes().startswith(kept[name])
        times = read_table(tmp_path / "plumed" / name)["time"]
        assert (np.diff(times) > 0).all()


def test_a_file_that_lost_lines_is_refused(plumed, ammonia, tmp_path):
    go(HILLS, tmp_path, ammonia, 9)
    with open(tmp_path / "plumed" / "HILLS", "r+b") as stream:
        stream.truncate(40)
    with pytest.raises(InputError, match=r"HILLS: expected at least .* start in another folder"):
        go(HILLS, tmp_path, ammonia, 20)


def test_the_hills_are_the_bias(plumed, ammonia, tmp_path):
    """Read back and summed by themselves; PLUMED cuts a Gaussian at 0.2 % of its height."""
    state = go(HILLS, tmp_path, ammonia, 60)
    coordinate = Coordinate.parse("distance 0 1")
    table = read_table(tmp_path / "plumed" / "HILLS")
    earlier = table["time"] < state.step * BATH.timestep_fs * 1e-3 - 1e-9
    centres, sigmas = table["d"][earlier] * 10, table["sigma_d"][earlier] * 10
    apart = coordinate.values(state.positions)[:, None] - centres
    hills = table["height"][earlier] * KJ_MOL * np.exp(-0.5 * (apart / sigmas) ** 2)
    assert len(centres) == 19
    assert state.bias == pytest.approx(hills.sum(axis=1), abs=0.005 * hills.max() * len(centres))


def test_replicas_can_be_told_apart_in_the_input(plumed, ammonia, tmp_path):
    script = "d: DISTANCE ATOMS=1,2\nPRINT ARG=d STRIDE=1 FILE=of-{replica}-in-{replicas}\n"
    go(script, tmp_path, ammonia, 2, replicas=2)
    names = {path.name for path in (tmp_path / "plumed").glob("of-*")}
    assert names == {"of-0-in-2.0", "of-1-in-2.1"}


class _Torn(CheckedPotential):
    """Knows its deviation, as a committee does."""

    numbers = np.array([7, 1, 1, 1])

    def evaluate(self, positions):
        nothing = np.zeros(positions.shape)
        return Evaluation(nothing[:, 0, 0], nothing, deviation=np.full(positions.shape[:2], 0.25))


def test_what_else_the_model_knows_is_not_lost(plumed, tmp_path, rng):
    potential = _Torn()
    moving = method(RESTRAINT, tmp_path, potential)
    state = moving.init(potential, START[None], rng)
    state = iterate(moving, potential, state, steps=2, rng=rng)
    moving.kernels.close()
    for evaluation in (state.evaluation, state.dynamics.evaluation):
        np.testing.assert_array_equal(evaluation.deviation, np.full((1, 4), 0.25))


def test_a_bias_on_the_energy_scales_the_forces(kernel, ammonia, tmp_path):
    state = go("e: ENERGY\nRESTRAINT ARG=e AT=0 SLOPE=0.5\n", tmp_path, ammonia, 3)
    model = state.evaluation
    np.testing.assert_allclose(state.dynamics.evaluation.forces, 1.5 * model.forces, atol=1e-12)


def test_the_bias_is_that_of_ases_plumed_calculator(kernel, ammonia, tmp_path, monkeypatch):
    """Another adapter of the same library, with its own units."""
    from ase import Atoms
    from ase.calculators.plumed import Plumed
    from ase.calculators.singlepoint import SinglePointCalculator
    from ase.units import fs

    state = go(RESTRAINT, tmp_path, ammonia, 10)
    atoms = Atoms(numbers=ammonia.numbers, positions=state.positions[0])
    still = SinglePointCalculator(atoms, energy=0.0, forces=np.zeros((4, 3)))
    monkeypatch.chdir(tmp_path)
    with Plumed(still, RESTRAINT.splitlines(), 0.5 * fs, atoms=atoms) as calculator:
        energy, forces, _ = calculator.compute_bias(atoms.positions, 0, 0.0)
    assert state.bias[0] == pytest.approx(energy, abs=1e-9)
    push = state.dynamics.evaluation.forces - state.evaluation.forces
    np.testing.assert_allclose(push[0], forces, atol=1e-8)


@pytest.mark.inputs
def test_what_plumed_does_not_accept_is_told_in_its_words(plumed, ammonia, tmp_path):
    path = tmp_path / "plumed.dat"
    path.write_text("d: DISTANCE ATOMS=1,2\nRESTRANT ARG=d AT=1 KAPPA=1\n")
    with pytest.raises(
        InputError, match=r"plumed\.dat: PLUMED does not accept .*RESTRANT"
    ) as caught:
        read_script(path, ammonia.numbers, 1, BATH)
    assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match=r"missing\.dat: cannot be read"):
        read_script(tmp_path / "missing.dat", ammonia.numbers, 1, BATH)


@pytest.mark.inputs
def test_a_machine_without_plumed_is_told_what_to_install(ammonia, tmp_path, monkeypatch):
    path = tmp_path / "plumed.dat"
    path.write_text(RESTRAINT)
    monkeypatch.setitem(sys.modules, "plumed", None)
    with pytest.raises(MissingExtraError, match=r"flexcalc\[plumed\]"):
        read_script(path, ammonia.numbers, 1, BATH)


@pytest.mark.inputs
def test_a_package_without_a_kernel_says_where_to_point(ammonia, tmp_path, monkeypatch):
    class Empty:
        def __init__(self, kernel=None):
            raise RuntimeError("PLUMED not available")

    path = tmp_path / "plumed.dat"
    path.write_text(RESTRAINT)
    monkeypatch.setattr(plumed_standin, "Plumed", Empty)
    monkeypatch.setitem(sys.modules, "plumed", plumed_standin)
    monkeypatch.delenv("PLUMED_KERNEL", raising=False)
    monkeypatch.setattr(plumed_kernel, "_candidate_paths", lambda: iter(()))
    with pytest.raises(InputError, match=r"PLUMED_KERNEL is not set.*libplumedKernel\.so"):
        read_script(path, ammonia.numbers, 1, BATH)


@pytest.mark.guard
def test_a_kernel_that_stops_stops_the_run(plumed, ammonia, tmp_path, monkeypatch):
    moving = method(RESTRAINT, tmp_path, ammonia)
    moving.kernels.start()
    with pytest.raises(GuardError, match="step 1: PLUMED stopped replica 0"):
        moving.kernels(np.full((1, 4, 2), np.nan), ammonia(START[None]), 1)
    moving.kernels.close()


@pytest.fixture
def scripted(here):
    Path("plumed.dat").write_text(RESTRAINT)
    return ["md", "water.flex", "start.xyz", "--plumed", "plumed.dat", "--frame-every", "5"]


@pytest.mark.data
def test_a_run_in_two_pieces_leaves_the_same_bytes(plumed, scripted, run):
    assert run(*scripted, "--steps", "13", "-o", "pieces") == 0
    assert run(*scripted, "--steps", "26", "-o", "pieces") == 0
    assert run(*scripted, "--steps", "26", "-o", "whole") == 0
    for name in ("trajectory.xyz", "scalars.csv"):
        assert Path("pieces", name).read_bytes() == Path("whole", name).read_bytes()
    one, other = (read_table(Path(run, "plumed/COLVAR"))["d"] for run in ("pieces", "whole"))
    np.testing.assert_array_equal(one, other)


def test_frames_have_the_model_without_the_bias(plumed, scripted, run):
    assert run(*scripted, "--steps", "20", "-o", "biased") == 0
    frames = flexcalc.read("biased/trajectory.xyz")
    model = flexcalc.load("water.flex")(frames.positions)
    np.testing.assert_allclose(model.forces, frames.forces, atol=1e-8)
    assert "plumed" in Path("biased/report.html").read_text()


@pytest.mark.inputs
def test_another_input_does_not_go_on_in_an_old_folder(plumed, scripted, run, capsys):
    assert run(*scripted, "--steps", "5", "-o", "biased") == 0
    Path("plumed.dat").write_text(RESTRAINT.replace("5000", "6000"))
    assert run(*scripted, "--steps", "10", "-o", "biased") == 2
    assert "plumed.dat: is not what" in capsys.readouterr().err


@pytest.mark.inputs
def test_a_typo_in_the_input_leaves_nothing_behind(plumed, scripted, run, capsys):
    Path("plumed.dat").write_text("d: DISTANC ATOMS=1,2\n")
    assert run(*scripted, "--steps", "5", "-o", "biased") == 2
    assert "plumed.dat: PLUMED does not accept its input" in capsys.readouterr().err
    assert not Path("biased").exists()


DRIVEN = """d: DISTANCE ATOMS=1,2
a: ANGLE ATOMS=2,1,3
r: RESTRAINT ARG=d AT=0.12 KAPPA=5000
m: METAD ARG=d,a SIGMA=0.01,0.1 HEIGHT=2 PACE=3 BIASFACTOR=8 TEMP=300 FILE=HILLS FMT=%.15f
PRINT ARG=d,r.bias,m.bias STRIDE=1 FILE=COLVAR FMT=%.15f
"""


def test_the_bias_is_that_of_plumeds_own_driver_on_the_same_trajectory(kernel, here, run):
    """The command, and the program that PLUMED has for trajectories, which reads it anew."""
    Path("plumed.dat").write_text(DRIVEN)
    words = ["--plumed", "plumed.dat", "--frame-every", "1", "--steps", "40", "-o", "biased"]
    assert run("md", "water.flex", "start.xyz", *words) == 0
    frames = flexcalc.read("biased/trajectory.xyz")
    with open("frames.xyz", "w") as stream:
        for positions in frames.positions:
            print(f"{len(positions)}\n100 100 100", file=stream)
            for place in positions:
                print("X", *(f"{value:.16g}" for value in place), file=stream)
    driver = "driver --ixyz frames.xyz --length-units A --timestep 0.0005 --plumed plumed.dat"
    call = f"""
import numpy as np
from flexcalc.methods.plumed_kernel import start_kernel
from flexcalc.store import FolderStore
kernel, end = start_kernel(), np.zeros(1, dtype=np.intc)
kernel.cmd("CLTool setArgvLine", "plumed {driver}")
kernel.cmd("CLTool run", end)
raise SystemExit(int(end[0]))
"""
    root = Path(kernel_file()).parent / "plumed"
    home = {"PLUMED_ROOT": str(root)} if root.is_dir() else {}
    command = [sys.executable, "-c", call]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=600, env={**os.environ, **home}
    )
    assert done.returncode == 0, done.stdout + done.stderr
    ours, theirs = read_table("biased/plumed/COLVAR"), read_table("COLVAR")
    assert len(theirs["time"]) == 41
    for bias in ("r.bias", "m.bias"):
        assert theirs[bias].max() > 0.1
        np.testing.assert_allclose(ours[bias], theirs[bias], rtol=1e-9, atol=1e-12)


@pytest.mark.security
@pytest.mark.parametrize("line", ["LOAD FILE={}/evil.so", "PRINT ARG=d STRIDE=1 FILE={}/outside"])
def test_a_run_under_plumed_needs_trust_to_run_code_or_write_elsewhere(
    plumed, scripted, run, capsys, line, tmp_path
):
    Path("plumed.dat").write_text(RESTRAINT + line.format(tmp_path))
    assert run(*scripted, "--steps", "5", "-o", "biased") == 2
    said = capsys.readouterr().err
    assert "plumed.dat: line 4:" in said
    assert "--trust" in said
    assert not Path("biased").exists()
    assert not Path("outside").exists()
    if line.startswith("PRINT"):
        assert run(*scripted, "--steps", "5", "-o", "biased", "--trust") == 0
        assert Path("outside").exists()


@pytest.mark.security
def test_links_in_the_folder_are_not_written_through(plumed, ammonia, tmp_path):
    state = go(RESTRAINT, tmp_path / "run", ammonia, 4)
    (tmp_path / "file").write_bytes(b"#! FIELDS and what is dear to one\n" * 99)
    before = (tmp_path / "file").read_bytes()
    colvar = tmp_path / "run" / "plumed" / "COLVAR"
    colvar.unlink()
    colvar.symlink_to(tmp_path / "file")
    with pytest.raises(InputError, match="COLVAR: is a link"):
        go(RESTRAINT, tmp_path / "run", ammonia, 8)
    (tmp_path / "there").mkdir()
    (tmp_path / "plumed").symlink_to(tmp_path / "there")
    with pytest.raises(InputError, match="plumed: is a link"):
        method(RESTRAINT, tmp_path, ammonia).init(ammonia, START[None], np.random.default_rng(0))
    assert (tmp_path / "file").read_bytes() == before
    assert list((tmp_path / "there").iterdir()) == []
    assert state.step == 4


HOSTILE = [
    *(
        "LOAD",
        "FILE=./absent.so",
        "LO{AD}",
        "load",
        "{",
        "}",
        "...",
        "#",
        "\n",
        "\n",
        " ",
        " ",
        " ",
    ),
    *("\t", ",", "=", "a:", "b:", "DISTANCE", "ATOMS=1,2", "PRINT", "ARG=a", "ENDPLUMED", "LABEL="),
]
"""Pieces of an input; a library of that name is nowhere."""


@pytest.mark.security
def test_no_text_that_passes_makes_plumed_reach_for_a_library(kernel, ammonia, tmp_path):
    """The text is taken apart here as it is there: PLUMED itself is the judge."""
    random = np.random.default_rng(5)
    reached, passed = 0, 0
    for _ in range(500):
        text = "".join(random.choice(HOSTILE, size=random.integers(2, 14)))
        kernels = Kernels(text, tmp_path / "plumed", ammonia.numbers, 1, BATH)
        try:
            kernels.start()
            said = ""
        except InputError as error:
            said = str(error)
        finally:
            kernels.close()
        try:
            check_plumed_input(text, tmp_path / "plumed", exists=has_action)
            passed += 1
        except InputError:
            reached += "absent" in said
            continue
        assert "absent.so" not in said or "cannot understand" in said, text
    assert reached > 3
    assert passed > 30


@pytest.mark.inputs
def test_a_library_that_does_not_load_is_named_and_wins_over_the_wheels(
    kernel, ammonia, tmp_path, monkeypatch
):
    path = tmp_path / "plumed.dat"
    path.write_text(RESTRAINT)
    (tmp_path / "libplumedKernel.so").write_text("no library")
    monkeypatch.setenv("PLUMED_KERNEL", str(tmp_path / "libplumedKernel.so"))
    with pytest.raises(InputError, match=r"libplumedKernel\.so does not load: .*PLUMED_KERNEL"):
        read_script(path, ammonia.numbers, 1, BATH)


def test_the_library_of_the_wheel_is_found_without_a_word_of_the_user(monkeypatch):
    monkeypatch.delenv("PLUMED_KERNEL", raising=False)
    try:
        files = importlib.metadata.files("hillclimber")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("needs the wheel hillclimber")
    there = [Path(str(file.locate())) for file in files if file.name == plumed_kernel.LIBRARY]
    assert [Path(kernel_file())] == there
