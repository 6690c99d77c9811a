"""Rules C7 and C10 to C12: calls that fail at once, and of which nothing is ever sent."""

from __future__ import annotations

import math
from typing import Any, Final

import pytest
from livekit.protocol import models

from trio_rpc import DisconnectedError, DisconnectReason, Room, RpcError, RpcInvocationData

from ..conftest import Join
from ..support.callee import leave
from ..support.caller import Caller, Failure, built_in, caller
from ..support.scripted_server import ScriptedServer, participant_info

pytestmark = pytest.mark.anyio

EURO: Final = "\N{EURO SIGN}"
GRIN: Final = "\N{GRINNING FACE}"


async def refusal(alice: Caller, payload: Any = "hi", **arguments: Any) -> BaseException:
    """Return the exception of a call that fails at once, before anything is sent."""
    call = alice.call(payload, **arguments)
    error = await call.outcome()
    assert isinstance(error, BaseException), error
    assert call.seconds == 0
    assert alice.pending_calls == 0
    return error


async def failure(alice: Caller, payload: str = "hi", **arguments: Any) -> Failure:
    """Return the code, message and data of a call that fails at once."""
    error = await refusal(alice, payload, **arguments)
    assert isinstance(error, RpcError), error
    return error.code, error.message, error.data


async def sent(alice: Caller) -> list[models.DataPacket]:
    """Leave the room, and return the packets sent but not received yet."""
    return await leave(alice.room, alice.server)


def not_found(data: str) -> Failure:
    return built_in(RpcError.ErrorCode.RECIPIENT_NOT_FOUND, data)


def too_large(size: str) -> Failure:
    return built_in(
        RpcError.ErrorCode.REQUEST_PAYLOAD_TOO_LARGE,
        f"the payload has {size} bytes, over the limit of 15,360",
    )


# Whom to call


@pytest.mark.rule("C7", "E2")
@pytest.mark.parametrize("identity", ["carol", "", "Bob", "bob ", "\ud800"])
async def test_nobody_of_that_name_is_in_the_room(identity: str) -> None:
    async with caller() as alice:
        expected = not_found(f"no participant {identity!r} is in room 'the room'")
        assert await failure(alice, destination_identity=identity) == expected
        assert await sent(alice) == []


@pytest.mark.rule("C7", "E2")
async def test_a_participant_cannot_call_itself() -> None:
    async with caller() as alice:
        expected = not_found("'alice' cannot call itself")
        assert await failure(alice, destination_identity="alice") == expected
        assert await sent(alice) == []


@pytest.mark.rule("C7")
async def test_departed_participants_cannot_be_called_and_new_ones_can() -> None:
    async with caller() as alice:
        alice.server.announce(
            participant_info("bob", state=models.ParticipantInfo.DISCONNECTED),
            participant_info("carol"),
        )
        await alice.room.wait_for_participant("carol")
        assert (await failure(alice))[0] == RpcError.ErrorCode.RECIPIENT_NOT_FOUND
        call, request_id = await alice.start_call(destination_identity="carol")
        alice.respond(request_id, "hello", sender="carol")
        assert await call.outcome() == "hello"


# Arguments of calls


@pytest.mark.rule("C10")
@pytest.mark.parametrize(
    "payload",
    [
        pytest.param("", id="nothing"),
        pytest.param("x" * 15_360, id="1 byte each"),
        pytest.param("\N{LATIN SMALL LETTER E WITH ACUTE}" * 7_680, id="2 bytes each"),
        pytest.param(EURO * 5_120, id="3 bytes each"),
        pytest.param(GRIN * 3_840, id="4 bytes each"),
        pytest.param("\0" * 15_360, id="zeros"),
    ],
)
async def test_a_payload_at_the_limit_goes_through_and_back(payload: str, join: Join) -> None:
    async def echo(data: RpcInvocationData) -> str:
        return data.payload

    async with join("alice") as alice, join("bob") as bob:
        bob.register_rpc_method("echo", echo)
        await alice.wait_for_participant("bob")
        answer = await alice.local_participant.perform_rpc(
            destination_identity="bob", method="echo", payload=payload
        )
        assert answer == payload


