"""The i-PI wire protocol: messages in, bytes out.

    i-PI                      client
    STATUS               ->   NEEDINIT, READY or HAVEDATA
    INIT bead text       ->
    POSDATA frames       ->
    GETFORCE             ->   FORCEREADY answer
    EXIT                 ->

ASE's server never sends EXIT: it closes the socket after it has fetched its last forces.

Every word is 12 bytes. i-PI 3.3 sends POSDATA and GETFORCE in one piece and may announce
`batch_size:N` in INIT; from then on POSDATA carries N frames in another layout. Numbers are
native int32 and float64 in bohr and hartree; a cell holds its vectors as columns.

Source: i-PI 3.3.1, ipi/interfaces/sockets.py; Kapil et al., Comput. Phys. Commun. 236, 214
(2019), doi:10.1016/j.cpc.2018.09.020.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

import numpy as np

from flexcalc.errors import ProtocolError

Receive = Callable[[int], bytes]
"""Returns exactly the given number of bytes of the stream, or raises ServerLostError."""

WORD_BYTES = 12
LONGEST_INIT = 65536
LARGEST_BATCH = 4096
FARTHEST_BOHR = 1e6
ASE_INIT = b"\0"
"""Text of the INIT of ASE's server; i-PI never sends this one."""


class Word(Enum):
    """The one-word messages of the server."""

    STATUS = "STATUS"
    GETFORCE = "GETFORCE"
    EXIT = "EXIT"


@dataclass(frozen=True)
class Init:
    """The server's greeting.

    Args:
        bead: index of a bead.
        batch: the batch size it announced, 1 for none.
        from_ase: whether the server is ASE's.
    """

    bead: int
    batch: int
    from_ase: bool = False


@dataclass(frozen=True, eq=False)
class Frames:
    """Geometries to evaluate: cells (batch, 3, 3) and positions (batch, atoms, 3) in bohr."""

    cells: np.ndarray
    positions: np.ndarray


@dataclass(frozen=True, eq=False)
class Answer:
    """Results for i-PI's frames, in atomic units.

    Args:
        energies: (batch,) in hartree.
        forces: (batch, atoms, 3) in hartree/bohr.
        virials: (batch, 3, 3) in hartree.
        extras: (batch,) texts, JSON or empty.
    """

    energies: np.ndarray
    forces: np.ndarray
    virials: np.ndarray
    extras: tuple[str, ...]


Message = Word | Init | Frames
Evaluate = Callable[[np.ndarray, np.ndarray], Answer]


class Conversation:
    """The client's side of the protocol, one message at a time.

    Frames are evaluated when the server asks for the state or the forces, and not before: i-PI
    sends positions and GETFORCE in one piece, and if a client is killed that has read only half of
    it, the connection is reset, which i-PI 3.3.1 does not survive; it survives a closed one.

    Args:
        evaluate: maps cells (batch, 3, 3) and positions (batch, atoms, 3) in bohr to an Answer.
        atoms: number of atoms of the molecule.
    """

    def __init__(self, evaluate: Evaluate, atoms: int):
        self.evaluate = evaluate
        self.atoms = atoms
        self.batch: int | None = None
        self.frames: Frames | None = None
        self.answer: Answer | None = None
        self.from_ase = False
        self.may_be_over = False
        """Whether the server may close the socket now instead of sending a message: that of ASE,
        once it has fetched the forces that it asked for."""

    def turn(self, receive: Receive) -> bytes | None:
        """Read one message and return the bytes to send back, or None after EXIT.

        Raises:
            ProtocolError: the message is unknown, malformed or out of turn.
        """
        message = read(receive, self.atoms, self.batch or 1)
        if message is Word.EXIT:
            return None
        if message is Word.STATUS:
            return self._status()
        if isinstance(message, Init):
            if self._is_busy():
                raise ProtocolError("i-PI sent INIT before it fetched the forces")
            self.batch, self.from_ase = message.batch, message.from_ase
            return b""
        if isinstance(message, Frames):
            if self.batch is None or self._is_busy():
                raise ProtocolError("i-PI sent POSDATA although the client was not ready")
            self.may_be_over = False
            self.frames = message
            return b""
        self._evaluate()
        if self.answer is None:
            raise ProtocolError("i-PI sent GETFORCE before any positions")
        answer, self.answer = self.answer, None
        self.may_be_over = self.from_ase
        return pack(answer)

    def _is_busy(self) -> bool:
        return self.frames is not None or self.answer is not None

    def _evaluate(self) -> None:
        """Evaluate the frames that wait for it."""
        frames, self.frames = self.frames, None
        if frames is not None:
            self.answer = self.evaluate(frames.cells, frames.positions)

    def _status(self) -> bytes:
        if self.batch is None:
            return _word("NEEDINIT")
        self._evaluate()
        return _word("READY" if self.answer is None else "HAVEDATA")


