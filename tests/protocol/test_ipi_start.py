"""The start in place of an input's file: i-PI has the cell and the units that it would have had."""

from xml.etree import ElementTree

import numpy as np
import pytest
from ipi_bench import input_xml, over_socket
from ipi_springs import GLYCINE, Springs

from flexcalc.adapters.ipi import Launch, inputs, launch, start
from flexcalc.errors import ConfigError, FileFormatError

pytestmark = [pytest.mark.protocol, pytest.mark.inputs]

ABC = "CELL(abcABC): 30 40 50 80 95 100 "
H = "CELL(H): 30 1 2 0 40 3 0 0 50 "
GENH = "CELL(GENH): 30 0 0 1 40 0 2 3 50 "
LATTICE = 'Lattice="30 0 0 0 40 0 0 0 50" '
PROPERTIES = 'Properties=species:S:1:pos:R:3 pbc="F F F" '


def xyz(path, comment, scale=1.0):
    """Glycine with a comment, in units of 1/scale angstrom."""
    springs = Springs()
    rows = zip("NCCOOHHHHH", springs.rest * scale, strict=True)
    lines = [f"{symbol} {x:.10f} {y:.10f} {z:.10f}" for symbol, (x, y, z) in rows]
    path.write_text("\n".join(["10", comment, *lines]) + "\n")
    return path


def initialize(*parts, cell=""):
    """An input with these parts in <initialize>, and a <cell> of the system outside it."""
    text = "".join(parts)
    return ElementTree.fromstring(
        f"<simulation><system><initialize nbeads='1'>{text}</initialize>{cell}</system>"
        "</simulation>"
    )


def put(root, path):
    said = []
    start.put(root, path, path.parent, said.append)
    return said


def i_pis_cell(element):
    """The matrix in bohr that i-PI makes of a <cell>."""
    from ipi.inputs.initializer import InputInitCell
    from ipi.utils.io.inputs.io_xml import xml_parse_string
    from ipi.utils.units import unit_to_internal

    cell = InputInitCell()
    cell.parse(xml=xml_parse_string(ElementTree.tostring(element, "unicode")).fields[0][1])
    found = cell.fetch()
    return found.value.reshape(3, 3) * unit_to_internal("length", found.units, 1.0)


def i_pis_file(path, mode="xyz", **units):
    """Cell and positions in bohr that i-PI reads from a file."""
    from ipi.utils.io import read_file

    with open(path) as stream:
        found = read_file(mode, stream, dimension="length", **units)
    return found["cell"].h, found["atoms"].q.reshape(-1, 3)


@pytest.mark.parametrize("cell", [ABC, H, GENH])
@pytest.mark.parametrize("unit", ["cell{angstrom}", "cell{atomic_unit}", ""])
def test_the_cell_of_a_comment_is_the_one_that_i_pi_reads(tmp_path, cell, unit):
    """Of the start, and of the file that it stands for where the start has none."""
    told = xyz(tmp_path / "told.xyz", f"# {cell} Step: 0 Bead: 0 positions{{angstrom}} {unit}")
    bare = xyz(tmp_path / "bare.xyz", "")
    expected, _ = i_pis_file(told)
    for path in (told, bare):
        root = initialize("<file mode='xyz'> told.xyz </file>")
        put(root, path)
        place = root.find("system/initialize")
        assert [element.tag for element in place] == ["file", "cell"]
        assert np.abs(i_pis_cell(place[1]) - expected).max() < 1e-10 * np.abs(expected).max()


def test_units_of_the_cell_that_the_input_says_are_kept(tmp_path):
    path = xyz(tmp_path / "a.xyz", f"# {ABC}")
    root = initialize("<file mode='xyz' units='angstrom' cell_units='angstrom'> a.xyz </file>")
    assert put(root, path) == []
    expected, _ = i_pis_file(path, cell_units="angstrom")
    assert np.abs(i_pis_cell(root.find(".//cell")) - expected).max() < 1e-9


def test_the_lattice_of_extxyz_is_kept(tmp_path):
    """By ASE's reader in i-PI where the start has one, as a cell where only the file has."""
    told, bare = xyz(tmp_path / "a.xyz", LATTICE + PROPERTIES), xyz(tmp_path / "b.xyz", "")
    expected, _ = i_pis_file(told, "ase")
    root = initialize("<file mode='ase'> a.xyz </file>")
    put(root, told)
    assert [element.tag for element in root.iter()][3:] == ["file"]
    put(root := initialize("<file mode='ase'> a.xyz </file>"), bare)
    assert np.abs(i_pis_cell(root.find(".//cell")) - expected).max() < 1e-10


BOX = "<cell mode='abc' units='angstrom'> [ 7, 7, 7 ] </cell>"
WHOLE = "<cell shape='(3, 3)' units='angstrom'> [ 7, 0, 0, 0, 7, 0, 0, 0, 7 ] </cell>"


@pytest.mark.parametrize(
    ("before", "after", "outside", "comment", "side"),
    [
        ("", BOX, "", ABC + "cell{angstrom}", 7),  # the last one counts
        (BOX, "", "", ABC + "cell{angstrom}", 30),
        (BOX, "", "", "", 7),  # a file without a cell does not take it away
        ("", "", WHOLE, "", 7),
        ("", "", WHOLE, ABC + "cell{angstrom}", 30),
    ],
)
def test_the_last_cell_counts_as_in_i_pi(tmp_path, before, after, outside, comment, side):
    path = xyz(tmp_path / "a.xyz", f"# {comment} positions{{angstrom}}")
    root = initialize(before, "<file mode='xyz'> a.xyz </file>", after, cell=outside)
    put(root, path)
    cells = root.findall("system/initialize/cell")
    assert i_pis_cell(cells[-1])[0, 0] == pytest.approx(side / 0.529177, rel=1e-5)
    assert root.find("system/initialize")[-1] is cells[-1]


