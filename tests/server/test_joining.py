"""Joining over a socket: admission, rejection, and updates to the others."""

from __future__ import annotations

import time
import warnings
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Final

import anyio
import anyio.abc
import httpx
import jwt
import livekit.api
import pytest

from trio_rpc import ConnectError, ParticipantKind, Room
from trio_rpc.server import RoomServer, ServerStatistics, serve

from ..conftest import Join
from ..support.raw_sockets import RefusedError, connect_websocket
from ..support.serving import port_of
from ..support.tokens import API_KEY, API_SECRET, make_token

pytestmark = [pytest.mark.anyio, pytest.mark.real_time]

OTHER_SECRET = "the secret of somebody else, 32 bytes"


def sign(*, secret: str = API_SECRET, algorithm: str = "HS256", **claims: object) -> str:
    """Sign a token like LiveKit's with some claims changed; claims that are None are left out."""
    now = int(time.time())
    payload = {
        "iss": API_KEY,
        "sub": "alice",
        "nbf": now,
        "exp": now + 3600,
        "video": {"roomJoin": True, "room": "the room"},
    } | claims
    present = {key: value for key, value in payload.items() if value is not None}
    with warnings.catch_warnings():
        # The secret is too short for some of the algorithms, which is not what is tested here.
        warnings.simplefilter("ignore")
        return jwt.encode(present, secret, algorithm=algorithm)


def unsigned() -> str:
    return sign(secret="", algorithm="none")


def tampered() -> str:
    header, _, signature = sign().split(".")
    _, payload, _ = sign(sub="admin").split(".")
    return f"{header}.{payload}.{signature}"


WRONG_SECRET = f"the token is signed with another secret than the one of API key '{API_KEY}'"
BAD_TOKENS = [
    pytest.param("garbage", "the token is not a JWT", id="garbage"),
    pytest.param("a.b.c", "the token is not a JWT", id="dotted garbage"),
    pytest.param(sign(secret=OTHER_SECRET), WRONG_SECRET, id="wrong secret"),
    pytest.param(tampered(), WRONG_SECRET, id="tampered"),
    pytest.param(
        sign(iss="another"), "API key 'another' is not known to this server", id="unknown key"
    ),
    pytest.param(sign(iss=None), "API key '' is not known to this server", id="no key"),
    pytest.param(sign(exp=int(time.time()) - 60), "the token has expired", id="expired"),
    pytest.param(sign(exp=None), "the token has no expiry (the claim 'exp')", id="no expiry"),
    pytest.param(
        sign(nbf=int(time.time()) + 86_400), "the token is not valid yet", id="not valid yet"
    ),
    pytest.param(unsigned(), "the token is not signed with HS256", id="unsigned"),
    pytest.param(sign(algorithm="HS512"), "the token is not signed with HS256", id="HS512"),
    pytest.param(
        sign(video={"room": "the room"}),
        "the token does not grant joining a room (roomJoin)",
        id="without roomJoin",
    ),
    pytest.param(
        sign(video=None), "the token does not grant joining a room (roomJoin)", id="no grants"
    ),
    pytest.param(sign(video={"roomJoin": True}), "the token names no room to join", id="no room"),
    pytest.param(
        sign(sub=None),
        "the token grants joining a room but has no identity",
        id="no identity",
    ),
    pytest.param(
        sign(video={"roomJoin": "yes", "room": "the room"}),
        "the claim 'roomJoin' is not true or false",
        id="grant of a wrong type",
    ),
    pytest.param(
        sign(kind="wizard"), "the kind of participant 'wizard' is not known", id="unknown kind"
    ),
]


@pytest.mark.rule("V1")
@pytest.mark.parametrize(("token", "reason"), BAD_TOKENS)
async def test_a_bad_token_gets_401_with_the_reason(
    server: RoomServer, url: str, token: str, reason: str
) -> None:
    with pytest.raises(RefusedError) as caught:
        async with connect_websocket(url, token):
            pass
    assert (caught.value.status, caught.value.body) == (401, reason)
    assert server.statistics() == ServerStatistics(rooms=0, participants=0)


