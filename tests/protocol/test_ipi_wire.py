"""The protocol without a socket: what is read, what is answered, what is refused."""

import io
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ipi_bench import init, integer, posdata, posdata_batch, word
from ipi_springs import Springs

from flexcalc.adapters.ipi.surface import Surface
from flexcalc.adapters.ipi.wire import Answer, Conversation, Frames, pack, read
from flexcalc.errors import FlexcalcError, ProtocolError, ServerLostError

pytestmark = pytest.mark.protocol

SPRINGS = Springs()
REST = SPRINGS.rest
ATOMS = len(REST)


def receiver(stream):
    """A `receive` over bytes; the end of the bytes is the end of the server."""
    source = io.BytesIO(stream)

    def receive(count):
        data = source.read(count)
        if len(data) < count:
            raise ServerLostError("the stream ended")
        return data

    return receive


def converse(stream):
    """Play a stream to a client; return its replies, one a message, up to EXIT."""
    conversation = Conversation(Surface(SPRINGS, REST), ATOMS)
    receive, replies = receiver(stream), []
    while (reply := conversation.turn(receive)) is not None:
        replies.append(reply)
    return replies


STATUS, GETFORCE, EXIT = word("STATUS"), word("GETFORCE"), word("EXIT")


def test_the_client_says_what_state_it_is_in():
    stream = STATUS + init() + STATUS + posdata(REST) + STATUS + GETFORCE + STATUS + EXIT
    replies = converse(stream)
    assert [replies[k] for k in (0, 2, 4, 6)] == [
        word("NEEDINIT"),
        word("READY"),
        word("HAVEDATA"),
        word("READY"),
    ]
    assert replies[5].startswith(word("FORCEREADY"))


def test_fused_and_separate_messages_get_the_same_forces():
    fused = converse(STATUS + init() + STATUS + posdata(REST) + GETFORCE + STATUS + EXIT)
    separate = converse(
        STATUS + init() + STATUS + posdata(REST) + STATUS + GETFORCE + STATUS + EXIT
    )
    assert b"".join(fused) == b"".join(separate).replace(word("HAVEDATA"), b"")


def test_a_batch_is_answered_frame_by_frame_in_order():
    rng = np.random.default_rng(0)
    beads = REST + 0.05 * rng.normal(size=(5, ATOMS, 3))
    batch = converse(init(" batch_size:5") + posdata_batch(beads) + GETFORCE + EXIT)[2]
    numbers = np.frombuffer(batch[12:52])
    alone = [
        np.frombuffer(converse(init() + posdata(b) + GETFORCE + EXIT)[2][12:20]) for b in beads
    ]
    assert np.array_equal(numbers, np.concatenate(alone))
    forces = np.frombuffer(batch[56 : 56 + 5 * ATOMS * 24]).reshape(5, ATOMS, 3)
    one = converse(init() + posdata(beads[3]) + GETFORCE + EXIT)[2]
    assert np.array_equal(forces[3], np.frombuffer(one[24 : 24 + ATOMS * 24]).reshape(ATOMS, 3))


@pytest.mark.parametrize(
    ("text", "batch"),
    [
        (" ", 1),
        (", batch_size:16", 16),
        (" k : 3 , , batch_size:8", 8),
        (" batch_size : 2 , other : x", 2),
        (" note: batch_size , x", 1),
    ],
)
def test_the_batch_announcement_is_read_from_init(text, batch):
    assert read(receiver(init(text)), ATOMS, 1).batch == batch


def test_positions_arrive_as_they_were_sent():
    cell = np.arange(9.0).reshape(3, 3)
    frames = read(receiver(posdata(REST, cell=cell)), ATOMS, 1)
    assert isinstance(frames, Frames)
    assert np.array_equal(frames.cells[0], cell)
    assert np.abs(frames.positions[0] * 0.5291772105638411 - REST).max() < 1e-15


def test_extras_are_counted_in_bytes():
    answer = Answer(np.zeros(1), np.zeros((1, 2, 3)), np.zeros((1, 3, 3)), ('{"é": 1}',))
    data = pack(answer)
    length = int(np.frombuffer(data[-13:-9], np.int32)[0])
    assert length == len('{"é": 1}'.encode()) == 9
    assert data[-9:].decode() == '{"é": 1}'


