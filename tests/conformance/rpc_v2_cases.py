"""The 23 cases that LiveKit's specification of RPC v2 asks for, each a function of a scene.

`test_rpc_v2.py` runs every one of them in memory and over WebSockets. In a case Alice calls and Bob
answers, each of them a `Room`, of the current kind or of one that announces no protocol; or one of
them is a `ScriptedClient`.
"""

from __future__ import annotations

from typing import Final

import anyio
from livekit.protocol import models

from trio_rpc import Room, RpcError, RpcInvocationData

from ..support.clients import LIVEKIT, Holding
from ..support.scripted_client import scripted_client
from ..support.stream_packets import receive_stream, request_header, response_header
from ..support.tokens import make_token
from .rpc_v2_scene import (
    LARGE,
    LONG_PAYLOADS,
    UNHANDLED,
    Cases,
    Scene,
    built_in,
    call,
    check_a_call_is_answered,
    check_disconnection_of_the_callee,
    check_disconnection_of_the_caller,
    check_error_response,
    fail,
    failure,
    greet,
    random_text,
    receive_answer,
    receive_request,
    refuse,
)

CASES: Final = Cases()


# Both sides speak v2


@CASES.case("v2: a short payload, as caller")
async def _(scene: Scene) -> None:
    async with (
        scene.alice_and_scripted_bob() as (alice, bob),
        anyio.create_task_group() as tasks,
    ):

        async def answer() -> None:
            stream = await receive_stream(bob)
            assert (stream.form, stream.content) == ("inline", b"hi")
            request_id = stream.attributes["lk.rpc_request_id"]
            bob.acknowledge(request_id)
            bob.send_to("alice", stream_header=response_header(request_id, b"hello"))

        tasks.start_soon(answer)
        assert await call(alice) == "hello"


