"""The GAP family: fits, their failures, files, and agreement with quippy's own calculator."""

import copy
import gc
import hashlib
import signal
import sys
import time
from dataclasses import replace

import ase
import numpy as np
import pytest

import flexcalc
from flexcalc.errors import (
    AddressError,
    ConfigError,
    FileFormatError,
    InputError,
    MissingExtraError,
    MoleculeError,
)
from flexcalc.models.gap import GAP, fitting, potential
from flexcalc.models.gap.fitting import Log, frames_of
from flexcalc.models.gap.xml import MAIN, layout, read_files
from flexcalc.potential import Potential
from flexcalc.registry import make_family
from flexcalc.training.tuning import fit_best

pytest.importorskip("quippy", reason="needs quippy-ase")

SMALL = GAP(cutoff=4.0, n_max=4, l_max=3, n_sparse=12, seed=1)


@pytest.fixture(scope="module")
def water(toy):
    """Sixty labelled frames of water."""
    return toy.labelled(*toy.water_frames(60, np.random.default_rng(3)))


@pytest.fixture(scope="module")
def gap(water):
    """A small GAP of water."""
    return SMALL.fit(water[:20], water[20:30], np.random.default_rng(0))


@pytest.fixture
def by_hand(gap, tmp_path):
    """Path of the same model as gap_fit leaves it."""
    for name, content in gap.files.items():
        (tmp_path / name).write_bytes(content)
    return tmp_path / MAIN


def by_quip(path, data, count):
    """Energies and forces of the first frames, by QUIP's own calculator."""
    from quippy.potential import Potential as Quippy

    atoms = ase.Atoms(data.numbers, calculator=Quippy(param_filename=str(path)))
    energies, forces = [], []
    for geometry in data.positions[:count]:
        atoms.positions = geometry
        energies.append(atoms.get_potential_energy())
        forces.append(atoms.get_forces())
    return np.array(energies), np.array(forces)


def fitted(family, data):
    return family.fit(data, None, np.random.default_rng(0))


def test_a_fit_learns_the_surface(water):
    """Forty frames leave a thirtieth of the spread of forces, and less of that of energies."""
    wide = replace(SMALL, n_max=6, n_sparse=100, atom_sigma=0.5, delta=2.0, force_sigma=0.02)
    test = water[40:]
    found = fitted(wide, water[:40])(test.positions)
    assert np.std(found.forces - test.forces) < 0.06 * np.std(test.forces)
    assert np.std(found.energies - test.energies) < 0.03 * np.std(test.energies)


def test_labels_that_gap_fit_does_not_see_are_missed(water):
    """It goes on without them."""
    with pytest.raises(InputError, match="gap_fit took 0 of the 5 energies"):
        fitted(replace(SMALL, extra="parameter_name_prefix=x"), water[:5])


def test_its_facts_tell_what_was_fitted(gap, water):
    assert gap.facts["sparse_points"] == {"soap Z=1": 12, "soap Z=8": 12}
    assert gap.facts["training_points"] == 20
    assert gap.facts["training_sha256"] == water[:20].sha256()
    assert set(gap.facts["errors"]) == {"training", "validation"}
    assert gap.facts["gap_fit"]["version"].startswith("v")
    assert gap.facts["warnings"] == []


def test_the_same_fit_gives_the_same_files(gap, water):
    """gap_fit labels a model with the time, which is taken out."""
    assert fitted(SMALL, water[:20]).files == gap.files


def test_sparse_points_are_at_most_the_environments(water):
    few = fitted(replace(SMALL, n_sparse=1000), water[:3])
    assert few.facts["sparse_points"] == {"soap Z=1": 6, "soap Z=8": 3}


def test_the_progress_of_gap_fit_goes_up_to_its_end(water):
    told = []
    SMALL.fit(water[:5], None, np.random.default_rng(0), lambda *step: told.append(step[:2]))
    done, totals = zip(*told, strict=True)
    assert list(done) == sorted(done)
    assert len(done) >= 5
    assert set(totals) == {700}
    assert done[-1] == 699