def read(receive: Receive, atoms: int, batch: int) -> Message:
    """Read one message of the server.

    Args:
        receive: returns exactly the given number of bytes of the stream.
        atoms: number of atoms a frame must have; nothing larger is ever allocated.
        batch: the batch size that INIT announced, 1 for none.

    Raises:
        ProtocolError: the bytes are no message.
    """
    header = receive(WORD_BYTES)
    name = header.rstrip(b" ")
    if name == b"POSDATA":
        return _read_batch(receive, atoms, batch) if batch > 1 else _read_frame(receive, atoms)
    if name == b"INIT":
        return _read_init(receive)
    try:
        return Word(name.decode("ascii"))
    except ValueError:
        raise ProtocolError(
            f"expected a message of i-PI, found {header!r}; is an i-PI server at that address?"
        ) from None


def pack(answer: Answer) -> bytes:
    """FORCEREADY and the answer as bytes; one layout serves one frame and a batch of them."""
    atoms = answer.forces.shape[1]
    extras = [text.encode() for text in answer.extras]
    parts = [
        _word("FORCEREADY"),
        np.ascontiguousarray(answer.energies, np.float64).tobytes(),
        np.int32(atoms).tobytes(),
        np.ascontiguousarray(answer.forces, np.float64).tobytes(),
        np.ascontiguousarray(answer.virials, np.float64).tobytes(),
        *(np.int32(len(text)).tobytes() + text for text in extras),
    ]
    return b"".join(parts)


def _word(text: str) -> bytes:
    return text.ljust(WORD_BYTES).encode("ascii")


def _read_init(receive: Receive) -> Init:
    bead, length = _integer(receive), _integer(receive)
    if not 0 <= length <= LONGEST_INIT:
        raise ProtocolError(f"i-PI announced an INIT text of {length} bytes")
    text = receive(length)
    batch = 1
    for item in text.decode(errors="replace").split(","):
        key, _, value = item.partition(":")
        if key.strip() == "batch_size":
            batch = _batch_size(value.strip())
    return Init(bead, batch, from_ase=text == ASE_INIT)


def _batch_size(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= LARGEST_BATCH:
        raise ProtocolError(
            f"i-PI announced batch_size {text[:20]!r}; expected 1 to {LARGEST_BATCH}"
        )
    return int(text)


def _read_frame(receive: Receive, atoms: int) -> Frames:
    cells = _floats(receive, 2, 3, 3)
    _check_count(_integer(receive), atoms)
    return _finite(Frames(cells[:1], _floats(receive, 1, atoms, 3)))


def _read_batch(receive: Receive, atoms: int, batch: int) -> Frames:
    _check_count(_integer(receive), atoms)
    cells = _floats(receive, batch, 2, 3, 3)
    return _finite(Frames(cells[:, 0], _floats(receive, batch, atoms, 3)))


def _check_count(found: int, atoms: int) -> None:
    if found != atoms:
        raise ProtocolError(
            f"expected {atoms} atoms, i-PI sent {found}; "
            "give i-PI and the client the same molecule (and no mode='shm' socket)"
        )


def _finite(frames: Frames) -> Frames:
    if not (np.abs(frames.positions) < FARTHEST_BOHR).all():
        raise ProtocolError(
            f"i-PI sent positions that are not finite or beyond {FARTHEST_BOHR:g} bohr; "
            "its trajectory has blown up"
        )
    return frames


def _integer(receive: Receive) -> int:
    return int(np.frombuffer(receive(4), np.int32)[0])


def _floats(receive: Receive, *shape: int) -> np.ndarray:
    return np.frombuffer(receive(8 * int(np.prod(shape))), np.float64).reshape(shape)
