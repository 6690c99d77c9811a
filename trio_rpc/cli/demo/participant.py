"""One participant of `trio-rpc demo`, run as a process of its own.

The participant plays its part in each scene, whose number is the room's metadata. Its reports go to
stdout as lines of JSON: a text and, for a call that has ended, its milliseconds. The same code runs
on trio and on asyncio. The environment has `LIVEKIT_URL` and `LIVEKIT_TOKEN` to join with.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final

import anyio
from attrs import define, field

from ... import ReconnectPolicy, Room, RpcError, RpcInvocationData
from ...events import Reconnected, Reconnecting, RoomMetadataChanged
from ..exits import ExitCode, end_with
from ..logs import configure_logging
from .scenes import CAST, SCENES

#: Seconds in which a participant looks for its server before it ends.
_GIVE_UP_AFTER: Final = 2.0

Handler = Callable[[RpcInvocationData], Awaitable[str | None]]


def main() -> int:
    """Run the participant that the command line names."""
    parser = argparse.ArgumentParser(prog="trio_rpc.cli.demo.participant")
    parser.add_argument("identity", choices=tuple(CAST))
    parser.add_argument("--verbose", action="store_true")
    arguments = parser.parse_args()
    identity: str = arguments.identity
    configure_logging(verbose=arguments.verbose)
    try:
        participant = Participant(identity)
        anyio.run(
            participant.play,
            os.environ["LIVEKIT_URL"],
            os.environ["LIVEKIT_TOKEN"],
            backend=CAST[identity],
        )
    except (Exception, KeyboardInterrupt, BaseExceptionGroup) as error:
        return end_with(error, f"trio-rpc demo: {identity}")
    return ExitCode.OK


def report(text: str, milliseconds: float | None = None) -> None:
    """Send the demo a report."""
    print(json.dumps({"text": text, "milliseconds": milliseconds}), flush=True)


@define(eq=False)
class Participant:
    """A participant that joins, answers calls, and makes its own when the scene has some."""

    identity: str
    room: Room = field(factory=Room)
    leaving: anyio.Event = field(init=False)

    async def play(self, url: str, token: str) -> None:
        """Join, play all scenes, and leave."""
        self.leaving = anyio.Event()
        for method in ("greet", "multiply", "book", "confirm", "pay", "think", "endure", "leave"):
            handler: Handler = getattr(self, method)
            self.room.register_rpc_method(method, partial(_reported, method, handler))
        # Without its server the demo is over, and so are its participants, soon.
        policy = ReconnectPolicy(give_up_after=_GIVE_UP_AFTER)
        async with self.room.connect(url, token, reconnect=policy):
            report(f"is in room {self.room.name!r}")
            for number, scene in enumerate(SCENES, 1):
                await self._wait_for_scene(number)
                if scene.caller == self.identity:
                    await self._call(
                        scene.callee, scene.method, scene.payload, scene.response_timeout
                    )
            if SCENES[-1].callee == self.identity:
                await self.leaving.wait()

    async def _wait_for_scene(self, number: int) -> None:
        async with self.room.events(RoomMetadataChanged) as events:
            while int(self.room.metadata or 0) < number:
                await anext(events)

    async def _call(
        self, callee: str, method: str, payload: str, response_timeout: float = 10.0
    ) -> str:
        report(f"calls {callee}: {method}({payload!r})")
        started = anyio.current_time()
        result, seen = "", ""
        try:
            result = await self.room.local_participant.perform_rpc(
                destination_identity=callee,
                method=method,
                payload=payload,
                response_timeout=response_timeout,
            )
            seen = f"gets {result!r}"
        except RpcError as error:
            seen = f"gets error {_in_words(error)}"
        report(seen, 1000 * (anyio.current_time() - started))
        return result

    # The methods

    async def greet(self, data: RpcInvocationData) -> str:
        return f"Good morning, {data.caller_identity}!"

    async def multiply(self, data: RpcInvocationData) -> str:
        first, second = json.loads(data.payload)["factors"]
        return json.dumps({"product": first * second})

    async def book(self, data: RpcInvocationData) -> str:
        answer = await self._call(data.caller_identity, "confirm", f"{data.payload} for 30 euros?")
        return f"booked: {data.payload}" if answer == "yes" else "not booked"

    async def confirm(self, _data: RpcInvocationData) -> str:
        return "yes"

    async def pay(self, _data: RpcInvocationData) -> str:
        raise RpcError(402, "Not enough money", json.dumps({"missing": 70}))

    async def think(self, _data: RpcInvocationData) -> None:
        await anyio.sleep_forever()

    async def endure(self, _data: RpcInvocationData) -> str:
        async with self.room.events(Reconnecting, Reconnected) as events:
            await self.room.simulate_scenario("signal-reconnect")
            await anext(events)
            report("loses the connection")
            event = await anext(events)
            assert isinstance(event, Reconnected)
            report(f"has another one, and is in {'the same' if event.resumed else 'a new'} session")
        return "still here"

    async def leave(self, _data: RpcInvocationData) -> None:
        report("leaves the room")
        self.leaving.set()
        await anyio.sleep_forever()


async def _reported(name: str, handler: Handler, data: RpcInvocationData) -> str | None:
    """Run a handler, and report its outcome."""
    try:
        result = await handler(data)
    except RpcError as error:
        report(f"{name} raises {_in_words(error)}")
        raise
    except anyio.get_cancelled_exc_class():
        report(f"{name} is cancelled")
        raise
    report(f"{name} answers {result!r}")
    return result


def _in_words(error: RpcError) -> str:
    text = f"{error.code} {error.message}"
    # The data of a built-in error is not always the same, and says more than is needed here.
    return text if error.code in RpcError.ErrorMessage else f"{text}, data {error.data}"


if __name__ == "__main__":
    sys.exit(main())