@pytest.mark.rule("C10", "E2")
@pytest.mark.parametrize(
    ("payload", "size"),
    [
        pytest.param("x" * 15_361, "15,361", id="1 byte each"),
        pytest.param(EURO * 5_120 + "x", "15,361", id="3 bytes each, and one"),
        pytest.param(EURO * 5_121, "15,363", id="3 bytes each"),
        pytest.param("x" + GRIN * 3_840, "15,361", id="one, and 4 bytes each"),
        pytest.param(GRIN * 15_360, "61,440", id="as many characters as bytes may be"),
        pytest.param("x" * 5_000_000, "5,000,000", id="5 MB"),
    ],
)
async def test_a_payload_over_the_limit_is_not_sent(payload: str, size: str) -> None:
    async with caller() as alice:
        assert await failure(alice, payload) == too_large(size)
        assert await sent(alice) == []


@pytest.mark.rule("C11")
@pytest.mark.parametrize("method", ["m", "x" * 64, EURO * 21 + "x", GRIN * 16, " ", "\n"])
async def test_the_name_of_a_method_has_up_to_64_bytes(method: str) -> None:
    async with caller() as alice:
        alice.call(method=method)
        assert (await alice.expect_request()).method == method


@pytest.mark.rule("C5", "C11")
async def test_two_calls_in_flight_cannot_have_the_same_id() -> None:
    async with caller() as alice:
        first = alice.call(request_id="1")
        assert (await alice.expect_request()).id == "1"
        error = await alice.call(request_id="1").outcome()
        assert isinstance(error, ValueError)
        assert str(error) == "a call with the request_id '1' is in flight"
        alice.respond("1", "hello")
        assert await first.outcome() == "hello"
        again = alice.call(request_id="1")
        assert (await alice.expect_request()).id == "1"
        alice.respond("1", "hello again")
        assert await again.outcome() == "hello again"


@pytest.mark.rule("C11")
@pytest.mark.parametrize(
    ("arguments", "error_type", "message"),
    [
        ({"method": ""}, ValueError, "the name of a method has 1 to 64 UTF-8 bytes, not 0"),
        ({"method": "x" * 65}, ValueError, "the name of a method has 1 to 64 UTF-8 bytes, not 65"),
        ({"method": GRIN * 17}, ValueError, "the name of a method has 1 to 64 UTF-8 bytes, not 68"),
        ({"method": None}, TypeError, "the name of a method is a str, not NoneType"),
        ({"method": b"m"}, TypeError, "the name of a method is a str, not bytes"),
        ({"response_timeout": 0}, ValueError, "a number of seconds above 0, not 0"),
        ({"response_timeout": -0.0}, ValueError, "a number of seconds above 0, not -0.0"),
        ({"response_timeout": -1e-9}, ValueError, "a number of seconds above 0, not -1e-09"),
        ({"response_timeout": -math.inf}, ValueError, "a number of seconds above 0, not -inf"),
        ({"response_timeout": math.nan}, ValueError, "a number of seconds above 0, not nan"),
        ({"response_timeout": "5"}, TypeError, "real number, not str"),
        ({"max_round_trip_latency": 0}, ValueError, "a number of seconds above 0, not 0"),
        ({"max_round_trip_latency": math.nan}, ValueError, "a number of seconds above 0, not nan"),
        ({"payload": None}, TypeError, "the payload of a call is a str, not NoneType"),
        ({"payload": b"hi"}, TypeError, "the payload of a call is a str, not bytes"),
        ({"payload": {"a": 1}}, TypeError, "the payload of a call is a str, not dict"),
        ({"payload": "\ud800"}, ValueError, "surrogates not allowed"),
        ({"payload": "x" * 20_000 + "\udfff"}, ValueError, "surrogates not allowed"),
        ({"method": "\udc80"}, ValueError, "surrogates not allowed"),
        ({"request_id": ""}, ValueError, "a request_id has 1 to 128 UTF-8 bytes, not 0"),
        ({"request_id": EURO * 43}, ValueError, "a request_id has 1 to 128 UTF-8 bytes, not 129"),
        ({"request_id": "x" * 70_000}, ValueError, "1 to 128 UTF-8 bytes, not 70,000"),
        ({"request_id": 1}, TypeError, "a request_id is a str, not int"),
    ],
)
async def test_a_call_that_nobody_could_mean_is_refused(
    arguments: dict[str, Any], error_type: type[Exception], message: str
) -> None:
    async with caller() as alice:
        error = await refusal(alice, **arguments)
        assert isinstance(error, error_type)
        assert message in str(error)
        assert await sent(alice) == []


