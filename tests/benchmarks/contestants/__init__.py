"""The contestants; for each kind a module with its server, callee and caller.

Such a module has the functions `server`, `callee` and `caller`. It is imported in the processes of
its contestants alone, where what it imports is installed.
"""

from __future__ import annotations

from typing import Final

from .base import Contestant

_ACK_AND_RESPONSE: Final = "ack of the callee, then the response"
_OURS: Final = (
    "Routed by identity and checked against permissions; a timeout over the call and another "
    "around the handler. Text over 15,000 bytes is compressed where that helps."
)


def _ours(link: str, backend: str, title: str) -> Contestant:
    in_memory = link == "memory"
    return Contestant(
        name=f"{link}-{backend}",
        title=f"trio_rpc, {title}, {backend}",
        acknowledgement=_ACK_AND_RESPONSE,
        fairness="Server, callee and caller in one process: the engine's own cost."
        if in_memory
        else _OURS,
        module="contestants.ours",
        options={"link": link, "backend": backend},
        roles=("caller",) if in_memory else ("server", "callee", "caller"),
    )


_LINKS: Final = {
    "memory": "in memory",
    "websocket": "WebSocket",
    "tcp": "stream link over TCP",
    "unix": "stream link over a Unix socket",
}

_ALL: Final = (
    *(
        _ours(link, backend, title)
        for link, title in _LINKS.items()
        for backend in ("trio", "asyncio", "uvloop")
        # uvloop is about sockets, of which two kinds will do.
        if backend != "uvloop" or link in ("websocket", "tcp")
    ),
    *(
        Contestant(
            name=name,
            title=title,
            acknowledgement=_ACK_AND_RESPONSE,
            fairness="Through our server on trio, which speaks WebRTC with it. The SDK's core is "
            "written in Rust; a LiveKit server would "
            "take the place of ours.",
            module="contestants.livekit",
            options={"caller_is": caller_is},
            # What the SDK sends without a stream.
            max_payload_bytes=15_000,
        )
        for name, title, caller_is in (
            ("livekit", "LiveKit's Python SDK at both ends, our server", "livekit"),
            ("livekit-callee", "trio_rpc, WebSocket, trio, to LiveKit's Python SDK", "ours"),
        )
    ),
    *(
        Contestant(
            name=f"livekit-server-{backend or 'sdk'}",
            title=f"{title}, livekit-server",
            acknowledgement=_ACK_AND_RESPONSE,
            fairness="Through LiveKit's own server, which is written in Go, over WebRTC.",
            module="contestants.livekit_server",
            options={"backend": backend},
            max_payload_bytes=15_000,
        )
        for backend, title in (
            ("", "LiveKit's Python SDK at both ends"),
            ("trio", "trio_rpc, trio"),
            ("asyncio", "trio_rpc, asyncio"),
        )
    ),
    Contestant(
        name="socketio",
        title="python-socketio, `call()`",
        acknowledgement="the answer is Socket.IO's own acknowledgement",
        fairness="A server on aiohttp that forwards with `call(to=…)`; clients on aiohttp; "
        "WebSocket alone. No deadline at the callee.",
        module="contestants.socketio",
        environment="socketio",
        max_payload_bytes=100_000,
    ),
    Contestant(
        name="wamp",
        title="WAMP, autobahn on crossbar",
        acknowledgement="none: the response alone",
        fairness="A router in Python on Twisted, with a realm and permissions; clients on asyncio; "
        "the serializer that they agree on by default.",
        module="contestants.wamp",
        environment="wamp",
    ),
    Contestant(
        name="grpc",
        title="gRPC aio, forwarded",
        acknowledgement="none: the response alone, with a status",
        fairness="A server on grpcio's asyncio side that is a client of the callee, which is a "
        "server too; plain bytes, without protobuf. No identities.",
        module="contestants.grpc",
        environment="grpc",
        # The default limit of gRPC.
        max_payload_bytes=4_000_000,
    ),
    *(
        Contestant(
            name="nats" if loop == "asyncio" else f"nats-{loop}",
            title=f"nats-py on nats-server, {loop}",
            acknowledgement="none: the response alone",
            fairness="A server written in Go on plain TCP, without permissions; the callee "
            "answers in its subscription's callback, one after another.",
            module="contestants.nats",
            options={"loop": loop},
            environment="nats",
            max_payload_bytes=1_000_000,
        )
        for loop in ("asyncio", "uvloop")
    ),
    Contestant(
        name="redis",
        title="Redis pub/sub, redis-py with hiredis",
        acknowledgement="none: the response alone",
        fairness="A server written in C on plain TCP. Redis has no calls: requests and responses "
        "are two channels, with an id in front of the payload, and a task for each request.",
        module="contestants.redis",
        environment="redis",
    ),
    Contestant(
        name="relay",
        title="floor: asyncio sockets through socat",
        acknowledgement="none: the response alone",
        fairness="What calls cost when the server costs next to nothing: a length and a number "
        "before each payload, bytes passed on by a program in C. No rooms, timeouts or errors.",
        module="contestants.relay",
    ),
    Contestant(
        name="picows",
        title="floor: picows, WebSocket",
        acknowledgement="none: the response alone",
        fairness="What a message costs on asyncio with WebSockets in Cython: a number before each "
        "payload, frames passed on by a server of its own. No rooms, timeouts, tasks or errors.",
        module="contestants.picows",
        environment="picows",
    ),
    Contestant(
        name="zeromq",
        title="floor: pyzmq, ROUTER between two DEALERs",
        acknowledgement="none: the response alone",
        fairness="What a message costs on asyncio with ZeroMQ over TCP, whose sockets are in C++ "
        "and have threads of their own. No rooms, timeouts, tasks or errors.",
        module="contestants.zeromq",
        environment="zeromq",
    ),
    Contestant(
        name="pingpong",
        title="floor: blocking ping-pong",
        acknowledgement="none: the response alone",
        fairness="What two processes cost that wait for each other: no event loop, no server.",
        module="contestants.pingpong",
        roles=("callee", "caller"),
        max_in_flight=1,
    ),
)

CONTESTANTS: Final = {each.name: each for each in _ALL}

__all__ = ["CONTESTANTS", "Contestant"]
