"""The contract of links, checked on each kind."""

from __future__ import annotations

from collections.abc import Callable

import anyio
import pytest

from trio_rpc.links import Channel, Frame, Link, LinkClosedError, LinkFullError

from .conftest import Ends, websocket_ends

pytestmark = pytest.mark.anyio


def reliable(number: int, size: int = 8) -> Frame:
    """Return a frame that its number identifies."""
    return Frame(Channel.RELIABLE, number.to_bytes(8, "big") * (size // 8))


def number_of(frame: Frame) -> int:
    return int.from_bytes(frame.body[:8], "big")


async def receive_frames(link: Link, count: int) -> list[Frame]:
    frames: list[Frame] = []
    while len(frames) < count:
        frames += await link.receive()
    return frames


async def receive_rest(link: Link) -> tuple[list[Frame], str]:
    """Receive all frames until the end, and return them with its reason."""
    frames: list[Frame] = []
    while True:
        try:
            frames += await link.receive()
        except LinkClosedError as error:
            return frames, str(error)


async def end(ends: Ends, reason: str = "") -> tuple[list[Frame], str]:
    """Close the near end, which waits for the far end to know."""
    async with anyio.create_task_group() as task_group:
        task_group.start_soon(ends.near.aclose, reason)
        return await receive_rest(ends.far)
    raise AssertionError


def fill(link: Link) -> int:
    """Queue frames until no more are taken; returns how many were.

    They are large, since the first of many frames leave at once.
    """
    count = 0
    while True:
        try:
            link.send_nowait(reliable(count, size=200_000))
        except LinkFullError:
            return count
        count += 1


async def fill_for_good(link: Link) -> int:
    """Queue frames until what lies between the ends is full as well."""
    count = stuck_at = 0
    while count < 2_000:
        try:
            link.send_nowait(reliable(count, size=64_000))
            count += 1
        except LinkFullError:
            with anyio.move_on_after(0.5) as scope:
                await link.wait_writable()
            if scope.cancelled_caught:
                # The writer may have taken a message out of the queue meanwhile.
                if count == stuck_at:
                    return count
                stuck_at = count
    raise AssertionError("a peer that does not read was sent without end")


# Delivery


@pytest.mark.real_time
@pytest.mark.rule("P1")
async def test_frames_arrive_in_order_on_all_channels(ends: Ends) -> None:
    channels = [*Channel] * 20
    frames = [Frame(channel, b"%d" % index) for index, channel in enumerate(channels)]
    for frame in frames:
        ends.near.send_nowait(frame)
    assert await receive_frames(ends.far, len(frames)) == frames


@pytest.mark.real_time
async def test_frames_that_are_sent_one_by_one_arrive_in_order(ends: Ends) -> None:
    async def send() -> None:
        for index in range(200):
            ends.near.send_nowait(reliable(index))
            if index % 3 == 0:
                await anyio.lowlevel.checkpoint()

    async with anyio.create_task_group() as task_group:
        task_group.start_soon(send)
        frames = await receive_frames(ends.far, 200)
    assert [number_of(frame) for frame in frames] == [*range(200)]


@pytest.mark.real_time
async def test_both_directions_are_independent(ends: Ends) -> None:
    for index in range(100):
        ends.near.send_nowait(reliable(index))
        ends.far.send_nowait(reliable(1000 + index))
    to_near = await receive_frames(ends.near, 100)
    to_far = await receive_frames(ends.far, 100)
    assert [number_of(frame) for frame in to_far] == [*range(100)]
    assert [number_of(frame) for frame in to_near] == [*range(1000, 1100)]


@pytest.mark.real_time
@pytest.mark.parametrize("size", [0, 1, 127, 128, 16_383, 16_384, 64_000, 64 * 1024, 500_000])
async def test_a_body_of_any_size_arrives_as_it_was(ends: Ends, size: int) -> None:
    frame = Frame(Channel.LOSSY, bytes(index % 251 for index in range(size)))
    ends.near.send_nowait(frame)
    ends.near.send_nowait(Frame(Channel.SIGNAL, b"next"))
    assert await receive_frames(ends.far, 2) == [frame, Frame(Channel.SIGNAL, b"next")]


@pytest.mark.real_time
@pytest.mark.rule("B7")
async def test_what_is_queued_in_one_tick_is_received_in_slices(ends: Ends) -> None:
    frames = [reliable(index) for index in range(500)]
    for frame in frames:
        ends.near.send_nowait(frame)
    slices = [await ends.far.receive() for _ in range(16)]
    assert [len(each) for each in slices] == [32] * 15 + [20]
    assert [frame for each in slices for frame in each] == frames


@pytest.mark.real_time
async def test_cancelling_receive_loses_nothing(ends: Ends) -> None:
    received: list[Frame] = []

    async def receive_impatiently() -> None:
        patience = 0
        while len(received) < 300:
            # Cancelled after a growing number of steps of the event loop, from none on.
            patience = (patience + 1) % 12
            async with anyio.create_task_group() as task_group:
                task_group.start_soon(cancel_after, patience, task_group.cancel_scope.cancel)
                received.extend(await ends.far.receive())
                task_group.cancel_scope.cancel()

    async def cancel_after(steps: int, cancel: Callable[[], None]) -> None:
        for _ in range(steps):
            await anyio.lowlevel.checkpoint()
        cancel()

    async with anyio.create_task_group() as task_group:
        task_group.start_soon(receive_impatiently)
        for index in range(300):
            ends.near.send_nowait(reliable(index))
            await anyio.lowlevel.checkpoint()
    assert [number_of(frame) for frame in received] == [*range(300)]


# A full queue


@pytest.mark.real_time
@pytest.mark.rule("V8")
async def test_a_full_queue_refuses_until_the_other_side_reads(ends: Ends) -> None:
    count = await fill_for_good(ends.near)
    with pytest.raises(LinkFullError, match=r"^4,1\d\d,\d{3} bytes wait to be sent, of 4,194,304$"):
        ends.near.send_nowait(reliable(count, size=64_000))
    frames: list[Frame] = []
    async with anyio.create_task_group() as task_group:

        async def read() -> None:
            frames.extend(await receive_frames(ends.far, count + 1))

        task_group.start_soon(read)
        await ends.near.wait_writable()
        ends.near.send_nowait(reliable(count, size=64_000))
    assert [number_of(frame) for frame in frames] == [*range(count + 1)]
    assert {len(frame.body) for frame in frames} == {64_000}


@pytest.mark.real_time
async def test_a_lossy_frame_is_dropped_when_the_queue_is_half_full(ends: Ends) -> None:
    for index in range(25):
        ends.near.send_nowait(Frame(Channel.LOSSY, reliable(index, size=128_000).body))
    ends.near.send_nowait(reliable(1000))
    frames = await receive_frames(ends.far, 17)
    # Sixteen times 128,006 bytes are the last to fit into half of 4 MiB.
    assert [number_of(frame) for frame in frames] == [*range(16), 1000]


@pytest.mark.real_time
async def test_the_queue_can_be_discarded_for_a_final_response(ends: Ends) -> None:
    queued = fill(ends.near)
    assert queued == 20
    ends.near.discard_queued()
    ends.near.send_nowait(reliable(1000))
    frames, _ = await end(ends)
    assert [number_of(frame) for frame in frames] == [1000]


# The end


@pytest.mark.real_time
async def test_what_was_queued_before_the_end_arrives(ends: Ends) -> None:
    for index in range(100):
        ends.near.send_nowait(reliable(index, size=8_000))
    frames, reason = await end(ends, "enough of it")
    assert [number_of(frame) for frame in frames] == [*range(100)]
    assert reason.endswith("enough of it")


@pytest.mark.real_time
async def test_both_ends_know_the_end_each_time_that_they_ask(ends: Ends) -> None:
    await end(ends, "enough of it")
    reasons = set()
    for link in (ends.far, ends.near) * 3:
        with pytest.raises(LinkClosedError) as caught:
            await link.receive()
        reasons.add((link is ends.near, str(caught.value)))
    assert len(reasons) == 2


@pytest.mark.real_time
async def test_nothing_can_be_sent_after_the_end(ends: Ends) -> None:
    await end(ends, "enough of it")
    with pytest.raises(LinkClosedError, match=r"^the link was closed here: enough of it$"):
        ends.near.send_nowait(reliable(1))


@pytest.mark.real_time
async def test_nothing_can_be_sent_once_the_end_was_received(ends: Ends) -> None:
    _, received = await end(ends, "enough of it")
    with pytest.raises(LinkClosedError) as sent:
        ends.far.send_nowait(reliable(1))
    assert str(sent.value) == received


@pytest.mark.real_time
async def test_closing_again_is_no_error(ends: Ends) -> None:
    await end(ends)
    await ends.near.aclose("again")
    await ends.far.aclose("me too")
    await ends.far.aclose()
    await ends.near.aclose()


@pytest.mark.real_time
async def test_both_ends_may_close_at_the_same_time(ends: Ends) -> None:
    async with anyio.create_task_group() as task_group:
        for _ in range(2):
            task_group.start_soon(ends.near.aclose, "this side")
            task_group.start_soon(ends.far.aclose, "that side")
    for link in (ends.near, ends.far):
        with pytest.raises(LinkClosedError):
            await link.receive()


@pytest.mark.real_time
async def test_a_websocket_whose_peer_does_not_read_closes_all_the_same() -> None:
    async with websocket_ends() as (client, server):
        await fill_for_good(client)
        await client.aclose()
        with pytest.raises(LinkClosedError):
            client.send_nowait(reliable(1))
        await server.aclose()


@pytest.mark.real_time
async def test_a_cancelled_owner_still_closes_after_what_it_has_queued(ends: Ends) -> None:
    for index in range(60):
        ends.near.send_nowait(reliable(index, size=64_000))
    async with anyio.create_task_group() as task_group:

        async def close_cancelled() -> None:
            with anyio.CancelScope() as scope:
                scope.cancel()
                await ends.near.aclose("cancelled")

        task_group.start_soon(close_cancelled)
        frames, _ = await receive_rest(ends.far)
    assert [number_of(frame) for frame in frames] == [*range(60)]
    assert {len(frame.body) for frame in frames} == {64_000}
