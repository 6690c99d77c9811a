"""Participants that come with one of LiveKit's SDKs: signalling on a WebSocket, packets beside it.

The peer connections are scripted: what they would report comes from the input. aiortc itself is not
fuzzed here.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, Final, cast

import anyio.lowlevel
from attrs import define, field
from livekit.protocol import models, rtc

from trio_rpc.concurrency import open_service_nursery
from trio_rpc.links import Channel, Frame, LinkClosedError
from trio_rpc.links.memory import MemoryStream, open_memory_streams
from trio_rpc.server.join_request import JoinParameters, Resumption
from trio_rpc.server.webrtc import LiveKitClients, PeerThread
from trio_rpc.webrtc.reports import Failed, Opened, Report, Taken
from trio_rpc.webrtc.sdp import data_only

from ..webrtc.descriptions import OFFER
from .choices import Choices
from .forgery import Forger
from .honest import token
from .target import Attack
from .venue import Venue

_IDENTITIES: Final = ("alice", "bob", "mallory", "nobody", "")
_REASON: Final = "its peer connection is failed"


@define(eq=False)
class _ScriptedPeer:
    """A `Peer` without connections."""

    report: Callable[[Report], None]
    _over: bool = False

    def describe(self, request: rtc.SignalRequest) -> None:
        try:
            data_only(request.offer.sdp or request.answer.sdp)
        except ValueError as error:
            self.report_if_open(Failed(str(error)))

    def send(self, message: bytes) -> None:
        self.report_if_open(Taken(len(message)))

    def on_read(self, size: int) -> None:
        pass

    def close(self) -> None:
        self._over = True

    def report_if_open(self, report: Report) -> None:
        """Report something, unless this has ended."""
        if not self._over:
            self._over = isinstance(report, Failed)
            self.report(report)


@define(eq=False)
class _ScriptedThread:
    """A `PeerThread` without a thread."""

    peers: list[_ScriptedPeer] = field(factory=list)
    addresses: Sequence[str] = ()

    async def start(self) -> None:
        await anyio.lowlevel.checkpoint()

    def open_peer(
        self,
        _make_peer: object,
        report: Callable[[Report], None],
    ) -> _ScriptedPeer:
        self.peers.append(_ScriptedPeer(report))
        return self.peers[-1]

    def call(self, function: Callable[..., object], *arguments: Any) -> None:
        function(*arguments)

    def run_in_host(self, function: Callable[[], object]) -> None:
        function()


@asynccontextmanager
async def livekit_client() -> AsyncIterator[Attack]:
    """Let inputs, which are choices, be clients with an SDK of LiveKit's."""
    async with Venue.open() as venue:

        async def attack(data: bytes) -> None:
            await _attack(venue, data)
            await venue.check()

        yield attack


async def _attack(venue: Venue, data: bytes) -> None:
    choices = Choices(data)
    thread = _ScriptedThread()
    near, far = open_memory_streams()
    claims = venue.server.admission.authenticate(token("mallory"))
    parameters = JoinParameters(
        models.ClientInfo(client_protocol=2),
        single_peer_connection=choices.flag(),
        offer=rtc.SessionDescription(type="offer", sdp=OFFER) if choices.flag() else None,
        resumption=Resumption("PA_1") if choices.below(16) == 15 else None,
    )

    async def serve() -> None:
        as_thread = cast(PeerThread, thread)
        clients = LiveKitClients(venue.server.admission, as_thread)
        await clients.serve(near, claims, parameters)

    async with open_service_nursery() as nursery:
        nursery.start_soon(_read, far)
        async with anyio.create_task_group() as serving:
            serving.start_soon(serve)
            await anyio.lowlevel.checkpoint()
            with suppress(LinkClosedError):
                await _play(choices, far, thread)
            await far.aclose("")
            for peer in thread.peers:
                peer.report_if_open(Failed(_REASON))


async def _read(stream: MemoryStream) -> None:
    try:
        while True:
            await stream.receive_message()
    except LinkClosedError:
        pass


async def _play(choices: Choices, stream: MemoryStream, thread: _ScriptedThread) -> None:
    forger = Forger(choices, _IDENTITIES, [])
    while choices:
        match choices.below(8):
            case 0:
                await stream.send_message(forger.signal())
            case 1:
                for request in _requests(choices):
                    await stream.send_message(request.SerializeToString())
            case 2:
                await anyio.sleep(choices.one_of((0, 0.1, 1, 21)))
            case kind if thread.peers:
                peer = thread.peers[0]
                reports = [Opened()] if kind == 3 else _reports(choices, forger)
                for report in reports:
                    peer.report_if_open(report)
            case _:
                await anyio.sleep(1)


def _requests(choices: Choices) -> Iterator[rtc.SignalRequest]:
    sdp = choices.one_of((OFFER, choices.text()))
    match choices.below(4):
        case 0:
            yield rtc.SignalRequest(offer=rtc.SessionDescription(type="offer", sdp=sdp))
        case 1:
            yield rtc.SignalRequest(answer=rtc.SessionDescription(type="answer", sdp=sdp))
        case _:
            for _ in range(choices.byte()):
                yield rtc.SignalRequest(trickle=rtc.TrickleRequest(candidateInit=sdp[:100]))


def _reports(choices: Choices, forger: Forger) -> Iterator[Report]:
    match choices.below(16):
        case 14:
            yield Frame(choices.one_of((Channel.RELIABLE, Channel.LOSSY)), choices.content())
        case 15:
            yield Failed(_REASON)
        case _:
            for packet in forger.packets():
                yield Frame(Channel.RELIABLE, packet.SerializeToString())
