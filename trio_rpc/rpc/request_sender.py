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
        if not self._goes_as_packet(call):
            return False
        call.first_sid = call.callee.sid
        try:
            self._packet_sender.send_nowait(self._packet(call))
        except (LinkFullError, LinkClosedError):
            return False
        return True

    async def send(self, call: PendingCall) -> None:
        """Send the request of a call, once there is room.

        Raises:
            LinkClosedError: the session is over.
            StreamError: the request broke off.
        """
        call.first_sid = call.callee.sid
        if not self._goes_as_packet(call):
            await self._send_stream(call)
            return

        def refresh(packet: models.DataPacket) -> None:
            packet.rpc_request.response_timeout_ms = self._timeout_ms(call)

        await self._packet_sender.send(self._packet(call), refresh)

    def _packet(self, call: PendingCall) -> models.DataPacket:
        return rpc_request(
            call.callee.identity,
            call.request_id,
            call.method,
            call.payload,
            self._timeout_ms(call, call.ready_at),
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

    def _goes_as_packet(self, call: PendingCall) -> bool:
        abilities = call.callee._abilities
        is_small = call.payload_bytes <= MAX_PAYLOAD_BYTES and not call.accepts
        if is_small and self.is_announced and abilities.takes_either:
            return True
        return not abilities.speaks_rpc_v2

    async def _send_stream(self, call: PendingCall) -> None:
        def refresh(packet: models.DataPacket) -> None:
            set_timeout(packet.stream_header, self._timeout_ms(call))

        timeout_ms = self._timeout_ms(call, call.ready_at)
        info = request_info(
            call.request_id, call.method, timeout_ms, call.payload_bytes, call.accepts
        )
        to, is_superseded = [call.callee.identity], lambda: call.is_interrupted
        await self._streams.send_whole(
            info, call.payload, to, refresh=refresh, abandon_timeout=0, is_superseded=is_superseded
        )

    def _timeout_ms(self, call: PendingCall, now: float | None = None) -> int:
        """Return the rest of a call's time, as its callee is told (C3).

        Args:
            now: The time, on the event loop's clock, if it is known.
        """
        remaining = call.wait_until - (self._backend.current_time() if now is None else now)
        return wire_timeout_ms(remaining, self._packet_sender.round_trip)
