"""The counts of what a room is busy with."""

from __future__ import annotations

from attrs import field, frozen


@frozen
class RoomStatistics:
    """The counts of what a room is busy with; all zero when it is at rest.

    Attributes:
        pending_calls: Calls of ours that wait for an answer.
        running_handlers: Invocations of our methods that are not answered yet.
        open_streams: Data streams that we receive and that have not ended.
        held_bytes: Bytes that others make us hold (B4). The ids of answered requests are among
            them until their time is over, so this is not compared.
    """

    pending_calls: int = 0
    running_handlers: int = 0
    open_streams: int = 0
    held_bytes: int = field(default=0, eq=False)
