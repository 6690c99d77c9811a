"""Private parts of aiortc and aioice, whose versions the extra `livekit` bounds.

Everything here runs in the thread of the peers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import chain
from typing import Any, Final

import aioice
from aiortc import (
    MediaStreamTrack,
    RTCPeerConnection,
    RTCRtpReceiver,
    RTCRtpSender,
    RTCRtpTransceiver,
    RTCSctpTransport,
)
from aiortc.rtcsctptransport import DataChunk
from aiortc.sdp import SessionDescription

#: The receive window that the other side is told, as aiortc has it.
RECEIVE_WINDOW_BYTES: Final = 1024 * 1024
#: Seconds in which STUN and TURN servers have to answer; those that do not are not used.
_GATHER_TIMEOUT: Final = 2


def ice_of(connection: RTCPeerConnection) -> aioice.Connection:
    """Return the ICE of the data channels of a connection."""
    assert connection.sctp is not None
    return connection.sctp.transport.transport.iceGatherer._connection


def gather_only(ice: aioice.Connection, ours: Sequence[str]) -> None:
    """Have ICE use these addresses only; by default it uses all of the machine but loopback."""
    _gather(ice, lambda _: [*ours])


def gather_also(ice: aioice.Connection, more: Sequence[str]) -> None:
    """Have ICE use these addresses too."""
    _gather(ice, lambda found: [*found, *(each for each in more if each not in found)])


def _gather(ice: aioice.Connection, choose: Callable[[list[str]], list[str]]) -> None:
    gather = type(ice).get_component_candidates

    def gather_chosen(component: int, addresses: list[str], timeout: int = 5) -> Any:  # noqa: ARG001
        return gather(ice, component, choose(addresses), _GATHER_TIMEOUT)

    ice.get_component_candidates = gather_chosen  # type: ignore[method-assign]


def take_nothing_while(connection: RTCPeerConnection, is_full: Callable[[], bool]) -> None:
    """Treat received chunks as lost for as long as too much is unread.

    aiortc accepts chunks beyond the window that it announced. And a peer that was told that the
    window is closed goes on with one chunk at a time, each once the one before was acknowledged.
    """
    sctp = connection.sctp
    assert sctp is not None
    receive = sctp._receive_data_chunk

    async def receive_if_there_is_room(chunk: DataChunk) -> None:
        if is_full():
            # The other side is sent an acknowledgement, with the window.
            sctp._sack_needed = sctp._last_received_tsn is not None
        else:
            await receive(chunk)

    sctp._receive_data_chunk = receive_if_there_is_room  # type: ignore[method-assign]


def is_sending(connection: RTCPeerConnection) -> bool:
    """Whether there is data to send, or sent data that is not acknowledged."""
    sctp = connection.sctp
    if sctp is None or connection.connectionState != "connected":
        return False
    return bool(sctp._data_channel_queue or sctp._outbound_queue or sctp._sent_queue)


def route_by_section(connection: RTCPeerConnection) -> None:
    """Route media to the section that the last answer names its sources in.

    aiortc does so for the first answer with a section alone, and drops what comes by it later.
    """
    described = SessionDescription.parse(connection.remoteDescription.sdp)
    receivers = {each.mid: each.receiver for each in connection.getTransceivers()}
    for media in described.media:
        receiver = receivers.get(media.rtp.muxId)
        if receiver is not None:
            for source in media.ssrc:
                receiver.transport._rtp_router.ssrc_table[source.ssrc] = receiver


async def renew_sender(transceiver: RTCRtpTransceiver, track: MediaStreamTrack) -> None:
    """Send another track in a section, from a source of its own.

    A sender of aiortc's can't be started again, and a server would not tell the track from the last
    one by the same source.
    """
    last = transceiver.sender
    # Again: aiortc starts a sender some time after the answer.
    await last.stop()
    sender = RTCRtpSender(track, last.transport)
    sender._stream_id = last._stream_id
    transceiver._RTCRtpTransceiver__sender = sender  # type: ignore[attr-defined]


def decode_only_while(receiver: RTCRtpReceiver, is_wanted: Callable[[], bool]) -> None:
    """Drop received media before they are decoded, for as long as nobody wants them."""
    decoder_queue: Any = getattr(receiver, "_RTCRtpReceiver__decoder_queue")  # noqa: B009
    put = decoder_queue.put

    def put_if_wanted(task: object) -> None:
        # None is the end.
        if task is None or is_wanted():
            put(task)

    decoder_queue.put = put_if_wanted


def bytes_in_flight(sctp: RTCSctpTransport) -> int:
    """Return the bytes that have left the channels and are not acknowledged."""
    chunks = chain(sctp._outbound_queue, sctp._sent_queue)
    return sum(len(chunk.user_data) for chunk in chunks if not chunk._acked)


def widen_receive_window(sctp: RTCSctpTransport, size: int) -> None:
    """Widen the other side's window by `size` bytes, or narrow it where `size` is negative.

    aiortc's window counts incomplete messages alone. Here, received messages narrow it until they
    are read, which slows down the other side.
    """
    half = RECEIVE_WINDOW_BYTES // 2
    was_narrow = sctp._advertised_rwnd < half
    sctp._advertised_rwnd += size
    if was_narrow and sctp._advertised_rwnd >= half and sctp.state == "connected":
        # Sent with the next acknowledgement, for which the other side may be waiting.
        _background.add(task := asyncio.ensure_future(_announce_window(sctp)))
        task.add_done_callback(_background.discard)


_background: Final[set[asyncio.Future[None]]] = set()


async def _announce_window(sctp: RTCSctpTransport) -> None:
    with suppress(ConnectionError):
        await sctp._send_sack()


def incomplete_bytes(sctp: RTCSctpTransport) -> int:
    """Return the bytes of unread and incomplete messages beyond the window that was announced."""
    return -sctp._advertised_rwnd
