"""The 23 cases that LiveKit's specification of RPC v2 asks for, each a function of a scene.

`test_rpc_v2.py` runs every one of them in memory and over WebSockets. In a case Alice calls and Bob
answers, each of them a `Room`, of the current kind or of one that announces no protocol; or one of
them is a `ScriptedClient`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Final

import anyio
import pytest
from attrs import define
from livekit.protocol import models

from trio_rpc import Room, RpcError, RpcInvocationData
from trio_rpc.links import Connector

from ..support.clients import CURRENT, OLD, As, Holding
from ..support.scripted_client import ScriptedClient, scripted_client
from ..support.stream_packets import receive_stream, request_header, response_header
from ..support.tokens import make_token

Handler = Callable[[RpcInvocationData], Awaitable[Any]]
Failure = tuple[int, str, str | None]

#: What the rooms of the long payloads allow (C10).
LARGE: Final = 1_000_000
LONG_PAYLOADS: Final = [20_000, 200_000]


# The scene


@define
class Scene:
    """A room to join, through whichever kind of link."""

    connector: Connector

    @asynccontextmanager
    async def join(self, identity: str, room: Room | None = None, *, v1: bool = False) -> Any:
        connector = As(self.connector, OLD if v1 else CURRENT)
        async with (room or Room()).connect(connector, make_token(identity)) as joined:
            yield joined

    @asynccontextmanager
    async def alice_and_bob(
        self,
        handler: Handler | None = None,
        *,
        v1: tuple[str, ...] = (),
        **limits: Any,
    ) -> AsyncIterator[tuple[Room, Room]]:
        """Alice, and Bob who answers to "greet"; those named in `v1` announce no protocol."""
        bob_room = Room(**limits)
        if handler is not None:
            bob_room.register_rpc_method("greet", handler)
        async with (
            self.join("bob", bob_room, v1="bob" in v1) as bob,
            self.join("alice", Room(**limits), v1="alice" in v1) as alice,
        ):
            await alice.wait_for_participant("bob")
            await bob.wait_for_participant("alice")
            yield alice, bob

    @asynccontextmanager
    async def alice_and_scripted_bob(
        self, client: models.ClientInfo = CURRENT, **limits: Any
    ) -> AsyncIterator[tuple[Room, ScriptedClient]]:
        async with (
            self.join("alice", Room(**limits)) as alice,
            scripted_client(self.connector, "bob", client=client) as bob,
        ):
            await alice.wait_for_participant("bob")
            yield alice, bob

    @asynccontextmanager
    async def scripted_alice_and_bob(
        self, handler: Handler, client: models.ClientInfo = CURRENT, **limits: Any
    ) -> AsyncIterator[tuple[ScriptedClient, Room]]:
        room = Room(**limits)
        room.register_rpc_method("greet", handler)
        async with (
            self.join("bob", room) as bob,
            scripted_client(self.connector, "alice", client=client) as alice,
        ):
            await bob.wait_for_participant("alice")
            yield alice, bob


Case = Callable[[Scene], Awaitable[None]]
CASES: Final[dict[str, Case]] = {}


def case(name: str) -> Callable[[Case], Case]:
    def add(function: Case) -> Case:
        assert name not in CASES
        CASES[name] = function
        return function

    return add


# What the cases have in common


async def greet(data: RpcInvocationData) -> str:
    return f"Hello, {data.caller_identity}: {data.payload}"


async def fail(data: RpcInvocationData) -> str:
    raise ValueError("the secret text of a failure")


async def refuse(data: RpcInvocationData) -> str:
    raise RpcError(101, "no greeting today", "come back tomorrow")


async def never_end(data: RpcInvocationData) -> str:
    await anyio.sleep_forever()
    raise AssertionError


def built_in(code: RpcError.ErrorCode, data: str) -> Failure:
    return int(code), RpcError.ErrorMessage[code], data


UNHANDLED: Final = built_in(
    RpcError.ErrorCode.APPLICATION_ERROR, "the handler of 'greet' failed; its own log says why"
)


async def call(alice: Room, payload: str = "hi", **arguments: Any) -> str:
    arguments = {"destination_identity": "bob", "method": "greet"} | arguments
    return await alice.local_participant.perform_rpc(payload=payload, **arguments)


async def failure(alice: Room, payload: str = "hi", **arguments: Any) -> Failure:
    with pytest.raises(RpcError) as caught:
        await call(alice, payload, **arguments)
    assert alice.statistics().pending_calls == 0
    error = caught.value
    return error.code, error.message, error.data


def error_response(request_id: str) -> models.RpcResponse:
    error = models.RpcError(code=4_711, message="closed on Mondays", data="{}")
    return models.RpcResponse(request_id=request_id, error=error)


async def receive_request(bob: ScriptedClient) -> str:
    """Receive the next request, of either version, acknowledge it, and return its id."""
    packet = await bob.receive_packet()
    if packet.HasField("rpc_request"):
        request_id = packet.rpc_request.id
    else:
        request_id = packet.stream_header.attributes["lk.rpc_request_id"]
        assert packet.stream_header.HasField("inline_content")
    bob.acknowledge(request_id)
    return request_id


async def receive_answer(alice: ScriptedClient) -> models.DataPacket:
    """Receive the ack for request "1", and return the packet that follows it."""
    ack = await alice.receive_packet()
    assert ack.rpc_ack.request_id == "1"
    assert ack.participant_identity == "bob"
    return await alice.receive_packet()


def request_packet(payload: str = "hi", timeout_ms: int = 5_000) -> models.RpcRequest:
    return models.RpcRequest(
        id="1", method="greet", payload=payload, response_timeout_ms=timeout_ms, version=1
    )


# Both sides speak v2


@case("v2: a short payload, as caller")
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


@case("v2: a long payload, as caller")
async def _(scene: Scene) -> None:
    async def length(data: RpcInvocationData) -> str:
        assert set(data.payload) == {"é"}
        return str(len(data.payload.encode()))

    async with scene.alice_and_bob(length, max_payload_bytes=LARGE) as (alice, _):
        for size in LONG_PAYLOADS:
            assert await call(alice, "é" * (size // 2)) == str(size)


@case("v2: a short payload, as handler")
async def _(scene: Scene) -> None:
    async with scene.scripted_alice_and_bob(greet) as (alice, _):
        alice.send_to("bob", stream_header=request_header(content=b"hi"))
        answer = await receive_answer(alice)
        assert answer.stream_header.topic == "lk.rpc_response"
        assert answer.stream_header.inline_content == b"Hello, alice: hi"


@case("v2: a long payload, as handler")
async def _(scene: Scene) -> None:
    async def repeat(data: RpcInvocationData) -> str:
        return "é" * (int(data.payload) // 2)

    async with scene.alice_and_bob(repeat, max_payload_bytes=LARGE) as (alice, _):
        for size in LONG_PAYLOADS:
            assert await call(alice, str(size)) == "é" * (size // 2)


@case("v2: an unregistered method")
async def _(scene: Scene) -> None:
    async with scene.alice_and_bob() as (alice, _):
        assert await failure(alice) == built_in(
            RpcError.ErrorCode.UNSUPPORTED_METHOD, "no method 'greet' is registered"
        )


@case("v2: an unhandled error")
async def _(scene: Scene) -> None:
    async with scene.alice_and_bob(fail) as (alice, _):
        assert await failure(alice) == UNHANDLED


@case("v2: an error that is passed through")
async def _(scene: Scene) -> None:
    async with scene.alice_and_bob(refuse) as (alice, _):
        assert await failure(alice) == (101, "no greeting today", "come back tomorrow")


@case("v2: a response timeout")
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


@case("v2: an error response")
async def _(scene: Scene) -> None:
    await check_error_response(scene, CURRENT)


@case("v2: a disconnection")
async def _(scene: Scene) -> None:
    await check_disconnection_of_the_callee(scene, v1=())
    await check_disconnection_of_the_caller(scene, v1=())


@case("v2: an answer right after publishing")
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


@case("v2: an answer before publishing has settled")
async def _(scene: Scene) -> None:
    holding = Holding(scene.connector, lambda packet: packet.HasField("stream_trailer"))
    room = Room(max_payload_bytes=LARGE)
    async with (
        scripted_client(scene.connector, "bob", client=CURRENT) as bob,
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


@case("v2: an answer after the ack timeout")
async def _(scene: Scene) -> None:
    async with scene.alice_and_scripted_bob(max_round_trip_latency=0.3) as (alice, bob):
        assert await failure(alice) == built_in(
            RpcError.ErrorCode.CONNECTION_TIMEOUT, "'bob' did not acknowledge 'greet' within 0.3 s"
        )
        request_id = (await receive_stream(bob)).attributes["lk.rpc_request_id"]
        bob.acknowledge(request_id)
        bob.send_to("alice", stream_header=response_header(request_id, b"too late"))
        await check_a_call_is_answered(alice, bob)


@case("v2: an answer from the wrong sender")
async def _(scene: Scene) -> None:
    async with (
        scene.alice_and_scripted_bob() as (alice, bob),
        scripted_client(scene.connector, "mallory", client=CURRENT) as mallory,
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


@case("v2: five calls at once")
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


# One side speaks v1 alone


@case("v1: the caller's happy path")
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


@case("v1: the handler's happy path")
async def _(scene: Scene) -> None:
    async with scene.scripted_alice_and_bob(greet, OLD) as (alice, _):
        alice.send_to("bob", rpc_request=request_packet())
        response = (await receive_answer(alice)).rpc_response
        assert (response.request_id, response.payload) == ("1", "Hello, alice: hi")


@case("v1: an unhandled error")
async def _(scene: Scene) -> None:
    for v1 in ("alice",), ("bob",):
        async with scene.alice_and_bob(fail, v1=v1) as (alice, _):
            assert await failure(alice) == UNHANDLED


@case("v1: an error that is passed through")
async def _(scene: Scene) -> None:
    for v1 in ("alice",), ("bob",):
        async with scene.alice_and_bob(refuse, v1=v1) as (alice, _):
            assert await failure(alice) == (101, "no greeting today", "come back tomorrow")


@case("v1: a payload that is too large")
async def _(scene: Scene) -> None:
    async def repeat(data: RpcInvocationData) -> str:
        return "x" * 15_361

    async with scene.alice_and_bob(repeat, v1=("bob",), max_payload_bytes=LARGE) as (alice, _):
        assert await failure(alice, "x" * 15_361) == built_in(
            RpcError.ErrorCode.REQUEST_PAYLOAD_TOO_LARGE,
            "the payload has 15,361 bytes, over the limit of 15,360",
        )
        assert await failure(alice) == built_in(
            RpcError.ErrorCode.RESPONSE_PAYLOAD_TOO_LARGE,
            "the response of 'greet' has 15,361 bytes, over the limit of 15,360",
        )


@case("v1: a response timeout")
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


@case("v1: an error response")
async def _(scene: Scene) -> None:
    await check_error_response(scene, OLD)


@case("v1: a disconnection")
async def _(scene: Scene) -> None:
    await check_disconnection_of_the_callee(scene, v1=("bob",))
    await check_disconnection_of_the_caller(scene, v1=("alice",))


# The same for both


async def check_error_response(scene: Scene, client: models.ClientInfo) -> None:
    async with (
        scene.alice_and_scripted_bob(client) as (alice, bob),
        anyio.create_task_group() as tasks,
    ):

        async def answer() -> None:
            bob.send_to("alice", rpc_response=error_response(await receive_request(bob)))

        tasks.start_soon(answer)
        assert await failure(alice) == (4_711, "closed on Mondays", "{}")


async def check_disconnection_of_the_callee(scene: Scene, v1: tuple[str, ...]) -> None:
    called = anyio.Event()

    async def hang(data: RpcInvocationData) -> str:
        called.set()
        return await never_end(data)

    async with (
        scene.join("alice") as alice,
        anyio.create_task_group() as tasks,
    ):

        async def come_and_go() -> None:
            room = Room()
            room.register_rpc_method("greet", hang)
            # Not the room's own end, for that would answer 1503 itself: the link's.
            async with scene.join("bob", room, v1="bob" in v1):
                await called.wait()
                assert room._session is not None
                await room._session.connection.aclose("")

        tasks.start_soon(come_and_go)
        await alice.wait_for_participant("bob")
        assert await failure(alice, response_timeout=60) == built_in(
            RpcError.ErrorCode.RECIPIENT_DISCONNECTED, "'bob' left the room"
        )


async def check_disconnection_of_the_caller(scene: Scene, v1: tuple[str, ...]) -> None:
    called = anyio.Event()

    async def hang(data: RpcInvocationData) -> str:
        called.set()
        return await never_end(data)

    async with scene.alice_and_bob(hang, v1=v1) as (alice, _), anyio.create_task_group() as tasks:

        async def leave() -> None:
            await called.wait()
            await alice.disconnect()

        tasks.start_soon(leave)
        assert await failure(alice, response_timeout=60) == built_in(
            RpcError.ErrorCode.RECIPIENT_DISCONNECTED, "we left the room"
        )


async def check_a_call_is_answered(alice: Room, bob: ScriptedClient) -> None:
    async with anyio.create_task_group() as tasks:

        async def answer() -> None:
            while True:
                packet = await bob.receive_packet()
                if packet.HasField("stream_header"):
                    break
            request_id = packet.stream_header.attributes["lk.rpc_request_id"]
            bob.send_to("alice", stream_header=response_header(request_id, b"in time"))

        tasks.start_soon(answer)
        assert await call(alice) == "in time"


def random_text(size: int) -> str:
    """Text that hardly gets smaller by compression."""
    import random

    return random.Random(1).randbytes(size // 2).hex()
