"""Sending the requests of calls: as a packet, or as a stream (rules N3, N4 and L8)."""

from __future__ import annotations

from contextlib import suppress

from attrs import define
from livekit.protocol import models

from ..concurrency import Backend
from ..links import LinkClosedError, LinkFullError
from ..links.packet_sender import PacketSender
from ..protocol.ids import make_uuid
from ..protocol.limits import MAX_PAYLOAD_BYTES, wire_timeout_ms
from ..protocol.rpc_messages import (
    repeat_info,
    request_info,
    rpc_cancellation,
    rpc_request,
    set_timeout,
)
from ..streams.outgoing import OutgoingStreams
from .pending_call import PendingCall


@define(eq=False)
class RequestSender:
    """The sender of a session's requests.

    Args:
        is_announced: Whether callees know what we announce, so that small requests may go as
            packets (N4).
    """

    _backend: Backend
    _packet_sender: PacketSender
    _streams: OutgoingStreams
    is_announced: bool

    @property
    def joins(self) -> int:
        """The number of times that the room was joined."""
        return self._packet_sender.joins

    @property
    def round_trip(self) -> float:
        """Seconds to the server and back, as last measured."""
        return self._packet_sender.round_trip

    def send_nowait(self, call: PendingCall) -> bool:
        """Send the request of a call if it goes as a packet, and there is room for it.

        Returns:
            Whether it was sent; otherwise `send` waits, or fails.
        """
        if (packet := self._packet(call)) is None:
            return False
        call.first_sid = call.callee.sid
        try:
            return self._packet_sender.send_nowait(packet)
        except (LinkFullError, LinkClosedError):
            return False

    async def send(self, call: PendingCall) -> None:
        """Send the request of a call, once there is room.

        Raises:
            LinkClosedError: the session is over.
            StreamError: the request broke off.
        """
        call.first_sid = call.callee.sid
        if (packet := self._packet(call)) is None:
            await self._send_stream(call)
            return

        def refresh(packet: models.DataPacket) -> None:
            packet.rpc_request.response_timeout_ms = self._timeout_ms(call)

        await self._packet_sender.send(packet, refresh)

    def _packet(self, call: PendingCall) -> models.DataPacket | None:
        """Return the packet of a request; None for one that goes as a stream (N3, N4)."""
        abilities = call.callee._abilities
        if abilities.speaks_rpc_v2 and not (
            abilities.takes_either
            and self.is_announced
            and call.payload_bytes <= MAX_PAYLOAD_BYTES
            and not call.accepts
        ):
            return None
        remaining = call.wait_until - call.ready_at
        return rpc_request(
            call.callee.identity,
            call.request_id,
            call.method,
            call.payload,
            wire_timeout_ms(remaining, self._packet_sender.round_trip),
        )

    def flush_nowait(self) -> None:
        """Send what is queued at once; for when nothing else will come in this tick."""
        self._packet_sender.flush_nowait()

    async def send_again(self, call: PendingCall) -> None:
        """Send the request of a call again, in another session.

        Raises:
            StreamError: the request broke off.
        """

        def refresh(packet: models.DataPacket) -> None:
            set_timeout(packet.stream_header, self._timeout_ms(call))

        info = repeat_info(
            make_uuid(),
            call.request_id,
            call.method,
            self._timeout_ms(call),
            call.payload_bytes,
            call.first_sid,
            call.accepts,
        )
        await self._streams.send_whole(
            info, call.payload, [call.callee.identity], refresh=refresh, abandon_timeout=0
        )

    def cancel(self, call: PendingCall) -> None:
        """Cancel the handler of a call, if there is room for saying so."""
        with suppress(LinkFullError, LinkClosedError):
            self._packet_sender.send_nowait(rpc_cancellation(call.callee.identity, call.request_id))

    async def _send_stream(self, call: PendingCall) -> None:
        def refresh(packet: models.DataPacket) -> None:
            set_timeout(packet.stream_header, self._timeout_ms(call))

        info = request_info(
            call.request_id, call.method, self._timeout_ms(call), call.payload_bytes, call.accepts
        )
        to, is_superseded = [call.callee.identity], lambda: call.is_interrupted
        await self._streams.send_whole(
            info, call.payload, to, refresh=refresh, abandon_timeout=0, is_superseded=is_superseded
        )

    def _timeout_ms(self, call: PendingCall) -> int:
        """Return the rest of a call's time, as its callee is told (C3)."""
        remaining = call.wait_until - self._backend.current_time()
        return wire_timeout_ms(remaining, self._packet_sender.round_trip)
