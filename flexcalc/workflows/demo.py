"""`flexcalc demo`: the main job on glycine, from two geometries to a checked force field."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from flexcalc.commands.evaluate import evaluate
from flexcalc.commands.face import run_command
from flexcalc.commands.ipi import ipi
from flexcalc.commands.md import md
from flexcalc.config import Demo, Evaluate, Ipi, Label, Md, PathSearch, Train
from flexcalc.files.shipped import shipped
from flexcalc.methods.dynamics import Langevin
from flexcalc.methods.sampling import Thermal
from flexcalc.printing import say
from flexcalc.registry import family
from flexcalc.workflows.fitting import run_train
from flexcalc.workflows.label import run_label
from flexcalc.workflows.path import run_path
from flexcalc.workflows.runs import open_run

STARTS = ("glycine-Ip.xyz", "glycine-IIIp.xyz")
DIHEDRAL = "dihedral 0 1 2 3"
"""N-C-C=O: 0 degrees in Ip, 180 in IIIp."""
IPI_STEPS = 200


def run_demo(config: Demo, output: Path) -> dict[str, Any]:
    """Label, train, evaluate, find a path, run dynamics, serve i-PI, and report it all.

    Every step has a folder of its own in the run folder and is what its command does; a demo
    that was interrupted goes on with the step it was in.

    Raises:
        InputError: an option cannot be used.
        MissingExtraError: tblite or i-PI is not installed.
    """
    with open_run("demo", config, output) as run:
        if run.finished is not None:
            return run.finished
        folder = run.folder
        starts = tuple(str(shipped(name)) for name in STARTS)
        run.say(f"1/6 labels: both minima of glycine at {config.temperature_K:g} K")
        labelled = run_label(_label(config, starts), folder / "label")
        run.say("2/6 training: sGDML")
        trained = run_train(_train(config, folder / "label" / "labels.xyz"), folder / "train")
        model = str(folder / "train" / trained["model"])
        run.say("3/6 evaluation: frames the training has not seen")
        held_out = Evaluate(
            models=(model,),
            dataset=folder / "train" / "heldout.xyz",
            by=(DIHEDRAL,),
            seed=config.seed,
        )
        errors = run_command(evaluate, held_out, folder / "evaluate", say).to_dict()
        run.say("4/6 path: Ip to IIIp on the model, relabelled by the reference")
        search = PathSearch(
            model=model, start=Path(starts[0]), end=Path(starts[1]), relabel=config.reference
        )
        path = run_path(search, folder / "path")
        run.say(f"5/6 dynamics: {config.replicas} replicas at 300 K")
        dynamics: Any = run_command(md, _md(config, model, starts[0]), folder / "md", say)
        run.say("6/6 i-PI: the same model as a client of a real server")
        served = Ipi(
            input=shipped("ipi-nvt.xml"), model=model, start=Path(starts[0]), steps=IPI_STEPS
        )
        answered = run_command(ipi, served, folder / "ipi", say).to_dict()
        results = run.finish(
            {
                "molecule": "glycine",
                "reference": config.reference,
                "training_points": trained["training_points"],
                "labelled_frames": labelled["frames"],
                "held_out_frames": errors["frames"],
                **{key: value for key, value in errors.items() if key.startswith(HEADLINES)},
                **{key: value for key, value in path.items() if "barrier" in key},
                "temperature_mean_K": dynamics.temperature_mean_K,
                "md_steps_per_second": dynamics.steps_per_second,
                **{key: value for key, value in answered.items() if "difference" in key},
            }
        )
        run.say(_summary(results))
        return results


HEADLINES = ("force_mae", "force_rmse", "energy_mae", "energy_rmse")


def _label(config: Demo, starts: tuple[str, ...]) -> Label:
    sampling = Thermal(
        frames=config.frames,
        temperature_K=config.temperature_K,
        replicas=config.sampling_replicas,
        spacing_fs=config.spacing_fs,
        patience=1,
    )
    return Label(
        reference=config.reference,
        starts=starts,
        samples=(sampling,),
        workers=config.workers,
        seed=config.seed,
    )


def _train(config: Demo, labels: Path) -> Train:
    curve = tuple(sorted({max(10, config.points // 4), max(10, config.points // 2)}))
    return Train(
        dataset=labels,
        family=(family("sgdml")(),),
        points=config.points,
        validation_points=config.validation_points,
        learning_curve=tuple(size for size in curve if size < config.points),
        seed=config.seed,
    )


def _md(config: Demo, model: str, start: str) -> Md:
    return Md(
        model=model,
        start=Path(start),
        method=Langevin(temperature_K=300.0, friction_per_ps=10.0),
        steps=config.steps,
        replicas=config.replicas,
        seed=config.seed,
    )


def _summary(results: dict[str, Any]) -> str:
    return (
        f"glycine, {results['training_points']} training points: "
        f"force RMSE {results['force_rmse_kcal_mol_A']:.2f} kcal/mol/A, "
        f"energy RMSE {results['energy_rmse_kcal_mol']:.2f} kcal/mol, "
        f"barrier {results['barrier_model_kcal_mol']:.2f} on the model and "
        f"{results['barrier_reference_kcal_mol']:.2f} kcal/mol by {results['reference']}; "
        f"{results['seconds']:.0f} s"
    )