MALFORMED = {
    "unknown word": word("HELLO"),
    "a web server": b"HTTP/1.1 400 Bad Request\r\n\r\n",
    "lower case": word("status"),
    "not ascii": b"\xff" * 12,
    "positions before INIT": posdata(REST),
    "forces before INIT": GETFORCE,
    "forces without positions": init() + GETFORCE,
    "positions twice": init() + posdata(REST) * 2,
    "INIT over pending forces": init() + posdata(REST) + init(),
    "forces twice": init() + posdata(REST) + GETFORCE * 2,
    "no atoms": init() + posdata(REST, atoms=0),
    "negative atoms": init() + posdata(REST, atoms=-1),
    "one atom more": init() + posdata(REST, atoms=ATOMS + 1),
    "huge atoms": init() + posdata(REST, atoms=2**31 - 1),
    "huge atoms in a batch": init(" batch_size:2") + posdata_batch(REST[None], atoms=2**31 - 1),
    "negative INIT": word("INIT") + integer(0) + integer(-1) + b"x" * 50,
    "huge INIT": word("INIT") + integer(0) + integer(2**31 - 1) + b"x" * 50,
    "batch of nothing": init(" batch_size:0"),
    "negative batch": init(" batch_size:-4"),
    "huge batch": init(" batch_size:999999999999"),
    "batch of words": init(" batch_size:many"),
    "not a number": init() + posdata(REST * np.nan),
    "infinite": init() + posdata(REST * np.inf),
}


@pytest.mark.parametrize("stream", MALFORMED.values(), ids=MALFORMED)
def test_a_broken_stream_is_a_protocol_error(stream):
    with pytest.raises(ProtocolError) as error:
        converse(stream + EXIT)
    assert "\n" not in str(error.value)


GOOD = [STATUS, init(), STATUS, posdata(REST), STATUS, GETFORCE, STATUS, posdata(REST), GETFORCE]
BATCHED = [STATUS, init(" batch_size:2"), posdata_batch(np.stack([REST, REST])), GETFORCE, STATUS]


@st.composite
def broken_streams(draw):
    """A server's stream that is surely illegal: cut, with a false word, count or order."""
    parts = list(draw(st.sampled_from([GOOD, BATCHED])))
    kind = draw(st.sampled_from(["cut", "word", "count", "swallow"]))
    if kind == "cut":
        whole = b"".join(parts)
        return whole[: draw(st.integers(0, len(whole) - 1))]
    if kind == "word":
        place = draw(st.integers(0, len(parts) - 1))
        byte, value = draw(st.integers(0, 11)), draw(st.integers(1, 255))
        part = bytearray(parts[place])
        part[byte] ^= value
        parts[place] = bytes(part)
    elif kind == "count":
        position = next(k for k, part in enumerate(parts) if part.startswith(b"POSDATA"))
        start = 12 if len(parts) == len(BATCHED) else 12 + 144
        count = draw(st.integers(-(2**31), 2**31 - 1).filter(lambda count: count != ATOMS))
        part = parts[position]
        parts[position] = part[:start] + integer(count) + part[start + 4 :]
    else:
        place = draw(st.sampled_from([k for k, part in enumerate(parts) if len(part) < 100]))
        lost = draw(st.integers(1, len(parts[place]) - 1))
        parts[place] = parts[place][lost:]
    return b"".join(parts)


def assert_refused(stream):
    with pytest.raises(ProtocolError):
        converse(stream)


@given(stream=broken_streams())
@settings(max_examples=500, deadline=None)
def test_mutated_streams_end_in_one_protocol_error(stream):
    assert_refused(stream)


@pytest.mark.long
@given(stream=broken_streams())
@settings(max_examples=10_000, deadline=None)
def test_ten_thousand_mutated_streams_end_in_one_protocol_error_each(stream):
    assert_refused(stream)


@given(data=st.data())
@settings(max_examples=300, deadline=None)
def test_flipped_bytes_never_escape_the_error_tree(data):
    stream = bytearray(b"".join(GOOD) + EXIT)
    for _ in range(data.draw(st.integers(1, 4))):
        stream[data.draw(st.integers(0, len(stream) - 1))] ^= data.draw(st.integers(1, 255))
    try:
        replies = converse(bytes(stream))
    except FlexcalcError as error:
        assert "\n" not in str(error)  # noqa: PT017 - a clean end is as good
    else:
        assert all(np.isfinite(forces_in(reply)).all() for reply in replies)


def forces_in(reply):
    ready = reply.startswith(word("FORCEREADY"))
    return np.frombuffer(reply[24 : 24 + 24 * ATOMS]) if ready else np.zeros(0)


def test_what_a_server_claims_takes_no_memory():
    """2^31 atoms or bytes are refused before anything of that size is made."""
    tracemalloc.start()
    for name in ("huge atoms", "huge atoms in a batch", "huge INIT", "huge batch"):
        assert_refused(MALFORMED[name])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1_000_000
