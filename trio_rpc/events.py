"""What happens in a room, and how a program hears of it.

Each event is a class. Its name in LiveKit's spelling (`participant_connected`) is what `on` takes;
its fields, in order, are what a callback is called with; and it is itself what the iterator of
`Room.events` yields. One definition serves both ways of listening.
"""

from __future__ import annotations

import inspect
import re
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from enum import IntEnum
from types import TracebackType
from typing import Any, ClassVar, Final, Literal, TypeVar, overload

from attrs import astuple, define, field, frozen

from . import concurrency
from .concurrency import CHANNEL_CLOSED, WOULD_BLOCK, ReceiveChannel, SendChannel, failure_in
from .data import DataPacket, SipDTMF, TranscriptionSegment
from .errors import DisconnectReason, EventsLostError
from .logs import peer_logger
from .participant import Participant, ParticipantPermissions, RemoteParticipant

logger = peer_logger(__name__)

Callback = Callable[..., Any]
C = TypeVar("C", bound=Callback)
_WORDS: Final = re.compile(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


class ConnectionState(IntEnum):
    """Whether a room is joined."""

    CONN_DISCONNECTED = 0
    CONN_CONNECTED = 1


class RoomEvent:
    """Something that happened in a room."""

    #: LiveKit's name of the event, as `Room.on` takes it.
    name: ClassVar[str]

    def __init_subclass__(cls) -> None:
        cls.name = _WORDS.sub("_", cls.__name__).lower()


@frozen
class Connected(RoomEvent):
    """We are in the room."""


@frozen
class Disconnected(RoomEvent):
    """We are not in the room any more."""

    reason: DisconnectReason


@frozen
class ConnectionStateChanged(RoomEvent):
    """We joined or left."""

    connection_state: ConnectionState


@frozen
class RoomMetadataChanged(RoomEvent):
    """The text that belongs to the room is another."""

    old_metadata: str
    new_metadata: str


@frozen
class ParticipantConnected(RoomEvent):
    """Somebody joined."""

    participant: RemoteParticipant


@frozen
class ParticipantActive(RoomEvent):
    """Somebody can be called and sent data from now on."""

    participant: RemoteParticipant


@frozen
class ParticipantDisconnected(RoomEvent):
    """Somebody left."""

    participant: RemoteParticipant


@frozen
class ParticipantMetadataChanged(RoomEvent):
    """Somebody's metadata, perhaps our own, is another."""

    participant: Participant
    old_metadata: str
    new_metadata: str


@frozen
class ParticipantNameChanged(RoomEvent):
    """Somebody's name, perhaps our own, is another."""

    participant: Participant
    old_name: str
    new_name: str


@frozen
class ParticipantAttributesChanged(RoomEvent):
    """Some of somebody's attributes, perhaps our own, are others.

    `changed_attributes` holds the new values; a key that was deleted has the value `""`.
    """

    changed_attributes: dict[str, str]
    participant: Participant


@frozen
class ParticipantPermissionsChanged(RoomEvent):
    """Somebody, perhaps we, may do other things than before."""

    participant: Participant
    permissions: ParticipantPermissions


@frozen
class DataReceived(RoomEvent):
    """Somebody published data to us."""

    data_packet: DataPacket


@frozen
class SipDTMFReceived(RoomEvent):
    """Somebody pressed a key on a telephone."""

    sip_dtmf: SipDTMF


@frozen
class TranscriptionReceived(RoomEvent):
    """Somebody's words came as text. `publication` is the track, which we never have."""

    segments: list[TranscriptionSegment]
    participant: Participant | None
    publication: None = None


EventName = Literal[
    "connected",
    "disconnected",
    "connection_state_changed",
    "room_metadata_changed",
    "participant_connected",
    "participant_active",
    "participant_disconnected",
    "participant_metadata_changed",
    "participant_name_changed",
    "participant_attributes_changed",
    "participant_permissions_changed",
    "data_received",
    "sip_dtmf_received",
    "transcription_received",
]
#: How many events a stream of them holds for a slow reader, unless told otherwise.
DEFAULT_MAX_BUFFERED_EVENTS: Final = 1000
_NAMES: Final = frozenset(event.name for event in RoomEvent.__subclasses__())


@define(eq=False)
class EventStream:
    """The events of a room from now on, as an async iterator that ends when we leave the room.

    Use it in an `async with` block, so that it stops listening with the block. It holds a bounded
    number of events for a reader that is slower than they come; when that does not suffice,
    reading raises `EventsLostError`.
    """

    _open_streams: set[EventStream]
    _send: SendChannel[RoomEvent]
    _receive: ReceiveChannel[RoomEvent]
    _lost: bool = False

    def __aiter__(self) -> EventStream:
        return self

    async def __anext__(self) -> RoomEvent:
        try:
            return await self._receive.receive()
        except CHANNEL_CLOSED:
            self.close()
            if self._lost:
                raise EventsLostError(
                    "more events came than the stream could hold: read faster, or give "
                    "Room.events a larger max_buffered"
                ) from None
            raise StopAsyncIteration from None

    async def __aenter__(self) -> EventStream:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop listening; whoever reads sees the end."""
        self.end()
        self._receive.close()

    def push(self, event: RoomEvent) -> None:
        """Add an event; when there is no room for it, this is the end."""
        try:
            self._send.send_nowait(event)
        except WOULD_BLOCK:
            self._lost = True
            self.end()

    def end(self) -> None:
        """No more events will come; those that wait can still be read."""
        self._open_streams.discard(self)
        self._send.close()


@define
class _Listener:
    callback: Callback
    once: bool
    max_arguments: int | None = field(init=False)

    def __attrs_post_init__(self) -> None:
        parameters = inspect.signature(self.callback).parameters.values()
        if any(parameter.kind is parameter.VAR_POSITIONAL for parameter in parameters):
            self.max_arguments = None
        else:
            positional = (
                inspect.Parameter.POSITIONAL_ONLY,
                inspect.Parameter.POSITIONAL_OR_KEYWORD,
            )
            self.max_arguments = sum(parameter.kind in positional for parameter in parameters)


class EventEmitter(ABC):
    """Who listens to what, and telling them."""

    def __init__(self) -> None:
        self._listeners: dict[str, list[_Listener]] = {}
        self._open_streams: set[EventStream] = set()
        # No more events will come, although the block of `connect` goes on
        self._over = False

    @overload
    def on(self, event: EventName, callback: C) -> C: ...
    @overload
    def on(self, event: EventName, callback: None = None) -> Callable[[C], C]: ...
    def on(self, event: EventName, callback: C | None = None) -> C | Callable[[C], C]:
        """Call `callback` whenever `event` happens; without a callback, a decorator.

        A callback gets the fields of the event, as many as it takes. It is called between two
        messages of the room and must not block; an async one runs in a task of the room's. What a
        callback raises is logged.

        Raises:
            ValueError: there is no such event.
            TypeError: `callback` is not callable.
        """
        return self._listen(event, callback, once=False)

    @overload
    def once(self, event: EventName, callback: C) -> C: ...
    @overload
    def once(self, event: EventName, callback: None = None) -> Callable[[C], C]: ...
    def once(self, event: EventName, callback: C | None = None) -> C | Callable[[C], C]:
        """Like `on`, for the next time only."""
        return self._listen(event, callback, once=True)

    def off(self, event: EventName, callback: Callback) -> None:
        """Do not call `callback` for `event` any more; one that is not registered is no error.

        Raises:
            ValueError: there is no such event.
        """
        listeners = self._listeners_of(event)
        listeners[:] = [each for each in listeners if each.callback != callback]

    def events(self, *, max_buffered: int = DEFAULT_MAX_BUFFERED_EVENTS) -> EventStream:
        """All events from now on, as an async iterator that ends when we leave the room.

            async with room.events() as events:
                async for event in events:
                    ...

        Args:
            max_buffered: How many events wait for a slow reader before it is cut off with
                `EventsLostError`.
        """
        send, receive = concurrency.current().open_memory_channel(max_buffered)
        stream = EventStream(self._open_streams, send, receive)
        self._open_streams.add(stream)
        if self._over:
            stream.end()
        return stream

    @abstractmethod
    def _run_in_background(
        self, name: str, awaitable: Awaitable[object], cause: RoomEvent | None = None
    ) -> None:
        """See to it that what an async callback returned is awaited.

        Args:
            name: What the callback is for.
            cause: The event that it was called with.
        """

    def _emit(self, event: RoomEvent) -> None:
        for listener in tuple(self._listeners.get(event.name, ())):
            # A callback may have switched off those that come after it.
            if listener in self._listeners[event.name]:
                if listener.once:
                    self._listeners[event.name].remove(listener)
                self._call(event, listener)
        for stream in tuple(self._open_streams):
            stream.push(event)

    def _end_streams(self) -> None:
        for stream in tuple(self._open_streams):
            stream.end()

    def _listen(self, event: str, callback: C | None, *, once: bool) -> C | Callable[[C], C]:
        listeners = self._listeners_of(event)

        def listen(callback: C) -> C:
            if not callable(callback):
                raise TypeError(f"the callback for {event!r} is not callable: {callback!r}")
            listeners.append(_Listener(callback, once))
            return callback

        return listen if callback is None else listen(callback)

    def _listeners_of(self, event: str) -> list[_Listener]:
        if event not in _NAMES:
            raise ValueError(f"there is no event {event!r}; there are {', '.join(sorted(_NAMES))}")
        return self._listeners.setdefault(event, [])

    def _call(self, event: RoomEvent, listener: _Listener) -> None:
        arguments = astuple(event, recurse=False)[: listener.max_arguments]  # type: ignore[arg-type]
        try:
            result = listener.callback(*arguments)
        except BaseException as error:
            failure = failure_in(error)
            if failure is None:
                raise
            logger.error("a callback for %s failed", event.name, exc_info=failure)
        else:
            if inspect.isawaitable(result):
                self._run_in_background(event.name, result, event)
