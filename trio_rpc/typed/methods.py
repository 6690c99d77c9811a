"""The methods of a room that are functions with annotations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, Unpack, overload

from ..client.options import RoomLimits
from ..client.room import Room
from ..protocol.limits import MAX_PAYLOAD_BYTES
from ..streams import StreamOpening, TextStreamWriter
from .codec import Codec, JsonCodec
from .errors import ErrorRegistry
from .receiving import REQUEST_ID_ATTRIBUTE, Receiving
from .serving import methods_of, typed_method

F = TypeVar("F", bound=Callable[..., Any])


class TypedMethods(Room):
    """The part of `Room` that answers typed calls."""

    def __init__(
        self, loop: object = None, *, codec: Codec | None = None, **limits: Unpack[RoomLimits]
    ) -> None:
        super().__init__(loop, **limits)
        self._codec: Codec = codec or JsonCodec()
        self._errors = ErrorRegistry(self._codec)
        self._receiving = Receiving(self)
        self._max_list_bytes = limits.get("max_payload_bytes", MAX_PAYLOAD_BYTES)

    @property
    def errors(self) -> ErrorRegistry:
        """The exceptions of the program that travel between participants, by their codes."""
        return self._errors

    @overload
    def method(self, function: F, /) -> F: ...
    @overload
    def method(
        self, name: str | None = None, /, *, hidden: bool = False, description: str | None = None
    ) -> Callable[[F], F]: ...
    def method(
        self,
        function: F | str | None = None,
        /,
        *,
        hidden: bool = False,
        description: str | None = None,
    ) -> F | Callable[[F], F]:
        """Register a function as a method; a decorator, with or without arguments.

            @room.method
            async def slice(order: Order, times: int = 1) -> list[int]:
                ...

        The arguments travel by name in a JSON object, the result as JSON. The annotations are
        attrs classes, dataclasses, TypedDicts, models of pydantic's, or types of the standard
        library. Arguments that do not fit are answered with `InvalidArguments`, and the function is
        not called. A parameter with the annotation `CallContext` is given that, and is no argument.
        A function that is no `async def` runs in a worker thread. An `async def` that yields
        answers with a stream of items (T8).

        Args:
            function: The function; or the name of the method, which is that of the function unless
                given.
            hidden: Whether discovery leaves the method out (T10).
            description: The description for discovery; the docstring unless given.

        Raises:
            TypeError: an annotation is missing, or its type has no form in JSON (T13).
            ValueError: the name is taken, empty or too long.

        Source: rules T1 to T3, T13.
        """
        if callable(function):
            self._serve(function.__name__, function, hidden=hidden, description=description)
            return function
        name = function

        def register(function: F) -> F:
            method_name = function.__name__ if name is None else name
            self._serve(method_name, function, hidden=hidden, description=description)
            return function

        return register

    def serve(self, service: object, *, prefix: str = "", hidden: bool = False) -> None:
        """Register the public async methods of an object; see `method`.

        Either all of them are registered, or none.

        Args:
            service: The object.
            prefix: The prefix of the methods' names, such as `"kitchen."`.
            hidden: Whether discovery leaves them out (T10).

        Raises:
            TypeError: there are none, or one has a signature that does not do (T13).
            ValueError: a name is taken or too long.
        """
        done: list[str] = []
        try:
            for name, function in methods_of(service):
                self._serve(f"{prefix}{name}", function, hidden=hidden, description=None)
                done.append(f"{prefix}{name}")
        except BaseException:
            for name in done:
                self.unregister_rpc_method(name)
            raise

    def _serve(
        self, name: str, function: Callable[..., Any], *, hidden: bool, description: str | None
    ) -> None:
        method = typed_method(
            function,
            name,
            description=description,
            hidden=hidden,
            codec=self._codec,
            errors=self._errors,
            open_stream=self.open_call_stream,
            receiving=self._receiving,
            max_bytes=self._max_list_bytes,
        )
        self.register_rpc_method(name, method)

    def open_call_stream(
        self, identity: str, request_id: str, topic: str
    ) -> StreamOpening[TextStreamWriter]:
        """Open a text stream that belongs to a call, to its caller or its callee.

        Args:
            identity: The identity of the other side.
            request_id: The id by which it names the call.
            topic: The topic of the stream.
        """
        return self.local_participant.stream_text(
            destination_identities=[identity],
            topic=topic,
            attributes={REQUEST_ID_ATTRIBUTE: request_id},
        )
