"""The peer connections to one other side; everything here runs in the thread of the peers.

A *peer* has one connection whose data channels carry both directions, or one for each direction,
as LiveKit's older signalling has it. It offers them (a client: `links.webrtc`) or answers (a
server: `server.webrtc`); the rest is here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from typing import Final, TypeAlias

from aiortc import RTCConfiguration, RTCDataChannel, RTCPeerConnection
from livekit.protocol import rtc

from ..links import Channel, Frame
from ..links.frames import decode_frames
from ..protocol.logs import peer_logger
from . import aiortc_private as private
from .consent import check_consent
from .reports import FRAME_COST, Described, Drained, Failed, Opened, SendReport, Taken

logger = peer_logger(__name__)

#: A message of the other side's signalling about connections.
Description: TypeAlias = rtc.SignalRequest | rtc.SignalResponse

LABELS: Final = {"_reliable": Channel.RELIABLE, "_lossy": Channel.LOSSY}
#: The most bytes buffered in aiortc at which sent data is reported as taken.
_LOW_WATER_BYTES: Final = 64 * 1024
#: The receive window of the other side.
_RECEIVE_WINDOW_BYTES: Final = private.RECEIVE_WINDOW_BYTES
#: The most bytes of incomplete messages beyond that window.
_MAX_INCOMPLETE_BYTES: Final = 2 * _RECEIVE_WINDOW_BYTES
#: Seconds between checks for incomplete messages.
_CHECK_INTERVAL: Final = 1.0
#: Seconds for sent data to arrive before the end, and for the end.
_CLOSE_TIMEOUT: Final = 1.0
#: Seconds between checks whether sent data has arrived.
_LEAVE_INTERVAL: Final = 0.01
#: LiveKit's clients have three.
_MAX_CHANNELS: Final = 16


class Peer:
    """The peer connections to one other side; call its methods with `PeerThread.call`.

    Args:
        report: Called with each report for the stream of the participant.
        has_two_connections: Whether there is a connection for each direction.
        consent_timeout: Seconds after which it is noticed that the other side is gone.

    Attributes:
        max_waiting: The most messages about connections that are queued: the other side waits for
            each answer.
    """

    max_waiting = 10

    def __init__(
        self, report: SendReport, *, has_two_connections: bool, consent_timeout: float
    ) -> None:
        self.report = report
        self._consent_timeout = consent_timeout
        self._over = asyncio.Event()
        self._descriptions: asyncio.Queue[Description] = asyncio.Queue(self.max_waiting)
        # The connection that we receive on, and the one that we send on if that is another
        self._has_two_connections = has_two_connections
        self._incoming: RTCPeerConnection | None = None
        self._outgoing: RTCPeerConnection | None = None
        # Sending
        self._channels: dict[Channel, RTCDataChannel] = {}
        self._unreported = 0
        self._draining: asyncio.Task[None] | None = None
        # Receiving
        self._offered_channels = 0
        self._unread = 0

    async def run(self) -> None:
        """Serve the connections until `close`, or until something fails, which is reported."""
        negotiating = asyncio.create_task(self._negotiate())
        try:
            while not self._over.is_set():
                self._check_incomplete()
                self._report_progress()
                with suppress(TimeoutError):
                    async with asyncio.timeout(_CHECK_INTERVAL):
                        await self._over.wait()
            await self._wait_arrived()
        finally:
            tasks = [negotiating, *([self._draining] if self._draining else [])]
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
            for connection in (self._incoming, self._outgoing):
                if connection is not None:
                    await _close(connection)

    def close(self) -> None:
        """End; nothing is reported as a failure from now on."""
        self._over.set()

    def fail(self, reason: str) -> None:
        """End, and report why."""
        if not self._over.is_set():
            self._over.set()
            self.report(Failed(reason))

    # Connections

    async def negotiate(self) -> None:
        """Offer or answer connections, for as long as the peer runs.

        Raises:
            PeerError: the other side sent something that can't be used.
        """
        raise NotImplementedError

    def describe(self, message: Description) -> None:
        """Queue a message about connections."""
        try:
            self._descriptions.put_nowait(message)
        except asyncio.QueueFull:
            self.fail(f"it sent more than {self.max_waiting} session descriptions at once")

    async def _negotiate(self) -> None:
        try:
            await self.negotiate()
        except PeerError as error:
            self.fail(str(error))
        except Exception as error:
            # Anything that aiortc raises for garbage: KeyError, AssertionError, … The texts repeat
            # it, and the secrets in a description.
            logger.info("a session description failed with %s", type(error).__name__)
            self.fail(f"its session description can't be used ({type(error).__name__})")

    def new_connection(self, configuration: RTCConfiguration) -> RTCPeerConnection:
        """Return a connection whose end is that of the peer."""
        connection = RTCPeerConnection(configuration)

        def on_change() -> None:
            if connection.connectionState in ("failed", "closed"):
                self.fail(f"its peer connection is {connection.connectionState}")

        connection.on("connectionstatechange", on_change)
        return connection

    async def describe_ours(self, connection: RTCPeerConnection) -> str:
        """Gather our addresses, and return the offer or answer.

        Raises:
            PeerError: there are none.
        """
        check_consent(private.ice_of(connection), self._consent_timeout, self._on_consent_lost)
        await connection.setLocalDescription()
        description: str = connection.localDescription.sdp
        if "a=candidate:" not in description:
            raise PeerError("there is no address here at which it could reach us")
        return description

    def report_description(self, kind: str, sdp: str, number: int) -> None:
        """Report an offer or an answer of ours."""
        self.report(Described(kind, sdp, number))

    def limit_receiving(self, connection: RTCPeerConnection) -> None:
        """Receive nothing on a connection while too much is unread."""
        private.take_nothing_while(connection, self._has_unread_enough)

    def _on_consent_lost(self) -> None:
        self.fail(f"its peer connection was silent for {self._consent_timeout:g} s")

    # Sending

    def open_channels(self, connection: RTCPeerConnection) -> Sequence[RTCDataChannel]:
        """Create the channels that we send on."""
        channels: list[RTCDataChannel] = []
        for label, channel in LABELS.items():
            lossy = channel is Channel.LOSSY
            data_channel = connection.createDataChannel(
                label, ordered=not lossy, maxRetransmits=0 if lossy else None
            )
            data_channel.on("open", partial(self._on_open, channel, data_channel))
            channels.append(data_channel)
        return channels

    def _on_open(self, channel: Channel, data_channel: RTCDataChannel) -> None:
        self._channels[channel] = data_channel
        data_channel.bufferedAmountLowThreshold = _LOW_WATER_BYTES
        data_channel.on("bufferedamountlow", self._report_taken)
        if channel is Channel.RELIABLE:
            data_channel.on("close", partial(self.fail, "it closed its reliable data channel"))
            self.report(Opened())

    def send(self, message: bytes) -> None:
        """Send the frames of a message as packets."""
        if self._over.is_set():
            return
        try:
            for channel, body in decode_frames(message):
                data_channel = self._channels.get(channel)
                if data_channel is not None and data_channel.readyState == "open":
                    data_channel.send(body)
        except ValueError as error:
            # The packet is larger than the other side accepts.
            self.fail(str(error))
        self._unreported += len(message)
        self._report_taken()

    def drain(self) -> None:
        """Report when everything that was sent has arrived, or some time has passed."""
        if self._draining is None:
            self._draining = asyncio.create_task(self._drain())

    async def _drain(self) -> None:
        await self._wait_arrived()
        self.report(Drained())
        self._draining = None

    def _report_taken(self) -> None:
        """Report sent bytes as taken, in large steps, once few of them are buffered."""
        if self._unreported >= _LOW_WATER_BYTES and self._buffered <= _LOW_WATER_BYTES:
            self.report(Taken(self._unreported))
            self._unreported = 0

    def _report_progress(self) -> None:
        """Report acknowledged bytes in small steps too: these show that it reads (B8)."""
        taken = self._unreported - self._unacknowledged
        if taken > 0:
            self.report(Taken(taken))
            self._unreported -= taken

    @property
    def _sending_connection(self) -> RTCPeerConnection | None:
        return self._outgoing if self._has_two_connections else self._incoming

    @property
    def _unacknowledged(self) -> int:
        """The bytes that were sent and are not known to have arrived."""
        connection = self._sending_connection
        sctp = None if connection is None else connection.sctp
        if sctp is None:
            return 0
        buffered = sum(each.bufferedAmount for each in self._channels.values())
        return buffered + private.bytes_in_flight(sctp)

    @property
    def _buffered(self) -> int:
        """The bytes buffered in the fuller channel; each channel tells when it passes the mark."""
        return max((each.bufferedAmount for each in self._channels.values()), default=0)

    async def _wait_arrived(self) -> None:
        """Wait until sent data has arrived, for at most `_CLOSE_TIMEOUT`."""
        connection = self._sending_connection
        with suppress(TimeoutError):
            async with asyncio.timeout(_CLOSE_TIMEOUT):
                # aiortc does not tell when.
                while connection is not None and private.is_sending(connection):  # noqa: ASYNC110
                    await asyncio.sleep(_LEAVE_INTERVAL)

    # Receiving

    def receive_from(self, connection: RTCPeerConnection) -> None:
        """Receive on the channels that the other side opens on a connection."""
        connection.on("datachannel", self._on_channel)

    def _on_channel(self, data_channel: RTCDataChannel) -> None:
        self._offered_channels += 1
        if self._offered_channels > _MAX_CHANNELS:
            return self.fail(f"it opened more than {_MAX_CHANNELS} data channels")
        channel = LABELS.get(data_channel.label)
        if channel is None:
            logger.debug("ignored a channel that is neither _reliable nor _lossy")
            return None
        self.receive_on(data_channel)
        if not self._has_two_connections:
            self._on_open(channel, data_channel)
        return None

    def receive_on(self, data_channel: RTCDataChannel) -> None:
        """Receive on a channel, whose label is one of `LABELS`."""
        data_channel.on("message", partial(self._on_message, LABELS[data_channel.label]))

    def _on_message(self, channel: Channel, message: bytes | str) -> None:
        body = message.encode() if isinstance(message, str) else message
        cost = len(body) + FRAME_COST
        self._unread += cost
        self._widen_window(-cost)
        self.report(Frame(channel, body))

    def _has_unread_enough(self) -> bool:
        return self._unread >= _RECEIVE_WINDOW_BYTES

    def on_read(self, size: int) -> None:
        """Widen the other side's window by `size` bytes that were read."""
        self._unread -= size
        self._widen_window(size)

    def _widen_window(self, size: int) -> None:
        if self._incoming is not None and self._incoming.sctp is not None:
            private.widen_receive_window(self._incoming.sctp, size)

    def _check_incomplete(self) -> None:
        """Fail if there are too many incomplete messages: aiortc does not enforce its window."""
        for connection in (self._incoming, self._outgoing):
            sctp = None if connection is None else connection.sctp
            if sctp is not None and private.incomplete_bytes(sctp) > _MAX_INCOMPLETE_BYTES:
                self.fail("it began messages and did not end them")


class PeerError(Exception):
    """A failure of the other side, with a text for a person."""


async def _close(connection: RTCPeerConnection) -> None:
    connection.remove_all_listeners()
    try:
        async with asyncio.timeout(_CLOSE_TIMEOUT):
            await connection.close()
    except Exception as error:
        logger.info("closing a peer connection failed", exc_info=error)
