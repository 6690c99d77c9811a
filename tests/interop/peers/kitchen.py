"""A cook and a waiter of LiveKit's Python SDK, who call each other, well and badly.

    python kitchen.py ROOM

It takes the server from LIVEKIT_URL, LIVEKIT_API_KEY and LIVEKIT_API_SECRET.
"""

import asyncio
import json
import os
import sys

from livekit import api, rtc


def token_of(identity: str) -> str:
    grants = api.VideoGrants(room_join=True, room=sys.argv[1])
    return api.AccessToken().with_identity(identity).with_grants(grants).to_jwt()


async def meet(room: rtc.Room, identity: str) -> None:
    """Wait for somebody, whom a server may announce late."""
    met = asyncio.Event()
    room.on("participant_connected", lambda who: met.set() if who.identity == identity else None)
    if identity not in room.remote_participants:
        await met.wait()


async def ask(room: rtc.Room, who: str, method: str, payload: str, limit: float = 10.0) -> str:
    """Call a method, and return its answer or its error as a line of text."""
    try:
        return await room.local_participant.perform_rpc(
            destination_identity=who, method=method, payload=payload, response_timeout=limit
        )
    except rtc.RpcError as error:
        return f"{error.code} {error.message}"


def open_kitchen(cook: rtc.Room, waiter: rtc.Room, simmering: asyncio.Event) -> None:
    async def order(data: rtc.RpcInvocationData) -> str:
        dish = json.loads(data.payload)["dish"]
        side = await ask(cook, data.caller_identity, "choose", "salad or bread?")
        return json.dumps({"dish": dish, "side": side, "for": data.caller_identity})

    async def fry(data: rtc.RpcInvocationData) -> str:
        raise rtc.RpcError(4040, f"no {data.payload} left")

    async def taste(data: rtc.RpcInvocationData) -> str:
        return str(1 / len(data.payload))

    async def simmer(data: rtc.RpcInvocationData) -> str:
        simmering.set()
        await asyncio.sleep(60)
        return "done"

    async def choose(data: rtc.RpcInvocationData) -> str:
        return data.payload.split()[0]

    for handler in (order, fry, taste, simmer):
        cook.local_participant.register_rpc_method(handler.__name__, handler)
    waiter.local_participant.register_rpc_method("choose", choose)


async def spend_evening(cook: rtc.Room, waiter: rtc.Room) -> None:
    simmering = asyncio.Event()
    open_kitchen(cook, waiter, simmering)
    await asyncio.gather(meet(cook, "waiter"), meet(waiter, "cook"))
    print(await ask(waiter, "cook", "order", json.dumps({"dish": "soup"})))
    print(await ask(waiter, "cook", "fry", "fish"))
    print(await ask(waiter, "cook", "taste", ""))
    print(await ask(waiter, "cook", "bake", "cake"))
    print(await ask(waiter, "cook", "simmer", "stock", limit=1.5))
    simmering.clear()
    last = asyncio.create_task(ask(waiter, "cook", "simmer", "stock", limit=30.0))
    await simmering.wait()
    await cook.disconnect()
    print(await last)


async def main() -> None:
    cook, waiter = rtc.Room(), rtc.Room()
    url = os.environ["LIVEKIT_URL"]
    await cook.connect(url, token_of("cook"))
    await waiter.connect(url, token_of("waiter"))
    await spend_evening(cook, waiter)
    await waiter.disconnect()


asyncio.run(main())
