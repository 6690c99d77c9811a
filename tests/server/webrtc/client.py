"""A client of LiveKit's signalling and data channels, made of aiortc and websockets.

It runs on asyncio in a thread of its own, whatever the test and the server run on.
"""

from __future__ import annotations

import asyncio
import base64
import gzip
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any, Final, TypeVar
from urllib.parse import urlencode

import aioice
import anyio
import anyio.from_thread
import anyio.to_thread
import pytest
from aiortc import (
    RTCConfiguration,
    RTCDataChannel,
    RTCPeerConnection,
    RTCSessionDescription,
)
from livekit.protocol import models, rtc
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from ...support.tokens import make_token

T = TypeVar("T")

#: The single-connection join, and the one with two peer connections.
VERSIONS = pytest.mark.parametrize("version", [1, 0], ids=["v1", "v0"])
#: Seconds in which whatever is waited for must have come.
PATIENCE: Final = 120


def join_request(offer: str = "", *, compress: bool = True, **fields: Any) -> str:
    """Return the query of `/rtc/v1` for a request to join."""
    request = rtc.JoinRequest(client_info=models.ClientInfo(client_protocol=2), **fields)
    if offer:
        request.publisher_offer.CopyFrom(rtc.SessionDescription(type="offer", sdp=offer, id=1))
    body = request.SerializeToString()
    compression = rtc.WrappedJoinRequest.Compression
    wrapped = rtc.WrappedJoinRequest(
        compression=compression.GZIP if compress else compression.NONE,
        join_request=gzip.compress(body) if compress else body,
    )
    return base64.urlsafe_b64encode(wrapped.SerializeToString()).decode().rstrip("=")


