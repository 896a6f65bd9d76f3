"""Safety check of i-PI inputs: without trust they may only compute.

i-PI can load libraries, unpickle models and caches, run Python files, open sockets of its own and
write wherever a name leads. So an input is checked tag by tag against what is known to be
harmless, and whatever is not needs trust; names of outputs never leave the run folder. A RESTART
and other checkpoints are inputs too, and are checked as such.

Source: i-PI 3.3.1, ipi/inputs, ipi/engine and ipi/pes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from xml.etree.ElementTree import Element

from flexcalc.adapters.ipi import inputs
from flexcalc.errors import ConfigError
from flexcalc.files.plumed_input import check_plumed_input, read_plumed_input

HARMLESS = frozenset(
    """
    A active_output active_thresh activelist adaptive address alchemy algorithm alpha alpha_fire
    alt_out amp apat asr asr_threshold athresh atoms atomswap barostat baseline_name
    baseline_uncertainty batch_size batch_weight_exponent beads bec bias bias_weights
    biggest_step bosons C cell checkpoint checkweights chop climb_bead compressibility
    compute_work consolidate_messages constrained_dynamics constraint corrections_lbfgs csolver
    current_step delta discretization displace_mode dmd dmd_coupling dmd_dt dmd_freq dmd_step
    dmdff driven_dynamics dt_fire dtmax_fire dynamics dynmat ealc ebaro eens efield endpoints
    energy energy_shift ensemble eta ethermo ethresh exit_on_convergence exit_on_disconnect
    ffcommittee ffdebye ffdirect ffdmd fflj ffplumed ffrotations ffsocket file fixatoms
    fixatoms_dof fixcom flip fnmrms force forces freq frequencies fric_hessian fric_spec_dens
    fric_spec_dens_ener friction frictionSD full_force full_pots gle glist_lbfgs grid grid_mode
    grid_order h0 hamiltonian_weights hessian hessian_asr hessian_bfgs hessian_final
    hessian_init hessian_trm hessian_update hfix idtau initialize instance instanton intau
    interpolate_extras inversion invhessian_bfgs iter kappa kappamax kappamin krescale labels
    latency logscale ls_options m masses max_e max_iter max_ms max_steps max_workers maxit metad
    metaff momenta motion mptwo mts_weights N_down_fire N_up_fire names nbasis nbeads
    neb_optimizer nevib nexc nint nkbt nmts norm_order normal_modes normalmodes nparallel nprim
    nsamples nsteps_geo nsteps_o nxc offset old_coord old_direction old_force old_nebgradient
    old_nebpotential old_pos old_pot old_stringgradient old_stringpotential open_paths opt
    optimize optimizer output output_shift p p_end p_ramp p_start pair_range parameters
    parse_json peak pes phase pile_centroid_t pile_lambda planetary plumed_dat plumed_extras
    plumed_step port pos_shift position positions precheck prefix pressure print_1b_map
    print_2b_map print_mftpot print_vib_density prng properties q qlist_lbfgs random random_type
    refdynmat remd repindex s scale_lbfgs scp screen seed sigma simulation slots smotion solve
    spring stage state step stress stride string_optimizer swapfile system system_template t_end
    t_ramp t_start tangent tau temperature template thermostat threebody time timeout timestep
    tolerance tolerances total_steps total_time tr_trm trajectory use_climb use_energy v_fire
    v_reference values varsprings velocities vibrations vol_constraint weights wthreshold
    x_reference
    """.split()  # noqa: SIM905 - as a table it can be read
)
"""Tags with numbers, choices and names, or that are checked below."""
ATTRIBUTES = frozenset(
    """
    bead cell_units extra_type fd_epsilon fft_float32 fft_threads filename floatformat flush
    forcefield format id index matching mode n_threads name natoms nbeads overwrite pbc prefix
    propagator safe_stride shape sockets_prefix splitting stride style threaded threading transform
    units verbosity weight
    """.split()  # noqa: SIM905 - as a table it can be read
)
RISKS = {
    "ffsgdml": "unpickles the model that it names",
    "al6xxx_kmc": "unpickles the caches that it names",
    "pes_path": "runs the Python file that it names",
    "ffyaff": "reads and writes files anywhere",
    "ffmpi": "waits for programs that are not flexcalc's",
    "ffcavphsocket": "opens a socket of its own",
}
"""Tags that are known to need trust, and why."""
SURFACES = {
    "dummy", "gas", "harmonic", "MorseHarmonic", "DW", "DW_bath", "DW_friction",
    "double_double_well", "xtb",
}  # fmt: skip
"""Potentials of i-PI's own that are formulas, or tblite; the others read models, or run code."""
TEXT_FORMATS = {"extxyz", "xyz"}
"""Formats that may be read by ASE, which chooses one of eighty by the name of a file."""
WRITTEN = {"prefix", "active_output", "swapfile"}
"""Tags whose text becomes part of the name of an output."""
NAMES = {"system": "prefix", "properties": "filename", "trajectory": "filename",
         "checkpoint": "filename"}  # fmt: skip
"""Tags with an attribute that does."""
UNSAFE_NAME = re.compile(r"[/\\*?\[\]\x00-\x1f\x7f\ud800-\udfff]")
LONGEST_NAME = 100


