"""SOAP evaluated here: its parts against closed forms, the whole against QUIP."""

import copy
import os
import subprocess
import sys
import tracemalloc

import ase
import numpy as np
import pytest
from scipy.special import ive, sph_harm_y

import flexcalc
from flexcalc import threads
from flexcalc.errors import FileFormatError, NonFiniteError
from flexcalc.models.gap import potential, terms
from flexcalc.models.gap.angular import Harmonics
from flexcalc.models.gap.descriptor_parser import UnsupportedError, descriptor
from flexcalc.models.gap.radial import Radial, cutoff_function
from flexcalc.models.gap.soap import Environments
from flexcalc.models.gap.xml import MAIN

EPS = np.finfo(float).eps
PLAIN = "soap cutoff=4.0 atom_sigma=0.5 n_max=4 l_max=3 n_species=3 species_Z={1 6 8} Z=6"
LINES = {
    "one species": "soap cutoff=4.0 atom_sigma=0.5 n_max=6 l_max=4 n_species=1 species_Z=6 Z=6",
    "any species": "soap cutoff=4.0 atom_sigma=0.4 n_max=5 l_max=2 Z=0",
    "two species": "soap cutoff=3.0 atom_sigma=0.3 n_max=8 l_max=6 n_species=2 species_Z={1 8} Z=8",
    "l_max 0": PLAIN.replace("l_max=3", "l_max=0"),
    "l_max 8": PLAIN.replace("l_max=3", "l_max=8"),
    "n_max 1": PLAIN.replace("n_max=4", "n_max=1"),
    "narrow": PLAIN.replace("atom_sigma=0.5", "atom_gaussian_width=0.2"),
    "wide": PLAIN.replace("atom_sigma=0.5", "atom_sigma=0.8"),
    "transition": PLAIN + " cutoff_transition_width=1.5",
    "no transition to speak of": PLAIN + " cutoff_transition_width=0.01",
    "centre": PLAIN + " central_weight=0.3",
    "no centre": PLAIN + " central_weight=0",
    "centre everywhere": PLAIN + " central_reference_all_species=T",
    "centre of no species": PLAIN.replace("Z=6", "Z=7").replace("species_Z=7", "species_Z=6"),
    "last component": PLAIN + " covariance_sigma0=0.7",
    "not normalised": PLAIN + " normalise=F",
    "coarse basis": PLAIN + " basis_error_exponent=5",
    "fit's own words": PLAIN
    + " add_species=F n_sparse=9 zeta=2 delta=1 covariance_type=dot_product",
}
NUMBERS = np.array([6, 8, 1, 1, 1, 7])


@pytest.fixture
def molecule(rng):
    """Positions (5, 6, 3) of C, O, three H and N; the last row has axes and edges in it."""
    base = np.array(
        [[0, 0, 0], [0, 0, 1.2], [0.9, 0, -0.6], [-0.9, 0.2, -0.6], [0, 1.1, 1.9], [0, -2.4, 0.8]]
    )
    rows = base + rng.normal(scale=0.15, size=(5, *base.shape))
    rows[4] = base
    rows[4, 4] = [0, 0, -3.6]  # in the transition of a cutoff of 4, and on the z axis
    rows[4, 5] = [30.0, 0, 0]  # alone
    return rows


@pytest.fixture
def rng():
    return np.random.default_rng(5)


def power_spectra(line, numbers, positions):
    """Ours, (environments, components) as QUIP has them; centres before rows."""
    soap, centre = descriptor(line)
    centres = np.flatnonzero((numbers == centre) | (centre == 0))
    around = Environments(soap, numbers, centres)
    found = around(positions)
    full = np.zeros((len(found.features), soap.dimensions))
    full[:, around.columns] = found.features * around.weights
    if soap.normalise:
        with np.errstate(invalid="ignore"):
            full /= found.lengths[:, None]
    full[:, -1] = soap.covariance_sigma0
    return full.reshape(len(centres), len(positions), -1)


