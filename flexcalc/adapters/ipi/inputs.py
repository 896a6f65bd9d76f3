"""i-PI's input files: reading them for the launcher, and its changes to them.

The launcher runs i-PI in a run folder, so paths become absolute; it adds outputs of its own
and asks for numbers in full. Whatever it writes into the XML is text that i-PI's reader gives
back exactly, or is refused.
"""

from __future__ import annotations

import re
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

import numpy as np

from flexcalc.errors import ConfigError, FileFormatError
from flexcalc.files.xml import parse_xml, read_xml
from flexcalc.units import BOHR

LARGEST_FILE = 50_000_000
SCALARS, FORCES = "flexcalc", "flexcalc-forces"
"""Names of the outputs that are added."""
FILE_MODES = {"xyz", "pdb", "ase", "chk"}
READERS = {"file", "positions", "velocities", "momenta", "masses", "labels"}
"""Elements that read a checkpoint by default."""
NAMED_FILES = {"plumed_dat", "sGDML_model", "yaffpara", "yaffsys"}
FULL_DIGITS = "%.16e"
OUTPUT_PREFIX = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
UNREADABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")
SEPARATORS = re.compile(r"[{},]")
LIST = re.compile(r"\[(.*?)\]", re.DOTALL)
MARKUP, QUOTES = re.compile(r"[<>&]"), re.compile(r"['\"\x00-\x1f\x7f]")
LABEL = re.compile(r"[\w$@#%.+{}-]+")
WILDCARDS = re.compile(r"[*?\[\]]")
MAX_DEPTH = 100

DYNAMICS = {"dynamics", "constrained_dynamics", "driven_dynamics", "multi"}
PATH_MOTIONS = {"neb", "string"}
"""Motions whose beads are the images of a path."""
SCALAR_PROPERTIES = {
    "step": "step",
    "time_fs": "time{femtosecond}",
    "temperature_K": "temperature{kelvin}",
    "potential_eV": "potential{ase}",
    "conserved_eV": "conserved{ase}",
}
"""Columns of scalars, and the properties of i-PI that they are."""
QUANTUM = {"quantum_kinetic_eV": "kinetic_cv{ase}", "gyration_A": "r_gyration{ase}"}
"""Requested too in the dynamics of a ring polymer."""
ENSEMBLE = {"ensemble_K": "ensemble_temperature{kelvin}"}
"""Requested too of a ring polymer, and if there are several systems, which may exchange it."""


@dataclass(frozen=True)
class Socket:
    """A socket that i-PI will open: `unix` has a name, `inet` a host and a port."""

    mode: str
    address: str
    port: int


def load(path: Path) -> Element:
    """The `<simulation>` of an i-PI input file.

    Raises:
        FileFormatError: not an i-PI input, or too large for one.
    """
    root = read_xml(Path(path), LARGEST_FILE, "an i-PI input")
    if root.tag != "simulation":
        raise FileFormatError(f"{path}: expected <simulation>, found <{root.tag[:40]}>")
    level, depth = [root], 0
    while level:  # what writes or copies a tree calls itself for each element inside another
        level, depth = [child for element in level for child in element], depth + 1
        if depth > MAX_DEPTH:
            raise FileFormatError(f"{path}: more than {MAX_DEPTH} elements inside each other")
    return root


def sockets(root: Element, name: str) -> list[Socket]:
    """The sockets of an input, with i-PI's defaults.

    Args:
        root: the `<simulation>`.
        name: of the file, for errors.

    Raises:
        ConfigError: a socket of a kind that flexcalc does not speak, or a bad port.
    """
    found = []
    for element in root.iter("ffsocket"):
        mode = element.get("mode", "inet").strip()
        if mode not in ("unix", "inet"):
            raise ConfigError(f"{name}: ffsocket.mode: expected unix or inet, found {mode[:40]!r}")
        port = _text(element, "port", "65535")
        if not port.isdecimal() or not 1 <= int(port) <= 65535:
            raise ConfigError(f"{name}: ffsocket.port: expected 1 to 65535, found {port[:40]!r}")
        found.append(Socket(mode, _text(element, "address", "localhost"), int(port)))
    return found


def total_steps(root: Element, name: str) -> int:
    """The number of steps of an input.

    Raises:
        ConfigError: not an integer.
    """
    return _whole_number(root, "total_steps", "1000", name)