def test_one_candidate_for_each_cutoff(water):
    assert [one.cutoff for one in GAP().candidates()] == [5.0]
    family = replace(SMALL, cutoff=None, cutoffs=(3.0, 0.9))
    assert [one.cutoff for one in family.candidates()] == [0.9, 3.0]
    choice = fit_best(family, water[:15], water[15:40], np.random.default_rng(0))
    assert choice.family.cutoff == 3.0  # at 0.9 angstrom most bonds are out of sight
    assert [row["cutoff"] for row in choice.table] == [0.9, 3.0]


def test_a_fit_without_a_cutoff_is_refused(water):
    with pytest.raises(ConfigError, match="cutoff is not set"):
        fitted(GAP(), water[:3])


def test_sigmas_of_a_frame_grow_with_its_forces(water):
    """Those of energies are of whole frames: larger than those of atoms by sqrt(atoms)."""
    family = replace(SMALL, sigma_per_frame=True, energy_sigma=0.002, force_sigma=0.1)
    sigmas = family._sigmas(water)
    sizes = np.sqrt(np.mean(water.forces**2, axis=(1, 2)))
    factors = np.maximum(sizes / np.sqrt(np.mean(water.forces**2)), 0.1)
    assert [one["force_sigma"] for one in sigmas] == pytest.approx(0.1 * factors)
    assert [one["energy_sigma"] for one in sigmas] == pytest.approx(0.002 * 3**0.5 * factors)
    first = frames_of(water[:1], sigmas[:1]).decode().splitlines()[1]
    assert f"force_sigma={sigmas[0]['force_sigma']!r}" in first
    assert f"energy_sigma={sigmas[0]['energy_sigma']!r}" in first


def test_sigmas_of_frames_that_are_all_the_same_change_nothing(water, monkeypatch):
    """So gap_fit reads them, and takes energies as expected."""
    whole = [{"energy_sigma": 0.001 * 3**0.5, "force_sigma": SMALL.force_sigma}] * 10
    monkeypatch.setattr(GAP, "_sigmas", lambda self, train: whole)
    given = fitted(SMALL, water[:10])(water.positions[:5])
    monkeypatch.setattr(GAP, "_sigmas", lambda self, train: None)
    default = fitted(SMALL, water[:10])(water.positions[:5])
    assert np.abs(given.forces - default.forces).max() < 1e-6


def test_distances_of_pairs_can_be_added(water):
    both = fitted(replace(SMALL, distance_2b=True, n_sparse_2b=10), water[:10])
    assert set(both.facts["sparse_points"]) == {
        "soap Z=1",
        "soap Z=8",
        "distance_2b Z1=1 Z2=1",
        "distance_2b Z1=1 Z2=8",
    }


def test_energies_of_atoms_leave_the_sum_alone(water):
    """Whatever the atoms are given, the rest is fitted: here all of it is."""
    energy = float(water.energies.mean()) / 3
    given = fitted(replace(SMALL, e0=(f"H:{energy}", f"O:{energy}")), water[:10])
    average = fitted(replace(SMALL), water[:10])
    shift = given(water.positions[:5]).energies - average(water.positions[:5]).energies
    assert np.abs(shift).max() < 0.01


@pytest.mark.parametrize(
    ("choice", "says"),
    [
        ({"extra": "gp_file=x.xml"}, "extra: gp_file cannot be set here"),
        ({"extra": "gap"}, "extra: expected name=value, found 'gap'"),
        ({"extra": "'"}, "extra: No closing quotation"),
        ({"soap_extra": "zeta=4"}, "soap_extra: zeta cannot be set here"),
        ({"e0": ("H:-13.6",)}, "e0: expected an energy of each of H, O, found H"),
        ({"e0": ("H-13.6",)}, 'e0: expected an element and its energy, such as "H:-13.6"'),
        ({"cutoff": None, "cutoffs": ()}, "cutoffs: expected at least one"),
    ],
)
def test_choices_that_cannot_be_are_refused(water, choice, says):
    with pytest.raises(ConfigError, match=says):
        replace(SMALL, **choice).check(water.numbers)


