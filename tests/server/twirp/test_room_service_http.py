"""RoomService over HTTP: grants, formats, and the responses to anything else."""

from __future__ import annotations

import json
from typing import Any

import anyio
import httpx
import pytest
from livekit.protocol import models, room

from trio_rpc.server import RoomServer, ServerLimits, create_app

from ...support.scripted_client import scripted_client
from ...support.tokens import API_KEYS, ROOM, make_token
from .client import JSON, admin_token, ask, http_client, path_of

pytestmark = pytest.mark.anyio

PROTOBUF = {"Content-Type": "application/protobuf"}


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def refusal(response: httpx.Response) -> tuple[int, str, str]:
    assert response.headers["content-type"] == "application/json"
    body = response.json()
    assert body.keys() == {"code", "msg"}
    return response.status_code, body["code"], body["msg"]


# Formats


@pytest.mark.rule("R1")
async def test_a_protobuf_request_has_a_protobuf_answer(server: RoomServer) -> None:
    request = room.CreateRoomRequest(name=ROOM, metadata="m")
    async with http_client(server) as client:
        response = await client.post(
            path_of("CreateRoom"),
            content=request.SerializeToString(),
            headers={**PROTOBUF, **bearer(admin_token())},
        )
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/protobuf"
    made = models.Room.FromString(response.content)
    assert (made.name, made.metadata) == (ROOM, "m")


@pytest.mark.rule("R1")
@pytest.mark.parametrize(
    ("name", "content_type"),
    [
        ("empty_timeout", "application/json"),
        ("emptyTimeout", "application/json; charset=utf-8"),
        ("emptyTimeout", "Application/JSON"),
    ],
)
async def test_json_is_understood_in_both_spellings_and_answered_in_the_protobufs(
    server: RoomServer, name: str, content_type: str
) -> None:
    async with http_client(server) as client:
        response = await client.post(
            path_of("CreateRoom"),
            content=f'{{"name": "kitchen", "{name}": 7, "of a newer version": [1]}}',
            headers={"Content-Type": content_type, **bearer(admin_token())},
        )
    assert response.status_code == 200
    made = response.json()
    assert made["empty_timeout"] == 7
    # Defaults are there, and 64 bits are text, as proto3 JSON has it.
    assert made["num_participants"] == 0
    assert made["creation_time"] == made["creation_time_ms"][:-3]
    assert made["sid"].startswith("RM_")


@pytest.mark.rule("R1")
async def test_a_response_without_fields_is_an_empty_message(server: RoomServer) -> None:
    assert await ask(server, "CreateRoom", {"name": ROOM}) != (200, {})
    assert await ask(server, "DeleteRoom", {"room": ROOM}) == (200, {})


# Grants

GRANT_OF = {
    "CreateRoom": "room_create",
    "DeleteRoom": "room_create",
    "ListRooms": "room_list",
    "ListParticipants": "room_admin",
    "GetParticipant": "room_admin",
    "RemoveParticipant": "room_admin",
    "UpdateParticipant": "room_admin",
    "UpdateRoomMetadata": "room_admin",
    "SendData": "room_admin",
    "PerformRpc": "room_admin",
}
CLAIMS = {"room_create": "roomCreate", "room_list": "roomList", "room_admin": "roomAdmin"}


@pytest.mark.rule("R1")
@pytest.mark.parametrize("method", GRANT_OF)
async def test_each_method_needs_its_grant_and_no_other(server: RoomServer, method: str) -> None:
    needed = GRANT_OF[method]
    others = [grant for grant in CLAIMS if grant != needed]
    denied = await ask(server, method, {"room": ROOM}, token=admin_token(*others))
    assert denied == (
        403,
        {"code": "permission_denied", "msg": f"the token lacks the grant {CLAIMS[needed]}"},
    )
    _, answer = await ask(server, method, {"room": ROOM}, token=admin_token(needed))
    assert answer.get("code") != "permission_denied"


@pytest.mark.rule("R1")
@pytest.mark.parametrize("method", [each for each, name in GRANT_OF.items() if "admin" in name])
async def test_an_administrator_of_another_room_is_refused(server: RoomServer, method: str) -> None:
    async with scripted_client(server, "alice"):
        token = admin_token(room="another room")
        denied = await ask(server, method, {"room": ROOM, "identity": "alice"}, token=token)
        assert denied == (
            403,
            {
                "code": "permission_denied",
                "msg": "the token is for room 'another room', not for 'the room'",
            },
        )
        assert server.statistics().participants == 1