def growth(line, positions):
    """How much rounding grows in QUIP's recursion of Bessel functions, k_l / k_0 at the worst."""
    soap, _ = descriptor(line)
    if soap.n_max == 1:
        return 1.0
    apart = np.linalg.norm(positions[:, :, None] - positions[:, None], axis=-1)
    argument = 2 * soap.radial.alpha * soap.radial.grid[1] * apart[apart > 0].min()
    degree = soap.l_max + 1
    return np.exp(degree * (degree + 1) / (2 * argument))


def test_spherical_harmonics_are_those_of_scipy(rng):
    """To the sign of an order, which a power spectrum does not see; on the axis too."""
    points = rng.normal(size=(3, 40))
    points[:, :2] = [[0, 0], [0, 0], [1, -1]]
    points /= np.linalg.norm(points, axis=0)
    found = Harmonics(np.ones(9))(points)
    polar, azimuth = np.arccos(points[2]), np.arctan2(points[1], points[0])
    for degree in range(9):
        for order in range(degree + 1):
            value = sph_harm_y(degree, order, polar, azimuth) * (2**0.5 if order else 1.0)
            place = degree**2 + degree
            assert np.abs(found[place + order] - value.real).max() < 100 * EPS
            if order:
                assert np.abs(found[place - order] - value.imag).max() < 100 * EPS


@pytest.mark.parametrize("sigma", [0.2, 0.5, 1.0])
def test_radial_functions_are_those_of_scipy(sigma):
    """Also where the upward recursion would be none but rounding."""
    radial = Radial(5.0, sigma, 6, 10, 10.0)
    distances = np.array([1e-6, 0.01, 0.3, 1.0, 2.5, 4.999])
    values, slopes = radial(distances)
    x = 2 * radial.alpha * radial.grid[1:, None] * distances
    scale = np.exp(-radial.alpha * (radial.grid[1:, None] - distances) ** 2)
    first = np.exp(-radial.alpha * distances**2)
    assert values[0, 0] == pytest.approx(first, rel=4 * EPS)
    assert slopes[0, 0] == pytest.approx(-2 * radial.alpha * distances * first, rel=8 * EPS)
    assert not values[1:, 0].any()
    for degree in range(11):
        known = np.sqrt(np.pi / 2 / x) * ive(degree + 0.5, x) * scale
        # 30 is what the recursion may let rounding grow to, in a dozen steps.
        assert np.abs(values[degree, 1:] - known).max() < 30 * 12 * EPS * scale.max()


def test_the_cutoff_function_ends_at_zero_and_stays_there():
    values, slopes = cutoff_function(np.array([1.0, 3.5, 3.75, 4.0, 9.0]), 4.0, 0.5)
    assert values == pytest.approx([1, 1, 0.5, 0, 0], abs=EPS)
    assert slopes == pytest.approx([0, 0, -np.pi, 0, 0], abs=EPS)
    assert not values[3:].any()
    assert not slopes[3:].any()


@pytest.mark.parametrize("name", LINES)
def test_power_spectra_are_those_of_quip(name, molecule):
    """Tolerance: some hundred roundings, grown as they do in QUIP's recursion, and by the inverse
    of the covariance of the radial basis."""
    descriptors = pytest.importorskip("quippy.descriptors", reason="needs quippy-ase")
    line = LINES[name]
    soap, _ = descriptor(line)
    theirs = descriptors.Descriptor(line)
    ours = power_spectra(line, NUMBERS, molecule)
    radial = soap.radial
    condition = np.linalg.cond(np.exp(-radial.alpha * (radial.grid[:, None] - radial.grid) ** 2))
    bound = 200 * EPS * (growth(line, molecule) + condition)
    assert bound < 1e-6
    for row, geometry in enumerate(molecule):
        known = theirs.calc(ase.Atoms(NUMBERS, geometry))["data"]
        nothing = np.isnan(known)  # an atom alone, if even its own gaussian does not count
        assert np.array_equal(np.isnan(ours[:, row]), nothing)
        scale = max(1.0, np.abs(known[~nothing]).max())
        assert np.abs(ours[:, row] - known)[~nothing].max() < bound * scale, row


