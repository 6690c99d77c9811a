"""The peer connections of one participant; everything here runs in the thread of the peers.

With `/rtc/v1` the client offers one connection, and its channels carry both directions. With `/rtc`
the client offers a connection to send on, and we offer another for it to receive on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from itertools import chain
from typing import Any, Final

import aioice
from aiortc import (
    RTCConfiguration,
    RTCDataChannel,
    RTCPeerConnection,
    RTCSctpTransport,
    RTCSessionDescription,
)
from aiortc.rtcsctptransport import DataChunk
from livekit.protocol import rtc

from ..links import Channel, Frame
from ..links.frames import decode_frames
from ..protocol.logs import peer_logger
from .consent import check_consent
from .reports import FRAME_COST, Described, Failed, Opened, SendReport, Taken
from .sdp import complete_answer, data_only

logger = peer_logger(__name__)

_LABELS: Final = {"_reliable": Channel.RELIABLE, "_lossy": Channel.LOSSY}
#: The most bytes buffered in aiortc at which sent data is reported as taken.
_LOW_WATER_BYTES: Final = 64 * 1024
#: The receive window that a client is told, as aiortc has it.
_RECEIVE_WINDOW_BYTES: Final = 1024 * 1024
#: The most bytes of incomplete messages beyond that window.
_MAX_INCOMPLETE_BYTES: Final = 2 * _RECEIVE_WINDOW_BYTES
#: Seconds between checks for incomplete messages.
_CHECK_INTERVAL: Final = 1.0
#: Seconds for sent data to arrive before the end, and for the end.
_CLOSE_TIMEOUT: Final = 1.0
#: Seconds between checks whether sent data has arrived.
_LEAVE_INTERVAL: Final = 0.01
#: The most session descriptions of a client that are queued: clients wait for each answer.
_MAX_WAITING: Final = 10
#: LiveKit's clients have three.
_MAX_CHANNELS: Final = 16


class Peer:
    """The peer connections of one participant; call its methods with `PeerThread.call`.

    Args:
        report: Called with each report for the stream of the participant.
        subscriber_primary: Whether we offer a second connection, on which the client receives.
        addresses: The addresses that the client reaches us at; empty for all but loopback.
        consent_timeout: Seconds after which a client that is gone is noticed.
    """

    def __init__(
        self,
        report: SendReport,
        *,
        subscriber_primary: bool,
        addresses: Sequence[str],
        consent_timeout: float,
    ) -> None:
        self._report = report
        self._addresses = addresses
        self._consent_timeout = consent_timeout
        self._over = asyncio.Event()
        # The connection that the client sends on, and the one it receives on if that is another
        self._descriptions: asyncio.Queue[rtc.SignalRequest] = asyncio.Queue(_MAX_WAITING)
        self._publisher: RTCPeerConnection | None = None
        self._subscriber: RTCPeerConnection | None = None
        self._subscriber_primary = subscriber_primary
        # To the client
        self._channels: dict[Channel, RTCDataChannel] = {}
        self._unreported = 0
        # From the client
        self._offered_channels = 0
        self._unread = 0

    async def run(self) -> None:
        """Serve the participant until `close`, or until something fails, which is reported."""
        negotiating = asyncio.create_task(self._negotiate())
        try:
            while not self._over.is_set():
                self._check_incomplete()
                self._report_progress()
                with suppress(TimeoutError):
                    async with asyncio.timeout(_CHECK_INTERVAL):
                        await self._over.wait()
            await self._let_leave()
        finally:
            negotiating.cancel()
            await asyncio.wait([negotiating])
            for connection in (self._publisher, self._subscriber):
                if connection is not None:
                    await _close(connection)

    def close(self) -> None:
        """End; nothing is reported as a failure from now on."""
        self._over.set()

    def fail(self, reason: str) -> None:
        """End, and report why."""
        if not self._over.is_set():
            self._over.set()
            self._report(Failed(reason))

    # Connections

    def describe(self, request: rtc.SignalRequest) -> None:
        """Queue the client's offer, of which there may be several, or its answer to our offer."""
        try:
            self._descriptions.put_nowait(request)
        except asyncio.QueueFull:
            self.fail(f"it sent more than {_MAX_WAITING} session descriptions at once")

    async def _negotiate(self) -> None:
        try:
            if self._subscriber_primary:
                await self._offer()
            while True:
                request = await self._descriptions.get()
                if request.HasField("offer"):
                    await self._answer(request.offer)
                else:
                    await self._accept(request.answer)
        except _PeerError as error:
            self.fail(str(error))
        except Exception as error:
            # Anything that aiortc raises for garbage: KeyError, AssertionError, … The texts repeat
            # it, and the secrets in a description.
            logger.info("a session description failed with %s", type(error).__name__)
            self.fail(f"its session description can't be used ({type(error).__name__})")

    async def _answer(self, offer: rtc.SessionDescription) -> None:
        data_offer = _data_only(offer)
        connection = self._publisher
        is_new = connection is None
        if connection is None:
            connection = self._publisher = self._new_connection()
            connection.on("datachannel", self._on_channel)
        await connection.setRemoteDescription(RTCSessionDescription(data_offer, "offer"))
        if is_new:
            _take_nothing_while(connection, self._has_unread_enough)
        answer = complete_answer(await self._describe_ours(connection), offer.sdp)
        self._report(Described("answer", answer, offer.id))

    async def _offer(self) -> None:
        connection = self._subscriber = self._new_connection()
        for label, channel in _LABELS.items():
            lossy = channel is Channel.LOSSY
            data_channel = connection.createDataChannel(
                label, ordered=not lossy, maxRetransmits=0 if lossy else None
            )
            data_channel.on("open", partial(self._on_open, channel, data_channel))
        self._report(Described("offer", await self._describe_ours(connection), 1))

    async def _accept(self, answer: rtc.SessionDescription) -> None:
        connection = self._subscriber
        if connection is None or connection.signalingState != "have-local-offer":
            raise _PeerError("it answered an offer that was not made")
        data_answer = _data_only(answer)
        await connection.setRemoteDescription(RTCSessionDescription(data_answer, "answer"))

    def _new_connection(self) -> RTCPeerConnection:
        connection = RTCPeerConnection(RTCConfiguration(iceServers=[]))

        def on_change() -> None:
            if connection.connectionState in ("failed", "closed"):
                self.fail(f"its peer connection is {connection.connectionState}")

        connection.on("connectionstatechange", on_change)
        return connection

    async def _describe_ours(self, connection: RTCPeerConnection) -> str:
        ice = _ice_of(connection)
        if self._addresses:
            _gather_only(ice, self._addresses)
        check_consent(ice, self._consent_timeout, self._on_consent_lost)
        await connection.setLocalDescription()
        description: str = connection.localDescription.sdp
        if "a=candidate:" not in description:
            raise _PeerError("the server has no address at which it can be reached")
        return description

    def _on_consent_lost(self) -> None:
        self.fail(f"its peer connection was silent for {self._consent_timeout:g} s")

    # To the client

    def _on_open(self, channel: Channel, data_channel: RTCDataChannel) -> None:
        self._channels[channel] = data_channel
        data_channel.bufferedAmountLowThreshold = _LOW_WATER_BYTES
        data_channel.on("bufferedamountlow", self._report_taken)
        if channel is Channel.RELIABLE:
            data_channel.on("close", partial(self.fail, "it closed its reliable data channel"))
            self._report(Opened())

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
            # The packet is larger than the client accepts.
            self.fail(str(error))
        self._unreported += len(message)
        self._report_taken()

    def _report_taken(self) -> None:
        """Report sent bytes as taken, in large steps, once few of them are buffered."""
        if self._unreported >= _LOW_WATER_BYTES and self._buffered <= _LOW_WATER_BYTES:
            self._report(Taken(self._unreported))
            self._unreported = 0

    def _report_progress(self) -> None:
        """Report acknowledged bytes in small steps too: these show that a client reads (B8)."""
        taken = self._unreported - self._unacknowledged
        if taken > 0:
            self._report(Taken(taken))
            self._unreported -= taken

    @property
    def _unacknowledged(self) -> int:
        """The bytes that were sent and are not known to have arrived."""
        connection = self._subscriber if self._subscriber_primary else self._publisher
        sctp = None if connection is None else connection.sctp
        if sctp is None:
            return 0
        buffered = sum(each.bufferedAmount for each in self._channels.values())
        return buffered + _bytes_in_flight(sctp)

    @property
    def _buffered(self) -> int:
        """The bytes buffered in the fuller channel; each channel tells when it passes the mark."""
        return max((each.bufferedAmount for each in self._channels.values()), default=0)

    async def _let_leave(self) -> None:
        """Wait until sent data has arrived, for at most `_CLOSE_TIMEOUT`."""
        connection = self._subscriber if self._subscriber_primary else self._publisher
        with suppress(TimeoutError):
            async with asyncio.timeout(_CLOSE_TIMEOUT):
                # aiortc does not tell when.
                while connection is not None and _is_sending(connection):  # noqa: ASYNC110
                    await asyncio.sleep(_LEAVE_INTERVAL)

    # From the client

    def _on_channel(self, data_channel: RTCDataChannel) -> None:
        self._offered_channels += 1
        if self._offered_channels > _MAX_CHANNELS:
            return self.fail(f"it opened more than {_MAX_CHANNELS} data channels")
        channel = _LABELS.get(data_channel.label)
        if channel is None:
            logger.debug("ignored a channel that is neither _reliable nor _lossy")
            return None
        data_channel.on("message", partial(self._on_message, channel))
        if not self._subscriber_primary:
            self._on_open(channel, data_channel)
        return None

    def _on_message(self, channel: Channel, message: bytes | str) -> None:
        body = message.encode() if isinstance(message, str) else message
        cost = len(body) + FRAME_COST
        self._unread += cost
        self._widen_window(-cost)
        self._report(Frame(channel, body))

    def _has_unread_enough(self) -> bool:
        return self._unread >= _RECEIVE_WINDOW_BYTES

    def on_read(self, size: int) -> None:
        """Widen the client's window by `size` bytes that were read."""
        self._unread -= size
        self._widen_window(size)

    def _widen_window(self, size: int) -> None:
        if self._publisher is not None and self._publisher.sctp is not None:
            _widen_receive_window(self._publisher.sctp, size)

    def _check_incomplete(self) -> None:
        """Fail if there are too many incomplete messages: aiortc does not enforce its window."""
        for connection in (self._publisher, self._subscriber):
            sctp = None if connection is None else connection.sctp
            if sctp is not None and sctp._advertised_rwnd < -_MAX_INCOMPLETE_BYTES:
                self.fail("it began messages and did not end them")


