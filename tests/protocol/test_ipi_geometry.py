"""The geometry that an input starts from: used without a START, and compared with one."""

from pathlib import Path

import numpy as np
import pytest
from ipi_bench import ROOT, input_xml, over_socket
from ipi_springs import GLYCINE, Springs
from test_ipi_start import ABC, xyz

from flexcalc import files
from flexcalc.adapters.ipi import check_start, read_geometry
from flexcalc.dataset import Dataset
from flexcalc.errors import ConfigError, FileFormatError, UnitError

pytestmark = [pytest.mark.protocol, pytest.mark.inputs]

BOHR = 0.529177210
OXYGEN_AWAY = 0.1 * np.eye(10)[3][:, None] * [0, 0, 1]


def written(path, file, **options):
    """An input whose <file> element is this text."""
    given = f"<file mode='ase'> {GLYCINE} </file>"
    text = input_xml(over_socket("geometry"), steps=2, **options)
    assert given in text
    path.write_text(text.replace(given, file))
    return path


@pytest.fixture
def source(tmp_path):
    """Makes an input with a <file> in the same folder."""
    return lambda file: written(tmp_path / "given.xml", file)


@pytest.fixture
def glycine():
    return files.read(GLYCINE)


@pytest.mark.parametrize(
    ("comment", "file", "size"),
    [
        (f"# {ABC} positions{{angstrom}} cell{{angstrom}}", "<file mode='xyz'>", 1.0),
        (f"# {ABC} positions{{atomic_unit}}", "<file mode='xyz'>", BOHR),
        (f"# {ABC}", "<file mode='xyz' units='angstrom'>", 1.0),
        (f"# {ABC}", "<file mode='xyz'>", BOHR),  # i-PI's default
        (f"# {ABC}", "<file mode='ase'>", 1.0),
    ],
)
def test_the_file_of_an_input_is_read_in_i_pis_units(tmp_path, source, comment, file, size):
    xyz(tmp_path / "a.xyz", comment, 1 / size)
    found = read_geometry(source(f"{file} a.xyz </file>"), trust=False)
    assert found.numbers.tolist() == Springs().numbers.tolist()
    assert np.abs(found.positions[0] - Springs().rest).max() < 1e-6
    assert found.provenance.source == str(tmp_path / "a.xyz")


def test_angstrom_that_i_pi_would_take_for_bohr_are_refused(tmp_path, source):
    xyz(tmp_path / "a.xyz", f"# {ABC}")
    with pytest.raises(UnitError, match=r"a\.xyz: read in bohr, .*write positions\{angstrom\}"):
        read_geometry(source("<file mode='xyz'> a.xyz </file>"), trust=False)


def test_all_frames_of_a_path_are_read():
    found = read_geometry(ROOT / "inputs" / "ipi-neb.xml", trust=False)
    expected = files.read(ROOT / "inputs" / "glycine-path.xyz")
    assert np.abs(found.positions - expected.positions).max() < 1e-8


def test_the_instances_of_a_template_have_their_geometry(glycine):
    found = read_geometry(ROOT / "inputs" / "ipi-remd.xml", trust=False)
    assert np.abs(found.positions - glycine.positions).max() < 1e-8


def test_charge_and_multiplicity_of_the_file_are_heeded(tmp_path, source):
    xyz(tmp_path / "a.xyz", "Properties=species:S:1:pos:R:3 charge=1 multiplicity=2")
    found = read_geometry(source("<file mode='ase'> a.xyz </file>"), trust=False)
    assert (found.tags["charge"].tolist(), found.tags["multiplicity"].tolist()) == ([1], [2])


CHECKPOINT = """<simulation><system><beads natoms='2' nbeads='1'>
<q shape='(1, 6)'> [ 0, 0, 0, 2, 0, 0 ] </q> <names shape='(2)'> [ O, D ] </names>
</beads></system></simulation>"""


