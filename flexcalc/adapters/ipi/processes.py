"""Worker processes of the launcher and i-PI's socket, without orphans or stale sockets."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import signal
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Self

from flexcalc.adapters.ipi.client import socket_path
from flexcalc.errors import BusyError, FlexcalcError, GuardError, InputError, ProtocolError

GRACE_S = 10.0
"""Time for a process to end after SIGTERM; i-PI writes its RESTART file meanwhile."""
STOPPED_EARLY = 3
"""Exit code of an i-PI that ended before its last step."""
FAILURES: Mapping[int, type[FlexcalcError]] = {
    error.exit_code: error for error in (ProtocolError, InputError, GuardError)
}


class Worker:
    """A worker process, i-PI or a client, which ends when this process does.

    Args:
        job: task for `child`; JSON.
        log: file for its output.
        folder: its working directory; by default that of this process.
        keep: file descriptors that it inherits.
    """

    def __init__(
        self,
        job: Mapping[str, Any],
        log: Path,
        folder: Path | None = None,
        keep: Sequence[int] = (),
    ):
        self.role = job["role"]
        self.log = log
        reader, writer = os.pipe()
        self.lifeline = os.fdopen(writer, "w")
        with open(log, "ab") as output:
            self._begins = output.tell()
            # -P: a numpy.py in the run folder must not be imported. A new session: Ctrl-C reaches
            # only this process, which then ends the others in order.
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-m", "flexcalc.adapters.ipi.child"],
                stdin=reader,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=folder,
                pass_fds=keep,
                start_new_session=True,
            )
        os.close(reader)
        # If the child died at once, the reason is in its log, so ignore the broken pipe.
        with suppress(BrokenPipeError):
            self.lifeline.write(json.dumps(job) + "\n")
            self.lifeline.flush()

    @property
    def code(self) -> int | None:
        """Its exit code, or None while it runs."""
        return self.process.poll()

    def stop(self) -> None:
        """End the process by SIGTERM, and by SIGKILL after a timeout."""
        if self.code is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(GRACE_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        with suppress(BrokenPipeError):
            self.lifeline.close()

    def said(self, text: bytes) -> bool:
        """Whether it has written this."""
        return text in self._output()

    def _output(self) -> bytes:
        return self.log.read_bytes()[self._begins :]

    def failure(self) -> FlexcalcError:
        """The error for its exit code and the last line of its log."""
        lines = self._output().decode(errors="replace").splitlines()
        last = next((line.strip() for line in reversed(lines) if line.strip()), "nothing")
        kind = FAILURES.get(self.code or 0)
        if self.role == "client" and kind and last.startswith("flexcalc: "):
            return kind(last.removeprefix("flexcalc: "))
        who = "i-PI" if self.role == "server" else "a client"
        how = "stopped early" if self.code == STOPPED_EARLY else f"died (exit code {self.code})"
        return ProtocolError(f"{who} {how}; it said last: {last[:200]!r}; all of it: {self.log}")


class ThreadClient:
    """A client of i-PI within this process, for a potential that no other process can open.

    It ends when i-PI says so or is gone, so i-PI has to be stopped first.

    Args:
        answer: serves the potential; returns when i-PI says EXIT, and gives up waiting for i-PI
            once the event is set that it is called with.
    """

    def __init__(self, answer: Callable[[threading.Event], object]):
        self.answer, self.stopped = answer, threading.Event()
        self.error: Exception | None = None
        self.thread = threading.Thread(target=self._work, daemon=True)

    def _work(self) -> None:
        try:
            self.answer(self.stopped)
        except Exception as error:  # the launcher raises it
            self.error = error

    def __enter__(self) -> Self:
        self.thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.stopped.set()
        self.thread.join(GRACE_S)

    @property
    def code(self) -> int | None:
        """1 once it has failed, 0 once it has ended well, or None while it runs."""
        if self.error is not None:
            return 1
        return None if self.thread.is_alive() else 0

    def failure(self) -> Exception:
        """What it failed with."""
        return self.error or ProtocolError("a client ended early")


@contextmanager
def worker(
    job: Mapping[str, Any], log: Path, folder: Path | None = None, keep: Sequence[int] = ()
) -> Iterator[Worker]:
    """A Worker that is stopped on leaving."""
    made = Worker(job, log, folder, keep)
    try:
        yield made
    finally:
        made.stop()


def private_folder() -> Path:
    """A folder for sockets that only this user can enter.

    Raises:
        InputError: it belongs to somebody else or others may enter it.
    """
    folder = Path(tempfile.gettempdir()) / f"flexcalc-{os.getuid()}"
    with suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    info = folder.lstat()
    if not stat.S_ISDIR(info.st_mode) or info.st_uid != os.getuid() or info.st_mode & 0o077:
        raise InputError(f"{folder}: expected a folder of yours with mode 0700; remove it")
    return folder


@contextmanager
def owned_socket(name: str, folder: Path) -> Iterator[tuple[str, int]]:
    """Hold i-PI's socket name for a run; a socket that a dead run left is removed.

    Args:
        name: the socket's name in i-PI's input.
        folder: the run folder; runs in other folders may use the same name.

    Yields:
        The socket's prefix, and the descriptor of the lock, which i-PI has to inherit: the
        name is free again only when i-PI is gone too.

    Raises:
        BusyError: another run in this folder holds the name.
        ConfigError: the name cannot be one.
    """
    owner = hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:12]
    prefix = str(private_folder() / f"ipi_{owner}_")
    path = Path(socket_path(name, prefix))
    handle = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BusyError(
                f"{path}: another run of i-PI uses the socket name {name!r}; wait for it"
            ) from None
        path.unlink(missing_ok=True)
        try:
            yield prefix, handle
        finally:
            path.unlink(missing_ok=True)
    finally:
        os.close(handle)
