"""Metadata and attributes that a client brings along when it joins: rule V7."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from livekit.protocol import models, rtc

from trio_rpc import AccessToken, ConnectError, VideoGrants
from trio_rpc.links import Connector
from trio_rpc.links.urls import connector_for
from trio_rpc.server import RoomServer, ServerLimits, ServerStatistics

from ..support.raw_sockets import RefusedError, connect_websocket
from ..support.scripted_client import ScriptedClient, scripted_client
from ..support.serving import port_of, serving_stream
from ..support.tokens import API_KEY, API_KEYS, API_SECRET, ROOM, make_token
from .webrtc.client import join_request

pytestmark = [pytest.mark.anyio, pytest.mark.real_time]

NOT_GRANTED = "the token does not grant bringing along metadata (canUpdateOwnMetadata)"


@pytest.fixture
def server() -> RoomServer:
    return RoomServer(API_KEYS, ServerLimits(max_metadata_bytes=100))


@pytest.fixture(params=["in process", "stream link"])
async def connector(
    request: pytest.FixtureRequest, server: RoomServer, anyio_backend: object
) -> AsyncIterator[Connector]:
    """A way to the server that takes a `JoinRequest`."""
    if request.param == "in process":
        yield server
        return
    async with serving_stream(server) as url:
        yield connector_for(url)


def token(**grants: Any) -> str:
    """Return a token that describes alice already."""
    return (
        AccessToken(API_KEY, API_SECRET)
        .with_identity("alice")
        .with_metadata("of the token")
        .with_attributes({"token": "yes", "both": "token"})
        .with_grants(VideoGrants(room_join=True, room=ROOM, **grants))
        .to_jwt()
    )


def encoded(attributes: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(attributes).encode()).decode()


@asynccontextmanager
async def joined_with(
    connector: Connector, token: str, **description: Any
) -> AsyncIterator[rtc.JoinResponse]:
    request = rtc.JoinRequest(client_info=models.ClientInfo(), **description)
    async with connector.open_link(token, request) as link:
        client = ScriptedClient("alice", link, rtc.JoinResponse())
        yield (await client.expect_signal("join")).join


@pytest.mark.rule("V7")
@pytest.mark.parametrize(
    ("brought", "metadata", "attributes"),
    [
        ({}, "of the token", {"token": "yes", "both": "token"}),
        ({"metadata": "new"}, "new", {"token": "yes", "both": "token"}),
        (
            {"participant_attributes": {"both": "client", "client": "yes", "token": ""}},
            "of the token",
            {"token": "yes", "both": "client", "client": "yes"},
        ),
    ],
    ids=["nothing", "metadata", "attributes, an empty one of which deletes nothing"],
)
async def test_it_is_applied_with_the_grant_and_the_others_see_it(
    server: RoomServer,
    connector: Connector,
    brought: dict[str, Any],
    metadata: str,
    attributes: dict[str, str],
) -> None:
    async with (
        joined_with(connector, token(can_update_own_metadata=True), **brought) as join,
        scripted_client(server, "bob") as bob,
    ):
        for info in (join.participant, bob.join.other_participants[0]):
            assert (info.metadata, dict(info.attributes)) == (metadata, attributes)


@pytest.mark.rule("V7")
@pytest.mark.parametrize("brought", [{"metadata": "m"}, {"participant_attributes": {"a": ""}}])
async def test_it_is_refused_without_the_grant(
    server: RoomServer, connector: Connector, brought: dict[str, Any]
) -> None:
    with pytest.raises(ConnectError, match="canUpdateOwnMetadata") as caught:
        async with joined_with(connector, token(), **brought):
            pass
    assert caught.value.status == 401
    assert server.statistics() == ServerStatistics(rooms=0, participants=0)


@pytest.mark.rule("V7")
async def test_it_is_refused_when_it_is_too_large(connector: Connector) -> None:
    with pytest.raises(ConnectError, match="metadata of 101 UTF-8 bytes, over the") as caught:
        async with joined_with(connector, token(can_update_own_metadata=True), metadata="m" * 101):
            pass
    assert caught.value.status == 400


@pytest.mark.rule("V7")
@pytest.mark.parametrize(
    "target",
    [
        f"/rtc?attributes={encoded({'a': '1'})}",
        f"/rtc?attributes={encoded({'a': '1'}).rstrip('=')}",
        f"/rtc?join_request={join_request(participant_attributes={'a': '1'})}",
        f"/rtc/v1?join_request={join_request(participant_attributes={'a': '1'})}",
    ],
    ids=["query", "query without padding", "join request", "v1"],
)
async def test_livekits_sdks_bring_it_along_in_the_url(
    server: RoomServer, url: str, target: str
) -> None:
    async with connect_websocket(
        url,
        make_token("alice", can_update_own_metadata=True),
        target=target,
        subprotocols=[],
    ) as alice:
        await alice.receive()
        assert dict(server.get_participant(ROOM, "alice").attributes) == {"a": "1"}
    with pytest.raises(RefusedError) as caught:
        async with connect_websocket(url, make_token("alice"), target=target, subprotocols=[]):
            pass
    assert (caught.value.status, caught.value.body) == (401, NOT_GRANTED)
    status, text = await validate(url, target, make_token("alice"))
    assert (status, text) == (401, NOT_GRANTED)


@pytest.mark.rule("V7")
@pytest.mark.parametrize(
    "text",
    ["a", "%ff", encoded({})[:-2], encoded([]), encoded({"a": 1}), encoded({"a": "\ud800"})],
    ids=["no base64", "not ASCII", "cut off", "a list", "a number", "a surrogate"],
)
async def test_attributes_that_cannot_be_decoded_fail_the_validation_and_are_ignored_otherwise(
    server: RoomServer, url: str, text: str
) -> None:
    allowed = make_token("alice", can_update_own_metadata=True)
    target = f"/rtc?attributes={text}"
    assert await validate(url, target, allowed) == (400, "cannot decode attributes")
    async with connect_websocket(url, allowed, target=target, subprotocols=[]) as alice:
        await alice.receive()
        assert dict(server.get_participant(ROOM, "alice").attributes) == {}


async def validate(url: str, target: str, token: str) -> tuple[int, str]:
    """Return the server's response over HTTP to a client that may not join."""
    path, query = target.split("?")
    async with httpx.AsyncClient(trust_env=False) as client:
        response = await client.get(
            f"http://127.0.0.1:{port_of(url)}{path}/validate?{query}",
            headers={"authorization": f"Bearer {token}"},
        )
    return response.status_code, response.text
