"""The ASGI app, within another app."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
import fastapi
import httpx
import hypercorn.asyncio
import hypercorn.trio
import pytest
import sniffio
from hypercorn.config import Config
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route
from wsproto.utilities import RemoteProtocolError

from trio_rpc import ConnectError, DisconnectReason, Room
from trio_rpc.server import RoomServer, ServerStatistics, create_app

from ..conftest import Join
from ..support.raw_sockets import RefusedError, connect_websocket
from ..support.serving import port_of
from ..support.tokens import make_token

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def serving(app: Any) -> AsyncIterator[str]:
    """Run an app on hypercorn, as its author might; yields its `ws://` URL."""
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    config = Config()
    config.bind = [f"fd://{listener.detach()}"]
    config.errorlog = None
    stop = anyio.Event()
    worker = hypercorn.trio if sniffio.current_async_library() == "trio" else hypercorn.asyncio
    run: Any = worker.serve

    async def run_hypercorn() -> None:
        await run(app, config, shutdown_trigger=stop.wait)

    async with anyio.create_task_group() as task_group:
        task_group.start_soon(run_hypercorn)
        try:
            yield f"ws://127.0.0.1:{port}"
        finally:
            stop.set()


def starlette_app(server: RoomServer) -> Any:
    async def hello(_request: object) -> PlainTextResponse:
        return PlainTextResponse("hello")

    @asynccontextmanager
    async def lifespan(_app: object) -> AsyncIterator[None]:
        yield
        await server.shut_down()

    routes = [Route("/hello", hello), Mount("/rooms", create_app(server))]
    return Starlette(routes=routes, lifespan=lifespan)


def fastapi_app(server: RoomServer) -> Any:
    app = fastapi.FastAPI()

    @app.get("/hello", response_class=fastapi.responses.PlainTextResponse)
    async def hello() -> str:
        return "hello"

    app.mount("/rooms", create_app(server))
    return app


mounted = pytest.mark.parametrize("make_app", [starlette_app, fastapi_app])


@pytest.mark.rule("V1", "V10")
@pytest.mark.real_time
@mounted
async def test_a_mounted_server_is_joined_under_its_path(
    server: RoomServer, join: Join, make_app: Callable[[RoomServer], Any]
) -> None:
    bob = Room()
    bob.register_rpc_method("echo", lambda data: data.payload)
    async with serving(make_app(server)) as url:
        for path in ("/rooms", "/rooms/"):
            async with (
                join("alice", to=url + path) as alice,
                join("bob", to=url + path, room=bob),
            ):
                answer = await alice.local_participant.perform_rpc(
                    destination_identity="bob", method="echo", payload="hi"
                )
                assert answer == "hi"


@pytest.mark.rule("V1", "V10")
@pytest.mark.real_time
@mounted
async def test_a_mounted_server_refuses_as_one_of_its_own(
    server: RoomServer, make_app: Callable[[RoomServer], Any]
) -> None:
    async with serving(make_app(server)) as url:
        with pytest.raises(RefusedError) as caught:
            async with connect_websocket(
                url, make_token("alice"), target="/rooms/rtc/v1", subprotocols=[]
            ):
                pass
        assert caught.value.status == 404
        with pytest.raises(ConnectError) as refused:
            async with Room().connect(url + "/rooms", "a.b.c"):
                pass
        assert refused.value.status == 401


@pytest.mark.rule("V1")
@pytest.mark.real_time
async def test_an_offer_to_compress_is_admitted_under_another_server_only_if_the_app_allows_it(
    server: RoomServer,
) -> None:
    offer = b"permessage-deflate; client_max_window_bits"
    async with serving(create_app(server)) as url:
        with pytest.raises(RefusedError) as caught:
            async with connect_websocket(url, make_token("alice"), extensions=offer):
                pass
    assert (caught.value.status, caught.value.body) == (
        400,
        "this server takes no compressed WebSocket messages (permessage-deflate)",
    )
    async with serving(create_app(server, allow_compression=True)) as url:
        # This server agrees, which our client does not expect: so the client was admitted.
        with pytest.raises(RemoteProtocolError, match="unrecognized extension"):
            async with connect_websocket(url, make_token("alice"), extensions=offer):
                pass


@pytest.mark.real_time
@mounted
async def test_the_other_routes_of_the_app_remain_its_own(
    server: RoomServer, make_app: Callable[[RoomServer], Any]
) -> None:
    async with serving(make_app(server)) as url, httpx.AsyncClient(trust_env=False) as client:
        base = f"http://127.0.0.1:{port_of(url)}"
        assert (await client.get(f"{base}/hello")).text == "hello"
        assert (await client.get(f"{base}/rooms/")).text == "OK"
        assert (await client.get(f"{base}/rooms/hello")).status_code == 404


@pytest.mark.rule("V6")
@pytest.mark.real_time
async def test_an_app_may_shut_the_server_down_while_it_runs_on(
    server: RoomServer, join: Join
) -> None:
    async with serving(starlette_app(server)) as url:
        async with join("alice", to=f"{url}/rooms", on_disconnect="continue") as alice:
            await server.shut_down()
            assert await alice.wait_disconnected() is DisconnectReason.SERVER_SHUTDOWN
        assert server.statistics() == ServerStatistics(rooms=0, participants=0)
        async with httpx.AsyncClient(trust_env=False) as client:
            base = f"http://127.0.0.1:{port_of(url)}"
            assert (await client.get(f"{base}/rooms/")).status_code == 503
            assert (await client.get(f"{base}/hello")).text == "hello"


async def test_the_health_check_tells_whether_the_server_lets_people_in(
    server: RoomServer,
) -> None:
    transport = httpx.ASGITransport(app=create_app(server))
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        response = await client.get("/")
        assert (response.status_code, response.text) == (200, "OK")
        await server.shut_down()
        response = await client.get("/")
        assert (response.status_code, response.text) == (503, "shutting down")
        assert (await client.post("/")).status_code == 405
        assert (await client.get("/nope")).status_code == 404


async def test_pages_of_any_origin_may_ask(server: RoomServer) -> None:
    transport = httpx.ASGITransport(app=create_app(server))
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        origin = {"Origin": "https://example.com"}
        response = await client.get("/", headers=origin)
        assert response.headers["access-control-allow-origin"] == "*"
        wishes = {
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "authorization, content-type",
        }
        preflight = await client.options("/rtc", headers={**origin, **wishes})
        assert preflight.status_code == 200
        assert preflight.headers["access-control-allow-origin"] == "*"
        assert "POST" in preflight.headers["access-control-allow-methods"]
        assert preflight.headers["access-control-allow-headers"] == "authorization, content-type"
