"""Rules S6 to S8, C5 and C6 for calls: requests and responses that are not as they should be."""

from __future__ import annotations

import logging
from typing import Any, Final

import anyio
import pytest
from attrs import define, field
from livekit.protocol import models

from trio_rpc import RpcError, RpcInvocationData

from ..support.callee import expect_ack, expect_response, failure, leave
from ..support.caller import built_in
from ..support.scripted_server import ScriptedServer
from ..support.stream_packets import (
    deflated,
    expect_whole_stream,
    peer,
    request_attributes,
    request_header,
    response_header,
    send_chunk,
    send_header,
    send_stream,
    send_trailer,
)
from ..support.v2_participants import start_call, v2_callee, v2_caller

TOO_MUCH = "it has more than 10,000 bytes that are not read, which is the limit (max_stream_bytes)"

pytestmark = pytest.mark.anyio

codes = RpcError.ErrorCode


@define
class Recorder:
    """A handler that remembers what it was called with."""

    calls: list[RpcInvocationData] = field(factory=list)

    async def __call__(self, data: RpcInvocationData) -> str:
        self.calls.append(data)
        return ""


# Requests that are not right (S8)


@pytest.mark.rule("S8", "A9")
@pytest.mark.parametrize(
    ("attribute", "value", "problem"),
    [
        (
            f"lk.rpc_request_{name}",
            value,
            f"the attribute lk.rpc_request_{name} "
            + ("is missing" if not value else "is not a decimal number of 32 bits"),
        )
        for name, values in {
            "method": [None, ""],
            "response_timeout_ms": [
                None,
                "",
                "abc",
                "-1",
                "1.5",
                "4294967296",
                "٣",
                " 1",
                "9" * 99,
            ],
            "version": [None, "", "two", "-2", "2.0"],
        }.items()
        for value in values
    ],
)
async def test_a_request_without_what_it_needs_is_1500_and_no_handler_runs(
    attribute: str, value: str | None, problem: str
) -> None:
    ran = Recorder()
    attributes = request_attributes()
    del attributes[attribute]
    if value is not None:
        attributes[attribute] = value
    async with v2_callee(ran) as (room, server):
        send_header(server, request_header(attributes=attributes))
        assert await expect_ack(server) == "1"
        assert failure(await expect_response(server)) == (
            1500,
            "Application error in method handler",
            problem,
        )
        assert await leave(room, server) == []
    assert ran.calls == []


@pytest.mark.rule("S8")
@pytest.mark.parametrize("request_id", [None, ""])
async def test_a_request_without_an_id_is_not_answered(request_id: str | None) -> None:
    ran = Recorder()
    attributes = request_attributes(request_id="")
    if request_id is None:
        del attributes["lk.rpc_request_id"]
    async with v2_callee(ran) as (_, server):
        send_header(server, request_header(attributes=attributes))
        send_header(server, request_header("2"))
        assert await expect_ack(server) == "2"
        await expect_whole_stream(server)
    assert [data.request_id for data in ran.calls] == ["2"]


# Streams that break off (S6)


def gap(server: ScriptedServer, stream_id: str) -> None:
    send_chunk(server, 0, b"h", stream_id=stream_id)
    send_chunk(server, 2, b"i", stream_id=stream_id)


def too_much(server: ScriptedServer, stream_id: str) -> None:
    send_chunk(server, 0, b"hello", stream_id=stream_id)


def too_little(server: ScriptedServer, stream_id: str) -> None:
    send_chunk(server, 0, b"h", stream_id=stream_id)
    send_trailer(server, stream_id=stream_id)


def gives_up(server: ScriptedServer, stream_id: str) -> None:
    send_trailer(server, stream_id=stream_id, reason="no more")


def falls_silent(server: ScriptedServer, stream_id: str) -> None:
    send_chunk(server, 0, b"h", stream_id=stream_id)