def test_every_argument_of_gap_fit_can_be_given(water):
    """A condition number, which gap_fit prints only where it is asked for."""
    potential = fitted(
        replace(SMALL, extra="condition_number_norm=O", soap_extra="central_weight=0.5"),
        water[:5],
    )
    assert b"central_weight=0.5" in potential.files[MAIN]
    assert b"condition_number_norm=O" in potential.files[MAIN]


def test_a_fit_that_fails_says_why_in_one_line(water):
    with pytest.raises(InputError, match=r"gap: gap_fit failed: .*Kernel_Nonsense") as caught:
        fitted(replace(SMALL, extra="Kernel_Nonsense=3"), water[:3])
    assert "\n" not in str(caught.value)


def test_a_missing_program_names_the_extra(water, monkeypatch):
    monkeypatch.setattr(fitting, "find_spec", lambda name: None)
    monkeypatch.setattr(fitting.sys, "executable", "/nowhere/python")
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(MissingExtraError, match=r"pip install 'flexcalc\[gap\]'"):
        fitted(SMALL, water[:3])


def test_a_missing_package_names_the_extra(gap, water, monkeypatch):
    monkeypatch.setitem(sys.modules, "quippy.potential", None)
    for work in (
        lambda: fitted(SMALL, water[:3]),
        lambda: potential.GAPPotential(
            numbers=gap.numbers, files=gap.files, init_args="IP GAP label=GAP_flexcalc"
        ),
    ):
        with pytest.raises(MissingExtraError, match=r"pip install 'flexcalc\[gap\]'"):
            work()


def test_a_fit_too_large_for_the_memory_is_refused():
    log = Log(2, lambda *step: None)
    log.read("PEAK  88320 MB")
    with pytest.raises(InputError, match=r"needs 86\.2 GiB, and 21 GiB are free"):
        log.read("Free system memory  21 GB")


def test_warnings_of_gap_fit_are_told():
    log = Log(1, lambda *step: None)
    log.read("WARNING: gpCoordinates_sparsify: number of data points (60) less than")
    log.read("WARNING: gpCoordinates_sparsify: affected descriptor : soap")
    assert log.warnings == ["gpCoordinates_sparsify: number of data points (60) less than"]


def test_ctrl_c_ends_gap_fit(water, monkeypatch):
    """A fit that does not end by itself, as a small one may before Ctrl-C arrives."""
    started = []
    popen = fitting.subprocess.Popen

    def endless(command, **options):
        started.append(popen(["sh", "-c", '"$@"; sleep 600', "sh", *command], **options))
        return started[-1]

    def interrupt(*step):
        raise KeyboardInterrupt

    monkeypatch.setattr(fitting.subprocess, "Popen", endless)
    with pytest.raises(KeyboardInterrupt):
        SMALL.fit(water[:10], None, np.random.default_rng(0), interrupt)
    assert started[0].returncode == -signal.SIGKILL


# Files


@pytest.mark.data
def test_a_model_folder_holds_the_files_of_gap_fit(gap, water, tmp_path):
    gap.save(tmp_path / "water.flex")
    for name, content in gap.files.items():
        assert (tmp_path / "water.flex" / name).read_bytes() == content
    loaded = flexcalc.load(str(tmp_path / "water.flex"))
    before, after = gap(water.positions[:3]), loaded(water.positions[:3])
    assert np.array_equal(before.forces, after.forces)
    assert loaded.facts["sparse_points"] == gap.facts["sparse_points"]


@pytest.mark.data
@pytest.mark.parametrize("which", ["main", "sparse"])
def test_a_changed_file_of_a_model_folder_is_refused(gap, tmp_path, which):
    gap.save(tmp_path / "water.flex")
    name = next(name for name in gap.files if (name == MAIN) == (which == "main"))
    path = tmp_path / "water.flex" / name
    path.write_bytes(path.read_bytes().replace(b"1", b"2", 1))
    with pytest.raises(FileFormatError, match="damaged: its hash"):
        flexcalc.load(str(tmp_path / "water.flex"))


