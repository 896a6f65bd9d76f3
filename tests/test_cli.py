"""The command line: help, run files, flags, exit codes, run folders, and Ctrl-C."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
import tomllib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import flexcalc
from flexcalc import cli
from flexcalc.config import COMMANDS, TOOLS, load, template, to_toml
from flexcalc.config.benchmark import Benchmark, Mechanism, Model, Sample
from flexcalc.config.benchmark_tests import Withheld
from flexcalc.config.dynamics import Md
from flexcalc.config.label import Label
from flexcalc.config.options import flags, options
from flexcalc.config.paths import PathSearch
from flexcalc.config.train import Train
from flexcalc.display import numbers
from flexcalc.errors import ConfigError
from flexcalc.files.shipped import shipped
from flexcalc.methods.crash import CrashTest
from flexcalc.methods.dynamics import NVE, Langevin
from flexcalc.methods.optimisers import FIRE
from flexcalc.methods.path import Scan
from flexcalc.methods.sampling import AsIs, Displaced, Thermal
from flexcalc.models.bpnn import BPNN
from flexcalc.models.gdml import SGDML
from flexcalc.training.checkpoints import Checkpoints
from flexcalc.training.mixture import Mixture


def complaint(capsys):
    """The one line that a failed command left on standard error."""
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("flexcalc: ")
    return lines[0].removeprefix("flexcalc: ")


# ---------------------------------------------------------------- help


def test_overview_names_every_command(capsys, run):
    assert run("--help") == 0
    shown = capsys.readouterr().out
    for name in (*COMMANDS, "init", "report", "info", "export"):
        assert re.search(rf"^  {name} ", shown, re.MULTILINE)


def test_no_words_at_all_give_the_overview(capsys, run):
    assert run() == 0
    assert capsys.readouterr().out.startswith("Usage: flexcalc")


def test_version_is_printed(capsys, run):
    assert run("--version") == 0
    assert capsys.readouterr().out == f"flexcalc {flexcalc.__version__}\n"


@pytest.mark.parametrize("name", COMMANDS)
def test_help_of_a_command_shows_every_option_with_its_text(name, capsys, run):
    assert run(name, "--help") == 0
    shown = " ".join(capsys.readouterr().out.split())
    positional = {place.lstrip("*") for place in COMMANDS[name].positional}
    for option in options(COMMANDS[name]):
        assert option.help
        if option.name in positional:
            assert option.name.upper() in shown
        elif option.name in getattr(COMMANDS[name], "file_only", ()):
            assert f"--{option.name.replace('_', '-')} " not in shown
        elif not option.choices:
            assert f"--{option.name.replace('_', '-')}" in shown
            assert option.help in shown


@pytest.mark.parametrize("name", [*COMMANDS, *TOOLS])
def test_help_of_a_command_describes_every_positional_argument(name, capsys, run):
    kind = {**COMMANDS, **TOOLS}[name]
    assert run(name, "--help") == 0
    described = " ".join(capsys.readouterr().out.partition("\nOptions:")[0].split())
    texts = {option.name: option.help for option in options(kind)}
    for place in kind.positional:
        assert texts[place.lstrip("*")] in described
    assert ("Arguments:" in described) == bool(kind.positional)


@pytest.mark.parametrize("name", COMMANDS)
def test_help_lists_the_usual_options_first_and_every_option_once(name, capsys, run):
    kind = COMMANDS[name]
    assert run(name, "--help") == 0
    shown = capsys.readouterr().out
    panels = re.findall(r"^([A-Z][\w ]+):$", shown, re.MULTILINE)
    assert panels[bool(kind.positional)] == "Options"
    first = shown.partition("\nOptions:")[2].partition("\n\n")[0]
    known = {flag.name: flag for flag in flags(kind)}
    for option in kind.usual:
        assert re.search(rf"^  (-\w, )?--{option.replace('_', '-')} ", first, re.MULTILINE)
    assert 3 <= len(re.findall(r"^  -", first, re.MULTILINE)) <= 10
    positional = {place.lstrip("*").replace("_", "-") for place in kind.positional}
    for flag in set(known) - positional:
        assert len(re.findall(rf"^  (?:-\w, )?--{flag}(?: |$)", shown, re.MULTILINE)) == 1, flag


def completed(line, monkeypatch, capsys):
    """What bash is told to complete the last word of a line with."""
    monkeypatch.setenv("_FLEXCALC_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", line)
    monkeypatch.setenv("COMP_CWORD", str(len(line.split(" ")) - 1))
    with pytest.raises(SystemExit) as end:
        cli.main([])
    assert end.value.code == 0
    return capsys.readouterr().out.split()


def test_shells_complete_commands_options_and_values(monkeypatch, capsys):
    def shell(line):
        return completed(line, monkeypatch, capsys)

    assert shell("flexcalc eva") == ["evaluate"]
    assert shell("flexcalc train a.xyz --validation") == ["--validation-points"]
    assert shell("flexcalc train --family sg") == ["sgdml"]
    assert set(shell("flexcalc md --method ")) == {"nve", "langevin", "rescaling", "nose-hoover"}
    assert shell("flexcalc train a.xyz --selection far") == ["farthest"]
    assert "--n-sparse" in shell("flexcalc train --family gap --n")
    assert "--n-sparse" not in shell("flexcalc train --n")
    assert set(shell("flexcalc init ")) == set(COMMANDS)


def test_shells_complete_files_where_flexcalc_has_no_words(monkeypatch, capsys):
    """Bash and zsh do so where they are told nothing, or to use files."""
    assert completed("flexcalc train ", monkeypatch, capsys) == []
    assert completed("flexcalc label xtb:GFN2-xTB mol --sampler ", monkeypatch, capsys) == []
    monkeypatch.setenv("_FLEXCALC_COMPLETE", "complete_zsh")
    monkeypatch.setenv("_TYPER_COMPLETE_ARGS", "flexcalc train a")
    with pytest.raises(SystemExit):
        cli.main([])
    assert capsys.readouterr().out.strip() == "_files"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_can_be_installed(shell, capsys, monkeypatch, run):
    monkeypatch.setenv("_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION", "1")
    assert run("--show-completion", shell) == 0
    shown = capsys.readouterr().out
    assert "_FLEXCALC_COMPLETE" in shown
    assert "flexcalc" in shown


def test_help_tells_kinds_apart_where_one_flag_means_two_things(capsys, run):
    run("md", "--help")
    shown = " ".join(capsys.readouterr().out.split())
    assert "(nve) Temperature of the initial momenta" in shown
    assert "(langevin, rescaling, nose-hoover) Temperature of the thermostat" in shown
    assert "--timestep-fs NUMBER Timestep" in shown


def test_overview_imports_nothing_heavy():
    code = (
        "import sys; from flexcalc.cli import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "heavy = {'numpy', 'ase', 'scipy', 'torch', 'pyscf', 'tblite', 'matplotlib', 'rich'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.splitlines()[-1] == "[]"


# ---------------------------------------------------------------- run files


REQUIRED = {
    "label": {"reference": "xtb:GFN2-xTB", "starts": ["a.xyz"]},
    "train": {"dataset": "a.xyz"},
    "learn": {"starts": ["a.xyz"], "reference": "xtb:GFN2-xTB"},
    "evaluate": {"models": ["m.flex"], "dataset": "a.xyz"},
    "path": {"model": "m.flex"},
    "saddle": {"model": "m.flex", "guess": "a.xyz"},
    "network": {"model": "m.flex", "starts": ["a.xyz"]},
    "md": {"model": "m.flex", "start": "a.xyz"},
    "metad": {"model": "m.flex", "start": "a.xyz", "coordinate": ["distance 0 1"]},
    "umbrella": {"model": "m.flex", "start": "a.xyz", "coordinate": ["distance 0 1"]},
    "serve": {"model": "m.flex", "start": "a.xyz"},
    "ipi": {"input": "i.xml", "model": "m.flex"},
    "demo": {},
    "benchmark": {
        "reference": "xtb:GFN2-xTB",
        "minima": {"cis": "a.xyz"},
        "coordinates": ["distance 0 1"],
        "mechanisms": [{"name": "turn", "start": "cis", "end": "cis"}],
        "models": [{"label": "sGDML", "family": {"kind": "sgdml"}}],
    },
}


def filled(text, values):
    """A template with its empty fields filled; those of a list of tables in its first table."""
    for key, value in values.items():
        if isinstance(value, list) and isinstance(value[0], dict):
            before, header, after = text.partition(f"\n[[{key}]]\n")
            assert header
            text = before + header + filled(after, value[0])
            continue
        empty = {list: "[]", dict: "{}", str: '""'}[type(value)]
        shown = json.dumps(value)
        if isinstance(value, dict):
            shown = "{" + ", ".join(f"{k} = {json.dumps(v)}" for k, v in value.items()) + "}"
        if f"\n{key} = {shown}\n" in text:
            continue  # the first of several kinds stands there already
        assert f"\n{key} = {empty}\n" in text
        text = text.replace(f"\n{key} = {empty}\n", f"\n{key} = {shown}\n", 1)
    return text


@pytest.mark.parametrize("name", COMMANDS)
def test_init_prints_a_file_that_loads_to_the_defaults(name, here, run, capsys):
    assert run("init", name) == 0
    Path("run.toml").write_text(filled(capsys.readouterr().out, REQUIRED[name]))
    assert load(COMMANDS[name], Path("run.toml")) == load(COMMANDS[name], None, REQUIRED[name])


def test_init_hands_out_the_examples_and_overwrites_nothing(tmp_path, run, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run("init", "--examples") == 0
    names = {path.name for path in shipped().iterdir() if path.is_file()}
    assert {path.name for path in Path("inputs").iterdir()} == names
    assert capsys.readouterr().out.startswith(f"inputs: {len(names)} files; inputs/README.md")
    for name in names:
        assert Path("inputs", name).read_bytes() == shipped(name).read_bytes()
    Path("inputs/label.toml").write_text("mine")
    assert run("init", "--examples") == 2
    assert complaint(capsys).startswith("inputs: already exists and is not overwritten")
    assert Path("inputs/label.toml").read_text() == "mine"
    assert [path.name for path in tmp_path.iterdir()] == ["inputs"]


@pytest.mark.parametrize("name", [name for name in REQUIRED if REQUIRED[name]])
def test_an_unfilled_field_of_init_is_named(name, here, run, capsys):
    Path("run.toml").write_text(template(COMMANDS[name], name))
    assert run(name, "run.toml") == 2
    assert complaint(capsys).startswith(f"run.toml: {next(iter(REQUIRED[name]))}: missing")


@pytest.mark.parametrize("name", COMMANDS)
def test_every_default_in_init_may_be_uncommented(name, here):
    """All lines `# key = value` with a value are valid and mean what they meant."""
    text = template(COMMANDS[name], name)
    text = re.sub(r"^# (\w+ = .+)$", r"\1", text, flags=re.MULTILINE)
    table = tomllib.loads(text) | REQUIRED[name]
    found = load(COMMANDS[name], None, table)
    assert found == load(COMMANDS[name], None, REQUIRED[name])


def test_a_section_that_is_not_there_by_default_is_commented_out_as_a_whole(here):
    """Uncommented, `[[crash]]` and all in it is the test with its defaults."""
    text = template(Benchmark, "benchmark")
    assert "crash" not in tomllib.loads(text)
    text = re.sub(r"^#   (.+ = .+|\[\[crash.+)$", r"\1", text, flags=re.MULTILINE)
    table = tomllib.loads(text[: text.index("# Parts of the data")])
    assert load(Benchmark, None, table | REQUIRED["benchmark"]).crash == (CrashTest(),)


CONFIGS = [
    Md(model="xtb:GFN2-xTB", start=Path("/a.xyz"), method=NVE(temperature_K=0.0)),
    Label(
        reference="dft:PBE-D4/def2-SVP?charge=1",
        starts=("/a b.xyz", "smiles:C/C=C\\C", '/"quoted".xyz', "/tab\t and \x7f.xyz"),
        samples=(Thermal(frames=3), Displaced(amplitude_A=0.1), Thermal(replicas=2)),
        scheduler={"cluster": "SLURM", "cores": 4},
    ),
    PathSearch(model="/m.flex", start=Path("/a.xyz")),
    Train(dataset=Path("/a.xyz"), family=(SGDML(sigma=3.0),), learning_curve=(10, 20)),
    Benchmark(
        reference="xtb:GFN2-xTB",
        minima={"cis": "/a.xyz", "trans isomer": "/b.xyz"},
        mechanisms=(
            Mechanism(name="turn", start="cis", end="cis", method=Scan(drive=("distance 0 1",))),
        ),
        models=(Model(label="an sGDML", family=SGDML(sigma=3.0), sizes=(7,)),),
        samples=(Sample(name="as they are", origin="images", sampling=AsIs()),),
        coordinates=("distance 0 1",),
        crash=(CrashTest(seeds=3, temperatures_K=(1500.0,)),),
        withheld=(Withheld(name="short", coordinate="distance 0 1", low=0.5, high=1.0),),
    ),
]


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: type(config).__name__)
def test_a_written_config_loads_to_itself(config, tmp_path):
    path = tmp_path / "run.toml"
    path.write_text(to_toml(config))
    assert load(type(config), path) == config


def test_a_section_inside_a_section_survives_too(tmp_path):
    config = CONFIGS[2]
    config = replace(config, method=replace(config.method, optimiser=FIRE(step_A=0.1)))
    (tmp_path / "run.toml").write_text(to_toml(config))
    assert load(PathSearch, tmp_path / "run.toml") == config


def test_paths_count_from_the_folder_of_the_file(tmp_path):
    (tmp_path / "runs").mkdir()
    path = tmp_path / "runs/label.toml"
    path.write_text(
        'reference = "ase:make.py:calculator?x=1"\nsampler = "xtb:GFN2-xTB"\n'
        'starts = ["../a.xyz", "/b.xyz", "smiles:CCO"]'
    )
    config = load(Label, path)
    assert config.reference == f"ase:{tmp_path}/runs/make.py:calculator?x=1"
    assert config.sampler == "xtb:GFN2-xTB"
    assert config.starts == (f"{tmp_path}/a.xyz", "/b.xyz", "smiles:CCO")


def test_the_resolved_file_in_a_run_folder_can_be_run_from_anywhere(here, run, monkeypatch):
    assert run("md", "water.flex", "start.xyz", "--steps", 4, "-o", "first") == 0
    (here / "else").mkdir()
    monkeypatch.chdir(here / "else")
    assert run("md", "../first/run.toml", "-o", "second") == 0
    assert Path("second/run.toml").read_bytes() == (here / "first/run.toml").read_bytes()
    for name in ("trajectory.xyz", "scalars.csv"):
        assert Path("second", name).read_bytes() == (here / "first" / name).read_bytes()


# ---------------------------------------------------------------- flags


def parsed(monkeypatch, *words):
    """The config that a command line gives to its workflow."""
    got = []
    monkeypatch.setattr(
        "flexcalc.commands.face.run_command", lambda _, chosen, *rest, **more: got.append(chosen)
    )
    cli.main(list(words))
    return got[0]


def test_flags_come_on_top_of_the_file(here, monkeypatch):
    Path("run.toml").write_text(
        'model = "water.flex"\nstart = "start.xyz"\nsteps = 7\nreplicas = 3\n'
        '[method]\nkind = "langevin"\ntemperature_K = 100.0\nfriction_per_ps = 5.0\n'
    )
    config = parsed(monkeypatch, "md", "run.toml", "--steps", "9", "--temperature-K", "200")
    assert (config.steps, config.replicas) == (9, 3)
    assert config.method == Langevin(temperature_K=200.0, friction_per_ps=5.0)


def test_a_kind_chosen_by_flag_starts_from_its_own_defaults(here, monkeypatch):
    config = parsed(monkeypatch, "md", "m", "s.xyz", "--method", "nve", "--timestep-fs", "0.25")
    assert config.method == NVE(timestep_fs=0.25)


def test_a_flag_goes_to_every_section_that_has_its_field(here, monkeypatch):
    words = ["label", "xtb:GFN2-xTB", "s.xyz", "--samples", "md", "--samples", "displacement"]
    config = parsed(monkeypatch, *words, "--frames", "5", "--temperature-K", "50")
    assert config.samples == (Thermal(frames=5, temperature_K=50.0), Displaced(frames=5))


@pytest.mark.parametrize("words", [["--sigmas", "5,10"], ["--sigmas", "5", "--sigmas", "10"]])
def test_lists_of_numbers_may_be_repeated_or_joined_by_commas(words, here, monkeypatch):
    config = parsed(monkeypatch, "train", "d.xyz", "--family=sgdml", "--no-symmetry", *words)
    assert config.family == (SGDML(sigmas=(5.0, 10.0), symmetry=False),)


BOTH = ["--family", "bpnn", "--family", "sgdml"]


@pytest.mark.parametrize(
    "words",
    [
        [*BOTH, "--epochs", "20", "--sigma", "5"],
        ["--epochs", "20", "--sigma", "5", *BOTH],
        [*BOTH[:2], "--sigma", "5", "--epochs", "20", *BOTH[2:]],
    ],
)
def test_hyperparameters_go_to_the_families_that_have_them_in_any_order(words, here, monkeypatch):
    config = parsed(monkeypatch, "train", "d.xyz", *words)
    assert config.family == (BPNN(epochs=20), SGDML(sigma=5.0))


def test_members_of_a_mixture_take_hyperparameters_next_to_a_family_of_their_own(here, monkeypatch):
    words = ["--sigma", "5", "--family", "mixture", "--family", "sgdml", "--regions", "2"]
    config = parsed(monkeypatch, "train", "d.xyz", *words)
    assert config.family == (Mixture(of=(SGDML(sigma=5.0),), regions=2), SGDML(sigma=5.0))


def test_a_hyperparameter_goes_to_the_families_of_a_run_file(here, monkeypatch):
    Path("run.toml").write_text('dataset = "d.xyz"\n[[family]]\nkind = "bpnn"\nbatch_size = 8\n')
    config = parsed(monkeypatch, "train", "run.toml", "--epochs", "20")
    assert config.family == (BPNN(epochs=20, batch_size=8),)


def test_the_help_shows_the_hyperparameters_of_the_chosen_families_alone(capsys, run):
    run("train", "--family", "bpnn", "--family", "gap", "--help")
    shown = " ".join(capsys.readouterr().out.split())
    assert "--epochs" in shown
    assert "--l-max" in shown
    assert "--sigmas" not in shown


def test_several_models_may_stand_before_the_dataset(here, monkeypatch):
    config = parsed(monkeypatch, "evaluate", "a.flex", "b.flex", "d.xyz", "--by", "distance 0 1")
    assert config.models == ("a.flex", "b.flex")
    assert config.dataset == Path("d.xyz")
    assert config.by == ("distance 0 1",)


# ---------------------------------------------------------------- complaints


COMPLAINTS = [
    (["lable"], "no such command 'lable'; did you mean 'label'?"),
    (["md", "--step", "3"], "no such option: --step; did you mean --steps?"),
    (["md", "--steps"], "option '--steps' requires an argument; see flexcalc"),
    (["--zzz"], "no such option: --zzz; see flexcalc --help"),
    (["init"], "init: expected COMMAND or --examples; commands with a file: demo, label, train"),
    (["info"], "missing argument 'PLACE'; see flexcalc info --help"),
    (["init", "info"], "init: no TOML for 'info'; expected one of demo, label, train"),
    (["md", "a", "b", "c"], "'c' is one word too many; expected MODEL START"),
    (["md", "water.flex"], "START: missing (Starting geometry"),
    (["md", "watr.flex", "start.xyz"], "'watr.flex': no such model; did you mean water.flex?"),
    (
        ["evaluate", "water.xyz", "water.flex"],
        "water.flex: expected a file named .xyz, .extxyz, .npz, got suffix '.flex'; a model comes",
    ),
    (["md", "bad.toml"], "bad.toml: method.timestep: unknown key; did you mean timestep_fs?"),
    (["md", "water.flex", "start.xyz", "--steps", "0"], "--steps: expected at least 1, got '0'"),
    (["label", "xtb:GFN2", "a.xyz", "--timeout-s", "0"], "--timeout-s: expected more than 0, got"),
    (
        ["md", "water.flex", "start.xyz", "--method", "nve", "--friction-per-ps", "1"],
        "--friction-per-ps: not an option of method nve; it belongs to langevin",
    ),
    (
        ["train", "d.xyz", "--family", "gap", "--family", "sgdml", "--epochs", "3"],
        "--epochs: not an option of family gap, sgdml; it belongs to schnet, painn, bpnn, so3net",
    ),
    (
        ["train", "d.xyz", "--family", "bpnn", "--epoch", "3"],
        "no such option: --epoch; did you mean --epochs?",
    ),
    (
        ["md", "good.toml", "--replicas", "many"],
        "--replicas: expected a whole number, got 'many'",
    ),
]


@pytest.mark.parametrize(("words", "said"), COMPLAINTS, ids=lambda value: str(value)[:40])
def test_a_complaint_is_one_line_that_helps(words, said, here, run, capsys):
    Path("good.toml").write_text('model = "water.flex"\nstart = "start.xyz"\n')
    Path("bad.toml").write_text('model = "m"\nstart = "s.xyz"\n[method]\ntimestep = 1.0\n')
    assert run(*words) == 2
    assert complaint(capsys).startswith(said)


def test_a_flag_and_a_key_are_named_as_they_were_given(here):
    Path("run.toml").write_text('model = "m"\nstart = "s.xyz"\nsteps = 0\nreplicas = 1\n')
    with pytest.raises(ConfigError, match=r"^run\.toml: steps: expected at least 1, got 0$"):
        load(Md, Path("run.toml"), {"replicas": "2"})
    with pytest.raises(ConfigError, match=r"^--replicas: expected at least 1, got '0'$"):
        load(Md, Path("run.toml"), {"replicas": "0", "steps": "1"})


def test_a_full_disk_is_one_line(here, run, monkeypatch, capsys):
    def full(*_, **__):
        raise OSError(28, "No space left on device", "md/trajectory.xyz")

    monkeypatch.setattr("flexcalc.commands.face.run_command", full)
    assert run("md", "m", "s.xyz") == 1
    assert complaint(capsys) == "md/trajectory.xyz: No space left on device"


def test_no_memory_is_one_line(here, run, monkeypatch, capsys):
    errors = [
        MemoryError(),
        MemoryError("Unable to allocate 8 EiB for an array with shape (1, 2) and type float64"),
        RuntimeError(
            "[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory"
        ),
        RuntimeError("CUDA out of memory. Tried to allocate 20.00 GiB"),
        RuntimeError("std::bad_alloc"),
        RuntimeError("can't start new thread"),
    ]
    for error in errors:

        def eats(*_, error=error, **__):
            raise error

        monkeypatch.setattr("flexcalc.commands.face.run_command", eats)
        assert run("md", "m", "s.xyz") == 1
        assert complaint(capsys).startswith("out of memory")


def test_an_error_of_the_program_itself_is_not_taken_for_one_of_memory(here, run, monkeypatch):
    def fails(*_, **__):
        raise RuntimeError("expected a dispatcher")

    monkeypatch.setattr("flexcalc.commands.face.run_command", fails)
    with pytest.raises(RuntimeError, match="expected a dispatcher"):
        run("md", "m", "s.xyz")


def test_standard_output_on_a_full_disk_is_named(here):
    words = [sys.executable, "-m", "flexcalc.cli", "init", "md"]
    with open("/dev/full", "w") as full:
        done = subprocess.run(words, stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 1
    assert done.stderr == "flexcalc: standard output: No space left on device\n"


# ---------------------------------------------------------------- run folders


def tree(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_finished_run_is_not_done_again(here, run, capsys):
    words = ["md", "water.flex", "start.xyz", "--steps", "4"]
    assert run(*words) == 0
    before = tree(here / "md")
    assert run(*words) == 0
    assert "this run is already complete" in capsys.readouterr().out
    after = tree(here / "md")
    assert after.pop(here / "md/log.txt") != before.pop(here / "md/log.txt")
    assert after == before


def test_more_steps_go_on_from_a_finished_run(here, run):
    assert run("md", "water.flex", "start.xyz", "--steps", "40") == 0
    assert run("md", "water.flex", "start.xyz", "--steps", "80") == 0
    assert run("md", "water.flex", "start.xyz", "--steps", "80", "-o", "once") == 0
    assert Path("md/trajectory.xyz").read_bytes() == Path("once/trajectory.xyz").read_bytes()


def test_a_run_folder_of_another_config_is_refused(here, run, capsys):
    assert run("md", "water.flex", "start.xyz", "--steps", "4", "--seed", "1") == 0
    before = tree(here / "md")
    assert run("md", "water.flex", "start.xyz", "--steps", "4", "--seed", "2") == 2
    assert complaint(capsys) == "md: holds a run with seed = 1, not 2; choose another --output"
    assert tree(here / "md") == before


def test_a_run_that_differs_in_one_field_of_a_section_is_told_by_that_field(here, run, capsys):
    words = ("train", "water.xyz", "--points", "8", "--validation-points", "4", "--sigma", "5")
    assert run(*words, "--output", "out") == 0
    assert run(*words, "--descriptor", "distances", "--output", "out") == 2
    told = "holds a run with family[0].descriptor = 'extended', not 'distances'"
    assert told in complaint(capsys)


def test_a_run_folder_of_another_command_is_refused(here, run, capsys):
    assert run("md", "water.flex", "start.xyz", "--steps", "4") == 0
    assert run("evaluate", "water.flex", "water.xyz", "-o", "md") == 2
    assert "holds a run of `flexcalc md`; choose another --output" in complaint(capsys)


def test_a_folder_of_something_else_is_refused(here, run, capsys):
    Path("precious").mkdir()
    Path("precious/thesis.tex").write_text("...")
    assert run("md", "water.flex", "start.xyz", "-o", "precious") == 2
    assert "precious: expected a new or empty folder" in complaint(capsys)
    assert [path.name for path in Path("precious").iterdir()] == ["thesis.tex"]


def test_bad_input_that_is_found_late_leaves_no_folder(here, run, capsys):
    """i-PI's input is only read when the run folder is open."""
    Path("broken.xml").write_text("<simulation>")
    assert run("ipi", "broken.xml", "water.flex", "start.xyz", "-o", "a/b/c") == 2
    assert complaint(capsys).startswith("broken.xml: ")
    assert not Path("a").exists()


