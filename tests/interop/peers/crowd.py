"""Many participants of LiveKit's Python SDK, who call each other, leave and come back.

It takes one command, `run`, and answers it with what happened.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
from collections import Counter
from typing import Any

from livekit import rtc

from .participant import write

#: Seconds that a participant rests between two calls, at most: the load is to be moderate.
REST = 1.0
#: How likely a participant leaves and comes back rather than making another call.
RESTLESSNESS = 0.02
#: What a call may fail with whose callee left meanwhile, or is coming back. Of whom it does not
#: know any more, the SDK does not know either that they take large payloads; and who comes can
#: register methods only when it is there.
MISSED = (
    rtc.RpcError.ErrorCode.UNSUPPORTED_METHOD,
    rtc.RpcError.ErrorCode.RECIPIENT_NOT_FOUND,
    rtc.RpcError.ErrorCode.RECIPIENT_DISCONNECTED,
    rtc.RpcError.ErrorCode.REQUEST_PAYLOAD_TOO_LARGE,
)


class Member:
    def __init__(self, crowd: Crowd, identity: str, token: str) -> None:
        self.identity = identity
        #: Counts its joins and leaves; odd while it is in the room.
        self.moves = 0
        self._crowd = crowd
        self._token = token
        self._room = rtc.Room()

    async def join(self) -> None:
        self._room = rtc.Room()
        await self._room.connect(self._crowd.url, self._token)
        self._room.local_participant.register_rpc_method("echo", self._echo)
        self.moves += 1
        self._crowd.count["joins"] += 1

    async def leave(self) -> None:
        self.moves += 1
        await self._room.disconnect()

    async def _echo(self, data: rtc.RpcInvocationData) -> str:
        return data.payload

    async def live(self) -> None:
        numbers = self._crowd.numbers
        while self._crowd.goes_on:
            if numbers.random() < RESTLESSNESS:
                await self.leave()
                await self.join()
            else:
                await self._call(numbers.choice(self._crowd.members))
            await asyncio.sleep(numbers.random() * REST)

    async def _call(self, callee: Member) -> None:
        if callee is self or callee.identity not in self._room.remote_participants:
            return
        moves = callee.moves
        payload = "x" * self._crowd.numbers.choice((10, 1_000, 40_000))
        count = self._crowd.count
        try:
            answer = await self._room.local_participant.perform_rpc(
                destination_identity=callee.identity, method="echo", payload=payload
            )
        except rtc.RpcError as error:
            is_same = callee.moves == moves and moves % 2 == 1
            expected = error.code in MISSED and not is_same
            count["missed" if expected else f"failed with {error.code}"] += 1
        else:
            count["answered" if answer == payload else "answered wrongly"] += 1


class Crowd:
    def __init__(self, url: str, tokens: dict[str, str]) -> None:
        self.url = url
        self.members = [Member(self, identity, token) for identity, token in tokens.items()]
        self.count: Counter[str] = Counter()
        self.numbers = random.Random(len(tokens))
        self.goes_on = True

    async def run(self, seconds: float) -> dict[str, int]:
        for member in self.members:
            await member.join()
        write(participant="crowd", event="joined")
        living = [asyncio.create_task(member.live()) for member in self.members]
        await asyncio.sleep(seconds)
        self.goes_on = False
        await asyncio.gather(*living)
        write(participant="crowd", event="done")
        # The test looks at the server while everybody is there.
        await asyncio.to_thread(sys.stdin.readline)
        for member in self.members:
            await member.leave()
        return dict(self.count)


async def main() -> None:
    command: dict[str, Any] = json.loads(await asyncio.to_thread(sys.stdin.readline))
    crowd = Crowd(command["url"], command["tokens"])
    write(id=command["id"], result=await crowd.run(command["seconds"]))


asyncio.run(main())