class _PeerError(Exception):
    """A failure of the client, with a text for a person."""


def _data_only(description: rtc.SessionDescription) -> str:
    try:
        return data_only(description.sdp)
    except ValueError as error:
        raise _PeerError(f"its session description can't be used: {error}") from None


async def _close(connection: RTCPeerConnection) -> None:
    connection.remove_all_listeners()
    try:
        async with asyncio.timeout(_CLOSE_TIMEOUT):
            await connection.close()
    except Exception as error:
        logger.info("closing a peer connection failed", exc_info=error)


# Private parts of aiortc and aioice, whose versions the extra `livekit` bounds


def _ice_of(connection: RTCPeerConnection) -> aioice.Connection:
    assert connection.sctp is not None
    return connection.sctp.transport.transport.iceGatherer._connection


def _gather_only(ice: aioice.Connection, addresses: Sequence[str]) -> None:
    """Have ICE use these addresses only; by default it uses all of the machine but loopback."""
    gather = type(ice).get_component_candidates

    def gather_ours(component: int, addresses: list[str], timeout: int = 5) -> Any:  # noqa: ARG001
        return gather(ice, component, ours, timeout)

    ours = list(addresses)
    ice.get_component_candidates = gather_ours  # type: ignore[method-assign]


def _take_nothing_while(connection: RTCPeerConnection, is_full: Callable[[], bool]) -> None:
    """Treat received chunks as lost for as long as too much is unread.

    aiortc accepts chunks beyond the window that it announced. And a client that was told that the
    window is closed goes on with one chunk at a time, each once the one before was acknowledged.
    """
    sctp = connection.sctp
    assert sctp is not None
    receive = sctp._receive_data_chunk

    async def receive_if_there_is_room(chunk: DataChunk) -> None:
        if is_full():
            # The client is sent an acknowledgement, with the window.
            sctp._sack_needed = sctp._last_received_tsn is not None
        else:
            await receive(chunk)

    sctp._receive_data_chunk = receive_if_there_is_room  # type: ignore[method-assign]


