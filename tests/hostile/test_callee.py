"""Callees of hostile callers: one caller's requests concern that caller alone (B1 to B5)."""

from __future__ import annotations

import logging
from typing import Any, NoReturn

import anyio
import pytest
from livekit.protocol import models

from trio_rpc import Room, RpcError, RpcInvocationData
from trio_rpc.protocol.limits import MAX_TIMEOUT_MS

from ..support.callee import METHOD, callee, expect_ack, expect_response, failure, send_request
from ..support.stream_packets import (
    peer,
    request_header,
    send_header,
    server_with,
)
from .honest_callee import Handler, assert_answers, honest, v2_callee

pytestmark = pytest.mark.anyio


# Ids


@pytest.mark.rule("B1", "B3")
async def test_a_request_whose_id_is_running_is_ignored() -> None:
    handler = Handler()
    async with callee(handler) as (room, server):
        room.register_rpc_method("honest", honest)
        send_request(server)
        send_request(server)
        assert await expect_ack(server) == "1"
        await assert_answers(server)
        handler.gate.set()
        assert (await expect_response(server)).payload == "done"
        await assert_answers(server, "2")
    assert handler.calls == ["1"]


@pytest.mark.rule("B1")
async def test_a_request_that_was_answered_is_ignored_until_its_deadline() -> None:
    handler = Handler()
    handler.gate.set()
    async with callee(handler) as (room, server):
        room.register_rpc_method("honest", honest)
        send_request(server, timeout_ms=5_000)
        assert await expect_ack(server) == "1"
        assert (await expect_response(server)).payload == "done"
        await anyio.sleep(4.9)
        send_request(server)
        await assert_answers(server)
        assert len(handler.calls) == 1
        await anyio.sleep(0.2)
        send_request(server)
        assert await expect_ack(server) == "1"
        assert (await expect_response(server)).payload == "done"
        assert len(handler.calls) == 2


@pytest.mark.rule("B1", "B4")
async def test_an_answered_request_is_not_remembered_for_weeks() -> None:
    handler = Handler()
    handler.gate.set()
    room, server = Room(), server_with(peer("bob"), peer("carol"))
    server.join.ping_timeout = 1_000
    room.register_rpc_method(METHOD, handler)
    room.register_rpc_method("honest", honest)
    async with room.connect(server, "a token", reconnect=None):
        # Its deadline is 49 days away.
        send_request(server, timeout_ms=MAX_TIMEOUT_MS)
        assert await expect_ack(server) == "1"
        assert (await expect_response(server)).payload == "done"
        held = room.statistics().held_bytes
        await anyio.sleep(299)
        send_request(server, timeout_ms=MAX_TIMEOUT_MS)
        await assert_answers(server)
        assert len(handler.calls) == 1
        assert room.statistics().held_bytes >= held > 0
        await anyio.sleep(20)
        # That of carol, who has called since.
        assert room.statistics().held_bytes <= held
        send_request(server)
        assert await expect_ack(server) == "1"
        assert (await expect_response(server)).payload == "done"
        assert len(handler.calls) == 2


@pytest.mark.rule("B1")
async def test_the_same_id_of_another_caller_is_another_request() -> None:
    handler = Handler()
    handler.gate.set()
    async with callee(handler) as (_, server):
        for sender in ("bob", "carol"):
            request = models.RpcRequest(id="1", method=METHOD, response_timeout_ms=5_000, version=1)
            server.send_from(sender, rpc_request=request)
        answers = [await server.expect_packet() for _ in range(4)]
        assert {(each.destination_identities[0], each.WhichOneof("value")) for each in answers} == {
            (sender, kind) for sender in ("bob", "carol") for kind in ("rpc_ack", "rpc_response")
        }


@pytest.mark.rule("B1")
async def test_a_stream_with_the_id_of_a_running_request_is_ignored() -> None:
    handler = Handler()
    async with v2_callee(handler) as (room, server):
        room.register_rpc_method("honest", honest)
        send_header(server, request_header("1", content=b"hi", method=METHOD))
        assert await expect_ack(server) == "1"
        again = request_header("1", content=b"hi", method=METHOD)
        again.stream_id = "other"
        send_header(server, again)
        send_request(server, "1")
        await assert_answers(server)
    assert handler.calls == ["1"]


