"""Failures and cancellation of calls of the server's own (rule R5)."""

from __future__ import annotations

import json
from typing import Any

import anyio
import pytest

from trio_rpc import ParticipantPermissions, RpcError, RpcInvocationData
from trio_rpc.links import LinkFullError
from trio_rpc.server import RoomServer, create_app

from ...conftest import Join
from ...support.scripted_client import scripted_client
from ...support.tokens import ROOM
from ...support.waiting import wait_until
from .calls import Handler, callee, failure, greet
from .client import JSON, admin_token, ask, path_of, refusal_of

pytestmark = pytest.mark.anyio


# Failures


def fail_with_an_error_of_its_own(_data: RpcInvocationData) -> str:
    raise RpcError(7, "no", '{"why": "closed"}')


def fail_by_accident(_data: RpcInvocationData) -> str:
    raise RuntimeError("secret")


async def never_answer(_data: RpcInvocationData) -> str:
    await anyio.sleep_forever()
    raise AssertionError


FAILURES = [
    pytest.param(fail_with_an_error_of_its_own, 7, "internal", 500, id="its own"),
    pytest.param(fail_by_accident, 1500, "internal", 500, id="by accident"),
    pytest.param(lambda _: 7, 1500, "internal", 500, id="no text"),
    pytest.param(lambda _: "x" * 15_361, 1504, "malformed", 400, id="too large"),
    pytest.param(never_answer, 1502, "canceled", 408, id="never"),
]


@pytest.mark.rule("R5", "C14", "A6", "A7")
@pytest.mark.parametrize(("handler", "code", "twirp_code", "status"), FAILURES)
async def test_a_failure_is_an_rpc_error_and_one_of_twirps(
    server: RoomServer, join: Join, handler: Handler, code: int, twirp_code: str, status: int
) -> None:
    request = {
        "room": ROOM,
        "destination_identity": "bob",
        "method": "greet",
        "payload": "hi",
        "response_timeout_ms": 500,
    }
    async with callee(join, handler):
        failed, message, data = await failure(greet(server, response_timeout=0.5))
        answer = await ask(server, "PerformRpc", request)
    assert failed == code
    meta = {"rpc_code": str(code), "rpc_message": message}
    msg = f"RpcError {code} {message}"
    if data is not None:
        meta["rpc_data"] = data
        msg += f": {data}"
    assert answer == (status, {"code": twirp_code, "msg": msg, "meta": meta})
    assert "secret" not in msg


@pytest.mark.rule("R5", "A2")
async def test_a_method_that_is_not_registered_is_1400(server: RoomServer, join: Join) -> None:
    async with join("bob"):
        assert await failure(greet(server)) == (
            1400,
            "Method not supported at destination",
            "no method 'greet' is registered",
        )
        refusal = await refusal_of(
            server, "PerformRpc", destinationIdentity="bob", method="greet", payload=""
        )
    assert refusal == (
        400,
        "invalid_argument",
        "RpcError 1400 Method not supported at destination: no method 'greet' is registered",
    )


@pytest.mark.rule("R5", "C7")
async def test_nobody_of_that_identity_is_1401(server: RoomServer, join: Join) -> None:
    async with join("alice"):
        data = "no participant 'bob' is in room 'the room'"
        assert await failure(greet(server)) == (1401, "Recipient not found", data)
        refusal = await refusal_of(server, "PerformRpc", destinationIdentity="bob", method="greet")
        assert refusal == (404, "not_found", f"RpcError 1401 Recipient not found: {data}")


@pytest.mark.rule("R5", "C10")
async def test_a_payload_over_the_limit_is_1402(server: RoomServer, join: Join) -> None:
    async with callee(join, lambda data: data.payload):
        assert await failure(greet(server, "x" * 15_361)) == (
            1402,
            "Request payload too large",
            "the payload has 15,361 bytes, over the limit of 15,360",
        )


@pytest.mark.rule("R5", "C2")
@pytest.mark.parametrize(
    ("response_timeout", "code", "data"),
    [
        (7.1, 1501, "'bob' did not acknowledge 'greet' within 7 s"),
        (6.9, 1502, "'bob' neither acknowledged nor answered 'greet' within 6.9 s"),
    ],
)
async def test_a_participant_that_does_not_acknowledge_is_given_up(
    server: RoomServer, response_timeout: float, code: int, data: str
) -> None:
    async with scripted_client(server, "bob"):
        started = anyio.current_time()
        failed = await failure(greet(server, response_timeout=response_timeout))
        waited = anyio.current_time() - started
    assert (failed[0], failed[2]) == (code, data)
    assert waited == pytest.approx(min(response_timeout, 7))


@pytest.mark.rule("R5", "C8")
@pytest.mark.parametrize("how", ["leaves", "is removed", "is replaced", "room deleted", "shutdown"])
async def test_a_participant_that_goes_fails_its_calls_at_once(
    server: RoomServer, join: Join, how: str
) -> None:
    called = anyio.Event()

    async def handler(_data: RpcInvocationData) -> str:
        called.set()
        await anyio.sleep_forever()
        raise AssertionError

    failed: list[tuple[int, str, str | None]] = []

    async def call() -> None:
        failed.append(await failure(greet(server)))

    async with (
        callee(join, handler, on_disconnect="continue") as bob,
        anyio.create_task_group() as task_group,
    ):
        task_group.start_soon(call)
        await called.wait()
        started = anyio.current_time()
        match how:
            case "leaves":
                await bob.disconnect()
            case "is removed":
                server.remove_participant(ROOM, "bob")
            case "is replaced":
                async with scripted_client(server, "bob"):
                    pass
            case "room deleted":
                server.delete_room(ROOM)
            case "shutdown":
                await server.shut_down()
        await wait_until(lambda: failed, within=1)
    assert anyio.current_time() - started < 1
    [(code, message, data)] = failed
    assert (code, message) == (1503, "Recipient disconnected")
    assert data in (
        "'bob' left the room",
        "the callee left the room before it had answered",
    )


