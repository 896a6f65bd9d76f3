"""`flexcalc demo`: the main job on glycine, from two geometries to a checked force field."""

from __future__ import annotations

from flexcalc.commands.face import command
from flexcalc.config.demo import Demo
from flexcalc.demonstration import steps
from flexcalc.results.demo import DemoRun
from flexcalc.store import Store


@command(Demo)
def demo(options: Demo, store: Store) -> DemoRun:
    """Label, train, evaluate, find a path, run dynamics, serve i-PI, and report it all.

    Every step is what its command does, in a folder of its own in `output`; a demo that was
    interrupted goes on with the step it was in. Without `output` the folders are temporary and go
    with the result.

    Returns:
        The figures of all steps. Raises MissingExtraError where tblite or i-PI is not installed.

    Example:
        >>> import flexcalc as fx
        >>> run = fx.demo(frames=60, points=20, validation_points=10, steps=20)
        >>> run.molecule, run.training_points, run.dynamics.replicas
        ('glycine', 20, 8)
    """
    return steps.demonstrate(options, store)
