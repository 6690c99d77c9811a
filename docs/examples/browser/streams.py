"""A backend whose methods stream to a page, and which takes the streams of a page."""

import itertools
import os
import sys
from collections.abc import AsyncIterator
from typing import Protocol

import attrs
import trio

from trio_rpc import AccessToken, CallContext, Room, RpcError, VideoGrants

room = Room()


@attrs.frozen
class Temperature:
    pan: str
    celsius: int


@attrs.frozen
class Taste:
    dish: str
    spoon: int


class Page(Protocol):
    """The methods of the page."""

    def taste(self, dish: str) -> AsyncIterator[Taste]: ...
    async def serve(self, guests: int) -> int: ...


@room.method
async def watch(pan: str) -> AsyncIterator[Temperature]:
    """Measure a pan for ever."""
    try:
        for celsius in itertools.count(20):
            yield Temperature(pan, celsius)
            await trio.sleep(0.1)
    finally:
        print(f"Nobody watches {pan} any more", flush=True)


@room.method
async def bake(minutes: int, call: CallContext) -> str:
    """Bake bread."""
    for minute in range(1, minutes + 1):
        await trio.sleep(0.1)
        await call.progress(minute / minutes, f"minute {minute}")
    return f"Bread for {call.caller_identity}"


async def ask_page() -> None:
    def report(progress: float, message: str) -> None:
        print(f"{progress:.0%}: {message}", flush=True)

    async with room.stream(Page.taste, "page", dish="soup", timeout=600) as tastes:
        async for taste in tastes:
            print(f"Spoon {taste.spoon} of {taste.dish}", flush=True)
            if taste.spoon == 3:
                break
    page = room.client(Page, "page", timeout=600, on_progress=report)
    print("Served", await page.serve(guests=2), flush=True)


async def main() -> None:
    grants = VideoGrants(room_join=True, room="demo")
    token = AccessToken().with_identity("backend").with_grants(grants).to_jwt()
    async with room.connect(os.environ["LIVEKIT_URL"], token):
        print("Joined", flush=True)
        if "--ask" in sys.argv:
            await room.wait_for_participant("page")
            try:
                await ask_page()
            except RpcError as error:
                print(error, flush=True)
        else:
            await trio.sleep_forever()


trio.run(main)