# Whole models


def write_model(folder, lines, frames, rng, **attributes):
    """Write a GAP whose sparse points are environments of frames; returns its main file."""
    entries = []
    for index, line in enumerate(lines, 1):
        kind = "1" if line.startswith("distance_2b") else "2"
        if kind == "1":
            sparse = rng.uniform(0.8, 4.0, size=(12, 1))
        else:
            sparse = power_spectra(line, NUMBERS, frames).reshape(
                -1, descriptor(line)[0].dimensions
            )
        alphas = rng.normal(size=len(sparse))
        name = f"{MAIN}.sparseX.{index}"
        np.savetxt(folder / name, sparse.ravel(), fmt="%.17e")
        told = {
            "label": f"test{index}",
            "dimensions": sparse.shape[1],
            "signal_variance": 0.8,
            "signal_mean": 0.3 if kind == "1" else 0.0,
            "sparsified": "T",
            "n_permutations": 1,
            "covariance_type": kind,
            **({"zeta": 2.0} if kind == "2" else {}),
            "n_sparseX": len(sparse),
            "sparseX_filename": name,
            **{key: value for key, value in attributes.items() if kind == "2"},
        }
        words = " ".join(f'{key}="{value}"' for key, value in told.items())
        points = "".join(
            f'<sparseX i="{point}" alpha="{alpha!r}" sparseCutoff="{1 - 0.01 * point}"/>\n'
            for point, alpha in enumerate(alphas.tolist(), 1)
        )
        theta = "<theta> 0.7 </theta>" if kind == "1" else ""
        entries.append(
            f"\n<gpCoordinates {words}>\n{theta}\n<descriptor>{line}</descriptor>\n"
            f'<permutation i="1">{"1" if kind == "1" else " 1" * sparse.shape[1]}</permutation>\n'
            f"{points}</gpCoordinates>"
        )
    (folder / MAIN).write_text(
        '<test>\n<Potential label="test" init_args="IP GAP label=test"/>\n'
        '<GAP_params label="test" gap_version="1700000000">\n<GAP_data do_core="F">\n'
        '<e0 Z="1" value="-0.25"/><e0 Z="6" value="1.5"/></GAP_data>\n'
        f'<gpSparse label="test" n_coordinate="{len(lines)}" fitted="T">{"".join(entries)}'
        "</gpSparse></GAP_params></test>\n"
    )
    return folder / MAIN


EACH = [PLAIN.replace(" Z=6", f" Z={number}") for number in (1, 6, 8)]
MODELS = {
    "each element": (EACH, {}),
    "zeta 1": (EACH, {"zeta": 1.0}),
    "zeta 4": (EACH, {"zeta": 4.0}),
    "zeta 2.5": (EACH, {"zeta": 2.5}),
    "one for all": ([LINES["any species"]], {}),
    "not alike": ([LINES["centre"], LINES["last component"], LINES["two species"]], {}),
    "not normalised": ([LINES["not normalised"] + " central_weight=0.2"], {"signal_variance": 1e5}),
    "pairs": ([*EACH, "distance_2b cutoff=4.0 Z1=1 Z2=6", "distance_2b cutoff=3.5"], {}),
    "pairs alone": (["distance_2b cutoff=4.0 Z1=8 Z2=1 cutoff_transition_width=1.0"], {}),
    "l_max 8": ([LINES["l_max 8"], LINES["l_max 0"]], {}),
}


@pytest.fixture
def model(molecule, rng, tmp_path):
    """Makes a potential of a row of MODELS, without asking whether it knows all elements."""

    def make(name, numbers=NUMBERS):
        lines, attributes = MODELS[name]
        path = write_model(tmp_path, lines, molecule[:3], rng, **attributes)
        files = {file.name: file.read_bytes() for file in path.parent.iterdir()}
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(potential, "check_elements", lambda *told: None)
            return potential.GAPPotential(numbers=numbers, files=files)

    return make


