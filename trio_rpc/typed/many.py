"""Calling a method of several participants at once (rule T7)."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Collection
from contextlib import asynccontextmanager
from typing import Generic, TypeVar

from .. import concurrency
from ..concurrency import ChannelEnds, ReceiveChannel
from .outcome import Outcome

R = TypeVar("R")


class Answers(Generic[R]):
    """The answers of several participants, as they come: an async iterator of identity and outcome.

    It ends when all have answered, or enough with a value.
    """

    def __init__(
        self,
        channel: ReceiveChannel[tuple[str, Outcome[R] | None]],
        count: int,
        enough: int | None,
    ) -> None:
        self._channel = channel
        self._missing = count
        self._enough = count if enough is None else enough

    def __aiter__(self) -> Answers[R]:
        return self

    async def __anext__(self) -> tuple[str, Outcome[R]]:
        while self._missing and self._enough > 0:
            identity, outcome = await self._channel.receive()
            self._missing -= 1
            if outcome is not None:
                self._enough -= outcome.ok
                return identity, outcome
        raise StopAsyncIteration


@asynccontextmanager
async def ask_many(
    identities: Collection[str],
    ask: Callable[[str], Awaitable[Outcome[R] | None]],
    enough: int | None,
) -> AsyncGenerator[Answers[R]]:
    """Ask participants during the block, and cancel the questions at its end.

    Args:
        identities: The identities of the participants.
        ask: Asks one of them; None if it is not to be counted.
        enough: The number of values that suffice; all unless given.
    """
    ends: ChannelEnds[tuple[str, Outcome[R] | None]]
    ends = concurrency.current().open_memory_channel(max(len(identities), 1))
    send_channel, receive_channel = ends

    async def ask_one(identity: str) -> None:
        send_channel.send_nowait((identity, await ask(identity)))

    async with concurrency.open_service_nursery() as nursery:
        for identity in identities:
            nursery.start_soon(ask_one, identity)
        yield Answers(receive_channel, len(identities), enough)
