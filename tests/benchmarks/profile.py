"""The time of a call: its halves alone, and the steps of each; and its function calls.

`python -m tests.benchmarks.profile` prints tables for docs/performance.md. A half is a room whose
server is played by a link that answers from memory, so that what is measured is the engine, without
sockets. Figures are CPU time, the least of several runs, which other programs disturb the least.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from itertools import count
from typing import Final

import anyio
from livekit.protocol import models, rtc

from trio_rpc import Room, RpcInvocationData, concurrency
from trio_rpc.links import Channel, Frame, LinkClosedError
from trio_rpc.links.frames import decode_frames, encode_frames
from trio_rpc.participant import ParticipantKind, ParticipantPermissions
from trio_rpc.protocol.capabilities import CAPABILITIES, CLIENT_PROTOCOL
from trio_rpc.protocol.ids import make_uuid
from trio_rpc.protocol.packets import parse_packet
from trio_rpc.protocol.retained import RetainedPackets
from trio_rpc.protocol.rpc_messages import rpc_ack, rpc_request, rpc_response
from trio_rpc.server.limits import ServerLimits
from trio_rpc.server.rooms.member import Member
from trio_rpc.server.rooms.room import RoomSettings, ServerRoom

from . import counts

_RUNS: Final = 7
_CALLS: Final = 5_000
_IN_FLIGHT: Final = 100
_PAYLOAD: Final = "x" * 100


def _participant(identity: str) -> models.ParticipantInfo:
    return models.ParticipantInfo(
        sid=f"PA_{identity}",
        identity=identity,
        state=models.ParticipantInfo.ACTIVE,
        client_protocol=CLIENT_PROTOCOL,
        capabilities=CAPABILITIES,  # type: ignore[arg-type]
        permission=ParticipantPermissions().to_proto(),
    )


def _request(request_id: str) -> models.DataPacket:
    return rpc_request("bob", request_id, "echo", _PAYLOAD, 9_999)


def _response(request_id: str) -> models.DataPacket:
    return rpc_response("bob", request_id, _PAYLOAD)


# Halves


class _PlayedLink:
    """A link to a server that is played: `on_packet` gets what is sent, `deliver` answers."""

    queued_bytes = 0
    can_resume = True
    roster_delay = 0.0
    media = None
    retained: RetainedPackets | None = None

    def __init__(self) -> None:
        join = rtc.JoinResponse(
            participant=_participant("alice"),
            other_participants=[_participant("bob")],
            server_version="1.9.0",
            ping_interval=3_600,
            ping_timeout=7_200,
        )
        body = rtc.SignalResponse(join=join).SerializeToString()
        self._arrived = [Frame(Channel.SIGNAL, body)]
        self._something_arrived = concurrency.current().event()
        self._sequence = count(1)
        self._closed = False
        self.on_packet: Callable[[bytes], None] = lambda _body: None

    def deliver(self, *packets: models.DataPacket) -> None:
        for packet in packets:
            packet.participant_identity, packet.participant_sid = "bob", "PA_bob"
            packet.sequence = next(self._sequence)
            self._arrived.append(Frame(Channel.RELIABLE, packet.SerializeToString()))
        self._something_arrived.set()

    def send_nowait(self, frame: Frame, *, flush_follows: bool = False) -> None:  # noqa: ARG002
        if frame.channel is Channel.RELIABLE:
            self.on_packet(frame.body)

    def resend_nowait(self, frames: Iterable[Frame]) -> None:
        for frame in frames:
            self.send_nowait(frame)

    def flush_nowait(self) -> None:
        pass

    async def wait_writable(self) -> None:
        pass

    async def wait_sent(self) -> None:
        pass

    async def receive(self) -> list[Frame]:
        while not self._arrived:
            if self._closed:
                raise LinkClosedError("the profile is over")
            await self._something_arrived.wait()
            self._something_arrived = concurrency.current().event()
        arrived, self._arrived = self._arrived, []
        return arrived

    def discard_queued(self) -> None:
        pass

    async def aclose(self, reason: str = "") -> None:  # noqa: ARG002
        self._closed = True
        self._something_arrived.set()


class _PlayedServer:
    link: _PlayedLink

    @asynccontextmanager
    async def open_link(
        self,
        token: str,  # noqa: ARG002
        request: rtc.JoinRequest,  # noqa: ARG002
    ) -> AsyncIterator[_PlayedLink]:
        self.link = _PlayedLink()
        yield self.link


async def _caller_half() -> float:
    """Measure the seconds of a call, without those of the played server."""
    server, room = _PlayedServer(), Room()
    async with room.connect(server, "a token", reconnect=None):
        played = 0.0

        def answer(body: bytes) -> None:
            nonlocal played
            started = time.process_time()
            request_id = models.DataPacket.FromString(body).rpc_request.id
            server.link.deliver(rpc_ack("alice", request_id), _response(request_id))
            played += time.process_time() - started

        async def call_again_and_again() -> None:
            for _ in range(_CALLS // _IN_FLIGHT):
                await room.local_participant.perform_rpc(
                    destination_identity="bob", method="echo", payload=_PAYLOAD
                )

        server.link.on_packet = answer
        started = time.process_time()
        async with anyio.create_task_group() as task_group:
            for _ in range(_IN_FLIGHT):
                task_group.start_soon(call_again_and_again)
        return (time.process_time() - started - played) / _CALLS


async def _callee_half() -> float:
    """Measure the seconds of an invocation."""
    server, room = _PlayedServer(), Room()

    @room.register_rpc_method("echo")
    async def echo(data: RpcInvocationData) -> str:
        return data.payload

    async with room.connect(server, "a token", reconnect=None):
        batches = [
            [_request(make_uuid()) for _ in range(_IN_FLIGHT)] for _ in range(_CALLS // _IN_FLIGHT)
        ]
        taken = 0.0
        for batch in batches:
            all_answered, answers = anyio.Event(), count(1)

            def on_packet(
                _body: bytes, done: anyio.Event = all_answered, n: count[int] = answers
            ) -> None:
                # An ack and a response each.
                if next(n) == 2 * _IN_FLIGHT:
                    done.set()

            server.link.on_packet = on_packet
            server.link.deliver(*batch)
            started = time.process_time()
            await all_answered.wait()
            taken += time.process_time() - started
        return taken / _CALLS


# The work of the server, and single steps


class _SendQueue:
    """A send queue of a member that discards everything."""

    queued_bytes = 0
    can_resume = True
    roster_delay = 0.0
    media = None
    retained: RetainedPackets | None = None

    def send_nowait(self, frame: Frame, *, flush_follows: bool = False) -> None:
        pass

    def flush_nowait(self) -> None:
        pass

    async def wait_writable(self) -> None:
        pass

    async def wait_sent(self) -> None:
        pass

    def discard_queued(self) -> None:
        pass


def _routing() -> float:
    """Measure the seconds of routing a call's three packets."""
    room = ServerRoom("a room", ServerLimits(), lambda: None, RoomSettings())
    members = [
        Member(
            identity=identity,
            name="",
            metadata="",
            attributes={},
            kind=ParticipantKind.STANDARD,
            permissions=ParticipantPermissions(),
            client=models.ClientInfo(),
            send_queue=_SendQueue(),
        )
        for identity in ("alice", "bob")
    ]
    for member in members:
        room.join(member, rtc.JoinResponse())
    bodies: list[bytes] = []
    for sequence in range(1, _CALLS + 1):
        for packet in (_request("1"), rpc_ack("bob", "1"), _response("1")):
            packet.sequence = 3 * sequence + len(bodies) % 3
            bodies.append(packet.SerializeToString())
    started = time.process_time()
    for body in bodies:
        room.router.route(members[0], Channel.RELIABLE, body)
    return (time.process_time() - started) / _CALLS


