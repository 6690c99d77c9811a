"""Slow readers: a byte taken in the read timeout is enough, and none is too little (V8, B8)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress

import anyio
import anyio.abc
import pytest
import wsproto.events
from attrs import define, field
from livekit.protocol import models, rtc

from trio_rpc.links import Channel, Frame, LinkClosedError, open_framed_link
from trio_rpc.links.frames import encode_frames
from trio_rpc.links.records import PREAMBLE, RecordKind, encode_record
from trio_rpc.server import RoomServer, ServerLimits, serve_stream
from trio_rpc.server.join_request import JoinParameters
from trio_rpc.server.session import serve_member

from ..support.messages import told, user
from ..support.raw_sockets import connect_websocket
from ..support.scripted_client import scripted_client
from ..support.serving import port_of, serving
from ..support.tokens import API_KEYS, make_token
from .reading import reading, send_all

pytestmark = [pytest.mark.anyio, pytest.mark.rule("V8", "B8")]

PING = rtc.SignalRequest(ping_req=rtc.Ping(timestamp=1)).SerializeToString()
PING_MESSAGE = encode_frames([Frame(Channel.SIGNAL, PING)])


# A stream of a participant that takes bytes when told to


@define(eq=False)
class SlowStream:
    """A message stream whose other side pings, and takes bytes on demand.

    Attributes:
        unsent_bytes: What the other side has not taken.
    """

    unsent_bytes: int = 0
    can_send_nowait: bool = False
    _closed: anyio.Event = field(factory=anyio.Event)
    _taken: anyio.Event = field(factory=anyio.Event)

    def take(self, size: int) -> None:
        self.unsent_bytes = max(self.unsent_bytes - size, 0)
        self._taken.set()
        self._taken = anyio.Event()

    def send_message_nowait(self, message: bytes) -> bool:
        raise NotImplementedError

    async def send_message(self, message: bytes) -> None:
        self.unsent_bytes += len(message)
        while self.unsent_bytes:
            await self._taken.wait()

    async def receive_message(self) -> bytes:
        with anyio.move_on_after(5):
            await self._closed.wait()
            raise LinkClosedError("it was closed")
        return PING_MESSAGE

    async def aclose(self, reason: str) -> None:  # noqa: ARG002
        self._closed.set()


@asynccontextmanager
async def slow_participant(server: RoomServer, identity: str) -> AsyncIterator[SlowStream]:
    stream = SlowStream()
    claims = server.admission.authenticate(make_token(identity))

    async def serve() -> None:
        async with open_framed_link(stream) as link:
            await serve_member(server.admission, link, claims, JoinParameters(models.ClientInfo()))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(serve)
        await anyio.wait_all_tasks_blocked()
        # The JoinResponse.
        stream.take(1_000_000)
        await anyio.wait_all_tasks_blocked()
        yield stream
        tasks.cancel_scope.cancel()


async def test_a_member_that_reads_a_byte_now_and_then_remains(server: RoomServer) -> None:
    async with (
        scripted_client(server, "alice") as alice,
        reading((alice, 0)) as (reader,),
        slow_participant(server, "slow") as slow,
    ):
        alice.send(user("x" * 60_000, "slow"))
        await anyio.wait_all_tasks_blocked()
        assert slow.unsent_bytes > 60_000
        for _ in range(60):
            await anyio.sleep(19)
            slow.take(1)
        assert server.statistics().participants == 2
        # And who stops to take any goes.
        await anyio.sleep(26)
        assert told(reader.messages)[-1] == ("slow", "DISCONNECTED")


async def test_who_takes_none_goes_though_messages_and_pings_come_from_it(
    server: RoomServer,
) -> None:
    async with (
        scripted_client(server, "alice") as alice,
        reading((alice, 0)) as (reader,),
        slow_participant(server, "sloth"),
    ):
        started = anyio.current_time()
        alice.send(user("x", "sloth"))
        await reader.wait_until(lambda: ("sloth", "DISCONNECTED") in told(reader.messages))
        assert 20 <= anyio.current_time() - started <= 25.5


async def test_a_member_that_is_sent_nothing_remains(server: RoomServer) -> None:
    async with slow_participant(server, "idle") as idle:
        for _ in range(100):
            # But for the pongs, which it takes.
            await anyio.sleep(5)
            idle.take(1_000)
        assert server.statistics().participants == 1


# Sockets


@asynccontextmanager
async def stream_socket(server: RoomServer) -> AsyncIterator[Socket]:
    """Open a stream link whose bytes the test reads and writes."""
    async with anyio.create_task_group() as tasks:
        url = await tasks.start(serve_stream, server, "tcp://127.0.0.1:0")
        hello = f"{make_token('slow')}\n".encode() + rtc.JoinRequest().SerializeToString()
        async with await anyio.connect_tcp("127.0.0.1", port_of(url)) as stream:
            await stream.send(PREAMBLE + encode_record(RecordKind.HELLO, hello))
            yield Socket(stream, encode_record(RecordKind.MESSAGE, PING_MESSAGE))
        tasks.cancel_scope.cancel()


@asynccontextmanager
async def websocket(server: RoomServer) -> AsyncIterator[Socket]:
    """Open a WebSocket whose bytes the test reads and writes."""
    async with (
        serving(server) as url,
        connect_websocket(url, make_token("slow")) as raw,
    ):
        ping = wsproto.events.BytesMessage(data=PING_MESSAGE)
        yield Socket(raw.stream, raw._protocol.send(ping))


@define(eq=False)
class Socket:
    """A participant's end of a connection, of which the test reads as much as it likes.

    Attributes:
        ping: What it sends to say that it lives.
    """

    stream: anyio.abc.SocketStream
    ping: bytes

    async def send_pings(self) -> None:
        with suppress(anyio.BrokenResourceError):
            while True:
                await self.stream.send(self.ping)
                await anyio.sleep(0.5)


@pytest.mark.real_time
@pytest.mark.parametrize("connect", [stream_socket, websocket])
async def test_who_reads_a_little_at_a_time_gets_all(
    connect: Callable[[RoomServer], AbstractAsyncContextManager[Socket]],
) -> None:
    server = RoomServer(API_KEYS, ServerLimits(max_queue_bytes=256 * 1024))
    size, count = 30_000, 100
    async with (
        scripted_client(server, "alice") as alice,
        reading((alice, 0)) as (reader,),
        connect(server) as slow,
        anyio.create_task_group() as tasks,
    ):
        await reader.wait_updates(1)
        tasks.start_soon(slow.send_pings)
        tasks.start_soon(send_all, alice, [user("~" * size, "slow")] * count)
        # Nearly: a length has the same byte now and then.
        received = 0
        while received < size * count:
            received += (await slow.stream.receive(20_000)).count(b"~")
            await anyio.sleep(0.01)
        assert server.statistics().participants == 2
        tasks.cancel_scope.cancel()


@pytest.mark.real_time
@pytest.mark.parametrize("connect", [stream_socket, websocket])
async def test_a_member_that_pings_and_reads_nothing_is_disconnected(
    connect: Callable[[RoomServer], AbstractAsyncContextManager[Socket]],
) -> None:
    limits = ServerLimits(max_queue_bytes=256 * 1024, read_timeout=2)
    server = RoomServer(API_KEYS, limits)
    async with (
        scripted_client(server, "alice") as alice,
        reading((alice, 0)) as (reader,),
        connect(server) as sloth,
        anyio.create_task_group() as tasks,
    ):
        await reader.wait_updates(1)
        tasks.start_soon(sloth.send_pings)
        # All is taken at last, by nobody.
        await send_all(alice, [user("~" * 60_000, "slow")] * 200)
        await reader.wait_until(lambda: ("slow", "DISCONNECTED") in told(reader.messages))
        assert server.statistics().participants == 1
        tasks.cancel_scope.cancel()