def test_train_can_name_the_model_itself(here, run):
    words = ["train", "water.xyz", "--points", "20", "--validation-points", "10", "--sigmas", "5"]
    assert run(*words, "--output", "mine.flex") == 0
    facts = flexcalc.load("mine.flex").facts
    assert facts["training_points"] == 20
    results = json.loads(Path("mine-train/results.json").read_text())
    assert results["command"] == "train"
    assert (
        results["force_rmse_kcal_mol_A"] == facts["errors"]["validation"]["force_rmse_kcal_mol_A"]
    )


def test_train_does_not_overwrite_what_is_no_model(here, run, capsys):
    Path("mine.flex").mkdir()
    Path("mine.flex/notes.txt").write_text("...")
    assert (
        run("train", "water.xyz", "--points", "20", "--validation-points", "9", "-o", "mine.flex")
        == 2
    )
    assert "mine.flex: exists and is not a flexcalc model" in complaint(capsys)


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ("water.flex", "what: model\nmolecule: H2O\n"),
        ("water.xyz", "what: dataset\nmolecule: H2O\natoms: 3\nframes: 60\nenergies: yes\n"),
    ],
)
def test_info_says_what_a_thing_is(place, said, here, run, capsys):
    assert run("info", place) == 0
    assert capsys.readouterr().out.startswith(said)