class AsyncioClient:
    """The client, for use in its thread.

    Attributes:
        responses: What the server said.
        packets: What came over the channels, each with the channel's label.
        closed: The code and the reason with which the server closed the WebSocket.
    """

    def __init__(self) -> None:
        self.responses: list[rtc.SignalResponse] = []
        self.packets: list[tuple[str, models.DataPacket]] = []
        self.closed: tuple[int, str] | None = None
        self.publisher = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        self.subscriber: RTCPeerConnection | None = None
        self.channels: dict[str, RTCDataChannel] = {}
        self._websocket: ClientConnection
        self._connects = True
        self._offered: rtc.SessionDescription | None = None
        self._changed = asyncio.Condition()
        self._readers: dict[ClientConnection, asyncio.Task[None]] = {}
        self._pinging: asyncio.Task[None] | None = None

    async def join(self, url: str, token: str, *, version: int, connects: bool) -> None:
        """Join, and with `connects` begin to connect."""
        self._connects = connects
        self._url, self._token, self._version = url, token, version
        self.add_channel("_reliable")
        self.add_channel("_lossy", ordered=False, maxRetransmits=0)
        query = {"access_token": token}
        path = "/rtc"
        if version == 1:
            path = "/rtc/v1"
            query["join_request"] = join_request(await self.new_offer() if connects else "")
        self._websocket = await connect(
            f"{url}{path}?{urlencode(query)}", compression=None, proxy=None, close_timeout=1
        )
        self._readers[self._websocket] = asyncio.create_task(self._read(self._websocket))
        if version == 0 and connects:
            await self.offer()

    async def lose_websocket(self) -> None:
        """Lose the WebSocket without a word."""
        self._websocket.transport.abort()
        await self.wait_for(lambda: self.closed)

    async def resume(self, token: str = "") -> None:
        """Resume the session over another WebSocket, as this client or with another's token."""
        (join,) = [each.join for each in self.responses if each.HasField("join")]
        sid = join.participant.sid
        query = {"access_token": token or self._token}
        path = "/rtc"
        if self._version == 1:
            path = "/rtc/v1"
            query["join_request"] = join_request(reconnect=True, participant_sid=sid)
        else:
            query |= {"reconnect": "1", "sid": sid}
        self._websocket = await connect(
            f"{self._url}{path}?{urlencode(query)}", compression=None, proxy=None, close_timeout=1
        )
        self._readers[self._websocket] = asyncio.create_task(self._read(self._websocket))

    async def restart_ice(self, number: int) -> str:
        """Offer the connection again, with other credentials; return the answer before that."""
        before: str = self.publisher.remoteDescription.sdp
        ice = self._ice
        ice._local_username, ice._local_password = f"user{number}", "p" * 22
        ice._check_list.clear()
        ice._remote_candidates.clear()
        await self.offer(number)
        return before

    async def check_again(self, answer: str) -> None:
        """Nominate a way to the server again, as a client does after a restart."""
        ice = self._ice
        ice.remote_username = answer.partition("a=ice-ufrag:")[2].split()[0]
        ice.remote_password = answer.partition("a=ice-pwd:")[2].split()[0]
        for candidate in answer.splitlines():
            if candidate.startswith("a=candidate:"):
                host, port = candidate.split()[4:6]
                remote = aioice.Candidate("1", 1, "udp", 1, host, int(port), "host")
                ice._remote_candidates.append(remote)
                ice._pair_remote_candidate(remote)
        for pair in tuple(ice._check_list):
            await ice.check_start(pair)

    def nominated(self) -> object:
        """Return the way to the server that is in use."""
        (pair,) = self._ice._nominated.values()
        return pair

    @property
    def _ice(self) -> aioice.Connection:
        assert self.publisher.sctp is not None
        return self.publisher.sctp.transport.transport.iceGatherer._connection

    def add_channel(self, label: str, **options: Any) -> None:
        """Open another data channel of its own."""
        self._listen(self.publisher.createDataChannel(label, **options))

    async def new_offer(self) -> str:
        await self.publisher.setLocalDescription()
        sdp: str = self.publisher.localDescription.sdp
        return sdp

    async def offer(self, number: int = 1) -> None:
        """Connect: offer the connection, or offer it again, and answer the server's offer."""
        self._connects = True
        await self._answer()
        sdp = await self.new_offer()
        await self.send_signal(offer=rtc.SessionDescription(type="offer", sdp=sdp, id=number))

    async def send_signal(self, **request: Any) -> None:
        """Send a `SignalRequest`, for example `send_signal(leave=LeaveRequest())`."""
        await self._websocket.send(rtc.SignalRequest(**request).SerializeToString())

    async def send_signal_bytes(self, *messages: bytes) -> None:
        """Send messages, until the server has had enough of them."""
        with suppress(ConnectionClosed):
            for message in messages:
                await self._websocket.send(message)

    async def send_frame(self, body: bytes | str, label: str = "_reliable", times: int = 1) -> None:
        """Send a message in a channel, once that is open."""
        await self.wait_for(lambda: self.channels[label].readyState == "open")
        for _ in range(times):
            self.channels[label].send(body)

    async def wait_for(self, condition: Callable[[], T]) -> T:
        """Wait for a true value, and return it."""
        try:
            async with asyncio.timeout(PATIENCE), self._changed:
                while not (value := condition()):
                    await self._changed.wait()
                return value
        except TimeoutError:
            received = [response.WhichOneof("message") for response in self.responses]
            raise AssertionError(
                f"it did not come; heard {received}, {len(self.packets)} packets, {self.closed}"
            ) from None

    async def lose_transports(self) -> None:
        """Lose all datagrams from now on, in both directions, and go on pinging."""
        for connection in (self.publisher, self.subscriber):
            if connection is not None:
                assert connection.sctp is not None
                ice = connection.sctp.transport.transport.iceGatherer._connection
                for protocol in ice._protocols:
                    protocol.transport.sendto = lambda *_: None  # type: ignore[method-assign]
                    protocol.datagram_received = lambda *_: None  # type: ignore[method-assign]

        async def ping() -> None:
            with suppress(ConnectionClosed):
                while True:
                    await self.send_signal(ping=1)
                    await asyncio.sleep(0.2)

        self._pinging = asyncio.create_task(ping())

    async def aclose(self) -> None:
        """Be gone."""
        if self._readers:
            with suppress(ConnectionClosed):
                await self.send_signal(leave=rtc.LeaveRequest())
            for websocket, reader in self._readers.items():
                await websocket.close()
                await reader
        if self._pinging is not None:
            await self._pinging
        for connection in (self.publisher, self.subscriber):
            if connection is not None:
                await connection.close()

    async def _read(self, websocket: ClientConnection) -> None:
        with suppress(ConnectionClosed):
            async for message in websocket:
                assert isinstance(message, bytes)
                response = rtc.SignalResponse.FromString(message)
                if response.HasField("answer"):
                    await self._accept(response.answer)
                elif response.HasField("offer"):
                    self._offered = response.offer
                    if self._connects:
                        await self._answer()
                self.responses.append(response)
                await self._notify()
        self.closed = (websocket.close_code or 0, websocket.close_reason or "")
        await self._notify()

    async def _accept(self, answer: rtc.SessionDescription) -> None:
        if self.publisher.signalingState == "have-local-offer":
            description = RTCSessionDescription(_data_only(answer.sdp), "answer")
            await self.publisher.setRemoteDescription(description)

    async def _answer(self) -> None:
        offer, self._offered = self._offered, None
        if offer is None:
            return
        self.subscriber = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        self.subscriber.on("datachannel", self._hear)
        await self.subscriber.setRemoteDescription(RTCSessionDescription(offer.sdp, "offer"))
        await self.subscriber.setLocalDescription()
        sdp = self.subscriber.localDescription.sdp
        # It may have been disconnected in the meantime, and still has to read the reason.
        with suppress(ConnectionClosed):
            await self.send_signal(
                answer=rtc.SessionDescription(type="answer", sdp=sdp, id=offer.id)
            )

    def _listen(self, channel: RTCDataChannel) -> None:
        self.channels[channel.label] = channel
        channel.on("open", self._notify)
        channel.on("close", self._notify)
        self._hear(channel)

    def _hear(self, channel: RTCDataChannel) -> None:
        async def take(message: bytes) -> None:
            self.packets.append((channel.label, models.DataPacket.FromString(message)))
            await self._notify()

        channel.on("message", take)

    async def _notify(self) -> None:
        async with self._changed:
            self._changed.notify_all()


