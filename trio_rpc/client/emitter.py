"""The listeners of a room: callbacks by the name of an event, and streams of events."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from types import TracebackType
from typing import Any, Final, Generic, TypeVar

from attrs import astuple, define, field

from .. import concurrency
from ..concurrency import CHANNEL_CLOSED, WOULD_BLOCK, ReceiveChannel, SendChannel
from ..errors import EventsLostError
from ..events import RoomEvent
from ..events.names import EVENT_NAMES
from ..protocol.budgets import Budget, BudgetExceededError
from ..protocol.logs import peer_logger
from .callbacks import Callbacks
from .event_charges import HeldEvents, content_of

logger = peer_logger(__name__)

#: The most events that a stream holds for a slow reader, unless set otherwise.
DEFAULT_MAX_BUFFERED_EVENTS: Final = 1000
#: The bytes charged for the task of an async callback.
_CALLBACK_BYTES: Final = 8 * 1024
#: The bytes charged for an event in a stream, besides its content.
_EVENT_BYTES: Final = 512

Callback = Callable[..., Any]
C = TypeVar("C", bound=Callback)
E_co = TypeVar("E_co", bound=RoomEvent, covariant=True)


@define(eq=False)
class EventStream(Generic[E_co]):
    """The events of a room from now on, as an async iterator that ends when we leave the room.

    Use the stream in an `async with` block, which closes it at its end. The stream holds a bounded
    number of events for a slow reader; if there are more, reading raises `EventsLostError`. An
    event by which a participant would exceed its budget (`max_peer_bytes`) is left out, and logged.
    """

    _open_streams: set[EventStream[Any]]
    _types: tuple[type[RoomEvent], ...]
    _send: SendChannel[RoomEvent]
    _receive: ReceiveChannel[Any]
    _run_sync_soon: Callable[[Callable[[], object]], object]
    _held: HeldEvents = field(factory=HeldEvents)
    _lost: bool = False

    def __del__(self) -> None:
        # Perhaps in another thread, or after the event loop has ended.
        with suppress(RuntimeError):
            self._run_sync_soon(partial(_drop, self._receive, self._held))

    def __aiter__(self) -> EventStream[E_co]:
        return self

    async def __anext__(self) -> E_co:
        try:
            event: E_co = await self._receive.receive()
        except CHANNEL_CLOSED:
            self.close()
            if self._lost:
                raise EventsLostError(
                    "more events came than the stream could hold: read faster, or give "
                    "Room.events a larger max_buffered"
                ) from None
            raise StopAsyncIteration from None
        self._held.refund_oldest()
        return event

    async def __aenter__(self) -> EventStream[E_co]:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop listening; a reader that waits gets the end."""
        self.end()
        _drop(self._receive, self._held)

    def push(self, event: RoomEvent, budget: Budget) -> None:
        """Add an event of a class that is read; end the stream if there is no room for it.

        Args:
            event: The event.
            budget: Charged for the bytes of the event (B4).
        """
        if not isinstance(event, self._types):
            return
        peer, size = _charge_for(event, _EVENT_BYTES)
        try:
            self._held.charge(budget, peer, size)
        except BudgetExceededError as error:
            logger.warning("left an event out of a stream that is read slowly: %s", error)
            return
        try:
            self._send.send_nowait(event)
        except WOULD_BLOCK:
            self._held.refund_newest()
            self._lost = True
            self.end()

    def end(self) -> None:
        """End the stream; buffered events can still be read."""
        self._open_streams.discard(self)
        self._send.close()


def _drop(receive: ReceiveChannel[Any], held: HeldEvents) -> None:
    receive.close()
    held.refund_all()


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


class Emitter:
    """The listeners of a room, in all its sessions."""

    def __init__(self) -> None:
        self._listeners: dict[str, list[_Listener]] = {}
        self._open_streams: set[EventStream[Any]] = set()
        self._ended = False

    def listen(self, event: str, callback: C | None, *, once: bool) -> C | Callable[[C], C]:
        """Add a callback; without one, return a decorator that does.

        Raises:
            ValueError: there is no such event.
            TypeError: `callback` is not callable.
        """
        listeners = self._listeners_of(event)

        def listen(callback: C) -> C:
            if not callable(callback):
                raise TypeError(f"the callback for {event!r} is not callable: {callback!r}")
            listeners.append(_Listener(callback, once))
            return callback

        return listen if callback is None else listen(callback)

    def forget(self, event: str, callback: Callback) -> None:
        """Remove a callback; removing one that was not added is not an error.

        Raises:
            ValueError: there is no such event.
        """
        listeners = self._listeners_of(event)
        listeners[:] = [each for each in listeners if each.callback != callback]

    def open_stream(
        self, types: tuple[type[RoomEvent], ...], max_buffered: int
    ) -> EventStream[Any]:
        """Open a stream of the events of some classes; of all events if there are none.

        Raises:
            TypeError: one of `types` is not the class of an event.
        """
        for each in types:
            if not _is_event_class(each):
                raise TypeError(f"events are read by their classes, such as DataReceived: {each!r}")
        backend = concurrency.current()
        send, receive = backend.open_memory_channel(max_buffered)
        stream = EventStream[Any](
            self._open_streams, types or (RoomEvent,), send, receive, backend.run_sync_soon()
        )
        self._open_streams.add(stream)
        if self._ended:
            stream.end()
        return stream

    def emit(self, event: RoomEvent, callbacks: Callbacks) -> None:
        """Pass an event to its listeners.

        Args:
            event: The event.
            callbacks: Calls the callbacks.
        """
        for listener in tuple(self._listeners.get(event.name, ())):
            # A callback may have removed those that come after it.
            if listener in self._listeners[event.name]:
                if listener.once:
                    self._listeners[event.name].remove(listener)
                arguments = astuple(event, recurse=False)[: listener.max_arguments]  # type: ignore[arg-type]
                peer, size = _charge_for(event, _CALLBACK_BYTES)
                what = f"a callback for {event.name}"
                callbacks.call(what, listener.callback, *arguments, peer=peer, size=size)
        for stream in tuple(self._open_streams):
            stream.push(event, callbacks.budget)

    def end(self) -> None:
        """End the streams, and any that are opened later in this session: it has no more events."""
        self._ended = True
        for stream in tuple(self._open_streams):
            stream.end()

    def reset(self) -> None:
        """End the streams; streams that are opened from now on get the next session's events."""
        self.end()
        self._ended = False

    def _listeners_of(self, event: str) -> list[_Listener]:
        if event not in EVENT_NAMES:
            names = ", ".join(sorted(EVENT_NAMES))
            raise ValueError(f"there is no event {event!r}; there are {names}")
        return self._listeners.setdefault(event, [])


def _is_event_class(value: object) -> bool:
    return isinstance(value, type) and issubclass(value, RoomEvent)


def _charge_for(event: RoomEvent, overhead: int) -> tuple[str, int]:
    """Return the participant to charge for an event, and the bytes; 0 to charge nobody."""
    content = content_of(event)
    if content is None:
        return "", 0
    peer, size = content
    return peer, size + overhead
