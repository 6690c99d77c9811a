"""The streams that a caller accepts besides the response (rules T8, T9 and T15).

A caller asks for them in an attribute of its request. LiveKit's SDKs give a program no attributes
of requests, and not the id of a call that it makes; so the same can be said in the arguments:

    {"pan": "pan 1", "trio_rpc.accepts": "items window=65536", "trio_rpc.request_id": "S1"}

No parameter in Python has a name with a dot.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Final, TypeAlias

import msgspec
from attrs import field, frozen

from ..rpc.invocation_data import RpcInvocationData
from ..streams import StreamOpening, TextStreamWriter
from .codec import InvalidValueError

#: The member that says the same as the attribute of this name.
ACCEPTS_MEMBER: Final = "trio_rpc.accepts"
#: The member with an id of the caller's choice, by which the streams name the call.
REQUEST_ID_MEMBER: Final = "trio_rpc.request_id"
#: The members of an object of arguments that are no arguments.
RESERVED_MEMBERS: Final = frozenset({ACCEPTS_MEMBER, REQUEST_ID_MEMBER})
_MAX_ACCEPTS: Final = 1_000
_MAX_REQUEST_ID: Final = 100

_ACCEPTS: Final = msgspec.json.Decoder(Annotated[str, msgspec.Meta(max_length=_MAX_ACCEPTS)])
_REQUEST_ID: Final = msgspec.json.Decoder(
    Annotated[str, msgspec.Meta(min_length=1, max_length=_MAX_REQUEST_ID)]
)

#: Opens a text stream to a participant that names a call by its id, on a topic.
OpenStream: TypeAlias = Callable[[str, str, str], StreamOpening[TextStreamWriter]]


@frozen
class AnswerStreams:
    """The streams that a callee may send besides the response to one call.

    Attributes:
        caller_identity: The identity of the caller, which receives them.
        request_id: The id by which they name the call.
        accepts: The kinds of streams that the caller accepts, and the size of its window.
    """

    caller_identity: str
    request_id: str
    accepts: tuple[str, ...]
    _open: OpenStream = field(repr=False)

    @classmethod
    def of(
        cls,
        invocation: RpcInvocationData,
        members: Mapping[str, msgspec.Raw],
        open_stream: OpenStream,
    ) -> AnswerStreams:
        """Return the streams that a request accepts.

        Args:
            invocation: The request.
            members: The members of its payload.

        Raises:
            InvalidValueError: a reserved member is no text, or too long.
        """
        accepts, request_id = invocation.accepts, invocation.request_id
        if ACCEPTS_MEMBER in members:
            accepts = tuple(_text(_ACCEPTS, members, ACCEPTS_MEMBER).split())
        if REQUEST_ID_MEMBER in members:
            request_id = _text(_REQUEST_ID, members, REQUEST_ID_MEMBER)
        return cls(invocation.caller_identity, request_id, accepts, open_stream)

    def open(self, topic: str) -> StreamOpening[TextStreamWriter]:
        """Open a text stream to the caller, on a topic."""
        return self._open(self.caller_identity, self.request_id, topic)


def _text(decoder: msgspec.json.Decoder[str], members: Mapping[str, msgspec.Raw], name: str) -> str:
    try:
        return decoder.decode(members[name])
    except (msgspec.DecodeError, UnicodeError) as error:
        expected = str(error)
    raise InvalidValueError(f"$.{name}", expected)
