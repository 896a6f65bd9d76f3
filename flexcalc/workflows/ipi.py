"""`flexcalc serve` and `flexcalc ipi`: potentials for i-PI."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from flexcalc.adapters.ipi import launch, serve
from flexcalc.config import Ipi, Serve
from flexcalc.storage import atomic_write
from flexcalc.workflows.runs import open_run


def run_serve(config: Serve) -> int:
    """Answer a running i-PI until it says goodbye; returns the number of evaluations.

    Raises:
        InputError: the potential, the molecule or the address cannot be used.
        ServerLostError: i-PI went away, or never was there.
    """
    return serve(
        config.model,
        config.start,
        unix=config.unix,
        host=config.host,
        port=config.port,
        timeout_s=config.timeout_s,
        allow_remote=config.allow_remote,
        trust=config.trust,
    )


def run_ipi(config: Ipi, output: Path) -> dict[str, Any]:
    """Run i-PI with its clients; writes scalars.csv beside i-PI's own files.

    Raises:
        InputError: the input or the potential cannot be used.
        ProtocolError: i-PI or a client broke down.
    """
    with open_run("ipi", config, output) as here:
        if here.finished is not None:
            return here.finished
        with here.bar("i-PI") as progress:
            outcome = launch(
                config.input,
                config.model,
                config.start,
                here.folder,
                clients=config.clients,
                steps=config.steps,
                start=config.start,
                compare=config.compare,
                trust=config.trust,
                allow_remote=config.allow_remote,
                timeout_s=config.timeout_s,
                progress=progress,
            )
        names = list(outcome.scalars)
        rows = np.column_stack([outcome.scalars[name] for name in names])
        lines = [",".join(names), *(",".join(repr(float(v)) for v in row) for row in rows)]
        atomic_write(here.folder / "scalars.csv", "\n".join(lines) + "\n")
        kelvin = outcome.scalars["temperature_K"]
        results: dict[str, Any] = {
            "input": str(config.input),
            "model": config.model,
            "clients": config.clients,
            "steps": int(outcome.scalars["step"][-1]),
            "temperature_mean_K": float(kelvin.mean()),
        }
        if outcome.force_difference_max_relative is not None:
            results["force_difference_max_relative"] = outcome.force_difference_max_relative
            results["energy_difference_max_relative"] = outcome.energy_difference_max_relative
        here.say(f"i-PI: {results['steps']} steps, mean temperature {kelvin.mean():.1f} K")
        return here.finish(results)