def test_a_file_of_gap_fit_agrees_with_quippy(by_hand, water):
    loaded = flexcalc.load(str(by_hand), water.numbers)
    assert isinstance(loaded, Potential)
    found = loaded(water.positions)
    energies, forces = by_quip(by_hand, water, len(water))
    assert np.abs(found.energies - energies).max() < 1e-10
    assert np.abs(found.forces - forces).max() < 1e-10


def test_a_file_of_gap_fit_needs_a_molecule(by_hand):
    with pytest.raises(AddressError, match="is for any molecule: say which one"):
        flexcalc.load(str(by_hand))


def test_elements_that_a_file_does_not_know_are_named(by_hand):
    with pytest.raises(MoleculeError, match=r"the model knows H, O, and not C, N, of"):
        flexcalc.load(str(by_hand), ase.Atoms("CHNO"))


def test_options_of_a_file_are_checked(by_hand, water):
    label = layout(by_hand.read_bytes(), by_hand)
    assert label.points == 24
    address = f"{by_hand}?init_args=IP GAP"
    found = flexcalc.load(address, water.numbers)(water.positions[:1])
    assert found.forces == pytest.approx(
        flexcalc.load(str(by_hand), water.numbers)(water.positions[:1]).forces
    )
    with pytest.raises(AddressError, match="unknown option 'args'"):
        flexcalc.load(f"{by_hand}?args=x", water.numbers)


@pytest.mark.inputs
def test_a_missing_file_of_sparse_points_is_named(by_hand, water):
    name = next(iter(layout(by_hand.read_bytes(), by_hand).sparse))
    (by_hand.parent / name).unlink()
    with pytest.raises(FileFormatError, match=f"the file of sparse points {name} is missing"):
        flexcalc.load(str(by_hand), water.numbers)


@pytest.mark.inputs
def test_a_changed_file_of_sparse_points_is_refused(by_hand, water):
    name = next(iter(layout(by_hand.read_bytes(), by_hand).sparse))
    path = by_hand.parent / name
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(FileFormatError, match=f"{name} is damaged"):
        flexcalc.load(str(by_hand), water.numbers)


@pytest.mark.security
@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("<a><b></a>", "incomplete or malformed XML"),
        ("<a/>", "XML of another kind"),
        ('<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>', "no DOCTYPE"),
        ("\0\1", "incomplete or malformed XML"),
        (
            '<a><Potential/><gpCoordinates n_sparseX="1" sparseX_filename="../../etc/passwd">'
            "<descriptor>soap Z=1</descriptor></gpCoordinates></a>",
            "outside its folder",
        ),
        (
            "<a><Potential/><gpCoordinates><descriptor>soap Z=1</descriptor></gpCoordinates></a>",
            "without n_sparseX",
        ),
    ],
)
def test_what_is_no_gap_is_refused_before_quip_sees_it(tmp_path, text, says):
    path = tmp_path / "GAP.xml"
    path.write_text(text)
    with pytest.raises(FileFormatError, match=says):
        flexcalc.load(str(path), ase.Atoms("H2"))


@pytest.mark.inputs
@pytest.mark.parametrize(
    ("sound", "broken", "says"),
    [
        ("<descriptor>soap ", "<descriptor>soap n_max=x ", "could not convert"),
        ('dimensions="', 'dimensions="x', "Bad integer"),
        ('init_args="IP GAP', 'init_args="IP NONE', ""),
    ],
)
def test_a_gap_that_quip_cannot_read_ends_no_process_of_ours(by_hand, water, sound, broken, says):
    """Its layout is sound; QUIP would end the process that opened it."""
    by_hand.write_text(by_hand.read_text().replace(sound, broken, 1))
    with pytest.raises(FileFormatError, match=f"QUIP cannot open it: .*{says}") as caught:
        flexcalc.load(str(by_hand), water.numbers)
    assert "\n" not in str(caught.value)


