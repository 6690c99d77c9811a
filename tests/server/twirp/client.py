"""Asking RoomService: by hand over HTTP within the process, with a token for whatever it takes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import httpx

from trio_rpc import AccessToken, VideoGrants
from trio_rpc.server import RoomServer, create_app

from ...support.tokens import API_KEY, API_SECRET, ROOM

#: A status and a body.
Answer = tuple[int, dict[str, Any]]

JSON: Final = {"Content-Type": "application/json"}


def admin_token(*grants: str, room: str = ROOM) -> str:
    """Return a token of an administrator with the named grants, or all grants."""
    granted = dict.fromkeys(grants or ("room_admin", "room_create", "room_list"), True)
    video = VideoGrants(room=room, **granted)  # type: ignore[arg-type]
    return AccessToken(API_KEY, API_SECRET).with_grants(video).to_jwt()


def path_of(method: str) -> str:
    service = "" if method.startswith("livekit.") else "livekit.RoomService/"
    return f"/twirp/{service}{method}"


@asynccontextmanager
async def http_client(server: RoomServer) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app=create_app(server))
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        yield client


async def ask(
    server: RoomServer, method: str, request: dict[str, Any], *, token: str | None = None
) -> Answer:
    """Ask in JSON, in the right way."""
    headers = {"Authorization": f"Bearer {token or admin_token()}"}
    async with http_client(server) as client:
        response = await client.post(path_of(method), json=request, headers=headers)
    assert response.headers["content-type"] == "application/json"
    return response.status_code, response.json()


async def answer_to(server: RoomServer, method: str, /, **request: Any) -> dict[str, Any]:
    """Return the response to a valid request about the tests' room."""
    status, answer = await ask(server, method, {"room": ROOM, **request})
    assert status == 200, answer
    return answer


async def refusal_of(server: RoomServer, method: str, /, **request: Any) -> tuple[int, str, str]:
    """Return the status, code and text of the response to an invalid request."""
    status, answer = await ask(server, method, {"room": ROOM, **request})
    assert status != 200
    return status, answer["code"], answer["msg"]
