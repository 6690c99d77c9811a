"""Participants of trio_rpc: `ours trio` or `ours asyncio`; commands on standard input."""

from __future__ import annotations

import json
import sys
from typing import Any

import anyio
from anyio.abc import TaskGroup, TaskStatus

import trio_rpc

from .participant import Participant, write

#: Above it, our side of a call refuses to send.
MAX_PAYLOAD_BYTES = 100_000


class OurParticipant(Participant):
    def __init__(self, identity: str, nursery: TaskGroup) -> None:
        room = trio_rpc.Room(max_payload_bytes=MAX_PAYLOAD_BYTES)
        waits = anyio.sleep_forever, anyio.sleep
        super().__init__(identity, trio_rpc, room, nursery.start_soon, *waits)
        self.register_methods(room)
        self._nursery = nursery
        self._leaving = anyio.Event()
        self._left = anyio.Event()

    async def do_join(self, url: str, token: str) -> None:
        await self._nursery.start(self._run_session, url, token)

    async def _run_session(self, url: str, token: str, *, task_status: TaskStatus[None]) -> None:
        try:
            async with self.room.connect(url, token, on_disconnect="continue"):
                for identity in self.room.remote_participants:
                    self.report("sees", who=identity)
                task_status.started()
                await self._leaving.wait()
        finally:
            self._left.set()

    async def do_leave(self) -> None:
        self._leaving.set()
        await self._left.wait()


async def main() -> None:
    participants: dict[str, OurParticipant] = {}

    async def run(id: int, participant: str, do: str, **arguments: Any) -> None:  # noqa: A002
        if do == "join":
            participants[participant] = OurParticipant(participant, nursery)
        write(id=id, **await participants[participant].obey(do, arguments))

    async def obey(line: str) -> None:
        await run(**json.loads(line))

    async with anyio.create_task_group() as nursery:
        async for line in anyio.wrap_file(sys.stdin):
            nursery.start_soon(obey, line)
        nursery.cancel_scope.cancel()


anyio.run(main, backend=sys.argv[1])
