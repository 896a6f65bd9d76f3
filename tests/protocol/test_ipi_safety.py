"""An i-PI input computes; what does more needs trust, and nothing leaves the run folder."""

import pickle
import re
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from ipi_bench import ROOT, in_process, input_xml, over_socket
from ipi_springs import GLYCINE

from flexcalc.adapters.ipi import Launch, inputs, launch, launcher, safety
from flexcalc.adapters.ipi.processes import owned_socket
from flexcalc.errors import ConfigError, FileFormatError, InputError

pytestmark = [pytest.mark.protocol, pytest.mark.security]

ADDRESS = "ase:ipi_springs:SpringCalculator"
GOOD = input_xml(over_socket("safe"), steps=5)
KMC = "<al6xxx_kmc><ecache_file> {folder}/bomb.pkl </ecache_file></al6xxx_kmc>"
CAVITY = "<address> 0.0.0.0 </address> <port> 47311 </port>"


@pytest.fixture(autouse=True)
def springs_in_reach(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(Path(__file__).parent)
    short = Path("/tmp") / f"fcs{tmp_path.stat().st_ino}"
    short.mkdir()
    monkeypatch.setenv("TMPDIR", str(short))
    monkeypatch.setattr("tempfile.tempdir", None)
    yield
    for path in sorted(short.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    short.rmdir()
    monkeypatch.setattr("tempfile.tempdir", None)


class Bomb:
    """Makes a file when it is unpickled."""

    def __init__(self, canary):
        self.canary = str(canary)

    def __reduce__(self):
        return (open, (self.canary, "w"))


def forcefield(xml):
    """The good input with another forcefield too."""
    return GOOD.replace("<system>", f"{xml}<system>", 1)


def motion(xml, mode="dynamics"):
    return re.sub(
        "<motion.*</motion>", f"<motion mode='{mode}'>{xml}</motion>", GOOD, flags=re.DOTALL
    )


def starting(xml):
    return GOOD.replace("<velocities", f"{xml}<velocities", 1)


def output(xml):
    return GOOD.replace("</output>", f"{xml}</output>")


NEEDING_TRUST = {
    "<ffsgdml>": forcefield("<ffsgdml name='s'><sGDML_model>bomb.npz</sGDML_model></ffsgdml>"),
    "<ffsgdml> ": forcefield(
        "<ffcommittee name='c'>"
        "<ffsgdml name='s'><sGDML_model>bomb.npz</sGDML_model></ffsgdml></ffcommittee>"
    ),
    "<ffyaff>": forcefield("<ffyaff name='y'><yafflog> ../canary </yafflog></ffyaff>"),
    "<ffmpi>": forcefield("<ffmpi name='m'/>"),
    "<ffcavphsocket>": forcefield(f"<ffcavphsocket name='c'>{CAVITY}</ffcavphsocket>"),
    "<pes_path>": forcefield(in_process(ADDRESS).replace("'flexcalc'", "'d'")),
    **{
        f"<pes> {pes}": forcefield(f"<ffdirect name='d'><pes> {pes} </pes></ffdirect>")
        for pes in ("elphmod", "mace", "metatomic", "ase", "driverdipole", "spline", "custom", "?")
    },
    "<pes> so3lr": forcefield(
        "<ffrotations name='r'><ffdirect><pes>so3<!-- -->lr</pes></ffdirect></ffrotations>"
    ),
    "<motion mode='al-kmc'>": motion(KMC, "al-kmc"),
    "<al6xxx_kmc>": motion(f"<motion mode='multi'>{KMC}</motion>"),
    "<momenta mode='chk'>": starting("<momenta> evil.chk </momenta>"),
    "<file mode='chk'>": starting("<file> evil.chk </file>"),
    "<gle mode='chk'>": starting("<gle mode='chk'> evil.chk </gle>"),
    "<cell mode='chk'>": starting("<cell mode='chk'> nested.chk </cell>"),
    "<file mode='ase'>": starting("<file mode='ase'> atoms.json </file>"),
    "<positions mode='ase'>": starting("<positions mode='ase'> atoms.traj </positions>"),
    "<properties>": output(
        "<properties filename='f'> [ virial_fq(ref=/etc/passwd) ] </properties>"
    ),
    "<ffnew>": forcefield("<ffnew/>"),
    "<ffdebye secret>": forcefield("<ffdebye name='d' secret='bomb.npz'/>"),
    "line 1: LOAD": forcefield(
        "<ffplumed name='p'><file mode='xyz'> a.xyz </file>"
        "<plumed_dat> p.dat </plumed_dat></ffplumed>"
    ),
    "<ffplumed>": forcefield("<ffplumed name='p'><file mode='xyz'> a.xyz </file></ffplumed>"),
}


@pytest.fixture
def folder(tmp_path):
    """A folder of hostile files, with a run folder in it."""
    canary = tmp_path / "canary"
    np.savez(tmp_path / "bomb.npz", z=np.array([Bomb(canary)], dtype=object))
    (tmp_path / "bomb.pkl").write_bytes(pickle.dumps(Bomb(canary)))
    evil = (
        f"<simulation><system><forces/><motion mode='al-kmc'>{KMC}</motion></system></simulation>"
    )
    (tmp_path / "evil.chk").write_text(evil.format(folder=tmp_path))
    nested = "<simulation><system><motion mode='replay'><file> evil.chk </file></motion></system>"
    (tmp_path / "nested.chk").write_text(f"{nested}</simulation>")
    (tmp_path / "p.dat").write_text(f"LOAD FILE={tmp_path}/evil.so\n")
    for name in ("atoms.json", "atoms.traj", "a.xyz"):
        (tmp_path / name).write_bytes(GLYCINE.read_bytes())
    (tmp_path / "run").mkdir()
    return tmp_path


def refuse(folder, xml, match, error=InputError, **job):
    path = folder / "given.xml"
    path.write_text(xml.replace("{folder}", str(folder)))
    before = {one: one.lstat().st_mtime_ns for one in folder.rglob("*")}
    with pytest.raises(error, match=match) as caught:
        launch(path, ADDRESS, GLYCINE, folder / "run", Launch(**job))
    assert "\n" not in str(caught.value)
    assert {one: one.lstat().st_mtime_ns for one in folder.rglob("*")} == before
    return str(caught.value)


@pytest.mark.parametrize("tag", NEEDING_TRUST)
def test_what_does_more_than_compute_is_refused_by_its_tag(folder, tag):
    said = refuse(folder, NEEDING_TRUST[tag], re.escape(tag.strip()))
    assert "trust = true" in said
    assert not (folder / "canary").exists()


@pytest.mark.parametrize("tag", NEEDING_TRUST)
def test_with_trust_it_is_not_refused(folder, tag):
    root = ElementTree.fromstring(NEEDING_TRUST[tag].replace("{folder}", str(folder)))
    safety.check(root, "given", folder / "run", trust=True)


ELSEWHERE = ["../../x", "a/b", "/x", "..\\x", "*", "a\nb", "x" * 200]


@pytest.mark.parametrize("name", ELSEWHERE)
@pytest.mark.parametrize("trust", [False, True])
@pytest.mark.parametrize(
    "change",
    [
        ("<system>", "<system prefix='{}'>"),
        ("</output>", "<properties filename='{}'> [ step ] </properties></output>"),
        ("</output>", "<trajectory filename='{}'> positions </trajectory></output>"),
        ("</output>", "<checkpoint filename='{}'/></output>"),
        ("<system>", "<smotion mode='remd'><remd><swapfile>{}</swapfile></remd></smotion><system>"),
        (
            "<system>",
            "<ffcommittee name='c'><active_output>{}</active_output></ffcommittee><system>",
        ),
        ("<dynamics mode", "<vibrations><prefix>{}</prefix></vibrations><dynamics mode"),
    ],
    ids=lambda change: re.findall(r"<(\w+)[^<]*\{\}", change[1])[0],
)
def test_outputs_stay_in_the_run_folder_with_trust_and_without(tmp_path, change, name, trust):
    old, new = change
    root = ElementTree.fromstring(GOOD.replace(old, new.format(name.replace("\n", "&#10;")), 1))
    with pytest.raises(ConfigError, match="expected a plain name") as error:
        safety.check(root, "given", tmp_path, trust)
    assert "\n" not in str(error.value)


def test_an_array_is_read_from_a_file_that_is_there_and_never_from_a_network(folder):
    (folder / "fixed.txt").write_text("0 1 2\n")
    fixed = "<dynamics mode='nve'/><fixatoms mode='file'> {} </fixatoms>"
    refuse(folder, motion(fixed.format("http://127.0.0.1:9/x")), "no such file", FileFormatError)
    root = ElementTree.fromstring(motion(fixed.format("fixed.txt")))
    with pytest.raises(ConfigError, match="<fixatoms mode='file'>"):  # as in a RESTART
        safety.check(root, "given", folder, trust=False)
    inputs.make_paths_absolute(root, folder)
    safety.check(root, "given", folder, trust=False)


def test_what_only_computes_needs_no_trust(folder):
    """The shipped inputs, other motions and forcefields, and checkpoints of i-PI."""
    for path in sorted((ROOT / "inputs").glob("ipi-*.xml")):
        root = launcher._prepared(path, None, 3, None)
        safety.check(root, path, folder, trust=False)
    (folder / "good.chk").write_text(GOOD)
    (folder / "p.dat").write_text("d: DISTANCE ATOMS=1,2\nPRINT ARG=d FILE=COLVAR\n")
    for xml in (
        motion("<optimizer mode='bfgs'><tolerances><energy> 1 </energy></tolerances></optimizer>"),
        motion("<vibrations mode='fd'><prefix> phonons </prefix></vibrations>"),
        forcefield("<ffdirect name='d'><pes> harmonic </pes></ffdirect>"),
        starting("<momenta mode='chk'> good.chk </momenta>"),
        NEEDING_TRUST["line 1: LOAD"],
    ):
        root = ElementTree.fromstring(xml)
        inputs.make_paths_absolute(root, folder)
        safety.check(root, "given", folder, trust=False)
    root = launcher._prepared(ROOT / "drivers" / "in-process.xml", None, None, None)
    with pytest.raises(ConfigError, match="<pes> custom runs the Python file"):
        safety.check(root, "in-process.xml", folder, trust=False)


def tags_of_i_pi():
    """Every tag and attribute of the installed i-PI that stands outside those of RISKS."""
    from ipi.inputs.simulation import InputSimulation
    from ipi.utils.inputvalue import InputDictionary

    tags, attributes, seen, left = {"simulation"}, set(), set(), [InputSimulation]
    while left:
        kind = left.pop()
        if kind in seen:
            continue
        seen.add(kind)
        attributes |= set(getattr(kind, "attribs", {}))
        parts = getattr(kind, "fields", {}) | getattr(kind, "dynamic", {})
        for tag, (part, settings) in parts.items():
            if tag in safety.RISKS:
                continue
            tags.add(tag)
            left.append(part)
            if issubclass(part, InputDictionary):
                tags |= set(settings.get("options", ()))
    return tags, attributes


def test_every_tag_of_the_installed_i_pi_was_looked_at():
    """A new i-PI may have more: look what they read, run and write, then add them to a list."""
    from ipi.pes import __drivers__

    tags, attributes = tags_of_i_pi()
    assert tags - safety.HARMLESS == set()
    assert attributes - safety.ATTRIBUTES == set()
    assert set(__drivers__) >= safety.SURFACES
    assert not safety.HARMLESS & safety.RISKS.keys()


# A run folder that somebody hands over


def handed_over(folder, change):
    """A run folder with the input of `given.xml`, and a RESTART that was changed."""
    given, run = folder / "given.xml", folder / "run"
    given.write_text(GOOD)
    root = launcher._prepared(given, None, None, None)
    with owned_socket("safe", run) as (prefix, _):
        inputs.set_socket_prefix(root, prefix)
    (run / "input.xml").write_bytes(inputs.to_bytes(root))
    text = inputs.to_bytes(root).decode().replace("<total_steps>", "<step> 2 </step><total_steps>")
    changed = change(text)
    assert changed != text
    (run / "RESTART").write_text(changed)


@pytest.mark.parametrize(
    ("old", "new", "match"),
    [
        (
            "<system>",
            "<ffsgdml name='s'><sGDML_model> {folder}/bomb.npz </sGDML_model></ffsgdml><system>",
            "RESTART: <ffsgdml>",
        ),
        ("<system>", "<system prefix='../../x'>", "<system prefix>: expected a plain name"),
        ('filename="scalars"', 'filename="x/../../victim"', "<properties filename>: expected a"),
        ('prefix="run"', 'prefix="../run"', "plain name"),
        ('mode="unix"', 'mode="inet"', "its RESTART is of another i-PI input"),
        ("<address> safe", "<address> other", "its RESTART is of another i-PI input"),
    ],
)
def test_a_restart_is_checked_as_an_input_is(folder, old, new, match):
    (folder / "victim").write_text("1\n2\n3\n4\n5\n")
    handed_over(folder, lambda text: text.replace(old, new.format(folder=folder), 1))
    refuse(folder, GOOD, match)
    assert not (folder / "canary").exists()


@pytest.mark.parametrize("name", ["i-pi.log", "run.scalars", "RESTART"])
def test_a_link_in_a_run_folder_is_refused(folder, name):
    (folder / "victim").write_text("mine\n")
    (folder / "run" / name).symlink_to(folder / "victim")
    refuse(folder, GOOD, "a link in a run folder", ConfigError)


# Templates of systems


def templated(labels, instance, prefix="REPLICA", extra=""):
    return ElementTree.fromstring(
        f"<system_template><labels> [ {labels} ] </labels><instance> [ {instance} ] </instance>"
        f"<template><system prefix='{prefix}'>{extra}<forces/></system></template>"
        "</system_template>"
    )


def simulation(*parts):
    root = ElementTree.fromstring("<simulation/>")
    root.extend(parts)
    return root


def test_systems_come_in_i_pis_order_with_labels_replaced_as_i_pi_does():
    """Longer labels before those that they begin with, and no quotation marks."""
    single = ElementTree.fromstring("<system prefix='alone'/>")
    first = templated("T, T1", "'one', 'two'", prefix="T-T1")
    assert inputs.systems(simulation(first, single)) == ["one-two", "alone"]


def i_pis_system(template):
    """What i-PI makes of it: the prefix, by its own code for text."""
    from ipi.utils.io.inputs.io_xml import read_list, xml_parse_string, xml_write

    node = xml_parse_string(ElementTree.tostring(template, "unicode")).fields[0][1]
    parts = dict(node.fields)
    text = xml_write(parts["template"])
    labels, values = (read_list(dict(parts[tag].fields)["_text"]) for tag in ("labels", "instance"))
    for label, value in sorted(zip(labels, values, strict=True), reverse=True):
        text = text.replace(label, value)
    return xml_parse_string(text).fields[0][1]


@pytest.mark.parametrize(
    ("labels", "instance"),
    [("REPLICA", "a"), ("REPLICA, R", "'b', x"), ("{R}, REPLICA", "7, {R}"), ("EPL, A", "x, A")],
)
def test_a_template_becomes_what_i_pi_makes_of_it(labels, instance):
    template = templated(labels, instance, prefix="REPLICA-{R}")
    theirs, (ours,) = i_pis_system(template), inputs.instances(template)
    assert ours.get("prefix") == theirs.attribs["prefix"]


@pytest.mark.parametrize(
    "template",
    [
        templated("REPLICA", "&lt;pes_path&gt;"),
        templated("REPLICA", "a", extra="&lt;motion/&gt;"),
        templated("REPLICA", "a", prefix="&apos;&gt;"),
        templated("system prefix=", "x"),
        templated("'>", "x"),
        templated("A, B", "a"),
        templated("", "a"),
    ],
    ids=range(7),
)
def test_text_that_would_become_xml_in_a_template_is_refused(tmp_path, template):
    with pytest.raises(ConfigError, match="<system_template>"):
        safety.check(simulation(template), "given", tmp_path, trust=True)


def test_what_comes_of_a_template_is_checked(tmp_path):
    for template, match in (
        (templated("REPLICA", "../../x"), "<system prefix>"),
        (templated("REPLICA, forces", "a, al6xxx_kmc"), "<al6xxx_kmc>"),
    ):
        with pytest.raises(ConfigError, match=match):
            safety.check(simulation(template), "given", tmp_path, trust=False)