def steps_done(restart: Element) -> int:
    """The number of completed steps in a RESTART of i-PI.

    Raises:
        ConfigError: not an integer.
    """
    return _whole_number(restart, "step", "0", "RESTART")


def check_output_prefix(root: Element, name: str) -> None:
    """Make sure that i-PI's output files stay in its working directory.

    Raises:
        ConfigError: the prefix names another folder.
    """
    prefix = _prefix(root)
    if not OUTPUT_PREFIX.fullmatch(prefix):
        raise ConfigError(
            f"{name}: output.prefix: expected a plain name (outputs go into the run folder), "
            f"found {prefix[:80]!r}"
        )


def systems(root: Element) -> list[str]:
    """The prefix of each system, in i-PI's order; empty for one that has none."""
    return [system.get("prefix", "").strip() for system in system_elements(root)]


def system_elements(root: Element) -> list[Element]:
    """The `<system>` elements in i-PI's order, with instances in place of a template."""
    found = []
    for child in root:
        if child.tag == "system":
            found.append(child)
        elif child.tag == "system_template":
            found += instances(child)
    return found


def instances(template: Element) -> list[Element]:
    """The systems that i-PI generates from a `<system_template>`, by replacing text of its XML.

    Raises:
        ConfigError: text that would change more than text, or lists of different lengths.
        FileFormatError: the result is not XML.
    """
    labels = entries(template.findtext("labels"))
    values = [entries(instance.text) for instance in template.findall("instance")]
    body = template.find("template")
    systems = [] if body is None else list(body)
    if len(systems) != 1 or any(len(words) != len(labels) for words in values):
        raise ConfigError(
            "<system_template>: expected one <system> in <template>, and in each <instance> as "
            "many values as there are labels"
        )
    _check_replaceable(systems[0], labels, values)
    text = ElementTree.tostring(systems[0], "unicode")
    found = []
    for words in values:
        made = text
        for label, value in sorted(zip(labels, words, strict=True), reverse=True):  # as i-PI does
            made = made.replace(label, value)
        found.append(parse_xml(made.encode(), "<system_template>"))
    return found


def _check_replaceable(system: Element, labels: list[str], values: list[list[str]]) -> None:
    """Refuse text that i-PI, which writes it into XML as it is, would read as XML.

    Raises:
        ConfigError: shows the text.
    """
    texts = [text for element in system.iter() for text in (element.text, element.tail) if text]
    texts += [value for words in values for value in words]
    quoted = [value for element in system.iter() for value in element.attrib.values()]
    bad = [text for text in texts if MARKUP.search(text)]
    bad += [text for text in quoted if MARKUP.search(text) or QUOTES.search(text)]
    bad += [label for label in labels if not LABEL.fullmatch(label)]
    if bad:
        raise ConfigError(
            f"<system_template>: {bad[0].strip()[:80]!r} cannot stand there: expected labels of "
            "letters, digits and _ $ @ # % . + - { } only, and no < > & anywhere"
        )


def is_path(root: Element) -> bool:
    """Whether the beads are the images of a path."""
    return any(motion.get("mode") in PATH_MOTIONS for motion in root.iter("motion"))


def beads(root: Element) -> int:
    """Number of beads; the most of any system.

    Raises:
        ConfigError: not an integer.
    """
    found = [1]
    for system in system_elements(root):
        for element in system.iter():
            if element.tag in ("initialize", "beads") and (count := element.get("nbeads")):
                found.append(_count(count, "nbeads"))
    return max(found)


def ring_polymer(root: Element) -> bool:
    """Whether the beads are ring polymers of distinguishable nuclei that move by dynamics."""
    modes = {motion.get("mode", "").strip() for motion in root.iter("motion")}
    bosons = any((element.text or "").strip() for element in root.iter("bosons"))
    return beads(root) > 1 and bool(modes) and modes <= DYNAMICS and not bosons


def images(restart: Element) -> np.ndarray:
    """Positions of all beads (beads, atoms, 3) in angstrom, from a RESTART of i-PI.

    Raises:
        FileFormatError: it has no beads.
    """
    beads = restart.find("system/beads")
    if beads is None:
        raise FileFormatError("RESTART: not a checkpoint of i-PI: it has no <beads>")
    return positions(beads)