def test_info_does_not_read_weights(here, run, tmp_path, capsys):
    """A model's facts are told at once, however large it is."""
    copy = tmp_path / "copy.flex"
    copy.mkdir()
    (copy / "model.json").write_bytes(Path("water.flex/model.json").read_bytes())
    assert run("info", copy) == 0
    assert "training_points: 20" in capsys.readouterr().out


def test_too_little_memory_is_said_at_once_and_leaves_no_folder(here, run, capsys, monkeypatch):
    monkeypatch.setattr("flexcalc.models.gdml.solver.available_bytes", lambda engine: 1000)
    assert run("train", "water.xyz", "--points", "20", "--validation-points", "9", "-o", "big") == 2
    assert "GiB are free; train on 0 points or fewer" in complaint(capsys)
    assert not Path("big").exists()


def test_export_writes_a_file_that_opens_as_the_same_model(here, run, capsys):
    words = ("train", "water.xyz", "--points", "20", "--validation-points", "9", "--sigma", "10")
    assert run(*words, "--descriptor", "distances", "-o", "published.flex") == 0
    assert run("export", "published.flex", "published.npz") == 0
    positions = flexcalc.read("water.xyz").positions
    one, other = (flexcalc.load(name)(positions) for name in ("published.flex", "published.npz"))
    assert np.abs(one.forces - other.forces).max() < 1e-12