def by_quip(path, numbers, positions):
    """Energies and forces of QUIP's own calculator."""
    quippy = pytest.importorskip("quippy.potential", reason="needs quippy-ase")
    atoms = ase.Atoms(numbers, calculator=quippy.Potential(param_filename=str(path)))
    energies, forces = [], []
    for geometry in positions:
        atoms.positions = geometry
        energies.append(atoms.get_potential_energy())
        forces.append(atoms.get_forces())
    return np.array(energies), np.array(forces)


@pytest.mark.parametrize("name", MODELS)
def test_energies_and_forces_are_those_of_quip(name, model, molecule, tmp_path):
    """To a hundred roundings of the sum of the absolute terms, some tens of eV; those of forces
    are larger by the inverse of the narrowest gaussian or the steepest cutoff."""
    potential = model(name)
    assert not potential.needs_quip
    energies, forces = by_quip(tmp_path / MAIN, NUMBERS, molecule)
    found = potential(molecule)
    assert np.abs(found.energies - energies).max() < 1e-11
    assert np.abs(found.forces - forces).max() < 1e-10
    assert np.abs(forces).max() > 0.01


def test_elements_that_a_molecule_has_not_change_nothing(model, molecule, tmp_path):
    """A model of H, C and O for a hydrocarbon: what is left out is zero."""
    numbers = np.array([6, 6, 1, 1, 1, 1])
    potential = model("not alike", numbers)
    energies, forces = by_quip(tmp_path / MAIN, numbers, molecule)
    found = potential(molecule)
    assert np.abs(found.energies - energies).max() < 1e-11
    assert np.abs(found.forces - forces).max() < 1e-10


@pytest.mark.physics
@pytest.mark.parametrize("name", MODELS)
def test_forces_are_minus_the_gradient(name, model, molecule):
    """Five points, an error of h^4 / 30 of the fifth derivative and of rounding over h."""
    potential, step = model(name), 2e-3
    start = molecule[:2]
    forces = potential(start).forces
    for atom in range(len(NUMBERS)):
        for axis in range(3):
            moved = np.repeat(start[None], 4, axis=0)
            moved[:, :, atom, axis] += step * np.array([-2, -1, 1, 2])[:, None]
            energies = potential(moved.reshape(-1, *start.shape[1:])).energies.reshape(4, 2)
            slope = (energies[0] - 8 * energies[1] + 8 * energies[2] - energies[3]) / (12 * step)
            assert -slope == pytest.approx(forces[:, atom, axis], abs=1e-7)


@pytest.mark.physics
def test_an_atom_fades_out_at_the_cutoff(model):
    """As (pi h / 2 w)^2, a distance h before it: four times less at half of that."""
    potential = model("pairs", np.array([6, 1]))
    pair = np.zeros((5, 2, 3))
    pair[:, 1, 2] = 4.0 + np.array([-1e-3, -5e-4, 0.0, 1e-9, 50.0])
    found = potential(pair)
    assert np.ptp(found.energies[2:]) == 0.0
    assert not found.forces[2:].any()
    before = found.energies[:2] - found.energies[2]
    assert abs(before[0]) > 1e-8
    assert before[0] / before[1] == pytest.approx(4.0, abs=0.05)


@pytest.mark.physics
def test_like_atoms_may_be_exchanged(model, molecule):
    potential, order = model("each element"), [0, 1, 4, 2, 3, 5]
    before, after = potential(molecule), potential(molecule[:, order])
    assert after.energies == pytest.approx(before.energies, abs=1e-12)
    assert after.forces == pytest.approx(before.forces[:, order], abs=1e-12)