def check(root: Element, name: object, folder: Path, trust: bool) -> None:
    """Make sure that an input runs no code, and writes nothing outside the run folder.

    Args:
        root: the `<simulation>`, with its paths absolute.
        name: of the file, for errors.
        folder: the run folder, where PLUMED writes too.
        trust: the user trusts whatever the input has i-PI read and run.

    Raises:
        ConfigError: names the tag.
        FileFormatError: a checkpoint that it starts from cannot be read.
        InputError: an input of PLUMED needs trust; names its line.
    """
    inputs.check_output_prefix(root, str(name))
    for element in _elements(root):
        _check_names(element, name)
        risk = None if trust else _risk(element)
        if element.tag == "ffplumed" and not trust and not risk:
            risk = _risk_of_plumed(element, name, folder)
        _refuse(risk, name)


def check_element(element: Element, name: object, trust: bool) -> None:
    """Make sure that an element, whose path is absolute, has i-PI read nothing that needs trust.

    Raises:
        ConfigError, FileFormatError: as `check`.
    """
    _refuse(None if trust else _risk(element), name)


def _refuse(risk: str | None, name: object) -> None:
    if risk:
        raise ConfigError(
            f"{name}: {risk}; if you trust where this input comes from, say so: trust = true "
            "in the run file, --trust, or trust=True in Python"
        )


def _elements(root: Element) -> Iterator[Element]:
    """All elements that i-PI reads, with instances in place of a template."""
    yield root
    for child in root:
        if child.tag == "system_template":
            for system in inputs.instances(child):
                yield from system.iter()
        else:
            yield from child.iter()


def _check_names(element: Element, name: object) -> None:
    """Refuse a name of an output that would be outside the run folder.

    Raises:
        ConfigError: says which.
    """
    tag = element.tag
    found = {f"<{tag}>": element.text} if tag in WRITTEN else {}
    if tag in NAMES:
        found[f"<{tag} {NAMES[tag]}>"] = element.get(NAMES[tag])
    for what, text in found.items():
        if text and (UNSAFE_NAME.search(text.strip()) or len(text) > LONGEST_NAME):
            raise ConfigError(
                f"{name}: {what}: expected a plain name (i-PI's outputs go into the run folder), "
                f"found {text[:80]!r}"
            )


def _risk(element: Element) -> str | None:
    """Message about an element that needs trust, beginning with its tag."""
    tag, text = element.tag, (element.text or "").strip()
    if tag in RISKS:
        return f"<{tag}> {RISKS[tag]}"
    if tag not in HARMLESS:
        return f"<{tag[:40]}> is not known to be harmless, if the spelling is right"
    strange = sorted(set(element.keys()) - ATTRIBUTES)
    if strange:
        return f"<{tag} {strange[0][:40]}> is not known to be harmless, if the spelling is right"
    if tag == "pes" and text == "custom":
        return "<pes> custom runs the Python file that <pes_path> names"
    if tag == "pes" and text not in SURFACES:
        return f"<pes> {text[:40]} may read models or run code"
    if tag == "motion" and element.get("mode", "").strip() == "al-kmc":
        return f"<motion mode='al-kmc'> {RISKS['al6xxx_kmc']}"
    if tag == "properties" and any("virial_fq" in word and "(" in word for word in text.split(",")):
        return "<properties> virial_fq(...) reads the file or the address on a network it names"
    return _risk_of_reading(element, text)


def _risk_of_reading(element: Element, text: str) -> str | None:
    """Message about the risk of the file that an element reads, if any."""
    tag, mode = element.tag, inputs.reading_mode(element)
    if mode == "file" and not (Path(text).is_absolute() and Path(text).is_file()):
        return f"<{tag} mode='file'> names no file here: {text[:80]!r}"
    if mode == "ase":
        kind = _format(text)
        if kind not in TEXT_FORMATS:
            return f"<{tag} mode='ase'> has ASE read {text[:200]!r} as {kind}, not as extxyz"
    if mode == "chk":
        return _risk_of_checkpoint(element, text)
    return None


def _risk_of_checkpoint(element: Element, text: str) -> str | None:
    """Message about the risk of the objects that a checkpoint creates."""
    for part in _elements(inputs.load(Path(text))):
        if inputs.reading_mode(part) == "chk":
            return f"<{element.tag} mode='chk'> {text[:200]!r} reads another checkpoint"
        risk = _risk(part)
        if part.tag == "ffplumed":
            risk = "<ffplumed> runs an input of PLUMED"
        if risk:
            return f"<{element.tag} mode='chk'> {text[:200]!r}: {risk}"
    return None


def _risk_of_plumed(element: Element, name: object, folder: Path) -> str | None:
    """Check what PLUMED would run for an `<ffplumed>`.

    Raises:
        InputError: it needs trust, or cannot be read.
    """
    paths = [(part.text or "").strip() for part in element.iter("plumed_dat")]
    if not paths:
        return "<ffplumed> without a <plumed_dat> runs a plumed.dat of the run folder"
    for path in paths:
        text = read_plumed_input(path)
        check_plumed_input(text, folder, name=f"{name}: <plumed_dat> {path}")
    return None


def _format(path: str) -> str:
    """The format as which ASE reads an open file of that name, when i-PI does not say one."""
    from ase.io.formats import UnknownFileTypeError, filetype, get_ioformat

    try:
        return get_ioformat(filetype(path, read=False)).name
    except UnknownFileTypeError:
        return "extxyz"  # what i-PI tries next


def check_folder(folder: Path, trust: bool) -> None:
    """Refuse a run folder with links, through which outputs would be written elsewhere.

    Raises:
        ConfigError: names the link.
    """
    links = [entry for entry in sorted(folder.iterdir()) if entry.is_symlink()]
    if links and not trust:
        raise ConfigError(
            f"{links[0]}: a link in a run folder, where i-PI would write to what it points at; "
            "remove it, or if you trust where the folder comes from, say so (--trust)"
        )
