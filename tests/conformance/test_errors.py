"""Rules E1 and E2: `RpcError`, and the built-in errors."""

from __future__ import annotations

import copy
import logging
import pickle
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest
from livekit.protocol import models, rtc

from trio_rpc import Room, RpcError, RpcInvocationData
from trio_rpc.links import Frame, Link, LinkClosedError

from ..conftest import Join
from ..support.callee import METHOD, callee, expect_ack, expect_response, failure, send_request
from ..support.scripted_server import ScriptedServer
from .manifest import PROTOCOL

pytestmark = pytest.mark.anyio

#: What must be seen nowhere but in the payload.
SECRET = "hunter2"
_ERROR_ROW = re.compile(r"^\| (\d{4}) \| ([A-Z_]+) \| (.+?) \|$", re.MULTILINE)


# The class


@pytest.mark.rule("E1")
def test_the_built_in_errors_are_those_of_the_protocol() -> None:
    documented = [
        (int(code), name, message)
        for code, name, message in _ERROR_ROW.findall(PROTOCOL.read_text())
    ]
    assert len(documented) == 11
    assert documented == [
        (int(code), code.name, RpcError.ErrorMessage[code]) for code in RpcError.ErrorCode
    ]


@pytest.mark.rule("E1")
def test_an_error_has_what_it_was_made_with() -> None:
    error = RpcError(101, "no", "because")
    assert (error.code, error.message, error.data) == (101, "no", "because")
    assert RpcError(code=101, message="no").data is None
    assert RpcError(2**32 - 1, "", "").data == ""


@pytest.mark.rule("E1")
@pytest.mark.parametrize("attribute", ["code", "message", "data"])
def test_an_error_cannot_be_changed(attribute: str) -> None:
    error = RpcError(101, "no", "because")
    with pytest.raises(AttributeError):
        setattr(error, attribute, getattr(error, attribute))
    with pytest.raises(AttributeError):
        delattr(error, attribute)


@pytest.mark.rule("E1")
def test_the_messages_cannot_be_changed() -> None:
    messages: Any = RpcError.ErrorMessage
    with pytest.raises(TypeError):
        messages[RpcError.ErrorCode.SEND_FAILED] = "mine"


@pytest.mark.rule("E1")
@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("1", "no"), "the code of an RpcError is an int, not str"),
        ((1.0, "no"), "the code of an RpcError is an int, not float"),
        ((1, None), "the message of an RpcError is a str, not NoneType"),
        ((1, b"no"), "the message of an RpcError is a str, not bytes"),
        ((1, "no", 42), "the data of an RpcError is a str or None, not int"),
        ((1, "no", {"a": 1}), "the data of an RpcError is a str or None, not dict"),
    ],
)
def test_arguments_of_other_types_are_refused(arguments: Any, text: str) -> None:
    with pytest.raises(TypeError, match=f"^{text}$"):
        RpcError(*arguments)


@pytest.mark.rule("E1")
@pytest.mark.parametrize("code", [-1, 2**32])
def test_codes_that_do_not_fit_are_refused(code: int) -> None:
    with pytest.raises(ValueError, match=f"^the code .* is from 0 to 4294967295, not {code}$"):
        RpcError(code, "no")


@pytest.mark.rule("E1")
def test_an_error_reads_well() -> None:
    assert str(RpcError(101, "no", "because")) == "101 no: because"
    assert str(RpcError(101, "no")) == "101 no"
    code = RpcError.ErrorCode.RESPONSE_TIMEOUT
    assert str(RpcError.built_in(code)) == "1502 Response timeout"
    assert repr(RpcError(101, "no", "because")) == "RpcError(101, 'no', 'because')"


@pytest.mark.rule("E1")
def test_an_error_survives_being_copied_and_pickled() -> None:
    error = RpcError(101, "no", "because")
    for twin in (copy.copy(error), pickle.loads(pickle.dumps(error))):
        assert (twin.code, twin.message, twin.data) == (101, "no", "because")


# The built-in errors


async def call(room: Room, payload: str = SECRET, **arguments: Any) -> RpcError:
    """Make a call, and return the error that it raises."""
    arguments = {"destination_identity": "bob", "method": METHOD, **arguments}
    with pytest.raises(RpcError) as caught:
        await room.local_participant.perform_rpc(payload=payload, **arguments)
    return caught.value


