"""Both halves of RPC in one place, for the packets of one receiver.

    packet ──► rpc_ack, rpc_response ───────────────────────────────► `Calls`
           ├─► rpc_request, a cancellation ─────────────────────────► `Invocations`
           └─► stream ──► `IncomingStreams` ──► lk.rpc_response ────► `Calls`
                                            ├─► lk.rpc_request ─────► `Invocations`
                                            └─► any other topic ────► `open_sink`

A participant has both halves; the server, which calls and has no methods, has only the first.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from livekit.protocol import models

from ..errors import DisconnectedError
from ..participant import Participant
from ..protocol.logs import peer_logger
from ..protocol.rpc_messages import CANCELLATION_TOPIC, REQUEST_TOPIC, RESPONSE_TOPIC
from ..streams.buffer import StreamBuffer
from ..streams.buffer_context import BufferContext
from ..streams.incoming import (
    DEFAULT_MAX_PEER_STREAMS,
    DEFAULT_MAX_STREAMS,
    IncomingStreams,
    OpenSink,
)
from .calls import Calls
from .invocations import Invocations

logger = peer_logger(__name__)

_NONE: Final = models.DataStream.CompressionType.NONE


class RpcEndpoint:
    """The handling of packets that are sent to one identity.

    Args:
        context: The common part of all buffers of received streams.
        calls: The calls that wait for a response.
        invocations: The invocations of methods; None without methods.
        open_sink: Opens the sinks of streams other than RPC's; None to ignore them.
        max_peer_streams: The limit of open streams of one sender (B5).
        max_streams: The limit of open streams of all senders (B5).
    """

    def __init__(
        self,
        context: BufferContext,
        calls: Calls,
        invocations: Invocations | None = None,
        open_sink: OpenSink | None = None,
        *,
        max_peer_streams: int = DEFAULT_MAX_PEER_STREAMS,
        max_streams: int = DEFAULT_MAX_STREAMS,
    ) -> None:
        self._calls = calls
        self._invocations = invocations
        self._open_other_sink = open_sink
        self._incoming_streams = IncomingStreams(
            context.backend,
            self._open_sink,
            self._on_stream_refused,
            max_peer_streams=max_peer_streams,
            max_streams=max_streams,
        )

    @property
    def open_streams(self) -> int:
        """The number of received streams that have not ended."""
        return len(self._incoming_streams)

    def handle(self, sender: str, packet: models.DataPacket, kind: str) -> bool:
        """Handle a packet of RPC or of a stream.

        Args:
            sender: The identity that the packet comes from; the server vouches for it.
            packet: The packet, within its bounds (B2).
            kind: The kind of its value.

        Returns:
            Whether it was one; otherwise nothing was done.
        """
        match kind:
            case "rpc_request" if self._invocations is not None:
                self._invocations.start(sender, packet.rpc_request)
            case "rpc_ack":
                self._calls.on_ack(sender, packet.rpc_ack.request_id)
            case "rpc_response":
                self._calls.on_response(sender, packet.rpc_response)
            case "stream_header":
                self._on_stream_header(sender, packet.stream_header)
            case "stream_chunk":
                self._incoming_streams.on_chunk(sender, packet.stream_chunk)
            case "stream_trailer":
                self._incoming_streams.on_trailer(sender, packet.stream_trailer)
            case "user" if self._invocations is not None and (
                packet.user.topic == CANCELLATION_TOPIC
            ):
                self._invocations.cancel(sender, packet.user.payload.decode(errors="replace"))
            case _:
                return False
        return True

    def on_participant_joined(self, participant: Participant) -> None:
        """Go on with the calls to a participant that was expected back (L9)."""
        self._calls.repeats.on_arrival(participant.identity)

    def on_participant_left(self, participant: Participant) -> None:
        """Fail the calls to a participant that has left, and end its streams."""
        identity = participant.identity
        self._calls.fail(f"{identity!r} left the room", identity)
        self._end_session(participant)

    def on_participant_replaced(self, participant: Participant) -> None:
        """Go on with the next session of a participant (L8).

        Args:
            participant: Its last session.
        """
        self._calls.repeats.on_callee_replaced(participant.identity)
        self._end_session(participant)

    def _end_session(self, participant: Participant) -> None:
        if self._invocations is not None:
            self._invocations.on_caller_left(participant)
        self._incoming_streams.on_sender_left(participant.identity)

    def on_resumed(self) -> None:
        """Go on with everything: the session was resumed."""
        self._calls.on_connection_restored()
        self._incoming_streams.restart_silence()

    def on_rejoined(self, sid: str, gone: Sequence[Participant], until: float) -> None:
        """End all streams, and send calls again: the room was joined again.

        Args:
            sid: Our SID.
            gone: The participants that are not in the room any more; they are expected back (L9).
            until: The time at which they are given up, on the event loop's clock.
        """
        why = "the connection was lost, and the room joined again"
        self._calls.repeats.on_rejoined(why, gone, until)
        if self._invocations is not None:
            self._invocations.on_rejoined(sid)
            for participant in gone:
                self._invocations.on_caller_left(participant)
        self._incoming_streams.end_all(why)

    def expire(self) -> None:
        """Drop what has waited for too long: streams, ids, and callees that do not come back."""
        self._calls.repeats.expire()
        self._incoming_streams.give_up_silent()
        if self._invocations is not None:
            self._invocations.forget_expired()

    def end(self, reason: str, cause: DisconnectedError | None = None) -> None:
        """Fail all calls, answer all waiting requests, and end all streams.

        Args:
            reason: The reason for people.
            cause: The `__cause__` of the errors.
        """
        self._calls.end(reason, cause)
        if self._invocations is not None:
            self._invocations.end()
        self._incoming_streams.end_all(reason, cause)

    # Streams

    def _on_stream_header(self, sender: str, header: models.DataStream.Header) -> None:
        # Small calls come whole: they need no stream to be opened.
        is_whole = header.HasField("inline_content") and header.compression == _NONE
        is_text = is_whole and header.HasField("text_header")
        if is_text and header.topic == REQUEST_TOPIC and self._invocations is not None:
            self._invocations.start_inline(sender, header)
        elif is_text and header.topic == RESPONSE_TOPIC:
            self._calls.on_inline_response(sender, header)
        else:
            self._incoming_streams.on_header(sender, header)

    def _open_sink(self, sender: str, header: models.DataStream.Header) -> StreamBuffer | None:
        is_text = header.WhichOneof("content_header") == "text_header"
        if header.topic == RESPONSE_TOPIC:
            return self._calls.open_response_stream(sender, header) if is_text else None
        if header.topic == REQUEST_TOPIC:
            if self._invocations is None or not is_text:
                return None
            return self._invocations.start_stream(sender, header)
        return self._open_other_sink(sender, header) if self._open_other_sink else None

    def _on_stream_refused(self, sender: str, header: models.DataStream.Header, why: str) -> None:
        logger.debug("ignored a stream of %s: %s", sender, why)
        if header.topic == REQUEST_TOPIC and self._invocations is not None:
            self._invocations.refuse_stream(sender, header, why)
