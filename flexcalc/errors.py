"""Every error flexcalc raises on purpose, as one tree.

    FlexcalcError                    exit code 1
    ├── InputError                   exit code 2: what the user gave cannot be used
    │   ├── ConfigError              a TOML key or a flag
    │   ├── AddressError             a potential address that names nothing
    │   ├── FileFormatError          a file that is damaged or of another format
    │   ├── UnitError                a unit that is missing or unknown
    │   ├── ShapeError               an array of the wrong shape or type
    │   ├── MoleculeError            another molecule than the potential's, or a periodic one
    │   ├── MissingExtraError        an optional package that is not installed
    │   └── BusyError                a run folder that another process is using
    ├── LabelError                   a reference calculation that gave no label
    │   └── MissingProgramError      one whose program cannot be started, whatever the geometry
    ├── WorkerError                  worker processes that die, do not come or cannot work
    ├── ProtocolError                an i-PI peer that broke the protocol
    │   └── ServerLostError          an i-PI server that went away or never answered
    └── GuardError                   exit code 3: stopped before worse happens
        └── NonFiniteError           a NaN or infinite energy or force

Messages are one line: what was expected, what was found, where, and what to do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np


class FlexcalcError(Exception):
    """Base of all errors raised on purpose."""

    exit_code = 1


class InputError(FlexcalcError):
    """What the user gave cannot be used; nothing was written."""

    exit_code = 2


class ConfigError(InputError):
    """A TOML key or a command-line flag is unknown, missing or out of range."""


class AddressError(InputError):
    """A potential address names nothing that can be opened."""


class FileFormatError(InputError):
    """A file is damaged, cut, or not of the format it should be."""


class UnitError(InputError):
    """A unit is missing where it must be declared, or unknown."""


class ShapeError(InputError):
    """An array has the wrong shape or type."""


class MoleculeError(InputError):
    """The atoms are not the molecule the potential was made for, or are periodic."""


class MissingExtraError(InputError):
    """An optional package is not installed."""

    def __init__(self, package: str, extra: str):
        super().__init__(
            f"{package} is not installed; install it with: pip install 'flexcalc[{extra}]'"
        )


class BusyError(InputError):
    """Another process is using the run folder."""


class LabelError(FlexcalcError):
    """A reference calculation failed or did not converge, so there is no label."""


class MissingProgramError(LabelError):
    """The program of a reference cannot be started, so it labels no geometry at all."""


class WorkerError(FlexcalcError):
    """Worker processes die, do not come, or cannot do what they are there for."""


class ProtocolError(FlexcalcError):
    """An i-PI peer sent something the protocol does not allow."""


class ServerLostError(ProtocolError):
    """The i-PI server went away, or never answered."""


class GuardError(FlexcalcError):
    """A guard stopped the run; the last good state is kept.

    Args:
        message: one line.
        reason: why, in two or three words.
        rows: (stopped,) rows of the batch for which the run was stopped, where they are known.
        positions: (stopped, atoms, 3) in angstrom, their geometries.
    """

    exit_code = 3

    def __init__(
        self,
        message: str,
        reason: str = "stopped",
        rows: np.ndarray | None = None,
        positions: np.ndarray | None = None,
    ):
        super().__init__(message)
        self.reason, self.rows, self.positions = reason, rows, positions


class NonFiniteError(GuardError):
    """An energy or a force is NaN or infinite."""
