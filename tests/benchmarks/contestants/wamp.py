"""Routed calls of WAMP: autobahn's clients on a crossbar router."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

from autobahn.asyncio.component import Component

from .base import Control, free_port, run_rounds

_REALM: Final = "benchmarks"
_PROCEDURE: Final = "benchmarks.echo"


def server(control: Control) -> None:
    port = free_port()
    # In the folder that the process runs in, which is its own.
    Path("config.json").write_text(json.dumps(configuration(port)))
    crossbar = str(Path(sys.executable).with_name("crossbar"))
    control.become(f"ws://127.0.0.1:{port}/ws", crossbar, "start", "--cbdir", str(Path.cwd()))


def callee(control: Control) -> None:
    async def echo(payload: str) -> str:
        return payload

    async def answer(session: Any) -> None:
        await session.register(echo, _PROCEDURE)
        control.ready()

    asyncio.run(join(control.address, answer))


def caller(control: Control) -> None:
    async def call_in_rounds(session: Any) -> None:
        async def call(payload: str) -> str:
            answer: str = await session.call(_PROCEDURE, payload)
            return answer

        await run_rounds(control, call)
        await session.leave()

    asyncio.run(join(control.address, call_in_rounds))


async def join(address: str, joined: Callable[[Any], Awaitable[None]]) -> None:
    transport = {
        "type": "websocket",
        "url": address,
        # Until crossbar listens.
        "max_retries": -1,
        "initial_retry_delay": 0.5,
        "max_retry_delay": 0.5,
    }
    component = Component(transports=[transport], realm=_REALM)

    async def on_join(session: Any, _details: Any) -> None:
        await joined(session)

    component.on_join(on_join)
    await component.start(loop=asyncio.get_running_loop())


def configuration(port: int) -> dict[str, Any]:
    """Return the configuration of a router with one realm, in which everybody may do everything."""
    permission = {
        "uri": "",
        "match": "prefix",
        "allow": {"call": True, "register": True, "publish": True, "subscribe": True},
    }
    role = "anonymous"
    router = {
        "type": "router",
        "realms": [{"name": _REALM, "roles": [{"name": role, "permissions": [permission]}]}],
        "transports": [
            {
                "type": "websocket",
                "endpoint": {"type": "tcp", "interface": "127.0.0.1", "port": port},
                "auth": {"anonymous": {"type": "static", "role": role}},
            }
        ],
    }
    return {"version": 2, "controller": {}, "workers": [router]}