BREAKS: Final = [
    (gap, "chunk 1 is missing: 2 came"),
    (too_much, "2 bytes were announced, and 5 have come"),
    (too_little, "2 bytes were announced, and only 1 have come"),
    (gives_up, "its sender gave up: no more"),
    (falls_silent, "nothing of it came for 30 s"),
]


async def keep_alive(server: ScriptedServer) -> None:
    while True:
        await anyio.sleep(5)
        server.send_signal(pong=1)


@pytest.mark.rule("S6", "S3", "A9")
@pytest.mark.parametrize(("break_off", "problem"), BREAKS)
async def test_a_request_that_breaks_off_is_1500_and_no_handler_runs(
    break_off: Any, problem: str
) -> None:
    ran = Recorder()
    async with v2_callee(ran) as (room, server), anyio.create_task_group() as tasks:
        tasks.start_soon(keep_alive, server)
        header = request_header(content=None, total_length=2, timeout_ms=60_000)
        send_header(server, header)
        await expect_ack(server)
        break_off(server, header.stream_id)
        assert failure(await expect_response(server)) == (
            1500,
            "Application error in method handler",
            f"the request broke off: {problem}",
        )
        assert room.statistics().open_streams == 0
        assert ran.calls == []
        # The connection lives on.
        send_header(server, request_header("2"))
        assert await expect_ack(server) == "2"
        await expect_whole_stream(server)
        tasks.cancel_scope.cancel()


@pytest.mark.rule("S6")
@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"compression": 7}, "it is compressed in an unknown way, 7"),
        (
            {"compression": 1, "content": b"\xff" * 9},
            "it is not deflate-raw",
        ),
        ({"compression": 1, "content": b"h"}, "1 bytes were announced, and only 0 have come"),
        ({"content": b"\xff\xfe"}, "it is not UTF-8"),
        ({"total_length": 3}, "3 bytes were announced, and only 2 have come"),
        ({"total_length": 1}, "1 bytes were announced, and 2 have come"),
    ],
)
async def test_an_inline_request_that_is_not_right_is_1500(
    fields: dict[str, Any], problem: str
) -> None:
    ran = Recorder()
    async with v2_callee(ran) as (_, server):
        send_header(server, request_header(**{"content": b"hi"} | fields))
        await expect_ack(server)
        code, _, data = failure(await expect_response(server))
        assert code == codes.APPLICATION_ERROR
        assert data.startswith(f"the request broke off: {problem}")
    assert ran.calls == []


@pytest.mark.rule("S6")
@pytest.mark.parametrize(("break_off", "problem"), BREAKS)
async def test_a_response_that_breaks_off_is_1500(break_off: Any, problem: str) -> None:
    async with v2_caller() as alice, anyio.create_task_group() as tasks:
        tasks.start_soon(keep_alive, alice.server)
        call, request_id = await start_call(alice, response_timeout=60)
        alice.acknowledge(request_id)
        header = response_header(request_id, None, total_length=2)
        send_header(alice.server, header)
        break_off(alice.server, header.stream_id)
        assert await call.failure() == built_in(
            codes.APPLICATION_ERROR, f"the response broke off: {problem}"
        )
        await alice.settle()
        assert alice.pending_calls == 0
        assert alice.room.statistics().open_streams == 0
        tasks.cancel_scope.cancel()


@pytest.mark.rule("S6", "C8")
async def test_a_callee_that_leaves_in_its_response_is_1503() -> None:
    async with v2_caller() as alice:
        call, request_id = await start_call(alice)
        send_header(alice.server, response_header(request_id, None))
        alice.server.announce(gone("bob"))
        assert await call.failure() == built_in(codes.RECIPIENT_DISCONNECTED, "'bob' left the room")


@pytest.mark.rule("S6", "A9")
async def test_a_caller_that_leaves_in_its_request_ends_the_invocation() -> None:
    ran = Recorder()
    async with v2_callee(ran) as (room, server):
        send_header(server, request_header(content=None))
        await expect_ack(server)
        server.announce(gone("bob"))
        code, _, data = failure(await expect_response(server))
        assert (code, data) == (1500, "the request broke off: 'bob' left the room")
        assert room.statistics().running_handlers == 0
    assert ran.calls == []