@CASES.case("v2: a long payload, as caller")
async def _(scene: Scene) -> None:
    async def length(data: RpcInvocationData) -> str:
        assert set(data.payload) == {"é"}
        return str(len(data.payload.encode()))

    async with scene.alice_and_bob(length, max_payload_bytes=LARGE) as (alice, _):
        for size in LONG_PAYLOADS:
            assert await call(alice, "é" * (size // 2)) == str(size)


@CASES.case("v2: a short payload, as handler")
async def _(scene: Scene) -> None:
    async with scene.scripted_alice_and_bob(greet) as (alice, _):
        alice.send_to("bob", stream_header=request_header(content=b"hi"))
        answer = await receive_answer(alice)
        assert answer.stream_header.topic == "lk.rpc_response"
        assert answer.stream_header.inline_content == b"Hello, alice: hi"


@CASES.case("v2: a long payload, as handler")
async def _(scene: Scene) -> None:
    async def repeat(data: RpcInvocationData) -> str:
        return "é" * (int(data.payload) // 2)

    async with scene.alice_and_bob(repeat, max_payload_bytes=LARGE) as (alice, _):
        for size in LONG_PAYLOADS:
            assert await call(alice, str(size)) == "é" * (size // 2)


@CASES.case("v2: an unregistered method")
async def _(scene: Scene) -> None:
    async with scene.alice_and_bob() as (alice, _):
        assert await failure(alice) == built_in(
            RpcError.ErrorCode.UNSUPPORTED_METHOD, "no method 'greet' is registered"
        )


@CASES.case("v2: an unhandled error")
async def _(scene: Scene) -> None:
    async with scene.alice_and_bob(fail) as (alice, _):
        assert await failure(alice) == UNHANDLED


@CASES.case("v2: an error that is passed through")
async def _(scene: Scene) -> None:
    async with scene.alice_and_bob(refuse) as (alice, _):
        assert await failure(alice) == (101, "no greeting today", "come back tomorrow")


@CASES.case("v2: a response timeout")
async def _(scene: Scene) -> None:
    async with (
        scene.alice_and_scripted_bob() as (alice, bob),
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(receive_request, bob)
        assert await failure(alice, response_timeout=1.0) == built_in(
            RpcError.ErrorCode.RESPONSE_TIMEOUT,
            "'bob' acknowledged 'greet' but did not answer it within 1 s",
        )


@CASES.case("v2: an error response")
async def _(scene: Scene) -> None:
    await check_error_response(scene, LIVEKIT)


@CASES.case("v2: a disconnection")
async def _(scene: Scene) -> None:
    await check_disconnection_of_the_callee(scene, v1=())
    await check_disconnection_of_the_caller(scene, v1=())


@CASES.case("v2: an answer right after publishing")
async def _(scene: Scene) -> None:
    async with (
        scene.alice_and_scripted_bob() as (alice, bob),
        anyio.create_task_group() as tasks,
    ):

        async def answer_without_ack() -> None:
            stream = await receive_stream(bob)
            request_id = stream.attributes["lk.rpc_request_id"]
            bob.send_to("alice", stream_header=response_header(request_id, b"hello"))
            bob.acknowledge(request_id)

        tasks.start_soon(answer_without_ack)
        assert await call(alice) == "hello"


@CASES.case("v2: an answer before publishing has settled")
async def _(scene: Scene) -> None:
    holding = Holding(scene.connector, lambda packet: packet.HasField("stream_trailer"))
    room = Room(max_payload_bytes=LARGE)
    async with (
        scripted_client(scene.connector, "bob", client=LIVEKIT) as bob,
        room.connect(holding, make_token("alice")) as alice,
        anyio.create_task_group() as tasks,
    ):

        async def answer() -> None:
            # The trailer of the request is not sent yet.
            header = (await bob.receive_packet()).stream_header
            await holding.link.held.wait()
            request_id = header.attributes["lk.rpc_request_id"]
            bob.send_to("alice", stream_header=response_header(request_id, b"hello"))

        await alice.wait_for_participant("bob")
        tasks.start_soon(answer)
        assert await call(alice, random_text(60_000)) == "hello"
        assert alice.statistics().pending_calls == 0


@CASES.case("v2: an answer after the ack timeout")
async def _(scene: Scene) -> None:
    async with scene.alice_and_scripted_bob(max_round_trip_latency=0.3) as (alice, bob):
        assert await failure(alice) == built_in(
            RpcError.ErrorCode.CONNECTION_TIMEOUT, "'bob' did not acknowledge 'greet' within 0.3 s"
        )
        request_id = (await receive_stream(bob)).attributes["lk.rpc_request_id"]
        bob.acknowledge(request_id)
        bob.send_to("alice", stream_header=response_header(request_id, b"too late"))
        await check_a_call_is_answered(alice, bob)


@CASES.case("v2: an answer from the wrong sender")
async def _(scene: Scene) -> None:
    async with (
        scene.alice_and_scripted_bob() as (alice, bob),
        scripted_client(scene.connector, "mallory", client=LIVEKIT) as mallory,
        anyio.create_task_group() as tasks,
    ):
        await alice.wait_for_participant("mallory")

        async def answer() -> None:
            request_id = (await receive_stream(bob)).attributes["lk.rpc_request_id"]
            mallory.acknowledge(request_id)
            mallory.respond(request_id, "forged packet")
            mallory.send_to("alice", stream_header=response_header(request_id, b"forged stream"))
            mallory.send_to("alice", stream_header=response_header(request_id, None))
            # Alice has what Mallory said when Bob has what she said after it.
            mallory.send_to("bob", user=models.UserPacket(payload=b"done"))
            assert (await bob.receive_packet()).user.payload == b"done"
            bob.respond(request_id, "hello")

        tasks.start_soon(answer)
        assert await call(alice) == "hello"


@CASES.case("v2: five calls at once")
async def _(scene: Scene) -> None:
    answered = [anyio.Event() for _ in range(5)] + [anyio.Event()]
    answered[5].set()

    async def answer_the_last_first(data: RpcInvocationData) -> str:
        number = int(data.payload)
        await answered[number + 1].wait()
        answered[number].set()
        return f"answer to {number}"

    async with scene.alice_and_bob(answer_the_last_first) as (alice, _):
        answers: dict[int, str] = {}

        async def ask(number: int) -> None:
            answers[number] = await call(alice, str(number))

        async with anyio.create_task_group() as tasks:
            for number in range(5):
                tasks.start_soon(ask, number)
        assert answers == {number: f"answer to {number}" for number in range(5)}
