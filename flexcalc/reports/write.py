"""The page: its head, its sections, and where it is written."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from importlib import import_module
from pathlib import Path
from types import ModuleType

from flexcalc import __version__
from flexcalc.dataset import Dataset
from flexcalc.display import html, molecule
from flexcalc.display.drawing import collected
from flexcalc.display.numbers import formula as lowered
from flexcalc.errors import InputError
from flexcalc.memory import without_collector
from flexcalc.potential import formula
from flexcalc.reports import facts
from flexcalc.reports.exports import Figures, write_figures, write_tables
from flexcalc.reports.folder import COMMANDS, RunFolder
from flexcalc.reports.sections import mechanisms
from flexcalc.storage import atomic_write

LEADS = {
    "demo": "From a molecule to a validated force field: reference data, training, errors on "
    "held-out frames, a transition path compared with the reference, molecular dynamics, and the "
    "same model as a client of i-PI.",
    "label": "Geometries and their reference labels.",
    "train": "A potential trained on reference labels.",
    "evaluate": "Predictions compared with reference labels.",
    "path": "A path between two geometries and its barrier.",
    "saddle": "A saddle point, the minima that it connects, and the rates over it.",
    "network": "Minima of a molecule, the saddles between them, and the rates over these.",
    "md": "Molecular dynamics of several replicas.",
    "metad": "Metadynamics: a free-energy surface, and whether the biased coordinates drove the "
    "transition.",
    "umbrella": "Umbrella sampling: a free-energy profile with standard errors, and the overlap "
    "of its windows.",
    "learn": "A force field that was learned from its own exploration.",
    "ipi": "The model as a client of i-PI.",
    "benchmark": "Models of all families compared on one flexible molecule, by the protocol of "
    "Vassilev-Galindo and others (arXiv:2103.01103).",
}
"""What each command does; its section is the module of its name in `sections`, imported when it is
asked for."""
FACES = (
    *("path.xyz", "saddle.xyz", "worst.xyz", "labels.xyz", "geometries.xyz", "minima.xyz"),
    *("trajectory.xyz", "heldout.xyz", "points.xyz"),
)
"""Files with a geometry for the head of the page."""

LOG_LINES = 40


def write_report(folder: Path, *, exports: bool = True) -> Path:
    """Write `report.html` into a run folder: one page that needs nothing else.

    A folder of a run that is going on, or lacks files, gives a page of what there is. The plots
    are written to `figures` too, and the numbers to `tables`; those of a demo stand in the folders
    of its steps.

    Args:
        folder: the --output of a command, or of a demo; or a folder of runs of `flexcalc path`,
            which are compared.
        exports: also write figures and tables.

    Returns:
        The path of the page.

    Raises:
        InputError: not a run folder, or it cannot be written to.
    """
    folder = Path(folder)
    runs = mechanisms.path_runs(folder)
    run = None if len(runs) > 1 and not _has_run(folder) else RunFolder(folder)
    exports = exports and (run is None or run.command != "demo")
    collecting: AbstractContextManager[Figures] = collected() if exports else nullcontext({})
    with without_collector(), collecting as figures:
        page = _comparison(folder, runs) if run is None else _page(run)
    target = folder / "report.html"
    try:
        atomic_write(target, page)
    except OSError as error:
        raise InputError(f"{target}: cannot be written: {error.strerror}") from None
    if exports:
        write_figures(folder, figures)
        write_tables(folder, mechanisms.tables(runs) if run is None else run.tables)
    return target


def _has_run(folder: Path) -> bool:
    return (folder / "results.json").exists() or (folder / "run.toml").exists()


def _page(run: RunFolder) -> str:
    """The page of a run."""
    if run.command == "demo":
        parts = {one: part for one in COMMANDS if (part := run.part(one)) is not None}
    else:
        parts = {run.command: run}
    sections = {one: _section(one, part) for one, part in parts.items()}
    head = _head(run, parts)
    body = _notices(run) + "".join(sections.values())
    if run.command == "demo":
        body += _about(run)
    return html.page(_title(run), head, body, _footer())


def _comparison(folder: Path, runs: Mapping[str, RunFolder]) -> str:
    """The page of several paths."""
    name = folder.resolve().name
    first = next(iter(runs.values())).frames("path.xyz")
    title = name if first is None else f"{name}, {lowered(formula(first.numbers))}"
    head = (
        f'<p class="kind">flexcalc path</p><h1>{html.text(title)}</h1>'
        f"{html.paragraph('Several paths and their barriers.', 'lead')}"
    )
    body = html.section("mechanisms", mechanisms.TITLE, mechanisms.body(runs))
    return html.page(f"{name} · flexcalc paths", head, body, _footer())


def _title(run: RunFolder) -> str:
    return f"{run.path.resolve().name} · flexcalc {run.command}"


def _head(run: RunFolder, parts: Mapping[str, RunFolder]) -> str:
    face = _face(parts)
    name = run.path.resolve().name if face is None else lowered(formula(face.numbers))
    title = _given_name(run)
    name = f"{title.capitalize()}, {name}" if title and face is not None else name
    words = (
        f'<div><p class="kind">flexcalc {html.text(run.command)}</p><h1>{html.text(name)}</h1>'
        f"{html.paragraph(LEADS[run.command], 'lead')}</div>"
    )
    picture = ""
    if face is not None:
        view = molecule.look(face.numbers, face.positions)
        drawn = molecule.picture(view, 0, "face", f"The molecule {formula(face.numbers)}")
        picture = f'<div class="molecule">{drawn}</div>'
    links = ""
    if len(parts) > 1:
        links = html.links([(one, _module(one).TITLE) for one in parts])
    headline = ""
    if run.command == "demo":
        from flexcalc.results.demo import DemoRun

        headline = facts.cards(facts.typed(DemoRun, run), run)
    return f'<div class="masthead">{words}{picture}</div>{headline}{links}'


def _given_name(run: RunFolder) -> str | None:
    """What the user calls the molecule, if that is known."""
    if run.command == "benchmark":
        from flexcalc.results.benchmark import BenchmarkResult

        return facts.typed(BenchmarkResult, run).title
    if run.command == "demo":
        from flexcalc.results.demo import DemoRun

        return facts.typed(DemoRun, run).molecule
    return None


def _face(parts: Mapping[str, RunFolder]) -> Dataset | None:
    """A geometry to show the molecule by."""
    for name in FACES:
        for part in parts.values():
            frame = part.first_frame(name)
            if frame is not None:
                return frame
    found = (facts.trained_geometry(part) for part in parts.values())
    return next((one for one in found if one is not None), None)


def _module(command: str) -> ModuleType:
    return import_module(f"flexcalc.reports.sections.{command}")


def _section(command: str, part: RunFolder) -> str:
    module = _module(command)
    body = module.body(part)
    # A file that is read twice is complained about once.
    complaints = html.notes(dict.fromkeys(part.problems))
    return html.section(command, module.TITLE, complaints + body + _about(part))


def _notices(run: RunFolder) -> str:
    """What to know before reading: a run that has not ended, warnings of the whole."""
    notices = list(dict.fromkeys(run.problems)) if run.command == "demo" else []
    if not run.results:
        notices.insert(
            0, "There is no results.json yet: the run is still in progress or was interrupted."
        )
    return html.notes(notices)


def _about(run: RunFolder) -> str:
    """Results, settings and log as they stand in the folder, folded away."""
    parts = [facts.everything(run.results)]
    settings, log = run.text("run.toml"), run.text("log.txt")
    if settings:
        parts.append(html.heading("run.toml") + html.preformatted(settings))
    if log:
        last = "\n".join(log.splitlines()[-LOG_LINES:])
        parts.append(html.heading("The end of log.txt") + html.preformatted(last))
    body = "".join(parts)
    whole = "whole demo" if run.command == "demo" else "run"
    title = f"All results, settings and the log of the {whole}"
    return html.details(title, body) if body else ""


def _footer() -> str:
    return html.paragraph(
        f"Written by flexcalc {__version__}. Energies are in kcal/mol and meV, lengths "
        "in Å. This page is a single file and loads nothing else."
    )
