"""Participants of LiveKit's Python SDK; commands on standard input."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable, Coroutine
from typing import Any

from livekit import rtc

from .participant import Participant, write

TASKS: set[asyncio.Task[None]] = set()


def start_soon(function: Callable[..., Coroutine[Any, Any, None]], *arguments: Any) -> None:
    task = asyncio.create_task(function(*arguments))
    TASKS.add(task)
    task.add_done_callback(TASKS.discard)


class LiveKitParticipant(Participant):
    def __init__(self, identity: str) -> None:
        super().__init__(identity, rtc, rtc.Room(), start_soon, asyncio.Event().wait, asyncio.sleep)

    async def do_join(self, url: str, token: str) -> None:
        await self.room.connect(url, token)
        self.register_methods(self.room.local_participant)
        for identity in self.room.remote_participants:
            self.report("sees", who=identity)

    async def do_leave(self) -> None:
        await self.room.disconnect()


async def main() -> None:
    participants: dict[str, LiveKitParticipant] = {}

    async def run(id: int, participant: str, do: str, **arguments: Any) -> None:  # noqa: A002
        if do == "join":
            participants[participant] = LiveKitParticipant(participant)
        write(id=id, **await participants[participant].obey(do, arguments))

    async def obey(line: str) -> None:
        await run(**json.loads(line))

    while line := await asyncio.to_thread(sys.stdin.readline):
        start_soon(obey, line)
    for participant in participants.values():
        await participant.do_leave()


asyncio.run(main())
