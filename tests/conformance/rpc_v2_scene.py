"""The scene of the cases of RPC v2, and what they have in common."""

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

from ..support.clients import CURRENT, LIVEKIT, OLD, As
from ..support.scripted_client import ScriptedClient, scripted_client
from ..support.stream_packets import response_header
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
        self, client: models.ClientInfo = LIVEKIT, **limits: Any
    ) -> AsyncIterator[tuple[Room, ScriptedClient]]:
        async with (
            self.join("alice", Room(**limits)) as alice,
            scripted_client(self.connector, "bob", client=client) as bob,
        ):
            await alice.wait_for_participant("bob")
            yield alice, bob

    @asynccontextmanager
    async def scripted_alice_and_bob(
        self, handler: Handler, client: models.ClientInfo = LIVEKIT, **limits: Any
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


class Cases(dict[str, Case]):
    """Cases by their names."""

    def case(self, name: str) -> Callable[[Case], Case]:
        """Add a case."""

        def add(function: Case) -> Case:
            assert name not in self
            self[name] = function
            return function

        return add


# Helpers of all cases


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
