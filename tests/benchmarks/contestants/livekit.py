"""LiveKit's Python SDK over WebRTC, through our server: at both ends, or as the callee alone."""

from __future__ import annotations

import asyncio
from typing import Final

from livekit import rtc

from ...support.tokens import make_token
from . import ours
from .base import Control, run_rounds

_BACKEND: Final = "trio"
_TIMEOUT: Final = 60.0


def server(control: Control, *, caller_is: str) -> None:
    ours.server(control, link="websocket", backend=_BACKEND)


def callee(control: Control, *, caller_is: str) -> None:
    async def main() -> None:
        room = rtc.Room()
        await room.connect(control.address, make_token("callee"))

        async def echo(data: rtc.RpcInvocationData) -> str:
            return data.payload

        room.local_participant.register_rpc_method("echo", echo)
        control.ready()
        await asyncio.Event().wait()

    asyncio.run(main())


def caller(control: Control, *, caller_is: str) -> None:
    async def main() -> None:
        room = rtc.Room()
        await room.connect(control.address, make_token("caller"))

        async def call(payload: str) -> str:
            return await room.local_participant.perform_rpc(
                destination_identity="callee",
                method="echo",
                payload=payload,
                response_timeout=_TIMEOUT,
            )

        await run_rounds(control, call)
        await room.disconnect()

    if caller_is == "ours":
        ours.caller(control, link="websocket", backend=_BACKEND)
    else:
        asyncio.run(main())
