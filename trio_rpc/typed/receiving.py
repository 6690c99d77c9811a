"""Streams that come besides a response: items, and reports of progress (rules T8, T9)."""

from __future__ import annotations

import math
import uuid
from collections import deque
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any, Final

import msgspec
from attrs import define

from .. import concurrency
from ..client.room import Room
from ..concurrency import Event
from ..errors import StreamError
from ..participant import RemoteParticipant
from ..protocol.capabilities import CAN_CANCEL
from ..protocol.limits import MAX_PAYLOAD_BYTES
from ..protocol.logs import peer_logger
from ..streams import TextStreamReader
from .context import PROGRESS, PROGRESS_TOPIC, ProgressReport

logger = peer_logger(__name__)

#: Called with each report of progress, from 0 to 1, and its message.
OnProgress = Callable[[float, str], object]

#: The attribute of a stream that names the call that it belongs to.
REQUEST_ID_ATTRIBUTE: Final = "lk.rpc_request_id"
#: The characters of a line with an item, at most.
_MAX_ITEM: Final = 16 * 1024 * 1024
#: Seconds that the last reports may take to be read, after the response.
_DRAIN_TIMEOUT: Final = 1.0

_REPORT: Final = msgspec.json.Decoder(ProgressReport)


@define(eq=False)
class Expectation:
    """A stream that may come.

    Attributes:
        changed: Set when it has come; or when its sender has left, if `ends_with_sender`.
        reader: The stream, once it has come.
        ends_with_sender: Whether nothing is expected any more when its sender has left the room.
    """

    changed: Event
    ends_with_sender: bool
    reader: TextStreamReader | None = None


class Receiving:
    """The streams that the typed calls of one room wait for."""

    def __init__(self, room: Room) -> None:
        self._room = room
        self._topics: set[str] = set()
        self._expected: dict[tuple[str, str, str], Expectation] = {}

    def is_ours(self, identity: str) -> bool:
        """Whether a participant is known to have this library, which reads attributes (T15)."""
        participant = self._room.remote_participants.get(identity)
        return participant is not None and CAN_CANCEL in participant.capabilities

    def expects(self, topic: str, sender: str, request_id: str) -> bool:
        """Whether a stream of a topic is expected for a call."""
        return (topic, sender, request_id) in self._expected

    @contextmanager
    def expect(
        self, topic: str, sender: str, request_id: str, *, ends_with_sender: bool = False
    ) -> Generator[Expectation]:
        """Take a stream of a topic that belongs to a call, for the block.

        Args:
            sender: The identity of the sender.
            request_id: The id by which it names the call; no other is expected with the same.
            ends_with_sender: Whether the departure of the sender is told as well.
        """
        if not self._topics:
            self._room.on("participant_disconnected", self._on_participant_left)
        if topic not in self._topics:
            self._room.register_text_stream_handler(topic, self._taker(topic))
            self._topics.add(topic)
        expectation = Expectation(concurrency.current().event(), ends_with_sender)
        key = topic, sender, request_id
        self._expected[key] = expectation
        try:
            yield expectation
        finally:
            del self._expected[key]
            if expectation.reader is not None:
                expectation.reader.close()

    def _on_participant_left(self, participant: RemoteParticipant) -> None:
        for (_, sender, _), expectation in self._expected.items():
            if sender == participant.identity and expectation.ends_with_sender:
                expectation.changed.set()

    def _taker(self, topic: str) -> Callable[[TextStreamReader, str], None]:
        def take(reader: TextStreamReader, sender: str) -> None:
            request_id = reader.info.attributes.get(REQUEST_ID_ATTRIBUTE, "")
            expectation = self._expected.get((topic, sender, request_id))
            if expectation is None or expectation.reader is not None:
                logger.debug("ignored a stream of %s, on %s: no call expects it", sender, topic)
                reader.close()
                return
            expectation.reader = reader
            expectation.changed.set()

        return take

    async def call_with_progress(self, on_progress: OnProgress, identity: str, **call: Any) -> str:
        """Make a call of strings, and pass its reports of progress on.

        Args:
            on_progress: Called with each report.
            identity: The identity of the callee.
            **call: The arguments of `perform_rpc`.
        """
        request_id = new_request_id()
        backend = concurrency.current()
        done = backend.event()
        with self.expect(PROGRESS_TOPIC, identity, request_id) as expectation:

            async def report() -> None:
                try:
                    await _report(expectation, on_progress)
                finally:
                    done.set()

            async with concurrency.open_service_nursery() as nursery:
                nursery.start_soon(report)
                text = await self._room.local_participant.perform_rpc(
                    destination_identity=identity,
                    request_id=request_id,
                    accepts=[PROGRESS],
                    **call,
                )
                if expectation.reader is not None:
                    with backend.move_on_after(_DRAIN_TIMEOUT):
                        await done.wait()
        return text


async def _report(expectation: Expectation, on_progress: OnProgress) -> None:
    await expectation.changed.wait()
    assert expectation.reader is not None
    lines = Lines(expectation.reader, MAX_PAYLOAD_BYTES)
    last = -math.inf
    try:
        while (line := await lines.next()) is not None:
            report = _REPORT.decode(line)
            if not 0 <= report.progress <= 1:
                logger.debug("ignored a report of progress that is not from 0 to 1")
            elif report.progress >= last:
                last = report.progress
                on_progress(report.progress, report.message)
    except (StreamError, msgspec.DecodeError, UnicodeError) as error:
        logger.debug("ignored the rest of the reports of progress: %s", error)
    except Exception:
        logger.exception("on_progress failed; it is not called any more")


class Lines:
    """The lines of a stream of text, each with an end; one task reads them.

    Args:
        reader: The stream.
        max_length: The most characters of a line: as many are held before its end has come.
    """

    def __init__(self, reader: TextStreamReader, max_length: int = _MAX_ITEM) -> None:
        self._reader = reader
        self._max_length = max_length
        self._complete: deque[str] = deque()
        self._rest: list[str] = []
        self._rest_length = 0

    async def next(self) -> str | None:
        """Return the next line; None at the end.

        Raises:
            StreamError: the stream broke off, or a line is too long.
        """
        while not self._complete:
            piece = await anext(self._reader, None)
            if piece is None:
                if self._rest_length:
                    raise StreamError("the last line has no end")
                return None
            self._add(piece)
        return self._complete.popleft()

    def _add(self, piece: str) -> None:
        first, *others = piece.split("\n")
        if first:
            self._rest.append(first)
            self._rest_length += len(first)
        if self._rest_length > self._max_length:
            raise StreamError(f"a line has more than {self._max_length:,} characters")
        if others:
            self._complete.append("".join(self._rest))
            self._complete.extend(others[:-1])
            self._rest = [others[-1]]
            self._rest_length = len(others[-1])


def new_request_id() -> str:
    """Return an id for a call."""
    return str(uuid.uuid4())
