"""Options of i-PI and of its clients."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from flexcalc.config.shared import OpensPotentials
from flexcalc.fields import Count, GeometryLike, Port, PotentialLike, Seconds, Workers


@dataclass(frozen=True, kw_only=True)
class Serve(OpensPotentials):
    """Serve a potential to a running i-PI."""

    positional: ClassVar[tuple[str, ...]] = ("model", "start")
    usual: ClassVar[tuple[str, ...]] = ("unix", "host", "port")

    model: PotentialLike
    """Potential to serve."""
    start: GeometryLike
    """The molecule, with atoms in the order of i-PI's input."""
    unix: str | None = None
    """Name of i-PI's unix socket (its <address>)."""
    host: str = "127.0.0.1"
    """Host of i-PI's inet socket."""
    port: Port | None = None
    """Port of i-PI's inet socket."""
    timeout_s: Seconds = 60.0
    """Timeout for connecting to the server, in seconds."""
    allow_remote: bool = False
    """Allow a server on another machine."""


@dataclass(frozen=True, kw_only=True)
class Ipi:
    """Start i-PI and its clients for one i-PI input."""

    positional: ClassVar[tuple[str, ...]] = ("input", "model", "start")
    usual: ClassVar[tuple[str, ...]] = ("clients", "steps")
    changeable: ClassVar[tuple[str, ...]] = ("clients", "steps", "timeout_s")

    input: Path
    """i-PI input file (XML)."""
    model: PotentialLike
    """Potential to serve."""
    start: GeometryLike | None = None
    """Starting geometry, with atoms in the order of i-PI; by default the `<file>` of the input.
    Where both are given they must be the same."""
    clients: Workers = 1
    """Number of client processes."""
    steps: Count | None = None
    """Number of steps; overrides the input's."""
    compare: bool = True
    """Compare the energies and forces that i-PI received with those of a direct call."""
    timeout_s: Seconds = 600.0
    """Timeout for the next line of output from i-PI, in seconds."""
    allow_remote: bool = False
    """Let i-PI listen on an address that other machines can reach."""
    trust: bool = False
    """Allow an input that makes i-PI run code, load libraries or unpickle files, and model files
    that contain code."""