def test_one_atom_and_atoms_alone_have_energies(model, molecule, tmp_path):
    potential = model("each element", np.array([6, 1]))
    far = np.array([[[0.0, 0, 0], [0, 0, 1e4]]])
    energies, _ = by_quip(tmp_path / MAIN, potential.numbers, far)
    found = potential(far)
    assert found.energies == pytest.approx(energies, abs=1e-12)
    assert not found.forces.any()
    single = model("each element", np.array([6]))(np.zeros((2, 1, 3)))
    other = model("each element", np.array([1]))(np.zeros((1, 1, 3)))
    assert np.ptp(single.energies) == 0.0
    assert not single.forces.any()
    assert np.isfinite(other.energies).all()


@pytest.mark.guard
def test_atoms_in_one_place_are_no_geometry(model, molecule):
    broken = molecule[:2].copy()
    broken[1, 1] = broken[1, 0]
    with pytest.raises(NonFiniteError, match="batch row 1"):
        model("each element")(broken)


def test_the_number_of_cores_changes_no_bit(model, molecule, monkeypatch):
    potential, batch = model("pairs"), np.tile(molecule, (9, 1, 1))
    found = []
    for count in (1, 2, 5):
        monkeypatch.setattr(threads, "cores", lambda count=count: count)
        found.append(potential(batch))
    for other in found[1:]:
        assert np.array_equal(other.energies, found[0].energies)
        assert np.array_equal(other.forces, found[0].forces)


def test_a_batch_equals_its_rows_however_it_is_cut(model, molecule, monkeypatch):
    """To rounding: products of other shapes add in another order."""
    potential = model("pairs")
    whole = potential(molecule)
    monkeypatch.setattr(terms, "BLOCK", 1)
    small = copy.copy(potential)  # which reads the files again
    for row in range(len(molecule)):
        alone = small(molecule[row : row + 1])
        assert alone.energies[0] == pytest.approx(whole.energies[row], abs=1e-12)
        assert np.abs(alone.forces[0] - whole.forces[row]).max() < 1e-12


def test_memory_does_not_grow_with_the_batch(model, molecule, monkeypatch):
    """But by positions, energies and forces themselves."""
    monkeypatch.setattr(threads, "cores", lambda: 1)
    monkeypatch.setattr(terms, "BLOCK", 1 << 17)
    potential = model("each element")
    peaks = []
    for copies in (40, 400):
        batch = np.tile(molecule, (copies, 1, 1))
        tracemalloc.start()
        potential(batch)
        peaks.append(tracemalloc.get_traced_memory()[1] - 8 * batch.nbytes)
        tracemalloc.stop()
    assert peaks[1] < 1.2 * peaks[0]
    assert peaks[0] < 8 * terms.BLOCK


# Files


@pytest.mark.parametrize(
    "line",
    [
        PLAIN + " diagonal_radial=T",
        PLAIN + " average=T",
        PLAIN + " radial_basis=GTO",
        PLAIN + " cutoff_dexp=2",
        PLAIN + " Z_mix=T K=2",
        PLAIN + " nu_R=1",
        PLAIN + " coupling=F",
        PLAIN + " xml_version=1400000000",
        PLAIN + " radial_scaling=2",
        PLAIN + " l_max=4",
        PLAIN + " normalise=.true.",
        PLAIN + " something",
        PLAIN + " central_weight=1d0",
        PLAIN + " covariance_sigma0=nan",
        PLAIN.replace("n_max=4", "N_MAX=4"),
        PLAIN.replace("n_max=4", ""),
        PLAIN.replace("n_species=3", "n_species=2"),
        PLAIN.replace("{1 6 8}", "{0 6 8}"),
        PLAIN.replace("Z=6", "n_Z=2 Z={6 8}"),
        PLAIN.replace("cutoff=4.0", "cutoff=-4.0"),
        PLAIN.replace("n_max=4", "n_max=60").replace("atom_sigma=0.5", "atom_sigma=2.0"),
        "soap_turbo l_max=8 rcut_hard=4.5",
        "distance_2b cutoff=4.0 exponents=2",
        "distance_2b cutoff=4.0 only_intra=T resid_name=molecule",
        "angle_3b cutoff=3.0",
        "",
    ],
)
def test_what_is_not_known_by_name_is_left_to_quip(line):
    with pytest.raises(UnsupportedError):
        descriptor(line)