@pytest.mark.rule("R5", "C12", "V4")
@pytest.mark.parametrize(
    ("grants", "why"),
    [
        ({"hidden": True}, "'bob' is a hidden participant, which may not send"),
        ({"can_publish_data": False}, "'bob' lacks the grant canPublishData"),
    ],
)
async def test_who_may_not_send_is_not_called(
    server: RoomServer, grants: dict[str, bool], why: str
) -> None:
    async with scripted_client(server, "bob", **grants) as bob:
        assert await failure(greet(server)) == (
            1505,
            "Failed to send",
            f"it could not be answered: {why}",
        )
        assert await bob.settle() == []
        if "hidden" not in grants:
            server.update_participant(ROOM, "bob", permissions=ParticipantPermissions())
            code, *_ = await failure(greet(server, response_timeout=1))
            assert code == 1502


@pytest.mark.rule("R5", "C9")
async def test_a_participant_whose_queue_stays_full_is_given_up(server: RoomServer) -> None:
    async with scripted_client(server, "bob"):
        [room] = server._rooms
        member = room.members["bob"]
        waited = 0

        class FullSendQueue:
            queued_bytes = 0

            def send_nowait(self, frame: object, **_: object) -> None:  # noqa: ARG002
                raise LinkFullError("full")

            async def wait_writable(self) -> None:
                nonlocal waited
                waited += 1
                await anyio.sleep(1)

            def flush_nowait(self) -> None: ...

            async def wait_sent(self) -> None: ...

            def discard_queued(self) -> None: ...

        send_queue, member.send_queue = member.send_queue, FullSendQueue()
        code, *_ = await failure(greet(server, response_timeout=2.5))
        member.send_queue = send_queue
        assert (code, waited) == (1502, 3)


@pytest.mark.rule("R5", "C11")
@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"method": ""}, ValueError),
        ({"method": "m" * 65}, ValueError),
        ({"response_timeout": 0}, ValueError),
        ({"response_timeout": float("nan")}, ValueError),
        ({"payload": b"bytes"}, TypeError),
        ({"method": None}, TypeError),
    ],
)
async def test_a_call_that_nobody_could_mean_is_refused(
    server: RoomServer, join: Join, arguments: dict[str, Any], error: type[Exception]
) -> None:
    async with join("bob"):
        right = {"method": "greet", "payload": "", "response_timeout": 1.0}
        with pytest.raises(error):
            await server.perform_rpc(ROOM, "bob", **{**right, **arguments})


@pytest.mark.rule("R5", "C11")
@pytest.mark.parametrize(
    ("request_", "msg"),
    [
        ({"method": "greet"}, "destination_identity is missing"),
        ({"destination_identity": "bob"}, "the name of a method has 1 to 64 UTF-8 bytes, not 0"),
    ],
)
async def test_a_request_that_nobody_could_mean_is_an_invalid_argument(
    server: RoomServer, join: Join, request_: dict[str, str], msg: str
) -> None:
    async with join("bob"):
        assert await refusal_of(server, "PerformRpc", **request_) == (400, "invalid_argument", msg)


@pytest.mark.rule("R5", "C1")
async def test_a_timeout_of_zero_in_a_request_is_the_default(
    server: RoomServer, join: Join
) -> None:
    async with callee(join, never_answer):
        started = anyio.current_time()
        request = {"room": ROOM, "destination_identity": "bob", "method": "greet"}
        status, _ = await ask(server, "PerformRpc", request)
        assert status == 408
        assert anyio.current_time() - started == pytest.approx(10, abs=0.1)


# Cancellation


class EndlessHandler:
    def __init__(self) -> None:
        self.called, self.cancelled = anyio.Event(), anyio.Event()

    async def __call__(self, _data: RpcInvocationData) -> str:
        self.called.set()
        try:
            await anyio.sleep_forever()
        finally:
            self.cancelled.set()
        raise AssertionError


@pytest.mark.rule("R5", "C13")
async def test_a_cancelled_call_is_forgotten_and_cancels_its_handler(
    server: RoomServer, join: Join
) -> None:
    handler = EndlessHandler()
    async with callee(join, handler):
        async with anyio.create_task_group() as task_group:
            task_group.start_soon(greet, server)
            await handler.called.wait()
            task_group.cancel_scope.cancel()
        with anyio.fail_after(1):
            await handler.cancelled.wait()
        [room] = server._rooms
        assert not room.callers


@pytest.mark.rule("R5", "C13")
async def test_a_client_that_goes_away_cancels_its_call(server: RoomServer, join: Join) -> None:
    handler = EndlessHandler()
    body = {"room": ROOM, "destination_identity": "bob", "method": "greet"}
    messages = [{"type": "http.request", "body": json.dumps(body).encode()}]

    async def receive() -> dict[str, Any]:
        if messages:
            return messages.pop()
        await handler.called.wait()
        return {"type": "http.disconnect"}

    async def send(message: object) -> None:
        raise AssertionError(f"nobody is there for {message}")

    headers = {**JSON, "Authorization": f"Bearer {admin_token()}"}
    scope = {
        "type": "http",
        "method": "POST",
        "path": path_of("PerformRpc"),
        "query_string": b"",
        "headers": [(key.lower().encode(), value.encode()) for key, value in headers.items()],
    }
    async with callee(join, handler):
        with anyio.fail_after(1):
            await create_app(server)(scope, receive, send)
            await handler.cancelled.wait()
