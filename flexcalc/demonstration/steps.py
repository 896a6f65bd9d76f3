"""The steps of the demo, each a command in a folder of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from flexcalc.commands.evaluate import evaluate
from flexcalc.commands.face import run_command
from flexcalc.commands.ipi import ipi
from flexcalc.commands.label import label
from flexcalc.commands.md import md
from flexcalc.commands.path import path
from flexcalc.commands.train import train
from flexcalc.config.demo import Demo
from flexcalc.config.dynamics import Md
from flexcalc.config.evaluate import Evaluate
from flexcalc.config.ipi import Ipi
from flexcalc.config.label import Label
from flexcalc.config.paths import PathSearch
from flexcalc.config.train import Train
from flexcalc.files.shipped import shipped
from flexcalc.methods.dynamics import Langevin
from flexcalc.methods.sampling import Thermal
from flexcalc.registry import family
from flexcalc.results.demo import DemoRun, checks_of
from flexcalc.store import Store

STARTS = ("glycine-Ip.xyz", "glycine-IIIp.xyz")
DIHEDRAL = "dihedral 0 1 2 3"
"""N-C-C=O: 0 degrees in Ip, 180 in IIIp."""
IPI_STEPS = 200


def demonstrate(options: Demo, store: Store) -> DemoRun:
    """Label, train, evaluate, find a path, run dynamics and serve i-PI; see the command.

    Raises:
        MissingExtraError: tblite or i-PI is not installed.
        FlexcalcError: a step failed.
    """
    found = store.begin(options)
    if found is not None:
        return DemoRun.from_dict(found, store)
    starts = tuple(str(shipped(name)) for name in STARTS)
    store.say(f"1/6 labels: both minima of glycine at {options.temperature_K:g} K")
    labelled = _done(label, _label(options, starts), store)
    store.say("2/6 training: sGDML")
    trained = _done(train, _train(options, store.place("label") / "labels.xyz"), store)
    model = str(store.place("train") / trained.file)
    store.say("3/6 evaluation: frames the training has not seen")
    held_out = Evaluate(
        models=(model,),
        dataset=store.place("train") / "heldout.xyz",
        by=(DIHEDRAL,),
        seed=options.seed,
    )
    errors = _done(evaluate, held_out, store)
    store.say("4/6 path: Ip to IIIp on the model, relabelled by the reference")
    search = PathSearch(
        model=model, start=Path(starts[0]), end=Path(starts[1]), relabel=options.reference
    )
    found = _done(path, search, store)
    store.say(f"5/6 dynamics: {options.replicas} replicas at 300 K")
    dynamics = _done(md, _md(options, model, starts[0]), store)
    store.say("6/6 i-PI: the same model as a client of a real server")
    served = _done(
        ipi,
        Ipi(input=shipped("ipi-nvt.xml"), model=model, start=Path(starts[0]), steps=IPI_STEPS),
        store,
    )
    return DemoRun(
        store=store,
        molecule="glycine",
        reference=options.reference,
        training_points=trained.training_points,
        labelled_frames=labelled.frames,
        held_out_frames=errors.frames,
        temperature_mean_K=dynamics.temperature_mean_K,
        md_steps_per_second=dynamics.steps_per_second,
        checks=checks_of(errors.to_dict(), found.to_dict(), served.to_dict()),
    )


def _done(function: Any, options: Any, store: Store) -> Any:
    """The result of a command in a folder of its own."""
    folder = store.place(function.__name__)
    return run_command(function, options, folder, store.echo, progress=store.progress)


def _label(options: Demo, starts: tuple[str, ...]) -> Label:
    sampling = Thermal(
        frames=options.frames,
        temperature_K=options.temperature_K,
        replicas=options.sampling_replicas,
        spacing_fs=options.spacing_fs,
        patience=1,
    )
    return Label(
        reference=options.reference,
        starts=starts,
        samples=(sampling,),
        workers=options.workers,
        seed=options.seed,
    )


def _train(options: Demo, labels: Path) -> Train:
    curve = tuple(sorted({max(10, options.points // 4), max(10, options.points // 2)}))
    return Train(
        dataset=labels,
        family=(family("sgdml")(),),
        points=options.points,
        validation_points=options.validation_points,
        learning_curve=tuple(size for size in curve if size < options.points),
        seed=options.seed,
    )


def _md(options: Demo, model: str, start: str) -> Md:
    return Md(
        model=model,
        start=Path(start),
        method=Langevin(temperature_K=300.0, friction_per_ps=10.0),
        steps=options.steps,
        replicas=options.replicas,
        seed=options.seed,
    )