def _data_only(answer: str) -> str:
    """Remove the media sections of an answer: aiortc offered the data channels alone."""
    head, *sections = answer.split("m=")
    [data] = [each for each in sections if each.startswith("application")]
    mid = data.partition("a=mid:")[2].split()[0]
    return re.sub("BUNDLE .*", f"BUNDLE {mid}\r", head) + f"m={data}"


class WebRTCClient:
    """The client, for use in the test's own event loop."""

    def __init__(self, identity: str, portal: anyio.from_thread.BlockingPortal) -> None:
        self.identity = identity
        self._portal = portal
        self.asyncio = portal.call(AsyncioClient)

    async def run(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Call something in the client's thread."""
        call = partial(self._portal.call, partial(function, *args, **kwargs))
        return await anyio.to_thread.run_sync(call, abandon_on_cancel=True)

    async def send_signal(self, **request: Any) -> None:
        await self.run(self.asyncio.send_signal, **request)

    async def send(self, packet: models.DataPacket, label: str = "_reliable") -> None:
        await self.send_frame(packet.SerializeToString(), label)

    async def send_frame(self, body: bytes | str, label: str = "_reliable", times: int = 1) -> None:
        await self.run(self.asyncio.send_frame, body, label, times)

    async def wait_packets(self, count: int = 1) -> list[tuple[str, models.DataPacket]]:
        """Wait for `count` packets, and return all received so far."""
        asyncio = self.asyncio
        await self.run(asyncio.wait_for, lambda: len(asyncio.packets) >= count)
        return asyncio.packets

    async def wait_response(
        self, kind: str, number: int = 1, where: Callable[[Any], bool] = lambda _: True
    ) -> Any:
        """Wait for the first, second, … response of a kind, and return its content."""

        def found() -> list[Any]:
            all_of_kind = [
                getattr(response, kind)
                for response in self.asyncio.responses
                if response.HasField(kind)
            ]
            return [each for each in all_of_kind if where(each)][number - 1 :]

        return (await self.run(self.asyncio.wait_for, found))[0]

    async def wait_closed(self) -> tuple[str, str]:
        """Wait for the end, and return the reasons of `LeaveRequest` and WebSocket."""
        await self.run(self.asyncio.wait_for, lambda: self.asyncio.closed is not None)
        assert self.asyncio.closed is not None
        reasons = [each.leave.reason for each in self.asyncio.responses if each.HasField("leave")]
        name = models.DisconnectReason.Name(reasons[0]) if reasons else ""
        return name, self.asyncio.closed[1]


@asynccontextmanager
async def webrtc_client(
    url: str,
    identity: str,
    *,
    version: int = 1,
    connects: bool = True,
    token: str = "",
    **grants: Any,
) -> AsyncIterator[WebRTCClient]:
    """Join with a client that leaves when the block ends.

    Args:
        version: 1 for `/rtc/v1`, 0 for `/rtc`.
        connects: Whether it begins to connect.
        token: Its token; by default, one of `make_token`.
        grants: As for `make_token`.
    """
    with anyio.from_thread.start_blocking_portal("asyncio") as portal:
        client = WebRTCClient(identity, portal)
        try:
            token = token or make_token(identity, **grants)
            await client.run(client.asyncio.join, url, token, version=version, connects=connects)
            await client.wait_response("join")
            yield client
        finally:
            with anyio.CancelScope(shield=True):
                await client.run(client.asyncio.aclose)
