"""A framed link over streams that record, that take nothing, and that fail."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

import anyio
import pytest
from attrs import define

from trio_rpc.links import Channel, Frame, Link, LinkClosedError, LinkFullError, open_framed_link
from trio_rpc.links.framed import (
    CLOSE_TIMEOUT,
    COALESCED_BYTES,
    SLICE_FRAMES,
    TURN_FRAMES,
)
from trio_rpc.links.frames import decode_frames, encode_frames

from ..support.turns import CountedTurns
from .conftest import memory_ends

pytestmark = pytest.mark.anyio

LARGE = Frame(Channel.RELIABLE, bytes(64_000))
SMALL = Frame(Channel.RELIABLE, b"small")


class StreamOfTests:
    """A message stream that records what is sent, blocks while told to, and fails when told to."""

    unsent_bytes = 0

    def __init__(self, *, can_send_nowait: bool = False) -> None:
        self.can_send_nowait = can_send_nowait
        self.way_is_free = True
        self.asked = 0
        self.sent: list[bytes] = []
        self.incoming: list[bytes] = []
        self.closed_with: list[str] = []
        self.may_send = anyio.Event()
        self.may_send.set()
        self.may_close = anyio.Event()
        self.may_close.set()
        self.is_closed = anyio.Event()
        self.send_error: str | None = None

    def send_message_nowait(self, message: bytes) -> bool:
        assert self.may_send.is_set()
        self.asked += 1
        if self.send_error is not None:
            raise LinkClosedError(self.send_error)
        if self.way_is_free:
            self.sent.append(message)
        return self.way_is_free

    async def send_message(self, message: bytes) -> None:
        await self.may_send.wait()
        if self.send_error is not None:
            raise LinkClosedError(self.send_error)
        self.sent.append(message)

    async def receive_message(self) -> bytes:
        if self.incoming:
            return self.incoming.pop(0)
        await self.is_closed.wait()
        raise LinkClosedError("the stream was closed")

    async def aclose(self, reason: str) -> None:
        self.closed_with.append(reason)
        self.is_closed.set()
        await self.may_close.wait()


# Coalescing


async def test_what_is_queued_in_one_tick_is_one_message() -> None:
    stream = StreamOfTests()
    frames = [Frame(channel, b"%d" % index) for index in range(100) for channel in Channel]
    async with open_framed_link(stream) as link:
        for frame in frames:
            link.send_nowait(frame)
    assert stream.sent == [encode_frames(frames)]


async def test_what_is_queued_in_two_ticks_is_two_messages() -> None:
    stream = StreamOfTests()
    async with open_framed_link(stream) as link:
        for _ in range(2):
            link.send_nowait(SMALL)
            await anyio.wait_all_tasks_blocked()
        assert stream.sent == [encode_frames([SMALL])] * 2


async def test_messages_are_filled_up_to_64_kilobytes_and_no_further() -> None:
    stream = StreamOfTests()
    frames = [Frame(Channel.RELIABLE, bytes([index]) * 1_000) for index in range(200)]
    async with open_framed_link(stream) as link:
        for frame in frames:
            link.send_nowait(frame)
    assert [frame for message in stream.sent for frame in decode_frames(message)] == frames
    # As many as fit, each counted with six bytes around it.
    assert [len(decode_frames(message)) for message in stream.sent] == [65, 65, 65, 5]
    assert max(len(message) for message in stream.sent) <= COALESCED_BYTES


async def test_a_frame_larger_than_a_message_leaves_alone() -> None:
    stream = StreamOfTests()
    huge = Frame(Channel.RELIABLE, bytes(COALESCED_BYTES))
    async with open_framed_link(stream) as link:
        for frame in (SMALL, huge, SMALL):
            link.send_nowait(frame)
    assert stream.sent == [encode_frames([frame]) for frame in (SMALL, huge, SMALL)]


# What leaves at once


async def test_what_is_flushed_leaves_before_anybody_else_runs() -> None:
    stream = StreamOfTests(can_send_nowait=True)
    async with open_framed_link(stream) as link:
        link.send_nowait(SMALL)
        link.send_nowait(SMALL)
        link.flush_nowait()
        assert stream.sent == [encode_frames([SMALL, SMALL])]
        assert link.queued_bytes == 0
        link.flush_nowait()
    assert len(stream.sent) == 1


@pytest.mark.parametrize("can_send_nowait", [False, True])
async def test_what_cannot_leave_at_once_leaves_in_order_afterwards(can_send_nowait: bool) -> None:
    stream = StreamOfTests(can_send_nowait=can_send_nowait)
    stream.way_is_free = False
    frames = [Frame(Channel.RELIABLE, b"%d" % index) for index in range(3)]
    async with open_framed_link(stream) as link:
        link.send_nowait(frames[0])
        link.send_nowait(frames[1])
        queued = link.queued_bytes
        link.flush_nowait()
        assert (stream.sent, link.queued_bytes) == ([], queued)
        link.send_nowait(frames[2])
    assert stream.sent == [encode_frames(frames)]


async def test_a_stream_that_refused_is_not_asked_again_before_the_writer_has_its_turn() -> None:
    stream = StreamOfTests(can_send_nowait=True)
    stream.way_is_free = False
    async with open_framed_link(stream) as link:
        for _ in range(100):
            link.send_nowait(SMALL)
            link.flush_nowait()
        assert stream.asked == 1
        await anyio.wait_all_tasks_blocked()
        assert stream.sent == [encode_frames([SMALL] * 100)]
        stream.way_is_free = True
        link.send_nowait(SMALL)
        link.flush_nowait()
        assert (stream.asked, len(stream.sent)) == (2, 2)


async def test_fewer_frames_than_asked_for_are_not_flushed() -> None:
    stream = StreamOfTests(can_send_nowait=True)
    async with open_framed_link(stream) as link:
        for _ in range(3):
            link.send_nowait(SMALL)
            link.flush_nowait(at_least=3)
        assert stream.sent == [encode_frames([SMALL] * 3)]


async def test_nothing_is_flushed_into_a_message_in_flight() -> None:
    stream = StreamOfTests(can_send_nowait=True)
    stream.may_send = anyio.Event()
    async with open_framed_link(stream) as link:
        link.send_nowait(SMALL)
        await anyio.wait_all_tasks_blocked()
        link.send_nowait(SMALL)
        link.flush_nowait()
        assert stream.sent == []
        stream.may_send.set()
    assert stream.sent == [encode_frames([SMALL])] * 2


async def test_who_flushes_into_a_stream_that_has_ended_hears_of_it_from_the_link() -> None:
    stream = StreamOfTests(can_send_nowait=True)
    stream.send_error = "the cable was cut"
    async with open_framed_link(stream) as link:
        link.send_nowait(SMALL)
        link.flush_nowait()
        with pytest.raises(LinkClosedError, match=r"^the stream was closed$"):
            await link.receive()
        with pytest.raises(LinkClosedError, match=r"^the stream was closed$"):
            link.send_nowait(SMALL)


# A full queue


@pytest.mark.rule("V8")
async def test_the_queue_is_bounded_in_bytes() -> None:
    stream = StreamOfTests()
    async with open_framed_link(stream, max_queue_bytes=100) as link:
        for _ in range(5):
            link.send_nowait(Frame(Channel.RELIABLE, bytes(14)))  # makes 20 bytes
        assert link.queued_bytes == 100
        with pytest.raises(LinkFullError, match=r"^100 bytes wait to be sent, of 100$"):
            link.send_nowait(Frame(Channel.RELIABLE, b""))
        assert link.queued_bytes == 100
    assert decode_frames(stream.sent[0]) == [Frame(Channel.RELIABLE, bytes(14))] * 5


@pytest.mark.parametrize("channel", Channel)
async def test_a_frame_larger_than_the_queue_passes_when_the_queue_is_empty(
    channel: Channel,
) -> None:
    stream = StreamOfTests()
    async with open_framed_link(stream, max_queue_bytes=100) as link:
        link.send_nowait(Frame(channel, bytes(1_000)))
        with pytest.raises(LinkFullError):
            link.send_nowait(SMALL)
        await link.wait_writable()
        link.send_nowait(SMALL)
    assert stream.sent == [encode_frames([Frame(channel, bytes(1_000))]), encode_frames([SMALL])]


@define(eq=False)
class Waiting:
    """A task that waits for room."""

    link: Link
    is_over: bool = False

    async def run(self) -> None:
        await self.link.wait_writable()
        self.is_over = True


async def test_waiting_for_room_goes_on_until_something_has_left() -> None:
    stream = StreamOfTests()
    stream.may_send = anyio.Event()
    async with open_framed_link(stream, max_queue_bytes=100) as link:
        link.send_nowait(LARGE)
        await anyio.wait_all_tasks_blocked()
        link.send_nowait(LARGE)
        with anyio.move_on_after(60) as scope:
            await link.wait_writable()
        assert scope.cancelled_caught
        assert stream.sent == []
        stream.may_send.set()
        await link.wait_writable()
        assert stream.sent[0] == encode_frames([LARGE])
    assert stream.sent == [encode_frames([LARGE])] * 2


async def test_waiting_for_room_ends_with_the_link() -> None:
    stream = StreamOfTests()
    stream.may_send = anyio.Event()
    async with open_framed_link(stream, max_queue_bytes=100) as link:
        link.send_nowait(LARGE)
        async with anyio.create_task_group() as task_group:
            waiting = Waiting(link)
            task_group.start_soon(waiting.run)
            await anyio.wait_all_tasks_blocked()
            assert not waiting.is_over
            await link.aclose()
        assert waiting.is_over
        # Nor does anybody wait for it afterwards.
        now = anyio.current_time()
        await link.wait_writable()
        assert anyio.current_time() == now
    assert stream.sent == []


async def test_waiting_for_room_ends_when_the_other_side_is_gone() -> None:
    async with memory_ends() as (near, far):
        # The second time in place of what has gone on to where the other side takes it from.
        for _ in range(2):
            with suppress(LinkFullError):
                while True:
                    near.send_nowait(LARGE)
            await anyio.wait_all_tasks_blocked()
        async with anyio.create_task_group() as task_group:
            waiting = Waiting(near)
            task_group.start_soon(waiting.run)
            await anyio.wait_all_tasks_blocked()
            assert not waiting.is_over
            await far.aclose("gone")
            with pytest.raises(LinkClosedError, match="gone"):
                await near.receive()
        assert waiting.is_over


# The end


def block_sending(stream: StreamOfTests) -> None:
    stream.may_send = anyio.Event()


def block_closing(stream: StreamOfTests) -> None:
    stream.may_close = anyio.Event()


def block_all(stream: StreamOfTests) -> None:
    block_sending(stream)
    block_closing(stream)


@pytest.mark.parametrize(
    ("block", "seconds"),
    [
        pytest.param(block_sending, CLOSE_TIMEOUT, id="sending"),
        pytest.param(block_closing, CLOSE_TIMEOUT, id="closing"),
        pytest.param(block_all, 2 * CLOSE_TIMEOUT, id="sending and closing"),
    ],
)
async def test_closing_a_link_whose_peer_does_not_read_is_bounded(
    block: Callable[[StreamOfTests], None], seconds: float
) -> None:
    stream = StreamOfTests()
    block(stream)
    async with open_framed_link(stream) as link:
        link.send_nowait(SMALL)
        started = anyio.current_time()
        await link.aclose("at last")
        assert anyio.current_time() - started == pytest.approx(seconds)
    assert stream.closed_with == ["at last"]


async def test_the_block_is_not_left_before_the_queue_is_sent() -> None:
    stream = StreamOfTests()
    with anyio.CancelScope() as scope:
        async with open_framed_link(stream) as link:
            for _ in range(50):
                link.send_nowait(LARGE)
            scope.cancel()
            await anyio.sleep_forever()
    assert [decode_frames(message) for message in stream.sent] == [[LARGE]] * 50
    assert stream.closed_with == [""]


async def test_a_message_under_way_is_not_cut_when_the_owner_is_cancelled() -> None:
    stream = StreamOfTests()
    block_sending(stream)
    async with anyio.create_task_group() as task_group, open_framed_link(stream) as link:
        link.send_nowait(LARGE)
        await anyio.wait_all_tasks_blocked()
        task_group.cancel_scope.cancel()
        stream.may_send.set()
    assert stream.sent == [encode_frames([LARGE])]


async def test_what_the_block_raises_comes_out_as_it_is() -> None:
    with pytest.raises(LookupError, match="of the block"):
        async with open_framed_link(StreamOfTests()):
            raise LookupError("of the block")


async def test_who_receives_is_told_when_sending_fails() -> None:
    stream = StreamOfTests()
    stream.send_error = "a broken pipe"
    async with open_framed_link(stream) as link:
        link.send_nowait(SMALL)
        with pytest.raises(LinkClosedError, match=r"^the stream was closed$"):
            await link.receive()
        with pytest.raises(LinkClosedError, match=r"^the stream was closed$"):
            link.send_nowait(SMALL)
        assert link.queued_bytes == 0
    assert stream.closed_with[0] == "the other direction failed"


async def test_what_has_come_is_received_before_the_stream_is_closed_for_a_failed_writer() -> None:
    stream = StreamOfTests()
    stream.send_error = "a broken pipe"
    stream.incoming = [encode_frames([SMALL]), encode_frames([LARGE])]
    async with open_framed_link(stream) as link:
        link.send_nowait(SMALL)
        await anyio.wait_all_tasks_blocked()
        assert stream.closed_with == []
        assert await link.receive() == [SMALL]
        await anyio.wait_all_tasks_blocked()
        assert stream.closed_with == []
        assert await link.receive() == [LARGE]
        started = anyio.current_time()
        with pytest.raises(LinkClosedError, match=r"^the stream was closed$"):
            await link.receive()
        assert anyio.current_time() - started <= CLOSE_TIMEOUT


async def test_a_stream_is_closed_at_once_for_a_failed_writer_when_all_is_received() -> None:
    stream = StreamOfTests()
    block_sending(stream)
    stream.send_error = "a broken pipe"
    async with open_framed_link(stream) as link:
        link.send_nowait(SMALL)
        await anyio.wait_all_tasks_blocked()
        stream.is_closed.set()
        with pytest.raises(LinkClosedError):
            await link.receive()
        assert stream.closed_with == []
        stream.may_send.set()
        await anyio.wait_all_tasks_blocked()
        assert stream.closed_with == ["the other direction failed"]


async def test_who_sends_is_told_when_sending_has_failed() -> None:
    stream = StreamOfTests()
    stream.send_error = "a broken pipe"
    async with open_framed_link(stream) as link:
        link.send_nowait(SMALL)
        await link.wait_writable()
        with pytest.raises(LinkClosedError, match=r"^a broken pipe$"):
            link.send_nowait(SMALL)


async def test_who_sends_is_told_when_receiving_has_failed() -> None:
    stream = StreamOfTests()
    block_sending(stream)
    async with open_framed_link(stream) as link:
        link.send_nowait(LARGE)
        await anyio.wait_all_tasks_blocked()
        link.send_nowait(LARGE)
        stream.is_closed.set()
        with pytest.raises(LinkClosedError, match=r"^the stream was closed$"):
            await link.receive()
        with pytest.raises(LinkClosedError, match=r"^the stream was closed$"):
            link.send_nowait(SMALL)
        assert link.queued_bytes == 0


@pytest.mark.rule("P8")
@pytest.mark.parametrize("message", [b"", b"\xff", b"\x12\x05abc"])
async def test_a_message_without_frames_is_reported_and_the_link_lives_on(message: bytes) -> None:
    stream = StreamOfTests()
    stream.incoming = [message, encode_frames([SMALL])]
    async with open_framed_link(stream) as link:
        with pytest.raises(ValueError, match=r"^a (message|frame) "):
            await link.receive()
        assert await link.receive() == [SMALL]


# A turn for everybody


TINY = Frame(Channel.LOSSY, b"x")
#: A field of a later version, which is skipped.
UNKNOWN = b"\x7a\x01x"


@pytest.mark.rule("B7")
async def test_the_frames_of_a_large_message_are_received_in_slices_with_turns_for_others() -> None:
    stream = StreamOfTests()
    stream.incoming = [encode_frames([TINY] * 33_000)]
    async with open_framed_link(stream) as link, CountedTurns() as turns:
        frames = 0
        while frames < 33_000:
            received = await link.receive()
            assert set(received) == {TINY}
            assert len(received) <= SLICE_FRAMES
            frames += len(received)
            # One after every two slices or so: trio runs tasks in any order.
            assert turns.count >= frames // TURN_FRAMES - 2
        assert frames == 33_000


@pytest.mark.rule("B7")
@pytest.mark.parametrize(
    "message",
    [encode_frames([TINY]), UNKNOWN + encode_frames([TINY]), encode_frames([TINY] * 31)],
    ids=["tiny", "with something unknown", "nearly a slice"],
)
async def test_others_have_their_turn_between_messages_that_have_come_already(
    message: bytes,
) -> None:
    stream = StreamOfTests()
    stream.incoming = [message] * 640
    async with open_framed_link(stream) as link, CountedTurns() as turns:
        for _ in range(640):
            await link.receive()
        assert turns.count >= 640 * 2 // TURN_FRAMES - 2


@pytest.mark.rule("B7")
async def test_others_have_their_turn_while_unknown_fields_are_skipped() -> None:
    stream = StreamOfTests()
    stream.incoming = [UNKNOWN * 200_000 + encode_frames([TINY])]
    async with open_framed_link(stream) as link, CountedTurns() as turns:
        assert await link.receive() == [TINY]
        assert turns.count >= 200_000 // SLICE_FRAMES // TURN_FRAMES - 2


@pytest.mark.rule("B7", "P8")
async def test_others_have_their_turn_between_messages_that_are_no_frames() -> None:
    stream = StreamOfTests()
    stream.incoming = [b"\xff"] * 640
    async with open_framed_link(stream) as link, CountedTurns() as turns:
        for _ in range(640):
            with pytest.raises(ValueError, match=r"^a message "):
                await link.receive()
        assert turns.count >= 640 // TURN_FRAMES - 2


@pytest.mark.rule("P8")
async def test_what_precedes_the_malformed_end_of_a_large_message_is_received() -> None:
    stream = StreamOfTests()
    stream.incoming = [encode_frames([TINY] * SLICE_FRAMES) + b"\xff", encode_frames([SMALL])]
    async with open_framed_link(stream) as link:
        assert await link.receive() == [TINY] * SLICE_FRAMES
        with pytest.raises(ValueError, match=r"^a message "):
            await link.receive()
        assert await link.receive() == [SMALL]


@pytest.mark.rule("P8")
async def test_a_large_message_that_ends_in_what_is_unknown_is_not_malformed() -> None:
    stream = StreamOfTests()
    stream.incoming = [encode_frames([TINY]) + UNKNOWN * 100, UNKNOWN * 100]
    async with open_framed_link(stream) as link:
        assert await link.receive() == [TINY]
        with pytest.raises(ValueError, match=r"^a message without a frame$"):
            await link.receive()


# Whether the other side reads


@pytest.mark.rule("B8", "V8")
async def test_a_link_has_progressed_when_any_byte_was_taken() -> None:
    stream = StreamOfTests(can_send_nowait=True)
    async with open_framed_link(stream) as link:
        # Nothing waits for it.
        assert link.has_progressed()
        link.send_nowait(LARGE)
        link.flush_nowait()
        stream.unsent_bytes = 60_000
        assert link.has_progressed()
        assert not link.has_progressed()
        stream.unsent_bytes -= 1
        assert link.has_progressed()
        assert not link.has_progressed()
        block_sending(stream)
        link.send_nowait(LARGE)
        await anyio.wait_all_tasks_blocked()
        assert link.has_progressed()
        assert not link.has_progressed()
        stream.unsent_bytes = 0
        assert link.has_progressed()
        # What is under way waits for it, too.
        assert not link.has_progressed()
        stream.may_send.set()
        await anyio.wait_all_tasks_blocked()
        assert link.has_progressed()
        assert link.has_progressed()