# Limits of streams (S7)


@pytest.mark.rule("S7")
async def test_a_request_that_inflates_to_too_much_is_1500() -> None:
    bomb = deflated(bytes(1_000_000))
    ran = Recorder()
    async with v2_callee(ran, max_stream_bytes=10_000) as (_, server):
        send_header(server, request_header(content=bomb, total_length=1_000_000, compression=1))
        await expect_ack(server)
        code, _, data = failure(await expect_response(server))
        assert (code, data) == (
            1500,
            f"the request broke off: {TOO_MUCH}",
        )
    assert ran.calls == []


@pytest.mark.rule("S7")
async def test_a_response_that_grows_too_much_is_1500() -> None:
    async with v2_caller(max_stream_bytes=10_000) as alice:
        call, request_id = await start_call(alice)
        send_stream(alice.server, response_header(request_id, None), [b"x" * 6_000] * 2)
        assert await call.failure() == built_in(
            codes.APPLICATION_ERROR,
            f"the response broke off: {TOO_MUCH}",
        )


# Senders and times of responses


@pytest.mark.rule("C6")
async def test_only_the_callee_may_answer_by_a_stream(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "trio_rpc")
    async with v2_caller() as alice:
        call, request_id = await start_call(alice)
        send_header(alice.server, response_header(request_id, b"forged"), sender="mallory")
        # Chunks of another participant do not belong to the callee's stream either.
        header = response_header(request_id, None)
        send_header(alice.server, header)
        send_chunk(alice.server, 0, b"forged", stream_id=header.stream_id, sender="mallory")
        send_trailer(alice.server, stream_id=header.stream_id, sender="mallory")
        send_chunk(alice.server, 0, b"hello", stream_id=header.stream_id)
        send_trailer(alice.server, stream_id=header.stream_id)
        assert await call.outcome() == "hello"
    assert "ignored mallory's response stream to a call of bob" in caplog.messages


@pytest.mark.rule("C5")
async def test_late_and_unknown_response_streams_are_ignored() -> None:
    async with v2_caller() as alice:
        call, request_id = await start_call(alice)
        send_header(alice.server, response_header(request_id, b"hello"))
        assert await call.outcome() == "hello"
        send_stream(alice.server, response_header(request_id, None), [b"again"])
        send_stream(alice.server, response_header("unknown", None), [b"again"])
        await alice.settle()
        assert alice.room.statistics().open_streams == 0


@pytest.mark.rule("C5")
async def test_interleaved_response_streams_never_cross() -> None:
    async with v2_caller() as alice:
        calls = [await start_call(alice, str(number)) for number in range(5)]
        for _, request_id in calls:
            send_header(alice.server, response_header(request_id, None))
        for index in range(3):
            for number, (_, request_id) in enumerate(calls):
                content = f"{number}{index} ".encode()
                send_chunk(alice.server, index, content, stream_id=f"response {request_id}")
        for _, request_id in reversed(calls):
            send_trailer(alice.server, stream_id=f"response {request_id}")
        for number, (call, _) in enumerate(calls):
            assert await call.outcome() == f"{number}0 {number}1 {number}2 "


@pytest.mark.rule("C9")
async def test_a_request_stream_that_can_not_be_sent_is_1505() -> None:
    async with v2_caller(on_disconnect="continue") as alice:
        await alice.server.client_link.aclose("the cable was cut")
        call = alice.call()
        assert (await call.failure())[0] in {codes.SEND_FAILED, codes.RECIPIENT_DISCONNECTED}
        assert alice.pending_calls == 0


def gone(identity: str) -> models.ParticipantInfo:
    info = peer(identity)
    info.state = models.ParticipantInfo.DISCONNECTED
    return info