def test_a_committee_is_one_folder_and_folders_make_a_committee(here, run, capsys):
    words = ("train", "water.xyz", "--points", "20", "--validation-points", "9", "--sigma", "5")
    assert run(*words, "--committee", "3", "-o", "three.flex") == 0
    results = json.loads(Path("three-train/results.json").read_text())
    assert (results["committee"], results["sigma"], results["members"]) == (3, 5.0, 3)
    assert results["single_force_rmse_kcal_mol_A"] > 0
    assert run("export", "committee:three.flex,water.flex", "joined.flex") == 0
    Path("three.flex").rename("elsewhere")
    positions = flexcalc.read("water.xyz").positions
    assert flexcalc.load("joined.flex")(positions).deviation.shape == positions.shape[:2]
    capsys.readouterr()
    assert run("info", "joined.flex") == 0
    assert "family: committee" in capsys.readouterr().out
    assert run("export", "xtb:GFN2-xTB", "no.flex") == 2


def test_several_models_are_compared_in_one_table(here, run, capsys):
    words = ("train", "water.xyz", "--points", "20", "--validation-points", "9", "--sigma", "5")
    assert run(*words, "--family", "sgdml", "--family", "sgdml", "-o", "two") == 0
    said = capsys.readouterr().out.splitlines()
    at = next(n for n, line in enumerate(said) if line.startswith("model ("))
    results = json.loads(Path("two/results.json").read_text())["models"]
    for row, line in zip(results, said[at + 1 : at + 3], strict=True):
        expected = (row["force_rmse_kcal_mol_A"], row["energy_rmse_kcal_mol"])
        times = [numbers.duration(row["training_seconds"]), f"{row['call_ms']:.3g} ms"]
        errors = [f"{error:.3f}" for error in expected]
        assert line.split() == [row["model"], "20", *errors, *" ".join(times).split()]
    assert len({len(line) for line in said[at : at + 3]}) == 1
    models = ("two/sgdml.flex", "water.flex")
    assert run("evaluate", *models, "water.xyz", "-o", "check") == 0
    said = capsys.readouterr().out.splitlines()
    at = next(n for n, line in enumerate(said) if line.startswith("model ("))
    assert said[at].endswith("force MAE  force RMSE  energy MAE  energy RMSE")
    for model, line in zip(models, said[at + 1 : at + 3], strict=True):
        assert line.split()[0] == model
        assert len(line.split()) == 5
    assert len({len(line) for line in said[at : at + 3]}) == 1