def _step(function: Callable[[], object]) -> Callable[[], float]:
    def run() -> float:
        started = time.process_time()
        for _ in range(_CALLS):
            function()
        return (time.process_time() - started) / _CALLS

    return run


def _async_step(function: Callable[[], Awaitable[object]]) -> Callable[[], Awaitable[float]]:
    async def run() -> float:
        started = time.process_time()
        for _ in range(_CALLS):
            await function()
        return (time.process_time() - started) / _CALLS

    return run


async def _enter_scope() -> None:
    backend = concurrency.current()
    with backend.cancel_scope(deadline=backend.current_time() + 10):
        pass


async def _one_tick() -> None:
    await concurrency.current().sleep(0)


async def _spawn() -> float:
    ended = 0
    all_ended = concurrency.current().event()

    async def task() -> None:
        nonlocal ended
        ended += 1
        if ended == _CALLS:
            all_ended.set()

    async with concurrency.current().open_nursery() as nursery:
        # As the tasks of handlers are started
        tasks = concurrency.current().many_tasks(nursery)
        started = time.process_time()
        for _ in range(_CALLS):
            tasks.start_soon(task)
        await all_ended.wait()
        seconds = time.process_time() - started
        nursery.cancel_scope.cancel()
    return seconds / _CALLS


async def _through_channel() -> float:
    send, receive = concurrency.current().open_memory_channel(2)
    started = time.process_time()
    for _ in range(_CALLS):
        send.send_nowait(None)
        await receive.receive()
    return (time.process_time() - started) / _CALLS


_BODY: Final = _request("1").SerializeToString()
_FRAMES: Final = [Frame(Channel.RELIABLE, _BODY)]
_MESSAGE: Final = encode_frames(_FRAMES)

_ASYNC: Final[dict[str, Callable[[], Awaitable[float]]]] = {
    "the caller's half of a call": _caller_half,
    "the callee's half": _callee_half,
    "a cancel scope": _async_step(_enter_scope),
    "a task": _spawn,
    "an item through a memory channel": _through_channel,
    "a tick of the event loop": _async_step(_one_tick),
}
_SYNC: Final[dict[str, Callable[[], float]]] = {
    "the server's routing of a call's three packets": _routing,
    "an id": _step(make_uuid),
    "a request, made": _step(lambda: _request("1")),
    "a request, serialised": _step(_request("1").SerializeToString),
    "a request, parsed": _step(lambda: parse_packet(_BODY)),
    "an ack, made and serialised": _step(lambda: rpc_ack("bob", "1").SerializeToString()),
    "a frame around it, put on": _step(lambda: encode_frames(_FRAMES)),
    "a frame around it, taken off": _step(lambda: decode_frames(_MESSAGE)),
}


def main() -> None:
    """Print the tables."""
    print(f"| {_IN_FLIGHT} in flight, {len(_PAYLOAD)} B | trio, µs | asyncio, µs |")
    print("|---|---:|---:|")
    for name, run in _ASYNC.items():
        figures = [
            min(anyio.run(run, backend=backend) for _ in range(_RUNS))
            for backend in ("trio", "asyncio")
        ]
        print(f"| {name} |", " | ".join(f"{figure * 1e6:.1f}" for figure in figures), "|")
    print("\n| step | µs |\n|---|---:|")
    for name, run_step in _SYNC.items():
        print(f"| {name} | {min(run_step() for _ in range(_RUNS)) * 1e6:.1f} |")
    print(f"\n{counts.tables()}")


if __name__ == "__main__":
    main()