@pytest.mark.rule("V1")
@pytest.mark.parametrize(("token", "reason"), BAD_TOKENS)
async def test_our_client_reports_why_its_token_was_refused(
    url: str, token: str, reason: str
) -> None:
    with pytest.raises(ConnectError) as caught:
        async with Room().connect(url, token):
            pass
    assert caught.value.status == 401
    assert str(caught.value) == f"{url}/rtc/v1 refused with 401: {reason}"


@pytest.mark.rule("V1")
@pytest.mark.parametrize(("token", "reason"), BAD_TOKENS)
async def test_a_server_in_the_same_process_refuses_alike(
    server: RoomServer, token: str, reason: str
) -> None:
    with pytest.raises(ConnectError) as caught:
        async with Room().connect(server, token):
            pass
    assert (caught.value.status, str(caught.value)) == (401, f"refused: {reason}")


@pytest.mark.rule("V1")
async def test_no_token_at_all_gets_401(url: str) -> None:
    with pytest.raises(RefusedError) as caught:
        async with connect_websocket(url, None):
            pass
    assert caught.value.status == 401


@pytest.mark.rule("V1")
@pytest.mark.parametrize("token", ["", "a.b.c\n", "a b", "a.b.c\r\nx: y", "\u00e4.b.c"])
async def test_our_client_does_not_send_what_cannot_be_a_token(url: str, token: str) -> None:
    with pytest.raises(ConnectError, match="the access token is empty, or has characters that"):
        async with Room().connect(url, token):
            pass


@pytest.mark.rule("V1")
@pytest.mark.parametrize("in_query", [False, True], ids=["Bearer header", "access_token"])
async def test_the_token_comes_in_a_header_or_in_the_query(
    server: RoomServer, url: str, in_query: bool
) -> None:
    async with connect_websocket(url, make_token("alice"), in_query=in_query) as websocket:
        await websocket.receive()
        assert server.statistics().participants == 1


@pytest.mark.rule("V1")
async def test_a_bad_token_in_the_query_gets_401(url: str) -> None:
    with pytest.raises(RefusedError) as caught:
        async with connect_websocket(url, sign(algorithm="HS384"), in_query=True):
            pass
    assert (caught.value.status, caught.value.body) == (401, "the token is not signed with HS256")


@pytest.mark.rule("V1")
async def test_tokens_of_livekits_own_library_are_accepted(url: str, join: Join) -> None:
    token = (
        livekit.api.AccessToken(API_KEY, API_SECRET)
        .with_identity("alice")
        .with_name("Alice")
        .with_kind("agent")
        .with_metadata("some metadata")
        .with_attributes({"key": "value"})
        .with_ttl(timedelta(minutes=1))
        .with_grants(
            livekit.api.VideoGrants(
                room_join=True,
                room="the room",
                can_publish=False,
                can_publish_data=True,
                can_update_own_metadata=True,
            )
        )
        .to_jwt()
    )
    async with join("bob", to=url) as bob, Room().connect(url, token) as room:
        alice = room.local_participant
        assert (room.name, alice.identity, alice.name) == ("the room", "alice", "Alice")
        seen = await bob.wait_for_participant("alice")
        assert (seen.name, seen.metadata, seen.attributes) == (
            "Alice",
            "some metadata",
            {"key": "value"},
        )
        assert seen.kind is ParticipantKind.AGENT
        assert seen.permissions.can_publish_data
        assert seen.permissions.can_update_metadata
        assert not seen.permissions.can_publish


@pytest.mark.rule("V1")
async def test_a_token_lets_its_holder_into_its_own_room_alone(url: str, join: Join) -> None:
    async with join("alice", to=url), join("bob", to=url) as bob:
        assert bob.remote_participants.keys() == {"alice"}
        async with Room().connect(url, make_token("carol", room="another")) as carol:
            assert carol.remote_participants == {}
            assert carol.name == "another"


NO_WEBRTC: Final = (
    "this server admits participants of trio_rpc only: for those of LiveKit's SDKs it has to be "
    "installed with the extra 'livekit'"
)