def test_paths_in_a_committee_count_from_the_folder_of_the_file(tmp_path):
    path = tmp_path / "md.toml"
    path.write_text('model = "committee:a.flex,../b.flex,xtb:GFN2-xTB"\nstart = "s.xyz"')
    expected = f"committee:{tmp_path}/a.flex,{tmp_path.parent}/b.flex,xtb:GFN2-xTB"
    assert load(Md, path).model == expected


# ---------------------------------------------------------------- signals


@contextlib.contextmanager
def started(*words):
    """`flexcalc` in a process of its own, with a checkpoint every tenth of a second."""
    code = (
        "from flexcalc.methods.iterate import Checkpoint; from flexcalc.cli import main\n"
        "Checkpoint.__init__.__kwdefaults__['seconds'] = 0.1\n"
        "main()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def wait_for(path, size, process):
    deadline = time.monotonic() + 60
    while not (path.exists() and path.stat().st_size >= size):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_ctrl_c_ends_with_130_and_the_same_command_goes_on(here, run, capsys):
    words = ["md", "water.flex", "start.xyz", "--frame-every", "5"]
    with started(*words, "--steps", "10000000", "-o", "broken") as process:
        # The first checkpoint is of the start; at the second there are frames to lose.
        wait_for(Path("broken/trajectory.xyz"), 1000, process)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=600)
        assert process.returncode == 130
    assert err == "flexcalc: interrupted; the same command resumes from here\n"
    assert run("info", "broken") == 0
    assert capsys.readouterr().out == "what: run folder, not finished\ncommand: md\n"
    frames = len(flexcalc.files.read_frames("broken/trajectory.xyz"))
    assert frames > 1
    words += ["--steps", str(5 * frames + 500)]
    assert run(*words, "-o", "broken") == 0
    assert run(*words, "-o", "whole") == 0
    for name in ("trajectory.xyz", "scalars.csv"):
        assert Path("broken", name).read_bytes() == Path("whole", name).read_bytes()


