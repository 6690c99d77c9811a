"""The end of a framed link, on either side, with messages in flight."""

from __future__ import annotations

from collections.abc import Callable

import anyio
import pytest

from trio_rpc.links import LinkClosedError, open_framed_link
from trio_rpc.links.framed import (
    CLOSE_TIMEOUT,
)
from trio_rpc.links.frames import decode_frames, encode_frames

from .scripted_stream import LARGE, SMALL, ScriptedStream

pytestmark = pytest.mark.anyio


# The end


def block_sending(stream: ScriptedStream) -> None:
    stream.may_send = anyio.Event()


def block_closing(stream: ScriptedStream) -> None:
    stream.may_close = anyio.Event()


def block_all(stream: ScriptedStream) -> None:
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
    block: Callable[[ScriptedStream], None], seconds: float
) -> None:
    stream = ScriptedStream()
    block(stream)
    async with open_framed_link(stream) as link:
        link.send_nowait(SMALL)
        started = anyio.current_time()
        await link.aclose("at last")
        assert anyio.current_time() - started == pytest.approx(seconds)
    assert stream.closed_with == ["at last"]


async def test_the_block_is_not_left_before_the_queue_is_sent() -> None:
    stream = ScriptedStream()
    with anyio.CancelScope() as scope:
        async with open_framed_link(stream) as link:
            for _ in range(50):
                link.send_nowait(LARGE)
            scope.cancel()
            await anyio.sleep_forever()
    assert [decode_frames(message) for message in stream.sent] == [[LARGE]] * 50
    assert stream.closed_with == [""]


async def test_a_message_in_flight_is_not_cut_when_the_owner_is_cancelled() -> None:
    stream = ScriptedStream()
    block_sending(stream)
    async with anyio.create_task_group() as task_group, open_framed_link(stream) as link:
        link.send_nowait(LARGE)
        await anyio.wait_all_tasks_blocked()
        task_group.cancel_scope.cancel()
        stream.may_send.set()
    assert stream.sent == [encode_frames([LARGE])]


async def test_what_the_block_raises_comes_out_as_it_is() -> None:
    with pytest.raises(LookupError, match="of the block"):
        async with open_framed_link(ScriptedStream()):
            raise LookupError("of the block")


async def test_who_receives_is_told_when_sending_fails() -> None:
    stream = ScriptedStream()
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
    stream = ScriptedStream()
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
    stream = ScriptedStream()
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
    stream = ScriptedStream()
    stream.send_error = "a broken pipe"
    async with open_framed_link(stream) as link:
        link.send_nowait(SMALL)
        await link.wait_writable()
        with pytest.raises(LinkClosedError, match=r"^a broken pipe$"):
            link.send_nowait(SMALL)


async def test_who_sends_is_told_when_receiving_has_failed() -> None:
    stream = ScriptedStream()
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
    stream = ScriptedStream()
    stream.incoming = [message, encode_frames([SMALL])]
    async with open_framed_link(stream) as link:
        with pytest.raises(ValueError, match=r"^a (message|frame) "):
            await link.receive()
        assert await link.receive() == [SMALL]


# Whether the other side reads


@pytest.mark.rule("B8", "V8")
async def test_a_link_has_progressed_when_any_byte_was_taken() -> None:
    stream = ScriptedStream(can_send_nowait=True)
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
        # The message in flight waits for it, too.
        assert not link.has_progressed()
        stream.may_send.set()
        await anyio.wait_all_tasks_blocked()
        assert link.has_progressed()
        assert link.has_progressed()
