"""Unusual molecules, tiny sets and odd environments: what held when it was tried, and must hold."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import ase
import numpy as np
import pytest
from ase.calculators.socketio import SocketClient, SocketIOCalculator

import flexcalc
from flexcalc.dataset import Dataset
from tests.systems import GEOMETRY, WATER, springs

QUICK = {
    "sgdml": {"sigma": 5.0},
    "gap": {"n_max": 4, "l_max": 2, "n_sparse": 10},
    "bpnn": {"epochs": 1},
    "schnet": {"epochs": 1, "features": 8, "interactions": 1},
    "mace": {"epochs": 1, "channels": 4, "interactions": 1},
}
LINEAR = {
    "H2": ([1, 1], [[0.0, 0, 0], [0.74, 0, 0]]),
    "CO2": ([6, 8, 8], [[0.0, 0, 0], [1.16, 0, 0], [-1.16, 0, 0]]),
}


def pairs_of_springs(numbers, geometry, frames):
    """Frames (frames, atoms, 3) of springs between all pairs, 30 eV/angstrom^2."""
    geometry = np.array(geometry)
    positions = geometry + 0.03 * np.random.default_rng(1).standard_normal(
        (frames, *geometry.shape)
    )
    apart = positions[:, :, None] - positions[:, None]
    alone = np.eye(len(numbers))
    lengths = np.linalg.norm(apart, axis=-1) + alone
    stretch = lengths - np.linalg.norm(geometry[:, None] - geometry, axis=-1) - alone
    forces = -(30.0 * stretch / lengths)[..., None] * apart
    energies = 7.5 * (stretch**2).sum(axis=(1, 2))
    return Dataset(np.array(numbers), positions, energies, forces.sum(axis=2))


@pytest.mark.parametrize("name", LINEAR)
@pytest.mark.parametrize("family", QUICK)
def test_linear_molecules_can_be_trained_on(family, name):
    """Net force and torque vanish also where the molecule is a line."""
    data = pairs_of_springs(*LINEAR[name], 40)
    model = flexcalc.train(data, family, points=20, validation_points=15, **QUICK[family])
    line = np.array(LINEAR[name][1])[None]
    found = model(line)
    assert np.abs(found.forces.sum(axis=1)).max() < 1e-6
    assert np.abs(np.cross(line, found.forces).sum(axis=1)).max() < 1e-6


@pytest.mark.parametrize("points", [1, 2, 5])
@pytest.mark.parametrize("family", ["sgdml", "gap", "bpnn"])
def test_a_handful_of_points_makes_a_model(family, points):
    model = flexcalc.train(springs(20), family, points=points, validation_points=2, **QUICK[family])
    assert np.isfinite(model(GEOMETRY[None]).energies).all()


def test_a_dispersion_is_what_it_adds_where_cores_are_potentials():
    """I2: the 28 core electrons of each iodine are in a potential."""
    pytest.importorskip("pyscf")
    numbers, positions = np.array([53, 53]), np.array([[[0.0, 0, -1.33], [0, 0, 1.33]]])
    addresses = ("dft:PBE-D4/def2-SVP", "dft:PBE/def2-SVP", "dispersion:D4/PBE")
    whole, bare, alone = (flexcalc.load(one, numbers)(positions) for one in addresses)
    assert whole.energies - bare.energies == pytest.approx(alone.energies, abs=1e-6)
    assert np.abs(whole.forces - bare.forces - alone.forces).max() < 1e-5


def test_a_minimum_is_no_saddle(tmp_path, monkeypatch, run, capsys):
    monkeypatch.chdir(tmp_path)
    hcn = np.array([[[0.0, 0, 0], [1.157, 0, 0], [-1.07, 0, 0]]])
    flexcalc.write("hcn.xyz", Dataset(np.array([6, 7, 1]), hcn))
    assert run("saddle", "xtb:GFN2-xTB", "hcn.xyz", "-o", "out") == 0
    assert "minimum" in capsys.readouterr().out


@pytest.mark.protocol
def test_ases_client_serves_our_calculator(water_shelf, own_sockets):
    """ASE on both ends of the socket; the energy is that of the direct call."""
    name = Path(own_sockets).name
    client = ase.Atoms(WATER, GEOMETRY)
    client.calc = flexcalc.Calculator(water_shelf / "water.flex")
    atoms = ase.Atoms(WATER, GEOMETRY, cell=[12, 12, 12])
    with SocketIOCalculator(unixsocket=name, timeout=600) as atoms.calc:
        work = SocketClient(unixsocket=name).run
        thread = threading.Thread(target=work, args=(client, False), daemon=True)
        thread.start()
        found = atoms.get_potential_energy()
    direct = flexcalc.load(water_shelf / "water.flex")(GEOMETRY[None]).energies[0]
    assert found == pytest.approx(direct, abs=1e-10)


ENVIRONMENTS = [
    *["PYTHONOPTIMIZE=2", "LC_ALL=C", "LC_ALL=de_DE.UTF-8", "OMP_NUM_THREADS=0", "TERM=dumb"],
    *["TMPDIR=/no/such", "HOME=/proc/none"],
]


@pytest.mark.parametrize("setting", ENVIRONMENTS)
def test_an_odd_environment_changes_nothing(setting, here, run):
    """The same trajectory to the byte as in this process's own; lines may end as on Windows."""
    start = Path("start.xyz").read_text()
    Path("crlf.xyz").write_bytes(start.replace("\n", "\r\n").encode())
    words = ["--steps", "5", "--frame-every", "1", "-o"]
    assert run("md", "water.flex", "start.xyz", *words, "usual") == 0
    key, _, value = setting.partition("=")
    done = subprocess.run(
        [sys.executable, "-m", "flexcalc.cli", "md", "water.flex", "crlf.xyz", *words, "odd"],
        env={**os.environ, key: value},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert Path("odd/trajectory.xyz").read_bytes() == Path("usual/trajectory.xyz").read_bytes()


@pytest.mark.long
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, for a mount namespace of its own")
def test_no_shared_memory_no_home_and_a_read_only_package_are_no_hindrance(here):
    package = Path(flexcalc.__file__).parent
    script = f"""
mount --make-rprivate / && mount -t tmpfs -o ro none /dev/shm
mount --bind {package} {package} && mount -o remount,bind,ro {package}
export HOME=/proc/none OMP_NUM_THREADS=2
exec {sys.executable} -m flexcalc.cli md water.flex start.xyz --steps 20 --replicas 64 -o out
"""
    done = subprocess.run(["unshare", "-m", "sh", "-ec", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
