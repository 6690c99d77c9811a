"""A framed link over streams that record, that take nothing, and that fail."""

from __future__ import annotations

from contextlib import suppress

import anyio
import pytest
from attrs import define

from trio_rpc.links import Channel, Frame, Link, LinkClosedError, LinkFullError, open_framed_link
from trio_rpc.links.framed import COALESCED_BYTES, EARLY_FRAMES
from trio_rpc.links.frames import decode_frames, encode_frames

from .conftest import memory_ends
from .scripted_stream import LARGE, SMALL, ScriptedStream

pytestmark = pytest.mark.anyio


# Coalescing


async def test_what_is_queued_in_one_tick_is_one_message() -> None:
    stream = ScriptedStream()
    frames = [Frame(channel, b"%d" % index) for index in range(100) for channel in Channel]
    async with open_framed_link(stream) as link:
        for frame in frames:
            link.send_nowait(frame)
    assert stream.sent == [encode_frames(frames)]


async def test_what_is_queued_in_two_ticks_is_two_messages() -> None:
    stream = ScriptedStream()
    async with open_framed_link(stream) as link:
        for _ in range(2):
            link.send_nowait(SMALL)
            await anyio.wait_all_tasks_blocked()
        assert stream.sent == [encode_frames([SMALL])] * 2


async def test_messages_are_filled_up_to_64_kilobytes_and_no_further() -> None:
    stream = ScriptedStream()
    frames = [Frame(Channel.RELIABLE, bytes([index]) * 1_000) for index in range(200)]
    async with open_framed_link(stream) as link:
        for frame in frames:
            link.send_nowait(frame)
    assert [frame for message in stream.sent for frame in decode_frames(message)] == frames
    # As many as fit, each counted with six bytes around it.
    assert [len(decode_frames(message)) for message in stream.sent] == [65, 65, 65, 5]
    assert max(len(message) for message in stream.sent) <= COALESCED_BYTES


async def test_a_frame_larger_than_a_message_leaves_alone() -> None:
    stream = ScriptedStream()
    huge = Frame(Channel.RELIABLE, bytes(COALESCED_BYTES))
    async with open_framed_link(stream) as link:
        for frame in (SMALL, huge, SMALL):
            link.send_nowait(frame)
    assert stream.sent == [encode_frames([frame]) for frame in (SMALL, huge, SMALL)]


# Immediate writes


async def test_what_is_flushed_leaves_before_anybody_else_runs() -> None:
    stream = ScriptedStream(can_send_nowait=True)
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
    stream = ScriptedStream(can_send_nowait=can_send_nowait)
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
    stream = ScriptedStream(can_send_nowait=True)
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


async def test_a_frame_that_a_flush_follows_wakes_no_task() -> None:
    stream = ScriptedStream(can_send_nowait=True)
    async with open_framed_link(stream) as link:
        link.send_nowait(SMALL, flush_follows=True)
        await anyio.wait_all_tasks_blocked()
        assert stream.sent == []
        link.flush_nowait()
        assert stream.sent == [encode_frames([SMALL])]


async def test_a_frame_behind_one_that_a_flush_follows_does_not_wait_for_it() -> None:
    stream = ScriptedStream(can_send_nowait=True)
    async with open_framed_link(stream) as link:
        link.send_nowait(SMALL, flush_follows=True)
        link.send_nowait(SMALL)
        await anyio.wait_all_tasks_blocked()
        assert stream.sent == [encode_frames([SMALL, SMALL])]


@pytest.mark.parametrize("can_send_nowait", [False, True])
async def test_what_a_flush_cannot_send_leaves_afterwards(can_send_nowait: bool) -> None:
    stream = ScriptedStream(can_send_nowait=can_send_nowait)
    stream.way_is_free = False
    async with open_framed_link(stream) as link:
        link.send_nowait(SMALL, flush_follows=True)
        link.flush_nowait()
        assert stream.sent == []
        await anyio.wait_all_tasks_blocked()
        assert stream.sent == [encode_frames([SMALL])]


async def test_what_is_too_much_for_one_message_of_a_flush_leaves_afterwards() -> None:
    stream = ScriptedStream(can_send_nowait=True)
    async with open_framed_link(stream) as link:
        for frame in (LARGE, LARGE):
            link.send_nowait(frame, flush_follows=True)
        link.flush_nowait()
        assert stream.sent == [encode_frames([LARGE])]
        await anyio.wait_all_tasks_blocked()
        assert stream.sent == [encode_frames([LARGE])] * 2


async def test_of_many_frames_the_first_leave_at_once() -> None:
    stream = ScriptedStream(can_send_nowait=True)
    async with open_framed_link(stream) as link:
        for _ in range(EARLY_FRAMES - 1):
            link.send_nowait(SMALL)
        assert stream.sent == []
        link.send_nowait(SMALL)
        assert stream.sent == [encode_frames([SMALL] * EARLY_FRAMES)]


async def test_nothing_is_flushed_into_a_message_in_flight() -> None:
    stream = ScriptedStream(can_send_nowait=True)
    stream.may_send = anyio.Event()
    async with open_framed_link(stream) as link:
        link.send_nowait(SMALL)
        await anyio.wait_all_tasks_blocked()
        link.send_nowait(SMALL)
        link.flush_nowait()
        assert stream.sent == []
        stream.may_send.set()
    assert stream.sent == [encode_frames([SMALL])] * 2


async def test_a_flush_into_a_stream_that_has_ended_is_reported_by_the_link() -> None:
    stream = ScriptedStream(can_send_nowait=True)
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
    stream = ScriptedStream()
    async with open_framed_link(stream, max_queue_bytes=100) as link:
        for _ in range(5):
            link.send_nowait(Frame(Channel.RELIABLE, bytes(14)))  # makes 20 bytes
        assert link.queued_bytes == 100
        with pytest.raises(LinkFullError, match=r"^100 bytes wait to be sent, of 100$"):
            link.send_nowait(Frame(Channel.RELIABLE, b""))
        assert link.queued_bytes == 100
    assert decode_frames(stream.sent[0]) == [Frame(Channel.RELIABLE, bytes(14))] * 5


@pytest.mark.rule("L4", "V8")
async def test_frames_of_an_earlier_link_leave_the_limit_to_others() -> None:
    stream = ScriptedStream()
    async with open_framed_link(stream, max_queue_bytes=100) as link:
        link.resend_nowait([Frame(Channel.RELIABLE, bytes(54))] * 5)  # makes 300 bytes
        for _ in range(5):
            link.send_nowait(Frame(Channel.SIGNAL, bytes(14)))  # makes 20 bytes
        with pytest.raises(LinkFullError, match=r"^400 bytes wait to be sent, of 100$"):
            link.send_nowait(Frame(Channel.SIGNAL, b""))
        await anyio.wait_all_tasks_blocked()
        # They are sent: the limit is that of any link again.
        assert link.queued_bytes == 0
        for _ in range(5):
            link.send_nowait(Frame(Channel.SIGNAL, bytes(14)))
        with pytest.raises(LinkFullError, match=r"^100 bytes wait to be sent, of 100$"):
            link.send_nowait(Frame(Channel.SIGNAL, b""))


@pytest.mark.parametrize("channel", Channel)
async def test_a_frame_larger_than_the_queue_passes_when_the_queue_is_empty(
    channel: Channel,
) -> None:
    stream = ScriptedStream()
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
    stream = ScriptedStream()
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
    stream = ScriptedStream()
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
