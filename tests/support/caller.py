"""A participant that calls, and a test that exchanges packets with it one by one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import anyio
from attrs import define, field
from livekit.protocol import models

from trio_rpc import Room, RpcError, concurrency
from trio_rpc.client.loss import OnDisconnect
from trio_rpc.concurrency import Nursery, open_service_nursery
from trio_rpc.links.packet_sender import PacketSender
from trio_rpc.protocol.budgets import Budget
from trio_rpc.protocol.limits import MAX_PAYLOAD_BYTES, CallLimits
from trio_rpc.rpc.calls import Calls
from trio_rpc.streams.buffer_context import BufferContext

from .scripted_server import ScriptedServer, participant_info

#: The method that is called.
METHOD: Final = "greet"

#: The code, message and data of an error.
Failure = tuple[int, str, str | None]


def built_in(code: RpcError.ErrorCode, data: str) -> Failure:
    """Return the failure of a call that ends with the built-in error `code`."""
    return int(code), RpcError.ErrorMessage[code], data


def calls_through(link: Any) -> Calls:
    """Return the caller's half of RPC alone, of version 1, on a scripted link."""
    return Calls(
        PacketSender(link, participant_info("alice")),
        streams=None,  # type: ignore[arg-type]
        limits=CallLimits(max_round_trip_latency=7.0, max_payload_bytes=MAX_PAYLOAD_BYTES),
        context=BufferContext(concurrency.current(), Budget(), MAX_PAYLOAD_BYTES),
        participants={},
        is_announced=False,
    )


@define(eq=False)
class Call:
    """A call that runs, or has ended.

    Attributes:
        seconds: How long it took.
    """

    room: Room
    arguments: dict[str, Any]
    seconds: float = 0.0
    _outcome: str | BaseException | None = None
    _ended: anyio.Event = field(factory=anyio.Event)

    @property
    def has_ended(self) -> bool:
        return self._ended.is_set()

    async def run(self) -> None:
        started = anyio.current_time()
        try:
            self._outcome = await self.room.local_participant.perform_rpc(**self.arguments)
        except Exception as error:
            self._outcome = error
        finally:
            self.seconds = anyio.current_time() - started
            self._ended.set()

    async def outcome(self) -> str | BaseException | None:
        """Return what the call returned or raised; None when it was cancelled."""
        await self._ended.wait()
        return self._outcome

    async def failure(self) -> Failure:
        """Return the code, message and data of the `RpcError` that the call raised."""
        error = await self.outcome()
        assert isinstance(error, RpcError), error
        return error.code, error.message, error.data


@define(eq=False)
class Caller:
    """The participant "alice", and her server."""

    room: Room
    server: ScriptedServer
    _nursery: Nursery

    @property
    def pending_calls(self) -> int:
        return self.room.statistics().pending_calls

    def call(self, payload: str = "hi", **arguments: Any) -> Call:
        """Start a call, by default to "bob"."""
        arguments = {"destination_identity": "bob", "method": METHOD} | arguments
        call = Call(self.room, arguments | {"payload": payload})
        self._nursery.start_soon(call.run)
        return call

    async def expect_request(self) -> models.RpcRequest:
        """Receive the next message, which must be a request."""
        return (await self.server.expect_packet("rpc_request")).rpc_request

    async def start_call(self, payload: str = "hi", **arguments: Any) -> tuple[Call, str]:
        """Start a call and receive its request; the call, and the id of the request."""
        call = self.call(payload, **arguments)
        request = await self.expect_request()
        assert request.payload == payload
        return call, request.id

    def acknowledge(self, request_id: str, *, sender: str = "bob") -> None:
        self.server.send_from(sender, rpc_ack=models.RpcAck(request_id=request_id))

    def respond(self, request_id: str, payload: str = "hello", *, sender: str = "bob") -> None:
        response = models.RpcResponse(request_id=request_id, payload=payload)
        self.server.send_from(sender, rpc_response=response)

    async def settle(self) -> None:
        """Wait until the participant has handled all that its server said so far."""
        await self.server.settle(self.room)


@asynccontextmanager
async def caller(
    server: ScriptedServer | None = None,
    *,
    room: Room | None = None,
    on_disconnect: OnDisconnect = "raise",
) -> AsyncIterator[Caller]:
    """Connect "alice" to a room with "bob"; her calls end with the block."""
    server, room = server or ScriptedServer(), room or Room()
    async with (
        room.connect(server, "a token", reconnect=None, on_disconnect=on_disconnect),
        open_service_nursery() as nursery,
    ):
        yield Caller(room, server, nursery)