@pytest.mark.rule("R1", "V1")
@pytest.mark.parametrize(
    ("authorization", "msg"),
    [
        pytest.param(None, "there is no header 'Authorization: Bearer …'", id="no header"),
        pytest.param("", "there is no header 'Authorization: Bearer …'", id="an empty header"),
        pytest.param("Bearer ", "there is no header 'Authorization: Bearer …'", id="no token"),
        pytest.param("Basic YTpi", "there is no header 'Authorization: Bearer …'", id="no bearer"),
        pytest.param("Bearer a.b.c", "the token is not a JWT", id="garbage"),
        pytest.param("Bearer " + "x" * 9_000, "the token is not a JWT", id="long garbage"),
    ],
)
async def test_who_has_no_token_is_unauthenticated(
    server: RoomServer, authorization: str | None, msg: str
) -> None:
    headers = JSON if authorization is None else {**JSON, "Authorization": authorization}
    async with http_client(server) as client:
        response = await client.post(path_of("ListRooms"), content="{}", headers=headers)
    assert refusal(response) == (401, "unauthenticated", msg)


@pytest.mark.rule("R1", "V1")
async def test_a_token_of_another_server_is_unauthenticated(server: RoomServer) -> None:
    other = RoomServer(dict.fromkeys(API_KEYS, "another secret, of 32 bytes or more"))
    status, answer = await ask(other, "ListRooms", {})
    assert (status, answer["code"]) == (401, "unauthenticated")
    assert answer["msg"] == (
        "the token is signed with another secret than the one of API key 'test-key'"
    )


@pytest.mark.rule("R1")
async def test_a_participants_token_administers_nothing(server: RoomServer) -> None:
    status, answer = await ask(
        server, "ListParticipants", {"room": ROOM}, token=make_token("alice")
    )
    assert (status, answer["code"]) == (403, "permission_denied")


# Invalid requests


@pytest.mark.rule("R1")
@pytest.mark.parametrize(
    ("http_method", "path", "content_type", "msg"),
    [
        ("GET", path_of("ListRooms"), "application/json", "unsupported method 'GET'"),
        ("PUT", path_of("ListRooms"), "application/json", "unsupported method 'PUT'"),
        ("DELETE", path_of("ListRooms"), "application/json", "unsupported method 'DELETE'"),
        ("POST", path_of("ListRooms"), "", "unexpected Content-Type: ''"),
        ("POST", path_of("ListRooms"), "text/plain", "unexpected Content-Type: 'text/plain'"),
        ("POST", path_of("Nope"), "application/json", "'livekit.RoomService/Nope'"),
        ("POST", path_of("listrooms"), "application/json", "'livekit.RoomService/listrooms'"),
        ("POST", path_of(""), "application/json", "'livekit.RoomService/'"),
        ("POST", path_of("ListRooms/"), "application/json", "'livekit.RoomService/ListRooms/'"),
        ("POST", "/twirp/livekit.Egress/ListEgress", "application/json", "'livekit.Egress"),
        ("POST", "/twirp/", "application/json", "no handler for path ''"),
        ("POST", "/twirp/" + "x" * 9_000, "application/json", "'" + "x" * 200 + "'"),
    ],
)
async def test_what_leads_nowhere_is_a_bad_route(
    server: RoomServer, http_method: str, path: str, content_type: str, msg: str
) -> None:
    headers = {"Content-Type": content_type, **bearer(admin_token())}
    async with http_client(server) as client:
        response = await client.request(http_method, path, content="{}", headers=headers)
    status, code, text = refusal(response)
    assert (status, code) == (404, "bad_route")
    assert msg in text
    assert len(text) < 300


@pytest.mark.rule("R1")
@pytest.mark.parametrize(
    "method",
    ["MutePublishedTrack", "UpdateSubscriptions", "ForwardParticipant", "MoveParticipant"],
)
async def test_methods_of_media_are_unimplemented(server: RoomServer, method: str) -> None:
    assert await ask(server, method, {"room": ROOM}) == (
        501,
        {"code": "unimplemented", "msg": "this server does not implement the method"},
    )


