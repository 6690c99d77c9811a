"""Changes of a list of tools, which are told at once, and then not too often."""

from __future__ import annotations

import math
from collections.abc import Generator
from contextlib import contextmanager
from typing import Final

import anyio
import anyio.lowlevel
from mcp.client.session import IncomingMessage
from mcp_types import ToolListChangedNotification

#: Seconds between two changes that are told: further ones are told as one.
_PAUSE: Final = 1.0


class Changes:
    """Changes that one task waits for: the first at once, and then one a second at most."""

    def __init__(self) -> None:
        self._changed = anyio.Event()
        self._earliest = -math.inf

    def note(self) -> None:
        """Record a change."""
        self._changed.set()

    async def wait(self) -> None:
        """Wait for changes since the last time."""
        await self._changed.wait()
        await anyio.sleep_until(self._earliest)
        self._changed = anyio.Event()
        self._earliest = anyio.current_time() + _PAUSE


class ToolChanges:
    """The message handler of an MCP client, by which `mount` hears of changed tools.

        changes = ToolChanges()
        async with (
            Client(server, message_handler=changes) as client,
            mount(room, client, changes=changes),
        ):
            ...

    Servers of the protocol 2026-07-28 tell `mount` without it. Those of earlier versions tell the
    message handler of the client alone. A program with a handler of its own calls this one in it.
    """

    def __init__(self) -> None:
        self._noted_by: list[Changes] = []

    async def __call__(self, message: IncomingMessage) -> None:
        """Take a message of the server; others than of changed tools are ignored."""
        if isinstance(message, ToolListChangedNotification):
            for each in self._noted_by:
                each.note()
        await anyio.lowlevel.checkpoint()

    @contextmanager
    def noted_by(self, changes: Changes) -> Generator[None]:
        """Note the changes of the tools in `changes`, for the block."""
        self._noted_by.append(changes)
        try:
            yield
        finally:
            self._noted_by.remove(changes)