def check(
    error: RpcError, code: RpcError.ErrorCode, data: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Check the error, and that the payload has been revealed nowhere."""
    assert (error.code, error.message, error.data) == (code, RpcError.ErrorMessage[code], data)
    for text in (str(error), repr(error), caplog.text):
        assert SECRET not in text


@pytest.fixture(autouse=True)
def log_everything(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)


@pytest.mark.rule("E2", "A2")
async def test_1400_names_the_method(join: Join, caplog: pytest.LogCaptureFixture) -> None:
    async with join("bob"), join("alice") as alice:
        error = await call(alice, method="nonsense")
    check(
        error,
        RpcError.ErrorCode.UNSUPPORTED_METHOD,
        "no method 'nonsense' is registered",
        caplog,
    )


@pytest.mark.rule("E2", "C7")
@pytest.mark.parametrize(
    ("identity", "data"),
    [
        ("nobody", "no participant 'nobody' is in room 'the room'"),
        ("alice", "'alice' cannot call itself"),
    ],
)
async def test_1401_names_the_identity_and_the_room(
    identity: str, data: str, join: Join, caplog: pytest.LogCaptureFixture
) -> None:
    async with join("alice") as alice:
        error = await call(alice, destination_identity=identity)
    check(error, RpcError.ErrorCode.RECIPIENT_NOT_FOUND, data, caplog)


@pytest.mark.rule("E2", "C10")
async def test_1402_names_the_size_and_the_limit(
    join: Join, caplog: pytest.LogCaptureFixture
) -> None:
    async with join("bob"), join("alice") as alice:
        error = await call(alice, SECRET * 3_000)
    check(
        error,
        RpcError.ErrorCode.REQUEST_PAYLOAD_TOO_LARGE,
        "the payload has 21,000 bytes, over the limit of 15,360",
        caplog,
    )


@pytest.mark.rule("E2", "N2")
async def test_1403_names_both_versions(caplog: pytest.LogCaptureFixture) -> None:
    async with Room().connect(ScriptedServer(server_version="1.7.9"), "a token") as room:
        error = await call(room)
    check(
        error,
        RpcError.ErrorCode.UNSUPPORTED_SERVER,
        "the server has version 1.7.9, RPC needs 1.8.0",
        caplog,
    )


@pytest.mark.rule("E2", "A2")
async def test_1404_names_both_versions(caplog: pytest.LogCaptureFixture) -> None:
    async with callee(str) as (_, server):
        send_request(server, version=7, payload=SECRET)
        await expect_ack(server)
        error = RpcError(*failure(await expect_response(server)))
    check(
        error,
        RpcError.ErrorCode.UNSUPPORTED_VERSION,
        "version 7 was asked for, 1 is spoken here",
        caplog,
    )


@pytest.mark.rule("E2", "A7")
@pytest.mark.parametrize("outcome", [ValueError("failed"), 42], ids=["raised", "returned"])
async def test_1500_names_the_method_and_where_to_look(
    outcome: object, join: Join, caplog: pytest.LogCaptureFixture
) -> None:
    async def handler(data: RpcInvocationData) -> Any:
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    async with join("bob") as bob, join("alice") as alice:
        bob.register_rpc_method(METHOD, handler)
        error = await call(alice)
    check(
        error,
        RpcError.ErrorCode.APPLICATION_ERROR,
        "the handler of 'greet' failed; its own log says why",
        caplog,
    )


@pytest.mark.rule("E2", "C2")
async def test_1501_names_the_phase_the_identity_and_the_limit(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with Room().connect(ScriptedServer(), "a token", reconnect=None) as room:
        error = await call(room)
    check(
        error,
        RpcError.ErrorCode.CONNECTION_TIMEOUT,
        "'bob' did not acknowledge 'greet' within 7 s",
        caplog,
    )


@pytest.mark.rule("E2", "C1", "C2")
@pytest.mark.parametrize(
    ("acknowledges", "data"),
    [
        (True, "'bob' acknowledged 'greet' but did not answer it within 2 s"),
        (False, "'bob' neither acknowledged nor answered 'greet' within 2 s"),
    ],
)
async def test_1502_of_the_caller_names_the_phase(
    acknowledges: bool, data: str, caplog: pytest.LogCaptureFixture
) -> None:
    server = ScriptedServer()
    async with (
        Room().connect(server, "a token", reconnect=None) as room,
        anyio.create_task_group() as task_group,
    ):

        async def acknowledge() -> None:
            request = (await server.expect_packet()).rpc_request
            if acknowledges:
                server.send_from("bob", rpc_ack=models.RpcAck(request_id=request.id))

        task_group.start_soon(acknowledge)
        error = await call(room, response_timeout=2)
    check(error, RpcError.ErrorCode.RESPONSE_TIMEOUT, data, caplog)


@pytest.mark.rule("E2", "A5")
async def test_1502_of_the_callee_names_the_phase(
    join: Join, caplog: pytest.LogCaptureFixture
) -> None:
    async def handler(data: RpcInvocationData) -> None:
        await anyio.sleep_forever()

    async with callee(handler) as (_, server):
        send_request(server, payload=SECRET, timeout_ms=1_500)
        await expect_ack(server)
        error = RpcError(*failure(await expect_response(server)))
    check(
        error,
        RpcError.ErrorCode.RESPONSE_TIMEOUT,
        "the handler of 'greet' did not finish within 1.5 s",
        caplog,
    )


@pytest.mark.rule("E2", "C8")
async def test_1503_says_who_left(join: Join, caplog: pytest.LogCaptureFixture) -> None:
    errors: dict[str, RpcError] = {}
    server = ScriptedServer(others=["bob", "carol"])
    async with (
        Room().connect(server, "a token", reconnect=None) as room,
        anyio.create_task_group() as task_group,
    ):

        async def call_noting(identity: str) -> None:
            errors[identity] = await call(room, destination_identity=identity)

        for identity in ("bob", "carol"):
            task_group.start_soon(call_noting, identity)
            await server.expect_packet()
        gone = models.ParticipantInfo(
            identity="bob", sid="PA_bob", state=models.ParticipantInfo.DISCONNECTED
        )
        server.announce(gone)
        await anyio.wait_all_tasks_blocked()
        assert list(errors) == ["bob"]
        await room.disconnect()
    code = RpcError.ErrorCode.RECIPIENT_DISCONNECTED
    check(errors["bob"], code, "'bob' left the room", caplog)
    check(errors["carol"], code, "we left the room", caplog)


@pytest.mark.rule("E2", "A8")
async def test_1504_names_the_method_the_size_and_the_limit(
    join: Join, caplog: pytest.LogCaptureFixture
) -> None:
    async def handler(data: RpcInvocationData) -> str:
        return data.payload * 3_000

    async with join("bob") as bob, join("alice") as alice:
        bob.register_rpc_method(METHOD, handler)
        error = await call(alice)
    check(
        error,
        RpcError.ErrorCode.RESPONSE_PAYLOAD_TOO_LARGE,
        "the response of 'greet' has 21,000 bytes, over the limit of 15,360",
        caplog,
    )


@pytest.mark.rule("E2", "C12")
@pytest.mark.parametrize(
    ("grants", "data"),
    [
        ({"hidden": True}, "'alice' is a hidden participant, which may not send"),
        ({"can_publish_data": False}, "'alice' lacks the grant canPublishData"),
    ],
    ids=["hidden", "no grant"],
)
async def test_1505_names_the_sender_without_permission_and_the_reason(
    grants: dict[str, bool], data: str, join: Join, caplog: pytest.LogCaptureFixture
) -> None:
    async with join("bob"), join("alice", **grants) as alice:
        error = await call(alice)
    check(error, RpcError.ErrorCode.SEND_FAILED, data, caplog)


class _BrokenLink:
    """A link that fails to send packets."""

    def __init__(self, link: Link) -> None:
        self._link = link

    def __getattr__(self, name: str) -> Any:
        return getattr(self._link, name)

    def send_nowait(self, frame: Frame, *, flush_follows: bool = False) -> None:  # noqa: ARG002
        raise LinkClosedError("the cable is cut")


class _BrokenServer(ScriptedServer):
    @asynccontextmanager
    async def open_link(self, token: str, request: rtc.JoinRequest) -> AsyncIterator[Link]:
        async with super().open_link(token, request) as link:
            yield _BrokenLink(link)


@pytest.mark.rule("E2", "C9")
async def test_1505_says_why_nothing_was_sent(caplog: pytest.LogCaptureFixture) -> None:
    async with Room().connect(_BrokenServer(), "a token", reconnect=None) as room:
        error = await call(room)
        assert room.statistics().pending_calls == 0
    check(
        error,
        RpcError.ErrorCode.SEND_FAILED,
        "the request to 'bob' was not sent: the cable is cut",
        caplog,
    )


@pytest.mark.rule("E2")
async def test_no_token_is_logged(join: Join, caplog: pytest.LogCaptureFixture) -> None:
    server = ScriptedServer()
    async with Room().connect(server, SECRET), join("bob"):
        pass
    assert SECRET not in caplog.text
    assert "bob" in caplog.text
