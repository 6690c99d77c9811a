"""The limits of a room server."""

from __future__ import annotations

from typing import Final

from attrs import field, frozen, validators

from ..protocol.budgets import DEFAULT_MAX_PEER_BYTES, DEFAULT_MAX_PEERS_BYTES

#: The open streams of one participant, at the most, unless set otherwise.
DEFAULT_MAX_OPEN_STREAMS: Final = 1_000
_POSITIVE = validators.gt(0)


@frozen
class ServerLimits:
    """The limits of a room server, for all participants together and for each.

    Attributes:
        max_rooms: The most rooms at a time.
        max_participants_per_room: The most participants in one room, hidden ones included.
        max_joins_in_flight: The most participants between their HTTP request and the room, and the
            most connections of stream links that have not joined yet.
        max_handshakes: The most HTTP connections that have not sent a request yet, or do not read
            their response; with one more, the oldest of the address that has most is closed (B11).
        max_handshakes_per_address: The same for one address (a network of 64 bits for IPv6), and
            the most connections of stream links from one address that have not joined yet.
        handshake_timeout: Seconds in which a connection has to send a request, or a HELLO.
        max_queue_bytes: The most bytes queued for a participant. From half of it on, the server
            stops reading from senders that caused much of it, until less is left (B8).
        max_peer_bytes: The most bytes that the server holds on behalf of one participant besides,
            such as the destinations of its open streams; more is refused (B4).
        max_peers_bytes: The same for all participants together.
        max_open_streams: The most open streams of one participant; more are refused (B5).
        max_message_bytes: The largest message of a participant, request of RoomService, and
            response to a call of the server.
        max_requests_in_flight: The most requests of RoomService in flight, including those of
            `PerformRpc` that wait for a response.
        max_metadata_bytes: The most bytes of a participant's metadata, and of all its attributes
            together.
        max_name_bytes: The longest name of a participant or room.
        max_malformed: The most malformed messages of one participant in ten seconds; then it is
            disconnected (P8).
        ping_interval: Seconds between the pings that participants are asked for; whole.
        ping_timeout: Seconds of silence after which a participant counts as gone; whole (V9).
        read_timeout: Seconds in which a participant has to take at least one byte of its queue;
            otherwise it is disconnected (V8). Networks take a few hundred kilobytes at a time:
            with 20 seconds, a reader of 30 kB a second stays connected. Shorter than the 30 seconds
            after which receivers give up a stream: others may wait for its sender, which waits for
            this participant.
        resume_window: Seconds that a participant whose connection was lost stays in its room, for
            its client to come back (L6); 0 for none.
    """

    max_rooms: int = field(default=10_000, validator=_POSITIVE)
    max_participants_per_room: int = field(default=1_000, validator=_POSITIVE)
    max_joins_in_flight: int = field(default=200, validator=_POSITIVE)
    max_handshakes: int = field(default=1_000, validator=_POSITIVE)
    max_handshakes_per_address: int = field(default=200, validator=_POSITIVE)
    handshake_timeout: float = field(default=10.0, validator=validators.gt(0))
    max_queue_bytes: int = field(default=4 * 1024 * 1024, validator=_POSITIVE)
    max_peer_bytes: int = field(default=DEFAULT_MAX_PEER_BYTES, validator=_POSITIVE)
    max_peers_bytes: int = field(default=DEFAULT_MAX_PEERS_BYTES, validator=_POSITIVE)
    max_open_streams: int = field(default=DEFAULT_MAX_OPEN_STREAMS, validator=_POSITIVE)
    max_message_bytes: int = field(default=1024 * 1024, validator=_POSITIVE)
    max_requests_in_flight: int = field(default=1_000, validator=_POSITIVE)
    max_metadata_bytes: int = field(default=64_000, validator=_POSITIVE)
    max_name_bytes: int = field(default=256, validator=_POSITIVE)
    max_malformed: int = field(default=100, validator=_POSITIVE)
    ping_interval: int = field(default=5, validator=_POSITIVE)
    ping_timeout: int = field(default=15, validator=_POSITIVE)
    read_timeout: float = field(default=20.0, validator=validators.gt(0))
    resume_window: float = field(default=15.0, validator=validators.ge(0))