@pytest.mark.data
@pytest.mark.parametrize("kills", [3, pytest.param(100, marks=pytest.mark.long)])
def test_kills_at_random_moments_leave_the_dynamics_as_undisturbed(here, run, kills):
    """Between two kills at least one checkpoint or the start is on disk; no frame is lost."""
    rng = np.random.default_rng(5)
    words = ["md", "water.flex", "start.xyz", "--steps", "4000", "--frame-every", "5"]
    for _ in range(kills):
        with started(*words, "-o", "broken") as process:
            wait_for(Path("broken/run.toml"), 1, process)
            time.sleep(rng.uniform(0, 0.5))
            process.kill()
            process.communicate()
    assert run(*words, "-o", "broken") == 0
    assert run(*words, "-o", "whole") == 0
    for name in ("trajectory.xyz", "scalars.csv"):
        assert Path("broken", name).read_bytes() == Path("whole", name).read_bytes()


@pytest.mark.data
def test_a_killed_training_leaves_no_half_model(here, run):
    words = [*SIZES, *TRAININGS["in rounds"]]
    for wait in (0.0, 0.2, 0.5, 0.7):
        with started(*words, "-o", "broken") as process:
            wait_for(Path("broken/run.toml"), 1, process)
            time.sleep(wait)
            process.kill()
            process.communicate()
    assert run(*words, "-o", "broken") == 0
    assert run(*words, "-o", "whole") == 0
    assert kept(here / "broken") == kept(here / "whole")


