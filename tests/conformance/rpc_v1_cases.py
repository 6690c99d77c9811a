"""The cases of RPC v2 in which one side speaks version 1 alone."""

from __future__ import annotations

from typing import Final

import anyio

from trio_rpc import RpcError, RpcInvocationData

from ..support.clients import OLD
from .rpc_v2_scene import (
    LARGE,
    UNHANDLED,
    Cases,
    Scene,
    built_in,
    call,
    check_disconnection_of_the_callee,
    check_disconnection_of_the_caller,
    check_error_response,
    fail,
    failure,
    greet,
    never_end,
    receive_answer,
    receive_request,
    refuse,
    request_packet,
)

CASES: Final = Cases()


# One side speaks v1 alone


@CASES.case("v1: the caller's happy path")
async def _(scene: Scene) -> None:
    async with (
        scene.alice_and_scripted_bob(OLD) as (alice, bob),
        anyio.create_task_group() as tasks,
    ):

        async def answer() -> None:
            request = (await bob.receive_packet()).rpc_request
            assert (request.method, request.payload, request.version) == ("greet", "hi", 1)
            bob.acknowledge(request.id)
            bob.respond(request.id, "hello")

        tasks.start_soon(answer)
        assert await call(alice) == "hello"


@CASES.case("v1: the handler's happy path")
async def _(scene: Scene) -> None:
    async with scene.scripted_alice_and_bob(greet, OLD) as (alice, _):
        alice.send_to("bob", rpc_request=request_packet())
        response = (await receive_answer(alice)).rpc_response
        assert (response.request_id, response.payload) == ("1", "Hello, alice: hi")


@CASES.case("v1: an unhandled error")
async def _(scene: Scene) -> None:
    for v1 in ("alice",), ("bob",):
        async with scene.alice_and_bob(fail, v1=v1) as (alice, _):
            assert await failure(alice) == UNHANDLED


@CASES.case("v1: an error that is passed through")
async def _(scene: Scene) -> None:
    for v1 in ("alice",), ("bob",):
        async with scene.alice_and_bob(refuse, v1=v1) as (alice, _):
            assert await failure(alice) == (101, "no greeting today", "come back tomorrow")


@CASES.case("v1: a payload that is too large")
async def _(scene: Scene) -> None:
    async def repeat(data: RpcInvocationData) -> str:
        return "x" * 15_361

    async with scene.alice_and_bob(repeat, v1=("alice", "bob"), max_payload_bytes=LARGE) as (
        alice,
        _,
    ):
        assert await failure(alice, "x" * 15_361) == built_in(
            RpcError.ErrorCode.REQUEST_PAYLOAD_TOO_LARGE,
            "the payload has 15,361 bytes, over the limit of 15,360",
        )
        assert await failure(alice) == built_in(
            RpcError.ErrorCode.RESPONSE_PAYLOAD_TOO_LARGE,
            "the response of 'greet' has 15,361 bytes, over the limit of 15,360",
        )


@CASES.case("v1: a response timeout")
async def _(scene: Scene) -> None:
    async with (
        scene.alice_and_scripted_bob(OLD) as (alice, bob),
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(receive_request, bob)
        assert await failure(alice, response_timeout=1.0) == built_in(
            RpcError.ErrorCode.RESPONSE_TIMEOUT,
            "'bob' acknowledged 'greet' but did not answer it within 1 s",
        )
    async with scene.scripted_alice_and_bob(never_end, OLD) as (scripted_alice, _):
        scripted_alice.send_to("bob", rpc_request=request_packet(timeout_ms=200))
        assert (await receive_answer(scripted_alice)).rpc_response.error.code == 1502


@CASES.case("v1: an error response")
async def _(scene: Scene) -> None:
    await check_error_response(scene, OLD)


@CASES.case("v1: a disconnection")
async def _(scene: Scene) -> None:
    await check_disconnection_of_the_callee(scene, v1=("bob",))
    await check_disconnection_of_the_caller(scene, v1=("alice",))