def positions(beads: Element) -> np.ndarray:
    """Positions (beads, atoms, 3) in angstrom of the `<beads>` of a RESTART of i-PI.

    Raises:
        FileFormatError: not as many numbers as it says.
    """
    try:
        values = np.array(entries(beads.findtext("q")), dtype=float)
        return BOHR * values.reshape(int(beads.get("nbeads", "")), int(beads.get("natoms", "")), 3)
    except ValueError as error:
        raise FileFormatError(f"RESTART: not a checkpoint of i-PI: {error}") from None


def output_file(root: Element, folder: Path, filename: str, system: str = "") -> Path:
    """Path of the output of that name for a system, if i-PI works in `folder`."""
    before = f"{system}_" if system else ""
    return folder / f"{before}{_prefix(root)}.{filename}"


def set_steps(root: Element, steps: int) -> None:
    """Set the number of steps."""
    _put(_child(root, "total_steps"), str(steps))


def set_start(root: Element, start: Path, mode: str = "ase") -> None:
    """Set the starting geometry, which i-PI reads in the given mode.

    Raises:
        ConfigError: the input has no `<file>`, or the path is not allowed in XML.
    """
    files = [file for place in root.iter("initialize") for file in place.findall("file")]
    if not files:
        raise ConfigError("the i-PI input has no <initialize> to put the start into")
    for file in files:
        file.attrib = {"mode": mode}
        _put(file, str(Path(start).resolve()))


def file_element(path: Path) -> Element:
    """A `<file>` that i-PI reads by ASE."""
    element = Element("file", {"mode": "ase"})
    _put(element, str(Path(path).resolve()))
    return element


def reading_mode(element: Element) -> str | None:
    """The mode in which an element reads its file, if it can have one."""
    default = "chk" if element.tag in READERS else None
    mode = element.get("mode", default)
    return mode.strip() if mode else mode


def make_paths_absolute(root: Element, folder: Path) -> None:
    """Make relative paths of an input absolute, relative to the folder of the input.

    Args:
        root: the `<simulation>`, changed in place.
        folder: where the input lies.

    Raises:
        FileFormatError: a file it starts from does not exist.
        ConfigError: a path that is not allowed in i-PI's XML.
    """
    folder = Path(folder).resolve()
    for place in root.iter("initialize"):
        for element in place:
            if reading_mode(element) in FILE_MODES:
                _put_file(element, folder)
    for motion in root.iter("motion"):
        for element in motion.findall("file"):
            if not WILDCARDS.search(
                element.text or ""
            ):  # i-PI expands wildcards in its working folder
                _put_file(element, folder)
    for element in root.iter("pes_path"):
        _put(element, str(folder / (element.text or "").strip()))
    for element in root.iter():
        if element.tag in NAMED_FILES or reading_mode(element) == "file":
            _put_file(element, folder)
    for forcefield in root.iter("ffplumed"):
        for element in forcefield.findall("file"):
            _put_file(element, folder)
    for forcefield in root.iter("ffdirect"):
        for element in forcefield.findall("parameters"):
            element.text = _absolute_parameters(element.text or "", folder)


def _put_file(element: Element, folder: Path) -> None:
    """Make the path of an element's file absolute.

    Raises:
        FileFormatError: there is no such file.
    """
    path = folder / (element.text or "").strip()
    if not path.is_file():
        raise FileFormatError(f"{path}: no such file, named by <{element.tag}>")
    _put(element, str(path))


def add_outputs(root: Element, stride: int, forces_of: int | None) -> None:
    """Add the outputs the launcher reads, in full digits.

    Args:
        root: the `<simulation>`, changed in place.
        stride: steps from one line to the next.
        forces_of: number of atoms, to have positions and forces of the first bead as well, in
            atomic units, in which no digit is lost.
    """
    root.set("floatformat", FULL_DIGITS)
    output = _child(root, "output")
    columns = dict(SCALAR_PROPERTIES)
    quantum = ring_polymer(root)
    if quantum:
        columns |= QUANTUM
    if quantum or len(systems(root)) > 1:
        columns |= ENSEMBLE
    wanted = {SCALARS: ", ".join(columns.values())}
    if forces_of is not None:
        wanted[FORCES] = ", ".join(
            [
                "step",
                "pot_component(index=0;bead=0)",
                *(f"atom_x(atom={atom};bead=0)" for atom in range(forces_of)),
                *(f"atom_f(atom={atom};bead=0)" for atom in range(forces_of)),
            ]
        )
    for filename, properties in wanted.items():
        element = ElementTree.SubElement(output, "properties", filename=filename)
        element.set("stride", str(stride))
        element.text = f"[ {properties} ]"


