"""The peer connections of one participant; all of this runs in the thread of the peers.

With `/rtc/v1` the client offers one connection, and its channels carry both directions. With `/rtc`
it offers one for what it sends, and we offer another for what it gets.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from itertools import chain
from typing import Any, Final

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
from ..logs import peer_logger
from .reports import FRAME_COST, Described, Failed, Opened, SendReport, Taken
from .sdp import complete_answer, data_only

logger = peer_logger(__name__)

_LABELS: Final = {"_reliable": Channel.RELIABLE, "_lossy": Channel.LOSSY}
#: How much of what was sent may wait in aiortc before it is reported as taken.
_LOW_WATER_BYTES: Final = 64 * 1024
#: What a client is told that it may have sent and we not have read, as aiortc has it.
_RECEIVE_WINDOW_BYTES: Final = 1024 * 1024
#: What it may have sent beyond that of messages that are not complete.
_MAX_INCOMPLETE_BYTES: Final = 2 * _RECEIVE_WINDOW_BYTES
#: Seconds between looks at what a client began to send and did not end.
_CHECK_INTERVAL: Final = 1.0
#: Seconds for what is in the channels to arrive before the end, and for the end.
_CLOSE_TIMEOUT: Final = 1.0
#: Seconds between looks at whether it has left.
_LEAVE_INTERVAL: Final = 0.01
#: How many descriptions of a client may wait for their turn: it waits for each answer.
_MAX_WAITING: Final = 10
#: LiveKit's clients have three.
_MAX_CHANNELS: Final = 16


class Peer:
    """See the module; what others call is said in the thread, with `PeerThread.call`.

    Args:
        report: Called with all that the stream of the participant has to know.
        subscriber_primary: Whether we offer a second connection, for what the client gets.
        addresses: Where it may reach us; empty for all addresses but loopback.
    """

    def __init__(
        self, report: SendReport, *, subscriber_primary: bool, addresses: Sequence[str]
    ) -> None:
        self._report = report
        self._addresses = addresses
        self._over = asyncio.Event()
        # Its connections: of what it sends, and of what it gets where that is another
        self._descriptions: asyncio.Queue[rtc.SignalRequest] = asyncio.Queue(_MAX_WAITING)
        self._publisher: RTCPeerConnection | None = None
        self._subscriber: RTCPeerConnection | None = None
        self._subscriber_primary = subscriber_primary
        # What goes to it
        self._channels: dict[Channel, RTCDataChannel] = {}
        self._unreported = 0
        # What comes from it
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
        """End; what comes from now on is no failure."""
        self._over.set()

    def fail(self, reason: str) -> None:
        """End, and say why."""
        if not self._over.is_set():
            self._over.set()
            self._report(Failed(reason))

    # Connections

    def describe(self, request: rtc.SignalRequest) -> None:
        """The client offers its connection, perhaps once more, or answers our offer."""
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
            # Whatever aiortc makes of garbage: KeyError, AssertionError, … whose texts repeat it,
            # and what a description has that is secret.
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
            raise _PeerError("it answered an offer that it was not made")
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
        if self._addresses:
            _gather_only(connection, self._addresses)
        await connection.setLocalDescription()
        description: str = connection.localDescription.sdp
        if "a=candidate:" not in description:
            raise _PeerError("the server has no address that it could be reached at")
        return description

    # What goes to the client

    def _on_open(self, channel: Channel, data_channel: RTCDataChannel) -> None:
        self._channels[channel] = data_channel
        data_channel.bufferedAmountLowThreshold = _LOW_WATER_BYTES
        data_channel.on("bufferedamountlow", self._report_taken)
        if channel is Channel.RELIABLE:
            data_channel.on("close", partial(self.fail, "it closed its reliable data channel"))
            self._report(Opened())

    def send(self, message: bytes) -> None:
        """Send packets, which are the frames of a message."""
        if self._over.is_set():
            return
        try:
            for channel, body in decode_frames(message):
                data_channel = self._channels.get(channel)
                if data_channel is not None and data_channel.readyState == "open":
                    data_channel.send(body)
        except ValueError as error:
            # It is larger than the client said that it takes.
            self.fail(str(error))
        self._unreported += len(message)
        self._report_taken()

    def _report_taken(self) -> None:
        """Report what was sent, once that is worth it, and little of it is left."""
        if self._unreported >= _LOW_WATER_BYTES and self._buffered <= _LOW_WATER_BYTES:
            self._report(Taken(self._unreported))
            self._unreported = 0

    def _report_progress(self) -> None:
        """Report what was sent in small steps too: whoever takes any of it reads (B8)."""
        taken = self._unreported - self._unacknowledged
        if taken > 0:
            self._report(Taken(taken))
            self._unreported -= taken

    @property
    def _unacknowledged(self) -> int:
        """What was sent, as far as that is known, and has not arrived."""
        connection = self._subscriber if self._subscriber_primary else self._publisher
        sctp = None if connection is None else connection.sctp
        if sctp is None:
            return 0
        buffered = sum(each.bufferedAmount for each in self._channels.values())
        return buffered + _bytes_in_flight(sctp)

    @property
    def _buffered(self) -> int:
        """What waits in the fuller channel; each says when it passes the mark."""
        return max((each.bufferedAmount for each in self._channels.values()), default=0)

    async def _let_leave(self) -> None:
        """Let what is in the channels arrive, for as long as that may take."""
        connection = self._subscriber if self._subscriber_primary else self._publisher
        with suppress(TimeoutError):
            async with asyncio.timeout(_CLOSE_TIMEOUT):
                # aiortc does not tell when.
                while connection is not None and _is_sending(connection):  # noqa: ASYNC110
                    await asyncio.sleep(_LEAVE_INTERVAL)

    # What comes from the client

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
        """So much of what came was read, and as much may come again."""
        self._unread -= size
        self._widen_window(size)

    def _widen_window(self, size: int) -> None:
        if self._publisher is not None and self._publisher.sctp is not None:
            _widen_receive_window(self._publisher.sctp, size)

    def _check_incomplete(self) -> None:
        """Bound what waits for the rest of its message: aiortc announces a window, no more."""
        for connection in (self._publisher, self._subscriber):
            sctp = None if connection is None else connection.sctp
            if sctp is not None and sctp._advertised_rwnd < -_MAX_INCOMPLETE_BYTES:
                self.fail("it began messages and did not end them")


class _PeerError(Exception):
    """Something went wrong that its text tells a person."""


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


# What aiortc and aioice have no public way for: the extra `livekit` bounds their versions


def _gather_only(connection: RTCPeerConnection, addresses: Sequence[str]) -> None:
    """Have ICE use our addresses: by itself it takes all of the machine but loopback."""
    assert connection.sctp is not None
    ice = connection.sctp.transport.transport.iceGatherer._connection
    gather = type(ice).get_component_candidates

    def gather_ours(component: int, addresses: list[str], timeout: int = 5) -> Any:  # noqa: ARG001
        return gather(ice, component, ours, timeout)

    ours = list(addresses)
    ice.get_component_candidates = gather_ours  # type: ignore[method-assign]


def _take_nothing_while(connection: RTCPeerConnection, is_full: Callable[[], bool]) -> None:
    """Have what a client sends count as lost for as long as too much is unread.

    Whatever window is announced, aiortc takes all that comes. And a client that was told that it is
    closed goes on with one chunk at a time, each as soon as the one before was acknowledged.
    """
    sctp = connection.sctp
    assert sctp is not None
    receive = sctp._receive_data_chunk

    async def receive_if_there_is_room(chunk: DataChunk) -> None:
        if is_full():
            # It hears how far it has come, and of the window.
            sctp._sack_needed = sctp._last_received_tsn is not None
        else:
            await receive(chunk)

    sctp._receive_data_chunk = receive_if_there_is_room  # type: ignore[method-assign]


def _is_sending(connection: RTCPeerConnection) -> bool:
    """Whether something is left to send, or was sent and is not acknowledged."""
    sctp = connection.sctp
    if sctp is None or connection.connectionState != "connected":
        return False
    return bool(sctp._data_channel_queue or sctp._outbound_queue or sctp._sent_queue)


def _bytes_in_flight(sctp: RTCSctpTransport) -> int:
    """Return what has left the channels, and is not acknowledged."""
    chunks = chain(sctp._outbound_queue, sctp._sent_queue)
    return sum(len(chunk.user_data) for chunk in chunks if not chunk._acked)


def _widen_receive_window(sctp: RTCSctpTransport, size: int) -> None:
    """Let the client send more, or less where `size` is negative.

    aiortc's window is of what waits for the rest of its message. What was handed to us and is not
    read yet takes from it here: so the client, which keeps to it, goes slower.
    """
    half = _RECEIVE_WINDOW_BYTES // 2
    was_narrow = sctp._advertised_rwnd < half
    sctp._advertised_rwnd += size
    if was_narrow and sctp._advertised_rwnd >= half and sctp.state == "connected":
        # The client hears of it with the next acknowledgement, and may be waiting for just that.
        _background.add(task := asyncio.ensure_future(_announce_window(sctp)))
        task.add_done_callback(_background.discard)


_background: Final[set[asyncio.Future[None]]] = set()


async def _announce_window(sctp: RTCSctpTransport) -> None:
    with suppress(ConnectionError):
        await sctp._send_sack()
