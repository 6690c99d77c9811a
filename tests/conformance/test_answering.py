"""Rules A1 to A9: one request, its ack, and exactly one response."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import anyio
import pytest
from livekit.protocol import models

from trio_rpc import RpcError, RpcInvocationData

from ..support.callee import (
    METHOD,
    callee,
    exchange,
    expect_ack,
    expect_response,
    failure,
    leave,
    send_request,
)

pytestmark = pytest.mark.anyio

APPLICATION_ERROR = (
    1500,
    "Application error in method handler",
    "the handler of 'greet' failed; its own log says why",
)
RESPONSE_TIMEOUT = (
    1502,
    "Response timeout",
    "the handler of 'greet' did not finish within 5 s",
)


def returning(result: object) -> Callable[[RpcInvocationData], Any]:
    async def handler(data: RpcInvocationData) -> Any:
        return result

    return handler


def raising(error: BaseException) -> Callable[[RpcInvocationData], Any]:
    async def handler(data: RpcInvocationData) -> str:
        raise error

    return handler


# The ack


@pytest.mark.rule("A1", "A2", "E2")
@pytest.mark.parametrize(
    ("request_fields", "expected"),
    [
        pytest.param({"version": 1}, None, id="nothing wrong"),
        pytest.param(
            {"version": 2},
            (1404, "Unsupported RPC version", "version 2 was asked for, 1 is spoken here"),
            id="newer version",
        ),
        pytest.param(
            {"version": 0},
            (1404, "Unsupported RPC version", "version 0 was asked for, 1 is spoken here"),
            id="no version",
        ),
        pytest.param(
            {"version": 2, "method": "nonsense"},
            (1404, "Unsupported RPC version", "version 2 was asked for, 1 is spoken here"),
            id="newer version of an unknown method",
        ),
        pytest.param(
            {"method": "nonsense"},
            (1400, "Method not supported at destination", "no method 'nonsense' is registered"),
            id="unknown method",
        ),
        pytest.param(
            {"method": ""},
            (1400, "Method not supported at destination", "no method '' is registered"),
            id="no method",
        ),
        pytest.param({"timeout_ms": 0}, (1502, "Response timeout", None), id="no time"),
    ],
)
async def test_the_ack_comes_before_anything_else(
    request_fields: dict[str, Any], expected: tuple[int, str, str | None] | None
) -> None:
    async with callee(returning("hello")) as (room, server):
        send_request(server, **request_fields)
        ack = await server.expect_packet()
        response = await expect_response(server)
        assert await leave(room, server) == []
    assert ack == models.DataPacket(
        sequence=1, destination_identities=["bob"], rpc_ack=models.RpcAck(request_id="1")
    )
    if expected is None:
        assert response == models.RpcResponse(request_id="1", payload="hello")
    else:
        code, message, data = failure(response)
        assert (code, message) == expected[:2]
        assert expected[2] in (None, data)


@pytest.mark.rule("A1", "A13")
async def test_the_ack_does_not_wait_for_the_handler_or_its_turn() -> None:
    async def handler(data: RpcInvocationData) -> None:
        await anyio.sleep_forever()

    async with callee(handler, max_concurrent_handlers=1) as (_, server):
        send_request(server, "running")
        assert await expect_ack(server) == "running"
        send_request(server, "queueing")
        assert await expect_ack(server) == "queueing"


@pytest.mark.rule("A3")
async def test_a_handler_is_given_the_request() -> None:
    given: list[RpcInvocationData] = []

    async def handler(data: RpcInvocationData) -> None:
        given.append(data)

    await exchange(handler, payload="naïve ☕", timeout_ms=1_234)
    assert given == [
        RpcInvocationData(
            request_id="1",
            caller_identity="bob",
            payload="naïve ☕",
            response_timeout=1.234,
            method="greet",
        )
    ]


# Results


@pytest.mark.rule("A8", "A9")
@pytest.mark.parametrize(
    ("result", "payload"),
    [
        pytest.param("hello", "hello", id="text"),
        pytest.param("", "", id="no text"),
        pytest.param(None, "", id="None"),
        pytest.param("naïve ☕", "naïve ☕", id="more than ASCII"),
        pytest.param("x" * 15_360, "x" * 15_360, id="the limit"),
        pytest.param("€" * 5_120, "€" * 5_120, id="the limit in characters of three bytes"),
    ],
)
async def test_text_and_none_are_results(result: str | None, payload: str) -> None:
    assert await exchange(returning(result)) == models.RpcResponse(request_id="1", payload=payload)


@pytest.mark.rule("A8", "A9")
@pytest.mark.parametrize(
    ("result", "what"),
    [
        pytest.param(42, "int", id="int"),
        pytest.param(b"hello", "bytes", id="bytes"),
        pytest.param({"a": 1}, "dict", id="dict"),
        pytest.param(False, "bool", id="bool"),
    ],
)
async def test_other_results_are_errors_of_the_handler(
    result: object, what: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert failure(await exchange(returning(result))) == APPLICATION_ERROR
    assert caplog.messages == [f"the handler of 'greet' returned {what}: a str or None is wanted"]


@pytest.mark.rule("A8", "A9")
async def test_a_result_that_utf8_cannot_carry_is_an_error_of_the_handler(
    caplog: pytest.LogCaptureFixture,
) -> None:
    assert failure(await exchange(returning("lone \ud800 surrogate"))) == APPLICATION_ERROR
    assert caplog.messages == ["the handler of 'greet' returned text that is not Unicode"]


@pytest.mark.rule("A8", "A9", "E2")
@pytest.mark.parametrize(
    ("result", "size"),
    [
        pytest.param("x" * 15_361, "15,361", id="one byte more"),
        pytest.param("x" * 20_000, "20,000", id="20 KB"),
        pytest.param("€" * 5_121, "15,363", id="few characters of many bytes"),
    ],
)
async def test_a_result_over_the_limit_is_1504(result: str, size: str) -> None:
    assert failure(await exchange(returning(result))) == (
        1504,
        "Response payload too large",
        f"the response of 'greet' has {size} bytes, over the limit of 15,360",
    )


# Errors


@pytest.mark.rule("A6", "A9", "C14")
@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (RpcError(101, "no", "because"), (101, "no", "because")),
        (RpcError(0, "", None), (0, "", "")),
        (RpcError(2**32 - 1, "the largest code"), (2**32 - 1, "the largest code", "")),
        (RpcError(RpcError.ErrorCode.SEND_FAILED, "built in"), (1505, "built in", "")),
        (RpcError(1, "lone \ud800", "lone \udfff"), (1, "lone ?", "lone ?")),
    ],
)
async def test_an_rpc_error_reaches_the_caller_as_it_is(
    error: RpcError, expected: tuple[int, str, str]
) -> None:
    assert failure(await exchange(raising(error))) == expected


@pytest.mark.rule("A6")
@pytest.mark.parametrize(
    ("text", "limit", "kept"),
    [
        pytest.param("x" * 256, 256, "x" * 256, id="message at the limit"),
        pytest.param("x" * 257, 256, "x" * 256, id="message one over it"),
        pytest.param("é" * 200, 256, "é" * 128, id="message between characters"),
        pytest.param("x" + "é" * 200, 256, "x" + "é" * 127, id="message within a character"),
        pytest.param("x" * 15_361, 15_360, "x" * 15_360, id="data one over the limit"),
        pytest.param("€" * 5_121, 15_360, "€" * 5_120, id="data between characters"),
        pytest.param("x" + "€" * 5_120, 15_360, "x" + "€" * 5_119, id="data within a character"),
        pytest.param("xyz" + "🐚" * 4_000, 15_360, "xyz" + "🐚" * 3_839, id="data, four bytes"),
    ],
)
async def test_long_errors_are_cut_between_characters(text: str, limit: int, kept: str) -> None:
    error = RpcError(1, text) if limit == 256 else RpcError(1, "", text)
    expected = (1, kept, "") if limit == 256 else (1, "", kept)
    assert failure(await exchange(raising(error))) == expected


@pytest.mark.rule("A6")
async def test_an_rpc_error_out_of_a_nursery_in_the_handler_reaches_the_caller() -> None:
    async def handler(data: RpcInvocationData) -> None:
        async with anyio.create_task_group() as task_group:
            task_group.start_soon(anyio.sleep_forever)
            async with anyio.create_task_group():
                raise RpcError(101, "no")

    assert failure(await exchange(handler)) == (101, "no", "")


@pytest.mark.rule("A7", "A9")
@pytest.mark.parametrize(
    "error",
    [
        ValueError("a secret"),
        StopIteration("a secret"),
        ExceptionGroup("a secret", [RpcError(101, "one"), RpcError(102, "two")]),
        ExceptionGroup("several", [ValueError("a secret"), RpcError(101, "one")]),
    ],
    ids=repr,
)
async def test_any_other_exception_is_1500_and_its_text_stays_here(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    response = await exchange(raising(error))
    assert failure(response) == APPLICATION_ERROR
    assert b"secret" not in response.SerializeToString()
    (record,) = caplog.records
    assert record.getMessage() == "the handler of 'greet' failed"
    assert record.levelno == logging.ERROR
    assert "a secret" in caplog.text
    assert "Traceback" in caplog.text
    assert __file__ in caplog.text


@pytest.mark.rule("A7")
async def test_code_that_does_not_fit_is_an_error_of_the_handler() -> None:
    async def handler(data: RpcInvocationData) -> str:
        raise RpcError(2**32, "too large")

    assert failure(await exchange(handler)) == APPLICATION_ERROR


@pytest.mark.rule("A9")
async def test_a_handler_may_cancel_what_is_within_it() -> None:
    async def handler(data: RpcInvocationData) -> str:
        with anyio.CancelScope() as scope:
            scope.cancel()
            await anyio.sleep_forever()
        async with anyio.create_task_group() as task_group:
            task_group.start_soon(anyio.sleep_forever)
            task_group.cancel_scope.cancel()
        return f"cancelled: {scope.cancelled_caught}"

    assert (await exchange(handler)).payload == "cancelled: True"


@pytest.mark.rule("A7", "A9")
async def test_a_handler_that_awaits_a_cancelled_task_fails_alone(anyio_backend_name: str) -> None:
    if anyio_backend_name == "trio":
        pytest.skip("trio has no tasks that can be awaited")

    async def handler(data: RpcInvocationData) -> None:
        task = asyncio.create_task(asyncio.sleep(60))
        task.cancel()
        await task

    async with callee(handler) as (room, server):
        for request_id in ("1", "2"):
            send_request(server, request_id)
            assert await expect_ack(server) == request_id
            assert failure(await expect_response(server)) == APPLICATION_ERROR
        assert await leave(room, server) == []


# Timeouts


async def never_end(data: RpcInvocationData) -> None:
    await anyio.sleep_forever()


async def return_when_cancelled(data: RpcInvocationData) -> str:
    try:
        await anyio.sleep_forever()
    except anyio.get_cancelled_exc_class():
        return "too late"
    return "never"


async def fail_when_cancelled(data: RpcInvocationData) -> None:
    try:
        await anyio.sleep_forever()
    finally:
        raise ValueError("cleaning up failed")


async def raise_rpc_error_when_cancelled(data: RpcInvocationData) -> None:
    try:
        await anyio.sleep_forever()
    except anyio.get_cancelled_exc_class():
        raise RpcError(101, "too late") from None


async def fail_in_a_nursery_when_cancelled(data: RpcInvocationData) -> None:
    async with anyio.create_task_group() as task_group:
        task_group.start_soon(anyio.sleep_forever)
        task_group.start_soon(fail_when_cancelled, data)


HANDLERS_TO_CANCEL = [
    never_end,
    return_when_cancelled,
    fail_when_cancelled,
    raise_rpc_error_when_cancelled,
    fail_in_a_nursery_when_cancelled,
]


@pytest.mark.rule("A5", "A9", "E2")
@pytest.mark.parametrize("handler", HANDLERS_TO_CANCEL)
async def test_a_handler_that_takes_too_long_is_cancelled_and_1502(handler: Any) -> None:
    async with callee(handler) as (room, server):
        started = anyio.current_time()
        send_request(server)
        assert await expect_ack(server) == "1"
        assert failure(await expect_response(server)) == RESPONSE_TIMEOUT
        assert anyio.current_time() - started == pytest.approx(5)
        assert room.statistics().running_handlers == 0
        assert room.isconnected()
        assert await leave(room, server) == []


@pytest.mark.rule("A7", "A12")
@pytest.mark.parametrize("handler", HANDLERS_TO_CANCEL)
async def test_a_handler_that_resists_its_cancellation_does_not_spoil_our_leaving(
    handler: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async with callee(handler) as (room, server):
        send_request(server)
        assert await expect_ack(server) == "1"
        (packet,) = await leave(room, server)
    assert failure(packet.rpc_response)[0] == 1503
    failed = handler in (fail_when_cancelled, fail_in_a_nursery_when_cancelled)
    assert ("cleaning up failed" in caplog.text) == failed


@pytest.mark.rule("A5")
async def test_a_handler_has_its_time_to_the_end() -> None:
    async def handler(data: RpcInvocationData) -> str:
        await anyio.sleep(data.response_timeout - 0.001)
        return "just in time"

    assert (await exchange(handler, method=METHOD, timeout_ms=700)).payload == "just in time"