@pytest.mark.rule("B2", "P8")
@pytest.mark.parametrize("size", [0, 129, 55_000, 63_600])
async def test_an_id_out_of_bounds_is_malformed(
    size: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "trio_rpc")
    handler = Handler()
    async with callee(handler) as (room, server):
        room.register_rpc_method("honest", honest)
        for attempt in range(4):
            for _ in range(50):
                send_request(server, "i" * size)
            await assert_answers(server, str(attempt))
    assert handler.calls == []
    assert any(f"a request id of {size:,} bytes: it has 1 to 128" in m for m in caplog.messages)


@pytest.mark.rule("B2")
async def test_the_longest_id_is_answered_with_the_largest_payload() -> None:
    request_id = "i" * 128

    async def handler(_data: RpcInvocationData) -> str:
        return "x" * 15_360

    async with v2_callee(handler) as (_, server):
        send_request(server, request_id)
        assert await expect_ack(server) == request_id
        assert len((await expect_response(server)).payload) == 15_360
        header = request_header(request_id + "2", content=b"hi", method=METHOD)
        send_header(server, header)  # its id is one byte too long
        send_header(server, request_header("2" * 128, content=b"hi", method=METHOD))
        assert await expect_ack(server) == "2" * 128


# Answers that cannot be built


class NastyText(str):
    """A text that raises wherever it is examined."""

    __slots__ = ()

    def isascii(self) -> NoReturn:
        raise RuntimeError("isascii")

    def encode(self, *_args: object, **_kwargs: object) -> NoReturn:
        raise RuntimeError("encode")

    def __len__(self) -> NoReturn:
        raise RuntimeError("len")


class NastyError(RpcError):
    """An error that raises when it is examined."""

    @property
    def message(self) -> NoReturn:
        raise RuntimeError("message")


async def return_nasty_text(_data: RpcInvocationData) -> str:
    return NastyText("hello")


async def raise_nasty_error(_data: RpcInvocationData) -> str:
    raise NastyError(2000, "no")


async def raise_generator_exit(_data: RpcInvocationData) -> str:
    raise GeneratorExit


async def return_coroutine(data: RpcInvocationData) -> Any:
    return honest(data)


@pytest.mark.rule("B3", "A9")
@pytest.mark.parametrize("handler", [raise_nasty_error, raise_generator_exit, return_coroutine])
async def test_an_answer_that_cannot_be_built_is_1500(handler: Any) -> None:
    async with callee(handler) as (room, server):
        room.register_rpc_method("honest", honest)
        send_request(server)
        assert await expect_ack(server) == "1"
        assert failure(await expect_response(server))[0] == 1500
        await assert_answers(server)


@pytest.mark.rule("B3", "A8")
async def test_a_result_that_is_text_of_another_class_is_text() -> None:
    async with callee(return_nasty_text) as (room, server):
        room.register_rpc_method("honest", honest)
        send_request(server)
        assert await expect_ack(server) == "1"
        assert (await expect_response(server)).payload == "hello"
        await assert_answers(server)


@pytest.mark.rule("B3")
async def test_a_callback_that_ends_in_no_ordinary_way_ends_alone(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with callee(honest) as (room, server):

        @room.on("data_received")
        def raise_exit(_packet: object) -> None:
            raise GeneratorExit

        room.register_rpc_method("honest", honest)
        server.send_from("bob", user=models.UserPacket(payload=b"x"))
        await assert_answers(server)
    assert "a callback for data_received failed" in caplog.messages


@pytest.mark.rule("B3")
async def test_a_failure_of_ours_concerns_one_packet(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with callee(honest) as (room, server):
        room.register_rpc_method("honest", honest)

        def fail(*_arguments: object) -> NoReturn:
            raise LookupError("a bug")

        assert room._session is not None
        monkeypatch.setattr(room._session.calls, "on_ack", fail)
        server.send_from("bob", rpc_ack=models.RpcAck(request_id="1"))
        await assert_answers(server)
    (record,) = (each for each in caplog.records if each.exc_info)
    assert "LookupError: a bug" in caplog.text
    assert record.levelno == logging.ERROR
