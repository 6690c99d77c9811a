"""The registrations of a room: methods, handlers of streams, and listeners.

They need no session: a program makes them before it joins, or while it is in the room, and they
apply to the next session as well.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, overload

from ..events import EventName, RoomEvent
from ..rpc.interceptors import RpcInterceptor
from ..rpc.invocation_data import RpcInvocationData
from ..rpc.methods import H, MethodRegistry
from .emitter import DEFAULT_MAX_BUFFERED_EVENTS, C, Callback, Emitter, EventStream
from .stream_handlers import B, StreamHandlers, T

E1 = TypeVar("E1", bound=RoomEvent)
E2 = TypeVar("E2", bound=RoomEvent)
E3 = TypeVar("E3", bound=RoomEvent)
E4 = TypeVar("E4", bound=RoomEvent)


class Registrations:
    """The part of `Room` by which a program registers its functions."""

    def __init__(self) -> None:
        self._registry = MethodRegistry()
        self._stream_handlers = StreamHandlers()
        self._emitter = Emitter()

    # Methods

    @overload
    def register_rpc_method(self, method_name: str, handler: H) -> H: ...
    @overload
    def register_rpc_method(self, method_name: str, handler: None = None) -> Callable[[H], H]: ...
    def register_rpc_method(
        self, method_name: str, handler: H | None = None
    ) -> H | Callable[[H], H]:
        """Register the handler of a method, at any time; without one, return a decorator.

        The handler is called with an `RpcInvocationData` and returns a `str` or None, of at most
        15,360 UTF-8 bytes, or `max_payload_bytes` to a caller that speaks RPC v2. An async handler
        runs in a task of the room's nursery, a plain function in a worker thread. It is cancelled
        when the call times out. An `RpcError` that it raises reaches the caller unchanged, any
        other exception as 1500.

        Args:
            method_name: The name of the method, 1 to 64 UTF-8 bytes.
            handler: The handler.

        Raises:
            TypeError: `handler` is not callable.
            ValueError: the name is taken, empty or too long.

        Source: LiveKit's documentation of remote method calls; rules A1 to A13.
        """
        return self._registry.register_or_decorate(method_name, handler)

    def unregister_rpc_method(self, method: str) -> None:
        """Remove the handler of a method; running invocations finish.

        Raises:
            KeyError: there is no such method.
        """
        self._registry.unregister(method)

    @property
    def rpc_methods(self) -> dict[str, Callable[[RpcInvocationData], Any]]:
        """The handlers of all methods by name, in the order of their registration. A copy."""
        return self._registry.handlers()

    def watch_rpc_methods(self, listener: Callable[[], object]) -> None:
        """Call a function with each change of our methods, also before a session and after it."""
        self._registry.listeners.append(listener)

    def add_rpc_interceptor(self, interceptor: RpcInterceptor) -> None:
        """Have an interceptor around all calls that we make, and all that we answer, from now on.

        Those that were added before are outside of it. Adding one again has no effect.
        """
        self._registry.add_interceptor(interceptor)

    def remove_rpc_interceptor(self, interceptor: RpcInterceptor) -> None:
        """Remove an interceptor; calls in flight keep it. Not an error if it is not there."""
        self._registry.remove_interceptor(interceptor)

    # Data streams

    @overload
    def register_text_stream_handler(self, topic: str, handler: T) -> T: ...
    @overload
    def register_text_stream_handler(
        self, topic: str, handler: None = None
    ) -> Callable[[T], T]: ...
    def register_text_stream_handler(
        self, topic: str, handler: T | None = None
    ) -> T | Callable[[T], T]:
        """Register the handler of a topic's texts, at any time; without one, return a decorator.

        The handler is called with a `TextStreamReader` and the identity of the sender. An async
        handler runs in a task of the room's nursery; a plain function is called by the receive
        loop, and must not block. An exception is logged.

        Args:
            topic: The topic that senders name; any text, including `""`.
            handler: The handler.

        Raises:
            TypeError: `handler` is not callable.
            ValueError: the topic has a text stream handler.
        """
        return self._stream_handlers.text.register_or_decorate(topic, handler)

    def unregister_text_stream_handler(self, topic: str) -> None:
        """Ignore further texts of a topic.

        Raises:
            KeyError: the topic has no text stream handler.
        """
        self._stream_handlers.text.unregister(topic)

    @overload
    def register_byte_stream_handler(self, topic: str, handler: B) -> B: ...
    @overload
    def register_byte_stream_handler(
        self, topic: str, handler: None = None
    ) -> Callable[[B], B]: ...
    def register_byte_stream_handler(
        self, topic: str, handler: B | None = None
    ) -> B | Callable[[B], B]:
        """Register the handler of a topic's bytes and files, as `register_text_stream_handler`."""
        return self._stream_handlers.bytes.register_or_decorate(topic, handler)

    def unregister_byte_stream_handler(self, topic: str) -> None:
        """Ignore further bytes of a topic.

        Raises:
            KeyError: the topic has no byte stream handler.
        """
        self._stream_handlers.bytes.unregister(topic)

    # Events

    @overload
    def on(self, event: EventName, callback: C) -> C: ...
    @overload
    def on(self, event: EventName, callback: None = None) -> Callable[[C], C]: ...
    def on(self, event: EventName, callback: C | None = None) -> C | Callable[[C], C]:
        """Call `callback` on each `event`; without a callback, return a decorator.

        A callback gets the fields of the event, as many as it accepts. A plain function is called
        by the receive loop and must not block; an async one runs in a task of the room's nursery.
        An exception is logged.

        Raises:
            ValueError: there is no such event.
            TypeError: `callback` is not callable.
        """
        return self._emitter.listen(event, callback, once=False)

    @overload
    def once(self, event: EventName, callback: C) -> C: ...
    @overload
    def once(self, event: EventName, callback: None = None) -> Callable[[C], C]: ...
    def once(self, event: EventName, callback: C | None = None) -> C | Callable[[C], C]:
        """Call `callback` on the next `event` only; otherwise as `on`."""
        return self._emitter.listen(event, callback, once=True)

    def off(self, event: EventName, callback: Callback) -> None:
        """Remove a callback; removing one that was not added is not an error.

        Raises:
            ValueError: there is no such event.
        """
        self._emitter.forget(event, callback)

    # A union is not what a checker infers from `*types: type[E]`.
    @overload
    def events(self, *, max_buffered: int = ...) -> EventStream[RoomEvent]: ...
    @overload
    def events(self, type1: type[E1], /, *, max_buffered: int = ...) -> EventStream[E1]: ...
    @overload
    def events(
        self, type1: type[E1], type2: type[E2], /, *, max_buffered: int = ...
    ) -> EventStream[E1 | E2]: ...
    @overload
    def events(
        self, type1: type[E1], type2: type[E2], type3: type[E3], /, *, max_buffered: int = ...
    ) -> EventStream[E1 | E2 | E3]: ...
    @overload
    def events(
        self,
        type1: type[E1],
        type2: type[E2],
        type3: type[E3],
        type4: type[E4],
        /,
        *,
        max_buffered: int = ...,
    ) -> EventStream[E1 | E2 | E3 | E4]: ...
    @overload
    def events(
        self, *types: type[RoomEvent], max_buffered: int = ...
    ) -> EventStream[RoomEvent]: ...
    def events(
        self, *types: type[RoomEvent], max_buffered: int = DEFAULT_MAX_BUFFERED_EVENTS
    ) -> EventStream[Any]:
        """Open a stream of events from now on, which ends when we leave the room.

            async with room.events(ParticipantConnected, DataReceived) as events:
                async for event in events:
                    ...

        Args:
            *types: The classes of the events, from `trio_rpc.events`; all events unless given. Type
                checkers know the events as a union of up to four classes, and as `RoomEvent` if
                there are more.
            max_buffered: The most events that wait for a slow reader; with more, it gets
                `EventsLostError`.

        Raises:
            TypeError: one of `types` is not the class of an event.
        """
        return self._emitter.open_stream(types, max_buffered)