@pytest.mark.rule("R1", "P8")
@pytest.mark.parametrize(
    ("headers", "body"),
    [
        pytest.param(PROTOBUF, b"\xff\xff\xff", id="no protobuf"),
        pytest.param(PROTOBUF, b"\x0a\x02\xff\xfe", id="no UTF-8 in protobuf"),
        pytest.param(PROTOBUF, b'{"name": "x"}', id="JSON for protobuf"),
        pytest.param(JSON, b"", id="nothing"),
        pytest.param(JSON, b"{", id="half of JSON"),
        pytest.param(JSON, b'["name"]', id="a list"),
        pytest.param(JSON, b"null", id="null"),
        pytest.param(JSON, b'{"name": 7}', id="a wrong type"),
        pytest.param(JSON, b'{"empty_timeout": -1}', id="a number below its range"),
        pytest.param(JSON, b'{"empty_timeout": 4294967296}', id="a number above its range"),
        pytest.param(JSON, b'{"empty_timeout": ' + b"9" * 9_000 + b"}", id="an endless number"),
        pytest.param(JSON, b'{"name": "\\ud800"}', id="a lone surrogate"),
        pytest.param(JSON, b'{"name": "\xff"}', id="no UTF-8 in JSON"),
        pytest.param(JSON, b"\xff\xfe{\x00}\x00", id="UTF-16"),
        pytest.param(JSON, b"[" * 200_000, id="deep lists"),
        pytest.param(JSON, b'{"egress":' * 100_000, id="deep objects"),
        pytest.param(JSON, b'{"name": "a", "name": "b"}', id="a field twice"),
    ],
)
async def test_a_body_that_is_no_message_is_malformed(
    server: RoomServer, headers: dict[str, str], body: bytes
) -> None:
    async with http_client(server) as client:
        response = await client.post(
            path_of("CreateRoom"), content=body, headers={**headers, **bearer(admin_token())}
        )
        assert refusal(response) == (
            400,
            "malformed",
            f"the request is not the {headers['Content-Type']} of a CreateRoomRequest",
        )
    assert server.statistics().rooms == 0


@pytest.mark.rule("R1")
async def test_a_body_over_the_limit_is_refused_before_it_is_read_whole() -> None:
    app = create_app(RoomServer(API_KEYS, ServerLimits(max_message_bytes=100)))
    pieces_read = 0
    answer: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        nonlocal pieces_read
        pieces_read += 1
        return {"type": "http.request", "body": b" " * 60, "more_body": True}

    async def send(message: Any) -> None:
        answer.append(message)

    headers = {**JSON, **bearer(admin_token())}
    scope = {
        "type": "http",
        "method": "POST",
        "path": path_of("ListRooms"),
        "query_string": b"",
        "headers": [(key.lower().encode(), value.encode()) for key, value in headers.items()],
    }
    await app(scope, receive, send)
    assert pieces_read == 2
    assert answer[0]["status"] == 429
    assert (b"connection", b"close") in answer[0]["headers"]
    assert json.loads(answer[1]["body"]) == {
        "code": "resource_exhausted",
        "msg": "the request is over the limit of 100 bytes",
    }


@pytest.mark.rule("R1")
async def test_a_body_as_large_as_the_limit_is_taken() -> None:
    server = RoomServer(API_KEYS, ServerLimits(max_message_bytes=100))
    async with http_client(server) as client:
        response = await client.post(
            path_of("ListRooms"),
            content=b"{" + b" " * 98 + b"}",
            headers={**JSON, **bearer(admin_token())},
        )
    assert (response.status_code, response.json()) == (200, {"rooms": []})


@pytest.mark.rule("R1")
async def test_a_body_that_does_not_come_is_given_up(server: RoomServer) -> None:
    async def body() -> Any:
        yield b"{"
        await anyio.sleep_forever()

    async with http_client(server) as client:
        headers = {**JSON, **bearer(admin_token())}
        response = await client.post(path_of("ListRooms"), content=body(), headers=headers)
    assert refusal(response) == (
        408,
        "deadline_exceeded",
        "the request did not come within 10 s",
    )


@pytest.mark.rule("R1")
async def test_the_requests_in_flight_are_bounded() -> None:
    app = create_app(RoomServer(API_KEYS, ServerLimits(max_requests_in_flight=1)))
    waiting, go_on = anyio.Event(), anyio.Event()

    async def slow_body() -> Any:
        waiting.set()
        await go_on.wait()
        yield b"{}"

    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app=app), base_url="http://test"
    ) as client:
        headers = {**JSON, **bearer(admin_token())}

        async def list_slowly() -> None:
            response = await client.post(path_of("ListRooms"), content=slow_body(), headers=headers)
            assert response.status_code == 200

        async with anyio.create_task_group() as task_group:
            task_group.start_soon(list_slowly)
            await waiting.wait()
            response = await client.post(path_of("ListRooms"), content="{}", headers=headers)
            assert refusal(response) == (
                429,
                "resource_exhausted",
                "1 requests are in flight, which is the limit: try again",
            )
            go_on.set()
        response = await client.post(path_of("ListRooms"), content="{}", headers=headers)
        assert response.status_code == 200


@pytest.mark.rule("R1")
async def test_an_error_of_the_servers_own_is_internal_and_tells_nothing(
    server: RoomServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(_names: object) -> None:
        raise RuntimeError("the inside of the server")

    monkeypatch.setattr(server, "list_rooms", fail)
    assert await ask(server, "ListRooms", {}) == (
        500,
        {"code": "internal", "msg": "an internal error, which the server has logged"},
    )
    [record] = caplog.records
    assert record.getMessage() == "a request failed: livekit.RoomService/ListRooms"
    assert "the inside of the server" in str(record.exc_info)
