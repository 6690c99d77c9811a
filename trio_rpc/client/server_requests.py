"""Requests to the server that wait for its response."""

from __future__ import annotations

from typing import Final

from attrs import frozen
from livekit.protocol import rtc

from ..concurrency import CHANNEL_CLOSED, Backend, SendChannel
from ..errors import DisconnectedError, SignalRequestError
from ..links import Channel, Frame, LinkClosedError, LinkFullError
from ..links.packet_sender import PacketSender
from ..protocol.logs import peer_logger

logger = peer_logger(__name__)

#: Seconds in which the server has to respond.
REQUEST_TIMEOUT: Final = 10.0


@frozen
class _Pending:
    request: rtc.SignalRequest
    response: SendChannel[rtc.RequestResponse]


class ServerRequests:
    """The requests of one session: to change our metadata, name and attributes."""

    def __init__(self, backend: Backend, packet_sender: PacketSender) -> None:
        self._backend = backend
        self._packet_sender = packet_sender
        # One change at a time: each repeats the unchanged values, which must be current
        self.changing = backend.lock()
        self._last_id = 0
        self._disconnection: DisconnectedError | None = None
        self._pending: dict[int, _Pending] = {}

    async def update_metadata(self, update: rtc.UpdateParticipantMetadata) -> None:
        """Request a change, and wait until it is made.

        Raises:
            SignalRequestError: the server refused, or did not answer; or the session is over.
        """
        if self._disconnection is not None:
            await self._backend.checkpoint()
            raise _not_changed(self._disconnection) from self._disconnection
        request_id = update.request_id = self.next_id()
        send_channel, receive_channel = self._backend.open_memory_channel(1)
        request = rtc.SignalRequest(update_metadata=update)
        self._pending[request_id] = _Pending(request, send_channel)
        response: rtc.RequestResponse | None = None
        try:
            with self._backend.move_on_after(REQUEST_TIMEOUT):
                self._packet_sender.send_signal(request)
                response = await receive_channel.receive()
        except (LinkClosedError, LinkFullError) as error:
            raise _not_changed(error) from error
        except CHANNEL_CLOSED:
            assert self._disconnection is not None
            raise _not_changed(self._disconnection) from self._disconnection
        finally:
            self._pending.pop(request_id, None)
            send_channel.close()
            receive_channel.close()
        if response is None:
            raise SignalRequestError(
                f"the server did not answer within {REQUEST_TIMEOUT:g} s", reason="TIMEOUT"
            )
        if response.reason != rtc.RequestResponse.OK:
            reason = reason_name(response.reason)
            raise SignalRequestError(f"{reason}: {response.message}", reason=reason)

    def next_id(self) -> int:
        """Return the id of another request."""
        self._last_id += 1
        return self._last_id

    def on_response(self, response: rtc.RequestResponse) -> None:
        """Handle a response of the server, or a refusal of something that was not a request."""
        if pending := self._pending.pop(response.request_id, None):
            pending.response.send_nowait(response)
        elif response.reason != rtc.RequestResponse.OK:
            logger.warning(
                "the server refused: %s: %s", reason_name(response.reason), response.message
            )

    def end(self, disconnection: DisconnectedError) -> None:
        """Fail all requests, and those that come later: the session is over."""
        self._disconnection = disconnection
        for pending in self._pending.values():
            pending.response.close()

    def unanswered_requests(self) -> list[rtc.SignalRequest]:
        """Return the requests that wait for a response, in order."""
        return [pending.request for pending in self._pending.values()]

    def unanswered(self, *, after: rtc.SignalRequest | None = None) -> list[Frame]:
        """Return the requests to send again over another connection, in order.

        Args:
            after: A request that comes before them.
        """
        requests = [] if after is None else [after]
        requests += self.unanswered_requests()
        return [Frame(Channel.SIGNAL, each.SerializeToString()) for each in requests]


def _not_changed(error: Exception) -> SignalRequestError:
    return SignalRequestError(f"not changed: {error}", reason="DISCONNECTED")


def reason_name(reason: int) -> str:
    """Return LiveKit's name of the reason of a response."""
    try:
        return rtc.RequestResponse.Reason.Name(reason)
    except ValueError:
        return f"reason {reason}"
