"""A participant that collects the streams it is sent."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
from attrs import define, field

from trio_rpc import Room, StreamError

from ..support.scripted_server import ScriptedServer
from ..support.stream_packets import peer, server_with


@define(eq=False)
class Collected:
    """A handler that reads every stream to its end.

    Attributes:
        outcomes: What `read_all` returned or raised, by the id of the stream.
    """

    outcomes: dict[str, str | bytes | StreamError] = field(factory=dict)
    readers: dict[str, Any] = field(factory=dict)
    key: Callable[[Any, str], str] = lambda reader, _sender: reader.info.stream_id
    _changed: anyio.Event | None = None

    async def __call__(self, reader: Any, sender: str) -> None:
        key = self.key(reader, sender)
        self.readers[key] = reader
        try:
            self.outcomes[key] = await reader.read_all()
        except StreamError as error:
            self.outcomes[key] = error
        if self._changed is not None:
            self._changed.set()

    async def outcome(self, key: str) -> str | bytes | StreamError:
        """Wait for the outcome of a stream."""
        while key not in self.outcomes:
            self._changed = anyio.Event()
            await self._changed.wait()
        return self.outcomes[key]

    async def failure(self, key: str = "S") -> str:
        """Wait for the failure of a stream, and return its text."""
        outcome = await self.outcome(key)
        assert isinstance(outcome, StreamError), outcome
        return str(outcome)


@asynccontextmanager
async def collecting(**limits: Any) -> AsyncIterator[tuple[Room, ScriptedServer, Collected]]:
    """Alice, who collects the texts of topic "notes"."""
    server, room, collected = server_with(peer("bob"), peer("carol")), Room(**limits), Collected()
    room.register_text_stream_handler("notes", collected)
    async with room.connect(server, "a token", reconnect=None):
        yield room, server, collected
