"""RoomService: requests in protobuf and JSON to the app of a server."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import anyio
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from livekit.protocol import room

from trio_rpc.server import RoomServer, create_app

from ..server.twirp.client import path_of
from ..support.tokens import API_KEYS, ROOM
from .choices import Choices
from .connections import with_tokens
from .honest import honest_room, token
from .target import Attack, require
from .venue import LIMITS

_SERVICE: Final = room.DESCRIPTOR.services_by_name["RoomService"]
_CONTENT_TYPES: Final = (b"application/json", b"application/protobuf", b"text/plain", b"")
_MAX_REQUESTS: Final = 8
#: The statuses of Twirp's codes that an answer may have; 500 is an error of ours.
_STATUSES: Final = (200, 400, 403, 404, 408, 412, 413, 429, 501, 503)
#: What names things: mostly those that there are.
_NAMES: Final = (ROOM, ROOM, ROOM, "alice", "alice", "echo", "slow", "")


@asynccontextmanager
async def twirp() -> AsyncIterator[Attack]:
    """Send an administrator's requests, some built field by field; the input is choices."""
    yield _attack


async def _attack(data: bytes) -> None:
    choices = Choices(data)
    server = RoomServer(API_KEYS, LIMITS)
    app = create_app(server)
    async with honest_room().connect(server, token("alice"), on_disconnect="continue"):
        for _ in range(_MAX_REQUESTS):
            if not choices:
                break
            status = await _ask(app, *_request(choices))
            require(status in _STATUSES, f"it was answered with {status}")
    # Whatever an administrator did: another room is as it should be.
    async with honest_room().connect(server, token("bob", room="another")):
        require(server.statistics().participants == 1, "a participant is left")


def _request(choices: Choices) -> tuple[str, bytes, bytes]:
    """Return the method, the content type and the body of a request."""
    method = choices.one_of(_SERVICE.methods)
    content_type = choices.one_of(_CONTENT_TYPES)
    if choices.flag():
        return method.name, content_type, choices.content()
    message = GetMessageClass(method.input_type)()
    _fill(message, choices, depth=2)
    return method.name, _CONTENT_TYPES[1], message.SerializeToString()


def _fill(message: Message, choices: Choices, depth: int) -> None:
    for descriptor in message.DESCRIPTOR.fields:
        if descriptor.name == "room" and descriptor.type == descriptor.TYPE_STRING:
            setattr(message, descriptor.name, choices.one_of(_NAMES))
        elif choices.flag():
            _set(message, descriptor, choices, depth)


def _set(message: Message, descriptor: Any, choices: Choices, depth: int) -> None:
    value = getattr(message, descriptor.name)
    if descriptor.type == descriptor.TYPE_MESSAGE:
        if descriptor.message_type.GetOptions().map_entry:
            if descriptor.message_type.fields_by_name["value"].type == descriptor.TYPE_STRING:
                value[choices.text()] = choices.text()
        elif depth:
            _fill(value.add() if descriptor.is_repeated else value, choices, depth - 1)
        return
    scalar: Any
    match descriptor.type:
        case descriptor.TYPE_STRING:
            scalar = choices.one_of((*_NAMES, choices.text()))
        case descriptor.TYPE_BYTES:
            scalar = choices.content()
        case descriptor.TYPE_BOOL:
            scalar = choices.flag()
        case descriptor.TYPE_FLOAT | descriptor.TYPE_DOUBLE:
            scalar = float(choices.number())
        case _:
            scalar = choices.number() & 0x7FFF_FFFF
    if descriptor.is_repeated:
        value.append(scalar)
    else:
        setattr(message, descriptor.name, scalar)


async def _ask(app: Any, method: str, content_type: bytes, body: bytes) -> int:
    sent: list[dict[str, Any]] = []
    incoming = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> dict[str, Any]:
        if incoming:
            return incoming.pop()
        # The client waits for its answer.
        await anyio.sleep_forever()
        raise AssertionError

    async def send(message: Any) -> None:
        sent.append(dict(message))

    path = path_of(method)
    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [
            (b"authorization", with_tokens(b"Bearer %ADMIN%")),
            (b"content-type", content_type),
        ],
        "client": None,
        "server": None,
        "extensions": {},
    }
    await app(scope, receive, send)
    status: int = sent[0]["status"]
    return status