def _is_sending(connection: RTCPeerConnection) -> bool:
    """Whether there is data to send, or sent data that is not acknowledged."""
    sctp = connection.sctp
    if sctp is None or connection.connectionState != "connected":
        return False
    return bool(sctp._data_channel_queue or sctp._outbound_queue or sctp._sent_queue)


def _bytes_in_flight(sctp: RTCSctpTransport) -> int:
    """Return the bytes that have left the channels and are not acknowledged."""
    chunks = chain(sctp._outbound_queue, sctp._sent_queue)
    return sum(len(chunk.user_data) for chunk in chunks if not chunk._acked)


def _widen_receive_window(sctp: RTCSctpTransport, size: int) -> None:
    """Widen the client's window by `size` bytes, or narrow it where `size` is negative.

    aiortc's window counts incomplete messages alone. Here, received messages narrow it until they
    are read, which slows down the client.
    """
    half = _RECEIVE_WINDOW_BYTES // 2
    was_narrow = sctp._advertised_rwnd < half
    sctp._advertised_rwnd += size
    if was_narrow and sctp._advertised_rwnd >= half and sctp.state == "connected":
        # Sent with the next acknowledgement, for which the client may be waiting.
        _background.add(task := asyncio.ensure_future(_announce_window(sctp)))
        task.add_done_callback(_background.discard)


_background: Final[set[asyncio.Future[None]]] = set()


async def _announce_window(sctp: RTCSctpTransport) -> None:
    with suppress(ConnectionError):
        await sctp._send_sack()