def test_a_checkpoint_is_read_as_a_file_and_as_the_input_itself(tmp_path, source):
    (tmp_path / "RESTART").write_text(CHECKPOINT)
    for path in (source("<file mode='chk'> RESTART </file>"), tmp_path / "RESTART"):
        found = read_geometry(path, trust=False)
        assert found.numbers.tolist() == [8, 1]
        assert found.positions[0, 1, 0] == pytest.approx(2 * BOHR)


@pytest.mark.parametrize(
    ("content", "file", "error", "match"),
    [
        ("", "", ConfigError, "without one give START"),
        ("1\n\nQq 0 0 0\n", "<file mode='ase'> a.xyz </file>", FileFormatError, "cannot read"),
        ("1\n# c\nOw 0 0\n", "<file mode='xyz'> a.xyz </file>", FileFormatError, "cannot read"),
        ("", "<file mode='xyz'> a.xyz </file>", FileFormatError, "no frame"),
        ("", "<file mode='json'> a.xyz </file>", ConfigError, "expected xyz, pdb, ase or chk"),
        ("", "<file mode='xyz'> b.xyz </file>", FileFormatError, "no such file"),
        ("<simulation/>", "<file mode='chk'> a.xyz </file>", FileFormatError, "no <beads>"),
    ],
)
def test_a_file_that_gives_no_geometry_is_refused_in_one_line(
    tmp_path, source, content, file, error, match
):
    (tmp_path / "a.xyz").write_text(content)
    with pytest.raises(error, match=match) as caught:
        read_geometry(source(file), trust=False)
    assert "\n" not in str(caught.value)


@pytest.mark.security
def test_a_file_that_ase_would_read_by_another_format_needs_trust(tmp_path, source):
    (tmp_path / "a.py").write_text("raise SystemExit")
    for call in (read_geometry, lambda path, trust: check_start(path, glycine_of(), "S", trust)):
        with pytest.raises(ConfigError, match="trust = true"):
            call(source("<file mode='ase'> a.py </file>"), trust=False)


def glycine_of(**change):
    found = files.read(GLYCINE)
    return Dataset(**{"numbers": found.numbers, "positions": found.positions} | change)


def test_a_start_that_is_the_file_or_its_rounding_is_accepted(tmp_path, source, glycine):
    path = source(f"<file mode='ase'> {GLYCINE} </file>")
    check_start(path, glycine, GLYCINE, trust=False)
    check_start(path, glycine_of(positions=glycine.positions.round(4)), "START", trust=False)
    check_start(source(""), glycine, "START", trust=False)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda one: {"positions": one.positions + OXYGEN_AWAY}, "atom 3 is 0.100 angstrom away"),
        (lambda one: {"numbers": one.numbers[::-1]}, "expected the same order of atoms"),
        (lambda one: {"numbers": [7, 6, 6, 8, 16, 1, 1, 1, 1, 1]}, "expected C2H5NO2, found C2"),
        (lambda one: {"positions": one.positions[[0, 0]]}, "expected 1 frames, found 2"),
    ],
)
def test_a_start_that_differs_from_the_file_is_refused_in_one_line(
    tmp_path, source, glycine, change, match
):
    path = source(f"<file mode='ase'> {GLYCINE} </file>")
    with pytest.raises(ConfigError, match=match) as caught:
        check_start(path, glycine_of(**change(glycine)), Path("other.xyz"), trust=False)
    assert "\n" not in str(caught.value)
    for shown in ("other.xyz: differs from", str(GLYCINE), str(path), "remove <file>"):
        assert shown in str(caught.value)


def test_a_difference_of_units_is_a_difference(tmp_path, source, glycine):
    xyz(tmp_path / "a.xyz", f"# {ABC}")
    path = source("<file mode='xyz'> a.xyz </file>")
    with pytest.raises(ConfigError, match="read in bohr, as nothing names its unit"):
        check_start(path, glycine, "START", trust=False)
