"""Whether other tasks have their turn."""

from __future__ import annotations

from typing import Any

import anyio
import anyio.lowlevel


class CountedTurns:
    """A counter of another task's turns while the block runs."""

    def __init__(self) -> None:
        self.count = 0
        self._tasks = anyio.create_task_group()

    async def __aenter__(self) -> CountedTurns:
        await self._tasks.__aenter__()
        self._tasks.start_soon(self._take_turns)
        await anyio.lowlevel.checkpoint()
        return self

    async def __aexit__(self, *exc_info: Any) -> None:
        self._tasks.cancel_scope.cancel()
        await self._tasks.__aexit__(*exc_info)

    async def _take_turns(self) -> None:
        while True:
            await anyio.lowlevel.checkpoint()
            self.count += 1