TRAININGS = {
    "at once": ["--points", "20", "--validation-points", "10", "--learning-curve", "5,10"],
    "in rounds": ["--points", "20", "--validation-points", "10", "--refine-rounds", "2"],
    "a committee": ["--points", "20", "--validation-points", "10", "--committee", "3"],
    "in folds": ["--points", "12", "--folds", "3", "--selection", "clusters"],
}
SIZES = ["train", "water.xyz", "--sigmas", "2,5,10", "--regularizations", "1e-12,1e-8"]


def kept(folder):
    """What a training leaves, but for the clock."""
    timed = {"log.txt", "results.json", "report.html"}
    files = {path.relative_to(folder): path.read_bytes() for path in tree(folder)}
    results = json.loads((folder / "results.json").read_text())
    for key in ("seconds", "training_seconds", "call_ms"):
        del results[key]
    return {path: data for path, data in files.items() if path.name not in timed}, results


@pytest.mark.data
@pytest.mark.parametrize("way", TRAININGS)
def test_a_training_stopped_at_every_step_ends_as_if_undisturbed(way, here, run, monkeypatch):
    """One step a start: each start has to find what the ones before it finished."""
    words = [*SIZES, *TRAININGS[way]]
    assert run(*words, "-o", "whole") == 0
    remember, done = Checkpoints.save, []

    def interrupted(self, step, content, potential=None):
        remember(self, step, content, potential)
        done.append(self.folder / step)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Checkpoints, "save", interrupted)
        while run(*words, "-o", "broken") == 130:
            assert len(done) < 100
    assert len(done) == len(set(done)) >= 6
    assert kept(here / "broken") == kept(here / "whole")
    assert not (here / "broken/unfinished").exists()


