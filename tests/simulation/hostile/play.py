"""The surroundings of a move: the calls and members that it may use."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from random import Random
from typing import Protocol

import anyio
from attrs import define, frozen
from livekit.protocol import models

from trio_rpc.server import ServerLimits

from ..hostile_causes import signature
from ..scenario import Profile
from ..sometimes import Sometimes
from .member import HostileMember


@frozen
class KnownCall:
    """A call of an honest participant, of which the adversaries know the id."""

    request_id: str
    caller: str
    callee: str


class Table(Protocol):
    """The common part of all plays.

    Attributes:
        known_calls: Calls that were seen last, the newest at the end.
    """

    sometimes: Sometimes
    known_calls: deque[KnownCall]

    def honest(self) -> Sequence[Profile]:
        """Return the honest participants who are in the room."""
        ...

    def members(self) -> Sequence[HostileMember]:
        """Return the adversaries who are in the room and may send."""
        ...

    async def storm(
        self, count: int, play: Callable[[HostileMember, int], Awaitable[None]]
    ) -> None:
        """Have many join at once under names of their own, each to play and leave."""
        ...

    async def join_again(self, member: HostileMember) -> None:
        """Join with the identity of a participant of the room, and leave."""
        ...

    def new_number(self) -> int:
        """Return a number that no play had before."""
        ...


@define
class Play:
    """One move, played by one adversary.

    Attributes:
        random: All that the move leaves to chance.
        limits: Those of the server.
    """

    me: HostileMember
    table: Table
    random: Random
    limits: ServerLimits

    def victim(self, wanted: Callable[[Profile], bool] = lambda _profile: True) -> Profile:
        """Return an honest participant, if possible one as wanted."""
        present = self.table.honest()
        return self.random.choice([each for each in present if wanted(each)] or list(present))

    def narrow(self) -> Profile:
        """Return an honest participant who runs few handlers at a time, if there is one."""
        return self.victim(lambda profile: profile.max_concurrent_handlers < 1000)

    def reach(self, fact: str) -> None:
        """Note that a fact has come about."""
        self.table.sometimes.reach(fact)

    def new_id(self) -> str:
        """Return an id for a request or a stream of this play's own."""
        return f"{self.me.identity}/{self.table.new_number()}"

    def payload(self, *, seconds: float = 0.0, answer: int = 0, cancelled: bool = False) -> str:
        """Return the payload of a call to an honest participant.

        Args:
            seconds: How long its handler is to take.
            answer: How many bytes its answer has at least.
            cancelled: Whether the handler must not come to its end.
        """
        return json.dumps(
            {
                "by": self.me.identity,
                "session": self.me.sid,
                "seconds": seconds,
                "answer": answer,
                "cancelled": cancelled,
            }
        )

    def signed(self) -> str:
        """Return words by which all is known that this adversary sends."""
        return signature(self.me.identity)

    async def send(self, *packets: models.DataPacket) -> None:
        """Send packets one by one, each with its number."""
        await self.me.send(*map(self.me.numbered, packets))

    async def send_together(self, *packets: models.DataPacket) -> None:
        """Send packets in one message, each with its number."""
        await self.me.send_together(map(self.me.numbered, packets))

    async def wait(self, seconds: float) -> None:
        """Let time pass."""
        await anyio.sleep(seconds)


Move = Callable[[Play], Awaitable[None]]