# What is left to QUIP


@pytest.mark.parametrize(
    "choice",
    [
        {"soap_extra": "diagonal_radial=T"},
        {"soap_extra": "cutoff_dexp=2"},
        {"soap_extra": "theta_uniform=1.0", "covariance_type": "ard_se"},
    ],
)
def test_what_is_not_evaluated_here_is_by_quip(water, tmp_path, choice):
    """From the fit, from its folder, and from the file that gap_fit has written."""
    potential = fitted(replace(SMALL, **choice), water[:10])
    assert potential.needs_quip
    for name, content in potential.files.items():
        (tmp_path / name).write_bytes(content)
    energies, forces = by_quip(tmp_path / MAIN, water, 5)
    potential.save(tmp_path / "odd.flex")
    for found in (
        potential,
        flexcalc.load(str(tmp_path / "odd.flex")),
        flexcalc.load(str(tmp_path / MAIN), water.numbers),
        copy.deepcopy(potential),
    ):
        result = found(water.positions[:5])
        assert np.abs(result.energies - energies).max() < 1e-10
        assert np.abs(result.forces - forces).max() < 1e-10


def test_files_go_with_the_potential(by_hand, water):
    address = f"{by_hand}?init_args=IP GAP"
    potential = flexcalc.load(address, water.numbers)
    assert potential.needs_quip
    potential(water.positions[:1])
    folder = potential._folder.path
    assert folder.is_dir()
    del potential
    gc.collect()
    assert not folder.exists()


@pytest.mark.parametrize("zeta", [1.0, 2.0, 2.5, 4.0])
def test_a_fit_is_evaluated_here_as_by_quip(water, tmp_path, zeta):
    potential = fitted(replace(SMALL, zeta=zeta, distance_2b=True, n_sparse_2b=10), water[:10])
    assert not potential.needs_quip
    for name, content in potential.files.items():
        (tmp_path / name).write_bytes(content)
    energies, forces = by_quip(tmp_path / MAIN, water, 10)
    found = potential(water.positions[:10])
    assert np.abs(found.energies - energies).max() < 1e-10
    assert np.abs(found.forces - forces).max() < 1e-10


@pytest.mark.physics
def test_a_molecule_far_away_or_apart_is_as_it_should_be(gap, water):
    """Atoms beyond the cutoff do not see each other, however far they are."""
    near = gap(water.positions[:1])
    far = gap(water.positions[:1] + 1e4)
    assert far.energies == pytest.approx(near.energies, abs=1e-8)
    apart = water.positions[:1] * np.array([1.0, 10.0, 100.0])[:, None, None]
    begun = time.perf_counter()
    result = gap(apart * 50.0)
    assert time.perf_counter() - begun < 60  # no grid of cells as large as the molecule
    assert result.energies == pytest.approx(np.full(3, result.energies[0]), abs=1e-10)
    assert np.abs(result.forces).max() < 1e-10


def test_read_files_gives_what_was_written(gap, by_hand):
    found = read_files(by_hand)
    assert {name: hashlib.sha256(found[name]).digest() for name in found} == {
        name: hashlib.sha256(gap.files[name]).digest() for name in gap.files
    }


def test_no_frames_are_no_work(gap):
    nothing = gap(np.zeros((0, 3, 3)))
    assert nothing.energies.shape == (0,)
    assert nothing.forces.shape == (0, 3, 3)


def test_the_studys_settings_are_one_word_away():
    """Those of the group that published it, as gap_fit takes them."""
    study = make_family("gap-study", {})
    assert [one.cutoff for one in study.candidates()] == [5.0]
    assert (study.zeta, study.delta, study.atom_sigma) == (2, 0.25, 0.3)
    assert (study.n_max, study.l_max, study.n_sparse) == (12, 6, 4000)
    assert (study.energy_sigma, study.force_sigma) == (0.001, 0.2)
    assert study.name == "gap"
    assert make_family("gap", {}).force_sigma < study.force_sigma