@pytest.mark.parametrize(
    ("known", "odd"),
    [
        ("IP GAP label=test", "IP GAP label=test E_scale=2"),
        ("IP GAP label=test", "IP GAP label=other"),
        ("1700000000", "1420000000"),
        ('do_core="F"', 'do_core="T"'),
        ("<GAP_data", "<water_monomer_params cutoff='3'/><GAP_data"),
        ('covariance_type="2"', 'covariance_type="4"'),
        ('n_permutations="1"', 'n_permutations="2"'),
        ("<descriptor>", "<theta>2</theta><descriptor>"),
        ('value="1.5"', 'value="1.5D0"'),
    ],
)
def test_main_files_that_are_not_known_are_left_to_quip(known, odd, model, tmp_path, monkeypatch):
    model("each element")
    files = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    files[MAIN] = files[MAIN].replace(known.encode(), odd.encode())
    monkeypatch.setattr(potential, "require_quippy", lambda: None)
    assert potential.GAPPotential(numbers=np.array([8, 1, 1]), files=files).needs_quip


@pytest.mark.inputs
@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda text: text[:-26], r"sparseX\.1: expected 9 x 313 finite numbers"),
        (lambda text: text + b"1.0\n", "finite numbers"),
        (lambda text: text.replace(b"e", b"x", 1), "finite numbers"),
        (lambda text: b"nan" + text[24:], "finite numbers"),
        (lambda text: b"9e999" + text[24:], "finite numbers"),
        (lambda text: b"", "finite numbers"),
    ],
)
def test_sparse_points_that_are_not_all_there_are_refused(change, says, model, tmp_path):
    model("each element")
    file = tmp_path / f"{MAIN}.sparseX.1"
    file.write_bytes(change(file.read_bytes()))
    with pytest.raises(FileFormatError, match=says) as caught:
        flexcalc.load(str(tmp_path / MAIN), np.array([8, 1, 1]))
    assert str(tmp_path) in str(caught.value)


@pytest.mark.inputs
@pytest.mark.parametrize(
    ("sound", "broken", "says"),
    [
        ('dimensions="313"', 'dimensions="314"', "expected dimensions=313 of its descriptor"),
        ('n_sparseX="9"', 'n_sparseX="8"', "expected sparseX 1 to 8, found 9"),
        ('<sparseX i="2"', '<sparseX i="3"', "expected sparseX 1 to 9"),
    ],
)
def test_a_main_file_that_contradicts_itself_is_refused(sound, broken, says, model, tmp_path):
    model("each element")
    main = tmp_path / MAIN
    main.write_text(main.read_text().replace(sound, broken, 1))
    with pytest.raises(FileFormatError, match=says):
        flexcalc.load(str(main), np.array([8, 1, 1]))


def test_a_model_is_evaluated_without_quippy(model, molecule, tmp_path):
    """From its file, and from a folder, in a process that cannot import it."""
    numbers, positions = np.array([8, 1, 1, 6]), molecule[:2, [1, 3, 4, 0]]
    model("pairs")
    expected = flexcalc.load(str(tmp_path / MAIN), numbers)
    expected.save(tmp_path / "model.flex")
    np.save(tmp_path / "positions.npy", positions)
    program = (
        "import sys; sys.modules['quippy'] = None\n"
        "import flexcalc, numpy\n"
        "positions = numpy.load('positions.npy')\n"
        "for path in ('GAP.xml', 'model.flex'):\n"
        "    found = flexcalc.load(path, numpy.array([8, 1, 1, 6]))(positions)\n"
        "    print(repr(found.energies.tolist()), repr(found.forces.tolist()))\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        text=True,
        check=True,
    )
    known = expected(positions)
    line = f"{known.energies.tolist()!r} {known.forces.tolist()!r}"
    assert run.stdout.splitlines() == [line, line]