def test_a_start_becomes_the_file_of_an_input_without_one(tmp_path):
    """With the cell of the input, of its own comment, or of the system; before all else."""
    told, bare = xyz(tmp_path / "told.xyz", f"# {ABC}"), xyz(tmp_path / "bare.xyz", "")
    thermal = "<velocities mode='thermal'> 300 </velocities>"
    for path, cell, outside in ((bare, BOX, ""), (told, "", ""), (bare, "", WHOLE)):
        root = initialize(thermal, cell, cell=outside)
        put(root, path)
        place = root.find("system/initialize")
        assert sorted(element.tag for element in place) == ["cell", "file", "velocities"]
        assert (place[0].tag, place[0].attrib) == ("file", {"mode": "ase"})
        assert place[0].text == str(path)


@pytest.mark.parametrize(
    ("parts", "match"),
    [
        ("<positions mode='xyz'> a.xyz </positions>", "starts from <positions>"),
        ("<velocities mode='thermal'> 300 </velocities>", "i-PI needs a cell"),
    ],
)
def test_an_input_that_has_no_place_for_a_start_says_so(tmp_path, parts, match):
    with pytest.raises(ConfigError, match=match):
        put(initialize(parts), xyz(tmp_path / "a.xyz", ""))


@pytest.mark.parametrize("mode", ["pdb", "chk"])
def test_the_cell_of_another_format_is_read_by_i_pi_from_there(tmp_path, mode):
    root = initialize(f"<file mode='{mode}'> old </file>")
    put(root, xyz(tmp_path / "a.xyz", ""))
    cell = root.find(".//cell")
    assert (cell.get("mode"), cell.text.strip()) == (mode, str(tmp_path / "old"))


def test_an_input_without_any_cell_is_told_what_to_write(tmp_path):
    with pytest.raises(ConfigError, match="<cell mode='abc' units='angstrom'>"):
        put(initialize("<file mode='ase'> a.xyz </file>"), xyz(tmp_path / "a.xyz", ""))


@pytest.mark.parametrize(
    "cell", ["CELL(abcABC): 1 2 ", "CELL(H): 1 ", "CELL(abcABC): - ", "CELL(abcABC): 0 0 0 0 0 0 "]
)
def test_a_cell_that_is_none_is_refused(tmp_path, cell):
    with pytest.raises(FileFormatError, match=r"a\.xyz: line 2: expected a cell"):
        put(initialize("<file mode='xyz'> a.xyz </file>"), xyz(tmp_path / "a.xyz", f"# {cell}"))


@pytest.mark.parametrize(
    ("unit", "size", "mode"),
    [("angstrom", 1.0, "ase"), ("atomic_unit", 0.529177210, "xyz"), ("", 1.0, "ase")],
)
def test_i_pi_reads_the_start_in_the_unit_that_it_declares(tmp_path, unit, size, mode):
    told = f"positions{{{unit}}}" if unit else ""
    path = xyz(tmp_path / "a.xyz", f"# {ABC} {told} cell{{angstrom}}", 1 / size)
    root = initialize("<file mode='xyz' units='angstrom'> other.xyz </file>")
    put(root, path)
    (file,) = root.iter("file")
    assert file.attrib == {"mode": mode}
    positions = i_pis_file(path, mode)[1] * 0.529177210
    assert np.abs(positions - Springs().rest).max() < 1e-6


def test_units_that_only_the_input_says_are_not_overlooked(tmp_path):
    path = xyz(tmp_path / "a.xyz", f"# {ABC}")
    with pytest.raises(ConfigError, match=r"write positions\{atomic_unit\} into its comment"):
        put(initialize("<file mode='xyz' units='atomic_unit'> a.xyz </file>"), path)
    (line,) = put(initialize("<file mode='xyz'> a.xyz </file>"), path)
    assert "read as angstrom" in line


def test_i_pi_runs_with_the_cell_of_the_comment(tmp_path, monkeypatch):
    """As in i-PI's own examples; without it i-PI stops at once."""
    monkeypatch.syspath_prepend(str(GLYCINE.parents[1] / "tests" / "protocol"))
    path = xyz(tmp_path / "a.xyz", f"# {ABC} positions{{angstrom}} cell{{angstrom}}")
    xml = input_xml(over_socket("cell"), steps=2, start="a.xyz").replace("mode='ase'", "mode='xyz'")
    given = ElementTree.fromstring(xml)
    place = given.find("system/initialize")
    place.remove(place.find("cell"))
    (tmp_path / "given.xml").write_bytes(inputs.to_bytes(given))
    (tmp_path / "run").mkdir()
    address = "ase:ipi_springs:SpringCalculator"
    launch(tmp_path / "given.xml", address, path, tmp_path / "run", Launch(start=path))
    restart = inputs.load(tmp_path / "run" / "RESTART")
    numbers = restart.findtext("system/cell").strip().strip("[]").split(",")
    found = np.array(numbers, dtype=float).reshape(3, 3)
    assert np.abs(found - i_pis_file(path)[0]).max() < 1e-9
