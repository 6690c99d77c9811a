"""The server's side of the signalling link: hostile members of a room with honest ones."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final

import anyio
import anyio.lowlevel
from attrs import define, field
from livekit.protocol import rtc

from trio_rpc import RpcError
from trio_rpc.concurrency import Nursery, open_service_nursery
from trio_rpc.links import Frame, Link, LinkClosedError, LinkFullError
from trio_rpc.links.frames import decode_frames
from trio_rpc.server import RoomServer

from ..support.clients import CURRENT, OLD
from ..support.tokens import ROOM
from .choices import Choices, messages
from .forgery import METHODS, Forger, seen_ids
from .honest import call_anyhow, token
from .target import Arena, Attack, require
from .venue import LIMITS, Venue

#: The grants of those who mean no good.
_GRANTS: Final[dict[str, dict[str, bool]]] = {
    "mallory": {"can_update_own_metadata": True},
    "eve": {"hidden": True},
    "trent": {"can_publish_data": False},
}
_IDENTITIES: Final = ("alice", "bob", *_GRANTS, "nobody", "")
_MAX_JOINS: Final = 6
_MAX_CALLS: Final = 16


@define(eq=False)
class Hostile:
    """A member that sends what it likes.

    Attributes:
        ids: Ids of requests that it was sent, in order.
    """

    link: Link
    ids: list[str] = field(factory=list)

    async def read(self) -> None:
        """Take what comes until the link ends."""
        try:
            while True:
                for frame in await self.link.receive():
                    self.ids += seen_ids(frame)
        except LinkClosedError:
            pass

    async def send(self, frames: Iterable[Frame]) -> None:
        """Send frames, as far as the member takes them."""
        for frame in frames:
            try:
                self.link.send_nowait(frame)
            except LinkFullError:
                await self.link.wait_writable()
            except LinkClosedError:
                return
        self.link.flush_nowait()


@asynccontextmanager
async def hostile(
    server: RoomServer, identity: str, *, old: bool = False
) -> AsyncIterator[Hostile]:
    """Be a hostile member while the block runs."""
    pass_ = token(identity, **_GRANTS[identity])
    async with (
        server.open_link(pass_, rtc.JoinRequest(client_info=OLD if old else CURRENT)) as link,
        open_service_nursery() as nursery,
    ):
        member = Hostile(link)
        nursery.start_soon(member.read)
        yield member


def _arena(play: Callable[[Venue, bytes], Awaitable[None]]) -> Arena:
    @asynccontextmanager
    async def open_arena() -> AsyncIterator[Attack]:
        async with Venue.open() as venue:

            async def attack(data: bytes) -> None:
                await play(venue, data)
                await venue.check()

            yield attack

    return open_arena


async def _play_frames(venue: Venue, data: bytes) -> None:
    async with hostile(venue.server, "mallory") as mallory:
        for message in messages(data):
            try:
                await mallory.send(decode_frames(message))
            except ValueError:
                continue
            await anyio.lowlevel.checkpoint()


async def _play(venue: Venue, data: bytes) -> None:
    choices = Choices(data)
    joins = calls = 0
    async with open_service_nursery() as nursery, AsyncExitStack() as stack:
        members: dict[str, tuple[Hostile, Forger]] = {}
        while choices:
            kind = choices.below(16)
            identity = choices.one_of(("mallory", "mallory", *_GRANTS))
            if kind == 12 and identity in members:
                await members.pop(identity)[0].link.aclose()
            elif kind == 13:
                await anyio.sleep(choices.one_of((0, 0.1, 1, 31)))
            elif kind >= 14 and calls < _MAX_CALLS:
                calls += 1
                _start_call(venue, nursery, identity, choices, by_server=kind == 15)
            elif identity in members:
                member, forger = members[identity]
                await member.send(forger.frames())
                if choices.flag():
                    await anyio.lowlevel.checkpoint()
            elif joins < _MAX_JOINS:
                joins += 1
                old = choices.below(4) == 3
                member = await stack.enter_async_context(hostile(venue.server, identity, old=old))
                members[identity] = member, Forger(choices, _IDENTITIES, member.ids)
        await anyio.lowlevel.checkpoint()


def _start_call(
    venue: Venue, nursery: Nursery, identity: str, choices: Choices, *, by_server: bool
) -> None:
    method = choices.one_of(METHODS[:-1])
    if by_server:
        nursery.start_soon(_call_by_server, venue.server, identity, method)
    else:
        nursery.start_soon(call_anyhow, venue.alice, identity, method)


async def _call_by_server(server: RoomServer, identity: str, method: str) -> None:
    try:
        response = await server.perform_rpc(ROOM, identity, method, "hi", 5)
    except RpcError:
        return
    require(len(response.encode()) <= LIMITS.max_message_bytes, "the server took a larger response")


#: Frames as they come over a link; the input is messages.
member_frames: Final = _arena(_play_frames)
#: Members that come, call, are called, and go; the input is choices.
members: Final = _arena(_play)