def scalar_columns(root: Element) -> list[str]:
    """Names of the columns of the scalars that `add_outputs` has added to an input.

    Raises:
        FileFormatError: the input has none, or others.
    """
    names = {asked: name for name, asked in (SCALAR_PROPERTIES | QUANTUM | ENSEMBLE).items()}
    try:
        return [names[word] for word in entries(_scalars_of(root).text)]
    except (KeyError, StopIteration):
        raise FileFormatError("input.xml: expected the outputs that flexcalc adds") from None


def _scalars_of(root: Element) -> Element:
    found = root.iterfind("output/properties")
    return next(element for element in found if element.get("filename") == SCALARS)


def set_socket_prefix(root: Element, prefix: str) -> None:
    """Set the prefix of i-PI's unix sockets, instead of /tmp/ipi_.

    Raises:
        ConfigError: the prefix cannot stand in XML.
    """
    root.set("sockets_prefix", checked(prefix))


def alike(first: Element, second: Element) -> bool:
    """Whether two prepared inputs are the same except for the number of steps."""
    return _without_steps(first) == _without_steps(second)


def copy_settings(restart: Element, root: Element) -> None:
    """Copy steps, digits and socket of an input to a RESTART of i-PI, in place."""
    set_steps(restart, total_steps(root, "input"))
    restart.set("floatformat", FULL_DIGITS)
    restart.set("sockets_prefix", root.get("sockets_prefix", "/tmp/ipi_"))


def to_bytes(root: Element) -> bytes:
    """The input as a file."""
    return ElementTree.tostring(root, encoding="utf-8", xml_declaration=True) + b"\n"


def checked(text: str) -> str:
    """The text, if i-PI's XML reader gives it back exactly.

    Raises:
        ConfigError: it is empty, begins or ends with space, or has a control character.
    """
    if not text or text != text.strip() or UNREADABLE.search(text):
        raise ConfigError(
            f"{text[:80]!r} cannot stand in i-PI's XML: expected text without control characters "
            "that neither begins nor ends with a space"
        )
    return text


def _prefix(root: Element) -> str:
    output = root.find("output")
    return "i-pi" if output is None else output.get("prefix", "i-pi").strip()


def _without_steps(root: Element) -> bytes:
    copy = deepcopy(root)
    for element in copy.findall("total_steps"):
        copy.remove(element)
    for element in copy.iterfind("output/*"):
        if element.get("filename", "").startswith(SCALARS):
            element.attrib.pop("stride", None)
            element.text = None  # other versions of flexcalc request other columns
    return ElementTree.canonicalize(ElementTree.tostring(copy), strip_text=True).encode()


def entries(text: str | None) -> list[str]:
    """The entries of a list of i-PI, as in [ a, b ]; it takes quotation marks off them."""
    listed = LIST.search(text or "")
    words = (listed[1] if listed else text or "").split(",")
    return [word.strip(" \n\t'") for word in words]


def _put(element: Element, text: str) -> None:
    element.text = checked(text)


def _child(root: Element, tag: str) -> Element:
    found = root.find(tag)
    return ElementTree.SubElement(root, tag) if found is None else found


def _text(element: Element, tag: str, default: str) -> str:
    return (element.findtext(tag) or default).strip()


def _whole_number(element: Element, tag: str, default: str, name: str) -> int:
    return _count(_text(element, tag, default), f"{name}: {tag}")


def _count(text: str, what: str) -> int:
    if not text.strip().isdecimal() or len(text) > 12:
        raise ConfigError(f"{what}: expected a whole number, found {text[:40]!r}")
    return int(text)


def _absolute_parameters(text: str, folder: Path) -> str:
    """A dictionary {key: value, ...} of i-PI with the values that name files made absolute."""
    items = []
    for item in text.strip().strip("{}").split(","):
        key, colon, value = item.partition(":")
        value = value.strip()
        if value and (folder / value).exists():
            value = checked(str(folder / value))
            if SEPARATORS.search(value):
                raise ConfigError(
                    f"{value}: a path with a comma or a brace cannot stand in <parameters>"
                )
        items.append(f"{key.strip()}{colon} {value}".strip())
    return "{ " + ", ".join(items) + " }"
