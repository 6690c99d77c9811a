"""Moves that come, go, and do not read."""

from __future__ import annotations

from contextlib import suppress
from typing import Final

import anyio
from livekit.protocol import models, rtc

from trio_rpc.links import Channel, Frame, LinkClosedError

from . import forging
from .member import HostileMember
from .play import Move, Play


async def storm(play: Play) -> None:
    """Join and leave by the dozen, some with a call and some without a word."""
    victims = [each.identity for each in play.table.honest()]

    async def come_and_go(member: HostileMember, number: int) -> None:
        if number % 3 == 0:
            victim = victims[number % len(victims)]
            await member.send(
                forging.request(victim, f"storm {number}", "{}"),
                forging.stream_request(victim, f"storm stream {number}", None),
            )
        if number % 3 == 1:
            await member.send_signal(leave=rtc.LeaveRequest())

    await play.table.storm(play.random.choice((10, 30)), come_and_go)


async def crowd_that_does_not_read(play: Play) -> None:
    """Join with as many as overflow at the same packet, if nobody sees to that."""
    everybody_is_there = anyio.Event()
    missing = count = 270

    async def be_there(member: HostileMember, number: int) -> None:
        nonlocal missing
        member.stop_reading()
        missing -= 1
        if not missing:
            everybody_is_there.set()
        with anyio.move_on_after(8):
            await member.closed.wait()

    async def send() -> None:
        await everybody_is_there.wait()
        large = forging.user(play.signed().encode().ljust(30_000), topic="everybody")
        for _ in range(play.limits.max_queue_bytes // 30_000 + 20):
            await play.me.send(large)

    async with anyio.create_task_group() as nursery:
        nursery.start_soon(send)
        await play.table.storm(count, be_there)
        nursery.cancel_scope.cancel()


async def replace_itself(play: Play) -> None:
    """Join again and again under its own name."""
    me = play.me
    await play.send(*_begun(play))
    for _ in range(play.random.randint(2, 6)):
        await play.table.join_again(me)


def _begun(play: Play) -> list[models.DataPacket]:
    to = play.victim().identity
    return [
        forging.request(to, play.new_id(), play.payload(seconds=0.5)),
        forging.stream_request(to, play.new_id(), None),
        forging.header(to, stream_id=play.new_id(), topic=forging.TEXT_TOPIC),
    ]


async def leave_in_the_middle(play: Play) -> None:
    """Leave with calls and streams begun, and go on sending."""
    me = play.me
    await play.send(*_begun(play), *_begun(play))
    leave = Frame(Channel.SIGNAL, rtc.SignalRequest(leave=rtc.LeaveRequest()).SerializeToString())
    await me.send_together([*_begun(play), leave, *_begun(play)])
    await me.send_together(_begun(play))


async def vanish(play: Play) -> None:
    """End the connection with calls and streams begun, without a word."""
    await play.send(*_begun(play), *_begun(play))
    await play.me.stream.aclose("")


async def read_nothing(play: Play) -> None:
    """Read nothing any more, until the server has enough of it."""
    me = play.me
    me.stop_reading()
    friends = [each for each in play.table.members() if each is not me]
    data = forging.user(play.signed().encode().ljust(12_000), me.identity, topic="unread")
    try:
        # The server looks at each ping interval.
        with anyio.move_on_after(play.limits.read_timeout + play.limits.ping_interval + 1):
            while not me.closed.is_set():
                for friend in friends or [me]:
                    await friend.send(data)
                await me.send_signal(ping=1)
                await play.wait(0.02)
    finally:
        me.read_on()


async def read_slowly(play: Play) -> None:
    """Read a message now and then, while a friend sends more than the server keeps for one."""
    me = play.me
    friends = [each for each in play.table.members() if each is not me]
    if not friends:
        return
    friend = friends[0]
    me.stop_reading()
    data = forging.user(play.signed().encode().ljust(12_000), me.identity, topic="unread")
    total = play.limits.max_queue_bytes + 16 * 65_536 * 2 + 2**20
    sent = 0

    async def send() -> None:
        nonlocal sent
        with suppress(LinkClosedError):
            while sent < total:
                await friend.send_together([data] * 5)
                sent += 60_000

    async with anyio.create_task_group() as nursery:
        nursery.start_soon(send)
        await play.wait(1.0)
        was_held_back = sent < total
        for _ in range(30):
            me.read_on()
            await play.wait(0.05)
            me.stop_reading()
            await play.wait(0.05)
        me.read_on()
        await play.wait(0.5)
        if was_held_back and sent >= total and not me.closed.is_set():
            play.reach("B8: the sender was held back, and its receiver stayed")
        nursery.cancel_scope.cancel()


async def be_silent_too_long(play: Play) -> None:
    """Be silent for longer than the server allows."""

    async def be_silent(member: HostileMember, _number: int) -> None:
        with anyio.move_on_after(play.limits.ping_timeout + 5):
            await member.closed.wait()
        if "silent" in (member.closed_because or ""):
            play.reach("V9: a member that was silent was disconnected")

    await play.table.storm(1, be_silent)


MOVES: Final[dict[str, Move]] = {
    "joins and leaves in a storm": storm,
    "a crowd that does not read": crowd_that_does_not_read,
    "replacing itself": replace_itself,
    "leaving in the middle": leave_in_the_middle,
    "vanishing in the middle": vanish,
    "reading nothing": read_nothing,
    "reading slowly": read_slowly,
    "silence": be_silent_too_long,
}
HEAVY: Final = frozenset({"reading nothing", "reading slowly", "joins and leaves in a storm"})
#: Moves so costly that they are played once in a run at the most.
RARE: Final = frozenset({"a crowd that does not read"})
#: Moves that take up to twenty seconds.
LONG: Final = frozenset({"reading nothing", "silence", "a crowd that does not read"})