@pytest.mark.rule("C11")
async def test_there_are_no_calls_before_joining() -> None:
    room = Room()
    with pytest.raises(RuntimeError, match="the room is not joined"):
        _ = room.local_participant


@pytest.mark.rule("C8")
async def test_after_leaving_calls_are_1503() -> None:
    async with caller() as alice:
        assert await sent(alice) == []
        error = await refusal(alice)
        assert isinstance(error, RpcError)
        assert error.code == RpcError.ErrorCode.RECIPIENT_DISCONNECTED
        assert error.data == "we left the room"
        assert isinstance(error.__cause__, DisconnectedError)
        assert error.__cause__.reason is DisconnectReason.CLIENT_INITIATED


# Permissions


def without_permission(*, hidden: bool) -> models.ParticipantInfo:
    info = participant_info("alice")
    info.permission.hidden = hidden
    info.permission.can_publish_data = hidden
    return info


def not_permitted(*, hidden: bool) -> Failure:
    reason = (
        "'alice' is a hidden participant, which may not send"
        if hidden
        else "'alice' lacks the grant canPublishData"
    )
    return built_in(RpcError.ErrorCode.SEND_FAILED, reason)


@pytest.mark.rule("C12", "E2")
@pytest.mark.parametrize("hidden", [True, False], ids=["hidden", "without canPublishData"])
async def test_whoever_may_not_send_may_not_call(hidden: bool) -> None:
    async with caller(ScriptedServer(local=without_permission(hidden=hidden))) as alice:
        assert await failure(alice) == not_permitted(hidden=hidden)
        assert await sent(alice) == []


@pytest.mark.rule("C12")
async def test_the_permission_to_call_may_be_taken_and_given_back() -> None:
    async with caller() as alice:
        alice.server.announce(without_permission(hidden=False))
        await alice.settle()
        assert await failure(alice) == not_permitted(hidden=False)
        alice.server.announce(participant_info("alice"))
        await alice.settle()
        call, request_id = await alice.start_call()
        alice.respond(request_id, "hello")
        assert await call.outcome() == "hello"


@pytest.mark.rule("C12")
@pytest.mark.parametrize("grant", [{"hidden": True}, {"can_publish_data": False}], ids=str)
async def test_a_token_without_the_permission_does_not_let_its_holder_call(
    grant: dict[str, bool], join: Join
) -> None:
    called: list[str] = []

    async def answer(data: RpcInvocationData) -> None:
        called.append(data.caller_identity)

    async with join("bob") as bob, join("alice", **grant) as alice:
        bob.register_rpc_method("m", answer)
        with pytest.raises(RpcError) as caught:
            await alice.local_participant.perform_rpc(
                destination_identity="bob", method="m", payload=""
            )
        error = caught.value
        expected = not_permitted(hidden="hidden" in grant)
        assert (error.code, error.message, error.data) == expected
    assert called == []
