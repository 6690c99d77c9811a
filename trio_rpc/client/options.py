"""The options of LiveKit's SDK for joining a room."""

from __future__ import annotations

from typing import TypedDict

from attrs import define, evolve

from ..protocol.limits import SessionLimits


class RoomLimits(TypedDict, total=False):
    """The limits that `Room` takes; see there."""

    max_round_trip_latency: float
    max_concurrent_handlers: int
    max_waiting_requests: int
    max_payload_bytes: int
    max_stream_bytes: int
    max_peer_streams: int
    max_streams: int
    max_peer_bytes: int | None
    max_peers_bytes: int | None


@define
class DataStreamOptions:
    """The options for data streams that are received.

    Attributes:
        max_payload_byte_length: The most bytes of a stream that wait to be read, and that are read
            as a whole; None for `Room(max_stream_bytes=…)`.
    """

    max_payload_byte_length: int | None = None


@define
class RoomOptions:
    """The options of `Room.connect` in LiveKit's SDK.

    Those without effect are for parts of WebRTC that this library leaves alone.

    Attributes:
        auto_subscribe: Whether to receive the tracks of all others, on LiveKit's servers. Without
            it, `RemoteTrackPublication.set_subscribed` chooses them.
        dynacast: Without effect.
        e2ee: LiveKit's older name of `encryption`.
        encryption: None: this library encrypts nothing from end to end, and refuses to pretend it.
        rtc_config: Without effect.
        connect_timeout: Seconds that joining may take; None for the default.
        single_peer_connection: Without effect.
        data_stream: The options for data streams that are received.
    """

    auto_subscribe: bool = True
    dynacast: bool = False
    e2ee: object = None
    encryption: object = None
    rtc_config: object = None
    connect_timeout: float | None = None
    single_peer_connection: bool | None = None
    data_stream: DataStreamOptions | None = None

    def apply(self, limits: SessionLimits) -> SessionLimits:
        """Return the limits of a room with these options.

        Raises:
            ValueError: encryption is asked for.
        """
        if self.e2ee is not None or self.encryption is not None:
            raise ValueError("end-to-end encryption is not supported: options.encryption is set")
        size = self.data_stream.max_payload_byte_length if self.data_stream else None
        return limits if size is None else evolve(limits, max_stream_bytes=size)