@pytest.fixture
async def url_without_webrtc(
    server: RoomServer, anyio_backend: object, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[str]:
    """The URL of the server, where aiortc is not installed."""
    monkeypatch.setattr("trio_rpc.server.http_listener.find_spec", lambda _name: None)
    async with anyio.create_task_group() as task_group:
        yield await task_group.start(serve, server, "127.0.0.1", 0)
        task_group.cancel_scope.cancel()


@pytest.mark.rule("V1", "V10")
@pytest.mark.parametrize(("target", "status"), [("/rtc", 400), ("/rtc/v1", 404)])
@pytest.mark.parametrize("subprotocols", [[], ["something-else"]])
async def test_livekits_sdks_are_told_what_the_server_lacks_for_them(
    url_without_webrtc: str, target: str, status: int, subprotocols: list[str]
) -> None:
    token = make_token("alice")
    with pytest.raises(RefusedError) as caught:
        async with connect_websocket(
            url_without_webrtc, token, subprotocols=subprotocols, target=target
        ):
            pass
    assert (caught.value.status, caught.value.body) == (status, NO_WEBRTC)
    async with httpx.AsyncClient(trust_env=False) as client:
        response = await client.get(
            f"http://127.0.0.1:{port_of(url_without_webrtc)}{target}/validate",
            headers={"authorization": f"Bearer {token}"},
        )
    assert (response.status_code, response.text) == (status, NO_WEBRTC)


# Paths


@pytest.mark.rule("V10")
@pytest.mark.parametrize("path", ["/rtc/v2", "/nope", "/rtc/", "/rtcx"])
async def test_a_foreign_path_gets_404_as_websocket_and_as_http(url: str, path: str) -> None:
    with pytest.raises(RefusedError) as caught:
        async with connect_websocket(url, make_token("alice"), target=path):
            pass
    assert caught.value.status == 404
    assert caught.value.body == f"there is no {path} here; signalling is on /rtc"
    async with httpx.AsyncClient(trust_env=False) as client:
        response = await client.get(f"http://127.0.0.1:{port_of(url)}{path}")
    assert response.status_code == 404


@pytest.mark.rule("V10")
async def test_our_client_reports_a_wrong_path(url: str) -> None:
    with pytest.raises(ConnectError) as caught:
        async with Room().connect(f"{url}/nope", make_token("alice")):
            pass
    assert caught.value.status == 404
    assert str(caught.value) == (
        f"{url}/nope/rtc refused with 404: there is no /nope/rtc here; signalling is on /rtc"
    )


@pytest.mark.rule("V10")
async def test_plain_http_on_the_signalling_path_gets_404(url: str) -> None:
    async with httpx.AsyncClient(trust_env=False) as client:
        response = await client.get(f"http://127.0.0.1:{port_of(url)}/rtc")
    assert response.status_code == 404


# The description of a client


@pytest.mark.rule("V1")
@pytest.mark.parametrize(
    ("query", "client_protocol"),
    [
        ("", 0),
        ("&client_protocol=2", 2),
        ("&client_protocol=-1", 0),
        ("&client_protocol=two", 0),
        ("&client_protocol=%C2%B2", 0),
        ("&client_protocol=" + "9" * 5000, 1000),
    ],
    ids=["none", "number", "negative", "word", "superscript", "huge"],
)
async def test_nonsense_about_a_client_does_not_keep_it_out(
    url: str, join: Join, query: str, client_protocol: int
) -> None:
    target = f"/rtc?access_token={make_token('alice')}{query}"
    async with (
        join("bob", to=url) as bob,
        connect_websocket(url, None, target=target) as websocket,
    ):
        await websocket.receive()
        alice = await bob.wait_for_participant("alice")
        assert alice._info.client_protocol == client_protocol


# No server at all


@pytest.mark.rule("V1")
async def test_a_port_where_nobody_listens_is_a_connect_error() -> None:
    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener:
        port = listener.extra(anyio.abc.SocketAttribute.local_port)
    with pytest.raises(ConnectError, match=rf"no room server answered at ws://127.0.0.1:{port}"):
        async with Room().connect(f"ws://127.0.0.1:{port}", make_token("alice")):
            pass