@pytest.mark.data
def test_what_was_trained_on_other_labels_is_forgotten(here, run, monkeypatch, capsys):
    """The same file name with other content: nothing of the interrupted run may be used."""
    words = [*SIZES, "--points", "20", "--validation-points", "10"]
    data = flexcalc.read("water.xyz")
    flexcalc.write("changing.xyz", data[::-1])
    words[1] = "changing.xyz"
    with monkeypatch.context() as patched:
        patched.setattr(flexcalc.tasks.train, "held_out", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            run(*words, "-o", "broken")
    assert Path("broken/unfinished").exists()
    flexcalc.write("changing.xyz", data)
    assert run(*words, "-o", "broken") == 2
    assert "changing.xyz, which has been replaced since" in complaint(capsys)
    Path("broken/inputs.json").unlink()  # as in a folder of an earlier version
    assert run(*words, "-o", "broken") == 0
    assert run(*words, "-o", "whole") == 0
    assert kept(here / "broken") == kept(here / "whole")


def test_python_and_the_command_line_train_the_same_model(here, run):
    words = ["--points", "12", "--sigma", "5", "--selection", "farthest", "--refine-rounds", "2"]
    assert run("train", "water.xyz", *words, "--validation-points", "10", "--seed", "3") == 0
    data = flexcalc.read("water.xyz")
    model = flexcalc.train(
        data,
        points=12,
        sigma=5.0,
        selection="farthest",
        refine_rounds=2,
        validation_points=10,
        seed=3,
    )
    other = flexcalc.load("train/sgdml.flex")
    assert np.array_equal(model(data.positions).forces, other(data.positions).forces)


def test_held_out_frames_are_those_that_took_no_part(here, run):
    """Refined points come out of the rest; the folds' frames are all of them used."""
    words = ["train", "water.xyz", "--sigmas", "5,10"]
    assert run(*words, *TRAININGS["in rounds"], "-o", "rounds") == 0
    assert len(flexcalc.read("rounds/heldout.xyz")) == 60 - 20 - 10
    record = json.loads(Path("rounds/refinement.json").read_text())
    validation = json.loads(Path("rounds/split.json").read_text())["validation"]
    assert len(record["train"]) == 20
    assert not set(record["train"]) & set(validation)
    assert run(*words, *TRAININGS["in folds"], "-o", "folds") == 0
    results = json.loads(Path("folds/results.json").read_text())
    assert (results["training_points"], results["validation_points"]) == (12, 6)
    assert len(flexcalc.read("folds/heldout.xyz")) == 60 - 18
    rows = json.loads(Path("folds/folds.json").read_text())
    forces = [row["force_rmse_kcal_mol_A"] for row in rows]
    assert results["force_rmse_mean_kcal_mol_A"] == pytest.approx(np.mean(forces))
    assert results["force_rmse_kcal_mol_A"] == pytest.approx(forces[results["best_fold"]])


def test_a_second_process_on_one_folder_is_refused(here, run, capsys):
    words = ["md", "water.flex", "start.xyz", "--steps", "1000000", "--frame-every", "1000"]
    with started(*words) as process:
        wait_for(Path("md/run.toml"), 1, process)
        assert run(*words) == 2
        assert complaint(capsys).startswith("md: another flexcalc process is using this run folder")


def test_a_reader_that_goes_away_is_no_traceback():
    command = f"{sys.executable} -m flexcalc.cli init label | true"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert done.stderr == ""


def test_a_command_that_has_loaded_torchs_compiler_ends_without_a_word():
    """Its bindings list what Python leaves behind at its end, unless all is collected."""
    pytest.importorskip("triton")
    code = (
        "import sys, torch, triton; from flexcalc.cli import main; "
        "sys.argv = ['flexcalc', 'init', 'md']; sys.exit(main())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
