"""What a room server bears."""

from __future__ import annotations

from typing import Final

from attrs import field, frozen, validators

from ..protocol.budgets import DEFAULT_MAX_PEER_BYTES, DEFAULT_MAX_PEERS_BYTES

#: How many streams of one participant may be open, unless set otherwise.
DEFAULT_MAX_OPEN_STREAMS: Final = 1_000
_POSITIVE = validators.gt(0)


@frozen
class ServerLimits:
    """What a room server bears, of everybody together and of each.

    Attributes:
        max_rooms: How many rooms there may be at a time.
        max_participants_per_room: How many may be in one room, the hidden ones included.
        max_joins_in_flight: How many may be between their HTTP request and the room, and how many
            connections of stream links may not have joined yet.
        max_handshakes: How many connections of HTTP may not have sent a request yet, or take no
            answer; with one more, the oldest of the address that has most is closed (B11).
        max_handshakes_per_address: The same for one address (of IPv6 a network of 64 bits), and how
            many connections of stream links from there may not have joined.
        handshake_timeout: Seconds in which a connection sends a request, or says who it is.
        max_queue_bytes: What may wait for a participant. From half of it on, whoever has caused
            much of it is not read from until less is left (B8).
        max_peer_bytes: What the server holds on behalf of one participant besides, such as where
            its open streams go; more is refused (B4).
        max_peers_bytes: The same of all participants together.
        max_open_streams: How many streams of one participant may be open at a time; more are
            refused (B5).
        max_message_bytes: One message of a participant's, one request of RoomService, and one
            response to a call of the server's own.
        max_requests_in_flight: How many requests of RoomService may be under way, `PerformRpc` that
            waits for its response included.
        max_metadata_bytes: The metadata of a participant, and all its attributes together.
        max_name_bytes: The name of a participant.
        max_malformed: Malformed messages of one participant in ten seconds; then it is let go (P8).
        ping_interval: Seconds between the pings that participants are asked for; whole.
        ping_timeout: Seconds of silence after which a participant counts as gone; whole (V9).
        read_timeout: Seconds in which a participant takes at least a byte of what waits for it, or
            is let go (V8). Networks take a few hundred kilobytes at a time: with 20 seconds,
            whoever reads 30 kB a second stays. Shorter than the 30 seconds after which receivers
            give up a stream: others may wait for its sender, who waits for this one.
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
